//! The messages of one priority in a queue, in order, and what the queue has of each.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::broker::journal::Stub;
use crate::broker::message::Message;

#[derive(Debug, Default)]
pub(super) struct Level {
    /// Came back from a consumer, from disk with tries, or from aside.
    pub(super) returned: BTreeMap<u64, Returned>,
    /// Never given to anyone, in order. One that was removed leaves an empty place.
    pub(super) fresh: VecDeque<(u64, Option<Place>)>,
    /// Empty places in `fresh`.
    holes: usize,
    /// Messages of the level whose octets are on disk only.
    pub(super) away: usize,
    /// Those with lower numbers are here, or were asked for.
    pub(super) asked: u64,
}

#[derive(Debug)]
pub(super) struct Returned {
    pub(super) place: Place,
    pub(super) attempts: u32,
}

/// Empty places that are always allowed.
const HOLES_MIN: usize = 64;

/// What the queue has of a message.
#[derive(Debug)]
pub(super) enum Place {
    /// All of it.
    Here(Arc<Message>),
    /// Its octets are on disk, so many of them, and it has no dates: as most.
    Away(u32),
    /// Its octets are on disk, and it has dates.
    Dated(Box<Stub>),
}

impl Place {
    pub(super) fn stub(stub: Stub) -> Place {
        match stub {
            Stub {
                expires: None,
                due: None,
                size,
                ..
            } => Place::Away(size),
            dated => Place::Dated(Box::new(dated)),
        }
    }

    pub(super) fn size(&self) -> usize {
        match self {
            Place::Here(message) => message.size(),
            Place::Away(size) => *size as usize,
            Place::Dated(stub) => stub.size as usize,
        }
    }

    pub(super) fn is_here(&self) -> bool {
        matches!(self, Place::Here(_))
    }

    fn into_message(self) -> Option<Arc<Message>> {
        match self {
            Place::Here(message) => Some(message),
            Place::Away(_) | Place::Dated(_) => None,
        }
    }

    pub(super) fn is_persistent(&self) -> bool {
        match self {
            Place::Here(message) => message.properties().persistent,
            Place::Away(_) | Place::Dated(_) => true,
        }
    }

    pub(super) fn expires(&self) -> Option<u64> {
        match self {
            Place::Here(message) => message.properties().expires,
            Place::Away(_) => None,
            Place::Dated(stub) => stub.expires,
        }
    }

    /// What the journal is told to find it by; `None` if it is here.
    pub(super) fn to_stub(&self, level: u8) -> Option<Stub> {
        match self {
            Place::Here(_) => None,
            Place::Away(size) => Some(Stub {
                size: *size,
                priority: 9_u8.saturating_sub(level),
                ..Stub::default()
            }),
            Place::Dated(stub) => Some(**stub),
        }
    }
}

impl Level {
    pub(super) fn front(&mut self) -> Option<(u64, &Place)> {
        while self.fresh.front().is_some_and(|(_, place)| place.is_none()) {
            self.fresh.pop_front();
            self.holes -= 1;
        }
        let returned = self.returned.first_key_value().map(|(seq, back)| (*seq, &back.place));
        let fresh = self.fresh.front();
        let fresh = fresh.and_then(|(seq, place)| Some((*seq, place.as_ref()?)));
        match (returned, fresh) {
            (Some(back), Some(new)) => Some(if back.0 < new.0 { back } else { new }),
            (back, new) => back.or(new),
        }
    }

    /// Takes the next message if its octets are here; `Some(None)` if they are not.
    pub(super) fn pop_here(&mut self) -> Option<Option<(u64, Arc<Message>, u32)>> {
        if !self.returned.is_empty() || self.holes > 0 {
            let (_, place) = self.front()?;
            if !place.is_here() {
                return Some(None);
            }
            let (seq, place, attempts) = self.pop()?;
            return Some(place.into_message().map(|message| (seq, message, attempts)));
        }
        // As almost always: nothing to compare.
        match self.fresh.front()? {
            (_, Some(Place::Here(_))) => {
                let (seq, place) = self.fresh.pop_front()?;
                Some(place.and_then(Place::into_message).map(|message| (seq, message, 0)))
            }
            _ => Some(None),
        }
    }

    pub(super) fn pop(&mut self) -> Option<(u64, Place, u32)> {
        let (first, _) = self.front()?;
        if let Some(back) = self.returned.first_entry().filter(|back| *back.key() == first) {
            let Returned { place, attempts } = back.remove();
            return Some((first, place, attempts));
        }
        let (seq, place) = self.fresh.pop_front()?;
        Some((seq, place?, 0))
    }

    pub(super) fn remove(&mut self, seq: u64) -> Option<(Place, u32)> {
        if let Some(back) = self.returned.remove(&seq) {
            return Some((back.place, back.attempts));
        }
        let at = self.fresh.partition_point(|(s, _)| *s < seq);
        let place = self.fresh.get_mut(at).filter(|(s, _)| *s == seq)?.1.take()?;
        self.holes += 1;
        if self.holes > HOLES_MIN && self.holes * 2 > self.fresh.len() {
            // What nobody wants may stay in front for ever while others leave behind it.
            self.fresh.retain(|(_, place)| place.is_some());
            self.holes = 0;
        }
        Some((place, 0))
    }

    pub(super) fn place(&mut self, seq: u64) -> Option<&mut Place> {
        if let Some(back) = self.returned.get_mut(&seq) {
            return Some(&mut back.place);
        }
        let at = self.fresh.partition_point(|(s, _)| *s < seq);
        self.fresh.get_mut(at).filter(|(s, _)| *s == seq)?.1.as_mut()
    }

    /// Messages from `asked` on, in order.
    pub(super) fn not_asked(&self) -> impl Iterator<Item = (u64, &Place)> {
        let returned = self.returned.range(self.asked..).map(|(seq, back)| (*seq, &back.place));
        let at = self.fresh.partition_point(|(seq, _)| *seq < self.asked);
        let fresh = self.fresh.range(at..);
        let fresh = fresh.filter_map(|(seq, place)| Some((*seq, place.as_ref()?)));
        let (mut returned, mut fresh) = (returned.peekable(), fresh.peekable());
        std::iter::from_fn(move || match (returned.peek(), fresh.peek()) {
            (Some((back, _)), Some((new, _))) if back > new => fresh.next(),
            (Some(_), _) => returned.next(),
            (None, _) => fresh.next(),
        })
    }

    /// The first message from `seq` on.
    pub(super) fn next_from(&self, seq: u64) -> Option<(u64, &Place)> {
        let returned = self.returned.range(seq..).next().map(|(seq, back)| (*seq, &back.place));
        let at = self.fresh.partition_point(|(s, _)| *s < seq);
        let mut fresh = self.fresh.range(at..);
        let fresh = fresh.find_map(|(seq, place)| Some((*seq, place.as_ref()?)));
        match (returned, fresh) {
            (Some(back), Some(new)) => Some(if back.0 < new.0 { back } else { new }),
            (back, new) => back.or(new),
        }
    }
}
