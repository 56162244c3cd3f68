//! Users of ours for the nodes of a Spring application: snapshots of who is here, as the nodes send them to each other
//! (`userRegistryBroadcast`).
//!
//! Spring forgets a snapshot after 20 s, and takes a new one of the same id for the whole truth about that id. So that no
//! snapshot is large there are many, each under an id of its own and with its share of the users.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use crate::broker::{Broker, Draft, Names, Presence, Properties, Route};
use crate::stomp::{Headers, Line, Version};

use super::{embed, Shared};

/// Between two looks at who is here.
const LOOK: Duration = Duration::from_secs(1);
/// A look takes one part of the time in this many, at most: with very many users there are fewer.
const SHARE: u32 = 20;
/// Age at which a snapshot is told again although nothing has changed.
const BEAT: Duration = Duration::from_secs(9);
/// Looks within which all snapshots have had their turn.
const ROUND: usize = 8;
/// Octets of a snapshot, about: what is known of one user is never parted.
const SNAPSHOT: usize = 64 << 10;

/// Users by name, with those of their sessions that have subscriptions under `/user`.
type Here = BTreeMap<Arc<str>, Vec<Arc<Presence>>>;

/// Users by name, and what is known of them.
type Share<'a> = Vec<(&'a str, &'a [Arc<Presence>])>;

/// Tells the nodes of a Spring application who is here, until it is dropped.
pub(super) async fn tell(shared: Arc<Shared>, broker: Arc<Broker>, topic: String) {
    let names = Names {
        prefixes: &[],
        spring: &broker.settings().spring,
        limit: usize::MAX,
        token: "",
        user: None,
    };
    let Ok(to) = names.target(&topic) else { return };
    let route = Route {
        to,
        create: true,
        owner: None,
        options: None,
    };
    let mut snapshots = Snapshots::new(format!("hoofbeat-{}", broker.boot()));
    loop {
        let began = Instant::now();
        // What nobody hears is not worth the work.
        let due = match broker.is_heard(&route.to) {
            true => snapshots.due(&here(&broker), began),
            false => Vec::new(),
        };
        let pause = LOOK.max(began.elapsed() * SHARE) / u32::try_from(due.len() + 1).unwrap_or(u32::MAX);
        for number in due {
            if let Err(error) = publish(&shared, &broker, &route, &topic, snapshots.text(number)).await {
                tracing::warn!(%error, topic, "Spring was not told who is here");
            }
            snapshots.told(number, Instant::now());
            tokio::time::sleep(pause).await;
        }
        tokio::time::sleep(pause).await;
    }
}

async fn publish(shared: &Shared, broker: &Broker, route: &Route, topic: &str, text: &str) -> Result<(), super::Error> {
    let lines = [("content-type".to_owned(), "application/json".to_owned())];
    let headers = Headers::new(lines.iter().map(|(name, value)| Line { name, value }), true);
    let message = broker.message(Draft {
        destination: topic,
        headers: &headers,
        reply_to: None,
        body: text.as_bytes(),
        version: Version::V1_2,
        properties: Properties {
            priority: 4,
            ..Properties::default()
        },
        publisher: 0,
    });
    embed::give(shared, broker, route, &message).await
}

fn here(broker: &Broker) -> Here {
    let all = broker.users().all().into_iter();
    let private = all.map(|(name, sessions)| {
        let sessions = sessions.into_iter();
        let private = sessions.filter(|session| !session.subscriptions().is_empty());
        (name, private.collect::<Vec<_>>())
    });
    private.filter(|(_, sessions)| !sessions.is_empty()).collect()
}

/// What the nodes have been told.
struct Snapshots {
    /// What their ids begin with.
    id: String,
    /// By number; a power of two of them, which never falls.
    all: Vec<Snapshot>,
}

#[derive(Clone, Default)]
struct Snapshot {
    text: String,
    /// Whether it says something new.
    changed: bool,
    /// When it was told last.
    told: Option<Instant>,
    sessions: Vec<Arc<Presence>>,
    /// Who was in it when it was told, until the next look.
    fresh: Vec<Arc<Presence>>,
}

