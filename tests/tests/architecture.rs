//! The code is built as ARCHITECTURE.md says: who may use whom, and where what is dangerous or foreign is.

use snn_tests::shared::root;
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Rooms of `snn-ir` from the ground up; those of one floor may use each other.
const IR: &[&[&str]] = &[
    &["tensor", "signal", "random"],
    &["window", "infer", "activation", "neuron", "op", "attr", "interval"],
    &["index_map", "graph"],
    &["bounds", "limits", "target"],
    &["preprocessing", "verify"],
    &["text", "file"],
];

/// Rooms of `snn-runtime` from the ground up.
const RUNTIME: &[&[&str]] = &[
    &["layout"],
    &["kernels"],
    &["error"],
    &["dense"],
    &["analog", "spikes", "prefix"],
    &["engine", "cost"],
    &["reference"],
    &["network", "session"],
    &["testing"],
];

/// Rooms of `snnc` from the ground up.
const COMPILER: &[&[&str]] = &[
    &["files", "outputs", "progress", "suggest"],
    &["yaml", "data", "frontend", "backend"],
    &["targets", "calibrate", "measure"],
    &["passes"],
    &["recipe", "explain"],
    &["driver"],
    &["report"],
];

/// The Rust files under `folder` with their text, without tests beside the code and without comments.
fn sources(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("it can be listed") {
        let path = entry.expect("it can be listed").path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            let text = fs::read_to_string(&path).expect("sources are text");
            let code = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
            let lines = code.lines().filter(|l| !l.trim_start().starts_with("//"));
            found.push((path, lines.collect::<Vec<_>>().join("\n")));
        }
    }
    found
}

/// The first names of the paths that follow each `prefix` in `code`, those in braces, too.
fn names(code: &str, prefix: &str) -> Vec<String> {
    let mut found = Vec::new();
    for rest in code.split(prefix).skip(1) {
        let list = rest.strip_prefix('{').unwrap_or(rest);
        let braces = list.len() < rest.len();
        let (mut depth, mut name, mut done) = (0, String::new(), false);
        for c in list.chars() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 && braces => {
                    found.push(std::mem::take(&mut name));
                    done = false;
                }
                _ if c.is_whitespace() && name.is_empty() => {}
                _ if !done && depth == 0 && (c.is_alphanumeric() || c == '_') => name.push(c),
                _ if !braces => break,
                _ => done = true,
            }
        }
        found.push(name);
    }
    found.retain(|n| !n.is_empty());
    found
}

/// The room of a file, by its path under `src`.
fn room(path: &Path, src: &Path) -> String {
    let inside = path.strip_prefix(src).expect("it is under src");
    inside.components().next().map(|c| c.as_os_str().to_string_lossy().trim_end_matches(".rs").to_string()).unwrap_or_default()
}

/// Uses of rooms of the crate `name` that are not on the same floor or a lower one; also rooms without a floor.
fn climbing(name: &str, floors: &[&[&str]]) -> Vec<String> {
    let src = root().join(name).join("src");
    let floor = |room: &str| floors.iter().position(|f| f.contains(&room));
    let library = fs::read_to_string(src.join("lib.rs")).expect("there is a lib.rs");
    let mut doors = HashMap::new();
    for line in library.split("pub use ").skip(1).filter_map(|l| l.split(';').next()) {
        let (room, items) = line.split_once("::").unwrap_or((line, ""));
        let last = |item: &str| item.rsplit("::").next().unwrap_or_default().trim_matches([' ', '{', '}', '\n']).to_string();
        items.split(',').for_each(|item| {
            doors.insert(last(item), room.to_string());
        });
    }
    let mut wrong = Vec::new();
    for (path, code) in sources(&src) {
        let own = room(&path, &src);
        if ["lib", "main", "cli"].contains(&own.as_str()) {
            continue;
        }
        let Some(own_floor) = floor(&own) else {
            wrong.push(format!("{name}: the room `{own}` has no floor"));
            continue;
        };
        let is_root_of_room = path == src.join(format!("{own}.rs")) || path == src.join(&own).join("mod.rs");
        let outside = if is_root_of_room { names(&code.replace("super::super::", ""), "super::") } else { Vec::new() };
        for used in names(&code, "crate::").into_iter().chain(outside) {
            let used = if floor(&used).is_some() { used } else { doors.get(&used).cloned().unwrap_or(used) };
            if floor(&used).is_some_and(|f| f > own_floor) {
                wrong.push(format!("{}: `{own}` uses `{used}`, which is on a higher floor", path.display()));
            }
        }
    }
    wrong.sort();
    wrong.dedup();
    wrong
}

