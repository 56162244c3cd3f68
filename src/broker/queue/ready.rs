//! Messages of a queue that wait for a consumer, by priority and age.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use crate::broker::message::Message;

/// A message in a queue.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its number in the queue: its place, wherever it goes meanwhile.
    pub seq: u64,
    /// The message.
    pub message: Arc<Message>,
    /// Deliveries that were written and not settled.
    pub attempts: u32,
}

/// Highest priority first, oldest first among equals. A message that comes back finds its old place.
#[derive(Debug, Default)]
pub struct Ready {
    /// By 9 - priority, so that the first is the highest.
    levels: BTreeMap<u8, Level>,
    length: usize,
    /// Those with an end, by it.
    expiring: BTreeSet<(u64, u8, u64)>,
}

#[derive(Debug, Default)]
struct Level {
    /// Came back from a consumer: all of them older than `fresh`.
    returned: BTreeMap<u64, Entry>,
    /// Never given to anyone, in order. One that expired leaves an empty place.
    fresh: VecDeque<(u64, Option<Arc<Message>>)>,
}

impl Ready {
    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// When the first of them expires, in milliseconds since 1970.
    pub fn next_expiry(&self) -> Option<u64> {
        self.expiring.first().map(|(at, _, _)| *at)
    }

    /// Adds a new message; `seq` is higher than any before.
    pub fn push(&mut self, seq: u64, message: Arc<Message>) {
        let level = level(&message);
        self.expect(&message, level, seq);
        self.levels
            .entry(level)
            .or_default()
            .fresh
            .push_back((seq, Some(message)));
        self.length += 1;
    }

    /// Puts a message back to its place.
    pub fn put_back(&mut self, entry: Entry) {
        let level = level(&entry.message);
        self.expect(&entry.message, level, entry.seq);
        self.levels.entry(level).or_default().returned.insert(entry.seq, entry);
        self.length += 1;
    }

    /// Takes the next message.
    pub fn pop(&mut self) -> Option<Entry> {
        loop {
            let mut first = self.levels.first_entry()?;
            let number = *first.key();
            let level = first.get_mut();
            let Some(entry) = level.pop() else {
                first.remove();
                continue;
            };
            self.length -= 1;
            if let Some(at) = entry.message.properties().expires {
                self.expiring.remove(&(at, number, entry.seq));
            }
            return Some(entry);
        }
    }

    /// Takes the oldest message of the lowest priority: the one that gives way.
    pub fn pop_least(&mut self) -> Option<Entry> {
        loop {
            let mut last = self.levels.last_entry()?;
            let number = *last.key();
            let Some(entry) = last.get_mut().pop() else {
                last.remove();
                continue;
            };
            self.length -= 1;
            if let Some(at) = entry.message.properties().expires {
                self.expiring.remove(&(at, number, entry.seq));
            }
            return Some(entry);
        }
    }

    /// Takes a message that has expired at `unix_ms`.
    pub fn pop_expired(&mut self, unix_ms: u64) -> Option<Entry> {
        let (at, number, seq) = *self.expiring.first()?;
        if at > unix_ms {
            return None;
        }
        self.expiring.pop_first();
        let level = self.levels.get_mut(&number)?;
        let entry = level.remove(seq)?;
        self.length -= 1;
        if level.returned.is_empty() && level.fresh.is_empty() {
            self.levels.remove(&number);
        }
        Some(entry)
    }

    fn expect(&mut self, message: &Message, level: u8, seq: u64) {
        if let Some(at) = message.properties().expires {
            self.expiring.insert((at, level, seq));
        }
    }
}

fn level(message: &Message) -> u8 {
    9_u8.saturating_sub(message.properties().priority)
}

impl Level {
    fn pop(&mut self) -> Option<Entry> {
        if let Some((_, entry)) = self.returned.pop_first() {
            return Some(entry);
        }
        while let Some((seq, place)) = self.fresh.pop_front() {
            if let Some(message) = place {
                return Some(Entry {
                    seq,
                    message,
                    attempts: 0,
                });
            }
        }
        None
    }

    fn remove(&mut self, seq: u64) -> Option<Entry> {
        if let Some(entry) = self.returned.remove(&seq) {
            return Some(entry);
        }
        let at = self.fresh.partition_point(|(s, _)| *s < seq);
        let message = self.fresh.get_mut(at).filter(|(s, _)| *s == seq)?.1.take()?;
        while self.fresh.front().is_some_and(|(_, place)| place.is_none()) {
            self.fresh.pop_front();
        }
        Some(Entry {
            seq,
            message,
            attempts: 0,
        })
    }
}
