//! `normalize`: every threshold and every spike amplitude becomes 1.
//!
//! Equation: with spikes of amplitude θ_pre and a threshold θ_post, `v ≥ θ_post` driven by `W·θ_pre·s` is the same as `v/θ_post ≥ 1`
//! driven by `(W·θ_pre/θ_post)·s`. Amplitudes travel along structural operations and max-pools, which keep spikes spikes,
//! and go into the columns of the next weights; thresholds go into the rows of the weights before. Where there are no weights
//! (an identity shortcut, a batch-norm after an add) a `scale` carries the factor. After it a chip needs one threshold only.
//!
//! Precondition: after `replace-relu`. The network's function does not change.

use super::fold_batch_norm::{broadcast_with, fold_into};
use super::{Condition, Facts, Pass, PassError, Report, Request};
use serde::Deserialize;
use snn_ir::neuron::{Amplitude, Neuron};
use snn_ir::op::{Conv, ConvTranspose, Linear, Scale};
use snn_ir::{Graph, NodeId, Op, Signal, Tensor};
use std::collections::HashMap;

/// The pass; it has no options.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Normalize {}

impl Pass for Normalize {
    fn name(&self) -> &'static str {
        "normalize"
    }

    fn requires(&self) -> &'static [Condition] {
        &[Condition::Neurons]
    }

    fn provides(&self) -> &'static [Condition] {
        &[Condition::UnitThresholds]
    }

    fn precedes(&self) -> &'static [Condition] {
        &[Condition::Layers]
    }

    fn keeps_outputs(&self) -> bool {
        true
    }

    fn run(&self, graph: &mut Graph, _: &Request<'_>, _: &mut Facts, report: &mut Report) -> Result<(), PassError> {
        fold_amplitudes(graph, report)?;
        unit_thresholds(graph, report)?;
        merge_scales(graph)
    }
}

/// The amplitude of a spike of each node, element by element; `None` where that is 1 everywhere.
type Amplitudes = HashMap<NodeId, Option<Vec<f32>>>;

fn fold_amplitudes(graph: &mut Graph, report: &mut Report) -> Result<(), PassError> {
    let mut amplitudes: Amplitudes = HashMap::new();
    let mut neurons = Vec::new();
    for id in graph.topological()? {
        if let Op::If(n) = graph.op(id) {
            let theta = (n.amplitude == Amplitude::Threshold).then(|| n.threshold.expanded(&graph.ty(id).shape));
            neurons.extend(theta.is_some().then_some(id));
            amplitudes.insert(id, theta.filter(|t| t.iter().any(|&v| v != 1.0)));
        } else if carries(graph, id, &amplitudes) {
            carry(graph, id, &mut amplitudes)?;
        }
    }
    for id in graph.topological()? {
        if amplitudes.contains_key(&id) && !matches!(graph.op(id), Op::If(_)) {
            // Its operands' amplitudes were carried to its users.
            continue;
        }
        for (port, operand) in graph.operands(id).into_iter().enumerate() {
            let Some(Some(amplitude)) = amplitudes.get(&operand) else { continue };
            report.changed(graph.node(id));
            if port == 0
                && let Some(op) = scale_columns(graph, id, operand, amplitude)
            {
                graph.set_op(id, op)?;
                continue;
            }
            let weight = compact(amplitude, &graph.ty(operand).shape);
            let name = graph.fresh_name(&format!("{}.amplitude", graph.node(operand).name()));
            let scale = graph.add(name, Op::Scale(Scale { weight: Some(weight), bias: None }), &[operand])?;
            let mut operands = graph.operands(id);
            operands[port] = scale;
            let op = graph.op(id).clone();
            graph.rewrite(id, op, &operands)?;
        }
    }
    for id in neurons {
        let Op::If(n) = graph.op(id).clone() else { continue };
        graph.set_op(id, Op::If(Neuron { amplitude: Amplitude::One, ..n }))?;
    }
    graph.infer_types()?;
    Ok(())
}

/// Whether a node passes its operands' amplitudes on: it must for spikes, and may for sums over space, where the next
/// weights can still take them.
fn carries(graph: &Graph, id: NodeId, amplitudes: &Amplitudes) -> bool {
    let op = graph.op(id);
    if graph.ty(id).signal == Signal::Spikes {
        return op.is_structural() || matches!(op, Op::CumulativeMaxPool(_) | Op::CumulativeMax);
    }
    let operands = graph.operands(id);
    let known = !operands.is_empty() && operands.iter().all(|o| amplitudes.contains_key(o));
    let per_channel = |o: &NodeId| amplitudes[o].as_ref().is_none_or(|a| channel_values(a, &graph.ty(*o).shape).is_some());
    known
        && match op {
            Op::AvgPool(_) => operands.iter().all(per_channel),
            Op::Reduce(r) => !r.axes.contains(&0) && operands.iter().all(per_channel),
            op => op.is_structural(),
        }
}

