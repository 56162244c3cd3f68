//! Whatever both sides say, in whatever order the broker comes and goes.

use proptest::prelude::*;
use proptest::sample::select;

use super::*;

/// One thing that happens.
#[derive(Clone, Debug)]
enum Event {
    Client(&'static str),
    Broker(&'static str),
    Dial,
    Lost(Lost),
    Available(bool),
    Pass(u64),
    GoOn,
    Stop,
    Gone,
}

const CLIENT: &[&str] = &[
    "CONNECT\naccept-version:1.1,1.2\nlogin:ann\nheart-beat:1000,1000\n\n^",
    "SUBSCRIBE\nid:0\ndestination:/user/queue/a\nreceipt:s\n\n^",
    "SUBSCRIBE\nid:1\ndestination:/topic/a\n\n^",
    "SUBSCRIBE\nid:2\ndestination:/relay/status\nreceipt:z\n\n^",
    "UNSUBSCRIBE\nid:0\nreceipt:u\n\n^",
    "SEND\ndestination:/topic/a\n\nx^",
    "SEND\ndestination:/user/ann/queue/a\nreceipt:r\n\nx^",
    "ACK\nid:1\n\n^",
    "ACK\nid:~1~1\n\n^",
    "BEGIN\ntransaction:t\n\n^",
    "COMMIT\ntransaction:t\nreceipt:c\n\n^",
    "ABORT\ntransaction:t\n\n^",
    "DISCONNECT\nreceipt:bye\n\n^",
];

const BROKER: &[&str] = &[
    "CONNECTED\nversion:1.2\nheart-beat:1000,1000\n\n^",
    "CONNECTED\nversion:1.1\n\n^",
    "MESSAGE\nsubscription:1\nmessage-id:1\nack:1\ndestination:/topic/a\n\nx^",
    "MESSAGE\nsubscription:0\nmessage-id:1\ndestination:/queue/a-user00000000000000000000000000000001\n\nx^",
    "MESSAGE\nsubscription:1\nack:2\ndestination:/topic/a-user0000000000000000000000000000000f\n\nforeign^",
    "RECEIPT\nreceipt-id:r\n\n^",
    "RECEIPT\nreceipt-id:s\n\n^",
    "RECEIPT\nreceipt-id:bye\n\n^",
    "ERROR\nmessage:no\n\n^",
];

fn event() -> impl Strategy<Value = Event> {
    let lost = vec![
        Lost::Closed,
        Lost::NotConnected("refused".into()),
        Lost::Broken("reset".into()),
        Lost::Silent(1),
    ];
    prop_oneof![
        8 => select(CLIENT).prop_map(Event::Client),
        8 => select(BROKER).prop_map(Event::Broker),
        4 => Just(Event::Dial),
        2 => select(lost).prop_map(Event::Lost),
        1 => any::<bool>().prop_map(Event::Available),
        3 => (0..30_000u64).prop_map(Event::Pass),
        2 => Just(Event::GoOn),
        1 => Just(Event::Stop),
        1 => Just(Event::Gone),
    ]
}

/// What holds after each event.
fn check(scene: &mut Scene, had_upstream: bool, was_over: bool) {
    let (client, broker) = (scene.for_client(), scene.for_broker());
    assert!(
        broker.is_empty() || had_upstream || scene.relay.has_upstream(),
        "written to nobody: {broker}"
    );
    assert!(
        !was_over || (client.is_empty() && broker.is_empty()),
        "after the end: {client} {broker}"
    );
    assert!(!client.contains("foreign"), "another's: {client}");
    let ends = client.matches("ERROR\n").count();
    assert!(ends <= 1 && (ends == 0 || scene.relay.is_over()), "{client}");
    assert!(
        scene.relay.due().is_some() || scene.relay.is_over(),
        "waits for nothing"
    );
    if scene.relay.is_over() {
        assert!(!scene.relay.has_upstream() && !scene.relay.accepts_input() && !scene.relay.has_more());
        assert_eq!(scene.shared.users.counts(), (0, 0));
    }
}

fn happens(scene: &mut Scene, event: &Event) {
    match event {
        // A connection asks before it reads a frame.
        Event::Client(text) if scene.relay.accepts_input() => drop(scene.client(text)),
        Event::Broker(text) if scene.relay.has_upstream() => drop(scene.broker(text)),
        Event::Client(_) | Event::Broker(_) => {}
        Event::Dial => {
            if scene.relay.dials(scene.now) {
                scene.readers.1 = Decoder::new(LIMITS);
                scene.relay.dialled(&mut scene.written, scene.now);
            }
        }
        Event::Lost(why) if scene.relay.has_upstream() => drop(scene.lose(why.clone())),
        Event::Lost(_) => {}
        Event::Available(available) => drop(scene.shared.upstream.set_available(*available)),
        Event::Pass(ms) => drop(scene.pass(*ms)),
        Event::GoOn => {
            if scene.relay.has_more() {
                scene.last = scene.relay.go_on(&mut scene.written, scene.now);
            }
        }
        Event::Stop => scene.last = scene.relay.shutdown(&mut scene.written),
        Event::Gone => scene.relay.gone(&mut scene.written),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_024, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_written_where_nobody_reads(keep: bool, small: bool, far in 0..4u8, events in proptest::collection::vec(event(), 1..60)) {
        let shared = shared(|settings| {
            settings.keep_ms = if keep { 20_000 } else { 0 };
            if small {
                settings.pending_frames = 2;
                settings.receipts = 2;
                settings.upstream_buffer = 1;
            }
        });
        let edge = Edge { user_send: UserSend::Any, ..edge() };
        let mut scene = Scene::at(&shared, 1, edge);
        // Most sequences would never get as far by themselves.
        let begin = [Event::Client(CLIENT[0]), Event::Dial, Event::Broker(BROKER[0])];
        for event in begin.iter().take(usize::from(far)) {
            happens(&mut scene, event);
        }
        scene.written = Written::default();
        for event in &events {
            let (had_upstream, was_over) = (scene.relay.has_upstream(), scene.relay.is_over());
            happens(&mut scene, event);
            check(&mut scene, had_upstream, was_over);
        }
    }
}
