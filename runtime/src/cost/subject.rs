//! One layer to measure: spikes at a chosen rate, through synapses that a chosen family of kernels
//! computes, to neurons.

use super::{CostModel, Costs, EventCosts, MatrixCosts, TableCosts};
use crate::engine::Machine as _;
use crate::engine::bits::{Machine, Program};
pub use crate::engine::plan::kernel::Family;
use crate::error::CompileError;
use crate::kernels::byte_event;
use crate::kernels::{Cpu, KernelSet};
use crate::layout::lanes;
use snn_ir::neuron::{Amplitude, Neuron};
use snn_ir::op::{Conv, Layer, Reduce};
use snn_ir::{Graph, GraphError, Op, Random, Signal, Tensor, Window};
use std::collections::BTreeMap;

/// Different spikes that take turns: a branch predictor would learn one sample by heart.
const SAMPLES: usize = 8;
/// θ of the neurons whose spikes go in.
const UNIT: i32 = 4096;

/// The families between which the plan chooses by cost.
pub const FAMILIES: [Family; 4] = [Family::Event, Family::ByteEvent, Family::Matrix, Family::Table];

/// Whether `cpu` has kernels of this one of [`FAMILIES`] for a layer of `shape`.
pub fn computes(family: Family, cpu: Cpu, shape: LayerShape) -> bool {
    let kernels = KernelSet::of(cpu);
    match family {
        Family::Event => true,
        Family::ByteEvent => kernels.byte_event.is_some() && lanes(shape.channels).is_multiple_of(byte_event::LANES),
        Family::Matrix => kernels.product.is_some(),
        Family::Table => kernels.table.is_some(),
        _ => false,
    }
}

/// A convolution that keeps channels and size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerShape {
    /// Channels in and out.
    pub channels: usize,
    /// Rows and columns.
    pub side: usize,
    /// Rows and columns of the kernel, odd.
    pub kernel: usize,
}

/// A layer made ready to run.
pub struct Subject {
    program: Program,
    /// The layer's node.
    layer: usize,
    inputs: Vec<Vec<f32>>,
    steps: usize,
}

/// The state of a [`Subject`].
pub struct Runner<'s> {
    machines: Vec<Machine<'s>>,
    layer: usize,
    steps: usize,
    next: usize,
}

impl Subject {
    /// A layer of `shape` on `cpu`, computed by `family` where it can be, `steps` steps at a time
    /// (at most 32), whose input spikes at `rate` per element and step.
    ///
    /// # Errors
    /// When there is no code for it.
    pub fn new(cpu: Cpu, family: Family, shape: LayerShape, steps: usize, rate: f64) -> Result<Self, CompileError> {
        let random = &mut Random::new(1);
        let graph = network(random, shape, steps).expect("the shapes fit");
        let program = Program::compile(&graph, KernelSet::of(cpu), &forcing(cpu, family))?;
        let layer = program.plan().stepped().last().expect("the network has a layer");
        let len = shape.channels * shape.side * shape.side;
        let inputs = (0..SAMPLES).map(|_| (0..len).map(|_| (rate * (0.5 + f64::from(random.unit()))) as f32).collect()).collect();
        Ok(Subject { program, layer, inputs, steps })
    }

    /// The layer with spikes to run on.
    pub fn runner(&self) -> Runner<'_> {
        let machine = |input: &Vec<f32>| {
            let mut machine = Machine::new(&self.program);
            machine.start(&[input]);
            machine.advance(self.steps as u32);
            machine
        };
        Runner { machines: self.inputs.iter().map(machine).collect(), layer: self.layer, steps: self.steps, next: 0 }
    }
}

impl Runner<'_> {
    /// Runs the layer alone, once through all steps.
    pub fn run(&mut self) {
        self.machines[self.next].run_layer(self.layer, self.steps);
        self.next = (self.next + 1) % self.machines.len();
    }
}

/// A cost model under which the plan takes `family` wherever it can.
fn forcing(cpu: Cpu, family: Family) -> CostModel {
    let far = |other: bool| if other { 1e12 } else { 0.0 };
    let events = |other: bool| EventCosts { chunk: far(other), mask: 0.0, event: 0.0, row: 0.0 };
    let costs = Costs {
        machine: String::new(),
        neurons: 0.0,
        event: events(family != Family::Event),
        byte_event: KernelSet::of(cpu).byte_event.map(|_| events(family != Family::ByteEvent)),
        matrix: MatrixCosts { chunk: 0.0, product: far(family != Family::Matrix) },
        table: (family == Family::Table).then_some(TableCosts { chunk: 0.0, word: 0.0, look_up: 0.0 }),
    };
    CostModel(BTreeMap::from([(cpu.to_string(), costs)]))
}

/// Neurons that spike as often as their input says, after them the layer that is measured.
fn network(random: &mut Random, shape: LayerShape, steps: usize) -> Result<Graph, GraphError> {
    let LayerShape { channels, side, kernel } = shape;
    let mut g = Graph::new("measured");
    g.timesteps = Some(steps as u32);
    let neurons = |threshold: Tensor, initial: Tensor| Neuron { initial, amplitude: Amplitude::One, ..Neuron::new(threshold) };
    let shape = [channels, side, side];
    let x = g.add("input", Op::Input(Signal::Current, shape.to_vec()), &[])?;
    let x = g.add("encode", Op::Encode { scale: Tensor::scalar(UNIT as f32), limit: 1 << 20 }, &[x])?;
    let phase: Vec<i32> = (0..channels * side * side).map(|_| (f64::from(random.unit()) * f64::from(UNIT)) as i32).collect();
    let first = neurons(Tensor::scalar_i32(UNIT), Tensor::i32(shape, phase));
    let x = g.add("first", Op::Layer(Layer { synapses: vec![Op::Identity], bias: None, neuron: Some(first) }), &[x])?;
    // Sums of three uniform numbers look like trained weights.
    let count = channels * channels * kernel * kernel;
    let weight: Vec<i8> = (0..count).map(|_| ((0..3).map(|_| f64::from(random.unit())).sum::<f64>() * 60.0 - 90.0) as i8).collect();
    let pad = vec![kernel / 2; 2];
    let window = Window { pad_begin: pad.clone(), pad_end: pad, ..Window::unit([kernel, kernel]) };
    let conv = Conv { weight: Tensor::i8([channels, channels, kernel, kernel], weight), bias: None, window, groups: 1 };
    let threshold = (90.0 * (channels * kernel * kernel) as f64 * 0.1).sqrt() as i32 * 4;
    let threshold = Tensor::i32([channels, 1, 1], vec![threshold.max(1); channels]);
    let initial = Tensor::i32([channels, 1, 1], vec![0; channels]);
    let measured = Layer { synapses: vec![Op::Conv(conv)], bias: None, neuron: Some(neurons(threshold, initial)) };
    let x = g.add("measured", Op::Layer(measured), &[x])?;
    let sum = Layer { synapses: vec![Op::Reduce(Reduce { axes: vec![1, 2], mean: false })], bias: None, neuron: None };
    let x = g.add("sum", Op::Layer(sum), &[x])?;
    let x = g.add("answer", Op::Readout { scale: None, delay: 0 }, &[x])?;
    g.set_outputs([x]);
    Ok(g)
}
