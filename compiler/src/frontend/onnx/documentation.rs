//! `docs/operators.md`, written from the registry.

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
         Generated from the registry in `compiler/src/frontend/onnx`; `SNNC_BLESS=1 cargo test --release -p snn-tests --test documentation` \
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
    text
}
