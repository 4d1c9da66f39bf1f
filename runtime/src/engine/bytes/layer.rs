//! Layers on bytes.

use super::layout::{Layout, grid};
use crate::engine::plan::matrix::{MatrixPlan, slab_width};
use crate::engine::plan::node::{LayerWork, PerElement, PlanNode};
use crate::engine::plan::synapse::{Synapse, Weights};
use crate::engine::plan::{Domain, Mode};
use crate::kernels::KernelSet;
use crate::kernels::counted::{COLUMNS, Product};
use crate::layout::{SlidingWindow, lanes};

/// A layer whose operands are bytes (or constant).
#[derive(Debug)]
pub struct CountLayer {
    /// Lanes of a row of currents.
    pub lanes: usize,
    /// Rows and columns of the layer.
    grid: [usize; 2],
    /// The synapses on bytes.
    pub synapses: Vec<CountSynapse>,
    /// Whether the current that does not depend on bytes differs from pixel to pixel.
    pub steady_by_pixel: bool,
}

/// Neighbouring pixels of a row, which are computed together.
#[derive(Clone, Copy, Debug)]
pub struct Block {
    /// The row.
    pub y: usize,
    /// The first pixel's column.
    x: usize,
    /// The first pixel.
    pub pixel: usize,
    /// Number of pixels.
    pub columns: usize,
}

/// A synapse on bytes.
#[derive(Debug)]
pub struct CountSynapse {
    /// The node it is on.
    pub operand: usize,
    /// First byte of the first output pixel's window.
    start: usize,
    /// Bytes from window to window, down and across.
    strides: [usize; 2],
    /// What an output pixel sees.
    pub window: SlidingWindow,
    /// The currents, in a row of lanes, that bytes of silence make; empty when that byte is zero.
    pub silence: Vec<i32>,
    work: SynapseWork,
}

#[derive(Debug)]
enum SynapseWork {
    /// Channels mix.
    Product(Product),
    /// Channels stay: distance of every tap, and its row of weights.
    Channels { taps: Vec<usize>, weights: Vec<i32> },
}

impl CountLayer {
    /// The layer, if kernels can run it. `zero` is the byte of silence.
    pub fn new(
        node: &PlanNode,
        work: &LayerWork,
        nodes: &[PlanNode],
        layouts: &[Option<Layout>],
        (domain, zero): (Domain, u8),
    ) -> Option<Self> {
        let (lanes, grid) = (lanes(node.channels), grid(&node.ty));
        let constant = node.operands.iter().any(|&o| nodes[o].mode == Mode::Constant);
        let by_pixel = |p: &PerElement| matches!(p, PerElement::Full(_));
        let initial_by_pixel = work.neuron.as_ref().is_some_and(|n| by_pixel(&n.initial));
        let steady_by_pixel = constant || by_pixel(&work.bias) || domain == Domain::Windows && initial_by_pixel;
        if node.schedule().iter().any(by_pixel) {
            return None;
        }
        let mut synapses = Vec::new();
        for (synapse, &operand) in work.synapses.iter().zip(&node.operands).filter(|(_, o)| nodes[**o].mode != Mode::Constant) {
            let layout = layouts[operand].as_ref()?;
            let window = layout.window(&synapse.geometry, grid)?;
            // Potentials are what currents of a step are added to.
            let add = domain == Domain::Steps || steady_by_pixel || !synapses.is_empty();
            let work = SynapseWork::new(&synapse.weights, layout, &window, lanes, add)?;
            let silence = if zero == 0 { Vec::new() } else { silence(synapse, node.channels, lanes, zero) };
            synapses.push(CountSynapse { operand, start: layout.start(&window), strides: layout.strides(&window), window, silence, work });
        }
        Some(CountLayer { lanes, grid, synapses, steady_by_pixel })
    }

    /// The layer in blocks, row by row.
    pub fn blocks(&self) -> impl Iterator<Item = Block> + use<> {
        let [rows, width] = self.grid;
        let block = move |y: usize, x: usize| Block { y, x, pixel: y * width + x, columns: COLUMNS.min(width - x) };
        (0..rows).flat_map(move |y| (0..width).step_by(COLUMNS).map(move |x| block(y, x)))
    }