impl Snapshots {
    fn new(id: String) -> Snapshots {
        Snapshots {
            id,
            all: vec![Snapshot::default()],
        }
    }

    /// The numbers of those that are to be told now, most urgent first. New ones come first of all: until they have been
    /// told, the users that have moved there are nowhere.
    fn due(&mut self, here: &Here, now: Instant) -> Vec<usize> {
        for session in self.all.iter_mut().flat_map(|snapshot| snapshot.fresh.drain(..)) {
            session.mark_told();
        }
        let users = self.share(here);
        for (number, users) in users.iter().enumerate() {
            let text = Telling {
                id: &format!("{}-{number}", self.id),
                users: users
                    .iter()
                    .map(|(name, sessions)| (*name, User::new(name, sessions)))
                    .collect(),
            };
            let text = serde_json::to_string(&text).unwrap_or_default();
            if let Some(snapshot) = self.all.get_mut(number) {
                snapshot.changed |= snapshot.text != text;
                snapshot.text = text;
                snapshot.sessions = users
                    .iter()
                    .flat_map(|(_, sessions)| sessions.iter().cloned())
                    .collect();
            }
        }
        let old = |told: Instant| now.saturating_duration_since(told) >= BEAT;
        let is_due = |snapshot: &Snapshot| snapshot.changed || snapshot.told.is_none_or(old);
        let all = self.all.iter().enumerate();
        let due = all.filter(|(_, snapshot)| is_due(snapshot));
        let mut due: Vec<(Option<Instant>, usize)> = due.map(|(number, snapshot)| (snapshot.told, number)).collect();
        due.sort();
        due.truncate(self.all.len().div_ceil(ROUND).max(4));
        due.into_iter().map(|(_, number)| number).collect()
    }

    /// Parts the users among as many snapshots as they need.
    fn share<'a>(&mut self, here: &'a Here) -> Vec<Share<'a>> {
        let octets: usize = here.iter().map(|(name, sessions)| octets(name, sessions)).sum();
        let wanted = octets.div_ceil(SNAPSHOT).next_power_of_two();
        if wanted > self.all.len() {
            self.all.resize(wanted, Snapshot::default());
        }
        let mut shares = vec![Vec::new(); self.all.len()];
        for (name, sessions) in here {
            let mut hasher = DefaultHasher::new();
            name.hash(&mut hasher);
            let number = hasher.finish() as usize % shares.len();
            shares[number].push((name.as_ref(), sessions.as_slice()));
        }
        shares
    }

    fn text(&self, number: usize) -> &str {
        self.all
            .get(number)
            .map(|snapshot| snapshot.text.as_str())
            .unwrap_or_default()
    }

    /// It has been told: from the next look on the nodes are taken to know.
    fn told(&mut self, number: usize, now: Instant) {
        if let Some(snapshot) = self.all.get_mut(number) {
            snapshot.changed = false;
            snapshot.told = Some(now);
            let sessions = snapshot.sessions.iter().filter(|session| !session.is_told());
            snapshot.fresh = sessions.cloned().collect();
        }
    }
}

