//! What happens: tiny limits, frames, sockets, time, the disk's pace, and crashes.

use hoofbeat::broker::settings::{DurableLimits, OutboundLimits, Policy, QueuePolicy, WhenExpired, WhenFull};

use crate::client::{Browse, Consumer, Holding, Meaning, Open};
use crate::places::{dead_letters, BLOCKING, GROUPED, MORTAL, PLACES, QUEUES, REJECTING, SELECTORS};
use crate::promises::{Broken, Gone, Key};
use crate::random::Random;
use crate::wire::Frame;
use crate::world::World;

const CLIENTS: usize = 4;

/// Nothing blocks here but one queue, and who sends to it waits for the RECEIPT: else nobody could say what took effect.
pub fn settings(seed: u64) -> (hoofbeat::broker::Settings, hoofbeat::session::Settings) {
    let mut random = Random::new(seed, u64::MAX);
    let r = &mut random;
    let queue = QueuePolicy {
        delivery_limit: r.pick(&[0, 1, 2, 3, 5]),
        idle_ms: 500 + r.next() % 2_000,
        // So little that most octets are on disk only.
        resident: r.pick(&[0, 300, 1_000, 1 << 20]),
        ..QueuePolicy::default()
    };
    let of = |place: usize, queue: QueuePolicy| Policy {
        pattern: PLACES[place].name.to_owned(),
        topic: Default::default(),
        queue,
    };
    let mortal = QueuePolicy {
        ttl_ms: r.pick(&[0, 1_500]),
        expired: WhenExpired::DeadLetter,
        ..queue.clone()
    };
    let rejecting = QueuePolicy {
        messages: 2 + r.below(4),
        full: WhenFull::Reject,
        ..queue.clone()
    };
    let blocking = QueuePolicy {
        messages: 1 + r.below(4),
        ..queue.clone()
    };
    let broker = hoofbeat::broker::Settings {
        outbound: OutboundLimits {
            messages: 3 + r.below(10),
            bytes: 1_000 + r.below(4_000),
            patience_ms: 0,
            ..OutboundLimits::default()
        },
        durable: DurableLimits {
            subscriptions: 3,
            expires_ms: r.pick(&[0, 0, 2_000]),
            ..DurableLimits::default()
        },
        policies: vec![of(MORTAL, mortal), of(REJECTING, rejecting), of(BLOCKING, blocking)],
        queue,
        ..hoofbeat::broker::Settings::default()
    };
    let session = hoofbeat::session::Settings {
        transaction_ms: 1_000_000_000,
        blocked_ms: 5_000,
        ..hoofbeat::session::Settings::default()
    };
    (broker, session)
}

impl World {
    /// The operation `number` of a run: what it does depends on this number, the seed and what has been before.
    pub fn operate(&mut self, seed: u64, number: u64) -> Result<(), Broken> {
        let mut random = Random::new(seed, number);
        let r = &mut random;
        self.operation = number;
        self.log.push(format!("operation {number} at {} ms", self.now));
        let live = self.live();
        let at = live.get(r.below(live.len())).copied();
        match (r.below(1_000), at) {
            (0..20, _) => self.crash(r)?,
            (20..26, _) => self.restart(r)?,
            (26..30, _) => self.drain(r)?,
            (30..40, _) => self.settle()?,
            (40..60, _) => {
                let time = r.pick(&[1, 50, 400, 3_000]);
                self.pass(time);
            }
            (60..64, _) => {
                self.unwell |= self.ground.misbehave(r);
                self.log.push(format!("  the disk from now on: {:?}", self.ground));
            }
            (64..70, _) => self.heal()?,
            (70..260, _) => drop(self.step()),
            (_, None) => drop(self.connect(r.pick(&[1, 2, 2]))?),
            (260..280, _) if live.len() < CLIENTS => drop(self.connect(r.pick(&[1, 2, 2]))?),
            (260..272, Some(at)) => self.end(at),
            (272..540, Some(at)) => {
                let octets = if r.chance(60) { u64::MAX } else { 1 + r.next() % 700 };
                self.take(at, octets)?;
            }
            (_, Some(at)) => self.frame(r, at, number)?,
        }
        for at in self.live() {
            if self.clients[at].closing {
                self.fail(at)?;
            }
        }
        self.has_its_limits()
    }

    /// No queue holds more than it may.
    fn has_its_limits(&self) -> Result<(), Broken> {
        for place in [REJECTING, BLOCKING] {
            let (length, most) = (self.length(place), self.policy(place).messages);
            // An empty one takes a COMMIT's first message of any size, and a single one.
            if self.bounded && length > most {
                return Err(format!("{} holds {length} of {most} messages", PLACES[place].name));
            }
        }
        Ok(())
    }

