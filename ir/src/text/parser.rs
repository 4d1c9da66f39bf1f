//! Text to graph.

use super::lexer::{Kind, Lexer, ParseError, Token};
use super::literal::{from_numbers, parse_float, seeded};
use crate::attr::{Attr, AttrError, Attrs};
use crate::graph::{Graph, NodeId};
use crate::op::Op;
use crate::signal::{Signal, ValueType};
use crate::tensor::{ElementType, Tensor, element_count};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::collections::HashMap;
use std::ops::Range;

/// How deep attributes may nest; a layer's synapses need three levels.
const MAX_DEPTH: usize = 8;

/// Most elements that all `splat` and `seeded` of a text may ask for together (64 MiB of floats): the text itself does not
/// bound them.
const MAX_GENERATED: usize = 1 << 24;

/// The graph that `text` prints. Types are checked node by node; [`crate::verify()`] checks the whole.
///
/// # Errors
/// The first place where the text is no graph, or where a parameter is only summarised.
pub fn parse(text: &str) -> Result<Graph, ParseError> {
    parse_with(text, |_, _| None)
}

/// Like [`parse`], for texts with summarised parameters, which `resolver` finds by name and content hash, for
/// example among the [`super::parameters`] of the graph that was printed. What it finds must have the summary's shape,
/// element type and hash.
///
/// # Errors
/// As [`parse`].
pub fn parse_with(text: &str, resolver: impl Fn(&str, u64) -> Option<Tensor>) -> Result<Graph, ParseError> {
    let mut lexer = Lexer::new(text);
    let token = lexer.next()?;
    let mut parser = Parser { text, lexer, token, generated: 0 };
    let file = parser.file()?;
    Builder { text, resolver, definitions: file.definitions }.build(file.header, file.statements, file.outputs)
}

type Span = Range<usize>;

/// A parameter's line: the tensor, or the hash of one that is elsewhere.
enum Definition {
    Tensor(Tensor),
    Summary(ElementType, Vec<usize>, u64),
}

/// An attribute's value before parameters have their tensors.
enum Value {
    Plain(Attr),
    Parameter(String, Span),
    Call(String, Vec<Attribute>),
    List(Vec<Value>),
}

struct Attribute {
    key: String,
    span: Span,
    value: Value,
}

struct Statement {
    name: (String, Span),
    op: (String, Span),
    operands: Vec<(String, Span)>,
    attributes: Vec<Attribute>,
    ty: (ValueType, Span),
}

struct Header {
    name: String,
    timesteps: Option<u32>,
}

struct File {
    header: Header,
    statements: Vec<Statement>,
    outputs: Vec<(String, Span)>,
    definitions: HashMap<String, (Definition, Span)>,
}

struct Parser<'a> {
    text: &'a str,
    lexer: Lexer<'a>,
    token: Token<'a>,
    generated: usize,
}

impl<'a> Parser<'a> {
    fn fail<T>(&self, span: Span, message: impl Into<String>) -> Result<T, ParseError> {
        Err(ParseError::new(self.text, span, message))
    }

    fn unexpected<T>(&self, expected: &str) -> Result<T, ParseError> {
        self.fail(self.token.span.clone(), format!("expected {expected}"))
    }

