//! The inner loops of dense linear operations. Each is compiled twice, for any CPU and for AVX2;
//! both round alike.

use super::number::Number;

/// Rows of a weight panel.
pub(crate) const ROWS: usize = 4;
/// Columns of a data panel.
pub(crate) const COLUMNS: usize = 16;
const LANES: usize = 32;

/// Calls `$body::<N>` compiled for AVX2, or for the instruction sets that are named, where the CPU
/// has them.
macro_rules! for_this_cpu {
    ($body:ident($($arg:ident: $ty:ty),*)) => {
        for_this_cpu!("avx2", $body($($arg: $ty),*))
    };
    ($feature:tt, $body:ident($($arg:ident: $ty:ty),*)) => {{
        #[cfg(target_arch = "x86_64")]
        {
            #[target_feature(enable = $feature)]
            fn wide<N: Number>($($arg: $ty),*) {
                $body::<N>($($arg),*)
            }
            if is_x86_feature_detected!($feature) {
                // SAFETY: `wide` is safe code that only needs the instructions named, and the CPU
                // has them.
                return unsafe { wide::<N>($($arg),*) };
            }
        }
        $body::<N>($($arg),*)
    }};
}

/// A weight matrix `[rows, depth]` in panels of [`ROWS`] rows, each `[depth][ROWS]`, the last one
/// filled with zeros.
#[derive(Clone, Debug)]
pub(crate) struct Panels<N> {
    rows: usize,
    depth: usize,
    data: Vec<N>,
}

impl<N: Number> Panels<N> {
    pub fn new(weight: &[N], rows: usize, depth: usize) -> Self {
        let mut data = vec![N::default(); rows.div_ceil(ROWS) * ROWS * depth];
        for row in 0..rows {
            let panel = &mut data[row / ROWS * ROWS * depth..];
            for k in 0..depth {
                panel[k * ROWS + row % ROWS] = weight[row * depth + k];
            }
        }
        Panels { rows, depth, data }
    }
}

/// `out[row·pitch + column] = bias[row] + Σ_k weight[row][k]·data[k][column]` for the first
/// `columns` columns of a data panel `[depth][COLUMNS]`.
pub(crate) fn multiply_panel<N: Number>(
    weight: &Panels<N>,
    bias: Option<&[N]>,
    data: &[[N; COLUMNS]],
    out: &mut [N],
    pitch: usize,
    columns: usize,
) {
    let (panels, _) = weight.data.as_chunks::<ROWS>();
    let mut sums = [[N::Sum::default(); COLUMNS]; 2 * ROWS];
    for (p, pair) in panels.chunks(2 * weight.depth).enumerate() {
        let (first, second) = pair.split_at(weight.depth.min(pair.len()));
        if !second.is_empty() && holds_two_panels() {
            multiply_blocks([first, second], data, &mut sums);
        } else {
            let (halves, _) = sums.as_chunks_mut::<ROWS>();
            for (panel, sums) in [first, second].into_iter().zip(halves).filter(|(panel, _)| !panel.is_empty()) {
                multiply_block(panel, data, sums);
            }
        }
        for (r, sums) in sums.iter().enumerate().take(weight.rows - p * 2 * ROWS) {
            let row = p * 2 * ROWS + r;
            let b = bias.map_or_else(N::Sum::default, |b| b[row].widen());
            for (o, &s) in out[row * pitch..][..columns].iter_mut().zip(sums) {
                *o = N::narrow(N::add(s, b));
            }
        }
    }
}

