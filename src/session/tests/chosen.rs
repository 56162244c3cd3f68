//! Queues whose messages are not for everybody: selectors, groups, one consumer at a time, browsing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::disk::Disk;
use super::{body, header, Client, World};
use crate::broker::settings::{OutboundLimits, QueuePolicy};
use crate::broker::{Journal, Settings};
use crate::session;

fn world(resident: usize) -> (World, Arc<Disk>) {
    let settings = Settings {
        queue: QueuePolicy {
            resident,
            ..QueuePolicy::default()
        },
        ..Settings::default()
    };
    let disk = Arc::new(Disk::default());
    let journal = Arc::clone(&disk) as Arc<dyn Journal>;
    (World::with(settings, session::Settings::default(), journal), disk)
}

fn send(client: &mut Client, world: &World, headers: &str, body: usize) {
    client.send(world, &format!("SEND\ndestination:/queue/q\n{headers}\n{body}"));
}

fn subscribe(client: &mut Client, world: &World, headers: &str) {
    client.send(world, &format!("SUBSCRIBE\nid:0\ndestination:/queue/q\n{headers}\n"));
}

/// What a client gets until nothing more happens: the disk answers, and the clock goes on while something is due now.
fn take(client: &mut Client, world: &mut World, disk: &Disk) -> Vec<String> {
    let mut frames = client.take(world);
    loop {
        let told = disk.tell_once(&world.broker, world.now);
        let due = world.broker.next_due().is_some_and(|at| at <= world.now.mono + 1);
        if due {
            world.pass(1);
        }
        frames.extend(client.take(world));
        if !told && !due {
            return frames;
        }
    }
}

fn bodies(frames: &[String]) -> Vec<usize> {
    let number = |frame: &String| body(frame).parse().expect("a number");
    frames.iter().map(number).collect()
}

#[test]
fn a_selector_goes_through_a_backlog_on_disk_and_leaves_the_rest_there() {
    let (mut world, disk) = world(3_000);
    let mut sender = world.client();
    for number in 0..1_000 {
        send(
            &mut sender,
            &world,
            &format!("persistent:true\nn:{}\n", number % 10),
            number,
        );
    }
    let mut picky = world.client();
    subscribe(&mut picky, &world, "selector:n = 3\n");
    let expected: Vec<usize> = (0..1_000).filter(|number| number % 10 == 3).collect();
    assert_eq!(bodies(&take(&mut picky, &mut world, &disk)), expected);
    // New ones find their way although a backlog is in front of them, and what was passed over is on disk.
    for number in 1_000..1_020 {
        send(
            &mut sender,
            &world,
            &format!("persistent:true\nn:{}\n", number % 10),
            number,
        );
    }
    assert_eq!(bodies(&take(&mut picky, &mut world, &disk)), [1_003, 1_013]);
    let held = world.broker.sizes().message_octets;
    assert!(held < 920 * 100 + (512 << 10), "{held} octets are held");
    let mut any = world.client();
    subscribe(&mut any, &world, "");
    let expected: Vec<usize> = (0..1_020).filter(|number| number % 10 != 3).collect();
    assert_eq!(bodies(&take(&mut any, &mut world, &disk)), expected);
    assert_eq!(world.broker.sizes().message_octets, 0);
    assert!(disk.recovered()[0].entries.is_empty());
}

#[test]
fn what_was_passed_over_is_fetched_again_when_the_picky_one_has_gone() {
    let (mut world, disk) = world(3_000);
    let mut sender = world.client();
    for number in 0..3_000 {
        send(&mut sender, &world, "persistent:true\nn:1\n", number);
    }
    let mut picky = world.client();
    subscribe(&mut picky, &world, "selector:n = 2\n");
    assert!(take(&mut picky, &mut world, &disk).is_empty());
    drop(picky);
    let mut any = world.client();
    subscribe(&mut any, &world, "");
    assert_eq!(
        bodies(&take(&mut any, &mut world, &disk)),
        (0..3_000).collect::<Vec<_>>()
    );
}