    fn advance(&mut self) -> Result<Token<'a>, ParseError> {
        let next = self.lexer.next()?;
        Ok(std::mem::replace(&mut self.token, next))
    }

    fn at(&self, mark: char) -> bool {
        self.token.kind == Kind::Mark(mark)
    }

    fn eat(&mut self, mark: char) -> Result<bool, ParseError> {
        let there = self.at(mark);
        if there {
            self.advance()?;
        }
        Ok(there)
    }

    fn expect(&mut self, mark: char) -> Result<(), ParseError> {
        if self.eat(mark)? { Ok(()) } else { self.unexpected(&format!("`{mark}`")) }
    }

    fn atom(&mut self, expected: &str) -> Result<(&'a str, Span), ParseError> {
        match self.token.kind {
            Kind::Atom(atom) => Ok((atom, self.advance()?.span)),
            _ => self.unexpected(expected),
        }
    }

    fn keyword(&mut self, word: &str) -> Result<(), ParseError> {
        if self.token.kind == Kind::Atom(word) { self.advance().map(drop) } else { self.unexpected(&format!("`{word}`")) }
    }

    fn node_name(&mut self) -> Result<(String, Span), ParseError> {
        match &self.token.kind {
            Kind::Node(name) => {
                let name = name.to_string();
                Ok((name, self.advance()?.span))
            }
            _ => self.unexpected("a node's name such as `%conv1`"),
        }
    }

    fn at_name(&mut self, expected: &str) -> Result<(String, Span), ParseError> {
        match &self.token.kind {
            Kind::At(name) => {
                let name = name.to_string();
                Ok((name, self.advance()?.span))
            }
            _ => self.unexpected(expected),
        }
    }

    fn number<T: std::str::FromStr>(&mut self, expected: &str) -> Result<T, ParseError> {
        let (atom, span) = self.atom(expected)?;
        atom.parse().or_else(|_| self.fail(span, format!("expected {expected}")))
    }

    fn file(&mut self) -> Result<File, ParseError> {
        let mut definitions = HashMap::new();
        self.definitions(&mut definitions)?;
        self.keyword("graph")?;
        let (name, _) = self.at_name("the graph's name such as `@lenet`")?;
        let mut timesteps = None;
        if self.token.kind == Kind::Atom("steps") {
            self.advance()?;
            self.expect('=')?;
            timesteps = Some(self.number("a number of steps")?);
        }
        self.expect('{')?;
        let mut statements = Vec::new();
        while matches!(self.token.kind, Kind::Node(_)) {
            statements.push(self.statement()?);
        }
        let mut outputs = Vec::new();
        if self.token.kind == Kind::Atom("output") {
            self.advance()?;
            outputs.push(self.node_name()?);
            while self.eat(',')? {
                outputs.push(self.node_name()?);
            }
        }
        if !self.eat('}')? {
            return self.unexpected(if outputs.is_empty() { "a node, `output` or `}`" } else { "`}`" });
        }
        self.definitions(&mut definitions)?;
        if self.token.kind != Kind::End {
            return self.unexpected("a parameter such as `@conv1.weight`, or the end");
        }
        Ok(File { header: Header { name, timesteps }, statements, outputs, definitions })
    }

    fn definitions(&mut self, definitions: &mut HashMap<String, (Definition, Span)>) -> Result<(), ParseError> {
        while matches!(self.token.kind, Kind::At(_)) {
            let (name, span) = self.at_name("a parameter")?;
            self.expect('=')?;
            let (word, at) = self.atom("an element type")?;
            let Some(element) = ElementType::from_name(word) else {
                return self.fail(at, "expected an element type: f32, i8, i16 or i32");
            };
            let definition = self.tensor(element)?;
            if definitions.insert(name, (definition, span.clone())).is_some() {
                return self.fail(span, "there is already a parameter of this name");
            }
        }
        Ok(())
    }

    fn statement(&mut self) -> Result<Statement, ParseError> {
        let name = self.node_name()?;
        self.expect('=')?;
        let (op, op_span) = self.atom("an operation")?;
        let mut operands = Vec::new();
        let mut attributes: Vec<Attribute> = Vec::new();
        while !self.at(':') {
            if !(operands.is_empty() && attributes.is_empty()) {
                self.expect(',')?;
            }
            if !matches!(self.token.kind, Kind::Node(_)) {
                attributes.push(self.attribute(0)?);
            } else if attributes.is_empty() {
                operands.push(self.node_name()?);
            } else {
                return self.unexpected("an attribute; operands come first");
            }
        }
        self.unique(&attributes)?;
        self.expect(':')?;
        let ty = self.value_type()?;
        Ok(Statement { name, op: (op.to_string(), op_span), operands, attributes, ty })
    }

    fn unique(&self, attributes: &[Attribute]) -> Result<(), ParseError> {
        let mut seen = std::collections::HashSet::new();
        match attributes.iter().find(|a| !seen.insert(&a.key)) {
            None => Ok(()),
            Some(a) => self.fail(a.span.clone(), format!("attribute `{}` is here twice", a.key)),
        }
    }

    fn value_type(&mut self) -> Result<(ValueType, Span), ParseError> {
        let (word, start) = self.atom("a type such as `current[6x28x28]`")?;
        let Some(signal) = Signal::from_name(word) else {
            return self.fail(start, "expected a signal: analog, current, spikes or potential");
        };
        let (shape, end) = self.shape()?;
        Ok((ValueType { signal, shape }, start.start..end))
    }

    /// `[6x28x28]`, and the byte after it.
    fn shape(&mut self) -> Result<(Vec<usize>, usize), ParseError> {
        self.expect('[')?;
        let mut shape = Vec::new();
        if !self.at(']') {
            let (atom, span) = self.atom("a shape such as `6x28x28`")?;
            match parse_dims(atom) {
                Some(dims) => shape = dims,
                None => return self.fail(span, "expected a shape such as `6x28x28`"),
            }
        }
        let end = self.token.span.end;
        self.expect(']')?;
        Ok((shape, end))
    }

    fn attribute(&mut self, depth: usize) -> Result<Attribute, ParseError> {
        let (key, span) = self.atom("an operand or an attribute")?;
        self.expect('=')?;
        Ok(Attribute { key: key.to_string(), span, value: self.value(depth)? })
    }

    fn value(&mut self, depth: usize) -> Result<Value, ParseError> {
        if depth > MAX_DEPTH {
            return self.fail(self.token.span.clone(), "attributes are nested too deeply");
        }
        match &self.token.kind {
            Kind::At(_) => self.at_name("a parameter").map(|(name, span)| Value::Parameter(name, span)),
            Kind::Mark('[') => self.list(depth),
            Kind::Atom(_) => {
                let (atom, span) = self.atom("a value")?;
                match ElementType::from_name(atom) {
                    Some(element) => self.inline_tensor(element, span),
                    None if self.at('(') => self.call(depth).map(|attributes| Value::Call(atom.to_string(), attributes)),
                    None => self.plain(atom, span).map(Value::Plain),
                }
            }
            _ => self.unexpected("a value"),
        }
    }

    fn plain(&self, atom: &str, span: Span) -> Result<Attr, ParseError> {
        let first = atom.as_bytes()[0];
        if let Ok(i) = atom.parse::<i64>()
            && atom != "-0"
        {
            return Ok(Attr::Int(i));
        }
        if let Some(f) = parse_float(atom) {
            return Ok(Attr::Float(f));
        }
        if let Some(dims) = parse_dims(atom) {
            return Ok(Attr::Dims(dims));
        }
        if first.is_ascii_alphabetic() { Ok(Attr::Word(atom.to_string())) } else { self.fail(span, "expected a value") }
    }

    fn call(&mut self, depth: usize) -> Result<Vec<Attribute>, ParseError> {
        self.expect('(')?;
        let mut attributes = Vec::new();
        while !self.at(')') {
            if !attributes.is_empty() {
                self.expect(',')?;
            }
            attributes.push(self.attribute(depth + 1)?);
        }
        self.expect(')')?;
        self.unique(&attributes)?;
        Ok(attributes)
    }

    /// `[1, -2]` or `[conv(..), identity()]`.
    fn list(&mut self, depth: usize) -> Result<Value, ParseError> {
        self.expect('[')?;
        let mut integers = Vec::new();
        let mut calls = Vec::new();
        while !self.at(']') {
            if !(integers.is_empty() && calls.is_empty()) {
                self.expect(',')?;
            }
            let span = self.token.span.clone();
            match self.value(depth + 1)? {
                Value::Plain(Attr::Int(i)) if calls.is_empty() => integers.push(i),
                call @ Value::Call(..) if integers.is_empty() => calls.push(call),
                _ => return self.fail(span, "a list holds integers or operations"),
            }
        }
        self.expect(']')?;
        Ok(if calls.is_empty() { Value::Plain(Attr::Ints(integers)) } else { Value::List(calls) })
    }

    /// `i32(5)`, or a tensor written where it is used: `f32[2x2] splat(1)`.
    fn inline_tensor(&mut self, element: ElementType, span: Span) -> Result<Value, ParseError> {
        if self.eat('(')? {
            let (number, at) = self.atom("a number")?;
            let tensor = from_numbers(element, Vec::new(), &[number]);
            self.expect(')')?;
            return tensor.map(|t| Value::Plain(Attr::Tensor(t))).or_else(|_| self.fail(at, format!("this is no {}", element.name())));
        }
        match self.tensor(element)? {
            Definition::Tensor(t) => Ok(Value::Plain(Attr::Tensor(t))),
            Definition::Summary(..) => self.fail(span, "a summary needs a name"),
        }
    }

    /// What follows the element type: shape and values.
    fn tensor(&mut self, element: ElementType) -> Result<Definition, ParseError> {
        let start = self.token.span.start;
        let (shape, end) = self.shape()?;
        let Some(count) = element_count(&shape) else { return self.fail(start..end, "this shape is too large") };
        if self.at('[') {
            return self.literal(element, shape, count).map(Definition::Tensor);
        }
        let (form, span) = self.atom("values: [..], splat(..), seeded(..), base64(..) or summary(..)")?;
        self.expect('(')?;
        let definition = match form {
            "summary" => Definition::Summary(element, shape, self.summary()?),
            "base64" => Definition::Tensor(self.base64(element, shape)?),
            "splat" | "seeded" => {
                self.generated = self.generated.saturating_add(count);
                if self.generated > MAX_GENERATED {
                    return self.fail(start..end, format!("generated parameters are limited to {MAX_GENERATED} elements"));
                }
                Definition::Tensor(if form == "splat" { self.splat(element, shape, count)? } else { self.seeded(element, shape)? })
            }
            _ => return self.fail(span, "expected splat, seeded, base64 or summary"),
        };
        self.expect(')')?;
        Ok(definition)
    }

    fn literal(&mut self, element: ElementType, shape: Vec<usize>, count: usize) -> Result<Tensor, ParseError> {
        let start = self.token.span.start;
        self.expect('[')?;
        let mut numbers: Vec<(&str, Span)> = Vec::new();
        while !self.at(']') {
            if !numbers.is_empty() {
                self.expect(',')?;
            }
            numbers.push(self.atom("a number")?);
        }
        let end = self.token.span.end;
        self.expect(']')?;
        if numbers.len() != count {
            return self.fail(start..end, format!("the shape needs {count} elements, here are {}", numbers.len()));
        }
        let texts: Vec<&str> = numbers.iter().map(|(n, _)| *n).collect();
        from_numbers(element, shape, &texts).or_else(|i| self.fail(numbers[i].1.clone(), format!("this is no {}", element.name())))
    }

    /// `min=.., max=.., hash=..`; only the hash counts, the range is for the reader.
    fn summary(&mut self) -> Result<u64, ParseError> {
        for key in ["min", "max"] {
            self.keyword(key)?;
            self.expect('=')?;
            self.atom("a number")?;
            self.expect(',')?;
        }
        self.keyword("hash")?;
        self.expect('=')?;
        let (hash, span) = self.atom("a hash")?;
        u64::from_str_radix(hash, 16).or_else(|_| self.fail(span, "expected a hash of 16 hexadecimal digits"))
    }

    fn base64(&mut self, element: ElementType, shape: Vec<usize>) -> Result<Tensor, ParseError> {
        let token = self.advance()?;
        let Kind::Text(encoded) = &token.kind else { return self.fail(token.span, "expected base64 in quotes") };
        match STANDARD.decode(encoded.as_bytes()) {
            Ok(bytes) => match Tensor::from_le_bytes(element, shape, &bytes) {
                Some(tensor) => Ok(tensor),
                None => self.fail(token.span, format!("{} bytes do not fill the shape", bytes.len())),
            },
            Err(e) => self.fail(token.span, format!("this is no base64: {e}")),
        }
    }

    fn splat(&mut self, element: ElementType, shape: Vec<usize>, count: usize) -> Result<Tensor, ParseError> {
        let (number, span) = self.atom("a number")?;
        let one = from_numbers(element, vec![1], &[number]).or_else(|_| self.fail(span, format!("this is no {}", element.name())))?;
        let bytes = one.to_le_bytes().repeat(count);
        Ok(Tensor::from_le_bytes(element, shape, &bytes).expect("there are as many bytes as the shape needs"))
    }

    fn seeded(&mut self, element: ElementType, shape: Vec<usize>) -> Result<Tensor, ParseError> {
        let seed = self.number("a seed")?;
        let mut scale = 1.0;
        if self.eat(',')? {
            let (number, span) = self.atom("a scale")?;
            scale = parse_float(number).map_or_else(|| self.fail(span, "expected a scale"), Ok)?;
        }
        Ok(seeded(element, shape, seed, scale))
    }
}

