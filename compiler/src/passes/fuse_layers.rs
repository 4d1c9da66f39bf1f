//! `fuse-layers`: chains of linear operations and the neurons after them become one layer.
//!
//! A layer is `{one synapse per source} + bias + neurons`. Sums, scales and biases between the sources and the neurons
//! dissolve into weights and one bias; several weighted branches that meet in an add become several synapses of one
//! layer. A linear result that more than one node uses, or that something other than a sum or a neuron uses, becomes a
//! layer without neurons, whose value is its current, so that it is computed once. Structural operations, max-pools and
//! readouts stay.
use super::fold_batch_norm::{along_axis, broadcast_with, fold_into};
use super::{Condition, Facts, Pass, PassError, Report, Request};
use serde::Deserialize;
use snn_ir::neuron::Neuron;
use snn_ir::op::{AvgPool, Conv, Divisor, Layer, Scale};
use snn_ir::{Graph, NodeId, Op, Tensor, Window};
use std::collections::{HashMap, HashSet};

/// The pass; it has no options.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FuseLayers {}

impl Pass for FuseLayers {
    fn name(&self) -> &'static str {
        "fuse-layers"
    }

    fn requires(&self) -> &'static [Condition] {
        &[Condition::Neurons]
    }

    fn provides(&self) -> &'static [Condition] {
        &[Condition::Layers]
    }

    fn precedes(&self) -> &'static [Condition] {
        &[Condition::Integers, Condition::Rates]
    }

    fn keeps_outputs(&self) -> bool {
        true
    }

    fn run(&self, graph: &mut Graph, _: &Request<'_>, _: &mut Facts, report: &mut Report) -> Result<(), PassError> {
        even_out_averages(graph, report)?;
        let order = graph.topological()?;
        let inlined = dissolving(graph, &order);
        for id in order {
            let (root, neuron) = match graph.op(id) {
                Op::If(n) => (graph.operands(id)[0], Some(n.clone())),
                op if is_linear(op) && !inlined.contains(&id) => (id, None),
                _ => continue,
            };
            let layer = Fusion::of(graph, root, id, &inlined, neuron);
            report.changed(graph.node(id));
            graph.rewrite(id, Op::Layer(layer.op), &layer.sources)?;
        }
        graph.remove_dead();
        Ok(())
    }
}

fn is_linear(op: &Op) -> bool {
    matches!(op, Op::Conv(_) | Op::ConvTranspose(_) | Op::Linear(_) | Op::AvgPool(_) | Op::Reduce(_) | Op::Scale(_) | Op::Add)
}

/// The linear nodes whose only use is a sum, a scale or a neuron, and which can go into its layer together with all
/// scales in between.
fn dissolving(graph: &Graph, order: &[NodeId]) -> HashSet<NodeId> {
    // What each dissolving node is multiplied by on its way.
    let mut outer: HashMap<NodeId, Option<Tensor>> = HashMap::new();
    for &id in order.iter().rev() {
        let &[user] = &graph.users(id)[..] else { continue };
        if !is_linear(graph.op(id)) || graph.use_count(id) != 1 {
            continue;
        }
        let further = outer.get(&user).cloned().flatten();
        let shape = &graph.ty(id).shape;
        let factor = match graph.op(user) {
            Op::If(_) => None,
            Op::Add => further,
            Op::Scale(s) => match (&s.weight, further) {
                (Some(w), Some(f)) => Some(broadcast_with(w, &f, shape, |a, b| a * b)),
                (weight, further) => weight.clone().or(further),
            },
            _ => continue,
        };
        if takes_factor(graph, id, factor.as_ref()) {
            outer.insert(id, factor);
        }
    }
    outer.into_keys().collect()
}

/// Whether a linear node multiplied by `factor` is a synapse, or synapses, of a layer.
fn takes_factor(graph: &Graph, id: NodeId, factor: Option<&Tensor>) -> bool {
    let shape = &graph.ty(id).shape;
    let along = |axis: usize| along_axis(factor, shape, axis, 1.0).is_some();
    match graph.op(id) {
        Op::Conv(_) | Op::ConvTranspose(_) => along(0),
        Op::Linear(_) => along(shape.len() - 1),
        op @ (Op::AvgPool(_) | Op::Reduce(_)) => as_depthwise(op, &graph.ty(graph.operands(id)[0]).shape, factor).is_some(),
        _ => true,
    }
}

/// Averages whose windows hold different numbers of elements (padding that does not count, overhang) become sums, times one
/// over the number at each place.
fn even_out_averages(graph: &mut Graph, report: &mut Report) -> Result<(), PassError> {
    for id in graph.topological()? {
        let Op::AvgPool(pool) = graph.op(id).clone() else { continue };
        let source = graph.operands(id)[0];
        let (inputs, outputs) = (graph.ty(source).shape[1..].to_vec(), graph.ty(id).shape[1..].to_vec());
        let counts = pool.counts(&inputs, &outputs);
        if counts.iter().all(|&n| n == pool.window.taps()) || pool.divisor == Divisor::One {
            continue;
        }
        let name = graph.fresh_name(&format!("{}.sum", graph.node(id).name()));
        let sum = graph.add(name, Op::AvgPool(AvgPool { window: pool.window, divisor: Divisor::One }), &[source])?;
        let weight: Vec<f32> = counts.iter().map(|&n| 1.0 / n.max(1) as f32).collect();
        let weight = Tensor::f32([&[1][..], &outputs].concat(), weight);
        report.changed(graph.node(id));
        graph.rewrite(id, Op::Scale(Scale { weight: Some(weight), bias: None }), &[sum])?;
    }
    Ok(())
}

