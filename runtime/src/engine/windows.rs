//! The state of a network of window counts on one sample.

use super::bytes::{Fast, NARROW, Neurons, Program};
use crate::engine;
use crate::engine::plan::node::{LayerWork, PerElement};
use crate::engine::plan::{Mode, Work};
use crate::engine::sums::{constant_current, constants, linear, potentials, row_major};
use crate::error::RunError;
use crate::kernels::counted::Meaning;
use crate::spikes::statistics::Statistics;

/// Counts and currents of one window.
pub(crate) struct Machine<'n> {
    program: &'n Program,
    /// Per node: its current, pixel-major, when it is the same in every step.
    constants: Vec<Vec<i32>>,
    /// Per node: its counts as bytes, when the window is narrow.
    planes: Vec<Vec<u8>>,
    /// Per node: its sum over the window, pixel-major, when it is none of bytes.
    sums: Vec<Vec<i64>>,
    /// What a layer's currents start from.
    steady: Vec<i32>,
    /// Currents of a row of pixels.
    currents: Vec<i32>,
    /// Counts of a row of pixels, by channel.
    row: Vec<u32>,
    /// Per source: counts by the synapses that spikes cross.
    crossed: Vec<Vec<u64>>,
    statistics: Statistics,
    steps: u32,
}

impl<'n> Machine<'n> {
    pub(super) fn new(program: &'n Program) -> Self {
        let nodes = program.nodes.len();
        Machine {
            program,
            constants: vec![Vec::new(); nodes],
            planes: program.layouts.iter().map(|l| vec![0; l.as_ref().map_or(0, |l| l.bytes())]).collect(),
            sums: vec![Vec::new(); nodes],
            steady: Vec::new(),
            currents: Vec::new(),
            row: Vec::new(),
            crossed: program.populations.sources.iter().map(|s| s.crossings.window_counts()).collect(),
            statistics: program.populations.none.clone(),
            steps: 0,
        }
    }

    /// Whether counts are bytes and potentials fit 32 bits.
    fn is_narrow(&self) -> bool {
        self.steps <= NARROW.min(self.program.max_steps)
    }

    /// Whether node `i` can be computed on bytes: a sum over the window that is no potential is not
    /// among what the proof covers.
    fn fits(&self, i: usize) -> bool {
        let current = self.program.layouts[i].is_none();
        self.is_narrow() && (!current || self.program.largest[i].saturating_mul(i64::from(self.steps)) <= i64::from(i32::MAX))
    }

    fn run_fast(&mut self, i: usize, fast: &Fast) {
        let program = self.program;
        let (node, kernels) = (&program.nodes[i], program.kernels);
        let mut plane = std::mem::take(&mut self.planes[i]);
        match (fast, &program.layouts[i], &node.work) {
            (Fast::Layer(layer), layout, Work::Layer(work)) => {
                self.set_steady(i, work, layer.steady_by_pixel, layer.lanes);
                let mut sums = std::mem::take(&mut self.sums[i]);
                sums.clear();
                layer.run(kernels, &self.planes, &self.steady, &mut self.currents, |block, currents| match (layout, &program.neurons[i]) {
                    (Some(layout), Some(Neurons::Windows(neurons))) => {
                        let counts = &mut plane[layout.at(block.pixel)..][..block.columns * layout.pixel];
                        neurons.fire(kernels, block.pixel, currents, self.steps as u8, counts, layout.pixel);
                    }
                    _ => {
                        let elements = currents.chunks_exact(layer.lanes).flat_map(|row| &row[..node.channels]);
                        sums.extend(elements.map(|&x| i64::from(x)));
                    }
                });
                self.sums[i] = sums;
            }
            (Fast::Maxima(maxima), Some(layout), _) => maxima.run(kernels, &self.planes, layout, &mut plane),
            (Fast::Copies(copies), _, _) => copies.run(|o| &self.planes[o], &mut plane),
            _ => unreachable!("kernels are planned for what they fit"),
        }
        self.planes[i] = plane;
    }

    /// What the currents of layer `i` start from: `T · (bias + constant operands) + v(0)`, in rows
    /// of lanes, a row for all pixels or one for each.
    fn set_steady(&mut self, i: usize, work: &LayerWork, by_pixel: bool, lanes: usize) {
        let node = &self.program.nodes[i];
        let steps = self.steps as i32;
        let pixels = if by_pixel { node.pixels } else { 1 };
        self.steady.clear();
        self.steady.resize(pixels * lanes, 0);
        let current = match by_pixel {
            true => constant_current(work, node, &self.constants, &self.program.nodes),
            false => work.bias.values().to_vec(),
        };
        let rows = self.steady.chunks_exact_mut(lanes).zip(current.chunks_exact(node.channels));
        let nothing = PerElement::Channel(vec![0; node.channels]);
        let initial = work.neuron.as_ref().map_or(&nothing, |n| &n.initial);
        // What does not fit is summed up again on the way to what does.
        let start = |(to, x): (&mut [i32], &[i32]), initial: &[i32]| {
            to.iter_mut().zip(x).zip(initial).for_each(|((to, &x), &v)| *to = steps.wrapping_mul(x).wrapping_add(v));
        };
        match initial {
            PerElement::Channel(row) => rows.for_each(|r| start(r, row)),
            PerElement::Full(all) => rows.zip(all.chunks_exact(node.channels)).for_each(|(r, row)| start(r, row)),
        }
    }

