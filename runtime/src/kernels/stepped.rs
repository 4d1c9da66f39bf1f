//! Neurons that fire step by step and send bytes: multi-lane and ternary ones.
//!
//! A byte is the number of quanta above `zero`, the byte of silence, which is one where neurons
//! take quanta back.

use super::KernelSet;
use snn_ir::neuron::{Dynamics, Firing, Reset};

/// Most lanes of a neuron: with them a byte holds all quanta, whatever the byte of silence is.
pub const MOST_LANES: u8 = 7;

/// A population: thresholds in rows of lanes, one for all pixels or one for each.
#[derive(Debug)]
pub struct Stepped {
    lanes: usize,
    threshold: Vec<i32>,
    rule: Rule,
    zero: u8,
}

/// When neurons fire, and what that does to them.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// Binary lanes; none for ternary neurons.
    pub lanes: Option<u8>,
    /// Whether a ternary neuron takes back more than it sent.
    pub signed: bool,
    /// Whether firing sets the potential to zero.
    pub hard: bool,
}

/// Neighbouring pixels of a population, in rows of lanes.
pub struct Pixels<'a> {
    /// Their potentials, with the currents of the step.
    pub potentials: &'a mut [i32],
    /// Quanta they sent in all.
    pub sent: &'a mut [i32],
    /// Where what they send goes.
    pub bytes: &'a mut [u8],
    /// Bytes of a pixel.
    pub pitch: usize,
}

/// Whether there are kernels for neurons that fire like this.
///
/// # Errors
/// Why there are none.
pub fn supports(firing: Firing) -> Result<(), String> {
    match firing {
        Firing::Binary | Firing::Ternary => Ok(()),
        Firing::Lanes(n) if n <= MOST_LANES => Ok(()),
        Firing::Lanes(n) => Err(format!("a byte holds what at most {MOST_LANES} lanes send, not {n}")),
        Firing::MultiSpike => Err("a byte does not hold all that they may send in a step".into()),
        Firing::TwoPhase => Err("two-phase neurons run only where all neurons are two-phase".into()),
    }
}

impl Stepped {
    /// Neurons with thresholds of `channels` in a row; `None` for firing rules that have no kernel.
    pub fn new(thresholds: &[i32], channels: usize, lanes: usize, dynamics: Dynamics, zero: u8) -> Option<Self> {
        let Dynamics { firing, reset, signed } = dynamics;
        supports(firing).ok()?;
        let binary_lanes = (!firing.may_retract()).then_some(firing.lanes() as u8);
        // Lanes that are no channel never get so far.
        let padding = std::iter::repeat_n(i32::MAX, lanes - channels);
        let threshold = thresholds.chunks_exact(channels).flat_map(|row| row.iter().copied().chain(padding.clone())).collect();
        Some(Stepped { lanes, threshold, rule: Rule { lanes: binary_lanes, signed, hard: reset == Reset::Zero }, zero })
    }

    /// How many spikes a byte means.
    pub fn meaning(&self) -> super::counted::Meaning {
        match self.rule.lanes {
            Some(2..) => super::counted::Meaning::Lanes { zero: self.zero },
            _ => super::counted::Meaning::Sent { zero: self.zero },
        }
    }

    /// Adds `row` to the potentials of pixels from `first` on, lets the neurons fire, and writes
    /// what they send. A ternary neuron that is not signed sends nothing beyond `most` quanta.
    /// Returns whether any of them fired.
    pub fn fire(&self, kernels: &KernelSet, first: usize, pixels: &mut Pixels, row: &[i32], most: i32) -> bool {
        let by_pixel = self.threshold.len() > self.lanes;
        let threshold = if by_pixel { &self.threshold[first * self.lanes..][..pixels.potentials.len()] } else { &self.threshold[..] };
        let stride = if by_pixel { self.lanes } else { 0 };
        let threshold = (threshold, stride);
        match self.rule.lanes {
            Some(_) => kernels.fire_lanes(threshold, row, self.rule, self.zero, pixels),
            None => kernels.fire_ternary(threshold, row, self.rule, most, self.zero, pixels),
        }
    }
}

/// One number for each of 16 neighbouring channels.
type Sixteen = [i32; 16];

/// A firing rule for 16 neurons.
trait Fire {
    /// From θ, the potential and what was sent to the new potential and the quanta that are sent.
    fn fire(&self, threshold: Sixteen, v: Sixteen, sent: Sixteen) -> (Sixteen, Sixteen);
}

/// `N` lanes, from the most valuable one on.
struct Quanta<const N: u32> {
    hard: bool,
}

impl<const N: u32> Fire for Quanta<N> {
    /// `v >> k >= θ` just when `v >= θ·2ᵏ`, which then fits.
    #[inline(always)]
    fn fire(&self, threshold: Sixteen, v: Sixteen, _: Sixteen) -> (Sixteen, Sixteen) {
        let (mut left, mut quanta) = (v, [0; 16]);
        for k in (0..N).rev() {
            for i in 0..16 {
                let fires = left[i] >> k >= threshold[i];
                left[i] = left[i].wrapping_sub(if fires { threshold[i] << k } else { 0 });
                quanta[i] |= i32::from(fires) << k;
            }
        }
        (std::array::from_fn(|i| if self.hard && quanta[i] != 0 { 0 } else { left[i] }), quanta)
    }
}

