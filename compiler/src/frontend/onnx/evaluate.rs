//! Nodes whose operands are all known, of operators that make nodes of the graph: they are built as a graph of their own,
//! which runs once. So whatever the importer converts it folds, too: the zero state of an unrolled recurrent network, for
//! example, goes through the same layers as the network's input.

use super::constant::Constant;
use super::error::Refusal;
use super::importer::{Importer, Runtime, Value};
use super::node::NodeView;
use super::registry::OpSpec;
use super::values::bounded_fold;
use snn_ir::{Op, Signal};
use snn_runtime::analog::AnalogNetwork;

/// The values of a node all of whose operands are constants.
///
/// # Errors
/// When the operator refuses the node, or its result is absurdly large.
pub fn evaluate(imp: &mut Importer, node: &NodeView, spec: &OpSpec) -> Result<Vec<Value>, Refusal> {
    let Value::Constant(data) = node.input(0)? else { return Err("it does not begin with a constant".into()) };
    bounded_fold(&data.shape, data.stored())?;
    let samples = data.to_floats()?;
    let mut part = Importer::new("constant", Default::default());
    part.name.clone_from(&imp.name);
    part.budget = std::mem::take(&mut imp.budget);
    let result = lowered(&mut part, node, spec, data);
    imp.budget = std::mem::take(&mut part.budget);
    let values = result?;
    part.warnings.iter().for_each(|w| imp.warn(w));
    let computed: Vec<_> = values.iter().filter_map(|v| if let Value::Runtime(x) = v { Some(x.node) } else { None }).collect();
    if computed.is_empty() {
        return Ok(values);
    }
    part.graph.set_outputs(computed);
    let network = AnalogNetwork::new(&part.graph).map_err(|e| e.to_string())?;
    let mut results = network.run(&[&samples[..]], &mut |_, _| {}).into_iter();
    let constant = |value: Value| match value {
        Value::Runtime(x) => {
            let floats = Constant::floats(x.shape, results.next().unwrap_or_default());
            // Whatever is done to integers here gives integers of their type.
            let whole = if data.is_float() { floats } else { super::fold::cast(&floats, data.data_type)? };
            Ok(whole.into())
        }
        constant => Ok(constant),
    };
    values.into_iter().map(constant).collect()
}

/// The node with its first operand computed, as an input of the graph `part`.
fn lowered(part: &mut Importer, node: &NodeView, spec: &OpSpec, data: &Constant) -> Result<Vec<Value>, Refusal> {
    let batch = (data.shape.len() > 1 && data.shape[0] == 1).then_some(0);
    let sample = data.shape[usize::from(batch.is_some())..].to_vec();
    let input = part.emit(Op::Input(Signal::Analog, sample), &[])?;
    let mut inputs = node.inputs.clone();
    inputs[0] = Some(Runtime { node: input, shape: data.shape.clone(), batch }.into());
    (spec.lower)(part, &NodeView { proto: node.proto, opset: node.opset, inputs })
}
