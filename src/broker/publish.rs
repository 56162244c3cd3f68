//! SEND and COMMIT: from a session into topics and queues.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::Arc;

use super::directory::TooMany;
use super::journal::Ticket;
use super::message::Message;
use super::outbound::Outbound;
use super::queue::{Full, Options, Pushed, Queue, Tags};
use super::settings::{Kind, WhenFull};
use super::subscription::Settle;
use super::topic::{deliver, Published, Publisher};
use super::{Broker, Destination, Now};

/// What a SEND waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Limit {
    /// All messages together are above the high-water mark: octets held, and the mark.
    Memory(usize, usize),
    /// A queue is full.
    Queue(Arc<str>, Full),
}

impl Limit {
    /// Whether both are limits of the same queue.
    pub fn is_of_the_queue_of(&self, other: &Limit) -> bool {
        matches!((self, other), (Limit::Queue(name, _), Limit::Queue(known, _)) if name == known)
    }
}

/// Why a SEND, SUBSCRIBE or COMMIT is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The queue is full and its policy is to refuse.
    Full(Arc<str>, Full),
    /// There are as many destinations as there may be.
    TooManyDestinations(usize),
    /// The destination belongs to another session.
    NotOwner(Arc<str>),
    /// The queue exists with other options than those asked for.
    OtherOptions(Arc<str>),
    /// Persistent messages cannot be stored now, and why.
    NotStored(Arc<str>),
}

impl From<TooMany> for Refused {
    fn from(TooMany(most): TooMany) -> Self {
        Refused::TooManyDestinations(most)
    }
}

/// What there is to say of a SEND or COMMIT that was taken.
#[derive(Debug, Default)]
pub struct Done {
    /// Its RECEIPT waits for this.
    pub ticket: Option<Ticket>,
    /// A subscriber does not keep up: send nothing more until nudged, or until then (`Now::mono`).
    pub pause: Option<u64>,
}

/// What became of a SEND.
#[derive(Debug)]
pub enum Sent {
    /// It took effect, or will when the ticket is kept.
    Done(Done),
    /// It waits: try again when the outbound is nudged.
    Blocked(Limit),
    /// It cannot be.
    Refused(Refused),
}

/// What became of a COMMIT.
pub type Committed = Sent;

/// Where a message is to go, and how.
#[derive(Clone, Debug)]
pub struct Route {
    /// The destination.
    pub to: Destination,
    /// Make the queue if it does not exist; if not, the message is dropped and counted.
    pub create: bool,
    /// The session to which a queue that is made belongs.
    pub owner: Option<u64>,
    /// How a queue that is made is to be.
    pub options: Options,
}

/// One act of a transaction.
#[derive(Debug)]
pub enum Act {
    /// A buffered SEND.
    Send(Box<Route>, Arc<Message>),
    /// Buffered acknowledgements: a queue, the consumer, its tags.
    Settle(Arc<Queue>, u32, Tags, Settle),
}

impl Broker {
    /// Takes a message. `sender` is nudged when a blocked one may be tried again (a memory limit is asked again by
    /// the clock).
    pub fn send(&self, route: &Route, message: &Arc<Message>, sender: &Arc<Outbound>, now: Now) -> Sent {
        if let Err(limit) = self.memory(message.size(), route.to.kind) {
            return Sent::Blocked(limit);
        }
        if route.to.kind == Kind::Topic {
            let pause = self.publish(&route.to, message, sender, now);
            self.counters.sent.one();
            return Sent::Done(Done { ticket: None, pause });
        }
        loop {
            let queue = match self.queue_for(route) {
                Ok(Some(queue)) => queue,
                Ok(None) => {
                    self.counters.dropped_no_queue.one();
                    return Sent::Done(Done::default());
                }
                Err(refused) => return Sent::Refused(refused),
            };
            if let Some(why) = queue.refuses(message) {
                self.apply(&queue, queue.unused(now), None, now);
                return Sent::Refused(Refused::NotStored(why));
            }
            let message = self.limited(&queue, message, now);
            match queue.push(&message, None, Some(sender), &self.counters, now) {
                Pushed::Done(effects) => {
                    self.counters.sent.one();
                    let ticket = self.ticket(queue.keeps(&message));
                    self.apply(&queue, effects, None, now);
                    return Sent::Done(Done { ticket, pause: None });
                }
                Pushed::Full(full) => return self.full(&queue, full),
                // Retired between look-up and push: the next look-up finds or makes its successor.
                Pushed::Retired => self.directory.remove_queue(&queue),
            }
        }
    }