#[test]
fn what_comes_back_while_others_look_is_fetched_and_let_go_of_likewise() {
    let (mut world, disk) = world(3_000);
    let mut sender = world.client();
    for number in 0..500 {
        let filler = "x".repeat(2_000);
        send(
            &mut sender,
            &world,
            &format!("persistent:true\nfiller:{filler}\nn:1\n"),
            number,
        );
    }
    let mut picky = world.client();
    subscribe(&mut picky, &world, "selector:n = 2\n");
    assert!(take(&mut picky, &mut world, &disk).is_empty());
    drop(picky);
    let mut hoarder = world.client();
    subscribe(&mut hoarder, &world, "ack:client-individual\nprefetch-count:150\n");
    assert_eq!(take(&mut hoarder, &mut world, &disk).len(), 150);
    drop(hoarder);
    let mut picky = world.client();
    subscribe(&mut picky, &world, "selector:n = 2\n");
    assert!(take(&mut picky, &mut world, &disk).is_empty());
    let held = world.broker.sizes().message_octets;
    assert!(held < 500 * 100 + (300 << 10), "{held} octets are held");
    drop(picky);
    let mut any = world.client();
    subscribe(&mut any, &world, "");
    assert_eq!(bodies(&take(&mut any, &mut world, &disk)), (0..500).collect::<Vec<_>>());
}

#[test]
fn a_group_whose_consumer_unsubscribes_goes_to_another() {
    let (mut world, _) = world(1 << 20);
    let (mut owner, mut other) = (world.client(), world.client());
    subscribe(&mut owner, &world, "ack:client-individual\nprefetch-count:1\n");
    let mut sender = world.client();
    send(&mut sender, &world, "JMSXGroupID:g\n", 1);
    assert_eq!(bodies(&owner.take(&world)), [1]);
    subscribe(&mut other, &world, "");
    send(&mut sender, &world, "JMSXGroupID:g\n", 2);
    assert!(other.take(&world).is_empty());
    // It may still acknowledge what it holds.
    owner.send(&world, "UNSUBSCRIBE\nid:0\n\n");
    assert_eq!(bodies(&other.take(&world)), [2]);
}

#[test]
fn nobody_looks_through_a_whole_queue_at_once() {
    let (mut world, disk) = world(1 << 20);
    let mut sender = world.client();
    for number in 0..10_000 {
        send(&mut sender, &world, "n:1\n", number);
    }
    send(&mut sender, &world, "n:2\n", 10_000);
    let mut picky = world.client();
    subscribe(&mut picky, &world, "selector:n = 2\n");
    assert!(picky.take(&world).is_empty());
    assert_eq!(world.broker.next_due(), Some(world.now.mono + 1));
    assert_eq!(bodies(&take(&mut picky, &mut world, &disk)), [10_000]);
    // Now it has seen them all, and looks at new ones only.
    send(&mut sender, &world, "n:2\n", 10_001);
    assert_eq!(bodies(&picky.take(&world)), [10_001]);
}

#[test]
fn groups_are_known_after_a_restart() {
    let (mut world, disk) = world(0);
    let mut sender = world.client();
    for number in 0..12 {
        let headers = format!("persistent:true\nJMSXGroupID:{}\n", number % 3);
        send(&mut sender, &world, &headers, number);
    }
    drop(sender);
    world.restart(&disk);
    let mut clients = [world.client(), world.client(), world.client()];
    let mut owners: BTreeMap<usize, usize> = BTreeMap::new();
    for client in &mut clients {
        subscribe(client, &world, "ack:client-individual\n");
    }
    let mut all = 0;
    for _ in 0..3 {
        for (index, client) in clients.iter_mut().enumerate() {
            for number in bodies(&take(client, &mut world, &disk)) {
                assert_eq!(*owners.entry(number % 3).or_insert(index), index, "{number}");
                all += 1;
            }
        }
    }
    assert_eq!(all, 12);
    assert!(owners.values().collect::<BTreeSet<_>>().len() > 1, "{owners:?}");
}

