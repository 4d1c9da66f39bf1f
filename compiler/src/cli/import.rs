//! How commands read an ONNX model: imported, and compared with tract unless the user says otherwise.

use super::arguments::shape;
use super::{Failure, notice};
use crate::frontend::onnx::check::{check_import, too_large};
use crate::frontend::onnx::model::Model;
use crate::frontend::onnx::{CheckError, ImportError, ImportOptions, Imported, import_model};
use clap::Args;
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

impl ImportArguments {
    /// The imported model and the CRC-32 of its file. Warnings go to standard error; that tract cannot run the file is one.
    /// Large networks are compared with tract only if `check` asks for it.
    pub fn load(&self, path: &Path, check: bool) -> Result<(Imported, u32), Failure> {
        let bytes = std::fs::read(path).map_err(|source| ImportError::Read { path: path.into(), source })?;
        let imported = import_model(&Model::decode(path, &bytes)?, &options(self.input_shape.as_ref()))?;
        let crc32 = crc32fast::hash(&bytes);
        drop(bytes);
        imported.facts.warnings.iter().for_each(notice::warning);
        let large = if check { None } else { too_large(&imported.graph) };
        if let (Some(why), false) = (large, self.no_check) {
            notice::warning(format_args!(
                "the import was not compared with what tract computes, which would take long: {why}; --check does it"
            ));
        } else if !self.no_check {
            match check_import(path, &imported) {
                Ok(difference) => notice::note(format_args!(
                    "the import computes what tract computes from the file, to {difference:.1e} of the largest output"
                )),
                Err(CheckError::Oracle(reason)) => notice::warning(format_args!("the import could not be checked: {reason}")),
                Err(error) => return Err(Failure::from(error).help("--no-check converts it all the same")),
            }
        }
        Ok((imported, crc32))
    }
}
