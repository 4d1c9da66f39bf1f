//! Structural operations as index maps: where each element of the result comes from.

use crate::op::Op;

/// The operand and the element in it that an element of the result is; `None` where padding is.
pub type Source = Option<(u32, u32)>;

fn strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis];
    }
    strides
}

/// For every element of the result of a structural operation, in row-major order, where it comes
/// from; `None` when `op` does more than that. Padding may be of any value. Shapes must be those
/// that type inference accepted.
pub fn index_map(op: &Op, operands: &[&[usize]], result: &[usize]) -> Option<Vec<Source>> {
    if !op.is_structural() && !matches!(op, Op::Pad(_)) {
        return None;
    }
    let count: usize = result.iter().product();
    if matches!(op, Op::Identity | Op::Reshape { .. }) {
        return Some((0..count as u32).map(|i| Some((0, i))).collect());
    }
    let operand_strides: Vec<Vec<usize>> = operands.iter().map(|s| strides(s)).collect();
    // Of every index along the axis of a concatenation: the operand, and the index there.
    let joined: Vec<(usize, usize)> = match op {
        Op::Concat { axis } => operands.iter().enumerate().flat_map(|(o, s)| (0..s[*axis]).map(move |i| (o, i))).collect(),
        _ => Vec::new(),
    };
    let mut at = vec![0usize; result.len()];
    let mut map = Vec::with_capacity(count);
    for _ in 0..count {
        let s = &operand_strides[0];
        map.push(match op {
            Op::Transpose { perm } => Some((0, perm.iter().zip(&at).map(|(&axis, &i)| i * s[axis]).sum::<usize>() as u32)),
            Op::Slice(slice) => {
                let element: isize =
                    (0..at.len()).map(|a| (slice.start[a] as isize + at[a] as isize * slice.step[a]) * s[a] as isize).sum();
                Some((0, element as u32))
            }
            Op::Gather { axis, indices } => {
                let element: usize = (0..at.len()).map(|a| if a == *axis { indices[at[a]] } else { at[a] } * s[a]).sum();
                Some((0, element as u32))
            }
            Op::Pad(pad) => (0..at.len())
                .map(|a| at[a].checked_sub(pad.begin[a]).filter(|&i| i < operands[0][a]).map(|i| i * s[a]))
                .sum::<Option<usize>>()
                .map(|element| (0, element as u32)),
            Op::Concat { axis } => {
                let (operand, along) = joined[at[*axis]];
                let s = &operand_strides[operand];
                let element: usize = (0..at.len()).map(|a| if a == *axis { along } else { at[a] } * s[a]).sum();
                Some((operand as u32, element as u32))
            }
            _ => unreachable!("the other structural operations were handled above"),
        });
        for axis in (0..at.len()).rev() {
            at[axis] += 1;
            if at[axis] < result[axis] {
                break;
            }
            at[axis] = 0;
        }
    }
    Some(map)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::{Pad, Slice};

    fn elements(op: &Op, operands: &[&[usize]], result: &[usize]) -> Vec<i64> {
        index_map(op, operands, result).unwrap().into_iter().map(|s| s.map_or(-1, |(o, e)| i64::from(o) * 100 + i64::from(e))).collect()
    }

    #[test]
    fn each_structural_operation_takes_elements_from_where_numpy_does() {
        assert_eq!(elements(&Op::Transpose { perm: vec![1, 0] }, &[&[2, 3]], &[3, 2]), [0, 3, 1, 4, 2, 5]);
        assert_eq!(elements(&Op::Concat { axis: 1 }, &[&[2, 1], &[2, 2]], &[2, 3]), [0, 100, 101, 1, 102, 103]);
        assert_eq!(elements(&Op::Pad(Pad { begin: vec![1], end: vec![1], value: 0.0 }), &[&[2]], &[4]), [-1, 0, 1, -1]);
        assert_eq!(elements(&Op::Slice(Slice { start: vec![3], step: vec![-2], shape: vec![2] }), &[&[4]], &[2]), [3, 1]);
        assert_eq!(elements(&Op::Gather { axis: 0, indices: vec![1, 1] }, &[&[2, 2]], &[2, 2]), [2, 3, 2, 3]);
    }
}
