//! What a network is compiled for, a chip or a program, allows: a list of limits, each with its source.
//!
//! A [`Target`] is data; `compiler/targets/*.yaml` holds those that are built in. No pass and no backend knows a
//! number of hardware by heart: passes take what they may use from the target of a compilation, and
//! [`verify_for`] lists everything in a network that a target cannot hold, before anything is written for it.

use crate::bounds::Ranges;
use crate::graph::{Graph, NodeId};
use crate::neuron::{Amplitude, Firing, Neuron, Reset, Timing, UnknownWord};
use crate::op::Op;
use crate::tensor::Tensor;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::fmt;

/// A limit, and where it is written down.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Limit<T> {
    /// What is allowed.
    pub value: T,
    /// Document, table or file that says so.
    pub source: String,
}

/// A firing mode by its word, whatever the number of lanes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct FiringMode(Firing);

impl FiringMode {
    /// Whether neurons fire so.
    pub fn is_of(self, firing: Firing) -> bool {
        self.0.word() == firing.word()
    }
}

impl TryFrom<String> for FiringMode {
    type Error = UnknownWord;

    fn try_from(word: String) -> Result<Self, UnknownWord> {
        Firing::of_word(&word.replace('-', "_"), 1).map(FiringMode)
    }
}

impl From<FiringMode> for String {
    fn from(mode: FiringMode) -> String {
        mode.0.word().replace('_', "-")
    }
}

/// A reset rule by its word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct ResetRule(pub Reset);

impl TryFrom<String> for ResetRule {
    type Error = UnknownWord;

    fn try_from(word: String) -> Result<Self, UnknownWord> {
        word.parse().map(ResetRule)
    }
}

impl From<ResetRule> for String {
    fn from(rule: ResetRule) -> String {
        rule.0.word().into()
    }
}

/// Which neurons of a layer share a threshold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sharing {
    /// All of the layer.
    Layer,
    /// Those of a channel, the first axis.
    Channel,
    /// None: each neuron has its own.
    Neuron,
}

impl fmt::Display for Sharing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Sharing::Layer => "layer",
            Sharing::Channel => "channel",
            Sharing::Neuron => "neuron",
        })
    }
}

/// What can be limited. What is left out is not.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Limits {
    /// Firing rules of the neurons.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub firing: Option<Limit<Vec<FiringMode>>>,
    /// Reset rules of the neurons.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reset: Option<Limit<Vec<ResetRule>>>,
    /// Most lanes of a neuron.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lanes: Option<Limit<u8>>,
    /// Whether counts may go below zero.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signed: Option<Limit<bool>>,
    /// Longest window, in steps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timesteps: Option<Limit<u32>>,
    /// Bits of a weight, its sign among them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight_bits: Option<Limit<u32>>,
    /// Bits of a bias, a current added in each step, its sign among them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bias_bits: Option<Limit<u32>>,
    /// Bits of a threshold, which is positive, without a sign.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threshold_bits: Option<Limit<u32>>,
    /// Bits of a membrane potential, its sign among them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub membrane_bits: Option<Limit<u32>>,
    /// How many thresholds a layer may have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threshold_per: Option<Limit<Sharing>>,
    /// Whether a potential may start elsewhere than at zero.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub initial_potential: Option<Limit<bool>>,
    /// Whether weights may multiply currents that no neurons have turned into spikes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weights_on_currents: Option<Limit<bool>>,
    /// Most synapses that end at a neuron.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fan_in: Option<Limit<usize>>,
}

/// What a network is compiled for.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Target {
    /// Its name on the command line.
    pub name: String,
    /// What it is, in a sentence.
    pub description: String,
    /// What it cannot do.
    #[serde(default)]
    pub limits: Limits,
}

/// The largest magnitude of an integer of `bits` bits with a sign, the same in both directions.
pub fn largest_signed(bits: u32) -> i64 {
    (1i64 << (bits.clamp(1, 63) - 1)) - 1
}

impl Target {
    /// Largest magnitude of a weight, at most `most`.
    pub fn largest_weight(&self, most: f64) -> f64 {
        self.limits.weight_bits.as_ref().map_or(most, |l| most.min(largest_signed(l.value) as f64))
    }

