//! A broker, its clients and its journal in one thread and on one virtual clock; and the end of all of them in a crash.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Waker;

use hoofbeat::broker::journal::{Listener, Recovered, Report};
use hoofbeat::broker::{self, Broker, FrameSink, Now};
use hoofbeat::session::{Hosts, Link, Session, Step};
use hoofbeat::stomp::Decoder;

use crate::ground::{Ground, Start};
use crate::promises::{Broken, Fact, Gone, Promises};
use crate::random::Random;
use crate::wire::Frame;

/// When virtual time begins, in milliseconds since 1970.
const EPOCH: u64 = 1_800_000_000_000;

/// The octets a session wrote, frame by frame.
#[derive(Debug, Default)]
pub struct Socket {
    position: u64,
    written: VecDeque<(u64, Vec<u8>)>,
    taken: u64,
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
    Sent(u64),
    Acked(Vec<u64>),
    /// Tries that failed: the message, and how many then.
    Nacked(Vec<(u64, u32)>),
    Committed(usize),
}

/// A subscription as its client sees it.
#[derive(Clone, Debug)]
pub struct Consumer {
    pub queue: String,
    pub mode: &'static str,
    pub prefetch: usize,
    pub live: bool,
    /// It may hold more than its credit.
    pub loose: bool,
    /// Taken and not settled: the id to acknowledge by, the number, and the `delivery-count`.
    pub held: Vec<(String, u64, u32)>,
}

/// An open transaction as its client sees it.
#[derive(Clone, Debug, Default)]
pub struct Open {
    pub sends: Vec<(u64, Fact)>,
    /// The subscription, and what it held.
    pub acks: Vec<(String, (String, u64, u32))>,
}

pub struct Client {
    session: Session,
    decoder: Decoder,
    socket: Socket,
    /// Numbers clients of all times apart.
    pub number: usize,
    pub version: u8,
    /// Asked for and not answered.
    receipts: VecDeque<(String, Meaning)>,
    pub consumers: BTreeMap<String, Consumer>,
    pub open: BTreeMap<String, Open>,
    pub over: bool,
    pub closing: bool,
}

/// Takes the journal's reports; they are given to the broker between two operations.
#[derive(Debug, Default)]
struct Post(Mutex<Vec<Report>>);

impl Listener for Post {
    fn report(&self, report: Report) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(report);
    }
}

pub struct World {
    settings: broker::Settings,
    session: Arc<hoofbeat::session::Settings>,
    pub broker: Arc<Broker>,
    hosts: Arc<Hosts>,
    pub ground: Ground,
    post: Arc<Post>,
    pub clients: Vec<Client>,
    pub promises: Promises,
    pub now: u64,
    boots: u64,
    pub sessions: usize,
    /// Numbers taken, while everything is taken out.
    pub found: BTreeMap<u64, u32>,
    /// Messages that the last start found.
    pub recovered: usize,
    /// The disk misbehaves, or did: any session may have been told so, and end.
    pub unwell: bool,
    pub log: Vec<String>,
    pub marks: std::collections::BTreeSet<&'static str>,
}

impl World {
    pub fn new(settings: broker::Settings, session: hoofbeat::session::Settings, seed: u64) -> Result<World, Broken> {
        let ground = Ground::new(seed)?;
        let broker = Arc::new(Broker::new(settings.clone(), 1, ground.journal()));
        let mut world = World {
            hosts: hosts(&broker),
            settings,
            session: Arc::new(session),
            broker,
            ground,
            post: Arc::default(),
            clients: Vec::new(),
            promises: Promises::default(),
            now: 0,
            boots: 1,
            sessions: 0,
            found: BTreeMap::new(),
            recovered: 0,
            unwell: false,
            log: Vec::new(),
            marks: Default::default(),
        };
        world.attach();
        Ok(world)
    }

    fn attach(&mut self) {
        self.post = Arc::default();
        let post = Arc::clone(&self.post);
        self.ground.journal().attach(post);
    }

