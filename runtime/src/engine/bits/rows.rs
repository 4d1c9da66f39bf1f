//! Layers that run row by row: the weights of their only synapse that moves are added up right into
//! the neurons.

use super::emit::{Arguments, bytes_of, count_to, number, plus, word};
use super::layer::{Body, Lowering, WiredLayer};
use crate::engine::plan::geometry::Geometry;
use crate::engine::plan::layer::RowsPlan;
use crate::kernels::ByReset;
use crate::kernels::abi::EventRowArguments;
use crate::kernels::byte_event::RowShape;
use crate::layout::mask_bytes;
use cranelift_codegen::ir::InstBuilder;
use cranelift_frontend::FunctionBuilder;
use cranelift_module::{Module, ModuleError};
use std::mem::offset_of;

impl<M: Module> Lowering<'_, M> {
    /// The code of a layer that runs row by row.
    pub(super) fn rows(
        &mut self,
        b: &mut FunctionBuilder,
        body: &Body,
        wired: &WiredLayer,
        planned: &RowsPlan,
    ) -> Result<(), Box<ModuleError>> {
        let (Some(n), [s]) = (&wired.neurons, &wired.synapses[..]) else { unreachable!("rows are neurons with one synapse that moves") };
        let Geometry::Window(plane) = s.geometry else { unreachable!("rows are those of a window") };
        let two = |v: [usize; 2]| v.map(word);
        let shape = RowShape {
            synapse: s.shape,
            input: two(plane.input),
            kernel: two(plane.kernel),
            stride: two(plane.stride),
            pad: two(plane.pad),
            columns: word(plane.output[1]),
            pixel_bytes: word(s.pixel_bytes),
            base: word(wired.base.1 / 4),
            threshold: word(n.threshold_stride / 4),
            spikes: word(self.plan.pixel_bytes(body.node)),
            mask: word(mask_bytes(body.node.channels)),
        };
        let shape = self.constant(b, bytes_of(shape.words()))?;
        let (taps, scratch) = (plus(b, body.arena, planned.taps.offset), plus(b, body.arena, planned.scratch.offset));
        let nothing = number(b, 0);
        let (residual, residual_weights) = wired.residual.as_ref().map_or((nothing, nothing), |s| (s.data, s.weights));
        let arguments = Arguments::new::<EventRowArguments>(b);
        arguments.set(
            b,
            &[
                (offset_of!(EventRowArguments, spikes_in), s.data),
                (offset_of!(EventRowArguments, weights), s.weights),
                (offset_of!(EventRowArguments, steps), body.steps),
                (offset_of!(EventRowArguments, shape), shape),
                (offset_of!(EventRowArguments, taps), taps),
                (offset_of!(EventRowArguments, scratch), scratch),
                (offset_of!(EventRowArguments, base), wired.base.0),
                (offset_of!(EventRowArguments, threshold), n.threshold),
                (offset_of!(EventRowArguments, before), n.before),
                (offset_of!(EventRowArguments, before_stride), n.before_elements),
                (offset_of!(EventRowArguments, membrane), n.membrane),
                (offset_of!(EventRowArguments, spikes), wired.out),
                (offset_of!(EventRowArguments, residual), residual),
                (offset_of!(EventRowArguments, residual_weights), residual_weights),
            ],
        );
        let kernel = self.kernel(b, ByReset { subtract: "snnc_byte_event_row", zero: "snnc_byte_event_row_hard" }.of(n.reset));
        let height = number(b, plane.output[0]);
        count_to(b, height, &[], |b, y, _| {
            arguments.set(b, &[(offset_of!(EventRowArguments, y), y)]);
            let address = arguments.address(b);
            b.ins().call(kernel, &[address]);
            vec![]
        });
        Ok(())
    }
}
