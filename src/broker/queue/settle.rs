//! How deliveries end: written, acknowledged, refused, or given back with their consumer.

use super::state::State;
use super::{Dead, Effects, Entry, NotHeld, Queue, Tags};
use crate::broker::stats::Counters;
use crate::broker::subscription::{AckMode, Settle};
use crate::broker::Now;

impl Queue {
    /// Deliveries up to `tag` have been written: in auto mode that settles them.
    pub fn written(&self, id: u32, tag: u64, counters: &Counters, now: Now) -> Effects {
        let mut state = self.lock();
        let mut settled = 0;
        while let Some(entry) = state.take_up_to(id, tag) {
            self.remove(&mut state, &entry, None);
            settled += 1;
        }
        counters.settled.add(settled);
        state.forget_settled(id);
        state.stand(id);
        self.dispatch(&mut state, counters, now);
        self.effects(&mut state, Vec::new(), now)
    }

    /// Settles `tag`, and earlier ones where the mode is cumulative.
    pub fn settle(&self, id: u32, tag: u64, settle: Settle, counters: &Counters, now: Now) -> Result<Effects, NotHeld> {
        let mut state = self.lock();
        let consumer = state.consumers.get(&id).ok_or(NotHeld::Already)?;
        let tags = consumer.ledger.covered(tag, consumer.mode == AckMode::Client)?;
        Ok(self.settle_all(&mut state, id, &tags, settle, None, counters, now))
    }

    /// Settles what a transaction has held, on COMMIT.
    pub fn settle_tags(
        &self,
        id: u32,
        tags: &[u64],
        settle: Settle,
        batch: Option<u64>,
        counters: &Counters,
        now: Now,
    ) -> Effects {
        let mut state = self.lock();
        self.settle_all(&mut state, id, tags, settle, batch, counters, now)
    }

    /// Puts what `tag` covers into a transaction: credit is free, and nobody else can settle it.
    pub fn enter(&self, id: u32, tag: u64, counters: &Counters, now: Now) -> Result<(Tags, Effects), NotHeld> {
        let mut state = self.lock();
        let consumer = state.consumers.get_mut(&id).ok_or(NotHeld::Already)?;
        let tags = consumer.ledger.covered(tag, consumer.mode == AckMode::Client)?;
        for tag in &tags {
            consumer.ledger.enter(*tag);
        }
        state.patience.moves(now.mono);
        state.stand(id);
        self.dispatch(&mut state, counters, now);
        // What had expired may have made room.
        Ok((tags, self.effects(&mut state, Vec::new(), now)))
    }

    /// Takes it out again on ABORT: unacknowledged as before.
    pub fn release(&self, id: u32, tags: &[u64]) {
        let mut state = self.lock();
        if let Some(consumer) = state.consumers.get_mut(&id) {
            for tag in tags {
                consumer.ledger.release(*tag);
            }
        }
    }

    /// The subscription ends by UNSUBSCRIBE. Deliveries from `waiting` on were never written and go back; the
    /// others stay for late acknowledgements. Whether any do.
    pub fn cancel(&self, id: u32, waiting: Option<u64>, counters: &Counters, now: Now) -> (bool, Effects) {
        let mut state = self.lock();
        if state.browsers.remove(&id).is_some() {
            return (false, self.effects(&mut state, Vec::new(), now));
        }
        let Some(consumer) = state.consumers.get_mut(&id) else {
            return (false, Effects::default());
        };
        consumer.active = false;
        if let Some(waiting) = waiting {
            let never_written = consumer.ledger.tags().into_iter().filter(|tag| *tag >= waiting);
            let entries: Vec<Entry> = never_written.filter_map(|tag| consumer.ledger.take(tag)).collect();
            for entry in entries {
                state.ready.put_back(entry);
            }
        }
        let left = state
            .consumers
            .get(&id)
            .is_some_and(|consumer| !consumer.ledger.is_empty());
        if !left {
            state.consumers.remove(&id);
        }
        state.depart(id);
        self.dispatch(&mut state, counters, now);
        let mut effects = self.effects(&mut state, Vec::new(), now);
        effects.delete = self.options.auto_delete && !state.consumers.values().any(|c| c.active);
        (left, effects)
    }

