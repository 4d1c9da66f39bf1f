//! The state of a compiled network on one sample.

use super::Program;
use crate::kernels::count::{Counts, per_element};
use crate::kernels::cumulative::{Running, Spikes};
use crate::plan::kernel::Base;
use crate::plan::memory::Buffer;
use crate::plan::node::{Ends, LayerWork, PlanNode};
use crate::plan::{Mode, Work, lanes};
#[cfg(any(test, debug_assertions))]
use crate::plan::{mask_bytes, memory::GUARD};
use crate::statistics::Statistics;
use crate::sums::{constant_current, constants, delay, linear, potentials, widened};
use snn_ir::op::Requantize;

/// What guards hold while a layer runs.
#[cfg(any(test, debug_assertions))]
const MARK: u8 = 0xa5;

/// A line of the arena, aligned for every kernel.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
struct Line([u8; 64]);

/// Buffers, potentials and counts.
pub(crate) struct Machine<'n> {
    program: &'n Program,
    arena: Vec<Line>,
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
            arena: vec![Line([0; 64]); plan.arena.div_ceil(64)],
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

    pub(crate) fn start(&mut self, inputs: &[&[f32]]) {
        let plan = &self.program.plan;
        self.steps = 0;
        self.sums.iter_mut().for_each(|s| s.fill(0));
        self.early.iter_mut().for_each(Vec::clear);
        self.running.iter_mut().flatten().for_each(Running::reset);
        self.rests.iter_mut().for_each(|r| r.fill(0));
        self.counts.iter_mut().for_each(Counts::reset);
        self.statistics.clone_from(&self.program.populations.none);
        self.constants = constants(&plan.nodes, self.program.front_end.run(inputs));
        let constants = &self.constants;
        let arena = bytes(&mut self.arena);
        for i in plan.stepped() {
            let (Work::Layer(work), Some(layer)) = (&plan.nodes[i].work, &plan.layers[i]) else { continue };
            let node = &plan.nodes[i];
            if let Base::Window(buffer) = layer.base {
                let base = constant_current(work, node, constants, &plan.nodes);
                let to = &mut arena[buffer.offset..][..buffer.bytes];
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

    pub(crate) fn advance(&mut self, steps: u32) {
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
                let (base, rows) = (&self.bases[i], &mut bytes(&mut self.arena)[buffer.offset..][..buffer.bytes]);
                write_rows(rows, node.channels, |e| base[e] + row.at(e / node.channels, e % node.channels, node.channels));
            }
            match &node.work {
                Work::Layer(_) => self.run_layer(i, steps),
                Work::Structural(_) if node.is_spikes() => self.move_spikes(i, steps),
                Work::Structural(map) => {
                    let ends = Ends::of_operands(node, &plan.nodes);
                    for t in 0..steps {
                        for (e, &source) in map.source.iter().enumerate() {
                            let x = if source == crate::plan::node::ElementMap::FILL {
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
                    per_element(
                        plan.cpu,
                        &bytes(&mut self.arena)[buffer.offset..][..buffer.bytes],
                        node.channels,
                        (plan.chunk, steps),
                        &mut self.sums[i],
                    );
                } else {
                    for e in 0..node.len() {
                        let sum: i64 = (0..steps).map(|t| i64::from(self.element(i, e, t))).sum();
                        self.sums[i][e] += sum;
                    }
                }
            }
            for (source, counts) in self.program.populations.sources.iter().zip(&mut self.counts).filter(|(s, _)| s.node == i) {
                if let Some(buffer) = plan.values[i] {
                    let masks = &bytes(&mut self.arena)[buffer.offset..][..buffer.bytes];
                    source.crossings.count(plan.cpu, masks, (plan.chunk, steps), counts);
                }
            }
        }
    }

    /// Runs layer `i` for `steps` steps, at most a chunk, on the values of its operands as they are.
    pub(crate) fn run_layer(&mut self, i: usize, steps: usize) {
        self.set_guards(i);
        let arena = self.arena.as_mut_ptr().cast();
        match &self.program.tables[i] {
            // SAFETY: as below; the plan chose tables because the CPU has the instructions.
            #[cfg(target_arch = "x86_64")]
            Some(table) => unsafe { table.run(arena, steps, self.steps == 0) },
            // SAFETY: the arena is the plan's and borrowed mutably, its lines are aligned, and a chunk holds `steps`.
            _ => unsafe { self.program.code.run(i, arena, steps, self.steps == 0) },
        }
        self.check_guards(i);
    }

    /// Marks what layer `i` may not write.
    #[cfg(any(test, debug_assertions))]
    fn set_guards(&mut self, i: usize) {
        let arena = bytes(&mut self.arena);
        self.program.plan.guards(i).into_iter().for_each(|at| arena[at..at + GUARD].fill(MARK));
    }

    /// Panics if layer `i` wrote what it may not.
    #[cfg(any(test, debug_assertions))]
    fn check_guards(&mut self, i: usize) {
        let plan = &self.program.plan;
        let arena = bytes(&mut self.arena);
        let whole = plan.guards(i).into_iter().all(|at| arena[at..at + GUARD].iter().all(|&b| b == MARK));
        assert!(whole, "layer {} ({:?}) wrote beyond a buffer", plan.nodes[i].name, plan.layers[i]);
    }

    /// Panics if node `i` sent spikes of channels that it does not have: kernels that list spikes have no room for them.
    #[cfg(any(test, debug_assertions))]
    fn check_masks(&mut self, i: usize, steps: usize) {
        let plan = &self.program.plan;
        let (node, Some(buffer)) = (&plan.nodes[i], plan.values[i]) else { return };
        let mask = mask_bytes(node.channels);
        let spikes = if node.is_spikes() { &bytes(&mut self.arena)[buffer.offset..][..buffer.bytes] } else { &[] };
        for pixel in spikes.chunks_exact(plan.chunk * mask) {
            for mask in pixel.chunks_exact(mask).take(steps) {
                let none = (node.channels..8 * mask.len()).all(|c| mask[c / 8] >> (c % 8) & 1 == 0);
                assert!(none, "{} has {} channels, but spikes beyond them", node.name, node.channels);
            }
        }
    }

    #[cfg(not(any(test, debug_assertions)))]
    fn check_masks(&mut self, _: usize, _: usize) {}

    #[cfg(not(any(test, debug_assertions)))]
    fn set_guards(&mut self, _: usize) {}

    #[cfg(not(any(test, debug_assertions)))]
    fn check_guards(&mut self, _: usize) {}

    fn move_spikes(&mut self, i: usize, steps: usize) {
        let plan = &self.program.plan;
        let node = &plan.nodes[i];
        let (Some(moves), Some(out)) = (&self.program.moves[i], plan.values[i]) else { return };
        let operands: Vec<&PlanNode> = node.operands.iter().map(|&o| &plan.nodes[o]).collect();
        bytes(&mut self.arena)[out.offset..][..out.bytes].fill(0);
        for (index, &o) in node.operands.iter().enumerate() {
            if let Some(from) = plan.values[o] {
                let (from, out) = disjoint(bytes(&mut self.arena), from, out);
                moves.spikes(index, &operands, from, node.channels, out, plan.chunk, steps);
            }
        }
    }

    fn maximum(&mut self, i: usize, steps: usize) {
        let plan = &self.program.plan;
        let node = &plan.nodes[i];
        let Some(mut running) = self.running[i].take() else { return };
        if node.is_spikes() {
            let Some(out) = plan.values[i] else { return };
            let (before, rest) = bytes(&mut self.arena).split_at_mut(out.offset);
            let (masks, behind) = rest.split_at_mut(out.bytes);
            let spikes = |o: &usize| {
                let at = plan.values[*o]?;
                // Buffers that are alive together do not overlap.
                let masks = match at.offset.checked_sub(out.offset + out.bytes) {
                    Some(offset) => &behind[offset..],
                    None => &before[at.offset..],
                };
                Some(Spikes { masks: &masks[..at.bytes], pixels: plan.nodes[*o].pixels })
            };
            let operands: Vec<Spikes> = node.operands.iter().filter_map(spikes).collect();
            let taps = |p: usize, visit: &mut dyn FnMut(usize, usize)| match &node.work {
                Work::MaxPool(geometry) => geometry.for_each_tap(p, |pixel, _| visit(0, pixel)),
                _ => (0..operands.len()).for_each(|o| visit(o, p)),
            };
            running.spikes(plan.cpu, &operands, &taps, (node.pixels, node.channels), masks, (plan.chunk, steps));
        } else {
            let ends = Ends::of_operands(node, &plan.nodes);
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

    fn requantize(&mut self, i: usize, r: Requantize, steps: usize) {
        let mut rests = std::mem::take(&mut self.rests[i]);
        let operand = self.program.plan.nodes[i].operands[0];
        for t in 0..steps {
            for (e, rest) in rests.iter_mut().enumerate() {
                let sent = r.step(rest, i64::from(self.element(operand, e, t)));
                self.set_current(i, e, t, sent as i32);
            }
        }
        self.rests[i] = rests;
    }

    /// Element `e` (pixel-major) of node `i` in step `t` of the chunk.
    fn element(&self, i: usize, e: usize, t: usize) -> i32 {
        let plan = &self.program.plan;
        let node = &plan.nodes[i];
        let Some(buffer) = plan.values[i] else { return self.constants[i][e] };
        let (pixel, channel) = (e / node.channels, e % node.channels);
        let step = plan.pixel_bytes(node) / plan.chunk;
        let at = buffer.offset + pixel * plan.pixel_bytes(node) + t * step;
        let byte = |k: usize| self.arena[(at + k) / 64].0[(at + k) % 64];
        if node.is_spikes() {
            i32::from(byte(channel / 8) >> (channel % 8) & 1)
        } else {
            i32::from_ne_bytes([0, 1, 2, 3].map(|k| byte(4 * channel + k)))
        }
    }

    fn set_current(&mut self, i: usize, e: usize, t: usize, x: i32) {
        let plan = &self.program.plan;
        let (node, Some(buffer)) = (&plan.nodes[i], plan.values[i]) else { return };
        let at = buffer.offset + (e / node.channels) * plan.pixel_bytes(node) + 4 * (t * lanes(node.channels) + e % node.channels);
        bytes(&mut self.arena)[at..at + 4].copy_from_slice(&x.to_ne_bytes());
    }

    pub(crate) fn potentials(&self, steps: u32) -> Vec<Vec<f32>> {
        let plan = &self.program.plan;
        let output = |&o: &usize| {
            let node = &plan.nodes[o];
            let (delay, early) = (delay(node), &self.early[o]);
            if steps <= delay {
                return vec![0.0; node.len()];
            }
            let behind = |(e, sum): (usize, &i64)| sum - early.get(e).copied().unwrap_or(0);
            let sums: Vec<i64> = self.sums[o].iter().enumerate().map(behind).collect();
            potentials(node, &sums, steps - delay)
        };
        plan.outputs.iter().map(output).collect()
    }

    pub(crate) fn statistics(&self) -> &Statistics {
        &self.statistics
    }

    /// The engine counts spikes by the synapses they cross, not by neuron.
    pub(crate) fn spike_counts(&self, _layer: usize) -> Option<Vec<i64>> {
        None
    }

    pub(crate) fn membranes(&self, layer: usize) -> Option<Vec<f64>> {
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
        let value = |at: usize| i32::from_ne_bytes([0, 1, 2, 3].map(|k| self.arena[(at + k) / 64].0[(at + k) % 64]));
        Some((0..node.len()).map(|e| f64::from(value(at(e)))).collect())
    }
}

fn bytes(arena: &mut [Line]) -> &mut [u8] {
    // SAFETY: a line is 64 bytes without padding, and any bytes are a line.
    unsafe { std::slice::from_raw_parts_mut(arena.as_mut_ptr().cast(), arena.len() * 64) }
}

/// Two buffers that do not overlap, the second one to write.
fn disjoint(arena: &mut [u8], read: Buffer, write: Buffer) -> (&[u8], &mut [u8]) {
    if read.offset < write.offset {
        let (low, high) = arena.split_at_mut(write.offset);
        (&low[read.offset..][..read.bytes], &mut high[..write.bytes])
    } else {
        let (low, high) = arena.split_at_mut(read.offset);
        (&high[..read.bytes], &mut low[write.offset..][..write.bytes])
    }
}

/// Fills rows of lanes with one value per element.
fn write_rows(rows: &mut [u8], channels: usize, value: impl Fn(usize) -> i32) {
    for (p, row) in rows.chunks_exact_mut(4 * lanes(channels)).enumerate() {
        for (c, cell) in row.as_chunks_mut::<4>().0.iter_mut().take(channels).enumerate() {
            *cell = value(p * channels + c).to_ne_bytes();
        }
    }
}
