//! YAML as users write it: recipes and pass options. The parser is given only what cannot keep it busy.
//!
//! Its time grows with the square of the brackets that are open, and it copies what an alias stands for as often as the
//! alias occurs, aliases of aliases included. Recipes need a few of either.

use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::fmt;
use thiserror::Error;

/// Longest text; the longest built-in recipe has 1.5 kB.
pub const MAX_BYTES: u64 = 1 << 16;
/// Most opening brackets and braces.
const MAX_BRACKETS: usize = 1024;
/// Most aliases: 16 of them, however they are arranged, copy a text less than a thousand times.
const MAX_ALIASES: usize = 16;

/// Why there is nothing in the text.
#[derive(Debug, Error)]
pub enum YamlError {
    /// Too long.
    #[error("it is longer than {MAX_BYTES} bytes, the most that is read")]
    Long,
    /// Too many brackets.
    #[error("it has more than {MAX_BRACKETS} opening brackets, the most that are read")]
    Brackets,
    /// Too many aliases.
    #[error("it has more than {MAX_ALIASES} aliases (*name), the most that are read")]
    Aliases,
    /// What the parser says.
    #[error(transparent)]
    Syntax(#[from] serde_yaml::Error),
}

/// The value that `text` describes.
///
/// # Errors
/// [`YamlError`].
pub fn parse<T: DeserializeOwned>(text: &str) -> Result<T, YamlError> {
    if text.len() as u64 > MAX_BYTES {
        return Err(YamlError::Long);
    }
    if text.bytes().filter(|b| matches!(b, b'[' | b'{')).count() > MAX_BRACKETS {
        return Err(YamlError::Brackets);
    }
    // Within a word a star is a star.
    let word = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
    let bytes = text.as_bytes();
    let alias = |i: &usize| bytes[*i] == b'*' && word(bytes[i + 1]) && (*i == 0 || !bytes[i - 1].is_ascii_alphanumeric());
    if (0..bytes.len().saturating_sub(1)).filter(alias).count() > MAX_ALIASES {
        return Err(YamlError::Aliases);
    }
    Ok(serde_yaml::from_str(text)?)
}

/// The line, counted from 1, of item `place` of the list `key` in `text`, which [`parse`] takes.
pub fn line_of(text: &str, key: &'static str, place: usize) -> Option<usize> {
    // The parser knows where it is only where it fails: so it is made to fail there.
    let error = At { key, place }.deserialize(serde_yaml::Deserializer::from_str(text)).err()?;
    error.location().map(|location| location.line())
}

/// Fails at an item of a list in a mapping.
struct At {
    key: &'static str,
    place: usize,
}

/// Fails at the next value.
struct Here;

impl<'de> DeserializeSeed<'de> for At {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for At {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a mapping with a list")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            match key == self.key {
                true => map.next_value_seed(At { ..self })?,
                false => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        for _ in 0..self.place {
            list.next_element::<IgnoredAny>()?;
        }
        list.next_element_seed(Here)?;
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Here {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for Here {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nothing")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_yaml::Value;

    fn error(text: &str) -> String {
        parse::<Value>(text).unwrap_err().to_string()
    }

    #[test]
    fn what_would_keep_the_parser_busy_is_refused() {
        assert!(error(&"[".repeat(60_000)).contains("brackets"));
        assert!(error(&"{a: ".repeat(15_000)).contains("brackets"));
        assert!(error(&format!("a: &a {}\nb: [{}]", "x".repeat(30_000), "*a, ".repeat(8_000))).contains("aliases"));
        let nested: String = (1..10).map(|i| format!("a{i}: &a{i} [{}]\n", format!("*a{},", i - 1).repeat(9))).collect();
        assert!(error(&format!("a0: &a0 {}\n{nested}", "x".repeat(50_000))).contains("aliases"));
        assert!(error(&"x".repeat(70_000)).contains("longer"));
        // Nested by dashes, the parser itself knows a limit.
        assert!(!error(&"- ".repeat(30_000)).is_empty());
    }

    #[test]
    fn anchors_flow_style_and_stars_in_sentences_are_read() {
        let value: Value = parse("a: &half {x: 0.5}\nb: [*half, *half]\nc: thresholds * T, 2*T, a*b").unwrap();
        assert_eq!(value["b"][1]["x"], 0.5);
        let many = format!("c: {}", "2*T * T a*b ".repeat(100));
        assert!(parse::<Value>(&many).is_ok());
    }

    #[test]
    fn the_line_of_an_item_is_found_in_both_styles() {
        let text = "name: x\ndescription: >-\n  two\n  lines\npasses:\n  # none\n  - a\n  - b: {c: 1}\n  - d\n";
        assert_eq!([0, 1, 2].map(|place| line_of(text, "passes", place)), [Some(7), Some(8), Some(9)]);
        assert_eq!(line_of("passes: [a,\n  b]", "passes", 1), Some(2));
    }
}
