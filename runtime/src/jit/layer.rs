//! One layer as one function: `layer(arena, steps, first)`; `first` is 1 in the first chunk of a window, whose neurons start from
//! their initial potentials.
//!
//! The function walks the output pixels. For each it lists the taps of every synapse (their borders, strides and
//! dilations are constants in the code), lets the synapse's kernel add its currents for all steps of the chunk, and ends with the
//! neurons, whose membranes are loaded and stored once. All offsets into the arena are constants.

use super::emit::{POINTER, at, count_to, flags, number, plus, times, when};
use super::portable;
use crate::kernels::byte_event::{self, RowShape};
use crate::kernels::{Cpu, FireShape, Symbol, SynapseShape};
use crate::plan::geometry::{Geometry, Plane};
use crate::plan::kernel::{Base, Family, LayerPlan, SynapsePlan};
use crate::plan::node::{LayerWork, PerElement, PlanNode};
use crate::plan::synapse::{Synapse, Weights};
use crate::plan::{Plan, Work, lanes, mask_bytes};
use cranelift_codegen::Context;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{AbiParam, FuncRef, InstBuilder, Value};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use cranelift_module::{DataDescription, FuncId, Linkage, Module, ModuleError};
use snn_ir::neuron::Reset;
use std::collections::HashMap;

/// Lowers layers into a [`Module`].
pub struct Lowering<'a, M: Module> {
    module: &'a mut M,
    plan: &'a Plan,
    kernels: HashMap<&'static str, FuncId>,
    context: Context,
    builder: FunctionBuilderContext,
    constants: usize,
}

impl<'a, M: Module> Lowering<'a, M> {
    /// Declares the kernels in `module`.
    pub fn new(module: &'a mut M, plan: &'a Plan, symbols: &[Symbol]) -> Result<Self, Box<ModuleError>> {
        let mut kernels = HashMap::new();
        for symbol in symbols {
            let mut signature = module.make_signature();
            signature.params = vec![AbiParam::new(POINTER); symbol.parameters];
            signature.returns = vec![AbiParam::new(POINTER); usize::from(symbol.returns)];
            kernels.insert(symbol.name, module.declare_function(symbol.name, Linkage::Import, &signature)?);
        }
        let context = module.make_context();
        Ok(Lowering { module, plan, kernels, context, builder: FunctionBuilderContext::new(), constants: 0 })
    }

    /// Defines the function of layer `node`.
    pub fn layer(&mut self, node: usize) -> Result<FuncId, Box<ModuleError>> {
        let plan = self.plan;
        let (Work::Layer(work), Some(layer)) = (&plan.nodes[node].work, &plan.layers[node]) else {
            unreachable!("only stepped layers are lowered");
        };
        let mut signature = self.module.make_signature();
        signature.params = vec![AbiParam::new(POINTER); 3];
        let id = self.module.declare_function(&format!("layer{node}"), Linkage::Local, &signature)?;
        let mut context = std::mem::replace(&mut self.context, Context::new());
        let mut frontend = std::mem::take(&mut self.builder);
        self.module.clear_context(&mut context);
        context.func.signature = signature;
        let mut b = FunctionBuilder::new(&mut context.func, &mut frontend);
        let entry = b.create_block();
        b.append_block_params_for_function_params(entry);
        b.switch_to_block(entry);
        b.seal_block(entry);
        let parameters = b.block_params(entry).to_vec();
        let (arena, steps, first) = (parameters[0], parameters[1], parameters[2]);
        let body = Body { node: &plan.nodes[node], index: node, work, layer, arena, steps, first };
        let built = self.body(&mut b, &body);
        b.ins().return_(&[]);
        b.finalize(self.module.target_config());
        let defined = built.and_then(|()| Ok(self.module.define_function(id, &mut context)?));
        self.context = context;
        self.builder = frontend;
        defined.map(|()| id)
    }

    fn kernel(&mut self, b: &mut FunctionBuilder, name: &str) -> FuncRef {
        self.module.declare_func_in_func(self.kernels[name], b.func)
    }

