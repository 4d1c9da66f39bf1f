//! Arithmetic on constants: shape subgraphs, and what exporters compute of weights in the graph.

use super::constant::{Constant, DataType, Values, broadcast_shapes, is_float, is_integer};
use super::error::Refusal;
use super::importer::{Importer, Value};
use super::node::{NodeView, extent, normal_axes};
use super::registry::{Fidelity, Lower, OpSpec};
use super::values::bounded_fold;
use snn_ir::tensor::element_count;

const fn spec(name: &'static str, inputs: (usize, usize), lower: Lower) -> OpSpec {
    OpSpec { name, since: 1, inputs, fidelity: Fidelity::Folded, becomes: "its value", limits: "operands must be constant", lower }
}

/// The operators of this family.
pub const OPS: &[OpSpec] = &[
    OpSpec { limits: "numbers only", ..spec("Constant", (0, 0), constant) },
    OpSpec { limits: "", ..spec("Shape", (1, 1), shape) },
    OpSpec { limits: "", ..spec("Size", (1, 1), size) },
    spec("ConstantOfShape", (1, 1), constant_of_shape),
    spec("Range", (3, 3), range),
    spec("Where", (3, 3), choose),
    spec("Equal", (2, 2), |_, n| compare(n, |o| o.is_eq())),
    spec("Greater", (2, 2), |_, n| compare(n, |o| o.is_gt())),
    spec("GreaterOrEqual", (2, 2), |_, n| compare(n, |o| o.is_ge())),
    spec("Less", (2, 2), |_, n| compare(n, |o| o.is_lt())),
    spec("LessOrEqual", (2, 2), |_, n| compare(n, |o| o.is_le())),
    spec("And", (2, 2), |_, n| accumulate(&known(n)?, |a, _| a, |a, b| a & b)),
    spec("Or", (2, 2), |_, n| accumulate(&known(n)?, |a, _| a, |a, b| a | b)),
    spec("Not", (1, 1), |_, n| ints_mapped(n, |v| i64::from(v == 0))),
    spec("Mod", (2, 2), modulo),
    spec("Floor", (1, 1), |_, n| mapped(n, f32::floor)),
    spec("Ceil", (1, 1), |_, n| mapped(n, f32::ceil)),
    spec("Round", (1, 1), |_, n| mapped(n, f32::round_ties_even)),
    spec("Sign", (1, 1), |_, n| mapped(n, |v| if v == 0.0 { 0.0 } else { v.signum() })),
    spec("ReduceProd", (1, 2), |_, n| reduce(n)),
    spec("NonZero", (1, 1), non_zero),
    // The walk over the graph puts the chosen branch in its place; what gets here has no constant condition.
    OpSpec { becomes: "the branch it chooses", limits: "the condition must be constant", ..spec("If", (1, 1), computed_choice) },
];

fn computed_choice(_: &mut Importer, _: &NodeView) -> Result<Vec<Value>, Refusal> {
    Err(Refusal::with_way_out("control flow depends on the input", "export the model with fixed shapes, or run onnx-simplifier"))
}

/// The operands of a node that is only evaluated, not converted.
fn known<'n>(node: &'n NodeView) -> Result<Vec<Option<&'n Constant>>, Refusal> {
    let constants = node.all_constant().ok_or("it is applied to a computed value, which neurons do not do")?;
    constants.iter().flatten().try_for_each(|c| bounded_fold(&c.shape, c.stored()))?;
    Ok(constants)
}

fn first<'n>(node: &'n NodeView) -> Result<&'n Constant, Refusal> {
    known(node)?.first().copied().flatten().ok_or_else(|| "input 0 is missing".into())
}

/// `data` in the shape of `c`.
pub fn like(c: &Constant, data: Vec<f32>) -> Constant {
    Constant::floats(c.shape.clone(), data)
}

/// `f` of every element, as floats.
///
/// # Errors
/// When the constant is absurdly large.
pub fn map(c: &Constant, f: impl Fn(f32) -> f32) -> Result<Constant, Refusal> {
    match (&c.values, c.uniform()) {
        (Values::FloatSplat(_) | Values::IntSplat(_), Some(v)) => {
            Ok(Constant { shape: c.shape.clone(), data_type: DataType::Float, values: Values::FloatSplat(f(v)) })
        }
        _ => Ok(like(c, c.to_floats()?.iter().map(|&v| f(v)).collect())),
    }
}

