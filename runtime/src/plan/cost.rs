//! What kernels cost: measured cycles, by CPU level.

use crate::kernels::Cpu;

/// Spikes per neuron and step that the event kernel's cost is estimated for; trained networks at T = 32 fire at 5 to 15 %.
pub const RATE: f64 = 0.1;

/// Cycles per output pixel and step.
pub struct Costs {
    /// Of listing events, whatever their number.
    event_fixed: f64,
    /// Of one event, per 64 outputs (at least half of that).
    event_row: f64,
    /// The same with 8-bit weights, where there are kernels for them.
    byte_event_row: Option<f64>,
    /// Of a product of 64 taps by 16 outputs, where there is one.
    product: Option<f64>,
    /// Of looking up 16 taps of one output, where there are kernels for it.
    look_up: Option<f64>,
    /// Of what a layer by look-up does besides, per 16 channels in and out.
    words: f64,
}

impl Costs {
    /// The costs on `cpu`.
    pub fn of(cpu: Cpu) -> Costs {
        match cpu {
            Cpu::Portable => Costs { event_fixed: 60.0, event_row: 16.0, byte_event_row: None, product: None, look_up: None, words: 0.0 },
            Cpu::Avx2 => Costs { event_fixed: 60.0, event_row: 4.7, byte_event_row: None, product: Some(26.0), look_up: None, words: 0.0 },
            Cpu::Avx512 => {
                Costs { event_fixed: 60.0, event_row: 3.0, byte_event_row: Some(1.7), product: Some(17.0), look_up: Some(1.15), words: 6.0 }
            }
            Cpu::Amx => {
                Costs { event_fixed: 60.0, event_row: 3.0, byte_event_row: Some(1.7), product: Some(1.5), look_up: None, words: 0.0 }
            }
        }
    }

    /// By events: `taps` input elements, `lanes` outputs.
    pub fn event(&self, taps: usize, lanes: usize) -> f64 {
        self.event_fixed + RATE * taps as f64 * self.event_row * (lanes as f64 / 64.0).max(0.5)
    }

    /// By events with rows of 8-bit weights.
    pub fn byte_event(&self, taps: usize, lanes: usize) -> Option<f64> {
        self.byte_event_row.map(|row| self.event_fixed + RATE * taps as f64 * row * lanes as f64 / 64.0)
    }

    /// By table look-up: `look_ups` of 16 taps, `channels` in, `lanes` out.
    pub fn table(&self, look_ups: f64, channels: usize, lanes: usize) -> Option<f64> {
        self.look_up.map(|cost| cost * look_ups + self.words * (channels + lanes) as f64 / 16.0)
    }

    /// By a matrix product.
    pub fn matrix(&self, taps: usize, lanes: usize) -> Option<f64> {
        self.product.map(|tile| tile * taps as f64 / 64.0 * (lanes / 16) as f64)
    }
}
