//! Full queues: who waits, what still counts, and for how long.

use std::sync::Arc;

use super::{body, header, Client, Step, World};
use crate::broker::settings::{OutboundLimits, QueuePolicy, WhenFull};
use crate::broker::{Settings, Volatile};
use crate::session;

fn full_at(messages: usize, full: WhenFull) -> Settings {
    Settings {
        queue: QueuePolicy {
            messages,
            full,
            ..QueuePolicy::default()
        },
        ..Settings::default()
    }
}

fn send(n: usize) -> String {
    format!("SEND\ndestination:/queue/q\nreceipt:{n}\n\n{n}")
}

fn receipts(frames: &[String]) -> Vec<&str> {
    frames.iter().filter_map(|frame| header(frame, "receipt-id")).collect()
}

#[test]
fn a_sender_waits_for_room_and_its_frames_stay_in_order() {
    let mut world = World::new(full_at(2, WhenFull::Block));
    let (mut sender, mut consumer) = (world.client(), world.client());
    for n in 0..4 {
        sender.send(&world, &send(n));
    }
    sender.send(&world, "SUBSCRIBE\nid:0\ndestination:/topic/x\nreceipt:s\n\n");
    assert_eq!(receipts(&sender.take(&world)), ["0", "1"]);
    assert_eq!(
        world.broker.sizes().subscriptions,
        0,
        "what came behind the blocked SEND waits too"
    );
    consumer.send(&world, "SUBSCRIBE\nid:0\ndestination:/queue/q\n\n");
    let mut seen = consumer.bodies(&world);
    assert_eq!(receipts(&sender.take(&world)), ["2", "3", "s"]);
    seen.extend(consumer.bodies(&world));
    assert_eq!(seen, ["0", "1", "2", "3"]);
}

#[test]
fn acknowledgements_of_a_blocked_sender_count() {
    let mut world = World::new(full_at(1, WhenFull::Block));
    let mut both = world.client();
    both.send(&world, "SUBSCRIBE\nid:0\ndestination:/queue/q\nack:client\n\n");
    both.send(&world, &send(0));
    both.send(&world, &send(1));
    let frames = both.take(&world);
    let id = frames.iter().find_map(|frame| header(frame, "ack")).expect("a MESSAGE");
    both.send(&world, &format!("ACK\nid:{id}\nreceipt:a\n\n"));
    let frames = both.take(&world);
    assert_eq!(receipts(&frames), ["1", "a"], "in the order of the frames");
    assert!(frames.iter().any(|frame| body(frame) == "1"));
}

#[test]
fn a_sender_that_waits_too_long_is_told_which_limit_it_met() {
    let mut world = World::new(full_at(1, WhenFull::Block));
    let mut sender = world.client();
    sender.send(&world, &send(0));
    sender.send(&world, &send(1));
    sender.take(&world);
    world.pass(29_999);
    assert_eq!(sender.session.advance(world.now), Step::Done);
    world.pass(1);
    let step = sender.session.advance(world.now);
    assert!(matches!(&step, Step::Close(close) if close.code == 1008), "{step:?}");
    let frames = sender.take(&world);
    let error = frames.last().expect("an ERROR");
    assert_eq!(
        (header(error, "code"), header(error, "receipt-id")),
        (Some("queue-full"), Some("1"))
    );
    assert!(
        body(error).contains("queue.messages") && body(error).contains("session.blocked_timeout"),
        "{error}"
    );
    assert_eq!(
        world.broker.queue_length("/queue/q"),
        Some(1),
        "the message that waited is not in"
    );
}

#[test]
fn a_blocked_sender_stops_being_read_but_not_at_once() {
    let mut world = World::new(full_at(1, WhenFull::Block));
    let mut sender = world.client();
    let mut sent = 0;
    while sender.session.accepts_input() {
        sender.send(&world, &send(sent));
        sent += 1;
    }
    assert!((3..200).contains(&sent), "{sent}");
    let mut consumer = world.client();
    consumer.send(&world, "SUBSCRIBE\nid:0\ndestination:/queue/q\n\n");
    let mut seen = Vec::new();
    while seen.len() < sent {
        seen.extend(consumer.bodies(&world));
        sender.take(&world);
    }
    let expected: Vec<_> = (0..sent).map(|n| n.to_string()).collect();
    assert_eq!(seen, expected);
    assert!(sender.session.accepts_input());
}

