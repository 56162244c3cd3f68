//! Topics: each message to everyone who listens.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use super::message::Message;
use super::outbound::{Offer, Offered, Outbound};
use super::pattern::{pieces, Pattern, Trie};
use super::settings::{Separator, TopicPolicy};
use super::stats::Counters;
use super::subscription::Target;
use super::Now;

/// Subscriptions of one moment, shared by the publishers that use them.
#[derive(Debug, Default)]
pub struct Routes {
    /// Those of connections.
    pub live: Box<[Arc<Target>]>,
    /// Those that outlive them.
    pub durable: Box<[Arc<Target>]>,
}

/// Wildcard subscriptions of a broker.
#[derive(Debug)]
pub struct Patterns {
    /// Locked after a topic, never before.
    trie: RwLock<Trie<Arc<Target>>>,
    /// Rises with each pattern that may touch any topic.
    everywhere: AtomicU64,
    /// Rises with each pattern that only touches topics with a root in this bucket, so that one SUBSCRIBE does not
    /// make all topics look again.
    by_root: Box<[AtomicU64]>,
}

/// Buckets of [`Patterns::by_root`].
const BUCKETS: usize = 256;

impl Default for Patterns {
    fn default() -> Self {
        Patterns {
            trie: RwLock::default(),
            everywhere: AtomicU64::new(0),
            by_root: (0..BUCKETS).map(|_| AtomicU64::new(0)).collect(),
        }
    }
}

impl Patterns {
    /// Adds a subscription; topics see it from their next message on.
    pub fn add(&self, pattern: &Pattern, target: &Arc<Target>) {
        let mut trie = self.trie.write().unwrap_or_else(PoisonError::into_inner);
        trie.insert(pattern, Arc::clone(target));
        drop(trie);
        self.touch(pattern);
    }

    /// Removes a subscription; whether any pattern is left.
    pub fn remove(&self, pattern: &Pattern, target: &Arc<Target>) -> bool {
        let mut trie = self.trie.write().unwrap_or_else(PoisonError::into_inner);
        trie.remove(pattern, target);
        let left = !trie.is_empty();
        drop(trie);
        self.touch(pattern);
        left
    }

    /// Wildcard subscriptions there are.
    pub fn len(&self) -> usize {
        self.trie.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Those that match a topic.
    pub fn find(&self, name: &str, separator: Separator) -> Vec<Arc<Target>> {
        let mut found = Vec::new();
        let trie = self.trie.read().unwrap_or_else(PoisonError::into_inner);
        trie.find(name, separator, &mut found);
        found
    }

    fn touch(&self, pattern: &Pattern) {
        match pattern.root() {
            Some(root) => self.bucket(root).fetch_add(1, Ordering::Release),
            None => self.everywhere.fetch_add(1, Ordering::Release),
        };
    }

    fn version(&self, root: &str) -> u64 {
        self.everywhere.load(Ordering::Acquire) + self.bucket(root).load(Ordering::Acquire)
    }

    fn bucket(&self, root: &str) -> &AtomicU64 {
        // FNV-1a: equal roots must meet; that unequal ones sometimes do costs a look-up.
        let hash = root.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| {
            (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3)
        });
        self.by_root.get(hash as usize % BUCKETS).unwrap_or(&self.everywhere)
    }
}

/// One topic that has subscriptions, or whose matching wildcard subscriptions are remembered.
#[derive(Debug)]
pub struct Topic {
    /// Its canonical name.
    pub name: Arc<str>,
    /// Only this session may subscribe (a temporary topic).
    pub owner: Option<u64>,
    /// No pattern matches it, whatever forms the operator has made.
    private: bool,
    separator: Separator,
    policy: TopicPolicy,
    /// Locked before any outbound, never after; publishing happens outside it.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Removed from the directory: look again.
    retired: bool,
    /// Subscriptions to exactly this topic.
    own: Vec<Arc<Target>>,
    /// `own` and the wildcard ones, as of a version of the patterns.
    routes: Option<(u64, Arc<Routes>)>,
}

