//! Model-local functions (ONNX IR version 8, `ModelProto.functions`), which PyTorch's newer exporter writes: every call
//! is replaced by the function's nodes.

use prost::Message;
use std::collections::HashMap;
use tract_onnx::pb::{AttributeProto, FunctionProto, ModelProto, NodeProto};

/// How deep functions may call functions.
const DEPTH: usize = 16;
/// Most nodes that a model may have after inlining.
const LARGEST: usize = 1 << 17;
/// Most bytes that the inlined nodes may take in memory, names and attributes included: 2 KiB for each of them.
const LARGEST_BYTES: usize = 256 << 20;

/// What a call of a function costs.
struct Body<'f> {
    function: &'f FunctionProto,
    /// Bytes of its nodes in memory.
    bytes: usize,
    /// Names that the call's own is put before.
    names: usize,
}

impl<'f> Body<'f> {
    fn new(function: &'f FunctionProto) -> Self {
        let names = function.node.iter().map(|n| n.input.len() + n.output.len() + 1).sum();
        let bytes = super::wire::function_memory(&function.encode_to_vec());
        Body { function, bytes, names }
    }

    /// Bytes that a call becomes. Attributes that it hands over are counted for every node, which may read them all.
    fn cost(&self, call: &NodeProto) -> usize {
        let prefix = call.output.iter().find(|o| !o.is_empty()).map_or(0, |o| o.len() + 1);
        let actual = call.input.iter().chain(&call.output).map(String::len).max().unwrap_or(0);
        let attributes: usize = call.attribute.iter().map(Message::encoded_len).sum();
        let references = self.function.node.iter().flat_map(|n| &n.attribute).filter(|a| !a.ref_attr_name.is_empty()).count();
        let names = self.names.saturating_mul(prefix.max(actual));
        self.bytes.saturating_add(names).saturating_add(attributes.saturating_mul(references).saturating_mul(8))
    }
}

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
/// When functions call each other endlessly, or would grow to absurdly many nodes or bytes.
pub fn inline_functions(model: &mut ModelProto) -> Result<(), String> {
    if model.functions.is_empty() {
        return Ok(());
    }
    let opset = model.opset_import.iter().find(|o| normal(&o.domain).is_empty()).map(|o| o.version);
    let same_opset = |f: &&FunctionProto| f.opset_import.iter().all(|o| !normal(&o.domain).is_empty() || Some(o.version) == opset);
    let functions = std::mem::take(&mut model.functions);
    let bodies: Vec<Body> = functions.iter().filter(same_opset).map(Body::new).collect();
    let index: HashMap<(&str, &str), usize> = bodies
        .iter()
        .enumerate()
        .map(|(i, b)| ((normal(b.function.domain.as_deref().unwrap_or_default()), b.function.name.as_deref().unwrap_or_default()), i))
        .collect();
    let mut left = LARGEST_BYTES;
    let Some(graph) = model.graph.as_mut() else { return Ok(()) };
    for _ in 0..DEPTH {
        let function_of = |n: &NodeProto| index.get(&(normal(&n.domain), n.op_type.as_str())).map(|&i| &bodies[i]);
        let grown: usize = graph.node.iter().map(|n| function_of(n).map_or(1, |b| b.function.node.len())).sum();
        if grown > LARGEST.max(graph.node.len()) {
            return Err(format!("its functions would grow to {grown} nodes"));
        }
        if !graph.node.iter().any(|n| function_of(n).is_some()) {
            return Ok(());
        }
        let cost = graph.node.iter().filter_map(|n| Some(function_of(n)?.cost(n))).fold(0usize, usize::saturating_add);
        left = left.checked_sub(cost).ok_or_else(|| {
            format!("its functions would grow to more than {} MiB where they are called; inline them (onnx.inliner)", LARGEST_BYTES >> 20)
        })?;
        let calls = std::mem::take(&mut graph.node);
        graph.node = calls
            .into_iter()
            .flat_map(|n| match function_of(&n) {
                Some(b) => body(b.function, &n),
                None => vec![n],
            })
            .collect();
    }
    Err("its functions call each other too deeply".into())
}
