//! Convolution (ONNX Conv) and its transpose (ONNX ConvTranspose), over any number of spatial axes.

use super::matmul::{COLUMNS, Panels, add_multiple, multiply_panel};
use super::number::Number;
use super::window::WindowRuns;
use snn_ir::op;
use std::sync::Arc;

/// Fewest output channels of a group for which gathering the window's elements into panels pays.
const MIN_PANEL_CHANNELS: usize = 4;

/// A convolution of `[C_in, plane]` to `[C_out, plane]`.
#[derive(Clone, Debug)]
pub(crate) struct Conv<N> {
    bias: Option<Arc<[N]>>,
    geometry: WindowRuns,
    /// Input and output channels of a group.
    channels: (usize, usize),
    taps: usize,
    method: Method<N>,
}

#[derive(Clone, Debug)]
enum Method<N> {
    /// Window elements gathered into panels and multiplied by all weights of a group.
    Panels { weights: Vec<Panels<N>>, pieces: Vec<Piece>, first_pieces: Vec<usize> },
    /// One tap after the other, for depthwise and almost depthwise convolutions. `[C_out, C_in /
    /// groups, taps]`.
    Taps(Arc<[N]>),
}

/// A part of a run that lies within one panel.
#[derive(Clone, Copy, Debug)]
struct Piece {
    tap: usize,
    column: usize,
    input: usize,
    len: usize,
}

impl<N: Number> Conv<N> {
    /// The convolution of an operand and a result of the given shapes; `None` when the parameters
    /// are of the other kind of number.
    pub fn new(conv: &op::Conv, operand: &[usize], result: &[usize]) -> Option<Self> {
        let weight = N::parameters(&conv.weight)?;
        let bias = conv.bias.as_ref().map(|b| N::parameters(b).ok_or(())).transpose().ok()?;
        let geometry = WindowRuns::new(&conv.window, &operand[1..], &result[1..]);
        let channels = (operand[0] / conv.groups, result[0] / conv.groups);
        let taps = conv.window.taps();
        let depth = channels.0 * taps;
        let method = if channels.1 < MIN_PANEL_CHANNELS {
            Method::Taps(weight)
        } else {
            let (pieces, first_pieces) = pieces(&geometry);
            let weights = weight.chunks_exact(channels.1 * depth).map(|w| Panels::new(w, channels.1, depth)).collect();
            Method::Panels { weights, pieces, first_pieces }
        };
        Some(Conv { bias, geometry, channels, taps, method })
    }

    /// Takes the bias away.
    pub fn drop_bias(&mut self) {
        self.bias = None;
    }

    pub fn run(&self, x: &[N], out: &mut [N]) {
        let (inputs, outputs) = (self.geometry.inputs, self.geometry.outputs);
        let x = x.chunks_exact(self.channels.0 * inputs);
        let out = out.chunks_exact_mut(self.channels.1 * outputs);
        match &self.method {
            Method::Panels { weights, pieces, first_pieces } => {
                let mut panel = vec![[N::default(); COLUMNS]; self.channels.0 * self.taps];
                for (g, (x, out)) in x.zip(out).enumerate() {
                    let bias = self.bias.as_ref().map(|b| &b[g * self.channels.1..][..self.channels.1]);
                    for (p, range) in first_pieces.windows(2).enumerate() {
                        panel.fill([N::default(); COLUMNS]);
                        for piece in &pieces[range[0]..range[1]] {
                            self.gather(piece, x, &mut panel);
                        }
                        let first = p * COLUMNS;
                        multiply_panel(&weights[g], bias, &panel, &mut out[first..], outputs, COLUMNS.min(outputs - first));
                    }
                }
            }
            Method::Taps(weight) => {
                let mut weight = weight.chunks_exact(self.taps);
                let mut bias = self.bias.iter().flat_map(|b| b.iter());
                let mut sums = vec![N::Sum::default(); outputs];
                for (x, out) in x.zip(out) {
                    for out in out.chunks_exact_mut(outputs) {
                        sums.fill(bias.next().map_or_else(N::Sum::default, |b| b.widen()));
                        for (x, w) in x.chunks_exact(inputs).zip(&mut weight) {
                            for r in &self.geometry.runs {
                                add_multiple(&mut sums[r.output..r.output + r.len], w[r.tap], &x[r.input..], self.geometry.stride);
                            }
                        }
                        out.iter_mut().zip(&sums).for_each(|(o, &s)| *o = N::narrow(s));
                    }
                }
            }
        }
    }

