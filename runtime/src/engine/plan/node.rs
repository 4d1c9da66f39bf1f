//! The nodes of a plan: a graph's nodes in execution order, with integer parameters, and when each
//! is computed.

use super::domain::Domain;
use super::geometry::Geometry;
use super::rate::Rate;
use super::synapse::{Reason, Synapse};
use crate::layout::{ElementMap, Ends, Extent};
use crate::prefix::Prefix;
use snn_ir::index_map::index_map;
use snn_ir::neuron::{Dynamics, Neuron};
use snn_ir::op::{Layer, Requantize};
use snn_ir::{Graph, NodeId, Op, Signal, Tensor, ValueType, Window};

/// When a node's value is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// By [`crate::prefix`]: once a window, in `f32`.
    Prefix,
    /// The same integers in every step: once a window.
    Constant,
    /// In every step.
    Stepped,
    /// Only its sum over time is ever used: it is linear, or all neurons wait for the window. Once
    /// an advance, on sums.
    Summed,
    /// Never: a move of elements that became part of the next one.
    Unused,
}

/// A node of the graph, ready for an engine. Nodes refer to each other by index.
#[derive(Debug)]
pub struct PlanNode {
    /// The graph's node.
    pub id: NodeId,
    /// Its name.
    pub name: String,
    /// Signal and shape of its value.
    pub ty: ValueType,
    /// Extent of the first axis.
    pub channels: usize,
    /// Extent of all other axes together.
    pub pixels: usize,
    /// When it is computed.
    pub mode: Mode,
    /// Nodes it reads.
    pub operands: Vec<usize>,
    /// What it computes.
    pub work: Work,
    /// How often its elements spike, for spikes.
    pub rate: Rate,
}

/// What a node computes.
#[derive(Debug)]
pub enum Work {
    /// Float operations before the encoder.
    Prefix,
    /// An integer current that [`crate::prefix`] computes: which of its results, if anybody reads
    /// it.
    Given(Option<usize>),
    /// A sum of synapses, with or without neurons.
    Layer(LayerWork),
    /// Moved elements.
    Structural(ElementMap),
    /// Difference of the running maximum over a window.
    MaxPool(Geometry),
    /// Difference of the running maximum over operands.
    Maximum,
    /// Coarser integers.
    Requantize(Requantize),
    /// An output.
    Readout {
        /// Real units per unit, per element.
        scale: Option<Vec<f32>>,
        /// Steps that are not accumulated.
        delay: u32,
    },
}

/// A layer with integer parameters, all in pixel-major order.
#[derive(Debug)]
pub struct LayerWork {
    /// One synapse per operand.
    pub synapses: Vec<Synapse>,
    /// Current of every step.
    pub bias: PerElement,
    /// The neurons.
    pub neuron: Option<NeuronWork>,
}

/// Parameters of integer neurons.
#[derive(Debug)]
pub struct NeuronWork {
    /// θ.
    pub threshold: PerElement,
    /// v(0).
    pub initial: PerElement,
    /// Extra current of every step, the last row in all further ones.
    pub schedule: Vec<PerElement>,
    /// When they fire, and what that does to the potential.
    pub dynamics: Dynamics,
}

/// A parameter that is the same at every pixel, or is not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PerElement {
    /// One value per channel.
    Channel(Vec<i32>),
    /// One value per pixel and channel.
    Full(Vec<i32>),
}

impl PerElement {
    fn new(t: &Tensor, shape: &[usize], what: &str) -> Result<Self, Reason> {
        let data = t.to_i32_vec().ok_or_else(|| format!("its {what} is {}, not an integer", t.element_type().name()))?;
        let at = t.broadcast_indices(shape);
        let channels = shape.first().copied().unwrap_or(1);
        let pixels = at.len() / channels;
        if (0..channels).all(|c| (1..pixels).all(|p| at[c * pixels + p] == at[c * pixels])) {
            return Ok(PerElement::Channel((0..channels).map(|c| data[at[c * pixels] as usize]).collect()));
        }
        let full = (0..pixels).flat_map(|p| (0..channels).map(move |c| c * pixels + p)).map(|e| data[at[e] as usize]).collect();
        Ok(PerElement::Full(full))
    }

    /// The value at `pixel`, `channel`.
    pub fn at(&self, pixel: usize, channel: usize, channels: usize) -> i32 {
        match self {
            PerElement::Channel(v) => v[channel],
            PerElement::Full(v) => v[pixel * channels + channel],
        }
    }

