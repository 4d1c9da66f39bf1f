//! Normalisation: [BatchNormalization](https://onnx.ai/onnx/operators/onnx__BatchNormalization.html),
//! [LRN](https://onnx.ai/onnx/operators/onnx__LRN.html) and those by the sample's own mean and variance,
//! [InstanceNormalization](https://onnx.ai/onnx/operators/onnx__InstanceNormalization.html) and its kin: taking off the mean is
//! linear and exact, the division is approximated later.

use super::constant::Constant;
use super::error::Refusal;
use super::importer::{Importer, Runtime, Value};
use super::node::{NodeView, extent, normal_axis};
use super::registry::{Fidelity, Lower, OpSpec};
use snn_ir::Op;
use snn_ir::op::{BatchNorm, Lrn, RmsNorm};

/// The operators of this family.
pub const OPS: &[OpSpec] = &[
    OpSpec {
        name: "BatchNormalization",
        since: 7,
        inputs: (5, 5),
        fidelity: Fidelity::Exact,
        becomes: "`batch_norm`, folded into the layer before it or a scale on the current",
        limits: "inference form only",
        lower: batch_norm,
    },
    OpSpec {
        name: "LRN",
        since: 1,
        inputs: (1, 1),
        fidelity: Fidelity::Approximated,
        becomes: "`lrn`, replaced by its calibrated mean gain per channel",
        limits: "",
        lower: lrn,
    },
    by_statistics("InstanceNormalization", 6, (3, 3), instance_norm),
    by_statistics("GroupNormalization", 18, (3, 3), group_norm),
    by_statistics("LayerNormalization", 17, (2, 3), |imp, node| layer_norm(imp, node, true)),
    by_statistics("RMSNormalization", 23, (2, 2), |imp, node| layer_norm(imp, node, false)),
];

const fn by_statistics(name: &'static str, since: i64, inputs: (usize, usize), lower: Lower) -> OpSpec {
    OpSpec {
        name,
        since,
        inputs,
        fidelity: Fidelity::Approximated,
        becomes: "the mean taken off exactly, `rms_norm`, replaced by its calibrated mean gain, and `scale`",
        limits: "scale and bias must be constant",
        lower,
    }
}

/// `(x − mean) / √(variance + ε)` over ONNX axes; without `centre`, the mean stays.
fn standardised(imp: &mut Importer, x: &Runtime, axes: &[usize], epsilon: f32, centre: bool) -> Result<Runtime, Refusal> {
    let mut x = x.clone();
    if centre {
        let mean = imp.reduce(&x, axes, true)?;
        let minus = imp.times(&mean, -1.0)?;
        x = super::elementwise::add(imp, &[&x.into(), &minus.into()])?;
    }
    let mut axes: Vec<usize> = axes.iter().filter_map(|&a| x.sample_axis(a)).collect();
    axes.sort_unstable();
    imp.unary(&x, Op::RmsNorm(RmsNorm { axes, epsilon }))
}

/// A parameter per channel of `[N, C, ..]`, in a shape that broadcasts.
fn per_channel(c: &Constant, channels: usize, rank: usize) -> Result<Constant, Refusal> {
    if c.len() != channels {
        return Err(format!("a parameter has {} elements where {channels} belong", c.len()).into());
    }
    let mut shape = vec![1; rank];
    shape[1] = channels;
    Ok(c.reshaped(shape))
}

fn instance_norm(imp: &mut Importer, node: &NodeView) -> Result<Vec<Value>, Refusal> {
    let x = super::conv::spatial_operand(imp, node.runtime(0)?)?;
    let (channels, rank) = (x.shape[1], x.rank());
    let axes: Vec<usize> = (2..rank).collect();
    let y = standardised(imp, &x, &axes, node.float("epsilon", 1e-5)?, true)?;
    let (scale, bias) = (per_channel(node.constant(1, "scale")?, channels, rank)?, per_channel(node.constant(2, "bias")?, channels, rank)?);
    Ok(vec![imp.scale(&y, Some(&scale), Some(&bias))?.into()])
}

/// Scale and bias are per group before opset 21, per channel from then on.
fn group_norm(imp: &mut Importer, node: &NodeView) -> Result<Vec<Value>, Refusal> {
    let x = super::conv::spatial_operand(imp, node.runtime(0)?)?;
    let (channels, rank) = (x.shape[1], x.rank());
    let groups = extent(node.int("num_groups", 0), "num_groups")?;
    if groups == 0 || !channels.is_multiple_of(groups) {
        return Err(format!("{channels} channels do not fall into {groups} groups").into());
    }
    let grouped = imp.reshape(&x, &[1, groups, x.shape[1..].iter().product::<usize>() / groups])?;
    let y = standardised(imp, &grouped, &[2], node.float("epsilon", 1e-5)?, true)?;
    let mut parameters = Vec::new();
    for (i, what) in [(1, "scale"), (2, "bias")] {
        let c = node.constant(i, what)?;
        let spread = if c.len() == groups && groups != channels {
            let each = channels / groups;
            c.picked(vec![channels], |at| at[0] / each)
        } else {
            c.clone()
        };
        parameters.push(per_channel(&spread, channels, rank)?);
    }
    let y = imp.reshape(&y, &x.shape)?;
    Ok(vec![imp.scale(&y, Some(&parameters[0]), Some(&parameters[1]))?.into()])
}

fn layer_norm(imp: &mut Importer, node: &NodeView, centre: bool) -> Result<Vec<Value>, Refusal> {
    let x = node.runtime(0)?;
    let axis = normal_axis(node.int("axis", -1), x.rank())?;
    let axes: Vec<usize> = (axis..x.rank()).collect();
    let y = standardised(imp, x, &axes, node.float("epsilon", 1e-5)?, centre)?;
    let (scale, bias) = (node.constant(1, "scale")?, node.optional_constant(2, "bias")?);
    Ok(vec![imp.scale(&y, Some(scale), bias)?.into()])
}

fn batch_norm(imp: &mut Importer, node: &NodeView) -> Result<Vec<Value>, Refusal> {
    if node.flag("training_mode") {
        return Err(Refusal::with_way_out("it is in training mode", "export the model in evaluation mode"));
    }
    let x = node.runtime(0)?;
    if x.rank() < 2 {
        return Err(format!("it needs an input [N, C, ..], not {:?}", x.shape).into());
    }
    let x = imp.batched(x)?;
    if node.int("spatial", 1) == 0 && x.shape[2..].iter().any(|&d| d != 1) {
        return Err("spatial = 0 normalises every element on its own".into());
    }
    let channels = x.shape[1];
    let parameter = |i: usize, what: &str| node.constant(i, what)?.vector(channels);
    let op = BatchNorm {
        gamma: parameter(1, "scale")?,
        beta: parameter(2, "bias")?,
        mean: parameter(3, "mean")?,
        variance: parameter(4, "variance")?,
        epsilon: node.float("epsilon", 1e-5)?,
    };
    Ok(vec![imp.unary(&x, Op::BatchNorm(op))?.into()])
}

fn lrn(imp: &mut Importer, node: &NodeView) -> Result<Vec<Value>, Refusal> {
    let x = super::conv::spatial_operand(imp, node.runtime(0)?)?;
    let size = match extent(node.int("size", 0), "size")? {
        0 => return Err("size must be positive".into()),
        size => size,
    };
    let op = Lrn { size, alpha: node.float("alpha", 1e-4)?, beta: node.float("beta", 0.75)?, bias: node.float("bias", 1.0)? };
    Ok(vec![imp.unary(&x, Op::Lrn(op))?.into()])
}
