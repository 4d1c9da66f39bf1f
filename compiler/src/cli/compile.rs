//! `snnc MODEL.onnx -o OUT.snn`: from a trained network to a spiking one.

use super::arguments::{Format, Memory, percentage, positive, threads, timesteps};
use super::calibration::{CalibrationArguments, calibration};
use super::import::ImportArguments;
use super::preprocessing::{PreprocessingArguments, preprocessing};
use super::{Failure, destination, export, output, progress};
use clap::{Args, ValueEnum};
use snn_ir::text::{Parameters, print};
use snn_ir::{Graph, Preprocessing};
use snnc::backend::{self, Backend, UnknownForm};
use snnc::calibrate::synthetic;
use snnc::driver::search::Search;
use snnc::driver::{Compiled, Compiler, CompilerError, Sources};
use snnc::files;
use snnc::passes::pipeline::PassRecord;
use snnc::passes::quantize::WeightType;
use snnc::passes::registry;
use snnc::recipe::{Recipe, Weights};
use snnc::report::compilation::Compilation;
use snnc::report::frontier::Frontier;
use snnc::report::outcomes;
use snnc::suggest::nearest;
use snnc::targets;
use std::num::NonZeroUsize;
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
    /// What the network is for: a built-in target (see snnc targets) or a YAML file [default: cpu]
    #[arg(long, value_name = "NAME|FILE.yaml")]
    target: Option<String>,
    /// Find the cheapest recipe and T (energy of SynOps and MACs) whose answers differ from the ANN's on at most PERCENT % of held-out calibration samples
    #[arg(long, value_name = "PERCENT", value_parser = percentage, requires = "calib", conflicts_with_all = ["print_ir_after", "dump_ir_dir", "time_passes", "why"])]
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
    /// Say what this pass made of every node that it looked at, and why not more, on standard error
    #[arg(long, value_name = "PASS", help_heading = "Looking inside")]
    why: Option<String>,
    /// Compare the import with tract whatever its size, and replay samples after every pass; stop where outputs changed
    /// that must not
    #[arg(long, help_heading = "Looking inside", conflicts_with = "no_check")]
    check: bool,
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

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    if arguments.quiet {
        output::be_quiet();
    }
    let recipe_file = arguments.recipe.as_deref().map(Path::new).filter(|p| p.is_file());
    let endings = backend::endings();
    let endings: Vec<&str> = endings.iter().map(String::as_str).collect();
    destination::check(&arguments.output, &endings, &[Some(&*arguments.model), arguments.calibration.calib.as_deref(), recipe_file])?;
    let backend = backend_of(&arguments.output)?;
    let target = arguments.target.as_deref().map(targets::load).transpose()?;
    let recipe = arguments.recipe.as_deref().map(Recipe::load).transpose()?;
    // As the argument reads: 0.01 is no f32.
    let activation_error = arguments.activation_error.map(|error| error.to_string().parse().unwrap_or(error.into()));
    if let (Some(recipe), Some(error)) = (&recipe, activation_error) {
        recipe.clone().with_activation_error(error)?;
    }
    check_pass_name("--print-ir-after", arguments.print_ir_after.as_deref(), &["import", "all"])?;
    check_pass_name("--why", arguments.why.as_deref(), &[])?;
    let (imported, model_crc32) = arguments.import.load(&arguments.model, arguments.check, &arguments.memory.limits())?;
    let (preprocessing, assumed) = preprocessing(&arguments.preprocessing, &imported.graph, &imported.facts)?;
    let samples = calibration(&arguments.calibration, &imported.graph, &preprocessing, &imported.facts)?;
    let check = arguments.check.then(|| match &samples {
        Some(samples) => samples.first(CHECK_SAMPLES),
        None => synthetic::samples(&imported.graph, &assumed).first(CHECK_SAMPLES),
    });
    let bar = progress::Stages::new();
    let show = |what: &str, done, total| bar.show(what, done, total);
    let mut inside = Inside::new(arguments)?;
    if arguments.target_loss.is_none() {
        inside.graph(&imported.graph, "import");
    }
    let mut after = |graph: &Graph, record: &PassRecord| bar.suspend(|| inside.pass(graph, record));
    let mut compiler = Compiler::consuming(imported.graph)
        .output_names(imported.facts.outputs.into_iter().map(|o| o.tensor))
        .assume(assumed)
        .weights(arguments.weights.map_or(Weights::Recipe, Weights::from))
        .progress(&show)
        .after_pass(&mut after);
    if let Some(recipe) = recipe {
        compiler = compiler.recipe(recipe);
    }
    if let Some(timesteps) = arguments.timesteps {
        compiler = compiler.timesteps(timesteps);
    }
    if let Some(error) = activation_error {
        compiler = compiler.activation_error(error);
    }
    if let Some(samples) = &samples {
        compiler = compiler.calibrate(samples);
    }
    if let Some(check) = &check {
        compiler = compiler.check_on(check);
    }
    if let Some(target) = target {
        compiler = compiler.target(target);
    }
    if let Some(percent) = arguments.target_loss {
        compiler = compiler.target_loss(percent);
    }
    let compiled = compiler.compile();
    bar.finish();
    inside.finish()?;
    write(arguments, backend, compiled?, model_crc32, preprocessing)
}

