//! Sizes that do not wrap.

use std::iter::Sum;
use std::ops::Add;

/// A number of bytes that a plan asks for. What does not fit a number stays the largest one, so
/// that nothing too large ever looks small: [`Size::within`] is the only way to a number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(usize);

impl Size {
    /// No bytes.
    pub const ZERO: Size = Size(0);

    /// The product of all `factors`.
    pub fn product(factors: impl IntoIterator<Item = usize>) -> Size {
        Size(factors.into_iter().fold(1, usize::saturating_mul))
    }

    /// The number, if it is at most `limit`, which is less than the largest one.
    pub fn within(self, limit: usize) -> Option<usize> {
        debug_assert!(limit < usize::MAX, "the largest number stands for all that are larger");
        Some(self.0).filter(|&n| n <= limit)
    }
}

impl Add for Size {
    type Output = Size;

    fn add(self, other: Size) -> Size {
        Size(self.0.saturating_add(other.0))
    }
}

impl Sum for Size {
    fn sum<I: Iterator<Item = Size>>(sizes: I) -> Size {
        sizes.fold(Size::ZERO, Add::add)
    }
}
