//! Tables in Markdown, so that they can be pasted where they are needed. On a terminal they are as wide as it is.

use comfy_table::presets::{ASCII_MARKDOWN, NOTHING};
use comfy_table::{Cell, CellAlignment, ColumnConstraint, ContentArrangement, Table, Width};

/// Spaces on both sides of a cell.
const PADDING: usize = 2;

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
    table.load_preset(ASCII_MARKDOWN);
    fit(&mut table);
    let cell = |text: &str, align: Align| {
        Cell::new(text).set_alignment(if align == Align::Left { CellAlignment::Left } else { CellAlignment::Right })
    };
    table.set_header(columns.iter().map(|&(heading, align)| cell(heading, align)));
    for row in rows {
        table.add_row(row.iter().zip(columns).map(|(text, &(_, align))| cell(text, align)));
    }
    // A number that was broken into two lines would be read as another one.
    for (at, column) in table.column_iter_mut().enumerate().filter(|(at, _)| columns[*at].1 == Align::Right) {
        let longest = rows.iter().flat_map(|row| row[at].split_whitespace()).map(|word| word.chars().count()).max();
        let width = u16::try_from(longest.unwrap_or(0) + PADDING).unwrap_or(u16::MAX);
        column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(width)));
    }
    format!("{table}\n")
}

/// Names with what is to be said of each, in two columns.
pub fn list(rows: &[(String, String)]) -> String {
    let mut table = Table::new();
    table.load_preset(NOTHING);
    fit(&mut table);
    for (name, text) in rows {
        table.add_row([name, text]);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// Breaks the lines of a table that a terminal shows; elsewhere a row is a line.
fn fit(table: &mut Table) {
    match terminal_size::terminal_size_of(std::io::stdout()) {
        Some((width, _)) => table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width.0),
        None => table.set_content_arrangement(ContentArrangement::Disabled),
    };
}
