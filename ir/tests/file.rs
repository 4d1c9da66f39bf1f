//! `.snn` files: what was written is read, and anything else is refused without harm.

mod graphs;

use graphs::{all_ops, quantized};
use proptest::prelude::*;
use snn_ir::file::*;
use snn_ir::*;

fn program(graph: Graph) -> Program {
    Program {
        graph,
        preprocessing: Preprocessing {
            layout: Layout::Hwc,
            scale: 1.0 / 255.0,
            mean: vec![0.5, 0.25, 0.125],
            std: vec![0.2],
            resize: Some([6, 6]),
        },
        provenance: Provenance {
            model: "lenet.onnx".into(),
            model_crc32: 0xdead_beef,
            recipe: "name: mmse\n".into(),
            calibration: Some(CalibrationSource { data: "digits_calib.npz".into(), samples: 100 }),
            compiler: "0.1.0".into(),
            notes: vec!["a note".into(), String::new()],
        },
    }
}

fn example() -> Vec<u8> {
    encode(&program(quantized())).unwrap()
}

/// The file with a checksum and length that fit its content.
fn resealed(mut bytes: Vec<u8>) -> Vec<u8> {
    let length = (bytes.len() - 20) as u64;
    bytes[8..16].copy_from_slice(&length.to_le_bytes());
    let checksum = crc32fast::hash(&[&bytes[..16], &bytes[20..]].concat());
    bytes[16..20].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

#[test]
fn every_operation_is_read_as_it_was_written() {
    for graph in all_ops().into_iter().chain([quantized()]).filter(|g| verify(g).is_ok()) {
        let p = program(graph);
        let bytes = encode(&p).unwrap();
        let back = decode(bytes.clone()).unwrap();
        assert_eq!(back, p);
        assert_eq!(encode(&back).unwrap(), bytes);
    }
    let bare = Program { preprocessing: Preprocessing::default(), provenance: Provenance::default(), graph: quantized() };
    assert_eq!(decode(encode(&bare).unwrap()).unwrap(), bare);
}

#[test]
fn a_file_of_format_version_1_still_reads() {
    let golden = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let back = read(golden.join("version1.snn")).unwrap();
    assert_eq!(text::print(&back.graph, text::Parameters::Full), std::fs::read_to_string(golden.join("version1.snnir")).unwrap());
    assert_eq!(back, program(back.graph.clone()));
}

#[test]
fn every_prefix_is_refused() {
    let bytes = example();
    for n in 0..bytes.len() {
        assert!(decode(bytes[..n].to_vec()).is_err(), "{n} bytes were taken");
    }
    assert!(matches!(decode([&bytes[..], &[0]].concat()), Err(DecodeError::Length { .. })));
}

#[test]
fn flipped_bits_are_refused() {
    let bytes = example();
    let mut random = Random::new(1);
    for _ in 0..10_000 {
        let mut damaged = bytes.clone();
        for _ in 0..random.between(1, 3) {
            let bit = random.below(8 * bytes.len());
            damaged[bit / 8] ^= 1 << (bit % 8);
        }
        assert!(damaged == bytes || decode(damaged).is_err());
    }
}

#[test]
fn damage_under_a_right_checksum_never_panics_and_leaves_only_sound_networks() {
    let bytes = example();
    let mut random = Random::new(2);
    let mut taken = 0;
    for _ in 0..20_000 {
        let mut damaged = bytes.clone();
        for _ in 0..random.between(1, 4) {
            let at = 20 + random.below(damaged.len() - 20);
            match random.below(4) {
                0 => damaged[at] ^= 1 << random.below(8),
                1 => damaged[at] = random.bits() as u8,
                2 => drop(damaged.remove(at)),
                _ => damaged.insert(at, random.bits() as u8),
            }
        }
        if let Ok(p) = decode(resealed(damaged)) {
            taken += 1;
            verify(&p.graph).unwrap();
            assert_eq!(decode(encode(&p).unwrap()).unwrap().graph, p.graph);
        }
    }
    assert!(taken > 0, "no damage got past the decoder, not even in weights: the test tests nothing");
}

#[test]
fn prefixes_under_a_right_checksum_are_refused() {
    let bytes = example();
    for n in 20..bytes.len() {
        // A prefix that ends between two notes is a file of its own; before that, something is missing.
        let cut = decode(resealed(bytes[..n].to_vec()));
        assert!(cut.is_err() || cut.unwrap().graph == quantized(), "{n} bytes were taken");
    }
}

#[test]
fn what_a_reader_does_not_know_is_refused_with_a_reason() {
    let mut newer = example();
    newer[4] = 2;
    assert_eq!(decode(newer), Err(DecodeError::Version(2)));
    assert_eq!(decode(b"PK\x03\x04 some other file".to_vec()), Err(DecodeError::Magic));
    let reason = |from: &str, to: &str| {
        let mut bytes = example();
        let at = bytes.windows(from.len()).position(|w| w == from.as_bytes()).unwrap();
        bytes[at..at + from.len()].copy_from_slice(to.as_bytes());
        decode(resealed(bytes)).unwrap_err().to_string()
    };
    assert_eq!(reason("encode\x1a", "decode\x1a"), "node `image.encode` in the file: unknown operation `decode`");
    assert_eq!(reason("synapses", "synapsis"), "node `a` in the file: attribute `synapses` is missing");
    assert_eq!(reason("subtract", "subtrakt"), "node `a` in the file: attribute `reset` should be subtract or zero");
    let unknown_field = [example(), vec![0x4a, 0]].concat();
    assert_eq!(decode(resealed(unknown_field)).unwrap_err().to_string(), "the file's content is malformed: field 9 of Program is unknown");
}

#[test]
fn a_network_that_no_reader_would_take_is_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.snn");
    assert!(matches!(write(&path, &program(Graph::new("empty"))), Err(WriteError::Graph(VerifyError::NoOutput))));
    let mut p = program(quantized());
    p.preprocessing.std = vec![0.0];
    assert!(matches!(write(&path, &p), Err(WriteError::Preprocessing(_))));
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
}

#[test]
fn writing_replaces_a_file_whole_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("net.snn");
    std::fs::write(&path, "old").unwrap();
    write(&path, &program(quantized())).unwrap();
    assert_eq!(read(&path).unwrap(), program(quantized()));
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
    // A folder in its place cannot be replaced: nothing is left behind.
    let taken = folder.path().join("taken");
    std::fs::create_dir(&taken).unwrap();
    assert!(matches!(write(&taken, &program(quantized())), Err(WriteError::Io(_))));
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 2);
    assert!(matches!(read(folder.path().join("absent.snn")), Err(ReadError::Io(_))));
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(payload in prop::collection::vec(any::<u8>(), 0..300)) {
        let header = [&b"SNN\0"[..], &1u32.to_le_bytes(), &[0; 12]].concat();
        let _ = decode(resealed([header, payload].concat()));
    }
}
