//! The Markdown that the cache and the peers' figures make.

use crate::cost::macs;
use crate::measure::{Cache, Recipe, is_older};
use crate::networks::Network;
use serde_json::Value;
use snnc::measure::energy::energy;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;

/// What another system scored: its name, number of samples, accuracy per T.
pub struct Peer {
    system: String,
    samples: u64,
    accuracy: BTreeMap<u32, f64>,
}

/// The figures in the output of `peers.py accuracy`: one JSON object a line; lines that are none, and the ANN's, are passed over.
pub fn peers(file: &Path) -> Result<Vec<Peer>, String> {
    let text = std::fs::read_to_string(file).map_err(|e| format!("{}: {e}", file.display()))?;
    let peer = |line: &str| {
        let value: Value = serde_json::from_str(line).ok()?;
        let accuracy = value["accuracy"].as_object()?.iter().filter_map(|(t, a)| Some((t.parse().ok()?, a.as_f64()?))).collect();
        Some(Peer { system: value["system"].as_str()?.into(), samples: value["n"].as_u64().unwrap_or(0), accuracy })
    };
    let peers: Vec<Peer> = text.lines().filter_map(peer).collect();
    if peers.is_empty() { Err(format!("{} has no line of a spiking system", file.display())) } else { Ok(peers) }
}

const HEAD: &str = "# Accuracy against T

Made by `cargo run --release --example accuracy`; its source says how to make it again. Calibration uses training samples (of the ImageNet
and the keyword sample the first ones, which are not evaluated), no labels and no test sample. Each network is compiled for the T it is
evaluated at.

* **T** is the length of the window in steps. **Latency** is the number of steps from a sample's first to its answer: T where all layers step
  together; (layers + 1)·T where every layer waits for its whole window (`two-phase`); T and the steps until the network is silent, the
  longest of all samples, where spikes can be taken back (`ternary`). `lanes` sends up to four spikes per neuron and step.
* **SynOps** are effective: a spike times the synapses that it crosses, per sample. Where weights read a current that other weights made,
  without neurons between them (MobileNet v2, the B networks), the spike ends at that current, and what the weights make of it is multiplication.
* **Energy** is the spiking network's arithmetic over the ANN's: `(0.9 pJ · SynOps + 4.6 pJ · MAC) / (4.6 pJ · MAC of the ANN)`, 45 nm, 32-bit
  floats (Horowitz 2014). Arithmetic alone: no memory, no neuron updates. What comes before the first neurons is computed once a window
  with multiplications in both networks; its share of the MACs is stated and, as is usual, not in the ratio.
* **n** is the number of evaluated images, the first of the test data. `-data-free` is the recipe without any samples. SpikingJelly 2.0
  has rows where it was run (`peers.py accuracy`, 500 calibration images, LeNet 1,000, SqueezeNet 48); it refuses the files of ResNet-8, ResNet-32, DS-CNN
  and the MobileNets. Its images are the first of the same test data. The ANN may score otherwise on the first than on all: **loss** is
  against the ANN on the same images.
";

fn column(value: &Value, digits: usize) -> String {
    value.as_f64().map_or_else(|| "-".to_string(), |v| format!("{v:.digits$}"))
}

/// A row's accuracy, marked where an earlier compiler reached it.
fn accuracy(row: &Value) -> String {
    column(&row["accuracy"], 2) + if is_older(row) { "°" } else { "" }
}

