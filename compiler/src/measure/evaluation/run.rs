//! Both networks on every sample, spread over threads.

use super::super::parallel::{InOrder, fold_samples, pool};
use super::super::window::run_window;
use super::score::{Score, Scores, Scoring};
use super::{EvaluationError, EvaluationRequest, Plan};
use crate::outputs::Closing;
use snn_runtime::spikes::synapses::multiplications;
use snn_runtime::{RunError, Session, Statistics};

/// One window of one sample.
struct Window {
    outputs: Vec<Vec<f32>>,
    steps: u32,
    settling: u32,
}

/// What the networks answer to one sample.
struct Answers {
    ann: Option<Vec<Vec<f32>>>,
    /// One per T.
    snn: Vec<Vec<Vec<f32>>>,
}

/// Counts over samples at one T, of a thread.
#[derive(Clone, Default)]
pub(super) struct WindowCounts {
    pub steps: u64,
    pub settling: u32,
    pub macs: u64,
    pub statistics: Statistics,
}

/// Counts over samples.
#[derive(Default)]
pub(super) struct Counts {
    pub samples: u64,
    /// One per T.
    pub snn: Vec<WindowCounts>,
}

impl Counts {
    fn add(&mut self, other: &Counts) {
        self.samples += other.samples;
        self.snn.resize(self.snn.len().max(other.snn.len()), WindowCounts::default());
        for (sum, other) in self.snn.iter_mut().zip(&other.snn) {
            sum.steps += other.steps;
            sum.settling = sum.settling.max(other.settling);
            sum.macs += other.macs;
            super::super::add(&mut sum.statistics, &other.statistics);
        }
    }
}

/// Runs both networks on every sample.
///
/// # Errors
/// The first sample that cannot be read or run.
pub(super) fn run(plan: &Plan<'_>) -> Result<(Scores, Counts), EvaluationError> {
    let (request, timesteps) = (plan.request, &plan.timesteps);
    let shapes: Vec<&[usize]> = request.network.inputs().iter().map(|ty| &ty.shape[..]).collect();
    let multiplications = multiplications(request.graph)?;
    let pool = pool(request.threads, request.feed.len())?;
    let nothing = vec![vec![Score::default(); plan.scored.len()]; timesteps.len()];
    let scores = InOrder::new(Scores { ann: Score::default(), snn: nothing });
    let parts = fold_samples(
        &pool,
        request.feed.len(),
        || request.network.session(),
        |session, counts: &mut Counts, index| {
            let x = request.feed.inputs(index, request.preprocessing, &shapes)?;
            let ann = request.ann.map(|ann| ann(&x).map_err(|source| EvaluationError::Ann { index, source })).transpose()?;
            let mut answers = Answers { ann, snn: Vec::with_capacity(timesteps.len()) };
            counts.samples += 1;
            counts.snn.resize(timesteps.len(), WindowCounts::default());
            let mut at = counts.snn.iter_mut();
            let book = |window: Window, statistics: &Statistics| {
                let Some(counts) = at.next() else { return };
                counts.steps += u64::from(window.steps);
                counts.settling = counts.settling.max(window.settling);
                counts.macs += multiplications.in_steps(u64::from(window.steps) + u64::from(window.settling));
                super::super::add(&mut counts.statistics, statistics);
                answers.snn.push(window.outputs);
            };
            run_windows(request, session, &x, timesteps, book).map_err(|source| EvaluationError::Run { index, source })?;
            scores.take(index, answers, |sum, index, answers| plan.score(sum, index, &answers));
            (request.progress)();
            Ok::<_, EvaluationError>(())
        },
    )?;
    let mut counts = Counts::default();
    parts.iter().for_each(|part| counts.add(part));
    Ok((scores.finish(), counts))
}

impl Plan<'_> {
    /// Adds what the networks answer to sample `index`.
    fn score(&self, sum: &mut Scores, index: usize, answers: &Answers) {
        let request = self.request;
        let ann = |output: usize| answers.ann.as_ref().map(|a| &a[output][..]);
        if let Some(answer) = ann(request.output) {
            let scoring = &self.scorings[self.main];
            // Its own numbers are before the closing function only where the SNN's are compared so.
            let closing = if request.ann_before_closing { scoring.closing } else { Closing::None };
            let own = Scoring { closing, comparable: false, ..*scoring };
            own.add(&mut sum.ann, index, answer, None, scoring.ann_threshold);
        }
        for (scores, outputs) in sum.snn.iter_mut().zip(&answers.snn) {
            for ((score, scoring), &output) in scores.iter_mut().zip(&self.scorings).zip(&self.scored) {
                scoring.add(score, index, &outputs[output], ann(output), scoring.closing.threshold());
            }
        }
    }
}

/// Runs a sample's windows, in order; `book` is given each with the counts of its neurons.
fn run_windows(
    request: &EvaluationRequest<'_>,
    session: &mut Session<'_>,
    x: &[Vec<f32>],
    timesteps: &[u32],
    mut book: impl FnMut(Window, &Statistics),
) -> Result<(), RunError> {
    let network = request.network;
    let whole = network.has_window_barrier() || network.settles() || request.early_exit.is_some();
    for (at, &t) in timesteps.iter().enumerate() {
        if at == 0 || whole {
            session.start(&x.iter().map(Vec::as_slice).collect::<Vec<_>>())?;
        }
        let settling = run_window(network, session, t, request.early_exit)?;
        book(Window { outputs: session.potentials(), steps: session.steps(), settling }, session.statistics());
    }
    Ok(())
}
