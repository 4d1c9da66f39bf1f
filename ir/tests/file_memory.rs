//! How much memory a hostile `.snn` file can make its reader take.
#![cfg(target_os = "linux")]

use snn_ir::Limits;
use snn_ir::file::read_within;
use std::process::Command;

/// Names the file that a child process reads.
const FILE: &str = "SNN_TEST_FILE";
const TEST: &str = "hostile_files_take_at_most_twice_their_size_and_64_mib";

/// Memory of this process in bytes: resident now (`VmRSS`) or at its peak (`VmHWM`).
fn memory(what: &str) -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with(what)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() << 10
}

fn varint(mut value: usize) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

/// A field of length-delimited content.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2][..], &varint(content.len()), content].concat()
}

fn file(graph: &[u8]) -> Vec<u8> {
    let payload = [field(1, graph), field(2, &[8, 1]), field(3, &[])].concat();
    let mut bytes = [&b"SNN\0"[..], &1u32.to_le_bytes(), &(payload.len() as u64).to_le_bytes()].concat();
    let checksum = crc32fast::hash(&[&bytes[..], &payload].concat());
    bytes.extend(checksum.to_le_bytes());
    bytes.extend(payload);
    bytes
}

fn node(name: &str, op: &str, attributes: &[u8], signal: u8, shape: &[u8]) -> Vec<u8> {
    let content = [field(1, name.as_bytes()), field(2, op.as_bytes()), attributes.to_vec(), vec![5 << 3, signal], field(6, shape)];
    field(3, &content.concat())
}

/// Reads a file in a process of its own, which measures its peak: what it took, and whether it took the file.
fn in_child(path: &std::path::Path) -> (usize, bool) {
    let child = Command::new(std::env::current_exe().unwrap()).args([TEST, "--exact", "--nocapture"]).env(FILE, path).output().unwrap();
    let out = String::from_utf8(child.stdout).unwrap();
    let report: Vec<&str> = out.split("took:").nth(1).unwrap_or_else(|| panic!("the reader died: {out}")).split_whitespace().collect();
    (report[0].parse().unwrap(), report[1] == "true")
}

#[test]
fn hostile_files_take_at_most_twice_their_size_and_64_mib() {
    if let Ok(path) = std::env::var(FILE) {
        let before = memory("VmRSS");
        // What engines may take is another matter: 32 million neurons are beyond it by default.
        let sound = read_within(path, &Limits::of_memory(1 << 40)).is_ok();
        return println!("took: {} {sound} ", memory("VmHWM") - before);
    }
    const SIZE: usize = 32 << 20;
    let attribute = |key: &str, value: &[u8]| field(4, &[&field(1, key.as_bytes())[..], &field(2, value)].concat());
    // Single bytes: small in the file, and eight times as large wherever they are widened.
    let bytes = |count: usize| field(6, &[&[8, 2][..], &field(2, &varint(count)), &field(3, &vec![1; SIZE])].concat());
    let float = field(6, &[&[8, 1][..], &field(3, &1f32.to_le_bytes())].concat());
    let numbered = |count: usize| (0..count).flat_map(|i| node(&format!("{i:07}"), "input", &[], 1, &[1])).collect::<Vec<u8>>();
    let shape = varint(SIZE);
    let encode = [attribute("scale", &float), attribute("limit", &[8, 2]), field(3, &[0])].concat();
    let encoded = [node("x", "input", &[], 2, &shape), node("e", "encode", &encode, 2, &shape)].concat();
    let neurons = [field(3, &[1]), attribute("threshold", &bytes(SIZE))].concat();
    let neurons =
        [encoded, node("n", "if", &neurons, 3, &shape), node("y", "readout", &field(3, &[2]), 4, &shape), field(4, &[3])].concat();
    let gather = |count: usize| {
        let attributes = [attribute("axis", &[8, 0]), attribute("indices", &field(5, &field(1, &vec![0; count]))), field(3, &[0])].concat();
        [node("x", "input", &[], 1, &[1]), node("g", "gather", &attributes, 1, &varint(count)), field(4, &[1])].concat()
    };
    let cases: Vec<(&str, Vec<u8>, bool)> = vec![
        ("empty nodes", [3 << 3 | 2, 0].repeat(SIZE / 2), false),
        ("empty attributes", field(3, &[4 << 3 | 2, 0].repeat(SIZE / 2)), false),
        ("empty list items", field(3, &attribute("a", &field(8, &[1 << 3 | 2, 0].repeat(SIZE / 2)))), false),
        ("empty attributes, as many as are decoded", field(3, &[4 << 3 | 2, 0].repeat(90_000)), false),
        ("many inputs", numbered(SIZE / 40), false),
        ("many inputs, as many as are decoded", [numbered(20_000), field(4, &[0])].concat(), true),
        ("operands", field(3, &field(3, &vec![0; SIZE])), false),
        ("outputs", field(4, &vec![0; SIZE]), false),
        ("a shape", field(3, &field(6, &vec![1; SIZE])), false),
        ("a name", field(1, &vec![b'a'; SIZE]), false),
        ("indices", gather(SIZE), false),
        ("indices, as many as are decoded", gather(1_500_000), true),
        ("a constant", [node("c", "constant", &attribute("value", &bytes(SIZE)), 1, &shape), field(4, &[0])].concat(), false),
        ("a threshold per neuron", neurons, true),
        ("a tensor that says it is larger", node("c", "constant", &attribute("value", &bytes(usize::MAX)), 1, &shape), false),
    ];
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hostile.snn");
    for (what, graph, sound) in cases {
        let bytes = file(&graph);
        std::fs::write(&path, &bytes).unwrap();
        let (taken, was_sound) = in_child(&path);
        assert_eq!(was_sound, sound, "{what}");
        assert!(taken <= 2 * bytes.len() + (64 << 20), "{what}: {} MiB for a file of {} MiB", taken >> 20, bytes.len() >> 20);
    }
}
