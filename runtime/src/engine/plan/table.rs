//! Layers by table look-up: which ones, and where their planes are.

use super::geometry::Geometry;
use super::layer::Base;
use super::memory::{Buffer, Places, Requests, Slot};
use super::node::{LayerWork, NeuronWork, PerElement, PlanNode};
use super::synapse::Weights;
use super::{Mode, Plan};
use crate::kernels::table::{BLOCK, Blocks, IndexPlane, Operand, TableLayer, Tables};
use crate::layout::{Size, SlidingWindow, mask_bytes};

/// How a layer runs by table look-up.
#[derive(Clone, Debug)]
pub struct TablePlan<P = Buffer> {
    /// Synapses from stepped operands, in operand order.
    pub synapses: Vec<TableSynapse<P>>,
}

/// One synapse.
#[derive(Clone, Debug)]
pub struct TableSynapse<P = Buffer> {
    /// Index into the layer's synapses and operands.
    pub index: usize,
    /// The operand's index plane, and where it is made.
    pub plane: (IndexPlane, P),
    /// The window, unless channels stay themselves.
    pub window: Option<SlidingWindow>,
}

/// Rows and columns of the output pixels of a layer: those of its windows that move, or one row.
pub(super) fn grid(node: &PlanNode, work: &LayerWork) -> [usize; 2] {
    let moving = work.synapses.iter().find_map(|s| match &s.geometry {
        Geometry::Window(p) if !p.is_pointwise() => Some(p.output),
        _ => None,
    });
    moving.unwrap_or([1, node.pixels])
}

/// Look-ups per output pixel and step of a synapse of `taps` input elements: blocks of 16 pixels,
/// of which some are beyond the row.
pub(super) fn look_ups(node: &PlanNode, work: &LayerWork, taps: usize) -> f64 {
    let lanes = Blocks::new(grid(node, work)).count() * BLOCK;
    (taps.div_ceil(16) * node.channels) as f64 / 16.0 * lanes as f64 / node.pixels as f64
}

/// Bytes of an array with a value for every pixel of every block and every channel.
pub(super) fn rows(node: &PlanNode, work: &LayerWork) -> Size {
    Size::product([4, Blocks::new(grid(node, work)).count(), BLOCK, node.channels])
}

impl TablePlan<Slot> {
    /// Node `index` by table look-up, if kernels and layer allow it.
    pub(super) fn new(plan: &Plan, index: usize, work: &LayerWork, requests: &mut Requests) -> Option<Self> {
        let node = &plan.nodes[index];
        let NeuronWork { threshold: PerElement::Channel(_), initial: PerElement::Channel(_), .. } = work.neuron.as_ref()? else {
            return None;
        };
        if plan.kernels.table.is_none() || !matches!(work.bias, PerElement::Channel(_)) {
            return None;
        }
        let grid = grid(node, work);
        let blocks = Blocks::new(grid);
        let columns = blocks.columns * BLOCK;
        // A block of two rows may have one after the last.
        let rows = if blocks.pairs { 2 * blocks.rows } else { blocks.rows };
        let mut synapses = Vec::new();
        for (number, (synapse, &operand)) in work.synapses.iter().zip(&node.operands).enumerate() {
            let source = &plan.nodes[operand];
            if source.mode == Mode::Constant {
                continue;
            }
            let Geometry::Window(window) = &synapse.geometry else { return None };
            let window = if window.is_pointwise() { SlidingWindow { input: grid, output: grid, ..window.clone() } } else { window.clone() };
            let mixes = match &synapse.weights {
                Weights::Full { groups: 1, data, .. } => data.iter().all(|&w| i8::try_from(w).is_ok()).then_some(true)?,
                Weights::Channel(_) if window.is_pointwise() => false,
                _ => return None,
            };
            if !source.is_spikes() || window.output != grid || !window.is_mostly_input() {
                return None;
            }
            let [stride, reach] = [window.stride[1], (window.kernel[1] - 1) * window.dilation[1]];
            let shape = IndexPlane {
                input: window.input,
                rows: (rows - 1) * window.stride[0] + (window.kernel[0] - 1) * window.dilation[0] + 1,
                pad: window.pad,
                stride,
                phase: (reach / stride + columns).max((window.pad[1] + window.input[1]).div_ceil(stride)),
                groups: source.channels.div_ceil(16),
                chunk: plan.chunk,
                mask: mask_bytes(source.channels),
            };
            // Offsets into the plane are 32 bits.
            shape.bytes().within(u32::MAX as usize)?;
            synapses.push((number, shape, mixes.then_some(window)));
        }
        if !synapses.iter().any(|s| s.2.is_some()) {
            return None;
        }
        let synapse = |(operand, shape, window): (usize, IndexPlane, Option<SlidingWindow>)| {
            let slot = requests.scratch(index, shape.bytes());
            TableSynapse { index: operand, plane: (shape, slot), window }
        };
        Some(TablePlan { synapses: synapses.into_iter().map(synapse).collect() })
    }

