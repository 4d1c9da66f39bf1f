//! Synapses with their constants in the code: weights in the kernel's layout, shapes, tables of
//! taps.

use super::emit::{Arguments, POINTER, at, bytes_of, count_to, flags, number, plus, times, when, word};
use super::layer::{Body, Lowering};
use crate::engine::plan::geometry::Geometry;
use crate::engine::plan::kernel::Family;
use crate::engine::plan::layer::SynapsePlan;
use crate::engine::plan::matrix::MatrixPlan;
use crate::engine::plan::memory::Buffer;
use crate::engine::plan::synapse::{Synapse, Weights};
use crate::kernels::abi::{ListTapsArguments, ProductArguments, SynapseShape};
use crate::kernels::byte_event;
use crate::layout::{SlidingWindow, lanes};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, Value};
use cranelift_frontend::FunctionBuilder;
use cranelift_module::{Module, ModuleError};
use std::mem::offset_of;

/// A matrix product.
pub(super) struct WiredProduct {
    /// The operand's masks.
    pub data: Value,
    /// The plane that they are expanded to, and its shape.
    pub plane: Value,
    pub plane_shape: Value,
    /// Bytes from one window to the next, down and across.
    pub stride: [usize; 2],
    /// Bytes of a slab, divided by four.
    pub quads: usize,
    /// What the kernel gets; what depends on the pixels is set when it is called.
    pub arguments: Arguments,
}

/// A synapse that is computed from taps, or at the neurons' own places.
pub(super) struct WiredSynapse<'a> {
    pub geometry: &'a Geometry,
    pub family: Family,
    pub shape: SynapseShape,
    pub shape_value: Value,
    pub weights: Value,
    /// Bytes of a slice of weights.
    slice_bytes: usize,
    /// What the kernel that lists taps from a table gets; where they go and for which pixel is set
    /// when it is called.
    table: Option<Arguments>,
    /// The operand's first pixel.
    pub data: Value,
    /// Bytes from pixel to pixel.
    pub pixel_bytes: usize,
}

/// An output pixel: its row, its column, and its number.
#[derive(Clone, Copy)]
pub(super) struct Pixel {
    pub y: Value,
    pub x: Value,
    pub pixel: Value,
}

