//! The JIT engine where values are bytes: networks all of whose neurons are two-phase, and networks
//! of multi-lane and ternary neurons.
//!
//! **Window counts** ([`super::windows`]). After a window barrier only sums over the window
//! matter, and everything between two populations is linear or a maximum, which commutes with the
//! sum ([`crate::engine::sums`]). A neuron's count is `clip(floor((Σ W·count + T·(steady current +
//! bias) + v(0)) / θ), 0, T)`, so the network runs once a window on counts, whatever T is, instead
//! of T times on spikes. Longer windows than [`NARROW`], windows in which the compiler has not
//! proved that potentials fit 32 bits, and what has no kernel are computed in 64 bits.
//!
//! **Steps** ([`super::steps`]). Neurons that send several quanta a step, or take one back, send a
//! byte a step. The same kernels run once a step, and potentials stay from step to step. Where
//! quanta are taken back, a byte is one more than they are, so that it is not negative; what the
//! weights make of that one is known beforehand, borders included
//! ([`layer::CountSynapse::silence`]).
//!
//! Bytes lie in padded planes ([`layout`]), and convolutions are matrix products of bytes with
//! 32-bit sums ([`layer`], [`crate::kernels::counted`]).

mod copies;
pub mod layer;
pub mod layout;
pub mod maxima;
mod show;

use crate::engine::plan::node::PlanNode;
use crate::engine::plan::rewrite::{join_moves, sum_up_what_is_read_out, users};
use crate::engine::plan::{Domain, Mode, PlanSummary, Work, nodes};
use crate::engine::{Engine, Machine, steps, windows};
use crate::error::CompileError;
use crate::kernels::KernelSet;
use crate::kernels::counted;
use crate::kernels::stepped::Stepped;
use crate::layout::lanes;
use crate::prefix::Prefix;
use crate::spikes::populations::Populations;
use copies::Copies;
use layer::CountLayer;
use layout::Layout;
use maxima::Maxima;
use snn_ir::Graph;
use snn_ir::bounds::Bounds;

/// Longest window whose counts are bytes.
pub(super) const NARROW: u32 = 255;

/// How a node runs on bytes.
#[derive(Debug)]
pub(super) enum Fast {
    Layer(CountLayer),
    Maxima(Maxima),
    Copies(Copies),
}

/// The neurons of a layer.
#[derive(Debug)]
pub(super) enum Neurons {
    Windows(counted::Neurons),
    Steps(Stepped),
}

/// A graph ready to run on bytes.
pub(crate) struct Program {
    pub(super) domain: Domain,
    pub(super) nodes: Vec<PlanNode>,
    pub(super) outputs: Vec<usize>,
    pub(super) prefix: Prefix,
    pub(super) kernels: &'static KernelSet,
    /// The byte of silence.
    pub(super) zero: u8,
    /// Longest window in which no potential leaves 32 bits.
    pub(super) max_steps: u32,
    /// Per node: how large its current may get in a step.
    pub(super) largest: Vec<i64>,
    /// Per node: where its bytes lie, if it is bytes.
    pub(super) layouts: Vec<Option<Layout>>,
    /// Per node: how it runs on bytes, if there are kernels for it.
    pub(super) fast: Vec<Option<Fast>>,
    /// Per node: its neurons.
    pub(super) neurons: Vec<Option<Neurons>>,
    pub(super) populations: Populations,
}

impl Program {
    /// Compiles a graph whose neurons are of `domain`.
    pub(crate) fn compile(graph: &Graph, domain: Domain, kernels: &'static KernelSet) -> Result<Program, CompileError> {
        let prefix = Prefix::compile(graph)?;
        let bounds = Bounds::new(graph)?;
        let mut nodes = nodes(graph, &prefix, domain)?;
        if domain == Domain::Steps {
            join_moves(&mut nodes);
            let users = users(&nodes);
            sum_up_what_is_read_out(&mut nodes, &users);
        }
        let largest = |n: &PlanNode| bounds.current(n.id).map_or(i64::MAX, |(low, high)| high.max(low.saturating_neg()));
        let mode = if domain == Domain::Steps { Mode::Stepped } else { Mode::Summed };
        let in_bytes = |n: &PlanNode| n.is_spikes() && n.mode == mode;
        let mut readers: Vec<Vec<usize>> = vec![Vec::new(); nodes.len()];
        for (i, node) in nodes.iter().enumerate() {
            node.operands.iter().for_each(|&o| readers[o].push(i));
        }
        readers.iter_mut().for_each(Vec::dedup);
        let layouts: Vec<Option<Layout>> = (0..nodes.len())
            .map(|i| in_bytes(&nodes[i]).then(|| Layout::new(&nodes[i], readers[i].iter().map(|&n| &nodes[n]), i)))
            .collect();
        let zero = u8::from(nodes.iter().filter_map(|n| n.neuron()).any(|n| n.dynamics.firing.may_retract()));
        let fast = |(i, node): (usize, &PlanNode)| match &node.work {
            _ if node.mode != mode => None,
            Work::Layer(work) => CountLayer::new(node, work, &nodes, &layouts, (domain, zero)).map(Fast::Layer),
            Work::MaxPool(_) | Work::Maximum => Maxima::new(i, &nodes, &layouts).map(Fast::Maxima),
            Work::Structural(map) => Copies::new(map, i, &nodes, &layouts).map(Fast::Copies),
            _ => None,
        };
        let neurons = |node: &PlanNode| {
            let (neuron, threshold, lanes) = (node.neuron()?, node.neuron()?.threshold.values(), lanes(node.channels));
            match domain {
                Domain::Windows => Some(Neurons::Windows(counted::Neurons::new(threshold, node.channels, lanes))),
                _ => Stepped::new(threshold, node.channels, lanes, neuron.dynamics, zero).map(Neurons::Steps),
            }
        };
        Ok(Program {
            outputs: graph.outputs().iter().map(|&o| nodes.iter().position(|n| n.id == o).unwrap_or_default()).collect(),
            max_steps: bounds.max_steps(),
            largest: nodes.iter().map(largest).collect(),
            fast: nodes.iter().enumerate().map(fast).collect(),
            neurons: nodes.iter().map(neurons).collect(),
            populations: Populations::new(graph, &nodes.iter().map(|n| n.id).collect::<Vec<_>>())?,
            domain,
            prefix,
            kernels,
            zero,
            layouts,
            nodes,
        })
    }
}

impl Engine for Program {
    fn machine(&self) -> Box<dyn Machine + '_> {
        match self.domain {
            Domain::Windows => Box::new(windows::Machine::new(self)),
            Domain::Bits | Domain::Steps => Box::new(steps::Machine::new(self)),
        }
    }

    fn plan(&self) -> Option<PlanSummary> {
        Some(self.summary())
    }

    fn max_steps(&self) -> u32 {
        match self.domain {
            // Beyond the proof they have 64 bits.
            Domain::Windows => u32::MAX,
            Domain::Bits | Domain::Steps => self.max_steps,
        }
    }
}
