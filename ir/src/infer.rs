//! Type inference: the signal and shape of an operation's result, or why there is none.

use crate::op::{Op, Requantize};
use crate::signal::{Signal, ValueType};
use crate::tensor::{Tensor, element_count};
use crate::window::Window;
use thiserror::Error;

/// Largest number of elements a per-sample value may have (2 Gi): beyond it a shape is a mistake or an attack.
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

pub(crate) fn shape_error<T>(message: String) -> Result<T, TypeError> {
    Err(TypeError::Shape(message))
}

fn exactly(operands: &[&ValueType], n: usize, expected: &'static str) -> Result<(), TypeError> {
    if operands.len() == n { Ok(()) } else { Err(TypeError::OperandCount { expected, got: operands.len() }) }
}

/// The signal of a linear operation: analog from analog, current from anything temporal.
fn linear_signal(operands: &[&ValueType]) -> Result<Signal, TypeError> {
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

/// The signal of an operation that only moves elements: that of its operands, or current where spikes meet currents.
/// A potential is nobody's operand: it leaves the network.
fn structural_signal(operands: &[&ValueType]) -> Result<Signal, TypeError> {
    let first = operands[0].signal;
    if first != Signal::Potential && operands.iter().all(|o| o.signal == first) { Ok(first) } else { linear_signal(operands) }
}

fn require(operands: &[&ValueType], signals: &[Signal], expected: &'static str) -> Result<(), TypeError> {
    match operands.iter().position(|o| !signals.contains(&o.signal)) {
        None => Ok(()),
        Some(i) => Err(TypeError::Signal { expected, operand: i, got: operands[i].clone() }),
    }
}

fn same_shapes(operands: &[&ValueType]) -> Result<(), TypeError> {
    match operands.iter().find(|o| o.shape != operands[0].shape) {
        None => Ok(()),
        Some(o) => shape_error(format!("operands have different shapes: {} and {}", operands[0], o)),
    }
}

fn bias_fits(bias: Option<&Tensor>, channels: usize) -> Result<(), TypeError> {
    match bias {
        Some(b) if b.shape() != [channels] => shape_error(format!("bias has shape {:?}, expected [{channels}]", b.shape())),
        _ => Ok(()),
    }
}

pub(crate) fn broadcasts(name: &str, t: &Tensor, shape: &[usize]) -> Result<(), TypeError> {
    if t.broadcasts_to(shape) { Ok(()) } else { shape_error(format!("{name} of shape {:?} does not broadcast to {shape:?}", t.shape())) }
}

fn spatial(operand: &ValueType, rank: usize) -> Result<(usize, &[usize]), TypeError> {
    match operand.shape.split_first() {
        Some((&c, rest)) if rest.len() == rank => Ok((c, rest)),
        _ => shape_error(format!("a window of rank {rank} needs an operand [C, {rank} spatial axes], got {operand}")),
    }
}

fn windowed(channels: usize, window: &Window, out: Option<Vec<usize>>, operand: &ValueType) -> Result<Vec<usize>, TypeError> {
    match out {
        Some(out) if !out.contains(&0) => Ok([&[channels][..], &out].concat()),
        _ if window.taps() > MAX_ELEMENTS => shape_error(format!("a window has at most {MAX_ELEMENTS} taps")),
        _ => shape_error(format!("the window does not fit {operand}")),
    }
}

/// The type of `op` applied to operands of the given types.
///
/// # Errors
/// A [`TypeError`] that says which rule is broken; the caller adds the node's name.
pub fn infer(op: &Op, operands: &[&ValueType]) -> Result<ValueType, TypeError> {
    use Signal::{Analog, Current, Spikes};
    match op {
        Op::Input(..) | Op::Constant(..) => exactly(operands, 0, "no operand")?,
        Op::Add | Op::Concat { .. } | Op::Maximum | Op::CumulativeMax | Op::Layer(_) => {
            if operands.is_empty() {
                return Err(TypeError::OperandCount { expected: "at least one operand", got: 0 });
            }
        }
        _ => exactly(operands, 1, "one operand")?,
    }
    let (signal, shape) = match op {
        Op::Input(signal, shape) => {
            if !matches!(signal, Analog | Current) {
                return Err(TypeError::Parameter("an input is analog or a current".into()));
            }
            (*signal, shape.clone())
        }
        Op::Constant(signal, value) => {
            if !matches!(signal, Analog | Current) {
                return Err(TypeError::Parameter("a constant is analog or a current".into()));
            }
            (*signal, value.shape().to_vec())
        }
        Op::Conv(c) => {
            let (channels, space) = spatial(operands[0], c.window.rank())?;
            let w = c.weight.shape();
            if c.groups == 0 || w.len() != c.window.rank() + 2 || w[2..] != c.window.kernel[..] || c.window.ceil {
                return shape_error(format!("weight {w:?} does not fit kernel {:?} in {} groups", c.window.kernel, c.groups));
            }
            if w[1].checked_mul(c.groups) != Some(channels) || !w[0].is_multiple_of(c.groups) || w[0] == 0 {
                return shape_error(format!("weight {w:?} in {} groups does not fit {}", c.groups, operands[0]));
            }
            bias_fits(c.bias.as_ref(), w[0])?;
            (linear_signal(operands)?, windowed(w[0], &c.window, c.window.output(space), operands[0])?)
        }
        Op::ConvTranspose(c) => {
            let (channels, space) = spatial(operands[0], c.window.rank())?;
            let w = c.weight.shape();
            if c.groups == 0 || w.len() != c.window.rank() + 2 || w[2..] != c.window.kernel[..] || c.output_padding.len() != c.window.rank()
            {
                return shape_error(format!("weight {w:?} does not fit kernel {:?} in {} groups", c.window.kernel, c.groups));
            }
            if w[0] != channels || !w[0].is_multiple_of(c.groups) || w[1] == 0 {
                return shape_error(format!("weight {w:?} in {} groups does not fit {}", c.groups, operands[0]));
            }
            let Some(out_channels) = w[1].checked_mul(c.groups) else {
                return shape_error(format!("weight {w:?} in {} groups gives too many channels", c.groups));
            };
            bias_fits(c.bias.as_ref(), out_channels)?;
            let out =
                c.window.transposed_output(space).and_then(|o| o.iter().zip(&c.output_padding).map(|(a, b)| a.checked_add(*b)).collect());
            (linear_signal(operands)?, windowed(out_channels, &c.window, out, operands[0])?)
        }
        Op::Linear(l) => {
            let w = l.weight.shape();
            let Some((&last, outer)) = operands[0].shape.split_last() else {
                return shape_error("a linear operation needs at least one axis".into());
            };
            if w.len() != 2 || w[1] != last || w[0] == 0 {
                return shape_error(format!("weight {w:?} does not fit {}", operands[0]));
            }
            bias_fits(l.bias.as_ref(), w[0])?;
            (linear_signal(operands)?, [outer, &[w[0]]].concat())
        }
        Op::AvgPool(p) => {
            let (channels, space) = spatial(operands[0], p.window.rank())?;
            (linear_signal(operands)?, windowed(channels, &p.window, p.window.output(space), operands[0])?)
        }
        Op::Reduce(r) => {
            let mut shape = operands[0].shape.clone();
            if r.axes.is_empty() || !r.axes.is_sorted_by(|a, b| a < b) || r.axes.iter().any(|&a| a >= shape.len()) {
                return shape_error(format!("axes {:?} do not fit {}", r.axes, operands[0]));
            }
            r.axes.iter().for_each(|&a| shape[a] = 1);
            (linear_signal(operands)?, shape)
        }
        Op::Scale(s) => {
            let shape = &operands[0].shape;
            s.weight.iter().try_for_each(|t| broadcasts("weight", t, shape))?;
            s.bias.iter().try_for_each(|t| broadcasts("bias", t, shape))?;
            (linear_signal(operands)?, shape.clone())
        }
        Op::BatchNorm(b) => {
            let Some(&channels) = operands[0].shape.first() else {
                return shape_error("a batch-norm needs an operand [C, ..], not a scalar".into());
            };
            for (name, t) in op.parameters() {
                if t.shape() != [channels] {
                    return shape_error(format!("{name} has shape {:?}, expected [{channels}]", t.shape()));
                }
            }
            if b.variance.as_f32().iter().any(|&v| v + b.epsilon <= 0.0) {
                return Err(TypeError::Parameter("variance + epsilon must be positive".into()));
            }
            (linear_signal(operands)?, operands[0].shape.clone())
        }
        Op::Add => {
            same_shapes(operands)?;
            (linear_signal(operands)?, operands[0].shape.clone())
        }
        Op::Identity => (structural_signal(operands)?, operands[0].shape.clone()),
        Op::Concat { axis } => {
            let mut shape = operands[0].shape.clone();
            if *axis >= shape.len() {
                return shape_error(format!("axis {axis} does not fit {}", operands[0]));
            }
            shape[*axis] = 0;
            for o in operands {
                let fits = o.shape.len() == shape.len() && (0..shape.len()).all(|a| a == *axis || o.shape[a] == shape[a]);
                if !fits {
                    return shape_error(format!("cannot join {} and {} along axis {axis}", operands[0], o));
                }
                shape[*axis] = shape[*axis].saturating_add(o.shape[*axis]);
            }
            (structural_signal(operands)?, shape)
        }
        Op::Reshape { shape } => {
            if element_count(shape) != Some(operands[0].len()) {
                return shape_error(format!("cannot reshape {} to {shape:?}", operands[0]));
            }
            (structural_signal(operands)?, shape.clone())
        }
        Op::Transpose { perm } => {
            let shape = &operands[0].shape;
            let mut seen = perm.clone();
            seen.sort_unstable();
            if !seen.iter().copied().eq(0..shape.len()) {
                return shape_error(format!("{perm:?} does not permute the axes of {}", operands[0]));
            }
            (structural_signal(operands)?, perm.iter().map(|&a| shape[a]).collect())
        }
        Op::Pad(p) => {
            let shape = &operands[0].shape;
            if p.begin.len() != shape.len() || p.end.len() != shape.len() {
                return shape_error(format!("padding of rank {} does not fit {}", p.begin.len(), operands[0]));
            }
            let signal = structural_signal(operands)?;
            if p.value != 0.0 && signal == Spikes {
                return Err(TypeError::Parameter("spikes can only be padded with zero".into()));
            }
            let add = |a: usize| shape[a].checked_add(p.begin[a])?.checked_add(p.end[a]);
            match (0..shape.len()).map(add).collect() {
                Some(shape) => (signal, shape),
                None => return shape_error("padding overflows".into()),
            }
        }
        Op::Slice(s) => {
            let shape = &operands[0].shape;
            let rank = shape.len();
            if [s.start.len(), s.step.len(), s.shape.len()] != [rank; 3] {
                return shape_error(format!("slice of rank {} does not fit {}", s.start.len(), operands[0]));
            }
            for (a, &extent) in shape.iter().enumerate() {
                let last = (s.shape[a] as i128 - 1) * s.step[a] as i128 + s.start[a] as i128;
                if s.shape[a] > 0 && (s.start[a] >= extent || last < 0 || last >= extent as i128) {
                    return shape_error(format!("slice leaves {} along axis {a}", operands[0]));
                }
            }
            (structural_signal(operands)?, s.shape.clone())
        }
        Op::Gather { axis, indices } => {
            let mut shape = operands[0].shape.clone();
            if *axis >= shape.len() || indices.iter().any(|&i| i >= shape[*axis]) {
                return shape_error(format!("gather leaves {} along axis {axis}", operands[0]));
            }
            shape[*axis] = indices.len();
            (structural_signal(operands)?, shape)
        }
        Op::Relu(r) => {
            require(operands, &[Analog], "an analog value")?;
            if r.cap.is_some_and(|c| c <= 0.0 || c.is_nan()) {
                return Err(TypeError::Parameter("a cap must be positive".into()));
            }
            r.threshold.iter().try_for_each(|t| broadcasts("threshold", t, &operands[0].shape))?;
            (Analog, operands[0].shape.clone())
        }
        Op::Activation(_) | Op::Lrn(_) => {
            require(operands, &[Analog], "an analog value")?;
            op.parameters().iter().try_for_each(|(n, t)| broadcasts(n, t, &operands[0].shape))?;
            (Analog, operands[0].shape.clone())
        }
        Op::RmsNorm(n) => {
            require(operands, &[Analog], "an analog value")?;
            if n.axes.iter().any(|&a| a >= operands[0].shape.len()) || !n.axes.is_sorted() {
                return shape_error(format!("axes {:?} do not fit {}", n.axes, operands[0]));
            }
            if !(n.epsilon >= 0.0 && n.epsilon.is_finite()) {
                return Err(TypeError::Parameter("epsilon must not be negative".into()));
            }
            (Analog, operands[0].shape.clone())
        }
        Op::Softmax { axis, .. } => {
            require(operands, &[Analog], "an analog value")?;
            if *axis >= operands[0].shape.len() {
                return shape_error(format!("axis {axis} does not fit {}", operands[0]));
            }
            (Analog, operands[0].shape.clone())
        }
        Op::Maximum | Op::CumulativeMax => {
            same_shapes(operands)?;
            if matches!(op, Op::Maximum) {
                require(operands, &[Analog], "analog values")?;
            }
            (structural_signal(operands)?, operands[0].shape.clone())
        }
        Op::MaxPool(w) | Op::CumulativeMaxPool(w) => {
            if matches!(op, Op::MaxPool(_)) {
                require(operands, &[Analog], "an analog value")?;
            } else {
                require(operands, &[Analog, Current, Spikes], "an analog value, spikes or a current")?;
            }
            let (channels, space) = spatial(operands[0], w.rank())?;
            if (0..w.rank()).any(|a| w.extent(a).is_none_or(|e| w.pad_begin[a] >= e || w.pad_end[a] >= e)) {
                return shape_error("max-pool padding must be smaller than the window".into());
            }
            // A dilated window in the padding could otherwise step over all of a short axis and have no maximum.
            if space.iter().enumerate().any(|(a, &extent)| w.pad_begin[a] > 0 && w.dilation[a] > extent) {
                return shape_error(format!("a padded max-pool window is too dilated for {}", operands[0]));
            }
            (operands[0].signal, windowed(channels, w, w.output(space), operands[0])?)
        }
        Op::Requantize(r) => {
            require(operands, &[Current], "a current")?;
            if !(1..=Requantize::MOST_BITS).contains(&r.shift) {
                return Err(TypeError::Parameter(format!("shift={}: 1 to {} bits can be taken off", r.shift, Requantize::MOST_BITS)));
            }
            (Current, operands[0].shape.clone())
        }
        Op::Encode { scale, limit } => {
            require(operands, &[Current], "a current")?;
            broadcasts("scale", scale, &operands[0].shape)?;
            if scale.is_integer() || !scale.as_f32().iter().all(|s| *s > 0.0 && s.is_finite()) || *limit <= 0 {
                return Err(TypeError::Parameter("scale and limit must be positive".into()));
            }
            (Current, operands[0].shape.clone())
        }
        Op::If(n) => {
            require(operands, &[Current], "a current")?;
            n.fits(&operands[0].shape)?;
            (Spikes, operands[0].shape.clone())
        }
        Op::Layer(l) => {
            require(operands, &[Current, Spikes], "spikes or currents")?;
            if l.synapses.len() != operands.len() {
                return Err(TypeError::OperandCount { expected: "one operand per synapse", got: operands.len() });
            }
            let mut shape: Option<Vec<usize>> = None;
            for (i, (synapse, operand)) in l.synapses.iter().zip(operands).enumerate() {
                if !synapse.is_synapse() {
                    return Err(TypeError::Parameter(format!("synapse {i} is a {}, which is no synapse", synapse.name())));
                }
                let ty = infer(synapse, &[operand])?;
                match &shape {
                    Some(s) if *s != ty.shape => return shape_error(format!("synapse {i} gives {:?}, the first one {s:?}", ty.shape)),
                    _ => shape = Some(ty.shape),
                }
            }
            let shape = shape.unwrap_or_default();
            l.bias.iter().try_for_each(|t| broadcasts("bias", t, &shape))?;
            l.neuron.iter().try_for_each(|n| n.fits(&shape))?;
            (if l.neuron.is_some() { Spikes } else { Current }, shape)
        }
        Op::Readout { scale, .. } => {
            require(operands, &[Current, Spikes], "spikes or a current")?;
            scale.iter().try_for_each(|t| broadcasts("scale", t, &operands[0].shape))?;
            (Signal::Potential, operands[0].shape.clone())
        }
    };
    match element_count(&shape) {
        Some(n) if (1..=MAX_ELEMENTS).contains(&n) => Ok(ValueType { signal, shape }),
        Some(0) => shape_error(format!("the result {shape:?} has no elements")),
        _ => shape_error(format!("the result {shape:?} is too large")),
    }
}
