//! A row of output pixels, whose neighbours see mostly the same spikes: those of a column of input pixels are listed once, for all
//! windows that the column is part of.

use super::super::Tap;
use super::kernel::Neurons;
use super::list::Lists;
use super::{LANES, RowShape, columns, room};

/// What a row of neurons reads and writes; pointers are to the layer's first pixel, except where it says otherwise.
pub type EventRow = unsafe extern "C" fn(
    spikes_in: *const u8,
    weights: *const u8,
    steps: usize,
    shape: *const RowShape,
    y: usize,
    taps: *mut Tap,
    scratch: *mut u8,
    base: *const i32,
    threshold: *const i32,
    before: *const i32,
    before_stride: usize,
    membrane: *mut i32,
    spikes: *mut u8,
    residual: *const u8,
    residual_weights: *const i32,
);

/// Rows of the spikes of one column of input pixels.
#[repr(C, align(64))]
struct Column {
    /// Which, if any.
    x: usize,
    lists: Lists,
}

/// No column.
const NONE: usize = usize::MAX;

/// Integrate and fire: row `y` of neurons whose currents are a base, the weights of spikes, and `residual_weights` where `residual`
/// (masks of the neurons' own places; null when there is none) has a spike. Potentials come from `before` (`before_stride` elements from
/// pixel to pixel) and go to `membrane`. `HARD` resets to zero.
///
/// # Safety
/// Spikes, parameters and state are the layer's, as `shape` says; weights are as [`super::pack`] packs every slice; there is room for the
/// taps of a column; scratch is as long as [`super::row_scratch`] says and aligned to 64 bytes; the CPU has AVX-512 with VBMI2.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi,avx512vbmi2,popcnt,bmi2")]
pub unsafe extern "C" fn byte_event_row<const HARD: bool>(
    spikes_in: *const u8,
    weights: *const u8,
    steps: usize,
    shape: *const RowShape,
    y: usize,
    taps: *mut Tap,
    scratch: *mut u8,
    base: *const i32,
    threshold: *const i32,
    before: *const i32,
    before_stride: usize,
    membrane: *mut i32,
    spikes: *mut u8,
    residual: *const u8,
    residual_weights: *const i32,
) {
    // SAFETY: the compiled layer keeps the contract.
    unsafe {
        let shape = &*shape;
        let (channels, lanes) = (shape.synapse.channels as usize, shape.synapse.lanes as usize);
        let [kernel, stride, dilation, pad, input] =
            [shape.kernel, shape.stride, shape.dilation, shape.pad, shape.input].map(|v| v.map(|v| v as usize));
        let slice = (channels + 1) * lanes;
        // Where tap `k` of output `o` is along an axis, unless it is outside.
        let inside = |axis: usize, o: usize, k: usize| {
            Some((o * stride[axis] + k * dilation[axis]).wrapping_sub(pad[axis])).filter(|&i| i < input[axis])
        };
        let ring = columns(kernel, dilation);
        let (rows, mut list) = (kernel[0] * channels, scratch.add(ring * size_of::<Column>()).cast::<u16>());
        let seen = std::slice::from_raw_parts_mut(scratch.cast::<Column>(), ring);
        for column in &mut *seen {
            std::ptr::from_mut(column).write(Column { x: NONE, lists: Lists::new(list, rows, steps) });
            list = list.add(steps * room(rows));
        }
        for x in 0..shape.columns as usize {
            let mut joined = Lists::new(list, kernel[1] * rows, steps);
            let mut found = None;
            for kx in 0..kernel[1] {
                let Some(ix) = inside(1, x, kx) else { continue };
                let column = &mut seen[ix % ring];
                if column.x != ix {
                    let mut count = 0;
                    for (ky, iy) in (0..kernel[0]).filter_map(|ky| Some((ky, inside(0, y, ky)?))) {
                        let data = spikes_in.add((iy * input[1] + ix) * shape.pixel_bytes as usize);
                        taps.add(count).write(Tap { data, weights: weights.add(ky * kernel[1] * slice) });
                        count += 1;
                    }
                    column.x = ix;
                    column.lists.clear();
                    column.lists.add_taps(std::slice::from_raw_parts(taps, count), weights, &shape.synapse);
                }
                if kernel[1] > 1 {
                    joined.append(&column.lists, kx * (channels + 1));
                }
                found = Some(ix % ring);
            }
            // A window of one column is that column.
            let lists = match found {
                Some(column) if kernel[1] == 1 => &mut seen[column].lists,
                _ => &mut joined,
            };
            lists.fill_up(channels);
            let pixel = y * shape.columns as usize + x;
            let (out, residual) = (pixel * shape.spikes as usize, residual.wrapping_add(if residual.is_null() { 0 } else { pixel * shape.spikes as usize }));
            for at in (0..lanes).step_by(LANES) {
                let neurons = Neurons {
                    weights: weights.add(at),
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
                    neurons.run::<HARD, false>(lists);
                } else {
                    neurons.run::<HARD, true>(lists);
                }
            }
        }
    }
}

/// Bytes of the columns' heads.
pub(super) const HEAD: usize = size_of::<Column>();
