//! The state of a compiled network on one sample.

use super::Program;
use super::arena::{Arena, write_rows};
use crate::engine;
use crate::engine::plan::layer::Base;
use crate::engine::plan::node::{LayerWork, PlanNode};
use crate::engine::plan::{Mode, Work};
use crate::engine::sums::{constant_current, constants, delay, linear, potentials, widened};
use crate::error::RunError;
use crate::kernels::count::{Counts, per_element};
use crate::kernels::cumulative::{Running, Spikes};
use crate::layout::{ElementMap, Extent, lanes};
use crate::spikes::statistics::Statistics;
use snn_ir::op::Requantize;

/// Buffers, potentials and counts.
pub(crate) struct Machine<'n> {
    pub(super) program: &'n Program,
    pub(super) arena: Arena,
    /// Per node: its current, pixel-major, when it is the same in every step.
    constants: Vec<Vec<i32>>,
    /// Per node: its sum over the window so far, pixel-major, where somebody needs it.
    sums: Vec<Vec<i64>>,
    running: Vec<Option<Running>>,
    /// Per node that makes integers coarser: what rounding left over, pixel-major.
    rests: Vec<Vec<i64>>,
    /// Per node with a schedule: its current without it, pixel-major.
    bases: Vec<Vec<i32>>,
    /// Per node that is an output with a delay: its sum when the delay was over.
    early: Vec<Vec<i64>>,
    /// Per source: spikes by the synapses they cross.
    counts: Vec<Counts>,
    statistics: Statistics,
    /// Steps of the window so far.
    steps: i64,
}

impl<'n> Machine<'n> {
    pub(crate) fn new(program: &'n Program) -> Self {
        let plan = &program.plan;
        let needs_sum = |(i, n): (usize, &PlanNode)| plan.summed_over[i] || n.mode == Mode::Summed;
        let elements = |n: &PlanNode| n.operands.iter().map(|&o| plan.nodes[o].len()).sum();
        let running = |n: &PlanNode| match n.work {
            Work::MaxPool(_) | Work::Maximum if n.mode == Mode::Stepped => Some(Running::new(elements(n), n.len())),
            _ => None,
        };
        let rests = |n: &PlanNode| match n.work {
            Work::Requantize(_) => vec![0; n.len()],
            _ => Vec::new(),
        };
        Machine {
            program,
            arena: Arena::new(plan.arena),
            constants: vec![Vec::new(); plan.nodes.len()],
            sums: plan.nodes.iter().enumerate().map(|p| vec![0; if needs_sum(p) { p.1.len() } else { 0 }]).collect(),
            running: plan.nodes.iter().map(running).collect(),
            rests: plan.nodes.iter().map(rests).collect(),
            bases: vec![Vec::new(); plan.nodes.len()],
            early: vec![Vec::new(); plan.nodes.len()],
            counts: program.populations.sources.iter().map(|s| s.crossings.counts()).collect(),
            statistics: program.populations.none.clone(),
            steps: 0,
        }
    }

    /// What is computed on sums over the steps so far.
    fn sum_up(&mut self) {
        let plan = &self.program.plan;
        for (i, node) in plan.nodes.iter().enumerate().filter(|(_, n)| n.mode == Mode::Summed) {
            let sums: Vec<Vec<i64>> = node
                .operands
                .iter()
                .map(|&o| match plan.nodes[o].mode {
                    Mode::Constant => widened(&self.constants[o]).iter().map(|x| x * self.steps).collect(),
                    _ => self.sums[o].clone(),
                })
                .collect();
            self.sums[i] = linear(node, &sums, self.steps, &plan.nodes);
        }
    }

