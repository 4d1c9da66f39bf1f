//! Values known at import time: initializers, Constant nodes, and what folds from them.

use super::error::Refusal;
use snn_ir::Tensor;
use snn_ir::tensor::element_count;
use std::sync::Arc;
pub use tract_onnx::pb::tensor_proto::DataType;

/// Most elements a constant may be materialised with (half a gigabyte of floats); VGG's largest matrix has 103 million.
const LARGEST: usize = 1 << 27;

/// Elements of a [`Constant`]. Every float type is held as `f32`, every integer type and bool as `i64`.
#[derive(Clone, Debug)]
pub enum Values {
    /// Floats.
    Float(Arc<[f32]>),
    /// Integers and truth values.
    Int(Arc<[i64]>),
    /// One float for all elements, not materialised: files of a few kilobytes hold networks of a gigabyte this way.
    FloatSplat(f32),
    /// One integer for all elements.
    IntSplat(i64),
}

/// A tensor known at import time.
#[derive(Clone, Debug)]
pub struct Constant {
    /// ONNX shape; may have zero extents.
    pub shape: Vec<usize>,
    /// ONNX element type.
    pub data_type: DataType,
    /// The elements, as many as `shape` says.
    pub values: Values,
}

/// Whether elements of the type are held as floats.
pub fn is_float(t: DataType) -> bool {
    matches!(t, DataType::Float | DataType::Float16 | DataType::Bfloat16 | DataType::Double)
}

/// Whether elements of the type are held as integers.
pub fn is_integer(t: DataType) -> bool {
    use DataType::*;
    matches!(t, Int4 | Uint4 | Int8 | Uint8 | Int16 | Uint16 | Int32 | Uint32 | Int64 | Uint64 | Bool)
}

/// Smallest and largest value of an integer type.
pub fn integer_range(t: DataType) -> (i64, i64) {
    use DataType::*;
    match t {
        Bool => (0, 1),
        Int4 => (-8, 7),
        Uint4 => (0, 15),
        Int8 => (-128, 127),
        Uint8 => (0, 255),
        Int16 => (-32_768, 32_767),
        Uint16 => (0, 65_535),
        Int32 => (i64::from(i32::MIN), i64::from(i32::MAX)),
        Uint32 => (0, i64::from(u32::MAX)),
        _ => (i64::MIN, i64::MAX),
    }
}

impl Constant {
    /// A float tensor.
    pub fn floats(shape: Vec<usize>, values: impl Into<Arc<[f32]>>) -> Self {
        Constant { shape, data_type: DataType::Float, values: Values::Float(values.into()) }
    }

    /// An int64 tensor.
    pub fn ints(shape: Vec<usize>, values: impl Into<Arc<[i64]>>) -> Self {
        Constant { shape, data_type: DataType::Int64, values: Values::Int(values.into()) }
    }

    /// A one-dimensional int64 tensor, as shapes are.
    pub fn list(values: impl Into<Arc<[i64]>>) -> Self {
        let values = values.into();
        Constant::ints(vec![values.len()], values)
    }

    /// Number of elements; constants whose number does not fit a `usize` are never built.
    pub fn len(&self) -> usize {
        element_count(&self.shape).unwrap_or(usize::MAX)
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.shape.contains(&0)
    }

    /// Number of elements held in memory.
    pub fn stored(&self) -> usize {
        if self.is_splat() { 1 } else { self.len() }
    }

    /// Whether all elements are one value that was never written out.
    pub fn is_splat(&self) -> bool {
        matches!(self.values, Values::FloatSplat(_) | Values::IntSplat(_))
    }

    /// Whether the elements are floats.
    pub fn is_float(&self) -> bool {
        matches!(self.values, Values::Float(_) | Values::FloatSplat(_))
    }

    fn bounded(&self) -> Result<usize, Refusal> {
        match self.len() {
            n if n <= LARGEST => Ok(n),
            _ => Err(format!("a constant of shape {:?} is too large", self.shape).into()),
        }
    }

    /// All elements as floats.
    ///
    /// # Errors
    /// When there are absurdly many.
    pub fn to_floats(&self) -> Result<Arc<[f32]>, Refusal> {
        let n = self.bounded()?;
        Ok(match &self.values {
            Values::Float(v) => v.clone(),
            Values::Int(v) => v.iter().map(|&i| i as f32).collect(),
            Values::FloatSplat(v) => std::iter::repeat_n(*v, n).collect(),
            Values::IntSplat(v) => std::iter::repeat_n(*v as f32, n).collect(),
        })
    }

    /// All elements as integers.
    ///
    /// # Errors
    /// When they are floats, or absurdly many.
    pub fn to_ints(&self) -> Result<Arc<[i64]>, Refusal> {
        let n = self.bounded()?;
        match &self.values {
            Values::Int(v) => Ok(v.clone()),
            Values::IntSplat(v) => Ok(std::iter::repeat_n(*v, n).collect()),
            Values::Float(_) | Values::FloatSplat(_) => Err("integers were expected where the model has floats".into()),
        }
    }

