//! The exact max-pool of spike trains and currents: the step-to-step difference of the maximum of running sums.

use super::bits;
use crate::plan::mask_bytes;

/// The running sums of one maximum node.
#[derive(Clone, Debug)]
pub struct Running {
    /// Per operand element (operands end to end, pixel-major): its sum so far.
    sums: Vec<i64>,
    /// Per output element: the maximum so far.
    maximum: Vec<i64>,
}

/// Calls its second argument with `(operand, pixel)` for everything the output pixel sees.
pub type PixelTaps<'a> = dyn Fn(usize, &mut dyn FnMut(usize, usize)) + 'a;

/// Calls its second argument with the index of the first channel of every operand pixel the output pixel sees.
pub type RowTaps<'a> = dyn Fn(usize, &mut dyn FnMut(usize)) + 'a;

/// Masks of one operand of a spiking maximum.
pub struct Spikes<'a> {
    /// `[pixel][step]` masks.
    pub masks: &'a [u8],
    /// Its pixels.
    pub pixels: usize,
}

impl Running {
    /// Fresh sums.
    pub fn new(operand_elements: usize, elements: usize) -> Self {
        Running { sums: vec![0; operand_elements], maximum: vec![0; elements] }
    }

    /// Starts a new window.
    pub fn reset(&mut self) {
        self.sums.fill(0);
        self.maximum.fill(0);
    }

    /// Spikes. A maximum of counts moves only when a count
    /// that equals it does, so the work is per spike.
    pub fn spikes(
        &mut self,
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
        let (mut seen, mut counts) = (Vec::new(), Vec::new());
        for p in 0..pixels {
            seen.clear();
            taps(p, &mut |operand, pixel| seen.push((operand, pixel)));
            counts.clear();
            for &(operand, pixel) in &seen {
                counts.extend_from_slice(&self.sums[starts[operand] + pixel * channels..][..channels]);
            }
            let maximum = &mut self.maximum[p * channels..][..channels];
            for t in 0..steps {
                let out = &mut out[(p * chunk + t) * bytes..][..bytes];
                out.fill(0);
                for (&(operand, pixel), counts) in seen.iter().zip(counts.chunks_exact_mut(channels)) {
                    bits::for_each_set(&operands[operand].masks[(pixel * chunk + t) * bytes..][..bytes], |c| {
                        counts[c] += 1;
                        if counts[c] > maximum[c] {
                            maximum[c] = counts[c];
                            out[c / 8] |= 1 << (c % 8);
                        }
                    });
                }
            }
        }
        for (operand, &start) in operands.iter().zip(&starts) {
            for pixel in 0..operand.pixels {
                let sums = &mut self.sums[start + pixel * channels..][..channels];
                let masks = &operand.masks[pixel * chunk * bytes..][..steps * bytes];
                masks.chunks_exact(bytes).for_each(|mask| bits::for_each_set(mask, |c| sums[c] += 1));
            }
        }
    }

    /// Currents, one step: `current(e)` is operand element `e` (operands end to end), and `emit(e, x)` takes the result.
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
