//! How a layer runs: its kernels, their order, and the memory that they need.

use super::geometry::Geometry;
use super::kernel::{Family, by_table, choose};
use super::matrix::{MatrixPlan, slab_width};
use super::memory::{Buffer, Places, Requests, Slot};
use super::node::{LayerWork, PerElement, PlanNode};
use super::synapse::{Synapse, Weights};
use super::table::{self, TablePlan, TableSynapse};
use super::{Mode, Plan};
use crate::kernels::abi::Tap;
use crate::kernels::byte_event;
use crate::kernels::matrix::SLAB;
use crate::layout::{Size, SlidingWindow, lanes, mask_bytes};

/// How a layer runs. `P` is where its buffers are: a [`Slot`] while they are asked for, then a
/// [`Buffer`].
#[derive(Clone, Debug)]
pub struct LayerPlan<P = Buffer> {
    /// Synapses from stepped operands, in the order that they are computed in.
    pub synapses: Vec<SynapsePlan<P>>,
    /// Where the current that is the same in every step comes from.
    pub base: Base<P>,
    /// Membranes `[pixel][lane]`, for layers with neurons.
    pub membrane: Option<P>,
    /// What is computed together.
    pub execution: Execution<P>,
}

/// What is computed together, and with what memory.
#[derive(Clone, Debug)]
pub enum Execution<P = Buffer> {
    /// A few neighbouring pixels through all steps of a chunk: their currents, then their neurons.
    Pixels(PixelsPlan<P>),
    /// A row of neurons through all steps, right from the events of its only synapse that moves.
    Rows(RowsPlan<P>),
    /// The whole layer by table look-up.
    Table(TablePlan<P>),
}

/// A layer that runs pixel by pixel.
#[derive(Clone, Debug)]
pub struct PixelsPlan<P = Buffer> {
    /// Columns of the grid of output pixels. Windows that move agree on it, since a layer has one
    /// shape; without them the grid is one row.
    pub columns: usize,
    /// Pixels that are computed together.
    pub block: usize,
    /// Currents of a block `[pixel][step][lane]`.
    pub currents: P,
    /// Taps of one pixel.
    pub taps: P,
    /// Scratch for kernels that list rows of weights.
    pub list: P,
}

/// A layer that runs row by row.
#[derive(Clone, Debug)]
pub struct RowsPlan<P = Buffer> {
    /// Taps of one column of pixels.
    pub taps: P,
    /// Scratch of the kernel.
    pub scratch: P,
}

/// How one synapse runs.
#[derive(Clone, Debug)]
pub struct SynapsePlan<P = Buffer> {
    /// Index into the layer's synapses and operands.
    pub index: usize,
    /// The kernel.
    pub family: Family,
    /// Why it was chosen, in words.
    pub why: String,
    /// How the matrix product is laid out, and its plane.
    pub matrix: Option<(MatrixPlan, P)>,
}

/// The current that every step starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base<P = Buffer> {
    /// The bias, the same at every pixel.
    Channel,
    /// The bias, different at every pixel.
    Pixel,
    /// Bias and constant operands, computed once a window into this buffer; what a schedule adds,
    /// once a step.
    Window(P),
}

/// The reason for a residual.
const WITH_THE_NEURONS: &str = "added while the neurons integrate";

