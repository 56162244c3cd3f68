//! Each scenario, small, against a server of our own in the same process.

use std::net::SocketAddr;

use clap::Parser;

use super::report::Report;
use super::*;
use crate::server::{Server, Settings};

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    bench: Arguments,
}

pub(super) fn arguments(line: &[&str]) -> Arguments {
    Line::parse_from([&["bench", "--quiet", "--warm-up", "0s"], line].concat()).bench
}

/// The server's own threads, so that a stuck load does not keep it from answering.
struct Broker {
    runtime: runtime::Runtime,
    server: Option<Server>,
}

impl Broker {
    fn start() -> Broker {
        Broker::with(Settings::default())
    }

    /// As set, on free ports.
    fn with(settings: Settings) -> Broker {
        let runtime = runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let any = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
        let settings = Settings {
            websocket: any,
            tcp: any,
            ..settings
        };
        let server = runtime.block_on(Server::start(settings)).unwrap();
        Broker {
            runtime,
            server: Some(server),
        }
    }

    fn websocket(&self) -> String {
        let address = self.server.as_ref().unwrap().websocket_address().unwrap();
        format!("ws://{address}/ws")
    }

    fn tcp(&self) -> String {
        let address = self.server.as_ref().unwrap().tcp_address().unwrap();
        format!("tcp://{address}")
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _inside = self.runtime.enter();
        self.server = None;
    }
}

fn bench(line: &[&str]) -> Result<Report, Failure> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, load(&arguments(line)))
}

/// What was delivered, when nothing else is to be said of it.
fn delivered(line: &[&str]) -> u64 {
    let report = bench(line).unwrap();
    assert!(report.is_clean(), "{line:?}: {report}");
    match report {
        Report::Load(load) => load.delivered,
        Report::Visits(visits) => visits.connections,
    }
}

#[test]
fn every_scenario_loses_nothing_over_either_transport() {
    let broker = Broker::start();
    for url in [broker.websocket(), broker.tcp()] {
        let count = |line: &[&str]| delivered(&[line, &["--url", &url]].concat());
        let many = ["--messages", "500", "--window", "16"];
        let with = |line: &[&'static str]| [line, &many].concat();
        assert_eq!(
            count(&with(&["fanout", "--subscribers", "7", "--publishers", "2"])),
            7_000
        );
        assert_eq!(
            count(&with(&["queue", "--subscribers", "3", "--publishers", "2"])),
            1_000
        );
        assert_eq!(count(&with(&["queue", "--persistent"])), 500);
        assert_eq!(count(&with(&["pairs", "--publishers", "5"])), 2_500);
        assert_eq!(
            count(&with(&["spread", "--destinations", "9", "--publishers", "2"])),
            1_000
        );
        assert_eq!(count(&["idle", "--subscribers", "40"]), 40);
        assert_eq!(count(&["connect", "--subscribers", "40"]), 40);
    }
}

#[test]
fn one_at_a_time_large_ones_and_a_deep_queue_arrive_too() {
    let broker = Broker::start();
    let url = broker.websocket();
    let count = |line: &[&str]| delivered(&[line, &["--url", &url]].concat());
    assert_eq!(
        count(&["fanout", "--subscribers", "3", "--window", "1", "--messages", "50"]),
        150
    );
    let large = ["--size", "100000", "--window", "4", "--messages", "20"];
    assert_eq!(count(&[&["fanout", "--subscribers", "3"], &large[..]].concat()), 60);
    // Of the backlog some may have come before the measure began; the checker wants all of it.
    assert!(count(&["queue", "--backlog", "3000", "--messages", "100"]) >= 100);
}

#[test]
fn the_open_loop_keeps_its_rate_and_neighbours_change_nothing() {
    let broker = Broker::start();
    let url = broker.tcp();
    let load = ["fanout", "--subscribers", "5", "--publishers", "3", "--rate", "2000"];
    let beside = [
        "--idle",
        "10",
        "--others",
        "700",
        "--patterns",
        "60",
        "--stuck",
        "2",
        "--hot",
        "1",
    ];
    let line = [&load[..], &beside, &["--messages", "40", "--url", &url]].concat();
    assert_eq!(delivered(&line), 600);
}

#[test]
fn a_run_by_time_counts_what_came_in_it() {
    let broker = Broker::start();
    let url = broker.websocket();
    let line = ["pairs", "--publishers", "2", "--duration", "200ms", "--url", &url];
    assert!(delivered(&line) > 0);
}

#[test]
fn what_a_broker_loses_is_told_and_fails_the_run() {
    let mut settings = Settings::default();
    // Whoever has more than one message to read is cut off, and nobody waits for them.
    settings.broker.outbound.messages = 1;
    settings.broker.outbound.patience_ms = 0;
    let broker = Broker::with(settings);
    let url = broker.websocket();
    let line = [
        "fanout",
        "--rate",
        "1000000",
        "--messages",
        "5000",
        "--patience",
        "500ms",
        "--url",
        &url,
    ];
    let report = bench(&line).unwrap();
    assert!(!report.is_clean());
    let Report::Load(load) = report else {
        panic!("no load");
    };
    let (lost, came) = (load.faults.lost, load.delivered);
    assert!(lost > 0, "one message at most may wait, and all are due at once");
    assert_eq!(came + lost, load.sent * 100);
    assert_eq!((load.faults.duplicates, load.faults.reordered), (0, 0));
    let text = load.to_string();
    assert!(text.contains(" lost, 0 twice, 0 out of order"), "{text}");
    assert!(text.contains("trouble     subscriber"), "{text}");
}

#[test]
fn nobody_there_is_told_with_what_to_do() {
    let unused = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let failure = bench(&["fanout", "--url", &format!("ws://{unused}/ws")]).unwrap_err();
    assert!(matches!(failure, Failure::Nobody(_)), "{failure}");
    assert!(failure.to_string().contains("Start one"), "{failure}");
}

#[test]
fn what_the_broker_refuses_is_told() {
    let broker = Broker::start();
    let url = broker.websocket();
    let failure = bench(&["fanout", "--topic-prefix", "/nowhere/", "--url", &url]).unwrap_err();
    assert!(failure.to_string().contains("ERROR"), "{failure}");
    let elsewhere = url.replace("/ws", "/elsewhere");
    let failure = bench(&["fanout", "--url", &elsewhere]).unwrap_err();
    assert!(failure.to_string().contains("no WebSocket at that path"), "{failure}");
}

#[test]
fn options_that_do_not_go_together_are_refused() {
    let refused = |line: &[&str]| matches!(bench(line), Err(Failure::Options(_)));
    assert!(refused(&["queue", "--stuck", "1"]));
    assert!(refused(&["fanout", "--backlog", "1"]));
    assert!(refused(&["fanout", "--size", "8"]));
    assert!(refused(&["fanout", "--window", "0"]));
}
