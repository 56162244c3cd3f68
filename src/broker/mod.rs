//! The model: destinations, messages, subscriptions, and what waits for whom.
//!
//! Pure: no I/O, no threads, no clock, no randomness. Time and seeds come in as arguments; `std` locks guard what
//! several connections share. Lock order: destination, then wildcard patterns or agenda, then outbound; no
//! destination is locked under another.

pub mod agenda;
pub mod app;
pub mod destination;
pub mod directory;
pub mod durable;
pub mod journal;
pub mod message;
mod mime;
pub mod outbound;
mod patience;
pub mod pattern;
pub mod private;
mod publish;
pub mod queue;
mod recover;
pub mod selector;
pub mod settings;
pub mod stats;
mod subscribe;
pub mod subscription;
pub mod topic;
pub mod users;

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

pub use destination::{Destination, Names, Selection};
pub use journal::{Journal, Ticket, Volatile};
pub use message::{Draft, Gauge, Message, Properties};
pub use outbound::{FrameSink, Outbound};
pub use publish::{Act, Committed, Done, Limit, Refused, Route, Sent};
pub use recover::Found;
pub use settings::Settings;
pub use stats::{Counters, Sizes};
pub use subscribe::Subscribe;
pub use subscription::{AckMode, Settle, Subscription};
pub use users::{Presence, Users};

use agenda::{Agenda, Due};
use app::{Requests, Workers};
use directory::Directory;
use durable::{Bound, DURABLE_PREFIX};
use pattern::Pattern;
use queue::{Commons, Dead, Effects, Queue};
use settings::{DeadLetter, Policy, QueuePolicy, Separator, TopicPolicy, WhenExpired, WhenFull};
use topic::{Patterns, Topic};

/// What every dead-letter queue's canonical name begins with.
pub const DEAD_LETTER_PREFIX: &str = "/queue/DLQ.";

/// The time, twice: nothing in this room asks for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds since some start, never going back: for deadlines.
    pub mono: u64,
    /// Milliseconds since 1970 UTC: for `expires`.
    pub unix_ms: u64,
}

/// The destinations of one virtual host, and all that is held for them.
#[derive(Debug)]
pub struct Broker {
    settings: Settings,
    policies: Vec<(Option<Pattern>, Policy)>,
    directory: Directory,
    patterns: Patterns,
    /// Durable subscriptions. Locked before any destination.
    bound: Mutex<Bound>,
    /// The outbound of subscriptions that nobody is connected to.
    nobody: Arc<Outbound>,
    /// Topics without own subscriptions that are remembered for wildcard ones, oldest first. Locked alone.
    remembered: Mutex<VecDeque<Arc<Topic>>>,
    users: Users,
    workers: Workers,
    requests: Requests,
    agenda: Agenda,
    journal: Arc<dyn Journal>,
    counters: Counters,
    gauge: Arc<Gauge>,
    /// What queues that outlive their clients share.
    lasting: Commons,
    /// What the others share: those of one session, whose messages need no disk.
    passing: Commons,
    boot: Box<str>,
    seed: u64,
    next_message: AtomicU64,
    next_session: AtomicU64,
    next_batch: AtomicU64,
    next_queue: AtomicU64,
    sessions: AtomicUsize,
    subscriptions: AtomicUsize,
    transactions: AtomicUsize,
}

impl Broker {
    /// An empty broker. `seed` is random: it keys hashes and tells this start's message ids from those of others.
    pub fn new(settings: Settings, seed: u64, journal: Arc<dyn Journal>) -> Broker {
        Broker::sharing(settings, seed, journal, Arc::default())
    }

    /// As [`Broker::new`], beside brokers of other virtual hosts that count what they hold in the same `gauge`.
    pub fn sharing(settings: Settings, seed: u64, journal: Arc<dyn Journal>, gauge: Arc<Gauge>) -> Broker {
        let compiled = |policy: &Policy| (Pattern::parse(&policy.pattern, Separator::Both), policy.clone());
        let lasting = Commons {
            journal: Arc::clone(&journal),
            tally: Arc::default(),
            gauge: Arc::clone(&gauge),
            high_water: settings.memory_high_water,
            durable: settings.durable,
        };
        Broker {
            policies: settings.policies.iter().map(compiled).collect(),
            directory: Directory::new(seed, settings.destinations),
            patterns: Patterns::default(),
            bound: Mutex::default(),
            nobody: Arc::new(Outbound::new(settings.outbound)),
            remembered: Mutex::default(),
            users: Users::default(),
            workers: Workers::default(),
            requests: Requests::default(),
            agenda: Agenda::default(),
            journal,
            counters: Counters::default(),
            gauge,
            passing: Commons {
                journal: Arc::new(Volatile),
                ..lasting.clone()
            },
            lasting,
            // A letter first: no id of this form reads as the place of a delivery (`serial-tag`).
            boot: format!("m{:x}", one_way(seed, "boot", 0) & 0xffff_ffff_ffff).into(),
            seed,
            next_message: AtomicU64::new(1),
            next_session: AtomicU64::new(1),
            next_batch: AtomicU64::new(1),
            next_queue: AtomicU64::new(1),
            sessions: AtomicUsize::new(0),
            subscriptions: AtomicUsize::new(0),
            transactions: AtomicUsize::new(0),
            settings,
        }
    }

