//! Generated documents are current.

use snn_tests::shared::root;

#[test]
fn the_list_of_operators_is_what_the_registry_says() {
    let (path, text) = (root().join("docs/operators.md"), snnc::frontend::onnx::documentation::operators());
    if std::env::var_os("SNNC_BLESS").is_some() {
        std::fs::write(&path, &text).expect("docs can be written");
    }
    assert!(std::fs::read_to_string(&path).is_ok_and(|t| t == text), "docs/operators.md is out of date: run with SNNC_BLESS=1");
}
