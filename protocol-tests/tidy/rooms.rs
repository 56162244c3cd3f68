//! Which room may know which, and what a pure one must not know.

use std::collections::BTreeSet;

use crate::none;
use crate::source::{expanded, prefixes, sources, starts_with, words};

/// A room of `src` and what of the other rooms it may name; `tests` are those of its tests alone.
pub struct Room {
    pub name: &'static str,
    may_name: &'static [&'static str],
    tests: &'static [&'static str],
}

pub const ROOMS: [Room; 10] = [
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
    // It keeps what the journal's trait hands it; that a message is made of STOMP's headers only its tests know.
    Room {
        name: "store",
        may_name: &["broker::journal", "broker::message", "broker::Journal"],
        tests: &["stomp"],
    },
    Room {
        name: "relay",
        may_name: &["stomp"],
        tests: &[],
    },
    Room {
        name: "server",
        may_name: &["stomp", "broker", "session", "store", "relay", "error"],
        tests: &[],
    },
    Room {
        name: "auth",
        may_name: &["session"],
        tests: &["broker", "stomp"],
    },
    // The settings of the rooms, and the rules by which they read patterns and origins: there shall be no second ones.
    Room {
        name: "config",
        may_name: &[
            "broker::Settings",
            "broker::settings",
            "broker::pattern",
            "session::Settings",
            "session::settings",
            "server::Settings",
            "server::Mode",
            "server::origin",
            "relay::WhileAway",
            "stomp::Limits",
            "auth::User",
            "auth::Password",
            "bench::Arguments",
            "store::Settings",
            "store::Durability",
        ],
        tests: &["session::fault", "auth::password"],
    },
    Room {
        name: "bench",
        may_name: &["stomp"],
        tests: &["server"],
    },
    Room {
        name: "error",
        may_name: &["store::Error"],
        tests: &[],
    },
];

/// Rooms that do no I/O and ask nobody for the time.
const PURE: [&str; 4] = ["stomp", "broker", "session", "relay"];

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