    /// Puts `bytes` among the module's constants and returns their address.
    fn constant(&mut self, b: &mut FunctionBuilder, bytes: Vec<u8>) -> Result<Value, Box<ModuleError>> {
        let id = self.module.declare_data(&format!("constant{}", self.constants), Linkage::Local, false, false)?;
        self.constants += 1;
        let mut data = DataDescription::new();
        data.set_align(64);
        data.define(bytes.into_boxed_slice());
        self.module.define_data(id, &data)?;
        let global = self.module.declare_data_in_func(id, b.func);
        Ok(b.ins().symbol_value(POINTER, global))
    }

    fn body(&mut self, b: &mut FunctionBuilder, body: &Body) -> Result<(), Box<ModuleError>> {
        let plan = self.plan;
        let node = body.node;
        let (row, width) = (lanes(node.channels), body.layer.columns);
        let mut synapses = Vec::new();
        for synapse in &body.layer.synapses {
            synapses.push(self.synapse_constants(b, body, synapse)?);
        }
        let per_pixel = |p: &PerElement| if matches!(p, PerElement::Full(_)) { 4 * row } else { 0 };
        let (base, base_stride) = match body.layer.base {
            Base::Window(buffer) => (plus(b, body.arena, buffer.offset), 4 * row),
            Base::Channel | Base::Pixel => (self.constant(b, rows(&body.work.bias, node, 0))?, per_pixel(&body.work.bias)),
        };
        let neurons = match (&body.work.neuron, body.layer.membrane) {
            (Some(n), Some(membrane)) => {
                // Padding lanes never reach the largest threshold, so they never fire.
                let threshold = self.constant(b, rows(&n.threshold, node, i32::MAX))?;
                let initial = self.constant(b, rows(&n.initial, node, 0))?;
                let membranes = plus(b, body.arena, membrane.offset);
                let before = b.ins().select(body.first, initial, membranes);
                let (initial_stride, stride) = (number(b, per_pixel(&n.initial)), number(b, 4 * row));
                let before_stride = b.ins().select(body.first, initial_stride, stride);
                let threshold_stride = per_pixel(&n.threshold);
                let shape = FireShape {
                    lanes: word(row),
                    mask: word(mask_bytes(node.channels)),
                    currents: word(plan.chunk * row),
                    threshold: word(threshold_stride / 4),
                    spikes: word(plan.pixel_bytes(node)),
                };
                let words = [shape.lanes, shape.mask, shape.currents, shape.threshold, shape.spikes];
                let shape = self.constant(b, words.iter().flat_map(|v| v.to_ne_bytes()).collect())?;
                Some(Neurons { threshold, before, membrane: membranes, threshold_stride, before_stride, shape, reset: n.dynamics.reset })
            }
            _ => None,
        };
        let out = plus(b, body.arena, plan.values[body.index].map_or(0, |v| v.offset));
        let out_bytes = plan.pixel_bytes(node);
        let currents = plus(b, body.arena, body.layer.currents.offset);
        let cell = plan.chunk * row;
        let block = body.layer.block;
        let products = synapses.iter().filter(|s| s.matrix.is_some()).count();
        let by_pixel = synapses.iter().position(|s| s.family == Family::Residual).unwrap_or(synapses.len());
        if let (Some(n), [only @ Wired { family: Family::ByteEvent, geometry: Geometry::Window(plane), .. }]) =
            (&neurons, &synapses[..by_pixel])
        {
            return self.event_rows(b, body, (only, plane), n, ((base, base_stride), out), synapses.get(by_pixel));
        }
        self.begin_products(b, body, &synapses[..products]);
        let start = self.kernel(b, "snnc_start");
        let (height, blocks) = (number(b, node.pixels / width), number(b, width.div_ceil(block)));
        count_to(b, height, &[], |b, y, _| {
            count_to(b, blocks, &[], |b, block_index, _| {
                let first = times(b, block_index, block);
                let size = number(b, block);
                let size = if width.is_multiple_of(block) {
                    size
                } else {
                    let end = number(b, width);
                    let left = b.ins().isub(end, first);
                    b.ins().umin(size, left)
                };
                let above = times(b, y, width);
                let pixel = b.ins().iadd(above, first);
                let base = at(b, base, pixel, base_stride);
                let out = at(b, out, pixel, out_bytes);
                // The value of a layer without neurons has the layout of its currents.
                let currents = if neurons.is_some() { currents } else { out };
                for s in &synapses[..products] {
                    self.product(b, body, s, (y, first), currents, size, base);
                }
                if products < by_pixel || products == 0 {
                    count_to(b, size, &[], |b, i, _| {
                        let x = b.ins().iadd(first, i);
                        let pixel = b.ins().iadd(pixel, i);
                        let currents = at(b, currents, i, 4 * cell);
                        if products == 0 {
                            let row = number(b, row);
                            b.ins().call(start, &[currents, base, body.steps, row]);
                        }
                        for synapse in &synapses[products..by_pixel] {
                            self.synapse(b, body, synapse, (y, x, pixel), currents);
                        }
                        vec![]
                    });
                }
                if let Some(n) = neurons {
                    let n = n.at(b, pixel, row);
                    self.fire(b, body, &n, (currents, out), (pixel, size), synapses.get(by_pixel));
                }
                vec![]
            });
            vec![]
        });
        if products > 0 && plan.cpu == Cpu::Amx {
            let end = self.kernel(b, "snnc_end");
            b.ins().call(end, &[]);
        }
        Ok(())
    }

