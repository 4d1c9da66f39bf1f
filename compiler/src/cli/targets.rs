//! `snnc targets`: what networks can be compiled for.

use super::arguments::Format;
use super::{Failure, output};
use clap::Args;
use snn_ir::Target;
use snnc::report::list;
use snnc::targets::{self, DEFAULT, TargetError};

/// Arguments of `snnc targets`.
#[derive(Args, Debug)]
pub struct Arguments {
    /// Print the limits of this target, a built-in one or a YAML file, with their sources
    #[arg(value_name = "TARGET")]
    name: Option<String>,
    /// Form of the report
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let found = match &arguments.name {
        Some(name) => vec![targets::load(name)?],
        None => targets::built_in(),
    };
    let text = match (arguments.format, &arguments.name) {
        (Format::Json, Some(_)) => output::json(&found[0])?,
        (Format::Json, None) => output::json(&found)?,
        (Format::Text, Some(_)) => targets::to_yaml(&found[0]),
        (Format::Text, None) => {
            let row = |t: &Target| {
                let mark = if t.name == DEFAULT { " (default)" } else { "" };
                (t.name.clone(), format!("{}{mark}", t.description))
            };
            list(&found.iter().map(row).collect::<Vec<_>>())
        }
    };
    output::print(&text)
}

impl From<TargetError> for Failure {
    fn from(error: TargetError) -> Self {
        Failure::from_error(&error).did_you_mean(error.suggestion().as_deref())
    }
}
