//! Sessions born and killed all the time: everything that they held is given back.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{interval, sleep, Instant, MissedTickBehavior};

use crate::broker::{Broker, Stats};
use crate::client::{Client, Link};
use crate::ledger::Ledger;
use crate::life::{live, number, FLOOD, KEPT_QUEUES, LOOSE_QUEUES, WAYS};
use crate::random::Random;
use crate::{Outcome, Plan};

const PER_SECOND: u64 = 200;
/// How long the broker has to be as it was before.
const PATIENCE: Duration = Duration::from_secs(60);

/// Short deadlines, so that the silent ones do not pile up; no limit that would take a message away.
const SETTINGS: [&str; 11] = [
    "session.connect_timeout=2s",
    "session.heart_beat=500ms",
    "session.heart_beat_extra=500ms",
    "session.probe_timeout=1s",
    "session.idle_probe=2s",
    "server.write_timeout=2s",
    "server.linger=500ms",
    "limits.outbound_size=256KiB",
    "queue.delivery_limit=0",
    "queue.idle=1s",
    "server.http_head_timeout=2s",
];

struct World {
    broker: Broker,
    ledger: Ledger,
    /// Sessions that have come to their end.
    ended: AtomicUsize,
    /// What the broker did wrong, and how often.
    wrong: Mutex<BTreeMap<String, usize>>,
    over: AtomicBool,
}

pub async fn run(plan: Plan) -> Outcome<String> {
    let seconds = if plan.long { 600 } else { 30 };
    let world = Arc::new(World {
        broker: Broker::start(plan.broker, &SETTINGS)?,
        ledger: Ledger::default(),
        ended: AtomicUsize::new(0),
        wrong: Mutex::default(),
        over: AtomicBool::new(false),
    });
    let broker = &world.broker;
    let before = (broker.descriptors()?, broker.stats().await?, broker.rss()?);
    let flood = tokio::spawn(flood(world.clone()));
    let (born, memory) = populate(&world, seconds).await?;
    let all_ended = |_: &Stats| match world.ended.load(Ordering::Relaxed) {
        ended if ended == born => Ok(()),
        ended => Err(format!("{ended} of {born} sessions have ended")),
    };
    let ended = broker.until(PATIENCE, all_ended).await;
    // Not before: the slow consumers are slow because of it.
    world.over.store(true, Ordering::Relaxed);
    flood.await.map_err(|error| error.to_string())??;
    ended?;
    world.judge_lives()?;
    broker
        .until(PATIENCE, |stats| same(stats, &before.1, "server "))
        .await?;

    let queued = broker.stats().await?.number("/broker/sizes/queued_messages");
    let left = drain(broker).await?;
    if left.all as u64 != queued {
        return Err(format!(
            "/stats told of {queued} queued messages, and {} came",
            left.all
        ));
    }
    let (kept, sent) = world.ledger.judge(&left.kept)?;
    let after = broker.until(PATIENCE, |stats| same(stats, &before.1, "")).await?;
    broker.until_descriptors(before.0).await?;
    Ok(format!(
        "{born} sessions in {seconds} s, {} descriptors, {} tasks and every registry as before; {kept} of {sent} accounted \
         messages left in queues as expected; RSS {} KiB at the start, {} in the second fifth, {} in the last, {} after; ends: {}",
        before.0,
        after.number("/server/tasks"),
        before.2,
        memory.0,
        memory.1,
        broker.rss()?,
        after.closed(),
    ))
}

