//! Where what happens to persistent messages is written down, seen from the queues.
//!
//! Enqueue-only: a queue calls it under its own lock, so that records arrive in the order in which things
//! happened, and nothing here may wait. What has to wait for a disk holds a [`Ticket`].

use std::fmt::Debug;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::message::Message;
use super::outbound::Outbound;

/// One thing that happened to a persistent message.
#[derive(Clone, Copy, Debug)]
pub enum Record<'a> {
    /// It entered a queue.
    Append {
        /// The queue's canonical name.
        queue: &'a str,
        /// Its number in the queue.
        seq: u64,
        /// The message.
        message: &'a Message,
    },
    /// It left a queue for good.
    Settle {
        /// The queue's canonical name.
        queue: &'a str,
        /// Its number in the queue.
        seq: u64,
    },
    /// A queue was removed with what it held.
    Remove {
        /// The queue's canonical name.
        queue: &'a str,
    },
}

/// Keeps records. Every method returns at once and keeps the order of the calls for each queue.
pub trait Journal: Send + Sync + Debug {
    /// Takes a record. Records of one `batch` count together or not at all, from [`Journal::seal`] on.
    fn write(&self, record: Record<'_>, batch: Option<u64>);

    /// Ends a batch.
    fn seal(&self, batch: u64);

    /// A promise for everything written so far; `None` if there is nothing to wait for.
    fn ticket(&self) -> Option<Ticket>;
}

/// Keeps nothing: queues live in memory only.
#[derive(Debug, Default)]
pub struct Volatile;

impl Journal for Volatile {
    fn write(&self, _record: Record<'_>, _batch: Option<u64>) {}

    fn seal(&self, _batch: u64) {}

    fn ticket(&self) -> Option<Ticket> {
        None
    }
}

/// Something that takes effect later: a commit to disk. Cloned between the one who promises and those who wait.
#[derive(Clone, Debug, Default)]
pub struct Ticket(Arc<Promise>);

#[derive(Debug, Default)]
struct Promise {
    outcome: AtomicU8,
    waiting: Mutex<Vec<Arc<Outbound>>>,
}

const KEPT: u8 = 1;
const BROKEN: u8 = 2;

impl Ticket {
    /// What has come of it; `None` while it is open.
    pub fn outcome(&self) -> Option<bool> {
        match self.0.outcome.load(Ordering::Acquire) {
            KEPT => Some(true),
            BROKEN => Some(false),
            _ => None,
        }
    }

    /// Has `outbound` nudged when the outcome is known.
    pub fn wait(&self, outbound: &Arc<Outbound>) {
        let mut waiting = self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if self.outcome().is_none() {
            waiting.push(Arc::clone(outbound));
            return;
        }
        drop(waiting);
        outbound.nudge();
    }

    /// Says that it took effect, or that it did not.
    pub fn resolve(&self, kept: bool) {
        let mut waiting = self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        self.0
            .outcome
            .store(if kept { KEPT } else { BROKEN }, Ordering::Release);
        let waiting = std::mem::take(&mut *waiting);
        for outbound in waiting {
            outbound.nudge();
        }
    }
}
