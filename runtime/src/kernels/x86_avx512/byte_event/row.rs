//! A row of output pixels, whose neighbours see mostly the same spikes: those of a column of input
//! pixels are listed once, for all windows that the column is part of. The columns' rows of weights
//! come one after the other, so that a window's are a part of the list.

use super::kernel::Neurons;
use super::list::{Lists, Places};
use crate::kernels::abi::{EventRowArguments, Tap};
use crate::kernels::byte_event::{LANES, columns, windows};

/// Integrate and fire; see [`crate::kernels::abi::EventRow`]. `HARD` resets to zero.
///
/// # Safety
/// Spikes, parameters and state are the layer's, as the shape says; there is room for the taps of a
/// column; the CPU has AVX-512 with VBMI2.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi,avx512vbmi2,popcnt,bmi2")]
pub unsafe extern "C" fn byte_event_row<const HARD: bool>(arguments: &EventRowArguments) {
    let &EventRowArguments { spikes_in, weights, steps, shape, y, taps, scratch, base, threshold, .. } = arguments;
    let &EventRowArguments { before, before_stride, membrane, spikes, residual, residual_weights, .. } = arguments;
    // SAFETY: the compiled layer keeps the contract.
    unsafe {
        let shape = &*shape;
        let (channels, lanes) = (shape.synapse.channels as usize, shape.synapse.lanes as usize);
        let [kernel, stride, pad, input] = [shape.kernel, shape.stride, shape.pad, shape.input].map(|v| v.map(|v| v as usize));
        let slice = channels + 1;
        let inside = |ky: usize| Some((y * stride[0] + ky).wrapping_sub(pad[0])).filter(|&iy| iy < input[0]);
        let windows = windows(kernel, stride, channels);
        let columns = columns(windows, kernel, stride);
        // Where each column's rows start.
        let starts = std::slice::from_raw_parts_mut(scratch.cast::<Places>(), columns);
        let list = scratch.add(size_of_val(starts)).cast();
        let (mut lists, mut listed, mut origin) = (Lists::new(list, 0, 0), 0, 0);
        for x in 0..shape.columns as usize {
            // Input columns with the padding before them.
            if x.is_multiple_of(windows) {
                lists = Lists::new(list, columns * kernel[0] * channels, steps);
                origin = x * stride[1];
                listed = origin;
            }
            let first = x * stride[1];
            listed = listed.max(first);
            for column in listed..first + kernel[1] {
                starts[column - origin] = *lists.end();
                let ix = column.wrapping_sub(pad[1]);
                if ix < input[1] {
                    let mut count = 0;
                    for (ky, iy) in (0..kernel[0]).filter_map(|ky| Some((ky, inside(ky)?))) {
                        let data = spikes_in.add((iy * input[1] + ix) * shape.pixel_bytes as usize);
                        let place = (ky * kernel[1] + column - origin) * slice;
                        taps.add(count).write(Tap { data, weights: weights.wrapping_add(place * lanes) });
                        count += 1;
                    }
                    lists.add_taps(std::slice::from_raw_parts(taps, count), weights, &shape.synapse);
                }
            }
            listed = first + kernel[1];
            // A column is one slice further in the next window's weights.
            let skipped = (first - origin) * slice;
            let rows = lists.rows(&starts[first - origin], skipped + channels);
            let weights = weights.wrapping_sub(skipped * lanes);
            let pixel = y * shape.columns as usize + x;
            let out = pixel * shape.spikes as usize;
            let residual = if residual.is_null() { residual } else { residual.add(out) };
            for at in (0..lanes).step_by(LANES) {
                let neurons = Neurons {
                    weights: weights.wrapping_add(at),
                    lanes,
                    base: base.add(pixel * shape.base as usize + at),
                    threshold: threshold.add(pixel * shape.threshold as usize + at),
                    before: before.add(pixel * before_stride + at),
                    membrane: membrane.add(pixel * lanes + at),
                    spikes: spikes.add(out + at / 8),
                    mask: shape.mask as usize,
                    residual: residual.wrapping_add(at / 8),
                    residual_weights: residual_weights.wrapping_add(at),
                };
                if residual.is_null() {
                    neurons.run::<HARD, false>(&rows[..steps]);
                } else {
                    neurons.run::<HARD, true>(&rows[..steps]);
                }
            }
        }
    }
}
