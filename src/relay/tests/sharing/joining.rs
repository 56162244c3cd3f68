//! Who subscribes to what, and what each is given of it.

use super::*;

#[test]
fn the_shared_connection_speaks_for_all_clients() {
    let shared = topics(|settings| {
        settings.client_login = "web".into();
        settings.client_passcode = "secret".into();
        settings.host = "/".into();
    });
    let mut line = Line::new(&shared);
    line.dial();
    assert_eq!(
        line.says(),
        "CONNECT\naccept-version:1.1,1.2\nlogin:web\npasscode:secret\nheart-beat:10000,10000\nhost:/\n\n^"
    );
}

#[test]
fn one_subscription_is_made_and_ended_for_all() {
    let (mut line, mut scenes) = stage(3, |_| {});
    scenes[0].client(SUBSCRIBE);
    scenes[1].client(SUBSCRIBE);
    let said = line.says();
    let id = line.id("/topic/a").to_owned();
    let receipt = line.owed[0].clone();
    assert_eq!(
        said,
        format!("SUBSCRIBE\nid:{id}\ndestination:/topic/a\nreceipt:{receipt}\n\n^")
    );
    assert_eq!(
        (scenes[0].hear(), scenes[0].for_broker()),
        (String::new(), String::new())
    );
    // What comes before the RECEIPT counts too.
    line.message("/topic/a", "x");
    line.confirm();
    for scene in &mut scenes[..2] {
        let heard = "MESSAGE\nsubscription:0\nmessage-id:1\ndestination:/topic/a\n\nx^";
        assert_eq!(scene.hear(), format!("{heard}{RECEIPT}"));
    }
    scenes[2].client(SUBSCRIBE);
    assert_eq!(scenes[2].for_client(), RECEIPT, "there is nothing to wait for");
    assert_eq!(line.shared.sharing.counts(), (1, 3));
    line.message("/topic/a", "y");
    scenes[0].client("UNSUBSCRIBE\nid:0\nreceipt:r\n\n^");
    assert_eq!(scenes[0].hear(), RECEIPT, "nothing after it");
    assert!(scenes[1].hear().ends_with("\n\ny^"));
    scenes[1].client("DISCONNECT\n\n^");
    assert_eq!(scenes[1].for_broker(), "DISCONNECT\n\n^");
    assert!(scenes[2].hear().ends_with("\n\ny^"));
    assert_eq!((line.says(), line.shared.sharing.counts()), (String::new(), (1, 1)));
    scenes.pop();
    assert_eq!(line.says(), "", "somebody may come");
    line.pass(1_000);
    assert!(line.says().starts_with(&format!("UNSUBSCRIBE\nid:{id}\nreceipt:")));
    assert_eq!(line.shared.sharing.counts(), (0, 0));
    line.message("/topic/a", "late");
    let counters = &line.shared.counters;
    assert_eq!((counters.shared_in.get(), counters.shared_out.get()), (2, 4));
}

#[test]
fn who_comes_before_the_end_stays_on_it() {
    let (mut line, mut scenes) = subscribed(1, |_| {});
    scenes[0].client("UNSUBSCRIBE\nid:0\n\n^");
    line.says();
    line.pass(500);
    scenes[0].client(SUBSCRIBE);
    assert_eq!(scenes[0].for_client(), RECEIPT);
    line.pass(60_000);
    assert_eq!(line.says(), "");
}

#[test]
fn who_leaves_before_it_is_confirmed_leaves_nothing_behind() {
    let (mut line, mut scenes) = stage(1, |_| {});
    scenes[0].client(SUBSCRIBE);
    line.says();
    scenes.clear();
    line.says();
    line.pass(1_000);
    assert_eq!(line.says(), "", "it is not known whether there is something to end");
    line.confirm().says();
    line.pass(1_000);
    assert_eq!(times(&line.says(), "UNSUBSCRIBE\n"), 1);
    assert_eq!(line.shared.sharing.counts(), (0, 0));
}

