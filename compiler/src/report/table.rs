//! Tables in Markdown, so that they can be pasted where they are needed.

use comfy_table::presets::ASCII_MARKDOWN;
use comfy_table::{Cell, CellAlignment, ContentArrangement, Table};

/// How a column is aligned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// Text.
    Left,
    /// Numbers.
    Right,
}

/// A table of `columns` (heading, alignment) and rows of as many cells.
pub fn table(columns: &[(&str, Align)], rows: &[Vec<String>]) -> String {
    let mut table = Table::new();
    table.load_preset(ASCII_MARKDOWN).set_content_arrangement(ContentArrangement::Disabled);
    let cell = |text: &str, align: Align| {
        Cell::new(text).set_alignment(if align == Align::Left { CellAlignment::Left } else { CellAlignment::Right })
    };
    table.set_header(columns.iter().map(|&(heading, align)| cell(heading, align)));
    for row in rows {
        table.add_row(row.iter().zip(columns).map(|(text, &(_, align))| cell(text, align)));
    }
    format!("{table}\n")
}
