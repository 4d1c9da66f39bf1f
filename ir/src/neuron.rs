//! The neuron: what it is, what it does in a step, and what everybody else may rely on.
//!
//! [`Dynamics::step`] is the only definition of a firing rule. It is generic over the number that
//! potentials are kept in, so that the reference engine, calibration, reports and proofs share it.
//! Fast engines have code of their own, and tests hold them to this. Who does not simulate neurons
//! asks for a property ([`Firing::timing`], [`Firing::quanta_per_step`], ..) instead of a variant:
//! a new firing mode is written here, and works wherever only properties are used.

use crate::attr::{AttrError, Fields, kind};
use crate::infer::{TypeError, broadcasts, shape_error};
use crate::tensor::{Tensor, shape_broadcasts};
use std::fmt;
use std::str::FromStr;
use thiserror::Error;

/// What happens to the membrane potential when a neuron fires.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Reset {
    /// Soft reset: `v −= θ`.
    #[default]
    Subtract,
    /// Hard reset: `v = 0`.
    Zero,
}

/// The size of one spike, as the neurons after this one see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Amplitude {
    /// The neuron's threshold, as after `replace-relu`.
    Threshold,
    /// One, as after `normalize` folded the thresholds into the next weights.
    One,
}

/// How a neuron turns its potential into spikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Firing {
    /// At most one spike per step, as soon as `v >= θ`.
    #[default]
    Binary,
    /// `+1` when `v >= θ`, `−1` when `v < 0` and something was sent before: spikes can be taken
    /// back.
    Ternary,
    /// Binary spikes after a window barrier: the neuron integrates all its input first, then emits
    /// its count.
    TwoPhase,
    /// Up to `2ⁿ − 1` quanta of θ per step, sent on `n` binary lanes.
    Lanes(u8),
    /// As many spikes in a step as the potential holds, `floor(v/θ)`, up to
    /// [`Firing::MOST_QUANTA`].
    MultiSpike,
}

/// [`Firing::Binary`].
pub const BINARY: Firing = Firing::Binary;
/// [`Firing::Ternary`].
pub const TERNARY: Firing = Firing::Ternary;
/// [`Firing::TwoPhase`].
pub const TWO_PHASE: Firing = Firing::TwoPhase;

/// [`Firing::MultiSpike`].
pub const MULTI_SPIKE: Firing = Firing::MultiSpike;

/// [`Firing::Lanes`].
pub const fn lanes(n: u8) -> Firing {
    Firing::Lanes(n)
}

/// When a neuron can send what its input asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Timing {
    /// In every step, from the current so far.
    EachStep,
    /// After a window barrier, from the current of the whole window.
    WholeWindow,
}

/// Why a word names no firing mode or reset rule.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("`{word}` is none of {expected}")]
pub struct UnknownWord {
    /// The word.
    pub word: String,
    /// The words that are known.
    pub expected: &'static str,
}

impl Reset {
    /// The words of all reset rules.
    pub const WORDS: &'static str = "subtract or zero";

    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Reset::Subtract => "subtract",
            Reset::Zero => "zero",
        }
    }
}

impl fmt::Display for Reset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for Reset {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        let found = [Reset::Subtract, Reset::Zero].into_iter().find(|r| r.word() == word);
        found.ok_or_else(|| UnknownWord { word: word.into(), expected: Self::WORDS })
    }
}

impl Firing {
    /// The words of all firing modes.
    pub const WORDS: &'static str = "binary, ternary, two_phase, multi_spike or lanes";
    /// Most lanes of a neuron.
    pub const MOST_LANES: u8 = 15;
    /// Most quanta of θ that any neuron sends in a step: those of as many lanes. Integers prove a
    /// lower bound, from the largest current.
    pub const MOST_QUANTA: u32 = (1 << Firing::MOST_LANES) - 1;

