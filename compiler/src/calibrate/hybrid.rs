//! Networks of which some populations spike and the others are the ANN's rectifiers still.
//!
//! A population that spikes is simulated over the window, one that does not passes on the rectified mean of its current, the
//! same in every step. What lies between populations is linear, so where nothing before it changes from step to step it is
//! computed once.

use super::region::Region;
use super::spike_train::{ExpandedNeuron, SampleTrace, counts_whole_windows};
use crate::passes::PassError;
use snn_ir::op::{Amplitude, Firing, Relu};
use snn_ir::{Graph, NodeId, Op, Signal};
use snn_runtime::analog::AnalogNetwork;
use std::collections::HashMap;
use std::sync::Arc;

/// A spiking float graph (behind `replace-relu`, before `normalize`) beside the ANN it came from, ready to be run in parts.
pub struct Hybrid {
    stages: Vec<Stage>,
    timesteps: usize,
}

/// Something with memory, or the network's answer: what the parts without memory lie between.
struct Stage {
    kind: Kind,
    /// Per operand, the part before it and the stages that it reads.
    operands: Vec<(Region, Vec<usize>)>,
}

enum Kind {
    Input(usize),
    Neurons(Box<Population>),
    Maximum(AnalogNetwork),
    Output,
}

/// A population of neurons and the rectifier they stand for.
pub struct Population {
    /// Name of the node.
    pub name: String,
    /// The neurons.
    pub neurons: ExpandedNeuron,
    /// Quanta that a step can send.
    pub quanta: f32,
    /// Upper bound of the ANN's activation.
    pub cap: f32,
    worth: Vec<f32>,
}

/// What a stage passes on.
struct Wave {
    /// Step-major; one step when it is the same in all.
    values: Vec<f32>,
    len: usize,
}

impl Wave {
    fn step(&self, t: usize) -> &[f32] {
        if self.values.len() == self.len { &self.values } else { &self.values[t * self.len..(t + 1) * self.len] }
    }

    fn is_steady(&self) -> bool {
        self.values.len() == self.len
    }

    fn mean(&self) -> Vec<f32> {
        let mut mean = vec![0f32; self.len];
        let steps = (self.values.len() / self.len.max(1)) as f32;
        self.values.chunks_exact(self.len.max(1)).for_each(|step| mean.iter_mut().zip(step).for_each(|(m, v)| *m += v));
        mean.iter_mut().for_each(|m| *m /= steps);
        mean
    }
}

/// One sample's run.
pub struct Run {
    waves: Vec<Arc<Wave>>,
}

impl Hybrid {
    /// Prepares `graph`, whose neurons are named as the relus of `analog`.
    ///
    /// # Errors
    /// When the graph is not of that form.
    pub fn new(graph: &Graph, analog: &Graph, timesteps: u32) -> Result<Self, PassError> {
        let inputs = graph.inputs();
        let mut at: HashMap<NodeId, usize> = HashMap::new();
        let mut stages = Vec::new();
        for id in graph.topological()? {
            let kind = match graph.op(id) {
                Op::Input(..) => Kind::Input(inputs.iter().position(|&i| i == id).unwrap_or_default()),
                Op::If(neuron) => {
                    let cap = match analog.find(graph.node(id).name()).map(|a| analog.op(a)) {
                        Some(Op::Relu(Relu { cap, .. })) => cap.unwrap_or(f32::INFINITY),
                        _ => return Err(PassError::node(graph, id, "the ANN has no rectifier of this name to compare with")),
                    };
                    let neurons = ExpandedNeuron::new(neuron, &graph.ty(id).shape);
                    let worth = match neuron.amplitude {
                        Amplitude::Threshold => neurons.threshold.clone(),
                        Amplitude::One => vec![1.0; neurons.threshold.len()],
                    };
                    let quanta = if let Firing::Lanes(n) = neuron.firing { ((1u32 << n.min(24)) - 1) as f32 } else { 1.0 };
                    Kind::Neurons(Box::new(Population { name: graph.node(id).name().into(), neurons, quanta, cap, worth }))
                }
                Op::CumulativeMaxPool(_) | Op::CumulativeMax => Kind::Maximum(maximum(graph, id)?),
                Op::Readout { .. } => Kind::Output,
                _ => continue,
            };
            let mut operands = Vec::new();
            for operand in graph.operands(id) {
                let region = Region::before(graph, operand)?;
                let sources = region.sources.iter().map(|s| at[s]).collect();
                operands.push((region, sources));
            }
            at.insert(id, stages.len());
            stages.push(Stage { kind, operands });
        }
        Ok(Hybrid { stages, timesteps: timesteps as usize })
    }

    /// The populations in topological order: the number by which [`Hybrid::run`] knows each, and what it is.
    pub fn populations(&self) -> Vec<(usize, &Population)> {
        let population = |(i, stage): (usize, &'_ Stage)| match &stage.kind {
            Kind::Neurons(_) => Some(i),
            _ => None,
        };
        let of = |i: usize| match &self.stages[i].kind {
            Kind::Neurons(p) => (i, p.as_ref()),
            _ => unreachable!("only populations were kept"),
        };
        self.stages.iter().enumerate().filter_map(population).map(of).collect()
    }

