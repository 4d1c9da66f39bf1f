//! What is told beside the report, on standard error; `-q` silences what is not important.

use std::fmt::Display;
use std::sync::atomic::{AtomicBool, Ordering};

static QUIET: AtomicBool = AtomicBool::new(false);

/// Leaves out notes and progress from here on.
pub fn be_quiet() {
    QUIET.store(true, Ordering::Relaxed);
}

/// Whether notes and progress are left out.
pub fn is_quiet() -> bool {
    QUIET.load(Ordering::Relaxed)
}

/// Tells the user something that may matter.
pub fn note(text: impl Display) {
    if !is_quiet() {
        eprintln!("note: {text}");
    }
}

/// Tells the user something that is likely to be wrong.
pub fn warning(text: impl Display) {
    eprintln!("warning: {text}");
}
