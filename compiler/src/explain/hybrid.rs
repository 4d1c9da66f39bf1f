//! Networks of which some populations spike and the others are rectifiers still.
//!
//! A population that spikes is simulated over the window, one that does not passes on the rectified mean of its current, the
//! same in every step, as the real number of spikes it stands for. What lies between populations is linear, so where nothing before
//! it changes from step to step it is computed once.
//!
//! A compiled network whose populations do not spike is not the ANN: its weights are rounded, and calibration has fitted them to
//! spikes that come late or are cut off. [`Hybrid::as_ann`] finds, for one sample, the currents that make it the ANN all the same.

use super::ExplainError;
use super::ann::{Ann, AnnRun};
use super::wave::{Values, Wave};
use crate::calibrate::region::Region;
use crate::calibrate::spike_train::{ExpandedNeuron, SampleTrace};
use crate::data::Samples;
use rayon::prelude::*;
use snn_ir::neuron::Amplitude;
use snn_ir::{Graph, NodeId, Op, Signal};
use snn_runtime::analog::AnalogNetwork;
use snn_runtime::encode;
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

/// A spiking float graph, ready to be run in parts.
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
    Encode { scale: Vec<f32>, limit: i32 },
    Output { scale: Vec<f32>, delay: usize, explained: bool },
}

/// A population of neurons and the rectifier they stand for.
pub struct Population {
    /// Name of the node.
    pub name: String,
    /// The neurons.
    pub neurons: ExpandedNeuron,
    /// The amplitude of a spike.
    amplitude: Arc<[f32]>,
    /// Extent of the first axis.
    channels: usize,
    /// The ANN's activation, per neuron, that a current of one stands for.
    unit: Vec<f32>,
    /// The current at which the ANN's activation ends to grow, per neuron.
    cap: Vec<f32>,
}

/// One sample's run.
pub struct Run {
    waves: Vec<Arc<Wave>>,
}

impl Run {
    /// What a population sends per step, as a mean over the window.
    pub fn sent(&self, population: usize) -> Vec<f32> {
        self.waves[population].mean(0)
    }
}

/// What makes the network the ANN, for one sample.
pub struct AsAnn {
    /// The run in which no population spikes: activations and output are the ANN's.
    pub run: Run,
    /// Per stage, what has to be added to its current or output.
    offsets: Vec<Option<Vec<f32>>>,
}

