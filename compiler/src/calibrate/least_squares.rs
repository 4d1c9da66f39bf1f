//! Ridge regression by the normal equations: the closed form of weight refits.

use rayon::prelude::*;
use snn_runtime::analog::matrix_product;

/// Rows that are multiplied at a time: their products are summed in `f32`, the blocks in `f64`.
const BLOCK: usize = 512;

/// The rows of a regression, row-major. The last column is taken as the constant.
pub struct Rows {
    values: Vec<f32>,
    columns: usize,
}

/// `XᵀX` of some rows.
pub struct Gram {
    values: Vec<f64>,
    columns: usize,
}

/// The Cholesky factor of `XᵀX + λ·mean(diag)·I`, with which any number of right-hand sides can be solved.
pub struct Factor {
    factor: Vec<f64>,
    columns: usize,
}

impl Rows {
    /// From row-major values.
    pub fn new(values: Vec<f32>, columns: usize) -> Rows {
        Rows { values, columns }
    }

    /// `XᵀX`.
    pub fn gram(&self) -> Gram {
        let product = |block: &[f32]| matrix_product(&transposed(block, self.columns), block, block.len() / self.columns);
        Gram { values: self.sum_over_blocks(self.columns * self.columns, |_, block| product(block)), columns: self.columns }
    }

    /// `Xᵀy` for each `y` of `targets`, which has an element per row.
    pub fn moments(&self, targets: &[&[f32]]) -> Vec<Vec<f64>> {
        let sums = self.sum_over_blocks(targets.len() * self.columns, |first, block| {
            let rows = block.len() / self.columns;
            let targets: Vec<f32> = targets.iter().flat_map(|y| y[first..first + rows].iter().copied()).collect();
            matrix_product(&targets, block, rows)
        });
        sums.chunks_exact(self.columns).map(<[f64]>::to_vec).collect()
    }

    /// `X w` for each `w` of `weights`.
    pub fn values(&self, weights: &[&[f64]]) -> Vec<Vec<f32>> {
        let flat: Vec<f32> = weights.iter().flat_map(|w| w.iter().map(|&v| v as f32)).collect();
        let product = |block: &[f32]| matrix_product(&flat, &transposed(block, self.columns), self.columns);
        let blocks: Vec<Vec<f32>> = self.values.par_chunks(BLOCK * self.columns).map(product).collect();
        let of =
            |w: usize| blocks.iter().flat_map(|b| b[w * b.len() / weights.len()..(w + 1) * b.len() / weights.len()].to_vec()).collect();
        (0..weights.len()).map(of).collect()
    }

    /// Sums are taken over blocks in order: the same bits whatever the thread count.
    fn sum_over_blocks(&self, len: usize, product: impl Fn(usize, &[f32]) -> Vec<f32> + Sync) -> Vec<f64> {
        let mut sum = vec![0f64; len];
        let blocks: Vec<(usize, &[f32])> = self.values.chunks(BLOCK * self.columns).enumerate().collect();
        for blocks in blocks.chunks(rayon::current_num_threads()) {
            let products: Vec<Vec<f32>> = blocks.par_iter().map(|(b, block)| product(b * BLOCK, block)).collect();
            products.iter().for_each(|product| sum.iter_mut().zip(product).for_each(|(s, &p)| *s += f64::from(p)));
        }
        sum
    }
}

fn transposed(rows: &[f32], columns: usize) -> Vec<f32> {
    let count = rows.len() / columns;
    let mut out = vec![0.0; rows.len()];
    for (r, row) in rows.chunks_exact(columns).enumerate() {
        row.iter().enumerate().for_each(|(c, &v)| out[c * count + r] = v);
    }
    out
}

impl Gram {
    /// With a ridge `λ` relative to the mean of the diagonal, on all columns but the constant. `None` when the matrix is not
    /// positive definite in spite of it.
    pub fn factor(&self, ridge: f64) -> Option<Factor> {
        let n = self.columns;
        let mut factor = self.values.clone();
        let mean = (0..n - 1).map(|i| factor[i * n + i]).sum::<f64>() / (n - 1).max(1) as f64;
        for i in 0..n {
            factor[i * n + i] += mean * 1e-9 + if i + 1 < n { ridge * mean } else { 0.0 };
        }
        cholesky(&mut factor, n).then_some(Factor { factor, columns: n })
    }

    /// The covariance and the means of all columns but the constant, each column divided by its element of `scales`.
    pub fn covariance(&self, scales: &[f64]) -> (Vec<f64>, Vec<f64>) {
        let n = self.columns;
        let count = self.values[n * n - 1].max(1.0);
        let means: Vec<f64> = scales.iter().zip(&self.values[(n - 1) * n..]).map(|(s, sum)| sum / count / s).collect();
        let element = |i: usize, j: usize| self.values[i * n + j] / count / (scales[i] * scales[j]) - means[i] * means[j];
        let covariance = (0..scales.len()).flat_map(|i| (0..scales.len()).map(move |j| (i, j))).map(|(i, j)| element(i, j)).collect();
        (covariance, means)
    }

    /// `wᵀ XᵀX w`.
    pub fn quadratic(&self, w: &[f64]) -> f64 {
        let rows = self.values.chunks_exact(self.columns).zip(w);
        rows.map(|(row, wi)| wi * row.iter().zip(w).map(|(g, w)| g * w).sum::<f64>()).sum()
    }
}

impl Factor {
    /// `(XᵀX + ..)⁻¹ m`.
    pub fn solve(&self, moment: &[f64]) -> Vec<f64> {
        let n = self.columns;
        let mut x = moment.to_vec();
        for i in 0..n {
            let (done, rest) = x.split_at_mut(i);
            let dot: f64 = done.iter().zip(&self.factor[i * n..]).map(|(s, l)| s * l).sum();
            rest[0] = (rest[0] - dot) / self.factor[i * n + i];
        }
        for i in (0..n).rev() {
            x[i] /= self.factor[i * n + i];
            let xi = x[i];
            x[..i].iter_mut().zip(&self.factor[i * n..]).for_each(|(x, l)| *x -= xi * l);
        }
        x
    }
}

/// Replaces the lower triangle of a symmetric matrix by its Cholesky factor; false when it is not positive definite.
pub(super) fn cholesky(matrix: &mut [f64], n: usize) -> bool {
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
        let mut values = Vec::new();
        let mut targets = Vec::new();
        for i in 0..1300u32 {
            let (a, b) = ((i * 37 % 101) as f32 / 101.0, (i * 53 % 89) as f32 / 89.0);
            values.extend([a, b, 1.0]);
            targets.push(2.0 * a - 3.0 * b + 0.5);
        }
        let rows = Rows::new(values, 3);
        let gram = rows.gram();
        let moment = rows.moments(&[&targets]).remove(0);
        let solution = gram.factor(1e-9).unwrap().solve(&moment);
        for (got, want) in solution.iter().zip([2.0, -3.0, 0.5]) {
            assert!((got - want).abs() < 1e-4, "{solution:?}");
        }
        let fitted = rows.values(&[&solution]).remove(0);
        assert!(fitted.iter().zip(&targets).all(|(a, b)| (a - b).abs() < 1e-3), "its values are the targets");
        let squares: f64 = targets.iter().map(|y| f64::from(y * y)).sum();
        let products: f64 = moment.iter().zip(&solution).map(|(m, w)| m * w).sum();
        assert!((squares - 2.0 * products + gram.quadratic(&solution)).abs() < 1e-3 * squares, "nothing is left over");
    }
}
