//! Frames both ways, heart-beats on each side, and the ends of a session (R6, R7, R8, R9).

use super::*;

#[test]
fn r6_frames_pass_as_they_came() {
    let frames = "SEND\ndestination:/topic/a\nx:a\\cb\\n\nfoo:1\nfoo:2\ncontent-length:3\n\na\0b^\
                  SUBSCRIBE\nid:0\ndestination:/topic/a\nack:client\nselector:x = 'y'\n\n^\
                  ACK\nid:7\ntransaction:t\n\n^NACK\nid:8\n\n^BEGIN\ntransaction:t\n\n^COMMIT\ntransaction:t\n\n^\
                  ABORT\ntransaction:u\n\n^SEND\n\n^UNSUBSCRIBE\nid:0\n\n^"
        .replace('\0', "^");
    let mut scene = Scene::connected(|_| {});
    scene.client(&frames);
    assert_eq!(scene.for_broker(), frames);
    assert_eq!(scene.for_client(), "");
}

#[test]
fn r6_heart_beats_and_line_ends_are_not_passed_on() {
    let mut scene = Scene::connected(|_| {});
    scene.client("\n\r\n\nSEND\ndestination:/topic/a\n\nx^\n\n");
    assert_eq!(scene.for_broker(), "SEND\ndestination:/topic/a\n\nx^");
    scene.broker("\n\n\n");
    assert_eq!(scene.for_client(), "");
}

#[test]
fn r6_only_what_is_relayed_passes() {
    let mut scene = Scene::connected(|settings| settings.prefixes = vec!["/topic/".into(), "/queue/".into()]);
    scene.client("SEND\ndestination:/queue/a\n\nx^SUBSCRIBE\nid:1\ndestination:/user/queue/a\n\n^");
    assert_eq!(scene.last, Step::Done);
    scene.for_broker();
    scene.client("SEND\ndestination:/app/a\nreceipt:r\n\nx^");
    let error = scene.for_client();
    assert!(
        error.starts_with(
            "ERROR\nmessage:Destination is not relayed\ncode:not-relayed\nreceipt-id:r\ndestination:/app/a\n"
        ),
        "{error}"
    );
}

#[test]
fn r7_frames_of_the_broker_pass_as_they_came() {
    let frames = "MESSAGE\nsubscription:0\nmessage-id:a\\cb\ndestination:/topic/a\nfoo:1\nfoo:2\n\nhi^RECEIPT\nreceipt-id:9\n\n^";
    let mut scene = Scene::connected(|_| {});
    scene.broker(&frames.replace('^', "^\n"));
    assert_eq!(scene.for_client(), frames);
    scene.broker("MESSAGE\nsubscription:0\ndestination:/topic/a\ncontent-length: 2 \n\n\u{0}x^");
    assert_eq!(
        scene.for_client(),
        "MESSAGE\nsubscription:0\ndestination:/topic/a\ncontent-length:2\n\n^x^"
    );
}

#[test]
fn f1_an_error_of_the_broker_ends_the_session() {
    let mut scene = Scene::connected(|_| {});
    scene.broker("ERROR\nmessage:not_found\nreceipt-id:3\n\nno queue^");
    assert_eq!(
        scene.for_client(),
        "ERROR\nmessage:not_found\nreceipt-id:3\n\nno queue^"
    );
    assert_eq!(scene.closed(), Some((1002, "broker-error")));
    assert_eq!(scene.for_broker(), "");
}

#[test]
fn r8_disconnect_with_a_receipt_closes_after_it() {
    let mut scene = Scene::connected(|_| {});
    scene.client("DISCONNECT\nreceipt:bye\n\n^SEND\ndestination:/topic/late\n\nx^");
    assert_eq!(scene.for_broker(), "DISCONNECT\nreceipt:bye\n\n^");
    assert_eq!(scene.last, Step::Done);
    scene.broker("RECEIPT\nreceipt-id:bye\n\n^");
    assert_eq!(scene.for_client(), "RECEIPT\nreceipt-id:bye\n\n^");
    assert_eq!(scene.closed(), Some((1000, "disconnect")));
    assert_eq!(scene.for_broker(), "", "good-bye is said once");
}

#[test]
fn r8_disconnect_without_a_receipt_closes_at_once() {
    let mut scene = Scene::connected(|_| {});
    scene.client("DISCONNECT\n\n^");
    assert_eq!(
        (scene.for_broker(), scene.for_client()),
        ("DISCONNECT\n\n^".into(), String::new())
    );
    assert_eq!(scene.closed(), Some((1000, "disconnect")));
    assert_eq!(scene.shared.users.counts(), (0, 0));
}

#[test]
fn r8_a_broker_that_closes_instead_of_answering_is_told() {
    for keep_ms in [0, 60_000] {
        let mut scene = Scene::connected(|settings| settings.keep_ms = keep_ms);
        scene.client("DISCONNECT\nreceipt:bye\n\n^");
        scene.lose(Lost::Closed);
        assert!(scene
            .for_client()
            .starts_with("ERROR\nmessage:Connection to broker closed.\n"));
    }
    let mut scene = Scene::connected(|_| {});
    scene.client("DISCONNECT\nreceipt:bye\n\n^").pass(10_000);
    assert_eq!(scene.closed(), Some((1002, "broker-lost")));
}

