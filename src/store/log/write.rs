//! Commits, and the segments they need.

use std::io;
use std::num::NonZeroU32;
use std::ops::Range;
use std::sync::Arc;

use super::{segment_name, Active, Log, Segment, RESERVE};
use crate::store::header::{Extent, Header, Tail, HEADER};
use crate::store::index::Change;
use crate::store::record::{self, Entry, Raw, HEAD};
use crate::store::Durability;

/// Files grow by whole units, and always beyond what is written: a file that ends elsewhere has been cut.
pub(super) const UNIT: u64 = 4096;
/// Room is asked for in pieces of this size, so that few commits have to.
const PIECE: u64 = 4 << 20;

/// Records of a commit that stand together.
struct Part {
    segment: u32,
    offset: u64,
    range: Range<usize>,
}

impl Log {
    /// Writes records and waits until they are on disk, if that is what the durability asks for. Hand-out marks
    /// among them.
    ///
    /// # Errors
    ///
    /// As the disk says. Nothing of it counts then; what was written to is given up, and the same records can be
    /// committed again.
    pub(in crate::store) fn commit(&mut self, raw: &mut Raw) -> io::Result<Vec<(u64, u64)>> {
        let parts = match self.write(raw.octets_mut()) {
            Err(error) if is_full(&error) && self.release_reserve() => {
                self.give_up();
                self.write(raw.octets_mut())
            }
            other => other,
        };
        match parts {
            Ok(parts) => Ok(self.take(raw.octets(), &parts)),
            Err(error) => {
                self.give_up();
                Err(error)
            }
        }
    }

    /// Waits until everything that was written is on disk.
    ///
    /// # Errors
    ///
    /// As the disk says: what was written since the last success may be lost if the machine stops.
    pub(in crate::store) fn sync(&mut self) -> io::Result<()> {
        let result = match &mut self.active {
            Some(active) if active.dirty => active.sync(),
            _ => Ok(()),
        };
        if result.is_err() {
            self.give_up();
        }
        result
    }

    /// Whether something was written that is not certain to be on disk.
    pub(in crate::store) fn is_dirty(&self) -> bool {
        self.active.as_ref().is_some_and(|active| active.dirty)
    }

    /// Asks the disk whether it takes anything: begins a segment, unless there is one.
    ///
    /// # Errors
    ///
    /// As the disk says.
    pub(in crate::store) fn probe(&mut self) -> io::Result<()> {
        match self.active {
            Some(_) => Ok(()),
            None => self.begin(self.tail),
        }
    }

    /// Whether the file that is given up when the disk is full is there, if there is to be one.
    pub(in crate::store) fn has_reserve(&self) -> bool {
        self.reserve || self.settings.reserve_octets == 0
    }

    /// Makes the file again that is given up when the disk is full. Whether it is there.
    pub(in crate::store) fn keep_reserve(&mut self) -> bool {
        if self.has_reserve() {
            return true;
        }
        // One that is too short is as good as none.
        let _ = self.disk.remove(RESERVE);
        let made = self.disk.create(RESERVE).and_then(|file| {
            file.allocate(self.settings.reserve_octets)?;
            file.sync()
        });
        match made {
            Ok(()) => self.reserve = true,
            Err(_) => {
                let _ = self.disk.remove(RESERVE);
            }
        }
        self.reserve
    }

    /// Says in the `head` file where the log ends: a clean stop.
    ///
    /// # Errors
    ///
    /// As the disk says.
    pub(in crate::store) fn close(&mut self) -> io::Result<()> {
        self.sync()?;
        let closed = Some(self.tail);
        self.head.write(Extent {
            closed,
            ..self.head.extent
        })
    }

    fn release_reserve(&mut self) -> bool {
        self.reserve && {
            self.reserve = false;
            self.disk.remove(RESERVE).is_ok()
        }
    }

