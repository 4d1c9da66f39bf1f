//! `docs/operators.md`, written from the registry.

use super::budget::{FREE_VALUES, FREE_WORK, LARGEST_VALUE, MOST_NODES, MOST_OPERANDS, VALUES_PER_WEIGHT, WORK_PER_WEIGHT};
use super::faults::FAULTS;
use super::registry::{FAMILIES, Fidelity, OpSpec, TABULAR};
use super::{NEWEST_OPSET, OLDEST_OPSET};
use std::fmt::Write;

fn row(spec: &OpSpec, tabular: bool) -> String {
    let fidelity = match spec.fidelity {
        Fidelity::Exact => "exact",
        Fidelity::Approximated => "approximated",
        Fidelity::Folded => "at import",
    };
    let page = if tabular { "onnx_aionnxml_" } else { "onnx__" };
    let name = format!("[{0}](https://onnx.ai/onnx/operators/{page}{0}.html)", spec.name);
    let (since, newest) = if tabular { (spec.since, spec.since) } else { (spec.since.max(OLDEST_OPSET), NEWEST_OPSET.max(spec.since)) };
    let opsets = if since == newest { since.to_string() } else { format!("{since} to {newest}") };
    format!("| {name} | {opsets} | {} | {fidelity} | {} |", spec.becomes, spec.limits)
}

/// The document: every operator that can be imported, family by family.
pub fn operators() -> String {
    let count: usize = FAMILIES.iter().map(|f| f.1.len()).sum();
    let mut text = format!(
        "# Operators\n\n\
         Generated from the registry in `compiler/src/frontend/onnx`; `SNNC_BLESS=1 cargo test --release --workspace --test documentation` \
         writes it anew.\n\n\
         {count} operators are imported, nearly all of ONNX's own domain, from opset {OLDEST_OPSET} to {NEWEST_OPSET}; newer models are taken with a \
         warning as long as they hold only these. *Exact* means that the analog graph computes what ONNX says and a spiking network carries \
         it exactly in the limit of long windows; *approximated*, that neurons approximate it; *at import*, that it is evaluated when its \
         operands are constant. Whatever else a model holds is listed node by node, with the reason.\n"
    );
    for (family, specs) in FAMILIES {
        write!(text, "\n## {family}\n\n| operator | opsets | becomes | fidelity | limits |\n|---|---|---|---|---|\n")
            .expect("strings take text");
        specs.iter().for_each(|s| writeln!(text, "{}", row(s, *family == TABULAR)).expect("strings take text"));
    }
    write!(
        text,
        "\n## Limits\n\n\
         What a file may ask for grows with the weights that it holds, so that a small file cannot make the compiler work for hours. Values have \
         at most {LARGEST_VALUE} elements; all of them together {FREE_VALUES}, and {VALUES_PER_WEIGHT} more for every weight. A sample takes at \
         most {FREE_WORK} multiplications, and {WORK_PER_WEIGHT} more for every weight. A model becomes at most {MOST_NODES} nodes of at most \
         {MOST_OPERANDS} operands. Beyond that it is refused with the node's name; a smaller `--input-shape` may help.\n"
    )
    .expect("strings take text");
    text += "\n## Where the import is not compared\n\n\
             Every import is compared with tract, which is known to be wrong here; the import does what ONNX says, and a note says so. \
             Checked against the specification and onnxruntime.\n\n\
             | operators | where | tract | ONNX |\n|---|---|---|---|\n";
    for fault in FAULTS {
        writeln!(text, "| {} | {} | {} | {} |", fault.ops.join(", "), fault.condition, fault.tract, fault.onnx).expect("strings take text");
    }
    text
}
