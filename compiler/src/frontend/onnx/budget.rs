//! What the importer will spend on a model, so that a small file cannot ask for hours or gigabytes: by naming the same
//! constant a thousand times, or by operations that make much of little.

use super::error::Refusal;
use snn_ir::op::{AvgPool, Op};
use snn_ir::{ValueType, Window};

/// Elements that may be handled whatever the file's size.
const FREE: usize = 16 << 20;
/// How often every element that the file really holds may be handled.
const PER_ELEMENT: usize = 32;
/// Elements that constants of one repeated value may grow to when they become parameters (640 MiB in all; VGG-19 has 144
/// million of them in the files that hold nothing else).
const REPEATED: usize = 160 << 20;

/// Most elements of one value (half a gigabyte of floats): the 64 feature maps of a network that enlarges 1080p images have
/// 133 million.
pub const LARGEST_VALUE: usize = 1 << 27;
/// Elements that all values of a network may have whatever the file's size: 128 MiB of floats. Calibration without data keeps
/// several samples of them.
pub const FREE_VALUES: usize = 1 << 25;
/// Elements of values per weight of the file. DnCNN on 1080p images has 3,600, ESPCN 11,000.
pub const VALUES_PER_WEIGHT: usize = 1 << 14;
/// Multiplications of a sample whatever the file's size: two thirds of what ResNet-18 takes.
pub const FREE_WORK: usize = 1 << 30;
/// Multiplications per weight of the file: as many as a 4K image has positions.
pub const WORK_PER_WEIGHT: usize = 1 << 23;
/// Elements of values per weight that is one value repeated, in files that hold an architecture without its weights. DenseNet-121
/// takes about ten.
const VALUES_PER_REPEATED: usize = 32;
/// Multiplications per weight that is one value repeated: those of VGG-19's first layers have 50,176 positions each.
const WORK_PER_REPEATED: usize = 1 << 16;
/// Most nodes that a model may become; NASNet has 3,000. Passes, and tract, take time quadratic in it, and some recurse.
pub const MOST_NODES: usize = 1 << 13;
/// Most operands of a node. DenseNet-264 joins 65 values.
pub const MOST_OPERANDS: usize = 1 << 12;

/// What is left to spend.
#[derive(Debug)]
pub struct Budget {
    elements: usize,
    repeated: usize,
    values: usize,
    work: usize,
    nodes: usize,
    /// Elements that were read from the file.
    weights: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Budget { elements: FREE, repeated: REPEATED, values: FREE_VALUES, work: FREE_WORK, nodes: MOST_NODES, weights: 0 }
    }
}

fn take(left: &mut usize, cost: usize) -> Result<(), Refusal> {
    *left = left.checked_sub(cost).ok_or("the model's constants are used too often, or repeated to too many elements")?;
    Ok(())
}

impl Budget {
    /// Credits `count` elements that were read from the file.
    pub fn earn(&mut self, count: usize) {
        self.weights = self.weights.saturating_add(count);
        for (left, each) in [(&mut self.elements, PER_ELEMENT), (&mut self.values, VALUES_PER_WEIGHT), (&mut self.work, WORK_PER_WEIGHT)] {
            *left = left.saturating_add(count.saturating_mul(each));
        }
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
        take(&mut self.repeated, count)?;
        self.values = self.values.saturating_add(count.saturating_mul(VALUES_PER_REPEATED));
        self.work = self.work.saturating_add(count.saturating_mul(WORK_PER_REPEATED));
        Ok(())
    }

    /// Pays for multiplications on constants.
    ///
    /// # Errors
    /// When that is more than is left.
    pub fn spend_work(&mut self, count: usize) -> Result<(), Refusal> {
        match self.work.checked_sub(count) {
            Some(left) => self.work = left,
            None => {
                return Err(too_much(format!(
                    "a sample takes more multiplications than a file with {} weights may ask for ({FREE_WORK}, and {WORK_PER_WEIGHT} for \
                     every weight)",
                    self.weights
                )));
            }
        }
        Ok(())
    }

