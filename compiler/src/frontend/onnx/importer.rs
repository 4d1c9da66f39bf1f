//! The graph under construction, and what family files build it with.
//!
//! ONNX values have a batch axis somewhere, usually in front; values of the graph have none. The importer takes the
//! network at batch 1, keeps for every value its ONNX shape and which of its axes is the batch (one of extent 1, or
//! none when the axis was merged away), and gives the graph the shape without it. Moving the batch axis is a reshape.

use super::budget::Budget;
use super::constant::Constant;
use super::error::Refusal;
use super::function::Function;
use super::node::LARGEST_EXTENT;
use super::tensor::Folder;
use snn_ir::op::{Reduce, Scale, Slice};
use snn_ir::tensor::element_count;
use snn_ir::{Graph, NodeId, Op, Signal, Tensor, ValueType};
use std::collections::HashMap;
use std::path::PathBuf;
use tract_onnx::pb::TensorProto;

/// Most entries of an index list in the graph (a quarter of a 4K image's rows and columns is far below).
const LARGEST_INDEX_LIST: usize = 1 << 22;

/// Most axes of a value.
pub const LARGEST_RANK: usize = 32;

/// A value of the ONNX graph.
#[derive(Clone, Debug)]
pub enum Value {
    /// Known at import time.
    Constant(Constant),
    /// Computed from the network's input.
    Runtime(Runtime),
}

impl Value {
    /// ONNX shape at batch 1.
    pub fn shape(&self) -> &[usize] {
        match self {
            Value::Constant(c) => &c.shape,
            Value::Runtime(r) => &r.shape,
        }
    }

    /// The constant, if it is one.
    pub fn as_constant(&self) -> Option<&Constant> {
        match self {
            Value::Constant(c) => Some(c),
            Value::Runtime(_) => None,
        }
    }
}

impl From<Constant> for Value {
    fn from(c: Constant) -> Self {
        Value::Constant(c)
    }
}

impl From<Runtime> for Value {
    fn from(r: Runtime) -> Self {
        Value::Runtime(r)
    }
}

/// A value computed by a node of the graph.
#[derive(Clone, Debug, PartialEq)]
pub struct Runtime {
    /// The node.
    pub node: NodeId,
    /// ONNX shape at batch 1.
    pub shape: Vec<usize>,
    /// The axis of extent 1 that the graph's value does not have.
    pub batch: Option<usize>,
}

impl Runtime {
    /// Number of ONNX axes.
    pub fn rank(&self) -> usize {
        self.shape.len()
    }

    /// The graph's axis that ONNX axis `axis` is, `None` for the batch.
    pub fn sample_axis(&self, axis: usize) -> Option<usize> {
        match self.batch {
            Some(b) if b == axis => None,
            Some(b) if b < axis => Some(axis - 1),
            _ => Some(axis),
        }
    }

    /// `per_axis` (one entry per ONNX axis) without the batch's entry.
    pub fn without_batch<T: Clone>(&self, per_axis: &[T]) -> Vec<T> {
        (0..per_axis.len()).filter(|&a| Some(a) != self.batch).map(|a| per_axis[a].clone()).collect()
    }
}

/// What a value is beyond what its node computes.
#[derive(Clone)]
pub enum Mark {
    /// Integers of the network's input: to be moved and cast, not to be calculated with.
    Integer,
    /// The real number that a quantised integer stands for: to be moved and dequantised.
    Quantized,
    /// A scalar function that is still being put together; the node is a placeholder.
    Function(Function),
}

/// A graph under construction.
pub struct Importer {
    /// The graph so far.
    pub graph: Graph,
    /// What the user should know about.
    pub warnings: Vec<String>,
    /// Name that the result of the present node gets; its other nodes get it with a suffix.
    pub name: String,
    /// Batch size fixed in the file, when it is not 1.
    pub fixed_batch: Option<usize>,
    /// Values that are not simply what their node computes.
    pub marks: HashMap<NodeId, Mark>,
    /// Nodes that belong to the present ONNX node.
    pub emitted: Vec<NodeId>,
    /// What work on constants may still cost.
    pub budget: Budget,
    /// The folder that external data must lie in.
    pub folder: Folder,
}

