//! Activation functions: [Relu](https://onnx.ai/onnx/operators/onnx__Relu.html),
//! [Clip](https://onnx.ai/onnx/operators/onnx__Clip.html), [Softmax](https://onnx.ai/onnx/operators/onnx__Softmax.html), ..

use super::error::Refusal;
use super::importer::{Importer, Runtime, Value, parameter_over};
use super::node::{NodeView, normal_axis};
use super::registry::{Fidelity, Lower, OpSpec};
use snn_ir::op::Relu;
use snn_ir::{Activation, Op};

const fn exact(name: &'static str, becomes: &'static str, lower: Lower) -> OpSpec {
    OpSpec { name, since: 1, inputs: (1, 1), fidelity: Fidelity::Exact, becomes, limits: "", lower }
}

const fn smooth(name: &'static str, since: i64, becomes: &'static str, lower: Lower) -> OpSpec {
    OpSpec { since, fidelity: Fidelity::Approximated, ..exact(name, becomes, lower) }
}

/// The operators of this family.
pub const OPS: &[OpSpec] = &[
    exact("Relu", "`relu`", |imp, node| apply(imp, node, Op::Relu(Relu::default()))),
    OpSpec {
        inputs: (1, 3),
        limits: "bounds must be constant",
        ..exact("Clip", "`relu` with a cap when the lower bound is 0, else `clip`", clip)
    },
    exact("LeakyRelu", "`leaky_relu`", |imp, node| activation(imp, node, Activation::LeakyRelu { slope: node.float("alpha", 0.01)? })),
    OpSpec { inputs: (2, 2), limits: "the slope must be constant", ..exact("PRelu", "`prelu`", prelu) },
    exact("Abs", "`abs`", |imp, node| activation(imp, node, Activation::Abs)),
    OpSpec {
        since: 10,
        fidelity: Fidelity::Approximated,
        ..exact("ThresholdedRelu", "`thresholded_relu`", |imp, node| {
            activation(imp, node, Activation::ThresholdedRelu { alpha: node.float("alpha", 1.0)? })
        })
    },
    exact("HardSigmoid", "`hard_sigmoid`", hard_sigmoid),
    smooth("HardSwish", 14, "`hard_swish`", |imp, node| activation(imp, node, Activation::HardSwish)),
    smooth("Sigmoid", 1, "`sigmoid`", |imp, node| activation(imp, node, Activation::Sigmoid)),
    smooth("Tanh", 1, "`tanh`", |imp, node| activation(imp, node, Activation::Tanh)),
    smooth("Elu", 1, "`elu`", |imp, node| activation(imp, node, Activation::Elu { alpha: node.float("alpha", 1.0)? })),
    smooth("Selu", 1, "`selu`", selu),
    smooth("Celu", 12, "`celu`", celu),
    smooth("Softplus", 1, "`softplus`", |imp, node| activation(imp, node, Activation::Softplus)),
    smooth("Softsign", 1, "`softsign`", |imp, node| activation(imp, node, Activation::Softsign)),
    smooth("Gelu", 20, "`gelu`, or `gelu_tanh` with approximate = tanh", gelu),
    smooth("Swish", 24, "`silu`, scaled when alpha is not 1", swish),
    smooth("Mish", 18, "`mish`", |imp, node| activation(imp, node, Activation::Mish)),
    OpSpec {
        limits: "at the end of the network, where it is dropped: it changes no ranking",
        ..exact("Softmax", "`softmax`", |imp, node| softmax(imp, node, false))
    },
    OpSpec {
        limits: "at the end of the network, where it is dropped: it changes no ranking",
        ..exact("LogSoftmax", "`softmax` with log", |imp, node| softmax(imp, node, true))
    },
];

fn apply(imp: &mut Importer, node: &NodeView, op: Op) -> Result<Vec<Value>, Refusal> {
    Ok(vec![imp.unary(node.runtime(0)?, op)?.into()])
}

fn activation(imp: &mut Importer, node: &NodeView, function: Activation) -> Result<Vec<Value>, Refusal> {
    apply(imp, node, Op::Activation(function))
}

/// `min(max(x, low), high)`: nothing, a ReLU or a clip. Bounds beyond all floats are none.
///
/// # Errors
/// As [`Importer::emit`].
pub fn clipped(imp: &mut Importer, x: &Runtime, low: f32, high: f32) -> Result<Runtime, Refusal> {
    let (min, max) = (low.max(f32::MIN), high.min(f32::MAX));
    match (min, max) {
        (f32::MIN, f32::MAX) => Ok(x.clone()),
        (0.0, f32::MAX) => imp.unary(x, Op::Relu(Relu::default())),
        (0.0, cap) if cap > 0.0 => imp.unary(x, Op::Relu(Relu { cap: Some(cap), threshold: None })),
        _ => imp.unary(x, Op::Activation(Activation::Clip { min, max })),
    }
}

