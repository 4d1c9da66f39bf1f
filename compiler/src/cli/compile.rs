//! `snnc MODEL.onnx -o OUT.snn`: from a trained network to a spiking one.

use super::arguments::{Format, LayoutName, Scale, finite, positive, resize, timesteps};
use super::import::ImportArguments;
use super::{Failure, output, progress};
use crate::calibrate::{Calibration, synthetic};
use crate::compile::{CompileOptions, DEFAULT_TIMESTEPS, Weights, compile};
use crate::data::Dataset;
use crate::data::preprocess::likely_layout;
use crate::passes::pipeline::PassRecord;
use crate::passes::quantize::WeightType;
use crate::passes::registry;
use crate::recipe::{self, Recipe};
use crate::report::compilation::Compilation;
use clap::{Args, ValueEnum};
use snn_ir::file::{CalibrationSource, Program, Provenance, encode};
use snn_ir::text::{Parameters, print};
use snn_ir::{Graph, Preprocessing};
use std::path::{Path, PathBuf};

/// Samples that `--check` replays through every pass.
const CHECK_SAMPLES: usize = 4;

/// Arguments of the compiler itself.
#[derive(Args, Debug)]
// Named here because clap leaves the members to us where arguments are flattened in.
#[group(id = "compile", args = ["model", "output"])]
pub struct Arguments {
    /// The trained network
    #[arg(value_name = "MODEL.onnx")]
    model: PathBuf,
    /// Where the spiking network goes
    #[arg(short, long, value_name = "OUT.snn")]
    output: PathBuf,
    /// Window length T the network is converted for
    #[arg(long, value_name = "T", default_value_t = DEFAULT_TIMESTEPS, value_parser = timesteps)]
    timesteps: u32,
    /// Conversion recipe: a built-in one (see snnc recipes) or a YAML file
    #[arg(long, value_name = "NAME|FILE.yaml", default_value = recipe::DEFAULT)]
    recipe: String,
    /// Number type of the weights [default: as the recipe says]
    #[arg(long, value_enum)]
    weights: Option<WeightName>,
    /// Bound on the error of each approximated activation function: RMS of the difference over RMS of the function, on
    /// calibrated inputs [default: as the recipe says, 0.01 in ours]
    #[arg(long, value_name = "FRACTION", value_parser = positive)]
    activation_error: Option<f32>,
    #[command(flatten)]
    import: ImportArguments,
    #[command(flatten)]
    calibration: CalibrationArguments,
    #[command(flatten)]
    preprocessing: PreprocessingArguments,
    /// Print the graph after this pass, after import, or after all, on standard error
    #[arg(long, value_name = "PASS|all", help_heading = "Looking inside")]
    print_ir_after: Option<String>,
    /// Write the graph after every pass to DIR/NN-PASS.snnir
    #[arg(long, value_name = "DIR", help_heading = "Looking inside")]
    dump_ir_dir: Option<PathBuf>,
    /// Report what each pass changed and how long it took
    #[arg(long, help_heading = "Looking inside")]
    time_passes: bool,
    /// Compare the import with tract whatever its size, and replay samples after every pass; stop where outputs changed
    /// that must not
    #[arg(long, help_heading = "Looking inside", conflicts_with = "no_check")]
    check: bool,
    /// Form of the report
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Which samples thresholds come from.
#[derive(Args, Debug)]
#[command(next_help_heading = "Calibration")]
pub(super) struct CalibrationArguments {
    /// Samples that thresholds are balanced on; labels are not used
    #[arg(long, value_name = "DATA")]
    calib: Option<PathBuf>,
    /// Use the first N samples of it
    #[arg(long, value_name = "N", default_value_t = 1000, requires = "calib")]
    calib_samples: usize,
}

/// How 8-bit pixels become the network's input; stored with the network.
#[derive(Args, Debug)]
#[command(next_help_heading = "Preprocessing of 8-bit pixels, stored with the network: (p · scale − mean) / std")]
pub(super) struct PreprocessingArguments {
    /// Mean per channel, or one for all
    #[arg(long, value_name = "M,..", value_delimiter = ',', value_parser = finite, allow_negative_numbers = true)]
    mean: Vec<f32>,
    /// Standard deviation per channel, or one for all
    #[arg(long, value_name = "S,..", value_delimiter = ',', value_parser = positive)]
    std: Vec<f32>,
    /// unit takes pixels as 0..1, raw as 0..255
    #[arg(long, value_enum, default_value_t)]
    scale: Scale,
    /// Layout of the network's input [default: by its shape]
    #[arg(long, value_enum)]
    layout: Option<LayoutName>,
    /// Resize images first (bilinear with antialiasing, as Pillow does)
    #[arg(long, value_name = "N|HxW", value_parser = resize)]
    resize: Option<[usize; 2]>,
}

/// Number types of weights by their names on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum WeightName {
    /// 8 bits.
    I8,
    /// 12 bits in 16.
    I16,
    /// Floats, for the reference engine.
    F32,
}