impl Importer {
    /// An empty graph called `name`, of a model that lies in `folder`.
    pub fn new(name: &str, folder: PathBuf) -> Self {
        Importer {
            graph: Graph::new(name),
            warnings: Vec::new(),
            name: String::new(),
            fixed_batch: None,
            marks: HashMap::new(),
            emitted: Vec::new(),
            budget: Budget::default(),
            folder: Folder::new(folder),
        }
    }

    /// Adds a node that belongs to the present ONNX node.
    ///
    /// # Errors
    /// When the operation does not fit its operands.
    pub fn emit(&mut self, op: Op, operands: &[NodeId]) -> Result<NodeId, Refusal> {
        let name = self.graph.fresh_name(&format!("{}.{}", self.name, op.name()));
        let node = self.graph.add(name, op, operands)?;
        self.pay(node, operands)?;
        self.emitted.push(node);
        Ok(node)
    }

    /// Pays for a node, before anything of the size of its value is allocated.
    ///
    /// # Errors
    /// When a file of this size may not ask for it.
    pub fn pay(&mut self, node: NodeId, operands: &[NodeId]) -> Result<(), Refusal> {
        let types: Vec<&ValueType> = operands.iter().map(|&o| self.graph.ty(o)).collect();
        self.budget.spend_node(self.graph.op(node), &types, self.graph.ty(node))
    }

    /// Reads a tensor of the file.
    ///
    /// # Errors
    /// As [`super::tensor::read`].
    pub fn read(&mut self, t: &TensorProto) -> Result<Constant, Refusal> {
        if t.dims.len() > LARGEST_RANK {
            return Err(format!("tensor `{}` has {} axes", t.name, t.dims.len()).into());
        }
        let constant = super::tensor::read(t, &mut self.folder)?;
        self.budget.earn(constant.len());
        Ok(constant)
    }

    /// Adds a node whose value has the ONNX shape and batch of its operand.
    ///
    /// # Errors
    /// As [`Importer::emit`].
    pub fn unary(&mut self, x: &Runtime, op: Op) -> Result<Runtime, Refusal> {
        Ok(Runtime { node: self.emit(op, &[x.node])?, ..x.clone() })
    }

    /// The value with ONNX axis `batch`, of extent 1, as its batch axis.
    ///
    /// # Errors
    /// When that axis is longer than 1.
    pub fn with_batch(&mut self, x: &Runtime, batch: Option<usize>) -> Result<Runtime, Refusal> {
        if let Some(b) = batch
            && x.shape.get(b) != Some(&1)
        {
            return Err(Refusal::with_way_out(
                format!("axis {b} of {:?} is treated as the batch, but is not 1", x.shape),
                "give the shape of one sample with --input-shape 1x..",
            ));
        }
        let moved = Runtime { batch, ..x.clone() };
        let shape = moved.without_batch(&moved.shape);
        if self.graph.ty(x.node).shape == shape {
            return Ok(moved);
        }
        Ok(Runtime { node: self.emit(Op::Reshape { shape }, &[x.node])?, ..moved })
    }

    /// The value as `[1, C, spatial..]` with the batch in front.
    ///
    /// # Errors
    /// When its first axis is longer than 1.
    pub fn batched(&mut self, x: &Runtime) -> Result<Runtime, Refusal> {
        self.with_batch(x, Some(0))
    }

    /// The value as a graph value of exactly its ONNX shape, when axis `axis` is the batch and something happens to it.
    ///
    /// # Errors
    /// As [`Importer::emit`].
    pub fn free_axis(&mut self, x: &Runtime, axis: usize) -> Result<Runtime, Refusal> {
        if x.batch == Some(axis) { self.with_batch(x, None) } else { Ok(x.clone()) }
    }

    /// The same elements under another ONNX shape.
    ///
    /// # Errors
    /// When the number of elements differs.
    pub fn reshape(&mut self, x: &Runtime, shape: &[usize]) -> Result<Runtime, Refusal> {
        if element_count(shape) != element_count(&x.shape) {
            return Err(format!("{:?} cannot be reshaped to {shape:?}", x.shape).into());
        }
        let batch = if shape.first() == Some(&1) && shape.len() > 1 { Some(0) } else { None };
        self.with_batch(&Runtime { shape: shape.to_vec(), ..x.clone() }, batch)
    }

