//! The best piecewise linear function for a scalar function under a distribution of its argument.
//!
//! `f(x) ≈ v₀ + Σₖ sₖ · clip(x − kₖ, 0, kₖ₊₁ − kₖ)`: one segment between each two neighbouring knots. Knots come from
//! dynamic programming over candidate places, with the squared error of the chord as a segment's cost (Bellman &
//! Roth 1969); the values at the knots then from least squares, which is a tridiagonal system in the basis of hat functions.

use super::distribution::Distribution;

/// A continuous function that is linear between knots and constant before the first.
#[derive(Clone, Debug, PartialEq)]
pub struct PiecewiseLinear {
    /// Ascending; one more than there are segments.
    pub knots: Vec<f64>,
    /// The function at each knot.
    pub values: Vec<f64>,
    /// Whether the last segment goes on after the last knot; else the function is constant there.
    pub grows: bool,
}

/// What a function loses when another stands for it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Loss {
    /// Root mean square of the difference over that of the function; 0 where the function is 0.
    pub relative: f64,
    /// Largest difference over the range of the distribution.
    pub largest: f64,
}

/// Candidate places of knots are as many equally spaced ones and as many quantiles.
const CANDIDATES: usize = 96;
/// How far beyond the values seen the function is fitted, as a part of their range, and how much that counts beside them:
/// other inputs go somewhat further than those seen.
const MARGIN: f64 = 0.1;
const MARGIN_WEIGHT: f64 = 1e-3;

impl PiecewiseLinear {
    /// The function at `x`.
    pub fn apply(&self, x: f64) -> f64 {
        let last = self.knots.len() - 1;
        if x <= self.knots[0] {
            return self.values[0];
        }
        if x >= self.knots[last] && !self.grows {
            return self.values[last];
        }
        let i = self.knots.partition_point(|&k| k <= x).clamp(1, last);
        self.values[i - 1] + self.slope(i - 1) * (x - self.knots[i - 1])
    }

    /// Slope of segment `i`.
    pub fn slope(&self, i: usize) -> f64 {
        (self.values[i + 1] - self.values[i]) / (self.knots[i + 1] - self.knots[i])
    }

    /// Number of segments.
    pub fn segments(&self) -> usize {
        self.knots.len() - 1
    }

    /// What is lost when it stands for `f` on values distributed as `seen`.
    pub fn loss(&self, f: impl Fn(f64) -> f64, seen: &Distribution) -> Loss {
        let (mut error, mut power, mut largest) = (0.0, 0.0, 0f64);
        for (x, weight) in seen.points() {
            let (y, difference) = (f(x), f(x) - self.apply(x));
            error += weight * difference * difference;
            power += weight * y * y;
            largest = largest.max(difference.abs());
        }
        Loss { relative: if error > 0.0 { (error / power).sqrt() } else { 0.0 }, largest }
    }
}

/// Sums over the first points, from which the error of any line over any stretch of them follows.
#[derive(Clone, Copy, Default)]
struct Sums {
    w: f64,
    wx: f64,
    wxx: f64,
    wy: f64,
    wxy: f64,
    wyy: f64,
}

impl Sums {
    fn with(self, x: f64, y: f64, w: f64) -> Sums {
        Sums {
            w: self.w + w,
            wx: self.wx + w * x,
            wxx: self.wxx + w * x * x,
            wy: self.wy + w * y,
            wxy: self.wxy + w * x * y,
            wyy: self.wyy + w * y * y,
        }
    }

    /// Squared error of `y = a + b·x` over the points in these sums and not in `before`.
    fn error(self, before: Sums, a: f64, b: f64) -> f64 {
        let (w, wx, wxx) = (self.w - before.w, self.wx - before.wx, self.wxx - before.wxx);
        let (wy, wxy, wyy) = (self.wy - before.wy, self.wxy - before.wxy, self.wyy - before.wyy);
        (wyy + a * a * w + b * b * wxx + 2.0 * (a * b * wx - a * wy - b * wxy)).max(0.0)
    }
}

