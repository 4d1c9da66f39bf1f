//! The cheapest recipe and T that keep a network's answers, from unlabelled samples alone.
//!
//! The samples are divided: the passes see some, and how often the spiking network answers as the ANN is counted on the others, which
//! no pass has seen. Disagreement bounds the loss of accuracy from above: an answer that differs may have been wrong before. For
//! networks that do not classify, what counts is the share of the variance of the ANN's outputs that the spiking network's leave
//! unexplained.
//!
//! For every recipe the loss falls with T and the cost grows, so T is bisected. A candidate is given up at the first batch of samples
//! that settles its case: it disagrees too often whatever follows, or costs more than one that holds.

use crate::calibrate::Calibration;
use crate::compile::{CompileOptions, Compiled, Weights, compile};
use crate::passes::canonicalize::Canonicalize;
use crate::passes::pipeline::{self, PipelineError};
use crate::passes::{Context, Pass};
use crate::recipe::{Recipe, RecipeError};
use crate::report::evaluation::{barriers, top1};
use crate::report::window::run_window;
use rayon::prelude::*;
use serde::Serialize;
use snn_ir::Graph;
use snn_runtime::analog::AnalogNetwork;
use snn_runtime::{CompileError, EngineKind, Network, RunError, Statistics};
use thiserror::Error;

/// One calibration sample of so many is held back from the passes.
pub const HELD_BACK: usize = 4;
/// Samples between two looks at whether a candidate's case is settled.
const BATCH: usize = 32;
/// Window lengths that are tried, besides one between the last that fails and the first that holds.
const WINDOWS: [u32; 7] = [2, 4, 8, 16, 32, 64, 128];

/// Why nothing could be chosen.
#[derive(Debug, Error)]
pub enum ChoiceError {
    /// A recipe is wrong.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// The ANN cannot be run.
    #[error("the ANN cannot be run: {0}")]
    Ann(String),
    /// A pass failed on the ANN.
    #[error(transparent)]
    Pipeline(#[from] PipelineError),
    /// The network cannot be run.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// A sample cannot be run.
    #[error(transparent)]
    Run(#[from] RunError),
    /// There are no samples to hold back.
    #[error("choosing needs at least {HELD_BACK} calibration samples, better some hundreds")]
    TooFewSamples,
}

/// What to choose from.
pub struct ChoiceRequest<'a> {
    /// The ANN, as imported.
    pub graph: &'a Graph,
    /// The recipes, those expected to be cheap first.
    pub recipes: &'a [Recipe],
    /// Number type of the weights.
    pub weights: Weights,
    /// All samples.
    pub calibration: &'a Calibration,
    /// The loss that may be had, in percent.
    pub target: f64,
    /// Longest window.
    pub most_timesteps: u32,
    /// Told what is being done, and how far it has come: what, done, total.
    pub progress: &'a (dyn Fn(&str, usize, usize) + Sync),
}

/// How the loss is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Measure {
    /// Percentage of samples on which the top-1 class is not the ANN's.
    Disagreement,
    /// Percentage of the variance of the ANN's outputs that the SNN's leave unexplained.
    UnexplainedVariance,
}

/// What became of a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It keeps within the loss.
    Holds,
    /// It loses more.
    Loses,
    /// It costs more than one that holds.
    Dominated,
}

/// A recipe at one T. Losses are in percent.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Candidate {
    /// Name of the recipe.
    pub recipe: String,
    /// T.
    pub timesteps: u32,
    /// Steps to the answer.
    pub latency_steps: u32,
    /// What became of it.
    pub verdict: Verdict,
    /// The loss on the samples that were looked at.
    pub loss: f64,
    /// Ends of its 95 % confidence interval (Wilson); absent where disagreement is not what is measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confidence: Option<[f64; 2]>,
    /// How many samples were looked at.
    pub samples: usize,
    /// Mean number of effective synaptic operations.
    pub synops_per_sample: f64,
    /// Mean number of spikes.
    pub spikes_per_sample: f64,
}

/// What was seen and chosen.
pub struct Choice {
    /// The measure of the loss.
    pub measure: Measure,
    /// Everything that was tried, in order.
    pub candidates: Vec<Candidate>,
    /// Messages about recipes that could not be tried.
    pub notes: Vec<String>,
    /// The cheapest that holds: its place among the candidates, its recipe's text, the compiled network.
    pub chosen: Option<(usize, String, Compiled)>,
    /// Samples that the passes saw.
    pub calibrated_on: usize,
}

