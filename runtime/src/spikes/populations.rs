//! Whose spikes an engine counts, and for whom.

use crate::error::CompileError;
use crate::kernels::count::Crossings;
use crate::spikes::statistics::{LayerStatistics, Statistics};
use crate::spikes::synapses::spike_sources;
use snn_ir::{Graph, NodeId};
use std::collections::HashMap;

/// The populations of a network and all that sends spikes.
pub(crate) struct Populations {
    /// Nodes of the populations, in the order of [`Statistics::layers`].
    pub nodes: Vec<usize>,
    /// Nodes whose spikes are counted.
    pub sources: Vec<Source>,
    /// Zero counts of every population.
    pub none: Statistics,
}

/// A node whose spikes are counted.
pub(crate) struct Source {
    /// The node.
    pub node: usize,
    /// The population that they are counted for.
    population: usize,
    /// Whether it is the population itself, and not a max-pool after it.
    pub own: bool,
    /// The synapses they cross.
    pub crossings: Crossings,
}

impl Populations {
    /// The populations of `graph`, whose nodes run in this order.
    pub fn new(graph: &Graph, order: &[NodeId]) -> Result<Self, CompileError> {
        let places: HashMap<NodeId, usize> = order.iter().enumerate().map(|(i, &id)| (id, i)).collect();
        let at = |id| places.get(&id).copied().unwrap_or_default();
        let channels = |id| graph.ty(id).shape.first().copied().unwrap_or(1);
        let source = |s: crate::spikes::synapses::SpikeSource| Source {
            node: at(s.node),
            population: s.population,
            own: graph.op(s.node).is_population(),
            crossings: Crossings::new(&s.synapses, channels(s.node)),
        };
        let populations: Vec<usize> = (0..order.len()).filter(|&i| graph.op(order[i]).is_population()).collect();
        let layer = |&i: &usize| {
            let (name, neurons) = (graph.node(order[i]).name().to_string(), graph.ty(order[i]).len() as u64);
            LayerStatistics { name, neurons, spikes: 0, synops: 0 }
        };
        Ok(Populations {
            sources: spike_sources(graph)?.into_iter().map(source).collect(),
            none: Statistics { layers: populations.iter().map(layer).collect() },
            nodes: populations,
        })
    }

    /// Writes what was counted for each source, spikes and synaptic operations, to `statistics`.
    pub fn book(&self, counted: impl Iterator<Item = (u64, u64)>, statistics: &mut Statistics) {
        statistics.layers.iter_mut().for_each(|l| (l.spikes, l.synops) = (0, 0));
        for (source, (spikes, synops)) in self.sources.iter().zip(counted) {
            let layer = &mut statistics.layers[source.population];
            layer.spikes += if source.own { spikes } else { 0 };
            layer.synops += synops;
        }
    }
}
