//! `approximate-activations`: every activation function becomes a sum of rectifiers.
//!
//! Piecewise linear functions do so exactly: leaky and parametric relus (`relu(x) − slope·relu(−x)`), absolute value, clips
//! and hard sigmoids (a relu with a cap). A thresholded relu jumps; the jump becomes a ramp over 1/64 of its height.
//! All others become `c + Σ sₖ·clip(x − kₖ, 0, wₖ)`: segments between knots that lie where they lose least under the
//! distribution of calibrated pre-activations. A segment is a relu with a cap, which a saturating neuron computes
//! exactly; so at any input all segments but one are silent or saturated, and the one in between has all T levels
//! for its short stretch. Uncapped rectifiers with alternating slopes would add up the rounding of all of them instead.
//!
//! The fewest segments that hold the bound `error` (RMS of the difference over the RMS of the function) are used, at most
//! `max_segments`; a note says what each function lost.

use super::{Approximation, Condition, Facts, Pass, PassError, Report, Request};
use crate::calibrate::distribution::{Distribution, distributions};
use crate::calibrate::piecewise::{Loss, fit};
use serde::{Deserialize, Serialize};
use snn_ir::op::{Relu, Scale};
use snn_ir::{Activation, Graph, NodeId, Op, Tensor};

/// The pass.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct ApproximateActivations {
    /// Bound on the RMS error of each function under the calibrated distribution, relative to the RMS of its values.
    pub error: f64,
    /// Most segments per function.
    pub max_segments: usize,
}

impl Default for ApproximateActivations {
    fn default() -> Self {
        ApproximateActivations { error: 0.01, max_segments: 8 }
    }
}

/// One rectifier of a sum: `out · min(max(gain·x + offset, 0), cap)`.
#[derive(Clone, Debug)]
struct Segment {
    gain: f32,
    offset: f32,
    cap: Option<f32>,
    out: Tensor,
}

/// A function as a constant and a sum of rectifiers.
#[derive(Clone, Debug)]
struct Rectifiers {
    constant: f32,
    segments: Vec<Segment>,
}

/// Bounds of a clip beyond this are none: exporters write the largest float for them.
const UNBOUNDED: f32 = 1e30;

/// Width of the ramp that stands for a jump, relative to its height.
const RAMP: f32 = 1.0 / 64.0;

impl Pass for ApproximateActivations {
    fn name(&self) -> &'static str {
        "approximate-activations"
    }

    fn precedes(&self) -> &'static [Condition] {
        &[Condition::Thresholds, Condition::Neurons]
    }

    fn run(&self, graph: &mut Graph, request: &Request<'_>, facts: &mut Facts, report: &mut Report) -> Result<(), PassError> {
        let nodes: Vec<NodeId> = graph.topological()?.into_iter().filter(|&id| matches!(graph.op(id), Op::Activation(_))).collect();
        let curved: Vec<NodeId> = nodes.iter().copied().filter(|&id| exact(graph.op(id)).is_none()).collect();
        let mut fitted: Vec<(NodeId, Rectifiers)> = Vec::new();
        if !curved.is_empty() {
            let operands: Vec<NodeId> = curved.iter().map(|&id| graph.operands(id)[0]).collect();
            let Request { samples, assumed, progress, .. } = request;
            let seen = distributions(graph, &operands, *samples, &facts.moments, assumed, *progress)?;
            for (&id, operand) in curved.iter().zip(&operands) {
                fitted.push((id, self.approximate(graph, id, &seen[operand], report)));
            }
        }
        let mut exactly = Vec::new();
        for &id in &nodes {
            let rectifiers = match exact(graph.op(id)) {
                Some(rectifiers) => {
                    exactly.push(format!("`{}` ({})", graph.node(id).name(), graph.op(id).name()));
                    rectifiers
                }
                None => fitted.remove(0).1,
            };
            report.changed(graph.node(id));
            emit(graph, id, &rectifiers)?;
        }
        if !exactly.is_empty() {
            report.notes.push(format!("became rectifiers exactly: {}", exactly.join(", ")));
        }
        Ok(())
    }
}

impl ApproximateActivations {
    fn approximate(&self, graph: &Graph, id: NodeId, seen: &Distribution, report: &mut Report) -> Rectifiers {
        let Op::Activation(activation) = graph.op(id).clone() else { unreachable!("only activations are approximated") };
        let f = |x: f64| f64::from(activation.apply(x.clamp(-1e30, 1e30) as f32, 0.0));
        let label = format!("`{}` ({})", graph.node(id).name(), activation.name());
        if let Activation::ThresholdedRelu { alpha } = activation {
            report.notes.push(format!("{label}: its jump of {alpha} at {alpha} became a ramp over {}", alpha.abs() * RAMP));
            return jump(alpha);
        }
        let fitted = fit(f, grows(&activation), seen, self.max_segments, self.error);
        let Loss { relative, largest } = fitted.loss(f, seen);
        let mut note = format!(
            "{label}: approximated by {} segments; RMS error {:.2} % of its RMS, largest error {largest:.1e}",
            fitted.segments(),
            relative * 100.0
        );
        if relative > self.error {
            note += &format!(
                ", more than the bound of {:.2} %: --activation-error allows more segments, as does max_segments of approximate-activations",
                self.error * 100.0
            );
        }
        report.notes.push(note);
        report.approximations.push(Approximation {
            node: graph.node(id).name().to_string(),
            operation: activation.name(),
            knots: fitted.knots.clone(),
            relative_error: relative,
            largest_error: Some(largest),
            bound: Some(self.error),
        });
        let last = fitted.segments() - 1;
        let segments = (0..=last).map(|i| Segment {
            gain: 1.0,
            offset: -fitted.knots[i] as f32,
            cap: (i < last || !fitted.grows).then(|| (fitted.knots[i + 1] - fitted.knots[i]) as f32),
            out: Tensor::scalar(fitted.slope(i) as f32),
        });
        Rectifiers { constant: fitted.values[0] as f32, segments: segments.collect() }
    }
}

