//! Who is connected.

use super::*;
use crate::session::settings::UserSend;

#[test]
fn the_login_is_the_principal_while_nothing_authenticates() {
    let mut world = World::new(broker::Settings::default());
    let mut joe = world.client_with("login:joe\npasscode:any\n");
    let again = world.client_with("login:joe\n");
    let nobody = world.client();
    let name = |client: &Client| client.session.principal().and_then(|who| who.name.clone());
    assert_eq!(name(&joe).as_deref(), Some("joe"));
    assert_eq!(name(&nobody), None);
    assert_eq!(world.broker.users().sessions("joe").len(), 2);
    let sizes = world.broker.sizes();
    assert_eq!((sizes.sessions, sizes.users, sizes.user_sessions), (3, 1, 2));

    joe.session.end(world.now);
    drop((again, nobody));
    let sizes = world.broker.sizes();
    assert_eq!((sizes.sessions, sizes.users, sizes.user_sessions), (0, 0, 0));
}

#[test]
fn a_name_cannot_add_headers_to_connected() {
    let settings = Settings {
        unescape_connect: true,
        ..Settings::default()
    };
    let mut world = World::with(broker::Settings::default(), settings, Arc::new(Volatile));
    let mut client = world.unconnected();
    let step = client.send(&world, "CONNECT\naccept-version:1.2\nlogin:joe\\nadmin:true\n\n");
    assert!(
        matches!(step, Step::Close(close) if close.reason == "bad-header"),
        "{:?}",
        client.take(&world)
    );
}

/// A world in which every client may send to everybody.
fn open() -> World {
    let settings = Settings {
        user_send: UserSend::Any,
        ..Settings::default()
    };
    World::with(broker::Settings::default(), settings, Arc::new(Volatile))
}

fn subscribed(world: &mut World, login: &str, lines: &str) -> Client {
    let mut client = world.client_with(login);
    client.send(world, &format!("SUBSCRIBE\nid:1\ndestination:/user/queue/x\n{lines}\n"));
    client
}

fn send(world: &mut World, to: &str, bodies: std::ops::Range<u32>) {
    let mut sender = world.client();
    for number in bodies {
        sender.send(world, &format!("SEND\ndestination:{to}\n\n{number}"));
    }
    assert_eq!(sender.take(world), [""; 0]);
}

#[test]
fn each_session_of_a_user_gets_a_copy_and_nobody_else() {
    let mut world = open();
    let mut desk = subscribed(&mut world, "login:joe\n", "");
    let mut phone = subscribed(&mut world, "login:joe\n", "");
    phone.send(&world, "SUBSCRIBE\nid:2\ndestination:/user/queue/x\n\n");
    let mut ann = subscribed(&mut world, "login:ann\n", "");
    let mut nobody = subscribed(&mut world, "", "");
    send(&mut world, "/user/joe/queue/x", 0..3);
    let got = desk.take(&world);
    assert!(
        got.iter()
            .all(|frame| header(frame, "destination") == Some("/user/queue/x")),
        "{got:?}"
    );
    assert_eq!(got.iter().map(|frame| body(frame)).collect::<Vec<_>>(), ["0", "1", "2"]);
    let (first, second): (Vec<_>, Vec<_>) = phone
        .take(&world)
        .into_iter()
        .partition(|f| header(f, "subscription") == Some("1"));
    assert_eq!((first.len(), second.len()), (3, 3));
    assert_eq!((ann.take(&world).len(), nobody.take(&world).len()), (0, 0));

    phone.session.end(world.now);
    desk.send(&world, "UNSUBSCRIBE\nid:1\n\n");
    send(&mut world, "/user/joe/queue/x", 3..4);
    assert_eq!(desk.take(&world).len(), 0);
    assert_eq!(world.broker.counters().dropped_no_subscriber.get(), 1);
    assert_eq!(world.broker.sizes().topics, 2, "those of ann and of nobody");
}

