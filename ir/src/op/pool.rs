//! Sums, means and maxima over windows and whole axes.

use crate::attr::{AttrError, Fields};
use crate::infer::{Inferred, linear_signal, require, shape_error, spatial, windowed};
use crate::interval::{Channels, Sources, product};
use crate::signal::{Signal, ValueType};
use crate::window::Window;

/// What an [`AvgPool`] window's sum is divided by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Divisor {
    /// The number of taps, padding included but not the overhang of `ceil` (ONNX `count_include_pad
    /// = 1`).
    #[default]
    Padded,
    /// The number of taps on real elements (ONNX `count_include_pad = 0`).
    Valid,
    /// One: a sum-pool, which keeps integers integers.
    One,
}

/// Parameters of [`Op::AvgPool`](super::Op::AvgPool).
#[derive(Clone, Debug, PartialEq, Default)]
pub struct AvgPool {
    /// The sliding window.
    pub window: Window,
    /// The divisor.
    pub divisor: Divisor,
}

impl AvgPool {
    /// What each window's sum is divided by, row-major over `outputs`, for operands of spatial
    /// extents `inputs`.
    pub fn counts(&self, inputs: &[usize], outputs: &[usize]) -> Vec<usize> {
        let w = &self.window;
        let taps = |axis: usize, at: usize| {
            let (first, end) = match self.divisor {
                Divisor::Valid => (w.pad_begin[axis], w.pad_begin[axis] + inputs[axis]),
                Divisor::Padded => (0, w.pad_begin[axis] + inputs[axis] + w.pad_end[axis]),
                Divisor::One => return 1,
            };
            (0..w.kernel[axis]).filter(|k| (first..end).contains(&(at * w.stride[axis] + k * w.dilation[axis]))).count()
        };
        outputs.iter().enumerate().fold(vec![1], |counts, (axis, &extent)| {
            counts.iter().flat_map(|count| (0..extent).map(move |at| (count, at))).map(|(count, at)| count * taps(axis, at)).collect()
        })
    }

    pub(super) fn fields(&mut self, f: &mut Fields) -> Result<(), AttrError> {
        f.window(&mut self.window)?;
        let words = [("padded", Divisor::Padded), ("valid", Divisor::Valid), ("one", Divisor::One)];
        f.printed_choice("divisor", &mut self.divisor, "padded, valid or one", &words, Some(Divisor::Padded))
    }

    pub(super) fn infer(&self, operands: &[&ValueType]) -> Inferred {
        let (channels, space) = spatial(operands[0], self.window.rank())?;
        Ok((linear_signal(operands)?, windowed(channels, &self.window, self.window.output(space), operands[0])?))
    }

    pub(super) fn current(&self, sources: &Sources<'_>) -> Channels {
        let taps = i64::try_from(self.window.taps()).unwrap_or(i64::MAX);
        sources.first().map(|i| product(i, (0, taps)))
    }
}

/// Parameters of [`Op::Reduce`](super::Op::Reduce).
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Reduce {
    /// Per-sample axes, ascending; they keep extent 1.
    pub axes: Vec<usize>,
    /// Whether the sum is divided by the number of elements.
    pub mean: bool,
}

impl Reduce {
    pub(super) fn fields(&mut self, f: &mut Fields) -> Result<(), AttrError> {
        f.sizes("axes", &mut self.axes)?;
        f.printed_choice("by", &mut self.mean, "mean or sum", &[("mean", true), ("sum", false)], None)
    }

    pub(super) fn infer(&self, operands: &[&ValueType]) -> Inferred {
        let mut shape = operands[0].shape.clone();
        if self.axes.is_empty() || !self.axes.is_sorted_by(|a, b| a < b) || self.axes.iter().any(|&a| a >= shape.len()) {
            return shape_error(format!("axes {:?} do not fit {}", self.axes, operands[0]));
        }
        self.axes.iter().for_each(|&a| shape[a] = 1);
        Ok((linear_signal(operands)?, shape))
    }

    pub(super) fn current(&self, sources: &Sources<'_>) -> Channels {
        let count: usize = self.axes.iter().map(|&a| sources.operands.first().map_or(1, |o| o.shape[a])).product();
        let summed = |i| product(i, (0, count as i64));
        if self.axes.contains(&0) {
            Channels::one(summed(sources.hull()))
        } else {
            sources.operands.first().map_or_else(|| Channels::one((0, 0)), |o| o.ranges.map(summed))
        }
    }
}

/// The type of a maximum over a window, of the operand's kind.
pub(super) fn infer_max(w: &Window, operands: &[&ValueType], signals: &[Signal], expected: &'static str) -> Inferred {
    require(operands, signals, expected)?;
    let (channels, space) = spatial(operands[0], w.rank())?;
    if (0..w.rank()).any(|a| w.extent(a).is_none_or(|e| w.pad_begin[a] >= e || w.pad_end[a] >= e)) {
        return shape_error("max-pool padding must be smaller than the window".into());
    }
    // A dilated window in the padding could otherwise step over all of a short axis and have no
    // maximum.
    if space.iter().enumerate().any(|(a, &extent)| w.pad_begin[a] > 0 && w.dilation[a] > extent) {
        return shape_error(format!("a padded max-pool window is too dilated for {}", operands[0]));
    }
    Ok((operands[0].signal, windowed(channels, w, w.output(space), operands[0])?))
}
