//! What the nodes of a Spring application have been told, and what is to be told next.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use crate::broker::Presence;

/// Age at which a snapshot is told again although nothing has changed.
const BEAT: Duration = Duration::from_secs(9);
/// Time within which all snapshots have their turn.
const ROUND: Duration = Duration::from_secs(8);
/// Age at which Spring has forgotten a snapshot, or is about to.
const FORGOTTEN: Duration = Duration::from_secs(18);
/// Octets of a snapshot, about: what is known of one user is never parted.
const SNAPSHOT: usize = 64 << 10;
/// Octets for one user, about; of more sessions of theirs nothing is told.
const USER: usize = 1 << 20;

/// What the nodes have been told.
pub(super) struct Snapshots {
    /// What their ids begin with.
    id: String,
    /// By number; a power of two of them, which never falls.
    all: Vec<Snapshot>,
}

#[derive(Clone, Default)]
struct Snapshot {
    /// As the last look found them: those of a user together.
    sessions: Vec<Arc<Presence>>,
    /// Digest of what the last look found.
    seen: u64,
    /// Digest of what was told last, and when.
    told: Option<(u64, Instant)>,
    /// Who was in it for the first time, until the next look.
    fresh: Vec<Arc<Presence>>,
}

/// A snapshot as it is told.
pub(super) struct Text {
    pub(super) json: String,
    /// Whose sessions are not all in it.
    pub(super) cut: Option<Arc<str>>,
    digest: u64,
    sessions: Vec<Arc<Presence>>,
}

/// What a walk through the users has found.
pub(super) struct Look {
    shares: Vec<(Vec<Arc<Presence>>, DefaultHasher)>,
    octets: usize,
    /// Octets of the user whose sessions are being met.
    of_user: usize,
    user: Option<Arc<str>>,
}

impl Snapshots {
    pub(super) fn new(id: String) -> Snapshots {
        Snapshots {
            id,
            all: vec![Snapshot::default()],
        }
    }

    /// Begins a walk through the users. What was told before it the nodes are taken to know from now on.
    pub(super) fn look(&mut self) -> Look {
        for session in self.all.iter_mut().flat_map(|snapshot| snapshot.fresh.drain(..)) {
            session.mark_told(true);
        }
        Look {
            shares: vec![Default::default(); self.all.len()],
            octets: 0,
            of_user: 0,
            user: None,
        }
    }

    /// Takes in what a walk has found; false if the users are to be parted among more snapshots, and it is to be done again.
    pub(super) fn take(&mut self, look: Look, now: Instant) -> bool {
        let wanted = look.octets.div_ceil(SNAPSHOT).next_power_of_two();
        if wanted > self.all.len() {
            self.all.resize(wanted, Snapshot::default());
            return false;
        }
        for (snapshot, (sessions, digest)) in self.all.iter_mut().zip(look.shares) {
            snapshot.sessions = sessions;
            snapshot.seen = digest.finish();
            let forgotten = |(_, told): &(u64, Instant)| now.saturating_duration_since(*told) >= FORGOTTEN;
            if snapshot.told.as_ref().is_some_and(forgotten) {
                snapshot.forget();
            }
        }
        true
    }

    /// The numbers of those that are to be told in this period, most urgent first. New ones come first of all: until they
    /// have been told, the users that have moved there are nowhere.
    pub(super) fn due(&self, now: Instant, period: Duration) -> Vec<usize> {
        let old = |told: Instant| now.saturating_duration_since(told) >= BEAT;
        let is_due = |snapshot: &Snapshot| match snapshot.told {
            None => true,
            Some((digest, told)) => digest != snapshot.seen || old(told),
        };
        let all = self.all.iter().enumerate();
        let due = all.filter(|(_, snapshot)| is_due(snapshot));
        let mut due: Vec<(Option<Instant>, usize)> = due
            .map(|(number, snapshot)| (snapshot.told.map(|(_, told)| told), number))
            .collect();
        due.sort();
        let share = self.all.len() as f64 * period.as_secs_f64() / ROUND.as_secs_f64();
        due.truncate((share.ceil() as usize).max(4));
        due.into_iter().map(|(_, number)| number).collect()
    }

