//! Generated documents are current. `SNNC_BLESS=1` writes them anew.

use serde_json::Value;
use snn_tests::shared::root;
use std::process::Command;

/// How the generated documents say that they are.
const ANEW: &str = "`SNNC_BLESS=1 cargo test --release --workspace --test documentation` writes this page anew.";

/// The program's standard output.
fn snnc(arguments: &[&str]) -> String {
    let program = Command::new(env!("CARGO_BIN_EXE_snnc-under-test")).args(arguments).output();
    let output = program.expect("the program starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("reports are UTF-8")
}

/// The list that the program prints as JSON.
fn json(command: &str) -> Vec<Value> {
    serde_json::from_str(&snnc(&[command, "--format", "json"])).expect("the report is a list")
}

fn is_current(name: &str, text: &str) {
    let path = root().join("docs").join(name);
    if std::env::var_os("SNNC_BLESS").is_some() {
        std::fs::write(&path, text).expect("docs can be written");
    }
    let current = std::fs::read_to_string(&path).is_ok_and(|t| t == text);
    assert!(current, "docs/{name} is out of date: run with SNNC_BLESS=1");
}

/// The text of a member of `entry`.
fn member<'a>(entry: &'a Value, name: &str) -> &'a str {
    entry[name].as_str().expect("this member is text")
}

/// Which recipes hold `pass`, in words.
fn used_by(pass: &str, recipes: &[Value]) -> String {
    let item = format!("- {pass}");
    let holds = |yaml: &str| yaml.lines().any(|l| l.trim().split(':').next() == Some(&item));
    let names = recipes.iter().filter(|r| holds(member(r, "yaml"))).map(|r| member(r, "name"));
    match names.collect::<Vec<_>>()[..] {
        [] => "No recipe uses it.".into(),
        ref all if all.len() == recipes.len() => "In all recipes.".into(),
        ref some => format!("In the recipes {}.", some.join(", ")),
    }
}

#[test]
fn the_list_of_operators_is_what_the_registry_says() {
    is_current("operators.md", &snnc::frontend::onnx::documentation::operators());
}

#[test]
fn the_list_of_passes_is_what_the_passes_say() {
    let recipes = json("recipes");
    let mut text = format!(
        "# Passes\n\nGenerated from the heads of the passes, which `snnc passes` prints.\n{ANEW}\n\n\
         A recipe is a list of passes with their options; `snnc recipes NAME` prints one.\n\
         The order here is that in which recipes run them.\n"
    );
    for pass in json("passes") {
        let name = member(&pass, "name");
        let head = member(&pass, "documentation");
        let head = head.strip_prefix(&format!("`{name}`: ")).expect("a head begins with the name");
        let (first, rest) = head.split_at(1);
        let used_by = used_by(name, &recipes);
        text += &format!("\n## {name}\n\n{}{rest}\n\n{used_by}\n", first.to_uppercase());
    }
    is_current("passes.md", &text);
}

#[test]
fn the_page_of_the_command_line_is_what_help_prints() {
    let help = |command: &[&str]| {
        let text = snnc(&[command, &["--help"]].concat());
        let lines: Vec<&str> = text.trim_end().lines().map(str::trim_end).collect();
        format!("\n```text\n$ snnc {}--help\n{}\n```\n", command.iter().map(|c| format!("{c} ")).collect::<String>(), lines.join("\n"))
    };
    let whole = snnc(&["--help"]);
    let listed = whole.lines().skip_while(|l| *l != "Commands:").skip(1).take_while(|l| !l.is_empty());
    let commands = listed.filter_map(|l| l.split_whitespace().next()).filter(|c| *c != "help");
    let mut text = format!("# Command line\n\nGenerated from the help of `snnc`.\n{ANEW}\n\n## snnc\n{}", help(&[]));
    for command in commands {
        text += &format!("\n## snnc {command}\n{}", help(&[command]));
    }
    is_current("cli.md", &text);
}
