//! The queue behind a durable subscription: what differs from one that is sent to by name.

use super::state::State;
use super::Queue;
use crate::broker::settings::WhenFull;
use crate::broker::Now;

impl Queue {
    /// Whether it is a durable subscription.
    pub fn is_subscription(&self) -> bool {
        self.options.binding.is_some()
    }

    /// Tells the journal that the queue is there, before anything is in it.
    pub fn announce(&self) {
        if self.durable {
            self.declare(&mut self.lock());
        }
    }

    /// Whether a consumer sent the message itself and does not want to hear itself.
    pub fn is_local(&self, publisher: u64) -> bool {
        let state = self.lock();
        let mut active = state.consumers.values().filter(|consumer| consumer.active);
        active.any(|consumer| consumer.unwanted == Some(publisher))
    }

    /// Consumers that take messages.
    pub fn active_consumers(&self) -> usize {
        let state = self.lock();
        state.consumers.values().filter(|consumer| consumer.active).count()
    }

    /// Whether somebody takes messages, who is not about to go.
    pub fn is_worked(&self) -> bool {
        let state = self.lock();
        let mut active = state.consumers.values().filter(|consumer| consumer.active);
        active.any(|consumer| !consumer.outbound.is_finished())
    }

    /// Notes since when nobody takes messages.
    pub(super) fn note_unused(&self, state: &mut State, now: Now) {
        if self.is_subscription() {
            match state.consumers.is_empty() {
                true => _ = state.unused_since.get_or_insert(now.mono),
                false => state.unused_since = None,
            }
        }
    }

    /// What a full queue does to a sender: a durable subscription that nobody has been connected to for a while holds
    /// up nobody any more.
    pub(super) fn verdict(&self, state: &State, now: Now) -> WhenFull {
        let forgotten = |since: u64| now.mono >= since + self.commons.durable.grace_ms;
        match self.policy.full {
            WhenFull::Block if state.unused_since.is_some_and(forgotten) => WhenFull::DropHead,
            verdict => verdict,
        }
    }
}
