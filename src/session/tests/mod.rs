//! Sessions as conversations: frames as text in, frames as text out, and a clock that the test turns.

mod app;
mod backpressure;
mod chosen;
mod dead;
mod delayed;
mod disk;
mod durable;
mod promises;
mod spring;
mod stored;
mod topics;
mod users;
mod waiting;

use std::sync::Arc;

use super::{Hosts, Link, Session, Settings, Step};
use crate::broker::{self, Broker, FrameSink, Journal, Now, Volatile};
use crate::stomp::Decoder;

/// A broker and the time.
pub(super) struct World {
    pub broker: Arc<Broker>,
    hosts: Arc<Hosts>,
    settings: Arc<Settings>,
    pub now: Now,
    opened: u128,
}

/// A client and its session. What is written stays in `sink` until the client takes it.
pub(super) struct Client {
    pub session: Session,
    decoder: Decoder,
    sink: Sink,
}

#[derive(Default)]
struct Sink {
    frames: Vec<(u64, String)>,
    position: u64,
}

impl FrameSink for Sink {
    fn frame(&mut self, parts: &[&[u8]], _utf8: bool) {
        let octets = parts.concat();
        self.position += octets.len() as u64;
        self.frames
            .push((self.position, String::from_utf8_lossy(&octets).into_owned()));
    }

    fn position(&self) -> u64 {
        self.position
    }
}

impl World {
    pub fn new(broker: broker::Settings) -> World {
        World::with(broker, Settings::default(), Arc::new(Volatile))
    }

    pub fn with(broker: broker::Settings, settings: Settings, journal: Arc<dyn Journal>) -> World {
        let broker = Arc::new(Broker::new(broker, 1, journal));
        World {
            hosts: Arc::new(Hosts {
                default: Arc::clone(&broker),
                named: Default::default(),
            }),
            broker,
            settings: Arc::new(settings),
            now: Now {
                mono: 1_000,
                unix_ms: 1_000_000,
            },
            opened: 0,
        }
    }

    /// The broker after a stop, or after an end without one, with what `disk` kept. All clients must have gone.
    pub fn restart(&mut self, disk: &Arc<disk::Disk>) -> broker::Found {
        let (settings, limits) = (self.broker.settings().clone(), (*self.settings).clone());
        let before = (self.opened, self.now);
        *self = World::with(settings, limits, Arc::clone(disk) as Arc<dyn Journal>);
        (self.opened, self.now) = before;
        self.broker.recover(&disk.recovered(), disk.next_queue(), self.now)
    }

    /// Time goes by, and the clock does what is due.
    pub fn pass(&mut self, ms: u64) {
        self.now.mono += ms;
        self.now.unix_ms += ms;
        self.broker.advance(self.now);
    }

    /// A connected client of version 1.2.
    pub fn client(&mut self) -> Client {
        self.client_with("")
    }

    /// As [`World::client`], with further header lines in CONNECT.
    pub fn client_with(&mut self, lines: &str) -> Client {
        let mut client = self.unconnected();
        client.send(self, &format!("CONNECT\naccept-version:1.2\n{lines}\n"));
        let connected = client.take(self);
        assert!(
            connected.len() == 1 && connected[0].starts_with("CONNECTED\n"),
            "{connected:?}"
        );
        client
    }

    /// A client that has said nothing yet.
    pub fn unconnected(&mut self) -> Client {
        self.opened += 1;
        let (hosts, settings) = (Arc::clone(&self.hosts), Arc::clone(&self.settings));
        Client {
            decoder: Decoder::new(self.settings.before_connect),
            session: Session::new(
                hosts,
                settings,
                Link::WebSocket { subprotocol: true },
                self.opened,
                self.now,
            ),
            sink: Sink::default(),
        }
    }
}

impl Client {
    /// Sends one frame, its NUL left out.
    pub fn send(&mut self, world: &World, frame: &str) -> Step {
        let octets = format!("{frame}\0");
        let mut input = octets.as_bytes();
        let mut step = Step::Done;
        while let Some(frame) = self.decoder.decode(&mut input).expect("a frame") {
            step = self.session.receive(frame, world.now);
        }
        if let Some((version, limits, strict)) = self.session.agreed() {
            self.decoder.agree(version, limits, strict);
        }
        step
    }

    /// As its connection does when it is woken, and again until nothing waits; the socket takes nothing yet.
    pub fn drain(&mut self, world: &World) {
        self.session.wake(world.now);
        while self.session.drain(&mut self.sink, world.now) {}
    }

    /// The socket takes the next `count` frames.
    pub fn take_some(&mut self, world: &World, count: usize) -> Vec<String> {
        let taken: Vec<_> = self.sink.frames.drain(..count).collect();
        if let Some((position, _)) = taken.last() {
            self.session.written(*position, world.now);
        }
        taken.into_iter().map(|(_, frame)| frame).collect()
    }

    /// The socket takes all that waits.
    pub fn take(&mut self, world: &World) -> Vec<String> {
        let mut all = Vec::new();
        loop {
            self.drain(world);
            let waiting = self.sink.frames.len();
            if waiting == 0 {
                return all;
            }
            all.extend(self.take_some(world, waiting));
        }
    }

    /// The bodies of the MESSAGEs that the socket takes now.
    pub fn bodies(&mut self, world: &World) -> Vec<String> {
        let frames = self.take(world);
        frames.iter().map(|frame| body(frame)).collect()
    }
}

/// The body of a frame.
pub(super) fn body(frame: &str) -> String {
    let body = frame.split_once("\n\n").map_or("", |(_, body)| body);
    body.trim_end_matches('\0').to_owned()
}

/// The first header called `name`.
pub(super) fn header<'f>(frame: &'f str, name: &str) -> Option<&'f str> {
    let head = frame.split_once("\n\n").map_or(frame, |(head, _)| head);
    head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
}
