//! Crashes at every moment: the real broker on a journal whose disk does what a seed says, and what clients were promised.
//!
//! `README.md` says what is simulated and how to replay a seed.

// A broken simulation is to fail loudly.
#![allow(clippy::expect_used)]

mod choice;
mod client;
mod drain;
mod durable;
mod ground;
mod operations;
mod oracle;
mod paper;
mod places;
mod promises;
#[path = "../model/random.rs"]
mod random;
#[path = "../model/search.rs"]
mod search;
mod sends;
#[path = "../model/wire.rs"]
mod wire;
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{catch_unwind, AssertUnwindSafe};

use promises::Broken;
use search::{kind, setting, shrink};
use world::World;

type Marks = BTreeSet<&'static str>;

/// What every run of many seeds must have met at least once.
const MARKS: &[&str] = &[
    "a group stayed",
    "aborted",
    "ACK in a transaction",
    "alone",
    "browsed",
    "COMMIT refused for good",
    "committed",
    "dead: delivery-limit",
    "dead: expired",
    "dead: maxlen",
    "dead: rejected",
    "durable: come back",
    "durable: forgotten",
    "durable: in use",
    "durable: made",
    "durable: removed",
    "durable: shared",
    "durable: too many",
    "looked at all",
    "may have been forgotten",
    "NACK with a delay",
    "redelivered",
    "refused",
    "refused after waiting",
    "refused for good",
    "selector",
];

/// Runs the operations of a seed; the marks it reached, or the broken promise and what led to it.
fn run(seed: u64, operations: &[u64]) -> Result<Marks, (Broken, Vec<String>)> {
    let (broker, session) = operations::settings(seed);
    let mut world = World::new(broker, session, seed).map_err(|broken| (broken, Vec::new()))?;
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        for number in operations {
            world.operate(seed, *number)?;
        }
        world.finish(seed)
    }));
    match outcome {
        Ok(Ok(())) => Ok(world.marks),
        Ok(Err(broken)) => Err((broken, world.log)),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            Err((format!("panic: {}", text.unwrap_or_default()), world.log))
        }
    }
}

#[test]
fn every_promise_is_kept() {
    let first = setting("SIMULATION_SEED", 1);
    let one = std::env::var("SIMULATION_SEED").is_ok();
    let seeds = setting("SIMULATION_SEEDS", if one { 1 } else { 200 });
    let operations: Vec<u64> = (0..setting("SIMULATION_OPS", 1_000)).collect();
    let all = std::env::var("SIMULATION_ALL").is_ok();
    println!(
        "seeds {first} to {}, {} operations each",
        first + seeds - 1,
        operations.len()
    );
    // How many seeds met it.
    let mut marks: BTreeMap<&str, usize> = BTreeMap::new();
    let mut finds = 0;
    for seed in first..first + seeds {
        match run(seed, &operations) {
            Ok(reached) => reached.iter().for_each(|mark| *marks.entry(mark).or_default() += 1),
            Err((broken, _)) if all => {
                finds += 1;
                println!("SIMULATION_SEED={seed} {broken}");
            }
            Err((broken, log)) => explain(seed, operations, &broken, log),
        }
    }
    println!("reached: {marks:?}");
    assert_eq!(finds, 0, "broken promises");
    let missed: Vec<_> = MARKS.iter().filter(|mark| !marks.contains_key(*mark)).collect();
    assert!(one || missed.is_empty(), "never reached: {missed:?}");
}

/// Fails with the fewest operations that show it.
fn explain(seed: u64, operations: Vec<u64>, broken: &str, log: Vec<String>) -> ! {
    let (settings, count) = (operations::settings(seed).0, operations.len());
    let of = |broken: &str| kind(broken, &['{', '[', '"', ':']);
    let fewer = shrink(
        operations,
        |fewer| matches!(run(seed, fewer), Err((again, _)) if of(&again) == of(broken)),
    );
    let found = run(seed, &fewer).err();
    let (shrunk, least) = found.unwrap_or_else(|| (broken.to_owned(), log));
    println!("{settings:#?}");
    println!(
        "the least operations that show it, {}:\n{}",
        fewer.len(),
        least.join("\n")
    );
    panic!("SIMULATION_SEED={seed} SIMULATION_OPS={count}\n{broken}\nshrunk: {shrunk}");
}
