//! A measured cost model, and how well it describes what was measured.

use super::table::{Align, table};
use snn_runtime::cost::{Deviation, Measurement};

/// The report for people: how far the model is from the measurements.
pub fn deviations(measurement: &Measurement) -> String {
    let columns = [
        ("CPU level", Align::Left),
        ("kernels", Align::Left),
        ("measurements", Align::Right),
        ("mean error %", Align::Right),
        ("largest %", Align::Right),
    ];
    let percent = |share: f64| format!("{:.0}", 100.0 * share);
    let row = |d: &Deviation| vec![d.cpu.to_string(), d.family.into(), d.measurements.to_string(), percent(d.mean), percent(d.worst)];
    table(&columns, &measurement.deviations.iter().map(row).collect::<Vec<_>>())
}