/// One quantum, or one less.
struct Ternary {
    signed: bool,
    hard: bool,
    most: i32,
}

impl Fire for Ternary {
    #[inline(always)]
    fn fire(&self, threshold: Sixteen, v: Sixteen, sent: Sixteen) -> (Sixteen, Sixteen) {
        let (mut left, mut quanta) = (v, [0; 16]);
        for i in 0..16 {
            let back = (v[i] < 0) & (self.signed | (sent[i] > 0));
            let forth = (v[i] >= threshold[i]) & (self.signed | (sent[i] < self.most)) & !back;
            quanta[i] = i32::from(forth) - i32::from(back);
            let value = threshold[i] & -i32::from(forth | back);
            left[i] = v[i].wrapping_add(if back { value } else { value.wrapping_neg() });
            left[i] &= -i32::from(!(self.hard & (forth | back)));
        }
        (left, quanta)
    }
}

/// Runs `rule` on all neurons, `row` being added to their potentials first. Returns whether one
/// fired.
#[inline(always)]
fn each_block((threshold, stride): (&[i32], usize), row: &[i32], zero: u8, pixels: &mut Pixels, rule: impl Fire) -> bool {
    let (pitch, lanes) = (pixels.pitch, row.len());
    let mut fired = [0; 16];
    for at in (0..pitch).step_by(16) {
        let width = (pitch - at).min(16);
        let row = sixteen(&row[at..]);
        for (p, bytes) in pixels.bytes.chunks_exact_mut(pitch).enumerate() {
            let (potentials, sent) = (&mut pixels.potentials[p * lanes + at..][..16], &mut pixels.sent[p * lanes + at..][..16]);
            let (before, sent_before) = (sixteen(potentials), sixteen(sent));
            let before = std::array::from_fn(|i| before[i].wrapping_add(row[i]));
            let (after, quanta) = rule.fire(sixteen(&threshold[p * stride + at..]), before, sent_before);
            potentials.copy_from_slice(&after);
            let mut out = [0; 16];
            for i in 0..16 {
                sent[i] = sent_before[i] + quanta[i];
                fired[i] |= quanta[i];
                out[i] = (quanta[i] as u8).wrapping_add(zero);
            }
            bytes[at..][..width].copy_from_slice(&out[..width]);
        }
    }
    fired != [0; 16]
}

#[inline(always)]
fn sixteen(x: &[i32]) -> Sixteen {
    x[..16].try_into().expect("16 of them")
}

/// The source of [`KernelSet::fire_lanes`].
#[inline(always)]
pub(super) fn fire_lanes(threshold: (&[i32], usize), row: &[i32], rule: Rule, zero: u8, pixels: &mut Pixels) -> bool {
    let hard = rule.hard;
    match rule.lanes {
        Some(1) => each_block(threshold, row, zero, pixels, Quanta::<1> { hard }),
        Some(2) => each_block(threshold, row, zero, pixels, Quanta::<2> { hard }),
        Some(3) => each_block(threshold, row, zero, pixels, Quanta::<3> { hard }),
        Some(4) => each_block(threshold, row, zero, pixels, Quanta::<4> { hard }),
        Some(5) => each_block(threshold, row, zero, pixels, Quanta::<5> { hard }),
        Some(6) => each_block(threshold, row, zero, pixels, Quanta::<6> { hard }),
        _ => each_block(threshold, row, zero, pixels, Quanta::<7> { hard }),
    }
}

/// The source of [`KernelSet::fire_ternary`].
#[inline(always)]
pub(super) fn fire_ternary(threshold: (&[i32], usize), row: &[i32], rule: Rule, most: i32, zero: u8, pixels: &mut Pixels) -> bool {
    each_block(threshold, row, zero, pixels, Ternary { signed: rule.signed, hard: rule.hard, most })
}

/// The source of [`KernelSet::accumulate`].
#[inline(always)]
pub(super) fn accumulate(bytes: &[u8], zero: u8, sums: &mut [i32]) {
    sums.iter_mut().zip(bytes).for_each(|(sum, &byte)| *sum += i32::from(byte) - i32::from(zero));
}

/// The source of [`KernelSet::rise`].
#[inline(always)]
pub(super) fn rise(parts: &[(&[i32], &[usize], usize)], zero: u8, maximum: &mut [i32], largest: &mut [i32], out: &mut [u8]) {
    let pitch = largest.len();
    for (p, (maximum, out)) in maximum.chunks_exact_mut(pitch).zip(out.chunks_exact_mut(pitch)).enumerate() {
        largest.fill(i32::MIN);
        for (sums, taps, step) in parts {
            for tap in *taps {
                let seen = &sums[p * step + tap..][..pitch];
                largest.iter_mut().zip(seen).for_each(|(largest, &sum)| *largest = sum.max(*largest));
            }
        }
        for ((out, maximum), &largest) in out.iter_mut().zip(maximum).zip(&*largest) {
            *out = (largest.wrapping_sub(*maximum) as u8).wrapping_add(zero);
            *maximum = largest;
        }
    }
}

/// The source of [`KernelSet::add`].
#[inline(always)]
pub(super) fn add(x: &[i32], sums: &mut [i32]) {
    sums.iter_mut().zip(x).for_each(|(sum, &x)| *sum = sum.wrapping_add(x));
}
