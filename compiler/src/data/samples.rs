//! Sample inputs in memory, with their shapes.

use snn_ir::Graph;
use snn_ir::signal::Dims;
use std::sync::Arc;
use thiserror::Error;

/// Sample inputs of a network, already preprocessed: of each sample, a value for each of the network's inputs.
///
/// Values are row-major, of the shape that the network's input has for one sample. Copies are cheap: they share the values.
///
/// ```
/// let mut samples = snnc::Samples::new([[1, 2, 2]]);
/// samples.push(vec![vec![0.0, 0.5, 1.0, 0.5]])?;
/// assert_eq!(samples.sample(0), [[0.0, 0.5, 1.0, 0.5]]);
/// # Ok::<(), snnc::data::SamplesError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Samples {
    shapes: Vec<Vec<usize>>,
    samples: Vec<Arc<[Vec<f32>]>>,
    description: String,
}

/// Why values are no sample of a network.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum SamplesError {
    /// Not a value for each input.
    #[error("a sample has {got} values, the network has {expected} inputs")]
    Inputs {
        /// Inputs of the network.
        expected: usize,
        /// Values of the sample.
        got: usize,
    },
    /// A value has not as many elements as its shape says.
    #[error("a value of input {input} has {got} elements, its shape is [{shape}]")]
    Elements {
        /// Which input.
        input: usize,
        /// Its shape.
        shape: String,
        /// Elements of the value.
        got: usize,
    },
    /// Samples are of other shapes than the network's inputs.
    #[error("samples are of the shapes [{got}], the network's inputs are of [{expected}]")]
    Shapes {
        /// Of the network's inputs.
        expected: String,
        /// Of the samples.
        got: String,
    },
}

impl Samples {
    /// No samples yet, for inputs of these per-sample shapes.
    pub fn new<S: Into<Vec<usize>>>(shapes: impl IntoIterator<Item = S>) -> Self {
        Samples { shapes: shapes.into_iter().map(Into::into).collect(), ..Samples::default() }
    }

    /// No samples yet, for the inputs of `graph`.
    pub fn of(graph: &Graph) -> Self {
        Samples::new(graph.inputs().into_iter().map(|id| graph.ty(id).shape.clone()))
    }

    /// Adds `samples`, of each a value for each input.
    ///
    /// # Errors
    /// [`SamplesError`] for the first that does not have the shapes of the inputs.
    pub fn with(mut self, samples: impl IntoIterator<Item = Vec<Vec<f32>>>) -> Result<Self, SamplesError> {
        samples.into_iter().try_for_each(|sample| self.push(sample))?;
        Ok(self)
    }

    /// The same samples, with where they came from, for reports and for the record in the `.snn` file.
    #[must_use]
    pub fn described(self, description: impl Into<String>) -> Self {
        Samples { description: description.into(), ..self }
    }

    /// Adds one sample: a value for each input.
    ///
    /// # Errors
    /// [`SamplesError`] when it does not have the shapes of the inputs.
    pub fn push(&mut self, sample: Vec<Vec<f32>>) -> Result<(), SamplesError> {
        if sample.len() != self.shapes.len() {
            return Err(SamplesError::Inputs { expected: self.shapes.len(), got: sample.len() });
        }
        for (input, (value, shape)) in sample.iter().zip(&self.shapes).enumerate() {
            if value.len() != shape.iter().product::<usize>() {
                return Err(SamplesError::Elements { input, shape: Dims(shape).to_string(), got: value.len() });
            }
        }
        self.samples.push(sample.into());
        Ok(())
    }

    /// Whether they can be fed to the inputs of `graph`.
    ///
    /// # Errors
    /// [`SamplesError::Shapes`] when not.
    pub fn check(&self, graph: &Graph) -> Result<(), SamplesError> {
        let expected = Samples::of(graph).shapes;
        let lengths = |shapes: &[Vec<usize>]| shapes.iter().map(|s| s.iter().product()).collect::<Vec<usize>>();
        if lengths(&expected) == lengths(&self.shapes) {
            return Ok(());
        }
        let text = |shapes: &[Vec<usize>]| shapes.iter().map(|s| Dims(s).to_string()).collect::<Vec<_>>().join("], [");
        Err(SamplesError::Shapes { expected: text(&expected), got: text(&self.shapes) })
    }

    /// Shapes of the inputs, for one sample.
    pub fn shapes(&self) -> &[Vec<usize>] {
        &self.shapes
    }

    /// Where they came from; empty where nobody said.
    pub fn description(&self) -> &str {
        &self.description
    }

    /// Number of samples.
    pub fn len(&self) -> usize {
        self.samples.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.samples.is_empty()
    }

    /// Sample `index`, as engines take it: a slice for each input.
    ///
    /// # Panics
    /// When there is no such sample.
    pub fn sample(&self, index: usize) -> Vec<&[f32]> {
        self.samples[index].iter().map(Vec::as_slice).collect()
    }

    /// All samples, as engines take them.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Vec<&[f32]>> {
        (0..self.len()).map(|index| self.sample(index))
    }

    /// The values of input `input`, sample by sample.
    pub fn values(&self, input: usize) -> impl Iterator<Item = &[f32]> {
        self.samples.iter().map(move |sample| &sample[input][..])
    }

    /// The first `count` of them, or all.
    #[must_use]
    pub fn first(&self, count: usize) -> Samples {
        self.select(0..count.min(self.len()))
    }

    /// Those at `indices`, in that order.
    ///
    /// # Panics
    /// When there is no such sample.
    #[must_use]
    pub fn select(&self, indices: impl IntoIterator<Item = usize>) -> Samples {
        let samples = indices.into_iter().map(|index| self.samples[index].clone()).collect();
        Samples { shapes: self.shapes.clone(), samples, description: self.description.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_of_another_shape_is_refused_with_the_shape_that_was_expected() {
        let mut samples = Samples::new([vec![2, 3], vec![1]]);
        assert_eq!(samples.push(vec![vec![0.0; 6]]), Err(SamplesError::Inputs { expected: 2, got: 1 }));
        let error = samples.push(vec![vec![0.0; 5], vec![0.0]]).unwrap_err();
        assert_eq!(error.to_string(), "a value of input 0 has 5 elements, its shape is [2x3]");
        samples.push(vec![vec![0.0; 6], vec![1.0]]).unwrap();
        assert_eq!((samples.len(), samples.values(1).collect::<Vec<_>>()), (1, vec![&[1.0][..]]));
    }
}
