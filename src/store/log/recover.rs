//! From a folder to what it holds.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;

use super::reading::{Reading, Wrong};
use super::write::UNIT;
use super::{segment_name, segment_number, Segment};
use crate::broker::journal::{Recovered, Stub};
use crate::store::damage::{Damage, Flaw};
use crate::store::disk::{Disk, DiskFile};
use crate::store::header::{Copies, Extent, Found as FoundHead, HeadFile, Header, Tail, Unread, HEADER};
use crate::store::index::{Change, Index, Slot};
use crate::store::record::{Entry, Seal};
use crate::store::scan::{Scanner, Spot};
use crate::store::shelf::Shelf;
use crate::store::Error;

/// What a folder holds, before anything in it is changed.
#[derive(Debug)]
pub(in crate::store) struct Look {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) head: Option<Extent>,
    pub(super) salt: Option<u32>,
    pub(super) segments: BTreeMap<u32, Segment>,
    /// Segments that are no part of the log: removed in part, or begun in vain.
    pub(super) stale: Vec<u32>,
    pub(super) highest: u32,
    /// The last segment, if that is not there; 0 if it is.
    lost_last: u32,
    pub(super) tail: Tail,
    /// The commit of the last record, and whether that was its last.
    pub(super) last: Option<(u8, bool)>,
    /// The last segment can be written to where its last record ends.
    pub(super) goes_on: bool,
    pub(super) index: Index,
    pub(super) stubs: BTreeMap<u64, Shelf<Stub>>,
    /// From where on in a segment nothing was promised.
    torn: BTreeMap<u32, u64>,
    /// Groups that were taken although their commit is torn: where each message is that they bring.
    salvaged: Vec<Vec<Brought>>,
    /// What is wrong, in the order of the log.
    pub(in crate::store) damage: Vec<Damage>,
}

/// A segment's file as it was found.
struct Candidate {
    file: Arc<dyn DiskFile>,
    length: u64,
    header: Option<Header>,
}

/// A segment that is part of the log, with what the next one's header says of its end.
struct Link {
    number: u32,
    file: Arc<dyn DiskFile>,
    length: u64,
    header: Option<Header>,
    end: Option<Tail>,
    is_last: bool,
}

/// A message and its record.
#[derive(Clone, Copy, Debug)]
pub(super) struct Brought {
    pub(super) queue: u64,
    pub(super) seq: u64,
    pub(super) segment: NonZeroU32,
    pub(super) spot: Spot,
}

/// Reads what a folder holds and changes nothing.
///
/// # Errors
///
/// [`Error::Newer`] if it is of a later format, [`Error::Io`] if it cannot be read at all. What is damaged is no
/// error.
pub(in crate::store) fn look(disk: &Arc<dyn Disk>) -> Result<Look, Error> {
    let failed = |doing| Error::io_in(doing, disk.as_ref());
    let mut look = Look::new(disk);
    let head = HeadFile::look(disk.as_ref()).map_err(failed("cannot read the file head in"))?;
    let head = head.map_err(|version| Error::newer(disk.as_ref(), version))?;
    let candidates = look.candidates()?;
    match head {
        FoundHead::Sound(extent, Copies::Both) => look.head = Some(extent),
        FoundHead::Sound(extent, Copies::One) => {
            look.found(0, (0, 0), Flaw::Copy);
            look.head = Some(extent);
        }
        FoundHead::Missing if candidates.is_empty() => {}
        FoundHead::Missing | FoundHead::Damaged => look.found(0, (0, 0), Flaw::Head),
    }
    let headers = candidates.values().filter_map(|candidate| candidate.header);
    look.salt = look
        .head
        .map(|head| head.salt)
        .or(headers.map(|header| header.salt).next());
    look.highest = candidates.keys().next_back().copied().unwrap_or_default();
    for link in look.links(candidates) {
        look.read(link);
    }
    look.finish();
    Ok(look)
}

impl Look {
    fn new(disk: &Arc<dyn Disk>) -> Look {
        Look {
            disk: Arc::clone(disk),
            head: None,
            salt: None,
            segments: BTreeMap::new(),
            stale: Vec::new(),
            highest: 0,
            lost_last: 0,
            tail: Tail::default(),
            last: None,
            goes_on: false,
            index: Index::default(),
            stubs: BTreeMap::new(),
            torn: BTreeMap::new(),
            salvaged: Vec::new(),
            damage: Vec::new(),
        }
    }

