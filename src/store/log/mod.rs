//! The log itself: segments of records, one behind the other. Synchronous, and deterministic: what it does follows
//! from its calls and from what its disk says.
//!
//! | file | what it does |
//! |---|---|
//! | here | what there is, and reading one message |
//! | `recover` | from a folder to what it holds |
//! | `reading` | one segment of that, record by record |
//! | `open` | and to a log that is written to |
//! | `write` | commits, and the segments they need |
//! | `sweep` | removal from the head, and moving what still counts out of the way |

mod open;
mod reading;
mod recover;
mod sweep;
mod write;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use super::disk::{Disk, DiskFile};
use super::header::{HeadFile, Tail};
use super::index::Index;
use super::record::{records, Entry, Head, Kind, Seal, HEAD};
use super::Settings;

pub(super) use open::Opened;
pub(super) use recover::look;
pub(super) use write::is_full;

/// A segment that is there.
#[derive(Debug)]
struct Segment {
    file: Arc<dyn DiskFile>,
    /// Octets of it that count.
    end: u64,
}

/// The segment that is written to.
#[derive(Debug)]
struct Active {
    number: u32,
    file: Arc<dyn DiskFile>,
    end: u64,
    chain: u32,
    /// Octets for which the disk has promised room.
    allocated: u64,
    /// Something was written since the last sync.
    dirty: bool,
}

/// The log of one folder.
#[derive(Debug)]
pub(super) struct Log {
    disk: Arc<dyn Disk>,
    settings: Settings,
    head: HeadFile,
    segments: BTreeMap<u32, Segment>,
    /// Octets of all of them.
    total: u64,
    /// `None` until something is written, and when what was written to last failed: that is never written to again.
    active: Option<Active>,
    /// Where the log ends, as far as everything that was promised goes.
    tail: Tail,
    turn: u8,
    next_segment: u32,
    index: Index,
    sweep: Option<sweep::Sweep>,
    /// How long the log was when its first segment could not be read.
    unread_at: Option<u64>,
    /// Segments that were begun for commits that failed: to be removed when `head` certainly names none of them.
    vain: Vec<u32>,
    /// The file that is given up when the disk is full is there.
    reserve: bool,
}

/// Where a message lies.
#[derive(Clone, Debug)]
pub(super) struct Place {
    disk: Arc<dyn Disk>,
    file: Arc<dyn DiskFile>,
    seal: Seal,
    offset: u64,
    length: usize,
}

/// The file that is given up when the disk is full.
const RESERVE: &str = "reserve";

fn segment_name(number: u32) -> String {
    format!("{number:08}.log")
}

fn segment_number(name: &str) -> Option<u32> {
    let digits = name.strip_suffix(".log")?;
    let number = digits.parse().ok()?;
    (segment_name(number) == name && number > 0).then_some(number)
}

impl Log {
    /// Octets of the log, and those of them that count.
    pub(super) fn octets(&self) -> (u64, u64) {
        (self.total, self.index.live())
    }

    fn seal(&self, segment: u32) -> Seal {
        Seal {
            salt: self.head.extent.salt,
            segment,
        }
    }

    /// Where a message lies; `None` if it does not count.
    pub(super) fn locate(&self, queue: u64, seq: u64) -> Option<Place> {
        let slot = self.index.slot(queue, seq)?;
        let segment = slot.segment.get();
        Some(Place {
            disk: Arc::clone(&self.disk),
            file: Arc::clone(&self.segments.get(&segment)?.file),
            seal: self.seal(segment),
            offset: u64::from(slot.offset),
            length: slot.length as usize,
        })
    }
}

impl Place {
    /// The order in which places are read best: as they lie on disk.
    pub(super) fn order(&self) -> (u32, u64) {
        (self.seal.segment, self.offset)
    }

    /// Copies what is damaged to a file of its own.
    pub(super) fn set_aside(&self) {
        let name = open::damaged_part(self.seal.segment, self.offset);
        let part = self.offset..self.offset + self.length as u64;
        if let Err(error) = open::copy(self.disk.as_ref(), self.file.as_ref(), part, &name) {
            tracing::warn!(file = name, %error, "a damaged part could not be set aside");
        }
    }

    /// Reads the stored octets of a message.
    ///
    /// # Errors
    ///
    /// As the disk says, and it may say otherwise the next time; [`io::ErrorKind::InvalidData`] if something else stands
    /// there.
    pub(super) fn read(&self, queue: u64, seq: u64) -> io::Result<Vec<u8>> {
        let mut record = vec![0; self.length];
        // What a cut has taken counts as zeros, as it did at the start: the check says whether it was.
        self.file.read_at(&mut record, self.offset)?;
        let stored = Head::read(&record, self.seal, self.offset).and_then(|head| {
            let payload = record.get(HEAD..)?;
            let sound = head.octets() == self.length as u64 && head.vouches_for(payload, self.seal, self.offset);
            stored(head.kind, payload, queue, seq).filter(|_| sound)
        });
        let Some(length) = stored.map(<[u8]>::len) else {
            let what = format!("segment {:08}, octet {}: damaged", self.seal.segment, self.offset);
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        };
        record.drain(..record.len() - length);
        Ok(record)
    }
}

/// The stored octets of a message, if the payload is of a record that holds it.
fn stored(kind: Kind, payload: &[u8], queue: u64, seq: u64) -> Option<&[u8]> {
    match Entry::read(kind, payload)? {
        Entry::Append {
            queue: its_queue,
            seq: its_seq,
            octets,
            ..
        } if (its_queue, its_seq) == (queue, seq) => Some(octets),
        _ => None,
    }
}

/// The stored octets of a message that has not been written yet.
pub(super) fn find_raw(raw: &[u8], queue: u64, seq: u64) -> Option<Vec<u8>> {
    let mut found = records(raw).filter_map(|(kind, record)| stored(kind, record.get(HEAD..)?, queue, seq));
    found.next().map(<[u8]>::to_vec)
}

impl Log {
    /// Goes on writing where the last segment ends.
    fn go_on(&mut self) {
        let Some(segment) = self.segments.get(&self.tail.segment) else {
            return;
        };
        let Ok(length) = segment.file.length() else { return };
        self.active = Some(Active {
            number: self.tail.segment,
            file: Arc::clone(&segment.file),
            end: self.tail.end,
            chain: self.tail.chain,
            allocated: length / write::UNIT * write::UNIT,
            dirty: false,
        });
    }
}
