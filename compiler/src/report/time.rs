//! How long a sample takes, as a sentence.

use crate::measure::time::Bench;

impl Bench {
    /// The report for people.
    pub fn to_text(&self) -> String {
        format!(
            "{:.3} ms per sample (median of {} rounds; {:.3} to {:.3}), T = {}, {} thread{}, batch {}\n",
            self.ms_per_sample,
            self.rounds,
            self.min,
            self.max,
            self.timesteps,
            self.threads,
            if self.threads == 1 { "" } else { "s" },
            self.batch
        )
    }
}
