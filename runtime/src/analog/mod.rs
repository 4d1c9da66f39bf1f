//! The ANN itself: a fast `f32` executor of analog graphs, for calibration and for checking an
//! import.

mod neurons;

pub use crate::dense::matrix_product;
use crate::dense::{Kernel, WindowMax};
use crate::error::CompileError;
pub use neurons::NeuronParameters;
use snn_ir::op::{Lrn, RmsNorm};
use snn_ir::{Activation, Graph, NodeId, Op, Signal, ValueType};
use std::collections::HashMap;

/// An analog graph, compiled for repeated runs. Shared by as many threads as want to run samples.
pub struct AnalogNetwork {
    steps: Vec<Step>,
    inputs: Vec<ValueType>,
    outputs: Vec<usize>,
}

struct Step {
    node: NodeId,
    function: Function,
    operands: Vec<usize>,
    len: usize,
    /// Steps whose value is not used after this one.
    dying: Vec<usize>,
}

enum Function {
    Input(usize),
    Constant(Vec<f32>),
    Kernel(Kernel<f32>),
    Relu { cap: f32 },
    Activation(Activation, Vec<f32>),
    WindowMax(WindowMax),
    Maximum,
    Softmax { axis: Axis, log: bool },
    Lrn { channels: Axis, lrn: Lrn },
    RmsNorm { shape: Vec<usize>, norm: RmsNorm },
}

/// One axis of a row-major value.
struct Axis {
    extent: usize,
    inner: usize,
}

impl Axis {
    fn new(axis: usize, shape: &[usize]) -> Self {
        Axis { extent: shape.get(axis).copied().unwrap_or(1), inner: shape.iter().skip(axis + 1).product() }
    }

    /// First elements of all lines along the axis; further elements are `inner` apart.
    fn lines(&self, len: usize) -> impl Iterator<Item = usize> + use<> {
        let (block, inner) = (self.extent * self.inner, self.inner);
        (0..len / block).flat_map(move |b| (0..inner).map(move |i| b * block + i))
    }
}

impl AnalogNetwork {
    /// Compiles an analog graph. Balanced thresholds that its ReLUs may carry play no part.
    ///
    /// # Errors
    /// [`CompileError`] when the graph has no output, or a node is temporal or has integer
    /// parameters.
    pub fn new(graph: &Graph) -> Result<AnalogNetwork, CompileError> {
        if graph.outputs().is_empty() {
            return Err(CompileError::NoOutput);
        }
        let inputs = graph.inputs();
        let mut at: HashMap<NodeId, usize> = HashMap::new();
        let mut steps = Vec::new();
        for id in graph.topological()? {
            let (op, ty) = (graph.op(id), graph.ty(id));
            let refuse = |why: &str| CompileError::Node { node: graph.node(id).name().into(), op: op.name(), why: why.into() };
            if ty.signal != Signal::Analog {
                return Err(refuse("a temporal operation in an analog network"));
            }
            let ids = graph.operands(id);
            let shapes: Vec<&[usize]> = ids.iter().map(|&o| graph.ty(o).shape.as_slice()).collect();
            let function = match op {
                Op::Input(..) => Function::Input(inputs.iter().position(|&i| i == id).unwrap_or_default()),
                Op::Constant(_, value) if !value.is_integer() => Function::Constant(value.as_f32().to_vec()),
                Op::Constant(..) => return Err(refuse("an integer constant in an analog network")),
                Op::Relu(r) => Function::Relu { cap: r.cap.unwrap_or(f32::INFINITY) },
                Op::Activation(Activation::PRelu(slope)) if slope.is_integer() => return Err(refuse("an integer slope")),
                Op::Activation(a @ Activation::PRelu(slope)) => Function::Activation(a.clone(), slope.expanded(&ty.shape)),
                Op::Activation(a) => Function::Activation(a.clone(), Vec::new()),
                Op::MaxPool(w) | Op::CumulativeMaxPool(w) => Function::WindowMax(WindowMax::new(w, shapes[0], &ty.shape)),
                Op::Maximum | Op::CumulativeMax => Function::Maximum,
                Op::Softmax { axis, log } => Function::Softmax { axis: Axis::new(*axis, &ty.shape), log: *log },
                Op::Lrn(lrn) => Function::Lrn { channels: Axis::new(0, &ty.shape), lrn: lrn.clone() },
                Op::RmsNorm(norm) => Function::RmsNorm { shape: ty.shape.clone(), norm: norm.clone() },
                _ => Function::Kernel(Kernel::new(op, &shapes, &ty.shape).map_err(refuse)?),
            };
            let operands = ids.iter().map(|o| at[o]).collect();
            at.insert(id, steps.len());
            steps.push(Step { node: id, function, operands, len: ty.len(), dying: Vec::new() });
        }
        let outputs: Vec<usize> = graph.outputs().iter().map(|o| at[o]).collect();
        let mut last: Vec<usize> = (0..steps.len()).collect();
        for (s, step) in steps.iter().enumerate() {
            step.operands.iter().for_each(|&o| last[o] = s);
        }
        for (value, last) in last.into_iter().enumerate().filter(|(value, _)| !outputs.contains(value)) {
            steps[last].dying.push(value);
        }
        Ok(AnalogNetwork { steps, inputs: inputs.iter().map(|&i| graph.ty(i).clone()).collect(), outputs })
    }

    /// Types of the inputs, in the order [`AnalogNetwork::run`] takes them.
    pub fn inputs(&self) -> &[ValueType] {
        &self.inputs
    }

