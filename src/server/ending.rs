//! How a connection goes to its end, whatever its session is: what is left is written, then our close, then the client
//! is given time to close too, so that no reset overtakes what it was told.
//!
//! ```text
//!           over              written, as it wished             it closes
//! Open ─────────────▶ Last ──────────────────────▶ Parting ──────────────▶ gone
//!   │                  │ written                      │ time is up            ▲
//!   │ takes nothing    ▼                              ▼    it closes, or time is up
//!   └──────────────▶ Closing ◀────────────────────────┘───────────────────────┘
//! ```

use std::task::{Context, Poll};

use crate::session::Close;

use super::transport::Transport;

/// The close code of a session that its client ended.
const NORMAL: u16 = 1000;
/// The end of a client that takes nothing.
const SLOW: Close = Close {
    code: 1008,
    reason: "slow-consumer",
};

/// The connection is over, and why, in the words of the counters.
pub(super) struct Over(pub(super) &'static str);

/// How far a connection is on its way to the end, and how long it may take.
pub(super) struct Ending {
    phase: Phase,
    /// When the socket must have taken something, if it is full.
    write_due: Option<u64>,
    /// The client has closed; there is nothing left to read.
    gone: bool,
    write_ms: u64,
    linger_ms: u64,
}

enum Phase {
    /// Frames come and go.
    Open,
    /// The session is over; what it still has to say is being written.
    Last(Close),
    /// All is written. The client asked for the end and is given until `until` to close first.
    Parting { close: Close, until: u64 },
    /// Our end is said; what the client sends is dropped until it closes, or until `until`.
    Closing { reason: &'static str, until: u64 },
}

/// How much of the output the socket has taken.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Flushed {
    /// All of it.
    All,
    /// Not all of it.
    Partly,
    /// Nothing for too long: the session ends now, and [`Ending::cut`] is called.
    Stalled,
}

impl Ending {
    /// Of a connection that is open. Its client may take nothing for `write_ms`, and has `linger_ms` to close.
    pub(super) fn new(write_ms: u64, linger_ms: u64) -> Ending {
        Ending {
            phase: Phase::Open,
            write_due: None,
            gone: false,
            write_ms,
            linger_ms,
        }
    }

    /// Whether frames come and go.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open)
    }

    /// Whether the session is over and what it still has to say is being written.
    pub(super) fn is_last(&self) -> bool {
        matches!(self.phase, Phase::Last(_))
    }

    /// The session is over. When it has nothing more to write, [`Ending::written`] is called.
    pub(super) fn begin(&mut self, close: Close) {
        self.phase = Phase::Last(close);
    }

    /// When [`Ending::pass_time`] or [`Ending::flush`] has something to do.
    pub(super) fn due(&self) -> Option<u64> {
        match self.phase {
            Phase::Open | Phase::Last(_) => self.write_due,
            Phase::Parting { until, .. } | Phase::Closing { until, .. } => Some(until),
        }
    }

    /// Waits no longer than it may for the client to close.
    pub(super) fn pass_time(&mut self, transport: &mut impl Transport, now: u64) -> Result<(), Over> {
        match &self.phase {
            Phase::Parting { close, until } if now >= *until => {
                let close = close.clone();
                self.say(&close, transport, now);
                Ok(())
            }
            Phase::Closing { reason, until } if now >= *until => Err(Over(reason)),
            _ => Ok(()),
        }
    }

    /// Writes the output.
    pub(super) fn flush(
        &mut self,
        transport: &mut impl Transport,
        cx: &mut Context<'_>,
        now: u64,
    ) -> Result<Flushed, Over> {
        let before = transport.accepted();
        match transport.poll_flush(cx) {
            Poll::Ready(Ok(())) => {
                self.write_due = None;
                return Ok(Flushed::All);
            }
            Poll::Ready(Err(_)) => return Err(Over("reset")),
            Poll::Pending => {}
        }
        if transport.accepted() != before || self.write_due.is_none() {
            self.write_due = Some(now + self.write_ms);
        }
        let stalled = self.write_due.is_some_and(|due| now >= due);
        Ok(match stalled && (self.is_open() || self.is_last()) {
            true => Flushed::Stalled,
            false => Flushed::Partly,
        })
    }

    /// Ends with a client that takes nothing: what waits for it is not worth waiting for.
    pub(super) fn cut(&mut self, transport: &mut impl Transport, now: u64) {
        self.say(&SLOW, transport, now);
    }

    /// What the session had to say is written.
    pub(super) fn written(&mut self, transport: &mut impl Transport, now: u64) {
        let Phase::Last(close) = &self.phase else { return };
        let close = close.clone();
        if close.code == NORMAL {
            let until = now + self.linger_ms;
            self.phase = Phase::Parting { close, until };
        } else {
            self.say(&close, transport, now);
        }
    }

    fn say(&mut self, close: &Close, transport: &mut impl Transport, now: u64) {
        transport.close(close);
        self.phase = Phase::Closing {
            reason: close.reason,
            until: now + self.linger_ms,
        };
    }

    /// Once the session is over: drops what the client still sends, writes our close, and waits for the client's.
    pub(super) fn close(&mut self, transport: &mut impl Transport, cx: &mut Context<'_>, now: u64) -> Result<(), Over> {
        if self.is_open() {
            return Ok(());
        }
        if !self.gone {
            self.gone = transport.poll_discard(cx).is_ready();
        }
        match self.phase {
            Phase::Parting { ref close, .. } if self.gone => {
                let reason = close.reason;
                self.flush(transport, cx, now)?;
                Err(Over(reason))
            }
            Phase::Closing { reason, .. } => {
                let flushed = self.flush(transport, cx, now)? == Flushed::All;
                let shut = flushed && transport.poll_shutdown(cx).is_ready();
                match shut && self.gone {
                    true => Err(Over(reason)),
                    false => Ok(()),
                }
            }
            Phase::Open | Phase::Last(_) | Phase::Parting { .. } => Ok(()),
        }
    }
}
