//! The state of a network on one sample whose neurons send bytes step by step.
//!
//! Nodes run a chunk of steps each, one after the other. What is only read out, and every other sum
//! over the window, comes from what the neurons sent in all: everything between them and an output
//! is linear or a maximum.

mod exact;
mod potentials;
mod run;
mod values;

use super::bytes::maxima::Rising;
use super::bytes::{Fast, Neurons, Program};
use crate::engine;
use crate::engine::plan::node::{LayerWork, PerElement, PlanNode};
use crate::engine::plan::{Mode, Work};
use crate::engine::sums::{constants, delay, linear, potentials, row_major};
use crate::error::RunError;
use crate::kernels::cumulative::Running;
use crate::kernels::stepped::Stepped;
use crate::spikes::statistics::Statistics;
use potentials::{Potentials, constant_rows, out_of_rows};
use values::Values;

/// What the steps that are run belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// The window: constant input and biases.
    Input,
    /// Steps after it, without either. No count goes beyond the steps of the window.
    Settling,
}

/// Steps that every node runs before the next one, at most as many as there is room for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chunk {
    pub steps: usize,
    pub phase: Phase,
}

/// Values, potentials and counts.
pub(crate) struct Machine<'n> {
    pub(super) program: &'n Program,
    /// Per node: its current, pixel-major, when it is the same in every step.
    pub(super) constants: Vec<Vec<i32>>,
    pub(super) values: Values,
    pub(super) states: Vec<State>,
    /// Per source: spikes by the synapses they cross.
    pub(super) crossed: Vec<Vec<u64>>,
    pub(super) scratch: Scratch,
    /// Per node that is an output with a delay: its sum when the delay was over.
    early: Vec<Vec<i64>>,
    statistics: Statistics,
    /// Steps of the window so far.
    pub(super) window: u32,
    /// Steps so far, those without input among them.
    pub(super) total: u64,
}

/// What lasts from step to step.
pub(super) enum State {
    None,
    Neurons(Potentials),
    Rising(Rising),
    Running(Running),
    /// What rounding left over, pixel-major.
    Rest(Vec<i64>),
}

/// Memory for what does not last.
#[derive(Default)]
pub(super) struct Scratch {
    pub row: Vec<i32>,
    pub currents: Vec<i32>,
    pub by_channel: Vec<u32>,
}

impl<'n> Machine<'n> {
    pub(super) fn new(program: &'n Program) -> Self {
        let nodes = &program.nodes;
        let state = |(i, node): (usize, &PlanNode)| match (&node.work, &program.fast[i], &program.layouts[i]) {
            _ if node.mode != Mode::Stepped => State::None,
            (Work::Layer(LayerWork { neuron: Some(_), .. }), fast, _) => State::Neurons(Potentials::new(node, fast.as_ref())),
            (_, Some(Fast::Maxima(maxima)), Some(layout)) => State::Rising(Rising::new(maxima, layout, &program.layouts)),
            (Work::MaxPool(_) | Work::Maximum, ..) => {
                State::Running(Running::new(node.operands.iter().map(|&o| nodes[o].len()).sum(), node.len()))
            }
            (Work::Requantize(_), ..) => State::Rest(vec![0; node.len()]),
            _ => State::None,
        };
        Machine {
            program,
            constants: vec![Vec::new(); nodes.len()],
            values: Values::new(program),
            states: nodes.iter().enumerate().map(state).collect(),
            crossed: program.populations.sources.iter().map(|s| s.crossings.window_counts()).collect(),
            scratch: Scratch::default(),
            early: vec![Vec::new(); nodes.len()],
            statistics: program.populations.none.clone(),
            window: 0,
            total: 0,
        }
    }

    /// Steps that may be run at once: up to the end of a chunk, of the next output's delay, or as
    /// many as are wanted.
    fn next_chunk(&self, wanted: u32) -> u32 {
        let delays = self.program.outputs.iter().map(|&o| u64::from(delay(&self.program.nodes[o])));
        let next = delays.filter(|&d| d > self.total).map(|d| d - self.total).min().unwrap_or(u64::MAX);
        wanted.min(self.values.chunk as u32).min(u32::try_from(next).unwrap_or(u32::MAX))
    }

    /// Takes note of `steps` steps that were run.
    fn pass(&mut self, steps: u32) {
        self.total += u64::from(steps);
        for &o in &self.program.outputs {
            if u64::from(delay(&self.program.nodes[o])) == self.total {
                self.early[o] = self.sum_of(o);
            }
        }
    }

    fn book(&mut self) {
        let sources = &self.program.populations.sources;
        let counted = sources.iter().zip(&self.crossed).map(|(source, counts)| source.crossings.window_totals(counts));
        self.program.populations.book(counted, &mut self.statistics);
    }

    /// The sum of node `i` over all steps, pixel-major.
    fn sum_of(&self, i: usize) -> Vec<i64> {
        let nodes = &self.program.nodes;
        match (&self.states[i], &self.program.layouts[i]) {
            _ if nodes[i].mode == Mode::Constant => self.constants[i].iter().map(|&x| i64::from(x) * i64::from(self.window)).collect(),
            (State::Neurons(state), _) => out_of_rows(&state.sent, nodes[i].channels),
            (State::Rising(rising), Some(layout)) => rising.sums(layout),
            (State::Running(running), _) => running.maximum().to_vec(),
            _ => {
                let operands: Vec<Vec<i64>> = nodes[i].operands.iter().map(|&o| self.sum_of(o)).collect();
                linear(&nodes[i], &operands, i64::from(self.window), nodes)
            }
        }
    }

