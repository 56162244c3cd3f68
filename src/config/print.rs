//! What `hoofbeat config` prints, and the tables of docs/configuration.md.

use std::fmt::Write;

use super::file::{Table, UserEntry, KINDS, SEPARATORS};
use super::kind::{list, quoted};
use super::options::{Opt, OPTIONS, SECTIONS};
use super::problem::Origin;
use super::{in_order, Config, Given, Loaded};

/// Characters of a line of prose.
const WIDTH: usize = 100;

/// Policies, prefixes and hosts as comments of `config default`: they are examples, not defaults. A line that begins
/// with `#` and no blank is TOML once the `#` is gone.
const EXAMPLES: &str = r##"
# Policies for the destinations that a pattern matches: `*` is one segment, `#` any number of them. The first that
# matches governs. What it leaves out is as in [queue] or [topic].
#
#[[policy]]
#pattern = "/topic/ticker.#"
#slow_consumer = "latest-only"
#key = "symbol"
#
#[[policy]]
#pattern = "/queue/jobs.*"
#messages = 10_000
#full = "reject"
#delivery_limit = 5

# Further forms of destination. kind: "topic" or "queue". separator: which characters part the segments that wildcards
# count, "both" (the default), "slash" (as in Spring) or "dot" (as in ActiveMQ and RabbitMQ).
#
#[[prefix]]
#prefix = "/chat"
#kind = "topic"
#separator = "slash"

# Users. Without any, everybody may connect, as whoever the login says. With some, only they may, with their passcode.
# `hoofbeat passwd NAME` asks for a password and prints the entry. may_send_to_users is for the application's own
# connection: it may SEND to /user/NAME/... of everybody. worker: what it may work for, such as ["/app/orders/**"].
#
#[[users]]
#name = "joe"
#password = "$argon2id$v=19$m=19456,t=2,p=1$L3+lDgLZ0NpwnTamhN22XQ$DDkvbpPTXa0KGrUsnsszNm+fStFz5WPAwDMh2TP0WjM"
#may_send_to_users = false
#worker = []

# Further virtual hosts, by the host header of CONNECT, each with destinations of its own. They are as the default one
# except for what is set here; policies and prefixes, if any are set, replace those of the default one.
#
#[hosts."orders.example".queue]
#messages = 50_000
#
#[[hosts."orders.example".policy]]
#pattern = "/queue/express"
#full = "drop-head"
"##;

/// A complete file, with each option, its meaning and its default. It configures exactly the defaults.
pub fn defaults() -> String {
    let mut config = Config::default();
    let mut out = String::from(
        "# Hoofbeat: every option with its default. Whatever is left out keeps its default.\n\
         # Durations: \"10s\", \"500ms\", \"5m\", \"2h\", \"1d\"; a plain number is milliseconds.\n\
         # Sizes: \"64KiB\", \"4MiB\", \"1GiB\"; a plain number is octets.\n\
         # The environment (HOOFBEAT__SECTION__KEY) and flags (--set section.key=value) win over the file.\n",
    );
    for (section, about) in SECTIONS {
        let _ = writeln!(out, "\n# {about}\n[{section}]");
        for option in OPTIONS.iter().filter(|option| option.section == *section) {
            out.push('\n');
            comment(&mut out, option.meaning);
            comment(&mut out, &format!("Allowed: {}.", option.range()));
            match option.show(&mut config) {
                Some(value) => {
                    let _ = writeln!(out, "{} = {value}", option.key);
                }
                None => {
                    let _ = writeln!(out, "# There is no default.");
                }
            }
        }
    }
    out.push_str(EXAMPLES);
    out
}

fn comment(out: &mut String, text: &str) {
    let mut line = String::from("#");
    for word in text.split_whitespace() {
        if line.len() + 1 + word.len() > WIDTH {
            out.push_str(&line);
            line = String::from("\n#");
        }
        line.push(' ');
        line.push_str(word);
    }
    out.push_str(&line);
    out.push('\n');
}