    fn frame(&mut self, r: &mut Random, at: usize, number: u64) -> Result<(), Broken> {
        match r.below(100) {
            // Room is what it waits for, and acknowledgements make it.
            _ if self.clients[at].waits.is_some() => self.acknowledge(r, at, number, false),
            0..40 => self.send_one(r, at, number),
            40..50 => self.subscribe(r, at, number),
            50..55 => self.durable_frame(r, at, number),
            55..85 => self.acknowledge(r, at, number, true),
            85..89 => self.unsubscribe(r, at, number),
            89..94 if self.clients[at].open.len() < 3 => {
                let id = format!("t{number}");
                if self.send(at, &Frame::new("BEGIN").with("transaction", &id), Meaning::Nothing)? {
                    self.clients[at].open.insert(id, Open::default());
                }
                Ok(())
            }
            _ => self.conclude(r, at, number),
        }
    }

    /// Whether a client has enough subscriptions.
    pub fn is_crowded(&self, at: usize) -> bool {
        let all = self.clients[at].consumers.values();
        all.filter(|consumer| consumer.live).count() > 2
    }

    fn subscribe(&mut self, r: &mut Random, at: usize, number: u64) -> Result<(), Broken> {
        let place = match r.below(100) {
            0..60 => r.pick(&[0, GROUPED, GROUPED, 2]),
            _ => 3 + r.below(QUEUES - 3),
        };
        let dead = r.chance(15);
        let place = if dead { r.below(PLACES.len()) } else { place };
        let browse = r.chance(10).then(|| Browse::new(&self.promises, place));
        let consumer = Consumer {
            place,
            dead,
            mode: r.pick(&["auto", "client", "client-individual", "client-individual"]),
            prefetch: 1 + r.below(6),
            live: true,
            loose: false,
            held: Vec::new(),
            since: number,
            selector: (!dead && place != GROUPED && r.chance(18)).then(|| r.below(SELECTORS.len())),
            alone: !dead && place != GROUPED && browse.is_none() && r.chance(12),
            browse,
        };
        match self.is_crowded(at) {
            true => Ok(()),
            false => self.subscribe_to(at, &format!("s{number}"), consumer),
        }
    }

    /// Subscribes to a queue.
    pub fn subscribe_to(&mut self, at: usize, id: &str, consumer: Consumer) -> Result<(), Broken> {
        let place = consumer.place;
        let destination = match consumer.dead {
            true => dead_letters(place),
            false => PLACES[place].name.to_owned(),
        };
        let mut frame = Frame::new("SUBSCRIBE")
            .with("id", id)
            .with("destination", destination)
            .with("ack", consumer.mode)
            .with("prefetch-count", consumer.prefetch);
        let options = PLACES[place].headers.iter().filter(|_| !consumer.dead);
        for (name, value) in options {
            frame = frame.with(name, value);
        }
        if let Some(selector) = consumer.selector {
            self.mark("selector");
            frame = frame.with("selector", SELECTORS[selector].0);
        }
        if consumer.alone {
            frame = frame.with("activemq.exclusive", "true");
        }
        if consumer.browse.is_some() {
            self.mark("browsed");
            frame = frame.with("browser", "true");
        }
        let mixes = consumer.takes_from(place) && (consumer.alone || consumer.selector.is_some());
        self.clients[at].consumers.insert(id.to_owned(), consumer);
        self.note_consumers(place);
        if mixes {
            self.promises.mixed.insert(place);
        }
        match self.send(at, &frame, Meaning::Nothing)? || self.unwell {
            true => Ok(()),
            false => Err(format!("a SUBSCRIBE was refused: {frame:?}")),
        }
    }

