//! Messages that leave their queue unconsumed: where they go, also when their octets are on disk only.

use std::sync::Arc;

use super::disk::Disk;
use super::{body, header, Client, World};
use crate::broker::settings::{DeadLetter, QueuePolicy, WhenExpired, WhenFull};
use crate::broker::{Journal, Settings};
use crate::session;

fn world(queue: QueuePolicy) -> (World, Arc<Disk>) {
    let settings = Settings {
        queue,
        ..Settings::default()
    };
    let disk = Arc::new(Disk::default());
    let journal = Arc::clone(&disk) as Arc<dyn Journal>;
    (World::with(settings, session::Settings::default(), journal), disk)
}

fn send(client: &mut Client, world: &World, headers: &str, body: &str) {
    client.send(
        world,
        &format!("SEND\ndestination:/queue/q\npersistent:true\n{headers}\n{body}"),
    );
}

/// All that is in the dead-letter queue: reason and body.
fn graves(world: &mut World, disk: &Disk, name: &str) -> Vec<(String, String)> {
    disk.tell(&world.broker, world.now);
    let mut client = world.client();
    client.send(world, &format!("SUBSCRIBE\nid:0\ndestination:{name}\n\n"));
    let mut frames = client.take(world);
    while disk.tell_once(&world.broker, world.now) {
        frames.extend(client.take(world));
    }
    let reason = |frame: &String| header(frame, "dead-letter-reason").unwrap_or_default().to_owned();
    frames.iter().map(|frame| (reason(frame), body(frame))).collect()
}

fn expired(bodies: impl IntoIterator<Item = usize>) -> Vec<(String, String)> {
    bodies
        .into_iter()
        .map(|body| ("expired".to_owned(), body.to_string()))
        .collect()
}

#[test]
fn what_expires_on_disk_is_fetched_to_be_buried() {
    let (mut world, disk) = world(QueuePolicy {
        resident: 1_000,
        expired: WhenExpired::DeadLetter,
        ..QueuePolicy::default()
    });
    let mut client = world.client();
    for number in 0..20 {
        send(&mut client, &world, "ttl:100\n", &number.to_string());
    }
    send(&mut client, &world, "", "stays");
    disk.damage(7);
    world.pass(100);
    assert_eq!(world.broker.queue_length("/queue/q"), Some(1));
    let mut found = graves(&mut world, &disk, "/queue/DLQ.q");
    found.sort_by_key(|(_, body)| body.parse::<usize>().expect("a number"));
    assert_eq!(found, expired((0..20).filter(|number| *number != 7)));
    assert_eq!(world.broker.counters().lost.get(), 1);
    // In neither queue is anything left behind.
    let kept: usize = disk.recovered().iter().map(|queue| queue.entries.len()).sum();
    assert_eq!(kept, 1);
    let sizes = world.broker.sizes();
    assert_eq!((sizes.queued_messages, sizes.stored_messages), (1, 1));
}

#[test]
fn so_many_that_expire_at_once_are_fetched_bit_by_bit() {
    let (mut world, disk) = world(QueuePolicy {
        resident: 0,
        expired: WhenExpired::DeadLetter,
        ..QueuePolicy::default()
    });
    let mut client = world.client();
    let large = "x".repeat(100_000);
    for _ in 0..40 {
        send(&mut client, &world, "ttl:100\n", &large);
    }
    world.pass(100);
    let held = world.broker.sizes().message_octets;
    assert!(held < 100_000, "{held} octets before anything was fetched");
    assert_eq!(
        world.broker.queue_length("/queue/q"),
        Some(29),
        "a mebibyte is on its way"
    );
    disk.tell(&world.broker, world.now);
    assert_eq!(world.broker.queue_length("/queue/q"), Some(0));
    assert_eq!(world.broker.queue_length("/queue/DLQ.q"), Some(40));
    assert_eq!(world.broker.counters().dead_lettered.get(), 40);
}

