//! What the documents must name, and what they name that must be there.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use hoofbeat::session::fault;

use crate::none;
use crate::source::{files, read, root};

#[cfg(feature = "cli")]
#[test]
fn every_option_is_documented_and_every_documented_option_exists() {
    let table = hoofbeat::config::documentation();
    let options: BTreeSet<&str> = table
        .lines()
        .filter_map(|row| row.strip_prefix("| `")?.split('`').next())
        .filter(|name| name.contains('.'))
        .collect();
    assert!(options.len() > 30, "{options:?}");
    let configuration = read("docs/configuration.md");
    let undocumented = options
        .iter()
        .filter(|option| !configuration.contains(&format!("\n| `{option}`")));
    let mut wrong: Vec<String> = undocumented
        .map(|option| format!("docs/configuration.md: no row for {option}"))
        .collect();
    for name in ["README.md", "docs/configuration.md", "docs/protocol.md"] {
        let text = read(name);
        let named = text
            .split('`')
            .skip(1)
            .step_by(2)
            .filter(|code| is_option(code, &options));
        let unknown = named.filter(|option| !options.contains(option));
        wrong.extend(unknown.map(|option| format!("{name}: there is no option {option}")));
    }
    none(&wrong);
}

/// `section.key`, with one of the sections.
#[cfg(feature = "cli")]
fn is_option(code: &str, options: &BTreeSet<&str>) -> bool {
    let known = |section: &str| options.iter().any(|option| option.split('.').next() == Some(section));
    let word = |text: &str| !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_lowercase() || octet == b'_');
    code.split_once('.')
        .is_some_and(|(section, key)| word(key) && known(section))
}

#[test]
fn every_fault_stands_in_the_protocols_error_table() {
    let protocol = read("docs/protocol.md");
    let row = |kind: &fault::Kind| format!("\n| `{}` | {} | {} |", kind.code, kind.message, kind.close);
    let missing = fault::TABLE.iter().map(row).filter(|row| !protocol.contains(row));
    let mut wrong: Vec<String> = missing
        .map(|row| format!("docs/protocol.md lacks a row that begins {}", row.trim()))
        .collect();
    let (_, table) = protocol.split_once("| `code` | `message` |").unwrap();
    let rows = table.lines().take_while(|row| !row.is_empty());
    for code in rows.filter_map(|row| row.strip_prefix("| `")?.split('`').next()) {
        if fault::TABLE.iter().all(|kind| kind.code != code) {
            wrong.push(format!("docs/protocol.md: there is no fault {code}"));
        }
    }
    none(&wrong);
}

/// Some of its messages end in particulars.
#[test]
fn every_fault_of_the_relay_stands_in_its_document() {
    use hoofbeat::relay::fault::{Kind, TABLE};
    let relay = read("docs/relay.md");
    let (_, table) = relay.split_once("| `code` | `message` | close |").unwrap();
    let rows: Vec<&str> = table.lines().skip(2).take_while(|row| !row.is_empty()).collect();
    let is_of = |row: &str, kind: &Kind| {
        let begin = format!("| `{}` | {}", kind.code, kind.message);
        row.starts_with(&begin) && row.ends_with(&format!(" | {} |", kind.close))
    };
    let missing = TABLE.iter().filter(|kind| !rows.iter().any(|row| is_of(row, kind)));
    let unknown = rows.iter().filter(|row| !TABLE.iter().any(|kind| is_of(row, kind)));
    let mut wrong: Vec<String> = missing
        .map(|kind| format!("docs/relay.md lacks {}", kind.code))
        .collect();
    wrong.extend(unknown.map(|row| format!("docs/relay.md: there is no such fault: {row}")));
    none(&wrong);
}

#[test]
fn every_case_has_its_row_in_the_conformance_table_and_every_row_its_case() {
    let cases: BTreeSet<String> = fs::read_dir(root().join("protocol-tests/cases"))
        .unwrap()
        .filter_map(|entry| row_of(entry.unwrap().file_name().to_str()?.strip_suffix(".stomp")?))
        .collect();
    assert!(cases.len() > 200, "{} cases", cases.len());
    let conformance = read("docs/conformance.md");
    let (_, table) = conformance.split_once("| Row | Level |").unwrap();
    let rows = table.lines().skip(2).take_while(|row| !row.is_empty());
    let rows: BTreeSet<String> = rows
        .filter_map(|row| Some(row.split('|').nth(1)?.trim().to_owned()))
        .collect();
    let missing = cases
        .difference(&rows)
        .map(|row| format!("docs/conformance.md: no row {row}"));
    let stale = rows
        .difference(&cases)
        .map(|row| format!("docs/conformance.md: row {row} has no case"));
    none(&missing.chain(stale).collect::<Vec<_>>());
}

