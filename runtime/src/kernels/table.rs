//! Layers by table look-up, for AVX-512 with VBMI: 16 neighbouring pixels at a time, of which four channels are the index of a table of
//! the 16 sums their weights can have.
//!
//! An *index plane* holds a value's spikes as `[row][step][group of 16 channels][column]`, a double word a pixel: its four bytes are the
//! bits of four channels each, plus 16 times the byte's number, so that one `vpermb` looks up four tables for 16 pixels, and one
//! `vpdpbusd` with ones adds up what it finds: 256 synapses in two instructions, at any rate. Sums in a table are bytes above their
//! least one, which is added to the layer's base. Where weights are too large for that, the rest is in a table of its own.
//!
//! Columns are stored by their remainder modulo the consumer's stride, so that neighbouring output pixels always read neighbouring words.

use super::Cpu;
use snn_ir::op::Reset;

/// Pixels of a block.
pub const BLOCK: usize = 16;

/// No channel of any group.
const NOTHING: u32 = 0x3020_1000;

/// The shape of an index plane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexPlane {
    /// Rows and columns of the value.
    pub input: [usize; 2],
    /// Rows of the plane.
    pub rows: usize,
    /// Where the value's first pixel stands.
    pub pad: [usize; 2],
    /// Columns are stored by their remainder modulo this.
    pub stride: usize,
    /// Words of one remainder.
    pub phase: usize,
    /// Groups of 16 channels.
    pub groups: usize,
    /// Steps from one pixel's masks to the next's.
    pub chunk: usize,
    /// Bytes of a mask.
    pub mask: usize,
}

impl IndexPlane {
    /// Bytes from one step to the next.
    pub fn step_pitch(&self) -> usize {
        4 * self.groups * self.stride * self.phase
    }

    /// Bytes from one row to the next.
    pub fn row_pitch(&self) -> usize {
        self.chunk * self.step_pitch()
    }

    /// Bytes of the plane.
    pub fn bytes(&self) -> usize {
        self.rows * self.row_pitch()
    }

    /// The byte of a group's pixel in column `column` of the plane, from the step's first.
    pub fn column(&self, group: usize, column: usize) -> usize {
        4 * ((group * self.stride + column % self.stride) * self.phase + column / self.stride)
    }

