//! `snnc MODEL.onnx -o OUT.snn`: from a trained network to a spiking one.

use super::arguments::{Format, LayoutName, Memory, Scale, finite, percentage, positive, resize, timesteps};
use super::import::ImportArguments;
use super::{Failure, output, progress};
use crate::calibrate::Calibration;
use crate::calibrate::synthetic::{self, Assumed};
use crate::choose::barrier::Barrier;
use crate::choose::{ChoiceError, ChoiceRequest, choose};
use crate::compile::{CompileOptions, Compiled, Weights, compile, default_timesteps};
use crate::data::Dataset;
use crate::data::preprocess::{Target, likely_layout};
use crate::files;
use crate::passes::pipeline::PassRecord;
use crate::passes::quantize::WeightType;
use crate::passes::registry;
use crate::recipe::{self, Recipe};
use crate::report::compilation::Compilation;
use crate::report::frontier::Frontier;
use clap::{Args, ValueEnum};
use snn_ir::file::{CalibrationSource, Program, Provenance, encode};
use snn_ir::text::{Parameters, print};
use snn_ir::{Graph, Preprocessing};
use std::path::{Path, PathBuf};

/// Longest window that `--target-loss` tries unless `--timesteps` says otherwise.
const LONGEST_SEARCHED: u32 = 64;
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
    /// Window length T the network is converted for; with --target-loss the longest that is tried [default: 32, or what the recipe is meant for]
    #[arg(long, value_name = "T", value_parser = timesteps)]
    timesteps: Option<u32>,
    /// Conversion recipe: a built-in one (see snnc recipes) or a YAML file [default: layerwise, or two-phase where that keeps much more of the ANN's outputs on calibration samples; without --calib mmse; with --target-loss all that are no mere baselines]
    #[arg(long, value_name = "NAME|FILE.yaml")]
    recipe: Option<String>,
    /// Search recipes and T for the cheapest (energy of SynOps and MACs) that answers otherwise than the ANN on at most PERCENT of the calibration samples
    /// that are held back for it
    #[arg(long, value_name = "PERCENT", value_parser = percentage, requires = "calib", conflicts_with_all = ["print_ir_after", "dump_ir_dir", "time_passes"])]
    target_loss: Option<f64>,
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
    memory: Memory,
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
    /// unit takes pixels as 0..1, raw as 0..255 [default: unit]
    #[arg(long, value_enum)]
    scale: Option<Scale>,
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
    /// 6 bits in 8.
    I6,
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
            WeightName::I6 => Weights::Integer(WeightType::I6),
            WeightName::I8 => Weights::Integer(WeightType::I8),
            WeightName::I16 => Weights::Integer(WeightType::I16),
            WeightName::F32 => Weights::Float,
        }
    }
}

impl Arguments {
    fn with_activation_error(&self, recipe: Recipe) -> Result<Recipe, Failure> {
        match self.activation_error {
            Some(error) => Ok(recipe.with_activation_error(error.to_string().parse().unwrap_or(error.into()))?),
            None => Ok(recipe),
        }
    }
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let mut recipes = match (&arguments.recipe, arguments.target_loss) {
        (Some(name), _) => vec![Recipe::load(name)?],
        (None, Some(_)) => recipe::contenders(),
        (None, None) => vec![Recipe::load(if arguments.calibration.calib.is_some() { recipe::DEFAULT } else { recipe::DATA_FREE })?],
    };
    recipes = recipes.into_iter().map(|r| arguments.with_activation_error(r)).collect::<Result<_, _>>()?;
    check_pass_name(arguments.print_ir_after.as_deref())?;
    let (imported, model_crc32) = arguments.import.load(&arguments.model, arguments.check, &arguments.memory.limits())?;
    let preprocessing = preprocessing(&arguments.preprocessing, &imported.graph)?;
    let assumed = match arguments.preprocessing.is_stated() {
        true => Assumed::Pixels(preprocessing.clone()),
        false => Assumed::Standardised,
    };
    let calibration = calibration(&arguments.calibration, &imported.graph, &preprocessing)?;
    let check = match (arguments.check, &calibration) {
        (false, _) => Vec::new(),
        (true, Some(c)) => c.samples.iter().take(CHECK_SAMPLES).cloned().collect(),
        (true, None) => synthetic::samples(&imported.graph, &assumed).samples.into_iter().take(CHECK_SAMPLES).collect(),
    };
    let made = match (arguments.target_loss, &calibration) {
        (Some(target), Some(calibration)) => search(arguments, &imported.graph, &recipes, calibration, target)?,
        _ => compile_one(arguments, imported.graph, recipes.swap_remove(0), calibration.as_ref(), assumed, check)?,
    };
    let Made { compiled, recipe_name, recipe_text, search, calibrated, because } = made;
    let report = Compilation {
        timesteps_because: because,
        search,
        ..Compilation::new(&arguments.output, &compiled, &recipe_name, calibrated.as_ref().map(|(_, which)| which.clone()))
    };
    let provenance = Provenance {
        model: file_name(&arguments.model),
        model_crc32,
        recipe: recipe_text,
        calibration: calibrated.map(|(samples, _)| CalibrationSource {
            data: arguments.calibration.calib.as_deref().map(file_name).unwrap_or_default(),
            samples: samples as u64,
        }),
        compiler: env!("CARGO_PKG_VERSION").into(),
        notes: compiled.notes.clone(),
    };
    let program = Program { graph: compiled.graph, preprocessing, provenance };
    let bytes = encode(&program)?;
    output::write(&arguments.output, |sink| sink.write_all(&bytes))?;
    compiled.notes.iter().for_each(output::note);
    output::report(
        Some(&arguments.output),
        &match arguments.format {
            Format::Text => report.to_text(arguments.time_passes),
            Format::Json => output::json(&report)?,
        },
    )
}

