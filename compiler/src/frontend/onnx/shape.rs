//! Shapes and order: [Reshape](https://onnx.ai/onnx/operators/onnx__Reshape.html),
//! [Transpose](https://onnx.ai/onnx/operators/onnx__Transpose.html), [Slice](https://onnx.ai/onnx/operators/onnx__Slice.html),
//! [Concat](https://onnx.ai/onnx/operators/onnx__Concat.html), .. The same code serves values and constants.

use super::constant::DataType;
use super::error::Refusal;
use super::importer::{Importer, Value, index_list};
use super::node::{NodeView, extent, normal_axes, normal_axis};
use super::registry::{Fidelity, Lower, OpSpec, VARIADIC};
use snn_ir::Op;
use snn_ir::tensor::element_count;

const fn spec(name: &'static str, inputs: (usize, usize), becomes: &'static str, limits: &'static str, lower: Lower) -> OpSpec {
    OpSpec { name, since: 1, inputs, fidelity: Fidelity::Exact, becomes, limits, lower }
}

/// The operators of this family.
pub const OPS: &[OpSpec] = &[
    spec("Identity", (1, 1), "nothing", "", pass),
    spec("Dropout", (1, 3), "nothing", "", pass),
    spec("Cast", (1, 1), "nothing between floats", "values may be cast to floats only", cast),
    spec("CastLike", (2, 2), "nothing between floats", "values may be cast to floats only", cast_like),
    spec("Flatten", (1, 1), "`reshape`", "", flatten),
    spec("Reshape", (2, 2), "`reshape`", "the shape must be constant at fixed spatial extents", reshape),
    spec("Transpose", (1, 1), "`transpose`", "", transpose),
    spec("Squeeze", (1, 2), "`reshape`", "", squeeze),
    spec("Unsqueeze", (1, 2), "`reshape`", "", unsqueeze),
    spec("Slice", (1, 5), "`slice`", "bounds must be constant", slice),
    spec("Split", (1, 2), "`slice`", "sizes must be constant", split),
    spec("Concat", (1, VARIADIC), "`concat`", "", concat),
    spec("Gather", (2, 2), "`gather`", "indices must be constant", gather),
    spec("Expand", (2, 2), "`gather` that repeats", "the shape must be constant", expand),
    spec("Tile", (2, 2), "`gather` that repeats", "repeats must be constant", tile),
    spec("Pad", (1, 4), "`pad`, or `gather` for the modes that repeat elements", "amounts must be constant", super::pad::pad),
    spec("DepthToSpace", (1, 1), "`reshape` and `transpose`", "", depth_to_space),
    spec("SpaceToDepth", (1, 1), "`reshape` and `transpose`", "", space_to_depth),
];

fn pass(_: &mut Importer, node: &NodeView) -> Result<Vec<Value>, Refusal> {
    Ok(vec![node.input(0)?.clone()])
}

fn cast_value(imp: &mut Importer, value: &Value, to: DataType) -> Result<Vec<Value>, Refusal> {
    match value {
        Value::Constant(c) => Ok(vec![super::fold::cast(c, to)?.into()]),
        // From here on the integers are floats: another node.
        Value::Runtime(x) if super::constant::is_float(to) && imp.marks.contains_key(&x.node) => {
            Ok(vec![imp.unary(x, Op::Identity)?.into()])
        }
        Value::Runtime(_) if super::constant::is_float(to) => Ok(vec![value.clone()]),
        Value::Runtime(_) => Err(format!("it rounds a computed value to {}", to.as_str_name()).into()),
    }
}

fn cast(imp: &mut Importer, node: &NodeView) -> Result<Vec<Value>, Refusal> {
    let to = i32::try_from(node.int("to", 0)).ok().and_then(|t| DataType::try_from(t).ok()).unwrap_or(DataType::Undefined);
    cast_value(imp, node.input(0)?, to)
}

fn cast_like(imp: &mut Importer, node: &NodeView) -> Result<Vec<Value>, Refusal> {
    let to = node.input(1)?.as_constant().map_or(DataType::Float, |c| c.data_type);
    cast_value(imp, node.input(0)?, to)
}

