//! From a graph to what an engine does, in order: which nodes run when, with which kernel, in which
//! memory.
//!
//! The engine lives off four facts (`ir`'s crate documentation):
//! * What depends on the input alone is the same in every step, so it is computed once a window
//!   ([`Mode::Constant`]).
//! * What is linear and only read out commutes with the sum over time, so it is computed on spike
//!   counts, once an advance ([`Mode::Summed`]).
//! * In a feed-forward graph a layer may run many steps before the next layer starts. The engine
//!   runs layer by layer over a *chunk* of up to [`MAX_CHUNK`] steps; only membranes persist
//!   between chunks, so memory does not grow with T.
//! * Integers do not care about the order of additions, so kernels are free.
//!
//! Spikes are bit masks `[pixel][step][channel]` ([`mask_bytes`] per pixel and step), currents are
//! `i32` in the same order with channels padded to [`lanes`].

mod domain;
pub mod geometry;
pub mod kernel;
pub mod layer;
pub mod matrix;
pub mod memory;
pub mod node;
mod rate;
pub mod rewrite;
mod show;
pub mod synapse;
pub mod table;

use crate::cost::{CostModel, Costs, has_choice};
use crate::error::CompileError;
use crate::kernels::KernelSet;
use crate::layout::{MAX_CHUNK, Size, lanes, mask_bytes};
use crate::prefix::Prefix;
pub use domain::Domain;
use layer::LayerPlan;
use memory::{ARENA_LIMIT, Buffer, Requests, Slot, TooLarge};
pub use node::{Mode, PlanNode, Work};
pub use show::{PlanSummary, PlannedNode};
use snn_ir::{Graph, NodeId};
use std::collections::HashMap;

/// Transient memory that the plan stays below by running fewer steps at a time, where it can.
const TRANSIENT_LIMIT: usize = 12 << 20;

/// Steps of a chunk where memory allows it: those of the window that the network was compiled for,
/// so that what is computed together lies together.
fn longest_chunk(graph: &Graph) -> usize {
    graph.timesteps.map_or(MAX_CHUNK, |steps| (steps as usize).clamp(1, MAX_CHUNK).next_power_of_two())
}

/// The nodes of `graph` in execution order, for an engine in `domain`.
///
/// # Errors
/// The first node that has no integer form, and why.
pub fn nodes(graph: &Graph, prefix: &Prefix, domain: Domain) -> Result<Vec<PlanNode>, CompileError> {
    let order = graph.topological()?;
    let at: HashMap<NodeId, usize> = order.iter().enumerate().map(|(i, &id)| (id, i)).collect();
    let mut nodes: Vec<PlanNode> = Vec::with_capacity(order.len());
    for &id in &order {
        let operands = graph.operands(id).iter().map(|o| at[o]).collect();
        let refuse = |why| CompileError::Node { node: graph.node(id).name().to_string(), op: graph.op(id).name(), why };
        nodes.push(PlanNode::new(graph, prefix, id, operands, &nodes, domain).map_err(refuse)?);
    }
    Ok(nodes)
}

/// What a session does, in order.
#[derive(Debug)]
pub struct Plan {
    /// The graph's nodes in topological order.
    pub nodes: Vec<PlanNode>,
    /// Output nodes in the order of [`Graph::outputs`].
    pub outputs: Vec<usize>,
    /// Steps per chunk.
    pub chunk: usize,
    /// Per node: where its value lives in the arena (stepped nodes).
    pub values: Vec<Option<Buffer>>,
    /// Per node: how it runs, for stepped layers.
    pub layers: Vec<Option<LayerPlan>>,
    /// Per node: whether its sum over time is needed.
    pub summed_over: Vec<bool>,
    /// Bytes of the arena; the first [`Plan::persistent`] of them hold state.
    pub arena: usize,
    /// Bytes of state at the start of the arena.
    pub persistent: usize,
    /// The kernels that are chosen among.
    pub kernels: &'static KernelSet,
    /// What they cost; nothing where there is no choice.
    pub costs: Option<Costs>,
}

