//! Values of nodes in the steps of a chunk.

use crate::engine::bytes::Program;
use crate::engine::plan::Mode;
use std::ops::Range;

/// The values of one node.
#[derive(Clone, Debug, Default)]
pub struct Value {
    /// Spikes: a plane of bytes a step.
    pub planes: Vec<u8>,
    /// Spikes, by step and row: whether there may be some. In other rows all bytes are the one of
    /// silence.
    pub live: Vec<bool>,
    /// Currents: elements pixel-major, step by step.
    pub currents: Vec<i32>,
    rows: usize,
    length: usize,
}

impl Value {
    /// Room for so many steps of node `i`.
    fn new(program: &Program, i: usize, chunk: usize) -> Self {
        let node = &program.nodes[i];
        match &program.layouts[i] {
            _ if node.mode != Mode::Stepped => Value::default(),
            Some(layout) => Value {
                planes: vec![program.zero; chunk * layout.bytes()],
                live: vec![false; chunk * layout.grid[0]],
                rows: layout.grid[0],
                length: layout.bytes(),
                ..Value::default()
            },
            None => Value { currents: vec![0; chunk * node.len()], length: node.len(), ..Value::default() },
        }
    }

    /// The bytes of step `t`.
    pub fn plane(&self, t: usize) -> &[u8] {
        &self.planes[t * self.length..][..self.length]
    }

    /// The same, to write.
    pub fn plane_mut(&mut self, t: usize) -> &mut [u8] {
        &mut self.planes[t * self.length..][..self.length]
    }

    /// Which rows may hold spikes in step `t`.
    pub fn live(&mut self, t: usize) -> &mut [bool] {
        &mut self.live[t * self.rows..][..self.rows]
    }

    /// Says of `steps` steps that there are no spikes, and returns what was said before.
    pub fn clear_live(&mut self, steps: usize) -> Vec<bool> {
        let before = self.live.clone();
        self.live[..steps * self.rows].fill(false);
        before
    }

    /// Whether there may be spikes in some of `rows` in step `t`.
    pub fn is_live(&self, t: usize, rows: Range<usize>) -> bool {
        rows.start < rows.end && self.live[t * self.rows..][rows].contains(&true)
    }

    /// Whether there may be spikes in step `t`.
    pub fn is_live_at_all(&self, t: usize) -> bool {
        self.is_live(t, 0..self.rows)
    }

    /// The currents of step `t`.
    pub fn currents(&self, t: usize) -> &[i32] {
        &self.currents[t * self.length..][..self.length]
    }

    /// The same, to write.
    pub fn currents_mut(&mut self, t: usize) -> &mut [i32] {
        &mut self.currents[t * self.length..][..self.length]
    }
}

/// The values of all nodes.
#[derive(Debug)]
pub struct Values {
    /// By node.
    pub of: Vec<Value>,
    /// Most steps of a chunk.
    pub chunk: usize,
}

/// Most steps that a node runs before the next one: few enough that what two layers share stays in
/// the cache.
const CHUNK: usize = 8;

/// Bytes of values that shorter chunks stay below, where they can.
const LIMIT: usize = 16 << 20;

impl Values {
    /// Room for a chunk of all nodes.
    pub fn new(program: &Program) -> Self {
        let step: usize = program.layouts.iter().flatten().map(|l| l.bytes()).sum();
        let mut chunk = CHUNK;
        while chunk > 1 && chunk * step > LIMIT {
            chunk /= 2;
        }
        Values { of: (0..program.nodes.len()).map(|i| Value::new(program, i, chunk)).collect(), chunk }
    }

    /// What stepped node `i` is in step `t`, pixel-major.
    pub fn elements(&self, program: &Program, i: usize, t: usize) -> Vec<i64> {
        match &program.layouts[i] {
            Some(layout) => layout.elements(self.of[i].plane(t)).map(|byte| i64::from(byte) - i64::from(program.zero)).collect(),
            None => self.of[i].currents(t).iter().map(|&x| i64::from(x)).collect(),
        }
    }
}
