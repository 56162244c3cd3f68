//! A line a second on stderr, so that a long run is seen to be alive.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{interval_at, Instant};

use super::figures::{grouped, micros};
use super::process::Processes;
use super::work::Run;

const SECOND: Duration = Duration::from_secs(1);

/// The task that tells, and the largest memory that it saw on the way.
#[derive(Debug)]
pub(super) struct Progress {
    task: JoinHandle<()>,
    rss_peak_kib: Rc<Cell<u64>>,
}

impl Progress {
    /// Begins to tell.
    pub(super) fn start(run: &Rc<Run>, broker: Option<Processes>) -> Progress {
        let rss_peak_kib = Rc::new(Cell::new(0));
        let task = tokio::task::spawn_local(tell(Rc::clone(run), broker, Rc::clone(&rss_peak_kib)));
        Progress { task, rss_peak_kib }
    }

    /// Ends it. The largest memory seen, in KiB.
    pub(super) fn stop(self) -> u64 {
        self.task.abort();
        self.rss_peak_kib.get()
    }
}

async fn tell(run: Rc<Run>, broker: Option<Processes>, peak: Rc<Cell<u64>>) {
    let mut beat = interval_at(Instant::now() + SECOND, SECOND);
    let mut before = run.deliveries();
    let mut seconds = 0;
    loop {
        beat.tick().await;
        seconds += 1;
        let rss = broker.as_ref().map_or(0, Processes::rss_kib);
        peak.set(peak.get().max(rss));
        let deliveries = run.deliveries();
        if !run.arguments.quiet {
            let p99 = run.latency.borrow().value_at_quantile(0.99);
            let under_way = run.expected().saturating_sub(deliveries);
            eprintln!(
                "{seconds:5} s  {:>11} deliveries/s  p99 {:>8}  {:>9} under way",
                grouped(deliveries - before),
                micros(p99),
                grouped(under_way)
            );
        }
        before = deliveries;
    }
}
