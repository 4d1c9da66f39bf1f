//! Parameters: immutable, cheaply cloned, row-major tensors.

use std::sync::Arc;

/// Element data of a [`Tensor`], shared between clones.
#[derive(Clone, Debug)]
pub enum TensorData {
    /// 32-bit floats: every parameter before the `quantize` pass.
    F32(Arc<[f32]>),
    /// 8-bit integers: quantised synaptic weights.
    I8(Arc<[i8]>),
    /// 16-bit integers: quantised synaptic weights that need more than 8 bits.
    I16(Arc<[i16]>),
    /// 32-bit integers: quantised biases, thresholds and initial potentials.
    I32(Arc<[i32]>),
}

/// The element type of a [`Tensor`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ElementType {
    /// 32-bit float.
    F32,
    /// 8-bit signed integer.
    I8,
    /// 16-bit signed integer.
    I16,
    /// 32-bit signed integer.
    I32,
}

impl ElementType {
    /// Name in the text form: `f32`, `i8`, `i16`, `i32`.
    pub fn name(self) -> &'static str {
        match self {
            ElementType::F32 => "f32",
            ElementType::I8 => "i8",
            ElementType::I16 => "i16",
            ElementType::I32 => "i32",
        }
    }

    /// Bytes per element.
    pub fn size(self) -> usize {
        match self {
            ElementType::F32 | ElementType::I32 => 4,
            ElementType::I8 => 1,
            ElementType::I16 => 2,
        }
    }

    /// The type called `name`, as [`ElementType::name`] prints it.
    pub fn from_name(name: &str) -> Option<Self> {
        [ElementType::F32, ElementType::I8, ElementType::I16, ElementType::I32].into_iter().find(|t| t.name() == name)
    }
}

/// An immutable row-major tensor. The number of elements always equals the product of the shape.
#[derive(Clone, Debug)]
pub struct Tensor {
    shape: Vec<usize>,
    data: TensorData,
}

/// The scalar zero.
impl Default for Tensor {
    fn default() -> Self {
        Tensor::scalar(0.0)
    }
}

/// Equal means: same shape, same element type, same bits (so a NaN equals itself).
impl PartialEq for Tensor {
    fn eq(&self, other: &Self) -> bool {
        self.shape == other.shape
            && match (&self.data, &other.data) {
                (TensorData::F32(a), TensorData::F32(b)) => {
                    Arc::ptr_eq(a, b) || (a.len() == b.len() && a.iter().zip(b.iter()).all(|(x, y)| x.to_bits() == y.to_bits()))
                }
                (TensorData::I8(a), TensorData::I8(b)) => a == b,
                (TensorData::I16(a), TensorData::I16(b)) => a == b,
                (TensorData::I32(a), TensorData::I32(b)) => a == b,
                _ => false,
            }
    }
}

/// The number of elements of `shape`, or `None` when the product does not fit a `usize`.
pub fn element_count(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d))
}

/// Whether a tensor of shape `from` broadcasts to `to` without growing it (numpy rules, right-aligned).
pub(crate) fn shape_broadcasts(from: &[usize], to: &[usize]) -> bool {
    from.len() <= to.len() && from.iter().rev().zip(to.iter().rev()).all(|(&a, &b)| a == b || a == 1)
}

fn assert_count(shape: &[usize], len: usize) {
    assert_eq!(element_count(shape), Some(len), "tensor of shape {shape:?} built from {len} elements");
}

impl Tensor {
    /// The same numbers as floats.
    pub fn to_floats(&self) -> Tensor {
        Tensor::f32(self.shape(), self.values().map(|v| v as f32).collect::<Vec<_>>())
    }

    /// A tensor of 32-bit floats.
    ///
    /// # Panics
    /// When `data.len()` is not the product of `shape`.
    pub fn f32(shape: impl Into<Vec<usize>>, data: impl Into<Arc<[f32]>>) -> Self {
        let (shape, data) = (shape.into(), data.into());
        assert_count(&shape, data.len());
        Tensor { shape, data: TensorData::F32(data) }
    }

    /// A tensor of 8-bit integers. Panics like [`Tensor::f32`].
    pub fn i8(shape: impl Into<Vec<usize>>, data: impl Into<Arc<[i8]>>) -> Self {
        let (shape, data) = (shape.into(), data.into());
        assert_count(&shape, data.len());
        Tensor { shape, data: TensorData::I8(data) }
    }

