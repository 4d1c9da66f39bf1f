//! Layer-by-layer simulation of a spiking network on calibration samples, beside the ANN it came from.
//!
//! Populations are visited in topological order. Each one's current is computed for every sample and step from the
//! spikes of those before it, which are final by then; a caller may then change the population (its bias, threshold,
//! initial potential) before its own spikes are simulated and passed on. So every layer is tuned to the input it will
//! really get, which is what layer-wise calibration means (Li et al. 2021, section 4).

use super::Calibration;
use crate::passes::{Context, PassError};
use rayon::prelude::*;
use snn_ir::op::{Amplitude, Firing, Neuron, Relu, Reset};
use snn_ir::{Graph, NodeId, Op, Signal};
use snn_runtime::analog::AnalogNetwork;
use std::collections::HashMap;

/// Bytes that the spikes of one population may take over all samples; fewer samples are used where it would be more.
const TRAIN_BUDGET: usize = 256 << 20;
/// Samples that are used even if the budget says fewer.
const FEWEST_SAMPLES: usize = 8;

/// What one sample makes a population see and do.
#[derive(Clone, Debug)]
pub struct SampleTrace {
    /// The ANN's pre-activation, one per neuron.
    pub analog: Vec<f32>,
    /// The current of every step, step-major; a single step when it is the same in all.
    pub current: Vec<f32>,
}

impl SampleTrace {
    /// The current in step `t`.
    pub fn step(&self, t: usize) -> &[f32] {
        let n = self.analog.len();
        let t = if self.current.len() == n { 0 } else { t };
        &self.current[t * n..(t + 1) * n]
    }
}

/// A population about to be simulated: what it receives can be looked at, and what stands in front of it changed.
pub struct Site<'a> {
    /// The neurons' node.
    pub id: NodeId,
    /// Window length.
    pub timesteps: usize,
    /// Number of samples.
    pub samples: usize,
    /// Upper bound of the ANN's activation.
    pub cap: f32,
    /// The network; change it only between the populations before this one and this one.
    pub graph: &'a mut Graph,
    ann: &'a Graph,
    states: &'a HashMap<NodeId, Vec<State>>,
    amplitudes: &'a HashMap<NodeId, Vec<f32>>,
}

/// Computes what stands in front of a population, for one sample after the other.
pub struct Reader<'a> {
    region: Region,
    /// The same part as it was before anything was changed, if it was there: what the ANN computes.
    ann: Option<Region>,
    states: &'a HashMap<NodeId, Vec<State>>,
    amplitudes: &'a HashMap<NodeId, Vec<f32>>,
    timesteps: usize,
}

impl<'a> Site<'a> {
    /// What the ANN's rectifier makes of a pre-activation.
    pub fn activation(&self, pre: f32) -> f32 {
        pre.clamp(0.0, self.cap)
    }

    /// Reads the value of `node`, which is the population's operand or stands between it and the populations before.
    ///
    /// # Errors
    /// When that part of the graph cannot be executed.
    pub fn reader(&self, node: NodeId) -> Result<Reader<'a>, PassError> {
        let root = if node == self.operand() { self.ann.operands(self.id)[0] } else { node };
        let ann = self.ann.ids().any(|id| id == root).then(|| Region::before(self.ann, root)).transpose()?;
        Ok(Reader {
            region: Region::before(self.graph, node)?,
            ann,
            states: self.states,
            amplitudes: self.amplitudes,
            timesteps: self.timesteps,
        })
    }

    /// The node whose value is the population's current.
    pub fn operand(&self) -> NodeId {
        self.graph.operands(self.id)[0]
    }

    /// The population's neurons.
    pub fn neuron(&self) -> Neuron {
        match self.graph.op(self.id) {
            Op::If(neuron) => neuron.clone(),
            _ => unreachable!("only populations are visited"),
        }
    }
}