/// Attributes before opset 11, inputs from then on.
fn clip(imp: &mut Importer, node: &NodeView) -> Result<Vec<Value>, Refusal> {
    let bound = |name: &str, input: usize, default: f32| match node.optional_constant(input, name)? {
        Some(c) => c.scalar().filter(|v| !v.is_nan()).ok_or_else(|| Refusal::from(format!("its {name} has shape {:?}", c.shape))),
        None if node.opset < 11 => node.float(name, default),
        None => Ok(default),
    };
    let (low, high) = (bound("min", 1, f32::MIN)?, bound("max", 2, f32::MAX)?);
    if let Some(Value::Constant(c)) = node.optional(0) {
        let data: Vec<f32> = c.to_floats()?.iter().map(|v| v.max(low).min(high)).collect();
        return Ok(vec![super::fold::like(c, data).into()]);
    }
    Ok(vec![clipped(imp, node.runtime(0)?, low, high)?.into()])
}

fn prelu(imp: &mut Importer, node: &NodeView) -> Result<Vec<Value>, Refusal> {
    let (x, slope) = (node.runtime(0)?, node.constant(1, "slope")?);
    let function = match slope.uniform() {
        Some(slope) if slope.is_finite() => Activation::LeakyRelu { slope },
        _ => Activation::PRelu(parameter_over(x, slope)?),
    };
    activation(imp, node, function)
}

fn hard_sigmoid(imp: &mut Importer, node: &NodeView) -> Result<Vec<Value>, Refusal> {
    activation(imp, node, Activation::HardSigmoid { alpha: node.float("alpha", 0.2)?, beta: node.float("beta", 0.5)? })
}

fn selu(imp: &mut Importer, node: &NodeView) -> Result<Vec<Value>, Refusal> {
    // The defaults that ONNX writes out.
    let alpha = node.float("alpha", 1.673_263_2)?;
    activation(imp, node, Activation::Selu { alpha, gamma: node.float("gamma", 1.050_701)? })
}

fn celu(imp: &mut Importer, node: &NodeView) -> Result<Vec<Value>, Refusal> {
    match node.float("alpha", 1.0)? {
        0.0 => Err("alpha is 0".into()),
        alpha => activation(imp, node, Activation::Celu { alpha }),
    }
}

fn gelu(imp: &mut Importer, node: &NodeView) -> Result<Vec<Value>, Refusal> {
    match node.string("approximate", "none") {
        "none" => activation(imp, node, Activation::Gelu),
        "tanh" => activation(imp, node, Activation::GeluTanh),
        other => Err(format!("approximate is `{other}`").into()),
    }
}

/// `x · sigmoid(alpha · x)`.
fn swish(imp: &mut Importer, node: &NodeView) -> Result<Vec<Value>, Refusal> {
    match node.float("alpha", 1.0)? {
        1.0 => activation(imp, node, Activation::Silu),
        0.0 => Ok(vec![imp.times(node.runtime(0)?, 0.5)?.into()]),
        alpha => {
            let inside = imp.times(node.runtime(0)?, alpha)?;
            let y = imp.unary(&inside, Op::Activation(Activation::Silu))?;
            Ok(vec![imp.times(&y, 1.0 / alpha)?.into()])
        }
    }
}

fn softmax(imp: &mut Importer, node: &NodeView, log: bool) -> Result<Vec<Value>, Refusal> {
    let x = node.runtime(0)?;
    let (rank, whole_tail) = (x.rank(), node.opset < 13);
    if rank == 0 {
        return Err("it needs at least one axis".into());
    }
    let axis = normal_axis(node.int("axis", if whole_tail { 1.min(rank as i64 - 1) } else { -1 }), rank)?;
    // Before opset 13 the axes from `axis` on are one.
    let flat = match whole_tail && x.shape[axis + 1..].iter().any(|&d| d != 1) {
        true => imp.reshape(x, &[&x.shape[..axis], &[x.shape[axis..].iter().product()]].concat())?,
        false => imp.free_axis(x, axis)?,
    };
    let flat = imp.free_axis(&flat, axis)?;
    let axis = flat.sample_axis(axis).expect("the axis was freed");
    let y = imp.unary(&flat, Op::Softmax { axis, log })?;
    Ok(vec![if y.shape == x.shape { y } else { imp.reshape(&y, &x.shape)? }.into()])
}
