//! Persistent messages: what is on disk, what is in memory, and what comes back.

use std::sync::Arc;

use super::disk::Disk;
use super::{header, Client, World};
use crate::broker::settings::{QueuePolicy, WhenFull};
use crate::broker::{Journal, Settings};
use crate::session;

fn world(settings: Settings) -> (World, Arc<Disk>) {
    let disk = Arc::new(Disk::default());
    let journal = Arc::clone(&disk) as Arc<dyn Journal>;
    (World::with(settings, session::Settings::default(), journal), disk)
}

/// Memory for a handful of messages in each queue.
fn tight() -> Settings {
    Settings {
        queue: QueuePolicy {
            resident: 2_000,
            ..QueuePolicy::default()
        },
        ..Settings::default()
    }
}

fn send(client: &mut Client, world: &World, headers: &str, bodies: impl IntoIterator<Item = usize>) {
    for body in bodies {
        client.send(
            world,
            &format!("SEND\ndestination:/queue/q\npersistent:true\n{headers}\n{body}"),
        );
    }
}

/// What a client gets, the disk answering whenever it has something to say.
fn take(client: &mut Client, world: &World, disk: &Disk) -> Vec<String> {
    let mut frames = client.take(world);
    while disk.tell_once(&world.broker, world.now) {
        frames.extend(client.take(world));
    }
    frames
}

fn bodies(frames: &[String]) -> Vec<usize> {
    let messages = frames.iter().filter(|frame| frame.starts_with("MESSAGE"));
    messages
        .map(|frame| super::body(frame).parse().expect("a number"))
        .collect()
}

#[test]
fn a_backlog_is_on_disk_and_comes_in_order() {
    let (mut world, disk) = world(tight());
    let mut sender = world.client();
    send(&mut sender, &world, "", 0..1_000);
    let sizes = world.broker.sizes();
    assert_eq!((sizes.queued_messages, sizes.stored_messages), (1_000, 1_000));
    assert!(
        sizes.message_octets < 2_000 + 1_000 * 101,
        "a stub costs 100 octets, not {}",
        sizes.message_octets / 1_000
    );
    let mut consumer = world.client();
    consumer.send(&world, "SUBSCRIBE\nid:0\ndestination:/queue/q\n\n");
    assert_eq!(
        bodies(&take(&mut consumer, &world, &disk)),
        (0..1_000).collect::<Vec<_>>()
    );
    assert!((900..1_000).contains(&disk.fetched()), "{}", disk.fetched());
    assert_eq!(world.broker.sizes().message_octets, 0);
    assert!(disk.recovered()[0].entries.is_empty());
}

#[test]
fn nobody_overtakes_a_message_whose_octets_are_on_their_way() {
    let (mut world, disk) = world(tight());
    let mut sender = world.client();
    send(&mut sender, &world, "priority:1\n", 0..20);
    send(&mut sender, &world, "priority:8\n", 100..120);
    // Transient ones stay in memory and have their place too.
    sender.send(&world, "SEND\ndestination:/queue/q\npriority:8\n\n120");
    send(&mut sender, &world, "priority:8\n", [121]);
    let mut consumer = world.client();
    consumer.send(&world, "SUBSCRIBE\nid:0\ndestination:/queue/q\n\n");
    let expected: Vec<usize> = (100..122).chain(0..20).collect();
    assert_eq!(bodies(&take(&mut consumer, &world, &disk)), expected);
}

#[test]
fn a_message_that_cannot_be_read_is_counted_and_passed() {
    let (mut world, disk) = world(tight());
    let mut sender = world.client();
    send(&mut sender, &world, "", 0..50);
    disk.damage(30);
    let mut consumer = world.client();
    consumer.send(&world, "SUBSCRIBE\nid:0\ndestination:/queue/q\n\n");
    let expected: Vec<usize> = (0..30).chain(31..50).collect();
    assert_eq!(bodies(&take(&mut consumer, &world, &disk)), expected);
    assert_eq!(world.broker.counters().lost.get(), 1);
    assert_eq!(world.broker.queue_length("/queue/q"), Some(0));
}