impl From<WeightName> for Weights {
    fn from(name: WeightName) -> Self {
        match name {
            WeightName::I8 => Weights::Integer(WeightType::I8),
            WeightName::I16 => Weights::Integer(WeightType::I16),
            WeightName::F32 => Weights::Float,
        }
    }
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let mut recipe = Recipe::load(&arguments.recipe)?;
    if let Some(error) = arguments.activation_error {
        recipe = recipe.with_activation_error(error.to_string().parse().unwrap_or(error.into()))?;
    }
    check_pass_name(arguments.print_ir_after.as_deref())?;
    let (imported, model_crc32) = arguments.import.load(&arguments.model, arguments.check)?;
    let preprocessing = preprocessing(&arguments.preprocessing, &imported.graph);
    let calibration = calibration(&arguments.calibration, &imported.graph, &preprocessing)?;
    let check = match (arguments.check, &calibration) {
        (false, _) => Vec::new(),
        (true, Some(c)) => c.samples.iter().take(CHECK_SAMPLES).cloned().collect(),
        (true, None) => synthetic::samples(&imported.graph).samples.into_iter().take(CHECK_SAMPLES).collect(),
    };
    let mut dump = Dump::new(arguments)?;
    dump.graph(&imported.graph, "import")?;
    let (recipe_name, recipe_text) = (recipe.name.clone(), recipe.text.clone());
    let bar = progress::Stages::new();
    let options = CompileOptions {
        recipe,
        timesteps: arguments.timesteps,
        weights: arguments.weights.map_or(Weights::Recipe, Weights::from),
        calibration: calibration.as_ref(),
        progress: &|what, done, total| bar.show(what, done, total),
        check,
    };
    let mut dumped = Ok(());
    let compiled = compile(imported.graph, options, |graph: &Graph, record: &PassRecord| {
        if dumped.is_ok() {
            dumped = bar.suspend(|| dump.graph(graph, record.name));
        }
    });
    bar.finish();
    let compiled = compiled?;
    dumped?;
    compiled.notes.iter().for_each(|note| eprintln!("note: {note}"));
    let report = Compilation::new(&arguments.output, &compiled, &recipe_name, calibration.as_ref());
    let provenance = Provenance {
        model: file_name(&arguments.model),
        model_crc32,
        recipe: recipe_text,
        calibration: calibration.as_ref().map(|c| CalibrationSource {
            data: arguments.calibration.calib.as_deref().map(file_name).unwrap_or_default(),
            samples: c.samples.len() as u64,
        }),
        compiler: env!("CARGO_PKG_VERSION").into(),
        notes: compiled.notes,
    };
    let program = Program { graph: compiled.graph, preprocessing, provenance };
    let bytes = encode(&program)?;
    output::write(&arguments.output, |sink| sink.write_all(&bytes))?;
    output::print(&match arguments.format {
        Format::Text => report.to_text(arguments.time_passes),
        Format::Json => output::json(&report)?,
    })
}

