//! Many clients on shared subscriptions, against what subscriptions of their own would have given them.

use std::collections::{BTreeSet, VecDeque};

use proptest::prelude::*;

use super::*;

const CLIENTS: usize = 4;
const TOPICS: [&str; 4] = ["/topic/a", "/topic/b", "/topic/c", "/topic/secret"];

/// One thing that happens; the first number says to which client.
#[derive(Clone, Debug)]
enum Event {
    Subscribe(usize, usize, usize),
    Unsubscribe(usize, usize),
    Hear(usize),
    Leave(usize),
    /// The broker takes a frame.
    Take,
    /// A frame of the broker arrives.
    Arrive,
    Publish(usize),
    Lose,
    Up,
    Pass(u64),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => (0..CLIENTS, 0..2_usize, 0..TOPICS.len()).prop_map(|(client, id, topic)| Event::Subscribe(client, id, topic)),
        4 => (0..CLIENTS, 0..2_usize).prop_map(|(client, id)| Event::Unsubscribe(client, id)),
        8 => (0..CLIENTS).prop_map(Event::Hear),
        1 => (0..CLIENTS).prop_map(Event::Leave),
        12 => Just(Event::Take),
        12 => Just(Event::Arrive),
        12 => (0..TOPICS.len()).prop_map(Event::Publish),
        1 => Just(Event::Lose),
        4 => Just(Event::Up),
        2 => (1..3_000_u64).prop_map(Event::Pass),
    ]
}

/// A client's subscription as the client knows it.
#[derive(Debug)]
struct Known {
    topic: &'static str,
    /// Messages that came for it and that it has not been given.
    due: VecDeque<String>,
    /// It has its RECEIPT, and nothing was lost since: no message may be missing.
    promised: bool,
    /// That was so before something was lost.
    was: bool,
}

struct Client {
    scene: Scene,
    known: BTreeMap<String, Known>,
    /// Ids that went over its own connection.
    own: BTreeSet<String>,
    /// There is something for it from before a loss, which promises nothing any more.
    stale: bool,
}

/// The broker, the shared connection and all clients.
struct World {
    shared: Arc<Shared>,
    line: Line,
    clients: Vec<Client>,
    born: u128,
    published: usize,
    /// Frames on their way to the broker, and from it.
    there: VecDeque<String>,
    back: VecDeque<String>,
    /// What the broker has been asked for: names by topic.
    subscribed: BTreeMap<String, String>,
    now: u64,
}

impl World {
    fn new(keep_ms: u64) -> World {
        let shared = topics(|settings| settings.keep_ms = keep_ms);
        let mut world = World {
            line: Line::new(&shared),
            shared,
            clients: Vec::new(),
            born: 0,
            published: 0,
            there: VecDeque::new(),
            back: VecDeque::new(),
            subscribed: BTreeMap::new(),
            now: 0,
        };
        for _ in 0..CLIENTS {
            let client = world.client();
            world.clients.push(client);
        }
        world
    }

    fn client(&mut self) -> Client {
        self.born += 1;
        let version = ["1.0", "1.1", "1.2"][(self.born % 3) as usize];
        let mut scene = Scene::sharing(&self.shared, self.born, version);
        scene.client("SUBSCRIBE\nid:st\ndestination:/relay/status\n\n^");
        scene.now = self.now;
        Client {
            scene,
            known: BTreeMap::new(),
            own: BTreeSet::new(),
            stale: false,
        }
    }

