//! Spiking networks from `.snn` files.

use super::Failure;
use super::arguments::Engine;
use crate::compile::DEFAULT_TIMESTEPS;
use snn_ir::ValueType;
use snn_ir::file::{Program, read};
use snn_runtime::Network;
use std::path::Path;

/// The network in a `.snn` file.
pub fn program(path: &Path) -> Result<Program, Failure> {
    if path.extension().is_some_and(|e| e == "onnx") {
        let failure = Failure::new(format!("{} is not a spiking network", path.display()));
        return Err(failure.help(format!("compile it first: snnc {} -o OUT.snn", path.display())));
    }
    read(path).map_err(|e| Failure::from_error(&e).while_doing(format!("cannot load {}", path.display())))
}

/// The network made ready to run.
pub fn network(program: &Program, engine: Engine) -> Result<Network, Failure> {
    Network::compile(&program.graph, engine.into()).map_err(|e| {
        let failure = Failure::from_error(&e).while_doing("the engine has no code for this network");
        if engine == Engine::Jit { failure.help("--engine reference runs every network, slowly") } else { failure }
    })
}

/// The window length the network was compiled for.
pub fn default_timesteps(program: &Program) -> u32 {
    program.graph.timesteps.unwrap_or(DEFAULT_TIMESTEPS)
}

/// The type of the network's input, which must be its only one.
pub fn only_input(network: &Network) -> Result<&ValueType, Failure> {
    match network.inputs() {
        [one] => Ok(one),
        many => Err(Failure::new(format!("the network has {} inputs; a data set feeds one", many.len()))),
    }
}
