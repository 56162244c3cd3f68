//! SUBSCRIBE, UNSUBSCRIBE, acknowledgement, and what a session leaves behind.

use std::sync::atomic::Ordering;
use std::sync::Arc;

use super::journal::Ticket;
use super::outbound::{LaneHead, LaneId, Outbound};
use super::publish::Refused;
use super::queue::{Browse, Consume, NotHeld, Options, Queue, Tags};
use super::selector::Selector;
use super::settings::{Kind, Prefetch, QueuePolicy, WhenExpired, WhenFull};
use super::subscription::{AckMode, Feed, Settle, Subscription, Target};
use super::{Broker, Destination, Draft, Now, Properties, Selection};
use crate::stomp::{Headers, Line, Version};

/// What a SUBSCRIBE asks for.
#[derive(Clone, Debug)]
pub struct Subscribe {
    /// Where to.
    pub selection: Selection,
    /// Number of the session.
    pub session: u64,
    /// Number of the subscription in its session, never used twice.
    pub serial: u32,
    /// How it acknowledges.
    pub mode: AckMode,
    /// Credit asked for; the broker's own for the mode if none was.
    pub prefetch: Option<usize>,
    /// It does not want what its own session sends.
    pub no_local: bool,
    /// It only wants what this matches.
    pub selector: Option<Arc<Selector>>,
    /// It only looks at what waits in the queue, and takes nothing.
    pub browse: bool,
    /// While it is there, only one of those who say so is given anything by the queue: the one that came first.
    pub alone: bool,
    /// The queue is to belong to the session.
    pub exclusive: bool,
    /// How a queue that is made is to be.
    pub options: Options,
    /// The durable subscription that it belongs to, by its canonical name.
    pub durable: Option<Arc<str>>,
    /// How its MESSAGE frames begin. `queue` and `manual` are set by the broker.
    pub head: LaneHead,
}

/// The header of the MESSAGE that follows the last one to whom browses.
const END_OF_BROWSING: Line<'static> = Line {
    name: "browser",
    value: "end",
};

impl Broker {
    /// Adds a subscription: messages accepted from now on reach it.
    pub fn subscribe(&self, ask: Subscribe, outbound: &Arc<Outbound>, now: Now) -> Result<Subscription, Refused> {
        let feed_is_queue = matches!(&ask.selection, Selection::One(one) if one.kind == Kind::Queue);
        let head = LaneHead {
            queue: feed_is_queue || ask.durable.is_some() || ask.mode.is_manual(),
            manual: ask.mode.is_manual(),
            ..ask.head.clone()
        };
        let lane = outbound.open_lane(ask.serial, head);
        let feed = match (&ask.selection, &ask.durable) {
            (Selection::One(one), _) if one.kind == Kind::Queue => self.consume(one, &ask, lane, outbound, now),
            (_, Some(name)) => self.consume_durable(name, &ask, lane, outbound, now),
            (Selection::One(one), None) => self.listen(one, &ask, lane, outbound, now),
            (Selection::Pattern(pattern), None) => {
                let target = self.target(&ask, lane, outbound, now);
                self.patterns.add(pattern, &target);
                Ok(Feed::Pattern(pattern.clone(), target))
            }
        };
        match feed {
            Ok(feed) => {
                self.subscriptions.fetch_add(1, Ordering::Relaxed);
                Ok(Subscription {
                    lane,
                    mode: ask.mode,
                    feed,
                })
            }
            Err(refused) => {
                outbound.close_lane(lane);
                Err(refused)
            }
        }
    }

    /// Ends a subscription: none of its messages is written from now on. Whether late acknowledgements may come.
    pub fn unsubscribe(&self, subscription: &Subscription, outbound: &Outbound, now: Now) -> bool {
        self.stop_feed(subscription);
        let waiting = outbound.close_lane(subscription.lane);
        self.subscriptions.fetch_sub(1, Ordering::Relaxed);
        let Some((queue, consumer)) = subscription.source() else {
            return false;
        };
        let (left, effects) = queue.cancel(consumer, waiting, &self.counters, now);
        self.apply(queue, effects, None, now);
        if !matches!(subscription.feed, Feed::Queue(..)) {
            queue.drop_ready();
        }
        left
    }