impl Reader<'_> {
    /// The value for the ANN and in every step.
    pub fn trace(&self, sample: usize) -> SampleTrace {
        let (sources, worth) = self.sources(sample);
        SampleTrace { analog: self.analog(sample), current: self.region.currents(&sources, &worth, self.timesteps) }
    }

    /// The value averaged over the window; a linear operation of the averages of what it reads.
    pub fn mean(&self, sample: usize) -> Vec<f32> {
        let (sources, worth) = self.sources(sample);
        let inputs: Vec<Vec<f32>> = sources.iter().zip(worth).map(|(state, worth)| state.mean(worth, self.timesteps)).collect();
        self.region.run(&inputs.iter().map(Vec::as_slice).collect::<Vec<_>>())
    }

    /// The value that the ANN computes.
    ///
    /// # Panics
    /// When the node is not part of the ANN.
    pub fn analog(&self, sample: usize) -> Vec<f32> {
        let ann = self.ann.as_ref().expect("the ANN has this node");
        let inputs: Vec<&[f32]> = ann.sources.iter().map(|s| self.states[s][sample].analog.as_slice()).collect();
        ann.run(&inputs)
    }

    /// Whether the value is the same in all steps, because only the input is behind it.
    pub fn is_steady(&self) -> bool {
        self.region.sources.iter().all(|s| self.states[s].iter().all(|s| matches!(s.train, Train::Steady(_))))
    }

    fn sources(&self, sample: usize) -> (Vec<&State>, Vec<Option<&Vec<f32>>>) {
        let sources = &self.region.sources;
        (sources.iter().map(|s| &self.states[s][sample]).collect(), sources.iter().map(|s| self.amplitudes.get(s)).collect())
    }
}

/// What a node passes on to those behind it, for one sample.
#[derive(Clone)]
enum Train {
    /// The same in every step.
    Steady(Vec<f32>),
    /// Event counts, step-major, and what one event is worth per element.
    Events(Vec<i8>),
    /// Real values, step-major.
    Values(Vec<f32>),
}

struct State {
    analog: Vec<f32>,
    train: Train,
}

impl State {
    fn mean(&self, worth: Option<&Vec<f32>>, timesteps: usize) -> Vec<f32> {
        let n = self.analog.len();
        match &self.train {
            Train::Steady(values) => values.clone(),
            Train::Values(values) => {
                let mut sum = vec![0f32; n];
                values.chunks_exact(n).for_each(|step| sum.iter_mut().zip(step).for_each(|(s, v)| *s += v));
                sum.iter_mut().for_each(|s| *s /= timesteps as f32);
                sum
            }
            Train::Events(counts) => {
                let mut sum = vec![0i32; n];
                counts.chunks_exact(n).for_each(|step| sum.iter_mut().zip(step).for_each(|(s, &c)| *s += i32::from(c)));
                let worth = worth.expect("events have an amplitude");
                sum.iter().zip(worth).map(|(&s, w)| s as f32 / timesteps as f32 * w).collect()
            }
        }
    }
}

/// A part of the graph without memory, from the populations it reads to one node, as an analog network.
pub(super) struct Region {
    network: AnalogNetwork,
    pub sources: Vec<NodeId>,
}

fn has_memory(op: &Op) -> bool {
    matches!(op, Op::Input(..) | Op::If(_) | Op::CumulativeMaxPool(_) | Op::CumulativeMax)
}

