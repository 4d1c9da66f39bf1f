//! Max-pools of counts.

use super::layout::Layout;
use crate::engine::plan::Work;
use crate::engine::plan::geometry::Geometry;
use crate::engine::plan::node::PlanNode;
use crate::kernels::KernelSet;
use crate::layout::SlidingWindow;
use std::ops::Range;

/// A max-pool of counts, or the largest of several.
#[derive(Debug)]
pub struct Maxima(Vec<Part>);

/// What the maxima see of one operand.
#[derive(Debug)]
struct Part {
    operand: usize,
    /// First byte of the first window.
    start: usize,
    /// Distances of its taps.
    taps: Vec<usize>,
    /// Bytes from window to window, down and across.
    strides: [usize; 2],
    window: SlidingWindow,
}

impl Maxima {
    /// The maxima of node `i`, if kernels can run them.
    pub fn new(i: usize, nodes: &[PlanNode], layouts: &[Option<Layout>]) -> Option<Self> {
        let output = layouts[i].as_ref()?.grid;
        let part = |&operand: &usize| {
            let layout = layouts[operand].as_ref()?;
            let window = match &nodes[i].work {
                Work::MaxPool(geometry) => layout.window(geometry, output)?,
                _ => layout.window(&Geometry::pointwise(nodes[i].pixels), output)?,
            };
            let (start, taps, strides) = (layout.start(&window), layout.taps(&window), layout.strides(&window));
            Some(Part { operand, start, taps, strides, window })
        };
        nodes[i].operands.iter().map(part).collect::<Option<_>>().map(Maxima)
    }

    /// Writes the largest counts to `out`. Borders hold zeros, and no count is less.
    pub fn run(&self, kernels: &KernelSet, planes: &[Vec<u8>], layout: &Layout, out: &mut [u8]) {
        let [rows, width] = layout.grid;
        for y in 0..rows {
            let out = &mut out[layout.at(y * width)..][..width * layout.pixel];
            out.fill(0);
            for part in &self.0 {
                let first = part.start + y * part.strides[0];
                kernels.maximum(&planes[part.operand][first..], part.strides[1], &part.taps, out, layout.pixel);
            }
        }
    }
}

/// The state of maxima that are sent step by step, as their rises.
#[derive(Debug)]
pub struct Rising {
    /// Per part: what its operand sent so far, laid out as the operand is, with borders below every
    /// sum.
    sums: Vec<Vec<i32>>,
    /// The largest sum that each window saw, `[pixel][byte of the pixel]`.
    maximum: Vec<i32>,
    /// For one pixel.
    largest: Vec<i32>,
    /// A row of the result.
    out: Vec<u8>,
}

/// The operands in one step.
pub struct See<'a> {
    /// The bytes of a node.
    pub plane: &'a dyn Fn(usize) -> &'a [u8],
    /// Whether there may be spikes in some of its rows.
    pub is_live: &'a dyn Fn(usize, Range<usize>) -> bool,
}

impl Rising {
    /// Nothing was sent yet.
    pub fn new(maxima: &Maxima, layout: &Layout, layouts: &[Option<Layout>]) -> Self {
        let sums = |part: &Part| {
            let layout = layouts[part.operand].as_ref().expect("maxima are of values with layouts");
            let mut sums = vec![i32::MIN; layout.bytes()];
            (0..layout.grid[0]).for_each(|y| sums[layout.row(y)].fill(0));
            sums
        };
        Rising {
            sums: maxima.0.iter().map(sums).collect(),
            maximum: vec![0; layout.grid[0] * layout.grid[1] * layout.pixel],
            largest: vec![0; layout.pixel],
            out: vec![0; layout.grid[1] * layout.pixel],
        }
    }

    /// One step. `row` gets every row of the result: what is sent above `zero`, or nothing if
    /// nothing is.
    pub fn step(
        &mut self,
        maxima: &Maxima,
        kernels: &KernelSet,
        zero: u8,
        layouts: &[Option<Layout>],
        see: &See,
        mut row: impl FnMut(usize, Option<&[u8]>),
    ) {
        for (part, sums) in maxima.0.iter().zip(&mut self.sums) {
            let layout = layouts[part.operand].as_ref().expect("maxima are of values with layouts");
            for y in (0..layout.grid[0]).filter(|&y| (see.is_live)(part.operand, y..y + 1)) {
                kernels.accumulate(&(see.plane)(part.operand)[layout.row(y)], zero, &mut sums[layout.row(y)]);
            }
        }
        for (y, maximum) in self.maximum.chunks_exact_mut(self.out.len()).enumerate() {
            let live = maxima.0.iter().any(|part| (see.is_live)(part.operand, part.window.input_rows(y)));
            let parts: Vec<(&[i32], &[usize], usize)> = (maxima.0.iter().zip(&self.sums))
                .map(|(part, sums)| (&sums[part.start + y * part.strides[0]..], &part.taps[..], part.strides[1]))
                .collect();
            if live {
                kernels.rise(&parts, zero, maximum, &mut self.largest, &mut self.out);
            }
            row(y, live.then_some(&self.out));
        }
    }

    /// What was sent so far, pixel-major.
    pub fn sums(&self, layout: &Layout) -> Vec<i64> {
        self.maximum.chunks_exact(layout.pixel).flat_map(|row| &row[..layout.channels]).map(|&x| i64::from(x)).collect()
    }
}
