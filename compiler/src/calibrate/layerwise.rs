//! Layer-by-layer simulation of a spiking network on calibration samples, beside the ANN it came from.
//!
//! Populations are visited in topological order, then the answers. Each one's current is computed for every sample and step from
//! the spikes of those before it, which are final by then; a caller may then change the population (its bias, threshold,
//! initial potential) before its own spikes are simulated and passed on. So every layer is tuned to the input it will
//! really get, which is what layer-wise calibration means (Li et al. 2021, section 4).
//!
//! Where all neurons count whole windows (two-phase, ternary at rest) only means over the window matter, and one step stands for
//! all of them.

use super::CalibrationError;
pub use super::past::Reader;
use super::past::{Past, State, Train, maxima};
use super::region::{Region, has_memory};
use super::rounding::WeightRange;
use super::spike_train::ExpandedNeuron;
use crate::data::Samples;
use crate::progress::Progress;
use rayon::prelude::*;
use snn_ir::neuron::{Amplitude, Neuron};
use snn_ir::op::Relu;
use snn_ir::{Graph, NodeId, Op};
use std::collections::{HashMap, HashSet};

/// Bytes that the values of one population may take over all samples; fewer samples are used where it would be more.
const POPULATION_BUDGET: usize = 1 << 30;
/// Samples that are used even if a budget says fewer.
const FEWEST_SAMPLES: usize = 8;
/// One sample of so many is held back from fits, to judge them by.
const HELD_BACK: usize = 8;

/// A population or an answer about to be simulated: what it receives can be looked at, and what is before it changed.
pub struct Site<'a> {
    /// The neurons' node, or the readout.
    pub id: NodeId,
    /// Window length.
    pub timesteps: usize,
    /// Steps that the current is looked at in: one where only its mean matters.
    pub steps: usize,
    /// Number of samples.
    pub samples: usize,
    /// The first so many of them may be fitted to; how good a fit is, the others say.
    pub fitted: usize,
    /// Upper bound of the ANN's activation.
    pub cap: f32,
    /// What weights before neurons will be rounded to; none where they stay floats.
    pub weight_range: Option<WeightRange>,
    /// The network; change it only between the populations before this one and this one.
    pub graph: &'a mut Graph,
    past: &'a Past,
}

/// The amplitude of a spike of each neuron, and every sample's spikes.
type Sent = (Vec<f32>, Vec<State>);

impl<'a> Site<'a> {
    /// What the ANN's rectifier makes of a pre-activation.
    pub fn activation(&self, pre: f32) -> f32 {
        if self.neuron().is_some() { pre.clamp(0.0, self.cap) } else { pre }
    }

    /// Reads the value of `node`, which is the population's operand or is between it and the populations before.
    ///
    /// # Errors
    /// When that part of the graph cannot be executed.
    pub fn reader(&self, node: NodeId) -> Result<Reader<'a>, CalibrationError> {
        let root = if node == self.operand() { self.past.ann.operands(self.id)[0] } else { node };
        self.past.reader(self.graph, node, root)
    }

    /// The node whose value is the population's current.
    pub fn operand(&self) -> NodeId {
        self.graph.operands(self.id)[0]
    }

    /// The population's neurons; a readout has none.
    pub fn neuron(&self) -> Option<&Neuron> {
        match self.graph.op(self.id) {
            Op::If(neuron) => Some(neuron),
            _ => None,
        }
    }

    /// What the population sends; `None` of a readout.
    fn simulate(&self) -> Result<Option<Sent>, CalibrationError> {
        let Some(neuron) = self.neuron() else { return Ok(None) };
        let reader = self.reader(self.operand())?;
        let expanded = ExpandedNeuron::new(neuron, &self.graph.ty(self.id).shape);
        let simulate = |sample| {
            let trace = reader.trace(sample);
            let train = Train::Spikes(expanded.simulate(&trace, self.timesteps));
            State { analog: trace.analog.iter().map(|&x| x.clamp(0.0, self.cap)).collect(), train }
        };
        let made = (0..self.samples).into_par_iter().map(simulate).collect();
        let amplitude = match neuron.amplitude {
            Amplitude::Threshold => expanded.threshold,
            Amplitude::One => vec![1.0; expanded.threshold.len()],
        };
        Ok(Some((amplitude, made)))
    }

    /// Whether something visited before reads `node`, so that it must stay as it is.
    pub fn is_settled(&self, node: NodeId) -> bool {
        self.past.read.contains(&node)
    }
}

/// How many samples a visit looks at.
#[derive(Clone, Copy, Debug)]
pub struct SampleBudget {
    /// Most samples.
    pub samples: usize,
    /// Most samples times steps.
    pub sample_steps: usize,
}

/// What a network that is visited is calibrated for.
#[derive(Clone, Copy)]
pub struct Goal<'a> {
    /// The ANN it came from; its rectifiers are the nodes that are populations now.
    pub ann: &'a Graph,
    /// Window length.
    pub timesteps: u32,
    /// What weights before neurons will be rounded to; none where they stay floats.
    pub weight_range: Option<WeightRange>,
    /// Told how far the visit has come.
    pub progress: Progress<'a>,
}

