//! What an operator may set about destinations and their budgets.

use serde::{Deserialize, Serialize};

/// Settings of one broker (one virtual host).
#[derive(Clone, Debug)]
pub struct Settings {
    /// Octets of all messages held; above it SENDs wait while consumers drain.
    pub memory_high_water: usize,
    /// Budget of each connection for what waits to be written to it.
    pub outbound: OutboundLimits,
    /// Destinations (queues, and topics with subscriptions) that may exist; a further one is an ERROR.
    pub destinations: usize,
    /// Octets of a destination's name, the whole header value.
    pub destination_bytes: usize,
    /// Topics without a subscription of their own whose matching wildcard subscriptions are remembered.
    pub route_cache: usize,
    /// Credit of a subscription with `ack:client` that names none.
    pub prefetch_client: Prefetch,
    /// Credit of a subscription with `ack:client-individual` that names none.
    pub prefetch_client_individual: Prefetch,
    /// Unacknowledged messages a subscription may hold, whatever prefetch it asks for.
    pub unacknowledged: usize,
    /// Further destination forms, tried in order before the built-in ones.
    pub prefixes: Vec<Prefix>,
    /// Durable subscriptions.
    pub durable: DurableLimits,
    /// Topics by which nodes of a Spring application and this broker tell each other of users.
    pub spring: Spring,
    /// What holds for a topic that no entry of `policies` matches.
    pub topic: TopicPolicy,
    /// What holds for a queue that no entry of `policies` matches.
    pub queue: QueuePolicy,
    /// Policies by destination pattern; the first that matches governs.
    pub policies: Vec<Policy>,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            memory_high_water: 1 << 30,
            outbound: OutboundLimits::default(),
            destinations: 1_000_000,
            destination_bytes: 255,
            route_cache: 10_000,
            prefetch_client: Prefetch {
                messages: 1_000,
                bytes: 1 << 20,
            },
            prefetch_client_individual: Prefetch {
                messages: 100,
                bytes: 1 << 20,
            },
            unacknowledged: 10_000,
            prefixes: Vec::new(),
            durable: DurableLimits::default(),
            spring: Spring::default(),
            topic: TopicPolicy::default(),
            queue: QueuePolicy::default(),
            policies: Vec::new(),
        }
    }
}

/// Budget of a connection's [`Outbound`](super::Outbound).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutboundLimits {
    /// Messages that may wait.
    pub messages: usize,
    /// Octets that may wait. An empty outbound admits one message of any legal size.
    pub bytes: usize,
    /// Milliseconds that the publishers to a topic wait for a subscriber that reads but does not keep up, before its
    /// budget is left to fill. 0: they never wait.
    pub patience_ms: u64,
    /// Octets of RECEIPT frames that may wait; beyond it the connection reads no further frames.
    pub control_bytes: usize,
}

impl Default for OutboundLimits {
    fn default() -> Self {
        OutboundLimits {
            messages: 10_000,
            bytes: 1 << 20,
            patience_ms: 500,
            control_bytes: 64 << 10,
        }
    }
}

/// How much may be delivered and not yet acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefetch {
    /// Messages.
    pub messages: usize,
    /// Octets; one message of any size is always allowed.
    pub bytes: usize,
}

/// What a topic does with a subscriber that does not keep up.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum TopicPolicy {
    /// ERROR `slow-consumer`, and the connection ends.
    #[default]
    Disconnect,
    /// The oldest waiting message gives way; the next one delivered says in `x-skipped` how many did.
    DropOldest,
    /// Of the waiting messages with the same value of the header `key` only the latest is kept, in the place of
    /// the first; `x-skipped` counts the replaced ones. Beyond the budget the oldest gives way.
    LatestOnly {
        /// Name of the header whose value tells messages apart.
        key: String,
    },
}

