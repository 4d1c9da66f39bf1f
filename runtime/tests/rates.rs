//! What calibrated rates change: the kernels, never the results.

use snn_ir::text::parse;
use snn_runtime::{Cpu, Network};

fn network(rate: &str) -> snn_ir::Graph {
    let text = format!(
        "graph @net steps=8 {{
  %image = input : current[64x8x8]
  %encode = encode %image, scale=4096, limit=262144 : current[64x8x8]
  %relu1 = layer %encode, synapses=[identity()], neuron=if(threshold=i32(4096), init=i32(2048), reset=subtract{rate}) : spikes[64x8x8]
  %relu2 = layer %relu1, synapses=[conv(weight=@weight, kernel=3x3, pad=1x1)], neuron=if(threshold=i32(300), init=i32(150), reset=subtract) : spikes[64x8x8]
  %sum = layer %relu2, synapses=[reduce(axes=[1, 2], by=sum)] : current[64x1x1]
  %answer = readout %sum : potential[64x1x1]
  output %answer
}}
@weight = i8[64x64x3x3] seeded(2)
"
    );
    parse(&text).expect("the text is a graph")
}

#[test]
fn a_layer_that_rarely_gets_spikes_is_computed_by_events_and_a_busy_one_is_not_with_equal_results() {
    let input: Vec<f32> = (0..64 * 64).map(|i| (i * 37 % 101) as f32 / 300.0).collect();
    for cpu in Cpu::available().filter(|cpu| !cpu.is_portable()) {
        let run = |rate: &str| {
            let network = Network::compile_for(&network(rate), cpu).expect("it runs");
            let how = network.plan().expect("it has one").nodes.iter().find(|n| n.name == "relu2").expect("it is there").how.clone();
            let mut session = network.session();
            session.start(&[&input]).expect("it fits");
            session.advance(8).expect("there is room");
            (how, session.potentials())
        };
        let [(rare, a), (busy, b), (unknown, c)] = [", rate=0.001", ", rate=0.9", ""].map(run);
        assert!(rare.contains("event (") && rare.contains("calibrated rate 0.1 %"), "{cpu}: {rare}");
        assert!(!busy.contains("event (") && busy.contains("calibrated rate 90.0 %"), "{cpu}: {busy}");
        assert!(unknown.contains("assumed rate 10.0 %"), "{cpu}: {unknown}");
        assert!(a == b && b == c, "{cpu}");
    }
}
