//! README and the guide as readers meet them: every `console` block is run, and must print what the page shows.
//! `TRYCMD=overwrite` writes the outputs anew.

use snn_tests::shared::root;
use std::fs;
use std::path::{Path, PathBuf};
use trycmd::TestCases;
use trycmd::schema::Bin;

const SNNC: &str = env!("CARGO_BIN_EXE_snnc-under-test");

/// README and the pages of the guide that show commands.
fn pages() -> Vec<PathBuf> {
    let guide = fs::read_dir(root().join("docs/guide")).expect("there is a guide");
    let mut pages: Vec<PathBuf> = guide.map(|e| e.expect("it can be listed").path()).collect();
    pages.push(root().join("README.md"));
    pages.retain(|p| text(p).contains("```console"));
    pages.sort();
    pages
}

fn text(page: &Path) -> String {
    fs::read_to_string(page).expect("pages are text")
}

/// A folder with what the pages name: the digits, and the files of the guide.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder for temporary files");
    for name in ["models/digits", "docs/guide"] {
        let copy = folder.path().join(name);
        fs::create_dir_all(&copy).expect("it can be made");
        for entry in fs::read_dir(root().join(name)).expect("it is there") {
            let path = entry.expect("it can be listed").path();
            fs::copy(&path, copy.join(path.file_name().expect("files have names"))).expect("it can be copied");
        }
    }
    folder
}

// One test: commands run in the working directory, which all threads of a process share.
#[test]
fn the_commands_of_readme_and_guide_print_what_the_pages_show() {
    let pages = pages();
    assert!(pages.len() > 4, "README and four pages show commands");
    for page in pages {
        let folder = folder();
        std::env::set_current_dir(folder.path()).expect("the folder is there");
        TestCases::new().register_bin("snnc", Bin::Path(SNNC.into())).case(&page).run();
        std::env::set_current_dir(root()).expect("the repository is there");
    }
}

#[test]
fn what_readme_runs_with_cargo_is_what_it_shows() {
    let readme = text(&root().join("README.md"));
    let commands = readme.lines().filter_map(|l| l.trim().strip_prefix("cargo run --release --bin snnc -- "));
    let shown: Vec<bool> = commands.map(|c| readme.contains(&format!("\n$ snnc {}\n", c.trim_end_matches(" &&")))).collect();
    assert_eq!(shown, [true, true], "the two commands, with what they print");
}

#[test]
fn links_between_documents_lead_somewhere() {
    let mut folders = vec![root().join("docs")];
    let mut pages = vec![root().join("README.md"), root().join("ARCHITECTURE.md"), root().join("CONTRIBUTING.md")];
    pages.push(root().join("CHANGELOG.md"));
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("it can be listed") {
            let path = entry.expect("it can be listed").path();
            match path.extension() {
                _ if path.is_dir() => folders.push(path),
                Some(extension) if extension == "md" => pages.push(path),
                _ => {}
            }
        }
    }
    let mut dead = Vec::new();
    for page in pages {
        let text = text(&page);
        let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for target in targets.filter(|t| !t.contains("://") && !t.starts_with('#')) {
            let path = target.split('#').next().unwrap_or_default();
            if !page.parent().expect("pages lie in folders").join(path).exists() {
                dead.push(format!("{}: {target}", page.display()));
            }
        }
    }
    assert!(dead.is_empty(), "dead links:\n{}", dead.join("\n"));
}
