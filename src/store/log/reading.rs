//! One segment, record by record.

use std::num::NonZeroU32;

use super::recover::Look;
use crate::store::damage::Flaw;
use crate::store::record::{Entry, MORE, WITHIN};
use crate::store::scan::{Found, Hole, Scanner, Spot};

/// Part of a segment that does not count.
pub(super) struct Wrong {
    pub(super) from: u64,
    pub(super) to: u64,
    /// The commit it belongs to, if that is known.
    pub(super) turn: Option<u8>,
    pub(super) flaw: Flaw,
    pub(super) about: Option<(u64, Option<u64>)>,
}

impl Wrong {
    pub(super) fn new(from: u64, to: u64, turn: Option<u8>, flaw: Flaw) -> Wrong {
        Wrong {
            from,
            to,
            turn,
            flaw,
            about: None,
        }
    }
}

/// One segment while it is read.
pub(super) struct Reading<'a> {
    pub(super) look: &'a mut Look,
    pub(super) scanner: Scanner,
    pub(super) number: u32,
    pub(super) wrong: Vec<Wrong>,
    /// Nothing says where it ends: the process may have ended in a commit to it.
    pub(super) open: bool,
    /// From here on it did, as an earlier start has found.
    pub(super) torn_from: u64,
    /// The commit in which something cannot be read, as long as no other has been met behind it.
    pub(super) behind: Option<u8>,
    /// What is sound behind that, in the same commit.
    pub(super) held: Vec<Vec<Spot>>,
    /// The records so far of a group whose end has not come yet.
    pub(super) group: Vec<Spot>,
    /// Where the last sound record ends, and what the next is chained to.
    pub(super) end: u64,
    pub(super) chain: u32,
}

impl Reading<'_> {
    pub(super) fn all(&mut self) {
        loop {
            match self.scanner.next() {
                Found::Record(spot) => self.record(spot),
                Found::Hole(hole) => self.hole(&hole),
                Found::End => break,
            }
        }
        self.drop_group();
        for group in std::mem::take(&mut self.held) {
            self.salvage(group);
        }
    }

    fn record(&mut self, spot: Spot) {
        self.end = spot.end();
        self.chain = spot.head.chain;
        let (more, within) = (spot.head.flags & MORE != 0, spot.head.flags & WITHIN != 0);
        if !within {
            self.drop_group();
        } else if self.group.is_empty() {
            // Of a group whose beginning is lost.
            self.lose(&spot);
            return;
        }
        self.group.push(spot);
        if !more {
            let group = std::mem::take(&mut self.group);
            self.whole(group, spot);
        }
    }

    /// A group is complete with this record.
    fn whole(&mut self, group: Vec<Spot>, last: Spot) {
        if last.at >= self.torn_from {
            return self.salvage(group);
        }
        if self.behind == Some(last.head.turn) {
            self.held.push(group);
            return;
        }
        // A later commit: the one with the hole had been promised, and what is sound of it counts.
        self.release();
        group.iter().for_each(|spot| self.take(spot));
    }

    fn release(&mut self) {
        self.behind = None;
        for group in std::mem::take(&mut self.held) {
            group.iter().for_each(|spot| self.take(spot));
        }
    }

    /// Takes what is sound behind a hole in the last commit, which may never have been promised: what adds something,
    /// but nothing that removes. What it removes may have been moved to a place that is lost in the hole.
    fn salvage(&mut self, group: Vec<Spot>) {
        let removes = group.iter().any(|spot| {
            let entry = Entry::read(spot.head.kind, self.scanner.payload(spot));
            !matches!(entry, Some(entry) if !entry.removes())
        });
        for spot in group {
            match removes {
                true => self.lose(&spot),
                false => self.take(&spot),
            }
        }
    }

    fn take(&mut self, spot: &Spot) {
        let entry = Entry::read(spot.head.kind, self.scanner.payload(spot));
        match (entry, NonZeroU32::new(self.number)) {
            (Some(entry), Some(segment)) => self.look.take(&entry, segment, spot),
            // Sealed by us, and no record of this version.
            _ => self.lose(spot),
        }
    }

    fn hole(&mut self, hole: &Hole) {
        self.drop_group();
        if self.open && hole.turn.is_some() && self.behind != hole.turn {
            self.release();
            self.behind = hole.turn;
        }
        let about = self.scanner.unsound(hole).and_then(|(kind, payload)| {
            let entry = Entry::read(kind, payload)?;
            Some((entry.queue(), entry.seq()))
        });
        let flaw = match hole.from == hole.to {
            true => Flaw::Missing,
            false => Flaw::Unreadable,
        };
        self.wrong.push(Wrong {
            about,
            ..Wrong::new(hole.from, hole.to, hole.turn, flaw)
        });
    }

    /// The end of a group did not come.
    fn drop_group(&mut self) {
        for spot in std::mem::take(&mut self.group) {
            self.lose(&spot);
        }
    }

    /// A record is sound, and another of its group is not: it does not count.
    fn lose(&mut self, spot: &Spot) {
        let entry = Entry::read(spot.head.kind, self.scanner.payload(spot));
        let about = entry.map(|entry| (entry.queue(), entry.seq()));
        self.wrong.push(Wrong {
            about,
            ..Wrong::new(spot.at, spot.end(), Some(spot.head.turn), Flaw::Group)
        });
    }
}
