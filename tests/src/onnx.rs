//! Small ONNX models, written in the test that needs them.

use prost::Message;
use snnc::frontend::onnx::model::Model;
use snnc::frontend::onnx::{CheckError, ImportError, ImportOptions, Imported, check_import, import, import_model};
use std::path::Path;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::{Dimension, dimension};
use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto, TypeProto, ValueInfoProto,
    type_proto,
};

/// A model under construction.
#[derive(Clone, Default)]
pub struct Onnx(pub ModelProto);

/// An attribute of integers.
pub fn ints(name: &str, values: &[i64]) -> AttributeProto {
    AttributeProto { name: name.into(), ints: values.to_vec(), r#type: 7, ..AttributeProto::default() }
}

/// An integer attribute.
pub fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto { name: name.into(), i: value, r#type: 2, ..AttributeProto::default() }
}

/// A float attribute.
pub fn float(name: &str, value: f32) -> AttributeProto {
    AttributeProto { name: name.into(), f: value, r#type: 1, ..AttributeProto::default() }
}

/// A string attribute.
pub fn string(name: &str, value: &str) -> AttributeProto {
    AttributeProto { name: name.into(), s: value.into(), r#type: 3, ..AttributeProto::default() }
}

/// A float tensor.
pub fn tensor(name: &str, dims: &[i64], data: &[f32]) -> TensorProto {
    let float_data = data.to_vec();
    TensorProto { name: name.into(), dims: dims.to_vec(), data_type: DataType::Float as i32, float_data, ..TensorProto::default() }
}

/// Floats between −0.5 and 0.5 that look random and are the same every time.
pub fn noise(count: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * 7919 + 13) % 1009) as f32 / 1009.0 - 0.5).collect()
}

fn value(name: &str, kind: DataType, dims: &[i64]) -> ValueInfoProto {
    let dimension = |&d: &i64| Dimension {
        value: Some(if d < 0 { dimension::Value::DimParam("N".into()) } else { dimension::Value::DimValue(d) }),
        ..Dimension::default()
    };
    let shape = Some(TensorShapeProto { dim: dims.iter().map(dimension).collect() });
    let value = type_proto::Value::TensorType(type_proto::Tensor { elem_type: kind as i32, shape });
    ValueInfoProto {
        name: name.into(),
        r#type: Some(TypeProto { value: Some(value), ..TypeProto::default() }),
        ..ValueInfoProto::default()
    }
}

impl Onnx {
    /// A model of the given opset without a node.
    pub fn new(opset: i64) -> Self {
        let opset_import = vec![OperatorSetIdProto { domain: String::new(), version: opset }];
        Onnx(ModelProto { ir_version: 8, opset_import, graph: Some(GraphProto::default()), ..ModelProto::default() })
    }

    /// The graph.
    pub fn graph(&mut self) -> &mut GraphProto {
        self.0.graph.get_or_insert_default()
    }

    /// Adds a float input; a negative extent is an open one.
    pub fn input(mut self, name: &str, dims: &[i64]) -> Self {
        self.graph().input.push(value(name, DataType::Float, dims));
        self
    }

    /// Adds an input of another type.
    pub fn typed_input(mut self, name: &str, kind: DataType, dims: &[i64]) -> Self {
        self.graph().input.push(value(name, kind, dims));
        self
    }

    /// Adds an output.
    pub fn output(mut self, name: &str) -> Self {
        self.graph().output.push(ValueInfoProto { name: name.into(), ..ValueInfoProto::default() });
        self
    }

    /// Adds an initializer.
    pub fn initializer(mut self, t: TensorProto) -> Self {
        self.graph().initializer.push(t);
        self
    }

    /// Adds a float initializer.
    pub fn floats(self, name: &str, dims: &[i64], data: &[f32]) -> Self {
        self.initializer(tensor(name, dims, data))
    }

    /// Adds a float initializer of [`noise`].
    pub fn weight(self, name: &str, dims: &[i64]) -> Self {
        let count = dims.iter().product::<i64>() as usize;
        self.floats(name, dims, &noise(count))
    }

    /// Adds a one-dimensional int64 initializer.
    pub fn list(self, name: &str, data: &[i64]) -> Self {
        let dims = vec![data.len() as i64];
        self.initializer(TensorProto { name: name.into(), dims, data_type: 7, int64_data: data.to_vec(), ..TensorProto::default() })
    }

    /// Adds a node; inputs and outputs are names with spaces between, `_` for one that is left out.
    pub fn node(mut self, op: &str, inputs: &str, outputs: &str, attribute: &[AttributeProto]) -> Self {
        let names = |text: &str| text.split_whitespace().map(|n| if n == "_" { String::new() } else { n.into() }).collect();
        let (input, output) = (names(inputs), names(outputs));
        self.graph().node.push(NodeProto { op_type: op.into(), input, output, attribute: attribute.to_vec(), ..NodeProto::default() });
        self
    }

    /// Names the node added last.
    pub fn named(mut self, name: &str) -> Self {
        if let Some(node) = self.graph().node.last_mut() {
            node.name = name.into();
        }
        self
    }

    /// The file's bytes.
    pub fn bytes(&self) -> Vec<u8> {
        self.0.encode_to_vec()
    }

    /// Imports the model from memory.
    ///
    /// # Errors
    /// As the importer.
    pub fn import(&self) -> Result<Imported, ImportError> {
        import_model(&Model::decode(Path::new("test.onnx"), &self.bytes())?, &ImportOptions::default())
    }

    /// Imports the model from a file and compares it with tract.
    ///
    /// # Panics
    /// When it is refused, or does not compute the same.
    pub fn proven(&self) -> Imported {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("test.onnx");
        std::fs::write(&path, self.bytes()).expect("the temporary folder can be written");
        let imported = import(&path, &ImportOptions::default()).unwrap_or_else(|e| panic!("{e}"));
        match check_import(&path, &imported) {
            Ok(_) => imported,
            Err(e @ CheckError::Differs { .. }) => panic!("{e}"),
            Err(e) => panic!("tract: {e}"),
        }
    }
}
