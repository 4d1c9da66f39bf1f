//! What fuzz targets share.

use snn_ir::Preprocessing;
use snnc::data::Dataset;
use std::io::Write;

/// Reads `bytes` as a file whose name ends in `ending`: the first samples of it, and its labels.
pub fn dataset(bytes: &[u8], ending: &str) {
    let mut file = tempfile::Builder::new().suffix(ending).tempfile().expect("a temporary file");
    file.write_all(bytes).expect("it can be written");
    let Ok(data) = Dataset::open(file.path()) else { return };
    let _ = data.all_labels();
    for index in 0..data.len().min(3) {
        for shape in [&[1, 8, 8][..], &[3, 4, 4], &[64]] {
            let _ = data.input(index, &Preprocessing::default(), shape);
        }
    }
}