    /// Largest magnitude of a membrane potential: engines here have 32 bits at most.
    pub fn largest_potential(&self) -> i64 {
        self.limits.membrane_bits.as_ref().map_or(i32::MAX.into(), |l| largest_signed(l.value).min(i32::MAX.into()))
    }

    /// Whether some neurons may fire at such times.
    pub fn allows(&self, timing: Timing) -> bool {
        self.limits.firing.as_ref().is_none_or(|l| l.value.iter().any(|mode| mode.0.timing() == timing))
    }

    /// Most lanes of a neuron, if that is limited.
    pub fn most_lanes(&self) -> Option<u8> {
        self.limits.lanes.as_ref().map(|l| l.value)
    }
}

/// Something in a network that a target cannot hold.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Obstacle {
    /// The node; empty where the network as a whole is meant.
    pub node: String,
    /// Its operation.
    pub op: &'static str,
    /// Which limit, by its key in the target's file.
    pub limit: &'static str,
    /// What the network has.
    pub value: String,
    /// What is allowed.
    pub allowed: String,
    /// Where that is written down.
    pub source: String,
    /// What to do.
    pub way_out: &'static str,
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.node.is_empty() {
            write!(f, "{} ({}): ", self.node, self.op)?;
        }
        write!(f, "{} {}, allowed: {} ({}); {}", self.limit, self.value, self.allowed, self.source, self.way_out)
    }
}

/// Everything in the verified spiking graph that `target` cannot hold, in the order of the nodes; empty if it fits.
///
/// Weights, biases and potentials of the prefix, which depends on the input alone, are not looked at.
pub fn verify_for(graph: &Graph, target: &Target) -> Vec<Obstacle> {
    let mut survey = Survey { graph, limits: &target.limits, found: Vec::new() };
    survey.window();
    let mut ranges = Ranges::within(target.largest_potential());
    let mut in_floats: HashSet<NodeId> = HashSet::new();
    for id in graph.topological().unwrap_or_default() {
        let reach = ranges.reach(graph, graph.op(id), &graph.operands(id), &graph.ty(id).shape);
        let neuron = graph.op(id).neuron();
        let (synapses, bias): (&[Op], Option<&Tensor>) = match graph.op(id) {
            Op::Layer(l) => (&l.synapses, l.bias.as_ref()),
            _ => (&[], None),
        };
        if neuron.is_none() && graph.is_quantized() && reach.is_none() {
            in_floats.insert(id);
            continue;
        }
        survey.synapses(id, synapses, bias, &in_floats);
        if let Some(neuron) = neuron {
            survey.neuron(id, neuron);
        }
        if let Some(reach) = reach {
            let steps = graph.timesteps.unwrap_or(1);
            let channels = graph.ty(id).shape.first().copied().unwrap_or(1);
            let safe = (0..channels).map(|c| reach.steps_of(c)).min().unwrap_or(u32::MAX);
            survey.membrane(id, safe, steps);
            ranges.insert(id, reach);
        }
    }
    survey.found
}

/// Obstacles as they are found.
struct Survey<'a> {
    graph: &'a Graph,
    limits: &'a Limits,
    found: Vec<Obstacle>,
}

