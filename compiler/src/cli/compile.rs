//! `snnc MODEL.onnx -o OUT.snn`: from a trained network to a spiking one.

use super::arguments::{Format, LayoutName, Memory, Scale, finite, percentage, positive, resize, threads, timesteps};
use super::import::ImportArguments;
use super::{Failure, destination, export, load, output, progress};
use crate::backend::{self, Backend, UnknownForm};
use crate::calibrate::synthetic::{self, Assumed};
use crate::calibrate::{Calibration, normalisation};
use crate::choose::barrier::Barrier;
use crate::choose::{ChoiceError, ChoiceRequest, choose};
use crate::compile::{CompileOptions, Compiled, Weights, compile, default_timesteps};
use crate::data::preprocess::{Misfit, Target, likely_layout};
use crate::data::statistics::Statistics;
use crate::files;
use crate::frontend::onnx::Facts;
use crate::outputs::{closings, name_outputs};
use crate::passes::pipeline::PassRecord;
use crate::passes::quantize::WeightType;
use crate::passes::registry;
use crate::recipe::{self, Recipe};
use crate::report::compilation::Compilation;
use crate::report::frontier::Frontier;
use crate::suggest::nearest;
use clap::{Args, ValueEnum};
use snn_ir::file::{CalibrationSource, Program, Provenance};
use snn_ir::text::{Parameters, print};
use snn_ir::{Graph, NodeId, Preprocessing};
use std::num::NonZeroUsize;
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
    pub model: PathBuf,
    /// Where the spiking network goes; - is standard output
    #[arg(short, long, value_name = "OUT.snn")]
    output: PathBuf,
    /// Form of the report
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// No notes and no progress: the report, warnings and errors alone
    #[arg(short, long)]
    quiet: bool,
    /// Threads [default: one per CPU]
    #[arg(long, value_name = "N", value_parser = threads)]
    pub threads: Option<NonZeroUsize>,
    /// Window length T the network is converted for; with --target-loss the longest that is tried [default: 32, or what the recipe is meant for]
    #[arg(long, value_name = "T", value_parser = timesteps)]
    timesteps: Option<u32>,
    /// Conversion recipe: a built-in one (see snnc recipes) or a YAML file [default: chosen automatically, see snnc recipes]
    #[arg(long, value_name = "NAME|FILE.yaml")]
    recipe: Option<String>,
    /// Find the cheapest recipe and T (energy of SynOps and MACs) whose answers differ from the ANN's on at most PERCENT % of held-out calibration samples
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
}

/// Which samples thresholds come from.
#[derive(Args, Debug)]
#[command(next_help_heading = "Calibration")]
pub(super) struct CalibrationArguments {
    /// Samples that thresholds are balanced on: as --data of snnc eval, labels are not used
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
    /// unit takes pixels as 0..1, raw as 0..255 [default: unit; raw where the model's input holds integers]
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
    if arguments.quiet {
        output::be_quiet();
    }
    let recipe_file = arguments.recipe.as_deref().map(Path::new).filter(|p| p.is_file());
    let endings = backend::endings();
    let endings: Vec<&str> = endings.iter().map(String::as_str).collect();
    destination::check(&arguments.output, &endings, &[Some(&*arguments.model), arguments.calibration.calib.as_deref(), recipe_file])?;
    let backend = backend_of(&arguments.output)?;
    let mut recipes = match (&arguments.recipe, arguments.target_loss) {
        (Some(name), _) => vec![Recipe::load(name)?],
        (None, Some(_)) => recipe::contenders(),
        (None, None) => vec![Recipe::load(if arguments.calibration.calib.is_some() { recipe::DEFAULT } else { recipe::DATA_FREE })?],
    };
    recipes = recipes.into_iter().map(|r| arguments.with_activation_error(r)).collect::<Result<_, _>>()?;
    check_pass_name(arguments.print_ir_after.as_deref())?;
    let (imported, model_crc32) = arguments.import.load(&arguments.model, arguments.check, &arguments.memory.limits())?;
    let (preprocessing, assumed) = preprocessing(&arguments.preprocessing, &imported.graph, &imported.facts)?;
    let calibration = calibration(&arguments.calibration, &imported.graph, &preprocessing, &imported.facts)?;
    let tensors: Vec<String> = imported.facts.outputs.iter().map(|o| o.tensor.clone()).collect();
    let meanings: Vec<String> = closings(&imported.graph).iter().zip(&tensors).filter_map(|(c, name)| c.note(name)).collect();
    let check = match (arguments.check, &calibration) {
        (false, _) => Vec::new(),
        (true, Some(c)) => c.samples.iter().take(CHECK_SAMPLES).cloned().collect(),
        (true, None) => synthetic::samples(&imported.graph, &assumed).samples.into_iter().take(CHECK_SAMPLES).collect(),
    };
    let made = match (arguments.target_loss, &calibration) {
        (Some(target), Some(calibration)) => search(arguments, &imported.graph, &recipes, calibration, target)?,
        _ => compile_one(arguments, imported.graph, recipes.swap_remove(0), calibration.as_ref(), assumed, check)?,
    };
    let Made { mut compiled, recipe_name, recipe_text, search, calibrated, because } = made;
    name_outputs(&mut compiled.graph, tensors.iter().map(String::as_str));
    compiled.notes.extend(meanings);
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
    export::write(&arguments.output, backend, &program)?;
    compiled.notes.iter().for_each(output::note);
    output::report(
        Some(&arguments.output),
        &match arguments.format {
            Format::Text => report.to_text(arguments.time_passes),
            Format::Json => output::json(&report)?,
        },
    )
}

