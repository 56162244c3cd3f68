//! The operations of the hot path, each with all that it needs. Everything is seeded: run twice, it does the same.
//!
//! They go through sessions and frames where they can, so that they mean the same after the inside has changed.

use std::collections::VecDeque;
use std::sync::Arc;

use hoofbeat::broker::outbound::{LaneHead, Offer};
use hoofbeat::broker::settings::TopicPolicy;
use hoofbeat::broker::{self, Broker, Draft, FrameSink, Now, Outbound, Properties, Volatile};
use hoofbeat::session::{Hosts, Link, Session, Settings};
use hoofbeat::stomp::{Decoder, Headers, Limits, Line, Version};
use memchr::memmem;

/// Operations in one call.
const BATCH: usize = 64;

/// What is measured, and how many operations one call is.
pub struct Operation {
    pub name: &'static str,
    pub units: u64,
    make: fn() -> Box<dyn FnMut()>,
}

impl Operation {
    const fn new(name: &'static str, units: u64, make: fn() -> Box<dyn FnMut()>) -> Operation {
        Operation { name, units, make }
    }

    /// Sets it up. Each call of what it gives is [`Operation::units`] operations.
    pub fn make(&self) -> Box<dyn FnMut()> {
        (self.make)()
    }
}

/// All of them.
pub const OPERATIONS: &[Operation] = &[
    Operation::new("decode: a SEND that came whole", BATCH as u64, || decode(usize::MAX)),
    Operation::new("decode: a SEND that came in two pieces", BATCH as u64, || decode(200)),
    Operation::new("encode: a message", BATCH as u64, encode),
    Operation::new("encode: a delivery, pushed and drained", BATCH as u64, deliver),
    Operation::new("receive: a SEND nobody listens to", BATCH as u64, || {
        receive("/topic/nobody")
    }),
    Operation::new("dispatch: a delivery of topic 1 -> 1", BATCH as u64, || topic(1, alone)),
    Operation::new("dispatch: a delivery of topic 1 -> 100", 100 * BATCH as u64, || {
        topic(100, alone)
    }),
    Operation::new("dispatch: as 1 -> 1, among 100,000 other topics", BATCH as u64, || {
        topic(1, |world| others(world, 100_000, "/topic/other"))
    }),
    Operation::new("dispatch: as 1 -> 1, among 10,000 patterns", BATCH as u64, || {
        topic(1, |world| others(world, 10_000, "/topic/*/other"))
    }),
    Operation::new("queue: in, out, one ACK each", BATCH as u64, || {
        queue("client-individual", 1)
    }),
    Operation::new("queue: in, out, one ACK for all", BATCH as u64, || {
        queue("client", BATCH)
    }),
    Operation::new("queue: in, out, no ACK (auto)", BATCH as u64, || queue("auto", 0)),
    Operation::new("queue: one ACK each, 100,000 deep", BATCH as u64, deep_queue),
];

/// Keeps nothing but the octets of the last turn.
#[derive(Default)]
struct Sink {
    octets: Vec<u8>,
    position: u64,
}

impl FrameSink for Sink {
    fn frame(&mut self, parts: &[&[u8]], _utf8: bool) {
        for part in parts {
            self.octets.extend_from_slice(part);
            self.position += part.len() as u64;
        }
    }

    fn position(&self) -> u64 {
        self.position
    }
}

/// A broker at a standstill of time.
struct World {
    hosts: Arc<Hosts>,
    settings: Arc<Settings>,
    clients: u128,
}

const NOW: Now = Now {
    mono: 1_000,
    unix_ms: 1_000_000,
};

impl World {
    fn new() -> World {
        let broker = Broker::new(broker::Settings::default(), 1, Arc::new(Volatile));
        World {
            hosts: Arc::new(Hosts {
                default: Arc::new(broker),
                named: Default::default(),
            }),
            settings: Arc::default(),
            clients: 0,
        }
    }