/// `3x3`, `7`.
fn parse_dims(atom: &str) -> Option<Vec<usize>> {
    atom.split('x').map(|d| if d.bytes().all(|b| b.is_ascii_digit()) { d.parse().ok() } else { None }).collect()
}

/// Makes a graph of the statements.
struct Builder<'a, R> {
    text: &'a str,
    resolver: R,
    definitions: HashMap<String, (Definition, Span)>,
}

impl<R: Fn(&str, u64) -> Option<Tensor>> Builder<'_, R> {
    fn fail<T>(&self, span: &Span, message: impl Into<String>) -> Result<T, ParseError> {
        Err(ParseError::new(self.text, span.clone(), message))
    }

    fn build(self, header: Header, statements: Vec<Statement>, outputs: Vec<(String, Span)>) -> Result<Graph, ParseError> {
        let mut graph = Graph::new(header.name);
        graph.timesteps = header.timesteps;
        for s in statements {
            let operands = s.operands.iter().map(|o| self.find(&graph, o)).collect::<Result<Vec<NodeId>, _>>()?;
            let spans: Vec<(String, Span)> = s.attributes.iter().map(|a| (a.key.clone(), a.span.clone())).collect();
            let attributes = self.attributes(s.attributes)?;
            let written = &s.ty.0;
            let op = Op::from_attributes(&s.op.0, attributes, (written.signal, &written.shape)).or_else(|e| {
                let key = match &e {
                    AttrError::Kind { key, .. } | AttrError::Unknown(key) => Some(key),
                    AttrError::Missing(_) | AttrError::UnknownOp(_) => None,
                };
                let span = spans.iter().find(|(k, _)| Some(k) == key).map_or(&s.op.1, |(_, span)| span);
                self.fail(span, e.to_string())
            })?;
            let id = graph.add(s.name.0, op, &operands).or_else(|e| self.fail(&s.name.1, e.to_string()))?;
            if graph.ty(id) != written {
                return self.fail(&s.ty.1, format!("the type is {}", graph.ty(id)));
            }
        }
        let outputs = outputs.iter().map(|o| self.find(&graph, o)).collect::<Result<Vec<NodeId>, _>>()?;
        graph.set_outputs(outputs);
        Ok(graph)
    }

    fn find(&self, graph: &Graph, (name, span): &(String, Span)) -> Result<NodeId, ParseError> {
        graph.find(name).map_or_else(|| self.fail(span, format!("there is no node `{name}` above")), Ok)
    }

    fn attributes(&self, attributes: Vec<Attribute>) -> Result<Attrs, ParseError> {
        attributes.into_iter().map(|a| Ok((a.key, self.resolve(a.value)?))).collect::<Result<_, _>>().map(Attrs)
    }

    fn resolve(&self, value: Value) -> Result<Attr, ParseError> {
        Ok(match value {
            Value::Plain(attr) => attr,
            Value::Call(name, attributes) => Attr::Call(name, self.attributes(attributes)?),
            Value::List(items) => Attr::List(items.into_iter().map(|v| self.resolve(v)).collect::<Result<_, _>>()?),
            Value::Parameter(name, span) => Attr::Tensor(self.parameter(&name, &span)?),
        })
    }

    fn parameter(&self, name: &str, span: &Span) -> Result<Tensor, ParseError> {
        match self.definitions.get(name) {
            None => self.fail(span, format!("there is no parameter `{name}`")),
            Some((Definition::Tensor(t), _)) => Ok(t.clone()),
            Some((Definition::Summary(element, shape, hash), at)) => match (self.resolver)(name, *hash) {
                None => self.fail(at, "this parameter is only summarised: print the graph with its parameters in full"),
                Some(t) if t.element_type() == *element && t.shape() == shape && t.content_hash() == *hash => Ok(t),
                Some(_) => self.fail(at, "the parameter found under this name is another one"),
            },
        }
    }
}
