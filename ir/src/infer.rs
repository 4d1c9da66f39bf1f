//! Type inference: the signal and shape of an operation's result, or why there is none.

use crate::op::Op;
use crate::signal::{Signal, ValueType};
use crate::tensor::{Tensor, element_count};
use crate::window::Window;
use thiserror::Error;

/// Largest number of elements a per-sample value may have (2 Gi): beyond it a shape is a mistake or
/// an attack.
pub const MAX_ELEMENTS: usize = 1 << 31;

/// Why an operation cannot be applied to its operands.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum TypeError {
    /// Wrong number of operands.
    #[error("takes {expected}, got {got}")]
    OperandCount {
        /// What it takes, in words.
        expected: &'static str,
        /// How many there are.
        got: usize,
    },
    /// An operand's signal is not one this operation understands.
    #[error("takes {expected}, but operand {operand} is {got}")]
    Signal {
        /// What it takes, in words.
        expected: &'static str,
        /// Index of the operand.
        operand: usize,
        /// What the operand is.
        got: ValueType,
    },
    /// Analog and temporal operands are mixed.
    #[error("mixes analog and temporal operands")]
    MixedSignals,
    /// Operand or parameter shapes do not fit.
    #[error("{0}")]
    Shape(String),
    /// A parameter is out of its domain.
    #[error("{0}")]
    Parameter(String),
}

/// Signal and shape of a result.
pub(crate) type Inferred = Result<(Signal, Vec<usize>), TypeError>;

pub(crate) fn shape_error<T>(message: String) -> Result<T, TypeError> {
    Err(TypeError::Shape(message))
}

fn exactly(operands: &[&ValueType], n: usize, expected: &'static str) -> Result<(), TypeError> {
    if operands.len() == n { Ok(()) } else { Err(TypeError::OperandCount { expected, got: operands.len() }) }
}

/// The signal of a linear operation: analog from analog, current from anything temporal.
pub(crate) fn linear_signal(operands: &[&ValueType]) -> Result<Signal, TypeError> {
    if let Some(i) = operands.iter().position(|o| o.signal == Signal::Potential) {
        return Err(TypeError::Signal { expected: "analog values, spikes or currents", operand: i, got: operands[i].clone() });
    }
    let analog = operands.iter().filter(|o| o.signal == Signal::Analog).count();
    match analog {
        0 => Ok(Signal::Current),
        n if n == operands.len() => Ok(Signal::Analog),
        _ => Err(TypeError::MixedSignals),
    }
}

/// The signal of an operation that only moves elements: that of its operands, or current where
/// spikes meet currents. A potential is nobody's operand: it leaves the network.
pub(crate) fn structural_signal(operands: &[&ValueType]) -> Result<Signal, TypeError> {
    let first = operands[0].signal;
    if first != Signal::Potential && operands.iter().all(|o| o.signal == first) { Ok(first) } else { linear_signal(operands) }
}

pub(crate) fn require(operands: &[&ValueType], signals: &[Signal], expected: &'static str) -> Result<(), TypeError> {
    match operands.iter().position(|o| !signals.contains(&o.signal)) {
        None => Ok(()),
        Some(i) => Err(TypeError::Signal { expected, operand: i, got: operands[i].clone() }),
    }
}

pub(crate) fn same_shapes(operands: &[&ValueType]) -> Result<(), TypeError> {
    match operands.iter().find(|o| o.shape != operands[0].shape) {
        None => Ok(()),
        Some(o) => shape_error(format!("operands have different shapes: {} and {}", operands[0], o)),
    }
}

pub(crate) fn broadcasts(name: &str, t: &Tensor, shape: &[usize]) -> Result<(), TypeError> {
    if t.broadcasts_to(shape) { Ok(()) } else { shape_error(format!("{name} of shape {:?} does not broadcast to {shape:?}", t.shape())) }
}

pub(crate) fn spatial(operand: &ValueType, rank: usize) -> Result<(usize, &[usize]), TypeError> {
    match operand.shape.split_first() {
        Some((&c, rest)) if rest.len() == rank => Ok((c, rest)),
        _ => shape_error(format!("a window of rank {rank} needs an operand [C, {rank} spatial axes], got {operand}")),
    }
}

pub(crate) fn windowed(channels: usize, window: &Window, out: Option<Vec<usize>>, operand: &ValueType) -> Result<Vec<usize>, TypeError> {
    match out {
        Some(out) if !out.contains(&0) => Ok([&[channels][..], &out].concat()),
        _ if window.taps() > MAX_ELEMENTS => shape_error(format!("a window has at most {MAX_ELEMENTS} taps")),
        _ => shape_error(format!("the window does not fit {operand}")),
    }
}

/// The type of `op` applied to operands of the given types. The rules are those of its family
/// (`op/*.rs`).
///
/// # Errors
/// A [`TypeError`] that says which rule is broken; the caller adds the node's name.
pub fn infer(op: &Op, operands: &[&ValueType]) -> Result<ValueType, TypeError> {
    match op {
        Op::Input(..) | Op::Constant(..) => exactly(operands, 0, "no operand")?,
        Op::Add | Op::Concat { .. } | Op::Maximum | Op::CumulativeMax | Op::Layer(_) => {
            if operands.is_empty() {
                return Err(TypeError::OperandCount { expected: "at least one operand", got: 0 });
            }
        }
        _ => exactly(operands, 1, "one operand")?,
    }
    let (signal, shape) = op.infer(operands)?;
    match element_count(&shape) {
        Some(n) if (1..=MAX_ELEMENTS).contains(&n) => Ok(ValueType { signal, shape }),
        Some(0) => shape_error(format!("the result {shape:?} has no elements")),
        _ => shape_error(format!("the result {shape:?} is too large")),
    }
}
