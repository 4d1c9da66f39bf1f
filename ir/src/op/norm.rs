//! Normalisations: at inference, by neighbouring channels, by whole axes.

use crate::attr::{AttrError, Fields};
use crate::infer::{Inferred, TypeError, linear_signal, require, shape_error};
use crate::signal::{Signal, ValueType};
use crate::tensor::Tensor;

/// Parameters of [`Op::BatchNorm`](super::Op::BatchNorm), each `[C]` (ONNX BatchNormalization).
#[derive(Clone, Debug, PartialEq, Default)]
pub struct BatchNorm {
    /// γ.
    pub gamma: Tensor,
    /// β.
    pub beta: Tensor,
    /// Running mean.
    pub mean: Tensor,
    /// Running variance.
    pub variance: Tensor,
    /// ε.
    pub epsilon: f32,
}

impl BatchNorm {
    /// The `(factor, summand)` per channel that the normalisation amounts to: `γ/√(σ²+ε)` and `β −
    /// μ·factor`.
    pub fn factors(&self) -> (Vec<f32>, Vec<f32>) {
        let (gamma, beta) = (self.gamma.as_f32(), self.beta.as_f32());
        let (mean, variance) = (self.mean.as_f32(), self.variance.as_f32());
        (0..gamma.len())
            .map(|c| {
                let factor = f64::from(gamma[c]) / (f64::from(variance[c]) + f64::from(self.epsilon)).sqrt();
                (factor as f32, (f64::from(beta[c]) - f64::from(mean[c]) * factor) as f32)
            })
            .unzip()
    }

    pub(super) fn fields(&mut self, f: &mut Fields) -> Result<(), AttrError> {
        f.float_tensor("gamma", &mut self.gamma)?;
        f.float_tensor("beta", &mut self.beta)?;
        f.float_tensor("mean", &mut self.mean)?;
        f.float_tensor("variance", &mut self.variance)?;
        f.float("epsilon", &mut self.epsilon)
    }

    pub(super) fn infer(&self, operands: &[&ValueType]) -> Inferred {
        let Some(&channels) = operands[0].shape.first() else {
            return shape_error("a batch-norm needs an operand [C, ..], not a scalar".into());
        };
        for (name, t) in [("gamma", &self.gamma), ("beta", &self.beta), ("mean", &self.mean), ("variance", &self.variance)] {
            if t.shape() != [channels] {
                return shape_error(format!("{name} has shape {:?}, expected [{channels}]", t.shape()));
            }
        }
        if self.variance.as_f32().iter().any(|&v| v + self.epsilon <= 0.0) {
            return Err(TypeError::Parameter("variance + epsilon must be positive".into()));
        }
        Ok((linear_signal(operands)?, operands[0].shape.clone()))
    }
}

/// Parameters of [`Op::Lrn`](super::Op::Lrn) (ONNX LRN): `x / (bias + alpha/size · Σ x²)^beta` over
/// `size` neighbouring channels.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Lrn {
    /// Number of channels in the sum.
    pub size: usize,
    /// α.
    pub alpha: f32,
    /// β.
    pub beta: f32,
    /// k.
    pub bias: f32,
}

impl Lrn {
    pub(super) fn fields(&mut self, f: &mut Fields) -> Result<(), AttrError> {
        f.size("size", &mut self.size)?;
        f.float("alpha", &mut self.alpha)?;
        f.float("beta", &mut self.beta)?;
        f.float("bias", &mut self.bias)
    }
}

/// Parameters of [`Op::RmsNorm`](super::Op::RmsNorm): `x / √(mean(x²) + ε)`, the mean over `axes`.
/// With the mean taken off before it is the heart of instance, group and layer normalisation.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct RmsNorm {
    /// Per-sample axes, ascending.
    pub axes: Vec<usize>,
    /// ε.
    pub epsilon: f32,
}

impl RmsNorm {
    pub(super) fn fields(&mut self, f: &mut Fields) -> Result<(), AttrError> {
        f.sizes("axes", &mut self.axes)?;
        f.float("epsilon", &mut self.epsilon)
    }

    pub(super) fn infer(&self, operands: &[&ValueType]) -> Inferred {
        require(operands, &[Signal::Analog], "an analog value")?;
        if self.axes.iter().any(|&a| a >= operands[0].shape.len()) || !self.axes.is_sorted() {
            return shape_error(format!("axes {:?} do not fit {}", self.axes, operands[0]));
        }
        if !(self.epsilon >= 0.0 && self.epsilon.is_finite()) {
            return Err(TypeError::Parameter("epsilon must not be negative".into()));
        }
        Ok((Signal::Analog, operands[0].shape.clone()))
    }
}

/// The type of a softmax along `axis`.
pub(super) fn infer_softmax(axis: usize, operands: &[&ValueType]) -> Inferred {
    require(operands, &[Signal::Analog], "an analog value")?;
    if axis >= operands[0].shape.len() {
        return shape_error(format!("axis {axis} does not fit {}", operands[0]));
    }
    Ok((Signal::Analog, operands[0].shape.clone()))
}
