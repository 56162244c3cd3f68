//! What has come and is not written yet.

use std::collections::{BTreeMap, BTreeSet};

use super::log::find_raw;
use super::record::{Entry, Raw};
use crate::broker::journal::{Record, Ticket};

/// Records in the order in which they came, and who waits for them.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    pub(super) raw: Raw,
    /// To those who wait for `raw`.
    promises: Promises,
    /// To those who wait for what is being written.
    under_way: Option<Promises>,
    /// Patient ones of rounds that failed, until what those were to write is on disk.
    open: Vec<Ticket>,
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

/// What is promised of the records of a round.
#[derive(Clone, Debug, Default)]
pub(super) struct Promises {
    /// Broken as soon as the round fails.
    pub(super) prompt: Ticket,
    /// Kept when the records are on disk, however long that takes.
    pub(super) patient: Ticket,
}

impl Promises {
    fn ticket(&self, patient: bool) -> Ticket {
        match patient {
            true => self.patient.clone(),
            false => self.prompt.clone(),
        }
    }
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
    pub(super) fn promise(&mut self, patient: bool) -> Option<Ticket> {
        if self.closed {
            let broken = Ticket::default();
            broken.resolve(false);
            return Some(broken);
        }
        if self.raw.is_empty() && !self.stuck {
            return self.under_way.as_ref().map(|promises| promises.ticket(patient));
        }
        Some(self.promises.ticket(patient))
    }

    /// Hands over what has come, behind what `raw` still holds; what was promised of it.
    pub(super) fn gather(&mut self, raw: &mut Raw) -> Promises {
        if raw.is_empty() {
            std::mem::swap(raw, &mut self.raw);
        } else {
            raw.append(&self.raw);
            self.raw.clear();
        }
        self.octets_under_way = raw.len();
        let promises = std::mem::take(&mut self.promises);
        // Also if nobody has asked yet: who has written something may ask only now.
        self.under_way = (!raw.is_empty()).then(|| promises.clone());
        promises
    }

    /// A round has ended; `left` is what could not be written, and `settled` says that nothing of it is what patient ones
    /// wait for. The tickets that are kept: to be told when nothing is locked.
    pub(super) fn ended(&mut self, promises: Promises, left: &Raw, settled: bool) -> Vec<Ticket> {
        self.under_way = None;
        self.stuck = !left.is_empty();
        self.octets_under_way = left.len();
        self.open.push(promises.patient);
        match settled {
            true => std::mem::take(&mut self.open),
            false => Vec::new(),
        }
    }

    /// Nothing is taken any more. The tickets that are broken: to be told when nothing is locked.
    pub(super) fn close(&mut self) -> Vec<Ticket> {
        self.closed = true;
        let mut broken = std::mem::take(&mut self.open);
        for promises in [self.under_way.take(), Some(std::mem::take(&mut self.promises))] {
            broken.extend(
                promises
                    .into_iter()
                    .flat_map(|promises| [promises.prompt, promises.patient]),
            );
        }
        broken
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_while_what_he_wrote_is_being_written_waits_for_it() {
        let (mut inbox, mut raw) = (Inbox::default(), Raw::default());
        inbox.write(Record::Settle { queue: 1, seq: 1 }, None);
        // The writer takes it before anybody has asked.
        let promises = inbox.gather(&mut raw);
        for patient in [false, true] {
            let ticket = inbox.promise(patient).expect("it is not on disk yet");
            assert_eq!(ticket.outcome(), None);
        }
        raw.clear();
        assert_eq!(inbox.ended(promises, &raw, true).len(), 1);
        assert!(inbox.promise(false).is_none() && inbox.promise(true).is_none());
    }
}