    /// What it was made with.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// What has happened in it.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// What it holds now.
    pub fn sizes(&self) -> Sizes {
        let (topics, queues) = self.directory.sizes();
        let (users, user_sessions) = self.users.count();
        Sizes {
            sessions: self.sessions.load(Ordering::Relaxed),
            users,
            user_sessions,
            subscriptions: self.subscriptions.load(Ordering::Relaxed),
            topics,
            queues,
            patterns: self.patterns.len(),
            queued_messages: self.lasting.tally.messages.load(Ordering::Relaxed),
            stored_messages: self.lasting.tally.stored.load(Ordering::Relaxed),
            message_octets: self.gauge.octets(),
            agenda: self.agenda.len(),
            requests: self.requests.len(),
            durable_subscriptions: self.durable_subscriptions(),
            transactions: self.transactions.load(Ordering::Relaxed),
        }
    }

    /// Messages in the queue of that canonical name, unacknowledged ones included; `None` if there is no such queue.
    pub fn queue_length(&self, name: &str) -> Option<usize> {
        self.directory.queue(name).map(|queue| queue.len())
    }

    /// What message ids begin with: different for each start of the broker.
    pub fn boot(&self) -> &str {
        &self.boot
    }

    /// Whether somebody has subscribed to this topic by its name.
    pub fn is_heard(&self, topic: &Destination) -> bool {
        let topic = self.directory.topic(&topic.name);
        topic.is_some_and(|topic| topic.subscriptions() > 0)
    }

    /// Counts a session in and numbers it.
    pub fn enter(&self) -> u64 {
        self.sessions.fetch_add(1, Ordering::Relaxed);
        self.next_session.fetch_add(1, Ordering::Relaxed)
    }

    /// Counts a session out.
    pub fn leave(&self) {
        self.sessions.fetch_sub(1, Ordering::Relaxed);
    }

    /// Counts a client's session in, numbers it, and lets others find it by its user and by its token (see
    /// [`Broker::token`]), until [`Broker::part`].
    pub fn greet(&self, user: Option<Arc<str>>, token: Arc<str>) -> Arc<Presence> {
        self.users.enter(user, token, self.enter())
    }

    /// A client's session has ended.
    pub fn part(&self, presence: &Presence) {
        self.users.leave(presence);
        self.leave();
    }

    /// Who is connected.
    pub fn users(&self) -> &Users {
        &self.users
    }

    /// Counts open transactions.
    pub fn count_transactions(&self, opened: usize, ended: usize) {
        self.transactions.fetch_add(opened, Ordering::Relaxed);
        self.transactions.fetch_sub(ended, Ordering::Relaxed);
    }

    /// Counts the octets of unfinished frames: there were `before`, and are `after` now.
    pub fn count_unfinished(&self, before: usize, after: usize) {
        if before != after {
            self.gauge.change(before, after);
        }
    }

    /// What a session is known by to those who answer it, from its secret id: nobody else can guess it.
    pub fn token(&self, session_id: u128) -> String {
        self.unguessable(["token", "more of the token"], session_id)
    }

    /// The part of a session's temporary names that others cannot guess, from its secret id. It does not tell the
    /// session's [`Broker::token`]: a client shows it to whom it likes, and they are not to answer in the place of
    /// others.
    pub fn temporary_token(&self, session_id: u128) -> String {
        self.unguessable(["temporary", "more of the temporary"], session_id)
    }

    fn unguessable(&self, [high, low]: [&str; 2], session_id: u128) -> String {
        let (high, low) = (
            one_way(self.seed, high, session_id),
            one_way(self.seed, low, session_id),
        );
        format!("{high:016x}{low:016x}")
    }

    /// A new message.
    pub fn message(&self, draft: Draft<'_, '_>) -> Arc<Message> {
        Arc::new(Message::new(self.next_number(), draft, &self.gauge))
    }

    /// The number of the next message.
    fn next_number(&self) -> u64 {
        self.next_message.fetch_add(1, Ordering::Relaxed)
    }

    /// When [`Broker::advance`] has something to do next, in `Now::mono`.
    pub fn next_due(&self) -> Option<u64> {
        self.agenda.next_due()
    }

