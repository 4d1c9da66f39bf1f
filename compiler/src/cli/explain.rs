//! `snnc explain`: which layers lose the accuracy, and why.

use super::arguments::{Format, timesteps};
use super::compile::{CalibrationArguments, PreprocessingArguments, calibration, preprocessing};
use super::import::ImportArguments;
use super::{Failure, output, progress};
use crate::compile::DEFAULT_TIMESTEPS;
use crate::data::Dataset;
use crate::explain::{ExplainError, ExplainRequest, explain};
use crate::recipe::{self, Recipe};
use clap::Args;
use std::path::PathBuf;

/// Arguments of `snnc explain`.
#[derive(Args, Debug)]
pub struct Arguments {
    /// The trained network
    #[arg(value_name = "MODEL.onnx")]
    model: PathBuf,
    /// Samples on which the spiking network is compared with the ANN; labels are not used
    #[arg(long, value_name = "DATA")]
    data: PathBuf,
    /// Use the first N of them
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: usize,
    /// Window length T the network is converted for
    #[arg(long, value_name = "T", default_value_t = DEFAULT_TIMESTEPS, value_parser = timesteps)]
    timesteps: u32,
    /// Conversion recipe: a built-in one (see snnc recipes) or a YAML file
    #[arg(long, value_name = "NAME|FILE.yaml", default_value = recipe::DEFAULT)]
    recipe: String,
    #[command(flatten)]
    import: ImportArguments,
    #[command(flatten)]
    calibration: CalibrationArguments,
    #[command(flatten)]
    preprocessing: PreprocessingArguments,
    /// Form of the report
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let recipe = Recipe::load(&arguments.recipe)?;
    let (imported, _) = arguments.import.load(&arguments.model, false)?;
    let preprocessing = preprocessing(&arguments.preprocessing, &imported.graph);
    let calibration = calibration(&arguments.calibration, &imported.graph, &preprocessing)?;
    let &[input] = &imported.graph.inputs()[..] else {
        return Err(Failure::new(format!("the network has {} inputs; a data set feeds one", imported.graph.inputs().len())));
    };
    let dataset = Dataset::open(&arguments.data)?.slice(0, Some(arguments.limit));
    if dataset.is_empty() {
        return Err(Failure::new("--limit 0 leaves no samples"));
    }
    let shape = imported.graph.ty(input).shape.clone();
    let samples: Vec<Vec<Vec<f32>>> = dataset.inputs(&preprocessing, &shape, || {})?.into_iter().map(|x| vec![x]).collect();
    let bar = progress::Stages::new();
    let explanation = explain(ExplainRequest {
        graph: imported.graph,
        recipe,
        timesteps: arguments.timesteps,
        calibration: calibration.as_ref(),
        samples: &samples,
        progress: &|what, done, total| bar.show(what, done, total),
    });
    bar.finish();
    let explanation = explanation?;
    output::print(&match arguments.format {
        Format::Text => explanation.to_text(),
        Format::Json => output::json(&explanation)?,
    })
}

impl From<ExplainError> for Failure {
    fn from(error: ExplainError) -> Self {
        match error {
            ExplainError::Pipeline(error) => error.into(),
            error => Failure::from_error(&error),
        }
    }
}
