//! What can go wrong, at compile time and at run time.

use crate::kernels::Cpu;
use snn_ir::GraphError;
use thiserror::Error;

/// Most time steps a window may have.
pub const MAX_TIMESTEPS: u32 = 1 << 16;

/// Why a graph cannot be made ready to run.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum CompileError {
    /// The graph itself is broken.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// A node's operation has no meaning for the engine: an analog operation in a spiking graph or
    /// the reverse, a mean in an integer graph, and so on.
    #[error("node `{node}` ({op}): {why}")]
    Node {
        /// Name of the node.
        node: String,
        /// Its operation.
        op: &'static str,
        /// What does not fit.
        why: String,
    },
    /// Integers that 32 bits do not hold.
    #[error(transparent)]
    Bounds(#[from] snn_ir::bounds::BoundsError),
    /// The cost model has nothing on the CPU level that is compiled for.
    #[error("the cost model says nothing about {0}")]
    Costs(Cpu),
    /// The graph has no output.
    #[error("the graph has no output")]
    NoOutput,
    /// The system does not give as much memory as the network may need.
    #[error("out of memory: the network may need {0} bytes, which this process does not get")]
    Memory(u64),
    /// Machine code could not be made: a CPU that Cranelift does not know, or a bug.
    #[error("no machine code for this network: {0}")]
    Code(String),
}

/// Why a session refuses a call. The session stays usable.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum RunError {
    /// Not as many inputs as the network has.
    #[error("the network has {expected} inputs, got {got}")]
    InputCount {
        /// Inputs of the network.
        expected: usize,
        /// Inputs given.
        got: usize,
    },
    /// An input has the wrong number of elements.
    #[error("input {input} has {expected} elements, got {got}")]
    InputLength {
        /// Which input.
        input: usize,
        /// Elements of the input's type.
        expected: usize,
        /// Elements given.
        got: usize,
    },
    /// An input holds a NaN or an infinity.
    #[error("element {index} of input {input} is not finite")]
    NotFinite {
        /// Which input.
        input: usize,
        /// Which element.
        index: usize,
    },
    /// No window has been started yet.
    #[error("no window has been started")]
    NotStarted,
    /// The network has two-phase neurons, which need the whole window in one call.
    #[error("two-phase neurons need the whole window in one call: start a new one")]
    SplitWindow,
    /// A potential could leave 32 bits.
    #[error("a potential of this network may leave 32 bits after {0} time steps; use --engine reference")]
    Overflow(u32),
    /// The window's input is over: the network has settled.
    #[error("the network has settled, its window is over: start a new one")]
    Settled,
    /// The network has neurons that cannot take spikes back.
    #[error("only networks whose neurons are all ternary settle")]
    NeverSettles,
    /// The system does not give the memory for a whole window of two-phase neurons.
    #[error("out of memory: the reference engine needs {0} bytes for this window, which this process does not get")]
    Memory(u64),
    /// The window would be longer than [`MAX_TIMESTEPS`].
    #[error("a window has at most {} time steps", MAX_TIMESTEPS)]
    WindowTooLong,
}
