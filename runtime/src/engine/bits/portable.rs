//! Event-driven accumulation and the neurons in Cranelift's own 128-bit vectors: what runs on every
//! CPU, and what the micro-kernels are tested against.

use super::emit::{POINTER, at, constant_flags, count_to, flags, number, plus};
use crate::kernels::abi::SynapseShape;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{BlockArg, InstBuilder, Value, types};
use cranelift_frontend::FunctionBuilder;
use snn_ir::neuron::Reset;

/// Vectors handled per pass of a loop over lanes: lanes are whole blocks of 16.
const BLOCK: usize = 4;

/// One pixel's neurons.
pub struct Cell {
    /// `[step][lane]`.
    pub currents: Value,
    /// `[lane]`.
    pub threshold: Value,
    /// `[lane]`: potentials at the start of the chunk.
    pub before: Value,
    /// `[lane]`: where they are left.
    pub membrane: Value,
    /// `[step]` masks.
    pub out: Value,
    /// Steps of the chunk.
    pub steps: Value,
    /// Lanes of a row.
    pub lanes: usize,
    /// Bytes of a mask.
    pub mask: usize,
    /// What a spike does to the potential.
    pub reset: Reset,
}

/// Integrate and fire.
pub fn fire(b: &mut FunctionBuilder, cell: &Cell) {
    let blocks = number(b, cell.lanes / 16);
    count_to(b, blocks, &[], |b, block, _| {
        let row = |b: &mut FunctionBuilder, base: Value| at(b, base, block, 64);
        let currents = row(b, cell.currents);
        let (threshold, membrane) = (row(b, cell.threshold), row(b, cell.membrane));
        let before = row(b, cell.before);
        let out = at(b, cell.out, block, 2);
        let load = |b: &mut FunctionBuilder, p: Value, j: usize| b.ins().load(types::I32X4, flags(), p, 16 * j as i32);
        let thresholds: Vec<Value> = (0..BLOCK).map(|j| load(b, threshold, j)).collect();
        let start: Vec<Value> = (0..BLOCK).map(|j| load(b, before, j)).collect();
        let end = count_to(b, cell.steps, &start, |b, t, potentials| {
            let currents = at(b, currents, t, 4 * cell.lanes);
            let mut mask = None;
            let mut next = Vec::with_capacity(BLOCK);
            for j in 0..BLOCK {
                let current = load(b, currents, j);
                let v = b.ins().iadd(potentials[j], current);
                let fired = b.ins().icmp(IntCC::SignedGreaterThanOrEqual, v, thresholds[j]);
                let loss = match cell.reset {
                    Reset::Subtract => thresholds[j],
                    Reset::Zero => v,
                };
                let loss = b.ins().band(fired, loss);
                next.push(b.ins().isub(v, loss));
                let bits = b.ins().vhigh_bits(types::I32, fired);
                let shift = b.ins().iconst(types::I32, 4 * j as i64);
                let bits = b.ins().ishl(bits, shift);
                mask = Some(mask.map_or(bits, |m| b.ins().bor(m, bits)));
            }
            if let Some(mask) = mask {
                let to = at(b, out, t, cell.mask);
                b.ins().istore16(flags(), mask, to, 0);
            }
            next
        });
        end.iter().enumerate().for_each(|(j, &v)| {
            b.ins().store(flags(), v, membrane, 16 * j as i32);
        });
        vec![]
    });
    // Masks are whole words, lanes need not be.
    let rest = cell.mask / 2 - cell.lanes / 16;
    if rest > 0 {
        let zero = b.ins().iconst(types::I32, 0);
        count_to(b, cell.steps, &[], |b, t, _| {
            let to = at(b, cell.out, t, cell.mask);
            for block in 0..rest {
                b.ins().istore16(flags(), zero, to, (2 * (cell.lanes / 16 + block)) as i32);
            }
            vec![]
        });
    }
}

/// Adds to `currents` the row of `i32` weights of every set bit of every tap.
pub fn event(b: &mut FunctionBuilder, shape: &SynapseShape, taps: Value, count: Value, currents: Value, steps: Value) {
    let (bytes, lanes) = (shape.step_bytes as usize, shape.lanes as usize);
    let (first, done) = (b.create_block(), b.create_block());
    // A pixel whose taps all lie in the padding has none.
    b.ins().brif(count, first, &[], done, &[]);
    b.switch_to_block(first);
    b.seal_block(first);
    count_to(b, steps, &[], |b, t, _| {
        let currents = at(b, currents, t, 4 * lanes);
        count_to(b, count, &[], |b, i, _| {
            let tap = at(b, taps, i, 16);
            let data = b.ins().load(POINTER, flags(), tap, 0);
            let weights = b.ins().load(POINTER, flags(), tap, 8);
            let mask = at(b, data, t, bytes);
            let words = number(b, bytes.div_ceil(8));
            count_to(b, words, &[], |b, word, _| {
                let address = at(b, mask, word, 8);
                let bits = match bytes {
                    2 => b.ins().uload16(POINTER, flags(), address, 0),
                    4 => b.ins().uload32(flags(), address, 0),
                    _ => b.ins().load(POINTER, flags(), address, 0),
                };
                let rows = at(b, weights, word, 64 * 4 * lanes);
                for_each_bit(b, bits, |b, channel| {
                    let row = at(b, rows, channel, 4 * lanes);
                    add_row(b, row, currents, lanes);
                });
                vec![]
            });
            vec![]
        });
        vec![]
    });
    b.ins().jump(done, &[]);
    b.switch_to_block(done);
    b.seal_block(done);
}

fn for_each_bit(b: &mut FunctionBuilder, bits: Value, body: impl FnOnce(&mut FunctionBuilder, Value)) {
    let (head, pass, exit) = (b.create_block(), b.create_block(), b.create_block());
    b.append_block_param(head, POINTER);
    b.ins().jump(head, &[BlockArg::Value(bits)]);
    b.switch_to_block(head);
    let bits = b.block_params(head)[0];
    b.ins().brif(bits, pass, &[], exit, &[]);
    b.switch_to_block(pass);
    b.seal_block(pass);
    let channel = b.ins().ctz(bits);
    body(b, channel);
    let one = number(b, 1);
    let below = b.ins().isub(bits, one);
    let rest = b.ins().band(bits, below);
    b.ins().jump(head, &[BlockArg::Value(rest)]);
    b.seal_block(head);
    b.switch_to_block(exit);
    b.seal_block(exit);
}

fn add_row(b: &mut FunctionBuilder, row: Value, sums: Value, lanes: usize) {
    let add = |b: &mut FunctionBuilder, row: Value, sums: Value| {
        for j in 0..BLOCK as i32 {
            let w = b.ins().load(types::I32X4, constant_flags(), row, 16 * j);
            let s = b.ins().load(types::I32X4, flags(), sums, 16 * j);
            let s = b.ins().iadd(s, w);
            b.ins().store(flags(), s, sums, 16 * j);
        }
    };
    if lanes <= 64 {
        for block in 0..lanes / 16 {
            let (row, sums) = (plus(b, row, 64 * block), plus(b, sums, 64 * block));
            add(b, row, sums);
        }
        return;
    }
    let blocks = number(b, lanes / 16);
    count_to(b, blocks, &[], |b, block, _| {
        let (row, sums) = (at(b, row, block, 64), at(b, sums, block, 64));
        add(b, row, sums);
        vec![]
    });
}
