//! Whether a network needs a window barrier: the default recipe's choice between synchronous layers and `two-phase`.
//!
//! In a synchronous network a neuron sends spikes before it has seen its whole input, and what it sent too early it cannot take back. In
//! deep networks of depthwise layers, whose few inputs do not average that out, the error grows from layer to layer until little of
//! the ANN is left. Behind a barrier per layer the counts are exact, at (layers + 1)·T steps of latency.
//!
//! Judged is by the variance of the ANN's outputs, not by its answers: a dozen samples tell much about the one, little about the other.

use super::CompilerError;
use super::search::Measure;
use super::search::judge::Judge;
use crate::calibrate::layerwise;
use crate::data::Samples;
use crate::recipe::{BARRIER, DEFAULT};
use snn_ir::Graph;
use snn_runtime::{EngineKind, Network};
use std::fmt;

/// Share of the variance left unexplained, in percent, up to which the network stays synchronous.
const TOLERABLE: f64 = 10.0;
/// A barrier must leave less than this part of what is unexplained without it, to make up for its latency.
const MOST_LEFT: f64 = 1.0 / 3.0;
/// Held-back samples that are looked at.
const MOST_SAMPLES: usize = 32;
/// A loss that no network exceeds, so that all samples are looked at.
const EVERYTHING: f64 = f64::INFINITY;

/// Judges networks on calibration samples that weights were not fitted to.
pub struct Barrier {
    judge: Judge,
    timesteps: u32,
    synchronous: f64,
}

/// A window barrier that pays. Variances are of the ANN's outputs on held-back samples, left unexplained, in percent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gain {
    /// Of the synchronous network.
    pub synchronous: f64,
    /// Behind barriers.
    pub with_barriers: f64,
    /// Steps to the answer with barriers.
    pub latency_steps: u32,
}

impl Barrier {
    /// Looks at `spiking`, compiled from `ann` without barriers; `None` when it loses little, or when only the reference engine
    /// runs it, where looking would take longer than compiling.
    ///
    /// # Errors
    /// When one of the networks cannot be run.
    pub fn consider(ann: &Graph, spiking: &Graph, timesteps: u32, samples: &Samples) -> Result<Option<Barrier>, CompilerError> {
        let held_back = (0..samples.len()).filter(|&i| layerwise::is_held_back(i));
        let samples = samples.select(held_back.take(MOST_SAMPLES));
        if samples.is_empty() || Network::compile(spiking, EngineKind::Native).is_err() {
            return Ok(None);
        }
        let mut judge = Judge::new(ann, samples)?;
        judge.measure = Measure::UnexplainedVariance;
        judge.pooled = true;
        let synchronous = judge.judge(spiking, timesteps, EVERYTHING, None, &|_, _| {})?.loss;
        Ok((synchronous > TOLERABLE).then_some(Barrier { judge, timesteps, synchronous }))
    }

    /// What `spiking`, compiled with barriers, gains; `None` when that does not make up for its latency.
    ///
    /// # Errors
    /// When it cannot be run.
    pub fn gain(&self, spiking: &Graph) -> Result<Option<Gain>, CompilerError> {
        let found = self.judge.judge(spiking, self.timesteps, EVERYTHING, None, &|_, _| {})?;
        let gain = Gain { synchronous: self.synchronous, with_barriers: found.loss, latency_steps: found.latency_steps };
        Ok((gain.with_barriers < MOST_LEFT * gain.synchronous).then_some(gain))
    }
}

impl fmt::Display for Gain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "when all layers step together this network leaves {:.0} % of the variance of the ANN's outputs unexplained (calibration samples held \
             back from fits), with a window barrier per layer {:.0} %, so the recipe is {BARRIER}: an answer takes {} steps; --recipe \
             {DEFAULT} keeps the layers synchronous",
            self.synchronous, self.with_barriers, self.latency_steps
        )
    }
}
