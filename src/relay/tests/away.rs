//! The broker goes and comes back (R10): what is told, what is lost, what is said again.

use super::*;

fn kept(change: impl FnOnce(&mut Settings)) -> Scene {
    Scene::connected(|settings| {
        settings.keep_ms = 60_000;
        change(settings);
    })
}

/// The broker is lost and comes back; what it is told then.
fn gone_and_back(scene: &mut Scene) -> String {
    scene.lose(Lost::Closed);
    scene.for_broker();
    scene.dial();
    let asked = scene.for_broker();
    assert!(
        asked.starts_with("CONNECT\naccept-version:1.2\nlogin:guest\n"),
        "{asked}"
    );
    scene.broker("CONNECTED\nversion:1.2\n\n^");
    scene.for_broker()
}

#[test]
fn r10_without_keeping_the_client_is_told_at_once() {
    let mut scene = Scene::connected(|_| {});
    scene.lose(Lost::Closed);
    let error = scene.for_client();
    assert!(
        error.starts_with("ERROR\nmessage:Connection to broker closed.\ncode:broker-lost\n"),
        "{error}"
    );
    assert_eq!(scene.closed(), Some((1002, "broker-lost")));
}

#[test]
fn r10_subscriptions_are_said_again_with_their_headers_in_their_order() {
    let mut scene = kept(|_| {});
    scene.client("SUBSCRIBE\nid:z\ndestination:/topic/a\nack:client\nselector:a\\cb\nreceipt:1\n\n^");
    scene
        .client("SUBSCRIBE\nid:b\ndestination:/user/queue/x\n\n^SUBSCRIBE\nid:a\ndestination:/topic/c\nreceipt:2\n\n^");
    scene.broker("RECEIPT\nreceipt-id:1\n\n^");
    scene.client("UNSUBSCRIBE\nid:none\n\n^");
    scene.for_client();
    assert_eq!(
        gone_and_back(&mut scene),
        "SUBSCRIBE\nid:z\ndestination:/topic/a\nack:client\nselector:a\\cb\n\n^\
         SUBSCRIBE\nid:b\ndestination:/queue/x-user00000000000000000000000000000001\nsimpOrigDestination:/user/queue/x\n\n^\
         SUBSCRIBE\nid:a\ndestination:/topic/c\nreceipt:2\n\n^",
        "only what has no RECEIPT asks for it again"
    );
    assert_eq!(scene.for_client(), "", "the client is not told of a second CONNECTED");
    scene.broker("RECEIPT\nreceipt-id:2\n\n^");
    assert_eq!(scene.for_client(), "RECEIPT\nreceipt-id:2\n\n^");
    scene.client("UNSUBSCRIBE\nid:z\n\n^UNSUBSCRIBE\nid:b\n\n^");
    assert_eq!(gone_and_back(&mut scene), "SUBSCRIBE\nid:a\ndestination:/topic/c\n\n^");
    assert_eq!(scene.shared.counters.resumed.get(), 2);
}

#[test]
fn r10_what_is_sent_meanwhile_waits_behind_the_subscriptions() {
    let mut scene = kept(|_| {});
    scene.client("SUBSCRIBE\nid:0\ndestination:/topic/a\n\n^");
    scene.lose(Lost::Closed);
    scene.client("SEND\ndestination:/topic/a\n\n1^SEND\ndestination:/topic/a\n\n2^");
    scene.for_broker();
    scene.dial();
    scene.for_broker();
    scene.broker("CONNECTED\nversion:1.2\n\n^");
    assert_eq!(
        scene.for_broker(),
        "SUBSCRIBE\nid:0\ndestination:/topic/a\n\n^SEND\ndestination:/topic/a\n\n1^SEND\ndestination:/topic/a\n\n2^"
    );
}

#[test]
fn r11_or_it_is_refused() {
    let mut scene = kept(|settings| settings.while_away = WhileAway::Refuse);
    scene.lose(Lost::Closed);
    scene.client("UNSUBSCRIBE\nid:0\n\n^");
    assert_eq!(scene.last, Step::Done);
    scene.client("SEND\ndestination:/topic/a\nreceipt:s\n\n1^");
    assert!(scene
        .for_client()
        .starts_with("ERROR\nmessage:Broker not available.\ncode:broker-unavailable\nreceipt-id:s\n"));
}