    fn found(&mut self, segment: u32, octets: (u64, u64), flaw: Flaw) {
        self.damage.push(Damage {
            segment,
            octets,
            flaw,
            about: None,
        });
    }

    fn gone(&mut self, segment: u32) {
        self.found(segment, (0, 0), Flaw::Gone);
    }

    /// Every segment's file, with its header where that is sound.
    fn candidates(&self) -> Result<BTreeMap<u32, Candidate>, Error> {
        let disk = self.disk.as_ref();
        let failed = |doing| Error::io_in(doing, disk);
        let names = disk.list().map_err(failed("cannot list"))?;
        let mut found = BTreeMap::new();
        for number in names.iter().filter_map(|name| segment_number(name)) {
            let file = disk
                .open(&segment_name(number))
                .map_err(failed("cannot open a segment in"))?;
            let length = file.length().map_err(failed("cannot read a segment in"))?;
            let mut octets = [0; HEADER];
            // What cannot be read is as good as damaged.
            let read = file.read_at(&mut octets, 0).unwrap_or_default();
            let header = match Header::read(octets.get(..read).unwrap_or_default()) {
                Ok(header) => Some(header).filter(|header| header.segment == number),
                Err(Unread::Damaged) => None,
                Err(Unread::Newer(version)) => return Err(Error::newer(disk, version)),
            };
            found.insert(number, Candidate { file, length, header });
        }
        Ok(found)
    }

    /// The segments that make up the log, first to last; each says which was before it. What is missing between them
    /// is found damaged.
    fn links(&mut self, mut candidates: BTreeMap<u32, Candidate>) -> Vec<Link> {
        let first = self.head.map_or(0, |head| head.first);
        if let Some(head) = self.head {
            // Removed, or never used: see `Log::begin`.
            let is_stale = |number: &u32| *number < head.first || *number > head.last;
            let stale: Vec<u32> = candidates.keys().copied().filter(is_stale).collect();
            for number in stale {
                candidates.remove(&number);
                self.stale.push(number);
            }
            if head.last > 0 && !candidates.contains_key(&head.last) {
                self.gone(head.last);
                self.lost_last = head.last;
            }
        }
        let mut links = Vec::new();
        let mut end: Option<Tail> = None;
        let mut is_last = self.lost_last == 0;
        while let Some((number, candidate)) = candidates.pop_last() {
            match end {
                // Begun, and given up before it held anything that counts.
                Some(tail) if number > tail.segment => {
                    self.stale.push(number);
                    continue;
                }
                Some(tail) if number < tail.segment && tail.segment >= first => {
                    self.gone(tail.segment);
                }
                _ => {}
            }
            let ends = end.filter(|tail| tail.segment == number);
            end = candidate.header.map(|header| header.before);
            links.push(Link {
                number,
                file: candidate.file,
                length: candidate.length,
                header: candidate.header,
                end: ends,
                is_last,
            });
            is_last = false;
        }
        match end {
            Some(tail) if tail.segment > 0 && tail.segment >= first => self.gone(tail.segment),
            _ => {}
        }
        links.reverse();
        links
    }

