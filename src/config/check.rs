//! What is wrong, or looks so, although each value alone is allowed.

use std::net::SocketAddr;

use super::file::{PolicyEntry, Table};
use super::kind::quoted;
use super::options::POLICY_SECTIONS;
use super::problem::{Origin, Problem};
use super::{relay, Given, Loaded};
use crate::broker;
use crate::broker::pattern::{is_wildcard, pieces, Pattern};
use crate::broker::settings::{Kind, Separator, TopicPolicy};
use crate::session::settings::UserSend;

/// Paths that the server answers itself.
const RESERVED_PATHS: [&str; 3] = ["/health", "/ready", "/stats"];

/// Forms of destination that no prefix can take over, and those that it can, but only as what they are.
const PRIVATE_FORMS: [&str; 3] = ["/temp-queue", "/temp-topic", "/user"];
const BUILT_IN: [(&str, Kind); 2] = [("/topic", Kind::Topic), ("/queue", Kind::Queue)];

/// Forms whose destinations have another name within the broker, which is what patterns see.
const ALIASES: [(&str, &str); 5] = [
    ("/app", "/worker"),
    ("/amq/queue", "/queue"),
    ("/exchange/amq.topic", "/topic"),
    ("/temp-queue", "/reply-queue/*"),
    ("/temp-topic", "/reply-topic/*"),
];

/// What the names within the broker begin with, besides the operator's prefixes.
const ROOTS: [&str; 7] = [
    "/topic",
    "/queue",
    "/worker",
    "/reply-queue",
    "/reply-topic",
    "/exchange",
    "/user",
];

/// What cannot stay as it is.
pub(super) fn errors(loaded: &Loaded) -> Vec<Problem> {
    let mut problems = Vec::new();
    listeners(loaded, &mut problems);
    for (table, host) in hosts(loaded) {
        verdicts(loaded, table, host, &mut problems);
        for entry in table.policies.iter().flatten() {
            pattern(entry, host, &mut problems);
            policy(entry, host, &mut problems);
        }
        prefixes(table, &mut problems);
    }
    problems
}

/// What works, but perhaps not as meant.
pub(super) fn warnings(loaded: &Loaded) -> Vec<Problem> {
    let mut problems = Vec::new();
    exposure(loaded, &mut problems);
    limits(loaded, &mut problems);
    strangers_to_spring(loaded, &mut problems);
    relay::warnings(loaded, &mut problems);
    for (table, host) in hosts(loaded) {
        let given = match std::ptr::eq(table, &loaded.lists.root) {
            true => &loaded.given,
            false => &table.given,
        };
        idle_key(given, &host.topic, &mut problems);
        for (index, entry) in table.policies.iter().flatten().enumerate() {
            if let Some(policy) = host.policies.get(index) {
                idle_key(&entry.given, &policy.topic, &mut problems);
            }
            let earlier = table.policies.iter().flatten().take(index);
            if earlier.into_iter().any(|earlier| earlier.pattern == entry.pattern) {
                let what = format!("a second policy for {}", quoted(&entry.pattern));
                let problem = Problem::new(Origin::File(entry.spot.clone()), what);
                problems.push(problem.note("the first that matches governs; this one never does"));
            }
        }
    }
    problems
}

/// What the file says of each virtual host, with its settings; the default one first.
fn hosts(loaded: &Loaded) -> impl Iterator<Item = (&Table, &broker::Settings)> {
    let settings = &loaded.config.settings;
    let named = loaded.lists.hosts.iter();
    let named = named.filter_map(|(name, table)| Some((table, settings.hosts.get(name)?)));
    std::iter::once((&loaded.lists.root, &settings.broker)).chain(named)
}

fn listeners(loaded: &Loaded, problems: &mut Vec<Problem>) {
    let settings = &loaded.config.settings;
    let listeners = [("server.websocket", settings.websocket), ("server.tcp", settings.tcp)];
    for (name, address) in listeners {
        let Some(address) = address.filter(|address| !address.ip().is_loopback()) else {
            continue;
        };
        if !settings.insecure_open && loaded.config.users.is_empty() {
            let what = format!(
                "{name} = \"{address}\" can be reached from other machines, and nothing authenticates clients: \
                 whoever connects may publish, subscribe and empty queues"
            );
            problems.push(Problem::new(loaded.origin(name), what).note(
                "listen on 127.0.0.1, name users ([[users]], hoofbeat passwd), or say that it is meant: \
                     --insecure-open or server.insecure_open = true",
            ));
        }
    }
    match (settings.websocket, settings.tcp) {
        (None, None) => problems.push(
            Problem::new(
                loaded.origin("server.tcp"),
                "server.websocket and server.tcp are both off: nobody could connect",
            )
            .note("give one of them an address"),
        ),
        (Some(websocket), Some(tcp)) if clash(websocket, tcp) => problems.push(
            Problem::new(
                loaded.origin("server.tcp"),
                format!("server.tcp = \"{tcp}\" is the address of server.websocket too"),
            )
            .note("give them two ports"),
        ),
        _ => {}
    }
    for path in settings
        .paths
        .iter()
        .filter(|path| RESERVED_PATHS.contains(&path.as_str()))
    {
        let what = format!("server.paths has {}, which the server answers itself", quoted(path));
        problems.push(Problem::new(loaded.origin("server.paths"), what).note("choose another path"));
    }
}

