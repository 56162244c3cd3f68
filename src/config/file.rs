//! The configuration file: TOML to values with their places. Whatever is not an option is a problem, never ignored.

use std::collections::BTreeMap;
use std::sync::Arc;

use toml::de::{DeTable, DeValue};
use toml::Spanned;

use super::kind::{quoted, Value};
use super::options::{self, Opt, OPTIONS, POLICY_SECTIONS, SECTIONS};
use super::problem::{meant, Origin, Problem, Source, Spot};
use super::Given;
use crate::auth::User;
use crate::broker::settings::{Kind, Prefix, Separator};

/// What a file says.
#[derive(Default)]
pub(super) struct File {
    /// Options, policies and prefixes outside `[hosts]`.
    pub(super) root: Table,
    /// Those of each `[hosts.NAME]`.
    pub(super) hosts: BTreeMap<String, Table>,
    /// Each `[[users]]`.
    pub(super) users: Vec<UserEntry>,
}

/// What it says about the default virtual host or another.
#[derive(Default)]
pub(super) struct Table {
    pub(super) given: Vec<Given>,
    /// `None`: not mentioned, so a host has those of the default one.
    pub(super) policies: Option<Vec<PolicyEntry>>,
    /// `None`: not mentioned, so a host has those of the default one.
    pub(super) prefixes: Option<Vec<PrefixEntry>>,
}

/// One `[[policy]]`.
pub(super) struct PolicyEntry {
    pub(super) pattern: String,
    pub(super) spot: Spot,
    pub(super) given: Vec<Given>,
}

/// One `[[prefix]]`.
pub(super) struct PrefixEntry {
    pub(super) prefix: Prefix,
    pub(super) spot: Spot,
}

/// One `[[users]]`.
pub(super) struct UserEntry {
    pub(super) user: User,
    pub(super) spot: Spot,
}

/// Reads a file's text. What it says is complete only if there are no problems.
pub(super) fn read(source: &Arc<Source>) -> (File, Vec<Problem>) {
    let mut reader = Reader {
        source: source.clone(),
        problems: Vec::new(),
    };
    let file = match DeTable::parse(&source.text) {
        Ok(table) => reader.file(table.get_ref()),
        Err(error) => {
            let end = source.text.len();
            let spot = Spot::new(source, error.span().unwrap_or(end..end));
            reader.problem(
                spot,
                format!("not TOML: {}", error.message().trim()),
                "https://toml.io shows how it is written",
            );
            File::default()
        }
    };
    reader.problems.sort_by_key(Problem::order);
    (file, reader.problems)
}

pub(super) type Key<'a, 'i> = &'a Spanned<std::borrow::Cow<'i, str>>;
pub(super) type Item<'a, 'i> = &'a Spanned<DeValue<'i>>;

pub(super) struct Reader {
    source: Arc<Source>,
    problems: Vec<Problem>,
}

impl Reader {
    fn file(&mut self, table: &DeTable<'_>) -> File {
        let mut file = File::default();
        for (key, item) in table {
            match key.get_ref().as_ref() {
                "hosts" => file.hosts = self.hosts(key, item),
                "users" => file.users = self.users(key, item),
                _ => self.entry(key, item, &mut file.root, None),
            }
        }
        file
    }

    fn hosts(&mut self, key: Key<'_, '_>, item: Item<'_, '_>) -> BTreeMap<String, Table> {
        let mut hosts = BTreeMap::new();
        for (name, item) in self.table("", key, item) {
            let mut host = Table::default();
            for (key, item) in self.table("hosts.", name, item) {
                self.entry(key, item, &mut host, Some(name.get_ref()));
            }
            hosts.insert(name.get_ref().to_string(), host);
        }
        hosts
    }

    /// A section, `policy` or `prefix`, of the whole or of a host.
    fn entry(&mut self, key: Key<'_, '_>, item: Item<'_, '_>, into: &mut Table, host: Option<&str>) {
        let name = key.get_ref().as_ref();
        match name {
            "policy" => into.policies = Some(self.policies(key, item)),
            "prefix" => into.prefixes = Some(self.prefixes(key, item)),
            section if SECTIONS.iter().any(|(known, _)| *known == section) => {
                let path = host.map(|host| format!("hosts.{}.", quoted(host))).unwrap_or_default();
                for (key, item) in self.table(&path, key, item) {
                    let Some(option) = options::find(section, key.get_ref()) else {
                        self.unknown_key(key, section);
                        continue;
                    };
                    if host.is_some() && !option.of_host() {
                        let spot = self.spot(key.span());
                        let what = format!("`{}` is one value for all virtual hosts", option.name());
                        self.problem(spot, what, &format!("set it in [{section}]"));
                        continue;
                    }
                    into.given.extend(self.given(option, item));
                }
            }
            _ => self.unknown_section(key, host),
        }
    }

