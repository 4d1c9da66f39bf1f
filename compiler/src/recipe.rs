//! Recipes: named lists of passes with their options, written in YAML.
//!
//! The built-in recipes are such files themselves (`compiler/src/recipes/`); a user's file looks the same.

use crate::files;
use crate::passes::approximate_activations::ApproximateActivations;
use crate::passes::quantize::{Quantize, WeightType};
use crate::passes::{AnyPass, OptionError, OrderError, Pass, from_yaml, order};
use crate::suggest::nearest;
use crate::yaml::{self, YamlError};
use serde::Deserialize;
use serde_yaml::Value;
use std::fmt;
use std::io;
use std::path::Path;
use thiserror::Error;

/// The recipe used when none is named.
pub const DEFAULT: &str = "layerwise";

/// The recipe used in its place for networks that lose too much with synchronous layers ([`crate::driver::barrier`]).
pub const BARRIER: &str = "two-phase";

/// The recipe used without calibration data, which the default recipe needs.
pub const DATA_FREE: &str = "mmse";

const BUILT_IN: &[&str] = &[
    include_str!("recipes/layerwise.yaml"),
    include_str!("recipes/mmse.yaml"),
    include_str!("recipes/deng2021.yaml"),
    include_str!("recipes/robust.yaml"),
    include_str!("recipes/balanced.yaml"),
    include_str!("recipes/potential.yaml"),
    include_str!("recipes/ftbc.yaml"),
    include_str!("recipes/two-phase.yaml"),
    include_str!("recipes/ternary.yaml"),
    include_str!("recipes/lanes.yaml"),
];

/// Number type of the compiled network's weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Weights {
    /// As the recipe says.
    #[default]
    Recipe,
    /// No `quantize` pass: floats, which only the reference engine runs.
    Float,
    /// Integers of this type.
    Integer(WeightType),
}

/// A conversion recipe.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// Short name.
    pub name: String,
    /// What it does and where it comes from.
    pub description: String,
    /// T to convert for when the user names none, where the recipe is meant for other windows than most.
    pub timesteps: Option<u32>,
    /// The passes, in order.
    pub passes: Vec<AnyPass>,
    /// The YAML it was read from.
    pub text: String,
}

/// Why there is no recipe.
#[derive(Debug, Error)]
pub enum RecipeError {
    /// Neither a built-in recipe nor a file.
    #[error("there is no recipe `{name}`; built in are: {known}; files end in .yaml")]
    Unknown {
        /// What was asked for.
        name: String,
        /// Names of the built-in recipes.
        known: String,
    },
    /// The file cannot be read.
    #[error("cannot read recipe {path}: {source}")]
    Read {
        /// The file.
        path: String,
        /// Why not.
        source: io::Error,
    },
    /// The YAML is not a recipe.
    #[error("recipe {name}: {source}")]
    Syntax {
        /// Name or file.
        name: String,
        /// What is wrong, with its line where the parser knows it.
        source: YamlError,
    },
    /// A pass or its options are wrong.
    #[error("recipe {name}{line}: {source}")]
    Pass {
        /// Name or file.
        name: String,
        /// Where the pass is in it.
        line: Line,
        /// What is wrong.
        source: OptionError,
    },
    /// A pass is at the wrong place.
    #[error("recipe {name}{line}: {source}")]
    Order {
        /// Name or file.
        name: String,
        /// Where the pass is in it.
        line: Line,
        /// What it depends on.
        source: OrderError,
    },
    /// There is no activation function whose error could be bounded.
    #[error("recipe {name}: it has no approximate-activations whose error could be bounded")]
    NothingToBound {
        /// Name or file.
        name: String,
    },
}

/// The line of a pass in a recipe, counted from 1, where it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line(pub Option<usize>);

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |line| write!(f, ", line {line}"))
    }
}

