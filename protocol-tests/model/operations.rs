//! What happens: random settings, frames, sockets and time.

use hoofbeat::broker::settings::{OutboundLimits, Policy, Prefetch, QueuePolicy, TopicPolicy, WhenFull};
use hoofbeat::session::settings::{App, UserSend, Workers};
use hoofbeat::session::Link;

use crate::random::Random;
use crate::reference::{State, EPOCH, SELECTORS};
use crate::wire::Frame;
use crate::world::{Difference, World};

const TOPICS: [&str; 10] = [
    "/topic/last.x",
    "/topic/a",
    "/topic/a.b",
    "/topic/a.b",
    "/exchange/amq.topic/a.c",
    "/topic/old.x",
    "/topic/old.y",
    "/topic/last.x",
    "/topic/last.y",
    "/topic/free/x",
];
const PATTERNS: [&str; 7] = [
    "/topic/*",
    "/topic/a.#",
    "/topic/old.*",
    "/topic/last.>",
    "/topic/**",
    "/topic/#.b",
    "/topic/free/*",
];
const QUEUES: [&str; 13] = [
    "/queue/q",
    "/queue/q",
    "q",
    "/amq/queue/q",
    "/queue/w",
    "/queue/w",
    "/queue/reject",
    "/queue/head",
    "/queue/head",
    "/queue/DLQ.q",
    "/queue/rare.1",
    "/queue/rare.2",
    "/queue/mine",
];

const USERS: [&str; 5] = [
    "/user/joe/queue/x",
    "/user/joe/queue/x",
    "/user/a%2Fb/queue/x",
    "/user/joe/topic/last.x",
    "/user/nobody/queue/x",
];

const APPS: [&str; 6] = ["/app/a", "/app/a/b", "/app/a/b", "/app/a/b", "/app/c.b", "/app/d"];
const WORKERS: [&str; 10] = [
    "/queue/DLQ.app/a",
    "/worker/a",
    "/worker/a/b",
    "/worker/a/*",
    "/worker/a/*",
    "/worker/*/b",
    "/worker/*",
    "/worker/#.b",
    "/worker/#",
    "/worker/a/**",
];

/// Limits so tiny that each is met.
pub fn settings(seed: u64) -> (hoofbeat::broker::Settings, hoofbeat::session::Settings) {
    let mut random = Random::new(seed, u64::MAX);
    let r = &mut random;
    let full = [WhenFull::Block, WhenFull::Block, WhenFull::Reject, WhenFull::DropHead];
    let queue = QueuePolicy {
        messages: 4 + r.below(5),
        bytes: 1_500 + r.below(1_500),
        full: r.pick(&full),
        delivery_limit: 2 + r.below(2) as u32,
        idle_ms: 1_000 + r.next() % 2_000,
        ..QueuePolicy::default()
    };
    let topic = r.pick(&[
        TopicPolicy::Disconnect,
        TopicPolicy::Disconnect,
        TopicPolicy::DropOldest,
    ]);
    let policy = |pattern: &str, topic: TopicPolicy, full: WhenFull| Policy {
        pattern: pattern.to_owned(),
        topic,
        queue: QueuePolicy { full, ..queue.clone() },
    };
    let latest = TopicPolicy::LatestOnly { key: "key".to_owned() };
    let prefetch = |r: &mut Random| Prefetch {
        messages: 1 + r.below(4),
        bytes: 500 + r.below(1_000),
    };
    let broker = hoofbeat::broker::Settings {
        memory_high_water: if r.chance(30) { 6_000 + r.below(6_000) } else { 1 << 20 },
        outbound: OutboundLimits {
            messages: 3 + r.below(6),
            bytes: 1_000 + r.below(2_000),
            control_bytes: 150 + r.below(200),
            // The reference knows no waiting publishers: that is tried in src/session/tests.
            patience_ms: 0,
        },
        destinations: 10 + r.below(10),
        destination_bytes: 60,
        route_cache: 2,
        prefetch_client: prefetch(r),
        prefetch_client_individual: prefetch(r),
        unacknowledged: 3 + r.below(3),
        prefixes: Vec::new(),
        policies: vec![
            policy("/topic/old.*", TopicPolicy::DropOldest, queue.full),
            policy("/topic/last.*", latest.clone(), queue.full),
            policy("/user/*/topic/last.*", latest, queue.full),
            policy("/queue/reject", topic.clone(), WhenFull::Reject),
            policy("/queue/head", topic.clone(), WhenFull::DropHead),
            policy("/queue/w", topic.clone(), WhenFull::Block),
        ],
        topic,
        queue,
        ..hoofbeat::broker::Settings::default()
    };
    let session = hoofbeat::session::Settings {
        connect_ms: 1_000,
        subscriptions: 1 + r.below(3),
        transactions: 2,
        transaction_frames: 4 + r.below(3),
        transaction_bytes: 900 + r.below(900),
        transaction_ms: 2_000,
        blocked_ms: 1_000,
        app: App {
            workers: if seed % 8 == 7 {
                Workers::Nobody
            } else {
                Workers::Permitted
            },
            patience_ms: 200 + r.next() % 600,
            // Where messages are not for everybody, nothing expires.
            timeout_ms: if seed.is_multiple_of(3) {
                10_000_000
            } else {
                300 + r.next() % 1_500
            },
        },
        user_send: [UserSend::Any, UserSend::Any, UserSend::Own, UserSend::None][seed as usize % 4],
        ..hoofbeat::session::Settings::default()
    };
    (broker, session)
}

