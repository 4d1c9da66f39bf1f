//! The two kinds of numbers that networks compute with.

use snn_ir::op::Requantize;
use snn_ir::{Tensor, TensorData, neuron};
use std::sync::Arc;

/// `f32` before `quantize`, `i32` after it.
pub(crate) trait Number: Copy + Default + PartialOrd + Send + Sync + 'static {
    /// What products are added up in, and membrane potentials: `f32`; `i64`, in which sums of
    /// 32-bit products are exact.
    type Sum: Copy + Default + PartialOrd + Send + Sync;
    /// What whole windows are added up in: `f64`; `i64`.
    type Total: neuron::Number + Default + Send + Sync;

    /// Less than every value.
    const LOWEST: Self::Total;

    /// The value as a sum of one.
    fn widen(self) -> Self::Sum;
    /// The sum as a value. The compiler proved that integer sums fit.
    fn narrow(sum: Self::Sum) -> Self;
    /// `sum + a`.
    fn add(sum: Self::Sum, a: Self::Sum) -> Self::Sum;
    /// `sum + a·b`, rounded twice, so that it is the same on every machine.
    fn add_product(sum: Self::Sum, a: Self, b: Self) -> Self::Sum;
    /// The sum divided by a count. `None` for integers, which have no means.
    fn divide(sum: Self::Sum, count: usize) -> Option<Self::Sum>;

    /// The sum of one step as part of a total.
    fn total(sum: Self::Sum) -> Self::Total;
    /// `total + sum`.
    fn accumulate(total: Self::Total, sum: Self::Sum) -> Self::Total;
    /// The difference of two totals, as a value.
    fn difference(a: Self::Total, b: Self::Total) -> Self;
    /// The total as the sum of one step, to which it is rounded.
    fn part(total: Self::Total) -> Self::Sum;
    /// The total as a real number.
    fn to_f64(total: Self::Total) -> f64;

    /// `amplitude · quanta`.
    fn spikes(amplitude: Self, quanta: i64) -> Self;
    /// The value one.
    fn one() -> Self;
    /// One step of [`Requantize`]. Only integers meet it: the verifier refuses it elsewhere.
    fn requantize(op: Requantize, rest: &mut i64, x: Self) -> Self;
    /// The real constant `x`; `None` when it is no such number.
    fn constant(x: f32) -> Option<Self>;
    /// The elements of a parameter, shared with it where it can be; `None` when they are of the
    /// other kind.
    fn parameters(tensor: &Tensor) -> Option<Arc<[Self]>>;
}

impl Number for f32 {
    type Sum = f32;
    type Total = f64;
    const LOWEST: f64 = f64::NEG_INFINITY;

    #[inline(always)]
    fn widen(self) -> f32 {
        self
    }
    #[inline(always)]
    fn narrow(sum: f32) -> f32 {
        sum
    }
    #[inline(always)]
    fn add(sum: f32, a: f32) -> f32 {
        sum + a
    }
    #[inline(always)]
    fn add_product(sum: f32, a: f32, b: f32) -> f32 {
        sum + a * b
    }
    fn divide(sum: f32, count: usize) -> Option<f32> {
        Some(sum / count as f32)
    }
    fn total(sum: f32) -> f64 {
        f64::from(sum)
    }
    fn accumulate(total: f64, sum: f32) -> f64 {
        total + f64::from(sum)
    }
    fn difference(a: f64, b: f64) -> f32 {
        (a - b) as f32
    }
    fn part(total: f64) -> f32 {
        total as f32
    }
    fn to_f64(total: f64) -> f64 {
        total
    }
    fn spikes(amplitude: f32, quanta: i64) -> f32 {
        amplitude * quanta as f32
    }
    fn one() -> f32 {
        1.0
    }
    fn requantize(_: Requantize, _: &mut i64, x: f32) -> f32 {
        x
    }
    fn constant(x: f32) -> Option<f32> {
        Some(x)
    }
    fn parameters(tensor: &Tensor) -> Option<Arc<[f32]>> {
        if let TensorData::F32(data) = tensor.data() { Some(data.clone()) } else { None }
    }
}

impl Number for i32 {
    type Sum = i64;
    type Total = i64;
    const LOWEST: i64 = i64::MIN;

    #[inline(always)]
    fn widen(self) -> i64 {
        i64::from(self)
    }
    #[inline(always)]
    fn narrow(sum: i64) -> i32 {
        debug_assert!(i32::try_from(sum).is_ok(), "{sum} does not fit the 32 bits that the compiler promised");
        sum as i32
    }
    #[inline(always)]
    fn add(sum: i64, a: i64) -> i64 {
        sum.wrapping_add(a)
    }
    #[inline(always)]
    fn add_product(sum: i64, a: i32, b: i32) -> i64 {
        sum.wrapping_add(i64::from(a) * i64::from(b))
    }
    fn divide(_: i64, _: usize) -> Option<i64> {
        None
    }
    fn total(sum: i64) -> i64 {
        sum
    }
    fn accumulate(total: i64, sum: i64) -> i64 {
        total.wrapping_add(sum)
    }
    fn difference(a: i64, b: i64) -> i32 {
        Self::narrow(a.wrapping_sub(b))
    }
    fn part(total: i64) -> i64 {
        total
    }
    fn to_f64(total: i64) -> f64 {
        total as f64
    }
    fn spikes(amplitude: i32, quanta: i64) -> i32 {
        Self::narrow(i64::from(amplitude).wrapping_mul(quanta))
    }
    fn one() -> i32 {
        1
    }
    fn requantize(op: Requantize, rest: &mut i64, x: i32) -> i32 {
        Self::narrow(op.step(rest, i64::from(x)))
    }
    fn constant(x: f32) -> Option<i32> {
        (x.fract() == 0.0 && x.abs() < 2_147_483_648.0).then_some(x as i32)
    }
    fn parameters(tensor: &Tensor) -> Option<Arc<[i32]>> {
        tensor.to_i32_vec().map(Arc::from)
    }
}
