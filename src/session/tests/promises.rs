//! Delivery: what counts as delivered, what comes back, in which order, and when a RECEIPT may go out.

use std::sync::{Arc, Mutex};

use super::{body, header, World};
use crate::broker::journal::Report;
use crate::broker::journal::{Listener, Record};
use crate::broker::settings::QueuePolicy;
use crate::broker::{Journal, Settings, Ticket, Volatile};
use crate::session;

fn fill(world: &mut World, messages: usize) {
    let mut sender = world.client();
    for n in 0..messages {
        sender.send(world, &format!("SEND\ndestination:/queue/q\n\n{n}"));
    }
}

#[test]
fn auto_is_settled_by_the_socket_and_the_rest_comes_back_as_new() {
    let mut world = World::new(Settings::default());
    fill(&mut world, 5);
    let mut dying = world.client();
    dying.send(&world, "SUBSCRIBE\nid:0\ndestination:/queue/q\n\n");
    dying.drain(&world);
    assert_eq!(dying.take_some(&world, 2).len(), 2);
    drop(dying);
    let mut next = world.client();
    next.send(&world, "SUBSCRIBE\nid:0\ndestination:/queue/q\n\n");
    let frames = next.take(&world);
    let seen: Vec<_> = frames.iter().map(|f| (body(f), header(f, "redelivered"))).collect();
    let fresh = |n: &str| (n.to_owned(), Some("false"));
    assert_eq!(seen, [fresh("2"), fresh("3"), fresh("4")]);
}

#[test]
fn only_what_was_written_counts_as_a_try() {
    let mut world = World::new(Settings::default());
    fill(&mut world, 3);
    let mut dying = world.client();
    dying.send(
        &world,
        "SUBSCRIBE\nid:0\ndestination:/queue/q\nack:client-individual\nprefetch-count:2\n\n",
    );
    dying.drain(&world);
    dying.take_some(&world, 1);
    drop(dying);
    let mut next = world.client();
    next.send(&world, "SUBSCRIBE\nid:0\ndestination:/queue/q\n\n");
    let frames = next.take(&world);
    let seen: Vec<_> = frames
        .iter()
        .map(|f| (body(f), header(f, "redelivered"), header(f, "delivery-count")))
        .collect();
    let expected = [
        ("0", Some("true"), Some("2")),
        ("1", Some("false"), None),
        ("2", Some("false"), None),
    ];
    assert_eq!(seen, expected.map(|(b, r, c)| (b.to_owned(), r, c)));
}

#[test]
fn nack_finds_its_old_place_and_the_limit_ends_in_the_dead_letter_queue() {
    let queue = QueuePolicy {
        delivery_limit: 2,
        ..QueuePolicy::default()
    };
    let mut world = World::new(Settings {
        queue,
        ..Settings::default()
    });
    fill(&mut world, 3);
    let mut consumer = world.client();
    consumer.send(
        &world,
        "SUBSCRIBE\nid:0\ndestination:/queue/q\nack:client-individual\nprefetch-count:2\n\n",
    );
    let frames = consumer.take(&world);
    assert_eq!(frames.iter().map(|f| body(f)).collect::<Vec<_>>(), ["0", "1"]);
    let id = header(&frames[0], "ack").expect("an id").to_owned();
    consumer.send(&world, &format!("NACK\nid:{id}\n\n"));
    let again = consumer.take(&world);
    assert_eq!(
        again.iter().map(|f| body(f)).collect::<Vec<_>>(),
        ["0"],
        "before 2, which was never given out"
    );
    let id = header(&again[0], "ack").expect("an id").to_owned();
    consumer.send(&world, &format!("NACK\nid:{id}\n\n"));
    assert_eq!(consumer.bodies(&world), ["2"]);
    consumer.send(&world, "SUBSCRIBE\nid:d\ndestination:/queue/DLQ.q\n\n");
    let dead = consumer.take(&world);
    let headers = ["dead-letter-reason", "original-destination", "delivery-count"].map(|name| header(&dead[0], name));
    assert_eq!(headers, [Some("delivery-limit"), Some("/queue/q"), Some("2")]);
}

#[test]
fn a_late_acknowledgement_counts_and_what_nobody_acknowledged_comes_back() {
    let mut world = World::new(Settings::default());
    fill(&mut world, 3);
    let mut consumer = world.client();
    consumer.send(
        &world,
        "SUBSCRIBE\nid:0\ndestination:/queue/q\nack:client-individual\nprefetch-count:2\n\n",
    );
    let frames = consumer.take(&world);
    consumer.send(&world, "UNSUBSCRIBE\nid:0\n\n");
    let id = header(&frames[1], "ack").expect("an id").to_owned();
    consumer.send(&world, &format!("ACK\nid:{id}\nreceipt:a\n\n"));
    assert_eq!(header(&consumer.take(&world)[0], "receipt-id"), Some("a"));
    drop(consumer);
    let mut next = world.client();
    next.send(&world, "SUBSCRIBE\nid:0\ndestination:/queue/q\n\n");
    assert_eq!(next.bodies(&world), ["0", "2"]);
}

#[test]
fn expired_messages_leave_by_the_clock_and_idle_queues_after_them() {
    let mut world = World::new(Settings::default());
    let mut sender = world.client();
    sender.send(&world, "SEND\ndestination:/queue/q\nexpiration:500\n\nx");
    sender.send(&world, "SEND\ndestination:/queue/q\nttl:100\n\ny");
    world.pass(100);
    assert_eq!(world.broker.queue_length("/queue/q"), Some(1));
    world.pass(400);
    assert_eq!(world.broker.queue_length("/queue/q"), Some(0));
    world.pass(60_000);
    assert_eq!(world.broker.queue_length("/queue/q"), None);
    drop(sender);
    assert_eq!(world.broker.sizes(), Default::default());
}

