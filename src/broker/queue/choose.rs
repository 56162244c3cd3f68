//! Queues whose messages are not for everybody: some consumer has a selector, or messages come in groups.
//!
//! Each consumer has a place up to which it has looked: nothing before it is for it. So a message that nobody wants
//! stays where it is and is in nobody's way, and none is looked at twice by the same consumer unless something changes
//! before its place. What was passed over gives its memory back if it is on disk too.

use std::sync::Arc;

use super::perish::Cause;
use super::ready::{Glance, Key, Left};
use super::state::{Consumer, State};
use super::{Effects, Entry, Queue};
use crate::broker::message::Message;
use crate::broker::stats::Counters;
use crate::broker::Now;

/// Messages that are looked at before others may have the queue.
const LOOKS: usize = 4_096;

/// The header that names a message's group.
const GROUP: &str = "JMSXGroupID";

/// What a consumer finds.
enum Found {
    /// A message for it, taken out of the queue.
    Entry(Entry),
    /// Nothing for it now: there is none, or it is on its way from disk.
    Nothing,
    /// So many others that it goes on later.
    Later,
}

impl Queue {
    /// Hands out what can be handed out, to each consumer in turn what is for it.
    pub(super) fn dispatch_by_choice(&self, state: &mut State, counters: &Counters, now: Now) {
        if let Some(first) = state.ready.take_news() {
            state.look_again(first);
        }
        let mut looks = LOOKS;
        let mut in_vain = 0;
        while in_vain < state.available.len() {
            let Some(id) = state.available.front().copied() else {
                return;
            };
            if !state.may_take(id) {
                state.stand_down(id);
                continue;
            }
            match self.find(state, id, &mut looks, counters, now) {
                Found::Later => {
                    state.looks_on = true;
                    return;
                }
                Found::Nothing => {
                    in_vain += 1;
                    state.available.rotate_left(1);
                }
                Found::Entry(entry) => {
                    in_vain = 0;
                    let group = group_of(&entry.message);
                    let closes = group.is_some() && entry.message.header("JMSXGroupSeq").as_deref() == Some("-1");
                    let Some(consumer) = state.consumers.get_mut(&id) else {
                        return;
                    };
                    if let Some(entry) = consumer.offer(entry, now) {
                        state.refused(id, entry);
                        continue;
                    }
                    state.available.rotate_left(1);
                    if let Some(group) = group {
                        if closes {
                            state.groups.close(&group);
                            state.look_again(Key::MIN);
                        } else if state.groups.owner(&group).is_none() {
                            state.groups.assign(&group, id);
                        }
                    }
                }
            }
        }
    }

    /// Looks for a message for the consumer, from its place on.
    fn find(&self, state: &mut State, id: u32, looks: &mut usize, counters: &Counters, now: Now) -> Found {
        loop {
            let Some(place) = state.consumers.get(&id).map(|consumer| consumer.place) else {
                return Found::Nothing;
            };
            let Some((key, glance)) = state.ready.next_from(place) else {
                return Found::Nothing;
            };
            if *looks == 0 {
                return Found::Later;
            }
            *looks -= 1;
            let Glance::Here(message) = glance else {
                state.look_on_from(id, key);
                self.bring(&mut state.ready, key);
                return Found::Nothing;
            };
            if message.is_expired(now.unix_ms) {
                if let Some(entry) = state.ready.take(key) {
                    self.perish(state, Left::Here(entry), Cause::Expired, None, counters);
                }
                continue;
            }
            if !state.is_for(id, &message) {
                state.look_on_from(id, key.next());
                continue;
            }
            state.look_on_from(id, key);
            if self.keeps(&message) && !self.allows(&mut state.hand_out, key.seq) {
                return Found::Nothing;
            }
            return match state.ready.take(key) {
                Some(entry) => Found::Entry(entry),
                None => Found::Nothing,
            };
        }
    }

    /// Goes on looking where `LOOKS` ended the last time.
    pub fn look_on(&self, counters: &Counters, now: Now) -> Effects {
        let mut state = self.lock();
        self.show(&mut state, now);
        self.dispatch(&mut state, counters, now);
        self.effects(&mut state, Vec::new(), now)
    }
}

impl State {
    /// Whether a message is for this consumer: its selector matches, and its group is not another's.
    fn is_for(&self, id: u32, message: &Message) -> bool {
        if !self
            .consumers
            .get(&id)
            .is_some_and(|consumer| consumer.selects(message))
        {
            return false;
        }
        let owner = group_of(message).and_then(|group| self.groups.owner(&group));
        let Some(owner) = owner.filter(|owner| *owner != id) else {
            return true;
        };
        // One who cannot take it does not keep it from others.
        let keeps = |consumer: &Consumer| consumer.active && consumer.selects(message);
        let alone = self.sole == Some(id);
        alone || !self.consumers.get(&owner).is_some_and(keeps)
    }

    fn look_on_from(&mut self, id: u32, place: Key) {
        if let Some(consumer) = self.consumers.get_mut(&id) {
            consumer.place = place;
        }
    }

    /// Something has changed at `first` or behind it.
    pub(super) fn look_again(&mut self, first: Key) {
        for consumer in self.consumers.values_mut() {
            consumer.place = consumer.place.min(first);
        }
    }

    /// Whether it is worth while to look for somebody in particular.
    pub(super) fn has_choice(&self) -> bool {
        !self.groups.is_empty() || self.consumers.values().any(|consumer| consumer.selector.is_some())
    }
}

impl Consumer {
    fn selects(&self, message: &Message) -> bool {
        self.selector.as_ref().is_none_or(|selector| selector.matches(message))
    }
}

/// The group that a message names.
fn group_of(message: &Message) -> Option<Arc<str>> {
    if !message.properties().grouped {
        return None;
    }
    let group = message.header(GROUP)?;
    (!group.is_empty()).then(|| group.as_ref().into())
}