/// A compiled network and how it came about.
struct Made {
    compiled: Compiled,
    recipe_name: String,
    recipe_text: String,
    search: Option<Frontier>,
    /// How many samples it was calibrated on, and which.
    calibrated: Option<(usize, String)>,
    /// Why T is what it is, where the user did not say.
    because: Option<String>,
}

/// Compiles with `recipe`; where the user named none, with the one that needs a window barrier if it keeps much more of the ANN.
fn compile_one(
    arguments: &Arguments,
    graph: Graph,
    recipe: Recipe,
    calibration: Option<&Calibration>,
    assumed: Assumed,
    check: Vec<Vec<Vec<f32>>>,
) -> Result<Made, Failure> {
    let mut dump = Dump::new(arguments)?;
    dump.graph(&graph, "import")?;
    let (timesteps, because) = match arguments.timesteps {
        Some(timesteps) => (timesteps, None),
        None => {
            let (timesteps, why) = default_timesteps(&recipe);
            (timesteps, Some(why))
        }
    };
    let bar = progress::Stages::new();
    let mut compile = |graph: Graph, recipe: Recipe, check| -> Result<Compiled, Failure> {
        let options = CompileOptions {
            recipe,
            timesteps,
            weights: arguments.weights.map_or(Weights::Recipe, Weights::from),
            calibration,
            assumed: assumed.clone(),
            progress: &|what, done, total| bar.show(what, done, total),
            check,
        };
        let mut dumped = Ok(());
        let compiled = compile(graph, options, |graph: &Graph, record: &PassRecord| {
            if dumped.is_ok() {
                dumped = bar.suspend(|| dump.graph(graph, record.name));
            }
        });
        let compiled = compiled?;
        dumped.map(|()| compiled)
    };
    let (mut recipe_name, mut recipe_text) = (recipe.name.clone(), recipe.text.clone());
    // A copy keeps the ANN's weights in memory, so it is made only where it may be needed.
    let undecided = calibration.filter(|_| arguments.recipe.is_none()).map(|calibration| (graph.clone(), calibration));
    let mut compiled = compile(graph, recipe, check.clone())?;
    if let Some((ann, calibration)) = undecided
        && let Some(barrier) = Barrier::consider(&ann, &compiled.graph, timesteps, calibration)?
    {
        let recipe = arguments.with_activation_error(Recipe::load(recipe::BARRIER)?)?;
        let (name, text) = (recipe.name.clone(), recipe.text.clone());
        let mut other = compile(ann, recipe, check)?;
        if let Some(gain) = barrier.gain(&other.graph)? {
            other.notes.push(gain.to_string());
            (compiled, recipe_name, recipe_text) = (other, name, text);
        }
    }
    bar.finish();
    let calibrated = calibration.map(|c| (c.samples.len(), c.description.clone()));
    Ok(Made { compiled, recipe_name, recipe_text, search: None, calibrated, because })
}