    /// Runs one sample and returns the outputs, row-major. `observe` sees the value of every node,
    /// inputs and constants included, in topological order.
    ///
    /// # Panics
    /// When number or lengths of the inputs do not fit [`AnalogNetwork::inputs`].
    pub fn run(&self, inputs: &[&[f32]], observe: &mut dyn FnMut(NodeId, &[f32])) -> Vec<Vec<f32>> {
        assert!(inputs.iter().map(|x| x.len()).eq(self.inputs.iter().map(ValueType::len)), "inputs do not fit the network");
        let mut values: Vec<Vec<f32>> = self.steps.iter().map(|_| Vec::new()).collect();
        let mut free: Vec<Vec<f32>> = Vec::new();
        for (s, step) in self.steps.iter().enumerate() {
            let mut out = free.pop().unwrap_or_default();
            out.resize(step.len, 0.0);
            let operands: Vec<&[f32]> = step.operands.iter().map(|&o| values[o].as_slice()).collect();
            step.function.run(inputs, &operands, &mut out);
            observe(step.node, &out);
            values[s] = out;
            free.extend(step.dying.iter().map(|&o| std::mem::take(&mut values[o])));
        }
        self.outputs.iter().map(|&o| values[o].clone()).collect()
    }
}

impl Function {
    fn run(&self, inputs: &[&[f32]], operands: &[&[f32]], out: &mut [f32]) {
        match self {
            Function::Input(i) => out.copy_from_slice(inputs[*i]),
            Function::Constant(value) => out.copy_from_slice(value),
            Function::Kernel(kernel) => kernel.run(operands, out),
            Function::Relu { cap } => out.iter_mut().zip(operands[0]).for_each(|(o, x)| *o = x.max(0.0).min(*cap)),
            Function::Activation(f @ Activation::PRelu(_), slopes) => {
                out.iter_mut().zip(operands[0].iter().zip(slopes)).for_each(|(o, (&x, &slope))| *o = f.apply(x, slope));
            }
            Function::Activation(f, _) => out.iter_mut().zip(operands[0]).for_each(|(o, &x)| *o = f.apply(x, 0.0)),
            Function::WindowMax(max) => max.run(f32::NEG_INFINITY, operands[0], out),
            Function::Maximum => {
                out.copy_from_slice(operands[0]);
                operands[1..].iter().for_each(|x| out.iter_mut().zip(*x).for_each(|(o, &x)| *o = o.max(x)));
            }
            Function::Softmax { axis, log } => softmax(axis, *log, operands[0], out),
            Function::Lrn { channels, lrn } => normalise(channels, lrn, operands[0], out),
            Function::RmsNorm { shape, norm } => divide_by_rms(shape, norm, operands[0], out),
        }
    }
}

fn softmax(axis: &Axis, log: bool, x: &[f32], out: &mut [f32]) {
    for first in axis.lines(x.len()) {
        let line = || (0..axis.extent).map(|i| first + i * axis.inner);
        let max = line().map(|i| x[i]).fold(f32::NEG_INFINITY, f32::max);
        let sum: f64 = line().map(|i| f64::from(x[i] - max).exp()).sum();
        for i in line() {
            let d = f64::from(x[i] - max);
            out[i] = if log { d - sum.ln() } else { d.exp() / sum } as f32;
        }
    }
}

/// ONNX LRN: the sum runs over channels `c − floor((size−1)/2) ..= c + ceil((size−1)/2)`.
fn normalise(channels: &Axis, lrn: &Lrn, x: &[f32], out: &mut [f32]) {
    let (before, after) = (lrn.size.saturating_sub(1) / 2, lrn.size / 2);
    let [alpha, beta, bias] = [lrn.alpha, lrn.beta, lrn.bias].map(f64::from);
    for first in channels.lines(x.len()) {
        let at = |c: usize| first + c * channels.inner;
        for c in 0..channels.extent {
            let neighbours = c.saturating_sub(before)..=c.saturating_add(after).min(channels.extent - 1);
            let squares: f64 = neighbours.map(|n| f64::from(x[at(n)]).powi(2)).sum();
            out[at(c)] = (f64::from(x[at(c)]) / (bias + alpha / lrn.size as f64 * squares).powf(beta)) as f32;
        }
    }
}

/// The root mean square runs over the norm's axes of a value of `shape`.
fn divide_by_rms(shape: &[usize], norm: &RmsNorm, x: &[f32], out: &mut [f32]) {
    // The place of every element's sum: strides are 0 along the axes that are summed.
    let mut strides = vec![0; shape.len()];
    let mut groups = 1;
    for axis in (0..shape.len()).rev().filter(|a| !norm.axes.contains(a)) {
        strides[axis] = groups;
        groups *= shape[axis];
    }
    let count = x.len() / groups;
    let mut squares = vec![0f64; groups];
    let mut at = vec![0; shape.len()];
    let mut places = Vec::with_capacity(x.len());
    for &v in x {
        let place: usize = at.iter().zip(&strides).map(|(i, s)| i * s).sum();
        squares[place] += f64::from(v).powi(2);
        places.push(place);
        for axis in (0..shape.len()).rev() {
            at[axis] += 1;
            if at[axis] < shape[axis] {
                break;
            }
            at[axis] = 0;
        }
    }
    let factors: Vec<f64> = squares.iter().map(|s| 1.0 / (s / count as f64 + f64::from(norm.epsilon)).sqrt()).collect();
    out.iter_mut().zip(x).zip(&places).for_each(|((o, &x), &p)| *o = (f64::from(x) * factors[p]) as f32);
}
