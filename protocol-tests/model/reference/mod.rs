//! The reference: a broker as naive as can be, written from the documentation and not from the code.
//!
//! Everything is a list that is searched from the front. Nothing is cached, nothing is called back: a blocked sender is
//! simply tried when the world says that it was woken. What it predicts is exact: every frame, every counter, every size.

mod app;
mod choice;
mod exchange;
mod frames;
mod names;
mod queue;
mod session;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use hoofbeat::broker::settings::{Policy, QueuePolicy, TopicPolicy};

pub use choice::SELECTORS;

use crate::wire::Frame;

/// Wall time when the virtual clock shows zero.
pub const EPOCH: u64 = 1_700_000_000_000;

/// A message, compared by address.
#[derive(Debug)]
pub struct Message {
    pub publisher: usize,
    pub destination: String,
    /// The sender's headers that are passed on.
    pub carried: Vec<(String, String)>,
    pub body: String,
    pub priority: u8,
    pub expires: Option<u64>,
    pub twin: hoofbeat::broker::Message,
}

impl Message {
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.carried.iter().find(|(n, _)| n == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Its headers as a MESSAGE shows them.
    pub fn lines(&self) -> Vec<(String, String)> {
        let mut lines = vec![("destination".to_owned(), self.destination.clone())];
        lines.extend(self.carried.iter().cloned());
        lines.push(("content-length".to_owned(), self.body.len().to_string()));
        lines
    }

    /// What it counts for in every budget.
    pub fn size(&self) -> usize {
        self.twin.size()
    }

    fn expired(&self, now: u64) -> bool {
        self.expires.is_some_and(|at| at <= EPOCH + now)
    }
}

/// A message in a queue: ready, or held by one consumer.
#[derive(Debug, Clone)]
pub struct Entry {
    pub seq: u64,
    pub message: Rc<Message>,
    /// Written deliveries that were not settled.
    pub attempts: u32,
    pub held: Option<Holder>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Holder {
    pub consumer: u64,
    pub tag: u64,
    /// Acknowledged in an open transaction.
    pub inside: bool,
}

#[derive(Debug)]
pub struct Queue {
    pub owner: Option<usize>,
    /// The private queue of a topic's subscription with manual acknowledgement.
    pub backlog: bool,
    pub policy: QueuePolicy,
    pub entries: Vec<Entry>,
    pub consumers: Vec<Consumer>,
    /// Consumers that are served in turn.
    pub row: Vec<u64>,
    pub reserved: (usize, usize),
    pub seq: u64,
    pub idle_since: Option<u64>,
    /// Some consumer has a selector, or messages have come in groups: each consumer looks for what is for it.
    pub choosy: bool,
    /// Which consumer has which group.
    pub groups: BTreeMap<String, u64>,
    /// The only consumer that is given anything.
    pub sole: Option<u64>,
}

#[derive(Debug)]
pub struct Consumer {
    pub id: u64,
    pub session: usize,
    pub serial: u32,
    pub mode: Mode,
    pub prefetch: (usize, usize),
    pub active: bool,
    pub tag: u64,
    pub selector: Option<String>,
    /// While it is there, only the first of those who say so is given anything.
    pub alone: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Mode {
    Auto,
    Client,
    Individual,
}

/// A topic that has subscriptions of its own, or is remembered for wildcard ones.
#[derive(Debug)]
pub struct Topic {
    pub id: u64,
    pub name: String,
    pub own: Vec<(usize, u32)>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum State {
    Connecting,
    Open,
    Closing,
    Ended,
}

#[derive(Debug)]
pub struct Session {
    pub state: State,
    /// It had its CONNECTED, and has not been ended.
    pub entered: Option<usize>,
    /// What those know it by who answer it, and its part of its temporary names.
    pub token: String,
    pub temporary: String,
    /// Whose it is.
    pub user: Option<String>,
    pub id: u128,
    pub tcp: bool,
    pub version: u8,
    pub opened: u64,
    pub control: VecDeque<Expected>,
    /// By serial; those that were unsubscribed stay while they hold unacknowledged messages.
    pub subs: Vec<Sub>,
    pub requests: Vec<app::Request>,
    pub used: Vec<String>,
    pub serial: u32,
    pub transactions: BTreeMap<String, Transaction>,
    /// In the order of the frames that asked: number, id, whether the frame took effect.
    pub receipts: VecDeque<(u64, String, bool)>,
    pub blocked: Option<Blocked>,
    pub leaving: Option<&'static str>,
    /// Frames of queues on their way through the socket: where each ends, its subscription, its tag.
    pub marks: VecDeque<(u64, u32, u64)>,
    /// Subscriptions with waiting messages, as they are served.
    pub turn: Vec<u32>,
    pub stalled: bool,
    pub slow: bool,
    pub finished: bool,
    /// Queues that go with the session.
    pub owned: BTreeSet<String>,
    /// Every delivery that asked for an acknowledgement, by its id.
    pub deliveries: BTreeMap<String, (u32, String, u64, u64)>,
}

#[derive(Debug)]
pub struct Sub {
    pub serial: u32,
    pub key: String,
    pub shown: Option<String>,
    pub mode: Mode,
    pub live: bool,
    pub feed: Feed,
    /// Queue and consumer that hold its unsettled messages.
    pub source: Option<(String, u64)>,
    pub no_local: bool,
    /// Whether its messages are held in a queue until they are settled.
    pub queued: bool,
    /// Waits to be written; `None` when nothing may come any more.
    pub lane: Option<VecDeque<Waiting>>,
    pub skipped: u64,
}

#[derive(Debug)]
pub enum Feed {
    Queue(String),
    Topic(String),
    Pattern(String),
    /// The answer to a SUBSCRIBE to an application destination.
    Request,
}

#[derive(Debug, Clone)]
pub struct Waiting {
    pub message: Rc<Message>,
    pub tag: u64,
    pub attempts: u32,
    pub key: Option<String>,
}

#[derive(Debug, Default)]
pub struct Transaction {
    pub acts: Vec<Act>,
    pub octets: usize,
    pub since: u64,
}

#[derive(Debug, Clone)]
pub enum Act {
    Send(Route, Rc<Message>),
    /// Queue, consumer, tags, and what to do.
    Settle(String, u64, Vec<u64>, Settle),
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Settle {
    Ack,
    Requeue,
    Reject,
}

#[derive(Debug, Clone)]
pub struct Route {
    pub name: String,
    pub queue: bool,
    pub reply: bool,
    /// To those who work for it: into the queue of that name, or of a pattern.
    pub app: bool,
    /// Make the queue if it is not there.
    pub create: bool,
    pub owner: Option<usize>,
}

#[derive(Debug)]
pub struct Blocked {
    pub acts: Vec<Act>,
    pub commit: bool,
    pub code: &'static str,
    pub receipt: Option<(u64, String)>,
    pub since: u64,
    pub retry_at: Option<u64>,
    pub deferred: VecDeque<(Frame, Option<u64>)>,
}

/// What became of a SEND or COMMIT.
pub enum Sent {
    Done,
    Blocked(&'static str),
    Refused(&'static str),
}

/// A frame that the session must be given next.
#[derive(Debug)]
pub enum Expected {
    Connected,
    Receipt(String),
    Error(&'static str, Option<String>),
    Message(Box<Shown>),
}

#[derive(Debug)]
pub struct Shown {
    pub serial: u32,
    pub id: Option<String>,
    pub mode: Mode,
    pub source: Option<(String, u64)>,
    pub queued: bool,
    /// Whether it leaves a mark in the socket: a queue's message, or an answer.
    pub marked: bool,
    pub waiting: Waiting,
    pub skipped: u64,
}

/// A client's fault: the code of its ERROR and the receipt it names.
pub type Fault = (&'static str, Option<String>);

pub struct Reference {
    pub broker: hoofbeat::broker::Settings,
    pub settings: hoofbeat::session::Settings,
    pub boot: String,
    pub now: u64,
    pub queues: BTreeMap<String, Queue>,
    pub topics: Vec<Topic>,
    /// Topics in the order in which they were remembered for wildcard subscriptions.
    pub remembered: VecDeque<u64>,
    pub sessions: Vec<Session>,
    pub counts: BTreeMap<&'static str, u64>,
    pub marks: BTreeSet<&'static str>,
    numbers: u64,
    entered: usize,
}

impl Reference {
    pub fn new(broker: hoofbeat::broker::Settings, settings: hoofbeat::session::Settings, boot: &str) -> Reference {
        Reference {
            broker,
            settings,
            boot: boot.to_owned(),
            now: 0,
            queues: BTreeMap::new(),
            topics: Vec::new(),
            remembered: VecDeque::new(),
            sessions: Vec::new(),
            counts: BTreeMap::new(),
            marks: BTreeSet::new(),
            numbers: 0,
            entered: 0,
        }
    }

    pub fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    pub fn count(&mut self, name: &'static str, by: u64) {
        *self.counts.entry(name).or_default() += by;
    }

    pub fn mark(&mut self, name: &'static str) {
        self.marks.insert(name);
    }

    fn policy(&self, name: &str) -> Option<&Policy> {
        self.broker.policies.iter().find(|p| matches(&p.pattern, name))
    }

    pub fn queue_policy(&self, name: &str) -> QueuePolicy {
        self.policy(name).map_or(&self.broker.queue, |p| &p.queue).clone()
    }

    pub fn topic_policy(&self, name: &str) -> TopicPolicy {
        self.policy(name).map_or(&self.broker.topic, |p| &p.topic).clone()
    }

    /// Whether there may be one more destination.
    pub fn may_add(&self) -> bool {
        let queues = self.queues.values().filter(|q| !q.backlog).count();
        queues + self.topics.len() < self.broker.destinations
    }

    /// Octets of all messages that anything holds, each once; without those in `but`.
    pub fn octets(&self, but: &[*const Message]) -> usize {
        let mut seen: BTreeSet<*const Message> = but.iter().copied().collect();
        let mut sum = 0;
        let mut add = |message: &Rc<Message>| {
            if seen.insert(Rc::as_ptr(message)) {
                sum += message.size();
            }
        };
        let entries = self.queues.values().flat_map(|q| &q.entries);
        entries.for_each(|e| add(&e.message));
        for session in self.sessions.iter().filter(|s| s.state != State::Ended) {
            let lanes = session.subs.iter().filter_map(|s| s.lane.as_ref());
            lanes.flatten().for_each(|w| add(&w.message));
            let unplaced = session.requests.iter().filter_map(|r| r.unplaced.as_ref());
            unplaced.for_each(|u| add(&u.message));
            let open = session.transactions.values().flat_map(|t| &t.acts);
            let blocked = session.blocked.iter().flat_map(|b| &b.acts);
            for act in open.chain(blocked) {
                if let Act::Send(_, message) = act {
                    add(message);
                }
            }
        }
        sum
    }

    pub fn entered(&mut self) -> usize {
        self.entered += 1;
        self.entered
    }
}

/// Whether a name matches a pattern: `*` is one segment, `#`, `**` and `>` any number; separators match themselves.
pub fn matches(pattern: &str, name: &str) -> bool {
    fn go(pattern: &[(char, String)], name: &[(char, String)]) -> bool {
        let Some(((mark, segment), later)) = pattern.split_first() else {
            return name.is_empty();
        };
        let same = name.first().is_some_and(|(m, _)| m == mark);
        match segment.as_str() {
            "*" => same && go(later, &name[1..]),
            "#" | "**" | ">" => go(later, name) || same && (1..=name.len()).any(|used| go(later, &name[used..])),
            _ => same && name[0].1 == *segment && go(later, &name[1..]),
        }
    }
    go(&segments(pattern), &segments(name))
}

/// Each segment with the separator before it.
pub fn segments(name: &str) -> Vec<(char, String)> {
    let mut all: Vec<(char, String)> = Vec::new();
    for c in name.chars() {
        match all.last_mut() {
            _ if c == '/' || c == '.' => all.push((c, String::new())),
            Some((_, segment)) => segment.push(c),
            None => all.push((' ', c.to_string())),
        }
    }
    all
}

pub fn is_wild(name: &str) -> bool {
    let wild = |segment: &str| matches!(segment, "*" | "#" | "**" | ">");
    segments(name).iter().any(|(_, segment)| wild(segment))
}