    /// Runs the layer on the planes of its operands: a block of pixels' currents at a time goes to
    /// `take`. `steady` is the current that does not depend on bytes, in rows of lanes: one, or one
    /// for every pixel.
    pub fn run(
        &self,
        kernels: &KernelSet,
        planes: &[Vec<u8>],
        steady: &[i32],
        scratch: &mut Vec<i32>,
        mut take: impl FnMut(Block, &[i32]),
    ) {
        scratch.resize(COLUMNS * self.lanes, 0);
        for block in self.blocks() {
            let currents = &mut scratch[..block.columns * self.lanes];
            if self.steady_by_pixel {
                currents.copy_from_slice(&steady[block.pixel * self.lanes..][..currents.len()]);
            } else if !matches!(self.synapses.first(), Some(CountSynapse { work: SynapseWork::Product(_), .. })) {
                currents.chunks_exact_mut(self.lanes).for_each(|row| row.copy_from_slice(steady));
            }
            self.synapses.iter().for_each(|s| s.run(kernels, &planes[s.operand], block, currents, steady));
            take(block, currents);
        }
    }

    /// How the layer runs, in words.
    pub fn how(&self) -> &'static str {
        match &self.synapses[..] {
            [] => "neurons on a constant current",
            s if s.iter().all(|s| matches!(s.work, SynapseWork::Channels { .. })) => "products of bytes by channel",
            _ => "matrix product of bytes",
        }
    }
}

impl CountSynapse {
    /// Adds to the currents of a block (or, when it is planned so, to the row `base`) what the
    /// synapse makes of `plane`.
    pub fn run(&self, kernels: &KernelSet, plane: &[u8], block: Block, currents: &mut [i32], base: &[i32]) {
        let window = self.start + block.y * self.strides[0] + block.x * self.strides[1];
        match &self.work {
            SynapseWork::Product(product) => product.run(kernels, plane, window, currents, block.columns, base),
            SynapseWork::Channels { taps, weights } => {
                let lanes = currents.len() / block.columns;
                kernels.channels(&plane[window..], self.strides[1], taps, weights, lanes, currents);
            }
        }
    }
}

impl SynapseWork {
    fn new(weights: &Weights, layout: &Layout, window: &SlidingWindow, lanes: usize, add: bool) -> Option<Self> {
        match weights {
            Weights::Full { groups: 1, data, .. } if data.iter().all(|&w| i8::try_from(w).is_ok()) => {
                let width = slab_width(window, layout.channels);
                let mut plan = MatrixPlan::over(layout.plane_shape()?, window, layout.channels, lanes, (add, 0), width)?;
                // Neighbouring pixels are where the steps of one would be.
                plan.shape.step_pitch = plan.shape.pixel_pitch;
                let packed = plan.pack(weights, layout.channels);
                Some(SynapseWork::Product(Product::new(&plan.shape, &plan.offsets, packed)))
            }
            Weights::Full { .. } => None,
            Weights::Channel(data) => {
                let row = |v: &[i32]| v.iter().copied().chain(std::iter::repeat(0)).take(layout.pixel).collect::<Vec<_>>();
                let weights = data.chunks_exact(layout.channels).flat_map(row).collect();
                Some(SynapseWork::Channels { taps: layout.taps(window), weights })
            }
        }
    }
}

/// What a window of bytes `zero` gives, borders included, which hold them, too.
fn silence(synapse: &Synapse, channels: usize, lanes: usize, zero: u8) -> Vec<i32> {
    let mut row = vec![0i32; lanes];
    let (Weights::Full { data, .. } | Weights::Channel(data)) = &synapse.weights;
    let zero = i32::from(zero);
    for weights in data.chunks_exact(channels) {
        row.iter_mut().zip(weights).for_each(|(sum, &w)| *sum = sum.wrapping_add(w.wrapping_mul(zero)));
    }
    row
}
