//! Weights as tables of their sums.

/// A look-up of one output besides the usual ones.
#[derive(Clone, Debug, Default)]
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "only kernels for x86-64 look up"))]
pub struct Extra {
    /// As in [`Tables::offsets`].
    pub offset: u32,
    /// Its first byte in [`Tables::extra_tables`].
    pub table: usize,
}

/// A synapse as tables.
#[derive(Debug)]
pub struct Tables {
    /// Bytes from a window's first to the pixels of each quad (tap and group), in its first step.
    pub offsets: Vec<u32>,
    /// `[four outputs][quad][4][64]`.
    pub tables: Vec<u8>,
    /// Per output: look-ups of what did not fit.
    pub extras: Vec<Vec<Extra>>,
    pub extra_tables: Vec<u8>,
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
