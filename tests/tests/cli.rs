//! The command line as users meet it: transcripts, and the whole way from ONNX to accuracy on the bundled digits.

use serde_json::Value;
use snnc::data::npy::NpyHeader;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const SNNC: &str = env!("CARGO_BIN_EXE_snnc-under-test");

fn models() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../models")
}

fn snnc(arguments: &[&str]) -> Output {
    Command::new(SNNC).args(arguments).output().expect("the program starts")
}

/// Runs a command that must succeed and returns its standard output.
fn succeed(arguments: &[&str]) -> String {
    let output = snnc(arguments);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "snnc {}: {error}", arguments.join(" "));
    String::from_utf8(output.stdout).expect("reports are UTF-8")
}

fn json(arguments: &[&str]) -> Value {
    serde_json::from_str(&succeed(&[arguments, &["--format", "json"]].concat())).expect("the report is JSON")
}

/// Runs a command that must end in a diagnostic and returns it.
fn fail(arguments: &[&str]) -> String {
    let output = snnc(arguments);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "snnc {}: {error}", arguments.join(" "));
    assert!(output.stdout.is_empty(), "a failed command reports nothing");
    error
}

/// The bundled digits network, compiled with its calibration data.
struct Digits {
    folder: tempfile::TempDir,
    onnx: String,
    test: String,
    snn: String,
}

fn digits() -> Digits {
    let folder = tempfile::tempdir().expect("a folder for temporary files");
    let path = |name: &str| models().join("digits").join(name).display().to_string();
    let snn = folder.path().join("digits.snn").display().to_string();
    let digits = Digits { onnx: path("digits.onnx"), test: path("digits_test.npz"), snn, folder };
    succeed(&[&digits.onnx, "-o", &digits.snn, "--calib", &path("digits_calib.npz")]);
    digits
}

impl Digits {
    fn file(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }
}

#[test]
fn transcripts_hold() {
    trycmd::TestCases::new().register_bin("snnc", trycmd::schema::Bin::Path(SNNC.into())).case("cmd/*.trycmd");
}

#[test]
fn the_digits_network_keeps_its_accuracy() {
    let digits = digits();
    let report = json(&["eval", &digits.snn, "--data", &digits.test, "--onnx", &digits.onnx, "--timesteps", "32,8"]);
    assert_eq!(report["samples"], 450);
    // onnxruntime: 445 of 450.
    assert!((report["ann"]["accuracy"].as_f64().unwrap() - 100.0 * 445.0 / 450.0).abs() < 1e-9);
    let timesteps: Vec<u64> = report["snn"].as_array().unwrap().iter().map(|s| s["timesteps"].as_u64().unwrap()).collect();
    assert_eq!(timesteps, [8, 32]);
    assert!(report["snn"][1]["accuracy"].as_f64().unwrap() > 97.0, "{report}");
    assert!(report["snn"][1]["spikes_per_sample"].as_f64().unwrap() > report["snn"][0]["spikes_per_sample"].as_f64().unwrap());
}

#[test]
fn an_evaluation_is_the_same_on_any_number_of_threads_and_engines() {
    let digits = digits();
    let eval = |more: &[&str]| json(&[&["eval", &digits.snn, "--data", &digits.test, "--limit", "60", "--skip", "3"], more].concat());
    let one = eval(&["--threads", "1"]);
    assert_eq!(one["samples"], 60);
    assert_eq!(one, eval(&["--threads", "3"]));
    assert_eq!(one, eval(&["--engine", "reference"]));
}

#[test]
fn compiling_twice_gives_the_same_bytes() {
    assert_eq!(std::fs::read(digits().snn).unwrap(), std::fs::read(digits().snn).unwrap());
}

#[test]
fn run_writes_the_potentials_that_it_prints() {
    let digits = digits();
    let y = digits.file("y.npy");
    succeed(&["run", &digits.snn, "--input", &digits.test, "-o", &y]);
    let file = std::fs::read(&y).unwrap();
    let header = NpyHeader::read(&file[..], file.len() as u64).unwrap();
    assert_eq!(header.shape, [450, 10]);
    let potentials = header.element.to_f32(&file[header.length as usize..]);
    let report = json(&["run", &digits.snn, "--input", &digits.test, "--stats", "--top", "1"]);
    let best = &report["samples"][7][0];
    let class = best["class"].as_u64().unwrap() as usize;
    assert_eq!(best["potential"].as_f64().unwrap() as f32, potentials[70 + class]);
    assert!(potentials[70..80].iter().all(|&p| p <= potentials[70 + class]));
    assert!(report["layers"].as_array().unwrap().iter().all(|l| l["rate"].as_f64().unwrap() <= 1.0));
}

#[test]
fn bench_reports_what_it_measured() {
    let digits = digits();
    let report =
        json(&["bench", &digits.snn, "--data", &digits.test, "--timesteps", "4", "--threads", "2", "--batch", "3", "--rounds", "2"]);
    assert_eq!((&report["timesteps"], &report["threads"], &report["batch"]), (&4.into(), &2.into(), &3.into()));
    let [min, median, max] = ["min", "ms_per_sample", "max"].map(|key| report[key].as_f64().unwrap());
    assert!(0.0 < min && min <= median && median <= max, "{report}");
}

#[test]
fn inspect_shows_models_and_networks() {
    let digits = digits();
    let onnx = json(&["inspect", &digits.onnx]);
    assert_eq!((&onnx["convertible"], &onnx["operators"]["BatchNormalization"]), (&true.into(), &6.into()), "{onnx}");
    let snn = json(&["inspect", &digits.snn]);
    assert_eq!((&snn["integer"], &snn["timesteps"]), (&true.into(), &32.into()), "{snn}");
    assert!(succeed(&["inspect", &digits.snn, "--params"]).starts_with("graph @"));
}

