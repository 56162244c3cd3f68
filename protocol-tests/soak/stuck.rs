//! One subscriber of a hundred stops reading: what the others notice, and what it costs.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Arc;
use std::time::Duration;

use protocol_tests::frame::Frame;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{interval, sleep, Instant, MissedTickBehavior};

use crate::broker::{Broker, Stats};
use crate::client::{shown, Client, Link};
use crate::{Outcome, Plan};

const READERS: usize = 99;
const BODY: usize = 256;
/// The others' p99 with the stuck one, in percent of that without.
const SLOWER: u64 = 125;
/// What a connection may hold. Eight times the default: a tenth of that is less than RSS moves by itself.
const BUDGET: &str = "limits.outbound_size=8MiB";
/// That and a tenth, in KiB.
const GROWTH: i64 = 8 * 1_024 * 11 / 10;
/// A machine that others use too has bad minutes.
const ATTEMPTS: usize = 3;
const PATIENCE: Duration = Duration::from_secs(60);
const TOPIC: &str = "/topic/ticker";
/// What the stuck one alone hears: it fills the buffers of both kernels before anything is measured.
const FILLER: &str = "/topic/filler";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Policy {
    Disconnect,
    DropOldest,
}

/// How hard, how long, how often.
#[derive(Clone, Copy, Debug)]
struct Load {
    per_second: u64,
    seconds: u64,
    pairs: usize,
}

pub async fn run(plan: Plan) -> Outcome<String> {
    let load = match plan.long {
        true => Load {
            per_second: 1_000,
            seconds: 10,
            pairs: 7,
        },
        false => Load {
            per_second: 500,
            seconds: 3,
            pairs: 5,
        },
    };
    let mut figures = Vec::new();
    for policy in [Policy::Disconnect, Policy::DropOldest] {
        figures.push(with_patience(plan, policy, load).await?);
    }
    Ok(format!(
        "{READERS} readers, {} x {BODY} B/s, {} pairs of runs of {} s: {}",
        load.per_second,
        load.pairs,
        load.seconds,
        figures.join("; ")
    ))
}

/// Only the comparison of times is tried again; what is right or wrong on any machine is not.
async fn with_patience(plan: Plan, policy: Policy, load: Load) -> Outcome<String> {
    let mut tried = Vec::new();
    for _ in 0..ATTEMPTS {
        let seen = attempt(plan, policy, load)
            .await
            .map_err(|reason| format!("{policy:?}: {reason}"))?;
        if seen.stuck * 100 <= seen.alone * SLOWER {
            return Ok(format!(
                "{policy:?}: p99 {} us without, {} us with the stuck one ({:.2}), RSS {:+} KiB, {}",
                seen.alone,
                seen.stuck,
                seen.stuck as f64 / seen.alone as f64,
                seen.growth,
                seen.verdict
            ));
        }
        tried.push(format!("{} us without, {} us with", seen.alone, seen.stuck));
    }
    Err(format!(
        "{policy:?}: p99 of the others in {ATTEMPTS} attempts: {}",
        tried.join("; ")
    ))
}

struct Seen {
    /// Medians of the runs' p99 in microseconds.
    alone: u64,
    stuck: u64,
    /// KiB that the broker's RSS grew over the runs without a stuck one.
    growth: i64,
    verdict: String,
}

async fn attempt(plan: Plan, policy: Policy, load: Load) -> Outcome<Seen> {
    let word = match policy {
        Policy::Disconnect => "disconnect",
        Policy::DropOldest => "drop-oldest",
    };
    let option = format!("topic.slow_consumer={word}");
    // It must be the budget that cuts it, not the deadline of a write.
    let options = [&option, BUDGET, "server.write_timeout=60s", "session.idle_probe=1h"];
    let broker = Arc::new(Broker::start(plan.broker, &options)?);
    // Allocations of the first minutes are not the stuck one's.
    run_once(&broker, load, None).await?;
    let (mut alone, mut stuck) = (Vec::new(), Vec::new());
    let (mut growth, mut verdict) = (i64::MIN, String::new());
    for _ in 0..load.pairs {
        let without = run_once(&broker, load, None).await?;
        let with = run_once(&broker, load, Some(policy)).await?;
        alone.push(without.p99);
        stuck.push(with.p99);
        growth = growth.max(with.rss as i64 - without.rss as i64);
        verdict = with.verdict;
    }
    if growth > GROWTH {
        return Err(format!(
            "the broker's RSS grew by {growth} KiB with a stuck reader; its budget and a tenth are {GROWTH} KiB"
        ));
    }
    Ok(Seen {
        alone: median(&mut alone),
        stuck: median(&mut stuck),
        growth,
        verdict,
    })
}

fn median(of: &mut [u64]) -> u64 {
    of.sort_unstable();
    of.get(of.len() / 2).copied().unwrap_or_default()
}

struct Run {
    p99: u64,
    /// The highest that was seen, in KiB.
    rss: u64,
    verdict: String,
}

