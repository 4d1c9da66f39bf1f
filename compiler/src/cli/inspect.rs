//! `snnc inspect`: what is in a file.

use super::arguments::Format;
use super::engine::EngineArguments;
use super::import::{Shape, options, parse_shape};
use super::{Failure, load, output};
use clap::Args;
use snn_ir::text::{Parameters, print};
use snnc::frontend::onnx::model::Model;
use snnc::report::network::NetworkReport;
use snnc::report::onnx::OnnxReport;
use snnc::report::plan::PlanReport;
use snnc::report::support::SupportReport;
use std::path::PathBuf;

/// Arguments of `snnc inspect`.
#[derive(Args, Debug)]
pub struct Arguments {
    /// An .onnx model or a .snn network
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Print the graph of a .snn in text form, parameters in full, instead of the overview (with --format json, in it)
    #[arg(long)]
    params: bool,
    /// Say how a .snn runs on this CPU: which kernel computes each node, and why
    #[arg(long, conflicts_with = "params")]
    plan: bool,
    #[command(flatten)]
    engine: EngineArguments,
    /// Say of every node of an .onnx model whether it converts exactly, is approximated, or cannot be converted
    #[arg(long)]
    support: bool,
    /// Shape of the first input, for models that leave it open
    #[arg(long, value_name = "1x3x32x32", value_parser = parse_shape)]
    input_shape: Option<Shape>,
    /// Form of the report
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

impl Arguments {
    /// An option that is given and says nothing about such a file, and what to do.
    fn ignored(&self, onnx: bool) -> Option<(&'static str, &'static str)> {
        let compile = "compile the model first: it is about .snn networks";
        let without = "without it, snnc inspect says what is in a .snn";
        match self {
            Arguments { params: true, .. } if onnx => Some(("--params", compile)),
            Arguments { plan: true, .. } if onnx => Some(("--plan", compile)),
            Arguments { engine, .. } if onnx && engine.bounds_memory() => Some(("--max-memory", compile)),
            Arguments { support: true, .. } if !onnx => Some(("--support", without)),
            Arguments { input_shape: Some(_), .. } if !onnx => Some(("--input-shape", without)),
            Arguments { plan: false, engine, .. } => engine.given().map(|name| (name, "it is about a .snn with --plan")),
            _ => None,
        }
    }
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let onnx = load::is_onnx(&arguments.file);
    if let Some((name, help)) = arguments.ignored(onnx) {
        let kind = if onnx { "an .onnx model" } else { "a .snn network" };
        return Err(Failure::new(format!("{name} means nothing for {kind}")).help(help));
    }
    if onnx {
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
    let program = load::program(&arguments.file, &arguments.engine.limits())?;
    if arguments.params && arguments.format == Format::Text {
        return output::print(&print(&program.graph, Parameters::Full));
    }
    if arguments.plan {
        let report = PlanReport::new(&arguments.engine.network(&program)?);
        return output::print(&match arguments.format {
            Format::Text => report.to_text(),
            Format::Json => output::json(&report)?,
        });
    }
    let report = NetworkReport::new(&program, if arguments.params { Parameters::Full } else { Parameters::Summary });
    output::print(&match arguments.format {
        Format::Text => report.to_text(),
        Format::Json => output::json(&report)?,
    })
}
