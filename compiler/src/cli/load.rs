//! Spiking networks from `.snn` files and from text.

use super::{Failure, output};
use snn_ir::file::{Program, Provenance, decode_within, read_within};
use snn_ir::text::parse;
use snn_ir::{Graph, Limits, Op, Preprocessing, verify_within};
use snn_runtime::Network;
use snnc::data::Feed;
use snnc::data::preprocess::likely_layout;
use snnc::driver::DEFAULT_TIMESTEPS;
use snnc::files;
use snnc::frontend::onnx::model::Model;
use snnc::frontend::onnx::{ImportError, ImportOptions, Imported, import_model};
use snnc::measure::EarlyExit;
use snnc::measure::task::{Task, task};
use snnc::outputs::output_names;
use snnc::suggest::nearest;
use std::path::Path;

/// Whether a file is an ONNX model by its name.
pub fn is_onnx(path: &Path) -> bool {
    path.extension().is_some_and(|e| e.eq_ignore_ascii_case("onnx"))
}

/// The graph in a `.snnir` file, if it is within `limits`.
pub fn text(path: &Path, limits: &Limits) -> Result<Graph, Failure> {
    let name = files::name(path);
    let text = files::read_text(path, files::MAX_MODEL).map_err(|e| Failure::from_error(&e).while_doing(format!("cannot read {name}")))?;
    let graph = parse(&text).map_err(|e| Failure::from_error(&e).while_doing(format!("{name} is not a graph in text form")))?;
    verify_within(&graph, limits).map_err(|e| Failure::from_error(&e).while_doing(format!("cannot use the graph in {name}")))?;
    Ok(graph)
}

/// The network in a `.snnir` file. Text says nothing of pixels: they are taken as 0..1.
fn program_in_text(path: &Path, limits: &Limits) -> Result<Program, Failure> {
    let graph = text(path, limits)?;
    if !graph.is_spiking() {
        let failure = Failure::new(format!("{} is not a spiking network", path.display()));
        return Err(failure.help("snnc opt runs passes on it"));
    }
    let shape = graph.inputs().first().map(|&i| graph.ty(i).shape.clone()).unwrap_or_default();
    let preprocessing = Preprocessing { layout: likely_layout(&shape), ..Preprocessing::default() };
    Ok(Program { graph, preprocessing, provenance: Provenance::default() })
}

/// The network in a `.snn` or `.snnir` file, if it is within `limits`.
pub fn program(path: &Path, limits: &Limits) -> Result<Program, Failure> {
    if is_onnx(path) {
        let failure = Failure::new(format!("{} is not a spiking network", path.display()));
        return Err(failure.help(format!("compile it first: snnc {} -o OUT.snn", path.display())));
    }
    if path.extension().is_some_and(|e| e.eq_ignore_ascii_case("snnir")) {
        return program_in_text(path, limits);
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

/// When windows of the network end early: as `margin` asks, by the classes of output `output`.
pub fn early_exit(network: &Network, graph: &Graph, output: usize, margin: Option<f32>) -> Result<Option<EarlyExit>, Failure> {
    let Some(margin) = margin else { return Ok(None) };
    if network.has_window_barrier() || network.settles() {
        let failure = Failure::new("--early-exit needs neurons that answer step by step; these answer at the end of their window");
        return Err(failure.help("leave --early-exit out, or compile with binary firing"));
    }
    if task(graph, output) != Task::Classes {
        let name = &output_names(graph)[output];
        let failure = Failure::new(format!("--early-exit waits until one class leads, but output `{name}` has no classes"));
        return Err(failure.help("leave --early-exit out"));
    }
    Ok(Some(EarlyExit { margin, output }))
}

/// The place of the output called `asked`.
pub fn output(graph: &Graph, asked: &str) -> Result<usize, Failure> {
    let names = output_names(graph);
    names.iter().position(|n| n == asked).ok_or_else(|| {
        let quoted: Vec<String> = names.iter().map(|n| format!("`{n}`")).collect();
        let failure = Failure::new(format!("the network has no output `{asked}`; it has {}", quoted.join(", ")));
        failure.did_you_mean(nearest(asked, names.iter().map(String::as_str)))
    })
}

/// The place of the output called `asked`, or the first one.
pub fn output_or_first(graph: &Graph, asked: Option<&str>) -> Result<usize, Failure> {
    asked.map_or(Ok(0), |asked| output(graph, asked))
}

/// The data that feeds the inputs of `graph`.
pub fn feed(path: &Path, graph: &Graph) -> Result<Feed, Failure> {
    let inputs = graph.inputs();
    let names: Vec<&str> = inputs.iter().map(|&i| graph.node(i).name()).collect();
    Ok(Feed::open(path, &names)?)
}

/// The ANN that a network was compiled from, for inputs of the shape the network takes where the file leaves it open.
pub fn ann(model: &Model, snn: &Graph) -> Result<Imported, ImportError> {
    let shapes = |graph: &Graph| graph.inputs().iter().map(|&i| graph.ty(i).shape.clone()).collect::<Vec<_>>();
    match import_model(model, &ImportOptions::default()) {
        Ok(imported) if shapes(&imported.graph) == shapes(snn) => Ok(imported),
        _ => {
            let input_shape = snn.inputs().first().map(|&i| [&[1], &snn.ty(i).shape[..]].concat());
            import_model(model, &ImportOptions { input_shape })
        }
    }
}

/// The window length the network was compiled for.
fn default_timesteps(program: &Program) -> u32 {
    program.graph.timesteps.unwrap_or(DEFAULT_TIMESTEPS)
}

/// The window lengths to run: `asked`, or the one that the network was compiled for. Says so on standard error where one is shorter.
///
/// # Errors
/// When a window ends before the network's answer starts to count.
pub fn windows(program: &Program, asked: &[u32]) -> Result<Vec<u32>, Failure> {
    let own = default_timesteps(program);
    let windows = if asked.is_empty() { vec![own] } else { asked.to_vec() };
    let others: Vec<String> = windows.iter().filter(|&&t| t < own).map(u32::to_string).collect();
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

/// Says how samples become the network's inputs, where that may surprise.
pub fn note(network: &Network, program: &Program, feed: &Feed) -> Result<(), Failure> {
    let shapes: Vec<&[usize]> = network.inputs().iter().map(|ty| &ty.shape[..]).collect();
    feed.notes(&program.preprocessing, &shapes)?.iter().for_each(output::note);
    Ok(())
}
