//! What waits for one client of the shared connection, and is its alone to take: bounded, and never a reason to wait for
//! it.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use crate::relay::passage::{head, Edit, Kept};
use crate::stomp::{encode, Frame, Line, Version};

/// How whoever takes from a mailbox, or talks to the broker, is told that there is something to do.
pub trait Bell: Debug + Send + Sync {
    /// There is.
    fn ring(&self);
}

/// One thing for one client.
#[derive(Clone, Debug)]
pub(in crate::relay) enum Mail {
    /// A message for its subscription with that ticket.
    Message(u64, Arc<Passed>),
    /// The broker has confirmed the subscription.
    Confirmed(u64),
    /// The subscription is not shared any more: it goes over the client's own connection.
    Elsewhere(u64),
    /// The shared connection was lost (false), or all there was on it is there again (true).
    Back(bool),
    /// The shared connection is lost, and the client is not kept.
    Lost,
    /// The client has left more than it may: all of it was thrown away.
    Overrun,
}

/// Octets that mail counts for besides those of its message.
const OVERHEAD: usize = 64;

impl Mail {
    fn size(&self) -> usize {
        match self {
            Mail::Message(_, passed) => OVERHEAD + passed.size,
            _ => OVERHEAD,
        }
    }
}

#[derive(Debug)]
pub(in crate::relay) struct Mailbox {
    /// Octets that may wait; a single message may have more.
    most: usize,
    bell: Arc<dyn Bell>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    mail: VecDeque<Mail>,
    octets: usize,
    overrun: bool,
}

impl Mailbox {
    pub(super) fn new(most: usize, bell: Arc<dyn Bell>) -> Mailbox {
        Mailbox {
            most,
            bell,
            state: Mutex::default(),
        }
    }

    /// Appends `mail`, or throws everything away if that is too much.
    pub(super) fn push(&self, mail: Mail) {
        let size = mail.size();
        let rings = {
            let mut state = self.lock();
            if state.overrun {
                return;
            }
            let sleeps = state.mail.is_empty();
            if !sleeps && state.octets + size > self.most {
                *state = State {
                    overrun: true,
                    ..State::default()
                };
                true
            } else {
                state.octets += size;
                state.mail.push_back(mail);
                sleeps
            }
        };
        if rings {
            self.bell.ring();
        }
    }

    /// Takes the oldest.
    pub(super) fn take(&self) -> Option<Mail> {
        let mut state = self.lock();
        if state.overrun {
            return Some(Mail::Overrun);
        }
        let mail = state.mail.pop_front()?;
        state.octets -= mail.size();
        if state.mail.is_empty() {
            // What a burst needed is not kept for as long as the client stays.
            state.mail.shrink_to(16);
        }
        Some(mail)
    }

    pub(super) fn is_empty(&self) -> bool {
        let state = self.lock();
        state.mail.is_empty() && !state.overrun
    }

    pub(super) fn is_overrun(&self) -> bool {
        self.lock().overrun
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A MESSAGE as the shared connection had it: one for all who get it, with what stands behind `subscription` made once for
/// clients that know escapes, and once for those that do not.
#[derive(Debug)]
pub(in crate::relay) struct Passed {
    frame: Kept,
    utf8: bool,
    size: usize,
    tails: [OnceLock<Vec<u8>>; 2],
}

/// The line that each client has for itself.
const BEGIN: &str = "MESSAGE\n";

impl Passed {
    pub(super) fn new(frame: &Frame<'_>) -> Passed {
        let utf8 = std::str::from_utf8(frame.body).is_ok();
        let frame = Kept::of(frame);
        Passed {
            size: frame.size(),
            frame,
            utf8,
            tails: Default::default(),
        }
    }

    /// Writes it for a client of `version`, whose subscription begins with `prefix`.
    pub(super) fn write(&self, prefix: &[u8], version: Version, mut write: impl FnMut(&[&[u8]], bool)) {
        let place = usize::from(version > Version::V1_0);
        let Some(made) = self.tails.get(place) else { return };
        let tail = made.get_or_init(|| self.tail(version));
        write(&[prefix, tail, self.frame.body(), &[0]], self.utf8);
    }

    fn tail(&self, version: Version) -> Vec<u8> {
        let edit = |line: &Line<'_>| match line.name {
            "subscription" => Edit::Drop,
            _ => Edit::Keep,
        };
        let mut tail = head(&self.frame.frame(), version, edit, &[]);
        tail.drain(..BEGIN.len());
        tail
    }
}

/// How each MESSAGE of the subscription `id` begins.
pub(super) fn prefix(id: &str, version: Version) -> Box<[u8]> {
    let mut prefix = BEGIN.as_bytes().to_vec();
    encode::header(&mut prefix, "subscription", id, version);
    prefix.into()
}