#[test]
fn no_room_uses_one_on_a_higher_floor() {
    let wrong = [climbing("ir", IR), climbing("runtime", RUNTIME), climbing("compiler", COMPILER)].concat();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Names of the packages that the crate in `folder` is built from, tests apart.
fn dependencies(folder: &str) -> Vec<String> {
    let manifest = fs::read_to_string(root().join(folder).join("Cargo.toml")).expect("every crate has a manifest");
    let section = manifest.split("\n[dependencies]\n").nth(1).and_then(|s| s.split("\n[").next()).unwrap_or_default();
    section.lines().filter_map(|l| l.split(['.', ' ', '=']).next()).map(str::to_string).collect()
}

#[test]
fn crates_are_built_from_those_below_alone_and_a_program_that_only_runs_networks_has_no_compiler_and_no_tract() {
    let (ir, runtime) = (dependencies("ir"), dependencies("runtime"));
    let above = |names: &[String], forbidden: &[&str]| names.iter().any(|n| forbidden.contains(&n.as_str()) || n.starts_with("tract"));
    assert!(!above(&ir, &["snn-runtime", "snnc"]), "{ir:?}");
    assert!(!above(&runtime, &["snnc"]), "{runtime:?}");
    assert!(runtime.contains(&"snn-ir".to_string()));
}

/// The files of our crates, but those under `allowed`, in whose code `word` is.
fn files_with(word: &str, allowed: &[&str]) -> Vec<String> {
    let folders = ["ir/src", "runtime/src", "compiler/src"].map(|f| root().join(f));
    let files = folders.iter().flat_map(|f| sources(f)).filter(|(_, code)| code.contains(word));
    let names = files.map(|(path, _)| path.strip_prefix(root()).expect("it is ours").display().to_string());
    names.filter(|n| !allowed.iter().any(|a| n.starts_with(a))).collect()
}

#[test]
fn tract_is_named_in_the_importer_alone() {
    assert_eq!(files_with("tract_onnx", &["compiler/src/frontend/"]), [""; 0]);
}

#[test]
fn cranelift_is_named_in_the_engine_for_bits_alone() {
    assert_eq!(files_with("cranelift", &["runtime/src/engine/bits/"]), [""; 0]);
}

#[test]
fn unsafe_code_is_in_kernels_and_at_their_calls_alone() {
    let allowed = ["runtime/src/kernels/", "runtime/src/engine/bits/", "runtime/src/dense/", "runtime/src/analog/neurons.rs"];
    assert_eq!(files_with("unsafe", &allowed), ["ir/src/lib.rs", "compiler/src/lib.rs"], "the two forbid it");
}

#[test]
fn few_files_name_a_firing_mode_and_the_others_ask_for_its_properties() {
    let files = files_with("Firing::", &[]);
    assert!(files.len() <= 10, "{files:?}");
}

#[test]
fn every_path_that_the_map_names_is_there() {
    let map = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("there is a map");
    let crates = ["ir/", "runtime/", "compiler/", "tests/", "docs/"];
    let named = map.split('`').skip(1).step_by(2).filter(|n| crates.iter().any(|c| n.starts_with(c)));
    let gone: Vec<&str> = named.filter(|n| !root().join(n).exists()).collect();
    assert_eq!(gone, [""; 0]);
}
