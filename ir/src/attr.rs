//! Operations as names with attributes: the one description that the text form and the `.snn` file share.

use crate::activation::Activation;
use crate::neuron::{Amplitude, Firing, Neuron, Reset};
use crate::op::*;
use crate::signal::Signal;
use crate::tensor::Tensor;
use crate::window::Window;
use thiserror::Error;

/// An attribute's value.
#[derive(Clone, Debug, PartialEq)]
pub enum Attr {
    /// An integer, printed `3`.
    Int(i64),
    /// A float, printed so that it parses back to the same bits.
    Float(f32),
    /// A keyword, printed `subtract`.
    Word(String),
    /// Sizes, printed `3x3`; a single one is the same as an integer.
    Dims(Vec<usize>),
    /// Integers, printed `[1, -2]`.
    Ints(Vec<i64>),
    /// A parameter, printed `@node.weight` (or inline when it is a scalar).
    Tensor(Tensor),
    /// Something with attributes of its own, printed `conv(weight=@.., kernel=3x3)`.
    Call(String, Attrs),
    /// Several of those, printed `[conv(..), identity()]`.
    List(Vec<Attr>),
}

/// Why attributes do not make an operation.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum AttrError {
    /// No operation has this name.
    #[error("unknown operation `{0}`")]
    UnknownOp(String),
    /// An attribute is missing.
    #[error("attribute `{0}` is missing")]
    Missing(String),
    /// An attribute that the operation does not have.
    #[error("attribute `{0}` is unknown here")]
    Unknown(String),
    /// An attribute of the wrong kind or value.
    #[error("attribute `{key}` should be {expected}")]
    Kind {
        /// Its name.
        key: String,
        /// What it should be, in words.
        expected: &'static str,
    },
}

/// Named attributes in printing order.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Attrs(pub Vec<(String, Attr)>);

impl Attrs {
    fn put(&mut self, key: &str, value: Attr) {
        self.0.push((key.to_string(), value));
    }

    fn tensor(&mut self, key: &str, t: &Tensor) {
        self.put(key, Attr::Tensor(t.clone()));
    }

    fn optional_tensor(&mut self, key: &str, t: Option<&Tensor>) {
        if let Some(t) = t {
            self.tensor(key, t);
        }
    }

    fn word(&mut self, key: &str, word: &str) {
        self.put(key, Attr::Word(word.to_string()));
    }

    fn window(&mut self, w: &Window) {
        self.put("kernel", Attr::Dims(w.kernel.clone()));
        let ones = vec![1; w.rank()];
        let zeros = vec![0; w.rank()];
        if w.stride != ones {
            self.put("stride", Attr::Dims(w.stride.clone()));
        }
        if w.dilation != ones {
            self.put("dilation", Attr::Dims(w.dilation.clone()));
        }
        if w.pad_begin == w.pad_end {
            if w.pad_begin != zeros {
                self.put("pad", Attr::Dims(w.pad_begin.clone()));
            }
        } else {
            self.put("pad_begin", Attr::Dims(w.pad_begin.clone()));
            self.put("pad_end", Attr::Dims(w.pad_end.clone()));
        }
        if w.ceil {
            self.word("ceil", "true");
        }
    }

    fn neuron(&mut self, n: &Neuron) {
        self.tensor("threshold", &n.threshold);
        self.tensor("init", &n.initial);
        self.optional_tensor("schedule", n.schedule.as_ref());
        self.word("reset", n.reset.word());
        if n.amplitude == Amplitude::Threshold {
            self.word("amplitude", "threshold");
        }
        if n.firing != Firing::default() {
            self.word("firing", n.firing.word());
        }
        if let Some(lanes) = n.firing.written_lanes() {
            self.put("lanes", Attr::Int(lanes.into()));
        }
        if n.signed {
            self.word("signed", "true");
        }
        if let Some(rate) = n.rate {
            self.put("rate", Attr::Float(rate));
        }
    }
}

/// Reads attributes by name and complains about those nobody asked for.
struct Reader {
    left: Vec<(String, Attr)>,
}

