//! One window of one sample, to its end.

use snn_runtime::{Network, RunError, Session};

/// Runs a started session up to step `timesteps` of its window, and lets a network of ternary neurons settle. Returns the
/// steps in which it settled, after those of the window.
///
/// # Errors
/// As [`Session::advance`].
pub(super) fn run_window(network: &Network, session: &mut Session<'_>, timesteps: u32) -> Result<u32, RunError> {
    session.advance(timesteps - session.steps())?;
    if !network.settles() {
        return Ok(0);
    }
    // Once the layers before it are silent, a layer is after T steps.
    let layers = u32::try_from(session.statistics().layers.len()).unwrap_or(u32::MAX);
    session.settle(timesteps.saturating_mul(layers).saturating_add(1))
}
