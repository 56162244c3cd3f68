//! What is behind a queue's lock.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::aside::Aside;
use super::browse::Browser;
use super::groups::Groups;
use super::kept::HandOut;
use super::ledger::Ledger;
use super::perish::Doomed;
use super::ready::{Entry, Key, Left, Ready};
use super::Dead;
use crate::broker::outbound::{Delivery, LaneId, Offered, Outbound};
use crate::broker::patience::Patience;
use crate::broker::selector::Selector;
use crate::broker::settings::Prefetch;
use crate::broker::subscription::AckMode;
use crate::broker::Now;

#[derive(Debug, Default)]
pub(super) struct State {
    /// Removed from the directory: look again.
    pub(super) retired: bool,
    /// The journal knows of the queue.
    pub(super) declared: bool,
    /// It was told something since anybody asked.
    pub(super) recorded: bool,
    pub(super) hand_out: HandOut,
    pub(super) ready: Ready,
    /// Not to be delivered yet.
    pub(super) aside: Aside,
    /// Out of the count, on their way to the dead-letter queue: for the next effects.
    pub(super) dead: Vec<Dead>,
    /// Those whose octets have to come from disk first.
    pub(super) doomed: Doomed,
    /// Those who look at what waits and take nothing, and have not seen all yet.
    pub(super) browsers: BTreeMap<u32, Browser>,
    /// Messages are not for everybody: see [`super::choose`].
    pub(super) by_choice: bool,
    pub(super) groups: Groups,
    /// There is more to look at than was looked at.
    pub(super) looks_on: bool,
    /// The only consumer that is given anything.
    pub(super) sole: Option<u32>,
    pub(super) consumers: BTreeMap<u32, Consumer>,
    pub(super) next_consumer: u32,
    /// Consumers that may take a message, in the order in which they are served.
    pub(super) available: VecDeque<u32>,
    /// In the queue, unacknowledged ones included.
    pub(super) messages: usize,
    pub(super) octets: usize,
    /// Messages of these that the journal keeps.
    pub(super) stored: usize,
    /// Room promised to COMMITs under way.
    pub(super) reserved_messages: usize,
    pub(super) reserved_octets: usize,
    pub(super) next_seq: u64,
    /// Senders to be called when there is room.
    pub(super) waiting: VecDeque<Arc<Outbound>>,
    /// What publishers to a topic wait for the consumer of this backlog.
    pub(super) patience: Patience,
    /// Since when it is empty and without consumers, in `Now::mono`.
    pub(super) idle_since: Option<u64>,
    pub(super) idle_announced: bool,
    /// Since when a durable subscription is without consumers, in `Now::mono`.
    pub(super) unused_since: Option<u64>,
    /// The expiry the agenda knows of.
    pub(super) expiry_announced: Option<u64>,
}

/// One who takes messages.
#[derive(Debug)]
pub(super) struct Consumer {
    pub(super) outbound: Arc<Outbound>,
    pub(super) lane: LaneId,
    pub(super) mode: AckMode,
    pub(super) prefetch: Prefetch,
    pub(super) unacknowledged: usize,
    pub(super) unwanted: Option<u64>,
    pub(super) ledger: Ledger,
    /// It only wants what this matches.
    pub(super) selector: Option<Arc<Selector>>,
    /// While it is there, only one of those who say so is given anything: the one that came first.
    pub(super) alone: bool,
    /// Nothing before it is for this consumer, in a queue with choice.
    pub(super) place: Key,
    /// It still takes messages; if not, it only waits for late acknowledgements.
    pub(super) active: bool,
    /// It stands in `State::available`.
    pub(super) standing: bool,
}

impl State {
    /// Takes the message that gives way in a full queue: the oldest of the lowest priority, else the next that waits
    /// aside.
    pub(super) fn give_way(&mut self) -> Option<Left> {
        self.ready.pop_least().or_else(|| self.aside.pop())
    }

    /// Whether dead letters wait for their octets, or somebody looks on: the queue is not to go, empty as it may be.
    pub(super) fn is_going_on(&self) -> bool {
        !self.doomed.is_empty() || !self.browsers.is_empty()
    }

    /// Has a sender called when there is room. It asks once and again only after it was called.
    pub(super) fn wait(&mut self, sender: &Arc<Outbound>) {
        self.waiting.push_back(Arc::clone(sender));
    }

