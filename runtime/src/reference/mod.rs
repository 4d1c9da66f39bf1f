//! The interpreter: the oracle that everything faster must equal.
//!
//! It executes the graph as the definition reads, one node after the other and every node through
//! all steps before the next, which in a feed-forward graph is the same as step by step. The prefix
//! runs once a window.

mod body;
mod population;
mod running_max;

use crate::dense::Number;
use crate::engine::plan::PlanSummary;
use crate::engine::{self, Engine};
use crate::error::{CompileError, RunError};
use crate::prefix::Prefix;
use crate::spikes::statistics::Statistics;
use body::{Body, BodyNumber, State};
use snn_ir::Graph;

/// A graph in execution order.
pub(crate) struct Program {
    prefix: Prefix,
    body: Numbers<Body<f32>, Body<i32>>,
    /// Elements of the largest value.
    widest: u64,
}

/// One thing for each kind of number.
enum Numbers<R, I> {
    Real(R),
    Integer(I),
}

impl Program {
    pub(crate) fn compile(graph: &Graph) -> Result<Program, CompileError> {
        let prefix = Prefix::compile(graph)?;
        let body = if graph.is_quantized() {
            Numbers::Integer(Body::compile(graph, &prefix)?)
        } else {
            Numbers::Real(Body::compile(graph, &prefix)?)
        };
        let widest = graph.ids().map(|id| graph.ty(id).len()).max().unwrap_or(0) as u64;
        Ok(Program { prefix, body, widest })
    }
}

impl Engine for Program {
    fn machine(&self) -> Box<dyn engine::Machine + '_> {
        Box::new(Machine::new(self))
    }

    fn plan(&self) -> Option<PlanSummary> {
        None
    }

    /// It has 64 bits.
    fn max_steps(&self) -> u32 {
        u32::MAX
    }

    /// The values of two nodes are kept for the whole window where neurons wait for it.
    fn window_memory(&self, steps: u32) -> u64 {
        let whole = match &self.body {
            Numbers::Real(body) => body.keeps_whole_windows(),
            Numbers::Integer(body) => body.keeps_whole_windows(),
        };
        if whole { self.widest.saturating_mul(u64::from(steps)).saturating_mul(8) } else { 0 }
    }
}

/// The state of a [`Program`] on one sample.
struct Machine<'n> {
    prefix: &'n Prefix,
    body: Numbers<Running<'n, f32>, Running<'n, i32>>,
}

/// A body and its state.
struct Running<'n, N: Number> {
    body: &'n Body<N>,
    state: State<N>,
}

impl<'n, N: BodyNumber> Running<'n, N> {
    fn new(body: &'n Body<N>) -> Self {
        Running { body, state: body.state(Vec::new()) }
    }
}

/// The same expression for either kind of number.
macro_rules! either {
    ($machine:expr, ($body:ident, $state:ident) => $e:expr) => {
        match $machine {
            Numbers::Real(Running { body: $body, state: $state }) => $e,
            Numbers::Integer(Running { body: $body, state: $state }) => $e,
        }
    };
}

impl<'n> Machine<'n> {
    fn new(program: &'n Program) -> Self {
        let body = match &program.body {
            Numbers::Real(body) => Numbers::Real(Running::new(body)),
            Numbers::Integer(body) => Numbers::Integer(Running::new(body)),
        };
        Machine { prefix: &program.prefix, body }
    }
}

impl engine::Machine for Machine<'_> {
    fn start(&mut self, inputs: &[&[f32]]) {
        let front = self.prefix.run(inputs);
        either!(&mut self.body, (body, state) => *state = body.state(front))
    }

    fn advance(&mut self, steps: u32) {
        either!(&mut self.body, (body, state) => body.advance(state, steps as usize))
    }

    fn settle(&mut self, window: u32, most: u32) -> Result<u32, RunError> {
        Ok(either!(&mut self.body, (body, state) => body.settle(state, window, most)))
    }

    fn potentials(&self, steps: u32) -> Vec<Vec<f32>> {
        either!(&self.body, (body, state) => body.potentials(state, steps))
    }

    fn statistics(&self) -> &Statistics {
        either!(&self.body, (_body, state) => &state.statistics)
    }

    fn spike_counts(&self, layer: usize) -> Option<Vec<i64>> {
        either!(&self.body, (body, state) => body.membranes(state, layer).map(|m| m.count.clone()))
    }

    fn membranes(&self, layer: usize) -> Option<Vec<f64>> {
        either!(&self.body, (body, state) => body.membranes(state, layer).map(|m| m.to_f64()))
    }
}