#[test]
fn what_asks_for_more_goes_its_own_way() {
    let (mut line, mut scenes) = stage(1, |settings| {
        settings.queue_wildcards = true;
        settings.user_broadcast = "/topic/unresolved".into();
    });
    for (number, rest) in [
        "destination:/topic/a\nack:client\n",
        "destination:/topic/a\nselector:x\n",
        "destination:/topic/a\ndurable:true\n",
        "destination:/topic/*\n",
        "destination:/topic/a.#\n",
        "destination:/topic/a,/topic/b\n",
        "destination:/topic/a?consumer.exclusive=true\n",
        "destination:/queue/a\n",
        "destination:/topic/x-user00000000000000000000000000000001\n",
    ]
    .iter()
    .enumerate()
    {
        let said = format!("SUBSCRIBE\nid:{number}\n{rest}\n^");
        scenes[0].client(&said);
        assert_eq!(scenes[0].for_broker(), said);
    }
    scenes[0].client("SUBSCRIBE\nid:u\ndestination:/user/topic/a\n\n^");
    assert!(scenes[0].for_broker().contains("\ndestination:/topic/a-user0"));
    assert_eq!((line.says(), scenes[0].for_client()), (String::new(), String::new()));
    scenes[0].client("SUBSCRIBE\nid:a\ndestination:/topic/a\nack:auto\nprefetch-count:9\n\n^");
    assert_eq!((scenes[0].for_broker(), line.says().is_empty()), (String::new(), false));
}

#[test]
fn what_a_client_may_not_have_it_does_not_share() {
    for destination in [
        "/topic/unresolved",
        "/topic/x-user0000000000000000000000000000000f",
        "/queue/*",
    ] {
        let (mut line, mut scenes) = stage(1, |settings| settings.user_broadcast = "/topic/unresolved".into());
        scenes[0].client(&format!("SUBSCRIBE\nid:0\ndestination:{destination}\n\n^"));
        assert_eq!(
            (scenes[0].closed(), line.says()),
            (Some((1008, "not-owner")), String::new())
        );
    }
    let (mut line, mut scenes) = subscribed(1, |_| {});
    let id = line.id("/topic/a");
    line.broker(&format!(
        "MESSAGE\nsubscription:{id}\ndestination:/topic/x-user0000000000000000000000000000000f\n\nforeign^"
    ))
    .unwrap();
    assert_eq!(
        (scenes[0].hear(), line.shared.counters.withheld.get()),
        (String::new(), 1)
    );
}

#[test]
fn each_client_reads_by_the_rules_of_its_version() {
    for (trunk, sent) in [("1.2", "k:a\\cb\\\\c\\r"), ("1.1", "k:a\\cb\\\\c")] {
        let shared = topics(|_| {});
        let mut line = Line::new(&shared);
        line.up(trunk).says();
        let versions = ["1.0", "1.1", "1.2"];
        let mut scenes: Vec<Scene> = versions
            .iter()
            .zip(1..)
            .map(|(version, id)| Scene::sharing(&shared, id, version))
            .collect();
        for scene in &mut scenes {
            scene.client("SUBSCRIBE\nid:0\ndestination:/topic/a\n\n^");
        }
        line.says();
        let id = line.id("/topic/a");
        line.broker(&format!(
            "MESSAGE\nsubscription:{id}\ndestination:/topic/a\n{sent}\nk:2\ncontent-length:3\n\nx^y^"
        ))
        .unwrap();
        let head = "MESSAGE\nsubscription:0\ndestination:/topic/a\n";
        let rest = "k:2\ncontent-length:3\n\nx^y^";
        let plain = if trunk == "1.2" { "k:a:b\\c " } else { "k:a:b\\c" };
        assert_eq!(scenes[0].hear(), format!("{head}{plain}\n{rest}"));
        assert_eq!(scenes[1].hear(), format!("{head}{sent}\n{rest}"));
        assert_eq!(scenes[2].hear(), format!("{head}{sent}\n{rest}"));
    }
}