impl Region {
    /// The part in front of and with `root`.
    pub fn before(graph: &Graph, root: NodeId) -> Result<Region, PassError> {
        let mut inside = vec![root];
        let mut seen: std::collections::HashSet<NodeId> = inside.iter().copied().collect();
        let mut at = 0;
        while at < inside.len() {
            let id = inside[at];
            at += 1;
            if has_memory(graph.op(id)) {
                continue;
            }
            inside.extend(graph.operands(id).into_iter().filter(|&o| seen.insert(o)));
        }
        let mut part = Graph::new("region");
        let mut copies: HashMap<NodeId, NodeId> = HashMap::new();
        let mut sources = Vec::new();
        for id in graph.topological()?.into_iter().filter(|id| seen.contains(id)) {
            let op = match graph.op(id) {
                op if has_memory(op) => {
                    sources.push(id);
                    Op::Input(Signal::Analog, graph.ty(id).shape.clone())
                }
                Op::Constant(_, value) => Op::Constant(Signal::Analog, value.clone()),
                op => op.clone(),
            };
            let operands: Vec<NodeId> =
                if has_memory(graph.op(id)) { Vec::new() } else { graph.operands(id).iter().map(|o| copies[o]).collect() };
            copies.insert(id, part.add(graph.node(id).name(), op, &operands)?);
        }
        part.set_outputs([copies[&root]]);
        let network = AnalogNetwork::new(&part).map_err(|e| PassError::Run(e.to_string()))?;
        Ok(Region { network, sources })
    }

    /// Its value, given those of its sources.
    pub fn run(&self, inputs: &[&[f32]]) -> Vec<f32> {
        self.network.run(inputs, &mut |_, _| {}).swap_remove(0)
    }

    /// The region's value in every step, given its sources' states; a single step where all are the same.
    fn currents(&self, states: &[&State], amplitudes: &[Option<&Vec<f32>>], timesteps: usize) -> Vec<f32> {
        let steady = states.iter().all(|s| matches!(s.train, Train::Steady(_)));
        let steps = if steady { 1 } else { timesteps };
        let mut current = Vec::new();
        let mut buffers: Vec<Vec<f32>> = states.iter().map(|s| vec![0.0; s.analog.len()]).collect();
        for t in 0..steps {
            for ((buffer, state), amplitude) in buffers.iter_mut().zip(states).zip(amplitudes) {
                let n = buffer.len();
                match &state.train {
                    Train::Steady(values) => buffer.copy_from_slice(values),
                    Train::Values(values) => buffer.copy_from_slice(&values[t * n..(t + 1) * n]),
                    Train::Events(counts) => {
                        let amplitude = amplitude.expect("events have an amplitude");
                        buffer.iter_mut().zip(&counts[t * n..(t + 1) * n]).zip(amplitude).for_each(|((b, &c), a)| *b = f32::from(c) * a);
                    }
                }
            }
            let inputs: Vec<&[f32]> = buffers.iter().map(Vec::as_slice).collect();
            current.extend(self.run(&inputs));
        }
        current
    }
}

/// Spikes of one population for one sample, step-major, as [`snn_ir::op::Firing`] defines them.
pub fn simulate(neuron: &ExpandedNeuron, trace: &SampleTrace, timesteps: usize) -> Vec<i8> {
    let n = trace.analog.len();
    let mut v = neuron.initial.clone();
    let mut sent = vec![0i32; n];
    let mut out = vec![0i8; n * timesteps];
    // A ternary network is read when it has settled, and then its counts are these, too; the order of its spikes is not.
    if neuron.firing == Firing::TwoPhase || neuron.firing == Firing::Ternary && !neuron.signed {
        for t in 0..timesteps {
            v.iter_mut().zip(trace.step(t)).for_each(|(v, i)| *v += i);
        }
        for i in 0..n {
            let count = ((v[i] / neuron.threshold[i]).floor().max(0.0) as usize).min(timesteps);
            (0..count).for_each(|t| out[t * n + i] = 1);
        }
        return out;
    }
    for t in 0..timesteps {
        let spikes = &mut out[t * n..(t + 1) * n];
        for (i, current) in trace.step(t).iter().enumerate() {
            v[i] += current;
            let theta = neuron.threshold[i];
            let count = match neuron.firing {
                Firing::Lanes(lanes) => ((v[i] / theta).floor().max(0.0) as i32).min((1 << lanes.min(7)) - 1),
                Firing::Ternary if v[i] < 0.0 && (neuron.signed || sent[i] > 0) => -1,
                _ => i32::from(v[i] >= theta),
            };
            v[i] = if neuron.reset == Reset::Zero && count > 0 { 0.0 } else { v[i] - count as f32 * theta };
            sent[i] += count;
            spikes[i] = count as i8;
        }
    }
    out
}

