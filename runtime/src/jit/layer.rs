//! One layer as one function: `layer(arena, steps)`.
//!
//! The function walks the output pixels. For each it lists the taps of every synapse (their borders, strides and
//! dilations are constants in the code), lets the synapse's kernel add its currents for all steps of the chunk, and ends with the
//! neurons, whose membranes are loaded and stored once. All offsets into the arena are constants.

use super::emit::{POINTER, at, count_to, flags, number, plus, times, when};
use super::portable;
use crate::kernels::{Cpu, Symbol, SynapseShape};
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
use snn_ir::op::Reset;
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
        signature.params = vec![AbiParam::new(POINTER); 2];
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
        let (arena, steps) = (b.block_params(entry)[0], b.block_params(entry)[1]);
        let body = Body { node: &plan.nodes[node], index: node, work, layer, arena, steps };
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
        let (row, width) = (lanes(node.channels), columns(body));
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
                Some((threshold, per_pixel(&n.threshold), membrane, n.reset))
            }
            _ => None,
        };
        let out = plus(b, body.arena, plan.values[body.index].map_or(0, |v| v.offset));
        let out_bytes = plan.pixel_bytes(node);
        let currents = plus(b, body.arena, body.layer.currents.offset);
        let all_currents = times(b, body.steps, row);
        let clear = self.kernel(b, "snnc_clear");
        let (height, width_value) = (number(b, node.pixels / width), number(b, width));
        let mut failed = None;
        count_to(b, height, &[], |b, y, _| {
            count_to(b, width_value, &[], |b, x, _| {
                let above = times(b, y, width);
                let pixel = b.ins().iadd(above, x);
                b.ins().call(clear, &[currents, all_currents]);
                for synapse in &synapses {
                    if let Err(e) = self.synapse(b, body, synapse, (y, x, pixel), currents) {
                        failed = Some(e);
                    }
                }
                let base = at(b, base, pixel, base_stride);
                let out = at(b, out, pixel, out_bytes);
                let row_value = number(b, row);
                match neurons {
                    None => {
                        let emit = self.kernel(b, "snnc_emit");
                        b.ins().call(emit, &[currents, base, out, body.steps, row_value]);
                    }
                    Some((threshold, stride, membrane, reset)) => {
                        let threshold = at(b, threshold, pixel, stride);
                        let membranes = plus(b, body.arena, membrane.offset);
                        let membrane = at(b, membranes, pixel, 4 * row);
                        let mask = mask_bytes(node.channels);
                        if plan.cpu == Cpu::Portable {
                            let cell =
                                portable::Cell { currents, base, threshold, membrane, out, steps: body.steps, lanes: row, mask, reset };
                            portable::fire(b, &cell);
                        } else {
                            let fire = self.kernel(b, if reset == Reset::Zero { "snnc_fire_hard" } else { "snnc_fire" });
                            let mask = number(b, mask);
                            b.ins().call(fire, &[currents, base, threshold, membrane, out, body.steps, row_value, mask]);
                        }
                    }
                }
                vec![]
            });
            vec![]
        });
        failed.map_or(Ok(()), Err)
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
        let (inputs, outputs, row, bytes, slice_bytes) = pack(synapse, planned.family, self.plan.cpu, source.channels, out_lanes);
        let shape = SynapseShape {
            channels: source.channels as u32,
            step_bytes: step_bytes as u32,
            inputs: inputs as u32,
            outputs: outputs as u32,
            row: row as u32,
            lanes: out_lanes as u32,
        };
        let shape_bytes = [shape.channels, shape.step_bytes, shape.inputs, shape.outputs, shape.row, shape.lanes];
        let shape_value = self.constant(b, shape_bytes.iter().flat_map(|v| v.to_ne_bytes()).collect())?;
        let weights = self.constant(b, bytes)?;
        let table = match &synapse.geometry {
            Geometry::Window(_) => None,
            Geometry::Table(t) => {
                let first = t.first.iter().flat_map(|v| v.to_ne_bytes()).collect();
                let entries = t.entries.iter().flat_map(|e| [e.0.to_ne_bytes(), e.1.to_ne_bytes()].concat()).collect();
                Some((self.constant(b, first)?, self.constant(b, entries)?))
            }
        };
        let offset = self.plan.values[body.node.operands[planned.index]].map_or(0, |v| v.offset);
        let data = plus(b, body.arena, offset);
        Ok(Wired {
            geometry: &synapse.geometry,
            family: planned.family,
            shape,
            shape_value,
            weights,
            slice_bytes,
            table,
            data,
            pixel_bytes: self.plan.pixel_bytes(source),
        })
    }

    /// Adds one synapse's currents at one pixel.
    fn synapse(
        &mut self,
        b: &mut FunctionBuilder,
        body: &Body,
        s: &Wired,
        at_pixel: (Value, Value, Value),
        currents: Value,
    ) -> Result<(), Box<ModuleError>> {
        let (y, x, pixel) = at_pixel;
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
        let name = match s.family {
            Family::Event if self.plan.cpu == Cpu::Portable => {
                portable::event(b, &s.shape, taps, count, currents, body.steps);
                return Ok(());
            }
            Family::Event => "snnc_event",
            Family::WideEvent => "snnc_wide_event",
            Family::Masked => "snnc_masked",
            Family::Dense => "snnc_dense",
            Family::DenseChannel => "snnc_dense_channel",
        };
        let kernel = self.kernel(b, name);
        let list = plus(b, body.arena, body.layer.list.offset);
        b.ins().call(kernel, &[taps, count, currents, body.steps, s.shape_value, list]);
        Ok(())
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
}

/// A synapse with its constants in the code.
struct Wired<'a> {
    geometry: &'a Geometry,
    family: Family,
    shape: SynapseShape,
    shape_value: Value,
    weights: Value,
    slice_bytes: usize,
    table: Option<(Value, Value)>,
    data: Value,
    pixel_bytes: usize,
}

/// Columns of the grid of output pixels. Windows that move agree on it, since a layer has one shape; without them the grid
/// is one row.
fn columns(body: &Body) -> usize {
    let moving = body.layer.synapses.iter().find_map(|s| match &body.work.synapses[s.index].geometry {
        Geometry::Window(p) if !p.is_pointwise() => Some(p.output[1]),
        _ => None,
    });
    moving.unwrap_or(body.node.pixels)
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
        Weights::Full { groups, inputs, outputs, data } => {
            let row_lanes = if *groups == 1 { lanes } else { *outputs };
            let narrow = family == Family::Event && cpu != Cpu::Portable;
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