/// A path's last part, for the record in the file: folders are nobody's business.
fn file_name(path: &Path) -> String {
    path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
}

fn check_pass_name(name: Option<&str>) -> Result<(), Failure> {
    let Some(name) = name.filter(|n| !matches!(*n, "all" | "import")) else { return Ok(()) };
    match registry().iter().any(|p| p.name == name) {
        true => Ok(()),
        false => {
            Err(Failure::new(format!("--print-ir-after: there is no pass `{name}`"))
                .help("snnc passes lists them; `import` and `all` do, too"))
        }
    }
}

pub(super) fn preprocessing(arguments: &PreprocessingArguments, graph: &Graph) -> Preprocessing {
    let shape = graph.inputs().first().map(|&i| graph.ty(i).shape.clone()).unwrap_or_default();
    Preprocessing {
        layout: arguments.layout.map_or_else(|| likely_layout(&shape), Into::into),
        scale: arguments.scale.factor(),
        mean: arguments.mean.clone(),
        std: arguments.std.clone(),
        resize: arguments.resize,
    }
}

pub(super) fn calibration(
    arguments: &CalibrationArguments,
    graph: &Graph,
    preprocessing: &Preprocessing,
) -> Result<Option<Calibration>, Failure> {
    let Some(path) = &arguments.calib else { return Ok(None) };
    let &[input] = &graph.inputs()[..] else {
        return Err(Failure::new(format!("the network has {} inputs; --calib feeds one", graph.inputs().len())));
    };
    let dataset = Dataset::open(path)?.slice(0, Some(arguments.calib_samples));
    if dataset.is_empty() {
        return Err(Failure::new("--calib-samples 0 leaves no samples"));
    }
    let touched = preprocessing != &Preprocessing { layout: preprocessing.layout, ..Preprocessing::default() };
    if dataset.is_preprocessed() && touched {
        eprintln!(
            "warning: {} holds floats, which are used as they are: --mean, --std, --scale and --resize are for 8-bit pixels",
            path.display()
        );
    }
    let shape = &graph.ty(input).shape;
    let bar = progress::bar(dataset.len(), "reading samples");
    let inputs = dataset.inputs(preprocessing, shape, || bar.inc(1));
    bar.finish_and_clear();
    let inputs = inputs?;
    if let Some(sample) = inputs.iter().position(|x| x.iter().any(|v| !v.is_finite())) {
        return Err(Failure::new(format!("sample {sample} of {} holds values that are not finite", path.display())));
    }
    let samples: Vec<_> = inputs.into_iter().map(|input| vec![input]).collect();
    let description = format!("the first {} samples of {}", samples.len(), path.display());
    Ok(Some(Calibration { samples, description }))
}

/// Shows the graph where the user asked for it.
struct Dump<'a> {
    print_after: Option<&'a str>,
    folder: Option<&'a Path>,
    stage: usize,
}

impl<'a> Dump<'a> {
    fn new(arguments: &'a Arguments) -> Result<Self, Failure> {
        if let Some(folder) = &arguments.dump_ir_dir {
            std::fs::create_dir_all(folder)
                .map_err(|e| Failure::from_error(&e).while_doing(format!("cannot create {}", folder.display())))?;
        }
        Ok(Dump { print_after: arguments.print_ir_after.as_deref(), folder: arguments.dump_ir_dir.as_deref(), stage: 0 })
    }

    fn graph(&mut self, graph: &Graph, pass: &str) -> Result<(), Failure> {
        if self.print_after.is_some_and(|p| p == "all" || p == pass) {
            eprintln!("// after {pass}\n{}", print(graph, Parameters::Summary));
        }
        if let Some(folder) = self.folder {
            let file = folder.join(format!("{:02}-{pass}.snnir", self.stage));
            output::write(&file, |sink| sink.write_all(print(graph, Parameters::Full).as_bytes()))?;
        }
        self.stage += 1;
        Ok(())
    }
}
