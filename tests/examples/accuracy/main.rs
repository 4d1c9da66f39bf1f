//! Makes `docs/accuracy.md`: every network of the shared folder that has data, every recipe, every T.
//!
//! ```text
//! cargo build --release --bin snnc
//! cargo run --release --example accuracy -- --networks lenet,resnet20 --recipes mmse,two-phase --timesteps 4,8,16,32,64 --limit 1000
//! ```
//!
//! Each combination is compiled and evaluated by the `snnc` program, one after the other. What is done is kept as JSON lines in
//! `docs/accuracy/rows.jsonl`: interrupt it and start it again as you like, on another machine, too. The table has everything that is there of
//! the networks and recipes asked for, so that it can be filled in several calls (other numbers of images for slow engines, other T).
//! Results belong to the text of the recipe; when the compiler itself has changed, delete rows, or add `"older":true` to them: then the
//! table marks them, and they are measured again when they are asked for. What other systems scored (the output of `peers.py accuracy`)
//! is in `peers/NETWORK.jsonl` beside the rows.
//!
//! Options, all with defaults: `--networks A,B` (beginnings of names), `--recipes A,B` (`mmse-data-free` is `mmse` without samples), `--timesteps T,..`, `--limit N` test images,
//! `--reference-limit N` where only the reference engine runs a network, `--threads N`, `--cache DIR`, `--output FILE`,
//! `--snnc FILE`, `--table-only`.

mod cost;
mod measure;
mod networks;
mod table;

use measure::{Cache, Measure, Program};
use networks::{NETWORKS, Network};
use std::path::PathBuf;
use std::process::ExitCode;

/// What was asked for.
struct Options {
    networks: Vec<&'static Network>,
    recipes: Option<Vec<String>>,
    timesteps: Vec<u32>,
    measure: Measure,
    program: Program,
    cache: PathBuf,
    output: PathBuf,
    table_only: bool,
}

fn number<T: std::str::FromStr>(option: &str, text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{option}: `{text}` is no number that fits"))
}

fn options() -> Result<Options, String> {
    let root = snn_tests::shared::root();
    let beside = std::env::current_exe().ok().and_then(|e| Some(e.parent()?.parent()?.join("snnc")));
    let mut options = Options {
        networks: NETWORKS.iter().collect(),
        recipes: None,
        timesteps: vec![4, 8, 16, 32, 64],
        measure: Measure { limit: 5000, reference_limit: 200, threads: std::thread::available_parallelism().map_or(1, usize::from) },
        program: Program { path: beside.unwrap_or_else(|| "snnc".into()), shared: snn_tests::shared::shared("models").unwrap_or_default() },
        cache: root.join("docs/accuracy"),
        output: root.join("docs/accuracy.md"),
        table_only: false,
    };
    options.program.shared.pop();
    let mut arguments = std::env::args().skip(1);
    while let Some(option) = arguments.next() {
        if option == "--table-only" {
            options.table_only = true;
            continue;
        }
        let value = arguments.next().ok_or_else(|| format!("{option} needs a value, or is no option"))?;
        let list = || value.split(',').map(str::to_string).collect::<Vec<_>>();
        match option.as_str() {
            "--networks" => {
                let wanted = list();
                if let Some(none) = wanted.iter().find(|w| !NETWORKS.iter().any(|n| n.file.starts_with(w.as_str()))) {
                    let known = NETWORKS.iter().map(|n| n.file).collect::<Vec<_>>().join(", ");
                    return Err(format!("--networks: `{none}` starts no name; networks are: {known}"));
                }
                options.networks.retain(|n| wanted.iter().any(|w| n.file.starts_with(w.as_str())));
            }
            "--recipes" => options.recipes = Some(list()),
            "--timesteps" => options.timesteps = list().iter().map(|t| number(&option, t)).collect::<Result<_, _>>()?,
            "--limit" => options.measure.limit = number(&option, &value)?,
            "--reference-limit" => options.measure.reference_limit = number(&option, &value)?,
            "--threads" => options.measure.threads = number(&option, &value)?,
            "--cache" => options.cache = value.into(),
            "--output" => options.output = value.into(),
            "--snnc" => options.program.path = value.into(),
            _ => return Err(format!("there is no option {option}; the head of tests/examples/accuracy/main.rs lists them")),
        }
    }
    Ok(options)
}

fn run() -> Result<(), String> {
    let options = options()?;
    let recipes = options.program.recipes(options.recipes.as_deref())?;
    let mut cache = Cache::open(&options.cache)?;
    let mut failures = Vec::new();
    let combinations = if options.table_only { 0 } else { options.networks.len() * (1 + recipes.len() * options.timesteps.len()) };
    let mut done = 0;
    for &network in options.networks.iter().filter(|_| combinations > 0) {
        let wanted = recipes.iter().flat_map(|r| options.timesteps.iter().map(move |&t| (r, t)));
        let ann = recipes.first().map(|r| (r, 0));
        for (recipe, timesteps) in ann.into_iter().chain(wanted) {
            done += 1;
            let what = if timesteps == 0 { "ANN".to_string() } else { format!("{} T={timesteps}", recipe.name) };
            eprintln!("{done}/{combinations} {} {what}", network.file);
            if let Err(error) = options.measure.fill(&options.program, &mut cache, network, recipe, timesteps) {
                eprintln!("  failed: {error}");
                failures.push(format!("{} {what}: {error}", network.file));
            }
        }
    }
    let peers_of = |network: &&'static Network| {
        let file = options.cache.join("peers").join(format!("{}.jsonl", network.file));
        Ok((network.file, if file.exists() { table::peers(&file)? } else { Vec::new() }))
    };
    let peers = options.networks.iter().map(peers_of).collect::<Result<Vec<_>, String>>()?;
    let text = table::markdown(&options.networks, &recipes, &cache, &peers, &options.program.shared, &failures)?;
    std::fs::write(&options.output, text).map_err(|e| format!("cannot write {}: {e}", options.output.display()))?;
    eprintln!("wrote {}", options.output.display());
    Ok(())
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("accuracy: {error}");
            ExitCode::FAILURE
        }
    }
}