    /// A tensor of 16-bit integers. Panics like [`Tensor::f32`].
    pub fn i16(shape: impl Into<Vec<usize>>, data: impl Into<Arc<[i16]>>) -> Self {
        let (shape, data) = (shape.into(), data.into());
        assert_count(&shape, data.len());
        Tensor { shape, data: TensorData::I16(data) }
    }

    /// A tensor of 32-bit integers. Panics like [`Tensor::f32`].
    pub fn i32(shape: impl Into<Vec<usize>>, data: impl Into<Arc<[i32]>>) -> Self {
        let (shape, data) = (shape.into(), data.into());
        assert_count(&shape, data.len());
        Tensor { shape, data: TensorData::I32(data) }
    }

    /// A rank-0 float.
    pub fn scalar(value: f32) -> Self {
        Tensor::f32([], [value])
    }

    /// A rank-0 32-bit integer.
    pub fn scalar_i32(value: i32) -> Self {
        Tensor::i32([], [value])
    }

    /// One float per channel of a value with `rank` dimensions: shape `[C, 1, 1, ..]`, which broadcasts over a
    /// `[C, spatial..]` value; a scalar for the one channel of a value without dimensions.
    pub fn per_channel(values: impl Into<Arc<[f32]>>, rank: usize) -> Self {
        let values = values.into();
        let mut shape = vec![1; rank];
        if let Some(channels) = shape.first_mut() {
            *channels = values.len();
        }
        Tensor::f32(shape, values)
    }

    /// Dimensions, outermost first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Element data.
    pub fn data(&self) -> &TensorData {
        &self.data
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        match &self.data {
            TensorData::F32(d) => d.len(),
            TensorData::I8(d) => d.len(),
            TensorData::I16(d) => d.len(),
            TensorData::I32(d) => d.len(),
        }
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Element type.
    pub fn element_type(&self) -> ElementType {
        match &self.data {
            TensorData::F32(_) => ElementType::F32,
            TensorData::I8(_) => ElementType::I8,
            TensorData::I16(_) => ElementType::I16,
            TensorData::I32(_) => ElementType::I32,
        }
    }

    /// Whether the elements are integers, as all are after the `quantize` pass.
    pub fn is_integer(&self) -> bool {
        self.element_type() != ElementType::F32
    }

    /// The floats of a float tensor.
    ///
    /// # Panics
    /// On an integer tensor: passes before `quantize` only ever see floats.
    pub fn as_f32(&self) -> &[f32] {
        match &self.data {
            TensorData::F32(d) => d,
            _ => panic!("{} tensor where floats were expected", self.element_type().name()),
        }
    }

    /// All elements as `f64` (exact for every element type), one by one.
    pub fn values(&self) -> Box<dyn Iterator<Item = f64> + '_> {
        match &self.data {
            TensorData::F32(d) => Box::new(d.iter().map(|&v| f64::from(v))),
            TensorData::I8(d) => Box::new(d.iter().map(|&v| f64::from(v))),
            TensorData::I16(d) => Box::new(d.iter().map(|&v| f64::from(v))),
            TensorData::I32(d) => Box::new(d.iter().map(|&v| f64::from(v))),
        }
    }

    /// All elements as `f64`.
    pub fn to_f64_vec(&self) -> Vec<f64> {
        self.values().collect()
    }

    /// All elements of an integer tensor, widened; `None` for floats.
    pub fn to_i32_vec(&self) -> Option<Vec<i32>> {
        Some(match &self.data {
            TensorData::F32(_) => return None,
            TensorData::I8(d) => d.iter().map(|&v| i32::from(v)).collect(),
            TensorData::I16(d) => d.iter().map(|&v| i32::from(v)).collect(),
            TensorData::I32(d) => d.to_vec(),
        })
    }

    /// The same elements under another shape with the same number of elements. Panics like [`Tensor::f32`].
    pub fn reshaped(&self, shape: impl Into<Vec<usize>>) -> Self {
        let shape = shape.into();
        assert_count(&shape, self.len());
        Tensor { shape, data: self.data.clone() }
    }

    /// A float tensor with `f` applied to every element. Panics on integer tensors.
    pub fn map(&self, f: impl FnMut(f32) -> f32) -> Self {
        Tensor { shape: self.shape.clone(), data: TensorData::F32(self.as_f32().iter().copied().map(f).collect()) }
    }

    /// Whether every float is finite (integers always are).
    pub fn is_finite(&self) -> bool {
        match &self.data {
            TensorData::F32(d) => d.iter().all(|v| v.is_finite()),
            _ => true,
        }
    }

