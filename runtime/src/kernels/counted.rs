//! Kernels on counts, of a whole window or of one step: bytes `[row][column][channel]`, with a
//! border of silence, on which a convolution is a matrix product of a row of output pixels × taps
//! by taps × outputs, in the layout of [`super::matrix`] with pixels in place of steps.
//!
//! Sums are 32 bits that wrap: the compiler proved that what a neuron ends up with fits, whatever
//! lies between.

use super::KernelSet;
use super::abi::ProductArguments;
use super::matrix::{MatrixShape, TILE};

/// Most output pixels of one call.
pub const COLUMNS: usize = 32;

/// How many spikes a byte means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// As many as it says.
    Count,
    /// One for every lane that fires: those are the bits of what it is above `zero`.
    Lanes {
        /// The byte of silence.
        zero: u8,
    },
    /// One, unless it is `zero`.
    Sent {
        /// The byte of silence.
        zero: u8,
    },
}

/// A product of counts and 8-bit weights, with its constants.
#[derive(Debug)]
pub struct Product {
    /// [`MatrixShape`] and the slabs' offsets.
    words: Vec<u32>,
    /// As [`crate::engine::plan::matrix::MatrixPlan::pack`] lays them out.
    weights: Vec<u8>,
    /// Bytes that are read from a window's first.
    reach: usize,
    pitch: usize,
    lanes: usize,
    quads: usize,
}

impl Product {
    /// The product that `shape` describes.
    ///
    /// # Panics
    /// When `offsets` or `weights` are not as many as it says.
    pub fn new(shape: &MatrixShape, offsets: &[u32], weights: Vec<u8>) -> Self {
        let lanes = shape.lanes as usize;
        assert!(offsets.len() == shape.slabs as usize && weights.len() >= offsets.len() * (lanes / 16) * TILE);
        Product {
            words: shape.words().iter().chain(offsets).copied().collect(),
            weights,
            reach: offsets.iter().max().map_or(0, |&o| o as usize) + 4 * shape.quads as usize,
            pitch: shape.step_pitch as usize,
            lanes,
            quads: shape.quads as usize,
        }
    }

    /// The currents of `columns` pixels, `[pixel][lane]`, whose first window begins at byte
    /// `window` of `plane`: added to what is there, or to the row `base`, as the shape says.
    ///
    /// # Panics
    /// When a window is not within the plane, or there are more than [`COLUMNS`].
    pub fn run(&self, kernels: &KernelSet, plane: &[u8], window: usize, currents: &mut [i32], columns: usize, base: &[i32]) {
        let inside = window + (columns - 1) * self.pitch + self.reach <= plane.len();
        assert!(inside && (1..=COLUMNS).contains(&columns) && currents.len() >= columns * self.lanes && base.len() >= self.lanes);
        let Some(product) = kernels.count_product else { return self.anywhere(&plane[window..], currents, columns, base) };
        let arguments = ProductArguments {
            window: plane[window..].as_ptr(),
            weights: self.weights.as_ptr().cast(),
            currents: currents.as_mut_ptr(),
            // Neighbouring pixels are where the steps of one would be.
            steps: columns,
            shape: self.words.as_ptr().cast::<MatrixShape>(),
            pixels: 1,
            base: base.as_ptr(),
        };
        // SAFETY: the set is this CPU's; windows, currents, base and weights are as long as the
        // kernels read and write, as was just checked and in `new`; the shape is followed by its
        // offsets.
        unsafe { product(&arguments) }
    }

    /// The same without a kernel.
    fn anywhere(&self, plane: &[u8], currents: &mut [i32], columns: usize, base: &[i32]) {
        let (add, offsets) = (self.words[5] != 0, &self.words[8..]);
        for (column, row) in currents.chunks_exact_mut(self.lanes).take(columns).enumerate() {
            if !add {
                row.copy_from_slice(&base[..self.lanes]);
            }
            let (blocks, _) = row.as_chunks_mut::<16>();
            for (&offset, weights) in offsets.iter().zip(self.weights.chunks_exact(blocks.len() * TILE)) {
                let counts = &plane[column * self.pitch + offset as usize..][..4 * self.quads];
                for (sums, weights) in blocks.iter_mut().zip(weights.chunks_exact(TILE)) {
                    for (counts, weights) in counts.as_chunks::<4>().0.iter().zip(weights.chunks_exact(64)) {
                        for (sum, w) in sums.iter_mut().zip(weights.as_chunks::<4>().0) {
                            let terms = [0, 1, 2, 3].map(|k| i32::from(counts[k]) * i32::from(w[k] as i8));
                            *sum = sum.wrapping_add(terms[0] + terms[1] + terms[2] + terms[3]);
                        }
                    }
                }
            }
        }
    }
}

/// Thresholds of a layer, in rows of lanes: one for all pixels or one for each. Lanes that are no
/// channel count zero.
#[derive(Debug)]
pub struct Neurons {
    lanes: usize,
    threshold: Vec<i32>,
    /// `1 / θ`.
    inverse: Vec<f64>,
    /// The same in single precision.
    narrow: Vec<f32>,
    largest: i32,
}