    /// Reads one segment.
    fn read(&mut self, link: Link) {
        let number = link.number;
        let closed = self
            .head
            .and_then(|head| head.closed)
            .filter(|tail| tail.segment == number);
        let vouched = link.end.or(closed.filter(|_| link.is_last));
        let limit = vouched.map_or(link.length, |tail| tail.end);
        let Some(salt) = link.header.map(|header| header.salt).or(self.salt) else {
            // Nothing in it can be told from anything else.
            self.found(number, (0, link.length), Flaw::Unreadable);
            return;
        };
        if link.header.is_none() {
            self.found(number, (0, HEADER as u64), Flaw::Header);
        }
        let chain = link.header.map(|header| header.chain());
        let seal = Seal { salt, segment: number };
        let last = match (self.last, link.header) {
            // Begun in the middle of a commit.
            (Some((turn, false)), Some(header)) if turn == header.turn.wrapping_add(1) => self.last,
            (_, Some(header)) => Some((header.turn, true)),
            (last, None) => last,
        };
        let mut reading = Reading {
            scanner: Scanner::new(Arc::clone(&link.file), seal, limit, chain, last),
            look: self,
            number,
            open: link.is_last && vouched.is_none(),
            torn_from: vouched.map_or(u64::MAX, |tail| tail.torn_from),
            behind: None,
            held: Vec::new(),
            wrong: Vec::new(),
            in_doubt: usize::MAX,
            group: Vec::new(),
            end: HEADER as u64,
            chain: chain.unwrap_or_default(),
        };
        reading.all();
        let end = reading.end;
        let cut = match vouched {
            Some(tail) => tail.cut,
            // Files are made longer, and that is on disk, before they are written to.
            None => link.is_last && (!link.length.is_multiple_of(UNIT) || link.length <= end),
        };
        reading.conclude(cut);
        let Reading {
            scanner,
            mut wrong,
            in_doubt,
            chain,
            ..
        } = reading;
        let last = scanner.last();
        match vouched {
            Some(tail) if end < tail.end && !wrong.iter().any(|wrong| wrong.to >= tail.end) => {
                wrong.push(Wrong::new(end, tail.end, Flaw::Unreadable));
            }
            Some(tail) if wrong.is_empty() && chain != tail.chain => {
                wrong.push(Wrong::new(end, end, Flaw::Missing));
            }
            _ => {}
        }
        self.last = last;
        self.tail = Tail {
            segment: number,
            end,
            chain,
            torn_from: u64::MAX,
            cut,
        };
        self.judge(&link, vouched, wrong, in_doubt);
        let segment = Segment {
            file: link.file,
            end: vouched.map_or(end, |tail| tail.end),
        };
        self.segments.insert(number, segment);
    }

    /// Tells what was promised and is damaged from what the end of the process left half written. `in_doubt` is the
    /// first of what is wrong that no later commit stands behind: nobody may have been told that its own was complete.
    fn judge(&mut self, link: &Link, vouched: Option<Tail>, wrong: Vec<Wrong>, in_doubt: usize) {
        let (end, cut) = (self.tail.end, self.tail.cut);
        let open = link.is_last && vouched.is_none();
        let sound = wrong.is_empty();
        let mut torn = u64::MAX;
        for (place, wrong) in wrong.into_iter().enumerate() {
            let unpromised = wrong.from >= end || place >= in_doubt;
            let known = vouched.is_some_and(|tail| wrong.from >= tail.torn_from);
            let is_torn = known || (open && !cut && unpromised);
            if is_torn {
                torn = torn.min(wrong.from);
            }
            self.damage.push(Damage {
                segment: link.number,
                octets: (wrong.from, wrong.to),
                flaw: if is_torn { Flaw::Torn } else { wrong.flaw },
                about: wrong.about,
            });
        }
        if cut {
            let end = vouched.map_or(end, |tail| tail.end);
            self.found(link.number, (end, end), Flaw::Cut);
        } else if open && sound && self.last.is_some_and(|(_, ended)| !ended) {
            torn = end;
            self.found(link.number, (end, end), Flaw::Torn);
        }
        self.torn
            .insert(link.number, torn.min(vouched.map_or(u64::MAX, |tail| tail.torn_from)));
        self.goes_on = link.is_last && link.header.is_some() && sound && !cut && torn == u64::MAX;
        self.tail.torn_from = torn;
        if let Some(vouched) = vouched.filter(|_| !self.goes_on) {
            // The next segment's header repeats it, so that every later start judges what is damaged as this one.
            self.tail = vouched;
        }
    }

    /// Takes one record.
    pub(super) fn take(&mut self, entry: &Entry<'_>, segment: NonZeroU32, spot: &Spot) {
        let change = self.index.apply(entry, segment, spot.at, spot.head.octets());
        match (change, entry) {
            (Change::In(queue, seq), Entry::Append { stub, .. }) => {
                self.stubs.entry(queue).or_default().insert(seq, *stub);
            }
            (Change::Out(queue, seq), _) => {
                if let Some(stubs) = self.stubs.get_mut(&queue) {
                    stubs.remove(seq);
                }
            }
            (Change::AllOut(queue), _) => {
                self.stubs.remove(&queue);
            }
            _ => {}
        }
    }

