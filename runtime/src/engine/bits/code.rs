//! Machine code and its life: written to writable pages, executed from read-only ones, freed on
//! drop.

use super::layer::Lowering;
use crate::engine::plan::Plan;
use crate::engine::plan::layer::Execution;
use crate::kernels::Symbol;
use cranelift_codegen::settings::{self, Configurable};
use cranelift_jit::{JITBuilder, JITModule};
use cranelift_module::ModuleError;

/// A compiled layer: `layer(arena, steps, first)`.
type LayerFunction = unsafe extern "C" fn(arena: *mut u8, steps: usize, first: usize);

/// The functions of a plan's layers.
pub struct Code {
    /// `Some` until drop.
    module: Option<JITModule>,
    layers: Vec<Option<LayerFunction>>,
}

// SAFETY: after `compile` the module's code and constants are read-only; a call touches the
// caller's arena alone.
unsafe impl Send for Code {}
// SAFETY: as above.
unsafe impl Sync for Code {}

impl Code {
    /// Compiles every stepped layer of `plan` but those by table look-up.
    pub fn compile(plan: &Plan) -> Result<Code, String> {
        let mut flags = settings::builder();
        // Kernels are scheduled by hand; the optimiser makes vector code slower here, and takes
        // longer.
        let checked = if cfg!(any(test, debug_assertions)) { "true" } else { "false" };
        for (name, value) in [("opt_level", "none"), ("is_pic", "false"), ("use_colocated_libcalls", "false"), ("enable_verifier", checked)]
        {
            flags.set(name, value).map_err(|e| e.to_string())?;
        }
        let isa = cranelift_native::builder()?.finish(settings::Flags::new(flags)).map_err(|e| e.to_string())?;
        let mut builder = JITBuilder::with_isa(isa, cranelift_module::default_libcall_names());
        let symbols = plan.kernels.symbols();
        builder.symbols(symbols.iter().map(|s| (s.name, s.address)));
        let mut module = JITModule::new(builder);
        let lowered = Self::lower(&mut module, plan, &symbols);
        let mut code = Code { module: None, layers: Vec::new() };
        let functions = match lowered {
            Ok(functions) => functions,
            Err(e) => {
                code.module = Some(module);
                return Err(e.to_string());
            }
        };
        // SAFETY: `Lowering` gives every layer this signature, and the code lives as long as
        // `module`, that is, as `code`.
        let function = |id| unsafe { std::mem::transmute::<*const u8, LayerFunction>(module.get_finalized_function(id)) };
        code.layers = functions.into_iter().map(|id| id.map(function)).collect();
        code.module = Some(module);
        Ok(code)
    }

    fn lower(module: &mut JITModule, plan: &Plan, symbols: &[Symbol]) -> Result<Vec<Option<cranelift_module::FuncId>>, Box<ModuleError>> {
        let mut functions = vec![None; plan.nodes.len()];
        let mut lowering = Lowering::new(module, plan, symbols)?;
        for i in plan.stepped() {
            if plan.layers[i].as_ref().is_some_and(|l| !matches!(l.execution, Execution::Table(_))) {
                functions[i] = Some(lowering.layer(i)?);
            }
        }
        module.finalize_definitions()?;
        Ok(functions)
    }

    /// Runs layer `node` for `steps` steps, the first of a window if `first`.
    ///
    /// # Safety
    /// `arena` must be the plan's arena, aligned to [`crate::engine::plan::memory::ALIGNMENT`],
    /// used by nobody else, and `steps` at most the plan's chunk.
    pub unsafe fn run(&self, node: usize, arena: *mut u8, steps: usize, first: bool) {
        if let Some(layer) = self.layers[node] {
            // SAFETY: the caller's.
            unsafe { layer(arena, steps, usize::from(first)) }
        }
    }
}

impl Drop for Code {
    fn drop(&mut self) {
        if let Some(module) = self.module.take() {
            // SAFETY: functions are called through `self` only, and nobody has it any more.
            unsafe { module.free_memory() }
        }
    }
}