    /// Runs `steps` steps, at most a chunk, node by node.
    fn run_chunk(&mut self, steps: usize) {
        let plan = &self.program.plan;
        for i in plan.stepped() {
            let node = &plan.nodes[i];
            if let (Some(row), Some(Base::Window(buffer))) = (node.scheduled(self.steps as u64), plan.layers[i].as_ref().map(|l| l.base)) {
                let (base, rows) = (&self.bases[i], self.arena.buffer_mut(buffer));
                write_rows(rows, node.channels, |e| base[e] + row.at(e / node.channels, e % node.channels, node.channels));
            }
            match &node.work {
                Work::Layer(_) => self.run_layer(i, steps),
                Work::Structural(_) if node.is_spikes() => self.move_spikes(i, steps),
                Work::Structural(map) => {
                    let ends = node.ends_of_operands(&plan.nodes);
                    for t in 0..steps {
                        for (e, &source) in map.source.iter().enumerate() {
                            let x = if source == ElementMap::FILL {
                                map.fill
                            } else {
                                let (operand, element) = ends.locate(source as usize);
                                self.element(node.operands[operand], element, t)
                            };
                            self.set_current(i, e, t, x);
                        }
                    }
                }
                Work::MaxPool(_) | Work::Maximum => self.maximum(i, steps),
                Work::Requantize(r) => self.requantize(i, *r, steps),
                _ => {}
            }
            self.check_masks(i, steps);
            if let (true, Some(buffer)) = (plan.summed_over[i], plan.values[i]) {
                if node.is_spikes() {
                    let masks = self.arena.buffer_mut(buffer);
                    per_element(plan.kernels, masks, node.channels, (plan.chunk, steps), &mut self.sums[i]);
                } else {
                    for e in 0..node.len() {
                        let sum: i64 = (0..steps).map(|t| i64::from(self.element(i, e, t))).sum();
                        self.sums[i][e] += sum;
                    }
                }
            }
            for (source, counts) in self.program.populations.sources.iter().zip(&mut self.counts).filter(|(s, _)| s.node == i) {
                if let Some(buffer) = plan.values[i] {
                    let masks = self.arena.buffer_mut(buffer);
                    source.crossings.count(plan.kernels, masks, (plan.chunk, steps), counts);
                }
            }
        }
    }

    /// Runs layer `i` for `steps` steps, at most a chunk, on the values of its operands as they
    /// are.
    pub(crate) fn run_layer(&mut self, i: usize, steps: usize) {
        self.set_guards(i);
        let arena = self.arena.as_mut_ptr();
        match (&self.program.tables[i], self.program.plan.kernels.table) {
            // SAFETY: as below; the kernel is this CPU's.
            (Some(table), Some(run)) => unsafe { run(table, arena, steps, self.steps == 0) },
            // SAFETY: the arena is the plan's and borrowed mutably, its lines are aligned, and a
            // chunk holds `steps`.
            _ => unsafe { self.program.code.run(i, arena, steps, self.steps == 0) },
        }
        self.check_guards(i);
    }

    #[cfg(not(any(test, debug_assertions)))]
    fn check_masks(&self, _: usize, _: usize) {}

    #[cfg(not(any(test, debug_assertions)))]
    fn set_guards(&mut self, _: usize) {}

    #[cfg(not(any(test, debug_assertions)))]
    fn check_guards(&self, _: usize) {}

    fn move_spikes(&mut self, i: usize, steps: usize) {
        let plan = &self.program.plan;
        let node = &plan.nodes[i];
        let (Some(moves), Some(out)) = (&self.program.moves[i], plan.values[i]) else { return };
        let operands: Vec<Extent> = node.operands.iter().map(|&o| plan.nodes[o].extent()).collect();
        self.arena.buffer_mut(out).fill(0);
        for (index, &o) in node.operands.iter().enumerate() {
            if let Some(from) = plan.values[o] {
                let (from, out) = self.arena.disjoint(from, out);
                moves.spikes(index, &operands, from, node.channels, out, (plan.chunk, steps));
            }
        }
    }