/// One value per channel, if `values` are constant over space.
fn channel_values(values: &[f32], shape: &[usize]) -> Option<Vec<f32>> {
    let inner: usize = shape[1..].iter().product();
    values.chunks_exact(inner).all(|c| c.iter().all(|&v| v == c[0])).then(|| values.iter().step_by(inner).copied().collect())
}

/// Works out the amplitude of a node that passes spikes on.
fn carry(graph: &mut Graph, id: NodeId, amplitudes: &mut Amplitudes) -> Result<(), PassError> {
    let operands = graph.operands(id);
    let known: Vec<Option<Vec<f32>>> = operands.iter().map(|o| amplitudes.get(o).cloned().flatten()).collect();
    if known.iter().all(Option::is_none) {
        amplitudes.insert(id, None);
        return Ok(());
    }
    let full = |i: usize| known[i].clone().unwrap_or_else(|| vec![1.0; graph.ty(operands[i]).len()]);
    let shape = graph.ty(id).shape.clone();
    let carried = match graph.op(id) {
        Op::CumulativeMaxPool(_) | Op::AvgPool(_) | Op::Reduce(_) => {
            let Some(values) = channel_values(&full(0), &graph.ty(operands[0]).shape) else {
                return Err(PassError::node(
                    graph,
                    id,
                    "thresholds differ within a max-pool window; balance thresholds per channel or per layer",
                ));
            };
            let space: usize = shape[1..].iter().product();
            values.into_iter().flat_map(|v| std::iter::repeat_n(v, space)).collect()
        }
        Op::CumulativeMax => {
            let first = full(0);
            if (1..operands.len()).any(|i| full(i) != first) {
                return Err(PassError::node(graph, id, "the branches of a maximum have different thresholds; balance them per layer"));
            }
            first
        }
        op => {
            let values: Vec<Vec<f32>> = (0..operands.len()).map(full).collect();
            let shapes: Vec<&[usize]> = operands.iter().map(|&o| &graph.ty(o).shape[..]).collect();
            move_elements(op, &values, &shapes, &shape, 1.0)
        }
    };
    amplitudes.insert(id, Some(carried));
    Ok(())
}

/// Applies a structural operation to plain values; `fill` is what padding becomes.
pub(super) fn move_elements(op: &Op, operands: &[Vec<f32>], shapes: &[&[usize]], out: &[usize], fill: f32) -> Vec<f32> {
    snn_ir::index_map::index_map(op, shapes, out)
        .expect("only structural operations keep spikes and move them")
        .into_iter()
        .map(|source| source.map_or(fill, |(operand, element)| operands[operand as usize][element as usize]))
        .collect()
}

/// The smallest tensor that broadcasts to `values` over `shape`: a scalar, one value per channel, or everything.
pub(super) fn compact(values: &[f32], shape: &[usize]) -> Tensor {
    if values.iter().all(|&v| v == values[0]) {
        return Tensor::scalar(values[0]);
    }
    match channel_values(values, shape) {
        Some(channels) => Tensor::per_channel(channels, shape.len()),
        None => Tensor::f32(shape, values),
    }
}

/// The operation of `id` with its input columns multiplied by the operand's amplitudes, where it has columns.
fn scale_columns(graph: &Graph, id: NodeId, operand: NodeId, amplitude: &[f32]) -> Option<Op> {
    let shape = &graph.ty(operand).shape;
    let per_channel = || {
        let inner: usize = shape[1..].iter().product();
        amplitude
            .chunks_exact(inner)
            .all(|c| c.iter().all(|&v| v == c[0]))
            .then(|| amplitude.iter().step_by(inner).copied().collect::<Vec<f32>>())
    };
    match graph.op(id) {
        Op::Conv(c) => {
            let factors = per_channel()?;
            let layout = c.layout();
            let weight: Vec<f32> = c.weight.as_f32().iter().enumerate().map(|(i, w)| w * factors[layout.input(i)]).collect();
            Some(Op::Conv(Conv { weight: Tensor::f32(c.weight.shape(), weight), ..c.clone() }))
        }
        Op::ConvTranspose(c) => {
            let factors = per_channel()?;
            let weight = super::fold_batch_norm::scale_rows(&c.weight, &factors);
            Some(Op::ConvTranspose(ConvTranspose { weight, ..c.clone() }))
        }
        Op::Linear(l) => {
            let columns = l.weight.shape()[1];
            // Behind other axes the same columns serve every row, so the amplitude must be the same for all of them.
            let row = &amplitude[..columns];
            if !amplitude.chunks_exact(columns).all(|c| c == row) {
                return None;
            }
            let weight: Vec<f32> = l.weight.as_f32().iter().enumerate().map(|(i, w)| w * row[i % columns]).collect();
            Some(Op::Linear(Linear { weight: Tensor::f32(l.weight.shape(), weight), ..l.clone() }))
        }
        Op::Scale(s) => {
            let amplitude = compact(amplitude, shape);
            let weight = s.weight.as_ref().map_or_else(|| amplitude.clone(), |w| broadcast_with(w, &amplitude, shape, |a, b| a * b));
            Some(Op::Scale(Scale { weight: Some(weight), bias: s.bias.clone() }))
        }
        _ => None,
    }
}

