//! `canonicalize`: one way to say each thing, so that the passes after it need to know only that one.
//!
//! * `identity`, reshapes to the same shape and scales by one go;
//! * padding with another number is padding with zeros and a constant on the padded places;
//! * zero padding goes into the window of the conv or sum after it;
//! * a clip to `[0, c]` is a relu with a cap, as is one from below zero after a relu or before one; a relu of what is never negative goes, or leaves only its cap;
//! * a relu moves before max-pools, structural operations and concatenations (it commutes with all of them), so
//!   that it comes right after the weights and everything after it works on spikes; but after the max-pools of what is linear
//!   in the input, which are computed once a window: there it leaves fewer neurons, and thresholds fit the maxima alone;
//! * a softmax that leads only to outputs goes, and a sigmoid over a vector of scores: they change no ranking.

use super::{Condition, Facts, Pass, PassError, Report, Request};
use crate::outputs::is_final;
use serde::Deserialize;
use snn_ir::op::{AvgPool, Divisor, Pad, Relu, Scale};
use snn_ir::{Activation, Graph, GraphError, NodeId, Op, Tensor, Window};
use std::collections::{HashMap, HashSet};

/// The pass; it has no options.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Canonicalize {}

impl Pass for Canonicalize {
    fn name(&self) -> &'static str {
        "canonicalize"
    }

    fn precedes(&self) -> &'static [Condition] {
        &[Condition::Thresholds, Condition::Neurons]
    }

    fn run(&self, graph: &mut Graph, _: &Request<'_>, _: &mut Facts, report: &mut Report) -> Result<(), PassError> {
        Ok(canonicalize(graph, report)?)
    }
}

/// Brings `graph` into the canonical form.
///
/// # Errors
/// When the graph cannot be walked.
pub fn canonicalize(graph: &mut Graph, report: &mut Report) -> Result<(), GraphError> {
    let rules = [
        drop_identity,
        clip_to_relu,
        drop_final_squashing,
        relu_of_relu,
        relu_forward,
        relu_behind_first_pool,
        pad_with_number,
        pad_into_window,
    ];
    let named = |graph: &Graph, id| (graph.node(id).name().to_string(), graph.op(id).name());
    let nodes: Vec<_> = graph.ids().map(|id| (id, named(graph, id))).collect();
    graph.remove_dead();
    let dead = nodes.into_iter().filter(|(id, _)| !graph.contains(*id));
    dead.for_each(|(_, (name, operation))| report.changed_by_name(name, operation));
    loop {
        let mut changed = false;
        for rule in rules {
            for id in graph.topological()? {
                if !graph.contains(id) {
                    continue;
                }
                let (name, operation) = named(graph, id);
                if rule(graph, id, report)? {
                    report.changed_by_name(name, operation);
                    changed = true;
                }
            }
        }
        if !changed {
            return Ok(());
        }
    }
}

fn drop_identity(graph: &mut Graph, id: NodeId, _: &mut Report) -> Result<bool, GraphError> {
    let redundant = match graph.op(id) {
        Op::Identity => true,
        Op::Reshape { shape } => *shape == graph.ty(graph.operands(id)[0]).shape,
        Op::Transpose { perm } => perm.iter().copied().eq(0..perm.len()),
        Op::Pad(p) => p.begin.iter().chain(&p.end).all(|&n| n == 0),
        Op::Slice(s) => s.shape == graph.ty(graph.operands(id)[0]).shape && s.step.iter().all(|&s| s == 1),
        Op::Scale(s) => {
            s.weight.iter().all(|w| w.as_f32().iter().all(|&v| v == 1.0)) && s.bias.iter().all(|b| b.as_f32().iter().all(|&v| v == 0.0))
        }
        Op::Add | Op::Concat { .. } | Op::Maximum => graph.operands(id).len() == 1,
        _ => false,
    };
    if redundant {
        graph.bypass(id);
    }
    Ok(redundant)
}

fn clip_to_relu(graph: &mut Graph, id: NodeId, _: &mut Report) -> Result<bool, GraphError> {
    let Op::Activation(Activation::Clip { min, max }) = *graph.op(id) else { return Ok(false) };
    let at_zero = min == 0.0 || min < 0.0 && never_negative(graph, graph.operands(id)[0]).is_some();
    if !at_zero || max <= 0.0 {
        return Ok(false);
    }
    graph.set_op(id, Op::Relu(Relu { cap: (max < f32::MAX).then_some(max), threshold: None }))?;
    Ok(true)
}

fn drop_final_squashing(graph: &mut Graph, id: NodeId, report: &mut Report) -> Result<bool, GraphError> {
    let of_scores = graph.ty(id).shape.iter().filter(|&&d| d > 1).count() <= 1;
    let drops = matches!(graph.op(id), Op::Softmax { .. }) || (of_scores && matches!(graph.op(id), Op::Activation(Activation::Sigmoid)));
    if !drops || !is_final(graph, id) {
        return Ok(false);
    }
    report.notes.push(format!(
        "{} `{}` at the end of the network was dropped: it changes no ranking",
        graph.op(id).name(),
        graph.node(id).name()
    ));
    graph.bypass(id);
    Ok(true)
}

