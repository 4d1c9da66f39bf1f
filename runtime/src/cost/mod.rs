//! What kernels cost, as data: a table measured on some machine, by which the plan chooses among
//! kernels that compute the same.
//!
//! A table holds a few coefficients per CPU level and kernel family, in nanoseconds.
//! [`CostModel::shipped`] is one of the machine that this program was developed on;
//! [`CostModel::measure`] makes another on the machine at hand. A wrong table costs time, never
//! correctness.

mod fit;
mod measure;
#[doc(hidden)]
pub mod subject;

use crate::engine::plan::geometry::Geometry;
use crate::kernels::Cpu;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::LazyLock;
use thiserror::Error;

pub use measure::{Deviation, Measurement};

/// The table that is used unless another one is given.
const SHIPPED: &str = include_str!("shipped.json");

/// Costs by CPU level.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CostModel(BTreeMap<String, Costs>);

/// What the kernels of one CPU level cost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Costs {
    /// The machine that was measured.
    pub machine: String,
    /// Nanoseconds of the neurons of an output pixel, per 16 channels and step, where synapses are
    /// computed before them.
    pub neurons: f64,
    /// Event lists.
    pub event: EventCosts,
    /// Event lists through rows of 8-bit weights, on levels that have them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub byte_event: Option<EventCosts>,
    /// Matrix products of spikes as bytes.
    pub matrix: MatrixCosts,
    /// Table look-up, on levels that have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<TableCosts>,
}

/// Event lists: nanoseconds per output pixel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventCosts {
    /// Once a chunk of steps.
    pub chunk: f64,
    /// Per 64 bits of a mask that is listed, in every step.
    pub mask: f64,
    /// Per event.
    pub event: f64,
    /// Per event and 32 outputs.
    pub row: f64,
}

/// Matrix products: nanoseconds per output pixel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MatrixCosts {
    /// Once a chunk of steps.
    pub chunk: f64,
    /// Per 64 taps by 16 outputs, in every step.
    pub product: f64,
}

/// Table look-up, neurons included: nanoseconds per output pixel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableCosts {
    /// Once a chunk of steps.
    pub chunk: f64,
    /// Per 16 channels in and out, in every step.
    pub word: f64,
    /// Per 16 taps of one output, in every step.
    pub look_up: f64,
}

/// Why a text is no cost model.
#[derive(Debug, Error)]
pub enum CostModelError {
    /// It is no JSON of this form.
    #[error("this is no cost model: {0}")]
    Syntax(#[from] serde_json::Error),
    /// A level that does not exist.
    #[error("there is no CPU level `{0}` whose kernels are chosen by cost; the levels are avx2, avx512 and amx")]
    Level(String),
    /// Not a cost.
    #[error("the costs of {level} hold {value}, which is no number of nanoseconds")]
    Value {
        /// The CPU level.
        level: String,
        /// What is there.
        value: f64,
    },
}

impl CostModel {
    /// The table that is used unless another one is given.
    pub fn shipped() -> &'static CostModel {
        static MODEL: LazyLock<CostModel> = LazyLock::new(|| CostModel::from_json(SHIPPED).expect("the shipped table is one"));
        &MODEL
    }

    /// A table from JSON, as [`CostModel::to_json`] writes it.
    ///
    /// # Errors
    /// [`CostModelError`]: what makes the text no table.
    pub fn from_json(text: &str) -> Result<CostModel, CostModelError> {
        let model: CostModel = serde_json::from_str(text)?;
        for (level, costs) in &model.0 {
            if !Cpu::named(level).is_some_and(has_choice) {
                return Err(CostModelError::Level(level.clone()));
            }
            if let Some(&value) = costs.coefficients().iter().find(|v| !v.is_finite() || **v < 0.0) {
                return Err(CostModelError::Value { level: level.clone(), value });
            }
        }
        Ok(model)
    }

    /// The table as JSON.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("numbers and strings are JSON")
    }

    /// The costs on `cpu`, if they were measured.
    pub fn costs(&self, cpu: Cpu) -> Option<&Costs> {
        self.0.get(&cpu.to_string())
    }
}

/// Whether there is more than one kernel for the same synapse.
pub(crate) fn has_choice(cpu: Cpu) -> bool {
    !cpu.is_portable()
}

