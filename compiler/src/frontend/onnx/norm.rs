//! Normalisation: [BatchNormalization](https://onnx.ai/onnx/operators/onnx__BatchNormalization.html),
//! [LRN](https://onnx.ai/onnx/operators/onnx__LRN.html).

use super::error::Refusal;
use super::importer::{Importer, Value};
use super::node::{NodeView, extent};
use super::registry::{Fidelity, OpSpec};
use snn_ir::Op;
use snn_ir::op::{BatchNorm, Lrn};

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
];

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
