//! Scalar functions that exporters write out node by node: GELU by Erf, SiLU as `x · sigmoid(x)`, hard swish, Mish.
//!
//! A step such as [Erf](https://onnx.ai/onnx/operators/onnx__Erf.html) alone, or the product of a value with a function
//! of itself, has no node of its own in the graph. The importer carries it as a function of one value until what it has
//! gathered equals, number by number, a function that the graph knows. That does not depend on the order in which an
//! exporter writes the steps.

use super::error::Refusal;
use super::importer::{Importer, Mark, Runtime, Value};
use super::node::NodeView;
use super::registry::{Fidelity, OpSpec};
use snn_ir::op::{Relu, Scale};
use snn_ir::{Activation, NodeId, Op};
use std::rc::Rc;

const fn spec(name: &'static str, inputs: (usize, usize)) -> OpSpec {
    OpSpec {
        name,
        since: 7,
        inputs,
        fidelity: Fidelity::Approximated,
        becomes: "part of the activation it is a step of; its value on constants",
        limits: "as a step of GELU, SiLU, hard swish, Mish, sigmoid, ..",
        lower: lower_or_fold,
    }
}

/// The operators of this family.
pub const OPS: &[OpSpec] =
    &[spec("Erf", (1, 1)), spec("Pow", (2, 2)), spec("Exp", (1, 1)), spec("Log", (1, 1)), spec("Sqrt", (1, 1)), spec("Reciprocal", (1, 1))];

/// A function of one number.
pub type Scalar = Rc<dyn Fn(f64) -> f64>;

/// Most operations that one evaluation of a function may take. GELU, the longest of the known ones,
/// is written with about twenty; `y = x · x`, over and over, doubles them with every step.
const MOST_OPERATIONS: usize = 96;

/// The ONNX node that a function began with.
#[derive(Debug)]
pub struct Origin {
    /// Its name.
    pub node: String,
    /// Its operator.
    pub op: String,
    /// The tensor that it reads.
    pub tensor: String,
}

/// A function of the value of `root` that the graph does not have yet.
#[derive(Clone)]
pub struct Function {
    /// The value it is a function of.
    pub root: NodeId,
    /// The function.
    pub apply: Scalar,
    /// The node that it began with.
    pub origin: Rc<Origin>,
    /// How often an evaluation reads the value.
    reads: usize,
    /// Operations of an evaluation.
    operations: usize,
}

impl Origin {
    /// Why the node is refused when `reader`, by name and operator, or an output, reads what it began.
    pub fn refusal(&self, reader: Option<(&str, &str)>) -> Refusal {
        let end = match reader {
            Some((name, _)) if name == self.node => "it is none by itself".to_string(),
            Some((name, op)) => format!("`{name}` ({op}) makes something else of it"),
            None => "it is an output".to_string(),
        };
        Refusal::with_way_out(
            format!(
                "{} of a computed value is converted as a step of an activation only (GELU, SiLU, softplus, hard swish, ..), and {end}; \
                 exponentials, powers, products of activations, softmax and attention inside a network have no spiking form",
                self.op
            ),
            format!(
                "end the model at `{}`, the tensor before it, or use an activation and layers with constant weights there",
                self.tensor
            ),
        )
    }
}

impl Function {
    /// The value of `root` itself, as `node` reads it.
    fn of(root: NodeId, origin: &Rc<Origin>) -> Self {
        Function { root, apply: Rc::new(|x| x), origin: origin.clone(), reads: 1, operations: 0 }
    }

    /// The same of what `inner` makes of another value, `root`.
    fn after(&self, inner: Scalar, root: NodeId) -> Self {
        let apply = self.apply.clone();
        let operations = self.operations.saturating_add(self.reads);
        Function { root, apply: Rc::new(move |x| apply(inner(x))), operations, ..self.clone() }
    }

    /// One more step.
    fn then(&self, step: impl Fn(f64) -> f64 + 'static) -> Self {
        let apply = self.apply.clone();
        Function { apply: Rc::new(move |x| step(apply(x))), operations: self.operations + 1, ..self.clone() }
    }

    /// A step, the node `here`, that joins it with another function of the same value.
    fn joined(&self, other: &Function, step: fn(f64, f64) -> f64, here: &Rc<Origin>) -> Self {
        let (left, right) = (self.apply.clone(), other.apply.clone());
        let earlier = if Rc::ptr_eq(&self.origin, here) { other } else { self };
        Function {
            apply: Rc::new(move |x| step(left(x), right(x))),
            origin: earlier.origin.clone(),
            reads: self.reads.saturating_add(other.reads),
            operations: self.operations.saturating_add(other.operations).saturating_add(1),
            ..self.clone()
        }
    }
}

