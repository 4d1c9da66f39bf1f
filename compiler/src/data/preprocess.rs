//! From 8-bit pixels to a network's input: resize, scale, normalise, lay out.
//!
//! `x = (p · scale − mean) / std` per channel, with p the pixel 0..255. Resizing comes first, on 8-bit pixels, with a
//! triangle filter whose support grows when shrinking: Pillow's `BILINEAR`, torchvision's antialiased default.

use super::{ChannelOrder, Pixels};
use image::imageops::{FilterType, resize};
use image::{GrayImage, RgbImage};
use snn_ir::signal::Dims;
use snn_ir::{Layout, Preprocessing};

/// Why pixels cannot become an input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Misfit {
    /// The image is of the wrong size.
    Shape {
        /// What the network takes, in words.
        expected: String,
        /// What the image is, in words.
        got: String,
        /// What to do.
        help: String,
    },
    /// The preprocessing does not suit the number of channels.
    Channels(String),
}

/// A network's input seen as an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    shape: Vec<usize>,
    layout: Layout,
    /// Channels, height, width; `None` for a flat vector, which takes any image with as many elements.
    image: Option<[usize; 3]>,
}

impl Target {
    /// The input of per-sample `shape` (leading extents of one aside: `[C,H,W]`, `[H,W,C]`, `[H,W]` or `[n]`).
    pub fn new(shape: &[usize], layout: Layout) -> Self {
        let ones = shape.iter().take(shape.len().saturating_sub(3)).take_while(|&&d| d == 1).count();
        let image = match (&shape[ones..], layout) {
            (&[c, h, w], Layout::Chw) | (&[h, w, c], Layout::Hwc) => Some([c, h, w]),
            (&[h, w], _) => Some([1, h, w]),
            _ => None,
        };
        Target { shape: shape.into(), layout, image }
    }

    /// Number of channels that image files are decoded to.
    pub fn image_channels(&self) -> usize {
        match self.image {
            Some([1, ..]) => 1,
            Some(_) => 3,
            // A flat input of a square number of elements is a grey image.
            None if self.len().isqrt().pow(2) == self.len() => 1,
            None => 3,
        }
    }

    fn len(&self) -> usize {
        self.shape.iter().product()
    }

    fn describe(&self) -> String {
        match (self.image, self.layout) {
            (Some(_), Layout::Chw) if self.shape.len() > 2 => format!("{} (CHW)", Dims(&self.shape)),
            (Some(_), Layout::Hwc) if self.shape.len() > 2 => format!("{} (HWC)", Dims(&self.shape)),
            _ => Dims(&self.shape).to_string(),
        }
    }
}

/// The layout that an input of per-sample `shape` has by the look of it: channels last only when the last extent is a number
/// of channels (1 or 3) and the first is none.
pub fn likely_layout(shape: &[usize]) -> Layout {
    match shape {
        [.., first, _, 1 | 3] if !matches!(first, 1 | 3) => Layout::Hwc,
        _ => Layout::Chw,
    }
}

/// Turns an image into the network's input.
///
/// # Errors
/// When it does not fit.
pub fn pixels_to_input(pixels: &Pixels<'_>, preprocessing: &Preprocessing, target: &Target) -> Result<Vec<f32>, Misfit> {
    let resized = match preprocessing.resize {
        Some([height, width]) if [height, width] != [pixels.height, pixels.width] => Some(resize_to(pixels, height, width, target)?),
        _ => None,
    };
    let pixels = resized.as_ref().unwrap_or(pixels);
    let (height, width, channels) = (pixels.height, pixels.width, pixels.channels);
    let fits = match target.image {
        Some(image) => image == [channels, height, width],
        None => target.len() == channels * height * width,
    };
    if !fits {
        return Err(misfit(pixels, target));
    }
    let tables = value_tables(preprocessing, channels)?;
    let plane = height * width;
    let mut input = vec![0.0; pixels.data.len()];
    for (i, &p) in pixels.data.iter().enumerate() {
        let (channel, place) = match pixels.order {
            ChannelOrder::Last => (i % channels, i / channels),
            ChannelOrder::First => (i / plane, i % plane),
        };
        let at = match target.layout {
            Layout::Chw => channel * plane + place,
            Layout::Hwc => place * channels + channel,
        };
        input[at] = tables[channel][usize::from(p)];
    }
    Ok(input)
}

/// The input value of every pixel value, per channel.
fn value_tables(preprocessing: &Preprocessing, channels: usize) -> Result<Vec<[f32; 256]>, Misfit> {
    let pick = |values: &[f32], name: &str, channel: usize, default: f32| match values {
        [] => Ok(default),
        [one] => Ok(*one),
        many if many.len() == channels => Ok(many[channel]),
        many => Err(Misfit::Channels(format!("--{name} has {} values, but images have {channels} channels", many.len()))),
    };
    (0..channels)
        .map(|channel| {
            let mean = f64::from(pick(&preprocessing.mean, "mean", channel, 0.0)?);
            let std = f64::from(pick(&preprocessing.std, "std", channel, 1.0)?);
            Ok(std::array::from_fn(|p| ((p as f64 * f64::from(preprocessing.scale) - mean) / std) as f32))
        })
        .collect()
}

