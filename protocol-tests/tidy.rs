//! What holds for the repository as a whole: which room may know which, what the documents must name, what no file may hold.
//!
//! It reads the sources as text. `docs/ARCHITECTURE.md` has the reasons for the arrows.

// Helpers of tests, not only tests, fail by it here.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use hoofbeat::session::fault;

/// Lines of a file; a longer one is cut along its meaning.
const LINES: usize = 600;

/// A page that loads nothing else is one file, however long.
const WHOLE: [&str; 1] = ["src/server/page.html"];

/// A room of `src` and what of the other rooms it may name; `tests` are those of its tests alone.
struct Room {
    name: &'static str,
    may_name: &'static [&'static str],
    tests: &'static [&'static str],
}

const ROOMS: [Room; 7] = [
    Room {
        name: "stomp",
        may_name: &[],
        tests: &[],
    },
    Room {
        name: "broker",
        may_name: &["stomp"],
        tests: &[],
    },
    Room {
        name: "session",
        may_name: &["stomp", "broker"],
        tests: &[],
    },
    Room {
        name: "server",
        may_name: &["stomp", "broker", "session", "error"],
        tests: &[],
    },
    // The settings of the rooms, and the rules by which they read patterns and origins: there shall be no second ones.
    Room {
        name: "config",
        may_name: &[
            "broker::Settings",
            "broker::settings",
            "broker::pattern",
            "session::Settings",
            "server::Settings",
            "server::origin",
            "stomp::Limits",
            "bench::Arguments",
        ],
        tests: &["session::fault"],
    },
    Room {
        name: "bench",
        may_name: &["stomp"],
        tests: &["server"],
    },
    Room {
        name: "error",
        may_name: &[],
        tests: &[],
    },
];

/// Rooms that do no I/O and ask nobody for the time.
const PURE: [&str; 3] = ["stomp", "broker", "session"];

/// What such a room must not name, as words and as paths of the standard library.
const IMPURE: [&str; 12] = [
    "tokio",
    "async",
    "await",
    "Instant",
    "SystemTime",
    "getrandom",
    "rand",
    "std::net",
    "std::fs",
    "std::thread",
    "std::env",
    "std::process",
];

#[test]
fn rooms_name_only_those_below_them() {
    let mut wrong = Vec::new();
    for source in sources() {
        let room = source.room();
        let Some(rules) = ROOMS.iter().find(|rules| rules.name == room) else {
            assert!(["lib", "main"].contains(&room), "{room}: a room without rules");
            continue;
        };
        for (in_tests, text) in [(false, source.code()), (true, source.tests())] {
            for path in source.paths_from_the_root(&text) {
                let allowed = |may: &[&str]| may.iter().any(|may| starts_with(&path, may));
                let fine = allowed(&[room]) || allowed(rules.may_name) || (in_tests && allowed(rules.tests));
                if !fine {
                    wrong.push(format!("{}: names crate::{path}", source.name));
                }
            }
        }
    }
    none(&wrong);
}

#[test]
fn pure_rooms_do_no_io_and_have_no_clock() {
    let mut wrong = Vec::new();
    for source in sources().filter(|source| PURE.contains(&source.room())) {
        let code = source.code();
        let mut named: BTreeSet<String> = words(&code).map(str::to_owned).collect();
        named.extend(
            expanded(&code, "std")
                .into_iter()
                .chain(expanded(&code, "core"))
                .flat_map(|path| prefixes(&format!("std::{path}"))),
        );
        for impure in IMPURE.iter().filter(|impure| named.contains(**impure)) {
            wrong.push(format!("{}: {impure}", source.name));
        }
        if named.contains("Waker") && !source.name.starts_with("src/broker/outbound/") {
            wrong.push(format!(
                "{}: Waker, which belongs to src/broker/outbound alone",
                source.name
            ));
        }
    }
    none(&wrong);
}

/// Words that say nothing of what a thing is.
const EMPTY: [&str; 10] = [
    "Manager",
    "Handler",
    "Processor",
    "Service",
    "Context",
    "Util",
    "Utils",
    "Helper",
    "Data",
    "Info",
];

#[test]
fn names_say_what_a_thing_is() {
    let mut wrong = Vec::new();
    for source in sources() {
        let code = source.code() + &source.tests();
        let words: Vec<&str> = words(&code).collect();
        for pair in words.windows(2) {
            let (kind, name) = (pair[0], pair[1]);
            let named = ["struct", "enum", "trait", "mod"].contains(&kind);
            let empty = |word: &str| name.ends_with(word) || name == word.to_lowercase();
            if named && EMPTY.iter().any(|word| empty(word)) {
                wrong.push(format!("{}: {kind} {name}", source.name));
            }
        }
    }
    none(&wrong);
}

