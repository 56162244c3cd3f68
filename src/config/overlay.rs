//! Environment variables and flags: one value each, over what the file says.

use std::ffi::OsString;

use super::kind::Value;
use super::options::{Opt, OPTIONS};
use super::problem::{meant, Origin, Problem};
use super::{Flag, Given};

/// What all variables of ours begin with. (With one underscore they may be somebody else's: Kubernetes sets
/// `HOOFBEAT_PORT` for a service of that name.)
const PREFIX: &str = "HOOFBEAT__";

/// The short name of `HOOFBEAT__LOG__FILTER`, over which it wins.
const LOG: &str = "HOOFBEAT_LOG";

/// The values of the environment, and what is wrong with them.
pub(super) fn environment(variables: impl IntoIterator<Item = (OsString, OsString)>) -> (Vec<Given>, Vec<Problem>) {
    // By name, so that errors come in an order; it puts the short name of the log's filter last.
    let mut variables: Vec<(String, OsString)> = variables
        .into_iter()
        .filter_map(|(name, text)| Some((name.into_string().ok()?, text)))
        .filter(|(name, _)| name.starts_with(PREFIX) || name == LOG)
        .collect();
    variables.sort_by_key(|(name, _)| (name == LOG, name.clone()));
    split(variables.into_iter().map(|(name, text)| variable(name, text)))
}

/// The values of the command line, and what is wrong with them.
pub(super) fn flags(flags: &[Flag]) -> (Vec<Given>, Vec<Problem>) {
    split(flags.iter().map(flag))
}

fn split(results: impl Iterator<Item = Result<Given, Problem>>) -> (Vec<Given>, Vec<Problem>) {
    let (mut values, mut problems) = (Vec::new(), Vec::new());
    for result in results {
        match result {
            Ok(given) => values.push(given),
            Err(problem) => problems.push(problem),
        }
    }
    (values, problems)
}

fn variable(name: String, text: OsString) -> Result<Given, Problem> {
    let origin = Origin::Variable(name.clone());
    let known = |option: &&Opt| option.variable() == name || (name == LOG && option.name() == "log.filter");
    let Some(option) = OPTIONS.iter().find(known) else {
        return Err(unknown_variable(origin, &name));
    };
    let Ok(text) = text.into_string() else {
        return Err(Problem::new(origin, "not UTF-8").note(format!("allowed: {}", option.allowed())));
    };
    Given {
        option,
        value: Value::Written(text),
        origin,
    }
    .checked()
}

fn unknown_variable(origin: Origin, name: &str) -> Problem {
    let problem = Problem::new(origin, "no option has that variable");
    for list in ["POLICY", "PREFIX", "HOSTS"] {
        if name.strip_prefix(PREFIX).is_some_and(|rest| rest.starts_with(list)) {
            return problem.note("policies, prefixes and virtual hosts are set in the file only");
        }
    }
    let names: Vec<String> = OPTIONS.iter().map(Opt::variable).collect();
    match meant(name, names.iter().map(String::as_str)) {
        Some(meant) => problem.note(format!("did you mean {meant}?")),
        None => problem.note("`hoofbeat config default` lists all options; the name is HOOFBEAT__SECTION__KEY"),
    }
}

fn flag(flag: &Flag) -> Result<Given, Problem> {
    let origin = Origin::Flag(flag.flag.clone());
    let Some(option) = OPTIONS.iter().find(|option| option.name() == flag.option) else {
        return Err(unknown_option(origin, &flag.option));
    };
    Given {
        option,
        value: Value::Written(flag.text.clone()),
        origin,
    }
    .checked()
}

fn unknown_option(origin: Origin, name: &str) -> Problem {
    let problem = Problem::new(origin, format!("no option is named `{name}`"));
    let list = name.split(['.', '[']).next().unwrap_or_default();
    if ["policy", "prefix", "hosts"].contains(&list) {
        return problem.note("policies, prefixes and virtual hosts are set in the file only");
    }
    let names: Vec<String> = OPTIONS.iter().map(Opt::name).collect();
    let by_key = OPTIONS.iter().find(|option| option.key == name).map(Opt::name);
    let meant = meant(name, names.iter().map(String::as_str)).map(String::from);
    match by_key.or(meant) {
        Some(meant) => problem.note(format!("did you mean `{meant}`?")),
        None => problem.note("`hoofbeat config default` lists all options"),
    }
}
