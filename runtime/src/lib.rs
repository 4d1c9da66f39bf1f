//! # What makes a spiking network go
//!
//! A [`Network`] is a spiking [`snn_ir::Graph`] made ready to run by one of two engines: machine code for this CPU
//! ([`EngineKind::Jit`]) or the interpreter that everything faster must equal ([`EngineKind::Reference`]). A [`Session`]
//! runs it: a sample goes in as a constant current, time steps pass, potentials come out.
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
//! Before `quantize` a network computes in `f32` and engines agree within rounding. After it everything behind
//! [`snn_ir::Op::Encode`] is exact integer arithmetic, whose bounds the compiler proved to fit 32 bits: engines agree bit for
//! bit. The encoder rounds half away from zero. Readouts accumulate in 64 bits.
//!
//! ## The rooms
//!
//! [`analog`] runs the ANN itself, for calibration and import checks. [`synapses`] says how many synapses a spike crosses,
//! [`cost_model`] what kernels cost.
//! Private: `dense` has the kernels of stateless operations and of neurons outside a network, `front_end` what is computed
//! once a window for every engine, `reference` the interpreter. The hidden module `testing` generates random networks for
//! property tests of engines.

pub mod analog;
pub mod cost_model;
pub mod error;
pub mod network;
pub mod session;
pub mod statistics;
pub mod synapses;

#[doc(hidden)]
pub mod testing;

mod counts;
mod dense;
mod engine;
mod front_end;
mod jit;
mod kernels;
mod plan;
mod populations;
mod reference;
mod sums;

pub use cost_model::CostModel;
pub use error::{CompileError, RunError};
pub use kernels::{Cpu, encode};
pub use network::{EngineKind, Network};
pub use plan::{PlanSummary, PlannedNode};
pub use session::{MAX_TIMESTEPS, Session};
pub use statistics::{LayerStatistics, Statistics};
