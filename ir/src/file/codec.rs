//! Programs as messages of `snn.proto`.

use super::schema::{self, value::Kind};
use super::{CalibrationSource, DecodeError, Program, Provenance};
use crate::attr::{Attr, Attrs};
use crate::graph::{Graph, NodeId};
use crate::op::Op;
use crate::preprocessing::{Layout, Preprocessing};
use crate::signal::Signal;
use crate::tensor::{ElementType, Tensor};
use prost::bytes::Bytes;
use std::collections::HashMap;

/// Largest extent that images are resized to.
const MAX_RESIZE: usize = 1 << 14;

pub(super) fn to_message(program: &Program) -> schema::Program {
    schema::Program {
        graph: Some(graph_message(&program.graph)),
        preprocessing: Some(preprocessing_message(&program.preprocessing)),
        provenance: Some(provenance_message(&program.provenance)),
    }
}

pub(super) fn from_message(message: schema::Program) -> Result<Program, DecodeError> {
    Ok(Program {
        graph: graph(message.graph.ok_or_else(|| missing("the graph"))?)?,
        preprocessing: preprocessing(message.preprocessing.ok_or_else(|| missing("the preprocessing"))?)?,
        provenance: provenance(message.provenance.ok_or_else(|| missing("the provenance"))?),
    })
}

fn missing(what: &str) -> DecodeError {
    DecodeError::Payload(format!("{what} is missing"))
}

/// A number of the format as one of this machine.
fn size(value: u64) -> Result<usize, String> {
    usize::try_from(value).map_err(|_| format!("{value} is no size on this machine"))
}

fn sizes(values: Vec<u64>) -> Result<Vec<usize>, String> {
    values.into_iter().map(size).collect()
}

fn shape_message(shape: &[usize]) -> Vec<u64> {
    shape.iter().map(|&d| d as u64).collect()
}

fn graph_message(graph: &Graph) -> schema::Graph {
    let order = graph.topological().expect("the graph was verified");
    let position: HashMap<NodeId, u32> = order.iter().zip(0..).map(|(&id, i)| (id, i)).collect();
    let node = |&id: &NodeId| {
        let node = graph.node(id);
        schema::Node {
            name: node.name().to_string(),
            op: node.op().name().to_string(),
            operands: graph.operands(id).iter().map(|o| position[o]).collect(),
            attributes: attribute_messages(node.op().attributes()),
            signal: signal_message(node.ty().signal).into(),
            shape: shape_message(&node.ty().shape),
        }
    };
    schema::Graph {
        name: graph.name.clone(),
        timesteps: graph.timesteps,
        nodes: order.iter().map(node).collect(),
        outputs: graph.outputs().iter().map(|o| position[o]).collect(),
    }
}

fn graph(message: schema::Graph) -> Result<Graph, DecodeError> {
    let mut graph = Graph::new(message.name);
    graph.timesteps = message.timesteps;
    let mut ids: Vec<NodeId> = Vec::with_capacity(message.nodes.len());
    for node in message.nodes {
        let name = node.name.clone();
        let id = add(&mut graph, &ids, node).map_err(|reason| DecodeError::Node { node: name, reason })?;
        ids.push(id);
    }
    let output = |&o: &u32| ids.get(o as usize).copied().ok_or_else(|| DecodeError::Payload(format!("output {o} is no node")));
    let outputs = message.outputs.iter().map(output).collect::<Result<Vec<NodeId>, DecodeError>>()?;
    graph.set_outputs(outputs);
    Ok(graph)
}

fn add(graph: &mut Graph, ids: &[NodeId], node: schema::Node) -> Result<NodeId, String> {
    let signal = signal(node.signal())?;
    let shape = sizes(node.shape)?;
    let operand = |&o: &u32| ids.get(o as usize).copied().ok_or_else(|| format!("operand {o} does not come before it"));
    let operands = node.operands.iter().map(operand).collect::<Result<Vec<NodeId>, String>>()?;
    let op = Op::from_attributes(&node.op, attributes(node.attributes)?, (signal, &shape)).map_err(|e| e.to_string())?;
    let id = graph.add(node.name, op, &operands).map_err(|e| e.to_string())?;
    let ty = graph.ty(id);
    if ty.signal != signal || ty.shape != shape {
        return Err(format!("it is stored as {signal} of shape {shape:?}, but is {ty}"));
    }
    Ok(id)
}

fn signal_message(signal: Signal) -> schema::Signal {
    match signal {
        Signal::Analog => schema::Signal::Analog,
        Signal::Current => schema::Signal::Current,
        Signal::Spikes => schema::Signal::Spikes,
        Signal::Potential => schema::Signal::Potential,
    }
}

fn signal(message: schema::Signal) -> Result<Signal, String> {
    match message {
        schema::Signal::Analog => Ok(Signal::Analog),
        schema::Signal::Current => Ok(Signal::Current),
        schema::Signal::Spikes => Ok(Signal::Spikes),
        schema::Signal::Potential => Ok(Signal::Potential),
        schema::Signal::Unspecified => Err("its signal is unknown".to_string()),
    }
}

fn attribute_messages(attributes: Attrs) -> Vec<schema::Attribute> {
    attributes.0.into_iter().map(|(key, value)| schema::Attribute { key, value: Some(value_message(value)) }).collect()
}

