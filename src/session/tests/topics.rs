//! What a topic does with subscribers that do not keep up, and what patterns reach.

use super::{body, header, Step, World};
use crate::broker::settings::{OutboundLimits, Policy, QueuePolicy, TopicPolicy};
use crate::broker::Settings;

fn small(topic: TopicPolicy) -> Settings {
    Settings {
        outbound: OutboundLimits {
            messages: 3,
            patience_ms: 0,
            ..OutboundLimits::default()
        },
        topic,
        ..Settings::default()
    }
}

fn send(n: usize, key: &str) -> String {
    format!("SEND\ndestination:/topic/t\nsymbol:{key}\n\n{n}")
}

#[test]
fn a_slow_consumer_is_told_and_cut_and_others_go_on() {
    let mut world = World::new(small(TopicPolicy::Disconnect));
    let (mut slow, mut quick, mut publisher) = (world.client(), world.client(), world.client());
    for client in [&mut slow, &mut quick] {
        client.send(&world, "SUBSCRIBE\nid:0\ndestination:/topic/t\n\n");
    }
    let mut seen = Vec::new();
    for n in 0..5 {
        publisher.send(&world, &send(n, "a"));
        seen.extend(quick.bodies(&world));
    }
    assert_eq!(seen, ["0", "1", "2", "3", "4"]);
    let step = slow.session.wake(world.now);
    assert!(matches!(&step, Step::Close(close) if close.code == 1008), "{step:?}");
    let last = slow.take(&world);
    assert_eq!(last.len(), 1, "nothing but the ERROR: {last:?}");
    assert_eq!(header(&last[0], "code"), Some("slow-consumer"));
    assert!(body(&last[0]).contains("limits.outbound_messages"), "{last:?}");
    assert_eq!(world.broker.counters().slow_consumers.get(), 1);
}

#[test]
fn drop_oldest_keeps_the_newest_and_says_how_many_gave_way() {
    let mut world = World::new(small(TopicPolicy::DropOldest));
    let (mut slow, mut publisher) = (world.client(), world.client());
    slow.send(&world, "SUBSCRIBE\nid:0\ndestination:/topic/t\n\n");
    for n in 0..7 {
        publisher.send(&world, &send(n, "a"));
    }
    let frames = slow.take(&world);
    let bodies: Vec<_> = frames.iter().map(|frame| body(frame)).collect();
    assert_eq!(bodies, ["4", "5", "6"]);
    let skipped: Vec<_> = frames.iter().map(|frame| header(frame, "x-skipped")).collect();
    assert_eq!(skipped, [Some("4"), None, None]);
    assert_eq!(world.broker.counters().skipped.get(), 4);
}

#[test]
fn latest_only_keeps_one_message_per_key_in_the_place_of_the_first() {
    let by_pattern = Policy {
        pattern: "/topic/#".into(),
        topic: TopicPolicy::LatestOnly { key: "symbol".into() },
        queue: QueuePolicy::default(),
    };
    let mut world = World::new(Settings {
        policies: vec![by_pattern],
        ..small(TopicPolicy::Disconnect)
    });
    let (mut slow, mut publisher) = (world.client(), world.client());
    slow.send(&world, "SUBSCRIBE\nid:0\ndestination:/topic/t\n\n");
    for (n, key) in ["a", "b", "a", "a", "b", "c"].into_iter().enumerate() {
        publisher.send(&world, &send(n, key));
    }
    let frames = slow.take(&world);
    let bodies: Vec<_> = frames.iter().map(|frame| body(frame)).collect();
    assert_eq!(bodies, ["3", "4", "5"]);
    assert_eq!(header(&frames[0], "x-skipped"), Some("3"));
    // The keys are forgotten with their messages.
    publisher.send(&world, &send(6, "a"));
    assert_eq!(slow.bodies(&world), ["6"]);
    assert_eq!(world.broker.counters().slow_consumers.get(), 0);
}

#[test]
fn a_topic_in_a_manual_mode_has_credit_then_a_backlog_then_the_policy() {
    let mut world = World::new(small(TopicPolicy::DropOldest));
    let (mut consumer, mut publisher) = (world.client(), world.client());
    consumer.send(
        &world,
        "SUBSCRIBE\nid:0\ndestination:/topic/t\nack:client-individual\nprefetch-count:1\n\n",
    );
    for n in 0..6 {
        publisher.send(&world, &send(n, "a"));
    }
    let mut seen = Vec::new();
    loop {
        let frames = consumer.take(&world);
        let Some(frame) = frames.first() else { break };
        assert_eq!(frames.len(), 1, "credit is one");
        seen.push(body(frame));
        let id = header(frame, "ack").expect("an ack header");
        consumer.send(&world, &format!("ACK\nid:{id}\n\n"));
    }
    assert_eq!(
        seen,
        ["0", "4", "5"],
        "the backlog with what is unacknowledged holds three"
    );
    drop(consumer);
    assert_eq!(world.broker.sizes().queued_messages, 0);
    drop(publisher);
    assert_eq!(world.broker.sizes(), Default::default());
}

#[test]
fn patterns_reach_topics_that_nobody_named_and_are_forgotten() {
    let mut world = World::new(Settings {
        route_cache: 2,
        ..Settings::default()
    });
    let (mut wide, mut publisher) = (world.client(), world.client());
    wide.send(&world, "SUBSCRIBE\nid:0\ndestination:/topic/*.x\n\n");
    wide.send(&world, "SUBSCRIBE\nid:1\ndestination:/topic/a.x\n\n");
    for name in ["a.x", "b.x", "c.x", "d.x", "a.y"] {
        publisher.send(&world, &format!("SEND\ndestination:/topic/{name}\n\n{name}"));
    }
    let mut bodies = wide.bodies(&world);
    bodies.sort();
    assert_eq!(bodies, ["a.x", "a.x", "b.x", "c.x", "d.x"]);
    let sizes = world.broker.sizes();
    assert_eq!(
        (sizes.topics, sizes.patterns),
        (3, 1),
        "two remembered and one of its own"
    );
    wide.send(&world, "UNSUBSCRIBE\nid:0\n\n");
    assert_eq!(world.broker.sizes().topics, 1);
    publisher.send(&world, "SEND\ndestination:/topic/b.x\n\nlate");
    assert_eq!(wide.bodies(&world), [""; 0]);
}

#[test]
fn an_expired_message_of_a_topic_is_not_written() {
    let mut world = World::new(Settings::default());
    let (mut consumer, mut publisher) = (world.client(), world.client());
    consumer.send(&world, "SUBSCRIBE\nid:0\ndestination:/topic/t\n\n");
    publisher.send(&world, "SEND\ndestination:/topic/t\nttl:50\n\nold");
    world.pass(50);
    publisher.send(&world, "SEND\ndestination:/topic/t\nttl:50\n\nnew");
    assert_eq!(consumer.bodies(&world), ["new"]);
    assert_eq!(world.broker.counters().dropped_expired.get(), 1);
}
