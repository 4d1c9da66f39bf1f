//! What is done to nodes before they are laid out: less of them runs step by step.

use super::node::{ElementMap, Mode, PlanNode, Work};

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
        let (mut operands, mut parts, mut end) = (Vec::new(), Vec::new(), 0);
        for &o in &nodes[i].operands {
            let inner = if let (true, Work::Structural(map)) = (moves(&nodes[o]), &nodes[o].work) { Some(map) } else { None };
            let sources = if inner.is_some() { nodes[o].operands.clone() } else { vec![o] };
            parts.push((nodes[o].len(), end, inner));
            end += sources.iter().map(|&s| nodes[s].len()).sum::<usize>();
            operands.extend(sources);
        }
        let Work::Structural(map) = &nodes[i].work else { continue };
        let through = |&source: &u32| {
            let mut e = source as usize;
            for &(len, base, inner) in &parts {
                if e < len {
                    let from = inner.map_or(e as u32, |m| m.source[e]);
                    return if from == ElementMap::FILL { from } else { base as u32 + from };
                }
                e -= len;
            }
            ElementMap::FILL
        };
        let source = map.source.iter().map(through).collect();
        nodes[i].work = Work::Structural(ElementMap { source, fill: 0 });
        nodes[i].operands = operands;
    }
    for i in (0..nodes.len()).rev() {
        let used = nodes[i + 1..].iter().any(|n| n.mode != Mode::Unused && n.operands.contains(&i));
        if moves(&nodes[i]) && !used {
            nodes[i].mode = Mode::Unused;
        }
    }
}