    /// The word for it, without the number of lanes.
    pub fn word(self) -> &'static str {
        match self {
            Firing::Binary => "binary",
            Firing::Ternary => "ternary",
            Firing::TwoPhase => "two_phase",
            Firing::Lanes(_) => "lanes",
            Firing::MultiSpike => "multi_spike",
        }
    }

    /// The mode that `word` stands for, with the number of lanes where it has some.
    ///
    /// # Errors
    /// When there is no such mode.
    pub fn of_word(word: &str, lanes: u8) -> Result<Self, UnknownWord> {
        let all = [Firing::Binary, Firing::Ternary, Firing::TwoPhase, Firing::MultiSpike, Firing::Lanes(lanes)];
        let found = all.into_iter().find(|f| f.word() == word);
        found.ok_or_else(|| UnknownWord { word: word.into(), expected: Self::WORDS })
    }

    /// The number that is written with the word: that of lanes.
    pub fn written_lanes(self) -> Option<u8> {
        if let Firing::Lanes(n) = self { Some(n) } else { None }
    }

    /// The most quanta of θ that a neuron sends in a step.
    #[inline(always)]
    pub fn quanta_per_step(self) -> u32 {
        match self {
            Firing::Binary | Firing::Ternary | Firing::TwoPhase => 1,
            Firing::Lanes(n) => (1 << n.min(31)) - 1,
            Firing::MultiSpike => Firing::MOST_QUANTA,
        }
    }

    /// Quanta that make up the balanced threshold, which is what a step can send at least: lanes
    /// divide it.
    pub fn quanta_of_threshold(self) -> u32 {
        if let Firing::Lanes(_) = self { self.quanta_per_step() } else { 1 }
    }

    /// Whether a neuron sends all that its potential holds. It does not saturate then, and only
    /// the current bounds what it sends.
    pub fn sends_all(self) -> bool {
        self == Firing::MultiSpike
    }

    /// Binary lanes that can carry what a neuron sends in a step.
    pub fn lanes(self) -> u32 {
        u32::BITS - self.quanta_per_step().leading_zeros()
    }

    /// Spikes that a neuron sends when it sends so many quanta of θ in a step.
    pub fn spikes_of(self, quanta: i64) -> u64 {
        if let Firing::Lanes(_) = self { u64::from(quanta.count_ones()) } else { quanta.unsigned_abs() }
    }

    /// When a neuron sends.
    pub fn timing(self) -> Timing {
        if self == Firing::TwoPhase { Timing::WholeWindow } else { Timing::EachStep }
    }

    /// Whether a neuron can take back what it sent. A network of such neurons alone settles: after
    /// its last input it comes to rest at counts that its whole input decides.
    pub fn may_retract(self) -> bool {
        self == Firing::Ternary
    }

    /// Whether every step may have a current of its own ([`Neuron::schedule`]): where what arrives
    /// in a step decides what is sent in it.
    pub fn allows_schedule(self) -> bool {
        self.timing() == Timing::EachStep && !self.may_retract()
    }

    /// What a neuron can send in a step, in quanta of θ.
    pub fn step_interval(self) -> (i64, i64) {
        (-i64::from(self.may_retract()), i64::from(self.quanta_per_step()))
    }
}

impl fmt::Display for Firing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())?;
        self.written_lanes().map_or(Ok(()), |n| write!(f, "({n})"))
    }
}

impl FromStr for Firing {
    type Err = UnknownWord;

    /// Reads what [`Firing`] prints, with hyphens or underscores: `two-phase`, `lanes(4)`.
    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        let written = text.replace('-', "_");
        let parts = written.strip_suffix(')').and_then(|text| text.split_once('('));
        let (word, lanes) = match parts {
            Some((word, lanes)) => (word, lanes.parse().ok()),
            None => (written.as_str(), Some(0)),
        };
        let found = lanes.and_then(|lanes| Firing::of_word(word, lanes).ok());
        let is_complete = |f: &Firing| f.written_lanes().is_some() == parts.is_some();
        found.filter(is_complete).ok_or_else(|| UnknownWord { word: text.into(), expected: Firing::WORDS })
    }
}