fn value_message(value: Attr) -> schema::Value {
    let kind = match value {
        Attr::Int(i) => Kind::Int(i),
        Attr::Float(f) => Kind::Float(f),
        Attr::Word(w) => Kind::Word(w),
        Attr::Dims(d) => Kind::Dims(schema::Dims { values: shape_message(&d) }),
        Attr::Ints(values) => Kind::Ints(schema::Ints { values }),
        Attr::Tensor(t) => Kind::Tensor(tensor_message(&t)),
        Attr::Call(name, attributes) => Kind::Call(schema::Call { name, attributes: attribute_messages(attributes) }),
        Attr::List(items) => Kind::List(schema::List { items: items.into_iter().map(value_message).collect() }),
    };
    schema::Value { kind: Some(kind) }
}

fn attributes(messages: Vec<schema::Attribute>) -> Result<Attrs, String> {
    let attribute = |a: schema::Attribute| {
        let value = a.value.and_then(|v| v.kind).ok_or_else(|| format!("attribute `{}` has no value", a.key))?;
        let value = attribute_value(value).map_err(|e| format!("attribute `{}`: {e}", a.key))?;
        Ok((a.key, value))
    };
    messages.into_iter().map(attribute).collect::<Result<_, String>>().map(Attrs)
}

fn attribute_value(kind: Kind) -> Result<Attr, String> {
    Ok(match kind {
        Kind::Int(i) => Attr::Int(i),
        Kind::Float(f) => Attr::Float(f),
        Kind::Word(w) => Attr::Word(w),
        Kind::Dims(d) => Attr::Dims(sizes(d.values)?),
        Kind::Ints(i) => Attr::Ints(i.values),
        Kind::Tensor(t) => Attr::Tensor(tensor(t)?),
        Kind::Call(c) => Attr::Call(c.name, attributes(c.attributes)?),
        Kind::List(l) => {
            let item = |v: schema::Value| attribute_value(v.kind.ok_or("an item has no value")?);
            Attr::List(l.items.into_iter().map(item).collect::<Result<_, String>>()?)
        }
    })
}

fn tensor_message(t: &Tensor) -> schema::Tensor {
    let element = match t.element_type() {
        ElementType::F32 => schema::ElementType::F32,
        ElementType::I8 => schema::ElementType::I8,
        ElementType::I16 => schema::ElementType::I16,
        ElementType::I32 => schema::ElementType::I32,
    };
    schema::Tensor { element: element.into(), shape: shape_message(t.shape()), data: Bytes::from(t.to_le_bytes()) }
}

fn tensor(message: schema::Tensor) -> Result<Tensor, String> {
    let element = match message.element() {
        schema::ElementType::F32 => ElementType::F32,
        schema::ElementType::I8 => ElementType::I8,
        schema::ElementType::I16 => ElementType::I16,
        schema::ElementType::I32 => ElementType::I32,
        schema::ElementType::Unspecified => return Err("its element type is unknown".to_string()),
    };
    let shape = sizes(message.shape)?;
    let bytes = message.data.len();
    Tensor::from_le_bytes(element, shape.clone(), &message.data)
        .ok_or_else(|| format!("{bytes} bytes are not what {} of shape {shape:?} takes", element.name()))
}

fn preprocessing_message(p: &Preprocessing) -> schema::Preprocessing {
    let layout = match p.layout {
        Layout::Chw => schema::Layout::Chw,
        Layout::Hwc => schema::Layout::Hwc,
    };
    schema::Preprocessing {
        layout: layout.into(),
        scale: p.scale,
        mean: p.mean.clone(),
        std: p.std.clone(),
        resize: p.resize.map(|[height, width]| schema::Size { height: height as u32, width: width as u32 }),
    }
}

fn preprocessing(message: schema::Preprocessing) -> Result<Preprocessing, DecodeError> {
    let refuse = |what: &str| DecodeError::Payload(format!("preprocessing: {what}"));
    let layout = match message.layout() {
        schema::Layout::Chw => Layout::Chw,
        schema::Layout::Hwc => Layout::Hwc,
        schema::Layout::Unspecified => return Err(refuse("the layout is unknown")),
    };
    let resize = message.resize.map(|s| [s.height as usize, s.width as usize]);
    let p = Preprocessing { layout, scale: message.scale, mean: message.mean, std: message.std, resize };
    fault(&p).map_or(Ok(p), |what| Err(refuse(what)))
}

/// What makes a preprocessing unusable.
pub(super) fn fault(p: &Preprocessing) -> Option<&'static str> {
    if !p.scale.is_finite() || !p.mean.iter().chain(&p.std).all(|v| v.is_finite()) {
        Some("a number is not finite")
    } else if p.std.contains(&0.0) {
        Some("a standard deviation is zero")
    } else if p.resize.is_some_and(|size| size.iter().any(|d| !(1..=MAX_RESIZE).contains(d))) {
        Some("images cannot be resized to this size")
    } else {
        None
    }
}

fn provenance_message(p: &Provenance) -> schema::Provenance {
    schema::Provenance {
        model: p.model.clone(),
        model_crc32: p.model_crc32,
        recipe: p.recipe.clone(),
        calibration: p.calibration.as_ref().map(|c| schema::Calibration { data: c.data.clone(), samples: c.samples }),
        compiler: p.compiler.clone(),
        notes: p.notes.clone(),
    }
}

fn provenance(message: schema::Provenance) -> Provenance {
    Provenance {
        model: message.model,
        model_crc32: message.model_crc32,
        recipe: message.recipe,
        calibration: message.calibration.map(|c| CalibrationSource { data: c.data, samples: c.samples }),
        compiler: message.compiler,
        notes: message.notes,
    }
}