fn kind<T>(key: &str, expected: &'static str) -> Result<T, AttrError> {
    Err(AttrError::Kind { key: key.to_string(), expected })
}

impl Reader {
    fn take(&mut self, key: &str) -> Option<Attr> {
        let at = self.left.iter().position(|(k, _)| k == key)?;
        Some(self.left.remove(at).1)
    }

    fn optional<T>(&mut self, key: &str, expected: &'static str, convert: impl Fn(Attr) -> Option<T>) -> Result<Option<T>, AttrError> {
        match self.take(key) {
            None => Ok(None),
            Some(a) => convert(a).map(Some).map_or_else(|| kind(key, expected), Ok),
        }
    }

    fn required<T>(&mut self, key: &str, value: Result<Option<T>, AttrError>) -> Result<T, AttrError> {
        value?.ok_or_else(|| AttrError::Missing(key.to_string()))
    }

    fn optional_tensor(&mut self, key: &str) -> Result<Option<Tensor>, AttrError> {
        self.optional(key, "a tensor", |a| match a {
            Attr::Tensor(t) => Some(t),
            Attr::Int(i) => Some(Tensor::scalar(i as f32)),
            Attr::Float(f) => Some(Tensor::scalar(f)),
            _ => None,
        })
    }

    fn tensor(&mut self, key: &str) -> Result<Tensor, AttrError> {
        let t = self.optional_tensor(key);
        self.required(key, t)
    }

    fn float_tensor(&mut self, key: &str) -> Result<Tensor, AttrError> {
        let t = self.tensor(key)?;
        if t.is_integer() { kind(key, "a float tensor") } else { Ok(t) }
    }

    fn optional_float(&mut self, key: &str) -> Result<Option<f32>, AttrError> {
        self.optional(key, "a number", |a| match a {
            Attr::Int(i) => Some(i as f32),
            Attr::Float(f) => Some(f),
            _ => None,
        })
    }

    fn float(&mut self, key: &str) -> Result<f32, AttrError> {
        let f = self.optional_float(key);
        self.required(key, f)
    }

    fn optional_usize(&mut self, key: &str) -> Result<Option<usize>, AttrError> {
        self.optional(key, "a size", |a| match a {
            Attr::Int(i) => usize::try_from(i).ok(),
            _ => None,
        })
    }

    fn usize(&mut self, key: &str) -> Result<usize, AttrError> {
        let v = self.optional_usize(key);
        self.required(key, v)
    }

    fn optional_dims(&mut self, key: &str) -> Result<Option<Vec<usize>>, AttrError> {
        self.optional(key, "sizes such as 3x3", |a| match a {
            Attr::Int(i) => Some(vec![usize::try_from(i).ok()?]),
            Attr::Dims(d) => Some(d),
            Attr::Ints(v) => v.into_iter().map(|i| usize::try_from(i).ok()).collect(),
            _ => None,
        })
    }

    fn dims(&mut self, key: &str) -> Result<Vec<usize>, AttrError> {
        let d = self.optional_dims(key);
        self.required(key, d)
    }

    fn ints(&mut self, key: &str) -> Result<Vec<i64>, AttrError> {
        let v = self.optional(key, "integers such as [1, -2]", |a| match a {
            Attr::Int(i) => Some(vec![i]),
            Attr::Ints(v) => Some(v),
            Attr::Dims(d) => d.into_iter().map(|u| i64::try_from(u).ok()).collect(),
            _ => None,
        });
        self.required(key, v)
    }

    fn optional_word(&mut self, key: &str) -> Result<Option<String>, AttrError> {
        self.optional(key, "a word", |a| match a {
            Attr::Word(w) => Some(w),
            _ => None,
        })
    }

    fn choice<T: Copy>(&mut self, key: &str, expected: &'static str, choices: &[(&str, T)], default: Option<T>) -> Result<T, AttrError> {
        match self.optional_word(key)? {
            None => default.ok_or_else(|| AttrError::Missing(key.to_string())),
            Some(w) => choices.iter().find(|(name, _)| *name == w).map_or_else(|| kind(key, expected), |c| Ok(c.1)),
        }
    }