#[test]
fn reject_and_drop_head_do_not_wait() {
    let mut world = World::new(full_at(1, WhenFull::Reject));
    let mut sender = world.client();
    sender.send(&world, &send(0));
    assert!(matches!(sender.send(&world, &send(1)), Step::Close(_)));
    let mut world = World::new(full_at(1, WhenFull::DropHead));
    let (mut sender, mut consumer) = (world.client(), world.client());
    sender.send(&world, &send(0));
    sender.send(&world, &send(1));
    consumer.send(&world, "SUBSCRIBE\nid:0\ndestination:/queue/q\n\n");
    assert_eq!(consumer.bodies(&world), ["1"]);
    assert_eq!(world.broker.counters().dropped_queue_full.get(), 1);
}

#[test]
fn above_the_high_water_mark_senders_wait_for_consumers() {
    let mut world = World::new(Settings {
        memory_high_water: 1_000,
        ..Settings::default()
    });
    let (mut sender, mut consumer) = (world.client(), world.client());
    for n in 0..20 {
        sender.send(&world, &send(n));
    }
    let first = receipts(&sender.take(&world)).len();
    assert!((1..20).contains(&first), "{first}");
    consumer.send(&world, "SUBSCRIBE\nid:0\ndestination:/queue/q\n\n");
    let mut seen = Vec::new();
    for _ in 0..20 {
        seen.extend(consumer.bodies(&world));
        world.pass(50);
        assert_eq!(sender.session.advance(world.now), Step::Done);
        sender.take(&world);
    }
    let expected: Vec<_> = (0..20).map(|n| n.to_string()).collect();
    assert_eq!(seen, expected);
}

#[test]
fn queues_that_nobody_empties_do_not_silence_topics() {
    let mut world = World::new(Settings {
        memory_high_water: 4_000,
        ..Settings::default()
    });
    let (mut sender, mut other, mut listener) = (world.client(), world.client(), world.client());
    for n in 0..20 {
        sender.send(&world, &send(n));
    }
    assert!(receipts(&sender.take(&world)).len() < 20, "memory is full");
    listener.send(&world, "SUBSCRIBE\nid:0\ndestination:/topic/t\n\n");
    for n in 0..20 {
        other.send(&world, &format!("SEND\ndestination:/topic/t\nreceipt:{n}\n\n{n}"));
        assert_eq!(listener.bodies(&world), [n.to_string()]);
    }
}

#[test]
fn a_commit_waits_for_room_in_all_its_queues_and_takes_none_of_it_before() {
    let mut world = World::new(full_at(1, WhenFull::Block));
    let (mut sender, mut consumer) = (world.client(), world.client());
    sender.send(&world, "SEND\ndestination:/queue/b\n\nfirst");
    sender.send(&world, "BEGIN\ntransaction:t\n\n");
    for queue in ["a", "b"] {
        sender.send(
            &world,
            &format!("SEND\ndestination:/queue/{queue}\ntransaction:t\n\nin t"),
        );
    }
    sender.send(&world, "COMMIT\ntransaction:t\nreceipt:c\n\n");
    assert_eq!(receipts(&sender.take(&world)), [""; 0]);
    assert_eq!(world.broker.queue_length("/queue/a"), Some(0), "all or nothing");
    consumer.send(&world, "SUBSCRIBE\nid:0\ndestination:/queue/b\n\n");
    assert_eq!(consumer.bodies(&world), ["first"]);
    assert_eq!(receipts(&sender.take(&world)), ["c"]);
    assert_eq!(world.broker.queue_length("/queue/a"), Some(1));
    assert_eq!(consumer.bodies(&world), ["in t"]);
}