/// Tries recipes and windows and takes the one with the fewest synaptic operations among those that hold.
///
/// # Errors
/// [`ChoiceError`]; a recipe that cannot convert the network is noted and left out.
pub fn choose(request: &ChoiceRequest<'_>) -> Result<Choice, ChoiceError> {
    let (held_back, seen): (Vec<_>, Vec<_>) =
        request.calibration.samples.iter().cloned().enumerate().partition(|(i, _)| i % HELD_BACK == HELD_BACK - 1);
    let strip = |samples: Vec<(usize, Vec<Vec<f32>>)>| samples.into_iter().map(|(_, s)| s).collect::<Vec<_>>();
    let seen = Calibration { samples: strip(seen), description: request.calibration.description.clone() };
    let judge = Judge::new(request.graph, strip(held_back))?;
    let mut search = Search {
        request,
        choice: Choice {
            measure: judge.measure,
            candidates: Vec::new(),
            notes: Vec::new(),
            chosen: None,
            calibrated_on: seen.samples.len(),
        },
        judge,
        seen,
    };
    for recipe in request.recipes {
        search.bisect(recipe)?;
    }
    Ok(search.choice)
}

struct Search<'a> {
    request: &'a ChoiceRequest<'a>,
    judge: Judge,
    seen: Calibration,
    choice: Choice,
}

impl Search<'_> {
    /// Finds the shortest window at which `recipe` holds.
    fn bisect(&mut self, recipe: &Recipe) -> Result<(), ChoiceError> {
        let windows: Vec<u32> = WINDOWS.into_iter().filter(|&t| t <= self.request.most_timesteps).collect();
        let windows = if windows.is_empty() { vec![self.request.most_timesteps] } else { windows };
        let (mut low, mut high) = (0, windows.len());
        let mut at = windows.iter().position(|&t| t >= recipe.timesteps.unwrap_or(16)).unwrap_or(windows.len() - 1);
        let mut held = false;
        while low < high {
            match self.candidate(recipe, windows[at])? {
                Some(Verdict::Loses) => low = at + 1,
                Some(verdict) => {
                    held |= verdict == Verdict::Holds;
                    high = at;
                }
                None => return Ok(()),
            }
            at = (low + high) / 2;
        }
        // Between the last window that fails and the first that holds lies at most one octave.
        if held && high > 0 && high < windows.len() && windows[high] >= 4 {
            self.candidate(recipe, (windows[high - 1] + windows[high]) / 2)?;
        }
        Ok(())
    }

    /// Compiles and judges one candidate; `None` when the recipe cannot convert the network.
    fn candidate(&mut self, recipe: &Recipe, timesteps: u32) -> Result<Option<Verdict>, ChoiceError> {
        let name = format!("{} T={timesteps}", recipe.name);
        let options = CompileOptions {
            recipe: Recipe::parse(&recipe.text, &recipe.name)?,
            timesteps,
            weights: self.request.weights,
            calibration: Some(&self.seen),
            progress: &|what, done, total| (self.request.progress)(&format!("{name}: {what}"), done, total),
            check: Vec::new(),
        };
        let compiled = match compile(self.request.graph.clone(), options, |_, _| {}) {
            Ok(compiled) => compiled,
            Err(error) => {
                self.choice.notes.push(format!("recipe {} cannot convert this network: {error}", recipe.name));
                return Ok(None);
            }
        };
        let best = self.choice.chosen.as_ref().map(|(i, ..)| self.choice.candidates[*i].synops_per_sample);
        let progress = |done, total| (self.request.progress)(&format!("{name}: held-back samples"), done, total);
        let found = self.judge.judge(&compiled.graph, timesteps, self.request.target, best, &progress)?;
        let candidate = Candidate { recipe: recipe.name.clone(), ..found };
        let verdict = candidate.verdict;
        if verdict == Verdict::Holds {
            self.choice.chosen = Some((self.choice.candidates.len(), recipe.text.clone(), compiled));
        }
        self.choice.candidates.push(candidate);
        Ok(Some(verdict))
    }
}

/// Held-back samples with the ANN's outputs.
struct Judge {
    samples: Vec<Vec<Vec<f32>>>,
    outputs: Vec<Vec<f32>>,
    measure: Measure,
}

impl Judge {
    fn new(graph: &Graph, samples: Vec<Vec<Vec<f32>>>) -> Result<Judge, ChoiceError> {
        if samples.is_empty() {
            return Err(ChoiceError::TooFewSamples);
        }
        // What canonicalize drops at the end of a network (a softmax) the spiking one does not have either.
        let mut ann = graph.clone();
        let passes: Vec<Box<dyn Pass>> = vec![Box::new(Canonicalize::default())];
        pipeline::run(&mut ann, &passes, &mut Context::new(1), |_, _| Ok(()))?;
        let network = AnalogNetwork::new(&ann).map_err(|e| ChoiceError::Ann(e.to_string()))?;
        let output =
            |sample: &Vec<Vec<f32>>| network.run(&sample.iter().map(Vec::as_slice).collect::<Vec<_>>(), &mut |_, _| {}).swap_remove(0);
        let outputs = samples.par_iter().map(output).collect();
        Ok(Judge { outputs, samples, measure: measure(graph) })
    }

