//! From a folder to what it holds.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;

use super::reading::{Reading, Wrong};
use super::write::UNIT;
use super::{segment_name, segment_number, Log, Segment, RESERVE};
use crate::broker::journal::{Recovered, Stub};
use crate::store::damage::{Damage, Flaw};
use crate::store::disk::{Disk, DiskFile};
use crate::store::header::{Extent, Found as FoundHead, HeadFile, Header, Slots, Tail, Unread, HEADER};
use crate::store::index::{Change, Index, Slot};
use crate::store::record::{Entry, Seal};
use crate::store::scan::{Found, Scanner, Spot};
use crate::store::shelf::Shelf;
use crate::store::{Error, Settings};

/// What a folder holds, before anything in it is changed.
#[derive(Debug)]
pub(in crate::store) struct Look {
    disk: Arc<dyn Disk>,
    head: Option<Extent>,
    salt: Option<u32>,
    segments: BTreeMap<u32, Segment>,
    /// Segments that are no part of the log: removed in part, or begun in vain.
    stale: Vec<u32>,
    highest: u32,
    tail: Tail,
    /// The commit of the last record, and whether that was its last.
    last: Option<(u8, bool)>,
    /// The last segment can be written to where its last record ends.
    goes_on: bool,
    index: Index,
    stubs: BTreeMap<u64, Shelf<Stub>>,
    /// From where on in a segment nothing was promised.
    torn: BTreeMap<u32, u64>,
    /// What is wrong, in the order of the log.
    pub(in crate::store) damage: Vec<Damage>,
}

/// A log that was opened, and what is in it.
#[derive(Debug)]
pub(in crate::store) struct Opened {
    pub(in crate::store) log: Log,
    pub(in crate::store) queues: Vec<Recovered>,
    pub(in crate::store) next_queue: u64,
    pub(in crate::store) damage: Vec<Damage>,
}

/// A segment's file as it was found.
struct Candidate {
    file: Arc<dyn DiskFile>,
    length: u64,
    header: Option<Header>,
}

impl Candidate {
    /// It was begun, and nothing was ever written to it.
    fn is_untouched(&self, segment: u32, salt: u32) -> bool {
        let file = Arc::clone(&self.file);
        let mut scanner = Scanner::new(file, Seal { salt, segment }, self.length, None, None);
        let whole = self.header.is_some() && self.length.is_multiple_of(UNIT);
        whole && matches!(scanner.next(), Found::End)
    }
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
        FoundHead::Sound(extent, Slots::Both) => look.head = Some(extent),
        FoundHead::Sound(extent, Slots::One) => look.head = Some(look.brought_up_to_date(extent, &candidates)),
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
            tail: Tail::default(),
            last: None,
            goes_on: false,
            index: Index::default(),
            stubs: BTreeMap::new(),
            torn: BTreeMap::new(),
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

