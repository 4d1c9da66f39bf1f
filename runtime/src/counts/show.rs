//! The plan as a table, for `snnc inspect --plan`.

use super::{Fast, Program};
use crate::plan::{Mode, Work};
use snn_ir::signal::Dims;
use std::fmt;

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "cpu {}, on counts: once a window", self.cpu)?;
        for (i, node) in self.nodes.iter().enumerate() {
            let what = match (&node.work, node.mode) {
                (Work::FrontEnd, _) => "f32",
                (_, Mode::Constant) => "integers",
                _ => match &self.fast[i] {
                    Some(Fast::Layer(_)) => "counts as bytes, in 32 bits",
                    Some(Fast::Maxima(_)) => "maxima of bytes",
                    Some(Fast::Copies(_)) => "moves bytes",
                    None => "sums in 64 bits",
                },
            };
            let bytes = self.layouts[i].as_ref().map_or(0, |l| l.bytes());
            writeln!(f, "{:<28} {:>12} {:>9} bytes  {what}", node.name, Dims(&node.ty.shape).to_string(), bytes)?;
        }
        Ok(())
    }
}
