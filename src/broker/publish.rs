//! SEND and COMMIT: from a session into topics and queues.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::Arc;

use super::directory::TooMany;
use super::journal::Ticket;
use super::message::Message;
use super::outbound::{Offered, Outbound};
use super::queue::{Full, Options, Pushed, Queue, Tags};
use super::settings::{Kind, WhenFull};
use super::subscription::Settle;
use super::topic::{deliver, Publisher, Routes, Topic};
use super::{Broker, Destination, Now};

/// Of the memory that messages may take, what waits for the disk may take one part in this many.
const PENDING_SHARE: usize = 8;

/// What a SEND waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Limit {
    /// All messages together are above the high-water mark: octets held, and the mark.
    Memory(usize, usize),
    /// A queue is full.
    Queue(Arc<str>, Full),
    /// More waits to be written to disk than may: octets, and how many may.
    Disk(usize, usize),
    /// Nobody works for the application destination with that queue; the sender's place among those who wait for that.
    NoWorker(Arc<str>, u64),
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
    /// There are as many durable subscriptions as there may be.
    TooManyDurable(usize),
    /// The durable subscription is in use by so many others.
    InUse(Arc<str>, usize),
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

/// What a queue costs besides its messages, in memory and in the journal's index, about.
const QUEUE_OCTETS: usize = 2_048;

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
    /// How a queue that is made is to be, if the client says so: most do not, and need not carry it.
    pub options: Option<Box<Options>>,
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
    /// Takes a message. `sender` is nudged when a blocked one may be tried again (limits of memory and disk are asked
    /// again by the clock).
    pub fn send(&self, route: &Route, message: &Arc<Message>, sender: &Arc<Outbound>, now: Now) -> Sent {
        if let Err(limit) = self.memory(message.size(), route.to.kind) {
            return Sent::Blocked(limit);
        }
        if route.to.kind == Kind::Topic {
            return match self.publish(&route.to, message, sender, now) {
                Ok(done) => {
                    self.counters.sent.one();
                    Sent::Done(done)
                }
                Err(not) => not,
            };
        }
        loop {
            let queue = match self.queue_for(route, sender) {
                Ok(Some(queue)) => queue,
                Ok(None) => {
                    self.counters.dropped_no_queue.one();
                    return Sent::Done(Done::default());
                }
                Err(not) => return not,
            };
            if let Some(why) = queue.refuses(message) {
                self.apply(&queue, queue.unused(now), None, now);
                return Sent::Refused(Refused::NotStored(why));
            }
            if let Err(limit) = self.disk(queue.keeps(message)) {
                self.apply(&queue, queue.unused(now), None, now);
                return Sent::Blocked(limit);
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
                Pushed::Retired => self.forget_retired(&queue),
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
        for (act, durable) in acts.iter().zip(&reserved.durable) {
            match act {
                Act::Send(route, message) if route.to.kind == Kind::Topic => {
                    for (queue, _, _) in durable.iter().filter_map(|name| reserved.queues.get(name)) {
                        self.push_reserved(queue, message, batch, now);
                    }
                    pause = pause.max(self.publish_live(&route.to, message, sender, now));
                    self.counters.sent.one();
                }
                Act::Send(route, message) => match reserved.queues.get(&route.to.name) {
                    Some((queue, _, _)) => {
                        self.push_reserved(queue, message, batch, now);
                        self.counters.sent.one();
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
        match limit {
            Limit::Queue(name, _) => {
                if let Some(queue) = self.directory.queue(name) {
                    queue.stop_waiting(sender);
                }
            }
            Limit::NoWorker(name, place) => self.workers.stop_waiting(name, *place),
            Limit::Memory(..) | Limit::Disk(..) => {}
        }
    }

    /// Whether another message may be held. What queues hold stays, what goes through topics only passes: a quarter of the
    /// memory is kept for it, so that queues that nobody empties do not silence topics.
    pub(super) fn memory(&self, size: usize, kind: Kind) -> Result<(), Limit> {
        let most = self.settings.memory_high_water;
        let reserve = if kind == Kind::Topic { most / 4 } else { 0 };
        // Many queues with little in them cost more than what is in them; but messages always have half.
        let queues = (self.directory.queue_count() * QUEUE_OCTETS).min(most / 2);
        let held = (self.gauge.octets() + queues).saturating_sub(size);
        if held >= most + reserve {
            return Err(Limit::Memory(held, most));
        }
        Ok(())
    }

    /// Whether another message may wait for the disk: what does is in memory too.
    pub(super) fn disk(&self, kept: bool) -> Result<(), Limit> {
        if !kept {
            return Ok(());
        }
        let (pending, most) = (self.journal.pending(), self.settings.memory_high_water / PENDING_SHARE);
        match pending < most {
            true => Ok(()),
            false => Err(Limit::Disk(pending, most)),
        }
    }

    /// Gives a message to a topic: room for it in all its durable subscriptions first, or it goes to nobody.
    fn publish(
        &self,
        to: &Destination,
        message: &Arc<Message>,
        sender: &Arc<Outbound>,
        now: Now,
    ) -> Result<Done, Sent> {
        let Some(topic) = self.topic_for(to) else {
            let pause = self.unheard(to, message, sender, now);
            return Ok(Done { ticket: None, pause });
        };
        let routes = topic.routes(&self.patterns);
        let ticket = match routes.durable.is_empty() {
            true => None,
            false => self.keep_for(&routes, message, sender, now)?,
        };
        let pause = self.publish_to(&topic, &routes, message, sender, now);
        Ok(Done { ticket, pause })
    }

    /// Gives a message to those who are connected to a topic; until when its publisher should wait for those who do
    /// not keep up.
    fn publish_live(&self, to: &Destination, message: &Arc<Message>, sender: &Arc<Outbound>, now: Now) -> Option<u64> {
        let Some(topic) = self.topic_for(to) else {
            return self.unheard(to, message, sender, now);
        };
        let routes = topic.routes(&self.patterns);
        self.publish_to(&topic, &routes, message, sender, now)
    }

    fn publish_to(
        &self,
        topic: &Topic,
        routes: &Routes,
        message: &Arc<Message>,
        sender: &Arc<Outbound>,
        now: Now,
    ) -> Option<u64> {
        let from = Publisher {
            outbound: sender,
            counters: &self.counters,
            now,
        };
        let published = deliver(&routes.live, message, topic.policy(), &from);
        if published.taken == 0 && routes.durable.is_empty() {
            self.counters.dropped_no_subscriber.one();
        }
        published.pause
    }

    /// There is no such topic: it may be an answer, to a request or to a session.
    fn unheard(&self, to: &Destination, message: &Arc<Message>, sender: &Arc<Outbound>, now: Now) -> Option<u64> {
        if to.reply {
            match self.answer(&to.name, message, Some(sender), now) {
                Offered::Gone => {}
                Offered::Crowded(until) => return Some(until),
                Offered::Taken | Offered::Displaced(_) | Offered::Full => return None,
            }
        }
        let own = self.of_session(&to.name, message).filter(|_| to.reply);
        let Some((topic, own, shown)) = own else {
            self.counters.dropped_no_subscriber.one();
            return None;
        };
        self.publish_to(&topic, &own, &shown, sender, now)
    }

    /// The topic that a SEND names, if anybody may hear it. One that nobody has named is made if a wildcard
    /// subscription wants it, and remembered.
    fn topic_for(&self, to: &Destination) -> Option<Arc<Topic>> {
        if let Some(topic) = self.directory.topic(&to.name) {
            return Some(topic);
        }
        if to.reply || self.patterns.find(&to.name, to.separator).is_empty() {
            return None;
        }
        match self.directory.topic_or(&to.name, || self.make_topic(to, None)) {
            Ok(topic) => {
                if topic.subscriptions() == 0 {
                    self.remember(Arc::clone(&topic));
                }
                Some(topic)
            }
            // For this message only.
            Err(TooMany(_)) => Some(Arc::new(self.make_topic(to, None))),
        }
    }

    /// The queue for a SEND; `None` if there is none and it is not to be made.
    fn queue_for(&self, route: &Route, sender: &Arc<Outbound>) -> Result<Option<Arc<Queue>>, Sent> {
        let name = &route.to.name;
        if !route.create {
            return match route.to.app {
                true => self.worked_queue(name, sender).map(Some).map_err(Sent::Blocked),
                false => Ok(self.directory.queue(name)),
            };
        }
        let make = || {
            let options = route.options.as_deref().cloned().unwrap_or_default();
            self.make_queue(name, options, route.owner)
        };
        let made = self.directory.queue_or(name, make);
        let (queue, made) = made.map_err(|many| Sent::Refused(many.into()))?;
        match &route.options {
            Some(asked) if !made && **asked != Options::default() && queue.options != **asked => {
                Err(Sent::Refused(Refused::OtherOptions(Arc::clone(name))))
            }
            _ => Ok(Some(queue)),
        }
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

    pub(super) fn full(&self, queue: &Queue, full: Full) -> Sent {
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

    /// As [`Broker::ticket`], for an acknowledgement, which is kept for better times if it cannot be written now.
    pub(super) fn patient_ticket(&self, recorded: bool) -> Option<Ticket> {
        recorded.then(|| self.journal.patient_ticket()).flatten()
    }

    /// Adds a message to a queue in which there is room for it.
    pub(super) fn push_reserved(&self, queue: &Arc<Queue>, message: &Arc<Message>, batch: Option<u64>, now: Now) {
        let limited = self.limited(queue, message, now);
        let effects = queue.push_reserved(&limited, message.size(), batch, &self.counters, now);
        self.apply(queue, effects, batch, now);
    }

    fn reserve_all(&self, acts: &[Act], sender: &Arc<Outbound>, now: Now) -> Result<Reservations, Sent> {
        if let Err(limit) = self.memory(acts.iter().map(Act::size).sum(), Kind::Queue) {
            return Err(Sent::Blocked(limit));
        }
        // Acknowledgements make room there too.
        let keeps = |act: &Act| matches!(act, Act::Send(_, message) if message.properties().persistent);
        self.disk(acts.iter().any(keeps)).map_err(Sent::Blocked)?;
        let mut wanted: BTreeMap<Arc<str>, Wanted<'_>> = BTreeMap::new();
        let mut reserved = Reservations::default();
        for act in acts {
            let mut durable = Vec::new();
            match act {
                Act::Send(route, message) if route.to.kind == Kind::Queue => {
                    let all = wanted.entry(Arc::clone(&route.to.name));
                    all.or_insert_with(|| Wanted::of(Queues::Named(route))).add(message);
                }
                Act::Send(route, message) => {
                    for queue in self.durable_queues(&route.to, message) {
                        durable.push(Arc::clone(&queue.name));
                        let all = wanted.entry(Arc::clone(&queue.name));
                        all.or_insert_with(|| Wanted::of(Queues::Known(queue))).add(message);
                    }
                }
                Act::Settle(..) => {}
            }
            reserved.durable.push(durable);
        }
        for (name, all) in &wanted {
            match self.reserve(all, sender, now) {
                Ok(Some(queue)) => {
                    let place = (queue, all.messages, all.octets);
                    reserved.queues.insert(Arc::clone(name), place);
                }
                Ok(None) => {}
                Err(not) => {
                    for (queue, messages, octets) in reserved.queues.values() {
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

    fn reserve(&self, all: &Wanted<'_>, sender: &Arc<Outbound>, now: Now) -> Result<Option<Arc<Queue>>, Sent> {
        loop {
            let queue = match &all.queues {
                Queues::Named(route) => self.queue_for(route, sender)?,
                Queues::Known(queue) => Some(Arc::clone(queue)),
            };
            let Some(queue) = queue else { return Ok(None) };
            if let Some(why) = all.persistent.and_then(|message| queue.refuses(message)) {
                return Err(Sent::Refused(Refused::NotStored(why)));
            }
            match queue.reserve(all.messages, all.octets, sender, now) {
                Ok(true) => return Ok(Some(queue)),
                // A durable subscription that was removed meanwhile wants nothing.
                Ok(false) if queue.is_subscription() => return Ok(None),
                Ok(false) => self.forget_retired(&queue),
                Err(full) => return Err(self.full(&queue, full)),
            }
        }
    }
}

/// Where messages of a COMMIT go.
#[derive(Debug)]
enum Queues<'a> {
    /// To a queue that may have to be made.
    Named(&'a Route),
    /// To a durable subscription.
    Known(Arc<Queue>),
}

/// What a COMMIT wants of a queue.
#[derive(Debug)]
struct Wanted<'a> {
    queues: Queues<'a>,
    messages: usize,
    octets: usize,
    /// One of the messages that are to be kept.
    persistent: Option<&'a Message>,
}

impl<'a> Wanted<'a> {
    fn of(queues: Queues<'a>) -> Wanted<'a> {
        Wanted {
            queues,
            messages: 0,
            octets: 0,
            persistent: None,
        }
    }

    fn add(&mut self, message: &'a Message) {
        self.messages += 1;
        self.octets += message.size();
        if message.properties().persistent {
            self.persistent = Some(message);
        }
    }
}

/// What is reserved for a COMMIT.
#[derive(Debug, Default)]
struct Reservations {
    /// Queues with the messages and octets reserved in them, by name.
    queues: BTreeMap<Arc<str>, (Arc<Queue>, usize, usize)>,
    /// For each act the durable subscriptions that it goes to.
    durable: Vec<Vec<Arc<str>>>,
}

impl Act {
    fn is_persistent(&self) -> bool {
        match self {
            Act::Send(_, message) => message.properties().persistent,
            Act::Settle(..) => true,
        }
    }

    /// Octets that it holds.
    pub fn size(&self) -> usize {
        match self {
            Act::Send(_, message) => message.size(),
            Act::Settle(..) => 0,
        }
    }
}
