//! One image through a ResNet-20-shaped network, at every CPU level this machine has.

mod common;

use common::{image, resnet20};
use criterion::{Criterion, criterion_group, criterion_main};
use snn_ir::Random;
use snn_runtime::{Cpu, Network};

fn resnet(c: &mut Criterion) {
    let graph = resnet20(7);
    // Different images in turn: a branch predictor would learn one by heart.
    let images: Vec<Vec<f32>> = (0..16).map(|i| image(&mut Random::new(77 * i + 5), 3 * 32 * 32)).collect();
    for cpu in Cpu::available() {
        c.bench_function(&format!("compile/{cpu}"), |b| b.iter(|| Network::compile_for(&graph, cpu).expect("the network compiles")));
        let network = Network::compile_for(&graph, cpu).expect("the network compiles");
        let mut session = network.session();
        for steps in [8, 32] {
            let mut next = images.iter().cycle();
            c.bench_function(&format!("resnet20/{cpu}/T={steps}"), |b| {
                b.iter(|| {
                    let image = next.next().expect("a cycle does not end");
                    session.start(&[image]).expect("the image fits");
                    session.advance(steps).expect("the window has room");
                    session.potentials()
                });
            });
        }
    }
}

criterion_group! { name = benches; config = Criterion::default().sample_size(20); targets = resnet }
criterion_main!(benches);