    /// Runs the spiking network on the samples until its case is settled. `best` is what the cheapest that holds costs.
    fn judge(
        &self,
        graph: &Graph,
        timesteps: u32,
        target: f64,
        best: Option<f64>,
        progress: &(dyn Fn(usize, usize) + Sync),
    ) -> Result<Candidate, ChoiceError> {
        let network = match Network::compile(graph, EngineKind::Jit) {
            Ok(network) => network,
            Err(_) => Network::compile(graph, EngineKind::Reference)?,
        };
        let all = self.samples.len();
        let allowed = (target / 100.0 * all as f64).floor() as usize;
        let (mut tally, mut settling, mut seen) = (Tally::default(), 0, 0);
        let (mut spikes, mut synops) = (0u64, 0u64);
        let mean = |sum: u64, seen: usize| sum as f64 / seen as f64;
        let verdict = loop {
            let batch = seen..(seen + BATCH).min(all);
            seen = batch.end;
            let run = |session: &mut snn_runtime::Session<'_>, i: usize| {
                session.start(&self.samples[i].iter().map(Vec::as_slice).collect::<Vec<_>>())?;
                let settling = run_window(&network, session, timesteps, None)?;
                Ok((session.potentials().swap_remove(0), settling, session.statistics().clone()))
            };
            let results: Result<Vec<(Vec<f32>, u32, Statistics)>, RunError> =
                batch.clone().into_par_iter().map_init(|| network.session(), run).collect();
            for ((output, settled, statistics), i) in results?.into_iter().zip(batch) {
                tally.add(&output, &self.outputs[i]);
                settling = settling.max(settled);
                spikes += statistics.spikes();
                synops += statistics.synops();
            }
            progress(seen, all);
            let disagrees = self.measure == Measure::Disagreement && tally.different > allowed;
            if disagrees || seen == all && self.loss(&tally) > target {
                break Verdict::Loses;
            }
            if best.is_some_and(|best| mean(synops, seen) >= best) {
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
            spikes_per_sample: mean(spikes, seen),
        })
    }

    fn loss(&self, tally: &Tally) -> f64 {
        match self.measure {
            Measure::Disagreement => 100.0 * tally.different as f64 / tally.samples.max(1) as f64,
            Measure::UnexplainedVariance => {
                let variance = tally.squares - tally.sum * tally.sum / (tally.elements.max(1) as f64);
                100.0 * tally.errors / variance.max(f64::MIN_POSITIVE)
            }
        }
    }
}

/// Sums over samples.
#[derive(Default)]
struct Tally {
    samples: usize,
    different: usize,
    elements: usize,
    sum: f64,
    squares: f64,
    errors: f64,
}

impl Tally {
    fn add(&mut self, snn: &[f32], ann: &[f32]) {
        self.samples += 1;
        self.different += usize::from(top1(snn) != top1(ann));
        self.elements += ann.len();
        for (&s, &a) in snn.iter().zip(ann) {
            let (s, a) = (f64::from(s), f64::from(a));
            self.sum += a;
            self.squares += a * a;
            self.errors += (s - a) * (s - a);
        }
    }
}

/// A network classifies when its answer is one row of scores; not when it is a single number, a map, or as large as its input.
fn measure(graph: &Graph) -> Measure {
    let classifies = graph.outputs().first().is_some_and(|&output| {
        let long_axes = graph.ty(output).shape.iter().filter(|&&d| d > 1).count();
        long_axes == 1 && graph.inputs().iter().all(|&input| graph.ty(input).len() != graph.ty(output).len())
    });
    if classifies { Measure::Disagreement } else { Measure::UnexplainedVariance }
}

/// The 95 % confidence interval of a share (Wilson 1927), in percent.
fn wilson(count: usize, of: usize) -> [f64; 2] {
    let (n, p, z) = (of.max(1) as f64, count as f64 / of.max(1) as f64, 1.959_964);
    let center = p + z * z / (2.0 * n);
    let half = z * (p * (1.0 - p) / n + z * z / (4.0 * n * n)).sqrt();
    [center - half, center + half].map(|end| 100.0 * (end / (1.0 + z * z / n)).clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_confidence_interval_of_a_share_is_wilsons() {
        // As tabulated: 1 of 10.
        let [low, high] = wilson(1, 10);
        assert!((low - 1.79).abs() < 0.01 && (high - 40.42).abs() < 0.01, "{low} {high}");
        assert_eq!(wilson(0, 50)[0], 0.0);
    }
}