    /// Never writes again to the segment that is written to. It keeps what was promised; if that is nothing, it goes.
    fn give_up(&mut self) {
        let Some(active) = self.active.take() else { return };
        // All that was begun for the commit, if it needed more than one.
        let begun = self.segments.split_off(&(self.tail.segment + 1));
        self.vain.extend(begun.into_keys());
        if !self.vain.is_empty() {
            // If this fails too, the next segment says it.
            let _ = self.say(Extent {
                last: self.tail.segment,
                ..self.head.extent
            });
        }
        // Not while a segment may count that says how far this one goes.
        if active.number == self.tail.segment && self.vain.is_empty() {
            // If this fails it stays longer than it need be.
            let _ = active.shorten(self.tail.end);
        }
        if let Some(segment) = self.segments.get_mut(&self.tail.segment) {
            segment.end = self.tail.end;
        }
        self.total = self.segments.values().map(|segment| segment.end).sum();
    }

    fn write(&mut self, raw: &mut [u8]) -> io::Result<Vec<Part>> {
        let mut parts = Vec::new();
        let mut from = 0;
        while from < raw.len() {
            let rest = raw.get_mut(from..).unwrap_or_default();
            let limit = self.settings.segment_octets;
            let room = self
                .active
                .as_ref()
                .map_or(0, |active| limit.saturating_sub(active.end));
            let mut length = record::fitting(rest, room);
            let fresh = self.active.as_ref().is_some_and(|active| active.end == HEADER as u64);
            if length as u64 > room && !fresh {
                self.rotate()?;
                length = record::fitting(rest, limit.saturating_sub(HEADER as u64));
            }
            if length == 0 {
                return Err(io::Error::other("a record that is none"));
            }
            let ends = from + length == raw.len();
            let part = raw.get_mut(from..from + length).unwrap_or_default();
            let (segment, offset) = self.write_part(part, ends)?;
            parts.push(Part {
                segment,
                offset,
                range: from..from + length,
            });
            from += length;
        }
        if self.settings.durability == Durability::Fsync {
            if let Some(active) = &mut self.active {
                active.sync()?;
            }
        }
        Ok(parts)
    }

    /// Writes records of one commit behind what is there.
    fn write_part(&mut self, part: &mut [u8], ends: bool) -> io::Result<(u32, u64)> {
        let (turn, piece) = (self.turn.wrapping_add(1), PIECE.min(self.settings.segment_octets / 16));
        let salt = self.head.extent.salt;
        let Some(active) = &mut self.active else {
            return Err(io::Error::other("no segment to write to"));
        };
        let (segment, offset) = (active.number, active.end);
        let seal = record::Seal { salt, segment };
        let chain = record::seal(part, seal, offset, active.chain, turn, ends);
        let end = offset + part.len() as u64;
        active.allocate(end, piece)?;
        active.dirty = true;
        active.file.write_at(part, offset)?;
        active.end = end;
        active.chain = chain;
        Ok((segment, offset))
    }

    /// Ends the segment that is written to, if there is one, and begins the next.
    fn rotate(&mut self) -> io::Result<()> {
        let Some(active) = &mut self.active else {
            return self.begin(self.tail);
        };
        if active.dirty {
            active.sync()?;
        }
        let before = Tail {
            segment: active.number,
            end: active.end,
            chain: active.chain,
            torn_from: u64::MAX,
            cut: false,
        };
        self.begin(before)
    }

    /// Begins a segment behind `before`.
    fn begin(&mut self, before: Tail) -> io::Result<()> {
        let number = self.next_segment;
        // A number is used once, whatever becomes of it.
        self.next_segment += 1;
        let active = match self.make(number, before) {
            Ok(active) => active,
            Err(error) => {
                // Nothing names it yet.
                let _ = self.disk.remove(&segment_name(number));
                return Err(error);
            }
        };
        let extent = self.head.extent;
        let first = if extent.last == 0 { number } else { extent.first };
        let said = self.say(Extent {
            first,
            last: number,
            closed: None,
            ..extent
        });
        if let Err(error) = said {
            self.vain.push(number);
            return Err(error);
        }
        let segment = Segment {
            file: Arc::clone(&active.file),
            end: active.end,
        };
        self.total += segment.end;
        self.segments.insert(number, segment);
        self.active = Some(active);
        Ok(())
    }

