//! Everything after the prefix, in one kind of number.

use super::population::{Membranes, Population};
use super::running_max::{RunningMax, Sums};
use crate::dense::{Kernel, Number, WindowMax};
use crate::engine::settles;
use crate::error::CompileError;
use crate::prefix::{Prefix, SteadyCurrent};
use crate::spikes::statistics::{LayerStatistics, Statistics};
use crate::spikes::synapses::spike_sources;
use snn_ir::op::{Layer, Requantize};
use snn_ir::{Graph, NodeId, Op, Tensor};
use std::collections::HashMap;

/// Steps that a node runs before the next one, so that memory does not grow with the window. A
/// network with two-phase neurons runs its whole window.
const CHUNK: usize = 16;

/// A number that prefix currents come in.
pub(super) trait BodyNumber: Number {
    /// The current, when it is of this kind.
    fn steady(current: &SteadyCurrent) -> Option<&[Self]>;
}

impl BodyNumber for f32 {
    fn steady(current: &SteadyCurrent) -> Option<&[f32]> {
        if let SteadyCurrent::Real(x) = current { Some(x) } else { None }
    }
}

impl BodyNumber for i32 {
    fn steady(current: &SteadyCurrent) -> Option<&[i32]> {
        if let SteadyCurrent::Integer(x) = current { Some(x) } else { None }
    }
}

/// The nodes after the prefix, in topological order.
pub(super) struct Body<N> {
    nodes: Vec<Node<N>>,
    outputs: Vec<Output>,
    populations: Vec<LayerStatistics>,
    chunk: Option<usize>,
}

struct Node<N> {
    operands: Vec<Operand>,
    len: usize,
    behaviour: Behaviour<N>,
    /// Nodes whose value is not used after this one.
    dying: Vec<usize>,
    spikes: Option<Spikes>,
}

/// How a node's spikes are booked.
struct Spikes {
    population: usize,
    synapses: Vec<u64>,
}

#[derive(Clone, Copy)]
enum Operand {
    Prefix(usize),
    Node(usize),
}

enum Behaviour<N> {
    Stateless(Affine<N>),
    Neurons(Affine<N>, Population<N>),
    RunningMax(RunningMax),
    Requantize(Requantize),
    /// Accumulates after so many steps.
    Readout(u32),
}

/// A kernel, and the same without its constants for networks that settle.
struct Affine<N> {
    kernel: Kernel<N>,
    linear_part: Option<Kernel<N>>,
}

/// What the steps that are run belong to.
#[derive(Clone, Copy)]
enum Phase {
    /// The window: constant input and biases.
    Input,
    /// Steps after a window of so many steps of input: no input, no biases.
    Settling(i64),
}

impl<N: Number> Affine<N> {
    fn in_phase(&self, phase: Phase) -> &Kernel<N> {
        match phase {
            Phase::Settling(_) => self.linear_part.as_ref().unwrap_or(&self.kernel),
            Phase::Input => &self.kernel,
        }
    }
}

struct Output {
    node: usize,
    scale: Option<Vec<f32>>,
    delay: u32,
}

/// The state of a [`Body`] on one sample.
pub(super) struct State<N: Number> {
    front: Vec<SteadyCurrent>,
    nodes: Vec<NodeState<N>>,
    pub statistics: Statistics,
}

enum NodeState<N: Number> {
    None,
    Neurons(Membranes<N>),
    Sums(Sums<N>),
    /// What rounding left over, per element.
    Rest(Vec<i64>),
    /// Sums, and steps so far.
    Readout(Vec<N::Total>, u32),
}

/// A node's value during a chunk of steps: the same in every step, or one row a step.
enum Value<N> {
    Steady(Vec<N>),
    Steps(Vec<N>),
}

