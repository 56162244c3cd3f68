//! Messages that leave a queue because their time is over or to make room: dropped and counted, or moved to the
//! dead-letter queue, for which their octets have to be here.

use std::collections::BTreeMap;

use super::ready::{Entry, Gone, Left};
use super::state::State;
use super::{Dead, Effects, Queue};
use crate::broker::journal::Stub;
use crate::broker::settings::WhenExpired;
use crate::broker::stats::Counters;
use crate::broker::Now;

/// Octets of expired messages that are fetched from disk at a time, to be moved.
const DOOMED_OCTETS: usize = 1 << 20;

/// Messages that are out of the queue's count and wait for their octets, to be moved to the dead-letter queue. Until
/// then the journal has them where they were.
#[derive(Debug, Default)]
pub(super) struct Doomed {
    waiting: BTreeMap<u64, (Stub, u32, Cause)>,
    octets: usize,
}

/// Why a message leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// Its time is over.
    Expired,
    /// It gives way in a full queue.
    MaxLength,
}

impl Cause {
    /// As `dead-letter-reason` has it.
    fn reason(self) -> &'static str {
        match self {
            Cause::Expired => "expired",
            Cause::MaxLength => "maxlen",
        }
    }
}

impl Doomed {
    pub(super) fn stub(&self, seq: u64) -> Option<Stub> {
        self.waiting.get(&seq).map(|(stub, ..)| *stub)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    fn is_full(&self) -> bool {
        self.octets >= DOOMED_OCTETS
    }

    fn take(&mut self, seq: u64) -> Option<(u32, Cause)> {
        let (stub, attempts, cause) = self.waiting.remove(&seq)?;
        self.octets -= stub.size as usize;
        Some((attempts, cause))
    }
}

impl Queue {
    /// A message leaves the queue unconsumed.
    pub(super) fn perish(&self, state: &mut State, left: Left, cause: Cause, batch: Option<u64>, counters: &Counters) {
        let moves = match cause {
            Cause::Expired => self.policy.expired == WhenExpired::DeadLetter,
            // As RabbitMQ has it: where a client named the dead-letter queue.
            Cause::MaxLength => self.options.dead_letter.is_some(),
        };
        if !moves {
            self.remove(state, Gone::from(&left), batch);
            match cause {
                Cause::Expired => counters.dropped_expired.one(),
                Cause::MaxLength => counters.dropped_queue_full.one(),
            }
            return;
        }
        self.uncount(state, Gone::from(&left));
        match left {
            Left::Here(entry) => state.dead.push(Dead {
                entry,
                reason: cause.reason(),
            }),
            Left::Away { seq, stub, attempts } => {
                state.doomed.octets += stub.size as usize;
                state.doomed.waiting.insert(seq, (stub, attempts, cause));
                self.commons.journal.fetch(self.number, &[seq]);
            }
        }
    }

    /// The octets of a message that has left have come; gives it back if it is none of those.
    pub(super) fn bring_dead(&self, state: &mut State, entry: Entry, counters: &Counters, now: Now) -> Option<Entry> {
        let Some((attempts, cause)) = state.doomed.take(entry.seq) else {
            return Some(entry);
        };
        state.dead.push(Dead {
            entry: Entry { attempts, ..entry },
            reason: cause.reason(),
        });
        self.expire_all(state, counters, now);
        None
    }

    /// The octets of a message that has left cannot be read any more; whether it was one of those.
    pub(super) fn lose_dead(&self, state: &mut State, seq: u64, counters: &Counters) -> bool {
        let known = state.doomed.take(seq).is_some();
        if known {
            state.recorded = true;
            self.settle_dead(seq, None);
            counters.lost.one();
        }
        known
    }

    /// Removes what has expired.
    pub fn expire(&self, counters: &Counters, now: Now) -> Effects {
        let mut state = self.lock();
        state.expiry_announced = None;
        self.expire_all(&mut state, counters, now);
        self.effects(&mut state, Vec::new(), now)
    }

    fn expire_all(&self, state: &mut State, counters: &Counters, now: Now) {
        while !state.doomed.is_full() {
            let Some(left) = state.ready.pop_expired(now.unix_ms) else {
                return;
            };
            self.perish(state, left, Cause::Expired, None, counters);
        }
    }

    /// When the agenda has to come back for what expires; not while enough is on its way from disk, which calls too.
    pub(super) fn news_of_expiry(&self, state: &mut State) -> Option<u64> {
        let at = state.ready.next_expiry().filter(|_| !state.doomed.is_full())?;
        if state.expiry_announced.is_some_and(|known| known <= at) {
            return None;
        }
        state.expiry_announced = Some(at);
        Some(at)
    }
}
