//! Linear layers: [Gemm](https://onnx.ai/onnx/operators/onnx__Gemm.html),
//! [MatMul](https://onnx.ai/onnx/operators/onnx__MatMul.html).

use super::constant::Constant;
use super::error::Refusal;
use super::importer::{Importer, Runtime, Value};
use super::node::NodeView;
use super::registry::{Fidelity, OpSpec};
use snn_ir::op::Linear;
use snn_ir::{Op, Tensor};

/// The operators of this family.
pub const OPS: &[OpSpec] = &[
    OpSpec {
        name: "Gemm",
        since: 7,
        inputs: (2, 3),
        fidelity: Fidelity::Exact,
        becomes: "`linear`",
        limits: "one factor must be constant",
        lower: gemm,
    },
    OpSpec {
        name: "MatMul",
        since: 1,
        inputs: (2, 2),
        fidelity: Fidelity::Exact,
        becomes: "`linear`",
        limits: "one factor must be a constant matrix or vector",
        lower: mat_mul,
    },
    OpSpec {
        name: "Einsum",
        since: 12,
        inputs: (1, 2),
        fidelity: Fidelity::Exact,
        becomes: "`linear`, `scale`, `reduce` and `transpose`",
        limits: "one computed operand, no ellipsis, no diagonal",
        lower: super::einsum::einsum,
    },
];

/// `x · weightᵀ + bias` along the last ONNX axis; `weight` is `[out, in]`.
///
/// # Errors
/// When the shapes do not fit.
pub fn linear(imp: &mut Importer, x: &Runtime, weight: Tensor, bias: Option<Tensor>) -> Result<Runtime, Refusal> {
    let Some(last) = x.rank().checked_sub(1) else { return Err("it needs at least one axis".into()) };
    let mut result = imp.free_axis(x, last)?;
    let out = weight.shape()[0];
    result.node = imp.emit(Op::Linear(Linear { weight, bias }), &[result.node])?;
    result.shape[last] = out;
    Ok(result)
}

/// The value with its last two axes swapped.
fn swapped(imp: &mut Importer, x: &Runtime) -> Result<Runtime, Refusal> {
    let mut perm: Vec<usize> = (0..x.rank()).collect();
    let n = perm.len();
    perm.swap(n - 2, n - 1);
    imp.transpose(x, &perm)
}

fn two_activations() -> Refusal {
    Refusal::with_way_out("it multiplies two computed values (attention), which neurons do not do", "use layers with constant weights")
}

fn matrix(c: &Constant, transposed: bool) -> Result<Constant, Refusal> {
    match c.shape.len() {
        2 if transposed => c.transposed(&[1, 0]),
        2 => Ok(c.clone()),
        _ => Err(format!("the weight has shape {:?} where a matrix belongs", c.shape).into()),
    }
}

fn scaled(t: Tensor, factor: f32) -> Tensor {
    if factor == 1.0 { t } else { t.map(|v| v * factor) }
}

fn gemm(imp: &mut Importer, node: &NodeView) -> Result<Vec<Value>, Refusal> {
    let (alpha, beta) = (node.float("alpha", 1.0)?, node.float("beta", 1.0)?);
    let (a, b, c) = (node.input(0)?, node.input(1)?, node.optional(2));
    for v in [a, b] {
        if v.shape().len() != 2 {
            return Err(format!("it multiplies matrices, not {:?}", v.shape()).into());
        }
    }
    let (x, weight, flip) = match (a, b) {
        (Value::Runtime(x), Value::Constant(w)) => {
            let x = if node.flag("transA") { swapped(imp, x)? } else { x.clone() };
            (x, matrix(w, !node.flag("transB"))?, false)
        }
        // Y = A·B is Yᵀ = Bᵀ·Aᵀ.
        (Value::Constant(w), Value::Runtime(x)) => {
            let x = if node.flag("transB") { x.clone() } else { swapped(imp, x)? };
            (x, matrix(w, node.flag("transA"))?, true)
        }
        (Value::Runtime(_), Value::Runtime(_)) => return Err(two_activations()),
        (Value::Constant(a), Value::Constant(b)) => {
            let a = matrix(a, node.flag("transA"))?;
            let product = super::fold::mat_mul(imp, &a, &matrix(b, node.flag("transB"))?)?;
            return gemm_of_constants(imp, &super::fold::map(&product, |v| alpha * v)?, c, beta);
        }
    };
    let (out, weight) = (weight.shape[0], scaled(weight.parameter()?, alpha));
    let row = |c: &Constant| (c.len() == 1 || c.len() == out && c.shape.last() == Some(&out)) && !flip;
    let bias = match c {
        Some(Value::Constant(c)) if row(c) => Some(scaled(c.vector(out)?, beta)),
        _ => None,
    };
    let needs_c = bias.is_none();
    let mut y = linear(imp, &x, weight, bias)?;
    if flip {
        y = swapped(imp, &y)?;
    }
    match c {
        Some(Value::Constant(c)) if needs_c => {
            let c = Constant::floats(c.shape.clone(), c.to_floats()?.iter().map(|v| v * beta).collect::<Vec<f32>>());
            y = imp.scale(&y, None, Some(&c))?;
        }
        Some(Value::Runtime(c)) => {
            let c = if beta == 1.0 { c.clone() } else { imp.times(c, beta)? };
            y = super::elementwise::add(imp, &[&y.into(), &c.into()])?;
        }
        _ => {}
    }
    Ok(vec![y.into()])
}

