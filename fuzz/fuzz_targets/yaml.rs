//! YAML: a recipe, and a target.
#![no_main]

use libfuzzer_sys::fuzz_target;
use snnc::{Recipe, targets};

fuzz_target!(|text: &str| {
    let _ = Recipe::parse(text, "fuzz.yaml");
    let _ = targets::parse(text, "fuzz.yaml");
});
