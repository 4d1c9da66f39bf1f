//! Measures a cost model: single layers of typical shapes, computed by each family of kernels in
//! turn.

use super::fit::fit;
use super::subject::{FAMILIES, Family, LayerShape, Subject, computes};
use super::{CostModel, Costs, EventCosts, MatrixCosts, SynapseSize, TableCosts, has_choice};
use crate::engine::plan::geometry::Geometry;
use crate::error::CompileError;
use crate::kernels::table::{BLOCK, Blocks};
use crate::kernels::{Cpu, KernelSet};
use crate::layout::{SlidingWindow, lanes};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Channels, side of the map, side of the kernel.
const SHAPES: [(usize, usize, usize); 6] = [(16, 32, 3), (32, 16, 3), (64, 8, 3), (128, 8, 3), (256, 4, 3), (64, 16, 1)];
/// Steps that are computed together.
const STEPS: [usize; 2] = [8, 32];
/// Spikes per element and step.
const RATES: [f64; 3] = [0.03, 0.1, 0.25];
/// Repetitions, of which the fastest counts, and how long one takes at least.
const REPETITIONS: usize = 15;
const LEAST: Duration = Duration::from_millis(3);

/// A cost model and how well it describes what was measured.
#[derive(Clone, Debug)]
pub struct Measurement {
    /// The model.
    pub model: CostModel,
    /// How far it is from the measurements, per level and family.
    pub deviations: Vec<Deviation>,
}

/// How far a model is from what was measured.
#[derive(Clone, Debug)]
pub struct Deviation {
    /// CPU level.
    pub cpu: Cpu,
    /// Family of kernels.
    pub family: &'static str,
    /// Number of measurements.
    pub measurements: usize,
    /// Mean relative difference.
    pub mean: f64,
    /// Largest relative difference.
    pub worst: f64,
}

/// One measurement: features and nanoseconds per output pixel and step.
type Point<const N: usize> = ([f64; N], f64);

impl CostModel {
    /// Measures every CPU level that this machine has, on one thread. Takes seconds; other work on
    /// the machine falsifies it. `progress` is called with each part's number and their total.
    ///
    /// # Errors
    /// When a layer cannot be compiled.
    pub fn measure(mut progress: impl FnMut(usize, usize)) -> Result<Measurement, CompileError> {
        let levels: Vec<Cpu> = Cpu::available().filter(|&cpu| has_choice(cpu)).collect();
        let total = levels.len() * SHAPES.len();
        let mut done = 0;
        let (mut model, mut deviations) = (BTreeMap::new(), Vec::new());
        for cpu in levels {
            let costs = level(cpu, &mut deviations, &mut || {
                done += 1;
                progress(done, total);
            })?;
            model.insert(cpu.to_string(), costs);
        }
        Ok(Measurement { model: CostModel(model), deviations })
    }
}

