//! `snnc passes`: the documentation of the passes, from their source.

use super::arguments::Format;
use super::{Failure, output};
use clap::Args;
use serde::Serialize;
use snnc::passes::{PassSpec, find, registry};
use snnc::report::list;

/// Arguments of `snnc passes`.
#[derive(Args, Debug)]
pub struct Arguments {
    /// Describe this pass in full
    #[arg(value_name = "PASS")]
    name: Option<String>,
    /// Form of the report
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Serialize)]
struct PassDescription {
    name: &'static str,
    documentation: String,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let passes: Vec<&PassSpec> = match &arguments.name {
        Some(name) => vec![find(name)?],
        None => registry().iter().collect(),
    };
    let text = match (arguments.format, &passes[..]) {
        (Format::Json, passes) => {
            let describe = |p: &&PassSpec| PassDescription { name: p.name, documentation: p.documentation() };
            output::json(&passes.iter().map(describe).collect::<Vec<_>>())?
        }
        (Format::Text, [one]) => one.documentation(),
        (Format::Text, all) => list(&all.iter().map(|p| (p.name.to_string(), p.summary())).collect::<Vec<_>>()),
    };
    output::print(&text)
}
