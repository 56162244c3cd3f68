//! Every case against Hoofbeat, over both transports.

#![allow(clippy::unwrap_used)]

use hoofbeat::server::{Server, Settings};
use protocol_tests::case::{load, Case, Transport};
use protocol_tests::report::{failures, Column};
use protocol_tests::suite;
use protocol_tests::target::Target;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Plays all cases on a server of its own; panics with what went wrong.
fn play(transport: Transport) {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("cases");
    let cases = load(&folder).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let server = runtime.block_on(Server::start(settings())).unwrap();
    let url = match transport {
        Transport::WebSocket => format!("ws://{}/ws", server.websocket_address().unwrap()),
        Transport::Tcp => format!("tcp://{}", server.tcp_address().unwrap()),
    };
    let target = Target::parse(&url).unwrap();
    let findings = suite::run(&cases, &target, 32);
    let left = left_behind(&server);
    runtime.block_on(server.stop());
    let column = Column {
        name: "Hoofbeat".into(),
        transport: transport.as_str(),
        findings,
    };
    let wrong = failures(&cases, &[column], true);
    assert!(wrong.is_empty(), "{wrong}");
    assert_eq!(left, None, "the cases are over and left something behind");
}

/// What the broker still holds of connections that have all ended; waits for the last to be noticed.
fn left_behind(server: &Server) -> Option<String> {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let (stats, sizes) = (server.stats(), server.hosts().default.sizes());
        let counts = [
            stats.connections,
            stats.sessions,
            sizes.sessions,
            sizes.subscriptions,
            sizes.patterns,
            sizes.transactions,
        ];
        if counts.iter().all(|count| *count == 0) {
            return None;
        }
        if Instant::now() > deadline {
            return Some(format!("{stats:?} {sizes:?}"));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The defaults, but for shorter heart-beats and deadlines: nobody waits half a minute for a test.
fn settings() -> Settings {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut settings = Settings {
        websocket: Some(any),
        tcp: Some(any),
        ..Settings::default()
    };
    settings.session.heart_beat_send_ms = 600;
    settings.session.heart_beat_receive_ms = 600;
    settings.session.probe_ms = 500;
    settings.session.connect_ms = 3_000;
    settings
}

#[test]
fn every_case_over_websocket() {
    play(Transport::WebSocket);
}

#[test]
fn every_case_over_tcp() {
    play(Transport::Tcp);
}

#[test]
fn every_case_is_played_on_some_transport() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("cases");
    let nowhere = |case: &&Case| case.transports.is_empty();
    assert_eq!(load(&folder).unwrap().iter().find(nowhere).map(|case| &case.id), None);
}