    /// Takes the subscription of a connection that has ended. Deliveries from `unwritten` on never left; those
    /// before it may have been seen. `live` says that it had not been unsubscribed.
    pub fn abandon(
        &self,
        subscription: &Subscription,
        outbound: &Outbound,
        unwritten: Option<u64>,
        live: bool,
        now: Now,
    ) {
        let mut unwritten = unwritten;
        if live {
            self.stop_feed(subscription);
            let waiting = outbound.close_lane(subscription.lane);
            unwritten = unwritten.or(waiting);
            self.subscriptions.fetch_sub(1, Ordering::Relaxed);
        }
        if let Some((queue, consumer)) = subscription.source() {
            if matches!(subscription.feed, Feed::Queue(..)) {
                let effects = queue.leave(consumer, unwritten, &self.counters, now);
                self.apply(queue, effects, None, now);
            } else {
                queue.retire();
            }
        }
    }

    /// Settles a delivery; the ticket is for its RECEIPT.
    pub fn settle(
        &self,
        queue: &Arc<Queue>,
        consumer: u32,
        tag: u64,
        settle: Settle,
        now: Now,
    ) -> Result<Option<Ticket>, NotHeld> {
        let effects = queue.settle(consumer, tag, settle, &self.counters, now)?;
        let recorded = effects.recorded;
        self.apply(queue, effects, None, now);
        Ok(self.patient_ticket(recorded))
    }

    /// Holds acknowledgements for a transaction.
    pub fn hold(&self, queue: &Arc<Queue>, consumer: u32, tag: u64, now: Now) -> Result<Tags, NotHeld> {
        let (tags, effects) = queue.enter(consumer, tag, &self.counters, now)?;
        self.apply(queue, effects, None, now);
        Ok(tags)
    }

    /// Deliveries up to `tag` of a subscription in auto mode have been written.
    pub fn written(&self, queue: &Arc<Queue>, consumer: u32, tag: u64, now: Now) {
        let effects = queue.written(consumer, tag, &self.counters, now);
        self.apply(queue, effects, None, now);
    }

    /// The connection of a consumer has room again.
    pub fn resume(&self, queue: &Arc<Queue>, consumer: u32, now: Now) {
        let effects = queue.resume(consumer, &self.counters, now);
        self.apply(queue, effects, None, now);
    }

    fn consume(
        &self,
        to: &Destination,
        ask: &Subscribe,
        lane: LaneId,
        outbound: &Arc<Outbound>,
        now: Now,
    ) -> Result<Feed, Refused> {
        let owner = ask.exclusive.then_some(ask.session);
        loop {
            let make = || self.make_queue(&to.name, ask.options.clone(), owner);
            let (queue, made) = self.directory.queue_or(&to.name, make)?;
            if queue.owner.is_some_and(|owner| owner != ask.session) || (ask.exclusive && queue.owner.is_none()) {
                return Err(Refused::NotOwner(Arc::clone(&to.name)));
            }
            if !made && ask.options != Options::default() && queue.options != ask.options {
                return Err(Refused::OtherOptions(Arc::clone(&to.name)));
            }
            let consumer = match ask.browse {
                true => queue.browse(self.browse(&queue, ask, lane, outbound), now),
                false => {
                    let consume = Consume {
                        selector: ask.selector.clone(),
                        ..self.terms(ask, lane, outbound)
                    };
                    queue.consume(consume, &self.counters, now)
                }
            };
            match consumer {
                Some((consumer, effects)) => {
                    if to.app {
                        self.note_worker(&queue);
                    }
                    self.apply(&queue, effects, None, now);
                    return Ok(Feed::Queue(queue, consumer));
                }
                None => self.forget_retired(&queue),
            }
        }
    }

