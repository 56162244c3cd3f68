//! Cases for what an operator may set: each is played, over both transports, on a server with settings of its own.

#![allow(clippy::unwrap_used)]

use hoofbeat::broker::settings::{
    DeadLetter, Kind, Policy, Prefix, QueuePolicy, Separator, TopicPolicy, WhenExpired, WhenFull,
};
use hoofbeat::server::{Server, Settings};
use hoofbeat::session::settings::{App, UserSend, Workers};
use hoofbeat::session::{Answer, Authentication, Credentials, Principal};
use protocol_tests::case::{load, Case};
use protocol_tests::report::{failures, Column};
use protocol_tests::suite;
use protocol_tests::target::Target;
use std::net::SocketAddr;
use std::path::PathBuf;

type Change = fn(&mut Settings);

/// A case (by its file's first word) and what it needs changed.
const CHANGES: &[(&str, Change)] = &[
    ("H70", |settings| settings.session.strict_host = true),
    ("H71", |settings| settings.broker.destinations = 3),
    ("H72", |settings| settings.session.transaction_ms = 500),
    ("H73a", |settings| settings.broker.queue.messages = 2),
    ("H73b", |settings| {
        settings.broker.queue.messages = 2;
        settings.session.blocked_ms = 400;
    }),
    ("H73c", |settings| settings.broker.queue.messages = 2),
    ("H74", |settings| {
        settings.broker.queue.messages = 2;
        settings.broker.queue.full = WhenFull::Reject;
    }),
    ("H75", |settings| {
        settings.broker.queue.messages = 2;
        settings.broker.queue.full = WhenFull::DropHead;
    }),
    ("H76", |settings| {
        settings.broker.memory_high_water = 100_000;
        settings.session.blocked_ms = 400;
    }),
    ("H77", |settings| settings.broker.topic = TopicPolicy::DropOldest),
    ("H78", |settings| {
        settings.broker.topic = TopicPolicy::LatestOnly { key: "symbol".into() }
    }),
    ("H79", |settings| settings.broker.queue.delivery_limit = 2),
    ("H80", |settings| settings.session.strict = true),
    ("H80b", |settings| settings.session.strict = true),
    ("H81", |settings| settings.session.unescape_connect = true),
    ("H82", prefixes),
    ("H82b", prefixes),
    ("H84", |settings| settings.session.frame_ms = 500),
    ("H86a", |settings| {
        orders(settings, |queue| queue.expired = WhenExpired::DeadLetter);
    }),
    ("H86b", |settings| settings.broker.queue.ttl_ms = 1_000),
    ("H86c", |settings| {
        orders(settings, |queue| {
            queue.dead_letter = DeadLetter::Queue("/queue/dead".into())
        });
    }),
    ("H86d", |settings| {
        settings.broker.queue.dead_letter = DeadLetter::Nowhere
    }),
    ("H100a", users),
    ("H100b", users),
    ("H101a", users),
    ("H101b", |settings| settings.session.user_send = UserSend::Any),
    ("H101c", users),
    ("H101d", |settings| settings.session.user_send = UserSend::Any),
    ("H101e", |settings| settings.session.user_send = UserSend::Own),
    ("H101f", |_| {}),
    ("H110a", workers),
    ("H110b", workers),
    ("H110c", workers),
    ("H110d", workers),
    ("H110e", workers),
    ("H110f", workers),
    ("H110g", workers),
    ("H110h", workers),
    ("H110i", workers),
    ("H110j", workers),
    ("H110k", workers),
    ("H111", |settings| settings.session.app.workers = Workers::Nobody),
    ("H83", |settings| {
        settings.hosts.insert("one.example".into(), settings.broker.clone());
    }),
];

/// Any client may work for application destinations, and nobody waits for long.
fn workers(settings: &mut Settings) {
    settings.session.app = App {
        workers: Workers::Anyone,
        patience_ms: 500,
        timeout_ms: 1_000,
    };
}