fn mapped(node: &NodeView, f: impl Fn(f32) -> f32) -> Result<Vec<Value>, Refusal> {
    Ok(vec![map(first(node)?, f)?.into()])
}

fn ints_mapped(node: &NodeView, f: impl Fn(i64) -> i64) -> Result<Vec<Value>, Refusal> {
    let c = first(node)?;
    let data: Vec<i64> = c.to_ints()?.iter().map(|&v| f(v)).collect();
    Ok(vec![Constant { data_type: c.data_type, ..Constant::ints(c.shape.clone(), data) }.into()])
}

/// Elementwise `f` of floats, or `g` of integers, over two broadcast constants.
///
/// # Errors
/// When their shapes do not broadcast, or `g` has no value.
pub fn zip(a: &Constant, b: &Constant, f: impl Fn(f32, f32) -> f32, g: impl Fn(i64, i64) -> Option<i64>) -> Result<Constant, Refusal> {
    let shape = broadcast_shapes(&a.shape, &b.shape)?;
    bounded_fold(&shape, a.stored().max(b.stored()))?;
    let spread = |c: &Constant| -> Result<Constant, Refusal> {
        if c.shape == shape {
            return Ok(c.clone());
        }
        let padded = c.reshaped([&vec![1; shape.len() - c.shape.len()][..], &c.shape].concat());
        let source = super::constant::strides(&padded.shape);
        Ok(padded.picked(shape.clone(), |out| (0..out.len()).map(|a| if padded.shape[a] == 1 { 0 } else { out[a] * source[a] }).sum()))
    };
    let (a, b) = (spread(a)?, spread(b)?);
    if a.is_float() || b.is_float() {
        let (x, y) = (a.to_floats()?, b.to_floats()?);
        return Ok(Constant::floats(shape, x.iter().zip(y.iter()).map(|(&x, &y)| f(x, y)).collect::<Vec<f32>>()));
    }
    let (x, y) = (a.to_ints()?, b.to_ints()?);
    let data: Option<Vec<i64>> = x.iter().zip(y.iter()).map(|(&x, &y)| g(x, y)).collect();
    let data = data.ok_or("an integer division by zero")?;
    Ok(Constant { data_type: a.data_type, ..Constant::ints(shape, data) })
}

/// The operands combined from left to right.
///
/// # Errors
/// When their shapes do not broadcast.
pub fn accumulate(
    constants: &[Option<&Constant>],
    f: impl Fn(f32, f32) -> f32,
    g: impl Fn(i64, i64) -> i64,
) -> Result<Vec<Value>, Refusal> {
    let mut given = constants.iter().copied().flatten();
    let mut result = given.next().ok_or("it has no operands")?.clone();
    for c in given {
        result = zip(&result, c, &f, |x, y| Some(g(x, y)))?;
    }
    Ok(vec![result.into()])
}

/// The quotient of two constants; of integers it is truncated.
///
/// # Errors
/// When their shapes do not broadcast, or an integer divisor is 0.
pub fn divide(constants: &[Option<&Constant>]) -> Result<Vec<Value>, Refusal> {
    match constants {
        [Some(a), Some(b)] => Ok(vec![zip(a, b, |x, y| x / y, i64::checked_div)?.into()]),
        _ => Err("an operand is missing".into()),
    }
}

fn modulo(_: &mut Importer, node: &NodeView) -> Result<Vec<Value>, Refusal> {
    let constants = known(node)?;
    let (Some(a), Some(b)) = (constants[0], constants[1]) else { return Err("an operand is missing".into()) };
    let truncated = node.flag("fmod");
    let floor_mod = |x: i64, y: i64| x.checked_rem(y).map(|r| if r != 0 && (r < 0) != (y < 0) { r + y } else { r });
    Ok(vec![zip(a, b, |x, y| x % y, |x, y| if truncated { x.checked_rem(y) } else { floor_mod(x, y) })?.into()])
}

