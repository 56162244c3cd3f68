//! Who is connected: the sessions of each user, and what they have subscribed under `/user`.
//!
//! As large as the number of connections and their subscriptions, which have limits of their own. A session stands here
//! from its CONNECTED to its end.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The users of a broker and their sessions.
#[derive(Debug, Default)]
pub struct Users {
    /// Locked alone.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// By the user's name, then by the session's number: in the order in which they came.
    named: BTreeMap<Arc<str>, BTreeMap<u64, Arc<Presence>>>,
    /// All sessions by token, those of nobody too.
    sessions: BTreeMap<Arc<str>, Arc<Presence>>,
    /// Sessions in `named`.
    of_users: usize,
}

/// One session, as others may know it.
#[derive(Debug)]
pub struct Presence {
    /// Whose it is; `None` for a session of nobody's.
    pub user: Option<Arc<str>>,
    /// What tells it from all others, and what nobody can guess. Not the `session` of CONNECTED.
    pub token: Arc<str>,
    /// Its number in the broker.
    pub number: u64,
    /// By serial. Locked alone.
    private: Mutex<BTreeMap<u32, Private>>,
    /// The nodes of a Spring application know of it.
    told: AtomicBool,
}

/// A subscription under `/user`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Private {
    /// The id that the client gave it.
    pub id: Arc<str>,
    /// As the client named it, which is what its MESSAGEs say: `/user/queue/x`.
    pub destination: Arc<str>,
}

impl Presence {
    /// Notes a subscription of the session under `/user`.
    pub fn add(&self, serial: u32, private: Private) {
        self.lock().insert(serial, private);
    }

    /// Forgets a subscription that has ended.
    pub fn remove(&self, serial: u32) {
        self.lock().remove(&serial);
    }

    /// What it has subscribed under `/user`, in the order in which it did.
    pub fn subscriptions(&self) -> Vec<Private> {
        self.lock().values().cloned().collect()
    }

    /// Hands `see` what it has subscribed under `/user`, in the order in which it did.
    pub fn each_subscription(&self, see: impl FnMut(&Private)) {
        self.lock().values().for_each(see);
    }

    /// Notes that the nodes of a Spring application know of it, and send to it themselves; or that they have forgotten it.
    pub fn mark_told(&self, told: bool) {
        self.told.store(told, Ordering::Relaxed);
    }

