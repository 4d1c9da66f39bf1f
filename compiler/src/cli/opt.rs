//! `snnc opt`: passes on a graph in text form.

use super::arguments::timesteps;
use super::{Failure, destination, output};
use crate::compile::DEFAULT_TIMESTEPS;
use crate::files;
use crate::passes::{Context, parse_list, pipeline};
use clap::Args;
use snn_ir::text::{Parameters, parse, print};
use snn_ir::{Limits, verify_within};
use std::path::PathBuf;

/// Arguments of `snnc opt`.
#[derive(Args, Debug)]
pub struct Arguments {
    /// The graph in text form
    #[arg(value_name = "FILE.snnir")]
    graph: PathBuf,
    /// The passes, in order, with options as in recipes: a,b,"c: {option: value}"
    #[arg(long, value_name = "PASS,..")]
    pass: String,
    /// Window length T for passes that ask [default: the graph's own, else 32]
    #[arg(long, value_name = "T", value_parser = timesteps)]
    timesteps: Option<u32>,
    /// Print parameters in full instead of as summaries
    #[arg(long)]
    params: bool,
    /// Write here, parameters in full, instead of printing
    #[arg(short, long, value_name = "OUT.snnir")]
    output: Option<PathBuf>,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    if let Some(output) = &arguments.output {
        destination::check(output, &[".snnir"], &[Some(&*arguments.graph)])?;
    }
    let path = files::name(&arguments.graph);
    let passes = parse_list(&arguments.pass)?;
    let text = files::read_text(&arguments.graph, files::MAX_MODEL)
        .map_err(|e| Failure::from_error(&e).while_doing(format!("cannot read {path}")))?;
    let mut graph = parse(&text).map_err(|e| Failure::from_error(&e).while_doing(format!("{path} is not a graph in text form")))?;
    verify_within(&graph, &Limits::default())
        .map_err(|e| Failure::from_error(&e).while_doing(format!("cannot use the graph in {path}")))?;
    let timesteps = arguments.timesteps.or(graph.timesteps).unwrap_or(DEFAULT_TIMESTEPS);
    let mut context = Context::new(timesteps);
    pipeline::run(&mut graph, &passes, &mut context, |_, _| Ok(()))?;
    match &arguments.output {
        Some(path) => output::write(path, |sink| sink.write_all(print(&graph, Parameters::Full).as_bytes()))?,
        None => output::print(&print(&graph, if arguments.params { Parameters::Full } else { Parameters::Summary }))?,
    }
    context.notes.iter().for_each(output::note);
    Ok(())
}
