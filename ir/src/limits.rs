//! How much a network may ask for, so that a file of a few hundred bytes cannot ask for hours or for all memory.
//!
//! Parameters are not counted: they are in the file. What is counted is what engines make of them and of the shapes, as upper
//! bounds: memory for values, state and lists of taps, and the work of one time step.

use crate::graph::{Graph, NodeId};
use crate::neuron::Neuron;
use crate::op::{Layer, Op};
use crate::signal::{Signal, ValueType};
use crate::window::Window;
use std::fmt;

/// What a network may need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes that one session may take, parameters not counted.
    pub memory: u64,
    /// Products, sums and comparisons of one time step.
    pub work: u64,
}

impl Limits {
    /// Memory that a network may take unless somebody says otherwise: 2 GiB. By the bounds here VGG-19 at 224×224 needs
    /// 1.1 GB.
    pub const MEMORY: u64 = 2 << 30;

    /// Work of a step that a network may need for each byte that it may take. With the default memory that are 2³⁶ operations a step,
    /// 3.5 times what VGG-19 needs at 224×224.
    const WORK_PER_BYTE: u64 = 32;

    /// Limits for networks that may take so much memory, and work in proportion.
    pub fn of_memory(bytes: u64) -> Limits {
        Limits { memory: bytes, work: bytes.saturating_mul(Self::WORK_PER_BYTE) }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits::of_memory(Limits::MEMORY)
    }
}

/// What a network, or a part of it, needs at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Bytes, parameters not counted.
    pub memory: u64,
    /// Products, sums and comparisons of one time step.
    pub work: u64,
}

impl Needs {
    /// What all nodes of `graph` need, and the nodes that need most memory and most work.
    ///
    /// The graph must be well typed.
    pub fn of(graph: &Graph) -> (Needs, [Option<NodeId>; 2]) {
        let (mut all, mut most) = (Needs::default(), [(0, None); 2]);
        let mut transient = 0;
        for id in graph.ids() {
            let operands: Vec<&ValueType> = graph.operands(id).into_iter().map(|o| graph.ty(o)).collect();
            let node = Needs::of_node(graph.op(id), &operands, graph.ty(id));
            transient = transient.max(TRANSIENT.saturating_mul(elements(graph.ty(id))));
            all.memory = all.memory.saturating_add(node.memory);
            all.work = all.work.saturating_add(node.work);
            for (most, need) in most.iter_mut().zip([node.memory, node.work]) {
                if need > most.0 || most.1.is_none() {
                    *most = (need, Some(id));
                }
            }
        }
        all.memory = all.memory.saturating_add(transient);
        (all, most.map(|m| m.1))
    }

    fn of_node(op: &Op, operands: &[&ValueType], ty: &ValueType) -> Needs {
        let n = elements(ty);
        let becomes_neurons = matches!(op, Op::Relu(_) | Op::Activation(_) | Op::MaxPool(_));
        let value = if ty.signal == Signal::Analog && !becomes_neurons { ANALOG } else { TEMPORAL };
        // Rows of currents and potentials are whole vectors of channels.
        let channels = u64::try_from(ty.shape.first().copied().unwrap_or(1)).unwrap_or(u64::MAX);
        let rows = if value == TEMPORAL { product([ROW, n / channels.max(1), channels.next_multiple_of(16)]) } else { 0 };
        let mut needs = Needs { memory: sum([product([value, n]), rows]), work: n };
        match op {
            Op::Layer(Layer { synapses, neuron, .. }) => {
                for (synapse, operand) in synapses.iter().zip(operands) {
                    needs.add(Needs::of_linear(synapse, operand, ty));
                }
                needs.add(Needs::of_schedule(neuron.as_ref(), n));
            }
            Op::If(neuron) => needs.add(Needs::of_schedule(Some(neuron), n)),
            Op::MaxPool(w) | Op::CumulativeMaxPool(w) => needs.add(Needs::of_pool(w, operands[0], ty)),
            // What every operand gives is at least one element, and so is what it costs.
            Op::Add | Op::Concat { .. } | Op::Maximum | Op::CumulativeMax => {
                let taken = sum(operands.iter().map(|o| elements(o)));
                needs.add(Needs { memory: product([OPERAND, operands.len() as u64]), work: taken });
            }
            _ => needs.add(operands.first().map_or(Needs::default(), |operand| Needs::of_linear(op, operand, ty))),
        }
        needs
    }

