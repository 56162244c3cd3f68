//! Where everything that counts lies: what the records of the log come to.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use super::record::Entry;
use super::shelf::Shelf;
use crate::broker::journal::Stub;

/// Where a record is. Small: there is one for every message on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) segment: NonZeroU32,
    pub(super) offset: u32,
    /// Octets of the whole record.
    pub(super) length: u32,
    pub(super) attempts: u32,
}

/// A queue that is kept.
#[derive(Debug, Default)]
pub(super) struct Kept {
    pub(super) name: String,
    pub(super) terms: Vec<u8>,
    pub(super) below: u64,
    pub(super) next_seq: u64,
    /// Its declaration. It may come behind messages of the queue: it is written again when it was in the first
    /// segment.
    home: Option<Slot>,
    pub(super) entries: Shelf<Slot>,
    /// Messages that were given back with a date, which is not in their records: before it they are not delivered again.
    dues: BTreeMap<u64, u64>,
}

impl Kept {
    fn tried(&mut self, seq: u64, attempts: u32, due: Option<u64>) {
        let Some(slot) = self.entries.get_mut(seq) else { return };
        slot.attempts = attempts;
        if let Some(due) = due {
            self.dues.insert(seq, due);
        }
    }

    /// What is known of a message now, of which its record says `written`.
    pub(super) fn stub(&self, seq: u64, written: Stub) -> Stub {
        Stub {
            due: self.dues.get(&seq).copied().or(written.due),
            ..written
        }
    }
}

/// What a record did to the messages of a queue; who keeps more of them than their places follows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// One came in, or has another place.
    In(u64, u64),
    /// One went.
    Out(u64, u64),
    /// All went.
    AllOut(u64),
    /// A hand-out mark.
    Marked(u64, u64),
    None,
}

#[derive(Debug, Default)]
pub(super) struct Index {
    pub(super) queues: BTreeMap<u64, Kept>,
    /// Octets of records that count, by segment.
    live: BTreeMap<u32, u64>,
    live_total: u64,
    /// Higher than the number of any queue that was named.
    pub(super) next_queue: u64,
}

impl Index {
    /// Octets of records in `segment` that count.
    pub(super) fn live_in(&self, segment: u32) -> u64 {
        self.live.get(&segment).copied().unwrap_or_default()
    }

    /// Octets of all records that count.
    pub(super) fn live(&self) -> u64 {
        self.live_total
    }

    pub(super) fn slot(&self, queue: u64, seq: u64) -> Option<&Slot> {
        self.queues.get(&queue)?.entries.get(seq)
    }

    /// Whether the record at this place is one that counts.
    pub(super) fn is_live(&self, entry: &Entry<'_>, segment: u32, offset: u64) -> bool {
        let here = |slot: &Slot| slot.segment.get() == segment && u64::from(slot.offset) == offset;
        match *entry {
            Entry::Append { queue, seq, .. } => self.slot(queue, seq).is_some_and(here),
            Entry::Declare { queue, .. } => self
                .queues
                .get(&queue)
                .is_some_and(|kept| kept.home.as_ref().is_some_and(here)),
            _ => false,
        }
    }

    /// Takes a record that lies at `offset` of `segment`.
    pub(super) fn apply(&mut self, entry: &Entry<'_>, segment: NonZeroU32, offset: u64, length: u64) -> Change {
        self.next_queue = self.next_queue.max(entry.queue().saturating_add(1));
        let slot = |attempts| Slot {
            segment,
            // Segments are kept far below 4 GiB.
            offset: offset as u32,
            length: length as u32,
            attempts,
        };
        match *entry {
            Entry::Declare {
                queue,
                below,
                next_seq,
                name,
                terms,
            } => {
                self.declare(queue, below, next_seq, name, terms, slot(0));
                Change::None
            }
            Entry::Append {
                queue, seq, attempts, ..
            } => {
                let slot = slot(attempts);
                let kept = self.queues.entry(queue).or_default();
                kept.next_seq = kept.next_seq.max(seq.saturating_add(1));
                let before = kept.entries.insert(seq, slot);
                // As it is written again it says so itself.
                kept.dues.remove(&seq);
                self.count(slot);
                self.discount(before);
                Change::In(queue, seq)
            }
            Entry::Attempts {
                queue,
                seq,
                attempts,
                due,
            } => {
                if let Some(kept) = self.queues.get_mut(&queue) {
                    kept.tried(seq, attempts, due);
                }
                Change::None
            }
            Entry::Settle { queue, seq } => {
                let Some(kept) = self.queues.get_mut(&queue) else {
                    return Change::Out(queue, seq);
                };
                kept.next_seq = kept.next_seq.max(seq.saturating_add(1));
                let before = kept.entries.remove(seq);
                kept.dues.remove(&seq);
                self.discount(before);
                Change::Out(queue, seq)
            }
            Entry::Mark { queue, below } => {
                if let Some(kept) = self.queues.get_mut(&queue) {
                    kept.below = below;
                }
                Change::Marked(queue, below)
            }
            Entry::Remove { queue } => {
                if let Some(kept) = self.queues.remove(&queue) {
                    self.discount(kept.home);
                    for (_, slot) in kept.entries.iter() {
                        self.discount(Some(*slot));
                    }
                }
                Change::AllOut(queue)
            }
        }
    }

