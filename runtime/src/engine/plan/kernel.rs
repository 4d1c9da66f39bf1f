//! Which kernel computes each synapse of a layer, by what it costs.

use super::geometry::Geometry;
use super::node::{LayerWork, PlanNode};
use super::synapse::{Synapse, Weights};
use super::table::look_ups;
use super::{Mode, Plan};
use crate::cost::{Costs, SynapseSize, TableSize};
use crate::kernels::byte_event::{self, LANES};
use crate::layout::lanes;
use std::fmt;

/// A family of kernels: one way to turn operands into currents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Spikes, channels mix: for every set bit, add a row of weights.
    Event,
    /// The same with rows of 8-bit weights, of whole multiples of 64 outputs.
    ByteEvent,
    /// Spikes, channels mix: as bytes, through a matrix product. The time does not depend on the
    /// rate.
    Matrix,
    /// Spikes, channels mix, in groups or with weights beyond 16 bits: the same without vectors of
    /// narrow weights.
    WideEvent,
    /// Spikes, channels mix: four channels as the index of a table of their weights' sums. The time
    /// does not depend on the rate.
    Table,
    /// Spikes, channels stay: add the weights under the mask.
    Masked,
    /// The same from the pixel's own place, while the neurons integrate.
    Residual,
    /// Integer currents, channels mix: multiply and add.
    Dense,
    /// Integer currents, channels stay: multiply and add.
    DenseChannel,
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Family::Event => "event",
            Family::ByteEvent => "byte-event",
            Family::Matrix => "matrix",
            Family::WideEvent => "wide-event",
            Family::Masked => "masked",
            Family::Table => "table",
            Family::Residual => "residual",
            Family::Dense => "dense",
            Family::DenseChannel => "dense-channel",
        })
    }
}

/// Why the layer is computed by table look-up, if it is cheaper than what would be chosen for each
/// synapse.
pub(super) fn by_table(plan: &Plan, layer: &PlanNode, work: &LayerWork) -> Option<String> {
    let costs = plan.costs.as_ref()?;
    let table = costs.table.as_ref()?;
    let mut size = TableSize::default();
    let (mut otherwise, mut rates) = (costs.neurons(lanes(layer.channels)), Vec::new());
    for (synapse, &operand) in work.synapses.iter().zip(&layer.operands) {
        let Weights::Full { data, .. } = &synapse.weights else { continue };
        let source = &plan.nodes[operand];
        if source.mode == Mode::Constant {
            return None;
        }
        let synapse_size = SynapseSize::new(&synapse.geometry, source.channels, lanes(layer.channels));
        size.look_ups += look_ups(layer, work, synapse_size.taps());
        size.words += (source.channels + synapse_size.lanes) as f64 / 16.0;
        let event = by_events(plan, costs, source, synapse, data, &synapse_size).map_or(f64::INFINITY, |e| e.1);
        otherwise += event.min(costs.matrix(&synapse_size, plan.chunk));
        rates.push(source.rate.to_string());
    }
    let cost = table.layer(size, plan.chunk);
    (cost < otherwise)
        .then(|| format!("{cost:.0} ns a pixel and step against {otherwise:.0} by events at {} or by matrix", rates.join(" and ")))
}

/// Chooses the kernel of one synapse; `planned` says whether it can be a product.
pub(super) fn choose(plan: &Plan, source: &PlanNode, synapse: &Synapse, lanes: usize, planned: bool) -> (Family, String) {
    let Weights::Full { groups, data, .. } = &synapse.weights else {
        let family = if source.is_spikes() { Family::Masked } else { Family::DenseChannel };
        return (family, "channels do not mix".into());
    };
    if !source.is_spikes() {
        return (Family::Dense, "the operand is a current".into());
    }
    if *groups > 1 {
        return (Family::WideEvent, format!("{groups} groups"));
    }
    let Some(costs) = &plan.costs else {
        return (Family::Event, "any CPU".into());
    };
    let size = SynapseSize::new(&synapse.geometry, source.channels, lanes);
    let event = by_events(plan, costs, source, synapse, data, &size);
    let bytes = data.iter().all(|&w| i8::try_from(w).is_ok());
    // Some products sum in 16 bits, as events do.
    let product = plan.kernels.product.filter(|p| planned && bytes && (event.is_some() || !p.narrow_sums));
    let product = product.map(|_| costs.matrix(&size, plan.chunk));
    let rate = source.rate;
    match (product, event) {
        (Some(product), Some((_, event))) if product <= event => {
            (Family::Matrix, format!("{product:.0} ns a pixel and step against {event:.0} by events at {rate}"))
        }
        (Some(product), Some((family, event))) => {
            (family, format!("{event:.0} ns a pixel and step at {rate} against {product:.0} by matrix"))
        }
        (None, Some((family, event))) => (family, format!("{event:.0} ns a pixel and step at {rate}")),
        (Some(_), None) => (Family::Matrix, "sums of weights may leave 16 bits".into()),
        (None, None) => (Family::WideEvent, "sums of weights may leave 16 bits".into()),
    }
}

/// The cheapest kernel for events and its cost, unless sums may leave its 16 bits.
fn by_events(plan: &Plan, costs: &Costs, source: &PlanNode, synapse: &Synapse, data: &[i32], size: &SynapseSize) -> Option<(Family, f64)> {
    let rate = source.rate.value();
    let listed = matches!(&synapse.geometry, Geometry::Window(plane) if byte_event::fits(plane, source.channels));
    let fits = listed && size.lanes.is_multiple_of(LANES) && data.iter().all(|&w| i8::try_from(w).is_ok());
    let byte_event = costs.byte_event.as_ref().filter(|_| fits && plan.kernels.byte_event.is_some());
    let byte_event = byte_event.map(|c| (Family::ByteEvent, c.synapse(size, size.listed(), rate, plan.chunk)));
    let narrow = plan.kernels.event.is_none() || fits_i16(&synapse.weights, data, &synapse.geometry);
    let event = narrow.then(|| (Family::Event, costs.event.synapse(size, size.masks(), rate, plan.chunk)));
    byte_event.into_iter().chain(event).min_by(|a, b| a.1.total_cmp(&b.1))
}

/// Whether every sum of a subset of one output channel's weights fits 16 bits, so that kernels may
/// sum in 16 bits.
fn fits_i16(weights: &Weights, data: &[i32], geometry: &Geometry) -> bool {
    let Weights::Full { outputs, .. } = weights else { return false };
    let mut sums = vec![(0i64, 0i64); *outputs];
    for row in data.chunks_exact(*outputs) {
        for (sum, &w) in sums.iter_mut().zip(row) {
            *sum = (sum.0 + i64::from(w.min(0)), sum.1 + i64::from(w.max(0)));
        }
    }
    // A listed geometry may use a slice more than once in a window.
    matches!(geometry, Geometry::Window(_)) && sums.iter().all(|s| s.0 >= i64::from(i16::MIN) && s.1 <= i64::from(i16::MAX))
}