    /// A linear operation's taps and products.
    fn of_linear(op: &Op, operand: &ValueType, ty: &ValueType) -> Needs {
        let pixels = |ty: &ValueType| product(ty.shape.get(1..).unwrap_or(&[]).iter().map(|&d| d as u64));
        match op {
            Op::Conv(c) => {
                let listed = Needs::of_window(&c.window, operand, ty);
                Needs { work: product([c.weight.len() as u64, pixels(ty)]), ..listed }
            }
            Op::ConvTranspose(c) => {
                // Every tap is tried at every output; at most so many see something.
                let seen = product(
                    ty.shape
                        .iter()
                        .skip(1)
                        .enumerate()
                        .map(|(a, &out)| product([out as u64, (c.window.kernel[a] as u64).min(operand.shape[a + 1] as u64)])),
                );
                let work = product([c.weight.len() as u64, pixels(operand)]);
                let tried = product([c.window.taps() as u64, pixels(ty)]);
                Needs { memory: product([ENTRY + RUN, seen]), work: work.max(tried) }
            }
            Op::AvgPool(p) => Needs::of_pool(&p.window, operand, ty),
            Op::Linear(l) => {
                let inputs = l.weight.shape().get(1).map_or(1, |&i| i as u64).max(1);
                let weights = l.weight.len() as u64;
                let rows = elements(operand) / inputs;
                let channels = operand.shape.first().map_or(1, |&c| c as u64);
                // Beyond one axis every channel has the matrix to itself, and taps are listed.
                let many = operand.shape.len() > 1;
                let listed = if many { product([ENTRY, weights, rows / channels.max(1)]) } else { 0 };
                let repeated = if many { product([REPEATED, weights, channels]) } else { 0 };
                Needs { memory: sum([listed, repeated]), work: product([weights, rows]) }
            }
            Op::Reduce(_) => Needs { memory: product([ENTRY + RUN, elements(operand)]), work: elements(operand) },
            _ => Needs { memory: 0, work: elements(operand) },
        }
    }

    /// A pool: its taps that may see something, for every channel.
    fn of_pool(window: &Window, operand: &ValueType, ty: &ValueType) -> Needs {
        let seen = product(seen_taps(window, operand, ty));
        let (channels, pixels) = (ty.shape[0] as u64, product(ty.shape[1..].iter().map(|&d| d as u64)));
        let mut needs = Needs::of_window(window, operand, ty);
        needs.add(Needs { memory: product([REPEATED, seen, channels.next_multiple_of(16)]), work: product([seen, pixels, channels]) });
        needs
    }

    /// The lists of what a window sees, wherever it is.
    fn of_window(window: &Window, operand: &ValueType, ty: &ValueType) -> Needs {
        // Of every axis: how many taps are not always in the padding, and pairs of an output and a tap that it sees through.
        let taps: Vec<u64> = seen_taps(window, operand, ty).collect();
        let within = |a: usize| taps[a].min((operand.shape[a + 1].div_ceil(window.dilation[a])) as u64);
        let pairs: Vec<u64> = (0..taps.len()).map(|a| product([within(a), ty.shape[a + 1] as u64])).collect();
        let (last, others) = (taps.len() - 1, &pairs[..taps.len() - 1]);
        // Along the last axis taps are runs.
        let runs = product([product(others.iter().copied()), taps[last].min(pairs[last])]);
        let listed = if taps.len() > 2 { product([ENTRY, product(pairs.iter().copied())]) } else { 0 };
        let lists = product([LISTED, product(taps), operand.shape[0] as u64]);
        Needs { memory: sum([product([RUN, runs]), listed, lists]), work: 0 }
    }