#[test]
fn what_leaves_while_it_is_fetched_is_gone() {
    let (mut world, disk) = world(tight());
    let mut sender = world.client();
    send(&mut sender, &world, "", 0..10);
    send(&mut sender, &world, "expiration:500\n", 10..20);
    send(&mut sender, &world, "", 20..30);
    let mut consumer = world.client();
    consumer.send(&world, "SUBSCRIBE\nid:0\ndestination:/queue/q\n\n");
    let mut got = consumer.take(&world);
    disk.tell_once(&world.broker, world.now);
    got.extend(consumer.take(&world));
    world.pass(501);
    got.extend(take(&mut consumer, &world, &disk));
    let got = bodies(&got);
    assert!(got.windows(2).all(|pair| pair[0] < pair[1]), "{got:?}");
    assert!((0..10).chain(20..30).all(|body| got.contains(&body)), "{got:?}");
    assert_eq!(got.len() as u64 + world.broker.counters().dropped_expired.get(), 30);
    assert_eq!(world.broker.sizes().message_octets, 0);
    assert!(disk.recovered()[0].entries.is_empty());
}

#[test]
fn a_limit_drops_what_is_on_disk_too() {
    let mut settings = tight();
    settings.queue.messages = 20;
    settings.queue.full = WhenFull::DropHead;
    let (mut world, disk) = world(settings);
    let mut sender = world.client();
    send(&mut sender, &world, "", 0..100);
    assert_eq!(disk.recovered()[0].entries.len(), 20);
    let mut consumer = world.client();
    consumer.send(&world, "SUBSCRIBE\nid:0\ndestination:/queue/q\n\n");
    assert_eq!(
        bodies(&take(&mut consumer, &world, &disk)),
        (80..100).collect::<Vec<_>>()
    );
    assert_eq!(world.broker.sizes().message_octets, 0);
}

#[test]
fn short_memory_keeps_nothing_beyond_what_is_waited_for() {
    let mut settings = tight();
    settings.memory_high_water = 24_000;
    let (mut world, disk) = world(settings);
    let mut hog = world.client();
    hog.send(
        &world,
        &format!("SEND\ndestination:/queue/hog\n\n{}", "x".repeat(12_000)),
    );
    let mut sender = world.client();
    send(&mut sender, &world, "", 0..50);
    let before = world.broker.sizes().message_octets;
    assert!(before < 12_000 + 500 + 50 * 100, "{before}");
    let mut consumer = world.client();
    consumer.send(&world, "SUBSCRIBE\nid:0\ndestination:/queue/q\n\n");
    assert_eq!(bodies(&take(&mut consumer, &world, &disk)), (0..50).collect::<Vec<_>>());
}

#[test]
fn nothing_is_given_out_before_the_mark_is_kept() {
    let (mut world, disk) = world(Settings::default());
    let mut consumer = world.client();
    consumer.send(&world, "SUBSCRIBE\nid:0\ndestination:/queue/q\n\n");
    let mut sender = world.client();
    send(&mut sender, &world, "", [0]);
    sender.send(&world, "SEND\ndestination:/queue/q\n\n1");
    assert_eq!(disk.lines(), ["declare 1 /queue/q", "mark 1 1024", "append 1 0"]);
    assert_eq!(consumer.take(&world), [""; 0]);
    disk.tell(&world.broker, world.now);
    assert_eq!(bodies(&consumer.take(&world)), [0, 1]);
    send(&mut sender, &world, "", 2..600);
    let marks = disk.lines().into_iter().filter(|line| line.starts_with("mark"));
    assert_eq!(
        marks.collect::<Vec<_>>(),
        ["mark 1 1536"],
        "asked for when half of a block is used"
    );
    assert_eq!(bodies(&consumer.take(&world)).len(), 598, "and nobody waits for it");
}

