//! What pipelines over tables put before a network, of the domain `ai.onnx.ml`:
//! [Scaler](https://onnx.ai/onnx/operators/onnx_aionnxml_Scaler.html).

use super::constant::Constant;
use super::error::Refusal;
use super::importer::{Importer, Value};
use super::node::NodeView;
use super::registry::{Fidelity, OpSpec};

/// The operators of this family.
pub const OPS: &[OpSpec] =
    &[OpSpec { name: "Scaler", since: 1, inputs: (1, 1), fidelity: Fidelity::Exact, becomes: "`scale`", limits: "", lower: scaler }];

/// `(x − offset) · scale`, each one number or one per feature.
fn scaler(imp: &mut Importer, node: &NodeView) -> Result<Vec<Value>, Refusal> {
    let x = node.runtime(0)?;
    let features = x.shape.last().copied().unwrap_or(1);
    let list = |name: &str, default: f32| match node.floats(name) {
        None | Some([]) => Ok(vec![default]),
        Some(v) if v.len() == 1 || v.len() == features => Ok(v.to_vec()),
        Some(v) => Err(Refusal::from(format!("its {name} has {} numbers for {features} features", v.len()))),
    };
    let (offset, scale) = (list("offset", 0.0)?, list("scale", 1.0)?);
    let minus: Vec<f32> = offset.iter().map(|v| -v).collect();
    let centred = imp.scale(x, None, Some(&Constant::floats(vec![minus.len()], minus)))?;
    Ok(vec![imp.scale(&centred, Some(&Constant::floats(vec![scale.len()], scale)), None)?.into()])
}
