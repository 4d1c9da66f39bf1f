//! Backends: what writes a compiled network in a form that something else reads. One file or folder each.
//!
//! A backend mirrors a frontend. It first lists everything that is in the way from the network to its form
//! ([`Backend::obstacles`]), and writes only where there is nothing. The same network gives the same bytes.

mod snn;
mod snnir;

use crate::suggest::nearest;
use snn_ir::Obstacle;
use snn_ir::file::{Program, WriteError};
use std::io::{self, Write};
use std::path::Path;
use thiserror::Error;

/// A form in which networks leave.
pub trait Backend: Sync {
    /// Its name, as in `--to NAME`.
    fn name(&self) -> &'static str;

    /// How names of its files end, without the dot; the first one is usual.
    fn extensions(&self) -> &'static [&'static str];

    /// Who reads it, in a few words.
    fn description(&self) -> &'static str;

    /// Everything in `program` that its form cannot hold; empty where it can be written.
    fn obstacles(&self, program: &Program) -> Vec<Obstacle>;

    /// The network in its form.
    ///
    /// # Errors
    /// [`BackendError`], for a network without obstacles only what the system says.
    fn write(&self, program: &Program, sink: &mut dyn Write) -> Result<(), BackendError>;
}

/// Why a network was not written.
#[derive(Debug, Error)]
pub enum BackendError {
    /// The format has no room for it.
    #[error(transparent)]
    Format(#[from] WriteError),
    /// The system could not write.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Why no backend is meant.
#[derive(Debug, Error)]
pub enum UnknownForm {
    /// No backend has the name.
    #[error("there is no form `{name}`; there are: {known}")]
    Name {
        /// What was asked for.
        name: String,
        /// Names of the backends.
        known: String,
    },
    /// No backend writes such files.
    #[error("no form is known whose files end in .{extension}; known are: {known}")]
    Extension {
        /// How the file's name ends.
        extension: String,
        /// What is known.
        known: String,
    },
    /// The name of the file says nothing.
    #[error("{path} does not end like a form that is known: {known}")]
    NoExtension {
        /// The file.
        path: String,
        /// What is known.
        known: String,
    },
}

impl UnknownForm {
    /// What a mistyped name may have meant.
    pub fn suggestion(&self) -> Option<String> {
        match self {
            UnknownForm::Name { name, known } => nearest(name, known.split(", ")).map(str::to_string),
            _ => None,
        }
    }
}

/// All backends, our own form first.
pub fn all() -> &'static [&'static dyn Backend] {
    &[&snn::Snn, &snnir::Snnir]
}

/// How names of files end that some backend writes, with the dot.
pub fn endings() -> Vec<String> {
    all().iter().flat_map(|b| b.extensions()).map(|e| format!(".{e}")).collect()
}

/// The backend called `name`.
///
/// # Errors
/// [`UnknownForm::Name`].
pub fn named(name: &str) -> Result<&'static dyn Backend, UnknownForm> {
    all().iter().copied().find(|b| b.name() == name).ok_or_else(|| {
        let known = all().iter().map(|b| b.name()).collect::<Vec<_>>().join(", ");
        UnknownForm::Name { name: name.to_string(), known }
    })
}

/// The backend whose files end like `path`.
///
/// # Errors
/// [`UnknownForm::Extension`], [`UnknownForm::NoExtension`].
pub fn of_file(path: &Path) -> Result<&'static dyn Backend, UnknownForm> {
    let known = || endings().join(", ");
    let Some(extension) = path.extension().map(|e| e.to_string_lossy().into_owned()) else {
        return Err(UnknownForm::NoExtension { path: path.display().to_string(), known: known() });
    };
    let is_its = |b: &&dyn Backend| b.extensions().iter().any(|e| e.eq_ignore_ascii_case(&extension));
    all().iter().copied().find(is_its).ok_or_else(|| UnknownForm::Extension { extension, known: known() })
}
