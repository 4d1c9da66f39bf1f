//! Where the oracle does not compute what ONNX says: known faults of tract (the version that Cargo.toml pins), each checked
//! against the ONNX specification and onnxruntime. A difference at such a node is no error of the import; a note says so.

use super::importer::Value;
use super::node::NodeView;

/// A known fault of tract.
pub struct Fault {
    /// The operators that have it.
    pub ops: &'static [&'static str],
    /// When they have it.
    pub condition: &'static str,
    /// What tract does.
    pub tract: &'static str,
    /// What ONNX says.
    pub onnx: &'static str,
    applies: fn(&NodeView) -> bool,
}

/// A node of the model where tract is known to be wrong.
#[derive(Clone, Debug, PartialEq)]
pub struct Disputed {
    /// Its name.
    pub node: String,
    /// Its first output.
    pub tensor: String,
    /// What tract does and what ONNX says.
    pub note: String,
}

fn differs_from_one(node: &NodeView, attribute: &str) -> bool {
    node.float(attribute, 1.0).is_ok_and(|v| v != 1.0)
}

/// An attribute that is written out and empty.
fn is_empty_list(node: &NodeView, attribute: &str) -> bool {
    node.has(attribute) && node.ints(attribute).is_none_or(<[i64]>::is_empty)
}

/// The faults.
pub const FAULTS: &[Fault] = &[
    Fault {
        ops: &["Celu"],
        condition: "alpha is not 1",
        tract: "leaves out the factor alpha of the negative half",
        onnx: "max(0, x) + min(0, alpha · (exp(x / alpha) − 1))",
        applies: |n| differs_from_one(n, "alpha"),
    },
    Fault {
        ops: &["Swish"],
        condition: "alpha is not 1",
        tract: "takes alpha to be 1",
        onnx: "x · sigmoid(alpha · x)",
        applies: |n| differs_from_one(n, "alpha"),
    },
    Fault {
        ops: &["ReduceMean", "ReduceSum", "ReduceL1", "ReduceMax", "ReduceMin"],
        condition: "the attribute axes is an empty list",
        tract: "reduces no axis",
        onnx: "all axes are reduced",
        applies: |n| is_empty_list(n, "axes"),
    },
    Fault {
        ops: &["Resize"],
        condition: "mode is nearest in opset 10",
        tract: "takes the nearest element, the lower one of two",
        onnx: "the element before the position where an axis grows, the one after it where it shrinks (the specification's example; onnxruntime)",
        applies: |n| n.opset == 10 && n.string("mode", "nearest") == "nearest",
    },
    Fault {
        ops: &["Resize"],
        condition: "mode is cubic, coordinates are pytorch_half_pixel, and an axis shrinks to one element",
        tract: "takes that element half a pixel outside",
        onnx: "its position is 0",
        applies: |n| {
            n.string("mode", "nearest") == "cubic" && n.string("coordinate_transformation_mode", "half_pixel") == "pytorch_half_pixel"
        },
    },
    Fault {
        ops: &["GlobalLpPool"],
        condition: "p is 1",
        tract: "adds up the elements without their absolute values",
        onnx: "the sum of the absolute values",
        applies: |n| n.int("p", 2) == 1,
    },
    Fault {
        ops: &["ConvTranspose"],
        condition: "output_shape is smaller than the full output",
        tract: "cuts off what is too much at the end",
        onnx: "half of it is cut off at either side, the larger half first unless auto_pad is SAME_UPPER",
        applies: |n| n.ints("output_shape").is_some_and(|s| !s.is_empty()),
    },
];

/// The fault that tract has at a node of the model, if one is known.
pub fn find(node: &NodeView) -> Option<&'static Fault> {
    let computed = node.inputs.iter().flatten().any(|v| matches!(v, Value::Runtime(_)));
    FAULTS.iter().filter(|_| computed).find(|f| f.ops.contains(&node.proto.op_type.as_str()) && (f.applies)(node))
}

impl Fault {
    /// The dispute over `node`, an `op` whose first output is `tensor`.
    pub fn at(&self, node: &str, op: &str, tensor: &str) -> Disputed {
        let note = format!(
            "tract and snnc differ on node `{node}` ({op}), and snnc is right: where {}, tract {}; ONNX says: {}. \
             What follows that node was not compared",
            self.condition, self.tract, self.onnx
        );
        Disputed { node: node.to_string(), tensor: tensor.to_string(), note }
    }
}
