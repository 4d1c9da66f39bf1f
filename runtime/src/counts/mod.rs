//! The JIT engine in the count domain: networks all of whose neurons are two-phase.
//!
//! Behind a window barrier only sums over the window matter, and everything between two populations is linear or a maximum, which
//! commutes with the sum ([`crate::sums`]). A neuron's count is `clip(floor((Σ W·count + T·(steady current + bias) + v(0)) / θ), 0, T)`,
//! so the network runs once a window on counts, whatever T is, instead of T times on spikes.
//!
//! Counts of up to [`NARROW`] steps are bytes in padded planes ([`layout`]), and convolutions matrix products of bytes with 32-bit sums
//! ([`layer`], [`crate::kernels::counted`]). Longer windows, windows in which the compiler has not proved that potentials fit 32 bits, and
//! what has no kernel are computed in 64 bits.

mod layer;
mod layout;
mod machine;
mod show;

use crate::error::CompileError;
use crate::front_end::FrontEnd;
use crate::kernels::Cpu;
use crate::kernels::count::Crossings;
use crate::plan::node::PlanNode;
use crate::plan::{Mode, Work, nodes};
use crate::statistics::{LayerStatistics, Statistics};
use crate::synapses::{is_population, spike_sources};
use layer::{Copies, CountLayer, Maxima};
use layout::Layout;
pub(crate) use machine::Machine;
use snn_ir::bounds::Bounds;
use snn_ir::op::{Firing, Layer};
use snn_ir::{Graph, Op};

/// Longest window whose counts are bytes.
const NARROW: u32 = 255;

/// Whether a graph is integers, has neurons, all of them are two-phase, and no answer depends on when spikes come.
pub(crate) fn applies_to(graph: &Graph) -> bool {
    let mut firings = graph.ids().filter_map(|id| match graph.op(id) {
        Op::If(neuron) | Op::Layer(Layer { neuron: Some(neuron), .. }) => Some(neuron.firing),
        _ => None,
    });
    let delayed = graph.ids().any(|id| matches!(graph.op(id), Op::Readout { delay: 1.., .. }));
    graph.is_quantized() && !delayed && firings.next() == Some(Firing::TwoPhase) && firings.all(|f| f == Firing::TwoPhase)
}

/// How a node runs on bytes.
#[derive(Debug)]
enum Fast {
    Layer(CountLayer),
    Maxima(Maxima),
    Copies(Copies),
}

/// A graph ready to run on counts.
pub(crate) struct Program {
    nodes: Vec<PlanNode>,
    outputs: Vec<usize>,
    front_end: FrontEnd,
    cpu: Cpu,
    /// Longest window in which no potential leaves 32 bits.
    max_steps: u32,
    /// Per node: how large its current may get in a step.
    largest: Vec<i64>,
    /// Per node: where its counts lie, if it is counts.
    layouts: Vec<Option<Layout>>,
    /// Per node: how it runs on bytes, if there are kernels for it.
    fast: Vec<Option<Fast>>,
    sources: Vec<Source>,
    /// Zero counts of every population.
    statistics: Statistics,
    /// Nodes of the populations, as in `statistics`.
    populations: Vec<usize>,
}

/// A node whose spikes are counted.
struct Source {
    node: usize,
    population: usize,
    /// Whether it is the population itself, and not a max-pool behind it.
    own: bool,
    crossings: Crossings,
}

impl Program {
    pub(crate) fn compile(graph: &Graph, cpu: Cpu) -> Result<Program, CompileError> {
        let front_end = FrontEnd::compile(graph)?;
        let bounds = Bounds::new(graph)?;
        let nodes = nodes(graph, &front_end, Firing::TwoPhase)?;
        let largest = |n: &PlanNode| bounds.current(n.id).map_or(i64::MAX, |(low, high)| high.max(low.saturating_neg()));
        let counted = |n: &PlanNode| n.mode == Mode::Summed && n.ty.signal == snn_ir::Signal::Spikes;
        let layouts: Vec<Option<Layout>> = (0..nodes.len())
            .map(|i| counted(&nodes[i]).then(|| Layout::new(&nodes[i], nodes.iter().filter(|n| n.operands.contains(&i)), i)))
            .collect();
        let fast = |(i, node): (usize, &PlanNode)| match &node.work {
            _ if node.mode != Mode::Summed => None,
            Work::Layer(work) => CountLayer::new(node, work, &nodes, &layouts).map(Fast::Layer),
            Work::MaxPool(_) | Work::Maximum => Maxima::new(i, &nodes, &layouts).map(Fast::Maxima),
            Work::Structural(map) => Copies::new(map, i, &nodes, &layouts).map(Fast::Copies),
            _ => None,
        };
        let fast = nodes.iter().enumerate().map(fast).collect();
        let at = |id| nodes.iter().position(|n| n.id == id).unwrap_or_default();
        let sources = spike_sources(graph)?
            .into_iter()
            .map(|s| Source {
                node: at(s.node),
                population: s.population,
                own: is_population(graph.op(s.node)),
                crossings: Crossings::new(&s.synapses, nodes[at(s.node)].channels),
            })
            .collect();
        let populations: Vec<usize> = (0..nodes.len()).filter(|&i| is_population(graph.op(nodes[i].id))).collect();
        let layer = |&i: &usize| LayerStatistics { name: nodes[i].name.clone(), neurons: nodes[i].len() as u64, spikes: 0, synops: 0 };
        let statistics = Statistics { layers: populations.iter().map(layer).collect() };
        Ok(Program {
            outputs: graph.outputs().iter().map(|&o| at(o)).collect(),
            max_steps: bounds.max_steps(),
            largest: nodes.iter().map(largest).collect(),
            front_end,
            cpu,
            layouts,
            fast,
            sources,
            statistics,
            populations,
            nodes,
        })
    }
}