impl World {
    /// The operation `number` of a run: what it does depends on this number, the seed and what has been before.
    pub fn operate(&mut self, seed: u64, number: u64) -> Result<(), Difference> {
        let mut random = Random::new(seed, number);
        let r = &mut random;
        self.log.push(format!("operation {number} at {} ms", self.model.now));
        let live = self.live();
        match r.below(100) {
            _ if live.is_empty() => self.connect(r)?,
            0..5 if live.len() < 5 => self.connect(r)?,
            5..14 => self.time(r)?,
            14..18 => {
                let at = r.pick(&live);
                let socket = &mut self.clients[at].socket;
                socket.stalled = !socket.stalled && r.chance(60);
                self.log
                    .push(format!("  client {at} stalled: {}", self.clients[at].socket.stalled));
            }
            18 => self.end(r.pick(&live)),
            19 if r.chance(50) => {
                let at = r.pick(&live);
                self.log.push(format!("  client {at}: shutdown"));
                self.shutdown(at)?;
            }
            19..22 => self.quiesce()?,
            22 => self.flood(r)?,
            _ => {
                let at = r.pick(&live);
                let frame = self.next_frame(r, at, number);
                self.frame(at, &frame, r.below(1_000))?;
            }
        }
        for at in self.live() {
            // Some worlds write seldom, so that more waits.
            if r.chance(15 + seed % 3 * 25) {
                self.serve(r, at)?;
            }
        }
        self.compare()
    }

    fn connect(&mut self, r: &mut Random) -> Result<(), Difference> {
        let at = self.open(Link::Tcp);
        if r.chance(5) {
            return Ok(());
        }
        let connect = Frame::new(r.pick(&["CONNECT", "STOMP"]));
        let connect = match r.below(5) {
            0..3 => connect.with("login", "joe"),
            3 => connect.with("login", "a/b"),
            _ => connect,
        };
        let frame = match r.below(80) {
            0..16 => connect,
            16..36 => connect.with("accept-version", "1.1"),
            36 => connect.with("accept-version", "2.0,3.0"),
            37 => Frame::new("SEND")
                .with("destination", "/queue/q")
                .with("receipt", "early"),
            _ => connect.with("accept-version", "1.0,1.1,1.2").with("host", "anywhere"),
        };
        self.frame(at, &frame, r.below(100))
    }

    fn time(&mut self, r: &mut Random) -> Result<(), Difference> {
        let ms = if r.chance(4) {
            2_500
        } else {
            r.pick(&[1, 10, 49, 50, 120, 120, 400])
        };
        let clock = r.chance(85);
        self.log.push(format!("  {ms} ms pass, clock: {clock}"));
        self.pass(ms, clock)
    }

    /// What a connection's task would do now.
    fn serve(&mut self, r: &mut Random, at: usize) -> Result<(), Difference> {
        let takes = |world: &World, r: &mut Random| match world.clients[at].socket.stalled {
            true => 0,
            false if r.chance(75) => u64::MAX / 2,
            false => r.below(600) as u64,
        };
        self.take(at, takes(self, r))?;
        if self.unwritten(at) == 0 || r.chance(15) {
            self.turn(at)?;
            self.take(at, takes(self, r))?;
        }
        if self.model.sessions[at].state == State::Closing && r.chance(40) {
            self.end(at);
        }
        Ok(())
    }

    /// Every socket takes everything until nothing is left to do; then nothing may wait that could go on.
    pub fn quiesce(&mut self) -> Result<(), Difference> {
        self.log.push("  quiet".to_owned());
        let mut busy = true;
        while busy {
            busy = false;
            for at in self.live() {
                self.clients[at].socket.stalled = false;
                busy |= self.unwritten(at) > 0;
                self.take(at, u64::MAX / 2)?;
                busy |= self.turn(at)?;
                self.take(at, u64::MAX / 2)?;
            }
        }
        match self.model.forgotten() {
            Some(what) => Err(format!("quiet, but {what}")),
            None => Ok(()),
        }
    }