/// A policy for `/queue/orders.` and what follows.
fn orders(settings: &mut Settings, change: fn(&mut QueuePolicy)) {
    let mut queue = settings.broker.queue.clone();
    change(&mut queue);
    settings.broker.policies = vec![Policy {
        pattern: "/queue/orders.#".into(),
        topic: TopicPolicy::default(),
        queue,
    }];
}

/// Joe, and the application's server, who may send to everybody; the passcode of both is "secret".
fn users(settings: &mut Settings) {
    let authentication = Authentication::by(|who: Credentials, answer: Answer| {
        let principal = match (who.login.as_deref(), who.passcode.as_deref()) {
            (Some(name @ ("joe" | "server")), Some("secret")) => Principal {
                may_send_to_users: name == "server",
                ..Principal::named(name)
            },
            _ => return answer.refuse(),
        };
        // As a check of a hash would: later, and from elsewhere.
        std::thread::spawn(move || answer.accept(principal));
    });
    settings.session.authentication = Some(authentication);
}

fn prefixes(settings: &mut Settings) {
    let prefix = |prefix: &str, kind| Prefix {
        prefix: prefix.into(),
        kind,
        separator: Separator::Slash,
    };
    settings.broker.prefixes = vec![prefix("/chat", Kind::Topic), prefix("/jobs", Kind::Queue)];
}

fn cases() -> Vec<Case> {
    load(&PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/settings")).unwrap()
}

/// Plays one case, each transport with a server of its own, and tells what went wrong.
fn play(case: &Case, change: Change) -> String {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut settings = Settings {
        websocket: Some(any),
        tcp: Some(any),
        ..Settings::default()
    };
    change(&mut settings);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let play_on = |url: fn(&Server) -> String| {
        let server = runtime.block_on(Server::start(settings.clone())).unwrap();
        let target = Target::parse(&url(&server)).unwrap();
        let cases = std::slice::from_ref(case);
        let column = Column {
            name: "Hoofbeat".into(),
            transport: target.transport.as_str(),
            findings: suite::run(cases, &target, 1),
        };
        runtime.block_on(server.stop());
        failures(cases, &[column], true)
    };
    let websocket = play_on(|server| format!("ws://{}/ws", server.websocket_address().unwrap()));
    let tcp = play_on(|server| format!("tcp://{}", server.tcp_address().unwrap()));
    websocket + &tcp
}

#[test]
fn every_setting_shows_its_effect() {
    let cases = cases();
    let players: Vec<_> = CHANGES
        .iter()
        .map(|(label, change)| {
            let case = cases.iter().find(|case| case.label() == *label).unwrap().clone();
            std::thread::spawn(move || play(&case, *change))
        })
        .collect();
    let wrong: String = players.into_iter().map(|player| player.join().unwrap()).collect();
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn every_file_is_played() {
    let played: Vec<String> = cases().iter().map(Case::label).collect();
    let mut named: Vec<String> = CHANGES.iter().map(|(label, _)| label.to_string()).collect();
    named.sort();
    let mut files = played;
    files.sort();
    assert_eq!(files, named);
}

#[test]
fn every_error_code_is_played() {
    // The test of the server's stop and that of a failing disk show these two.
    let elsewhere = ["shutdown", "not-stored"];
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let mut texts = String::new();
    for place in ["cases", "tests/settings"] {
        for entry in std::fs::read_dir(folder.join(place)).unwrap() {
            texts.push_str(&std::fs::read_to_string(entry.unwrap().path()).unwrap());
        }
    }
    for kind in hoofbeat::session::fault::TABLE {
        let expected = format!("code:{}\n", kind.code);
        let repeated = format!("{} => ", kind.code);
        let played = texts.contains(&expected) || texts.contains(&repeated);
        assert!(
            played || elsewhere.contains(&kind.code),
            "no case shows an ERROR with code:{}",
            kind.code
        );
    }
}
