//! How well a spiking network keeps the ANN's answers on unlabelled samples.

use super::{Candidate, Measure, Verdict};
use crate::data::Samples;
use crate::driver::CompilerError;
use crate::measure::energy::energy;
use crate::measure::fidelity::Comparison;
use crate::measure::task::{Task, task, top1, wilson};
use crate::measure::window::{barriers, run_window};
use crate::passes::canonicalize::Canonicalize;
use crate::passes::pipeline;
use crate::passes::{Pass, Request};
use rayon::prelude::*;
use snn_ir::Graph;
use snn_runtime::analog::AnalogNetwork;
use snn_runtime::spikes::synapses::multiplications;
use snn_runtime::{EngineKind, Network, RunError, Statistics};

/// Samples between two looks at whether a candidate's case is settled.
const BATCH: usize = 32;

/// A sample's outputs, the steps in which it settled, and its counts.
type SampleRun = (Vec<Vec<f32>>, u32, Statistics);

/// Samples with the ANN's outputs.
pub(in crate::driver) struct Judge {
    samples: Samples,
    /// Per sample, per output.
    outputs: Vec<Vec<Vec<f32>>>,
    pub(in crate::driver) measure: Measure,
    /// Whether variance is that of all elements together, constant differences between elements included.
    pub(in crate::driver) pooled: bool,
}

impl Judge {
    /// Runs the ANN on the samples; the measure is the one that suits the network.
    ///
    /// # Errors
    /// When there are no samples, or the ANN cannot be run on them.
    pub(in crate::driver) fn new(graph: &Graph, samples: Samples) -> Result<Judge, CompilerError> {
        if samples.is_empty() {
            return Err(CompilerError::TooFewSamples);
        }
        // What canonicalize drops at the end of a network (a softmax) the spiking one does not have either.
        let mut ann = graph.clone();
        let canonicalize: &dyn Pass = &Canonicalize::default();
        pipeline::run(&mut ann, [canonicalize], &Request::new(1), |_, _, _| Ok(()))?;
        let network = AnalogNetwork::new(&ann).map_err(CompilerError::Ann)?;
        let output = |sample: usize| network.run(&samples.sample(sample), &mut |_, _| {});
        let outputs = (0..samples.len()).into_par_iter().map(output).collect();
        Ok(Judge { outputs, samples, measure: measure(graph), pooled: false })
    }

    /// Runs the spiking network on the samples until its case is settled: it loses more than `target` percent, or needs more energy than
    /// `best`, what the cheapest that holds needs. The candidate's recipe stays empty.
    pub(in crate::driver) fn judge(
        &self,
        graph: &Graph,
        timesteps: u32,
        target: f64,
        best: Option<f64>,
        progress: &(dyn Fn(usize, usize) + Sync),
    ) -> Result<Candidate, CompilerError> {
        let network = match Network::compile(graph, EngineKind::Native) {
            Ok(network) => network,
            Err(_) => Network::compile(graph, EngineKind::Reference)?,
        };
        let all = self.samples.len();
        let allowed = (target / 100.0 * all as f64).floor() as usize;
        let (mut tally, mut settling, mut seen) = (Tally::default(), 0u32, 0);
        let (mut spikes, mut synops) = (0u64, 0u64);
        let multiplications = multiplications(graph)?;
        let macs = |settling| multiplications.in_steps(u64::from(timesteps) + u64::from(settling)) as f64;
        let mean = |sum: u64, seen: usize| sum as f64 / seen as f64;
        let verdict = loop {
            let batch = seen..(seen + BATCH).min(all);
            seen = batch.end;
            let run = |session: &mut snn_runtime::Session<'_>, i: usize| {
                session.start(&self.samples.sample(i))?;
                let settling = run_window(&network, session, timesteps, None)?;
                Ok((session.potentials(), settling, session.statistics().clone()))
            };
            let results: Result<Vec<SampleRun>, RunError> = batch.clone().into_par_iter().map_init(|| network.session(), run).collect();
            for ((outputs, settled, statistics), i) in results?.into_iter().zip(batch) {
                tally.add(&outputs, &self.outputs[i]);
                settling = settling.max(settled);
                spikes += statistics.spikes();
                synops += statistics.synops();
            }
            progress(seen, all);
            let disagrees = self.measure == Measure::Disagreement && tally.different > allowed;
            if disagrees || seen == all && self.loss(&tally) > target {
                break Verdict::Loses;
            }
            if best.is_some_and(|best| energy(mean(synops, seen), macs(settling)) >= best) {
                break Verdict::Dominated;
            }
            if seen == all {
                break Verdict::Holds;
            }
        };
        Ok(Candidate {
            recipe: String::new(),
            timesteps,
            latency_steps: timesteps.saturating_mul(1 + barriers(graph)).saturating_add(settling),
            verdict,
            loss: self.loss(&tally),
            confidence: (self.measure == Measure::Disagreement).then(|| wilson(tally.different, seen)),
            samples: seen,
            synops_per_sample: mean(synops, seen),
            macs_per_sample: macs(settling),
            spikes_per_sample: mean(spikes, seen),
        })
    }

    fn loss(&self, tally: &Tally) -> f64 {
        match self.measure {
            Measure::Disagreement => 100.0 * tally.different as f64 / tally.samples.max(1) as f64,
            Measure::UnexplainedVariance => 100.0 * tally.outputs.iter().map(|o| o.unexplained(self.pooled)).fold(0.0, f64::max),
        }
    }
}

