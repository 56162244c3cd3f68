//! One segment, record by record.

use std::num::NonZeroU32;

use super::recover::{Brought, Look};
use crate::store::damage::Flaw;
use crate::store::record::{Entry, MORE, WITHIN};
use crate::store::scan::{Found, Hole, Scanner, Spot};

/// Part of a segment that does not count.
pub(super) struct Wrong {
    pub(super) from: u64,
    pub(super) to: u64,
    pub(super) flaw: Flaw,
    pub(super) about: Option<(u64, Option<u64>)>,
}

impl Wrong {
    pub(super) fn new(from: u64, to: u64, flaw: Flaw) -> Wrong {
        Wrong {
            from,
            to,
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
    /// The first of `wrong` with no later commit behind it.
    pub(super) in_doubt: usize,
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
        let (first, turn) = (self.wrong.len(), self.group.last().map(|spot| spot.head.turn));
        self.drop_group();
        if let Some(turn) = turn {
            self.doubt(turn, first);
        }
    }

    /// What is sound behind what is not, in the last commit: if the file was `cut`, nobody knows whether it was the last.
    pub(super) fn conclude(&mut self, cut: bool) {
        for group in std::mem::take(&mut self.held) {
            match cut {
                true => group.iter().for_each(|spot| self.take(spot)),
                false => self.salvage(group),
            }
        }
    }

    fn record(&mut self, spot: Spot) {
        self.end = spot.end();
        self.chain = spot.head.chain;
        self.meet(Some(spot.head.turn));
        let (more, within) = (spot.head.flags & MORE != 0, spot.head.flags & WITHIN != 0);
        if !within {
            self.drop_group();
        } else if self.group.is_empty() {
            // Of a group whose beginning is lost.
            let first = self.wrong.len();
            self.lose(&spot);
            self.doubt(spot.head.turn, first);
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
        match self.behind {
            Some(_) => self.held.push(group),
            None => group.iter().for_each(|spot| self.take(spot)),
        }
    }

    /// Something of a commit follows. If it is a later one than that with a hole, that one had been promised, and what
    /// is sound of it counts.
    fn meet(&mut self, turn: Option<u8>) {
        if self.behind.is_none() || self.behind == turn {
            return;
        }
        self.behind = None;
        self.in_doubt = usize::MAX;
        for group in std::mem::take(&mut self.held) {
            group.iter().for_each(|spot| self.take(spot));
        }
    }

    /// Something of a commit does not count: what is wrong from the `first` on.
    fn doubt(&mut self, turn: u8, first: usize) {
        if self.open && self.behind.is_none() {
            self.behind = Some(turn);
            self.in_doubt = first;
        }
    }

    /// Takes what is sound behind a hole in the last commit, which may never have been promised: what adds something,
    /// but nothing that removes. What it removes may have been moved to a place that is lost in the hole.
    fn salvage(&mut self, group: Vec<Spot>) {
        let removes = group.iter().any(|spot| {
            let entry = Entry::read(spot.head.kind, self.scanner.payload(spot));
            !matches!(entry, Some(entry) if !entry.removes())
        });
        if removes {
            return group.iter().for_each(|spot| self.lose(spot));
        }
        group.iter().for_each(|spot| self.take(spot));
        let brought: Vec<Brought> = group.iter().filter_map(|spot| self.brought(spot)).collect();
        self.look.salvaged(brought);
    }

    fn brought(&mut self, spot: &Spot) -> Option<Brought> {
        match Entry::read(spot.head.kind, self.scanner.payload(spot))? {
            Entry::Append { queue, seq, .. } => Some(Brought {
                queue,
                seq,
                segment: NonZeroU32::new(self.number)?,
                spot: *spot,
            }),
            _ => None,
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
        self.meet(hole.turn);
        let first = self.wrong.len();
        self.drop_group();
        if let Some(turn) = hole.turn {
            self.doubt(turn, first);
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
            ..Wrong::new(hole.from, hole.to, flaw)
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
        if let Some((queue, _)) = about {
            self.look.numbered(queue);
        }
        self.wrong.push(Wrong {
            about,
            ..Wrong::new(spot.at, spot.end(), Flaw::Group)
        });
    }
}
