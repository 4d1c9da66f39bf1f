//! Compiles a trained network in ONNX to a spiking network of integrate-and-fire neurons.
//!
//! Five items do most jobs:
//!
//! * [`import`] reads an ONNX file into an analog [`Graph`](snn_ir::Graph), or says all that cannot be converted;
//! * [`Samples`] are inputs of it, with their shapes; [`data::Feed`] reads them from files;
//! * [`Compiler`] turns the one into a spiking network with the help of the other, and decides what nobody says:
//!   the [`Recipe`], the window length T, whether layers wait for each other;
//! * [`Compiled`] is the network with what the compiler has to say of it. [`Compiled::into_program`] makes what a `.snn`
//!   file holds ([`snn_ir::file::write`] writes it); `snn_runtime::Network` runs it.
//!
//! ```
//! use snn_ir::text::parse;
//! use snn_runtime::{EngineKind, Network};
//! use snnc::{Compiler, Samples};
//!
//! // In place of `snnc::import(path, &ImportOptions::default())?.graph`: two inputs, three rectifiers, one answer.
//! let ann = parse(
//!     "graph @small {
//!        %x = input : analog[2]
//!        %sums = linear %x, weight=@w1 : analog[3]
//!        %hidden = relu %sums : analog[3]
//!        %answer = linear %hidden, weight=@w2 : analog[1]
//!        output %answer
//!      }
//!      @w1 = f32[3x2] [1, 0, 0, 1, 1, -1]
//!      @w2 = f32[1x3] [0.5, 0.25, 1]",
//! )?;
//! let samples = Samples::of(&ann).with((0..64).map(|i| vec![vec![i as f32 / 64.0, 1.0 - i as f32 / 64.0]]))?;
//!
//! let compiled = Compiler::new(&ann).timesteps(32).calibrate(&samples).compile()?;
//!
//! let network = Network::compile(&compiled.graph, EngineKind::Native)?;
//! let mut session = network.session();
//! session.start(&[&[0.75, 0.25]])?;
//! session.advance(32)?;
//! let exact = 0.5 * 0.75 + 0.25 * 0.25 + 0.5;
//! assert!((session.potentials()[0][0] - exact).abs() < 0.1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Below that: [`passes`] and [`recipe`], what a compilation is made of; [`calibrate`], what samples tell; [`measure`], how
//! good a network is, [`report`] the same as text; [`explain`], which layer loses what.

#![forbid(unsafe_code)]

pub mod backend;
pub mod calibrate;
pub mod data;
pub mod driver;
pub mod explain;
pub mod files;
pub mod frontend;
pub mod measure;
pub mod outputs;
pub mod passes;
pub mod progress;
pub mod recipe;
pub mod report;
pub mod suggest;
pub mod targets;
pub mod yaml;

pub use data::Samples;
pub use driver::{Compiled, Compiler, CompilerError};
pub use frontend::onnx::{ImportError, ImportOptions, Imported, import};
pub use recipe::{Recipe, RecipeError, Weights};

/// README's example compiles.
#[doc = include_str!("../../README.md")]
#[cfg(doctest)]
struct Readme;
