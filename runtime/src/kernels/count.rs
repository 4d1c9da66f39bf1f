//! Counting spikes: per element, and per class of pixels whose spikes cross the same synapses.

use super::bits;
use crate::plan::mask_bytes;

/// Adds the spikes of `steps` steps to `sums` (`[pixel][channel]`). `masks` holds `chunk` steps per pixel.
pub fn per_element(masks: &[u8], channels: usize, (chunk, steps): (usize, usize), sums: &mut [i64]) {
    let bytes = mask_bytes(channels);
    for (sums, masks) in sums.chunks_exact_mut(channels).zip(masks.chunks_exact(chunk * bytes)) {
        masks[..steps * bytes].chunks_exact(bytes).for_each(|mask| bits::for_each_set(mask, |c| sums[c] += 1));
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

impl Crossings {
    /// From the synapses of every element, row-major. Pixels that agree in all channels form a class: interior pixels of a
    /// convolution are one.
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

    /// Room for one count per class and channel.
    pub fn counters(&self) -> Vec<u64> {
        vec![0; self.synapses.len()]
    }

    /// Adds the spikes of `steps` steps to `counters`.
    pub fn count(&self, masks: &[u8], (chunk, steps): (usize, usize), counters: &mut [u64]) {
        let bytes = mask_bytes(self.channels);
        for (&class, masks) in self.class.iter().zip(masks.chunks_exact(chunk * bytes)) {
            let counters = &mut counters[class as usize * self.channels..][..self.channels];
            masks[..steps * bytes].chunks_exact(bytes).for_each(|mask| bits::for_each_set(mask, |c| counters[c] += 1));
        }
    }

    /// Spikes and synaptic operations that `counters` amount to.
    pub fn totals(&self, counters: &[u64]) -> (u64, u64) {
        (counters.iter().sum(), counters.iter().zip(&self.synapses).map(|(n, s)| n * s).sum())
    }
}
