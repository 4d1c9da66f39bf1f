//! Sliding windows: the geometry shared by convolutions and poolings.

use crate::infer::MAX_ELEMENTS;

/// A window sliding over the spatial axes of a `[C, spatial..]` value. All vectors have one entry per spatial axis.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct Window {
    /// Extent of the window.
    pub kernel: Vec<usize>,
    /// Distance between two windows.
    pub stride: Vec<usize>,
    /// Distance between two taps of a window.
    pub dilation: Vec<usize>,
    /// Padding before the first element of each axis.
    pub pad_begin: Vec<usize>,
    /// Padding after the last element of each axis.
    pub pad_end: Vec<usize>,
    /// Whether a last, partial window counts (ONNX `ceil_mode`; poolings only).
    pub ceil: bool,
}

impl Window {
    /// A dense, unpadded window that moves by one.
    pub fn unit(kernel: impl Into<Vec<usize>>) -> Self {
        let kernel = kernel.into();
        let rank = kernel.len();
        Window { kernel, stride: vec![1; rank], dilation: vec![1; rank], pad_begin: vec![0; rank], pad_end: vec![0; rank], ceil: false }
    }

    /// Number of spatial axes.
    pub fn rank(&self) -> usize {
        self.kernel.len()
    }

    /// Number of taps in a window; at most [`MAX_ELEMENTS`] for every window that fits a value.
    pub fn taps(&self) -> usize {
        self.kernel.iter().fold(1, |taps, &k| taps.saturating_mul(k))
    }

    /// Extent of the dilated kernel along `axis`.
    pub fn extent(&self, axis: usize) -> Option<usize> {
        self.kernel[axis].checked_sub(1)?.checked_mul(self.dilation[axis])?.checked_add(1)
    }

    /// Whether all vectors have the same, non-zero rank and kernel, stride and dilation are positive.
    pub fn is_consistent(&self) -> bool {
        let rank = self.kernel.len();
        rank > 0
            && [&self.stride, &self.dilation, &self.pad_begin, &self.pad_end].iter().all(|v| v.len() == rank)
            && [&self.kernel, &self.stride, &self.dilation].iter().all(|v| v.iter().all(|&x| x > 0))
    }

    /// Output extent for each axis of an input of `spatial` extents (ONNX Conv / MaxPool / AveragePool); `None` when
    /// the window does not fit, or has more taps or a padded extent larger than any value may have elements.
    ///
    /// With `ceil`, a last window that would start in the end padding is dropped, as the ONNX reference does since
    /// opset 19 and every framework always did.
    pub fn output(&self, spatial: &[usize]) -> Option<Vec<usize>> {
        if !self.is_consistent() || spatial.len() != self.rank() || self.taps() > MAX_ELEMENTS {
            return None;
        }
        (0..self.rank())
            .map(|a| {
                let padded = spatial[a].checked_add(self.pad_begin[a])?.checked_add(self.pad_end[a]).filter(|&p| p <= MAX_ELEMENTS)?;
                let room = padded.checked_sub(self.extent(a)?)?;
                let mut out = room / self.stride[a] + 1;
                if self.ceil && !room.is_multiple_of(self.stride[a]) && out.saturating_mul(self.stride[a]) < spatial[a] + self.pad_begin[a]
                {
                    out += 1;
                }
                Some(out)
            })
            .collect()
    }

    /// Output extents of the transposed convolution over `spatial`, before `output_padding` (ONNX ConvTranspose); `None`
    /// as for [`Window::output`].
    pub fn transposed_output(&self, spatial: &[usize]) -> Option<Vec<usize>> {
        if !self.is_consistent() || spatial.len() != self.rank() || self.taps() > MAX_ELEMENTS {
            return None;
        }
        (0..self.rank())
            .map(|a| {
                let full = spatial[a].checked_sub(1)?.checked_mul(self.stride[a])?.checked_add(self.extent(a)?)?;
                let full = Some(full).filter(|&f| f <= MAX_ELEMENTS)?;
                full.checked_sub(self.pad_begin[a])?.checked_sub(self.pad_end[a])
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ceil_mode_drops_a_window_that_starts_in_the_padding() {
        let mut w = Window { stride: vec![2], pad_begin: vec![1], pad_end: vec![1], ceil: true, ..Window::unit([2]) };
        assert_eq!(w.output(&[3]), Some(vec![2]));
        w.ceil = false;
        assert_eq!(w.output(&[3]), Some(vec![2]));
        let w = Window { stride: vec![2], ceil: true, ..Window::unit([3]) };
        assert_eq!(w.output(&[112]), Some(vec![56]));
        assert_eq!(Window { ceil: false, ..w }.output(&[112]), Some(vec![55]));
    }

    #[test]
    fn a_window_whose_taps_no_number_holds_fits_nothing() {
        let kernel = [1 << 22, 1 << 21, 1 << 21];
        let w = Window { pad_end: kernel.map(|k| k - 1).into(), ..Window::unit(kernel) };
        assert_eq!(w.output(&[1, 1, 1]), None);
        assert_eq!(w.transposed_output(&[1, 1, 1]), None);
        assert_eq!(w.taps(), usize::MAX);
    }

    #[test]
    fn a_window_larger_than_its_input_has_no_output() {
        assert_eq!(Window::unit([5, 5]).output(&[4, 9]), None);
    }
}
