//! Durable subscriptions: queues that topics feed, whether anybody is connected or not.
//!
//! Each is a queue under a name that no destination has, bound to a topic or to a pattern of them. Subscriptions that
//! name it compete for its messages. It goes when it is unsubscribed by its name, or by its expiry.

use std::collections::BTreeMap;
use std::sync::{Arc, MutexGuard, PoisonError};

use super::journal::Ticket;
use super::message::Message;
use super::outbound::{LaneId, Outbound};
use super::pattern::Pattern;
use super::publish::Refused;
use super::queue::{Binding, Queue};
use super::selector::Selector;
use super::settings::Kind;
use super::subscribe::Subscribe;
use super::subscription::{Feed, Target};
use super::topic::Routes;
use super::{Broker, Destination, Now, Selection, Sent};

/// What the canonical names of durable subscriptions begin with: no destination's name begins so.
pub const DURABLE_PREFIX: &str = "durable:";

/// The session that a durable subscription belongs to: none has this number.
const NOBODY: u64 = 0;

/// Durable subscriptions by name, as their topics know them.
#[derive(Debug, Default)]
pub struct Bound {
    targets: BTreeMap<Arc<str>, Arc<Target>>,
    next: u32,
}

/// The canonical name of a durable subscription that a client gave a name (`activemq.subscriptionName`,
/// `durable-subscription-name`).
pub fn named_by_client(client_id: &str, name: &str) -> Arc<str> {
    format!("{DURABLE_PREFIX}client/{}/{name}", segment(client_id)).into()
}

/// The canonical name of a durable subscription that is told by its id and destination, as RabbitMQ does.
pub fn named_by_id(id: &str, destination: &str) -> Arc<str> {
    format!("{DURABLE_PREFIX}id/{}{destination}", segment(id)).into()
}

/// A client's text as one segment, so that no two pairs have one name.
fn segment(text: &str) -> String {
    text.replace('%', "%25").replace('/', "%2F")
}

impl Binding {
    /// What a SUBSCRIBE to `selection` binds; `None` if that is no topic.
    pub fn of(selection: &Selection, selector: Option<&Selector>) -> Option<Binding> {
        let selector = selector.map(|selector| selector.text().to_owned());
        match selection {
            Selection::One(one) if one.kind == Kind::Queue => None,
            Selection::One(one) => Some(Binding {
                topic: one.name.to_string(),
                pattern: false,
                separator: one.separator,
                selector,
            }),
            Selection::Pattern(pattern) => Some(Binding {
                topic: pattern.name().to_owned(),
                pattern: true,
                separator: pattern.separator(),
                selector,
            }),
        }
    }

    fn pattern(&self) -> Option<Pattern> {
        Pattern::parse(&self.topic, self.separator).filter(|_| self.pattern)
    }

    fn destination(&self) -> Destination {
        Destination {
            name: self.topic.as_str().into(),
            kind: Kind::Topic,
            separator: self.separator,
            reply: false,
            app: false,
        }
    }
}

impl Broker {
    fn bound(&self) -> MutexGuard<'_, Bound> {
        self.bound.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Durable subscriptions that there are.
    pub(super) fn durable_subscriptions(&self) -> usize {
        self.bound().targets.len()
    }

    /// Adds a consumer to the durable subscription `name`, which is made if need be.
    pub(super) fn consume_durable(
        &self,
        name: &Arc<str>,
        ask: &Subscribe,
        lane: LaneId,
        outbound: &Arc<Outbound>,
        now: Now,
    ) -> Result<Feed, Refused> {
        let mut bound = self.bound();
        let (queue, consumer, effects) = loop {
            let queue = match self.directory.queue(name) {
                Some(queue) => queue,
                None => self.make_durable(&mut bound, name, ask)?,
            };
            if !ask.options.agree_with(&queue.options) {
                return Err(Refused::OtherOptions(Arc::clone(name)));
            }
            match queue.consume(self.terms(ask, lane, outbound), &self.counters, now) {
                Some((consumer, effects)) => break (queue, consumer, effects),
                None => {
                    self.unbind(&mut bound, &queue);
                    self.directory.remove_queue(&queue);
                }
            }
        };
        drop(bound);
        self.apply(&queue, effects, None, now);
        Ok(Feed::Queue(queue, consumer))
    }

    fn make_durable(&self, bound: &mut Bound, name: &Arc<str>, ask: &Subscribe) -> Result<Arc<Queue>, Refused> {
        let most = self.settings.durable.subscriptions;
        if bound.targets.len() >= most {
            return Err(Refused::TooManyDurable(most));
        }
        if let Some(why) = self.journal.refuses() {
            return Err(Refused::NotStored(why));
        }
        let make = || self.make_queue(name, ask.options.clone(), None);
        let (queue, _) = self.directory.queue_or(name, make)?;
        self.bind(bound, &queue, ask.selector.clone());
        queue.announce();
        Ok(queue)
    }

    /// Binds a durable subscription that was found on disk.
    pub(super) fn bind_again(&self, queue: &Arc<Queue>) {
        let text = queue.options.binding.as_ref().and_then(|b| b.selector.as_deref());
        // It could be read when it was written down; if it cannot any more, too much is better than nothing.
        let selector = text.and_then(|text| Selector::parse(text, &self.boot).ok());
        self.bind(&mut self.bound(), queue, selector.map(Arc::new));
    }

