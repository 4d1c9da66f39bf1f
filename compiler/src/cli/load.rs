//! Spiking networks from `.snn` files.

use super::{Failure, output};
use crate::compile::DEFAULT_TIMESTEPS;
use crate::data::Dataset;
use crate::files;
use crate::frontend::onnx::ImportOptions;
use snn_ir::file::{Program, decode_within, read_within};
use snn_ir::{Graph, Limits, Op, ValueType};
use snn_runtime::Network;
use std::path::Path;

/// The network in a `.snn` file, if it is within `limits`.
pub fn program(path: &Path, limits: &Limits) -> Result<Program, Failure> {
    if path.extension().is_some_and(|e| e == "onnx") {
        let failure = Failure::new(format!("{} is not a spiking network", path.display()));
        return Err(failure.help(format!("compile it first: snnc {} -o OUT.snn", path.display())));
    }
    let failed = |failure: Failure| failure.while_doing(format!("cannot load {}", files::name(path)));
    if files::is_standard(path) {
        let bytes = files::read(path, files::MAX_MODEL).map_err(|e| failed(Failure::from_error(&e)))?;
        return decode_within(bytes, limits).map_err(|e| failed(Failure::from_error(&e)));
    }
    // Asked before it is opened by name: who opens a pipe waits.
    files::open(path).map_err(|e| failed(Failure::from_error(&e)))?;
    read_within(path, limits).map_err(|e| failed(Failure::from_error(&e)))
}

/// Whether windows of the network may end early, as `margin` asks.
pub fn early_exit(network: &Network, margin: Option<f32>) -> Result<(), Failure> {
    let whole = network.has_window_barrier() || network.settles();
    match margin {
        Some(_) if whole => {
            let failure = Failure::new("--early-exit needs neurons that answer step by step; these answer at the end of their window");
            Err(failure.help("leave --early-exit out, or compile with binary firing"))
        }
        _ => Ok(()),
    }
}

/// How the ANN that a network was compiled from is imported: for inputs of the shape the network takes.
pub fn import_options(snn: &Graph) -> ImportOptions {
    ImportOptions { input_shape: snn.inputs().first().map(|&i| [&[1], &snn.ty(i).shape[..]].concat()) }
}

/// The window length the network was compiled for.
fn default_timesteps(program: &Program) -> u32 {
    program.graph.timesteps.unwrap_or(DEFAULT_TIMESTEPS)
}

/// The window lengths to run: `asked`, or the one that the network was compiled for. Says so on standard error where they differ.
///
/// # Errors
/// When a window ends before the network's answer starts to count.
pub fn windows(program: &Program, asked: &[u32]) -> Result<Vec<u32>, Failure> {
    let own = default_timesteps(program);
    let windows = if asked.is_empty() { vec![own] } else { asked.to_vec() };
    let others: Vec<String> = windows.iter().filter(|&&t| t != own).map(u32::to_string).collect();
    if !others.is_empty() {
        output::warning(format_args!(
            "compiled and calibrated for T = {own}; at T = {} it loses more than a network compiled for that",
            others.join(", ")
        ));
    }
    let graph = &program.graph;
    let delays = graph.outputs().iter().map(|&o| if let Op::Readout { delay, .. } = graph.op(o) { *delay } else { 0 });
    let delay = delays.max().unwrap_or(0);
    match windows.iter().find(|&&t| t <= delay) {
        Some(t) => Err(Failure::new(format!("T = {t}: the network's answer counts from step {} on", delay + 1))
            .help("take a longer window, or compile for this one")),
        None => Ok(windows),
    }
}

/// Says how samples become the network's input, where that may surprise.
pub fn note(network: &Network, program: &Program, dataset: &Dataset) -> Result<(), Failure> {
    let Some(input) = network.inputs().first() else { return Ok(()) };
    dataset.note(&program.preprocessing, &input.shape)?.iter().for_each(output::note);
    Ok(())
}

/// The type of the network's input, which must be its only one.
pub fn only_input(network: &Network) -> Result<&ValueType, Failure> {
    match network.inputs() {
        [one] => Ok(one),
        many => Err(Failure::new(format!("the network has {} inputs; a data set feeds one", many.len()))),
    }
}