/// One run with a hundred subscribers, the last of which reads, or is stuck under this policy.
async fn run_once(broker: &Arc<Broker>, load: Load, stuck: Option<Policy>) -> Outcome<Run> {
    let epoch = Instant::now();
    let total = load.per_second * load.seconds;
    let mut readers = JoinSet::new();
    for _ in 0..READERS {
        let client = subscribed(broker, None).await?;
        readers.spawn(read(client, total, epoch));
    }
    let mut hundredth = None;
    match stuck {
        None => drop(readers.spawn(read(subscribed(broker, None).await?, total, epoch))),
        Some(_) => hundredth = Some(Stuck::start(broker).await?),
    }
    let memory = Memory::watch(broker.clone());
    publish(broker, load, epoch).await?;
    let mut times = Vec::new();
    while let Some(read) = readers.join_next().await {
        times.extend(read.map_err(|error| error.to_string())??);
    }
    let verdict = match (stuck, hundredth) {
        (Some(Policy::Disconnect), Some(hundredth)) => hundredth.expect_the_cut(broker).await?,
        (Some(Policy::DropOldest), Some(hundredth)) => hundredth.expect_skips(broker, total).await?,
        _ => String::new(),
    };
    let rss = memory.highest().await?;
    let nobody = |stats: &Stats| match stats.number("/server/sessions") {
        0 => Ok(()),
        sessions => Err(format!("{sessions} sessions are left")),
    };
    broker.until(PATIENCE, nobody).await?;
    times.sort_unstable();
    let p99 = times.get(times.len() * 99 / 100).copied().unwrap_or_default();
    Ok(Run { p99, rss, verdict })
}

async fn subscribed(broker: &Broker, receive_buffer: Option<u32>) -> Outcome<Client> {
    let client = Client::open(broker, Link::WebSocket, receive_buffer).await?;
    let mut client = client.connected("0,0").await?;
    client
        .send(&format!("SUBSCRIBE\nid:0\ndestination:{TOPIC}\nreceipt:r\n\n"))
        .await?;
    client.receipt("r", &mut Vec::new()).await?;
    Ok(client)
}

/// Reads `total` messages; how long each was on its way since it was due, in microseconds.
async fn read(mut client: Client, total: u64, epoch: Instant) -> Outcome<Vec<u64>> {
    let mut times = Vec::with_capacity(total as usize);
    while (times.len() as u64) < total {
        let Some(frame) = client.next().await? else {
            return Err(format!("a reader was cut after {} messages", times.len()));
        };
        let now = epoch.elapsed().as_micros() as u64;
        times.push(now.saturating_sub(due(&frame)?));
    }
    client.close().await?;
    Ok(times)
}

fn due(frame: &Frame) -> Outcome<u64> {
    let stamp = frame.body.split(|octet| *octet == b' ').next().unwrap_or_default();
    let stamp = std::str::from_utf8(stamp).ok().and_then(|stamp| stamp.parse().ok());
    stamp.ok_or_else(|| format!("instead of a message: {}", shown(Some(frame))))
}

/// Publishes at the times that the rate sets, whatever the broker does; each message says when it was due.
async fn publish(broker: &Broker, load: Load, epoch: Instant) -> Outcome<()> {
    let mut client = Client::connect(broker, Link::WebSocket, "0,0").await?;
    let mut tick = interval(Duration::from_micros(1_000_000 / load.per_second));
    tick.set_missed_tick_behavior(MissedTickBehavior::Burst);
    for _ in 0..load.per_second * load.seconds {
        let due = tick.tick().await.duration_since(epoch).as_micros() as u64;
        client
            .send(&format!("SEND\ndestination:{TOPIC}\n\n{:<BODY$}", format!("{due} ")))
            .await?;
    }
    client.close().await
}

/// What fills the stuck one's buffers, and how many messages that took.
struct Filler {
    client: Client,
    sent: u64,
}

impl Filler {
    const BODY: usize = 16 << 10;
    const BATCH: u64 = 8;

    async fn send(&mut self) -> Outcome<()> {
        let body = "f".repeat(Filler::BODY);
        for _ in 0..Filler::BATCH {
            self.client
                .send(&format!("SEND\ndestination:{FILLER}\nreceipt:f\n\n{body}"))
                .await?;
            self.client.receipt("f", &mut Vec::new()).await?;
        }
        self.sent += Filler::BATCH;
        Ok(())
    }

    /// Sends until a counter of the broker moves.
    async fn until_counted(&mut self, broker: &Broker, counter: &str, before: u64) -> Outcome<()> {
        let end = Instant::now() + PATIENCE;
        while broker.stats().await?.number(counter) == before {
            if Instant::now() >= end {
                return Err(format!("{counter} is still {before} after {} more messages", self.sent));
            }
            self.send().await?;
        }
        Ok(())
    }
}

/// A subscriber that has stopped reading, with the buffers of both kernels full.
struct Stuck {
    client: Client,
    filler: Filler,
    /// `slow_consumers` and `skipped` of the broker before it was there.
    before: (u64, u64),
}