    /// From the currents of `size` pixels from `pixel` on to their spikes.
    fn fire(
        &mut self,
        b: &mut FunctionBuilder,
        body: &Body,
        n: &Neurons,
        (currents, out): (Value, Value),
        (pixel, size): (Value, Value),
        residual: Option<&Wired>,
    ) {
        if self.plan.cpu == Cpu::Portable {
            let (lanes, mask) = (lanes(body.node.channels), mask_bytes(body.node.channels));
            let Neurons { threshold, before, membrane, reset, .. } = *n;
            portable::fire(b, &portable::Cell { currents, threshold, before, membrane, out, steps: body.steps, lanes, mask, reset });
            return;
        }
        let (residual, weights) = wired_residual(b, residual, pixel);
        let kernel = self.kernel(b, if n.reset == Reset::Zero { "snnc_fire_hard" } else { "snnc_fire" });
        let stride = b.ins().ushr_imm_u(n.before_stride, 2);
        let arguments = [currents, n.threshold, n.before, stride, n.membrane, out, body.steps, n.shape, size, residual, weights];
        b.ins().call(kernel, &arguments);
    }

    /// Expands the operands of matrix products.
    fn begin_products(&mut self, b: &mut FunctionBuilder, body: &Body, products: &[Wired]) {
        for s in products {
            if let Some((plane, plane_shape, _)) = s.matrix {
                let expand = self.kernel(b, "snnc_expand");
                b.ins().call(expand, &[s.data, plane, body.steps, plane_shape]);
            }
        }
        if !products.is_empty() && self.plan.cpu == Cpu::Amx {
            let begin = self.kernel(b, "snnc_begin");
            let quads = body.layer.synapses.iter().find_map(|s| s.matrix.as_ref()).map_or(0, |(m, _)| m.shape.quads);
            let quads = number(b, quads as usize);
            b.ins().call(begin, &[body.steps, quads]);
        }
    }

    /// The matrix product of `size` pixels from row `y`, column `x`.
    fn product(
        &mut self,
        b: &mut FunctionBuilder,
        body: &Body,
        s: &Wired,
        (y, x): (Value, Value),
        currents: Value,
        size: Value,
        base: Value,
    ) {
        let Some((plane, _, stride)) = s.matrix else { return };
        let line = at(b, plane, y, stride[0]);
        let window = at(b, line, x, stride[1]);
        let product = self.kernel(b, "snnc_product");
        b.ins().call(product, &[window, s.weights, currents, body.steps, s.shape_value, size, base]);
    }

