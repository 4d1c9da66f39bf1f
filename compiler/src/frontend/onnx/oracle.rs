//! The reference: the ONNX file itself, run by tract.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::path::Path;
use std::sync::{Arc, Once};
use thiserror::Error;
use tract_onnx::prelude::*;

/// Why the file could not be run as it is.
#[derive(Debug, Error)]
pub enum OracleError {
    /// tract does not load it.
    #[error("tract cannot load the model: {0}")]
    Load(String),
    /// tract does not run it.
    #[error("tract cannot run the model: {0}")]
    Run(String),
    /// The data is not what the model takes.
    #[error("input {index} has {got} elements, the model takes {expected}")]
    Input {
        /// Which input.
        index: usize,
        /// How many elements it takes.
        expected: usize,
        /// How many there are.
        got: usize,
    },
}

/// An ONNX file ready to run at batch 1; shared by threads.
pub struct Oracle {
    plan: Arc<TypedRunnableModel>,
    inputs: Vec<(Vec<usize>, DatumType)>,
}

thread_local! {
    /// Whether a panic on this thread is tract's, of which the caller reports.
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// tract panics on some files that it does not understand; that is an error like any other, and said once.
fn guarded<T>(what: impl FnOnce() -> TractResult<T>) -> Result<T, String> {
    static QUIET: Once = Once::new();
    QUIET.call_once(|| {
        let usual = take_hook();
        set_hook(Box::new(move |panic| {
            if !GUARDED.get() {
                usual(panic);
            }
        }));
    });
    let outer = GUARDED.replace(true);
    let result = catch_unwind(AssertUnwindSafe(what));
    GUARDED.set(outer);
    match result {
        Ok(result) => result.map_err(|e| format!("{e:#}")),
        Err(_) => Err("it panicked".into()),
    }
}

impl Oracle {
    /// Loads the file for inputs of the given ONNX shapes (batch 1 included). It answers with the named tensors.
    ///
    /// # Errors
    /// [`OracleError::Load`].
    pub fn load(path: &Path, inputs: &[Vec<usize>], tensors: &[&str]) -> Result<Self, OracleError> {
        guarded(|| Oracle::prepare(path, inputs, tensors, TypedModel::into_optimized)).map_err(OracleError::Load)
    }

    /// [`Oracle::load`] that is ready sooner, for few samples.
    ///
    /// # Errors
    /// [`OracleError::Load`].
    pub fn load_observing(path: &Path, inputs: &[Vec<usize>], tensors: &[&str]) -> Result<Self, OracleError> {
        // To simplify the graph before kernels are chosen takes longer than it saves in one run.
        let kernels_only = |mut model: TypedModel| model.optimize().map(|()| model);
        let soon = guarded(|| Oracle::prepare(path, inputs, tensors, kernels_only));
        soon.or_else(|_| guarded(|| Oracle::prepare(path, inputs, tensors, TypedModel::into_optimized))).map_err(OracleError::Load)
    }

    fn prepare(
        path: &Path,
        inputs: &[Vec<usize>],
        tensors: &[&str],
        optimize: impl Fn(TypedModel) -> TractResult<TypedModel>,
    ) -> TractResult<Self> {
        let framework = tract_onnx::onnx().with_ignore_value_info(true);
        let mut model = framework.model_for_path(path)?;
        model.select_outputs_by_name(tensors)?;
        let mut types = Vec::new();
        for (i, shape) in inputs.iter().enumerate() {
            let kind = model.input_fact(i)?.datum_type().unwrap_or(f32::datum_type());
            model.set_input_fact(i, InferenceFact::dt_shape(kind, shape))?;
            types.push((shape.clone(), kind));
        }
        let plan = optimize(model.into_typed()?)?.into_runnable()?;
        Ok(Oracle { plan, inputs: types })
    }

    /// Whether the elements of input `i` are integers or truth values.
    pub fn takes_integers(&self, i: usize) -> bool {
        self.inputs.get(i).is_some_and(|(_, kind)| !kind.is_float())
    }

    /// The outputs for one sample, each flattened in row-major order.
    ///
    /// # Errors
    /// When the sample does not fit, or tract fails.
    pub fn run(&self, inputs: &[&[f32]]) -> Result<Vec<Vec<f32>>, OracleError> {
        let mut values: TVec<TValue> = tvec!();
        for (index, (shape, kind)) in self.inputs.iter().enumerate() {
            let expected = shape.iter().product();
            let data = inputs.get(index).copied().unwrap_or_default();
            if data.len() != expected {
                return Err(OracleError::Input { index, expected, got: data.len() });
            }
            let tensor = Tensor::from_shape(shape, data).and_then(|t| Ok(t.cast_to_dt(*kind)?.into_owned()));
            values.push(tensor.map_err(|e| OracleError::Run(format!("{e:#}")))?.into_tvalue());
        }
        let run = || -> TractResult<Vec<Vec<f32>>> {
            let outputs = self.plan.run(values)?;
            outputs.iter().map(|o| Ok(o.cast_to::<f32>()?.to_plain_array_view::<f32>()?.iter().copied().collect())).collect()
        };
        guarded(run).map_err(OracleError::Run)
    }
}