    /// Writes `steps` steps of `masks` (`[pixel][step]`) to `plane`.
    ///
    /// # Safety
    /// `masks` and `plane` are as long as the shape says, with 64 bytes of slack behind each, and the CPU has AVX-512 with VBMI.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi")]
    unsafe fn expand(&self, masks: *const u8, steps: usize, plane: *mut u32) {
        use std::arch::x86_64::*;
        let (pixel, words) = (self.chunk * self.mask, self.mask / 2);
        let (step, width) = (self.step_pitch() / 4, self.input[1]);
        // Bits 0, 4, 8 and 12 of each half of a quad word to its bytes.
        let shifts = _mm512_set1_epi64(0x2c28_2420_0c08_0400);
        let (nibbles, nothing) = (_mm512_set1_epi8(0x0f), _mm512_set1_epi32(NOTHING as i32));
        for row in 0..self.rows {
            // SAFETY: the caller's: a row of the plane.
            let plane = unsafe { plane.add(row * self.row_pitch() / 4) };
            // SAFETY: as above.
            let words_of_row = unsafe { std::slice::from_raw_parts_mut(plane, steps * step) };
            let y = row.wrapping_sub(self.pad[0]);
            if y >= self.input[0] {
                words_of_row.fill(NOTHING);
                continue;
            }
            let (left, right) = (self.pad[1].min(self.phase), (self.pad[1] + width).min(self.phase));
            for line in words_of_row.chunks_exact_mut(self.phase) {
                // Only neighbouring columns are written without gaps.
                let (left, right) = if self.stride == 1 { (left, right) } else { (self.phase, self.phase) };
                line[..left].fill(NOTHING);
                line[right..].fill(NOTHING);
            }
            for x in (0..width).step_by(BLOCK) {
                let lanes = BLOCK.min(width - x);
                for i in (0..steps * words).step_by(8) {
                    // SAFETY: masks of existing pixels; behind the last step is the next pixel, or slack.
                    let eight = unsafe { load_words(masks.add((y * width + x) * pixel + 2 * i), pixel, lanes) };
                    for (k, &bits) in eight.iter().enumerate() {
                        let (t, group) = ((i + k) / words, (i + k) % words);
                        if t >= steps || group >= self.groups {
                            continue;
                        }
                        let spread = _mm512_and_si512(_mm512_multishift_epi64_epi8(shifts, bits), nibbles);
                        let index = _mm512_or_si512(spread, nothing);
                        let to = t * step + group * self.stride * self.phase;
                        if self.stride == 1 {
                            let keep = self.phase.saturating_sub(self.pad[1] + x).min(lanes);
                            // SAFETY: words of that row and step that are within the group's.
                            unsafe { _mm512_mask_storeu_epi32(plane.add(to + self.pad[1] + x).cast(), ((1u32 << keep) - 1) as u16, index) };
                        } else {
                            let mut all = [0u32; BLOCK];
                            // SAFETY: as long as a vector.
                            unsafe { _mm512_storeu_si512(all.as_mut_ptr().cast(), index) };
                            for (lane, &word) in all.iter().enumerate().take(lanes) {
                                let column = x + lane + self.pad[1];
                                if column / self.stride < self.phase {
                                    // SAFETY: as above.
                                    unsafe { plane.add(to + column % self.stride * self.phase + column / self.stride).write(word) };
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Eight 16-bit words of each of `lanes` pixels, `pitch` bytes apart, as vectors with a double word a pixel.
///
/// # Safety
/// 16 bytes of every pixel can be read, and the CPU has AVX-512.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe fn load_words(from: *const u8, pitch: usize, lanes: usize) -> [std::arch::x86_64::__m512i; 8] {
    use std::arch::x86_64::*;
    // SAFETY: the caller's.
    let load = |lane: usize| unsafe { if lane < lanes { _mm_loadu_si128(from.add(lane * pitch).cast()) } else { _mm_setzero_si128() } };
    // Pixels 0, 4, 8, 12 and so on, so that the transposition below puts them in order.
    let row = |k: usize| {
        let v = _mm512_castsi128_si512(load(k));
        let v = _mm512_inserti32x4::<1>(v, load(k + 4));
        let v = _mm512_inserti32x4::<2>(v, load(k + 8));
        _mm512_inserti32x4::<3>(v, load(k + 12))
    };
    let pairs = transpose([row(0), row(1), row(2), row(3)]);
    let low = _mm512_set1_epi32(0xffff);
    let [a, b, c, d] = pairs;
    let high = |v| _mm512_srli_epi32::<16>(v);
    let low = |v| _mm512_and_si512(v, low);
    [low(a), high(a), low(b), high(b), low(c), high(c), low(d), high(d)]
}

/// Transposes the 4×4 double words in every quarter.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn transpose([a, b, c, d]: [std::arch::x86_64::__m512i; 4]) -> [std::arch::x86_64::__m512i; 4] {
    use std::arch::x86_64::*;
    let (ab, ab_high) = (_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    let (cd, cd_high) = (_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
    [
        _mm512_unpacklo_epi64(ab, cd),
        _mm512_unpackhi_epi64(ab, cd),
        _mm512_unpacklo_epi64(ab_high, cd_high),
        _mm512_unpackhi_epi64(ab_high, cd_high),
    ]
}

/// A look-up of one output besides the usual ones.
#[derive(Clone, Debug, Default)]
struct Extra {
    offset: u32,
    table: usize,
}

/// A synapse as tables.
#[derive(Debug)]
pub struct Tables {
    /// Bytes from a window's first to the pixels of each quad (tap and group), in its first step.
    offsets: Vec<u32>,
    /// `[four outputs][quad][4][64]`.
    tables: Vec<u8>,
    /// Per output: look-ups of what did not fit.
    extras: Vec<Vec<Extra>>,
    extra_tables: Vec<u8>,
    /// Per output: what the tables leave out.
    pub least: Vec<i32>,
}

impl Tables {
    /// Tables of `weight(output, quad, channel of the quad)` for `outputs` outputs.
    pub fn new(outputs: usize, offsets: Vec<u32>, weight: impl Fn(usize, usize, usize) -> i32) -> Self {
        let quads = offsets.len();
        let fours = outputs.div_ceil(4);
        let mut result = Tables {
            tables: vec![0; fours * quads * 256],
            extras: vec![Vec::new(); outputs],
            extra_tables: Vec::new(),
            least: vec![0; outputs],
            offsets,
        };
        for o in 0..outputs {
            for q in 0..quads {
                let mut rest: [i32; 16] = std::array::from_fn(|channel| weight(o, q, channel));
                let at = (o / 4 * quads + q) * 256 + o % 4 * 64;
                let mut first = true;
                while first || rest.iter().any(|&w| w != 0) {
                    let (table, least) = take_table(&mut rest);
                    result.least[o] += least;
                    if first {
                        result.tables[at..at + 64].copy_from_slice(&table);
                    } else {
                        result.extras[o].push(Extra { offset: result.offsets[q], table: result.extra_tables.len() });
                        result.extra_tables.extend(table);
                    }
                    first = false;
                }
            }
        }
        result
    }
}

/// A table of as much of the weights as fits bytes, which is taken from them, and its least sum.
fn take_table(weights: &mut [i32; 16]) -> ([u8; 64], i32) {
    let (mut table, mut total) = ([0; 64], 0);
    for (four, table) in weights.as_chunks_mut::<4>().0.iter_mut().zip(table.as_chunks_mut::<16>().0) {
        let fits = four.iter().map(|w| w.abs()).sum::<i32>() <= 255;
        let part = if fits { *four } else { four.map(|w| w.clamp(-63, 63)) };
        let least: i32 = part.iter().map(|&w| w.min(0)).sum();
        for (bits, entry) in table.iter_mut().enumerate() {
            let sum: i32 = (0..4).filter(|k| bits >> k & 1 == 1).map(|k| part[k]).sum();
            *entry = (sum - least) as u8;
        }
        four.iter_mut().zip(part).for_each(|(w, p)| *w -= p);
        total += least;
    }
    (table, total)
}

/// How the pixels of a grid form blocks: 16 of a row, or eight of each of two rows that are no wider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocks {
    /// Rows of blocks.
    pub rows: usize,
    /// Blocks of a row of them.
    pub columns: usize,
    /// Whether a block has two rows.
    pub pairs: bool,
}

impl Blocks {
    /// The blocks of a grid.
    pub fn new([rows, columns]: [usize; 2]) -> Self {
        let pairs = rows > 1 && columns <= BLOCK / 2;
        Blocks { rows: if pairs { rows.div_ceil(2) } else { rows }, columns: columns.div_ceil(BLOCK), pairs }
    }

    /// Block and lane of a pixel.
    fn place(&self, y: usize, x: usize) -> (usize, usize) {
        if self.pairs { (y / 2, y % 2 * (BLOCK / 2) + x) } else { (y * self.columns + x / BLOCK, x % BLOCK) }
    }

    /// All blocks.
    pub fn count(&self) -> usize {
        self.rows * self.columns
    }
}

/// An operand of a layer: its masks in the arena, and where its index plane is made.
#[derive(Debug)]
pub struct Operand {
    /// First byte of the masks.
    pub masks: usize,
    /// First byte of the plane.
    pub plane: usize,
    /// The plane.
    pub shape: IndexPlane,
    /// Bytes from one output row's windows to the next's.
    pub row_stride: usize,
}

/// A layer whose neurons are computed by table look-up.
#[derive(Debug)]
pub struct TableLayer {
    /// Rows and columns.
    pub grid: [usize; 2],
    /// How pixels form blocks.
    pub blocks: Blocks,
    /// Channels.
    pub channels: usize,
    /// Synapses that mix channels.
    pub products: Vec<(Operand, Tables)>,
    /// Spikes of the pixel itself, times one weight a channel.
    pub residuals: Vec<(Operand, Vec<i32>)>,
    /// Per channel: current of every step, but for what `steady` holds.
    pub bias: Vec<i32>,
    /// Where a current of every step and pixel is, `[block][channel][pixel of the block]`.
    pub steady: Option<usize>,
    /// θ per channel.
    pub threshold: Vec<i32>,
    /// v(0) per channel.
    pub initial: Vec<i32>,
    /// What a spike does to the potential.
    pub reset: Reset,
    /// First byte of the potentials, in the order of `steady`.
    pub membrane: usize,
    /// First byte of the masks.
    pub out: usize,
    /// Steps from one pixel's masks to the next's.
    pub chunk: usize,
    /// Bytes of a mask.
    pub mask: usize,
}

impl TableLayer {
    /// Where the value of a pixel and channel is in an array of all blocks.
    pub fn element(&self, pixel: usize, channel: usize) -> usize {
        let (block, lane) = self.blocks.place(pixel / self.grid[1], pixel % self.grid[1]);
        (block * self.channels + channel) * BLOCK + lane
    }

    /// Whether this CPU, at that level, has the instructions.
    pub fn is_available(cpu: Cpu) -> bool {
        // With AMX products are faster.
        cpu == Cpu::Avx512
    }

    /// Runs `steps` steps, the first of a window if `first`.
    ///
    /// # Safety
    /// `arena` is the plan's, the CPU has AVX-512 with VBMI and VNNI.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi,avx512vnni")]
    pub unsafe fn run(&self, arena: *mut u8, steps: usize, first: bool) {
        let operands = self.products.iter().map(|p| &p.0).chain(self.residuals.iter().map(|r| &r.0));
        for o in operands {
            // SAFETY: the plan gave masks and planes their places in the arena, which do not overlap.
            unsafe { o.shape.expand(arena.add(o.masks), steps, arena.add(o.plane).cast()) };
        }
        let zero = std::arch::x86_64::_mm512_setzero_si512();
        let (mut bits, mut sums) = (vec![zero; STEPS * self.mask / 2], vec![zero; STEPS * BLOCK]);
        for y in 0..self.blocks.rows {
            for x in 0..self.blocks.columns {
                let mut t = 0;
                while t < steps {
                    let at = At { y: if self.blocks.pairs { 2 * y } else { y }, x: BLOCK * x, block: y * self.blocks.columns + x, t };
                    let (n, first) = (1 << (steps - t).min(STEPS).ilog2(), first && t == 0);
                    for group in 0..self.channels.div_ceil(BLOCK) {
                        let bits = &mut bits[group..];
                        // SAFETY: the caller's.
                        unsafe {
                            match (n, self.blocks.pairs) {
                                (8, false) => self.block::<8, 4, false>(arena, at, group, first, &mut sums, bits),
                                (4, false) => self.block::<4, 4, false>(arena, at, group, first, &mut sums, bits),
                                (2, false) => self.block::<2, 2, false>(arena, at, group, first, &mut sums, bits),
                                (_, false) => self.block::<1, 1, false>(arena, at, group, first, &mut sums, bits),
                                (8, true) => self.block::<8, 4, true>(arena, at, group, first, &mut sums, bits),
                                (4, true) => self.block::<4, 4, true>(arena, at, group, first, &mut sums, bits),
                                (2, true) => self.block::<2, 2, true>(arena, at, group, first, &mut sums, bits),
                                (_, true) => self.block::<1, 1, true>(arena, at, group, first, &mut sums, bits),
                            }
                        }
                    }
                    // SAFETY: the masks are the arena's.
                    unsafe { self.store(arena, at, &bits[..n * self.mask / 2]) };
                    t += n;
                }
            }
        }
    }

    /// `N` steps of 16 output channels, `M` of them at a time; `PAIRS` says whether blocks have two rows. Sets the group's bits of
    /// `bits` (`[step][group]`).
    ///
    /// # Safety
    /// As [`TableLayer::run`].
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi,avx512vnni")]
    unsafe fn block<const N: usize, const M: usize, const PAIRS: bool>(
        &self,
        arena: *mut u8,
        at: At,
        group: usize,
        first: bool,
        sums: &mut [std::arch::x86_64::__m512i],
        bits: &mut [std::arch::x86_64::__m512i],
    ) {
        use std::arch::x86_64::*;
        let all = at.block * self.channels;
        let outputs = (self.channels - BLOCK * group).min(BLOCK);
        let zero = _mm512_setzero_si512();
        let mut base = [zero; BLOCK];
        // SAFETY: the caller's; every address lies in a plane or an array of all blocks.
        unsafe {
            let source = |o: &Operand| Source {
                first: arena.add(o.plane + at.y * o.row_stride + 4 * at.x + at.t * o.shape.step_pitch()),
                pitch: o.shape.step_pitch(),
                row: o.row_stride,
            };
            for (k, base) in base.iter_mut().enumerate().take(outputs) {
                let o = BLOCK * group + k;
                *base = _mm512_set1_epi32(self.bias[o]);
                if let Some(at) = self.steady {
                    *base = _mm512_add_epi32(*base, _mm512_loadu_si512(arena.add(at + 64 * (all + o)).cast()));
                }
            }
            for (i, (operand, tables)) in self.products.iter().enumerate() {
                let (source, quads) = (source(operand), tables.offsets.len());
                for four in 0..outputs.div_ceil(4) {
                    let table = tables.tables.as_ptr().add((BLOCK / 4 * group + four) * quads * 256);
                    let base = (i == 0).then(|| base.as_ptr().add(4 * four));
                    for n in (0..N).step_by(M) {
                        let to = sums[4 * four * STEPS..].as_mut_ptr().add(n);
                        look_up::<M, PAIRS>(source.step(n), &tables.offsets, table, base, to);
                    }
                }
                for (sums, extras) in sums.chunks_exact_mut(STEPS).zip(&tables.extras[BLOCK * group..]) {
                    for e in extras {
                        look_up_one::<N, PAIRS>(source, e.offset, tables.extra_tables.as_ptr().add(e.table), sums);
                    }
                }
            }
            for (operand, weights) in &self.residuals {
                let (source, offset) = (source(operand), operand.shape.column(group, 0));
                let mut indices = [zero; N];
                indices.iter_mut().enumerate().for_each(|(n, index)| *index = source.step(n).load::<PAIRS>(offset));
                for (k, sums) in sums.chunks_exact_mut(STEPS).enumerate().take(outputs) {
                    let bit = _mm512_set1_epi32(1 << (8 * (k / 4) + k % 4));
                    let weight = _mm512_set1_epi32(weights[BLOCK * group + k]);
                    for (sum, &index) in sums[..N].iter_mut().zip(&indices) {
                        *sum = _mm512_mask_add_epi32(*sum, _mm512_test_epi32_mask(index, bit), *sum, weight);
                    }
                }
            }
            let mut fired = [zero; N];
            for four in (0..outputs).step_by(4) {
                let membrane = arena.add(self.membrane + 64 * (all + BLOCK * group + four)).cast::<__m512i>();
                // Outputs that do not exist never reach their threshold, and their sums are whatever was there.
                let (mut v, mut threshold, mut bit) = ([zero; 4], [_mm512_set1_epi32(i32::MAX); 4], [zero; 4]);
                for k in 0..4.min(outputs - four) {
                    let o = BLOCK * group + four + k;
                    v[k] = if first { _mm512_set1_epi32(self.initial[o]) } else { _mm512_loadu_si512(membrane.add(k)) };
                    threshold[k] = _mm512_set1_epi32(self.threshold[o]);
                    bit[k] = _mm512_set1_epi32(1 << (four + k));
                }
                match self.reset {
                    Reset::Subtract => {
                        for n in 0..N {
                            for k in 0..4 {
                                v[k] = _mm512_add_epi32(v[k], sums[(four + k) * STEPS + n]);
                                let spikes = _mm512_cmpge_epi32_mask(v[k], threshold[k]);
                                v[k] = _mm512_mask_sub_epi32(v[k], spikes, v[k], threshold[k]);
                                fired[n] = _mm512_mask_or_epi32(fired[n], spikes, fired[n], bit[k]);
                            }
                        }
                    }
                    Reset::Zero => {
                        for n in 0..N {
                            for k in 0..4 {
                                v[k] = _mm512_add_epi32(v[k], sums[(four + k) * STEPS + n]);
                                let spikes = _mm512_cmpge_epi32_mask(v[k], threshold[k]);
                                v[k] = _mm512_mask_mov_epi32(v[k], spikes, zero);
                                fired[n] = _mm512_mask_or_epi32(fired[n], spikes, fired[n], bit[k]);
                            }
                        }
                    }
                }
                v.iter().enumerate().take(outputs - four).for_each(|(k, &v)| _mm512_storeu_si512(membrane.add(k), v));
            }
            for (n, fired) in fired.into_iter().enumerate() {
                bits[n * self.mask / 2] = fired;
            }
        }
    }

    /// Writes the bits of a block, `[step][group]` with a double word a pixel, to the masks.
    ///
    /// # Safety
    /// As [`TableLayer::run`].
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn store(&self, arena: *mut u8, at: At, bits: &[std::arch::x86_64::__m512i]) {
        use std::arch::x86_64::*;
        let pixel = self.chunk * self.mask;
        let (row, lanes) = if self.blocks.pairs { (self.grid[1], BLOCK / 2) } else { (BLOCK, BLOCK) };
        let columns = (self.grid[1] - at.x).min(lanes);
        let rows = if self.blocks.pairs { (self.grid[0] - at.y).min(2) } else { 1 };
        // SAFETY: pixels of the value.
        let out = unsafe { arena.add(self.out + (at.y * self.grid[1] + at.x) * pixel + at.t * self.mask) };
        for (i, eight) in bits.chunks(8).enumerate() {
            let word = |k: usize| eight.get(k).copied().unwrap_or(_mm512_setzero_si512());
            let pair = |k: usize| _mm512_or_si512(word(2 * k), _mm512_slli_epi32::<16>(word(2 * k + 1)));
            let quarters = transpose([pair(0), pair(1), pair(2), pair(3)]);
            let mut pixels = [[0u8; 16]; BLOCK];
            for (k, v) in quarters.into_iter().enumerate() {
                // Quarter `q` of vector `k` is pixel `4q + k`.
                let quarter = [
                    _mm512_extracti32x4_epi32::<0>(v),
                    _mm512_extracti32x4_epi32::<1>(v),
                    _mm512_extracti32x4_epi32::<2>(v),
                    _mm512_extracti32x4_epi32::<3>(v),
                ];
                for (q, bytes) in quarter.into_iter().enumerate() {
                    // SAFETY: as long as a vector.
                    unsafe { _mm_storeu_si128(pixels[4 * q + k].as_mut_ptr().cast(), bytes) };
                }
            }
            for r in 0..rows {
                for x in 0..columns {
                    // SAFETY: as above.
                    unsafe {
                        let (to, from) = (out.add((r * row + x) * pixel + 16 * i), &pixels[r * lanes + x]);
                        match eight.len() {
                            8 => to.cast::<[u8; 16]>().write_unaligned(*from),
                            words => to.copy_from_nonoverlapping(from.as_ptr(), 2 * words),
                        }
                    }
                }
            }
        }
    }
}

/// Steps that are computed together, at most.
const STEPS: usize = 8;

/// A block of pixels and its first step.
#[derive(Clone, Copy)]
struct At {
    y: usize,
    x: usize,
    block: usize,
    t: usize,
}

/// Where a block's words are in an index plane.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
struct Source {
    first: *const u8,
    /// Bytes from step to step.
    pitch: usize,
    /// Bytes from row to row.
    row: usize,
}

#[cfg(target_arch = "x86_64")]
impl Source {
    /// The same `n` steps later.
    #[inline(always)]
    fn step(self, n: usize) -> Self {
        Source { first: self.first.wrapping_add(n * self.pitch), ..self }
    }

    /// The block's 16 words at `offset`.
    ///
    /// # Safety
    /// They exist, and the CPU has AVX-512.
    #[target_feature(enable = "avx512f")]
    #[inline]
    unsafe fn load<const PAIRS: bool>(self, offset: usize) -> std::arch::x86_64::__m512i {
        use std::arch::x86_64::*;
        // SAFETY: the caller's.
        unsafe {
            let from = self.first.add(offset);
            if PAIRS {
                let low = _mm256_loadu_si256(from.cast());
                _mm512_inserti64x4::<1>(_mm512_castsi256_si512(low), _mm256_loadu_si256(from.add(self.row).cast()))
            } else {
                _mm512_loadu_si512(from.cast())
            }
        }
    }
}

/// Sums of four outputs ([`STEPS`] each, `M` of which are computed) and what they look up in `table`, the outputs' in turns. They start from
/// `base`, one for each output, or from what they are. A function of its own, so that the sums stay in registers.
///
/// # Safety
/// Every step has the block's words at every offset, `table` is as long, and the CPU has AVX-512 with VBMI and VNNI.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi,avx512vnni")]
#[inline(never)]
unsafe fn look_up<const M: usize, const PAIRS: bool>(
    source: Source,
    offsets: &[u32],
    mut table: *const u8,
    base: Option<*const std::arch::x86_64::__m512i>,
    sums: *mut std::arch::x86_64::__m512i,
) {
    use std::arch::x86_64::*;
    let ones = _mm512_set1_epi8(1);
    let mut total = [[_mm512_setzero_si512(); M]; 4];
    // SAFETY: the caller's.
    unsafe {
        for (k, total) in total.iter_mut().enumerate() {
            for (n, total) in total.iter_mut().enumerate() {
                *total = if let Some(base) = base { *base.add(k) } else { *sums.add(k * STEPS + n) };
            }
        }
        for &offset in offsets {
            let mut tables = [_mm512_setzero_si512(); 4];
            tables.iter_mut().enumerate().for_each(|(k, t)| *t = _mm512_loadu_si512(table.add(64 * k).cast()));
            for n in 0..M {
                let index = source.step(n).load::<PAIRS>(offset as usize);
                for k in 0..4 {
                    total[k][n] = _mm512_dpbusd_epi32(total[k][n], _mm512_permutexvar_epi8(index, tables[k]), ones);
                }
            }
            table = table.add(256);
        }
        for (k, total) in total.iter().enumerate() {
            total.iter().enumerate().for_each(|(n, &sum)| *sums.add(k * STEPS + n) = sum);
        }
    }
}

/// The same of one output and one table.
///
/// # Safety
/// As [`look_up`].
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi,avx512vnni")]
unsafe fn look_up_one<const N: usize, const PAIRS: bool>(
    source: Source,
    offset: u32,
    table: *const u8,
    sums: &mut [std::arch::x86_64::__m512i],
) {
    use std::arch::x86_64::*;
    // SAFETY: the caller's.
    unsafe {
        let table = _mm512_loadu_si512(table.cast());
        for (n, sum) in sums.iter_mut().enumerate().take(N) {
            let index = source.step(n).load::<PAIRS>(offset as usize);
            *sum = _mm512_dpbusd_epi32(*sum, _mm512_permutexvar_epi8(index, table), _mm512_set1_epi8(1));
        }
    }
}
