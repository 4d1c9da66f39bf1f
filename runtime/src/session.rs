//! Running a network: one sample, one window of time steps at a time.

use crate::engine::Machine;
use crate::error::{MAX_TIMESTEPS, RunError};
use crate::network::{Network, is_available};
use crate::spikes::statistics::Statistics;

/// The state of one network on one sample: buffers, potentials, counts. Made by
/// [`Network::session`], reused for any number of samples.
pub struct Session<'n> {
    network: &'n Network,
    machine: Box<dyn Machine + 'n>,
    /// Steps of the window so far; `None` before the first one is started.
    steps: Option<u32>,
    /// Whether steps without input followed those of the window.
    settled: bool,
}

impl<'n> Session<'n> {
    pub(crate) fn new(network: &'n Network) -> Self {
        Session { network, machine: network.machine(), steps: None, settled: false }
    }

    /// Starts a new window: every state is reset, and `inputs` are the constant currents of all its
    /// steps, one row-major slice per input of the network.
    ///
    /// # Errors
    /// When number, lengths or values of the inputs do not fit; the session then has no window.
    pub fn start(&mut self, inputs: &[&[f32]]) -> Result<(), RunError> {
        self.steps = None;
        self.settled = false;
        let types = self.network.inputs();
        if inputs.len() != types.len() {
            return Err(RunError::InputCount { expected: types.len(), got: inputs.len() });
        }
        for (input, (data, ty)) in inputs.iter().zip(types).enumerate() {
            if data.len() != ty.len() {
                return Err(RunError::InputLength { input, expected: ty.len(), got: data.len() });
            }
            if let Some(index) = data.iter().position(|x| !x.is_finite()) {
                return Err(RunError::NotFinite { input, index });
            }
        }
        self.machine.start(inputs);
        self.steps = Some(0);
        Ok(())
    }

    /// Runs `steps` more steps of the window. State persists: `advance(8)` twice is `advance(16)`.
    ///
    /// # Errors
    /// Without a window, beyond [`MAX_TIMESTEPS`] or what the proof of no overflow covers, after
    /// [`Session::settle`], or when a network with two-phase neurons would have its window cut in
    /// two.
    pub fn advance(&mut self, steps: u32) -> Result<(), RunError> {
        let done = self.steps.ok_or(RunError::NotStarted)?;
        let total = done.checked_add(steps).filter(|&t| t <= MAX_TIMESTEPS).ok_or(RunError::WindowTooLong)?;
        if steps == 0 {
            return Ok(());
        }
        if self.settled {
            return Err(RunError::Settled);
        }
        if done > 0 && self.network.has_window_barrier() {
            return Err(RunError::SplitWindow);
        }
        if total > self.network.max_steps() {
            return Err(RunError::Overflow(self.network.max_steps()));
        }
        let memory = self.network.window_memory(steps);
        if !is_available(memory) {
            return Err(RunError::Memory(memory));
        }
        self.machine.advance(steps);
        self.steps = Some(total);
        Ok(())
    }

    /// Lets a network of ternary neurons settle after its T steps of input: steps without input and
    /// without biases follow, at most `most_steps`, until nothing is sent any more. No count goes
    /// beyond T while it settles, so at rest each is `clip(floor((Σ I + v(0))/θ), 0, T)` whatever
    /// the order in which current arrived (ST-BIF+, as in SpikeZIP). A network of L layers is at
    /// rest after L·T steps at the latest. Returns the number of steps in which something was sent:
    /// the network is at rest if that is below `most_steps`. [`Session::potentials`] still divide
    /// by T; statistics go on.
    ///
    /// # Errors
    /// Without a window, when not all neurons are ternary, or when the network is not at rest
    /// before potentials might leave 32 bits.
    pub fn settle(&mut self, most_steps: u32) -> Result<u32, RunError> {
        let window = self.steps.ok_or(RunError::NotStarted)?;
        if !self.network.settles() {
            return Err(RunError::NeverSettles);
        }
        self.settled = true;
        self.machine.settle(window, most_steps)
    }

    /// Per output: what the readout accumulated, divided by the steps in which it did (those so
    /// far, less its delay), times its scale; zeros before the first such step.
    pub fn potentials(&self) -> Vec<Vec<f32>> {
        match self.steps() {
            0 => self.network.outputs().iter().map(|ty| vec![0.0; ty.len()]).collect(),
            steps => self.machine.potentials(steps),
        }
    }

    /// Steps of the window so far.
    pub fn steps(&self) -> u32 {
        self.steps.unwrap_or(0)
    }

    /// Spikes and synaptic operations of the window so far.
    pub fn statistics(&self) -> &Statistics {
        self.machine.statistics()
    }

    /// Net spike count of every neuron of population `layer` (an index into
    /// [`Statistics::layers`]): ternary spikes with their sign, multi-lane spikes in quanta of θ.
    /// `None` when there is no such population or the engine does not keep counts.
    pub fn spike_counts(&self, layer: usize) -> Option<Vec<i64>> {
        self.machine.spike_counts(layer)
    }

    /// Membrane potential of every neuron of population `layer` after the last step, in the unit of
    /// its threshold. `None` as for [`Session::spike_counts`].
    pub fn membranes(&self, layer: usize) -> Option<Vec<f64>> {
        self.machine.membranes(layer)
    }
}