#[test]
fn no_file_is_too_long() {
    let code = ["rs", "html", "js", "mjs", "css", "py", "go"];
    let long = files().filter(|file| code.iter().any(|kind| file.name.ends_with(&format!(".{kind}"))));
    let long = long.filter(|file| !WHOLE.contains(&file.name.as_str()));
    let long = long.map(|file| (file.text.lines().count(), file.name));
    none(
        &long
            .filter(|(lines, _)| *lines > LINES)
            .map(|(lines, name)| format!("{name}: {lines} lines, the limit is {LINES}"))
            .collect::<Vec<_>>(),
    );
}

#[test]
fn nothing_is_left_for_later_and_no_machine_is_named() {
    // Put together here, so that this file does not hold them.
    let later = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("todo", "!("),
        concat!("unimplemented", "!("),
    ];
    let ignored = concat!("#[", "ignore");
    let machine = [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/t", "mp/")];
    let mut wrong = Vec::new();
    for file in files() {
        let is_script = file.text.starts_with("#!");
        for (number, line) in file.text.lines().enumerate() {
            let mut report = |what: &str| wrong.push(format!("{}:{}: {what}", file.name, number + 1));
            let found = |what: &&&str| line.contains(**what);
            later.iter().find(found).into_iter().for_each(|what| report(what));
            if line.contains(ignored) {
                report(ignored);
            }
            if let (false, Some(what)) = (is_script, machine.iter().find(found)) {
                report(what);
            }
        }
    }
    none(&wrong);
}

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
fn this_test_sees_what_it_looks_for() {
    let paths = expanded(
        "use crate::{a::{self, B}, c as d};\nlet x = crate::e::F::new();",
        "crate",
    );
    assert_eq!(paths, ["a::self", "a::B", "c", "e::F::new"]);
    let source = |name: &str, text: &str| Source {
        name: name.to_owned(),
        text: text.to_owned(),
    };
    let leaving = source(
        "src/broker/queue/mod.rs",
        "use super::super::session::{Session, fault};",
    );
    assert_eq!(
        leaving.paths_from_the_root(&leaving.text),
        ["session::Session", "session::fault"]
    );
    let bare = source(
        "src/config/mod.rs",
        "use crate::server;\nlet s = server::Hidden::new();",
    );
    assert_eq!(bare.paths_from_the_root(&bare.text), ["server::Hidden::new"]);
    let tests = source(
        "src/stomp/a.rs",
        "code();\n#[cfg(test)]\nmod tests {\n    tests();\n}\nmore();",
    );
    assert_eq!(
        (tests.code().contains("tests()"), tests.code().contains("more()")),
        (false, true)
    );
    assert_eq!(row_of("W06a-close").as_deref(), Some("W6a"));
    assert!(tests.tests().contains("tests()") && !tests.tests().contains("code()"));
}

/// One text file, by its path from the root.
struct Source {
    name: String,
    text: String,
}

impl Source {
    /// `broker` for everything below `src/broker`, `error` for `src/error.rs`.
    fn room(&self) -> &str {
        let path = self.name.trim_start_matches("src/");
        path.split('/').next().unwrap_or_default().trim_end_matches(".rs")
    }

    fn is_all_tests(&self) -> bool {
        let names = ["tests.rs", "cli_tests.rs", "properties.rs"];
        self.name.contains("/tests/") || names.iter().any(|name| self.name.ends_with(&format!("/{name}")))
    }

    /// What is compiled outside tests, without comments.
    fn code(&self) -> String {
        self.split_off_tests().0
    }

    /// What is compiled for tests only, without comments.
    fn tests(&self) -> String {
        self.split_off_tests().1
    }

    fn split_off_tests(&self) -> (String, String) {
        let (mut code, mut tests) = (String::new(), String::new());
        // Formatted code: a module of tests begins and ends at the margin.
        let (mut marked, mut inside) = (false, self.is_all_tests());
        for line in self.text.lines().filter(|line| !line.trim_start().starts_with("//")) {
            inside |= marked && line.starts_with("mod ") && line.ends_with('{');
            marked = line == "#[cfg(test)]";
            let part = if inside { &mut tests } else { &mut code };
            part.push_str(line);
            part.push('\n');
            inside &= line != "}" || self.is_all_tests();
        }
        (code, tests)
    }