#[test]
fn r10_a_client_in_doubt_is_told_and_not_kept() {
    for frame in [
        "SEND\ndestination:/topic/a\nreceipt:r1\n\nx^",
        "ACK\nid:1\nreceipt:r1\n\n^",
        "COMMIT\ntransaction:t\nreceipt:r1\n\n^",
    ] {
        let mut scene = kept(|_| {});
        scene.client(frame).lose(Lost::Closed);
        let error = scene.for_client();
        let told =
            "ERROR\nmessage:Receipt lost with the connection to the broker\ncode:broker-lost-receipt\nreceipt-id:r1\n";
        assert!(error.starts_with(told), "{error}");
        assert_eq!(scene.closed(), Some((1002, "broker-lost-receipt")));
    }
}

#[test]
fn r10_what_the_loss_itself_settles_is_confirmed() {
    let mut scene = kept(|_| {});
    scene.client(
        "UNSUBSCRIBE\nid:0\nreceipt:1\n\n^ABORT\ntransaction:t\nreceipt:2\n\n^BEGIN\ntransaction:u\nreceipt:3\n\n^",
    );
    scene.lose(Lost::Closed);
    assert_eq!(
        scene.for_client(),
        "RECEIPT\nreceipt-id:1\n\n^RECEIPT\nreceipt-id:2\n\n^RECEIPT\nreceipt-id:3\n\n^"
    );
    assert_eq!(scene.last, Step::Done);
}

#[test]
fn r10_a_lost_transaction_is_told_at_its_commit() {
    let mut scene = kept(|_| {});
    scene.client("BEGIN\ntransaction:t\n\n^SEND\ndestination:/queue/a\ntransaction:t\n\n1^");
    assert_eq!(gone_and_back(&mut scene), "");
    scene.client("SEND\ndestination:/queue/a\ntransaction:t\n\n2^SEND\ndestination:/queue/a\n\n3^");
    assert_eq!(scene.for_broker(), "SEND\ndestination:/queue/a\n\n3^");
    scene.client("COMMIT\ntransaction:t\nreceipt:c\n\n^");
    let error = scene.for_client();
    assert!(
        error.contains("\ncode:broker-lost-transaction\nreceipt-id:c\n"),
        "{error}"
    );
    // Given up by the client itself, it is done with.
    let mut scene = kept(|_| {});
    scene.client("BEGIN\ntransaction:t\n\n^");
    gone_and_back(&mut scene);
    scene.client("ABORT\ntransaction:t\nreceipt:a\n\n^");
    assert_eq!(
        (scene.for_client(), scene.for_broker()),
        ("RECEIPT\nreceipt-id:a\n\n^".into(), String::new())
    );
    scene.client("BEGIN\ntransaction:t\n\n^COMMIT\ntransaction:t\n\n^");
    assert_eq!(
        scene.for_broker(),
        "BEGIN\ntransaction:t\n\n^COMMIT\ntransaction:t\n\n^"
    );
}

#[test]
fn r10_acknowledgements_go_to_the_connection_that_delivered() {
    let message = "MESSAGE\nsubscription:0\nmessage-id:m\nack:7\ndestination:/queue/a\n\nx^";
    let mut scene = kept(|_| {});
    scene.broker(message);
    assert_eq!(
        scene.for_client(),
        message,
        "as it came, as long as there has been one connection"
    );
    gone_and_back(&mut scene);
    scene.client("ACK\nid:7\n\n^");
    assert_eq!(scene.for_broker(), "", "the broker delivers it again");
    assert_eq!(scene.shared.counters.stale_acknowledgements.get(), 1);
    scene.broker(message);
    assert_eq!(scene.for_client(), message.replace("ack:7", "ack:~1~7"));
    scene.client("ACK\nid:~1~7\nreceipt:a\n\n^");
    assert_eq!(scene.for_broker(), "ACK\nid:7\nreceipt:a\n\n^");
    scene.broker("RECEIPT\nreceipt-id:a\n\n^");
    gone_and_back(&mut scene);
    scene.for_client();
    scene.client("NACK\nid:~1~7\nreceipt:b\n\n^");
    assert!(scene
        .for_client()
        .contains("\ncode:broker-lost-delivery\nreceipt-id:b\n"));
}

