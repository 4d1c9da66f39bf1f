//! What a network answers to samples, as it is printed.

use super::fidelity::significant;
use super::table::{Align, table};
use crate::measure::answers::{Answers, OutputAnswers};
use crate::measure::task::Task;
use serde::{Serialize, Serializer};
use snn_ir::signal::Dims;

/// Numbers of an output that does not classify, printed per sample.
const PRINTED: usize = 8;

/// [`Answers`] as they are printed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AnswerReport {
    /// T.
    pub timesteps: u32,
    /// The answers of the only output that is printed, per sample.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub samples: Option<Vec<Answer>>,
    /// The outputs by name.
    #[serde(skip_serializing_if = "Vec::is_empty", serialize_with = "by_name")]
    pub outputs: Vec<(String, OutputReport)>,
    /// Means per sample, per layer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layers: Option<Vec<LayerActivity>>,
}

fn by_name<S: Serializer>(outputs: &[(String, OutputReport)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(outputs.iter().map(|(name, output)| (name, output)))
}

/// One output as it is printed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OutputReport {
    /// Its shape.
    pub shape: Vec<usize>,
    /// What it is for, by its shape.
    pub task: Task,
    /// Per sample.
    pub samples: Vec<Answer>,
}

/// An answer to one sample.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Answer {
    /// The best classes, the best first.
    Classes(Vec<ClassPotential>),
    /// All elements, row-major.
    Values(Vec<f32>),
}

/// One element of the output.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClassPotential {
    /// Its index.
    pub class: usize,
    /// Its value.
    pub potential: f32,
}

/// Mean activity of a neuron population.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LayerActivity {
    /// Name of its node.
    pub name: String,
    /// Number of neurons.
    pub neurons: u64,
    /// Spikes per sample.
    pub spikes_per_sample: f64,
    /// Effective synaptic operations per sample.
    pub synops_per_sample: f64,
    /// Spikes per neuron and step.
    pub rate: f64,
}

impl Answers {
    /// What to print: the answers with the `top` best classes, and the layers' activity if `stats`.
    pub fn report(&self, top: usize, stats: bool) -> AnswerReport {
        let output = |output: &OutputAnswers| {
            let each = output.shape.iter().product::<usize>().max(1);
            let answer = |values: &[f32]| match output.task {
                Task::Classes => Answer::Classes(best(values, top)),
                Task::Binary | Task::Values => Answer::Values(values.to_vec()),
            };
            let samples = output.potentials.chunks(each).map(answer).collect();
            (output.name.clone(), OutputReport { shape: output.shape.clone(), task: output.task, samples })
        };
        let outputs: Vec<(String, OutputReport)> = if top == 0 { Vec::new() } else { self.outputs.iter().map(output).collect() };
        let only = if let [(_, only)] = &outputs[..] { Some(only.samples.clone()) } else { None };
        let mean = |count: u64| count as f64 / self.samples.max(1) as f64;
        let layer = |l: &snn_runtime::LayerStatistics| LayerActivity {
            name: l.name.clone(),
            neurons: l.neurons,
            spikes_per_sample: mean(l.spikes),
            synops_per_sample: mean(l.synops),
            rate: l.spikes as f64 / (l.neurons.max(1) * self.steps.max(1)) as f64,
        };
        let layers = stats.then(|| self.statistics.layers.iter().map(layer).collect());
        AnswerReport { timesteps: self.timesteps, samples: only, outputs, layers }
    }
}

fn best(potentials: &[f32], top: usize) -> Vec<ClassPotential> {
    let mut order: Vec<usize> = (0..potentials.len()).collect();
    order.sort_by(|&a, &b| potentials[b].total_cmp(&potentials[a]).then(a.cmp(&b)));
    order.into_iter().take(top).map(|class| ClassPotential { class, potential: potentials[class] }).collect()
}

impl Answer {
    fn to_text(&self, shape: &[usize]) -> String {
        match self {
            Answer::Classes(classes) => {
                let classes: Vec<String> = classes.iter().map(|c| format!("class {} ({:.4})", c.class, c.potential)).collect();
                classes.join(", ")
            }
            Answer::Values(values) => {
                let printed: Vec<String> = values.iter().take(PRINTED).map(|&v| significant(f64::from(v))).collect();
                let more = if values.len() > PRINTED { format!(", .. ({} values)", values.len()) } else { String::new() };
                let shape = if values.len() == 1 { String::new() } else { format!("[{}] ", Dims(shape)) };
                format!("{shape}{}{more}", printed.join(", "))
            }
        }
    }
}

impl AnswerReport {
    /// The report for people.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        let samples = self.outputs.first().map_or(0, |(_, o)| o.samples.len());
        for i in 0..samples {
            for (name, output) in &self.outputs {
                let answer = output.samples[i].to_text(&output.shape);
                let name = if self.outputs.len() > 1 { format!(", {name}") } else { String::new() };
                text += &format!("sample {i}{name}: {answer}\n");
            }
        }
        if let Some(layers) = &self.layers {
            let columns = [
                ("layer", Align::Left),
                ("neurons", Align::Right),
                ("spikes/sample", Align::Right),
                ("SynOps/sample", Align::Right),
                ("mean rate", Align::Right),
            ];
            let row = |l: &LayerActivity| {
                let counts = [l.spikes_per_sample, l.synops_per_sample].map(|c| format!("{c:.1}"));
                let [spikes, synops] = counts;
                vec![l.name.clone(), l.neurons.to_string(), spikes, synops, format!("{:.4}", l.rate)]
            };
            if !text.is_empty() {
                text.push('\n');
            }
            text += &table(&columns, &layers.iter().map(row).collect::<Vec<_>>());
        }
        text
    }
}