#[test]
fn a_clean_stop_leaves_no_doubt_and_an_unclean_one_tells() {
    let (mut world, disk) = world(tight());
    let mut sender = world.client();
    send(&mut sender, &world, "", 0..2_000);
    let mut consumer = world.client();
    consumer.send(
        &world,
        "SUBSCRIBE\nid:0\ndestination:/queue/q\nack:client\nprefetch-count:3\n\n",
    );
    let frames = take(&mut consumer, &world, &disk);
    assert_eq!(bodies(&frames), [0, 1, 2]);
    let ack = header(&frames[0], "ack").expect("an id");
    consumer.send(&world, &format!("ACK\nid:{ack}\n\n"));
    assert_eq!(bodies(&take(&mut consumer, &world, &disk)), [3]);
    // The process ends without a word: sessions have no time to give anything back.
    let kept = disk.recovered();
    drop((sender, consumer));
    let crashed = Arc::new(Disk::default());
    crashed.fill(&kept, &disk);
    let found = world.restart(&crashed);
    assert_eq!((found.queues, found.messages), (1, 1_999));
    let mut consumer = world.client();
    consumer.send(&world, "SUBSCRIBE\nid:0\ndestination:/queue/q\n\n");
    let frames = take(&mut consumer, &world, &crashed);
    assert_eq!(bodies(&frames), (1..2_000).collect::<Vec<_>>());
    let flagged = |frame: &&String| header(frame, "redelivered") == Some("true");
    let redelivered: Vec<String> = frames.iter().filter(flagged).cloned().collect();
    assert_eq!(
        bodies(&redelivered),
        (1..1_024).collect::<Vec<_>>(),
        "those below the mark"
    );
    assert_eq!(header(&redelivered[0], "delivery-count"), Some("2"));

    // And with one: only what was really delivered says so.
    let mut sender = world.client();
    send(&mut sender, &world, "", 0..10);
    crashed.tell(&world.broker, world.now);
    drop((sender, consumer));
    world.broker.rest();
    world.restart(&crashed);
    let mut consumer = world.client();
    consumer.send(&world, "SUBSCRIBE\nid:0\ndestination:/queue/q\n\n");
    let frames = take(&mut consumer, &world, &crashed);
    assert_eq!(bodies(&frames), (0..10).collect::<Vec<_>>());
    assert!(frames.iter().all(|frame| header(frame, "redelivered") == Some("false")));
}

#[test]
fn tries_are_remembered_and_keep_their_place() {
    let (mut world, disk) = world(Settings::default());
    let mut sender = world.client();
    send(&mut sender, &world, "", 0..4);
    let mut consumer = world.client();
    consumer.send(
        &world,
        "SUBSCRIBE\nid:0\ndestination:/queue/q\nack:client-individual\nprefetch-count:2\n\n",
    );
    let frames = take(&mut consumer, &world, &disk);
    disk.lines();
    let ack = header(&frames[1], "ack").expect("an id").to_owned();
    consumer.send(&world, &format!("NACK\nid:{ack}\nreceipt:n\n\n"));
    assert_eq!(disk.lines(), ["attempts 1 1 1"]);
    let receipt = consumer.take(&world);
    assert_eq!(
        receipt.iter().filter(|frame| frame.starts_with("RECEIPT")).count(),
        0,
        "not before the disk has it"
    );
    disk.tell(&world.broker, world.now);
    assert_eq!(header(&consumer.take(&world)[0], "receipt-id"), Some("n"));
    drop(consumer);
    drop(sender);
    world.broker.rest();
    world.restart(&disk);
    let mut consumer = world.client();
    consumer.send(&world, "SUBSCRIBE\nid:0\ndestination:/queue/q\n\n");
    let frames = take(&mut consumer, &world, &disk);
    assert_eq!(bodies(&frames), [0, 1, 2, 3]);
    let counts: Vec<_> = frames.iter().map(|frame| header(frame, "delivery-count")).collect();
    assert_eq!(counts, [Some("2"), Some("3"), None, None]);
}

