//! The shared connection ends, and clients that are slow: who is told what, and who is to blame.

use super::*;

#[test]
fn a_client_that_takes_nothing_holds_up_nobody() {
    let (mut line, mut scenes) = subscribed(2, |settings| settings.client_buffer = 10_000);
    let mut got = 0;
    for _ in 0..100 {
        line.message("/topic/a", &"x".repeat(900));
        got += times(&scenes[1].hear(), "MESSAGE\n");
    }
    assert_eq!(got, 100);
    assert!(scenes[0].relay.is_overrun());
    let error = scenes[0].hear();
    assert!(
        error.starts_with("ERROR\nmessage:Slow consumer\ncode:slow-consumer\n"),
        "{error}"
    );
    assert!(error.contains("relay.client_buffer"), "{error}");
    assert_eq!(scenes[0].closed(), Some((1008, "slow-consumer")));
    assert_eq!(line.shared.sharing.counts(), (1, 1));
    // One message may be as long as any.
    line.message("/topic/a", &"x".repeat(20_000));
    assert!(scenes[1].hear().len() > 20_000);
}

#[test]
fn a_lost_shared_connection_ends_only_those_that_share() {
    let (mut line, mut scenes) = subscribed(3, |_| {});
    scenes[2].client("UNSUBSCRIBE\nid:0\n\n^SUBSCRIBE\nid:q\ndestination:/queue/a\n\n^");
    assert!(!line.lose(&Lost::Closed).at_once);
    for scene in &mut scenes[..2] {
        let error = scene.hear();
        assert!(error.starts_with(LOST), "{error}");
        assert_eq!(scene.closed(), Some((1002, "broker-lost")));
    }
    assert_eq!((scenes[2].hear(), scenes[2].closed()), (String::new(), None));
    assert_eq!(line.shared.sharing.counts(), (0, 0));
}

#[test]
fn kept_clients_hear_of_it_and_are_subscribed_again() {
    let (mut line, mut scenes) = subscribed(2, |settings| settings.keep_ms = 60_000);
    scenes[0].client("SUBSCRIBE\nid:s\ndestination:/relay/status\n\n^");
    line.lose(&Lost::Closed);
    assert!(scenes[0].hear().ends_with("\n\n{\"shared\":\"lost\"}^"));
    line.shared.sharing.not_reached(60_000, 1_000);
    assert_eq!(times(&line.up("1.2").says(), "\ndestination:/topic/a\n"), 1);
    assert_eq!(scenes[0].hear(), "", "not yet");
    line.confirm().message("/topic/a", "x");
    let heard = scenes[0].hear();
    assert!(
        heard.contains("{\"shared\":\"back\"}^MESSAGE\nsubscription:0\n"),
        "{heard}"
    );
    assert_eq!(times(&scenes[1].hear(), "MESSAGE\n"), 1);
    line.lose(&Lost::Closed);
    line.shared.sharing.not_reached(60_000, 60_000);
    assert!(scenes[1].hear().starts_with(LOST));
}

#[test]
fn whoever_asks_for_what_is_refused_is_alone_with_it() {
    for named in [true, false] {
        let (mut line, mut scenes) = subscribed(2, |_| {});
        scenes[0].client("SUBSCRIBE\nid:s\ndestination:/relay/status\n\n^");
        let said = "SUBSCRIBE\nid:1\ndestination:/topic/secret\nreceipt:r\n\n^";
        scenes[1].client(said);
        line.says();
        let error = match named {
            true => format!("ERROR\nmessage:no\nreceipt-id:{}\n\n^", line.owed[0]),
            false => NO.to_owned(),
        };
        let after = line.fails(&error);
        assert_eq!((after.refused.as_deref(), after.at_once), (Some("/topic/secret"), true));
        // It asks by itself, and the broker tells it.
        assert_eq!(
            (scenes[1].hear(), scenes[1].for_broker()),
            (String::new(), said.to_owned())
        );
        assert!(scenes[0].hear().contains("{\"shared\":\"lost\"}"));
        let again = line.up("1.2").says();
        assert_eq!((times(&again, "SUBSCRIBE\n"), times(&again, "/topic/a")), (1, 1));
        line.confirm();
        assert!(scenes[0].hear().contains("{\"shared\":\"back\"}"));
        // Who comes later asks by itself, for this or for anything new.
        let mut late = Scene::sharing(&line.shared, 9, "1.2");
        for destination in ["/topic/secret", "/topic/new"] {
            late.client(&format!("SUBSCRIBE\nid:{destination}\ndestination:{destination}\n\n^"));
            assert_eq!(times(&late.for_broker(), destination), 2);
        }
        late.client("SUBSCRIBE\nid:a\ndestination:/topic/a\nreceipt:r\n\n^");
        assert_eq!(
            (late.for_client(), late.for_broker()),
            (RECEIPT.to_owned(), String::new())
        );
        late.now = 60_000;
        late.client("SUBSCRIBE\nid:y\ndestination:/topic/secret\n\n^");
        assert_eq!(times(&late.for_broker(), "/topic/secret"), 1);
        late.client("SUBSCRIBE\nid:n\ndestination:/topic/newer\n\n^");
        assert_eq!(late.for_broker(), "");
        assert_eq!(line.shared.counters.shared_refused.get(), 1);
    }
}

