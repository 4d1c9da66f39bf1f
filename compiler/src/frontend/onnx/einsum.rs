//! [Einsum](https://onnx.ai/onnx/operators/onnx__Einsum.html) where it is a linear layer, a scaling or a rearrangement.

use super::constant::Constant;
use super::error::Refusal;
use super::importer::{Importer, Runtime, Value};
use super::linear::linear;
use super::node::NodeView;

/// `ab,bc->ac` taken apart, one character per axis.
struct Equation {
    operands: Vec<Vec<char>>,
    result: Vec<char>,
}

impl Equation {
    fn parse(text: &str) -> Result<Self, Refusal> {
        let compact: String = text.chars().filter(|c| !c.is_whitespace()).collect();
        let (left, right) = match compact.split_once("->") {
            Some((left, right)) => (left, Some(right)),
            None => (compact.as_str(), None),
        };
        if left.chars().chain(right.unwrap_or_default().chars()).any(|c| !c.is_ascii_alphabetic() && c != ',') {
            return Err(format!("equation `{text}` has more than letters").into());
        }
        let operands: Vec<Vec<char>> = left.split(',').map(|o| o.chars().collect()).collect();
        let count = |c: char| operands.iter().flatten().filter(|&&o| o == c).count();
        let result = match right {
            Some(r) => r.chars().collect(),
            // Without an arrow the letters that occur once are kept, in alphabetical order.
            None => {
                let mut once: Vec<char> = operands.iter().flatten().copied().filter(|&c| count(c) == 1).collect();
                once.sort_unstable();
                once
            }
        };
        let twice = |list: &[char]| list.iter().any(|c| list.iter().filter(|d| *d == c).count() > 1);
        if operands.iter().chain([&result]).any(|o| twice(o)) || result.iter().any(|&c| count(c) == 0) {
            return Err(format!("equation `{text}` takes a diagonal or invents an axis").into());
        }
        Ok(Equation { operands, result })
    }
}

/// The positions of `wanted` letters in `letters`.
fn positions(letters: &[char], wanted: &[char]) -> Vec<usize> {
    wanted.iter().filter_map(|w| letters.iter().position(|l| l == w)).collect()
}

/// Sums a constant over the axes whose letters are not in `keep`, and orders the others as in `keep`.
fn arranged(c: &Constant, letters: &[char], keep: &[char]) -> Result<Constant, Refusal> {
    let summed: Vec<char> = letters.iter().copied().filter(|l| !keep.contains(l)).collect();
    let order = [keep, &summed].concat();
    let c = c.transposed(&positions(letters, &order))?;
    let count: usize = c.shape[keep.len()..].iter().product();
    let shape = c.shape[..keep.len()].to_vec();
    if count == 1 {
        return Ok(c.reshaped(shape));
    }
    let data: Vec<f32> = c.to_floats()?.chunks(count.max(1)).map(|chunk| chunk.iter().sum()).collect();
    Ok(Constant::floats(shape, data))
}

/// The computed operand with the axes summed whose letters are not in `keep`, and the others ordered as in `keep`.
fn rearranged(imp: &mut Importer, x: &Runtime, letters: &[char], keep: &[char]) -> Result<Runtime, Refusal> {
    let summed: Vec<usize> = (0..letters.len()).filter(|&a| !keep.contains(&letters[a])).collect();
    let mut x = imp.reduce(x, &summed, false)?;
    let order = [positions(letters, keep), summed].concat();
    x = imp.transpose(&x, &order)?;
    let shape = x.shape[..keep.len()].to_vec();
    if keep.len() == letters.len() { Ok(x) } else { imp.reshape(&x, &shape) }
}

/// Lowers Einsum.
///
/// # Errors
/// When it multiplies two computed values, or is no linear layer.
pub fn einsum(imp: &mut Importer, node: &NodeView) -> Result<Vec<Value>, Refusal> {
    let equation = Equation::parse(node.string("equation", ""))?;
    let fits = |(letters, value): (&Vec<char>, &Option<Value>)| value.as_ref().is_some_and(|v| v.shape().len() == letters.len());
    if equation.operands.len() != node.inputs.len() || !equation.operands.iter().zip(&node.inputs).all(fits) {
        return Err("its equation does not fit its inputs".into());
    }
    let result = &equation.result;
    let (x, a, w, b) = match (&node.inputs[..], &equation.operands[..]) {
        ([Some(Value::Runtime(x))], [a]) => return Ok(vec![rearranged(imp, x, a, result)?.into()]),
        ([Some(Value::Runtime(x)), Some(Value::Constant(w))], [a, b]) => (x, a, w, b),
        ([Some(Value::Constant(w)), Some(Value::Runtime(x))], [b, a]) => (x, a, w, b),
        _ => return Err("it does not combine one computed value with one constant".into()),
    };
    for (axis, letter) in a.iter().enumerate() {
        if b.iter().position(|l| l == letter).is_some_and(|other| w.shape[other] != x.shape[axis]) {
            return Err(format!("axis `{letter}` has two lengths").into());
        }
    }
    let of = |list: &[char], test: &dyn Fn(char) -> bool| list.iter().copied().filter(|&c| test(c)).collect::<Vec<char>>();
    let contracted = of(a, &|c| b.contains(&c) && !result.contains(&c));
    let shared = of(a, &|c| b.contains(&c) && result.contains(&c));
    let kept = of(a, &|c| result.contains(&c));
    let made = of(b, &|c| result.contains(&c) && !a.contains(&c));
    if !shared.is_empty() {
        if !contracted.is_empty() || !made.is_empty() {
            return Err("it is a stack of linear layers with weights of their own".into());
        }
        let x = rearranged(imp, x, a, result)?;
        let weight = arranged(w, b, &of(result, &|c| b.contains(&c)))?;
        let mut extents = weight.shape.iter();
        let spread = result.iter().map(|c| if b.contains(c) { extents.next().copied().unwrap_or(1) } else { 1 }).collect();
        return Ok(vec![imp.scale(&x, Some(&weight.reshaped(spread)), None)?.into()]);
    }
    let x = rearranged(imp, x, a, &[&kept[..], &contracted].concat())?;
    let weight = arranged(w, b, &[&made[..], &contracted].concat())?;
    let (outer, inner) = (x.shape[..kept.len()].to_vec(), x.shape[kept.len()..].iter().product::<usize>());
    let made_shape = weight.shape[..made.len()].to_vec();
    let rows: usize = made_shape.iter().product();
    let flat = imp.reshape(&x, &[&outer[..], &[inner]].concat())?;
    let y = linear(imp, &flat, weight.parameter()?.reshaped([rows, inner]), None)?;
    let y = imp.reshape(&y, &[outer, made_shape].concat())?;
    Ok(vec![rearranged(imp, &y, &[kept, made].concat(), result)?.into()])
}
