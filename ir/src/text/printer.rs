//! Graph to text.

use super::lexer::quote;
use super::literal::{elements, float, is_printable, short_float};
use crate::attr::{Attr, Attrs};
use crate::graph::{Graph, NodeId};
use crate::signal::Dims;
use crate::tensor::Tensor;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use indexmap::IndexMap;
use std::fmt::Write;

/// How parameters of more than eight elements are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parameters {
    /// As range and hash: short, but only [`super::parse_with`] can read it back.
    Summary,
    /// In full.
    Full,
}

/// Most elements that are printed one by one.
const LITERAL: usize = 8;

/// The graph as text. The same graph gives the same bytes.
pub fn print(graph: &Graph, parameters: Parameters) -> String {
    let mut printer = Printer::default();
    printer.graph(graph);
    let mut out = printer.out;
    for (name, tensor) in &printer.parameters {
        let values = if tensor.len() <= LITERAL && is_printable(tensor) {
            format!("[{}]", elements(tensor).join(", "))
        } else if parameters == Parameters::Full {
            format!("base64(\"{}\")", STANDARD.encode(tensor.to_le_bytes()))
        } else {
            let (min, max) = tensor.values().fold((f64::MAX, f64::MIN), |(lo, hi), v| (lo.min(v), hi.max(v)));
            format!("summary(min={}, max={}, hash={:016x})", short_float(min), short_float(max), tensor.content_hash())
        };
        let _ = writeln!(out, "@{} = {}[{}] {values}", quote(name), tensor.element_type().name(), Dims(tensor.shape()));
    }
    out
}

/// The parameters that [`print()`] gives a line of their own, under the names they have there.
pub fn parameters(graph: &Graph) -> IndexMap<String, Tensor> {
    let mut printer = Printer::default();
    printer.graph(graph);
    printer.parameters
}

#[derive(Default)]
struct Printer {
    out: String,
    parameters: IndexMap<String, Tensor>,
}

impl Printer {
    fn graph(&mut self, graph: &Graph) {
        let _ = write!(self.out, "graph @{}", quote(&graph.name));
        if let Some(steps) = graph.timesteps {
            let _ = write!(self.out, " steps={steps}");
        }
        self.out.push_str(" {\n");
        let order = graph.topological().unwrap_or_else(|cycle| {
            // Not a network, but whoever looks for the cycle has to see it.
            let _ = writeln!(self.out, "  // {cycle}");
            let mut ids: Vec<NodeId> = graph.ids().collect();
            ids.sort_unstable();
            ids
        });
        order.into_iter().for_each(|id| self.node(graph, id));
        let outputs: Vec<String> = graph.outputs().iter().map(|&o| format!("%{}", quote(graph.node(o).name()))).collect();
        if !outputs.is_empty() {
            let _ = writeln!(self.out, "  output {}", outputs.join(", "));
        }
        self.out.push_str("}\n");
    }

    fn node(&mut self, graph: &Graph, id: NodeId) {
        let node = graph.node(id);
        let _ = write!(self.out, "  %{} = {}", quote(node.name()), node.op().name());
        let operands = graph.operands(id);
        for (i, &operand) in operands.iter().enumerate() {
            let _ = write!(self.out, "{} %{}", if i > 0 { "," } else { "" }, quote(graph.node(operand).name()));
        }
        let attributes = node.op().attributes();
        if !attributes.0.is_empty() {
            self.out.push_str(if operands.is_empty() { " " } else { ", " });
        }
        self.attributes(node.name(), &attributes);
        let _ = writeln!(self.out, " : {}", node.ty());
    }

    fn attributes(&mut self, owner: &str, attributes: &Attrs) {
        for (i, (key, value)) in attributes.0.iter().enumerate() {
            self.out.push_str(if i > 0 { ", " } else { "" });
            let _ = write!(self.out, "{key}=");
            self.attribute(owner, key, value);
        }
    }

    /// `owner` is what the names of the parameters in `value` begin with, so that they are those of
    /// [`crate::Op::parameters`].
    fn attribute(&mut self, owner: &str, key: &str, value: &Attr) {
        match value {
            Attr::Int(i) => {
                let _ = write!(self.out, "{i}");
            }
            Attr::Float(f) => self.out.push_str(&float(*f)),
            Attr::Word(w) => self.out.push_str(w),
            Attr::Dims(d) => {
                let _ = write!(self.out, "{}", Dims(d));
            }
            Attr::Ints(v) => {
                let _ = write!(self.out, "{v:?}");
            }
            Attr::Tensor(t) => self.tensor(format!("{owner}.{key}"), t),
            Attr::Call(name, attributes) => {
                let _ = write!(self.out, "{name}(");
                self.attributes(owner, attributes);
                self.out.push(')');
            }
            Attr::List(items) => {
                self.out.push('[');
                for (i, item) in items.iter().enumerate() {
                    self.out.push_str(if i > 0 { ", " } else { "" });
                    self.attribute(&format!("{owner}.{}{i}", key.trim_end_matches('s')), key, item);
                }
                self.out.push(']');
            }
        }
    }

    fn tensor(&mut self, name: String, t: &Tensor) {
        if t.shape().is_empty() && is_printable(t) {
            let value = elements(t).concat();
            let _ = if t.is_integer() { write!(self.out, "{}({value})", t.element_type().name()) } else { write!(self.out, "{value}") };
            return;
        }
        // `a.b` may be parameter `b` of node `a`, or parameter `c.b` of another: names differ, unless it is the same tensor.
        let taken = |n: &String| self.parameters.get(n).is_some_and(|other| other != t);
        let mut unique = name.clone();
        let mut number = 1;
        while taken(&unique) {
            number += 1;
            unique = format!("{name}.{number}");
        }
        let _ = write!(self.out, "@{}", quote(&unique));
        self.parameters.insert(unique, t.clone());
    }
}