    /// Many frames in a row from one client.
    fn flood(&mut self, r: &mut Random) -> Result<(), Difference> {
        let at = r.pick(&self.live());
        for number in 0..70 {
            let frame = match self.model.sessions[at].blocked {
                Some(_) => Frame::new("SEND").with("destination", "/topic/nobody"),
                None => Frame::new("SEND").with("destination", r.pick(&["/queue/w", "/topic/nobody"])),
            };
            let frame = match r.chance(10) {
                true => frame.with("receipt", format!("flood {number}")),
                false => frame,
            };
            if !self.is_open(at) {
                break;
            }
            self.frame(at, &frame, 0)?;
        }
        Ok(())
    }

    fn next_frame(&mut self, r: &mut Random, at: usize, number: u64) -> Frame {
        let lonely = self.model.sessions[at].subs.is_empty() && r.chance(50);
        let live = self.model.sessions[at].subs.iter().filter(|sub| sub.live);
        let crowded = live.count() >= self.model.settings.subscriptions;
        let frame = match r.below(100) {
            _ if self.model.sessions[at].state == State::Connecting && r.chance(85) => {
                Frame::new("CONNECT").with("accept-version", "1.2")
            }
            _ if lonely => self.next_subscribe(r, at),
            0..38 => self.next_send(r, at, number),
            38..50 if !crowded || r.chance(3) => self.next_subscribe(r, at),
            38..44 => self.next_unsubscribe(r, at),
            44..79 => self.next_ack(r, at),
            79..84 if !self.model.sessions[at].subs.is_empty() || r.chance(3) => self.next_unsubscribe(r, at),
            84..90 if self.transaction(r, at).is_none() || r.chance(25) => {
                Frame::new("BEGIN").with("transaction", r.pick(&["t1", "t2", "t3"]))
            }
            90..97 => match self.transaction(r, at) {
                Some(id) if r.chance(25) => Frame::new("ABORT").with("transaction", id),
                Some(id) => Frame::new("COMMIT").with("transaction", id),
                None => self.next_ack(r, at),
            },
            97 if r.chance(30) => Frame::new("DISCONNECT"),
            98 => wrong(r),
            _ => self.next_send(r, at, number),
        };
        match r.chance(35) && frame.get("receipt").is_none() {
            true => frame.with("receipt", format!("r:{number}")),
            false => frame,
        }
    }

    /// An open transaction, if there is one.
    fn transaction(&self, r: &mut Random, at: usize) -> Option<String> {
        let open: Vec<&String> = self.model.sessions[at].transactions.keys().collect();
        open.get(r.below(open.len())).map(|id| (*id).clone())
    }

    /// Whether the reference thinks that a queue takes no more.
    fn is_full(&self, destination: &str) -> bool {
        let name = format!("/queue/{}", destination.rsplit('/').next().unwrap_or_default());
        self.model.queues.get(&name).is_some_and(|queue| !queue.room(1, 300))
    }

