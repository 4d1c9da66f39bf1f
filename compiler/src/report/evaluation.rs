//! How well a network answers, its spikes and synaptic operations against T, next to the ANN on the same samples.

use super::fidelity::{Comparison, Fidelity};
use super::parallel::{InOrder, fold_samples, pool};
use super::table::{Align, table};
use super::task::{LabelError, Targets, Task, targets, task, wilson};
use super::window::{EarlyExit, run_window};
use crate::data::{DataError, Feed};
use crate::outputs::{Closing, output_names};
use serde::Serialize;
use snn_ir::neuron::Timing;
use snn_ir::{Graph, Preprocessing};
use snn_runtime::synapses::multiplications;
use snn_runtime::{CompileError, LayerStatistics, Network, RunError, Session, Statistics};
use std::collections::HashMap;
use std::path::PathBuf;
use thiserror::Error;

/// Why an evaluation stopped.
#[derive(Debug, Error)]
pub enum EvaluationError {
    /// A sample cannot be had.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The engine refused a sample.
    #[error("sample {index} cannot be run")]
    Run {
        /// Its place among the samples.
        index: usize,
        /// What the engine said.
        source: RunError,
    },
    /// The ANN refused a sample.
    #[error("the ANN cannot be run on sample {index}: {reason}")]
    Ann {
        /// Its place among the samples.
        index: usize,
        /// What it said.
        reason: String,
    },
    /// The engine refused the network.
    #[error(transparent)]
    Network(#[from] CompileError),
    /// Labels do not suit the output.
    #[error("{}: {source}", path.display())]
    Labels {
        /// File or folder.
        path: PathBuf,
        /// Why not.
        source: LabelError,
    },
    /// No threads could be started.
    #[error("cannot start threads")]
    Threads(#[from] rayon::ThreadPoolBuildError),
}

/// An ANN: its outputs for a sample's inputs, or why it cannot be run.
pub type Ann<'a> = dyn Fn(&[Vec<f32>]) -> Result<Vec<Vec<f32>>, String> + Sync + 'a;

/// What to evaluate.
pub struct EvaluationRequest<'a> {
    /// The network, ready to run.
    pub network: &'a Network,
    /// Its graph.
    pub graph: &'a Graph,
    /// How pixels become its input.
    pub preprocessing: &'a Preprocessing,
    /// The samples.
    pub feed: &'a Feed,
    /// The output that labels are for.
    pub output: usize,
    /// Whether the other outputs are compared with the ANN's, too.
    pub all_outputs: bool,
    /// What the ANN closes each output with.
    pub closings: &'a [Closing],
    /// Added to every label: 1 for networks with a background class.
    pub label_offset: i64,
    /// Window lengths.
    pub timesteps: &'a [u32],
    /// When a sample's window ends early.
    pub early_exit: Option<EarlyExit>,
    /// Number of threads.
    pub threads: usize,
    /// The ANN it came from.
    pub ann: Option<&'a Ann<'a>>,
    /// Whether the ANN's answers are before what the spiking network leaves out at the end, a softmax or a sigmoid.
    pub ann_before_closing: bool,
    /// Called after every sample.
    pub progress: &'a (dyn Fn() + Sync),
}

/// What an evaluation found. Shares are in percent.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Evaluation {
    /// Number of samples.
    pub samples: usize,
    /// The output that is evaluated.
    pub output: String,
    /// All outputs.
    pub outputs: Vec<String>,
    /// What the output is scored as.
    pub task: Task,
    /// Yes is what is above this, for [`Task::Binary`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threshold: Option<f32>,
    /// The ANN, if it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ann: Option<AnnResult>,
    /// The SNN, one entry per T, ascending.
    pub snn: Vec<SnnResult>,
}

/// What the ANN scores.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AnnResult {
    /// Share of right answers; absent without labels, and for numbers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<f64>,
    /// Ends of its 95 % confidence interval (Wilson).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accuracy_interval: Option<[f64; 2]>,
    /// Its numbers next to labels that are numbers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub against_labels: Option<Fidelity>,
}