#[test]
fn r9_for_a_client_that_vanished_the_broker_is_told() {
    let mut scene = Scene::connected(|_| {});
    scene.relay.gone(&mut scene.written);
    assert_eq!(scene.for_broker(), "DISCONNECT\n\n^");
    assert_eq!(scene.shared.users.counts(), (0, 0));
    let mut early = Scene::new(|_| {});
    early.client("CONNECT\n\n^").dial();
    early.for_broker();
    early.relay.gone(&mut early.written);
    assert_eq!(early.for_broker(), "", "a session that never was is not ended");
}

/// A client and a broker that both agreed on 10 s each way.
fn beating() -> Scene {
    let mut scene = Scene::new(|_| {});
    scene
        .client("CONNECT\naccept-version:1.2\nheart-beat:10000,10000\n\n^")
        .dial();
    scene.broker("CONNECTED\nversion:1.2\nheart-beat:10000,10000\n\n^");
    scene.written = Written::default();
    scene
}

/// Lets time pass until `end`; whoever is in `speak` gives signs of life each second.
fn run(scene: &mut Scene, end: u64, (client, broker): (bool, bool)) {
    let mut second = 0;
    while scene.now < end && scene.last == Step::Done {
        scene.now = scene.relay.due().unwrap_or(end).clamp(scene.now + 1, end);
        while second < scene.now {
            second += 1_000;
            if client {
                scene.relay.heard_client(second);
            }
            if broker {
                scene.relay.heard_upstream(second);
            }
        }
        scene.last = scene.relay.advance(&mut scene.written, scene.now);
    }
}

#[test]
fn heart_beats_end_on_each_side() {
    let mut scene = beating();
    run(&mut scene, 60_000, (true, true));
    assert_eq!(scene.last, Step::Done);
    let (to_client, to_broker) = (scene.for_client(), scene.for_broker());
    assert!(
        (6..=20).contains(&to_client.len()) && to_client.trim().is_empty(),
        "{to_client:?}"
    );
    assert!(
        (6..=20).contains(&to_broker.len()) && to_broker.trim().is_empty(),
        "{to_broker:?}"
    );
}

#[test]
fn c4_a_client_that_only_sends_keeps_the_broker_content() {
    let mut scene = beating();
    // Nothing of it reaches the broker; ours do.
    run(&mut scene, 100_000, (true, true));
    assert_eq!(scene.last, Step::Done);
    assert!(scene.for_broker().len() >= 10);
}

#[test]
fn a_silent_broker_is_lost_and_a_silent_client_is_asked() {
    let mut scene = beating();
    run(&mut scene, 100_000, (true, false));
    assert_eq!(scene.closed(), Some((1002, "broker-silent")));
    assert_eq!(scene.now, 30_000);
    assert!(scene
        .for_client()
        .contains("message:No messages received in 30000 ms.\n"));
    let mut scene = beating();
    run(&mut scene, 100_000, (false, true));
    assert_eq!((scene.last.clone(), scene.now), (Step::Probe, 21_000));
    scene.last = Step::Done;
    run(&mut scene, 100_000, (false, true));
    assert_eq!(scene.closed(), Some((1002, "silent")));
    assert!(scene.for_broker().ends_with("DISCONNECT\n\n^"));
}

#[test]
fn as_many_receipts_as_may_be_owed_are_and_then_nothing_is_read() {
    let mut scene = Scene::connected(|settings| settings.receipts = 2);
    scene.client("SEND\ndestination:/topic/a\nreceipt:1\n\nx^");
    assert!(scene.relay.accepts_input());
    scene.client("SEND\ndestination:/topic/a\nreceipt:2\n\nx^");
    assert!(!scene.relay.accepts_input());
    scene.broker("RECEIPT\nreceipt-id:2\n\n^");
    assert!(scene.relay.accepts_input());
}

#[test]
fn a_stopping_server_waits_for_what_the_broker_owes() {
    let mut scene = Scene::connected(|_| {});
    scene.client("SEND\ndestination:/topic/a\nreceipt:1\n\nx^");
    assert_eq!(scene.relay.shutdown(&mut scene.written), Step::Done);
    scene.for_broker();
    scene.broker("RECEIPT\nreceipt-id:1\n\n^");
    assert_eq!(scene.closed(), Some((1001, "shutdown")));
    assert_eq!(scene.for_client(), "RECEIPT\nreceipt-id:1\n\n^");
    assert_eq!(scene.for_broker(), "DISCONNECT\n\n^");
}

#[test]
fn a_frame_that_does_not_end_is_not_waited_for_for_ever() {
    let mut scene = Scene::connected(|_| {});
    scene.relay.holds(10, 0);
    scene.relay.holds(2_000, 59_000);
    scene.pass(60_000);
    assert_eq!(scene.closed(), Some((1008, "frame-timeout")));
}

#[test]
fn codes_are_unique_and_plain() {
    for (index, kind) in fault::TABLE.iter().enumerate() {
        let others = fault::TABLE.iter().skip(index + 1);
        assert!(others.clone().all(|other| other.code != kind.code), "{kind:?}");
        assert!(
            kind.code
                .bytes()
                .all(|octet| octet.is_ascii_lowercase() || octet == b'-'),
            "{kind:?}"
        );
        assert!((1000..=1011).contains(&kind.close), "{kind:?}");
    }
}