    /// The connection has ended. Deliveries before `unwritten` may have been seen and come back as redelivered;
    /// the others come back as they were.
    pub fn leave(&self, id: u32, unwritten: Option<u64>, counters: &Counters, now: Now) -> Effects {
        let mut state = self.lock();
        if state.browsers.remove(&id).is_some() {
            return self.effects(&mut state, Vec::new(), now);
        }
        let Some(mut consumer) = state.consumers.remove(&id) else {
            return Effects::default();
        };
        let mut dead = Vec::new();
        for tag in consumer.ledger.tags() {
            let Some(entry) = consumer.ledger.take(tag) else {
                continue;
            };
            match unwritten.is_none_or(|first| tag < first) {
                true => self.give_back(&mut state, entry, None, &mut dead, None, counters),
                false => state.ready.put_back(entry),
            }
        }
        state.depart(id);
        self.dispatch(&mut state, counters, now);
        let mut effects = self.effects(&mut state, dead, now);
        effects.delete = self.options.auto_delete && !state.consumers.values().any(|c| c.active);
        effects
    }

    /// Whether a consumer has deliveries that could still be settled.
    pub fn holds(&self, id: u32) -> bool {
        self.lock()
            .consumers
            .get(&id)
            .is_some_and(|consumer| !consumer.ledger.is_empty())
    }

    #[allow(clippy::too_many_arguments)] // one private place that three public ones share
    fn settle_all(
        &self,
        state: &mut State,
        id: u32,
        tags: &[u64],
        settle: Settle,
        batch: Option<u64>,
        counters: &Counters,
        now: Now,
    ) -> Effects {
        state.patience.moves(now.mono);
        let mut dead = Vec::new();
        for tag in tags {
            let Some(entry) = state.consumers.get_mut(&id).and_then(|c| c.ledger.take(*tag)) else {
                continue;
            };
            match settle {
                Settle::Ack => {
                    self.remove(state, &entry, batch);
                    counters.settled.one();
                }
                Settle::Nack {
                    requeue: true,
                    delay_ms,
                } => {
                    let due = (delay_ms > 0).then(|| now.unix_ms.saturating_add(delay_ms));
                    self.give_back(state, entry, due, &mut dead, batch, counters);
                }
                Settle::Nack { requeue: false, .. } => {
                    self.uncount(state, &entry);
                    let entry = Entry {
                        attempts: entry.attempts + 1,
                        ..entry
                    };
                    dead.push(Dead {
                        entry,
                        reason: "rejected",
                    });
                }
            }
        }
        state.forget_settled(id);
        if self.name.is_empty() && !state.consumers.values().any(|c| c.active) {
            // The backlog of a topic's subscription that has ended: nobody is left to take it.
            self.drop_all_ready(state);
        }
        state.stand(id);
        self.dispatch(state, counters, now);
        self.effects(state, dead, now)
    }

    /// A delivery failed: back to its place, at `due` if there is a date, or to the dead if that was the last try.
    fn give_back(
        &self,
        state: &mut State,
        entry: Entry,
        due: Option<u64>,
        dead: &mut Vec<Dead>,
        batch: Option<u64>,
        counters: &Counters,
    ) {
        let entry = Entry {
            attempts: entry.attempts + 1,
            ..entry
        };
        if self.policy.delivery_limit > 0 && entry.attempts >= self.policy.delivery_limit {
            self.uncount(state, &entry);
            dead.push(Dead {
                entry,
                reason: "delivery-limit",
            });
            return;
        }
        counters.redelivered.one();
        self.note_attempts(state, &entry, due, batch);
        match due {
            Some(due) => self.put_aside(state, due, entry),
            None => state.ready.put_back(entry),
        }
    }
}
