//! Where what happens to persistent messages is written down, seen from the queues.
//!
//! Enqueue-only: a queue calls it under its own lock, so that records arrive in the order in which things
//! happened, and nothing here may wait. What has to wait for a disk holds a [`Ticket`].

use std::fmt::Debug;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::message::Message;
use super::outbound::Outbound;

/// One thing that happened to a queue that outlives the process, or to a persistent message in it. Queues are named by
/// numbers that are never used twice, so that a queue is not taken for its successor of the same name.
#[derive(Clone, Copy, Debug)]
pub enum Record<'a> {
    /// A queue is kept from now on: the first record of each.
    Declare {
        /// Its number.
        queue: u64,
        /// Its canonical name.
        name: &'a str,
        /// What else the broker needs to make it again: opaque to the journal.
        terms: &'a [u8],
    },
    /// A message entered a queue.
    Append {
        /// The queue.
        queue: u64,
        /// Its number in the queue.
        seq: u64,
        /// Deliveries that were written and not settled, in the queue that it comes from.
        attempts: u32,
        /// The message.
        message: &'a Message,
    },
    /// A delivery failed: the message is in the queue, with this many tries.
    Attempts {
        /// The queue.
        queue: u64,
        /// Its number in the queue.
        seq: u64,
        /// Deliveries that were written and not settled.
        attempts: u32,
        /// Not to be delivered again before, in milliseconds since 1970; `None` leaves an earlier date as it was: it is
        /// past.
        due: Option<u64>,
    },
    /// A message left a queue for good.
    Settle {
        /// The queue.
        queue: u64,
        /// Its number in the queue.
        seq: u64,
    },
    /// Messages below this number may be handed out: the hand-out mark, written ahead of the deliveries it allows
    /// and reported with [`Report::Marked`] when it is kept. 0 withdraws it: a clean stop leaves no doubt.
    Mark {
        /// The queue.
        queue: u64,
        /// Numbers below it.
        below: u64,
    },
    /// A queue was removed with what it held.
    Remove {
        /// The queue.
        queue: u64,
    },
}

/// What a queue knows of a message whose octets are on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stub {
    /// Octets it counts for in budgets when it is in memory.
    pub size: u32,
    /// 0 to 9.
    pub priority: u8,
    /// When it is no longer worth delivering, in milliseconds since 1970.
    pub expires: Option<u64>,
    /// Not to be delivered before, in milliseconds since 1970.
    pub due: Option<u64>,
}

/// A queue as the journal found it at the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Its number.
    pub queue: u64,
    /// Its canonical name.
    pub name: String,
    /// As they were declared.
    pub terms: Vec<u8>,
    /// The hand-out mark: messages below it may have been delivered; 0 after a clean stop.
    pub below: u64,
    /// Higher than the number of any message that ever was in it.
    pub next_seq: u64,
    /// The messages: number, tries, what is known of it; in the order of the numbers.
    pub entries: Vec<(u64, u32, Stub)>,
}

/// What the journal tells the broker, from a thread of its own.
#[derive(Debug)]
pub enum Report {
    /// A hand-out mark is kept.
    Marked {
        /// The queue.
        queue: u64,
        /// The mark.
        below: u64,
    },
    /// A message that was asked for with [`Journal::fetch`].
    Loaded {
        /// The queue.
        queue: u64,
        /// Its number in the queue.
        seq: u64,
        /// As [`Message::store`] gave them; `None` if they cannot be read any more: the message is lost, and the
        /// journal has said so in the log.
        octets: Option<Vec<u8>>,
    },
}

/// Hears what the journal has to tell. Called without any lock of the journal's held.
pub trait Listener: Send + Sync {
    /// Takes a report.
    fn report(&self, report: Report);
}

/// Keeps records. Every method returns at once and keeps the order of the calls for each queue.
pub trait Journal: Send + Sync + Debug {
    /// Whether anything outlives the process. If not, queues need not write to it and must not wait for it.
    fn is_durable(&self) -> bool;

    /// Takes a record. Records of one `batch` count together or not at all, from [`Journal::seal`] on. A message may be
    /// given out, tried and settled before its batch is sealed: [`Record::Attempts`] and [`Record::Settle`] of such a
    /// message count with that batch, whether they name it or not.
    fn write(&self, record: Record<'_>, batch: Option<u64>);

    /// Ends a batch.
    fn seal(&self, batch: u64);

    /// A promise for everything written so far; `None` if there is nothing to wait for.
    fn ticket(&self) -> Option<Ticket>;

    /// As [`Journal::ticket`], for what a consumer says of messages. While the disk is unwell it is not broken but stays
    /// open, until all of it has been written after all: nobody has to say it again, and consumers go on.
    fn patient_ticket(&self) -> Option<Ticket> {
        self.ticket()
    }

    /// Why persistent messages cannot be taken now, in words for an ERROR; `None` if they can.
    fn refuses(&self) -> Option<Arc<str>>;

    /// Octets that were taken and wait for the disk: senders wait while there are many.
    fn pending(&self) -> usize {
        0
    }

    /// Asks for messages back whose [`Record::Append`] was written and that were not settled. They come as
    /// [`Report::Loaded`], in any order.
    fn fetch(&self, queue: u64, seqs: &[u64]);

    /// Says who hears the reports.
    fn attach(&self, listener: Arc<dyn Listener>);
}

/// Keeps nothing: queues live in memory only.
#[derive(Debug, Default)]
pub struct Volatile;

impl Journal for Volatile {
    fn is_durable(&self) -> bool {
        false
    }

    fn write(&self, _record: Record<'_>, _batch: Option<u64>) {}

    fn seal(&self, _batch: u64) {}

    fn ticket(&self) -> Option<Ticket> {
        None
    }

    fn refuses(&self) -> Option<Arc<str>> {
        None
    }

    fn fetch(&self, _queue: u64, _seqs: &[u64]) {}

    fn attach(&self, _listener: Arc<dyn Listener>) {}
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
