//! Kernels against the definitions, written out naively, over random geometries. Values are small
//! integers, so that every kind of number must agree exactly.

use super::{Kernel, Number};
use proptest::prelude::*;
use snn_ir::op::{AvgPool, BatchNorm, Conv, ConvTranspose, Divisor, Linear, Pad, Reduce, Scale, Slice};
use snn_ir::{Op, Random, Tensor, Window};

/// A window that fits the extents beside it.
fn windows() -> impl Strategy<Value = (Window, Vec<usize>)> {
    let axis = (1usize..8, 1usize..4, 1usize..4, 1usize..3, 0usize..3, 0usize..3);
    (prop::collection::vec(axis, 1..4), 0usize..20, any::<bool>()).prop_filter_map("the window must fit", |(axes, wider, ceil)| {
        let rank = axes.len();
        let mut extents: Vec<usize> = axes.iter().map(|a| a.0).collect();
        extents[rank - 1] += wider;
        let window = Window {
            kernel: axes.iter().map(|a| a.1).collect(),
            stride: axes.iter().map(|a| a.2).collect(),
            dilation: axes.iter().map(|a| a.3).collect(),
            pad_begin: axes.iter().map(|a| a.4).collect(),
            pad_end: axes.iter().map(|a| a.5).collect(),
            ceil,
        };
        window.output(&extents).map(|_| (window, extents))
    })
}

fn integers(seed: u64, count: usize) -> Vec<i32> {
    let mut random = Random::new(seed);
    (0..count).map(|_| random.between(-5, 5)).collect()
}

fn indices(shape: &[usize]) -> Vec<Vec<usize>> {
    shape.iter().fold(vec![vec![]], |all, &n| all.iter().flat_map(|i| (0..n).map(move |j| [&i[..], &[j]].concat())).collect())
}

fn flat(index: &[usize], shape: &[usize]) -> usize {
    index.iter().zip(shape).fold(0, |at, (i, n)| at * n + i)
}

/// The input position that `tap` of output position `out` reads, unless it is padding.
fn read(window: &Window, extents: &[usize], out: &[usize], tap: &[usize]) -> Option<Vec<usize>> {
    (0..extents.len())
        .map(|a| {
            let at = (out[a] * window.stride[a] + tap[a] * window.dilation[a]).checked_sub(window.pad_begin[a])?;
            (at < extents[a]).then_some(at)
        })
        .collect()
}

fn run<N: Number>(op: &Op, operand: &[usize], result: &[usize], x: &[i32]) -> Vec<N> {
    let x: Vec<N> = x.iter().map(|&x| N::constant(x as f32).unwrap()).collect();
    let mut out = vec![N::default(); result.iter().product()];
    Kernel::<N>::new(op, &[operand], result).unwrap().run(&[&x], &mut out);
    out
}

fn assert_both(op: impl Fn(bool) -> Op, operand: &[usize], result: &[usize], x: &[i32], expected: &[i32]) {
    assert_eq!(run::<i32>(&op(true), operand, result, x), expected);
    assert_eq!(run::<f32>(&op(false), operand, result, x), expected.iter().map(|&v| v as f32).collect::<Vec<_>>());
}

fn tensor(shape: &[usize], data: &[i32], integer: bool) -> Tensor {
    if integer { Tensor::i32(shape, data) } else { Tensor::f32(shape, data.iter().map(|&v| v as f32).collect::<Vec<_>>()) }
}