#[test]
fn inspect_says_in_advance_what_becomes_of_every_node() {
    let onnx = |name: &str| models().join("digits").join(name).display().to_string();
    let report = json(&["inspect", "--support", &onnx("digits_tanh.onnx")]);
    assert_eq!(report["convertible"], true);
    let approximated: Vec<&Value> = report["nodes"].as_array().unwrap().iter().filter(|n| n["support"] == "approximated").collect();
    assert!(!approximated.is_empty() && approximated.iter().all(|n| n["op"] == "Tanh"), "{report}");
    let text = succeed(&["inspect", "--support", &onnx("digits_tanh.onnx")]);
    assert!(text.contains("(Tanh, opset ") && text.contains("can be converted: "), "{text}");
}

#[test]
fn an_import_is_compared_with_the_file_unless_the_user_says_no() {
    let digits = digits();
    let compile = |more: &[&str]| String::from_utf8(snnc(&[&[digits.onnx.as_str(), "-o", &digits.snn], more].concat()).stderr).unwrap();
    assert!(compile(&[]).contains("the import computes what tract computes"));
    assert!(!compile(&["--no-check"]).contains("tract"));
}

#[test]
fn dumps_are_numbered_in_pass_order_and_opt_continues_from_one() {
    let digits = digits();
    let (folder, out) = (digits.file("ir"), digits.file("again.snn"));
    succeed(&[&digits.onnx, "-o", &out, "--dump-ir-dir", &folder, "--check"]);
    let mut names: Vec<String> = std::fs::read_dir(&folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names[0], "00-import.snnir");
    let [before, pass, after] = [&names[0], &names[1], &names[1]].map(|n| Path::new(&folder).join(n).display().to_string());
    let name = Path::new(&pass).file_stem().unwrap().to_str().unwrap()[3..].to_string();
    let again = succeed(&["opt", &before, "--pass", &name, "--params"]);
    assert_eq!(again, std::fs::read_to_string(after).unwrap());
}

#[test]
fn a_wrong_shaped_data_set_says_which_shape_was_expected() {
    let digits = digits();
    let image = digits.file("wide.ppm");
    std::fs::write(&image, b"P5 3 2 255 \0\0\0\0\0\0").unwrap();
    let error = fail(&["run", &digits.snn, "--input", &image]);
    assert!(error.contains("takes 1x8x8") && error.contains("samples of 2x3"), "{error}");
}

#[test]
fn explain_ranks_the_layers_of_a_network_and_refuses_one_of_another_model() {
    let digits = digits();
    let report = json(&["explain", &digits.onnx, &digits.snn, "--data", &digits.test, "--limit", "5"]);
    assert_eq!(report["samples"], 5);
    assert!(report["ranking"][0].as_str().is_some_and(|first| first.contains("% of the loss")), "{report}");
    let other = models().join("digits/digits_tanh.onnx").display().to_string();
    let error = fail(&["explain", &other, &digits.snn, "--data", &digits.test]);
    assert!(error.contains("was not compiled from") && error.contains("another digits.onnx"), "{error}");
}

#[test]
fn damaged_networks_are_refused() {
    let digits = digits();
    let bytes = std::fs::read(&digits.snn).unwrap();
    let broken = digits.file("broken.snn");
    for length in [0, 10, bytes.len() / 2, bytes.len() - 1] {
        std::fs::write(&broken, &bytes[..length]).unwrap();
        fail(&["inspect", &broken]);
    }
    let error = fail(&["eval", &digits.onnx, "--data", &digits.test]);
    assert!(error.contains("compile it first"), "{error}");
}

#[test]
fn a_failed_command_leaves_no_output() {
    let digits = digits();
    let (out, model) = (digits.file("new.snn"), digits.file("broken.onnx"));
    let bytes = std::fs::read(&digits.onnx).unwrap();
    std::fs::write(&model, &bytes[..bytes.len() / 2]).unwrap();
    fail(&[&model, "-o", &out]);
    fail(&[&digits.onnx, "-o", &digits.file("no/such/folder/new.snn")]);
    fail(&["run", &digits.snn, "--input", &digits.test, "-o", &digits.file("no/such/folder/y.npy")]);
    let mut left: Vec<String> =
        std::fs::read_dir(digits.folder.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    left.sort();
    assert_eq!(left, ["broken.onnx", "digits.snn"]);
}

#[test]
fn a_cpu_level_or_a_cost_model_changes_kernels_and_never_predictions() {
    let digits = digits();
    let eval = |more: &[&str]| json(&[&["eval", &digits.snn, "--data", &digits.test, "--limit", "100", "--rates"], more].concat());
    let costs = digits.file("costs.json");
    succeed(&["bench", "--calibrate-cost-model", "-o", &costs]);
    let default = eval(&[]);
    assert_eq!(default, eval(&["--cpu-level", "portable"]));
    assert_eq!(default, eval(&["--cost-model", &costs]));
    assert!(succeed(&["inspect", "--plan", &digits.snn, "--cpu-level", "portable"]).starts_with("cpu portable"));
    std::fs::write(&costs, "{\"avx2\": 1}").expect("the folder is writable");
    let error = fail(&["eval", &digits.snn, "--data", &digits.test, "--cost-model", &costs]);
    assert!(error.contains("cannot use") && error.contains("no cost model"), "{error}");
}

#[test]
fn a_compiled_network_knows_how_often_its_neurons_spike() {
    let digits = digits();
    let text = succeed(&["inspect", "--params", &digits.snn]);
    assert!(text.lines().filter(|l| l.contains("neuron=if(")).all(|l| l.contains("rate=")), "{text}");
}
