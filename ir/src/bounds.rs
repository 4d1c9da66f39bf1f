//! How large the integers of a quantized graph can get: the proof that no engine overflows.
//!
//! Interval arithmetic, conservative in one place only: that every element of a value may take
//! every value of its channel's interval, independently. Spikes lie in `{0, 1}`, `{−1, 0, 1}` or
//! `0..2ⁿ`, encoded currents in `±limit`; weights, biases and thresholds are known. What this gives
//! per output channel is exact for binary spikes.
//!
//! Intervals of currents always contain zero, and every sum of *some* of a current's terms: an
//! engine may add them in any order, skip those of silent synapses, and start from the bias or not.

use crate::graph::{Graph, NodeId};
pub use crate::interval::Interval;
use crate::interval::{Channels, Operand, Sources};
use crate::neuron::{BINARY, Neuron, Reset, Timing};
use crate::op::Op;
use std::collections::HashMap;
use thiserror::Error;

/// An integer that could leave 32 bits.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BoundsError {
    /// A current that is too large in a single step.
    #[error("{name} ({op}): its current may reach {low} or {high} in a step, which 32 bits do not hold")]
    Current {
        /// The node.
        name: String,
        /// Its operation.
        op: &'static str,
        /// Lowest current.
        low: i64,
        /// Highest current.
        high: i64,
    },
    /// A membrane potential or running sum that may overflow within the window.
    #[error("{name} ({op}): its potential may leave 32 bits after {max} steps, the window has {steps}")]
    Window {
        /// The node.
        name: String,
        /// Its operation.
        op: &'static str,
        /// Steps wanted.
        steps: u32,
        /// Steps that are safe.
        max: u32,
    },
}

/// What is known about the integers of a quantized graph.
#[derive(Clone, Debug)]
pub struct Bounds {
    currents: HashMap<NodeId, Interval>,
    max_steps: u32,
    /// The node that sets `max_steps`.
    limiting: Option<(String, &'static str)>,
}

impl Bounds {
    /// Analyses a graph that is acyclic and well typed. Graphs that are not quantized have no
    /// integers and no bounds.
    ///
    /// # Errors
    /// [`BoundsError::Current`].
    pub fn new(graph: &Graph) -> Result<Bounds, BoundsError> {
        let mut bounds = Bounds { currents: HashMap::new(), max_steps: u32::MAX, limiting: None };
        let mut ranges = Ranges::default();
        for id in graph.topological().unwrap_or_default() {
            let op = graph.op(id);
            let Some(reach) = ranges.reach(graph, op, &graph.operands(id), &graph.ty(id).shape) else { continue };
            let label = || (graph.node(id).name().to_string(), op.name());
            let (low, high) = reach.current();
            if !fits(low) || !fits(high) {
                let (name, op) = label();
                return Err(BoundsError::Current { name, op, low, high });
            }
            bounds.currents.insert(id, (low, high));
            let steps = reach.steps.iter().copied().min().unwrap_or(u32::MAX);
            if steps < bounds.max_steps {
                bounds.max_steps = steps;
                bounds.limiting = Some(label());
            }
            ranges.insert(id, reach);
        }
        Ok(bounds)
    }

    /// What the node's current (into its neurons, if it has some) can be in a step, and every
    /// partial sum of it; `None` for nodes that compute in floats.
    pub fn current(&self, id: NodeId) -> Option<Interval> {
        self.currents.get(&id).copied()
    }

    /// The longest window in which no potential and no running sum leaves 32 bits.
    pub fn max_steps(&self) -> u32 {
        self.max_steps
    }

