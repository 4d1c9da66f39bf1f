//! The command line as users meet it: transcripts, and the whole way from ONNX to accuracy on the bundled digits.

use serde_json::Value;
use snn_tests::onnx::{Onnx, noise, tensor};
use snnc::data::npy::NpyHeader;
use snnc::data::{Dataset, npy, npz};
use snnc::{Compiler, Samples};
use std::io::Read;
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
    let (shape, potentials) = array(&std::fs::read(&y).unwrap());
    assert_eq!(shape, [450, 10]);
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
fn the_library_makes_the_network_that_the_command_line_makes() {
    let digits = digits();
    let imported = snnc::import(Path::new(&digits.onnx), &snnc::ImportOptions::default()).expect("it is a model");
    let data = Dataset::open(&models().join("digits/digits_calib.npz")).expect("it is data");
    let program = snn_ir::file::read(&digits.snn).expect("it is a network");
    let sample = |i| vec![data.input(i, &program.preprocessing, &[1, 8, 8]).expect("it fits")];
    let samples = Samples::of(&imported.graph).with((0..data.len()).map(sample)).expect("they fit");
    let names = imported.facts.outputs.iter().map(|o| o.tensor.as_str());
    let compiled = Compiler::new(&imported.graph).output_names(names).calibrate(&samples).compile().expect("it compiles");
    assert_eq!(compiled.recipe.name, "layerwise");
    assert!(compiled.graph == program.graph, "the networks differ");
}

#[test]
fn a_pass_says_what_it_made_of_each_node_and_why_not_more() {
    let digits = digits();
    let told = |arguments: &[&str]| String::from_utf8(snnc(arguments).stderr).expect("messages are UTF-8");
    let (out, folder) = (digits.file("again.snn"), digits.file("ir"));
    let rates = told(&[&digits.onnx, "-o", &out, "--why", "measure-rates", "--dump-ir-dir", &folder]);
    assert!(rates.contains("| (the network) |") && rates.contains("declined: there are no calibration data"), "{rates}");
    let folded = told(&[&digits.onnx, "-o", &out, "--why", "fold-batch-norm"]);
    assert_eq!(folded.lines().filter(|l| l.contains("| batch_norm ") && l.contains("| changed")).count(), 6, "{folded}");
    let stage = Path::new(&folder).join("01-canonicalize.snnir").display().to_string();
    let summary = told(&["opt", &stage, "--pass", "fold-batch-norm, compose-linear"]);
    assert!(
        summary.contains("note: fold-batch-norm: 12 changed") && summary.contains("note: compose-linear: 0 changed; the network has no"),
        "{summary}"
    );
    let error = fail(&["opt", &stage, "--pass", "quantize"]);
    assert!(error.contains("it must come after `normalize`"), "{error}");
    let error = fail(&[&digits.onnx, "-o", &out, "--why", "normalise"]);
    assert!(error.contains("--why: there is no pass `normalise`") && error.contains("`normalize`"), "{error}");
}

