//! Pooling ([MaxPool](https://onnx.ai/onnx/operators/onnx__MaxPool.html),
//! [AveragePool](https://onnx.ai/onnx/operators/onnx__AveragePool.html), ..) and reduction
//! ([ReduceMean](https://onnx.ai/onnx/operators/onnx__ReduceMean.html), ..).

use super::conv::{result, spatial_operand, window};
use super::error::Refusal;
use super::importer::{Importer, Runtime, Value};
use super::node::{NodeView, extent, normal_axes};
use super::registry::{Fidelity, OpSpec};
use snn_ir::op::{AvgPool, Divisor};
use snn_ir::{Activation, Op, Window};

const fn spec(name: &'static str, becomes: &'static str, limits: &'static str, lower: super::registry::Lower) -> OpSpec {
    OpSpec { name, since: 1, inputs: (1, 1), fidelity: Fidelity::Exact, becomes, limits, lower }
}

/// A reduction, whose axes are an attribute or the second input.
const fn reduction(name: &'static str, becomes: &'static str, lower: super::registry::Lower) -> OpSpec {
    OpSpec { inputs: (1, 2), ..spec(name, becomes, "axes must be constant", lower) }
}

/// The operators of this family.
pub const OPS: &[OpSpec] = &[
    spec("MaxPool", "`max_pool`", "the indices must not be used", max_pool),
    spec("AveragePool", "`avg_pool`", "", average_pool),
    spec("LpPool", "`abs` and a sum `avg_pool`", "p = 1 only", lp_pool),
    spec("GlobalMaxPool", "`max_pool` over all positions", "", global_max_pool),
    spec("GlobalAveragePool", "`reduce` by mean", "", global_average_pool),
    spec("GlobalLpPool", "`abs` and `reduce` by sum", "p = 1 only", global_lp_pool),
    reduction("ReduceMean", "`reduce` by mean", reduce_mean),
    reduction("ReduceSum", "`reduce` by sum", reduce_sum),
    reduction("ReduceL1", "`abs` and `reduce` by sum", reduce_l1),
    reduction("ReduceMax", "`max_pool` over the axes", reduce_max),
    reduction("ReduceMin", "minus the maximum of minus the input", reduce_min),
];

fn kernel(node: &NodeView) -> Result<Vec<usize>, Refusal> {
    match node.ints("kernel_shape") {
        Some(list) if !list.is_empty() => list.iter().map(|&k| extent(k, "kernel_shape")).collect(),
        _ => Err("kernel_shape is missing".into()),
    }
}

fn max_pool(imp: &mut Importer, node: &NodeView) -> Result<Vec<Value>, Refusal> {
    let x = spatial_operand(imp, node.runtime(0)?)?;
    let window = window(node, kernel(node)?, &x.shape[2..])?;
    let node = imp.emit(Op::MaxPool(window), &[x.node])?;
    Ok(vec![result(imp, node).into()])
}

fn sliding_sum(imp: &mut Importer, node: &NodeView, x: &Runtime, divisor: Divisor) -> Result<Vec<Value>, Refusal> {
    let window = window(node, kernel(node)?, &x.shape[2..])?;
    let node = imp.emit(Op::AvgPool(AvgPool { window, divisor }), &[x.node])?;
    Ok(vec![result(imp, node).into()])
}

fn average_pool(imp: &mut Importer, node: &NodeView) -> Result<Vec<Value>, Refusal> {
    let x = spatial_operand(imp, node.runtime(0)?)?;
    sliding_sum(imp, node, &x, if node.flag("count_include_pad") { Divisor::Padded } else { Divisor::Valid })
}

fn absolute(imp: &mut Importer, node: &NodeView) -> Result<Runtime, Refusal> {
    if node.int("p", 2) != 1 {
        return Err("p = 1 is converted, other norms multiply activations".into());
    }
    let x = spatial_operand(imp, node.runtime(0)?)?;
    imp.unary(&x, Op::Activation(Activation::Abs))
}

fn lp_pool(imp: &mut Importer, node: &NodeView) -> Result<Vec<Value>, Refusal> {
    let x = absolute(imp, node)?;
    sliding_sum(imp, node, &x, Divisor::One)
}

fn global_max_pool(imp: &mut Importer, node: &NodeView) -> Result<Vec<Value>, Refusal> {
    let x = spatial_operand(imp, node.runtime(0)?)?;
    let node = imp.emit(Op::MaxPool(Window::unit(&x.shape[2..])), &[x.node])?;
    Ok(vec![result(imp, node).into()])
}

