//! What outlives the process: the queue's side of the journal.
//!
//! Each persistent message of a durable queue is in the journal from its [`Record::Append`] to its
//! [`Record::Settle`]. In memory there are as many octets as the policy allows, from the head of the queue on; of the
//! others only a stub keeps the place, and their octets are fetched before their turn comes. Nobody overtakes a
//! message whose octets are on their way.

use std::sync::atomic::Ordering;
use std::sync::Arc;

use super::ready::{Entry, Gone, Key, Ready};
use super::state::State;
use super::{Effects, Queue};
use crate::broker::journal::{Record, Recovered, Stub};
use crate::broker::message::Message;
use crate::broker::stats::Counters;
use crate::broker::Now;

/// Messages that a hand-out mark allows at first, and at most where consumers are faster than the disk.
const BLOCK: (u64, u64) = (1_024, 16_384);
/// Octets that are fetched for a consumer although memory is short.
const FETCH_MIN: usize = 256 << 10;

/// The hand-out mark: which messages may be given to consumers, because the journal knows that they may have been.
#[derive(Debug)]
pub(super) struct HandOut {
    /// Numbers below it may be given out.
    kept: u64,
    /// The mark that was asked for; 0 if none is.
    asked: u64,
    /// Messages that the next mark allows beyond the one that asks for it.
    block: u64,
}

impl Default for HandOut {
    fn default() -> Self {
        HandOut {
            kept: 0,
            asked: 0,
            block: BLOCK.0,
        }
    }
}

impl Queue {
    /// Whether the journal keeps the message while it is here.
    pub fn keeps(&self, message: &Message) -> bool {
        self.durable && message.properties().persistent
    }

    /// Why the message cannot be kept now as it asks to be.
    pub fn refuses(&self, message: &Message) -> Option<Arc<str>> {
        match self.keeps(message) {
            true => self.commons.journal.refuses(),
            false => None,
        }
    }

    /// Whether anything of it outlives the process.
    pub fn is_durable(&self) -> bool {
        self.durable
    }

    pub(super) fn append(&self, state: &mut State, message: &Arc<Message>, batch: Option<u64>, now: Now) {
        let seq = state.next_seq;
        state.next_seq += 1;
        state.messages += 1;
        state.octets += message.size();
        self.commons.tally.messages.fetch_add(1, Ordering::Relaxed);
        if !self.is_subscription() {
            state.idle_since = None;
        }
        let due = message.properties().due.filter(|due| *due > now.unix_ms);
        if !self.keeps(message) {
            match due {
                None => state.ready.push(seq, Arc::clone(message)),
                Some(due) => self.put_aside(state, due, Entry::new(seq, message)),
            }
            return;
        }
        self.declare(state);
        if !state.consumers.is_empty() && state.hand_out.asked == 0 {
            // With the message, so that its delivery does not wait for a second commit.
            self.ask_mark(&mut state.hand_out, seq);
        }
        state.stored += 1;
        self.commons.tally.stored.fetch_add(1, Ordering::Relaxed);
        let append = Record::Append {
            queue: self.number,
            seq,
            attempts: 0,
            message,
        };
        self.write(state, append, batch);
        if let Some(due) = due {
            self.put_aside(state, due, Entry::new(seq, message));
            return;
        }
        match self.takes_in(state, message) {
            true => state.ready.push(seq, Arc::clone(message)),
            false => state.ready.push_stub(seq, message.stub()),
        }
    }

    /// Whether the octets of a new message stay in memory: if somebody waits for it, or nothing before it is on disk
    /// only and the budget allows it.
    fn takes_in(&self, state: &State, message: &Message) -> bool {
        let awaited = state.ready.is_empty() && !state.available.is_empty();
        let fits = || state.ready.resident() + message.size() <= self.budget();
        awaited || (fits() && (state.by_choice || !state.ready.is_behind(message.properties().priority)))
    }

    /// Octets of messages that could be on disk only and are in memory. When messages hold half of all memory, no
    /// further ones.
    fn budget(&self) -> usize {
        match self.commons.gauge.octets() < self.commons.high_water / 2 {
            true => self.policy.resident,
            false => 0,
        }
    }