    fn next_send(&mut self, r: &mut Random, at: usize, number: u64) -> Frame {
        let addresses = self.model.sessions.iter().filter(|s| s.state != State::Connecting);
        let addresses: Vec<String> = addresses.map(|s| format!("/reply-queue/{}/x", s.temporary)).collect();
        let open = self.transaction(r, at).is_some();
        let destination = match r.below(28) {
            22..24 => match r.pick(&APPS) {
                app if !self.is_worked(app) && r.chance(80) => r.pick(&TOPICS).to_owned(),
                app => app.to_owned(),
            },
            24..26 => self.answer_address(r).unwrap_or_else(|| "/topic/a".to_owned()),
            0..10 => match r.pick(&QUEUES) {
                full if self.is_full(full) && r.chance(if open { 30 } else { 85 }) => r.pick(&TOPICS).to_owned(),
                queue => queue.to_owned(),
            },
            10..17 => r.pick(&TOPICS).to_owned(),
            17..19 | 26..28 => r.pick(&USERS).to_owned(),
            19 => r.pick(&["/temp-queue/x", "/temp-queue/y", "/temp-topic/x"]).to_owned(),
            _ if addresses.is_empty() => "/queue/q".to_owned(),
            _ => r.pick(&addresses),
        };
        // Of those that replace each other many are needed: they must meet before they are written.
        let keys = if destination.contains("last") { 1 } else { 2 };
        let destination_is_app = destination.starts_with("/app/");
        let mut frame = Frame::new("SEND").with("destination", destination);
        frame = frame.with("from", at);
        let mut maybe = |percent: u64, name: &str, value: String| {
            if r.chance(percent) {
                frame.headers.push((name.to_owned(), value));
            }
        };
        let now = EPOCH + self.model.now;
        maybe(60, "key", format!("k{}", number % keys));
        maybe(30, "persistent", "true".to_owned());
        maybe(12, "priority", (number % 12).to_string());
        if self.choosy {
            // When what has expired is seen to have, among those that are passed over, is the core's.
            maybe(20, "JMSXGroupID", ["g", "h", "i", ""][number as usize % 4].to_owned());
            maybe(3, "JMSXGroupSeq", "-1".to_owned());
        } else {
            maybe(10, "ttl", (number * 7 % 600).to_string());
            maybe(4, "expires", (now + number * 13 % 900).to_string());
            maybe(3, "expiration", (number * 11 % 300).to_string());
        }
        if destination_is_app {
            maybe(10, "reply-to", "/temp-queue/x".to_owned());
            maybe(30, "reply-to", "/user/queue/x".to_owned());
            maybe(1, "reply-to", "/queue/q".to_owned());
            maybe(10, "user", "forged".to_owned());
            maybe(5, "Session", "forged".to_owned());
            maybe(5, "x-app-command", "forged".to_owned());
        } else {
            maybe(4, "reply-to", "/temp-queue/x".to_owned());
        }
        maybe(5, "x-twice", "first".to_owned());
        maybe(5, "x-twice", "second".to_owned());
        match self.transaction(r, at) {
            Some(id) if r.chance(50) => frame = frame.with("transaction", id),
            // Within a transaction the order is that of its COMMIT.
            _ => frame = frame.with("number", number + 1),
        }
        let padding = if r.chance(15) { r.below(700) } else { r.below(60) };
        frame.body(format!("{number} {}", "x".repeat(padding)))
    }

    /// Whether the reference thinks that somebody works for an application destination.
    fn is_worked(&self, app: &str) -> bool {
        self.model.worked(&app.replace("/app/", "/worker/")).is_some()
    }

    /// Where somebody waits for an answer, or may.
    fn answer_address(&self, r: &mut Random) -> Option<String> {
        let sessions = self.model.sessions.iter().filter(|s| s.entered.is_some());
        let requests = sessions.clone().flat_map(|s| &s.requests);
        let requests: Vec<&String> = requests.map(|request| &request.address).collect();
        if r.chance(70) && !requests.is_empty() {
            return Some(r.pick(&requests).clone());
        }
        let tokens: Vec<&String> = sessions.map(|s| &s.token).collect();
        let token = tokens.get(r.below(tokens.len()))?;
        let local = r.pick(&["queue/x", "queue/x", "queue/replies", "topic/last.x"]);
        Some(match r.chance(85) {
            true => format!("/reply-user/{token}/{local}"),
            false => format!("/reply-app/{token}/{}", r.below(20)),
        })
    }

    fn next_subscribe(&mut self, r: &mut Random, at: usize) -> Frame {
        let destination = match r.below(29) {
            22..26 => r.pick(&WORKERS),
            26..28 => r.pick(&APPS),
            0..11 => r.pick(&QUEUES),
            11..14 => r.pick(&TOPICS),
            14..16 => r.pick(&["/user/queue/x", "/user/queue/x", "/user/queue/x", "/user/topic/last.x"]),
            16..20 => r.pick(&PATTERNS),
            20 | 28 => r.pick(&["/temp-queue/x", "/temp-queue/y"]),
            _ => "/temp-topic/x",
        };
        // With one subscription at a time many come and go, and leave messages behind.
        let alone = self.model.settings.subscriptions == 1 && r.chance(60);
        let destination = if alone { "/queue/w" } else { destination };
        let queue =
            !["/user/", "/app/"].iter().any(|form| destination.starts_with(form)) && !destination.contains("topic");
        let mut frame = Frame::new("SUBSCRIBE").with("destination", destination);
        if self.clients[at].version > 0 || r.chance(50) {
            let ids = ["s0", "s1", "s2", "s:3", "s4"];
            let used = |id: &&str| self.model.sessions[at].subs.iter().any(|s| s.live && s.key == *id);
            let free: Vec<&str> = ids.into_iter().filter(|id| !used(id)).collect();
            let id = if free.is_empty() || r.chance(3) {
                "s0"
            } else {
                r.pick(&free)
            };
            frame = frame.with("id", id);
        }
        if alone {
            frame = frame.with("ack", "client-individual");
        } else if r.chance(if queue { 75 } else { 40 }) {
            frame = frame.with("ack", r.pick(&["auto", "client", "client", "client-individual"]));
        }
        if r.chance(30) {
            frame = frame.with("prefetch-count", r.pick(&[0, 1, 1, 2, 7]));
        }
        if !queue && r.chance(20) {
            frame = frame.with("no-local", "true");
        }
        if queue && self.choosy && r.chance(25) {
            frame = frame.with("selector", r.pick(&SELECTORS).0);
        }
        if queue && r.chance(8) {
            frame = frame.with("activemq.exclusive", "true");
        }
        if destination == "/queue/mine" && r.chance(80) {
            frame = frame.with("exclusive", "true");
        }
        frame
    }

