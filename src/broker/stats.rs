//! Counters and registry sizes, as `/stats` shows them.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

/// A number that only rises.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// Adds one.
    pub fn one(&self) {
        self.add(1);
    }

    /// What it has come to.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Serialize for Counter {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.get())
    }
}

/// What has happened in a broker.
#[derive(Debug, Default, Serialize)]
pub struct Counters {
    /// CONNECT frames of those who were not connected; of all virtual hosts, with those of the default one.
    pub connect: Counter,
    /// CONNECTED frames.
    pub connected: Counter,
    /// DISCONNECT frames.
    pub disconnect: Counter,
    /// CONNECTs refused for their login or passcode; of all virtual hosts, with those of the default one.
    pub bad_credentials: Counter,
    /// Messages accepted from SEND frames, committed ones included.
    pub sent: Counter,
    /// MESSAGE frames written to outputs.
    pub delivered: Counter,
    /// Messages settled by an ACK, or by being written in auto mode.
    pub settled: Counter,
    /// Messages given back to their queue after having been delivered.
    pub redelivered: Counter,
    /// Messages of a topic that nobody listened to.
    pub dropped_no_subscriber: Counter,
    /// Messages to reply or user queues that do not exist (any more).
    pub dropped_no_queue: Counter,
    /// Messages that expired.
    pub dropped_expired: Counter,
    /// Messages that gave way in a full queue.
    pub dropped_queue_full: Counter,
    /// Messages removed with a queue: temporary, exclusive, auto-delete.
    pub dropped_with_queue: Counter,
    /// Messages NACKed without requeue, or over the delivery limit, for which there was no room or no right in a
    /// dead-letter queue.
    pub dropped_dead: Counter,
    /// Messages whose octets could not be read from disk any more.
    pub lost: Counter,
    /// Messages that gave way to newer ones in the outbound of a subscriber that did not keep up.
    pub skipped: Counter,
    /// Messages moved to a dead-letter queue.
    pub dead_lettered: Counter,
    /// SENDs that had to wait for room.
    pub blocked: Counter,
    /// Requests to application destinations that no worker answered: the client was told so.
    pub requests_declined: Counter,
    /// Snapshots of users that Spring's nodes were not told when it was time, for want of room.
    pub snapshots_skipped: Counter,
    /// SENDs refused because a queue was full.
    pub refused_queue_full: Counter,
    /// Connections that ended as slow consumers.
    pub slow_consumers: Counter,
    /// Transactions committed.
    pub committed: Counter,
    /// Transactions aborted, by the client or by its end.
    pub aborted: Counter,
}

/// Sizes of what a broker holds now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Sizes {
    /// Sessions that are connected.
    pub sessions: usize,
    /// Users who have a session.
    pub users: usize,
    /// Their sessions.
    pub user_sessions: usize,
    /// Live subscriptions.
    pub subscriptions: usize,
    /// Topics with subscriptions, and topics remembered for wildcard ones.
    pub topics: usize,
    /// Queues.
    pub queues: usize,
    /// Durable subscriptions, with or without consumers.
    pub durable_subscriptions: usize,
    /// Wildcard subscriptions.
    pub patterns: usize,
    /// Messages in queues, unacknowledged ones included.
    pub queued_messages: usize,
    /// Of these, those that are on disk.
    pub stored_messages: usize,
    /// Octets of all messages held anywhere.
    pub message_octets: usize,
    /// Dates that the agenda waits for.
    pub agenda: usize,
    /// Open transactions.
    pub transactions: usize,
    /// Requests to application destinations that have no answer yet.
    pub requests: usize,
}
