//! The real side: a broker, its sessions and their sockets in one thread and on one virtual clock, each step beside the
//! reference's.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;

use hoofbeat::broker::{self, Broker, FrameSink, Now, Volatile};
use hoofbeat::session::{Hosts, Link, Session, Step};
use hoofbeat::stomp::Decoder;

use crate::reference::{Expected, Feed, Message, Mode, Reference, Shown, State, EPOCH};
use crate::wire::Frame;

/// What a difference is told with.
pub type Difference = String;

/// The octets a session wrote, frame by frame.
#[derive(Debug, Default)]
pub struct Socket {
    position: u64,
    /// Whole frames and where each ends.
    written: VecDeque<(u64, Vec<u8>)>,
    /// What the peer has taken.
    pub taken: u64,
    pub stalled: bool,
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

/// A client, as it sees itself.
pub struct Client {
    session: Session,
    decoder: Decoder,
    pub socket: Socket,
    /// Frames on their way to it.
    coming: VecDeque<(u64, Frame)>,
    /// What it got and may acknowledge: the id, and the subscription.
    pub given: Vec<(String, String)>,
    pub version: u8,
    pub over: bool,
    /// Asked for and not answered.
    pub receipts: VecDeque<String>,
    /// Number of the last message from each publisher to each topic, by subscription.
    seen: BTreeMap<(String, String, String), u64>,
    failed: bool,
}

pub struct World {
    pub broker: Arc<Broker>,
    hosts: Arc<Hosts>,
    settings: Arc<hoofbeat::session::Settings>,
    pub clients: Vec<Client>,
    pub model: Reference,
    /// Messages come in groups, consumers have selectors or are alone; nothing expires.
    pub choosy: bool,
    /// The `message-id` of each message in auto mode: one for everybody.
    ids: BTreeMap<String, Rc<Message>>,
    /// The same the other way; the messages are kept, so that no two have one address.
    messages: BTreeMap<*const Message, String>,
    pub log: Vec<String>,
}

impl World {
    pub fn new(settings: broker::Settings, session: hoofbeat::session::Settings, seed: u64) -> World {
        let broker = Arc::new(Broker::new(settings.clone(), seed, Arc::new(Volatile)));
        let model = Reference::new(settings, session.clone(), broker.boot());
        World {
            hosts: Arc::new(Hosts {
                default: Arc::clone(&broker),
                named: BTreeMap::new(),
            }),
            settings: Arc::new(session),
            clients: Vec::new(),
            ids: BTreeMap::new(),
            messages: BTreeMap::new(),
            log: Vec::new(),
            model,
            broker,
            choosy: seed.is_multiple_of(3),
        }
    }

    fn now(&self) -> Now {
        Now {
            mono: self.model.now,
            unix_ms: EPOCH + self.model.now,
        }
    }

    pub fn live(&self) -> Vec<usize> {
        let all = self.clients.iter().enumerate();
        all.filter(|(_, c)| !c.over).map(|(at, _)| at).collect()
    }

    pub fn is_open(&self, at: usize) -> bool {
        self.model.sessions[at].state == State::Open
    }

    pub fn open(&mut self, link: Link) -> usize {
        let number = self.clients.len() as u128 + 1;
        let id = number << 64 | number;
        let session = Session::new(
            Arc::clone(&self.hosts),
            Arc::clone(&self.settings),
            link,
            id,
            self.now(),
        );
        self.clients.push(Client {
            session,
            decoder: Decoder::new(self.settings.before_connect),
            socket: Socket::default(),
            coming: VecDeque::new(),
            given: Vec::new(),
            version: 0,
            over: false,
            receipts: VecDeque::new(),
            seen: BTreeMap::new(),
            failed: false,
        });
        let tokens = (self.broker.token(id), self.broker.temporary_token(id));
        self.model.open(id, tokens, link == Link::Tcp)
    }

