//! The list of all options: name, kind, bounds, field and meaning. The file, the environment, the flags, `config
//! default`, `config show`, the documentation and every "did you mean" are made from it; defaults are read from the
//! settings themselves.

use std::ops::RangeInclusive;

use super::kind::{At, Kind, Unit};
use super::options::{Opt, Place};
use super::Config;
use crate::broker;

/// The sections in the order in which they are shown, and what they are about.
pub(super) const SECTIONS: &[(&str, &str)] = &[
    ("server", "Listeners, HTTP and sockets."),
    ("session", "What holds for each client's session."),
    ("limits", "What a client and a virtual host may hold."),
    (
        "prefetch",
        "How much a subscription may hold unacknowledged when it asks for nothing.",
    ),
    (
        "store",
        "Where persistent messages are kept, and when they count as kept.",
    ),
    ("queue", "What holds for each queue that no [[policy]] matches."),
    ("topic", "What holds for each topic that no [[policy]] matches."),
    ("durable", "What durable subscriptions to topics may cost."),
    ("user", "Destinations of users: /user/NAME/DESTINATION."),
    (
        "app",
        "Application destinations, /app/NAME, and those who work for them.",
    ),
    ("relay", "The broker behind, when server.mode is \"relay\"."),
    (
        "spring",
        "Users of this broker and users of a Spring application, for each other.",
    ),
    ("log", "What is written to stderr."),
];

pub(super) const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
pub(super) const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;
const SECOND: u64 = 1_000;
pub(super) const DAY: u64 = 86_400 * SECOND;
const YEAR: u64 = 365 * DAY;
pub(super) const BILLION: u64 = 1_000_000_000;

pub(super) const fn server(section: &'static str, key: &'static str, kind: Kind<Config>, meaning: &'static str) -> Opt {
    Opt {
        section,
        key,
        place: Place::Server(kind),
        meaning,
    }
}

const fn host(section: &'static str, key: &'static str, kind: Kind<broker::Settings>, meaning: &'static str) -> Opt {
    Opt {
        section,
        key,
        place: Place::Host(kind),
        meaning,
    }
}

pub(super) const fn size<S>(range: RangeInclusive<u64>, at: fn(&mut S) -> &mut usize) -> Kind<S> {
    Kind::Number(Unit::Size, range, At::Usize(at))
}

pub(super) const fn duration<S>(range: RangeInclusive<u64>, at: fn(&mut S) -> &mut u64) -> Kind<S> {
    Kind::Number(Unit::Duration, range, At::U64(at))
}

const fn short<S>(range: RangeInclusive<u64>, at: fn(&mut S) -> &mut u32) -> Kind<S> {
    Kind::Number(Unit::Duration, range, At::U32(at))
}

pub(super) const fn count<S>(range: RangeInclusive<u64>, at: fn(&mut S) -> &mut usize) -> Kind<S> {
    Kind::Number(Unit::Count, range, At::Usize(at))
}