    fn declare(&mut self, queue: u64, below: u64, next_seq: u64, name: &str, terms: &[u8], home: Slot) {
        self.count(home);
        let kept = self.queues.entry(queue).or_default();
        name.clone_into(&mut kept.name);
        terms.clone_into(&mut kept.terms);
        // As the broker writes it, it says nothing of these.
        if next_seq > 0 {
            kept.below = below;
            kept.next_seq = kept.next_seq.max(next_seq);
        }
        let before = kept.home.replace(home);
        self.discount(before);
    }

    /// Forgets queues of which there are messages and no declaration; where the messages are.
    pub(super) fn forget_nameless(&mut self) -> BTreeMap<u64, Vec<Slot>> {
        let nameless = |(queue, kept): (&u64, &Kept)| kept.home.is_none().then_some(*queue);
        let queues: Vec<u64> = self.queues.iter().filter_map(nameless).collect();
        let mut forgotten = BTreeMap::new();
        for queue in queues {
            let kept = self.queues.remove(&queue).unwrap_or_default();
            let slots: Vec<Slot> = kept.entries.iter().map(|(_, slot)| *slot).collect();
            slots.iter().for_each(|slot| self.discount(Some(*slot)));
            forgotten.insert(queue, slots);
        }
        forgotten
    }

    /// Forgets a message if its record is at this place. Whether it was.
    pub(super) fn forget_at(&mut self, queue: u64, seq: u64, segment: NonZeroU32, offset: u64) -> bool {
        let here = |slot: &&Slot| slot.segment == segment && u64::from(slot.offset) == offset;
        let there = self.slot(queue, seq).filter(here).is_some();
        let kept = self.queues.get_mut(&queue).filter(|_| there);
        let slot = kept.and_then(|kept| {
            kept.dues.remove(&seq);
            kept.entries.remove(seq)
        });
        self.discount(slot);
        there
    }

    /// Forgets what is in `segment`: it cannot be read. Which messages those are.
    pub(super) fn forget(&mut self, segment: u32) -> Vec<(u64, u64)> {
        let mut lost = Vec::new();
        let mut freed = Vec::new();
        for (queue, kept) in &mut self.queues {
            let gone: Vec<u64> = kept
                .entries
                .iter()
                .filter(|(_, slot)| slot.segment.get() == segment)
                .map(|(seq, _)| seq)
                .collect();
            for seq in gone {
                kept.dues.remove(&seq);
                freed.push(kept.entries.remove(seq));
                lost.push((*queue, seq));
            }
        }
        freed.into_iter().for_each(|slot| self.discount(slot));
        lost
    }

    /// Queues whose declaration is in `segment`.
    pub(super) fn at_home_in(&self, segment: u32) -> Vec<u64> {
        let here = |(queue, kept): (&u64, &Kept)| {
            kept.home
                .is_some_and(|home| home.segment.get() == segment)
                .then_some(*queue)
        };
        self.queues.iter().filter_map(here).collect()
    }

    fn count(&mut self, slot: Slot) {
        *self.live.entry(slot.segment.get()).or_default() += u64::from(slot.length);
        self.live_total += u64::from(slot.length);
    }

    fn discount(&mut self, slot: Option<Slot>) {
        let Some(slot) = slot else { return };
        self.live_total -= u64::from(slot.length);
        let segment = slot.segment.get();
        if let Some(octets) = self.live.get_mut(&segment) {
            *octets -= u64::from(slot.length);
            if *octets == 0 {
                self.live.remove(&segment);
            }
        }
    }
}

// One for every message on disk.
const _: () = assert!(std::mem::size_of::<(u64, Option<Slot>)>() == 24);
