//! Layers that run pixel by pixel.
//!
//! For a few neighbouring pixels the function lists the taps of every synapse (their borders,
//! strides and dilations are constants in the code), lets the synapse's kernel add its currents for
//! all steps of the chunk, and ends with the neurons, whose membranes are loaded and stored once.

use super::emit::{Arguments, at, count_to, number, plus, times};
use super::layer::{Body, Lowering, WiredLayer};
use super::portable;
use super::wired::{Pixel, WiredProduct, WiredSynapse};
use crate::engine::plan::kernel::Family;
use crate::engine::plan::layer::PixelsPlan;
use crate::kernels::ByReset;
use crate::kernels::abi::{FireArguments, ProductArguments};
use crate::layout::{lanes, mask_bytes};
use cranelift_codegen::ir::{InstBuilder, Value};
use cranelift_frontend::FunctionBuilder;
use cranelift_module::Module;
use std::mem::offset_of;

/// Neighbouring pixels that are computed together.
#[derive(Clone, Copy)]
struct Block {
    /// The row.
    y: Value,
    /// The first pixel's column.
    x: Value,
    /// The first pixel.
    pixel: Value,
    /// Number of pixels.
    size: Value,
    /// Their currents.
    currents: Value,
    /// What these start from.
    base: Value,
    /// The value's first pixel among them.
    out: Value,
}