#[test]
fn several_suspects_are_tried_one_by_one() {
    let (mut line, mut scenes) = subscribed(4, |_| {});
    for (scene, topic) in scenes.iter_mut().zip(["b", "secret", "c"]) {
        scene.client(&format!("SUBSCRIBE\nid:1\ndestination:/topic/{topic}\n\n^"));
    }
    assert_eq!(times(&line.says(), "SUBSCRIBE\n"), 3);
    // Nobody can say whose fault that was.
    let mut after = line.fails(NO);
    assert_eq!((after.refused.as_deref(), after.at_once), (None, true));
    line.up("1.2");
    while after.refused.is_none() {
        let said = line.says();
        assert_eq!(times(&said, "SUBSCRIBE\n"), 1, "{said}");
        if !said.contains("/topic/a\n") {
            // A suspect is alone, whoever comes meanwhile.
            let mut late = Scene::sharing(&line.shared, 9, "1.2");
            late.client("SUBSCRIBE\nid:1\ndestination:/topic/new\n\n^");
            assert_eq!(line.says(), "");
        }
        match said.contains("secret") {
            true => after = line.fails(NO),
            false => drop(line.confirm()),
        }
    }
    assert_eq!(after.refused.as_deref(), Some("/topic/secret"));
    line.up("1.2");
    while !line.says().is_empty() {
        line.confirm();
    }
    assert_eq!(line.shared.sharing.counts(), (3, 4));
    for scene in &mut scenes {
        assert_eq!((scene.hear(), scene.closed()), (String::new(), None));
    }
    assert_eq!(times(&scenes[1].for_broker(), "secret"), 1);
}

#[test]
fn a_destination_that_only_breaks_the_connection_is_found_too() {
    let (mut line, mut scenes) = subscribed(2, |settings| settings.keep_ms = 60_000);
    scenes[0].client("SUBSCRIBE\nid:1\ndestination:/topic/bad\n\n^");
    for round in 1..=3 {
        while !line.says().contains("bad") {
            line.confirm();
        }
        let after = line.lose(&Lost::Closed);
        assert_eq!(after.refused.is_some(), round == 3);
        line.up("1.2");
    }
    assert_eq!(
        (scenes[0].hear(), times(&scenes[0].for_broker(), "/topic/bad")),
        (String::new(), 1)
    );
}

#[test]
fn a_broker_that_confirms_nothing_is_lost() {
    let (mut line, mut scenes) = stage(1, |_| {});
    scenes[0].client(SUBSCRIBE);
    line.says();
    line.pass(10_000);
    let trunk = line.trunk.as_mut().unwrap();
    assert_eq!(trunk.due(), Some(10_000));
    assert!(matches!(trunk.advance(&mut Vec::new(), 10_000), Some(Lost::Broken(_))));
}

#[test]
fn who_was_promised_nothing_hears_of_no_loss() {
    let (mut line, mut scenes) = stage(1, |settings| settings.keep_ms = 60_000);
    scenes[0]
        .client("SUBSCRIBE\nid:s\ndestination:/relay/status\n\n^")
        .client(SUBSCRIBE);
    line.says();
    line.lose(&Lost::Closed);
    line.up("1.2").says();
    line.confirm();
    assert_eq!(scenes[0].hear(), RECEIPT);
}
