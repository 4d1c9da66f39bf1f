//! `snnc check`: everything in a network that a target cannot hold.

use super::arguments::{Format, Memory};
use super::export::in_the_way;
use super::{Failure, load, output};
use clap::Args;
use serde::Serialize;
use snn_ir::{Obstacle, verify_for};
use snnc::targets;
use std::path::PathBuf;

/// Arguments of `snnc check`.
#[derive(Args, Debug)]
pub struct Arguments {
    /// The spiking network
    #[arg(value_name = "NETWORK.snn")]
    network: PathBuf,
    /// What it is to run on: a built-in target (see snnc targets) or a YAML file
    #[arg(long, value_name = "NAME|FILE.yaml")]
    target: String,
    /// Form of the report
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    #[command(flatten)]
    memory: Memory,
}

#[derive(Serialize)]
struct Survey {
    target: String,
    fits: bool,
    obstacles: Vec<Obstacle>,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let target = targets::load(&arguments.target)?;
    let program = load::program(&arguments.network, &arguments.memory.limits())?;
    let obstacles = verify_for(&program.graph, &target);
    let survey = Survey { target: target.name.clone(), fits: obstacles.is_empty(), obstacles };
    if let Format::Json = arguments.format {
        output::print(&output::json(&survey)?)?;
    } else if survey.fits {
        output::print(&format!("the network fits {}\n", survey.target))?;
    }
    match survey.fits {
        true => Ok(()),
        false => Err(in_the_way(&format!("the network does not fit {}", survey.target), &survey.obstacles)),
    }
}
