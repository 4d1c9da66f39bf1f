//! Micro-kernels: the inner pieces that engines and compiled layers call.
//!
//! There is a folder for every set of instructions: [`portable`], `x86_avx2`, `x86_avx512`,
//! `x86_amx`. Each exports a [`KernelSet`]: the kernels that it has, most of them optional, on top
//! of those of a set that it needs. What else there is in this folder belongs to no set: shapes and
//! layouts, what prepares a kernel's operands, and kernels in safe Rust, whose one source every set
//! compiles with its own instructions ([`one_source`]). A plan asks which kernels a set has, never
//! which CPU it is for.
//!
//! Kernels that compiled layers call are `extern "C"` functions over raw pointers into the
//! session's arena and the network's constants ([`abi`]). The compiled layer is their only caller
//! and guarantees what they ask for.

pub mod abi;
pub mod bits;
pub mod byte_event;
pub mod count;
pub mod counted;
mod cpu;
pub mod cumulative;
mod encode;
pub mod matrix;
pub mod moves;
#[macro_use]
mod one_source;
#[cfg(target_arch = "x86_64")]
mod plane;
mod portable;
#[cfg(target_arch = "x86_64")]
mod rows;
mod set;
pub mod stepped;
pub mod table;
#[cfg(target_arch = "x86_64")]
mod x86_amx;
#[cfg(target_arch = "x86_64")]
mod x86_avx2;
#[cfg(target_arch = "x86_64")]
mod x86_avx512;

pub use cpu::Cpu;
pub use encode::encode;
pub use set::{ByReset, KernelSet, Symbol};