#[test]
fn a_recipe_whose_passes_are_in_a_wrong_order_is_refused_at_its_line() {
    let digits = digits();
    let recipe = digits.file("mine.yaml");
    std::fs::write(&recipe, "name: mine\npasses:\n  - canonicalize\n  # Too early.\n  - replace-relu\n  - balance-thresholds\n").unwrap();
    let error = fail(&[&digits.onnx, "-o", &digits.file("o.snn"), "--recipe", &recipe]);
    assert!(error.contains(", line 5: `replace-relu` needs") && error.contains("after `balance-thresholds`"), "{error}");
    assert!(!error.contains("report"), "{error}");
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
    assert_eq!((&report["task"], &report["output"]), (&"classes".into(), &"logits".into()), "{report}");
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

/// A folder with small models and data.
struct Bench(tempfile::TempDir);

impl Bench {
    fn new() -> Self {
        Bench(tempfile::tempdir().expect("a folder for temporary files"))
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    fn onnx(&self, name: &str, model: &Onnx) -> String {
        std::fs::write(self.path(name), model.bytes()).expect("the folder is writable");
        self.path(name)
    }

    /// Float arrays: name, extents of a sample, elements.
    fn npz(&self, name: &str, arrays: &[(&str, &[usize], &[f32])]) -> String {
        let full = |&(name, shape, data): &(_, &[usize], _)| {
            let each = shape.iter().product::<usize>().max(1);
            (name, [&[<[f32]>::len(data) / each], shape].concat(), data)
        };
        let arrays: Vec<_> = arrays.iter().map(full).collect();
        let mut file = Vec::new();
        npz::write(&mut file, &arrays).expect("memory can be written");
        std::fs::write(self.path(name), file).expect("the folder is writable");
        self.path(name)
    }

    /// Pixels, `each` a sample.
    fn pixels(&self, name: &str, each: usize, pixels: &[u8]) -> String {
        let mut file = Vec::new();
        npy::write_f32(&mut file, &[0, each], &[]).expect("memory can be written");
        // The header has room for the number of samples.
        let header = String::from_utf8(file[10..].to_vec()).expect("headers are text");
        let own = header.trim_end().replace("<f4", "|u1").replace("(0, ", &format!("({}, ", pixels.len() / each));
        let bytes = [&file[..10], format!("{own:<width$}\n", width = header.len() - 1).as_bytes(), pixels].concat();
        std::fs::write(self.path(name), bytes).expect("the folder is writable");
        self.path(name)
    }
}

/// Samples of `each` numbers that look random.
fn samples(count: usize, each: usize) -> Vec<f32> {
    noise(count * each * 2).into_iter().skip(count * each).map(|v| 2.0 * v).collect()
}

/// Standard error of a command that must succeed.
fn told(arguments: &[&str]) -> String {
    let output = snnc(arguments);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "snnc {}: {error}", arguments.join(" "));
    error
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

/// Shape and elements of an array.
fn array(file: &[u8]) -> (Vec<usize>, Vec<f32>) {
    let header = NpyHeader::read(file, file.len() as u64).expect("an array");
    (header.shape, header.element.to_f32(&file[header.length as usize..]))
}

/// Shape and elements of an array in an archive.
fn member(path: &str, name: &str) -> (Vec<usize>, Vec<f32>) {
    let file = std::fs::File::open(path).expect("the archive is there");
    let mut archive = zip::ZipArchive::new(file).expect("an archive");
    let mut bytes = Vec::new();
    archive.by_name(&format!("{name}.npy")).expect("it has the array").read_to_end(&mut bytes).expect("it is whole");
    array(&bytes)
}

/// Four inputs, eight rectifiers, and two outputs: three scores and one number.
fn two_heads() -> Onnx {
    Onnx::new(17)
        .input("x", &[-1, 4])
        .weight("w", &[4, 8])
        .weight("ws", &[8, 3])
        .weight("wv", &[8, 1])
        .node("Gemm", "x w", "h", &[])
        .node("Relu", "h", "r", &[])
        .node("Gemm", "r ws", "scores", &[])
        .node("Gemm", "r wv", "value", &[])
        .output("scores")
        .output("value")
}

#[test]
fn a_network_of_several_outputs_answers_with_all_of_them_by_name() {
    let bench = Bench::new();
    let (onnx, snn) = (bench.onnx("heads.onnx", &two_heads()), bench.path("heads.snn"));
    let data = bench.npz("x.npz", &[("x", &[4], &samples(20, 4))]);
    succeed(&["compile", &onnx, "-o", &snn, "--calib", &data]);
    let text = succeed(&["run", &snn, "--input", &data]);
    assert!(text.contains("sample 19, scores: class ") && text.contains("sample 19, value: "), "{text}");
    let report = json(&["run", &snn, "--input", &data]);
    let (all, again, one) = (bench.path("all.npz"), bench.path("again.npz"), bench.path("value.npy"));
    succeed(&["run", &snn, "--input", &data, "-o", &all, "--threads", "1"]);
    succeed(&["run", &snn, "--input", &data, "-o", &again, "--threads", "3"]);
    assert_eq!(std::fs::read(&all).unwrap(), std::fs::read(again).unwrap());
    let ((scores_shape, scores), (value_shape, values)) = (member(&all, "scores"), member(&all, "value"));
    assert_eq!((scores_shape, value_shape), (vec![20, 3], vec![20, 1]));
    for (i, value) in values.iter().enumerate() {
        let best = &report["outputs"]["scores"]["samples"][i][0];
        assert_eq!(number(&best["potential"]) as f32, scores[3 * i + best["class"].as_u64().unwrap() as usize]);
        assert_eq!(number(&report["outputs"]["value"]["samples"][i][0]) as f32, *value);
    }
    let error = fail(&["run", &snn, "--input", &data, "-o", &one]);
    assert!(error.contains("has 2 outputs") && error.contains("value.npz") && error.contains("--output-name"), "{error}");
    succeed(&["run", &snn, "--input", &data, "-o", &one, "--output-name", "value"]);
    assert_eq!(array(&std::fs::read(&one).unwrap()), (vec![20, 1], values));
    let error = fail(&["run", &snn, "--input", &data, "--output-name", "valu"]);
    assert!(error.contains("`scores`, `value`") && error.contains("did you mean `value`?"), "{error}");
}

#[test]
fn eval_and_explain_say_which_output_they_are_about_and_take_another() {
    let bench = Bench::new();
    let (onnx, snn) = (bench.onnx("heads.onnx", &two_heads()), bench.path("heads.snn"));
    let data = bench.npz("x.npz", &[("x", &[4], &samples(40, 4))]);
    succeed(&[&onnx, "-o", &snn, "--calib", &data]);
    let text = succeed(&["eval", &snn, "--data", &data, "--onnx", &onnx]);
    assert!(text.contains("output `scores` of `scores`, `value`") && text.contains("| value "), "{text}");
    let first = json(&["eval", &snn, "--data", &data, "--onnx", &onnx]);
    assert_eq!((&first["output"], &first["task"]), (&"scores".into(), &"classes".into()), "{first}");
    let second = json(&["eval", &snn, "--data", &data, "--onnx", &onnx, "--output-name", "value"]);
    assert_eq!((&second["output"], &second["task"]), (&"value".into(), &"values".into()), "{second}");
    let of_all = &first["snn"][0]["outputs"][1];
    assert_eq!((&of_all["name"], &of_all["against_ann"]), (&"value".into(), &second["snn"][0]["against_ann"]));
    assert!(number(&of_all["against_ann"]["correlation"]) > 0.9, "{of_all}");
    let explained = |more: &[&str]| json(&[&["explain", &onnx, &snn, "--data", &data], more].concat());
    let (first, second) = (explained(&[]), explained(&["--output-name", "value"]));
    assert_eq!((&first["output"], &second["output"]), (&"scores".into(), &"value".into()));
    assert!(second["agreement"].is_null() && first["against_ann"] != second["against_ann"], "{second}");
}

#[test]
fn a_network_of_two_inputs_is_fed_by_their_names_everywhere() {
    // Inputs in another order than their names.
    let model = Onnx::new(17)
        .input("z", &[-1, 4])
        .input("a", &[-1, 3])
        .weight("wz", &[4, 8])
        .weight("wa", &[3, 8])
        .weight("w", &[8, 3])
        .node("Gemm", "z wz", "hz", &[])
        .node("Gemm", "a wa", "ha", &[])
        .node("Add", "hz ha", "h", &[])
        .node("Relu", "h", "r", &[])
        .node("Gemm", "r w", "scores", &[])
        .output("scores");
    let bench = Bench::new();
    let (onnx, snn, chosen) = (bench.onnx("two.onnx", &model), bench.path("two.snn"), bench.path("chosen.snn"));
    let (z, a) = (samples(40, 4), samples(40, 3));
    let data = bench.npz("d.npz", &[("a", &[3], &a), ("y", &[], &[1.0; 40]), ("z", &[4], &z)]);
    succeed(&[&onnx, "-o", &snn, "--calib", &data]);
    assert!(succeed(&["run", &snn, "--input", &data, "--limit", "2"]).contains("sample 1: class "));
    let piped = Command::new(SNNC).args(["run", &snn, "--input", "-"]).stdin(std::fs::File::open(&data).unwrap()).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&piped.stdout), succeed(&["run", &snn, "--input", &data]));
    let report = json(&["eval", &snn, "--data", &data, "--onnx", &onnx, "--certify"]);
    assert!(number(&report["snn"][0]["against_ann"]["correlation"]) > 0.95, "{report}");
    assert!(report["snn"][0]["accuracy"].is_number() && report["certificates"][0]["samples"] == 40, "{report}");
    assert!(number(&json(&["explain", &onnx, &snn, "--data", &data])["against_ann"]["correlation"]) > 0.95);
    assert!(number(&json(&["bench", &snn, "--data", &data, "--rounds", "1"])["ms_per_sample"]) > 0.0);
    let search = json(&[&onnx, "-o", &chosen, "--calib", &data, "--target-loss", "50", "--recipe", "mmse", "--timesteps", "8"]);
    assert_eq!(search["search"]["measure"], "disagreement", "{search}");
    let half = bench.npz("half.npz", &[("z", &[4], &z)]);
    let error = fail(&[&onnx, "-o", &chosen, "--calib", &half]);
    assert!(error.contains("no member `a`") && error.contains("np.savez"), "{error}");
    let error = fail(&["run", &snn, "--input", &bench.pixels("p.npy", 4, &[0; 8])]);
    assert!(error.contains("2 inputs (z, a)") && error.contains(".npz"), "{error}");
}