/// Nodes before a rectifier that are looked at for whether it has anything to do.
const LOOKED_AT: usize = 1024;

/// Whether `id` can never be below zero, and its upper bound where one is known, as far as a look at the nodes before it
/// tells.
fn never_negative(graph: &Graph, id: NodeId) -> Option<f32> {
    bounded_below(graph, id, &mut HashMap::new())
}

/// [`never_negative`] with what is known by now: sums of a value with itself would be looked at twice as often with every
/// step.
fn bounded_below(graph: &Graph, id: NodeId, known: &mut HashMap<NodeId, Option<f32>>) -> Option<f32> {
    if let Some(&bound) = known.get(&id) {
        return bound;
    }
    if known.len() >= LOOKED_AT {
        return None;
    }
    known.insert(id, None);
    let mut fold = |start: f32, f: fn(f32, f32) -> f32| {
        graph.operands(id).into_iter().try_fold(start, |all, o| Some(f(all, bounded_below(graph, o, known)?)))
    };
    let bound = match graph.op(id) {
        Op::Relu(r) => Some(r.cap.unwrap_or(f32::INFINITY)),
        Op::Activation(Activation::Sigmoid | Activation::HardSigmoid { .. }) => Some(1.0),
        Op::Activation(Activation::Softplus | Activation::Abs) => Some(f32::INFINITY),
        Op::Identity
        | Op::Reshape { .. }
        | Op::Transpose { .. }
        | Op::Slice(_)
        | Op::Gather { .. }
        | Op::MaxPool(_)
        | Op::Concat { .. }
        | Op::Maximum
        | Op::AvgPool(AvgPool { divisor: Divisor::Padded | Divisor::Valid, .. }) => fold(0.0, f32::max),
        Op::Pad(p) if p.value >= 0.0 => fold(p.value, f32::max),
        Op::Reduce(r) if r.mean => fold(0.0, f32::max),
        Op::Add => fold(0.0, |a, b| a + b),
        _ => None,
    };
    known.insert(id, bound);
    bound
}

fn relu_of_relu(graph: &mut Graph, id: NodeId, _: &mut Report) -> Result<bool, GraphError> {
    let Op::Relu(relu) = graph.op(id).clone() else { return Ok(false) };
    let before = graph.operands(id)[0];
    if let &Op::Activation(Activation::Clip { min, max }) = graph.op(before)
        && min <= 0.0
        && max > 0.0
        && graph.use_count(before) == 1
    {
        let cap = relu.cap.unwrap_or(f32::MAX).min(max);
        graph.set_op(id, Op::Relu(Relu { cap: (cap < f32::MAX).then_some(cap), ..relu }))?;
        graph.bypass(before);
        return Ok(true);
    }
    let Some(bound) = never_negative(graph, before) else { return Ok(false) };
    if relu.cap.is_none_or(|cap| bound <= cap) {
        graph.bypass(id);
        return Ok(true);
    }
    if let Op::Relu(first) = graph.op(before).clone()
        && graph.use_count(before) == 1
    {
        graph.set_op(before, Op::Relu(Relu { cap: relu.cap, ..first }))?;
        graph.bypass(id);
        return Ok(true);
    }
    Ok(false)
}

fn relu_forward(graph: &mut Graph, id: NodeId, _: &mut Report) -> Result<bool, GraphError> {
    let Op::Relu(relu) = graph.op(id).clone() else { return Ok(false) };
    let before = graph.operands(id)[0];
    let commutes = matches!(graph.op(before), Op::MaxPool(_) | Op::Maximum) || graph.op(before).is_structural();
    let is_first_pool = matches!(graph.op(before), Op::MaxPool(_)) && is_linear_in_inputs(graph, graph.operands(before)[0]);
    if !commutes || is_first_pool || graph.use_count(before) > 1 {
        return Ok(false);
    }
    // The relu keeps its name at its new place; what it moves before is created anew after it.
    let name = graph.node(id).name().to_string();
    let before_op = graph.op(before).clone();
    let operands = graph.operands(before);
    let mut rectified = Vec::with_capacity(operands.len());
    for (i, &operand) in operands.iter().enumerate() {
        let base = if operands.len() == 1 { name.clone() } else { format!("{name}.{i}") };
        let fresh = graph.fresh_name(&base);
        rectified.push(graph.add(fresh, Op::Relu(relu.clone()), &[operand])?);
    }
    graph.rewrite(id, before_op, &rectified)?;
    let before_name = graph.node(before).name().to_string();
    graph.remove(before);
    graph.rename(id, &before_name);
    if let [only] = rectified[..] {
        graph.rename(only, &name);
    }
    Ok(true)
}