/// What membrane potentials are kept in: `i64` after `quantize`, `f32` or `f64` before it.
pub trait Number: Copy + PartialOrd {
    /// Nothing.
    const ZERO: Self;
    /// One quantum, or one spike.
    const ONE: Self;
    /// Less than every count.
    const LOWEST: Self;
    /// More than every count.
    const HIGHEST: Self;

    /// A whole number.
    fn whole(count: i64) -> Self;
    /// The whole number that it is.
    fn count(self) -> i64;
    /// `floor(self / threshold)`, clamped to `low..=high`.
    fn multiples(self, threshold: Self, low: Self, high: Self) -> Self;
    /// `self − threshold·quanta`.
    fn without(self, threshold: Self, quanta: Self) -> Self;
}

macro_rules! float {
    ($float:ty) => {
        impl Number for $float {
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;
            const LOWEST: Self = <$float>::NEG_INFINITY;
            const HIGHEST: Self = <$float>::INFINITY;

            #[inline(always)]
            fn whole(count: i64) -> Self {
                count as $float
            }
            #[inline(always)]
            fn count(self) -> i64 {
                self as i64
            }
            #[inline(always)]
            fn multiples(self, threshold: Self, low: Self, high: Self) -> Self {
                (self / threshold).clamp(low, high).floor()
            }
            #[inline(always)]
            fn without(self, threshold: Self, quanta: Self) -> Self {
                self - threshold * quanta
            }
        }
    };
}

float!(f32);
float!(f64);

impl Number for i64 {
    const ZERO: Self = 0;
    const ONE: Self = 1;
    const LOWEST: Self = i64::MIN;
    const HIGHEST: Self = i64::MAX;

    #[inline(always)]
    fn whole(count: i64) -> Self {
        count
    }
    #[inline(always)]
    fn count(self) -> i64 {
        self
    }
    #[inline(always)]
    fn multiples(self, threshold: Self, low: Self, high: Self) -> Self {
        self.div_euclid(threshold).clamp(low, high)
    }
    #[inline(always)]
    fn without(self, threshold: Self, quanta: Self) -> Self {
        self.wrapping_sub(threshold.wrapping_mul(quanta))
    }
}

/// What a neuron does, whatever its threshold: a [`Neuron`] without its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Dynamics {
    /// Firing mode.
    pub firing: Firing,
    /// Reset rule.
    pub reset: Reset,
    /// Whether the count may go below zero.
    pub signed: bool,
}

impl Dynamics {
    /// Quanta of θ that a neuron sends whose potential, with the current of the step, is `v`. It
    /// has sent `sent` quanta in this window. Where `may_retract` and not signed, it sends no more
    /// than `most` in all.
    ///
    /// After a window barrier this is one of the neuron's spikes; how many they are is
    /// [`Dynamics::window_count`].
    #[inline(always)]
    pub fn fire<N: Number>(self, v: N, theta: N, sent: N, most: N) -> N {
        match self.firing {
            Firing::Ternary if v < N::ZERO && (self.signed || sent > N::ZERO) => N::whole(-1),
            Firing::Ternary if !self.signed && sent >= most => N::ZERO,
            Firing::Binary | Firing::Ternary | Firing::TwoPhase => {
                if v >= theta {
                    N::ONE
                } else {
                    N::ZERO
                }
            }
            Firing::Lanes(_) | Firing::MultiSpike => v.multiples(theta, N::ZERO, N::whole(self.firing.quanta_per_step().into())),
        }
    }

    /// The potential after a neuron with potential `v` has sent so many quanta.
    #[inline(always)]
    pub fn reset<N: Number>(self, v: N, theta: N, quanta: N) -> N {
        match self.reset {
            Reset::Zero if quanta != N::ZERO => N::ZERO,
            _ => v.without(theta, quanta),
        }
    }

