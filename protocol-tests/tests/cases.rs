//! The files in `cases/`: every row of the matrix is there or excused, and a malformed file is told with its line.

#![allow(clippy::unwrap_used)]

use protocol_tests::case::{load, Case};
use std::collections::BTreeSet;
use std::path::PathBuf;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("cases")
}

/// The rows that NOT-VISIBLE.md excuses.
fn excused() -> BTreeSet<String> {
    let text = std::fs::read_to_string(folder().join("NOT-VISIBLE.md")).unwrap();
    let cells = text
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split_once(" |"));
    cells
        .map(|(row, _)| row.to_string())
        .filter(|row| row != "Row")
        .collect()
}

#[test]
fn every_row_of_the_matrix_has_a_case_or_an_excuse() {
    let cases = load(&folder()).unwrap();
    let played: BTreeSet<String> = cases.iter().map(|case| case.row.clone()).collect();
    let excused = excused();
    let rows = (1..=127)
        .map(|row| row.to_string())
        .chain((1..=11).map(|row| format!("W{row}")));
    for row in rows {
        let (played, excused) = (played.contains(&row), excused.contains(&row));
        assert!(
            played || excused,
            "row {row} has neither a case nor a line in NOT-VISIBLE.md"
        );
        assert!(
            !(played && excused),
            "row {row} has both a case and a line in NOT-VISIBLE.md"
        );
    }
}

#[test]
fn no_two_cases_state_the_same_rule() {
    let mut rules = BTreeSet::new();
    for case in load(&folder()).unwrap() {
        assert!(rules.insert(case.rule.clone()), "{}: {}", case.id, case.rule);
    }
}

#[test]
fn every_case_stands_in_the_published_table() {
    let table = folder().join("../../docs/conformance.md");
    let table = std::fs::read_to_string(table).unwrap();
    for case in load(&folder()).unwrap() {
        let line = format!("\n| {} | {} | ", case.label(), case.level.as_str());
        assert!(
            table.contains(&line),
            "{} is not in docs/conformance.md: run protocol-tests/compare",
            case.id
        );
    }
}

#[test]
fn what_a_case_cites_of_the_documentation_is_there() {
    let page = std::fs::read_to_string(folder().join("../../docs/protocol.md")).unwrap();
    let settings = folder().join("../tests/settings");
    for case in [load(&folder()).unwrap(), load(&settings).unwrap()].concat() {
        let Some((_, section)) = case.spec.split_once("docs/protocol.md") else {
            continue;
        };
        let heading = section.trim_start_matches(", ").trim_matches('"');
        let found = page
            .lines()
            .any(|line| line.starts_with('#') && line.trim_start_matches('#').trim() == heading);
        assert!(
            found,
            "{} cites the section {heading:?}, which docs/protocol.md has not",
            case.id
        );
    }
}

const HEAD: &str = "row: 1\nlevel: M\nrule: A rule.\nspec: Somewhere\n\n";

fn refused(text: &str) -> (usize, String) {
    let wrong = Case::parse("001-test", text).unwrap_err();
    (wrong.line, wrong.reason)
}

#[test]
fn a_malformed_head_is_told_with_its_line() {
    for (text, line, words) in [
        ("level: M\nrule: A rule.\nspec: S\n\na: connect\n", 3, "no row"),
        (
            "row: 2\nlevel: M\nrule: R\nspec: S\n\na: connect\n",
            4,
            "named for row 1",
        ),
        ("row: 1\nlevel: X\n", 2, "not a level"),
        ("row: 1\nrow: 1\n", 2, "twice"),
        ("row: 1\ncolour: red\n", 2, "\"colour\""),
        ("row: 1\nversions: 1.3\n", 2, "1.3"),
        ("row: 1\ntransports: udp\n", 2, "udp"),
        ("row: 1\neach: x\n", 2, "each needs"),
        ("row: 1\neach: x => y = 1\n", 2, "2 names"),
        ("row: 1\neach: x = ^q\n", 2, "^q"),
        ("row: 1\nno key\n", 2, "key: value"),
        ("row: 1\nlevel: M\nrule: R\nspec: S\n\n# nothing\n", 5, "no script"),
    ] {
        let (at, reason) = refused(text);
        assert_eq!(at, line, "{text:?}: {reason}");
        assert!(reason.contains(words), "{text:?}: {reason}");
    }
}

#[test]
fn a_malformed_script_is_told_with_its_line() {
    for (script, line, words) in [
        ("a: connect\nb: dance\n", 7, "dance"),
        ("   indented\n", 6, "no step"),
        ("a: connect\nhello\n", 7, "expected"),
        ("a: connect\na> ^q\n", 7, "^q"),
        ("a: connect\na> SEND\n   k:$\n", 8, "dollar"),
        ("a: connect\na< MESSAGE\n   nonsense\n", 8, "name:value"),
        ("a: connect\na< MESSAGE\n\n   body without end\n", 7, "^@"),
        ("a: connect\na< message\n", 7, "expected a command"),
        ("a: connect\na(backwards)> x\n", 7, "backwards"),
        ("a: connect\na(ping)> x\n", 7, "transports: ws"),
        ("a: connect\na(next> x\n", 7, "( without )"),
        ("a: connect\na: close\n   with a line\n", 7, "no lines"),
        ("a: connect\na< nothing\n   with a line\n", 7, "only a frame"),
        ("a: connect\nwait soon\n", 7, "expected a number"),
        ("a: connect\ncheck 1 ~ 2\n", 7, "check needs"),
        ("a: connect\nlet x\n", 7, "let needs"),
        ("a: connect\nrepeat 3\na< EOL\n", 7, "repeat without end"),
        ("a: connect\nend\n", 7, "end without repeat"),
        ("a: connect\nrepeat 3\nend\n", 8, "nothing is repeated"),
        ("a: connect\na< closed soon\n", 7, "close codes"),
        ("a: open\n   login:x\n", 6, "open takes"),
        ("a: open\n   > Origin\n", 7, "Name: value"),
        ("a: connect\na< MESSAGE\n    k:v\n  k:v\n", 9, "indented by 2"),
    ] {
        let (at, reason) = refused(&format!("{HEAD}{script}"));
        assert_eq!(at, line, "{script:?}: {reason}");
        assert!(reason.contains(words), "{script:?}: {reason}");
    }
}

#[test]
fn lines_for_some_versions_are_read_for_those_only() {
    let text = "row: 1\nlevel: M\nversions: 1.1 1.2\nrule: R\nspec: S\n\na: connect\n{1.2} a< EOL\n";
    let case = Case::parse("001-test", text).unwrap();
    let counts: Vec<usize> = case
        .versions
        .iter()
        .map(|version| case.steps(*version).unwrap().len())
        .collect();
    assert_eq!(counts, [1, 2]);
}
