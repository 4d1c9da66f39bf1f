//! Quantised models in QDQ form, taken as the floats they stand for:
//! [QuantizeLinear](https://onnx.ai/onnx/operators/onnx__QuantizeLinear.html),
//! [DequantizeLinear](https://onnx.ai/onnx/operators/onnx__DequantizeLinear.html).

use super::constant::{Constant, DataType, integer_range};
use super::error::Refusal;
use super::importer::{Importer, Mark, Value};
use super::node::{NodeView, normal_axis};
use super::registry::{Fidelity, OpSpec};
use snn_ir::op::Relu;
use snn_ir::{Activation, Graph, NodeId, Op};

/// The operators of this family.
pub const OPS: &[OpSpec] = &[
    OpSpec {
        name: "QuantizeLinear",
        since: 10,
        inputs: (2, 3),
        fidelity: Fidelity::Approximated,
        becomes: "`relu` where the range starts at 0, else nothing; rounding is dropped",
        limits: "must be followed by DequantizeLinear; scale and zero point must be constant",
        lower: quantize,
    },
    OpSpec {
        name: "DequantizeLinear",
        since: 10,
        inputs: (2, 3),
        fidelity: Fidelity::Exact,
        becomes: "nothing on a computed value, the float weight of an integer constant",
        limits: "scale and zero point must be constant",
        lower: dequantize,
    },
];

/// Whether a value cannot be negative, as far as a look at the nodes before it tells.
fn is_non_negative(graph: &Graph, node: NodeId) -> bool {
    let mut left = vec![node];
    for _ in 0..64 {
        let Some(at) = left.pop() else { return true };
        match graph.op(at) {
            Op::Relu(_) | Op::Activation(Activation::Sigmoid | Activation::HardSigmoid { .. } | Activation::Abs | Activation::Softplus) => {
            }
            Op::Pad(p) if p.value < 0.0 => return false,
            Op::MaxPool(_) | Op::AvgPool(_) | Op::Reduce(_) | Op::Add | Op::Maximum | Op::Pad(_) => left.extend(graph.operands(at)),
            op if op.is_structural() => left.extend(graph.operands(at)),
            _ => return false,
        }
    }
    false
}

/// Where the least integer stands for 0, quantising is the ReLU that the quantiser fused away.
fn quantize(imp: &mut Importer, node: &NodeView) -> Result<Vec<Value>, Refusal> {
    if let Value::Constant(c) = node.input(0)? {
        return quantize_constant(node, c);
    }
    let x = node.runtime(0)?;
    let scale = node.constant(1, "scale")?.to_floats()?;
    if scale.iter().any(|&s| !(s > 0.0 && s.is_finite())) || node.int("block_size", 0) != 0 {
        return Err("its scale is not a positive number, or blockwise".into());
    }
    let zero = node.optional_constant(2, "zero point")?;
    let (low, _) = integer_range(zero.map_or(DataType::Uint8, |z| z.data_type));
    let zero = zero.map_or(Some(0.0), |z| z.uniform()).ok_or("its zero points differ between channels")?;
    imp.warn("the model is quantised (QDQ): it is converted as the float network it stands for, without the rounding");
    let rectifies = low as f32 == zero && !is_non_negative(&imp.graph, x.node);
    let y = imp.unary(x, if rectifies { Op::Relu(Relu::default()) } else { Op::Identity })?;
    imp.marks.insert(y.node, Mark::Quantized);
    Ok(vec![y.into()])
}

/// `round(x / scale) + zero point`, saturated: what a file that keeps its weights as floats does to them.
fn quantize_constant(node: &NodeView, c: &Constant) -> Result<Vec<Value>, Refusal> {
    if node.int("block_size", 0) != 0 {
        return Err("blockwise scales are not read".into());
    }
    let axis = node.int("axis", 1);
    let zero = node.optional_constant(2, "zero point")?;
    let named = i32::try_from(node.int("output_dtype", 0)).ok().and_then(|t| DataType::try_from(t).ok());
    let to = match zero {
        Some(zero) => zero.data_type,
        None => named.filter(|&t| t != DataType::Undefined).unwrap_or(DataType::Uint8),
    };
    let real = super::fold::cast(c, DataType::Float)?;
    let scale = along(node.constant(1, "scale")?, &c.shape, axis)?;
    let mut whole = super::fold::zip(&real, &scale, |x, s| (x / s).round_ties_even(), |_, _| None)?;
    if let Some(zero) = zero {
        whole = super::fold::zip(&whole, &along(zero, &c.shape, axis)?, |x, z| x + z, |_, _| None)?;
    }
    Ok(vec![super::fold::cast(&whole, to)?.into()])
}

/// A scale or zero point for a tensor of `shape`: one for all, or one for each index of `axis`.
fn along(p: &Constant, shape: &[usize], axis: i64) -> Result<Constant, Refusal> {
    let p = super::fold::cast(p, DataType::Float)?;
    if p.len() == 1 {
        return Ok(p.reshaped(vec![]));
    }
    let axis = normal_axis(axis, shape.len())?;
    if p.len() != shape[axis] || p.shape.len() != 1 {
        return Err(format!("scales {:?} do not fit axis {axis} of {shape:?}", p.shape).into());
    }
    Ok(p.reshaped((0..shape.len()).map(|a| if a == axis { p.len() } else { 1 }).collect()))
}

fn dequantize(imp: &mut Importer, node: &NodeView) -> Result<Vec<Value>, Refusal> {
    if let Value::Runtime(x) = node.input(0)?
        && matches!(imp.marks.get(&x.node), Some(Mark::Quantized))
    {
        return Ok(vec![imp.unary(x, Op::Identity)?.into()]);
    }
    if node.int("block_size", 0) != 0 {
        return Err("blockwise scales are not read".into());
    }
    let value = node.input(0)?;
    let axis = node.int("axis", 1);
    let scale = along(node.constant(1, "scale")?, value.shape(), axis)?;
    let zero = node.optional_constant(2, "zero point")?.map(|z| along(z, value.shape(), axis)).transpose()?;
    match value {
        Value::Runtime(x) => {
            let centred = match zero {
                Some(zero) => imp.scale(x, None, Some(&super::fold::map(&zero, |z| -z)?))?,
                None => x.clone(),
            };
            Ok(vec![imp.scale(&centred, Some(&scale), None)?.into()])
        }
        Value::Constant(c) => {
            let mut real = super::fold::cast(c, DataType::Float)?;
            if let Some(zero) = &zero {
                real = super::fold::zip(&real, zero, |a, b| a - b, |a, _| Some(a))?;
            }
            Ok(vec![super::fold::zip(&real, &scale, |a, b| a * b, |a, _| Some(a))?.into()])
        }
    }
}
