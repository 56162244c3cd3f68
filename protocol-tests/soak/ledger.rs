//! What must be in the queues when everyone has gone.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Messages whose SEND, and messages whose ACK, has its RECEIPT. A message may be acknowledged before its sender has
/// read the RECEIPT, so the two are kept apart.
#[derive(Debug, Default)]
pub struct Ledger(Mutex<Entries>);

#[derive(Debug, Default)]
struct Entries {
    next: u64,
    sent: BTreeSet<u64>,
    settled: BTreeSet<u64>,
    twice: Vec<u64>,
}

impl Ledger {
    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A number for a new message.
    pub fn number(&self) -> u64 {
        let mut entries = self.lock();
        entries.next += 1;
        entries.next
    }

    pub fn sent(&self, numbers: &[u64]) {
        self.lock().sent.extend(numbers);
    }

    pub fn settled(&self, numbers: &[u64]) {
        let mut entries = self.lock();
        for number in numbers {
            if !entries.settled.insert(*number) {
                entries.twice.push(*number);
            }
        }
    }

    /// Compares with what the queues held at the end; how many that were, and how many had been sent.
    pub fn judge(&self, left: &[u64]) -> Result<(usize, usize), String> {
        let entries = self.lock();
        let wanted: BTreeSet<u64> = entries.sent.difference(&entries.settled).copied().collect();
        let found: BTreeSet<u64> = left.iter().copied().collect();
        let lost: Vec<&u64> = wanted.difference(&found).take(5).collect();
        let extra: Vec<&u64> = found.difference(&wanted).take(5).collect();
        if !lost.is_empty() || !extra.is_empty() || found.len() != left.len() || !entries.twice.is_empty() {
            return Err(format!(
                "{} messages should be left in the queues, {} were, {} of them different; lost (the first): {lost:?}; not \
                 expected: {extra:?}; settled twice: {:?}",
                wanted.len(),
                left.len(),
                found.len(),
                entries.twice
            ));
        }
        Ok((wanted.len(), entries.sent.len()))
    }
}
