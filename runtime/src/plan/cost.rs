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
    /// Of a product of 64 taps by 16 outputs, where there is one.
    product: Option<f64>,
}

impl Costs {
    /// The costs on `cpu`.
    pub fn of(cpu: Cpu) -> Costs {
        match cpu {
            Cpu::Portable => Costs { event_fixed: 60.0, event_row: 16.0, product: None },
            Cpu::Avx2 => Costs { event_fixed: 60.0, event_row: 4.7, product: Some(26.0) },
            Cpu::Avx512 => Costs { event_fixed: 60.0, event_row: 3.0, product: Some(10.0) },
            Cpu::Amx => Costs { event_fixed: 60.0, event_row: 3.0, product: Some(1.5) },
        }
    }

    /// By events: `taps` input elements, `lanes` outputs.
    pub fn event(&self, taps: usize, lanes: usize) -> f64 {
        self.event_fixed + RATE * taps as f64 * self.event_row * (lanes as f64 / 64.0).max(0.5)
    }

    /// By a matrix product.
    pub fn matrix(&self, taps: usize, lanes: usize) -> Option<f64> {
        self.product.map(|tile| tile * taps as f64 / 64.0 * (lanes / 16) as f64)
    }
}
