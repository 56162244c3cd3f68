//! What happens: tiny limits, frames, sockets, time, the disk's pace, and crashes.

use hoofbeat::broker::settings::{OutboundLimits, QueuePolicy};

use crate::promises::{dead_letters, Broken, Fact, Gone, Transaction};
use crate::random::Random;
use crate::wire::Frame;
use crate::world::{Consumer, Meaning, Open, World};

const QUEUES: [&str; 3] = ["/queue/q", "/queue/w", "/queue/v"];
const CLIENTS: usize = 4;

/// Nothing ever blocks here, for then nobody could say what took effect: that is the model's part.
pub fn settings(seed: u64) -> (hoofbeat::broker::Settings, hoofbeat::session::Settings) {
    let mut random = Random::new(seed, u64::MAX);
    let r = &mut random;
    let broker = hoofbeat::broker::Settings {
        outbound: OutboundLimits {
            messages: 3 + r.below(10),
            bytes: 1_000 + r.below(4_000),
            patience_ms: 0,
            ..OutboundLimits::default()
        },
        queue: QueuePolicy {
            delivery_limit: r.pick(&[0, 1, 2, 3, 5]),
            idle_ms: 500 + r.next() % 2_000,
            // So little that most octets are on disk only.
            resident: r.pick(&[0, 300, 1_000, 1 << 20]),
            ..QueuePolicy::default()
        },
        ..hoofbeat::broker::Settings::default()
    };
    let session = hoofbeat::session::Settings {
        transaction_ms: 1_000_000_000,
        ..hoofbeat::session::Settings::default()
    };
    (broker, session)
}