/// The form that the output's name asks for: `.snn` where it asks for none.
fn backend_of(path: &Path) -> Result<&'static dyn Backend, Failure> {
    match backend::of_file(path) {
        Err(UnknownForm::NoExtension { .. }) => Ok(backend::named("snn")?),
        found => Ok(found?),
    }
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
        Some(c) if choice.rounding.iter().any(|at| *at == (c.recipe.clone(), c.timesteps)) => failure.help(format!(
            "the nearest is {} at T = {} with {:.2} %, part of which is rounding to integers (see the notes); --weights i16 or f32 \
             loses less by it, a longer window does not",
            c.recipe, c.timesteps, c.loss
        )),
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

/// What a mistyped pass may have meant, as the start of a sentence.
fn meant(name: &str) -> String {
    nearest(name, registry().iter().map(|p| p.name)).map_or_else(String::new, |pass| format!("did you mean `{pass}`? "))
}

fn check_pass_name(name: Option<&str>) -> Result<(), Failure> {
    let Some(name) = name.filter(|n| !matches!(*n, "all" | "import")) else { return Ok(()) };
    match registry().iter().any(|p| p.name == name) {
        true => Ok(()),
        false => Err(Failure::new(format!("--print-ir-after: there is no pass `{name}`"))
            .help(format!("{}snnc passes lists them; `import` and `all` do, too", meant(name)))),
    }
}

impl PreprocessingArguments {
    /// Whether the user says how pixels become inputs; the layout says nothing about their values.
    fn is_stated(&self) -> bool {
        self.scale.is_some() || !self.mean.is_empty() || !self.std.is_empty() || self.resize.is_some()
    }
}

/// How pixels become inputs of `graph`, and what is therefore assumed of inputs that nobody has shown. It must suit one of
/// the inputs at least; others may be fed with numbers.
///
/// # Errors
/// When it suits none.
pub(super) fn preprocessing(arguments: &PreprocessingArguments, graph: &Graph, facts: &Facts) -> Result<(Preprocessing, Assumed), Failure> {
    let shape = graph.inputs().first().map(|&i| graph.ty(i).shape.clone()).unwrap_or_default();
    let integer = facts.inputs.iter().zip(&facts.integer_inputs).find_map(|(input, kind)| Some((&input.tensor, (*kind)?)));
    let scale = match (arguments.scale, integer) {
        (Some(scale), None) => scale,
        (Some(scale), Some((input, kind))) => {
            if scale == Scale::Unit {
                output::note(format_args!("input `{input}` holds {kind}, but --scale unit divides pixels by 255"));
            }
            scale
        }
        (None, Some((input, kind))) => {
            let rest = if facts.inputs.len() > 1 { ", as are those of the other inputs" } else { "" };
            output::note(format_args!(
                "input `{input}` holds {kind}: 8-bit pixels are taken as they are, 0..255{rest} (--scale unit would divide them by 255)"
            ));
            Scale::Raw
        }
        (None, None) => Scale::default(),
    };
    let preprocessing = Preprocessing {
        layout: arguments.layout.map_or_else(|| likely_layout(&shape), Into::into),
        scale: scale.factor(),
        mean: arguments.mean.clone(),
        std: arguments.std.clone(),
        resize: arguments.resize,
    };
    if arguments.is_stated() {
        let check = |&input: &NodeId| Target::new(&graph.ty(input).shape, preprocessing.layout).check(&preprocessing);
        let misfits: Vec<Misfit> = graph.inputs().iter().map_while(|input| check(input).err()).collect();
        if let Some(misfit) = misfits.first().filter(|_| misfits.len() == graph.inputs().len()) {
            return Err(Failure::new(misfit.to_string()));
        }
    }
    let assumed = match arguments.is_stated() || integer.is_some() {
        true => Assumed::Pixels(preprocessing.clone()),
        false => Assumed::Standardised,
    };
    Ok((preprocessing, assumed))
}

pub(super) fn calibration(
    arguments: &CalibrationArguments,
    graph: &Graph,
    preprocessing: &Preprocessing,
    facts: &Facts,
) -> Result<Option<Calibration>, Failure> {
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
    Ok(Some(Calibration { samples, description }))
}

/// Refuses samples with values that are not finite.
pub(super) fn check_finite(samples: &[Vec<Vec<f32>>], path: &Path) -> Result<(), Failure> {
    match samples.iter().position(|sample| sample.iter().flatten().any(|v| !v.is_finite())) {
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
    samples: &[Vec<Vec<f32>>],
    preprocessing: &Preprocessing,
    integer: impl Fn(usize) -> Option<&'static str>,
) -> Result<(), Failure> {
    let inputs = graph.inputs();
    let statistics: Vec<Statistics> =
        (0..inputs.len()).map(|input| Statistics::new(samples.iter().flat_map(|sample| &sample[input]))).collect();
    let elements = samples.iter().map(|sample| sample.iter().map(Vec::len).sum::<usize>()).sum::<usize>();
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
    if samples.len() > 1 && samples.iter().all(|sample| sample == &samples[0]) {
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
