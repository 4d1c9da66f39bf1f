//! How long work tells how far it has come.

/// Called with what is being done, how much of it is done, and how much there is; from any thread.
pub type Progress<'a> = &'a (dyn Fn(&str, usize, usize) + Sync);

/// Tells nobody.
pub const SILENT: Progress<'static> = &|_, _, _| {};
