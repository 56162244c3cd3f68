//! `/user` destinations resolved at the edge (G1, G2, G4, G5).

use super::*;

const TOKEN: &str = "00000000000000000000000000000001";

/// A client that may SEND to users.
fn sender(shared: &Arc<Shared>, id: u128) -> Scene {
    let edge = Edge {
        user_send: UserSend::Any,
        ..edge()
    };
    let mut scene = Scene::at(shared, id, edge);
    scene.connect("1.2");
    scene
}

fn sending(change: impl FnOnce(&mut Settings)) -> Scene {
    sender(&shared(change), 1)
}

#[test]
fn g1_a_user_subscription_is_the_sessions_own_behind() {
    let mut scene = Scene::connected(|_| {});
    scene.client("SUBSCRIBE\nid:sub-u\ndestination:/user/queue/pos\nreceipt:r2\nauto-delete:true\n\n^");
    assert_eq!(
        scene.for_broker(),
        format!(
            "SUBSCRIBE\nid:sub-u\ndestination:/queue/pos-user{TOKEN}\nreceipt:r2\nauto-delete:true\nsimpOrigDestination:/user/queue/pos\n\n^"
        )
    );
    scene.client("UNSUBSCRIBE\nid:sub-u\n\n^");
    assert_eq!(scene.for_broker(), "UNSUBSCRIBE\nid:sub-u\n\n^");
    scene.client("UNSUBSCRIBE\ndestination:/user/queue/pos\n\n^");
    assert_eq!(
        scene.for_broker(),
        format!("UNSUBSCRIBE\ndestination:/queue/pos-user{TOKEN}\n\n^")
    );
}

#[test]
fn r7_the_destination_of_a_message_is_restored() {
    let mut scene = Scene::connected(|_| {});
    scene.broker(&format!(
        "MESSAGE\nsubscription:0\ndestination:/queue/pos-user{TOKEN}\nsimpOrigDestination:/user/queue/pos\nk:v\n\nP1^"
    ));
    assert_eq!(
        scene.for_client(),
        "MESSAGE\nsubscription:0\ndestination:/user/queue/pos\nk:v\n\nP1^"
    );
    scene.broker(&format!(
        "MESSAGE\nsubscription:0\ndestination:/queue/pos-user{TOKEN}\n\nP1^"
    ));
    assert_eq!(
        scene.for_client(),
        "MESSAGE\nsubscription:0\ndestination:/user/queue/pos\n\nP1^"
    );
}

#[test]
fn a_header_of_that_name_elsewhere_passes_untouched() {
    let mut scene = Scene::connected(|_| {});
    let message = "MESSAGE\nsubscription:0\ndestination:/topic/a\nsimpOrigDestination:/user/queue/pos\n\nP1^";
    scene.broker(message);
    assert_eq!(scene.for_client(), message);
}

#[test]
fn g4_nobody_sends_to_users_or_reads_what_is_others() {
    let foreign = "0000000000000000000000000000000f";
    for text in [
        "SEND\ndestination:/user/ann/queue/pos\n\nx^".to_owned(),
        format!("SEND\ndestination:/queue/pos-user{foreign}\n\nx^"),
        format!("SUBSCRIBE\nid:1\ndestination:/queue/pos-user{foreign}\n\n^"),
        "SUBSCRIBE\nid:1\ndestination:/queue/**\n\n^".to_owned(),
        "SUBSCRIBE\nid:1\ndestination:/queue/a,/queue/>\n\n^".to_owned(),
        "SUBSCRIBE\nid:1\ndestination:/queue/a.*\n\n^".to_owned(),
    ] {
        let mut scene = Scene::connected(|_| {});
        scene.client(&text);
        let error = scene.for_client();
        assert!(error.contains("\ncode:not-owner\n"), "{text}: {error}");
        assert_eq!(scene.for_broker(), "DISCONNECT\n\n^");
        assert_eq!(scene.closed(), Some((1008, "not-owner")));
    }
}

