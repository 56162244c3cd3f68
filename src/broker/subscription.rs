//! Subscriptions: what a destination knows of those who listen.

use std::cmp::Ordering;
use std::sync::Arc;

use super::message::Message;
use super::outbound::{LaneId, Outbound};
use super::pattern::Pattern;
use super::queue::Queue;
use super::selector::Selector;
use super::topic::Topic;

/// The `ack` header of a SUBSCRIBE.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum AckMode {
    /// Settled when written to the socket.
    #[default]
    Auto,
    /// One ACK settles all earlier messages of the subscription too.
    Client,
    /// Each message has its own ACK.
    ClientIndividual,
}

impl AckMode {
    /// Reads the value of the `ack` header.
    pub fn parse(value: &str) -> Option<AckMode> {
        match value {
            "auto" => Some(AckMode::Auto),
            "client" => Some(AckMode::Client),
            "client-individual" => Some(AckMode::ClientIndividual),
            _ => None,
        }
    }

    /// Whether the client acknowledges.
    pub fn is_manual(self) -> bool {
        self != AckMode::Auto
    }
}

/// What a client says about a message it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settle {
    /// Done with it.
    Ack,
    /// Not done: back to its place in the queue, or to the dead-letter queue.
    Nack {
        /// Back to the queue (the default).
        requeue: bool,
        /// Milliseconds after which it is tried again; 0 for at once.
        delay_ms: u64,
    },
}

/// A topic's subscription: where a copy of each message goes.
#[derive(Debug)]
pub struct Target {
    /// Number of the session.
    pub session: u64,
    /// Its lane.
    pub lane: LaneId,
    /// The outbound of its connection.
    pub outbound: Arc<Outbound>,
    /// It does not want what its own session sends.
    pub no_local: bool,
    /// It only wants what this matches.
    pub selector: Option<Arc<Selector>>,
    /// It is durable: the queue that keeps its messages. Session, lane and outbound are nobody's.
    pub durable: Option<Arc<Queue>>,
    /// With manual acknowledgement messages wait in a queue of the subscription's own.
    pub backlog: Option<Arc<Queue>>,
}

impl Target {
    /// Whether its selector, if it has one, matches.
    pub fn selects(&self, message: &Message) -> bool {
        self.selector.as_ref().is_none_or(|selector| selector.matches(message))
    }

    fn key(&self) -> (u64, u32) {
        (self.session, self.lane.serial)
    }
}

impl PartialEq for Target {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Target {}

impl PartialOrd for Target {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Target {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

/// One subscription, as its session holds it.
#[derive(Debug)]
pub struct Subscription {
    /// Its lane in the session's outbound.
    pub lane: LaneId,
    /// How it acknowledges.
    pub mode: AckMode,
    /// Where its messages come from.
    pub feed: Feed,
}

/// Where a subscription's messages come from.
#[derive(Debug)]
pub enum Feed {
    /// It competes for the messages of a queue.
    Queue(Arc<Queue>, u32),
    /// It hears a topic.
    Topic(Arc<Topic>, Arc<Target>),
    /// It hears all topics that match.
    Pattern(Pattern, Arc<Target>),
}

impl Subscription {
    /// The queue that holds its unsettled deliveries, and its number there; `None` on a topic in auto mode.
    pub fn source(&self) -> Option<(&Arc<Queue>, u32)> {
        match &self.feed {
            Feed::Queue(queue, consumer) => Some((queue, *consumer)),
            // A backlog has one consumer, the first.
            Feed::Topic(_, target) | Feed::Pattern(_, target) => target.backlog.as_ref().map(|queue| (queue, 0)),
        }
    }
}
