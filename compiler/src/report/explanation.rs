//! An explanation as a table and the layers to look at first.

use super::table::{Align, table};
use crate::explain::{Explanation, LayerExplanation};
use crate::measure::task::Task;

impl Explanation {
    /// The report for people.
    pub fn to_text(&self) -> String {
        let measure = if self.task == Task::Values { "unexplained %" } else { "same as ANN %" };
        let [alone, without] = ["alone", "all but it"].map(|who| format!("{who}: {measure}"));
        let headings = ["neurons", "share %", "clipping", "quantisation", "unevenness", "rounding", "inherited", &alone, &without];
        let mut columns = vec![("layer", Align::Left)];
        columns.extend(headings.map(|h| (h, Align::Right)));
        let row = |l: &LayerExplanation| {
            let e = &l.error;
            let errors = [e.clipping, e.quantization, e.unevenness, e.rounding, e.inherited].map(|e| format!("{e:.4}"));
            let shares = match self.task {
                Task::Values => [l.unexplained_alone, l.unexplained_without].map(|u| u.map_or("-".into(), |u| format!("{u:.2}"))),
                _ => [l.agreement_alone, l.agreement_without].map(|a| a.map_or("-".into(), |a| format!("{a:.1}"))),
            };
            [&[l.name.clone(), l.neurons.to_string(), format!("{:.1}", l.share)][..], &errors, &shares].concat()
        };
        let output = match &self.outputs[..] {
            [_] => String::new(),
            names => {
                let names: Vec<String> = names.iter().map(|n| format!("`{n}`")).collect();
                format!(", output `{}` of {} (--output-name chooses)", self.output, names.join(", "))
            }
        };
        let mut text = format!(
            "{} samples, T = {}{output}: {}\n\n{}\nErrors are squared, relative to the ANN's activations.\n",
            self.samples,
            self.timesteps,
            self.conclusion,
            table(&columns, &self.layers.iter().map(row).collect::<Vec<_>>()),
        );
        if self.loses() {
            text += &format!("\n{}\n", self.ranking.join("\n"));
        }
        text
    }
}
