//! What is known about every ONNX operator: one declarative [`OpSpec`] each, collected from the family files.

use super::error::Refusal;
use super::importer::{Importer, Value};
use super::node::NodeView;
use super::{activation, conv, elementwise, fold, function, linear, norm, pool, quantize, resize, shape, tabular};
use std::collections::HashMap;
use std::sync::OnceLock;
use tract_onnx::pb::NodeProto;

/// How faithful a conversion to the analog graph is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fidelity {
    /// The analog graph computes what ONNX says; a spiking network can carry it exactly in the limit of long windows.
    Exact,
    /// The analog graph computes what ONNX says; a later pass approximates it by neurons.
    Approximated,
    /// The node is evaluated at import and leaves no trace.
    Folded,
}

/// Builds the graph for one node; one value per output.
pub type Lower = fn(&mut Importer, &NodeView) -> Result<Vec<Value>, Refusal>;

/// An operator that can be imported.
pub struct OpSpec {
    /// ONNX operator type.
    pub name: &'static str,
    /// First opset whose form of it is understood.
    pub since: i64,
    /// Least and greatest number of inputs.
    pub inputs: (usize, usize),
    /// How faithful it is.
    pub fidelity: Fidelity,
    /// What it becomes.
    pub becomes: &'static str,
    /// What of it is refused, empty when nothing is.
    pub limits: &'static str,
    /// Builds it.
    pub lower: Lower,
}

/// Any number of inputs.
pub const VARIADIC: usize = usize::MAX;

/// The family of the domain `ai.onnx.ml`.
pub const TABULAR: &str = "Tables (`ai.onnx.ml`)";

/// The families, in the order the documentation lists them.
pub const FAMILIES: &[(&str, &[OpSpec])] = &[
    ("Convolution", conv::OPS),
    ("Linear layers", linear::OPS),
    ("Normalisation", norm::OPS),
    ("Pooling and reduction", pool::OPS),
    ("Activation", activation::OPS),
    ("Elementwise", elementwise::OPS),
    ("Scalar functions in steps", function::OPS),
    ("Shape", shape::OPS),
    ("Resampling", resize::OPS),
    ("Quantised models", quantize::OPS),
    (TABULAR, tabular::OPS),
    ("Constants", fold::OPS),
];

/// Everything about the operator `name` of ONNX's own domain.
pub fn find(name: &str) -> Option<&'static OpSpec> {
    static INDEX: OnceLock<HashMap<&'static str, &'static OpSpec>> = OnceLock::new();
    INDEX.get_or_init(|| FAMILIES.iter().flat_map(|f| f.1).map(|s| (s.name, s)).collect()).get(name).copied()
}

/// Whether the operator itself computes with constants; nodes of others are evaluated as graphs when all of their
/// operands are known.
pub fn folds(spec: &OpSpec) -> bool {
    const ARITHMETIC: [&str; 17] = [
        "Add",
        "Sub",
        "Mul",
        "Div",
        "Neg",
        "Sum",
        "Max",
        "Min",
        "Clip",
        "ReduceMean",
        "ReduceSum",
        "ReduceMax",
        "ReduceMin",
        "MatMul",
        "Gemm",
        "QuantizeLinear",
        "DequantizeLinear",
    ];
    let family = |ops: &[OpSpec]| ops.iter().any(|s| s.name == spec.name);
    ARITHMETIC.contains(&spec.name) || family(shape::OPS) || family(function::OPS) || family(fold::OPS)
}

/// Whether an operator picks from what a network answers, as detectors do; vendors have operators of their own for it.
pub fn is_decision(op: &str) -> bool {
    let plain = matches!(op, "ArgMax" | "ArgMin" | "TopK" | "NonMaxSuppression" | "Hardmax" | "RoiAlign" | "MaxRoiPool");
    plain || op.contains("NMS") || op.contains("DetectionOutput")
}

/// Why a node whose operator is not in the registry is refused.
pub fn refusal(node: &NodeProto) -> Refusal {
    let (domain, op) = (node.domain.as_str(), node.op_type.as_str());
    let reason = |r: &str| Refusal::from(r);
    if is_decision(op) {
        let tensor = node.input.first().map(String::as_str).unwrap_or_default();
        return Refusal::with_way_out(
            "decisions inside the graph are not converted",
            format!("end the model at `{tensor}`, the tensor it decides on, or before, and decide on what the spiking network answers"),
        );
    }
    if domain == "ai.onnx.ml" {
        return reason("classical machine learning operators have no spiking form");
    }
    if !matches!(domain, "" | "ai.onnx") {
        return Refusal::with_way_out(
            format!("operators of domain `{domain}` are not known"),
            "export with ONNX's own operators, or inline the model's functions (onnx.inliner)",
        );
    }
    match op {
        "LSTM" | "GRU" | "RNN" => reason("recurrent networks are not converted"),
        "Loop" | "Scan" => Refusal::with_way_out("loops are not converted", "export the model with fixed shapes, or run onnx-simplifier"),
        "QLinearConv" | "QLinearMatMul" | "ConvInteger" | "MatMulInteger" | "QLinearAdd" | "DynamicQuantizeLinear" => {
            Refusal::with_way_out("integer operators of a quantised model are not converted", "export the float model, or a QDQ model")
        }
        "MeanVarianceNormalization" | "LpNormalization" => Refusal::with_way_out(
            "it normalises by statistics of the input itself, which neurons do not compute",
            "train with batch normalisation",
        ),
        "Attention" | "MultiHeadAttention" => Refusal::with_way_out(
            "it multiplies computed values by each other, which neurons do not do",
            "use layers with constant weights",
        ),
        _ => reason("no spiking form of this operator is known"),
    }
}