/// The piecewise linear function with the fewest segments, at most `most`, whose relative error (see [`Loss`]) is at most
/// `error`; the best one with `most` segments where none reaches that. `grows` says that `f` goes on with a slope
/// towards +∞; towards −∞ every function that is fitted here is flat.
pub fn fit(f: impl Fn(f64) -> f64, grows: bool, seen: &Distribution, most: usize, error: f64) -> PiecewiseLinear {
    let points = widened(seen);
    let first = points[0].0;
    let span = points[points.len() - 1].0 - first;
    // Coordinates relative to the range keep the sums well conditioned.
    let g = |u: f64| f(first + u * span);
    let points: Vec<(f64, f64, f64)> = points.iter().map(|&(x, w)| ((x - first) / span, g((x - first) / span), w)).collect();
    let places = candidates(&points);
    let plan = Plan::new(&places, &points, g, grows);
    let mut best = None;
    for segments in 1..=most.clamp(1, places.len() - 1) {
        let knots = plan.knots(segments);
        let values = least_squares(&knots, &points, g);
        let fitted = PiecewiseLinear { knots: knots.iter().map(|u| first + u * span).collect(), values, grows };
        let loss = fitted.loss(&f, seen).relative;
        if best.as_ref().is_none_or(|(least, _)| loss < *least) {
            best = Some((loss, fitted));
        }
        if loss <= error {
            break;
        }
    }
    best.expect("at least one number of segments was tried").1
}

/// The distribution with a little weight everywhere, somewhat beyond its ends too.
fn widened(seen: &Distribution) -> Vec<(f64, f64)> {
    let total: f64 = seen.bins.iter().sum::<f64>().max(1e-300);
    let step = (seen.high - seen.low) / seen.bins.len() as f64;
    let beyond = (MARGIN * seen.bins.len() as f64) as i64;
    let places = -beyond..seen.bins.len() as i64 + beyond;
    let extra = MARGIN_WEIGHT / places.clone().count() as f64;
    places
        .map(|i| {
            let weight = usize::try_from(i).ok().and_then(|i| seen.bins.get(i)).copied().unwrap_or(0.0) / total;
            (seen.low + (i as f64 + 0.5) * step, weight + extra)
        })
        .collect()
}

/// Indices of points at which a knot may be.
fn candidates(points: &[(f64, f64, f64)]) -> Vec<usize> {
    let last = points.len() - 1;
    let mut places: Vec<usize> = (0..=CANDIDATES).map(|i| i * last / CANDIDATES).collect();
    let total: f64 = points.iter().map(|p| p.2).sum();
    let mut below = 0.0;
    for (i, point) in points.iter().enumerate() {
        let quantile = |w: f64| (w / total * CANDIDATES as f64) as usize;
        if quantile(below + point.2) > quantile(below) {
            places.push(i);
        }
        below += point.2;
    }
    places.sort_unstable();
    places.dedup();
    places
}

/// Least costs of reaching each candidate place with a number of segments.
struct Plan<'a> {
    places: &'a [usize],
    points: &'a [(f64, f64, f64)],
    sums: Vec<Sums>,
    at: Vec<f64>,
    grows: bool,
}

impl<'a> Plan<'a> {
    fn new(places: &'a [usize], points: &'a [(f64, f64, f64)], g: impl Fn(f64) -> f64, grows: bool) -> Self {
        let mut sums = vec![Sums::default()];
        for &(x, y, w) in points {
            sums.push(sums[sums.len() - 1].with(x, y, w));
        }
        let at = places.iter().map(|&p| g(points[p].0)).collect();
        Plan { places, points, sums, at, grows }
    }

    /// Squared error of the chord between candidates `i` and `j`.
    fn chord(&self, i: usize, j: usize) -> f64 {
        let (from, to) = (self.places[i], self.places[j]);
        let slope = (self.at[j] - self.at[i]) / (self.points[to].0 - self.points[from].0);
        self.sums[to].error(self.sums[from], self.at[i] - slope * self.points[from].0, slope)
    }

    /// The knots of the best function with `segments` segments.
    fn knots(&self, segments: usize) -> Vec<f64> {
        let n = self.places.len();
        let zero = Sums::default();
        let mut cost: Vec<f64> = (0..n).map(|i| self.sums[self.places[i]].error(zero, self.at[i], 0.0)).collect();
        let mut from: Vec<Vec<usize>> = Vec::with_capacity(segments);
        for _ in 0..segments {
            let mut next = vec![f64::INFINITY; n];
            let mut origin = vec![0; n];
            for j in 1..n {
                for (i, so_far) in cost[..j].iter().enumerate() {
                    let total = so_far + self.chord(i, j);
                    if total < next[j] {
                        (next[j], origin[j]) = (total, i);
                    }
                }
            }
            cost = next;
            from.push(origin);
        }
        let whole = self.sums[self.sums.len() - 1];
        let after = |i: usize| whole.error(self.sums[self.places[i]], self.at[i], 0.0);
        let mut end = n - 1;
        if !self.grows {
            end = (segments..n).min_by(|&a, &b| (cost[a] + after(a)).total_cmp(&(cost[b] + after(b)))).unwrap_or(end);
        }
        let mut knots = vec![end];
        for origin in from.iter().rev() {
            knots.push(origin[knots[knots.len() - 1]]);
        }
        knots.iter().rev().map(|&k| self.points[self.places[k]].0).collect()
    }
}