    /// The sum of node `i` over the window, for any window.
    fn run_exactly(&mut self, i: usize) {
        let node = &self.program.nodes[i];
        let mut sums = self.stateless(i);
        if let Work::Layer(LayerWork { neuron: Some(neuron), .. }) = &node.work {
            for (e, sum) in sums.iter_mut().enumerate() {
                let (pixel, channel) = (e / node.channels, e % node.channels);
                let v = *sum + i64::from(neuron.initial.at(pixel, channel, node.channels));
                let threshold = i64::from(neuron.threshold.at(pixel, channel, node.channels));
                *sum = neuron.dynamics.window_count(v, threshold, self.steps);
            }
        }
        match &self.program.layouts[i] {
            Some(layout) if self.is_narrow() => layout.fill(&mut self.planes[i], sums.into_iter()),
            _ => self.sums[i] = sums,
        }
    }

    /// What node `i` makes of its operands' sums, but for its neurons.
    fn stateless(&self, i: usize) -> Vec<i64> {
        let nodes = &self.program.nodes;
        let operands: Vec<Vec<i64>> = nodes[i].operands.iter().map(|&o| self.sum_of(o)).collect();
        linear(&nodes[i], &operands, i64::from(self.steps), nodes)
    }

    /// The sum of node `i` over the window, pixel-major.
    fn sum_of(&self, i: usize) -> Vec<i64> {
        match &self.program.layouts[i] {
            _ if self.program.nodes[i].mode == Mode::Constant => {
                self.constants[i].iter().map(|&x| i64::from(x) * i64::from(self.steps)).collect()
            }
            Some(layout) if self.is_narrow() => layout.elements(&self.planes[i]).map(i64::from).collect(),
            _ => self.sums[i].clone(),
        }
    }

    /// Books the spikes of node `i`.
    fn count(&mut self, i: usize) {
        let narrow = self.is_narrow();
        for (source, counts) in self.program.populations.sources.iter().zip(&mut self.crossed).filter(|(s, _)| s.node == i) {
            match &self.program.layouts[i] {
                Some(layout) if narrow => {
                    let [rows, width] = layout.grid;
                    for y in 0..rows {
                        let row = &self.planes[i][layout.row(y)];
                        source.crossings.add_row(
                            self.program.kernels,
                            y * width,
                            (row, layout.pixel),
                            Meaning::Count,
                            counts,
                            &mut self.row,
                        );
                    }
                }
                _ => self.sums[i].iter().enumerate().for_each(|(e, &n)| source.crossings.add_element(e, n as u64, counts)),
            }
        }
    }
}

impl engine::Machine for Machine<'_> {
    fn start(&mut self, inputs: &[&[f32]]) {
        self.steps = 0;
        self.statistics.clone_from(&self.program.populations.none);
        self.constants = constants(&self.program.nodes, self.program.prefix.run(inputs));
    }

    /// Runs the whole window, which is one call: the network has a window barrier.
    fn advance(&mut self, steps: u32) {
        self.steps = steps;
        self.crossed.iter_mut().for_each(|counts| counts.fill(0));
        for i in 0..self.program.nodes.len() {
            if self.program.nodes[i].mode != Mode::Summed {
                continue;
            }
            match &self.program.fast[i] {
                Some(fast) if self.fits(i) => self.run_fast(i, fast),
                _ => self.run_exactly(i),
            }
            self.count(i);
        }
        let sources = &self.program.populations.sources;
        let counted = sources.iter().zip(&self.crossed).map(|(source, counts)| source.crossings.window_totals(counts));
        self.program.populations.book(counted, &mut self.statistics);
    }

    /// It has no ternary neurons, so that a network of its which settles has no neurons at all.
    fn settle(&mut self, _window: u32, _most: u32) -> Result<u32, RunError> {
        Ok(0)
    }

    fn potentials(&self, steps: u32) -> Vec<Vec<f32>> {
        self.program.outputs.iter().map(|&o| potentials(&self.program.nodes[o], &self.sums[o], steps)).collect()
    }

    fn statistics(&self) -> &Statistics {
        &self.statistics
    }

    fn spike_counts(&self, layer: usize) -> Option<Vec<i64>> {
        let &i = self.program.populations.nodes.get(layer)?;
        let node = &self.program.nodes[i];
        Some(if self.steps == 0 { vec![0; node.len()] } else { row_major(&self.sum_of(i), node) })
    }

    /// Potentials are not kept, but what they come from is.
    fn membranes(&self, layer: usize) -> Option<Vec<f64>> {
        let &i = self.program.populations.nodes.get(layer)?;
        let node = &self.program.nodes[i];
        let Work::Layer(LayerWork { neuron: Some(neuron), .. }) = &node.work else { return None };
        let (mut potentials, counts) =
            if self.steps == 0 { (vec![0; node.len()], vec![0; node.len()]) } else { (self.stateless(i), self.sum_of(i)) };
        for (e, (v, count)) in potentials.iter_mut().zip(counts).enumerate() {
            let (pixel, channel) = (e / node.channels, e % node.channels);
            let threshold = i64::from(neuron.threshold.at(pixel, channel, node.channels));
            *v += i64::from(neuron.initial.at(pixel, channel, node.channels));
            *v = neuron.dynamics.reset(*v, threshold, count);
        }
        Some(row_major(&potentials, node).into_iter().map(|v| v as f64).collect())
    }
}
