//! Messages that are not to be delivered yet.

use std::sync::Arc;

use super::disk::Disk;
use super::{header, Client, World};
use crate::broker::settings::{QueuePolicy, WhenFull};
use crate::broker::{Journal, Settings};
use crate::session;

fn send(client: &mut Client, world: &World, headers: &str, body: &str) {
    client.send(world, &format!("SEND\ndestination:/queue/q\n{headers}\n{body}"));
}

fn on_disk(settings: Settings) -> (World, Arc<Disk>) {
    let disk = Arc::new(Disk::default());
    let journal = Arc::clone(&disk) as Arc<dyn Journal>;
    (World::with(settings, session::Settings::default(), journal), disk)
}

fn bodies(client: &mut Client, world: &World, disk: &Disk) -> Vec<String> {
    let mut bodies = client.bodies(world);
    while disk.tell_once(&world.broker, world.now) {
        bodies.extend(client.bodies(world));
    }
    bodies
}

#[test]
fn each_comes_when_its_time_has_come() {
    let mut world = World::new(Settings::default());
    let mut client = world.client();
    client.send(&world, "SUBSCRIBE\nid:0\ndestination:/queue/q\n\n");
    for (delay, body) in [("300", "c"), ("100", "a"), ("200", "b"), ("0", "now")] {
        send(&mut client, &world, &format!("x-delay:{delay}\n"), body);
    }
    assert_eq!(client.bodies(&world), ["now"]);
    assert_eq!(world.broker.queue_length("/queue/q"), Some(3));
    for body in ["a", "b", "c"] {
        assert_eq!(world.broker.next_due(), Some(world.now.mono + 100));
        world.pass(99);
        assert!(client.bodies(&world).is_empty());
        world.pass(1);
        assert_eq!(client.bodies(&world), [body]);
    }
    assert_eq!(world.broker.sizes().message_octets, 0);
}

#[test]
fn a_date_outlives_the_process() {
    let (mut world, disk) = on_disk(Settings::default());
    let mut client = world.client();
    for (delay, body) in [("500", "later"), ("0", "now")] {
        send(
            &mut client,
            &world,
            &format!("persistent:true\nx-delay:{delay}\n"),
            body,
        );
    }
    drop(client);
    disk.tell(&world.broker, world.now);
    let found = world.restart(&disk);
    assert_eq!(found.messages, 2);
    let mut client = world.client();
    client.send(&world, "SUBSCRIBE\nid:0\ndestination:/queue/q\n\n");
    assert_eq!(bodies(&mut client, &world, &disk), ["now"]);
    world.pass(500);
    let mut frames = client.take(&world);
    while disk.tell_once(&world.broker, world.now) {
        frames.extend(client.take(&world));
    }
    assert_eq!(frames.len(), 1, "{frames:?}");
    assert_eq!(header(&frames[0], "redelivered"), Some("false"));
    assert!(disk.recovered()[0].entries.is_empty());
}

#[test]
fn what_comes_from_aside_finds_its_place_among_those_on_disk() {
    let (mut world, disk) = on_disk(Settings {
        queue: QueuePolicy {
            resident: 2_000,
            ..QueuePolicy::default()
        },
        ..Settings::default()
    });
    let mut sender = world.client();
    for number in 0..40 {
        // Every fourth waits; all are due before anybody asks.
        let delay = if number % 4 == 0 { 100 + number } else { 0 };
        let headers = format!("persistent:true\nx-delay:{delay}\n");
        send(&mut sender, &world, &headers, &number.to_string());
    }
    world.pass(200);
    let mut client = world.client();
    client.send(&world, "SUBSCRIBE\nid:0\ndestination:/queue/q\n\n");
    let expected: Vec<String> = (0..40).map(|number| number.to_string()).collect();
    assert_eq!(bodies(&mut client, &world, &disk), expected);
    assert_eq!(world.broker.sizes().message_octets, 0);
}

