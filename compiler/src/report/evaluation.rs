//! An evaluation as tables.

use super::table::{Align, table};
use crate::measure::evaluation::{AnnResult, Evaluation, SnnResult};
use crate::measure::fidelity::Fidelity;
use crate::measure::task::Task;

impl Evaluation {
    /// What was evaluated on how many samples, and what the ANN scores.
    fn heading(&self) -> String {
        let mut text = format!("{} samples", self.samples);
        if self.outputs.len() > 1 {
            let names: Vec<String> = self.outputs.iter().map(|n| format!("`{n}`")).collect();
            text += &format!(", output `{}` of {} (--output-name chooses)", self.output, names.join(", "));
        }
        if let Some(threshold) = self.threshold {
            text += &format!(", yes where it is above {threshold}");
        }
        match self.ann {
            Some(AnnResult { accuracy: Some(accuracy), .. }) => text += &format!(", ANN accuracy {accuracy:.2} %"),
            Some(AnnResult { against_labels: Some(fidelity), .. }) => {
                let [correlation, r2, rms, _] = fidelity.cells();
                text += &format!(", ANN and labels: correlation {correlation}, R² {r2}, RMS error {rms}");
            }
            _ => {}
        }
        text + "\n\n"
    }

    /// Headings and cells of what tells how well the SNN answers.
    fn scores(&self) -> (Vec<String>, impl Fn(&SnnResult) -> Vec<String>) {
        let answers = self.task != Task::Values;
        let [ann, labels] = [|s: &SnnResult| s.against_ann, |s: &SnnResult| s.against_labels];
        let has = |of: fn(&SnnResult) -> Option<Fidelity>| !answers && self.snn.iter().any(|s| of(s).is_some());
        let (with_ann, with_labels) = (has(ann), has(labels));
        let mut headings = Vec::new();
        if answers {
            headings.extend(["accuracy %", "95 % confidence", "same as ANN %"].map(str::to_string));
        }
        if with_ann {
            headings.extend(Fidelity::headings("ANN"));
        }
        if with_labels {
            headings.extend(Fidelity::headings("labels"));
        }
        let cells = move |s: &SnnResult| {
            let percent = |share: Option<f64>| share.map_or("-".to_string(), |s| format!("{s:.2}"));
            let interval = s.accuracy_interval.map_or("-".to_string(), |[low, high]| format!("{low:.2} to {high:.2}"));
            let fidelity = |f: Option<Fidelity>| f.map_or_else(|| ["-"; 4].map(str::to_string), |f| f.cells());
            let mut cells = Vec::new();
            if answers {
                cells.extend([percent(s.accuracy), interval, percent(s.agreement)]);
            }
            if with_ann {
                cells.extend(fidelity(ann(s)));
            }
            if with_labels {
                cells.extend(fidelity(labels(s)));
            }
            cells
        };
        (headings, cells)
    }

    /// The table of all outputs; empty where there is only one.
    fn all_outputs(&self) -> String {
        let rows: Vec<Vec<String>> = self
            .snn
            .iter()
            .flat_map(|s| s.outputs.iter().map(move |o| (s.timesteps, o)))
            .map(|(timesteps, o)| {
                let agreement = o.agreement.map_or("-".to_string(), |a| format!("{a:.2}"));
                let fidelity = o.against_ann.map_or_else(|| ["-"; 4].map(str::to_string), |f| f.cells());
                [vec![o.name.clone(), timesteps.to_string(), agreement], fidelity.to_vec()].concat()
            })
            .collect();
        if rows.is_empty() {
            return String::new();
        }
        let headings = Fidelity::headings("ANN");
        let mut columns = vec![("output", Align::Left), ("T", Align::Right), ("same as ANN %", Align::Right)];
        columns.extend(headings.iter().map(|h| (h.as_str(), Align::Right)));
        format!("\n{}", table(&columns, &rows))
    }

    /// The report for people; `rates` adds the activity of every layer.
    pub fn to_text(&self, rates: bool) -> String {
        let mut text = self.heading();
        let (scores, cells) = self.scores();
        let mut columns = vec![("T", Align::Right)];
        columns.extend(scores.iter().map(|h| (h.as_str(), Align::Right)));
        columns.extend(["spikes/sample", "SynOps/sample", "MACs/sample", "latency (steps)"].map(|h| (h, Align::Right)));
        let early = self.snn.iter().any(|s| s.mean_timesteps.is_some());
        columns.extend(early.then_some(("mean T", Align::Right)));
        let rows: Vec<Vec<String>> = self
            .snn
            .iter()
            .map(|s| {
                let mut row = vec![s.timesteps.to_string()];
                row.extend(cells(s));
                row.extend([s.spikes_per_sample, s.synops_per_sample, s.macs_per_sample].map(|n| format!("{n:.0}")));
                row.push(s.latency_steps.to_string());
                row.extend(s.mean_timesteps.map(|t| format!("{t:.2}")));
                row
            })
            .collect();
        text += &table(&columns, &rows);
        text += &self.all_outputs();
        if rates && let Some(first) = self.snn.first() {
            let headings: Vec<String> = self.snn.iter().map(|s| format!("T={}", s.timesteps)).collect();
            let mut columns = vec![("mean rate of layer", Align::Left), ("neurons", Align::Right)];
            columns.extend(headings.iter().map(|h| (h.as_str(), Align::Right)));
            let rows: Vec<Vec<String>> = first
                .layers
                .iter()
                .enumerate()
                .map(|(i, layer)| {
                    let mut row = vec![layer.name.clone(), layer.neurons.to_string()];
                    row.extend(self.snn.iter().map(|s| format!("{:.4}", s.layers[i].rate)));
                    row
                })
                .collect();
            text += "\n";
            text += &table(&columns, &rows);
        }
        text
    }
}
