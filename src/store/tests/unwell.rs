//! Disks that fail, and recover.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use super::*;
use crate::store::log;
use crate::store::reader::{self, Ask};
use crate::store::simulated::{Crash, Faults};
use crate::store::Durability;

/// A store with a queue in which there are messages 1 to 20, all kept.
fn begun(settings: Settings) -> (Simulated, Arc<Store>) {
    let disk = Simulated::new();
    let Opened { store, .. } = open_with(&disk, settings);
    declare(&store, 1);
    for seq in 1..=20 {
        append(&store, 1, seq, &[seq as u8; 500], None);
        store.step();
    }
    (disk, store)
}

/// Whether what was written so far is kept after one round.
fn round(store: &Store) -> bool {
    let ticket = store.ticket();
    store.step();
    ticket.is_none_or(|ticket| ticket.outcome() == Some(true))
}

#[test]
fn while_a_disk_fails_nothing_is_promised_and_afterwards_nothing_is_lost() {
    let none = Faults::default();
    let kinds = [
        Faults {
            sync_fails: true,
            ..none
        },
        Faults {
            read_only: true,
            ..none
        },
        Faults {
            capacity: Some(0),
            ..none
        },
        Faults {
            fuel: Some(100),
            ..none
        },
    ];
    for kind in kinds {
        let (disk, store) = begun(Settings {
            reserve_octets: 0,
            ..small()
        });
        disk.set_faults(kind);
        append(&store, 1, 21, &[21; 5000], None);
        settle(&store, 1, 3, None);
        assert!(!round(&store), "{kind:?}");
        assert!(store.refuses().is_some(), "{kind:?}");
        assert!(store.pending_octets() > 5000);
        // Consumers go on: what is not on disk can be read, and what is too.
        assert_eq!(fetch(&store, 1, 21), Some(stored(&message(&[21; 5000]))));
        assert_eq!(fetch(&store, 1, 5), Some(stored(&message(&[5; 500]))));
        settle(&store, 1, 4, None);
        assert!(!round(&store), "{kind:?}");

        disk.set_faults(none);
        assert!(round(&store), "{kind:?}");
        assert_eq!((store.refuses(), store.pending_octets()), (None, 0));
        let expected: Vec<u64> = (1..=21).filter(|seq| ![3, 4].contains(seq)).collect();
        let opened = open(&disk.crash(Crash::Dropped));
        assert_eq!(
            (found(&opened, 1), opened.damage),
            (Some(expected), Vec::new()),
            "{kind:?}"
        );
        assert_eq!(fetch(&opened.store, 1, 21), Some(stored(&message(&[21; 5000]))));
    }
}

#[test]
fn what_failed_is_never_synced_again() {
    let (disk, store) = begun(small());
    let before = disk.files();
    disk.set_faults(Faults {
        sync_fails: true,
        ..Faults::default()
    });
    append(&store, 1, 21, b"x", None);
    assert!(!round(&store));
    disk.set_faults(Faults::default());
    assert!(round(&store));
    let newest = |files: &[(String, u64)]| {
        files
            .iter()
            .filter(|(name, _)| name.ends_with(".log"))
            .map(|(name, _)| name.clone())
            .max()
    };
    assert!(newest(&disk.files()) > newest(&before));
    let opened = open(&disk.crash(Crash::Dropped));
    assert_eq!(
        (found(&opened, 1), opened.damage),
        (Some((1..=21).collect()), Vec::new())
    );
}

#[test]
fn a_full_disk_gives_up_its_reserve_and_consuming_makes_room() {
    let (disk, store) = begun(Settings {
        reserve_octets: 64 << 10,
        ..small()
    });
    let used: u64 = disk.files().iter().map(|(_, length)| length).sum();
    disk.set_faults(Faults {
        capacity: Some(used + 8192),
        ..Faults::default()
    });
    let mut last = 20;
    while store.refuses().is_none() {
        last += 1;
        append(&store, 1, last, &[1; 500], None);
        assert!(round(&store), "kept with the reserve if need be");
        assert!(last < 1000);
    }
    assert!(store.refuses().unwrap().contains("full"), "{:?}", store.refuses());
    for seq in 1..=last - 2 {
        settle(&store, 1, seq, None);
        assert!(round(&store), "settled although full");
    }
    settle_down(&store);
    assert_eq!(store.refuses(), None);
    append(&store, 1, last + 1, &[1; 500], None);
    assert!(round(&store));
    assert_eq!(
        found(&open(&disk.crash(Crash::Dropped)), 1),
        Some(vec![last - 1, last, last + 1])
    );
}

#[test]
fn what_does_not_fit_waits_and_does_not_keep_consumers_from_making_room() {
    let (disk, store) = begun(Settings {
        reserve_octets: 16 << 10,
        ..small()
    });
    let used: u64 = disk.files().iter().map(|(_, length)| length).sum();
    disk.set_faults(Faults {
        capacity: Some(used + 8192),
        ..Faults::default()
    });
    append(&store, 1, 21, &[21; 28_000], None);
    assert!(!round(&store), "more than there is room for, with the reserve");
    assert!(store.refuses().is_some());
    settle(&store, 1, 1, None);
    append(&store, 1, 22, b"comes and goes", None);
    settle(&store, 1, 22, None);
    assert!(!round(&store));
    assert_eq!(
        found(&open(&disk.crash(Crash::Dropped)), 1),
        Some((2..=20).collect()),
        "what was settled is"
    );
    (2..=19).for_each(|seq| settle(&store, 1, seq, None));
    store.step();
    settle_down(&store);
    assert!(round(&store));
    assert_eq!(found(&open(&disk.crash(Crash::Dropped)), 1), Some(vec![20, 21]));
}

