//! `/user` destinations at this edge: whose sessions are here, and what their destinations are called behind.

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::passage::{head, Edit, Kept};
use super::Settings;
use crate::stomp::{Frame, Line, Version};

/// What user destinations begin with.
pub(super) const PREFIX: &str = "/user";

/// The header in which a destination's own name travels, as Spring has it.
pub(super) const ORIGIN: &str = "simpOrigDestination";

/// What stands between a destination and the session it belongs to.
const MARK: &str = "-user";

/// Hexadecimal digits of a session's token: 128 random bits.
const TOKEN: usize = 32;

/// Sessions by user, of those that are connected.
#[derive(Debug, Default)]
pub struct Users(Mutex<Registered>);

#[derive(Debug, Default)]
struct Registered {
    next: u64,
    /// Tokens in the order in which the sessions came.
    sessions: BTreeMap<String, BTreeMap<u64, Box<str>>>,
}

/// A session's entry; it is gone when this is dropped.
#[derive(Debug)]
pub(super) struct Entry {
    users: Arc<Users>,
    user: String,
    number: u64,
}

impl Users {
    pub(super) fn enter(self: &Arc<Users>, user: &str, token: &str) -> Entry {
        let mut registered = self.lock();
        let number = registered.next;
        registered.next += 1;
        let sessions = registered.sessions.entry(user.to_owned()).or_default();
        sessions.insert(number, token.into());
        Entry {
            users: Arc::clone(self),
            user: user.to_owned(),
            number,
        }
    }

    /// The tokens of the sessions of `user`.
    pub(super) fn sessions(&self, user: &str) -> Vec<Box<str>> {
        let registered = self.lock();
        let sessions = registered.sessions.get(user).into_iter().flat_map(BTreeMap::values);
        sessions.cloned().collect()
    }

    /// Users, and sessions of all of them.
    pub fn counts(&self) -> (usize, usize) {
        let registered = self.lock();
        let sessions = registered.sessions.values().map(BTreeMap::len).sum();
        (registered.sessions.len(), sessions)
    }

    fn lock(&self) -> MutexGuard<'_, Registered> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut registered = self.users.lock();
        if let Some(sessions) = registered.sessions.get_mut(&self.user) {
            sessions.remove(&self.number);
            if sessions.is_empty() {
                registered.sessions.remove(&self.user);
            }
        }
    }
}

/// A SEND on its way to each session of a user, so many octets at a time.
#[derive(Debug)]
pub(super) struct Spread {
    frame: Kept,
    /// The destination without the user.
    to: String,
    tokens: VecDeque<Box<str>>,
}

impl Spread {
    pub(super) fn new(frame: &Frame<'_>, to: &str, sessions: Vec<Box<str>>) -> Spread {
        Spread {
            frame: Kept::of(frame),
            to: to.to_owned(),
            tokens: sessions.into(),
        }
    }

    /// Writes copies until there are none left or `most` octets were written; the frame, if it is done. The RECEIPT is
    /// asked for with the last.
    pub(super) fn write(
        &mut self,
        version: Version,
        settings: &Settings,
        most: usize,
        mut write: impl FnMut(&[&[u8]]),
    ) -> Option<&Kept> {
        let frame = self.frame.frame();
        let shown = format!("{PREFIX}{}", self.to);
        let mut written = 0;
        while written < most {
            let Some(token) = self.tokens.pop_front() else { break };
            let behind = behind(&self.to, &token);
            let last = self.tokens.is_empty();
            let head = head(
                &frame,
                version,
                |line| personal(line, &behind, last),
                &added(&shown, settings),
            );
            written += head.len() + frame.body.len();
            write(&[&head, frame.body, &[0]]);
        }
        self.tokens.is_empty().then_some(&self.frame)
    }

    /// The RECEIPT that the sender waits for.
    pub(super) fn receipt(&self) -> Option<String> {
        self.frame.frame().headers.get("receipt").map(Cow::into_owned)
    }
}

