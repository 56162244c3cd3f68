//! What the relay counts, in the words of Spring's statistics where it has some.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// A number that grows.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// One more.
    pub fn one(&self) {
        self.add(1);
    }

    /// `number` more.
    pub fn add(&self, number: u64) {
        self.0.fetch_add(number, Ordering::Relaxed);
    }

    /// How many.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Counters since the start, of all clients together.
#[derive(Debug, Default)]
pub struct Counters {
    /// CONNECT frames of clients that were taken.
    pub connect: Count,
    /// CONNECTED frames that clients were given.
    pub connected: Count,
    /// DISCONNECT frames to the broker: clients' own, and ours for clients that vanished.
    pub disconnect: Count,
    /// Connections to the broker that were lost or never came about.
    pub lost: Count,
    /// Clients that were kept and have a broker again.
    pub resumed: Count,
    /// Clients told that the broker is not there or lost.
    pub told: Count,
    /// Frames from clients to the broker.
    pub to_broker: Count,
    /// Frames from the broker to clients.
    pub to_clients: Count,
    /// Frames that waited for the broker and were dropped because their client went.
    pub dropped_pending: Count,
    /// ACK and NACK frames of messages that went back with a lost connection.
    pub stale_acknowledgements: Count,
    /// Frames of transactions that went with a lost connection.
    pub lost_transactions: Count,
    /// SENDs to users of whom no session is here.
    pub unresolved_users: Count,
    /// Messages of others' user destinations that a wildcard subscription would have shown.
    pub withheld: Count,
    /// SENDs over the system connection that were refused or not confirmed in time.
    pub publish_failed: Count,
    /// Messages that came over the shared connection.
    pub shared_in: Count,
    /// Messages that clients were given of those.
    pub shared_out: Count,
    /// Times that the shared connection was lost.
    pub shared_lost: Count,
    /// Destinations whose shared subscription the broker refused.
    pub shared_refused: Count,
}

/// What is known of the broker behind.
#[derive(Debug, Default)]
pub struct Upstream {
    available: AtomicBool,
    /// Which of the addresses answered last.
    preferred: AtomicUsize,
}

impl Upstream {
    /// Whether the system connection has its CONNECTED.
    pub fn is_available(&self) -> bool {
        self.available.load(Ordering::SeqCst)
    }

    /// Says that it has, or has not any more; whether that is news.
    pub fn set_available(&self, available: bool) -> bool {
        self.available.swap(available, Ordering::SeqCst) != available
    }

    /// The place in the list of the address to try first.
    pub fn preferred(&self) -> usize {
        self.preferred.load(Ordering::Relaxed)
    }

    /// The address at `place` answered.
    pub fn prefer(&self, place: usize) {
        self.preferred.store(place, Ordering::Relaxed);
    }
}
