//! Running a network: one sample, one window of time steps at a time.

use crate::counts;
use crate::error::RunError;
use crate::jit;
use crate::network::{Network, Program, is_available};
use crate::reference;
use crate::statistics::Statistics;

/// Most time steps a window may have.
pub const MAX_TIMESTEPS: u32 = 1 << 16;

/// The state of one network on one sample: buffers, potentials, counts. Made by [`Network::session`], reused for any
/// number of samples.
pub struct Session<'n> {
    network: &'n Network,
    machine: Machine<'n>,
    /// Steps of the window so far; `None` before the first one is started.
    steps: Option<u32>,
    /// Whether steps without input followed those of the window.
    settled: bool,
}

/// The engines' states. [`crate::network`] holds the other half of the dispatch. Each has
/// `new(&Program)`, `start(&[&[f32]])` (inputs are checked), `advance(u32)` (the window is checked, steps > 0),
/// `potentials(steps)`, `statistics()`, `spike_counts(layer)`, `membranes(layer)`.
enum Machine<'n> {
    Reference(reference::Machine<'n>),
    Jit(jit::Machine<'n>),
    Windows(counts::window::Machine<'n>),
    Steps(counts::steps::Machine<'n>),
}

impl<'n> Session<'n> {
    pub(crate) fn new(network: &'n Network) -> Self {
        let machine = match network.program() {
            Program::Reference(program) => Machine::Reference(reference::Machine::new(program)),
            Program::Jit(program) => Machine::Jit(jit::Machine::new(program)),
            Program::Bytes(program) if network.has_window_barrier() => Machine::Windows(counts::window::Machine::new(program)),
            Program::Bytes(program) => Machine::Steps(counts::steps::Machine::new(program)),
        };
        Session { network, machine, steps: None, settled: false }
    }

    /// Starts a new window: every state is reset, and `inputs` are the constant currents of all its steps, one
    /// row-major slice per input of the network.
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
        match &mut self.machine {
            Machine::Reference(m) => m.start(inputs),
            Machine::Jit(m) => m.start(inputs),
            Machine::Windows(m) => m.start(inputs),
            Machine::Steps(m) => m.start(inputs),
        }
        self.steps = Some(0);
        Ok(())
    }

    /// Runs `steps` more steps of the window. State persists: `advance(8)` twice is `advance(16)`.
    ///
    /// # Errors
    /// Without a window, beyond [`MAX_TIMESTEPS`] or what the proof of no overflow covers, behind [`Session::settle`], or when a
    /// network with two-phase neurons would have its window cut in two.
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
        match &mut self.machine {
            Machine::Reference(m) => m.advance(steps),
            Machine::Jit(m) => m.advance(steps),
            Machine::Windows(m) => m.advance(steps),
            Machine::Steps(m) => m.advance(steps),
        }
        self.steps = Some(total);
        Ok(())
    }

    /// Lets a network of ternary neurons settle behind its T steps of input: steps without input and without biases follow,
    /// at most `most_steps`, until nothing is sent any more. No count goes beyond T while it settles, so at rest each is
    /// `clip(floor((Σ I + v(0))/θ), 0, T)` whatever the order in which current arrived (ST-BIF+, as in SpikeZIP). A network of L
    /// layers is at rest after L·T steps at the latest. Returns the number of steps in which something was sent: the network is
    /// at rest if that is below `most_steps`. [`Session::potentials`] still divide by T; statistics go on.
    ///
    /// # Errors
    /// Without a window, when not all neurons are ternary, or when the network is not at rest before potentials might leave 32 bits.
    pub fn settle(&mut self, most_steps: u32) -> Result<u32, RunError> {
        let window = self.steps.ok_or(RunError::NotStarted)?;
        if !self.network.settles() {
            return Err(RunError::NeverSettles);
        }
        self.settled = true;
        Ok(match &mut self.machine {
            Machine::Reference(m) => m.settle(window, most_steps),
            Machine::Steps(m) => m.settle(most_steps)?,
            // They have no ternary neurons, so a network of theirs that settles has no neurons at all.
            Machine::Jit(_) | Machine::Windows(_) => 0,
        })
    }

    /// Per output: what the readout accumulated, divided by the steps in which it did (those so far, less its delay), times
    /// its scale; zeros before the first such step.
    pub fn potentials(&self) -> Vec<Vec<f32>> {
        match self.steps() {
            0 => self.network.outputs().iter().map(|ty| vec![0.0; ty.len()]).collect(),
            steps => match &self.machine {
                Machine::Reference(m) => m.potentials(steps),
                Machine::Jit(m) => m.potentials(steps),
                Machine::Windows(m) => m.potentials(steps),
                Machine::Steps(m) => m.potentials(steps),
            },
        }
    }

    /// Steps of the window so far.
    pub fn steps(&self) -> u32 {
        self.steps.unwrap_or(0)
    }

    /// Spikes and synaptic operations of the window so far.
    pub fn statistics(&self) -> &Statistics {
        match &self.machine {
            Machine::Reference(m) => m.statistics(),
            Machine::Jit(m) => m.statistics(),
            Machine::Windows(m) => m.statistics(),
            Machine::Steps(m) => m.statistics(),
        }
    }

    /// Net spike count of every neuron of population `layer` (an index into [`Statistics::layers`]): ternary spikes with
    /// their sign, multi-lane spikes in quanta of θ. `None` when there is no such population or the engine does not keep counts.
    pub fn spike_counts(&self, layer: usize) -> Option<Vec<i64>> {
        match &self.machine {
            Machine::Reference(m) => m.spike_counts(layer),
            Machine::Jit(m) => m.spike_counts(layer),
            Machine::Windows(m) => m.spike_counts(layer),
            Machine::Steps(m) => m.spike_counts(layer),
        }
    }

    /// Membrane potential of every neuron of population `layer` after the last step, in the unit of its threshold.
    /// `None` as for [`Session::spike_counts`].
    pub fn membranes(&self, layer: usize) -> Option<Vec<f64>> {
        match &self.machine {
            Machine::Reference(m) => m.membranes(layer),
            Machine::Jit(m) => m.membranes(layer),
            Machine::Windows(m) => m.membranes(layer),
            Machine::Steps(m) => m.membranes(layer),
        }
    }
}
