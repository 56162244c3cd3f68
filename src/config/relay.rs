//! The options of the section `[relay]`, and those of the server that choose it.

use super::kind::{items, list, quoted, text, At, Kind, Own, Unit, Value};
use super::list::{count, duration, server, size, BILLION, DAY, GIB, KIB};
use super::options::Opt;
use super::problem::{Origin, Problem, Spot};
use super::{Config, Loaded};
use crate::relay::WhileAway;
use crate::server::Mode;

type Read = fn(&mut Config) -> &mut String;

/// A line of text that becomes part of a frame.
macro_rules! line {
    ($name:ident, $secret:literal) => {{
        const LINE: Own<Config> = Own {
            name: if $secret { "secret" } else { "text" },
            allowed: "text without line ends; \"\" for none",
            write: |config, value| write_line(config, value, |c| &mut c.settings.relay.$name),
            show: |config| match config.settings.relay.$name.as_str() {
                // `config show` is pasted into bug reports.
                hidden if $secret && !["", "guest"].contains(&hidden) => quoted("(not shown)"),
                shown => quoted(shown),
            },
        };
        Kind::Own(&LINE)
    }};
}

const MODE: Own<Config> = Own {
    name: "word",
    allowed: "\"broker\", \"relay\"",
    write: |config, value| {
        config.settings.mode = match text(value)? {
            "broker" => Mode::Broker,
            "relay" => Mode::Relay,
            _ => return Err("not one of the words".to_string()),
        };
        Ok(())
    },
    show: |config| {
        quoted(match config.settings.mode {
            Mode::Broker => "broker",
            Mode::Relay => "relay",
        })
    },
};

const UPSTREAM: Own<Config> = Own {
    name: "addresses",
    allowed: "a list of host:port: [\"rabbit-1:61613\", \"rabbit-2:61613\"]; names are resolved at each connection",
    write: |config, value| {
        let given = items(value)?;
        if given.is_empty() {
            return Err("empty".to_string());
        }
        for address in &given {
            let port = address
                .rsplit_once(':')
                .filter(|(host, _)| !host.is_empty())
                .map(|(_, port)| port);
            if port
                .and_then(|port| port.parse::<u16>().ok())
                .is_none_or(|port| port == 0)
            {
                return Err(format!("{} is not host:port", quoted(address)));
            }
        }
        config.settings.relay.upstream = given;
        Ok(())
    },
    show: |config| list(&config.settings.relay.upstream),
};

const WHILE_AWAY: Own<Config> = Own {
    name: "word",
    allowed: "\"buffer\", \"refuse\"",
    write: |config, value| {
        config.settings.relay.while_away = match text(value)? {
            "buffer" => WhileAway::Buffer,
            "refuse" => WhileAway::Refuse,
            _ => return Err("not one of the words".to_string()),
        };
        Ok(())
    },
    show: |config| {
        quoted(match config.settings.relay.while_away {
            WhileAway::Buffer => "buffer",
            WhileAway::Refuse => "refuse",
        })
    },
};

const PREFIXES: Own<Config> = Own {
    name: "texts",
    allowed: "a list of beginnings: [\"/topic/\", \"/queue/\"]; [] for any",
    write: |config, value| {
        let given = items(value)?;
        if given.iter().any(String::is_empty) {
            return Err("has an empty one".to_string());
        }
        config.settings.relay.prefixes = given;
        Ok(())
    },
    show: |config| list(&config.settings.relay.prefixes),
};

const SHARED_TOPICS: Own<Config> = Own {
    name: "texts",
    allowed: "a list of beginnings: [\"/topic/\"]; [] for none; none of queues or users",
    write: |config, value| {
        let given = items(value)?;
        let shared = config.settings.relay.share(given);
        shared.map_err(|wrong| format!("{} is not for topics", quoted(&wrong)))
    },
    show: |config| list(&config.settings.relay.shared_topics),
};