    fn population(&self, layer: usize, numbers: impl Fn(&Potentials) -> &[i32]) -> Option<Vec<i64>> {
        let &i = self.program.populations.nodes.get(layer)?;
        let (node, State::Neurons(state)) = (&self.program.nodes[i], &self.states[i]) else { return None };
        Some(row_major(&out_of_rows(numbers(state), node.channels), node))
    }
}

impl engine::Machine for Machine<'_> {
    fn start(&mut self, inputs: &[&[f32]]) {
        let program = self.program;
        (self.window, self.total) = (0, 0);
        self.early.iter_mut().for_each(Vec::clear);
        self.crossed.iter_mut().for_each(|counts| counts.fill(0));
        self.statistics.clone_from(&program.populations.none);
        self.constants = constants(&program.nodes, program.prefix.run(inputs));
        for (i, state) in self.states.iter_mut().enumerate() {
            match (state, &program.fast[i], &program.layouts[i]) {
                (State::Neurons(state), fast, _) => {
                    state.start(&program.nodes[i]);
                    if matches!(fast, Some(Fast::Layer(layer)) if layer.steady_by_pixel) {
                        state.steady = constant_rows(program, i, &self.constants);
                    }
                }
                (State::Rising(rising), Some(Fast::Maxima(maxima)), Some(layout)) => {
                    *rising = Rising::new(maxima, layout, &program.layouts);
                }
                (State::Running(running), ..) => running.reset(),
                (State::Rest(rests), ..) => rests.fill(0),
                _ => {}
            }
        }
    }

    fn advance(&mut self, steps: u32) {
        let mut left = steps;
        while left > 0 {
            let now = self.next_chunk(left);
            self.run_chunk(Chunk { steps: now as usize, phase: Phase::Input });
            self.window += now;
            self.pass(now);
            left -= now;
        }
        self.book();
    }

    /// Steps without input until one in which nothing is sent, `most` at most. Returns those in
    /// which something was.
    ///
    /// # Errors
    /// When the network is not at rest before potentials might leave 32 bits.
    fn settle(&mut self, _window: u32, most: u32) -> Result<u32, RunError> {
        for state in &mut self.states {
            if let State::Neurons(neurons) = state {
                neurons.resting.fill(false);
            }
        }
        let limit = self.program.longest_run();
        let room = u32::try_from(limit.saturating_sub(self.total)).unwrap_or(u32::MAX);
        let mut done = 0;
        while done < most.min(room) {
            let now = self.next_chunk(most.min(room) - done);
            self.run_chunk(Chunk { steps: now as usize, phase: Phase::Settling });
            self.pass(now);
            let silent = |t: &u32| self.program.populations.nodes.iter().all(|&i| !self.values.of[i].is_live_at_all(*t as usize));
            if let Some(t) = (0..now).find(silent) {
                self.book();
                return Ok(done + t);
            }
            done += now;
        }
        self.book();
        if room < most { Err(RunError::Overflow(u32::try_from(limit).unwrap_or(u32::MAX))) } else { Ok(most) }
    }

    fn potentials(&self, steps: u32) -> Vec<Vec<f32>> {
        let output = |&o: &usize| {
            let node = &self.program.nodes[o];
            if self.total <= u64::from(delay(node)) {
                return vec![0.0; node.len()];
            }
            let mut sums = self.sum_of(o);
            sums.iter_mut().zip(&self.early[o]).for_each(|(sum, early)| *sum -= early);
            potentials(node, &sums, steps.saturating_sub(delay(node)).max(1))
        };
        self.program.outputs.iter().map(output).collect()
    }

    fn statistics(&self) -> &Statistics {
        &self.statistics
    }

    fn spike_counts(&self, layer: usize) -> Option<Vec<i64>> {
        self.population(layer, |state| &state.sent)
    }

    fn membranes(&self, layer: usize) -> Option<Vec<f64>> {
        Some(self.population(layer, |state| &state.potentials)?.into_iter().map(|v| v as f64).collect())
    }
}

impl Program {
    /// Most steps, with and without input, in which no potential leaves 32 bits, whatever neurons
    /// fire.
    fn longest_run(&self) -> u64 {
        let steps = |(node, &largest): (&PlanNode, &i64)| {
            let neuron = node.neuron()?;
            let most = |p: &PerElement| p.values().iter().map(|&x| i64::from(x).abs()).max().unwrap_or(0);
            let room = i64::from(i32::MAX) - most(&neuron.initial).max(most(&neuron.threshold));
            Some((room.max(0) / largest.max(1)) as u64)
        };
        self.nodes.iter().zip(&self.largest).filter_map(steps).min().unwrap_or(u64::MAX)
    }

    /// The neurons of node `i`.
    pub(super) fn stepped(&self, i: usize) -> &Stepped {
        match &self.neurons[i] {
            Some(Neurons::Steps(neurons)) => neurons,
            _ => unreachable!("layers with neurons have them, of the domain"),
        }
    }
}