proptest! {
    #[test]
    fn convolutions_compute_their_definition(
        (window, extents) in windows(), groups in 1usize..4, (ins, outs) in (1usize..4, 1usize..7), seed: u64,
    ) {
        let window = Window { ceil: false, ..window };
        let out_extents = window.output(&extents).unwrap();
        let (operand, result) = ([&[ins * groups], &extents[..]].concat(), [&[outs * groups], &out_extents[..]].concat());
        let shape = [&[outs * groups, ins], &window.kernel[..]].concat();
        let x = integers(seed, operand.iter().product());
        let w = integers(!seed, shape.iter().product());
        let b = integers(seed ^ 77, outs * groups);
        let mut expected = Vec::new();
        for at in indices(&result) {
            let (o, position) = (at[0], &at[1..]);
            let mut sum = b[o];
            for c in 0..ins {
                for tap in indices(&window.kernel) {
                    if let Some(from) = read(&window, &extents, position, &tap) {
                        let channel = o / outs * ins + c;
                        sum += w[flat(&[&[o, c], &tap[..]].concat(), &shape)] * x[flat(&[&[channel], &from[..]].concat(), &operand)];
                    }
                }
            }
            expected.push(sum);
        }
        let op = |integer| {
            let (weight, bias) = (tensor(&shape, &w, integer), Some(tensor(&[outs * groups], &b, integer)));
            Op::Conv(Conv { weight, bias, window: window.clone(), groups })
        };
        assert_both(op, &operand, &result, &x, &expected);
    }

    #[test]
    fn transposed_convolutions_compute_their_definition(
        (window, extents) in windows(), groups in 1usize..3, (ins, outs) in (1usize..3, 1usize..4), extra in 0usize..2, seed: u64,
    ) {
        let window = Window { ceil: false, ..window };
        let Some(out) = window.transposed_output(&extents) else { return Ok(()) };
        prop_assume!(!out.contains(&0));
        let out_extents: Vec<usize> = out.iter().map(|o| o + extra).collect();
        let (operand, result) = ([&[ins * groups], &extents[..]].concat(), [&[outs * groups], &out_extents[..]].concat());
        let shape = [&[ins * groups, outs], &window.kernel[..]].concat();
        let x = integers(seed, operand.iter().product());
        let w = integers(!seed, shape.iter().product());
        let mut expected = vec![0; result.iter().product()];
        for at in indices(&operand) {
            for (o, tap) in (0..outs).flat_map(|o| indices(&window.kernel).into_iter().map(move |t| (o, t))) {
                if let Some(to) = read(&window, &out_extents, &at[1..], &tap) {
                    let channel = at[0] / ins * outs + o;
                    let weight = w[flat(&[&[at[0], o], &tap[..]].concat(), &shape)];
                    expected[flat(&[&[channel], &to[..]].concat(), &result)] += weight * x[flat(&at, &operand)];
                }
            }
        }
        let op = |integer| {
            let weight = tensor(&shape, &w, integer);
            Op::ConvTranspose(ConvTranspose { weight, bias: None, window: window.clone(), output_padding: vec![extra; extents.len()], groups })
        };
        assert_both(op, &operand, &result, &x, &expected);
    }

    #[test]
    fn average_pools_divide_by_what_they_say((window, extents) in windows(), seed: u64) {
        let out_extents = window.output(&extents).unwrap();
        let (operand, result) = ([&[2], &extents[..]].concat(), [&[2], &out_extents[..]].concat());
        let x = integers(seed, operand.iter().product());
        let (mut sums, mut valid, mut padded) = (Vec::new(), Vec::new(), Vec::new());
        for at in indices(&result) {
            let taps = indices(&window.kernel);
            let reads: Vec<_> = taps.iter().filter_map(|t| read(&window, &extents, &at[1..], t)).collect();
            sums.push(reads.iter().map(|from| x[flat(&[&at[..1], &from[..]].concat(), &operand)]).sum::<i32>());
            valid.push(reads.len().max(1) as f32);
            let within = |t: &&Vec<usize>| (0..extents.len()).all(|a| {
                at[a + 1] * window.stride[a] + t[a] * window.dilation[a] < extents[a] + window.pad_begin[a] + window.pad_end[a]
            });
            padded.push(taps.iter().filter(within).count() as f32);
        }
        let op = |divisor| Op::AvgPool(AvgPool { window: window.clone(), divisor });
        assert_both(|_| op(Divisor::One), &operand, &result, &x, &sums);
        for (divisor, counts) in [(Divisor::Valid, valid), (Divisor::Padded, padded)] {
            let expected: Vec<f32> = sums.iter().zip(&counts).map(|(&s, n)| s as f32 / n).collect();
            prop_assert_eq!(run::<f32>(&op(divisor), &operand, &result, &x), expected);
        }
    }
}

