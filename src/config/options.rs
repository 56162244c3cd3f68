//! What an option is, and how one is found. The options themselves are in `list.rs` and `relay.rs`.

use super::kind::{Kind, Value};
pub(super) use super::list::SECTIONS;
use super::{list, relay, Config};
use crate::broker;

/// All options, in the order in which they are shown within their sections.
pub(super) static OPTIONS: Catalogue = Catalogue(&[&list::OPTIONS, &relay::OPTIONS]);

/// Several lists of options as one.
#[derive(Clone, Copy)]
pub(super) struct Catalogue(&'static [&'static &'static [Opt]]);

impl Catalogue {
    pub(super) fn iter(self) -> impl Iterator<Item = &'static Opt> {
        self.0.iter().flat_map(|list| list.iter())
    }
}

/// One option.
pub(super) struct Opt {
    pub(super) section: &'static str,
    pub(super) key: &'static str,
    pub(super) place: Place,
    /// What it means: unit and consequence, one sentence or two, without the default.
    pub(super) meaning: &'static str,
}

/// Whose setting it is.
pub(super) enum Place {
    /// The whole server's.
    Server(Kind<Config>),
    /// A virtual host's: the default one's, and with `[hosts.NAME]` another's.
    Host(Kind<broker::Settings>),
}

impl Opt {
    /// `section.key`, the name in error texts and ERROR frames.
    pub(super) fn name(&self) -> String {
        format!("{}.{}", self.section, self.key)
    }

    /// The environment variable that sets it.
    pub(super) fn variable(&self) -> String {
        format!("HOOFBEAT__{}__{}", self.section, self.key).to_ascii_uppercase()
    }

    /// Whether a virtual host may have its own.
    pub(super) fn of_host(&self) -> bool {
        matches!(self.place, Place::Host(_))
    }

    pub(super) fn kind_name(&self) -> &'static str {
        match &self.place {
            Place::Server(kind) => kind.name(),
            Place::Host(kind) => kind.name(),
        }
    }

    pub(super) fn allowed(&self) -> String {
        match &self.place {
            Place::Server(kind) => kind.allowed(),
            Place::Host(kind) => kind.allowed(),
        }
    }

    pub(super) fn range(&self) -> String {
        match &self.place {
            Place::Server(kind) => kind.range(),
            Place::Host(kind) => kind.range(),
        }
    }

    /// Sets it, for the default host if it is a host's, or says why not.
    pub(super) fn write(&self, config: &mut Config, value: &Value) -> Result<(), String> {
        match &self.place {
            Place::Server(kind) => kind.write(config, value),
            Place::Host(kind) => kind.write(&mut config.settings.broker, value),
        }
    }

    /// Sets a host's option, or says why not.
    pub(super) fn write_host(&self, host: &mut broker::Settings, value: &Value) -> Result<(), String> {
        match &self.place {
            Place::Server(_) => Err("one value for all virtual hosts".to_string()),
            Place::Host(kind) => kind.write(host, value),
        }
    }

    /// Its value as TOML, the default host's if it is a host's; `None` if it has none.
    pub(super) fn show(&self, config: &mut Config) -> Option<String> {
        match &self.place {
            Place::Server(kind) => kind.show(config),
            Place::Host(kind) => kind.show(&mut config.settings.broker),
        }
    }

    /// A host's value as TOML.
    pub(super) fn show_host(&self, host: &mut broker::Settings) -> Option<String> {
        match &self.place {
            Place::Server(_) => None,
            Place::Host(kind) => kind.show(host),
        }
    }
}

/// The keys of an entry of `[[policy]]` besides `pattern`: those of these sections.
pub(super) const POLICY_SECTIONS: [&str; 2] = ["queue", "topic"];

/// The option with that section and key.
pub(super) fn find(section: &str, key: &str) -> Option<&'static Opt> {
    OPTIONS
        .iter()
        .find(|option| option.section == section && option.key == key)
}

/// The keys of a section, in order.
pub(super) fn keys(section: &str) -> impl Iterator<Item = &'static str> + use<'_> {
    OPTIONS
        .iter()
        .filter(move |option| option.section == section)
        .map(|option| option.key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_sections_listed() {
        let mut names: Vec<String> = OPTIONS.iter().map(Opt::name).collect();
        for option in OPTIONS.iter() {
            assert!(
                SECTIONS.iter().any(|(section, _)| *section == option.section),
                "{} is in no section",
                option.name()
            );
        }
        names.sort();
        let all = names.len();
        names.dedup();
        assert_eq!(names.len(), all);
    }

    #[test]
    fn a_policy_key_belongs_to_one_section() {
        for key in keys("queue") {
            assert!(find("topic", key).is_none(), "{key} is in [queue] and in [topic]");
        }
    }

    #[test]
    fn each_default_is_allowed() {
        let mut config = Config::default();
        for option in OPTIONS.iter() {
            // Through the text that `config default` writes.
            let Some(shown) = option.show(&mut config) else {
                assert_eq!(option.name(), "topic.key");
                continue;
            };
            let value = super::super::file::value(&shown);
            assert_eq!(option.write(&mut config, &value), Ok(()), "{}", option.name());
            assert_eq!(option.show(&mut config), Some(shown), "{}", option.name());
        }
    }
}