impl Plan {
    /// Plans `graph` for `kernels`, which cost what `model` says.
    ///
    /// # Errors
    /// The first node the engine cannot run, and why; a model without costs for the kernels.
    pub fn new(graph: &Graph, prefix: &Prefix, kernels: &'static KernelSet, model: &CostModel) -> Result<Plan, CompileError> {
        let costs = model.costs(kernels.cpu).cloned();
        if costs.is_none() && has_choice(kernels.cpu) {
            return Err(CompileError::Costs(kernels.cpu));
        }
        let mut nodes = nodes(graph, prefix, Domain::Bits)?;
        let at: HashMap<NodeId, usize> = nodes.iter().enumerate().map(|(i, n)| (n.id, i)).collect();
        rewrite::join_moves(&mut nodes);
        let users = rewrite::users(&nodes);
        rewrite::sum_up_what_is_read_out(&mut nodes, &users);
        let summed_over =
            (0..nodes.len()).map(|i| nodes[i].mode == Mode::Stepped && users[i].iter().any(|&u| nodes[u].mode == Mode::Summed)).collect();
        let mut plan = Plan {
            outputs: graph.outputs().iter().map(|o| at[o]).collect(),
            // The base of a scheduled layer is written anew for every step.
            chunk: if nodes.iter().any(|n| !n.schedule().is_empty()) { 1 } else { longest_chunk(graph) },
            values: vec![None; nodes.len()],
            layers: nodes.iter().map(|_| None).collect(),
            summed_over,
            arena: 0,
            persistent: 0,
            kernels,
            costs,
            nodes,
        };
        loop {
            match plan.lay_out(&users) {
                Ok(()) if plan.arena - plan.persistent <= TRANSIENT_LIMIT || plan.chunk == 1 => return Ok(plan),
                Err(TooLarge { node }) if plan.chunk == 1 => {
                    let node = &plan.nodes[node];
                    return Err(CompileError::Node {
                        node: node.name.clone(),
                        op: graph.op(node.id).name(),
                        why: format!(
                            "the network needs more buffers than the {ARENA_LIMIT} bytes that the JIT engine has, most of them here; \
                             use --engine reference"
                        ),
                    });
                }
                _ => plan.chunk /= 2,
            }
        }
    }

    /// Indices of stepped nodes, in order.
    pub fn stepped(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.nodes.len()).filter(|&i| self.nodes[i].mode == Mode::Stepped)
    }

    /// Chooses kernels and gives every buffer its place, for the current chunk.
    ///
    /// # Errors
    /// When they do not fit an arena.
    fn lay_out(&mut self, users: &[Vec<usize>]) -> Result<(), TooLarge> {
        let mut requests = Requests::default();
        let mut values = vec![None; self.nodes.len()];
        for i in self.stepped() {
            let last = users[i].iter().copied().filter(|&u| self.nodes[u].mode == Mode::Stepped).max().unwrap_or(i);
            values[i] = Some(requests.until(i, last, self.value_bytes(&self.nodes[i])));
        }
        let mut layer = |node: &PlanNode, i: usize| match &node.work {
            Work::Layer(work) if node.mode == Mode::Stepped => Some(LayerPlan::new(self, i, work, &mut requests)),
            _ => None,
        };
        let layers: Vec<Option<LayerPlan<Slot>>> = self.nodes.iter().enumerate().map(|(i, node)| layer(node, i)).collect();
        let places = requests.place()?;
        self.values = values.into_iter().map(|v: Option<Slot>| v.map(|slot| places.at(slot))).collect();
        self.layers = layers.into_iter().map(|l| l.map(|l| l.placed(&places))).collect();
        (self.persistent, self.arena) = (places.persistent, places.arena);
        Ok(())
    }

    fn value_bytes(&self, node: &PlanNode) -> Size {
        Size::product([node.pixels, self.pixel_bytes(node)])
    }

    /// The bytes after the buffers of layer `i` that it may not write, [`memory::GUARD`] each:
    /// where they begin.
    #[cfg(any(test, debug_assertions))]
    pub fn guards(&self, i: usize) -> Vec<usize> {
        let values = self.nodes[i].operands.iter().chain([&i]).filter_map(|&o| self.values[o]);
        let scratch = self.layers[i].iter().flat_map(LayerPlan::buffers);
        values.chain(scratch).map(|b| b.end()).collect()
    }

    /// Bytes of a chunk of one pixel of a stepped node's value.
    pub fn pixel_bytes(&self, node: &PlanNode) -> usize {
        self.chunk * if node.is_spikes() { mask_bytes(node.channels) } else { 4 * lanes(node.channels) }
    }
}
