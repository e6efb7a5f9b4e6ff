//! The results as a table, as Markdown and as JSON.

use std::path::Path;

use anyhow::Context;
use serde_json::{Value, json};

use crate::row::{Figure, Row, number};

/// A whole run.
pub(crate) struct Report {
    /// The machine and its load.
    pub(crate) machine: Value,
    pub(crate) quick: bool,
    pub(crate) rows: Vec<Row>,
}

impl Report {
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read(path).with_context(|| format!("can't read {}", path.display()))?;
        let value: Value = serde_json::from_slice(&text)?;
        let rows = value["rows"].as_array().context("no rows in there")?;
        Ok(Self {
            machine: value["machine"].clone(),
            quick: value["quick"].as_bool().unwrap_or(false),
            rows: rows.iter().filter_map(Row::from_json).collect(),
        })
    }

    pub(crate) fn write(&self, path: &Path) -> anyhow::Result<()> {
        let rows: Vec<_> = self.rows.iter().map(Row::to_json).collect();
        let value = json!({ "machine": self.machine, "quick": self.quick, "rows": rows });
        let text = serde_json::to_string_pretty(&value)? + "\n";
        std::fs::write(path, text).with_context(|| format!("can't write {}", path.display()))
    }

    /// Replaces the Markdown between the marks of a page.
    pub(crate) fn insert_into(&self, path: &Path) -> anyhow::Result<()> {
        let page = std::fs::read_to_string(path)
            .with_context(|| format!("can't read {}", path.display()))?;
        let page = replace_between_marks(&page, &self.markdown()).with_context(|| {
            format!(
                "{} must contain the lines {BEGIN} and {END}",
                path.display()
            )
        })?;
        std::fs::write(path, page).with_context(|| format!("can't write {}", path.display()))
    }

    /// Formats the results for a terminal.
    pub(crate) fn table(&self) -> String {
        let lines: Vec<[String; 6]> = self.rows.iter().flat_map(cells).collect();
        let mut widths = HEADING.map(|word| word.chars().count());
        for line in &lines {
            for (width, cell) in widths.iter_mut().zip(line) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let padded = |cells: &[String; 6]| {
            let cell = |(cell, width): (&String, &usize)| format!("{cell:<width$}");
            let line: Vec<_> = cells.iter().zip(&widths).map(cell).collect();
            line.join("  ").trim_end().to_owned() + "\n"
        };
        let mut text = padded(&HEADING.map(str::to_owned));
        for line in &lines {
            text.push_str(&padded(line));
        }
        text.push('\n');
        for row in &self.rows {
            text.push_str(&format!("{}: {}\n", row.name, ran(row)));
        }
        text
    }

    /// Formats the results for `docs/performance.md`.
    pub(crate) fn markdown(&self) -> String {
        let word = |name: &str| self.machine[name].as_str().unwrap_or("?").to_owned();
        let size = if self.quick { ", `--quick`" } else { "" };
        let mut text = format!(
            "{} cores, {}, {}, Linux {}; load before the run {}{size}.\n\n| {} |\n|{}\n",
            self.machine["cores"],
            word("processor"),
            word("memory"),
            word("kernel"),
            word("load"),
            HEADING.join(" | "),
            " --- |".repeat(HEADING.len()),
        );
        for line in self.rows.iter().flat_map(cells) {
            text.push_str(&format!("| {} |\n", line.join(" | ")));
        }
        text.push_str("\nWhat was run:\n\n");
        for row in &self.rows {
            text.push_str(&format!("- **{}**: {}\n", row.name, ran(row)));
        }
        text
    }
}

/// The start of the results in a page.
const BEGIN: &str = "<!-- measured: begin -->";
/// The end of the results in a page.
const END: &str = "<!-- measured: end -->";

fn replace_between_marks(page: &str, text: &str) -> Option<String> {
    let (before, rest) = page.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n\n{text}\n{END}{after}"))
}

const HEADING: [&str; 6] = [
    "row",
    "figure",
    "measured",
    "machine's limit",
    "ratio",
    "target",
];

fn ran(row: &Row) -> &str {
    row.skipped.as_deref().unwrap_or(&row.ran)
}

fn cells(row: &Row) -> Vec<[String; 6]> {
    if let Some(why) = &row.skipped {
        let none = String::new;
        return vec![[
            row.name.clone(),
            format!("not measured: {why}"),
            none(),
            none(),
            none(),
            none(),
        ]];
    }
    let line = |figure: &Figure| {
        let limit = figure.limit.as_ref();
        [
            row.name.clone(),
            figure.what.clone(),
            format!("{} {}", number(figure.value), figure.unit),
            limit.map_or("–".to_owned(), |(value, of)| {
                format!("{} {} ({of})", number(*value), figure.unit)
            }),
            figure.ratio().map_or("–".to_owned(), number),
            target(figure),
        ]
    };
    row.figures.iter().map(line).collect()
}

fn target(figure: &Figure) -> String {
    let words: Vec<_> = figure
        .targets
        .iter()
        .map(|target| target.describe(&figure.unit))
        .collect();
    match figure.is_met() {
        None => "–".to_owned(),
        Some(true) => format!("{}: met", words.join(", ")),
        Some(false) => format!("{}: **missed**", words.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_text_between_the_marks_is_replaced() {
        let page = format!("# Speed\n{BEGIN}\nold\n{END}\nmore\n");
        let new = replace_between_marks(&page, "| new |\n").expect("marks");
        assert_eq!(new, format!("# Speed\n{BEGIN}\n\n| new |\n\n{END}\nmore\n"));
        assert_eq!(
            replace_between_marks(&new, "| new |\n").as_deref(),
            Some(new.as_str())
        );
        assert_eq!(replace_between_marks("no marks", ""), None);
    }
}