    fn policies(&mut self, key: Key<'_, '_>, item: Item<'_, '_>) -> Vec<PolicyEntry> {
        let mut policies = Vec::new();
        for (table, spot) in self.tables(key, item) {
            let mut entry = PolicyEntry {
                pattern: String::new(),
                spot,
                given: Vec::new(),
            };
            for (key, item) in table {
                let name = key.get_ref().as_ref();
                let option = POLICY_SECTIONS.iter().find_map(|section| options::find(section, name));
                match option {
                    _ if name == "pattern" => {
                        entry.spot = self.spot(item.span());
                        entry.pattern = self.destination(key, item).unwrap_or_default();
                    }
                    Some(option) => entry.given.extend(self.given(option, item)),
                    None => self.unknown(key, "[[policy]]", &policy_keys()),
                }
            }
            if !table.iter().any(|(key, _)| key.get_ref() == "pattern") {
                self.problem(
                    entry.spot,
                    "a policy without `pattern`",
                    "for example: pattern = \"/queue/orders.#\"",
                );
                continue;
            }
            policies.push(entry);
        }
        policies
    }

    fn prefixes(&mut self, key: Key<'_, '_>, item: Item<'_, '_>) -> Vec<PrefixEntry> {
        let mut prefixes = Vec::new();
        for (table, mut spot) in self.tables(key, item) {
            let (mut prefix, mut kind, mut separator) = (None, None, Separator::default());
            for (key, item) in table {
                match key.get_ref().as_ref() {
                    "prefix" => {
                        spot = self.spot(item.span());
                        prefix = self.destination(key, item);
                    }
                    "kind" => kind = self.word(key, item, &KINDS),
                    "separator" => separator = self.word(key, item, &SEPARATORS).unwrap_or_default(),
                    _ => self.unknown(key, "[[prefix]]", &["prefix", "kind", "separator"]),
                }
            }
            for wanted in ["prefix", "kind"] {
                if !table.iter().any(|(key, _)| key.get_ref() == wanted) {
                    let what = format!("a prefix without `{wanted}`");
                    self.problem(
                        spot.clone(),
                        what,
                        "for example: prefix = \"/chat\" and kind = \"topic\"",
                    );
                }
            }
            if let (Some(prefix), Some(kind)) = (prefix, kind) {
                let prefix = Prefix {
                    prefix,
                    kind,
                    separator,
                };
                prefixes.push(PrefixEntry { prefix, spot });
            }
        }
        prefixes
    }

    /// A string that begins with a slash and has something after it.
    fn destination(&mut self, key: Key<'_, '_>, item: Item<'_, '_>) -> Option<String> {
        let value = convert(item.get_ref());
        match &value {
            Value::Text(text) if text.starts_with('/') && text.len() > 1 && !text.ends_with('/') => Some(text.clone()),
            _ => {
                let what = format!("{} = {}", key.get_ref(), value.show());
                let note = "allowed: a string that begins with a slash and does not end with one";
                self.problem(self.spot(item.span()), what, note);
                None
            }
        }
    }

    fn word<T: Copy>(&mut self, key: Key<'_, '_>, item: Item<'_, '_>, words: &[(&str, T)]) -> Option<T> {
        let value = convert(item.get_ref());
        let known = words.iter().find(|(word, _)| value == Value::Text(word.to_string()));
        if known.is_none() {
            let what = format!("{} = {}", key.get_ref(), value.show());
            let words: Vec<String> = words.iter().map(|(word, _)| quoted(word)).collect();
            self.problem(self.spot(item.span()), what, &format!("allowed: {}", words.join(", ")));
        }
        known.map(|(_, meaning)| *meaning)
    }

    /// An option's value, if the option takes it.
    fn given(&mut self, option: &'static Opt, item: Item<'_, '_>) -> Option<Given> {
        let given = Given {
            option,
            value: convert(item.get_ref()),
            origin: Origin::File(self.spot(item.span())),
        };
        match given.checked() {
            Ok(given) => Some(given),
            Err(problem) => {
                self.problems.push(problem);
                None
            }
        }
    }