/// What a user costs in a snapshot, about.
fn octets(name: &str, sessions: &[Arc<Presence>]) -> usize {
    let session = |session: &Arc<Presence>| {
        64 + session
            .subscriptions()
            .iter()
            .map(|s| 40 + s.destination.len())
            .sum::<usize>()
    };
    40 + 2 * name.len() + sessions.iter().map(session).sum::<usize>()
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
    fn new(name: &'a str, sessions: &'a [Arc<Presence>]) -> User<'a> {
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
mod tests {
    use super::*;
    use crate::broker::journal::Volatile;
    use crate::broker::users::Private;
    use crate::broker::Settings;

    /// Users of these names, with a session and a subscription each.
    fn users(broker: &Broker, names: impl Iterator<Item = String>) -> Vec<Arc<Presence>> {
        let user = |name: String| {
            let presence = broker.greet(Some(name.as_str().into()), format!("token of {name}").into());
            presence.add(
                0,
                Private {
                    id: "0".into(),
                    destination: "/user/queue/pos".into(),
                },
            );
            presence
        };
        names.map(user).collect()
    }

    fn broker() -> Broker {
        Broker::new(Settings::default(), 1, Arc::new(Volatile))
    }

    /// Tells what is due, and says of whom.
    fn look(snapshots: &mut Snapshots, broker: &Broker, now: Instant) -> Vec<String> {
        let due = snapshots.due(&here(broker), now);
        let texts = due.iter().map(|number| snapshots.text(*number).to_owned()).collect();
        for number in due {
            snapshots.told(number, now);
        }
        texts
    }

    #[test]
    fn a_snapshot_is_what_spring_reads() {
        let broker = broker();
        let _zoe = users(&broker, ["zoe".to_owned()].into_iter());
        // Those without a subscription under /user are clients like any other, such as Spring itself.
        let _relay = broker.greet(Some("guest".into()), "t".into());
        let mut snapshots = Snapshots::new("edge".into());
        let text = look(&mut snapshots, &broker, Instant::now());
        let wanted = r#"{"id":"edge-0","userMap":{"zoe":{"name":"zoe","sessions":[{"id":"token of zoe","subscriptions":[{"id":"0","destination":"/user/queue/pos"}]}]}}}"#;
        assert_eq!(text, [wanted]);
    }

    #[test]
    fn it_is_told_again_when_it_changes_or_is_old() {
        let broker = broker();
        let mut snapshots = Snapshots::new("edge".into());
        let mut now = Instant::now();
        assert_eq!(look(&mut snapshots, &broker, now), [r#"{"id":"edge-0","userMap":{}}"#]);
        assert!(look(&mut snapshots, &broker, now).is_empty());
        let zoe = users(&broker, ["zoe".to_owned()].into_iter());
        assert_eq!(look(&mut snapshots, &broker, now).len(), 1);
        assert!(!zoe[0].is_told(), "the nodes may not have read it yet");
        assert!(look(&mut snapshots, &broker, now).is_empty());
        assert!(zoe[0].is_told());
        now += BEAT;
        assert_eq!(look(&mut snapshots, &broker, now).len(), 1);
        broker.part(&zoe[0]);
        assert_eq!(look(&mut snapshots, &broker, now), [r#"{"id":"edge-0","userMap":{}}"#]);
    }

    #[test]
    fn many_users_are_parted_and_every_part_has_its_turn() {
        let broker = broker();
        let mut snapshots = Snapshots::new("edge".into());
        let mut now = Instant::now();
        let few = users(&broker, (0..100).map(|n| format!("user {n}")));
        assert_eq!(look(&mut snapshots, &broker, now).len(), 1);
        let _many = users(&broker, (100..3_000).map(|n| format!("user {n}")));
        let mut told = Vec::new();
        for turn in 0..ROUND {
            let texts = look(&mut snapshots, &broker, now + LOOK * turn as u32);
            assert!(texts.iter().all(|text| text.len() < 2 * SNAPSHOT));
            told.push(texts);
        }
        assert!(
            !told[0].iter().any(|text| text.contains("\"edge-0\"")),
            "what is new comes first"
        );
        let all = told.concat();
        assert_eq!(all.len(), snapshots.all.len());
        assert!(all.len() >= 8);
        let names: usize = all.iter().map(|text| text.matches("\"name\"").count()).sum();
        assert_eq!(names, 3_000);
        assert!(few.iter().filter(|session| !session.is_told()).count() < 100);

        // Nothing is older than Spring remembers, however long it goes on.
        let mut ages: BTreeMap<String, u32> = BTreeMap::new();
        for turn in 0..30 {
            now += LOOK;
            for text in look(&mut snapshots, &broker, now) {
                let id = text.split('"').nth(3).unwrap_or_default().to_owned();
                let before = ages.insert(id, turn).unwrap_or(turn);
                assert!(turn - before < 19, "{before} {turn}");
            }
        }
        assert_eq!(ages.len(), snapshots.all.len());
    }
}