    /// What the snapshot of this number says now.
    pub(super) fn text(&self, number: usize) -> Text {
        let sessions = self.all.get(number).map(|snapshot| snapshot.sessions.as_slice());
        let sessions = sessions.unwrap_or_default();
        let mut hasher = DefaultHasher::new();
        sessions.iter().for_each(|session| digest(session, &mut hasher));
        let mut users = BTreeMap::new();
        let mut cut = None;
        for of_user in sessions.chunk_by(|one, next| one.user == next.user) {
            let Some(name) = of_user.first().and_then(|session| session.user.as_ref()) else {
                continue;
            };
            let mut room = USER;
            let fits = |session: &&Arc<Presence>| {
                let left = room.checked_sub(octets(session));
                room = left.unwrap_or_default();
                left.is_some()
            };
            let told: Vec<&Arc<Presence>> = of_user.iter().take_while(fits).collect();
            cut = cut.or_else(|| (told.len() < of_user.len()).then(|| Arc::clone(name)));
            users.insert(name.as_ref(), told);
        }
        let telling = Telling {
            id: &format!("{}-{number}", self.id),
            users: users
                .iter()
                .map(|(name, told)| (*name, User::new(name, told)))
                .collect(),
        };
        Text {
            json: serde_json::to_string(&telling).unwrap_or_default(),
            cut,
            digest: hasher.finish(),
            sessions: users.into_values().flatten().cloned().collect(),
        }
    }

    /// It has been told: from the next look on the nodes are taken to know.
    pub(super) fn told(&mut self, number: usize, text: &Text, now: Instant) {
        if let Some(snapshot) = self.all.get_mut(number) {
            snapshot.told = Some((text.digest, now));
            let sessions = text.sessions.iter().filter(|session| !session.is_told());
            snapshot.fresh = sessions.cloned().collect();
        }
    }

    /// Nobody has been told anything.
    pub(super) fn forget(&mut self) {
        self.all.iter_mut().for_each(Snapshot::forget);
    }
}

impl Snapshot {
    fn forget(&mut self) {
        if self.told.take().is_some() {
            self.fresh.clear();
            self.sessions.iter().for_each(|session| session.mark_told(false));
        }
    }
}

impl Look {
    /// A session was met: one behind those before it, and those of a user one after the other.
    pub(super) fn see(&mut self, session: Arc<Presence>) {
        let Some(user) = &session.user else { return };
        let octets = octets(&session);
        if octets == 0 {
            return;
        }
        if self.user.as_ref() != Some(user) {
            self.user = Some(Arc::clone(user));
            self.of_user = 0;
        }
        self.octets += octets.min(USER - self.of_user);
        self.of_user = (self.of_user + octets).min(USER);
        let mut place = DefaultHasher::new();
        user.hash(&mut place);
        let number = place.finish() as usize % self.shares.len().max(1);
        if let Some((sessions, hasher)) = self.shares.get_mut(number) {
            digest(&session, hasher);
            sessions.push(session);
        }
    }
}

/// What a session costs in a snapshot, about; nothing if nobody is to hear of it.
fn octets(session: &Presence) -> usize {
    let mut octets = 0;
    session.each_subscription(|private| octets += 40 + private.id.len() + private.destination.len());
    let name = session.user.as_ref().map_or(0, |user| 2 * user.len());
    if octets == 0 {
        0
    } else {
        octets + 104 + name
    }
}

fn digest(session: &Presence, hasher: &mut DefaultHasher) {
    (&session.user, &session.token).hash(hasher);
    session.each_subscription(|private| (&private.id, &private.destination).hash(hasher));
}

/// A snapshot as Spring reads it.
#[derive(Serialize)]
struct Telling<'a> {
    id: &'a str,
    #[serde(rename = "userMap")]
    users: BTreeMap<&'a str, User<'a>>,
}

#[derive(Serialize)]
struct User<'a> {
    name: &'a str,
    sessions: Vec<Session<'a>>,
}

#[derive(Serialize)]
struct Session<'a> {
    id: &'a str,
    subscriptions: Vec<Subscription>,
}

#[derive(Serialize)]
struct Subscription {
    id: String,
    destination: String,
}

impl<'a> User<'a> {
    fn new(name: &'a str, sessions: &[&'a Arc<Presence>]) -> User<'a> {
        let private = |session: &Presence| {
            let all = session.subscriptions().into_iter();
            all.map(|private| Subscription {
                id: private.id.to_string(),
                destination: private.destination.to_string(),
            })
            .collect()
        };
        let sessions = sessions.iter().map(|session| Session {
            id: &session.token,
            subscriptions: private(session),
        });
        User {
            name,
            sessions: sessions.collect(),
        }
    }
}

#[cfg(test)]
mod tests;
