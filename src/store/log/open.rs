//! From what a folder holds to a log that is written to.

use std::sync::Arc;

use super::recover::Look;
use super::{segment_name, Log, RESERVE};
use crate::broker::journal::Recovered;
use crate::store::damage::Damage;
use crate::store::disk::{Disk, DiskFile};
use crate::store::header::{Extent, HeadFile, Tail};
use crate::store::{Error, Settings};

/// A log that was opened, and what is in it.
#[derive(Debug)]
pub(in crate::store) struct Opened {
    pub(in crate::store) log: Log,
    pub(in crate::store) queues: Vec<Recovered>,
    pub(in crate::store) next_queue: u64,
    pub(in crate::store) damage: Vec<Damage>,
}

impl Look {
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
            unread_at: None,
            vain: Vec::new(),
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
                let ends_damaged = |tail: &Tail| tail.segment > 0 && tail.segment == self.tail.segment && !self.goes_on;
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
            let name = damaged_part(damage.segment, from);
            if let Err(error) = copy(self.disk.as_ref(), segment.file.as_ref(), from..to, &name) {
                tracing::warn!(file = name, %error, "a damaged part could not be set aside");
            }
        }
    }
}

/// Where a damaged part of a segment is copied to.
pub(super) fn damaged_part(segment: u32, from: u64) -> String {
    format!("damaged/{segment:08}-{from}.part")
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