    pub fn mark(&mut self, mark: &'static str) {
        self.marks.insert(mark);
    }

    pub fn now(&self) -> Now {
        Now {
            mono: self.now,
            unix_ms: self.unix_ms(),
        }
    }

    pub fn unix_ms(&self) -> u64 {
        EPOCH + self.now
    }

    pub fn live(&self) -> Vec<usize> {
        let all = self.clients.iter().enumerate();
        all.filter(|(_, client)| !client.over).map(|(at, _)| at).collect()
    }

    /// Opens a connection and connects in STOMP 1.`version`.
    pub fn connect(&mut self, version: u8) -> Result<usize, Broken> {
        self.sessions += 1;
        let number = self.sessions;
        let id = (number as u128) << 64 | number as u128;
        let (hosts, settings) = (Arc::clone(&self.hosts), Arc::clone(&self.session));
        let session = Session::new(hosts, settings, Link::Tcp, id, self.now());
        let client = Client {
            session,
            decoder: Decoder::new(self.session.before_connect),
            socket: Socket::default(),
            number,
            version: 0,
            receipts: VecDeque::new(),
            consumers: BTreeMap::new(),
            open: BTreeMap::new(),
            over: false,
            closing: false,
        };
        let free = self.clients.iter().position(|client| client.over);
        let at = free.unwrap_or(self.clients.len());
        match free {
            Some(at) => self.clients[at] = client,
            None => self.clients.push(client),
        }
        let wanted = ["1.0", "1.1", "1.2"][usize::from(version)];
        self.send(
            at,
            &Frame::new("CONNECT").with("accept-version", wanted).with("host", "h"),
            Meaning::Nothing,
        )?;
        self.take(at, u64::MAX)?;
        Ok(at)
    }

    /// A client sends a frame. Whether the session goes on.
    pub fn send(&mut self, at: usize, frame: &Frame, meaning: Meaning) -> Result<bool, Broken> {
        let now = self.now();
        self.log.push(format!(
            "  client {at}: {} {:?} {:?}",
            frame.command, frame.headers, frame.body
        ));
        let client = &mut self.clients[at];
        if let Some(id) = frame.get("receipt") {
            client.receipts.push_back((id.to_owned(), meaning));
        }
        let octets = frame.encode(client.version);
        let decoded = client.decoder.decode(&mut octets.as_slice());
        let frame = decoded.map_err(|error| format!("the decoder refuses {frame:?}: {error:?}"))?;
        let step = client.session.receive(frame.ok_or("the decoder finds no frame")?, now);
        if let Some((version, limits, strict)) = client.session.agreed() {
            client.decoder.agree(version, limits, strict);
            client.version = version as u8;
        }
        client.closing |= !matches!(step, Step::Done);
        Ok(!client.closing)
    }

    /// One turn of a connection's task.
    pub fn turn(&mut self, at: usize) -> Result<bool, Broken> {
        let now = self.now();
        let client = &mut self.clients[at];
        if client.session.outbound().poll_work(Waker::noop()) {
            if client.session.outbound().take_call() {
                client.session.outbound().call();
            }
            client.closing |= !matches!(client.session.wake(now), Step::Done);
        }
        let before = client.socket.position;
        client.session.drain(&mut client.socket, now);
        Ok(client.socket.position > before)
    }

    /// The socket takes `octets` more; whole frames are read.
    pub fn take(&mut self, at: usize, octets: u64) -> Result<bool, Broken> {
        self.turn(at)?;
        let now = self.now();
        let client = &mut self.clients[at];
        let to = client.socket.taken.saturating_add(octets).min(client.socket.position);
        if to == client.socket.taken {
            return Ok(false);
        }
        client.socket.taken = to;
        client.session.written(to, now);
        while self.clients[at]
            .socket
            .written
            .front()
            .is_some_and(|(end, _)| *end <= to)
        {
            let Some((_, octets)) = self.clients[at].socket.written.pop_front() else {
                break;
            };
            let frame = Frame::decode(&octets, self.clients[at].version)?;
            self.read(at, &frame)?;
        }
        Ok(true)
    }

