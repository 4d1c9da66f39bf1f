//! From an analog graph and a recipe to a spiking network.

use crate::calibrate::Calibration;
use crate::calibrate::synthetic::Assumed;
use crate::passes::pipeline::{self, PassRecord, PipelineError};
use crate::passes::quantize::{Quantize, Rounding, WeightType, share_moved};
use crate::passes::{Approximation, Context};
use crate::recipe::Recipe;
use snn_ir::Graph;
use snn_runtime::analog::AnalogNetwork;
use snn_runtime::{EngineKind, Network};

/// The window length a network is converted for when neither the user nor the recipe names one: on the networks we measured the
/// loss falls steeply up to it and slowly behind it, while cost grows with T.
pub const DEFAULT_TIMESTEPS: u32 = 32;

/// T for `recipe` where the user names none, and why.
pub fn default_timesteps(recipe: &Recipe) -> (u32, String) {
    match recipe.timesteps {
        Some(timesteps) => (timesteps, format!("what recipe {} is meant for", recipe.name)),
        None => {
            let why = "on networks we measured the loss falls steeply up to it and slowly behind it; --timesteps sets another, --target-loss searches";
            (DEFAULT_TIMESTEPS, why.into())
        }
    }
}

/// Number type of the compiled network's weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weights {
    /// As the recipe says.
    Recipe,
    /// No `quantize` pass: floats, which only the reference engine runs.
    Float,
    /// Integers of this type.
    Integer(WeightType),
}

/// How to compile.
pub struct CompileOptions<'a> {
    /// The passes.
    pub recipe: Recipe,
    /// Window length T.
    pub timesteps: u32,
    /// Number type of the weights.
    pub weights: Weights,
    /// Sample inputs.
    pub calibration: Option<&'a Calibration>,
    /// What is assumed of inputs without them.
    pub assumed: Assumed,
    /// Told how far long work has come: what, done, total.
    pub progress: &'a (dyn Fn(&str, usize, usize) + Sync),
    /// Inputs that are replayed through the graph before and after every pass that promises to keep outputs, or
    /// nearly.
    pub check: Vec<Vec<Vec<f32>>>,
}

/// A compiled network.
pub struct Compiled {
    /// The spiking graph.
    pub graph: Graph,
    /// What each pass did.
    pub records: Vec<PassRecord>,
    /// What approximations lose.
    pub approximations: Vec<Approximation>,
    /// What rounding to integers did to each layer.
    pub rounding: Vec<Rounding>,
    /// Messages for the user.
    pub notes: Vec<String>,
}

/// Compiles `graph`; `after` sees it after every pass.
///
/// # Errors
/// [`PipelineError`]: the first pass that failed, broke the graph, or changed an output it promised to keep.
pub fn compile(
    mut graph: Graph,
    options: CompileOptions<'_>,
    mut after: impl FnMut(&Graph, &PassRecord),
) -> Result<Compiled, PipelineError> {
    let mut passes = options.recipe.passes;
    match options.weights {
        Weights::Recipe => {}
        Weights::Float => passes.retain(|p| p.name() != "quantize"),
        Weights::Integer(weights) => {
            for pass in passes.iter_mut().filter(|p| p.name() == "quantize") {
                *pass = Box::new(Quantize { weights, depthwise: weights });
            }
        }
    }
    let mut context = Context {
        calibration: options.calibration,
        assumed: options.assumed,
        progress: options.progress,
        ..Context::new(options.timesteps)
    };
    let mut checker = Checker { samples: options.check, timesteps: options.timesteps, before: Vec::new() };
    checker.before = checker.outputs(&graph)?;
    let keeps: Vec<(bool, Option<f64>)> = passes.iter().map(|p| (p.keeps_outputs(), p.may_move_outputs())).collect();
    let mut index = 0;
    let records = pipeline::run(&mut graph, &passes, &mut context, |graph, record| {
        checker.compare(graph, record.name, keeps[index])?;
        index += 1;
        after(graph, record);
        Ok(())
    })?;
    Ok(Compiled { graph, records, approximations: context.approximations, rounding: context.rounding, notes: context.notes })
}

/// Replays samples after every pass.
struct Checker {
    samples: Vec<Vec<Vec<f32>>>,
    timesteps: u32,
    before: Vec<Vec<Vec<f32>>>,
}

/// Largest difference, relative to the largest output, that rounding may make in an analog graph.
const ANALOG_TOLERANCE: f32 = 1e-3;
/// The same in a spiking graph, where a potential within rounding of its threshold may move a spike to another step.
const SPIKING_TOLERANCE: f32 = 0.05;

impl Checker {
    fn outputs(&self, graph: &Graph) -> Result<Vec<Vec<Vec<f32>>>, PipelineError> {
        if self.samples.is_empty() {
            return Ok(Vec::new());
        }
        let failed = |e: String| PipelineError::Changed { pass: "import", detail: format!("the graph could not be run: {e}") };
        let slices = |sample: &'_ Vec<Vec<f32>>| sample.iter().map(|v| v.to_vec()).collect::<Vec<_>>();
        if graph.is_spiking() {
            let network = Network::compile(graph, EngineKind::Reference).map_err(|e| failed(e.to_string()))?;
            let mut session = network.session();
            let mut all = Vec::new();
            for sample in &self.samples {
                let inputs = slices(sample);
                session.start(&inputs.iter().map(Vec::as_slice).collect::<Vec<_>>()).map_err(|e| failed(e.to_string()))?;
                session.advance(self.timesteps).map_err(|e| failed(e.to_string()))?;
                all.push(session.potentials());
            }
            return Ok(all);
        }
        let network = AnalogNetwork::new(graph).map_err(|e| failed(e.to_string()))?;
        let run = |sample| network.run(&slices(sample).iter().map(Vec::as_slice).collect::<Vec<_>>(), &mut |_, _| {});
        Ok(self.samples.iter().map(run).collect())
    }

    fn compare(&mut self, graph: &Graph, pass: &'static str, (keeps, may_move): (bool, Option<f64>)) -> Result<(), PipelineError> {
        let after = self.outputs(graph)?;
        if let Some(bound) = may_move {
            let flat = |all: &[Vec<Vec<f32>>]| all.iter().flatten().flatten().copied().collect::<Vec<f32>>();
            let moved = share_moved(&flat(&self.before), &flat(&after));
            if moved > bound {
                let (moved, bound) = (100.0 * moved, 100.0 * bound);
                let detail = format!("the outputs move by {moved:.0} % (root mean square), and {bound:.0} % is the most");
                return Err(PipelineError::Changed { pass, detail });
            }
        }
        let tolerance = if graph.is_spiking() { SPIKING_TOLERANCE } else { ANALOG_TOLERANCE };
        if keeps {
            for (sample, (before, after)) in self.before.iter().zip(&after).enumerate() {
                for (output, (b, a)) in before.iter().zip(after).enumerate() {
                    let largest = b.iter().fold(f32::MIN_POSITIVE, |m, v| m.max(v.abs()));
                    let difference = b.iter().zip(a).map(|(x, y)| (x - y).abs()).fold(0.0, f32::max);
                    let within = b.len() == a.len() && difference <= tolerance * largest;
                    if !within {
                        let detail = format!(
                            "output {output} of check sample {sample} differs by {difference} where the largest value is {largest}"
                        );
                        return Err(PipelineError::Changed { pass, detail });
                    }
                }
            }
        }
        self.before = after;
        Ok(())
    }
}
