//! Index planes: where a layer's spikes are as indices of its tables.

use crate::layout::Size;

/// The shape of an index plane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexPlane {
    /// Rows and columns of the value.
    pub input: [usize; 2],
    /// Rows of the plane.
    pub rows: usize,
    /// Where the value's first pixel is.
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

    /// Bytes of the plane. The distances above are right where these fit.
    pub fn bytes(&self) -> Size {
        Size::product([4, self.groups, self.stride, self.phase, self.chunk, self.rows])
    }

    /// The byte of a group's pixel in column `column` of the plane, from the step's first.
    pub fn column(&self, group: usize, column: usize) -> usize {
        4 * ((group * self.stride + column % self.stride) * self.phase + column / self.stride)
    }
}