    fn maximum(&mut self, i: usize, steps: usize) {
        let plan = &self.program.plan;
        let node = &plan.nodes[i];
        let Some(mut running) = self.running[i].take() else { return };
        if node.is_spikes() {
            let Some(out) = plan.values[i] else { return };
            let (before, rest) = self.arena.bytes_mut().split_at_mut(out.offset);
            let (masks, after) = rest.split_at_mut(out.bytes);
            let spikes = |o: &usize| {
                let at = plan.values[*o]?;
                // Buffers that are alive together do not overlap.
                let masks = match at.offset.checked_sub(out.offset + out.bytes) {
                    Some(offset) => &after[offset..],
                    None => &before[at.offset..],
                };
                Some(Spikes { masks: &masks[..at.bytes], pixels: plan.nodes[*o].pixels })
            };
            let operands: Vec<Spikes> = node.operands.iter().filter_map(spikes).collect();
            let taps = |p: usize, visit: &mut dyn FnMut(usize, usize)| match &node.work {
                Work::MaxPool(geometry) => geometry.for_each_tap(p, |pixel, _| visit(0, pixel)),
                _ => (0..operands.len()).for_each(|o| visit(o, p)),
            };
            running.spikes(plan.kernels, &operands, &taps, (node.pixels, node.channels), masks, (plan.chunk, steps));
        } else {
            let ends = node.ends_of_operands(&plan.nodes);
            let taps = |p: usize, visit: &mut dyn FnMut(usize)| match &node.work {
                Work::MaxPool(geometry) => geometry.for_each_tap(p, |pixel, _| visit(pixel * node.channels)),
                _ => (0..node.operands.len()).for_each(|o| visit((o * node.pixels + p) * node.channels)),
            };
            let mut results = vec![0; node.len()];
            for t in 0..steps {
                let current = |e: usize| {
                    let (operand, element) = ends.locate(e);
                    self.element(node.operands[operand], element, t)
                };
                running.currents(current, &taps, node.channels, |e, x| results[e] = x);
                results.iter().enumerate().for_each(|(e, &x)| self.set_current(i, e, t, x));
            }
        }
        self.running[i] = Some(running);
    }

    /// Takes bits off a current, whose layout is that of the result.
    fn requantize(&mut self, i: usize, r: Requantize, steps: usize) {
        let plan = &self.program.plan;
        let (node, operand) = (&plan.nodes[i], plan.nodes[i].operands[0]);
        let Some(out) = plan.values[i] else { return };
        let (channels, step, pixel) = (node.channels, 4 * lanes(node.channels), plan.pixel_bytes(node));
        let constant = &self.constants[operand];
        let (from, to) = match plan.values[operand] {
            Some(from) => self.arena.disjoint(from, out),
            None => (&[][..], self.arena.buffer_mut(out)),
        };
        for (p, rests) in self.rests[i].chunks_exact_mut(channels).enumerate() {
            for at in (0..steps).map(|t| p * pixel + t * step) {
                let to = to[at..][..4 * channels].as_chunks_mut::<4>().0;
                let mut send = |c: usize, x: i32| to[c] = (r.step(&mut rests[c], i64::from(x)) as i32).to_ne_bytes();
                if from.is_empty() {
                    constant[p * channels..][..channels].iter().enumerate().for_each(|(c, &x)| send(c, x));
                } else {
                    let row = from[at..][..4 * channels].as_chunks::<4>().0;
                    row.iter().enumerate().for_each(|(c, x)| send(c, i32::from_ne_bytes(*x)));
                }
            }
        }
    }

    /// Element `e` (pixel-major) of node `i` in step `t` of the chunk.
    fn element(&self, i: usize, e: usize, t: usize) -> i32 {
        let plan = &self.program.plan;
        let node = &plan.nodes[i];
        let Some(buffer) = plan.values[i] else { return self.constants[i][e] };
        let (pixel, channel) = (e / node.channels, e % node.channels);
        let step = plan.pixel_bytes(node) / plan.chunk;
        let at = buffer.offset + pixel * plan.pixel_bytes(node) + t * step;
        if node.is_spikes() {
            i32::from(self.arena.bytes()[at + channel / 8] >> (channel % 8) & 1)
        } else {
            self.arena.i32_at(at + 4 * channel)
        }
    }

    fn set_current(&mut self, i: usize, e: usize, t: usize, x: i32) {
        let plan = &self.program.plan;
        let (node, Some(buffer)) = (&plan.nodes[i], plan.values[i]) else { return };
        let at = buffer.offset + (e / node.channels) * plan.pixel_bytes(node) + 4 * (t * lanes(node.channels) + e % node.channels);
        self.arena.bytes_mut()[at..at + 4].copy_from_slice(&x.to_ne_bytes());
    }
}

