//! Model-local functions (ONNX IR version 8, `ModelProto.functions`), which PyTorch's newer exporter writes: every call
//! is replaced by the function's nodes.

use std::collections::HashMap;
use tract_onnx::pb::{AttributeProto, FunctionProto, ModelProto, NodeProto};

/// How deep functions may call functions.
const DEPTH: usize = 16;
/// Most nodes that a model may have after inlining.
const LARGEST: usize = 1 << 17;

fn normal(domain: &str) -> &str {
    if domain == "ai.onnx" { "" } else { domain }
}

/// The nodes of one call, under names of their own.
fn body(function: &FunctionProto, call: &NodeProto) -> Vec<NodeProto> {
    let prefix = call.output.iter().find(|o| !o.is_empty()).cloned().unwrap_or_default();
    let actual = |formal: &[String], actual: &[String]| -> HashMap<String, String> {
        formal.iter().enumerate().map(|(i, f)| (f.clone(), actual.get(i).cloned().unwrap_or_default())).collect()
    };
    let mut names = actual(&function.input, &call.input);
    names.extend(actual(&function.output, &call.output).into_iter().filter(|(_, a)| !a.is_empty()));
    let rename = |n: &String| match names.get(n) {
        _ if n.is_empty() => String::new(),
        Some(actual) => actual.clone(),
        None => format!("{prefix}/{n}"),
    };
    // An attribute of the function stands for the caller's, or for nothing.
    let bind = |a: &AttributeProto| {
        if a.ref_attr_name.is_empty() {
            return Some(a.clone());
        }
        call.attribute.iter().find(|c| c.name == a.ref_attr_name).map(|c| AttributeProto { name: a.name.clone(), ..c.clone() })
    };
    let node = |n: &NodeProto| NodeProto {
        input: n.input.iter().map(rename).collect(),
        output: n.output.iter().map(rename).collect(),
        name: if n.name.is_empty() { String::new() } else { format!("{prefix}/{}", n.name) },
        op_type: n.op_type.clone(),
        domain: n.domain.clone(),
        attribute: n.attribute.iter().filter_map(bind).collect(),
        doc_string: String::new(),
    };
    function.node.iter().map(node).collect()
}

/// Replaces every call of a function of the model. Functions written for another opset than the model's stay calls.
///
/// # Errors
/// When functions call each other endlessly, or would grow to absurdly many nodes.
pub fn inline_functions(model: &mut ModelProto) -> Result<(), String> {
    if model.functions.is_empty() {
        return Ok(());
    }
    let opset = model.opset_import.iter().find(|o| normal(&o.domain).is_empty()).map(|o| o.version);
    let same_opset = |f: &&FunctionProto| f.opset_import.iter().all(|o| !normal(&o.domain).is_empty() || Some(o.version) == opset);
    let functions = std::mem::take(&mut model.functions);
    let index: HashMap<(&str, &str), &FunctionProto> = functions
        .iter()
        .filter(same_opset)
        .map(|f| ((normal(f.domain.as_deref().unwrap_or_default()), f.name.as_deref().unwrap_or_default()), f))
        .collect();
    let Some(graph) = model.graph.as_mut() else { return Ok(()) };
    for _ in 0..DEPTH {
        let function_of = |n: &NodeProto| index.get(&(normal(&n.domain), n.op_type.as_str())).copied();
        let grown: usize = graph.node.iter().map(|n| function_of(n).map_or(1, |f| f.node.len())).sum();
        if grown > LARGEST.max(graph.node.len()) {
            return Err(format!("its functions would grow to {grown} nodes"));
        }
        if !graph.node.iter().any(|n| function_of(n).is_some()) {
            return Ok(());
        }
        let calls = std::mem::take(&mut graph.node);
        graph.node = calls.into_iter().flat_map(|n| function_of(&n).map_or_else(|| vec![n.clone()], |f| body(f, &n))).collect();
    }
    Err("its functions call each other too deeply".into())
}
