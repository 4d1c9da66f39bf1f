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

/// Bytes that the currents of one population may take over all samples; fewer samples are used where it would be more.
const CURRENT_BUDGET: usize = 512 << 20;
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

/// A population about to be simulated.
pub struct Site<'a> {
    /// The neurons' node.
    pub id: NodeId,
    /// Window length.
    pub timesteps: usize,
    /// Upper bound of the ANN's activation.
    pub cap: f32,
    /// One trace a sample.
    pub traces: &'a [SampleTrace],
}

impl Site<'_> {
    /// What the ANN's rectifier makes of a pre-activation.
    pub fn activation(&self, pre: f32) -> f32 {
        pre.clamp(0.0, self.cap)
    }
}

/// A change to a population, per neuron: what is added to its current in every step, and the neuron to use.
pub struct Adjustment {
    /// Added to the current in every step, one per neuron of the population.
    pub bias: Vec<f32>,
    /// The neurons from here on.
    pub neuron: Neuron,
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

    /// The region's value for the ANN and in every step, given its sources' states.
    fn trace(&self, states: &[&State], amplitudes: &[Option<&Vec<f32>>], timesteps: usize) -> SampleTrace {
        let analog_inputs: Vec<&[f32]> = states.iter().map(|s| s.analog.as_slice()).collect();
        let analog = self.run(&analog_inputs);
        let steady = states.iter().all(|s| matches!(s.train, Train::Steady(_)));
        let steps = if steady { 1 } else { timesteps };
        let mut current = Vec::with_capacity(steps * analog.len());
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
        SampleTrace { analog, current }
    }
}

