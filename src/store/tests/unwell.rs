//! Disks that fail, and recover.

use super::*;
use std::time::Duration;

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
fn a_message_that_cannot_be_read_is_reported_as_lost() {
    let (disk, store) = begun(small());
    disk.set_faults(Faults {
        read_fails: true,
        ..Faults::default()
    });
    assert_eq!(fetch(&store, 1, 5), None);
    disk.set_faults(Faults::default());
    assert_eq!(fetch(&store, 1, 5), Some(stored(&message(&[5; 500]))));
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
