//! The samples that a network is calibrated on, and whether they can be meant.

use super::{Failure, load, output, progress};
use clap::Args;
use snn_ir::{Graph, Preprocessing};
use snnc::calibrate::normalisation;
use snnc::data::Samples;
use snnc::data::statistics::Statistics;
use snnc::files;
use snnc::frontend::onnx::Facts;
use std::path::{Path, PathBuf};

/// Which samples thresholds come from.
#[derive(Args, Debug)]
#[command(next_help_heading = "Calibration")]
pub struct CalibrationArguments {
    /// Samples that thresholds are balanced on: as --data of snnc eval, labels are not used
    #[arg(long, value_name = "DATA")]
    pub calib: Option<PathBuf>,
    /// Use the first N samples of it
    #[arg(long, value_name = "N", default_value_t = 1000, requires = "calib")]
    calib_samples: usize,
}

/// The samples that the user gives, looked at for what cannot be meant.
pub fn calibration(
    arguments: &CalibrationArguments,
    graph: &Graph,
    preprocessing: &Preprocessing,
    facts: &Facts,
) -> Result<Option<Samples>, Failure> {
    let Some(path) = &arguments.calib else { return Ok(None) };
    let feed = load::feed(path, graph)?.slice(0, Some(arguments.calib_samples));
    if feed.is_empty() {
        return Err(Failure::new("--calib-samples 0 leaves no samples"));
    }
    let untouched = Preprocessing { layout: preprocessing.layout, scale: preprocessing.scale, ..Preprocessing::default() };
    let touched = preprocessing != &untouched || facts.integer_inputs.iter().all(Option::is_none) && preprocessing.scale == 1.0;
    let inputs = graph.inputs();
    if (0..inputs.len()).all(|i| feed.is_preprocessed(i)) && touched {
        output::warning(format_args!(
            "{} holds numbers that are used as they are: --mean, --std, --scale and --resize are for 8-bit pixels",
            files::name(path)
        ));
    }
    let shapes: Vec<&[usize]> = inputs.iter().map(|&i| &graph.ty(i).shape[..]).collect();
    feed.notes(preprocessing, &shapes)?.iter().for_each(output::note);
    let bar = progress::bar(feed.len(), "reading samples");
    let samples = feed.all(preprocessing, &shapes, || bar.inc(1));
    bar.finish_and_clear();
    let samples = samples?;
    check_finite(&samples, path)?;
    let integer = |input: usize| facts.integer_inputs.get(input).copied().flatten();
    judge(path, graph, &samples, preprocessing, integer)?;
    let description = format!("the first {} samples of {}", samples.len(), files::name(path));
    Ok(Some(samples.described(description)))
}

/// Refuses samples with values that are not finite.
pub fn check_finite(samples: &Samples, path: &Path) -> Result<(), Failure> {
    match samples.iter().position(|sample| sample.iter().copied().flatten().any(|v| !v.is_finite())) {
        Some(sample) => Err(Failure::new(format!("sample {sample} of {} holds values that are not finite", files::name(path)))),
        None => Ok(()),
    }
}

/// Values beyond this are no network's input: pixels end at 255, sums of them and physical units hardly come here.
const HUGE: f32 = 1e5;
/// Values that are all below this say nothing in f32.
const TINY: f32 = 1e-6;
/// Deviations below this share of the mean are rounding of a constant.
const FLAT: f64 = 1e-5;
/// Share of zeros above which samples are as good as empty.
const EMPTY: f64 = 0.999;

/// Refuses samples that are constant, and warns of those that cannot be meant.
fn judge(
    path: &Path,
    graph: &Graph,
    samples: &Samples,
    preprocessing: &Preprocessing,
    integer: impl Fn(usize) -> Option<&'static str>,
) -> Result<(), Failure> {
    let inputs = graph.inputs();
    let statistics: Vec<Statistics> = (0..inputs.len()).map(|input| Statistics::new(samples.values(input).flatten())).collect();
    let elements = samples.iter().flatten().map(<[f32]>::len).sum::<usize>();
    if elements > 1 && statistics.iter().all(Statistics::is_constant) {
        let values: Vec<String> = statistics.iter().map(|s| s.min.to_string()).collect();
        let failure = Failure::new(format!(
            "the first {} samples of {} hold nothing but {}: thresholds cannot come from them",
            samples.len(),
            files::name(path),
            values.join(" and ")
        ));
        return Err(failure.help("give samples as the network will see them, or leave --calib out"));
    }
    for (input, s) in statistics.iter().enumerate() {
        let several = if inputs.len() > 1 { format!(", input `{}`", graph.node(inputs[input]).name()) } else { String::new() };
        let warn = |what: &str| output::warning(format_args!("{}{several}: {what}: values {s}", files::name(path)));
        match integer(input) {
            _ if s.is_constant() => warn("all values are the same"),
            _ if s.magnitude() > HUGE => warn("values are huge; is the scale right?"),
            _ if s.magnitude() < TINY => warn("values are tiny; is the scale right?"),
            _ if s.zeros > EMPTY => warn("almost all values are zero"),
            _ if s.std < FLAT * s.mean.abs() => warn("values hardly differ"),
            Some(kind) if !s.whole => warn(&format!("the model takes {kind}, these are fractions; raw pixels are 0..255")),
            None if s.whole && s.min >= 0.0 && (16.0..=255.0).contains(&s.max) && preprocessing.scale != 1.0 => {
                warn(
                    "these look like raw pixels; numbers that are not uint8 are used as they are (--scale raw says that the model wants them so)",
                );
            }
            _ => {}
        }
    }
    if samples.len() > 1 && samples.iter().all(|sample| sample == samples.sample(0)) {
        output::warning(format_args!("{}: all {} samples are the same", files::name(path), samples.len()));
    }
    if let Some(shift) = normalisation::shift(graph, samples) {
        let figures: Vec<String> = statistics.iter().map(|s| format!("values {s}")).collect();
        output::warning(format_args!(
            "{shift}; is preprocessing right (--mean, --std, --scale)? The network's inputs are now: {}",
            figures.join("; ")
        ));
    }
    Ok(())
}
