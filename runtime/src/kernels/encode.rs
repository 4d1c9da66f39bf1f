//! Real currents to integers.

use super::KernelSet;

/// `round(x · scale)`, half away from zero, clamped to `±limit`. The product is exact in `f64`, and
/// with at most 48 bits so is the half that is added to it. What [`snn_ir::Op::Encode`] does, in
/// every engine.
pub fn encode(x: &[f32], scale: &[f32], limit: i32) -> Vec<i32> {
    let mut out = vec![0; x.len()];
    KernelSet::native().encode(x, scale, limit, &mut out);
    out
}

/// The source of [`encode`].
#[inline(always)]
pub(super) fn encode_body(x: &[f32], scale: &[f32], limit: i32, out: &mut [i32]) {
    let limit = f64::from(limit);
    for ((out, &x), &scale) in out.iter_mut().zip(x).zip(scale) {
        let product = f64::from(x) * f64::from(scale);
        *out = (product + 0.5f64.copysign(product)).clamp(-limit, limit) as i32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn encoding_rounds_half_away_from_zero(x: f32, halves in -2000i32..2000, scale in 0.001f32..1000.0, limit in 0i32..1 << 30) {
            prop_assume!(x.is_finite());
            let limit = limit.max(1);
            for (x, scale) in [(x, scale), (halves as f32 / 2.0, 1.0), ((halves as f32 / 2.0).next_down(), 1.0)] {
                let expected = (f64::from(x) * f64::from(scale)).round().clamp(-f64::from(limit), f64::from(limit));
                prop_assert_eq!(encode(&[x], &[scale], limit), [expected as i32]);
            }
        }
    }
}
