//! What a mistyped name may have meant.

/// How like each other two names must be (Jaro-Winkler, 1 for equal ones) for one to be suggested for the other. clap's
/// bound, 0.7, suggests `robust` for `best`.
const LIKE: f64 = 0.8;

/// The name among `known` that is most like `name`, if one is like it.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let likeness = |k: &&'a str| (strsim::jaro_winkler(&name.to_lowercase(), &k.to_lowercase()), *k);
    let liked = known.into_iter().map(|k| likeness(&k)).filter(|&(like, _)| like >= LIKE);
    liked.max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, k)| k)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_suggested_for_what_is_like_them() {
        let known = ["layerwise", "lanes", "two-phase"];
        assert_eq!(nearest("layerwis", known), Some("layerwise"));
        assert_eq!(nearest("twophase", known), Some("two-phase"));
        assert_eq!(nearest("best", ["robust"]), None);
    }
}