impl engine::Machine for Machine<'_> {
    fn start(&mut self, inputs: &[&[f32]]) {
        let plan = &self.program.plan;
        self.steps = 0;
        self.sums.iter_mut().for_each(|s| s.fill(0));
        self.early.iter_mut().for_each(Vec::clear);
        self.running.iter_mut().flatten().for_each(Running::reset);
        self.rests.iter_mut().for_each(|r| r.fill(0));
        self.counts.iter_mut().for_each(Counts::reset);
        self.statistics.clone_from(&self.program.populations.none);
        self.constants = constants(&plan.nodes, self.program.prefix.run(inputs));
        let constants = &self.constants;
        let arena = &mut self.arena;
        for i in plan.stepped() {
            let (Work::Layer(work), Some(layer)) = (&plan.nodes[i].work, &plan.layers[i]) else { continue };
            let node = &plan.nodes[i];
            if let Base::Window(buffer) = layer.base {
                let base = constant_current(work, node, constants, &plan.nodes);
                let to = arena.buffer_mut(buffer);
                match &self.program.tables[i] {
                    Some(table) => {
                        for (e, &x) in base.iter().enumerate() {
                            let at = 4 * table.element(e / node.channels, e % node.channels);
                            to[at..at + 4].copy_from_slice(&x.to_ne_bytes());
                        }
                    }
                    None => write_rows(to, node.channels, |e| base[e]),
                }
                if !node.schedule().is_empty() {
                    self.bases[i] = base;
                }
            }
        }
    }

    fn advance(&mut self, steps: u32) {
        let plan = &self.program.plan;
        let end = self.steps + i64::from(steps);
        let mut delays: Vec<i64> =
            plan.outputs.iter().map(|&o| i64::from(delay(&plan.nodes[o]))).filter(|d| (self.steps + 1..end).contains(d)).collect();
        delays.sort_unstable();
        for stop in delays.into_iter().chain([end]) {
            while self.steps < stop {
                let now = ((stop - self.steps) as usize).min(plan.chunk);
                self.run_chunk(now);
                self.steps += now as i64;
            }
            self.sum_up();
            for &o in plan.outputs.iter().filter(|&&o| i64::from(delay(&plan.nodes[o])) == self.steps) {
                self.early[o].clone_from(&self.sums[o]);
            }
        }
        let counted = self.program.populations.sources.iter().zip(&self.counts).map(|(source, counts)| source.crossings.totals(counts));
        self.program.populations.book(counted, &mut self.statistics);
    }

    /// It has no ternary neurons, so that a network of its which settles has no neurons at all.
    fn settle(&mut self, _window: u32, _most: u32) -> Result<u32, RunError> {
        Ok(0)
    }

    fn potentials(&self, steps: u32) -> Vec<Vec<f32>> {
        let plan = &self.program.plan;
        let output = |&o: &usize| {
            let node = &plan.nodes[o];
            let (delay, early) = (delay(node), &self.early[o]);
            if steps <= delay {
                return vec![0.0; node.len()];
            }
            let late = |(e, sum): (usize, &i64)| sum - early.get(e).copied().unwrap_or(0);
            let sums: Vec<i64> = self.sums[o].iter().enumerate().map(late).collect();
            potentials(node, &sums, steps - delay)
        };
        plan.outputs.iter().map(output).collect()
    }

    fn statistics(&self) -> &Statistics {
        &self.statistics
    }

    /// The engine counts spikes by the synapses they cross, not by neuron.
    fn spike_counts(&self, _layer: usize) -> Option<Vec<i64>> {
        None
    }

    fn membranes(&self, layer: usize) -> Option<Vec<f64>> {
        let plan = &self.program.plan;
        let &i = self.program.populations.nodes.get(layer)?;
        let node = &plan.nodes[i];
        let (Work::Layer(LayerWork { neuron: Some(neuron), .. }), Some(layer)) = (&node.work, &plan.layers[i]) else { return None };
        if self.steps == 0 {
            let initial = |e: usize| neuron.initial.at(e % node.pixels, e / node.pixels, node.channels);
            return Some((0..node.len()).map(|e| f64::from(initial(e))).collect());
        }
        let buffer = layer.membrane?;
        let at = |e: usize| {
            let (pixel, channel) = (e % node.pixels, e / node.pixels);
            let element = match &self.program.tables[i] {
                Some(table) => table.element(pixel, channel),
                None => pixel * lanes(node.channels) + channel,
            };
            buffer.offset + 4 * element
        };
        Some((0..node.len()).map(|e| f64::from(self.arena.i32_at(at(e)))).collect())
    }
}