    /// One step: [`Dynamics::fire`], then [`Dynamics::reset`] of the potential. Returns the quanta
    /// that are sent.
    #[inline(always)]
    pub fn step<N: Number>(self, v: &mut N, theta: N, sent: N, most: N) -> N {
        let quanta = self.fire(*v, theta, sent, most);
        *v = self.reset(*v, theta, quanta);
        quanta
    }

    /// The fewest and the most quanta that a neuron can send in a window of `steps`.
    #[inline(always)]
    pub fn output_interval<N: Number>(self, steps: u32) -> (N, N) {
        if self.signed {
            return (N::LOWEST, N::HIGHEST);
        }
        (N::ZERO, N::whole(i64::from(self.firing.quanta_per_step()) * i64::from(steps)))
    }

    /// The count that the whole input of a window asks for, whatever the order in which it came:
    /// `v` is the initial potential and all current. This is what a neuron with a window barrier
    /// sends; of other neurons it is the count without unevenness.
    #[inline(always)]
    pub fn window_count<N: Number>(self, v: N, theta: N, steps: u32) -> N {
        let (low, high) = self.output_interval(steps);
        v.multiples(theta, low, high)
    }

    /// Whether a neuron's count depends on the sum of its current over the window alone. (A network
    /// of neurons that retract is read when it has settled, and then its counts are these, too.)
    pub fn counts_whole_windows(self) -> bool {
        self.firing.timing() == Timing::WholeWindow || self.firing.may_retract() && !self.signed
    }
}

/// Evaluates an expression that uses the [`Dynamics`] in a variable once for each firing mode and
/// reset rule, so that a loop over many neurons in it is compiled for each and does not branch.
/// What the expression calls should be `#[inline(always)]`.
#[macro_export]
macro_rules! specialized {
    ($dynamics:ident => $work:expr) => {
        $crate::specialized!($dynamics => $work; Binary, Ternary, TwoPhase, Lanes(lanes), MultiSpike)
    };
    ($dynamics:ident => $work:expr; $($mode:ident $(($n:ident))?),+) => {
        match ($dynamics.firing, $dynamics.reset) {
            $(
                ($crate::neuron::Firing::$mode $(($n))?, $crate::neuron::Reset::Subtract) => {
                    let (firing, reset) = ($crate::neuron::Firing::$mode $(($n))?, $crate::neuron::Reset::Subtract);
                    let $dynamics = $crate::neuron::Dynamics { firing, reset, ..$dynamics };
                    $work
                }
                ($crate::neuron::Firing::$mode $(($n))?, $crate::neuron::Reset::Zero) => {
                    let (firing, reset) = ($crate::neuron::Firing::$mode $(($n))?, $crate::neuron::Reset::Zero);
                    let $dynamics = $crate::neuron::Dynamics { firing, reset, ..$dynamics };
                    $work
                }
            )+
        }
    };
}

/// Parameters of a population of integrate-and-fire neurons. Tensors broadcast over the
/// population's shape.
#[derive(Clone, Debug, PartialEq)]
pub struct Neuron {
    /// θ, positive.
    pub threshold: Tensor,
    /// v(0), in the unit of the threshold tensor.
    pub initial: Tensor,
    /// A current of its own for every step, `[steps, ..]` in the unit of the threshold tensor: row
    /// `t` broadcasts over the population and is added in step `t`, the last row in all later steps
    /// (forward temporal bias, Wu et al. 2024). Only for neurons whose firing [allows
    /// it](Firing::allows_schedule).
    pub schedule: Option<Tensor>,
    /// Reset rule.
    pub reset: Reset,
    /// Size of a spike.
    pub amplitude: Amplitude,
    /// Firing mode.
    pub firing: Firing,
    /// Whether the count may go below zero: a line neuron, `y = x` instead of `y = max(x, 0)`. Only
    /// for neurons that [retract](Firing::may_retract).
    pub signed: bool,
    /// Mean number of spikes per neuron and step on calibration samples, if it was measured. It
    /// changes nothing about what the neurons do; engines choose kernels by it.
    pub rate: Option<f32>,
}

