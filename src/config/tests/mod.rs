//! Reading, precedence, conversion, and the text of each error.

mod error_texts;
mod users;
mod warnings;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;

use super::options::{Place, OPTIONS};
use super::*;
use crate::broker::settings::{Kind as Destinations, Separator, TopicPolicy, WhenFull};

/// Loads a file's text (as `hoofbeat.toml`), variables and flags.
fn load_all(text: &str, variables: &[(&str, &str)], flags: &[(&str, &str)]) -> Result<Loaded, Problems> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(FILE);
    std::fs::write(&path, text).unwrap();
    let variables = variables
        .iter()
        .map(|(name, text)| (OsString::from(name), OsString::from(text)));
    let flags: Vec<Flag> = flags
        .iter()
        .map(|(option, text)| Flag {
            flag: format!("--set {option}"),
            option: option.to_string(),
            text: text.to_string(),
        })
        .collect();
    load(Some(&path), variables, &flags)
}

fn load_file(text: &str) -> Loaded {
    load_all(text, &[], &[]).unwrap_or_else(|problems| panic!("{problems}"))
}

/// The errors of a file, with its path cut down to its name.
fn errors(text: &str) -> String {
    shorten(load_all(text, &[], &[]))
}

fn shorten(result: Result<Loaded, Problems>) -> String {
    let problems = result.err().expect("a configuration with errors").to_string();
    let lines = problems.lines().map(|line| match line.find(FILE) {
        Some(at) if line.starts_with("error: /") => format!("error: {}", &line[at..]),
        _ => line.to_string(),
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn warnings(text: &str) -> Vec<String> {
    load_file(text).warnings.iter().map(|w| w.to_string()).collect()
}

/// The leaves of a value's debug form, by their path: `session.connected.frame` to `4194304`.
fn leaves(value: &impl std::fmt::Debug) -> BTreeMap<String, String> {
    let mut leaves = BTreeMap::new();
    let mut path: Vec<String> = Vec::new();
    let mut nameless: BTreeMap<String, usize> = BTreeMap::new();
    for line in format!("{value:#?}").lines() {
        let line = line.trim().trim_end_matches(',');
        let (name, rest) = line.split_once(": ").unwrap_or((line, ""));
        if line.ends_with(['{', '[', '(']) {
            path.push(name.trim_end_matches(['{', '[', '(', ' ']).to_string());
        } else if line.starts_with(['}', ']', ')']) {
            path.pop();
        } else {
            let parent = path.join(".");
            let number = nameless.entry(parent.clone()).or_default();
            let (place, rest) = match rest {
                "" => (number.to_string(), line),
                rest => (name.to_string(), rest),
            };
            *number += 1;
            leaves.insert(format!("{parent}.{place}"), rest.to_string());
        }
    }
    leaves
}

/// For each option a value that is allowed and not the default, as a file has it.
fn other_values() -> Vec<(&'static Opt, String)> {
    OPTIONS.iter().map(|option| (option, other_value(option))).collect()
}

fn other_value(option: &Opt) -> String {
    match option.kind_name() {
        "size" if matches!(option.key, "memory" | "segment") => "\"3MiB\"".to_string(),
        "size" => "\"20KiB\"".to_string(),
        "duration" => "\"7s\"".to_string(),
        "number" => "77".to_string(),
        "factor" => "3.5".to_string(),
        "true/false" if option.key == "durable" => "false".to_string(),
        // The others are false by default.
        "true/false" => "true".to_string(),
        "address" if option.key == "tcp" => "\"[::1]:7001\"".to_string(),
        "address" => "7002".to_string(),
        "list" if option.key == "paths" => "[\"/other\"]".to_string(),
        "list" => "[\"https://app.example\"]".to_string(),
        "size or `auto`" => "\"32KiB\"".to_string(),
        "two durations" => "\"3s,4s\"".to_string(),
        "word" if option.key == "full" => "\"reject\"".to_string(),
        "word" if option.key == "expired" => "\"dead-letter\"".to_string(),
        "word" if option.key == "send" => "\"own\"".to_string(),
        "word" if option.key == "mode" => "\"relay\"".to_string(),
        "word" if option.key == "while_away" => "\"refuse\"".to_string(),
        "word" if option.key == "workers" => "\"anyone\"".to_string(),
        "word" => "\"latest-only\"".to_string(),
        "queue or word" => "\"/queue/dead\"".to_string(),
        "topic" => "\"/topic/other\"".to_string(),
        "header name" => "\"symbol\"".to_string(),
        "folder" => "\"elsewhere\"".to_string(),
        "word or duration" => "\"250ms\"".to_string(),
        "filter" => "\"debug\"".to_string(),
        "addresses" => "[\"rabbit:61613\"]".to_string(),
        "text" | "secret" => "\"other\"".to_string(),
        "texts" => "[\"x:y\"]".to_string(),
        other => panic!("a kind without a value in this test: {other}"),
    }
}

#[test]
fn nothing_given_is_the_default() {
    let loaded = load_file("");
    assert_eq!(leaves(&loaded.config), leaves(&Config::default()));
    assert!(loaded.warnings.is_empty());
    assert_eq!(loaded.origin("limits.frame"), Origin::Default);
}

#[test]
fn the_default_file_configures_the_defaults() {
    let text = defaults();
    let loaded = load_file(&text);
    assert_eq!(leaves(&loaded.config), leaves(&Config::default()));
    // Each option stands in it, and was read from it.
    let (from_file, ..) = loaded.counts();
    assert_eq!(from_file, OPTIONS.iter().count() - 1, "all but topic.key");
}

#[test]
fn the_examples_in_the_default_file_are_valid() {
    let uncommented = |line: &str| match line.strip_prefix('#') {
        Some(toml) if !toml.is_empty() && !toml.starts_with(' ') => toml.to_string(),
        _ => line.to_string(),
    };
    let text: Vec<String> = defaults().lines().map(uncommented).collect();
    let loaded = load_file(&text.join("\n"));
    let broker = &loaded.config.settings.broker;
    assert_eq!(broker.policies.len(), 2);
    assert_eq!(broker.prefixes.len(), 1);
    assert_eq!(loaded.config.settings.hosts["orders.example"].policies.len(), 1);
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
}

#[test]
fn each_option_goes_to_a_field_of_its_own() {
    let before = leaves(&Config::default());
    let mut taken = BTreeSet::new();
    for (option, value) in other_values() {
        // A key needs its verdict.
        let verdict = if option.name() == "topic.key" {
            "slow_consumer = \"latest-only\"\n"
        } else {
            ""
        };
        let with_key = if option.key == "slow_consumer" {
            "key = \"k\"\n"
        } else {
            ""
        };
        let text = format!("[{}]\n{verdict}{} = {value}\n{with_key}", option.section, option.key);
        let loaded = load_file(&text);
        let after = leaves(&loaded.config);
        let changed: Vec<&String> = after
            .keys()
            .filter(|place| before.get(*place) != after.get(*place))
            .collect();
        assert!(!changed.is_empty(), "{} changes nothing", option.name());
        if option.section != "topic" {
            for place in changed {
                assert!(
                    taken.insert(place.clone()),
                    "{} and another option set {place}",
                    option.name()
                );
            }
        }
        let Some(line) = option.show(&mut loaded.config.clone()) else {
            panic!("{} has no value", option.name());
        };
        assert_eq!(value_of(option, &line), value_of(option, &value), "{}", option.name());
    }
}

/// What a default configuration shows after `text` was set.
fn value_of(option: &Opt, text: &str) -> Option<String> {
    let mut config = Config::default();
    config.settings.broker.topic = TopicPolicy::LatestOnly { key: String::new() };
    option.write(&mut config, &file::value(text)).unwrap();
    option.show(&mut config)
}

#[test]
fn every_field_of_the_settings_has_an_option() {
    let mut text = String::new();
    for (section, _) in options::SECTIONS {
        text.push_str(&format!("[{section}]\n"));
        for (option, value) in other_values().iter().filter(|(option, _)| option.section == *section) {
            text.push_str(&format!("{} = {value}\n", option.key));
        }
    }
    text.push_str("[[policy]]\npattern = \"/queue/x\"\n[[prefix]]\nprefix = \"/chat\"\nkind = \"topic\"\n[hosts.a]\n");
    text.push_str(&users::entry(&format!(
        "name = \"joe\"\npassword = \"{}\"",
        users::HASH
    )));
    let after = leaves(&load_file(&text).config);
    // Of a store that is the store's own: its secret, and when it looks again at a disk that is unwell.
    // An authenticator is made of the users when the server starts.
    let own = |place: &String| {
        let ends = ["store.salt", "store.retry", "session.authentication"];
        ends.iter().any(|end| place.ends_with(end))
    };
    for (place, value) in leaves(&Config::default()).into_iter().filter(|(place, _)| !own(place)) {
        assert_ne!(after.get(&place), Some(&value), "{place} has no option");
    }
}

#[test]
fn the_limits_of_a_head_hold_before_connect_too() {
    let loaded = load_file("[limits]\nheader_lines = 12\nheader_line = \"1KiB\"\nhead = \"2KiB\"\n");
    let session = &loaded.config.settings.session;
    assert_eq!(session.before_connect.header_lines, 12);
    assert_eq!(session.before_connect.header_line, 1 << 10);
    assert_eq!(session.before_connect.head, 2 << 10);
    assert_eq!(
        session.before_connect.frame,
        Config::default().settings.session.before_connect.frame
    );
}

#[test]
fn each_option_has_a_variable_and_a_flag() {
    for (option, value) in other_values() {
        let written = value.trim_matches(['[', ']']).trim_matches('"');
        // `topic.key` has a value only with its verdict, and the verdict needs it.
        let verdict = "[topic]\nslow_consumer = \"latest-only\"\nkey = \"k\"\n";
        let text = if option.section == "topic" { verdict } else { "" };
        let wanted = value_of(option, &value);

        let variable = option.variable();
        let loaded = load_all(text, &[(&variable, written)], &[]).unwrap();
        assert_eq!(option.show(&mut loaded.config.clone()), wanted, "{variable}");
        assert_eq!(loaded.origin(&option.name()), Origin::Variable(variable));

        let loaded = load_all(text, &[], &[(&option.name(), written)]).unwrap();
        assert_eq!(option.show(&mut loaded.config.clone()), wanted, "{}", option.name());
        assert_eq!(
            loaded.origin(&option.name()),
            Origin::Flag(format!("--set {}", option.name()))
        );
    }
}

#[test]
fn flag_wins_over_environment_over_file_over_default() {
    let frame = |variables: &[(&str, &str)], flags: &[(&str, &str)]| {
        let loaded = load_all("[limits]\nframe = \"1MiB\"\n", variables, flags).unwrap();
        loaded.config.settings.session.connected.frame
    };
    let variable = ("HOOFBEAT__LIMITS__FRAME", "2MiB");
    assert_eq!(frame(&[], &[]), 1 << 20);
    assert_eq!(frame(&[variable], &[]), 2 << 20);
    assert_eq!(frame(&[variable], &[("limits.frame", "3MiB")]), 3 << 20);
    assert_eq!(
        frame(&[], &[("limits.frame", "3MiB"), ("limits.frame", "5MiB")]),
        5 << 20
    );
}

#[test]
fn a_value_that_is_overridden_must_be_right_all_the_same() {
    let result = load_all("[limits]\nframe = \"1MB\"\n", &[], &[("limits.frame", "3MiB")]);
    assert!(shorten(result).contains("`MB` is not a unit"));
}

#[test]
fn the_short_variable_of_the_log_wins_over_the_long_one() {
    let variables = [("HOOFBEAT_LOG", "debug"), ("HOOFBEAT__LOG__FILTER", "warn")];
    let loaded = load_all("", &variables, &[]).unwrap();
    assert_eq!(loaded.config.log, "debug");
    assert_eq!(
        loaded.origin("log.filter"),
        Origin::Variable("HOOFBEAT_LOG".to_string())
    );
}

#[test]
fn variables_of_others_are_left_alone() {
    // As Kubernetes sets them for a service named hoofbeat.
    let variables = [
        ("HOOFBEAT_PORT", "tcp://10.0.0.1:61613"),
        ("HOOFBEAT_SERVICE_HOST", "10.0.0.1"),
        ("PATH", "/bin"),
    ];
    assert!(load_all("", &variables, &[]).is_ok());
}

#[test]
fn addresses_have_short_forms() {
    let tcp = |text: &str| {
        load_file(&format!("[server]\ntcp = {text}\n"))
            .config
            .settings
            .tcp
            .map(|a| a.to_string())
    };
    assert_eq!(tcp("7000").as_deref(), Some("127.0.0.1:7000"));
    assert_eq!(tcp("\"7000\"").as_deref(), Some("127.0.0.1:7000"));
    assert_eq!(tcp("\"localhost:7000\"").as_deref(), Some("127.0.0.1:7000"));
    assert_eq!(tcp("\"127.0.0.2:0\"").as_deref(), Some("127.0.0.2:0"));
    assert_eq!(tcp("\"off\""), None);
}

#[test]
fn each_error_code_in_a_meaning_is_one() {
    let codes: Vec<&str> = crate::session::fault::TABLE.iter().map(|kind| kind.code).collect();
    for option in OPTIONS.iter() {
        for part in option.meaning.split("ERROR ").skip(1) {
            let word = part.split([' ', '.', ',', ';']).next().unwrap_or_default();
            assert!(codes.contains(&word), "{}: ERROR {word}", option.name());
        }
    }
}

#[test]
fn each_option_that_is_named_in_the_source_exists() {
    // In full and alone, as in "server.tcp", or in parentheses, as in ERROR texts: (limits.frame).
    let mut found = BTreeSet::new();
    let mut folders = vec![std::path::PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("src/config") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.extend(option_names(&std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    for wanted in ["server.tcp", "limits.frame", "limits.destinations"] {
        assert!(found.contains(wanted), "{wanted} is not among {found:?}");
    }
    // Hosts of origins are called so.
    for name in found.into_iter().filter(|name| !name.ends_with(".example")) {
        let known = OPTIONS.iter().any(|option| option.name() == name);
        assert!(known, "there is no option {name}");
    }
}

/// What stands between quotes or parentheses and has the form of an option's name.
fn option_names(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    for part in text.split(['"', '(', ')', ' ', '`']) {
        let Some((section, key)) = part.split_once('.') else {
            continue;
        };
        let known = options::SECTIONS.iter().any(|(known, _)| *known == section);
        let closed = text.contains(&format!("\"{part}\"")) || text.contains(&format!("({part})"));
        if known && closed && !key.is_empty() && key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_') {
            names.push(part.to_string());
        }
    }
    names
}

#[test]
fn policies_take_what_they_leave_out_from_the_section() {
    let loaded = load_file(
        "[queue]\nmessages = 50\nidle = 0\n[topic]\nslow_consumer = \"drop-oldest\"\n\
         [[policy]]\npattern = \"/queue/a.#\"\nfull = \"drop-head\"\n\
         [[policy]]\npattern = \"/topic/t.#\"\nslow_consumer = \"latest-only\"\nkey = \"symbol\"\n",
    );
    let policies = &loaded.config.settings.broker.policies;
    assert_eq!(policies[0].pattern, "/queue/a.#");
    assert_eq!(policies[0].queue.messages, 50);
    assert_eq!(policies[0].queue.idle_ms, 0);
    assert_eq!(policies[0].queue.full, WhenFull::DropHead);
    assert_eq!(policies[0].topic, TopicPolicy::DropOldest);
    let key = "symbol".to_string();
    assert_eq!(policies[1].topic, TopicPolicy::LatestOnly { key });
}

#[test]
fn prefixes_say_what_and_how_they_part() {
    let loaded = load_file(
        "[[prefix]]\nprefix = \"/chat\"\nkind = \"topic\"\nseparator = \"dot\"\n\
         [[prefix]]\nprefix = \"/work\"\nkind = \"queue\"\n\
         [[prefix]]\nprefix = \"/topic\"\nkind = \"topic\"\nseparator = \"slash\"\n",
    );
    let prefixes = &loaded.config.settings.broker.prefixes;
    assert_eq!(
        (prefixes[0].kind, prefixes[0].separator),
        (Destinations::Topic, Separator::Dot)
    );
    assert_eq!(
        (prefixes[1].kind, prefixes[1].separator),
        (Destinations::Queue, Separator::Both)
    );
    assert_eq!(
        (prefixes[2].kind, prefixes[2].separator),
        (Destinations::Topic, Separator::Slash)
    );
}

#[test]
fn hosts_are_as_the_default_one_but_for_what_they_say() {
    let loaded = load_file(
        "[queue]\nmessages = 50\n[limits]\ndestinations = 9\n\
         [[policy]]\npattern = \"/queue/a\"\nsize = \"2KiB\"\n\
         [hosts.one.queue]\nmessages = 60\n\
         [hosts.two]\n[[hosts.two.policy]]\npattern = \"/queue/b\"\n",
    );
    let settings = &loaded.config.settings;
    let (one, two) = (&settings.hosts["one"], &settings.hosts["two"]);
    assert_eq!((one.queue.messages, one.destinations), (60, 9));
    assert_eq!(one.policies[0].pattern, "/queue/a");
    assert_eq!(
        (one.policies[0].queue.messages, one.policies[0].queue.bytes),
        (60, 2 << 10)
    );
    assert_eq!((two.queue.messages, two.policies.len()), (50, 1));
    assert_eq!(two.policies[0].pattern, "/queue/b");
    assert_eq!(settings.broker.policies[0].queue.messages, 50);
}

#[test]
fn show_says_where_each_value_came_from_and_is_a_file_itself() {
    let loaded = load_all(
        "[limits]\nframe = \"1MiB\"\n[[policy]]\npattern = \"/queue/a\"\nmessages = 5\n\
         [[prefix]]\nprefix = \"/chat\"\nkind = \"topic\"\n[hosts.\"a.example\".queue]\nmessages = 3\n",
        &[("HOOFBEAT__QUEUE__SIZE", "2MiB")],
        &[("server.tcp", "7000")],
    )
    .unwrap();
    let shown = loaded.show();
    let has = |line: &str, origin: &str| {
        let found = shown
            .lines()
            .any(|l| l.starts_with(line) && l.trim_end().ends_with(origin));
        assert!(found, "no line `{line} # {origin}` in\n{shown}");
    };
    has("frame = \"1MiB\"", "hoofbeat.toml:2");
    has("size = \"2MiB\"", "# environment variable HOOFBEAT__QUEUE__SIZE");
    has("tcp = \"127.0.0.1:7000\"", "# flag --set server.tcp");
    has("header_lines = 64", "# default");
    has("pattern = \"/queue/a\"", "hoofbeat.toml:4");
    has("messages = 3", "hoofbeat.toml:10");

    let again = load_file(&shown);
    assert_eq!(leaves(&again.config), leaves(&loaded.config));
}

proptest::proptest! {
    #[test]
    fn any_text_is_read_or_told_what_is_wrong_with_it(parts in proptest::collection::vec(part(), 0..12)) {
        let text = parts.concat();
        let source = Arc::new(Source { name: FILE.to_string(), text });
        let (_, problems) = file::read(&source);
        for problem in problems {
            proptest::prop_assert!(problem.to_string().starts_with("hoofbeat.toml:"), "{problem}");
        }
    }
}

/// A piece of what may be in a file, and of what may not.
fn part() -> impl proptest::strategy::Strategy<Value = String> {
    use proptest::prelude::*;
    prop_oneof![
        proptest::sample::select(vec![
            "[limits]\n",
            "[server]\n",
            "[hosts.a.queue]\n",
            "[[policy]]\n",
            "[[hosts.\"é\".prefix]]\n",
            "frame = ",
            "tcp = ",
            "paths = ",
            "messages = ",
            "pattern = ",
            "kind = ",
            "\"/queue/é.#\"\n",
            "\"4MiB\"\n",
            "[1, \"é\"]\n",
            "{ a = 1 }\n",
            "7\n",
            "-1\n",
            "2.5\n",
            "true\n",
            "1979-05-27\n",
            "\"\"\"\né\n\"\"\"\n",
            "\r\n",
            "\t",
            "=",
            "é",
        ])
        .prop_map(String::from),
        any::<String>(),
    ]
}

/// docs/configuration.md.
fn documented() -> String {
    document("configuration")
}

fn document(name: &str) -> String {
    std::fs::read_to_string(format!("{}/docs/{name}.md", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

#[test]
fn the_files_in_the_documentation_are_valid() {
    let text = documented() + &document("moving-from-rabbitmq") + &document("moving-from-spring");
    let blocks = text.split("```toml\n").skip(1);
    let files: Vec<&str> = blocks.filter_map(|rest| rest.split("```").next()).collect();
    assert!(files.len() >= 6);
    for file in files {
        load_file(file);
    }
}

#[test]
fn the_errors_in_the_documentation_are_what_is_printed() {
    let variables = [("HOOFBEAT__QUEUE__SIZE", "1GB")];
    let text = shorten(load_all("[limits]\nfrmae = \"8MiB\"\n", &variables, &[]));
    assert!(documented().contains(&text), "{text}");
}

#[test]
fn every_option_stands_in_the_documentation() {
    let text = documented();
    for option in OPTIONS.iter() {
        assert!(
            text.contains(&format!("| `{}`", option.name())),
            "{} is missing",
            option.name()
        );
    }
    assert!(
        text.contains(documentation().trim()),
        "the tables of docs/configuration.md are not what `hoofbeat config doc` prints"
    );
}

#[test]
fn a_key_of_a_host_says_so_in_the_documentation() {
    let tables = documentation();
    for option in OPTIONS.iter() {
        let of_host = matches!(option.place, Place::Host(_));
        assert_eq!(tables.contains(&format!("| `{}` ⌂ |", option.name())), of_host);
    }
}
