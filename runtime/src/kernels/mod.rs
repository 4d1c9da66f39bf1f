//! Micro-kernels: the inner pieces that compiled layers call by symbol.
//!
//! A kernel works on one output pixel through all steps of a chunk. It is an `extern "C"` function over raw pointers
//! into the session's arena and the network's constants; the compiled layer is its only caller and guarantees what
//! [`Synaptic`] and [`Fire`] ask for. Every family exists in portable Rust (or in Cranelift's own vectors, see
//! `jit::portable`), and faster for CPUs that have more; which one a symbol stands for is decided at load, by [`Cpu`].

#[macro_use]
mod levels;

#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
pub mod bits;
pub mod byte_event;
pub mod count;
pub mod counted;
#[cfg(target_arch = "x86_64")]
mod counted_avx2;
pub mod cumulative;
#[cfg(target_arch = "x86_64")]
mod fire_avx512;
#[cfg(target_arch = "x86_64")]
mod maddubs;
pub mod matrix;
pub mod moves;
#[cfg(target_arch = "x86_64")]
mod plane;
#[cfg(target_arch = "x86_64")]
mod rows;
mod scalar;
pub mod stepped;
#[cfg(target_arch = "x86_64")]
mod stepped_avx512;
pub mod table;
#[cfg(target_arch = "x86_64")]
mod vnni;

use std::fmt;

/// What the CPU can do; each level includes the ones before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cpu {
    /// Any CPU that Cranelift knows: 128-bit vectors.
    Portable,
    /// x86-64 with AVX2 and BMI2.
    Avx2,
    /// x86-64 with AVX-512 F, BW, VL, DQ, VBMI, VBMI2 and VNNI (Ice Lake, Zen 4 and later).
    Avx512,
    /// x86-64 with AMX for 8-bit integers (Sapphire Rapids and later).
    Amx,
}

impl Cpu {
    /// All levels, lowest first.
    pub const ALL: [Cpu; 4] = [Cpu::Portable, Cpu::Avx2, Cpu::Avx512, Cpu::Amx];

    /// The highest level of this machine.
    pub fn detect() -> Cpu {
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("bmi2") && is_x86_feature_detected!("popcnt");
            let avx512 = is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vbmi")
                && is_x86_feature_detected!("avx512vbmi2")
                && is_x86_feature_detected!("avx512vnni");
            if avx2 && avx512 && amx::is_available() {
                return Cpu::Amx;
            }
            if avx2 && avx512 {
                return Cpu::Avx512;
            }
            if avx2 {
                return Cpu::Avx2;
            }
        }
        Cpu::Portable
    }
}

impl fmt::Display for Cpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Cpu::Portable => "portable",
            Cpu::Avx2 => "avx2",
            Cpu::Avx512 => "avx512",
            Cpu::Amx => "amx",
        })
    }
}

/// One tap of an output pixel.
#[repr(C)]
pub struct Tap {
    /// The input pixel's chunk: masks or currents, by step.
    pub data: *const u8,
    /// The slice of weights it goes through.
    pub weights: *const u8,
}

/// Constants of a synapse, in the module's read-only data.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct SynapseShape {
    /// Input channels.
    pub channels: u32,
    /// Bytes of an input pixel in one step.
    pub step_bytes: u32,
    /// Input channels per group.
    pub inputs: u32,
    /// Output channels per group.
    pub outputs: u32,
    /// Weights from one row (input channel) to the next.
    pub row: u32,
    /// Lanes of a row of currents.
    pub lanes: u32,
}

/// A synaptic kernel: adds to `currents` (`[step][lane]`) what `steps` steps of `taps` contribute. `list` has room for
/// one pointer per input element of the taps, and 64 bytes more.
pub type Synaptic =
    unsafe extern "C" fn(taps: *const Tap, count: usize, currents: *mut i32, steps: usize, shape: *const SynapseShape, list: *mut u64);