impl<M: Module> Lowering<'_, M> {
    /// The code of a layer that runs pixel by pixel.
    pub(super) fn pixels(&mut self, b: &mut FunctionBuilder, body: &Body, wired: &WiredLayer, planned: &PixelsPlan) {
        let (width, block) = (planned.columns, planned.block);
        let out_bytes = self.plan.pixel_bytes(body.node);
        let currents = plus(b, body.arena, planned.currents.offset);
        let fire = self.fire_arguments(b, body, wired);
        self.begin_products(b, body, &wired.products);
        let (height, blocks) = (number(b, body.node.pixels / width), number(b, width.div_ceil(block)));
        count_to(b, height, &[], |b, y, _| {
            count_to(b, blocks, &[], |b, block_index, _| {
                let x = times(b, block_index, block);
                let mut size = number(b, block);
                if !width.is_multiple_of(block) {
                    let end = number(b, width);
                    let left = b.ins().isub(end, x);
                    size = b.ins().umin(size, left);
                }
                let above = times(b, y, width);
                let pixel = b.ins().iadd(above, x);
                let base = at(b, wired.base.0, pixel, wired.base.1);
                let out = at(b, wired.out, pixel, out_bytes);
                // The value of a layer without neurons has the layout of its currents.
                let currents = if wired.neurons.is_some() { currents } else { out };
                let block = Block { y, x, pixel, size, currents, base, out };
                self.currents(b, body, wired, planned, block);
                self.fire(b, body, wired, fire, block);
                vec![]
            });
            vec![]
        });
        if let (false, Some(_)) = (wired.products.is_empty(), self.plan.kernels.product.and_then(|p| p.around)) {
            let end = self.kernel(b, "snnc_end");
            b.ins().call(end, &[]);
        }
    }

    /// The currents of a block.
    fn currents(&mut self, b: &mut FunctionBuilder, body: &Body, wired: &WiredLayer, planned: &PixelsPlan, block: Block) {
        for s in &wired.products {
            self.product(b, s, block);
        }
        if !wired.products.is_empty() && wired.synapses.is_empty() {
            return;
        }
        let row = lanes(body.node.channels);
        count_to(b, block.size, &[], |b, i, _| {
            let (x, pixel) = (b.ins().iadd(block.x, i), b.ins().iadd(block.pixel, i));
            let currents = at(b, block.currents, i, 4 * self.plan.chunk * row);
            if wired.products.is_empty() {
                let start = self.kernel(b, "snnc_start");
                let row = number(b, row);
                b.ins().call(start, &[currents, block.base, body.steps, row]);
            }
            for synapse in &wired.synapses {
                self.synapse(b, body, synapse, planned, Pixel { y: block.y, x, pixel }, currents);
            }
            vec![]
        });
    }

    /// Expands the operands of matrix products.
    fn begin_products(&mut self, b: &mut FunctionBuilder, body: &Body, products: &[WiredProduct]) {
        for s in products {
            let expand = self.kernel(b, "snnc_expand");
            b.ins().call(expand, &[s.data, s.plane, body.steps, s.plane_shape]);
        }
        // Products of one layer have slabs of one width.
        if let (Some(first), Some(_)) = (products.first(), self.plan.kernels.product.and_then(|p| p.around)) {
            let begin = self.kernel(b, "snnc_begin");
            let quads = number(b, first.quads);
            b.ins().call(begin, &[body.steps, quads]);
        }
    }

    /// The matrix product of a block.
    fn product(&mut self, b: &mut FunctionBuilder, s: &WiredProduct, block: Block) {
        let line = at(b, s.plane, block.y, s.stride[0]);
        let window = at(b, line, block.x, s.stride[1]);
        s.arguments.set(
            b,
            &[
                (offset_of!(ProductArguments, window), window),
                (offset_of!(ProductArguments, currents), block.currents),
                (offset_of!(ProductArguments, pixels), block.size),
                (offset_of!(ProductArguments, base), block.base),
            ],
        );
        let product = self.kernel(b, "snnc_product");
        let arguments = s.arguments.address(b);
        b.ins().call(product, &[arguments]);
    }

    /// Adds one synapse's currents at one pixel.
    fn synapse(&mut self, b: &mut FunctionBuilder, body: &Body, s: &WiredSynapse, planned: &PixelsPlan, pixel: Pixel, currents: Value) {
        let taps = plus(b, body.arena, planned.taps.offset);
        let count = self.list_taps(b, s, pixel, taps);
        let name = match s.family {
            Family::Event if self.plan.kernels.event.is_none() => {
                portable::event(b, &s.shape, taps, count, currents, body.steps);
                return;
            }
            Family::Matrix | Family::Residual | Family::Table => {
                unreachable!("products, residuals and tables are not computed pixel by pixel")
            }
            Family::Event => "snnc_event",
            Family::ByteEvent => "snnc_byte_event",
            Family::WideEvent => "snnc_wide_event",
            Family::Masked => "snnc_masked",
            Family::Dense => "snnc_dense",
            Family::DenseChannel => "snnc_dense_channel",
        };
        let kernel = self.kernel(b, name);
        let list = plus(b, body.arena, planned.list.offset);
        b.ins().call(kernel, &[taps, count, currents, body.steps, s.shape_value, list]);
    }

    /// The arguments of the fire kernel, as far as they are the same for all blocks; `None` where
    /// no kernel is called.
    fn fire_arguments(&mut self, b: &mut FunctionBuilder, body: &Body, wired: &WiredLayer) -> Option<Arguments> {
        self.plan.kernels.fire?;
        let n = wired.neurons.as_ref()?;
        let nothing = number(b, 0);
        let weights = wired.residual.as_ref().map_or(nothing, |s| s.weights);
        let arguments = Arguments::new::<FireArguments>(b);
        arguments.set(
            b,
            &[
                (offset_of!(FireArguments, stride), n.before_elements),
                (offset_of!(FireArguments, steps), body.steps),
                (offset_of!(FireArguments, shape), n.shape),
                (offset_of!(FireArguments, residual), nothing),
                (offset_of!(FireArguments, weights), weights),
            ],
        );
        Some(arguments)
    }

    /// From the currents of a block to its spikes, if the layer has neurons.
    fn fire(&mut self, b: &mut FunctionBuilder, body: &Body, wired: &WiredLayer, arguments: Option<Arguments>, block: Block) {
        let Some(n) = &wired.neurons else { return };
        let (Block { pixel, size, currents, out, .. }, lanes) = (block, lanes(body.node.channels));
        let n = n.at(b, pixel, lanes);
        let Some(arguments) = arguments else {
            let (threshold, before, membrane, reset) = (n.threshold, n.before, n.membrane, n.reset);
            let mask = mask_bytes(body.node.channels);
            portable::fire(b, &portable::Cell { currents, threshold, before, membrane, out, steps: body.steps, lanes, mask, reset });
            return;
        };
        arguments.set(
            b,
            &[
                (offset_of!(FireArguments, currents), currents),
                (offset_of!(FireArguments, threshold), n.threshold),
                (offset_of!(FireArguments, before), n.before),
                (offset_of!(FireArguments, membrane), n.membrane),
                (offset_of!(FireArguments, spikes), out),
                (offset_of!(FireArguments, pixels), size),
            ],
        );
        if let Some(s) = &wired.residual {
            let masks = at(b, s.data, pixel, s.pixel_bytes);
            arguments.set(b, &[(offset_of!(FireArguments, residual), masks)]);
        }
        let kernel = self.kernel(b, ByReset { subtract: "snnc_fire", zero: "snnc_fire_hard" }.of(n.reset));
        let arguments = arguments.address(b);
        b.ins().call(kernel, &[arguments]);
    }
}