    /// The journal hears of a queue with the first message that is kept. Not in the batch of that message: the queue
    /// is there even if the batch comes to nothing.
    pub(super) fn declare(&self, state: &mut State) {
        if !std::mem::replace(&mut state.declared, true) {
            let terms = self.options.to_terms();
            let declare = Record::Declare {
                queue: self.number,
                name: &self.name,
                terms: &terms,
            };
            self.write(state, declare, None);
        }
    }

    fn write(&self, state: &mut State, record: Record<'_>, batch: Option<u64>) {
        state.recorded = true;
        self.commons.journal.write(record, batch);
    }

    /// A delivery failed; the next one is not to be before `due`.
    pub(super) fn note_attempts(&self, state: &mut State, entry: &Entry, due: Option<u64>, batch: Option<u64>) {
        if self.keeps(&entry.message) {
            let attempts = Record::Attempts {
                queue: self.number,
                seq: entry.seq,
                attempts: entry.attempts,
                due,
            };
            self.write(state, attempts, batch);
        }
    }

    /// Takes a message out of the count: it has left the queue for good.
    pub(super) fn remove(&self, state: &mut State, gone: impl Into<Gone>, batch: Option<u64>) {
        let gone = gone.into();
        self.uncount(state, gone);
        if self.durable && gone.persistent {
            self.write(state, self.settled(gone.seq), batch);
        }
    }

