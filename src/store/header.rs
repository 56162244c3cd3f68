//! What stands at the beginning of a segment, and the `head` file that says which segments there must be.
//!
//! Both have a format version at the same place in every version, and a check over the same octets, so that a folder
//! of a later version is told from a damaged one.

use std::io;
use std::sync::Arc;

use super::disk::{Disk, DiskFile};
use super::record::{u32_at, u64_at};

/// The format that is written, and the latest that can be read.
pub(super) const VERSION: u8 = 1;

/// Octets of a segment's header and of a slot of the `head` file.
pub(super) const HEADER: usize = 64;

const SEGMENT: &[u8; 8] = b"HOOFSEGM";
const HEAD: &[u8; 8] = b"HOOFHEAD";

/// The file that says where the log begins and how far it goes.
pub(super) const HEAD_FILE: &str = "head";

/// What is wrong with a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unread {
    Damaged,
    /// Sound, and of this later format.
    Newer(u8),
}

/// Where the log ends before a segment: what a header vouches for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tail {
    /// The segment; 0 if there is none.
    pub(super) segment: u32,
    /// Octets of it that count.
    pub(super) end: u64,
    /// `chain` of its last record.
    pub(super) chain: u32,
    /// What is damaged behind it was never promised: the process ended in a commit.
    pub(super) torn_from: u64,
    /// Its file was found shorter than it had been made: what stood behind `end` is lost, however much that was.
    pub(super) cut: bool,
}

/// The beginning of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) segment: u32,
    pub(super) salt: u32,
    /// The last commit that was complete when it was begun.
    pub(super) turn: u8,
    pub(super) before: Tail,
}

impl Header {
    pub(super) fn write(&self) -> [u8; HEADER] {
        let mut out = [0; HEADER];
        out[..8].copy_from_slice(SEGMENT);
        out[8] = VERSION;
        out[9] = self.turn;
        out[12..16].copy_from_slice(&self.segment.to_le_bytes());
        out[16..20].copy_from_slice(&self.salt.to_le_bytes());
        write_tail(&mut out, &self.before);
        finish(out)
    }

    pub(super) fn read(octets: &[u8]) -> Result<Header, Unread> {
        let fixed = checked(octets, SEGMENT)?;
        Ok(Header {
            segment: u32_at(fixed, 12).ok_or(Unread::Damaged)?,
            salt: u32_at(fixed, 16).ok_or(Unread::Damaged)?,
            turn: fixed[9],
            before: read_tail(fixed).ok_or(Unread::Damaged)?,
        })
    }

    /// What the first record of the segment is chained to.
    pub(super) fn chain(&self) -> u32 {
        u32_at(&self.write(), HEADER - 4).unwrap_or_default()
    }
}

fn write_tail(out: &mut [u8; HEADER], tail: &Tail) {
    out[10] = u8::from(tail.cut);
    out[20..24].copy_from_slice(&tail.segment.to_le_bytes());
    out[24..32].copy_from_slice(&tail.end.to_le_bytes());
    out[32..36].copy_from_slice(&tail.chain.to_le_bytes());
    out[40..48].copy_from_slice(&tail.torn_from.to_le_bytes());
}

fn read_tail(fixed: &[u8]) -> Option<Tail> {
    Some(Tail {
        segment: u32_at(fixed, 20)?,
        end: u64_at(fixed, 24)?,
        chain: u32_at(fixed, 32)?,
        torn_from: u64_at(fixed, 40)?,
        cut: fixed[10] != 0,
    })
}

fn finish(mut out: [u8; HEADER]) -> [u8; HEADER] {
    let check = crc32c::crc32c(&out[..HEADER - 4]);
    out[HEADER - 4..].copy_from_slice(&check.to_le_bytes());
    out
}

fn checked<'a>(octets: &'a [u8], magic: &[u8; 8]) -> Result<&'a [u8; HEADER], Unread> {
    let fixed = octets.first_chunk::<HEADER>().ok_or(Unread::Damaged)?;
    let check = u32_at(fixed, HEADER - 4).ok_or(Unread::Damaged)?;
    if !fixed.starts_with(magic) || crc32c::crc32c(&fixed[..HEADER - 4]) != check {
        return Err(Unread::Damaged);
    }
    match fixed[8] {
        version if version > VERSION => Err(Unread::Newer(version)),
        _ => Ok(fixed),
    }
}

