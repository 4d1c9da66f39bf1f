//! Quantised models in QDQ form, taken as the floats they stand for:
//! [QuantizeLinear](https://onnx.ai/onnx/operators/onnx__QuantizeLinear.html),
//! [DequantizeLinear](https://onnx.ai/onnx/operators/onnx__DequantizeLinear.html).

use super::constant::{Constant, DataType, integer_range};
use super::error::Refusal;
use super::importer::{Importer, Value};
use super::node::{NodeView, normal_axis};
use super::registry::{Fidelity, OpSpec};

/// The operators of this family.
pub const OPS: &[OpSpec] = &[
    OpSpec {
        name: "QuantizeLinear",
        since: 10,
        inputs: (2, 3),
        fidelity: Fidelity::Approximated,
        becomes: "a clip to the representable range; rounding is dropped",
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

/// Clips to what the integers can represent, in real units: where the least of them stands for 0 this is the ReLU that
/// the quantiser fused away.
fn quantize(imp: &mut Importer, node: &NodeView) -> Result<Vec<Value>, Refusal> {
    let x = node.runtime(0)?;
    let scale = node.constant(1, "scale")?;
    let zero = node.optional_constant(2, "zero point")?;
    let (low, high) = integer_range(zero.map_or(DataType::Uint8, |z| z.data_type));
    let zero = zero.map_or(Some(0.0), |z| z.uniform()).ok_or("its zero points differ between channels")?;
    imp.warn("the model is quantised (QDQ): it is converted as the float network it stands for, without the rounding");
    match scale.uniform() {
        Some(scale) if scale > 0.0 && scale.is_finite() => {
            let bound = |q: i64| ((q as f64 - f64::from(zero)) * f64::from(scale)) as f32;
            Ok(vec![super::activation::clipped(imp, x, bound(low), bound(high))?.into()])
        }
        _ => Err("its scale is not one positive number".into()),
    }
}

fn dequantize(_: &mut Importer, node: &NodeView) -> Result<Vec<Value>, Refusal> {
    let c = match node.input(0)? {
        Value::Runtime(_) => return Ok(vec![node.input(0)?.clone()]),
        Value::Constant(c) => c,
    };
    let scale = node.constant(1, "scale")?;
    let rank = c.shape.len();
    // A vector of scales lies along `axis`.
    let axis = if scale.len() == 1 { 0 } else { normal_axis(node.int("axis", 1), rank)? };
    let along = |p: &Constant| -> Result<Constant, Refusal> {
        match p.len() {
            1 => Ok(p.reshaped(vec![])),
            n if n == c.shape[axis] => Ok(p.reshaped((0..rank).map(|a| if a == axis { n } else { 1 }).collect())),
            n => Err(format!("{n} scales do not fit {:?}", c.shape).into()),
        }
    };
    if node.int("block_size", 0) != 0 {
        return Err("blockwise scales are not read".into());
    }
    let mut value: Value = super::fold::cast(c, DataType::Float)?.into();
    let float = |p: &Constant| super::fold::cast(p, DataType::Float);
    if let Some(zero) = node.optional_constant(2, "zero point")? {
        let (zero, value_now) = (float(&along(zero)?)?, value.as_constant().cloned());
        value = super::fold::accumulate(&[value_now.as_ref(), Some(&zero)], |a, b| a - b, |a, _| a)?.remove(0);
    }
    let scale = float(&along(scale)?)?;
    super::fold::accumulate(&[value.as_constant(), Some(&scale)], |a, b| a * b, |a, _| a)
}
