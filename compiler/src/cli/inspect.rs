//! `snnc inspect`: what is in a file.

use super::arguments::Format;
use super::{Failure, load, output};
use crate::frontend::onnx::model::Model;
use crate::report::network::NetworkReport;
use crate::report::onnx::OnnxReport;
use clap::Args;
use snn_ir::text::{Parameters, print};
use std::path::PathBuf;

/// Arguments of `snnc inspect`.
#[derive(Args, Debug)]
pub struct Arguments {
    /// An .onnx model or a .snn network
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Print the graph of a .snn in text form, parameters in full, instead of the overview
    #[arg(long)]
    params: bool,
    /// Form of the report
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    if arguments.file.extension().is_some_and(|e| e == "onnx") {
        let report = OnnxReport::new(&Model::load(&arguments.file)?)?;
        return output::print(&match arguments.format {
            Format::Text => report.to_text(),
            Format::Json => output::json(&report)?,
        });
    }
    let program = load::program(&arguments.file)?;
    if arguments.params {
        return output::print(&print(&program.graph, Parameters::Full));
    }
    let report = NetworkReport::new(&program);
    output::print(&match arguments.format {
        Format::Text => report.to_text(),
        Format::Json => output::json(&report)?,
    })
}
