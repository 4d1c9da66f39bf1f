//! What a search for recipe and T saw.

use super::table::{Align, table};
use crate::driver::search::{Candidate, Measure, Search, Verdict};
use serde::Serialize;

/// The report of a search.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Frontier {
    /// The loss that may be had, in percent.
    pub target_loss: f64,
    /// How the loss is measured.
    pub measure: Measure,
    /// Samples that the passes saw; the candidates say on how many others they were judged.
    pub calibrated_on: usize,
    /// Everything that was tried: by recipe, and by T within one.
    pub candidates: Vec<Candidate>,
    /// The chosen one's place among them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chosen: Option<usize>,
}

impl Frontier {
    /// The report on `search`.
    pub fn new(search: &Search) -> Self {
        let chosen = search.chosen.map(|place| &search.candidates[place]);
        let mut candidates = search.candidates.clone();
        let place = |c: &Candidate| search.candidates.iter().position(|o| o.recipe == c.recipe);
        candidates.sort_by_key(|c| (place(c), c.timesteps));
        let chosen = chosen.and_then(|chosen| candidates.iter().position(|c| c == chosen));
        Frontier { target_loss: search.target, measure: search.measure, calibrated_on: search.calibrated_on, candidates, chosen }
    }

    /// The candidate that comes nearest to the loss that may be had.
    pub fn nearest(&self) -> Option<&Candidate> {
        self.candidates.iter().min_by(|a, b| a.loss.total_cmp(&b.loss).then(a.energy_per_sample().total_cmp(&b.energy_per_sample())))
    }

    /// The report for people.
    pub fn to_text(&self) -> String {
        let (heading, meaning) = match self.measure {
            Measure::Disagreement => ("loss %", "other top-1 class than the ANN's, which bounds the loss of accuracy from above"),
            Measure::UnexplainedVariance => (
                "loss %",
                "variance of the ANN's outputs that is left unexplained: this network does not classify, so no answers can be counted",
            ),
        };
        let columns = [
            ("", Align::Left),
            ("recipe", Align::Left),
            ("T", Align::Right),
            ("latency (steps)", Align::Right),
            (heading, Align::Right),
            ("95 % confidence", Align::Right),
            ("samples", Align::Right),
            ("SynOps/sample", Align::Right),
            ("MACs/sample", Align::Right),
            ("spikes/sample", Align::Right),
            ("", Align::Left),
        ];
        let row = |(i, c): (usize, &Candidate)| {
            vec![
                if self.chosen == Some(i) { ">".to_string() } else { String::new() },
                c.recipe.clone(),
                c.timesteps.to_string(),
                c.latency_steps.to_string(),
                format!("{:.2}", c.loss),
                c.confidence.map_or("-".to_string(), |[low, high]| format!("{low:.2} to {high:.2}")),
                c.samples.to_string(),
                format!("{:.0}", c.synops_per_sample),
                format!("{:.0}", c.macs_per_sample),
                format!("{:.0}", c.spikes_per_sample),
                match c.verdict {
                    Verdict::Holds => "holds",
                    Verdict::Loses => "loses more",
                    Verdict::Dominated => "costs more than one that holds",
                }
                .to_string(),
            ]
        };
        let rows: Vec<Vec<String>> = self.candidates.iter().enumerate().map(row).collect();
        format!(
            "Loss of at most {} %: {meaning}.\nCalibrated on {} samples, judged on others; few samples where a case was settled early.\n\n{}",
            self.target_loss,
            self.calibrated_on,
            table(&columns, &rows)
        )
    }
}