    fn client(&mut self) -> Client {
        self.clients += 1;
        let (hosts, settings) = (Arc::clone(&self.hosts), Arc::clone(&self.settings));
        let link = Link::WebSocket { subprotocol: true };
        let mut client = Client {
            decoder: Decoder::new(settings.before_connect),
            session: Session::new(hosts, settings, link, self.clients, NOW),
            sink: Sink::default(),
        };
        client.send(b"CONNECT\naccept-version:1.2\nhost:/\n\n\0");
        client.drain();
        assert!(client.sink.octets.starts_with(b"CONNECTED\n"));
        client
    }
}

/// A client and its session, without a socket between.
struct Client {
    decoder: Decoder,
    session: Session,
    sink: Sink,
}

impl Client {
    fn send(&mut self, mut octets: &[u8]) {
        while let Some(frame) = self.decoder.decode(&mut octets).expect("a frame") {
            self.session.receive(frame, NOW);
        }
        if let Some((version, limits, strict)) = self.session.agreed() {
            self.decoder.agree(version, limits, strict);
        }
    }

    /// Writes what waits; it stays in the sink until the next time.
    fn drain(&mut self) {
        self.sink.octets.clear();
        self.session.wake(NOW);
        while self.session.drain(&mut self.sink, NOW) {}
        self.session.written(self.sink.position, NOW);
    }

    fn subscribe(&mut self, id: usize, destination: &str, more: &str) {
        self.send(format!("SUBSCRIBE\nid:{id}\ndestination:{destination}\n{more}\n\0").as_bytes());
    }

    /// Acknowledges every `each`th MESSAGE in the sink.
    fn acknowledge(&mut self, each: usize) {
        let frames = std::mem::take(&mut self.sink.octets);
        let mut acks = Vec::with_capacity(frames.len() / 8);
        let found = memmem::find_iter(&frames, b"\nack:").collect::<Vec<_>>();
        assert_eq!(found.len(), BATCH);
        for at in found.iter().skip(each - 1).step_by(each) {
            let id = &frames[at + 5..];
            let end = memchr::memchr(b'\n', id).expect("a line");
            acks.extend_from_slice(b"ACK\nid:");
            acks.extend_from_slice(&id[..end]);
            acks.extend_from_slice(b"\n\n\0");
        }
        self.send(&acks);
        self.sink.octets = frames;
    }
}

fn frame(destination: &str) -> Vec<u8> {
    let body = "x".repeat(128);
    format!("SEND\ndestination:{destination}\ncontent-type:text/plain\ncontent-length:128\n\n{body}\0").into_bytes()
}

/// `BATCH` frames, given in pieces of `size`.
fn decode(size: usize) -> Box<dyn FnMut()> {
    let octets = frame("/topic/price.HOOF").repeat(BATCH);
    let limits: Limits = Settings::default().connected;
    let mut decoder = Decoder::new(limits);
    Box::new(move || {
        let mut frames = 0;
        for mut piece in octets.chunks(size.min(octets.len())) {
            while let Some(frame) = decoder.decode(&mut piece).expect("a frame") {
                frames += usize::from(frame.body.len() == 128);
            }
        }
        assert_eq!(frames, BATCH);
    })
}

fn headers() -> Headers<'static> {
    let line = |name, value| Line { name, value };
    let lines = [
        line("destination", "/topic/price.HOOF"),
        line("content-type", "text/plain"),
    ];
    Headers::new(lines, true)
}

fn draft<'a>(headers: &'a Headers<'static>, body: &'a [u8]) -> Draft<'a, 'static> {
    Draft {
        destination: "/topic/price.HOOF",
        headers,
        reply_to: None,
        body,
        version: Version::V1_2,
        properties: Properties::default(),
        publisher: 1,
    }
}

