//! Stateless operations, compiled for fixed shapes: linear operations, layers without neurons, and
//! operations that only move elements. Both kinds of numbers, row-major, one sample.

mod conv;
mod matmul;
mod number;
mod pool;
mod structure;
mod window;

#[cfg(test)]
mod tests;

pub use matmul::matrix_product;
pub(crate) use number::Number;
pub(crate) use pool::WindowMax;
pub(crate) use structure::Moves;
pub(crate) use window::WindowRuns;

use conv::{Conv, ConvTranspose};
use pool::{AxisSum, WindowSum};
use snn_ir::{Op, Tensor};
use std::sync::Arc;

/// A stateless operation on operands of fixed shapes.
#[derive(Clone, Debug)]
pub(crate) enum Kernel<N> {
    Conv(Conv<N>),
    ConvTranspose(ConvTranspose<N>),
    /// `weight` is `[out, inputs]`.
    Linear {
        weight: Arc<[N]>,
        bias: Option<Arc<[N]>>,
        inputs: usize,
    },
    WindowSum(WindowSum),
    AxisSum(AxisSum),
    /// `x · weight + bias`.
    Scale {
        weight: Option<Broadcast<N>>,
        bias: Option<Broadcast<N>>,
    },
    Add,
    Move {
        moves: Moves,
        padding: N,
    },
    /// The sum of one synapse per operand and a bias.
    Sum {
        synapses: Vec<Kernel<N>>,
        bias: Option<Broadcast<N>>,
    },
}

/// A parameter with one element for every element of the value.
#[derive(Clone, Debug)]
pub(crate) struct Broadcast<N>(Vec<N>);

impl<N: Number> Broadcast<N> {
    /// `None` when the parameter is of the other kind of number (or does not broadcast, which the
    /// graph rules out).
    pub fn new(tensor: &Tensor, shape: &[usize]) -> Option<Self> {
        let data = N::parameters(tensor).filter(|_| tensor.broadcasts_to(shape))?;
        Some(Broadcast(tensor.broadcast_indices(shape).into_iter().map(|i| data[i as usize]).collect()))
    }

    /// One element for every element of the value.
    pub fn elements(&self) -> &[N] {
        &self.0
    }
}

/// Why there is no kernel.
pub(crate) type Refusal = &'static str;

const OTHER_KIND: Refusal = "parameters are integers after an `encode` and floats elsewhere";
const NO_MEAN: Refusal = "integers have no mean";

fn optional<N: Number>(tensor: Option<&Tensor>, shape: &[usize]) -> Result<Option<Broadcast<N>>, Refusal> {
    tensor.map(|t| Broadcast::new(t, shape).ok_or(OTHER_KIND)).transpose()
}

impl<N: Number> Kernel<N> {
    /// The kernel of `op`, which fits the shapes (the graph checked that).
    ///
    /// # Errors
    /// In words, when the operation has state, is none on this kind of numbers, or its parameters
    /// are of the other kind.
    pub fn new(op: &Op, operands: &[&[usize]], result: &[usize]) -> Result<Self, Refusal> {
        let integers = N::divide(N::Sum::default(), 1).is_none();
        Ok(match op {
            Op::Conv(c) => Kernel::Conv(Conv::new(c, operands[0], result).ok_or(OTHER_KIND)?),
            Op::ConvTranspose(c) => Kernel::ConvTranspose(ConvTranspose::new(c, operands[0], result).ok_or(OTHER_KIND)?),
            Op::Linear(l) => Kernel::Linear {
                weight: N::parameters(&l.weight).ok_or(OTHER_KIND)?,
                bias: l.bias.as_ref().map(|b| N::parameters(b).ok_or(OTHER_KIND)).transpose()?,
                inputs: l.weight.shape()[1],
            },
            Op::AvgPool(p) => match WindowSum::new(p, operands[0], result) {
                sum if sum.divides() && integers => return Err(NO_MEAN),
                sum => Kernel::WindowSum(sum),
            },
            Op::Reduce(r) => match AxisSum::new(r, operands[0]) {
                sum if sum.divides() && integers => return Err(NO_MEAN),
                sum => Kernel::AxisSum(sum),
            },
            Op::Scale(s) => Kernel::Scale { weight: optional(s.weight.as_ref(), result)?, bias: optional(s.bias.as_ref(), result)? },
            Op::BatchNorm(b) => {
                let (factor, summand) = b.factors();
                let [weight, bias] = [factor, summand].map(|v| Broadcast::new(&Tensor::per_channel(v, result.len()), result));
                Kernel::Scale { weight: Some(weight.ok_or(OTHER_KIND)?), bias: Some(bias.ok_or(OTHER_KIND)?) }
            }
            Op::Add => Kernel::Add,
            Op::Layer(l) => {
                let synapses = l.synapses.iter().zip(operands).map(|(s, o)| Kernel::new(s, &[o], result)).collect::<Result<_, _>>()?;
                Kernel::Sum { synapses, bias: optional(l.bias.as_ref(), result)? }
            }
            _ => {
                let moves = Moves::new(op, operands, result).ok_or("not an operation on currents or spikes")?;
                let padding = if let Op::Pad(p) = op { p.value } else { 0.0 };
                Kernel::Move { moves, padding: N::constant(padding).ok_or("the padding is no integer")? }
            }
        })
    }

