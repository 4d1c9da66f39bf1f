//! Ridge regression by the normal equations: the closed form behind weight refits.

use rayon::prelude::*;

/// Rows that are multiplied at a time.
const BLOCK: usize = 256;

/// The Cholesky factor of `XᵀX + λ·mean(diag)·I`, with which any number of right-hand sides can be solved.
/// The last column of X is taken as the constant and is not regularised.
pub struct NormalEquations {
    factor: Vec<f64>,
    columns: usize,
}

impl NormalEquations {
    /// From row-major `rows` of `columns` values. `None` when the matrix is not positive definite in spite of the ridge.
    pub fn new(rows: &[f32], columns: usize, ridge: f64) -> Option<Self> {
        let mut gram = vec![0f64; columns * columns];
        // Each row of the result is summed over blocks in order by one thread: the same bits whatever the thread count.
        gram.par_chunks_exact_mut(columns).enumerate().for_each(|(i, out)| {
            let mut partial = vec![0f32; i + 1];
            for block in rows.chunks(BLOCK * columns) {
                partial.fill(0.0);
                for row in block.chunks_exact(columns).filter(|row| row[i] != 0.0) {
                    let x = row[i];
                    partial.iter_mut().zip(row).for_each(|(p, &v)| *p += x * v);
                }
                out.iter_mut().zip(&partial).for_each(|(o, &p)| *o += f64::from(p));
            }
        });
        let mean = (0..columns - 1).map(|i| gram[i * columns + i]).sum::<f64>() / (columns - 1).max(1) as f64;
        for i in 0..columns {
            gram[i * columns + i] += mean * 1e-9 + if i + 1 < columns { ridge * mean } else { 0.0 };
        }
        cholesky(&mut gram, columns).then_some(NormalEquations { factor: gram, columns })
    }

    /// `(XᵀX + ..)⁻¹ Xᵀ y` for the given row-major `rows` and one target per row.
    pub fn solve(&self, rows: &[f32], target: impl Fn(usize) -> f32) -> Vec<f64> {
        let n = self.columns;
        let mut sums = vec![0f64; n];
        let mut partial = vec![0f32; n];
        for (b, block) in rows.chunks(BLOCK * n).enumerate() {
            partial.fill(0.0);
            for (r, row) in block.chunks_exact(n).enumerate() {
                let y = target(b * BLOCK + r);
                partial.iter_mut().zip(row).for_each(|(p, &v)| *p += y * v);
            }
            sums.iter_mut().zip(&partial).for_each(|(s, &p)| *s += f64::from(p));
        }
        for i in 0..n {
            let (done, rest) = sums.split_at_mut(i);
            let dot: f64 = done.iter().zip(&self.factor[i * n..]).map(|(s, l)| s * l).sum();
            rest[0] = (rest[0] - dot) / self.factor[i * n + i];
        }
        for i in (0..n).rev() {
            sums[i] /= self.factor[i * n + i];
            let x = sums[i];
            (0..i).for_each(|j| sums[j] -= x * self.factor[i * n + j]);
        }
        sums
    }
}

/// Replaces the lower triangle of a symmetric matrix by its Cholesky factor; false when it is not positive definite.
fn cholesky(matrix: &mut [f64], n: usize) -> bool {
    for j in 0..n {
        let (above, below) = matrix.split_at_mut((j + 1) * n);
        let row = &mut above[j * n..];
        let pivot = row[j] - row[..j].iter().map(|v| v * v).sum::<f64>();
        if pivot.is_nan() || pivot <= 0.0 {
            return false;
        }
        let pivot = pivot.sqrt();
        row[j] = pivot;
        let row: &[f64] = row;
        below.par_chunks_exact_mut(n).with_min_len(64).for_each(|other| {
            let dot: f64 = other[..j].iter().zip(&row[..j]).map(|(a, b)| a * b).sum();
            other[j] = (other[j] - dot) / pivot;
        });
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_linear_relation_with_an_offset_is_recovered() {
        let mut rows = Vec::new();
        let mut targets = Vec::new();
        for i in 0..500u32 {
            let (a, b) = ((i * 37 % 101) as f32 / 101.0, (i * 53 % 89) as f32 / 89.0);
            rows.extend([a, b, 1.0]);
            targets.push(2.0 * a - 3.0 * b + 0.5);
        }
        let solution = NormalEquations::new(&rows, 3, 1e-9).unwrap().solve(&rows, |i| targets[i]);
        for (got, want) in solution.iter().zip([2.0, -3.0, 0.5]) {
            assert!((got - want).abs() < 1e-4, "{solution:?}");
        }
    }
}
