//! `snnc opt`: passes on a graph in text form.

use super::arguments::timesteps;
use super::compile::check_pass_name;
use super::{Failure, destination, load, output};
use clap::Args;
use snn_ir::Limits;
use snn_ir::text::{Parameters, print};
use snnc::driver::DEFAULT_TIMESTEPS;
use snnc::files;
use snnc::passes::{AnyPass, Request, order, parse_list, pipeline, weight_range};
use snnc::report::outcomes;
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
    /// Say what this pass made of every node that it looked at, and why not more, on standard error
    #[arg(long, value_name = "PASS")]
    why: Option<String>,
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
    check_pass_name("--why", arguments.why.as_deref(), &[])?;
    let mut graph = load::text(&arguments.graph, &Limits::default())?;
    let timesteps = arguments.timesteps.or(graph.timesteps).unwrap_or(DEFAULT_TIMESTEPS);
    order::check(passes.iter().map(AnyPass::as_pass), &order::holding(&graph))
        .map_err(|(_, error)| Failure::from_error(&error).while_doing(format!("cannot run these passes on the graph in {path}")))?;
    let request = Request { weight_range: weight_range(&passes), ..Request::new(timesteps) };
    let (report, records) = pipeline::run(&mut graph, passes.iter().map(AnyPass::as_pass), &request, |_, _, _| Ok(()))?;
    match &arguments.output {
        Some(path) => output::write(path, |sink| sink.write_all(print(&graph, Parameters::Full).as_bytes()))?,
        None => output::print(&print(&graph, if arguments.params { Parameters::Full } else { Parameters::Summary }))?,
    }
    report.notes.iter().for_each(output::note);
    for record in &records {
        output::note(outcomes::summary(record));
        if arguments.why.as_deref() == Some(record.name) {
            output::tell(&outcomes::table(record));
        }
    }
    Ok(())
}
