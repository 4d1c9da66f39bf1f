//! Numbers and tensors in the text form.
//!
//! `seeded(seed, scale)` fills a tensor with pseudo-random numbers that are the same everywhere and for ever: element
//! `i` is `scale · u`, where `u = k · 2⁻²³ − 1` and `k` is the upper 24 bits of the `i`-th output of SplitMix64 (Steele,
//! Lea, Flood 2014) started at `seed`; integer tensors hold the nearest integer within their range.

use crate::random::Random;
use crate::tensor::{ElementType, Tensor};

/// The shortest text that parses back to the same float.
pub(super) fn float(value: f32) -> String {
    if value == 0.0 && value.is_sign_negative() {
        return "-0.0".to_string();
    }
    if value.is_nan() {
        return "nan".to_string();
    }
    let text = format!("{value:?}");
    match text.strip_suffix(".0") {
        Some(whole) => whole.to_string(),
        None => text,
    }
}

/// `value` to four significant digits.
pub(super) fn short_float(value: f64) -> String {
    format!("{value:.3e}").parse().map_or_else(|_| float(value as f32), float)
}

/// The float that `text` says; never out of range.
pub(super) fn parse_float(text: &str) -> Option<f32> {
    match text {
        "nan" => Some(f32::NAN),
        "inf" => Some(f32::INFINITY),
        "-inf" => Some(f32::NEG_INFINITY),
        _ if text.bytes().any(|b| b.is_ascii_digit()) => text.parse().ok().filter(|f: &f32| f.is_finite()),
        _ => None,
    }
}

/// Whether every element of `t` survives being printed as a number: all but unusual NaNs do.
pub(super) fn is_printable(t: &Tensor) -> bool {
    t.is_integer() || t.as_f32().iter().all(|f| !f.is_nan() || f.to_bits() == f32::NAN.to_bits())
}

/// The elements of `t` as texts.
pub(super) fn elements(t: &Tensor) -> Vec<String> {
    match t.to_i32_vec() {
        Some(v) => v.iter().map(i32::to_string).collect(),
        None => t.as_f32().iter().map(|&v| float(v)).collect(),
    }
}

/// The tensor whose elements, in number equal to the product of `shape`, are the integers `values`; `None` when one is
/// out of range.
fn integers(element: ElementType, shape: Vec<usize>, values: &[i64]) -> Option<Tensor> {
    Some(match element {
        ElementType::F32 => return None,
        ElementType::I8 => Tensor::i8(shape, values.iter().map(|&v| i8::try_from(v).ok()).collect::<Option<Vec<_>>>()?),
        ElementType::I16 => Tensor::i16(shape, values.iter().map(|&v| i16::try_from(v).ok()).collect::<Option<Vec<_>>>()?),
        ElementType::I32 => Tensor::i32(shape, values.iter().map(|&v| i32::try_from(v).ok()).collect::<Option<Vec<_>>>()?),
    })
}

/// The tensor of the given numbers, as many as `shape` says; `Err` is the index of the number that does not fit the
/// element type.
pub(super) fn from_numbers(element: ElementType, shape: Vec<usize>, numbers: &[&str]) -> Result<Tensor, usize> {
    if element == ElementType::F32 {
        let parsed = numbers.iter().enumerate().map(|(i, n)| parse_float(n).ok_or(i)).collect::<Result<Vec<f32>, usize>>()?;
        return Ok(Tensor::f32(shape, parsed));
    }
    let fits = |n: &str| n.parse::<i64>().ok().filter(|&v| integers(element, vec![1], &[v]).is_some());
    let parsed = numbers.iter().enumerate().map(|(i, n)| fits(n).ok_or(i)).collect::<Result<Vec<i64>, usize>>()?;
    integers(element, shape, &parsed).ok_or(0)
}

/// The tensor written `seeded(seed, scale)`; see the module documentation.
pub fn seeded(element: ElementType, shape: impl Into<Vec<usize>>, seed: u64, scale: f32) -> Tensor {
    let shape = shape.into();
    let mut random = Random::new(seed);
    let values = (0..shape.iter().product()).map(|_| scale * random.signed_unit());
    // Float to integer casts saturate.
    match element {
        ElementType::F32 => Tensor::f32(shape, values.collect::<Vec<f32>>()),
        ElementType::I8 => Tensor::i8(shape, values.map(|v| v.round() as i8).collect::<Vec<i8>>()),
        ElementType::I16 => Tensor::i16(shape, values.map(|v| v.round() as i16).collect::<Vec<i16>>()),
        ElementType::I32 => Tensor::i32(shape, values.map(|v| v.round() as i32).collect::<Vec<i32>>()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_print_as_short_as_they_parse_back() {
        for (value, text) in [(1.0, "1"), (0.1, "0.1"), (-0.0, "-0.0"), (1e20, "1e20"), (f32::MIN_POSITIVE, "1.1754944e-38")] {
            assert_eq!(float(value), text);
            assert_eq!(parse_float(text).map(f32::to_bits), Some(value.to_bits()));
        }
        assert_eq!(parse_float("1e999"), None);
        assert_eq!(parse_float("infinity"), None);
    }

    #[test]
    fn seeded_numbers_never_change() {
        assert_eq!(elements(&seeded(ElementType::F32, [3], 7, 1.0)), ["-0.22034061", "-0.9664235", "0.8015213"]);
        assert_eq!(elements(&seeded(ElementType::I8, [3], 7, 1000.0)), ["-128", "-128", "127"]);
    }
}
