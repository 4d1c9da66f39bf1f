//! `compose-linear`: two linear operations in a row become one where that is no more work.
//!
//! Equation: `W₂(W₁ x + b₁) + b₂ = (W₂ W₁) x + (W₂ b₁ + b₂)`. Low-rank and factorised layers that a
//! trainer split, and projections that no activation follows, are linear operations in a row. Between
//! two populations each of them needs integers of its own, and all of them share the 32 bits of one
//! potential; one operation has them to itself.
//! Done for a dense layer after a dense layer, a pointwise convolution after any convolution, and any
//! convolution after a pointwise one, where the result has no more weights than the two have, and the
//! first has no other user. A padded convolution after a bias stays: the padding has no bias.
//! Precondition: after `fold-batch-norm`, which takes away what is between them.

use super::{Condition, Facts, Pass, PassError, Report, Request};
use serde::Deserialize;
use snn_ir::op::{Conv, Linear};
use snn_ir::{Graph, Op, Tensor, Window};

/// The pass; it has no options.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ComposeLinear {}

impl Pass for ComposeLinear {
    fn name(&self) -> &'static str {
        "compose-linear"
    }

    fn precedes(&self) -> &'static [Condition] {
        &[Condition::Neurons]
    }

    fn keeps_outputs(&self) -> bool {
        true
    }

    fn run(&self, graph: &mut Graph, _: &Request<'_>, _: &mut Facts, report: &mut Report) -> Result<(), PassError> {
        for id in graph.topological()? {
            // What a composition leaves may be composed again.
            while let &[first] = &graph.operands(id)[..] {
                let Some(composed) = composed(graph.op(first), graph.op(id)) else { break };
                let composed = match composed {
                    Ok(composed) if graph.use_count(first) == 1 => composed,
                    Ok(_) => {
                        report.declined(graph.node(id), format!("`{}` before it has other users", graph.node(first).name()));
                        break;
                    }
                    Err(reason) => {
                        report.declined(graph.node(id), format!("with `{}` before it: {reason}", graph.node(first).name()));
                        break;
                    }
                };
                report.changed(graph.node(id));
                let source = graph.operands(first);
                graph.rewrite(id, composed, &source)?;
                graph.remove_dead();
            }
        }
        Ok(())
    }
}

/// Why the composition of two operations is none.
const MORE_WORK: &str = "one operation for both would have more weights than they have";

/// `second` after `first` as one operation, or why it is none; `None` where they are not two of a kind.
fn composed(first: &Op, second: &Op) -> Option<Result<Op, &'static str>> {
    let conv = |a, b| after(a, b).map(Op::Conv).ok_or(MORE_WORK);
    match (first, second) {
        (Op::Linear(a), Op::Linear(b)) => Some(dense(a, b).map(Op::Linear).ok_or(MORE_WORK)),
        (Op::Conv(a), Op::Conv(b)) if is_pointwise(&b.window) => Some(conv(a, b)),
        (Op::Conv(a), Op::Conv(b)) if is_pointwise(&a.window) => match a.bias.is_some() && is_padded(&b.window) {
            true => Some(Err("its padding has no bias, the first operation has one")),
            false => Some(conv(a, b)),
        },
        (Op::Conv(_), Op::Conv(_)) => Some(Err("neither convolution is pointwise")),
        _ => None,
    }
}

fn is_pointwise(w: &Window) -> bool {
    *w == Window::unit(vec![1; w.rank()])
}

fn is_padded(w: &Window) -> bool {
    w.pad_begin.iter().chain(&w.pad_end).any(|&p| p > 0)
}

fn dense(a: &Linear, b: &Linear) -> Option<Linear> {
    let (rows, inner, columns) = (b.weight.shape()[0], b.weight.shape()[1], a.weight.shape()[1]);
    if rows * columns > a.weight.len() + b.weight.len() {
        return None;
    }
    let mut weight = vec![0f64; rows * columns];
    for (out, row) in weight.chunks_exact_mut(columns).zip(b.weight.as_f32().chunks_exact(inner)) {
        for (&w, a) in row.iter().zip(a.weight.as_f32().chunks_exact(columns)) {
            out.iter_mut().zip(a).for_each(|(o, &a)| *o += f64::from(w) * f64::from(a));
        }
    }
    let bias = bias(rows, b.bias.as_ref(), a.bias.as_ref(), |o, m| f64::from(b.weight.as_f32()[o * inner + m]));
    Some(Linear { weight: tensor(&[rows, columns], &weight), bias })
}

