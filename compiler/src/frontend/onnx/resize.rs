//! Resampling: [Resize](https://onnx.ai/onnx/operators/onnx__Resize.html) and
//! [Upsample](https://onnx.ai/onnx/operators/onnx__Upsample.html). Every mode is linear in the pixels and separates
//! into axes: nearest neighbours are a gather, anything else a fixed matrix per axis.

use super::error::Refusal;
use super::importer::{Importer, Runtime, Value, index_list};
use super::linear::linear;
use super::node::{NodeView, extent, normal_axis};
use super::registry::{Fidelity, OpSpec};
use snn_ir::Tensor;

/// The operators of this family.
pub const OPS: &[OpSpec] = &[
    OpSpec {
        name: "Resize",
        since: 10,
        inputs: (1, 4),
        fidelity: Fidelity::Exact,
        becomes: "`gather` (nearest), or `linear` along each axis (linear, cubic)",
        limits: "scales and sizes must be constant",
        lower: resize,
    },
    OpSpec {
        name: "Upsample",
        since: 7,
        inputs: (1, 2),
        fidelity: Fidelity::Exact,
        becomes: "`gather` (nearest), or `linear` along each axis (linear)",
        limits: "scales must be constant",
        lower: resize,
    },
];

/// Most elements of an interpolation matrix.
const LARGEST_MATRIX: usize = 1 << 22;

/// How one axis is resampled.
struct Axis {
    input: usize,
    output: usize,
    scale: f32,
    /// The resized length. With scales it need not be whole; its floor is the output's (ONNX reference, since opset 19).
    length: f32,
    /// Region of interest, for tf_crop_and_resize.
    region: (f32, f32),
}

/// What all axes share.
struct Method<'m> {
    mode: &'m str,
    coordinates: &'m str,
    nearest: &'m str,
    cubic: f64,
    exclude_outside: bool,
    antialias: bool,
    extrapolation: f32,
}

impl Axis {
    /// Where output element `i` lies among the inputs. In single precision, as everywhere else: 5 · 0.4 is 2, and a position that
    /// falls on an element, or in the middle of two, must not miss it by rounding.
    fn position(&self, i: usize, coordinates: &str) -> Result<f64, Refusal> {
        let (n, m, i) = (self.input as f32, self.length, i as f32);
        let half_pixel = (i + 0.5) / self.scale - 0.5;
        Ok(f64::from(match coordinates {
            "half_pixel" => half_pixel,
            // Of opsets 11 and 12; older versions of tf2onnx write it.
            "tf_half_pixel_for_nn" => (i + 0.5) / self.scale,
            "half_pixel_symmetric" => n / 2.0 * (1.0 - self.output as f32 / m) + half_pixel,
            // Whole elements, unlike in the formulas below: onnxruntime and PyTorch.
            "pytorch_half_pixel" => {
                if self.output > 1 {
                    half_pixel
                } else {
                    0.0
                }
            }
            "align_corners" => {
                if m > 1.0 {
                    i * (n - 1.0) / (m - 1.0)
                } else {
                    0.0
                }
            }
            "asymmetric" => i / self.scale,
            "tf_crop_and_resize" => {
                let (start, end) = self.region;
                if m > 1.0 { start * (n - 1.0) + i * (end - start) * (n - 1.0) / (m - 1.0) } else { 0.5 * (start + end) * (n - 1.0) }
            }
            other => return Err(format!("coordinate_transformation_mode is `{other}`").into()),
        }))
    }

    fn is_outside(&self, x: f64, method: &Method) -> bool {
        method.coordinates == "tf_crop_and_resize" && (x < 0.0 || x > self.input as f64 - 1.0)
    }

    fn nearest(&self, x: f64, method: &Method) -> Result<usize, Refusal> {
        let rounded = match method.nearest {
            "round_prefer_floor" => (x - 0.5).ceil(),
            "round_prefer_ceil" => (x + 0.5).floor(),
            "floor" => x.floor(),
            "ceil" => x.ceil(),
            "of opset 10" if self.scale < 1.0 => x.ceil(),
            "of opset 10" => x.floor(),
            other => return Err(format!("nearest_mode is `{other}`").into()),
        };
        Ok(rounded.clamp(0.0, self.input as f64 - 1.0) as usize)
    }

