//! Messages that are not to be delivered yet: sent with a delay, or refused with one. They count in the queue's limits
//! as all others do, and take their old place when their time comes.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::ready::{Entry, Left, Ready, STUB_OCTETS};
use super::state::State;
use super::{Effects, Queue};
use crate::broker::journal::Stub;
use crate::broker::message::Gauge;
use crate::broker::stats::Counters;
use crate::broker::Now;

/// What waits, by its date (milliseconds since 1970) and its number.
#[derive(Debug, Default)]
pub(super) struct Aside {
    dates: BTreeMap<(u64, u64), Waiting>,
    /// The date the agenda knows of.
    announced: Option<u64>,
    /// Holds what the stubs cost.
    gauge: Arc<Gauge>,
}

#[derive(Debug)]
enum Waiting {
    Here(Entry),
    /// Its octets are on disk, and it had so many tries.
    Away(Stub, u32),
}

impl Aside {
    /// Nothing; stubs will be counted in `gauge`.
    pub(super) fn new(gauge: Arc<Gauge>) -> Aside {
        Aside {
            dates: BTreeMap::new(),
            announced: None,
            gauge,
        }
    }

    /// Adds a message of which only so much is kept in memory.
    pub(super) fn add_stub(&mut self, due: u64, seq: u64, stub: Stub, attempts: u32) {
        self.gauge.change(0, STUB_OCTETS);
        self.dates.insert((due, seq), Waiting::Away(stub, attempts));
    }

    /// Takes the message whose time comes first, if it has come at `unix_ms`, into `ready`.
    fn release(&mut self, unix_ms: u64, ready: &mut Ready) -> bool {
        if self.dates.first_key_value().is_none_or(|((due, _), _)| *due > unix_ms) {
            return false;
        }
        match self.dates.pop_first() {
            Some((_, Waiting::Here(entry))) => ready.put_back(entry),
            Some(((_, seq), Waiting::Away(stub, attempts))) => {
                self.gauge.change(STUB_OCTETS, 0);
                ready.put_back_stub(seq, stub, attempts);
            }
            None => return false,
        }
        true
    }

    /// Takes the message whose time comes first: the one that gives way.
    pub(super) fn pop(&mut self) -> Option<Left> {
        let ((_, seq), waiting) = self.dates.pop_first()?;
        Some(match waiting {
            Waiting::Here(entry) => Left::Here(entry),
            Waiting::Away(stub, attempts) => {
                self.gauge.change(STUB_OCTETS, 0);
                Left::Away { seq, stub, attempts }
            }
        })
    }

    /// What to tell the agenda: a date that it does not know of.
    pub(super) fn news(&mut self) -> Option<u64> {
        let ((due, _), _) = self.dates.first_key_value()?;
        if self.announced.is_some_and(|known| known <= *due) {
            return None;
        }
        self.announced = Some(*due);
        self.announced
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        let stubs = self
            .dates
            .values()
            .filter(|waiting| matches!(waiting, Waiting::Away(..)));
        self.gauge.change(stubs.count() * STUB_OCTETS, 0);
    }
}

impl Queue {
    /// Has a message wait for `due`. What the journal keeps stays on disk until then.
    pub(super) fn put_aside(&self, state: &mut State, due: u64, entry: Entry) {
        if self.keeps(&entry.message) {
            let Entry { seq, message, attempts } = entry;
            state.aside.add_stub(due, seq, message.stub(), attempts);
            return;
        }
        state.aside.dates.insert((due, entry.seq), Waiting::Here(entry));
    }

    /// The time of messages that waited aside has come.
    pub fn bring_in(&self, counters: &Counters, now: Now) -> Effects {
        let mut state = self.lock();
        state.aside.announced = None;
        let State { aside, ready, .. } = &mut *state;
        while aside.release(now.unix_ms, ready) {}
        self.dispatch(&mut state, counters, now);
        self.effects(&mut state, Vec::new(), now)
    }
}
