//! Whole-graph invariants: what every pass must keep and every engine may rely on.

use crate::attr::Attr;
use crate::bounds::{Bounds, BoundsError};
use crate::graph::{Graph, GraphError, NodeId};
use crate::infer::{TypeError, infer};
use crate::limits::{Bytes, Limits, Needs};
use crate::neuron::{Amplitude, Neuron};
use crate::op::{Divisor, Op};
use crate::signal::{Signal, ValueType};
use std::collections::HashSet;
use thiserror::Error;

/// The invariant that a graph breaks, and the node that breaks it.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum VerifyError {
    /// The graph has a cycle.
    #[error(transparent)]
    Cycle(GraphError),
    /// A node's operation does not fit its operands.
    #[error("node `{name}` ({op}): {source}")]
    Type {
        /// The node.
        name: String,
        /// Its operation.
        op: &'static str,
        /// What does not fit.
        source: TypeError,
    },
    /// A node's stored type is not the one its operation gives: some pass forgot to infer types anew.
    #[error("node `{name}` ({op}) is stored as {stored}, but gives {inferred}")]
    StaleType {
        /// The node.
        name: String,
        /// Its operation.
        op: &'static str,
        /// The type in the graph.
        stored: ValueType,
        /// The type of the operation's result.
        inferred: ValueType,
    },
    /// The graph has no output.
    #[error("the graph has no output")]
    NoOutput,
    /// An output is not a node of the graph.
    #[error("output {0} is not a node of the graph")]
    MissingOutput(usize),
    /// An operation of the ANN was not converted.
    #[error("{name} ({op}) is analog in a spiking graph")]
    Analog {
        /// The node.
        name: String,
        /// Its operation.
        op: &'static str,
    },
    /// An output of a spiking graph that is not read out.
    #[error("output {name} ({op}) of a spiking graph is {got}, not a potential: a readout is missing")]
    NoReadout {
        /// The node.
        name: String,
        /// Its operation.
        op: &'static str,
        /// What it is.
        got: ValueType,
    },
    /// A parameter is infinite or not a number.
    #[error("{name} ({op}): {parameter} is not finite")]
    NotFinite {
        /// The node.
        name: String,
        /// Its operation.
        op: &'static str,
        /// The parameter or attribute.
        parameter: String,
    },
    /// A parameter's element type does not fit the graph's arithmetic.
    #[error("{name} ({op}): {parameter} holds {got} elements, but {expected} are needed here")]
    ElementType {
        /// The node.
        name: String,
        /// Its operation.
        op: &'static str,
        /// The parameter.
        parameter: String,
        /// Its element type.
        got: &'static str,
        /// What is needed, in words.
        expected: &'static str,
    },
    /// An operation of a quantized graph that does not compute in integers.
    #[error("{name} ({op}) in a quantized graph: {reason}")]
    NotInteger {
        /// The node.
        name: String,
        /// Its operation.
        op: &'static str,
        /// Why not.
        reason: &'static str,
    },
    /// An operation on integers in a graph that has none.
    #[error("{name} ({op}): it takes bits off integers, and this graph is not quantized")]
    Real {
        /// The node.
        name: String,
        /// Its operation.
        op: &'static str,
    },
    /// An integer may overflow within the window the graph is for.
    #[error(transparent)]
    Overflow(#[from] BoundsError),
    /// More memory than the network may take.
    #[error(
        "the network needs up to {} of memory, which is more than {}; most of it is for {name} ({op}). \
         --max-memory allows more",
        Bytes(*needs),
        Bytes(*limit)
    )]
    Memory {
        /// The node that needs most.
        name: String,
        /// Its operation.
        op: &'static str,
        /// Bytes that the network needs at most.
        needs: u64,
        /// Bytes that it may need.
        limit: u64,
    },
    /// More work than a step may take.
    #[error(
        "a time step of the network takes up to {needs:.1e} operations, which is more than {limit:.1e}; most of them are for \
         {name} ({op}). --max-memory allows more in proportion",
        needs = *needs as f64,
        limit = *limit as f64
    )]
    Work {
        /// The node that needs most.
        name: String,
        /// Its operation.
        op: &'static str,
        /// Operations of a step, at most.
        needs: u64,
        /// Operations that it may take.
        limit: u64,
    },
}