    fn table<'a, 'i>(
        &mut self,
        path: &str,
        key: Key<'_, '_>,
        item: &'a Spanned<DeValue<'i>>,
    ) -> Vec<(Key<'a, 'i>, Item<'a, 'i>)> {
        if let DeValue::Table(table) = item.get_ref() {
            return table.iter().collect();
        }
        let name = key.get_ref();
        let spot = self.spot(key.span());
        self.problem(
            spot,
            format!("`{name}` is a table"),
            &format!("write [{path}{name}], and its keys below"),
        );
        Vec::new()
    }

    pub(super) fn tables<'a, 'i>(
        &mut self,
        key: Key<'_, '_>,
        item: &'a Spanned<DeValue<'i>>,
    ) -> Vec<(&'a DeTable<'i>, Spot)> {
        let name = key.get_ref();
        let mut tables = Vec::new();
        let entries = match item.get_ref() {
            DeValue::Array(array) => array.iter().collect(),
            _ => vec![item],
        };
        for entry in entries {
            let spot = self.spot(entry.span());
            match (item.get_ref(), entry.get_ref()) {
                (DeValue::Array(_), DeValue::Table(table)) => tables.push((table, spot)),
                _ => self.problem(
                    spot,
                    format!("`{name}` is a list of tables"),
                    &format!("write [[{name}]] for each, and its keys below"),
                ),
            }
        }
        tables
    }

    fn unknown_key(&mut self, key: Key<'_, '_>, section: &str) {
        if let Some(elsewhere) = OPTIONS.iter().find(|option| option.key == key.get_ref()) {
            let what = format!("unknown key `{}` in [{section}]", key.get_ref());
            let note = format!("did you mean `{}`?", elsewhere.name());
            return self.problem(self.spot(key.span()), what, &note);
        }
        let keys: Vec<&str> = options::keys(section).collect();
        self.unknown(key, &format!("[{section}]"), &keys);
    }

    fn unknown_section(&mut self, key: Key<'_, '_>, host: Option<&str>) {
        let name = key.get_ref().as_ref();
        if let Some(option) = OPTIONS.iter().find(|option| option.key == name) {
            let what = format!("unknown key `{name}` outside a section");
            let note = format!("did you mean `{}`?", option.name());
            return self.problem(self.spot(key.span()), what, &note);
        }
        let sections = SECTIONS.iter().map(|(section, _)| *section);
        let mut known: Vec<&str> = sections.chain(["policy", "prefix"]).collect();
        let place = match host {
            Some(host) => format!("[hosts.{host}]"),
            None => {
                known.extend(["hosts", "users"]);
                "the file".to_string()
            }
        };
        self.unknown(key, &place, &known);
    }

    pub(super) fn unknown(&mut self, key: Key<'_, '_>, place: &str, known: &[&str]) {
        let name = key.get_ref().as_ref();
        let note = match meant(name, known.iter().copied()) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("known there: {}", known.join(", ")),
        };
        self.problem(self.spot(key.span()), format!("unknown key `{name}` in {place}"), &note);
    }

    pub(super) fn problem(&mut self, spot: Spot, what: impl Into<String>, note: &str) {
        self.problems.push(Problem::new(Origin::File(spot), what).note(note));
    }

    pub(super) fn spot(&self, span: std::ops::Range<usize>) -> Spot {
        Spot::new(&self.source, span)
    }
}

pub(super) const KINDS: [(&str, Kind); 2] = [("topic", Kind::Topic), ("queue", Kind::Queue)];

pub(super) const SEPARATORS: [(&str, Separator); 3] = [
    ("both", Separator::Both),
    ("slash", Separator::Slash),
    ("dot", Separator::Dot),
];

fn policy_keys() -> Vec<&'static str> {
    let keys = POLICY_SECTIONS.iter().flat_map(|section| options::keys(section));
    std::iter::once("pattern").chain(keys).collect()
}

pub(super) fn convert(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Value::Integer(number),
            Err(_) => Value::Other("an integer beyond 64 bits"),
        },
        DeValue::Float(number) => match number.as_str().parse() {
            Ok(number) => Value::Float(number),
            Err(_) => Value::Other("a float"),
        },
        DeValue::Boolean(flag) => Value::Flag(*flag),
        DeValue::Datetime(_) => Value::Other("a date"),
        DeValue::Table(_) => Value::Other("a table"),
        DeValue::Array(array) => {
            let items = array.iter().map(|item| item.get_ref().as_str().map(String::from));
            match items.collect() {
                Some(items) => Value::List(items),
                None => Value::Other("an array of other things than strings"),
            }
        }
    }
}

/// The value that `text` stands for in a file.
#[cfg(test)]
pub(super) fn value(text: &str) -> Value {
    convert(DeValue::parse(text).unwrap().get_ref())
}
