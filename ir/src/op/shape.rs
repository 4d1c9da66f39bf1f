//! Operations that only move elements.

use crate::attr::{AttrError, Fields};
use crate::infer::{Inferred, TypeError, shape_error, structural_signal};
use crate::interval::{Channels, MAX_CHANNELS, Sources, hull};
use crate::signal::{Signal, ValueType};
use crate::tensor::element_count;

/// Parameters of [`Op::Pad`](super::Op::Pad).
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Pad {
    /// Elements before, per axis.
    pub begin: Vec<usize>,
    /// Elements after, per axis.
    pub end: Vec<usize>,
    /// Their value; spikes can only be padded with zero.
    pub value: f32,
}

impl Pad {
    pub(super) fn fields(&mut self, f: &mut Fields) -> Result<(), AttrError> {
        f.sizes("begin", &mut self.begin)?;
        f.sizes("end", &mut self.end)?;
        f.float_or("value", &mut self.value, 0.0)
    }

    pub(super) fn infer(&self, operands: &[&ValueType]) -> Inferred {
        let shape = &operands[0].shape;
        if self.begin.len() != shape.len() || self.end.len() != shape.len() {
            return shape_error(format!("padding of rank {} does not fit {}", self.begin.len(), operands[0]));
        }
        let signal = structural_signal(operands)?;
        if self.value != 0.0 && signal == Signal::Spikes {
            return Err(TypeError::Parameter("spikes can only be padded with zero".into()));
        }
        let add = |a: usize| shape[a].checked_add(self.begin[a])?.checked_add(self.end[a]);
        match (0..shape.len()).map(add).collect() {
            Some(shape) => Ok((signal, shape)),
            None => shape_error("padding overflows".into()),
        }
    }

    pub(super) fn current(&self, sources: &Sources<'_>) -> Channels {
        let fill = (self.value as i64, self.value as i64);
        let keeps_channels = self.begin.first() == Some(&0) && self.end.first() == Some(&0);
        if keeps_channels { sources.first().map(|i| hull(i, fill)) } else { Channels::one(hull(sources.hull(), fill)) }
    }
}

/// Parameters of [`Op::Slice`](super::Op::Slice), one entry per axis: element `i` of the result is
/// element `start + i·step`.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Slice {
    /// First index.
    pub start: Vec<usize>,
    /// Distance between indices; negative runs backwards.
    pub step: Vec<isize>,
    /// Extent of the result.
    pub shape: Vec<usize>,
}

impl Slice {
    pub(super) fn fields(&mut self, f: &mut Fields) -> Result<(), AttrError> {
        f.sizes("start", &mut self.start)?;
        f.steps("step", &mut self.step)?;
        f.sizes("shape", &mut self.shape)
    }

    pub(super) fn infer(&self, operands: &[&ValueType]) -> Inferred {
        let shape = &operands[0].shape;
        let rank = shape.len();
        if [self.start.len(), self.step.len(), self.shape.len()] != [rank; 3] {
            return shape_error(format!("slice of rank {} does not fit {}", self.start.len(), operands[0]));
        }
        for (a, &extent) in shape.iter().enumerate() {
            let last = (self.shape[a] as i128 - 1) * self.step[a] as i128 + self.start[a] as i128;
            if self.shape[a] > 0 && (self.start[a] >= extent || last < 0 || last >= extent as i128) {
                return shape_error(format!("slice leaves {} along axis {a}", operands[0]));
            }
        }
        Ok((structural_signal(operands)?, self.shape.clone()))
    }

    pub(super) fn current(&self, sources: &Sources<'_>) -> Channels {
        if self.shape.is_empty() || self.shape[0] > MAX_CHANNELS {
            return Channels::one(sources.hull());
        }
        let from = |i: usize| (self.start[0] as isize + i as isize * self.step[0]) as usize;
        Channels::each(self.shape[0], |i| sources.ranges(0).at(from(i)))
    }
}

/// The type of a concatenation along `axis`.
pub(super) fn infer_concat(axis: usize, operands: &[&ValueType]) -> Inferred {
    let mut shape = operands[0].shape.clone();
    if axis >= shape.len() {
        return shape_error(format!("axis {axis} does not fit {}", operands[0]));
    }
    shape[axis] = 0;
    for o in operands {
        let fits = o.shape.len() == shape.len() && (0..shape.len()).all(|a| a == axis || o.shape[a] == shape[a]);
        if !fits {
            return shape_error(format!("cannot join {} and {} along axis {axis}", operands[0], o));
        }
        shape[axis] = shape[axis].saturating_add(o.shape[axis]);
    }
    Ok((structural_signal(operands)?, shape))
}

/// What a concatenation along `axis` may be.
pub(super) fn current_of_concat(axis: usize, sources: &Sources<'_>) -> Channels {
    let operands = 0..sources.operands.len();
    if axis == 0 && sources.shape[0] <= MAX_CHANNELS {
        let of = |o: usize| (0..sources.operands[o].shape[0]).map(move |c| sources.ranges(o).at(c));
        return Channels(operands.flat_map(of).collect());
    }
    operands.fold(Channels::one((0, 0)), |all, o| all.zip(&sources.own(o), hull))
}

/// The type of the same elements in another shape.
pub(super) fn infer_reshape(shape: &[usize], operands: &[&ValueType]) -> Inferred {
    if element_count(shape) != Some(operands[0].len()) {
        return shape_error(format!("cannot reshape {} to {shape:?}", operands[0]));
    }
    Ok((structural_signal(operands)?, shape.to_vec()))
}

/// The type of the same elements with axes in another order.
pub(super) fn infer_transpose(perm: &[usize], operands: &[&ValueType]) -> Inferred {
    let shape = &operands[0].shape;
    let mut seen = perm.to_vec();
    seen.sort_unstable();
    if !seen.iter().copied().eq(0..shape.len()) {
        return shape_error(format!("{perm:?} does not permute the axes of {}", operands[0]));
    }
    Ok((structural_signal(operands)?, perm.iter().map(|&a| shape[a]).collect()))
}

/// The type of the elements at `indices` of `axis`.
pub(super) fn infer_gather(axis: usize, indices: &[usize], operands: &[&ValueType]) -> Inferred {
    let mut shape = operands[0].shape.clone();
    if axis >= shape.len() || indices.iter().any(|&i| i >= shape[axis]) {
        return shape_error(format!("gather leaves {} along axis {axis}", operands[0]));
    }
    shape[axis] = indices.len();
    Ok((structural_signal(operands)?, shape))
}

/// What the elements at `indices` of `axis` may be.
pub(super) fn current_of_gather(axis: usize, indices: &[usize], sources: &Sources<'_>) -> Channels {
    if axis == 0 && indices.len() <= MAX_CHANNELS {
        return Channels::each(indices.len(), |i| sources.ranges(0).at(indices[i]));
    }
    sources.first()
}