    fn finish(&mut self) {
        if self.lost_last > 0 {
            // The next segment's header names it, so that every later start misses it too.
            self.tail = Tail {
                segment: self.lost_last,
                torn_from: u64::MAX,
                ..Tail::default()
            };
        }
        let nameless = self.index.forget_nameless();
        let mut halves = std::mem::take(&mut self.salvaged);
        halves.retain(|group| group.iter().any(|one| nameless.contains_key(&one.queue)));
        for one in halves.iter().flatten() {
            self.leave_out(one);
        }
        for (queue, slots) in nameless {
            self.stubs.remove(&queue);
            self.name_nameless(queue, &slots);
        }
    }

    /// A group of which a part came to a queue that is not there, for its declaration was in the commit that was torn:
    /// nobody was promised that the group counts, and half of it must not.
    fn leave_out(&mut self, one: &Brought) {
        if !self.index.forget_at(one.queue, one.seq, one.segment, one.spot.at) {
            return;
        }
        if let Some(stubs) = self.stubs.get_mut(&one.queue) {
            stubs.remove(one.seq);
        }
        self.damage.push(Damage {
            segment: one.segment.get(),
            octets: (one.spot.at, one.spot.end()),
            flaw: Flaw::Torn,
            about: Some((one.queue, Some(one.seq))),
        });
    }

    /// Says which messages have no queue, segment by segment.
    fn name_nameless(&mut self, queue: u64, slots: &[Slot]) {
        let mut parts: BTreeMap<(u32, bool), (u64, u64, usize)> = BTreeMap::new();
        for slot in slots {
            let segment = slot.segment.get();
            // With the commit that was torn, the declaration was never promised, nor was what came to the queue.
            let torn_from = self.torn.get(&segment).copied().unwrap_or(u64::MAX);
            let promised = u64::from(slot.offset) < torn_from;
            let (from, to, count) = parts.entry((segment, promised)).or_insert((u64::MAX, 0, 0));
            *from = u64::from(slot.offset).min(*from);
            *to = u64::from(slot.offset + slot.length).max(*to);
            *count += 1;
        }
        for ((segment, promised), (from, to, count)) in parts {
            self.damage.push(Damage {
                segment,
                octets: (from, to),
                flaw: if promised { Flaw::Nameless(count) } else { Flaw::Torn },
                about: Some((queue, None)),
            });
        }
    }

    /// A message of a group that was taken although its commit is torn.
    pub(super) fn salvaged(&mut self, group: Vec<Brought>) {
        self.salvaged.push(group);
    }

    /// A queue's number is never given again, even if nothing of the queue counts.
    pub(super) fn numbered(&mut self, queue: u64) {
        self.index.next_queue = self.index.next_queue.max(queue.saturating_add(1));
    }

    /// The queues with their messages, by number.
    pub(in crate::store) fn queues(&self) -> Vec<Recovered> {
        let none = Shelf::default();
        let queues = self.index.queues.iter().map(|(queue, kept)| {
            let stubs = self.stubs.get(queue).unwrap_or(&none);
            // Both hold the same numbers in the same order.
            let entries = kept.entries.iter().zip(stubs.iter());
            Recovered {
                queue: *queue,
                name: kept.name.clone(),
                terms: kept.terms.clone(),
                below: kept.below,
                next_seq: kept.next_seq,
                entries: entries
                    .map(|((seq, slot), (_, stub))| (seq, slot.attempts, kept.stub(seq, *stub)))
                    .collect(),
            }
        });
        queues.collect()
    }

    /// Where a message is: its segment, and from where to where.
    #[cfg(test)]
    pub(in crate::store) fn place(&self, queue: u64, seq: u64) -> Option<(u32, u64, u64)> {
        let slot = self.index.slot(queue, seq)?;
        let from = u64::from(slot.offset);
        Some((slot.segment.get(), from, from + u64::from(slot.length)))
    }

    /// Segments, their octets, and those of them that count.
    pub(in crate::store) fn octets(&self) -> (usize, u64, u64) {
        let total = self.segments.values().map(|segment| segment.end).sum();
        (self.segments.len(), total, self.index.live())
    }
}
