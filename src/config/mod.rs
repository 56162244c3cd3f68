//! Configuration of the binary: one TOML file, the environment and flags become the modules' own settings.
//!
//! Later wins: default, file, environment, flag. Defaults stand in the modules' settings and nowhere else; every
//! option stands once, in `list.rs`, with its bounds, its meaning and the field it goes to. This room knows the
//! settings of the others; none of them knows this one, and nothing is converted back.

mod arguments;
mod check;
mod file;
mod kind;
mod list;
mod memory;
mod options;
mod overlay;
mod places;
mod policies;
mod print;
mod problem;
mod relay;
mod unit;
mod users;

#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;

pub use arguments::{Arguments, ConfigVerb, Options, StoreVerb, Verb};
pub use print::{defaults, documentation};
pub use problem::{Origin, Problem, Problems, Source, Spot};

use crate::auth::User;
use crate::server;
use file::File;
use kind::Value;
use options::{Opt, OPTIONS};

/// The file that is read when none is named, if it exists.
pub const FILE: &str = "hoofbeat.toml";

/// The folder of persistent messages when none is named.
pub const FOLDER: &str = "hoofbeat-data";

/// Everything that can be configured.
#[derive(Clone, Debug)]
pub struct Config {
    /// Of the server, its sessions and virtual hosts.
    pub settings: server::Settings,
    /// What is logged: a level, or directives as `tracing` reads them.
    pub log: String,
    /// Who may connect; everybody if there is none.
    pub users: Vec<User>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            settings: server::Settings {
                // The binary keeps what it promised; a library leaves it to its program to name a folder.
                data: Some(FOLDER.into()),
                ..server::Settings::default()
            },
            log: "info".to_string(),
            users: Vec::new(),
        }
    }
}

/// A flag of the command line that sets an option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flag {
    /// How it is written, for error texts: `--tcp`, `--set limits.frame`.
    pub flag: String,
    /// The option's name: `limits.frame`.
    pub option: String,
    /// The value as text.
    pub text: String,
}

/// A configuration that can be used.
pub struct Loaded {
    /// What holds.
    pub config: Config,
    /// What looks wrong and is not.
    pub warnings: Vec<Problem>,
    /// Path of the file that was read.
    pub file: Option<String>,
    /// What set each option that somebody set.
    given: Vec<Given>,
    /// What the file says of policies, prefixes and hosts.
    lists: File,
}

impl Loaded {
    /// Where the value of `section.key` came from.
    pub fn origin(&self, name: &str) -> Origin {
        let given = self.given.iter().find(|given| given.option.name() == name);
        given.map_or(Origin::Default, |given| given.origin.clone())
    }

    /// How many options the file, the environment and flags set, those that something later overrides left out.
    pub fn counts(&self) -> (usize, usize, usize) {
        let count = |wanted: fn(&Origin) -> bool| self.given.iter().filter(|given| wanted(&given.origin)).count();
        (
            count(|origin| matches!(origin, Origin::File(_))),
            count(|origin| matches!(origin, Origin::Variable(_))),
            count(|origin| matches!(origin, Origin::Flag(_))),
        )
    }
}

/// One option's value and who gave it.
#[derive(Clone)]
struct Given {
    option: &'static Opt,
    value: Value,
    origin: Origin,
}

impl Given {
    /// Itself, if the option takes the value. Asked of every value, also of those that something later overrides.
    fn checked(self) -> Result<Given, Problem> {
        match self.option.write(&mut Config::default(), &self.value) {
            Ok(()) => Ok(self),
            Err(why) => {
                let what = format!("{} = {}: {why}", self.option.name(), self.value.show());
                Err(Problem::new(self.origin, what).note(format!("allowed: {}", self.option.allowed())))
            }
        }
    }
}