fn erf(x: f64) -> f64 {
    // Φ, which the graph's GELU has, is (1 + erf(x/√2)) / 2.
    if x == 0.0 { 0.0 } else { 2.0 * gelu_f64(x * std::f64::consts::SQRT_2) / (x * std::f64::consts::SQRT_2) - 1.0 }
}

fn gelu_f64(x: f64) -> f64 {
    f64::from(Activation::Gelu.apply(x as f32, 0.0))
}

/// What one more step makes of a number.
fn unary(op: &str) -> Option<fn(f64) -> f64> {
    Some(match op {
        "Erf" => erf,
        "Exp" => f64::exp,
        "Log" => f64::ln,
        "Sqrt" => f64::sqrt,
        "Reciprocal" => f64::recip,
        "Neg" => |x| -x,
        "Tanh" => f64::tanh,
        "Sigmoid" => |x| 1.0 / (1.0 + (-x).exp()),
        "Softplus" => |x: f64| x.max(0.0) + (-x.abs()).exp().ln_1p(),
        "Identity" | "Dropout" | "Cast" => |x| x,
        _ => return None,
    })
}

/// What a step makes of two numbers.
fn binary(op: &str) -> Option<fn(f64, f64) -> f64> {
    Some(match op {
        "Add" | "Sum" => |a, b| a + b,
        "Sub" => |a, b| a - b,
        "Mul" => |a, b| a * b,
        "Div" => |a, b| a / b,
        "Pow" => f64::powf,
        _ => return None,
    })
}

fn lower_or_fold(imp: &mut Importer, node: &NodeView) -> Result<Vec<Value>, Refusal> {
    let op = node.proto.op_type.as_str();
    match (node.all_constant().as_deref(), unary(op), binary(op)) {
        (Some([Some(c)]), Some(f), _) => Ok(vec![super::fold::map(c, |v| f(f64::from(v)) as f32)?.into()]),
        (Some([Some(a), Some(b)]), _, Some(f)) => {
            super::fold::accumulate(&[Some(a), Some(b)], |x, y| f(f64::from(x), f64::from(y)) as f32, |x, y| f(x as f64, y as f64) as i64)
        }
        _ => combine(imp, node),
    }
}

/// The function a node of the graph computes of its only operand, when that is one for all elements.
fn of_node(op: &Op) -> Option<Scalar> {
    let scalar = |t: &Option<snn_ir::Tensor>, default: f64| match t {
        None => Some(default),
        Some(t) if t.len() == 1 => Some(f64::from(t.as_f32()[0])),
        Some(_) => None,
    };
    match op {
        Op::Identity => Some(Rc::new(|x| x)),
        Op::Scale(Scale { weight, bias }) => {
            let (w, b) = (scalar(weight, 1.0)?, scalar(bias, 0.0)?);
            Some(Rc::new(move |x| w * x + b))
        }
        Op::Relu(Relu { cap, .. }) => {
            let cap = cap.map_or(f64::INFINITY, f64::from);
            Some(Rc::new(move |x| x.max(0.0).min(cap)))
        }
        Op::Activation(Activation::PRelu(_)) => None,
        Op::Activation(a) => {
            let a = a.clone();
            Some(Rc::new(move |x| f64::from(a.apply(x as f32, 0.0))))
        }
        _ => None,
    }
}

/// `x` as a function of the nearest value that it is known to be one of, which may be itself.
fn nearest(imp: &Importer, x: NodeId, origin: &Rc<Origin>) -> Function {
    match imp.marks.get(&x) {
        Some(Mark::Function(f)) => f.clone(),
        _ => Function::of(x, origin),
    }
}

/// The values that `x` is a function of, nearest first, each with the function.
fn sources(imp: &Importer, x: NodeId, origin: &Rc<Origin>) -> Vec<Function> {
    let mut list = vec![nearest(imp, x, origin)];
    while list.len() < 16 {
        let last = &list[list.len() - 1];
        let Some(inner) = of_node(imp.graph.op(last.root)) else { break };
        list.push(last.after(inner, imp.graph.operands(last.root)[0]));
    }
    list
}

/// Points where functions are compared.
fn points() -> impl Iterator<Item = f64> {
    (-64..=64).map(|i| f64::from(i) / 8.0 + 0.01)
}

