//! The oracle itself: what it takes for evidence, and what it must not let pass.

use std::collections::BTreeMap;

use crate::client::Open;
use crate::durable::{Durables, There};
use crate::operations::settings;
use crate::places::{PLACES, QUEUES};
use crate::promises::{Broken, Fact, Given, Gone, Key, Promises, Transaction};
use crate::wire::Frame;
use crate::world::World;

const ACKED: Key = (1, 0);
const SENT: Key = (2, 0);

/// What the durable subscription to `/topic/a` keeps.
const KEPT: Key = (3, QUEUES);

fn fact(key: Key, transaction: Option<usize>) -> Fact {
    Fact {
        sent: Frame::new("SEND")
            .with("destination", PLACES[key.1].destination)
            .with("n", key.0),
        persistent: true,
        receipted: transaction.is_none(),
        sure: true,
        gone: Gone::No,
        seen: transaction.is_none(),
        dead: false,
        rejected: false,
        doubted: false,
        tries: 0,
        expires: None,
        due_as_sent: 0,
        due: 0,
        due_for_good: 0,
        due_at_last: 0,
        order: None,
        transaction,
    }
}

/// A message that came, and a COMMIT that settles it and sends another, whose client goes while it waits for room.
fn in_doubt() -> Promises {
    let mut promises = Promises::default();
    promises.facts.insert(ACKED, fact(ACKED, None));
    promises.facts.insert(SENT, fact(SENT, Some(0)));
    promises.transactions.push(Transaction {
        sends: vec![SENT],
        acks: vec![ACKED],
        ..Transaction::default()
    });
    promises.settled(&[ACKED], Gone::Now);
    promises.doubt_commit(0);
    promises
}

fn comes(promises: &mut Promises, key: Key, redelivered: bool) -> Result<Key, Broken> {
    let frame = Frame::new("MESSAGE")
        .with("destination", PLACES[key.1].destination)
        .with("n", key.0)
        .with("redelivered", redelivered);
    promises.delivered(&Given {
        frame: &frame,
        place: key.1,
        dead: false,
        now: 0,
    })
}

#[test]
fn a_commit_that_was_dropped_is_not_kept_because_another_settled_its_message() {
    let mut promises = in_doubt();
    assert_eq!(comes(&mut promises, ACKED, true), Ok(ACKED));
    promises.settled(&[ACKED], Gone::Now);
    promises.crash();
    assert_eq!(promises.drained(&BTreeMap::new(), 0), Ok(()));
}

#[test]
fn a_commit_that_was_seen_before_a_crash_may_be_lost_in_it() {
    let mut promises = in_doubt();
    assert_eq!(comes(&mut promises, SENT, false), Ok(SENT));
    promises.crash();
    assert_eq!(comes(&mut promises, ACKED, true), Ok(ACKED));
    assert_eq!(promises.drained(&BTreeMap::from([(ACKED, 1)]), 0), Ok(()));
}

#[test]
fn half_a_commit_is_found() {
    let mut promises = in_doubt();
    promises.crash();
    assert_eq!(comes(&mut promises, ACKED, true), Ok(ACKED));
    let broken = comes(&mut promises, SENT, false).err().unwrap_or_default();
    assert!(broken.starts_with("a part of a transaction counts"), "{broken}");

    let mut promises = in_doubt();
    promises.crash();
    assert_eq!(comes(&mut promises, SENT, false), Ok(SENT));
    let broken = comes(&mut promises, ACKED, true).err().unwrap_or_default();
    assert!(broken.starts_with("a part of a transaction counts"), "{broken}");
}

/// A durable subscription that is on disk, and was removed without RECEIPT.
fn removed() -> Durables {
    let mut durables = Durables::default();
    let times = durables.subscribed(QUEUES);
    durables.receipted(QUEUES, times);
    durables.removed(QUEUES);
    durables
}

#[test]
fn a_crash_may_undo_a_removal_though_one_too_many_was_refused_meanwhile() {
    let mut durables = removed();
    durables.subscribed(QUEUES);
    durables.is_not_there(QUEUES);
    assert_eq!(durables.there(QUEUES), There::No);
    assert_eq!(durables.crash(), [QUEUES]);
    assert_eq!(durables.there(QUEUES), There::Perhaps);
}

#[test]
fn the_receipt_of_a_removal_is_for_that_one() {
    let mut durables = removed();
    durables.removed_for_good(QUEUES, 1);
    assert_eq!(durables.crash(), [0; 0]);

    let mut durables = removed();
    durables.subscribed(QUEUES);
    durables.removed(QUEUES);
    durables.removed_for_good(QUEUES, 1);
    assert_eq!(durables.crash(), [QUEUES]);
}

/// A COMMIT with a SEND to a topic, asked for while a durable subscription to it is not there.
fn committed(waits: bool) -> Result<Promises, Broken> {
    let (broker, session) = settings(1);
    let mut world = World::new(broker, session, 1)?;
    let open = Open {
        sends: vec![(KEPT.0, fact(KEPT, None))],
        ..Open::default()
    };
    world.note_commit(open, waits);
    Ok(world.promises)
}

#[test]
fn a_commit_that_waits_may_go_to_subscriptions_that_are_made_meanwhile() -> Result<(), Broken> {
    let mut promises = committed(true)?;
    assert_eq!(promises.facts[&KEPT].gone, Gone::Perhaps);
    assert_eq!(comes(&mut promises, KEPT, true), Ok(KEPT));

    let mut promises = committed(false)?;
    let broken = comes(&mut promises, KEPT, true).err().unwrap_or_default();
    assert!(broken.starts_with("a message that nobody sent"), "{broken}");
    Ok(())
}

#[test]
fn a_removed_subscription_that_is_made_again_may_have_what_a_commit_that_waited_sends() {
    let removed = |waits: bool| {
        let mut promises = Promises::default();
        promises.facts.insert(KEPT, fact(KEPT, Some(0)));
        promises.transactions.push(Transaction {
            sends: vec![KEPT],
            waits,
            ..Transaction::default()
        });
        let gone = promises.removed(KEPT.1, true);
        (gone, comes(&mut promises, KEPT, false))
    };
    assert_eq!(removed(true), (Vec::new(), Ok(KEPT)));
    let (gone, broken) = removed(false);
    assert_eq!(gone, [KEPT]);
    assert!(broken.is_err_and(|broken| broken.starts_with("it is back")));
}
