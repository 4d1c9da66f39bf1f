//! The network in integers beside the one in floats, on a handful of samples.

use super::super::{PassError, Report, Request};
use super::measure::{Samples, multiply_adds};
use snn_ir::Graph;
use snn_runtime::{EngineKind, Network, RunError};

/// Most samples.
const MOST_SAMPLES: usize = 4;
/// Multiply-adds, over all steps and samples, that the replay may cost: two or three seconds of the
/// reference engine, which alone runs floats.
const BUDGET: usize = 4_000_000_000;
/// Root mean square of the difference over that of the outputs, from which on the user is told. Spikes
/// that come a step sooner or later make a tenth of it in short windows.
const LOUD: f64 = 0.2;

/// Runs both networks over the window and notes what rounding did to the outputs.
pub(super) fn replay(
    real: &Graph,
    rounded: &Graph,
    samples: &Samples,
    request: &Request<'_>,
    report: &mut Report,
) -> Result<(), PassError> {
    let steps = request.timesteps.max(1);
    let cost = multiply_adds(real).saturating_mul(steps as usize);
    let count = (BUDGET / cost.max(1)).min(MOST_SAMPLES);
    if count == 0 {
        return Ok(());
    }
    let (real, rounded) = (Network::compile(real, EngineKind::Reference)?, Network::compile(rounded, EngineKind::Reference)?);
    let (mut difference, mut square) = (0f64, 0f64);
    for sample in samples.first(count).iter() {
        let run = |network: &Network| -> Result<Vec<Vec<f32>>, RunError> {
            let mut session = network.session();
            session.start(&sample)?;
            session.advance(steps)?;
            Ok(session.potentials())
        };
        for (a, b) in run(&real)?.iter().flatten().zip(run(&rounded)?.iter().flatten()) {
            difference += f64::from(a - b).powi(2);
            square += f64::from(*a).powi(2);
        }
    }
    let share = (difference / square.max(f64::MIN_POSITIVE)).sqrt();
    if share > LOUD && difference > 0.0 {
        let percent = 100.0 * share;
        report.notes.push(format!(
            "rounding to integers moves the outputs by {percent:.0} % (root mean square, {count} samples); --weights i16, a \
             shorter window or --weights f32 tell whether that matters"
        ));
    }
    Ok(())
}