    fn browse(&self, queue: &Queue, ask: &Subscribe, lane: LaneId, outbound: &Arc<Outbound>) -> Browse {
        let headers = Headers::new([END_OF_BROWSING], false);
        let end = self.message(Draft {
            destination: &queue.name,
            headers: &headers,
            reply_to: None,
            body: b"",
            version: Version::V1_0,
            properties: Properties::default(),
            publisher: ask.session,
        });
        Browse {
            outbound: Arc::clone(outbound),
            lane,
            selector: ask.selector.clone(),
            end,
        }
    }

    fn listen(
        &self,
        to: &Destination,
        ask: &Subscribe,
        lane: LaneId,
        outbound: &Arc<Outbound>,
        now: Now,
    ) -> Result<Feed, Refused> {
        let owner = ask.exclusive.then_some(ask.session);
        let target = self.target(ask, lane, outbound, now);
        loop {
            let topic = self.directory.topic_or(&to.name, || self.make_topic(to, owner))?;
            if topic.owner.is_some_and(|owner| owner != ask.session) {
                return Err(Refused::NotOwner(Arc::clone(&to.name)));
            }
            if topic.add(Arc::clone(&target)) {
                return Ok(Feed::Topic(topic, target));
            }
            self.directory.remove_topic(&topic);
        }
    }

    /// A topic's view of the subscription. With manual acknowledgement it has a queue of its own, as large as the
    /// connection's budget.
    fn target(&self, ask: &Subscribe, lane: LaneId, outbound: &Arc<Outbound>, now: Now) -> Arc<Target> {
        let backlog = ask.mode.is_manual().then(|| {
            let policy = QueuePolicy {
                messages: self.settings.outbound.messages,
                bytes: self.settings.outbound.bytes,
                full: WhenFull::DropHead,
                idle_ms: 0,
                expired: WhenExpired::Drop,
                ..self.settings.queue.clone()
            };
            let queue = Queue::new(
                0,
                "".into(),
                policy,
                Options::default(),
                Some(ask.session),
                self.passing.clone(),
            );
            queue.consume(self.terms(ask, lane, outbound), &self.counters, now);
            Arc::new(queue)
        });
        Arc::new(Target {
            session: ask.session,
            lane,
            outbound: Arc::clone(outbound),
            no_local: ask.no_local,
            selector: ask.selector.clone(),
            durable: None,
            backlog,
        })
    }

    pub(super) fn terms(&self, ask: &Subscribe, lane: LaneId, outbound: &Arc<Outbound>) -> Consume {
        let default = match ask.mode {
            AckMode::ClientIndividual => self.settings.prefetch_client_individual,
            AckMode::Auto | AckMode::Client => self.settings.prefetch_client,
        };
        let messages = match ask.prefetch {
            // RabbitMQ's word for no limit of the client's own.
            Some(0) => self.settings.unacknowledged,
            asked => asked.unwrap_or(default.messages),
        };
        Consume {
            outbound: Arc::clone(outbound),
            lane,
            mode: ask.mode,
            prefetch: Prefetch {
                messages: messages.min(self.settings.unacknowledged),
                bytes: default.bytes,
            },
            unacknowledged: self.settings.unacknowledged,
            unwanted: (ask.no_local && ask.durable.is_some()).then_some(ask.session),
            // A topic has selected already.
            selector: None,
            alone: ask.alone,
        }
    }

    /// Takes a subscription off its topic; a queue's consumer is cancelled by its number.
    fn stop_feed(&self, subscription: &Subscription) {
        match &subscription.feed {
            Feed::Queue(..) => {}
            Feed::Topic(topic, target) => {
                if topic.remove(target) {
                    self.directory.remove_topic(topic);
                }
            }
            Feed::Pattern(pattern, target) => {
                if !self.patterns.remove(pattern, target) {
                    self.forget_all_remembered();
                }
            }
        }
    }
}
