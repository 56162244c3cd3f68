//! Batches: all of one or nothing of it, whatever happens to its messages while it is open.

use super::*;
use crate::store::simulated::Crash;

/// A store with a queue and message 1 in it, all kept.
fn begun() -> (Simulated, Opened) {
    let disk = Simulated::new();
    let opened = open(&disk);
    declare(&opened.store, 1);
    append(&opened.store, 1, 1, b"one", None);
    opened.store.step();
    (disk, opened)
}

fn after(disk: &Simulated) -> Option<Vec<u64>> {
    found(&open(&disk.crash(Crash::Dropped)), 1)
}

#[test]
fn a_batch_counts_from_its_seal_on() {
    let (disk, Opened { store, .. }) = begun();
    append(&store, 1, 2, b"two", Some(9));
    settle(&store, 1, 1, Some(9));
    store.step();
    assert_eq!(after(&disk), Some(vec![1]));
    store.seal(9);
    assert_eq!(after(&disk), Some(vec![1]));
    store.step();
    assert_eq!(after(&disk), Some(vec![2]));
}

#[test]
fn what_an_open_batch_brings_can_be_settled_before_and_after_its_seal() {
    for settled_first in [true, false] {
        let (disk, Opened { store, .. }) = begun();
        append(&store, 1, 2, b"two", Some(9));
        append(&store, 1, 3, b"three", Some(9));
        if settled_first {
            settle(&store, 1, 2, None);
            // The consumer's receipt: nothing is promised of a message that does not exist yet.
            let ticket = store.ticket();
            store.step();
            assert!(ticket.is_none_or(|ticket| ticket.outcome() == Some(true)));
            assert_eq!(after(&disk), Some(vec![1]));
            store.seal(9);
        } else {
            store.seal(9);
            settle(&store, 1, 2, None);
        }
        store.step();
        assert_eq!(after(&disk), Some(vec![1, 3]));
    }
}

#[test]
fn a_batch_that_takes_what_another_brings_goes_with_it() {
    let (disk, Opened { store, .. }) = begun();
    declare(&store, 2);
    append(&store, 1, 2, b"two", Some(9));
    // To the dead letters before the transaction that sent it is committed.
    append(&store, 2, 1, b"two, dead", Some(10));
    settle(&store, 1, 2, Some(10));
    store.seal(10);
    store.step();
    let opened = open(&disk.crash(Crash::Dropped));
    assert_eq!((found(&opened, 1), found(&opened, 2)), (Some(vec![1]), Some(vec![])));
    store.seal(9);
    store.step();
    let opened = open(&disk.crash(Crash::Dropped));
    assert_eq!((found(&opened, 1), found(&opened, 2)), (Some(vec![1]), Some(vec![1])));
}

#[test]
fn a_batch_of_an_earlier_start_is_none_of_this_one() {
    let (disk, Opened { store, .. }) = begun();
    append(&store, 1, 2, b"two", Some(9));
    store.step();
    let disk = disk.crash(Crash::Killed);
    let opened = open(&disk);
    append(&opened.store, 1, 3, b"three", Some(9));
    opened.store.seal(9);
    opened.store.step();
    assert_eq!(after(&disk), Some(vec![1, 3]));
}

#[test]
fn nothing_comes_to_a_queue_that_was_removed_while_a_batch_was_open() {
    let (disk, Opened { store, .. }) = begun();
    append(&store, 1, 2, b"two", Some(9));
    store.write(Record::Remove { queue: 1 }, None);
    store.seal(9);
    store.step();
    let opened = open(&disk.crash(Crash::Dropped));
    assert_eq!((found(&opened, 1), opened.damage.len()), (None, 0));
}

#[test]
fn a_batch_larger_than_a_segment_stays_together() {
    let (disk, Opened { store, .. }) = begun();
    for seq in 2..40 {
        append(&store, 1, seq, &[7; 1000], Some(9));
    }
    store.seal(9);
    store.step();
    assert_eq!(after(&disk), Some((1..40).collect()));
    assert_eq!(fetch(&store, 1, 20), Some(stored(&message(&[7; 1000]))));
}

#[test]
fn a_message_of_an_open_batch_can_be_read() {
    let (_, Opened { store, .. }) = begun();
    append(&store, 1, 2, b"two", Some(9));
    assert_eq!(fetch(&store, 1, 2), Some(stored(&message(b"two"))));
    store.seal(9);
    assert_eq!(fetch(&store, 1, 2), Some(stored(&message(b"two"))));
}

#[test]
fn of_a_batch_that_is_damaged_in_one_place_nothing_counts_and_all_is_named() {
    let (disk, Opened { store, .. }) = begun();
    for seq in 2..6 {
        append(&store, 1, seq, &[seq as u8; 100], Some(9));
    }
    store.seal(9);
    store.step();
    append(&store, 1, 6, b"later", None);
    store.step();
    let (name, _) = disk
        .files()
        .into_iter()
        .find(|(name, _)| name.ends_with(".log"))
        .unwrap();
    let content = disk.read(&name);
    let place = content.windows(100).position(|part| part == [4; 100]).unwrap();
    let damaged = disk.crash(Crash::Killed);
    damaged.flip(&name, place as u64 * 8);
    let opened = open(&damaged);
    assert_eq!(found(&opened, 1), Some(vec![1, 6]));
    let named: Vec<Option<(u64, Option<u64>)>> = opened.damage.iter().map(|damage| damage.about).collect();
    for seq in 2..6 {
        assert!(named.contains(&Some((1, Some(seq)))), "{seq} in {named:?}");
    }
    assert!(opened.damage.iter().all(|damage| damage.is_loss()));
}
