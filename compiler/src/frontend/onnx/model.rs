//! An ONNX file in memory: loaded, its graph checked and put in order.

use super::error::ImportError;
use super::inline::inline_functions;
use super::tensor::{inside, location};
use super::wire;
use prost::Message;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use tract_onnx::pb::{GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto};

/// A decoded model file.
pub struct Model {
    /// Where it came from.
    pub path: PathBuf,
    proto: ModelProto,
}

impl Model {
    /// Loads the file.
    ///
    /// # Errors
    /// When it cannot be read, is no protobuf of a model, would decode into much more memory than it is long, or holds
    /// no graph.
    pub fn load(path: &Path) -> Result<Self, ImportError> {
        let bytes = crate::files::read(path, crate::files::MAX_MODEL).map_err(|source| ImportError::Read { path: path.into(), source })?;
        Model::decode(path, &bytes)
    }

    /// The model stored as `bytes`; `path` is for messages and says where external data lies.
    ///
    /// # Errors
    /// As [`Model::load`].
    pub fn decode(path: &Path, bytes: &[u8]) -> Result<Self, ImportError> {
        let refuse = |reason: String| ImportError::Format { path: path.into(), reason };
        wire::check_expansion(bytes).map_err(&refuse)?;
        let mut proto = ModelProto::decode(bytes).map_err(|e| refuse(e.to_string()))?;
        inline_functions(&mut proto).map_err(&refuse)?;
        if proto.graph.is_none() {
            return Err(refuse("it holds no graph".into()));
        }
        Ok(Model { path: path.into(), proto })
    }

    /// The folder that external data must lie in.
    pub fn directory(&self) -> PathBuf {
        match self.path.parent() {
            Some(p) if p != Path::new("") => p.into(),
            _ => ".".into(),
        }
    }

    /// Checks that no tensor of the model, whether anything reads it or not, has its data outside of the model's folder, or
    /// in something that is no file: tract opens them all.
    ///
    /// # Errors
    /// [`ImportError::Broken`], naming the tensor.
    pub fn check_external_data(&self) -> Result<(), ImportError> {
        let folder = self.directory();
        let mut graphs: Vec<&GraphProto> = self.proto.graph.iter().collect();
        let mut seen: HashSet<&str> = HashSet::new();
        while let Some(graph) = graphs.pop() {
            let attributes = || graph.node.iter().flat_map(|n| &n.attribute);
            graphs.extend(attributes().flat_map(|a| a.g.iter().chain(&a.graphs)));
            let sparse = graph.sparse_initializer.iter().flat_map(|s| s.values.iter().chain(&s.indices));
            let of_nodes = attributes().flat_map(|a| a.t.iter().chain(&a.tensors));
            for tensor in graph.initializer.iter().chain(sparse).chain(of_nodes) {
                let Some(location) = location(tensor).filter(|l| seen.insert(l)) else { continue };
                inside(&folder, location).map_err(|reason| ImportError::Broken {
                    path: self.path.clone(),
                    reason: format!("external data of tensor `{}`: {reason}", tensor.name),
                })?;
            }
        }
        Ok(())
    }

    /// The whole file.
    pub fn proto(&self) -> &ModelProto {
        &self.proto
    }

    /// Version of the operator set of `domain`; ONNX's own is the empty one.
    pub fn opset(&self, domain: &str) -> Option<i64> {
        let normal = |d: &str| if d == "ai.onnx" { String::new() } else { d.to_string() };
        self.proto.opset_import.iter().find(|o| normal(&o.domain) == normal(domain)).map(|o| o.version)
    }

    /// `name version` of the program that wrote the file.
    pub fn producer(&self) -> String {
        format!("{} {}", self.proto.producer_name, self.proto.producer_version).trim().to_string()
    }

    /// The graph, checked and in order.
    ///
    /// # Errors
    /// [`ImportError::Broken`] when a name is defined twice or never, or nodes depend on each other in a circle.
    pub fn ordered(&self) -> Result<OrderedGraph<'_>, ImportError> {
        let graph = self.proto.graph.as_ref().expect("decode checked for a graph");
        OrderedGraph::new(graph).map_err(|reason| ImportError::Broken { path: self.path.clone(), reason })
    }
}

/// The part of a graph that its outputs depend on.
pub struct OrderedGraph<'m> {
    /// The graph.
    pub graph: &'m GraphProto,
    /// Inputs that are no initializers.
    pub inputs: Vec<&'m ValueInfoProto>,
    /// Initializers by name.
    pub initializers: HashMap<&'m str, &'m TensorProto>,
    /// Nodes that the outputs need, operands first, otherwise in file order, each with its name: the ONNX name when it
    /// has one of its own, else that of its first output.
    pub nodes: Vec<(&'m NodeProto, String)>,
    /// What the network answers: the names of the outputs, its operand in the place of a closing ArgMax.
    pub outputs: Vec<&'m str>,
    /// ArgMax nodes at the end that were left out.
    pub dropped: Vec<&'m NodeProto>,
    /// Tensors that are read by a needed node or are outputs.
    read: HashSet<&'m str>,
}

/// Names that a node and the graphs inside it read.
fn reads(node: &NodeProto) -> Vec<&str> {
    let mut names: Vec<&str> = node.input.iter().map(String::as_str).filter(|n| !n.is_empty()).collect();
    let mut inner: Vec<&NodeProto> = vec![node];
    while let Some(n) = inner.pop() {
        for graph in n.attribute.iter().flat_map(|a| a.g.iter().chain(&a.graphs)) {
            names.extend(graph.node.iter().flat_map(|n| &n.input).map(String::as_str));
            inner.extend(&graph.node);
        }
    }
    names
}