    /// The value with its ONNX axes permuted.
    ///
    /// # Errors
    /// When `perm` is no permutation.
    pub fn transpose(&mut self, x: &Runtime, perm: &[usize]) -> Result<Runtime, Refusal> {
        let mut sorted = perm.to_vec();
        sorted.sort_unstable();
        if !sorted.into_iter().eq(0..x.rank()) {
            return Err(format!("{perm:?} does not permute the axes of {:?}", x.shape).into());
        }
        let sample: Vec<usize> = perm.iter().filter_map(|&a| x.sample_axis(a)).collect();
        let shape = perm.iter().map(|&a| x.shape[a]).collect();
        let batch = x.batch.and_then(|b| perm.iter().position(|&a| a == b));
        let node = if sample.is_sorted() { x.node } else { self.emit(Op::Transpose { perm: sample }, &[x.node])? };
        Ok(Runtime { node, shape, batch })
    }

    /// The value repeated along axes of extent 1, and with axes of extent 1 put in front, until it has `shape`.
    ///
    /// # Errors
    /// When it does not broadcast to `shape`, or `shape` is absurd.
    pub fn broadcast(&mut self, x: &Runtime, shape: &[usize]) -> Result<Runtime, Refusal> {
        if x.shape == shape {
            return Ok(x.clone());
        }
        if x.rank() > shape.len() {
            return Err(format!("{:?} does not broadcast to {shape:?}", x.shape).into());
        }
        let front = shape.len() - x.rank();
        if let (Some(batch), Some(fixed)) = (x.batch.map(|b| b + front), self.fixed_batch)
            && shape[batch] == fixed
        {
            return Err("a constant differs between the samples of the fixed batch".into());
        }
        let padded = [&vec![1; front][..], &x.shape].concat();
        let batch = x.batch.map(|b| b + front);
        let mut x = self.with_batch(&Runtime { shape: padded.clone(), batch, node: x.node }, batch)?;
        for axis in 0..shape.len() {
            match (padded[axis], shape[axis]) {
                (a, b) if a == b => {}
                (1, n) => x = self.gather(&x, axis, vec![0; index_list(n)?])?,
                _ => return Err(format!("{padded:?} does not broadcast to {shape:?}").into()),
            }
        }
        Ok(x)
    }

    /// The elements at `indices` of one ONNX axis.
    ///
    /// # Errors
    /// When an index is out of range.
    pub fn gather(&mut self, x: &Runtime, axis: usize, indices: Vec<usize>) -> Result<Runtime, Refusal> {
        let n = x.shape[axis];
        if indices.iter().copied().eq(0..n) {
            return Ok(x.clone());
        }
        self.budget.spend(indices.len())?;
        let mut x = self.free_axis(x, axis)?;
        x.shape[axis] = indices.len();
        let axis = x.sample_axis(axis).expect("the axis was freed");
        x.node = self.emit(Op::Gather { axis, indices }, &[x.node])?;
        Ok(x)
    }

    /// A strided part, one `(start, step, extent)` per ONNX axis.
    ///
    /// # Errors
    /// When it leaves the value.
    pub fn slice(&mut self, x: &Runtime, parts: &[(usize, isize, usize)]) -> Result<Runtime, Refusal> {
        let whole = |axis: usize| parts[axis] == (0, 1, x.shape[axis]);
        if (0..x.rank()).all(whole) {
            return Ok(x.clone());
        }
        let mut x = match x.batch {
            Some(b) if !whole(b) => self.with_batch(x, None)?,
            _ => x.clone(),
        };
        let parts_of_sample = x.without_batch(parts);
        let op = Slice {
            start: parts_of_sample.iter().map(|p| p.0).collect(),
            step: parts_of_sample.iter().map(|p| p.1).collect(),
            shape: parts_of_sample.iter().map(|p| p.2).collect(),
        };
        x.node = self.emit(Op::Slice(op), &[x.node])?;
        x.shape = parts.iter().map(|p| p.2).collect();
        Ok(x)
    }

    /// Sum or mean over ONNX axes, which stay with extent 1.
    ///
    /// # Errors
    /// As [`Importer::emit`].
    pub fn reduce(&mut self, x: &Runtime, axes: &[usize], mean: bool) -> Result<Runtime, Refusal> {
        let mut result = x.clone();
        axes.iter().for_each(|&a| result.shape[a] = 1);
        let axes: Vec<usize> = axes.iter().filter_map(|&a| x.sample_axis(a)).collect();
        if !axes.is_empty() {
            result.node = self.emit(Op::Reduce(Reduce { axes, mean }), &[x.node])?;
        }
        Ok(result)
    }

