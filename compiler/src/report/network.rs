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
    /// ONNX file it comes from.
    pub model: String,
    /// CRC-32 of that file.
    pub model_crc32: String,
    /// Version of the compiler.
    pub compiler: String,
    /// Data that thresholds came from, if there were any, and its number of samples.
    pub calibration: Option<(String, u64)>,
    /// The recipe, as YAML.
    pub recipe: String,
    /// What the compiler told its user.
    pub notes: Vec<String>,
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
    /// The graph in text form.
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
    /// The report on `program`, with parameters as `parameters` says.
    pub fn new(program: &Program, parameters: Parameters) -> Self {
        let (graph, provenance) = (&program.graph, &program.provenance);
        let (_, neurons, parameter_count) = size(graph);
        NetworkReport {
            network: graph.name.clone(),
            model: provenance.model.clone(),
            model_crc32: format!("{:08x}", provenance.model_crc32),
            compiler: provenance.compiler.clone(),
            calibration: provenance.calibration.as_ref().map(|c| (c.data.clone(), c.samples)),
            recipe: provenance.recipe.clone(),
            notes: provenance.notes.clone(),
            timesteps: graph.timesteps,
            integer: graph.is_quantized(),
            preprocessing: describe(&program.preprocessing),
            neurons,
            parameters: parameter_count,
            layers: layers(graph),
            graph: print(graph, parameters),
        }
    }

    /// The report for people.
    pub fn to_text(&self) -> String {
        let timesteps = self.timesteps.map_or("no T".to_string(), |t| format!("T = {t}"));
        let numbers = if self.integer { "integers" } else { "floats" };
        let calibration = match &self.calibration {
            Some((data, samples)) => format!("{samples} samples of {data}"),
            None => "no samples".into(),
        };
        let mut text =
            format!("spiking network {}: {} neurons, {} parameters, {numbers}, {timesteps}\n", self.network, self.neurons, self.parameters);
        if !self.model.is_empty() {
            text += &format!("from {} (CRC-32 {}) by snnc {}, calibrated on {calibration}\n", self.model, self.model_crc32, self.compiler);
        }
        text += &format!("preprocessing of 8-bit pixels: {}\n", self.preprocessing);
        self.notes.iter().for_each(|n| text += &format!("note: {n}\n"));
        text.push('\n');
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