    /// A current for every neuron and row.
    fn of_schedule(neuron: Option<&Neuron>, n: u64) -> Needs {
        let Some(neuron) = neuron else { return Needs::default() };
        let rows = neuron.schedule_shape().map_or(0, |(rows, _)| rows as u64);
        let lanes = neuron.firing.lanes().into();
        Needs { memory: product([4, rows, n]), work: product([lanes, n]) }
    }

    fn add(&mut self, other: Needs) {
        self.memory = self.memory.saturating_add(other.memory);
        self.work = self.work.saturating_add(other.work);
    }
}

/// Bytes of an element of an analog value: the number, and one for its user.
const ANALOG: u64 = 8;
/// Bytes of an element of a value in time: potential and count (12), threshold, start and bias (12), the synapses that its
/// spikes cross (8).
const TEMPORAL: u64 = 32;
/// Bytes of a lane of currents and potentials, with chunks of one step.
const ROW: u64 = 12;
/// Bytes of an element while its node runs: 16 steps of the reference engine, of the node and of its operand.
const TRANSIENT: u64 = 128;
/// Bytes of an operand of a node that takes many.
const OPERAND: u64 = 128;
/// Bytes of a listed tap: in the plan and among the constants of machine code.
const ENTRY: u64 = 24;
/// Bytes of a run of taps, and of its pieces.
const RUN: u64 = 80;
/// Bytes of a weight that is repeated for every channel: in the plan, packed, and among the constants of machine code.
const REPEATED: u64 = 12;
/// Bytes of an input element of a window where spikes are listed.
const LISTED: u64 = 24;

/// Of every axis, the taps of a window that see an element for some output.
fn seen_taps<'a>(window: &'a Window, operand: &'a ValueType, ty: &'a ValueType) -> impl Iterator<Item = u64> + 'a {
    (0..window.rank()).map(move |a| {
        let (extent, pad) = (operand.shape[a + 1] as u64, window.pad_begin[a] as u64);
        let (stride, dilation) = (window.stride[a] as u64, window.dilation[a] as u64);
        let furthest = (ty.shape[a + 1] as u64).saturating_sub(1).saturating_mul(stride);
        let last = extent.saturating_sub(1).saturating_add(pad) / dilation.max(1);
        let first = pad.saturating_sub(furthest) / dilation.max(1);
        (last.saturating_sub(first) + 1).min(window.kernel[a] as u64)
    })
}

fn elements(ty: &ValueType) -> u64 {
    product(ty.shape.iter().map(|&d| d as u64))
}

fn product(factors: impl IntoIterator<Item = u64>) -> u64 {
    factors.into_iter().fold(1, u64::saturating_mul)
}

fn sum(terms: impl IntoIterator<Item = u64>) -> u64 {
    terms.into_iter().fold(0, u64::saturating_add)
}

