//! Keeping the books of spikes: who sends them, how many, and how many synapses they cross.

pub(crate) mod populations;
pub mod statistics;
pub mod synapses;