    /// Whether a window of `steps` steps is safe.
    ///
    /// # Errors
    /// [`BoundsError::Window`], naming the node that may overflow first.
    pub fn check_window(&self, steps: u32) -> Result<(), BoundsError> {
        match &self.limiting {
            Some((name, op)) if steps > self.max_steps => Err(BoundsError::Window { name: name.clone(), op, steps, max: self.max_steps }),
            _ => Ok(()),
        }
    }
}

/// What the integers of a graph may be, worked out node by node. [`Bounds`] proves a whole graph
/// with it, and `quantize` chooses integers with it: so what a pass plans is what the verifier
/// proves.
#[derive(Clone, Debug)]
pub struct Ranges {
    values: HashMap<NodeId, Channels>,
    /// Largest magnitude of a potential or a running sum.
    most: i64,
}

impl Default for Ranges {
    /// With potentials of 32 bits.
    fn default() -> Self {
        Ranges::within(i32::MAX.into())
    }
}

/// What the integers of one node may be.
#[derive(Clone, Debug)]
pub struct Reach {
    current: Channels,
    sent: Channels,
    steps: Vec<u32>,
}

impl Reach {
    /// Lowest and highest current of a step, over all channels. Both may be beyond 32 bits.
    pub fn current(&self) -> Interval {
        self.current.hull()
    }

    /// The same of one channel (index of the first axis).
    pub fn current_of(&self, channel: usize) -> Interval {
        self.current.at(channel)
    }

    /// Most steps in which no potential and no running sum of `channel` leaves 32 bits.
    pub fn steps_of(&self, channel: usize) -> u32 {
        self.steps[if self.steps.len() == 1 { 0 } else { channel }]
    }
}

impl Ranges {
    /// With potentials and running sums of magnitude `most` at most.
    pub fn within(most: i64) -> Self {
        Ranges { values: HashMap::new(), most }
    }

    /// What `op` makes of `operands`, nodes of `graph` that are known already, with a result of
    /// `shape`; `None` for what computes in floats.
    pub fn reach(&self, graph: &Graph, op: &Op, operands: &[NodeId], shape: &[usize]) -> Option<Reach> {
        let known: Option<Vec<Operand>> =
            operands.iter().map(|o| Some(Operand { ranges: self.values.get(o)?, shape: &graph.ty(*o).shape })).collect();
        let known = match op {
            Op::Input(..) => return None,
            Op::Constant(_, value) if !value.is_integer() => return None,
            Op::Encode { .. } => Vec::new(),
            // After an input and before `encode`: the prefix, in floats.
            _ => known?,
        };
        let current = op.current(&Sources { operands: &known, shape });
        let (low, high) = current.hull();
        let neuron = op.neuron();
        let steps = match (neuron, op) {
            (Some(n), _) => neuron_steps(n, &driving(n, &current, shape), shape, self.most),
            (None, Op::CumulativeMaxPool(_) | Op::CumulativeMax) => vec![rising(high, high, self.most).min(falling(low, low, self.most))],
            // Readouts accumulate in 64 bits, which 2³² steps of 32 bits do not fill.
            _ => vec![u32::MAX],
        };
        let sent = neuron.map_or_else(|| current.clone(), |n| sent_by(n, &current, shape));
        Some(Reach { current, sent, steps })
    }

    /// Takes note of what node `id` passes on.
    pub fn insert(&mut self, id: NodeId, reach: Reach) {
        self.values.insert(id, reach.sent);
    }

    /// The largest magnitude of an integer that node `id` passes on; zero where it is not known.
    pub fn magnitude(&self, id: NodeId) -> i64 {
        let (low, high) = self.values.get(&id).map_or((0, 0), Channels::hull);
        high.max(low.saturating_neg())
    }

