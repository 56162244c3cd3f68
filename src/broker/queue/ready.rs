//! Messages of a queue that wait for a consumer, by priority and age.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::level::{Level, Place, Returned};
use crate::broker::journal::Stub;
use crate::broker::message::{Gauge, Message};

#[cfg(test)]
mod tests;

/// What a message whose octets are on disk costs in memory: its place here, and the journal's note of where it lies.
pub const STUB_OCTETS: usize = 100;

/// Places that are looked at for what may be asked for together.
const AHEAD: usize = 4_096;

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

impl Entry {
    /// A message that nobody was given yet.
    pub fn new(seq: u64, message: &Arc<Message>) -> Entry {
        Entry {
            seq,
            message: Arc::clone(message),
            attempts: 0,
        }
    }
}

/// What is left to say of a message that leaves its queue, whether its octets are in memory or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone {
    /// Its number in the queue.
    pub seq: u64,
    /// Octets it counted for.
    pub size: usize,
    /// The journal knows of it.
    pub persistent: bool,
}

impl From<&Entry> for Gone {
    fn from(entry: &Entry) -> Self {
        Gone {
            seq: entry.seq,
            size: entry.message.size(),
            persistent: entry.message.properties().persistent,
        }
    }
}

/// A message that leaves its queue, as far as it is in memory.
#[derive(Debug)]
pub enum Left {
    /// All of it.
    Here(Entry),
    /// Its octets are on disk only.
    Away {
        /// Its number in the queue.
        seq: u64,
        /// What is known of it.
        stub: Stub,
        /// Deliveries that were written and not settled.
        attempts: u32,
    },
}

impl From<&Left> for Gone {
    fn from(left: &Left) -> Self {
        match left {
            Left::Here(entry) => Gone::from(entry),
            Left::Away { seq, stub, .. } => Gone {
                seq: *seq,
                size: stub.size as usize,
                persistent: true,
            },
        }
    }
}

/// What is known of the message that comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Its number in the queue.
    pub seq: u64,
    /// The journal knows of it.
    pub persistent: bool,
    /// Its octets are in memory.
    pub here: bool,
}

/// A place in the queue's order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    level: u8,
    /// The message's number.
    pub seq: u64,
}

impl Key {
    /// Before all messages.
    pub const MIN: Key = Key { level: 0, seq: 0 };

    /// The place behind it.
    pub fn next(self) -> Key {
        Key {
            seq: self.seq + 1,
            ..self
        }
    }
}

/// What there is to see of a message that waits.
#[derive(Debug)]
pub enum Glance {
    /// All of it.
    Here(Arc<Message>),
    /// Its octets are on disk, or on their way.
    Away,
}

/// Highest priority first, oldest first among equals. A message that comes back finds its old place. Those whose
/// octets are on disk keep their places too: nobody overtakes them.
#[derive(Debug, Default)]
pub struct Ready {
    /// By 9 - priority, so that the first is the highest.
    levels: BTreeMap<u8, Level>,
    length: usize,
    /// Those with an end, by it.
    expiring: BTreeSet<(u64, u8, u64)>,
    /// Octets of persistent messages that are here and could be on disk only.
    resident: usize,
    /// Messages whose octets are on disk only.
    away: Away,
    /// Those of them that were asked for: level, and what is known.
    fetching: BTreeMap<u64, (u8, Stub)>,
    fetching_octets: usize,
    /// The first place where a message was put since somebody asked.
    news: Option<Key>,
    /// Of persistent messages before it none is here.
    unloaded: Option<Key>,
}

/// Messages whose octets are on disk only, and the gauge that holds what their stubs cost.
#[derive(Debug, Default)]
struct Away {
    messages: usize,
    gauge: Arc<Gauge>,
}

