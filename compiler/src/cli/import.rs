//! How commands read an ONNX model: imported, and compared with tract unless the user says otherwise.

use super::arguments::shape;
use super::{Failure, output};
use clap::Args;
use snn_ir::{Limits, verify_within};
use snnc::files;
use snnc::frontend::onnx::check::{check_import, too_large};
use snnc::frontend::onnx::model::Model;
use snnc::frontend::onnx::{CheckError, Checked, ImportError, ImportOptions, Imported, import_model};
use std::path::Path;

/// How a model is read.
#[derive(Args, Debug)]
pub struct ImportArguments {
    /// Shape of the first input, for models that leave it open
    #[arg(long, value_name = "1x3x32x32", value_parser = parse_shape)]
    pub input_shape: Option<Shape>,
    /// Do not compare what the imported network computes with what tract computes from the file
    #[arg(long)]
    no_check: bool,
}

/// Dimensions as one argument (clap takes a plain `Vec` for many).
#[derive(Clone, Debug)]
pub struct Shape(Vec<usize>);

pub fn parse_shape(text: &str) -> Result<Shape, String> {
    shape(text).map(Shape)
}

/// What the importer is told.
pub fn options(input_shape: Option<&Shape>) -> ImportOptions {
    ImportOptions { input_shape: input_shape.map(|s| s.0.clone()) }
}

/// A model for those that read it by its name: standard input becomes a file for a while.
pub enum ModelFile<'a> {
    /// A file.
    Named(&'a Path),
    /// What came from standard input.
    Copied(output::Temporary),
}

impl ModelFile<'_> {
    /// The model at `path`, or from standard input where that is `-`.
    pub fn new(path: &Path) -> Result<ModelFile<'_>, Failure> {
        if !files::is_standard(path) {
            return Ok(ModelFile::Named(path));
        }
        let copied = output::Temporary::standard_input(".onnx");
        let failed = |e| Failure::from_error(&e).while_doing("cannot read the model from standard input");
        Ok(ModelFile::Copied(copied.map_err(failed)?))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        match self {
            ModelFile::Named(path) => path,
            ModelFile::Copied(file) => file.path(),
        }
    }
}

impl ImportArguments {
    /// The imported model and the CRC-32 of its file. Warnings go to standard error; that tract cannot run the file is one.
    /// Large networks are compared with tract only if `check` asks for it, those beyond `limits` are refused.
    pub fn load(&self, path: &Path, check: bool, limits: &Limits) -> Result<(Imported, u32), Failure> {
        let model = ModelFile::new(path)?;
        let path = model.path();
        let bytes = files::read(path, files::MAX_MODEL).map_err(|source| ImportError::Read { path: path.into(), source })?;
        let imported = import_model(&Model::decode(path, &bytes)?, &options(self.input_shape.as_ref()))?;
        verify_within(&imported.graph, limits).map_err(|e| Failure::from_error(&e))?;
        let crc32 = crc32fast::hash(&bytes);
        drop(bytes);
        imported.facts.warnings.iter().for_each(output::warning);
        let large = if check { None } else { too_large(&imported.graph) };
        if let (Some(why), false) = (large, self.no_check) {
            output::warning(format_args!(
                "the import was not compared with what tract computes, which would take long: {why}; --check does it"
            ));
        } else if !self.no_check {
            match check_import(path, &imported) {
                Ok(Checked { difference, notes }) if notes.is_empty() => output::note(format_args!(
                    "the import computes what tract computes from the file, to {difference:.1e} of the largest output"
                )),
                Ok(Checked { notes, .. }) => notes.iter().for_each(output::note),
                Err(CheckError::Oracle(reason)) => output::warning(format_args!("the import could not be checked: {reason}")),
                Err(error) => return Err(Failure::from(error).help("--no-check converts it as snnc understands it")),
            }
        }
        Ok((imported, crc32))
    }
}
