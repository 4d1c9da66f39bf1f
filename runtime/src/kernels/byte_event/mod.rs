//! Spikes through rows of 8-bit weights, for AVX-512: 64 outputs a load.
//!
//! A 16-bit lane of a row holds two outputs: the weight of output `32 + i` as its high byte, and that of output `i`, plus 128 so that it is
//! not negative, as its low one. Of `n` rows `x`, with `high = Σ (x >> 8)` and `all = Σ x` modulo 2¹⁶, the sums of the high outputs are
//! `high`, those of the low ones `all − (high << 8) − 128 n`: two additions and a shift for 64 synapses, in half the memory of 16-bit weights.

use super::Cpu;

#[cfg(target_arch = "x86_64")]
mod kernel;
#[cfg(target_arch = "x86_64")]
mod list;

#[cfg(target_arch = "x86_64")]
pub use kernel::{EventNeurons, byte_event, byte_event_neurons};

/// Outputs of a vector of weights.
pub const LANES: usize = 64;

/// Rows that are added between two looks at the end of the list; lists are filled up with a row of zeros.
const UNROLL: usize = 4;

/// The most rows whose sums are within 16 bits, whatever their weights.
const MOST_ROWS: usize = 255 / UNROLL * UNROLL;

/// Entries that a list of at most `rows` rows has room for; its last ones are written by whole vectors.
fn room(rows: usize) -> usize {
    rows + 64
}

/// Bytes of scratch for the events of `rows` inputs in each of `steps` steps.
pub fn scratch(rows: usize, steps: usize) -> usize {
    2 * steps * room(rows)
}

/// Rows, those of zeros included, that a list's 16-bit entries tell apart.
pub const MOST_LISTED: usize = 1 << 16;

/// Whether `cpu` has the instructions.
pub fn is_available(cpu: Cpu) -> bool {
    cpu >= Cpu::Avx512
}

/// The rows of one slice, `[input][output]`, in the kernel's layout: a multiple of [`LANES`] outputs, and a row of zeros behind the last.
pub fn pack(rows: impl Iterator<Item = Vec<i8>>, lanes: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for row in rows.chain(std::iter::once(vec![0; lanes])) {
        for vector in row.chunks_exact(LANES) {
            let (low, high) = vector.split_at(LANES / 2);
            bytes.extend(low.iter().zip(high).flat_map(|(&low, &high)| [low.wrapping_add(-128) as u8, high as u8]));
        }
    }
    bytes
}
