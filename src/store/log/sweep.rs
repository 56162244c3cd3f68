//! Room: what does not count any more goes, from the beginning of the log.
//!
//! Only whole segments are removed, and only the first, so that a record which takes something back is never removed
//! before what it takes back. What still counts in the first segment is written again at the end.

use std::io;

use super::{segment_name, Log};
use crate::store::header::{Extent, HEADER};
use crate::store::record::{Entry, Raw};
use crate::store::scan::{Found, Scanner};

/// Octets that are looked through at once, between commits.
const SLICE: u64 = 1 << 20;

/// The first segment while what counts in it is moved.
#[derive(Debug)]
pub(super) struct Sweep {
    segment: u32,
    scanner: Scanner,
}

impl Log {
    /// Makes a little room, if there is some to be made. Whether there is more to do.
    ///
    /// # Errors
    ///
    /// As the disk says; nothing is lost then.
    pub(in crate::store) fn make_room(&mut self) -> io::Result<bool> {
        self.remove_dead()?;
        if self.sweep.is_none() && !self.is_worth_it() {
            return Ok(false);
        }
        self.move_slice()?;
        self.remove_dead()?;
        Ok(self.sweep.is_some() || self.is_worth_it())
    }

    /// More than half of the log does not count.
    fn is_worth_it(&self) -> bool {
        let (total, live) = self.octets();
        let headers = (self.segments.len() * HEADER) as u64;
        let waits = |at: u64| total >= at && total < at + self.settings.segment_octets;
        if self.unread_at.is_some_and(waits) {
            return false;
        }
        let is_behind = |first: &u32| *first < self.tail.segment;
        self.segments.keys().next().is_some_and(is_behind) && total.saturating_sub(headers) > 2 * live
    }

    /// Removes the first segments while nothing in them counts. The last stays: the next one refers to it.
    fn remove_dead(&mut self) -> io::Result<()> {
        let last = self.tail.segment;
        let dead = |number: &&u32| **number < last && self.index.live_in(**number) == 0;
        let dead: Vec<u32> = self.segments.keys().take_while(dead).copied().collect();
        let Some(removed) = dead.last() else {
            return Ok(());
        };
        // What took them back or moved them has to be there first.
        self.sync()?;
        let first = self
            .segments
            .range(removed + 1..)
            .next()
            .map_or(last, |(number, _)| *number);
        self.say(Extent {
            first,
            ..self.head.extent
        })?;
        for number in dead {
            if let Some(segment) = self.segments.remove(&number) {
                self.total -= segment.end;
            }
            if self.sweep.as_ref().is_some_and(|sweep| sweep.segment == number) {
                self.sweep = None;
            }
            // If this fails, the next start tries again.
            let _ = self.disk.remove(&segment_name(number));
        }
        self.keep_reserve();
        Ok(())
    }

    /// Writes a part of what counts in the first segment again.
    fn move_slice(&mut self) -> io::Result<()> {
        let Some(mut sweep) = self.sweep.take().or_else(|| self.first_sweep()) else {
            return Ok(());
        };
        let mut moved = Raw::default();
        let until = sweep.scanner.at + SLICE;
        let mut done = false;
        while sweep.scanner.at < until && !done {
            match sweep.scanner.next() {
                Found::Record(spot) => {
                    if let Some(entry) = Entry::read(spot.head.kind, sweep.scanner.payload(&spot)) {
                        self.write_again(&entry, sweep.segment, spot.at, &mut moved);
                    }
                }
                Found::Hole(_) => {}
                Found::End => done = true,
            }
        }
        if done {
            // From memory: a declaration that cannot be read any more is no loss.
            for queue in self.index.at_home_in(sweep.segment) {
                self.declare_again(queue, &mut moved);
            }
        }
        if !moved.is_empty() {
            // What fails here is looked at again: the index still has it where it was.
            self.commit(&mut moved)?;
        }
        if sweep.scanner.has_failed() {
            // What the disk does not give now it may give later: the segment stays, and is tried again when the log has
            // grown by another.
            tracing::error!(
                segment = sweep.segment,
                "a segment cannot be read, so what does not count stays too"
            );
            self.unread_at = Some(self.total);
            return Ok(());
        }
        match done {
            true => self.give_up_unreadable(sweep.segment),
            false => self.sweep = Some(sweep),
        }
        Ok(())
    }

    fn first_sweep(&self) -> Option<Sweep> {
        let (number, segment) = self.segments.first_key_value()?;
        let scanner = Scanner::new(segment.file.clone(), self.seal(*number), segment.end, None, None);
        Some(Sweep {
            segment: *number,
            scanner,
        })
    }

    fn write_again(&self, entry: &Entry<'_>, segment: u32, offset: u64, moved: &mut Raw) {
        if !self.index.is_live(entry, segment, offset) {
            return;
        }
        match *entry {
            Entry::Declare { queue, .. } => self.declare_again(queue, moved),
            Entry::Append {
                queue,
                seq,
                stub,
                octets,
                ..
            } => {
                let attempts = self.index.slot(queue, seq).map_or(0, |slot| slot.attempts);
                let stub = self.index.queues.get(&queue).map_or(stub, |kept| kept.stub(seq, stub));
                moved.append_stored(queue, seq, attempts, &stub, |out| out.extend_from_slice(octets));
            }
            _ => {}
        }
    }

    /// A declaration with all that later records said of the queue: those may be removed next.
    fn declare_again(&self, queue: u64, moved: &mut Raw) {
        if let Some(kept) = self.index.queues.get(&queue) {
            moved.declare(queue, kept.below, kept.next_seq.max(1), &kept.name, &kept.terms);
        }
    }

    /// What counted in a segment and could not be read to be moved is lost. The segment stays as evidence.
    fn give_up_unreadable(&mut self, segment: u32) {
        if self.index.live_in(segment) == 0 {
            return;
        }
        let lost = self.index.forget(segment);
        for (queue, seq) in lost {
            tracing::error!(queue, seq, segment, "a stored message cannot be read any more");
        }
        let Some(kept) = self.segments.get(&segment) else {
            return;
        };
        let name = format!("damaged/{}", segment_name(segment));
        let part = 0..kept.end;
        if let Err(error) = super::open::copy(self.disk.as_ref(), kept.file.as_ref(), part, &name) {
            tracing::warn!(file = name, %error, "a damaged segment could not be set aside");
        }
    }
}
