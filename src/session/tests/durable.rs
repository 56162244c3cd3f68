//! Durable subscriptions: what is kept for whom, and until when.

use std::sync::Arc;

use super::disk::Disk;
use super::{header, Client, World};
use crate::broker::settings::{DurableLimits, QueuePolicy};
use crate::broker::{Journal, Settings};
use crate::session;

const RABBIT: &str = "durable:true\nauto-delete:false\n";

fn world(settings: Settings) -> (World, Arc<Disk>) {
    let disk = Arc::new(Disk::default());
    let journal = Arc::clone(&disk) as Arc<dyn Journal>;
    (World::with(settings, session::Settings::default(), journal), disk)
}

fn subscribe(client: &mut Client, world: &World, to: &str, headers: &str) {
    client.send(world, &format!("SUBSCRIBE\nid:news\ndestination:{to}\n{headers}\n"));
}

fn send(client: &mut Client, world: &World, to: &str, bodies: impl IntoIterator<Item = usize>) {
    for body in bodies {
        client.send(world, &format!("SEND\ndestination:{to}\npersistent:true\n\n{body}"));
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
    let read = |frame: &String| super::body(frame).parse().expect("a number");
    messages.map(read).collect()
}

fn code(frames: &[String]) -> Option<&str> {
    frames.iter().find_map(|frame| header(frame, "code"))
}

#[test]
fn what_is_sent_while_nobody_is_there_comes_later_and_after_a_restart() {
    for to in ["/topic/a.b", "/topic/a.*", "/topic/#"] {
        let (mut world, disk) = world(Settings::default());
        let mut client = world.client();
        subscribe(&mut client, &world, to, RABBIT);
        drop(client);
        let mut sender = world.client();
        send(&mut sender, &world, "/topic/a.b", 0..3);
        sender.send(&world, "SEND\ndestination:/topic/a.b\n\n3");
        let mut client = world.client();
        subscribe(&mut client, &world, to, &format!("{RABBIT}ack:client-individual\n"));
        let frames = take(&mut client, &world, &disk);
        assert_eq!(bodies(&frames), [0, 1, 2, 3], "{to}");
        assert_eq!(header(&frames[0], "destination"), Some("/topic/a.b"));
        let ack = header(&frames[1], "ack").expect("an id").to_owned();
        client.send(&world, &format!("ACK\nid:{ack}\n\n"));
        drop((client, sender));
        world.broker.rest();
        let found = world.restart(&disk);
        assert_eq!((found.queues, found.messages), (1, 2), "transient ones do not survive");
        let mut sender = world.client();
        send(&mut sender, &world, "/topic/a.b", [4]);
        let mut client = world.client();
        subscribe(&mut client, &world, to, RABBIT);
        let frames = take(&mut client, &world, &disk);
        assert_eq!(bodies(&frames), [0, 2, 4], "{to}");
        let flags: Vec<_> = frames.iter().map(|frame| header(frame, "redelivered")).collect();
        assert_eq!(flags, [Some("true"), Some("true"), Some("false")]);
    }
}

#[test]
fn an_empty_one_survives_a_restart_too() {
    let (mut world, disk) = world(Settings::default());
    let mut client = world.client();
    subscribe(&mut client, &world, "/topic/t", &format!("{RABBIT}receipt:s\n"));
    assert_eq!(client.take(&world), [""; 0], "its RECEIPT waits for the disk");
    disk.tell(&world.broker, world.now);
    assert_eq!(header(&client.take(&world)[0], "receipt-id"), Some("s"));
    drop(client);
    world.broker.rest();
    world.restart(&disk);
    assert_eq!(world.broker.sizes().durable_subscriptions, 1);
    let mut sender = world.client();
    send(&mut sender, &world, "/topic/t", [1]);
    let mut client = world.client();
    subscribe(&mut client, &world, "/topic/t", RABBIT);
    assert_eq!(bodies(&take(&mut client, &world, &disk)), [1]);
}

#[test]
fn the_receipt_of_a_send_waits_for_each_of_them() {
    let (mut world, disk) = world(Settings::default());
    let mut client = world.client();
    client.send(&world, &format!("SUBSCRIBE\nid:1\ndestination:/topic/t\n{RABBIT}\n"));
    client.send(&world, &format!("SUBSCRIBE\nid:2\ndestination:/topic/#\n{RABBIT}\n"));
    drop(client);
    disk.lines();
    let mut sender = world.client();
    sender.send(&world, "SEND\ndestination:/topic/t\npersistent:true\nreceipt:p\n\n1");
    let appends = disk.lines();
    assert_eq!(appends.len(), 2, "{appends:?}");
    assert_eq!(sender.take(&world), [""; 0]);
    disk.tell(&world.broker, world.now);
    assert_eq!(header(&sender.take(&world)[0], "receipt-id"), Some("p"));
    sender.send(&world, "SEND\ndestination:/topic/t\nreceipt:t\n\n2");
    assert_eq!(
        header(&sender.take(&world)[0], "receipt-id"),
        Some("t"),
        "a transient one waits for nothing"
    );
    sender.send(
        &world,
        "SEND\ndestination:/topic/other\npersistent:true\nreceipt:o\n\n3",
    );
    assert_eq!(disk.lines().len(), 1, "only the pattern wants it");
}

#[test]
fn the_three_dialects_name_what_is_meant() {
    let (mut world, disk) = world(Settings::default());
    let named = [
        "durable-subscription-name:mine\n",
        "activemq.subscriptionName:mine\n",
        "activemq.subcriptionName:mine\n",
    ];
    let connect = |world: &mut World, id: &str| world.client_with(&format!("client-id:{id}\n"));
    let mut first = connect(&mut world, "app");
    subscribe(&mut first, &world, "/topic/t", named[0]);
    let mut other = connect(&mut world, "app2");
    subscribe(&mut other, &world, "/topic/t", named[1]);
    drop((first, other));
    assert_eq!(
        world.broker.sizes().durable_subscriptions,
        2,
        "the client's name is part of it"
    );
    let mut sender = world.client();
    send(&mut sender, &world, "/topic/t", [1]);
    for header in &named[1..] {
        let mut again = connect(&mut world, "app");
        subscribe(&mut again, &world, "/topic/t", &format!("{header}ack:client\n"));
        assert_eq!(bodies(&take(&mut again, &world, &disk)), [1], "{header}");
    }
    let mut nobody = world.client();
    subscribe(&mut nobody, &world, "/topic/t", named[0]);
    assert_eq!(code(&nobody.take(&world)), Some("missing-header"));
    let mut queue = connect(&mut world, "app");
    subscribe(&mut queue, &world, "/queue/q", named[0]);
    assert_eq!(code(&queue.take(&world)), Some("unsupported"));
    let mut half = world.client();
    subscribe(&mut half, &world, "/topic/t", "durable:true\n");
    let frames = half.take(&world);
    assert_eq!(code(&frames), Some("missing-header"));
    assert!(frames[0].contains("auto-delete:false"), "{}", frames[0]);
    let mut elsewhere = connect(&mut world, "app");
    subscribe(&mut elsewhere, &world, "/topic/else", named[0]);
    assert_eq!(code(&elsewhere.take(&world)), Some("other-options"));
}

#[test]
fn subscriptions_of_one_name_compete() {
    let (mut world, disk) = world(Settings::default());
    let (mut a, mut b) = (world.client(), world.client());
    for client in [&mut a, &mut b] {
        subscribe(
            client,
            &world,
            "/topic/t",
            &format!("{RABBIT}ack:client\nprefetch-count:1\n"),
        );
    }
    let mut sender = world.client();
    send(&mut sender, &world, "/topic/t", 0..2);
    disk.tell(&world.broker, world.now);
    let mut got = bodies(&a.take(&world));
    assert_eq!(got.len(), 1);
    got.extend(bodies(&b.take(&world)));
    assert_eq!(got.len(), 2);
    drop(a);
    drop(b);
    assert_eq!(world.broker.sizes().queued_messages, 2, "nothing was acknowledged");
}

#[test]
fn it_goes_by_its_name_and_not_with_its_connection() {
    let (mut world, disk) = world(Settings::default());
    let ways = [
        // The live subscription, its name in RabbitMQ's words.
        (true, RABBIT, "id:news\ndurable:true\n"),
        (false, RABBIT, "id:news\ndestination:/topic/t\ndurable:true\n"),
        (
            true,
            "durable-subscription-name:mine\n",
            "id:news\ndurable-subscription-name:mine\n",
        ),
        (
            false,
            "activemq.subscriptionName:mine\n",
            "activemq.subscriptionName:mine\n",
        ),
    ];
    for (live, how, removal) in ways {
        let mut client = world.client_with("client-id:app\n");
        subscribe(&mut client, &world, "/topic/t", how);
        client.send(&world, "UNSUBSCRIBE\nid:news\n\n");
        assert_eq!(
            world.broker.sizes().durable_subscriptions,
            1,
            "an ordinary UNSUBSCRIBE leaves it"
        );
        let mut sender = world.client();
        send(&mut sender, &world, "/topic/t", [1]);
        let mut last = world.client_with("client-id:app\n");
        if live {
            subscribe(&mut last, &world, "/topic/t", how);
        }
        last.send(&world, &format!("UNSUBSCRIBE\n{removal}receipt:gone\n\n"));
        let frames = take(&mut last, &world, &disk);
        assert!(
            frames.iter().any(|frame| header(frame, "receipt-id") == Some("gone")),
            "{frames:?}"
        );
        drop((client, sender, last));
        assert_eq!(world.broker.sizes(), Default::default(), "{removal}");
        assert!(disk.recovered().is_empty());
    }
    let mut client = world.client_with("client-id:app\n");
    client.send(&world, "UNSUBSCRIBE\nid:x\nactivemq.subscriptionName:never\n\n");
    assert_eq!(code(&client.take(&world)), Some("unknown-subscription"));
}

#[test]
fn one_that_others_use_is_not_removed() {
    let (mut world, _disk) = world(Settings::default());
    let (mut a, mut b) = (world.client(), world.client());
    subscribe(&mut a, &world, "/topic/t", RABBIT);
    subscribe(&mut b, &world, "/topic/t", RABBIT);
    b.send(&world, "UNSUBSCRIBE\nid:news\ndurable:true\n\n");
    assert_eq!(code(&b.take(&world)), Some("not-owner"));
    assert_eq!(world.broker.sizes().durable_subscriptions, 1);
}

#[test]
fn selector_and_no_local_hold_while_it_is_used_and_later() {
    let (mut world, disk) = world(Settings::default());
    let mut client = world.client();
    let how = format!("{RABBIT}selector:n > 1\nno-local:true\n");
    subscribe(&mut client, &world, "/topic/t", &how);
    client.send(&world, "SEND\ndestination:/topic/t\nn:5\n\n0");
    let mut sender = world.client();
    for n in [1, 2] {
        sender.send(&world, &format!("SEND\ndestination:/topic/t\nn:{n}\n\n{n}"));
    }
    assert_eq!(bodies(&client.take(&world)), [2]);
    drop((client, sender));
    world.broker.rest();
    world.restart(&disk);
    let mut sender = world.client();
    for n in [1, 3] {
        sender.send(&world, &format!("SEND\ndestination:/topic/t\nn:{n}\n\n{n}"));
    }
    let mut client = world.client();
    subscribe(&mut client, &world, "/topic/t", &how);
    assert_eq!(bodies(&client.take(&world)), [3]);
    drop(client);
    let mut client = world.client();
    subscribe(&mut client, &world, "/topic/t", RABBIT);
    assert_eq!(code(&client.take(&world)), Some("other-options"));
}

#[test]
fn a_full_one_holds_publishers_up_and_a_forgotten_full_one_loses_its_oldest() {
    let (mut world, disk) = world(Settings {
        queue: QueuePolicy {
            messages: 3,
            ..QueuePolicy::default()
        },
        durable: DurableLimits {
            grace_ms: 5_000,
            ..DurableLimits::default()
        },
        ..Settings::default()
    });
    let mut listener = world.client();
    listener.send(&world, "SUBSCRIBE\nid:0\ndestination:/topic/t\n\n");
    let mut client = world.client();
    subscribe(&mut client, &world, "/topic/t", RABBIT);
    drop(client);
    let mut sender = world.client();
    send(&mut sender, &world, "/topic/t", 0..4);
    assert_eq!(
        bodies(&listener.take(&world)),
        [0, 1, 2],
        "the fourth goes to nobody before it fits"
    );
    let mut client = world.client();
    subscribe(&mut client, &world, "/topic/t", &format!("{RABBIT}ack:client\n"));
    assert_eq!(bodies(&take(&mut client, &world, &disk)), [0, 1, 2]);
    client.session.end(world.now);
    world.pass(5_001);
    drop(sender);
    let mut sender = world.client();
    send(&mut sender, &world, "/topic/t", 4..6);
    assert_eq!(bodies(&listener.take(&world)), [4, 5]);
    assert_eq!(world.broker.counters().dropped_queue_full.get(), 2);
    let mut client = world.client();
    subscribe(&mut client, &world, "/topic/t", RABBIT);
    assert_eq!(bodies(&take(&mut client, &world, &disk)), [2, 4, 5]);
}

#[test]
fn unused_ones_expire_and_there_is_a_limit() {
    let (mut world, disk) = world(Settings {
        durable: DurableLimits {
            subscriptions: 1,
            expires_ms: 10_000,
            ..DurableLimits::default()
        },
        ..Settings::default()
    });
    let mut client = world.client();
    subscribe(&mut client, &world, "/topic/t", RABBIT);
    let mut second = world.client();
    subscribe(&mut second, &world, "/topic/other", RABBIT);
    let frames = second.take(&world);
    assert_eq!(code(&frames), Some("too-many-subscriptions"));
    assert!(frames[0].contains("durable.subscriptions"), "{}", frames[0]);
    world.pass(20_000);
    assert_eq!(world.broker.sizes().durable_subscriptions, 1, "it is in use");
    client.session.end(world.now);
    let mut sender = world.client();
    send(&mut sender, &world, "/topic/t", [1]);
    world.pass(5_000);
    world.broker.rest();
    drop(sender);
    world.restart(&disk);
    world.pass(9_000);
    assert_eq!(world.broker.sizes().durable_subscriptions, 1);
    world.pass(1_001);
    assert_eq!(world.broker.sizes(), Default::default());
    assert_eq!(world.broker.counters().dropped_with_queue.get(), 1);
    assert!(disk.recovered().is_empty());
    let mut client = world.client();
    subscribe(&mut client, &world, "/topic/t", RABBIT);
    assert_eq!(world.broker.sizes().durable_subscriptions, 1);
}

#[test]
fn a_commit_is_one_batch_for_queues_and_durable_subscriptions() {
    let (mut world, disk) = world(Settings::default());
    let mut client = world.client();
    subscribe(&mut client, &world, "/topic/t", RABBIT);
    let mut sender = world.client();
    sender.send(&world, "BEGIN\ntransaction:t\n\n");
    for to in ["/topic/t", "/queue/q", "/topic/t"] {
        sender.send(
            &world,
            &format!("SEND\ndestination:{to}\ntransaction:t\npersistent:true\n\n1"),
        );
    }
    disk.lines();
    sender.send(&world, "COMMIT\ntransaction:t\n\n");
    let batched = disk
        .lines()
        .into_iter()
        .filter(|line| !line.starts_with("declare") && !line.starts_with("mark"));
    let expected = [
        "append 1 0 in batch",
        "append 2 0 in batch",
        "append 1 1 in batch",
        "seal",
    ];
    assert_eq!(batched.collect::<Vec<_>>(), expected);
    assert_eq!(bodies(&take(&mut client, &world, &disk)), [1, 1]);
    disk.refuse(Some("unwell"));
    sender.send(&world, "SEND\ndestination:/topic/t\n\n2");
    assert_eq!(bodies(&take(&mut client, &world, &disk)), [2], "transient ones go on");
    sender.send(&world, "SEND\ndestination:/topic/t\npersistent:true\nreceipt:x\n\n3");
    assert_eq!(code(&sender.take(&world)), Some("not-stored"));
    assert_eq!(
        take(&mut client, &world, &disk),
        [""; 0],
        "and nobody got what its sender was told is nowhere"
    );
}

#[test]
fn a_commit_that_waits_goes_to_those_who_are_there_when_it_takes_effect() {
    let queue = QueuePolicy {
        messages: 1,
        ..QueuePolicy::default()
    };
    let settings = Settings {
        queue,
        ..Settings::default()
    };
    let (mut world, disk) = world(settings);
    let mut leaver = world.client();
    subscribe(&mut leaver, &world, "/topic/u", RABBIT);
    let mut sender = world.client();
    send(&mut sender, &world, "/queue/full", [0]);
    sender.send(&world, "BEGIN\ntransaction:t\n\n");
    for (body, to) in ["/queue/full", "/topic/t", "/topic/u"].iter().enumerate() {
        sender.send(
            &world,
            &format!("SEND\ndestination:{to}\ntransaction:t\npersistent:true\n\n{body}"),
        );
    }
    sender.send(&world, "COMMIT\ntransaction:t\nreceipt:c\n\n");
    leaver.send(&world, &format!("UNSUBSCRIBE\nid:news\n{RABBIT}\n"));
    let mut client = world.client();
    subscribe(&mut client, &world, "/topic/t", RABBIT);
    assert_eq!(take(&mut client, &world, &disk), [""; 0], "it has no effect yet");
    assert_eq!(take(&mut sender, &world, &disk), [""; 0]);
    let mut consumer = world.client();
    consumer.send(&world, "SUBSCRIBE\nid:0\ndestination:/queue/full\n\n");
    assert_eq!(bodies(&take(&mut consumer, &world, &disk)), [0]);
    assert_eq!(header(&take(&mut sender, &world, &disk)[0], "receipt-id"), Some("c"));
    assert_eq!(bodies(&take(&mut client, &world, &disk)), [1]);
    assert_eq!(bodies(&take(&mut leaver, &world, &disk)), [0; 0]);
    assert_eq!(world.broker.sizes().durable_subscriptions, 1);
}

#[test]
fn dead_letters_are_named_after_it() {
    let (mut world, disk) = world(Settings::default());
    let mut client = world.client_with("client-id:app\n");
    subscribe(
        &mut client,
        &world,
        "/topic/t",
        "activemq.subscriptionName:mine\nack:client\n",
    );
    let mut sender = world.client();
    send(&mut sender, &world, "/topic/t", [1]);
    let frames = take(&mut client, &world, &disk);
    let ack = header(&frames[0], "ack").expect("an id").to_owned();
    client.send(&world, &format!("NACK\nid:{ack}\nrequeue:false\n\n"));
    let mut undertaker = world.client();
    undertaker.send(&world, "SUBSCRIBE\nid:0\ndestination:/queue/DLQ.client/app/mine\n\n");
    let frames = take(&mut undertaker, &world, &disk);
    assert_eq!(header(&frames[0], "original-destination"), Some("/topic/t"));
    assert_eq!(header(&frames[0], "dead-letter-reason"), Some("rejected"));
}
