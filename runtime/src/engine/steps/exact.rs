//! Steps of nodes that have no kernel on bytes, element by element.

use super::potentials::Potentials;
use super::values::Value;
use super::{Machine, Phase, State};
use crate::engine::plan::{Mode, Work};
use crate::engine::sums::linear;
use crate::kernels::stepped::Pixels;
use crate::layout::lanes;

impl Machine<'_> {
    /// Runs step `t` of the chunk of node `i`.
    pub(super) fn run_exactly(&mut self, i: usize, state: &mut State, value: &mut Value, t: usize, phase: Phase) {
        let (node, nodes) = (&self.program.nodes[i], &self.program.nodes);
        let operands: Vec<Vec<i64>> = node.operands.iter().map(|&o| self.elements(o, t, phase)).collect();
        let result = match state {
            State::Running(running) => {
                let ends = node.ends_of_operands(nodes);
                let current = |e: usize| {
                    let (operand, element) = ends.locate(e);
                    operands[operand][element] as i32
                };
                let taps = |p: usize, visit: &mut dyn FnMut(usize)| match &node.work {
                    Work::MaxPool(geometry) => geometry.for_each_tap(p, |pixel, _| visit(pixel * node.channels)),
                    _ => (0..node.operands.len()).for_each(|o| visit((o * node.pixels + p) * node.channels)),
                };
                let mut rises = vec![0; node.len()];
                running.currents(current, &taps, node.channels, |e, x| rises[e] = i64::from(x));
                rises
            }
            State::Rest(rests) => {
                let Work::Requantize(r) = node.work else { unreachable!("rests are kept for what rounds") };
                rests.iter_mut().zip(&operands[0]).map(|(rest, &x)| r.step(rest, x)).collect()
            }
            _ => linear(node, &operands, i64::from(phase == Phase::Input), nodes),
        };
        match (state, &self.program.layouts[i]) {
            (State::Neurons(state), _) => self.fire(i, state, &result, value, t, phase),
            (_, Some(layout)) => {
                let zero = i64::from(self.program.zero);
                layout.fill(value.plane_mut(t), result.iter().map(|&x| x + zero));
                let row = layout.grid[1] * node.channels;
                for (y, elements) in result.chunks_exact(row).enumerate() {
                    value.live(t)[y] = elements.iter().any(|&x| x != 0);
                }
            }
            (_, None) => value.currents_mut(t).iter_mut().zip(&result).for_each(|(to, &x)| *to = x as i32),
        }
        if let Some(layout) = &self.program.layouts[i] {
            for y in 0..layout.grid[0] {
                if value.live(t)[y] {
                    self.count_spikes(i, y * layout.grid[1], &value.plane(t)[layout.row(y)], layout.pixel);
                }
            }
        }
    }

    /// Neurons of node `i` on a current, which is pixel-major.
    fn fire(&self, i: usize, state: &mut Potentials, current: &[i64], value: &mut Value, t: usize, phase: Phase) {
        let Potentials { potentials, sent, .. } = state;
        let (program, node) = (self.program, &self.program.nodes[i]);
        let Some(layout) = &program.layouts[i] else { unreachable!("populations send bytes") };
        let (lanes, scheduled) = (lanes(node.channels), node.scheduled(self.total + t as u64));
        for (p, (row, x)) in potentials.chunks_exact_mut(lanes).zip(current.chunks_exact(node.channels)).enumerate() {
            for (c, (v, &x)) in row.iter_mut().zip(x).enumerate() {
                *v = v.wrapping_add(x as i32).wrapping_add(scheduled.map_or(0, |s| s.at(p, c, node.channels)));
            }
        }
        let most = if phase == Phase::Settling { self.window as i32 } else { i32::MAX };
        let (width, nothing) = (layout.grid[1], vec![0; lanes]);
        for y in 0..layout.grid[0] {
            let rows = y * width * lanes..(y + 1) * width * lanes;
            let bytes = &mut value.plane_mut(t)[layout.row(y)];
            let mut pixels = Pixels { potentials: &mut potentials[rows.clone()], sent: &mut sent[rows], bytes, pitch: layout.pixel };
            value.live(t)[y] = program.stepped(i).fire(program.kernels, y * width, &mut pixels, &nothing, most);
        }
    }

    /// What node `o` is in step `t` of the chunk, pixel-major.
    fn elements(&self, o: usize, t: usize, phase: Phase) -> Vec<i64> {
        match (self.program.nodes[o].mode, phase) {
            (Mode::Constant, Phase::Input) => self.constants[o].iter().map(|&x| i64::from(x)).collect(),
            (Mode::Constant, Phase::Settling) => vec![0; self.program.nodes[o].len()],
            _ => self.values.elements(self.program, o, t),
        }
    }
}
