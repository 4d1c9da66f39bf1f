//! What parts of a network pass on to each other in a window.

use crate::calibrate::spike_train::SpikeTrain;
use std::borrow::Cow;
use std::sync::Arc;

/// Real values over the window.
pub struct Values {
    /// Step-major; one step when it is the same in all.
    pub values: Vec<f32>,
    /// Number of elements in a step.
    pub len: usize,
}

impl Values {
    /// The same `values` in every step.
    pub fn steady(values: Vec<f32>) -> Self {
        Values { len: values.len(), values }
    }

    /// Whether all steps are the same.
    pub fn is_steady(&self) -> bool {
        self.values.len() == self.len
    }

    /// What is sent in step `t`.
    pub fn step(&self, t: usize) -> &[f32] {
        if self.is_steady() { &self.values } else { &self.values[t * self.len..(t + 1) * self.len] }
    }

    /// Adds `offset`, where there is one, in every step.
    pub fn shifted(mut self, offset: Option<&[f32]>) -> Self {
        let steps = self.values.chunks_exact_mut(self.len.max(1));
        steps.for_each(|step| step.iter_mut().zip(offset.into_iter().flatten()).for_each(|(v, o)| *v += o));
        self
    }
}

/// What a stage passes on.
pub enum Wave {
    /// Real values.
    Values(Values),
    /// Spikes, and their amplitudes: a bit each where neurons are binary, so that whole runs fit the memory.
    Spikes {
        /// The spikes.
        train: SpikeTrain,
        /// Per neuron.
        amplitude: Arc<[f32]>,
        /// Number of steps.
        steps: usize,
    },
}

impl Wave {
    /// Whether all steps are the same.
    pub fn is_steady(&self) -> bool {
        matches!(self, Wave::Values(v) if v.is_steady())
    }

    /// What is sent in step `t`.
    pub fn step(&self, t: usize) -> Cow<'_, [f32]> {
        match self {
            Wave::Values(values) => Cow::Borrowed(values.step(t)),
            Wave::Spikes { train, amplitude, .. } => {
                let mut values = vec![0.0; amplitude.len()];
                train.write_step(t, amplitude, &mut values);
                Cow::Owned(values)
            }
        }
    }

    /// The mean over the steps from `first` on.
    pub fn mean(&self, first: usize) -> Vec<f32> {
        let (len, steps) = match self {
            Wave::Values(v) if v.is_steady() => return v.values.clone(),
            Wave::Values(v) => (v.len, v.values.len() / v.len.max(1)),
            Wave::Spikes { amplitude, steps, .. } => (amplitude.len(), *steps),
        };
        let mut mean = vec![0f32; len];
        (first..steps).for_each(|t| mean.iter_mut().zip(self.step(t).iter()).for_each(|(m, v)| *m += v));
        mean.iter_mut().for_each(|m| *m /= (steps - first) as f32);
        mean
    }
}