fn product(extents: &[usize]) -> Result<usize, Refusal> {
    element_count(extents).ok_or_else(|| format!("{extents:?} is too large").into())
}

fn flatten(imp: &mut Importer, node: &NodeView) -> Result<Vec<Value>, Refusal> {
    let value = node.input(0)?;
    let (shape, rank) = (value.shape(), value.shape().len());
    let axis = match node.int("axis", 1) {
        a if a == rank as i64 => rank,
        a => normal_axis(a, rank)?,
    };
    let flat = [product(&shape[..axis])?, product(&shape[axis..])?];
    Ok(vec![imp.reshape_value(value, &flat)?])
}

/// The shape that `target` asks of a tensor of `shape`: 0 keeps an extent (unless `allow_zero`), −1 is what is left.
fn target_shape(shape: &[usize], target: &[i64], allow_zero: bool) -> Result<Vec<usize>, Refusal> {
    let total = product(shape)?;
    let mut wanted = Vec::new();
    let mut open = None;
    for (i, &t) in target.iter().enumerate() {
        wanted.push(match t {
            -1 if open.replace(i).is_some() => return Err(format!("target {target:?} leaves two extents open").into()),
            -1 => 1,
            0 if !allow_zero => *shape.get(i).ok_or_else(|| format!("target {target:?} keeps an extent that {shape:?} does not have"))?,
            t => extent(t, "an extent")?,
        });
    }
    if let Some(i) = open {
        let rest = product(&wanted)?;
        if rest == 0 || !total.is_multiple_of(rest) {
            return Err(format!("{shape:?} cannot be reshaped to {target:?}").into());
        }
        wanted[i] = total / rest;
    }
    Ok(wanted)
}

fn reshape(imp: &mut Importer, node: &NodeView) -> Result<Vec<Value>, Refusal> {
    let value = node.input(0)?;
    let mut target = match node.ints("shape") {
        Some(list) => list.to_vec(),
        None => node.constant(1, "target shape")?.to_ints()?.to_vec(),
    };
    let allow_zero = node.flag("allowzero");
    let fits = |t: &[i64]| target_shape(value.shape(), t, allow_zero).ok().and_then(|s| element_count(&s)) == element_count(value.shape());
    if let (Some(batch), Some(&first)) = (imp.fixed_batch, target.first())
        && first == batch as i64
        && value.as_constant().is_none()
    {
        // The file fixes the batch size in the target too; one sample is wanted.
        let one = [&[1], &target[1..]].concat();
        if fits(&one) {
            target = one;
        }
    }
    let wanted = target_shape(value.shape(), &target, allow_zero)?;
    Ok(vec![imp.reshape_value(value, &wanted)?])
}

fn transpose(imp: &mut Importer, node: &NodeView) -> Result<Vec<Value>, Refusal> {
    let value = node.input(0)?;
    let rank = value.shape().len();
    let perm = match node.ints("perm") {
        Some(list) if !list.is_empty() => list.iter().map(|&a| extent(a, "perm")).collect::<Result<Vec<_>, _>>()?,
        _ => (0..rank).rev().collect(),
    };
    Ok(vec![imp.transpose_value(value, &perm)?])
}

fn squeeze(imp: &mut Importer, node: &NodeView) -> Result<Vec<Value>, Refusal> {
    let value = node.input(0)?;
    let shape = value.shape();
    let axes = match node.ints_of("axes", 1)? {
        Some(list) => normal_axes(&list, shape.len())?,
        None => (0..shape.len()).filter(|&a| shape[a] == 1).collect(),
    };
    if let Some(a) = axes.iter().find(|&&a| shape[a] != 1) {
        return Err(format!("it squeezes axis {a} of {shape:?}").into());
    }
    let left: Vec<usize> = (0..shape.len()).filter(|a| !axes.contains(a)).map(|a| shape[a]).collect();
    Ok(vec![imp.reshape_value(value, &left)?])
}

