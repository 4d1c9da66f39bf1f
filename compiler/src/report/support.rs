//! What would become of each node of an ONNX model.

use super::table::{Align, table};
use crate::frontend::onnx::error::{LISTED, end_at, grouped, reason_kind};
use crate::frontend::onnx::model::Model;
use crate::frontend::onnx::support::{NodeSupport, Support};
use crate::frontend::onnx::{ImportError, ImportOptions, survey};
use serde::Serialize;
use snn_ir::signal::Dims;
use std::collections::{BTreeMap, HashMap};

/// The report.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SupportReport {
    /// Whether all of it can be converted.
    pub convertible: bool,
    /// Why not, where that is no single node's fault.
    pub reason: Option<String>,
    /// Number of nodes by what becomes of them: `exact`, `approximated`, `folded`, `refused`, `unknown`.
    pub counts: BTreeMap<&'static str, usize>,
    /// Where all that is refused only decodes the network's answers: the tensors to end the model at.
    pub heads: Vec<String>,
    /// The nodes, operands first.
    pub nodes: Vec<NodeReport>,
    /// What importing it warns about.
    pub warnings: Vec<String>,
}

/// One node.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NodeReport {
    /// Its name, or its first output's when it has none.
    pub node: String,
    /// Operator type.
    pub op: String,
    /// Version of the operator set.
    pub opset: i64,
    /// Shape of its first result at batch 1; of its inputs where it has none.
    pub shape: Option<String>,
    /// `exact`, `approximated`, `folded` (evaluated at import or dropped), `refused`, or `unknown` after a refused one.
    pub support: &'static str,
    /// How it is approximated, or why it is refused.
    pub reason: Option<String>,
    /// What the user can do about it.
    pub way_out: Option<String>,
}

/// What becomes of nodes, in the order of the report.
const KINDS: [&str; 5] = ["exact", "approximated", "folded", "refused", "unknown"];

fn node(n: NodeSupport) -> NodeReport {
    let mut shape = n.shape.as_ref().map(|s| format!("[{}]", Dims(s)));
    let (support, reason, way_out) = match n.support {
        Support::Exact => ("exact", None, None),
        Support::Approximated(how) => ("approximated", Some(how.to_string()), None),
        Support::Folded => ("folded", None, None),
        Support::Unknown => ("unknown", None, None),
        Support::Refused(o) => {
            if shape.is_none() && !o.shapes.is_empty() {
                shape = Some(o.shapes.iter().map(|s| format!("[{}]", Dims(s))).collect::<Vec<_>>().join(" "));
            }
            ("refused", Some(o.refusal.reason), o.refusal.way_out)
        }
    };
    NodeReport { node: n.node, op: n.op, opset: n.opset, shape, support, reason, way_out }
}

/// The nodes of one operator and one reason as lines of text.
fn lines(group: &[&NodeReport]) -> String {
    let first = group[0];
    let nodes = match group {
        [_] => format!("`{}`", first.node),
        _ => {
            let names: Vec<String> = group.iter().take(LISTED).map(|n| format!("`{}`", n.node)).collect();
            let more = if group.len() > LISTED { ", .." } else { "" };
            format!("{} nodes {}{more}", group.len(), names.join(", "))
        }
    };
    let shape = first.shape.as_ref().filter(|_| group.len() == 1).map_or(String::new(), |s| format!(", {s}"));
    let reason = first.reason.as_deref().unwrap_or_default();
    let way_out = first.way_out.as_ref().map_or(String::new(), |w| format!("      way out: {w}\n"));
    format!("  {nodes} ({}, opset {}{shape}): {reason}\n{way_out}", first.op, first.opset)
}

impl SupportReport {
    /// The report on `model`, imported with `options`.
    ///
    /// # Errors
    /// When it is no graph that makes sense.
    pub fn new(model: &Model, options: &ImportOptions) -> Result<Self, ImportError> {
        let survey = survey(model, options);
        let (mut heads, mut warnings) = (Vec::new(), Vec::new());
        let (convertible, reason) = match survey.outcome {
            Ok(imported) => {
                warnings = imported.facts.warnings;
                (true, None)
            }
            Err(ImportError::Unsupported { obstacles, .. }) if survey.nodes.is_empty() => {
                (false, Some(grouped(&obstacles).trim_start().to_string()))
            }
            Err(ImportError::Unsupported { heads: found, .. }) => {
                heads = found;
                (false, None)
            }
            Err(e @ ImportError::InputShape { .. }) => (false, Some(e.to_string())),
            Err(e) => return Err(e),
        };
        let nodes: Vec<NodeReport> = survey.nodes.into_iter().map(node).collect();
        let counts = KINDS.iter().map(|&k| (k, nodes.iter().filter(|n| n.support == k).count())).collect();
        Ok(SupportReport { convertible, reason, counts, heads, nodes, warnings })
    }

    /// The report for people: operators by what becomes of them, then every node that is not exact.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        let mut operators: BTreeMap<&str, [usize; 5]> = BTreeMap::new();
        for n in &self.nodes {
            let kind = KINDS.iter().position(|k| *k == n.support).unwrap_or(0);
            operators.entry(&n.op).or_default()[kind] += 1;
        }
        if !operators.is_empty() {
            let mut columns = vec![("operator", Align::Left)];
            columns.extend(KINDS.map(|k| (k, Align::Right)));
            let cell = |n: &usize| if *n == 0 { String::new() } else { n.to_string() };
            let row = |(op, counts): (&&str, &[usize; 5])| [vec![op.to_string()], counts.iter().map(cell).collect()].concat();
            text += &table(&columns, &operators.iter().map(row).collect::<Vec<_>>());
            text += "\n";
        }
        for kind in ["approximated", "refused"] {
            let listed: Vec<&NodeReport> = self.nodes.iter().filter(|n| n.support == kind).collect();
            if !listed.is_empty() {
                text += &format!("{kind}:\n");
            }
            let mut groups: Vec<Vec<&NodeReport>> = Vec::new();
            let mut places = HashMap::new();
            for n in listed {
                let place = *places.entry((&n.op, reason_kind(n.reason.as_deref().unwrap_or_default()))).or_insert(groups.len());
                match groups.get_mut(place) {
                    Some(group) => group.push(n),
                    None => groups.push(vec![n]),
                }
            }
            groups.iter().for_each(|group| text += &lines(group));
        }
        if !self.heads.is_empty() {
            text += &format!("{}\n", end_at(&self.heads).trim_start_matches('\n'));
        }
        self.warnings.iter().for_each(|w| text += &format!("warning: {w}\n"));
        self.reason.iter().for_each(|r| text += &format!("{r}\n"));
        let count = |kind: &str| self.counts.get(kind).copied().unwrap_or(0);
        text += &match self.convertible {
            true => format!(
                "can be converted: {} nodes exactly, {} approximated, {} at import\n",
                count("exact"),
                count("approximated"),
                count("folded")
            ),
            false => format!("cannot be converted: {} nodes are refused, {} more depend on them\n", count("refused"), count("unknown")),
        };
        text
    }
}