fn global(imp: &mut Importer, x: &Runtime, mean: bool) -> Result<Vec<Value>, Refusal> {
    let axes: Vec<usize> = (2..x.rank()).collect();
    Ok(vec![imp.reduce(x, &axes, mean)?.into()])
}

fn global_average_pool(imp: &mut Importer, node: &NodeView) -> Result<Vec<Value>, Refusal> {
    let x = spatial_operand(imp, node.runtime(0)?)?;
    global(imp, &x, true)
}

fn global_lp_pool(imp: &mut Importer, node: &NodeView) -> Result<Vec<Value>, Refusal> {
    let x = absolute(imp, node)?;
    global(imp, &x, false)
}

/// The axes a reduction goes over: attribute, input, or all; none when there are none and `noop_with_empty_axes`.
fn axes(node: &NodeView, rank: usize) -> Result<Vec<usize>, Refusal> {
    match node.ints_of("axes", 1)? {
        Some(list) if !list.is_empty() => normal_axes(&list, rank),
        _ if node.flag("noop_with_empty_axes") => Ok(Vec::new()),
        _ => Ok((0..rank).collect()),
    }
}

/// Drops the reduced axes unless `keepdims`.
fn finish(imp: &mut Importer, node: &NodeView, reduced: Runtime, axes: &[usize]) -> Result<Vec<Value>, Refusal> {
    if node.int("keepdims", 1) != 0 || axes.is_empty() {
        return Ok(vec![reduced.into()]);
    }
    let shape: Vec<usize> = (0..reduced.rank()).filter(|a| !axes.contains(a)).map(|a| reduced.shape[a]).collect();
    Ok(vec![imp.reshape(&reduced, &shape)?.into()])
}

fn reduce(imp: &mut Importer, node: &NodeView, x: &Runtime, mean: bool) -> Result<Vec<Value>, Refusal> {
    let axes = axes(node, x.rank())?;
    let reduced = imp.reduce(x, &axes, mean)?;
    finish(imp, node, reduced, &axes)
}

fn reduce_mean(imp: &mut Importer, node: &NodeView) -> Result<Vec<Value>, Refusal> {
    match node.all_constant() {
        Some(_) => super::fold::reduce(node),
        None => reduce(imp, node, node.runtime(0)?, true),
    }
}

fn reduce_sum(imp: &mut Importer, node: &NodeView) -> Result<Vec<Value>, Refusal> {
    match node.all_constant() {
        Some(_) => super::fold::reduce(node),
        None => reduce(imp, node, node.runtime(0)?, false),
    }
}

fn reduce_l1(imp: &mut Importer, node: &NodeView) -> Result<Vec<Value>, Refusal> {
    let x = imp.unary(node.runtime(0)?, Op::Activation(Activation::Abs))?;
    reduce(imp, node, &x, false)
}

fn largest(imp: &mut Importer, x: &Runtime, axes: &[usize]) -> Result<Runtime, Refusal> {
    // As [rest, reduced] with one window over all that is reduced.
    let kept: Vec<usize> = (0..x.rank()).filter(|a| !axes.contains(a)).collect();
    let count = |axes: &[usize]| axes.iter().map(|&a| x.shape[a]).product::<usize>();
    let (rest, reduced) = (count(&kept), count(axes));
    let moved = imp.transpose(x, &[&kept[..], axes].concat())?;
    let flat = imp.with_batch(&Runtime { shape: vec![rest, reduced], batch: None, node: moved.node }, None)?;
    let node = imp.emit(Op::MaxPool(Window::unit([reduced])), &[flat.node])?;
    let mut shape = x.shape.clone();
    axes.iter().for_each(|&a| shape[a] = 1);
    imp.reshape(&Runtime { node, shape: vec![rest, 1], batch: None }, &shape)
}

fn reduce_max(imp: &mut Importer, node: &NodeView) -> Result<Vec<Value>, Refusal> {
    if node.all_constant().is_some() {
        return super::fold::reduce(node);
    }
    let x = node.runtime(0)?;
    let axes = axes(node, x.rank())?;
    let reduced = largest(imp, x, &axes)?;
    finish(imp, node, reduced, &axes)
}

fn reduce_min(imp: &mut Importer, node: &NodeView) -> Result<Vec<Value>, Refusal> {
    if node.all_constant().is_some() {
        return super::fold::reduce(node);
    }
    let x = node.runtime(0)?;
    let axes = axes(node, x.rank())?;
    let minus = imp.times(x, -1.0)?;
    let largest = largest(imp, &minus, &axes)?;
    let reduced = imp.times(&largest, -1.0)?;
    finish(imp, node, reduced, &axes)
}