/// Whether the CPU has registers for the sums of two panels; without them they would go through
/// memory at every product.
fn holds_two_panels() -> bool {
    #[cfg(target_arch = "x86_64")]
    return is_x86_feature_detected!("avx512f");
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// `A·B` for a row-major `a` of `depth` columns and a row-major `b` of `depth` rows.
pub fn matrix_product(a: &[f32], b: &[f32], depth: usize) -> Vec<f32> {
    let (rows, columns) = (a.len() / depth, b.len() / depth);
    let a = Panels::new(a, rows, depth);
    let mut out = vec![0.0; rows * columns];
    let mut panel = vec![[0.0; COLUMNS]; depth];
    for first in (0..columns).step_by(COLUMNS) {
        let width = COLUMNS.min(columns - first);
        panel.iter_mut().zip(b.chunks_exact(columns)).for_each(|(to, row)| to[..width].copy_from_slice(&row[first..first + width]));
        multiply_panel(&a, None, &panel, &mut out[first..], columns, width);
    }
    out
}

/// A function of its own, so that the sums stay in vector registers.
#[inline(never)]
fn multiply_block<N: Number>(weight: &[[N; ROWS]], data: &[[N; COLUMNS]], out: &mut [[N::Sum; COLUMNS]; ROWS]) {
    for_this_cpu!(multiply_block_body(weight: &[[N; ROWS]], data: &[[N; COLUMNS]], out: &mut [[N::Sum; COLUMNS]; ROWS]))
}

/// The same for two panels, where the CPU [`holds_two_panels`].
#[inline(never)]
fn multiply_blocks<N: Number>(weight: [&[[N; ROWS]]; 2], data: &[[N; COLUMNS]], out: &mut [[N::Sum; COLUMNS]; 2 * ROWS]) {
    for_this_cpu!("avx512f", multiply_blocks_body(weight: [&[[N; ROWS]]; 2], data: &[[N; COLUMNS]], out: &mut [[N::Sum; COLUMNS]; 2 * ROWS]))
}

#[inline(always)]
fn multiply_blocks_body<N: Number>(weight: [&[[N; ROWS]]; 2], data: &[[N; COLUMNS]], out: &mut [[N::Sum; COLUMNS]; 2 * ROWS]) {
    let mut sums = [[N::Sum::default(); COLUMNS]; 2 * ROWS];
    for ((first, second), x) in weight[0].iter().zip(weight[1]).zip(data) {
        for r in 0..ROWS {
            for c in 0..COLUMNS {
                sums[r][c] = N::add_product(sums[r][c], first[r], x[c]);
                sums[ROWS + r][c] = N::add_product(sums[ROWS + r][c], second[r], x[c]);
            }
        }
    }
    *out = sums;
}

#[inline(always)]
fn multiply_block_body<N: Number>(weight: &[[N; ROWS]], data: &[[N; COLUMNS]], out: &mut [[N::Sum; COLUMNS]; ROWS]) {
    let mut sums = [[N::Sum::default(); COLUMNS]; ROWS];
    for (w, x) in weight.iter().zip(data) {
        for r in 0..ROWS {
            for c in 0..COLUMNS {
                sums[r][c] = N::add_product(sums[r][c], w[r], x[c]);
            }
        }
    }
    *out = sums;
}

/// `out[o] = bias[o] + Σ_k weight[o][k]·x[k]` for a row-major weight.
pub(crate) fn multiply_vector<N: Number>(weight: &[N], bias: Option<&[N]>, x: &[N], out: &mut [N]) {
    for_this_cpu!(multiply_vector_body(weight: &[N], bias: Option<&[N]>, x: &[N], out: &mut [N]))
}

#[inline(always)]
fn multiply_vector_body<N: Number>(weight: &[N], bias: Option<&[N]>, x: &[N], out: &mut [N]) {
    for (o, (row, out)) in weight.chunks_exact(x.len()).zip(out).enumerate() {
        let mut lanes = [N::Sum::default(); LANES];
        let ((row, row_rest), (x, x_rest)) = (row.as_chunks::<LANES>(), x.as_chunks::<LANES>());
        for (w, x) in row.iter().zip(x) {
            for l in 0..LANES {
                lanes[l] = N::add_product(lanes[l], w[l], x[l]);
            }
        }
        for (l, (&w, &x)) in row_rest.iter().zip(x_rest).enumerate() {
            lanes[l] = N::add_product(lanes[l], w, x);
        }
        let sum = lanes.into_iter().fold(N::Sum::default(), N::add);
        *out = N::narrow(N::add(sum, bias.map_or_else(N::Sum::default, |b| b[o].widen())));
    }
}

/// `sums[i] += factor·x[i·stride]`.
pub(crate) fn add_multiple<N: Number>(sums: &mut [N::Sum], factor: N, x: &[N], stride: usize) {
    for_this_cpu!(add_multiple_body(sums: &mut [N::Sum], factor: N, x: &[N], stride: usize))
}

#[inline(always)]
fn add_multiple_body<N: Number>(sums: &mut [N::Sum], factor: N, x: &[N], stride: usize) {
    if stride == 1 {
        for (s, &x) in sums.iter_mut().zip(x) {
            *s = N::add_product(*s, factor, x);
        }
    } else {
        for (s, &x) in sums.iter_mut().zip(x.iter().step_by(stride)) {
            *s = N::add_product(*s, factor, x);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_matrix_product_is_rows_by_columns_whatever_the_shape() {
        let (rows, depth, columns) = (5, 3, 19);
        let a: Vec<f32> = (0..rows * depth).map(|i| i as f32).collect();
        let b: Vec<f32> = (0..depth * columns).map(|i| 1.0 - i as f32).collect();
        let product = matrix_product(&a, &b, depth);
        for (i, got) in product.iter().enumerate() {
            let want: f32 = (0..depth).map(|k| a[i / columns * depth + k] * b[k * columns + i % columns]).sum();
            assert_eq!(*got, want);
        }
    }

    #[test]
    fn every_cpu_rounds_alike() {
        let values = |n: usize, seed: u32| -> Vec<f32> {
            (0..n as u32).map(|i| (i.wrapping_add(seed).wrapping_mul(2_654_435_761) >> 8) as f32 / 1e6 - 8.0).collect()
        };
        let (weight, data) = (values(100 * ROWS, 1), values(100 * COLUMNS, 2));
        let (weight, data) = (weight.as_chunks().0, data.as_chunks().0);
        let (mut here, mut anywhere) = ([[0.0f32; COLUMNS]; ROWS], [[0.0f32; COLUMNS]; ROWS]);
        multiply_block(weight, data, &mut here);
        multiply_block_body(weight, data, &mut anywhere);
        assert_eq!(here, anywhere);

        let mut pair = [[0.0f32; COLUMNS]; 2 * ROWS];
        multiply_blocks([weight, weight], data, &mut pair);
        assert_eq!(pair[..ROWS], anywhere);
        assert_eq!(pair[ROWS..], anywhere);

        let (weight, x) = (values(3 * 77, 3), values(77, 4));
        let (mut here, mut anywhere) = ([0.0; 3], [0.0; 3]);
        multiply_vector(&weight, None, &x, &mut here);
        multiply_vector_body(&weight, None, &x, &mut anywhere);
        assert_eq!(here, anywhere);

        for stride in [1, 3] {
            let (mut here, mut anywhere) = (values(25, 5), values(25, 5));
            add_multiple(&mut here, 1.7, &x, stride);
            add_multiple_body(&mut anywhere, 1.7, &x, stride);
            assert_eq!(here, anywhere);
        }
    }
}
