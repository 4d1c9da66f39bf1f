//! Weighted sums over neighbours: convolutions and matrix products.

use crate::attr::{AttrError, Fields};
use crate::infer::{Inferred, TypeError, linear_signal, shape_error, spatial, windowed};
use crate::interval::{Channels, Sources};
use crate::signal::ValueType;
use crate::tensor::Tensor;
use crate::window::Window;

/// Parameters of [`Op::Conv`](super::Op::Conv) (ONNX Conv).
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Conv {
    /// `[C_out, C_in / groups, kernel..]`.
    pub weight: Tensor,
    /// `[C_out]`, added in every step.
    pub bias: Option<Tensor>,
    /// Kernel, stride, dilation, padding.
    pub window: Window,
    /// Number of groups.
    pub groups: usize,
}

impl Conv {
    pub(super) fn fields(&mut self, f: &mut Fields) -> Result<(), AttrError> {
        f.tensor("weight", &mut self.weight)?;
        f.optional_tensor("bias", &mut self.bias)?;
        f.window(&mut self.window)?;
        f.size_or("groups", &mut self.groups, 1)
    }

    pub(super) fn infer(&self, operands: &[&ValueType]) -> Inferred {
        let (channels, space) = spatial(operands[0], self.window.rank())?;
        let w = self.weight.shape();
        if self.groups == 0 || w.len() != self.window.rank() + 2 || w[2..] != self.window.kernel[..] || self.window.ceil {
            return shape_error(format!("weight {w:?} does not fit kernel {:?} in {} groups", self.window.kernel, self.groups));
        }
        if w[1].checked_mul(self.groups) != Some(channels) || !w[0].is_multiple_of(self.groups) || w[0] == 0 {
            return shape_error(format!("weight {w:?} in {} groups does not fit {}", self.groups, operands[0]));
        }
        bias_fits(self.bias.as_ref(), w[0])?;
        Ok((linear_signal(operands)?, windowed(w[0], &self.window, self.window.output(space), operands[0])?))
    }

    pub(super) fn current(&self, sources: &Sources<'_>) -> Channels {
        let operand = sources.ranges(0);
        let layout = self.layout();
        let range = |i: usize| operand.at(layout.input(i));
        let sums = Channels::weighted(&self.weight, self.weight.shape()[0], range, |i| layout.output(i));
        sums.plus(&Channels::of_row_bias(self.bias.as_ref()))
    }

    /// Where each weight belongs.
    pub fn layout(&self) -> WeightLayout {
        let (outputs, columns) = (self.weight.shape()[0], self.weight.shape()[1]);
        WeightLayout::OutputFirst { columns, taps: self.window.taps(), per_group: outputs / self.groups }
    }
}

/// Parameters of [`Op::ConvTranspose`](super::Op::ConvTranspose) (ONNX ConvTranspose).
#[derive(Clone, Debug, PartialEq, Default)]
pub struct ConvTranspose {
    /// `[C_in, C_out / groups, kernel..]`.
    pub weight: Tensor,
    /// `[C_out]`, added in every step.
    pub bias: Option<Tensor>,
    /// Kernel, stride, dilation, padding taken off the output.
    pub window: Window,
    /// Extra extent at the end of each spatial axis.
    pub output_padding: Vec<usize>,
    /// Number of groups.
    pub groups: usize,
}

impl ConvTranspose {
    pub(super) fn fields(&mut self, f: &mut Fields) -> Result<(), AttrError> {
        f.tensor("weight", &mut self.weight)?;
        f.optional_tensor("bias", &mut self.bias)?;
        f.window(&mut self.window)?;
        f.dims_or("output_pad", &mut self.output_padding, vec![0; self.window.rank()])?;
        f.size_or("groups", &mut self.groups, 1)
    }

    pub(super) fn infer(&self, operands: &[&ValueType]) -> Inferred {
        let (channels, space) = spatial(operands[0], self.window.rank())?;
        let (w, rank) = (self.weight.shape(), self.window.rank());
        if self.groups == 0 || w.len() != rank + 2 || w[2..] != self.window.kernel[..] || self.output_padding.len() != rank {
            return shape_error(format!("weight {w:?} does not fit kernel {:?} in {} groups", self.window.kernel, self.groups));
        }
        if w[0] != channels || !w[0].is_multiple_of(self.groups) || w[1] == 0 {
            return shape_error(format!("weight {w:?} in {} groups does not fit {}", self.groups, operands[0]));
        }
        let Some(out_channels) = w[1].checked_mul(self.groups) else {
            return shape_error(format!("weight {w:?} in {} groups gives too many channels", self.groups));
        };
        bias_fits(self.bias.as_ref(), out_channels)?;
        let padded = |out: Vec<usize>| out.iter().zip(&self.output_padding).map(|(a, b)| a.checked_add(*b)).collect();
        let out = self.window.transposed_output(space).and_then(padded);
        Ok((linear_signal(operands)?, windowed(out_channels, &self.window, out, operands[0])?))
    }