    /// Copies one piece of every channel of a group into the panel `[channel, tap][column]`.
    fn gather(&self, piece: &Piece, x: &[N], panel: &mut [[N; COLUMNS]]) {
        let &Piece { tap, column, input, len } = piece;
        let rows = panel[tap..].iter_mut().step_by(self.taps);
        let planes = x.chunks_exact(self.geometry.inputs);
        match (self.geometry.stride, len) {
            (1, COLUMNS) => rows.zip(planes).for_each(|(row, x)| row.copy_from_slice(&x[input..input + COLUMNS])),
            (1, 8) => rows.zip(planes).for_each(|(row, x)| row[column..column + 8].copy_from_slice(&x[input..input + 8])),
            (1, _) => rows.zip(planes).for_each(|(row, x)| row[column..column + len].copy_from_slice(&x[input..input + len])),
            (stride, _) => rows.zip(planes).for_each(|(row, x)| {
                row[column..column + len].iter_mut().zip(x[input..].iter().step_by(stride)).for_each(|(to, &from)| *to = from)
            }),
        }
    }
}

/// The runs cut at panel borders, ordered by panel, and where each panel's begin.
fn pieces(geometry: &WindowRuns) -> (Vec<Piece>, Vec<usize>) {
    let panels = geometry.outputs.div_ceil(COLUMNS);
    let mut pieces: Vec<(usize, Piece)> = Vec::new();
    for run in &geometry.runs {
        let mut done = 0;
        while done < run.len {
            let output = run.output + done;
            let len = (run.len - done).min(COLUMNS - output % COLUMNS);
            let piece = Piece { tap: run.tap, column: output % COLUMNS, input: run.input + done * geometry.stride, len };
            pieces.push((output / COLUMNS, piece));
            done += len;
        }
    }
    pieces.sort_by_key(|(panel, _)| *panel);
    let first = (0..=panels).map(|p| pieces.partition_point(|(panel, _)| *panel < p)).collect();
    (pieces.into_iter().map(|(_, piece)| piece).collect(), first)
}

/// A transposed convolution: what the convolution of the same geometry reads, this one writes.
#[derive(Clone, Debug)]
pub(crate) struct ConvTranspose<N> {
    /// `[C_in, C_out / groups, taps]`.
    weight: Arc<[N]>,
    bias: Option<Arc<[N]>>,
    /// The convolution from the result to the operand.
    geometry: WindowRuns,
    /// Input and output channels of a group.
    channels: (usize, usize),
    taps: usize,
}

impl<N: Number> ConvTranspose<N> {
    /// As [`Conv::new`].
    pub fn new(conv: &op::ConvTranspose, operand: &[usize], result: &[usize]) -> Option<Self> {
        Some(ConvTranspose {
            weight: N::parameters(&conv.weight)?,
            bias: conv.bias.as_ref().map(|b| N::parameters(b).ok_or(())).transpose().ok()?,
            geometry: WindowRuns::new(&conv.window, &result[1..], &operand[1..]),
            channels: (operand[0] / conv.groups, result[0] / conv.groups),
            taps: conv.window.taps(),
        })
    }

    /// Takes the bias away.
    pub fn drop_bias(&mut self) {
        self.bias = None;
    }

    pub fn run(&self, x: &[N], out: &mut [N]) {
        let g = &self.geometry;
        let mut sums = vec![N::Sum::default(); g.inputs];
        for (o, out) in out.chunks_exact_mut(g.inputs).enumerate() {
            sums.fill(self.bias.as_ref().map_or_else(N::Sum::default, |b| b[o].widen()));
            let (group, within) = (o / self.channels.1, o % self.channels.1);
            for c in group * self.channels.0..(group + 1) * self.channels.0 {
                let w = &self.weight[(c * self.channels.1 + within) * self.taps..][..self.taps];
                let x = &x[c * g.outputs..][..g.outputs];
                for r in &g.runs {
                    let sums = sums[r.input..].iter_mut().step_by(g.stride);
                    sums.zip(&x[r.output..r.output + r.len]).for_each(|(s, &x)| *s = N::add_product(*s, w[r.tap], x));
                }
            }
            out.iter_mut().zip(&sums).for_each(|(o, &s)| *o = N::narrow(s));
        }
    }
}
