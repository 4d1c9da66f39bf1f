//! All passes by name: how recipes and the command line find them, and their documentation.

use super::Pass;
use crate::calibrate::rounding::WeightRange;
use crate::suggest::nearest;
use crate::yaml::{self, YamlError};
use serde::de::DeserializeOwned;
use serde_yaml::Value;
use thiserror::Error;

/// A pass that can be asked for by name.
pub struct PassSpec {
    /// Kebab-case name.
    pub name: &'static str,
    source: &'static str,
    build: fn(Value) -> Result<AnyPass, serde_yaml::Error>,
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
    #[error("options of pass `{pass}`: {source}")]
    Options {
        /// The pass.
        pass: &'static str,
        /// What is wrong with them.
        source: serde_yaml::Error,
    },
    /// An item of the list is no pass.
    #[error("not a list of passes: {0}")]
    Item(&'static str),
    /// The text is not a list of passes at all.
    #[error("not a list of passes: {0}")]
    Syntax(#[from] YamlError),
}

fn build<P: Default + DeserializeOwned>(options: Value) -> Result<P, serde_yaml::Error> {
    match options {
        Value::Null => Ok(P::default()),
        options => serde_yaml::from_value(options),
    }
}

macro_rules! passes {
    ($($name:literal $module:ident :: $ty:ident,)*) => {
        /// One of our passes, with its options.
        #[derive(Clone, Debug)]
        pub enum AnyPass {
            $(#[doc = concat!("`", $name, "`.")] $ty(super::$module::$ty),)*
        }

        impl AnyPass {
            /// The pass.
            pub fn as_pass(&self) -> &dyn Pass {
                match self {
                    $(AnyPass::$ty(pass) => pass,)*
                }
            }
        }

        const PASSES: &[PassSpec] = &[$(PassSpec {
            name: $name,
            source: include_str!(concat!(stringify!($module), ".rs")),
            build: |options| Ok(AnyPass::$ty(build(options)?)),
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
    pub fn build(&self, options: Value) -> Result<AnyPass, OptionError> {
        (self.build)(options).map_err(|source| OptionError::Options { pass: self.name, source })
    }

    /// The pass with its default options.
    pub fn default(&self) -> AnyPass {
        self.build(Value::Null).expect("every pass has defaults")
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

/// What the `quantize` among `passes` will round weights before neurons to; none where they stay floats.
pub fn weight_range(passes: &[AnyPass]) -> Option<WeightRange> {
    passes.iter().find_map(|pass| if let AnyPass::Quantize(quantize) = pass { Some(quantize.weight_range()) } else { None })
}

/// A pass from YAML: its name, or its name with options (`balance-thresholds: {rule: max}`).
///
/// # Errors
/// [`OptionError`] when there is no such pass.
pub fn from_yaml(item: &Value) -> Result<AnyPass, OptionError> {
    match item {
        Value::String(name) => find(name)?.build(Value::Null),
        Value::Mapping(map) if map.len() == 1 => {
            let (name, options) = map.iter().next().expect("it has one entry");
            let Value::String(name) = name else { return Err(OptionError::Item("a pass name must be a string")) };
            find(name)?.build(options.clone())
        }
        _ => Err(OptionError::Item("an item must be a name, or one name with its options")),
    }
}

/// Passes from a command line such as `canonicalize,balance-thresholds: {rule: max}`.
///
/// # Errors
/// [`OptionError`].
pub fn parse_list(text: &str) -> Result<Vec<AnyPass>, OptionError> {
    let items: Vec<Value> = yaml::parse(&format!("[{text}]"))?;
    items.iter().map(from_yaml).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_passes_are_parsed_and_mistakes_are_named() {
        let passes = parse_list("canonicalize, balance-thresholds: {rule: max, granularity: layer}").unwrap();
        assert_eq!(passes.iter().map(|p| p.as_pass().name()).collect::<Vec<_>>(), ["canonicalize", "balance-thresholds"]);
        let error = |text| parse_list(text).err().unwrap().to_string();
        assert!(error("canonicalise").starts_with("there is no pass `canonicalise`; passes are: canonicalize, fold-batch-norm"));
        assert!(error("balance-thresholds: {role: max}").contains("unknown field `role`"));
    }

    #[test]
    fn every_pass_documents_itself_under_its_own_name() {
        for spec in registry() {
            assert!(spec.documentation().starts_with(&format!("`{}`: ", spec.name)), "{}", spec.name);
            assert_eq!(spec.default().as_pass().name(), spec.name);
        }
    }
}