fn compare(node: &NodeView, test: impl Fn(std::cmp::Ordering) -> bool) -> Result<Vec<Value>, Refusal> {
    let constants = known(node)?;
    let (Some(a), Some(b)) = (constants[0], constants[1]) else { return Err("an operand is missing".into()) };
    let truth = |o: Option<std::cmp::Ordering>| i64::from(o.is_some_and(&test));
    let result = zip(a, b, |x, y| truth(x.partial_cmp(&y)) as f32, |x, y| Some(truth(Some(x.cmp(&y)))))?;
    let data: Vec<i64> = result.to_floats()?.iter().map(|&v| v as i64).collect();
    Ok(vec![Constant { data_type: DataType::Bool, ..Constant::ints(result.shape, data) }.into()])
}

fn choose(_: &mut Importer, node: &NodeView) -> Result<Vec<Value>, Refusal> {
    let constants = known(node)?;
    let (Some(c), Some(a), Some(b)) = (constants[0], constants[1], constants[2]) else { return Err("an operand is missing".into()) };
    // c ? a : b is c·a + (1−c)·b where neither side is infinite; so picks are made one by one instead.
    let from = |condition: &Constant, v: &Constant| {
        zip(condition, v, |c, v| if c != 0.0 { v } else { 0.0 }, |c, v| Some(if c != 0 { v } else { 0 }))
    };
    let not = Constant {
        data_type: c.data_type,
        ..Constant::ints(c.shape.clone(), c.to_ints()?.iter().map(|&v| i64::from(v == 0)).collect::<Vec<_>>())
    };
    let (a, b) = (from(c, a)?, from(&not, b)?);
    let result = zip(&a, &b, |x, y| x + y, |x, y| Some(x.wrapping_add(y)))?;
    Ok(vec![result.into()])
}

fn constant(imp: &mut Importer, node: &NodeView) -> Result<Vec<Value>, Refusal> {
    let value = if let Some(t) = node.tensor("value") {
        imp.read(t)?
    } else if node.has("value_float") {
        Constant::floats(vec![], [node.float("value_float", 0.0)?])
    } else if node.has("value_int") {
        Constant::ints(vec![], [node.int("value_int", 0)])
    } else if let Some(v) = node.floats("value_floats") {
        Constant::floats(vec![v.len()], v)
    } else if let Some(v) = node.ints("value_ints") {
        Constant::list(v)
    } else {
        return Err("its value is not made of numbers".into());
    };
    Ok(vec![value.into()])
}

fn shape(_: &mut Importer, node: &NodeView) -> Result<Vec<Value>, Refusal> {
    let shape = node.input(0)?.shape();
    let rank = shape.len() as i64;
    let at = |name: &str, default: i64| {
        let i = node.int(name, default);
        (if i < 0 { i.saturating_add(rank) } else { i }).clamp(0, rank) as usize
    };
    let (start, end) = (at("start", 0), at("end", rank));
    let data: Vec<i64> = shape[start..end.max(start)].iter().map(|&d| d as i64).collect();
    Ok(vec![Constant::list(data).into()])
}

fn size(_: &mut Importer, node: &NodeView) -> Result<Vec<Value>, Refusal> {
    let n = element_count(node.input(0)?.shape()).ok_or("the tensor is too large")?;
    Ok(vec![Constant::ints(vec![], [n as i64]).into()])
}

fn constant_of_shape(imp: &mut Importer, node: &NodeView) -> Result<Vec<Value>, Refusal> {
    let shape = node.constant(0, "shape")?.to_ints()?.iter().map(|&d| extent(d, "an extent")).collect::<Result<Vec<_>, _>>()?;
    element_count(&shape).ok_or_else(|| format!("shape {shape:?} is too large"))?;
    let value = node.tensor("value").map(|t| imp.read(t)).transpose()?;
    let (data_type, values) = match value {
        None => (DataType::Float, Values::FloatSplat(0.0)),
        Some(v) => match (v.scalar(), &v.values) {
            (Some(_), Values::Int(i)) => (v.data_type, Values::IntSplat(i[0])),
            (Some(f), _) => (v.data_type, Values::FloatSplat(f)),
            _ => return Err("its value does not have one element".into()),
        },
    };
    Ok(vec![Constant { shape, data_type, values }.into()])
}

