//! Compiles and evaluates one combination with the `snnc` program, and remembers what came out.

use crate::networks::Network;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The compiler, and where models and data are.
pub struct Program {
    pub path: PathBuf,
    pub shared: PathBuf,
}

/// A recipe by name, and a number that changes with its text.
pub struct Recipe {
    pub name: String,
    pub version: u32,
    /// What follows `--recipe`.
    argument: String,
    /// Whether it sees no samples.
    data_free: bool,
}

/// End of the names of recipes that are run without samples.
const DATA_FREE: &str = "-data-free";

/// How much to measure.
pub struct Measure {
    pub limit: usize,
    pub reference_limit: usize,
    pub threads: usize,
}

/// Finished combinations.
pub struct Cache {
    file: File,
    pub rows: Vec<Value>,
}

impl Program {
    /// Runs the program; its standard output as JSON, or the first lines of what it complained about.
    fn json(&self, arguments: &[String]) -> Result<Value, String> {
        let output = Command::new(&self.path).args(arguments).output().map_err(|e| format!("cannot start {}: {e}", self.path.display()))?;
        if output.status.success() {
            return serde_json::from_slice(&output.stdout).map_err(|e| format!("its output is no JSON: {e}"));
        }
        let complaint = String::from_utf8_lossy(&output.stderr);
        let lines = complaint.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with("note:"));
        Err(lines.take(3).collect::<Vec<_>>().join(" "))
    }

    /// The recipes called `names`, or all built-in ones.
    pub fn recipes(&self, names: Option<&[String]>) -> Result<Vec<Recipe>, String> {
        let built_in = self.json(&["recipes".into(), "--format".into(), "json".into()])?;
        let recipe = |name: &str, yaml: &str, argument: &str| Recipe {
            name: name.into(),
            version: checksum(yaml.as_bytes()),
            argument: argument.into(),
            data_free: false,
        };
        let known = built_in.as_array().into_iter().flatten();
        let known: Vec<Recipe> =
            known.filter_map(|r| Some(recipe(r["name"].as_str()?, r["yaml"].as_str()?, r["name"].as_str()?))).collect();
        let Some(names) = names else { return Ok(known) };
        names
            .iter()
            .map(|name| match known.iter().find(|r| r.name == name.trim_end_matches(DATA_FREE)) {
                Some(r) => {
                    let data_free = name.ends_with(DATA_FREE);
                    Ok(Recipe { name: name.clone(), argument: r.argument.clone(), data_free, ..*r })
                }
                None => {
                    let yaml = std::fs::read_to_string(name).map_err(|e| format!("no recipe {name}: {e}"))?;
                    let stem = Path::new(name).file_stem().unwrap_or_default().to_string_lossy().into_owned();
                    Ok(recipe(&stem, &yaml, name))
                }
            })
            .collect()
    }

    fn path(&self, relative: &str) -> String {
        self.shared.join(relative).display().to_string()
    }
}

/// Whether a row is marked as an earlier compiler's.
pub fn is_older(row: &Value) -> bool {
    row["older"] == true
}

/// FNV-1a.
fn checksum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |h, &b| (h ^ u32::from(b)).wrapping_mul(0x0100_0193))
}

impl Cache {
    /// Reads what an earlier call left in `folder`; a line that an interruption cut off is dropped.
    pub fn open(folder: &Path) -> Result<Cache, String> {
        let failed = |e: std::io::Error| format!("{}: {e}", folder.display());
        std::fs::create_dir_all(folder).map_err(failed)?;
        let path = folder.join("rows.jsonl");
        let text = if path.exists() { std::fs::read_to_string(&path).map_err(failed)? } else { String::new() };
        let rows = text.lines().filter_map(|l| serde_json::from_str(l).ok()).collect();
        let mut file = OpenOptions::new().create(true).append(true).open(&path).map_err(failed)?;
        if !text.is_empty() && !text.ends_with('\n') {
            writeln!(file).map_err(failed)?;
        }
        Ok(Cache { file, rows })
    }

    /// The row with most samples, of an earlier compiler only where there is no other.
    pub fn find(&self, network: &str, recipe: &Recipe, timesteps: u32) -> Option<&Value> {
        let same = |r: &&Value| {
            r["network"] == network
                && r["timesteps"] == timesteps
                && r["recipe"] == recipe.name.as_str()
                && r["recipe_version"] == recipe.version
        };
        self.rows.iter().filter(same).max_by_key(|r| (!is_older(r), r["samples"].as_u64()))
    }