/// The cheapest recipe and T that hold, or a diagnostic behind the table of what was tried.
fn search(arguments: &Arguments, graph: &Graph, recipes: &[Recipe], calibration: &Calibration, target: f64) -> Result<Made, Failure> {
    let bar = progress::Stages::new();
    let choice = choose(&ChoiceRequest {
        graph,
        recipes,
        weights: arguments.weights.map_or(Weights::Recipe, Weights::from),
        calibration,
        target,
        most_timesteps: arguments.timesteps.unwrap_or(LONGEST_SEARCHED),
        progress: &|what, done, total| bar.show(what, done, total),
    });
    bar.finish();
    let choice = choice?;
    choice.notes.iter().for_each(output::note);
    let frontier = Frontier::new(&choice, target);
    if let Some((place, recipe_text, compiled)) = choice.chosen {
        let recipe_name = choice.candidates[place].recipe.clone();
        let because = Some(format!("with {recipe_name} the least energy of all tried that hold"));
        let calibrated = Some((choice.calibrated_on, format!("{} of {}", choice.calibrated_on, calibration.description)));
        return Ok(Made { compiled, recipe_name, recipe_text, search: Some(frontier), calibrated, because });
    }
    output::tell(&frontier.to_text());
    let failure = Failure::new(format!("no recipe that was tried keeps the loss at {target} % or less"));
    Err(match frontier.nearest() {
        Some(c) => failure.help(format!(
            "the nearest is {} at T = {} with {:.2} %; a longer window (--timesteps) or a higher --target-loss may do",
            c.recipe, c.timesteps, c.loss
        )),
        None => failure,
    })
}

impl From<ChoiceError> for Failure {
    fn from(error: ChoiceError) -> Self {
        match error {
            ChoiceError::Recipe(error) => error.into(),
            ChoiceError::Pipeline(error) => error.into(),
            error => Failure::from_error(&error),
        }
    }
}

/// A path's last part, for the record in the file: folders are nobody's business.
fn file_name(path: &Path) -> String {
    if files::is_standard(path) {
        return files::name(path);
    }
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

impl PreprocessingArguments {
    /// Whether the user says how pixels become inputs; the layout says nothing about their values.
    fn is_stated(&self) -> bool {
        self.scale.is_some() || !self.mean.is_empty() || !self.std.is_empty() || self.resize.is_some()
    }
}

pub(super) fn preprocessing(arguments: &PreprocessingArguments, graph: &Graph) -> Result<Preprocessing, Failure> {
    let shape = graph.inputs().first().map(|&i| graph.ty(i).shape.clone()).unwrap_or_default();
    let preprocessing = Preprocessing {
        layout: arguments.layout.map_or_else(|| likely_layout(&shape), Into::into),
        scale: arguments.scale.unwrap_or_default().factor(),
        mean: arguments.mean.clone(),
        std: arguments.std.clone(),
        resize: arguments.resize,
    };
    if arguments.is_stated() {
        Target::new(&shape, preprocessing.layout).check(&preprocessing).map_err(|misfit| Failure::new(misfit.to_string()))?;
    }
    Ok(preprocessing)
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
        output::warning(format_args!(
            "{} holds numbers that are used as they are: --mean, --std, --scale and --resize are for 8-bit pixels",
            files::name(path)
        ));
    }
    let shape = &graph.ty(input).shape;
    dataset.note(preprocessing, shape)?.iter().for_each(output::note);
    let bar = progress::bar(dataset.len(), "reading samples");
    let inputs = dataset.inputs(preprocessing, shape, || bar.inc(1));
    bar.finish_and_clear();
    let inputs = inputs?;
    if let Some(sample) = inputs.iter().position(|x| x.iter().any(|v| !v.is_finite())) {
        return Err(Failure::new(format!("sample {sample} of {} holds values that are not finite", files::name(path))));
    }
    let samples: Vec<_> = inputs.into_iter().map(|input| vec![input]).collect();
    let description = format!("the first {} samples of {}", samples.len(), files::name(path));
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
            output::tell(&format!("// after {pass}\n{}", print(graph, Parameters::Summary)));
        }
        if let Some(folder) = self.folder {
            let file = folder.join(format!("{:02}-{pass}.snnir", self.stage));
            output::write(&file, |sink| sink.write_all(print(graph, Parameters::Full).as_bytes()))?;
        }
        self.stage += 1;
        Ok(())
    }
}
