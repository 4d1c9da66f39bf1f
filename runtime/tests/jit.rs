//! The JIT engine equals the reference engine bit for bit, at every CPU level this machine has.

use proptest::prelude::*;
use snn_ir::Graph;
use snn_ir::op::Firing;
use snn_runtime::testing::{Form, random_graph, random_inputs};
use snn_runtime::{Cpu, EngineKind, Network};

/// Runs `graph` on both engines in windows cut as `cuts` say, twice, and compares all that a session tells.
fn compare(graph: &Graph, seed: u64, cuts: &[u32]) -> Result<(), TestCaseError> {
    let reference = Network::compile(graph, EngineKind::Reference).expect("the generator makes networks that run");
    for cpu in Cpu::ALL.into_iter().filter(|&cpu| cpu <= Cpu::detect()) {
        let jit = Network::compile_for(graph, cpu).expect("the generator makes networks that run");
        let (mut expected, mut got) = (reference.session(), jit.session());
        for sample in [seed, seed + 1] {
            let inputs = random_inputs(sample, &reference);
            let inputs: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
            expected.start(&inputs).expect("the sample fits");
            got.start(&inputs).expect("the sample fits");
            for &steps in cuts {
                expected.advance(steps).expect("the window has room");
                got.advance(steps).expect("the window has room");
                prop_assert_eq!(expected.potentials(), got.potentials(), "{} after {} steps", cpu, got.steps());
                prop_assert_eq!(expected.statistics(), got.statistics(), "{} after {} steps", cpu, got.steps());
                for layer in 0..got.statistics().layers.len() {
                    prop_assert_eq!(expected.membranes(layer), got.membranes(layer), "{} after {} steps", cpu, got.steps());
                }
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_kernel_set_equals_the_reference(seed: u64, cuts in prop::collection::vec(1u32..40, 1..4)) {
        compare(&random_graph(seed, Form::Integer, &[Firing::Binary]), seed, &cuts)?;
    }
}
