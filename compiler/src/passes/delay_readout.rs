//! `delay-readout`: the answer is accumulated only once spikes have had the time to arrive.
//!
//! Deep layers are silent in the first steps of a window, because every layer before them charges up to its threshold first; what the
//! readout gets then says little and is left out. The delay is `Σ (θ − v(0)) / max E[a]` over the layers on the longest way, with
//! `E[a]` the mean activation of a neuron over calibration samples and the maximum over the neurons of a layer (of the neuron that
//! charges first, where thresholds differ), rounded up; at least `keep` steps of the window stay. Source: Bu et al. 2025, delayed
//! evaluation. `steps` sets the delay by hand. The window is not longer for it: of T steps, T − delay are counted.
//!
//! Precondition: after `replace-relu` and `shift-membrane`, before `normalize`. Without calibration data only `steps` has an effect.

use super::populations::ann;
use super::{Condition, Facts, Pass, PassError, Report, Request};
use crate::calibrate::activations::fold_activations;
use crate::data::Samples;
use serde::Deserialize;
use snn_ir::{Graph, NodeId, Op};
use std::collections::HashMap;

/// The pass.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DelayReadout {
    /// The delay, instead of the one that calibration data suggest.
    pub steps: Option<u32>,
    /// Steps that are counted at least.
    pub keep: u32,
}

impl Default for DelayReadout {
    fn default() -> Self {
        DelayReadout { steps: None, keep: 4 }
    }
}

impl Pass for DelayReadout {
    fn name(&self) -> &'static str {
        "delay-readout"
    }

    fn requires(&self) -> &'static [Condition] {
        &[Condition::Neurons]
    }

    fn precedes(&self) -> &'static [Condition] {
        &[Condition::UnitThresholds]
    }

    fn run(&self, graph: &mut Graph, request: &Request<'_>, facts: &mut Facts, report: &mut Report) -> Result<(), PassError> {
        let wanted = match self.steps {
            Some(steps) => f64::from(steps),
            None => match request.samples.filter(|s| !s.is_empty()) {
                Some(samples) => charging_time(graph, samples, request, ann(facts)?)?,
                None => {
                    report.network_declined("there are no calibration data that would tell how long neurons charge");
                    0.0
                }
            },
        };
        let most = request.timesteps.saturating_sub(self.keep.max(1));
        let delay = (wanted.ceil().clamp(0.0, f64::from(u32::MAX)) as u32).min(most);
        graph.rewrite_all(|_, node| {
            let Op::Readout { scale, delay: before } = node.op() else { return None };
            if *before == delay {
                report.not_applicable(node, format!("{delay} steps are left out already"));
                return None;
            }
            report.changed(node);
            Some(Op::Readout { scale: scale.clone(), delay })
        })?;
        Ok(())
    }
}

/// Fixed-point unit of the sums of activations, so that their order does not matter.
const UNIT: f64 = (1u64 << 24) as f64;

/// Steps until the first neuron of the last layer can have fired.
fn charging_time(graph: &Graph, samples: &Samples, request: &Request<'_>, ann: &Graph) -> Result<f64, PassError> {
    let order = graph.topological()?;
    let mut slots: HashMap<NodeId, usize> = HashMap::new();
    let mut populations: Vec<NodeId> = Vec::new();
    for &id in order.iter().filter(|&&id| matches!(graph.op(id), Op::If(_))) {
        if !ann.contains(id) {
            continue;
        }
        slots.insert(id, populations.len());
        populations.push(id);
    }
    let sums = fold_activations(
        ann,
        samples,
        request.progress,
        "mean activations",
        || populations.iter().map(|&id| vec![0i64; graph.ty(id).len()]).collect::<Vec<_>>(),
        |sums, id, value| {
            if let Some(&slot) = slots.get(&id) {
                sums[slot].iter_mut().zip(value).for_each(|(s, &v)| *s += (f64::from(v) * UNIT) as i64);
            }
        },
        |mut a, b| {
            a.iter_mut().flatten().zip(b.into_iter().flatten()).for_each(|(x, y)| *x += y);
            a
        },
    )?;
    let mut time: HashMap<NodeId, f64> = HashMap::new();
    for id in order {
        let before = graph.operands(id).iter().filter_map(|o| time.get(o)).copied().fold(0.0, f64::max);
        let own = match (graph.op(id), populations.iter().position(|&p| p == id)) {
            (Op::If(neuron), Some(slot)) => {
                let shape = &graph.ty(id).shape;
                let room = neuron.threshold.expanded(shape).into_iter().zip(neuron.initial.expanded(shape)).map(|(theta, v)| theta - v);
                let mean = |sum: i64| sum as f64 / UNIT / samples.len() as f64;
                let first = room.zip(&sums[slot]).map(|(room, &sum)| f64::from(room.max(0.0)) / mean(sum).max(1e-9));
                first.fold(f64::INFINITY, f64::min).min(f64::from(request.timesteps))
            }
            _ => 0.0,
        };
        time.insert(id, before + own);
    }
    Ok(graph.outputs().iter().filter_map(|o| time.get(o)).copied().fold(0.0, f64::max))
}