#[test]
fn without_fsync_nothing_is_waited_for_and_a_killed_process_loses_nothing() {
    for durability in [Durability::None, Durability::Interval(Duration::from_secs(1))] {
        let (disk, store) = begun(Settings { durability, ..small() });
        let syncs = disk.syncs();
        assert!(store.ticket().is_none());
        append(&store, 1, 21, b"x", None);
        store.step();
        assert_eq!(disk.syncs(), syncs);
        assert_eq!(found(&open(&disk.crash(Crash::Killed)), 1), Some((1..=21).collect()));
        store.close();
        assert_eq!(found(&open(&disk.crash(Crash::Dropped)), 1), Some((1..=21).collect()));
    }
}

#[test]
fn what_a_consumer_says_waits_for_a_disk_that_fails_and_is_not_refused() {
    let none = Faults::default();
    for kind in [
        Faults {
            sync_fails: true,
            ..none
        },
        Faults {
            read_only: true,
            ..none
        },
    ] {
        let (disk, store) = begun(small());
        disk.set_faults(kind);
        settle(&store, 1, 3, None);
        let first = store.patient_ticket().unwrap();
        store.step();
        settle(&store, 1, 4, None);
        let second = store.patient_ticket().unwrap();
        let prompt = store.ticket().unwrap();
        store.step();
        assert_eq!(
            (first.outcome(), second.outcome(), prompt.outcome()),
            (None, None, Some(false)),
            "{kind:?}"
        );
        disk.set_faults(none);
        store.step();
        assert_eq!((first.outcome(), second.outcome()), (Some(true), Some(true)));
        let opened = open(&disk.crash(Crash::Dropped));
        assert!(found(&opened, 1).unwrap().iter().all(|seq| ![3, 4].contains(seq)));
        // At the end of the process nobody may go on waiting.
        disk.set_faults(kind);
        settle(&store, 1, 5, None);
        let third = store.patient_ticket().unwrap();
        store.close();
        assert_eq!(third.outcome(), Some(false));
    }
}

#[test]
fn on_a_full_disk_what_a_consumer_says_is_kept_although_messages_are_refused() {
    let (disk, store) = begun(small());
    let used = disk.files().iter().map(|(_, length)| length).sum();
    disk.set_faults(Faults {
        capacity: Some(used),
        ..Faults::default()
    });
    append(&store, 1, 21, &[21; 20_000], None);
    settle(&store, 1, 3, None);
    let (prompt, patient) = (store.ticket().unwrap(), store.patient_ticket().unwrap());
    store.step();
    assert_eq!((prompt.outcome(), patient.outcome()), (Some(false), Some(true)));
    let opened = open(&disk.crash(Crash::Dropped));
    assert!(!found(&opened, 1).unwrap().contains(&3));
}

#[test]
fn what_the_disk_does_not_give_now_is_not_lost() {
    let (disk, store) = begun(small());
    let heard = Heard::by(&store);
    disk.set_faults(Faults {
        read_fails: true,
        ..Faults::default()
    });
    store.fetch(1, &[4, 5]);
    // Meanwhile most of the log counts no more, and would be moved and removed.
    for seq in 6..=18 {
        settle(&store, 1, seq, None);
    }
    for _ in 0..5 {
        store.step();
    }
    assert!(heard.take().is_empty());
    disk.set_faults(Faults::default());
    settle_down(&store);
    let loaded: Vec<_> = heard
        .take()
        .into_iter()
        .map(|report| match report {
            Report::Loaded { seq, octets, .. } => (seq, octets),
            Report::Marked { .. } => panic!("nothing was marked"),
        })
        .collect();
    let expected = [4, 5].map(|seq| (seq, Some(stored(&message(&[seq as u8; 500])))));
    assert_eq!(loaded, expected);
    for seq in [1, 2, 3, 19, 20] {
        assert!(fetch(&store, 1, seq).is_some(), "message {seq}");
    }
}

#[test]
fn what_is_damaged_while_it_is_stored_is_lost_and_set_aside() {
    let (disk, store) = begun(small());
    let look = log::look(&(Arc::new(disk.clone()) as Arc<dyn Disk>)).unwrap();
    let (segment, from, to) = look.place(1, 4).unwrap();
    disk.flip(&format!("{segment:08}.log"), (to - 2) * 8);
    assert_eq!(fetch(&store, 1, 4), None);
    let aside = disk.read(&format!("damaged/{segment:08}-{from}.part"));
    assert_eq!(aside.len() as u64, to - from);
}

#[test]
fn the_reading_thread_tries_again_by_itself() {
    let (disk, store) = begun(small());
    drop(store);
    let as_disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let log = log::look(&as_disk).unwrap().open(small()).unwrap().log;
    disk.set_faults(Faults {
        read_fails: true,
        ..Faults::default()
    });
    let (asks, asked) = mpsc::channel();
    let (reports, reported) = mpsc::channel();
    let reader = thread::spawn(move || {
        let report = |report| reports.send(report).unwrap();
        reader::read_all(&asked, Duration::from_millis(1), report);
    });
    let ask = |seq| Ask {
        queue: 1,
        seq,
        place: log.locate(1, seq).unwrap(),
    };
    asks.send(vec![ask(1), ask(2), ask(3)]).unwrap();
    asks.send(vec![ask(4)]).unwrap();
    disk.set_faults(Faults::default());
    let mut seqs: Vec<u64> = (0..4)
        .map(|_| match reported.recv().unwrap() {
            Report::Loaded { seq, octets, .. } => octets.map(|_| seq).unwrap(),
            Report::Marked { .. } => panic!("nothing was marked"),
        })
        .collect();
    seqs.sort_unstable();
    assert_eq!(seqs, [1, 2, 3, 4]);
    drop(asks);
    reader.join().unwrap();
}