impl World {
    /// The operation `number` of a run: what it does depends on this number, the seed and what has been before.
    pub fn operate(&mut self, seed: u64, number: u64) -> Result<(), Broken> {
        let mut random = Random::new(seed, number);
        let r = &mut random;
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
                // What it is told in its last words is of no use here.
                self.end(at);
            }
        }
        Ok(())
    }

    fn frame(&mut self, r: &mut Random, at: usize, number: u64) -> Result<(), Broken> {
        match r.below(100) {
            0..40 => self.send_one(r, at, number),
            40..55 => self.subscribe(r, at, number),
            55..85 => self.acknowledge(r, at, number),
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

    fn send_one(&mut self, r: &mut Random, at: usize, number: u64) -> Result<(), Broken> {
        let queue = r.pick(&QUEUES);
        let persistent = r.chance(75);
        let mut frame = Frame::new("SEND").with("destination", queue).with("n", number);
        let mut maybe = |percent: u64, name: &str, value: String| {
            if r.chance(percent) {
                frame.headers.push((name.to_owned(), value));
            }
        };
        maybe(20, "x-twice", "first: \\ of two".to_owned());
        maybe(20, "x-twice", "second".to_owned());
        maybe(10, "priority", (number % 10).to_string());
        let end = self.unix_ms() + number * 13 % 4_000;
        maybe(8, "expires", end.to_string());
        if persistent {
            frame.headers.push(("persistent".to_owned(), "true".to_owned()));
        }
        let padding = if r.chance(15) { r.below(700) } else { r.below(60) };
        let frame = frame.body(format!("{number} {}", "x".repeat(padding)));
        let open: Vec<String> = self.clients[at].open.keys().cloned().collect();
        let transaction = open.get(r.below(open.len())).filter(|_| r.chance(60)).cloned();
        let fact = Fact {
            sent: frame.clone(),
            queue: queue.to_owned(),
            persistent,
            receipted: false,
            sure: true,
            gone: Gone::No,
            seen: false,
            doubted: false,
            tries: 0,
            expires: frame.get("expires").and_then(|at| at.parse().ok()),
            order: transaction.is_none().then_some((self.clients[at].number, number)),
            transaction: None,
        };
        let receipt = r.chance(70);
        if let Some(id) = transaction {
            let frame = frame.with("transaction", &id);
            if self.send(at, &frame, Meaning::Nothing)? {
                self.clients[at].open.entry(id).or_default().sends.push((number, fact));
            }
            return Ok(());
        }
        // The fact is there before the frame: it may be delivered at once.
        self.promises.facts.insert(number, fact);
        let frame = if receipt {
            frame.with("receipt", format!("r{number}"))
        } else {
            frame
        };
        let went_on = self.send(at, &frame, Meaning::Sent(number))?;
        if !went_on {
            self.refused(&[number]);
        }
        match went_on || self.unwell {
            true => Ok(()),
            false => Err(format!("a SEND was refused: {frame:?}")),
        }
    }

    /// The session ended with the SEND of these messages, or already before it: nobody can say which.
    fn refused(&mut self, numbers: &[u64]) {
        self.mark("refused");
        self.promises.settled(numbers, Gone::Perhaps);
    }

    fn subscribe(&mut self, r: &mut Random, at: usize, number: u64) -> Result<(), Broken> {
        let queue = r.pick(&QUEUES);
        let queue = if r.chance(15) {
            dead_letters(queue)
        } else {
            queue.to_owned()
        };
        let mode = r.pick(&["auto", "client", "client-individual", "client-individual"]);
        let prefetch = 1 + r.below(6);
        if self.clients[at]
            .consumers
            .values()
            .filter(|consumer| consumer.live)
            .count()
            > 2
        {
            return Ok(());
        }
        self.subscribe_to(at, &format!("s{number}"), &queue, mode, prefetch)
    }

    fn subscribe_to(
        &mut self,
        at: usize,
        id: &str,
        queue: &str,
        mode: &'static str,
        prefetch: usize,
    ) -> Result<(), Broken> {
        let consumer = Consumer {
            queue: queue.to_owned(),
            mode,
            prefetch,
            live: true,
            loose: false,
            held: Vec::new(),
        };
        self.clients[at].consumers.insert(id.to_owned(), consumer);
        self.note_consumers(queue);
        let frame = Frame::new("SUBSCRIBE")
            .with("id", id)
            .with("destination", queue)
            .with("ack", mode)
            .with("prefetch-count", prefetch);
        match self.send(at, &frame, Meaning::Nothing)? || self.unwell {
            true => Ok(()),
            false => Err(format!("a SUBSCRIBE was refused: {frame:?}")),
        }
    }

    /// Settles something that a client holds.
    fn acknowledge(&mut self, r: &mut Random, at: usize, number: u64) -> Result<(), Broken> {
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
        let (mode, dead) = (consumer.mode, consumer.queue.contains("DLQ."));
        let (first, ack) = match mode {
            "client" => (0, consumer.held[which].0.clone()),
            _ => (which, consumer.held[which].0.clone()),
        };
        let nack = !dead && r.chance(30);
        let requeue = !(nack && r.chance(30));
        let frame = Frame::new(if nack { "NACK" } else { "ACK" });
        let mut frame = match version {
            2 => frame.with("id", &ack),
            _ => frame.with("message-id", &ack).with("subscription", &id),
        };
        if !requeue {
            frame = frame.with("requeue", "false");
        }
        let transaction = open
            .get(r.below(open.len()))
            .filter(|_| mode != "client" && !nack && r.chance(60))
            .cloned();
        let taken: Vec<(String, u64, u32)> = match self.clients[at].consumers.get_mut(&id) {
            Some(consumer) => consumer.held.drain(first..=which).collect(),
            None => Vec::new(),
        };
        let numbers: Vec<u64> = taken.iter().map(|(_, number, _)| *number).collect();
        if let Some(transaction) = transaction {
            self.mark("ACK in a transaction");
            let frame = frame.with("transaction", &transaction);
            if self.send(at, &frame, Meaning::Nothing)? {
                let open = self.clients[at].open.entry(transaction).or_default();
                open.acks.extend(taken.into_iter().map(|held| (id.clone(), held)));
            }
            return Ok(());
        }
        let meaning = match nack {
            false => Meaning::Acked(numbers.clone()),
            true => Meaning::Nacked(taken.iter().map(|(_, number, count)| (*number, *count)).collect()),
        };
        let receipt = r.chance(60);
        let frame = if receipt {
            frame.with("receipt", format!("r{number}"))
        } else {
            frame
        };
        if !nack {
            self.promises.settled(&numbers, Gone::Now);
        }
        let went_on = self.send(at, &frame, meaning)?;
        if !went_on && !nack {
            self.promises.settled(&numbers, Gone::Perhaps);
        }
        match went_on || self.unwell {
            true => Ok(()),
            false => Err(format!("an acknowledgement was refused: {frame:?}")),
        }
    }

    fn unsubscribe(&mut self, r: &mut Random, at: usize, number: u64) -> Result<(), Broken> {
        let live = self.clients[at].consumers.iter().filter(|(_, consumer)| consumer.live);
        let live: Vec<String> = live.map(|(id, _)| id.clone()).collect();
        let Some(id) = live.get(r.below(live.len())).cloned() else {
            return Ok(());
        };
        let frame = Frame::new("UNSUBSCRIBE")
            .with("id", &id)
            .with("receipt", format!("r{number}"));
        self.send(at, &frame, Meaning::Nothing)?;
        // What was written before counts and may be acknowledged late.
        self.take(at, u64::MAX)?;
        if let Some(consumer) = self.clients[at].consumers.get_mut(&id) {
            consumer.live = false;
            let queue = consumer.queue.clone();
            self.note_consumers(&queue);
        }
        Ok(())
    }

    /// Commits or aborts a transaction.
    fn conclude(&mut self, r: &mut Random, at: usize, number: u64) -> Result<(), Broken> {
        let open: Vec<String> = self.clients[at].open.keys().cloned().collect();
        let Some(id) = open.get(r.below(open.len())).cloned() else {
            return Ok(());
        };
        let Some(open) = self.clients[at].open.remove(&id) else {
            return Ok(());
        };
        if r.chance(20) {
            self.mark("aborted");
            self.send(at, &Frame::new("ABORT").with("transaction", &id), Meaning::Nothing)?;
            for (consumer, held) in open.acks {
                if let Some(consumer) = self.clients[at].consumers.get_mut(&consumer) {
                    // Its credit was given to others meanwhile.
                    consumer.loose = true;
                    consumer.held.push(held);
                }
            }
            return Ok(());
        }
        let place = self.promises.transactions.len();
        let mut transaction = Transaction::default();
        for (number, mut fact) in open.sends {
            fact.transaction = Some(place);
            transaction.sends.push(number);
            self.promises.facts.insert(number, fact);
        }
        transaction.acks = open.acks.iter().map(|(_, (_, number, _))| *number).collect();
        self.promises.settled(&transaction.acks, Gone::Now);
        self.promises.transactions.push(transaction);
        let frame = Frame::new("COMMIT").with("transaction", &id);
        let frame = match r.chance(60) {
            true => frame.with("receipt", format!("r{number}")),
            false => frame,
        };
        self.mark("committed");
        let went_on = self.send(at, &frame, Meaning::Committed(place))?;
        if !went_on {
            let sends = self.promises.transactions[place].sends.clone();
            self.refused(&sends);
            let transaction = std::mem::take(&mut self.promises.transactions[place]);
            self.promises.settled(&transaction.acks, Gone::Perhaps);
        }
        match went_on || self.unwell {
            true => Ok(()),
            false => Err(format!("a COMMIT was refused: {frame:?}")),
        }
    }

    /// Everybody leaves; one comes and takes everything there is.
    pub fn drain(&mut self, r: &mut Random) -> Result<(), Broken> {
        self.log.push("  drain".to_owned());
        for at in self.live() {
            self.end(at);
        }
        self.settle()?;
        self.found.clear();
        let at = self.connect(r.pick(&[1, 2]))?;
        for queue in QUEUES {
            self.subscribe_to(at, queue, queue, "client-individual", 20)?;
            let dead = dead_letters(queue);
            self.subscribe_to(at, &dead, &dead, "client-individual", 20)?;
        }
        for turn in 0.. {
            self.settle()?;
            let mut acks = Vec::new();
            let version = self.clients[at].version;
            for (id, consumer) in &mut self.clients[at].consumers {
                for (ack, number, _) in consumer.held.drain(..) {
                    let frame = match version {
                        2 => Frame::new("ACK").with("id", ack),
                        _ => Frame::new("ACK").with("message-id", ack).with("subscription", id),
                    };
                    acks.push((frame.with("receipt", format!("drain{turn}-{number}")), number));
                }
            }
            if acks.is_empty() {
                break;
            }
            for (frame, number) in acks {
                self.promises.settled(&[number], Gone::Now);
                self.send(at, &frame, Meaning::Acked(vec![number]))?;
            }
        }
        let (found, now) = (std::mem::take(&mut self.found), self.unix_ms());
        self.promises.drained(&found, now)?;
        // What has expired goes when the clock comes by, at the latest.
        self.pass(5_000);
        self.settle()?;
        self.end(at);
        let sizes = self.broker.sizes();
        match (sizes.queued_messages, sizes.message_octets) {
            (0, 0) => Ok(()),
            left => Err(format!(
                "everything was taken out, and there are messages and octets left: {left:?}"
            )),
        }
    }

    /// At the end: nothing is left, here and after a last crash.
    pub fn finish(&mut self, seed: u64) -> Result<(), Broken> {
        let mut random = Random::new(seed, u64::MAX - 1);
        self.drain(&mut random)?;
        self.crash(&mut random)?;
        match self.recovered {
            0 => Ok(()),
            left => Err(format!(
                "everything was taken out with RECEIPT, and a start finds {left} messages"
            )),
        }
    }
}