    pub(super) fn current(&self, sources: &Sources<'_>) -> Channels {
        let operand = sources.ranges(0);
        let layout = self.layout();
        let range = |i: usize| operand.at(layout.input(i));
        let outputs = self.weight.shape()[1] * self.groups;
        let sums = Channels::weighted(&self.weight, outputs, range, |i| layout.output(i));
        sums.plus(&Channels::of_row_bias(self.bias.as_ref()))
    }

    /// Where each weight belongs.
    pub fn layout(&self) -> WeightLayout {
        let (inputs, columns) = (self.weight.shape()[0], self.weight.shape()[1]);
        WeightLayout::InputFirst { columns, taps: self.window.taps(), per_group: inputs / self.groups }
    }
}

/// Parameters of [`Op::Linear`](super::Op::Linear): `[.., in]` to `[.., out]` (ONNX Gemm, MatMul by
/// a constant).
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Linear {
    /// `[out, in]`.
    pub weight: Tensor,
    /// `[out]`, added in every step.
    pub bias: Option<Tensor>,
}

impl Linear {
    pub(super) fn fields(&mut self, f: &mut Fields) -> Result<(), AttrError> {
        f.tensor("weight", &mut self.weight)?;
        f.optional_tensor("bias", &mut self.bias)
    }

    pub(super) fn infer(&self, operands: &[&ValueType]) -> Inferred {
        let w = self.weight.shape();
        let Some((&last, outer)) = operands[0].shape.split_last() else {
            return shape_error("a linear operation needs at least one axis".into());
        };
        if w.len() != 2 || w[1] != last || w[0] == 0 {
            return shape_error(format!("weight {w:?} does not fit {}", operands[0]));
        }
        bias_fits(self.bias.as_ref(), w[0])?;
        Ok((linear_signal(operands)?, [outer, &[w[0]]].concat()))
    }

    /// Inputs and outputs are the last axis; channels are the first.
    pub(super) fn current(&self, sources: &Sources<'_>) -> Channels {
        let (vector, all, layout) = (sources.shape.len() == 1, sources.hull(), self.layout());
        let range = |i: usize| if vector { sources.ranges(0).at(layout.input(i)) } else { all };
        let rows = Channels::weighted(&self.weight, self.weight.shape()[0], range, |i| layout.output(i));
        let rows = rows.plus(&Channels::of_row_bias(self.bias.as_ref()));
        if vector { rows } else { Channels::one(rows.hull()) }
    }

    /// Where each weight belongs.
    pub fn layout(&self) -> WeightLayout {
        let (outputs, columns) = (self.weight.shape()[0], self.weight.shape()[1]);
        WeightLayout::OutputFirst { columns: columns.max(1), taps: 1, per_group: outputs }
    }
}

/// Which channel of the operand each weight of a matrix multiplies, and which of the result it
/// contributes to; for [`Linear`] those are indices along the last axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeightLayout {
    /// `[outputs, columns, taps]`: a group is `per_group` outputs that share their columns.
    OutputFirst {
        /// Inputs that an output sees.
        columns: usize,
        /// Weights for each pair of input and output.
        taps: usize,
        /// Outputs of a group.
        per_group: usize,
    },
    /// `[inputs, columns, taps]`: a group is `per_group` inputs that share their columns.
    InputFirst {
        /// Outputs that an input reaches.
        columns: usize,
        /// Weights for each pair of input and output.
        taps: usize,
        /// Inputs of a group.
        per_group: usize,
    },
}

impl WeightLayout {
    /// The input channel of weight `i`.
    pub fn input(self, i: usize) -> usize {
        match self {
            WeightLayout::OutputFirst { columns, taps, per_group } => other_end(i, columns, taps, per_group),
            WeightLayout::InputFirst { columns, taps, .. } => i / (columns * taps),
        }
    }

    /// The output channel of weight `i`.
    pub fn output(self, i: usize) -> usize {
        match self {
            WeightLayout::OutputFirst { columns, taps, .. } => i / (columns * taps),
            WeightLayout::InputFirst { columns, taps, per_group } => other_end(i, columns, taps, per_group),
        }
    }
}

/// The channel of weight `i` that the second axis counts, within its group.
fn other_end(i: usize, columns: usize, taps: usize, per_group: usize) -> usize {
    i / (columns * taps) / per_group * columns + i / taps % columns
}

fn bias_fits(bias: Option<&Tensor>, channels: usize) -> Result<(), TypeError> {
    match bias {
        Some(b) if b.shape() != [channels] => shape_error(format!("bias has shape {:?}, expected [{channels}]", b.shape())),
        _ => Ok(()),
    }
}