const USER_HEADERS: Own<Config> = Own {
    name: "texts",
    allowed: "a list of headers: [\"auto-delete:true\", \"durable:false\"]; [] for none",
    write: |config, value| {
        let given = items(value)?;
        for header in &given {
            let name = header.split_once(':').map(|(name, _)| name);
            if name.is_none_or(str::is_empty) || header.contains(['\r', '\n', '\0']) {
                return Err(format!("{} is not name:value", quoted(header)));
            }
        }
        config.settings.relay.user_headers = given;
        Ok(())
    },
    show: |config| list(&config.settings.relay.user_headers),
};

fn write_line(config: &mut Config, value: &Value, at: Read) -> Result<(), String> {
    let given = text(value)?;
    if given.contains(['\r', '\n', '\0']) {
        return Err("has a character that no header has".to_string());
    }
    *at(config) = given.to_string();
    Ok(())
}

/// The options of the relay.
pub(super) static OPTIONS: &[Opt] = &[
    server(
        "server",
        "mode",
        Kind::Own(&MODE),
        "With whom clients speak. broker: with the broker in this process. relay: with another behind it, RabbitMQ or \
         ActiveMQ for example, over a connection of its own for each client; see docs/relay.md.",
    ),
    server(
        "relay",
        "upstream",
        Kind::Own(&UPSTREAM),
        "Where the broker behind takes STOMP over TCP. Several addresses are of one broker or cluster: the one that served \
         last is tried first, then the others in their order.",
    ),
    server(
        "relay",
        "system_login",
        line!(system_login, false),
        "Login of the system connection, which is there from the start and tells whether the broker is available.",
    ),
    server(
        "relay",
        "system_passcode",
        line!(system_passcode, true),
        "Passcode of the system connection.",
    ),
    server(
        "relay",
        "client_login",
        line!(client_login, false),
        "Login of each client's connection to the broker, in place of the client's own. {login} stands for that, so that \
         \"{login}\" passes it through and \"web-{login}\" maps it.",
    ),
    server(
        "relay",
        "client_passcode",
        line!(client_passcode, true),
        "Passcode of each client's connection to the broker; \"{passcode}\" passes the client's own through.",
    ),
    server(
        "relay",
        "host",
        line!(host, false),
        "The host header of every CONNECT to the broker: RabbitMQ's virtual host. If empty, none is sent, whatever clients say.",
    ),
    server(
        "relay",
        "heart_beat",
        Kind::HeartBeat(|c| {
            let heart_beat = &mut c.settings.relay.heart_beat;
            (&mut heart_beat.send, &mut heart_beat.receive)
        }),
        "The heart-beat header of every CONNECT to the broker. What a client agrees on with us is session.heart_beat: heart-beats \
         end on each side.",
    ),
    server(
        "relay",
        "heart_beat_tolerance",
        Kind::Number(
            Unit::Factor,
            1_000..=100_000,
            At::U32(|c: &mut Config| &mut c.settings.relay.heart_beat_tolerance_permille),
        ),
        "How many times the agreed interval the broker may be silent before its connection counts as lost.",
    ),
    server(
        "relay",
        "connect_timeout",
        duration(1..=DAY, |c| &mut c.settings.relay.connect_ms),
        "Time for a TCP connection to one address of the broker; then the next is tried.",
    ),
    server(
        "relay",
        "connected_timeout",
        duration(1..=DAY, |c| &mut c.settings.relay.connected_ms),
        "Time that the broker has to answer CONNECT; then the connection counts as lost.",
    ),
    server(
        "relay",
        "retry_first",
        duration(1..=DAY, |c| &mut c.settings.relay.retry_first_ms),
        "Pause before the broker is tried again; each further pause is twice as long, and each is shortened at random by up \
         to half.",
    ),
    server(
        "relay",
        "retry_longest",
        duration(1..=DAY, |c| &mut c.settings.relay.retry_longest_ms),
        "The longest such pause.",
    ),
    server(
        "relay",
        "keep_sessions",
        duration(0..=DAY, |c| &mut c.settings.relay.keep_ms),
        "How long clients are kept while the broker is away, at CONNECT or later; their subscriptions are made again when it is \
         back. 0s: they are told at once with an ERROR, as by Spring's relay.",
    ),
    server(
        "relay",
        "while_away",
        Kind::Own(&WHILE_AWAY),
        "What a SEND of a kept client meets while the broker is away. buffer: it waits, within pending_frames and \
         pending_size. refuse: the client is told with an ERROR.",
    ),
    server(
        "relay",
        "pending_frames",
        count(1..=BILLION, |c| &mut c.settings.relay.pending_frames),
        "Frames of a client that may wait for the broker, before its CONNECTED too; with more, nothing is read from the client.",
    ),
    server(
        "relay",
        "pending_size",
        size(KIB..=GIB, |c| &mut c.settings.relay.pending_bytes),
        "Octets of them, and of the SUBSCRIBE frames that are kept to be said again. One frame of any size always may wait.",
    ),
    server(
        "relay",
        "client_buffer",
        size(KIB..=GIB, |c| &mut c.settings.relay.client_buffer),
        "Octets that may wait to be written to a client; with more, nothing is read from the broker for it. A client that takes \
         nothing for server.write_timeout is cut.",
    ),
    server(
        "relay",
        "upstream_buffer",
        size(KIB..=GIB, |c| &mut c.settings.relay.upstream_buffer),
        "Octets that may wait to be written to the broker; with more, nothing is read from the client.",
    ),
    server(
        "relay",
        "frame",
        size(KIB..=GIB, |c| &mut c.settings.relay.frame),
        "Octets of a whole frame from the broker; with a longer one its connection counts as lost.",
    ),
    server(
        "relay",
        "receipts",
        count(1..=BILLION, |c| &mut c.settings.relay.receipts),
        "RECEIPTs that the broker may owe a client; with more, nothing is read from the client.",
    ),
    server(
        "relay",
        "goodbye",
        duration(1..=DAY, |c| &mut c.settings.relay.goodbye_ms),
        "Time that the broker has to confirm a client's DISCONNECT.",
    ),
    server(
        "relay",
        "publish_timeout",
        duration(1..=DAY, |c| &mut c.settings.relay.publish_ms),
        "Time that the broker has to confirm what the embedding program sends.",
    ),
    server(
        "relay",
        "publish_waiting",
        count(1..=BILLION, |c| &mut c.settings.relay.publish_waiting),
        "Messages of the embedding program that may wait for the broker; a further one is refused.",
    ),
    server(
        "relay",
        "prefixes",
        Kind::Own(&PREFIXES),
        "What destinations of SEND and SUBSCRIBE must begin with to be relayed; others are refused. User destinations always are.",
    ),
    server(
        "relay",
        "queue_wildcards",
        Kind::Flag(|c| &mut c.settings.relay.queue_wildcards),
        "Let clients SUBSCRIBE to patterns over queues: brokers that have them, ActiveMQ for one, then hand out what is in the \
         private queues of users.",
    ),
    server(
        "relay",
        "user_headers",
        Kind::Own(&USER_HEADERS),
        "Headers that SUBSCRIBE and SEND of user destinations get besides, so that the broker removes their queues.",
    ),
    server(
        "relay",
        "user_broadcast",
        line!(user_broadcast, false),
        "The destination by which nodes tell each other of messages for users whom they do not know, Spring's \
         userDestinationBroadcast: \"/topic/unresolved-user\". If empty, there is none.",
    ),
    server(
        "relay",
        "shared_topics",
        Kind::Own(&SHARED_TOPICS),
        "Topics that begin so are subscribed to once at the broker behind, over one connection with relay.client_login, for all \
         clients that want nothing but their messages. relay.client_login and relay.client_passcode must be fixed then. If \
         empty, each client has its own subscriptions.",
    ),
    server(
        "relay",
        "status",
        line!(status, false),
        "The destination at which clients that stay hear that the broker went and came back. It is not relayed. If empty, there is \
         none.",
    ),
];