    /// Has the `head` file say something else, and removes the segments that were begun in vain. Not before: a file
    /// that `head` may name and that is not there is one that was lost.
    pub(super) fn say(&mut self, extent: Extent) -> io::Result<()> {
        self.head.write(extent)?;
        for number in std::mem::take(&mut self.vain) {
            // If this fails, the next start tries again.
            let _ = self.disk.remove(&segment_name(number));
        }
        Ok(())
    }

    fn make(&mut self, number: u32, before: Tail) -> io::Result<Active> {
        let header = Header {
            segment: number,
            salt: self.head.extent.salt,
            turn: self.turn,
            before,
        };
        let file = self.disk.create(&segment_name(number))?;
        let mut active = Active {
            number,
            file,
            end: HEADER as u64,
            chain: header.chain(),
            allocated: 0,
            dirty: false,
        };
        active.file.write_at(&header.write(), 0)?;
        active.allocate(active.end, PIECE.min(self.settings.segment_octets / 16))?;
        self.disk.sync_folder()?;
        Ok(active)
    }

    /// Has the index follow a commit that succeeded; the hand-out marks in it.
    fn take(&mut self, raw: &[u8], parts: &[Part]) -> Vec<(u64, u64)> {
        let mut marks = Vec::new();
        // Only now: a commit that is tried again has the same number.
        self.turn = self.turn.wrapping_add(1);
        for part in parts {
            let Some(segment) = NonZeroU32::new(part.segment) else {
                continue;
            };
            let mut offset = part.offset;
            for (kind, record) in record::records(raw.get(part.range.clone()).unwrap_or_default()) {
                let length = record.len() as u64;
                if let Some(entry) = record.get(HEAD..).and_then(|payload| Entry::read(kind, payload)) {
                    if let Change::Marked(queue, below) = self.index.apply(&entry, segment, offset, length) {
                        marks.push((queue, below));
                    }
                }
                offset += length;
            }
            if let Some(kept) = self.segments.get_mut(&part.segment) {
                self.total += offset - kept.end;
                kept.end = offset;
            }
        }
        if let Some(active) = &self.active {
            for (_, full) in self.segments.range(self.tail.segment..active.number) {
                // Room that was asked for and not used. Not before the commit is kept: a file that ends elsewhere than
                // the disk made it end is the last one only if it has been cut.
                // One that has been cut is shorter than it should be, and stays so: zeros would hide where.
                if full.file.length().is_ok_and(|length| length > full.end) {
                    let _ = full.file.truncate(full.end);
                }
            }
            self.tail = Tail {
                segment: active.number,
                end: active.end,
                chain: active.chain,
                torn_from: u64::MAX,
                cut: false,
            };
        }
        marks
    }
}

impl Active {
    /// Has the disk promise room for everything before `end`, and a little more. That the file is longer is on disk
    /// before anything is written there: so one that ends where its records do, or before, has been cut.
    fn allocate(&mut self, end: u64, piece: u64) -> io::Result<()> {
        if end < self.allocated {
            return Ok(());
        }
        let least = (end / UNIT + 1) * UNIT;
        let wanted = least.max((end / UNIT) * UNIT + piece.next_multiple_of(UNIT));
        let allocated = match self.file.allocate(wanted) {
            Err(error) if is_full(&error) && least < wanted => self.file.allocate(least).map(|()| least),
            other => other.map(|()| wanted),
        };
        self.allocated = allocated?;
        self.sync()
    }

    /// Gives up the room behind `end` that is not needed: it may be what the next segment needs. What a commit that
    /// failed has left there is wiped out before: a file that ends with a record is one that has been cut.
    fn shorten(&self, end: u64) -> io::Result<()> {
        let least = (end / UNIT + 1) * UNIT;
        self.file.write_at(&vec![0; (least - end) as usize], end)?;
        self.file.sync()?;
        self.file.truncate(least)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync()?;
        self.dirty = false;
        Ok(())
    }
}

/// Whether there is no room for more.
pub(in crate::store) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