/// From headers and a body to what all deliveries share.
fn encode() -> Box<dyn FnMut()> {
    let world = World::new();
    let headers = headers();
    Box::new(move || {
        for _ in 0..BATCH {
            let message = world.hosts.default.message(draft(&headers, &[b'x'; 128]));
            assert!(message.is_utf8());
        }
    })
}

/// From a message to the octets of one subscriber's transport.
fn deliver() -> Box<dyn FnMut()> {
    let world = World::new();
    let message = world.hosts.default.message(draft(&headers(), &[b'x'; 128]));
    let outbound = Outbound::new(world.hosts.default.settings().outbound);
    let head = LaneHead {
        prefix: b"MESSAGE\nsubscription:0\nmessage-id:m1-"[..].into(),
        version: Version::V1_2,
        safe: false,
        queue: false,
        manual: false,
        answer: false,
    };
    let lane = outbound.open_lane(0, head);
    let (mut sink, mut marks) = (Sink::default(), VecDeque::new());
    Box::new(move || {
        sink.octets.clear();
        let offer = Offer {
            message: &message,
            policy: &TopicPolicy::Disconnect,
            key: None,
            publisher: None,
        };
        for _ in 0..BATCH {
            outbound.publish(lane, &offer, 0);
        }
        while outbound.drain(&mut sink, &mut marks, NOW).more {}
        assert!(sink.octets.len() > BATCH * 128);
    })
}

fn receive(destination: &'static str) -> Box<dyn FnMut()> {
    let mut publisher = World::new().client();
    let octets = frame(destination).repeat(BATCH);
    Box::new(move || publisher.send(&octets))
}

/// `BATCH` messages through a topic, and what each of `fan` subscribers gets to write.
fn topic(fan: usize, before: fn(&mut World) -> Vec<Client>) -> Box<dyn FnMut()> {
    let mut world = World::new();
    let others = before(&mut world);
    let mut publisher = world.client();
    let mut subscribers: Vec<Client> = (0..fan).map(|_| world.client()).collect();
    for subscriber in &mut subscribers {
        subscriber.subscribe(0, "/topic/price.HOOF", "");
    }
    let octets = frame("/topic/price.HOOF").repeat(BATCH);
    Box::new(move || {
        let _kept = &others;
        publisher.send(&octets);
        for subscriber in &mut subscribers {
            subscriber.drain();
            assert!(subscriber.sink.octets.len() > BATCH * 128);
        }
    })
}

fn alone(_: &mut World) -> Vec<Client> {
    Vec::new()
}

/// Subscriptions that the topic under load has nothing to do with.
fn others(world: &mut World, count: usize, destination: &str) -> Vec<Client> {
    let each = 1_000;
    let make = |index| {
        let mut client = world.client();
        for id in 0..each {
            client.subscribe(id, &format!("{destination}.{}", index * each + id), "");
        }
        client
    };
    (0..count / each).map(make).collect()
}

/// `BATCH` messages into a queue, out to one consumer, and one ACK for `each` of them; none if 0.
fn queue(mode: &'static str, each: usize) -> Box<dyn FnMut()> {
    queue_with(mode, each, 0)
}

fn deep_queue() -> Box<dyn FnMut()> {
    queue_with("client-individual", 1, 100_000)
}

fn queue_with(mode: &str, each: usize, backlog: usize) -> Box<dyn FnMut()> {
    let mut world = World::new();
    let (mut publisher, mut consumer) = (world.client(), world.client());
    let octets = frame("/queue/orders").repeat(BATCH);
    for _ in 0..backlog / BATCH {
        publisher.send(&octets);
    }
    let credit = format!("ack:{mode}\nprefetch-count:{BATCH}\n");
    consumer.subscribe(0, "/queue/orders", &credit);
    Box::new(move || {
        publisher.send(&octets);
        consumer.drain();
        if each > 0 {
            consumer.acknowledge(each);
        } else {
            assert!(consumer.sink.octets.len() > BATCH * 128);
        }
    })
}