/// Spikes of one population for one sample, step-major, as [`snn_ir::op::Firing`] defines them; with `bias` added to the
/// current in every step.
pub fn simulate(neuron: &ExpandedNeuron, trace: &SampleTrace, bias: &[f32], timesteps: usize) -> Vec<i8> {
    let n = trace.analog.len();
    let mut v = neuron.initial.clone();
    let mut sent = vec![0i32; n];
    let mut out = vec![0i8; n * timesteps];
    // A ternary network is read when it has settled, and then its counts are these, too; the order of its spikes is not.
    if neuron.firing == Firing::TwoPhase || neuron.firing == Firing::Ternary && !neuron.signed {
        for t in 0..timesteps {
            v.iter_mut().zip(trace.step(t)).zip(bias).for_each(|((v, i), b)| *v += i + b);
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
            v[i] += current + bias[i];
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

fn cumulative_max(network: &AnalogNetwork, operands: &[(&State, Option<&Vec<f32>>)], timesteps: usize) -> Vec<f32> {
    let mut sums: Vec<Vec<f32>> = operands.iter().map(|(s, _)| vec![0.0; s.analog.len()]).collect();
    let mut before: Vec<f32> = Vec::new();
    let mut out = Vec::new();
    for t in 0..timesteps {
        for (sum, (state, amplitude)) in sums.iter_mut().zip(operands) {
            let n = sum.len();
            match &state.train {
                Train::Steady(values) => sum.iter_mut().zip(values).for_each(|(s, v)| *s += v),
                Train::Values(values) => sum.iter_mut().zip(&values[t * n..]).for_each(|(s, v)| *s += v),
                Train::Events(counts) => {
                    let amplitude = amplitude.expect("events have an amplitude");
                    sum.iter_mut().zip(&counts[t * n..]).zip(amplitude).for_each(|((s, &c), a)| *s += f32::from(c) * a);
                }
            }
        }
        let inputs: Vec<&[f32]> = sums.iter().map(Vec::as_slice).collect();
        let now = network.run(&inputs, &mut |_, _| {}).swap_remove(0);
        before.resize(now.len(), 0.0);
        out.extend(now.iter().zip(&before).map(|(a, b)| a - b));
        before = now;
    }
    out
}

/// Visits every population of a spiking float graph (after `replace-relu`, before `normalize`), in topological order.
/// `adjust` sees its traces and may return a change, with which its spikes are then simulated. Returns all changes.
///
/// # Errors
/// When the graph is not of that form, or `adjust` fails.
pub fn visit(
    graph: &Graph,
    calibration: &Calibration,
    most_samples: usize,
    context: &Context<'_>,
    mut adjust: impl FnMut(&Site<'_>) -> Result<Option<Adjustment>, PassError>,
) -> Result<Vec<(NodeId, Adjustment)>, PassError> {
    let Some(analog) = &context.analog else {
        return Err(PassError::Missing("this pass compares with the ANN: run it behind replace-relu, in the same recipe".into()));
    };
    let timesteps = context.timesteps as usize;
    let order = graph.topological()?;
    let populations: Vec<NodeId> = order.iter().copied().filter(|&id| matches!(graph.op(id), Op::If(_))).collect();
    let largest = populations.iter().map(|&id| graph.ty(id).len()).max().unwrap_or(0);
    let affordable = (CURRENT_BUDGET / (largest * timesteps * 4).max(1)).max(FEWEST_SAMPLES);
    let samples = &calibration.samples[..calibration.samples.len().min(most_samples).min(affordable)];

    let mut states: HashMap<NodeId, Vec<State>> = HashMap::new();
    let mut amplitudes: HashMap<NodeId, Vec<f32>> = HashMap::new();
    let mut uses: HashMap<NodeId, usize> = HashMap::new();
    let mut regions: HashMap<NodeId, Region> = HashMap::new();
    for &id in order.iter().filter(|&&id| has_memory(graph.op(id)) && !matches!(graph.op(id), Op::Input(..))) {
        for operand in graph.operands(id) {
            let region = Region::before(graph, operand)?;
            region.sources.iter().for_each(|&s| *uses.entry(s).or_default() += 1);
            regions.insert(operand, region);
        }
    }
    let inputs = graph.inputs();
    let mut adjustments = Vec::new();
    let mut done = 0;
    for &id in &order {
        match graph.op(id) {
            Op::Input(..) => {
                let index = inputs.iter().position(|&i| i == id).expect("it is an input");
                let of = |sample: &Vec<Vec<f32>>| State { analog: sample[index].clone(), train: Train::Steady(sample[index].clone()) };
                states.insert(id, samples.iter().map(of).collect());
            }
            Op::CumulativeMaxPool(_) | Op::CumulativeMax => {
                let operands = graph.operands(id);
                let mut part = Graph::new("maximum");
                let ids = operands
                    .iter()
                    .enumerate()
                    .map(|(i, &o)| part.add(format!("operand{i}"), Op::Input(Signal::Analog, graph.ty(o).shape.clone()), &[]));
                let ids: Vec<NodeId> = ids.collect::<Result<_, _>>()?;
                let root = part.add("maximum", graph.op(id).clone(), &ids)?;
                part.set_outputs([root]);
                let network = AnalogNetwork::new(&part).map_err(|e| PassError::Run(e.to_string()))?;
                let made: Vec<State> = (0..samples.len())
                    .into_par_iter()
                    .map(|s| {
                        let traced: Vec<State> = operands
                            .iter()
                            .map(|o| {
                                let trace = traces_of(&regions[o], &states, &amplitudes, s, timesteps);
                                let train = if trace.current.len() == trace.analog.len() {
                                    Train::Steady(trace.current)
                                } else {
                                    Train::Values(trace.current)
                                };
                                State { analog: trace.analog, train }
                            })
                            .collect();
                        let analog: Vec<&[f32]> = traced.iter().map(|s| s.analog.as_slice()).collect();
                        let analog = network.run(&analog, &mut |_, _| {}).swap_remove(0);
                        let pairs: Vec<(&State, Option<&Vec<f32>>)> = traced.iter().map(|s| (s, None)).collect();
                        State { analog, train: Train::Values(cumulative_max(&network, &pairs, timesteps)) }
                    })
                    .collect();
                states.insert(id, made);
                release(&operands, &regions, &mut uses, &mut states);
            }
            Op::If(neuron) => {
                let operand = graph.operands(id)[0];
                let region = &regions[&operand];
                let traces: Vec<SampleTrace> =
                    (0..samples.len()).into_par_iter().map(|s| traces_of(region, &states, &amplitudes, s, timesteps)).collect();
                let cap = match analog.find(graph.node(id).name()).map(|a| analog.op(a)) {
                    Some(Op::Relu(Relu { cap, .. })) => cap.unwrap_or(f32::INFINITY),
                    _ => return Err(PassError::node(graph, id, "the ANN has no rectifier of this name to compare with")),
                };
                let site = Site { id, timesteps, cap, traces: &traces };
                let adjustment = adjust(&site)?;
                let shape = &graph.ty(id).shape;
                let n = graph.ty(id).len();
                let silent = vec![0.0; n];
                let (bias, neuron) = adjustment.as_ref().map_or((&silent, neuron), |a| (&a.bias, &a.neuron));
                let expanded = ExpandedNeuron::new(neuron, shape);
                let made: Vec<State> = traces
                    .par_iter()
                    .map(|trace| State {
                        analog: trace.analog.iter().map(|&x| site.activation(x)).collect(),
                        train: Train::Events(simulate(&expanded, trace, bias, timesteps)),
                    })
                    .collect();
                let worth = match neuron.amplitude {
                    Amplitude::Threshold => expanded.threshold,
                    Amplitude::One => vec![1.0; n],
                };
                amplitudes.insert(id, worth);
                states.insert(id, made);
                adjustments.extend(adjustment.map(|a| (id, a)));
                release(&[operand], &regions, &mut uses, &mut states);
                done += 1;
                (context.progress)("layers calibrated", done, populations.len());
            }
            _ => {}
        }
    }
    Ok(adjustments)
}

fn traces_of(
    region: &Region,
    states: &HashMap<NodeId, Vec<State>>,
    amplitudes: &HashMap<NodeId, Vec<f32>>,
    sample: usize,
    timesteps: usize,
) -> SampleTrace {
    let sources: Vec<&State> = region.sources.iter().map(|s| &states[s][sample]).collect();
    let worth: Vec<Option<&Vec<f32>>> = region.sources.iter().map(|s| amplitudes.get(s)).collect();
    region.trace(&sources, &worth, timesteps)
}

/// Drops the states that nobody behind will read.
fn release(
    roots: &[NodeId],
    regions: &HashMap<NodeId, Region>,
    uses: &mut HashMap<NodeId, usize>,
    states: &mut HashMap<NodeId, Vec<State>>,
) {
    for source in roots.iter().flat_map(|r| &regions[r].sources) {
        let left = uses.get_mut(source).expect("every source was counted");
        *left -= 1;
        if *left == 0 {
            states.remove(source);
        }
    }
}