    /// Does what is due: delayed messages, expiry, removal of idle queues.
    pub fn advance(&self, now: Now) {
        while let Some((name, due)) = self.agenda.take_due(now.mono) {
            let Some(queue) = self.directory.queue(&name) else {
                continue;
            };
            match due {
                Due::Expiry => {
                    let effects = queue.expire(&self.counters, now);
                    self.apply(&queue, effects, None, now);
                }
                Due::Release => {
                    let effects = queue.bring_in(&self.counters, now);
                    self.apply(&queue, effects, None, now);
                }
                Due::Look => {
                    let effects = queue.look_on(&self.counters, now);
                    self.apply(&queue, effects, None, now);
                }
                Due::Idle => match queue.retire_if_idle(now) {
                    Ok(dropped) => {
                        self.counters.dropped_with_queue.add(dropped as u64);
                        self.forget_queue(&queue);
                    }
                    Err(Some(later)) => self.agenda.add(later, &queue.name, Due::Idle),
                    Err(None) => {}
                },
            }
        }
    }

    /// Removes a queue of a session that has ended, if it is still there.
    pub fn remove_owned(&self, name: &str, session: u64) {
        let queue = self.directory.queue(name);
        if let Some(queue) = queue.filter(|queue| queue.owner == Some(session)) {
            self.remove_queue(&queue);
        }
    }

    /// Removes a queue with what it holds.
    fn remove_queue(&self, queue: &Arc<Queue>) {
        let dropped = queue.retire();
        self.counters.dropped_with_queue.add(dropped as u64);
        self.forget_queue(queue);
    }

    fn forget_queue(&self, queue: &Arc<Queue>) {
        self.forget_retired(queue);
        self.forget_durable(queue);
        self.agenda.strike(&queue.name);
    }

    /// Sees to what a queue asked for while it was locked. `batch` is that of the COMMIT it belongs to.
    fn apply(&self, queue: &Arc<Queue>, effects: Effects, batch: Option<u64>, now: Now) {
        let Effects {
            dead,
            expire_at,
            release_at,
            looks_on,
            idle,
            delete,
            recorded: _,
        } = effects;
        let mono = |at: u64| now.mono.saturating_add(at.saturating_sub(now.unix_ms));
        if let Some(at) = expire_at {
            self.agenda.add(mono(at), &queue.name, Due::Expiry);
        }
        if let Some(at) = release_at {
            self.agenda.add(mono(at), &queue.name, Due::Release);
        }
        if looks_on {
            // Others come first.
            self.agenda.add(now.mono + 1, &queue.name, Due::Look);
        }
        if idle {
            self.agenda
                .add(now.mono + queue.policy().idle_ms, &queue.name, Due::Idle);
        }
        if !dead.is_empty() {
            self.bury(queue, dead, batch, now);
        }
        if delete {
            self.remove_queue(queue);
        }
    }

    /// Moves dead messages to the dead-letter queue: one journal batch for both sides, so that a message is in one of
    /// them whenever the process ends.
    fn bury(&self, queue: &Arc<Queue>, dead: Vec<Dead>, batch: Option<u64>, now: Now) {
        let target = self.dead_letter_queue(queue);
        for Dead { entry, reason } in dead {
            self.give_up(queue, &entry.message, reason, now);
            let kept = queue.keeps(&entry.message);
            let own = (kept && batch.is_none()).then(|| self.next_batch.fetch_add(1, Ordering::Relaxed));
            let batch = batch.or(own);
            let buried = target.as_ref().is_some_and(|target| {
                let letter = self.dead_letter(&entry, reason, target);
                self.push_dead(target, &letter, reason, batch, now)
            });
            match buried {
                true => self.counters.dead_lettered.one(),
                false => self.counters.dropped_dead.one(),
            }
            if kept {
                queue.settle_dead(entry.seq, batch);
            }
            if let Some(own) = own {
                self.journal.seal(own);
            }
        }
    }

    /// The message as it goes to the dead-letter queue: why, from where, after how many tries.
    fn dead_letter(&self, entry: &queue::Entry, reason: &str, target: &str) -> Arc<Message> {
        let attempts = entry.attempts.to_string();
        let origin = entry.message.header("destination").unwrap_or_default().into_owned();
        let added = [
            ("dead-letter-reason", reason),
            ("original-destination", origin.as_str()),
            ("delivery-count", attempts.as_str()),
        ];
        Arc::new(entry.message.forwarded(self.next_number(), target, &added))
    }

