//! What a value of the graph is: its signal and its per-sample shape.

use std::fmt;

/// What flows along an edge. See the crate documentation for what each means at a time step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Signal {
    /// An activation of the ANN: one real number, no time.
    Analog,
    /// A real (or, after quantisation, integer) number per time step.
    Current,
    /// Events per time step: `{0,1}`, `{-1,0,1}` or a count of lanes, times an amplitude.
    Spikes,
    /// The accumulated readout; defined after every step, read at the end.
    Potential,
}

impl Signal {
    /// Name in the text form.
    pub fn name(self) -> &'static str {
        match self {
            Signal::Analog => "analog",
            Signal::Current => "current",
            Signal::Spikes => "spikes",
            Signal::Potential => "potential",
        }
    }

    /// The signal called `name`.
    pub fn from_name(name: &str) -> Option<Self> {
        [Signal::Analog, Signal::Current, Signal::Spikes, Signal::Potential].into_iter().find(|s| s.name() == name)
    }

    /// Whether the value changes from step to step.
    pub fn is_temporal(self) -> bool {
        self != Signal::Analog
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Signal and shape of a value. Shapes are per sample (no batch dimension); convolution-like values are `[C, spatial..]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ValueType {
    /// What the value is.
    pub signal: Signal,
    /// Per-sample dimensions, outermost first.
    pub shape: Vec<usize>,
}

impl ValueType {
    /// A value of `signal` with per-sample `shape`.
    pub fn new(signal: Signal, shape: impl Into<Vec<usize>>) -> Self {
        ValueType { signal, shape: shape.into() }
    }

    /// Number of elements per sample.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl fmt::Display for ValueType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]", self.signal, Dims(&self.shape))
    }
}

/// Displays dimensions as `6x28x28` (nothing for rank 0).
pub struct Dims<'a>(pub &'a [usize]);

impl fmt::Display for Dims<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, d) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("x")?;
            }
            write!(f, "{d}")?;
        }
        Ok(())
    }
}
