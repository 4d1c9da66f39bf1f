//! Elementwise arithmetic, and the way into and between integers.

use crate::attr::{AttrError, Fields};
use crate::infer::{Inferred, TypeError, broadcasts, linear_signal, require, same_shapes};
use crate::interval::{Channels, Sources, hull, product};
use crate::signal::{Signal, ValueType};
use crate::tensor::Tensor;

/// Parameters of [`Op::Scale`](super::Op::Scale); either broadcasts over the value.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Scale {
    /// Factor.
    pub weight: Option<Tensor>,
    /// Summand, added in every step.
    pub bias: Option<Tensor>,
}

impl Scale {
    pub(super) fn fields(&mut self, f: &mut Fields) -> Result<(), AttrError> {
        f.optional_tensor("weight", &mut self.weight)?;
        f.optional_tensor("bias", &mut self.bias)
    }

    pub(super) fn infer(&self, operands: &[&ValueType]) -> Inferred {
        let shape = &operands[0].shape;
        self.weight.iter().try_for_each(|t| broadcasts("weight", t, shape))?;
        self.bias.iter().try_for_each(|t| broadcasts("bias", t, shape))?;
        Ok((linear_signal(operands)?, shape.clone()))
    }

    pub(super) fn current(&self, sources: &Sources<'_>) -> Channels {
        let factor = self.weight.as_ref().map_or(Channels::one((1, 1)), |w| Channels::of_tensor(w, sources.shape));
        let scaled = factor.zip(&sources.first(), product);
        scaled.plus(&Channels::of_bias(self.bias.as_ref(), sources.shape))
    }
}

/// The type of a sum of operands.
pub(super) fn infer_add(operands: &[&ValueType]) -> Inferred {
    same_shapes(operands)?;
    Ok((linear_signal(operands)?, operands[0].shape.clone()))
}

/// What a sum of operands may be, and every part of it.
pub(super) fn current_of_add(sources: &Sources<'_>) -> Channels {
    let summands = (0..sources.operands.len()).map(|o| sources.own(o).map(|i| hull(i, (0, 0))));
    summands.fold(Channels::one((0, 0)), |total, o| total.plus(&o))
}

/// Parameters of [`Op::Requantize`](super::Op::Requantize): `out(t) = R(C(t)) − R(C(t−1))`, where
/// `C` is the running sum of the operand and `R(x) = floor((x + 2^(shift−1)) / 2^shift)`.
///
/// Over a window at most half a coarse unit is lost, however long the window is. So chains of
/// linear layers fit 32 bits at any length (first-order error feedback, as in sigma-delta
/// modulation).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Requantize {
    /// Bits that every integer loses, from 1 to [`Requantize::MOST_BITS`].
    pub shift: u32,
}

impl Requantize {
    /// Most bits that can be taken off: those of an `i32` without its sign.
    pub const MOST_BITS: u32 = 31;

    /// `R(sum)`: what is sent in all while the operand sends `sum` in all.
    pub fn of_sum(self, sum: i64) -> i64 {
        (sum + (1 << (self.shift - 1))) >> self.shift
    }

    /// One step. `rest` is what earlier steps left over, zero at the start of a window.
    pub fn step(self, rest: &mut i64, current: i64) -> i64 {
        let all = *rest + current;
        let sent = self.of_sum(all);
        *rest = all - (sent << self.shift);
        sent
    }

    pub(super) fn fields(&mut self, f: &mut Fields) -> Result<(), AttrError> {
        f.number("shift", &mut self.shift, "a number of bits")
    }

    pub(super) fn infer(&self, operands: &[&ValueType]) -> Inferred {
        require(operands, &[Signal::Current], "a current")?;
        if !(1..=Requantize::MOST_BITS).contains(&self.shift) {
            let reason = format!("shift={}: 1 to {} bits can be taken off", self.shift, Requantize::MOST_BITS);
            return Err(TypeError::Parameter(reason));
        }
        Ok((Signal::Current, operands[0].shape.clone()))
    }

    /// What earlier steps left over may come on top: it is half a coarse unit at most, either way.
    pub(super) fn current(&self, sources: &Sources<'_>) -> Channels {
        let half = 1i64 << (self.shift - 1);
        let sent = |x: i64, rest: i64| self.of_sum(x.saturating_add(rest).clamp(i64::MIN >> 1, i64::MAX >> 1));
        sources.first().map(|(low, high)| (sent(low, -half), sent(high, half - 1)))
    }
}

/// The attributes of [`super::Op::Encode`].
pub(super) fn encode_fields(scale: &mut Tensor, limit: &mut i32, f: &mut Fields) -> Result<(), AttrError> {
    f.float_tensor("scale", scale)?;
    f.number("limit", limit, "a 32-bit size")
}

/// The type of [`super::Op::Encode`].
pub(super) fn infer_encode(scale: &Tensor, limit: i32, operands: &[&ValueType]) -> Inferred {
    require(operands, &[Signal::Current], "a current")?;
    broadcasts("scale", scale, &operands[0].shape)?;
    if scale.is_integer() || !scale.as_f32().iter().all(|s| *s > 0.0 && s.is_finite()) || limit <= 0 {
        return Err(TypeError::Parameter("scale and limit must be positive".into()));
    }
    Ok((Signal::Current, operands[0].shape.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_requantize_sends_in_all_is_the_rounded_sum_and_no_step_leaves_its_range(
            shift in 1u32..=Requantize::MOST_BITS, currents in prop::collection::vec(-1_000_000i64..1_000_000, 1..50),
        ) {
            let r = Requantize { shift };
            let half = 1i64 << (shift - 1);
            let (mut rest, mut sum, mut sent) = (0, 0, 0);
            for x in currents {
                let now = r.step(&mut rest, x);
                (sum, sent) = (sum + x, sent + now);
                prop_assert!((-half..half).contains(&rest));
                prop_assert_eq!(sent, r.of_sum(sum));
                prop_assert!((r.of_sum(x - half)..=r.of_sum(x + half - 1)).contains(&now));
            }
        }
    }

    #[test]
    fn requantize_is_printed_and_read_and_refused_where_there_are_no_integers() {
        let text = |encode: &str, shift: u32| {
            format!(
                "graph @net steps=4 {{\n  %x = input : current[2]\n{encode}  %coarse = requantize %i, shift={shift} : current[2]\n  \
                 %out = readout %coarse : potential[2]\n  output %out\n}}\n"
            )
        };
        let integer = "  %i = encode %x, scale=4, limit=100 : current[2]\n";
        let graph = crate::text::parse(&text(integer, 3)).unwrap();
        assert_eq!(crate::text::print(&graph, crate::text::Parameters::Full), text(integer, 3));
        assert!(crate::verify(&graph).is_ok());
        let real = "  %i = layer %x, synapses=[identity()] : current[2]\n";
        let error = crate::verify(&crate::text::parse(&text(real, 3)).unwrap()).unwrap_err().to_string();
        assert!(error.starts_with("coarse (requantize)"), "{error}");
        for shift in [0, 32] {
            let error = crate::text::parse(&text(integer, shift)).unwrap_err().to_string();
            assert!(error.contains(&format!("shift={shift}")), "{error}");
        }
    }
}