    fn flag(&mut self, key: &str) -> Result<bool, AttrError> {
        self.choice(key, "true or false", &[("true", true), ("false", false)], Some(false))
    }

    fn window(&mut self) -> Result<Window, AttrError> {
        let mut w = Window::unit(self.dims("kernel")?);
        w.stride = self.optional_dims("stride")?.unwrap_or(w.stride);
        w.dilation = self.optional_dims("dilation")?.unwrap_or(w.dilation);
        if let Some(pad) = self.optional_dims("pad")? {
            w.pad_begin = pad.clone();
            w.pad_end = pad;
        } else {
            w.pad_begin = self.optional_dims("pad_begin")?.unwrap_or(w.pad_begin);
            w.pad_end = self.optional_dims("pad_end")?.unwrap_or(w.pad_end);
        }
        w.ceil = self.flag("ceil")?;
        if w.is_consistent() { Ok(w) } else { kind("kernel", "consistent with stride, dilation and padding") }
    }

    fn neuron(&mut self) -> Result<Neuron, AttrError> {
        let threshold = self.tensor("threshold")?;
        let initial = self.optional_tensor("init")?.unwrap_or_else(|| Neuron::new(threshold.clone()).initial);
        let reset = self.optional_word("reset")?.map(|word| word.parse());
        let reset = reset.unwrap_or(Ok(Reset::Subtract)).or_else(|_| kind("reset", Reset::WORDS))?;
        let amplitude = self.choice(
            "amplitude",
            "threshold or one",
            &[("threshold", Amplitude::Threshold), ("one", Amplitude::One)],
            Some(Amplitude::One),
        )?;
        let lanes = self.optional_usize("lanes")?;
        let lanes = u8::try_from(lanes.unwrap_or(0)).unwrap_or(u8::MAX);
        let firing = self.optional_word("firing")?.map(|word| Firing::of_word(&word, lanes));
        let firing = firing.unwrap_or(Ok(Firing::default())).or_else(|_| kind("firing", Firing::WORDS))?;
        let schedule = self.optional_tensor("schedule")?;
        let signed = self.flag("signed")?;
        let rate = self.optional_float("rate")?;
        if rate.is_some_and(|r| !r.is_finite() || r < 0.0) {
            return kind("rate", "a number of spikes per neuron and step, zero or more");
        }
        Ok(Neuron { threshold, initial, schedule, reset, amplitude, firing, signed, rate })
    }

    fn finish(self) -> Result<(), AttrError> {
        self.left.into_iter().next().map_or(Ok(()), |(k, _)| Err(AttrError::Unknown(k)))
    }
}

fn divisor_name(d: Divisor) -> &'static str {
    match d {
        Divisor::Padded => "padded",
        Divisor::Valid => "valid",
        Divisor::One => "one",
    }
}

