//! Coefficients from measurements: least squares of relative errors, without negative coefficients.

/// The coefficients `x ≥ 0` under which `features · x` is nearest to what was measured, relative to
/// it. A measurement is its features and its value; all have `N` features.
pub fn fit<const N: usize>(measurements: &[([f64; N], f64)]) -> [f64; N] {
    let mut used = [true; N];
    loop {
        let x = solve(measurements, &used);
        // What would be negative is left out, the worst one first, and the rest fitted again.
        match (0..N).filter(|&i| x[i] < 0.0).min_by(|&a, &b| x[a].total_cmp(&x[b])) {
            Some(worst) => used[worst] = false,
            None => return x,
        }
    }
}

/// The same for features in use, with negative coefficients: the normal equations, by elimination.
fn solve<const N: usize>(measurements: &[([f64; N], f64)], used: &[bool; N]) -> [f64; N] {
    let mut a = [[0.0; N]; N];
    let mut b = [0.0; N];
    for (features, value) in measurements {
        for i in (0..N).filter(|&i| used[i]) {
            b[i] += features[i] / value;
            (0..N).filter(|&j| used[j]).for_each(|j| a[i][j] += features[i] * features[j] / (value * value));
        }
    }
    for i in 0..N {
        // A feature that no measurement has, or that is not used, gets nothing.
        if a[i][i] <= f64::EPSILON {
            (a[i], b[i]) = ([0.0; N], 0.0);
            a[i][i] = 1.0;
        }
    }
    for i in 0..N {
        for j in 0..N {
            if j != i && a[i][i] != 0.0 {
                let factor = a[j][i] / a[i][i];
                let pivot = a[i];
                a[j].iter_mut().zip(pivot).for_each(|(x, p)| *x -= factor * p);
                b[j] -= factor * b[i];
            }
        }
    }
    std::array::from_fn(|i| if a[i][i] == 0.0 { 0.0 } else { b[i] / a[i][i] })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coefficients_come_back_and_none_is_negative() {
        let measured = |f: [f64; 3]| (f, 2.0 * f[0] + 0.5 * f[1]);
        let points = [[1.0, 0.0, 0.3], [1.0, 4.0, 0.1], [2.0, 1.0, 0.9], [0.5, 9.0, 0.2]].map(measured);
        let x = fit(&points);
        assert!((x[0] - 2.0).abs() < 1e-9 && (x[1] - 0.5).abs() < 1e-9 && x[2].abs() < 1e-9, "{x:?}");
        let falling = [([1.0, 1.0], 3.0), ([1.0, 2.0], 2.0), ([1.0, 3.0], 1.0)];
        let x = fit(&falling);
        assert!(x[0] > 0.0 && x[1] == 0.0, "{x:?}");
    }
}
