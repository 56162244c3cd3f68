//! Browsing: a copy of each message that waits, in order, without taking any.

use std::sync::Arc;

use super::ready::{Glance, Key};
use super::state::State;
use super::{Effects, Queue};
use crate::broker::message::Message;
use crate::broker::outbound::{Delivery, LaneId, Offered, Outbound};
use crate::broker::selector::Selector;
use crate::broker::Now;

/// One who looks at what waits.
#[derive(Clone, Debug)]
pub struct Browse {
    /// The outbound of its connection.
    pub outbound: Arc<Outbound>,
    /// Its lane.
    pub lane: LaneId,
    /// It only wants what this matches.
    pub selector: Option<Arc<Selector>>,
    /// Follows the last message.
    pub end: Arc<Message>,
}

/// One who has not seen all yet.
#[derive(Debug)]
pub(super) struct Browser {
    ask: Browse,
    /// Where it goes on.
    place: Key,
    /// What came later is not for it.
    below: u64,
}

/// Messages that are looked at before others may have the queue.
const LOOKS: usize = 4_096;

impl Queue {
    /// Adds a browser; `None` if the queue is gone from the directory. Its number is one among the consumers'.
    pub fn browse(&self, ask: Browse, now: Now) -> Option<(u32, Effects)> {
        let mut state = self.lock();
        if state.retired {
            return None;
        }
        let id = state.next_id();
        let browser = Browser {
            ask,
            place: Key::MIN,
            below: state.next_seq,
        };
        state.browsers.insert(id, browser);
        self.show(&mut state, now);
        Some((id, self.effects(&mut state, Vec::new(), now)))
    }

    /// Shows the browsers what they can be shown now. They are called again when their connection has room, and when
    /// octets have come from disk.
    pub(super) fn show(&self, state: &mut State, now: Now) {
        let State {
            browsers,
            ready,
            looks_on,
            ..
        } = state;
        let mut looks = LOOKS;
        browsers.retain(|_, browser| loop {
            let next = ready.next_from(browser.place);
            let Some((key, glance)) = next else {
                break !browser.offer(Arc::clone(&browser.ask.end), 0, now);
            };
            if looks == 0 {
                *looks_on = true;
                break true;
            }
            looks -= 1;
            browser.place = key;
            if key.seq < browser.below {
                let Glance::Here(message) = glance else {
                    self.bring(ready, key);
                    break true;
                };
                let attempts = ready.attempts(key);
                if browser.wants(&message, now) && !browser.offer(message, attempts, now) {
                    break true;
                }
            }
            browser.place = key.next();
        });
    }
}

impl Browser {
    fn wants(&self, message: &Message, now: Now) -> bool {
        let selector = self.ask.selector.as_ref();
        !message.is_expired(now.unix_ms) && selector.is_none_or(|selector| selector.matches(message))
    }

    /// Whether it was taken, or nobody is there any more.
    fn offer(&self, message: Arc<Message>, attempts: u32, now: Now) -> bool {
        let delivery = Delivery {
            message,
            tag: 0,
            attempts,
        };
        !matches!(
            self.ask.outbound.offer(self.ask.lane, delivery, now.mono),
            Offered::Full
        )
    }
}
