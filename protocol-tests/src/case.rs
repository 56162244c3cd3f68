//! A case file: a head that says what is claimed, and a script.
//!
//! ```text
//! row: 20
//! level: M
//! versions: 1.0 1.1 1.2
//! rule: Exactly content-length octets are the body, NULs included.
//! spec: STOMP 1.2, "Header content-length"
//!
//! a: connect
//! a> SEND
//!    ...
//! ```

use crate::script;
use crate::step::Step;
use std::fmt;
use std::path::Path;

/// A version of STOMP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// STOMP 1.0
    V10,
    /// STOMP 1.1
    V11,
    /// STOMP 1.2
    V12,
}

impl Version {
    fn parse(text: &str) -> Option<Version> {
        match text {
            "1.0" => Some(Version::V10),
            "1.1" => Some(Version::V11),
            "1.2" => Some(Version::V12),
            _ => None,
        }
    }

    /// As it stands in `accept-version`.
    pub fn as_str(self) -> &'static str {
        match self {
            Version::V10 => "1.0",
            Version::V11 => "1.1",
            Version::V12 => "1.2",
        }
    }
}

/// What carries the octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Transport {
    /// WebSocket
    WebSocket,
    /// Plain TCP
    Tcp,
}

impl Transport {
    /// As a case file names it.
    pub fn as_str(self) -> &'static str {
        match self {
            Transport::WebSocket => "ws",
            Transport::Tcp => "tcp",
        }
    }
}

/// How binding a rule is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// The specification says MUST.
    Must,
    /// The specification says SHOULD.
    Should,
    /// The specification says MAY.
    May,
    /// The specification leaves it open; the case states Hoofbeat's decision.
    Open,
}

impl Level {
    /// One letter, as in the matrix.
    pub fn as_str(self) -> &'static str {
        match self {
            Level::Must => "M",
            Level::Should => "S",
            Level::May => "Y",
            Level::Open => "-",
        }
    }
}

/// A value that a case is repeated with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Each {
    /// The variables.
    pub names: Vec<String>,
    /// Their values, in the notation of [`crate::notation`], for one play each.
    pub values: Vec<Vec<String>>,
}

/// One rule and the conversation that shows it.
#[derive(Clone, Debug)]
pub struct Case {
    /// The file's name without its ending: `020a-content-length-counts-octets`.
    pub id: String,
    /// The row of the matrix: `20`, `W3`, or `H4` for a promise of Hoofbeat beyond it.
    pub row: String,
    /// How binding the rule is.
    pub level: Level,
    /// The versions it is played with, one after the other.
    pub versions: Vec<Version>,
    /// The transports it applies to.
    pub transports: Vec<Transport>,
    /// What it is repeated with, if anything.
    pub each: Option<Each>,
    /// The rule in one sentence.
    pub rule: String,
    /// Where the rule stands.
    pub spec: String,
    script: Vec<Line>,
}

/// A line of a script with its number in the file.
#[derive(Clone, Debug)]
pub struct Line {
    /// Counted from 1.
    pub number: usize,
    /// Without its end.
    pub text: String,
}

/// What is wrong with a case file, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// The file's name without its ending.
    pub id: String,
    /// Counted from 1.
    pub line: usize,
    /// What is wrong.
    pub reason: String,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.stomp:{}: {}", self.id, self.line, self.reason)
    }
}

impl std::error::Error for Malformed {}

impl Case {
    /// Reads a case from its file's name (without the ending) and text.
    pub fn parse(id: &str, text: &str) -> Result<Case, Malformed> {
        let malformed = |line, reason| Malformed {
            id: id.into(),
            line,
            reason,
        };
        let mut head = Head::default();
        let mut last = 0;
        for (at, line) in text.lines().enumerate().take_while(|(_, line)| !line.is_empty()) {
            last = at + 1;
            head.line(line).map_err(|reason| malformed(last, reason))?;
        }
        let script = text.lines().enumerate().skip(last);
        let script = script
            .map(|(at, line)| Line {
                number: at + 1,
                text: line.into(),
            })
            .collect();
        let case = head
            .finish(id, script)
            .map_err(|reason| malformed(last.max(1), reason))?;
        for version in &case.versions {
            let steps = case.steps(*version)?;
            if steps.is_empty() {
                return Err(malformed(
                    last + 1,
                    format!("no script for version {}", version.as_str()),
                ));
            }
        }
        Ok(case)
    }