#[test]
fn crashes_alone_use_up_nobodys_last_try() {
    let (mut world, disk) = world(Settings::default());
    let mut sender = world.client();
    let mut consumer = world.client();
    consumer.send(&world, "SUBSCRIBE\nid:0\ndestination:/queue/q\nack:client\n\n");
    send(&mut sender, &world, "", [7]);
    disk.tell(&world.broker, world.now);
    let mut kept = disk.recovered();
    drop((sender, consumer));
    let mut last = disk;
    for _ in 0..50 {
        let crashed = Arc::new(Disk::default());
        crashed.fill(&kept, &last);
        world.restart(&crashed);
        kept = crashed.recovered();
        last = crashed;
    }
    let mut consumer = world.client();
    consumer.send(&world, "SUBSCRIBE\nid:0\ndestination:/queue/q\nack:client\n\n");
    let frames = take(&mut consumer, &world, &last);
    assert_eq!(bodies(&frames), [7]);
    assert_eq!(header(&frames[0], "delivery-count"), Some("20"));
}

#[test]
fn options_and_dates_come_back_and_numbers_do_not() {
    let (mut world, disk) = world(Settings::default());
    let mut sender = world.client();
    send(
        &mut sender,
        &world,
        "x-dead-letter-routing-key:grave\nexpiration:5000\n",
        [1],
    );
    send(&mut sender, &world, "", [2]);
    drop(sender);
    world.broker.rest();
    world.restart(&disk);
    world.pass(5_001);
    assert_eq!(world.broker.queue_length("/queue/q"), Some(1));
    let mut client = world.client();
    client.send(&world, "SUBSCRIBE\nid:0\ndestination:/queue/q\nack:client\n\n");
    let frames = take(&mut client, &world, &disk);
    let ack = header(&frames[0], "ack").expect("an id").to_owned();
    client.send(&world, &format!("NACK\nid:{ack}\nrequeue:false\n\n"));
    // The one that expired is there as well.
    assert_eq!(world.broker.queue_length("/queue/grave"), Some(2));
    client.send(&world, "UNSUBSCRIBE\nid:0\n\n");
    world.pass(60_000);
    assert!(!disk.recovered().iter().any(|queue| queue.queue == 1), "it was empty");
    drop(client);
    world.restart(&disk);
    let mut sender = world.client();
    send(&mut sender, &world, "", [3]);
    let numbers: Vec<u64> = disk.recovered().iter().map(|queue| queue.queue).collect();
    assert_eq!(numbers, [2, 3], "no number is used twice");
}

#[test]
fn only_what_must_be_stored_is_refused_by_a_disk_that_is_unwell() {
    let (mut world, disk) = world(Settings::default());
    let mut first = world.client();
    let mut second = world.client();
    let mut consumer = world.client();
    consumer.send(&world, "SUBSCRIBE\nid:0\ndestination:/queue/q\nack:client\n\n");
    send(&mut first, &world, "", [1]);
    let frames = take(&mut consumer, &world, &disk);
    disk.refuse(Some("no space left on the disk"));
    send(&mut first, &world, "receipt:r\n", [2]);
    let error = &first.take(&world)[0];
    assert_eq!(header(error, "code"), Some("not-stored"));
    assert_eq!(header(error, "receipt-id"), Some("r"));
    assert!(error.contains("no space left on the disk"), "{error}");
    second.send(&world, "SEND\ndestination:/queue/q\nreceipt:t\n\n3");
    assert_eq!(header(&second.take(&world)[0], "receipt-id"), Some("t"));
    second.send(&world, "BEGIN\ntransaction:t\n\n");
    second.send(
        &world,
        "SEND\ndestination:/queue/q\ntransaction:t\npersistent:true\n\n4",
    );
    second.send(&world, "COMMIT\ntransaction:t\nreceipt:c\n\n");
    let error = &second.take(&world)[0];
    assert_eq!(
        (header(error, "code"), header(error, "receipt-id")),
        (Some("not-stored"), Some("c"))
    );
    let ack = header(&frames[0], "ack").expect("an id").to_owned();
    consumer.send(&world, &format!("ACK\nid:{ack}\n\n"));
    assert_eq!(bodies(&take(&mut consumer, &world, &disk)), [3]);
    let mut third = world.client();
    send(&mut third, &world, "", [5]);
    disk.refuse(None);
    let mut fourth = world.client();
    send(&mut fourth, &world, "", [6]);
    assert_eq!(bodies(&take(&mut consumer, &world, &disk)), [6]);
}

