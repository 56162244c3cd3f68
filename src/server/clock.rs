//! The one clock: everything behind it is told the time.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

use crate::broker::Now;
use crate::session::Hosts;

/// How late a date may be served that was set while the clock slept.
const TICK: Duration = Duration::from_millis(100);

/// Milliseconds since the server started, and the wall's.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    start: Instant,
}

impl Clock {
    pub(super) fn start() -> Clock {
        Clock { start: Instant::now() }
    }

    /// The time, twice.
    pub(super) fn now(&self) -> Now {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now {
            mono: millis(self.start.elapsed()),
            unix_ms: millis(wall),
        }
    }

    /// The moment that `Now::mono` calls `mono`.
    pub(super) fn at(&self, mono: u64) -> Instant {
        // A deadline beyond a year is as good as none; the bound keeps the addition from overflowing.
        const YEAR_MS: u64 = 365 * 24 * 3600 * 1000;
        let elapsed = millis(self.start.elapsed());
        self.start + Duration::from_millis(mono.min(elapsed.saturating_add(YEAR_MS)))
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Serves what the brokers have to do at a given time: expiry, idle queues.
pub(super) async fn serve(clock: Clock, hosts: Arc<Hosts>) {
    loop {
        let now = clock.now();
        let mut next = now.mono + millis(TICK);
        for broker in hosts.named.values().chain([&hosts.default]) {
            broker.advance(now);
            next = next.min(broker.next_due().unwrap_or(next));
        }
        tokio::time::sleep_until(clock.at(next.max(now.mono + 1))).await;
    }
}