    fn happens(&mut self, event: &Event) {
        match event {
            Event::Subscribe(client, id, topic) => self.subscribe(*client, &id.to_string(), TOPICS[*topic]),
            Event::Unsubscribe(client, id) => self.unsubscribe(*client, &id.to_string()),
            Event::Hear(client) => self.hear(*client),
            Event::Leave(client) => {
                let next = self.client();
                self.clients[*client] = next;
            }
            Event::Take => self.take(),
            Event::Arrive => self.arrive(),
            Event::Publish(topic) => self.publish(TOPICS[*topic]),
            Event::Lose if self.line.is_up() => self.lose(&Lost::Closed),
            Event::Up if !self.line.is_up() => drop(self.line.up("1.2")),
            Event::Lose | Event::Up => {}
            Event::Pass(ms) => self.pass(*ms),
        }
        if let Some(why) = self.line.is_overdue() {
            self.lose(&why);
        }
        let said = self.line.says();
        self.there.extend(said.split_inclusive('^').map(str::to_owned));
    }

    fn subscribe(&mut self, client: usize, id: &str, topic: &'static str) {
        let client = &mut self.clients[client];
        if client.known.contains_key(id) || client.own.contains(id) || !client.scene.relay.accepts_input() {
            return;
        }
        let said = format!("SUBSCRIBE\nid:{id}\ndestination:{topic}\nreceipt:s{id}\n\n^");
        client.scene.client(&said);
        let known = Known {
            topic,
            due: VecDeque::new(),
            promised: false,
            was: false,
        };
        client.known.insert(id.to_owned(), known);
        client.settle();
    }

    fn unsubscribe(&mut self, client: usize, id: &str) {
        let client = &mut self.clients[client];
        if client.known.contains_key(id) && client.scene.relay.accepts_input() {
            client
                .scene
                .client(&format!("UNSUBSCRIBE\nid:{id}\nreceipt:u{id}\n\n^"));
            client.known.remove(id);
            client.settle();
        }
    }

    fn hear(&mut self, client: usize) {
        let client = &mut self.clients[client];
        while client.scene.relay.has_mail() {
            client.scene.last = client.scene.relay.hear(&mut client.scene.written, client.scene.now);
        }
        client.settle();
        client.stale = false;
        if client.scene.relay.is_over() {
            // Only who was promised something may have lost it, and only if nobody keeps it.
            assert_eq!(client.scene.closed(), Some((1002, "broker-lost")));
            assert_eq!(self.shared.settings.keep_ms, 0);
            let index = self
                .clients
                .iter()
                .position(|client| client.scene.relay.is_over())
                .unwrap();
            let next = self.client();
            self.clients[index] = next;
        } else {
            let missing = client.known.values().find(|known| !known.due.is_empty());
            assert!(missing.is_none(), "{missing:?}");
        }
    }

    fn take(&mut self) {
        let Some(frame) = self.there.pop_front() else { return };
        let header = |name: &str| {
            frame
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .unwrap_or_default()
        };
        let (id, topic) = (header("id:"), header("destination:"));
        let receipt = format!("RECEIPT\nreceipt-id:{}\n\n^", header("receipt:"));
        if topic == "/topic/secret" {
            return self.back.push_back("ERROR\nmessage:no\n\n^".to_owned());
        }
        if frame.starts_with("SUBSCRIBE\n") {
            let other = self.subscribed.insert(topic.to_owned(), id.to_owned());
            assert_eq!(other, None, "twice at the broker: {topic}");
            self.back.push_back(receipt);
        } else if frame.starts_with("UNSUBSCRIBE\n") {
            self.subscribed.retain(|_, known| known != id);
            self.back.push_back(receipt);
        }
    }

    fn arrive(&mut self) {
        let Some(frame) = self.back.pop_front() else { return };
        if let Err(why) = self.line.broker(&frame) {
            return self.lose(&why);
        }
        if !frame.starts_with("MESSAGE\n") {
            return;
        }
        let body = frame.rsplit('\n').next().unwrap().trim_end_matches('^');
        let header = |name: &str| frame.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        let topic = header("destination:");
        if header("subscription:") != self.line.id(topic) {
            // It was published before anybody of now had subscribed.
            return;
        }
        for client in &mut self.clients {
            for known in client.known.values_mut().filter(|known| known.topic == topic) {
                known.due.push_back(body.to_owned());
            }
        }
    }

