//! Operations that only move elements, as index maps made once.

use snn_ir::Op;

/// Marks an element that comes from no operand.
const PADDING: u32 = u32::MAX;

/// Where every element of a result comes from.
#[derive(Clone, Debug)]
pub(crate) enum Moves {
    /// The operand as it is.
    Same,
    /// One operand: source of every element, or [`PADDING`].
    Gather(Vec<u32>),
    /// Several operands joined: elements of each in a row, and how often.
    Join { lengths: Vec<usize> },
}

impl Moves {
    /// The moves of a structural operation; `None` for any other.
    pub fn new(op: &Op, operands: &[&[usize]], result: &[usize]) -> Option<Moves> {
        let first = operands[0];
        Some(match op {
            Op::Identity | Op::Reshape { .. } => Moves::Same,
            Op::Concat { axis } => Moves::Join { lengths: operands.iter().map(|s| s[*axis..].iter().product()).collect() },
            Op::Transpose { perm } => {
                let strides = strides(first);
                gather(result, |axis, i| Some(i * strides[perm[axis]]))
            }
            Op::Pad(p) => {
                let strides = strides(first);
                gather(result, |axis, i| i.checked_sub(p.begin[axis]).filter(|&i| i < first[axis]).map(|i| i * strides[axis]))
            }
            Op::Slice(s) => {
                let strides = strides(first);
                gather(result, |axis, i| Some((s.start[axis] as isize + i as isize * s.step[axis]) as usize * strides[axis]))
            }
            Op::Gather { axis: along, indices } => {
                let strides = strides(first);
                gather(result, |axis, i| Some(if axis == *along { indices[i] } else { i } * strides[axis]))
            }
            _ => return None,
        })
    }

    /// Moves the elements; those that come from nowhere become `padding`.
    pub fn run<V: Copy>(&self, padding: V, operands: &[&[V]], out: &mut [V]) {
        match self {
            Moves::Same => out.copy_from_slice(operands[0]),
            Moves::Gather(sources) => {
                out.iter_mut().zip(sources).for_each(|(o, &s)| *o = if s == PADDING { padding } else { operands[0][s as usize] });
            }
            Moves::Join { lengths } => {
                let mut parts: Vec<_> = operands.iter().zip(lengths).map(|(x, &n)| x.chunks_exact(n)).collect();
                let mut rest = out;
                while !rest.is_empty() {
                    for part in &mut parts {
                        let from = part.next().expect("operands and result have as many rows");
                        let (to, after) = rest.split_at_mut(from.len());
                        to.copy_from_slice(from);
                        rest = after;
                    }
                }
            }
        }
    }

    /// Moves backwards: adds every result element of `result` to the operand element that it came
    /// from.
    pub fn run_backwards(&self, result: &[u64], operands: &mut [Vec<u64>]) {
        let positions: Vec<Vec<usize>> = operands.iter().map(|o| (0..o.len()).collect()).collect();
        // (operand, element) of every result element.
        let tagged: Vec<Vec<(usize, usize)>> =
            positions.into_iter().enumerate().map(|(o, p)| p.into_iter().map(|i| (o, i)).collect()).collect();
        let mut sources = vec![(usize::MAX, 0); result.len()];
        self.run((usize::MAX, 0), &tagged.iter().map(Vec::as_slice).collect::<Vec<_>>(), &mut sources);
        for (&(operand, element), &amount) in sources.iter().zip(result) {
            if operand != usize::MAX {
                operands[operand][element] += amount;
            }
        }
    }
}

fn strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis];
    }
    strides
}

/// The map whose source offset is the sum of one offset per axis; an axis without one gives
/// padding.
fn gather(result: &[usize], offset: impl Fn(usize, usize) -> Option<usize>) -> Moves {
    let mut sources = vec![0u32];
    for (axis, &extent) in result.iter().enumerate() {
        let along: Vec<Option<usize>> = (0..extent).map(|i| offset(axis, i)).collect();
        let finer = |&base: &u32| {
            along.iter().map(move |o| match o {
                Some(o) if base != PADDING => base + *o as u32,
                _ => PADDING,
            })
        };
        sources = sources.iter().flat_map(finer).collect();
    }
    Moves::Gather(sources)
}
