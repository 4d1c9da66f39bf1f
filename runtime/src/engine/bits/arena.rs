//! The memory of a compiled network on one sample.

use crate::engine::plan::memory::Buffer;
use crate::layout::lanes;

/// A line of the arena, aligned for every kernel.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
struct Line([u8; 64]);

/// The buffers of a plan.
pub(super) struct Arena(Vec<Line>);

impl Arena {
    /// Zeros.
    pub fn new(bytes: usize) -> Self {
        Arena(vec![Line([0; 64]); bytes.div_ceil(64)])
    }

    /// Its first byte.
    pub fn as_mut_ptr(&mut self) -> *mut u8 {
        self.0.as_mut_ptr().cast()
    }

    /// All bytes.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: a line is 64 bytes without padding.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr().cast(), self.0.len() * 64) }
    }

    /// The same, to write.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: a line is 64 bytes without padding, and any bytes are a line.
        unsafe { std::slice::from_raw_parts_mut(self.0.as_mut_ptr().cast(), self.0.len() * 64) }
    }

    /// The bytes of a buffer.
    pub fn buffer_mut(&mut self, buffer: Buffer) -> &mut [u8] {
        &mut self.bytes_mut()[buffer.offset..][..buffer.bytes]
    }

    /// The number at byte `at`.
    pub fn i32_at(&self, at: usize) -> i32 {
        self.bytes()[at..].first_chunk().map_or(0, |bytes| i32::from_ne_bytes(*bytes))
    }

    /// Two buffers that do not overlap, the second one to write.
    pub fn disjoint(&mut self, read: Buffer, write: Buffer) -> (&[u8], &mut [u8]) {
        if read.offset < write.offset {
            let (low, high) = self.bytes_mut().split_at_mut(write.offset);
            (&low[read.offset..][..read.bytes], &mut high[..write.bytes])
        } else {
            let (low, high) = self.bytes_mut().split_at_mut(read.offset);
            (&high[..read.bytes], &mut low[write.offset..][..write.bytes])
        }
    }
}

/// Fills rows of lanes with one value per element.
pub(super) fn write_rows(rows: &mut [u8], channels: usize, value: impl Fn(usize) -> i32) {
    for (p, row) in rows.chunks_exact_mut(4 * lanes(channels)).enumerate() {
        for (c, cell) in row.as_chunks_mut::<4>().0.iter_mut().take(channels).enumerate() {
            *cell = value(p * channels + c).to_ne_bytes();
        }
    }
}
