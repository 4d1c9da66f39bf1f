//! Running the nodes of a network of bytes, a chunk of steps each.

use super::potentials::{Potentials, constant_rows};
use super::values::Value;
use super::{Chunk, Machine, Phase, State};
use crate::engine::bytes::Fast;
use crate::engine::bytes::layer::{Block, CountLayer};
use crate::engine::bytes::layout::Layout;
use crate::engine::bytes::maxima::{Maxima, Rising, See};
use crate::engine::plan::{Mode, Work};
use crate::kernels::counted::{COLUMNS, Meaning};
use crate::kernels::stepped::Pixels;

impl Machine<'_> {
    /// Runs some steps, node by node.
    pub(super) fn run_chunk(&mut self, chunk: Chunk) {
        let program = self.program;
        for (i, node) in program.nodes.iter().enumerate().filter(|(_, n)| n.mode == Mode::Stepped) {
            let mut value = std::mem::take(&mut self.values.of[i]);
            let mut state = std::mem::replace(&mut self.states[i], State::None);
            match (&program.fast[i], &mut state, &program.layouts[i]) {
                (Some(Fast::Layer(layer)), State::Neurons(neurons), Some(layout)) => {
                    self.run_neurons(i, layer, neurons, layout, &mut value, chunk);
                }
                (Some(Fast::Layer(layer)), _, None) => self.run_currents(i, layer, &mut value, chunk),
                (Some(Fast::Maxima(maxima)), State::Rising(rising), Some(layout)) => {
                    self.run_maxima(i, maxima, rising, layout, &mut value, chunk.steps);
                }
                (Some(Fast::Copies(copies)), _, Some(_)) => {
                    for t in 0..chunk.steps {
                        let live = node.operands.iter().any(|&o| self.values.of[o].is_live_at_all(t));
                        if live || value.is_live_at_all(t) {
                            copies.run(|o| self.values.of[o].plane(t), value.plane_mut(t));
                            value.live(t).fill(live);
                        }
                    }
                }
                _ => (0..chunk.steps).for_each(|t| self.run_exactly(i, &mut state, &mut value, t, chunk.phase)),
            }
            self.values.of[i] = value;
            self.states[i] = state;
        }
    }

    /// What the currents of layer `i` start from in step `t` of the chunk, but for what differs
    /// from pixel to pixel.
    fn steady_row(&mut self, i: usize, layer: &CountLayer, t: usize, phase: Phase) {
        let node = &self.program.nodes[i];
        let row = &mut self.scratch.row;
        row.clear();
        row.resize(layer.lanes, 0);
        if let (Work::Layer(work), Phase::Input) = (&node.work, phase) {
            if !layer.steady_by_pixel {
                row[..node.channels].copy_from_slice(work.bias.values());
            }
            if let Some(scheduled) = node.scheduled(self.total + t as u64) {
                row.iter_mut().zip(scheduled.values()).for_each(|(x, y)| *x = x.wrapping_add(*y));
            }
        }
    }

    /// Adds to the currents of a block what its synapses make of step `t`, less what silence does,
    /// which is left in the row.
    fn add_synapses(&mut self, layer: &CountLayer, block: Block, t: usize, currents: &mut [i32]) -> bool {
        let mut any = false;
        for s in &layer.synapses {
            let operand = &self.values.of[s.operand];
            if operand.is_live(t, s.window.input_rows(block.y)) {
                any = true;
                s.run(self.program.kernels, operand.plane(t), block, currents, &self.scratch.row);
                self.scratch.row.iter_mut().zip(&s.silence).for_each(|(x, silence)| *x = x.wrapping_sub(*silence));
            }
        }
        any
    }

    fn run_neurons(
        &mut self,
        i: usize,
        layer: &CountLayer,
        state: &mut Potentials,
        layout: &Layout,
        value: &mut Value,
        Chunk { steps, phase }: Chunk,
    ) {
        let (program, neurons) = (self.program, self.program.stepped(i));
        let most = if phase == Phase::Settling { self.window as i32 } else { i32::MAX };
        let was_live = value.clear_live(steps);
        for (index, block) in layer.blocks().enumerate() {
            let lanes = block.pixel * layer.lanes..(block.pixel + block.columns) * layer.lanes;
            let bytes = layout.at(block.pixel)..layout.at(block.pixel) + block.columns * layout.pixel;
            for t in 0..steps {
                let potentials = &mut state.potentials[lanes.clone()];
                self.steady_row(i, layer, t, phase);
                let fed = self.add_synapses(layer, block, t, potentials);
                let bytes = &mut value.plane_mut(t)[bytes.clone()];
                if phase == Phase::Settling && state.resting[index] && !fed {
                    if was_live[t * layout.grid[0] + block.y] {
                        bytes.fill(program.zero);
                    }
                    continue;
                }
                if phase == Phase::Input && layer.steady_by_pixel {
                    program.kernels.add(&state.steady[lanes.clone()], potentials);
                }
                let mut pixels = Pixels { potentials, sent: &mut state.sent[lanes.clone()], bytes, pitch: layout.pixel };
                let fired = neurons.fire(program.kernels, block.pixel, &mut pixels, &self.scratch.row, most);
                state.resting[index] = !fired;
                if fired {
                    self.count_spikes(i, block.pixel, pixels.bytes, layout.pixel);
                    value.live(t)[block.y] = true;
                }
            }
        }
    }

    /// A layer without neurons.
    fn run_currents(&mut self, i: usize, layer: &CountLayer, value: &mut Value, Chunk { steps, phase }: Chunk) {
        let node = &self.program.nodes[i];
        let steady =
            if layer.steady_by_pixel && phase == Phase::Input { constant_rows(self.program, i, &self.constants) } else { Vec::new() };
        let mut currents = std::mem::take(&mut self.scratch.currents);
        currents.resize(COLUMNS * layer.lanes, 0);
        for block in layer.blocks() {
            for t in 0..steps {
                let currents = &mut currents[..block.columns * layer.lanes];
                currents.fill(0);
                if !steady.is_empty() {
                    currents.copy_from_slice(&steady[block.pixel * layer.lanes..][..currents.len()]);
                }
                self.steady_row(i, layer, t, phase);
                self.add_synapses(layer, block, t, currents);
                let out = &mut value.currents_mut(t)[block.pixel * node.channels..][..block.columns * node.channels];
                for (out, x) in out.chunks_exact_mut(node.channels).zip(currents.chunks_exact(layer.lanes)) {
                    out.iter_mut().zip(x).zip(&self.scratch.row).for_each(|((out, x), row)| *out = x.wrapping_add(*row));
                }
            }
        }
        self.scratch.currents = currents;
    }

    fn run_maxima(&mut self, i: usize, maxima: &Maxima, rising: &mut Rising, layout: &Layout, value: &mut Value, steps: usize) {
        let program = self.program;
        let was_live = value.clear_live(steps);
        for t in 0..steps {
            let mut risen = Vec::new();
            let (of, zero) = (&self.values.of, program.zero);
            let see = See { plane: &|o| of[o].plane(t), is_live: &|o, rows| of[o].is_live(t, rows) };
            rising.step(maxima, program.kernels, zero, &program.layouts, &see, |y, rise| {
                let to = &mut value.plane_mut(t)[layout.row(y)];
                match rise {
                    Some(rise) => {
                        to.copy_from_slice(rise);
                        risen.push(y);
                    }
                    None if was_live[t * layout.grid[0] + y] => to.fill(zero),
                    None => {}
                }
            });
            for y in risen {
                self.count_spikes(i, y * layout.grid[1], &value.plane(t)[layout.row(y)], layout.pixel);
                value.live(t)[y] = true;
            }
        }
    }

    /// Counts the spikes of neighbouring pixels of node `i`.
    pub(super) fn count_spikes(&mut self, i: usize, pixel: usize, bytes: &[u8], pitch: usize) {
        let program = self.program;
        for (source, counts) in program.populations.sources.iter().zip(&mut self.crossed).filter(|(s, _)| s.node == i) {
            let meaning = if source.own { program.stepped(i).meaning() } else { Meaning::Sent { zero: program.zero } };
            source.crossings.add_row(program.kernels, pixel, (bytes, pitch), meaning, counts, &mut self.scratch.by_channel);
        }
    }
}
