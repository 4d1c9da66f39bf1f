//! The cheapest recipe and T that keep a network's answers, from unlabelled samples alone.
//!
//! The samples are divided: the passes see some, and how often the spiking network answers as the ANN is counted on the others, which
//! no pass has seen. Disagreement bounds the loss of accuracy from above: an answer that differs may have been wrong before. For
//! networks that do not classify, what counts is the share of the variance of the ANN's outputs that the spiking network's leave
//! unexplained.
//!
//! For every recipe the loss falls with T and the cost grows, so T is bisected. A candidate is given up at the first batch of samples
//! that settles its case: it disagrees too often whatever follows, or costs more than one that holds.

pub(super) mod judge;

use super::CompilerError;
use super::convert::{Conversion, Converted, convert};
use crate::calibrate::synthetic::Assumed;
use crate::data::Samples;
use crate::measure::energy::energy;
use crate::progress::Progress;
use crate::recipe::Recipe;
use judge::Judge;
use serde::Serialize;
use snn_ir::{Graph, Target};

/// One calibration sample of so many is held back from the passes.
pub const HELD_BACK: usize = 4;
/// Window lengths that are tried, besides one between the last that fails and the first that holds.
const WINDOWS: [u32; 7] = [2, 4, 8, 16, 32, 64, 128];

/// What to choose from.
pub(super) struct SearchRequest<'a> {
    /// The ANN, as imported.
    pub graph: &'a Graph,
    /// The recipes, those expected to be cheap first.
    pub recipes: &'a [Recipe],
    /// All samples.
    pub samples: &'a Samples,
    /// The loss that may be had, in percent.
    pub loss: f64,
    /// What the network is for.
    pub target: &'a Target,
    /// Longest window.
    pub most_timesteps: u32,
    /// Told how far it has come.
    pub progress: Progress<'a>,
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

/// What a search saw.
#[derive(Clone, Debug)]
pub struct Search {
    /// The loss that may be had, in percent.
    pub target: f64,
    /// The measure of the loss.
    pub measure: Measure,
    /// Everything that was tried, in order.
    pub candidates: Vec<Candidate>,
    /// The place among them of the cheapest that holds.
    pub chosen: Option<usize>,
    /// Messages about recipes that could not be tried, and about what rounding to integers did.
    pub notes: Vec<String>,
    /// Recipes and T at which rounding to integers changed a layer by more than the user can overlook.
    pub rounding: Vec<(String, u32)>,
    /// Samples that the passes saw.
    pub calibrated_on: usize,
}

/// The network that was chosen.
pub(super) struct Chosen {
    pub recipe: Recipe,
    pub converted: Converted,
}

/// Tries recipes and windows and takes the one whose arithmetic needs the least energy among those that hold.
///
/// # Errors
/// [`CompilerError`]; a recipe that cannot convert the network is noted and left out.
pub(super) fn search(request: &SearchRequest<'_>) -> Result<(Search, Option<Chosen>), CompilerError> {
    let is_held_back = |i: &usize| i % HELD_BACK == HELD_BACK - 1;
    let (held_back, seen): (Vec<usize>, Vec<usize>) = (0..request.samples.len()).partition(is_held_back);
    let judge = Judge::new(request.graph, request.samples.select(held_back))?;
    let seen = request.samples.select(seen);
    let search = Search {
        target: request.loss,
        measure: judge.measure,
        candidates: Vec::new(),
        chosen: None,
        notes: Vec::new(),
        rounding: Vec::new(),
        calibrated_on: seen.len(),
    };
    let mut searcher = Searcher { request, judge, seen, search, chosen: None };
    for recipe in request.recipes {
        searcher.bisect(recipe)?;
    }
    Ok((searcher.search, searcher.chosen))
}

struct Searcher<'a> {
    request: &'a SearchRequest<'a>,
    judge: Judge,
    seen: Samples,
    search: Search,
    chosen: Option<Chosen>,
}

impl Searcher<'_> {
    /// Finds the shortest window at which `recipe` holds.
    fn bisect(&mut self, recipe: &Recipe) -> Result<(), CompilerError> {
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
    fn candidate(&mut self, recipe: &Recipe, timesteps: u32) -> Result<Option<Verdict>, CompilerError> {
        let name = format!("{} T={timesteps}", recipe.name);
        let conversion = Conversion {
            recipe,
            timesteps,
            samples: Some(&self.seen),
            assumed: &Assumed::default(),
            target: self.request.target,
            progress: &|what, done, total| (self.request.progress)(&format!("{name}: {what}"), done, total),
            check: None,
        };
        let converted = match convert(self.request.graph.clone(), &conversion, |_, _| {}) {
            Ok(converted) => converted,
            Err(error) => {
                self.search.notes.push(format!("recipe {} cannot convert this network: {error}", recipe.name));
                return Ok(None);
            }
        };
        let rounding = converted.report.rounding.iter().filter(|r| r.is_loud());
        let loud: Vec<String> = rounding.map(|r| format!("{name}: {r}, which is part of its loss")).collect();
        if !loud.is_empty() {
            self.search.rounding.push((recipe.name.clone(), timesteps));
        }
        self.search.notes.extend(loud);
        let best = self.search.chosen.map(|place| self.search.candidates[place].energy_per_sample());
        let progress = |done, total| (self.request.progress)(&format!("{name}: held-back samples"), done, total);
        let found = self.judge.judge(&converted.graph, timesteps, self.request.loss, best, &progress)?;
        let candidate = Candidate { recipe: recipe.name.clone(), ..found };
        let verdict = candidate.verdict;
        if verdict == Verdict::Holds {
            self.search.chosen = Some(self.search.candidates.len());
            self.chosen = Some(Chosen { recipe: recipe.clone(), converted });
        }
        self.search.candidates.push(candidate);
        Ok(Some(verdict))
    }
}