/// `tensor` times `inverse`, one value per element of `shape`.
fn over(tensor: &Tensor, inverse: &Tensor, shape: &[usize]) -> Vec<f32> {
    broadcast_with(tensor, inverse, shape, |a, b| a * b).expanded(shape)
}

/// Rows of values over `shape` as one tensor `[rows, ..]`, each row as small as [`compact`] makes the largest of them.
pub(super) fn stack(rows: &[Vec<f32>], shape: &[usize]) -> Tensor {
    let compacted: Vec<Tensor> = rows.iter().map(|r| compact(r, shape)).collect();
    let largest = compacted.iter().max_by_key(|t| t.len()).map(|t| t.shape().to_vec()).unwrap_or_default();
    let values: Vec<f32> = compacted.iter().flat_map(|t| t.expanded(&largest)).collect();
    Tensor::f32([&[rows.len()][..], &largest].concat(), values)
}

fn unit_thresholds(graph: &mut Graph, report: &mut Report) -> Result<(), PassError> {
    for id in graph.topological()? {
        let Op::If(n) = graph.op(id).clone() else { continue };
        if n.threshold.as_f32().iter().all(|&t| t == 1.0) && n.threshold.shape().is_empty() {
            report.not_applicable(graph.node(id), "its threshold is 1 already");
            continue;
        }
        report.changed(graph.node(id));
        let inverse = n.threshold.map(|t| 1.0 / t);
        let initial = compact(&over(&n.initial, &inverse, &graph.ty(id).shape), &graph.ty(id).shape);
        let rows: Vec<Vec<f32>> = n.schedule_rows().iter().map(|r| over(r, &inverse, &graph.ty(id).shape)).collect();
        let schedule = rows.first().map(|_| stack(&rows, &graph.ty(id).shape));
        let name = graph.fresh_name(&format!("{}.threshold", graph.node(id).name()));
        let source = graph.operands(id)[0];
        let scale = graph.add(name, Op::Scale(Scale { weight: Some(inverse), bias: None }), &[source])?;
        graph.rewrite(id, Op::If(Neuron { threshold: Tensor::scalar(1.0), initial, schedule, ..n }), &[scale])?;
    }
    Ok(())
}

/// Folds each scale into the weights right before it, where it is their only user.
fn merge_scales(graph: &mut Graph) -> Result<(), PassError> {
    for id in graph.topological()? {
        let Op::Scale(scale) = graph.op(id).clone() else { continue };
        let before = graph.operands(id)[0];
        if graph.use_count(before) == 1
            && let Some(folded) = fold_into(graph, before, &scale)
        {
            graph.set_op(before, folded)?;
            graph.bypass(id);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::check;
    use super::*;

    #[test]
    fn thresholds_and_amplitudes_become_one_and_the_weights_take_them() {
        let before = "%x = input : current[1]
            %n = if %x, threshold=2, init=1, reset=subtract, amplitude=threshold : spikes[1]
            %s = linear %n, weight=@w : current[1]
            %y = readout %s : potential[1]
            output %y
            ---
            @w = f32[1x1] [3]";
        let after = "%x = input : current[1]
            %n.threshold = scale %x, weight=0.5 : current[1]
            %n = if %n.threshold, threshold=1, init=0.5, reset=subtract, amplitude=one : spikes[1]
            %s = linear %n, weight=@w : current[1]
            %y = readout %s : potential[1]
            output %y
            ---
            @w = f32[1x1] [6]";
        check(&Normalize {}, before, after);
    }
}