#[test]
fn an_input_of_integers_takes_raw_pixels_unless_the_user_says_otherwise() {
    let model = Onnx::new(17)
        .typed_input("x", tract_onnx::pb::tensor_proto::DataType::Uint8, &[-1, 16])
        .floats("scale", &[1], &[255.0])
        .weight("w1", &[16, 8])
        .weight("w2", &[8, 3])
        .node("Cast", "x", "f", &[snn_tests::onnx::int("to", 1)])
        .node("Div", "f scale", "u", &[])
        .node("Gemm", "u w1", "h", &[])
        .node("Relu", "h", "r", &[])
        .node("Gemm", "r w2", "scores", &[])
        .output("scores");
    let bench = Bench::new();
    let (onnx, snn) = (bench.onnx("u8.onnx", &model), bench.path("u8.snn"));
    let pixels: Vec<u8> = (0..40u32 * 16).map(|i| (i * 7919 % 256) as u8).collect();
    let data = bench.pixels("p.npy", 16, &pixels);
    assert!(told(&[&onnx, "-o", &snn]).contains("synthetic inputs from 0 to 255 (preprocessed pixels)"));
    assert!(told(&[&onnx, "-o", &snn, "--calib", &data]).contains("input `x` holds UINT8"));
    assert!(json(&["inspect", &snn])["preprocessing"].as_str().unwrap().starts_with("(p * 1 - 0)"));
    let report = json(&["eval", &snn, "--data", &data, "--onnx", &onnx]);
    assert!(number(&report["snn"][0]["against_ann"]["relative_error"]) < 0.1, "{report}");
    assert!(told(&[&onnx, "-o", &snn, "--calib", &data, "--scale", "unit"]).contains("--scale unit divides pixels"));
    assert!(json(&["inspect", &snn])["preprocessing"].as_str().unwrap().starts_with("(p * 0.0039"));
}