#[test]
fn a_browser_waits_for_the_disk_and_for_room() {
    let (mut world, disk) = world(2_000);
    let mut sender = world.client();
    for number in 0..2_000 {
        let headers = format!("persistent:{}\n", number % 2 == 0);
        send(&mut sender, &world, &headers, number);
    }
    let mut browser = world.client();
    subscribe(&mut browser, &world, "browser:true\n");
    // Too late to be seen, although the browser has not seen all yet.
    send(&mut sender, &world, "", 2_000);
    let mut frames = take(&mut browser, &mut world, &disk);
    let end = frames.pop().expect("an end");
    assert_eq!(header(&end, "browser"), Some("end"));
    assert_eq!(bodies(&frames), (0..2_000).collect::<Vec<_>>());
    let held = world.broker.sizes().message_octets;
    assert!(held < 1_000 * 500 + 1_000 * 100 + (512 << 10), "{held} octets are held");
    let mut consumer = world.client();
    subscribe(&mut consumer, &world, "");
    assert_eq!(
        bodies(&take(&mut consumer, &mut world, &disk)),
        (0..2_001).collect::<Vec<_>>()
    );
    assert_eq!(world.broker.sizes().message_octets, 0);
}

#[test]
fn a_queue_stays_until_its_browser_has_seen_the_end() {
    let mut world = World::new(Settings {
        queue: QueuePolicy {
            idle_ms: 50,
            ..QueuePolicy::default()
        },
        outbound: OutboundLimits {
            messages: 8,
            ..OutboundLimits::default()
        },
        ..Settings::default()
    });
    let mut sender = world.client();
    for number in 0..20 {
        send(&mut sender, &world, "", number);
    }
    let mut browser = world.client();
    subscribe(&mut browser, &world, "browser:true\n");
    let mut consumer = world.client();
    subscribe(&mut consumer, &world, "");
    assert_eq!(consumer.bodies(&world).len(), 20);
    drop(consumer);
    world.pass(50);
    world.pass(50);
    let frames = browser.take(&world);
    assert_eq!(header(&frames[frames.len() - 1], "browser"), Some("end"), "{frames:?}");
    world.pass(50);
    assert_eq!(world.broker.queue_length("/queue/q"), None);
}

#[test]
fn a_browser_that_leaves_is_forgotten() {
    let (mut world, disk) = world(2_000);
    let mut sender = world.client();
    for number in 0..100 {
        send(&mut sender, &world, "persistent:true\n", number);
    }
    let mut browser = world.client();
    subscribe(&mut browser, &world, "browser:true\n");
    browser.send(&world, "UNSUBSCRIBE\nid:0\nreceipt:r\n\n");
    let frames = take(&mut browser, &mut world, &disk);
    assert_eq!(frames.len(), 1, "only the RECEIPT: {frames:?}");
    drop(browser);
    let mut consumer = world.client();
    subscribe(&mut consumer, &world, "");
    assert_eq!(
        bodies(&take(&mut consumer, &mut world, &disk)),
        (0..100).collect::<Vec<_>>()
    );
}

/// xorshift: the same numbers each time.
struct Random(u64);

impl Random {
    fn below(&mut self, most: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % most
    }
}

/// A consumer, what it selects, and what it holds: id to acknowledge, body.
struct Peer {
    client: Client,
    wants: Option<u64>,
    held: Vec<(String, usize)>,
}

/// A queue as a list, and who may have what.
#[derive(Default)]
struct Model {
    /// Colour and group of each message that is neither settled nor held.
    waiting: BTreeMap<usize, (u64, u64)>,
    all: BTreeMap<usize, (u64, u64)>,
}