impl Neuron {
    /// A binary neuron with soft reset, no initial shift, and spikes of the size of θ.
    pub fn new(threshold: Tensor) -> Self {
        let initial = if threshold.is_integer() { Tensor::scalar_i32(0) } else { Tensor::scalar(0.0) };
        Neuron {
            threshold,
            initial,
            schedule: None,
            reset: Reset::Subtract,
            amplitude: Amplitude::Threshold,
            firing: Firing::Binary,
            signed: false,
            rate: None,
        }
    }

    /// What it does in a step.
    pub fn dynamics(&self) -> Dynamics {
        Dynamics { firing: self.firing, reset: self.reset, signed: self.signed }
    }

    /// The attributes, on the way out or in.
    pub(crate) fn fields(&mut self, f: &mut Fields) -> Result<(), AttrError> {
        f.tensor("threshold", &mut self.threshold)?;
        let nothing = Neuron::new(self.threshold.clone()).initial;
        f.printed_tensor_or("init", &mut self.initial, nothing)?;
        f.optional_tensor("schedule", &mut self.schedule)?;
        let resets = [Reset::Subtract, Reset::Zero].map(|r| (r.word(), r));
        f.printed_choice("reset", &mut self.reset, Reset::WORDS, &resets, Some(Reset::Subtract))?;
        let amplitudes = [("threshold", Amplitude::Threshold), ("one", Amplitude::One)];
        f.choice("amplitude", &mut self.amplitude, "threshold or one", &amplitudes, Amplitude::One)?;
        let (mut word, mut lanes) = (self.firing.word().to_string(), self.firing.written_lanes().map(usize::from));
        f.word_or("firing", &mut word, BINARY.word())?;
        f.optional_size("lanes", &mut lanes)?;
        let lanes = u8::try_from(lanes.unwrap_or(0)).unwrap_or(u8::MAX);
        self.firing = Firing::of_word(&word, lanes).or_else(|_| kind("firing", Firing::WORDS))?;
        f.flag("signed", &mut self.signed)?;
        f.optional_float("rate", &mut self.rate)?;
        if f.is_read() && self.rate.is_some_and(|r| !r.is_finite() || r < 0.0) {
            return kind("rate", "a number of spikes per neuron and step, zero or more");
        }
        Ok(())
    }

    /// Whether the neurons form a population of `shape`.
    pub(crate) fn fits(&self, shape: &[usize]) -> Result<(), TypeError> {
        let refuse = |reason: &str| Err(TypeError::Parameter(reason.into()));
        broadcasts("threshold", &self.threshold, shape)?;
        broadcasts("init", &self.initial, shape)?;
        if self.threshold.is_integer() != self.initial.is_integer() {
            return refuse("threshold and init must both be integers or both be floats");
        }
        if !self.threshold.values().all(|t| t > 0.0 && t.is_finite()) {
            return refuse("every threshold must be positive and finite");
        }
        if let Some(schedule) = &self.schedule {
            match self.schedule_shape() {
                Some((_, row)) if shape_broadcasts(row, shape) => {}
                Some((_, row)) => {
                    return shape_error(format!("a row of the schedule of shape {row:?} does not broadcast to {shape:?}"));
                }
                None => return shape_error(format!("a schedule of shape {:?} has no rows", schedule.shape())),
            }
            if schedule.is_integer() != self.threshold.is_integer() {
                return refuse("threshold and schedule must both be integers or both be floats");
            }
            if !self.firing.allows_schedule() {
                return refuse("a schedule needs neurons that fire step by step: binary ones, lanes or multi-spike ones");
            }
        }
        if self.signed && !self.firing.may_retract() {
            return refuse("signed neurons need ternary firing");
        }
        match self.firing.written_lanes() {
            Some(k) if !(1..=Firing::MOST_LANES).contains(&k) => {
                refuse(&format!("lanes({k}): 1 to {} lanes are possible", Firing::MOST_LANES))
            }
            _ => Ok(()),
        }
    }

