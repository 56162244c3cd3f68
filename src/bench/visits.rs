//! The scenarios about connections: what each costs while it does nothing, and how fast they come.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::connection::{Connection, Scratch};
use super::figures::{histogram, Quantiles};
use super::neighbours::gather;
use super::process::{self, Processes};
use super::report::{Report, VisitCost, Visits};
use super::{Arguments, Failure};

/// After the last has come: time for the broker to settle before its memory is read.
const SETTLE: Duration = Duration::from_secs(1);

/// Connections that subscribe and stay.
pub(super) async fn idle(arguments: &Arguments) -> Result<Report, Failure> {
    visit(arguments, true).await
}

/// Connections that subscribe and go.
pub(super) async fn connect(arguments: &Arguments) -> Result<Report, Failure> {
    visit(arguments, false).await
}

async fn visit(arguments: &Arguments, stay: bool) -> Result<Report, Failure> {
    let broker = Processes::new(&arguments.pid)?;
    let arguments = Rc::new(arguments.clone());
    let scratch = Rc::new(Scratch::default());
    let took = Rc::new(RefCell::new(histogram()?));
    let server = Connection::open(&arguments, &scratch).await?.server;

    let count = arguments.subscriber_count();
    let rss_before = broker.as_ref().map_or(0, Processes::rss_kib);
    let cpu = || {
        (
            broker.as_ref().map_or(0.0, Processes::cpu_seconds),
            process::own_cpu_seconds(),
        )
    };
    let (broker_cpu, own_cpu) = cpu();
    let begin = Instant::now();
    let one = |index| {
        let (arguments, scratch, took) = (Rc::clone(&arguments), Rc::clone(&scratch), Rc::clone(&took));
        async move {
            let begin = Instant::now();
            let mut connection = Connection::open(&arguments, &scratch).await?;
            let destination = format!("{}bench.visit.{index}", arguments.topic_prefix);
            let subscribed = async {
                connection
                    .subscribe(0, &destination, "auto", arguments.prefetch)
                    .await?;
                connection.await_receipts(1, &scratch).await
            };
            subscribed
                .await
                .map_err(|error| Failure::Broken(format!("connection {index}: {error}")))?;
            let micros = begin.elapsed().as_micros() as u64;
            took.borrow_mut().saturating_record(micros);
            Ok(stay.then_some(connection))
        }
    };
    let staying = gather(count, one).await?;
    let seconds = begin.elapsed().as_secs_f64();
    let tool_cores = (cpu().1 - own_cpu) / seconds;
    if broker.is_some() {
        sleep(SETTLE).await;
    }

    let cost = broker.as_ref().map(|broker| {
        let rss_after = broker.rss_kib();
        VisitCost {
            cpu_us_per_connection: (cpu().0 - broker_cpu) * 1e6 / count as f64,
            rss_before_kib: rss_before,
            rss_after_kib: rss_after,
            kib_per_connection: stay.then(|| rss_after.saturating_sub(rss_before) as f64 / count as f64),
        }
    });
    drop(staying);
    let latency = Quantiles::of(&took.borrow());
    Ok(Report::Visits(Box::new(Visits {
        scenario: arguments.scenario.into(),
        url: arguments.url.to_string(),
        server,
        connections: count as u64,
        seconds,
        connections_per_second: count as f64 / seconds,
        latency,
        broker: cost,
        tool_cores,
        troubles: Vec::new(),
    })))
}