    /// Constants of one synapse: weights in the kernel's layout, shape, and table of taps.
    fn synapse_constants<'s>(
        &mut self,
        b: &mut FunctionBuilder,
        body: &Body<'s>,
        planned: &'s SynapsePlan,
    ) -> Result<Wired<'s>, Box<ModuleError>> {
        let synapse = &body.work.synapses[planned.index];
        let source = &self.plan.nodes[body.node.operands[planned.index]];
        let out_lanes = lanes(body.node.channels);
        let step_bytes = self.plan.pixel_bytes(source) / self.plan.chunk;
        let offset = self.plan.values[body.node.operands[planned.index]].map_or(0, |v| v.offset);
        let data = plus(b, body.arena, offset);
        let pixel_bytes = self.plan.pixel_bytes(source);
        let common = |shape, shape_value, weights| Wired {
            geometry: &synapse.geometry,
            family: planned.family,
            shape,
            shape_value,
            weights,
            slice_bytes: 0,
            table: None,
            data,
            pixel_bytes,
            matrix: None,
        };
        if let Some((m, plane)) = &planned.matrix {
            let s = &m.shape;
            let words = [s.step_pitch, s.pixel_pitch, s.lanes, s.cell, s.slabs, s.add, s.base, s.quads];
            let shape_value = self.constant(b, words.iter().chain(&m.offsets).flat_map(|v| v.to_ne_bytes()).collect())?;
            let p = &m.plane;
            let words = [p.input[0], p.input[1], p.size[0], p.size[1], p.pad[0], p.pad[1], p.mask, p.chunk, p.pixel];
            let plane_shape = self.constant(b, words.iter().flat_map(|v| v.to_ne_bytes()).collect())?;
            let weights = self.constant(b, m.pack(&synapse.weights, source.channels))?;
            let plane = plus(b, body.arena, plane.offset);
            return Ok(Wired { matrix: Some((plane, plane_shape, m.stride)), ..common(None, shape_value, weights) });
        }
        let (inputs, outputs, row, bytes, slice_bytes) = pack(synapse, planned.family, self.plan.cpu, source.channels, out_lanes);
        let shape = SynapseShape {
            channels: word(source.channels),
            step_bytes: word(step_bytes),
            inputs: word(inputs),
            outputs: word(outputs),
            row: word(row),
            lanes: word(out_lanes),
        };
        let words = [shape.channels, shape.step_bytes, shape.inputs, shape.outputs, shape.row, shape.lanes];
        let shape_value = self.constant(b, words.iter().flat_map(|v| v.to_ne_bytes()).collect())?;
        let weights = self.constant(b, bytes)?;
        let table = match &synapse.geometry {
            Geometry::Window(_) => None,
            Geometry::Table(t) => {
                let first = t.first.iter().flat_map(|v| v.to_ne_bytes()).collect();
                let entries = t.entries.iter().flat_map(|e| [e.0.to_ne_bytes(), e.1.to_ne_bytes()].concat()).collect();
                Some((self.constant(b, first)?, self.constant(b, entries)?))
            }
        };
        Ok(Wired { slice_bytes, table, ..common(Some(shape), shape_value, weights) })
    }

    /// Lists one synapse's taps at one pixel; returns where, and their number.
    fn taps(&mut self, b: &mut FunctionBuilder, body: &Body, s: &Wired, (y, x, pixel): (Value, Value, Value)) -> (Value, Value) {
        let taps = plus(b, body.arena, body.layer.taps.offset);
        let count = match (s.geometry, s.table) {
            (Geometry::Window(plane), _) if plane.is_pointwise() => {
                let data = at(b, s.data, pixel, s.pixel_bytes);
                b.ins().store(flags(), data, taps, 0);
                b.ins().store(flags(), s.weights, taps, 8);
                number(b, 1)
            }
            (Geometry::Window(plane), _) => window_taps(b, plane, s, y, x, taps),
            (Geometry::Table(_), Some((first, entries))) => {
                let (pixel_bytes, slice_bytes) = (number(b, s.pixel_bytes), number(b, s.slice_bytes));
                let list = self.kernel(b, "snnc_table_taps");
                let call = b.ins().call(list, &[first, entries, pixel, s.data, pixel_bytes, s.weights, slice_bytes, taps]);
                b.inst_results(call)[0]
            }
            (Geometry::Table(_), None) => unreachable!("tables are wired"),
        };
        (taps, count)
    }

    /// A layer whose only moving synapse's weights are added up right into the neurons, row by row.
    fn event_rows(
        &mut self,
        b: &mut FunctionBuilder,
        body: &Body,
        (s, plane): (&Wired, &Plane),
        n: &Neurons,
        ((base, base_stride), out): ((Value, usize), Value),
        residual: Option<&Wired>,
    ) -> Result<(), Box<ModuleError>> {
        let Some(synapse) = s.shape else { unreachable!("events have a shape") };
        let two = |v: [usize; 2]| v.map(word);
        let shape = RowShape {
            synapse,
            input: two(plane.input),
            kernel: two(plane.kernel),
            stride: two(plane.stride),
            pad: two(plane.pad),
            columns: word(plane.output[1]),
            pixel_bytes: word(s.pixel_bytes),
            base: word(base_stride / 4),
            threshold: word(n.threshold_stride / 4),
            spikes: word(self.plan.pixel_bytes(body.node)),
            mask: word(mask_bytes(body.node.channels)),
        };
        let shape = self.constant(b, shape.words().into_iter().flat_map(u32::to_ne_bytes).collect())?;
        let (taps, list) = (plus(b, body.arena, body.layer.taps.offset), plus(b, body.arena, body.layer.list.offset));
        let first = number(b, 0);
        let (residual, weights) = wired_residual(b, residual, first);
        let stride = b.ins().ushr_imm_u(n.before_stride, 2);
        let kernel = self.kernel(b, if n.reset == Reset::Zero { "snnc_byte_event_row_hard" } else { "snnc_byte_event_row" });
        let height = number(b, plane.output[0]);
        count_to(b, height, &[], |b, y, _| {
            let (data, steps) = (s.data, body.steps);
            let (threshold, before, membrane) = (n.threshold, n.before, n.membrane);
            let arguments =
                [data, s.weights, steps, shape, y, taps, list, base, threshold, before, stride, membrane, out, residual, weights];
            b.ins().call(kernel, &arguments);
            vec![]
        });
        Ok(())
    }

    /// Adds one synapse's currents at one pixel.
    fn synapse(&mut self, b: &mut FunctionBuilder, body: &Body, s: &Wired, at_pixel: (Value, Value, Value), currents: Value) {
        let (taps, count) = self.taps(b, body, s, at_pixel);
        let name = match (s.family, s.shape) {
            (Family::Event, Some(shape)) if self.plan.cpu == Cpu::Portable => {
                portable::event(b, &shape, taps, count, currents, body.steps);
                return;
            }
            (Family::Matrix | Family::Residual | Family::Table, _) => {
                unreachable!("products, residuals and tables are not computed pixel by pixel")
            }
            (Family::Event, _) => "snnc_event",
            (Family::ByteEvent, _) => "snnc_byte_event",
            (Family::WideEvent, _) => "snnc_wide_event",
            (Family::Masked, _) => "snnc_masked",
            (Family::Dense, _) => "snnc_dense",
            (Family::DenseChannel, _) => "snnc_dense_channel",
        };
        let kernel = self.kernel(b, name);
        let list = plus(b, body.arena, body.layer.list.offset);
        b.ins().call(kernel, &[taps, count, currents, body.steps, s.shape_value, list]);
    }
}