fn resize_to(pixels: &Pixels<'_>, height: usize, width: usize, target: &Target) -> Result<Pixels<'static>, Misfit> {
    let [h, w, new_h, new_w] = [pixels.height, pixels.width, height, width].map(|d| u32::try_from(d).unwrap_or(u32::MAX));
    let interleaved = interleaved(pixels);
    let data = match pixels.channels {
        1 => GrayImage::from_raw(w, h, interleaved).map(|i| resize(&i, new_w, new_h, FilterType::Triangle).into_raw()),
        3 => RgbImage::from_raw(w, h, interleaved).map(|i| resize(&i, new_w, new_h, FilterType::Triangle).into_raw()),
        _ => None,
    };
    let data = data.ok_or_else(|| misfit(pixels, target))?.into();
    Ok(Pixels { data, height, width, channels: pixels.channels, order: ChannelOrder::Last })
}

fn interleaved(pixels: &Pixels<'_>) -> Vec<u8> {
    match pixels.order {
        ChannelOrder::Last => pixels.data.to_vec(),
        ChannelOrder::First => {
            let plane = pixels.height * pixels.width;
            (0..pixels.data.len()).map(|i| pixels.data[i % pixels.channels * plane + i / pixels.channels]).collect()
        }
    }
}

fn misfit(pixels: &Pixels<'_>, target: &Target) -> Misfit {
    let (height, width, channels) = (pixels.height, pixels.width, pixels.channels);
    let got = match (channels, pixels.order) {
        (1, _) => format!("{height}x{width}"),
        (_, ChannelOrder::Last) => format!("{height}x{width}x{channels} (HWC)"),
        (_, ChannelOrder::First) => format!("{channels}x{height}x{width} (CHW)"),
    };
    let other = match target.layout {
        Layout::Chw => Layout::Hwc,
        Layout::Hwc => Layout::Chw,
    };
    let help = match target.image {
        Some([c, h, w]) if c == channels => format!("add --resize {h}x{w} when compiling to resize images"),
        _ if Target::new(&target.shape, other).image == Some([channels, height, width]) => {
            format!("compile with --layout {}", other.name())
        }
        _ => String::new(),
    };
    Misfit::Shape { expected: target.describe(), got, help }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::borrow::Cow;

    fn image(height: usize, width: usize, channels: usize, data: &[u8]) -> Pixels<'_> {
        Pixels { data: Cow::Borrowed(data), height, width, channels, order: ChannelOrder::Last }
    }

    #[test]
    fn pixels_are_scaled_normalised_and_laid_out_as_the_network_wants_them() {
        let data = [0, 51, 255, 255, 51, 0];
        let pixels = image(1, 2, 3, &data);
        let p = Preprocessing { scale: 1.0, mean: vec![0.0, 50.0, 0.0], std: vec![0.5], ..Preprocessing::default() };
        let chw = pixels_to_input(&pixels, &p, &Target::new(&[3, 1, 2], Layout::Chw)).unwrap();
        assert_eq!(chw, [0.0, 510.0, 2.0, 2.0, 510.0, 0.0]);
        let hwc = Preprocessing { layout: Layout::Hwc, mean: vec![], std: vec![], ..p };
        assert_eq!(pixels_to_input(&pixels, &hwc, &Target::new(&[1, 2, 3], Layout::Hwc)).unwrap(), [0.0, 51.0, 255.0, 255.0, 51.0, 0.0]);
    }

    #[test]
    fn planar_pixels_give_the_same_input_as_interleaved_ones() {
        let (interleaved, planar) = ([1, 10, 2, 20, 3, 30, 4, 40], [1, 2, 3, 4, 10, 20, 30, 40]);
        let target = Target::new(&[2, 2, 2], Layout::Chw);
        let p = Preprocessing::default();
        let a = pixels_to_input(&image(2, 2, 2, &interleaved), &p, &target).unwrap();
        let b = pixels_to_input(&Pixels { order: ChannelOrder::First, ..image(2, 2, 2, &planar) }, &p, &target).unwrap();
        assert_eq!(a, b);
    }

    #[test]
    fn a_flat_input_takes_any_image_of_as_many_elements() {
        let p = Preprocessing { scale: 1.0, ..Preprocessing::default() };
        assert_eq!(pixels_to_input(&image(2, 2, 1, &[1, 2, 3, 4]), &p, &Target::new(&[4], Layout::Chw)).unwrap(), [1.0, 2.0, 3.0, 4.0]);
    }

    #[test]
    fn an_image_of_the_wrong_size_is_refused_with_the_way_out() {
        let target = Target::new(&[1, 4, 4], Layout::Chw);
        let Err(Misfit::Shape { expected, got, help }) = pixels_to_input(&image(2, 2, 1, &[0; 4]), &Preprocessing::default(), &target)
        else {
            panic!("a 2x2 image is no 4x4 input")
        };
        assert_eq!((expected.as_str(), got.as_str()), ("1x4x4 (CHW)", "2x2"));
        assert!(help.contains("--resize 4x4"), "{help}");
        let resizing = Preprocessing { resize: Some([4, 4]), ..Preprocessing::default() };
        assert_eq!(pixels_to_input(&image(2, 2, 1, &[255; 4]), &resizing, &target).unwrap(), [1.0; 16]);
    }
}