    /// Every path into the crate that `text`, a part of this file, names, from the crate's root on: by `crate::`, and by so
    /// many `super::` that they lead there.
    fn paths_from_the_root(&self, text: &str) -> Vec<String> {
        let mut paths = expanded(text, "crate");
        // A module of tests within the file is one step deeper.
        let deeper = usize::from(!self.is_all_tests() && text.contains("mod tests {"));
        let to_the_root = self.depth() + deeper;
        let leaving = expanded(text, "super").into_iter().filter_map(|path| {
            let steps = 1 + path.split("::").take_while(|step| *step == "super").count();
            (steps >= to_the_root).then(|| path.trim_start_matches("super::").to_owned())
        });
        paths.extend(leaving);
        paths.into_iter().flat_map(|path| uses(&path, text)).collect()
    }

    /// How many modules this file is below the crate's root.
    fn depth(&self) -> usize {
        let path = self.name.trim_start_matches("src/").trim_end_matches(".rs");
        path.split('/').filter(|step| *step != "mod").count()
    }
}

/// What is done with `path`: if it is a room as such, which parts of it `text` names.
fn uses(path: &str, text: &str) -> Vec<String> {
    let room = path.trim_end_matches("::self");
    if !ROOMS.iter().any(|known| known.name == room) {
        return vec![path.to_owned()];
    }
    let parts = expanded(text, room);
    if parts.is_empty() {
        return vec![room.to_owned()];
    }
    parts.into_iter().map(|part| format!("{room}::{part}")).collect()
}

/// Every path behind `root::` in `text`, groups taken apart.
fn expanded(text: &str, root: &str) -> Vec<String> {
    let begin = format!("{root}::");
    let mut paths = Vec::new();
    for (at, _) in text.match_indices(&begin) {
        let before = text[..at].chars().next_back();
        if before.is_some_and(|sign| is_word(sign) || sign == ':') {
            continue;
        }
        read_tree(&text[at + begin.len()..], "", &mut paths);
    }
    paths
}

/// Reads a path or a group at the beginning of `text`; what follows it.
fn read_tree<'a>(text: &'a str, before: &str, paths: &mut Vec<String>) -> &'a str {
    let text = text.trim_start();
    let Some(mut rest) = text.strip_prefix('{') else {
        let end = text.find(|sign| !is_word(sign) && sign != '*').unwrap_or(text.len());
        let path = format!("{before}{}", &text[..end]);
        let rest = &text[end..];
        if let Some(further) = rest.strip_prefix("::").filter(|further| !further.starts_with('<')) {
            return read_tree(further, &format!("{path}::"), paths);
        }
        paths.push(path);
        return rest;
    };
    loop {
        rest = read_tree(rest, before, paths).trim_start();
        let renamed = rest.strip_prefix("as ").map(|name| name.trim_start_matches(is_word));
        rest = renamed.unwrap_or(rest).trim_start();
        match rest.strip_prefix(',').map(str::trim_start) {
            Some(next) if !next.starts_with('}') => rest = next,
            Some(next) => return next.trim_start_matches('}'),
            None => return rest.strip_prefix('}').unwrap_or(rest),
        }
    }
}

fn is_word(sign: char) -> bool {
    sign.is_alphanumeric() || sign == '_'
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|sign| !is_word(sign)).filter(|word| !word.is_empty())
}

/// `a`, `a::b`, `a::b::c`.
fn prefixes(path: &str) -> Vec<String> {
    let steps: Vec<&str> = path.split("::").collect();
    (1..=steps.len()).map(|end| steps[..end].join("::")).collect()
}

/// Whether `path` is `beginning` or goes on from it.
fn starts_with(path: &str, beginning: &str) -> bool {
    path.strip_prefix(beginning)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The Rust files of the crate.
fn sources() -> impl Iterator<Item = Source> {
    let found: Vec<Source> = files()
        .filter(|file| file.name.starts_with("src/") && file.name.ends_with(".rs"))
        .collect();
    assert!(found.len() > 50, "{} sources", found.len());
    found.into_iter()
}

/// Every text file that we wrote.
fn files() -> impl Iterator<Item = Source> {
    let mut found = BTreeMap::new();
    gather(&root(), &mut found);
    found.into_iter().map(|(name, text)| Source { name, text })
}

fn gather(folder: &Path, found: &mut BTreeMap<String, String>) {
    const OTHERS: [&str; 8] = [
        ".git",
        "target",
        "node_modules",
        ".venv",
        "__pycache__",
        "corpus-found",
        "artifacts",
        "seeds",
    ];
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if OTHERS.contains(&name.as_str()) || name.ends_with(".lock") || name.ends_with("-lock.json") {
            continue;
        }
        if path.is_dir() {
            gather(&path, found);
        } else if let Ok(text) = fs::read_to_string(&path) {
            let from_root = path.strip_prefix(root()).unwrap();
            found.insert(from_root.to_string_lossy().into_owned(), text);
        }
    }
}

fn none(wrong: &[String]) {
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}
