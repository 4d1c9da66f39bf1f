//! `measure-rates`: writes down how often neurons spike on calibration samples.
//!
//! The rate of a population is its mean number of spikes per neuron and step over the window, in the network as it is. It changes nothing
//! about what the network computes: the engine that makes machine code chooses kernels by it, since the time of some grows with the
//! rate. Without calibration data, and for networks that only the reference engine runs, it does nothing and a rate is assumed.
//!
//! Precondition: after everything that changes weights, thresholds or biases; after `quantize`.

use super::{Condition, Facts, Pass, PassError, Report, Request};
use crate::data::Samples;
use rayon::prelude::*;
use serde::Deserialize;
use snn_ir::neuron::Neuron;
use snn_ir::op::Layer;
use snn_ir::{Graph, Op};
use snn_runtime::{EngineKind, Network, RunError};
use std::collections::HashMap;

/// The pass.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MeasureRates {
    /// Most calibration samples used.
    pub samples: usize,
}

impl Default for MeasureRates {
    fn default() -> Self {
        MeasureRates { samples: 16 }
    }
}

impl Pass for MeasureRates {
    fn name(&self) -> &'static str {
        "measure-rates"
    }

    fn requires(&self) -> &'static [Condition] {
        &[Condition::Neurons]
    }

    fn provides(&self) -> &'static [Condition] {
        &[Condition::Rates]
    }

    fn run(&self, graph: &mut Graph, request: &Request<'_>, _: &mut Facts, report: &mut Report) -> Result<(), PassError> {
        let Some(samples) = request.samples else {
            report.network_declined("there are no calibration data: engines assume a rate");
            return Ok(());
        };
        let network = match Network::compile(graph, EngineKind::Native) {
            Ok(network) => network,
            Err(error) => {
                report.network_declined(format!("only the reference engine runs this network, which needs no rates: {error}"));
                return Ok(());
            }
        };
        let rates = rates(&network, &samples.first(self.samples), request.timesteps)?;
        graph.rewrite_all(|_, node| {
            let rate = rates.get(node.name()).copied();
            let changed = match node.op() {
                Op::If(n) if n.rate != rate => Op::If(Neuron { rate, ..n.clone() }),
                Op::Layer(l @ Layer { neuron: Some(n), .. }) if n.rate != rate => {
                    Op::Layer(Layer { neuron: Some(Neuron { rate, ..n.clone() }), ..l.clone() })
                }
                _ => return None,
            };
            report.changed(node);
            Some(changed)
        })?;
        Ok(())
    }

    fn keeps_outputs(&self) -> bool {
        true
    }
}

/// Rates by population. They are rounded to four digits: more would only make the text form longer.
fn rates(network: &Network, samples: &Samples, timesteps: u32) -> Result<HashMap<String, f32>, RunError> {
    let spikes = |sample: usize| {
        let mut session = network.session();
        session.start(&samples.sample(sample))?;
        session.advance(timesteps)?;
        Ok(session.statistics().clone())
    };
    let runs = (0..samples.len()).into_par_iter().map(spikes).collect::<Result<Vec<_>, RunError>>()?;
    let mut rates = HashMap::new();
    for (at, layer) in runs.first().map_or(&[][..], |run| &run.layers).iter().enumerate() {
        let spikes: u64 = runs.iter().map(|run| run.layers[at].spikes).sum();
        let steps = layer.neurons.max(1) as f64 * f64::from(timesteps) * runs.len() as f64;
        rates.insert(layer.name.clone(), ((1e4 * spikes as f64 / steps).round() / 1e4) as f32);
    }
    Ok(rates)
}
