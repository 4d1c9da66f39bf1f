//! [Pad](https://onnx.ai/onnx/operators/onnx__Pad.html): constant, reflect, edge, wrap; negative amounts crop.

use super::constant::Constant;
use super::error::Refusal;
use super::importer::{Importer, Runtime, Value, index_list};
use super::node::{LARGEST_EXTENT, NodeView, normal_axis};
use snn_ir::Op;
use snn_ir::op::Pad;

/// `(before, after)` per axis: attribute before opset 11, input from then on, for some axes only from opset 18 on.
fn amounts(node: &NodeView, rank: usize) -> Result<Vec<(i64, i64)>, Refusal> {
    let pads = node.ints_of("pads", 1)?.ok_or("its amounts are missing")?;
    let axes = match node.optional_constant(3, "axes")? {
        Some(c) => c.to_ints()?.iter().map(|&a| normal_axis(a, rank)).collect::<Result<Vec<_>, _>>()?,
        None => (0..rank).collect(),
    };
    if pads.len() != 2 * axes.len() {
        return Err(format!("{} amounts do not fit {} axes", pads.len(), axes.len()).into());
    }
    if let Some(p) = pads.iter().find(|p| !(-LARGEST_EXTENT..=LARGEST_EXTENT).contains(*p)) {
        return Err(format!("an amount is {p}").into());
    }
    let mut amounts = vec![(0, 0); rank];
    for (i, &axis) in axes.iter().enumerate() {
        amounts[axis] = (pads[i], pads[i + axes.len()]);
    }
    Ok(amounts)
}

/// The element of an axis of `n` at position `i` outside or inside of it.
fn source(mode: &str, i: i64, n: i64) -> i64 {
    match mode {
        "edge" => i.clamp(0, n - 1),
        "wrap" => i.rem_euclid(n),
        // Reflection has period 2(n−1).
        _ if n == 1 => 0,
        _ => {
            let r = i.rem_euclid(2 * (n - 1));
            if r < n { r } else { 2 * (n - 1) - r }
        }
    }
}

/// Lowers Pad.
///
/// # Errors
/// When amounts are not constant or do not fit.
pub fn pad(imp: &mut Importer, node: &NodeView) -> Result<Vec<Value>, Refusal> {
    let mut value = node.input(0)?.clone();
    let amounts = amounts(node, value.shape().len())?;
    let mode = node.string("mode", "constant");
    if !matches!(mode, "constant" | "reflect" | "edge" | "wrap") {
        return Err(format!("mode is `{mode}`").into());
    }
    // Crop first, then pad.
    let mut parts = Vec::new();
    for (axis, &(before, after)) in amounts.iter().enumerate() {
        let n = value.shape()[axis] as i64;
        let left = n + before.min(0) + after.min(0);
        parts.push(((-before.min(0)) as usize, 1, usize::try_from(left).map_err(|_| "more is cropped than there is")?));
    }
    value = imp.slice_value(&value, &parts)?;
    if mode != "constant" {
        for (axis, &(before, after)) in amounts.iter().enumerate() {
            let (n, before, after) = (value.shape()[axis] as i64, before.max(0), after.max(0));
            if (before, after) != (0, 0) && n > 0 {
                index_list(usize::try_from(n + before + after).map_err(|_| "the result is too large")?)?;
                let indices = (-before..n + after).map(|i| source(mode, i, n) as usize).collect();
                value = imp.gather_value(&value, axis, indices)?;
            }
        }
        return Ok(vec![value]);
    }
    let fill = match node.optional_constant(2, "padding value")? {
        Some(c) => c.scalar().ok_or("its padding value is not a scalar")?,
        None => node.float("value", 0.0)?,
    };
    if !fill.is_finite() {
        return Err(format!("its padding value is {fill}").into());
    }
    if amounts.iter().all(|a| a.0 <= 0 && a.1 <= 0) {
        return Ok(vec![value]);
    }
    match value {
        Value::Runtime(x) => Ok(vec![padded(imp, &x, &amounts, fill)?.into()]),
        Value::Constant(c) => Ok(vec![padded_constant(&c, &amounts, fill)?.into()]),
    }
}

fn padded(imp: &mut Importer, x: &Runtime, amounts: &[(i64, i64)], value: f32) -> Result<Runtime, Refusal> {
    let x = match x.batch {
        Some(b) if amounts[b].0.max(0) + amounts[b].1.max(0) > 0 => imp.with_batch(x, None)?,
        _ => x.clone(),
    };
    let positive = |p: i64| p.max(0) as usize;
    let of_sample = x.without_batch(amounts);
    let op =
        Pad { begin: of_sample.iter().map(|a| positive(a.0)).collect(), end: of_sample.iter().map(|a| positive(a.1)).collect(), value };
    let shape = (0..x.rank()).map(|a| x.shape[a] + positive(amounts[a].0) + positive(amounts[a].1)).collect();
    Ok(Runtime { node: imp.emit(Op::Pad(op), &[x.node])?, shape, ..x })
}

fn padded_constant(c: &Constant, amounts: &[(i64, i64)], value: f32) -> Result<Constant, Refusal> {
    let begin: Vec<usize> = amounts.iter().map(|a| a.0.max(0) as usize).collect();
    let shape: Vec<usize> = (0..c.shape.len()).map(|a| c.shape[a] + begin[a] + amounts[a].1.max(0) as usize).collect();
    super::values::bounded_fold(&shape, c.stored())?;
    // One more element at the end holds the padding.
    let flat = Constant::floats(vec![c.len() + 1], [&c.to_floats()?[..], &[value]].concat());
    let steps = super::constant::strides(&c.shape);
    let padded = flat.picked(shape, |out| {
        let inside =
            (0..out.len()).map(|a| out[a].checked_sub(begin[a]).filter(|&i| i < c.shape[a]).map(|i| i * steps[a])).sum::<Option<usize>>();
        inside.unwrap_or(c.len())
    });
    if c.is_float() { Ok(padded) } else { super::fold::cast(&padded, c.data_type) }
}