    pub(super) fn unreserve(&mut self, messages: usize, octets: usize) {
        self.reserved_messages = self.reserved_messages.saturating_sub(messages);
        self.reserved_octets = self.reserved_octets.saturating_sub(octets);
    }

    /// Calls as many senders as may find room, those first that have waited longest. If all were called for each
    /// message that leaves, most would come in vain.
    pub(super) fn call_waiting(&mut self, most: usize) {
        let count = self.waiting.len().min(most.max(1));
        for sender in self.waiting.drain(..count) {
            sender.call();
        }
    }

    /// Puts a consumer in the row, if it is not there and wants a message.
    pub(super) fn stand(&mut self, id: u32) {
        let Some(consumer) = self.consumers.get_mut(&id) else {
            return;
        };
        if !consumer.standing && consumer.wants() {
            consumer.standing = true;
            self.available.push_back(id);
        }
    }

    /// Whether a consumer may be given a message now.
    pub(super) fn may_take(&self, id: u32) -> bool {
        let alone = self.sole.is_none_or(|sole| sole == id);
        alone && self.consumers.get(&id).is_some_and(Consumer::wants)
    }

    /// Takes a consumer out of the row in whose front it stands.
    pub(super) fn stand_down(&mut self, id: u32) {
        self.available.pop_front();
        if let Some(consumer) = self.consumers.get_mut(&id) {
            consumer.standing = false;
        }
    }

    /// A consumer in front of the row did not take a message: it goes out of the row, the message back to its place.
    pub(super) fn refused(&mut self, id: u32, entry: Entry) {
        self.stand_down(id);
        self.ready.put_back(entry);
        let gone = self.consumers.get(&id).is_none_or(|consumer| !consumer.active);
        if gone && self.sole == Some(id) {
            self.elect();
        }
    }

    /// The number of the next consumer or browser.
    pub(super) fn next_id(&mut self) -> u32 {
        let id = self.next_consumer;
        self.next_consumer = self.next_consumer.wrapping_add(1);
        id
    }

    /// Sees who is alone now, after consumers have come or gone. If it is another or nobody, all may stand again.
    pub(super) fn elect(&mut self) {
        let first = |(_, consumer): &(&u32, &Consumer)| consumer.active && consumer.alone;
        let sole = self.consumers.iter().find(first).map(|(id, _)| *id);
        if std::mem::replace(&mut self.sole, sole) == sole {
            return;
        }
        let all: Vec<u32> = self.consumers.keys().copied().collect();
        for id in all {
            self.stand(id);
        }
    }

    /// A consumer takes no more.
    pub(super) fn depart(&mut self, id: u32) {
        if self.sole == Some(id) {
            self.elect();
        }
        if self.by_choice {
            // Others may have passed over what was for it: its groups, and those that were its own once.
            self.groups.leave(id);
            self.look_again(Key::MIN);
            self.by_choice = self.has_choice();
        }
    }

    /// Lets go of a consumer that was cancelled and holds nothing any more.
    pub(super) fn forget_settled(&mut self, id: u32) {
        let over = |consumer: &Consumer| !consumer.active && consumer.ledger.is_empty();
        if self.consumers.get(&id).is_some_and(over) {
            self.consumers.remove(&id);
        }
    }

    pub(super) fn take_up_to(&mut self, id: u32, tag: u64) -> Option<Entry> {
        let ledger = &mut self.consumers.get_mut(&id)?.ledger;
        let front = ledger.front().filter(|front| *front <= tag)?;
        ledger.take(front)
    }
}

impl Consumer {
    /// Gives it a message; gives it back if there is no room, or nobody any more.
    pub(super) fn offer(&mut self, entry: Entry, now: Now) -> Option<Entry> {
        let delivery = Delivery {
            message: Arc::clone(&entry.message),
            tag: self.ledger.next_tag(),
            attempts: entry.attempts,
        };
        match self.outbound.offer(self.lane, delivery, now.mono) {
            Offered::Taken | Offered::Crowded(_) | Offered::Displaced(_) => {
                self.ledger.add(entry);
                None
            }
            Offered::Full => Some(entry),
            Offered::Gone => {
                self.active = false;
                Some(entry)
            }
        }
    }

    /// Whether its credit allows a further message.
    pub(super) fn wants(&self) -> bool {
        let (messages, octets) = self.ledger.used();
        let credit = messages < self.prefetch.messages && (octets < self.prefetch.bytes || messages == 0);
        self.active && credit && self.ledger.len() < self.unacknowledged
    }
}
