//! Files of the repository, and the paths that Rust code in them names.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::rooms::ROOMS;

/// One text file, by its path from the root.
pub struct Source {
    pub name: String,
    pub text: String,
}

impl Source {
    /// `broker` for everything below `src/broker`, `error` for `src/error.rs`.
    pub fn room(&self) -> &str {
        let path = self.name.trim_start_matches("src/");
        path.split('/').next().unwrap_or_default().trim_end_matches(".rs")
    }

    fn is_all_tests(&self) -> bool {
        let names = ["tests.rs", "cli_tests.rs", "properties.rs"];
        self.name.contains("/tests/") || names.iter().any(|name| self.name.ends_with(&format!("/{name}")))
    }

    /// What is compiled outside tests, without comments.
    pub fn code(&self) -> String {
        self.split_off_tests().0
    }

    /// What is compiled for tests only, without comments.
    pub fn tests(&self) -> String {
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
    pub fn paths_from_the_root(&self, text: &str) -> Vec<String> {
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
pub fn expanded(text: &str, root: &str) -> Vec<String> {
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

pub fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|sign| !is_word(sign)).filter(|word| !word.is_empty())
}

/// `a`, `a::b`, `a::b::c`.
pub fn prefixes(path: &str) -> Vec<String> {
    let steps: Vec<&str> = path.split("::").collect();
    (1..=steps.len()).map(|end| steps[..end].join("::")).collect()
}

/// Whether `path` is `beginning` or goes on from it.
pub fn starts_with(path: &str, beginning: &str) -> bool {
    path.strip_prefix(beginning)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

pub fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The Rust files of the crate.
pub fn sources() -> impl Iterator<Item = Source> {
    let found: Vec<Source> = files()
        .filter(|file| file.name.starts_with("src/") && file.name.ends_with(".rs"))
        .collect();
    assert!(found.len() > 50, "{} sources", found.len());
    found.into_iter()
}

/// Every text file that we wrote.
pub fn files() -> impl Iterator<Item = Source> {
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

#[test]
fn paths_are_found_however_they_are_written() {
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
    assert!(tests.tests().contains("tests()") && !tests.tests().contains("code()"));
}
