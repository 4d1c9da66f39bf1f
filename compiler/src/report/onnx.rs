//! What is in an ONNX file, and whether it can be converted.

use super::table::{Align, table};
use crate::frontend::onnx::contents::Contents;
use crate::frontend::onnx::error::{end_at, grouped};
use crate::frontend::onnx::model::Model;
use crate::frontend::onnx::{ImportError, ImportOptions, import_model};
use serde::Serialize;

/// The report on an ONNX file.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OnnxReport {
    /// What is in it.
    #[serde(flatten)]
    pub contents: Contents,
    /// Whether it can be converted.
    pub convertible: bool,
    /// What cannot be converted, and why.
    pub obstacles: Vec<String>,
    /// The same for people: one entry for all obstacles of one reason, and the way out of a model that decodes its answers.
    #[serde(skip)]
    summary: String,
    /// What importing it warns about.
    pub warnings: Vec<String>,
}

impl OnnxReport {
    /// The report on `model`, imported with `options`.
    ///
    /// # Errors
    /// When its graph makes no sense.
    pub fn new(model: &Model, options: &ImportOptions) -> Result<Self, ImportError> {
        let contents = Contents::new(model)?;
        let (obstacles, summary, warnings) = match import_model(model, options) {
            Ok(imported) => (Vec::new(), String::new(), imported.facts.warnings),
            Err(ImportError::Unsupported { obstacles, heads, .. }) => {
                let summary = format!("{}{}", grouped(&obstacles), end_at(&heads));
                (obstacles.iter().map(ToString::to_string).collect(), summary, Vec::new())
            }
            Err(other) => (vec![other.to_string()], format!("\n  {other}"), Vec::new()),
        };
        Ok(OnnxReport { contents, convertible: obstacles.is_empty(), obstacles, summary, warnings })
    }

    /// The report for people.
    pub fn to_text(&self) -> String {
        let Contents { producer, ir_version, opsets, inputs, outputs, initializers, operators } = &self.contents;
        let producer = if producer.is_empty() { "an unknown program" } else { producer };
        let opsets: Vec<String> = opsets.iter().map(|(d, v)| format!("{d} {v}")).collect();
        let mut text = format!("ONNX model by {producer}, IR version {ir_version}, opset {}\n", opsets.join(", "));
        for (what, values) in [("input", inputs), ("output", outputs)] {
            values.iter().for_each(|v| text += &format!("{what} {}: {}[{}]\n", v.name, v.element, v.shape));
        }
        text += &format!("{} initializers with {} elements\n\n", initializers.0, initializers.1);
        let rows: Vec<Vec<String>> = operators.iter().map(|(op, n)| vec![op.clone(), n.to_string()]).collect();
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
