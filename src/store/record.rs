//! One record on disk.
//!
//! ```text
//!  0  marker   0xb7
//!  1  kind     what happened
//!  2  flags    1: its group goes on with the next record, 2: it goes on with a group, 4: last record of a commit
//!  3  turn     number of the commit, modulo 256
//!  4  length   of the payload
//!  8  prev     `chain` of the record before it, or of the segment's header
//! 12  check    of the payload
//! 16  chain    of the 16 octets before it
//! 20  payload
//! ```
//!
//! Numbers are little-endian. Both checks are CRC32C and begin with a secret of the folder, the segment's number and
//! the record's offset, so that nothing else is taken for a record: not one that was moved, not one that a client
//! sent as a body. `chain` covers `check`, so `prev` of the next record vouches for the whole of this one.

use crate::broker::journal::Stub;
use crate::broker::message::Message;

/// Octets before the payload.
pub(super) const HEAD: usize = 20;
pub(super) const MARKER: u8 = 0xb7;

/// The group goes on with the next record.
pub(super) const MORE: u8 = 1;
/// It goes on with a group.
pub(super) const WITHIN: u8 = 2;
/// The last record of a commit.
pub(super) const END: u8 = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    Declare = 1,
    Append = 2,
    Attempts = 3,
    Settle = 4,
    Mark = 5,
    Remove = 6,
}

impl Kind {
    fn of(octet: u8) -> Option<Kind> {
        use Kind::{Append, Attempts, Declare, Mark, Remove, Settle};
        [Declare, Append, Attempts, Settle, Mark, Remove]
            .into_iter()
            .find(|kind| *kind as u8 == octet)
    }
}

/// Where a record stands, as its checks begin.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seal {
    /// The folder's secret.
    pub(super) salt: u32,
    /// The segment's number.
    pub(super) segment: u32,
}

impl Seal {
    fn at(self, offset: u64) -> u32 {
        let mut place = [0; 12];
        place[..4].copy_from_slice(&self.segment.to_le_bytes());
        place[4..].copy_from_slice(&offset.to_le_bytes());
        crc32c::crc32c_append(self.salt, &place)
    }
}

/// The fixed part of a record that was read and is sound.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    pub(super) kind: Kind,
    pub(super) flags: u8,
    pub(super) turn: u8,
    /// Octets of the payload.
    pub(super) length: u32,
    pub(super) prev: u32,
    pub(super) check: u32,
    pub(super) chain: u32,
}

impl Head {
    /// Reads it from the beginning of `octets`, which stand at `offset`; `None` if no record begins there.
    pub(super) fn read(octets: &[u8], seal: Seal, offset: u64) -> Option<Head> {
        let fixed = octets.first_chunk::<HEAD>()?;
        let [marker, kind, flags, turn, rest @ ..] = fixed;
        if *marker != MARKER {
            return None;
        }
        let chain = u32_at(rest, 12)?;
        if crc32c::crc32c_append(seal.at(offset), fixed.get(..16)?) != chain {
            return None;
        }
        Some(Head {
            kind: Kind::of(*kind)?,
            flags: *flags,
            turn: *turn,
            length: u32_at(rest, 0)?,
            prev: u32_at(rest, 4)?,
            check: u32_at(rest, 8)?,
            chain,
        })
    }

    pub(super) fn vouches_for(&self, payload: &[u8], seal: Seal, offset: u64) -> bool {
        crc32c::crc32c_append(seal.at(offset), payload) == self.check
    }

    /// Octets of the whole record.
    pub(super) fn octets(&self) -> u64 {
        HEAD as u64 + u64::from(self.length)
    }
}

/// Records that are not sealed yet, one behind the other: their checks are zero.
#[derive(Debug, Default)]
pub(super) struct Raw(Vec<u8>);

impl Raw {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn octets(&self) -> &[u8] {
        &self.0
    }