impl Hybrid {
    /// Prepares `graph`, of which output `output` counts.
    ///
    /// # Errors
    /// When parts of it cannot be executed.
    pub fn new(graph: &Graph, timesteps: u32, output: usize) -> Result<Self, ExplainError> {
        let inputs = graph.inputs();
        let explained = graph.outputs().get(output).copied();
        let mut at: HashMap<NodeId, usize> = HashMap::new();
        let mut stages = Vec::new();
        for id in graph.topological()? {
            let kind = match graph.op(id) {
                Op::Input(..) => Kind::Input(inputs.iter().position(|&i| i == id).unwrap_or_default()),
                Op::If(neuron) => {
                    let neurons = ExpandedNeuron::new(neuron, &graph.ty(id).shape);
                    let amplitude: Arc<[f32]> = match neuron.amplitude {
                        Amplitude::Threshold => neurons.threshold.as_slice().into(),
                        Amplitude::One => vec![1.0; neurons.threshold.len()].into(),
                    };
                    let channels = graph.ty(id).shape.first().copied().unwrap_or(1).max(1);
                    // Until the ANN tells more: a neuron that stands for a part of a function ends to grow where it saturates.
                    let (_, most) = neuron.dynamics().output_interval::<f32>(1);
                    let cap = neurons.threshold.iter().map(|theta| theta * most).collect();
                    let unit = vec![1.0; neurons.threshold.len()];
                    Kind::Neurons(Box::new(Population { name: graph.node(id).name().into(), neurons, amplitude, channels, unit, cap }))
                }
                Op::CumulativeMaxPool(_) | Op::CumulativeMax => Kind::Maximum(maximum(graph, id)?),
                Op::Encode { scale, limit } => Kind::Encode { scale: scale.expanded(&graph.ty(id).shape), limit: *limit },
                Op::Readout { scale, delay } => {
                    let shape = &graph.ty(id).shape;
                    let scale = scale.as_ref().map_or_else(|| vec![1.0; graph.ty(id).len()], |s| s.expanded(shape));
                    Kind::Output { scale, delay: *delay as usize, explained: explained == Some(id) }
                }
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

    /// Learns from samples in which units the ANN has the activations that spikes stand for: the amplitude of a spike there, per channel,
    /// by least squares.
    pub fn learn_units(&mut self, ann: &Ann, samples: &Samples) {
        let runs: Vec<Vec<Vec<(f64, f64)>>> = (0..samples.len()).into_par_iter().map(|s| self.products(ann, &samples.sample(s))).collect();
        let populations = self.stages.iter_mut().filter_map(|s| if let Kind::Neurons(p) = &mut s.kind { Some(p) } else { None });
        for (at, population) in populations.enumerate() {
            let Some(cap) = ann.cap(&population.name) else { continue };
            let mut products = vec![(0.0, 0.0); population.channels];
            for run in &runs {
                products.iter_mut().zip(&run[at]).for_each(|(sum, p)| *sum = (sum.0 + p.0, sum.1 + p.1));
            }
            population.set_units(&products, cap);
        }
    }

    /// Per population and channel, over one sample: activations times spikes, spikes squared.
    fn products(&self, ann: &Ann, sample: &[&[f32]]) -> Vec<Vec<(f64, f64)>> {
        let ann_run = ann.run(sample);
        let run = self.run(sample, |_| true, None, None);
        let of = |(at, p): (usize, &Population)| {
            let mut products = vec![(0.0, 0.0); p.channels];
            let Some(activation) = ann.activation(&ann_run, &p.name).filter(|a| a.len() == p.unit.len()) else { return products };
            let per_channel = activation.len() / p.channels;
            for (i, (&s, a)) in run.sent(at).iter().zip(activation).enumerate() {
                let rate = f64::from(s / p.amplitude[i] * p.neurons.threshold[i]);
                let sum = &mut products[i / per_channel];
                *sum = (sum.0 + f64::from(a) * rate, sum.1 + rate * rate);
            }
            products
        };
        self.populations().into_iter().map(of).collect()
    }

    /// The network as the ANN, whose run of the same sample is given. Populations that have no counterpart there keep their own real
    /// activations.
    pub fn as_ann(&self, sample: &[&[f32]], ann: &AnnRun) -> AsAnn {
        let mut waves: Vec<Arc<Wave>> = Vec::with_capacity(self.stages.len());
        let mut offsets = Vec::with_capacity(self.stages.len());
        for stage in &self.stages {
            let wanted: Option<Vec<f32>> = match &stage.kind {
                Kind::Neurons(p) => ann.currents.get(&p.name).map(|x| x.iter().zip(&p.unit).map(|(x, unit)| x / unit).collect()),
                Kind::Output { explained: true, .. } => Some(ann.output.clone()),
                _ => None,
            };
            let offset = wanted.and_then(|wanted| {
                let own = match &stage.kind {
                    Kind::Output { .. } => self.wave(stage, sample, false, None, &waves).mean(0),
                    _ => self.mean_operand(stage, 0, &waves, 0),
                };
                (own.len() == wanted.len()).then(|| wanted.iter().zip(own).map(|(w, o)| w - o).collect::<Vec<f32>>())
            });
            waves.push(Arc::new(self.wave(stage, sample, false, offset.as_deref(), &waves)));
            offsets.push(offset);
        }
        AsAnn { run: Run { waves }, offsets }
    }

    /// The populations in topological order: the number by which [`Hybrid::run`] knows each, and what it is.
    pub fn populations(&self) -> Vec<(usize, &Population)> {
        let stages = self.stages.iter().enumerate();
        stages.filter_map(|(at, stage)| if let Kind::Neurons(p) = &stage.kind { Some((at, p.as_ref())) } else { None }).collect()
    }

    /// Runs one sample with those populations spiking that `spikes` says. What is before population `from` is taken from
    /// `before`, a run in which the same of it spiked; with `ann`, what comes after behaves as the ANN.
    pub fn run(&self, inputs: &[&[f32]], spikes: impl Fn(usize) -> bool, before: Option<(&Run, usize)>, ann: Option<&AsAnn>) -> Run {
        let mut waves: Vec<Arc<Wave>> = before.map_or_else(Vec::new, |(run, from)| run.waves[..from].to_vec());
        for at in waves.len()..self.stages.len() {
            let offset = ann.and_then(|a| a.offsets[at].as_deref());
            waves.push(Arc::new(self.wave(&self.stages[at], inputs, spikes(at), offset, &waves)));
        }
        Run { waves }
    }

    /// What a stage passes on, given what those before it do and what is added to its current or output.
    fn wave(&self, stage: &Stage, inputs: &[&[f32]], spikes: bool, offset: Option<&[f32]>, waves: &[Arc<Wave>]) -> Wave {
        let steady = |values: Vec<f32>| Wave::Values(Values::steady(values));
        match &stage.kind {
            Kind::Input(i) => steady(inputs[*i].to_vec()),
            Kind::Neurons(p) if spikes => p.spike(self.operand(stage, 0, waves).shifted(offset), self.timesteps),
            Kind::Neurons(p) => {
                let current = Values::steady(self.mean_operand(stage, 0, waves, 0)).shifted(offset).values;
                steady(current.iter().enumerate().map(|(i, &x)| p.output(i, p.rectified(i, x))).collect())
            }
            Kind::Maximum(network) => {
                let operands: Vec<Values> = (0..stage.operands.len()).map(|i| self.operand(stage, i, waves)).collect();
                Wave::Values(self.running_maximum(network, &operands))
            }
            Kind::Encode { scale, limit } => {
                let current = self.mean_operand(stage, 0, waves, 0);
                steady(encode(&current, scale, *limit).into_iter().map(|v| v as f32).collect())
            }
            Kind::Output { scale, delay, .. } => {
                let potential = self.mean_operand(stage, 0, waves, *delay);
                let output = Values::steady(potential.iter().zip(scale).map(|(v, s)| v * s).collect());
                Wave::Values(output.shifted(offset))
            }
        }
    }

    /// The output that is explained, as a mean over the window.
    pub fn output(&self, run: &Run) -> Vec<f32> {
        let at = self.stages.iter().position(|s| matches!(s.kind, Kind::Output { explained: true, .. }));
        at.map_or_else(Vec::new, |at| run.waves[at].mean(0))
    }

    /// The mean current of a population.
    pub fn current(&self, run: &Run, population: usize) -> Vec<f32> {
        self.mean_operand(&self.stages[population], 0, &run.waves, 0)
    }

    fn operand(&self, stage: &Stage, operand: usize, waves: &[Arc<Wave>]) -> Values {
        let (region, sources) = &stage.operands[operand];
        let steps = if sources.iter().all(|&s| waves[s].is_steady()) { 1 } else { self.timesteps };
        let mut values = Vec::new();
        for t in 0..steps {
            let inputs: Vec<Cow<'_, [f32]>> = sources.iter().map(|&s| waves[s].step(t)).collect();
            values.extend(region.run(&inputs.iter().map(|x| &x[..]).collect::<Vec<_>>()));
        }
        Values { len: values.len() / steps, values }
    }

    /// The mean over the steps from `first` on: a linear operation of means is the mean.
    fn mean_operand(&self, stage: &Stage, operand: usize, waves: &[Arc<Wave>], first: usize) -> Vec<f32> {
        let (region, sources) = &stage.operands[operand];
        let means: Vec<Vec<f32>> = sources.iter().map(|&s| waves[s].mean(first)).collect();
        region.run(&means.iter().map(Vec::as_slice).collect::<Vec<_>>())
    }

    /// The maximum's step-to-step differences; of what grows evenly, the maximum itself.
    fn running_maximum(&self, network: &AnalogNetwork, operands: &[Values]) -> Values {
        let steps = if operands.iter().all(Values::is_steady) { 1 } else { self.timesteps };
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
        Values { len: last.len(), values }
    }
}

impl Population {
    /// What the ANN's rectifier makes of the current `x` of neuron `i`, in the unit of that current.
    pub fn rectified(&self, i: usize, x: f32) -> f32 {
        let (least, _) = self.neurons.dynamics.output_interval(1);
        x.clamp(least, self.cap[i].max(0.0))
    }

    /// `rectified`, as far as neuron `i` can send it.
    pub fn clipped(&self, i: usize, rectified: f32) -> f32 {
        let (_, most) = self.neurons.dynamics.output_interval::<f32>(1);
        rectified.min(self.neurons.threshold[i] * most)
    }

    /// An activation in the unit of neuron `i`'s current, as what the neuron sends per step.
    pub fn output(&self, i: usize, activation: f32) -> f32 {
        activation / self.neurons.threshold[i] * self.amplitude[i]
    }

    /// The amplitude of a spike of neuron `i`.
    pub fn amplitude(&self, i: usize) -> f32 {
        self.amplitude[i]
    }

    /// The mean output of neuron `i` if its count were the clipped floor of its whole input, given its mean current.
    pub fn even_output(&self, i: usize, mean: f32, timesteps: usize) -> f32 {
        let window = timesteps as f32;
        let input = mean * window + self.neurons.initial[i];
        let count = self.neurons.dynamics.window_count(input, self.neurons.threshold[i], timesteps as u32);
        count * self.amplitude[i] / window
    }

    /// Sets units and caps from sums of the ANN's activations times own ones, and of own ones squared, per channel. A channel that was
    /// silent takes the unit of its layer.
    fn set_units(&mut self, products: &[(f64, f64)], cap: Option<f32>) {
        let whole = products.iter().fold((0.0, 0.0), |sum, p| (sum.0 + p.0, sum.1 + p.1));
        let ratio = |(aa, ss): (f64, f64)| (aa > 0.0 && ss > 0.0).then(|| (aa / ss) as f32);
        let per_channel = self.unit.len() / products.len();
        for (i, (unit, bound)) in self.unit.iter_mut().zip(&mut self.cap).enumerate() {
            *unit = ratio(products[i / per_channel]).or(ratio(whole)).unwrap_or(1.0);
            *bound = cap.map_or(f32::INFINITY, |cap| cap / *unit);
        }
    }

    fn spike(&self, current: Values, timesteps: usize) -> Wave {
        if self.neurons.dynamics.counts_whole_windows() {
            let mean = Wave::Values(current).mean(0);
            return Wave::Values(Values::steady(mean.iter().enumerate().map(|(i, &x)| self.even_output(i, x, timesteps)).collect()));
        }
        let trace = SampleTrace { analog: vec![0.0; current.len], current: current.values };
        Wave::Spikes { train: self.neurons.simulate(&trace, timesteps), amplitude: self.amplitude.clone(), steps: timesteps }
    }
}

fn maximum(graph: &Graph, id: NodeId) -> Result<AnalogNetwork, ExplainError> {
    let mut part = Graph::new("maximum");
    let mut operands = Vec::new();
    for (i, operand) in graph.operands(id).into_iter().enumerate() {
        operands.push(part.add(format!("operand{i}"), Op::Input(Signal::Analog, graph.ty(operand).shape.clone()), &[])?);
    }
    let root = part.add("maximum", graph.op(id).clone(), &operands)?;
    part.set_outputs([root]);
    Ok(AnalogNetwork::new(&part)?)
}
