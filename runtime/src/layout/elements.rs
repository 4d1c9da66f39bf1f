//! Elements that move.

/// Where every element of a structural operation's result comes from.
#[derive(Debug)]
pub struct ElementMap {
    /// Per result element (pixel-major), an index into the operands' elements laid end to end
    /// (pixel-major), or [`ElementMap::FILL`].
    pub source: Vec<u32>,
    /// What is there where no operand element does.
    pub fill: i32,
}

impl ElementMap {
    /// Marks an element that comes from no operand.
    pub const FILL: u32 = u32::MAX;
}

/// Where the elements of several operands end that are laid end to end.
#[derive(Clone, Debug)]
pub struct Ends(Vec<usize>);

impl Ends {
    /// From the numbers of their elements.
    pub fn new(lengths: impl Iterator<Item = usize>) -> Self {
        Ends(
            lengths
                .scan(0, |end, length| {
                    Some({
                        *end += length;
                        *end
                    })
                })
                .collect(),
        )
    }

    /// Elements of all operands.
    pub fn all(&self) -> usize {
        self.0.last().copied().unwrap_or(0)
    }

    /// Where those of `operand` start.
    pub fn start(&self, operand: usize) -> usize {
        if operand == 0 { 0 } else { self.0[operand - 1] }
    }

    /// The operand that element `e` belongs to, and its index there.
    pub fn locate(&self, e: usize) -> (usize, usize) {
        // Operands have elements, so no two ends are the same.
        let operand = self.0.partition_point(|&end| end <= e);
        (operand, e - self.start(operand))
    }
}
