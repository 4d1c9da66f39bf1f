//! Counting spikes: per element, and per class of pixels whose spikes cross the same synapses.
//!
//! Masks of a pixel are read as 64-bit words. A word holds the masks of four steps of up to 16
//! channels, of two of up to 32, or 64 channels of one step; its bits are added to 64 counters of a
//! byte each.

use super::KernelSet;
use super::counted::Meaning;
use crate::layout::mask_bytes;

/// One count per bit of a word.
type BitCounts = [u8; 64];

/// Words that may be added to counters before they must be emptied.
const MOST_WORDS: usize = 255;

/// The source of [`KernelSet::add_bits`], for any CPU.
#[inline(always)]
pub(super) fn add_bits(masks: &[u8], stride: usize, counters: &mut BitCounts) {
    for at in (0..masks.len()).step_by(stride) {
        let mut word = word(masks, at);
        while word != 0 {
            counters[word.trailing_zeros() as usize] += 1;
            word &= word - 1;
        }
    }
}

/// Eight bytes from `at`, little-endian, zeros past the end.
#[inline(always)]
pub(super) fn word(masks: &[u8], at: usize) -> u64 {
    match masks[at..].first_chunk::<8>() {
        Some(word) => u64::from_le_bytes(*word),
        None => masks[at..].iter().rev().fold(0, |word, &b| word << 8 | u64::from(b)),
    }
}

/// The masks of `steps` steps from column `column` on, and the bytes from word to word.
fn column_of(masks: &[u8], bytes: usize, column: usize, steps: usize) -> (&[u8], usize) {
    (&masks[8 * column..steps * bytes], bytes.max(8))
}

/// Words that hold the masks of `steps` steps, per column.
fn word_count(bytes: usize, steps: usize) -> usize {
    if bytes < 8 { (steps * bytes).div_ceil(8) } else { steps }
}

/// Adds the counters of column `column` to one count per channel.
fn empty(counters: &mut BitCounts, bytes: usize, column: usize, counts: &mut [u64]) {
    let period = (8 * bytes).min(64);
    for (bit, count) in counters.iter_mut().enumerate() {
        if let Some(total) = counts.get_mut(64 * column + (bit & (period - 1))) {
            *total += u64::from(*count);
        }
        *count = 0;
    }
}

/// Adds the spikes of `steps` steps to `sums` (`[pixel][channel]`). `masks` holds `chunk` steps per
/// pixel.
pub fn per_element(kernels: &KernelSet, masks: &[u8], channels: usize, (chunk, steps): (usize, usize), sums: &mut [i64]) {
    let bytes = mask_bytes(channels);
    let mut counts = vec![0; channels];
    for (sums, masks) in sums.chunks_exact_mut(channels).zip(masks.chunks_exact(chunk * bytes)) {
        for column in 0..bytes.div_ceil(8) {
            let mut counters = [0; 64];
            let (words, stride) = column_of(masks, bytes, column, steps);
            kernels.add_bits(words, stride, &mut counters);
            empty(&mut counters, bytes, column, &mut counts);
        }
        sums.iter_mut().zip(&mut counts).for_each(|(sum, count)| *sum += std::mem::take(count) as i64);
    }
}

/// The synapses that the spikes of one population cross.
#[derive(Debug)]
pub struct Crossings {
    channels: usize,
    /// Class of every pixel.
    class: Vec<u32>,
    /// Per class and channel: the synapses a spike crosses.
    synapses: Vec<u64>,
}

/// Spikes by class and channel.
#[derive(Debug)]
pub struct Counts {
    counts: Vec<u64>,
    /// Per class and column of words: counts not yet in `counts`, and how many words they come
    /// from.
    waiting: Vec<(BitCounts, usize)>,
}

impl Counts {
    /// Starts a new window.
    pub fn reset(&mut self) {
        self.counts.fill(0);
    }
}