/// docs/moving-from-rabbitmq.md: the last column names rows, with an `s` before those with settings of their own.
#[test]
fn what_a_document_says_was_tried_is_a_case() {
    let rows_of = |folder: &str, mark: &str| -> Vec<String> {
        let names = fs::read_dir(root().join(folder)).unwrap();
        let rows = names.filter_map(|entry| row_of(entry.unwrap().file_name().to_str()?.strip_suffix(".stomp")?));
        rows.map(|row| format!("{mark}{row}")).collect()
    };
    let mut cases = rows_of("protocol-tests/cases", "");
    cases.extend(rows_of("protocol-tests/tests/settings", "s"));
    let document = read("docs/moving-from-rabbitmq.md");
    let cells = document
        .lines()
        .filter_map(|line| line.strip_prefix('|')?.strip_suffix('|')?.rsplit('|').next());
    let named = cells.flat_map(|cell| cell.split(',').map(str::trim));
    let named: Vec<&str> = named
        .filter(|row| row.contains(|sign: char| sign.is_ascii_digit()))
        .collect();
    assert!(named.len() > 60, "{named:?}");
    let unknown = named.iter().filter(|row| !cases.iter().any(|case| case == *row));
    none(
        &unknown
            .map(|row| format!("docs/moving-from-rabbitmq.md: no case {row}"))
            .collect::<Vec<_>>(),
    );
}

#[test]
fn the_readme_quotes_the_conformance_table() {
    let conformance = read("docs/conformance.md");
    let musts = |broker: &str| {
        let row = conformance.lines().find_map(|row| row.strip_prefix(broker));
        row.and_then(|row| row.split('|').nth(1)).map(str::trim).unwrap()
    };
    let (ours, theirs) = (musts("| Hoofbeat ws"), musts("| RabbitMQ ws"));
    let row = format!("| STOMP's MUSTs over WebSocket ¹ | {ours} | {theirs} |");
    assert!(read("README.md").contains(&row), "README.md lacks {row}");
}

/// The row of a case by its file name: `020b-...` is 20b, `W06a-...` is W6a.
fn row_of(name: &str) -> Option<String> {
    let row = name.split('-').next()?;
    let digits = row.find(|sign: char| sign.is_ascii_digit())?;
    let (letter, number) = row.split_at(digits);
    Some(format!("{letter}{}", number.trim_start_matches('0')))
}

#[test]
fn every_link_of_the_documents_leads_somewhere() {
    let mut wrong = Vec::new();
    for file in files().filter(|file| file.name.ends_with(".md")) {
        let folder = Path::new(&file.name).parent().unwrap_or(Path::new(""));
        for target in links(&file.text) {
            let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
            let there = if path.is_empty() {
                PathBuf::from(&file.name)
            } else {
                folder.join(path)
            };
            if !root().join(&there).exists() {
                wrong.push(format!("{}: {target} is not there", file.name));
            } else if !anchor.is_empty() && !headings(&there).contains(anchor) {
                wrong.push(format!("{}: {target} has no such heading", file.name));
            }
        }
    }
    none(&wrong);
}

/// Targets of the links within the repository.
fn links(text: &str) -> impl Iterator<Item = &str> {
    let targets = text
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split([')', ' ']).next());
    targets.filter(|target| !target.contains("://") && !target.starts_with("mailto:"))
}

/// The headings of a document as anchors name them.
fn headings(document: &Path) -> BTreeSet<String> {
    let text = fs::read_to_string(root().join(document)).unwrap();
    let headings = text.lines().filter(|line| line.starts_with('#'));
    headings
        .map(|line| {
            let title = line.trim_start_matches('#').trim().to_lowercase();
            let kept = title
                .chars()
                .filter(|sign| sign.is_alphanumeric() || " -_".contains(*sign));
            kept.map(|sign| if sign == ' ' { '-' } else { sign }).collect()
        })
        .collect()
}

#[test]
fn both_licences_are_there() {
    for (name, begin) in [("LICENSE-APACHE", "Apache License"), ("LICENSE-MIT", "MIT License")] {
        assert!(read(name).contains(begin), "{name}");
    }
    assert!(read("Cargo.toml").contains("license = \"Apache-2.0 OR MIT\""));
}

#[test]
fn the_row_of_a_case_is_in_its_name() {
    assert_eq!(row_of("W06a-close").as_deref(), Some("W6a"));
    assert_eq!(row_of("020-nul").as_deref(), Some("20"));
}
