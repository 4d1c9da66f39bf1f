//! What a network answers to samples, and what it did meanwhile.

use super::evaluation::EvaluationError;
use super::parallel::{fold_samples, pool};
use super::task::{Task, task};
use super::window::{EarlyExit, run_window};
use crate::data::Feed;
use crate::outputs::output_names;
use snn_ir::{Graph, Preprocessing};
use snn_runtime::{Network, Statistics};

/// What to run.
pub struct AnswerRequest<'a> {
    /// The network, ready to run.
    pub network: &'a Network,
    /// Its graph.
    pub graph: &'a Graph,
    /// How pixels become its input.
    pub preprocessing: &'a Preprocessing,
    /// The samples.
    pub feed: &'a Feed,
    /// The outputs that are wanted, by their places.
    pub outputs: &'a [usize],
    /// T.
    pub timesteps: u32,
    /// When a sample's window ends early.
    pub early_exit: Option<EarlyExit>,
    /// Number of threads.
    pub threads: usize,
    /// Called after every sample.
    pub progress: &'a (dyn Fn() + Sync),
}

/// The wanted outputs for every sample, in order.
#[derive(Clone, Debug, PartialEq)]
pub struct Answers {
    /// T.
    pub timesteps: u32,
    /// The outputs.
    pub outputs: Vec<OutputAnswers>,
    /// Counts summed over samples.
    pub statistics: Statistics,
    /// Steps summed over samples.
    pub steps: u64,
    /// Number of samples.
    pub samples: usize,
}

/// One output for every sample.
#[derive(Clone, Debug, PartialEq)]
pub struct OutputAnswers {
    /// Its name.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// What it is for, by its shape.
    pub task: Task,
    /// Sample after sample.
    pub potentials: Vec<f32>,
}

/// Runs a network on every sample.
///
/// # Errors
/// The first sample that cannot be read or run.
pub fn answers(request: &AnswerRequest<'_>) -> Result<Answers, EvaluationError> {
    let shapes: Vec<&[usize]> = request.network.inputs().iter().map(|ty| &ty.shape[..]).collect();
    let pool = pool(request.threads, request.feed.len())?;
    let parts = fold_samples(
        &pool,
        request.feed.len(),
        || request.network.session(),
        |session, part: &mut Part, index| {
            let x = request.feed.inputs(index, request.preprocessing, &shapes)?;
            session
                .start(&x.iter().map(Vec::as_slice).collect::<Vec<_>>())
                .and_then(|()| run_window(request.network, session, request.timesteps, request.early_exit))
                .map_err(|source| EvaluationError::Run { index, source })?;
            (request.progress)();
            super::add(&mut part.statistics, session.statistics());
            part.steps += u64::from(session.steps());
            let mut potentials = session.potentials();
            let wanted = request.outputs.iter().map(|&o| std::mem::take(&mut potentials[o])).collect();
            part.potentials.push((index, wanted));
            Ok::<_, EvaluationError>(())
        },
    )?;
    let statistics = super::total(parts.iter().map(|p| &p.statistics));
    let steps = parts.iter().map(|p| p.steps).sum();
    let mut potentials: Vec<(usize, Vec<Vec<f32>>)> = parts.into_iter().flat_map(|p| p.potentials).collect();
    potentials.sort_unstable_by_key(|(index, _)| *index);
    let names = output_names(request.graph);
    let output = |(at, &output): (usize, &usize)| OutputAnswers {
        name: names[output].clone(),
        shape: request.network.outputs()[output].shape.clone(),
        task: task(request.graph, output),
        potentials: potentials.iter().flat_map(|(_, p)| &p[at]).copied().collect(),
    };
    let outputs = request.outputs.iter().enumerate().map(output).collect();
    Ok(Answers { timesteps: request.timesteps, outputs, statistics, steps, samples: request.feed.len() })
}

/// What a thread found.
#[derive(Default)]
struct Part {
    potentials: Vec<(usize, Vec<Vec<f32>>)>,
    statistics: Statistics,
    steps: u64,
}