#[test]
fn an_output_that_is_read_or_cannot_be_written_is_refused_before_work_starts() {
    let digits = digits();
    let calib = models().join("digits/digits_calib.npz").display().to_string();
    let unharmed = |path: &str, arguments: &[&str]| {
        let before = std::fs::read(path).unwrap();
        let error = fail(arguments);
        assert!(error.contains("would overwrite what is read"), "{error}");
        assert_eq!(std::fs::read(path).unwrap(), before, "{arguments:?}");
    };
    // Other names of the model and of the data.
    let (model, data, folder) = (digits.file("model.snn"), digits.file("data.snn"), digits.file("folder"));
    std::fs::hard_link(digits.file("digits.snn"), digits.file("other.npz")).unwrap();
    std::fs::copy(&digits.onnx, &model).unwrap();
    std::fs::copy(&calib, &data).unwrap();
    std::fs::create_dir(&folder).unwrap();
    std::fs::copy(&calib, format!("{folder}/x.snn")).unwrap();
    unharmed(&model, &[&model, "-o", &model]);
    unharmed(&data, &[&digits.onnx, "-o", &data, "--calib", &data]);
    unharmed(&format!("{folder}/x.snn"), &[&digits.onnx, "-o", &format!("{folder}/x.snn"), "--calib", &folder]);
    unharmed(&digits.snn, &["run", &digits.snn, "--input", &digits.test, "-o", &digits.file("other.npz")]);
    // Of what does not exist nothing is read before the output is looked at.
    for (output, why) in [("x.nir", "end in .nir"), ("x.c", "end in .c"), ("folder", "it is a folder"), ("no/x.snn", "there is no folder")]
    {
        let error = fail(&["missing.onnx", "-o", &digits.file(output)]);
        assert!(error.contains(why) && !error.contains(".snnc-"), "{error}");
    }
    let error = fail(&["run", "missing.snn", "--input", "missing.npy", "-o", &digits.file("y.csv")]);
    assert!(error.contains(".npz or .npy"), "{error}");
}

