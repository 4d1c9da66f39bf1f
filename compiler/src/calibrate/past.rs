//! What is known of the part of a network that a layer-by-layer visit has been through, and how it is read.

use super::CalibrationError;
use super::region::Region;
use super::spike_train::{SampleTrace, SpikeTrain};
use rayon::prelude::*;
use snn_ir::{Graph, NodeId, Op, Signal};
use snn_runtime::analog::AnalogNetwork;
use std::collections::{HashMap, HashSet};

/// What is known of the part of the network that was visited.
pub(super) struct Past {
    pub ann: Graph,
    pub states: HashMap<NodeId, Vec<State>>,
    /// The amplitude of a quantum of each population.
    pub amplitudes: HashMap<NodeId, Vec<f32>>,
    /// Nodes without memory that something visited reads.
    pub read: HashSet<NodeId>,
    pub timesteps: usize,
    /// Whether only means over the window matter.
    pub whole_windows: bool,
}

/// Computes a value before a population, for one sample after the other.
pub struct Reader<'a> {
    region: Region,
    /// The same part as it was before anything was changed, if it was there: what the ANN computes.
    ann: Option<Region>,
    past: &'a Past,
}

impl Past {
    pub fn reader(&self, graph: &Graph, node: NodeId, root: NodeId) -> Result<Reader<'_>, CalibrationError> {
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
pub(super) enum Train {
    /// The analog value in every step.
    Steady,
    /// Spikes, of the amplitude that [`Past::amplitudes`] says.
    Spikes(SpikeTrain),
    /// Real values, step-major; a single step where only the mean matters.
    Values(Vec<f32>),
}

pub(super) struct State {
    pub analog: Vec<f32>,
    pub train: Train,
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

/// The states of a cumulative maximum, and the amplitude of its spikes where it passes on spikes.
pub(super) fn maxima(graph: &Graph, past: &Past, id: NodeId, samples: usize) -> Result<(Option<Vec<f32>>, Vec<State>), CalibrationError> {
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
