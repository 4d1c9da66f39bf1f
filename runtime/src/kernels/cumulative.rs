//! The exact max-pool of spike trains and currents: the step-to-step difference of the maximum of running sums.

use super::Cpu;
use super::count::per_element;
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

/// One number for each of 16 channels.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug)]
pub struct Lanes(pub [i32; 16]);

impl Lanes {
    fn from_fn(f: impl FnMut(usize) -> i32) -> Self {
        Lanes(std::array::from_fn(f))
    }
}

/// The maximum of 16 channels over the taps of one window. `masks` are the taps' masks, of which the two bytes at `at` in every
/// `bytes` count, `behind` is how far each tap's count is ahead of the maximum (not at all, that is, at most zero). Writes the same two
/// bytes of `out` and returns how far the maximum has risen.
fn pool(cpu: Cpu, masks: &[&[u8]], behind: &mut [Lanes], out: &mut [u8], (at, bytes): (usize, usize)) -> Lanes {
    #[cfg(target_arch = "x86_64")]
    if cpu >= Cpu::Avx512 {
        // SAFETY: the level says that the CPU has the features.
        return unsafe { super::avx512::pool(masks, behind, out, (at, bytes)) };
    }
    let mut risen = Lanes([0; 16]);
    for t in (at..out.len()).step_by(bytes) {
        let mut fired = 0u16;
        for (mask, behind) in masks.iter().zip(behind.iter_mut()) {
            let mut bits = u16::from_le_bytes([mask[t], mask[t + 1]]);
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
        out[t..t + 2].copy_from_slice(&fired.to_le_bytes());
    }
    risen
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

    /// The sums of what was sent so far, pixel-major.
    pub fn maximum(&self) -> &[i64] {
        &self.maximum
    }

    /// Spikes. Each count moves by at most one, so does their maximum.
    pub fn spikes(
        &mut self,
        cpu: Cpu,
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
        let (mut seen, mut behind) = (Vec::new(), Vec::new());
        for p in 0..pixels {
            seen.clear();
            taps(p, &mut |operand, pixel| seen.push((operand, pixel)));
            let maximum = &mut self.maximum[p * channels..][..channels];
            behind.clear();
            for block in (0..bytes / 2 * 16).step_by(16) {
                for &(operand, pixel) in &seen {
                    let sums = &self.sums[starts[operand] + pixel * channels..][..channels];
                    behind.push(Lanes::from_fn(|lane| sums.get(block + lane).map_or(0, |sum| (sum - maximum[block + lane]) as i32)));
                }
            }
            let masks: Vec<&[u8]> =
                seen.iter().map(|&(operand, pixel)| &operands[operand].masks[pixel * chunk * bytes..][..steps * bytes]).collect();
            let out = &mut out[p * chunk * bytes..][..steps * bytes];
            for block in 0..bytes / 2 {
                let behind = &mut behind[block * seen.len()..][..seen.len()];
                let risen = pool(cpu, &masks, behind, out, (2 * block, bytes));
                maximum.iter_mut().skip(16 * block).zip(risen.0).for_each(|(maximum, risen)| *maximum += i64::from(risen));
            }
        }
        for (operand, &start) in operands.iter().zip(&starts) {
            per_element(cpu, operand.masks, channels, (chunk, steps), &mut self.sums[start..][..operand.pixels * channels]);
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