#[test]
fn calibration_data_that_cannot_be_meant_are_refused_or_warned_of() {
    let bench = Bench::new();
    let digits = models().join("digits/digits.onnx").display().to_string();
    let usual = models().join("digits/digits_calib.npz").display().to_string();
    let snn = bench.path("d.snn");
    let calibrated = |data: &str, more: &[&str]| told(&[&[&digits, "-o", &snn, "--recipe", "mmse", "--calib", data], more].concat());
    for constant in [0.0, 0.5] {
        let data = bench.npz("c.npz", &[("x", &[1, 8, 8], &[constant; 640])]);
        let error = fail(&[&digits, "-o", &snn, "--calib", &data]);
        assert!(error.contains(&format!("hold nothing but {constant}")), "{error}");
    }
    let huge: Vec<f32> = samples(10, 64).iter().map(|v| v * 1e8).collect();
    let warned = calibrated(&bench.npz("h.npz", &[("x", &[1, 8, 8], &huge)]), &[]);
    assert!(warned.contains("values are huge") && warned.contains("standard deviation") && warned.contains("% zeros"), "{warned}");
    let mut rare = [0.0; 6400];
    rare[77] = 1.0;
    assert!(calibrated(&bench.npz("z.npz", &[("x", &[1, 8, 8], &rare)]), &[]).contains("almost all values are zero"));
    assert!(calibrated(&usual, &["--scale", "raw"]).contains("the first batch-norm `/1/BatchNormalization` saw other values"));
    assert!(calibrated(&usual, &["--mean", "3"]).contains("is preprocessing right"));
    assert!(!calibrated(&usual, &[]).contains("warning"));
}

/// `|x₀ + x₁| − |x₀ − x₁|` and its negative, of one output.
fn regression(sign: f32) -> Onnx {
    let (first, last) = ([1.0, -1.0, 1.0, -1.0, 1.0, -1.0, -1.0, 1.0], [sign, sign, -sign, -sign]);
    Onnx::new(17)
        .input("x", &[-1, 2])
        .floats("w1", &[2, 4], &first)
        .floats("w2", &[4, 1], &last)
        .node("Gemm", "x w1", "h", &[])
        .node("Relu", "h", "r", &[])
        .node("Gemm", "r w2", "y", &[])
        .output("y")
}

fn products(x: &[f32]) -> Vec<f32> {
    x.chunks(2).map(|x| (x[0] + x[1]).abs() - (x[0] - x[1]).abs()).collect()
}

#[test]
fn an_output_of_numbers_is_scored_as_numbers_and_not_by_its_largest_element() {
    let bench = Bench::new();
    let (onnx, against, snn) = (bench.onnx("r.onnx", &regression(1.0)), bench.onnx("n.onnx", &regression(-1.0)), bench.path("r.snn"));
    let x = samples(60, 2);
    let (data, labelled) = (bench.npz("x.npz", &[("x", &[2], &x)]), bench.npz("xy.npz", &[("x", &[2], &x), ("y", &[1], &products(&x))]));
    succeed(&[&onnx, "-o", &snn, "--calib", &data]);
    let report = json(&["eval", &snn, "--data", &labelled, "--onnx", &onnx]);
    let (score, ann) = (&report["snn"][0], &report["ann"]);
    assert_eq!((&report["task"], &score["agreement"], &score["accuracy"]), (&"values".into(), &Value::Null, &Value::Null), "{report}");
    for fidelity in [&score["against_ann"], &score["against_labels"]] {
        assert!(
            number(&fidelity["correlation"]) > 0.99 && number(&fidelity["r2"]) > 0.98 && number(&fidelity["rms_error"]) < 0.1,
            "{fidelity}"
        );
    }
    assert!(number(&ann["against_labels"]["rms_error"]) < 1e-5, "{ann}");
    let text = succeed(&["eval", &snn, "--data", &labelled, "--onnx", &onnx]);
    assert!(text.contains("correlation with labels") && !text.contains("same as ANN"), "{text}");
    // A network that answers with the opposite agrees with nothing.
    let report = json(&["eval", &snn, "--data", &data, "--onnx", &against]);
    assert!(number(&report["snn"][0]["against_ann"]["correlation"]) < -0.99, "{report}");
    assert!(number(&report["snn"][0]["against_ann"]["r2"]) < 0.0, "{report}");
    assert!(json(&["explain", &onnx, &snn, "--data", &data])["conclusion"].as_str().unwrap().contains("of the variance"));
    let one = |threads| json(&["eval", &snn, "--data", &labelled, "--onnx", &onnx, "--threads", threads]);
    assert_eq!(one("1"), one("3"));
    let chosen = bench.path("c.snn");
    let search = &json(&[&onnx, "-o", &chosen, "--calib", &data, "--target-loss", "5", "--recipe", "mmse"])["search"];
    assert_eq!(search["measure"], "unexplained-variance", "{search}");
    // In percent, as of all samples, up to the choice of the samples.
    let loss = number(&search["candidates"][search["chosen"].as_u64().unwrap() as usize]["loss"]);
    let r2 = number(&json(&["eval", &chosen, "--data", &data, "--onnx", &onnx])["snn"][0]["against_ann"]["r2"]);
    assert!((0.2..5.0).contains(&(loss / (100.0 * (1.0 - r2)))), "{loss} %, R² {r2}");
    let error = fail(&["eval", &snn, "--data", &labelled, "--early-exit", "1"]);
    assert!(error.contains("has no classes"), "{error}");
    let wrong = bench.npz("w.npz", &[("x", &[2], &x), ("y", &[3], &[0.5; 180])]);
    assert!(fail(&["eval", &snn, "--data", &wrong]).contains("numbers of shape [3]"));
}