/// Sums over samples.
#[derive(Default)]
struct Tally {
    samples: usize,
    /// Samples with another class than the ANN's in one output or more.
    different: usize,
    outputs: Vec<OutputTally>,
}

/// Sums over samples of one output.
#[derive(Clone, Default)]
struct OutputTally {
    comparison: Comparison,
    elements: usize,
    sum: f64,
    squares: f64,
    errors: f64,
}

impl Tally {
    fn add(&mut self, snn: &[Vec<f32>], ann: &[Vec<f32>]) {
        self.samples += 1;
        self.different += usize::from(snn.iter().zip(ann).any(|(s, a)| top1(s) != top1(a)));
        self.outputs.resize(ann.len(), OutputTally::default());
        self.outputs.iter_mut().zip(snn.iter().zip(ann)).for_each(|(sum, (s, a))| sum.add(s, a));
    }
}

impl OutputTally {
    fn add(&mut self, snn: &[f32], ann: &[f32]) {
        self.comparison.add(snn, ann);
        self.elements += ann.len();
        for (&s, &a) in snn.iter().zip(ann) {
            let (s, a) = (f64::from(s), f64::from(a));
            self.sum += a;
            self.squares += a * a;
            self.errors += (s - a) * (s - a);
        }
    }

    /// Share of the variance of the ANN's output that is left unexplained. Of what does not vary over samples, elements
    /// are compared with each other.
    fn unexplained(&self, pooled: bool) -> f64 {
        let over_samples = self.comparison.unexplained().filter(|_| !pooled);
        over_samples.unwrap_or_else(|| {
            let variance = self.squares - self.sum * self.sum / self.elements.max(1) as f64;
            self.errors / variance.max(f64::MIN_POSITIVE)
        })
    }
}

/// A network classifies when all its outputs do.
fn measure(graph: &Graph) -> Measure {
    let classifies = (0..graph.outputs().len()).all(|output| task(graph, output) == Task::Classes);
    if classifies { Measure::Disagreement } else { Measure::UnexplainedVariance }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_constant_part_of_the_outputs_explains_nothing_unless_elements_are_pooled() {
        let mut tally = OutputTally::default();
        // The spiking network answers with the mean of each element.
        for ann in [[99.0, -99.0], [101.0, -101.0]] {
            tally.add(&[100.0, -100.0], &ann);
        }
        assert_eq!(tally.unexplained(false), 1.0);
        assert!(tally.unexplained(true) < 1e-3);
    }
}