    /// The values.
    pub fn values(&self) -> &[i32] {
        match self {
            PerElement::Channel(v) | PerElement::Full(v) => v,
        }
    }
}

fn channels_pixels(shape: &[usize]) -> (usize, usize) {
    (shape.first().copied().unwrap_or(1), shape.get(1..).unwrap_or(&[]).iter().product())
}

/// The layer that an operation is, if it is one: fused layers, and the same operations on their
/// own.
fn as_layer(op: &Op, operands: usize) -> Option<Layer> {
    let mut bare = op.clone();
    let bias = match &mut bare {
        Op::Conv(c) => c.bias.take(),
        Op::ConvTranspose(c) => c.bias.take(),
        Op::Linear(l) => l.bias.take(),
        Op::Scale(s) => s.bias.take(),
        Op::AvgPool(_) | Op::Reduce(_) => None,
        Op::Add => return Some(Layer { synapses: vec![Op::Identity; operands], bias: None, neuron: None }),
        Op::If(n) => return Some(Layer { synapses: vec![Op::Identity], bias: None, neuron: Some(n.clone()) }),
        Op::Layer(l) => return Some(l.clone()),
        _ => return None,
    };
    Some(Layer { synapses: vec![bare], bias, neuron: None })
}

fn neuron_work(n: &Neuron, shape: &[usize], domain: Domain) -> Result<NeuronWork, Reason> {
    let refuse = |why| format!("the JIT engine does not run its neurons ({}): {why}; use --engine reference", n.firing);
    domain.supports(n).map_err(refuse)?;
    Ok(NeuronWork {
        threshold: PerElement::new(&n.threshold, shape, "threshold")?,
        initial: PerElement::new(&n.initial, shape, "init")?,
        schedule: n.schedule_steps().map(|row| PerElement::new(&row, shape, "schedule")).collect::<Result<_, _>>()?,
        dynamics: n.dynamics(),
    })
}

/// Pixel-major index of row-major element `e`.
pub fn pixel_major(e: usize, channels: usize, pixels: usize) -> usize {
    (e % pixels) * channels + e / pixels
}

fn structural(op: &Op, operands: &[&ValueType], ty: &ValueType) -> Option<Result<ElementMap, Reason>> {
    let fill = match op {
        Op::Pad(p) if p.value.fract() == 0.0 && p.value.abs() < 1e9 => p.value as i32,
        Op::Pad(p) => return Some(Err(format!("it pads with {}, not an integer", p.value))),
        op if op.is_structural() => 0,
        _ => return None,
    };
    let shapes: Vec<&[usize]> = operands.iter().map(|o| o.shape.as_slice()).collect();
    let ends = Ends::new(operands.iter().map(|o| o.len()));
    if ends.all() >= ElementMap::FILL as usize {
        return Some(Err("its operands are too large".into()));
    }
    let (channels, pixels) = channels_pixels(&ty.shape);
    let mut source = vec![ElementMap::FILL; channels * pixels];
    for (e, from) in index_map(op, &shapes, &ty.shape)?.into_iter().enumerate() {
        let Some((operand, element)) = from else { continue };
        let (operand, element) = (operand as usize, element as usize);
        let (of_channels, of_pixels) = channels_pixels(shapes[operand]);
        let place = ends.start(operand) + pixel_major(element, of_channels, of_pixels);
        source[pixel_major(e, channels, pixels)] = place as u32;
    }
    Some(Ok(ElementMap { source, fill }))
}

fn pool_geometry(window: &Window, operand: &ValueType, ty: &ValueType) -> Result<Geometry, Reason> {
    Ok(Geometry::pool(window, &operand.shape[1..], &ty.shape[1..])?.0)
}