/// What a relay heeds besides [server], [relay] and [log]: its clients' side. All else is about the broker in this process,
/// to which nobody connects then.
const HEEDED: [&str; 17] = [
    "session.connect_timeout",
    "session.frame_timeout",
    "session.heart_beat",
    "session.heart_beat_tolerance",
    "session.heart_beat_extra",
    "session.probe_timeout",
    "session.idle_probe",
    "session.strict",
    "session.unescape_connect",
    "limits.frame_before_connect",
    "limits.frame",
    "limits.header_lines",
    "limits.header_line",
    "limits.head",
    "limits.subscriptions",
    "limits.transactions",
    "user.send",
];

/// Says once what was set for nothing.
fn unheeded(loaded: &Loaded) -> Option<Problem> {
    let heeds =
        |option: &Opt| matches!(option.section, "server" | "relay" | "log") || HEEDED.contains(&option.name().as_str());
    let lists = &loaded.lists;
    let entry = |spot: &Spot, what: &str| (Origin::File(spot.clone()), what.to_string());
    let options = loaded.given.iter().filter(|given| !heeds(given.option));
    let options = options.map(|given| (given.origin.clone(), given.option.name()));
    let policies = lists.root.policies.iter().flatten();
    let prefixes = lists.root.prefixes.iter().flatten();
    let hosts = lists.hosts.iter().map(|(name, table)| {
        let origin = table
            .given
            .first()
            .map_or(Origin::Default, |given| given.origin.clone());
        (origin, format!("[hosts.{name}]"))
    });
    let idle: Vec<(Origin, String)> = options
        .chain(policies.map(|policy| entry(&policy.spot, "[[policy]]")))
        .chain(prefixes.map(|prefix| entry(&prefix.spot, "[[prefix]]")))
        .chain(hosts)
        .collect();
    let (origin, _) = idle.first()?;
    let mut names: Vec<&str> = idle.iter().map(|(_, name)| name.as_str()).collect();
    names.dedup();
    let what = format!("without effect when server.mode is \"relay\": {}", names.join(", "));
    let problem = Problem::new(origin.clone(), what);
    Some(problem.note("queues, topics and what is stored are those of the broker behind; see docs/relay.md"))
}

