//! A certificate as a table.

use super::table::{Align, table};
use crate::measure::certificate::{Certificate, LayerCertificate};

impl Certificate {
    /// The report for people.
    pub fn to_text(&self) -> String {
        let headings = ["neurons", "certified %", "clipping", "quantisation", "unevenness"];
        let mut columns = vec![("layer", Align::Left)];
        columns.extend(headings.map(|h| (h, Align::Right)));
        let row = |l: &LayerCertificate| {
            let errors = [l.clipping, l.quantization, l.unevenness].map(|e| format!("{e:.4}"));
            let certified = l.certified.map_or("-".to_string(), |c| format!("{c:.2}"));
            [vec![l.name.clone(), l.neurons.to_string(), certified], errors.to_vec()].concat()
        };
        format!(
            "Counts certified exact at T = {}, and the mean errors of the others (in units of the threshold)\n\n{}",
            self.timesteps,
            table(&columns, &self.layers.iter().map(row).collect::<Vec<_>>())
        )
    }
}
