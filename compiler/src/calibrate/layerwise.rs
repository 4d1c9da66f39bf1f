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
use super::region::{Region, has_memory};
use super::rounding::WeightRange;
use super::spike_train::{ExpandedNeuron, SampleTrace, SpikeTrain};
use crate::data::Samples;
use crate::progress::Progress;
use rayon::prelude::*;
use snn_ir::neuron::{Amplitude, Neuron};
use snn_ir::op::Relu;
use snn_ir::{Graph, NodeId, Op, Signal};
use snn_runtime::analog::AnalogNetwork;
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

/// What is known of the part of the network that was visited.
struct Past {
    ann: Graph,
    states: HashMap<NodeId, Vec<State>>,
    /// The amplitude of a quantum of each population.
    amplitudes: HashMap<NodeId, Vec<f32>>,
    /// Nodes without memory that something visited reads.
    read: HashSet<NodeId>,
    timesteps: usize,
    /// Whether only means over the window matter.
    whole_windows: bool,
}

/// Computes a value before a population, for one sample after the other.
pub struct Reader<'a> {
    region: Region,
    /// The same part as it was before anything was changed, if it was there: what the ANN computes.
    ann: Option<Region>,
    past: &'a Past,
}

impl<'a> Site<'a> {
    /// What the ANN's rectifier makes of a pre-activation.
    pub fn activation(&self, pre: f32) -> f32 {
        if self.neuron().is_some() { pre.clamp(0.0, self.cap) } else { pre }
    }

    /// Reads the value of `node`, which is the population's operand or stands between it and the populations before.
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

    /// Whether something visited before reads `node`, so that it must stay as it is.
    pub fn is_settled(&self, node: NodeId) -> bool {
        self.past.read.contains(&node)
    }
}

impl Past {
    fn reader(&self, graph: &Graph, node: NodeId, root: NodeId) -> Result<Reader<'_>, CalibrationError> {
        let ann = self.ann.contains(root).then(|| Region::before(&self.ann, root)).transpose()?;
        Ok(Reader { region: Region::before(graph, node)?, ann, past: self })
    }
}

impl Reader<'_> {
    /// The value for the ANN and in every step.
    pub fn trace(&self, sample: usize) -> SampleTrace {
        let current = if self.past.whole_windows || self.is_steady() { self.mean(sample) } else { self.steps(sample) };
        SampleTrace { analog: self.analog(sample), current }
    }

    /// The value averaged over the window; a linear operation of the averages of what it reads.
    pub fn mean(&self, sample: usize) -> Vec<f32> {
        let means: Vec<Vec<f32>> = self.sources(sample).map(|(state, amplitude)| state.mean(amplitude, self.past.timesteps)).collect();
        self.region.run(&means.iter().map(Vec::as_slice).collect::<Vec<_>>())
    }

    /// The value that the ANN computes.
    ///
    /// # Panics
    /// When the node is not part of the ANN.
    pub fn analog(&self, sample: usize) -> Vec<f32> {
        let ann = self.ann.as_ref().expect("the ANN has this node");
        let inputs: Vec<&[f32]> = ann.sources.iter().map(|s| self.past.states[s][sample].analog.as_slice()).collect();
        ann.run(&inputs)
    }

    /// Whether the value is the same in all steps, because it depends on the input alone.
    pub fn is_steady(&self) -> bool {
        self.region.sources.iter().all(|s| self.past.states[s].iter().all(|s| matches!(s.train, Train::Steady)))
    }

    /// The amplitude of a spike of each element; none where the value is not made of spikes alone.
    pub fn amplitude(&self) -> Option<Vec<f32>> {
        let amplitudes = self.region.sources.iter().map(|s| self.past.amplitudes.get(s).map(Vec::as_slice)).collect::<Option<Vec<_>>>()?;
        Some(self.region.run(&amplitudes))
    }

    fn sources(&self, sample: usize) -> impl Iterator<Item = (&State, Option<&Vec<f32>>)> {
        self.region.sources.iter().map(move |s| (&self.past.states[s][sample], self.past.amplitudes.get(s)))
    }

    fn steps(&self, sample: usize) -> Vec<f32> {
        let mut current = Vec::new();
        let mut buffers: Vec<Vec<f32>> = self.sources(sample).map(|(state, _)| state.analog.clone()).collect();
        for t in 0..self.past.timesteps {
            for (buffer, (state, amplitude)) in buffers.iter_mut().zip(self.sources(sample)) {
                let n = buffer.len();
                match &state.train {
                    Train::Steady => {}
                    // A maximum of what depends on the input alone has a single step.
                    Train::Values(values) if values.len() == n => buffer.copy_from_slice(values),
                    Train::Values(values) => buffer.copy_from_slice(&values[t * n..(t + 1) * n]),
                    Train::Spikes(train) => train.write_step(t, amplitude.expect("spikes have an amplitude"), buffer),
                }
            }
            current.extend(self.region.run(&buffers.iter().map(Vec::as_slice).collect::<Vec<_>>()));
        }
        current
    }
}