/// What a layer's function is made from.
struct Body<'a> {
    node: &'a PlanNode,
    index: usize,
    work: &'a LayerWork,
    layer: &'a LayerPlan,
    arena: Value,
    steps: Value,
    first: Value,
}

/// Addresses of neurons' parameters and state, of the first pixel or of one.
#[derive(Clone, Copy)]
struct Neurons {
    threshold: Value,
    /// Potentials at the start of the chunk.
    before: Value,
    membrane: Value,
    /// Bytes from pixel to pixel of thresholds.
    threshold_stride: usize,
    /// And of potentials at the start.
    before_stride: Value,
    /// The fire kernel's constants.
    shape: Value,
    reset: Reset,
}

impl Neurons {
    /// Those of `pixel`, with rows of `lanes`.
    fn at(&self, b: &mut FunctionBuilder, pixel: Value, lanes: usize) -> Neurons {
        let offset = b.ins().imul(pixel, self.before_stride);
        let before = b.ins().iadd(self.before, offset);
        let threshold = at(b, self.threshold, pixel, self.threshold_stride);
        Neurons { threshold, before, membrane: at(b, self.membrane, pixel, 4 * lanes), ..*self }
    }
}

/// Masks and weights of the residual at `pixel`, null if there is none.
fn wired_residual(b: &mut FunctionBuilder, residual: Option<&Wired>, pixel: Value) -> (Value, Value) {
    match residual {
        Some(s) => (at(b, s.data, pixel, s.pixel_bytes), s.weights),
        None => (number(b, 0), number(b, 0)),
    }
}