    /// As [`Queue::remove`] for a message whose [`Queue::settle_dead`] follows.
    pub(super) fn uncount(&self, state: &mut State, gone: impl Into<Gone>) {
        let gone = gone.into();
        state.messages -= 1;
        state.octets -= gone.size;
        self.commons.tally.messages.fetch_sub(1, Ordering::Relaxed);
        if self.durable && gone.persistent {
            state.stored -= 1;
            state.recorded = true;
            self.commons.tally.stored.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// The journal forgets a message that has been moved to a dead-letter queue, in the batch in which it came there.
    pub fn settle_dead(&self, seq: u64, batch: Option<u64>) {
        self.commons.journal.write(self.settled(seq), batch);
    }

    fn settled(&self, seq: u64) -> Record<'static> {
        Record::Settle {
            queue: self.number,
            seq,
        }
    }

    /// Whether the next message can be given out now: its octets are here, and the journal knows that it may be.
    /// If not, both have been asked for.
    pub(super) fn is_at_hand(&self, ready: &mut Ready, hand_out: &mut HandOut) -> bool {
        let Some(head) = ready.head() else { return false };
        if ready.has_more_on_disk() {
            self.stock(ready, head.here || ready.fetched(head.seq).is_some());
        }
        let allowed = !head.persistent || self.allows(hand_out, head.seq);
        allowed && head.here
    }

    /// Asks for the message at `place` and for those behind it. If memory is short, what was passed over goes.
    pub(super) fn bring(&self, ready: &mut Ready, place: Key) {
        let budget = self.budget();
        if ready.resident() * 2 >= budget {
            ready.unload(place);
        }
        let octets = budget.saturating_sub(ready.resident()).max(FETCH_MIN);
        let wanted = ready.wanted_from(place, octets);
        if !wanted.is_empty() {
            self.commons.journal.fetch(self.number, &wanted);
        }
    }

    /// Asks for messages ahead of their turn when half of what may be in memory has been given out.
    fn stock(&self, ready: &mut Ready, head_is_coming: bool) {
        let (budget, resident) = (self.budget(), ready.resident());
        let octets = match resident * 2 < budget {
            true => budget - resident,
            false if head_is_coming => return,
            false => FETCH_MIN,
        };
        let wanted = ready.wanted(octets);
        if !wanted.is_empty() {
            self.commons.journal.fetch(self.number, &wanted);
        }
    }

    pub(super) fn allows(&self, hand_out: &mut HandOut, seq: u64) -> bool {
        if seq + hand_out.block / 2 >= hand_out.asked {
            self.ask_mark(hand_out, seq);
        }
        seq < hand_out.kept
    }

    fn ask_mark(&self, hand_out: &mut HandOut, seq: u64) {
        if hand_out.asked > hand_out.kept {
            hand_out.block = (hand_out.block * 2).min(BLOCK.1);
        }
        hand_out.asked = seq + hand_out.block;
        let mark = Record::Mark {
            queue: self.number,
            below: hand_out.asked,
        };
        self.commons.journal.write(mark, None);
    }

    /// A hand-out mark is kept.
    pub fn marked(&self, below: u64, counters: &Counters, now: Now) -> Effects {
        let mut state = self.lock();
        // One that was withdrawn meanwhile allows nothing.
        let below = below.min(state.hand_out.asked);
        state.hand_out.kept = state.hand_out.kept.max(below);
        self.dispatch(&mut state, counters, now);
        self.effects(&mut state, Vec::new(), now)
    }

    /// What is known of a message that was asked for and has not come; `None` if nobody waits for it any more.
    pub fn fetched(&self, seq: u64) -> Option<Stub> {
        let state = self.lock();
        state.ready.fetched(seq).or_else(|| state.doomed.stub(seq))
    }

    /// The octets of a message have come.
    pub fn load(&self, seq: u64, message: Arc<Message>, counters: &Counters, now: Now) -> Effects {
        let mut state = self.lock();
        let alive = self.bring_dead(&mut state, Entry::new(seq, &message), counters, now);
        if let (Some(_), Some(stub)) = (alive, state.ready.fetched(seq)) {
            // Made again it may be a little smaller or larger.
            let (before, after) = (stub.size as usize, message.size());
            if state.ready.load(seq, message) {
                state.octets = state.octets - before + after;
            }
        }
        self.show(&mut state, now);
        self.dispatch(&mut state, counters, now);
        self.effects(&mut state, Vec::new(), now)
    }

    /// The octets of a message cannot be read any more.
    pub fn lose(&self, seq: u64, counters: &Counters, now: Now) -> Effects {
        let mut state = self.lock();
        if self.lose_dead(&mut state, seq, counters) {
            // It had left already.
        } else if let Some(left) = state.ready.lose(seq) {
            self.remove(&mut state, Gone::from(&left), None);
            counters.lost.one();
        }
        self.show(&mut state, now);
        self.dispatch(&mut state, counters, now);
        self.effects(&mut state, Vec::new(), now)
    }

    /// Fills a new queue with what the journal found. What may have been handed out before an unclean stop counts as
    /// tried once more, but that alone uses up nobody's last try.
    pub fn recover(&self, found: &Recovered, now: Now) -> Effects {
        let mut state = self.lock();
        state.declared = true;
        state.next_seq = found.next_seq;
        state.hand_out.kept = found.below;
        state.hand_out.asked = found.below;
        // Where a message has only one try, it still has to come back as tried.
        let last = match self.policy.delivery_limit {
            0 => u32::MAX,
            limit => (limit - 1).max(1),
        };
        let tried = |seq: u64, attempts: u32| match seq < found.below && attempts < last {
            true => attempts + 1,
            false => attempts,
        };
        // Up to the last one that was tried, all come before those that nobody was ever given.
        let returned = (found.entries.iter().rev()).find(|(seq, attempts, _)| tried(*seq, *attempts) > 0);
        let returned = returned.map(|(seq, ..)| *seq);
        for (seq, known, stub) in &found.entries {
            state.octets += stub.size as usize;
            if let Some(due) = stub.due.filter(|due| *due > now.unix_ms) {
                // Nobody can have been given it.
                state.aside.add_stub(due, *seq, *stub, *known);
                continue;
            }
            let attempts = tried(*seq, *known);
            if attempts > *known {
                let record = Record::Attempts {
                    queue: self.number,
                    seq: *seq,
                    attempts,
                    due: None,
                };
                self.write(&mut state, record, None);
            }
            match returned.is_some_and(|last| *seq <= last) {
                true => state.ready.put_back_stub(*seq, *stub, attempts),
                false => state.ready.push_stub(*seq, *stub),
            }
        }
        let messages = found.entries.len();
        state.messages = messages;
        state.stored = messages;
        self.commons.tally.messages.fetch_add(messages, Ordering::Relaxed);
        self.commons.tally.stored.fetch_add(messages, Ordering::Relaxed);
        self.effects(&mut state, Vec::new(), now)
    }

    /// A clean stop: nobody has been given anything that is not settled or given back, so the mark is withdrawn.
    pub fn rest(&self) {
        let mut state = self.lock();
        let held = state.consumers.values().any(|consumer| !consumer.ledger.is_empty());
        if !held && state.hand_out.asked > 0 && !state.retired {
            state.hand_out = HandOut::default();
            let mark = Record::Mark {
                queue: self.number,
                below: 0,
            };
            self.write(&mut state, mark, None);
        }
    }
}
