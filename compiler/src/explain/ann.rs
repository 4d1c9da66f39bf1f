//! The ANN that a spiking network was compiled from.

use super::ExplainError;
use crate::passes::Report;
use crate::passes::canonicalize::canonicalize;
use snn_ir::op::Relu;
use snn_ir::{Graph, NodeId, Op};
use snn_runtime::analog::AnalogNetwork;
use std::collections::HashMap;

/// The ANN, ready to be run; its rectifiers have the names of the neurons that stand for them.
pub struct Ann {
    network: AnalogNetwork,
    rectifiers: HashMap<String, Rectifier>,
    output: usize,
}

struct Rectifier {
    current: NodeId,
    cap: Option<f32>,
}

/// What the ANN makes of one sample.
pub struct AnnRun {
    /// The value before each rectifier, by its name.
    pub currents: HashMap<String, Vec<f32>>,
    /// The output that is explained.
    pub output: Vec<f32>,
}

impl Ann {
    /// Prepares the imported `graph`, of which output `output` counts.
    ///
    /// # Errors
    /// When it cannot be executed.
    pub fn new(mut graph: Graph, output: usize) -> Result<Self, ExplainError> {
        canonicalize(&mut graph, &mut Report::default())?;
        let rectifier = |id| match graph.op(id) {
            Op::Relu(Relu { cap, .. }) => {
                Some((graph.node(id).name().to_string(), Rectifier { current: graph.operands(id)[0], cap: *cap }))
            }
            _ => None,
        };
        let rectifiers = graph.topological()?.into_iter().filter_map(rectifier).collect();
        let network = AnalogNetwork::new(&graph)?;
        Ok(Ann { network, rectifiers, output })
    }

    /// Runs one sample.
    pub fn run(&self, sample: &[&[f32]]) -> AnnRun {
        let mut names: HashMap<NodeId, Vec<&String>> = HashMap::new();
        self.rectifiers.iter().for_each(|(name, r)| names.entry(r.current).or_default().push(name));
        let mut currents = HashMap::new();
        let mut outputs = self.network.run(sample, &mut |id, value| {
            for &name in names.get(&id).into_iter().flatten() {
                currents.insert(name.clone(), value.to_vec());
            }
        });
        AnnRun { currents, output: outputs.swap_remove(self.output) }
    }

    /// Whether there is a rectifier of this name, and the upper bound of its activation if it has one.
    pub fn cap(&self, name: &str) -> Option<Option<f32>> {
        self.rectifiers.get(name).map(|r| r.cap)
    }

    /// The activation of the rectifier of this name.
    pub fn activation<'a>(&self, run: &'a AnnRun, name: &str) -> Option<impl ExactSizeIterator<Item = f32> + use<'a>> {
        let cap = self.cap(name)?.unwrap_or(f32::INFINITY);
        Some(run.currents.get(name)?.iter().map(move |x| x.clamp(0.0, cap)))
    }
}