/// The whole document.
pub fn markdown(
    networks: &[&'static Network],
    recipes: &[Recipe],
    cache: &Cache,
    peers: &[(&str, Vec<Peer>)],
    shared: &Path,
    failures: &[String],
) -> Result<String, String> {
    let mut text = HEAD.to_string();
    if cache.rows.iter().any(is_older) {
        text += "* **°** marks figures of an earlier compiler.\n";
    }
    for network in networks {
        let none: &[Peer] = &[];
        let peers = peers.iter().find(|(n, _)| *n == network.file).map_or(none, |(_, p)| p.as_slice());
        section(&mut text, network, recipes, cache, peers, shared)?;
    }
    if !failures.is_empty() {
        text += "\n## Not possible\n\n";
        failures.iter().for_each(|f| writeln!(text, "* {f}").unwrap_or_default());
    }
    Ok(text)
}

fn section(text: &mut String, network: &Network, recipes: &[Recipe], cache: &Cache, peers: &[Peer], shared: &Path) -> Result<(), String> {
    let steps: BTreeSet<u32> =
        cache.rows.iter().filter(|r| r["network"] == network.file).filter_map(|r| u32::try_from(r["timesteps"].as_u64()?).ok()).collect();
    let steps: Vec<u32> = steps.into_iter().filter(|&t| t > 0).collect();
    let found = |recipe: &Recipe, t: u32| cache.find(network.file, recipe, t).cloned();
    let recipes: Vec<&Recipe> = recipes.iter().filter(|r| steps.iter().any(|&t| found(r, t).is_some())).collect();
    if recipes.is_empty() {
        return Ok(());
    }
    let macs = macs(&shared.join("models").join(format!("{}.onnx", network.file)))?;
    let ann = cache.ann(network.file);
    let largest = ann.last_key_value();
    let mut line = |s: String| {
        text.push_str(&s);
        text.push('\n');
    };
    line(format!("\n## {}\n", network.file));
    line(format!(
        "{}, ANN top-1 **{} %** ({} samples), {:.2} M MAC ({:.1} % of them before the first neurons); calibrated on {} samples of {}.\n",
        network.data,
        largest.map_or("-".into(), |(_, top_1)| format!("{top_1:.2}")),
        largest.map_or(0, |(samples, _)| *samples),
        macs.all as f64 / 1e6,
        100.0 * macs.prefix as f64 / macs.all.max(1) as f64,
        network.calibration_samples,
        network.calibration,
    ));
    line(format!("| top-1 % | n | {} |", steps.iter().map(|t| format!("T={t}")).collect::<Vec<_>>().join(" | ")));
    line(format!("|---|---:|{}", "---:|".repeat(steps.len())));
    for recipe in &recipes {
        let rows: Vec<Option<Value>> = steps.iter().map(|&t| found(recipe, t)).collect();
        let samples: BTreeSet<u64> = rows.iter().flatten().filter_map(|r| r["samples"].as_u64()).collect();
        let samples = samples.iter().map(u64::to_string).collect::<Vec<_>>().join("/");
        let cells = rows.iter().map(|r| r.as_ref().map_or("".to_string(), accuracy));
        line(format!("| {} | {samples} | {} |", recipe.name, cells.collect::<Vec<_>>().join(" | ")));
    }
    for peer in peers {
        let cells = steps.iter().map(|t| peer.accuracy.get(t).map_or("".to_string(), |a| format!("{a:.2}")));
        line(format!("| {} | {} | {} |", peer.system, peer.samples, cells.collect::<Vec<_>>().join(" | ")));
    }
    line("\n| recipe | T | top-1 % | loss | spikes/sample | SynOps/sample | latency (steps) | energy SNN/ANN |".into());
    line("|---|---:|---:|---:|---:|---:|---:|---:|".into());
    for recipe in recipes {
        for row in steps.iter().filter_map(|&t| found(recipe, t)) {
            let loss = row["samples"]
                .as_u64()
                .and_then(|samples| ann.get(&samples).copied())
                .zip(row["accuracy"].as_f64())
                .map_or("-".into(), |(a, s)| format!("{:.2}", ((a - s) * 100.0).round() / 100.0 + 0.0));
            // Rows without MACs are older, or of networks that have none after the first neurons.
            let between = row["macs"].as_f64().map_or(0.0, |m| m - macs.prefix as f64).max(0.0);
            let energy = row["synops"].as_f64().map(|s| energy(s, between) / energy(0.0, macs.all as f64));
            line(format!(
                "| {} | {} | {} | {loss} | {} | {} | {} | {} |",
                recipe.name,
                row["timesteps"],
                accuracy(&row),
                column(&row["spikes"], 0),
                column(&row["synops"], 0),
                row["latency"],
                energy.map_or("-".into(), |e| format!("{e:.3}")),
            ));
        }
    }
    Ok(())
}
