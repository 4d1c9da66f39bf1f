//! Filetests: each `filetests/*.snnir` holds a graph, the passes to run on it and what they must make of it.
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
//! Instead of a graph, `// expect error:` may stand before the text of an error. With `SNNC_BLESS=1` in the environment the
//! expectations are rewritten; look at the difference before you commit it.

use snn_ir::text::{Parameters, parse, print};
use snnc::calibrate::synthetic;
use snnc::passes::{Request, parse_list, pipeline, weight_range};
use std::fs;
use std::path::{Path, PathBuf};

const EXPECT: &str = "// expect:\n";
const EXPECT_ERROR: &str = "// expect error:\n";

fn header<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines().find_map(|l| l.strip_prefix("// ")?.strip_prefix(key)?.strip_prefix(": "))
}

/// What running the passes of a filetest gives: an expectation marker and what belongs behind it.
fn outcome(input: &str) -> (&'static str, String) {
    let mut graph = parse(input).unwrap_or_else(|e| panic!("the input does not parse: {e}"));
    let timesteps = header(input, "timesteps").map_or(32, |t| t.parse().expect("timesteps is a number"));
    let passes = parse_list(header(input, "run").expect("a filetest says `// run: passes`")).expect("the passes exist");
    let samples = header(input, "calibration").map(|_| synthetic::samples(&graph, &Default::default()));
    let request = Request { samples: samples.as_ref(), weight_range: weight_range(&passes), ..Request::new(timesteps) };
    match pipeline::run(&mut graph, passes.iter().map(|p| p.as_pass()), &request, |_, _, _| Ok(())) {
        Ok(_) => (EXPECT, print(&graph, Parameters::Summary)),
        Err(e) => (EXPECT_ERROR, format!("// {e}\n")),
    }
}

#[test]
fn every_pass_makes_of_each_graph_what_its_filetest_says() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("filetests");
    let mut files: Vec<PathBuf> = fs::read_dir(directory).unwrap().map(|f| f.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 9, "the filetests are gone");
    let mut wrong = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let input = text.split(EXPECT).next().and_then(|t| t.split(EXPECT_ERROR).next()).unwrap();
        let (marker, result) = outcome(input);
        let fresh = format!("{input}{marker}{result}");
        if fresh != text {
            if std::env::var_os("SNNC_BLESS").is_some() {
                fs::write(&file, fresh).unwrap();
            } else {
                wrong.push(format!("{}: the passes now give\n{marker}{result}", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_registered_pass_has_a_filetest() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("filetests");
    let runs: Vec<String> = fs::read_dir(directory)
        .unwrap()
        .map(|f| header(&fs::read_to_string(f.unwrap().path()).unwrap(), "run").unwrap_or_default().to_string())
        .collect();
    for pass in snnc::passes::registry() {
        assert!(runs.iter().any(|r| r.contains(pass.name)), "no filetest runs `{}`", pass.name);
    }
}