    fn next_unsubscribe(&mut self, r: &mut Random, at: usize) -> Frame {
        let late = r.chance(15);
        let subs = self.model.sessions[at].subs.iter();
        let subs: Vec<&String> = subs.filter(|sub| sub.live != late).map(|sub| &sub.key).collect();
        let any = subs.get(r.below(subs.len())).map(|key| (*key).clone());
        let key = any.filter(|_| r.chance(99)).unwrap_or_else(|| "nobody's".to_owned());
        match key.strip_prefix('\0') {
            Some(destination) => Frame::new("UNSUBSCRIBE").with("destination", destination),
            None => Frame::new("UNSUBSCRIBE").with("id", key),
        }
    }

    fn next_ack(&mut self, r: &mut Random, at: usize) -> Frame {
        let given = &self.clients[at].given;
        let recent = given.len().saturating_sub(6);
        let found = match r.chance(85) {
            true => given.get(recent + r.below(given.len() - recent)),
            false => given.get(r.below(given.len())),
        };
        let Some((id, subscription)) = found.cloned() else {
            return Frame::new("SEND").with("destination", "/queue/q").with("from", at);
        };
        let id = if r.chance(1) { "77-1".to_owned() } else { id };
        let nack = self.clients[at].version > 0 && r.chance(35);
        let mut frame = Frame::new(if nack { "NACK" } else { "ACK" });
        frame = match self.clients[at].version {
            2 => frame.with("id", id),
            1 if r.chance(1) => frame.with("message-id", id).with("subscription", "another"),
            1 => frame.with("message-id", id).with("subscription", subscription),
            _ => frame.with("message-id", id),
        };
        if nack && r.chance(25) {
            frame = frame.with("requeue", "false");
        }
        match self.transaction(r, at) {
            Some(id) if r.chance(50) => frame.with("transaction", id),
            _ => frame,
        }
    }
}

/// Something that no client should send.
fn wrong(r: &mut Random) -> Frame {
    let send = Frame::new("SEND");
    let subscribe = || Frame::new("SUBSCRIBE").with("id", "wrong");
    match r.below(40) {
        0 => send,
        1 => send.with("destination", "/nowhere/x"),
        2 => send.with("destination", "/topic/a.*"),
        3 => send.with("destination", "/queue/q").with("ttl", "soon"),
        4 => send.with("destination", "/queue/q").with("priority", "high"),
        5 => send.with(
            "destination",
            r.pick(&["/user/queue/y", "/user/joe", "/user/joe/queue/*"]),
        ),
        6 => send.with("destination", format!("/queue/{}", "long".repeat(20))),
        7 => send.with("destination", "/queue/q").with("transaction", "never begun"),
        8 => subscribe(),
        9 => subscribe().with("destination", "/queue/*"),
        10 => subscribe().with("destination", "/queue/q").with("ack", "clinet"),
        11 => subscribe().with("destination", "/queue/q").with("x-priority", "1"),
        12 => subscribe().with("destination", format!("/reply-queue/{}/x", "0".repeat(32))),
        13 => subscribe()
            .with("destination", "/queue/q")
            .with("prefetch-count", "many"),
        14 => Frame::new("NACK")
            .with("id", "77-1")
            .with("message-id", "77-1")
            .with("requeue", "perhaps"),
        15 => Frame::new("ACK"),
        16 => Frame::new("BEGIN"),
        17 => Frame::new("CONNECT"),
        18 => Frame::new("MESSAGE"),
        19 => Frame::new("UNSUBSCRIBE"),
        20 => Frame::new("SUBSCRIBE")
            .with("destination", "/topic/a")
            .with("id", "wrong")
            .with("durable", "true"),
        21 => Frame::new("ABORT").with("transaction", "never begun"),
        22 => Frame::new("ACK").with("id", "nonsense").with("message-id", "nonsense"),
        _ => send.with("destination", "/topic/a"),
    }
}