fn range(_: &mut Importer, node: &NodeView) -> Result<Vec<Value>, Refusal> {
    let constants = known(node)?;
    let [Some(start), Some(limit), Some(delta)] = constants[..] else { return Err("an operand is missing".into()) };
    let numbers = [start, limit, delta].map(|c| c.scalar().map(f64::from));
    let [Some(from), Some(to), Some(step)] = numbers else { return Err("its operands are not scalars".into()) };
    let count = ((to - from) / step).ceil();
    if !(count.is_finite() && count <= (1 << 24) as f64) {
        return Err(format!("it has {count} elements").into());
    }
    let count = count.max(0.0) as usize;
    Ok(vec![
        match [start, limit, delta].iter().all(|c| !c.is_float()) {
            true => {
                let (start, delta) = (start.to_ints()?[0], delta.to_ints()?[0]);
                Constant::list((0..count as i64).map(|i| start.wrapping_add(i.wrapping_mul(delta))).collect::<Vec<_>>())
            }
            false => Constant::floats(vec![count], (0..count).map(|i| (from + i as f64 * step) as f32).collect::<Vec<_>>()),
        }
        .into(),
    ])
}

/// [Cast](https://onnx.ai/onnx/operators/onnx__Cast.html) of a constant.
///
/// # Errors
/// When the type is not a number.
pub fn cast(c: &Constant, to: DataType) -> Result<Constant, Refusal> {
    let shape = c.shape.clone();
    if is_float(to) {
        let values = match &c.values {
            Values::IntSplat(v) => Values::FloatSplat(*v as f32),
            Values::Int(_) => Values::Float(c.to_floats()?),
            floats => floats.clone(),
        };
        return Ok(Constant { shape, data_type: to, values });
    }
    if !is_integer(to) {
        return Err(format!("it casts to {}", to.as_str_name()).into());
    }
    let (low, high) = super::constant::integer_range(to);
    let cast_float = |v: f32| if to == DataType::Bool { i64::from(v != 0.0) } else { (v.trunc() as i64).clamp(low, high) };
    let cast_int = |v: i64| if to == DataType::Bool { i64::from(v != 0) } else { v.clamp(low, high) };
    let values = match &c.values {
        Values::Float(v) => Values::Int(v.iter().map(|&v| cast_float(v)).collect()),
        Values::FloatSplat(v) => Values::IntSplat(cast_float(*v)),
        Values::Int(v) => Values::Int(v.iter().map(|&v| cast_int(v)).collect()),
        Values::IntSplat(v) => Values::IntSplat(cast_int(*v)),
    };
    Ok(Constant { shape, data_type: to, values })
}

/// The product of two constants as [MatMul](https://onnx.ai/onnx/operators/onnx__MatMul.html) defines it: of matrices, of
/// vectors, and of stacks of matrices, which broadcast.
///
/// # Errors
/// When they do not fit, or it would take long.
pub fn mat_mul(imp: &mut Importer, a: &Constant, b: &Constant) -> Result<Constant, Refusal> {
    let misfit = || Refusal::from(format!("the constants {:?} and {:?} do not fit", a.shape, b.shape));
    if a.shape.is_empty() || b.shape.is_empty() {
        return Err(misfit());
    }
    // A vector is a row on the left and a column on the right.
    let left = if a.shape.len() == 1 { a.reshaped(vec![1, a.len()]) } else { a.clone() };
    let right = if b.shape.len() == 1 { b.reshaped(vec![b.len(), 1]) } else { b.clone() };
    let (left_stack, &[m, k]) = left.shape.split_last_chunk::<2>().ok_or_else(misfit)?;
    let (right_stack, &[k2, n]) = right.shape.split_last_chunk::<2>().ok_or_else(misfit)?;
    if k != k2 {
        return Err(misfit());
    }
    let stack = broadcast_shapes(left_stack, right_stack)?;
    let full = [&stack[..], &[m, n]].concat();
    bounded_fold(&full, a.stored().max(b.stored()))?;
    for c in [a, b] {
        bounded_fold(&c.shape, c.stored())?;
    }
    imp.budget.spend_work(element_count(&full).and_then(|e| e.checked_mul(k)).unwrap_or(usize::MAX))?;
    let (x, y) = (left.to_floats()?, right.to_floats()?);
    // The number of the matrix at an index of the result's stack.
    let matrix = |own: &[usize], at: usize| {
        let (steps, own_steps) = (super::constant::strides(&stack), super::constant::strides(own));
        let front = stack.len() - own.len();
        (0..own.len()).map(|i| if own[i] == 1 { 0 } else { at / steps[front + i] % own[i] * own_steps[i] }).sum::<usize>()
    };
    let mut out = vec![0f32; element_count(&full).unwrap_or(0)];
    for (at, out) in out.chunks_exact_mut((m * n).max(1)).enumerate() {
        let x = &x[matrix(left_stack, at) * m * k..][..m * k];
        let y = &y[matrix(right_stack, at) * k * n..][..k * n];
        for (i, row) in out.chunks_exact_mut(n).enumerate() {
            for p in 0..k {
                row.iter_mut().zip(&y[p * n..(p + 1) * n]).for_each(|(o, y)| *o += x[i * k + p] * y);
            }
        }
    }
    let mut shape = full;
    if b.shape.len() == 1 {
        shape.pop();
    }
    if a.shape.len() == 1 {
        shape.remove(shape.len() - if b.shape.len() == 1 { 1 } else { 2 });
    }
    let product = Constant::floats(shape, out);
    if a.is_float() || b.is_float() { Ok(product) } else { cast(&product, a.data_type) }
}