impl PlanNode {
    /// Node `id` of `graph`, whose operands are planned already.
    pub(super) fn new(
        graph: &Graph,
        prefix: &Prefix,
        id: NodeId,
        operands: Vec<usize>,
        planned: &[PlanNode],
        domain: Domain,
    ) -> Result<PlanNode, Reason> {
        let (op, ty) = (graph.op(id), graph.ty(id).clone());
        let (channels, pixels) = channels_pixels(&ty.shape);
        let types: Vec<&ValueType> = operands.iter().map(|&o| &planned[o].ty).collect();
        let all = |mode: Mode| operands.iter().all(|&o| planned[o].mode == mode);
        let mode = match domain {
            _ if all(Mode::Constant) => Mode::Constant,
            // Behind window barriers only sums over the window matter.
            Domain::Windows => Mode::Summed,
            Domain::Bits | Domain::Steps => Mode::Stepped,
        };
        let (mode, work) = match op {
            _ if prefix.contains(id) && prefix.is_integer(id) => (Mode::Constant, Work::Given(prefix.result_of(id))),
            _ if prefix.contains(id) => (Mode::Prefix, Work::Prefix),
            _ if operands.iter().any(|&o| planned[o].mode == Mode::Prefix) => {
                return Err("it takes real numbers; the JIT engine runs quantized networks: quantize it, or use --engine reference".into());
            }
            Op::Readout { delay: 1.., .. } if domain == Domain::Windows => {
                return Err("two-phase neurons leave nothing to delay a readout by; use --engine reference".into());
            }
            Op::Readout { scale, delay } => {
                (Mode::Summed, Work::Readout { scale: scale.as_ref().map(|s| s.expanded(&ty.shape)), delay: *delay })
            }
            Op::CumulativeMaxPool(w) => (mode, Work::MaxPool(pool_geometry(w, types[0], &ty)?)),
            Op::CumulativeMax => (mode, Work::Maximum),
            // What it sends differs from step to step even where its operand does not.
            Op::Requantize(r) => {
                let mode = if domain == Domain::Windows { Mode::Summed } else { Mode::Stepped };
                (mode, Work::Requantize(*r))
            }
            _ => {
                if let Some(map) = structural(op, &types, &ty) {
                    (mode, Work::Structural(map?))
                } else if let Some(layer) = as_layer(op, operands.len()) {
                    let work = layer_work(&layer, &operands, planned, &ty, domain)?;
                    let mode = match domain {
                        _ if work.neuron.is_none() => mode,
                        Domain::Windows => Mode::Summed,
                        Domain::Bits | Domain::Steps => Mode::Stepped,
                    };
                    (mode, Work::Layer(work))
                } else {
                    return Err("the JIT engine has no code for this operation; use --engine reference".into());
                }
            }
        };
        let rate = Rate::of(op, &operands.iter().map(|&o| &planned[o]).collect::<Vec<_>>(), channels * pixels);
        Ok(PlanNode { id, name: graph.node(id).name().to_string(), ty, channels, pixels, mode, operands, work, rate })
    }

    /// The currents that its neurons get in every step of their own, if they do.
    pub fn schedule(&self) -> &[PerElement] {
        self.neuron().map_or(&[], |neuron| &neuron.schedule)
    }

    /// Its neurons, if it has some.
    pub fn neuron(&self) -> Option<&NeuronWork> {
        if let Work::Layer(work) = &self.work { work.neuron.as_ref() } else { None }
    }

    /// The one of them that is added in the step after `steps`.
    pub fn scheduled(&self, steps: u64) -> Option<&PerElement> {
        let rows = self.schedule();
        rows.get(usize::try_from(steps).unwrap_or(usize::MAX).min(rows.len().saturating_sub(1)))
    }

    /// Whether its value in a step is spikes.
    pub fn is_spikes(&self) -> bool {
        self.ty.signal == Signal::Spikes
    }

    /// Its extents.
    pub fn extent(&self) -> Extent {
        Extent { channels: self.channels, pixels: self.pixels }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.extent().len()
    }

    /// Where the elements of its operands, which are among `nodes`, end.
    pub fn ends_of_operands(&self, nodes: &[PlanNode]) -> Ends {
        Ends::new(self.operands.iter().map(|&o| nodes[o].len()))
    }
}

fn layer_work(layer: &Layer, operands: &[usize], planned: &[PlanNode], ty: &ValueType, domain: Domain) -> Result<LayerWork, Reason> {
    let bias = match &layer.bias {
        Some(b) => PerElement::new(b, &ty.shape, "bias")?,
        None => PerElement::Channel(vec![0; channels_pixels(&ty.shape).0]),
    };
    let synapse = |(op, &operand): (&Op, &usize)| Synapse::new(op, &planned[operand].ty, &ty.shape);
    let synapses = layer.synapses.iter().zip(operands).map(synapse).collect::<Result<_, _>>()?;
    let neuron = layer.neuron.as_ref().map(|n| neuron_work(n, &ty.shape, domain)).transpose()?;
    Ok(LayerWork { synapses, bias, neuron })
}