#[test]
fn others_private_messages_are_withheld_from_patterns() {
    let mut scene = Scene::connected(|_| {});
    let foreign = "/topic/pos-user0000000000000000000000000000000f";
    scene.broker(&format!("MESSAGE\nsubscription:0\ndestination:{foreign}\n\nx^"));
    scene.broker(&format!("MESSAGE\nsubscription:0\nack:7\ndestination:{foreign}\n\nx^"));
    assert_eq!(
        (scene.for_client(), scene.for_broker()),
        (String::new(), "ACK\nid:7\n\n^".to_owned())
    );
    assert_eq!(scene.shared.counters.withheld.get(), 2);
}

#[test]
fn g2_one_send_for_each_session_of_the_user() {
    let shared = shared(|settings| {
        settings.user_headers = vec!["auto-delete:true".into()];
    });
    let mut scenes: Vec<Scene> = (1..=3).map(|id| sender(&shared, id)).collect();
    scenes[0].client("SEND\ndestination:/user/ann/queue/pos\nsimpOrigDestination:/user/forged\nk:v\nreceipt:r\n\nP1^");
    let send = |id: u32, receipt: &str| {
        format!(
            "SEND\ndestination:/queue/pos-user{id:032x}\nk:v\n{receipt}simpOrigDestination:/user/queue/pos\nauto-delete:true\n\nP1^"
        )
    };
    assert_eq!(
        scenes[0].for_broker(),
        [send(1, ""), send(2, ""), send(3, "receipt:r\n")].concat(),
        "the RECEIPT is asked for with the last"
    );
    drop(scenes.remove(2));
    scenes[0].client("SEND\ndestination:/user/ann/queue/pos\nk:v\n\nP1^");
    assert_eq!(scenes[0].for_broker(), [send(1, ""), send(2, "")].concat());
}

#[test]
fn g4_one_may_be_allowed_to_reach_oneself() {
    let edge = Edge {
        user_send: UserSend::Own,
        ..edge()
    };
    let mut scene = Scene::at(&shared(|_| {}), 1, edge);
    scene.connect("1.2");
    scene.client("SEND\ndestination:/user/ann/queue/pos\n\nx^");
    assert!(scene
        .for_broker()
        .starts_with(&format!("SEND\ndestination:/queue/pos-user{TOKEN}\n")));
    scene.client("SEND\ndestination:/user/bob/queue/pos\n\nx^");
    assert_eq!(scene.closed(), Some((1008, "not-owner")));
}

#[test]
fn g5_an_unknown_user_is_asked_for_elsewhere_or_counted() {
    let mut scene = sending(|_| {});
    scene.client("SEND\ndestination:/user/bob/queue/x\nreceipt:r\n\nP^");
    assert_eq!(scene.for_broker(), "");
    assert_eq!(scene.for_client(), "RECEIPT\nreceipt-id:r\n\n^");
    assert_eq!(scene.shared.counters.unresolved_users.get(), 1);
    let mut scene = sending(|settings| settings.user_broadcast = "/topic/unresolved".into());
    scene.client("SEND\ndestination:/user/bob/queue/x\nreceipt:r\n\nP^");
    assert_eq!(
        scene.for_broker(),
        "SEND\ndestination:/topic/unresolved\nreceipt:r\nsimpOrigDestination:/user/bob/queue/x\n\nP^"
    );
}

/// The system connection, with what it has written.
fn system(shared: &Arc<Shared>) -> (System, Vec<u8>) {
    let mut out = Vec::new();
    let system = System::new(Arc::clone(shared), &mut out, 0);
    (system, out)
}

fn hear(system: &mut System, text: &str, out: &mut Vec<u8>, now: u64) -> Heard {
    let octets = text.replace('^', "\0").into_bytes();
    let mut input = octets.as_slice();
    let mut decoder = Decoder::new(LIMITS);
    let frame = decoder.decode(&mut input).unwrap().unwrap();
    system.receive(&frame, out, now)
}

