//! Synapses in portable Rust. The bodies are inlined into other sets' kernels, too, where the
//! compiler vectorises them.

use crate::kernels::abi::{ListTapsArguments, SynapseShape, Tap};
use crate::kernels::bits::for_each_channel;

/// Starts `steps` rows of currents from `base`.
pub unsafe extern "C" fn start(currents: *mut i32, base: *const i32, steps: usize, lanes: usize) {
    // SAFETY: the compiled layer passes buffers of `steps * lanes` and `lanes` elements that do not
    // overlap.
    unsafe { (0..steps).for_each(|t| currents.add(t * lanes).copy_from_nonoverlapping(base, lanes)) }
}

/// Lists taps from a table; see [`crate::kernels::abi::ListTaps`].
pub unsafe extern "C" fn list_taps(arguments: &ListTapsArguments) -> usize {
    let &ListTapsArguments { first, entries, pixel, data, pixel_bytes, weights, slice_bytes, taps } = arguments;
    // SAFETY: `first` has an entry for every output pixel and one more, `taps` has room for the
    // longest list, and the entries' pixels and slices exist in `data` and `weights`.
    unsafe {
        let (from, to) = (*first.add(pixel) as usize, *first.add(pixel + 1) as usize);
        for i in from..to {
            let [input, slice] = *entries.add(i);
            let tap = Tap { data: data.add(input as usize * pixel_bytes), weights: weights.add(slice as usize * slice_bytes) };
            taps.add(i - from).write(tap);
        }
        to - from
    }
}

/// Body of [`wide_event`].
///
/// # Safety
/// As [`crate::kernels::abi::Synaptic`]; weights are `i32` rows.
#[inline(always)]
pub unsafe fn wide_event_body(taps: *const Tap, count: usize, currents: *mut i32, steps: usize, shape: &SynapseShape) {
    let (inputs, outputs, lanes) = (shape.inputs as usize, shape.outputs as usize, shape.lanes as usize);
    // SAFETY: as the function's.
    unsafe {
        for t in 0..steps {
            let currents = currents.add(t * lanes);
            for tap in std::slice::from_raw_parts(taps, count) {
                for_each_channel(tap.data.add(t * shape.step_bytes as usize), shape.step_bytes as usize, |channel| {
                    let row = std::slice::from_raw_parts(tap.weights.cast::<i32>().add(channel * shape.row as usize), outputs);
                    let sums = std::slice::from_raw_parts_mut(currents.add(channel / inputs * outputs), outputs);
                    sums.iter_mut().zip(row).for_each(|(s, &w)| *s = s.wrapping_add(w));
                });
            }
        }
    }
}

/// Body of [`masked`].
///
/// # Safety
/// As [`crate::kernels::abi::Synaptic`]; weights are one `i32` per channel.
#[inline(always)]
pub unsafe fn masked_body(taps: *const Tap, count: usize, currents: *mut i32, steps: usize, shape: &SynapseShape) {
    // SAFETY: as the function's.
    unsafe {
        for t in 0..steps {
            let currents = currents.add(t * shape.lanes as usize);
            for tap in std::slice::from_raw_parts(taps, count) {
                let weights = tap.weights.cast::<i32>();
                for_each_channel(tap.data.add(t * shape.step_bytes as usize), shape.step_bytes as usize, |channel| {
                    let sum = currents.add(channel);
                    *sum = (*sum).wrapping_add(*weights.add(channel));
                });
            }
        }
    }
}

/// Body of [`dense`].
///
/// # Safety
/// As [`crate::kernels::abi::Synaptic`]; data are `i32` rows, weights `i32` rows.
#[inline(always)]
pub unsafe fn dense_body(taps: *const Tap, count: usize, currents: *mut i32, steps: usize, shape: &SynapseShape) {
    let (inputs, outputs, lanes) = (shape.inputs as usize, shape.outputs as usize, shape.lanes as usize);
    // SAFETY: as the function's.
    unsafe {
        for t in 0..steps {
            let currents = currents.add(t * lanes);
            for tap in std::slice::from_raw_parts(taps, count) {
                let data = std::slice::from_raw_parts(tap.data.add(t * shape.step_bytes as usize).cast::<i32>(), shape.channels as usize);
                for (channel, &x) in data.iter().enumerate().filter(|(_, x)| **x != 0) {
                    let row = std::slice::from_raw_parts(tap.weights.cast::<i32>().add(channel * shape.row as usize), outputs);
                    let sums = std::slice::from_raw_parts_mut(currents.add(channel / inputs * outputs), outputs);
                    sums.iter_mut().zip(row).for_each(|(s, &w)| *s = s.wrapping_add(w.wrapping_mul(x)));
                }
            }
        }
    }
}

/// Body of [`dense_channel`].
///
/// # Safety
/// As [`crate::kernels::abi::Synaptic`]; data are `i32` rows, weights one `i32` per channel.
#[inline(always)]
pub unsafe fn dense_channel_body(taps: *const Tap, count: usize, currents: *mut i32, steps: usize, shape: &SynapseShape) {
    let channels = shape.channels as usize;
    // SAFETY: as the function's.
    unsafe {
        for t in 0..steps {
            let sums = std::slice::from_raw_parts_mut(currents.add(t * shape.lanes as usize), channels);
            for tap in std::slice::from_raw_parts(taps, count) {
                let data = std::slice::from_raw_parts(tap.data.add(t * shape.step_bytes as usize).cast::<i32>(), channels);
                let weights = std::slice::from_raw_parts(tap.weights.cast::<i32>(), channels);
                for ((s, &x), &w) in sums.iter_mut().zip(data).zip(weights) {
                    *s = s.wrapping_add(w.wrapping_mul(x));
                }
            }
        }
    }
}

/// The kernels of these bodies, with the attributes that are given.
macro_rules! synapses {
    ($(#[$attribute:meta])*) => {
        synapses! { @kernels [$(#[$attribute])*]
            /// Spikes through rows of 32-bit weights, in groups.
            wide_event = wide_event_body;
            /// Spikes through one weight per channel.
            masked = masked_body;
            /// Currents through rows of 32-bit weights, in groups.
            dense = dense_body;
            /// Currents through one weight per channel.
            dense_channel = dense_channel_body;
        }
    };
    (@kernels $attributes:tt $($(#[$doc:meta])* $name:ident = $body:ident;)*) => {
        $(synapses! { @kernel $attributes $(#[$doc])* $name = $body })*
    };
    (@kernel [$($attribute:tt)*] $(#[$doc:meta])* $name:ident = $body:ident) => {
        $(#[$doc])*
        $($attribute)*
        pub unsafe extern "C" fn $name(
            taps: *const crate::kernels::abi::Tap,
            count: usize,
            currents: *mut i32,
            steps: usize,
            shape: *const crate::kernels::abi::SynapseShape,
            _list: *mut u64,
        ) {
            // SAFETY: the compiled layer keeps the contract of `Synaptic`.
            unsafe { crate::kernels::portable::synapse::$body(taps, count, currents, steps, &*shape) }
        }
    };
}
#[cfg(target_arch = "x86_64")]
pub(in crate::kernels) use synapses;

synapses!();