/// Checks every invariant of the graph:
/// * it is acyclic, has outputs, and they are nodes of the graph;
/// * every node's type is the one its operation gives;
/// * it is all analog or all temporal, and the outputs of a spiking graph are potentials;
/// * parameters are finite, and floats, unless the graph is quantized;
/// * a quantized graph (see [`Graph::is_quantized`]) computes in integers from `encode` on, its spikes have amplitude one,
///   and no integer leaves 32 bits within its window (see [`Bounds`]).
///
/// How much the network needs is not among them: see [`verify_within`].
///
/// # Errors
/// The first broken invariant, naming the node.
pub fn verify(graph: &Graph) -> Result<(), VerifyError> {
    check(graph, None)
}

/// [`verify`], and that the network does not need more than `limits` allow (see [`crate::limits`]): what files from
/// elsewhere must pass before an engine takes memory for them. Nothing is allocated here that a file's numbers could make large.
///
/// # Errors
/// As [`verify`]; [`VerifyError::Memory`] and [`VerifyError::Work`], naming the node that needs most.
pub fn verify_within(graph: &Graph, limits: &Limits) -> Result<(), VerifyError> {
    check(graph, Some(limits))
}

fn check(graph: &Graph, limits: Option<&Limits>) -> Result<(), VerifyError> {
    let order = graph.topological().map_err(VerifyError::Cycle)?;
    if graph.outputs().is_empty() {
        return Err(VerifyError::NoOutput);
    }
    if let Some(i) = graph.outputs().iter().position(|&o| !graph.contains(o)) {
        return Err(VerifyError::MissingOutput(i));
    }
    check_types(graph, &order)?;
    if let Some(limits) = limits {
        check_needs(graph, limits)?;
    }
    check_signals(graph, &order)?;
    order.iter().try_for_each(|&id| check_finite(graph, id))?;
    if !graph.is_quantized() {
        if let Some(&id) = order.iter().find(|&&id| matches!(graph.op(id), Op::Requantize(_))) {
            let (name, op) = label(graph, id);
            return Err(VerifyError::Real { name, op });
        }
        return order.iter().try_for_each(|&id| check_elements(graph, id, false));
    }
    check_integers(graph, &order)?;
    Ok(Bounds::new(graph)?.check_window(graph.timesteps.unwrap_or(1))?)
}

fn label(graph: &Graph, id: NodeId) -> (String, &'static str) {
    (graph.node(id).name().to_string(), graph.op(id).name())
}

fn analog(graph: &Graph, id: NodeId) -> VerifyError {
    let (name, op) = label(graph, id);
    VerifyError::Analog { name, op }
}

fn check_types(graph: &Graph, order: &[NodeId]) -> Result<(), VerifyError> {
    for &id in order {
        let operands = graph.operands(id);
        let types: Vec<&ValueType> = operands.iter().map(|&o| graph.ty(o)).collect();
        let (name, op) = label(graph, id);
        match infer(graph.op(id), &types) {
            Ok(inferred) if inferred == *graph.ty(id) => {}
            Ok(inferred) => return Err(VerifyError::StaleType { name, op, stored: graph.ty(id).clone(), inferred }),
            // What the user has to hear is which operation of the ANN was left over.
            Err(TypeError::MixedSignals) => {
                let culprit = operands.iter().find(|&&o| graph.ty(o).signal == Signal::Analog).copied();
                return Err(analog(graph, culprit.unwrap_or(id)));
            }
            Err(TypeError::Signal { got, .. }) if got.signal.is_temporal() && graph.ty(id).signal == Signal::Analog => {
                return Err(VerifyError::Analog { name, op });
            }
            Err(source) => return Err(VerifyError::Type { name, op, source }),
        }
    }
    Ok(())
}

fn check_needs(graph: &Graph, limits: &Limits) -> Result<(), VerifyError> {
    let (needs, most) = Needs::of(graph);
    let label = |id: Option<NodeId>| id.map_or((String::new(), ""), |id| label(graph, id));
    if needs.memory > limits.memory {
        let (name, op) = label(most[0]);
        return Err(VerifyError::Memory { name, op, needs: needs.memory, limit: limits.memory });
    }
    if needs.work > limits.work {
        let (name, op) = label(most[1]);
        return Err(VerifyError::Work { name, op, needs: needs.work, limit: limits.work });
    }
    Ok(())
}

fn check_signals(graph: &Graph, order: &[NodeId]) -> Result<(), VerifyError> {
    if !order.iter().any(|&id| graph.ty(id).signal.is_temporal()) {
        return Ok(());
    }
    if let Some(&id) = order.iter().find(|&&id| graph.ty(id).signal == Signal::Analog) {
        return Err(analog(graph, id));
    }
    match graph.outputs().iter().find(|&&o| graph.ty(o).signal != Signal::Potential) {
        None => Ok(()),
        Some(&o) => {
            let (name, op) = label(graph, o);
            Err(VerifyError::NoReadout { name, op, got: graph.ty(o).clone() })
        }
    }
}