/// What the SNN scores at one T.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SnnResult {
    /// T.
    pub timesteps: u32,
    /// Steps from a sample's first to its answer: T, or more with window barriers or where a network settles (the longest of all
    /// samples).
    pub latency_steps: u32,
    /// Mean number of steps that samples ran, when they may end early.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mean_timesteps: Option<f64>,
    /// Share of right answers (top-1 class, or yes and no); absent without labels, and for numbers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<f64>,
    /// Ends of its 95 % confidence interval (Wilson).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accuracy_interval: Option<[f64; 2]>,
    /// Share of answers that are the ANN's; absent for numbers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agreement: Option<f64>,
    /// The numbers next to the ANN's; absent where the ANN closes with a function that the SNN leaves out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub against_ann: Option<Fidelity>,
    /// The numbers next to labels that are numbers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub against_labels: Option<Fidelity>,
    /// Every output next to the ANN's, where there are several and none was chosen.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub outputs: Vec<OutputResult>,
    /// Mean number of spikes.
    pub spikes_per_sample: f64,
    /// Mean number of effective synaptic operations.
    pub synops_per_sample: f64,
    /// Mean number of multiplications with weights: of the input, and of currents without neurons between two layers.
    pub macs_per_sample: f64,
    /// Per neuron population, in topological order.
    pub layers: Vec<LayerRate>,
}

/// One of several outputs next to the ANN's.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OutputResult {
    /// Its name.
    pub name: String,
    /// What it is for, by its shape.
    pub task: Task,
    /// Share of samples with the ANN's top-1 class; absent for numbers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agreement: Option<f64>,
    /// The numbers next to the ANN's; absent where the ANN closes with a function that the SNN leaves out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub against_ann: Option<Fidelity>,
}

/// Activity of one neuron population.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LayerRate {
    /// Name of its node.
    pub name: String,
    /// Number of neurons.
    pub neurons: u64,
    /// Mean number of spikes per neuron and step.
    pub rate: f64,
}

/// Index of the largest element, the lowest among equals; not-a-number never wins.
pub fn top1(values: &[f32]) -> usize {
    let mut best = 0;
    for (i, &v) in values.iter().enumerate() {
        if v > values[best] || values[best].is_nan() && !v.is_nan() {
            best = i;
        }
    }
    best
}

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
struct WindowCounts {
    steps: u64,
    settling: u32,
    macs: u64,
    statistics: Statistics,
}

#[derive(Default)]
struct Counts {
    samples: u64,
    /// One per T.
    snn: Vec<WindowCounts>,
}

impl Counts {
    fn add(&mut self, other: &Counts) {
        self.samples += other.samples;
        self.snn.resize(self.snn.len().max(other.snn.len()), WindowCounts::default());
        for (sum, other) in self.snn.iter_mut().zip(&other.snn) {
            sum.steps += other.steps;
            sum.settling = sum.settling.max(other.settling);
            sum.macs += other.macs;
            super::add(&mut sum.statistics, &other.statistics);
        }
    }
}

/// Answers of one network to one output, over samples.
#[derive(Clone, Default)]
struct Score {
    right: usize,
    agreed: usize,
    answers: usize,
    against_ann: Comparison,
    against_labels: Comparison,
}

/// Scores over samples.
struct Scores {
    ann: Score,
    /// One per T and output.
    snn: Vec<Vec<Score>>,
}

/// How one output is scored.
struct Scoring<'a> {
    task: Task,
    targets: Option<&'a Targets>,
    closing: Closing,
    /// Whether the ANN's answers are in the unit of the SNN's.
    comparable: bool,
    /// The ANN's answer above which it says yes.
    ann_threshold: f32,
}

impl Scoring<'_> {
    /// Adds the answers of one network to sample `index`; `ann` are the ANN's.
    fn add(&self, score: &mut Score, index: usize, answer: &[f32], ann: Option<&[f32]>, threshold: f32) {
        let agree = |a: &[f32], b: &[f32]| match self.task {
            Task::Classes => (usize::from(top1(a) == top1(b)), 1),
            Task::Binary => {
                let agree = a.iter().zip(b).filter(|&(&a, &b)| (a > threshold) == (b > self.ann_threshold));
                (agree.count(), a.len())
            }
            Task::Values => (0, 0),
        };
        if let Some(ann) = ann {
            score.agreed += agree(answer, ann).0;
            if self.comparable {
                score.against_ann.add(answer, ann);
            }
        }
        score.answers += agree(answer, answer).1;
        let row = |len: usize| index * len..(index + 1) * len;
        match self.targets {
            Some(Targets::Classes(classes)) => score.right += usize::from(top1(answer) == classes[index]),
            Some(Targets::Binary(yes)) => {
                let right = answer.iter().zip(&yes[row(answer.len())]).filter(|&(&a, &yes)| (a > threshold) == yes);
                score.right += right.count();
            }
            Some(Targets::Values(values)) => {
                let answer: Vec<f32> = answer.iter().map(|&a| self.closing.apply(a)).collect();
                score.against_labels.add(&answer, &values[row(answer.len())]);
            }
            None => {}
        }
    }
}

