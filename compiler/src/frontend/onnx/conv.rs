//! Convolutions: [Conv](https://onnx.ai/onnx/operators/onnx__Conv.html) and
//! [ConvTranspose](https://onnx.ai/onnx/operators/onnx__ConvTranspose.html), opsets 1 to 22.

use super::error::Refusal;
use super::importer::{Importer, Runtime, Value};
use super::node::NodeView;
use super::registry::{Fidelity, OpSpec};
use snn_ir::op::{Conv, ConvTranspose};
use snn_ir::{Op, Window};

/// The operators of this family.
pub const OPS: &[OpSpec] = &[
    OpSpec {
        name: "Conv",
        since: 1,
        inputs: (2, 3),
        fidelity: Fidelity::Exact,
        becomes: "`conv`, in 1, 2 or 3 dimensions",
        limits: "weights must be constant, padding not negative",
        lower: conv,
    },
    OpSpec {
        name: "ConvTranspose",
        since: 1,
        inputs: (2, 3),
        fidelity: Fidelity::Exact,
        becomes: "`conv_transpose`",
        limits: "weights must be constant, padding not negative",
        lower: conv_transpose,
    },
];

/// Where `auto_pad` puts an odd element of padding.
pub enum AutoPad {
    /// Padding is given.
    Explicit,
    /// None at all.
    Valid,
    /// As much as keeps `out = ceil(in / stride)`; the odd element at the end, or at the beginning.
    Same {
        /// Whether the odd element goes to the end.
        upper: bool,
    },
}

/// The `auto_pad` attribute.
///
/// # Errors
/// When it is none that ONNX knows.
pub fn auto_pad(node: &NodeView) -> Result<AutoPad, Refusal> {
    match node.string("auto_pad", "NOTSET") {
        "NOTSET" | "" => Ok(AutoPad::Explicit),
        "VALID" => Ok(AutoPad::Valid),
        "SAME_UPPER" => Ok(AutoPad::Same { upper: true }),
        "SAME_LOWER" => Ok(AutoPad::Same { upper: false }),
        other => Err(format!("auto_pad is `{other}`").into()),
    }
}

/// The window of a convolution or pooling with `kernel` over `spatial` extents: strides, dilations, padding, ceil_mode.
///
/// # Errors
/// When an attribute does not fit.
pub fn window(node: &NodeView, kernel: Vec<usize>, spatial: &[usize]) -> Result<Window, Refusal> {
    let rank = kernel.len();
    if rank == 0 || rank != spatial.len() {
        return Err(format!("a kernel with {rank} axes does not fit {} spatial axes", spatial.len()).into());
    }
    let mut w = Window::unit(kernel);
    w.stride = node.extents("strides", rank, 1)?;
    w.dilation = node.extents("dilations", rank, 1)?;
    w.ceil = node.flag("ceil_mode");
    if !w.is_consistent() {
        return Err(format!("kernel {:?}, stride {:?} and dilation {:?} must be positive", w.kernel, w.stride, w.dilation).into());
    }
    match auto_pad(node)? {
        AutoPad::Explicit => {
            let pads = node.extents("pads", 2 * rank, 0)?;
            w.pad_begin = pads[..rank].to_vec();
            w.pad_end = pads[rank..].to_vec();
        }
        AutoPad::Valid => {}
        AutoPad::Same { upper } => {
            for (a, &extent) in spatial.iter().enumerate() {
                let out = extent.div_ceil(w.stride[a]);
                let covered =
                    w.extent(a).and_then(|e| (out.max(1) - 1).checked_mul(w.stride[a])?.checked_add(e)).ok_or("the kernel is too large")?;
                split_padding(&mut w, a, covered.saturating_sub(extent), upper);
            }
        }
    }
    Ok(w)
}

fn split_padding(w: &mut Window, axis: usize, total: usize, upper: bool) {
    let (small, large) = (total / 2, total - total / 2);
    (w.pad_begin[axis], w.pad_end[axis]) = if upper { (small, large) } else { (large, small) };
}

fn groups(node: &NodeView) -> Result<usize, Refusal> {
    super::node::extent(node.int("group", 1), "group")
}