/// A number of bytes for people.
pub(crate) struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            u64::MAX => f.write_str("more than 16 EiB"),
            n if n >= 1 << 40 => write!(f, "{:.1} TiB", n as f64 / (1u64 << 40) as f64),
            n if n >= 1 << 30 => write!(f, "{:.1} GiB", n as f64 / (1u64 << 30) as f64),
            n => write!(f, "{:.1} MiB", n as f64 / (1u64 << 20) as f64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::neuron::Reset;
    use crate::op::{AvgPool, Conv, Divisor, Linear, Pad, Slice};
    use crate::tensor::Tensor;
    use crate::verify::{VerifyError, verify_within};

    /// What a network with one node after its input needs.
    fn needs(shape: &[usize], op: Op) -> Needs {
        let mut graph = Graph::new("net");
        let input = graph.add("input", Op::Input(Signal::Current, shape.to_vec()), &[]).unwrap();
        graph.add("node", op, &[input]).unwrap();
        Needs::of(&graph).0
    }

    fn too_much(needs: Needs) -> bool {
        let limits = Limits::default();
        needs.memory > limits.memory || needs.work > limits.work
    }

    #[test]
    fn a_small_file_cannot_ask_for_much_by_naming_large_shapes() {
        let none = || vec![0];
        assert!(too_much(needs(&[1], Op::Pad(Pad { begin: none(), end: vec![(1 << 28) - 1], value: 0.0 }))));
        assert!(too_much(needs(&[1], Op::Slice(Slice { start: none(), step: none().iter().map(|_| 0).collect(), shape: vec![1 << 28] }))));
        // A convolution of one tap that is all padding, and a pool with a kernel as large as the map.
        let padded = Window { pad_begin: vec![1 << 14; 2], pad_end: vec![1 << 14; 2], ..Window::unit([1, 1]) };
        let conv = Conv { weight: Tensor::i8([1, 1, 1, 1], [1]), bias: None, window: padded, groups: 1 };
        assert!(too_much(needs(&[1, 4, 4], Op::Conv(conv))));
        let half = Window { pad_end: vec![1000; 2], ..Window::unit([1000; 2]) };
        assert!(too_much(needs(&[1, 1000, 1000], Op::AvgPool(AvgPool { window: half, divisor: Divisor::One }))));
        // A matrix that every channel has to itself.
        let matrix = Linear { weight: Tensor::i8([100, 100], vec![1; 10_000]), bias: None };
        assert!(too_much(needs(&[1 << 16, 1, 100], Op::Linear(matrix))));
    }

    #[test]
    fn a_schedule_counts_for_every_neuron_and_step() {
        let rows = 50_000;
        let neuron =
            Neuron { schedule: Some(Tensor::i32([rows], vec![1; rows])), reset: Reset::Subtract, ..Neuron::new(Tensor::scalar_i32(1)) };
        assert!(needs(&[10_000], Op::If(neuron)).memory > 4 * 50_000 * 10_000);
    }

    #[test]
    fn a_kernel_beyond_the_map_costs_no_more_than_the_map() {
        let kernel = (1 << 30) - 2;
        let window = Window { pad_begin: vec![1 << 29], pad_end: vec![1 << 29], ..Window::unit([kernel]) };
        assert!(!too_much(needs(&[1, 2], Op::AvgPool(AvgPool { window, divisor: Divisor::One }))));
    }

    /// The convolutions of VGG-19 (Simonyan & Zisserman 2015), as layers of neurons.
    #[test]
    fn vgg_19_at_224_pixels_is_within_the_limits_and_at_448_it_is_refused_by_name() {
        let network = |side: usize| {
            let mut graph = Graph::new("vgg19");
            let mut x = graph.add("image", Op::Input(Signal::Current, vec![3, side, side]), &[]).unwrap();
            let mut inputs = 3;
            for (block, (channels, convs)) in [(64, 2), (128, 2), (256, 4), (512, 4), (512, 4)].into_iter().enumerate() {
                for conv in 0..convs {
                    let window = Window { pad_begin: vec![1; 2], pad_end: vec![1; 2], ..Window::unit([3, 3]) };
                    let weight = Tensor::i8([channels, inputs, 3, 3], vec![0; channels * inputs * 9]);
                    let synapse = Op::Conv(Conv { weight, bias: None, window, groups: 1 });
                    let neuron = Some(Neuron::new(Tensor::scalar_i32(1)));
                    let layer = Layer { synapses: vec![synapse], bias: None, neuron };
                    x = graph.add(format!("conv{block}.{conv}"), Op::Layer(layer), &[x]).unwrap();
                    inputs = channels;
                }
                let window = Window { stride: vec![2; 2], ..Window::unit([2, 2]) };
                x = graph.add(format!("pool{block}"), Op::CumulativeMaxPool(window), &[x]).unwrap();
            }
            let readout = graph.add("out", Op::Readout { scale: None, delay: 0 }, &[x]).unwrap();
            graph.set_outputs([readout]);
            graph
        };
        assert!(!too_much(Needs::of(&network(224)).0), "{:?}", Needs::of(&network(224)));
        match verify_within(&network(448), &Limits::default()) {
            Err(VerifyError::Memory { name, .. } | VerifyError::Work { name, .. }) => assert!(name.starts_with("conv0"), "{name}"),
            other => panic!("{other:?}"),
        }
        let (needs, raised) = (Needs::of(&network(448)).0, Limits::of_memory(8 << 30));
        assert!(needs.memory <= raised.memory && needs.work <= raised.work, "{needs:?}");
    }
}
