//! Arithmetic: [Add](https://onnx.ai/onnx/operators/onnx__Add.html), [Mul](https://onnx.ai/onnx/operators/onnx__Mul.html),
//! [Max](https://onnx.ai/onnx/operators/onnx__Max.html), .. with constants and between branches; opsets from 7, which
//! brought numpy broadcasting.

use super::constant::Constant;
use super::error::Refusal;
use super::fold;
use super::importer::{Importer, Runtime, Value};
use super::node::NodeView;
use super::registry::{Fidelity, Lower, OpSpec, VARIADIC};
use snn_ir::Op;

const fn spec(name: &'static str, inputs: (usize, usize), becomes: &'static str, limits: &'static str, lower: Lower) -> OpSpec {
    OpSpec { name, since: 7, inputs, fidelity: Fidelity::Exact, becomes, limits, lower }
}

/// The operators of this family.
pub const OPS: &[OpSpec] = &[
    spec("Add", (2, 2), "`scale` with a constant, `add` between branches", "", sum_of),
    spec("Sub", (2, 2), "`scale` with a constant, `add` of the negative between branches", "", sub),
    spec("Mul", (2, 2), "`scale`", "one factor must be constant, save in x · sigmoid(x) and the like", mul),
    spec("Div", (2, 2), "`scale`", "the divisor must be constant", div),
    spec("Neg", (1, 1), "`scale` by −1", "", neg),
    spec("Sum", (1, VARIADIC), "`add`", "", sum_of),
    spec("Mean", (1, VARIADIC), "`add` and `scale`", "", mean),
    spec("Max", (1, VARIADIC), "`maximum`, or a clip with a constant", "", |imp, node| extremum(imp, node, true)),
    spec("Min", (1, VARIADIC), "minus the maximum of the negatives, or a clip with a constant", "", |imp, node| extremum(imp, node, false)),
];

/// The sum of values, constants added up in one summand.
///
/// # Errors
/// When their shapes do not broadcast.
pub fn add(imp: &mut Importer, values: &[&Value]) -> Result<Runtime, Refusal> {
    let runtime: Vec<&Value> = values.iter().copied().filter(|v| v.as_constant().is_none()).collect();
    let constants: Vec<&Constant> = values.iter().filter_map(|v| v.as_constant()).collect();
    let mut sum = match &runtime[..] {
        [] => return Err("it has no operand that depends on the network's input".into()),
        [Value::Runtime(only)] => only.clone(),
        several => {
            let aligned = imp.aligned(several)?;
            let operands: Vec<_> = aligned.iter().map(|x| x.node).collect();
            Runtime { node: imp.emit(Op::Add, &operands)?, ..aligned[0].clone() }
        }
    };
    for c in constants {
        sum = imp.scale(&sum, None, Some(c))?;
    }
    Ok(sum)
}

fn sum_of(imp: &mut Importer, node: &NodeView) -> Result<Vec<Value>, Refusal> {
    if let Some(constants) = node.all_constant() {
        return fold::accumulate(&constants, |a, b| a + b, i64::wrapping_add);
    }
    let values: Vec<&Value> = node.inputs.iter().flatten().collect();
    Ok(vec![add(imp, &values)?.into()])
}

fn sub(imp: &mut Importer, node: &NodeView) -> Result<Vec<Value>, Refusal> {
    if let Some(constants) = node.all_constant() {
        return fold::accumulate(&constants, |a, b| a - b, i64::wrapping_sub);
    }
    Ok(vec![
        match (node.input(0)?, node.input(1)?) {
            (Value::Runtime(x), Value::Constant(c)) => {
                let negative = fold::map(c, |v| -v)?;
                imp.scale(x, None, Some(&negative))?
            }
            (Value::Constant(c), Value::Runtime(x)) => imp.scale(x, Some(&Constant::floats(vec![], [-1.0])), Some(c))?,
            (a, Value::Runtime(b)) => {
                let negative = imp.times(b, -1.0)?;
                add(imp, &[a, &negative.into()])?
            }
            (Value::Constant(_), Value::Constant(_)) => return Err("both operands are constants".into()),
        }
        .into(),
    ])
}

fn mul(imp: &mut Importer, node: &NodeView) -> Result<Vec<Value>, Refusal> {
    if let Some(constants) = node.all_constant() {
        return fold::accumulate(&constants, |a, b| a * b, i64::wrapping_mul);
    }
    match (node.input(0)?, node.input(1)?) {
        (Value::Runtime(x), Value::Constant(c)) | (Value::Constant(c), Value::Runtime(x)) => Ok(vec![imp.scale(x, Some(c), None)?.into()]),
        _ => super::function::combine(imp, node),
    }
}

fn div(imp: &mut Importer, node: &NodeView) -> Result<Vec<Value>, Refusal> {
    if let Some(constants) = node.all_constant() {
        return fold::divide(&constants);
    }
    match (node.input(0)?, node.input(1)?) {
        (Value::Runtime(x), Value::Constant(c)) => {
            let reciprocal = fold::map(c, |v| 1.0 / v)?;
            Ok(vec![imp.scale(x, Some(&reciprocal), None)?.into()])
        }
        _ => super::function::combine(imp, node),
    }
}

fn neg(imp: &mut Importer, node: &NodeView) -> Result<Vec<Value>, Refusal> {
    match node.input(0)? {
        Value::Constant(c) if !c.is_float() => {
            fold::accumulate(&[Some(&Constant::ints(vec![], [0])), Some(c)], |a, b| a - b, i64::wrapping_sub)
        }
        Value::Constant(c) => Ok(vec![fold::map(c, |v| -v)?.into()]),
        Value::Runtime(x) => Ok(vec![imp.times(x, -1.0)?.into()]),
    }
}

fn mean(imp: &mut Importer, node: &NodeView) -> Result<Vec<Value>, Refusal> {
    let values: Vec<&Value> = node.inputs.iter().flatten().collect();
    let sum = add(imp, &values)?;
    Ok(vec![imp.times(&sum, 1.0 / values.len() as f32)?.into()])
}

fn extremum(imp: &mut Importer, node: &NodeView, largest: bool) -> Result<Vec<Value>, Refusal> {
    if let Some(constants) = node.all_constant() {
        return match largest {
            true => fold::accumulate(&constants, f32::max, i64::max),
            false => fold::accumulate(&constants, f32::min, i64::min),
        };
    }
    let values: Vec<&Value> = node.inputs.iter().flatten().collect();
    if let [Value::Runtime(x), Value::Constant(c)] | [Value::Constant(c), Value::Runtime(x)] = values[..]
        && let Some(bound) = c.uniform()
        && super::constant::broadcast_shapes(&x.shape, &c.shape)? == x.shape
        && !bound.is_nan()
    {
        let (low, high) = if largest { (bound, f32::MAX) } else { (f32::MIN, bound) };
        return Ok(vec![super::activation::clipped(imp, x, low, high)?.into()]);
    }
    let mut aligned = imp.aligned(&values)?;
    if let [only] = &aligned[..] {
        return Ok(vec![only.clone().into()]);
    }
    if !largest {
        aligned = aligned.iter().map(|x| imp.times(x, -1.0)).collect::<Result<_, _>>()?;
    }
    let operands: Vec<_> = aligned.iter().map(|x| x.node).collect();
    let node = imp.emit(Op::Maximum, &operands)?;
    let y = Runtime { node, ..aligned[0].clone() };
    Ok(vec![if largest { y } else { imp.times(&y, -1.0)? }.into()])
}