impl Crossings {
    /// From the synapses of every element, row-major. Pixels that agree in all channels form a
    /// class: interior pixels of a convolution are one.
    pub fn new(synapses: &[u64], channels: usize) -> Self {
        let pixels = synapses.len() / channels;
        let mut classes = std::collections::HashMap::new();
        let (mut class, mut rows) = (Vec::with_capacity(pixels), Vec::new());
        for p in 0..pixels {
            let row: Vec<u64> = (0..channels).map(|c| synapses[c * pixels + p]).collect();
            let next = classes.len() as u32;
            let index = *classes.entry(row).or_insert_with_key(|row| {
                rows.extend_from_slice(row);
                next
            });
            class.push(index);
        }
        Crossings { channels, class, synapses: rows }
    }

    /// Room for the counts.
    pub fn counts(&self) -> Counts {
        let columns = mask_bytes(self.channels).div_ceil(8);
        Counts { counts: vec![0; self.synapses.len()], waiting: vec![([0; 64], 0); self.synapses.len() / self.channels * columns] }
    }

    /// Adds the spikes of `steps` steps to `counts`.
    pub fn count(&self, kernels: &KernelSet, masks: &[u8], (chunk, steps): (usize, usize), counts: &mut Counts) {
        let bytes = mask_bytes(self.channels);
        let columns = bytes.div_ceil(8);
        let added = word_count(bytes, steps);
        let Counts { counts, waiting } = counts;
        let mut pixel = 0;
        while pixel < self.class.len() {
            let class = self.class[pixel];
            // Full chunks of neighbours of one class are one stretch of memory.
            let most = if steps == chunk { MOST_WORDS / added } else { 1 };
            let run = self.class[pixel..].iter().take(most).take_while(|&&c| c == class).count();
            let masks = &masks[pixel * chunk * bytes..];
            for column in 0..columns {
                let (counters, used) = &mut waiting[class as usize * columns + column];
                if *used + run * added > MOST_WORDS {
                    empty(counters, bytes, column, &mut counts[class as usize * self.channels..][..self.channels]);
                    *used = 0;
                }
                let (words, stride) = column_of(masks, bytes, column, run * steps);
                kernels.add_bits(words, stride, counters);
                *used += run * added;
            }
            pixel += run;
        }
        for (i, (counters, used)) in waiting.iter_mut().enumerate().filter(|(_, t)| t.1 > 0) {
            empty(counters, bytes, i % columns, &mut counts[i / columns * self.channels..][..self.channels]);
            *used = 0;
        }
    }

    /// Room for counts that come by neuron, not by spike.
    pub fn window_counts(&self) -> Vec<u64> {
        vec![0; self.synapses.len()]
    }

    /// Adds the spikes of a row of neurons, a byte each, from pixel `first` on and `pitch` bytes
    /// from pixel to pixel.
    pub fn add_row(
        &self,
        kernels: &KernelSet,
        first: usize,
        (row, pitch): (&[u8], usize),
        meaning: Meaning,
        counts: &mut [u64],
        scratch: &mut Vec<u32>,
    ) {
        let mut classes = &self.class[first..][..row.len() / pitch];
        let mut row = row;
        while let Some(&class) = classes.first() {
            let run = classes.iter().take_while(|&&c| c == class).count();
            scratch.clear();
            scratch.resize(self.channels, 0);
            kernels.add_up(&row[..run * pitch], pitch, meaning, scratch);
            let counts = &mut counts[class as usize * self.channels..][..self.channels];
            counts.iter_mut().zip(&*scratch).for_each(|(sum, &n)| *sum += u64::from(n));
            (classes, row) = (&classes[run..], &row[run * pitch..]);
        }
    }

    /// Adds one neuron's count, of element `e` (pixel-major).
    pub fn add_element(&self, e: usize, count: u64, counts: &mut [u64]) {
        counts[self.class[e / self.channels] as usize * self.channels + e % self.channels] += count;
    }

    /// Spikes and synaptic operations that [`Crossings::window_counts`] amount to.
    pub fn window_totals(&self, counts: &[u64]) -> (u64, u64) {
        (counts.iter().sum(), counts.iter().zip(&self.synapses).map(|(n, s)| n * s).sum())
    }

    /// Spikes and synaptic operations that `counts` amount to.
    pub fn totals(&self, counts: &Counts) -> (u64, u64) {
        self.window_totals(&counts.counts)
    }
}