fn clash(one: SocketAddr, other: SocketAddr) -> bool {
    let same_ip = one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() == other.port() && one.port() != 0 && same_ip && one.is_ipv4() == other.is_ipv4()
}

/// `latest-only` needs to know by what.
fn verdicts(loaded: &Loaded, table: &Table, host: &broker::Settings, problems: &mut Vec<Problem>) {
    let root = std::ptr::eq(table, &loaded.lists.root);
    let own = table
        .given
        .iter()
        .find(|given| given.option.name() == "topic.slow_consumer");
    let origin = match own {
        Some(given) if !root => Some(given.origin.clone()),
        // A host that says nothing of its own has been reported with the default one.
        None if !root => None,
        _ => Some(loaded.origin("topic.slow_consumer")),
    };
    let section = origin.map(|origin| (origin, &host.topic));
    let policies = table.policies.iter().flatten().zip(&host.policies);
    let policies = policies.filter_map(|(entry, policy)| {
        let own = entry
            .given
            .iter()
            .find(|given| given.option.name() == "topic.slow_consumer")?;
        Some((own.origin.clone(), &policy.topic))
    });
    for (origin, topic) in section.into_iter().chain(policies) {
        if matches!(topic, TopicPolicy::LatestOnly { key } if key.is_empty()) {
            let problem = Problem::new(origin, "slow_consumer = \"latest-only\" needs `key`");
            problems.push(problem.note("name the header whose value tells messages apart: key = \"symbol\""));
        }
    }
}

/// A pattern that nothing can match would leave its destinations without their policy, unnoticed.
fn pattern(entry: &PolicyEntry, host: &broker::Settings, problems: &mut Vec<Problem>) {
    let pattern = entry.pattern.as_str();
    let mut problem = |what: String, note: &str| {
        problems.push(Problem::new(Origin::File(entry.spot.clone()), what).note(note));
    };
    if Pattern::parse(pattern, Separator::Both).is_none() {
        return problem(
            format!("{} has more than three `#`", quoted(pattern)),
            "a pattern may have three",
        );
    }
    let is_under = |form: &str| pattern.strip_prefix(form).is_some_and(|rest| rest.starts_with('/'));
    let is_own = |form: &str| host.prefixes.iter().any(|own| own.prefix == form);
    if let Some((alias, name)) = ALIASES.iter().find(|(alias, _)| is_under(alias) && !is_own(alias)) {
        let rest = pattern.strip_prefix(alias).unwrap_or_default();
        return problem(
            format!("destinations under {alias} are known by another name here"),
            &format!("write {}", quoted(&format!("{name}{rest}"))),
        );
    }
    let Some(root) = pieces(pattern, Separator::Both).next() else {
        return;
    };
    let own = host.prefixes.iter().any(|own| own.prefix.starts_with(root));
    if !own && !is_wildcard(root) && !ROOTS.contains(&root) {
        let what = format!("no destination begins with {}", quoted(root));
        problem(
            what,
            "patterns begin with /topic, /queue, or the `prefix` of a [[prefix]]",
        );
    }
}

/// A policy for a topic has no use for the keys of queues, and the reverse.
fn policy(entry: &PolicyEntry, host: &broker::Settings, problems: &mut Vec<Problem>) {
    let own = host.prefixes.iter().map(|prefix| (prefix.prefix.as_str(), prefix.kind));
    let under = |prefix: &str| {
        entry
            .pattern
            .strip_prefix(prefix)
            .is_some_and(|rest| rest.starts_with('/'))
    };
    let known = own.chain(BUILT_IN).find(|(prefix, _)| under(prefix));
    let Some((_, kind)) = known else { return };
    let [queue, topic] = POLICY_SECTIONS;
    let (section, what) = match kind {
        Kind::Queue => (queue, "a queue"),
        Kind::Topic => (topic, "a topic"),
    };
    for given in entry.given.iter().filter(|given| given.option.section != section) {
        let why = format!(
            "`{}` means nothing for {}, which is {what}",
            given.option.key, entry.pattern
        );
        let keys: Vec<&str> = super::options::keys(section).collect();
        let problem = Problem::new(given.origin.clone(), why);
        problems.push(problem.note(format!("keys for {what}: {}", keys.join(", "))));
    }
}