impl Neurons {
    /// Neurons with thresholds of `channels` in a row.
    pub fn new(thresholds: &[i32], channels: usize, lanes: usize) -> Self {
        let padding = std::iter::repeat_n(0, lanes - channels);
        let threshold: Vec<i32> = thresholds.chunks_exact(channels).flat_map(|row| row.iter().copied().chain(padding.clone())).collect();
        let inverse: Vec<f64> = threshold.iter().map(|&t| if t == 0 { 0.0 } else { 1.0 / f64::from(t) }).collect();
        let narrow = threshold.iter().map(|&t| if t == 0 { 0.0 } else { 1.0 / t as f32 }).collect();
        Neurons { lanes, largest: thresholds.iter().copied().max().unwrap_or(1), threshold, inverse, narrow }
    }

    /// From currents `[pixel][lane]`, of pixel `first` on, to counts, `pitch` bytes a pixel:
    /// `clip(floor(v / θ), 0, most)`.
    ///
    /// In `f64` the floor of `(v + 1/2) / θ` is exact: it is at least `1 / 2θ` away from every
    /// integer, and less is lost. In `f32` the quotient of up to 255 is off by less than one, which
    /// the remainder tells.
    pub fn fire(&self, kernels: &KernelSet, first: usize, currents: &[i32], most: u8, counts: &mut [u8], pitch: usize) {
        let rows = if self.threshold.len() > self.lanes { first * self.lanes..first * self.lanes + currents.len() } else { 0..self.lanes };
        let fits = i64::from(most) * i64::from(self.largest) <= i64::from(i32::MAX);
        match kernels.multiply.filter(|_| fits) {
            Some(multiply) => {
                let (threshold, inverse) = (&self.threshold[rows.clone()], &self.narrow[rows]);
                // SAFETY: safe code that needs the set's instructions alone, and the CPU has them.
                unsafe { multiply(threshold, inverse, self.lanes, currents, most, counts, pitch) }
            }
            None => kernels.divide(currents, self.lanes, &self.inverse[rows], most, counts, pitch),
        }
    }
}

/// The source of [`KernelSet::divide`].
#[inline(always)]
pub(super) fn divide(currents: &[i32], lanes: usize, inverse: &[f64], most: u8, counts: &mut [u8], pitch: usize) {
    let stride = if inverse.len() > lanes { lanes } else { 0 };
    for (p, counts) in counts.chunks_exact_mut(pitch).enumerate() {
        let (v, inverse) = (&currents[p * lanes..][..pitch], &inverse[p * stride..][..pitch]);
        for ((count, &v), &inverse) in counts.iter_mut().zip(v).zip(inverse) {
            *count = ((f64::from(v) + 0.5) * inverse).max(0.0).min(f64::from(most)) as i32 as u8;
        }
    }
}

/// The source of [`KernelSet::add_up`].
#[inline(always)]
pub(super) fn add_up(row: &[u8], pitch: usize, meaning: Meaning, sums: &mut [u32]) {
    #[inline(always)]
    fn each(row: &[u8], pitch: usize, sums: &mut [u32], spikes: impl Fn(u8) -> u32) {
        let whole = sums.len() / 16 * 16;
        let (blocks, rest) = sums.split_at_mut(whole);
        // Sums of 16 channels stay in registers.
        for (block, sums) in blocks.as_chunks_mut::<16>().0.iter_mut().enumerate() {
            let mut all = *sums;
            for pixel in row.chunks_exact(pitch) {
                let bytes: &[u8; 16] = pixel[16 * block..][..16].try_into().expect("16 of them");
                all = std::array::from_fn(|i| all[i] + spikes(bytes[i]));
            }
            *sums = all;
        }
        for pixel in row.chunks_exact(pitch) {
            rest.iter_mut().zip(&pixel[whole..]).for_each(|(sum, &byte)| *sum += spikes(byte));
        }
    }
    match meaning {
        Meaning::Count => each(row, pitch, sums, u32::from),
        Meaning::Lanes { zero } => each(row, pitch, sums, |byte| byte.wrapping_sub(zero).count_ones()),
        Meaning::Sent { zero } => each(row, pitch, sums, |byte| u32::from(byte != zero)),
    }
}

/// The source of [`KernelSet::channels`].
#[inline(always)]
pub(super) fn channels(windows: &[u8], pitch: usize, taps: &[usize], weights: &[i32], lanes: usize, currents: &mut [i32]) {
    let bytes = weights.len() / taps.len();
    for (p, row) in currents.chunks_exact_mut(lanes).enumerate() {
        for (&tap, weights) in taps.iter().zip(weights.chunks_exact(bytes)) {
            let counts = &windows[p * pitch + tap..][..bytes];
            for ((sum, &count), &w) in row.iter_mut().zip(counts).zip(weights) {
                *sum = sum.wrapping_add(i32::from(count).wrapping_mul(w));
            }
        }
    }
}

/// The source of [`KernelSet::maximum`].
#[inline(always)]
pub(super) fn maximum(windows: &[u8], pitch: usize, taps: &[usize], out: &mut [u8], pixel: usize) {
    for (p, out) in out.chunks_exact_mut(pixel).enumerate() {
        for &tap in taps {
            let counts = &windows[p * pitch + tap..][..pixel];
            out.iter_mut().zip(counts).for_each(|(most, &count)| *most = count.max(*most));
        }
    }
}