/// One convolution for two, of which one is pointwise, so that every weight of the result is a sum
/// over the channels between them at one tap.
fn after(a: &Conv, b: &Conv) -> Option<Conv> {
    let (rows, inner) = (b.weight.shape()[0], a.weight.shape()[0]);
    let (taps_a, taps_b) = (a.window.taps(), b.window.taps());
    let groups = if a.groups == b.groups { a.groups } else { 1 };
    let columns = a.weight.shape()[1] * a.groups / groups;
    let taps = taps_a * taps_b;
    let count = rows.checked_mul(columns)?.checked_mul(taps)?;
    if count > a.weight.len() + b.weight.len() {
        return None;
    }
    let (columns_a, columns_b) = (a.weight.shape()[1], b.weight.shape()[1]);
    let (weights_a, weights_b) = (a.weight.as_f32(), b.weight.as_f32());
    let mut weight = vec![0f64; count];
    let mut sums = vec![0f64; rows * inner];
    for o in 0..rows {
        for m in 0..columns_b {
            // The channel between the two, and the inputs that it sees.
            let between = o / (rows / b.groups) * columns_b + m;
            let first = between / (inner / a.groups) * columns_a;
            let column = if groups == 1 { first } else { 0 };
            for tb in 0..taps_b {
                let w = f64::from(weights_b[(o * columns_b + m) * taps_b + tb]);
                sums[o * inner + between] += w;
                for i in 0..columns_a {
                    for ta in 0..taps_a {
                        let from = f64::from(weights_a[(between * columns_a + i) * taps_a + ta]);
                        weight[(o * columns + column + i) * taps + ta * taps_b + tb] += w * from;
                    }
                }
            }
        }
    }
    let window = if taps_a == 1 { b.window.clone() } else { a.window.clone() };
    let shape = [&[rows, columns][..], &window.kernel].concat();
    let bias = bias(rows, b.bias.as_ref(), a.bias.as_ref(), |o, m| sums[o * inner + m]);
    Some(Conv { weight: tensor(&shape, &weight), bias, window, groups })
}

/// `second + factor · first`, per row.
fn bias(rows: usize, second: Option<&Tensor>, first: Option<&Tensor>, factor: impl Fn(usize, usize) -> f64) -> Option<Tensor> {
    if second.is_none() && first.is_none() {
        return None;
    }
    let of = |o: usize| {
        let through = first.map_or(0.0, |f| f.as_f32().iter().enumerate().map(|(m, &v)| factor(o, m) * f64::from(v)).sum());
        second.map_or(0.0, |s| f64::from(s.as_f32()[o])) + through
    };
    Some(tensor(&[rows], &(0..rows).map(of).collect::<Vec<_>>()))
}

fn tensor(shape: &[usize], values: &[f64]) -> Tensor {
    Tensor::f32(shape, values.iter().map(|&v| v as f32).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check, reasons};
    use super::*;

    #[test]
    fn two_dense_layers_become_one_unless_that_has_more_weights() {
        let chain = |hidden: usize| {
            let weights = |n| vec!["1"; n].join(", ");
            format!(
                "%x = input : analog[4]
                %a = linear %x, weight=@a : analog[{hidden}]
                %b = linear %a, weight=@b : analog[4]
                output %b
                ---
                @a = f32[{hidden}x4] [{}]\n@b = f32[4x{hidden}] [{}]",
                weights(hidden * 4),
                weights(hidden * 4)
            )
        };
        let after = format!(
            "%x = input : analog[4]
            %b = linear %x, weight=@b : analog[4]
            output %b
            ---
            @b = f32[4x4] [{}]",
            ["4"; 16].join(", ")
        );
        check(&ComposeLinear {}, &chain(4), &after);
        let report = check(&ComposeLinear {}, &chain(1), &chain(1));
        assert_eq!(reasons(&report), ["with `a` before it: one operation for both would have more weights than they have"]);
    }
}
