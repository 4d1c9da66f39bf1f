//! `snnc recipes`: the built-in recipes.

use super::arguments::Format;
use super::{Failure, output};
use clap::Args;
use serde::Serialize;
use snnc::recipe::{DEFAULT, Recipe, built_in};
use snnc::report::list;

/// Arguments of `snnc recipes`.
#[derive(Args, Debug)]
pub struct Arguments {
    /// Print the YAML of this recipe, to start one of your own from
    #[arg(value_name = "RECIPE")]
    name: Option<String>,
    /// Form of the report
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Serialize)]
struct RecipeDescription {
    name: String,
    description: String,
    default: bool,
    yaml: String,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let recipes = match &arguments.name {
        Some(name) => vec![Recipe::load(name)?],
        None => built_in(),
    };
    let text = match (arguments.format, &arguments.name) {
        (Format::Json, _) => {
            let describe =
                |r: Recipe| RecipeDescription { default: r.name == DEFAULT, name: r.name, description: r.description, yaml: r.text };
            output::json(&recipes.into_iter().map(describe).collect::<Vec<_>>())?
        }
        (Format::Text, Some(_)) => recipes.into_iter().map(|r| r.text).collect(),
        (Format::Text, None) => {
            let row = |r: &Recipe| {
                let mark = if r.name == DEFAULT { " (default)" } else { "" };
                (r.name.clone(), format!("{}{mark}", r.description))
            };
            list(&recipes.iter().map(row).collect::<Vec<_>>())
        }
    };
    output::print(&text)
}