fn unsqueeze(imp: &mut Importer, node: &NodeView) -> Result<Vec<Value>, Refusal> {
    let value = node.input(0)?;
    let list = node.ints_of("axes", 1)?.ok_or("its axes are missing")?;
    let rank = value.shape().len() + list.len();
    let axes = normal_axes(&list, rank)?;
    let mut old = value.shape().iter().copied();
    let shape: Vec<usize> = (0..rank).map(|a| if axes.contains(&a) { 1 } else { old.next().unwrap_or(1) }).collect();
    Ok(vec![imp.reshape_value(value, &shape)?])
}

/// Attributes before opset 10, inputs from then on.
fn slice(imp: &mut Importer, node: &NodeView) -> Result<Vec<Value>, Refusal> {
    let value = node.input(0)?;
    let shape = value.shape();
    let starts = node.ints_of("starts", 1)?.ok_or("its starts are missing")?;
    let ends = node.ints_of("ends", 2)?.ok_or("its ends are missing")?;
    let axes = node.ints_of("axes", 3)?.unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps = node.ints_of("steps", 4)?.unwrap_or_else(|| vec![1; starts.len()]);
    normal_axes(&axes, shape.len())?;
    if [ends.len(), axes.len(), steps.len()] != [starts.len(); 3] {
        return Err("starts, ends, axes and steps differ in number".into());
    }
    let mut parts: Vec<(usize, isize, usize)> = shape.iter().map(|&d| (0, 1, d)).collect();
    for (i, &axis) in axes.iter().enumerate() {
        let axis = normal_axis(axis, shape.len())?;
        let (n, step) = (shape[axis] as i64, steps[i]);
        if step == 0 || step == i64::MIN {
            return Err("a step is 0".into());
        }
        let counted = |v: i64| if v < 0 { v.saturating_add(n) } else { v };
        let (low, high) = if step > 0 { (0, n) } else { (-1, n - 1) };
        let start = counted(starts[i]).clamp(low.max(0), high.max(0));
        // Running backwards, an end before the first element is −1, which `counted` must not wrap.
        let end = counted(ends[i]).clamp(low, high);
        let span = if step > 0 { end - start } else { start - end };
        let count = if span <= 0 { 0 } else { (span as u64).div_ceil(step.unsigned_abs()) };
        parts[axis] = (start as usize, step.clamp(-n.max(1), n.max(1)) as isize, count as usize);
    }
    Ok(vec![imp.slice_value(value, &parts)?])
}

/// Equal parts, or sizes by attribute (before opset 13) or input.
fn split(imp: &mut Importer, node: &NodeView) -> Result<Vec<Value>, Refusal> {
    let value = node.input(0)?;
    let axis = normal_axis(node.int("axis", 0), value.shape().len())?;
    let n = value.shape()[axis];
    let sizes = match node.ints_of("split", 1)? {
        Some(list) if !list.is_empty() => list.iter().map(|&s| extent(s, "a part's size")).collect::<Result<Vec<_>, _>>()?,
        _ => {
            let parts = extent(node.int("num_outputs", node.proto.output.len() as i64), "the number of parts")?;
            if parts == 0 || parts != node.proto.output.len() {
                return Err(format!("it splits into {parts} parts and has {} outputs", node.proto.output.len()).into());
            }
            let size = n.div_ceil(parts);
            (0..parts).map(|i| size.min(n.saturating_sub(i * size))).collect()
        }
    };
    if sizes.iter().try_fold(0usize, |sum, &s| sum.checked_add(s)) != Some(n) {
        return Err(format!("the parts {sizes:?} do not add up to {n}").into());
    }
    let mut start = 0;
    let mut results = Vec::new();
    for size in sizes {
        let mut parts: Vec<(usize, isize, usize)> = value.shape().iter().map(|&d| (0, 1, d)).collect();
        parts[axis] = (start, 1, size);
        start += size;
        results.push(imp.slice_value(value, &parts)?);
    }
    Ok(results)
}

fn concat(imp: &mut Importer, node: &NodeView) -> Result<Vec<Value>, Refusal> {
    let values: Vec<&Value> = node.inputs.iter().flatten().collect();
    let Some(first) = values.first() else { return Err("it has no operands".into()) };
    let axis = normal_axis(node.int("axis", 1), first.shape().len())?;
    Ok(vec![imp.concat_values(&values, axis)?])
}