    fn bind(&self, bound: &mut Bound, queue: &Arc<Queue>, selector: Option<Arc<Selector>>) {
        let Some(binding) = &queue.options.binding else { return };
        bound.next = bound.next.wrapping_add(1);
        let target = Arc::new(Target {
            session: NOBODY,
            lane: LaneId {
                slot: 0,
                serial: bound.next,
            },
            outbound: Arc::clone(&self.nobody),
            no_local: false,
            selector,
            durable: Some(Arc::clone(queue)),
            backlog: None,
        });
        match binding.pattern() {
            Some(pattern) => self.patterns.add(&pattern, &target),
            None => self.bind_topic(&binding.destination(), &target),
        }
        bound.targets.insert(Arc::clone(&queue.name), target);
    }

    fn bind_topic(&self, to: &Destination, target: &Arc<Target>) {
        loop {
            let topic = self.directory.topic_always(&to.name, || self.make_topic(to, None));
            if topic.add(Arc::clone(target)) {
                return;
            }
            self.directory.remove_topic(&topic);
        }
    }

    /// Takes a durable subscription off its topic, if it is still the one of its name.
    fn unbind(&self, bound: &mut Bound, queue: &Arc<Queue>) {
        let is_of = |target: &Arc<Target>| target.durable.as_ref().is_some_and(|own| Arc::ptr_eq(own, queue));
        let Some(target) = bound.targets.get(&queue.name).filter(|target| is_of(target)).cloned() else {
            return;
        };
        bound.targets.remove(&queue.name);
        let Some(binding) = &queue.options.binding else { return };
        match binding.pattern() {
            Some(pattern) => {
                if !self.patterns.remove(&pattern, &target) {
                    self.forget_all_remembered();
                }
            }
            None => {
                if let Some(topic) = self.directory.topic(&binding.topic) {
                    if topic.remove(&target) {
                        self.directory.remove_topic(&topic);
                    }
                }
            }
        }
    }

    /// A durable subscription has been retired.
    pub(super) fn forget_durable(&self, queue: &Arc<Queue>) {
        if queue.is_subscription() {
            self.unbind(&mut self.bound(), queue);
        }
    }

    /// Removes the durable subscription `name` with what it holds; false if there is none. The ticket is for the
    /// RECEIPT.
    pub fn remove_durable(&self, name: &str) -> Result<(bool, Option<Ticket>), Refused> {
        let mut bound = self.bound();
        let Some(queue) = self.directory.queue(name).filter(|queue| queue.is_subscription()) else {
            return Ok((false, None));
        };
        let others = queue.active_consumers();
        if others > 0 {
            return Err(Refused::InUse(Arc::clone(&queue.name), others));
        }
        self.unbind(&mut bound, &queue);
        // Before anybody else can find it by its name.
        self.counters.dropped_with_queue.add(queue.retire() as u64);
        self.directory.remove_queue(&queue);
        drop(bound);
        self.agenda.strike(&queue.name);
        Ok((true, self.ticket(queue.is_durable())))
    }

    /// What the RECEIPT of a SUBSCRIBE to a durable subscription waits for: it is on disk.
    pub fn durable_ticket(&self) -> Option<Ticket> {
        self.ticket(true)
    }

    /// The durable subscriptions that want a message to the topic.
    pub(super) fn durable_queues(&self, to: &Destination, message: &Message) -> Vec<Arc<Queue>> {
        match self.directory.topic(&to.name) {
            Some(topic) => wanting(&topic.routes(&self.patterns).durable, message),
            None if to.reply => Vec::new(),
            None => wanting(&self.patterns.find(&to.name, to.separator), message),
        }
    }

    /// Puts a message into all durable subscriptions that want it, or into none.
    pub(super) fn keep_for(
        &self,
        routes: &Routes,
        message: &Arc<Message>,
        sender: &Arc<Outbound>,
        now: Now,
    ) -> Result<Option<Ticket>, Sent> {
        let queues = wanting(&routes.durable, message);
        if queues.is_empty() {
            return Ok(None);
        }
        // What is kept is no passing traffic of a topic.
        self.memory(message.size(), Kind::Queue).map_err(Sent::Blocked)?;
        let kept = queues.iter().any(|queue| queue.keeps(message));
        self.disk(kept).map_err(Sent::Blocked)?;
        let mut reserved: Vec<Arc<Queue>> = Vec::with_capacity(queues.len());
        for queue in queues {
            let room = match queue.refuses(message) {
                Some(why) => Err(Sent::Refused(Refused::NotStored(why))),
                None => (queue.reserve(1, message.size(), sender, now)).map_err(|full| self.full(&queue, full)),
            };
            let not = match room {
                Ok(true) => {
                    reserved.push(queue);
                    continue;
                }
                // It was removed meanwhile.
                Ok(false) => continue,
                Err(not) => not,
            };
            for queue in reserved {
                queue.unreserve(1, message.size());
            }
            return Err(not);
        }
        let kept = reserved.iter().any(|queue| queue.keeps(message));
        for queue in &reserved {
            self.push_reserved(queue, message, None, now);
        }
        Ok(self.ticket(kept))
    }
}

/// The queues of durable subscriptions that want the message.
fn wanting(targets: &[Arc<Target>], message: &Message) -> Vec<Arc<Queue>> {
    let durable = targets.iter().filter(|target| target.durable.is_some());
    let queues = durable
        .filter(|target| target.selects(message))
        .filter_map(|target| target.durable.clone());
    queues.filter(|queue| !queue.is_local(message.publisher())).collect()
}