/// What the `head` file says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Extent {
    /// Rises with every change.
    pub(super) generation: u64,
    /// The folder's secret: see `record`.
    pub(super) salt: u32,
    /// Segments below it were removed on purpose.
    pub(super) first: u32,
    /// The highest one that was begun; 0 if none was.
    pub(super) last: u32,
    /// Where the log ended when it was closed; none while it is open, or if that never happened.
    pub(super) closed: Option<Tail>,
}

/// The two copies, the one that is written first before the other. They are in blocks of their own, so that a torn write
/// spares one.
const COPIES: [u64; 2] = [0, 4096];

impl Extent {
    fn write(&self) -> [u8; HEADER] {
        let mut out = [0; HEADER];
        out[..8].copy_from_slice(HEAD);
        out[8] = VERSION;
        out[9] = u8::from(self.closed.is_some());
        out[12..16].copy_from_slice(&self.first.to_le_bytes());
        out[16..20].copy_from_slice(&self.salt.to_le_bytes());
        write_tail(&mut out, &self.closed.unwrap_or_default());
        out[36..40].copy_from_slice(&self.last.to_le_bytes());
        out[48..56].copy_from_slice(&self.generation.to_le_bytes());
        finish(out)
    }

    fn read(octets: &[u8]) -> Result<Extent, Unread> {
        let fixed = checked(octets, HEAD)?;
        let read = || {
            Some(Extent {
                generation: u64_at(fixed, 48)?,
                salt: u32_at(fixed, 16)?,
                first: u32_at(fixed, 12)?,
                last: u32_at(fixed, 36)?,
                closed: if fixed[9] == 0 { None } else { Some(read_tail(fixed)?) },
            })
        };
        read().ok_or(Unread::Damaged)
    }
}

/// The `head` file: two copies of the same.
#[derive(Debug)]
pub(super) struct HeadFile {
    file: Arc<dyn DiskFile>,
    pub(super) extent: Extent,
}

/// What was found in place of it.
#[derive(Debug)]
pub(super) enum Found {
    Missing,
    /// No copy could be read.
    Damaged,
    Sound(Extent, Copies),
}

/// How many of the copies could be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Copies {
    Both,
    /// If it is the second, that may be what the file said before: so it is if the process ended while the first was
    /// written. Nothing can have been written then to the segments that only the first names.
    One,
}

impl HeadFile {
    /// Reads it.
    pub(super) fn look(disk: &dyn Disk) -> io::Result<Result<Found, u8>> {
        let file = match disk.open(HEAD_FILE) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Ok(Found::Missing)),
            Err(error) => return Err(error),
        };
        let mut copies = [None, None];
        for (copy, at) in copies.iter_mut().zip(COPIES) {
            let mut octets = [0; HEADER];
            file.read_at(&mut octets, at)?;
            match Extent::read(&octets) {
                Ok(found) => *copy = Some(found),
                Err(Unread::Damaged) => {}
                Err(Unread::Newer(version)) => return Ok(Err(version)),
            }
        }
        Ok(Ok(match copies {
            [Some(first), Some(second)] if second.generation > first.generation => Found::Sound(second, Copies::Both),
            [Some(first), Some(_)] => Found::Sound(first, Copies::Both),
            [Some(one), None] | [None, Some(one)] => Found::Sound(one, Copies::One),
            [None, None] => Found::Damaged,
        }))
    }

    /// Opens it for writing, or makes it.
    pub(super) fn keep(disk: &dyn Disk, extent: Extent) -> io::Result<HeadFile> {
        let file = match disk.open(HEAD_FILE) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => disk.create(HEAD_FILE)?,
            other => other?,
        };
        let mut head = HeadFile { file, extent };
        head.write(extent)?;
        disk.sync_folder()?;
        Ok(head)
    }

    /// Says something else from now on. If this fails, what it says is one or the other, and nobody knows which.
    pub(super) fn write(&mut self, extent: Extent) -> io::Result<()> {
        let generation = self.extent.generation + 1;
        let extent = Extent { generation, ..extent };
        for at in COPIES {
            self.file.write_at(&extent.write(), at)?;
            self.file.sync()?;
        }
        self.extent = extent;
        Ok(())
    }
}
