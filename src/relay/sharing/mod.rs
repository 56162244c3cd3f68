//! Subscriptions to topics that clients share: the broker sends a message once, and the edge gives it to all of them.
//!
//! ```text
//!   client ── joins, leaves ──▶ Sharing ◀── says what is wanted, tells what came ── Trunk ── the shared connection
//!     ▲                            │
//!     └──── Mailbox, its own ◀─────┘
//! ```
//!
//! A client that cannot join, or waits too long, subscribes over its own connection: nothing depends on sharing.
//!
//! | what | where |
//! |---|---|
//! | who is subscribed to what, and what the broker knows of it | here |
//! | what waits for one client | `mailbox` |
//! | the shared connection | `trunk` |
//! | a client's side | `client` |

mod client;
mod mailbox;
mod trunk;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub(super) use client::Member;
pub use mailbox::Bell;
use mailbox::{Mail, Mailbox};
pub use trunk::Trunk;

/// A client waits so long for the shared connection before it uses its own.
const JOIN_MS: u64 = 5_000;
/// A subscription that nobody has any more is kept so long for who comes next.
const LINGER_MS: u64 = 1_000;
/// A destination that the broker has refused is not asked for again over the shared connection for so long.
const REFUSED_MS: u64 = 600_000;
/// Nor is any other that is new, for so long: whoever looks for what is refused breaks the shared connection that seldom.
const CAREFUL_MS: u64 = 60_000;
/// Refused destinations that are remembered.
const MOST_REFUSED: usize = 1_000;
/// Losses while a subscription alone was being asked for, after which it is taken for refused.
const STRIKES: u8 = 3;

/// Who shares which subscription.
#[derive(Debug, Default)]
pub struct Sharing(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    bell: Option<Arc<dyn Bell>>,
    /// The shared connection has its CONNECTED.
    is_up: bool,
    /// Since when it has not, while it has not.
    since: u64,
    /// Clients were told that it is lost, and not yet that it is back.
    told: bool,
    next: u64,
    topics: BTreeMap<u64, Topic>,
    names: BTreeMap<Arc<str>, u64>,
    /// Clients by a number of theirs, and how many subscriptions each has.
    members: BTreeMap<u64, (Arc<Mailbox>, usize)>,
    /// Topics that the broker shall be asked for.
    wanted: BTreeSet<u64>,
    /// Those of them that may be why the connection was lost: they are asked for alone.
    suspects: BTreeSet<u64>,
    /// Topics that everybody has left; then, by the time at which they end, the same.
    emptied: BTreeSet<u64>,
    ending: BTreeSet<(u64, u64)>,
    /// Confirmed before the connection was lost, and not yet again.
    missing: BTreeSet<u64>,
    /// Destinations that the broker has refused, and until when that counts.
    refused: BTreeMap<Arc<str>, u64>,
    careful_until: u64,
}

/// One subscription at the broker.
#[derive(Debug)]
struct Topic {
    name: Arc<str>,
    stage: Stage,
    strikes: u8,
    /// By ticket, which is the order in which they came. Whoever hands out a message does so without the table's lock.
    entries: Arc<Vec<Entry>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Wanted,
    Asked,
    Confirmed,
}

/// One client's subscription.
#[derive(Clone, Debug)]
struct Entry {
    ticket: u64,
    mailbox: Arc<Mailbox>,
    /// It has not been told that it is confirmed.
    waits: bool,
}

/// A place on a shared subscription.
#[derive(Clone, Copy, Debug)]
struct Place {
    topic: u64,
    ticket: u64,
    /// The client's own RECEIPT need not wait.
    confirmed: bool,
}

/// What became of the shared connection's last words.
#[derive(Debug, PartialEq, Eq)]
pub struct Aftermath {
    /// The destination whose SUBSCRIBE the broker refused.
    pub refused: Option<Arc<str>>,
    /// The connection may be made again without a pause.
    pub at_once: bool,
}

impl Sharing {
    /// Rings `bell` whenever there is something to say to the broker.
    pub fn listen(&self, bell: Arc<dyn Bell>) {
        self.lock().bell = Some(bell);
    }

    /// Whether the shared connection is there.
    pub fn is_up(&self) -> bool {
        self.lock().is_up
    }

    /// Shared subscriptions, and clients that have one.
    pub fn counts(&self) -> (usize, usize) {
        let table = self.lock();
        (table.topics.len(), table.members.len())
    }

    /// The shared connection could not be made: who has been kept for `keep_ms` is kept no longer.
    pub fn not_reached(&self, keep_ms: u64, now: u64) {
        let mut table = self.lock();
        if keep_ms == 0 || now >= table.since.saturating_add(keep_ms) {
            table.give_up();
        }
    }

    /// A place for the member of that number; `None` if its subscription had better go over its own connection.
    fn join(&self, member: u64, mailbox: &Arc<Mailbox>, destination: &str, now: u64) -> Option<Place> {
        let mut table = self.lock();
        if !table.may_join(destination, now) {
            return None;
        }
        let topic = match table.names.get(destination) {
            Some(number) => *number,
            None => table.open(destination),
        };
        let ticket = table.number();
        let joined = table.topics.get_mut(&topic)?;
        let confirmed = joined.stage == Stage::Confirmed;
        Arc::make_mut(&mut joined.entries).push(Entry {
            ticket,
            mailbox: Arc::clone(mailbox),
            waits: !confirmed,
        });
        table.emptied.remove(&topic);
        let entry = table.members.entry(member);
        entry.or_insert_with(|| (Arc::clone(mailbox), 0)).1 += 1;
        if !confirmed {
            table.ring();
        }
        Some(Place {
            topic,
            ticket,
            confirmed,
        })
    }

