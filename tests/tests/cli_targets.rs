//! Targets and forms on the command line: what does not fit is said at once, and what is exported is the same network.

use serde_json::Value;
use snn_tests::shared::root;
use std::path::Path;
use std::process::{Command, Output};

const SNNC: &str = env!("CARGO_BIN_EXE_snnc-under-test");

fn snnc(arguments: &[&str]) -> Output {
    Command::new(SNNC).args(arguments).output().expect("the program starts")
}

/// Runs a command that must succeed and returns its standard output.
fn succeed(arguments: &[&str]) -> String {
    let output = snnc(arguments);
    assert!(output.status.success(), "snnc {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("reports are UTF-8")
}

/// The bundled digits network, compiled with these arguments to `to` in `folder`.
fn digits(folder: &Path, to: &str, arguments: &[&str]) -> String {
    let model = |name: &str| root().join("models/digits").join(name).display().to_string();
    let (onnx, calibration, to) = (model("digits.onnx"), model("digits_calib.npz"), folder.join(to).display().to_string());
    succeed(&[&[&onnx, "-o", &to, "--calib", &calibration, "-q"], arguments].concat());
    to
}

#[test]
fn check_lists_everything_that_does_not_fit_and_exits_with_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let lanes = digits(folder.path(), "lanes.snn", &["--recipe", "lanes"]);
    let output = snnc(&["check", &lanes, "--target", "generic-int8", "--format", "json"]);
    assert_eq!(output.status.code(), Some(1));
    let survey: Value = serde_json::from_slice(&output.stdout).expect("the report is JSON");
    let obstacles = survey["obstacles"].as_array().expect("a list");
    let populations = obstacles.iter().filter(|o| o["limit"] == "firing" && o["value"] == "lanes").count();
    assert_eq!((survey["fits"].as_bool(), populations), (Some(false), 6), "{survey}");
    assert!(obstacles.iter().all(|o| !o["source"].as_str().unwrap().is_empty() && !o["way_out"].as_str().unwrap().is_empty()));
    assert_eq!(succeed(&["check", &lanes, "--target", "cpu"]), "the network fits cpu\n");
}

#[test]
fn a_network_compiled_for_a_target_fits_it_and_one_that_cannot_is_refused_and_not_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let chip = digits(folder.path(), "chip.snn", &["--recipe", "mmse", "--target", "generic-int8"]);
    assert_eq!(succeed(&["check", &chip, "--target", "generic-int8"]), "the network fits generic-int8\n");
    let test = root().join("models/digits/digits_test.npz").display().to_string();
    let report: Value = serde_json::from_str(&succeed(&["eval", &chip, "--data", &test, "--format", "json"])).unwrap();
    assert!(report["snn"][0]["accuracy"].as_f64().unwrap() > 97.0, "{report}");

    let target = folder.path().join("tiny.yaml");
    std::fs::write(&target, "name: tiny\ndescription: hardly anything\nlimits: {fan-in: {value: 4, source: this test}}\n").unwrap();
    let never = folder.path().join("never.snn");
    let onnx = root().join("models/digits/digits.onnx").display().to_string();
    let output = snnc(&[&onnx, "-o", &never.display().to_string(), "--target", &target.display().to_string()]);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("does not fit tiny") && error.contains("fan-in") && error.contains("this test"), "{error}");
    assert!(!never.exists());
}

#[test]
fn a_network_that_was_exported_as_text_answers_as_before() {
    let folder = tempfile::tempdir().expect("a folder");
    let snn = digits(folder.path(), "digits.snn", &["--recipe", "mmse", "--timesteps", "8"]);
    let text = folder.path().join("digits.snnir").display().to_string();
    succeed(&["export", &snn, "-o", &text]);
    let direct = digits(folder.path(), "direct.snnir", &["--recipe", "mmse", "--timesteps", "8"]);
    assert_eq!(std::fs::read_to_string(&text).unwrap(), std::fs::read_to_string(direct).unwrap());
    let test = root().join("models/digits/digits_test.npz").display().to_string();
    let run = |network: &str| succeed(&["run", network, "--input", &test, "--limit", "20"]);
    assert_eq!(run(&snn), run(&text));
    // The same network, written again, is the same bytes but for where it came from.
    let again = folder.path().join("again.snnir").display().to_string();
    succeed(&["export", &text, "-o", &again]);
    assert_eq!(std::fs::read(&text).unwrap(), std::fs::read(again).unwrap());
}