/// A neuron's parameters, one value per neuron of the population.
pub struct ExpandedNeuron {
    /// θ.
    pub threshold: Vec<f32>,
    /// v(0).
    pub initial: Vec<f32>,
    /// Firing rule.
    pub firing: Firing,
    /// Reset rule.
    pub reset: Reset,
    /// Whether counts may go below zero.
    pub signed: bool,
}

impl ExpandedNeuron {
    /// `neuron` over a population of `shape`.
    pub fn new(neuron: &Neuron, shape: &[usize]) -> Self {
        ExpandedNeuron {
            threshold: neuron.threshold.expanded(shape),
            initial: neuron.initial.expanded(shape),
            firing: neuron.firing,
            reset: neuron.reset,
            signed: neuron.signed,
        }
    }
}

/// Visits every population of a spiking float graph (after `replace-relu`, before `normalize`), in topological order.
/// `adjust` may change what stands in front of the population and its neurons, with which its spikes are then simulated.
/// Returns the number of populations it changed.
///
/// # Errors
/// When the graph is not of that form, or `adjust` fails.
pub fn visit(
    graph: &mut Graph,
    calibration: &Calibration,
    most_samples: usize,
    context: &Context<'_>,
    mut adjust: impl FnMut(&mut Site<'_>) -> Result<bool, PassError>,
) -> Result<usize, PassError> {
    let Some(analog) = &context.analog else {
        return Err(PassError::Missing("this pass compares with the ANN: run it behind replace-relu, in the same recipe".into()));
    };
    let ann = graph.clone();
    let timesteps = context.timesteps as usize;
    let order = graph.topological()?;
    let populations = order.iter().filter(|&&id| matches!(graph.op(id), Op::If(_))).count();
    let largest = order.iter().filter(|&&id| has_memory(graph.op(id))).map(|&id| graph.ty(id).len()).max().unwrap_or(0);
    let affordable = (TRAIN_BUDGET / (largest * timesteps).max(1)).max(FEWEST_SAMPLES);
    let samples = &calibration.samples[..calibration.samples.len().min(most_samples).min(affordable)];

    let mut states: HashMap<NodeId, Vec<State>> = HashMap::new();
    let mut amplitudes: HashMap<NodeId, Vec<f32>> = HashMap::new();
    let mut uses: HashMap<NodeId, usize> = HashMap::new();
    let mut reads: HashMap<NodeId, Vec<NodeId>> = HashMap::new();
    for &id in order.iter().filter(|&&id| has_memory(graph.op(id)) && !matches!(graph.op(id), Op::Input(..))) {
        for operand in graph.operands(id) {
            let sources = Region::before(graph, operand)?.sources;
            sources.iter().for_each(|&s| *uses.entry(s).or_default() += 1);
            reads.entry(id).or_default().extend(sources);
        }
    }
    let inputs = graph.inputs();
    let (mut done, mut changed) = (0, 0);
    for &id in &order {
        match graph.op(id) {
            Op::Input(..) => {
                let index = inputs.iter().position(|&i| i == id).expect("it is an input");
                let of = |sample: &Vec<Vec<f32>>| State { analog: sample[index].clone(), train: Train::Steady(sample[index].clone()) };
                states.insert(id, samples.iter().map(of).collect());
            }
            Op::CumulativeMaxPool(_) | Op::CumulativeMax => {
                let made = maxima(graph, &ann, id, &states, &amplitudes, samples.len(), timesteps)?;
                states.insert(id, made);
            }
            Op::If(_) => {
                let cap = match analog.find(graph.node(id).name()).map(|a| analog.op(a)) {
                    Some(Op::Relu(Relu { cap, .. })) => cap.unwrap_or(f32::INFINITY),
                    _ => return Err(PassError::node(graph, id, "the ANN has no rectifier of this name to compare with")),
                };
                let mut site =
                    Site { id, timesteps, samples: samples.len(), cap, graph, ann: &ann, states: &states, amplitudes: &amplitudes };
                changed += usize::from(adjust(&mut site)?);
                let reader = site.reader(site.operand())?;
                let neuron = site.neuron();
                let expanded = ExpandedNeuron::new(&neuron, &site.graph.ty(id).shape);
                let made: Vec<State> = (0..samples.len())
                    .into_par_iter()
                    .map(|s| {
                        let trace = reader.trace(s);
                        let train = Train::Events(simulate(&expanded, &trace, timesteps));
                        State { analog: trace.analog.iter().map(|&x| x.clamp(0.0, cap)).collect(), train }
                    })
                    .collect();
                let worth = match neuron.amplitude {
                    Amplitude::Threshold => expanded.threshold,
                    Amplitude::One => vec![1.0; expanded.threshold.len()],
                };
                amplitudes.insert(id, worth);
                states.insert(id, made);
                done += 1;
                (context.progress)("layers calibrated", done, populations);
            }
            _ => continue,
        }
        for source in reads.remove(&id).unwrap_or_default() {
            let left = uses.get_mut(&source).expect("every source was counted");
            *left -= 1;
            if *left == 0 {
                states.remove(&source);
            }
        }
    }
    Ok(changed)
}

/// The states of a cumulative maximum.
fn maxima(
    graph: &Graph,
    ann: &Graph,
    id: NodeId,
    states: &HashMap<NodeId, Vec<State>>,
    amplitudes: &HashMap<NodeId, Vec<f32>>,
    samples: usize,
    timesteps: usize,
) -> Result<Vec<State>, PassError> {
    let operands = graph.operands(id);
    let mut part = Graph::new("maximum");
    let mut ids = Vec::new();
    let mut readers = Vec::new();
    for (i, &operand) in operands.iter().enumerate() {
        ids.push(part.add(format!("operand{i}"), Op::Input(Signal::Analog, graph.ty(operand).shape.clone()), &[])?);
        let ann = Some(Region::before(ann, ann.operands(id)[i])?);
        readers.push(Reader { region: Region::before(graph, operand)?, ann, states, amplitudes, timesteps });
    }
    let root = part.add("maximum", graph.op(id).clone(), &ids)?;
    part.set_outputs([root]);
    let network = AnalogNetwork::new(&part).map_err(|e| PassError::Run(e.to_string()))?;
    let maximum = |values: &[Vec<f32>]| network.run(&values.iter().map(Vec::as_slice).collect::<Vec<_>>(), &mut |_, _| {}).swap_remove(0);
    Ok((0..samples)
        .into_par_iter()
        .map(|sample| {
            let traces: Vec<SampleTrace> = readers.iter().map(|r| r.trace(sample)).collect();
            let analog = maximum(&traces.iter().map(|t| t.analog.clone()).collect::<Vec<_>>());
            let mut sums: Vec<Vec<f32>> = traces.iter().map(|t| vec![0.0; t.analog.len()]).collect();
            let mut before = vec![0.0; analog.len()];
            let mut values = Vec::with_capacity(analog.len() * timesteps);
            for t in 0..timesteps {
                sums.iter_mut().zip(&traces).for_each(|(sum, trace)| sum.iter_mut().zip(trace.step(t)).for_each(|(s, v)| *s += v));
                let now = maximum(&sums);
                values.extend(now.iter().zip(&before).map(|(a, b)| a - b));
                before = now;
            }
            State { analog, train: Train::Values(values) }
        })
        .collect())
}
