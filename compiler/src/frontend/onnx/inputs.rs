//! The network's inputs: shape, batch axis, element type.

use super::constant::{DataType, is_float, is_integer};
use super::error::ImportError;
use super::importer::{Importer, LARGEST_RANK, Mark, Runtime};
use super::model::OrderedGraph;
use snn_ir::infer::MAX_ELEMENTS;
use snn_ir::signal::Dims;
use snn_ir::tensor::element_count;
use snn_ir::{Op, Signal};
use tract_onnx::pb::tensor_shape_proto::dimension::Value as Dim;
use tract_onnx::pb::type_proto::Value as TypeValue;
use tract_onnx::pb::{NodeProto, ValueInfoProto};

/// Operators that treat the first axis as the batch.
const BATCHED: [&str; 14] = [
    "Conv",
    "ConvTranspose",
    "MaxPool",
    "AveragePool",
    "LpPool",
    "GlobalMaxPool",
    "GlobalAveragePool",
    "GlobalLpPool",
    "BatchNormalization",
    "LRN",
    "DepthToSpace",
    "SpaceToDepth",
    "Flatten",
    "Gemm",
];

fn is_batched(node: &NodeProto) -> bool {
    let transposed = node.op_type == "Gemm" && node.attribute.iter().any(|a| a.name == "transA" && a.i != 0);
    BATCHED.contains(&node.op_type.as_str()) && !transposed
}

/// The element type of an input of integers or truth values, by ONNX's name.
pub fn integer_type(info: &ValueInfoProto) -> Option<&'static str> {
    let TypeValue::TensorType(tensor) = info.r#type.as_ref()?.value.as_ref()?;
    DataType::try_from(tensor.elem_type).ok().filter(|&kind| is_integer(kind)).map(|kind| kind.as_str_name())
}

/// Adds an input of the network; its shape is the file's, or the user's where the file leaves it open.
///
/// # Errors
/// [`ImportError::InputShape`] when extents are open, absurd or not those of the file, or the elements are no numbers.
pub fn input(imp: &mut Importer, info: &ValueInfoProto, given: Option<&[usize]>, ordered: &OrderedGraph) -> Result<Runtime, ImportError> {
    let tensor = info.r#type.as_ref().and_then(|t| t.value.as_ref()).map(|TypeValue::TensorType(t)| t);
    let dims: Option<Vec<Option<i64>>> = tensor.and_then(|t| t.shape.as_ref()).map(|s| {
        let known = |d: &Option<Dim>| if let Some(Dim::DimValue(n)) = d { Some(*n) } else { None };
        s.dim.iter().map(|d| known(&d.value)).collect()
    });
    let written = match &dims {
        None => "?".to_string(),
        Some(d) => d.iter().map(|d| d.map_or("?".to_string(), |n| n.to_string())).collect::<Vec<_>>().join("x"),
    };
    let refuse = |reason: String| ImportError::InputShape { input: info.name.clone(), shape: written.clone(), reason };
    let kind = tensor.map_or(DataType::Undefined, |t| DataType::try_from(t.elem_type).unwrap_or_default());
    if !is_float(kind) && !is_integer(kind) {
        return Err(refuse(format!("its element type {} is not a number", kind.as_str_name())));
    }
    let mut batch_fixed = None;
    let shape: Vec<usize> = match (given, &dims) {
        (Some(given), None) => given.to_vec(),
        (Some(given), Some(dims)) => {
            // The batch may be left out.
            let full = if given.len() + 1 == dims.len() { [&[1], given].concat() } else { given.to_vec() };
            let clash = |(i, d): (usize, &Option<i64>)| i > 0 && d.is_some_and(|d| d != full[i] as i64);
            if full.len() != dims.len() || dims.iter().enumerate().any(clash) {
                return Err(refuse(format!("the given input shape {} does not fit", Dims(given))));
            }
            batch_fixed = dims[0].and_then(|d| usize::try_from(d).ok()).filter(|&d| d > 1 && full[0] == 1);
            full
        }
        (None, None) => return Err(refuse("it is not in the file; give it with --input-shape, as in 1x3x32x32".into())),
        (None, Some(dims)) => {
            let batched = dims.len() > 1 && ordered.nodes.iter().any(|(n, _)| is_batched(n));
            let mut shape = Vec::new();
            for (i, d) in dims.iter().enumerate() {
                shape.push(match *d {
                    Some(n) if n > 1 && i == 0 && batched => {
                        batch_fixed = usize::try_from(n).ok();
                        1
                    }
                    Some(n) if n > 0 => usize::try_from(n).map_err(|_| refuse("an extent is too large".into()))?,
                    // Some exporters write an open batch as 0 or −1.
                    None | Some(0 | -1) if i == 0 => 1,
                    None => return Err(refuse("extents are open; give them with --input-shape, as in 1x3x32x32".into())),
                    Some(n) => return Err(refuse(format!("an extent is {n}"))),
                });
            }
            shape
        }
    };
    if shape.len() > LARGEST_RANK {
        return Err(refuse("it has too many axes".into()));
    }
    if !element_count(&shape).is_some_and(|n| (1..=MAX_ELEMENTS).contains(&n)) {
        return Err(refuse(format!("{} elements are too few or too many", Dims(&shape))));
    }
    if let Some(batch) = batch_fixed {
        imp.fixed_batch = Some(batch);
        imp.warn(&format!("the file fixes the batch size to {batch}; the network is imported for one sample"));
    }
    let batch = (shape.len() > 1 && shape[0] == 1).then_some(0);
    let sample = shape[usize::from(batch.is_some())..].to_vec();
    let op = Op::Input(Signal::Analog, sample);
    let name = imp.graph.fresh_name(&info.name);
    let node = imp.graph.add(name, op, &[]).map_err(|e| refuse(e.to_string()))?;
    imp.pay(node, &[]).map_err(|e| refuse(e.to_string()))?;
    if is_integer(kind) {
        imp.marks.insert(node, Mark::Integer);
    }
    Ok(Runtime { node, shape, batch })
}