fn level(cpu: Cpu, deviations: &mut Vec<Deviation>, progress: &mut dyn FnMut()) -> Result<Costs, CompileError> {
    // Neurons; products: chunk, product; events: chunk, mask, event, row; the same by 8-bit
    // weights.
    let mut synapses: Vec<(Family, Point<11>)> = Vec::new();
    let mut tables = Vec::<Point<3>>::new();
    let shapes = SHAPES.map(|shape| STEPS.map(|steps| (shape, steps)));
    for family in FAMILIES {
        for &((channels, side, kernel), steps) in shapes.as_flattened() {
            let shape = LayerShape { channels, side, kernel };
            let geometry = Geometry::Window(SlidingWindow {
                input: [side; 2],
                output: [side; 2],
                kernel: [kernel; 2],
                stride: [1; 2],
                dilation: [1; 2],
                pad: [kernel / 2; 2],
            });
            let size = SynapseSize::new(&geometry, channels, lanes(channels));
            let per_chunk = 1.0 / steps as f64;
            let neurons = size.lanes as f64 / 16.0;
            if !computes(family, cpu, shape) {
                continue;
            }
            let by_events = matches!(family, Family::Event | Family::ByteEvent);
            let rates = if by_events { &RATES[..] } else { &RATES[1..2] };
            for &rate in rates {
                let nanoseconds = time(cpu, family, shape, steps, rate)?;
                match family {
                    Family::Event | Family::ByteEvent => {
                        let mut features = [0.0; 11];
                        let (first, masks) = if family == Family::Event { (3, size.masks()) } else { (7, size.listed()) };
                        features[0] = neurons;
                        features[first..first + 4].copy_from_slice(&[per_chunk, masks, size.events(rate), size.rows(rate)]);
                        synapses.push((family, (features, nanoseconds)));
                    }
                    Family::Matrix => {
                        let mut features = [0.0; 11];
                        features[..3].copy_from_slice(&[neurons, per_chunk, size.products()]);
                        synapses.push((family, (features, nanoseconds)));
                    }
                    Family::Table => {
                        let full = (Blocks::new([side, side]).count() * BLOCK) as f64 / (side * side) as f64;
                        let look_ups = (size.taps().div_ceil(16) * channels) as f64 / 16.0 * full;
                        tables.push(([per_chunk, 2.0 * neurons, look_ups], nanoseconds));
                    }
                    other => unreachable!("{other} is not chosen by its cost"),
                }
            }
            if steps == STEPS[0] && family == Family::Matrix {
                progress();
            }
        }
    }
    let x = fit(&synapses.iter().map(|s| s.1).collect::<Vec<_>>());
    for (family, name) in [(Family::Event, "event"), (Family::ByteEvent, "byte-event"), (Family::Matrix, "matrix")] {
        let points: Vec<Point<11>> = synapses.iter().filter(|s| s.0 == family).map(|s| s.1).collect();
        if !points.is_empty() {
            deviations.push(deviation(cpu, name, &points, &x));
        }
    }
    let table = (!tables.is_empty()).then(|| {
        let x = fit(&tables);
        deviations.push(deviation(cpu, "table", &tables, &x));
        let [chunk, word, look_up] = x.map(rounded);
        TableCosts { chunk, word, look_up }
    });
    let x = x.map(rounded);
    let events = |first: usize| EventCosts { chunk: x[first], mask: x[first + 1], event: x[first + 2], row: x[first + 3] };
    let matrix = MatrixCosts { chunk: x[1], product: x[2] };
    let byte_event = KernelSet::of(cpu).byte_event.map(|_| events(7));
    Ok(Costs { machine: machine(), neurons: x[0], event: events(3), byte_event, matrix, table })
}

fn deviation<const N: usize>(cpu: Cpu, family: &'static str, points: &[Point<N>], x: &[f64; N]) -> Deviation {
    let of = |(features, value): &Point<N>| (features.iter().zip(x).map(|(f, x)| f * x).sum::<f64>() / value - 1.0).abs();
    let errors: Vec<f64> = points.iter().map(of).collect();
    let mean = errors.iter().sum::<f64>() / errors.len().max(1) as f64;
    Deviation { cpu, family, measurements: points.len(), mean, worst: errors.into_iter().fold(0.0, f64::max) }
}

/// Nobody measures picoseconds.
fn rounded(nanoseconds: f64) -> f64 {
    (1e3 * nanoseconds).round() / 1e3
}

/// Nanoseconds per output pixel and step of a layer that gets spikes at `rate`.
fn time(cpu: Cpu, family: Family, shape: LayerShape, steps: usize, rate: f64) -> Result<f64, CompileError> {
    let subject = Subject::new(cpu, family, shape, steps, rate)?;
    let mut runner = subject.runner();
    let mut fastest = f64::INFINITY;
    for _ in 0..REPETITIONS {
        let (start, mut runs) = (Instant::now(), 0);
        while start.elapsed() < LEAST {
            runner.run();
            runs += 1;
        }
        fastest = fastest.min(start.elapsed().as_secs_f64() / f64::from(runs));
    }
    Ok(1e9 * fastest / (shape.side * shape.side * steps) as f64)
}

/// What the machine calls its CPU.
fn machine() -> String {
    let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = cpus.lines().find_map(|l| l.strip_prefix("model name")?.split_once(": ").map(|(_, name)| name.trim().to_string()));
    name.unwrap_or_else(|| std::env::consts::ARCH.into())
}