/// The operand as `[1, C, spatial..]`.
///
/// # Errors
/// When it has no such form.
pub fn spatial_operand(imp: &mut Importer, x: &Runtime) -> Result<Runtime, Refusal> {
    if x.rank() < 3 {
        return Err(format!("it needs an input [N, C, spatial..], not {:?}", x.shape).into());
    }
    imp.batched(x)
}

fn kernel_of(node: &NodeView, weight: &[usize]) -> Result<Vec<usize>, Refusal> {
    let kernel = weight.get(2..).unwrap_or_default().to_vec();
    match node.extents("kernel_shape", kernel.len(), 0)? {
        given if !node.has("kernel_shape") || given == kernel => Ok(kernel),
        given => Err(format!("kernel_shape {given:?} is not that of the weight {weight:?}").into()),
    }
}

fn conv(imp: &mut Importer, node: &NodeView) -> Result<Vec<Value>, Refusal> {
    let x = spatial_operand(imp, node.runtime(0)?)?;
    let weight = node.constant(1, "weight")?;
    let window = window(node, kernel_of(node, &weight.shape)?, &x.shape[2..])?;
    let bias = node.optional_constant(2, "bias")?.map(|b| b.vector(weight.shape[0])).transpose()?;
    let node = imp.emit(Op::Conv(Conv { weight: weight.parameter()?, bias, window, groups: groups(node)? }), &[x.node])?;
    Ok(vec![result(imp, node).into()])
}

fn conv_transpose(imp: &mut Importer, node: &NodeView) -> Result<Vec<Value>, Refusal> {
    let x = spatial_operand(imp, node.runtime(0)?)?;
    let weight = node.constant(1, "weight")?;
    let (kernel, groups) = (kernel_of(node, &weight.shape)?, groups(node)?);
    let rank = kernel.len();
    let spatial = &x.shape[2..];
    if rank == 0 || rank != spatial.len() {
        return Err(format!("a kernel with {rank} axes does not fit {:?}", x.shape).into());
    }
    let mut window =
        Window { stride: node.extents("strides", rank, 1)?, dilation: node.extents("dilations", rank, 1)?, ..Window::unit(kernel) };
    let mut output_padding = node.extents("output_padding", rank, 0)?;
    let auto = auto_pad(node)?;
    let wanted = match (node.ints("output_shape"), &auto) {
        (Some(list), _) if !list.is_empty() => {
            let all = node.extents("output_shape", list.len(), 0)?;
            Some(all.get(all.len().wrapping_sub(rank)..).ok_or("output_shape is too short")?.to_vec())
        }
        (_, AutoPad::Same { .. }) => Some(
            spatial
                .iter()
                .zip(&window.stride)
                .map(|(n, s)| n.checked_mul(*s).ok_or("the output is too large"))
                .collect::<Result<_, _>>()?,
        ),
        _ => None,
    };
    if let Some(wanted) = wanted {
        // The padding is what is left over of the full output (ONNX ConvTranspose, the formula of total_padding).
        let full = window.transposed_output(spatial).ok_or("the kernel does not fit")?;
        for a in 0..rank {
            let full = full[a].checked_add(output_padding[a]).ok_or("the output is too large")?;
            match full.checked_sub(wanted[a]) {
                Some(total) => split_padding(&mut window, a, total, matches!(auto, AutoPad::Same { upper: true })),
                None => output_padding[a] += wanted[a] - full,
            }
        }
    } else if matches!(auto, AutoPad::Explicit) {
        let pads = node.extents("pads", 2 * rank, 0)?;
        window.pad_begin = pads[..rank].to_vec();
        window.pad_end = pads[rank..].to_vec();
    }
    let out = weight.shape[1].checked_mul(groups).ok_or("there are too many channels")?;
    let bias = node.optional_constant(2, "bias")?.map(|b| b.vector(out)).transpose()?;
    let op = ConvTranspose { weight: weight.parameter()?, bias, window, output_padding, groups };
    let node = imp.emit(Op::ConvTranspose(op), &[x.node])?;
    Ok(vec![result(imp, node).into()])
}

/// The value of a node whose ONNX form has the batch in front.
pub fn result(imp: &Importer, node: snn_ir::NodeId) -> Runtime {
    Runtime { node, shape: [&[1], &imp.graph.ty(node).shape[..]].concat(), batch: Some(0) }
}
