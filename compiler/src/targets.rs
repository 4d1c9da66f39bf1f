//! What networks can be compiled for: the built-in targets (`compiler/targets/`) and a user's own file.

use crate::suggest::nearest;
use crate::{files, yaml};
use snn_ir::Target;
use std::path::Path;
use thiserror::Error;

/// The target of networks that nobody asked another one for.
pub const DEFAULT: &str = "cpu";

const BUILT_IN: &[&str] = &[include_str!("../targets/cpu.yaml"), include_str!("../targets/generic-int8.yaml")];

/// Why there is no target.
#[derive(Debug, Error)]
pub enum TargetError {
    /// Neither a built-in target nor a file.
    #[error("there is no target `{name}`; built in are: {known}; files end in .yaml")]
    Unknown {
        /// What was asked for.
        name: String,
        /// Names of the built-in targets.
        known: String,
    },
    /// The file cannot be read.
    #[error("cannot read target {path}")]
    Read {
        /// The file.
        path: String,
        /// Why not.
        source: std::io::Error,
    },
    /// The YAML is not a target.
    #[error("target {name}: {reason}")]
    Syntax {
        /// Name or file.
        name: String,
        /// What is wrong, with its line where the parser knows it.
        reason: String,
    },
}

impl TargetError {
    /// What a mistyped name may have meant.
    pub fn suggestion(&self) -> Option<String> {
        match self {
            TargetError::Unknown { name, known } => nearest(name, known.split(", ")).map(str::to_string),
            _ => None,
        }
    }
}

/// The target in `text`; `origin` names it in errors.
///
/// # Errors
/// [`TargetError::Syntax`]: among others for keys that are not known.
pub fn parse(text: &str, origin: &str) -> Result<Target, TargetError> {
    yaml::parse(text).map_err(|e| TargetError::Syntax { name: origin.to_string(), reason: e.to_string() })
}

/// The target as its file would say it.
pub fn to_yaml(target: &Target) -> String {
    serde_yaml::to_string(target).expect("a target is maps, lists, words and numbers")
}

/// The built-in targets, the default first.
pub fn built_in() -> Vec<Target> {
    BUILT_IN.iter().map(|text| parse(text, "built in").expect("built-in targets are tested")).collect()
}

/// This computer.
pub fn default_target() -> Target {
    parse(BUILT_IN[0], "built in").expect("built-in targets are tested")
}

/// The built-in target called `name`, or the target in the file `name` where that ends in `.yaml` or `.yml`.
///
/// # Errors
/// [`TargetError`].
pub fn load(name: &str) -> Result<Target, TargetError> {
    if name.ends_with(".yaml") || name.ends_with(".yml") {
        let text = files::read_text(Path::new(name), yaml::MAX_BYTES);
        let text = text.map_err(|source| TargetError::Read { path: name.to_string(), source })?;
        return parse(&text, name);
    }
    built_in().into_iter().find(|t| t.name == name).ok_or_else(|| {
        let known = built_in().into_iter().map(|t| t.name).collect::<Vec<_>>().join(", ");
        TargetError::Unknown { name: name.to_string(), known }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn built_in_targets_parse_and_the_default_comes_first() {
        assert_eq!(built_in()[0].name, DEFAULT);
        assert!(built_in().iter().all(|t| !t.description.is_empty()));
    }

    #[test]
    fn an_unknown_key_of_a_target_is_an_error_that_names_it() {
        let error = parse("name: x\ndescription: y\nlimits: {weigth-bits: {value: 8, source: z}}", "my.yaml").unwrap_err().to_string();
        assert!(error.starts_with("target my.yaml") && error.contains("weigth-bits"), "{error}");
    }

    #[test]
    fn a_limit_without_its_source_is_an_error() {
        let error = parse("name: x\ndescription: y\nlimits: {weight-bits: {value: 8}}", "my.yaml").unwrap_err().to_string();
        assert!(error.contains("source"), "{error}");
    }
}
