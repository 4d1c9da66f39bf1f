//! What the JIT engine does with memory pages. Alone in its process: other tests compile too.
#![cfg(target_os = "linux")]

use snn_ir::neuron::BINARY;
use snn_runtime::testing::{Form, random_graph};
use snn_runtime::{EngineKind, Network};

#[test]
fn machine_code_is_never_writable_and_is_freed_with_its_network() {
    let maps = || std::fs::read_to_string("/proc/self/maps").expect("Linux has it");
    let code = |maps: &str| maps.lines().filter(|l| l.contains("r-xp") && l.ends_with(" 0 ")).count();
    let graph = random_graph(5, Form::Integer, &[BINARY]);
    let networks: Vec<Network> = (0..8).map(|_| Network::compile(&graph, EngineKind::Native).expect("it runs")).collect();
    let during = maps();
    assert!(code(&during) > 0 && !during.contains("rwxp"), "{during}");
    drop(networks);
    assert!(code(&maps()) < code(&during), "{}", maps());
}