#[test]
fn a_flood_of_receipts_does_not_starve_deliveries() {
    let mut world = World::new(Settings::default());
    let mut both = world.client();
    both.send(&world, "SUBSCRIBE\nid:0\ndestination:/topic/t\n\n");
    for n in 0..200 {
        both.send(&world, &format!("SEND\ndestination:/topic/t\nreceipt:{n}\n\n{n}"));
    }
    both.session.wake(world.now);
    both.session.drain(&mut both.sink, world.now);
    let messages = both
        .sink
        .frames
        .iter()
        .filter(|(_, frame)| frame.starts_with("MESSAGE"))
        .count();
    assert_eq!(messages, 64);
}

fn topic_budget(messages: usize) -> Settings {
    Settings {
        outbound: OutboundLimits {
            messages,
            ..OutboundLimits::default()
        },
        ..Settings::default()
    }
}

fn burst(world: &World, publisher: &mut Client, from: usize) -> usize {
    let mut sent = from;
    while publisher.session.accepts_input() && sent < from + 100 {
        publisher.send(world, &format!("SEND\ndestination:/topic/t\n\n{sent}"));
        sent += 1;
    }
    sent
}

#[test]
fn a_burst_waits_for_a_subscriber_who_reads_instead_of_cutting_it() {
    let mut world = World::new(topic_budget(40));
    let (mut reader, mut publisher) = (world.client(), world.client());
    reader.send(&world, "SUBSCRIBE\nid:0\ndestination:/topic/t\n\n");
    let mut seen = Vec::new();
    let mut sent = 0;
    while sent < 1_000 {
        sent = burst(&world, &mut publisher, sent);
        world.pass(1);
        seen.extend(reader.bodies(&world));
        assert_eq!(publisher.session.wake(world.now), Step::Done);
    }
    seen.extend(reader.bodies(&world));
    let expected: Vec<_> = (0..sent).map(|n| n.to_string()).collect();
    assert_eq!(seen, expected);
    assert_eq!(world.broker.counters().slow_consumers.get(), 0);
}

#[test]
fn a_publisher_waits_once_and_not_for_a_reader_who_takes_nothing() {
    let mut world = World::new(topic_budget(40));
    let (mut stuck, mut publisher) = (world.client(), world.client());
    stuck.send(&world, "SUBSCRIBE\nid:0\ndestination:/topic/t\n\n");
    let sent = burst(&world, &mut publisher, 0);
    assert!(sent < 40, "{sent}: it waits before the budget is used up");
    let due = publisher.session.deadline().expect("a deadline");
    world.pass(due - world.now.mono);
    publisher.session.advance(world.now);
    burst(&world, &mut publisher, sent);
    assert_eq!(
        world.broker.counters().slow_consumers.get(),
        0,
        "told when its session wakes"
    );
    assert!(matches!(stuck.session.wake(world.now), Step::Close(_)));
    assert!(publisher.session.accepts_input(), "the second time it did not wait");
}

#[test]
fn a_reader_who_has_taken_nothing_for_long_makes_nobody_wait() {
    let mut world = World::new(topic_budget(40));
    let (mut stuck, mut publisher) = (world.client(), world.client());
    stuck.send(&world, "SUBSCRIBE\nid:0\ndestination:/topic/t\n\n");
    publisher.send(&world, "SEND\ndestination:/topic/t\n\nfirst");
    world.pass(500);
    assert_eq!(burst(&world, &mut publisher, 0), 100);
    assert!(matches!(stuck.session.wake(world.now), Step::Close(_)));
}

