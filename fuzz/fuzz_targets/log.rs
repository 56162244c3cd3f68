//! Whatever is done to the files of a log: no panic, what is served is what was stored, and what is not served is named.
//!
//! The first octet says how many octets of the rest are operations; behind them are the damages. `seeds.rs` writes such
//! files.
#![no_main]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use hoofbeat::broker::journal::{Journal, Listener, Record, Report};
use hoofbeat::broker::{Draft, Message, Properties};
use hoofbeat::stomp::{Headers, Version};
use hoofbeat::store::check::check_disk;
use hoofbeat::store::disk::Disk;
use hoofbeat::store::simulated::{Crash, Simulated};
use hoofbeat::store::{Settings, Store};
use libfuzzer_sys::fuzz_target;

type Stored = BTreeMap<(u64, u64), Vec<u8>>;

fuzz_target!(|input: &[u8]| {
    let Some((split, rest)) = input.split_first() else {
        return;
    };
    let (operations, damages) = rest.split_at(rest.len().min(usize::from(*split)));
    let disk = Simulated::new();
    let (all, live) = write(&disk, operations);
    let damaged = disk.crash(Crash::Killed);
    for damage in damages.chunks_exact(5) {
        change(&damaged, damage);
    }
    if damaged.files().is_empty() {
        // As if there had never been a log.
        return;
    }
    let as_disk: Arc<dyn Disk> = Arc::new(damaged.clone());
    let checked = check_disk(&as_disk).expect("no version is as new as that");
    let (served, damage) = read(&as_disk);
    assert_eq!(checked.damaged, damage > 0, "{}", checked.text);
    for (id, octets) in &served {
        assert_eq!(Some(octets), all.get(id), "{id:?} was never stored like this");
    }
    if checked.text.ends_with("nothing is damaged\n") && !checked.text.contains("a torn commit") {
        let missing = live.keys().find(|id| !served.contains_key(id));
        assert_eq!(missing, None, "gone without a word");
        assert_eq!(served.len(), live.len(), "settled ones are back without a word");
    }
    // And the next starts, of what this one has made of it, judge alike.
    for _ in 0..2 {
        assert_eq!(read(&as_disk).0, served, "the next start judges otherwise");
    }
});

fn settings() -> Settings {
    Settings {
        segment_octets: 4096,
        reserve_octets: 0,
        salt: 1,
        ..Settings::default()
    }
}

/// Does what the octets say; every message that was stored, and those that are still there.
fn write(disk: &Simulated, operations: &[u8]) -> (Stored, Stored) {
    let as_disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let store = Store::manual(&as_disk, settings()).expect("an empty disk").store;
    let (mut all, mut live) = (Stored::new(), Stored::new());
    for queue in 0..3 {
        let declare = Record::Declare { queue, name: "/queue/q", terms: b"terms" };
        store.write(declare, None);
    }
    for (number, operation) in operations.iter().enumerate() {
        let (queue, seq) = (u64::from(operation % 3), number as u64);
        let batch = (operation & 0x40 != 0).then_some(seq / 8);
        match operation >> 2 & 0xf {
            0..8 => {
                let message = message(usize::from(*operation) * 3);
                let append = Record::Append { queue, seq, attempts: 0, message: &message };
                store.write(append, batch);
                let mut octets = Vec::new();
                message.store(&mut octets);
                all.insert((queue, seq), octets.clone());
                live.insert((queue, seq), octets);
            }
            8..12 => {
                if let Some(((queue, seq), _)) = live.pop_first() {
                    store.write(Record::Settle { queue, seq }, batch);
                }
            }
            12 => store.write(Record::Mark { queue, below: seq }, None),
            13 => {
                let due = (operation & 1 == 0).then_some(seq);
                store.write(Record::Attempts { queue, seq: seq / 2, attempts: 3, due }, None);
            }
            _ => while store.step() {},
        }
        if number % 8 == 7 {
            store.seal(seq / 8);
        }
    }
    store.seal(operations.len() as u64 / 8);
    while store.step() {}
    if operations.len() % 2 == 0 {
        store.close();
    }
    (all, live)
}

/// Flips a bit, cuts or loses a file, by five octets.
fn change(disk: &Simulated, damage: &[u8]) {
    let files = disk.files();
    let [kind, file, place @ ..] = damage else { return };
    let Some((name, length)) = files.get(usize::from(*file) % files.len().max(1)) else {
        return;
    };
    let place = place.iter().fold(0, |place, octet| place << 8 | u64::from(*octet));
    match kind % 16 {
        0..12 => disk.flip(name, place % (length * 8).max(1)),
        12..15 => disk.cut(name, place % length.max(&1)),
        _ => disk.lose(name),
    }
}

#[derive(Default)]
struct Heard(Mutex<Stored>);

impl Listener for Heard {
    fn report(&self, report: Report) {
        if let Report::Loaded { queue, seq, octets: Some(octets) } = report {
            self.0.lock().unwrap().insert((queue, seq), octets);
        }
    }
}

/// Everything that is served, and how many losses are named.
fn read(disk: &Arc<dyn Disk>) -> (Stored, usize) {
    let opened = Store::manual(disk, settings()).expect("damage is no error");
    let heard = Arc::new(Heard::default());
    opened.store.attach(heard.clone());
    let mut offered = 0;
    for queue in &opened.queues {
        let seqs: Vec<u64> = queue.entries.iter().map(|(seq, _, _)| *seq).collect();
        offered += seqs.len();
        opened.store.fetch(queue.queue, &seqs);
    }
    opened.store.step();
    let served = std::mem::take(&mut *heard.0.lock().unwrap());
    assert_eq!(served.len(), offered, "what is offered can be read");
    (served, opened.damage.iter().filter(|damage| damage.is_loss()).count())
}

fn message(length: usize) -> Message {
    let headers = Headers::default();
    let draft = Draft {
        destination: "/queue/q",
        headers: &headers,
        reply_to: None,
        body: &vec![0xb7; length],
        version: Version::V1_2,
        properties: Properties { persistent: true, ..Properties::default() },
        publisher: 0,
    };
    Message::new(1, draft, &Arc::default())
}
