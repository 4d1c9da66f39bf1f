//! Networks and data that are too large for the repository, in a folder `shared` beside the checkout or where
//! `SNNC_SHARED` says. Tests that need them say that they were skipped when it is not there.

use std::path::{Path, PathBuf};

/// The repository's root.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this crate lies in the repository").to_path_buf()
}

/// `relative` in the shared folder, when it is there.
pub fn shared(relative: &str) -> Option<PathBuf> {
    let beside = root().ancestors().skip(1).map(|a| a.join("shared")).find(|p| p.is_dir());
    let path = std::env::var_os("SNNC_SHARED").map(PathBuf::from).or(beside)?.join(relative);
    path.exists().then_some(path)
}

/// [`shared`], saying that `test` is skipped when there is no such path.
pub fn shared_or_skip(test: &str, relative: &str) -> Option<PathBuf> {
    let path = shared(relative);
    if path.is_none() {
        println!("skipped: {test} needs {relative} of the shared folder");
    }
    path
}

/// The `.onnx` files directly in `folder`, by name.
pub fn onnx_files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|e| e.path());
    let mut files: Vec<PathBuf> = entries.filter(|p| p.extension().is_some_and(|e| e == "onnx")).collect();
    files.sort();
    files
}
