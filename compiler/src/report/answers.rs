//! What a network answers to samples, and what it did meanwhile.

use super::evaluation::EvaluationError;
use super::parallel::{fold_samples, pool};
use super::table::{Align, table};
use super::window::run_window;
use crate::data::Dataset;
use serde::Serialize;
use snn_ir::Preprocessing;
use snn_runtime::{Network, Statistics};

/// What to run.
pub struct AnswerRequest<'a> {
    /// The network, ready to run.
    pub network: &'a Network,
    /// How pixels become its input.
    pub preprocessing: &'a Preprocessing,
    /// The samples.
    pub dataset: &'a Dataset,
    /// T.
    pub timesteps: u32,
    /// Lead of the best class at which a sample's window ends early.
    pub early_exit: Option<f32>,
    /// Number of threads.
    pub threads: usize,
    /// Called after every sample.
    pub progress: &'a (dyn Fn() + Sync),
}

/// The first output for every sample, in order.
#[derive(Clone, Debug, PartialEq)]
pub struct Answers {
    /// T.
    pub timesteps: u32,
    /// Shape of the output.
    pub shape: Vec<usize>,
    /// Per sample.
    pub potentials: Vec<Vec<f32>>,
    /// Counts summed over samples.
    pub statistics: Statistics,
    /// Steps summed over samples.
    pub steps: u64,
}

/// Runs a network on every sample.
///
/// # Errors
/// The first sample that cannot be read or run.
pub fn answers(request: &AnswerRequest<'_>) -> Result<Answers, EvaluationError> {
    let [input] = request.network.inputs() else { return Err(EvaluationError::Inputs(request.network.inputs().len())) };
    let pool = pool(request.threads, request.dataset.len())?;
    let parts = fold_samples(
        &pool,
        request.dataset.len(),
        || request.network.session(),
        |session, part: &mut Part, index| {
            let x = request.dataset.input(index, request.preprocessing, &input.shape)?;
            session
                .start(&[&x])
                .and_then(|()| run_window(request.network, session, request.timesteps, request.early_exit))
                .map_err(|source| EvaluationError::Run { index, source })?;
            (request.progress)();
            super::add(&mut part.statistics, session.statistics());
            part.steps += u64::from(session.steps());
            part.potentials.push((index, session.potentials().swap_remove(0)));
            Ok::<_, EvaluationError>(())
        },
    )?;
    let statistics = super::total(parts.iter().map(|p| &p.statistics));
    let steps = parts.iter().map(|p| p.steps).sum();
    let mut potentials: Vec<(usize, Vec<f32>)> = parts.into_iter().flat_map(|p| p.potentials).collect();
    potentials.sort_unstable_by_key(|(index, _)| *index);
    let potentials = potentials.into_iter().map(|(_, p)| p).collect();
    Ok(Answers { timesteps: request.timesteps, shape: request.network.outputs()[0].shape.clone(), potentials, statistics, steps })
}

/// What a thread found.
#[derive(Default)]
struct Part {
    potentials: Vec<(usize, Vec<f32>)>,
    statistics: Statistics,
    steps: u64,
}

/// [`Answers`] as they are printed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AnswerReport {
    /// T.
    pub timesteps: u32,
    /// Per sample: the best classes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub samples: Vec<Vec<ClassPotential>>,
    /// Means per sample, per layer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layers: Option<Vec<LayerActivity>>,
}

/// One element of the output.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClassPotential {
    /// Its index.
    pub class: usize,
    /// Its value.
    pub potential: f32,
}

/// Mean activity of a neuron population.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LayerActivity {
    /// Name of its node.
    pub name: String,
    /// Number of neurons.
    pub neurons: u64,
    /// Spikes per sample.
    pub spikes_per_sample: f64,
    /// Effective synaptic operations per sample.
    pub synops_per_sample: f64,
    /// Spikes per neuron and step.
    pub rate: f64,
}

impl Answers {
    /// What to print: the `top` best classes per sample, and the layers' activity if `stats`.
    pub fn report(&self, top: usize, stats: bool) -> AnswerReport {
        let samples = if top == 0 { Vec::new() } else { self.potentials.iter().map(|p| best(p, top)).collect() };
        let mean = |count: u64| count as f64 / self.potentials.len().max(1) as f64;
        let layer = |l: &snn_runtime::LayerStatistics| LayerActivity {
            name: l.name.clone(),
            neurons: l.neurons,
            spikes_per_sample: mean(l.spikes),
            synops_per_sample: mean(l.synops),
            rate: l.spikes as f64 / (l.neurons.max(1) * self.steps.max(1)) as f64,
        };
        let layers = stats.then(|| self.statistics.layers.iter().map(layer).collect());
        AnswerReport { timesteps: self.timesteps, samples, layers }
    }
}

fn best(potentials: &[f32], top: usize) -> Vec<ClassPotential> {
    let mut order: Vec<usize> = (0..potentials.len()).collect();
    order.sort_by(|&a, &b| potentials[b].total_cmp(&potentials[a]).then(a.cmp(&b)));
    order.into_iter().take(top).map(|class| ClassPotential { class, potential: potentials[class] }).collect()
}

impl AnswerReport {
    /// The report for people.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        for (i, sample) in self.samples.iter().enumerate() {
            let classes: Vec<String> = sample.iter().map(|c| format!("class {} ({:.4})", c.class, c.potential)).collect();
            text += &format!("sample {i}: {}\n", classes.join(", "));
        }
        if let Some(layers) = &self.layers {
            let columns = [
                ("layer", Align::Left),
                ("neurons", Align::Right),
                ("spikes/sample", Align::Right),
                ("SynOps/sample", Align::Right),
                ("mean rate", Align::Right),
            ];
            let row = |l: &LayerActivity| {
                let counts = [l.spikes_per_sample, l.synops_per_sample].map(|c| format!("{c:.1}"));
                let [spikes, synops] = counts;
                vec![l.name.clone(), l.neurons.to_string(), spikes, synops, format!("{:.4}", l.rate)]
            };
            if !text.is_empty() {
                text.push('\n');
            }
            text += &table(&columns, &layers.iter().map(row).collect::<Vec<_>>());
        }
        text
    }
}
