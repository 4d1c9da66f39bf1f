//! # What makes a spiking network go
//!
//! A [`Network`] is a spiking [`snn_ir::Graph`] made ready to run by one of two engines: machine
//! code for this CPU ([`EngineKind::Native`]) or the interpreter that everything faster must equal
//! ([`EngineKind::Reference`]). A [`Session`] runs it: a sample goes in as a constant current, time
//! steps pass, potentials come out.
//!
//! ```
//! use snn_ir::neuron::Neuron;
//! use snn_ir::op::Linear;
//! use snn_ir::{Graph, Op, Signal, Tensor};
//! use snn_runtime::{EngineKind, Network};
//!
//! let mut graph = Graph::new("two_neurons");
//! let input = graph.add("input", Op::Input(Signal::Current, vec![2]), &[])?;
//! let hidden = graph.add("hidden", Op::If(Neuron::new(Tensor::scalar(1.0))), &[input])?;
//! let weight = Tensor::f32([1, 2], [1.0, -1.0]);
//! let sum = graph.add("sum", Op::Linear(Linear { weight, bias: None }), &[hidden])?;
//! let logit = graph.add("logit", Op::Readout { scale: None, delay: 0 }, &[sum])?;
//! graph.set_outputs([logit]);
//!
//! let network = Network::compile(&graph, EngineKind::Reference)?;
//! let mut session = network.session();
//! session.start(&[&[0.75, 0.25]])?;
//! session.advance(4)?; // 3 spikes and 1 spike
//! assert_eq!(session.potentials(), [[0.5]]);
//! session.advance(4)?; // 6 and 2 of 8
//! assert_eq!(session.potentials(), [[0.5]]);
//! assert_eq!(session.statistics().layers[0].spikes, 8);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! ## Numbers
//!
//! Before `quantize` a network computes in `f32` and engines agree within rounding. After it
//! everything after [`snn_ir::Op::Encode`] is exact integer arithmetic, whose bounds the compiler
//! proved to fit 32 bits: engines agree bit for bit. The encoder rounds half away from zero.
//! Readouts accumulate in 64 bits.
//!
//! ## The rooms
//!
//! [`analog`] runs the ANN itself, for calibration and import checks. [`spikes`] counts spikes and
//! the synapses that they cross. [`cost`] says what kernels cost. Private: `prefix` is computed
//! once a window for every engine, `reference` is the interpreter, `engine` what is faster, with
//! its `plan`, and `kernels` has a folder for every set of instructions. `dense` has the stateless
//! operations that the ANN, the prefix and the interpreter share, `layout` how values lie in
//! memory. The hidden module `testing` generates random networks for property tests of engines.

pub mod analog;
pub mod cost;
pub mod error;
pub mod network;
pub mod session;
pub mod spikes;

#[doc(hidden)]
pub mod testing;

mod dense;
mod engine;
mod kernels;
mod layout;
mod prefix;
mod reference;

pub use cost::CostModel;
pub use engine::plan::{PlanSummary, PlannedNode};
pub use error::{CompileError, MAX_TIMESTEPS, RunError};
pub use kernels::{Cpu, encode};
pub use network::{EngineKind, Network};
pub use session::Session;
pub use spikes::statistics::{LayerStatistics, Statistics};