#[test]
fn whatever_happens_each_gets_what_is_for_it_and_nothing_is_left_that_somebody_wants() {
    for seed in 1..60 {
        let mut random = Random(seed * 0x9e37_79b9);
        let (mut world, disk) = world(if seed.is_multiple_of(2) { 1_500 } else { 1 << 20 });
        let grouped = seed.is_multiple_of(3);
        let mut sender = world.client();
        let mut peers: Vec<Peer> = Vec::new();
        let mut model = Model::default();
        for step in 0..200 {
            match random.below(10) {
                0..5 => {
                    let (colour, group) = (random.below(3), random.below(3));
                    let mut headers = format!(
                        "colour:{colour}\npriority:{}\npersistent:{}\n",
                        random.below(3),
                        random.below(2) == 0
                    );
                    if grouped {
                        headers.push_str(&format!("JMSXGroupID:{group}\n"));
                    }
                    send(&mut sender, &world, &headers, step);
                    model.waiting.insert(step, (colour, group));
                    model.all.insert(step, (colour, group));
                }
                5 if peers.len() < 4 => {
                    // With groups everybody takes all, so that a group is never parted by selectors.
                    let wants = (!grouped && random.below(3) > 0).then(|| random.below(3));
                    let selector = wants.map_or(String::new(), |colour| format!("selector:colour = {colour}\n"));
                    let mut client = world.client();
                    let prefetch = 1 + random.below(100);
                    let headers = format!("ack:client-individual\nprefetch-count:{prefetch}\n{selector}");
                    subscribe(&mut client, &world, &headers);
                    let held = Vec::new();
                    peers.push(Peer { client, wants, held });
                }
                6 if !peers.is_empty() => {
                    let leaving = peers.swap_remove(random.below(peers.len() as u64) as usize);
                    for (_, body) in &leaving.held {
                        model.waiting.insert(*body, model.all[body]);
                    }
                }
                _ if !peers.is_empty() => {
                    let peer = random.below(peers.len() as u64) as usize;
                    let peer = &mut peers[peer];
                    if !peer.held.is_empty() {
                        let (ack, body) = peer.held.remove(random.below(peer.held.len() as u64) as usize);
                        match random.below(4) {
                            0 => {
                                peer.client.send(&world, &format!("NACK\nid:{ack}\n\n"));
                                model.waiting.insert(body, model.all[&body]);
                            }
                            _ => {
                                peer.client.send(&world, &format!("ACK\nid:{ack}\n\n"));
                            }
                        }
                    }
                }
                _ => {}
            }
            let place = format!("seed {seed}, step {step}");
            settle_down((&mut world, &disk), &mut peers, &mut model, grouped, &place);
            if grouped {
                groups_are_whole(&peers, &model);
            }
        }
        // All that was wanted by nobody is there for somebody who wants all.
        for peer in peers {
            for (_, body) in peer.held {
                model.waiting.insert(body, model.all[&body]);
            }
        }
        let mut last = world.client();
        subscribe(&mut last, &world, "");
        let mut got = bodies(&take(&mut last, &mut world, &disk));
        got.sort_unstable();
        assert_eq!(got, model.waiting.keys().copied().collect::<Vec<_>>(), "seed {seed}");
        let sizes = world.broker.sizes();
        assert_eq!(
            (sizes.queued_messages, sizes.stored_messages, sizes.message_octets),
            (0, 0, 0)
        );
    }
}

/// Lets everybody take what there is, and looks whether it was for them.
fn settle_down((world, disk): (&mut World, &Disk), peers: &mut [Peer], model: &mut Model, grouped: bool, place: &str) {
    loop {
        let mut any = false;
        for peer in peers.iter_mut() {
            for frame in take(&mut peer.client, world, disk) {
                any = true;
                let body: usize = body(&frame).parse().expect("a number");
                let (colour, _) = model
                    .waiting
                    .remove(&body)
                    .unwrap_or_else(|| panic!("{place}: {body} comes twice"));
                assert!(peer.wants.is_none_or(|wants| wants == colour), "{place}: {frame}");
                let ack = header(&frame, "ack").expect("an ack").to_owned();
                peer.held.push((ack, body));
            }
        }
        if !any {
            break;
        }
    }
    // Who holds nothing has credit: nothing that it wants can be waiting, unless its group is another's.
    for peer in peers.iter().filter(|peer| peer.held.is_empty() && !grouped) {
        let wanted = |(_, (colour, _)): &(&usize, &(u64, u64))| peer.wants.is_none_or(|wants| wants == *colour);
        let left = model.waiting.iter().find(wanted);
        assert!(left.is_none(), "{place}: {left:?} waits for nobody");
    }
}

/// No two hold messages of one group.
fn groups_are_whole(peers: &[Peer], model: &Model) {
    let mut owners: BTreeMap<u64, usize> = BTreeMap::new();
    for (index, peer) in peers.iter().enumerate() {
        for (_, body) in &peer.held {
            let group = model.all[body].1;
            assert_eq!(*owners.entry(group).or_insert(index), index, "group {group}");
        }
    }
}
