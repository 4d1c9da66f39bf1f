//! Whether a network needs a window barrier: the default recipe's choice between layers in step and `two-phase`.
//!
//! With all layers in step a neuron sends spikes before it has seen its whole input, and what it sent too early it cannot take back. In
//! deep networks of depthwise layers, whose few inputs do not average that out, the error grows from layer to layer until little of
//! the ANN is left. Behind a barrier per layer the counts are exact, at (layers + 1)·T steps of latency.

use super::judge::Judge;
use super::{Candidate, ChoiceError, Measure};
use crate::calibrate::{Calibration, layerwise};
use crate::recipe::{BARRIER, DEFAULT};
use snn_ir::Graph;
use snn_runtime::{EngineKind, Network};
use std::fmt;

/// Loss on held-back samples, in percent, up to which layers stay in step.
const TOLERABLE: f64 = 20.0;
/// What a barrier must gain to be worth its latency, in percent of the samples.
const LEAST_GAIN: f64 = 10.0;
/// A loss that no network exceeds, so that all samples are looked at.
const EVERYTHING: f64 = f64::INFINITY;
/// Held-back samples that are looked at, the larger number where the smaller does not tell.
const SAMPLES: [usize; 2] = [32, 256];

/// Judges networks on calibration samples that weights were not fitted to.
pub struct Barrier {
    judge: Judge,
    timesteps: u32,
    in_step: f64,
}

/// A window barrier that pays.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gain {
    /// How losses are measured.
    pub measure: Measure,
    /// Loss with all layers in step, in percent.
    pub in_step: f64,
    /// Loss behind barriers, in percent.
    pub behind_barriers: f64,
    /// Steps to the answer.
    pub latency_steps: u32,
}

impl Barrier {
    /// Looks at `spiking`, compiled from `ann` with all layers in step; `None` when it loses little, or when only the reference engine
    /// runs it, where looking would take longer than compiling.
    ///
    /// # Errors
    /// When one of the networks cannot be run.
    pub fn consider(ann: &Graph, spiking: &Graph, timesteps: u32, calibration: &Calibration) -> Result<Option<Barrier>, ChoiceError> {
        if Network::compile(spiking, EngineKind::Jit).is_err() {
            return Ok(None);
        }
        let held_back: Vec<_> =
            calibration.samples.iter().enumerate().filter(|(i, _)| layerwise::is_held_back(*i)).map(|(_, s)| s.clone()).collect();
        if held_back.is_empty() {
            return Ok(None);
        }
        let look = |samples: usize| -> Result<(Barrier, Candidate), ChoiceError> {
            let judge = Judge::new(ann, held_back.iter().take(samples).cloned().collect())?;
            let found = judge.judge(spiking, timesteps, EVERYTHING, None, &|_, _| {})?;
            Ok((Barrier { judge, timesteps, in_step: found.loss }, found))
        };
        let (mut barrier, found) = look(SAMPLES[0])?;
        let is_open = found.confidence.is_some_and(|[low, high]| low <= TOLERABLE && TOLERABLE <= high);
        if is_open && held_back.len() > SAMPLES[0] {
            barrier = look(SAMPLES[1])?.0;
        }
        Ok((barrier.in_step > TOLERABLE).then_some(barrier))
    }

    /// What `spiking`, compiled with barriers, gains; `None` when that is not worth its latency.
    ///
    /// # Errors
    /// When it cannot be run.
    pub fn gain(&self, spiking: &Graph) -> Result<Option<Gain>, ChoiceError> {
        let found = self.judge.judge(spiking, self.timesteps, EVERYTHING, None, &|_, _| {})?;
        let gain =
            Gain { measure: self.judge.measure, in_step: self.in_step, behind_barriers: found.loss, latency_steps: found.latency_steps };
        Ok((gain.in_step - gain.behind_barriers >= LEAST_GAIN).then_some(gain))
    }
}

impl fmt::Display for Gain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.measure {
            Measure::Disagreement => "of the ANN's answers on calibration samples held back from fits",
            Measure::UnexplainedVariance => "of the variance of the ANN's outputs on calibration samples held back from fits",
        };
        write!(
            f,
            "with all layers in step this network keeps {:.0} % {what}, behind a window barrier per layer {:.0} %, so the recipe is {BARRIER}: \
             an answer takes {} steps; --recipe {DEFAULT} keeps the layers in step, and a larger --timesteps may suit it",
            100.0 - self.in_step,
            100.0 - self.behind_barriers,
            self.latency_steps
        )
    }
}