/// `factor · activation(inner · x)` when that is what the function computes.
fn recognise(f: &Scalar) -> Option<(f64, Activation, f64)> {
    let known = [
        Activation::Sigmoid,
        Activation::Tanh,
        Activation::Silu,
        Activation::Gelu,
        Activation::GeluTanh,
        Activation::HardSwish,
        Activation::Mish,
        Activation::Softplus,
        Activation::Softsign,
        Activation::Abs,
    ];
    let values: Vec<(f64, f64)> = points().map(|x| (x, f(x))).collect();
    if values.iter().any(|v| !v.1.is_finite()) {
        return None;
    }
    for activation in known {
        // 1.702 is the logistic approximation of GELU.
        for inner in [1.0, 1.702] {
            let g = |x: f64| f64::from(activation.apply((x * inner) as f32, 0.0));
            let &(at, there) = values.iter().max_by(|a, b| g(a.0).abs().total_cmp(&g(b.0).abs()))?;
            let factor = there / g(at);
            let tolerance = 2e-6 * there.abs();
            if factor != 0.0 && values.iter().all(|&(x, v)| (v - factor * g(x)).abs() <= tolerance.max(1e-6 * factor.abs())) {
                return Some((factor, activation, inner));
            }
        }
    }
    None
}

/// Builds the function as nodes when it is a known one, else as a placeholder that later steps extend.
fn place(imp: &mut Importer, like: &Runtime, f: Function) -> Result<Runtime, Refusal> {
    let at_root = Runtime { node: f.root, ..like.clone() };
    let one = (points().zip(points().map(|x| (f.apply)(x)))).all(|(x, y)| x == y);
    if one {
        return Ok(at_root);
    }
    if let Some((factor, activation, inner)) = recognise(&f.apply) {
        let inside = if inner == 1.0 { at_root } else { imp.times(&at_root, inner as f32)? };
        let y = imp.unary(&inside, Op::Activation(activation))?;
        // A factor within rounding of one is one.
        let factor = if (factor - 1.0).abs() < 2e-6 { 1.0 } else { factor as f32 };
        return if factor == 1.0 { Ok(y) } else { imp.times(&y, factor) };
    }
    let placeholder = imp.unary(&at_root, Op::Identity)?;
    imp.marks.insert(placeholder.node, Mark::Function(f));
    Ok(placeholder)
}

/// One more step on functions of one value.
///
/// # Errors
/// When the step is not pointwise, or joins different values.
pub fn combine(imp: &mut Importer, node: &NodeView) -> Result<Vec<Value>, Refusal> {
    let op = node.proto.op_type.as_str();
    let two_values = || {
        Refusal::with_way_out(
            "it combines two computed values other than by adding or comparing, which neurons do not do",
            "use layers with constant weights",
        )
    };
    let unknown = || -> Refusal { "it continues a scalar function that is none of the known activations".into() };
    let numbers = |x: &Runtime, c: &super::constant::Constant| -> Result<f64, Refusal> {
        let shape = super::constant::broadcast_shapes(&x.shape, &c.shape)?;
        c.uniform().filter(|_| shape == x.shape).map(f64::from).ok_or_else(unknown)
    };
    let computed = |v: &Option<Value>| matches!(v, Some(Value::Runtime(_)));
    let tensor = node.proto.input.iter().zip(&node.inputs).find(|(_, v)| computed(v)).map(|(name, _)| name.clone());
    let tensor = tensor.unwrap_or_default();
    let origin = Rc::new(Origin { node: imp.name.clone(), op: op.to_string(), tensor });
    let given: Vec<&Value> = node.inputs.iter().flatten().collect();
    let (like, f) = match given[..] {
        [Value::Runtime(x)] => {
            let step = unary(op).ok_or_else(unknown)?;
            (x, nearest(imp, x.node, &origin).then(step))
        }
        [Value::Runtime(x), Value::Constant(c)] => {
            let (step, c) = (binary(op).ok_or_else(unknown)?, numbers(x, c)?);
            (x, nearest(imp, x.node, &origin).then(move |v| step(v, c)))
        }
        [Value::Constant(c), Value::Runtime(x)] => {
            let (step, c) = (binary(op).ok_or_else(unknown)?, numbers(x, c)?);
            (x, nearest(imp, x.node, &origin).then(move |v| step(c, v)))
        }
        [Value::Runtime(x), Value::Runtime(y)] => {
            let step = binary(op).ok_or_else(unknown)?;
            let (left, right) = (sources(imp, x.node, &origin), sources(imp, y.node, &origin));
            let common = left.iter().find_map(|l| right.iter().find(|r| r.root == l.root).map(|r| (l, r)));
            let (l, r) = common.filter(|_| x.shape == y.shape && x.batch == y.batch).ok_or_else(two_values)?;
            (x, l.joined(r, step, &origin))
        }
        _ => return Err(unknown()),
    };
    if f.operations > MOST_OPERATIONS {
        return Err(format!(
            "it continues a scalar function of more than {MOST_OPERATIONS} operations, which is none of the known activations"
        )
        .into());
    }
    let like = like.clone();
    Ok(vec![place(imp, &like, f)?.into()])
}