    /// The ANN's accuracy per number of samples: what a network loses is to be said on the same samples.
    pub fn ann(&self, network: &str) -> BTreeMap<u64, f64> {
        let of_network = self.rows.iter().filter(|r| r["network"] == network);
        of_network.filter_map(|r| Some((r["samples"].as_u64()?, r["ann"].as_f64()?))).collect()
    }

    /// Whether the ANN was evaluated on as many samples as `limit` allows.
    fn has_ann(&self, network: &str, limit: usize) -> bool {
        let on_limit = |r: &Value| {
            let (asked, samples) = (r["asked"].as_u64(), r["samples"].as_u64());
            let limit = Some(limit as u64);
            asked == limit || samples < asked && samples <= limit
        };
        self.rows.iter().any(|r| r["network"] == network && r["ann"].is_number() && on_limit(r))
    }

    fn push(&mut self, row: Value) -> Result<(), String> {
        // In one piece, so that several processes can fill the same file.
        self.file.write_all(format!("{row}\n").as_bytes()).map_err(|e| format!("the cache cannot be written: {e}"))?;
        self.rows.push(row);
        Ok(())
    }
}

impl Measure {
    /// Measures a combination unless the cache has it with as many samples. T = 0 stands for the ANN.
    pub fn fill(&self, program: &Program, cache: &mut Cache, network: &Network, recipe: &Recipe, timesteps: u32) -> Result<(), String> {
        let found = cache.find(network.file, recipe, timesteps).filter(|row| !is_older(row));
        let known = match timesteps {
            0 => cache.has_ann(network.file, self.limit),
            _ => found.is_some_and(|row| row["asked"].as_u64() >= Some(self.wanted(row))),
        };
        if known {
            return Ok(());
        }
        let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
        let compiled = folder.path().join("network.snn").display().to_string();
        let model = program.path(&format!("models/{}.onnx", network.file));
        let strings = |items: &[&str]| items.iter().map(|s| s.to_string()).collect::<Vec<String>>();
        let started = std::time::Instant::now();
        let mut compile = strings(&[&model, "-o", &compiled, "--format", "json", "--timesteps", &timesteps.max(1).to_string()]);
        if timesteps == 0 {
            compile.extend(strings(&["--recipe", "deng2021"]));
        } else {
            let calibration = program.path(network.calibration);
            let samples = network.calibration_samples.to_string();
            compile.extend(strings(&["--recipe", &recipe.argument]));
            if !recipe.data_free {
                compile.extend(strings(&["--calib", &calibration, "--calib-samples", &samples]));
            }
        }
        compile.extend(strings(network.preprocessing));
        program.json(&compile)?;
        let compile_seconds = started.elapsed().as_secs_f64();
        let evaluate = |engine: &str, limit: usize| {
            let data = program.path(network.data);
            let (skip, limit, threads) = (network.skip.to_string(), limit.to_string(), self.threads.to_string());
            let mut arguments = strings(&["eval", &compiled, "--data", &data, "--skip", &skip, "--limit", &limit, "--format", "json"]);
            arguments.extend(strings(&["--threads", &threads, "--engine", engine, "--label-offset", &network.label_offset.to_string()]));
            // The ANN's figure on fewer samples is another one.
            if timesteps == 0 || engine == "reference" {
                arguments.extend(strings(&["--onnx", &model]));
            }
            program.json(&arguments)
        };
        let (engine, asked, found) = match evaluate("jit", self.limit) {
            Ok(found) => ("jit", self.limit, found),
            Err(error) if error.contains("--engine reference") || error.contains("no code") => {
                ("reference", self.reference_limit, evaluate("reference", self.reference_limit)?)
            }
            Err(error) => return Err(error),
        };
        let snn = &found["snn"][0];
        cache.push(json!({
            "network": network.file, "recipe": recipe.name, "recipe_version": recipe.version, "timesteps": timesteps,
            "asked": asked, "engine": engine, "samples": found["samples"], "ann": found["ann"]["accuracy"],
            "accuracy": snn["accuracy"], "spikes": snn["spikes_per_sample"], "synops": snn["synops_per_sample"], "macs": snn["macs_per_sample"],
            "latency": snn["latency_steps"], "compile_seconds": compile_seconds,
        }))
    }

    fn wanted(&self, row: &Value) -> u64 {
        (if row["engine"] == "reference" { self.reference_limit } else { self.limit }) as u64
    }
}