/// What a node passes on to those after it, for one sample.
enum Train {
    /// The analog value in every step.
    Steady,
    /// Spikes, with amplitudes as [`Past::amplitudes`] says.
    Spikes(SpikeTrain),
    /// Real values, step-major; a single step where only the mean matters.
    Values(Vec<f32>),
}

struct State {
    analog: Vec<f32>,
    train: Train,
}

impl State {
    fn mean(&self, amplitude: Option<&Vec<f32>>, timesteps: usize) -> Vec<f32> {
        let n = self.analog.len();
        match &self.train {
            Train::Steady => self.analog.clone(),
            Train::Values(values) => {
                let mut sum = vec![0f32; n];
                values.chunks_exact(n).for_each(|step| sum.iter_mut().zip(step).for_each(|(s, v)| *s += v));
                let steps = (values.len() / n) as f32;
                sum.iter_mut().for_each(|s| *s /= steps);
                sum
            }
            Train::Spikes(train) => {
                let amplitude = amplitude.expect("spikes have an amplitude");
                train.counts(n).iter().zip(amplitude).map(|(&s, w)| s as f32 / timesteps as f32 * w).collect()
            }
        }
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
    let is_site = |op: &Op| matches!(op, Op::If(_) | Op::Readout { .. });
    let sites = order.iter().filter(|&&id| is_site(graph.op(id))).count();
    let counts_windows = |op: &Op| !matches!(op, Op::If(n) if !n.dynamics().counts_whole_windows());
    let whole_windows = order.iter().all(|&id| counts_windows(graph.op(id)));
    let steps = if whole_windows { 1 } else { timesteps };
    let samples = choose(calibration, budget, steps, &order, graph);
    let held_back = samples.len() / HELD_BACK;

    let mut past =
        Past { ann: graph.clone(), states: HashMap::new(), amplitudes: HashMap::new(), read: HashSet::new(), timesteps, whole_windows };
    let mut uses: HashMap<NodeId, usize> = HashMap::new();
    let mut reads: HashMap<NodeId, Vec<NodeId>> = HashMap::new();
    let reads_others = |op: &Op| !matches!(op, Op::Input(..)) && (has_memory(op) || is_site(op));
    for &id in order.iter().filter(|&&id| reads_others(graph.op(id))) {
        for operand in graph.operands(id) {
            let sources = Region::before(graph, operand)?.sources;
            sources.iter().for_each(|&s| *uses.entry(s).or_default() += 1);
            reads.entry(id).or_default().extend(sources);
        }
    }
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
                let cap = match (op, goal.ann.contains(id).then(|| goal.ann.op(id))) {
                    (Op::Readout { .. }, _) => f32::INFINITY,
                    (_, Some(Op::Relu(Relu { cap, .. }))) => cap.unwrap_or(f32::INFINITY),
                    _ => {
                        let reason = "the ANN has no rectifier of this name to compare with";
                        return Err(CalibrationError::node(graph, id, reason).into());
                    }
                };
                let fitted = samples.len() - held_back;
                let mut site =
                    Site { id, timesteps, steps, samples: samples.len(), fitted, cap, weight_range: goal.weight_range, graph, past: &past };
                adjust(&mut site)?;
                let reader = site.reader(site.operand())?;
                if let Some(neuron) = site.neuron() {
                    let expanded = ExpandedNeuron::new(neuron, &site.graph.ty(id).shape);
                    let simulate = |s| {
                        let trace = reader.trace(s);
                        let train = Train::Spikes(expanded.simulate(&trace, timesteps));
                        State { analog: trace.analog.iter().map(|&x| x.clamp(0.0, cap)).collect(), train }
                    };
                    let made: Vec<State> = (0..samples.len()).into_par_iter().map(simulate).collect();
                    let amplitude = match neuron.amplitude {
                        Amplitude::Threshold => expanded.threshold,
                        Amplitude::One => vec![1.0; expanded.threshold.len()],
                    };
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
        for source in reads.remove(&id).unwrap_or_default() {
            let left = uses.get_mut(&source).expect("every source was counted");
            *left -= 1;
            if *left == 0 {
                past.states.remove(&source);
            }
        }
    }
    Ok(())
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

/// The states of a cumulative maximum, and the amplitudes of its spikes where it passes on spikes.
fn maxima(graph: &Graph, past: &Past, id: NodeId, samples: usize) -> Result<(Option<Vec<f32>>, Vec<State>), CalibrationError> {
    let operands = graph.operands(id);
    let mut part = Graph::new("maximum");
    let mut ids = Vec::new();
    let mut readers = Vec::new();
    for (i, &operand) in operands.iter().enumerate() {
        ids.push(part.add(format!("operand{i}"), Op::Input(Signal::Analog, graph.ty(operand).shape.clone()), &[])?);
        readers.push(past.reader(graph, operand, past.ann.operands(id)[i])?);
    }
    let root = part.add("maximum", graph.op(id).clone(), &ids)?;
    part.set_outputs([root]);
    let network = AnalogNetwork::new(&part)?;
    let maximum = |values: &[Vec<f32>]| network.run(&values.iter().map(Vec::as_slice).collect::<Vec<_>>(), &mut |_, _| {}).swap_remove(0);
    let amplitude = operands.iter().map(|o| past.amplitudes.get(o).cloned()).collect::<Option<Vec<_>>>().and_then(|amplitudes| {
        let negated: Vec<Vec<f32>> = amplitudes.iter().map(|w| w.iter().map(|w| -w).collect()).collect();
        let (most, least) = (maximum(&amplitudes), maximum(&negated));
        most.iter().zip(&least).all(|(a, b)| *a == -b).then_some(most)
    });
    let binary = |reader: &Reader<'_>, s: usize| reader.sources(s).all(|(x, _)| matches!(x.train, Train::Spikes(SpikeTrain::Masks(_))));
    let amplitude = amplitude.filter(|_| !past.whole_windows && (0..samples).all(|s| readers.iter().all(|r| binary(r, s))));
    let made = (0..samples).into_par_iter().map(|sample| {
        let traces: Vec<SampleTrace> = readers.iter().map(|r| r.trace(sample)).collect();
        let analog = maximum(&traces.iter().map(|t| t.analog.clone()).collect::<Vec<_>>());
        let n = analog.len();
        let steps = traces.iter().map(|t| t.current.len() / t.analog.len()).max().unwrap_or(1);
        let mut sums: Vec<Vec<f32>> = traces.iter().map(|t| vec![0.0; t.analog.len()]).collect();
        let mut before = vec![0.0; n];
        let mut values = Vec::new();
        let mut words = vec![0u32; if amplitude.is_some() { n * steps.div_ceil(32) } else { 0 }];
        for t in 0..steps {
            sums.iter_mut().zip(&traces).for_each(|(sum, trace)| sum.iter_mut().zip(trace.step(t)).for_each(|(s, v)| *s += v));
            let now = maximum(&sums);
            let step = now.iter().zip(&before).map(|(a, b)| a - b);
            match &amplitude {
                // The maximum of counts grows by one quantum or not at all.
                Some(amplitude) => {
                    let words = &mut words[t / 32 * n..][..n];
                    words.iter_mut().zip(step.zip(amplitude)).for_each(|(word, (v, w))| *word |= u32::from(v > 0.5 * w) << (t % 32));
                }
                None => values.extend(step),
            }
            before = now;
        }
        let train = if amplitude.is_some() { Train::Spikes(SpikeTrain::Masks(words)) } else { Train::Values(values) };
        State { analog, train }
    });
    let made = made.collect();
    Ok((amplitude, made))
}
