//! Which kernel computes each synapse of a layer, and what memory the layer needs.

use super::geometry::Geometry;
use super::memory::Buffer;
use super::node::PerElement;
use super::synapse::Weights;
use super::{Mode, Plan, Work, lanes};
use crate::kernels::Cpu;
use std::fmt;

/// A family of kernels: one way to turn operands into currents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Spikes, channels mix: for every set bit, add a row of weights.
    Event,
    /// Spikes, channels mix, in groups or with weights beyond 16 bits: the same without vectors of narrow weights.
    WideEvent,
    /// Spikes, channels stay: add the weights under the mask.
    Masked,
    /// Integer currents, channels mix: multiply and add.
    Dense,
    /// Integer currents, channels stay: multiply and add.
    DenseChannel,
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Family::Event => "event",
            Family::WideEvent => "wide-event",
            Family::Masked => "masked",
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
    /// Currents of one pixel `[step][lane]`.
    pub currents: Buffer,
    /// Taps of one pixel.
    pub taps: Buffer,
    /// Scratch for kernels that list rows of weights.
    pub list: Buffer,
}

/// How one synapse runs.
#[derive(Clone, Debug)]
pub struct SynapsePlan {
    /// Index into the layer's synapses and operands.
    pub index: usize,
    /// The kernel.
    pub family: Family,
    /// Why it was chosen, in words.
    pub why: &'static str,
}

/// The current that every step starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base {
    /// The bias, the same at every pixel.
    Channel,
    /// The bias, different at every pixel.
    Pixel,
    /// Bias and constant operands, computed once a window into this buffer.
    Window(Buffer),
}

/// Before memory is laid out, offsets are indices of requests; [`LayerPlan::place`] resolves them.
fn unplaced(request: usize) -> Buffer {
    Buffer { offset: request, bytes: 0 }
}

impl LayerPlan {
    /// Chooses kernels for layer `node` and asks for its memory.
    pub(super) fn new(plan: &Plan, node: usize, persist: &mut dyn FnMut(usize) -> usize, scratch: &mut dyn FnMut(usize) -> usize) -> Self {
        let layer = &plan.nodes[node];
        let Work::Layer(work) = &layer.work else { unreachable!("only layers are planned as layers") };
        let rows = layer.pixels * lanes(layer.channels);
        let mut synapses = Vec::new();
        let (mut taps, mut rows_listed) = (1, 0);
        for (index, (synapse, &operand)) in work.synapses.iter().zip(&layer.operands).enumerate() {
            let source = &plan.nodes[operand];
            if source.mode == Mode::Constant {
                continue;
            }
            taps = taps.max(synapse.geometry.max_taps());
            rows_listed = rows_listed.max(synapse.geometry.max_taps() * source.channels);
            let (family, why) = choose(plan.cpu, source.is_bits(), &synapse.weights, &synapse.geometry);
            synapses.push(SynapsePlan { index, family, why });
        }
        let constant = layer.operands.iter().any(|&o| plan.nodes[o].mode == Mode::Constant);
        let base = match (&work.bias, constant) {
            (_, true) => Base::Window(unplaced(persist(4 * rows))),
            (PerElement::Channel(_), false) => Base::Channel,
            (PerElement::Full(_), false) => Base::Pixel,
        };
        LayerPlan {
            synapses,
            base,
            membrane: work.neuron.as_ref().map(|_| unplaced(persist(4 * rows))),
            currents: unplaced(scratch(4 * plan.chunk * lanes(layer.channels))),
            taps: unplaced(scratch(16 * (taps + 1))),
            list: unplaced(scratch(8 * rows_listed)),
        }
    }

    pub(super) fn place(&mut self, state: &[Buffer], transient: &[Buffer]) {
        if let Base::Window(b) = &mut self.base {
            *b = state[b.offset];
        }
        self.membrane.iter_mut().for_each(|m| *m = state[m.offset]);
        self.currents = transient[self.currents.offset];
        self.taps = transient[self.taps.offset];
        self.list = transient[self.list.offset];
    }
}

/// Chooses the kernel of one synapse.
fn choose(cpu: Cpu, bits: bool, weights: &Weights, geometry: &Geometry) -> (Family, &'static str) {
    match (bits, weights) {
        (true, Weights::Channel(_)) => (Family::Masked, "channels do not mix"),
        (false, Weights::Channel(_)) => (Family::DenseChannel, "integer currents, channels do not mix"),
        (false, Weights::Full { .. }) => (Family::Dense, "integer currents"),
        (true, Weights::Full { groups, data, .. }) => {
            if *groups > 1 {
                (Family::WideEvent, "grouped weights")
            } else if cpu != Cpu::Portable && !fits_i16(weights, data, geometry) {
                (Family::WideEvent, "sums of weights beyond 16 bits")
            } else {
                (Family::Event, "spikes through narrow weights")
            }
        }
    }
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
