//! The result as a table: for a terminal, as Markdown, as JSON.

use crate::case::{Case, Level};
use crate::suite::{Finding, Verdict};
use serde_json::json;
use std::fmt::Write;

/// The findings about one target.
#[derive(Clone, Debug)]
pub struct Column {
    /// The broker's name, or its URL.
    pub name: String,
    /// `ws` or `tcp`.
    pub transport: &'static str,
    /// One per case, in the order of the cases.
    pub findings: Vec<Finding>,
}

impl Column {
    /// Name and transport; a URL names both.
    fn head(&self) -> String {
        if self.name.contains("://") {
            self.name.clone()
        } else {
            format!("{} {}", self.name, self.transport)
        }
    }

    /// How many of the cases of a level passed, of how many that apply.
    pub fn score(&self, cases: &[Case], level: Level) -> (usize, usize) {
        let verdicts = cases
            .iter()
            .zip(&self.findings)
            .filter(|(case, _)| case.level == level)
            .map(|(_, finding)| finding.verdict());
        let applied: Vec<Verdict> = verdicts.filter(|verdict| *verdict != Verdict::NotApplicable).collect();
        (
            applied.iter().filter(|verdict| **verdict == Verdict::Passed).count(),
            applied.len(),
        )
    }
}

/// A cell: `yes`, `no`, or which plays failed when only some did.
fn cell(case: &Case, finding: &Finding) -> String {
    match finding.verdict() {
        Verdict::NotApplicable => String::new(),
        Verdict::Passed => "yes".into(),
        Verdict::Failed => "no".into(),
        Verdict::Part => {
            let failed = |version| finding.failures().any(|(outcome, _)| outcome.version == version);
            let versions: Vec<&str> = case
                .versions
                .iter()
                .filter(|version| failed(**version))
                .map(|version| version.as_str())
                .collect();
            if versions.len() < case.versions.len() {
                format!("not {}", versions.join(", "))
            } else {
                format!(
                    "{} of {}",
                    finding.outcomes.len() - finding.failures().count(),
                    finding.outcomes.len()
                )
            }
        }
    }
}

/// A table in Markdown: row, level, rule, and a column for each target.
pub fn markdown(cases: &[Case], columns: &[Column]) -> String {
    let mut table = String::from("| Row | Level | Rule | Source |");
    let mut line = String::from("|---|---|---|---|");
    for column in columns {
        let _ = write!(table, " {} |", column.head());
        line.push_str("---|");
    }
    let _ = write!(table, "\n{line}\n");
    for (at, case) in cases.iter().enumerate() {
        let _ = write!(
            table,
            "| {} | {} | {} | {} |",
            case.label(),
            case.level.as_str(),
            escaped(&case.rule),
            escaped(&case.spec)
        );
        for column in columns {
            let _ = write!(table, " {} |", cell(case, &column.findings[at]));
        }
        table.push('\n');
    }
    table
}

/// Text as it reads in a Markdown table.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for sign in text.chars() {
        if matches!(sign, '\\' | '|' | '*' | '<' | '_') {
            escaped.push('\\');
        }
        escaped.push(sign);
    }
    escaped
}

/// How many cases of each level passed, as a table in Markdown.
pub fn summary(cases: &[Case], columns: &[Column]) -> String {
    let mut table =
        String::from("| Broker | MUST | SHOULD | MAY | left open, and Hoofbeat's own |\n|---|---|---|---|---|\n");
    for column in columns {
        let _ = write!(table, "| {} |", column.head());
        for level in [Level::Must, Level::Should, Level::May, Level::Open] {
            let (passed, applied) = column.score(cases, level);
            let _ = write!(table, " {passed} of {applied} |");
        }
        table.push('\n');
    }
    table
}

/// The table for a terminal.
pub fn text(cases: &[Case], columns: &[Column]) -> String {
    let cells: Vec<Vec<String>> = cases
        .iter()
        .enumerate()
        .map(|(at, case)| columns.iter().map(|column| cell(case, &column.findings[at])).collect())
        .collect();
    let heads: Vec<String> = columns
        .iter()
        .map(|column| {
            if columns.len() == 1 {
                column.transport.into()
            } else {
                column.head()
            }
        })
        .collect();
    let width = |at: usize| {
        cells
            .iter()
            .map(|row| row[at].len())
            .chain([heads[at].len()])
            .max()
            .unwrap_or_default()
    };
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let mut table = String::from("Row   L ");
    for (head, width) in heads.iter().zip(&widths) {
        let _ = write!(table, " {head:width$} ");
    }
    table.push_str(" Rule\n");
    for (case, row) in cases.iter().zip(&cells) {
        let _ = write!(table, "{:5} {} ", case.label(), case.level.as_str());
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(table, " {cell:width$} ");
        }
        let _ = writeln!(table, " {}", case.rule);
    }
    table
}

/// What failed: file, line and reason of the first play of each case and how many more there were;
/// `all`: every play, with the frames until then.
pub fn failures(cases: &[Case], columns: &[Column], all: bool) -> String {
    let mut list = String::new();
    for column in columns {
        for (case, finding) in cases.iter().zip(&column.findings) {
            let count = finding.failures().count();
            for (outcome, failure) in finding.failures().take(if all { count } else { 1 }) {
                let value = case
                    .each
                    .as_ref()
                    .zip(outcome.values.as_ref())
                    .map(|(each, values)| format!(", {} = {}", each.names.join(" => "), values.join(" => ")))
                    .unwrap_or_default();
                let broker = if columns.len() == 1 {
                    column.transport.to_string()
                } else {
                    column.head()
                };
                let version = outcome.version.as_str();
                let _ = writeln!(
                    list,
                    "{}.stomp:{} ({broker}, STOMP {version}{value}): {}",
                    case.id, failure.line, failure.reason
                );
                for line in failure.transcript.iter().filter(|_| all) {
                    let _ = writeln!(list, "    {line}");
                }
            }
            if count > 1 && !all {
                let _ = writeln!(
                    list,
                    "    and {} more of {} plays of this case",
                    count - 1,
                    finding.outcomes.len()
                );
            }
        }
    }
    list
}

/// Everything, for programs.
pub fn json(cases: &[Case], columns: &[Column]) -> String {
    let outcomes = |at: usize, column: &Column| -> Vec<serde_json::Value> {
        let outcome = |outcome: &crate::suite::Outcome| {
            json!({
                "version": outcome.version.as_str(),
                "values": outcome.values,
                "passed": outcome.failure.is_none(),
                "line": outcome.failure.as_ref().map(|failure| failure.line),
                "reason": outcome.failure.as_ref().map(|failure| &failure.reason),
                "transcript": outcome.failure.as_ref().map(|failure| &failure.transcript),
            })
        };
        column.findings[at].outcomes.iter().map(outcome).collect()
    };
    let cases: Vec<serde_json::Value> = cases
        .iter()
        .enumerate()
        .map(|(at, case)| {
            let results: Vec<_> = columns.iter().map(|column| json!({"broker": column.name, "transport": column.transport, "plays": outcomes(at, column)})).collect();
            json!({"case": case.id, "row": case.row, "level": case.level.as_str(), "rule": case.rule, "spec": case.spec, "results": results})
        })
        .collect();
    json!({ "cases": cases }).to_string()
}