    /// Runs one sample with those populations spiking that `spikes` says. What stands before population `from` is taken from
    /// `before`, a run in which the same of it spiked.
    pub fn run(&self, inputs: &[Vec<f32>], spikes: impl Fn(usize) -> bool, before: Option<(&Run, usize)>) -> Run {
        let mut waves: Vec<Arc<Wave>> = before.map_or_else(Vec::new, |(run, from)| run.waves[..from].to_vec());
        for at in waves.len()..self.stages.len() {
            let stage = &self.stages[at];
            let wave = match &stage.kind {
                Kind::Input(i) => Wave { values: inputs[*i].clone(), len: inputs[*i].len() },
                Kind::Neurons(p) if spikes(at) => p.spike(self.operand(stage, 0, &waves), self.timesteps),
                Kind::Neurons(p) => {
                    let values: Vec<f32> = self.mean_operand(stage, 0, &waves).iter().map(|&x| p.rectified(x)).collect();
                    Wave { len: values.len(), values }
                }
                Kind::Maximum(network) => {
                    let operands: Vec<Wave> = (0..stage.operands.len()).map(|i| self.operand(stage, i, &waves)).collect();
                    self.running_maximum(network, &operands)
                }
                Kind::Output => {
                    let values = self.mean_operand(stage, 0, &waves);
                    Wave { len: values.len(), values }
                }
            };
            waves.push(Arc::new(wave));
        }
        Run { waves }
    }

    /// The first output, as a mean over the window.
    pub fn output(&self, run: &Run) -> Vec<f32> {
        let at = self.stages.iter().position(|s| matches!(s.kind, Kind::Output));
        at.map_or_else(Vec::new, |at| run.waves[at].values.clone())
    }

    /// The mean current of a population, and its mean output.
    pub fn observed(&self, run: &Run, population: usize) -> (Vec<f32>, Vec<f32>) {
        (self.mean_operand(&self.stages[population], 0, &run.waves), run.waves[population].mean())
    }

    fn operand(&self, stage: &Stage, operand: usize, waves: &[Arc<Wave>]) -> Wave {
        let (region, sources) = &stage.operands[operand];
        let steps = if sources.iter().all(|&s| waves[s].is_steady()) { 1 } else { self.timesteps };
        let mut values = Vec::new();
        for t in 0..steps {
            let inputs: Vec<&[f32]> = sources.iter().map(|&s| waves[s].step(t)).collect();
            values.extend(region.run(&inputs));
        }
        Wave { len: values.len() / steps, values }
    }

    /// A linear operation of means is the mean.
    fn mean_operand(&self, stage: &Stage, operand: usize, waves: &[Arc<Wave>]) -> Vec<f32> {
        let (region, sources) = &stage.operands[operand];
        let means: Vec<Vec<f32>> = sources.iter().map(|&s| waves[s].mean()).collect();
        region.run(&means.iter().map(Vec::as_slice).collect::<Vec<_>>())
    }

    /// The maximum's step-to-step differences; of what grows evenly, the maximum itself.
    fn running_maximum(&self, network: &AnalogNetwork, operands: &[Wave]) -> Wave {
        let steps = if operands.iter().all(Wave::is_steady) { 1 } else { self.timesteps };
        let mut sums: Vec<Vec<f32>> = operands.iter().map(|o| vec![0.0; o.len]).collect();
        let mut last: Vec<f32> = Vec::new();
        let mut values = Vec::new();
        for t in 0..steps {
            sums.iter_mut().zip(operands).for_each(|(sum, o)| sum.iter_mut().zip(o.step(t)).for_each(|(s, v)| *s += v));
            let now = network.run(&sums.iter().map(Vec::as_slice).collect::<Vec<_>>(), &mut |_, _| {}).swap_remove(0);
            last.resize(now.len(), 0.0);
            values.extend(now.iter().zip(&last).map(|(a, b)| a - b));
            last = now;
        }
        Wave { len: last.len(), values }
    }
}

impl Population {
    /// What the ANN's rectifier makes of `x`.
    pub fn rectified(&self, x: f32) -> f32 {
        x.clamp(0.0, self.cap)
    }

    /// The mean output of neuron `i` if its count were the clipped floor of its whole input, given its mean current.
    pub fn even_output(&self, i: usize, mean: f32, timesteps: usize) -> f32 {
        let window = timesteps as f32;
        let count = ((mean * window + self.neurons.initial[i]) / self.neurons.threshold[i]).floor();
        count.clamp(0.0, self.quanta * window) * self.worth[i] / window
    }

    fn spike(&self, current: Wave, timesteps: usize) -> Wave {
        let len = current.len;
        if counts_whole_windows(self.neurons.firing, self.neurons.signed) {
            let values: Vec<f32> = current.mean().iter().enumerate().map(|(i, &x)| self.even_output(i, x, timesteps)).collect();
            return Wave { values, len };
        }
        let trace = SampleTrace { analog: vec![0.0; len], current: current.values };
        let train = self.neurons.simulate(&trace, timesteps);
        let mut values = vec![0.0; len * timesteps];
        values.chunks_exact_mut(len).enumerate().for_each(|(t, step)| train.write_step(t, &self.worth, step));
        Wave { values, len }
    }
}

fn maximum(graph: &Graph, id: NodeId) -> Result<AnalogNetwork, PassError> {
    let mut part = Graph::new("maximum");
    let mut operands = Vec::new();
    for (i, operand) in graph.operands(id).into_iter().enumerate() {
        operands.push(part.add(format!("operand{i}"), Op::Input(Signal::Analog, graph.ty(operand).shape.clone()), &[])?);
    }
    let root = part.add("maximum", graph.op(id).clone(), &operands)?;
    part.set_outputs([root]);
    AnalogNetwork::new(&part).map_err(|e| PassError::Run(e.to_string()))
}
