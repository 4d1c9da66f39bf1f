//! What is in a `.snn` file.

use super::compilation::size;
use super::table::{Align, table};
use serde::Serialize;
use snn_ir::file::Program;
use snn_ir::signal::Dims;
use snn_ir::text::{Parameters, print};
use snn_ir::{Graph, Op, Preprocessing};

/// The report on a spiking network.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NetworkReport {
    /// Its name.
    pub network: String,
    /// T it was compiled for.
    pub timesteps: Option<u32>,
    /// Whether it computes in integers.
    pub integer: bool,
    /// How 8-bit pixels become its input.
    pub preprocessing: String,
    /// Number of neurons.
    pub neurons: usize,
    /// Number of parameters.
    pub parameters: usize,
    /// Nodes in topological order.
    pub layers: Vec<LayerSummary>,
    /// The graph in text form, parameters summarised.
    pub graph: String,
}

/// One node.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LayerSummary {
    /// Its name.
    pub name: String,
    /// Its operation; a layer's synapses and neuron in brackets.
    pub operation: String,
    /// Signal of its value.
    pub signal: String,
    /// Shape of its value.
    pub shape: String,
    /// Number of parameters.
    pub parameters: usize,
}

impl NetworkReport {
    /// The report on `program`.
    pub fn new(program: &Program) -> Self {
        let graph = &program.graph;
        let (_, neurons, parameters) = size(graph);
        NetworkReport {
            network: graph.name.clone(),
            timesteps: graph.timesteps,
            integer: graph.is_quantized(),
            preprocessing: describe(&program.preprocessing),
            neurons,
            parameters,
            layers: layers(graph),
            graph: print(graph, Parameters::Summary),
        }
    }

    /// The report for people.
    pub fn to_text(&self) -> String {
        let timesteps = self.timesteps.map_or("no T".to_string(), |t| format!("T = {t}"));
        let numbers = if self.integer { "integers" } else { "floats" };
        let mut text = format!(
            "spiking network {}: {} neurons, {} parameters, {numbers}, {timesteps}\npreprocessing of 8-bit pixels: {}\n\n",
            self.network, self.neurons, self.parameters, self.preprocessing
        );
        let columns = [("node", Align::Left), ("operation", Align::Left), ("value", Align::Left), ("parameters", Align::Right)];
        let row =
            |l: &LayerSummary| vec![l.name.clone(), l.operation.clone(), format!("{}[{}]", l.signal, l.shape), l.parameters.to_string()];
        text += &table(&columns, &self.layers.iter().map(row).collect::<Vec<_>>());
        text += "\n";
        text += &self.graph;
        text
    }
}

fn describe(p: &Preprocessing) -> String {
    let list = |values: &[f32], default: &str| match values {
        [] => default.to_string(),
        values => format!("[{}]", values.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
    };
    let resized = p.resize.map_or(String::new(), |[h, w]| format!(", resized to {h}x{w}"));
    format!("(p * {} - {}) / {}, {}{resized}", p.scale, list(&p.mean, "0"), list(&p.std, "1"), p.layout.name())
}

fn layers(graph: &Graph) -> Vec<LayerSummary> {
    let summary = |id| {
        let (op, ty) = (graph.op(id), graph.ty(id));
        let operation = match op {
            Op::Layer(layer) => {
                let synapses: Vec<&str> = layer.synapses.iter().map(Op::name).collect();
                format!("layer ({}{})", synapses.join(" + "), if layer.neuron.is_some() { ", neurons" } else { "" })
            }
            other => other.name().into(),
        };
        LayerSummary {
            name: graph.node(id).name().into(),
            operation,
            signal: ty.signal.name().into(),
            shape: Dims(&ty.shape).to_string(),
            parameters: op.parameters().iter().map(|(_, t)| t.len()).sum(),
        }
    };
    graph.topological().unwrap_or_default().into_iter().map(summary).collect()
}
