//! Users of ours for the nodes of a Spring application: snapshots of who is here, as the nodes send them to each other
//! (`userRegistryBroadcast`).
//!
//! Spring forgets a snapshot after 20 s, and takes a new one of the same id for the whole truth about that id. So that no
//! snapshot is large there are many, each under an id of its own and with its share of the users. Of what a snapshot says
//! only a digest is kept; its text is made when it is told.

mod snapshots;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::broker::users::Users;
use crate::broker::{Broker, Draft, Names, Presence, Properties, Route};
use crate::stomp::{Headers, Line, Version};

use super::{embed, Shared};
use snapshots::{Snapshots, Text};

/// Between two looks at who is here.
const LOOK: Duration = Duration::from_secs(1);
/// Looks take one part of the time in this many, at most: with very many users there are fewer.
const SHARE: u32 = 20;
/// Sessions that a look takes in at a time; then others have their turn.
const STEP: usize = 512;

/// Tells the nodes of a Spring application who is here, until it is dropped.
pub(super) async fn tell(shared: Arc<Shared>, broker: Arc<Broker>, topic: String) {
    let names = Names {
        prefixes: &[],
        spring: &broker.settings().spring,
        limit: usize::MAX,
        token: "",
        temporary: "",
        user: None,
    };
    let Ok(to) = names.target(&topic) else { return };
    let route = Route {
        to,
        create: true,
        owner: None,
        options: None,
    };
    let snapshots = Snapshots::new(format!("hoofbeat-{}", broker.boot()));
    let mut teller = Teller {
        shared,
        broker,
        topic,
        route,
        snapshots,
        mute: false,
        cut: false,
    };
    loop {
        let round = teller.round().await;
        tokio::time::sleep(round).await;
    }
}

/// Who tells the nodes.
struct Teller {
    shared: Arc<Shared>,
    broker: Arc<Broker>,
    topic: String,
    route: Route,
    snapshots: Snapshots,
    /// The last one could not be told.
    mute: bool,
    /// It has been said that not all sessions of a user are told.
    cut: bool,
}

impl Teller {
    /// Looks once, and tells what is due; how long to rest then.
    async fn round(&mut self) -> Duration {
        // What nobody hears is not worth the work, and who comes next knows nothing.
        if !self.broker.is_heard(&self.route.to) {
            self.snapshots.forget();
            return LOOK;
        }
        let worked = look(self.broker.users(), &mut self.snapshots, STEP).await;
        let period = LOOK.max(worked * SHARE);
        let due = self.snapshots.due(Instant::now(), period);
        let pause = period / u32::try_from(due.len() + 1).unwrap_or(u32::MAX);
        for (done, number) in due.iter().enumerate() {
            let text = self.snapshots.text(*number);
            if let Err(error) = self.publish(text.json.as_bytes()).await {
                // The others would have no more room; in the next round these come first.
                self.skip(due.len() - done, &error);
                return pause * u32::try_from(due.len() + 1 - done).unwrap_or(1);
            }
            self.told(*number, text);
            tokio::time::sleep(pause).await;
        }
        pause
    }

    async fn publish(&self, json: &[u8]) -> Result<(), super::Error> {
        let lines = [("content-type".to_owned(), "application/json".to_owned())];
        let headers = Headers::new(lines.iter().map(|(name, value)| Line { name, value }), true);
        let message = self.broker.message(Draft {
            destination: &self.topic,
            headers: &headers,
            reply_to: None,
            body: json,
            version: Version::V1_2,
            properties: Properties {
                priority: 4,
                ..Properties::default()
            },
            publisher: 0,
        });
        // A later one says more: none waits for room.
        embed::give_within(&self.shared, &self.broker, &self.route, &message, Duration::ZERO).await
    }

    fn told(&mut self, number: usize, text: Text) {
        if std::mem::take(&mut self.mute) {
            tracing::info!(topic = self.topic, "Spring is told again who is here");
        }
        if let (Some(user), false) = (text.cut.as_deref(), self.cut) {
            self.cut = true;
            tracing::warn!(
                topic = self.topic,
                user,
                "a user has more sessions than Spring is told of"
            );
        }
        self.snapshots.told(number, &text, Instant::now());
    }

    fn skip(&mut self, skipped: usize, error: &super::Error) {
        self.broker.counters().snapshots_skipped.add(skipped as u64);
        // Once, not every second.
        if !std::mem::replace(&mut self.mute, true) {
            tracing::warn!(%error, topic = self.topic, "Spring is not told who is here until there is room");
        }
    }
}

/// Walks through all users, and lets others go on after each step; the time that it worked itself.
async fn look(users: &Users, snapshots: &mut Snapshots, step: usize) -> Duration {
    let mut worked = Duration::ZERO;
    loop {
        let mut look = snapshots.look();
        let mut last: Option<Arc<Presence>> = None;
        loop {
            let began = Instant::now();
            let some = users.after(last.as_deref(), step);
            last = some.last().cloned();
            some.into_iter().for_each(|session| look.see(session));
            worked += began.elapsed();
            if last.is_none() {
                break;
            }
            tokio::task::yield_now().await;
        }
        let began = Instant::now();
        let enough = snapshots.take(look, began);
        worked += began.elapsed();
        if enough {
            return worked;
        }
    }
}
