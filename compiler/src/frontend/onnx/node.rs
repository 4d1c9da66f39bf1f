//! One ONNX node as a family file sees it: typed access to attributes and inputs.

use super::constant::Constant;
use super::error::Refusal;
use super::importer::{Runtime, Value};
use tract_onnx::pb::{AttributeProto, NodeProto, TensorProto};

/// Largest extent, stride, padding or index that is taken seriously.
pub const LARGEST_EXTENT: i64 = 1 << 31;

/// A node whose inputs are known.
pub struct NodeView<'m> {
    /// The node.
    pub proto: &'m NodeProto,
    /// Version of the operator set it belongs to.
    pub opset: i64,
    /// Its inputs; `None` where an optional one is left out.
    pub inputs: Vec<Option<Value>>,
}

/// `value` as an extent or index, `what` for the message.
///
/// # Errors
/// When it is negative or absurd.
pub fn extent(value: i64, what: &str) -> Result<usize, Refusal> {
    match usize::try_from(value) {
        Ok(v) if value <= LARGEST_EXTENT => Ok(v),
        _ => Err(format!("{what} is {value}").into()),
    }
}

/// `axis`, counted from the end when negative, of a tensor of `rank`.
///
/// # Errors
/// When there is no such axis.
pub fn normal_axis(axis: i64, rank: usize) -> Result<usize, Refusal> {
    let counted = if axis < 0 { axis.checked_add(rank as i64) } else { Some(axis) };
    match counted.and_then(|a| usize::try_from(a).ok()) {
        Some(a) if a < rank => Ok(a),
        _ => Err(format!("axis {axis} of a tensor with {rank} axes").into()),
    }
}

/// [`normal_axis`] for several distinct axes; the result is ascending.
///
/// # Errors
/// When one does not exist or is named twice.
pub fn normal_axes(axes: &[i64], rank: usize) -> Result<Vec<usize>, Refusal> {
    let mut normal = axes.iter().map(|&a| normal_axis(a, rank)).collect::<Result<Vec<_>, _>>()?;
    normal.sort_unstable();
    match normal.windows(2).any(|w| w[0] == w[1]) {
        true => Err(format!("axes {axes:?} name one axis twice").into()),
        false => Ok(normal),
    }
}

impl<'m> NodeView<'m> {
    fn attribute(&self, name: &str) -> Option<&'m AttributeProto> {
        self.proto.attribute.iter().find(|a| a.name == name)
    }

    /// Whether the attribute is there.
    pub fn has(&self, name: &str) -> bool {
        self.attribute(name).is_some()
    }

    /// An integer attribute.
    pub fn int(&self, name: &str, default: i64) -> i64 {
        self.attribute(name).map_or(default, |a| a.i)
    }

    /// A truth value attribute.
    pub fn flag(&self, name: &str) -> bool {
        self.int(name, 0) != 0
    }

    /// A float attribute.
    ///
    /// # Errors
    /// When it is not finite.
    pub fn float(&self, name: &str, default: f32) -> Result<f32, Refusal> {
        match self.attribute(name).map_or(default, |a| a.f) {
            v if v.is_finite() => Ok(v),
            v => Err(format!("attribute {name} is {v}").into()),
        }
    }

    /// A list of integers.
    pub fn ints(&self, name: &str) -> Option<&'m [i64]> {
        self.attribute(name).map(|a| a.ints.as_slice())
    }

    /// A list of floats.
    pub fn floats(&self, name: &str) -> Option<&'m [f32]> {
        self.attribute(name).map(|a| a.floats.as_slice())
    }

    /// A string attribute.
    pub fn string(&self, name: &str, default: &'static str) -> &'m str {
        self.attribute(name).map_or(default, |a| std::str::from_utf8(&a.s).unwrap_or("?"))
    }

    /// A tensor attribute.
    pub fn tensor(&self, name: &str) -> Option<&'m TensorProto> {
        self.attribute(name).and_then(|a| a.t.as_ref())
    }

    /// A list of `rank` extents, or `default` for each when the attribute is missing.
    ///
    /// # Errors
    /// When there are more or fewer, or one is negative or absurd.
    pub fn extents(&self, name: &str, rank: usize, default: usize) -> Result<Vec<usize>, Refusal> {
        match self.ints(name) {
            None | Some([]) => Ok(vec![default; rank]),
            Some(list) if list.len() == rank => list.iter().map(|&v| extent(v, name)).collect(),
            Some(list) => Err(format!("{name} {list:?} does not have {rank} entries").into()),
        }
    }

    /// Input `i` when it is given.
    pub fn optional(&self, i: usize) -> Option<&Value> {
        self.inputs.get(i).and_then(Option::as_ref)
    }

    /// Input `i`.
    ///
    /// # Errors
    /// When it is left out.
    pub fn input(&self, i: usize) -> Result<&Value, Refusal> {
        self.optional(i).ok_or_else(|| format!("input {i} is missing").into())
    }

    /// Input `i`, which must be computed from the network's input.
    ///
    /// # Errors
    /// When it is missing or a constant.
    pub fn runtime(&self, i: usize) -> Result<&Runtime, Refusal> {
        match self.input(i)? {
            Value::Runtime(r) => Ok(r),
            Value::Constant(_) => Err(format!("input {i} does not depend on the network's input").into()),
        }
    }

    /// Input `i` when it is given, which must be known at import time; `what` it is.
    ///
    /// # Errors
    /// When it is computed from the network's input.
    pub fn optional_constant(&self, i: usize, what: &str) -> Result<Option<&Constant>, Refusal> {
        match self.optional(i) {
            None => Ok(None),
            Some(Value::Constant(c)) => Ok(Some(c)),
            Some(Value::Runtime(_)) => Err(Refusal::with_way_out(
                format!("its {what} depends on the network's input"),
                "export the model in evaluation mode with fixed shapes, or run onnx-simplifier",
            )),
        }
    }

    /// Input `i`, which must be known at import time; `what` it is.
    ///
    /// # Errors
    /// When it is missing or computed from the network's input.
    pub fn constant(&self, i: usize, what: &str) -> Result<&Constant, Refusal> {
        self.optional_constant(i, what)?.ok_or_else(|| format!("its {what} is missing").into())
    }

    /// Integers that older opsets keep in attribute `name` and newer ones in input `i`.
    ///
    /// # Errors
    /// When the input is computed from the network's input or is not a list of integers.
    pub fn ints_of(&self, name: &str, i: usize) -> Result<Option<Vec<i64>>, Refusal> {
        match self.ints(name) {
            Some(list) => Ok(Some(list.to_vec())),
            None => self.optional_constant(i, name)?.map(|c| c.to_ints().map(|v| v.to_vec())).transpose(),
        }
    }

    /// The inputs, when all that are given are constants and there is at least one.
    pub fn all_constant(&self) -> Option<Vec<Option<&Constant>>> {
        let constants: Vec<_> = self.inputs.iter().map(|i| i.as_ref().map(Value::as_constant)).collect();
        let known = constants.iter().all(|c| !matches!(c, Some(None)));
        (known && constants.iter().any(Option::is_some)).then(|| constants.into_iter().map(Option::flatten).collect())
    }
}
