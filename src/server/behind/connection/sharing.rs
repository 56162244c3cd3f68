//! What the shared connection has for the client, as fast as it takes that.

use std::task::Context;

use super::{waiting, Connection, Rest};
use crate::broker::Now;
use crate::server::transport::Transport;

/// Frames given in one turn.
const TURN_FRAMES: usize = 128;
/// Octets that may wait to be written before no more is taken: what waits longer does so uncopied, and is counted.
const MOST_WAITING: u64 = 64 << 10;

impl<T: Transport> Connection<T> {
    /// Whether the client takes no more of it now.
    pub(super) fn mail_is_held(&self) -> bool {
        waiting(&self.transport) > MOST_WAITING && !self.parts.relay.is_overrun()
    }

    /// Gives the client what is there.
    pub(super) fn share(&mut self, cx: &Context<'_>, now: Now) -> Rest {
        self.bell.sleeps(cx);
        for _ in 0..TURN_FRAMES {
            if !self.is_open() || !self.parts.relay.has_mail() {
                return Rest::Idle;
            }
            if self.mail_is_held() {
                return Rest::Held;
            }
            let (relay, mut both) = self.relay();
            let step = relay.hear(&mut both, now.mono);
            self.obey(step);
        }
        Rest::Spent
    }
}