    /// The weights of all inputs for an output at `x`, added to `row`.
    fn interpolate(&self, x: f64, method: &Method, row: &mut [f32]) {
        let (radius, kernel): (f64, Box<dyn Fn(f64) -> f64>) = if method.mode == "linear" {
            (1.0, Box::new(|d| (1.0 - d.abs()).clamp(0.0, 1.0)))
        } else {
            let a = method.cubic;
            (
                2.0,
                Box::new(move |d| {
                    let d = d.abs();
                    match d {
                        d if d <= 1.0 => (a + 2.0) * d * d * d - (a + 3.0) * d * d + 1.0,
                        d if d < 2.0 => a * d * d * d - 5.0 * a * d * d + 8.0 * a * d - 4.0 * a,
                        _ => 0.0,
                    }
                }),
            )
        };
        let shrink = if method.antialias { f64::from(self.scale).min(1.0) } else { 1.0 };
        let base = x.ceil() - 1.0;
        let start = (-radius / shrink).floor() + 1.0;
        let taps = (2.0 - 2.0 * start) as i64;
        let last = self.input as f64 - 1.0;
        let tap = |j: i64| {
            let at = base + start + j as f64;
            let inside = (0.0..=last).contains(&at);
            let weight = if inside || !method.exclude_outside { kernel((at - x) * shrink) } else { 0.0 };
            (at.clamp(0.0, last) as usize, weight)
        };
        let total: f64 = (0..taps).map(|j| tap(j).1).sum();
        for (at, weight) in (0..taps).map(tap) {
            row[at] += (weight / total) as f32;
        }
    }
}

/// The axes that change. Sizes or scales are for all axes, or for those that `axes` names.
fn axes(imp: &Importer, node: &NodeView, x: &Runtime) -> Result<Vec<(usize, Axis)>, Refusal> {
    let rank = x.rank();
    let old = node.proto.op_type == "Upsample" || node.opset < 11;
    let list = match node.ints("axes") {
        Some(list) => list.iter().map(|&a| normal_axis(a, rank)).collect::<Result<Vec<_>, _>>()?,
        None => (0..rank).collect(),
    };
    let scales = match node.floats("scales") {
        Some(s) => Some(s.to_vec()),
        None => node.optional_constant(if old { 1 } else { 2 }, "scales")?.map(|c| c.to_floats()).transpose()?.map(|s| s.to_vec()),
    };
    let scales = scales.filter(|s| !s.is_empty());
    let sizes = if old { None } else { node.optional_constant(3, "sizes")? };
    let sizes = sizes.filter(|s| !s.is_empty()).map(|c| c.to_ints()).transpose()?;
    let region = if old { None } else { node.optional_constant(1, "region")? };
    let region = region.filter(|r| r.len() == 2 * list.len()).map(|c| c.to_floats()).transpose()?;
    let mut result = Vec::new();
    let resized = |i: usize, axis: usize| match (&sizes, axis, imp.fixed_batch) {
        (Some(s), 0, Some(batch)) if s[i] == batch as i64 => Ok(1),
        (Some(s), ..) => extent(s[i], "a size").map(|s| s.max(1)),
        _ => Ok(1),
    };
    if sizes.as_ref().map(|s| s.len()).or(scales.as_ref().map(Vec::len)) != Some(list.len()) {
        return Err("its scales or sizes do not fit the axes".into());
    }
    let ratio = |i: usize, axis: usize| -> Result<f32, Refusal> { Ok(resized(i, axis)? as f32 / x.shape[axis] as f32) };
    let ratios = list.iter().enumerate().map(|(i, &a)| ratio(i, a)).collect::<Result<Vec<f32>, _>>()?;
    let common = match node.string("keep_aspect_ratio_policy", "stretch") {
        "not_larger" => Some(ratios.iter().copied().fold(f32::INFINITY, f32::min)),
        "not_smaller" => Some(ratios.iter().copied().fold(0.0, f32::max)),
        _ => None,
    };
    for (i, &axis) in list.iter().enumerate() {
        let input = x.shape[axis];
        let (output, scale, length) = match (&scales, &sizes, common) {
            (_, Some(_), Some(scale)) => ((scale * input as f32).round() as usize, scale, scale * input as f32),
            (_, Some(_), None) => (resized(i, axis)?, ratios[i], resized(i, axis)? as f32),
            (Some(s), None, _) => ((input as f32 * s[i]).floor() as usize, s[i], input as f32 * s[i]),
            _ => return Err("it has neither scales nor sizes".into()),
        };
        if !(scale > 0.0 && scale.is_finite()) || output == 0 {
            return Err(format!("axis {axis} is scaled by {scale}").into());
        }
        index_list(output)?;
        let region = region.as_ref().map_or((0.0, 1.0), |r| (r[i], r[i + list.len()]));
        let cropped = node.string("coordinate_transformation_mode", "half_pixel") == "tf_crop_and_resize" && region != (0.0, 1.0);
        if output != input || scale != 1.0 || cropped {
            result.push((axis, Axis { input, output, scale, length, region }));
        }
    }
    Ok(result)
}