    /// Its script as it reads for one version.
    pub fn steps(&self, version: Version) -> Result<Vec<Step>, Malformed> {
        let lines = self
            .script
            .iter()
            .filter_map(|line| of_version(line, version))
            .collect();
        let websocket_only = !self.transports.contains(&Transport::Tcp);
        script::parse(lines, websocket_only).map_err(|wrong| Malformed {
            id: self.id.clone(),
            line: wrong.line,
            reason: wrong.reason,
        })
    }

    /// Whether its script waits for time to pass.
    pub fn lets_time_pass(&self) -> bool {
        let waits = |line: &Line| {
            line.text.starts_with("wait ")
                || line.text.contains("< silence ")
                || line.text.contains("< nothing ")
                || line.text.contains(" within ")
        };
        self.script.iter().any(waits)
    }

    /// Row and letter, as the file is named: `20a`.
    pub fn label(&self) -> String {
        let named = self.id.split('-').next().unwrap_or_default();
        let letter = named.trim_start_matches(|c: char| c.is_ascii_uppercase() || c.is_ascii_digit());
        format!("{}{letter}", self.row)
    }

    /// Where it stands in the table: the matrix in its order, the WebSocket binding, Hoofbeat's own promises.
    pub fn place(&self) -> (usize, usize, &str) {
        let (section, number) = match self.row.split_at(usize::from(self.row.starts_with(['W', 'H']))) {
            ("W", number) => (1, number),
            ("H", number) => (2, number),
            (_, number) => (0, number),
        };
        (section, number.parse().unwrap_or(usize::MAX), &self.id)
    }
}

/// `{1.1 1.2} text` is `text` for these versions and nothing for the others.
fn of_version(line: &Line, version: Version) -> Option<Line> {
    let text = line.text.trim_start();
    let indent = &line.text[..line.text.len() - text.len()];
    let Some((versions, rest)) = text.strip_prefix('{').and_then(|rest| rest.split_once('}')) else {
        return Some(line.clone());
    };
    // A body may begin with a brace of its own.
    let Some(versions) = versions
        .split_whitespace()
        .map(Version::parse)
        .collect::<Option<Vec<_>>>()
    else {
        return Some(line.clone());
    };
    let rest = rest.strip_prefix(' ').unwrap_or(rest);
    versions.contains(&version).then(|| Line {
        number: line.number,
        text: format!("{indent}{rest}"),
    })
}

/// Reads every `*.stomp` file of a folder, in the order of the table.
pub fn load(folder: &Path) -> Result<Vec<Case>, Box<dyn std::error::Error>> {
    let mut cases = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|ending| ending == "stomp") {
            let id = path.file_stem().unwrap_or_default().to_string_lossy();
            cases.push(Case::parse(&id, &std::fs::read_to_string(&path)?)?);
        }
    }
    cases.sort_by(|left, right| left.place().cmp(&right.place()));
    Ok(cases)
}

#[derive(Default)]
struct Head {
    row: Option<String>,
    level: Option<Level>,
    versions: Option<Vec<Version>>,
    transports: Option<Vec<Transport>>,
    each: Option<Each>,
    rule: Option<String>,
    spec: Option<String>,
}

