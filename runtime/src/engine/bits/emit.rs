//! Small things that make Cranelift code easier to write.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{BlockArg, InstBuilder, MemFlagsData, StackSlot, StackSlotData, StackSlotKind, Type, Value, types};
use cranelift_frontend::FunctionBuilder;

/// Addresses are 64-bit on every CPU Cranelift compiles for.
pub const POINTER: Type = types::I64;

/// Accesses to the arena and the constants cannot trap: the plan sized them.
pub fn flags() -> MemFlagsData {
    MemFlagsData::new().with_notrap()
}

/// Accesses to read-only constants, which may move.
pub fn constant_flags() -> MemFlagsData {
    MemFlagsData::new().with_notrap().with_readonly().with_can_move()
}

/// A number among a kernel's constants: a count of what lies in the arena, whose bytes the plan
/// keeps below 2³², or an extent, stride or padding that `byte_event::fits` let through.
pub fn word(n: usize) -> u32 {
    u32::try_from(n).expect("the plan has no number beyond 32 bits")
}

/// A kernel's constants as bytes.
pub fn bytes_of(words: impl IntoIterator<Item = u32>) -> Vec<u8> {
    words.into_iter().flat_map(u32::to_ne_bytes).collect()
}

/// The number `n`.
pub fn number(b: &mut FunctionBuilder, n: usize) -> Value {
    b.ins().iconst(POINTER, n as i64)
}

/// `x + n`.
pub fn plus(b: &mut FunctionBuilder, x: Value, n: usize) -> Value {
    if n == 0 { x } else { b.ins().iadd_imm_s(x, n as i64) }
}

/// `x · n`.
pub fn times(b: &mut FunctionBuilder, x: Value, n: usize) -> Value {
    match n {
        1 => x,
        n if n.is_power_of_two() => {
            let shift = number(b, n.trailing_zeros() as usize);
            b.ins().ishl(x, shift)
        }
        _ => b.ins().imul_imm_s(x, n as i64),
    }
}

/// `base + x · n`.
pub fn at(b: &mut FunctionBuilder, base: Value, x: Value, n: usize) -> Value {
    let offset = times(b, x, n);
    b.ins().iadd(base, offset)
}

/// A struct of arguments of a kernel, in the function's frame. All of its fields are as large as a
/// pointer.
#[derive(Clone, Copy)]
pub struct Arguments(StackSlot);

impl Arguments {
    /// Room for a `T`.
    pub fn new<T>(b: &mut FunctionBuilder) -> Self {
        let alignment = align_of::<T>().ilog2() as u8;
        Arguments(b.create_sized_stack_slot(StackSlotData::new(StackSlotKind::ExplicitSlot, size_of::<T>() as u32, alignment)))
    }

    /// Sets the fields at these offsets.
    pub fn set(self, b: &mut FunctionBuilder, fields: &[(usize, Value)]) {
        for &(offset, value) in fields {
            b.ins().stack_store(POINTER, value, self.0, offset as i32);
        }
    }

    /// What the kernel gets.
    pub fn address(self, b: &mut FunctionBuilder) -> Value {
        b.ins().stack_addr(POINTER, self.0, 0)
    }
}

/// A loop over `0..end` (at least one pass), with `carried` values from one pass to the next.
/// `body` gets the counter and the carried values and returns the new ones.
pub fn count_to(
    b: &mut FunctionBuilder,
    end: Value,
    carried: &[Value],
    body: impl FnOnce(&mut FunctionBuilder, Value, &[Value]) -> Vec<Value>,
) -> Vec<Value> {
    let (head, exit) = (b.create_block(), b.create_block());
    let zero = number(b, 0);
    let kinds: Vec<Type> = carried.iter().map(|&v| b.func.dfg.value_type(v)).collect();
    b.append_block_param(head, POINTER);
    kinds.iter().for_each(|&k| {
        b.append_block_param(head, k);
        b.append_block_param(exit, k);
    });
    let args: Vec<BlockArg> = std::iter::once(zero).chain(carried.iter().copied()).map(BlockArg::Value).collect();
    b.ins().jump(head, &args);
    b.switch_to_block(head);
    let params = b.block_params(head).to_vec();
    let next = body(b, params[0], &params[1..]);
    let count = plus(b, params[0], 1);
    let more = b.ins().icmp(IntCC::UnsignedLessThan, count, end);
    let again: Vec<BlockArg> = std::iter::once(count).chain(next.iter().copied()).map(BlockArg::Value).collect();
    let done: Vec<BlockArg> = next.iter().copied().map(BlockArg::Value).collect();
    b.ins().brif(more, head, &again, exit, &done);
    b.seal_block(head);
    b.switch_to_block(exit);
    b.seal_block(exit);
    b.block_params(exit).to_vec()
}

/// `body` when `condition` is not zero, which turns `before` into its result; `before` otherwise.
pub fn when(b: &mut FunctionBuilder, condition: Value, before: Value, body: impl FnOnce(&mut FunctionBuilder) -> Value) -> Value {
    let (then, join) = (b.create_block(), b.create_block());
    let kind = b.func.dfg.value_type(before);
    b.append_block_param(join, kind);
    b.ins().brif(condition, then, &[], join, &[BlockArg::Value(before)]);
    b.switch_to_block(then);
    b.seal_block(then);
    let after = body(b);
    b.ins().jump(join, &[BlockArg::Value(after)]);
    b.switch_to_block(join);
    b.seal_block(join);
    b.block_params(join)[0]
}
