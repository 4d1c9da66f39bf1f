//! `split-joined-inputs`: weights on the input joined with feature maps become two operations that are added.
//!
//! Equation: `W [x; y] = Wₓ x + W_y y`. What depends on the input alone is the same in every step, so a
//! spiking network computes its share `Wₓ x` once a window, in floats, and `y` stays spikes. Joined they
//! would be a current of integers that must hold pixels and spikes in one unit.
//! Found in wide-and-deep networks, U-Nets and DenseNets that join the image itself, coordinate channels.
//! Precondition: on the analog graph.

use super::{Condition, Facts, Pass, PassError, Report, Request};
use serde::Deserialize;
use snn_ir::op::{Conv, Linear};
use snn_ir::{Graph, NodeId, Op, Tensor};
use std::collections::HashSet;

/// The pass; it has no options.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SplitJoinedInputs {}

impl Pass for SplitJoinedInputs {
    fn name(&self) -> &'static str {
        "split-joined-inputs"
    }

    fn precedes(&self) -> &'static [Condition] {
        &[Condition::Neurons]
    }

    fn keeps_outputs(&self) -> bool {
        true
    }

    fn run(&self, graph: &mut Graph, _: &Request<'_>, _: &mut Facts, report: &mut Report) -> Result<(), PassError> {
        let order = graph.topological()?;
        let steady = steady(graph, &order);
        for id in order {
            let op = graph.op(id).clone();
            let is_weighted = match &op {
                Op::Conv(c) => c.groups == 1,
                Op::Linear(_) => graph.ty(id).shape.len() == 1,
                _ => false,
            };
            if !is_weighted || steady.contains(&id) {
                continue;
            }
            let Some((parts, flat)) = joined(graph, graph.operands(id)[0]) else { continue };
            if !parts.iter().any(|p| steady.contains(p)) {
                report.not_applicable(graph.node(id), "nothing of what is joined before it depends on the input alone");
                continue;
            }
            let name = graph.node(id).name().to_string();
            let mut halves = Vec::new();
            for is_steady in [true, false] {
                let mut columns = Vec::new();
                let (mut sources, mut at) = (Vec::new(), 0);
                for &part in &parts {
                    let count = if flat { graph.ty(part).len() } else { graph.ty(part).shape[0] };
                    if steady.contains(&part) == is_steady {
                        columns.extend(at..at + count);
                        sources.push(part);
                    }
                    at += count;
                }
                if flat {
                    for source in &mut sources {
                        let fresh = graph.fresh_name(&format!("{name}.flat"));
                        let shape = vec![graph.ty(*source).len()];
                        *source = graph.add(fresh, Op::Reshape { shape }, &[*source])?;
                    }
                }
                let source = match sources[..] {
                    [one] => one,
                    _ => {
                        let fresh = graph.fresh_name(&format!("{name}.join"));
                        graph.add(fresh, Op::Concat { axis: 0 }, &sources)?
                    }
                };
                let fresh = graph.fresh_name(&format!("{name}.part"));
                halves.push(graph.add(fresh, with_columns(&op, &columns, is_steady), &[source])?);
            }
            report.changed(graph.node(id));
            graph.rewrite(id, Op::Add, &halves)?;
        }
        graph.remove_dead();
        Ok(())
    }
}

fn needs_neurons(op: &Op) -> bool {
    matches!(op, Op::Relu(_) | Op::Activation(_) | Op::Maximum | Op::Softmax { .. } | Op::Lrn(_) | Op::RmsNorm(_) | Op::If(_))
}

/// Nodes that depend on the input alone, through nothing that neurons will compute.
fn steady(graph: &Graph, order: &[NodeId]) -> HashSet<NodeId> {
    let mut steady = HashSet::new();
    for &id in order {
        if !needs_neurons(graph.op(id)) && graph.operands(id).iter().all(|o| steady.contains(o)) {
            steady.insert(id);
        }
    }
    steady
}

/// The values that are joined along the first axis to make `id`, and whether it is their elements in a
/// row; `None` where it is no such join.
fn joined(graph: &Graph, id: NodeId) -> Option<(Vec<NodeId>, bool)> {
    match graph.op(id) {
        Op::Concat { axis: 0 } => {
            let parts = |o: NodeId| joined(graph, o).filter(|(_, flat)| !flat).map_or_else(|| vec![o], |(parts, _)| parts);
            Some((graph.operands(id).into_iter().flat_map(parts).collect(), false))
        }
        Op::Reshape { shape } if shape.len() == 1 => {
            let (parts, flat) = joined(graph, graph.operands(id)[0])?;
            (!flat).then_some((parts, true))
        }
        _ => None,
    }
}

/// A weighted operation on some of its source's channels; without its bias where `bare`.
fn with_columns(op: &Op, columns: &[usize], bare: bool) -> Op {
    let kept = |bias: &Option<Tensor>| bias.clone().filter(|_| !bare);
    let chosen = |weight: &Tensor| {
        let (rows, all) = (weight.shape()[0], weight.shape()[1]);
        let taps = weight.len() / (rows * all);
        let values = weight.as_f32();
        let row = |r: usize| columns.iter().flat_map(move |&c| &values[(r * all + c) * taps..][..taps]);
        let shape = [&[rows, columns.len()][..], &weight.shape()[2..]].concat();
        Tensor::f32(shape, (0..rows).flat_map(row).copied().collect::<Vec<f32>>())
    };
    match op {
        Op::Conv(c) => Op::Conv(Conv { weight: chosen(&c.weight), bias: kept(&c.bias), ..c.clone() }),
        Op::Linear(l) => Op::Linear(Linear { weight: chosen(&l.weight), bias: kept(&l.bias) }),
        other => other.clone(),
    }
}