/// A journal whose promises the test keeps.
#[derive(Debug, Default)]
struct Promised {
    records: Mutex<Vec<String>>,
    tickets: Mutex<Vec<Ticket>>,
}

impl Journal for Promised {
    fn write(&self, record: Record<'_>, batch: Option<u64>) {
        let line = match record {
            Record::Declare { queue, name, .. } => format!("declare {queue} {name}"),
            Record::Attempts {
                queue, seq, attempts, ..
            } => format!("attempts {queue} {seq} {attempts}"),
            Record::Mark { queue, below } => format!("mark {queue} {below}"),
            Record::Append { queue, seq, .. } => format!("append {queue} {seq}"),
            Record::Settle { queue, seq } => format!("settle {queue} {seq}"),
            Record::Remove { queue } => format!("remove {queue}"),
        };
        let line = format!("{line}{}", if batch.is_some() { " in batch" } else { "" });
        self.records.lock().expect("not poisoned").push(line);
    }

    fn seal(&self, _batch: u64) {
        self.records.lock().expect("not poisoned").push("seal".to_owned());
    }

    fn ticket(&self) -> Option<Ticket> {
        let ticket = Ticket::default();
        self.tickets.lock().expect("not poisoned").push(ticket.clone());
        Some(ticket)
    }

    fn is_durable(&self) -> bool {
        true
    }

    fn refuses(&self) -> Option<Arc<str>> {
        None
    }

    fn fetch(&self, _queue: u64, _seqs: &[u64]) {}

    fn attach(&self, _listener: Arc<dyn Listener>) {}
}

#[test]
fn receipts_wait_for_the_journal_and_for_each_other() {
    let journal = Arc::new(Promised::default());
    let mut world = World::with(Settings::default(), session::Settings::default(), journal.clone());
    let mut sender = world.client();
    sender.send(&world, "SEND\ndestination:/queue/q\npersistent:true\nreceipt:disk\n\nx");
    sender.send(&world, "SEND\ndestination:/queue/q\nreceipt:memory\n\ny");
    assert_eq!(sender.take(&world), [""; 0]);
    journal.tickets.lock().expect("not poisoned")[0].resolve(true);
    let receipts = sender.take(&world);
    assert_eq!(
        receipts.iter().map(|f| header(f, "receipt-id")).collect::<Vec<_>>(),
        [Some("disk"), Some("memory")]
    );
    assert_eq!(
        *journal.records.lock().expect("not poisoned"),
        ["declare 1 /queue/q", "append 1 0"],
        "the second is not persistent"
    );
}

#[test]
fn a_broken_promise_is_an_error_and_no_receipt() {
    let journal = Arc::new(Promised::default());
    let mut world = World::with(Settings::default(), session::Settings::default(), journal.clone());
    let mut sender = world.client();
    sender.send(&world, "SEND\ndestination:/queue/q\npersistent:true\nreceipt:r\n\nx");
    journal.tickets.lock().expect("not poisoned")[0].resolve(false);
    let frames = sender.take(&world);
    assert_eq!(header(&frames[0], "code"), Some("not-stored"));
    assert_eq!(frames.len(), 1);
}

#[test]
fn dead_lettering_and_commit_are_one_batch_each() {
    let journal = Arc::new(Promised::default());
    let mut world = World::with(Settings::default(), session::Settings::default(), journal.clone());
    let mut client = world.client();
    client.send(&world, "SEND\ndestination:/queue/q\npersistent:true\n\nx");
    client.send(&world, "SUBSCRIBE\nid:0\ndestination:/queue/q\nack:client\n\n");
    let (queue, below) = (1, 1_024);
    world.broker.report(Report::Marked { queue, below }, world.now);
    let frames = client.take(&world);
    let id = header(frames.last().expect("a MESSAGE"), "ack")
        .expect("an id")
        .to_owned();
    client.send(&world, &format!("NACK\nid:{id}\nrequeue:false\n\n"));
    client.send(&world, "BEGIN\ntransaction:t\n\n");
    client.send(
        &world,
        "SEND\ndestination:/queue/p\npersistent:true\ntransaction:t\n\ny",
    );
    client.send(&world, "COMMIT\ntransaction:t\n\n");
    let expected = [
        "declare 1 /queue/q",
        "append 1 0",
        "mark 1 1024",
        "declare 2 /queue/DLQ.q",
        "append 2 0 in batch",
        "settle 1 0 in batch",
        "seal",
        "declare 3 /queue/p",
        "append 3 0 in batch",
        "seal",
    ];
    assert_eq!(*journal.records.lock().expect("not poisoned"), expected);
}

#[test]
fn the_volatile_journal_promises_nothing() {
    assert!(Volatile.ticket().is_none());
}

#[test]
fn a_committed_message_lives_no_longer_than_its_queue_lets_it() {
    let mut world = World::new(Settings::default());
    let mut sender = world.client();
    sender.send(&world, "SEND\ndestination:/queue/q\nx-message-ttl:1000\n\nplain");
    sender.send(&world, "BEGIN\ntransaction:t\n\n");
    sender.send(&world, "SEND\ndestination:/queue/q\ntransaction:t\n\ncommitted");
    sender.send(&world, "COMMIT\ntransaction:t\n\n");
    assert_eq!(world.broker.queue_length("/queue/q"), Some(2));
    world.pass(1_001);
    assert_eq!(world.broker.queue_length("/queue/q"), Some(0));
}