const SLOW_CONSUMERS: &str = "/broker/counters/slow_consumers";
const SKIPPED: &str = "/broker/counters/skipped";

impl Stuck {
    async fn start(broker: &Broker) -> Outcome<Stuck> {
        let mut client = subscribed(broker, Some(8 << 10)).await?;
        client
            .send(&format!("SUBSCRIBE\nid:1\ndestination:{FILLER}\nreceipt:f\n\n"))
            .await?;
        client.receipt("f", &mut Vec::new()).await?;
        let mut filler = Filler {
            client: Client::connect(broker, Link::Tcp, "0,0").await?,
            sent: 0,
        };
        let stats = broker.stats().await?;
        let before = (stats.number(SLOW_CONSUMERS), stats.number(SKIPPED));
        let mut written = stats.number("/server/octets_out");
        loop {
            filler.send().await?;
            sleep(Duration::from_millis(20)).await;
            let now = broker.stats().await?.number("/server/octets_out");
            // Less than was sent has gone out: the rest waits in the broker.
            if now - written < Filler::BATCH * Filler::BODY as u64 {
                return Ok(Stuck { client, filler, before });
            }
            written = now;
        }
    }

    /// Under the default policy more than its budget is the end of it. It reads on then, and is told why.
    async fn expect_the_cut(mut self, broker: &Broker) -> Outcome<String> {
        self.filler.until_counted(broker, SLOW_CONSUMERS, self.before.0).await?;
        self.filler.client.close().await?;
        self.client.read_on()?;
        let (error, code) = {
            let error = self.client.read_to_the_end().await?;
            (error, self.client.close_code)
        };
        if error.as_ref().and_then(|error| error.value("code")) != Some(b"slow-consumer") || code != Some(1_008) {
            return Err(format!(
                "the stuck reader got {} and close code {code:?}",
                shown(error.as_ref())
            ));
        }
        Ok("it was cut with ERROR slow-consumer and close code 1008".to_owned())
    }

    /// Where the oldest messages give way it stays. It reads on, and what came and what was skipped are all there was.
    async fn expect_skips(mut self, broker: &Broker, published: u64) -> Outcome<String> {
        self.filler.until_counted(broker, SKIPPED, self.before.1).await?;
        self.filler.send().await?;
        self.client.read_on()?;
        let reading = tokio::spawn(read_to_last(self.client));
        let empty = |stats: &Stats| match stats.number("/broker/sizes/message_octets") {
            0 => Ok(()),
            octets => Err(format!(
                "{octets} octets of messages wait for a client that reads again"
            )),
        };
        broker.until(PATIENCE, empty).await?;
        for topic in [TOPIC, FILLER] {
            self.filler
                .client
                .send(&format!("SEND\ndestination:{topic}\n\nlast"))
                .await?;
        }
        let (came, skipped) = reading.await.map_err(|error| error.to_string())??;
        self.filler.client.close().await?;
        let all = published + self.filler.sent + 2;
        if came + skipped != all || skipped == 0 {
            return Err(format!(
                "{all} messages were sent; {came} came and x-skipped told of {skipped}"
            ));
        }
        Ok(format!("it stayed, and x-skipped told of {skipped} of {all} messages"))
    }
}

/// Reads until the last message of both topics; how many came, and how many were skipped.
async fn read_to_last(mut client: Client) -> Outcome<(u64, u64)> {
    let (mut came, mut skipped, mut ended) = (0, 0, 0);
    while ended < 2 {
        let frame = client.next().await?;
        let Some(frame) = frame.filter(|frame| frame.command == "MESSAGE") else {
            return Err("the stuck reader was cut".to_owned());
        };
        came += 1;
        if let Some(number) = frame.value("x-skipped") {
            let number = String::from_utf8_lossy(number).parse::<u64>();
            skipped += number.map_err(|_| format!("x-skipped is no number: {}", frame.show()))?;
        }
        ended += u64::from(frame.body == b"last");
    }
    client.close().await?;
    Ok((came, skipped))
}

/// Watches the broker's RSS from now on.
struct Memory {
    highest: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
    watching: JoinHandle<Outcome<()>>,
}

impl Memory {
    fn watch(broker: Arc<Broker>) -> Memory {
        let (highest, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (seen, end) = (highest.clone(), over.clone());
        let watching = tokio::spawn(async move {
            while !end.load(Ordering::Relaxed) {
                seen.fetch_max(broker.rss()?, Ordering::Relaxed);
                sleep(Duration::from_millis(50)).await;
            }
            Ok(())
        });
        Memory {
            highest,
            over,
            watching,
        }
    }

    /// In KiB.
    async fn highest(self) -> Outcome<u64> {
        self.over.store(true, Ordering::Relaxed);
        self.watching.await.map_err(|error| error.to_string())??;
        Ok(self.highest.load(Ordering::Relaxed))
    }
}