#[test]
fn yes_or_no_is_told_by_the_sign_of_the_logit_and_probabilities_are_compared_as_such() {
    let bench = Bench::new();
    let model = |closed: bool| {
        let mut model = regression(4.0);
        if closed {
            model = model.node("Sigmoid", "y", "p", &[]).output("p");
            model.graph().output.remove(0);
        }
        model
    };
    let x = samples(60, 2);
    let logits: Vec<f32> = products(&x).iter().map(|p| 4.0 * p).collect();
    let yes: Vec<f32> = logits.iter().map(|&l| if l > 0.0 { 1.0 } else { 0.0 }).collect();
    let likely: Vec<f32> = logits.iter().map(|l| 1.0 / (1.0 + (-l).exp())).collect();
    let data = bench.npz("yes.npz", &[("x", &[2], &x), ("y", &[], &yes)]);
    let soft = bench.npz("soft.npz", &[("x", &[2], &x), ("y", &[1], &likely)]);
    for (name, closed) in [("logit", false), ("sigmoid", true)] {
        let (onnx, snn) = (bench.onnx(&format!("{name}.onnx"), &model(closed)), bench.path(&format!("{name}.snn")));
        succeed(&[&onnx, "-o", &snn, "--calib", &data]);
        for more in [&[][..], &["--onnx", &onnx]] {
            let report = json(&[&["eval", &snn, "--data", &data], more].concat());
            assert_eq!((&report["task"], &report["threshold"]), (&"binary".into(), &0.0.into()), "{name} {report}");
            assert!(number(&report["snn"][0]["accuracy"]) > 90.0, "{name} {report}");
            if !more.is_empty() {
                assert_eq!(report["ann"]["accuracy"], 100.0, "{name} {report}");
                assert!(number(&report["snn"][0]["agreement"]) > 90.0, "{name} {report}");
            }
        }
        // Half of the labels are wrong: so is half of the answers.
        let half: Vec<f32> = yes.iter().enumerate().map(|(i, y)| if i % 2 == 0 { *y } else { 1.0 - y }).collect();
        let half = bench.npz("half.npz", &[("x", &[2], &x), ("y", &[], &half)]);
        assert_eq!(json(&["eval", &snn, "--data", &half, "--onnx", &onnx])["ann"]["accuracy"], 50.0);
    }
    let (onnx, snn) = (bench.path("sigmoid.onnx"), bench.path("sigmoid.snn"));
    for more in [&[][..], &["--onnx", &onnx]] {
        let report = json(&[&["eval", &snn, "--data", &soft], more].concat());
        assert!(number(&report["snn"][0]["against_labels"]["relative_error"]) < 0.1, "{report}");
    }
    assert!(told(&["run", &snn, "--input", &data]).contains("output `p` is the logit before the closing sigmoid"));
}