    /// Whether the nodes of a Spring application know of it.
    pub fn is_told(&self) -> bool {
        self.told.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u32, Private>> {
        self.private.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Users {
    /// Enters a session, until [`Users::leave`].
    pub(super) fn enter(&self, user: Option<Arc<str>>, token: Arc<str>, number: u64) -> Arc<Presence> {
        let presence = Arc::new(Presence {
            user,
            token,
            number,
            private: Mutex::default(),
            told: AtomicBool::new(false),
        });
        let mut state = self.lock();
        if let Some(user) = &presence.user {
            let sessions = state.named.entry(Arc::clone(user)).or_default();
            sessions.insert(number, Arc::clone(&presence));
            state.of_users += 1;
        }
        state
            .sessions
            .insert(Arc::clone(&presence.token), Arc::clone(&presence));
        presence
    }

    /// The session has ended.
    pub(super) fn leave(&self, presence: &Presence) {
        let mut state = self.lock();
        state.sessions.remove(&presence.token);
        let Some(user) = &presence.user else { return };
        let Some(sessions) = state.named.get_mut(user) else {
            return;
        };
        let left = sessions.remove(&presence.number).is_some();
        if sessions.is_empty() {
            state.named.remove(user);
        }
        state.of_users -= usize::from(left);
    }

    /// The sessions of a user, in the order in which they came.
    pub fn sessions(&self, user: &str) -> Vec<Arc<Presence>> {
        let state = self.lock();
        let sessions = state.named.get(user).into_iter().flatten();
        sessions.map(|(_, presence)| Arc::clone(presence)).collect()
    }

    /// The session with that token.
    pub fn session(&self, token: &str) -> Option<Arc<Presence>> {
        self.lock().sessions.get(token).map(Arc::clone)
    }

    /// The next sessions of users behind `last`, by name and then in the order in which they came, at most `most` of them;
    /// none at the end. So a walk through all of them never holds the others up for long; who comes or goes meanwhile it
    /// meets or does not.
    pub fn after(&self, last: Option<&Presence>, most: usize) -> Vec<Arc<Presence>> {
        let last = last.and_then(|last| Some((last.user.as_deref()?, last.number)));
        let state = self.lock();
        let same = last.and_then(|(user, number)| {
            let sessions = state.named.get(user)?;
            Some(sessions.range((Bound::Excluded(number), Bound::Unbounded)))
        });
        let behind = last.map_or(Bound::Unbounded, |(user, _)| Bound::Excluded(user));
        let others = state.named.range::<str, _>((behind, Bound::Unbounded));
        let others = others.flat_map(|(_, sessions)| sessions);
        let next = same.into_iter().flatten().chain(others).take(most);
        next.map(|(_, presence)| Arc::clone(presence)).collect()
    }

    /// Users who have a session, and their sessions.
    pub fn count(&self) -> (usize, usize) {
        let state = self.lock();
        (state.named.len(), state.of_users)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(users: &Users, name: &str) -> Vec<u64> {
        users.sessions(name).iter().map(|presence| presence.number).collect()
    }

    #[test]
    fn a_user_has_all_sessions_that_have_not_ended() {
        let users = Users::default();
        let second = users.enter(Some("joe".into()), "t2".into(), 2);
        let first = users.enter(Some("joe".into()), "t1".into(), 1);
        let nobody = users.enter(None, "t3".into(), 3);
        assert_eq!(numbers(&users, "joe"), [1, 2]);
        assert_eq!(numbers(&users, "ann"), [0; 0]);
        assert_eq!(users.count(), (1, 2));
        assert_eq!(users.session("t3").map(|presence| presence.number), Some(3));

        users.leave(&first);
        users.leave(&first);
        assert_eq!((numbers(&users, "joe"), users.count()), (vec![2], (1, 1)));
        users.leave(&second);
        users.leave(&nobody);
        assert_eq!(users.count(), (0, 0));
        assert!(users.after(None, 9).is_empty() && users.session("t2").is_none() && users.session("t3").is_none());
    }

    #[test]
    fn a_walk_meets_all_sessions_of_users_in_order_however_long_its_steps() {
        let users = Users::default();
        let all = [("ann", 4), ("joe", 1), ("joe", 3), ("joe", 7), ("zoe", 2)];
        for (name, number) in [all[3], all[0], all[4], all[1], all[2]] {
            users.enter(Some(name.into()), format!("t{number}").into(), number);
        }
        users.enter(None, "nobody's".into(), 9);
        for most in 1..7 {
            let mut met = Vec::new();
            let mut last = None;
            loop {
                let some = users.after(last.as_deref(), most);
                assert!(some.len() <= most);
                let Some(end) = some.last() else { break };
                last = Some(Arc::clone(end));
                met.extend(
                    some.iter()
                        .map(|p| (p.user.as_deref().unwrap_or_default().to_owned(), p.number)),
                );
            }
            assert_eq!(met, all.map(|(name, number)| (name.to_owned(), number)));
        }
        // The one where it stood may have gone with its user.
        let joe = users.sessions("joe");
        joe.iter().for_each(|presence| users.leave(presence));
        let next = users.after(joe.first().map(AsRef::as_ref), 9);
        assert_eq!(next.iter().map(|p| p.number).collect::<Vec<_>>(), [2]);
    }

    #[test]
    fn what_a_session_has_subscribed_is_there_until_it_ends() {
        let users = Users::default();
        let presence = users.enter(Some("joe".into()), "t1".into(), 1);
        let private = |id: &str| Private {
            id: id.into(),
            destination: "/user/queue/x".into(),
        };
        presence.add(7, private("b"));
        presence.add(3, private("a"));
        let known = users.session("t1").map(|presence| presence.subscriptions());
        assert_eq!(known, Some(vec![private("a"), private("b")]));
        presence.remove(3);
        assert_eq!(presence.subscriptions(), [private("b")]);
    }
}
