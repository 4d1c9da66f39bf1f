//! One layer as one function: `layer(arena, steps, first)`; `first` is 1 in the first chunk of a
//! window, whose neurons start from their initial potentials.
//!
//! The function walks the output pixels as the plan says: some at a time ([`super::pixels`]), or a
//! row at a time ([`super::rows`]). All offsets into the arena are constants, and so are weights
//! and shapes ([`super::wired`]).

use super::emit::{POINTER, at, bytes_of, number, plus, word};
use super::wired::{WiredProduct, WiredSynapse};
use crate::engine::plan::kernel::Family;
use crate::engine::plan::layer::{Base, Execution, LayerPlan};
use crate::engine::plan::node::{LayerWork, PerElement, PlanNode};
use crate::engine::plan::{Plan, Work};
use crate::kernels::Symbol;
use crate::kernels::abi::FireShape;
use crate::layout::{lanes, mask_bytes};
use cranelift_codegen::Context;
use cranelift_codegen::ir::{AbiParam, FuncRef, InstBuilder, Value};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use cranelift_module::{DataDescription, FuncId, Linkage, Module, ModuleError};
use snn_ir::neuron::Reset;
use std::collections::HashMap;

/// Lowers layers into a [`Module`].
pub struct Lowering<'a, M: Module> {
    module: &'a mut M,
    pub(super) plan: &'a Plan,
    kernels: HashMap<&'static str, FuncId>,
    context: Context,
    builder: FunctionBuilderContext,
    constants: usize,
}

/// What a layer's function is made from.
pub(super) struct Body<'a> {
    pub node: &'a PlanNode,
    pub index: usize,
    pub work: &'a LayerWork,
    pub layer: &'a LayerPlan,
    pub arena: Value,
    pub steps: Value,
    pub first: Value,
}

/// Addresses of neurons' parameters and state, of the first pixel or of one.
#[derive(Clone, Copy)]
pub(super) struct WiredNeurons {
    pub threshold: Value,
    /// Potentials at the start of the chunk.
    pub before: Value,
    pub membrane: Value,
    /// Bytes from pixel to pixel of thresholds.
    pub threshold_stride: usize,
    /// And of potentials at the start.
    before_stride: Value,
    /// The same in elements.
    pub before_elements: Value,
    /// The fire kernel's constants.
    pub shape: Value,
    pub reset: Reset,
}

impl WiredNeurons {
    /// Those of `pixel`, with rows of `lanes`.
    pub fn at(&self, b: &mut FunctionBuilder, pixel: Value, lanes: usize) -> WiredNeurons {
        let offset = b.ins().imul(pixel, self.before_stride);
        let before = b.ins().iadd(self.before, offset);
        let threshold = at(b, self.threshold, pixel, self.threshold_stride);
        WiredNeurons { threshold, before, membrane: at(b, self.membrane, pixel, 4 * lanes), ..*self }
    }
}