/// A synapse with its constants in the code.
struct Wired<'a> {
    geometry: &'a Geometry,
    family: Family,
    /// Of kernels that work pixel by pixel.
    shape: Option<SynapseShape>,
    shape_value: Value,
    weights: Value,
    slice_bytes: usize,
    table: Option<(Value, Value)>,
    data: Value,
    pixel_bytes: usize,
    /// Plane, its shape, and bytes from window to window, of matrix products.
    matrix: Option<(Value, Value, [usize; 2])>,
}

/// A number among a kernel's constants: a count of what lies in the arena, whose bytes the plan keeps below 2³², or an extent, stride
/// or padding that `byte_event::fits` let through.
fn word(n: usize) -> u32 {
    u32::try_from(n).expect("the plan has no number beyond 32 bits")
}

/// Rows of `i32` for every channel or element, padded to lanes with `padding`.
fn rows(values: &PerElement, node: &PlanNode, padding: i32) -> Vec<u8> {
    let lanes = lanes(node.channels);
    let row =
        |v: &[i32]| -> Vec<u8> { v.iter().copied().chain(std::iter::repeat(padding)).take(lanes).flat_map(i32::to_ne_bytes).collect() };
    values.values().chunks_exact(node.channels).flat_map(row).collect()
}

/// Weights in the layout of a kernel: `(inputs, outputs, row, bytes, bytes of a slice)`.
fn pack(synapse: &Synapse, family: Family, cpu: Cpu, channels: usize, lanes: usize) -> (usize, usize, usize, Vec<u8>, usize) {
    match &synapse.weights {
        Weights::Channel(data) => {
            let padded = channels.next_multiple_of(16);
            let row =
                |v: &[i32]| -> Vec<u8> { v.iter().copied().chain(std::iter::repeat(0)).take(padded).flat_map(i32::to_ne_bytes).collect() };
            (1, 1, padded, data.chunks_exact(channels).flat_map(row).collect(), 4 * padded)
        }
        Weights::Full { inputs, outputs, data, .. } if family == Family::ByteEvent => {
            debug_assert!(data.iter().all(|&w| i8::try_from(w).is_ok()));
            let row = |row: &[i32]| row.iter().map(|&w| w as i8).chain(std::iter::repeat(0)).take(lanes).collect();
            let slice = |data: &[i32]| byte_event::pack(data.chunks_exact(*outputs).map(row), lanes);
            let bytes = data.chunks_exact(channels * outputs).flat_map(slice).collect();
            (*inputs, *outputs, lanes, bytes, (channels + 1) * lanes)
        }
        Weights::Full { groups, inputs, outputs, data } => {
            let row_lanes = if *groups == 1 { lanes } else { *outputs };
            let narrow = family == Family::Event && cpu != Cpu::Portable;
            debug_assert!(!narrow || data.iter().all(|&w| i16::try_from(w).is_ok()));
            let mut bytes = Vec::with_capacity(data.len() / outputs * row_lanes * 4);
            for row in data.chunks_exact(*outputs) {
                let padded = row.iter().copied().chain(std::iter::repeat(0)).take(row_lanes);
                if narrow {
                    bytes.extend(padded.flat_map(|w| (w as i16).to_ne_bytes()));
                } else {
                    bytes.extend(padded.flat_map(i32::to_ne_bytes));
                }
            }
            let slice_bytes = channels * row_lanes * if narrow { 2 } else { 4 };
            (*inputs, *outputs, row_lanes, bytes, slice_bytes)
        }
    }
}

/// Lists the taps of the window at row `y`, column `x`; returns their number.
fn window_taps(b: &mut FunctionBuilder, plane: &Plane, s: &Wired, y: Value, x: Value, taps: Value) -> Value {
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