#[test]
fn r10_in_old_versions_the_message_id_tells() {
    let mut scene = Scene::new(|settings| settings.keep_ms = 60_000);
    scene.connect("1.1");
    scene.lose(Lost::Closed);
    scene.dial();
    scene.broker("CONNECTED\nversion:1.1\n\n^");
    scene.for_broker();
    scene.for_client();
    scene.broker("MESSAGE\nsubscription:0\nmessage-id:m\ndestination:/queue/a\n\nx^");
    assert_eq!(
        scene.for_client(),
        "MESSAGE\nsubscription:0\nmessage-id:~1~m\ndestination:/queue/a\n\nx^"
    );
    scene.client("ACK\nsubscription:0\nmessage-id:~1~m\n\n^");
    assert_eq!(scene.for_broker(), "ACK\nsubscription:0\nmessage-id:m\n\n^");
}

#[test]
fn r10_who_asks_hears_of_going_and_coming() {
    let mut scene = kept(|_| {});
    scene.client("SUBSCRIBE\nid:s\ndestination:/relay/status\nreceipt:1\n\n^BEGIN\ntransaction:t\n\n^");
    assert_eq!(scene.for_broker(), "BEGIN\ntransaction:t\n\n^");
    assert_eq!(scene.for_client(), "RECEIPT\nreceipt-id:1\n\n^");
    gone_and_back(&mut scene);
    let told = |number: u32, what: &str| {
        let body = format!("{{\"broker\":\"{what}\",\"lost_transactions\":[\"t\"]}}");
        format!(
            "MESSAGE\nsubscription:s\nmessage-id:relay-{number}\ndestination:/relay/status\ncontent-type:application/json\n\
             content-length:{}\n\n{body}^",
            body.len()
        )
    };
    assert_eq!(scene.for_client(), told(1, "lost") + &told(2, "back"));
    scene.client("UNSUBSCRIBE\nid:s\nreceipt:2\n\n^");
    assert_eq!(
        (scene.for_client(), scene.for_broker()),
        ("RECEIPT\nreceipt-id:2\n\n^".into(), String::new())
    );
}

#[test]
fn r10_the_broker_is_back_when_it_has_confirmed_the_subscriptions() {
    let mut scene = kept(|_| {});
    scene.client(
        "SUBSCRIBE\nid:s\ndestination:/relay/status\n\n^SUBSCRIBE\nid:0\ndestination:/topic/a\nreceipt:1\n\n^\
         SUBSCRIBE\nid:1\ndestination:/user/queue/x\n\n^",
    );
    scene.broker("RECEIPT\nreceipt-id:1\n\n^");
    scene.for_client();
    let is = |said: &str, what: &str| said.contains(&format!("\"broker\":\"{what}\""));
    for round in 1..=2 {
        let said = gone_and_back(&mut scene);
        let ours = format!("receipt:~{round}~back\n\n^");
        assert!(
            said.starts_with("SUBSCRIBE\nid:0\ndestination:/topic/a\n\n^SUBSCRIBE\nid:1\n") && said.ends_with(&ours)
        );
        let told = scene.for_client();
        assert!(is(&told, "lost") && !is(&told, "back"), "{told}");
        scene.broker("MESSAGE\nsubscription:0\nmessage-id:1\ndestination:/topic/a\n\nx^");
        assert!(scene.for_client().starts_with("MESSAGE\nsubscription:0\n"));
        scene.broker(&format!("RECEIPT\nreceipt-id:~{round}~back\n\n^"));
        let told = scene.for_client();
        assert!(is(&told, "back") && !told.contains("RECEIPT"), "{told}");
    }
    // The last may still be asking for the client's own, which then says it.
    scene
        .client("UNSUBSCRIBE\nid:0\n\n^SUBSCRIBE\nid:2\ndestination:/topic/b\nreceipt:2\n\n^")
        .for_broker();
    assert!(gone_and_back(&mut scene).ends_with("SUBSCRIBE\nid:2\ndestination:/topic/b\nreceipt:2\n\n^"));
    assert!(!is(&scene.for_client(), "back"));
    scene.broker("RECEIPT\nreceipt-id:2\n\n^");
    let told = scene.for_client();
    assert!(
        told.starts_with("RECEIPT\nreceipt-id:2\n\n^MESSAGE\n") && is(&told, "back"),
        "{told}"
    );
}

