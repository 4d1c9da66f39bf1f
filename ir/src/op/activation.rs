//! Analog functions of single elements.

use crate::activation::Activation;
use crate::attr::{AttrError, Fields};
use crate::infer::{Inferred, TypeError, broadcasts, require};
use crate::signal::{Signal, ValueType};
use crate::tensor::Tensor;

/// Parameters of [`Op::Relu`](super::Op::Relu).
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Relu {
    /// Upper bound, as in ReLU6.
    pub cap: Option<f32>,
    /// The balanced threshold that `replace-relu` will use, once `balance-thresholds` has chosen
    /// it.
    pub threshold: Option<Tensor>,
}

impl Relu {
    pub(super) fn fields(&mut self, f: &mut Fields) -> Result<(), AttrError> {
        f.optional_float("cap", &mut self.cap)?;
        f.optional_tensor("threshold", &mut self.threshold)
    }

    pub(super) fn infer(&self, operands: &[&ValueType]) -> Inferred {
        require(operands, &[Signal::Analog], "an analog value")?;
        if self.cap.is_some_and(|c| c <= 0.0 || c.is_nan()) {
            return Err(TypeError::Parameter("a cap must be positive".into()));
        }
        self.threshold.iter().try_for_each(|t| broadcasts("threshold", t, &operands[0].shape))?;
        Ok((Signal::Analog, operands[0].shape.clone()))
    }
}

/// The attributes of an activation.
pub(super) fn activation_fields(activation: &mut Activation, f: &mut Fields) -> Result<(), AttrError> {
    match activation {
        Activation::LeakyRelu { slope } => f.float("slope", slope),
        Activation::PRelu(slope) => f.float_tensor("slope", slope),
        Activation::Clip { min, max } => f.float("min", min).and_then(|()| f.float("max", max)),
        Activation::HardSigmoid { alpha, beta } => f.float("alpha", alpha).and_then(|()| f.float("beta", beta)),
        Activation::ThresholdedRelu { alpha } | Activation::Elu { alpha } | Activation::Celu { alpha } => f.float("alpha", alpha),
        Activation::Selu { alpha, gamma } => f.float("alpha", alpha).and_then(|()| f.float("gamma", gamma)),
        Activation::Abs
        | Activation::HardSwish
        | Activation::Sigmoid
        | Activation::Tanh
        | Activation::Softplus
        | Activation::Softsign
        | Activation::Gelu
        | Activation::GeluTanh
        | Activation::Silu
        | Activation::Mish => Ok(()),
    }
}

/// Every activation, with attributes that are still to be read.
pub(super) fn activations() -> Vec<Activation> {
    let (slope, alpha, beta, gamma) = (0.0, 0.0, 0.0, 0.0);
    vec![
        Activation::LeakyRelu { slope },
        Activation::PRelu(Tensor::default()),
        Activation::Clip { min: 0.0, max: 0.0 },
        Activation::Abs,
        Activation::ThresholdedRelu { alpha },
        Activation::HardSigmoid { alpha, beta },
        Activation::HardSwish,
        Activation::Sigmoid,
        Activation::Tanh,
        Activation::Elu { alpha },
        Activation::Selu { alpha, gamma },
        Activation::Celu { alpha },
        Activation::Softplus,
        Activation::Softsign,
        Activation::Gelu,
        Activation::GeluTanh,
        Activation::Silu,
        Activation::Mish,
    ]
}