/// Values at the knots with the least squared error, drawn very weakly towards the function's own.
fn least_squares(knots: &[f64], points: &[(f64, f64, f64)], g: impl Fn(f64) -> f64) -> Vec<f64> {
    const PULL: f64 = 1e-7;
    let n = knots.len();
    let mut diagonal = vec![PULL; n];
    let mut above = vec![0.0; n];
    let mut right: Vec<f64> = knots.iter().map(|&k| PULL * g(k)).collect();
    for &(x, y, w) in points {
        let i = knots.partition_point(|&k| k <= x).clamp(1, n - 1) - 1;
        let t = ((x - knots[i]) / (knots[i + 1] - knots[i])).clamp(0.0, 1.0);
        diagonal[i] += w * (1.0 - t) * (1.0 - t);
        diagonal[i + 1] += w * t * t;
        above[i] += w * t * (1.0 - t);
        right[i] += w * (1.0 - t) * y;
        right[i + 1] += w * t * y;
    }
    // Thomas algorithm: the matrix is symmetric and positive definite.
    for i in 1..n {
        let factor = above[i - 1] / diagonal[i - 1];
        diagonal[i] -= factor * above[i - 1];
        right[i] -= factor * right[i - 1];
    }
    let mut values = vec![0.0; n];
    for i in (0..n).rev() {
        let carried = if i + 1 < n { above[i] * values[i + 1] } else { 0.0 };
        values[i] = (right[i] - carried) / diagonal[i];
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calibrate::moments::Moments;
    use snn_ir::Activation;

    fn normal(deviation: f32) -> Distribution {
        Moments { mean: vec![0.0], variance: vec![deviation * deviation] }.distribution()
    }

    fn function(a: Activation) -> impl Fn(f64) -> f64 {
        move |x| f64::from(a.apply(x as f32, 0.0))
    }

    #[test]
    fn a_piecewise_linear_function_is_found_exactly() {
        let clip = |x: f64| x.clamp(-1.0, 0.5);
        let fitted = fit(clip, false, &normal(1.0), 8, 1e-2);
        assert_eq!(fitted.segments(), 1);
        assert!(fitted.loss(clip, &normal(1.0)).relative < 1e-2, "{fitted:?}");
    }

    #[test]
    fn eight_segments_hold_every_smooth_activation_to_two_percent() {
        let smooth = [
            (Activation::Sigmoid, false),
            (Activation::Tanh, false),
            (Activation::Softsign, false),
            (Activation::Elu { alpha: 1.0 }, true),
            (Activation::Softplus, true),
            (Activation::Gelu, true),
            (Activation::Silu, true),
            (Activation::Mish, true),
            (Activation::HardSwish, true),
        ];
        for (activation, grows) in smooth {
            for deviation in [0.5, 2.0, 6.0] {
                let f = function(activation.clone());
                let fitted = fit(&f, grows, &normal(deviation), 8, 0.02);
                let loss = fitted.loss(&f, &normal(deviation)).relative;
                assert!(loss <= 0.02, "{} at σ = {deviation}: {loss}, {fitted:?}", activation.name());
            }
        }
    }

    #[test]
    fn knots_go_where_the_weight_is() {
        let mut seen = Distribution::new(-10.0, 10.0);
        (0..1000).for_each(|i| seen.add(2.0 + i as f32 / 1000.0));
        seen.add(-10.0);
        let f = function(Activation::Silu);
        let fitted = fit(&f, true, &seen, 4, 0.0);
        assert!(fitted.knots.iter().filter(|k| (1.9..3.1).contains(*k)).count() >= 2, "{fitted:?}");
        assert!(fitted.loss(&f, &seen).relative < 1e-2);
    }

    #[test]
    fn more_segments_never_lose_more() {
        let f = function(Activation::Tanh);
        let losses: Vec<f64> = (1..8).map(|n| fit(&f, false, &normal(2.0), n, 0.0).loss(&f, &normal(2.0)).relative).collect();
        assert!(losses.windows(2).all(|w| w[1] <= w[0] * 1.0001), "{losses:?}");
    }

    #[test]
    fn a_value_that_never_changes_is_fitted_too() {
        let mut seen = Distribution::new(3.0, 3.0);
        seen.add(3.0);
        let f = function(Activation::Sigmoid);
        assert!(fit(&f, false, &seen, 8, 0.01).loss(&f, &seen).relative < 0.01);
    }
}
