//! A `.snn` file: what is read keeps all rules, is written as the same bytes, and compiles or says why not.
#![no_main]

use libfuzzer_sys::fuzz_target;
use snn_ir::Limits;
use snn_ir::file::{decode, decode_within, encode};
use snn_runtime::{EngineKind, Network};

/// The payload with a header that readers take: the checksum would keep a fuzzer out.
fn framed(payload: &[u8]) -> Vec<u8> {
    let header = [b"SNN\0", &1u32.to_le_bytes()[..], &(payload.len() as u64).to_le_bytes()].concat();
    let mut checksum = crc32fast::Hasher::new();
    checksum.update(&header);
    checksum.update(payload);
    [&header[..], &checksum.finalize().to_le_bytes(), payload].concat()
}

fuzz_target!(|payload: &[u8]| {
    let limits = Limits { memory: 1 << 26, work: 1 << 26 };
    let Ok(program) = decode_within(framed(payload), &limits) else { return };
    let written = encode(&program).expect("what was read can be written");
    assert_eq!(encode(&decode(written.clone()).expect("what was written can be read")).expect("again"), written);
    let _ = Network::compile(&program.graph, EngineKind::Native);
});