    /// All acts of a transaction or none: room is reserved in every queue first.
    pub fn commit(&self, acts: &[Act], sender: &Arc<Outbound>, now: Now) -> Committed {
        let reserved = match self.reserve_all(acts, sender, now) {
            Ok(reserved) => reserved,
            Err(not) => return not,
        };
        let persistent = acts.iter().any(Act::is_persistent);
        let batch = persistent.then(|| self.next_batch.fetch_add(1, Ordering::Relaxed));
        let mut pause = None;
        for act in acts {
            match act {
                Act::Send(route, message) if route.to.kind == Kind::Topic => {
                    pause = pause.max(self.publish(&route.to, message, sender, now));
                    self.counters.sent.one();
                }
                Act::Send(route, message) => match reserved.get(&route.to.name) {
                    Some((queue, _, _)) => {
                        let limited = self.limited(queue, message, now);
                        let effects = queue.push_reserved(&limited, message.size(), batch, &self.counters, now);
                        self.counters.sent.one();
                        self.apply(queue, effects, batch, now);
                    }
                    None => self.counters.dropped_no_queue.one(),
                },
                Act::Settle(queue, consumer, tags, settle) => {
                    let effects = queue.settle_tags(*consumer, tags, *settle, batch, &self.counters, now);
                    self.apply(queue, effects, batch, now);
                }
            }
        }
        if let Some(batch) = batch {
            self.journal.seal(batch);
        }
        self.counters.committed.one();
        Sent::Done(Done {
            ticket: self.ticket(persistent),
            pause,
        })
    }

    /// A sender that was blocked by `limit` has gone.
    pub fn stop_waiting(&self, limit: &Limit, sender: &Arc<Outbound>) {
        if let Limit::Queue(name, _) = limit {
            if let Some(queue) = self.directory.queue(name) {
                queue.stop_waiting(sender);
            }
        }
    }

    /// Whether another message may be held. What queues hold stays, what goes through topics only passes: a quarter of the
    /// memory is kept for it, so that queues that nobody empties do not silence topics.
    fn memory(&self, size: usize, kind: Kind) -> Result<(), Limit> {
        let most = self.settings.memory_high_water;
        let reserve = if kind == Kind::Topic { most / 4 } else { 0 };
        let held = self.gauge.octets().saturating_sub(size);
        if held >= most + reserve {
            return Err(Limit::Memory(held, most));
        }
        Ok(())
    }

    /// Gives a message to a topic; until when its publisher should wait for those who do not keep up.
    fn publish(&self, to: &Destination, message: &Arc<Message>, sender: &Arc<Outbound>, now: Now) -> Option<u64> {
        let from = Publisher {
            outbound: sender,
            counters: &self.counters,
            now,
        };
        let published = match self.directory.topic(&to.name) {
            Some(topic) => topic.publish(message, &self.patterns, &from),
            None => self.publish_by_pattern(to, message, &from),
        };
        if published.taken == 0 {
            self.counters.dropped_no_subscriber.one();
        }
        published.pause
    }

    /// A topic that nobody has named: only wildcard subscriptions can want it, and if some do it is remembered.
    fn publish_by_pattern(&self, to: &Destination, message: &Arc<Message>, from: &Publisher<'_>) -> Published {
        if to.reply {
            return Published::default();
        }
        let found = self.patterns.find(&to.name, to.separator);
        if found.is_empty() {
            return Published::default();
        }
        match self.directory.topic_or(&to.name, || self.make_topic(to, None)) {
            Ok(topic) => {
                let published = topic.publish(message, &self.patterns, from);
                if topic.subscriptions() == 0 {
                    self.remember(topic);
                }
                published
            }
            Err(TooMany(_)) => deliver(&found, message, &self.topic_policy(&to.name), from),
        }
    }

    /// The queue for a SEND; `None` if there is none and it is not to be made.
    fn queue_for(&self, route: &Route) -> Result<Option<Arc<Queue>>, Refused> {
        let name = &route.to.name;
        if !route.create {
            return Ok(self.directory.queue(name));
        }
        let make = || self.make_queue(name, route.options.clone(), route.owner);
        let (queue, made) = self.directory.queue_or(name, make)?;
        if !made && route.options != Options::default() && queue.options != route.options {
            return Err(Refused::OtherOptions(Arc::clone(name)));
        }
        Ok(Some(queue))
    }

