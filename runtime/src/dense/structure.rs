//! Operations that only move elements, as index maps made once.

use snn_ir::Op;
use snn_ir::index_map::index_map;

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
        Some(match op {
            Op::Identity | Op::Reshape { .. } => Moves::Same,
            Op::Concat { axis } => Moves::Join { lengths: operands.iter().map(|s| s[*axis..].iter().product()).collect() },
            _ => {
                let sources = index_map(op, operands, result)?;
                Moves::Gather(sources.into_iter().map(|source| source.map_or(PADDING, |(_, element)| element)).collect())
            }
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
