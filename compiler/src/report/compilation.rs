//! What compiling a network came to.

use super::frontier::Frontier;
use super::table::{Align, table};
use crate::driver::Compiled;
use crate::passes::Approximation;
use serde::Serialize;
use snn_ir::Graph;
use std::path::Path;

/// The report of a compilation.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Compilation {
    /// The file written.
    pub output: String,
    /// The network's name.
    pub network: String,
    /// T.
    pub timesteps: u32,
    /// Why it is that T, where the user did not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timesteps_because: Option<String>,
    /// The recipe.
    pub recipe: String,
    /// The samples that thresholds came from, if any were given.
    pub calibration: Option<String>,
    /// Number of neuron populations.
    pub layers: usize,
    /// Number of neurons.
    pub neurons: usize,
    /// Number of parameters.
    pub parameters: usize,
    /// What each pass did.
    pub passes: Vec<PassTime>,
    /// What approximations lose.
    pub approximations: Vec<Approximation>,
    /// What a search for recipe and T saw.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub search: Option<Frontier>,
    /// Messages for the user.
    pub notes: Vec<String>,
}

/// What one pass did.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PassTime {
    /// Its name.
    pub name: String,
    /// Places it changed.
    pub changes: usize,
    /// Wall time.
    pub milliseconds: f64,
}

/// Number of populations, neurons and parameters of a graph.
pub fn size(graph: &Graph) -> (usize, usize, usize) {
    let (mut layers, mut neurons, mut parameters) = (0, 0, 0);
    for id in graph.ids() {
        let op = graph.op(id);
        if op.is_population() {
            layers += 1;
            neurons += graph.ty(id).len();
        }
        parameters += op.parameters().iter().map(|(_, t)| t.len()).sum::<usize>();
    }
    (layers, neurons, parameters)
}

impl Compilation {
    /// The report on `compiled`, written to `output`.
    pub fn new(output: &Path, compiled: &Compiled) -> Self {
        let (layers, neurons, parameters) = size(&compiled.graph);
        Compilation {
            output: output.display().to_string(),
            network: compiled.graph.name.clone(),
            timesteps: compiled.graph.timesteps.unwrap_or(0),
            timesteps_because: compiled.timesteps_because.clone(),
            recipe: compiled.recipe.name.clone(),
            calibration: compiled.calibration.as_ref().map(|c| c.description.clone()),
            layers,
            neurons,
            parameters,
            passes: compiled
                .passes
                .iter()
                .map(|r| PassTime { name: r.name.into(), changes: r.changes, milliseconds: r.time.as_secs_f64() * 1e3 })
                .collect(),
            approximations: compiled.approximations.clone(),
            search: compiled.search.as_ref().map(Frontier::new),
            notes: compiled.notes.clone(),
        }
    }

    /// The report for people; `passes` adds the table of passes.
    pub fn to_text(&self, passes: bool) -> String {
        let mut text = self.search.as_ref().map_or_else(String::new, |search| format!("{}\n", search.to_text()));
        text += &format!(
            "{}: {} neurons in {}, {} parameters; T = {}, recipe {}, calibrated {}\n",
            self.output,
            self.neurons,
            if self.layers == 1 { "1 layer".to_string() } else { format!("{} layers", self.layers) },
            self.parameters,
            self.timesteps,
            self.recipe,
            self.calibration.as_ref().map_or("without samples".to_string(), |c| format!("on {c}")),
        );
        if let Some(why) = &self.timesteps_because {
            text += &format!("T = {}: {why}\n", self.timesteps);
        }
        if passes {
            let columns = [("pass", Align::Left), ("changes", Align::Right), ("ms", Align::Right)];
            let row = |p: &PassTime| vec![p.name.clone(), p.changes.to_string(), format!("{:.1}", p.milliseconds)];
            text += "\n";
            text += &table(&columns, &self.passes.iter().map(row).collect::<Vec<_>>());
        }
        text
    }
}
