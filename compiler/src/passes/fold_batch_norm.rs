//! `fold-batch-norm`: batch-norms and constant scales go into the weights before them.
//!
//! Equation: with `a = γ/√(σ²+ε)` and `b = β − μ·a`, `a·(W x + c) + b = (a·W) x + (a·c + b)`, row by row.
//! Precondition: the conv or linear before has no other user. What has none before it (batch-norm after an add, a
//! concatenation or a pooling) becomes a `scale`: a weight and a bias current per channel. Neighbouring scales merge.

use super::{Condition, Facts, Pass, PassError, Report, Request};
use crate::calibrate::moments::Moments;
use serde::Deserialize;
use snn_ir::op::{BatchNorm, Conv, ConvTranspose, Linear, Scale};
use snn_ir::{Graph, NodeId, Op, Tensor};

/// The pass; it has no options.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FoldBatchNorm {}

impl Pass for FoldBatchNorm {
    fn name(&self) -> &'static str {
        "fold-batch-norm"
    }

    fn precedes(&self) -> &'static [Condition] {
        &[Condition::Neurons]
    }

    fn keeps_outputs(&self) -> bool {
        true
    }

    fn run(&self, graph: &mut Graph, _: &Request<'_>, facts: &mut Facts, report: &mut Report) -> Result<(), PassError> {
        for id in graph.topological()? {
            let Op::BatchNorm(bn) = graph.op(id) else { continue };
            let moments = batch_norm_moments(bn);
            let (factor, summand) = bn.factors();
            let rank = graph.ty(id).shape.len();
            let scale = Scale { weight: Some(Tensor::per_channel(factor, rank)), bias: Some(Tensor::per_channel(summand, rank)) };
            facts.moments.insert(id, moments);
            report.changed(graph.node(id));
            graph.set_op(id, Op::Scale(scale))?;
        }
        for id in graph.topological()? {
            let Op::Scale(scale) = graph.op(id).clone() else { continue };
            let before = graph.operands(id)[0];
            if graph.use_count(before) > 1 {
                report.declined(graph.node(id), format!("`{}` before it has other users", graph.node(before).name()));
                continue;
            }
            let Some(folded) = fold_into(graph, before, &scale) else {
                let (name, op) = (graph.node(before).name(), graph.op(before).name());
                report.not_applicable(graph.node(id), format!("`{name}` ({op}) before it has no weights that could take it"));
                continue;
            };
            if let Some(moments) = facts.moments.remove(&id) {
                facts.moments.insert(before, moments);
            }
            report.changed(graph.node(id));
            graph.set_op(before, folded)?;
            graph.bypass(id);
        }
        Ok(())
    }
}

/// What a batch-norm says of its own output: mean β and variance γ² (of `γ x̂ + β` with `x̂` standardised).
fn batch_norm_moments(bn: &BatchNorm) -> Moments {
    Moments {
        mean: bn.beta.as_f32().to_vec(),
        variance: bn.gamma.as_f32().iter().zip(bn.variance.as_f32()).map(|(g, v)| g * g * v / (v + bn.epsilon)).collect(),
    }
}

/// One value per output channel of `tensor`, if it is constant along all axes but `axis` of a value
/// of `shape`. A value without axes is one channel.
pub(super) fn along_axis(tensor: Option<&Tensor>, shape: &[usize], axis: usize, default: f32) -> Option<Vec<f32>> {
    let channels = shape.get(axis).copied().unwrap_or(1);
    let Some(tensor) = tensor else { return Some(vec![default; channels]) };
    let data = tensor.as_f32();
    if data.len() == 1 {
        return Some(vec![data[0]; channels]);
    }
    let skipped = shape.len() - tensor.shape().len();
    let on_axis = tensor.shape().iter().enumerate().all(|(a, &d)| d == 1 || a + skipped == axis);
    on_axis.then(|| data.to_vec())
}

/// Multiplies the rows of a weight whose outermost axis is the output channel.
pub(super) fn scale_rows(weight: &Tensor, factors: &[f32]) -> Tensor {
    let row = weight.len() / factors.len();
    Tensor::f32(weight.shape(), weight.as_f32().iter().enumerate().map(|(i, w)| w * factors[i / row]).collect::<Vec<_>>())
}

/// Multiplies the output channels of a transposed convolution's weight.
pub(super) fn scale_transposed(c: &ConvTranspose, factors: &[f32]) -> Tensor {
    let layout = c.layout();
    let scaled = c.weight.as_f32().iter().enumerate().map(|(i, w)| w * factors[layout.output(i)]);
    Tensor::f32(c.weight.shape(), scaled.collect::<Vec<_>>())
}

