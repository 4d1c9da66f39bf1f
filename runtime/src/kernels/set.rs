//! Sets of kernels: what one set of instructions computes fast.

use super::abi::{Begin, End, EventRow, Expand, Fire, ListTaps, Product, Start, Synaptic};
use super::one_source::SafeKernels;
use super::table::TableLayer;
use super::{Cpu, portable};
use snn_ir::neuron::Reset;

/// The kernels for one set of features. Those that are optional are asked for when a network is
/// planned; without the others there would be no engine, and the portable set has them all.
#[derive(Clone, Copy)]
pub struct KernelSet {
    /// The features that the kernels need.
    pub cpu: Cpu,
    /// Starts rows of currents.
    pub(super) start: Start,
    /// Lists taps from a table.
    pub(super) list_taps: ListTaps,
    /// Spikes through rows of 16-bit weights, with sums of 16 bits. Without it compiled layers add
    /// up rows of 32 bits themselves.
    pub event: Option<Synaptic>,
    /// Spikes through rows of 8-bit weights, as [`super::byte_event::pack`] packs them.
    pub byte_event: Option<Synaptic>,
    /// The same right into a row of neurons.
    pub byte_event_row: Option<ByReset<EventRow>>,
    /// Spikes through rows of 32-bit weights, in groups.
    pub(super) wide_event: Synaptic,
    /// Spikes through one weight per channel.
    pub(super) masked: Synaptic,
    /// Currents through rows of 32-bit weights, in groups.
    pub(super) dense: Synaptic,
    /// Currents through one weight per channel.
    pub(super) dense_channel: Synaptic,
    /// Integrate and fire, with a residual. Without it compiled layers do so themselves, without
    /// one.
    pub fire: Option<ByReset<Fire>>,
    /// Spikes through matrix products.
    pub product: Option<SpikeProduct>,
    /// Bytes, all 256 of them, through matrix products with 32-bit sums. Neighbouring pixels are
    /// where a pixel's steps are in products of spikes. Without it [`super::counted::Product`]
    /// multiplies itself.
    pub count_product: Option<Product>,
    /// Counts of neurons by multiplication in `f32`, where products of θ and a count fit 32 bits;
    /// the others divide.
    pub multiply: Option<Multiply>,
    /// Layers by table look-up.
    pub table: Option<unsafe fn(&TableLayer, arena: *mut u8, steps: usize, first: bool)>,
    /// Kernels that every set compiles from the same source, or replaces.
    pub(super) safe: SafeKernels,
}

/// Counts, `pitch` bytes a pixel, of neurons with thresholds (rows of lanes, one for all pixels or
/// one for each), the inverses of these, and currents `[pixel][lane]`.
pub type Multiply =
    unsafe fn(threshold: &[i32], inverse: &[f32], lanes: usize, currents: &[i32], most: u8, counts: &mut [u8], pitch: usize);

/// A kernel of neurons for each [`Reset`].
#[derive(Clone, Copy)]
pub struct ByReset<F> {
    /// θ comes off.
    pub subtract: F,
    /// The potential becomes zero.
    pub zero: F,
}

impl<F> ByReset<F> {
    /// The one for `reset`.
    pub fn of(self, reset: Reset) -> F {
        match reset {
            Reset::Subtract => self.subtract,
            Reset::Zero => self.zero,
        }
    }
}

/// Matrix products of spikes as bytes.
#[derive(Clone, Copy)]
pub struct SpikeProduct {
    /// Expands masks to planes of bytes.
    pub expand: Expand,
    /// Multiplies.
    pub multiply: Product,
    /// Whether sums of weights must fit 16 bits, since that is what they are added up in.
    pub narrow_sums: bool,
    /// What is called before the products of a layer and after them.
    pub around: Option<(Begin, End)>,
}

/// The sets of this architecture. The last one whose features a CPU has is used there.
static SETS: &[KernelSet] = &[
    portable::KERNELS,
    #[cfg(target_arch = "x86_64")]
    super::x86_avx2::KERNELS,
    #[cfg(target_arch = "x86_64")]
    super::x86_avx512::KERNELS,
    #[cfg(target_arch = "x86_64")]
    super::x86_amx::KERNELS,
];

impl KernelSet {
    /// The set for `cpu`, or for what this machine has of its features: nobody gets kernels that
    /// the machine cannot run.
    pub fn of(cpu: Cpu) -> &'static KernelSet {
        let cpu = cpu.and(Cpu::detect());
        SETS.iter().rfind(|set| cpu.has(set.cpu)).expect("the portable set needs no feature")
    }

    /// The set for this machine.
    pub fn native() -> &'static KernelSet {
        KernelSet::of(Cpu::detect())
    }

    /// The kernels under the names that compiled code calls them by; it calls nothing else.
    pub fn symbols(&self) -> Vec<Symbol> {
        let symbol = |name, address, parameters| Symbol { name, address, parameters, returns: false };
        let synaptic = |name, f: Synaptic| symbol(name, f as *const u8, 6);
        let mut all = vec![
            symbol("snnc_start", self.start as *const u8, 4),
            Symbol { returns: true, ..symbol("snnc_list_taps", self.list_taps as *const u8, 1) },
            synaptic("snnc_wide_event", self.wide_event),
            synaptic("snnc_masked", self.masked),
            synaptic("snnc_dense", self.dense),
            synaptic("snnc_dense_channel", self.dense_channel),
        ];
        all.extend(self.event.map(|f| synaptic("snnc_event", f)));
        all.extend(self.byte_event.map(|f| synaptic("snnc_byte_event", f)));
        if let Some(row) = self.byte_event_row {
            all.push(symbol("snnc_byte_event_row", row.subtract as *const u8, 1));
            all.push(symbol("snnc_byte_event_row_hard", row.zero as *const u8, 1));
        }
        if let Some(fire) = self.fire {
            all.push(symbol("snnc_fire", fire.subtract as *const u8, 1));
            all.push(symbol("snnc_fire_hard", fire.zero as *const u8, 1));
        }
        if let Some(product) = self.product {
            all.push(symbol("snnc_expand", product.expand as *const u8, 4));
            all.push(symbol("snnc_product", product.multiply as *const u8, 1));
            if let Some((begin, end)) = product.around {
                all.push(symbol("snnc_begin", begin as *const u8, 2));
                all.push(symbol("snnc_end", end as *const u8, 0));
            }
        }
        all
    }
}

impl std::fmt::Debug for KernelSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "kernels for {}", self.cpu)
    }
}

/// A kernel under the name that compiled code calls it by.
pub struct Symbol {
    /// The name.
    pub name: &'static str,
    /// The code.
    pub address: *const u8,
    /// Number of parameters, each the size of a pointer.
    pub parameters: usize,
    /// Whether it returns a value of the size of a pointer.
    pub returns: bool,
}