    /// The member gives up a place, if it still has it.
    fn leave(&self, member: u64, place: Place) {
        let mut table = self.lock();
        table.forget(member);
        let Some(topic) = table.topics.get_mut(&place.topic) else {
            return;
        };
        if let Ok(at) = topic.entries.binary_search_by_key(&place.ticket, |entry| entry.ticket) {
            Arc::make_mut(&mut topic.entries).remove(at);
        }
        if topic.entries.is_empty() {
            match topic.stage {
                Stage::Wanted => table.remove(place.topic),
                Stage::Asked | Stage::Confirmed => {
                    table.emptied.insert(place.topic);
                    table.ring();
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn ring(&self) {
        if let Some(bell) = &self.bell {
            bell.ring();
        }
    }

    fn may_join(&mut self, destination: &str, now: u64) -> bool {
        if !self.is_up && now >= self.since + JOIN_MS {
            return false;
        }
        match self.refused.get(destination) {
            Some(until) if now < *until => return false,
            Some(_) => drop(self.refused.remove(destination)),
            None => {}
        }
        now >= self.careful_until || self.names.contains_key(destination)
    }

    /// A topic that nobody has had.
    fn open(&mut self, destination: &str) -> u64 {
        let number = self.number();
        let name: Arc<str> = destination.into();
        let topic = Topic {
            name: Arc::clone(&name),
            stage: Stage::Wanted,
            strikes: 0,
            entries: Arc::default(),
        };
        self.names.insert(name, number);
        self.topics.insert(number, topic);
        self.wanted.insert(number);
        number
    }

    fn remove(&mut self, number: u64) {
        if let Some(topic) = self.topics.remove(&number) {
            self.names.remove(&topic.name);
        }
        for set in [
            &mut self.wanted,
            &mut self.suspects,
            &mut self.emptied,
            &mut self.missing,
        ] {
            set.remove(&number);
        }
        self.restored();
    }

    /// A member has one subscription less.
    fn forget(&mut self, member: u64) {
        if let Some((_, subscriptions)) = self.members.get_mut(&member) {
            *subscriptions -= 1;
            if *subscriptions == 0 {
                self.members.remove(&member);
            }
        }
    }

    /// The shared connection has its CONNECTED: what everybody has left meanwhile is not asked for.
    fn up(&mut self) {
        self.is_up = true;
        self.restored();
    }

    /// The broker has confirmed a subscription.
    fn confirm(&mut self, number: u64) {
        let Some(topic) = self.topics.get_mut(&number) else {
            return;
        };
        topic.stage = Stage::Confirmed;
        topic.strikes = 0;
        if topic.entries.iter().any(|entry| entry.waits) {
            for entry in Arc::make_mut(&mut topic.entries).iter_mut().filter(|entry| entry.waits) {
                entry.waits = false;
                entry.mailbox.push(Mail::Confirmed(entry.ticket));
            }
        }
        if topic.entries.is_empty() {
            self.emptied.insert(number);
        }
        self.suspects.remove(&number);
        self.missing.remove(&number);
        self.restored();
    }

    /// Tells that all is there again, if it is and had been missed.
    fn restored(&mut self) {
        if self.told && self.is_up && self.missing.is_empty() {
            self.told = false;
            self.tell(&Mail::Back(true));
        }
    }

    fn tell(&self, mail: &Mail) {
        self.members
            .values()
            .for_each(|(mailbox, _)| mailbox.push(mail.clone()));
    }

    /// The broker will not have that subscription, or not over this connection: its clients ask by themselves, and
    /// hear what it says.
    fn turn_away(&mut self, number: u64, now: u64) -> Option<Arc<str>> {
        let topic = self.topics.get(&number)?;
        for entry in topic.entries.iter() {
            entry.mailbox.push(Mail::Elsewhere(entry.ticket));
        }
        let name = Arc::clone(&topic.name);
        self.remove(number);
        self.refused.retain(|_, until| now < *until);
        if self.refused.len() < MOST_REFUSED {
            self.refused.insert(Arc::clone(&name), now + REFUSED_MS);
        }
        self.careful_until = now + CAREFUL_MS;
        Some(name)
    }

    /// The shared connection is gone: everything is wanted again.
    fn down(&mut self, now: u64) {
        if self.is_up {
            self.is_up = false;
            self.since = now;
        }
        let left: Vec<u64> = self.topics.keys().copied().collect();
        for number in left {
            let Some(topic) = self.topics.get_mut(&number) else {
                continue;
            };
            if topic.entries.is_empty() {
                self.remove(number);
                continue;
            }
            if topic.stage == Stage::Confirmed {
                self.missing.insert(number);
            }
            topic.stage = Stage::Wanted;
            if !self.suspects.contains(&number) {
                self.wanted.insert(number);
            }
        }
        self.emptied.clear();
        self.ending.clear();
        if !self.told && !self.missing.is_empty() {
            self.told = true;
            self.tell(&Mail::Back(false));
        }
    }

    /// Clients whose subscriptions were confirmed are told that these are lost. Those that still wait have their own
    /// connections to turn to.
    fn give_up(&mut self) {
        for topic in self.topics.values_mut() {
            for entry in topic.entries.iter().filter(|entry| !entry.waits) {
                entry.mailbox.push(Mail::Lost);
            }
            Arc::make_mut(&mut topic.entries).retain(|entry| entry.waits);
        }
        self.missing.clear();
        self.told = false;
        let empty = self.topics.iter().filter(|(_, topic)| topic.entries.is_empty());
        let empty: Vec<u64> = empty.map(|(number, _)| *number).collect();
        empty.into_iter().for_each(|number| self.remove(number));
    }
}
