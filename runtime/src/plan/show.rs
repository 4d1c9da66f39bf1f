//! The plan as a table, for `snnc inspect --plan`.

use super::{Mode, Plan, Work};
use snn_ir::signal::Dims;
use std::fmt;

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "cpu {}, {} steps at a time, state {} bytes, buffers {} bytes",
            self.cpu,
            self.chunk,
            self.persistent,
            self.arena - self.persistent
        )?;
        for (i, node) in self.nodes.iter().enumerate() {
            let what = match (&node.work, node.mode) {
                (Work::FrontEnd, _) => "f32, once a window".to_string(),
                (_, Mode::Constant) => "integers, once a window".to_string(),
                (_, Mode::Unused) => "part of the next move".to_string(),
                (_, Mode::Summed) => "on sums, once an advance".to_string(),
                (Work::Layer(_), _) => {
                    let synapses = self.layers[i].iter().flat_map(|l| &l.synapses);
                    synapses.map(|s| format!("{} ({})", s.family, s.why)).collect::<Vec<_>>().join(" + ")
                }
                (Work::Structural(_), _) => "moves elements".to_string(),
                _ => "running maxima".to_string(),
            };
            let bytes = self.values[i].map_or(0, |v| v.bytes);
            writeln!(f, "{:<28} {:>12} {:>9} bytes  {what}", node.name, Dims(&node.ty.shape).to_string(), bytes)?;
        }
        Ok(())
    }
}