impl Op {
    /// The attributes that, with the name, make up the operation. An input's signal and shape are part of its type.
    pub fn attributes(&self) -> Attrs {
        let mut a = Attrs::default();
        match self {
            Op::Input(..) | Op::Identity | Op::Add | Op::Maximum | Op::CumulativeMax => {}
            Op::Constant(_, value) => a.tensor("value", value),
            Op::Conv(c) => {
                a.tensor("weight", &c.weight);
                a.optional_tensor("bias", c.bias.as_ref());
                a.window(&c.window);
                if c.groups != 1 {
                    a.put("groups", Attr::Int(c.groups as i64));
                }
            }
            Op::ConvTranspose(c) => {
                a.tensor("weight", &c.weight);
                a.optional_tensor("bias", c.bias.as_ref());
                a.window(&c.window);
                if c.output_padding.iter().any(|&p| p != 0) {
                    a.put("output_pad", Attr::Dims(c.output_padding.clone()));
                }
                if c.groups != 1 {
                    a.put("groups", Attr::Int(c.groups as i64));
                }
            }
            Op::Linear(l) => {
                a.tensor("weight", &l.weight);
                a.optional_tensor("bias", l.bias.as_ref());
            }
            Op::AvgPool(p) => {
                a.window(&p.window);
                a.word("divisor", divisor_name(p.divisor));
            }
            Op::Reduce(r) => {
                a.put("axes", Attr::Ints(r.axes.iter().map(|&x| x as i64).collect()));
                a.word("by", if r.mean { "mean" } else { "sum" });
            }
            Op::Scale(s) => {
                a.optional_tensor("weight", s.weight.as_ref());
                a.optional_tensor("bias", s.bias.as_ref());
            }
            Op::BatchNorm(b) => {
                for (key, t) in [("gamma", &b.gamma), ("beta", &b.beta), ("mean", &b.mean), ("variance", &b.variance)] {
                    a.tensor(key, t);
                }
                a.put("epsilon", Attr::Float(b.epsilon));
            }
            Op::Concat { axis } => a.put("axis", Attr::Int(*axis as i64)),
            Op::Reshape { shape } => a.put("shape", Attr::Ints(shape.iter().map(|&x| x as i64).collect())),
            Op::Transpose { perm } => a.put("perm", Attr::Ints(perm.iter().map(|&x| x as i64).collect())),
            Op::Pad(p) => {
                a.put("begin", Attr::Ints(p.begin.iter().map(|&x| x as i64).collect()));
                a.put("end", Attr::Ints(p.end.iter().map(|&x| x as i64).collect()));
                if p.value != 0.0 {
                    a.put("value", Attr::Float(p.value));
                }
            }
            Op::Slice(s) => {
                a.put("start", Attr::Ints(s.start.iter().map(|&x| x as i64).collect()));
                a.put("step", Attr::Ints(s.step.iter().map(|&x| x as i64).collect()));
                a.put("shape", Attr::Ints(s.shape.iter().map(|&x| x as i64).collect()));
            }
            Op::Gather { axis, indices } => {
                a.put("axis", Attr::Int(*axis as i64));
                a.put("indices", Attr::Ints(indices.iter().map(|&x| x as i64).collect()));
            }
            Op::Relu(r) => {
                if let Some(cap) = r.cap {
                    a.put("cap", Attr::Float(cap));
                }
                a.optional_tensor("threshold", r.threshold.as_ref());
            }
            Op::Activation(f) => match f {
                Activation::LeakyRelu { slope } => a.put("slope", Attr::Float(*slope)),
                Activation::PRelu(slope) => a.tensor("slope", slope),
                Activation::Clip { min, max } => {
                    a.put("min", Attr::Float(*min));
                    a.put("max", Attr::Float(*max));
                }
                Activation::HardSigmoid { alpha, beta } => {
                    a.put("alpha", Attr::Float(*alpha));
                    a.put("beta", Attr::Float(*beta));
                }
                Activation::ThresholdedRelu { alpha } | Activation::Elu { alpha } | Activation::Celu { alpha } => {
                    a.put("alpha", Attr::Float(*alpha))
                }
                Activation::Selu { alpha, gamma } => {
                    a.put("alpha", Attr::Float(*alpha));
                    a.put("gamma", Attr::Float(*gamma));
                }
                _ => {}
            },
            Op::MaxPool(w) | Op::CumulativeMaxPool(w) => a.window(w),
            Op::Requantize(r) => a.put("shift", Attr::Int(r.shift.into())),
            Op::Softmax { axis, log } => {
                a.put("axis", Attr::Int(*axis as i64));
                if *log {
                    a.word("log", "true");
                }
            }
            Op::Lrn(l) => {
                a.put("size", Attr::Int(l.size as i64));
                for (key, v) in [("alpha", l.alpha), ("beta", l.beta), ("bias", l.bias)] {
                    a.put(key, Attr::Float(v));
                }
            }
            Op::RmsNorm(n) => {
                a.put("axes", Attr::Ints(n.axes.iter().map(|&x| x as i64).collect()));
                a.put("epsilon", Attr::Float(n.epsilon));
            }
            Op::Encode { scale, limit } => {
                a.tensor("scale", scale);
                a.put("limit", Attr::Int(i64::from(*limit)));
            }
            Op::If(n) => a.neuron(n),
            Op::Layer(l) => {
                let synapses = l.synapses.iter().map(|s| Attr::Call(s.name().to_string(), s.attributes())).collect();
                a.put("synapses", Attr::List(synapses));
                a.optional_tensor("bias", l.bias.as_ref());
                if let Some(n) = &l.neuron {
                    let mut inner = Attrs::default();
                    inner.neuron(n);
                    a.put("neuron", Attr::Call("if".to_string(), inner));
                }
            }
            Op::Readout { scale, delay } => {
                a.optional_tensor("scale", scale.as_ref());
                if *delay > 0 {
                    a.put("delay", Attr::Int(i64::from(*delay)));
                }
            }
        }
        a
    }

