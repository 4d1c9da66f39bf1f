//! How near numbers come to what they should be, as cells of a table.

use crate::measure::fidelity::Fidelity;

impl Fidelity {
    /// Headings of [`Fidelity::cells`]; `reference` is what was compared with.
    pub fn headings(reference: &str) -> [String; 4] {
        [
            format!("correlation with {reference}"),
            format!("R² ({reference})"),
            format!("RMS error ({reference})"),
            format!("relative error ({reference})"),
        ]
    }

    /// The numbers as they are printed; `-` for what does not exist.
    pub fn cells(&self) -> [String; 4] {
        let number = |value: Option<f64>| value.map_or("-".to_string(), |v| format!("{v:.4}"));
        [number(self.correlation), number(self.r2), significant(self.rms_error), number(self.relative_error)]
    }
}

/// Four significant digits, whatever the unit.
pub(super) fn significant(value: f64) -> String {
    let magnitude = value.abs();
    if magnitude == 0.0 || (1e-3..1e5).contains(&magnitude) { format!("{value:.4}") } else { format!("{value:.3e}") }
}
