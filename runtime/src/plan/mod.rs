//! From a graph to what an engine does, in order: which nodes run when, with which kernel, in which memory.
//!
//! The engine lives off four facts (`ir`'s crate documentation):
//! * What depends on the input alone is the same in every step, so it is computed once a window ([`Mode::Constant`]).
//! * What is linear and only read out commutes with the sum over time, so it is computed on spike counts, once an
//!   advance ([`Mode::Summed`]).
//! * In a feed-forward graph a layer may run many steps before the next layer starts. The engine runs layer by layer
//!   over a *chunk* of up to [`MAX_CHUNK`] steps; only membranes persist between chunks, so memory does not grow with T.
//! * Integers do not care about the order of additions, so kernels are free.
//!
//! Spikes are bit masks `[pixel][step][channel]` ([`mask_bytes`] per pixel and step), currents are `i32` in the same
//! order with channels padded to [`lanes`].

mod domain;
pub mod geometry;
pub mod kernel;
pub mod matrix;
pub mod memory;
pub mod node;
mod rate;
pub mod rewrite;
mod show;
pub mod synapse;
pub mod table;

use crate::cost_model::{CostModel, Costs, has_choice};
use crate::error::CompileError;
use crate::front_end::FrontEnd;
use crate::kernels::Cpu;
pub use domain::Domain;
use kernel::LayerPlan;
use memory::{Buffer, allocate};
pub use node::{Mode, PlanNode, Work};
pub use show::{PlanSummary, PlannedNode};
use snn_ir::{Graph, NodeId};
use std::collections::HashMap;

/// Most steps that run layer by layer before the next ones start.
pub const MAX_CHUNK: usize = 32;

/// Transient memory that the plan stays below by running fewer steps at a time, where it can.
const TRANSIENT_LIMIT: usize = 12 << 20;

/// Most bytes of an arena; kernels' offsets are 32 bits.
const ARENA_LIMIT: usize = 1 << 31;

/// Steps of a chunk where memory allows it: those of the window that the network was compiled for, so that what is computed together
/// lies together.
fn longest_chunk(graph: &Graph) -> usize {
    graph.timesteps.map_or(MAX_CHUNK, |steps| (steps as usize).clamp(1, MAX_CHUNK).next_power_of_two())
}

/// Bytes of the spike mask of one pixel in one step.
pub fn mask_bytes(channels: usize) -> usize {
    match channels {
        0..=16 => 2,
        17..=32 => 4,
        _ => channels.div_ceil(64) * 8,
    }
}

/// Channels of a current row, padded to whole 512-bit vectors.
pub fn lanes(channels: usize) -> usize {
    channels.next_multiple_of(16)
}

/// The nodes of `graph` in execution order, for an engine in `domain`.
///
/// # Errors
/// The first node that has no integer form, and why.
pub fn nodes(graph: &Graph, front_end: &FrontEnd, domain: Domain) -> Result<Vec<PlanNode>, CompileError> {
    let order = graph.topological()?;
    let at: HashMap<NodeId, usize> = order.iter().enumerate().map(|(i, &id)| (id, i)).collect();
    let mut nodes: Vec<PlanNode> = Vec::with_capacity(order.len());
    for &id in &order {
        let operands = graph.operands(id).iter().map(|o| at[o]).collect();
        let refuse = |why| CompileError::Node { node: graph.node(id).name().to_string(), op: graph.op(id).name(), why };
        nodes.push(PlanNode::new(graph, front_end, id, operands, &nodes, domain).map_err(refuse)?);
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
    /// What the kernels were chosen for.
    pub cpu: Cpu,
    /// What they cost there; nothing where there is no choice.
    pub costs: Option<Costs>,
}

impl Plan {
    /// Plans `graph` for `cpu`, where kernels cost what `model` says.
    ///
    /// # Errors
    /// The first node the engine cannot run, and why; a model without costs for `cpu`.
    pub fn new(graph: &Graph, front_end: &FrontEnd, cpu: Cpu, model: &CostModel) -> Result<Plan, CompileError> {
        let costs = model.costs(cpu).cloned();
        if costs.is_none() && has_choice(cpu) {
            return Err(CompileError::Costs(cpu));
        }
        let mut nodes = nodes(graph, front_end, Domain::Bits)?;
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
            cpu,
            costs,
            nodes,
        };
        loop {
            plan.lay_out(&users);
            if plan.arena - plan.persistent <= TRANSIENT_LIMIT || plan.chunk == 1 {
                break;
            }
            plan.chunk /= 2;
        }
        match plan.nodes.iter().max_by_key(|n| n.len()) {
            Some(largest) if plan.arena > ARENA_LIMIT => Err(CompileError::Node {
                node: largest.name.clone(),
                op: graph.op(largest.id).name(),
                why: format!("the network needs {} bytes of buffers, the JIT engine has at most {ARENA_LIMIT}", plan.arena),
            }),
            _ => Ok(plan),
        }
    }

    /// Indices of stepped nodes, in order.
    pub fn stepped(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.nodes.len()).filter(|&i| self.nodes[i].mode == Mode::Stepped)
    }

    /// Chooses kernels and gives every buffer its place, for the current chunk.
    fn lay_out(&mut self, users: &[Vec<usize>]) {
        let mut state = Vec::new();
        let mut transient = Vec::new();
        let stepped: Vec<usize> = self.stepped().collect();
        let mut values = vec![None; self.nodes.len()];
        for &i in &stepped {
            let node = &self.nodes[i];
            let last = users[i].iter().copied().filter(|&u| self.nodes[u].mode == Mode::Stepped).max().unwrap_or(i);
            values[i] = Some(transient.len());
            transient.push(memory::Request { first: i, last, bytes: self.value_bytes(node) });
        }
        let mut layers: Vec<Option<LayerPlan>> = self.nodes.iter().map(|_| None).collect();
        for &i in &stepped {
            let node = &self.nodes[i];
            let mut persist = |bytes: usize| {
                state.push(memory::Request { first: 0, last: 0, bytes });
                state.len() - 1
            };
            if matches!(node.work, Work::Layer(_)) {
                let mut scratch = |bytes: usize| {
                    transient.push(memory::Request { first: i, last: i, bytes });
                    transient.len() - 1
                };
                layers[i] = Some(LayerPlan::new(self, i, &mut persist, &mut scratch));
            }
        }
        let (state, persistent) = allocate(&state, 0);
        let (transient, arena) = allocate(&transient, persistent);
        self.values = values.iter().map(|v| v.map(|v: usize| transient[v])).collect();
        layers.iter_mut().flatten().for_each(|l| l.place(&state, &transient));
        self.layers = layers;
        (self.persistent, self.arena) = (persistent, arena);
    }

    fn value_bytes(&self, node: &PlanNode) -> usize {
        node.pixels * self.pixel_bytes(node)
    }

    /// Bytes of a chunk of one pixel of a stepped node's value.
    pub fn pixel_bytes(&self, node: &PlanNode) -> usize {
        self.chunk * if node.is_spikes() { mask_bytes(node.channels) } else { 4 * lanes(node.channels) }
    }
}
