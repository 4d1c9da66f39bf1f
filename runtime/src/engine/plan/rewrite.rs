//! What is done to nodes before they are laid out: less of them runs step by step.

use super::node::{Mode, PlanNode, Work};
use crate::layout::ElementMap;

/// The users of every node's value.
pub fn users(nodes: &[PlanNode]) -> Vec<Vec<usize>> {
    let mut users: Vec<Vec<usize>> = vec![Vec::new(); nodes.len()];
    for (i, node) in nodes.iter().enumerate().filter(|(_, n)| n.mode != Mode::Unused) {
        node.operands.iter().for_each(|&o| users[o].push(i));
    }
    users
}

/// Computes on sums what is linear, or rounds sums, and is only read out.
pub fn sum_up_what_is_read_out(nodes: &mut [PlanNode], users: &[Vec<usize>]) {
    for i in (0..nodes.len()).rev() {
        let linear = match &nodes[i].work {
            Work::Layer(l) => l.neuron.is_none(),
            // The sum of what it sends depends on the sum of what it gets alone.
            Work::Structural(_) | Work::Requantize(_) => true,
            _ => false,
        };
        if nodes[i].mode == Mode::Stepped && linear && !users[i].is_empty() && users[i].iter().all(|&u| nodes[u].mode == Mode::Summed) {
            nodes[i].mode = Mode::Summed;
        }
    }
}

/// Makes chains of moves of spikes one move: what only moves use need not be computed.
pub fn join_moves(nodes: &mut [PlanNode]) {
    let moves = |n: &PlanNode| n.mode == Mode::Stepped && n.is_spikes() && matches!(n.work, Work::Structural(_));
    for i in 0..nodes.len() {
        if !moves(&nodes[i]) || !nodes[i].operands.iter().any(|&o| moves(&nodes[o])) {
            continue;
        }
        let ends = nodes[i].ends_of_operands(nodes);
        let (mut operands, mut parts, mut end) = (Vec::new(), Vec::new(), 0);
        for &o in &nodes[i].operands {
            let inner = if let (true, Work::Structural(map)) = (moves(&nodes[o]), &nodes[o].work) { Some(map) } else { None };
            let sources = if inner.is_some() { nodes[o].operands.clone() } else { vec![o] };
            parts.push((end, inner));
            end += sources.iter().map(|&s| nodes[s].len()).sum::<usize>();
            operands.extend(sources);
        }
        // A few elements of many operands, again and again, would grow without end.
        if operands.len() > nodes[i].len() + nodes[i].operands.len() || end >= ElementMap::FILL as usize {
            continue;
        }
        let Work::Structural(map) = &nodes[i].work else { continue };
        let through = |&source: &u32| {
            if source == ElementMap::FILL {
                return source;
            }
            let (operand, e) = ends.locate(source as usize);
            let (base, inner) = parts[operand];
            match inner.map_or(e as u32, |m| m.source[e]) {
                ElementMap::FILL => ElementMap::FILL,
                from => base as u32 + from,
            }
        };
        let source = map.source.iter().map(through).collect();
        nodes[i].work = Work::Structural(ElementMap { source, fill: 0 });
        nodes[i].operands = operands;
    }
    let mut used = vec![false; nodes.len()];
    for i in (0..nodes.len()).rev() {
        if moves(&nodes[i]) && !used[i] {
            nodes[i].mode = Mode::Unused;
        } else {
            nodes[i].operands.iter().for_each(|&o| used[o] = true);
        }
    }
}
