//! What has come and is not written yet.

use std::collections::{BTreeMap, BTreeSet};

use super::log::find_raw;
use super::record::{Entry, Raw};
use crate::broker::journal::{Record, Ticket};

/// Records in the order in which they came, and who waits for them.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    pub(super) raw: Raw,
    /// Of those who wait for `raw`.
    pub(super) ticket: Option<Ticket>,
    /// Of those who wait for what is being written.
    pub(super) under_way: Option<Ticket>,
    /// Octets that are being written, or could not be and wait to be tried again.
    pub(super) octets_under_way: usize,
    /// What could not be written is tried again with what has come since.
    pub(super) stuck: bool,
    /// Nothing is taken any more.
    pub(super) closed: bool,
    /// Messages that were asked for: a queue and numbers in it.
    pub(super) fetches: Vec<(u64, Vec<u64>)>,
    batches: BTreeMap<u64, Batch>,
    /// Batches that go with another one.
    joined: BTreeMap<u64, u64>,
}

/// Records that count together. They are kept back until all are there, and stand in the log as one group: whatever
/// is damaged, moved or removed later, no half of one is ever taken for the whole.
#[derive(Debug, Default)]
struct Batch {
    raw: Raw,
    /// Messages that exist only with it. What happens to them meanwhile belongs to it too, or the log would have it
    /// before the message itself.
    messages: BTreeSet<(u64, u64)>,
}

impl Inbox {
    pub(super) fn write(&mut self, record: Record<'_>, batch: Option<u64>) {
        match record {
            Record::Declare { queue, name, terms } => {
                // Twice: what is lost with one damaged octet must not be a whole queue.
                self.raw.declare(queue, 0, 0, name, terms);
                self.raw.declare(queue, 0, 0, name, terms);
            }
            Record::Append {
                queue,
                seq,
                attempts,
                message,
            } => {
                let batch = batch.map(|batch| self.home(batch));
                if let Some(batch) = batch.and_then(|batch| self.batches.get_mut(&batch)) {
                    batch.messages.insert((queue, seq));
                }
                self.raw_of(batch).append_message(queue, seq, attempts, message);
            }
            Record::Attempts {
                queue,
                seq,
                attempts,
                due,
            } => {
                let batch = self.batch_for(queue, seq, batch);
                self.raw_of(batch).attempts(queue, seq, attempts, due);
            }
            Record::Settle { queue, seq } => {
                let batch = self.batch_for(queue, seq, batch);
                self.raw_of(batch).settle(queue, seq);
            }
            Record::Mark { queue, below } => self.raw.mark(queue, below),
            Record::Remove { queue } => {
                for batch in self.batches.values_mut() {
                    batch.forget(queue);
                }
                self.raw.remove(queue);
            }
        }
    }

    /// Ends a batch: its records come now.
    pub(super) fn seal(&mut self, batch: u64) {
        // One that goes with another comes when that one does.
        if self.joined.remove(&batch).is_some() {
            return;
        }
        if let Some(Batch { raw, .. }) = self.batches.remove(&batch) {
            self.joined.retain(|_, with| *with != batch);
            self.raw.append_group(&raw);
        }
    }

    /// Octets of all records that are not written yet.
    pub(super) fn octets(&self) -> usize {
        let batches: usize = self.batches.values().map(|batch| batch.raw.len()).sum();
        self.raw.len() + self.octets_under_way + batches
    }

    /// A promise for everything written so far.
    pub(super) fn promise(&mut self) -> Option<Ticket> {
        if self.closed {
            let broken = Ticket::default();
            broken.resolve(false);
            return Some(broken);
        }
        if self.raw.is_empty() && !self.stuck {
            return self.under_way.clone();
        }
        Some(self.ticket.get_or_insert_default().clone())
    }

    /// The stored octets of a message that is not written yet.
    pub(super) fn find(&self, queue: u64, seq: u64) -> Option<Vec<u8>> {
        let mut batches = self
            .batches
            .values()
            .filter(|batch| batch.messages.contains(&(queue, seq)));
        batches
            .find_map(|batch| find_raw(batch.raw.octets(), queue, seq))
            .or_else(|| find_raw(self.raw.octets(), queue, seq))
    }

    /// The batch that `batch` goes with, or itself, which is there from now on.
    fn home(&mut self, batch: u64) -> u64 {
        let home = self.joined.get(&batch).copied().unwrap_or(batch);
        self.batches.entry(home).or_default();
        home
    }

    /// The batch to which a record about a message belongs: the one that is to bring the message, before its own.
    fn batch_for(&mut self, queue: u64, seq: u64, batch: Option<u64>) -> Option<u64> {
        let own = batch.map(|batch| self.home(batch));
        if self.batches.is_empty() {
            return own;
        }
        let brings = |(_, batch): &(&u64, &Batch)| batch.messages.contains(&(queue, seq));
        let Some(bringing) = self.batches.iter().find(brings).map(|(number, _)| *number) else {
            return own;
        };
        if let Some(own) = own.filter(|own| *own != bringing) {
            self.join(own, bringing);
        }
        Some(bringing)
    }

    /// Has one batch go with another: they depend on each other.
    fn join(&mut self, batch: u64, with: u64) {
        let Some(Batch { raw, messages }) = self.batches.remove(&batch) else {
            return;
        };
        if let Some(home) = self.batches.get_mut(&with) {
            home.raw.append(&raw);
            home.messages.extend(messages);
        }
        for home in self.joined.values_mut().filter(|home| **home == batch) {
            *home = with;
        }
        self.joined.insert(batch, with);
    }

    fn raw_of(&mut self, batch: Option<u64>) -> &mut Raw {
        match batch.and_then(|batch| self.batches.get_mut(&batch)) {
            Some(batch) => &mut batch.raw,
            None => &mut self.raw,
        }
    }
}

impl Batch {
    /// A queue was removed: nothing may come to it after that.
    fn forget(&mut self, queue: u64) {
        if self.raw.is_empty() {
            return;
        }
        self.messages.retain(|(its_queue, _)| *its_queue != queue);
        self.raw.retain(|entry: &Entry<'_>| entry.queue() != queue);
    }
}