#[test]
fn an_id_is_used_once_and_escaped() {
    let (mut line, mut scenes) = stage(1, |_| {});
    scenes[0].client("SUBSCRIBE\nid:a\\cb\ndestination:/topic/a\n\n^");
    line.says();
    line.confirm().message("/topic/a", "x");
    assert!(scenes[0]
        .hear()
        .starts_with("MESSAGE\nsubscription:a\\cb\nmessage-id:1\n"));
    scenes[0].client("SUBSCRIBE\nid:a\\cb\ndestination:/queue/a\n\n^");
    assert_eq!(scenes[0].closed(), Some((1002, "duplicate-subscription")));
}

#[test]
fn a_client_does_not_overtake_its_own_subscription() {
    let (mut line, mut scenes) = stage(1, |_| {});
    scenes[0].client(SUBSCRIBE);
    assert!(!scenes[0].relay.accepts_input());
    line.says();
    scenes[0].client(MINE);
    assert_eq!(scenes[0].for_broker(), "");
    line.confirm();
    assert_eq!(scenes[0].hear(), RECEIPT);
    assert_eq!(scenes[0].for_broker(), MINE);
    assert!(scenes[0].relay.accepts_input());
}

#[test]
fn who_waits_too_long_uses_its_own_connection() {
    let shared = topics(|settings| settings.keep_ms = 60_000);
    let mut scene = Scene::sharing(&shared, 1, "1.2");
    scene.client(SUBSCRIBE).client(MINE);
    assert_eq!(scene.for_broker(), "");
    scene.pass(5_000);
    assert_eq!(scene.for_broker(), format!("{SUBSCRIBE}{MINE}"));
    assert_eq!(shared.sharing.counts(), (0, 0));
    // By now it is known that there is none.
    scene.client("SUBSCRIBE\nid:1\ndestination:/topic/b\n\n^");
    assert_eq!(scene.for_broker(), "SUBSCRIBE\nid:1\ndestination:/topic/b\n\n^");
    // And it is kept like any other.
    scene
        .broker("RECEIPT\nreceipt-id:r\n\n^")
        .lose(Lost::Closed)
        .for_client();
    scene.dial();
    scene.for_broker();
    scene.broker("CONNECTED\nversion:1.2\n\n^");
    assert_eq!(
        scene.for_broker(),
        "SUBSCRIBE\nid:0\ndestination:/topic/a\n\n^SUBSCRIBE\nid:1\ndestination:/topic/b\n\n^"
    );
}

#[test]
fn shared_subscriptions_count_for_the_limit() {
    let (mut line, mut scenes) = stage(1, |_| {});
    for number in 0..4 {
        assert_eq!(scenes[0].closed(), None);
        scenes[0].client(&format!("SUBSCRIBE\nid:{number}\ndestination:/topic/{number}\n\n^"));
        line.says();
        line.confirm();
        scenes[0].hear();
    }
    assert_eq!(scenes[0].closed(), Some((1008, "too-many-subscriptions")));
    assert_eq!(line.shared.sharing.counts().1, 0);
}

#[test]
fn what_was_said_before_connected_waits_behind_the_subscription_too() {
    let (mut line, _) = stage(0, |_| {});
    let mut scene = Scene::of(&line.shared, 7);
    scene.relay.listen(Arc::new(Silent));
    scene
        .client("CONNECT\naccept-version:1.2\n\n^")
        .client(SUBSCRIBE)
        .client(MINE);
    scene.dial();
    scene.for_broker();
    scene.broker("CONNECTED\nversion:1.2\n\n^").for_client();
    assert_eq!((scene.for_broker(), scene.relay.has_more()), (String::new(), false));
    line.says();
    line.confirm();
    assert_eq!(
        (scene.hear(), scene.for_broker()),
        (RECEIPT.to_owned(), MINE.to_owned())
    );
}
