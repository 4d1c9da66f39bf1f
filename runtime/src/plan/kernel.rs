//! Which kernel computes each synapse of a layer, and what memory the layer needs.

use super::geometry::{Geometry, Plane};
use super::matrix::{MatrixPlan, slab_width};
use super::memory::{Buffer, Size};
use super::node::{LayerWork, PerElement, PlanNode};
use super::synapse::{Synapse, Weights};
use super::table::{TablePlan, TableSynapse};
use super::{Mode, Plan, Work, lanes, mask_bytes};
use crate::cost_model::{Costs, SynapseSize, TableSize};
use crate::kernels::byte_event::{self, LANES};
use crate::kernels::matrix::SLAB;
use crate::kernels::{Cpu, Tap};
use std::fmt;

/// A family of kernels: one way to turn operands into currents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Spikes, channels mix: for every set bit, add a row of weights.
    Event,
    /// The same with rows of 8-bit weights, of whole multiples of 64 outputs.
    ByteEvent,
    /// Spikes, channels mix: as bytes, through a matrix product. The time does not depend on the rate.
    Matrix,
    /// Spikes, channels mix, in groups or with weights beyond 16 bits: the same without vectors of narrow weights.
    WideEvent,
    /// Spikes, channels mix: four channels as the index of a table of their weights' sums. The time does not depend on the rate.
    Table,
    /// Spikes, channels stay: add the weights under the mask.
    Masked,
    /// The same from the pixel's own place, while the neurons integrate.
    Residual,
    /// Integer currents, channels mix: multiply and add.
    Dense,
    /// Integer currents, channels stay: multiply and add.
    DenseChannel,
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Family::Event => "event",
            Family::ByteEvent => "byte-event",
            Family::Matrix => "matrix",
            Family::WideEvent => "wide-event",
            Family::Masked => "masked",
            Family::Table => "table",
            Family::Residual => "residual",
            Family::Dense => "dense",
            Family::DenseChannel => "dense-channel",
        })
    }
}

/// How a layer runs.
#[derive(Clone, Debug)]
pub struct LayerPlan {
    /// Synapses from stepped operands, in operand order.
    pub synapses: Vec<SynapsePlan>,
    /// Where the current that is the same in every step comes from.
    pub base: Base,
    /// Membranes `[pixel][lane]`, for layers with neurons.
    pub membrane: Option<Buffer>,
    /// Columns of the grid of output pixels. Windows that move agree on it, since a layer has one shape; without them the grid is
    /// one row.
    pub columns: usize,
    /// Pixels that are computed together.
    pub block: usize,
    /// Currents of a block `[pixel][step][lane]`.
    pub currents: Buffer,
    /// Taps of one pixel.
    pub taps: Buffer,
    /// Scratch for kernels that list rows of weights.
    pub list: Buffer,
    /// The whole layer by table look-up.
    pub table: Option<TablePlan>,
}

/// How one synapse runs.
#[derive(Clone, Debug)]
pub struct SynapsePlan {
    /// Index into the layer's synapses and operands.
    pub index: usize,
    /// The kernel.
    pub family: Family,
    /// Why it was chosen, in words.
    pub why: String,
    /// How the matrix product is laid out, and its plane.
    pub matrix: Option<(MatrixPlan, Buffer)>,
}

/// The current that every step starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base {
    /// The bias, the same at every pixel.
    Channel,
    /// The bias, different at every pixel.
    Pixel,
    /// Bias and constant operands, computed once a window into this buffer; what a schedule adds, once a step.
    Window(Buffer),
}

/// Before memory is laid out, offsets are indices of requests; [`LayerPlan::place`] resolves them.
fn unplaced(request: usize) -> Buffer {
    Buffer { offset: request, bytes: 0 }
}