    fn read(&mut self, at: usize, frame: &Frame) -> Result<(), Broken> {
        self.log
            .push(format!("  to {at}: {} {:?}", frame.command, frame.headers));
        match frame.command.as_str() {
            "RECEIPT" => {
                let next = self.clients[at].receipts.pop_front();
                let (id, meaning) = next.ok_or_else(|| format!("a RECEIPT that nobody asked for: {frame:?}"))?;
                match frame.is("receipt-id", &id) {
                    true => self.receipted(meaning),
                    false => Err(format!("waited for RECEIPT {id}: {frame:?}")),
                }
            }
            "MESSAGE" => self.message(at, frame),
            "ERROR" => {
                self.clients[at].closing = true;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn receipted(&mut self, meaning: Meaning) -> Result<(), Broken> {
        let promises = &mut self.promises;
        match meaning {
            Meaning::Nothing => {}
            Meaning::Sent(number) => promises.receipted(number),
            Meaning::Acked(numbers) => promises.settled(&numbers, Gone::Yes),
            Meaning::Nacked(tries) => {
                for (number, tries) in tries {
                    if let Some(fact) = promises.facts.get_mut(&number) {
                        fact.tries = fact.tries.max(tries);
                    }
                }
            }
            Meaning::Committed(at) => {
                let transaction = &mut promises.transactions[at];
                transaction.counts = Some(true);
                let (sends, acks) = (transaction.sends.clone(), transaction.acks.clone());
                sends.into_iter().for_each(|number| promises.receipted(number));
                promises.settled(&acks, Gone::Yes);
            }
        }
        Ok(())
    }

    fn message(&mut self, at: usize, frame: &Frame) -> Result<(), Broken> {
        let number = self.promises.delivered(frame)?;
        if frame.is("redelivered", "true") {
            self.mark("redelivered");
        }
        *self.found.entry(number).or_default() += 1;
        let client = &mut self.clients[at];
        let id = frame.get("subscription").unwrap_or_default();
        let Some(consumer) = client.consumers.get_mut(id) else {
            return Err(format!("no subscription has it: {frame:?}"));
        };
        if consumer.mode == "auto" {
            self.promises.settled(&[number], Gone::Now);
            return Ok(());
        }
        let ack = frame
            .get("ack")
            .or(frame.get("message-id"))
            .unwrap_or_default()
            .to_owned();
        let count = frame.get("delivery-count").and_then(|n| n.parse().ok()).unwrap_or(1);
        consumer.held.push((ack, number, count));
        match consumer.held.len() > consumer.prefetch && !consumer.loose {
            true => Err(format!(
                "{} at once with a prefetch of {}",
                consumer.held.len(),
                consumer.prefetch
            )),
            false => Ok(()),
        }
    }

    /// A client is gone without a word.
    pub fn end(&mut self, at: usize) {
        self.log.push(format!("  client {at} is gone"));
        let now = self.now();
        self.clients[at].session.end(now);
        self.left(at);
    }

    /// What the end of a client means for what it held.
    fn left(&mut self, at: usize) {
        let client = &mut self.clients[at];
        client.over = true;
        let dead = client
            .consumers
            .values()
            .filter(|consumer| consumer.queue.contains("DLQ."));
        let last_try: Vec<u64> = dead
            .flat_map(|consumer| consumer.held.iter().map(|(_, n, _)| *n))
            .collect();
        // What waits among the dead does not die again: after too many tries it is dropped.
        self.promises.doubt(&last_try);
        let queues: Vec<String> = client
            .consumers
            .values()
            .map(|consumer| consumer.queue.clone())
            .collect();
        client.consumers.clear();
        for queue in queues {
            self.note_consumers(&queue);
        }
    }

    /// Live consumers of a queue.
    pub fn consumers(&self, queue: &str) -> usize {
        let clients = self.clients.iter().filter(|client| !client.over);
        let all = clients.flat_map(|client| client.consumers.values());
        all.filter(|consumer| consumer.live && consumer.queue == queue).count()
    }

    /// The number of a queue's consumers has changed.
    pub fn note_consumers(&mut self, queue: &str) {
        match self.consumers(queue) {
            0 => self.promises.nobody_consumes(queue),
            1 => {}
            _ => drop(self.promises.shared.insert(queue.to_owned())),
        }
    }

    /// Time passes.
    pub fn pass(&mut self, ms: u64) {
        self.now += ms;
        let now = self.now();
        self.broker.advance(now);
        for at in self.live() {
            let client = &mut self.clients[at];
            if client.session.deadline().is_some_and(|due| due <= now.mono) {
                client.closing |= !matches!(client.session.advance(now), Step::Done);
            }
        }
    }

    /// The journal does what there is to do, and tells the broker; whether there was anything.
    pub fn step(&mut self) -> bool {
        let some = self.ground.step();
        self.log.push(format!("  a step of {:?}", self.ground));
        let reports = std::mem::take(&mut *self.post.0.lock().unwrap_or_else(PoisonError::into_inner));
        let now = self.now();
        let told = !reports.is_empty();
        for report in reports {
            self.broker.report(report, now);
        }
        some || told
    }

    /// Everything goes on until nothing moves any more.
    pub fn settle(&mut self) -> Result<(), Broken> {
        self.heal()?;
        for _ in 0..10_000 {
            let mut some = self.step();
            for at in self.live() {
                some |= self.turn(at)?;
                some |= self.take(at, u64::MAX)?;
            }
            if !some {
                // Who is to be told of a broken promise has been told.
                self.unwell = false;
                return Ok(());
            }
        }
        Err("it never comes to rest".to_owned())
    }

    /// The process is killed, and starts again.
    pub fn crash(&mut self, random: &mut Random) -> Result<(), Broken> {
        self.log.push("  crash".to_owned());
        let start = self.ground.crash(random);
        self.log.push(format!(
            "  what is left: {:?}",
            start.as_ref().map(|(ground, _)| ground)
        ));
        for at in self.live() {
            self.left(at);
        }
        self.clients.clear();
        self.promises.crash();
        self.start(start)
    }

    /// The process ends as it should, and starts again.
    pub fn restart(&mut self, random: &mut Random) -> Result<(), Broken> {
        self.log.push("  restart".to_owned());
        self.heal()?;
        for at in self.live() {
            self.end(at);
        }
        self.broker.rest();
        let start = self.ground.close(random);
        self.clients.clear();
        self.promises.restart();
        self.start(start)
    }

    fn start(&mut self, start: Start) -> Result<(), Broken> {
        let (ground, found) = start?;
        self.boots += 1;
        self.now += 10;
        self.ground = ground;
        self.unwell = false;
        self.broker = Arc::new(Broker::new(self.settings.clone(), self.boots, self.ground.journal()));
        self.hosts = hosts(&self.broker);
        self.attach();
        for queue in &found {
            let Recovered {
                queue: number,
                name,
                below,
                entries,
                ..
            } = queue;
            self.log
                .push(format!("  found {name}, number {number}, mark {below}: {entries:?}"));
        }
        // The simulated journal does not tell; what rises with the clock was never used.
        let next_queue = self.now().unix_ms << 16;
        self.recovered = self.broker.recover(&found, next_queue, self.now()).messages;
        Ok(())
    }

    /// The disk is well again, and the journal has noticed.
    pub fn heal(&mut self) -> Result<(), Broken> {
        self.ground.heal();
        for _ in 0..100 {
            if !self.step() && !self.ground.is_unwell() {
                return Ok(());
            }
        }
        Err("the disk is well again, and nobody notices".to_owned())
    }
}

fn hosts(broker: &Arc<Broker>) -> Arc<Hosts> {
    Arc::new(Hosts {
        default: Arc::clone(broker),
        named: BTreeMap::new(),
    })
}
