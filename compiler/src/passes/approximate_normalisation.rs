//! `approximate-normalisation`: division by the input's own energy becomes a constant gain.
//!
//! Local response normalisation, `x / (bias + α/size · Σ x²)^β`, and the heart of instance, group and layer normalisation,
//! `x / √(mean(x²) + ε)`, divide by a function of the sample, which has no form in weights and rectifiers. The gain that
//! loses least in its place is the least-squares factor `Σ x·y / Σ x²`, with y the normalised value, over calibration samples
//! and space; without data, over synthetic inputs. There is one for each channel (index of the first axis), or one for all
//! where the normalisation runs over the first axis or not over all others. A note says what it loses.

use super::{Approximation, Condition, Facts, Pass, PassError, Report, Request};
use crate::calibrate::activations::fold_activations;
use crate::calibrate::synthetic;
use serde::Deserialize;
use snn_ir::op::Scale;
use snn_ir::{Graph, NodeId, Op, Tensor};
use std::collections::HashMap;

/// The pass; it has no options.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApproximateNormalisation {}

/// `Σ x²`, `Σ x·y` and `Σ y²` of one channel.
type Sums = [f64; 3];

/// What one thread has seen: of the sample it is at, the operands whose normalised values are yet to come; of every
/// sample, each node's sums per channel, in the order of samples.
#[derive(Default)]
struct Seen {
    operands: HashMap<NodeId, Vec<f32>>,
    sums: HashMap<NodeId, Vec<Vec<Sums>>>,
}

impl Pass for ApproximateNormalisation {
    fn name(&self) -> &'static str {
        "approximate-normalisation"
    }

    fn precedes(&self) -> &'static [Condition] {
        &[Condition::Thresholds, Condition::Neurons]
    }

    fn run(&self, graph: &mut Graph, request: &Request<'_>, _: &mut Facts, report: &mut Report) -> Result<(), PassError> {
        let nodes: Vec<NodeId> =
            graph.topological()?.into_iter().filter(|&id| matches!(graph.op(id), Op::Lrn(_) | Op::RmsNorm(_))).collect();
        if nodes.is_empty() {
            return Ok(());
        }
        let operands: HashMap<NodeId, NodeId> = nodes.iter().map(|&id| (id, graph.operands(id)[0])).collect();
        let synthetic = request.samples.is_none().then(|| synthetic::samples(graph, &request.assumed));
        let samples = request.samples.or(synthetic.as_ref()).expect("one of the two is there");
        let seen = fold_activations(
            graph,
            samples,
            request.progress,
            "normalisation gains",
            Seen::default,
            |seen, id, value| {
                if let Some(operand) = operands.get(&id) {
                    let channels = gains(graph, id);
                    seen.sums.entry(id).or_default().push(sums(&seen.operands[operand], value, channels));
                }
                if operands.values().any(|&o| o == id) {
                    seen.operands.insert(id, value.to_vec());
                }
            },
            // Samples stay in order, so that sums do not depend on how threads shared them.
            |mut a, b| {
                b.sums.into_iter().for_each(|(id, sums)| a.sums.entry(id).or_default().extend(sums));
                a
            },
        )?;
        for &id in &nodes {
            let samples = seen.sums.get(&id).map_or(&[][..], Vec::as_slice);
            let mut total = vec![[0.0; 3]; gains(graph, id)];
            for sample in samples {
                total.iter_mut().flatten().zip(sample.iter().flatten()).for_each(|(t, s)| *t += s);
            }
            let gains: Vec<f64> = total.iter().map(|[xx, xy, _]| if *xx > 0.0 { xy / xx } else { 1.0 }).collect();
            let power: f64 = total.iter().map(|t| t[2]).sum();
            let error: f64 = total.iter().zip(&gains).map(|([xx, xy, yy], g)| (yy - 2.0 * g * xy + g * g * xx).max(0.0)).sum();
            let relative_error = if power > 0.0 { (error / power).sqrt() } else { 0.0 };
            report.notes.push(format!(
                "`{}` ({}): approximated by a constant gain{}; RMS error {:.2} % of its RMS",
                graph.node(id).name(),
                graph.op(id).name(),
                if gains.len() > 1 { " per channel" } else { "" },
                100.0 * relative_error
            ));
            report.approximations.push(Approximation {
                node: graph.node(id).name().to_string(),
                operation: graph.op(id).name(),
                knots: Vec::new(),
                relative_error,
                largest_error: None,
                bound: None,
            });
            let rank = graph.ty(id).shape.len();
            let weight = match gains[..] {
                [one] => Tensor::scalar(one as f32),
                _ => Tensor::per_channel(gains.iter().map(|&g| g as f32).collect::<Vec<_>>(), rank),
            };
            report.changed(graph.node(id));
            graph.set_op(id, Op::Scale(Scale { weight: Some(weight), bias: None }))?;
        }
        Ok(())
    }
}

/// Number of gains of a normalisation: one per index of the first axis, or one for all. A value
/// without axes has one.
fn gains(graph: &Graph, id: NodeId) -> usize {
    let shape = &graph.ty(id).shape;
    match graph.op(id) {
        Op::RmsNorm(n) if !n.axes.iter().copied().eq(1..shape.len()) => 1,
        _ => shape.first().copied().unwrap_or(1),
    }
}

fn sums(x: &[f32], y: &[f32], channels: usize) -> Vec<Sums> {
    let inner = x.len() / channels.max(1);
    let channel = |(x, y): (&[f32], &[f32])| {
        x.iter().zip(y).fold([0.0; 3], |[xx, xy, yy], (&x, &y)| {
            let (x, y) = (f64::from(x), f64::from(y));
            [xx + x * x, xy + x * y, yy + y * y]
        })
    };
    x.chunks_exact(inner.max(1)).zip(y.chunks_exact(inner.max(1))).map(channel).collect()
}
