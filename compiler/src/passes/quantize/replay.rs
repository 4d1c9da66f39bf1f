//! The network in integers beside the one in floats, on a handful of samples: step by step, or with real
//! activations where that would take long.

use super::super::{PassError, Report, Request};
use super::measure::{Quantized, Samples, multiply_adds, share_moved};
use crate::data;
use snn_ir::Graph;
use snn_runtime::{EngineKind, Network};

/// Most samples.
const MOST_SAMPLES: usize = 4;
/// Multiply-adds, over all steps and samples, that the replay may cost: two or three seconds of the
/// reference engine, which alone runs floats.
const BUDGET: usize = 4_000_000_000;
/// Root mean square of the difference over that of the outputs, from which on the user is told. Spikes
/// that come a step sooner or later make a tenth of it in short windows.
const LOUD: f64 = 0.2;

/// Runs both networks over the window and notes what rounding `layers` did to the outputs.
pub(super) fn replay(
    real: &Graph,
    rounded: &Graph,
    layers: &[Quantized],
    samples: &Samples,
    request: &Request<'_>,
    report: &mut Report,
) -> Result<(), PassError> {
    let steps = request.timesteps.max(1);
    let cost = multiply_adds(real).saturating_mul(steps as usize);
    let count = (BUDGET / cost.max(1)).min(MOST_SAMPLES);
    let (share, how) = match count {
        0 => (samples.moved(real, layers)?, "1 sample, real activations".to_string()),
        count => (moved(real, rounded, &samples.first(count), steps)?, format!("{count} samples")),
    };
    if share > LOUD {
        let percent = 100.0 * share;
        report.notes.push(format!(
            "rounding to integers moves the outputs by {percent:.0} % (root mean square, {how}); --weights i16, a shorter window \
             or --weights f32 tell whether that matters"
        ));
    }
    Ok(())
}

/// How far apart the outputs of two spiking networks are.
fn moved(real: &Graph, rounded: &Graph, samples: &data::Samples, steps: u32) -> Result<f64, PassError> {
    let outputs = |graph| -> Result<Vec<f32>, PassError> {
        let network = Network::compile(graph, EngineKind::Reference)?;
        let mut session = network.session();
        let mut all = Vec::new();
        for sample in samples.iter() {
            session.start(&sample)?;
            session.advance(steps)?;
            all.extend(session.potentials().into_iter().flatten());
        }
        Ok(all)
    };
    Ok(share_moved(&outputs(real)?, &outputs(rounded)?))
}
