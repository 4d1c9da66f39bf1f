//! All passes by name: how recipes and the command line find them, and their documentation.

use super::Pass;
use crate::suggest::nearest;
use serde::de::DeserializeOwned;
use serde_yaml::Value;
use thiserror::Error;

/// A pass that can be asked for by name.
pub struct PassSpec {
    /// Kebab-case name.
    pub name: &'static str,
    source: &'static str,
    build: fn(Value) -> Result<Box<dyn Pass>, serde_yaml::Error>,
}

/// Why a list of passes is not one.
#[derive(Debug, Error)]
pub enum OptionError {
    /// No pass has this name.
    #[error("there is no pass `{name}`; passes are: {known}")]
    Unknown {
        /// What was asked for.
        name: String,
        /// All names.
        known: String,
    },
    /// A pass does not take these options.
    #[error("options of pass `{pass}`: {reason}")]
    Options {
        /// The pass.
        pass: String,
        /// What is wrong with them.
        reason: String,
    },
    /// The text is not a list of passes at all.
    #[error("not a list of passes: {0}")]
    Syntax(String),
}

fn build<P: Pass + DeserializeOwned + Default + 'static>(options: Value) -> Result<Box<dyn Pass>, serde_yaml::Error> {
    Ok(match options {
        Value::Null => Box::new(P::default()),
        options => Box::new(serde_yaml::from_value::<P>(options)?),
    })
}

macro_rules! passes {
    ($($name:literal $module:ident :: $ty:ident,)*) => {
        const PASSES: &[PassSpec] = &[$(PassSpec {
            name: $name,
            source: include_str!(concat!(stringify!($module), ".rs")),
            build: build::<super::$module::$ty>,
        }),*];
    };
}

passes! {
    "canonicalize" canonicalize::Canonicalize,
    "fold-batch-norm" fold_batch_norm::FoldBatchNorm,
    "compose-linear" compose_linear::ComposeLinear,
    "split-joined-inputs" split_joined_inputs::SplitJoinedInputs,
    "approximate-normalisation" approximate_normalisation::ApproximateNormalisation,
    "approximate-activations" approximate_activations::ApproximateActivations,
    "lower-max-pool" lower_max_pool::LowerMaxPool,
    "balance-thresholds" balance_thresholds::BalanceThresholds,
    "replace-relu" replace_relu::ReplaceRelu,
    "shift-membrane" shift_membrane::ShiftMembrane,
    "correct-bias" correct_bias::CorrectBias,
    "correct-potential" correct_potential::CorrectPotential,
    "correct-bias-over-time" correct_bias_over_time::CorrectBiasOverTime,
    "delay-readout" delay_readout::DelayReadout,
    "calibrate-layers" calibrate_layers::CalibrateLayers,
    "normalize" normalize::Normalize,
    "fuse-layers" fuse_layers::FuseLayers,
    "quantize" quantize::Quantize,
    "measure-rates" measure_rates::MeasureRates,
}

/// All passes, in the order in which a recipe usually runs them.
pub fn registry() -> &'static [PassSpec] {
    PASSES
}

/// The pass called `name`.
///
/// # Errors
/// [`OptionError::Unknown`].
pub fn find(name: &str) -> Result<&'static PassSpec, OptionError> {
    PASSES.iter().find(|p| p.name == name).ok_or_else(|| {
        let known = PASSES.iter().map(|p| p.name).collect::<Vec<_>>().join(", ");
        OptionError::Unknown { name: name.to_string(), known }
    })
}

impl PassSpec {
    /// The pass with `options` (YAML; null for the defaults).
    ///
    /// # Errors
    /// [`OptionError::Options`].
    pub fn build(&self, options: Value) -> Result<Box<dyn Pass>, OptionError> {
        (self.build)(options).map_err(|e| OptionError::Options { pass: self.name.to_string(), reason: e.to_string() })
    }

    /// The documentation of the pass: the head of its source file.
    pub fn documentation(&self) -> String {
        let lines = self.source.lines().map_while(|l| l.strip_prefix("//!"));
        lines.map(|l| l.strip_prefix(' ').unwrap_or(l)).collect::<Vec<_>>().join("\n")
    }

    /// Its first sentence, without the name.
    pub fn summary(&self) -> String {
        let documentation = self.documentation();
        let paragraph = documentation.split("\n\n").next().unwrap_or_default().replace('\n', " ");
        paragraph.split_once(": ").map_or(paragraph.clone(), |(_, s)| s.to_string())
    }
}

impl OptionError {
    /// The pass that a mistyped name may have meant.
    pub fn suggestion(&self) -> Option<&'static str> {
        match self {
            OptionError::Unknown { name, .. } => nearest(name, registry().iter().map(|p| p.name)),
            _ => None,
        }
    }
}

/// Passes from YAML: a list whose items are names, or names with options (`balance-thresholds: {rule: max}`).
///
/// # Errors
/// [`OptionError`] for the first item that is no pass.
pub fn from_yaml(items: &[Value]) -> Result<Vec<Box<dyn Pass>>, OptionError> {
    items
        .iter()
        .map(|item| match item {
            Value::String(name) => find(name)?.build(Value::Null),
            Value::Mapping(map) if map.len() == 1 => {
                let (name, options) = map.iter().next().expect("it has one entry");
                let Value::String(name) = name else { return Err(OptionError::Syntax("a pass name must be a string".into())) };
                find(name)?.build(options.clone())
            }
            _ => Err(OptionError::Syntax("an item must be a name, or one name with its options".into())),
        })
        .collect()
}

/// Passes from a command line such as `canonicalize,balance-thresholds: {rule: max}`.
///
/// # Errors
/// [`OptionError`].
pub fn parse_list(text: &str) -> Result<Vec<Box<dyn Pass>>, OptionError> {
    let items: Vec<Value> = crate::yaml::parse(&format!("[{text}]")).map_err(|e| OptionError::Syntax(e.to_string()))?;
    from_yaml(&items)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_passes_are_parsed_and_mistakes_are_named() {
        let passes = parse_list("canonicalize, balance-thresholds: {rule: max, granularity: layer}").unwrap();
        assert_eq!(passes.iter().map(|p| p.name()).collect::<Vec<_>>(), ["canonicalize", "balance-thresholds"]);
        let error = |text| parse_list(text).err().unwrap().to_string();
        assert!(error("canonicalise").starts_with("there is no pass `canonicalise`; passes are: canonicalize, fold-batch-norm"));
        assert!(error("balance-thresholds: {role: max}").contains("unknown field `role`"));
    }

    #[test]
    fn every_pass_documents_itself_under_its_own_name() {
        for spec in registry() {
            assert!(spec.documentation().starts_with(&format!("`{}`: ", spec.name)), "{}", spec.name);
            assert_eq!(spec.build(Value::Null).unwrap().name(), spec.name);
        }
    }
}
