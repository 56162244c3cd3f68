//! Folders and threads.

use std::sync::mpsc::{channel, Sender};

use super::*;
use crate::broker::journal::Ticket;
use crate::store::Error;

/// Sends what it hears to the test.
struct Told(Mutex<Sender<Report>>);

impl Listener for Told {
    fn report(&self, report: Report) {
        let _ = self.0.lock().unwrap().send(report);
    }
}

fn kept(ticket: Option<Ticket>) {
    while ticket.as_ref().is_some_and(|ticket| ticket.outcome().is_none()) {
        std::thread::yield_now();
    }
    assert!(ticket.is_none_or(|ticket| ticket.outcome() == Some(true)));
}

#[test]
fn many_threads_write_and_the_next_start_finds_it_all() {
    let folder = tempfile::tempdir().unwrap();
    let Opened {
        store, queues, damage, ..
    } = Store::open(folder.path(), Settings::default()).unwrap();
    assert!(queues.is_empty() && damage.is_empty());
    std::thread::scope(|scope| {
        for queue in 1..=4 {
            let store = &store;
            scope.spawn(move || {
                declare(store, queue);
                for seq in 1..=100 {
                    append(store, queue, seq, &[queue as u8; 300], None);
                    if seq % 10 == 0 {
                        kept(store.ticket());
                    }
                }
                settle(store, queue, 50, None);
                store.write(Record::Mark { queue, below: 77 }, None);
                kept(store.ticket());
            });
        }
    });
    let (told, tellings) = channel();
    store.attach(Arc::new(Told(Mutex::new(told))));
    store.write(Record::Mark { queue: 1, below: 88 }, None);
    assert!(matches!(
        tellings.recv().unwrap(),
        Report::Marked { queue: 1, below: 88 }
    ));
    store.fetch(3, &[1, 99]);
    for _ in 0..2 {
        let Report::Loaded { queue: 3, octets, .. } = tellings.recv().unwrap() else {
            panic!("something else");
        };
        assert_eq!(octets, Some(stored(&message(&[3; 300]))));
    }
    store.close();
    let opened = Store::open(folder.path(), Settings::default()).unwrap();
    assert_eq!((opened.queues.len(), opened.damage.len(), opened.next_queue), (4, 0, 5));
    for queue in &opened.queues {
        assert_eq!(queue.entries.len(), 99);
        assert_eq!(
            (queue.below, queue.next_seq),
            (if queue.queue == 1 { 88 } else { 77 }, 101)
        );
    }
}

/// Ends in a panic, whatever it is told.
struct Broken;

impl Listener for Broken {
    fn report(&self, _report: Report) {
        panic!("on purpose");
    }
}

#[test]
fn a_listener_that_fails_does_not_end_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let opened = Store::open(folder.path(), Settings::default()).unwrap();
    opened.store.attach(Arc::new(Broken));
    declare(&opened.store, 1);
    opened.store.write(Record::Mark { queue: 1, below: 9 }, None);
    kept(opened.store.ticket());
    append(&opened.store, 1, 1, b"still kept", None);
    kept(opened.store.ticket());
}

#[test]
fn room_is_made_while_messages_come_and_the_oldest_stays() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings {
        segment_octets: 64 << 10,
        ..Settings::default()
    };
    let opened = Store::open(folder.path(), settings).unwrap();
    let store = &opened.store;
    (1..=2).for_each(|queue| declare(store, queue));
    append(store, 1, 1, b"the oldest", None);
    store.write(Record::Mark { queue: 1, below: 1000 }, None);
    store.write(
        Record::Attempts {
            queue: 1,
            seq: 1,
            attempts: 3,
            due: None,
        },
        None,
    );
    for seq in 1..=4000 {
        append(store, 2, seq, &[7; 400], None);
        if seq > 20 {
            settle(store, 2, seq - 20, None);
        }
        if seq % 40 == 0 {
            kept(store.ticket());
        }
    }
    store.close();
    let octets: u64 = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_name().to_string_lossy().ends_with(".log"))
        .map(|entry| entry.metadata().unwrap().len())
        .sum();
    assert!(
        octets < 512 << 10,
        "{octets} octets for 21 messages, of 2 MiB that were written"
    );
    drop(opened);
    let opened = Store::open(folder.path(), settings).unwrap();
    assert_eq!(opened.damage, Vec::new());
    let first = &opened.queues[0];
    assert_eq!(
        (first.below, first.next_seq, first.entries[0].0, first.entries[0].1),
        (1000, 2, 1, 3)
    );
    assert_eq!(found(&opened, 2), Some((3981..=4000).collect()));
    assert_eq!(opened.queues[1].next_seq, 4001);
}

#[test]
fn a_folder_belongs_to_one_process_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let opened = Store::open(folder.path(), Settings::default()).unwrap();
    let words = folder.path().display().to_string();
    for error in [
        Store::open(folder.path(), Settings::default()).unwrap_err(),
        crate::store::check::check(folder.path()).unwrap_err(),
    ] {
        assert!(
            matches!(error, Error::Locked(_)) && error.to_string().contains(&words),
            "{error}"
        );
    }
    opened.store.close();
    drop(opened);
    let checked = crate::store::check::check(folder.path()).unwrap();
    assert!(!checked.damaged, "{}", checked.text);
    Store::open(folder.path(), Settings::default()).unwrap();
}

#[test]
fn a_folder_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;

    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("kept");
    let opened = Store::open(&folder, Settings::default()).unwrap();
    declare(&opened.store, 1);
    opened.store.close();
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder), 0o700);
    for entry in std::fs::read_dir(&folder).unwrap() {
        assert_eq!(mode(&entry.unwrap().path()), 0o600);
    }
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), "x").unwrap();
    let error = Store::open(&folder.path().join("file"), Settings::default()).unwrap_err();
    assert!(error.to_string().contains("file"), "{error}");
}