/// What works, but perhaps not as meant.
pub(super) fn warnings(loaded: &Loaded, problems: &mut Vec<Problem>) {
    let settings = &loaded.config.settings;
    if settings.mode == Mode::Broker {
        for option in OPTIONS.iter().filter(|option| option.section == "relay") {
            let name = option.name();
            if matches!(loaded.origin(&name), Origin::Variable(_) | Origin::Flag(_)) {
                let what = format!("{name} has no effect unless server.mode is \"relay\"");
                problems.push(Problem::new(loaded.origin(&name), what));
            }
        }
        return;
    }
    problems.extend(unheeded(loaded));
    let mut warn = |name: &str, what: String| problems.push(Problem::new(loaded.origin(name), what));
    if let Some(upstream) = settings.relays_to_itself() {
        let what = format!(
            "relay.upstream has {}, which is server.tcp: the server will not start",
            quoted(upstream)
        );
        warn("relay.upstream", what);
    }
    if settings.relay.shares_with_strangers() {
        let what = "relay.shared_topics and {login} or {passcode} in relay.client_login or relay.client_passcode: the server will \
                    not start";
        warn("relay.shared_topics", what.to_string());
    }
    if settings.relay.retry_first_ms > settings.relay.retry_longest_ms {
        let what = "relay.retry_first is longer than relay.retry_longest, which then counts for nothing".to_string();
        warn("relay.retry_first", what);
    }
    let anybody = loaded.config.users.is_empty();
    if anybody
        && settings.relay.client_login.contains("{login}")
        && !settings.relay.client_passcode.contains("{passcode}")
    {
        let what = "relay.client_login has {login} and relay.client_passcode is fixed: while nothing authenticates clients, each \
                    chooses whose permissions it gets at the broker behind";
        warn("relay.client_login", what.to_string());
    }
}