    /// Elements as little-endian bytes, the form stored in `.snn` files.
    pub fn to_le_bytes(&self) -> Vec<u8> {
        match &self.data {
            TensorData::F32(d) => d.iter().flat_map(|v| v.to_le_bytes()).collect(),
            TensorData::I8(d) => d.iter().map(|v| v.to_le_bytes()[0]).collect(),
            TensorData::I16(d) => d.iter().flat_map(|v| v.to_le_bytes()).collect(),
            TensorData::I32(d) => d.iter().flat_map(|v| v.to_le_bytes()).collect(),
        }
    }

    /// The tensor stored as `bytes` by [`Tensor::to_le_bytes`]; `None` when their number does not fit `shape`.
    pub fn from_le_bytes(element: ElementType, shape: Vec<usize>, bytes: &[u8]) -> Option<Self> {
        let count = element_count(&shape)?;
        if count.checked_mul(element.size())? != bytes.len() {
            return None;
        }
        let data = match element {
            ElementType::F32 => TensorData::F32(bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()),
            ElementType::I8 => TensorData::I8(bytes.iter().map(|&b| i8::from_le_bytes([b])).collect()),
            ElementType::I16 => TensorData::I16(bytes.chunks_exact(2).map(|b| i16::from_le_bytes([b[0], b[1]])).collect()),
            ElementType::I32 => TensorData::I32(bytes.chunks_exact(4).map(|b| i32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()),
        };
        Some(Tensor { shape, data })
    }

    /// Whether this tensor broadcasts to `shape` without growing it (numpy rules, right-aligned).
    pub fn broadcasts_to(&self, shape: &[usize]) -> bool {
        shape_broadcasts(&self.shape, shape)
    }

    /// For every element of a value of `shape`, the index of the element of this tensor that broadcasts to it.
    ///
    /// # Panics
    /// When the tensor does not broadcast to `shape`.
    pub fn broadcast_indices(&self, shape: &[usize]) -> Vec<u32> {
        assert!(self.broadcasts_to(shape), "{:?} does not broadcast to {shape:?}", self.shape);
        let skip = shape.len() - self.shape.len();
        let mut strides = vec![0usize; shape.len()];
        let mut stride = 1;
        for axis in (0..self.shape.len()).rev() {
            strides[skip + axis] = if self.shape[axis] == 1 { 0 } else { stride };
            stride *= self.shape[axis];
        }
        let mut indices = vec![0u32];
        for (&dim, &stride) in shape.iter().zip(&strides) {
            indices = indices.iter().flat_map(|&base| (0..dim).map(move |i| base + (i * stride) as u32)).collect();
        }
        indices
    }

    /// A float tensor expanded to `shape`, one element per element of the value. Panics like
    /// [`Tensor::broadcast_indices`] and [`Tensor::as_f32`].
    pub fn expanded(&self, shape: &[usize]) -> Vec<f32> {
        let data = self.as_f32();
        self.broadcast_indices(shape).into_iter().map(|i| data[i as usize]).collect()
    }

    /// A stable 64-bit content hash (FNV-1a over type, shape and bytes), printed in parameter summaries.
    pub fn content_hash(&self) -> u64 {
        let mut hash = 0xcbf2_9ce4_8422_2325u64;
        let mut eat = |byte: u8| hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        self.element_type().name().bytes().for_each(&mut eat);
        self.shape.iter().flat_map(|d| (*d as u64).to_le_bytes()).for_each(&mut eat);
        self.to_le_bytes().into_iter().for_each(&mut eat);
        hash
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_per_channel_tensor_broadcasts_over_space() {
        let t = Tensor::per_channel(vec![1.0, 2.0], 3);
        assert_eq!(t.expanded(&[2, 1, 2]), [1.0, 1.0, 2.0, 2.0]);
        assert_eq!(Tensor::scalar(3.0).expanded(&[2]), [3.0, 3.0]);
        assert!(!t.broadcasts_to(&[3, 1, 2]));
    }

    #[test]
    fn bytes_give_back_the_same_tensor_and_wrong_lengths_are_refused() {
        let t = Tensor::i16([2, 2], [1i16, -2, 300, -400]);
        assert_eq!(Tensor::from_le_bytes(ElementType::I16, vec![2, 2], &t.to_le_bytes()), Some(t.clone()));
        assert_eq!(Tensor::from_le_bytes(ElementType::I16, vec![2, 3], &t.to_le_bytes()), None);
        assert_eq!(Tensor::from_le_bytes(ElementType::F32, vec![usize::MAX, 2], &[]), None);
    }
}