    /// The same per channel, `channels` of them.
    pub fn magnitudes(&self, id: NodeId, channels: usize) -> Vec<i64> {
        let Some(values) = self.values.get(&id) else { return vec![0; channels] };
        let magnitude = |(low, high): Interval| high.max(low.saturating_neg());
        match values.0.len() {
            n if n == channels => values.0.iter().map(|&i| magnitude(i)).collect(),
            _ => vec![magnitude(values.hull()); channels],
        }
    }
}

fn fits(v: i64) -> bool {
    i32::try_from(v).is_ok()
}

/// Most steps of a window in which what starts at `first` in the first step and may rise by `drift`
/// in each further one is `most` at most.
fn rising(first: i64, drift: i64, most: i64) -> u32 {
    match most.checked_sub(first) {
        Some(room) if room >= 0 => {
            let more = room.checked_div(drift.max(0)).unwrap_or(i64::MAX);
            u32::try_from(more.saturating_add(1)).unwrap_or(u32::MAX)
        }
        _ => 0,
    }
}

/// The same downwards, with a negative `drift`.
fn falling(first: i64, drift: i64, most: i64) -> u32 {
    // −2³¹ itself is given away, so that both directions are one.
    rising(first.saturating_neg(), drift.saturating_neg(), most)
}

/// The current of neurons with that of their schedule.
fn driving(n: &Neuron, current: &Channels, shape: &[usize]) -> Channels {
    current.plus(&Channels::of_schedule(n, shape))
}

/// What neurons can send in a step, in quanta of θ, which have amplitude one. Those that send all
/// they hold start a step at `θ − 1` at most, or at `v(0)`, and so send `(max(θ − 1, v(0)) + I)/θ`.
fn sent_by(n: &Neuron, current: &Channels, shape: &[usize]) -> Channels {
    let (low, high) = n.firing.step_interval();
    if !n.firing.sends_all() {
        return Channels(vec![(low, high)]);
    }
    let (threshold, initial) = (Channels::of_tensor(&n.threshold, shape), Channels::of_tensor(&n.initial, shape));
    let current = driving(n, current, shape);
    let channels = [&threshold, &initial, &current].map(|c| c.0.len()).into_iter().max().unwrap_or(1);
    let most = |c: usize| {
        let theta = threshold.at(c).0.max(1);
        let held = initial.at(c).1.max(theta - 1).saturating_add(current.at(c).1);
        held.div_euclid(theta).clamp(low, high)
    };
    Channels((0..channels).map(|c| (low, most(c))).collect())
}

/// Most steps in which no potential is larger than `most`, per channel, or one number for all.
///
/// Let `v ≤ U` before a step, with `U ≥ θ−1`. In it the potential reaches at most `U + I`, and
/// after it is at most `max(θ−1, U + I − kθ)`, with `k` quanta sent at most. So U rises by at most
/// `max(0, I − kθ)` a step. Downwards there is no reset, except that signed neurons mirror it.
fn neuron_steps(n: &Neuron, current: &Channels, shape: &[usize], most: i64) -> Vec<u32> {
    let (threshold, initial) = (Channels::of_tensor(&n.threshold, shape), Channels::of_tensor(&n.initial, shape));
    let channels = [&threshold, &initial, current].map(|c| c.0.len()).into_iter().max().unwrap_or(1);
    let steps = |c: usize| {
        let ((theta, theta_high), (start, start_high), (low, high)) = (threshold.at(c), initial.at(c), current.at(c));
        let bottom = start.min(0).saturating_add(low);
        let top = start_high.max(theta_high - 1).saturating_add(high);
        if n.firing.timing() == Timing::WholeWindow {
            return rising(start_high.max(0).saturating_add(high), high, most).min(falling(bottom, low, most));
        }
        let quanta = i64::from(n.firing.quanta_per_step());
        let sent = theta.saturating_mul(quanta);
        let up = if n.reset == Reset::Zero { 0 } else { high.saturating_sub(sent).max(0) };
        let down = match (n.signed, n.reset) {
            (false, _) => low,
            (true, Reset::Zero) => 0,
            (true, Reset::Subtract) => low.saturating_add(theta).min(0),
        };
        // Engines may keep binary neurons' potentials less their threshold.
        let margin = if n.firing == BINARY { theta_high.max(0) } else { 0 };
        rising(top, up, most).min(falling(bottom.saturating_sub(margin), down, most))
    };
    (0..channels).map(steps).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::neuron::{Amplitude, Firing, MULTI_SPIKE, TERNARY, TWO_PHASE, lanes};
    use crate::tensor::Tensor;
    use proptest::prelude::*;

    fn neuron(theta: i32, initial: i32, reset: Reset, firing: Firing, signed: bool) -> Neuron {
        Neuron {
            threshold: Tensor::scalar_i32(theta),
            initial: Tensor::scalar_i32(initial),
            schedule: None,
            reset,
            amplitude: Amplitude::One,
            firing,
            signed,
            rate: None,
        }
    }

    fn steps(n: &Neuron, current: Interval) -> u32 {
        neuron_steps(n, &Channels(vec![current]), &[], i32::MAX.into())[0]
    }

    #[test]
    fn potentials_that_spikes_pull_back_are_safe_for_ever() {
        let n = neuron(100, 50, Reset::Subtract, BINARY, false);
        assert_eq!(steps(&n, (0, 100)), u32::MAX);
        // +1 a step above the threshold, from 99 + 101.
        assert_eq!(steps(&n, (0, 101)), (i32::MAX - 200) as u32 + 1);
        // Down by 2^30 a step.
        assert_eq!(steps(&n, (-(1 << 30), 0)), 1);
        let signed = neuron(1 << 30, 0, Reset::Subtract, TERNARY, true);
        assert_eq!(steps(&signed, (-(1 << 30), 0)), u32::MAX);
    }

    #[test]
    fn every_channel_of_a_current_has_a_range_of_its_own() {
        let text = "graph @net steps=1 {
  %image = input : current[2]
  %encode = encode %image, scale=1, limit=10 : current[2]
  %spikes = layer %encode, synapses=[identity()], neuron=if(threshold=i32(5), init=i32(0), reset=subtract) : spikes[2]
  %fine = layer %spikes, synapses=[linear(weight=@fine)] : current[2]
  %sum = layer %fine, synapses=[linear(weight=@sum)] : current[1]
  %out = readout %sum : potential[1]
  output %out
}
@fine = i16[2x2] [1, -2, 1000, 100]
@sum = i16[1x2] [1000, 1]
";
        let graph = crate::text::parse(text).unwrap();
        let bounds = Bounds::new(&graph).unwrap();
        let current = |name| bounds.current(graph.find(name).unwrap()).unwrap();
        assert_eq!(current("fine"), (-2, 1100));
        assert_eq!(current("sum"), (-2000, 1000 + 1100));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        /// Inputs are mostly the extremes, thresholds and currents a fair part of 2³¹, so that
        /// windows are short.
        #[test]
        fn no_potential_leaves_32_bits_in_a_window_that_is_said_to_be_safe(
            theta in 1i32..1 << 29, initial in -(1 << 28)..1 << 28, low in -(1i64 << 29)..=0, high in 0i64..1 << 29,
            zero: bool, kind in 0usize..6, inputs in prop::collection::vec(0u8..5, 1..60),
        ) {
            let firing = [BINARY, TERNARY, TERNARY, lanes(2), TWO_PHASE, MULTI_SPIKE][kind];
            let reset = if zero { Reset::Zero } else { Reset::Subtract };
            let n = neuron(theta, initial, reset, firing, kind == 2);
            let window = steps(&n, (low, high)) as usize;
            let theta = i64::from(theta);
            let (mut v, mut sent) = (i64::from(initial), 0i64);
            for &input in inputs.iter().take(window) {
                v += [low, high, high, low, 0][usize::from(input)];
                prop_assert!(fits(v), "{v}");
                prop_assert!(firing != BINARY || fits(v - theta), "{v} - {theta}");
                if firing.timing() == Timing::EachStep {
                    let quanta = n.dynamics().step(&mut v, theta, sent, i64::MAX);
                    let (least, most) = sent_by(&n, &Channels(vec![(low, high)]), &[]).0[0];
                    prop_assert!((least..=most).contains(&quanta), "{quanta} of {least} to {most}");
                    sent += quanta;
                }
                prop_assert!(fits(v), "{v}");
            }
        }
    }
}