/// Constants of a layer's neurons, in the module's read-only data. Strides go from pixel to pixel.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct FireShape {
    /// Lanes of a row of currents, a multiple of 16.
    pub lanes: u32,
    /// Bytes of a mask.
    pub mask: u32,
    /// Currents.
    pub currents: u32,
    /// Elements of `threshold`: 0 where pixels share a row.
    pub threshold: u32,
    /// Bytes of spikes, and of the residual's masks.
    pub spikes: u32,
}

/// The neurons of `pixels` neighbouring pixels: integrates `steps` rows of `currents`, plus `weights` where `residual` (masks
/// of as many channels; null when there is none) has a spike, compares with `threshold`, takes potentials from `before` (`stride` elements
/// from pixel to pixel) and leaves them in `membrane`, and writes masks to `spikes`.
pub type Fire = unsafe extern "C" fn(
    currents: *const i32,
    threshold: *const i32,
    before: *const i32,
    stride: usize,
    membrane: *mut i32,
    spikes: *mut u8,
    steps: usize,
    shape: *const FireShape,
    pixels: usize,
    residual: *const u8,
    weights: *const i32,
);

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

/// The fixed table of kernels for `cpu`; compiled code calls nothing else.
pub fn symbols(cpu: Cpu) -> Vec<Symbol> {
    let synaptic = |name, f: Synaptic| Symbol { name, address: f as *const u8, parameters: 6, returns: false };
    let fire = |name, f: Fire| Symbol { name, address: f as *const u8, parameters: 11, returns: false };
    let plain = |name, address, parameters, returns| Symbol { name, address, parameters, returns };
    #[cfg(target_arch = "x86_64")]
    let product = |f: matrix::Product| Symbol { name: "snnc_product", address: f as *const u8, parameters: 7, returns: false };
    let mut table =
        vec![plain("snnc_start", scalar::start as *const u8, 4, false), plain("snnc_table_taps", scalar::table_taps as *const u8, 8, true)];
    match cpu {
        Cpu::Portable => table.extend([
            synaptic("snnc_wide_event", scalar::wide_event),
            synaptic("snnc_masked", scalar::masked),
            synaptic("snnc_dense", scalar::dense),
            synaptic("snnc_dense_channel", scalar::dense_channel),
        ]),
        #[cfg(target_arch = "x86_64")]
        Cpu::Avx2 => table.extend([
            synaptic("snnc_event", avx2::event),
            synaptic("snnc_wide_event", avx2::wide_event),
            synaptic("snnc_masked", avx2::masked),
            synaptic("snnc_dense", avx2::dense),
            synaptic("snnc_dense_channel", avx2::dense_channel),
            fire("snnc_fire", avx2::fire::<false>),
            fire("snnc_fire_hard", avx2::fire::<true>),
            plain("snnc_expand", plane::expand_avx2 as *const u8, 4, false),
            product(maddubs::product),
        ]),
        #[cfg(target_arch = "x86_64")]
        Cpu::Avx512 | Cpu::Amx => table.extend([
            synaptic("snnc_event", avx512::event),
            synaptic("snnc_byte_event", byte_event::byte_event),
            plain("snnc_byte_event_row", byte_event::byte_event_row::<false> as *const u8, 15, false),
            plain("snnc_byte_event_row_hard", byte_event::byte_event_row::<true> as *const u8, 15, false),
            synaptic("snnc_wide_event", avx2::wide_event),
            synaptic("snnc_masked", avx512::masked),
            synaptic("snnc_dense", avx2::dense),
            synaptic("snnc_dense_channel", avx2::dense_channel),
            fire("snnc_fire", fire_avx512::fire::<false>),
            fire("snnc_fire_hard", fire_avx512::fire::<true>),
            plain("snnc_expand", plane::expand_avx512 as *const u8, 4, false),
            product(if cpu == Cpu::Amx { amx::product } else { vnni::product }),
            plain("snnc_begin", amx::begin as *const u8, 2, false),
            plain("snnc_end", amx::end as *const u8, 0, false),
        ]),
        #[cfg(not(target_arch = "x86_64"))]
        _ => unreachable!("detected on x86-64 only"),
    }
    table
}