    pub(super) fn octets_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }

    /// Empties it, and lets go of memory that one large commit needed.
    pub(super) fn clear(&mut self) {
        const KEPT: usize = 4 << 20;
        self.0.clear();
        self.0.shrink_to(KEPT);
    }

    /// Adds all records of another.
    pub(super) fn append(&mut self, other: &Raw) {
        self.0.extend_from_slice(&other.0);
    }

    /// Adds one record of another, as one that stands alone.
    pub(super) fn append_record(&mut self, record: &[u8]) {
        let begin = self.0.len();
        self.0.extend_from_slice(record);
        if let Some(flags) = self.0.get_mut(begin + 2) {
            *flags = 0;
        }
    }

    /// Adds all records of another as one group: they count together or not at all.
    pub(super) fn append_group(&mut self, group: &Raw) {
        let begin = self.0.len();
        self.append(group);
        let whole = self.0.get_mut(begin..).unwrap_or_default();
        let (mut at, end) = (0, whole.len());
        while at < end {
            let next = at + raw_length(whole.get(at..).unwrap_or_default());
            let flags = if at > 0 { WITHIN } else { 0 } | if next < end { MORE } else { 0 };
            if let Some(octet) = whole.get_mut(at + 2) {
                *octet = flags;
            }
            at = next;
        }
    }

    /// Keeps the records for which `wanted` holds.
    pub(super) fn retain(&mut self, wanted: impl Fn(&Entry<'_>) -> bool) {
        let all = std::mem::take(&mut self.0);
        for (kind, record) in records(&all) {
            let entry = record.get(HEAD..).and_then(|payload| Entry::read(kind, payload));
            if entry.is_none_or(|entry| wanted(&entry)) {
                self.0.extend_from_slice(record);
            }
        }
    }

    pub(super) fn declare(&mut self, queue: u64, below: u64, next_seq: u64, name: &str, terms: &[u8]) {
        self.record(Kind::Declare, |out| {
            numbers(out, &[queue, below, next_seq]);
            // Destination names are limited to far less than 4 GiB.
            out.extend_from_slice(&(name.len() as u32).to_le_bytes());
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(terms);
        });
    }

    pub(super) fn append_message(&mut self, queue: u64, seq: u64, attempts: u32, message: &Message) {
        self.append_stored(queue, seq, attempts, &message.stub(), |out| message.store(out));
    }

    /// A message whose stored octets `octets` writes.
    pub(super) fn append_stored(
        &mut self,
        queue: u64,
        seq: u64,
        attempts: u32,
        stub: &Stub,
        octets: impl FnOnce(&mut Vec<u8>),
    ) {
        self.record(Kind::Append, |out| {
            numbers(out, &[queue, seq]);
            out.extend_from_slice(&attempts.to_le_bytes());
            out.extend_from_slice(&stub.size.to_le_bytes());
            let dated = u8::from(stub.expires.is_some()) | u8::from(stub.due.is_some()) << 1;
            out.extend_from_slice(&[stub.priority, dated]);
            for date in [stub.expires, stub.due].into_iter().flatten() {
                numbers(out, &[date]);
            }
            octets(out);
        });
    }

    /// Only one with a date has a field for it.
    pub(super) fn attempts(&mut self, queue: u64, seq: u64, attempts: u32, due: Option<u64>) {
        self.record(Kind::Attempts, |out| {
            numbers(out, &[queue, seq]);
            out.extend_from_slice(&attempts.to_le_bytes());
            numbers(out, due.as_slice());
        });
    }

    pub(super) fn settle(&mut self, queue: u64, seq: u64) {
        self.record(Kind::Settle, |out| numbers(out, &[queue, seq]));
    }

    pub(super) fn mark(&mut self, queue: u64, below: u64) {
        self.record(Kind::Mark, |out| numbers(out, &[queue, below]));
    }

    pub(super) fn remove(&mut self, queue: u64) {
        self.record(Kind::Remove, |out| numbers(out, &[queue]));
    }

    fn record(&mut self, kind: Kind, payload: impl FnOnce(&mut Vec<u8>)) {
        let begin = self.0.len();
        let mut head = [0; HEAD];
        head[0] = MARKER;
        head[1] = kind as u8;
        self.0.extend_from_slice(&head);
        payload(&mut self.0);
        let length = (self.0.len() - begin - HEAD) as u32;
        if let Some(field) = self.0.get_mut(begin + 4..begin + 8) {
            field.copy_from_slice(&length.to_le_bytes());
        }
    }
}

/// Octets of the unsealed record at the beginning of `raw`, all of `raw` if there is no whole one.
fn raw_length(raw: &[u8]) -> usize {
    let length = u32_at(raw, 4).map(|length| HEAD + length as usize);
    length.unwrap_or(raw.len()).min(raw.len())
}

/// Unsealed records, each with its kind.
pub(super) fn records(mut raw: &[u8]) -> impl Iterator<Item = (Kind, &[u8])> {
    std::iter::from_fn(move || {
        let kind = Kind::of(*raw.get(1)?)?;
        let (record, rest) = raw.split_at(raw_length(raw));
        raw = rest;
        Some((kind, record))
    })
}

/// How many octets of `raw` are whole groups that fit into `room`; those of the first group if it does not.
pub(super) fn fitting(raw: &[u8], room: u64) -> usize {
    let (mut fits, mut at) = (0, 0);
    for (_, record) in records(raw) {
        at += record.len();
        let ends = record.get(2).is_none_or(|flags| flags & MORE == 0);
        if !ends {
            continue;
        }
        if at as u64 > room && fits > 0 {
            break;
        }
        fits = at;
        if at as u64 > room {
            break;
        }
    }
    fits
}