    /// A client sends a frame, cut in two at `cut`. Nothing is sent that would not be read.
    pub fn frame(&mut self, at: usize, frame: &Frame, cut: usize) -> Result<(), Difference> {
        let now = self.now();
        let client = &mut self.clients[at];
        if !self.model.accepts(at) {
            self.model.mark("input held");
            return Ok(());
        }
        self.log.push(format!(
            "  client {at}: {} {:?} {:?}",
            frame.command, frame.headers, frame.body
        ));
        if let (Some(id), true) = (frame.get("receipt"), self.model.sessions[at].state == State::Open) {
            client.receipts.push_back(id.to_owned());
        }
        let bytes = frame.encode(client.version);
        let (first, second) = bytes.split_at(cut % bytes.len());
        let mut step = None;
        for mut part in [first, second] {
            let decoded = client.decoder.decode(&mut part);
            match decoded.map_err(|e| format!("the decoder refuses {frame:?}: {e:?}"))? {
                Some(frame) => step = Some(client.session.receive(frame, now)),
                None => continue,
            }
        }
        let step = step.ok_or_else(|| format!("the decoder finds no frame in {frame:?}"))?;
        if let Some((version, limits, strict)) = client.session.agreed() {
            client.decoder.agree(version, limits, strict);
            client.version = version as u8;
        }
        let predicted = self.model.receive(at, frame);
        compare_steps(&frame.command, &step, predicted)
    }

    /// The socket takes `octets` more.
    pub fn take(&mut self, at: usize, octets: u64) -> Result<(), Difference> {
        let now = self.now();
        let client = &mut self.clients[at];
        let to = (client.socket.taken + octets).min(client.socket.position);
        if to == client.socket.taken {
            return Ok(());
        }
        client.socket.taken = to;
        client.session.written(to, now);
        self.model.written(at, to);
        let client = &mut self.clients[at];
        while client.coming.front().is_some_and(|(end, _)| *end <= to) {
            let Some((_, frame)) = client.coming.pop_front() else {
                break;
            };
            client.see(&frame)?;
        }
        if client.coming.front().is_some_and(|_| to < client.socket.position) {
            self.model.mark("partial write");
        }
        Ok(())
    }

    pub fn unwritten(&self, at: usize) -> u64 {
        self.clients[at].socket.position - self.clients[at].socket.taken
    }

    /// One turn of a connection's task: whether there was anything to do.
    pub fn turn(&mut self, at: usize) -> Result<bool, Difference> {
        let now = self.now();
        if self.is_open(at) {
            let client = &mut self.clients[at];
            if !client.session.outbound().poll_work(Waker::noop()) {
                return Ok(false);
            }
            let called = client.session.outbound().take_call();
            if called {
                client.session.outbound().call();
            }
            let step = client.session.wake(now);
            let predicted = self.model.wake(at, called);
            compare_steps("wake", &step, predicted)?;
        }
        let client = &mut self.clients[at];
        let more = client.session.drain(&mut client.socket, now);
        let (expected, predicted) = self.model.drain(at);
        let frames: Vec<(u64, Vec<u8>)> = client.socket.written.drain(..).collect();
        let mut some = !frames.is_empty();
        let mut frames = frames.into_iter();
        for expected in expected {
            let (end, bytes) = frames
                .next()
                .ok_or_else(|| format!("client {at} is not given {expected:?}"))?;
            let frame = Frame::decode(&bytes, self.clients[at].version)?;
            self.match_frame(at, end, &frame, expected)?;
            self.clients[at].coming.push_back((end, frame));
        }
        if let Some((_, frame)) = frames.next() {
            let text = String::from_utf8_lossy(&frame).into_owned();
            return Err(format!("client {at} is given what nobody expects: {text:?}"));
        }
        some |= more;
        match more == predicted {
            true => Ok(some || self.is_open(at)),
            false => Err(format!("client {at}: more waits: {more}, expected {predicted}")),
        }
    }

    fn match_frame(&mut self, at: usize, end: u64, frame: &Frame, expected: Expected) -> Result<(), Difference> {
        let wrong = |what: &str| Err(format!("client {at}: {what}: {frame:?}, expected {expected:?}"));
        match &expected {
            Expected::Connected if frame.command == "CONNECTED" => Ok(()),
            Expected::Receipt(id) if frame.command == "RECEIPT" && frame.is("receipt-id", id) => Ok(()),
            Expected::Error(code, receipt) if frame.command == "ERROR" && frame.is("code", code) => {
                match frame.get("receipt-id") == receipt.as_deref() {
                    true => Ok(()),
                    false => wrong("an ERROR with another receipt-id"),
                }
            }
            Expected::Message(shown) if frame.command == "MESSAGE" => match self.match_message(at, frame, shown) {
                Ok(()) if shown.marked => {
                    let mark = (end, shown.serial, shown.waiting.tag);
                    self.model.sessions[at].marks.push_back(mark);
                    Ok(())
                }
                Ok(()) => Ok(()),
                Err(what) => wrong(&what),
            },
            _ => wrong("another frame"),
        }
    }

