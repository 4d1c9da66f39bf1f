//! `lower-max-pool`: maxima become what a spiking network can compute.
//!
//! `exact` (default): `out(t) = max C(t) − max C(t−1)` over the running sums `C` of the inputs. Each sum of a spike train
//! moves by at most one spike a step, so their maximum does too: the output is a spike train again, and its total is the
//! maximum of the totals exactly, for any kernel, stride and overlap.
//! `rectifier`: trees of `max(a, b) = b + relu(a − b)`, one axis of the window after the other, for hardware that has nothing
//! but neurons and sums. Exact for analog values; neurons round each difference.
//! Maxima of branches become such trees in every mode: branches spike with thresholds of their own, so their counts are not
//! of one measure.
//! `average`: the mean of the window instead, which every chip has and no network was trained for.

use super::{Condition, Facts, Pass, PassError, Report, Request};
use serde::Deserialize;
use snn_ir::op::{AvgPool, Divisor, Relu, Scale};
use snn_ir::{Graph, NodeId, Op, Tensor, Window};

/// How a maximum is computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MaxPoolMode {
    /// Difference of cumulative maxima.
    #[default]
    Exact,
    /// Trees of rectified differences.
    Rectifier,
    /// Average over the window.
    Average,
}

/// The pass.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LowerMaxPool {
    /// How a maximum is computed.
    pub mode: MaxPoolMode,
}

impl Pass for LowerMaxPool {
    fn name(&self) -> &'static str {
        "lower-max-pool"
    }

    fn precedes(&self) -> &'static [Condition] {
        &[Condition::Thresholds, Condition::Neurons]
    }

    fn keeps_outputs(&self) -> bool {
        self.mode != MaxPoolMode::Average
    }

    fn run(&self, graph: &mut Graph, _: &Request<'_>, _: &mut Facts, report: &mut Report) -> Result<(), PassError> {
        rectifier_trees(graph, self.mode == MaxPoolMode::Rectifier, report)?;
        let mut averaged = Vec::new();
        graph.rewrite_all(|_, node| {
            let Op::MaxPool(window) = node.op() else { return None };
            report.changed(node);
            if self.mode == MaxPoolMode::Average && window.dilation.iter().all(|&d| d == 1) {
                averaged.push(node.name().to_string());
                return Some(Op::AvgPool(AvgPool { window: window.clone(), divisor: Divisor::Valid }));
            }
            Some(Op::CumulativeMaxPool(window.clone()))
        })?;
        if !averaged.is_empty() {
            report.notes.push(format!("max-pools were replaced by averages, as asked: {}", averaged.join(", ")));
        }
        Ok(())
    }
}

/// Lowers the maxima of branches, and those of windows if `pools` says so.
fn rectifier_trees(graph: &mut Graph, pools: bool, report: &mut Report) -> Result<(), PassError> {
    for id in graph.topological()? {
        let (terms, base) = match graph.op(id).clone() {
            Op::Maximum => (graph.operands(id), graph.node(id).name().to_string()),
            Op::MaxPool(window) if pools => {
                let name = graph.node(id).name().to_string();
                let space = graph.ty(graph.operands(id)[0]).shape[1..].to_vec();
                let outputs = graph.ty(id).shape[1..].to_vec();
                let mut value = graph.operands(id)[0];
                // All axes but the last; the last one's maximum takes the pool's place.
                for axis in 0..window.rank() - 1 {
                    let base = format!("{name}.axis{axis}");
                    let taps = taps(graph, value, &window, axis, (space[axis], outputs[axis]), &base)?;
                    value = maximum(graph, taps, &base)?;
                }
                let axis = window.rank() - 1;
                let base = format!("{name}.axis{axis}");
                (taps(graph, value, &window, axis, (space[axis], outputs[axis]), &base)?, base)
            }
            _ => continue,
        };
        report.changed(graph.node(id));
        let value = maximum(graph, terms, &base)?;
        let name = graph.node(id).name().to_string();
        graph.replace_uses(id, value);
        graph.remove(id);
        if graph.op(value) == &Op::Add {
            graph.rename(value, &name);
        }
    }
    Ok(())
}

/// The elements under each tap of a window along `axis`, one node a tap. A tap on padding repeats a tap on an element of
/// the same window, which leaves the maximum as it is, whatever the sign.
fn taps(
    graph: &mut Graph,
    value: NodeId,
    window: &Window,
    axis: usize,
    (input, output): (usize, usize),
    base: &str,
) -> Result<Vec<NodeId>, PassError> {
    let place = |o: usize, tap: usize| {
        (o * window.stride[axis] + tap * window.dilation[axis]).checked_sub(window.pad_begin[axis]).filter(|&p| p < input)
    };
    let mut all: Vec<Vec<usize>> = Vec::new();
    for tap in 0..window.kernel[axis] {
        let element = |o: usize| place(o, tap).or_else(|| (0..window.kernel[axis]).find_map(|other| place(o, other)));
        let indices: Option<Vec<usize>> = (0..output).map(element).collect();
        all.push(indices.ok_or_else(|| PassError::Missing(format!("a window of `{base}` lies on padding alone")))?);
    }
    all.dedup();
    let mut nodes = Vec::with_capacity(all.len());
    for (tap, indices) in all.into_iter().enumerate() {
        let name = graph.fresh_name(&format!("{base}.tap{tap}"));
        nodes.push(graph.add(name, Op::Gather { axis: axis + 1, indices }, &[value])?);
    }
    Ok(nodes)
}

/// A balanced tree of `b + relu(a − b)` over `terms`.
fn maximum(graph: &mut Graph, mut terms: Vec<NodeId>, base: &str) -> Result<NodeId, PassError> {
    while terms.len() > 1 {
        let mut joined = Vec::with_capacity(terms.len().div_ceil(2));
        for pair in terms.chunks(2) {
            let &[a, b] = pair else {
                joined.extend(pair);
                continue;
            };
            let minus = Scale { weight: Some(Tensor::scalar(-1.0)), bias: None };
            let negative = add_fresh(graph, &format!("{base}.negative"), Op::Scale(minus), &[b])?;
            let difference = add_fresh(graph, &format!("{base}.difference"), Op::Add, &[a, negative])?;
            let excess = add_fresh(graph, &format!("{base}.excess"), Op::Relu(Relu::default()), &[difference])?;
            joined.push(add_fresh(graph, &format!("{base}.maximum"), Op::Add, &[b, excess])?);
        }
        terms = joined;
    }
    Ok(terms[0])
}

fn add_fresh(graph: &mut Graph, name: &str, op: Op, operands: &[NodeId]) -> Result<NodeId, PassError> {
    let name = graph.fresh_name(name);
    Ok(graph.add(name, op, operands)?)
}

#[cfg(test)]
mod tests {
    use super::super::testing::check;
    use super::*;

    #[test]
    fn a_maximum_becomes_that_of_running_sums() {
        let pool = |op: &str| {
            format!(
                "%x = input : analog[1x2x2]
                %y = {op} %x, kernel=2x2 : analog[1x1x1]
                output %y"
            )
        };
        check(&LowerMaxPool::default(), &pool("max_pool"), &pool("cumulative_max_pool"));
    }
}
