//! Scalar functions of the ANN that are not a plain ReLU.

use crate::tensor::Tensor;

/// A scalar activation function, applied elementwise.
#[derive(Clone, Debug, PartialEq)]
pub enum Activation {
    /// `x` for `x >= 0`, `slope · x` below (ONNX LeakyRelu).
    LeakyRelu {
        /// Slope below zero.
        slope: f32,
    },
    /// LeakyReLU with a slope tensor that broadcasts over the value (ONNX PRelu).
    PRelu(Tensor),
    /// `min(max(x, min), max)` (ONNX Clip with bounds that are no ReLU).
    Clip {
        /// Lower bound.
        min: f32,
        /// Upper bound.
        max: f32,
    },
    /// `|x|`.
    Abs,
    /// `x` above `alpha`, else 0 (ONNX ThresholdedRelu).
    ThresholdedRelu {
        /// The bound.
        alpha: f32,
    },
    /// `min(max(alpha·x + beta, 0), 1)`.
    HardSigmoid {
        /// Slope.
        alpha: f32,
        /// Offset.
        beta: f32,
    },
    /// `x · min(max(x/6 + 1/2, 0), 1)`.
    HardSwish,
    /// `1 / (1 + e⁻ˣ)`.
    Sigmoid,
    /// Hyperbolic tangent.
    Tanh,
    /// `x` for `x >= 0`, `alpha (eˣ − 1)` below.
    Elu {
        /// Scale of the exponential.
        alpha: f32,
    },
    /// `gamma · (x for x > 0, alpha (eˣ − 1) below)`.
    Selu {
        /// Scale of the exponential.
        alpha: f32,
        /// Overall scale.
        gamma: f32,
    },
    /// `max(0,x) + min(0, alpha (e^(x/alpha) − 1))`.
    Celu {
        /// Scale of the exponential.
        alpha: f32,
    },
    /// `ln(1 + eˣ)`.
    Softplus,
    /// `x / (1 + |x|)`.
    Softsign,
    /// `x Φ(x)`, by the error function.
    Gelu,
    /// `x Φ(x)`, by the tanh approximation.
    GeluTanh,
    /// `x · sigmoid(x)`.
    Silu,
    /// `x · tanh(softplus(x))`.
    Mish,
}

/// `erf`, to 1.2e-7 (Numerical Recipes' erfc Chebyshev fit), enough for f32.
fn erf(x: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.5 * x.abs());
    let coefficients = [
        -1.265_512_23,
        1.000_023_68,
        0.374_091_96,
        0.096_784_18,
        -0.186_288_06,
        0.278_868_07,
        -1.135_203_98,
        1.488_515_87,
        -0.822_152_23,
        0.170_872_77,
    ];
    let polynomial = coefficients.iter().rev().fold(0.0, |sum, c| sum * t + c);
    let tail = t * (-x * x + polynomial).exp();
    if x >= 0.0 { 1.0 - tail } else { tail - 1.0 }
}

impl Activation {
    /// Name in the text form.
    pub fn name(&self) -> &'static str {
        match self {
            Activation::LeakyRelu { .. } => "leaky_relu",
            Activation::PRelu(_) => "prelu",
            Activation::Clip { .. } => "clip",
            Activation::Abs => "abs",
            Activation::ThresholdedRelu { .. } => "thresholded_relu",
            Activation::HardSigmoid { .. } => "hard_sigmoid",
            Activation::HardSwish => "hard_swish",
            Activation::Sigmoid => "sigmoid",
            Activation::Tanh => "tanh",
            Activation::Elu { .. } => "elu",
            Activation::Selu { .. } => "selu",
            Activation::Celu { .. } => "celu",
            Activation::Softplus => "softplus",
            Activation::Softsign => "softsign",
            Activation::Gelu => "gelu",
            Activation::GeluTanh => "gelu_tanh",
            Activation::Silu => "silu",
            Activation::Mish => "mish",
        }
    }

    /// Whether the function is continuous and made of straight lines, so that rectifiers make it up exactly.
    pub fn is_piecewise_linear(&self) -> bool {
        use Activation::{Abs, Clip, HardSigmoid, LeakyRelu, PRelu};
        matches!(self, LeakyRelu { .. } | PRelu(_) | Clip { .. } | Abs | HardSigmoid { .. })
    }

    /// The function's value at `x`; `slope` is the element of the slope tensor that belongs to `x`
    /// ([`Activation::PRelu`] only).
    pub fn apply(&self, x: f32, slope: f32) -> f32 {
        let d = f64::from(x);
        let value = match *self {
            Activation::PRelu(_) => return if x >= 0.0 { x } else { slope * x },
            Activation::LeakyRelu { slope } => return if x >= 0.0 { x } else { slope * x },
            Activation::Clip { min, max } => return x.max(min).min(max),
            Activation::Abs => return x.abs(),
            Activation::ThresholdedRelu { alpha } => return if x > alpha { x } else { 0.0 },
            Activation::HardSigmoid { alpha, beta } => return (alpha * x + beta).clamp(0.0, 1.0),
            Activation::HardSwish => return x * (x / 6.0 + 0.5).clamp(0.0, 1.0),
            Activation::Sigmoid => 1.0 / (1.0 + (-d).exp()),
            Activation::Tanh => d.tanh(),
            Activation::Elu { alpha } => {
                if d >= 0.0 {
                    d
                } else {
                    f64::from(alpha) * d.exp_m1()
                }
            }
            Activation::Selu { alpha, gamma } => f64::from(gamma) * if d > 0.0 { d } else { f64::from(alpha) * d.exp_m1() },
            Activation::Celu { alpha } => {
                let alpha = f64::from(alpha);
                d.max(0.0) + (alpha * (d / alpha).exp_m1()).min(0.0)
            }
            Activation::Softplus => d.max(0.0) + (-d.abs()).exp().ln_1p(),
            Activation::Softsign => d / (1.0 + d.abs()),
            Activation::Gelu => 0.5 * d * (1.0 + erf(d / std::f64::consts::SQRT_2)),
            Activation::GeluTanh => 0.5 * d * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (d + 0.044_715 * d * d * d)).tanh()),
            Activation::Silu => d / (1.0 + (-d).exp()),
            Activation::Mish => d * (d.max(0.0) + (-d.abs()).exp().ln_1p()).tanh(),
        };
        value as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn smooth_functions_have_their_textbook_values() {
        let near = |a: Activation, x: f32, want: f32| assert!((a.apply(x, 0.0) - want).abs() < 1e-6, "{} at {x}", a.name());
        near(Activation::Sigmoid, 0.0, 0.5);
        near(Activation::Gelu, 1.0, 0.841_344_7);
        near(Activation::Gelu, -1.0, -0.158_655_26);
        near(Activation::Silu, 1.0, 0.731_058_6);
        near(Activation::Softplus, 0.0, std::f32::consts::LN_2);
        near(Activation::Mish, 1.0, 0.865_098_4);
        near(Activation::Softplus, 100.0, 100.0);
        near(Activation::HardSwish, 1.0, 2.0 / 3.0);
    }
}