#[test]
fn r1_r3_the_system_connection_asks_subscribes_and_resolves() {
    let shared = shared(|settings| settings.user_broadcast = "/topic/unresolved".into());
    let mut ann = Scene::of(&shared, 1);
    ann.connect("1.2");
    let (mut system, mut out) = system(&shared);
    assert_eq!(
        shown(&out),
        "CONNECT\naccept-version:1.1,1.2\nlogin:guest\npasscode:guest\nheart-beat:10000,10000\n\n^"
    );
    out.clear();
    assert_eq!(system.due(), Some(60_000));
    let connected = "CONNECTED\nversion:1.2\nheart-beat:10000,10000\n\n^";
    assert_eq!(hear(&mut system, connected, &mut out, 5), Heard::Available);
    assert_eq!(shown(&out), "SUBSCRIBE\nid:0\ndestination:/topic/unresolved\n\n^");
    out.clear();
    let asked = "MESSAGE\nsubscription:0\nmessage-id:1\ndestination:/topic/unresolved\nsimpOrigDestination:/user/ann/queue/x\nk:v\n\nP^";
    assert_eq!(hear(&mut system, asked, &mut out, 6), Heard::Nothing);
    assert_eq!(
        shown(&out),
        format!("SEND\ndestination:/queue/x-user{TOKEN}\nk:v\nsimpOrigDestination:/user/queue/x\n\nP^")
    );
    out.clear();
    let stranger = asked.replace("/user/ann", "/user/bob");
    hear(&mut system, &stranger, &mut out, 7);
    assert_eq!(shown(&out), "", "nobody here, and it is not sent round again");
}

#[test]
fn r1_the_system_connection_beats_and_gives_a_silent_broker_up() {
    let shared = shared(|settings| settings.host = "/v".into());
    let (mut system, mut out) = system(&shared);
    assert!(shown(&out).contains("\nhost:/v\n"));
    out.clear();
    hear(
        &mut system,
        "CONNECTED\nversion:1.1\nheart-beat:10000,10000\n\n^",
        &mut out,
        0,
    );
    let (mut beats, mut lost) = (0, None);
    while let (Some(due), None) = (system.due(), &lost) {
        lost = system.advance(&mut out, due).map(|why| (due, why));
        beats += out.drain(..).filter(|octet| *octet == b'\n').count();
        system.sent(due);
    }
    assert_eq!(lost, Some((30_000, Lost::Silent(30_000))));
    assert!(beats >= 4, "{beats}");
}

#[test]
fn r1_a_refused_system_connection_is_of_no_use() {
    let shared = shared(|_| {});
    let (mut system, mut out) = system(&shared);
    let error = hear(&mut system, "ERROR\nmessage:Bad CONNECT\n\n^", &mut out, 0);
    assert_eq!(error, Heard::Lost(Lost::Refused("Bad CONNECT".into())));
    assert_eq!(system.advance(&mut out, 60_000), Some(Lost::NoConnected(60_000)));
}

#[test]
fn r14_what_the_program_sends_is_numbered_and_confirmed() {
    let shared = shared(|_| {});
    let (mut system, mut out) = system(&shared);
    hear(&mut system, "CONNECTED\nversion:1.2\n\n^", &mut out, 0);
    out.clear();
    let headers = [("k".to_owned(), "a:b".to_owned())];
    assert_eq!(system.publish("/topic/a", &headers, b"hi", &mut out), 1);
    assert_eq!(
        shown(&out),
        "SEND\ndestination:/topic/a\nk:a\\cb\nreceipt:p-1\ncontent-length:2\n\nhi^"
    );
    assert_eq!(
        hear(&mut system, "RECEIPT\nreceipt-id:p-1\n\n^", &mut out, 1),
        Heard::Taken(1)
    );
    assert_eq!(
        hear(&mut system, "RECEIPT\nreceipt-id:x\n\n^", &mut out, 1),
        Heard::Nothing
    );
}

