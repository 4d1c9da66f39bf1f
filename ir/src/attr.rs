//! Operations as names with attributes: the one description that the text form and the `.snn` file
//! share.

use crate::op::Op;
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

/// The attributes of an operation on the way out of it or into it. Each operation names every
/// attribute once (`op/*.rs`), for both ways: what it is called, what kind of value it has, and
/// what it is where it is not written.
///
/// On the way out nothing fails. On the way in a method fails with an [`AttrError`] that names the
/// attribute.
pub(crate) enum Fields {
    /// Out: what was written so far.
    Write(Attrs),
    /// In: what nobody has asked for yet.
    Read(Vec<(String, Attr)>),
}

type Done = Result<(), AttrError>;

/// The error for an attribute of the wrong kind or value.
pub(crate) fn kind<T>(key: &str, expected: &'static str) -> Result<T, AttrError> {
    Err(AttrError::Kind { key: key.to_string(), expected })
}

fn tensor(a: Attr) -> Option<Tensor> {
    match a {
        Attr::Tensor(t) => Some(t),
        Attr::Int(i) => Some(Tensor::scalar(i as f32)),
        Attr::Float(f) => Some(Tensor::scalar(f)),
        _ => None,
    }
}

fn float(a: Attr) -> Option<f32> {
    match a {
        Attr::Int(i) => Some(i as f32),
        Attr::Float(f) => Some(f),
        _ => None,
    }
}

fn size(a: Attr) -> Option<usize> {
    if let Attr::Int(i) = a { usize::try_from(i).ok() } else { None }
}

fn dims(a: Attr) -> Option<Vec<usize>> {
    match a {
        Attr::Int(i) => Some(vec![usize::try_from(i).ok()?]),
        Attr::Dims(d) => Some(d),
        Attr::Ints(v) => v.into_iter().map(|i| usize::try_from(i).ok()).collect(),
        _ => None,
    }
}

fn ints(a: Attr) -> Option<Vec<i64>> {
    match a {
        Attr::Int(i) => Some(vec![i]),
        Attr::Ints(v) => Some(v),
        Attr::Dims(d) => d.into_iter().map(|u| i64::try_from(u).ok()).collect(),
        _ => None,
    }
}

impl Fields {
    /// Whether attributes are read: only then can one be out of its domain.
    pub(crate) fn is_read(&self) -> bool {
        matches!(self, Fields::Read(_))
    }

    /// An attribute that is written when `out` says so, and left as it is where it is not there.
    fn field<T>(
        &mut self,
        key: &str,
        value: &mut T,
        expected: &'static str,
        out: impl FnOnce(&T) -> Option<Attr>,
        read: impl FnOnce(Attr) -> Option<T>,
    ) -> Result<bool, AttrError> {
        match self {
            Fields::Write(attributes) => attributes.0.extend(out(value).map(|a| (key.to_string(), a))),
            Fields::Read(left) => {
                let Some(at) = left.iter().position(|(k, _)| k == key) else { return Ok(false) };
                *value = read(left.remove(at).1).map_or_else(|| kind(key, expected), Ok)?;
            }
        }
        Ok(true)
    }

    fn required<T>(
        &mut self,
        key: &str,
        value: &mut T,
        expected: &'static str,
        out: impl FnOnce(&T) -> Attr,
        read: impl FnOnce(Attr) -> Option<T>,
    ) -> Done {
        let found = self.field(key, value, expected, |v| Some(out(v)), read)?;
        if found { Ok(()) } else { Err(AttrError::Missing(key.to_string())) }
    }

    /// An attribute that is written unless it is `default`.
    fn or<T: PartialEq>(
        &mut self,
        key: &str,
        value: &mut T,
        default: T,
        expected: &'static str,
        out: impl FnOnce(&T) -> Attr,
        read: impl FnOnce(Attr) -> Option<T>,
    ) -> Done {
        let found = self.field(key, value, expected, |v| (*v != default).then(|| out(v)), read)?;
        if !found {
            *value = default;
        }
        Ok(())
    }

    fn optional<T: Clone>(
        &mut self,
        key: &str,
        value: &mut Option<T>,
        expected: &'static str,
        out: impl FnOnce(T) -> Attr,
        read: impl FnOnce(Attr) -> Option<T>,
    ) -> Done {
        self.field(key, value, expected, |v| v.clone().map(out), |a| read(a).map(Some)).map(|_| ())
    }

    pub(crate) fn tensor(&mut self, key: &str, value: &mut Tensor) -> Done {
        self.required(key, value, "a tensor", |t| Attr::Tensor(t.clone()), tensor)
    }

    pub(crate) fn float_tensor(&mut self, key: &str, value: &mut Tensor) -> Done {
        self.tensor(key, value)?;
        if self.is_read() && value.is_integer() { kind(key, "a float tensor") } else { Ok(()) }
    }

    pub(crate) fn optional_tensor(&mut self, key: &str, value: &mut Option<Tensor>) -> Done {
        self.optional(key, value, "a tensor", Attr::Tensor, tensor)
    }