#[test]
fn a_subscription_under_user_acknowledges_as_on_a_topic() {
    let mut world = open();
    let mut joe = subscribed(&mut world, "login:joe\n", "ack:client-individual\nprefetch-count:1\n");
    send(&mut world, "/user/joe/queue/x", 0..2);
    let first = joe.take(&world);
    assert_eq!(first.len(), 1, "{first:?}");
    let id = header(&first[0], "ack").unwrap_or_default().to_owned();
    joe.send(&world, &format!("NACK\nid:{id}\n\n"));
    let again = joe.take(&world);
    assert_eq!(again.iter().map(|frame| body(frame)).collect::<Vec<_>>(), ["0"]);
    let id = header(&again[0], "ack").unwrap_or_default().to_owned();
    joe.send(&world, &format!("ACK\nid:{id}\n\n"));
    assert_eq!(joe.bodies(&world), ["1"]);
}

#[test]
fn what_is_sent_in_a_transaction_reaches_a_user_at_its_commit() {
    let mut world = open();
    let mut joe = subscribed(&mut world, "login:joe\n", "");
    let mut sender = world.client();
    sender.send(&world, "BEGIN\ntransaction:t\n\n");
    sender.send(&world, "SEND\ndestination:/user/joe/queue/x\ntransaction:t\n\nhello");
    assert_eq!(joe.bodies(&world), [""; 0]);
    sender.send(&world, "COMMIT\ntransaction:t\n\n");
    assert_eq!(joe.bodies(&world), ["hello"]);
}

#[test]
fn who_may_send_to_a_user_is_a_setting_and_a_right() {
    let refused = |user_send: UserSend, login: &str, to: &str| {
        let settings = Settings {
            user_send,
            ..Settings::default()
        };
        let mut world = World::with(broker::Settings::default(), settings, Arc::new(Volatile));
        let mut client = world.client_with(login);
        let step = client.send(&world, &format!("SEND\ndestination:{to}\nreceipt:r\n\n"));
        matches!(step, Step::Close(close) if close.reason == "forbidden")
    };
    let joe = "login:joe\n";
    assert!(refused(UserSend::None, joe, "/user/ann/queue/x"));
    assert!(refused(UserSend::None, joe, "/user/joe/queue/x"));
    assert!(refused(UserSend::Own, joe, "/user/ann/queue/x"));
    assert!(refused(UserSend::Own, joe, "/user/joes/queue/x"));
    assert!(refused(UserSend::Own, "", "/user/ann/queue/x"));
    assert!(!refused(UserSend::Own, joe, "/user/joe/queue/x"));
    assert!(!refused(UserSend::Own, "login:a/b\n", "/user/a%2Fb/queue/x"));
    assert!(!refused(UserSend::Any, "", "/user/ann/queue/x"));
}

#[test]
fn what_a_session_has_under_user_can_be_listed() {
    let mut world = open();
    let mut joe = subscribed(&mut world, "login:joe\n", "");
    joe.send(&world, "SUBSCRIBE\nid:2\ndestination:/topic/x\n\n");
    joe.send(&world, "SUBSCRIBE\nid:3\ndestination:/user/topic/y\n\n");
    let listed = |world: &World| -> Vec<String> {
        let sessions = world.broker.users().sessions("joe");
        let all = sessions.iter().flat_map(|presence| presence.subscriptions());
        all.map(|private| format!("{} {}", private.id, private.destination))
            .collect()
    };
    assert_eq!(listed(&world), ["1 /user/queue/x", "3 /user/topic/y"]);
    joe.send(&world, "UNSUBSCRIBE\nid:1\n\n");
    assert_eq!(listed(&world), ["3 /user/topic/y"]);
}

#[test]
fn no_pattern_reaches_into_what_is_private_whatever_the_operator_calls_topics() {
    let prefix = |prefix: &str| broker::settings::Prefix {
        prefix: prefix.into(),
        kind: broker::settings::Kind::Topic,
        separator: Default::default(),
    };
    let settings = broker::Settings {
        prefixes: vec![prefix("/reply-topic"), prefix("/")],
        ..broker::Settings::default()
    };
    let mut world = World::with(
        settings,
        Settings {
            user_send: UserSend::Any,
            ..Settings::default()
        },
        Arc::new(Volatile),
    );
    let mut spy = world.client();
    spy.send(&world, "SUBSCRIBE\nid:1\ndestination:/#\n\n");
    let mut joe = subscribed(&mut world, "login:joe\n", "");
    send(&mut world, "/elsewhere", 5..6);
    assert_eq!(spy.bodies(&world), ["5"], "the pattern is one");
    send(&mut world, "/user/joe/queue/x", 0..1);
    assert_eq!((joe.bodies(&world).len(), spy.bodies(&world).len()), (1, 0));
}