impl Ready {
    /// Nothing; stubs will be counted in `gauge`.
    pub fn new(gauge: Arc<Gauge>) -> Ready {
        Ready {
            away: Away { messages: 0, gauge },
            ..Ready::default()
        }
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// When the first of them expires, in milliseconds since 1970.
    pub fn next_expiry(&self) -> Option<u64> {
        self.expiring.first().map(|(at, _, _)| *at)
    }

    /// Octets of persistent messages that are here, and of those that were asked for.
    pub fn resident(&self) -> usize {
        self.resident + self.fetching_octets
    }

    /// Whether some messages on disk were not asked for yet.
    pub fn has_more_on_disk(&self) -> bool {
        self.away.messages > self.fetching.len()
    }

    /// Whether older messages of the priority are on disk only.
    pub fn is_behind(&self, priority: u8) -> bool {
        self.away.messages > 0 && self.levels.get(&level_of(priority)).is_some_and(|level| level.away > 0)
    }

    /// Adds a new message; `seq` is higher than any before.
    pub fn push(&mut self, seq: u64, message: Arc<Message>) {
        if message.properties().persistent {
            self.resident += message.size();
        }
        let level = level_of(message.properties().priority);
        self.add(seq, level, Place::Here(message));
    }

    /// Adds a message of which only so much is kept in memory; `seq` is higher than any before.
    pub fn push_stub(&mut self, seq: u64, stub: Stub) {
        let level = level_of(stub.priority);
        self.count_away(level);
        self.add(seq, level, Place::stub(stub));
    }

    fn add(&mut self, seq: u64, number: u8, place: Place) {
        if let Some(at) = place.expires() {
            self.expiring.insert((at, number, seq));
        }
        self.note(seq, number);
        let level = self.levels.entry(number).or_default();
        level.fresh.push_back((seq, Some(place)));
        self.length += 1;
    }

    /// Puts a message back to its place.
    pub fn put_back(&mut self, entry: Entry) {
        let Entry { seq, message, attempts } = entry;
        if message.properties().persistent {
            self.resident += message.size();
        }
        let level = level_of(message.properties().priority);
        self.add_returned(seq, level, Place::Here(message), attempts);
    }

    /// Puts a message that was tried to its place, of which only so much is kept in memory.
    pub fn put_back_stub(&mut self, seq: u64, stub: Stub, attempts: u32) {
        let level = level_of(stub.priority);
        self.count_away(level);
        if let Some(level) = self.levels.get_mut(&level) {
            level.asked = level.asked.min(seq);
        }
        self.add_returned(seq, level, Place::stub(stub), attempts);
    }

    fn add_returned(&mut self, seq: u64, number: u8, place: Place, attempts: u32) {
        if let Some(at) = place.expires() {
            self.expiring.insert((at, number, seq));
        }
        self.note(seq, number);
        let level = self.levels.entry(number).or_default();
        level.returned.insert(seq, Returned { place, attempts });
        self.length += 1;
    }

    /// Notes where a message was put.
    fn note(&mut self, seq: u64, level: u8) {
        let key = Key { level, seq };
        self.news = Some(self.news.map_or(key, |known| known.min(key)));
        self.unloaded = self.unloaded.map(|known| known.min(key));
    }

    /// The first place where a message was put since the last time.
    pub fn take_news(&mut self) -> Option<Key> {
        self.news.take()
    }

    /// The first message at `place` or behind it.
    pub fn next_from(&self, place: Key) -> Option<(Key, Glance)> {
        self.levels.range(place.level..).find_map(|(number, level)| {
            let from = if *number == place.level { place.seq } else { 0 };
            let (seq, place) = level.next_from(from)?;
            let glance = match place {
                Place::Here(message) => Glance::Here(Arc::clone(message)),
                Place::Away(_) | Place::Dated(_) => Glance::Away,
            };
            Some((Key { level: *number, seq }, glance))
        })
    }

    /// Takes a message from wherever it is; `None` if it is not there, or if its octets are not.
    pub fn take(&mut self, key: Key) -> Option<Entry> {
        let is_here = |level: &mut Level| level.place(key.seq).is_some_and(|place| place.is_here());
        if !self.levels.get_mut(&key.level).is_some_and(is_here) {
            return None;
        }
        match self.remove(key.seq, key.level)? {
            Left::Here(entry) => Some(entry),
            Left::Away { .. } => None,
        }
    }

    /// How often a message was tried.
    pub fn attempts(&self, key: Key) -> u32 {
        let level = self.levels.get(&key.level);
        level
            .and_then(|level| level.returned.get(&key.seq))
            .map_or(0, |back| back.attempts)
    }

    /// Lets go of the octets of persistent messages before `place`: they are on disk too.
    pub fn unload(&mut self, place: Key) {
        let mut from = self.unloaded.unwrap_or(Key::MIN);
        while let Some((key, glance)) = self.next_from(from).filter(|(key, _)| *key < place) {
            from = key.next();
            let Glance::Here(message) = glance else { continue };
            if !message.properties().persistent {
                continue;
            }
            if let Some(level) = self.levels.get_mut(&key.level) {
                level.asked = level.asked.min(key.seq);
                if let Some(kept) = level.place(key.seq) {
                    *kept = Place::stub(message.stub());
                    self.resident -= message.size();
                    self.count_away(key.level);
                }
            }
        }
        self.unloaded = Some(self.unloaded.map_or(place, |known| known.max(place)));
    }

    /// Chooses messages on disk to be asked for, from `place` on, up to `octets` of them and at least one. Those that
    /// are on their way count.
    pub fn wanted_from(&mut self, place: Key, octets: usize) -> Vec<u64> {
        let mut wanted = Vec::new();
        let (mut chosen, mut looks) = (0, 0);
        for (number, level) in self.levels.range(place.level..) {
            let mut from = if *number == place.level { place.seq } else { 0 };
            while let Some((seq, place)) = level.next_from(from) {
                if chosen >= octets.max(1) || looks > AHEAD {
                    return wanted;
                }
                looks += 1;
                from = seq + 1;
                let Some(stub) = place.to_stub(*number) else { continue };
                chosen += stub.size as usize;
                if self.fetching.insert(seq, (*number, stub)).is_none() {
                    self.fetching_octets += stub.size as usize;
                    wanted.push(seq);
                }
            }
        }
        wanted
    }

    /// What comes next.
    pub fn head(&mut self) -> Option<Head> {
        let (seq, place) = self.settled_head()?;
        Some(Head {
            seq,
            persistent: place.is_persistent(),
            here: place.is_here(),
        })
    }

    /// The head, levels that have become empty removed.
    fn settled_head(&mut self) -> Option<(u64, &Place)> {
        while self.levels.first_entry()?.get_mut().front().is_none() {
            self.levels.pop_first();
        }
        self.levels.first_entry()?.into_mut().front()
    }

    /// Takes the next message; `None` if there is none, or if its octets are not here.
    pub fn pop(&mut self) -> Option<Entry> {
        loop {
            let mut first = self.levels.first_entry()?;
            let number = *first.key();
            let Some(next) = first.get_mut().pop_here() else {
                first.remove();
                continue;
            };
            let (seq, message, attempts) = next?;
            self.length -= 1;
            if message.properties().persistent {
                self.resident -= message.size();
            }
            if let Some(at) = message.properties().expires {
                self.expiring.remove(&(at, number, seq));
            }
            return Some(Entry { seq, message, attempts });
        }
    }

    /// Takes the oldest message of the lowest priority: the one that gives way.
    pub fn pop_least(&mut self) -> Option<Left> {
        loop {
            let mut last = self.levels.last_entry()?;
            let number = *last.key();
            let Some((seq, place, attempts)) = last.get_mut().pop() else {
                last.remove();
                continue;
            };
            return Some(self.let_go(seq, number, place, attempts));
        }
    }

    /// Takes a message that has expired at `unix_ms`.
    pub fn pop_expired(&mut self, unix_ms: u64) -> Option<Left> {
        let (at, number, seq) = *self.expiring.first()?;
        if at > unix_ms {
            return None;
        }
        self.remove(seq, number)
    }

    /// Takes a message that was asked for and cannot be read.
    pub fn lose(&mut self, seq: u64) -> Option<Left> {
        let (number, _) = self.fetching.get(&seq)?;
        self.remove(seq, *number)
    }

    fn remove(&mut self, seq: u64, number: u8) -> Option<Left> {
        let level = self.levels.get_mut(&number)?;
        let (place, attempts) = level.remove(seq)?;
        if level.front().is_none() {
            self.levels.remove(&number);
        }
        Some(self.let_go(seq, number, place, attempts))
    }

    fn let_go(&mut self, seq: u64, number: u8, place: Place, attempts: u32) -> Left {
        self.length -= 1;
        if let Some(at) = place.expires() {
            self.expiring.remove(&(at, number, seq));
        }
        if let Some(stub) = place.to_stub(number) {
            self.count_back(number);
            self.stop_fetching(seq);
            return Left::Away { seq, stub, attempts };
        }
        if place.is_persistent() {
            self.resident -= place.size();
        }
        match place {
            Place::Here(message) => Left::Here(Entry { seq, message, attempts }),
            Place::Away(_) | Place::Dated(_) => Left::Away {
                seq,
                stub: Stub::default(),
                attempts,
            },
        }
    }

    /// Chooses messages on disk to be asked for, those first that come first, up to `octets` of them and at least one.
    pub fn wanted(&mut self, octets: usize) -> Vec<u64> {
        let mut wanted = Vec::new();
        let mut chosen = 0;
        for (number, level) in &mut self.levels {
            if level.away == 0 || chosen >= octets.max(1) {
                continue;
            }
            let mut asked = level.asked;
            for (seq, place) in level.not_asked() {
                if chosen >= octets.max(1) {
                    break;
                }
                if self.fetching.contains_key(&seq) {
                    continue;
                }
                if let Some(stub) = place.to_stub(*number) {
                    chosen += stub.size as usize;
                    self.fetching.insert(seq, (*number, stub));
                    wanted.push(seq);
                    asked = seq + 1;
                }
            }
            level.asked = asked;
        }
        self.fetching_octets += chosen;
        wanted
    }

    /// What is known of a message that was asked for.
    pub fn fetched(&self, seq: u64) -> Option<Stub> {
        self.fetching.get(&seq).map(|(_, stub)| *stub)
    }

    /// Puts the octets of a message in that was asked for; false if it has left meanwhile.
    pub fn load(&mut self, seq: u64, message: Arc<Message>) -> bool {
        let Some((number, _)) = self.fetching.get(&seq).copied() else {
            return false;
        };
        let place = self.levels.get_mut(&number).and_then(|level| level.place(seq));
        let Some(place) = place else { return false };
        self.resident += message.size();
        *place = Place::Here(message);
        let key = Key { level: number, seq };
        self.unloaded = self.unloaded.map(|known| known.min(key));
        self.count_back(number);
        self.stop_fetching(seq);
        true
    }

    fn stop_fetching(&mut self, seq: u64) {
        if let Some((_, stub)) = self.fetching.remove(&seq) {
            self.fetching_octets -= stub.size as usize;
        }
    }

    fn count_away(&mut self, number: u8) {
        self.away.messages += 1;
        self.away.gauge.change(0, STUB_OCTETS);
        self.levels.entry(number).or_default().away += 1;
    }

    fn count_back(&mut self, number: u8) {
        self.away.messages -= 1;
        self.away.gauge.change(STUB_OCTETS, 0);
        if let Some(level) = self.levels.get_mut(&number) {
            level.away -= 1;
        }
    }
}

impl Drop for Away {
    fn drop(&mut self) {
        self.gauge.change(self.messages * STUB_OCTETS, 0);
    }
}

fn level_of(priority: u8) -> u8 {
    9_u8.saturating_sub(priority)
}