/// Every option, by section.
pub(super) static OPTIONS: &[Opt] = &[
    server(
        "server",
        "websocket",
        Kind::Address(|c| &mut c.settings.websocket),
        "Where STOMP over WebSocket, the page to try it, /health and /stats are served. \
         Another address than loopback needs insecure_open while nothing authenticates clients.",
    ),
    server(
        "server",
        "tcp",
        Kind::Address(|c| &mut c.settings.tcp),
        "Where STOMP over TCP is served. \
         Another address than loopback needs insecure_open while nothing authenticates clients.",
    ),
    server(
        "server",
        "insecure_open",
        Kind::Flag(|c| &mut c.settings.insecure_open),
        "Listen on other addresses than loopback although nothing authenticates clients: whoever reaches the port \
         may publish, subscribe and empty queues.",
    ),
    server(
        "server",
        "paths",
        Kind::Paths(|c| &mut c.settings.paths),
        "HTTP paths that take a WebSocket upgrade; an upgrade elsewhere is answered 404.",
    ),
    server(
        "server",
        "allowed_origins",
        Kind::Origins(|c| &mut c.settings.allowed_origins),
        "Origins of web pages that may connect, besides pages of the same host and of loopback; \
         others are answered 403. \"*\" lets any page connect.",
    ),
    server(
        "server",
        "http_head",
        size(KIB..=MIB, |c| &mut c.settings.http_head_bytes),
        "Octets of an HTTP request head; a longer one is refused and the connection closed.",
    ),
    server(
        "server",
        "http_head_timeout",
        duration(1..=DAY, |c| &mut c.settings.http_head_ms),
        "Time for a complete HTTP request head, from the accept and between requests; then the connection is closed.",
    ),
    server(
        "server",
        "write_timeout",
        duration(1..=DAY, |c| &mut c.settings.write_ms),
        "Time in which a socket must take some octets when something waits to be written; \
         then the connection is cut as one that does not read.",
    ),
    server(
        "server",
        "linger",
        duration(0..=DAY, |c| &mut c.settings.linger_ms),
        "Time a connection stays after its last frame, so that the peer reads it and closes first.",
    ),
    server(
        "server",
        "drain",
        duration(0..=DAY, |c| &mut c.settings.drain_ms),
        "Time that sessions have to finish after SIGTERM or Ctrl-C; then what is left is cut.",
    ),
    server(
        "server",
        "connections",
        count(0..=BILLION, |c| &mut c.settings.connections),
        "Connections that may be open, all listeners together; further ones are refused \
         (503 over HTTP). 0: as many as file descriptors allow.",
    ),
    server(
        "server",
        "backlog",
        Kind::Number(
            Unit::Count,
            1..=65_535,
            At::U32(|c: &mut Config| &mut c.settings.backlog),
        ),
        "Connections that the kernel may hold for us before they are accepted; it may have a lower bound of its own.",
    ),
    server(
        "server",
        "outbound_message_limit",
        Kind::SizeOrAuto(KIB..=GIB, |c| &mut c.settings.outbound_message_bytes),
        "Octets of the largest WebSocket message that is written; a longer frame is split over several. \
         \"auto\" splits only for Spring's client, which closes on more than 8 KiB.",
    ),
    server(
        "session",
        "connect_timeout",
        duration(1..=DAY, |c| &mut c.settings.session.connect_ms),
        "Time from the opened connection to a complete CONNECT; then ERROR connect-timeout.",
    ),
    server(
        "session",
        "frame_timeout",
        duration(1..=DAY, |c| &mut c.settings.session.frame_ms),
        "Time from the first octet of a frame to its last; then ERROR frame-timeout.",
    ),
    server(
        "session",
        "heart_beat",
        Kind::HeartBeat(|c| {
            let session = &mut c.settings.session;
            (&mut session.heart_beat_send_ms, &mut session.heart_beat_receive_ms)
        }),
        "The heart-beat header of CONNECTED: how often we can send, and how often we want to hear from the client. \
         A client may still agree on none.",
    ),
    server(
        "session",
        "heart_beat_tolerance",
        Kind::Number(
            Unit::Factor,
            1_000..=100_000,
            At::U32(|c: &mut Config| &mut c.settings.session.heart_beat_tolerance_permille),
        ),
        "How many times the agreed interval a client may be silent before it is cut (over WebSocket: pinged first).",
    ),
    server(
        "session",
        "heart_beat_extra",
        short(0..=DAY, |c| &mut c.settings.session.heart_beat_extra_ms),
        "Time added to that.",
    ),
    server(
        "session",
        "probe_timeout",
        short(1..=DAY, |c| &mut c.settings.session.probe_ms),
        "Time that a silent WebSocket client has to answer the ping; then ERROR silent.",
    ),
    server(
        "session",
        "idle_probe",
        short(1..=DAY, |c| &mut c.settings.session.idle_probe_ms),
        "Silence after which a WebSocket client that agreed on no heart-beat is pinged, so that dead peers are found.",
    ),
    server(
        "session",
        "blocked_timeout",
        duration(0..=DAY, |c| &mut c.settings.session.blocked_ms),
        "Time a SEND waits for room in a full queue or in memory; then ERROR queue-full or memory-full. \
         The client's acknowledgements and heart-beats count meanwhile.",
    ),
    server(
        "session",
        "strict",
        Kind::Flag(|c| &mut c.settings.session.strict),
        "Refuse what is taken from clients in use although the specification forbids it: \\r as an escape in 1.1, CR LF as \
         an end of line in 1.0 and 1.1, blanks around the number in content-length.",
    ),
    server(
        "session",
        "strict_host",
        Kind::Flag(|c| &mut c.settings.session.strict_host),
        "Refuse a CONNECT whose host is not the name of a [hosts.NAME] with ERROR unknown-host. \
         If false, it gets the default virtual host.",
    ),
    server(
        "session",
        "unescape_connect",
        Kind::Flag(|c| &mut c.settings.session.unescape_connect),
        "Read \\c and \\\\ in CONNECT as escapes, against the specification: \
         for go-stomp with a colon in login or passcode.",
    ),
    server(
        "limits",
        "frame_before_connect",
        size(KIB..=GIB, |c| &mut c.settings.session.before_connect.frame),
        "Octets of a whole frame before the client is connected; a longer one is ERROR frame-too-large.",
    ),
    server(
        "limits",
        "frame",
        size(KIB..=GIB, |c| &mut c.settings.session.connected.frame),
        "Octets of a whole frame, body included, once the client is connected; a longer one is ERROR frame-too-large.",
    ),
    server(
        "limits",
        "header_lines",
        count(8..=100_000, |c| &mut c.settings.session.connected.header_lines),
        "Header lines of a frame; more are ERROR headers-too-large.",
    ),
    server(
        "limits",
        "header_line",
        size(64..=GIB, |c| &mut c.settings.session.connected.header_line),
        "Octets of one header line; a longer one is ERROR headers-too-large.",
    ),
    server(
        "limits",
        "head",
        size(256..=GIB, |c| &mut c.settings.session.connected.head),
        "Octets of a frame's command and headers together; more are ERROR headers-too-large.",
    ),
    server(
        "limits",
        "subscriptions",
        count(1..=BILLION, |c| &mut c.settings.session.subscriptions),
        "Subscriptions of a connection; a further one is ERROR too-many-subscriptions.",
    ),
    host(
        "limits",
        "unacknowledged",
        count(1..=BILLION, |b| &mut b.unacknowledged),
        "Messages that a subscription may hold unacknowledged, whatever prefetch it asks for; \
         it gets no further ones until it acknowledges.",
    ),
    server(
        "limits",
        "transactions",
        count(1..=BILLION, |c| &mut c.settings.session.transactions),
        "Open transactions of a connection; a further BEGIN is ERROR too-many-transactions.",
    ),
    server(
        "limits",
        "transaction_frames",
        count(1..=BILLION, |c| &mut c.settings.session.transaction_frames),
        "Frames of one transaction; a further one is ERROR transaction-too-large.",
    ),
    server(
        "limits",
        "transaction_size",
        size(KIB..=TIB, |c| &mut c.settings.session.transaction_bytes),
        "Octets of one transaction; more are ERROR transaction-too-large.",
    ),
    server(
        "limits",
        "transaction_time",
        duration(1..=YEAR, |c| &mut c.settings.session.transaction_ms),
        "Time a transaction may stay open; then ERROR transaction-timeout, and it is aborted.",
    ),
    host(
        "limits",
        "outbound_messages",
        count(1..=BILLION, |b| &mut b.outbound.messages),
        "Messages that may wait to be written to a connection; beyond it, topic.slow_consumer decides. \
         Messages of queues stay in their queue.",
    ),
    host(
        "limits",
        "outbound_size",
        size(KIB..=TIB, |b| &mut b.outbound.bytes),
        "Octets that may wait to be written to a connection; beyond it, topic.slow_consumer decides. \
         One message of any size always may.",
    ),
    host(
        "limits",
        "outbound_patience",
        duration(0..=YEAR, |b| &mut b.outbound.patience_ms),
        "How long publishers to a topic wait for a subscriber that reads but does not keep up, before its budget fills \
         and topic.slow_consumer decides; one who takes nothing is not waited for. 0: they never wait.",
    ),
    host(
        "limits",
        "outbound_control",
        size(KIB..=TIB, |b| &mut b.outbound.control_bytes),
        "Octets of RECEIPT frames that may wait to be written to a connection; \
         beyond it nothing more is read from the client.",
    ),
    host(
        "limits",
        "destination_name",
        size(16..=MIB, |b| &mut b.destination_bytes),
        "Octets of a destination's name; a longer one is ERROR bad-destination.",
    ),
    host(
        "limits",
        "destinations",
        count(1..=BILLION, |b| &mut b.destinations),
        "Queues, and topics with subscriptions, of a virtual host; a further one is ERROR too-many-destinations.",
    ),
    host(
        "limits",
        "memory",
        size(MIB..=64 * TIB, |b| &mut b.memory_high_water),
        "Octets of all messages held, those of every virtual host together; above it SENDs wait (session.blocked_timeout) \
         while consumers drain; topics, through which messages only pass, may go a quarter beyond. A queue counts for 2 KiB besides, up to half of it. Where nobody sets it and half of the memory of the machine or the control group is less, \
         that half.",
    ),
    host(
        "limits",
        "route_cache",
        count(0..=BILLION, |b| &mut b.route_cache),
        "Topics whose matching wildcard subscriptions are remembered; beyond it they are looked up again.",
    ),
    host(
        "prefetch",
        "client",
        count(1..=BILLION, |b| &mut b.prefetch_client.messages),
        "Messages that a subscription with ack:client may hold unacknowledged.",
    ),
    host(
        "prefetch",
        "client_size",
        size(1..=TIB, |b| &mut b.prefetch_client.bytes),
        "Octets of them; one message of any size is always allowed.",
    ),
    host(
        "prefetch",
        "client_individual",
        count(1..=BILLION, |b| &mut b.prefetch_client_individual.messages),
        "Messages that a subscription with ack:client-individual may hold unacknowledged.",
    ),
    host(
        "prefetch",
        "client_individual_size",
        size(1..=TIB, |b| &mut b.prefetch_client_individual.bytes),
        "Octets of them; one message of any size is always allowed.",
    ),
    server(
        "store",
        "folder",
        Kind::Folder(|c| &mut c.settings.data),
        "The folder of persistent messages and durable subscriptions, with one inside for each virtual host. It is made if \
         need be, and no two processes can have it. \"off\": they live in memory and end with the process.",
    ),
    server(
        "store",
        "durability",
        Kind::Durability(|c| &mut c.settings.store.durability),
        "When a persistent message counts as kept, so that its RECEIPT goes out. fsync: when the disk has said so \
         (fdatasync); it outlives a loss of power. A duration: at once, and the disk is asked so often; what is newer may \
         go with the power. none: at once, and the disk is never asked. All outlive the end of the process.",
    ),
    server(
        "store",
        "segment",
        Kind::Number(
            Unit::Size,
            64 * KIB..=GIB,
            At::U64(|c: &mut Config| &mut c.settings.store.segment_octets),
        ),
        "Octets of a file of the log, at which the next is begun; room is given back a file at a time.",
    ),
    server(
        "store",
        "reserve",
        Kind::Number(
            Unit::Size,
            0..=GIB,
            At::U64(|c: &mut Config| &mut c.settings.store.reserve_octets),
        ),
        "Octets of a file that is given up when the disk is full, so that acknowledgements can still be written down and \
         make room.",
    ),
    host(
        "queue",
        "messages",
        count(1..=BILLION, |b| &mut b.queue.messages),
        "Messages of a queue, delivered but unacknowledged ones included; at it, queue.full decides.",
    ),
    host(
        "queue",
        "size",
        size(KIB..=64 * TIB, |b| &mut b.queue.bytes),
        "Octets of a queue's messages; at it, queue.full decides.",
    ),
    host(
        "queue",
        "full",
        Kind::WhenFull(|b| &mut b.queue.full),
        "What a SEND to a full queue meets. block: it waits, up to session.blocked_timeout. \
         reject: ERROR queue-full at once. drop-head: the oldest message that nobody holds is dropped and counted.",
    ),
    host(
        "queue",
        "delivery_limit",
        Kind::Number(
            Unit::Count,
            0..=1_000_000,
            At::U32(|b: &mut broker::Settings| &mut b.queue.delivery_limit),
        ),
        "Deliveries of one message; after that many failed ones it goes to the dead-letter queue. 0: no limit.",
    ),
    host(
        "queue",
        "idle",
        duration(0..=YEAR, |b| &mut b.queue.idle_ms),
        "Time after which an empty queue without consumers is removed. 0s: never.",
    ),
    host(
        "queue",
        "resident",
        size(0..=TIB, |b| &mut b.queue.resident),
        "Octets of a queue's persistent messages that are kept in memory; further ones are on disk only until their turn \
         comes. While messages hold half of limits.memory, none further.",
    ),
    host(
        "queue",
        "ttl",
        duration(0..=YEAR, |b| &mut b.queue.ttl_ms),
        "Time that a message lives at most in a queue, a dead-letter queue too; what its sender or x-message-ttl says may be \
         shorter. 0s: as long as they say.",
    ),
    host(
        "queue",
        "expired",
        Kind::WhenExpired(|b| &mut b.queue.expired),
        "What becomes of a message whose time is over. drop: it is dropped and counted. dead-letter: it goes to the \
         dead-letter queue. With x-dead-letter-routing-key always the latter.",
    ),
    host(
        "queue",
        "dead_letter",
        Kind::DeadLetter(|b| &mut b.queue.dead_letter),
        "Where dead messages go. own: to /queue/DLQ.NAME. off: nowhere, they are dropped and counted. Else to that queue. \
         x-dead-letter-routing-key of a client wins.",
    ),
    host(
        "queue",
        "durable",
        Kind::Flag(|b| &mut b.queue.durable),
        "Whether persistent messages are kept on disk. If false, they live in memory and end with the process as others do, \
         and their RECEIPT does not wait for a disk; queues found on disk at the start stay durable until they are removed.",
    ),
    host(
        "topic",
        "slow_consumer",
        Kind::SlowConsumer(|b| &mut b.topic),
        "What befalls a subscriber for whom more waits than limits.outbound_messages or limits.outbound_size. \
         disconnect: ERROR slow-consumer. drop-oldest: the oldest waiting message gives way, and x-skipped of the next \
         one says how many did. latest-only: of those with the same value of the header topic.key only the latest \
         waits.",
    ),
    host(
        "topic",
        "key",
        Kind::LatestKey(|b| &mut b.topic),
        "The header whose value tells messages apart with slow_consumer = \"latest-only\"; without meaning otherwise.",
    ),
    host(
        "durable",
        "subscriptions",
        count(0..=BILLION, |b| &mut b.durable.subscriptions),
        "Durable subscriptions of a virtual host; a further one is ERROR too-many-subscriptions. 0: none.",
    ),
    host(
        "durable",
        "expires",
        duration(0..=YEAR, |b| &mut b.durable.expires_ms),
        "Time without a consumer after which a durable subscription is removed with what it holds. 0s: never.",
    ),
    host(
        "durable",
        "grace",
        duration(0..=YEAR, |b| &mut b.durable.grace_ms),
        "How long a full durable subscription without a consumer holds up the publishers of its topic, as a full queue \
         does; after that its oldest messages give way and are counted, so that a forgotten one cannot stop a topic.",
    ),
    server(
        "user",
        "send",
        Kind::UserSend(|c| &mut c.settings.session.user_send),
        "To whose /user/NAME/DESTINATION a client may SEND. none: nobody's. own: those of its own user. any: everybody's, as \
         with Spring's simple broker. A user with may_send_to_users = true may in any case.",
    ),
    host(
        "spring",
        "user_registry_broadcast",
        Kind::Topic(|b| &mut b.spring.user_registry),
        "The topic that the application calls userRegistryBroadcast. Hoofbeat tells it every 10 s, and soon after a change, \
         which users it has with subscriptions under /user, so that the application can send to them by name. Only who may SEND \
         to everybody's /user destinations may then SEND or SUBSCRIBE to this topic; no pattern finds it.",
    ),
    host(
        "spring",
        "user_destination_broadcast",
        Kind::Topic(|b| &mut b.spring.user_destination),
        "The topic that the application calls userDestinationBroadcast: messages for users whom no node knew are delivered to the \
         users whom Hoofbeat has. The same clients may use it.",
    ),
    server(
        "app",
        "workers",
        Kind::Workers(|c| &mut c.settings.session.app.workers),
        "Which clients may subscribe to /worker/NAME, and to its dead letters, and so get what others SEND to /app/NAME. \
         permitted: users whose worker names it; without [[users]], clients over TCP, which web pages are not. anyone: \
         all clients, web pages too. nobody: only the program that embeds us.",
    ),
    server(
        "app",
        "patience",
        duration(0..=DAY, |c| &mut c.settings.session.app.patience_ms),
        "How long a SEND or SUBSCRIBE to /app/NAME waits for a worker; then the SEND is ERROR no-worker, and the \
         SUBSCRIBE is answered with x-app-error:no-worker.",
    ),
    server(
        "app",
        "timeout",
        duration(1..=DAY, |c| &mut c.settings.session.app.timeout_ms),
        "How long a SUBSCRIBE to /app/NAME waits for its answer; then it is answered with x-app-error:no-answer.",
    ),
    server(
        "log",
        "filter",
        Kind::Log(|c| &mut c.log),
        "What is logged to stderr: a level, or directives by module such as \"info,hoofbeat::session=debug\".",
    ),
];