/// Visits every population of a spiking float graph (after `replace-relu`, before `normalize`) in topological order, and its
/// readouts. `adjust` may change what is before a population and its neurons, with which its spikes are then
/// simulated.
///
/// # Errors
/// When the graph is not of that form, or `adjust` fails.
pub fn visit<E: From<CalibrationError>>(
    graph: &mut Graph,
    calibration: &Samples,
    budget: SampleBudget,
    goal: Goal<'_>,
    mut adjust: impl FnMut(&mut Site<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let timesteps = goal.timesteps as usize;
    let order = graph.topological().map_err(CalibrationError::from)?;
    let sites = order.iter().filter(|&&id| is_site(graph.op(id))).count();
    let counts_windows = |op: &Op| !matches!(op, Op::If(n) if !n.dynamics().counts_whole_windows());
    let whole_windows = order.iter().all(|&id| counts_windows(graph.op(id)));
    let steps = if whole_windows { 1 } else { timesteps };
    let samples = choose(calibration, budget, steps, &order, graph);
    let held_back = samples.len() / HELD_BACK;

    let mut past =
        Past { ann: graph.clone(), states: HashMap::new(), amplitudes: HashMap::new(), read: HashSet::new(), timesteps, whole_windows };
    let mut readings = Readings::of(graph, &order)?;
    let inputs = graph.inputs();
    let mut done = 0;
    for &id in &order {
        match graph.op(id) {
            Op::Input(..) => {
                let index = inputs.iter().position(|&i| i == id).expect("it is an input");
                let of = |sample: &[f32]| State { analog: sample.to_vec(), train: Train::Steady };
                past.states.insert(id, samples.values(index).map(of).collect());
            }
            Op::CumulativeMaxPool(_) | Op::CumulativeMax => {
                let (amplitude, made) = maxima(graph, &past, id, samples.len())?;
                amplitude.map(|amplitude| past.amplitudes.insert(id, amplitude));
                past.states.insert(id, made);
            }
            op if is_site(op) => {
                let cap = cap(graph, goal.ann, id)?;
                let fitted = samples.len() - held_back;
                let mut site =
                    Site { id, timesteps, steps, samples: samples.len(), fitted, cap, weight_range: goal.weight_range, graph, past: &past };
                adjust(&mut site)?;
                if let Some((amplitude, made)) = site.simulate()? {
                    past.amplitudes.insert(id, amplitude);
                    past.states.insert(id, made);
                }
                done += 1;
                (goal.progress)("layers calibrated", done, sites);
            }
            _ => continue,
        }
        for operand in graph.operands(id) {
            past.read.extend(Region::before(graph, operand)?.nodes);
        }
        for source in readings.end(id) {
            past.states.remove(&source);
        }
    }
    Ok(())
}

/// Whether a node is visited.
fn is_site(op: &Op) -> bool {
    matches!(op, Op::If(_) | Op::Readout { .. })
}

/// Upper bound of the activation that the ANN has where population or readout `id` is.
fn cap(graph: &Graph, ann: &Graph, id: NodeId) -> Result<f32, CalibrationError> {
    match (graph.op(id), ann.contains(id).then(|| ann.op(id))) {
        (Op::Readout { .. }, _) => Ok(f32::INFINITY),
        (_, Some(Op::Relu(Relu { cap, .. }))) => Ok(cap.unwrap_or(f32::INFINITY)),
        _ => Err(CalibrationError::node(graph, id, "the ANN has no rectifier here to compare with")),
    }
}

/// What has memory or is visited, and whose values each reads: they are kept until the last one has read them.
struct Readings {
    /// Per reader.
    sources: HashMap<NodeId, Vec<NodeId>>,
    /// Per source, how often it is still read.
    left: HashMap<NodeId, usize>,
}

impl Readings {
    fn of(graph: &Graph, order: &[NodeId]) -> Result<Self, CalibrationError> {
        let mut readings = Readings { sources: HashMap::new(), left: HashMap::new() };
        let reads_others = |op: &Op| !matches!(op, Op::Input(..)) && (has_memory(op) || is_site(op));
        for &id in order.iter().filter(|&&id| reads_others(graph.op(id))) {
            for operand in graph.operands(id) {
                let sources = Region::before(graph, operand)?.sources;
                sources.iter().for_each(|&s| *readings.left.entry(s).or_default() += 1);
                readings.sources.entry(id).or_default().extend(sources);
            }
        }
        Ok(readings)
    }

    /// Node `id` has read; returns what nobody reads any more.
    fn end(&mut self, id: NodeId) -> Vec<NodeId> {
        let mut sources = self.sources.remove(&id).unwrap_or_default();
        sources.retain(|source| {
            let left = self.left.get_mut(source).expect("every source was counted");
            *left -= 1;
            *left == 0
        });
        sources
    }
}

/// Whether the calibration sample of this number is held back from fits of weights.
pub fn is_held_back(sample: usize) -> bool {
    sample % HELD_BACK == HELD_BACK - 1
}

/// As many samples as the budgets allow, those that are held back from fits last.
fn choose(calibration: &Samples, budget: SampleBudget, steps: usize, order: &[NodeId], graph: &Graph) -> Samples {
    let largest = order.iter().filter(|&&id| has_memory(graph.op(id))).map(|&id| graph.ty(id).len()).max().unwrap_or(0);
    let bytes = largest * (size_of::<f32>() + size_of::<u32>() * steps.div_ceil(32));
    let affordable = (POPULATION_BUDGET / bytes.max(1)).min(budget.sample_steps / steps.max(1)).max(FEWEST_SAMPLES);
    let count = calibration.len().min(budget.samples).min(affordable);
    let (held_back, fitted): (Vec<usize>, Vec<usize>) = (0..count).partition(|&i| is_held_back(i));
    calibration.select(fitted.into_iter().chain(held_back))
}
