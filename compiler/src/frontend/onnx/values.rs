//! Structural operations on any value: constants are rearranged at import, the rest becomes nodes of the graph.

use super::constant::{Constant, DataType, Values, strides};
use super::error::Refusal;
use super::importer::{Importer, Runtime, Value, index_list};
use snn_ir::Op;
use snn_ir::tensor::element_count;

/// Most elements a constant may grow to by repetition (32 MiB of floats).
const LARGEST_FOLD: usize = 1 << 23;

/// Checks that a constant rearranged from `from` elements may have `shape`.
///
/// # Errors
/// When that is much larger than what it was made from.
pub fn bounded_fold(shape: &[usize], from: usize) -> Result<(), Refusal> {
    match element_count(shape) {
        Some(n) if n <= from.max(LARGEST_FOLD) => Ok(()),
        _ => Err(format!("a constant of shape {shape:?} is too large").into()),
    }
}

fn broadcast_constant(c: &Constant, shape: &[usize]) -> Result<Constant, Refusal> {
    if super::constant::broadcast_shapes(&c.shape, shape)? != shape {
        return Err(format!("{:?} does not broadcast to {shape:?}", c.shape).into());
    }
    if c.is_splat() && element_count(shape).is_some() {
        return Ok(Constant { shape: shape.to_vec(), ..c.clone() });
    }
    bounded_fold(shape, c.stored())?;
    let front = shape.len() - c.shape.len();
    let source = strides(&c.shape);
    let steps: Vec<usize> = (0..shape.len()).map(|a| if a < front || c.shape[a - front] == 1 { 0 } else { source[a - front] }).collect();
    Ok(c.picked(shape.to_vec(), |out| out.iter().zip(&steps).map(|(i, s)| i * s).sum()))
}

/// Constants joined along `axis`.
fn concat_constants(parts: &[&Constant], axis: usize, shape: Vec<usize>) -> Result<Constant, Refusal> {
    let total: usize = parts.iter().map(|c| c.stored()).sum();
    bounded_fold(&shape, total)?;
    let outer: usize = shape[..axis].iter().product();
    let data_type = parts[0].data_type;
    let chunk = |c: &Constant| c.shape[axis..].iter().product::<usize>();
    let values = if parts.iter().any(|c| c.is_float()) {
        let data = parts.iter().map(|c| Ok((chunk(c), c.to_floats()?))).collect::<Result<Vec<_>, Refusal>>()?;
        Values::Float((0..outer).flat_map(|o| data.iter().flat_map(move |(n, v)| v[o * n..(o + 1) * n].iter().copied())).collect())
    } else {
        let data = parts.iter().map(|c| Ok((chunk(c), c.to_ints()?))).collect::<Result<Vec<_>, Refusal>>()?;
        Values::Int((0..outer).flat_map(|o| data.iter().flat_map(move |(n, v)| v[o * n..(o + 1) * n].iter().copied())).collect())
    };
    Ok(Constant { shape, data_type: if data_type == DataType::Undefined { DataType::Float } else { data_type }, values })
}

impl Importer {
    /// The same elements under another shape.
    ///
    /// # Errors
    /// When the number of elements differs.
    pub fn reshape_value(&mut self, value: &Value, shape: &[usize]) -> Result<Value, Refusal> {
        match value {
            Value::Runtime(x) => Ok(self.reshape(x, shape)?.into()),
            Value::Constant(c) if element_count(shape) == Some(c.len()) => Ok(c.reshaped(shape.to_vec()).into()),
            Value::Constant(c) => Err(format!("{:?} cannot be reshaped to {shape:?}", c.shape).into()),
        }
    }

    /// The value with its axes permuted.
    ///
    /// # Errors
    /// When `perm` is no permutation.
    pub fn transpose_value(&mut self, value: &Value, perm: &[usize]) -> Result<Value, Refusal> {
        match value {
            Value::Runtime(x) => Ok(self.transpose(x, perm)?.into()),
            Value::Constant(c) => Ok(c.transposed(perm)?.into()),
        }
    }