impl<M: Module> Lowering<'_, M> {
    /// A matrix product, with its constants.
    pub(super) fn wire_product(
        &mut self,
        b: &mut FunctionBuilder,
        body: &Body,
        index: usize,
        (layout, plane): &(MatrixPlan, Buffer),
    ) -> Result<WiredProduct, Box<ModuleError>> {
        let (data, channels) = self.operand(b, body, index);
        let shape = self.constant(b, bytes_of(layout.shape.words().into_iter().chain(layout.offsets.iter().copied())))?;
        let plane_shape = self.constant(b, bytes_of(layout.plane.words()))?;
        let weights = self.constant(b, layout.pack(&body.work.synapses[index].weights, channels))?;
        let arguments = Arguments::new::<ProductArguments>(b);
        arguments.set(
            b,
            &[
                (offset_of!(ProductArguments, weights), weights),
                (offset_of!(ProductArguments, steps), body.steps),
                (offset_of!(ProductArguments, shape), shape),
            ],
        );
        let (plane, quads) = (plus(b, body.arena, plane.offset), layout.shape.quads as usize);
        Ok(WiredProduct { data, plane, plane_shape, stride: layout.stride, quads, arguments })
    }

    /// A synapse that is no product, with its constants.
    pub(super) fn wire_synapse<'b>(
        &mut self,
        b: &mut FunctionBuilder,
        body: &Body<'b>,
        planned: &SynapsePlan,
    ) -> Result<WiredSynapse<'b>, Box<ModuleError>> {
        let synapse = &body.work.synapses[planned.index];
        let (data, channels) = self.operand(b, body, planned.index);
        let pixel_bytes = self.plan.pixel_bytes(&self.plan.nodes[body.node.operands[planned.index]]);
        let narrow = planned.family == Family::Event && self.plan.kernels.event.is_some();
        let out_lanes = lanes(body.node.channels);
        let packed = Packed::new(synapse, planned.family, narrow, channels, out_lanes);
        let shape = SynapseShape {
            channels: word(channels),
            step_bytes: word(pixel_bytes / self.plan.chunk),
            inputs: word(packed.inputs),
            outputs: word(packed.outputs),
            row: word(packed.row),
            lanes: word(out_lanes),
        };
        let shape_value = self.constant(b, bytes_of(shape.words()))?;
        let weights = self.constant(b, packed.bytes)?;
        let slice_bytes = packed.slice_bytes;
        let table = match &synapse.geometry {
            Geometry::Window(_) => None,
            Geometry::Listed(t) => {
                let first = self.constant(b, bytes_of(t.first.iter().copied()))?;
                let entries = self.constant(b, bytes_of(t.entries.iter().flat_map(|e| [e.0, e.1])))?;
                let (pixel, slice) = (number(b, pixel_bytes), number(b, slice_bytes));
                let arguments = Arguments::new::<ListTapsArguments>(b);
                arguments.set(
                    b,
                    &[
                        (offset_of!(ListTapsArguments, first), first),
                        (offset_of!(ListTapsArguments, entries), entries),
                        (offset_of!(ListTapsArguments, data), data),
                        (offset_of!(ListTapsArguments, pixel_bytes), pixel),
                        (offset_of!(ListTapsArguments, weights), weights),
                        (offset_of!(ListTapsArguments, slice_bytes), slice),
                    ],
                );
                Some(arguments)
            }
        };
        let (geometry, family) = (&synapse.geometry, planned.family);
        Ok(WiredSynapse { geometry, family, shape, shape_value, weights, slice_bytes, table, data, pixel_bytes })
    }

    /// Operand `index` of a layer: its first pixel and its channels.
    fn operand(&self, b: &mut FunctionBuilder, body: &Body, index: usize) -> (Value, usize) {
        let operand = body.node.operands[index];
        let offset = self.plan.values[operand].map_or(0, |v| v.offset);
        (plus(b, body.arena, offset), self.plan.nodes[operand].channels)
    }

    /// Writes one synapse's taps at one pixel to `taps`; returns their number.
    pub(super) fn list_taps(&mut self, b: &mut FunctionBuilder, s: &WiredSynapse, pixel: Pixel, taps: Value) -> Value {
        match (s.geometry, s.table) {
            (Geometry::Window(plane), _) if plane.is_pointwise() => {
                let data = at(b, s.data, pixel.pixel, s.pixel_bytes);
                b.ins().store(flags(), data, taps, 0);
                b.ins().store(flags(), s.weights, taps, 8);
                number(b, 1)
            }
            (Geometry::Window(plane), _) => window_taps(b, plane, s, pixel, taps),
            (Geometry::Listed(_), Some(arguments)) => {
                arguments.set(b, &[(offset_of!(ListTapsArguments, pixel), pixel.pixel), (offset_of!(ListTapsArguments, taps), taps)]);
                let list = self.kernel(b, "snnc_list_taps");
                let address = arguments.address(b);
                let call = b.ins().call(list, &[address]);
                b.inst_results(call)[0]
            }
            (Geometry::Listed(_), None) => unreachable!("tables are wired"),
        }
    }
}

/// Weights in the layout of a kernel.
struct Packed {
    /// Input channels per group.
    inputs: usize,
    /// Output channels per group.
    outputs: usize,
    /// Weights from one row to the next.
    row: usize,
    bytes: Vec<u8>,
    /// Bytes of a slice.
    slice_bytes: usize,
}

