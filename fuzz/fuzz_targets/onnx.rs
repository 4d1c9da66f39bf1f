//! An ONNX model: it imports, or says why not.
#![no_main]

use libfuzzer_sys::fuzz_target;
use snnc::frontend::onnx::model::Model;
use snnc::frontend::onnx::{ImportOptions, import_model};
use std::path::Path;

fuzz_target!(|bytes: &[u8]| {
    let Ok(model) = Model::decode(Path::new("model.onnx"), bytes) else { return };
    if let Ok(imported) = import_model(&model, &ImportOptions::default()) {
        snn_ir::verify(&imported.graph).expect("what is imported keeps all rules");
    }
});
