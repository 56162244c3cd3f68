//! What a consumer has been given and has not settled.

use std::collections::{BTreeMap, VecDeque};

use smallvec::SmallVec;

use super::ready::Entry;

/// Unsettled deliveries of one consumer by tag. Tags rise by one, so that an acknowledgement finds its entry by
/// counting, in whatever order they come.
#[derive(Debug)]
pub struct Ledger {
    /// Left behind by clients that settle later deliveries and not these: kept apart, so that `held` does not grow
    /// with every delivery since.
    old: BTreeMap<u64, Held>,
    /// Tag of the first entry of `held`.
    first: u64,
    held: VecDeque<Option<Held>>,
    /// Entries that are there, those in transactions included.
    length: usize,
    /// Entries that use up credit, and their octets: those in transactions do not.
    messages: usize,
    octets: usize,
}

#[derive(Debug)]
struct Held {
    entry: Entry,
    /// Settled in a transaction that is open.
    in_transaction: bool,
}

/// Places that `Ledger::held` may have beyond four for each entry.
const SPAN_MIN: usize = 1_024;

/// Tags of one settlement.
pub type Tags = SmallVec<[u64; 2]>;

/// Why a tag cannot be settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotHeld {
    /// No delivery ever had it.
    Never,
    /// It was settled before, or is in an open transaction.
    Already,
}

impl Default for Ledger {
    fn default() -> Self {
        Ledger {
            old: BTreeMap::new(),
            first: 1,
            held: VecDeque::new(),
            length: 0,
            messages: 0,
            octets: 0,
        }
    }
}

impl Ledger {
    /// Entries that are there.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether none is there.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Messages and octets that use up credit.
    pub fn used(&self) -> (usize, usize) {
        (self.messages, self.octets)
    }

    /// The tag that the next delivery gets.
    pub fn next_tag(&self) -> u64 {
        self.first + self.held.len() as u64
    }

    /// Notes a delivery.
    pub fn add(&mut self, entry: Entry) {
        self.length += 1;
        self.messages += 1;
        self.octets += entry.message.size();
        self.held.push_back(Some(Held {
            entry,
            in_transaction: false,
        }));
        while self.held.len() > SPAN_MIN + 4 * self.length {
            if let Some(Some(held)) = self.held.pop_front() {
                self.old.insert(self.first, held);
            }
            self.first += 1;
        }
    }

    /// Tags that a settlement of `tag` means: itself, and all earlier ones if `cumulative`.
    pub fn covered(&self, tag: u64, cumulative: bool) -> Result<Tags, NotHeld> {
        if tag == 0 || tag >= self.next_tag() {
            return Err(NotHeld::Never);
        }
        let open = |tag: &u64| self.place(*tag).is_some_and(|held| !held.in_transaction);
        if !open(&tag) {
            return Err(NotHeld::Already);
        }
        if !cumulative {
            return Ok(SmallVec::from_slice(&[tag]));
        }
        let old = self.old.range(..=tag).map(|(tag, _)| *tag);
        Ok(old.chain(self.first..=tag).filter(open).collect())
    }

    /// Every tag that is there, in order.
    pub fn tags(&self) -> Vec<u64> {
        let old = self.old.keys().copied();
        let there = |tag: &u64| self.place(*tag).is_some();
        old.chain((self.first..self.next_tag()).filter(there)).collect()
    }

    /// Takes an entry out. Gives credit back, if it used any.
    pub fn take(&mut self, tag: u64) -> Option<Entry> {
        let held = match tag.checked_sub(self.first) {
            Some(index) => self.held.get_mut(index as usize)?.take()?,
            None => self.old.remove(&tag)?,
        };
        self.length -= 1;
        if !held.in_transaction {
            self.messages -= 1;
            self.octets -= held.entry.message.size();
        }
        while let Some(None) = self.held.front() {
            self.held.pop_front();
            self.first += 1;
        }
        if self.held.is_empty() && self.held.capacity() > SPAN_MIN {
            self.held = VecDeque::new();
        }
        Some(held.entry)
    }

    /// The first tag that is there.
    pub fn front(&self) -> Option<u64> {
        // What stands in front of `held` is never an empty place: `take` removes those.
        let young = (!self.held.is_empty()).then_some(self.first);
        self.old.keys().next().copied().or(young)
    }

    /// Puts an entry into a transaction: its credit is free.
    pub fn enter(&mut self, tag: u64) {
        self.switch(tag, true);
    }

    /// Takes it out again, unsettled: its credit is used, beyond the limit if need be.
    pub fn release(&mut self, tag: u64) {
        self.switch(tag, false);
    }

    fn switch(&mut self, tag: u64, into: bool) {
        let held = match tag.checked_sub(self.first) {
            Some(index) => self.held.get_mut(index as usize).and_then(Option::as_mut),
            None => self.old.get_mut(&tag),
        };
        let Some(held) = held.filter(|held| held.in_transaction != into) else {
            return;
        };
        held.in_transaction = into;
        let size = held.entry.message.size();
        if into {
            self.messages -= 1;
            self.octets -= size;
        } else {
            self.messages += 1;
            self.octets += size;
        }
    }

    fn place(&self, tag: u64) -> Option<&Held> {
        match tag.checked_sub(self.first) {
            Some(index) => self.held.get(index as usize)?.as_ref(),
            None => self.old.get(&tag),
        }
    }
}