impl<'m> OrderedGraph<'m> {
    fn new(graph: &'m GraphProto) -> Result<Self, String> {
        let mut initializers = HashMap::new();
        for t in &graph.initializer {
            if initializers.insert(t.name.as_str(), t).is_some() {
                return Err(format!("there are two initializers named `{}`", t.name));
            }
        }
        let mut defined: HashSet<&str> = initializers.keys().copied().collect();
        let mut inputs = Vec::new();
        for i in graph.input.iter().filter(|i| !initializers.contains_key(i.name.as_str())) {
            if !defined.insert(&i.name) {
                return Err(format!("there are two inputs named `{}`", i.name));
            }
            inputs.push(i);
        }
        let mut producers: HashMap<&str, usize> = HashMap::new();
        for (at, node) in graph.node.iter().enumerate() {
            for output in node.output.iter().filter(|o| !o.is_empty()) {
                if !defined.insert(output) {
                    return Err(format!("`{output}` is defined twice, the second time by node `{}` ({})", node.name, node.op_type));
                }
                producers.insert(output, at);
            }
        }
        if graph.output.is_empty() {
            return Err("the graph has no outputs".into());
        }
        let mut outputs = Vec::new();
        let mut answered: HashSet<&str> = HashSet::new();
        let mut dropped: Vec<&NodeProto> = Vec::new();
        for output in graph.output.iter().map(|o| o.name.as_str()) {
            if !defined.contains(output) {
                return Err(format!("output `{output}` is not defined"));
            }
            let (name, arg_max) = before_arg_max(graph, &producers, output);
            dropped.extend(arg_max);
            if answered.insert(name) {
                outputs.push(name);
            }
        }
        let nodes = order(graph, &defined, &producers, &outputs)?;
        let mut uses: HashMap<&str, usize> = HashMap::new();
        nodes.iter().for_each(|n| *uses.entry(&n.name).or_default() += 1);
        let name = |n: &NodeProto| match n.name.as_str() {
            "" => n.output.iter().find(|o| !o.is_empty()).cloned().unwrap_or_default(),
            name if uses[name] > 1 => n.output.iter().find(|o| !o.is_empty()).cloned().unwrap_or_default(),
            name => name.to_string(),
        };
        let nodes: Vec<(&'m NodeProto, String)> = nodes.into_iter().map(|n| (n, name(n))).collect();
        let mut read: HashSet<&str> = nodes.iter().flat_map(|(n, _): &(&'m NodeProto, String)| reads(n)).collect();
        read.extend(&outputs);
        Ok(OrderedGraph { graph, inputs, initializers, nodes, outputs, dropped, read })
    }

    /// Whether the tensor is read by a needed node or is an output.
    pub fn is_read(&self, tensor: &str) -> bool {
        self.read.contains(tensor)
    }
}

/// The tensor that a closing ArgMax, with what makes a label of it, picks from, with the ArgMax, or the output itself.
fn before_arg_max<'m>(graph: &'m GraphProto, producers: &HashMap<&str, usize>, output: &'m str) -> (&'m str, Option<&'m NodeProto>) {
    let mut at = output;
    for _ in 0..8 {
        let Some(node) = producers.get(at).map(|&n| &graph.node[n]) else { break };
        match (node.op_type.as_str(), node.input.first()) {
            ("ArgMax", Some(input)) if !input.is_empty() => return (input, Some(node)),
            ("Cast" | "Squeeze" | "Identity" | "Reshape" | "LabelEncoder", Some(input)) => at = input,
            // The names of the classes, and which of them it is.
            ("ArrayFeatureExtractor", _) if node.input.len() == 2 => at = &node.input[1],
            _ => break,
        }
    }
    (output, None)
}

/// The nodes that `outputs` need, operands before users, otherwise in file order.
fn order<'m>(
    graph: &'m GraphProto,
    defined: &HashSet<&str>,
    producers: &HashMap<&str, usize>,
    outputs: &[&str],
) -> Result<Vec<&'m NodeProto>, String> {
    let mut waiting: HashMap<usize, usize> = HashMap::new();
    let mut users: HashMap<usize, Vec<usize>> = HashMap::new();
    let mut left: Vec<usize> = outputs.iter().filter_map(|o| producers.get(o).copied()).collect();
    while let Some(at) = left.pop() {
        if waiting.contains_key(&at) {
            continue;
        }
        let node = &graph.node[at];
        if let Some(missing) = node.input.iter().find(|i| !i.is_empty() && !defined.contains(i.as_str())) {
            return Err(format!("node `{}` ({}) reads `{missing}`, which is not defined", node.name, node.op_type));
        }
        let mut sources: Vec<usize> = reads(node).into_iter().filter_map(|n| producers.get(n).copied()).collect();
        sources.sort_unstable();
        sources.dedup();
        waiting.insert(at, sources.len());
        for source in sources {
            users.entry(source).or_default().push(at);
            left.push(source);
        }
    }
    let mut ready: BinaryHeap<Reverse<usize>> = waiting.iter().filter(|&(_, &n)| n == 0).map(|(&at, _)| Reverse(at)).collect();
    let mut ordered = Vec::with_capacity(waiting.len());
    while let Some(Reverse(at)) = ready.pop() {
        ordered.push(&graph.node[at]);
        for user in users.get(&at).into_iter().flatten() {
            let count = waiting.get_mut(user).expect("users are counted");
            *count -= 1;
            if *count == 0 {
                ready.push(Reverse(*user));
            }
        }
    }
    if ordered.len() == waiting.len() {
        return Ok(ordered);
    }
    let stuck = waiting.iter().filter(|&(_, &n)| n > 0).map(|(&at, _)| at).min().expect("some node was not reached");
    let node = &graph.node[stuck];
    Err(format!("node `{}` ({}) depends on itself", node.name, node.op_type))
}
