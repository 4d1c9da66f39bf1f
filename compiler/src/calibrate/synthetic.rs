//! Made-up inputs for networks whose user gave no calibration data.

use crate::data::preprocess::{Misfit, Target, pixels_to_input, range};
use crate::data::{ChannelOrder, Pixels, Samples};
use snn_ir::{Graph, Preprocessing, Random, ValueType};
use std::fmt::{self, Display};

/// How many samples are made.
const MOST_SAMPLES: usize = 64;
/// Elements of all samples together beyond which fewer are made (256 MiB): those of 64 samples of a million pixels.
const ELEMENTS: usize = 1 << 26;

/// What is assumed of inputs that nobody has shown.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Assumed {
    /// Zero mean and unit variance: what networks are usually fed.
    #[default]
    Standardised,
    /// 8-bit pixels, preprocessed as images are.
    Pixels(Preprocessing),
}

impl Display for Assumed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Assumed::Standardised => f.write_str("of zero mean and unit variance"),
            Assumed::Pixels(preprocessing) => {
                let [low, high] = range(preprocessing).map(|v| (v * 1e3).round() / 1e3);
                write!(f, "from {low} to {high} (preprocessed pixels)")
            }
        }
    }
}

/// Random inputs for every input of `graph`, as `assumed` says: for images (three axes) smooth random fields plus a little
/// noise, as photographs have most of their power in low frequencies; independent noise otherwise.
pub fn samples(graph: &Graph, assumed: &Assumed) -> Samples {
    let types: Vec<ValueType> = graph.inputs().into_iter().map(|id| graph.ty(id).clone()).collect();
    let mut generator = Random::new(0x5eed);
    let elements: usize = types.iter().map(ValueType::len).sum();
    let count = (ELEMENTS / elements.max(1)).clamp(1, MOST_SAMPLES);
    let mut sample = |ty: &ValueType| match assumed {
        Assumed::Standardised => standardised(&mut generator, &ty.shape),
        Assumed::Pixels(preprocessing) => {
            let preprocessing = Preprocessing { resize: None, ..preprocessing.clone() };
            // An input beside the image, which preprocessing does not suit.
            pixels(&mut generator, &ty.shape, &preprocessing).unwrap_or_else(|_| standardised(&mut generator, &ty.shape))
        }
    };
    let made = (0..count).map(|_| types.iter().map(&mut sample).collect());
    let samples = Samples::of(graph).with(made).expect("they are made of these shapes");
    samples.described(format!("{count} synthetic inputs {assumed}"))
}

/// Mean and standard deviation of the pixels of photographs (ImageNet, all channels: 0.449 and 0.226 of 255).
const PIXELS: (f32, f32) = (0.449 * 255.0, 0.226 * 255.0);

/// Random pixels as an input of per-sample `shape`, with the mean and the deviation that photographs have.
fn pixels(generator: &mut Random, shape: &[usize], preprocessing: &Preprocessing) -> Result<Vec<f32>, Misfit> {
    let target = Target::new(shape, preprocessing.layout);
    target.check(preprocessing)?;
    let size = target.image_size(preprocessing);
    let values = standardised(generator, &[size.channels, size.height, size.width]);
    // The cast ends at 0 and 255, as pixels do.
    let data = values.into_iter().map(|v| (PIXELS.0 + PIXELS.1 * v).round() as u8).collect();
    pixels_to_input(Pixels { data, size, order: ChannelOrder::First }, preprocessing, &target)
}

fn standardised(generator: &mut Random, shape: &[usize]) -> Vec<f32> {
    let mut values = match *shape {
        [channels, height, width] if height > 4 && width > 4 => (0..channels).flat_map(|_| field(generator, height, width)).collect(),
        _ => (0..shape.iter().product()).map(|_| generator.signed_unit()).collect::<Vec<f32>>(),
    };
    let n = values.len() as f32;
    let mean = values.iter().sum::<f32>() / n;
    let deviation = (values.iter().map(|v| (v - mean) * (v - mean)).sum::<f32>() / n).sqrt().max(1e-6);
    values.iter_mut().for_each(|v| *v = (*v - mean) / deviation);
    values
}

/// A sum of bilinearly enlarged random grids, each finer and weaker than the one before (power falls as 1/f).
fn field(generator: &mut Random, height: usize, width: usize) -> Vec<f32> {
    let mut out = vec![0f32; height * width];
    for (cells, weight) in [(2usize, 1.0f32), (4, 0.6), (8, 0.35), (16, 0.2)] {
        let grid: Vec<f32> = (0..(cells + 1) * (cells + 1)).map(|_| generator.signed_unit()).collect();
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
    out.iter_mut().for_each(|v| *v += 0.1 * generator.signed_unit());
    out
}