fn prefixes(table: &Table, problems: &mut Vec<Problem>) {
    for (index, entry) in table.prefixes.iter().flatten().enumerate() {
        let prefix = entry.prefix.prefix.as_str();
        let mut problem = |what: String, note: &str| {
            problems.push(Problem::new(Origin::File(entry.spot.clone()), what).note(note));
        };
        if PRIVATE_FORMS.contains(&prefix) {
            problem(format!("{prefix} has a meaning of its own"), "choose another prefix");
        }
        if BUILT_IN
            .iter()
            .any(|(built_in, kind)| *built_in == prefix && *kind != entry.prefix.kind)
        {
            problem(
                format!("{prefix} cannot be of the other kind"),
                "an entry for it may only choose the separator",
            );
        }
        let earlier = table.prefixes.iter().flatten().take(index);
        if earlier.into_iter().any(|earlier| earlier.prefix.prefix == prefix) {
            problem(format!("a second entry for {prefix}"), "one per prefix");
        }
    }
}

fn exposure(loaded: &Loaded, problems: &mut Vec<Problem>) {
    let settings = &loaded.config.settings;
    let listeners = [("server.websocket", settings.websocket), ("server.tcp", settings.tcp)];
    for (name, address) in listeners {
        if let Some(address) = address.filter(|address| !address.ip().is_loopback()) {
            let what = match loaded.config.users.is_empty() {
                true => format!("{name} = \"{address}\" is open to everyone who reaches it, without authentication"),
                false => {
                    format!("{name} = \"{address}\" takes passcodes unencrypted from other machines: put TLS before it")
                }
            };
            problems.push(Problem::new(loaded.origin(name), what));
        }
    }
    if settings.allowed_origins.iter().any(|origin| origin == "*") {
        let what = "server.allowed_origins has \"*\": every web page that a user of this network opens may connect";
        problems.push(Problem::new(loaded.origin("server.allowed_origins"), what));
    }
    if settings.paths.is_empty() && settings.websocket.is_some() {
        let what = "server.paths is empty: no WebSocket upgrade is taken";
        problems.push(Problem::new(loaded.origin("server.paths"), what));
    }
    if settings.session.strict_host && settings.hosts.is_empty() {
        let what = "session.strict_host = true without any [hosts.NAME]: each CONNECT that names a host is refused";
        problems.push(Problem::new(loaded.origin("session.strict_host"), what));
    }
}

/// The topics of a Spring application are for those who may send to everybody.
fn strangers_to_spring(loaded: &Loaded, problems: &mut Vec<Problem>) {
    let config = &loaded.config;
    let trusted = config.users.iter().any(|user| user.may_send_to_users);
    if trusted || config.settings.session.user_send == UserSend::Any {
        return;
    }
    let spring = &config.settings.broker.spring;
    let option = match (&spring.user_registry, &spring.user_destination) {
        (Some(_), _) => "spring.user_registry_broadcast",
        (None, Some(_)) => "spring.user_destination_broadcast",
        (None, None) => return,
    };
    let problem = Problem::new(loaded.origin(option), "nobody may use the topics of [spring]");
    problems.push(problem.note(
        "let the application's systemLogin be one of [[users]] with may_send_to_users = true; without users: user.send = \"any\"",
    ));
}

/// A limit that another one makes pointless. Reported only if somebody set one of the two.
fn limits(loaded: &Loaded, problems: &mut Vec<Problem>) {
    let session = &loaded.config.settings.session;
    let broker = &loaded.config.settings.broker;
    let unreachable = "so it is never reached";
    let pairs = [
        (
            "limits.header_line",
            session.connected.header_line,
            "limits.head",
            session.connected.head,
            unreachable,
        ),
        (
            "limits.head",
            session.connected.head,
            "limits.frame",
            session.connected.frame,
            unreachable,
        ),
        (
            "limits.frame_before_connect",
            session.before_connect.frame,
            "limits.frame",
            session.connected.frame,
            "so strangers may send more than clients",
        ),
        (
            "queue.size",
            broker.queue.bytes,
            "limits.memory",
            broker.memory_high_water,
            unreachable,
        ),
    ];
    for (small_name, small, large_name, large, consequence) in pairs {
        let origins = [loaded.origin(small_name), loaded.origin(large_name)];
        let Some(origin) = origins.into_iter().find(|origin| *origin != Origin::Default) else {
            continue;
        };
        if small > large {
            let what = format!("{small_name} is larger than {large_name}, {consequence}");
            problems.push(Problem::new(origin, what));
        }
    }
}

fn idle_key(given: &[Given], topic: &TopicPolicy, problems: &mut Vec<Problem>) {
    let key = given.iter().find(|given| given.option.name() == "topic.key");
    if let (Some(key), false) = (key, matches!(topic, TopicPolicy::LatestOnly { .. })) {
        let what = "`key` has no effect unless slow_consumer is \"latest-only\"";
        problems.push(Problem::new(key.origin.clone(), what));
    }
}
