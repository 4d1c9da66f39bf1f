//! The command line and its surroundings: files that are none, streams that are closed, signals, hostile names, samples
//! and preprocessing that do not fit.
#![cfg(unix)]

use serde_json::Value;
use snn_tests::onnx::Onnx;
use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

const SNNC: &str = env!("CARGO_BIN_EXE_snnc-under-test");

/// A folder of its own for a test, with a small network in it.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        let folder = Folder(tempfile::tempdir().unwrap());
        let model = Onnx::new(13)
            .input("x", &[1, 1, 6, 6])
            .weight("w", &[4, 1, 3, 3])
            .weight("m", &[64, 3])
            .node("Conv", "x w", "c", &[])
            .node("Relu", "c", "r", &[])
            .node("Flatten", "r", "f", &[])
            .node("MatMul", "f m", "y", &[])
            .output("y");
        folder.put("net.onnx", &model.bytes());
        folder
    }

    /// With the network compiled, as `net.snn`.
    fn compiled() -> Self {
        let folder = Folder::new();
        let output = folder.snnc(&["net.onnx", "-o", "net.snn", "--timesteps", "4"]).output().unwrap();
        assert!(output.status.success(), "{}", error(&output));
        folder
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn put(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.at(name), bytes).unwrap();
    }

    fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.at(name)).unwrap()
    }

    /// The program, to be run in this folder, where its temporary files go, too.
    fn snnc(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(SNNC);
        command.args(arguments).current_dir(self.0.path()).env("TMPDIR", self.0.path()).stdin(Stdio::null());
        command
    }

    /// Standard error of a run that must end in a diagnostic.
    fn fail(&self, arguments: &[&str]) -> String {
        let output = self.snnc(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {}", error(&output));
        error(&output)
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> =
            std::fs::read_dir(self.0.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

fn error(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn npy(descr: &str, shape: &str, elements: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n");
    let length = (header.len() as u16).to_le_bytes();
    [b"\x93NUMPY\x01\x00", &length[..], header.as_bytes(), elements].concat()
}

/// Bytes that look random and are the same every time.
fn pixels(count: usize) -> Vec<u8> {
    (0..count as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

fn full() -> File {
    File::options().write(true).open("/dev/full").unwrap()
}

#[test]
fn a_full_or_closed_standard_error_costs_notes_and_no_results() {
    let folder = Folder::new();
    let compile = ["net.onnx", "-o", "net.snn", "--timesteps", "4"];
    assert!(folder.snnc(&compile).stdout(Stdio::null()).stderr(full()).status().unwrap().success());
    let bytes = folder.read("net.snn");
    std::fs::remove_file(folder.at("net.snn")).unwrap();
    // A pipe whose reader has gone, as after `2>&1 | head -1`.
    let closed = || std::io::pipe().unwrap().1;
    assert!(folder.snnc(&compile).stdout(closed()).stderr(closed()).status().unwrap().success());
    assert_eq!(folder.read("net.snn"), bytes);
    folder.put("x.npy", &npy("|u1", "(2, 6, 6)", &pixels(72)));
    // Another T than the network's gives a warning.
    let run = ["run", "net.snn", "--input", "x.npy", "--timesteps", "5"];
    let output = folder.snnc(&run).stderr(full()).output().unwrap();
    assert!(output.status.success() && !output.stdout.is_empty());
    for stderr in [Stdio::from(full()), Stdio::from(closed())] {
        assert_eq!(folder.snnc(&["inspect", "none.snn"]).stderr(stderr).status().unwrap().code(), Some(1));
    }
}

#[test]
fn a_full_standard_output_is_an_error_after_the_network_is_written() {
    let folder = Folder::new();
    let output = folder.snnc(&["net.onnx", "-o", "net.snn", "--timesteps", "4"]).stdout(full()).stderr(Stdio::piped()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(error(&output).contains("cannot write to standard output") && folder.at("net.snn").exists());
}

/// Starts a compilation that waits for its model, and returns when it has a temporary file.
fn waiting(folder: &Folder, mut command: Command) -> std::process::Child {
    let child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    while !folder.names().iter().any(|name| name.starts_with("snnc-stdin-")) {
        std::thread::yield_now();
    }
    child
}

/// The exit code of a child that a signal ends. Its input stays open until then, or it would read the end of its model.
fn end_of(mut child: std::process::Child) -> Option<i32> {
    let input = child.stdin.take();
    let status = child.wait().unwrap();
    drop(input);
    status.code()
}

fn send(signal: &str, child: &std::process::Child) {
    assert!(Command::new("kill").args([&format!("-{signal}"), &child.id().to_string()]).status().unwrap().success());
}

#[test]
fn signals_that_end_the_program_leave_no_temporary_file() {
    let folder = Folder::new();
    let before = folder.names();
    for (signal, code) in [("INT", 130), ("TERM", 143), ("HUP", 129)] {
        let child = waiting(&folder, folder.snnc(&["-", "-o", "net.snn"]));
        send(signal, &child);
        assert_eq!(end_of(child), Some(code), "SIG{signal}");
        assert_eq!(folder.names(), before, "SIG{signal}");
    }
}

#[test]
fn a_signal_that_was_ignored_at_the_start_stays_so() {
    let folder = Folder::new();
    let mut shell = Command::new("sh");
    shell.args(["-c", "trap '' HUP; exec \"$0\" - -o net.snn", SNNC]).current_dir(folder.0.path()).env("TMPDIR", folder.0.path());
    let child = waiting(&folder, shell);
    send("HUP", &child);
    send("TERM", &child);
    // The lower signal would have come first.
    assert_eq!(end_of(child), Some(143));
}

#[test]
fn pipes_and_devices_are_refused_wherever_a_file_is_read_and_nothing_waits() {
    let folder = Folder::compiled();
    folder.put("x.npy", &npy("|u1", "(1, 6, 6)", &pixels(36)));
    for name in ["p.onnx", "p.snn", "p.npy", "p.yaml", "p.json", "p.snnir"] {
        assert!(Command::new("mkfifo").arg(folder.at(name)).status().unwrap().success());
    }
    let commands: [&[&str]; 12] = [
        &["p.onnx", "-o", "o.snn"],
        &["/dev/zero", "-o", "o.snn"],
        &["net.onnx", "-o", "o.snn", "--recipe", "p.yaml"],
        &["net.onnx", "-o", "o.snn", "--calib", "p.npy"],
        &["inspect", "p.onnx"],
        &["inspect", "p.snn"],
        &["inspect", "--support", "p.onnx"],
        &["run", "/dev/zero", "--input", "x.npy"],
        &["run", "net.snn", "--input", "/dev/zero"],
        &["run", "net.snn", "--input", "x.npy", "--cost-model", "p.json"],
        &["explain", "p.onnx", "net.snn", "--data", "x.npy"],
        &["opt", "p.snnir", "--pass", "canonicalize"],
    ];
    for arguments in commands {
        let message = folder.fail(arguments);
        assert!(message.contains("pipe or a device"), "{arguments:?}: {message}");
    }
    assert!(!folder.at("o.snn").exists());
}

#[test]
fn a_dash_is_standard_input_and_standard_output() {
    let folder = Folder::compiled();
    folder.put("x.npy", &npy("|u1", "(3, 6, 6)", &pixels(108)));
    let from = |name: &str| File::open(folder.at(name)).unwrap();
    let succeed = |arguments: &[&str], input: &str| {
        let output = folder.snnc(arguments).stdin(from(input)).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", error(&output));
        output.stdout
    };
    succeed(&["run", "net.snn", "--input", "x.npy", "-o", "y.npy"], "x.npy");
    let wanted = folder.read("y.npy");
    assert!(succeed(&["run", "net.snn", "--input", "-", "-o", "-", "--stats"], "x.npy") == wanted, "potentials and nothing else");
    assert!(succeed(&["run", "-", "--input", "x.npy", "-o", "-"], "net.snn") == wanted);
    let network = succeed(&["-", "-o", "-", "--timesteps", "4"], "net.onnx");
    folder.put("piped.snn", &network);
    assert!(succeed(&["run", "piped.snn", "--input", "x.npy", "-o", "-"], "x.npy") == wanted);
    let twice = folder.snnc(&["run", "-", "--input", "-"]).stdin(from("net.snn")).output().unwrap();
    assert_eq!(twice.status.code(), Some(1));
    assert!(error(&twice).contains("only one argument"), "{}", error(&twice));
    assert_eq!(folder.names(), ["net.onnx", "net.snn", "piped.snn", "x.npy", "y.npy"]);
}

#[test]
fn an_overwritten_network_is_readable_by_those_who_could_read_it_before() {
    let folder = Folder::compiled();
    std::fs::set_permissions(folder.at("net.snn"), Permissions::from_mode(0o600)).unwrap();
    assert!(folder.snnc(&["net.onnx", "-o", "net.snn", "--timesteps", "8"]).output().unwrap().status.success());
    assert_eq!(std::fs::metadata(folder.at("net.snn")).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn names_and_notes_of_files_never_command_the_terminal() {
    let folder = Folder::compiled();
    let title = "\u{1b}]0;owned\u{7}";
    let mut program = snn_ir::file::read(folder.at("net.snn")).unwrap();
    program.provenance.model = format!("{title}.onnx");
    program.provenance.notes = vec![format!("\u{9b}31m{title}")];
    folder.put("evil.snn", &snn_ir::file::encode(&program).unwrap());
    for more in [&[][..], &["--params"], &["--plan"]] {
        let output = folder.snnc(&[&["inspect", "evil.snn"], more].concat()).output().unwrap();
        assert!(output.status.success());
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{text:?}");
    }
    let output = folder.snnc(&["inspect", "evil.snn", "--format", "json"]).output().unwrap();
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(json.to_string().contains("owned") && !output.stdout.contains(&0x1b));
    let named = format!("{title}.snn");
    assert!(!folder.fail(&["inspect", &named]).contains(|c: char| c.is_control() && c != '\n'));
}

#[test]
fn threads_that_cannot_start_are_an_error_and_no_panic() {
    // 3,000 stacks of 64 MiB in an address space of 2 GB. They are that large so that what a thread needs beside its
    // stack fits where no further stack does.
    let mut shell = Command::new("sh");
    shell
        .args(["-c", "ulimit -v 2000000; exec \"$0\" recipes", SNNC])
        .env("RAYON_NUM_THREADS", "3000")
        .env("RUST_MIN_STACK", (64 << 20).to_string());
    let output = shell.output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", error(&output));
    assert!(error(&output).contains("cannot start"), "{}", error(&output));
}

#[test]
fn numbers_beyond_reason_are_refused_in_words() {
    let folder = Folder::compiled();
    folder.put("x.npy", &npy("|u1", "(1, 6, 6)", &pixels(36)));
    let huge = u64::MAX.to_string();
    let bench = ["bench", "net.snn", "--data", "x.npy"];
    let compile = ["net.onnx", "-o", "o.snn"];
    let cases: [(&[&str], &[&str], &str); 9] = [
        (&bench, &["--batch", &huge], "from 1 to"),
        (&bench, &["--rounds", &huge], "from 1 to"),
        (&compile, &["--std", "-1"], "above zero"),
        (&compile, &["--std", "0.2,-1,0.2"], "above zero"),
        (&compile, &["--std", "0"], "above zero"),
        (&compile, &["--std", "nan"], "not a finite number"),
        (&compile, &["--mean", "inf"], "not a finite number"),
        (&compile, &["--timesteps", "-1"], "whole number from 1"),
        (&compile, &["--activation-error", "-1"], "above zero"),
    ];
    for (command, more, why) in cases {
        let output = folder.snnc(&[command, more].concat()).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{more:?}: {}", error(&output));
        assert!(error(&output).contains(why), "{more:?}: {}", error(&output));
    }
}

#[test]
fn preprocessing_that_does_not_suit_the_network_is_refused_when_it_is_compiled() {
    let folder = Folder::new();
    for (more, why) in [
        (&["--mean", "0.1,0.2,0.3"][..], "--mean has 3 values"),
        (&["--std", "1,2"], "--std has 2 values"),
        (&["--resize", "7x7"], "resized to 7x7"),
        (&["--std", "1e-45"], "not finite"),
    ] {
        let message = folder.fail(&[&["net.onnx", "-o", "net.snn"], more].concat());
        assert!(message.contains(why), "{message}");
    }
    assert!(!folder.at("net.snn").exists());
}

#[test]
fn a_recipe_that_would_keep_the_yaml_parser_busy_is_refused() {
    let folder = Folder::new();
    let laughs = format!("a: &a {}\nb: [{}]", "x".repeat(20_000), "*a, ".repeat(10_000));
    for (text, why) in [("[".repeat(60_000), "brackets"), (laughs, "aliases"), ("x".repeat(200_000), "65536 bytes")] {
        folder.put("r.yaml", text.as_bytes());
        let message = folder.fail(&["net.onnx", "-o", "o.snn", "--recipe", "r.yaml"]);
        assert!(message.contains(why), "{message}");
    }
}

/// How often a network that takes pixels as they are agrees with the ANN, compiled without calibration data.
fn agreement(preprocessing: &[&str], scale: f32, offset: f32) -> (f64, String) {
    let folder = Folder(tempfile::tempdir().unwrap());
    // What is subtracted and multiplied here makes 0..1 of the network's range, before layers of ordinary weights.
    let model = Onnx::new(13)
        .input("x", &[1, 1, 8, 8])
        .floats("offset", &[1], &[offset])
        .floats("scale", &[1], &[scale])
        .weight("w", &[8, 1, 3, 3])
        .weight("v", &[16, 8, 3, 3])
        .weight("m", &[256, 10])
        .node("Add", "x offset", "a", &[])
        .node("Mul", "a scale", "s", &[])
        .node("Conv", "s w", "c", &[])
        .node("Relu", "c", "r", &[])
        .node("Conv", "r v", "d", &[])
        .node("Relu", "d", "q", &[])
        .node("Flatten", "q", "f", &[])
        .node("MatMul", "f m", "y", &[])
        .output("y");
    folder.put("raw.onnx", &model.bytes());
    folder.put("x.npy", &npy("|u1", "(200, 8, 8)", &pixels(200 * 64)));
    let compile = [&["raw.onnx", "-o", "raw.snn", "--timesteps", "64"], preprocessing].concat();
    let output = folder.snnc(&compile).output().unwrap();
    assert!(output.status.success(), "{}", error(&output));
    let notes = snn_ir::file::read(folder.at("raw.snn")).unwrap().provenance.notes.join("\n");
    assert!(notes.lines().all(|note| error(&output).contains(note)), "what the file says was said");
    let eval = ["eval", "raw.snn", "--data", "x.npy", "--onnx", "raw.onnx", "--format", "json"];
    let report: Value = serde_json::from_slice(&folder.snnc(&eval).output().unwrap().stdout).unwrap();
    (report["snn"][0]["agreement"].as_f64().unwrap_or_else(|| panic!("{report}")), notes)
}

#[test]
fn without_calibration_data_preprocessing_says_what_inputs_are() {
    let (raw, note) = agreement(&["--scale", "raw"], 1.0 / 255.0, 0.0);
    assert!(raw > 80.0 && note.contains("inputs from 0 to 255"), "{raw} %: {note}");
    let (wide, note) = agreement(&["--scale", "raw", "--mean", "-1000", "--std", "2"], 2.0 / 255.0, -500.0);
    assert!(wide > 80.0 && note.contains("inputs from 500 to 627.5"), "{wide} %: {note}");
    let (small, note) = agreement(&["--std", "1000"], 1000.0, 0.0);
    assert!(small > 80.0 && note.contains("inputs from 0 to 0.001"), "{small} %: {note}");
    let (_, note) = agreement(&[], 1.0, 0.0);
    assert!(note.contains("zero mean and unit variance"), "{note}");
}

#[test]
fn labels_that_are_no_classes_matter_to_eval_alone() {
    let folder = Folder::compiled();
    let mut archive = zip_of(&[("x", npy("|u1", "(2, 6, 6)", &pixels(72))), ("y", npy("|i1", "(2,)", &[0, 0xff]))]);
    folder.put("d.npz", &archive);
    assert!(folder.snnc(&["net.onnx", "-o", "o.snn", "--calib", "d.npz"]).output().unwrap().status.success());
    assert!(folder.snnc(&["run", "net.snn", "--input", "d.npz"]).output().unwrap().status.success());
    let message = folder.fail(&["eval", "net.snn", "--data", "d.npz"]);
    assert!(message.contains("that of sample 1 is -1"), "{message}");
    archive = zip_of(&[("x", npy("|u1", "(2, 6, 6)", &pixels(72))), ("y", npy("|u1", "(2,)", &[0, 7]))]);
    folder.put("d.npz", &archive);
    assert!(folder.fail(&["eval", "net.snn", "--data", "d.npz"]).contains("--label-offset"));
}

/// An npz archive whose members are stored as they are.
fn zip_of(members: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, bytes) in members {
        writer.start_file(format!("{name}.npy"), zip::write::SimpleFileOptions::default()).unwrap();
        std::io::Write::write_all(&mut writer, bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

#[test]
fn an_image_larger_than_the_network_takes_is_refused_by_its_header() {
    let folder = Folder::compiled();
    // Sizes without pixels: whoever decodes says something else.
    folder.put("x.ppm", b"P5 60000 60000 255 \0\0\0");
    let message = folder.fail(&["run", "net.snn", "--input", "x.ppm"]);
    assert!(message.contains("60000x60000"), "{message}");
    let mut program = snn_ir::file::read(folder.at("net.snn")).unwrap();
    program.preprocessing.resize = Some([1 << 14, 1 << 14]);
    folder.put("resize.snn", &snn_ir::file::encode(&program).unwrap());
    folder.put("x.npy", &npy("|u1", "(1, 6, 7)", &pixels(42)));
    let message = folder.fail(&["run", "resize.snn", "--input", "x.npy"]);
    assert!(message.contains("resized to 16384x16384") && message.contains("--resize 6x6"), "{message}");
}
