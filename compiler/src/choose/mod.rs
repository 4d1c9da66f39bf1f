//! The cheapest recipe and T that keep a network's answers, from unlabelled samples alone.
//!
//! The samples are divided: the passes see some, and how often the spiking network answers as the ANN is counted on the others, which
//! no pass has seen. Disagreement bounds the loss of accuracy from above: an answer that differs may have been wrong before. For
//! networks that do not classify, what counts is the share of the variance of the ANN's outputs that the spiking network's leave
//! unexplained.
//!
//! For every recipe the loss falls with T and the cost grows, so T is bisected. A candidate is given up at the first batch of samples
//! that settles its case: it disagrees too often whatever follows, or costs more than one that holds.

pub mod barrier;
mod judge;

use crate::calibrate::Calibration;
use crate::compile::{CompileOptions, Compiled, Weights, compile};
use crate::measure::energy::energy;
use crate::passes::pipeline::PipelineError;
use crate::recipe::{Recipe, RecipeError};
use judge::Judge;
use serde::Serialize;
use snn_ir::Graph;
use snn_runtime::{CompileError, RunError};
use thiserror::Error;

/// One calibration sample of so many is held back from the passes.
pub const HELD_BACK: usize = 4;
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
    /// Multiplications with weights that read no spikes.
    pub macs_per_sample: f64,
    /// Mean number of spikes.
    pub spikes_per_sample: f64,
}

impl Candidate {
    /// Energy of its arithmetic, pJ.
    pub fn energy_per_sample(&self) -> f64 {
        energy(self.synops_per_sample, self.macs_per_sample)
    }
}

/// What was seen and chosen.
pub struct Choice {
    /// The measure of the loss.
    pub measure: Measure,
    /// Everything that was tried, in order.
    pub candidates: Vec<Candidate>,
    /// Messages about recipes that could not be tried, and about what rounding to integers did.
    pub notes: Vec<String>,
    /// Recipes and T at which rounding to integers changed a layer by more than the user can overlook.
    pub rounding: Vec<(String, u32)>,
    /// The cheapest that holds: its place among the candidates, its recipe's text, the compiled network.
    pub chosen: Option<(usize, String, Compiled)>,
    /// Samples that the passes saw.
    pub calibrated_on: usize,
}

/// Tries recipes and windows and takes the one whose arithmetic needs the least energy among those that hold.
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
            rounding: Vec::new(),
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
            assumed: Default::default(),
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
        let loud: Vec<String> =
            compiled.rounding.iter().filter(|r| r.is_loud()).map(|r| format!("{name}: {r}, which is part of its loss")).collect();
        if !loud.is_empty() {
            self.choice.rounding.push((recipe.name.clone(), timesteps));
        }
        self.choice.notes.extend(loud);
        let best = self.choice.chosen.as_ref().map(|(i, ..)| self.choice.candidates[*i].energy_per_sample());
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
