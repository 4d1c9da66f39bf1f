//! What compiled layers hand to kernels: constants in the module's read-only data, and arguments.
//!
//! Up to six arguments are parameters. Kernels that take more get a pointer to a struct of them,
//! which the compiled layer keeps in its frame and fills before a call.

use super::byte_event::RowShape;
use super::matrix::{MatrixShape, PlaneShape};

/// One tap of an output pixel.
#[repr(C)]
pub struct Tap {
    /// The input pixel's chunk: masks or currents, by step.
    pub data: *const u8,
    /// The slice of weights it goes through.
    pub weights: *const u8,
}

/// Constants of a synapse.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct SynapseShape {
    /// Input channels.
    pub channels: u32,
    /// Bytes of an input pixel in one step.
    pub step_bytes: u32,
    /// Input channels per group.
    pub inputs: u32,
    /// Output channels per group.
    pub outputs: u32,
    /// Weights from one row (input channel) to the next.
    pub row: u32,
    /// Lanes of a row of currents.
    pub lanes: u32,
}

impl SynapseShape {
    /// The words, as kernels read them.
    pub fn words(&self) -> [u32; 6] {
        [self.channels, self.step_bytes, self.inputs, self.outputs, self.row, self.lanes]
    }
}

/// A synaptic kernel: adds to `currents` (`[step][lane]`) what `steps` steps of `taps` contribute.
/// `list` has room for one pointer per input element of the taps, and 64 bytes more.
pub type Synaptic =
    unsafe extern "C" fn(taps: *const Tap, count: usize, currents: *mut i32, steps: usize, shape: *const SynapseShape, list: *mut u64);

/// Starts `steps` rows of currents from a row of `lanes`.
pub type Start = unsafe extern "C" fn(currents: *mut i32, base: *const i32, steps: usize, lanes: usize);

/// Writes the taps of a pixel, from a table, and returns their number.
pub type ListTaps = unsafe extern "C" fn(arguments: &ListTapsArguments) -> usize;

/// Arguments of [`ListTaps`].
#[repr(C)]
pub struct ListTapsArguments {
    /// Where the entries of every output pixel start; one more than there are pixels.
    pub first: *const u32,
    /// Input pixel and slice of weights of every tap.
    pub entries: *const [u32; 2],
    /// The output pixel.
    pub pixel: usize,
    /// The operand's first pixel.
    pub data: *const u8,
    /// Bytes of a pixel of it.
    pub pixel_bytes: usize,
    /// The first slice of weights.
    pub weights: *const u8,
    /// Bytes of a slice.
    pub slice_bytes: usize,
    /// Where the taps go.
    pub taps: *mut Tap,
}

/// Constants of a layer's neurons. Strides go from pixel to pixel.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct FireShape {
    /// Lanes of a row of currents, a multiple of 16.
    pub lanes: u32,
    /// Bytes of a mask.
    pub mask: u32,
    /// Currents.
    pub currents: u32,
    /// Elements of `threshold`: 0 where pixels share a row.
    pub threshold: u32,
    /// Bytes of spikes, and of the residual's masks.
    pub spikes: u32,
}

impl FireShape {
    /// The words, as kernels read them.
    pub fn words(&self) -> [u32; 5] {
        [self.lanes, self.mask, self.currents, self.threshold, self.spikes]
    }
}

/// The neurons of neighbouring pixels, through all steps of a chunk.
pub type Fire = unsafe extern "C" fn(arguments: &FireArguments);

/// Arguments of [`Fire`]. Pointers are to the first of the pixels.
#[repr(C)]
pub struct FireArguments {
    /// Rows of currents that are integrated, `[step][lane]`.
    pub currents: *const i32,
    /// θ, a row of lanes.
    pub threshold: *const i32,
    /// Potentials at the start.
    pub before: *const i32,
    /// Elements of `before` from pixel to pixel.
    pub stride: usize,
    /// Where potentials are left.
    pub membrane: *mut i32,
    /// Where masks are written.
    pub spikes: *mut u8,
    /// Steps.
    pub steps: usize,
    /// The layer's constants.
    pub shape: *const FireShape,
    /// Number of pixels.
    pub pixels: usize,
    /// Masks of as many channels whose spikes add to the currents; null when there are none.
    pub residual: *const u8,
    /// What they add, a row of lanes.
    pub weights: *const i32,
}

/// Expands masks (`[pixel][step]`) to a plane of bytes.
pub type Expand = unsafe extern "C" fn(masks: *const u8, plane: *mut u8, steps: usize, shape: *const PlaneShape);

/// A matrix kernel: neighbouring output pixels through all steps of a chunk.
pub type Product = unsafe extern "C" fn(arguments: &ProductArguments);

/// Arguments of [`Product`].
#[repr(C)]
pub struct ProductArguments {
    /// The first pixel's window.
    pub window: *const u8,
    /// The weights.
    pub weights: *const i8,
    /// Currents of the first pixel.
    pub currents: *mut i32,
    /// Steps.
    pub steps: usize,
    /// The product's constants.
    pub shape: *const MatrixShape,
    /// Number of pixels.
    pub pixels: usize,
    /// What currents start from, a row per pixel, unless they are added to.
    pub base: *const i32,
}

/// Configures tiles for so many steps, and slabs of so many times four bytes.
pub type Begin = unsafe extern "C" fn(steps: usize, quads: usize);

/// Gives tiles back.
pub type End = unsafe extern "C" fn();

/// A row of neurons whose currents are a base, the weights of spikes, and those of a residual,
/// through all steps of a chunk.
pub type EventRow = unsafe extern "C" fn(arguments: &EventRowArguments);

/// Arguments of [`EventRow`]. Pointers are to the layer's first pixel.
#[repr(C)]
pub struct EventRowArguments {
    /// Masks of the operand.
    pub spikes_in: *const u8,
    /// Weights as [`super::byte_event::pack`] packs every slice.
    pub weights: *const u8,
    /// Steps.
    pub steps: usize,
    /// The layer's constants.
    pub shape: *const RowShape,
    /// Which row.
    pub y: usize,
    /// Room for the taps of a column.
    pub taps: *mut Tap,
    /// As much as [`super::byte_event::row_scratch`] says, aligned to 64 bytes.
    pub scratch: *mut u8,
    /// Currents of every step.
    pub base: *const i32,
    /// θ.
    pub threshold: *const i32,
    /// Potentials at the start.
    pub before: *const i32,
    /// Elements of `before` from pixel to pixel.
    pub before_stride: usize,
    /// Where potentials are left.
    pub membrane: *mut i32,
    /// Where masks are written.
    pub spikes: *mut u8,
    /// Masks of the neurons' own places whose spikes add to the currents; null when there are none.
    pub residual: *const u8,
    /// What they add, a row of lanes.
    pub residual_weights: *const i32,
}