struct Fusion {
    sources: Vec<NodeId>,
    op: Layer,
}

impl Fusion {
    fn of(graph: &Graph, root: NodeId, layer: NodeId, inlined: &HashSet<NodeId>, neuron: Option<Neuron>) -> Fusion {
        let mut fusion = Fusion { sources: Vec::new(), op: Layer { synapses: Vec::new(), bias: None, neuron } };
        let top = root == layer || inlined.contains(&root);
        fusion.gather(graph, root, None, inlined, top);
        let Fusion { sources, mut op } = fusion;
        // A plain average stays one only where nothing else happens in its layer.
        if op.synapses.len() > 1 || op.neuron.is_some() {
            for (synapse, &source) in op.synapses.iter_mut().zip(&sources) {
                if let Some(conv) = as_depthwise(synapse, &graph.ty(source).shape, None) {
                    *synapse = conv;
                }
            }
        }
        op.bias = op.bias.filter(|b| b.as_f32().iter().any(|&v| v != 0.0));
        Fusion { sources, op }
    }

    fn synapse(&mut self, source: NodeId, op: Op) {
        self.sources.push(source);
        self.op.synapses.push(op);
    }

    fn add_bias(&mut self, bias: &Tensor, outer: Option<&Tensor>, shape: &[usize]) {
        let scaled = outer.map_or_else(|| bias.clone(), |o| broadcast_with(bias, o, shape, |a, b| a * b));
        self.op.bias = Some(match &self.op.bias {
            Some(sum) => broadcast_with(sum, &scaled, shape, |a, b| a + b),
            None => scaled,
        });
    }

    /// Adds what `id`, multiplied by `outer`, contributes. `open` says whether `id` may be dissolved.
    fn gather(&mut self, graph: &Graph, id: NodeId, outer: Option<Tensor>, inlined: &HashSet<NodeId>, open: bool) {
        let shape = &graph.ty(id).shape;
        let scaled = |outer: Option<Tensor>| outer.map_or(Op::Identity, |weight| Op::Scale(Scale { weight: Some(weight), bias: None }));
        if !open {
            return self.synapse(id, scaled(outer));
        }
        let operands = graph.operands(id);
        match graph.op(id) {
            Op::Add => {
                for operand in operands {
                    self.gather(graph, operand, outer.clone(), inlined, inlined.contains(&operand));
                }
            }
            Op::Scale(s) => {
                if let Some(bias) = &s.bias {
                    self.add_bias(bias, outer.as_ref(), shape);
                }
                let combined = match (&s.weight, outer) {
                    (Some(w), Some(o)) => Some(broadcast_with(w, &o, shape, |a, b| a * b)),
                    (weight, outer) => weight.clone().or(outer),
                };
                self.gather(graph, operands[0], combined, inlined, inlined.contains(&operands[0]));
            }
            op @ (Op::AvgPool(_) | Op::Reduce(_)) => {
                let weighted = outer.and_then(|weight| as_depthwise(op, &graph.ty(operands[0]).shape, Some(&weight)));
                self.synapse(operands[0], weighted.unwrap_or_else(|| op.clone()));
            }
            op => {
                let folded = outer.and_then(|weight| fold_into(graph, id, &Scale { weight: Some(weight), bias: None }));
                let (op, bias) = split_bias(folded.unwrap_or_else(|| op.clone()), shape);
                if let Some(bias) = bias {
                    self.add_bias(&bias, None, shape);
                }
                self.synapse(operands[0], op);
            }
        }
    }
}

/// Takes the bias out of a weighted operation, in a form that broadcasts over its result of `shape`.
fn split_bias(op: Op, shape: &[usize]) -> (Op, Option<Tensor>) {
    let over_channels = |b: Tensor| {
        let mut full = vec![1; shape.len()];
        full[0] = b.len();
        b.reshaped(full)
    };
    match op {
        Op::Conv(mut c) => {
            let bias = c.bias.take().map(over_channels);
            (Op::Conv(c), bias)
        }
        Op::ConvTranspose(mut c) => {
            let bias = c.bias.take().map(over_channels);
            (Op::ConvTranspose(c), bias)
        }
        Op::Linear(mut l) => {
            let bias = l.bias.take();
            (Op::Linear(l), bias)
        }
        other => (other, None),
    }
}

/// An average with the same number of taps everywhere, or a mean over all spatial axes, as a depthwise convolution whose
/// channels are multiplied by `outer`.
fn as_depthwise(op: &Op, source: &[usize], outer: Option<&Tensor>) -> Option<Op> {
    let (window, divisor) = match op {
        Op::AvgPool(AvgPool { window, divisor }) => {
            if window.ceil {
                return None;
            }
            let taps = if *divisor == Divisor::One { 1 } else { window.taps() };
            (window.clone(), taps)
        }
        Op::Reduce(r) if source.len() > 1 && r.axes.iter().copied().eq(1..source.len()) => {
            let window = Window::unit(&source[1..]);
            let taps = if r.mean { window.taps() } else { 1 };
            (window, taps)
        }
        _ => return None,
    };
    let channels = source[0];
    let mut result = vec![1; source.len()];
    result[0] = channels;
    let factors = match outer {
        Some(o) => along_axis(Some(o), &result, 0, 1.0)?,
        None => vec![1.0; channels],
    };
    let taps = window.taps();
    let weight: Vec<f32> = factors.iter().flat_map(|f| std::iter::repeat_n(f / divisor as f32, taps)).collect();
    let shape = [&[channels, 1][..], &window.kernel].concat();
    Some(Op::Conv(Conv { weight: Tensor::f32(shape, weight), bias: None, window, groups: channels }))
}