#[test]
fn a_burst_waits_for_a_consumer_who_acknowledges_too() {
    let mut world = World::new(topic_budget(40));
    let (mut consumer, mut publisher) = (world.client(), world.client());
    consumer.send(
        &world,
        "SUBSCRIBE\nid:0\ndestination:/topic/t\nack:client\nprefetch-count:5\n\n",
    );
    let (mut seen, mut sent) = (Vec::new(), 0);
    while seen.len() < 300 {
        if sent < 300 {
            sent = burst(&world, &mut publisher, sent);
        }
        world.pass(1);
        for frame in consumer.take(&world) {
            seen.push(body(&frame));
            let id = header(&frame, "ack").expect("an id").to_owned();
            consumer.send(&world, &format!("ACK\nid:{id}\n\n"));
        }
        publisher.session.wake(world.now);
    }
    let expected: Vec<_> = (0..seen.len()).map(|n| n.to_string()).collect();
    assert_eq!(seen, expected);
    assert_eq!(world.broker.counters().slow_consumers.get(), 0);
}

#[test]
fn a_reader_who_is_a_little_too_slow_for_ever_does_not_set_the_pace() {
    let mut world = World::new(topic_budget(40));
    let (mut slow, mut publisher) = (world.client(), world.client());
    slow.send(&world, "SUBSCRIBE\nid:0\ndestination:/topic/t\n\n");
    let (mut sent, mut rounds) = (0, 0);
    while slow.session.accepts_input() && rounds < 1_000 {
        sent = burst(&world, &mut publisher, sent);
        world.pass(100);
        publisher.session.advance(world.now);
        if slow.session.wake(world.now) != Step::Done {
            break;
        }
        slow.bodies(&world);
        publisher.session.wake(world.now);
        rounds += 1;
    }
    assert!(
        (50..200).contains(&rounds),
        "{rounds} times 100 ms: about ten seconds and a tenth of the time"
    );
    assert_eq!(world.broker.counters().slow_consumers.get(), 1);
}

#[test]
fn a_consumer_who_acknowledges_a_little_too_slowly_does_not_set_the_pace_either() {
    let mut world = World::new(topic_budget(40));
    let (mut slow, mut publisher) = (world.client(), world.client());
    slow.send(
        &world,
        "SUBSCRIBE\nid:0\ndestination:/topic/t\nack:client\nprefetch-count:40\n\n",
    );
    let (mut sent, mut rounds) = (0, 0);
    while rounds < 1_000 {
        sent = burst(&world, &mut publisher, sent);
        world.pass(100);
        publisher.session.advance(world.now);
        if slow.session.wake(world.now) != Step::Done {
            break;
        }
        let frames = slow.take(&world);
        if let Some(id) = frames.last().and_then(|frame| header(frame, "ack")) {
            slow.send(&world, &format!("ACK\nid:{id}\n\n"));
        }
        publisher.session.wake(world.now);
        rounds += 1;
    }
    assert!(rounds < 1_000, "the publisher waited for ever");
    assert_eq!(world.broker.counters().slow_consumers.get(), 1);
}

#[test]
fn a_blocked_sender_is_not_blamed_for_a_frame_that_we_do_not_read() {
    let mut world = World::with(
        full_at(1, WhenFull::Block),
        crate::session::Settings {
            frame_ms: 1_000,
            ..Default::default()
        },
        std::sync::Arc::new(crate::broker::Volatile),
    );
    let (mut sender, mut consumer) = (world.client(), world.client());
    sender.send(&world, &send(0));
    sender.send(&world, &send(1));
    sender.session.holds(100, world.now);
    world.pass(1_500);
    assert_eq!(sender.session.advance(world.now), Step::Done);
    consumer.send(&world, "SUBSCRIBE\nid:0\ndestination:/queue/q\n\n");
    consumer.take(&world);
    sender.take(&world);
    world.pass(999);
    assert_eq!(sender.session.advance(world.now), Step::Done);
    world.pass(1);
    let step = sender.session.advance(world.now);
    assert!(
        matches!(&step, Step::Close(close) if close.reason == "frame-timeout"),
        "{step:?}"
    );
}

