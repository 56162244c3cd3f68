//! Many connections come and go, three times: memory returns to use.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use crate::broker::Broker;
use crate::client::{Client, Link};
use crate::{Outcome, Plan};

const MOST: usize = 10_000;
const LEAST: usize = 2_000;
const CYCLES: usize = 3;
/// Handshakes under way at a time.
const AT_ONCE: usize = 100;
const PATIENCE: Duration = Duration::from_secs(60);

pub async fn run(plan: Plan) -> Outcome<String> {
    // Some for ourselves: the runtime, standard streams, /stats.
    let connections = descriptor_limit()?.saturating_sub(500).min(MOST);
    if connections < LEAST || (plan.long && connections < MOST) {
        return Err(format!(
            "room for {connections} connections only: raise the limit of descriptors (ulimit -n)"
        ));
    }
    let broker = Arc::new(Broker::start(plan.broker, &[])?);
    let (descriptors, start) = (broker.descriptors()?, broker.rss()?);
    let mut peaks = Vec::new();
    for _ in 0..CYCLES {
        peaks.push(cycle(&broker, connections).await?);
        eprintln!("cycles: peaks {peaks:?} KiB, {} KiB after", broker.rss()?);
    }
    broker.until_descriptors(descriptors).await?;
    let (first, last) = (peaks[0], peaks[CYCLES - 1]);
    if last * 10 > first * 11 {
        return Err(format!(
            "RSS at the peak of the cycles: {peaks:?} KiB; the third is over 1.1 of the first"
        ));
    }
    let each = (first.saturating_sub(start)) as f64 / connections as f64;
    Ok(format!(
        "{CYCLES} x {connections} connections with a subscription each: RSS {start} KiB at the start, {peaks:?} at the peaks, {} \
         after; {each:.1} KiB an idle connection; the third peak is {:.2} of the first",
        broker.rss()?,
        last as f64 / first as f64,
    ))
}

/// Opens them all, looks, closes them all, and waits until they are gone; the RSS in KiB.
async fn cycle(broker: &Arc<Broker>, connections: usize) -> Outcome<u64> {
    let mut clients = Vec::with_capacity(connections);
    let mut opening = JoinSet::new();
    let mut peak = 0;
    for number in 0..connections {
        if opening.len() >= AT_ONCE {
            clients.push(joined(opening.join_next().await)?);
        }
        let broker = broker.clone();
        opening.spawn(async move { subscribed(&broker, number).await });
    }
    while !opening.is_empty() {
        clients.push(joined(opening.join_next().await)?);
    }
    let stats = broker.stats().await?;
    let held = stats.number("/broker/sizes/subscriptions");
    if held != connections as u64 {
        return Err(format!("{connections} subscriptions were made and {held} are there"));
    }
    peak = peak.max(broker.rss()?);
    let mut closing = JoinSet::new();
    for client in clients {
        if closing.len() >= AT_ONCE {
            joined(closing.join_next().await)?;
        }
        closing.spawn(client.close());
    }
    while !closing.is_empty() {
        joined(closing.join_next().await)?;
    }
    let gone = |stats: &crate::broker::Stats| {
        let (sessions, topics) = (stats.number("/server/sessions"), stats.number("/broker/sizes/topics"));
        match sessions + topics {
            0 => Ok(()),
            _ => Err(format!("{sessions} sessions and {topics} topics are left")),
        }
    };
    broker.until(PATIENCE, gone).await?;
    Ok(peak.max(broker.rss()?))
}

async fn subscribed(broker: &Broker, number: usize) -> Outcome<Client> {
    let mut client = Client::connect(broker, Link::WebSocket, "0,0").await?;
    client
        .send(&format!(
            "SUBSCRIBE\nid:0\ndestination:/topic/cycle.{number}\nreceipt:r\n\n"
        ))
        .await?;
    client.receipt("r", &mut Vec::new()).await?;
    Ok(client)
}

fn joined<T>(outcome: Option<Result<Outcome<T>, tokio::task::JoinError>>) -> Outcome<T> {
    match outcome {
        Some(Ok(outcome)) => outcome,
        Some(Err(error)) => Err(error.to_string()),
        None => Err("nothing was under way".to_owned()),
    }
}

/// Our own limit; the broker inherits it.
pub fn descriptor_limit() -> Outcome<usize> {
    let limits = std::fs::read_to_string("/proc/self/limits").map_err(|error| error.to_string())?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let soft = line.and_then(|line| line.split_whitespace().next());
    Ok(soft.and_then(|soft| soft.parse().ok()).unwrap_or(usize::MAX))
}