impl Costs {
    fn coefficients(&self) -> Vec<f64> {
        let m = &self.matrix;
        let events = [&self.event].into_iter().chain(&self.byte_event).flat_map(|e| [e.chunk, e.mask, e.event, e.row]);
        let table = self.table.iter().flat_map(|t| [t.chunk, t.word, t.look_up]);
        [self.neurons, m.chunk, m.product].into_iter().chain(events).chain(table).collect()
    }

    /// Of the neurons of an output pixel, per step.
    pub(crate) fn neurons(&self, lanes: usize) -> f64 {
        self.neurons * lanes as f64 / 16.0
    }

    /// Of a synapse by a matrix product, per output pixel and step, in chunks of `chunk` steps.
    pub(crate) fn matrix(&self, synapse: &SynapseSize, chunk: usize) -> f64 {
        self.matrix.chunk / chunk as f64 + self.matrix.product * synapse.products()
    }
}

impl EventCosts {
    /// Of a synapse that lists `masks`, per output pixel and step, in chunks of `chunk` steps.
    pub(crate) fn synapse(&self, size: &SynapseSize, masks: f64, rate: f64, chunk: usize) -> f64 {
        self.chunk / chunk as f64 + self.mask * masks + self.event * size.events(rate) + self.row * size.rows(rate)
    }
}

impl TableCosts {
    /// Of a layer, per output pixel and step, in chunks of `chunk` steps.
    pub(crate) fn layer(&self, size: TableSize, chunk: usize) -> f64 {
        self.chunk / chunk as f64 + self.word * size.words + self.look_up * size.look_ups
    }
}

/// What the cost of a synapse depends on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SynapseSize {
    /// Input pixels of an output pixel.
    pub pixels: usize,
    /// Rows of the window, and its columns that the next one does not see.
    window: [usize; 2],
    /// Input channels.
    pub channels: usize,
    /// Output channels, padded to whole vectors.
    pub lanes: usize,
}

impl SynapseSize {
    /// Of a synapse between channels.
    pub fn new(geometry: &Geometry, channels: usize, lanes: usize) -> Self {
        let pixels = geometry.max_taps();
        let window = match geometry {
            Geometry::Window(p) => [p.kernel[0], p.stride[1].min(p.kernel[1])],
            Geometry::Listed(_) => [1, pixels],
        };
        SynapseSize { pixels, window, channels, lanes }
    }

    /// Input elements of an output pixel.
    pub fn taps(&self) -> usize {
        self.pixels * self.channels
    }

    /// Words of 64 channels of all input pixels.
    pub fn masks(&self) -> f64 {
        (self.pixels * self.channels.div_ceil(64)) as f64
    }

    /// The same where columns are listed once for all windows that see them.
    pub fn listed(&self) -> f64 {
        let [rows, columns] = self.window;
        (rows * columns * self.channels.div_ceil(64)) as f64
    }

    fn events(&self, rate: f64) -> f64 {
        rate * self.taps() as f64
    }

    fn rows(&self, rate: f64) -> f64 {
        self.events(rate) * self.lanes.div_ceil(32) as f64
    }

    fn products(&self) -> f64 {
        self.taps() as f64 / 64.0 * (self.lanes / 16) as f64
    }
}

/// What the cost of a layer by table look-up depends on, per output pixel and step.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TableSize {
    /// 16 channels in or out.
    pub words: f64,
    /// Look-ups of 16 taps of one output.
    pub look_ups: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_table_has_every_level_whose_kernels_are_chosen_and_reads_back() {
        let model = CostModel::shipped();
        for cpu in Cpu::LEVELS {
            assert_eq!(model.costs(cpu).is_some(), has_choice(cpu), "{cpu}");
        }
        assert_eq!(&CostModel::from_json(&model.to_json()).unwrap(), model);
    }

    #[test]
    fn a_table_with_a_mistake_is_refused_by_name() {
        let shipped = CostModel::shipped().to_json();
        let error = |text: &str| CostModel::from_json(text).unwrap_err().to_string();
        assert!(error("{").contains("no cost model"));
        assert!(error(&shipped.replace("\"avx2\"", "\"sse2\"")).contains("`sse2`"));
        assert!(error(&shipped.replace("\"neurons\"", "\"neuron\"")).contains("unknown field `neuron`"));
        let mut model = CostModel::shipped().clone();
        model.0.get_mut("avx2").unwrap().event.row = -1.0;
        assert!(error(&model.to_json()).contains("avx2 hold -1"));
    }
}
