//! What is in an ONNX file, and whether it can be converted.

use super::table::{Align, table};
use crate::frontend::onnx::convert::qualified;
use crate::frontend::onnx::error::{end_at, grouped};
use crate::frontend::onnx::model::Model;
use crate::frontend::onnx::{ImportError, ImportOptions, import_model};
use serde::Serialize;
use std::collections::BTreeMap;
use tract_onnx::pb::tensor_shape_proto::dimension::Value as Dimension;
use tract_onnx::pb::type_proto::Value as TypeValue;
use tract_onnx::pb::{TensorProto, ValueInfoProto};

/// The report on an ONNX file.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OnnxReport {
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
    /// Whether it can be converted.
    pub convertible: bool,
    /// What stands in the way.
    pub obstacles: Vec<String>,
    /// The same for people: one entry for all obstacles of one reason, and the way out of a model that decodes its answers.
    #[serde(skip)]
    summary: String,
    /// What importing it warns about.
    pub warnings: Vec<String>,
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

impl OnnxReport {
    /// The report on `model`, imported with `options`.
    ///
    /// # Errors
    /// When its graph makes no sense.
    pub fn new(model: &Model, options: &ImportOptions) -> Result<Self, ImportError> {
        let ordered = model.ordered()?;
        let proto = model.proto();
        let mut operators = BTreeMap::new();
        for (node, _) in &ordered.nodes {
            *operators.entry(qualified(node)).or_default() += 1;
        }
        let (obstacles, summary, warnings) = match import_model(model, options) {
            Ok(imported) => (Vec::new(), String::new(), imported.facts.warnings),
            Err(ImportError::Unsupported { obstacles, heads, .. }) => {
                let summary = format!("{}{}", grouped(&obstacles), end_at(&heads));
                (obstacles.iter().map(ToString::to_string).collect(), summary, Vec::new())
            }
            Err(other) => (vec![other.to_string()], format!("\n  {other}"), Vec::new()),
        };
        let domain = |d: &str| if d.is_empty() { "ai.onnx".to_string() } else { d.to_string() };
        Ok(OnnxReport {
            producer: model.producer(),
            ir_version: proto.ir_version,
            opsets: proto.opset_import.iter().map(|o| (domain(&o.domain), o.version)).collect(),
            inputs: ordered.inputs.iter().map(|v| value(v)).collect(),
            outputs: ordered.graph.output.iter().map(value).collect(),
            initializers: (ordered.graph.initializer.len(), ordered.graph.initializer.iter().map(elements).sum()),
            operators,
            convertible: obstacles.is_empty(),
            obstacles,
            summary,
            warnings,
        })
    }

    /// The report for people.
    pub fn to_text(&self) -> String {
        let producer = if self.producer.is_empty() { "an unknown program" } else { &self.producer };
        let opsets: Vec<String> = self.opsets.iter().map(|(d, v)| format!("{d} {v}")).collect();
        let mut text = format!("ONNX model by {producer}, IR version {}, opset {}\n", self.ir_version, opsets.join(", "));
        for (what, values) in [("input", &self.inputs), ("output", &self.outputs)] {
            values.iter().for_each(|v| text += &format!("{what} {}: {}[{}]\n", v.name, v.element, v.shape));
        }
        text += &format!("{} initializers with {} elements\n\n", self.initializers.0, self.initializers.1);
        let rows: Vec<Vec<String>> = self.operators.iter().map(|(op, n)| vec![op.clone(), n.to_string()]).collect();
        text += &table(&[("operator", Align::Left), ("nodes", Align::Right)], &rows);
        text.push('\n');
        self.warnings.iter().for_each(|w| text += &format!("warning: {w}\n"));
        if self.convertible {
            text += "can be converted\n";
        } else {
            text += &format!("cannot be converted:{}\n", self.summary);
        }
        text
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