/// Limits of a queue and what happens at them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueuePolicy {
    /// Messages that may be in the queue, delivered but unacknowledged ones included.
    pub messages: usize,
    /// Their octets.
    pub bytes: usize,
    /// What a SEND to a full queue meets.
    pub full: WhenFull,
    /// Deliveries of one message; after that many failed ones it goes to the dead-letter queue. 0 = no limit.
    pub delivery_limit: u32,
    /// Milliseconds after which an empty queue without consumers is removed. 0 = never.
    pub idle_ms: u64,
    /// Milliseconds that a message lives at most. 0 = no limit of the queue's.
    pub ttl_ms: u64,
    /// What becomes of a message whose time is over.
    pub expired: WhenExpired,
    /// Where dead messages go.
    pub dead_letter: DeadLetter,
    /// Whether persistent messages are kept on disk.
    pub durable: bool,
    /// Octets of persistent messages that are kept in memory too; further ones are on disk only until their turn
    /// comes. None further while messages hold half of [`Settings::memory_high_water`].
    pub resident: usize,
}

impl Default for QueuePolicy {
    fn default() -> Self {
        QueuePolicy {
            messages: 1_000_000,
            bytes: 1 << 30,
            full: WhenFull::Block,
            delivery_limit: 20,
            idle_ms: 60_000,
            ttl_ms: 0,
            expired: WhenExpired::Drop,
            dead_letter: DeadLetter::Own,
            durable: true,
            resident: 8 << 20,
        }
    }
}

/// What becomes of a message whose time is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum WhenExpired {
    /// It is dropped and counted.
    #[default]
    Drop,
    /// It goes to the dead-letter queue.
    DeadLetter,
}

/// Where a queue's dead messages go.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum DeadLetter {
    /// To a queue of the queue's own: `/queue/DLQ.NAME`.
    #[default]
    Own,
    /// Nowhere: they are dropped and counted.
    Nowhere,
    /// To the queue of that canonical name.
    Queue(String),
}

/// What durable subscriptions to topics may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DurableLimits {
    /// Durable subscriptions that there may be; a further one is an ERROR.
    pub subscriptions: usize,
    /// Milliseconds without a consumer after which one is removed with what it holds. 0 = never.
    pub expires_ms: u64,
    /// Milliseconds that publishers to the topic of a full one that nobody is connected to are held up by it; after
    /// that its oldest messages give way, so that it cannot stop a topic for ever.
    pub grace_ms: u64,
}

impl Default for DurableLimits {
    fn default() -> Self {
        DurableLimits {
            subscriptions: 10_000,
            expires_ms: 0,
            grace_ms: 3_600_000,
        }
    }
}

/// Topics by which the nodes of a Spring application tell each other of users. While one is named here, only who may
/// send to everybody's `/user` destinations may use it, and no pattern finds it.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Spring {
    /// What the application calls `userRegistryBroadcast`: the broker says there which users it has itself.
    pub user_registry: Option<String>,
    /// What the application calls `userDestinationBroadcast`: what comes there for users that the broker has is theirs.
    pub user_destination: Option<String>,
}

impl Spring {
    /// Whether `name` is one of the topics.
    pub fn has(&self, name: &str) -> bool {
        let topics = [&self.user_registry, &self.user_destination];
        topics.into_iter().flatten().any(|topic| topic == name)
    }
}

/// Verdict of a full queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum WhenFull {
    /// The sender waits, up to the session's deadline, then ERROR `queue-full`.
    #[default]
    Block,
    /// ERROR `queue-full` at once.
    Reject,
    /// The oldest ready message is dropped and counted.
    DropHead,
}

/// A policy for the destinations that `pattern` matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// A destination, with wildcards, such as `/topic/ticker.#`.
    pub pattern: String,
    /// For topics.
    pub topic: TopicPolicy,
    /// For queues.
    pub queue: QueuePolicy,
}

/// A destination form of the operator's own: `/chat` as topics, for example.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefix {
    /// The leading part, with its slash: `/chat` makes `/chat/room` a destination.
    pub prefix: String,
    /// What its destinations are.
    pub kind: Kind,
    /// Which characters part the segments that wildcards count.
    pub separator: Separator,
}

/// The two sorts of destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Publish and subscribe.
    Topic,
    /// Point to point.
    Queue,
}

/// Segment separators of a topic name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Separator {
    /// `/` and `.`, each matching itself.
    #[default]
    Both,
    /// Only `/`: `*` spans dots, as in Spring.
    Slash,
    /// Only `.`: `*` spans slashes, as in ActiveMQ and RabbitMQ.
    Dot,
}