/// The first float attribute that is no usable number. Only the bounds of `clip` may be infinite.
fn bad_float(op: &str, attributes: &[(String, Attr)]) -> Option<String> {
    attributes.iter().find_map(|(key, value)| {
        let bad = match value {
            Attr::Float(f) => f.is_nan() || (f.is_infinite() && op != "clip"),
            Attr::Tensor(t) => !t.is_finite(),
            Attr::Call(inner, attributes) => return bad_float(inner, &attributes.0).map(|k| format!("{key}.{k}")),
            Attr::List(items) => {
                let named = |i| format!("{}{i}", key.trim_end_matches('s'));
                return items.iter().enumerate().find_map(|(i, item)| bad_float(op, &[(named(i), item.clone())]));
            }
            Attr::Int(_) | Attr::Word(_) | Attr::Dims(_) | Attr::Ints(_) => false,
        };
        bad.then(|| key.clone())
    })
}

fn check_finite(graph: &Graph, id: NodeId) -> Result<(), VerifyError> {
    let (name, op) = label(graph, id);
    match bad_float(op, &graph.op(id).attributes().0) {
        None => Ok(()),
        Some(parameter) => Err(VerifyError::NotFinite { name, op, parameter }),
    }
}

fn check_elements(graph: &Graph, id: NodeId, integers: bool) -> Result<(), VerifyError> {
    match graph.op(id).parameters().into_iter().find(|(_, t)| t.is_integer() != integers) {
        None => Ok(()),
        Some((parameter, t)) => {
            let (name, op) = label(graph, id);
            let expected = if integers { "integers" } else { "floats" };
            Err(VerifyError::ElementType { name, op, parameter, got: t.element_type().name(), expected })
        }
    }
}

/// In a quantized graph the prefix, which depends on the input alone and has no neurons, is real; `encode` makes its
/// currents integers, and everything after it computes in integers.
fn check_integers(graph: &Graph, order: &[NodeId]) -> Result<(), VerifyError> {
    let mut real: HashSet<NodeId> = HashSet::new();
    for &id in order {
        let op = graph.op(id);
        let fail = |reason| {
            let (name, op) = label(graph, id);
            Err(VerifyError::NotInteger { name, op, reason })
        };
        let operands = graph.operands(id);
        let real_operands = operands.iter().filter(|&o| real.contains(o)).count();
        match op {
            Op::Input(..) => {
                real.insert(id);
            }
            Op::Constant(_, value) if !value.is_integer() => {
                real.insert(id);
            }
            Op::Encode { .. } if real_operands == 0 => return fail("its operand is an integer already"),
            Op::Encode { .. } => check_elements(graph, id, false)?,
            _ if real_operands == 0 => match integer_obstacle(op) {
                Some(reason) => return fail(reason),
                // The readout's scale leads back to real units.
                None => check_elements(graph, id, !matches!(op, Op::Readout { .. }))?,
            },
            Op::Requantize(_) if real_operands > 0 => return fail("it takes bits off integers, and its operand is real"),
            _ if real_operands == operands.len() && !op.is_population() && !matches!(op, Op::Readout { .. }) => {
                check_elements(graph, id, false)?;
                real.insert(id);
            }
            _ => return fail("it computes on values that `encode` has not made integers"),
        }
    }
    Ok(())
}

/// Why `op` does not stay within the integers, whatever its parameters.
fn integer_obstacle(op: &Op) -> Option<&'static str> {
    let amplitude = |n: &Neuron| (n.amplitude != Amplitude::One).then_some("the amplitude of its spikes is not one");
    match op {
        Op::AvgPool(p) if p.divisor != Divisor::One => Some("an average is no integer; only a sum is"),
        Op::Reduce(r) if r.mean => Some("a mean is no integer; only a sum is"),
        Op::BatchNorm(_) => Some("a batch normalisation is real"),
        Op::Pad(p) if p.value.fract() != 0.0 => Some("its padding is no integer"),
        Op::If(n) => amplitude(n),
        Op::Layer(l) => l.synapses.iter().find_map(integer_obstacle).or_else(|| l.neuron.as_ref().and_then(amplitude)),
        _ => None,
    }
}