    fn match_message(&mut self, at: usize, frame: &Frame, shown: &Shown) -> Result<(), Difference> {
        let mut headers = frame.headers.clone();
        let mut take = |name: &str| {
            let found = headers.iter().position(|(n, _)| n == name);
            found.map(|index| headers.remove(index).1)
        };
        let attempts = shown.waiting.attempts;
        let id = take("message-id").ok_or("no message-id")?;
        let ack = take("ack");
        // A dead letter carries the count of its first life.
        let count = (attempts > 0).then(|| take("delivery-count")).flatten();
        let added = [
            (take("subscription"), shown.id.clone()),
            (take("redelivered"), shown.queued.then(|| (attempts > 0).to_string())),
            (
                take("x-skipped"),
                (shown.skipped > 0).then(|| shown.skipped.to_string()),
            ),
            (count, (attempts > 0).then(|| (attempts + 1).to_string())),
        ];
        if let Some((got, wanted)) = added.iter().find(|(got, wanted)| got != wanted) {
            return Err(format!("{got:?} instead of {wanted:?}"));
        }
        if headers != shown.waiting.message.lines() || frame.body != shown.waiting.message.body {
            return Err("another message".to_owned());
        }
        if attempts > 1 {
            self.model.mark("delivered a third time");
        } else if attempts > 0 {
            self.model.mark("redelivered");
        }
        if shown.skipped > 0 {
            self.model.mark("x-skipped");
        }
        if shown.mode == Mode::Auto {
            return self.match_shared_id(id, ack, &shown.waiting.message);
        }
        let session = &mut self.model.sessions[at];
        if ack != (session.version == 2).then(|| id.clone()) {
            return Err(format!("ack is {ack:?}"));
        }
        let (queue, consumer) = shown.source.clone().ok_or("nothing holds it")?;
        match session
            .deliveries
            .insert(id, (shown.serial, queue, consumer, shown.waiting.tag))
        {
            Some(_) => Err("an id that another delivery had".to_owned()),
            None => Ok(()),
        }
    }

    fn match_shared_id(&mut self, id: String, ack: Option<String>, message: &Rc<Message>) -> Result<(), Difference> {
        if ack.is_some() {
            return Err("an ack header in auto mode".to_owned());
        }
        let first = self.ids.entry(id.clone()).or_insert_with(|| Rc::clone(message));
        let known = self.messages.entry(Rc::as_ptr(message)).or_insert_with(|| id.clone());
        match Rc::ptr_eq(first, message) && *known == id {
            true => Ok(()),
            false => Err(format!("the message-id is not one to one: {known}")),
        }
    }

    pub fn end(&mut self, at: usize) {
        self.log.push(format!("  client {at} is gone"));
        if self.unwritten(at) > 0 {
            self.model.mark("ended with unwritten frames");
        }
        let now = self.now();
        self.clients[at].session.end(now);
        self.clients[at].over = true;
        self.model.end(at);
    }

    pub fn shutdown(&mut self, at: usize) -> Result<(), Difference> {
        let now = self.now();
        let step = self.clients[at].session.shutdown(now);
        let predicted = self.model.shutdown(at);
        compare_steps("shutdown", &step, predicted)
    }

    pub fn pass(&mut self, ms: u64, clock: bool) -> Result<(), Difference> {
        self.model.now += ms;
        let now = self.now();
        if clock {
            self.broker.advance(now);
            self.model.advance();
        }
        for at in self.live() {
            let session = &mut self.clients[at].session;
            if session.deadline().is_some_and(|due| due <= now.mono) {
                let step = session.advance(now);
                let predicted = self.model.pass_time(at);
                compare_steps("deadline", &step, predicted)?;
            }
        }
        Ok(())
    }