/// Reads `file` (or [`FILE`] if that exists), the environment and the flags.
///
/// # Errors
///
/// Everything that is wrong with them, not only the first thing. Nothing that is not understood is ignored.
pub fn load(
    file: Option<&Path>,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
    flags: &[Flag],
) -> Result<Loaded, Problems> {
    let source = open(file)?;
    let (lists, mut problems) = source.as_ref().map(file::read).unwrap_or_default();
    let (from_environment, wrong_variables) = overlay::environment(variables);
    let (from_flags, wrong_flags) = overlay::flags(flags);
    problems.extend(wrong_variables);
    problems.extend(wrong_flags);

    let given = winners([lists.root.given.clone(), from_environment, from_flags]);
    let mut loaded = Loaded {
        config: fitting(),
        warnings: Vec::new(),
        file: source.map(|source| source.name.clone()),
        given,
        lists,
    };
    problems.extend(convert(&mut loaded));
    // How options go together can be judged only when all of them are known.
    if problems.is_empty() {
        problems.extend(check::errors(&loaded));
    }
    if !problems.is_empty() {
        return Err(Problems(problems));
    }
    loaded.warnings = check::warnings(&loaded);
    Ok(loaded)
}

/// The defaults, for the memory that there is: a broker that dies of its own limit pushes nobody back.
fn fitting() -> Config {
    let mut config = Config::default();
    let half = memory::allowed().and_then(|octets| usize::try_from(octets / 2).ok());
    let most = &mut config.settings.broker.memory_high_water;
    *most = half.map_or(*most, |half| half.min(*most));
    config
}

fn open(file: Option<&Path>) -> Result<Option<Arc<Source>>, Problems> {
    let path = file.unwrap_or(Path::new(FILE));
    let name = path.display().to_string();
    let fail = |why: String| {
        let origin = file.map_or(Origin::Default, |_| Origin::Flag("--config".to_string()));
        let problem = Problem::new(origin, format!("cannot read {name}: {why}"));
        Err(Problems(vec![
            problem.note("`hoofbeat config default` prints a complete file")
        ]))
    };
    match std::fs::read(path) {
        Ok(octets) => match String::from_utf8(octets) {
            Ok(text) => Ok(Some(Arc::new(Source { name, text }))),
            Err(error) => fail(format!("not UTF-8 at octet {}", error.utf8_error().valid_up_to())),
        },
        Err(error) if file.is_none() && error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => fail(error.to_string()),
    }
}

/// Of the values for the same option the one of the latest layer.
fn winners(layers: [Vec<Given>; 3]) -> Vec<Given> {
    let mut winners: Vec<Given> = Vec::new();
    for given in layers.into_iter().flatten() {
        winners.retain(|earlier| !std::ptr::eq(earlier.option, given.option));
        winners.push(given);
    }
    winners
}

/// The one conversion: puts what was given over the defaults.
fn convert(loaded: &mut Loaded) -> Vec<Problem> {
    let Loaded {
        config, given, lists, ..
    } = loaded;
    let mut problems = Vec::new();
    let mut put = |given: &Given, done: Result<(), String>| {
        // Each value has been tried when it was read; it can only fail where options depend on each other.
        if let Err(why) = done {
            let what = format!("{} = {}: {why}", given.option.name(), given.value.show());
            problems.push(Problem::new(given.origin.clone(), what));
        }
    };
    // In the order of the list: a verdict comes before the key it may need.
    for given in in_order(given) {
        put(given, given.option.write(config, &given.value));
    }
    config.users = lists.users.iter().map(|entry| entry.user.clone()).collect();
    let settings = &mut config.settings;
    // What a head may be is one limit, whether CONNECT has been accepted or not.
    let session = &mut settings.session;
    session.before_connect = crate::stomp::Limits {
        frame: session.before_connect.frame,
        ..session.connected
    };
    for (name, table) in &lists.hosts {
        let mut host = settings.broker.clone();
        for given in in_order(&table.given) {
            put(given, given.option.write_host(&mut host, &given.value));
        }
        policies::fill(&mut host, &lists.root, table, &mut put);
        settings.hosts.insert(name.clone(), host);
    }
    policies::fill(&mut settings.broker, &lists.root, &lists.root, &mut put);
    problems
}

fn in_order(given: &[Given]) -> impl Iterator<Item = &Given> {
    let of = |option: &'static Opt| given.iter().find(move |given| std::ptr::eq(given.option, option));
    OPTIONS.iter().filter_map(of)
}
