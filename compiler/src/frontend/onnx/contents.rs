//! What is in an ONNX file, without importing it.

use super::ImportError;
use super::convert::qualified;
use super::model::Model;
use serde::Serialize;
use std::collections::BTreeMap;
use tract_onnx::pb::tensor_shape_proto::dimension::Value as Dimension;
use tract_onnx::pb::type_proto::Value as TypeValue;
use tract_onnx::pb::{TensorProto, ValueInfoProto};

/// What is in an ONNX file.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Contents {
    /// The program that wrote it.
    pub producer: String,
    /// Version of the file format.
    pub ir_version: i64,
    /// Operator sets with their versions; ONNX's own is `ai.onnx`.
    pub opsets: BTreeMap<String, i64>,
    /// Inputs that are no initializers.
    pub inputs: Vec<OnnxValue>,
    /// Outputs.
    pub outputs: Vec<OnnxValue>,
    /// Number of initializers and of their elements.
    pub initializers: (usize, u64),
    /// Operators that the outputs depend on, with their numbers.
    pub operators: BTreeMap<String, usize>,
}

/// An input or output.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OnnxValue {
    /// Its name.
    pub name: String,
    /// Its element type.
    pub element: String,
    /// Its shape, `?` or a name for open extents.
    pub shape: String,
}

impl Contents {
    /// What is in `model`.
    ///
    /// # Errors
    /// When its graph makes no sense.
    pub fn new(model: &Model) -> Result<Self, ImportError> {
        let ordered = model.ordered()?;
        let proto = model.proto();
        let mut operators = BTreeMap::new();
        for (node, _) in &ordered.nodes {
            *operators.entry(qualified(node)).or_default() += 1;
        }
        let domain = |d: &str| if d.is_empty() { "ai.onnx".to_string() } else { d.to_string() };
        Ok(Contents {
            producer: model.producer(),
            ir_version: proto.ir_version,
            opsets: proto.opset_import.iter().map(|o| (domain(&o.domain), o.version)).collect(),
            inputs: ordered.inputs.iter().map(|v| value(v)).collect(),
            outputs: ordered.graph.output.iter().map(value).collect(),
            initializers: (ordered.graph.initializer.len(), ordered.graph.initializer.iter().map(elements).sum()),
            operators,
        })
    }
}

fn elements(tensor: &TensorProto) -> u64 {
    tensor.dims.iter().fold(1u64, |n, &d| n.saturating_mul(u64::try_from(d).unwrap_or(0)))
}

fn value(info: &ValueInfoProto) -> OnnxValue {
    let tensor = info.r#type.as_ref().and_then(|t| t.value.as_ref()).map(|TypeValue::TensorType(t)| t);
    let element = tensor.and_then(|t| tract_onnx::pb::tensor_proto::DataType::try_from(t.elem_type).ok());
    let dimension = |d: &Option<Dimension>| match d {
        Some(Dimension::DimValue(n)) => n.to_string(),
        Some(Dimension::DimParam(name)) if !name.is_empty() => name.clone(),
        _ => "?".into(),
    };
    let shape = tensor.and_then(|t| t.shape.as_ref()).map(|s| s.dim.iter().map(|d| dimension(&d.value)).collect::<Vec<_>>().join("x"));
    OnnxValue {
        name: info.name.clone(),
        element: element.map_or("?".into(), |e| e.as_str_name().to_lowercase()),
        shape: shape.unwrap_or_else(|| "?".into()),
    }
}
