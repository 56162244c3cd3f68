//! Users of ours and the nodes of a Spring application.

use super::*;
use crate::broker::settings::Spring;
use crate::session::settings::UserSend;

const REGISTRY: &str = "/topic/registry";
const UNRESOLVED: &str = "/topic/unresolved";

fn world(user_send: UserSend, registry: bool) -> World {
    let broker = broker::Settings {
        spring: Spring {
            user_registry: registry.then(|| REGISTRY.to_owned()),
            user_destination: Some(UNRESOLVED.to_owned()),
        },
        ..broker::Settings::default()
    };
    let settings = Settings {
        user_send,
        ..Settings::default()
    };
    World::with(broker, settings, Arc::new(Volatile))
}

fn page(world: &mut World, user: &str) -> Client {
    let mut page = world.client_with(&format!("login:{user}\n"));
    page.send(world, "SUBSCRIBE\nid:u\ndestination:/user/queue/pos\n\n");
    page
}

/// The token of each session of the user, in the order in which they came.
fn tokens(world: &World, user: &str) -> Vec<String> {
    let sessions = world.broker.users().sessions(user);
    sessions.iter().map(|session| session.token.to_string()).collect()
}

fn to_session(token: &str) -> String {
    format!("SEND\ndestination:/queue/pos-user{token}\nsimpOrigDestination:/user/queue/pos\nk:v\nreceipt:r\n\nP1")
}

const TO_UNRESOLVED: &str =
    "SEND\ndestination:/topic/unresolved\nsimpOrigDestination:/user/zoe/queue/pos\nk:v\nreceipt:r\n\nP1";

fn is_for_zoe(frames: &[String]) {
    assert_eq!(frames.len(), 1, "{frames:?}");
    let frame = &frames[0];
    assert_eq!(header(frame, "destination"), Some("/user/queue/pos"), "{frame}");
    assert_eq!(header(frame, "k"), Some("v"), "{frame}");
    assert_eq!(header(frame, "simpOrigDestination"), None, "{frame}");
    assert_eq!(body(frame), "P1");
}

#[test]
fn what_spring_sends_to_one_session_of_ours_reaches_that_one() {
    let mut world = world(UserSend::Any, true);
    let mut zoe = [page(&mut world, "zoe"), page(&mut world, "zoe")];
    let mut spring = world.client();
    let tokens = tokens(&world, "zoe");
    spring.send(&world, &to_session(&tokens[1]));
    assert!(spring.take(&world)[0].starts_with("RECEIPT\n"));
    assert_eq!(zoe[0].take(&world), [""; 0]);
    is_for_zoe(&zoe[1].take(&world));

    zoe[1].session.end(world.now);
    spring.send(&world, &to_session(&tokens[1]));
    assert!(spring.take(&world)[0].starts_with("RECEIPT\n"));
    assert_eq!(zoe[0].take(&world), [""; 0]);
    assert_eq!(world.broker.counters().dropped_no_queue.get(), 1);
    assert_eq!(world.broker.sizes().queues, 0);
}

#[test]
fn an_unresolved_message_reaches_each_session_of_ours_and_the_nodes() {
    let mut world = world(UserSend::Any, false);
    let mut zoe = [page(&mut world, "zoe"), page(&mut world, "zoe")];
    let mut eve = page(&mut world, "eve");
    let mut node = world.client();
    node.send(&world, &format!("SUBSCRIBE\nid:0\ndestination:{UNRESOLVED}\n\n"));
    let mut spring = world.client();
    spring.send(&world, TO_UNRESOLVED);
    assert!(spring.take(&world)[0].starts_with("RECEIPT\n"));
    for page in &mut zoe {
        is_for_zoe(&page.take(&world));
    }
    assert_eq!(eve.take(&world), [""; 0]);
    let told = node.take(&world);
    assert_eq!(header(&told[0], "destination"), Some(UNRESOLVED));
    assert_eq!(header(&told[0], "simpOrigDestination"), Some("/user/zoe/queue/pos"));
}

#[test]
fn an_unresolved_message_in_a_transaction_waits_for_its_commit() {
    let mut world = world(UserSend::Any, false);
    let mut zoe = page(&mut world, "zoe");
    let mut spring = world.client();
    spring.send(&world, "BEGIN\ntransaction:t\n\n");
    spring.send(&world, &TO_UNRESOLVED.replace("k:v", "k:v\ntransaction:t"));
    assert_eq!(zoe.take(&world), [""; 0]);
    spring.send(&world, "COMMIT\ntransaction:t\n\n");
    is_for_zoe(&zoe.take(&world));
}

#[test]
fn whom_the_nodes_know_of_they_send_to_themselves() {
    let mut world = world(UserSend::Any, true);
    let mut zoe = page(&mut world, "zoe");
    let mut spring = world.client();
    spring.send(&world, TO_UNRESOLVED);
    is_for_zoe(&zoe.take(&world));
    world.broker.users().sessions("zoe")[0].mark_told(true);
    spring.send(&world, TO_UNRESOLVED);
    assert_eq!(zoe.take(&world), [""; 0]);
}

#[test]
fn only_who_may_send_to_everybody_may_use_the_topics_and_the_sessions() {
    let mut world = world(UserSend::Own, true);
    let mut zoe = page(&mut world, "zoe");
    let token = tokens(&world, "zoe").remove(0);
    for frame in [
        to_session(&token),
        TO_UNRESOLVED.to_owned(),
        format!("SEND\ndestination:{REGISTRY}\n\n{{}}"),
        format!("SUBSCRIBE\nid:0\ndestination:{REGISTRY}\n\n"),
        format!("SUBSCRIBE\nid:0\ndestination:{UNRESOLVED}\n\n"),
        format!("SUBSCRIBE\nid:0\ndestination:/queue/pos-user{token}\n\n"),
    ] {
        let mut eve = page(&mut world, "eve");
        eve.send(&world, &frame);
        let got = eve.take(&world);
        assert_eq!(header(&got[0], "code"), Some("forbidden"), "{frame}");
    }
    assert_eq!(zoe.take(&world), [""; 0]);
}

#[test]
fn no_pattern_finds_the_topics() {
    let mut world = world(UserSend::Any, true);
    let mut spy = world.client();
    for (id, pattern) in ["/topic/**", "/topic/*", "/topic/#", "/topic/>"]
        .into_iter()
        .enumerate()
    {
        spy.send(&world, &format!("SUBSCRIBE\nid:{id}\ndestination:{pattern}\n\n"));
    }
    let mut spring = world.client();
    spring.send(&world, &format!("SEND\ndestination:{REGISTRY}\n\n{{}}"));
    spring.send(&world, TO_UNRESOLVED);
    assert_eq!(spy.take(&world), [""; 0]);
}

#[test]
fn without_a_registry_to_tell_such_a_queue_is_a_queue() {
    let mut world = world(UserSend::None, false);
    let mut zoe = page(&mut world, "zoe");
    let token = tokens(&world, "zoe").remove(0);
    let mut spring = world.client();
    spring.send(&world, &to_session(&token));
    assert!(spring.take(&world)[0].starts_with("RECEIPT\n"));
    assert_eq!(zoe.take(&world), [""; 0]);
}