    fn dead_letter_queue(&self, queue: &Queue) -> Option<Arc<str>> {
        if let Some(named) = &queue.options.dead_letter {
            return Some(Arc::clone(named));
        }
        if queue.owner.is_some() || queue.name.is_empty() || queue.name.starts_with(DEAD_LETTER_PREFIX) {
            return None;
        }
        let target = match &queue.policy().dead_letter {
            DeadLetter::Own => {
                let forms = ["/queue/", DURABLE_PREFIX];
                let local = forms.iter().find_map(|form| queue.name.strip_prefix(form));
                app::dead_letter_queue(&queue.name)
                    .unwrap_or_else(|| format!("{DEAD_LETTER_PREFIX}{}", local.unwrap_or(&queue.name)))
            }
            DeadLetter::Nowhere => return None,
            DeadLetter::Queue(name) => name.clone(),
        };
        // A pattern may match the very queue that it names.
        (target != *queue.name).then(|| target.into())
    }

    fn push_dead(&self, target: &Arc<str>, message: &Arc<Message>, reason: &str, batch: Option<u64>, now: Now) -> bool {
        // One that has expired does not expire again but in a last queue: two could hand it to each other for ever.
        let mortal = reason != "expired" || target.starts_with(DEAD_LETTER_PREFIX);
        loop {
            let made = self
                .directory
                .queue_or(target, || self.make_queue(target, queue::Options::default(), None));
            let Ok((queue, _)) = made else { return false };
            let message = match mortal {
                true => self.limited(&queue, message, now),
                false => Arc::clone(message),
            };
            match queue.push(&message, batch, None, &self.counters, now) {
                queue::Pushed::Done(effects) => {
                    self.apply(&queue, effects, batch, now);
                    return true;
                }
                queue::Pushed::Full(_) => return false,
                queue::Pushed::Retired => self.directory.remove_queue(&queue),
            }
        }
    }

    fn make_queue(&self, name: &Arc<str>, options: queue::Options, owner: Option<u64>) -> Queue {
        let number = self.next_queue.fetch_add(1, Ordering::Relaxed);
        let commons = match owner {
            // It goes with its session, and so with the process.
            Some(_) => self.passing.clone(),
            None => self.lasting.clone(),
        };
        let policy = self.queue_policy(options.governed(name));
        self.queue_numbered(number, name, policy, options, commons, owner)
    }

    fn queue_numbered(
        &self,
        number: u64,
        name: &Arc<str>,
        mut policy: QueuePolicy,
        options: queue::Options,
        commons: Commons,
        owner: Option<u64>,
    ) -> Queue {
        if options.binding.is_some() {
            policy.idle_ms = self.settings.durable.expires_ms;
        }
        if name.starts_with(DEAD_LETTER_PREFIX) {
            // Bounded, and the end of the road: nothing leaves it but by a consumer, or to make room.
            policy.full = WhenFull::DropHead;
            policy.delivery_limit = 0;
            policy.expired = WhenExpired::Drop;
        }
        Queue::new(number, Arc::clone(name), policy, options, owner, commons)
    }

    fn queue_policy(&self, name: &str) -> QueuePolicy {
        match self.policy(name) {
            Some(policy) => policy.queue.clone(),
            None => self.settings.queue.clone(),
        }
    }

    fn topic_policy(&self, name: &str) -> TopicPolicy {
        match self.policy(name) {
            Some(policy) => policy.topic.clone(),
            None => self.settings.topic.clone(),
        }
    }

    fn policy(&self, name: &str) -> Option<&Policy> {
        let matching = |(pattern, _): &&(Option<Pattern>, Policy)| pattern.as_ref().is_some_and(|p| p.matches(name));
        self.policies.iter().find(matching).map(|(_, policy)| policy)
    }

    fn make_topic(&self, to: &Destination, owner: Option<u64>) -> Topic {
        let policy = self.topic_policy(&to.name);
        let private = to.reply;
        Topic::new(Arc::clone(&to.name), to.separator, policy, owner, private)
    }

    /// Remembers the wildcard subscriptions of a topic without own ones, and forgets the oldest beyond the limit.
    fn remember(&self, topic: Arc<Topic>) {
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        remembered.push_back(topic);
        let over = remembered.len().saturating_sub(self.settings.route_cache);
        let forgotten: Vec<_> = remembered.drain(..over).collect();
        drop(remembered);
        self.forget_topics(forgotten);
    }

    fn forget_all_remembered(&self) {
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        let forgotten = std::mem::take(&mut *remembered);
        drop(remembered);
        self.forget_topics(forgotten);
    }

    fn forget_topics(&self, topics: impl IntoIterator<Item = Arc<Topic>>) {
        for topic in topics {
            if topic.forget() {
                self.directory.remove_topic(&topic);
            }
        }
    }
}

/// What may be shown of the seed: it tells neither the seed, which keys the hashes of names that clients choose, nor
/// `secret`. SipHash with the seed before and behind, since the standard library takes no key.
fn one_way(seed: u64, purpose: &str, secret: u128) -> u64 {
    let mut hasher = DefaultHasher::new();
    (seed, purpose, secret, seed).hash(&mut hasher);
    hasher.finish()
}