    /// A tensor that is always written.
    pub(crate) fn printed_tensor_or(&mut self, key: &str, value: &mut Tensor, default: Tensor) -> Done {
        let found = self.field(key, value, "a tensor", |t| Some(Attr::Tensor(t.clone())), tensor)?;
        if !found {
            *value = default;
        }
        Ok(())
    }

    pub(crate) fn float(&mut self, key: &str, value: &mut f32) -> Done {
        self.required(key, value, "a number", |&f| Attr::Float(f), float)
    }

    pub(crate) fn float_or(&mut self, key: &str, value: &mut f32, default: f32) -> Done {
        self.or(key, value, default, "a number", |&f| Attr::Float(f), float)
    }

    pub(crate) fn optional_float(&mut self, key: &str, value: &mut Option<f32>) -> Done {
        self.optional(key, value, "a number", Attr::Float, float)
    }

    pub(crate) fn size(&mut self, key: &str, value: &mut usize) -> Done {
        self.required(key, value, "a size", |&n| Attr::Int(n as i64), size)
    }

    pub(crate) fn size_or(&mut self, key: &str, value: &mut usize, default: usize) -> Done {
        self.or(key, value, default, "a size", |&n| Attr::Int(n as i64), size)
    }

    pub(crate) fn optional_size(&mut self, key: &str, value: &mut Option<usize>) -> Done {
        self.optional(key, value, "a size", |n| Attr::Int(n as i64), size)
    }

    /// A whole number, zero or more, that fits `T`.
    pub(crate) fn number<T: Copy + TryFrom<usize> + Into<i64>>(&mut self, key: &str, value: &mut T, expected: &'static str) -> Done {
        self.required(key, value, expected, |&n| Attr::Int(n.into()), |a| T::try_from(size(a)?).ok())
    }

    /// The same, written unless it is `default`.
    pub(crate) fn number_or<T: Copy + PartialEq + TryFrom<usize> + Into<i64>>(
        &mut self,
        key: &str,
        value: &mut T,
        default: T,
        expected: &'static str,
    ) -> Done {
        self.or(key, value, default, expected, |&n| Attr::Int(n.into()), |a| T::try_from(size(a)?).ok())
    }

    /// Sizes, written as a list.
    pub(crate) fn sizes(&mut self, key: &str, value: &mut Vec<usize>) -> Done {
        let out = |v: &Vec<usize>| Attr::Ints(v.iter().map(|&x| x as i64).collect());
        self.required(key, value, "sizes such as 3x3", out, dims)
    }

    /// Distances, which may be negative, written as a list.
    pub(crate) fn steps(&mut self, key: &str, value: &mut Vec<isize>) -> Done {
        let out = |v: &Vec<isize>| Attr::Ints(v.iter().map(|&x| x as i64).collect());
        let read = |a: Attr| ints(a)?.into_iter().map(|i| isize::try_from(i).ok()).collect();
        self.required(key, value, "integers such as [1, -2]", out, read)
    }

    /// Sizes, written `3x3`, unless they are `default`.
    pub(crate) fn dims_or(&mut self, key: &str, value: &mut Vec<usize>, default: Vec<usize>) -> Done {
        self.or(key, value, default, "sizes such as 3x3", |d| Attr::Dims(d.clone()), dims)
    }

    /// A word, written unless it is `default`.
    pub(crate) fn word_or(&mut self, key: &str, value: &mut String, default: &str) -> Done {
        let read = |a| if let Attr::Word(w) = a { Some(w) } else { None };
        self.or(key, value, default.to_string(), "a word", |w| Attr::Word(w.clone()), read)
    }

    /// One of several words that is always written; `default` where it is not there, if it may be
    /// left out.
    pub(crate) fn printed_choice<T: Copy + PartialEq>(
        &mut self,
        key: &str,
        value: &mut T,
        expected: &'static str,
        words: &[(&str, T)],
        default: Option<T>,
    ) -> Done {
        if !self.field(key, value, expected, |v| word_of(words, v), |a| choose(words, a))? {
            *value = default.ok_or_else(|| AttrError::Missing(key.to_string()))?;
        }
        Ok(())
    }

    /// One of several words, written unless it is `default`.
    pub(crate) fn choice<T: Copy + PartialEq>(
        &mut self,
        key: &str,
        value: &mut T,
        expected: &'static str,
        words: &[(&str, T)],
        default: T,
    ) -> Done {
        let out = |v: &T| if *v == default { None } else { word_of(words, v) };
        if !self.field(key, value, expected, out, |a| choose(words, a))? {
            *value = default;
        }
        Ok(())
    }

    pub(crate) fn flag(&mut self, key: &str, value: &mut bool) -> Done {
        self.choice(key, value, "true or false", &[("true", true), ("false", false)], false)
    }