    /// `x · weight + bias`, each broadcast over the value, which is broadcast over them.
    ///
    /// # Errors
    /// When shapes do not broadcast, or a parameter is not finite.
    pub fn scale(&mut self, x: &Runtime, weight: Option<&Constant>, bias: Option<&Constant>) -> Result<Runtime, Refusal> {
        let mut shape = x.shape.clone();
        for c in weight.iter().chain(&bias) {
            shape = super::constant::broadcast_shapes(&shape, &c.shape)?;
        }
        let x = self.broadcast(x, &shape)?;
        let weight = weight.map(|c| parameter_over(&x, c)).transpose()?;
        let bias = bias.map(|c| parameter_over(&x, c)).transpose()?;
        self.unary(&x, Op::Scale(Scale { weight, bias }))
    }

    /// `x · factor`.
    ///
    /// # Errors
    /// When the factor is not finite.
    pub fn times(&mut self, x: &Runtime, factor: f32) -> Result<Runtime, Refusal> {
        self.scale(x, Some(&Constant::floats(vec![], [factor])), None)
    }

    /// A constant as a value of the graph.
    ///
    /// # Errors
    /// When it is not finite or has no elements.
    pub fn constant(&mut self, c: &Constant) -> Result<Runtime, Refusal> {
        let node = self.emit(Op::Constant(Signal::Analog, c.parameter()?), &[])?;
        Ok(Runtime { node, shape: c.shape.clone(), batch: None })
    }

    /// Any value as a value of the graph.
    ///
    /// # Errors
    /// As [`Importer::constant`].
    pub fn operand(&mut self, value: &Value) -> Result<Runtime, Refusal> {
        match value {
            Value::Runtime(r) => Ok(r.clone()),
            Value::Constant(c) => self.constant(c),
        }
    }

    /// The values broadcast to one shape, with one batch axis.
    ///
    /// # Errors
    /// When their shapes do not broadcast.
    pub fn aligned(&mut self, values: &[&Value]) -> Result<Vec<Runtime>, Refusal> {
        let mut shape = Vec::new();
        for v in values {
            shape = super::constant::broadcast_shapes(&shape, v.shape())?;
        }
        let mut aligned = Vec::new();
        for v in values {
            let x = self.operand(v)?;
            aligned.push(self.broadcast(&x, &shape)?);
        }
        let batch = aligned.iter().find_map(|x| x.batch.filter(|&b| shape[b] == 1));
        aligned.iter().map(|x| self.with_batch(x, batch)).collect()
    }
}

/// `n` as the length of an index list.
///
/// # Errors
/// When it is absurd.
pub fn index_list(n: usize) -> Result<usize, Refusal> {
    match n {
        n if n <= LARGEST_INDEX_LIST && (n as i64) < LARGEST_EXTENT => Ok(n),
        _ => Err(format!("an axis of {n} elements is too long").into()),
    }
}

/// A constant as a parameter that broadcasts over the graph's value of `x`.
///
/// # Errors
/// When it does not broadcast, or is not finite.
pub fn parameter_over(x: &Runtime, c: &Constant) -> Result<Tensor, Refusal> {
    if super::constant::broadcast_shapes(&x.shape, &c.shape)? != x.shape {
        return Err(format!("a parameter of shape {:?} does not broadcast over {:?}", c.shape, x.shape).into());
    }
    let parameter = match c.uniform() {
        Some(v) if v.is_finite() => return Ok(Tensor::scalar(v)),
        _ => c.parameter()?,
    };
    let front = x.rank() - c.shape.len();
    match x.batch {
        Some(b) if b >= front => {
            let mut shape = c.shape.clone();
            shape.remove(b - front);
            Ok(parameter.reshaped(shape))
        }
        _ => Ok(parameter),
    }
}

impl Importer {
    /// Notes something the user should know about, once.
    pub fn warn(&mut self, warning: &str) {
        if !self.warnings.iter().any(|w| w == warning) {
            self.warnings.push(warning.to_string());
        }
    }
}
