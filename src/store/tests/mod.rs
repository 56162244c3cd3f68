//! The store against a naive list, against broken disks, and on a real one.

mod batches;
mod check;
mod damage;
mod evidence;
mod format;
mod model;
mod real;
mod unwell;

use std::sync::{Arc, Mutex};

use super::disk::Disk;
use super::simulated::Simulated;
use super::{Opened, Settings, Store};
use crate::broker::journal::{Journal, Listener, Record, Report, Stub};
use crate::broker::message::{Draft, Message, Properties};
use crate::stomp::{Headers, Version};

/// Small enough that everything happens often.
fn small() -> Settings {
    Settings {
        segment_octets: 8192,
        reserve_octets: 4096,
        salt: 7,
        ..Settings::default()
    }
}

fn open(disk: &Simulated) -> Opened {
    open_with(disk, small())
}

fn open_with(disk: &Simulated, settings: Settings) -> Opened {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    Store::manual(&disk, settings).expect("a disk without faults")
}

fn message(body: &[u8]) -> Message {
    let headers = Headers::default();
    let draft = Draft {
        destination: "/queue/q",
        headers: &headers,
        reply_to: None,
        body,
        version: Version::V1_2,
        properties: Properties {
            priority: (body.len() % 10) as u8,
            expires: body
                .len()
                .is_multiple_of(3)
                .then_some(9_000_000_000_000 + body.len() as u64),
            persistent: true,
            due: body.len().is_multiple_of(4).then_some(body.len() as u64),
            grouped: false,
            only: None,
        },
        publisher: 0,
    };
    Message::new(1, draft, &Arc::default())
}

fn stored(message: &Message) -> Vec<u8> {
    let mut octets = Vec::new();
    message.store(&mut octets);
    octets
}

fn declare(store: &Store, queue: u64) {
    let (name, terms) = (format!("/queue/{queue}"), queue.to_le_bytes());
    let declare = Record::Declare {
        queue,
        name: &name,
        terms: &terms,
    };
    store.write(declare, None);
}

fn append(store: &Store, queue: u64, seq: u64, body: &[u8], batch: Option<u64>) {
    let message = message(body);
    let append = Record::Append {
        queue,
        seq,
        attempts: 0,
        message: &message,
    };
    store.write(append, batch);
}

fn settle(store: &Store, queue: u64, seq: u64, batch: Option<u64>) {
    store.write(Record::Settle { queue, seq }, batch);
}

/// Steps until there is nothing left to do.
fn settle_down(store: &Store) {
    while store.step() {}
}

/// The numbers of the messages that were found in a queue; `None` if it was not found.
fn found(opened: &Opened, queue: u64) -> Option<Vec<u64>> {
    let queue = opened.queues.iter().find(|found| found.queue == queue)?;
    Some(queue.entries.iter().map(|(seq, _, _)| *seq).collect())
}

/// Remembers what was reported.
#[derive(Debug, Default)]
struct Heard(Mutex<Vec<Report>>);

impl Heard {
    fn by(store: &Store) -> Arc<Heard> {
        let heard = Arc::new(Heard::default());
        store.attach(heard.clone());
        heard
    }

    fn take(&self) -> Vec<Report> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

impl Listener for Heard {
    fn report(&self, report: Report) {
        self.0.lock().unwrap().push(report);
    }
}

/// Reads one message back.
fn fetch(store: &Store, queue: u64, seq: u64) -> Option<Vec<u8>> {
    let heard = Heard::by(store);
    store.fetch(queue, &[seq]);
    store.step();
    heard.take().into_iter().find_map(|report| match report {
        Report::Loaded {
            queue: its_queue,
            seq: its_seq,
            octets,
        } if (its_queue, its_seq) == (queue, seq) => Some(octets),
        _ => None,
    })?
}

/// Numbers that look random and follow from a seed.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16) as usize % most.max(1)
    }
}

fn stub(body: &[u8]) -> Stub {
    message(body).stub()
}