/// A layer with its constants in the code.
pub(super) struct WiredLayer<'a> {
    /// Synapses by matrix product.
    pub products: Vec<WiredProduct>,
    /// Those that are computed from taps.
    pub synapses: Vec<WiredSynapse<'a>>,
    /// The one that is added while the neurons integrate.
    pub residual: Option<WiredSynapse<'a>>,
    /// The current that is the same in every step, and bytes from pixel to pixel.
    pub base: (Value, usize),
    pub neurons: Option<WiredNeurons>,
    /// The value's first pixel.
    pub out: Value,
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

    /// A kernel, to be called.
    pub(super) fn kernel(&mut self, b: &mut FunctionBuilder, name: &str) -> FuncRef {
        self.module.declare_func_in_func(self.kernels[name], b.func)
    }

    /// Puts `bytes` among the module's constants and returns their address.
    pub(super) fn constant(&mut self, b: &mut FunctionBuilder, bytes: Vec<u8>) -> Result<Value, Box<ModuleError>> {
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
        let wired = self.wire(b, body)?;
        match &body.layer.execution {
            Execution::Pixels(pixels) => self.pixels(b, body, &wired, pixels),
            Execution::Rows(rows) => self.rows(b, body, &wired, rows)?,
            Execution::Table(_) => unreachable!("tables are looked up by a kernel alone"),
        }
        Ok(())
    }

    /// Puts a layer's constants into the code.
    fn wire<'b>(&mut self, b: &mut FunctionBuilder, body: &Body<'b>) -> Result<WiredLayer<'b>, Box<ModuleError>> {
        let (mut products, mut synapses, mut residual) = (Vec::new(), Vec::new(), None);
        for planned in &body.layer.synapses {
            match (&planned.matrix, planned.family) {
                (Some(matrix), _) => products.push(self.wire_product(b, body, planned.index, matrix)?),
                (None, Family::Residual) => residual = Some(self.wire_synapse(b, body, planned)?),
                (None, _) => synapses.push(self.wire_synapse(b, body, planned)?),
            }
        }
        let row_bytes = 4 * lanes(body.node.channels);
        let base = match body.layer.base {
            Base::Window(buffer) => (plus(b, body.arena, buffer.offset), row_bytes),
            Base::Channel | Base::Pixel => (self.constant(b, rows_of(&body.work.bias, body.node, 0))?, stride(&body.work.bias, row_bytes)),
        };
        let neurons = self.wire_neurons(b, body)?;
        let out = plus(b, body.arena, self.plan.values[body.index].map_or(0, |v| v.offset));
        Ok(WiredLayer { products, synapses, residual, base, neurons, out })
    }

    /// The neurons of a layer, if it has some.
    fn wire_neurons(&mut self, b: &mut FunctionBuilder, body: &Body) -> Result<Option<WiredNeurons>, Box<ModuleError>> {
        let (Some(n), Some(membrane)) = (&body.work.neuron, body.layer.membrane) else { return Ok(None) };
        let (node, row) = (body.node, lanes(body.node.channels));
        // Padding lanes never reach the largest threshold, so they never fire.
        let threshold = self.constant(b, rows_of(&n.threshold, node, i32::MAX))?;
        let initial = self.constant(b, rows_of(&n.initial, node, 0))?;
        let membrane = plus(b, body.arena, membrane.offset);
        let before = b.ins().select(body.first, initial, membrane);
        let (initial_stride, membrane_stride) = (number(b, stride(&n.initial, 4 * row)), number(b, 4 * row));
        let before_stride = b.ins().select(body.first, initial_stride, membrane_stride);
        let before_elements = b.ins().ushr_imm_u(before_stride, 2);
        let threshold_stride = stride(&n.threshold, 4 * row);
        let shape = FireShape {
            lanes: word(row),
            mask: word(mask_bytes(node.channels)),
            currents: word(self.plan.chunk * row),
            threshold: word(threshold_stride / 4),
            spikes: word(self.plan.pixel_bytes(node)),
        };
        let shape = self.constant(b, bytes_of(shape.words()))?;
        Ok(Some(WiredNeurons {
            threshold,
            before,
            membrane,
            threshold_stride,
            before_stride,
            before_elements,
            shape,
            reset: n.dynamics.reset,
        }))
    }
}

/// Bytes from pixel to pixel of a parameter with rows of so many bytes.
fn stride(parameter: &PerElement, row: usize) -> usize {
    if matches!(parameter, PerElement::Full(_)) { row } else { 0 }
}

/// Rows of `i32` for every channel or element, padded to lanes with `padding`.
fn rows_of(values: &PerElement, node: &PlanNode, padding: i32) -> Vec<u8> {
    let lanes = lanes(node.channels);
    let row =
        |v: &[i32]| -> Vec<u8> { v.iter().copied().chain(std::iter::repeat(padding)).take(lanes).flat_map(i32::to_ne_bytes).collect() };
    values.values().chunks_exact(node.channels).flat_map(row).collect()
}
