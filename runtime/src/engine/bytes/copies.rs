//! Moved counts.

use super::layout::Layout;
use crate::engine::plan::node::PlanNode;
use crate::layout::ElementMap;

/// Moved counts: runs of neighbouring bytes.
#[derive(Debug)]
pub struct Copies(Vec<Copy>);

#[derive(Debug)]
struct Copy {
    operand: usize,
    from: usize,
    to: usize,
    length: usize,
}

impl Copies {
    /// The moves of node `i`, if all of its operands are counts.
    pub fn new(map: &ElementMap, i: usize, nodes: &[PlanNode], layouts: &[Option<Layout>]) -> Option<Self> {
        let (node, layout) = (&nodes[i], layouts[i].as_ref()?);
        let operands: Vec<(&PlanNode, &Layout)> =
            node.operands.iter().map(|&o| Some((&nodes[o], layouts[o].as_ref()?))).collect::<Option<_>>()?;
        let ends = node.ends_of_operands(nodes);
        let mut copies: Vec<Copy> = Vec::new();
        for (e, &source) in map.source.iter().enumerate().filter(|(_, s)| **s != ElementMap::FILL) {
            let to = layout.at(e / node.channels) + e % node.channels;
            let (index, element) = ends.locate(source as usize);
            let (from, channels) = (operands[index].1, operands[index].0.channels);
            let (operand, from) = (node.operands[index], from.at(element / channels) + element % channels);
            match copies.last_mut() {
                Some(c) if c.operand == operand && c.from + c.length == from && c.to + c.length == to => c.length += 1,
                _ => copies.push(Copy { operand, from, to, length: 1 }),
            }
        }
        Some(Copies(copies))
    }

    /// Moves the counts; what comes from nowhere stays as it is. `plane` is an operand's.
    pub fn run<'a>(&self, plane: impl Fn(usize) -> &'a [u8], out: &mut [u8]) {
        for c in &self.0 {
            out[c.to..][..c.length].copy_from_slice(&plane(c.operand)[c.from..][..c.length]);
        }
    }
}