impl Packed {
    /// The weights of `synapse` for a kernel of `family`; `narrow` rows have 16 bits a weight.
    fn new(synapse: &Synapse, family: Family, narrow: bool, channels: usize, lanes: usize) -> Self {
        let padded = |v: &[i32], to: usize| -> Vec<i32> { v.iter().copied().chain(std::iter::repeat(0)).take(to).collect() };
        match &synapse.weights {
            Weights::Channel(data) => {
                let row = channels.next_multiple_of(16);
                let bytes = data.chunks_exact(channels).flat_map(|v| padded(v, row)).flat_map(i32::to_ne_bytes).collect();
                Packed { inputs: 1, outputs: 1, row, bytes, slice_bytes: 4 * row }
            }
            &Weights::Full { inputs, outputs, ref data, .. } if family == Family::ByteEvent => {
                debug_assert!(data.iter().all(|&w| i8::try_from(w).is_ok()));
                let row = |row: &[i32]| padded(row, lanes).into_iter().map(|w| w as i8).collect();
                let slice = |data: &[i32]| byte_event::pack(data.chunks_exact(outputs).map(row), lanes);
                let bytes = data.chunks_exact(channels * outputs).flat_map(slice).collect();
                Packed { inputs, outputs, row: lanes, bytes, slice_bytes: (channels + 1) * lanes }
            }
            &Weights::Full { groups, inputs, outputs, ref data } => {
                let row = if groups == 1 { lanes } else { outputs };
                debug_assert!(!narrow || data.iter().all(|&w| i16::try_from(w).is_ok()));
                let rows = data.chunks_exact(outputs).flat_map(|v| padded(v, row));
                let bytes = match narrow {
                    true => rows.flat_map(|w| (w as i16).to_ne_bytes()).collect(),
                    false => rows.flat_map(i32::to_ne_bytes).collect(),
                };
                Packed { inputs, outputs, row, bytes, slice_bytes: channels * row * if narrow { 2 } else { 4 } }
            }
        }
    }
}

/// Lists the taps of the window at a pixel; returns their number.
fn window_taps(b: &mut FunctionBuilder, plane: &SlidingWindow, s: &WiredSynapse, pixel: Pixel, taps: Value) -> Value {
    let Pixel { y, x, .. } = pixel;
    let inside = |b: &mut FunctionBuilder, axis: usize, o: Value, k: Value| {
        let from = times(b, o, plane.stride[axis]);
        let tap = times(b, k, plane.dilation[axis]);
        let sum = b.ins().iadd(from, tap);
        let i = b.ins().iadd_imm_s(sum, -(plane.pad[axis] as i64));
        let extent = number(b, plane.input[axis]);
        // Unsigned: an index before the first is a huge one.
        (i, b.ins().icmp(IntCC::UnsignedLessThan, i, extent))
    };
    let zero = number(b, 0);
    let (rows, columns) = (number(b, plane.kernel[0]), number(b, plane.kernel[1]));
    let count = count_to(b, rows, &[zero], |b, ky, carried| {
        let (iy, valid) = inside(b, 0, y, ky);
        let count = when(b, valid, carried[0], |b| {
            let line = times(b, iy, plane.input[1]);
            let slice = times(b, ky, plane.kernel[1]);
            count_to(b, columns, &[carried[0]], |b, kx, carried| {
                let (ix, valid) = inside(b, 1, x, kx);
                // Written always, counted when it is inside: no branch.
                let input = b.ins().iadd(line, ix);
                let data = at(b, s.data, input, s.pixel_bytes);
                let slice = b.ins().iadd(slice, kx);
                let weights = at(b, s.weights, slice, s.slice_bytes);
                let tap = at(b, taps, carried[0], 16);
                b.ins().store(flags(), data, tap, 0);
                b.ins().store(flags(), weights, tap, 8);
                let one = b.ins().uextend(POINTER, valid);
                vec![b.ins().iadd(carried[0], one)]
            })[0]
        });
        vec![count]
    });
    count[0]
}
