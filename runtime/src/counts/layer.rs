//! Nodes on bytes.

use super::layout::{Layout, grid};
use crate::kernels::Cpu;
use crate::kernels::counted::{self, COLUMNS, Neurons, Product};
use crate::plan::geometry::{Geometry, Plane};
use crate::plan::matrix::{MatrixPlan, slab_width};
use crate::plan::node::{ElementMap, LayerWork, PerElement, PlanNode};
use crate::plan::synapse::Weights;
use crate::plan::{Mode, Work, lanes};

/// A layer whose operands are counts (or constant).
#[derive(Debug)]
pub struct CountLayer {
    lanes: usize,
    /// Rows and columns of the layer.
    grid: [usize; 2],
    synapses: Vec<CountSynapse>,
    /// Thresholds, for layers with neurons.
    neurons: Option<Neurons>,
    /// Whether the current that does not depend on counts differs from pixel to pixel.
    pub steady_by_pixel: bool,
}

/// A synapse on counts.
#[derive(Debug)]
struct CountSynapse {
    operand: usize,
    /// First byte of the first output pixel's window.
    start: usize,
    /// Bytes from window to window, down and across.
    strides: [usize; 2],
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
    /// The layer, if kernels can run it.
    pub fn new(node: &PlanNode, work: &LayerWork, nodes: &[PlanNode], layouts: &[Option<Layout>]) -> Option<Self> {
        let (lanes, grid) = (lanes(node.channels), grid(&node.ty));
        let constant = node.operands.iter().any(|&o| nodes[o].mode == Mode::Constant);
        let by_pixel = |p: &PerElement| matches!(p, PerElement::Full(_));
        let steady_by_pixel = constant || by_pixel(&work.bias) || work.neuron.as_ref().is_some_and(|n| by_pixel(&n.initial));
        let mut synapses = Vec::new();
        for (synapse, &operand) in work.synapses.iter().zip(&node.operands).filter(|(_, o)| nodes[**o].mode != Mode::Constant) {
            let layout = layouts[operand].as_ref()?;
            let window = layout.window(&synapse.geometry, grid)?;
            let work = match &synapse.weights {
                Weights::Full { groups: 1, data, .. } if data.iter().all(|&w| i8::try_from(w).is_ok()) => {
                    let add = steady_by_pixel || !synapses.is_empty();
                    SynapseWork::Product(product(layout, &window, &synapse.weights, lanes, add))
                }
                Weights::Full { .. } => return None,
                Weights::Channel(data) => {
                    let row = |v: &[i32]| v.iter().copied().chain(std::iter::repeat(0)).take(layout.pixel).collect::<Vec<_>>();
                    SynapseWork::Channels {
                        taps: layout.taps(&window),
                        weights: data.chunks_exact(layout.channels).flat_map(row).collect(),
                    }
                }
            };
            synapses.push(CountSynapse { operand, start: layout.start(&window), strides: layout.strides(&window), work });
        }
        let neurons = work.neuron.as_ref().map(|n| Neurons::new(n.threshold.values(), node.channels, lanes));
        Some(CountLayer { lanes, grid, synapses, neurons, steady_by_pixel })
    }

    /// Runs the layer on the planes of its operands: a row of pixels' currents at a time goes to `row`, with its first pixel and
    /// column count. `steady` is the current that does not depend on counts, in rows of lanes: one, or one for every pixel.
    pub fn run(&self, cpu: Cpu, planes: &[Vec<u8>], steady: &[i32], scratch: &mut Vec<i32>, mut row: impl FnMut(usize, usize, &[i32])) {
        let [rows, width] = self.grid;
        scratch.resize(COLUMNS * self.lanes, 0);
        for y in 0..rows {
            for x in (0..width).step_by(COLUMNS) {
                let (columns, pixel) = (COLUMNS.min(width - x), y * width + x);
                let currents = &mut scratch[..columns * self.lanes];
                if self.steady_by_pixel {
                    currents.copy_from_slice(&steady[pixel * self.lanes..][..currents.len()]);
                } else if !matches!(self.synapses.first(), Some(CountSynapse { work: SynapseWork::Product(_), .. })) {
                    currents.chunks_exact_mut(self.lanes).for_each(|row| row.copy_from_slice(steady));
                }
                for s in &self.synapses {
                    let (plane, window) = (&planes[s.operand], s.start + y * s.strides[0] + x * s.strides[1]);
                    match &s.work {
                        SynapseWork::Product(product) => product.run(cpu, plane, window, currents, columns, steady),
                        SynapseWork::Channels { taps, weights } => {
                            counted::channels(cpu, plane, window, s.strides[1], taps, weights, self.lanes, currents);
                        }
                    }
                }
                row(pixel, columns, currents);
            }
        }
    }