impl Score {
    fn share(&self, count: usize) -> f64 {
        100.0 * count as f64 / self.answers.max(1) as f64
    }
}

/// Evaluates a network at every T on every sample; all T of a sample in one pass over its longest window, except with
/// window barriers, where each T is a window of its own.
///
/// # Errors
/// The first sample that cannot be read or run, or labels that do not suit the output.
pub fn evaluate(request: &EvaluationRequest<'_>) -> Result<Evaluation, EvaluationError> {
    let shapes: Vec<&[usize]> = request.network.inputs().iter().map(|ty| &ty.shape[..]).collect();
    let (names, outputs) = (output_names(request.graph), request.network.outputs());
    let targets = request
        .feed
        .labels()
        .map(|labels| targets(&labels, request.label_offset, &outputs[request.output].shape, task(request.graph, request.output)));
    let targets = targets.transpose().map_err(|source| EvaluationError::Labels { path: request.feed.path().into(), source })?;
    let scored: Vec<usize> = if request.all_outputs { (0..outputs.len()).collect() } else { vec![request.output] };
    let scoring = |&output: &usize| {
        let targets = targets.as_ref().filter(|_| output == request.output);
        let closing = request.closings[output];
        Scoring {
            task: targets.map_or_else(|| task(request.graph, output), Targets::task),
            targets,
            closing,
            comparable: request.ann_before_closing || !closing.is_dropped(),
            ann_threshold: if closing == Closing::Logit && !request.ann_before_closing { 0.5 } else { closing.threshold() },
        }
    };
    let scorings: Vec<Scoring<'_>> = scored.iter().map(scoring).collect();
    let main = scored.iter().position(|&o| o == request.output).unwrap_or_default();
    let mut timesteps = request.timesteps.to_vec();
    timesteps.sort_unstable();
    timesteps.dedup();
    let multiplications = multiplications(request.graph)?;
    let pool = pool(request.threads, request.feed.len())?;
    let nothing = Scores { ann: Score::default(), snn: vec![vec![Score::default(); scored.len()]; timesteps.len()] };
    let scores = InOrder::new(nothing);
    let add = |sum: &mut Scores, index: usize, answers: Answers| {
        let ann = |output: usize| answers.ann.as_ref().map(|a| &a[output][..]);
        if let Some(answer) = ann(request.output) {
            let scoring = &scorings[main];
            // Its own numbers are before the closing function only where the SNN's are compared so.
            let closing = if request.ann_before_closing { scoring.closing } else { Closing::None };
            let own = Scoring { closing, comparable: false, ..*scoring };
            own.add(&mut sum.ann, index, answer, None, scoring.ann_threshold);
        }
        for (scores, outputs) in sum.snn.iter_mut().zip(&answers.snn) {
            for ((score, scoring), &output) in scores.iter_mut().zip(&scorings).zip(&scored) {
                scoring.add(score, index, &outputs[output], ann(output), scoring.closing.threshold());
            }
        }
    };
    let parts = fold_samples(
        &pool,
        request.feed.len(),
        || request.network.session(),
        |session, counts: &mut Counts, index| {
            let x = request.feed.inputs(index, request.preprocessing, &shapes)?;
            let ann = request.ann.map(|ann| ann(&x).map_err(|reason| EvaluationError::Ann { index, reason })).transpose()?;
            let mut answers = Answers { ann, snn: Vec::with_capacity(timesteps.len()) };
            counts.samples += 1;
            counts.snn.resize(timesteps.len(), WindowCounts::default());
            let mut at = counts.snn.iter_mut();
            let book = |window: Window, statistics: &Statistics| {
                let Some(counts) = at.next() else { return };
                counts.steps += u64::from(window.steps);
                counts.settling = counts.settling.max(window.settling);
                counts.macs += multiplications.in_steps(u64::from(window.steps) + u64::from(window.settling));
                super::add(&mut counts.statistics, statistics);
                answers.snn.push(window.outputs);
            };
            run_windows(request, session, &x, &timesteps, book).map_err(|source| EvaluationError::Run { index, source })?;
            scores.take(index, answers, add);
            (request.progress)();
            Ok::<_, EvaluationError>(())
        },
    )?;
    let scores = scores.finish();
    let mut counts = Counts::default();
    parts.iter().for_each(|part| counts.add(part));

    let mean = |count: u64| count as f64 / counts.samples as f64;
    let answers_counted = targets.as_ref().is_some_and(|t| t.task() != Task::Values);
    let numbers_labelled = targets.as_ref().is_some_and(|t| t.task() == Task::Values);
    let accuracy = |score: &Score| answers_counted.then(|| score.share(score.right));
    let interval = |score: &Score| answers_counted.then(|| wilson(score.right, score.answers));
    let against_labels = |score: &Score| numbers_labelled.then(|| score.against_labels.fidelity());
    let ann = request.ann.map(|_| AnnResult {
        accuracy: accuracy(&scores.ann),
        accuracy_interval: interval(&scores.ann),
        against_labels: against_labels(&scores.ann),
    });
    let agreement =
        |score: &Score, scoring: &Scoring<'_>| (request.ann.is_some() && scoring.task != Task::Values).then(|| score.share(score.agreed));
    let against_ann =
        |score: &Score, scoring: &Scoring<'_>| (request.ann.is_some() && scoring.comparable).then(|| score.against_ann.fidelity());
    let depth = barriers(request.graph);
    let result = |((&timesteps, window), scores): ((&u32, &WindowCounts), &Vec<Score>)| {
        let layer = |l: &LayerStatistics| LayerRate {
            name: l.name.clone(),
            neurons: l.neurons,
            rate: l.spikes as f64 / (l.neurons.max(1) * window.steps.max(1)) as f64,
        };
        let output = |((score, scoring), &output): ((&Score, &Scoring<'_>), &usize)| OutputResult {
            name: names[output].clone(),
            task: scoring.task,
            agreement: agreement(score, scoring),
            against_ann: against_ann(score, scoring),
        };
        let several = request.ann.is_some() && scored.len() > 1;
        let (score, scoring) = (&scores[main], &scorings[main]);
        SnnResult {
            timesteps,
            mean_timesteps: request.early_exit.map(|_| mean(window.steps)),
            latency_steps: timesteps.saturating_mul(1 + depth).saturating_add(window.settling),
            accuracy: accuracy(score),
            accuracy_interval: interval(score),
            agreement: agreement(score, scoring),
            against_ann: against_ann(score, scoring),
            against_labels: against_labels(score),
            outputs: if several { scores.iter().zip(&scorings).zip(&scored).map(output).collect() } else { Vec::new() },
            spikes_per_sample: mean(window.statistics.spikes()),
            synops_per_sample: mean(window.statistics.synops()),
            macs_per_sample: mean(window.macs),
            layers: window.statistics.layers.iter().map(layer).collect(),
        }
    };
    let snn = timesteps.iter().zip(&counts.snn).zip(&scores.snn).map(result).collect();
    let scoring = &scorings[main];
    Ok(Evaluation {
        samples: request.feed.len(),
        output: names[request.output].clone(),
        outputs: names,
        task: scoring.task,
        threshold: (scoring.task == Task::Binary).then(|| scoring.closing.threshold()),
        ann,
        snn,
    })
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

/// Most window barriers on a way through the network: each delays the answer by a whole window.
pub(crate) fn barriers(graph: &Graph) -> u32 {
    let mut depth: HashMap<_, u32> = HashMap::new();
    for id in graph.topological().unwrap_or_default() {
        let waits = graph.op(id).neuron().is_some_and(|n| n.firing.timing() == Timing::WholeWindow);
        let before = graph.operands(id).iter().filter_map(|o| depth.get(o)).max().copied().unwrap_or(0);
        depth.insert(id, before + u32::from(waits));
    }
    graph.outputs().iter().filter_map(|o| depth.get(o)).max().copied().unwrap_or(0)
}

impl Evaluation {
    /// What was evaluated on how many samples, and what the ANN scores.
    fn heading(&self) -> String {
        let mut text = format!("{} samples", self.samples);
        if self.outputs.len() > 1 {
            let names: Vec<String> = self.outputs.iter().map(|n| format!("`{n}`")).collect();
            text += &format!(", output `{}` of {} (--output-name chooses)", self.output, names.join(", "));
        }
        if let Some(threshold) = self.threshold {
            text += &format!(", yes where it is above {threshold}");
        }
        match self.ann {
            Some(AnnResult { accuracy: Some(accuracy), .. }) => text += &format!(", ANN accuracy {accuracy:.2} %"),
            Some(AnnResult { against_labels: Some(fidelity), .. }) => {
                let [correlation, r2, rms, _] = fidelity.cells();
                text += &format!(", ANN and labels: correlation {correlation}, R² {r2}, RMS error {rms}");
            }
            _ => {}
        }
        text + "\n\n"
    }

    /// Headings and cells of what tells how well the SNN answers.
    fn scores(&self) -> (Vec<String>, impl Fn(&SnnResult) -> Vec<String>) {
        let answers = self.task != Task::Values;
        let [ann, labels] = [|s: &SnnResult| s.against_ann, |s: &SnnResult| s.against_labels];
        let has = |of: fn(&SnnResult) -> Option<Fidelity>| !answers && self.snn.iter().any(|s| of(s).is_some());
        let (with_ann, with_labels) = (has(ann), has(labels));
        let mut headings = Vec::new();
        if answers {
            headings.extend(["accuracy %", "95 % confidence", "same as ANN %"].map(str::to_string));
        }
        if with_ann {
            headings.extend(Fidelity::headings("ANN"));
        }
        if with_labels {
            headings.extend(Fidelity::headings("labels"));
        }
        let cells = move |s: &SnnResult| {
            let percent = |share: Option<f64>| share.map_or("-".to_string(), |s| format!("{s:.2}"));
            let interval = s.accuracy_interval.map_or("-".to_string(), |[low, high]| format!("{low:.2} to {high:.2}"));
            let fidelity = |f: Option<Fidelity>| f.map_or_else(|| ["-"; 4].map(str::to_string), |f| f.cells());
            let mut cells = Vec::new();
            if answers {
                cells.extend([percent(s.accuracy), interval, percent(s.agreement)]);
            }
            if with_ann {
                cells.extend(fidelity(ann(s)));
            }
            if with_labels {
                cells.extend(fidelity(labels(s)));
            }
            cells
        };
        (headings, cells)
    }

    /// The table of all outputs; empty where there is only one.
    fn all_outputs(&self) -> String {
        let rows: Vec<Vec<String>> = self
            .snn
            .iter()
            .flat_map(|s| s.outputs.iter().map(move |o| (s.timesteps, o)))
            .map(|(timesteps, o)| {
                let agreement = o.agreement.map_or("-".to_string(), |a| format!("{a:.2}"));
                let fidelity = o.against_ann.map_or_else(|| ["-"; 4].map(str::to_string), |f| f.cells());
                [vec![o.name.clone(), timesteps.to_string(), agreement], fidelity.to_vec()].concat()
            })
            .collect();
        if rows.is_empty() {
            return String::new();
        }
        let headings = Fidelity::headings("ANN");
        let mut columns = vec![("output", Align::Left), ("T", Align::Right), ("same as ANN %", Align::Right)];
        columns.extend(headings.iter().map(|h| (h.as_str(), Align::Right)));
        format!("\n{}", table(&columns, &rows))
    }

    /// The report for people; `rates` adds the activity of every layer.
    pub fn to_text(&self, rates: bool) -> String {
        let mut text = self.heading();
        let (scores, cells) = self.scores();
        let mut columns = vec![("T", Align::Right)];
        columns.extend(scores.iter().map(|h| (h.as_str(), Align::Right)));
        columns.extend(["spikes/sample", "SynOps/sample", "MACs/sample", "latency (steps)"].map(|h| (h, Align::Right)));
        let early = self.snn.iter().any(|s| s.mean_timesteps.is_some());
        columns.extend(early.then_some(("mean T", Align::Right)));
        let rows: Vec<Vec<String>> = self
            .snn
            .iter()
            .map(|s| {
                let mut row = vec![s.timesteps.to_string()];
                row.extend(cells(s));
                row.extend([s.spikes_per_sample, s.synops_per_sample, s.macs_per_sample].map(|n| format!("{n:.0}")));
                row.push(s.latency_steps.to_string());
                row.extend(s.mean_timesteps.map(|t| format!("{t:.2}")));
                row
            })
            .collect();
        text += &table(&columns, &rows);
        text += &self.all_outputs();
        if rates && let Some(first) = self.snn.first() {
            let headings: Vec<String> = self.snn.iter().map(|s| format!("T={}", s.timesteps)).collect();
            let mut columns = vec![("mean rate of layer", Align::Left), ("neurons", Align::Right)];
            columns.extend(headings.iter().map(|h| (h.as_str(), Align::Right)));
            let rows: Vec<Vec<String>> = first
                .layers
                .iter()
                .enumerate()
                .map(|(i, layer)| {
                    let mut row = vec![layer.name.clone(), layer.neurons.to_string()];
                    row.extend(self.snn.iter().map(|s| format!("{:.4}", s.layers[i].rate)));
                    row
                })
                .collect();
            text += "\n";
            text += &table(&columns, &rows);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_of_equal_classes_wins() {
        assert_eq!(top1(&[0.0, 2.0, 2.0]), 1);
        assert_eq!(top1(&[f32::NAN, -1.0, f32::NAN]), 1);
        assert_eq!(top1(&[]), 0);
    }
}