/// Whether a function that is not piecewise linear goes on with a slope towards +∞.
fn grows(activation: &Activation) -> bool {
    !matches!(activation, Activation::Sigmoid | Activation::Tanh | Activation::Softsign)
}

/// The rectifiers of a piecewise linear, continuous function.
fn exact(op: &Op) -> Option<Rectifiers> {
    let Op::Activation(activation) = op else { return None };
    let segment = |gain, offset, cap, out| Segment { gain, offset, cap, out: Tensor::scalar(out) };
    let sides = |negative: Tensor| Rectifiers {
        constant: 0.0,
        segments: vec![segment(1.0, 0.0, None, 1.0), Segment { gain: -1.0, offset: 0.0, cap: None, out: negative }],
    };
    Some(match activation {
        Activation::LeakyRelu { slope } => sides(Tensor::scalar(-slope)),
        Activation::PRelu(slope) => sides(slope.map(|s| -s)),
        Activation::Abs => sides(Tensor::scalar(1.0)),
        &Activation::Clip { min, max } => match (min > -UNBOUNDED, max < UNBOUNDED) {
            _ if min >= max => Rectifiers { constant: max, segments: Vec::new() },
            (true, true) => Rectifiers { constant: min, segments: vec![segment(1.0, -min, Some(max - min), 1.0)] },
            (true, false) => Rectifiers { constant: min, segments: vec![segment(1.0, -min, None, 1.0)] },
            (false, true) => Rectifiers { constant: max, segments: vec![segment(-1.0, max, None, -1.0)] },
            (false, false) => sides(Tensor::scalar(-1.0)),
        },
        &Activation::HardSigmoid { alpha, beta } => Rectifiers { constant: 0.0, segments: vec![segment(alpha, beta, Some(1.0), 1.0)] },
        Activation::ThresholdedRelu { alpha } if *alpha == 0.0 => {
            Rectifiers { constant: 0.0, segments: vec![segment(1.0, 0.0, None, 1.0)] }
        }
        _ => return None,
    })
}

/// `x` above `alpha`, else 0: a rectifier from `alpha` on, and a step of that height.
fn jump(alpha: f32) -> Rectifiers {
    let width = alpha.abs() * RAMP;
    let step = Segment { gain: 1.0, offset: -alpha, cap: Some(width), out: Tensor::scalar(alpha / width) };
    Rectifiers { constant: 0.0, segments: vec![Segment { gain: 1.0, offset: -alpha, cap: None, out: Tensor::scalar(1.0) }, step] }
}

/// Puts the rectifiers in the place of node `id`, which keeps its name and becomes their sum.
fn emit(graph: &mut Graph, id: NodeId, rectifiers: &Rectifiers) -> Result<(), PassError> {
    let name = graph.node(id).name().to_string();
    let operand = graph.operands(id)[0];
    let scalar = |value: f32, neutral: f32| (value != neutral).then(|| Tensor::scalar(value));
    let constant = scalar(rectifiers.constant, 0.0);
    let Some((first, others)) = rectifiers.segments.split_first() else {
        graph.set_op(id, Op::Scale(Scale { weight: Some(Tensor::scalar(0.0)), bias: constant }))?;
        return Ok(());
    };
    let rectify = |graph: &mut Graph, i: usize, segment: &Segment| -> Result<NodeId, PassError> {
        let mut source = operand;
        if segment.gain != 1.0 || segment.offset != 0.0 {
            let shift = Scale { weight: scalar(segment.gain, 1.0), bias: scalar(segment.offset, 0.0) };
            let fresh = graph.fresh_name(&format!("{name}.segment{i}.shift"));
            source = graph.add(fresh, Op::Scale(shift), &[operand])?;
        }
        let fresh = graph.fresh_name(&format!("{name}.segment{i}"));
        Ok(graph.add(fresh, Op::Relu(Relu { cap: segment.cap, threshold: None }), &[source])?)
    };
    let relu = rectify(graph, 0, first)?;
    let slope = Scale { weight: Some(first.out.clone()), bias: constant };
    if others.is_empty() {
        graph.rewrite(id, Op::Scale(slope), &[relu])?;
        return Ok(());
    }
    let fresh = graph.fresh_name(&format!("{name}.segment0.slope"));
    let mut terms = vec![graph.add(fresh, Op::Scale(slope), &[relu])?];
    for (i, segment) in others.iter().enumerate() {
        let relu = rectify(graph, i + 1, segment)?;
        let fresh = graph.fresh_name(&format!("{name}.segment{}.slope", i + 1));
        terms.push(graph.add(fresh, Op::Scale(Scale { weight: Some(segment.out.clone()), bias: None }), &[relu])?);
    }
    graph.rewrite(id, Op::Add, &terms)?;
    Ok(())
}