impl RecipeError {
    /// What a mistyped name may have meant.
    pub fn suggestion(&self) -> Option<String> {
        match self {
            RecipeError::Unknown { name, known } => nearest(name, known.split(", ")).map(str::to_string),
            RecipeError::Pass { source, .. } => source.suggestion().map(str::to_string),
            _ => None,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RecipeFile {
    name: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    timesteps: Option<std::num::NonZeroU32>,
    passes: Vec<Value>,
}

impl Recipe {
    /// The recipe in `text`; `origin` names it in errors.
    ///
    /// # Errors
    /// [`RecipeError`] when it is none, or its passes cannot run in their order.
    pub fn parse(text: &str, origin: &str) -> Result<Recipe, RecipeError> {
        let name = || origin.to_string();
        let file: RecipeFile = yaml::parse(text).map_err(|source| RecipeError::Syntax { name: name(), source })?;
        let line = |place| Line(yaml::line_of(text, "passes", place));
        let pass = |(place, item)| from_yaml(item).map_err(|source| RecipeError::Pass { name: name(), line: line(place), source });
        let passes = file.passes.iter().enumerate().map(pass).collect::<Result<Vec<AnyPass>, _>>()?;
        order::check(passes.iter().map(AnyPass::as_pass), &[]).map_err(|(place, source)| RecipeError::Order {
            name: name(),
            line: line(place),
            source,
        })?;
        let timesteps = file.timesteps.map(std::num::NonZeroU32::get);
        Ok(Recipe { name: file.name, description: file.description, timesteps, passes, text: text.to_string() })
    }

    /// The built-in recipe called `name`, or the recipe in the file `name` where that ends in `.yaml` or `.yml`.
    ///
    /// # Errors
    /// [`RecipeError`].
    pub fn load(name: &str) -> Result<Recipe, RecipeError> {
        if name.ends_with(".yaml") || name.ends_with(".yml") {
            let text = files::read_text(Path::new(name), yaml::MAX_BYTES);
            let text = text.map_err(|source| RecipeError::Read { path: name.to_string(), source })?;
            return Recipe::parse(&text, name);
        }
        built_in().into_iter().find(|r| r.name == name).ok_or_else(|| {
            let known = built_in().iter().map(|r| r.name.clone()).collect::<Vec<_>>().join(", ");
            RecipeError::Unknown { name: name.to_string(), known }
        })
    }
}

/// Most segments per function where a bound on the error is asked for.
const SEGMENTS: usize = 48;

impl Recipe {
    /// The recipe with `error` as the bound of its `approximate-activations`, and enough segments to hold it. Its text says
    /// so, too.
    ///
    /// # Errors
    /// [`RecipeError::NothingToBound`] when it has no such pass.
    pub fn with_activation_error(mut self, error: f64) -> Result<Recipe, RecipeError> {
        let place = self.passes.iter().position(|p| matches!(p, AnyPass::ApproximateActivations(_)));
        let nothing = || RecipeError::NothingToBound { name: self.name.clone() };
        let place = place.ok_or_else(nothing)?;
        if let AnyPass::ApproximateActivations(pass) = &mut self.passes[place] {
            *pass = ApproximateActivations { error, max_segments: pass.max_segments.max(SEGMENTS) };
            let syntax = |source: serde_yaml::Error| RecipeError::Syntax { name: self.name.clone(), source: source.into() };
            self.text = rewritten(&self.text, place, pass).map_err(syntax)?;
        }
        Ok(self)
    }

    /// The recipe with another number type of weights. Its text stays as it is.
    pub fn with_weights(mut self, weights: Weights) -> Recipe {
        match weights {
            Weights::Recipe => {}
            Weights::Float => self.passes.retain(|pass| !matches!(pass, AnyPass::Quantize(_))),
            Weights::Integer(weights) => {
                for pass in &mut self.passes {
                    if let AnyPass::Quantize(quantize) = pass {
                        *quantize = Quantize { weights, depthwise: weights };
                    }
                }
            }
        }
        self
    }
}

/// The recipe in `text` with the options of `pass` at `place`.
fn rewritten(text: &str, place: usize, pass: &ApproximateActivations) -> Result<String, serde_yaml::Error> {
    let mut file: Value = serde_yaml::from_str(text)?;
    let mut item = serde_yaml::Mapping::new();
    item.insert(pass.name().into(), serde_yaml::to_value(pass)?);
    file["passes"][place] = item.into();
    serde_yaml::to_string(&file)
}

/// Built-in recipes that the search for recipe and T leaves out: published baselines that others dominate.
const BASELINES: [&str; 3] = ["deng2021", "robust", "potential"];

/// The built-in recipes that [`crate::driver::search`] chooses from.
pub fn contenders() -> Vec<Recipe> {
    built_in().into_iter().filter(|r| !BASELINES.contains(&r.name.as_str())).collect()
}

/// The built-in recipes, the default first.
pub fn built_in() -> Vec<Recipe> {
    BUILT_IN.iter().map(|text| Recipe::parse(text, "built in").expect("built-in recipes are tested")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn built_in_recipes_parse_and_the_default_comes_first() {
        assert_eq!(built_in()[0].name, DEFAULT);
        assert!(built_in().iter().all(|r| !r.description.is_empty() && !r.passes.is_empty()));
    }

    #[test]
    fn a_bound_on_activation_errors_goes_into_the_recipe_and_its_text() {
        let recipe = Recipe::load(DEFAULT).unwrap();
        let bounded = Recipe::load(DEFAULT).unwrap().with_activation_error(0.002).unwrap();
        assert!(bounded.text.contains("error: 0.002") && bounded.passes.len() == recipe.passes.len(), "{}", bounded.text);
        let none = Recipe::parse("name: x\npasses: [canonicalize]", "x").unwrap().with_activation_error(0.1);
        assert!(none.err().unwrap().to_string().contains("no approximate-activations"));
    }

    #[test]
    fn a_broken_recipe_says_what_is_wrong() {
        let error = |text| Recipe::parse(text, "my.yaml").err().unwrap().to_string();
        assert!(error("name: x\npasses: [nonsense]").starts_with("recipe my.yaml, line 2: there is no pass `nonsense`"));
        assert_eq!(
            error("name: x\npasses:\n  - canonicalize\n  - normalize: {}\n"),
            "recipe my.yaml, line 4: `normalize` needs neurons, and the ANN that they came from: it must come after `replace-relu`"
        );
        assert!(error("name: x\npases: []").contains("unknown field `pases`"));
        assert!(Recipe::load("mmes").err().unwrap().to_string().contains("built in are: layerwise, mmse, deng2021, robust"));
    }
}