#[test]
fn r10_no_client_is_kept_for_ever() {
    let mut scene = kept(|_| {});
    scene.lose(Lost::Closed);
    while !scene.relay.is_over() {
        scene.now = scene.relay.due().unwrap();
        // It is there, and silent: no heart-beats were agreed on.
        scene.relay.heard_client(scene.now);
        scene.last = scene.relay.advance(&mut scene.written, scene.now);
        if scene.relay.dials(scene.now) {
            scene.lose(Lost::NotConnected("connection refused".into()));
        }
    }
    assert_eq!((scene.closed(), scene.now), (Some((1002, "broker-lost")), 60_000));
}

#[test]
fn r11_a_connect_may_wait_for_the_broker() {
    let shared = shared(|settings| settings.keep_ms = 60_000);
    shared.upstream.set_available(false);
    let mut scene = Scene::of(&shared, 1);
    scene.client("CONNECT\naccept-version:1.2\n\n^SEND\ndestination:/topic/a\n\nx^");
    for _ in 0..5 {
        assert!(!scene.relay.dials(scene.now), "the system connection is asked first");
        scene.now = scene.relay.due().unwrap();
    }
    shared.upstream.set_available(true);
    scene.dial();
    scene.for_broker();
    scene.broker("CONNECTED\nversion:1.2\n\n^");
    assert!(scene.for_client().starts_with("CONNECTED\n"));
    assert_eq!(scene.for_broker(), "SEND\ndestination:/topic/a\n\nx^");
    shared.upstream.set_available(false);
    let mut late = Scene::of(&shared, 2);
    late.client("CONNECT\naccept-version:1.2\n\n^").pass(60_000);
    assert_eq!(late.closed(), Some((1002, "broker-unavailable")));
}

#[test]
fn r10_a_broker_that_is_still_on_its_way_up_is_asked_again() {
    let mut scene = kept(|_| {});
    scene.lose(Lost::Closed);
    scene.dial();
    scene.broker("ERROR\nmessage:starting\n\n^");
    assert_eq!((scene.last.clone(), scene.for_client()), (Step::Done, String::new()));
    scene.dial();
    scene.broker("CONNECTED\nversion:1.2\n\n^");
    assert_eq!(scene.shared.counters.resumed.get(), 1);
}

#[test]
fn r10_what_is_kept_for_later_is_bounded() {
    let mut scene = kept(|_| {});
    scene.client(
        "SUBSCRIBE\nid:0\ndestination:/topic/a\n\n^SUBSCRIBE\nid:0\ndestination:/topic/a\n\n^"
            .repeat(9)
            .as_str(),
    );
    scene.client("SUBSCRIBE\nid:1\ndestination:/topic/a\n\n^SUBSCRIBE\nid:2\ndestination:/topic/a\n\n^");
    assert_eq!(scene.last, Step::Done);
    scene.client("SUBSCRIBE\nid:3\ndestination:/topic/a\n\n^");
    assert_eq!(scene.closed(), Some((1008, "too-many-subscriptions")));
    let mut scene = kept(|settings| settings.pending_bytes = 400);
    scene.client("SUBSCRIBE\nid:0\ndestination:/topic/a\n\n^");
    scene.client(&format!("SUBSCRIBE\nid:1\ndestination:/topic/{}\n\n^", "a".repeat(200)));
    assert_eq!(scene.closed(), Some((1008, "too-many-subscriptions")));
    let mut scene = kept(|_| {});
    scene.client("BEGIN\ntransaction:1\n\n^BEGIN\ntransaction:2\n\n^");
    assert_eq!(scene.last, Step::Done);
    scene.client("BEGIN\ntransaction:3\n\n^");
    assert_eq!(scene.closed(), Some((1008, "too-many-transactions")));
}
