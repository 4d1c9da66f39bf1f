//! What the importer will spend on a model, so that a small file cannot ask for hours or gigabytes by naming the same
//! constant a thousand times.

use super::error::Refusal;

/// Elements that may be handled whatever the file's size.
const FREE: usize = 16 << 20;
/// How often every element that the file really holds may be handled.
const PER_ELEMENT: usize = 32;
/// Elements that constants of one repeated value may grow to when they become parameters (640 MiB in all; VGG-19 has 144
/// million of them in the files that hold nothing else).
const REPEATED: usize = 160 << 20;

/// What is left to spend.
#[derive(Debug)]
pub struct Budget {
    elements: usize,
    repeated: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Budget { elements: FREE, repeated: REPEATED }
    }
}

fn take(left: &mut usize, cost: usize) -> Result<(), Refusal> {
    *left = left.checked_sub(cost).ok_or("the model's constants are used too often, or repeated to too many elements")?;
    Ok(())
}

impl Budget {
    /// Credits `count` elements that were read from the file.
    pub fn earn(&mut self, count: usize) {
        self.elements = self.elements.saturating_add(count.saturating_mul(PER_ELEMENT));
    }

    /// Pays for handling `count` elements.
    ///
    /// # Errors
    /// When that is more than is left.
    pub fn spend(&mut self, count: usize) -> Result<(), Refusal> {
        take(&mut self.elements, count)
    }

    /// Pays for writing out `count` elements of one value.
    ///
    /// # Errors
    /// When that is more than is left.
    pub fn spend_repeated(&mut self, count: usize) -> Result<(), Refusal> {
        take(&mut self.repeated, count)
    }
}