    /// What the `head` file says, if it may be from before the last segment was begun: it was written again
    /// before anything was written to that.
    fn brought_up_to_date(&mut self, extent: Extent, candidates: &BTreeMap<u32, Candidate>) -> Extent {
        let later = candidates.range(extent.last + 1..).rev();
        let used = later.filter(|(number, candidate)| !candidate.is_untouched(**number, extent.salt));
        let Some(last) = used.map(|(number, _)| *number).next() else {
            return extent;
        };
        self.found(0, (0, 0), Flaw::Head);
        let first = if extent.last == 0 { 0 } else { extent.first };
        Extent { first, last, ..extent }
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
                self.found(head.last, (0, 0), Flaw::Gone);
            }
        }
        let mut links = Vec::new();
        let mut end: Option<Tail> = None;
        let mut is_last = true;
        while let Some((number, candidate)) = candidates.pop_last() {
            match end {
                // Begun, and given up before it held anything that counts.
                Some(tail) if number > tail.segment => {
                    self.stale.push(number);
                    continue;
                }
                Some(tail) if number < tail.segment && tail.segment >= first => {
                    self.found(tail.segment, (0, 0), Flaw::Gone);
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
            Some(tail) if tail.segment > 0 && tail.segment >= first => self.found(tail.segment, (0, 0), Flaw::Gone),
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
            open: link.is_last && vouched.is_none() && link.length.is_multiple_of(UNIT),
            torn_from: vouched.map_or(u64::MAX, |tail| tail.torn_from),
            behind: None,
            held: Vec::new(),
            wrong: Vec::new(),
            group: Vec::new(),
            end: HEADER as u64,
            chain: chain.unwrap_or_default(),
        };
        reading.all();
        let Reading {
            scanner,
            mut wrong,
            end,
            chain,
            ..
        } = reading;
        let last = scanner.last();
        match vouched {
            Some(tail) if end < tail.end && !wrong.iter().any(|wrong| wrong.to >= tail.end) => {
                wrong.push(Wrong::new(end, tail.end, None, Flaw::Unreadable));
            }
            Some(tail) if wrong.is_empty() && chain != tail.chain => {
                wrong.push(Wrong::new(end, end, None, Flaw::Missing));
            }
            _ => {}
        }
        self.last = last;
        self.tail = Tail {
            segment: number,
            end,
            chain,
            torn_from: u64::MAX,
        };
        self.judge(&link, vouched, wrong);
        let segment = Segment {
            file: link.file,
            end: vouched.map_or(end, |tail| tail.end),
        };
        self.segments.insert(number, segment);
    }

    /// Tells what was promised and is damaged from what the end of the process left half written.
    fn judge(&mut self, link: &Link, vouched: Option<Tail>, wrong: Vec<Wrong>) {
        let end = self.tail.end;
        let open = link.is_last && vouched.is_none();
        // Files are made longer before they are written to, but not even that is certain before a sync: records of a
        // commit that was torn may end where the file does.
        let ended = self.last.is_none_or(|(_, ended)| ended);
        let cut = open && (!link.length.is_multiple_of(UNIT) || (link.length <= end && ended));
        let sound = wrong.is_empty();
        let mut torn = u64::MAX;
        for wrong in wrong {
            // Without a later commit behind it, nobody was told that this one was complete.
            let turn = self.last.map(|(turn, _)| turn);
            let unpromised = wrong.from >= end || (wrong.turn.is_some() && wrong.turn == turn);
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
            self.found(link.number, (link.length, link.length), Flaw::Cut);
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
        for (queue, slots) in self.index.forget_nameless() {
            self.stubs.remove(&queue);
            // With the commit that was torn, the declaration was never promised, nor was what came to the queue.
            let promised = |slot: &&Slot| {
                let torn = self.torn.get(&slot.segment.get()).copied();
                u64::from(slot.offset) < torn.unwrap_or(u64::MAX)
            };
            let mut parts: BTreeMap<u32, (u64, u64, usize)> = BTreeMap::new();
            for slot in slots.iter().filter(promised) {
                let (from, to, count) = parts.entry(slot.segment.get()).or_insert((u64::MAX, 0, 0));
                *from = u64::from(slot.offset).min(*from);
                *to = u64::from(slot.offset + slot.length).max(*to);
                *count += 1;
            }
            for (segment, (from, to, count)) in parts {
                self.damage.push(Damage {
                    segment,
                    octets: (from, to),
                    flaw: Flaw::Nameless(count),
                    about: Some((queue, None)),
                });
            }
        }
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

    /// Makes it the log that is written to from now on.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the folder cannot be written to.
    pub(in crate::store) fn open(mut self, settings: Settings) -> Result<Opened, Error> {
        let disk = Arc::clone(&self.disk);
        let failed = |doing| Error::io_in(doing, disk.as_ref());
        let queues = self.queues();
        self.stubs.clear();
        self.set_aside();
        if let Some(segment) = self.segments.get(&self.tail.segment) {
            // What was read may have been written by a process that did not live to see it on disk.
            segment
                .file
                .sync()
                .map_err(failed("cannot write to the last segment in"))?;
        }
        let extent = self.extent(&settings);
        let head = HeadFile::keep(disk.as_ref(), extent).map_err(failed("cannot write the file head in"))?;
        for number in std::mem::take(&mut self.stale) {
            let _ = disk.remove(&segment_name(number));
        }
        let reserve = disk.open(RESERVE).and_then(|file| file.length());
        let mut log = Log {
            head,
            total: self.segments.values().map(|segment| segment.end).sum(),
            segments: self.segments,
            active: None,
            tail: self.tail,
            turn: self.last.map_or(0, |(turn, _)| turn),
            next_segment: self.highest.max(extent.last) + 1,
            index: self.index,
            sweep: None,
            reserve: reserve.is_ok_and(|length| length >= settings.reserve_octets),
            disk,
            settings,
        };
        if self.goes_on {
            log.go_on();
        } else if extent.closed.is_some() {
            // At once: what is damaged is judged by where the log ended, and once it is open only the next segment says
            // that. If this fails, the `head` file goes on saying it until a segment is begun.
            let _ = log.probe();
        }
        log.keep_reserve();
        Ok(Opened {
            next_queue: log.index.next_queue.max(1),
            log,
            queues,
            damage: self.damage,
        })
    }

    fn extent(&self, settings: &Settings) -> Extent {
        match self.head {
            Some(extent) => {
                let ends_damaged = |tail: &Tail| tail.segment == self.tail.segment && !self.goes_on;
                let closed = extent.closed.filter(ends_damaged);
                Extent { closed, ..extent }
            }
            None => Extent {
                generation: 0,
                salt: self.salt.unwrap_or(settings.salt),
                first: self.segments.keys().next().copied().unwrap_or_default(),
                last: self.segments.keys().next_back().copied().unwrap_or_default(),
                closed: None,
            },
        }
    }

    /// Copies what is damaged to files of its own: segments are removed when nothing in them counts any more.
    fn set_aside(&self) {
        for damage in &self.damage {
            let (from, to) = damage.octets;
            let Some(segment) = self.segments.get(&damage.segment).filter(|_| from < to) else {
                continue;
            };
            let name = format!("damaged/{:08}-{from}.part", damage.segment);
            if let Err(error) = copy(self.disk.as_ref(), segment.file.as_ref(), from..to, &name) {
                tracing::warn!(file = name, %error, "a damaged part could not be set aside");
            }
        }
    }
}

/// Copies part of a file. It is enough to have done so once.
pub(super) fn copy(
    disk: &dyn Disk,
    file: &dyn DiskFile,
    part: std::ops::Range<u64>,
    name: &str,
) -> std::io::Result<()> {
    const STEP: u64 = 1 << 20;
    let out = match disk.create(name) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => return Ok(()),
        other => other?,
    };
    let mut at = part.start;
    while at < part.end {
        let mut octets = vec![0; STEP.min(part.end - at) as usize];
        let count = file.read_at(&mut octets, at)?;
        octets.truncate(count);
        if octets.is_empty() {
            break;
        }
        out.write_at(&octets, at - part.start)?;
        at += count as u64;
    }
    out.sync()
}