#[test]
fn a_mean_over_axes_keeps_the_others_apart() {
    let op = Op::Reduce(Reduce { axes: vec![0, 2], mean: true });
    assert_eq!(run::<f32>(&op, &[2, 2, 2], &[1, 2, 1], &[1, 3, 10, 20, 5, 7, 30, 40]), [4.0, 25.0]);
}

#[test]
fn integer_networks_refuse_means() {
    let op = Op::Reduce(Reduce { axes: vec![0], mean: true });
    assert!(Kernel::<i32>::new(&op, &[&[2]], &[1]).is_err());
    let pool = AvgPool { window: Window::unit([2]), divisor: Divisor::Valid };
    assert!(Kernel::<i32>::new(&Op::AvgPool(pool), &[&[1, 2]], &[1, 1]).is_err());
}

#[test]
fn linear_works_along_the_last_axis_of_any_length() {
    for inputs in [1, 31, 32, 33, 100] {
        let (x, w, b) = (integers(1, 2 * inputs), integers(2, 3 * inputs), integers(3, 3));
        let rows = x.chunks(inputs).flat_map(|x| w.chunks(inputs).zip(&b).map(move |(w, b)| (x, w, b)));
        let expected: Vec<i32> = rows.map(|(x, w, b)| b + x.iter().zip(w).map(|(x, w)| x * w).sum::<i32>()).collect();
        let op = |integer| {
            let (weight, bias) = (tensor(&[3, inputs], &w, integer), Some(tensor(&[3], &b, integer)));
            Op::Linear(Linear { weight, bias })
        };
        assert_both(op, &[2, inputs], &[2, 3], &x, &expected);
    }
}

#[test]
fn scales_broadcast_and_batch_norm_is_one() {
    let scale = |integer| {
        let (weight, bias) = (Some(tensor(&[2, 1], &[2, 3], integer)), Some(tensor(&[], &[10], integer)));
        Op::Scale(Scale { weight, bias })
    };
    assert_both(scale, &[2, 2], &[2, 2], &[1, 2, 3, 4], &[12, 14, 19, 22]);
    let per_channel = |values: [i32; 2]| tensor(&[2], &values, false);
    let norm = BatchNorm {
        gamma: per_channel([2, 4]),
        beta: per_channel([1, -1]),
        mean: per_channel([1, 2]),
        variance: per_channel([3, 15]),
        epsilon: 1.0,
    };
    assert_eq!(run::<f32>(&Op::BatchNorm(norm), &[2, 2], &[2, 2], &[1, 3, 2, 6]), [1.0, 3.0, -1.0, 3.0]);
}

#[test]
fn moves_take_elements_where_they_say() {
    let x = [1, 2, 3, 4, 5, 6]; // [2, 3]
    let both = |op: Op, result: &[usize], expected: &[i32]| assert_both(|_| op.clone(), &[2, 3], result, &x, expected);
    both(Op::Transpose { perm: vec![1, 0] }, &[3, 2], &[1, 4, 2, 5, 3, 6]);
    both(Op::Pad(Pad { begin: vec![1, 0], end: vec![0, 2], value: 7.0 }), &[3, 5], &[7, 7, 7, 7, 7, 1, 2, 3, 7, 7, 4, 5, 6, 7, 7]);
    both(Op::Slice(Slice { start: vec![1, 2], step: vec![-1, -2], shape: vec![2, 2] }), &[2, 2], &[6, 4, 3, 1]);
    both(Op::Gather { axis: 1, indices: vec![2, 0, 0] }, &[2, 3], &[3, 1, 1, 6, 4, 4]);
    both(Op::Reshape { shape: vec![3, 2] }, &[3, 2], &x);
}

#[test]
fn concat_joins_operands_of_different_extents() {
    let kernel = Kernel::<i32>::new(&Op::Concat { axis: 1 }, &[&[2, 1], &[2, 2]], &[2, 3]).unwrap();
    let mut out = [0; 6];
    kernel.run(&[&[1, 2], &[3, 4, 5, 6]], &mut out);
    assert_eq!(out, [1, 3, 4, 2, 5, 6]);
}