/// Writes the network and the report on it.
fn write(
    arguments: &Arguments,
    backend: &dyn Backend,
    compiled: Compiled,
    model_crc32: u32,
    preprocessing: Preprocessing,
) -> Result<(), Failure> {
    if let Some(search) = &compiled.search {
        search.notes.iter().for_each(output::note);
    }
    let report = Compilation::new(&arguments.output, &compiled);
    let sources = Sources {
        model: file_name(&arguments.model),
        model_crc32,
        data: arguments.calibration.calib.as_deref().map(file_name).unwrap_or_default(),
    };
    export::write(&arguments.output, backend, &compiled.into_program(preprocessing, sources))?;
    report.notes.iter().for_each(output::note);
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

impl From<CompilerError> for Failure {
    fn from(error: CompilerError) -> Self {
        match error {
            CompilerError::Target { ref target, ref obstacles } => {
                export::in_the_way(&format!("the network does not fit {target}"), obstacles)
            }
            CompilerError::Recipe(error) => error.into(),
            CompilerError::Pipeline(error) => error.into(),
            CompilerError::NothingHolds(ref search) => nothing_holds(&error, search),
            error => Failure::from_error(&error),
        }
    }
}

/// A diagnostic after the table of what was tried.
fn nothing_holds(error: &CompilerError, search: &Search) -> Failure {
    search.notes.iter().for_each(output::note);
    let frontier = Frontier::new(search);
    output::tell(&frontier.to_text());
    let failure = Failure::from_error(error);
    match frontier.nearest() {
        Some(c) if search.rounding.iter().any(|at| *at == (c.recipe.clone(), c.timesteps)) => failure.help(format!(
            "the nearest is {} at T = {} with {:.2} %, part of which is rounding to integers (see the notes); --weights i16 or f32 \
             loses less by it, a longer window does not",
            c.recipe, c.timesteps, c.loss
        )),
        Some(c) => failure.help(format!(
            "the nearest is {} at T = {} with {:.2} %; a longer window (--timesteps) or a higher --target-loss may do",
            c.recipe, c.timesteps, c.loss
        )),
        None => failure,
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

/// Refuses a pass that `option` names and that does not exist; `others` are names that the option takes besides.
pub fn check_pass_name(option: &str, name: Option<&str>, others: &[&str]) -> Result<(), Failure> {
    let Some(name) = name.filter(|name| !others.contains(name)) else { return Ok(()) };
    if registry().iter().any(|p| p.name == name) {
        return Ok(());
    }
    let besides = match others {
        [] => String::new(),
        others => format!("; {} do, too", others.iter().map(|o| format!("`{o}`")).collect::<Vec<_>>().join(" and ")),
    };
    Err(Failure::new(format!("{option}: there is no pass `{name}`")).help(format!("{}snnc passes lists them{besides}", meant(name))))
}

/// What the user asked to see of the passes while they run.
struct Inside<'a> {
    print_after: Option<&'a str>,
    folder: Option<&'a Path>,
    why: Option<&'a str>,
    stage: usize,
    /// The first file that could not be written.
    failure: Option<Failure>,
}

impl<'a> Inside<'a> {
    fn new(arguments: &'a Arguments) -> Result<Self, Failure> {
        if let Some(folder) = &arguments.dump_ir_dir {
            std::fs::create_dir_all(folder)
                .map_err(|e| Failure::from_error(&e).while_doing(format!("cannot create {}", folder.display())))?;
        }
        let (print_after, why) = (arguments.print_ir_after.as_deref(), arguments.why.as_deref());
        Ok(Inside { print_after, folder: arguments.dump_ir_dir.as_deref(), why, stage: 0, failure: None })
    }

    fn pass(&mut self, graph: &Graph, record: &PassRecord) {
        if self.why == Some(record.name) {
            output::tell(&outcomes::table(record));
        }
        self.graph(graph, record.name);
    }

    fn graph(&mut self, graph: &Graph, pass: &str) {
        if self.print_after.is_some_and(|p| p == "all" || p == pass) {
            output::tell(&format!("// after {pass}\n{}", print(graph, Parameters::Summary)));
        }
        if let Some(folder) = self.folder.filter(|_| self.failure.is_none()) {
            let file = folder.join(format!("{:02}-{pass}.snnir", self.stage));
            self.failure = output::write(&file, |sink| sink.write_all(print(graph, Parameters::Full).as_bytes())).err();
        }
        self.stage += 1;
    }

    fn finish(self) -> Result<(), Failure> {
        self.failure.map_or(Ok(()), Err)
    }
}