    /// The kernel without its constant summands, so that zeros give zeros.
    pub fn linear_part(&self) -> Self {
        let mut kernel = self.clone();
        match &mut kernel {
            Kernel::Conv(k) => k.drop_bias(),
            Kernel::ConvTranspose(k) => k.drop_bias(),
            Kernel::Linear { bias, .. } => *bias = None,
            Kernel::Scale { bias, .. } => *bias = None,
            Kernel::Move { padding, .. } => *padding = N::default(),
            Kernel::Sum { synapses, bias } => {
                synapses.iter_mut().for_each(|s| *s = s.linear_part());
                *bias = None;
            }
            Kernel::WindowSum(_) | Kernel::AxisSum(_) | Kernel::Add => {}
        }
        kernel
    }

    /// Computes the result of one sample.
    pub fn run(&self, operands: &[&[N]], out: &mut [N]) {
        match self {
            Kernel::Conv(k) => k.run(operands[0], out),
            Kernel::ConvTranspose(k) => k.run(operands[0], out),
            Kernel::Linear { weight, bias, inputs } => {
                let rows = operands[0].chunks_exact(*inputs).zip(out.chunks_exact_mut(weight.len() / inputs));
                rows.for_each(|(x, out)| matmul::multiply_vector(weight, bias.as_deref(), x, out));
            }
            Kernel::WindowSum(k) => k.run(operands[0], out),
            Kernel::AxisSum(k) => k.run(operands[0], out),
            Kernel::Scale { weight, bias } => scale(weight.as_ref(), bias.as_ref(), operands[0], out),
            Kernel::Add => {
                out.copy_from_slice(operands[0]);
                operands[1..].iter().for_each(|x| add_to(out, x));
            }
            Kernel::Move { moves, padding } => moves.run(*padding, operands, out),
            Kernel::Sum { synapses, bias } => {
                synapses[0].run(&operands[..1], out);
                if synapses.len() > 1 {
                    let mut part = vec![N::default(); out.len()];
                    for (synapse, x) in synapses.iter().zip(operands).skip(1) {
                        synapse.run(&[x], &mut part);
                        add_to(out, &part);
                    }
                }
                if let Some(bias) = bias {
                    add_to(out, bias.elements());
                }
            }
        }
    }
}

fn add_to<N: Number>(out: &mut [N], x: &[N]) {
    out.iter_mut().zip(x).for_each(|(o, x)| *o = N::narrow(N::add(o.widen(), x.widen())));
}

fn scale<N: Number>(weight: Option<&Broadcast<N>>, bias: Option<&Broadcast<N>>, x: &[N], out: &mut [N]) {
    match weight {
        None => out.copy_from_slice(x),
        Some(w) => out.iter_mut().zip(x.iter().zip(w.elements())).for_each(|(o, (&x, &w))| {
            *o = N::narrow(N::add_product(N::Sum::default(), x, w));
        }),
    }
    if let Some(b) = bias {
        add_to(out, b.elements());
    }
}
