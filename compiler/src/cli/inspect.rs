//! `snnc inspect`: what is in a file.

use super::arguments::Format;
use super::engine::EngineArguments;
use super::import::{Shape, options, parse_shape};
use super::{Failure, load, output};
use crate::frontend::onnx::model::Model;
use crate::report::network::NetworkReport;
use crate::report::onnx::OnnxReport;
use crate::report::plan::PlanReport;
use crate::report::support::SupportReport;
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
    /// Say how a .snn runs on this CPU: which kernel computes each node, and why
    #[arg(long)]
    plan: bool,
    #[command(flatten)]
    engine: EngineArguments,
    /// Say of every node of an .onnx model whether it converts exactly, is approximated, or stands in the way
    #[arg(long)]
    support: bool,
    /// Shape of the first input, for models that leave it open
    #[arg(long, value_name = "1x3x32x32", value_parser = parse_shape)]
    input_shape: Option<Shape>,
    /// Form of the report
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    if arguments.file.extension().is_some_and(|e| e == "onnx") {
        if arguments.plan {
            return Err(Failure::new("--plan is about .snn networks").help("compile the model first"));
        }
        let model = Model::load(&arguments.file)?;
        let options = options(arguments.input_shape.as_ref());
        if arguments.support {
            let report = SupportReport::new(&model, &options)?;
            output::print(&match arguments.format {
                Format::Text => report.to_text(),
                Format::Json => output::json(&report)?,
            })?;
            return match report.convertible {
                true => Ok(()),
                false => Err(Failure::new(format!("{} cannot be converted", arguments.file.display()))),
            };
        }
        let report = OnnxReport::new(&model, &options)?;
        return output::print(&match arguments.format {
            Format::Text => report.to_text(),
            Format::Json => output::json(&report)?,
        });
    }
    if arguments.support {
        return Err(Failure::new("--support is about .onnx models").help("without it, snnc inspect says what is in a .snn"));
    }
    let program = load::program(&arguments.file, &arguments.engine.limits())?;
    if arguments.params {
        return output::print(&print(&program.graph, Parameters::Full));
    }
    if arguments.plan {
        let report = PlanReport::new(&arguments.engine.network(&program)?);
        return output::print(&match arguments.format {
            Format::Text => report.to_text(),
            Format::Json => output::json(&report)?,
        });
    }
    let report = NetworkReport::new(&program);
    output::print(&match arguments.format {
        Format::Text => report.to_text(),
        Format::Json => output::json(&report)?,
    })
}
