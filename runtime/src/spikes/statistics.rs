//! What a run did: spikes and effective synaptic operations, per neuron population.

/// Counts since the window started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// One entry per neuron population ([`snn_ir::Op::If`], [`snn_ir::Op::Layer`] with neurons), in
    /// topological order.
    pub layers: Vec<LayerStatistics>,
}

/// Counts of one neuron population since the window started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerStatistics {
    /// Name of the population's node.
    pub name: String,
    /// Number of neurons.
    pub neurons: u64,
    /// Spikes sent: a ternary spike counts one whatever its sign, a multi-lane neuron one per lane
    /// that fires.
    pub spikes: u64,
    /// Effective synaptic operations: each spike times the synapses that it crosses. See
    /// [`crate::spikes::synapses`], which also counts what is multiplied.
    pub synops: u64,
}

impl Statistics {
    /// Spikes of all populations.
    pub fn spikes(&self) -> u64 {
        self.layers.iter().map(|l| l.spikes).sum()
    }

    /// Effective synaptic operations of all populations. The constant input's are not among them:
    /// it sends no spikes.
    pub fn synops(&self) -> u64 {
        self.layers.iter().map(|l| l.synops).sum()
    }
}