    /// The elements at `indices` of one axis.
    ///
    /// # Errors
    /// When there are absurdly many.
    pub fn gather_value(&mut self, value: &Value, axis: usize, indices: Vec<usize>) -> Result<Value, Refusal> {
        let n = value.shape()[axis];
        if let Some(i) = indices.iter().find(|&&i| i >= n) {
            return Err(format!("index {i} of an axis with {n} elements").into());
        }
        match value {
            Value::Runtime(x) => Ok(self.gather(x, axis, indices)?.into()),
            Value::Constant(c) => {
                let mut shape = c.shape.clone();
                shape[axis] = indices.len();
                bounded_fold(&shape, c.stored())?;
                let steps = strides(&c.shape);
                let at = |(a, (&i, s)): (usize, (&usize, &usize))| if a == axis { indices[i] * s } else { i * s };
                Ok(c.picked(shape, |out| out.iter().zip(&steps).enumerate().map(at).sum()).into())
            }
        }
    }

    /// A strided part, one `(start, step, extent)` per axis.
    ///
    /// # Errors
    /// When it leaves the value.
    pub fn slice_value(&mut self, value: &Value, parts: &[(usize, isize, usize)]) -> Result<Value, Refusal> {
        match value {
            Value::Runtime(x) => Ok(self.slice(x, parts)?.into()),
            Value::Constant(_) => {
                let mut value = value.clone();
                for (axis, &(start, step, extent)) in parts.iter().enumerate() {
                    if (start, step, extent) != (0, 1, value.shape()[axis]) {
                        let at = |i: usize| (start as isize + i as isize * step) as usize;
                        value = self.gather_value(&value, axis, (0..index_list(extent)?).map(at).collect())?;
                    }
                }
                Ok(value)
            }
        }
    }

    /// The value repeated until it has `shape`.
    ///
    /// # Errors
    /// When it does not broadcast to `shape`.
    pub fn broadcast_value(&mut self, value: &Value, shape: &[usize]) -> Result<Value, Refusal> {
        match value {
            Value::Runtime(x) => Ok(self.broadcast(x, shape)?.into()),
            Value::Constant(c) => Ok(broadcast_constant(c, shape)?.into()),
        }
    }

    /// The values joined along `axis`.
    ///
    /// # Errors
    /// When their other extents differ.
    pub fn concat_values(&mut self, values: &[&Value], axis: usize) -> Result<Value, Refusal> {
        let mut shape = values[0].shape().to_vec();
        shape[axis] = 0;
        for v in values {
            let s = v.shape();
            if s.len() != shape.len() || (0..shape.len()).any(|a| a != axis && s[a] != shape[a]) {
                return Err(format!("{:?} and {s:?} cannot be joined along axis {axis}", values[0].shape()).into());
            }
            shape[axis] = shape[axis].checked_add(s[axis]).ok_or("the result is too large")?;
        }
        let constants: Vec<&Constant> = values.iter().filter_map(|v| v.as_constant()).collect();
        if constants.len() == values.len() {
            return Ok(concat_constants(&constants, axis, shape)?.into());
        }
        let mut parts: Vec<Runtime> = Vec::new();
        for v in values.iter().filter(|v| v.shape()[axis] != 0) {
            parts.push(self.operand(v)?);
        }
        let batch = parts.iter().find_map(|x| x.batch).filter(|&b| b != axis && shape[b] == 1);
        let parts = parts.iter().map(|x| self.with_batch(x, batch)).collect::<Result<Vec<_>, _>>()?;
        if let [only] = &parts[..] {
            return Ok(only.clone().into());
        }
        let result = Runtime { shape, ..parts[0].clone() };
        let axis = result.sample_axis(axis).expect("the batch is another axis");
        let operands: Vec<_> = parts.iter().map(|x| x.node).collect();
        Ok(Runtime { node: self.emit(Op::Concat { axis }, &operands)?, ..result }.into())
    }
}
