//! Structural operations on stepped values: elements move, nothing is computed.

use super::bits;
use crate::layout::{ElementMap, Ends, Extent, mask_bytes};

/// Where the elements of a value come from, in the form that moves spikes fastest.
#[derive(Debug)]
pub enum SpikeMoves {
    /// Runs of channels, copied word by word: `runs[first[o]..first[o + 1]]` are those of operand
    /// `o`.
    Runs {
        /// Where the runs of each operand start.
        first: Vec<u32>,
        /// The runs.
        runs: Vec<Run>,
    },
    /// Single elements, moved spike by spike: input element `e` (operands end to end) goes to
    /// `to[first[e]..first[e + 1]]`.
    Scatter {
        /// Where the elements of each operand end.
        ends: Ends,
        /// Where the targets of each input element start.
        first: Vec<u32>,
        /// Output elements, pixel-major.
        to: Vec<u32>,
    },
}

/// A run of channels of one input pixel.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    operand: u32,
    pixel: u32,
    from: u32,
    to_pixel: u32,
    to: u32,
    length: u32,
}

impl Run {
    /// Copies the run in every step.
    fn copy(&self, from: &[u8], from_bytes: usize, out: &mut [u8], out_bytes: usize) {
        match (from_bytes, out_bytes) {
            (2, 2) => self.copy_words(from.as_chunks::<2>().0, out.as_chunks_mut::<2>().0),
            (2, 4) => self.copy_words(from.as_chunks::<2>().0, out.as_chunks_mut::<4>().0),
            (2, 8) => self.copy_words(from.as_chunks::<2>().0, out.as_chunks_mut::<8>().0),
            (4, 2) => self.copy_words(from.as_chunks::<4>().0, out.as_chunks_mut::<2>().0),
            (4, 4) => self.copy_words(from.as_chunks::<4>().0, out.as_chunks_mut::<4>().0),
            (4, 8) => self.copy_words(from.as_chunks::<4>().0, out.as_chunks_mut::<8>().0),
            (8, 8) => self.copy_words(from.as_chunks::<8>().0, out.as_chunks_mut::<8>().0),
            _ => {
                for (from, out) in from.chunks_exact(from_bytes).zip(out.chunks_exact_mut(out_bytes)) {
                    bits::copy(from, self.from as usize, out, self.to as usize, self.length as usize);
                }
            }
        }
    }

    /// The same for masks of one word.
    fn copy_words<const FROM: usize, const OUT: usize>(&self, from: &[[u8; FROM]], out: &mut [[u8; OUT]]) {
        let keep = u64::MAX >> (64 - self.length);
        for (from, out) in from.iter().zip(out) {
            let (mut word, mut target) = ([0; 8], [0; 8]);
            word[..FROM].copy_from_slice(from);
            target[..OUT].copy_from_slice(out);
            let moved = (u64::from_le_bytes(word) >> self.from & keep) << self.to | u64::from_le_bytes(target);
            out.copy_from_slice(&moved.to_le_bytes()[..OUT]);
        }
    }
}

impl SpikeMoves {
    /// The moves of `map` from `operands` to a value of `channels` channels.
    pub fn new(map: &ElementMap, operands: &[Extent], channels: usize) -> Self {
        let (ends, mut runs) = (Ends::new(operands.iter().map(|o| o.len())), Vec::<Run>::new());
        for (to_pixel, row) in map.source.chunks_exact(channels).enumerate() {
            let mut expected = None;
            for (to, &source) in row.iter().enumerate().filter(|(_, s)| **s != ElementMap::FILL) {
                let (operand, element) = ends.locate(source as usize);
                let (pixel, from) = (element / operands[operand].channels, element % operands[operand].channels);
                match runs.last_mut() {
                    Some(run) if expected == Some((operand, pixel, from, to)) => run.length += 1,
                    _ => {
                        let [operand, pixel, from, to_pixel, to] = [operand, pixel, from, to_pixel, to].map(|n| n as u32);
                        runs.push(Run { operand, pixel, from, to_pixel, to, length: 1 });
                    }
                }
                expected = Some((operand, pixel, from + 1, to + 1));
            }
        }
        if runs.len() * 4 <= map.source.len() {
            runs.sort_by_key(|run| run.operand);
            let first = (0..=operands.len()).map(|o| runs.partition_point(|run| (run.operand as usize) < o) as u32).collect();
            return SpikeMoves::Runs { first, runs };
        }
        let elements = ends.all();
        let mut first = vec![0u32; elements + 1];
        map.source.iter().filter(|s| **s != ElementMap::FILL).for_each(|&s| first[s as usize + 1] += 1);
        (0..elements).for_each(|e| first[e + 1] += first[e]);
        let mut next = first.clone();
        let mut to = vec![0u32; first[elements] as usize];
        for (target, &source) in map.source.iter().enumerate().filter(|(_, s)| **s != ElementMap::FILL) {
            to[next[source as usize] as usize] = target as u32;
            next[source as usize] += 1;
        }
        SpikeMoves::Scatter { ends, first, to }
    }

    /// SpikeMoves the spikes of operand `index` (its value in `from`) into `out`, which was zeroed
    /// before the first operand. Both hold `chunk` steps per pixel, of which `steps` are in use.
    pub fn spikes(&self, index: usize, operands: &[Extent], from: &[u8], channels: usize, out: &mut [u8], (chunk, steps): (usize, usize)) {
        let (from_bytes, out_bytes) = (mask_bytes(operands[index].channels), mask_bytes(channels));
        match self {
            SpikeMoves::Runs { first, runs } => {
                for run in &runs[first[index] as usize..first[index + 1] as usize] {
                    let from = &from[run.pixel as usize * chunk * from_bytes..][..steps * from_bytes];
                    let out = &mut out[run.to_pixel as usize * chunk * out_bytes..][..steps * out_bytes];
                    run.copy(from, from_bytes, out, out_bytes);
                }
            }
            SpikeMoves::Scatter { ends, first, to } => {
                let operand = operands[index];
                let before = ends.start(index);
                for p in 0..operand.pixels {
                    for t in 0..steps {
                        let mask = &from[(p * chunk + t) * from_bytes..][..from_bytes];
                        bits::for_each_set(mask, |channel| {
                            let element = before + p * operand.channels + channel;
                            for &target in &to[first[element] as usize..first[element + 1] as usize] {
                                let (pixel, channel) = (target as usize / channels, target as usize % channels);
                                out[(pixel * chunk + t) * out_bytes + channel / 8] |= 1 << (channel % 8);
                            }
                        });
                    }
                }
            }
        }
    }
}
