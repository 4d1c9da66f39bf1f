//! The graph: operations as nodes of a `petgraph`, operands as edges in operand order.

use crate::infer::{TypeError, infer};
use crate::op::Op;
use crate::signal::{Signal, ValueType};
use petgraph::Direction;
use petgraph::stable_graph::{NodeIndex, StableDiGraph};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use thiserror::Error;

/// Identity of a node for the life of its graph: never reused, so it is a safe key for side tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(u64);

/// An operation with its name and the type of its result.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    name: String,
    op: Op,
    ty: ValueType,
}

impl Node {
    /// Unique name, taken from the ONNX graph where there is one.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The operation.
    pub fn op(&self) -> &Op {
        &self.op
    }

    /// Signal and shape of the result.
    pub fn ty(&self) -> &ValueType {
        &self.ty
    }
}

/// Why a graph could not be built or changed.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum GraphError {
    /// The operation does not fit its operands.
    #[error("node `{name}` ({op}): {source}")]
    Type {
        /// Name of the node.
        name: String,
        /// Its operation.
        op: &'static str,
        /// What does not fit.
        source: TypeError,
    },
    /// Two nodes of one name.
    #[error("there is already a node named `{0}`")]
    DuplicateName(String),
    /// The graph has a cycle.
    #[error("the graph has a cycle through node `{0}`")]
    Cycle(String),
}

/// A network at any stage between import and the last pass. Two graphs are equal when they hold equal nodes in equal
/// topological order with equal operands, outputs and window length.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    /// The network's name.
    pub name: String,
    /// The window length T the graph was converted for, once that is known.
    pub timesteps: Option<u32>,
    graph: StableDiGraph<(NodeId, Node), u32>,
    index: HashMap<NodeId, NodeIndex>,
    names: HashMap<String, NodeId>,
    outputs: Vec<NodeId>,
    next: u64,
}

impl Graph {
    /// An empty graph.
    pub fn new(name: impl Into<String>) -> Self {
        Graph { name: name.into(), ..Graph::default() }
    }

    fn at(&self, id: NodeId) -> NodeIndex {
        *self.index.get(&id).expect("node ids of a graph stay with that graph")
    }

    /// Adds a node.
    ///
    /// # Errors
    /// When the name is taken or the operation does not fit its operands.
    pub fn add(&mut self, name: impl Into<String>, op: Op, operands: &[NodeId]) -> Result<NodeId, GraphError> {
        let name = name.into();
        if self.names.contains_key(&name) {
            return Err(GraphError::DuplicateName(name));
        }
        let ty = self.infer_for(&name, &op, operands)?;
        let id = NodeId(self.next);
        self.next += 1;
        let at = self.graph.add_node((id, Node { name: name.clone(), op, ty }));
        self.index.insert(id, at);
        self.names.insert(name, id);
        self.connect(id, operands);
        Ok(id)
    }

    fn infer_for(&self, name: &str, op: &Op, operands: &[NodeId]) -> Result<ValueType, GraphError> {
        let types: Vec<&ValueType> = operands.iter().map(|&o| self.node(o).ty()).collect();
        infer(op, &types).map_err(|source| GraphError::Type { name: name.into(), op: op.name(), source })
    }

    fn connect(&mut self, id: NodeId, operands: &[NodeId]) {
        let at = self.at(id);
        for (port, &operand) in operands.iter().enumerate() {
            self.graph.add_edge(self.at(operand), at, port as u32);
        }
    }

    /// Number of elements of all parameters.
    pub fn parameter_count(&self) -> usize {
        self.ids().flat_map(|id| self.op(id).parameters()).map(|(_, t)| t.len()).sum()
    }

    /// Whether `id` is a node of this graph (still).
    pub fn contains(&self, id: NodeId) -> bool {
        self.index.contains_key(&id)
    }

