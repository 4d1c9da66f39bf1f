//! Short tests of passes: a graph in text form before, and what the pass must make of it.

use super::{Facts, Outcome, Pass, Report, Request};
use snn_ir::text::{Parameters, parse, print};
use snn_ir::verify;

/// Runs `pass` on `before`, which must become `after`. Both are graphs in text form without the line of the graph itself;
/// parameters come after the graph's end.
pub(super) fn check(pass: &dyn Pass, before: &str, after: &str) -> Report {
    let whole = |text: &str| {
        let (nodes, parameters) = text.split_once("---").unwrap_or((text, ""));
        format!("graph @test {{\n{nodes}\n}}\n{parameters}")
    };
    let mut graph = parse(&whole(before)).unwrap_or_else(|e| panic!("before: {e}"));
    let expected = parse(&whole(after)).unwrap_or_else(|e| panic!("after: {e}"));
    let mut report = Report::default();
    pass.run(&mut graph, &Request::new(8), &mut Facts::default(), &mut report).unwrap_or_else(|e| panic!("{}: {e}", pass.name()));
    verify(&graph).unwrap_or_else(|e| panic!("{}: {e}", pass.name()));
    graph.timesteps = None;
    let text = |graph| print(graph, Parameters::Full);
    assert!(graph == expected, "{} makes\n{}\nexpected is\n{}", pass.name(), text(&graph), text(&expected));
    report
}

/// The reasons that a pass gave for what it did not do, in order.
pub(super) fn reasons(report: &Report) -> Vec<&str> {
    let reason = |outcome| match outcome {
        &Outcome::Changed => None,
        Outcome::NotApplicable(reason) | Outcome::Declined(reason) => Some(reason.as_str()),
    };
    report.outcomes.iter().filter_map(|o| reason(&o.outcome)).collect()
}