#[test]
fn explain_says_when_nothing_is_lost_and_advises_only_where_something_is() {
    let digits = digits();
    let text = succeed(&["explain", &digits.onnx, &digits.snn, "--data", &digits.test, "--limit", "5"]);
    assert!(text.contains("nothing is lost: all 5 samples") && !text.contains("; try "), "{text}");
    let short = digits.file("short.snn");
    let calib = models().join("digits/digits_calib.npz").display().to_string();
    succeed(&[&digits.onnx, "-o", &short, "--calib", &calib, "--recipe", "deng2021", "--timesteps", "2"]);
    let text = succeed(&["explain", &digits.onnx, &short, "--data", &digits.test]);
    assert!(text.contains("agrees with the ANN on") && text.contains("; try "), "{text}");
}

#[test]
fn only_windows_shorter_than_compiled_for_are_warned_of() {
    let digits = digits();
    let eval = |timesteps: &str| told(&["eval", &digits.snn, "--data", &digits.test, "--limit", "5", "--timesteps", timesteps]);
    assert!(!eval("32,64").contains("loses more"));
    let warned = eval("8,64");
    assert!(warned.contains("at T = 8 it loses more"), "{warned}");
}

#[test]
fn the_compile_command_is_what_snnc_does_without_one_and_can_be_quiet() {
    let digits = digits();
    let (long, quiet) = (digits.file("long.snn"), digits.file("quiet.snn"));
    let calib = models().join("digits/digits_calib.npz").display().to_string();
    assert!(!told(&["compile", &digits.onnx, "-o", &long, "--calib", &calib]).is_empty());
    assert_eq!(told(&["compile", &digits.onnx, "-q", "-o", &quiet, "--calib", &calib, "--threads", "1"]), "");
    let bytes = std::fs::read(&digits.snn).unwrap();
    assert!(bytes == std::fs::read(long).unwrap() && bytes == std::fs::read(quiet).unwrap());
}

#[test]
fn inspect_refuses_options_that_say_nothing_about_the_file() {
    let digits = digits();
    for option in [&["--params"][..], &["--plan"], &["--max-memory", "1G"]] {
        assert!(fail(&[&["inspect", &digits.onnx], option].concat()).contains(&format!("{} means nothing", option[0])));
    }
    for option in [&["--support"][..], &["--input-shape", "1x1x8x8"], &["--cpu-level", "portable"]] {
        assert!(fail(&[&["inspect", &digits.snn], option].concat()).contains(&format!("{} means nothing", option[0])));
    }
    let graph = |more: &[&str]| json(&[&["inspect", &digits.snn], more].concat())["graph"].as_str().unwrap().to_string();
    assert!(graph(&["--params"]).contains("base64(") && !graph(&[]).contains("base64("));
    assert_eq!(graph(&["--params"]), succeed(&["inspect", &digits.snn, "--params"]));
}

#[test]
fn a_file_of_format_version_0_is_not_called_newer() {
    let digits = digits();
    let (mut bytes, old) = (std::fs::read(&digits.snn).unwrap(), digits.file("old.snn"));
    bytes[4..8].copy_from_slice(&0u32.to_le_bytes());
    std::fs::write(&old, bytes).unwrap();
    let error = fail(&["inspect", &old]);
    assert!(error.contains("format version 0") && !error.contains("newer"), "{error}");
}

#[test]
fn a_model_without_a_batch_axis_is_evaluated_and_explained_too() {
    let bench = Bench::new();
    let model = Onnx::new(17)
        .input("x", &[4])
        .initializer(tensor("w1", &[4, 8], &noise(32)))
        .initializer(tensor("w2", &[8, 3], &noise(24)))
        .node("MatMul", "x w1", "h", &[])
        .node("Relu", "h", "r", &[])
        .node("MatMul", "r w2", "scores", &[])
        .output("scores");
    let (onnx, snn) = (bench.onnx("flat.onnx", &model), bench.path("flat.snn"));
    let data = bench.npz("x.npz", &[("x", &[4], &samples(20, 4))]);
    succeed(&[&onnx, "-o", &snn, "--calib", &data]);
    assert!(number(&json(&["eval", &snn, "--data", &data, "--onnx", &onnx])["snn"][0]["agreement"]) > 90.0);
    assert_eq!(json(&["explain", &onnx, &snn, "--data", &data])["samples"], 20);
}
