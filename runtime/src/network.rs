//! A network made ready to run.

use crate::cost::CostModel;
use crate::engine::bits;
use crate::engine::bytes;
use crate::engine::plan::{Domain, PlanSummary};
use crate::engine::{Engine, Machine, settles};
use crate::error::CompileError;
use crate::kernels::{Cpu, KernelSet};
use crate::reference;
use crate::session::Session;
use snn_ir::limits::Needs;
use snn_ir::neuron::{Neuron, Timing};
use snn_ir::{Graph, Op, ValueType};

/// Which engine runs a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EngineKind {
    /// What is fastest for its neurons, with kernels and machine code for this CPU.
    Native,
    /// The interpreter: slow, obvious, the oracle.
    Reference,
}

/// A network made ready to run: immutable, shared by as many threads as want to, each with a
/// [`Session`] of its own.
pub struct Network {
    inputs: Vec<ValueType>,
    outputs: Vec<ValueType>,
    window_barrier: bool,
    settles: bool,
    engine: Box<dyn Engine>,
}

impl Network {
    /// Makes a spiking graph ready to run.
    ///
    /// # Errors
    /// [`CompileError`] when the graph is no complete spiking network or the engine has no code for
    /// it.
    pub fn compile(graph: &Graph, engine: EngineKind) -> Result<Network, CompileError> {
        match engine {
            EngineKind::Reference => Self::with(graph, || Ok(Box::new(reference::Program::compile(graph)?))),
            EngineKind::Native => Self::compile_for(graph, Cpu::detect()),
        }
    }

    /// [`Network::compile`] with the JIT engine, for less than this machine's CPU can do: how the
    /// kernels are tested against each other.
    ///
    /// # Errors
    /// As [`Network::compile`].
    pub fn compile_for(graph: &Graph, cpu: Cpu) -> Result<Network, CompileError> {
        Self::compile_with(graph, cpu, CostModel::shipped())
    }

    /// [`Network::compile_for`], with kernels chosen by what `costs` says of them.
    ///
    /// # Errors
    /// As [`Network::compile`], and when `costs` has nothing on that level.
    pub fn compile_with(graph: &Graph, cpu: Cpu, costs: &CostModel) -> Result<Network, CompileError> {
        let kernels = KernelSet::of(cpu);
        Self::with(graph, || {
            Ok(match domain(graph) {
                Domain::Bits => Box::new(bits::Program::compile(graph, kernels, costs)?),
                domain => Box::new(bytes::Program::compile(graph, domain, kernels)?),
            })
        })
    }

    fn with(graph: &Graph, engine: impl FnOnce() -> Result<Box<dyn Engine>, CompileError>) -> Result<Network, CompileError> {
        check_outputs(graph)?;
        let needs = Needs::of(graph).0.memory;
        if !is_available(needs) {
            return Err(CompileError::Memory(needs));
        }
        let engine = engine()?;
        Ok(Network {
            inputs: graph.inputs().iter().map(|&i| graph.ty(i).clone()).collect(),
            outputs: graph.outputs().iter().map(|&o| graph.ty(o).clone()).collect(),
            window_barrier: graph.ids().any(|id| has_window_barrier(graph.op(id))),
            settles: settles(graph),
            engine,
        })
    }

    /// What the JIT engine does with each node, and why; `None` for the reference engine, which
    /// does what the graph says.
    pub fn plan(&self) -> Option<PlanSummary> {
        self.engine.plan()
    }

    /// A session with buffers of its own; one per thread.
    pub fn session(&self) -> Session<'_> {
        Session::new(self)
    }

    /// Types of the inputs, in the order [`Session::start`] takes them.
    pub fn inputs(&self) -> &[ValueType] {
        &self.inputs
    }

    /// Types of the outputs, in the order [`Session::potentials`] returns them.
    pub fn outputs(&self) -> &[ValueType] {
        &self.outputs
    }

    /// Whether neurons wait for the end of the window, so that it must be run in one call of
    /// [`Session::advance`].
    pub fn has_window_barrier(&self) -> bool {
        self.window_barrier
    }

    /// Longest window whose integers are proven to fit.
    pub(crate) fn max_steps(&self) -> u32 {
        self.engine.max_steps()
    }

    /// Whether all neurons retract, so that [`Session::settle`] brings the network to rest.
    pub fn settles(&self) -> bool {
        self.settles
    }

    /// Bytes that a window of so many steps needs beside what the network needs.
    pub(crate) fn window_memory(&self, steps: u32) -> u64 {
        self.engine.window_memory(steps)
    }

    /// The state of a new session.
    pub(crate) fn machine(&self) -> Box<dyn Machine + '_> {
        self.engine.machine()
    }
}

/// Whether the system would give so many bytes. They are not kept: a network takes its memory piece
/// by piece, and an allocation that fails then ends the process.
pub(crate) fn is_available(bytes: u64) -> bool {
    let mut memory = Vec::<u8>::new();
    let given = usize::try_from(bytes).is_ok_and(|bytes| memory.try_reserve_exact(bytes).is_ok());
    // Without this the compiler may take an allocation that nobody uses for one that succeeds.
    std::hint::black_box(memory);
    given
}

fn check_outputs(graph: &Graph) -> Result<(), CompileError> {
    if graph.outputs().is_empty() {
        return Err(CompileError::NoOutput);
    }
    match graph.outputs().iter().find(|&&o| !matches!(graph.op(o), Op::Readout { .. })) {
        None => Ok(()),
        Some(&o) => Err(CompileError::Node {
            node: graph.node(o).name().to_string(),
            op: graph.op(o).name(),
            why: "outputs of a spiking network are readouts".into(),
        }),
    }
}

/// What the neurons send, as the JIT engine sees it. Real numbers it refuses everywhere.
fn domain(graph: &Graph) -> Domain {
    let neurons: Vec<&Neuron> = graph.ids().filter_map(|id| graph.op(id).neuron()).collect();
    if graph.is_quantized() { Domain::of(&neurons) } else { Domain::Bits }
}

fn has_window_barrier(op: &Op) -> bool {
    op.neuron().is_some_and(|n| n.firing.timing() == Timing::WholeWindow)
}
