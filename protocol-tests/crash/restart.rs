//! How long a start takes when much is stored.

use std::time::{Duration, Instant};

use crate::ledger::Stream;
use crate::plain::{fill, first_message, take};
use crate::process::Launch;
use crate::{Folder, Outcome, Plan};

const QUEUE: &str = "/queue/restart";
/// The promise, and what a machine that others use too may make of it.
const WITHIN: Duration = Duration::from_secs(2);
const AT_MOST: Duration = Duration::from_secs(6);

pub fn run(plan: &Plan) -> Outcome<String> {
    let count = if plan.long { 1_000_000 } else { 100_000 };
    let folder = Folder::new(plan, "restart")?;
    let data = folder.data.display().to_string();
    let options = [
        "--data",
        &data,
        "--set",
        "queue.messages=2000000",
        "--set",
        "queue.size=4GiB",
    ];
    let launch = Launch::new(&plan.broker, &options, folder.log.clone());

    let mut broker = launch.start()?;
    let stream = Stream::new("p1", QUEUE);
    let begun = Instant::now();
    fill(broker.tcp, &stream, count)?;
    let rate = count as u128 * 1_000 / begun.elapsed().as_millis().max(1);
    broker.kill()?;

    let mut broker = launch.start()?;
    let listening = broker.listening_after;
    let full = first_message(&broker, QUEUE)?;
    let resident = broker.memory("VmRSS")? >> 10;
    take(broker.tcp, QUEUE, count / 10 * 9)?;
    broker.kill()?;

    let mut broker = launch.start()?;
    let listening_rest = broker.listening_after;
    let rest = first_message(&broker, QUEUE)?;
    take(broker.tcp, QUEUE, count / 10)?;
    broker.kill()?;
    if let Some(panic) = launch.panicked() {
        return Err(panic);
    }
    let figures = format!(
        "{count} messages of 256 octets, receipted at {rate}/s; from the start of the process to the first MESSAGE \
         {} ms (listening after {} ms, {resident} MiB resident), with nine tenths removed from the head {} ms \
         (listening after {} ms); promised: {} ms",
        full.as_millis(),
        listening.as_millis(),
        rest.as_millis(),
        listening_rest.as_millis(),
        WITHIN.as_millis()
    );
    match full.max(rest) {
        slow if slow > if plan.long { WITHIN } else { AT_MOST } => Err(figures),
        _ => Ok(figures),
    }
}