/// The tables of docs/configuration.md, one per section.
pub fn documentation() -> String {
    let mut config = Config::default();
    let mut out = String::new();
    for (section, about) in SECTIONS {
        let _ = write!(out, "### `[{section}]`\n\n{about}\n\n");
        out.push_str("| option | kind | default | meaning | allowed |\n|---|---|---|---|---|\n");
        for option in OPTIONS.iter().filter(|option| option.section == *section) {
            let default = option
                .show(&mut config)
                .map_or("none".to_string(), |value| format!("`{value}`"));
            let star = if option.of_host() { " ⌂" } else { "" };
            let _ = writeln!(
                out,
                "| `{}`{star} | {} | {default} | {} | {} |",
                option.name(),
                option.kind_name(),
                cell(option.meaning),
                cell(&option.range()),
            );
        }
        out.push('\n');
    }
    out
}

/// Text that stands in a table as it is.
fn cell(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if matches!(c, '|' | '\\' | '*' | '_' | '<') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

impl Loaded {
    /// Each value that holds and where it came from, as a file.
    pub fn show(&self) -> String {
        let mut config = self.config.clone();
        let mut out = match &self.file {
            Some(file) => format!("# file: {file}\n"),
            None => format!("# file: none ({} does not exist here)\n", super::FILE),
        };
        for (section, _) in SECTIONS {
            let _ = writeln!(out, "\n[{section}]");
            for option in OPTIONS.iter().filter(|option| option.section == *section) {
                let value = option.show(&mut config);
                line(&mut out, option, value, &self.origin(&option.name()));
            }
        }
        for UserEntry { user, spot } in &self.lists.users {
            let origin = Origin::File(spot.clone());
            let _ = writeln!(out, "\n[[users]]");
            written(&mut out, "name", quoted(&user.name), &origin);
            out.push_str("# password is not shown\n");
            written(
                &mut out,
                "may_send_to_users",
                user.may_send_to_users.to_string(),
                &origin,
            );
            written(&mut out, "worker", list(&user.worker), &origin);
        }
        self.show_lists(&mut out, &self.lists.root, "");
        for (name, table) in &self.lists.hosts {
            self.show_host(&mut out, name, table);
        }
        out
    }

    /// A virtual host: what differs from the default one.
    fn show_host(&self, out: &mut String, name: &str, table: &Table) {
        let Some(host) = self.config.settings.hosts.get(name) else {
            return;
        };
        let mut host = host.clone();
        let path = format!("hosts.{}.", quoted(name));
        // Also when nothing is set: the host exists.
        let _ = writeln!(out, "\n[{}]", path.trim_end_matches('.'));
        let mut section = "";
        for given in in_order(&table.given) {
            if given.option.section != section {
                section = given.option.section;
                let _ = writeln!(out, "\n[{path}{section}]");
            }
            line(out, given.option, given.option.show_host(&mut host), &given.origin);
        }
        self.show_lists(out, table, &path);
    }

    fn show_lists(&self, out: &mut String, table: &Table, path: &str) {
        for entry in table.policies.iter().flatten() {
            let _ = writeln!(out, "\n[[{path}policy]]");
            written(
                out,
                "pattern",
                quoted(&entry.pattern),
                &Origin::File(entry.spot.clone()),
            );
            for Given { option, value, origin } in in_order(&entry.given) {
                written(out, option.key, value.show(), origin);
            }
        }
        for entry in table.prefixes.iter().flatten() {
            let origin = Origin::File(entry.spot.clone());
            let kind = KINDS.iter().find(|(_, kind)| *kind == entry.prefix.kind);
            let separator = SEPARATORS
                .iter()
                .find(|(_, separator)| *separator == entry.prefix.separator);
            let _ = writeln!(out, "\n[[{path}prefix]]");
            written(out, "prefix", quoted(&entry.prefix.prefix), &origin);
            for (key, word) in [("kind", kind.map(|k| k.0)), ("separator", separator.map(|s| s.0))] {
                written(out, key, quoted(word.unwrap_or_default()), &origin);
            }
        }
    }
}

fn line(out: &mut String, option: &Opt, value: Option<String>, origin: &Origin) {
    match value {
        Some(value) => written(out, option.key, value, origin),
        None => {
            let _ = writeln!(out, "# {} has no value", option.key);
        }
    }
}

fn written(out: &mut String, key: &str, value: String, origin: &Origin) {
    let _ = writeln!(out, "{:<50} # {origin}", format!("{key} = {value}"));
}
