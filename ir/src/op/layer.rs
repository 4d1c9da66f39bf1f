//! Fused layers: synapses, a bias, neurons.

use super::Op;
use crate::attr::{AttrError, Fields};
use crate::infer::{Inferred, TypeError, broadcasts, infer, require, shape_error};
use crate::interval::{Channels, Sources};
use crate::neuron::Neuron;
use crate::signal::{Signal, ValueType};
use crate::tensor::Tensor;

/// Parameters of [`Op::Layer`].
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Layer {
    /// One weighted linear operation per operand, in operand order, none with a bias of its own;
    /// see [`Op::is_synapse`].
    pub synapses: Vec<Op>,
    /// Current added in every step; broadcasts over the layer's shape.
    pub bias: Option<Tensor>,
    /// The neurons; without them the layer's value is its current.
    pub neuron: Option<Neuron>,
}

impl Layer {
    pub(super) fn fields(&mut self, f: &mut Fields) -> Result<(), AttrError> {
        f.calls("synapses", &mut self.synapses)?;
        f.optional_tensor("bias", &mut self.bias)?;
        f.optional_call("neuron", "if", &mut self.neuron, || Neuron::new(Tensor::default()), Neuron::fields)
    }

    pub(super) fn infer(&self, operands: &[&ValueType]) -> Inferred {
        require(operands, &[Signal::Current, Signal::Spikes], "spikes or currents")?;
        if self.synapses.len() != operands.len() {
            return Err(TypeError::OperandCount { expected: "one operand per synapse", got: operands.len() });
        }
        let mut shape: Option<Vec<usize>> = None;
        for (i, (synapse, operand)) in self.synapses.iter().zip(operands).enumerate() {
            if !synapse.is_synapse() {
                return Err(TypeError::Parameter(format!("synapse {i} is a {}, which is no synapse", synapse.name())));
            }
            let ty = infer(synapse, &[operand])?;
            match &shape {
                Some(s) if *s != ty.shape => return shape_error(format!("synapse {i} gives {:?}, the first one {s:?}", ty.shape)),
                _ => shape = Some(ty.shape),
            }
        }
        let shape = shape.unwrap_or_default();
        self.bias.iter().try_for_each(|t| broadcasts("bias", t, &shape))?;
        self.neuron.iter().try_for_each(|n| n.fits(&shape))?;
        Ok((if self.neuron.is_some() { Signal::Spikes } else { Signal::Current }, shape))
    }

    pub(super) fn current(&self, sources: &Sources<'_>) -> Channels {
        let bias = Channels::of_bias(self.bias.as_ref(), sources.shape);
        let synapse = |(s, o): (&Op, usize)| s.current(&sources.alone(o));
        self.synapses.iter().zip(0..sources.operands.len()).map(synapse).fold(bias, |total, s| total.plus(&s))
    }
}