fn folded_bias(bias: Option<&Tensor>, weight: &[f32], summand: &[f32]) -> Option<Tensor> {
    let sums: Vec<f32> = match bias {
        Some(bias) => bias.as_f32().iter().zip(weight).zip(summand).map(|((b, w), s)| b * w + s).collect(),
        None => summand.to_vec(),
    };
    (bias.is_some() || sums.iter().any(|&s| s != 0.0)).then(|| Tensor::f32([sums.len()], sums))
}

/// The operation of `before` with `scale` applied to its result, or `None` where that is not one operation.
pub(super) fn fold_into(graph: &Graph, before: NodeId, scale: &Scale) -> Option<Op> {
    let shape = &graph.ty(before).shape;
    let per_channel = |axis: usize| {
        let weight = along_axis(scale.weight.as_ref(), shape, axis, 1.0)?;
        Some((weight, along_axis(scale.bias.as_ref(), shape, axis, 0.0)?))
    };
    match graph.op(before) {
        Op::Conv(c) => {
            let (weight, bias) = per_channel(0)?;
            Some(Op::Conv(Conv { weight: scale_rows(&c.weight, &weight), bias: folded_bias(c.bias.as_ref(), &weight, &bias), ..c.clone() }))
        }
        Op::ConvTranspose(c) => {
            let (weight, bias) = per_channel(0)?;
            let scaled = scale_transposed(c, &weight);
            Some(Op::ConvTranspose(ConvTranspose { weight: scaled, bias: folded_bias(c.bias.as_ref(), &weight, &bias), ..c.clone() }))
        }
        Op::Linear(l) => {
            let (weight, bias) = per_channel(shape.len() - 1)?;
            Some(Op::Linear(Linear { weight: scale_rows(&l.weight, &weight), bias: folded_bias(l.bias.as_ref(), &weight, &bias) }))
        }
        Op::Scale(first) => Some(Op::Scale(compose(first, scale, shape))),
        _ => None,
    }
}

/// `second(first(x))` as one scale over values of `shape`.
pub(super) fn compose(first: &Scale, second: &Scale, shape: &[usize]) -> Scale {
    let combine = |a: Option<&Tensor>, b: Option<&Tensor>, f: fn(f32, f32) -> f32| match (a, b) {
        (Some(a), Some(b)) => Some(broadcast_with(a, b, shape, f)),
        (Some(t), None) | (None, Some(t)) => Some(t.clone()),
        (None, None) => None,
    };
    let weight = combine(first.weight.as_ref(), second.weight.as_ref(), |a, b| a * b);
    let carried = match (&first.bias, &second.weight) {
        (Some(bias), Some(weight)) => Some(broadcast_with(bias, weight, shape, |a, b| a * b)),
        (bias, _) => bias.clone(),
    };
    Scale { weight, bias: combine(carried.as_ref(), second.bias.as_ref(), |a, b| a + b) }
}

/// `f` over two tensors that broadcast to `shape`; the result stays as small as the two allow.
pub(super) fn broadcast_with(a: &Tensor, b: &Tensor, shape: &[usize], f: fn(f32, f32) -> f32) -> Tensor {
    let padded = |t: &Tensor| [vec![1; shape.len() - t.shape().len()], t.shape().to_vec()].concat();
    let joint: Vec<usize> = padded(a).iter().zip(padded(b)).map(|(&x, y)| x.max(y)).collect();
    let values: Vec<f32> = a.expanded(&joint).into_iter().zip(b.expanded(&joint)).map(|(x, y)| f(x, y)).collect();
    Tensor::f32(joint, values)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check, reasons};
    use super::*;

    #[test]
    fn a_scale_goes_into_the_weights_before_it() {
        let before = "%x = input : analog[2]
            %sum = linear %x, weight=@w, bias=@b : analog[1]
            %y = scale %sum, weight=2, bias=3 : analog[1]
            output %y
            ---
            @w = f32[1x2] [1, 2]\n@b = f32[1] [10]";
        let after = "%x = input : analog[2]
            %sum = linear %x, weight=@w, bias=@b : analog[1]
            output %sum
            ---
            @w = f32[1x2] [2, 4]\n@b = f32[1] [23]";
        check(&FoldBatchNorm {}, before, after);
    }

    #[test]
    fn a_scale_stays_where_others_read_what_is_before_it() {
        let before = "%x = input : analog[1]
            %sum = linear %x, weight=@w : analog[1]
            %y = scale %sum, weight=2 : analog[1]
            %z = add %sum, %y : analog[1]
            output %z
            ---
            @w = f32[1x1] [1]";
        assert_eq!(reasons(&check(&FoldBatchNorm {}, before, before)), ["`sum` before it has other users"]);
    }
}
