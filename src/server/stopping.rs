//! How a session goes along with a server that stops: it executes what its client had sent, reads no more when all others
//! have done so too, and says good-bye when nobody reads.

use super::roster::{Seat, Stage};

/// What a client sent before the server stopped may take this long to be seen here.
const LAST_WORDS_MS: u64 = 50;
/// How long a stopping server reads on from a client that never pauses.
const MOST_WORDS_MS: u64 = 1_000;

/// How far an open session is.
#[derive(Debug, Default)]
pub(super) enum Stopping {
    /// The server does not stop.
    #[default]
    No,
    /// Since then the client may finish its sentence.
    Since(u64),
    /// It has finished it.
    Finished,
    /// The session has been told.
    Told,
}

impl Stopping {
    /// Does what `stage` asks; whether the session is to say good-bye now. `more` says that the client has sent more than
    /// was read.
    pub(super) fn go_along(&mut self, seat: &mut Seat, stage: Stage, more: bool, now: u64) -> bool {
        match (stage, &self) {
            (Stage::Draining, Stopping::No) => *self = Stopping::Since(now),
            (Stage::Draining, Stopping::Since(since)) => {
                let patience = if more { MOST_WORDS_MS } else { LAST_WORDS_MS };
                if now >= since + patience {
                    *self = Stopping::Finished;
                    seat.agree(stage);
                }
            }
            (Stage::Halted, _) => {
                *self = Stopping::Finished;
                seat.agree(stage);
            }
            (Stage::Leaving, Stopping::No | Stopping::Since(_) | Stopping::Finished) => {
                *self = Stopping::Told;
                return true;
            }
            (Stage::Serving | Stage::Draining | Stage::Leaving | Stage::Ended, _) => {}
        }
        false
    }

    /// When [`Stopping::go_along`] has something to do.
    pub(super) fn due(&self) -> Option<u64> {
        match self {
            Stopping::Since(since) => Some(since + LAST_WORDS_MS),
            Stopping::No | Stopping::Finished | Stopping::Told => None,
        }
    }
}