impl Head {
    fn line(&mut self, line: &str) -> Result<(), String> {
        let (key, value) = line
            .split_once(": ")
            .ok_or("the head consists of `key: value` lines and ends with an empty line")?;
        let value = value.trim();
        match key {
            "row" => once(key, &mut self.row, value.into()),
            "level" => once(key, &mut self.level, level(value)?),
            "versions" => once(key, &mut self.versions, list(value, Version::parse)?),
            "transports" => once(key, &mut self.transports, list(value, transport)?),
            "each" => once(key, &mut self.each, each(value)?),
            "rule" => once(key, &mut self.rule, value.into()),
            "spec" => once(key, &mut self.spec, value.into()),
            _ => Err(format!(
                "{key:?} is not known in the head (known: row, level, versions, transports, each, rule, spec)"
            )),
        }
    }

    fn finish(self, id: &str, script: Vec<Line>) -> Result<Case, String> {
        let row = self.row.ok_or("the head has no row")?;
        let named =
            row_of(id).ok_or_else(|| format!("{id:?} is not named ROW-words (020a-words, W03-words, H01-words)"))?;
        if named != row {
            return Err(format!("the file is named for row {named}, its head says {row}"));
        }
        Ok(Case {
            id: id.into(),
            row,
            level: self.level.ok_or("the head has no level")?,
            versions: self.versions.unwrap_or_else(|| vec![Version::V12]),
            transports: self
                .transports
                .unwrap_or_else(|| vec![Transport::WebSocket, Transport::Tcp]),
            each: self.each,
            rule: self.rule.ok_or("the head has no rule")?,
            spec: self.spec.ok_or("the head has no spec")?,
            script,
        })
    }
}

/// The row that a file is named for: `020a-words` is `20`, `W03-words` is `W3`.
fn row_of(id: &str) -> Option<String> {
    let (place, _) = id.split_once('-')?;
    let place = place.trim_end_matches(|c: char| c.is_ascii_lowercase());
    let (section, number) = place.split_at(usize::from(place.starts_with(['W', 'H'])));
    let number: u32 = number.parse().ok()?;
    Some(format!("{section}{number}"))
}

fn once<T>(key: &str, place: &mut Option<T>, value: T) -> Result<(), String> {
    match place.replace(value) {
        Some(_) => Err(format!("{key} stands twice in the head")),
        None => Ok(()),
    }
}

fn level(text: &str) -> Result<Level, String> {
    [Level::Must, Level::Should, Level::May, Level::Open]
        .into_iter()
        .find(|level| level.as_str() == text)
        .ok_or_else(|| format!("{text:?} is not a level (M, S, Y or -)"))
}

fn transport(text: &str) -> Option<Transport> {
    [Transport::WebSocket, Transport::Tcp]
        .into_iter()
        .find(|transport| transport.as_str() == text)
}

fn list<T>(text: &str, one: fn(&str) -> Option<T>) -> Result<Vec<T>, String> {
    text.split_whitespace()
        .map(|word| one(word).ok_or_else(|| format!("{word:?} is not known here")))
        .collect()
}

/// `NAME = VALUE | VALUE`, `NAME = 1..9` or `NAME => NAME = VALUE => VALUE | VALUE => VALUE`.
fn each(text: &str) -> Result<Each, String> {
    let (names, values) = text
        .split_once(" = ")
        .ok_or("each needs NAME = VALUE | VALUE or NAME = 1..9")?;
    let several = |text: &str| text.split(" => ").map(|one| one.trim().to_string()).collect::<Vec<_>>();
    let names = several(names);
    let range = values
        .split_once("..")
        .and_then(|(from, to)| Some(from.parse::<u32>().ok()?..=to.parse().ok()?));
    let values: Vec<Vec<String>> = match range {
        Some(range) => range.map(|number| vec![number.to_string()]).collect(),
        None => values.split(" | ").map(several).collect(),
    };
    for value in &values {
        if value.len() != names.len() {
            return Err(format!("{} values for {} names: {value:?}", value.len(), names.len()));
        }
        value
            .iter()
            .try_for_each(|text| crate::notation::Template::parse(text).map(drop))?;
    }
    Ok(Each { names, values })
}
