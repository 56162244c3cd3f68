//! RECEIPTs that wait their turn: in the order of the frames that asked for them, each when its frame took effect.

use std::collections::VecDeque;

use crate::broker::Ticket;

/// The RECEIPTs of a session that could not be written at once.
#[derive(Debug, Default)]
pub struct Receipts {
    waiting: VecDeque<Waiting>,
    octets: usize,
}

#[derive(Debug)]
struct Waiting {
    frame: Vec<u8>,
    until: Until,
}

#[derive(Debug)]
enum Until {
    /// Only those before it.
    Turn,
    /// A promise.
    Ticket(Ticket),
    /// A frame that is blocked, or waits behind one.
    Effect,
}

impl Receipts {
    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Octets of the frames that wait.
    pub fn octets(&self) -> usize {
        self.octets
    }

    /// Adds the RECEIPT of a frame that took effect, or will when `ticket` is kept.
    pub fn add(&mut self, frame: Vec<u8>, ticket: Option<Ticket>) {
        let until = ticket.map_or(Until::Turn, Until::Ticket);
        self.push(frame, until);
    }

    /// Keeps the place of the RECEIPT of a frame that has to wait: later frames may overtake it, their RECEIPTs not.
    pub fn reserve(&mut self, frame: Vec<u8>) {
        self.push(frame, Until::Effect);
    }

    /// The first of the frames with a reserved place took effect, or will when `ticket` is kept.
    pub fn fill(&mut self, ticket: Option<Ticket>) {
        let reserved = |waiting: &&mut Waiting| matches!(waiting.until, Until::Effect);
        if let Some(waiting) = self.waiting.iter_mut().find(reserved) {
            waiting.until = ticket.map_or(Until::Turn, Until::Ticket);
        }
    }

    /// The next RECEIPT whose turn it is; `Err` if its promise was broken.
    pub fn next(&mut self) -> Result<Option<Vec<u8>>, ()> {
        let kept = match self.waiting.front().map(|waiting| &waiting.until) {
            None | Some(Until::Effect) => None,
            Some(Until::Turn) => Some(true),
            Some(Until::Ticket(ticket)) => ticket.outcome(),
        };
        match kept {
            None => Ok(None),
            Some(false) => Err(()),
            Some(true) => Ok(self.waiting.pop_front().map(|waiting| {
                self.octets -= waiting.frame.len();
                waiting.frame
            })),
        }
    }

    fn push(&mut self, frame: Vec<u8>, until: Until) {
        self.octets += frame.len();
        self.waiting.push_back(Waiting { frame, until });
    }
}
