//! What adds up to a population's current, and which amplitude a spike has on the way there.

use super::CalibrationError;
use super::layerwise::Site;
use super::places::Places;
use snn_ir::{Graph, NodeId, Op, Signal};

/// Something that adds to a population's current.
pub(super) struct Term {
    /// The node.
    pub node: NodeId,
    /// What the current gains from one unit of the node's value, per channel; none where that differs within a channel.
    pub gains: Option<Vec<f32>>,
    /// Whether this population alone reads it.
    pub is_exclusive: bool,
}

/// What adds up to the population's current, through sums, biases and factors.
pub(super) fn terms(site: &Site<'_>, places: &Places) -> Vec<Term> {
    let mut found = Vec::new();
    let mut open = vec![Term { node: site.operand(), gains: Some(vec![1.0; places.channels]), is_exclusive: true }];
    while let Some(mut term) = open.pop() {
        term.is_exclusive &= site.graph.use_count(term.node) == 1;
        match site.graph.op(term.node) {
            Op::Add => {
                let operands = site.graph.operands(term.node).into_iter().rev();
                open.extend(operands.map(|node| Term { node, gains: term.gains.clone(), is_exclusive: term.is_exclusive }));
            }
            Op::Scale(scale) => {
                if let Some(weight) = &scale.weight {
                    let values = weight.expanded(&site.graph.ty(term.node).shape);
                    let factors = places.per_channel(&values);
                    let uniform = (0..places.channels).all(|c| places.of(0, c).iter().all(|&e| values[e] == factors[c]));
                    term.gains = term.gains.filter(|_| uniform).map(|gains| gains.iter().zip(factors).map(|(g, f)| g * f).collect());
                }
                open.push(Term { node: site.graph.operands(term.node)[0], ..term });
            }
            _ => found.push(term),
        }
    }
    found
}

/// Whether a value counts spikes: they themselves, or sums over them.
fn counts_spikes(graph: &Graph, id: NodeId) -> bool {
    let sums = matches!(graph.op(id), Op::AvgPool(_) | Op::Reduce(_));
    graph.ty(id).signal == Signal::Spikes || sums && counts_spikes(graph, graph.operands(id)[0])
}

/// The amplitude of a spike in the columns of a convolution or linear operation.
pub(super) struct ColumnAmplitudes {
    /// Per source channel (or element, for a linear operation).
    amplitudes: Vec<f64>,
    channels_per_group: usize,
}

impl ColumnAmplitudes {
    /// Per column of a group.
    pub fn of_group(&self, group: usize, columns: usize) -> Vec<f64> {
        let channels = &self.amplitudes[group * self.channels_per_group..][..self.channels_per_group];
        let taps = columns / self.channels_per_group;
        channels.iter().flat_map(|&w| std::iter::repeat_n(w, taps)).collect()
    }
}

/// `None` when the columns are not spikes alone.
pub(super) fn column_amplitudes(site: &Site<'_>, node: NodeId) -> Result<Option<ColumnAmplitudes>, CalibrationError> {
    let source = site.graph.operands(node)[0];
    if !counts_spikes(site.graph, source) {
        return Ok(None);
    }
    let Some(values) = site.reader(source)?.amplitude() else { return Ok(None) };
    let (plane, channels_per_group) = match site.graph.op(node) {
        Op::Conv(c) => (site.graph.ty(source).shape[1..].iter().product(), c.weight.shape()[1]),
        Op::Linear(l) if values.len() == l.weight.shape()[1] => (1, l.weight.shape()[1]),
        _ => return Ok(None),
    };
    let amplitudes: Vec<f64> = values.chunks_exact(plane).map(|c| c.iter().fold(0f64, |m, &v| m.max(v.into()))).collect();
    Ok(amplitudes.iter().all(|&w| w > 0.0).then_some(ColumnAmplitudes { amplitudes, channels_per_group }))
}

/// The weights of a convolution or linear operation, none of others.
pub(super) fn weights(op: &Op) -> &[f32] {
    match op {
        Op::Conv(c) => c.weight.as_f32(),
        Op::Linear(l) => l.weight.as_f32(),
        _ => &[],
    }
}

/// The largest current that one spike makes through a term's weights, per channel; zero where it has no weights that could set the
/// unit of the current, `None` where it passes on a current in a unit of its own.
pub(super) fn largest_currents(site: &Site<'_>, term: &Term) -> Result<Option<Vec<f64>>, CalibrationError> {
    let graph = &*site.graph;
    if site.reader(term.node)?.is_steady() || graph.ty(term.node).signal == Signal::Spikes {
        return Ok(term.gains.as_ref().map(|gains| vec![0.0; gains.len()]));
    }
    let (Op::Conv(_) | Op::Linear(_), Some(gains)) = (graph.op(term.node), &term.gains) else { return Ok(None) };
    let Some(amplitudes) = column_amplitudes(site, term.node)? else { return Ok(None) };
    let weights = weights(graph.op(term.node));
    let columns = weights.len() / gains.len();
    let outputs_per_group = gains.len() * amplitudes.channels_per_group / amplitudes.amplitudes.len();
    let largest = |c: usize| {
        let row = weights[c * columns..(c + 1) * columns].iter().zip(amplitudes.of_group(c / outputs_per_group, columns));
        row.map(|(&w, a)| (f64::from(w) * a).abs()).fold(0.0, f64::max) * f64::from(gains[c].abs())
    };
    Ok(Some((0..gains.len()).map(largest).collect()))
}