impl Survey<'_> {
    fn add<T>(
        &mut self,
        node: Option<NodeId>,
        (limit, at): (&'static str, &Limit<T>),
        value: impl fmt::Display,
        allowed: impl fmt::Display,
        way_out: &'static str,
    ) {
        let (name, op) = node.map_or((String::new(), ""), |id| (self.graph.node(id).name().to_string(), self.graph.op(id).name()));
        let (value, allowed, source) = (value.to_string(), allowed.to_string(), at.source.clone());
        self.found.push(Obstacle { node: name, op, limit, value, allowed, source, way_out });
    }

    fn window(&mut self) {
        if let (Some(limit), Some(steps)) = (&self.limits.timesteps, self.graph.timesteps)
            && steps > limit.value
        {
            self.add(None, ("timesteps", limit), steps, format_args!("{} steps", limit.value), "compile with a shorter --timesteps");
        }
    }

    /// Weights, bias and fan-in of node `id`.
    fn synapses(&mut self, id: NodeId, synapses: &[Op], bias: Option<&Tensor>, in_floats: &HashSet<NodeId>) {
        let limits = self.limits;
        let sources = self.graph.operands(id);
        let mut fan_in = 0;
        for (synapse, source) in synapses.iter().zip(&sources) {
            if in_floats.contains(source) {
                continue;
            }
            let weights = synapse.parameters().into_iter().next().map(|(_, t)| t);
            fan_in += self.fan_in(synapse, *source);
            if let (Some(limit), Some(weights)) = (&limits.weight_bits, weights) {
                self.bits(id, ("weight-bits", limit), weights, true, "choose fewer bits with --weights, or another recipe");
            }
            let is_current = self.graph.ty(*source).signal == crate::Signal::Current;
            if let Some(limit) = limits.weights_on_currents.as_ref().filter(|l| !l.value)
                && is_current
                && weights.is_some()
            {
                let reader = format!("weights on the current `{}`", self.graph.node(*source).name());
                self.add(Some(id), ("weights-on-currents", limit), reader, "spikes alone", "put neurons between the two linear layers");
            }
        }
        if let (Some(limit), Some(bias)) = (&limits.bias_bits, bias) {
            self.bits(id, ("bias-bits", limit), bias, true, "choose fewer bits with --weights, or another recipe");
        }
        if let Some(limit) = limits.fan_in.as_ref().filter(|l| fan_in > l.value) {
            let way_out = "make the layer narrower, or split it";
            self.add(Some(id), ("fan-in", limit), fan_in, format_args!("{} synapses", limit.value), way_out);
        }
    }

    /// Synapses of one kind that end at one neuron.
    fn fan_in(&self, synapse: &Op, source: NodeId) -> usize {
        let shape = &self.graph.ty(source).shape;
        match synapse {
            Op::Conv(c) => c.weight.len() / c.weight.shape()[0].max(1),
            Op::ConvTranspose(c) => (c.weight.shape()[0] / c.groups.max(1)).saturating_mul(c.window.taps()),
            Op::Linear(l) => l.weight.shape()[1],
            Op::AvgPool(p) => p.window.taps(),
            Op::Reduce(r) => r.axes.iter().map(|&a| shape[a]).product(),
            _ => 1,
        }
    }

    /// Says it if an element of `tensor` needs more bits than `limit` allows.
    fn bits(&mut self, id: NodeId, limit: (&'static str, &Limit<u32>), tensor: &Tensor, signed: bool, way_out: &'static str) {
        let allowed = format!("{} bits", limit.1.value);
        if !tensor.is_integer() {
            self.add(Some(id), limit, "floating point", allowed, "compile without --weights f32");
            return;
        }
        let largest = tensor.values().fold(0.0, |m: f64, v| m.max(v.abs())) as u64;
        let needed = u64::BITS - largest.leading_zeros() + u32::from(signed);
        if needed > limit.1.value {
            self.add(Some(id), limit, format_args!("{needed} bits"), allowed, way_out);
        }
    }

    fn neuron(&mut self, id: NodeId, neuron: &Neuron) {
        let limits = self.limits;
        let firing = neuron.firing;
        if let Some(limit) = limits.firing.as_ref().filter(|l| !l.value.iter().any(|mode| mode.is_of(firing))) {
            let way_out = "compile with a recipe whose neurons fire so";
            self.add(Some(id), ("firing", limit), String::from(FiringMode(firing)), listed(&limit.value), way_out);
        }
        if let (Some(limit), Some(n)) = (&limits.lanes, firing.written_lanes())
            && n > limit.value
        {
            self.add(Some(id), ("lanes", limit), n, limit.value, "compile with fewer lanes");
        }
        if let Some(limit) = limits.reset.as_ref().filter(|l| !l.value.contains(&ResetRule(neuron.reset))) {
            let way_out = "compile with a recipe whose neurons reset so";
            self.add(Some(id), ("reset", limit), neuron.reset, listed(&limit.value), way_out);
        }
        if let Some(limit) = limits.signed.as_ref().filter(|l| !l.value && neuron.signed) {
            self.add(Some(id), ("signed", limit), "counts below zero", "none", "compile with another recipe than ternary");
        }
        if let Some(limit) = limits.initial_potential.as_ref().filter(|l| !l.value)
            && neuron.initial.values().any(|v| v != 0.0)
        {
            self.add(
                Some(id),
                ("initial-potential", limit),
                "a start above or below zero",
                "zero",
                "leave shift-membrane out of the recipe",
            );
        }
        if let Some(limit) = &limits.threshold_bits {
            self.bits(id, ("threshold-bits", limit), &neuron.threshold, false, "choose fewer bits with --weights");
        }
        let shared = sharing(&neuron.threshold, &self.graph.ty(id).shape);
        if let Some(limit) = limits.threshold_per.as_ref().filter(|l| shared > l.value) {
            let way_out = "balance one threshold for the whole layer";
            let value = format_args!("per {shared}").to_string();
            self.add(Some(id), ("threshold-per", limit), value, format_args!("per {}", limit.value), way_out);
        }
        if neuron.amplitude == Amplitude::Threshold
            && let Some(limit) = &limits.weight_bits
        {
            self.add(Some(id), ("weight-bits", limit), "spikes of θ", "spikes of one", "end the recipe with normalize and quantize");
        }
    }

    /// Whether the potential holds for the window, where it is safe for `safe` steps.
    fn membrane(&mut self, id: NodeId, safe: u32, steps: u32) {
        if let Some(limit) = self.limits.membrane_bits.as_ref().filter(|_| safe < steps) {
            let value = format_args!("enough for {safe} of {steps} steps").to_string();
            self.add(
                Some(id),
                ("membrane-bits", limit),
                value,
                format_args!("{} bits", limit.value),
                "a shorter window, or coarser weights",
            );
        }
    }
}

/// Which neurons share one of the thresholds of a population of `shape`.
fn sharing(threshold: &Tensor, shape: &[usize]) -> Sharing {
    let values: Vec<f64> = threshold.values().collect();
    if values.iter().all(|v| *v == values[0]) {
        return Sharing::Layer;
    }
    let is_per_channel = threshold.shape().len() == shape.len() && threshold.shape().iter().skip(1).all(|&d| d == 1);
    if is_per_channel { Sharing::Channel } else { Sharing::Neuron }
}

/// Words in a list, for a message.
fn listed<T: Copy + Into<String>>(words: &[T]) -> String {
    words.iter().map(|&word| word.into()).collect::<Vec<String>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_that_read_a_current_are_an_obstacle_where_edges_carry_spikes_alone() {
        let text = "graph @net steps=8 {
  %image = input : current[2]
  %encode = encode %image, scale=1, limit=10 : current[2]
  %spikes = layer %encode, synapses=[identity()], neuron=if(threshold=i32(5), init=i32(0), reset=subtract) : spikes[2]
  %wide = layer %spikes, synapses=[linear(weight=@w)] : current[1]
  %next = layer %wide, synapses=[linear(weight=@v)], neuron=if(threshold=i32(3), init=i32(1), reset=subtract) : spikes[1]
  %out = readout %next : potential[1]
  output %out
}
@w = i8[1x2] [4, 60]
@v = i8[1x1] [3]
";
        let graph = crate::text::parse(text).unwrap();
        let alone = Limit { value: false, source: "a test".to_string() };
        let limits = Limits { weights_on_currents: Some(alone), ..Limits::default() };
        let target = Target { name: "chip".into(), description: "spikes alone".into(), limits };
        let found = verify_for(&graph, &target);
        let said: Vec<(&str, &str)> = found.iter().map(|o| (o.node.as_str(), o.limit)).collect();
        assert_eq!(said, [("next", "weights-on-currents")]);
        assert!(found[0].value.contains("`wide`"), "{}", found[0]);
        assert!(verify_for(&graph, &Target::default()).is_empty());
    }
}
