//! Who may connect, and as whom.
//!
//! A check may take time, and a session never waits: it hands an [`Answer`] to the [`Authenticator`], reads nothing more
//! from its client meanwhile, and goes on when its outbound is nudged. So a client that sends on before its CONNECTED
//! fills its socket and nothing else.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use super::Principal;
use crate::broker::Outbound;

/// What a client says of itself in CONNECT. Not shown by `Debug`: a log is no place for a passcode.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Credentials {
    /// The `login` header, octet for octet.
    pub login: Option<Box<str>>,
    /// The `passcode` header, octet for octet.
    pub passcode: Option<Box<str>>,
    /// The `host` header.
    pub host: Option<Box<str>>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").finish_non_exhaustive()
    }
}

/// Decides on CONNECTs.
pub trait Authenticator: Send + Sync {
    /// Gives `answer`, at once or later and from any thread. It is called by the task of the connection: it must not
    /// block or compute for long. An answer that is dropped refuses. The session waits until its CONNECT deadline.
    fn authenticate(&self, credentials: Credentials, answer: Answer);
}

impl<F: Fn(Credentials, Answer) + Send + Sync> Authenticator for F {
    fn authenticate(&self, credentials: Credentials, answer: Answer) {
        self(credentials, answer);
    }
}

/// The authenticator of a server, shared by its sessions.
#[derive(Clone)]
pub struct Authentication(Arc<dyn Authenticator>);

impl Authentication {
    /// By `authenticator`, which may be a closure:
    ///
    /// ```
    /// use hoofbeat::session::{Authentication, Principal};
    ///
    /// let by_word = Authentication::by(|who: hoofbeat::session::Credentials, answer: hoofbeat::session::Answer| {
    ///     match (who.login.as_deref(), who.passcode.as_deref()) {
    ///         (Some(name), Some("open sesame")) => answer.accept(Principal::named(name)),
    ///         _ => answer.refuse(),
    ///     }
    /// });
    /// # let _ = by_word;
    /// ```
    pub fn by(authenticator: impl Authenticator + 'static) -> Authentication {
        Authentication(Arc::new(authenticator))
    }

    pub(crate) fn ask(&self, credentials: Credentials, outbound: &Arc<Outbound>) -> Verdict {
        let verdict = Verdict::default();
        let answer = Answer {
            verdict: verdict.clone(),
            outbound: Arc::clone(outbound),
            given: false,
        };
        self.0.authenticate(credentials, answer);
        verdict
    }
}

impl fmt::Debug for Authentication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authentication").finish_non_exhaustive()
    }
}

/// What is decided on one CONNECT: `None` inside while nothing is, then the principal, or nobody who may.
#[derive(Clone, Debug, Default)]
pub(crate) struct Verdict(Arc<Mutex<Option<Option<Principal>>>>);

impl Verdict {
    /// What was decided; `None` while nothing is.
    pub(crate) fn take(&self) -> Option<Option<Principal>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn set(&self, outcome: Option<Principal>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
    }
}

/// The answer that one CONNECT waits for.
#[derive(Debug)]
pub struct Answer {
    verdict: Verdict,
    outbound: Arc<Outbound>,
    given: bool,
}

impl Answer {
    /// The client may connect, as `principal`.
    pub fn accept(mut self, principal: Principal) {
        self.give(Some(principal));
    }

    /// It may not: ERROR `bad-credentials`.
    pub fn refuse(mut self) {
        self.give(None);
    }

    /// Whether the session still waits: it may have gone, or run out of time.
    pub fn is_awaited(&self) -> bool {
        Arc::strong_count(&self.verdict.0) > 1
    }

    fn give(&mut self, outcome: Option<Principal>) {
        if !std::mem::replace(&mut self.given, true) {
            self.verdict.set(outcome);
            self.outbound.nudge();
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.give(None);
    }
}
