//! A client, as it sees itself.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use hoofbeat::broker::FrameSink;
use hoofbeat::session::Session;
use hoofbeat::stomp::Decoder;

use crate::places::selects;
use crate::promises::{Broken, Fact, Given, Gone, Key, Promises};
use crate::wire::Frame;

/// The octets a session wrote, frame by frame.
#[derive(Debug, Default)]
pub struct Socket {
    pub position: u64,
    pub written: VecDeque<(u64, Vec<u8>)>,
    pub taken: u64,
}

impl FrameSink for Socket {
    fn frame(&mut self, parts: &[&[u8]], _utf8: bool) {
        let frame = parts.concat();
        self.position += frame.len() as u64;
        self.written.push_back((self.position, frame));
    }

    fn position(&self) -> u64 {
        self.position
    }
}

/// What a RECEIPT will mean.
#[derive(Clone, Debug)]
pub enum Meaning {
    Nothing,
    Sent(Vec<Key>),
    Acked(Vec<Key>),
    /// Tries that failed: the message, and how many then; and when the next may be.
    Nacked(Vec<(Key, u32)>, u64),
    Committed(usize),
    /// The durable subscription is there for good; how often it had been subscribed.
    Subscribed(usize, u32),
    /// A durable subscription is gone for good with these messages; how often it had been subscribed.
    Removed(usize, u32, Vec<Key>),
}

/// A delivery that is not settled: the id to acknowledge by, what it is, and its `delivery-count`.
pub type Holding = (String, Key, u32);

/// A subscription as its client sees it.
#[derive(Debug)]
pub struct Consumer {
    pub place: usize,
    /// To the dead-letter queue of the place.
    pub dead: bool,
    pub mode: &'static str,
    pub prefetch: usize,
    pub live: bool,
    /// It may hold more than its credit.
    pub loose: bool,
    /// Taken and not settled.
    pub held: Vec<Holding>,
    /// Number of the operation that subscribed.
    pub since: u64,
    pub selector: Option<usize>,
    /// It wants to be the only one.
    pub alone: bool,
    pub browse: Option<Browse>,
}

impl Consumer {
    /// Whether it competes for what was sent to the place.
    pub fn takes_from(&self, place: usize) -> bool {
        self.live && !self.dead && self.browse.is_none() && self.place == place
    }

    pub fn wants(&self, sent: &Frame) -> bool {
        self.selector.is_none_or(|selector| selects(selector, sent))
    }
}

/// What one who only looks has seen.
#[derive(Debug, Default)]
pub struct Browse {
    /// What was settled before it looked.
    gone: BTreeSet<Key>,
    pub seen: BTreeSet<Key>,
    last: (u8, BTreeMap<usize, u64>),
    pub ended: bool,
}

impl Browse {
    pub fn new(promises: &Promises, place: usize) -> Browse {
        let gone =
            |(key, fact): (&Key, &Fact)| (key.1 == place && matches!(fact.gone, Gone::Now | Gone::Yes)).then_some(*key);
        Browse {
            gone: promises.facts.iter().filter_map(gone).collect(),
            ..Browse::default()
        }
    }

    /// It is shown a message.
    pub fn shows(&mut self, given: &Given<'_>, selector: Option<usize>, promises: &Promises) -> Result<(), Broken> {
        let wrong = |what: &str| Err(format!("browsing: {what}: {:?}", given.frame));
        if self.ended {
            return wrong("the end has been shown");
        }
        if given.frame.is("browser", "end") {
            self.ended = true;
            return Ok(());
        }
        let key = given.key(&promises.facts)?;
        let fact = &promises.facts[&key];
        if self.gone.contains(&key) {
            return wrong("it was settled before");
        }
        if !self.seen.insert(key) {
            return wrong("shown twice");
        }
        if selector.is_some_and(|selector| !selects(selector, &fact.sent)) {
            return wrong("its selector does not match");
        }
        let level = 9 - fact.sent.get("priority").and_then(|p| p.parse().ok()).unwrap_or(4_u8);
        if level < self.last.0 {
            return wrong("a lower priority was shown before it");
        }
        if level > self.last.0 {
            self.last = (level, BTreeMap::new());
        }
        if let Some((publisher, order)) = fact.order.filter(|_| !given.dead) {
            let last = self.last.1.entry(publisher).or_default();
            if order < *last {
                return wrong("a later one of its publisher was shown before it");
            }
            *last = order;
        }
        Ok(())
    }
}

/// A SEND in a transaction: its number, and what will be known of it.
pub type Draft = (u64, Fact);

/// An open transaction as its client sees it.
#[derive(Debug, Default)]
pub struct Open {
    pub sends: Vec<Draft>,
    /// The subscription, and what it held.
    pub acks: Vec<(String, Holding)>,
}

pub struct Client {
    pub session: Session,
    pub decoder: Decoder,
    pub socket: Socket,
    /// Numbers clients of all times apart.
    pub number: usize,
    pub version: u8,
    /// Asked for and not answered.
    pub receipts: VecDeque<(String, Meaning)>,
    /// The receipt of what waits for room, as far as it knows: until then it only acknowledges.
    pub waits: Option<String>,
    pub consumers: BTreeMap<String, Consumer>,
    pub open: BTreeMap<String, Open>,
    /// The ERROR it was given.
    pub error: Option<Frame>,
    pub over: bool,
    pub closing: bool,
}

impl Client {
    pub fn new(session: Session, decoder: Decoder, number: usize) -> Client {
        Client {
            session,
            decoder,
            number,
            socket: Socket::default(),
            version: 0,
            receipts: VecDeque::new(),
            waits: None,
            consumers: BTreeMap::new(),
            open: BTreeMap::new(),
            error: None,
            over: false,
            closing: false,
        }
    }

    /// What the receipt that it waits for would mean.
    pub fn waits_for(&self) -> Option<Meaning> {
        let waits = self.waits.as_ref()?;
        let found = self.receipts.iter().find(|(id, _)| id == waits);
        found.map(|(_, meaning)| meaning.clone())
    }

    /// Its live subscription to a place.
    pub fn consumer_of(&self, place: usize) -> Option<String> {
        let mut all = self.consumers.iter();
        all.find(|(_, consumer)| consumer.takes_from(place))
            .map(|(id, _)| id.clone())
    }
}
