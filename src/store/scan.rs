//! Reads a segment from one end to the other, past what is damaged.

use std::sync::Arc;

use memchr::memchr;

use super::disk::DiskFile;
use super::header::HEADER;
use super::record::{Head, Kind, Seal, END, HEAD, MARKER};

/// Octets that are read at once.
const STEP: usize = 1 << 20;
/// Where a read fails, it is tried in blocks of this size, and what cannot be read counts as zeros.
const BLOCK: usize = 4096;
/// How often each of them is tried.
const TRIES: usize = 3;

/// A part of a file in memory, moved along as it is read.
#[derive(Debug)]
struct Window {
    file: Arc<dyn DiskFile>,
    /// Nothing is read beyond it unless asked for.
    end: u64,
    from: u64,
    octets: Vec<u8>,
    /// The disk did not give something that it may give the next time.
    failed: bool,
}

impl Window {
    /// Octets from `at` on, `least` of them; beyond the end of the file there are zeros.
    fn view(&mut self, at: u64, least: usize) -> &[u8] {
        let held = at
            .checked_sub(self.from)
            .is_some_and(|skip| skip as usize + least <= self.octets.len());
        if !held {
            let left = usize::try_from(self.end.saturating_sub(at)).unwrap_or(STEP);
            self.load(at, least.max(STEP.min(left)));
        }
        let skip = at.saturating_sub(self.from) as usize;
        self.octets.get(skip..).unwrap_or_default()
    }

    fn load(&mut self, at: u64, length: usize) {
        self.from = at;
        self.octets.clear();
        self.octets.resize(length, 0);
        if self.file.read_at(&mut self.octets, at).is_ok() {
            return;
        }
        for (index, block) in self.octets.chunks_mut(BLOCK).enumerate() {
            let at = at + (index * BLOCK) as u64;
            if (0..TRIES).all(|_| self.file.read_at(block, at).is_err()) {
                block.fill(0);
                self.failed = true;
            }
        }
    }
}

/// A record that was read and is sound.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spot {
    pub(super) head: Head,
    /// Where it begins.
    pub(super) at: u64,
}

impl Spot {
    /// Where it ends.
    pub(super) fn end(&self) -> u64 {
        self.at + self.head.octets()
    }
}

/// Octets that are not what was written there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hole {
    pub(super) from: u64,
    /// Its end; the same if a record is sound and not the one that followed what is before it.
    pub(super) to: u64,
    /// The commit in which it begins; `None` if nothing before it could be read.
    pub(super) turn: Option<u8>,
    /// It is as long as one record, whose payload is damaged.
    pub(super) whole_record: bool,
}

/// What comes next in a segment.
#[derive(Clone, Copy, Debug)]
pub(super) enum Found {
    Record(Spot),
    Hole(Hole),
    /// Nothing more up to the end: where the last record ends.
    End,
}

/// Reads a segment's records in order.
#[derive(Debug)]
pub(super) struct Scanner {
    window: Window,
    seal: Seal,
    pub(super) at: u64,
    end: u64,
    /// What the next record is chained to, if that is known.
    chain: Option<u32>,
    /// The commit of the record before, and whether that was its last.
    last: Option<(u8, bool)>,
}

impl Scanner {
    /// From the first record up to `end`. `chain` is that of the header, if that could be read; `last` the commit of
    /// the record before, and whether that was its last.
    pub(super) fn new(
        file: Arc<dyn DiskFile>,
        seal: Seal,
        end: u64,
        chain: Option<u32>,
        last: Option<(u8, bool)>,
    ) -> Scanner {
        Scanner {
            window: Window {
                file,
                end,
                from: 0,
                octets: Vec::new(),
                failed: false,
            },
            seal,
            at: HEADER as u64,
            end,
            chain,
            last,
        }
    }

    /// The commit of the last record that was read, and whether it was that commit's last.
    pub(super) fn last(&self) -> Option<(u8, bool)> {
        self.last
    }

    /// Whether the disk did not give something, which was taken for zeros.
    pub(super) fn has_failed(&self) -> bool {
        self.window.failed
    }

    /// The payload of a record that was found.
    pub(super) fn payload(&mut self, spot: &Spot) -> &[u8] {
        let view = self.window.view(spot.at, spot.head.octets() as usize);
        view.get(HEAD..HEAD + spot.head.length as usize).unwrap_or_default()
    }

    /// The payload of the one record that is damaged, if the hole is that.
    pub(super) fn unsound(&mut self, hole: &Hole) -> Option<(Kind, &[u8])> {
        let seal = self.seal;
        let view = self.window.view(hole.from, HEAD);
        let head = Head::read(view, seal, hole.from).filter(|_| hole.whole_record)?;
        Some((head.kind, self.payload(&Spot { head, at: hole.from })))
    }

    pub(super) fn next(&mut self) -> Found {
        if self.at + HEAD as u64 > self.end {
            return self.rest();
        }
        let at = self.at;
        let Some(head) = Head::read(self.window.view(at, HEAD), self.seal, at) else {
            return self.search();
        };
        let spot = Spot { head, at };
        if spot.end() > self.end {
            return self.search();
        }
        let seal = self.seal;
        if !head.vouches_for(self.payload(&spot), seal, at) {
            // The head is sound, so it says where the next record begins and what that is chained to.
            let hole = self.hole(at, spot.end(), true);
            self.at = spot.end();
            self.chain = Some(head.chain);
            self.last = Some((head.turn, head.flags & END != 0));
            return Found::Hole(hole);
        }
        if self.chain.is_some_and(|chain| chain != head.prev) {
            self.chain = None;
            return Found::Hole(self.hole(at, at, false));
        }
        self.at = spot.end();
        self.chain = Some(head.chain);
        self.last = Some((head.turn, head.flags & END != 0));
        Found::Record(spot)
    }

    fn hole(&self, from: u64, to: u64, whole_record: bool) -> Hole {
        Hole {
            from,
            to,
            turn: self.last.map(|(turn, ended)| turn.wrapping_add(u8::from(ended))),
            whole_record,
        }
    }

    /// Looks for the next record behind `at`, where none is.
    fn search(&mut self) -> Found {
        let from = self.at;
        let mut at = from + 1;
        while at + HEAD as u64 <= self.end {
            let seal = self.seal;
            let end = self.end;
            let view = self.window.view(at, HEAD);
            let usable = view.len().min((end - at) as usize);
            let view = view.get(..usable).unwrap_or_default();
            let Some(skip) = memchr(MARKER, view) else {
                at += usable as u64;
                continue;
            };
            at += skip as u64;
            let view = self.window.view(at, HEAD);
            let sound = Head::read(view, seal, at).is_some_and(|head| at + head.octets() <= end);
            if sound {
                self.at = at;
                self.chain = None;
                return Found::Hole(self.hole(from, at, false));
            }
            at += 1;
        }
        self.rest()
    }

    /// What is left holds no record: nothing, if it is zeros.
    fn rest(&mut self) -> Found {
        let from = self.at;
        let mut last = None;
        let mut at = from;
        while at < self.end {
            let usable = STEP.min((self.end - at) as usize);
            let view = self.window.view(at, usable);
            let view = view.get(..usable).unwrap_or_default();
            if let Some(place) = view.iter().rposition(|octet| *octet != 0) {
                last = Some(at + place as u64 + 1);
            }
            at += usable as u64;
        }
        let Some(to) = last else {
            return Found::End;
        };
        let hole = self.hole(from, to, false);
        self.at = self.end;
        self.chain = None;
        Found::Hole(hole)
    }
}
