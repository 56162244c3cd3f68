//! Random operations on the real broker and on a naive one, side by side.
//!
//! Every octet that a session writes, every counter and every size must be as the reference has it, after each step.
//! `README.md` says what is modelled and how to replay a seed.

// A broken reference is to fail loudly.
#![allow(clippy::expect_used)]

mod operations;
mod random;
mod reference;
mod search;
mod wire;
mod world;

use std::collections::BTreeSet;
use std::panic::{catch_unwind, AssertUnwindSafe};

use hoofbeat::session::Link;

use search::{kind, setting, shrink};
use wire::Frame;
use world::{Difference, World};

/// What every campaign must have met at least once.
const MARKS: &[&str] = &[
    "a group is free",
    "answer in vain",
    "answer to a session",
    "answer written",
    "aborted",
    "ACK after its subscription",
    "ACK after UNSUBSCRIBE",
    "ACK in a transaction",
    "ACK of an auto message",
    "already-connected",
    "another is alone",
    "backlog too slow",
    "bad-destination",
    "bad-header",
    "blocked",
    "blocked again",
    "COMMIT blocked",
    "COMMIT refused",
    "COMMIT unblocked",
    "committed",
    "connect-timeout",
    "credit exhausted",
    "cumulative ACK",
    "dead-lettered by limit",
    "dead-lettered by reject",
    "dead_lettered",
    "declined: given up",
    "declined: no room",
    "declined: no-answer",
    "declined: no-worker",
    "delivered",
    "delivered a third time",
    "dropped oldest",
    "dropped_dead",
    "dropped_expired",
    "dropped_no_queue",
    "dropped_no_subscriber",
    "dropped_queue_full",
    "dropped_with_queue",
    "duplicate-subscription",
    "duplicate-transaction",
    "ended with unwritten frames",
    "expired at its turn",
    "expired by the clock",
    "expired while waiting to be written",
    "forbidden",
    "frame replayed",
    "frame waits behind a blocked one",
    "full of unacknowledged messages",
    "given back at the end",
    "given back unwritten",
    "group closed",
    "idle queue removed",
    "input held",
    "late ACK",
    "late subscription forgotten",
    "latest only",
    "memory full",
    "memory-full",
    "missing-header",
    "no-local",
    "a user's own destination",
    "a message for two sessions of a user",
    "a SEND to a user refused",
    "no-worker",
    "not-connected",
    "not-owner",
    "partial write",
    "passed over",
    "queue full",
    "queue removed with its owner",
    "queue-full",
    "redelivered",
    "refused_queue_full",
    "reply-to subscribed",
    "reply-to subscription replaced",
    "request",
    "request answered",
    "request called",
    "request placed",
    "request without a worker",
    "request without room",
    "requests_declined",
    "resumed outbound",
    "route forgotten",
    "SEND blocked",
    "SEND refused",
    "SEND unblocked",
    "SEND without a worker",
    "sent",
    "settled",
    "shutdown",
    "skipped",
    "skipped itself",
    "slow-consumer",
    "slow_consumers",
    "stalled outbound",
    "the most specific of several patterns",
    "too-many-destinations",
    "too-many-subscriptions",
    "too-many-transactions",
    "transaction-timeout",
    "transaction-too-large",
    "unknown-ack",
    "unknown-command",
    "unknown-subscription",
    "unknown-transaction",
    "UNSUBSCRIBE again",
    "unsubscribed with messages waiting",
    "unsupported",
    "unsupported-version",
    "x-skipped",
];

/// Runs the operations of a seed; the marks it reached, or the difference and what led to it.
fn run(seed: u64, operations: &[u64]) -> Result<BTreeSet<&'static str>, (Difference, Vec<String>)> {
    let (broker, session) = operations::settings(seed);
    let mut world = World::new(broker, session, seed);
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        for number in operations {
            world.operate(seed, *number)?;
        }
        finish(&mut world)
    }));
    match outcome {
        Ok(Ok(())) => {
            let counted = world.counters().into_iter().filter(|(_, count)| *count > 0);
            Ok(counted.map(|(name, _)| name).chain(world.model.marks).collect())
        }
        Ok(Err(difference)) => Err((difference, world.log)),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            Err((format!("panic: {}", text.unwrap_or_default()), world.log))
        }
    }
}

/// Ends every session, empties every queue and lets time pass: nothing may be left.
fn finish(world: &mut World) -> Result<(), Difference> {
    world.quiesce()?;
    for at in world.live() {
        world.end(at);
        world.compare()?;
    }
    let at = world.open(Link::Tcp);
    world.frame(at, &Frame::new("CONNECT").with("accept-version", "1.2"), 0)?;
    let names: Vec<String> = world.model.queues.keys().cloned().collect();
    for name in names {
        world.frame(
            at,
            &Frame::new("SUBSCRIBE").with("id", &name).with("destination", &name),
            0,
        )?;
        world.quiesce()?;
        world.frame(at, &Frame::new("UNSUBSCRIBE").with("id", &name), 0)?;
        world.quiesce()?;
        world.compare()?;
    }
    world.end(at);
    world.pass(60_000, true)?;
    world.pass(60_000, true)?;
    world.compare()?;
    match world.broker.sizes() {
        empty if empty == Default::default() => Ok(()),
        left => Err(format!("after everything ended, this is left: {left:?}")),
    }
}

#[test]
fn the_broker_does_what_the_reference_does() {
    let first = setting("MODEL_SEED", 1);
    let one = std::env::var("MODEL_SEED").is_ok();
    let seeds = setting("MODEL_SEEDS", if one { 1 } else { 250 });
    let operations: Vec<u64> = (0..setting("MODEL_OPS", 1_000)).collect();
    println!(
        "seeds {first} to {}, {} operations each",
        first + seeds - 1,
        operations.len()
    );
    let mut marks = BTreeSet::new();
    for seed in first..first + seeds {
        match run(seed, &operations) {
            Ok(reached) => marks.extend(reached),
            Err((difference, log)) => {
                let of = |difference: &str| kind(difference, &['{', '[', '"']);
                let again =
                    |fewer: &[u64]| matches!(run(seed, fewer), Err((again, _)) if of(&again) == of(&difference));
                let fewer = shrink(operations.clone(), again);
                let (shrunk, least) = run(seed, &fewer)
                    .err()
                    .unwrap_or_else(|| (difference.clone(), log.clone()));
                let (broker, session) = operations::settings(seed);
                println!("{broker:#?}\n{session:#?}");
                println!(
                    "the last operations of {}:\n{}",
                    log.len(),
                    log[log.len().saturating_sub(20)..].join("\n")
                );
                println!(
                    "the least operations that differ, {}:\n{}",
                    fewer.len(),
                    least.join("\n")
                );
                panic!(
                    "MODEL_SEED={seed} MODEL_OPS={}\n{difference}\nshrunk: {shrunk}",
                    operations.len()
                );
            }
        }
    }
    let missed: Vec<_> = MARKS.iter().filter(|mark| !marks.contains(*mark)).collect();
    println!("{} marks reached: {marks:?}", marks.len());
    assert!(one || missed.is_empty(), "never reached: {missed:?}");
}