impl<N: BodyNumber> Body<N> {
    pub fn compile(graph: &Graph, prefix: &Prefix) -> Result<Self, CompileError> {
        let mut sources: HashMap<NodeId, Spikes> =
            spike_sources(graph)?.into_iter().map(|s| (s.node, Spikes { population: s.population, synapses: s.synapses })).collect();
        let mut at: HashMap<NodeId, usize> = HashMap::new();
        let mut body = Body { nodes: Vec::new(), outputs: Vec::new(), populations: Vec::new(), chunk: Some(CHUNK) };
        let settles = settles(graph);
        let affine = |kernel: Kernel<N>| Affine { linear_part: settles.then(|| kernel.linear_part()), kernel };
        for id in graph.topological()?.into_iter().filter(|&id| !prefix.contains(id)) {
            let (op, ty) = (graph.op(id), graph.ty(id));
            let refuse = |why: &str| CompileError::Node { node: graph.node(id).name().into(), op: op.name(), why: why.into() };
            let ids = graph.operands(id);
            if ids.iter().any(|&o| prefix.contains(o) && prefix.is_integer(o) != graph.is_quantized()) {
                return Err(refuse("real currents must pass an `encode` to where integers are, and nowhere else"));
            }
            let operand = |o: &NodeId| prefix.result_of(*o).map(Operand::Prefix).or_else(|| at.get(o).copied().map(Operand::Node));
            let operands = ids.iter().map(operand).collect::<Option<Vec<_>>>().ok_or_else(|| refuse("an operand has no value"))?;
            let shapes: Vec<&[usize]> = ids.iter().map(|&o| graph.ty(o).shape.as_slice()).collect();
            let behaviour = match op {
                Op::If(neuron) => {
                    let kernel = Kernel::new(&Op::Identity, &shapes, &ty.shape).map_err(refuse)?;
                    Behaviour::Neurons(affine(kernel), population(neuron, &ty.shape).map_err(refuse)?)
                }
                Op::Layer(Layer { neuron: Some(neuron), .. }) => {
                    let kernel = Kernel::new(op, &shapes, &ty.shape).map_err(refuse)?;
                    Behaviour::Neurons(affine(kernel), population(neuron, &ty.shape).map_err(refuse)?)
                }
                Op::CumulativeMaxPool(w) => Behaviour::RunningMax(RunningMax::Window(WindowMax::new(w, shapes[0], &ty.shape))),
                Op::CumulativeMax => Behaviour::RunningMax(RunningMax::Operands),
                Op::Requantize(r) => Behaviour::Requantize(*r),
                Op::Readout { delay, .. } => Behaviour::Readout(*delay),
                _ => Behaviour::Stateless(affine(Kernel::new(op, &shapes, &ty.shape).map_err(refuse)?)),
            };
            if let Behaviour::Neurons(_, population) = &behaviour {
                body.chunk = body.chunk.filter(|_| !population.waits_for_the_window());
                let name = graph.node(id).name().to_string();
                body.populations.push(LayerStatistics { name, neurons: ty.len() as u64, spikes: 0, synops: 0 });
            }
            at.insert(id, body.nodes.len());
            body.nodes.push(Node { operands, len: ty.len(), behaviour, dying: Vec::new(), spikes: sources.remove(&id) });
        }
        for &output in graph.outputs() {
            let Op::Readout { scale, delay } = graph.op(output) else { continue };
            let real = |t: &Tensor| {
                let numbers = t.to_f64_vec();
                t.broadcast_indices(&graph.ty(output).shape).iter().map(|&i| numbers[i as usize] as f32).collect()
            };
            body.outputs.push(Output { node: at[&output], scale: scale.as_ref().map(real), delay: *delay });
        }
        body.find_last_uses();
        Ok(body)
    }

    fn find_last_uses(&mut self) {
        let mut last: Vec<usize> = (0..self.nodes.len()).collect();
        for (n, node) in self.nodes.iter().enumerate() {
            for operand in &node.operands {
                if let Operand::Node(o) = operand {
                    last[*o] = n;
                }
            }
        }
        last.into_iter().enumerate().for_each(|(node, last)| self.nodes[last].dying.push(node));
    }

    /// Whether nodes run their whole window before the next ones start.
    pub fn keeps_whole_windows(&self) -> bool {
        self.chunk.is_none()
    }

    /// The state at the start of a window with these prefix currents.
    pub fn state(&self, front: Vec<SteadyCurrent>) -> State<N> {
        let nodes = self
            .nodes
            .iter()
            .map(|node| match &node.behaviour {
                Behaviour::Stateless(_) => NodeState::None,
                Behaviour::Neurons(_, population) => NodeState::Neurons(population.membranes()),
                Behaviour::RunningMax(max) => NodeState::Sums(max.sums(node.operands.len(), node.len)),
                Behaviour::Requantize(_) => NodeState::Rest(vec![0; node.len]),
                Behaviour::Readout(_) => NodeState::Readout(vec![N::Total::default(); node.len], 0),
            })
            .collect();
        State { front, nodes, statistics: Statistics { layers: self.populations.clone() } }
    }

    pub fn advance(&self, state: &mut State<N>, mut steps: usize) {
        while steps > 0 {
            let chunk = self.chunk.map_or(steps, |c| c.min(steps));
            self.advance_chunk(state, chunk, Phase::Input);
            steps -= chunk;
        }
    }

    /// Steps without input after a window of `window` steps, until one in which nothing is sent,
    /// `most` at most. Returns those in which something was.
    pub fn settle(&self, state: &mut State<N>, window: u32, most: u32) -> u32 {
        for current in &mut state.front {
            match current {
                SteadyCurrent::Real(x) => x.fill(0.0),
                SteadyCurrent::Integer(x) => x.fill(0),
            }
        }
        for step in 0..most {
            let before = state.statistics.spikes();
            self.advance_chunk(state, 1, Phase::Settling(i64::from(window)));
            if state.statistics.spikes() == before {
                return step;
            }
        }
        most
    }

    fn advance_chunk(&self, state: &mut State<N>, steps: usize, phase: Phase) {
        let mut values: Vec<Option<Value<N>>> = self.nodes.iter().map(|_| None).collect();
        for (n, node) in self.nodes.iter().enumerate() {
            let value = node.run(&state.front, &mut state.nodes[n], &values, steps, phase, &mut state.statistics);
            values[n] = Some(value);
            node.dying.iter().for_each(|&o| values[o] = None);
        }
    }

