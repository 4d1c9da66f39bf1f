//! From 8-bit pixels to a network's input: resize, scale, normalise, lay out.
//!
//! `x = (p · scale − mean) / std` per channel, with p the pixel 0..255. Resizing comes first, on 8-bit pixels, with a
//! triangle filter whose support grows when shrinking: Pillow's `BILINEAR`, torchvision's antialiased default. Colours
//! become grey for a network of one channel, and grey becomes three equal channels for one of three, as in Pillow.

use super::{ChannelOrder, Pixels};
use image::imageops::{FilterType, resize};
use image::{GrayImage, RgbImage};
use snn_ir::signal::Dims;
use snn_ir::{Layout, Preprocessing};
use std::fmt::{self, Display};

/// Most pixels of an image that is resized: 8192 x 8192. Other images have the size that the network takes.
pub const MAX_PIXELS: usize = 1 << 26;

/// Height, width and channels of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// Channels.
    pub channels: usize,
}

impl Size {
    /// Number of values; as many as fit where they do not.
    fn len(self) -> usize {
        self.height.saturating_mul(self.width).saturating_mul(self.channels)
    }
}

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
    /// The preprocessing does not suit the network.
    Preprocessing(String),
}

impl Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Misfit::Shape { expected, got, .. } => write!(f, "the network takes {expected}, not {got}"),
            Misfit::Preprocessing(reason) => f.write_str(reason),
        }
    }
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

    /// What images of `size` are when they enter the network: resized, with the channels that it takes. Looks at sizes
    /// only, so that nothing is read or computed for an image that does not fit.
    ///
    /// # Errors
    /// When such images do not fit.
    pub fn fit(&self, size: Size, preprocessing: &Preprocessing) -> Result<Size, Misfit> {
        // One row of pixels is a flattened image: there is nothing to resize, and it has as many elements or does not fit.
        if size.height == 1 && size.channels == 1 && size.width == self.len() {
            match self.image {
                Some([1, height, width]) => return Ok(Size { height, width, channels: 1 }),
                None => return Ok(size),
                Some(_) => {}
            }
        }
        let resized = match preprocessing.resize {
            Some([height, width]) => Size { height, width, ..size },
            None => size,
        };
        let channels = match size.channels {
            1 => [1, 3],
            3 => [3, 1],
            other => [other, other],
        };
        let fits = |fitted: &Size| match self.image {
            Some(image) => image == [fitted.channels, fitted.height, fitted.width],
            None => fitted.len() == self.len(),
        };
        let fitted = channels.into_iter().map(|channels| Size { channels, ..resized }).find(fits);
        let fitted = fitted.ok_or_else(|| misfit(size, resized, self))?;
        if fitted.height != size.height || fitted.width != size.width {
            if size.height.saturating_mul(size.width) > MAX_PIXELS {
                let help = format!("images of up to {MAX_PIXELS} pixels are resized");
                return Err(Misfit::Shape { expected: self.describe(), got: describe(size), help });
            }
            if !matches!(size.channels, 1 | 3) {
                let help = "images of one or three channels are resized".into();
                return Err(Misfit::Shape { expected: self.describe(), got: describe(size), help });
            }
        }
        Ok(fitted)
    }

    /// Checks what can be checked of `preprocessing` before there are images.
    ///
    /// # Errors
    /// When images that are resized do not fit, numbers of means or deviations do not suit the channels, or the input would
    /// not be finite.
    pub fn check(&self, preprocessing: &Preprocessing) -> Result<(), Misfit> {
        if let Some([height, width]) = preprocessing.resize {
            let size = |channels| Size { height, width, channels };
            let any = self.image.map_or(vec![1, 3], |[channels, ..]| vec![channels]);
            if any.iter().all(|&channels| self.fit(size(channels), preprocessing).is_err()) {
                let reason = format!("images are resized to {height}x{width}, but the network takes {}", self.describe());
                return Err(Misfit::Preprocessing(reason));
            }
        }
        let channels = self.image_size(preprocessing).channels;
        if self.image.is_none() && !self.len().is_multiple_of(channels) {
            let reason = format!("--mean and --std are of {channels} channels, but the network takes {}", self.describe());
            return Err(Misfit::Preprocessing(reason));
        }
        let tables = value_tables(preprocessing, channels)?;
        if tables.iter().flatten().any(|v| !v.is_finite()) {
            let reason = "the input that --scale, --mean and --std make of pixels is not finite";
            return Err(Misfit::Preprocessing(reason.into()));
        }
        Ok(())
    }

    /// The size of images that fit as they are. A flat input is a row, of as many channels as `preprocessing` tells apart.
    pub fn image_size(&self, preprocessing: &Preprocessing) -> Size {
        match self.image {
            Some([channels, height, width]) => Size { height, width, channels },
            None => {
                let channels = preprocessing.mean.len().max(preprocessing.std.len()).max(1);
                Size { height: 1, width: self.len() / channels, channels }
            }
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
pub fn pixels_to_input(pixels: Pixels<'_>, preprocessing: &Preprocessing, target: &Target) -> Result<Vec<f32>, Misfit> {
    let fitted = target.fit(pixels.size, preprocessing)?;
    let flattened = pixels.size.height == 1 && pixels.size.len() == fitted.len();
    let resized = match flattened || (pixels.size.height, pixels.size.width) == (fitted.height, fitted.width) {
        true => pixels,
        false => resize_to(&pixels, fitted),
    };
    let Pixels { data, size: Size { channels: own, .. }, order } = resized;
    let tables = value_tables(preprocessing, fitted.channels)?;
    let plane = fitted.height * fitted.width;
    let at = |channel: usize, place: usize| match order {
        ChannelOrder::Last => data[place * own + channel],
        ChannelOrder::First => data[channel * plane + place],
    };
    let mut input = vec![0.0; fitted.len()];
    for place in 0..plane {
        for (channel, table) in tables.iter().enumerate() {
            let pixel = match (own, fitted.channels) {
                (3, 1) => grey([at(0, place), at(1, place), at(2, place)]),
                (1, _) => at(0, place),
                _ => at(channel, place),
            };
            let element = match target.layout {
                Layout::Chw => channel * plane + place,
                Layout::Hwc => place * fitted.channels + channel,
            };
            input[element] = table[usize::from(pixel)];
        }
    }
    Ok(input)
}

/// The brightness of a colour, as Pillow's `convert("L")` computes it from ITU-R 601's weights.
fn grey(rgb: [u8; 3]) -> u8 {
    let [r, g, b] = rgb.map(u32::from);
    ((r * 19595 + g * 38470 + b * 7471 + 0x8000) >> 16) as u8
}

/// The smallest and the largest input that `preprocessing` makes of pixels, in any channel.
pub fn range(preprocessing: &Preprocessing) -> [f32; 2] {
    let channels = preprocessing.mean.len().max(preprocessing.std.len()).max(1);
    let tables = value_tables(preprocessing, channels).unwrap_or_default();
    let values = tables.iter().flat_map(|table| [table[0], table[255]]);
    values.fold([f32::INFINITY, f32::NEG_INFINITY], |[low, high], v| [low.min(v), high.max(v)])
}

/// The input value of every pixel value, per channel.
fn value_tables(preprocessing: &Preprocessing, channels: usize) -> Result<Vec<[f32; 256]>, Misfit> {
    let pick = |values: &[f32], name: &str, channel: usize, default: f32| match values {
        [] => Ok(default),
        [one] => Ok(*one),
        many if many.len() == channels => Ok(many[channel]),
        many => {
            let reason = format!("--{name} has {} values, but the network's images have {channels} channels", many.len());
            Err(Misfit::Preprocessing(reason))
        }
    };
    (0..channels)
        .map(|channel| {
            let mean = f64::from(pick(&preprocessing.mean, "mean", channel, 0.0)?);
            let std = f64::from(pick(&preprocessing.std, "std", channel, 1.0)?);
            Ok(std::array::from_fn(|p| ((p as f64 * f64::from(preprocessing.scale) - mean) / std) as f32))
        })
        .collect()
}

/// An image of one or three channels, with another height and width.
fn resize_to(pixels: &Pixels<'_>, fitted: Size) -> Pixels<'static> {
    let Size { height, width, channels } = pixels.size;
    let [h, w, new_h, new_w] = [height, width, fitted.height, fitted.width].map(|d| u32::try_from(d).expect("sizes are bounded"));
    let interleaved = interleaved(pixels);
    let data = match channels {
        1 => GrayImage::from_raw(w, h, interleaved).map(|i| resize(&i, new_w, new_h, FilterType::Triangle).into_raw()),
        _ => RgbImage::from_raw(w, h, interleaved).map(|i| resize(&i, new_w, new_h, FilterType::Triangle).into_raw()),
    };
    let data = data.expect("there are as many pixels as the size says").into();
    Pixels { data, size: Size { channels, ..fitted }, order: ChannelOrder::Last }
}

fn interleaved(pixels: &Pixels<'_>) -> Vec<u8> {
    match pixels.order {
        ChannelOrder::Last => pixels.data.to_vec(),
        ChannelOrder::First => {
            let plane = pixels.size.height * pixels.size.width;
            let channels = pixels.size.channels;
            (0..pixels.data.len()).map(|i| pixels.data[i % channels * plane + i / channels]).collect()
        }
    }
}

fn describe(size: Size) -> String {
    let Size { height, width, channels } = size;
    match channels {
        1 if height == 1 => format!("{width} pixels"),
        1 => format!("{height}x{width}"),
        _ => format!("{height}x{width} with {channels} channels"),
    }
}

/// The misfit of an image of `size` that is `resized` before it meets the network.
fn misfit(size: Size, resized: Size, target: &Target) -> Misfit {
    let Size { height, width, channels } = resized;
    let other = match target.layout {
        Layout::Chw => Layout::Hwc,
        Layout::Hwc => Layout::Chw,
    };
    let help = match target.image {
        Some([_, h, w]) if resized != size && [h, w] != [height, width] => {
            format!("the network has images resized to {height}x{width}: compile it with --resize {h}x{w}")
        }
        Some([c, h, w]) if height == 1 && channels == 1 && width == c * h * w => {
            format!("save whole images, in the shape [N, {h}, {w}, {c}], x.reshape(-1, {h}, {w}, {c}) for example")
        }
        Some([1 | 3, h, w]) if matches!(channels, 1 | 3) && [h, w] != [height, width] => {
            format!("add --resize {h}x{w} when compiling to resize images")
        }
        Some([c, h, w]) if c == channels && [h, w] != [height, width] => format!("make the images {h}x{w}"),
        _ if Target::new(&target.shape, other).image == Some([channels, height, width]) => {
            format!("compile with --layout {}", other.name())
        }
        Some([3, ..]) if channels == 4 => "leave the fourth channel out: x[..., :3]".into(),
        _ => String::new(),
    };
    Misfit::Shape { expected: target.describe(), got: describe(size), help }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::borrow::Cow;

    fn image(height: usize, width: usize, channels: usize, data: &[u8]) -> Pixels<'_> {
        Pixels { data: Cow::Borrowed(data), size: Size { height, width, channels }, order: ChannelOrder::Last }
    }

    #[test]
    fn pixels_are_scaled_normalised_and_laid_out_as_the_network_wants_them() {
        let data = [0, 51, 255, 255, 51, 0];
        let pixels = image(1, 2, 3, &data);
        let p = Preprocessing { scale: 1.0, mean: vec![0.0, 50.0, 0.0], std: vec![0.5], ..Preprocessing::default() };
        let chw = pixels_to_input(pixels.clone(), &p, &Target::new(&[3, 1, 2], Layout::Chw)).unwrap();
        assert_eq!(chw, [0.0, 510.0, 2.0, 2.0, 510.0, 0.0]);
        let hwc = Preprocessing { layout: Layout::Hwc, mean: vec![], std: vec![], ..p };
        assert_eq!(pixels_to_input(pixels, &hwc, &Target::new(&[1, 2, 3], Layout::Hwc)).unwrap(), [0.0, 51.0, 255.0, 255.0, 51.0, 0.0]);
    }

    #[test]
    fn planar_pixels_give_the_same_input_as_interleaved_ones() {
        let (interleaved, planar) = ([1, 10, 2, 20, 3, 30, 4, 40], [1, 2, 3, 4, 10, 20, 30, 40]);
        let target = Target::new(&[2, 2, 2], Layout::Chw);
        let p = Preprocessing::default();
        let a = pixels_to_input(image(2, 2, 2, &interleaved), &p, &target).unwrap();
        let b = pixels_to_input(Pixels { order: ChannelOrder::First, ..image(2, 2, 2, &planar) }, &p, &target).unwrap();
        assert_eq!(a, b);
    }

    #[test]
    fn a_flat_input_takes_any_image_of_as_many_elements() {
        let p = Preprocessing { scale: 1.0, ..Preprocessing::default() };
        assert_eq!(pixels_to_input(image(2, 2, 1, &[1, 2, 3, 4]), &p, &Target::new(&[4], Layout::Chw)).unwrap(), [1.0, 2.0, 3.0, 4.0]);
    }

    #[test]
    fn an_image_of_the_wrong_size_is_refused_with_the_way_out() {
        let target = Target::new(&[1, 4, 4], Layout::Chw);
        let Err(Misfit::Shape { expected, got, help }) = pixels_to_input(image(2, 2, 1, &[0; 4]), &Preprocessing::default(), &target)
        else {
            panic!("a 2x2 image is no 4x4 input")
        };
        assert_eq!((expected.as_str(), got.as_str()), ("1x4x4 (CHW)", "2x2"));
        assert!(help.contains("--resize 4x4"), "{help}");
        let resizing = Preprocessing { resize: Some([4, 4]), ..Preprocessing::default() };
        assert_eq!(pixels_to_input(image(2, 2, 1, &[255; 4]), &resizing, &target).unwrap(), [1.0; 16]);
    }

    #[test]
    fn colours_become_grey_as_pillow_has_it_and_grey_becomes_colours_of_no_hue() {
        let p = Preprocessing { scale: 1.0, ..Preprocessing::default() };
        // Image.fromarray(rgb).convert("L") of Pillow 11.
        let colours = [255, 0, 0, 0, 255, 0, 0, 0, 255, 10, 200, 90, 255, 255, 255];
        let grey = pixels_to_input(image(1, 5, 3, &colours), &p, &Target::new(&[1, 1, 5], Layout::Chw)).unwrap();
        assert_eq!(grey, [76.0, 150.0, 29.0, 131.0, 255.0]);
        let colour = pixels_to_input(image(2, 1, 1, &[7, 9]), &p, &Target::new(&[3, 2, 1], Layout::Chw)).unwrap();
        assert_eq!(colour, [7.0, 9.0, 7.0, 9.0, 7.0, 9.0]);
    }

    #[test]
    fn flattened_images_are_taken_as_they_are_and_never_resized() {
        let p = Preprocessing { scale: 1.0, resize: Some([2, 2]), ..Preprocessing::default() };
        let flat = image(1, 4, 1, &[1, 2, 3, 4]);
        assert_eq!(pixels_to_input(flat.clone(), &p, &Target::new(&[1, 2, 2], Layout::Chw)).unwrap(), [1.0, 2.0, 3.0, 4.0]);
        assert_eq!(pixels_to_input(flat, &p, &Target::new(&[4], Layout::Chw)).unwrap(), [1.0, 2.0, 3.0, 4.0]);
        let colours = pixels_to_input(image(1, 12, 1, &[0; 12]), &Preprocessing::default(), &Target::new(&[3, 2, 2], Layout::Chw));
        let Err(Misfit::Shape { help, .. }) = colours else { panic!("which of its axes are channels is not known") };
        assert!(help.contains("x.reshape(-1, 2, 2, 3)"), "{help}");
    }

    #[test]
    fn sizes_are_compared_before_any_work_is_done() {
        let target = Target::new(&[1, 8, 8], Layout::Chw);
        let absurd = Preprocessing { resize: Some([1 << 14, 1 << 14]), ..Preprocessing::default() };
        let size = Size { height: 28, width: 28, channels: 1 };
        assert!(target.fit(size, &absurd).is_err() && target.check(&absurd).is_err());
        let resizing = Preprocessing { resize: Some([8, 8]), ..Preprocessing::default() };
        assert_eq!(target.fit(size, &resizing), Ok(Size { height: 8, width: 8, channels: 1 }));
        assert!(target.fit(Size { height: 50000, width: 50000, channels: 1 }, &resizing).is_err());
        assert!(target.fit(Size { height: usize::MAX, width: 3, channels: 3 }, &resizing).is_err());
    }

    #[test]
    fn preprocessing_that_does_not_suit_the_network_is_refused_before_there_are_images() {
        let check = |shape: &[usize], mean: &[f32], std: &[f32]| {
            let p = Preprocessing { mean: mean.into(), std: std.into(), ..Preprocessing::default() };
            Target::new(shape, Layout::Chw).check(&p)
        };
        assert_eq!(check(&[3, 4, 4], &[0.5; 3], &[0.2]), Ok(()));
        assert_eq!(check(&[12], &[0.5; 3], &[]), Ok(()));
        for (shape, mean, std) in [
            (&[3, 4, 4][..], &[0.5; 2][..], &[][..]),
            (&[3, 4, 4], &[], &[1.0; 4]),
            (&[1, 4, 4], &[0.5; 3], &[]),
            (&[10], &[0.5; 3], &[]),
            (&[12], &[0.5; 3], &[0.2; 2]),
            (&[1, 4, 4], &[0.5], &[1e-45]),
        ] {
            assert!(check(shape, mean, std).is_err(), "{shape:?} {mean:?} {std:?}");
        }
    }
}