#[test]
fn a_large_message_to_many_sessions_goes_out_in_parts_and_others_wait() {
    let shared = shared(|settings| settings.upstream_buffer = 1_000);
    let scenes: Vec<Scene> = (2..=10).map(|id| sender(&shared, id)).collect();
    let mut scene = sender(&shared, 1);
    let body = "x".repeat(600);
    scene.client(&format!("SEND\ndestination:/user/ann/queue/pos\nreceipt:r\n\n{body}^"));
    assert_eq!(scene.for_broker().matches("SEND\n").count(), 2);
    assert!(scene.relay.has_more() && !scene.relay.accepts_input());
    scene.client("SEND\ndestination:/topic/a\n\nafter^");
    assert_eq!(scene.for_broker(), "", "its turn comes");
    assert_eq!(scene.relay.shutdown(&mut scene.written), Step::Done);
    let mut parts = Vec::new();
    while scene.relay.has_more() {
        scene.relay.go_on(&mut scene.written, 0);
        parts.push(scene.for_broker());
    }
    let counts: Vec<usize> = parts.iter().map(|part| part.matches("-user").count()).collect();
    assert_eq!(counts, [2, 2, 2, 2]);
    let last = parts.concat();
    assert_eq!(last.matches("\nreceipt:r\n").count(), 1);
    assert!(last.ends_with("SEND\ndestination:/topic/a\n\nafter^"));
    drop(scenes);
}

#[test]
fn what_has_gone_to_some_sessions_is_in_doubt_when_the_broker_is_lost() {
    let shared = shared(|settings| {
        settings.upstream_buffer = 1;
        settings.keep_ms = 60_000;
    });
    let _other = sender(&shared, 2);
    let mut scene = sender(&shared, 1);
    scene.client("SEND\ndestination:/user/ann/queue/pos\nreceipt:r\n\nx^");
    assert!(scene.relay.has_more());
    scene.lose(Lost::Closed);
    assert!(scene
        .for_client()
        .contains("\ncode:broker-lost-receipt\nreceipt-id:r\n"));
    let mut scene = sender(&shared, 3);
    scene
        .client("SEND\ndestination:/user/ann/queue/pos\n\nx^")
        .lose(Lost::Closed);
    assert_eq!((scene.last.clone(), scene.relay.has_more()), (Step::Done, false));
}

#[test]
fn the_destination_of_the_broadcast_is_no_way_to_users() {
    let broadcast = |settings: &mut Settings| settings.user_broadcast = "/topic/unresolved".into();
    for text in [
        "SEND\ndestination:/topic/unresolved\nsimpOrigDestination:/user/bob/queue/x\n\nforged^",
        "SUBSCRIBE\nid:0\ndestination:/topic/unresolved\n\n^",
    ] {
        let mut scene = Scene::connected(broadcast);
        scene.client(text);
        assert_eq!(scene.closed(), Some((1008, "not-owner")), "{text}");
        let mut trusted = sending(broadcast);
        trusted.client(text);
        assert_eq!(trusted.last, Step::Done);
    }
    let mut scene = Scene::connected(broadcast);
    scene.broker("MESSAGE\nsubscription:0\ndestination:/topic/unresolved\nsimpOrigDestination:/user/bob/queue/x\n\nP^");
    assert_eq!(scene.for_client(), "");
}

#[test]
fn subscriptions_to_the_status_are_bounded_too() {
    let mut scene = Scene::connected(|_| {});
    for id in 0..3 {
        scene.client(&format!("SUBSCRIBE\nid:{id}\ndestination:/relay/status\n\n^"));
        assert_eq!(scene.last, Step::Done);
    }
    scene.client("SUBSCRIBE\nid:3\ndestination:/relay/status\n\n^");
    assert_eq!(scene.closed(), Some((1008, "too-many-subscriptions")));
}