    pub(crate) fn window(&mut self, w: &mut Window) -> Done {
        let kernel = &mut w.kernel;
        self.required("kernel", kernel, "sizes such as 3x3", |d| Attr::Dims(d.clone()), dims)?;
        let (ones, zeros) = (vec![1; w.rank()], vec![0; w.rank()]);
        self.dims_or("stride", &mut w.stride, ones.clone())?;
        self.dims_or("dilation", &mut w.dilation, ones)?;
        let (begins, ends) = (w.pad_begin.clone(), w.pad_end.clone());
        let written = !self.is_read() && begins == ends && begins != zeros;
        let mut both = written.then(|| begins.clone());
        self.optional("pad", &mut both, "sizes such as 3x3", Attr::Dims, dims)?;
        match both {
            Some(both) => (w.pad_begin, w.pad_end) = (both.clone(), both),
            None => {
                let differ = begins != ends;
                for (key, pad) in [("pad_begin", &mut w.pad_begin), ("pad_end", &mut w.pad_end)] {
                    let out = |d: &Vec<usize>| differ.then(|| Attr::Dims(d.clone()));
                    if !self.field(key, pad, "sizes such as 3x3", out, dims)? {
                        pad.clone_from(&zeros);
                    }
                }
            }
        }
        self.flag("ceil", &mut w.ceil)?;
        if self.is_read() && !w.is_consistent() { kind("kernel", "consistent with stride, dilation and padding") } else { Ok(()) }
    }

    /// Operations that are part of this one.
    pub(crate) fn calls(&mut self, key: &str, value: &mut Vec<Op>) -> Done {
        match self {
            Fields::Write(attributes) => {
                let call = |op: &Op| Attr::Call(op.name().to_string(), op.attributes());
                attributes.0.push((key.to_string(), Attr::List(value.iter().map(call).collect())));
            }
            Fields::Read(left) => {
                let at = left.iter().position(|(k, _)| k == key).ok_or_else(|| AttrError::Missing(key.to_string()))?;
                let Attr::List(items) = left.remove(at).1 else { return kind(key, "a list of operations") };
                let op = |item| match item {
                    Attr::Call(name, attributes) if name != "layer" => Op::from_attributes(&name, attributes, (Signal::Analog, &[])),
                    _ => kind(key, "a list of operations"),
                };
                *value = items.into_iter().map(op).collect::<Result<_, _>>()?;
            }
        }
        Ok(())
    }

    /// A part called `name` that has attributes of its own.
    pub(crate) fn optional_call<T: Clone>(
        &mut self,
        key: &str,
        name: &str,
        value: &mut Option<T>,
        unread: impl FnOnce() -> T,
        fields: impl FnOnce(&mut T, &mut Fields) -> Done,
    ) -> Done {
        match self {
            Fields::Write(attributes) => {
                if let Some(value) = value {
                    let mut inner = Fields::Write(Attrs::default());
                    fields(&mut value.clone(), &mut inner)?;
                    attributes.0.push((key.to_string(), Attr::Call(name.to_string(), inner.written())));
                }
            }
            Fields::Read(left) => {
                let Some(at) = left.iter().position(|(k, _)| k == key) else { return Ok(()) };
                match left.remove(at).1 {
                    Attr::Call(found, attributes) if found == name => {
                        let (mut part, mut inner) = (unread(), Fields::Read(attributes.0));
                        fields(&mut part, &mut inner)?;
                        inner.finish()?;
                        *value = Some(part);
                    }
                    _ => return kind(key, "a call such as if(..)"),
                }
            }
        }
        Ok(())
    }

    fn written(self) -> Attrs {
        if let Fields::Write(attributes) = self { attributes } else { Attrs::default() }
    }

    /// Complains about an attribute that nobody asked for.
    fn finish(self) -> Done {
        let left = if let Fields::Read(left) = self { left } else { Vec::new() };
        left.into_iter().next().map_or(Ok(()), |(key, _)| Err(AttrError::Unknown(key)))
    }
}

fn word_of<T: PartialEq>(words: &[(&str, T)], value: &T) -> Option<Attr> {
    words.iter().find(|(_, v)| v == value).map(|(word, _)| Attr::Word(word.to_string()))
}

fn choose<T: Copy>(words: &[(&str, T)], attribute: Attr) -> Option<T> {
    let Attr::Word(word) = attribute else { return None };
    words.iter().find(|(w, _)| *w == word).map(|c| c.1)
}

impl Op {
    /// The attributes that, with the name, make up the operation. An input's signal and shape are
    /// part of its type.
    pub fn attributes(&self) -> Attrs {
        let mut fields = Fields::Write(Attrs::default());
        self.clone().fields(&mut fields).expect("writing does not fail");
        fields.written()
    }

    /// The operation called `name` with `attributes`; `ty` is the written type, which only inputs
    /// and constants read.
    ///
    /// # Errors
    /// [`AttrError`] naming the attribute that is missing, unknown or of the wrong kind.
    pub fn from_attributes(name: &str, attributes: Attrs, ty: (Signal, &[usize])) -> Result<Op, AttrError> {
        let mut op = Op::unread(name, ty).ok_or_else(|| AttrError::UnknownOp(name.to_string()))?;
        let mut fields = Fields::Read(attributes.0);
        op.fields(&mut fields)?;
        fields.finish()?;
        match &mut op {
            Op::Constant(_, value) if value.shape().is_empty() && ty.1 == [1] => *value = value.reshaped([1]),
            _ => {}
        }
        Ok(op)
    }
}
