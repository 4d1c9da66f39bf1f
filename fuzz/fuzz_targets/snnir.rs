//! A graph in text form: what is parsed prints, and parses back to the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use snn_ir::text::{Parameters, parse, print};

fuzz_target!(|text: &str| {
    let Ok(graph) = parse(text) else { return };
    let _ = snn_ir::verify(&graph);
    let printed = print(&graph, Parameters::Full);
    let Ok(again) = parse(&printed) else { return };
    assert_eq!(print(&again, Parameters::Full), printed);
});
