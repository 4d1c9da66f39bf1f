//! Filetests: each `filetests/*.snnir` holds a graph, what to do with it, and what must come of it.
//!
//! ```text
//! // run: fold-batch-norm, canonicalize
//! // timesteps: 8
//! // calibration: synthetic
//! graph @.. { .. }
//! // expect:
//! graph @.. { .. }
//! ```
//!
//! `// run:` names passes; without it the graph stays as it is. `// show:` says what is looked at then:
//!
//! | command | what it shows |
//! |---|---|
//! | `graph` | the graph in text form; what is shown without a command |
//! | `verify` | whether the graph keeps all rules, or the one that it breaks |
//! | `bounds` | the range of every node's integers, and the longest safe window |
//! | `plan` | which kernel computes each node, on a CPU without extensions |
//! | `run 1, 0.5` | outputs and spikes of the reference engine after the window, for these inputs |
//! | `check TARGET` | what that target cannot hold |
//! | `export FORM` | the network in that form, which is text |
//!
//! After `// expect:` comes the whole of what is shown, after `// expect error:` the text of an error. After
//! `// expect lines:` come parts of lines that must be in it, in this order; other lines may be between them.
//! With `SNNC_BLESS=1` in the environment expectations of the whole are rewritten; look at the difference
//! before you commit it.

use snn_ir::file::{Program, Provenance};
use snn_ir::text::{Parameters, parse, print};
use snn_ir::{Bounds, Graph, Preprocessing, verify, verify_for};
use snn_runtime::{Cpu, EngineKind, Network};
use snnc::calibrate::synthetic;
use snnc::passes::{Request, parse_list, pipeline, weight_range};
use snnc::report::plan::PlanReport;
use snnc::{backend, targets};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

const EXPECT: &str = "// expect:\n";
const EXPECT_ERROR: &str = "// expect error:\n";
const EXPECT_LINES: &str = "// expect lines:\n";

fn header<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines().find_map(|l| l.strip_prefix("// ")?.strip_prefix(key)?.strip_prefix(": "))
}

/// What a filetest shows, or the error it ends with.
fn outcome(input: &str) -> Result<String, String> {
    let mut graph = parse(input).unwrap_or_else(|e| panic!("the input does not parse: {e}"));
    let show = header(input, "show");
    if let Some(passes) = header(input, "run") {
        let timesteps = header(input, "timesteps").map_or(32, |t| t.parse().expect("timesteps is a number"));
        let passes = parse_list(passes).expect("the passes exist");
        let samples = header(input, "calibration").map(|_| synthetic::samples(&graph, &Default::default()));
        let request = Request { samples: samples.as_ref(), weight_range: weight_range(&passes), ..Request::new(timesteps) };
        pipeline::run(&mut graph, passes.iter().map(|p| p.as_pass()), &request, |_, _, _| Ok(())).map_err(|e| e.to_string())?;
    } else {
        assert!(show.is_some(), "a filetest says `// run: passes`, `// show: command`, or both");
    }
    let (command, arguments) = show.map_or(("graph", ""), |s| s.split_once(' ').unwrap_or((s, "")));
    match command {
        "graph" => Ok(print(&graph, Parameters::Summary)),
        "verify" => verify(&graph).map(|()| "the graph keeps all rules\n".to_string()).map_err(|e| e.to_string()),
        "bounds" => bounds(&graph),
        "plan" => {
            let network = Network::compile_for(&graph, Cpu::PORTABLE).map_err(|e| e.to_string())?;
            Ok(PlanReport::new(&network).to_text())
        }
        "run" => run(&graph, arguments),
        "check" => {
            let target = targets::load(arguments).map_err(|e| e.to_string())?;
            let obstacles = verify_for(&graph, &target);
            Ok(if obstacles.is_empty() { "it fits\n".into() } else { obstacles.iter().map(|o| format!("{o}\n")).collect() })
        }
        "export" => {
            let backend = backend::named(arguments).map_err(|e| e.to_string())?;
            let provenance = Provenance { model: "filetest".into(), ..Default::default() };
            let mut bytes = Vec::new();
            let program = Program { graph, preprocessing: Preprocessing::default(), provenance };
            backend.write(&program, &mut bytes).map_err(|e| e.to_string())?;
            Ok(String::from_utf8(bytes).expect("the form is text"))
        }
        other => panic!("there is no command `{other}`"),
    }
}