impl LayerPlan<Slot> {
    /// Chooses kernels for layer `node`, which does `work`, and asks for its memory.
    pub(super) fn new(plan: &Plan, node: usize, work: &LayerWork, requests: &mut Requests) -> Self {
        let layer = &plan.nodes[node];
        // Tables read the base in their own order, which a schedule would have to be written in.
        let by_table = by_table(plan, layer, work).filter(|_| layer.schedule().is_empty());
        let by_table = by_table.and_then(|why| Some((TablePlan::new(plan, node, work, requests)?, why)));
        let bytes = match by_table {
            Some(_) => table::rows(layer, work),
            None => Size::product([4, layer.pixels, lanes(layer.channels)]),
        };
        let constant = !layer.schedule().is_empty() || layer.operands.iter().any(|&o| plan.nodes[o].mode == Mode::Constant);
        let base = match (&work.bias, constant) {
            (_, true) => Base::Window(requests.state(node, bytes)),
            (PerElement::Channel(_), false) => Base::Channel,
            (PerElement::Full(_), false) => Base::Pixel,
        };
        if let Some((table, why)) = by_table {
            let synapse = |s: &TableSynapse<Slot>| {
                let (family, why) =
                    if s.window.is_some() { (Family::Table, why.clone()) } else { (Family::Residual, WITH_THE_NEURONS.into()) };
                SynapsePlan { index: s.index, family, why, matrix: None }
            };
            let synapses = table.synapses.iter().map(synapse).collect();
            return LayerPlan { synapses, base, membrane: Some(requests.state(node, bytes)), execution: Execution::Table(table) };
        }
        let grid = table::grid(layer, work);
        let base_stride = if base == Base::Channel { 0 } else { lanes(layer.channels) };
        let synapses = synapses(plan, node, work, (grid, base_stride), requests);
        let membrane = work.neuron.as_ref().map(|_| requests.state(node, bytes));
        let execution = Execution::new(plan, node, work, (&synapses, grid[1]), requests);
        LayerPlan { synapses, base, membrane, execution }
    }

    /// With its buffers at their places.
    pub(super) fn placed(self, places: &Places) -> LayerPlan {
        let at = |slot: Slot| places.at(slot);
        let synapse = |s: SynapsePlan<Slot>| SynapsePlan {
            index: s.index,
            family: s.family,
            why: s.why,
            matrix: s.matrix.map(|(layout, plane)| (layout, at(plane))),
        };
        LayerPlan {
            synapses: self.synapses.into_iter().map(synapse).collect(),
            base: match self.base {
                Base::Channel => Base::Channel,
                Base::Pixel => Base::Pixel,
                Base::Window(slot) => Base::Window(at(slot)),
            },
            membrane: self.membrane.map(at),
            execution: match self.execution {
                Execution::Pixels(p) => Execution::Pixels(PixelsPlan {
                    columns: p.columns,
                    block: p.block,
                    currents: at(p.currents),
                    taps: at(p.taps),
                    list: at(p.list),
                }),
                Execution::Rows(p) => Execution::Rows(RowsPlan { taps: at(p.taps), scratch: at(p.scratch) }),
                Execution::Table(table) => Execution::Table(table.placed(places)),
            },
        }
    }
}

impl LayerPlan {
    /// All of its memory.
    #[cfg(any(test, debug_assertions))]
    pub(super) fn buffers(&self) -> Vec<Buffer> {
        let mut all: Vec<Buffer> = self.synapses.iter().filter_map(|s| s.matrix.as_ref().map(|m| m.1)).chain(self.membrane).collect();
        match &self.execution {
            Execution::Pixels(p) => all.extend([p.currents, p.taps, p.list]),
            Execution::Rows(p) => all.extend([p.taps, p.scratch]),
            Execution::Table(table) => all.extend(table.synapses.iter().map(|s| s.plane.1)),
        }
        if let Base::Window(base) = self.base {
            all.push(base);
        }
        all
    }
}

impl Execution<Slot> {
    /// What is computed together where there are no tables, for synapses in their order and a grid
    /// of so many columns.
    fn new(
        plan: &Plan,
        node: usize,
        work: &LayerWork,
        (synapses, columns): (&[SynapsePlan<Slot>], usize),
        requests: &mut Requests,
    ) -> Self {
        let layer = &plan.nodes[node];
        let (mut taps, mut listed) = (1, Size::ZERO);
        for planned in synapses {
            let (geometry, channels) = (&work.synapses[planned.index].geometry, plan.nodes[layer.operands[planned.index]].channels);
            taps = taps.max(geometry.max_taps());
            listed = listed.max(match (planned.family, geometry) {
                (Family::ByteEvent, Geometry::Window(p)) => byte_event::row_scratch(p.kernel, p.stride, channels, plan.chunk),
                _ => Size::product([8, geometry.max_taps(), channels]),
            });
        }
        let block = match synapses.first() {
            Some(SynapsePlan { matrix: Some(_), .. }) if lanes(layer.channels) == 16 => 4,
            Some(SynapsePlan { matrix: Some(_), .. }) => 2,
            _ => 1,
        };
        let by_row = plan.kernels.byte_event_row.is_some() && work.neuron.is_some() && {
            let mut moving = synapses.iter().filter(|s| s.family != Family::Residual);
            matches!(moving.next(), Some(SynapsePlan { family: Family::ByteEvent, .. })) && moving.next().is_none()
        };
        let taps = Size::product([size_of::<Tap>(), taps.saturating_add(1)]);
        if by_row {
            return Execution::Rows(RowsPlan { taps: requests.scratch(node, taps), scratch: requests.scratch(node, listed) });
        }
        let currents = Size::product([4, block, plan.chunk, lanes(layer.channels)]);
        Execution::Pixels(PixelsPlan {
            columns,
            block,
            currents: requests.scratch(node, currents),
            taps: requests.scratch(node, taps),
            list: requests.scratch(node, listed),
        })
    }
}

