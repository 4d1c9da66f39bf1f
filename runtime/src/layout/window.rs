//! Sliding windows over rows and columns.

/// A two-dimensional sliding window (one axis has a first axis of extent 1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlidingWindow {
    /// Input rows and columns.
    pub input: [usize; 2],
    /// Output rows and columns.
    pub output: [usize; 2],
    /// Taps per axis.
    pub kernel: [usize; 2],
    /// Distance between windows.
    pub stride: [usize; 2],
    /// Distance between taps.
    pub dilation: [usize; 2],
    /// Padding before the first row and column.
    pub pad: [usize; 2],
}

impl SlidingWindow {
    /// Whether every output pixel sees just the input pixel at its place.
    pub fn is_pointwise(&self) -> bool {
        self.kernel == [1, 1] && self.stride == [1, 1] && self.pad == [0, 0] && self.input == self.output
    }

    /// Rows or columns that all windows together reach over, padding among them.
    pub fn reach(&self, axis: usize) -> usize {
        (self.output[axis] - 1) * self.stride[axis] + (self.kernel[axis] - 1) * self.dilation[axis] + 1
    }

    /// Whether what the windows reach over is not much more than their input, so that it can be
    /// written out.
    pub fn is_mostly_input(&self) -> bool {
        is_mostly([self.reach(0), self.reach(1)], self.input)
    }

    /// The input rows that the pixels of output row `y` see.
    pub fn input_rows(&self, y: usize) -> std::ops::Range<usize> {
        let first = y * self.stride[0];
        let end = first + (self.kernel[0] - 1) * self.dilation[0] + 1;
        first.saturating_sub(self.pad[0])..end.saturating_sub(self.pad[0]).min(self.input[0])
    }

    /// Calls `visit` with input pixel and slice of every tap of output pixel `pixel`.
    #[inline]
    pub fn for_each_tap(&self, pixel: usize, mut visit: impl FnMut(usize, usize)) {
        let (y, x) = (pixel / self.output[1], pixel % self.output[1]);
        for ky in 0..self.kernel[0] {
            let iy = (y * self.stride[0] + ky * self.dilation[0]).wrapping_sub(self.pad[0]);
            if iy >= self.input[0] {
                continue;
            }
            for kx in 0..self.kernel[1] {
                let ix = (x * self.stride[1] + kx * self.dilation[1]).wrapping_sub(self.pad[1]);
                if ix < self.input[1] {
                    visit(iy * self.input[1] + ix, ky * self.kernel[1] + kx);
                }
            }
        }
    }
}

/// Pixels of padding that a plane may have whatever its input is.
const MOST_PADDING: usize = 1 << 12;

/// Whether a plane of so many rows and columns is not much more than the part of it that is no
/// padding.
pub fn is_mostly(plane: [usize; 2], part: [usize; 2]) -> bool {
    let pixels = |v: [usize; 2]| v[0].saturating_mul(v[1]);
    pixels(plane) <= pixels(part).saturating_mul(4).saturating_add(MOST_PADDING)
}