    /// The rows of the schedule, one tensor a step, each of which broadcasts over the population;
    /// none without a schedule.
    pub fn schedule_rows(&self) -> Vec<Tensor> {
        self.schedule_steps().collect()
    }

    /// [`Neuron::schedule_rows`], one after the other.
    pub fn schedule_steps(&self) -> impl Iterator<Item = Tensor> {
        let schedule = self.schedule.as_ref().filter(|s| !s.is_empty());
        let (steps, row) = self.schedule_shape().unwrap_or((0, &[]));
        let integers = schedule.filter(|s| s.is_integer()).and_then(Tensor::to_i32_vec);
        (0..steps).zip(schedule.into_iter().cycle()).map(move |(t, schedule)| {
            let each = schedule.len() / steps;
            let at = t * each..(t + 1) * each;
            match &integers {
                Some(v) => Tensor::i32(row, &v[at]),
                None => Tensor::f32(row, &schedule.as_f32()[at]),
            }
        })
    }

    /// Rows of the schedule and the shape of one; `None` where there are none.
    pub fn schedule_shape(&self) -> Option<(usize, &[usize])> {
        let schedule = self.schedule.as_ref().filter(|s| !s.is_empty())?;
        schedule.shape().split_first().map(|(&steps, row)| (steps, row))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dynamics(firing: Firing) -> Dynamics {
        Dynamics { firing, ..Dynamics::default() }
    }

    #[test]
    fn every_firing_mode_is_read_as_it_is_printed_and_nothing_else_is() {
        for firing in [BINARY, TERNARY, TWO_PHASE, MULTI_SPIKE, lanes(4)] {
            assert_eq!(firing.to_string().parse(), Ok(firing));
        }
        assert_eq!("two-phase".parse(), Ok(TWO_PHASE));
        for text in ["", "lanes", "lanes()", "lanes(256)", "binary(2)", "four"] {
            let error = text.parse::<Firing>().unwrap_err();
            assert_eq!(error.to_string(), format!("`{text}` is none of {}", Firing::WORDS));
        }
    }

    #[test]
    fn a_step_is_the_same_in_every_number() {
        for firing in [BINARY, TERNARY, MULTI_SPIKE, lanes(3)] {
            for (v, sent) in (-30..60).flat_map(|v| [(v, 0), (v, 2)]) {
                let (mut i, mut f, mut d) = (v, v as f32, v as f64);
                let quanta = dynamics(firing).step(&mut i, 7, sent, 2);
                let single = dynamics(firing).step(&mut f, 7.0, sent as f32, 2.0);
                let double = dynamics(firing).step(&mut d, 7.0, sent as f64, 2.0);
                assert_eq!((single.count(), f), (quanta, i as f32), "{firing} at {v}");
                assert_eq!((double.count(), d), (quanta, i as f64), "{firing} at {v}");
            }
        }
    }

    #[test]
    fn what_a_window_asks_for_is_clipped_to_what_it_can_send_unless_counts_are_signed() {
        let counts = |dynamics: Dynamics| [-25i64, 25, 2500].map(|v| dynamics.window_count(v, 10, 4));
        assert_eq!(counts(dynamics(TWO_PHASE)), [0, 2, 4]);
        assert_eq!(counts(dynamics(lanes(2))), [0, 2, 12]);
        assert_eq!(counts(dynamics(MULTI_SPIKE)), [0, 2, 250]);
        assert_eq!(counts(Dynamics { signed: true, ..dynamics(TERNARY) }), [-3, 2, 250]);
    }
}