#[test]
fn senders_wait_for_a_disk_that_does_not_keep_up_and_acknowledgements_do_not() {
    let (mut world, disk) = world(Settings {
        memory_high_water: 80_000,
        ..Settings::default()
    });
    let mut consumer = world.client();
    consumer.send(&world, "SUBSCRIBE\nid:0\ndestination:/queue/q\nack:client\n\n");
    let mut sender = world.client();
    send(&mut sender, &world, "", [1]);
    let frames = take(&mut consumer, &world, &disk);
    disk.pend(10_000);
    send(&mut sender, &world, "receipt:r\n", [2]);
    let mut transient = world.client();
    transient.send(&world, "SEND\ndestination:/queue/p\nreceipt:t\n\n3");
    assert_eq!(header(&transient.take(&world)[0], "receipt-id"), Some("t"));
    let ack = header(&frames[0], "ack").expect("an id").to_owned();
    consumer.send(&world, &format!("ACK\nid:{ack}\n\n"));
    assert_eq!(take(&mut consumer, &world, &disk), [""; 0]);
    disk.pend(9_999);
    world.pass(50);
    sender.session.advance(world.now);
    assert_eq!(bodies(&take(&mut consumer, &world, &disk)), [2]);
    assert_eq!(header(&sender.take(&world)[0], "receipt-id"), Some("r"));
    disk.pend(10_000);
    send(&mut sender, &world, "", [4]);
    world.pass(30_000);
    sender.session.advance(world.now);
    let error = &sender.take(&world)[0];
    assert_eq!(header(error, "code"), Some("memory-full"));
    assert!(error.contains("wait to be written to disk"), "{error}");
}

#[test]
fn receipts_of_transient_acknowledgements_wait_for_no_disk() {
    let (mut world, _disk) = world(Settings::default());
    let mut client = world.client();
    client.send(&world, "SEND\ndestination:/queue/q\n\n1");
    client.send(&world, "SUBSCRIBE\nid:0\ndestination:/queue/q\nack:client\n\n");
    let frames = client.take(&world);
    let ack = header(&frames[0], "ack").expect("an id").to_owned();
    client.send(&world, &format!("ACK\nid:{ack}\nreceipt:a\n\n"));
    assert_eq!(header(&client.take(&world)[0], "receipt-id"), Some("a"));
}

#[test]
fn an_empty_queue_goes_away_on_disk_too_and_a_full_one_stays() {
    let (mut world, disk) = world(Settings::default());
    let mut sender = world.client();
    send(&mut sender, &world, "", [1]);
    world.pass(70_000);
    assert_eq!(world.broker.queue_length("/queue/q"), Some(1));
    let mut consumer = world.client();
    consumer.send(&world, "SUBSCRIBE\nid:0\ndestination:/queue/q\n\n");
    assert_eq!(bodies(&take(&mut consumer, &world, &disk)), [1]);
    drop(consumer);
    world.pass(1);
    world.pass(70_000);
    assert_eq!(world.broker.queue_length("/queue/q"), None);
    assert!(disk.recovered().is_empty());
    drop(sender);
    assert_eq!(world.broker.sizes(), Default::default());
}

