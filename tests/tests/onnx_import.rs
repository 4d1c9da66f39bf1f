//! Real files through the importer: what it makes of them computes what tract makes of them.

use snn_tests::shared::{onnx_files, root, shared_or_skip};
use snnc::frontend::onnx::{ImportOptions, check_import, import};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Imports and checks every file; returns what went wrong, one line each.
fn failures(files: &[PathBuf]) -> Vec<String> {
    let mut wrong = Vec::new();
    for file in files {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let start = Instant::now();
        match import(file, &ImportOptions::default()) {
            Err(e) => wrong.push(format!("{name}: {e}")),
            Ok(imported) => {
                let nodes = imported.graph.len();
                println!("{name}: {nodes} nodes in {:.2} s {:?}", start.elapsed().as_secs_f32(), imported.facts.warnings);
                match check_import(file, &imported) {
                    Err(e) => wrong.push(format!("{name}: {e}")),
                    Ok(checked) => println!("    differs from tract by {:.1e} {:?}", checked.difference, checked.notes),
                }
            }
        }
    }
    wrong
}

fn folder(path: &Path) -> Vec<PathBuf> {
    let files = onnx_files(path);
    assert!(!files.is_empty(), "no models in {}", path.display());
    files
}

#[test]
fn the_projects_own_networks_import_and_equal_tract() {
    let mut files = folder(&root().join("models/digits"));
    files.extend(folder(&root().join("models/vgg7_cifar10")));
    assert_eq!(failures(&files), Vec::<String>::new());
}

#[test]
fn networks_with_data_import_and_equal_tract() {
    if let Some(models) = shared_or_skip("networks_with_data_import_and_equal_tract", "models") {
        assert_eq!(failures(&folder(&models)), Vec::<String>::new());
    }
}

/// Files that are refused, and a piece of the reason.
const REFUSED: [(&str, &str); 2] = [
    ("tract_bidi_lstm", "recurrent networks are not converted"),
    ("tract_linear_classifier", "classical machine learning operators have no spiking form"),
];

#[test]
fn files_of_other_peoples_exporters_import_or_are_refused_for_the_right_reason() {
    let Some(wild) = shared_or_skip("files_of_other_peoples_exporters_import", "models/wild") else { return };
    let (refused, converted): (Vec<PathBuf>, Vec<PathBuf>) = folder(&wild)
        .into_iter()
        .partition(|f| REFUSED.iter().any(|(name, _)| f.file_stem().is_some_and(|s| s.to_string_lossy() == *name)));
    assert_eq!(failures(&converted), Vec::<String>::new());
    for file in refused {
        let message = import(&file, &ImportOptions::default()).expect_err("it is refused").to_string();
        println!("{message}");
        assert!(REFUSED.iter().any(|(name, why)| message.contains(name) && message.contains(why)), "{message}");
    }
}
