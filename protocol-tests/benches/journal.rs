//! The journal on a real disk, without a broker: `cargo bench --bench journal [folder]`.
//!
//! Prints how many messages a second it keeps with 512 in flight, what of the processor that costs, and how long it
//! takes to read a million of them again. The folder is made in the temporary one and removed, unless one is named.

#![allow(clippy::expect_used)] // what fails here ends the measurement

use std::collections::VecDeque;
use std::path::Path;
use std::time::{Duration, Instant};

use hoofbeat::broker::journal::{Journal, Record, Ticket};
use hoofbeat::broker::{Draft, Message, Properties};
use hoofbeat::stomp::{Headers, Version};
use hoofbeat::store::{Durability, Settings, Store};

const IN_FLIGHT: usize = 512;
/// Messages between two tickets: what one read of a busy socket holds.
const TOGETHER: usize = 16;
const STORED: u64 = 1_000_000;

fn main() {
    let named = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let temporary = std::env::temp_dir().join(format!("hoofbeat-journal-{}", std::process::id()));
    let folder = named.map_or(temporary, |named| Path::new(&named).join("hoofbeat-journal"));
    for (what, durability) in [("fsync", Durability::Fsync), ("none", Durability::None)] {
        keep(&folder.join(what), what, durability);
    }
    for settled in [0, STORED * 9 / 10] {
        start_again(&folder.join(settled.to_string()), settled);
    }
    if let Err(error) = std::fs::remove_dir_all(&folder) {
        eprintln!("{}: {error}", folder.display());
    }
}

/// Appends and settles, as a queue with a fast consumer does, for a few seconds.
fn keep(folder: &Path, what: &str, durability: Durability) {
    let store = open(folder, durability);
    let message = message();
    let (begun, used) = (Instant::now(), processor());
    let mut waiting: VecDeque<Ticket> = VecDeque::new();
    let mut seq = 0;
    while begun.elapsed() < Duration::from_secs(5) {
        for _ in 0..TOGETHER {
            seq += 1;
            append(&store, seq, &message);
            if seq > 2 * IN_FLIGHT as u64 {
                let seq = seq - 2 * IN_FLIGHT as u64;
                store.write(Record::Settle { queue: 1, seq }, None);
            }
        }
        waiting.extend(store.ticket());
        while waiting.len() * TOGETHER >= IN_FLIGHT {
            match waiting.front().and_then(Ticket::outcome) {
                Some(kept) => {
                    assert!(kept, "the disk fails");
                    waiting.pop_front();
                }
                None => std::thread::sleep(Duration::from_micros(50)),
            }
        }
        // Nobody waits for a disk that is not asked, so this is what keeps the backlog in bounds.
        while store.pending_octets() > 8 << 20 {
            std::thread::sleep(Duration::from_micros(50));
        }
    }
    let (elapsed, used) = (begun.elapsed(), processor() - used);
    store.close();
    println!(
        "{what}: {:.0} messages/s kept and settled, {:.1} us of processor each",
        seq as f64 / elapsed.as_secs_f64(),
        used.as_secs_f64() * 1e6 / seq as f64,
    );
}

/// How long a start takes with a million messages, of which some were consumed.
fn start_again(folder: &Path, settled: u64) {
    let store = open(folder, Durability::None);
    let message = message();
    for seq in 1..=STORED {
        append(&store, seq, &message);
        while store.pending_octets() > 8 << 20 {
            std::thread::sleep(Duration::from_micros(50));
        }
    }
    // Not the first: everything behind it has to be read, and nothing can be removed.
    for seq in 2..=settled {
        store.write(Record::Settle { queue: 1, seq }, None);
    }
    store.close();
    drop(store);
    let begun = Instant::now();
    let opened = Store::open(folder, Settings::default()).expect("what was just closed");
    let elapsed = begun.elapsed();
    let there: usize = opened.queues.iter().map(|queue| queue.entries.len()).sum();
    assert!(opened.damage.is_empty());
    println!(
        "{STORED} stored, {settled} settled: {there} messages found in {:.2} s",
        elapsed.as_secs_f64()
    );
    opened.store.close();
}

fn open(folder: &Path, durability: Durability) -> std::sync::Arc<Store> {
    let settings = Settings {
        durability,
        ..Settings::default()
    };
    let store = Store::open(folder, settings).expect("a folder that can be made").store;
    let declare = Record::Declare {
        queue: 1,
        name: "/queue/q",
        terms: &[],
    };
    store.write(declare, None);
    store
}

fn append(store: &Store, seq: u64, message: &Message) {
    let append = Record::Append {
        queue: 1,
        seq,
        attempts: 0,
        message,
    };
    store.write(append, None);
}

fn message() -> Message {
    let headers = Headers::default();
    let draft = Draft {
        destination: "/queue/q",
        headers: &headers,
        reply_to: None,
        body: &[b'x'; 256],
        version: Version::V1_2,
        properties: Properties {
            persistent: true,
            ..Properties::default()
        },
        publisher: 1,
    };
    Message::new(1, draft, &std::sync::Arc::default())
}

/// What this process has used of the processors.
fn processor() -> Duration {
    let line = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let numbers = line.rsplit(')').next().unwrap_or_default().split(' ');
    // Ticks are hundredths of a second on every Linux we know.
    let ticks: u64 = numbers
        .skip(12)
        .take(2)
        .filter_map(|number| number.parse::<u64>().ok())
        .sum();
    Duration::from_millis(ticks * 10)
}