#[test]
fn what_belongs_to_a_session_is_not_written_down() {
    let (mut world, disk) = world(Settings::default());
    let mut client = world.client();
    client.send(&world, "SUBSCRIBE\nid:0\ndestination:/temp-queue/mine\nack:client\n\n");
    client.send(&world, "SUBSCRIBE\nid:1\ndestination:/topic/t\nack:client\n\n");
    client.send(
        &world,
        "SEND\ndestination:/temp-queue/mine\npersistent:true\nreceipt:1\n\n1",
    );
    client.send(&world, "SEND\ndestination:/topic/t\npersistent:true\nreceipt:2\n\n2");
    assert_eq!(client.take(&world).len(), 4, "two RECEIPTs and two MESSAGEs, at once");
    assert_eq!(disk.lines(), [""; 0]);
}

#[test]
fn dead_letters_without_a_grave_leave_the_disk_too() {
    let (mut world, disk) = world(Settings::default());
    let mut client = world.client();
    client.send(&world, "SEND\ndestination:/queue/DLQ.q\npersistent:true\n\n1");
    client.send(&world, "SUBSCRIBE\nid:0\ndestination:/queue/DLQ.q\nack:client\n\n");
    let frames = take(&mut client, &world, &disk);
    let ack = header(&frames[0], "ack").expect("an id").to_owned();
    client.send(&world, &format!("NACK\nid:{ack}\nrequeue:false\n\n"));
    assert_eq!(world.broker.counters().dropped_dead.get(), 1);
    assert!(disk.recovered()[0].entries.is_empty());
}

#[test]
fn a_commit_with_a_dead_letter_is_one_batch() {
    let (mut world, disk) = world(Settings::default());
    let mut client = world.client();
    send(&mut client, &world, "", [1]);
    client.send(&world, "SUBSCRIBE\nid:0\ndestination:/queue/q\nack:client\n\n");
    let frames = take(&mut client, &world, &disk);
    disk.lines();
    let ack = header(&frames[0], "ack").expect("an id").to_owned();
    client.send(&world, "BEGIN\ntransaction:t\n\n");
    client.send(
        &world,
        "SEND\ndestination:/queue/p\npersistent:true\ntransaction:t\n\n2",
    );
    client.send(&world, &format!("NACK\nid:{ack}\nrequeue:false\ntransaction:t\n\n"));
    client.send(&world, "COMMIT\ntransaction:t\n\n");
    let expected = [
        "declare 2 /queue/p",
        "append 2 0 in batch",
        "declare 3 /queue/DLQ.q",
        "append 3 0 in batch",
        "settle 1 0 in batch",
        "seal",
    ];
    assert_eq!(disk.lines(), expected);
}

#[test]
fn a_poison_message_does_not_survive_forty_reconnects_and_restarts() {
    let (mut world, disk) = world(Settings::default());
    let mut sender = world.client();
    send(&mut sender, &world, "", [13]);
    drop(sender);
    let mut seen = 0;
    for round in 0..40 {
        let mut consumer = world.client();
        consumer.send(&world, "SUBSCRIBE\nid:0\ndestination:/queue/q\nack:client\n\n");
        seen += bodies(&take(&mut consumer, &world, &disk)).len();
        drop(consumer);
        if round % 3 == 0 {
            disk.tell(&world.broker, world.now);
            world.broker.rest();
            world.restart(&disk);
        }
    }
    assert_eq!(seen, 20);
    let mut undertaker = world.client();
    undertaker.send(&world, "SUBSCRIBE\nid:0\ndestination:/queue/DLQ.q\n\n");
    let frames = take(&mut undertaker, &world, &disk);
    assert_eq!(bodies(&frames), [13]);
    let said = ["dead-letter-reason", "original-destination", "delivery-count"].map(|name| header(&frames[0], name));
    assert_eq!(said, [Some("delivery-limit"), Some("/queue/q"), Some("20")]);
}