fn relu_behind_first_pool(graph: &mut Graph, id: NodeId, _: &mut Report) -> Result<bool, GraphError> {
    let Op::MaxPool(window) = graph.op(id).clone() else { return Ok(false) };
    let relu = graph.operands(id)[0];
    let rectifier = graph.op(relu).clone();
    let Op::Relu(_) = rectifier else { return Ok(false) };
    let source = graph.operands(relu)[0];
    if graph.use_count(relu) > 1 || !is_linear_in_inputs(graph, source) {
        return Ok(false);
    }
    let (pool_name, relu_name) = (graph.node(id).name().to_string(), graph.node(relu).name().to_string());
    let fresh = graph.fresh_name(&pool_name);
    let pool = graph.add(fresh, Op::MaxPool(window), &[source])?;
    graph.rewrite(id, rectifier, &[pool])?;
    graph.remove(relu);
    graph.rename(id, &relu_name);
    graph.rename(pool, &pool_name);
    Ok(true)
}

/// Whether nothing but linear operations and max-pools is between the inputs and `id`.
fn is_linear_in_inputs(graph: &Graph, id: NodeId) -> bool {
    let is_linear = |op: &Op| {
        let weights = matches!(op, Op::Conv(_) | Op::ConvTranspose(_) | Op::Linear(_) | Op::BatchNorm(_) | Op::Scale(_));
        let sums = matches!(op, Op::Add | Op::AvgPool(_) | Op::Reduce(_));
        weights || sums || op.is_structural() || matches!(op, Op::Input(..) | Op::Constant(..) | Op::Pad(_) | Op::MaxPool(_))
    };
    let mut seen = HashSet::from([id]);
    let mut open = vec![id];
    while let Some(id) = open.pop() {
        if !is_linear(graph.op(id)) {
            return false;
        }
        open.extend(graph.operands(id).into_iter().filter(|&o| seen.insert(o)));
    }
    true
}

/// Spikes can only be padded with nothing: the number comes as a bias current of the padded places.
fn pad_with_number(graph: &mut Graph, id: NodeId, _: &mut Report) -> Result<bool, GraphError> {
    let Op::Pad(pad) = graph.op(id).clone() else { return Ok(false) };
    let source = graph.operands(id)[0];
    if pad.value == 0.0 || matches!(graph.op(source), Op::Input(..)) {
        return Ok(false);
    }
    let (inner, shape) = (graph.ty(source).shape.clone(), graph.ty(id).shape.clone());
    let inside = snn_ir::index_map::index_map(graph.op(id), &[&inner], &shape).expect("padding moves elements");
    let bias = inside.into_iter().map(|from| if from.is_some() { 0.0 } else { pad.value }).collect::<Vec<f32>>();
    let name = graph.fresh_name(&format!("{}.zeros", graph.node(id).name()));
    let padded = graph.add(name, Op::Pad(Pad { value: 0.0, ..pad.clone() }), &[source])?;
    graph.rewrite(id, Op::Scale(Scale { weight: None, bias: Some(Tensor::f32(shape, bias)) }), &[padded])?;
    Ok(true)
}

fn pad_into_window(graph: &mut Graph, id: NodeId, _: &mut Report) -> Result<bool, GraphError> {
    let grow = |w: &Window, p: &Pad| Window {
        pad_begin: w.pad_begin.iter().zip(&p.begin[1..]).map(|(a, b)| a + b).collect(),
        pad_end: w.pad_end.iter().zip(&p.end[1..]).map(|(a, b)| a + b).collect(),
        ..w.clone()
    };
    let Some(&before) = graph.operands(id).first() else { return Ok(false) };
    let Op::Pad(pad) = graph.op(before) else { return Ok(false) };
    if pad.value != 0.0 || pad.begin.is_empty() || pad.begin[0] != 0 || pad.end[0] != 0 {
        return Ok(false);
    }
    let op = match graph.op(id) {
        Op::Conv(c) => Op::Conv(snn_ir::op::Conv { window: grow(&c.window, pad), ..c.clone() }),
        Op::AvgPool(p) if p.divisor != Divisor::Valid && !p.window.ceil => {
            Op::AvgPool(AvgPool { window: grow(&p.window, pad), divisor: p.divisor })
        }
        _ => return Ok(false),
    };
    let source = graph.operands(before);
    graph.rewrite(id, op, &source)?;
    graph.remove_dead();
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::super::testing::check;
    use super::*;

    #[test]
    fn a_relu_of_a_relu_goes_and_a_smaller_cap_stays() {
        let twice = |first: &str, second: &str| {
            format!(
                "%x = input : analog[2]
                %a = relu %x{first} : analog[2]
                %b = relu %a{second} : analog[2]
                output %b"
            )
        };
        let once = |cap: &str| {
            format!(
                "%x = input : analog[2]
                %a = relu %x{cap} : analog[2]
                output %a"
            )
        };
        check(&Canonicalize {}, &twice("", ""), &once(""));
        check(&Canonicalize {}, &twice(", cap=2", ", cap=6"), &once(", cap=2"));
        check(&Canonicalize {}, &twice(", cap=6", ", cap=2"), &once(", cap=2"));
    }
}
