//! The prefix of a spiking network: everything that depends on the input alone and keeps no state.
//! Its currents are the same in every step, so every engine computes them here, once a window, in
//! `f32`; in an integer network [`Op::Encode`] ends it. One code for all engines is what lets them
//! agree bit for bit after it.

use crate::dense::{Kernel, WindowMax};
use crate::error::CompileError;
use crate::kernels::encode;
use snn_ir::{Graph, NodeId, Op, Signal, TensorData};
use std::collections::HashMap;

/// A current that does not change.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum SteadyCurrent {
    Real(Vec<f32>),
    Integer(Vec<i32>),
}

enum Action {
    Input(usize),
    Constant(SteadyCurrent),
    Kernel(Kernel<f32>),
    /// The step-to-step difference of the maximum of `t·x` is the maximum of `x`.
    WindowMax(WindowMax),
    Maximum,
    Encode {
        scale: Vec<f32>,
        limit: i32,
    },
}

struct Step {
    action: Action,
    operands: Vec<usize>,
    len: usize,
    integer: bool,
}

/// The prefix of a graph, compiled.
pub(crate) struct Prefix {
    steps: Vec<Step>,
    /// The nodes in it and their steps.
    members: HashMap<NodeId, usize>,
    /// Steps whose values the rest of the network uses, and where each is among them.
    results: Vec<usize>,
    result_of: HashMap<NodeId, usize>,
}

impl Prefix {
    /// Finds and compiles the prefix of a spiking graph.
    pub fn compile(graph: &Graph) -> Result<Prefix, CompileError> {
        let inputs = graph.inputs();
        let mut prefix = Prefix { steps: Vec::new(), members: HashMap::new(), results: Vec::new(), result_of: HashMap::new() };
        for id in graph.topological()? {
            let (op, ty) = (graph.op(id), graph.ty(id));
            let refuse = |why: &str| CompileError::Node { node: graph.node(id).name().into(), op: op.name(), why: why.into() };
            if ty.signal == Signal::Analog {
                return Err(refuse("an analog operation in a spiking network"));
            }
            if ty.signal == Signal::Potential && !matches!(op, Op::Readout { .. }) {
                return Err(refuse("nothing can follow a readout"));
            }
            let operands: Vec<NodeId> = graph.operands(id);
            let steps: Option<Vec<usize>> = operands.iter().map(|o| prefix.members.get(o).copied()).collect();
            let real = |steps: &Vec<usize>| steps.iter().all(|&s| !prefix.steps[s].integer);
            let Some(steps) = steps.filter(real).filter(|_| has_no_state(op)) else {
                if matches!(op, Op::Encode { .. }) {
                    return Err(refuse("comes after neurons or integers, where currents are integers already"));
                }
                for operand in operands {
                    if let Some(&step) = prefix.members.get(&operand) {
                        let next = prefix.results.len();
                        if *prefix.result_of.entry(operand).or_insert(next) == next {
                            prefix.results.push(step);
                        }
                    }
                }
                continue;
            };
            let shapes: Vec<&[usize]> = operands.iter().map(|&o| graph.ty(o).shape.as_slice()).collect();
            let action = match op {
                Op::Input(..) => Action::Input(inputs.iter().position(|&i| i == id).unwrap_or_default()),
                Op::Constant(_, value) => Action::Constant(match value.data() {
                    TensorData::F32(data) => SteadyCurrent::Real(data.to_vec()),
                    _ => SteadyCurrent::Integer(value.to_i32_vec().unwrap_or_default()),
                }),
                Op::CumulativeMaxPool(window) => Action::WindowMax(WindowMax::new(window, shapes[0], &ty.shape)),
                Op::CumulativeMax => Action::Maximum,
                Op::Encode { scale, limit } => Action::Encode { scale: scale.expanded(&ty.shape), limit: *limit },
                _ => Action::Kernel(Kernel::new(op, &shapes, &ty.shape).map_err(refuse)?),
            };
            let integer = matches!(action, Action::Encode { .. } | Action::Constant(SteadyCurrent::Integer(_)));
            prefix.members.insert(id, prefix.steps.len());
            prefix.steps.push(Step { action, operands: steps, len: ty.len(), integer });
        }
        Ok(prefix)
    }

    /// Whether `id` is in the prefix, so that an engine has nothing more to do for it.
    pub fn contains(&self, id: NodeId) -> bool {
        self.members.contains_key(&id)
    }

    /// Where the current of prefix node `id` is among the results of [`Prefix::run`], when a node
    /// outside uses it.
    pub fn result_of(&self, id: NodeId) -> Option<usize> {
        self.result_of.get(&id).copied()
    }

    /// Whether the current of prefix node `id` is an integer one.
    pub fn is_integer(&self, id: NodeId) -> bool {
        self.members.get(&id).is_some_and(|&s| self.steps[s].integer)
    }

    /// Computes the currents that the rest of the network uses.
    pub fn run(&self, inputs: &[&[f32]]) -> Vec<SteadyCurrent> {
        let mut values: Vec<SteadyCurrent> = Vec::with_capacity(self.steps.len());
        for step in &self.steps {
            let operands: Vec<&[f32]> = step
                .operands
                .iter()
                .filter_map(|&o| match &values[o] {
                    SteadyCurrent::Real(x) => Some(x.as_slice()),
                    SteadyCurrent::Integer(_) => None,
                })
                .collect();
            let value = match &step.action {
                Action::Constant(value) => value.clone(),
                Action::Encode { scale, limit } => SteadyCurrent::Integer(encode(operands[0], scale, *limit)),
                Action::Input(i) => SteadyCurrent::Real(inputs[*i].to_vec()),
                Action::Kernel(kernel) => SteadyCurrent::Real(filled(step.len, |out| kernel.run(&operands, out))),
                Action::WindowMax(max) => SteadyCurrent::Real(filled(step.len, |out| max.run(f32::NEG_INFINITY, operands[0], out))),
                Action::Maximum => SteadyCurrent::Real(filled(step.len, |out| {
                    out.copy_from_slice(operands[0]);
                    operands[1..].iter().for_each(|x| out.iter_mut().zip(*x).for_each(|(o, &x)| *o = o.max(x)));
                })),
            };
            values.push(value);
        }
        self.results.iter().map(|&s| std::mem::replace(&mut values[s], SteadyCurrent::Real(Vec::new()))).collect()
    }
}

fn has_no_state(op: &Op) -> bool {
    !op.is_population() && !matches!(op, Op::Readout { .. })
}

fn filled(len: usize, fill: impl FnOnce(&mut [f32])) -> Vec<f32> {
    let mut out = vec![0.0; len];
    fill(&mut out);
    out
}
