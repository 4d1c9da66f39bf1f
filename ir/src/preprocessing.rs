//! How 8-bit pixels become a network's input. Stored with a compiled network, so that running and evaluating it repeat
//! what compiling it assumed.

/// Order of the axes of an image-like input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Layout {
    /// Channel, height, width (ONNX, PyTorch).
    #[default]
    Chw,
    /// Height, width, channel (TensorFlow).
    Hwc,
}

impl Layout {
    /// Name on the command line and in text.
    pub fn name(self) -> &'static str {
        match self {
            Layout::Chw => "chw",
            Layout::Hwc => "hwc",
        }
    }
}

/// `x = (p · scale − mean) / std` per channel, with p the pixel 0..255, after resizing.
#[derive(Clone, Debug, PartialEq)]
pub struct Preprocessing {
    /// Layout of the network's input.
    pub layout: Layout,
    /// Factor on pixels: 1/255, or 1 for raw pixels.
    pub scale: f32,
    /// Mean per channel, one for all, or none (0).
    pub mean: Vec<f32>,
    /// Standard deviation per channel, one for all, or none (1).
    pub std: Vec<f32>,
    /// Height and width that images are resized to (bilinear, with antialiasing); `None` takes them as they are.
    pub resize: Option<[usize; 2]>,
}

impl Default for Preprocessing {
    /// Pixels to 0..1, channels first.
    fn default() -> Self {
        Preprocessing { layout: Layout::Chw, scale: 1.0 / 255.0, mean: Vec::new(), std: Vec::new(), resize: None }
    }
}
