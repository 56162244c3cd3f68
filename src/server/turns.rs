//! How long a connection's turn may be: long where nobody waits, short where a client that says little has just come.
//!
//! What a long turn reads is delivered in large batches, which is most of what makes a flood cheap. But whoever comes
//! while it lasts waits for its end. So a client that had been silent for a while says here that it came, and for the
//! next moments the turns of all others are short.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::broker::Now;

/// Frames of a turn beside nobody, or beside others that flood too.
const LONG: usize = 128;
/// Frames of a turn beside a client that says little: about 25 microseconds of work.
const SHORT: usize = 24;
/// Who had nothing to read for this long, and then no more frames than these, says little. A flood that the machine has
/// held up comes back with more.
const SILENT_MS: u64 = 5;
const FEW: usize = 4;
/// So long turns stay short: with 50 messages a second from all quiet clients together, none meets a long one.
const SHORT_FOR_MS: u64 = 20;

/// When a client that says little was last served. One for all connections of a server.
#[derive(Debug, Default)]
pub(super) struct Quiet {
    /// Milliseconds of the server's clock, plus one; 0: never.
    seen: AtomicU64,
}

impl Quiet {
    /// Frames that a turn may read now.
    pub(super) fn frames(&self, now: Now) -> usize {
        let seen = self.seen.load(Ordering::Relaxed);
        if seen > 0 && now.mono < seen + SHORT_FOR_MS {
            SHORT
        } else {
            LONG
        }
    }

    fn came(&self, now: Now) {
        let seen = now.mono + 1;
        // Most come within the same millisecond as another: a load is cheaper for the other cores than a store.
        if self.seen.load(Ordering::Relaxed) != seen {
            self.seen.store(seen, Ordering::Relaxed);
        }
    }
}

/// When one connection last had something to read.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Milliseconds of the server's clock; `None`: never.
    last: Option<u64>,
}

impl Pace {
    /// The connection has read so many frames, or would if its turn were longer.
    pub(super) fn read(&mut self, quiet: &Quiet, frames: usize, now: Now) {
        let silent = self.last.is_none_or(|last| now.mono >= last + SILENT_MS);
        if silent && frames <= FEW {
            quiet.came(now);
        }
        self.last = Some(now.mono);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(mono: u64) -> Now {
        Now { mono, unix_ms: 0 }
    }

    #[test]
    fn turns_are_long_until_a_quiet_client_comes_and_short_for_a_while_after() {
        let quiet = Quiet::default();
        assert_eq!(quiet.frames(at(0)), LONG);
        Pace::default().read(&quiet, FEW, at(0));
        assert_eq!(quiet.frames(at(0)), SHORT);
        assert_eq!(quiet.frames(at(SHORT_FOR_MS)), SHORT);
        assert_eq!(quiet.frames(at(SHORT_FOR_MS + 1)), LONG);
    }

    #[test]
    fn a_client_that_talks_all_the_time_is_not_quiet() {
        let quiet = Quiet::default();
        let mut pace = Pace::default();
        pace.read(&quiet, 1, at(0));
        for now in 1..100 {
            pace.read(&quiet, 1, at(now));
        }
        assert_eq!(quiet.frames(at(100)), LONG);
        pace.read(&quiet, 1, at(99 + SILENT_MS));
        assert_eq!(quiet.frames(at(99 + SILENT_MS)), SHORT);
    }

    #[test]
    fn one_that_comes_back_with_much_is_no_quiet_one() {
        let quiet = Quiet::default();
        Pace::default().read(&quiet, FEW + 1, at(0));
        assert_eq!(quiet.frames(at(0)), LONG);
    }
}
