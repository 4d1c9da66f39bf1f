//! Recipes: named lists of passes with their options, written in YAML.
//!
//! The built-in recipes are such files themselves (`compiler/src/recipes/`); a user's file looks the same.

use crate::passes::{OptionError, Pass, from_yaml};
use crate::suggest::nearest;
use crate::{files, yaml};
use serde::Deserialize;
use serde_yaml::Value;
use std::path::Path;
use thiserror::Error;

/// The recipe used when none is named.
pub const DEFAULT: &str = "layerwise";

/// The recipe used in its place for networks that lose too much with all layers in step ([`crate::choose::barrier`]).
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

/// A conversion recipe.
pub struct Recipe {
    /// Short name.
    pub name: String,
    /// What it does and where it comes from.
    pub description: String,
    /// T to convert for when the user names none, where the recipe is meant for other windows than most.
    pub timesteps: Option<u32>,
    /// The passes, in order.
    pub passes: Vec<Box<dyn Pass>>,
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
    #[error("cannot read recipe {path}: {reason}")]
    Read {
        /// The file.
        path: String,
        /// Why not.
        reason: String,
    },
    /// The YAML is not a recipe.
    #[error("recipe {name}: {reason}")]
    Syntax {
        /// Name or file.
        name: String,
        /// What is wrong, with its line where the parser knows it.
        reason: String,
    },
    /// A pass or its options are wrong.
    #[error("recipe {name}: {source}")]
    Passes {
        /// Name or file.
        name: String,
        /// What is wrong.
        source: OptionError,
    },
}

impl RecipeError {
    /// What a mistyped name may have meant.
    pub fn suggestion(&self) -> Option<String> {
        match self {
            RecipeError::Unknown { name, known } => nearest(name, known.split(", ")).map(str::to_string),
            RecipeError::Passes { source, .. } => source.suggestion().map(str::to_string),
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
    /// [`RecipeError::Syntax`] and [`RecipeError::Passes`].
    pub fn parse(text: &str, origin: &str) -> Result<Recipe, RecipeError> {
        let file: RecipeFile = yaml::parse(text).map_err(|e| RecipeError::Syntax { name: origin.to_string(), reason: e.to_string() })?;
        let passes = from_yaml(&file.passes).map_err(|source| RecipeError::Passes { name: origin.to_string(), source })?;
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
            let text = text.map_err(|e| RecipeError::Read { path: name.to_string(), reason: e.to_string() })?;
            return Recipe::parse(&text, name);
        }
        built_in().into_iter().find(|r| r.name == name).ok_or_else(|| {
            let known = built_in().iter().map(|r| r.name.clone()).collect::<Vec<_>>().join(", ");
            RecipeError::Unknown { name: name.to_string(), known }
        })
    }
}

/// Most segments per function where a bound on the error is asked for.
const SEGMENTS: u64 = 48;

impl Recipe {
    /// The recipe with `error` as the bound of its `approximate-activations`, and enough segments to hold it.
    ///
    /// # Errors
    /// [`RecipeError::Syntax`] when it has no such pass.
    pub fn with_activation_error(self, error: f64) -> Result<Recipe, RecipeError> {
        let pass = "approximate-activations";
        let syntax = |reason: String| RecipeError::Syntax { name: self.name.clone(), reason };
        let mut file: Value = yaml::parse(&self.text).map_err(|e| syntax(e.to_string()))?;
        let items = file.get_mut("passes").and_then(Value::as_sequence_mut);
        let named = |v: &&mut Value| v.as_str() == Some(pass) || v.get(pass).is_some();
        let item = items.and_then(|i| i.iter_mut().find(named));
        let item = item.ok_or_else(|| syntax(format!("it has no {pass} whose error could be bounded")))?;
        let mut options = item.get(pass).and_then(Value::as_mapping).cloned().unwrap_or_default();
        let segments = options.get("max_segments").and_then(Value::as_u64).unwrap_or(0).max(SEGMENTS);
        options.insert("error".into(), error.into());
        options.insert("max_segments".into(), segments.into());
        let mut changed = serde_yaml::Mapping::new();
        changed.insert(pass.into(), options.into());
        *item = changed.into();
        let text = serde_yaml::to_string(&file).map_err(|e| syntax(e.to_string()))?;
        Recipe::parse(&text, &self.name)
    }
}

/// Built-in recipes that the search for recipe and T leaves out: published baselines that others dominate.
const BASELINES: [&str; 3] = ["deng2021", "robust", "potential"];

/// The built-in recipes that [`crate::choose`] chooses from.
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
        let none = Recipe::parse("name: x\npasses: [normalize]", "x").unwrap().with_activation_error(0.1);
        assert!(none.err().unwrap().to_string().contains("no approximate-activations"));
    }

    #[test]
    fn a_broken_recipe_says_what_is_wrong() {
        let error = |text| Recipe::parse(text, "my.yaml").err().unwrap().to_string();
        assert!(error("name: x\npasses: [nonsense]").starts_with("recipe my.yaml: there is no pass `nonsense`"));
        assert!(error("name: x\npases: []").contains("unknown field `pases`"));
        assert!(Recipe::load("mmes").err().unwrap().to_string().contains("built in are: layerwise, mmse, deng2021, robust"));
    }
}
