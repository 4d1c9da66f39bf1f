//! What passes made of nodes, and why not more.

use super::table::{self, Align};
use crate::passes::pipeline::PassRecord;
use crate::passes::{NodeOutcome, Outcome};
use std::collections::BTreeSet;

/// Reasons that a summary names; where there are more, the table has them.
const NAMED: usize = 2;

/// Every node that a pass looked at, with what became of it.
pub fn table(record: &PassRecord) -> String {
    let columns = [("node", Align::Left), ("operation", Align::Left), (record.name, Align::Left)];
    let row = |o: &NodeOutcome| {
        let outcome = match &o.outcome {
            Outcome::Changed => "changed".to_string(),
            Outcome::NotApplicable(reason) => format!("not applicable: {reason}"),
            Outcome::Declined(reason) => format!("declined: {reason}"),
        };
        vec![o.node.clone().unwrap_or_else(|| "(the network)".into()), o.operation.into(), outcome]
    };
    table::table(&columns, &record.outcomes.iter().map(row).collect::<Vec<_>>())
}

/// What became of how many nodes, in a sentence.
pub fn summary(record: &PassRecord) -> String {
    let count = |is: fn(&Outcome) -> bool| record.outcomes.iter().filter(|o| o.node.is_some() && is(&o.outcome)).count();
    let mut text = format!("{}: {} changed", record.name, record.changes);
    for (number, what) in
        [(count(|o| matches!(o, Outcome::Declined(_))), "declined"), (count(|o| matches!(o, Outcome::NotApplicable(_))), "not applicable")]
    {
        if number > 0 {
            text += &format!(", {number} {what}");
        }
    }
    let reasons: BTreeSet<&str> = record
        .outcomes
        .iter()
        .filter_map(|o| match &o.outcome {
            Outcome::Changed => None,
            Outcome::NotApplicable(reason) | Outcome::Declined(reason) => Some(reason.as_str()),
        })
        .collect();
    match reasons.len() {
        0 => text,
        1..=NAMED => text + "; " + &reasons.into_iter().collect::<Vec<_>>().join("; "),
        _ => text + &format!("; --why {} says why", record.name),
    }
}