#[test]
fn a_crash_before_it_is_buried_leaves_it_where_it_was() {
    let (mut world, disk) = world(QueuePolicy {
        resident: 0,
        expired: WhenExpired::DeadLetter,
        ..QueuePolicy::default()
    });
    let mut client = world.client();
    send(&mut client, &world, "ttl:100\n", "0");
    drop(client);
    world.pass(100);
    assert_eq!(world.broker.queue_length("/queue/q"), Some(0));
    world.restart(&disk);
    world.pass(0);
    assert_eq!(graves(&mut world, &disk, "/queue/DLQ.q"), expired([0]));
}

#[test]
fn what_gives_way_is_buried_where_a_client_named_the_grave() {
    for (headers, resident, buried) in [
        ("x-dead-letter-routing-key:grave\n", 1 << 20, true),
        ("x-dead-letter-routing-key:grave\n", 0, true),
        ("", 1 << 20, false),
    ] {
        let (mut world, disk) = world(QueuePolicy {
            messages: 2,
            full: WhenFull::DropHead,
            resident,
            ..QueuePolicy::default()
        });
        let mut client = world.client();
        for number in 0..4 {
            send(&mut client, &world, headers, &number.to_string());
        }
        disk.tell(&world.broker, world.now);
        assert_eq!(world.broker.queue_length("/queue/q"), Some(2));
        let mut found = graves(&mut world, &disk, "/queue/grave");
        // Octets come from disk in any order.
        found.sort();
        let expected: Vec<_> = match buried {
            true => ["0", "1"].map(|body| ("maxlen".to_owned(), body.to_owned())).into(),
            false => Vec::new(),
        };
        assert_eq!(found, expected);
    }
}

#[test]
fn two_full_queues_do_not_bury_each_others_dead_for_ever() {
    let (mut world, disk) = world(QueuePolicy::default());
    let mut client = world.client();
    for _ in 0..10 {
        for (queue, other) in [("a", "b"), ("b", "a")] {
            let options = format!("x-max-length:1\nx-dead-letter-routing-key:{other}\n");
            client.send(&world, &format!("SEND\ndestination:/queue/{queue}\n{options}\nx"));
        }
    }
    disk.tell(&world.broker, world.now);
    assert_eq!(world.broker.sizes().queued_messages, 2);
}

#[test]
fn an_operator_says_where_the_dead_go() {
    for (dead_letter, name, count) in [
        (DeadLetter::Own, "/queue/DLQ.q", 1),
        (DeadLetter::Queue("/queue/all".into()), "/queue/all", 1),
        (DeadLetter::Queue("/queue/q".into()), "/queue/q", 0),
        (DeadLetter::Nowhere, "/queue/DLQ.q", 0),
    ] {
        let (mut world, disk) = world(QueuePolicy {
            expired: WhenExpired::DeadLetter,
            dead_letter,
            ttl_ms: 100,
            ..QueuePolicy::default()
        });
        let mut client = world.client();
        send(&mut client, &world, "", "0");
        world.pass(100);
        assert_eq!(graves(&mut world, &disk, name).len(), count, "{name}");
        assert_eq!(world.broker.counters().dropped_dead.get(), 1 - count as u64);
    }
}

#[test]
fn a_queue_that_is_not_durable_writes_nothing_down() {
    let (mut world, disk) = world(QueuePolicy {
        durable: false,
        ..QueuePolicy::default()
    });
    let mut client = world.client();
    send(&mut client, &world, "receipt:r\n", "0");
    assert_eq!(client.take(&world).len(), 1, "the RECEIPT waits for nothing");
    assert!(disk.lines().is_empty());
}

#[test]
fn a_queue_whose_dead_are_on_their_way_is_not_idle() {
    let (mut world, disk) = world(QueuePolicy {
        resident: 0,
        idle_ms: 50,
        expired: WhenExpired::DeadLetter,
        ..QueuePolicy::default()
    });
    let mut client = world.client();
    send(&mut client, &world, "ttl:100\n", "1");
    // The disk has not answered when the queue, which counts nothing any more, would go.
    world.pass(100);
    assert_eq!(world.broker.queue_length("/queue/q"), Some(0));
    world.pass(50);
    world.pass(50);
    assert_eq!(graves(&mut world, &disk, "/queue/DLQ.q"), expired([1]));
    world.pass(50);
    world.pass(50);
    assert_eq!(world.broker.queue_length("/queue/q"), None);
}
