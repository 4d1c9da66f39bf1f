//! Arguments that several commands share, and how their values are written.

use clap::{Args, ValueEnum};
use snn_ir::{Layout, Limits};
use snn_runtime::EngineKind;
use std::num::NonZeroUsize;
use std::path::PathBuf;

/// How a report is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// Engines by their names on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Engine {
    /// Machine code for this CPU.
    Jit,
    /// The interpreter: slow, the oracle.
    Reference,
}

impl From<Engine> for EngineKind {
    fn from(engine: Engine) -> Self {
        match engine {
            Engine::Jit => EngineKind::Native,
            Engine::Reference => EngineKind::Reference,
        }
    }
}

/// Layouts by their names on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LayoutName {
    /// Channel, height, width (ONNX, PyTorch).
    #[value(alias = "nchw")]
    Chw,
    /// Height, width, channel (TensorFlow).
    #[value(alias = "nhwc")]
    Hwc,
}

impl From<LayoutName> for Layout {
    fn from(name: LayoutName) -> Self {
        match name {
            LayoutName::Chw => Layout::Chw,
            LayoutName::Hwc => Layout::Hwc,
        }
    }
}

/// What pixels are multiplied by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Scale {
    /// p / 255, so that pixels are 0..1.
    #[default]
    Unit,
    /// p, so that pixels are 0..255.
    Raw,
}

impl Scale {
    /// The factor.
    pub fn factor(self) -> f32 {
        match self {
            Scale::Unit => 1.0 / 255.0,
            Scale::Raw => 1.0,
        }
    }
}

/// Which samples of which data set, and how labels count.
#[derive(Args, Debug)]
pub struct SampleArguments {
    /// Labelled samples: .npz (x, y; with several inputs an array for each by name, and y), .npy, image, folder with one folder of images per class, MNIST idx, CIFAR binary
    #[arg(long, value_name = "DATA")]
    pub data: PathBuf,
    /// Use at most this many samples
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
    /// Leave out the first N samples (those used for calibration, say)
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub skip: usize,
}

impl SampleArguments {
    /// Opens the data for the inputs of `graph`.
    pub fn open(&self, graph: &snn_ir::Graph) -> Result<snnc::data::Feed, super::Failure> {
        let feed = super::load::feed(&self.data, graph)?;
        let all = feed.len();
        let feed = feed.slice(self.skip, self.limit);
        if feed.is_empty() {
            let failure = super::Failure::new(format!("no samples are left of the {all} in {}", self.data.display()));
            return Err(failure.help("check --skip and --limit"));
        }
        Ok(feed)
    }
}

/// How much a network may ask for.
#[derive(Args, Debug)]
pub struct Memory {
    /// Take networks that need up to so much memory beside their parameters, and work in proportion [default: 2G]
    #[arg(long, value_name = "SIZE", value_parser = bytes)]
    max_memory: Option<u64>,
}

impl Memory {
    /// Whether the user says so.
    pub fn is_given(&self) -> bool {
        self.max_memory.is_some()
    }

    /// The limits.
    pub fn limits(&self) -> Limits {
        self.max_memory.map_or_else(Limits::default, Limits::of_memory)
    }
}

/// A number of bytes: `4G`, `512M`.
pub fn bytes(text: &str) -> Result<u64, String> {
    let unit = |suffix: char, shift: u32| text.strip_suffix([suffix, suffix.to_ascii_lowercase()]).map(|n| (n, shift));
    let (number, shift) = unit('T', 40).or(unit('G', 30)).or(unit('M', 20)).or(unit('K', 10)).unwrap_or((text, 0));
    let bytes = number.parse().ok().and_then(|n: u64| n.checked_mul(1 << shift)).filter(|&n| n > 0);
    bytes.ok_or_else(|| "write it as 4G or 512M".into())
}

/// A whole number from 1 to a million: what is counted, not what is there.
pub fn at_most_a_million(text: &str) -> Result<NonZeroUsize, String> {
    text.parse().ok().filter(|n: &NonZeroUsize| n.get() <= 1_000_000).ok_or_else(|| "a whole number from 1 to 1000000".into())
}

/// `1x3x32x32` as dimensions.
pub fn shape(text: &str) -> Result<Vec<usize>, String> {
    let dims: Result<Vec<usize>, _> = text.split('x').map(str::parse).collect();
    dims.ok().filter(|d| d.iter().all(|&d| d > 0)).ok_or_else(|| "write it as 1x3x32x32".into())
}

/// `224` or `HEIGHTxWIDTH`.
pub fn resize(text: &str) -> Result<[usize; 2], String> {
    match shape(text).as_deref() {
        Ok(&[both]) if both <= 1 << 14 => Ok([both, both]),
        Ok(&[height, width]) if height <= 1 << 14 && width <= 1 << 14 => Ok([height, width]),
        _ => Err("write it as 224 or as HEIGHTxWIDTH, 240x320 for example".into()),
    }
}

/// A length of the simulation window.
pub fn timesteps(text: &str) -> Result<u32, String> {
    text.parse()
        .ok()
        .filter(|t| (1..=snn_runtime::MAX_TIMESTEPS).contains(t))
        .ok_or_else(|| format!("a whole number from 1 to {}", snn_runtime::MAX_TIMESTEPS))
}

/// A finite number.
pub fn finite(text: &str) -> Result<f32, String> {
    text.parse().ok().filter(|v: &f32| v.is_finite()).ok_or_else(|| "not a finite number".into())
}

/// A positive number.
pub fn positive(text: &str) -> Result<f32, String> {
    finite(text)?.gt(&0.0).then(|| text.parse().expect("it has just been parsed")).ok_or_else(|| "must be above zero".into())
}

/// A percentage.
pub fn percentage(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|p| (0.0..=100.0).contains(p)).ok_or_else(|| "a percentage from 0 to 100".into())
}

/// Most threads that can be asked for.
const MOST_THREADS: usize = 4096;

/// A number of threads.
pub fn threads(text: &str) -> Result<NonZeroUsize, String> {
    let known = text.parse().ok().filter(|n: &NonZeroUsize| n.get() <= MOST_THREADS);
    known.ok_or_else(|| format!("a whole number from 1 to {MOST_THREADS}"))
}

/// The default number of threads: one per CPU.
pub fn all_cpus() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}
