//! The exact max-pool of spike trains and currents: the step-to-step difference of the maximum of
//! running sums.

use super::KernelSet;
use super::count::per_element;
use crate::layout::{MAX_CHUNK, mask_bytes};

/// The running sums of one maximum node.
#[derive(Clone, Debug)]
pub struct Running {
    /// Per operand element (operands end to end, pixel-major): its sum so far.
    sums: Vec<i64>,
    /// Per output element: the maximum so far.
    maximum: Vec<i64>,
    /// Whether all of them are zero.
    fresh: bool,
}

/// Calls its second argument with `(operand, pixel)` for everything the output pixel sees.
pub type PixelTaps<'a> = dyn Fn(usize, &mut dyn FnMut(usize, usize)) + 'a;

/// Calls its second argument with the index of the first channel of every operand pixel the output
/// pixel sees.
pub type RowTaps<'a> = dyn Fn(usize, &mut dyn FnMut(usize)) + 'a;

/// Masks of one operand of a spiking maximum.
pub struct Spikes<'a> {
    /// `[pixel][step]` masks.
    pub masks: &'a [u8],
    /// Its pixels.
    pub pixels: usize,
}

/// One number for each of 64 channels.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug)]
pub struct PerChannel(pub [i8; 64]);

/// How far a count that can still lead within a chunk is behind, at most; further behind is as
/// good.
const FURTHEST: i64 = 100;
const _: () = assert!(MAX_CHUNK < FURTHEST as usize && FURTHEST <= -(i8::MIN as i64));

/// Where the masks of a word of channels are: the first byte, bytes of a word (2, 4 or 8), bytes
/// from step to step.
#[derive(Clone, Copy, Debug)]
pub struct Word {
    /// First byte.
    pub at: usize,
    /// Bytes.
    pub bytes: usize,
    /// From step to step.
    pub pitch: usize,
}

impl Word {
    /// The word in `masks` `from` bytes further.
    #[inline(always)]
    pub fn read(self, masks: &[u8], from: usize) -> u64 {
        let bytes = &masks[from + self.at..];
        match self.bytes {
            2 => bytes.first_chunk().map_or(0, |b| u16::from_le_bytes(*b).into()),
            4 => bytes.first_chunk().map_or(0, |b| u32::from_le_bytes(*b).into()),
            _ => bytes.first_chunk().map_or(0, |b| u64::from_le_bytes(*b)),
        }
    }

    /// Writes what [`Word::read`] reads.
    #[inline(always)]
    pub fn write(self, masks: &mut [u8], from: usize, word: u64) {
        let to = &mut masks[from + self.at..][..self.bytes];
        match self.bytes {
            2 => to.copy_from_slice(&(word as u16).to_le_bytes()),
            4 => to.copy_from_slice(&(word as u32).to_le_bytes()),
            _ => to.copy_from_slice(&word.to_le_bytes()),
        }
    }
}

/// The source of [`KernelSet::pool`], for any CPU.
#[inline(always)]
pub(super) fn pool(masks: &[&[u8]], behind: &mut [PerChannel], out: &mut [u8], word: Word) -> PerChannel {
    let mut risen = PerChannel([0; 64]);
    for from in (0..out.len()).step_by(word.pitch) {
        let mut fired = 0u64;
        for (mask, behind) in masks.iter().zip(behind.iter_mut()) {
            let mut bits = word.read(mask, from);
            while bits != 0 {
                let lane = bits.trailing_zeros() as usize;
                behind.0[lane] += 1;
                if behind.0[lane] > risen.0[lane] {
                    risen.0[lane] = behind.0[lane];
                    fired |= 1 << lane;
                }
                bits &= bits - 1;
            }
        }
        word.write(out, from, fired);
    }
    risen
}

impl Running {
    /// Fresh sums.
    pub fn new(operand_elements: usize, elements: usize) -> Self {
        Running { sums: vec![0; operand_elements], maximum: vec![0; elements], fresh: true }
    }

    /// Starts a new window.
    pub fn reset(&mut self) {
        self.sums.fill(0);
        self.maximum.fill(0);
        self.fresh = true;
    }

    /// The sums of what was sent so far, pixel-major.
    pub fn maximum(&self) -> &[i64] {
        &self.maximum
    }

    /// Spikes. Each count moves by at most one, so does their maximum.
    pub fn spikes(
        &mut self,
        kernels: &KernelSet,
        operands: &[Spikes],
        taps: &PixelTaps,
        (pixels, channels): (usize, usize),
        out: &mut [u8],
        (chunk, steps): (usize, usize),
    ) {
        let bytes = mask_bytes(channels);
        let starts: Vec<usize> = operands
            .iter()
            .scan(0, |at, o| {
                let start = *at;
                *at += o.pixels * channels;
                Some(start)
            })
            .collect();
        let (mut seen, mut masks, mut behind) = (Vec::new(), Vec::new(), Vec::new());
        for p in 0..pixels {
            seen.clear();
            masks.clear();
            taps(p, &mut |operand, pixel| {
                seen.push(starts[operand] + pixel * channels);
                masks.push(&operands[operand].masks[pixel * chunk * bytes..][..steps * bytes]);
            });
            let maximum = &mut self.maximum[p * channels..][..channels];
            let out = &mut out[p * chunk * bytes..][..steps * bytes];
            for at in (0..bytes).step_by(8) {
                let maximum = &mut maximum[8 * at..];
                behind.clear();
                behind.resize(seen.len(), PerChannel([0; 64]));
                if !self.fresh {
                    for (behind, &first) in behind.iter_mut().zip(&seen) {
                        let sums = &self.sums[first..][..channels][8 * at..];
                        let ahead = sums.iter().zip(&*maximum).map(|(sum, maximum)| (sum - maximum).max(-FURTHEST) as i8);
                        behind.0.iter_mut().zip(ahead).for_each(|(lane, ahead)| *lane = ahead);
                    }
                }
                let risen = kernels.pool(&masks, &mut behind, out, Word { at, bytes: bytes.min(8), pitch: bytes });
                maximum.iter_mut().zip(risen.0).for_each(|(maximum, risen)| *maximum += i64::from(risen));
            }
        }
        for (operand, &start) in operands.iter().zip(&starts) {
            per_element(kernels, operand.masks, channels, (chunk, steps), &mut self.sums[start..][..operand.pixels * channels]);
        }
        self.fresh = false;
    }

    /// Currents, one step: `current(e)` is operand element `e` (operands end to end), and `emit(e,
    /// x)` takes the result.
    pub fn currents(&mut self, current: impl Fn(usize) -> i32, taps: &RowTaps, channels: usize, mut emit: impl FnMut(usize, i32)) {
        self.sums.iter_mut().enumerate().for_each(|(e, sum)| *sum += i64::from(current(e)));
        for (p, maximum) in self.maximum.chunks_exact_mut(channels).enumerate() {
            for (c, maximum) in maximum.iter_mut().enumerate() {
                let mut largest = None;
                taps(p, &mut |first| largest = largest.max(Some(self.sums[first + c])));
                let now = largest.unwrap_or(0);
                emit(p * channels + c, (now - *maximum) as i32);
                *maximum = now;
            }
        }
    }
}
