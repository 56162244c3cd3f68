//! Limits of a queue: who finds room, who waits for it, who is called.

use std::sync::Arc;

use super::state::State;
use super::{Full, Queue};
use crate::broker::outbound::Outbound;
use crate::broker::settings::WhenFull;
use crate::broker::Now;

impl Queue {
    /// Promises room for a COMMIT. Undone by [`Queue::unreserve`], used up by [`Queue::push_reserved`].
    pub fn reserve(&self, messages: usize, octets: usize, sender: &Arc<Outbound>, now: Now) -> Result<bool, Full> {
        let mut state = self.lock();
        if state.retired {
            return Ok(false);
        }
        if let Err(full) = self.room(&state, messages, octets) {
            if self.verdict(&state, now) != WhenFull::DropHead {
                state.wait(sender);
                return Err(full);
            }
        }
        state.reserved_messages += messages;
        state.reserved_octets += octets;
        Ok(true)
    }

    /// Gives promised room back.
    pub fn unreserve(&self, messages: usize, octets: usize) {
        let mut state = self.lock();
        state.unreserve(messages, octets);
        state.call_waiting(messages);
    }

    /// A sender that waited for room has gone. It may have been called already: then the call goes to the next.
    pub fn stop_waiting(&self, sender: &Arc<Outbound>) {
        let mut state = self.lock();
        state.waiting.retain(|waiting| !Arc::ptr_eq(waiting, sender));
        if self.room(&state, 1, 0).is_ok() {
            state.call_waiting(1);
        }
    }

    /// Whether `messages` of `octets` fit. An empty queue takes one message of any legal size.
    pub(super) fn room(&self, state: &State, messages: usize, octets: usize) -> Result<(), Full> {
        let (held, held_octets) = (
            state.messages + state.reserved_messages,
            state.octets + state.reserved_octets,
        );
        let fits = held + messages <= self.policy.messages && held_octets + octets <= self.policy.bytes;
        if fits || (held == 0 && messages <= 1) {
            return Ok(());
        }
        Err(Full {
            messages: (held, self.policy.messages),
            bytes: (held_octets, self.policy.bytes),
            verdict: self.policy.full,
        })
    }

    pub(super) fn call_if_room(&self, state: &mut State) {
        if !state.waiting.is_empty() && self.room(state, 1, 0).is_ok() {
            let free = self
                .policy
                .messages
                .saturating_sub(state.messages + state.reserved_messages);
            state.call_waiting(free);
        }
    }
}