    /// Pays for a node of the graph: `op`, of the type `result`, applied to `operands`.
    ///
    /// # Errors
    /// When the network becomes larger, or a sample takes more work, than a file of this size may ask for.
    pub fn spend_node(&mut self, op: &Op, operands: &[&ValueType], result: &ValueType) -> Result<(), Refusal> {
        self.nodes = self.nodes.checked_sub(1).ok_or_else(|| Refusal::from(format!("the model becomes more than {MOST_NODES} nodes")))?;
        if operands.len() > MOST_OPERANDS {
            return Err(format!("it has {} operands; at most {MOST_OPERANDS} are taken", operands.len()).into());
        }
        let elements = elements(op, operands, result);
        if elements > LARGEST_VALUE as f64 {
            return Err(too_much(format!("as `{}` it takes {elements:.0} elements; a value may have {LARGEST_VALUE} at most", op.name())));
        }
        match self.values.checked_sub(elements as usize) {
            Some(left) => self.values = left,
            None => {
                return Err(too_much(format!(
                    "the values of the network have more elements in all than a file with {} weights may ask for ({FREE_VALUES}, and \
                     {VALUES_PER_WEIGHT} for every weight)",
                    self.weights
                )));
            }
        }
        self.spend_work(multiplications(op, operands, result).min(usize::MAX as f64) as usize)
    }
}

fn too_much(reason: String) -> Refusal {
    Refusal::with_way_out(reason, "give a smaller --input-shape, or smaller windows and paddings")
}

/// Elements of the value of an operation, of its padded operand, and of the weights that passes make of an average.
fn elements(op: &Op, operands: &[&ValueType], result: &ValueType) -> f64 {
    let padded = |w: &Window| {
        let shape = operands.first().map_or(&[][..], |o| &o.shape[..]);
        let extent = |a: usize, n: usize| n as f64 + w.pad_begin[a] as f64 + w.pad_end[a] as f64;
        let space: f64 = shape.iter().skip(1).enumerate().map(|(a, &n)| extent(a, n)).product();
        shape.first().map_or(1.0, |&c| c as f64) * space
    };
    let made = match op {
        Op::Conv(c) => padded(&c.window),
        Op::AvgPool(p) => padded(&p.window) + result.shape[0] as f64 * taps(&p.window),
        Op::MaxPool(w) => padded(w) + taps(w),
        _ => 0.0,
    };
    made.max(result.len() as f64)
}

fn taps(w: &Window) -> f64 {
    w.kernel.iter().map(|&k| k as f64).product()
}

/// Multiplications, or comparisons, that an operation takes for a sample.
pub fn multiplications(op: &Op, operands: &[&ValueType], result: &ValueType) -> f64 {
    let out = result.len() as f64;
    match op {
        Op::Conv(c) => out * (c.weight.len() / c.weight.shape()[0].max(1)) as f64,
        Op::ConvTranspose(c) => operands.first().map_or(0.0, |o| o.len() as f64) * (c.weight.len() / c.weight.shape()[0].max(1)) as f64,
        Op::Linear(l) => out * l.weight.shape()[1] as f64,
        Op::AvgPool(AvgPool { window, .. }) | Op::MaxPool(window) => out * taps(window),
        Op::Add | Op::Maximum => out * operands.len() as f64,
        _ => out,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use snn_ir::Signal;

    fn value(shape: &[usize]) -> ValueType {
        ValueType { signal: Signal::Analog, shape: shape.to_vec() }
    }

    #[test]
    fn a_small_file_may_ask_for_little_and_weights_allow_more() {
        let pool = |kernel: usize| Op::MaxPool(Window { pad_begin: vec![kernel - 1; 2], ..Window::unit([kernel, kernel]) });
        let one = value(&[1, 1, 1]);
        assert!(Budget::default().spend_node(&pool(7), &[&one], &one).is_ok());
        assert!(Budget::default().spend_node(&pool(1 << 14), &[&one], &one).is_err());
        let image = value(&[64, 1080, 1920]);
        let mut budget = Budget::default();
        assert!(budget.spend_node(&Op::Identity, &[&image], &image).is_err());
        budget.earn(20_000);
        assert!(budget.spend_node(&Op::Identity, &[&image], &image).is_ok());
    }
}