    /// The message as the queue's own time limit leaves it.
    pub(super) fn limited(&self, queue: &Queue, message: &Arc<Message>, now: Now) -> Arc<Message> {
        let Some(ttl) = queue.ttl_ms() else {
            return Arc::clone(message);
        };
        let end = now.unix_ms.saturating_add(ttl);
        if message.properties().expires.is_some_and(|at| at <= end) {
            return Arc::clone(message);
        }
        Arc::new(message.expiring(end))
    }

    fn full(&self, queue: &Queue, full: Full) -> Sent {
        match full.verdict {
            WhenFull::Reject => {
                self.counters.refused_queue_full.one();
                Sent::Refused(Refused::Full(Arc::clone(&queue.name), full))
            }
            WhenFull::Block | WhenFull::DropHead => Sent::Blocked(Limit::Queue(Arc::clone(&queue.name), full)),
        }
    }

    /// What the RECEIPT of something that told the journal something waits for.
    pub(super) fn ticket(&self, persistent: bool) -> Option<Ticket> {
        persistent.then(|| self.journal.ticket()).flatten()
    }

    fn reserve_all(&self, acts: &[Act], sender: &Arc<Outbound>, now: Now) -> Result<Reservations, Sent> {
        if let Err(limit) = self.memory(acts.iter().map(Act::size).sum(), Kind::Queue) {
            return Err(Sent::Blocked(limit));
        }
        let mut wanted: BTreeMap<&Arc<str>, (&Route, Wanted)> = BTreeMap::new();
        for act in acts {
            if let Act::Send(route, message) = act {
                if route.to.kind == Kind::Queue {
                    let (_, all) = wanted.entry(&route.to.name).or_insert((route, Wanted::default()));
                    all.messages += 1;
                    all.octets += message.size();
                    if message.properties().persistent {
                        all.persistent = Some(message);
                    }
                }
            }
        }
        let mut reserved = Reservations::new();
        for (name, (route, all)) in &wanted {
            match self.reserve(route, *all, sender) {
                Ok(Some(queue)) => {
                    reserved.insert(Arc::clone(name), (queue, all.messages, all.octets));
                }
                Ok(None) => {}
                Err(not) => {
                    for (queue, messages, octets) in reserved.values() {
                        queue.unreserve(*messages, *octets);
                    }
                    // Queues that were made for it and stay empty are idle from now on.
                    for queue in wanted.keys().filter_map(|name| self.directory.queue(name)) {
                        self.apply(&queue, queue.unused(now), None, now);
                    }
                    return Err(not);
                }
            }
        }
        Ok(reserved)
    }

    fn reserve(&self, route: &Route, all: Wanted<'_>, sender: &Arc<Outbound>) -> Result<Option<Arc<Queue>>, Sent> {
        loop {
            let Some(queue) = self.queue_for(route).map_err(Sent::Refused)? else {
                return Ok(None);
            };
            if let Some(why) = all.persistent.and_then(|message| queue.refuses(message)) {
                return Err(Sent::Refused(Refused::NotStored(why)));
            }
            match queue.reserve(all.messages, all.octets, sender) {
                Ok(true) => return Ok(Some(queue)),
                Ok(false) => self.directory.remove_queue(&queue),
                Err(full) => return Err(self.full(&queue, full)),
            }
        }
    }
}

/// What a COMMIT wants of a queue.
#[derive(Clone, Copy, Debug, Default)]
struct Wanted<'a> {
    messages: usize,
    octets: usize,
    /// One of the messages that are to be kept.
    persistent: Option<&'a Message>,
}

/// Queues with the messages and octets reserved in them.
type Reservations = BTreeMap<Arc<str>, (Arc<Queue>, usize, usize)>;

impl Act {
    fn is_persistent(&self) -> bool {
        match self {
            Act::Send(_, message) => message.properties().persistent,
            Act::Settle(..) => true,
        }
    }

    fn size(&self) -> usize {
        match self {
            Act::Send(_, message) => message.size(),
            Act::Settle(..) => 0,
        }
    }
}
