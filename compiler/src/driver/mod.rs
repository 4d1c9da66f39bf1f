//! The compiler: which recipe, which T, and what to do where the first answer loses too much.
//!
//! [`Compiler`] decides all of it, for programs as for the command line: the recipe where none is named
//! ([`recipe::DEFAULT`], without samples [`recipe::DATA_FREE`]), T where none is given, whether the network needs a window
//! barrier ([`barrier`]), and the cheapest recipe and T that keep a loss ([`search`]).

pub mod barrier;
mod check;
mod convert;
mod error;
pub mod search;

pub use error::CompilerError;

use crate::calibrate::synthetic::Assumed;
use crate::data::Samples;
use crate::outputs::{closings, name_outputs};
use crate::passes::pipeline::PassRecord;
use crate::passes::quantize::Rounding;
use crate::passes::{Approximation, Report};
use crate::progress::{Progress, SILENT};
use crate::recipe::{self, Recipe, Weights};
use crate::targets;
use barrier::Barrier;
use convert::{Conversion, Converted, convert};
use search::{Search, SearchRequest, search};
use snn_ir::file::{CalibrationSource, Program, Provenance};
use snn_ir::neuron::Timing;
use snn_ir::{Graph, Preprocessing, Target, verify_for};
use std::borrow::Cow;

/// The window length a network is converted for when neither the user nor the recipe names one: on the networks we measured the
/// loss falls steeply up to it and slowly after it, while cost grows with T.
pub const DEFAULT_TIMESTEPS: u32 = 32;
/// Longest window that a search tries unless the user says otherwise.
const LONGEST_SEARCHED: u32 = 64;

/// Compiles an ANN to a spiking network.
///
/// What is not said is chosen; the example of [the crate](crate) compiles a small network.
pub struct Compiler<'a> {
    graph: Cow<'a, Graph>,
    recipe: Option<Recipe>,
    timesteps: Option<u32>,
    weights: Weights,
    activation_error: Option<f64>,
    target_loss: Option<f64>,
    samples: Option<&'a Samples>,
    assumed: Assumed,
    target: Target,
    outputs: Option<Vec<String>>,
    check: Option<&'a Samples>,
    progress: Progress<'a>,
    after: Option<&'a mut AfterPass<'a>>,
}

/// Sees the graph after each pass.
pub type AfterPass<'a> = dyn FnMut(&Graph, &PassRecord) + 'a;

/// A compiled network and how it came about.
pub struct Compiled {
    /// The spiking graph.
    pub graph: Graph,
    /// The recipe that made it.
    pub recipe: Recipe,
    /// Why T is what it is, where the user did not say.
    pub timesteps_because: Option<String>,
    /// What each pass did.
    pub passes: Vec<PassRecord>,
    /// What approximations lose.
    pub approximations: Vec<Approximation>,
    /// What rounding to integers did to each layer.
    pub rounding: Vec<Rounding>,
    /// Messages for the user.
    pub notes: Vec<String>,
    /// The samples that it was calibrated on.
    pub calibration: Option<Calibration>,
    /// What a search for recipe and T saw.
    pub search: Option<Search>,
}

/// What a network was calibrated on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Calibration {
    /// Number of samples.
    pub samples: usize,
    /// Where they came from.
    pub description: String,
}

/// The files that a network comes from, for the record in the `.snn`. Folders are nobody's business.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    /// Name of the ONNX file.
    pub model: String,
    /// CRC-32 of that file.
    pub model_crc32: u32,
    /// Name of the calibration data.
    pub data: String,
}

impl<'a> Compiler<'a> {
    /// A compiler for an imported ANN.
    pub fn new(graph: &'a Graph) -> Self {
        Compiler::from(Cow::Borrowed(graph))
    }

    /// A compiler that uses the ANN up: its weights are in memory only once where one conversion does.
    pub fn consuming(graph: Graph) -> Self {
        Compiler::from(Cow::Owned(graph))
    }

    fn from(graph: Cow<'a, Graph>) -> Self {
        Compiler {
            graph,
            recipe: None,
            timesteps: None,
            weights: Weights::Recipe,
            activation_error: None,
            target_loss: None,
            samples: None,
            assumed: Assumed::default(),
            target: targets::default_target(),
            outputs: None,
            check: None,
            progress: SILENT,
            after: None,
        }
    }