    fn publish(&mut self, topic: &str) {
        self.published += 1;
        let promised = |known: &Known| known.topic == topic && known.promised;
        match self.subscribed.get(topic) {
            Some(id) if self.line.is_up() => self.back.push_back(format!(
                "MESSAGE\nsubscription:{id}\ndestination:{topic}\nk:a\\cb\n\n{}^",
                self.published
            )),
            _ => {
                let who = self
                    .clients
                    .iter()
                    .position(|client| client.known.values().any(promised));
                assert_eq!(who, None, "has a RECEIPT, and the broker nobody for {topic}");
            }
        }
    }

    fn lose(&mut self, why: &Lost) {
        self.there.clear();
        self.back.clear();
        self.subscribed.clear();
        self.line.lose(why);
        for client in &mut self.clients {
            for known in client.known.values_mut() {
                known.was |= std::mem::take(&mut known.promised);
            }
            client.stale = client.scene.relay.has_mail();
        }
    }

    fn pass(&mut self, ms: u64) {
        self.now += ms;
        self.line.pass(ms);
        for client in &mut self.clients {
            // The client of a test is never silent.
            client.scene.relay.heard_client(self.now);
            client.scene.relay.heard_upstream(self.now);
            client.scene.pass(ms);
            client.settle();
        }
    }
}

impl Client {
    /// What it was given is what it had to be given, in that order, as its version has it.
    fn settle(&mut self) {
        for frame in self
            .scene
            .for_client()
            .split('^')
            .map(|frame| frame.trim_start_matches('\n'))
        {
            let header = |name: &str| {
                frame
                    .lines()
                    .find_map(|line| line.strip_prefix(name))
                    .unwrap_or_default()
            };
            if header("subscription:") == "st" {
                let back = frame.contains("back");
                self.known
                    .values_mut()
                    .for_each(|known| known.promised |= back && known.was && !self.stale);
            } else if frame.starts_with("MESSAGE\n") {
                let known = self.known.get_mut(header("subscription:")).unwrap();
                let due = known.due.pop_front();
                assert_eq!(due.as_deref(), frame.rsplit('\n').next(), "{frame}");
                assert_eq!(header("destination:"), known.topic);
                assert!(["a:b", "a\\cb"].contains(&header("k:")), "{frame}");
            } else if let Some(id) = header("receipt-id:").strip_prefix('s') {
                self.known.get_mut(id).unwrap().promised = !self.stale;
            }
        }
        for frame in self
            .scene
            .for_broker()
            .split('^')
            .filter(|frame| frame.starts_with("SUBSCRIBE\n"))
        {
            let id = frame.lines().find_map(|line| line.strip_prefix("id:")).unwrap();
            self.known.remove(id).unwrap();
            self.own.insert(id.to_owned());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn each_client_sees_what_a_subscription_of_its_own_would_have_given(keep: bool, events in proptest::collection::vec(event(), 1..200)) {
        let mut world = World::new(if keep { 600_000 } else { 0 });
        world.happens(&Event::Up);
        events.iter().for_each(|event| world.happens(event));
        // All is said and heard; then all have gone, and nothing is left.
        world.happens(&Event::Up);
        for _ in 0..400 {
            [Event::Take, Event::Arrive, Event::Up].iter().for_each(|event| world.happens(event));
        }
        (0..CLIENTS).for_each(|client| world.hear(client));
        world.clients.clear();
        for event in [Event::Take, Event::Pass(1_000), Event::Take] {
            world.happens(&event);
        }
        while !world.there.is_empty() || !world.back.is_empty() {
            [Event::Take, Event::Arrive].iter().for_each(|event| world.happens(event));
        }
        assert_eq!(world.shared.sharing.counts(), (0, 0));
        assert!(world.subscribed.is_empty(), "{:?}", world.subscribed);
    }
}
