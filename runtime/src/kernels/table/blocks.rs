//! Blocks: pixels that are computed together.

use super::BLOCK;

/// How the pixels of a grid form blocks: 16 of a row, or eight of each of two rows that are no
/// wider.
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
    pub(super) fn place(&self, y: usize, x: usize) -> (usize, usize) {
        if self.pairs { (y / 2, y % 2 * (BLOCK / 2) + x) } else { (y * self.columns + x / BLOCK, x % BLOCK) }
    }

    /// All blocks.
    pub fn count(&self) -> usize {
        self.rows * self.columns
    }
}