    /// The only element, as a float.
    pub fn scalar(&self) -> Option<f32> {
        (self.len() == 1).then(|| match &self.values {
            Values::Float(v) => v[0],
            Values::Int(v) => v[0] as f32,
            Values::FloatSplat(v) => *v,
            Values::IntSplat(v) => *v as f32,
        })
    }

    /// The one value that all elements have, as a float, if it is one.
    pub fn uniform(&self) -> Option<f32> {
        match &self.values {
            Values::FloatSplat(v) => Some(*v),
            Values::IntSplat(v) => Some(*v as f32),
            Values::Float(v) => v.first().copied().filter(|x| v.iter().all(|y| x == y)),
            Values::Int(v) => v.first().copied().filter(|x| v.iter().all(|y| x == y)).map(|x| x as f32),
        }
    }

    /// The same elements under another shape of as many elements.
    pub fn reshaped(&self, shape: Vec<usize>) -> Self {
        debug_assert_eq!(element_count(&shape), Some(self.len()));
        Constant { shape, ..self.clone() }
    }

    /// A parameter of the network: finite floats, at least one.
    ///
    /// # Errors
    /// When an element is not finite, or there are none or absurdly many.
    pub fn parameter(&self) -> Result<Tensor, Refusal> {
        let values = self.to_floats()?;
        if values.is_empty() {
            return Err(format!("a parameter of shape {:?} has no elements", self.shape).into());
        }
        match values.iter().position(|v| !v.is_finite()) {
            None => Ok(Tensor::f32(self.shape.clone(), values)),
            Some(i) => Err(format!("element {i} of a parameter of shape {:?} is {}", self.shape, values[i]).into()),
        }
    }

    /// [`Constant::parameter`] flattened, of `n` elements; one element stands for all.
    ///
    /// # Errors
    /// As [`Constant::parameter`], and when the number of elements is another.
    pub fn vector(&self, n: usize) -> Result<Tensor, Refusal> {
        match self.len() {
            len if len == n => Ok(self.parameter()?.reshaped([n])),
            1 => {
                let value = self.parameter()?.as_f32()[0];
                Constant { shape: vec![n], data_type: DataType::Float, values: Values::FloatSplat(value) }.parameter()
            }
            len => Err(format!("a parameter has {len} elements where {n} belong").into()),
        }
    }

    /// The tensor with its axes permuted.
    ///
    /// # Errors
    /// When `perm` is no permutation of the axes, or the tensor is absurdly large.
    pub fn transposed(&self, perm: &[usize]) -> Result<Self, Refusal> {
        let mut sorted = perm.to_vec();
        sorted.sort_unstable();
        if !sorted.into_iter().eq(0..self.shape.len()) {
            return Err(format!("{perm:?} does not permute the axes of {:?}", self.shape).into());
        }
        let shape = perm.iter().map(|&a| self.shape[a]).collect();
        if self.is_splat() || perm.is_sorted() {
            return Ok(Constant { shape, ..self.clone() });
        }
        let source = strides(&self.shape);
        let steps: Vec<usize> = perm.iter().map(|&a| source[a]).collect();
        Ok(self.picked(shape, |out| out.iter().zip(&steps).map(|(i, s)| i * s).sum()))
    }

    /// A tensor of `shape` whose element at each index vector is this tensor's element number `source(index)`. The caller
    /// answers for the size of `shape` and the range of `source`.
    pub fn picked(&self, shape: Vec<usize>, source: impl Fn(&[usize]) -> usize) -> Self {
        let n = element_count(&shape).unwrap_or(0);
        let mut index = vec![0usize; shape.len()];
        let order = (0..n).map(|_| {
            let at = source(&index);
            for axis in (0..shape.len()).rev() {
                index[axis] += 1;
                if index[axis] < shape[axis] {
                    break;
                }
                index[axis] = 0;
            }
            at
        });
        let values = match &self.values {
            Values::Float(v) => Values::Float(order.map(|i| v[i]).collect()),
            Values::Int(v) => Values::Int(order.map(|i| v[i]).collect()),
            splat => splat.clone(),
        };
        Constant { shape, data_type: self.data_type, values }
    }
}

/// Row-major strides of `shape`.
pub fn strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis];
    }
    strides
}

/// The shape two shapes broadcast to (ONNX multidirectional broadcasting).
///
/// # Errors
/// When they do not.
pub fn broadcast_shapes(a: &[usize], b: &[usize]) -> Result<Vec<usize>, Refusal> {
    let rank = a.len().max(b.len());
    let at = |s: &[usize], i: usize| if i + s.len() < rank { 1 } else { s[i + s.len() - rank] };
    (0..rank)
        .map(|i| match (at(a, i), at(b, i)) {
            (x, y) if x == y || y == 1 => Ok(x),
            (1, y) => Ok(y),
            _ => Err(format!("shapes {a:?} and {b:?} do not broadcast").into()),
        })
        .collect()
}