impl Topic {
    /// A topic nobody has subscribed to yet.
    pub fn new(name: Arc<str>, separator: Separator, policy: TopicPolicy, owner: Option<u64>, private: bool) -> Topic {
        Topic {
            name,
            owner,
            private,
            separator,
            policy,
            state: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a subscription; false if the topic has been retired meanwhile.
    pub fn add(&self, target: Arc<Target>) -> bool {
        let mut state = self.lock();
        if state.retired {
            return false;
        }
        state.own.push(target);
        state.routes = None;
        true
    }

    /// Removes a subscription; true if it was the last one and the topic is retired now.
    pub fn remove(&self, target: &Target) -> bool {
        let mut state = self.lock();
        state.own.retain(|own| **own != *target);
        state.routes = None;
        if state.own.is_empty() {
            state.retired = true;
        }
        state.retired
    }

    /// Retires a topic that is only remembered for its wildcard subscriptions.
    pub fn forget(&self) -> bool {
        let mut state = self.lock();
        if state.own.is_empty() {
            state.retired = true;
        }
        state.retired
    }

    /// Subscriptions to exactly this topic.
    pub fn subscriptions(&self) -> usize {
        self.lock().own.len()
    }

    /// What becomes of its subscribers who do not keep up.
    pub fn policy(&self) -> &TopicPolicy {
        &self.policy
    }

    /// Who hears it now.
    pub fn routes(&self, patterns: &Patterns) -> Arc<Routes> {
        let root = pieces(&self.name, self.separator).nth(1).unwrap_or_default();
        let version = patterns.version(root);
        let mut state = self.lock();
        if let Some((of, routes)) = &state.routes {
            if *of == version {
                return Arc::clone(routes);
            }
        }
        let mut all = match self.private {
            true => Vec::new(),
            false => patterns.find(&self.name, self.separator),
        };
        all.extend(state.own.iter().cloned());
        let (durable, live): (Vec<_>, Vec<_>) = all.into_iter().partition(|target| target.durable.is_some());
        let routes = Arc::new(Routes {
            live: live.into(),
            durable: durable.into(),
        });
        state.routes = Some((version, Arc::clone(&routes)));
        routes
    }
}

/// Who publishes, and what is known when it does.
#[derive(Clone, Copy, Debug)]
pub struct Publisher<'a> {
    /// Nudged when it should go on after it was made to wait.
    pub outbound: &'a Arc<Outbound>,
    /// What is counted.
    pub counters: &'a Counters,
    /// The time.
    pub now: Now,
}

/// What became of a message on a topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Published {
    /// Subscriptions that took it.
    pub taken: usize,
    /// The publisher should wait until it is nudged, or until then (`Now::mono`).
    pub pause: Option<u64>,
}

/// Gives `message` to each of `targets`.
pub fn deliver(
    targets: &[Arc<Target>],
    message: &Arc<Message>,
    policy: &TopicPolicy,
    from: &Publisher<'_>,
) -> Published {
    let Publisher { counters, now, .. } = *from;
    let key = match policy {
        TopicPolicy::LatestOnly { key } => message.header(key).map(|value| {
            // Two topics may use the same keys and share a wildcard subscription.
            let topic = message.header("destination").unwrap_or_default();
            Arc::<str>::from(format!("{topic}\0{value}"))
        }),
        _ => None,
    };
    let offer = Offer {
        message,
        policy,
        key: key.as_ref(),
        publisher: Some(from.outbound),
    };
    let only = message.properties().only;
    let mut published = Published::default();
    for target in targets {
        if target.no_local && target.session == message.publisher() {
            continue;
        }
        if only.is_some_and(|session| session != target.session) || !target.selects(message) {
            continue;
        }
        if let Some(backlog) = &target.backlog {
            published.add(backlog.keep(target, &offer, counters, now), counters);
            continue;
        }
        published.add(target.outbound.publish(target.lane, &offer, now.mono), counters);
    }
    published
}

impl Published {
    fn add(&mut self, offered: Offered, counters: &Counters) {
        match offered {
            Offered::Full | Offered::Gone => return,
            Offered::Taken => {}
            Offered::Crowded(until) => self.pause = self.pause.max(Some(until)),
            Offered::Displaced(skipped) => counters.skipped.add(skipped),
        }
        self.taken += 1;
    }
}