    /// The node `id`.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.graph[self.at(id)].1
    }

    /// The operation of node `id`.
    pub fn op(&self, id: NodeId) -> &Op {
        &self.node(id).op
    }

    /// The type of node `id`.
    pub fn ty(&self, id: NodeId) -> &ValueType {
        &self.node(id).ty
    }

    /// The node called `name`.
    pub fn find(&self, name: &str) -> Option<NodeId> {
        self.names.get(name).copied()
    }

    /// `base`, or `base` followed by a free number: the first one, unless nodes with lower numbers
    /// were removed. It takes a logarithm of the number of names of that base, since one ONNX node
    /// may become a hundred thousand nodes.
    pub fn fresh_name(&self, base: &str) -> String {
        if !self.names.contains_key(base) {
            return base.to_string();
        }
        let is_taken = |i: &usize| self.names.contains_key(&format!("{base}.{i}"));
        // `taken` is a number that is taken, or 0 for the base itself, and `free` one that is not.
        let mut free = std::iter::successors(Some(1), |i| Some(i * 2)).find(|i| !is_taken(i)).unwrap_or(usize::MAX);
        let mut taken = free / 2;
        while taken + 1 < free {
            let middle = taken.midpoint(free);
            if is_taken(&middle) { taken = middle } else { free = middle }
        }
        format!("{base}.{free}")
    }

    /// Number of nodes.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether there are no nodes.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// Operands of `id`, in operand order.
    pub fn operands(&self, id: NodeId) -> Vec<NodeId> {
        let mut edges: Vec<(u32, NodeId)> = Vec::new();
        let mut walk = self.graph.neighbors_directed(self.at(id), Direction::Incoming).detach();
        while let Some((edge, source)) = walk.next(&self.graph) {
            edges.push((self.graph[edge], self.graph[source].0));
        }
        edges.sort_unstable();
        edges.into_iter().map(|(_, source)| source).collect()
    }

    /// Nodes that use `id` as an operand, each once, in order of creation.
    pub fn users(&self, id: NodeId) -> Vec<NodeId> {
        let mut users: Vec<NodeId> = self.graph.neighbors_directed(self.at(id), Direction::Outgoing).map(|n| self.graph[n].0).collect();
        users.sort_unstable();
        users.dedup();
        users
    }

    /// Number of uses of `id`: operand places it fills plus outputs it is.
    pub fn use_count(&self, id: NodeId) -> usize {
        self.graph.edges_directed(self.at(id), Direction::Outgoing).count() + self.outputs.iter().filter(|&&o| o == id).count()
    }

    /// The network's outputs, in order.
    pub fn outputs(&self) -> &[NodeId] {
        &self.outputs
    }

    /// Names the network's outputs.
    pub fn set_outputs(&mut self, outputs: impl Into<Vec<NodeId>>) {
        self.outputs = outputs.into();
    }

    /// The network's inputs, in order of creation.
    pub fn inputs(&self) -> Vec<NodeId> {
        let mut inputs: Vec<NodeId> = self.ids().filter(|&id| matches!(self.op(id), Op::Input(..))).collect();
        inputs.sort_unstable();
        inputs
    }

    /// All node ids, in no particular order.
    pub fn ids(&self) -> impl Iterator<Item = NodeId> {
        self.graph.node_weights().map(|(id, _)| *id)
    }

    /// All nodes, operands before users; among nodes that are ready the oldest comes first, so that the order is a
    /// property of the graph and survives printing and parsing.
    ///
    /// # Errors
    /// [`GraphError::Cycle`].
    pub fn topological(&self) -> Result<Vec<NodeId>, GraphError> {
        let mut waiting: HashMap<NodeId, usize> =
            self.ids().map(|id| (id, self.graph.edges_directed(self.at(id), Direction::Incoming).count())).collect();
        let mut ready: BinaryHeap<Reverse<NodeId>> = waiting.iter().filter(|&(_, &n)| n == 0).map(|(&id, _)| Reverse(id)).collect();
        let mut order = Vec::with_capacity(self.len());
        while let Some(Reverse(id)) = ready.pop() {
            order.push(id);
            for user in self.graph.neighbors_directed(self.at(id), Direction::Outgoing) {
                let user = self.graph[user].0;
                let left = waiting.get_mut(&user).expect("every node was counted");
                *left -= 1;
                if *left == 0 {
                    ready.push(Reverse(user));
                }
            }
        }
        if order.len() == self.len() {
            return Ok(order);
        }
        let stuck = waiting.iter().filter(|&(_, &n)| n > 0).map(|(&id, _)| id).min().expect("some node was not reached");
        Err(GraphError::Cycle(self.node(stuck).name.clone()))
    }

    /// Replaces the operation of `id`, whose operands stay. Types of users are not touched: see [`Graph::infer_types`].
    ///
    /// # Errors
    /// When the operation does not fit its operands; the graph is then unchanged.
    pub fn set_op(&mut self, id: NodeId, op: Op) -> Result<(), GraphError> {
        let operands = self.operands(id);
        self.rewrite(id, op, &operands)
    }

    /// Replaces operation and operands of `id`; its name and users stay.
    ///
    /// # Errors
    /// When the operation does not fit the operands; the graph is then unchanged.
    pub fn rewrite(&mut self, id: NodeId, op: Op, operands: &[NodeId]) -> Result<(), GraphError> {
        let ty = self.infer_for(&self.node(id).name, &op, operands)?;
        let at = self.at(id);
        let old: Vec<_> = self.graph.edges_directed(at, Direction::Incoming).map(|e| petgraph::visit::EdgeRef::id(&e)).collect();
        old.into_iter().for_each(|e| {
            self.graph.remove_edge(e);
        });
        self.connect(id, operands);
        let node = &mut self.graph[at].1;
        node.op = op;
        node.ty = ty;
        Ok(())
    }

    /// Changes operations freely, then infers every type anew, so that intermediate states need not be consistent.
    /// `change` returns the new operation of a node, or `None` to leave it.
    ///
    /// # Errors
    /// When the result is inconsistent; the graph is then unchanged.
    pub fn rewrite_all(&mut self, mut change: impl FnMut(NodeId, &Node) -> Option<Op>) -> Result<usize, GraphError> {
        let changes: Vec<(NodeId, Op)> =
            self.topological()?.into_iter().filter_map(|id| change(id, self.node(id)).map(|op| (id, op))).collect();
        let before = self.clone();
        let count = changes.len();
        for (id, op) in changes {
            let at = self.at(id);
            self.graph[at].1.op = op;
        }
        match self.infer_types() {
            Ok(()) => Ok(count),
            Err(e) => {
                *self = before;
                Err(e)
            }
        }
    }

    /// Infers the type of every node anew, after operations changed upstream.
    ///
    /// # Errors
    /// The first node, in topological order, that does not fit its operands any more.
    pub fn infer_types(&mut self) -> Result<(), GraphError> {
        for id in self.topological()? {
            let ty = self.infer_for(&self.node(id).name, self.op(id), &self.operands(id))?;
            let at = self.at(id);
            self.graph[at].1.ty = ty;
        }
        Ok(())
    }

    /// Makes every user of `old`, and the outputs, use `new` instead (except `new` itself, so that a node can be put
    /// after `old`). Types of users are not touched.
    pub fn replace_uses(&mut self, old: NodeId, new: NodeId) {
        let edges: Vec<_> = self
            .graph
            .edges_directed(self.at(old), Direction::Outgoing)
            .map(|e| (petgraph::visit::EdgeRef::id(&e), petgraph::visit::EdgeRef::target(&e), *e.weight()))
            .collect();
        for (edge, target, port) in edges {
            if self.graph[target].0 != new {
                self.graph.remove_edge(edge);
                self.graph.add_edge(self.at(new), target, port);
            }
        }
        self.outputs.iter_mut().filter(|o| **o == old).for_each(|o| *o = new);
    }

    /// Renames `id`; a taken name gets a number at its end.
    pub fn rename(&mut self, id: NodeId, name: &str) {
        let old = self.node(id).name.clone();
        if old == name {
            return;
        }
        let name = self.fresh_name(name);
        self.names.remove(&old);
        self.names.insert(name.clone(), id);
        let at = self.at(id);
        self.graph[at].1.name = name;
    }

    /// Removes a node that nobody uses.
    ///
    /// # Panics
    /// When it is still used.
    pub fn remove(&mut self, id: NodeId) {
        assert_eq!(self.use_count(id), 0, "node `{}` is still used", self.node(id).name);
        let at = self.at(id);
        let (_, node) = self.graph.remove_node(at).expect("the node is there");
        self.names.remove(&node.name);
        self.index.remove(&id);
    }

    /// Takes a node with one operand out of the graph: its users use the operand instead.
    pub fn bypass(&mut self, id: NodeId) {
        let operand = self.operands(id)[0];
        self.replace_uses(id, operand);
        self.remove(id);
    }

    /// Removes every node that no output depends on, except inputs. Returns how many there were.
    pub fn remove_dead(&mut self) -> usize {
        let mut live: Vec<NodeId> = self.outputs.clone();
        live.extend(self.inputs());
        let mut seen: std::collections::HashSet<NodeId> = live.iter().copied().collect();
        while let Some(id) = live.pop() {
            live.extend(self.operands(id).into_iter().filter(|&o| seen.insert(o)));
        }
        let dead: Vec<NodeId> = self.ids().filter(|id| !seen.contains(id)).collect();
        for &id in &dead {
            let at = self.at(id);
            let (_, node) = self.graph.remove_node(at).expect("the node is there");
            self.names.remove(&node.name);
            self.index.remove(&id);
        }
        dead.len()
    }

    /// Whether the network spikes, that is, its inputs are currents.
    pub fn is_spiking(&self) -> bool {
        self.inputs().iter().any(|&i| self.ty(i).signal == Signal::Current)
    }

    /// Whether the network computes in integers: its inputs pass through [`Op::Encode`].
    pub fn is_quantized(&self) -> bool {
        self.ids().any(|id| matches!(self.op(id), Op::Encode { .. }))
    }
}

impl PartialEq for Graph {
    fn eq(&self, other: &Self) -> bool {
        let (Ok(a), Ok(b)) = (self.topological(), other.topological()) else { return false };
        let names = |g: &Graph, ids: &[NodeId]| ids.iter().map(|&i| g.node(i).name.clone()).collect::<Vec<_>>();
        self.name == other.name
            && self.timesteps == other.timesteps
            && a.len() == b.len()
            && a.iter()
                .zip(&b)
                .all(|(&x, &y)| self.node(x) == other.node(y) && names(self, &self.operands(x)) == names(other, &other.operands(y)))
            && names(self, &self.outputs) == names(other, &other.outputs)
    }
}