    /// From a row of currents to counts, `pitch` bytes a pixel.
    pub fn fire(&self, cpu: Cpu, pixel: usize, currents: &[i32], most: u8, counts: &mut [u8], pitch: usize) {
        if let Some(neurons) = &self.neurons {
            neurons.fire(cpu, pixel, currents, most, counts, pitch);
        }
    }

    /// How the layer runs, in words.
    pub fn how(&self) -> &'static str {
        match &self.synapses[..] {
            [] => "neurons on a constant current",
            s if s.iter().all(|s| matches!(s.work, SynapseWork::Channels { .. })) => "products of counts by channel",
            _ => "matrix product of counts (bytes)",
        }
    }

    /// Lanes of a row of currents.
    pub fn lanes(&self) -> usize {
        self.lanes
    }
}

fn product(layout: &Layout, window: &Plane, weights: &Weights, lanes: usize, add: bool) -> Product {
    let width = slab_width(window, layout.channels);
    let mut plan = MatrixPlan::over(layout.plane_shape(), window, layout.channels, lanes, (add, 0), width);
    // Neighbouring pixels stand where the steps of one would.
    plan.shape.step_pitch = plan.shape.pixel_pitch;
    let packed = plan.pack(weights, layout.channels);
    Product::new(&plan.shape, &plan.offsets, packed)
}

/// A max-pool of counts, or the largest of several.
#[derive(Debug)]
pub struct Maxima {
    /// Operand, first byte of the first window, distances of its taps.
    parts: Vec<(usize, usize, Vec<usize>)>,
    strides: Vec<[usize; 2]>,
}

impl Maxima {
    /// The maxima of node `i`, if kernels can run them.
    pub fn new(i: usize, nodes: &[PlanNode], layouts: &[Option<Layout>]) -> Option<Self> {
        let output = grid(&nodes[i].ty);
        layouts[i].as_ref()?;
        let (mut parts, mut strides) = (Vec::new(), Vec::new());
        for &operand in &nodes[i].operands {
            let layout = layouts[operand].as_ref()?;
            let window = match &nodes[i].work {
                Work::MaxPool(geometry) => layout.window(geometry, output)?,
                _ => layout.window(&Geometry::pointwise(nodes[i].pixels), output)?,
            };
            parts.push((operand, layout.start(&window), layout.taps(&window)));
            strides.push(layout.strides(&window));
        }
        Some(Maxima { parts, strides })
    }

    /// Writes the largest counts to `out`. Borders hold zeros, and no count is less.
    pub fn run(&self, cpu: Cpu, planes: &[Vec<u8>], layout: &Layout, out: &mut [u8]) {
        let [rows, width] = layout.grid;
        for y in 0..rows {
            let out = &mut out[layout.at(y * width)..][..width * layout.pixel];
            out.fill(0);
            for ((operand, start, taps), strides) in self.parts.iter().zip(&self.strides) {
                counted::maximum(cpu, &planes[*operand], start + y * strides[0], strides[1], taps, out, layout.pixel);
            }
        }
    }
}

/// Moved counts: runs of neighbouring bytes.
#[derive(Debug)]
pub struct Copies(Vec<Copy>);

#[derive(Debug)]
struct Copy {
    operand: usize,
    from: usize,
    to: usize,
    length: usize,
}

impl Copies {
    /// The moves of node `i`, if all of its operands are counts.
    pub fn new(map: &ElementMap, i: usize, nodes: &[PlanNode], layouts: &[Option<Layout>]) -> Option<Self> {
        let (node, layout) = (&nodes[i], layouts[i].as_ref()?);
        let operands: Vec<(&PlanNode, &Layout)> =
            node.operands.iter().map(|&o| Some((&nodes[o], layouts[o].as_ref()?))).collect::<Option<_>>()?;
        let mut copies: Vec<Copy> = Vec::new();
        for (e, &source) in map.source.iter().enumerate().filter(|(_, s)| **s != ElementMap::FILL) {
            let to = layout.at(e / node.channels) + e % node.channels;
            let (mut index, mut element) = (0, source as usize);
            while element >= operands[index].0.len() {
                element -= operands[index].0.len();
                index += 1;
            }
            let (from, channels) = (operands[index].1, operands[index].0.channels);
            let (operand, from) = (node.operands[index], from.at(element / channels) + element % channels);
            match copies.last_mut() {
                Some(c) if c.operand == operand && c.from + c.length == from && c.to + c.length == to => c.length += 1,
                _ => copies.push(Copy { operand, from, to, length: 1 }),
            }
        }
        Some(Copies(copies))
    }

    /// Moves the counts; what comes from nowhere stays zero.
    pub fn run(&self, planes: &[Vec<u8>], out: &mut [u8]) {
        for c in &self.0 {
            out[c.to..][..c.length].copy_from_slice(&planes[c.operand][c.from..][..c.length]);
        }
    }
}