    /// Accumulated currents as real numbers, per step that was accumulated, scaled.
    pub fn potentials(&self, state: &State<N>, steps: u32) -> Vec<Vec<f32>> {
        let output = |o: &Output| {
            let NodeState::Readout(sums, _) = &state.nodes[o.node] else { return Vec::new() };
            let counted = steps.saturating_sub(o.delay).max(1);
            let scale = |i: usize| o.scale.as_ref().map_or(1.0, |s| f64::from(s[i]));
            sums.iter().enumerate().map(|(i, &sum)| (N::to_f64(sum) / f64::from(counted) * scale(i)) as f32).collect()
        };
        self.outputs.iter().map(output).collect()
    }

    /// The neurons of population `index`.
    pub fn membranes<'s>(&self, state: &'s State<N>, index: usize) -> Option<&'s Membranes<N>> {
        let neurons = |s: &'s NodeState<N>| if let NodeState::Neurons(m) = s { Some(m) } else { None };
        state.nodes.iter().filter_map(neurons).nth(index)
    }
}

fn population<N: Number>(neuron: &snn_ir::neuron::Neuron, shape: &[usize]) -> Result<Population<N>, &'static str> {
    Population::new(neuron, shape).ok_or("thresholds are integers after an `encode` and floats elsewhere")
}

impl<N: BodyNumber> Node<N> {
    fn run(
        &self,
        front: &[SteadyCurrent],
        state: &mut NodeState<N>,
        values: &[Option<Value<N>>],
        steps: usize,
        phase: Phase,
        statistics: &mut Statistics,
    ) -> Value<N> {
        let operands: Vec<(&[N], bool)> = self
            .operands
            .iter()
            .map(|o| match o {
                Operand::Prefix(f) => (N::steady(&front[*f]).unwrap_or_default(), true),
                Operand::Node(n) => match &values[*n] {
                    Some(Value::Steady(x)) => (x.as_slice(), true),
                    Some(Value::Steps(x)) => (x.as_slice(), false),
                    None => unreachable!("values live until their last use"),
                },
            })
            .collect();
        let at = |t: usize| -> Vec<&[N]> {
            let row = |x: &'_ [N]| t * (x.len() / steps)..(t + 1) * (x.len() / steps);
            operands.iter().map(|&(x, steady)| if steady { x } else { &x[row(x)] }).collect()
        };
        let steady = operands.iter().all(|&(_, steady)| steady);
        let stateless = |kernel: &Kernel<N>| {
            let rows = if steady { 1 } else { steps };
            let mut out = vec![N::default(); rows * self.len];
            out.chunks_exact_mut(self.len).enumerate().for_each(|(t, out)| kernel.run(&at(t), out));
            if steady { Value::Steady(out) } else { Value::Steps(out) }
        };
        let mut book = |i: usize, spikes: u64| {
            if let Some(s) = &self.spikes {
                let layer = &mut statistics.layers[s.population];
                layer.synops += spikes * s.synapses[i];
                layer.spikes += if matches!(self.behaviour, Behaviour::Neurons(..)) { spikes } else { 0 };
            }
        };
        match (&self.behaviour, state) {
            (Behaviour::Stateless(affine), _) => stateless(affine.in_phase(phase)),
            (Behaviour::Neurons(affine, population), NodeState::Neurons(membranes)) => {
                let current = stateless(affine.in_phase(phase));
                let most = if let Phase::Settling(window) = phase { window } else { i64::MAX };
                let rows: Vec<&[N]> = match &current {
                    Value::Steady(x) => vec![x.as_slice(); steps],
                    Value::Steps(x) => x.chunks_exact(self.len).collect(),
                };
                let mut out = vec![N::default(); steps * self.len];
                population.run(membranes, &rows, most, &mut out, book);
                Value::Steps(out)
            }
            (Behaviour::RunningMax(max), NodeState::Sums(sums)) => {
                let mut out = vec![N::default(); steps * self.len];
                for (t, out) in out.chunks_exact_mut(self.len).enumerate() {
                    max.step(sums, &at(t), out);
                    out.iter().enumerate().filter(|(_, x)| **x != N::default()).for_each(|(i, _)| book(i, 1));
                }
                Value::Steps(out)
            }
            (Behaviour::Requantize(r), NodeState::Rest(rests)) => {
                let mut out = vec![N::default(); steps * self.len];
                for (t, out) in out.chunks_exact_mut(self.len).enumerate() {
                    for ((out, &x), rest) in out.iter_mut().zip(at(t)[0]).zip(&mut *rests) {
                        *out = N::requantize(*r, rest, x);
                    }
                }
                Value::Steps(out)
            }
            (Behaviour::Readout(delay), NodeState::Readout(sums, seen)) => {
                let late = (delay.saturating_sub(*seen) as usize).min(steps);
                *seen = seen.saturating_add(steps as u32);
                for t in late..steps {
                    sums.iter_mut().zip(at(t)[0]).for_each(|(s, x)| *s = N::accumulate(*s, x.widen()));
                }
                Value::Steady(Vec::new())
            }
            _ => unreachable!("every node has the state of its behaviour"),
        }
    }
}