    /// With its planes at their places.
    pub(super) fn placed(self, places: &Places) -> TablePlan {
        let placed = |s: TableSynapse<Slot>| TableSynapse { index: s.index, plane: (s.plane.0, places.at(s.plane.1)), window: s.window };
        TablePlan { synapses: self.synapses.into_iter().map(placed).collect() }
    }
}

impl TablePlan {
    /// The layer with its tables.
    pub fn layer(&self, plan: &Plan, index: usize, work: &LayerWork) -> Option<TableLayer> {
        let (node, layer) = (&plan.nodes[index], plan.layers[index].as_ref()?);
        let neuron = work.neuron.as_ref()?;
        let steady = if let Base::Window(b) = layer.base { Some(b.offset) } else { None };
        // What is in the window's array has the bias in it.
        let mut bias = if steady.is_some() { vec![0; node.channels] } else { work.bias.values().to_vec() };
        let (mut products, mut residuals) = (Vec::new(), Vec::new());
        for s in &self.synapses {
            let (shape, buffer) = (s.plane.0.clone(), s.plane.1);
            let source = &plan.nodes[node.operands[s.index]];
            let masks = plan.values[node.operands[s.index]]?.offset;
            let stride = s.window.as_ref().map_or(1, |w| w.stride[0]);
            let operand = Operand { masks, plane: buffer.offset, row_stride: stride * shape.row_pitch(), shape };
            match (&s.window, &work.synapses[s.index].weights) {
                (Some(window), Weights::Full { outputs, data, .. }) => {
                    let groups = operand.shape.groups;
                    let taps = (0..window.kernel[0]).flat_map(|ky| (0..window.kernel[1]).map(move |kx| (ky, kx)));
                    let offset = |(ky, kx): (usize, usize), group: usize| {
                        ky * window.dilation[0] * operand.shape.row_pitch() + operand.shape.column(group, kx * window.dilation[1])
                    };
                    let offsets = taps.flat_map(|tap| (0..groups).map(move |g| offset(tap, g) as u32)).collect();
                    let tables = Tables::new(*outputs, offsets, |o, quad, channel| {
                        let (tap, channel) = (quad / groups, quad % groups * 16 + channel);
                        if channel < source.channels { data[(tap * source.channels + channel) * outputs + o] } else { 0 }
                    });
                    bias.iter_mut().zip(&tables.least).for_each(|(b, &least)| *b = b.wrapping_add(least));
                    products.push((operand, tables));
                }
                (_, Weights::Channel(weights)) => residuals.push((operand, weights.clone())),
                _ => return None,
            }
        }
        Some(TableLayer {
            grid: grid(node, work),
            blocks: Blocks::new(grid(node, work)),
            channels: node.channels,
            products,
            residuals,
            bias,
            steady,
            threshold: neuron.threshold.values().to_vec(),
            initial: neuron.initial.values().to_vec(),
            reset: neuron.dynamics.reset,
            membrane: layer.membrane?.offset,
            out: plan.values[index]?.offset,
            chunk: plan.chunk,
            mask: mask_bytes(node.channels),
        })
    }
}