    /// Window length T. With [`Compiler::target_loss`] the longest that is tried.
    pub fn timesteps(mut self, timesteps: u32) -> Self {
        self.timesteps = Some(timesteps);
        self
    }

    /// The recipe, in place of the one that suits the network.
    pub fn recipe(mut self, recipe: Recipe) -> Self {
        self.recipe = Some(recipe);
        self
    }

    /// Sample inputs to calibrate on.
    pub fn calibrate(mut self, samples: &'a Samples) -> Self {
        self.samples = Some(samples);
        self
    }

    /// What to assume of inputs where there are no samples.
    pub fn assume(mut self, assumed: Assumed) -> Self {
        self.assumed = assumed;
        self
    }

    /// Number type of the weights, in place of the recipe's.
    pub fn weights(mut self, weights: Weights) -> Self {
        self.weights = weights;
        self
    }

    /// Bound on the error of each approximated activation function (RMS of the difference over RMS of the function), in
    /// place of the recipe's.
    pub fn activation_error(mut self, error: f64) -> Self {
        self.activation_error = Some(error);
        self
    }

    /// What the network is for; this computer's processor unless it is said.
    pub fn target(mut self, target: Target) -> Self {
        self.target = target;
        self
    }

    /// Searches the cheapest recipe and T whose answers differ from the ANN's on at most `percent` % of held-back samples.
    pub fn target_loss(mut self, percent: f64) -> Self {
        self.target_loss = Some(percent);
        self
    }

    /// Names of the outputs, as in the ONNX file, in place of those of their nodes.
    pub fn output_names(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.outputs = Some(names.into_iter().map(Into::into).collect());
        self
    }

    /// Replays `samples` after every pass, and stops where outputs changed that must not. A search checks nothing.
    pub fn check_on(mut self, samples: &'a Samples) -> Self {
        self.check = Some(samples);
        self
    }

    /// Tells `progress` how far long work has come.
    pub fn progress(mut self, progress: Progress<'a>) -> Self {
        self.progress = progress;
        self
    }

    /// Shows `after` the graph after every pass; a search shows nothing.
    pub fn after_pass(mut self, after: &'a mut AfterPass<'a>) -> Self {
        self.after = Some(after);
        self
    }

    /// Compiles.
    ///
    /// # Errors
    /// [`CompilerError`].
    pub fn compile(self) -> Result<Compiled, CompilerError> {
        for samples in self.samples.into_iter().chain(self.check) {
            samples.check(&self.graph)?;
        }
        let own_names = || self.graph.outputs().iter().map(|&id| self.graph.node(id).name().to_string()).collect();
        let names: Vec<String> = self.outputs.clone().unwrap_or_else(own_names);
        let meanings: Vec<String> = closings(&self.graph).iter().zip(&names).filter_map(|(c, name)| c.note(name)).collect();
        let target = self.target.clone();
        let mut compiled = match self.target_loss {
            Some(target) => self.search(target)?,
            None => self.convert()?,
        };
        let obstacles = verify_for(&compiled.graph, &target);
        if !obstacles.is_empty() {
            return Err(CompilerError::Target { target: target.name, obstacles });
        }
        name_outputs(&mut compiled.graph, names.iter().map(String::as_str));
        compiled.notes.extend(meanings);
        Ok(compiled)
    }

    /// The recipe with what the user asks for in place of what it says.
    fn adapted(&self, recipe: Recipe) -> Result<Recipe, CompilerError> {
        let recipe = recipe.with_weights(self.weights);
        Ok(match self.activation_error {
            Some(error) => recipe.with_activation_error(error)?,
            None => recipe,
        })
    }