/// Every deadline of a session is served until `until`, and the socket takes everything at once. When it wrote beats, and
/// how it ended.
fn live_on(world: &mut World, client: &mut Client, until: u64) -> (Vec<u64>, Step) {
    let mut beats = Vec::new();
    while let Some(due) = client.session.deadline().filter(|due| *due <= until) {
        let later = due.saturating_sub(world.now.mono);
        world.pass(later);
        let step = client.session.advance(world.now);
        client.drain(world);
        let waiting = client.sink.frames.len();
        let written = client.sink.frames.iter().filter(|(_, frame)| frame == "\n").count();
        beats.extend(std::iter::repeat_n(world.now.mono, written));
        if matches!(step, Step::Close(_)) {
            return (beats, step);
        }
        client.take_some(world, waiting);
    }
    world.pass(until.saturating_sub(world.now.mono));
    (beats, Step::Done)
}

const MINUTE: u64 = 60_000;

fn patient(patience_ms: u64) -> World {
    let settings = session::Settings {
        blocked_ms: patience_ms,
        ..session::Settings::default()
    };
    World::with(full_at(1, WhenFull::Block), settings, Arc::new(Volatile))
}

#[test]
fn a_blocked_sender_that_is_not_read_has_its_beats_and_is_not_silent_for_as_long_as_it_may_wait() {
    let mut world = patient(20 * MINUTE);
    let mut sender = world.client_with("heart-beat:10000,10000\n");
    sender.send(&world, &send(0));
    sender.send(&world, &send(1));
    sender.take(&world);
    let begun = world.now.mono;
    // Not an octet of its own is read meanwhile.
    let (beats, step) = live_on(&mut world, &mut sender, begun + 30 * MINUTE);
    assert!(matches!(step, Step::Close(_)), "{step:?}");
    let error = sender.take(&world).pop().expect("an ERROR");
    assert_eq!(
        (header(&error, "code"), header(&error, "receipt-id")),
        (Some("queue-full"), Some("1"))
    );
    assert_eq!(world.now.mono, begun + 20 * MINUTE);
    let moments = || std::iter::once(begun).chain(beats.iter().copied());
    let gaps = moments().zip(moments().skip(1).chain([world.now.mono]));
    let longest = gaps.map(|(before, after)| after - before).max();
    assert!(
        longest < Some(10_000) && beats.len() > 120,
        "{longest:?}, {}",
        beats.len()
    );
}

#[test]
fn the_beats_and_acknowledgements_of_a_blocked_sender_count_and_then_its_silence() {
    let mut world = patient(60 * MINUTE);
    let (mut sender, mut consumer) = (world.client_with("heart-beat:10000,0\n"), world.client());
    sender.send(
        &world,
        "SUBSCRIBE\nid:0\ndestination:/queue/other\nack:client-individual\n\n",
    );
    sender.send(&world, "SEND\ndestination:/queue/other\n\nx");
    sender.send(&world, &send(0));
    sender.send(&world, &send(1));
    let frames = sender.take(&world);
    let id = frames
        .iter()
        .find_map(|frame| header(frame, "ack"))
        .expect("a MESSAGE")
        .to_owned();
    let begun = world.now.mono;
    for turn in 1..=300 {
        let (_, step) = live_on(&mut world, &mut sender, begun + turn * 8_000);
        assert_eq!(step, Step::Done, "after {turn} beats");
        sender.session.heard(world.now);
    }
    sender.send(&world, &format!("ACK\nid:{id}\n\n"));
    assert_eq!(world.broker.queue_length("/queue/other"), Some(0));
    consumer.send(&world, "SUBSCRIBE\nid:0\ndestination:/queue/q\n\n");
    consumer.take(&world);
    assert_eq!(receipts(&sender.take(&world)), ["1"]);
    // From now on it is silent: twice what was agreed, and a second, and the answer to a probe.
    let (unblocked, last) = (world.now.mono, world.now.mono + 2 * MINUTE);
    let (_, step) = live_on(&mut world, &mut sender, last);
    assert!(matches!(step, Step::Close(_)), "{step:?}");
    let error = sender.take(&world).pop().expect("an ERROR");
    assert_eq!(header(&error, "code"), Some("silent"));
    let silent = world.now.mono - unblocked;
    assert!((21_000..=26_000).contains(&silent), "{silent}");
}