/// The lines of a frame for a user destination: it is called `behind` there.
pub(super) fn personal<'e>(line: &Line<'_>, behind: &'e str, receipt: bool) -> Edit<'e> {
    match line.name {
        "destination" => Edit::Set(Cow::Borrowed(behind)),
        ORIGIN => Edit::Drop,
        "receipt" if !receipt => Edit::Drop,
        _ => Edit::Keep,
    }
}

/// What such a frame has besides.
pub(super) fn added<'a>(shown: &'a str, settings: &'a Settings) -> Vec<(&'a str, &'a str)> {
    let own = settings.user_headers.iter().filter_map(|header| header.split_once(':'));
    std::iter::once((ORIGIN, shown)).chain(own).collect()
}

/// The destination behind of `/user/DEST` for the session with `token`; `None` if it is no user destination.
pub(super) fn own(destination: &str, token: &str) -> Option<String> {
    let rest = destination.strip_prefix(PREFIX)?;
    (rest.len() > 1 && rest.starts_with('/')).then(|| behind(rest, token))
}

/// How the destination `rest` of the session with `token` is called behind.
pub(super) fn behind(rest: &str, token: &str) -> String {
    format!("{rest}{MARK}{token}")
}

/// User and destination of `/user/NAME/DEST`, in whose NAME a slash is `%2F`.
pub(super) fn other(destination: &str) -> Option<(String, &str)> {
    let rest = destination.strip_prefix(PREFIX)?.strip_prefix('/')?;
    let (name, _) = rest.split_once('/')?;
    let to = rest.get(name.len()..).filter(|to| to.len() > 1)?;
    (!name.is_empty()).then(|| (name.replace("%2F", "/").replace("%2f", "/"), to))
}

/// Whether SUBSCRIBE or SEND means a user destination at all.
pub(super) fn is_user(destination: &str) -> bool {
    destination
        .strip_prefix(PREFIX)
        .is_some_and(|rest| rest.starts_with('/'))
}

/// Destination and token of a name behind that belongs to a session of an edge.
pub(super) fn owner(behind: &str) -> Option<(&str, &str)> {
    let at = behind.len().checked_sub(TOKEN)?;
    let (name, token) = behind.split_at_checked(at)?;
    let digit = |octet: u8| octet.is_ascii_digit() || (b'a'..=b'f').contains(&octet);
    let rest = name.strip_suffix(MARK)?;
    token.bytes().all(digit).then_some((rest, token))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn g1_a_user_destination_has_the_session_behind_it() {
        let behind = own("/user/queue/pos", TOKEN).unwrap();
        assert_eq!(behind, format!("/queue/pos-user{TOKEN}"));
        assert_eq!(owner(&behind), Some(("/queue/pos", TOKEN)));
        for other in ["/queue/pos", "/user", "/user/", "/username/x", "user/queue/x"] {
            assert_eq!(own(other, TOKEN), None, "{other}");
        }
    }

    #[test]
    fn only_a_whole_token_makes_an_owner() {
        for name in [
            "/queue/x-users1",
            "/queue/x-user",
            "",
            "/queue/x-user0123456789ABCDEF0123456789ABCDEF",
            "/queue/한국어한국어한국어한국어",
        ] {
            assert_eq!(owner(name), None, "{name}");
        }
    }

    #[test]
    fn g2_a_user_is_named_before_the_destination() {
        assert_eq!(other("/user/bob/queue/x"), Some(("bob".to_owned(), "/queue/x")));
        assert_eq!(other("/user/a%2Fb/topic/x.y"), Some(("a/b".to_owned(), "/topic/x.y")));
        for none in ["/user/bob", "/user/bob/", "/user//queue/x", "/queue/x"] {
            assert_eq!(other(none), None, "{none}");
        }
    }

    #[test]
    fn sessions_come_and_go_in_order() {
        let users = Arc::new(Users::default());
        let first = users.enter("bob", "b1");
        let second = users.enter("bob", "b2");
        let _ann = users.enter("ann", "a1");
        assert_eq!(users.sessions("bob"), ["b1".into(), "b2".into()]);
        assert_eq!(users.counts(), (2, 3));
        drop(first);
        assert_eq!(users.sessions("bob"), ["b2".into()]);
        drop(second);
        assert_eq!((users.sessions("bob").len(), users.counts()), (0, (1, 1)));
    }
}