fn resize(imp: &mut Importer, node: &NodeView) -> Result<Vec<Value>, Refusal> {
    let old = node.proto.op_type == "Upsample" || node.opset < 11;
    let method = Method {
        mode: match node.string("mode", "nearest") {
            "bilinear" | "trilinear" => "linear",
            other => other,
        },
        coordinates: node.string("coordinate_transformation_mode", if old { "asymmetric" } else { "half_pixel" }),
        nearest: match node.proto.op_type.as_str() {
            "Upsample" => "floor",
            // Resize of opset 10 does not say; its example, and onnxruntime, round up where they shrink.
            _ if old => "of opset 10",
            _ => node.string("nearest_mode", "round_prefer_floor"),
        },
        cubic: f64::from(node.float("cubic_coeff_a", -0.75)?),
        exclude_outside: node.flag("exclude_outside"),
        antialias: node.flag("antialias"),
        extrapolation: node.float("extrapolation_value", 0.0)?,
    };
    if !matches!(method.mode, "nearest" | "linear" | "cubic") {
        return Err(format!("mode is `{}`", method.mode).into());
    }
    let mut x = node.runtime(0)?.clone();
    for (axis, how) in axes(imp, node, &x)? {
        let positions = (0..how.output).map(|i| how.position(i, method.coordinates)).collect::<Result<Vec<_>, _>>()?;
        if method.mode == "nearest" && !positions.iter().any(|&p| how.is_outside(p, &method)) {
            let indices = positions.iter().map(|&p| how.nearest(p, &method)).collect::<Result<Vec<_>, _>>()?;
            x = imp.gather(&x, axis, indices)?;
            continue;
        }
        if how.output.checked_mul(how.input).is_none_or(|n| n > LARGEST_MATRIX) {
            return Err(format!("axis {axis} is too long to be resampled by a matrix").into());
        }
        imp.budget.spend(how.output * how.input)?;
        let mut matrix = vec![0f32; how.output * how.input];
        let mut bias = vec![0f32; how.output];
        for (i, &p) in positions.iter().enumerate() {
            let row = &mut matrix[i * how.input..(i + 1) * how.input];
            if how.is_outside(p, &method) {
                bias[i] = method.extrapolation;
            } else if method.mode == "nearest" {
                row[how.nearest(p, &method)?] = 1.0;
            } else {
                how.interpolate(p, &method, row);
            }
        }
        let bias = bias.iter().any(|&b| b != 0.0).then(|| Tensor::f32([how.output], bias));
        x = along(imp, &x, axis, Tensor::f32([how.output, how.input], matrix), bias)?;
    }
    Ok(vec![x.into()])
}

/// A linear map along one ONNX axis.
fn along(imp: &mut Importer, x: &Runtime, axis: usize, weight: Tensor, bias: Option<Tensor>) -> Result<Runtime, Refusal> {
    let last = x.rank() - 1;
    let mut perm: Vec<usize> = (0..x.rank()).collect();
    perm.swap(axis, last);
    let moved = imp.transpose(x, &perm)?;
    let mapped = linear(imp, &moved, weight, bias)?;
    imp.transpose(&mapped, &perm)
}