fn bounds(graph: &Graph) -> Result<String, String> {
    let bounds = Bounds::new(graph).map_err(|e| e.to_string())?;
    let mut text = String::new();
    for id in graph.topological().map_err(|e| e.to_string())? {
        if let Some((low, high)) = bounds.current(id) {
            writeln!(text, "%{}: {low}..={high}", graph.node(id).name()).unwrap();
        }
    }
    match bounds.max_steps() {
        u32::MAX => writeln!(text, "windows of any length are safe").unwrap(),
        steps => writeln!(text, "windows of {steps} steps are safe").unwrap(),
    }
    Ok(text)
}

/// Every input of the graph gets as many of the numbers as it has elements.
fn run(graph: &Graph, inputs: &str) -> Result<String, String> {
    let numbers: Vec<f32> = inputs.split(',').map(|v| v.trim().parse().expect("inputs are numbers")).collect();
    let network = Network::compile(graph, EngineKind::Reference).map_err(|e| e.to_string())?;
    let mut rest = &numbers[..];
    let inputs: Vec<&[f32]> =
        network.inputs().iter().map(|ty| rest.split_off(..ty.shape.iter().product()).expect("enough numbers")).collect();
    let mut session = network.session();
    session.start(&inputs).map_err(|e| e.to_string())?;
    session.advance(graph.timesteps.unwrap_or(1)).map_err(|e| e.to_string())?;
    let mut text = String::new();
    for (&id, values) in graph.outputs().iter().zip(session.potentials()) {
        writeln!(text, "%{}: {values:?}", graph.node(id).name()).unwrap();
    }
    writeln!(text, "{} spikes", session.statistics().spikes()).unwrap();
    Ok(text)
}

/// What is wrong with a filetest, if anything.
fn judge(file: &Path) -> Option<String> {
    let text = fs::read_to_string(file).unwrap();
    let at = [EXPECT, EXPECT_ERROR, EXPECT_LINES].iter().filter_map(|m| text.find(m)).min().unwrap_or(text.len());
    let (input, expected) = text.split_at(at);
    let shown = outcome(input);
    if let Some(lines) = expected.strip_prefix(EXPECT_LINES) {
        let shown = shown.unwrap_or_else(|e| e);
        let mut rest = shown.lines();
        let missing = lines.lines().find(|wanted| !rest.any(|line| line.contains(wanted.trim_start_matches("// "))))?;
        return Some(format!("{}: `{missing}` is missing, or comes too early, in\n{shown}", file.display()));
    }
    let fresh = match shown {
        Ok(shown) => format!("{input}{EXPECT}{shown}"),
        Err(error) => format!("{input}{EXPECT_ERROR}// {error}\n"),
    };
    if fresh == text {
        return None;
    }
    if std::env::var_os("SNNC_BLESS").is_some() {
        fs::write(file, fresh).unwrap();
        return None;
    }
    Some(format!("{}: there now comes\n{}", file.display(), &fresh[at..]))
}

fn files() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("filetests");
    let mut files: Vec<PathBuf> = fs::read_dir(directory).unwrap().map(|f| f.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 9, "the filetests are gone");
    files
}

#[test]
fn every_filetest_shows_what_it_says() {
    let wrong: Vec<String> = files().iter().filter_map(|file| judge(file)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_registered_pass_has_a_filetest() {
    let runs: Vec<String> =
        files().iter().map(|file| header(&fs::read_to_string(file).unwrap(), "run").unwrap_or_default().to_string()).collect();
    for pass in snnc::passes::registry() {
        assert!(runs.iter().any(|r| r.contains(pass.name)), "no filetest runs `{}`", pass.name);
    }
}
