//! The JIT engine: quantized networks as machine code for this CPU.
//!
//! [`crate::engine::plan`] decides what runs when, with which kernel, in which memory; [`layer`]
//! lowers each layer to one Cranelift function with its shapes, strides and offsets as constants,
//! generic over Cranelift's `Module`; [`code`] owns the machine code. The inner pieces are
//! micro-kernels in `crate::kernels`, called by symbol, or, where the CPU has no more than 128-bit
//! vectors, [`portable`] Cranelift code. What remains, moving elements and pooling, is done by
//! [`machine`] itself.
//!
//! What the JIT buys is constants in the loop nest, a fixed memory plan and fused layers; the time
//! goes into the kernels.
//!
//! ## Kernels
//!
//! A layer's function lists taps, calls one kernel per synapse, and ends with the neurons, for a
//! few neighbouring pixels at a time through all steps of a chunk. Spikes through a full matrix of
//! weights are either *events* (for every set bit add a row of weights, so the time grows with the
//! rate) or a *matrix product* of the spikes as bytes (steps × taps by taps × outputs, at any
//! rate), whichever [`crate::engine::plan`]'s cost table says is cheaper. With AMX the product is:
//! it takes 64 taps of 16 steps to 16 outputs in 16 cycles, which event lists match only below
//! rates of a few percent. Products start from the bias and the constant currents, a scaled
//! residual is added while the neurons integrate, so currents are written and read once. Sums of
//! integers do not depend on order: all of this is bit for bit what the reference engine does.
//!
//! The engine runs binary neurons on integers. Other firing modes are for [`crate::engine::bytes`],
//! networks that are not quantized for the reference engine: compiling says so.

mod arena;
pub mod code;
mod emit;
#[cfg(any(test, debug_assertions))]
mod guards;
pub mod layer;
pub mod machine;
mod pixels;
pub mod portable;
mod rows;
mod wired;

use crate::cost::CostModel;
use crate::engine::plan::layer::{Execution, LayerPlan};
use crate::engine::plan::{Mode, Plan, PlanSummary, Work};
use crate::engine::{self, Engine};
use crate::error::CompileError;
use crate::kernels::KernelSet;
use crate::kernels::moves::SpikeMoves;
use crate::kernels::table::TableLayer;
use crate::prefix::Prefix;
use crate::spikes::populations::Populations;
use code::Code;
pub(crate) use machine::Machine;
use snn_ir::Graph;
use snn_ir::bounds::Bounds;

/// A graph as machine code.
pub(crate) struct Program {
    plan: Plan,
    /// Longest window in which no potential leaves 32 bits.
    max_steps: u32,
    prefix: Prefix,
    code: Code,
    /// Per node: its tables, for layers by table look-up.
    tables: Vec<Option<TableLayer>>,
    /// Per node: how its elements move, for stepped structural operations on spikes.
    moves: Vec<Option<SpikeMoves>>,
    populations: Populations,
}

impl Program {
    pub(crate) fn compile(graph: &Graph, kernels: &'static KernelSet, costs: &CostModel) -> Result<Program, CompileError> {
        let prefix = Prefix::compile(graph)?;
        let max_steps = Bounds::new(graph)?.max_steps();
        let plan = Plan::new(graph, &prefix, kernels, costs)?;
        let code = Code::compile(&plan).map_err(CompileError::Code)?;
        let tables = (0..plan.nodes.len())
            .map(|i| match (&plan.layers[i], &plan.nodes[i].work) {
                (Some(LayerPlan { execution: Execution::Table(table), .. }), Work::Layer(work)) => table.layer(&plan, i, work),
                _ => None,
            })
            .collect();
        let moves = plan
            .nodes
            .iter()
            .map(|node| match &node.work {
                Work::Structural(map) if node.mode == Mode::Stepped && node.is_spikes() => {
                    let operands: Vec<_> = node.operands.iter().map(|&o| plan.nodes[o].extent()).collect();
                    Some(SpikeMoves::new(map, &operands, node.channels))
                }
                _ => None,
            })
            .collect();
        let populations = Populations::new(graph, &plan.nodes.iter().map(|n| n.id).collect::<Vec<_>>())?;
        Ok(Program { max_steps, prefix, code, tables, moves, populations, plan })
    }

    pub(crate) fn plan(&self) -> &Plan {
        &self.plan
    }
}

impl Engine for Program {
    fn machine(&self) -> Box<dyn engine::Machine + '_> {
        Box::new(Machine::new(self))
    }

    fn plan(&self) -> Option<PlanSummary> {
        Some(self.plan.summary())
    }

    fn max_steps(&self) -> u32 {
        self.max_steps
    }
}