    /// Settles something that a client holds; perhaps in a transaction, if it may.
    fn acknowledge(&mut self, r: &mut Random, at: usize, number: u64, within: bool) -> Result<(), Broken> {
        let holding = self.clients[at]
            .consumers
            .iter()
            .filter(|(_, consumer)| !consumer.held.is_empty());
        let holding: Vec<String> = holding.map(|(id, _)| id.clone()).collect();
        let Some(id) = holding.get(r.below(holding.len())).cloned() else {
            return Ok(());
        };
        let open: Vec<String> = self.clients[at].open.keys().cloned().collect();
        let version = self.clients[at].version;
        let consumer = &self.clients[at].consumers[&id];
        let which = r.below(consumer.held.len());
        let (mode, dead) = (consumer.mode, consumer.dead);
        let (first, ack) = match mode {
            "client" => (0, consumer.held[which].0.clone()),
            _ => (which, consumer.held[which].0.clone()),
        };
        let nack = !dead && r.chance(30);
        let frame = Frame::new(if nack { "NACK" } else { "ACK" });
        let frame = match version {
            2 => frame.with("id", &ack),
            _ => frame.with("message-id", &ack).with("subscription", &id),
        };
        let transaction = open
            .get(r.below(open.len()))
            .filter(|_| within && mode != "client" && !nack && r.chance(60))
            .cloned();
        let taken: Vec<Holding> = match self.clients[at].consumers.get_mut(&id) {
            Some(consumer) => consumer.held.drain(first..=which).collect(),
            None => Vec::new(),
        };
        if let Some(transaction) = transaction {
            self.mark("ACK in a transaction");
            let frame = frame.with("transaction", &transaction);
            if self.send(at, &frame, Meaning::Nothing)? {
                let open = self.clients[at].open.entry(transaction).or_default();
                open.acks.extend(taken.into_iter().map(|held| (id.clone(), held)));
            }
            return Ok(());
        }
        let receipt = r.chance(60).then(|| format!("r{number}"));
        match nack {
            true => self.refuse(r, at, frame, taken, receipt),
            false => self.accept(at, frame, &taken, receipt),
        }
    }

    fn accept(&mut self, at: usize, frame: Frame, taken: &[Holding], receipt: Option<String>) -> Result<(), Broken> {
        let keys: Vec<Key> = taken.iter().map(|(_, key, _)| *key).collect();
        self.promises.settled(&keys, Gone::Now);
        let frame = receipt.into_iter().fold(frame, |frame, id| frame.with("receipt", id));
        let went_on = self.send(at, &frame, Meaning::Acked(keys.clone()))?;
        if !went_on {
            self.promises.settled(&keys, Gone::Perhaps);
        }
        match went_on || self.unwell {
            true => Ok(()),
            false => Err(format!("an ACK was refused: {frame:?}")),
        }
    }

    fn refuse(
        &mut self,
        r: &mut Random,
        at: usize,
        mut frame: Frame,
        taken: Vec<Holding>,
        receipt: Option<String>,
    ) -> Result<(), Broken> {
        let mut due = 0;
        let dies = r.chance(30);
        if dies {
            frame = frame.with("requeue", "false");
        } else if r.chance(25) {
            let delay = r.pick(&[1, 300, 2_500]);
            due = self.unix_ms() + delay;
            self.mark("NACK with a delay");
            frame = frame.with("delay", delay);
        }
        let frame = receipt.into_iter().fold(frame, |frame, id| frame.with("receipt", id));
        for (_, key, _) in &taken {
            if let Some(fact) = self.promises.facts.get_mut(key) {
                fact.rejected |= dies;
                fact.due = fact.due.max(due);
                fact.due_at_last = fact.due_at_last.max(due);
            }
        }
        let keys: Vec<Key> = taken.iter().map(|(_, key, _)| *key).collect();
        let tries = taken.into_iter().map(|(_, key, count)| (key, count)).collect();
        let went_on = self.send(at, &frame, Meaning::Nacked(tries, due))?;
        for key in keys.iter().filter(|_| !went_on) {
            if let Some(fact) = self.promises.facts.get_mut(key) {
                fact.due = fact.due_for_good;
            }
        }
        match went_on || self.unwell {
            true => Ok(()),
            false => Err(format!("a NACK was refused: {frame:?}")),
        }
    }

    fn unsubscribe(&mut self, r: &mut Random, at: usize, number: u64) -> Result<(), Broken> {
        let consumers = self.clients[at].consumers.iter();
        let live = consumers.filter(|(_, consumer)| consumer.live);
        let live: Vec<String> = live.map(|(id, _)| id.clone()).collect();
        let Some(id) = live.get(r.below(live.len())).cloned() else {
            return Ok(());
        };
        let frame = Frame::new("UNSUBSCRIBE")
            .with("id", &id)
            .with("receipt", format!("r{number}"));
        self.send(at, &frame, Meaning::Nothing)?;
        let Some(consumer) = self.clients[at].consumers.get_mut(&id) else {
            return Ok(());
        };
        consumer.live = false;
        let place = consumer.place;
        self.note_consumers(place);
        // What was written before counts and may be acknowledged late.
        self.take(at, u64::MAX)?;
        self.note_consumers(place);
        Ok(())
    }
}
