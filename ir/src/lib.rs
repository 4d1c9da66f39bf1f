//! # What a network is
//!
//! One [`Graph`] holds a network at every stage between an ONNX file and machine code: nodes are operations
//! ([`Op`]), edges say whose result is whose operand, every value has a type ([`ValueType`]): a *signal* and a
//! per-sample *shape*. There is no batch dimension: samples never meet, and running many of them is the runtime's
//! business.
//!
//! A graph has a text form ([`text`]) and a file ([`mod@file`]); `snn_runtime` runs it:
//!
//! ```
//! use snn_ir::text::{Parameters, parse, print};
//!
//! let graph = parse(
//!     "graph @two_neurons {
//!        %input = input : current[2]
//!        %hidden = if %input, threshold=1 : spikes[2]
//!        %sum = linear %hidden, weight=@weight : current[1]
//!        %logit = readout %sum : potential[1]
//!        output %logit
//!      }
//!      @weight = f32[1x2] [1, -1]",
//! )?;
//! snn_ir::verify(&graph)?;
//! assert_eq!(parse(&print(&graph, Parameters::Full))?, graph);
//!
//! let network = snn_runtime::Network::compile(&graph, snn_runtime::EngineKind::Reference)?;
//! let mut session = network.session();
//! session.start(&[&[0.75, 0.25]])?;
//! session.advance(4)?; // 3 spikes and 1 spike
//! assert_eq!(session.potentials(), [[0.5]]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! ## Two kinds of time
//!
//! An **analog** graph has no time. A value is the activation an ANN computes for one sample, and the graph means what
//! its ONNX file means.
//!
//! A **spiking** graph has discrete time. A *time step* is one synchronous update of the whole network: in step
//! `t = 1..T` every node computes its value at `t` from its operands' values at `t` and from its own state, in
//! topological order, with no delay along an edge. T is the length of the *simulation window*; state (membrane
//! potentials, running sums) is fresh at the start of each window. The input is the same in every step: a constant
//! current.
//!
//! The bridge between the two: **the mean over the window of a temporal value stands for the analog value it came
//! from.** A linear operation commutes with the mean, so the same [`Op::Conv`] is right on both sides, its bias included,
//! which is added in *every* step. A ReLU does not commute; a neuron takes its place.
//!
//! ## Signals
//!
//! * [`Signal::Analog`]: an activation of the ANN.
//! * [`Signal::Current`]: one real number per element and step. The input, and what a linear operation makes of
//!   spikes. After quantisation currents are integers.
//! * [`Signal::Spikes`]: per element and step an event count (0 or 1; −1, 0 or 1 for ternary neurons; 0 to 2ⁿ−1 for n
//!   lanes) times an amplitude. The amplitude is the neuron's θ after `replace-relu`, and 1 after `normalize`.
//! * [`Signal::Potential`]: the readout's running sum of currents divided by the steps so far, those of its delay left out of both.
//!
//! ## Neurons
//!
//! An [`Op::If`] neuron with current `I(t)`, potential `v`, threshold θ and soft reset does, in each step,
//!
//! ```text
//! v += I(t);  s(t) = [v >= θ];  v -= θ·s(t);  emits s(t)·amplitude
//! ```
//!
//! (other firing modes and the hard reset are in [`neuron`]) from `v(0)` = its initial potential; with a schedule, `I(t)` includes that step's row of it. So after T steps `θ·N = v(0) + Σ I(t) − v(T)`: the count N is
//! `clip(floor((Σ I + v(0))/θ), 0, T)` exactly when `0 <= v(T) < θ`, or when it is saturated or silent on the right
//! side. Where it is not, the order in which current arrived changed the count: the *unevenness* error.
//!
//! Max-pool of spike trains is exact as the step-to-step difference of the maximum of the running sums
//! ([`Op::CumulativeMaxPool`]): each sum moves by at most one spike, so their maximum does too. In the same way
//! [`Op::Requantize`] sends the differences of rounded running sums, where a current has more bits than its users can take.
//!
//! ## Two shapes of a spiking graph
//!
//! Before `fuse-layers` a spiking graph is op by op what the ANN was. After it, all that remains are inputs, structural
//! operations, [`Op::Layer`]s (a sum of synapses, a bias, neurons), cumulative max-pools and readouts: what engines
//! compile. After `quantize` an [`Op::Encode`] follows the part that depends on the input alone (the
//! *prefix*: usually the first convolution, a layer without neurons). The prefix's currents are the same in every step
//! and are computed once, in f32; after it every parameter is an integer and no result depends on the order of
//! additions: every engine must agree bit for bit.
//!
//! In a feed-forward graph a node may run all T steps before its users start; the result is the same. Engines live off
//! this, and neurons with a window barrier ([`neuron::Timing::WholeWindow`]) are defined by it.
//!
//! ## Invariants
//!
//! [`Graph::add`] and the other methods check types as they go; [`verify()`] checks the whole graph. Every pass is followed
//! by [`verify()`], and **a verified graph never panics an engine.** That a ReLU was silently not converted cannot
//! happen: it takes analog values only, and a spiking graph has none.

#![forbid(unsafe_code)]

pub mod activation;
pub mod attr;
pub mod bounds;
pub mod file;
pub mod graph;
pub mod index_map;
pub mod infer;
pub mod interval;
pub mod limits;
pub mod neuron;
pub mod op;
pub mod preprocessing;
pub mod random;
pub mod signal;
pub mod target;
pub mod tensor;
pub mod text;
pub mod verify;
pub mod window;

pub use activation::Activation;
pub use bounds::{Bounds, BoundsError};
pub use graph::{Graph, GraphError, Node, NodeId};
pub use infer::TypeError;
pub use limits::Limits;
pub use neuron::Neuron;
pub use op::Op;
pub use preprocessing::{Layout, Preprocessing};
pub use random::Random;
pub use signal::{Signal, ValueType};
pub use target::{Obstacle, Target, verify_for};
pub use tensor::{ElementType, Tensor, TensorData};
pub use verify::{VerifyError, verify, verify_within};
pub use window::Window;