/// `product + beta · c`, where the product of the two factors is known.
fn gemm_of_constants(imp: &mut Importer, product: &Constant, c: Option<&Value>, beta: f32) -> Result<Vec<Value>, Refusal> {
    Ok(vec![match c {
        None => product.clone().into(),
        Some(Value::Constant(c)) => {
            let summand = super::fold::map(c, |v| beta * v)?;
            super::fold::zip(product, &summand, |a, b| a + b, |a, b| a.checked_add(b))?.into()
        }
        Some(Value::Runtime(c)) => {
            let summand = if beta == 1.0 { c.clone() } else { imp.times(c, beta)? };
            imp.scale(&summand, None, Some(product))?.into()
        }
    }])
}

/// A constant factor without leading axes of extent 1.
fn plain(c: &Constant) -> Result<Constant, Refusal> {
    let leading = c.shape.len().saturating_sub(2);
    if c.shape[..leading].iter().any(|&d| d != 1) {
        return Err(format!("the weight {:?} is a stack of matrices", c.shape).into());
    }
    Ok(c.reshaped(c.shape[leading..].to_vec()))
}

fn mat_mul(imp: &mut Importer, node: &NodeView) -> Result<Vec<Value>, Refusal> {
    let (x, weight, left) = match (node.input(0)?, node.input(1)?) {
        (Value::Runtime(x), Value::Constant(w)) => (x, w, true),
        (Value::Constant(w), Value::Runtime(x)) => (x, w, false),
        (Value::Runtime(_), Value::Runtime(_)) => return Err(two_activations()),
        (Value::Constant(a), Value::Constant(b)) => return Ok(vec![super::fold::mat_mul(imp, a, b)?.into()]),
    };
    if x.rank() == 0 || weight.shape.is_empty() {
        return Err("it does not multiply scalars".into());
    }
    // The result has at least as many axes as the weight.
    let (matrix, extra) = (plain(weight)?, weight.shape.len().saturating_sub(x.rank().max(2)));
    let vector = matrix.shape.len() == 1;
    let y = if left {
        let weight = if vector { matrix.reshaped(vec![1, matrix.shape[0]]) } else { matrix.transposed(&[1, 0])? };
        let y = linear(imp, x, weight.parameter()?, None)?;
        if vector { imp.reshape(&y, &x.shape[..x.rank() - 1])? } else { y }
    } else if x.rank() == 1 {
        let rows = if vector { 1 } else { matrix.shape[0] };
        let y = linear(imp, x, matrix.parameter()?.reshaped([rows, matrix.len() / rows.max(1)]), None)?;
        if vector { imp.reshape(&y, &[])? } else { y }
    } else {
        let rows = if vector { 1 } else { matrix.shape[0] };
        let x = swapped(imp, x)?;
        let y = linear(imp, &x, matrix.parameter()?.reshaped([rows, matrix.len() / rows.max(1)]), None)?;
        if vector { imp.reshape(&y, &y.shape[..y.rank() - 1])? } else { swapped(imp, &y)? }
    };
    let shape = [&vec![1; extra][..], &y.shape].concat();
    Ok(vec![if extra > 0 { imp.reshape(&y, &shape)? } else { y }.into()])
}