    /// Converts with the recipe; where the user named none, with the one that needs a window barrier if it keeps much more of
    /// the ANN.
    fn convert(mut self) -> Result<Compiled, CompilerError> {
        let default = if self.samples.is_some() { recipe::DEFAULT } else { recipe::DATA_FREE };
        let is_named = self.recipe.is_some();
        let recipe = self.recipe.take().map_or_else(|| Recipe::load(default), Ok)?;
        let recipe = self.adapted(recipe)?;
        let (timesteps, because) = match self.timesteps {
            Some(timesteps) => (timesteps, None),
            None => {
                let (timesteps, why) = default_timesteps(&recipe);
                (timesteps, Some(why))
            }
        };
        let barrier = self.adapted(Recipe::load(recipe::BARRIER)?)?;
        let calibration = self.samples.map(|s| Calibration { samples: s.len(), description: s.description().to_string() });
        let Compiler { graph, samples, assumed, target, progress, check, mut after, .. } = self;
        let mut convert = |graph: Graph, recipe: &Recipe| {
            let conversion = Conversion { recipe, timesteps, samples, assumed: &assumed, target: &target, progress, check };
            convert(graph, &conversion, |graph, record| {
                if let Some(after) = &mut after {
                    after(graph, record);
                }
            })
        };
        // A copy keeps the ANN's weights in memory, so it is made only where it may be needed.
        let has_barriers = target.allows(Timing::WholeWindow);
        let undecided = samples.filter(|_| !is_named && has_barriers).map(|samples| (graph.clone(), samples));
        let converted = convert(graph.into_owned(), &recipe)?;
        if let Some((ann, samples)) = undecided
            && let Some(judge) = Barrier::consider(&ann, &converted.graph, timesteps, samples)?
        {
            let mut other = convert(ann.into_owned(), &barrier)?;
            if let Some(gain) = judge.gain(&other.graph)? {
                other.report.notes.push(gain.to_string());
                return Ok(Compiled::new(other, barrier, because, calibration));
            }
        }
        Ok(Compiled::new(converted, recipe, because, calibration))
    }

    /// Searches recipe and T.
    fn search(mut self, target: f64) -> Result<Compiled, CompilerError> {
        let samples = self.samples.ok_or(CompilerError::TooFewSamples)?;
        let recipes = self.recipe.take().map_or_else(recipe::contenders, |recipe| vec![recipe]);
        let recipes = recipes.into_iter().map(|recipe| self.adapted(recipe)).collect::<Result<Vec<_>, _>>()?;
        let (search, chosen) = search(&SearchRequest {
            graph: &self.graph,
            recipes: &recipes,
            samples,
            loss: target,
            target: &self.target,
            most_timesteps: self.timesteps.unwrap_or(LONGEST_SEARCHED),
            progress: self.progress,
        })?;
        let Some(chosen) = chosen else { return Err(CompilerError::NothingHolds(Box::new(search))) };
        let because = format!("with {} the least energy of all tried that hold", chosen.recipe.name);
        let description = format!("{} of {}", search.calibrated_on, samples.description());
        let calibration = Calibration { samples: search.calibrated_on, description };
        let compiled = Compiled::new(chosen.converted, chosen.recipe, Some(because), Some(calibration));
        Ok(Compiled { search: Some(search), ..compiled })
    }
}

/// T for `recipe` where the user names none, and why.
fn default_timesteps(recipe: &Recipe) -> (u32, String) {
    match recipe.timesteps {
        Some(timesteps) => (timesteps, format!("what recipe {} is meant for", recipe.name)),
        None => {
            let why = "on networks we measured the loss falls steeply up to it and slowly after it; --timesteps sets another, --target-loss searches";
            (DEFAULT_TIMESTEPS, why.into())
        }
    }
}

impl Compiled {
    fn new(converted: Converted, recipe: Recipe, because: Option<String>, calibration: Option<Calibration>) -> Self {
        let Converted { graph, passes, report: Report { notes, approximations, rounding, .. } } = converted;
        Compiled { graph, recipe, timesteps_because: because, passes, approximations, rounding, notes, calibration, search: None }
    }

    /// The network as a `.snn` file holds it: with the preprocessing of 8-bit pixels, and the record of where it comes from.
    pub fn into_program(self, preprocessing: Preprocessing, sources: Sources) -> Program {
        let provenance = Provenance {
            model: sources.model,
            model_crc32: sources.model_crc32,
            recipe: self.recipe.text,
            calibration: self.calibration.map(|c| CalibrationSource { data: sources.data, samples: c.samples as u64 }),
            compiler: env!("CARGO_PKG_VERSION").into(),
            notes: self.notes,
        };
        Program { graph: self.graph, preprocessing, provenance }
    }
}
