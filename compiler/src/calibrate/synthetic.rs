//! Made-up inputs for networks whose user gave no calibration data.

use super::Calibration;
use snn_ir::{Graph, ValueType};

/// How many samples are made.
const SAMPLES: usize = 64;
/// Elements of all samples together beyond which fewer are made (256 MiB): those of 64 samples of a million pixels.
const ELEMENTS: usize = 1 << 26;

/// A small deterministic generator (SplitMix64, Steele et al. 2014).
struct Generator(u64);

impl Generator {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in `[-1, 1)`.
    fn uniform(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }
}

/// Standardised random inputs for every input of `graph`: for images (three axes) smooth random fields plus a little
/// noise, as photographs have most of their power in low frequencies; independent noise otherwise. Zero mean, unit
/// variance: what networks are usually fed.
pub fn samples(graph: &Graph) -> Calibration {
    let types: Vec<ValueType> = graph.inputs().into_iter().map(|id| graph.ty(id).clone()).collect();
    let mut generator = Generator(0x5eed);
    let elements: usize = types.iter().map(ValueType::len).sum();
    let count = (ELEMENTS / elements.max(1)).clamp(1, SAMPLES);
    let samples = (0..count).map(|_| types.iter().map(|ty| sample(&mut generator, &ty.shape)).collect()).collect();
    Calibration { samples, description: format!("{count} synthetic inputs") }
}

fn sample(generator: &mut Generator, shape: &[usize]) -> Vec<f32> {
    let mut values = match *shape {
        [channels, height, width] if height > 4 && width > 4 => (0..channels).flat_map(|_| field(generator, height, width)).collect(),
        _ => (0..shape.iter().product()).map(|_| generator.uniform()).collect::<Vec<f32>>(),
    };
    let n = values.len() as f32;
    let mean = values.iter().sum::<f32>() / n;
    let deviation = (values.iter().map(|v| (v - mean) * (v - mean)).sum::<f32>() / n).sqrt().max(1e-6);
    values.iter_mut().for_each(|v| *v = (*v - mean) / deviation);
    values
}

/// A sum of bilinearly enlarged random grids, each finer and weaker than the one before (power falls as 1/f).
fn field(generator: &mut Generator, height: usize, width: usize) -> Vec<f32> {
    let mut out = vec![0f32; height * width];
    for (cells, weight) in [(2usize, 1.0f32), (4, 0.6), (8, 0.35), (16, 0.2)] {
        let grid: Vec<f32> = (0..(cells + 1) * (cells + 1)).map(|_| generator.uniform()).collect();
        for y in 0..height {
            for x in 0..width {
                let (fy, fx) = (y as f32 * cells as f32 / height as f32, x as f32 * cells as f32 / width as f32);
                let (iy, ix) = (fy as usize, fx as usize);
                let (ty, tx) = (fy - iy as f32, fx - ix as f32);
                let at = |j: usize, i: usize| grid[j * (cells + 1) + i];
                let top = at(iy, ix) * (1.0 - tx) + at(iy, ix + 1) * tx;
                let bottom = at(iy + 1, ix) * (1.0 - tx) + at(iy + 1, ix + 1) * tx;
                out[y * width + x] += weight * (top * (1.0 - ty) + bottom * ty);
            }
        }
    }
    out.iter_mut().for_each(|v| *v += 0.1 * generator.uniform());
    out
}