impl LayerPlan {
    /// Chooses kernels for layer `node` and asks for its memory.
    pub(super) fn new(plan: &Plan, node: usize, persist: &mut dyn FnMut(Size) -> usize, scratch: &mut dyn FnMut(Size) -> usize) -> Self {
        let layer = &plan.nodes[node];
        let Work::Layer(work) = &layer.work else { unreachable!("only layers are planned as layers") };
        // Tables read the base in their own order, which a schedule would have to be written in.
        let by_table = Self::by_table(plan, layer, work).filter(|_| layer.schedule().is_empty());
        let table = by_table.is_some().then(|| TablePlan::new(plan, layer, work, scratch)).flatten();
        let bytes = match table {
            Some(_) => TablePlan::rows(layer, work),
            None => Size::product([4, layer.pixels, lanes(layer.channels)]),
        };
        let constant = !layer.schedule().is_empty() || layer.operands.iter().any(|&o| plan.nodes[o].mode == Mode::Constant);
        let base = match (&work.bias, constant) {
            (_, true) => Base::Window(unplaced(persist(bytes))),
            (PerElement::Channel(_), false) => Base::Channel,
            (PerElement::Full(_), false) => Base::Pixel,
        };
        let base_stride = if base == Base::Channel { 0 } else { lanes(layer.channels) };
        if let (Some(table), Some(why)) = (&table, by_table) {
            let synapse = |s: &TableSynapse| {
                let (family, why) = if s.window.is_some() {
                    (Family::Table, why.clone())
                } else {
                    (Family::Residual, "added while the neurons integrate".into())
                };
                SynapsePlan { index: s.index, family, why, matrix: None }
            };
            return LayerPlan {
                synapses: table.synapses.iter().map(synapse).collect(),
                base,
                membrane: Some(unplaced(persist(bytes))),
                columns: 0,
                block: 0,
                currents: unplaced(scratch(Size::ZERO)),
                taps: unplaced(scratch(Size::ZERO)),
                list: unplaced(scratch(Size::ZERO)),
                table: Some(table.clone()),
            };
        }
        let mut synapses: Vec<SynapsePlan> = Vec::new();
        // Tiles are configured once a layer: products of one layer share the width of their slabs.
        let mut widths = work.synapses.iter().zip(&layer.operands).filter_map(|(synapse, &o)| match &synapse.geometry {
            Geometry::Window(p) if matches!(synapse.weights, Weights::Full { .. }) => Some(slab_width(p, plan.nodes[o].channels)),
            _ => None,
        });
        let width = widths.next().filter(|w| widths.all(|v| v == *w)).unwrap_or(SLAB);
        let (mut taps, mut listed) = (1, Size::ZERO);
        let moving = work.synapses.iter().find_map(|s| match &s.geometry {
            Geometry::Window(p) if !p.is_pointwise() => Some(p.output[1]),
            _ => None,
        });
        let columns = moving.unwrap_or(layer.pixels);
        for (index, (synapse, &operand)) in work.synapses.iter().zip(&layer.operands).enumerate() {
            let source = &plan.nodes[operand];
            if source.mode == Mode::Constant {
                continue;
            }
            taps = taps.max(synapse.geometry.max_taps());
            let product = |plane: &Plane| {
                let add = synapses.iter().any(|s| s.matrix.is_some());
                let grid = [layer.pixels / columns, columns];
                let plane = if plane.is_pointwise() { &Plane { input: grid, output: grid, ..plane.clone() } } else { plane };
                MatrixPlan::new(
                    plane,
                    source.channels,
                    mask_bytes(source.channels),
                    lanes(layer.channels),
                    plan.chunk,
                    (add, base_stride),
                    width,
                )
            };
            let matrix = match (&synapse.geometry, &synapse.weights) {
                (Geometry::Window(plane), Weights::Full { groups: 1, .. }) if source.is_spikes() => product(plane),
                _ => None,
            };
            let (mut family, mut why) = choose(plan, source, synapse, lanes(layer.channels), matrix.is_some());
            let matrix = matrix.filter(|_| family == Family::Matrix);
            listed = listed.max(match (family, &synapse.geometry) {
                (Family::ByteEvent, Geometry::Window(p)) => byte_event::row_scratch(p.kernel, p.stride, source.channels, plan.chunk),
                _ => Size::product([8, synapse.geometry.max_taps(), source.channels]),
            });
            // The fire kernels take one residual along.
            let own_place = matches!(&synapse.geometry, Geometry::Window(p) if p.is_pointwise());
            let taken = work.neuron.is_none() || plan.cpu == Cpu::Portable || synapses.iter().any(|s| s.family == Family::Residual);
            if family == Family::Masked && own_place && !taken {
                (family, why) = (Family::Residual, "added while the neurons integrate".into());
            }
            let matrix = matrix.map(|m| {
                let bytes = m.plane.bytes();
                (m, unplaced(scratch(bytes)))
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
        let block = match synapses.first() {
            Some(SynapsePlan { matrix: Some(_), .. }) if lanes(layer.channels) == 16 => 4,
            Some(SynapsePlan { matrix: Some(_), .. }) => 2,
            _ => 1,
        };
        LayerPlan {
            synapses,
            columns,
            base,
            membrane: work.neuron.as_ref().map(|_| unplaced(persist(bytes))),
            block,
            currents: unplaced(scratch(Size::product([4, block, plan.chunk, lanes(layer.channels)]))),
            taps: unplaced(scratch(Size::product([size_of::<Tap>(), taps.saturating_add(1)]))),
            list: unplaced(scratch(listed)),
            table: None,
        }
    }

    /// Why the layer is computed by table look-up, if it is cheaper than what would be chosen for each synapse.
    fn by_table(plan: &Plan, layer: &PlanNode, work: &LayerWork) -> Option<String> {
        let costs = plan.costs.as_ref()?;
        let table = costs.table.as_ref()?;
        let mut size = TableSize::default();
        let (mut otherwise, mut rates) = (costs.neurons(lanes(layer.channels)), Vec::new());
        for (synapse, &operand) in work.synapses.iter().zip(&layer.operands) {
            let Weights::Full { data, .. } = &synapse.weights else { continue };
            let source = &plan.nodes[operand];
            if source.mode == Mode::Constant {
                return None;
            }
            let synapse_size = SynapseSize::new(&synapse.geometry, source.channels, lanes(layer.channels));
            size.look_ups += TablePlan::look_ups(layer, work, synapse_size.taps());
            size.words += (source.channels + synapse_size.lanes) as f64 / 16.0;
            let event = by_events(plan, costs, source, synapse, data, &synapse_size).map_or(f64::INFINITY, |e| e.1);
            otherwise += event.min(costs.matrix(&synapse_size, plan.chunk));
            rates.push(source.rate.to_string());
        }
        let cost = table.layer(size, plan.chunk);
        (cost < otherwise)
            .then(|| format!("{cost:.0} ns a pixel and step against {otherwise:.0} by events at {} or by matrix", rates.join(" and ")))
    }

    /// All of its memory.
    #[cfg(any(test, debug_assertions))]
    pub(super) fn buffers(&self) -> impl Iterator<Item = Buffer> + '_ {
        let planes = self.synapses.iter().filter_map(|s| s.matrix.as_ref().map(|m| m.1));
        let tables = self.table.iter().flat_map(|t| t.synapses.iter().map(|s| s.plane.1));
        let base = if let Base::Window(b) = self.base { Some(b) } else { None };
        planes.chain(tables).chain(self.membrane).chain(base).chain([self.currents, self.taps, self.list])
    }

    pub(super) fn place(&mut self, state: &[Buffer], transient: &[Buffer]) {
        if let Base::Window(b) = &mut self.base {
            *b = state[b.offset];
        }
        self.membrane.iter_mut().for_each(|m| *m = state[m.offset]);
        self.currents = transient[self.currents.offset];
        self.taps = transient[self.taps.offset];
        self.list = transient[self.list.offset];
        self.table.iter_mut().for_each(|t| t.place(transient));
        for synapse in &mut self.synapses {
            synapse.matrix.iter_mut().for_each(|(_, plane)| *plane = transient[plane.offset]);
        }
    }
}

/// Chooses the kernel of one synapse; `planned` says whether it can be a product.
fn choose(plan: &Plan, source: &PlanNode, synapse: &Synapse, lanes: usize, planned: bool) -> (Family, String) {
    let Weights::Full { groups, data, .. } = &synapse.weights else {
        let family = if source.is_spikes() { Family::Masked } else { Family::DenseChannel };
        return (family, "channels do not mix".into());
    };
    if !source.is_spikes() {
        return (Family::Dense, "the operand is a current".into());
    }
    if *groups > 1 {
        return (Family::WideEvent, format!("{groups} groups"));
    }
    let Some(costs) = &plan.costs else {
        return (Family::Event, "any CPU".into());
    };
    let size = SynapseSize::new(&synapse.geometry, source.channels, lanes);
    let event = by_events(plan, costs, source, synapse, data, &size);
    let bytes = data.iter().all(|&w| i8::try_from(w).is_ok());
    // The kernels of AVX2 sum in 16 bits, as those for events.
    let matrix = planned && bytes && (event.is_some() || plan.cpu > Cpu::Avx2);
    let product = matrix.then(|| costs.matrix(&size, plan.chunk));
    let rate = source.rate;
    match (product, event) {
        (Some(product), Some((_, event))) if product <= event => {
            (Family::Matrix, format!("{product:.0} ns a pixel and step against {event:.0} by events at {rate}"))
        }
        (Some(product), Some((family, event))) => {
            (family, format!("{event:.0} ns a pixel and step at {rate} against {product:.0} by matrix"))
        }
        (None, Some((family, event))) => (family, format!("{event:.0} ns a pixel and step at {rate}")),
        (Some(_), None) => (Family::Matrix, "sums of weights may leave 16 bits".into()),
        (None, None) => (Family::WideEvent, "sums of weights may leave 16 bits".into()),
    }
}

/// The cheapest kernel for events and its cost, unless sums may leave its 16 bits.
fn by_events(plan: &Plan, costs: &Costs, source: &PlanNode, synapse: &Synapse, data: &[i32], size: &SynapseSize) -> Option<(Family, f64)> {
    let rate = source.rate.value();
    let listed = matches!(&synapse.geometry, Geometry::Window(plane) if byte_event::fits(plane, source.channels));
    let fits = listed && size.lanes.is_multiple_of(LANES) && data.iter().all(|&w| i8::try_from(w).is_ok());
    let byte_event =
        costs.byte_event.as_ref().filter(|_| fits).map(|c| (Family::ByteEvent, c.synapse(size, size.listed(), rate, plan.chunk)));
    let narrow = fits_i16(&synapse.weights, data, &synapse.geometry);
    let event = narrow.then(|| (Family::Event, costs.event.synapse(size, size.masks(), rate, plan.chunk)));
    byte_event.into_iter().chain(event).min_by(|a, b| a.1.total_cmp(&b.1))
}

/// Whether every sum of a subset of one output channel's weights fits 16 bits, so that kernels may sum in 16 bits.
fn fits_i16(weights: &Weights, data: &[i32], geometry: &Geometry) -> bool {
    let Weights::Full { outputs, .. } = weights else { return false };
    let mut sums = vec![(0i64, 0i64); *outputs];
    for row in data.chunks_exact(*outputs) {
        for (sum, &w) in sums.iter_mut().zip(row) {
            *sum = (sum.0 + i64::from(w.min(0)), sum.1 + i64::from(w.max(0)));
        }
    }
    // A listed geometry may use a slice more than once in a window.
    matches!(geometry, Geometry::Window(_)) && sums.iter().all(|s| s.0 >= i64::from(i16::MIN) && s.1 <= i64::from(i16::MAX))
}