fn gather(imp: &mut Importer, node: &NodeView) -> Result<Vec<Value>, Refusal> {
    let value = node.input(0)?;
    let axis = normal_axis(node.int("axis", 0), value.shape().len())?;
    let picks = match node.input(1)? {
        Value::Constant(c) => c,
        Value::Runtime(_) => return Err("its indices depend on the network's input (an embedding)".into()),
    };
    index_list(picks.len())?;
    let indices = picks.to_ints()?.iter().map(|&i| normal_axis(i, value.shape()[axis])).collect::<Result<Vec<_>, _>>();
    let indices = indices.map_err(|_| format!("an index is outside of axis {axis} of {:?}", value.shape()))?;
    let picked = imp.gather_value(value, axis, indices)?;
    let shape = [&value.shape()[..axis], &picks.shape, &value.shape()[axis + 1..]].concat();
    Ok(vec![if picked.shape() == shape { picked } else { imp.reshape_value(&picked, &shape)? }])
}

fn expand(imp: &mut Importer, node: &NodeView) -> Result<Vec<Value>, Refusal> {
    let value = node.input(0)?;
    let wanted = node.constant(1, "shape")?.to_ints()?.iter().map(|&d| extent(d, "an extent")).collect::<Result<Vec<_>, _>>()?;
    let shape = super::constant::broadcast_shapes(value.shape(), &wanted)?;
    Ok(vec![imp.broadcast_value(value, &shape)?])
}

fn tile(imp: &mut Importer, node: &NodeView) -> Result<Vec<Value>, Refusal> {
    let mut value = node.input(0)?.clone();
    let repeats = node.constant(1, "repeats")?.to_ints()?;
    if repeats.len() != value.shape().len() {
        return Err(format!("repeats {repeats:?} do not fit {:?}", value.shape()).into());
    }
    for (axis, &times) in repeats.iter().enumerate() {
        let n = value.shape()[axis];
        let count = index_list(extent(times, "repeats")?.checked_mul(n).ok_or("the result is too large")?)?;
        value = imp.gather_value(&value, axis, (0..count).map(|i| i % n).collect())?;
    }
    Ok(vec![value])
}

/// `[N, C, H, W]` and the block size.
fn blocks(node: &NodeView) -> Result<([usize; 4], usize), Refusal> {
    let &[n, c, h, w] = node.input(0)?.shape() else {
        return Err(format!("it needs an input [N, C, H, W], not {:?}", node.input(0)?.shape()).into());
    };
    match extent(node.int("blocksize", 0), "blocksize")? {
        b if (1..=1 << 15).contains(&b) => Ok(([n, c, h, w], b)),
        b => Err(format!("blocksize is {b}").into()),
    }
}

fn moved(imp: &mut Importer, value: &Value, split: &[usize], perm: &[usize], joined: &[usize]) -> Result<Vec<Value>, Refusal> {
    let x = imp.reshape_value(value, split)?;
    let x = imp.transpose_value(&x, perm)?;
    Ok(vec![imp.reshape_value(&x, joined)?])
}

fn depth_to_space(imp: &mut Importer, node: &NodeView) -> Result<Vec<Value>, Refusal> {
    let ([n, c, h, w], b) = blocks(node)?;
    let out = c / (b * b);
    let (split, perm) = match node.string("mode", "DCR") {
        "DCR" => ([n, b, b, out, h, w], [0, 3, 4, 1, 5, 2]),
        "CRD" => ([n, out, b, b, h, w], [0, 1, 4, 2, 5, 3]),
        other => return Err(format!("mode is `{other}`").into()),
    };
    moved(imp, node.input(0)?, &split, &perm, &[n, out, h.saturating_mul(b), w.saturating_mul(b)])
}

fn space_to_depth(imp: &mut Importer, node: &NodeView) -> Result<Vec<Value>, Refusal> {
    let ([n, c, h, w], b) = blocks(node)?;
    let (rows, columns) = (h / b, w / b);
    moved(imp, node.input(0)?, &[n, c, rows, b, columns, b], &[0, 3, 5, 1, 2, 4], &[n, c.saturating_mul(b * b), rows, columns])
}
