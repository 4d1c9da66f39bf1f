//! Where the bytes of a value lie: a plane `[row][column][channel]` with a border of silence
//! (zeros, where nothing is negative) as wide as its users' windows reach over the edge, so that no
//! kernel asks where a window ends.

use crate::engine::plan::Work;
use crate::engine::plan::geometry::Geometry;
use crate::engine::plan::matrix::{narrow, pixel_bytes};
use crate::engine::plan::node::PlanNode;
use crate::kernels::matrix::PlaneShape;
use crate::layout::{SlidingWindow, is_mostly};
use snn_ir::ValueType;

/// Bytes after a plane that kernels may read.
const SLACK: usize = 64;

/// The layout of one value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Channels.
    pub channels: usize,
    /// Bytes of a pixel.
    pub pixel: usize,
    /// Rows and columns of the value.
    pub grid: [usize; 2],
    /// Zeros before the first row and column.
    before: [usize; 2],
    /// Rows and columns of the plane.
    size: [usize; 2],
}

/// Rows and columns of a value; more than two axes of space are one row.
pub fn grid(ty: &ValueType) -> [usize; 2] {
    match ty.shape[..] {
        [_, columns] => [1, columns],
        [_, rows, columns] => [rows, columns],
        _ => [1, ty.shape.get(1..).unwrap_or(&[]).iter().product()],
    }
}

/// Most rows or columns of zeros on one side of a plane. Windows that want more see its elements
/// one by one.
const MAX_BORDER: usize = 64;

/// The window of a synapse or pool on a value of that grid, with its rows and columns of zeros
/// before and after; `None` when it is none, or is not seen on that grid.
fn window_on(geometry: &Geometry, grid: [usize; 2], output: [usize; 2]) -> Option<(SlidingWindow, [usize; 2], [usize; 2])> {
    let Geometry::Window(plane) = geometry else { return None };
    let plane = if plane.is_pointwise() { SlidingWindow { input: grid, output: grid, ..plane.clone() } } else { plane.clone() };
    let after = |a: usize| plane.reach(a).saturating_sub(plane.pad[a] + grid[a]);
    let (before, after) = (plane.pad, [after(0), after(1)]);
    let borders = before.iter().chain(&after).all(|&zeros| zeros <= MAX_BORDER);
    let fits = borders && plane.input == grid && plane.output == output;
    let fits = fits && is_mostly([0, 1].map(|a| before[a] + grid[a] + after[a]), grid);
    fits.then_some((plane, before, after))
}

impl Layout {
    /// The layout of node `index`, which `users` read.
    pub fn new<'a>(node: &PlanNode, users: impl Iterator<Item = &'a PlanNode>, index: usize) -> Self {
        let grid = grid(&node.ty);
        let (mut before, mut after) = ([0; 2], [0; 2]);
        for user in users {
            let windows: Vec<&Geometry> = match &user.work {
                Work::Layer(work) => {
                    let on_it = work.synapses.iter().zip(&user.operands).filter(|(_, o)| **o == index);
                    on_it.map(|(s, _)| &s.geometry).collect()
                }
                Work::MaxPool(geometry) => vec![geometry],
                _ => continue,
            };
            for (_, zeros_before, zeros_after) in windows.into_iter().filter_map(|g| window_on(g, grid, self::grid(&user.ty))) {
                for axis in 0..2 {
                    before[axis] = before[axis].max(zeros_before[axis]);
                    after[axis] = after[axis].max(zeros_after[axis]);
                }
            }
        }
        let size = [0, 1].map(|a| before[a] + grid[a] + after[a]);
        Layout { channels: node.channels, pixel: pixel_bytes(node.channels), grid, before, size }
    }

    /// The window of a user whose grid is `output`, if it can be seen on the plane.
    pub fn window(&self, geometry: &Geometry, output: [usize; 2]) -> Option<SlidingWindow> {
        window_on(geometry, self.grid, output).map(|(plane, ..)| plane)
    }

    /// Bytes of the plane.
    pub fn bytes(&self) -> usize {
        self.size[0] * self.row_pitch() + SLACK
    }

    /// Bytes from row to row.
    pub fn row_pitch(&self) -> usize {
        self.size[1] * self.pixel
    }

    /// The first byte of a pixel. Rows and columns count from `-before`, so `y` and `x` are shifted
    /// by `back`.
    fn byte(&self, y: usize, x: usize, back: [usize; 2]) -> usize {
        (y + self.before[0] - back[0]) * self.row_pitch() + (x + self.before[1] - back[1]) * self.pixel
    }

    /// The first byte of pixel `p` (row-major).
    pub fn at(&self, p: usize) -> usize {
        self.byte(p / self.grid[1], p % self.grid[1], [0, 0])
    }

    /// The bytes of row `y` of the value.
    pub fn row(&self, y: usize) -> std::ops::Range<usize> {
        let first = self.at(y * self.grid[1]);
        first..first + self.grid[1] * self.pixel
    }

    /// The first byte of the window of the first output pixel.
    pub fn start(&self, window: &SlidingWindow) -> usize {
        self.byte(0, 0, window.pad)
    }

    /// Bytes from one window to the next, down and across.
    pub fn strides(&self, window: &SlidingWindow) -> [usize; 2] {
        [window.stride[0] * self.row_pitch(), window.stride[1] * self.pixel]
    }

    /// Every tap's distance from the first.
    pub fn taps(&self, window: &SlidingWindow) -> Vec<usize> {
        let tap = |ky: usize, kx: usize| ky * window.dilation[0] * self.row_pitch() + kx * window.dilation[1] * self.pixel;
        (0..window.kernel[0]).flat_map(|ky| (0..window.kernel[1]).map(move |kx| (ky, kx))).map(|(ky, kx)| tap(ky, kx)).collect()
    }

    /// The plane as matrix products see it, if its numbers fit 32 bits.
    pub fn plane_shape(&self) -> Option<PlaneShape> {
        Some(PlaneShape {
            input: narrow(self.grid)?,
            size: narrow(self.size)?,
            pad: narrow(self.before)?,
            mask: 0,
            chunk: 1,
            pixel: u32::try_from(self.pixel).ok()?,
        })
    }

    /// One count per element, pixel-major.
    pub fn elements<'a>(&'a self, plane: &'a [u8]) -> impl Iterator<Item = u8> + 'a {
        (0..self.grid[0] * self.grid[1]).flat_map(|p| plane[self.at(p)..][..self.channels].iter().copied())
    }

    /// Writes one byte per element, pixel-major.
    pub fn fill(&self, plane: &mut [u8], mut counts: impl Iterator<Item = i64>) {
        for p in 0..self.grid[0] * self.grid[1] {
            plane[self.at(p)..][..self.channels].iter_mut().zip(&mut counts).for_each(|(to, count)| *to = count as u8);
        }
    }
}