/// Seals raw records that are to stand at `offset`, the first behind one with `chain`; the chain of the last.
pub(super) fn seal(raw: &mut [u8], seal: Seal, offset: u64, mut chain: u32, turn: u8, ends: bool) -> u32 {
    let (mut at, total) = (0, raw.len());
    while at < total {
        let Some(rest) = raw.get_mut(at..) else { break };
        let length = raw_length(rest);
        let Some((head, payload)) = rest
            .get_mut(..length)
            .and_then(|one| one.split_first_chunk_mut::<HEAD>())
        else {
            break;
        };
        let begin = seal.at(offset + at as u64);
        head[2] = head[2] & (MORE | WITHIN) | if ends && at + length == total { END } else { 0 };
        head[3] = turn;
        head[8..12].copy_from_slice(&chain.to_le_bytes());
        head[12..16].copy_from_slice(&crc32c::crc32c_append(begin, payload).to_le_bytes());
        chain = crc32c::crc32c_append(begin, &head[..16]);
        head[16..].copy_from_slice(&chain.to_le_bytes());
        at += length;
    }
    chain
}

/// What a record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry<'a> {
    Declare {
        queue: u64,
        below: u64,
        next_seq: u64,
        name: &'a str,
        terms: &'a [u8],
    },
    Append {
        queue: u64,
        seq: u64,
        attempts: u32,
        stub: Stub,
        octets: &'a [u8],
    },
    Attempts {
        queue: u64,
        seq: u64,
        attempts: u32,
        due: Option<u64>,
    },
    Settle {
        queue: u64,
        seq: u64,
    },
    Mark {
        queue: u64,
        below: u64,
    },
    Remove {
        queue: u64,
    },
}

impl<'a> Entry<'a> {
    /// Whether something is gone, or no longer in doubt, because of it.
    pub(super) fn removes(&self) -> bool {
        match self {
            Entry::Settle { .. } | Entry::Remove { .. } => true,
            Entry::Mark { below, .. } => *below == 0,
            Entry::Declare { .. } | Entry::Append { .. } | Entry::Attempts { .. } => false,
        }
    }

    /// Reads a payload; `None` if it is none of that kind.
    pub(super) fn read(kind: Kind, payload: &'a [u8]) -> Option<Entry<'a>> {
        let mut rest = Rest(payload);
        let queue = rest.u64()?;
        let entry = match kind {
            Kind::Declare => {
                let (below, next_seq, length) = (rest.u64()?, rest.u64()?, rest.u32()?);
                let name = std::str::from_utf8(rest.take(length as usize)?).ok()?;
                let terms = rest.all();
                Entry::Declare {
                    queue,
                    below,
                    next_seq,
                    name,
                    terms,
                }
            }
            Kind::Append => Entry::append(queue, &mut rest)?,
            Kind::Attempts => Entry::Attempts {
                queue,
                seq: rest.u64()?,
                attempts: rest.u32()?,
                due: if rest.0.is_empty() { None } else { Some(rest.u64()?) },
            },
            Kind::Settle => Entry::Settle {
                queue,
                seq: rest.u64()?,
            },
            Kind::Mark => Entry::Mark {
                queue,
                below: rest.u64()?,
            },
            Kind::Remove => Entry::Remove { queue },
        };
        rest.0.is_empty().then_some(entry)
    }

    fn append(queue: u64, rest: &mut Rest<'a>) -> Option<Entry<'a>> {
        let (seq, attempts, size) = (rest.u64()?, rest.u32()?, rest.u32()?);
        let [priority, dated] = *rest.take(2)? else {
            return None;
        };
        let expires = if dated & 1 == 0 { None } else { Some(rest.u64()?) };
        let due = if dated & 2 == 0 { None } else { Some(rest.u64()?) };
        let stub = Stub {
            size,
            priority,
            expires,
            due,
        };
        Some(Entry::Append {
            queue,
            seq,
            attempts,
            stub,
            octets: rest.all(),
        })
    }

    pub(super) fn queue(&self) -> u64 {
        match *self {
            Entry::Declare { queue, .. }
            | Entry::Append { queue, .. }
            | Entry::Attempts { queue, .. }
            | Entry::Settle { queue, .. }
            | Entry::Mark { queue, .. }
            | Entry::Remove { queue } => queue,
        }
    }

    pub(super) fn seq(&self) -> Option<u64> {
        match *self {
            Entry::Append { seq, .. } | Entry::Attempts { seq, .. } | Entry::Settle { seq, .. } => Some(seq),
            _ => None,
        }
    }
}

struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn all(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    fn u32(&mut self) -> Option<u32> {
        u32_at(self.take(4)?, 0)
    }

    fn u64(&mut self) -> Option<u64> {
        u64_at(self.take(8)?, 0)
    }
}

fn numbers(out: &mut Vec<u8>, numbers: &[u64]) {
    for number in numbers {
        out.extend_from_slice(&number.to_le_bytes());
    }
}

pub(super) fn u32_at(octets: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(octets.get(at..at + 4)?.try_into().ok()?))
}

pub(super) fn u64_at(octets: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(octets.get(at..at + 8)?.try_into().ok()?))
}
