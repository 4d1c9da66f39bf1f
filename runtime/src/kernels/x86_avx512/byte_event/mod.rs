//! Spikes through rows of 8-bit weights: see [`crate::kernels::byte_event`].

mod kernel;
mod list;
mod row;

pub use kernel::byte_event;
pub use row::byte_event_row;