/// Sets sessions going; how many, and the median of the RSS in the second and in the last fifth of the time.
async fn populate(world: &Arc<World>, seconds: u64) -> Outcome<(usize, (u64, u64))> {
    let mut random = Random::new(0x50AC);
    let mut tick = interval(Duration::from_micros(1_000_000 / PER_SECOND));
    // On a busy machine the rate is made up for, not lost.
    tick.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let total = seconds * PER_SECOND;
    let mut memory = Vec::new();
    for number in 0..total {
        tick.tick().await;
        if number % (PER_SECOND / 2) == 0 {
            memory.push(world.broker.rss()?);
        }
        let way = WAYS[(number % WAYS.len() as u64) as usize];
        let link = random.one_of(&[Link::WebSocket, Link::Tcp]);
        let (world, random) = (world.clone(), Random::new(random.next()));
        tokio::spawn(async move {
            if let Err(reason) = live(&world.broker, &world.ledger, way, link, random).await {
                world.complain(format!("{way:?} over {link:?}: {reason}"));
            }
            world.ended.fetch_add(1, Ordering::Relaxed);
        });
    }
    let fifth = memory.len() / 5;
    let early = median(&memory[fifth..2 * fifth]);
    let late = median(&memory[4 * fifth..]);
    // What is not given back shows as a rise for ever; the allocator's own reserve does not.
    if late > early + early / 4 + (10 << 10) {
        return Err(format!(
            "RSS rose from {early} KiB in the second fifth of the time to {late} KiB in the last"
        ));
    }
    Ok((total as usize, (early, late)))
}

fn median(of: &[u64]) -> u64 {
    let mut sorted = of.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

/// Publishes more than the slow consumers take.
async fn flood(world: Arc<World>) -> Outcome<()> {
    let mut client = Client::connect(&world.broker, Link::Tcp, "0,0").await?;
    let frame = format!("SEND\ndestination:{FLOOD}\nreceipt:flood\n\n{}", "x".repeat(512 << 10));
    while !world.over.load(Ordering::Relaxed) {
        client.send(&frame).await?;
        client.receipt("flood", &mut Vec::new()).await?;
        sleep(Duration::from_millis(125)).await;
    }
    client.close().await
}

impl World {
    fn complain(&self, reason: String) {
        let mut wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        // Not more than a reader takes in, should everything fail.
        if wrong.len() < 10 || wrong.contains_key(&reason) {
            *wrong.entry(reason).or_default() += 1;
        }
    }

    fn judge_lives(&self) -> Outcome<()> {
        let wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        if wrong.is_empty() {
            return Ok(());
        }
        let shown: Vec<String> = wrong
            .iter()
            .map(|(reason, times)| format!("{times} x {reason}"))
            .collect();
        Err(shown.join("; "))
    }
}

/// Whether every registry whose name begins with `prefix` is as it was before.
fn same(now: &Stats, before: &Stats, prefix: &str) -> Outcome<()> {
    let pairs = now.registries().into_iter().zip(before.registries());
    let other: Vec<String> = pairs
        .filter(|(now, before)| now.0.starts_with(prefix) && now != before)
        .map(|(now, before)| format!("{} {} instead of {}", now.0, now.1, before.1))
        .collect();
    match other.is_empty() {
        true => Ok(()),
        false => Err(other.join(", ")),
    }
}

/// What the queues held.
#[derive(Default)]
struct Left {
    kept: Vec<u64>,
    all: usize,
}

/// Consumes all queues until nothing comes for a while.
async fn drain(broker: &Broker) -> Outcome<Left> {
    let mut client = Client::connect(broker, Link::WebSocket, "0,0").await?;
    let queues = (0..KEPT_QUEUES)
        .map(|n| format!("kept.{n}"))
        .chain((0..LOOSE_QUEUES).map(|n| format!("loose.{n}")));
    let (mut left, mut messages) = (Left::default(), Vec::new());
    for queue in queues {
        let headers = format!("id:{queue}\ndestination:/queue/{queue}\nreceipt:{queue}\n");
        client.send(&format!("SUBSCRIBE\n{headers}\n")).await?;
        client.receipt(&queue, &mut messages).await?;
    }
    let end = Instant::now() + PATIENCE;
    while broker.stats().await?.number("/broker/sizes/queued_messages") > 0 && Instant::now() < end {
        client.send("BEGIN\ntransaction:pause\nreceipt:pause\n\n").await?;
        client.receipt("pause", &mut messages).await?;
        client.send("ABORT\ntransaction:pause\n\n").await?;
    }
    // What was settled by being written may still be on its way.
    client.send("DISCONNECT\nreceipt:end\n\n").await?;
    client.receipt("end", &mut messages).await?;
    for message in &messages {
        left.all += 1;
        if message
            .value("destination")
            .is_some_and(|name| name.starts_with(b"/queue/kept."))
        {
            left.kept.push(number(message)?);
        }
    }
    client.close().await?;
    Ok(left)
}