#[test]
fn one_that_expires_while_it_waits_is_never_delivered() {
    let mut world = World::new(Settings::default());
    let mut client = world.client();
    client.send(&world, "SUBSCRIBE\nid:0\ndestination:/queue/q\n\n");
    send(&mut client, &world, "x-delay:500\nttl:400\n", "late");
    world.pass(500);
    world.pass(1);
    assert!(client.bodies(&world).is_empty());
    assert_eq!(world.broker.queue_length("/queue/q"), Some(0));
    assert_eq!(world.broker.counters().dropped_expired.get(), 1);
}

#[test]
fn those_that_wait_aside_count_in_the_limits_and_give_way() {
    let mut world = World::new(Settings {
        queue: QueuePolicy {
            messages: 2,
            full: WhenFull::DropHead,
            ..QueuePolicy::default()
        },
        ..Settings::default()
    });
    let mut client = world.client();
    for (delay, body) in [("100", "a"), ("200", "b"), ("300", "c")] {
        send(&mut client, &world, &format!("x-delay:{delay}\n"), body);
    }
    assert_eq!(world.broker.queue_length("/queue/q"), Some(2));
    client.send(&world, "SUBSCRIBE\nid:0\ndestination:/queue/q\n\n");
    world.pass(300);
    assert_eq!(client.bodies(&world), ["b", "c"]);
}

#[test]
fn a_nack_with_a_delay_is_tried_later_and_counts() {
    let (mut world, disk) = on_disk(Settings::default());
    let mut client = world.client();
    client.send(
        &world,
        "SUBSCRIBE\nid:0\ndestination:/queue/q\nack:client-individual\n\n",
    );
    for persistent in ["true", "false"] {
        send(&mut client, &world, &format!("persistent:{persistent}\n"), "x");
        let mut frames = client.take(&world);
        while disk.tell_once(&world.broker, world.now) {
            frames.extend(client.take(&world));
        }
        let ack = header(&frames[0], "ack").expect("an ack").to_owned();
        client.send(&world, &format!("NACK\nid:{ack}\ndelay:1000\n\n"));
        world.pass(999);
        assert!(bodies(&mut client, &world, &disk).is_empty());
        world.pass(1);
        let mut frames = client.take(&world);
        while disk.tell_once(&world.broker, world.now) {
            frames.extend(client.take(&world));
        }
        assert_eq!(header(&frames[0], "delivery-count"), Some("2"), "{frames:?}");
        let ack = header(&frames[0], "ack").expect("an ack").to_owned();
        client.send(&world, &format!("ACK\nid:{ack}\n\n"));
    }
    assert_eq!(world.broker.sizes().message_octets, 0);
}

#[test]
fn the_delay_of_a_nack_outlives_a_crash() {
    let (mut world, disk) = on_disk(Settings::default());
    let mut client = world.client();
    send(&mut client, &world, "persistent:true\n", "x");
    client.send(
        &world,
        "SUBSCRIBE\nid:0\ndestination:/queue/q\nack:client-individual\n\n",
    );
    let mut frames = client.take(&world);
    while disk.tell_once(&world.broker, world.now) {
        frames.extend(client.take(&world));
    }
    let ack = header(&frames[0], "ack").expect("an ack").to_owned();
    client.send(&world, &format!("NACK\nid:{ack}\ndelay:60000\n\n"));
    disk.tell(&world.broker, world.now);
    world.restart(&disk);
    let mut client = world.client();
    client.send(&world, "SUBSCRIBE\nid:0\ndestination:/queue/q\n\n");
    world.pass(59_999);
    assert!(bodies(&mut client, &world, &disk).is_empty());
    world.pass(1);
    let mut frames = client.take(&world);
    while disk.tell_once(&world.broker, world.now) {
        frames.extend(client.take(&world));
    }
    assert_eq!(header(&frames[0], "delivery-count"), Some("2"), "{frames:?}");
    assert_eq!(header(&frames[0], "redelivered"), Some("true"));
}