    /// Everything that can be seen from outside must be as the reference has it.
    pub fn compare(&mut self) -> Result<(), Difference> {
        self.model.note_idle();
        for at in self.live() {
            let session = &self.clients[at].session;
            let pairs = [
                (
                    "accepts_input",
                    u64::from(session.accepts_input()),
                    u64::from(self.model.accepts(at)),
                ),
                (
                    "deadline",
                    session.deadline().unwrap_or(0),
                    self.model.deadline(at).unwrap_or(0),
                ),
            ];
            for (what, real, predicted) in pairs {
                if real != predicted {
                    return Err(format!("client {at}: {what} is {real}, expected {predicted}"));
                }
            }
        }
        let sizes = self.broker.sizes();
        let model = &self.model;
        let open = || model.sessions.iter().filter(|s| s.entered.is_some());
        let queues = || model.queues.values().filter(|q| !q.backlog);
        let pairs = [
            ("sessions", sizes.sessions, open().count()),
            (
                "subscriptions",
                sizes.subscriptions,
                open()
                    .flat_map(|s| &s.subs)
                    .filter(|s| s.live && !matches!(s.feed, Feed::Request))
                    .count(),
            ),
            (
                "requests",
                sizes.requests,
                model
                    .sessions
                    .iter()
                    .flat_map(|s| &s.requests)
                    .filter(|r| !r.answered)
                    .count(),
            ),
            ("topics", sizes.topics, model.topics.len()),
            ("queues", sizes.queues, queues().count()),
            ("patterns", sizes.patterns, model.patterns()),
            (
                "queued_messages",
                sizes.queued_messages,
                model.queues.values().map(|q| q.entries.len()).sum(),
            ),
            ("message_octets", sizes.message_octets, model.octets(&[])),
            (
                "transactions",
                sizes.transactions,
                open().map(|s| s.transactions.len()).sum(),
            ),
        ];
        for (what, real, predicted) in pairs {
            if real != predicted {
                return Err(format!("sizes.{what} is {real}, expected {predicted}"));
            }
        }
        for (what, real) in self.counters() {
            let predicted = model.counts.get(what).copied().unwrap_or(0);
            if real != predicted {
                return Err(format!("counters.{what} is {real}, expected {predicted}"));
            }
        }
        Ok(())
    }

    pub fn counters(&self) -> Vec<(&'static str, u64)> {
        let c = self.broker.counters();
        let all = [
            ("sent", &c.sent),
            ("delivered", &c.delivered),
            ("settled", &c.settled),
            ("redelivered", &c.redelivered),
            ("dropped_no_subscriber", &c.dropped_no_subscriber),
            ("dropped_no_queue", &c.dropped_no_queue),
            ("dropped_expired", &c.dropped_expired),
            ("dropped_queue_full", &c.dropped_queue_full),
            ("dropped_with_queue", &c.dropped_with_queue),
            ("dropped_dead", &c.dropped_dead),
            ("skipped", &c.skipped),
            ("dead_lettered", &c.dead_lettered),
            ("blocked", &c.blocked),
            ("refused_queue_full", &c.refused_queue_full),
            ("slow_consumers", &c.slow_consumers),
            ("committed", &c.committed),
            ("aborted", &c.aborted),
            ("requests_declined", &c.requests_declined),
        ];
        all.map(|(name, counter)| (name, counter.get())).to_vec()
    }
}

impl Client {
    /// What a client can check by itself: RECEIPTs in order and no more than asked for, nothing after ERROR, and of each
    /// publisher's messages to a topic none before an earlier one.
    fn see(&mut self, frame: &Frame) -> Result<(), Difference> {
        if self.failed {
            return Err(format!("after ERROR came {frame:?}"));
        }
        match frame.command.as_str() {
            "ERROR" => self.failed = true,
            "RECEIPT" => {
                let next = self.receipts.pop_front();
                if next.as_deref() != frame.get("receipt-id") {
                    return Err(format!("{frame:?}, but the next receipt is {next:?}"));
                }
            }
            "MESSAGE" => {
                let get = |name: &str| frame.get(name).unwrap_or_default().to_owned();
                let id = frame.get("ack").map_or_else(|| get("message-id"), str::to_owned);
                self.given.push((id, get("subscription")));
                let plain = frame.get("redelivered").is_none() && !get("destination").contains("last");
                let topic = plain && frame.get("subscription").is_some();
                let stream = (get("subscription"), get("destination"), get("from"));
                if let (true, Ok(number)) = (topic, get("number").parse::<u64>()) {
                    let before = self.seen.insert(stream, number).unwrap_or(0);
                    if before >= number {
                        return Err(format!("number {number} after {before}: {frame:?}"));
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }
}

fn compare_steps(what: &str, step: &Step, predicted: Option<&'static str>) -> Result<(), Difference> {
    let real = match step {
        Step::Done => None,
        Step::Close(close) => Some(close.reason),
        Step::Probe => Some("probe"),
    };
    match real == predicted {
        true => Ok(()),
        false => Err(format!(
            "{what}: the session closes with {real:?}, expected {predicted:?}"
        )),
    }
}