/// A reduction of a constant, the kind by the node's operator type.
///
/// # Errors
/// When the axes do not fit.
pub fn reduce(node: &NodeView) -> Result<Vec<Value>, Refusal> {
    let c = first(node)?;
    let rank = c.shape.len();
    let axes = match node.ints_of("axes", 1)? {
        Some(list) if !list.is_empty() => normal_axes(&list, rank)?,
        _ if node.flag("noop_with_empty_axes") => Vec::new(),
        _ => (0..rank).collect(),
    };
    let (start, f): (f64, fn(f64, f64) -> f64) = match node.proto.op_type.as_str() {
        "ReduceProd" => (1.0, |a, b| a * b),
        "ReduceMax" => (f64::NEG_INFINITY, f64::max),
        "ReduceMin" => (f64::INFINITY, f64::min),
        _ => (0.0, |a, b| a + b),
    };
    let mut shape = c.shape.clone();
    axes.iter().for_each(|&a| shape[a] = 1);
    let (source, target) = (super::constant::strides(&c.shape), super::constant::strides(&shape));
    let mut out = vec![start; element_count(&shape).unwrap_or(0)];
    for (i, &v) in c.to_floats()?.iter().enumerate() {
        let at: usize = (0..rank).filter(|a| !axes.contains(a)).map(|a| i / source[a] % c.shape[a] * target[a]).sum();
        out[at] = f(out[at], f64::from(v));
    }
    if node.proto.op_type == "ReduceMean" {
        let n = axes.iter().map(|&a| c.shape[a]).product::<usize>() as f64;
        out.iter_mut().for_each(|v| *v /= n);
    }
    if node.int("keepdims", 1) == 0 {
        shape = (0..rank).filter(|a| !axes.contains(a)).map(|a| shape[a]).collect();
    }
    Ok(vec![
        match c.is_float() {
            true => Constant::floats(shape, out.iter().map(|&v| v as f32).collect::<Vec<_>>()),
            false => Constant { data_type: c.data_type, ..Constant::ints(shape, out.iter().map(|&v| v as i64).collect::<Vec<_>>()) },
        }
        .into(),
    ])
}

fn non_zero(_: &mut Importer, node: &NodeView) -> Result<Vec<Value>, Refusal> {
    let c = first(node)?;
    bounded_fold(&c.shape, 0)?;
    let (source, data) = (super::constant::strides(&c.shape), c.to_floats()?);
    let hits: Vec<usize> = (0..data.len()).filter(|&i| data[i] != 0.0).collect();
    let indices: Vec<i64> =
        (0..c.shape.len()).flat_map(|a| hits.iter().map(move |&i| (a, i))).map(|(a, i)| (i / source[a] % c.shape[a]) as i64).collect();
    Ok(vec![Constant::ints(vec![c.shape.len(), hits.len()], indices).into()])
}