    /// The operation called `name` with `attributes`; `ty` is the written type, which only inputs and constants read.
    ///
    /// # Errors
    /// [`AttrError`] naming the attribute that is missing, unknown or of the wrong kind.
    pub fn from_attributes(name: &str, attributes: Attrs, ty: (Signal, &[usize])) -> Result<Op, AttrError> {
        let mut r = Reader { left: attributes.0 };
        let op = match name {
            "input" => Op::Input(ty.0, ty.1.to_vec()),
            "constant" => {
                let value = r.tensor("value")?;
                Op::Constant(ty.0, if value.shape().is_empty() && ty.1 == [1] { value.reshaped([1]) } else { value })
            }
            "identity" => Op::Identity,
            "conv" => Op::Conv(Conv {
                weight: r.tensor("weight")?,
                bias: r.optional_tensor("bias")?,
                window: r.window()?,
                groups: r.optional_usize("groups")?.unwrap_or(1),
            }),
            "conv_transpose" => {
                let window = r.window()?;
                let output_padding = r.optional_dims("output_pad")?.unwrap_or_else(|| vec![0; window.rank()]);
                Op::ConvTranspose(ConvTranspose {
                    weight: r.tensor("weight")?,
                    bias: r.optional_tensor("bias")?,
                    window,
                    output_padding,
                    groups: r.optional_usize("groups")?.unwrap_or(1),
                })
            }
            "linear" => Op::Linear(Linear { weight: r.tensor("weight")?, bias: r.optional_tensor("bias")? }),
            "avg_pool" => {
                let divisors = [Divisor::Padded, Divisor::Valid, Divisor::One].map(|d| (divisor_name(d), d));
                Op::AvgPool(AvgPool {
                    window: r.window()?,
                    divisor: r.choice("divisor", "padded, valid or one", &divisors, Some(Divisor::Padded))?,
                })
            }
            "reduce" => {
                Op::Reduce(Reduce { axes: r.dims("axes")?, mean: r.choice("by", "mean or sum", &[("mean", true), ("sum", false)], None)? })
            }
            "scale" => Op::Scale(Scale { weight: r.optional_tensor("weight")?, bias: r.optional_tensor("bias")? }),
            "batch_norm" => Op::BatchNorm(BatchNorm {
                gamma: r.float_tensor("gamma")?,
                beta: r.float_tensor("beta")?,
                mean: r.float_tensor("mean")?,
                variance: r.float_tensor("variance")?,
                epsilon: r.float("epsilon")?,
            }),
            "add" => Op::Add,
            "concat" => Op::Concat { axis: r.usize("axis")? },
            "reshape" => Op::Reshape { shape: r.dims("shape")? },
            "transpose" => Op::Transpose { perm: r.dims("perm")? },
            "pad" => Op::Pad(Pad { begin: r.dims("begin")?, end: r.dims("end")?, value: r.optional_float("value")?.unwrap_or(0.0) }),
            "slice" => {
                let step = r
                    .ints("step")?
                    .into_iter()
                    .map(|i| isize::try_from(i).map_or_else(|_| kind("step", "steps"), Ok))
                    .collect::<Result<_, _>>()?;
                Op::Slice(Slice { start: r.dims("start")?, step, shape: r.dims("shape")? })
            }
            "gather" => Op::Gather { axis: r.usize("axis")?, indices: r.dims("indices")? },
            "relu" => Op::Relu(Relu { cap: r.optional_float("cap")?, threshold: r.optional_tensor("threshold")? }),
            "leaky_relu" => Op::Activation(Activation::LeakyRelu { slope: r.float("slope")? }),
            "prelu" => Op::Activation(Activation::PRelu(r.float_tensor("slope")?)),
            "clip" => Op::Activation(Activation::Clip { min: r.float("min")?, max: r.float("max")? }),
            "abs" => Op::Activation(Activation::Abs),
            "thresholded_relu" => Op::Activation(Activation::ThresholdedRelu { alpha: r.float("alpha")? }),
            "hard_sigmoid" => Op::Activation(Activation::HardSigmoid { alpha: r.float("alpha")?, beta: r.float("beta")? }),
            "hard_swish" => Op::Activation(Activation::HardSwish),
            "sigmoid" => Op::Activation(Activation::Sigmoid),
            "tanh" => Op::Activation(Activation::Tanh),
            "elu" => Op::Activation(Activation::Elu { alpha: r.float("alpha")? }),
            "selu" => Op::Activation(Activation::Selu { alpha: r.float("alpha")?, gamma: r.float("gamma")? }),
            "celu" => Op::Activation(Activation::Celu { alpha: r.float("alpha")? }),
            "softplus" => Op::Activation(Activation::Softplus),
            "softsign" => Op::Activation(Activation::Softsign),
            "gelu" => Op::Activation(Activation::Gelu),
            "gelu_tanh" => Op::Activation(Activation::GeluTanh),
            "silu" => Op::Activation(Activation::Silu),
            "mish" => Op::Activation(Activation::Mish),
            "max_pool" => Op::MaxPool(r.window()?),
            "maximum" => Op::Maximum,
            "softmax" => Op::Softmax { axis: r.usize("axis")?, log: r.flag("log")? },
            "lrn" => Op::Lrn(Lrn { size: r.usize("size")?, alpha: r.float("alpha")?, beta: r.float("beta")?, bias: r.float("bias")? }),
            "rms_norm" => Op::RmsNorm(RmsNorm { axes: r.dims("axes")?, epsilon: r.float("epsilon")? }),
            "cumulative_max_pool" => Op::CumulativeMaxPool(r.window()?),
            "cumulative_max" => Op::CumulativeMax,
            "requantize" => {
                Op::Requantize(Requantize { shift: u32::try_from(r.usize("shift")?).or_else(|_| kind("shift", "a number of bits"))? })
            }
            "encode" => Op::Encode {
                scale: r.float_tensor("scale")?,
                limit: i32::try_from(r.usize("limit")?).map_or_else(|_| kind("limit", "a 32-bit size"), Ok)?,
            },
            "if" => Op::If(r.neuron()?),
            "layer" => {
                let synapses = match r.take("synapses") {
                    Some(Attr::List(items)) => items
                        .into_iter()
                        .map(|item| match item {
                            Attr::Call(name, attrs) if name != "layer" => Op::from_attributes(&name, attrs, ty),
                            _ => kind("synapses", "a list of operations"),
                        })
                        .collect::<Result<_, _>>()?,
                    _ => return Err(AttrError::Missing("synapses".to_string())),
                };
                let neuron = match r.take("neuron") {
                    None => None,
                    Some(Attr::Call(name, attrs)) if name == "if" => {
                        let mut inner = Reader { left: attrs.0 };
                        let neuron = inner.neuron()?;
                        inner.finish()?;
                        Some(neuron)
                    }
                    Some(_) => return kind("neuron", "if(..)"),
                };
                Op::Layer(Layer { synapses, bias: r.optional_tensor("bias")?, neuron })
            }
            "readout" => {
                let delay = r.optional_usize("delay")?.unwrap_or(0);
                Op::Readout {
                    scale: r.optional_tensor("scale")?,
                    delay: u32::try_from(delay).or_else(|_| kind("delay", "a number of steps"))?,
                }
            }
            _ => return Err(AttrError::UnknownOp(name.to_string())),
        };
        r.finish()?;
        Ok(op)
    }
}