/// The synapses of layer `node` from stepped operands, in the order that they are computed in.
/// Pixels start from currents that are `base_stride` apart.
fn synapses(
    plan: &Plan,
    node: usize,
    work: &LayerWork,
    (grid, base_stride): ([usize; 2], usize),
    requests: &mut Requests,
) -> Vec<SynapsePlan<Slot>> {
    let layer = &plan.nodes[node];
    let out_lanes = lanes(layer.channels);
    let width = shared_slab_width(plan, layer, work);
    let mut synapses: Vec<SynapsePlan<Slot>> = Vec::new();
    for (index, (synapse, &operand)) in work.synapses.iter().zip(&layer.operands).enumerate() {
        let source = &plan.nodes[operand];
        if source.mode == Mode::Constant {
            continue;
        }
        let add = synapses.iter().any(|s| s.matrix.is_some());
        let matrix = match (&synapse.geometry, &synapse.weights) {
            (Geometry::Window(plane), Weights::Full { groups: 1, .. }) if source.is_spikes() => {
                let plane = if plane.is_pointwise() { &SlidingWindow { input: grid, output: grid, ..plane.clone() } } else { plane };
                let mask = mask_bytes(source.channels);
                MatrixPlan::new(plane, source.channels, mask, out_lanes, plan.chunk, (add, base_stride), width)
            }
            _ => None,
        };
        let (mut family, mut why) = choose(plan, source, synapse, out_lanes, matrix.is_some());
        // The fire kernels take one residual along.
        let taken = work.neuron.is_none() || plan.kernels.fire.is_none() || synapses.iter().any(|s| s.family == Family::Residual);
        if family == Family::Masked && is_own_place(synapse) && !taken {
            (family, why) = (Family::Residual, WITH_THE_NEURONS.into());
        }
        let matrix = matrix.filter(|_| family == Family::Matrix).map(|m| {
            let bytes = m.plane.bytes();
            (m, requests.scratch(node, bytes))
        });
        // Matrix products come first: they need nothing to add to. The residual comes last.
        let order = |family| match family {
            Family::Matrix => 0,
            Family::Residual => 2,
            _ => 1,
        };
        let place = synapses.partition_point(|s| order(s.family) <= order(family));
        synapses.insert(place, SynapsePlan { index, family, why, matrix });
    }
    synapses
}

/// Whether every output pixel sees just the input pixel at its place.
fn is_own_place(synapse: &Synapse) -> bool {
    matches!(&synapse.geometry, Geometry::Window(p) if p.is_pointwise())
}

/// Bytes of the slabs of all products of a layer: tiles are configured once a layer, so that they
/// share the width.
fn shared_slab_width(plan: &Plan, layer: &PlanNode, work: &LayerWork) -> usize {
    let mut widths = work.synapses.iter().zip(&layer.operands).filter_map(|(synapse, &o)| match &synapse.geometry {
        Geometry::Window(p) if matches!(synapse.weights, Weights::Full { .. }) => Some(slab_width(p, plan.nodes[o].channels)),
        _ => None,
    });
    widths.next().filter(|w| widths.all(|v| v == *w)).unwrap_or(SLAB)
}
