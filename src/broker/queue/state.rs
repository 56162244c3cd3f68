//! What is behind a queue's lock.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::aside::Aside;
use super::kept::HandOut;
use super::ledger::Ledger;
use super::perish::Doomed;
use super::ready::{Entry, Left, Ready};
use super::Dead;
use crate::broker::outbound::{LaneId, Outbound};
use crate::broker::patience::Patience;
use crate::broker::settings::Prefetch;
use crate::broker::subscription::AckMode;

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
    /// Whether its credit allows a further message.
    pub(super) fn wants(&self) -> bool {
        let (messages, octets) = self.ledger.used();
        let credit = messages < self.prefetch.messages && (octets < self.prefetch.bytes || messages == 0);
        self.active && credit && self.ledger.len() < self.unacknowledged
    }
}
