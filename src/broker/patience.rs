//! How long publishers to a topic wait for a subscriber that does not keep up.

/// In the long run publishers wait at most one millisecond in this many for a subscriber, or it would set the pace of
/// all: one who is a little too slow for ever is a slow consumer too.
const REPAID: u64 = 10;
/// Beyond that they wait as long as for this many crowds.
const CROWDS: u64 = 20;

/// One that has taken nothing for this part of a crowd's patience is stuck, and nobody waits for it: a reader that only is
/// slow takes something far more often.
const STUCK: u64 = 10;

/// What publishers have waited for one subscriber. Times are `Now::mono`.
#[derive(Debug, Default)]
pub struct Patience {
    /// Since when more waits than it should.
    since: Option<u64>,
    /// Milliseconds waited, less a tenth of the time since; as of `owed_at`.
    owed: u64,
    owed_at: u64,
    /// When it last took something, or something began to wait for it.
    moved: u64,
}

impl Patience {
    /// Until when a publisher should wait before it asks again, with `patience_ms` for a crowd; `None` once that is used
    /// up, and for a subscriber that is stuck.
    pub fn wait(&mut self, patience_ms: u64, now: u64) -> Option<u64> {
        let until = *self.since.get_or_insert(now) + patience_ms;
        let until = until.min(self.moved + patience_ms.div_ceil(STUCK));
        (now < until && self.owed(now) < patience_ms * CROWDS).then_some(until)
    }

    /// The subscriber took something, or something begins to wait for it.
    pub fn moves(&mut self, now: u64) {
        self.moved = now;
    }

    /// The subscriber has caught up.
    pub fn renew(&mut self, now: u64) {
        if let Some(since) = self.since.take() {
            self.owed = self.owed(now) + now.saturating_sub(since);
            self.owed_at = now;
        }
    }

    fn owed(&self, now: u64) -> u64 {
        self.owed.saturating_sub(now.saturating_sub(self.owed_at) / REPAID)
    }
}
