//! What clients send, and what became of it as far as they are told.

use crate::client::{Draft, Meaning, Open};
use crate::durable::There;
use crate::places::{durables, keeps, BLOCKING, GROUPED, LIMITED, MORTAL, PLACES, QUEUES, REJECTING};
use crate::promises::{Broken, Fact, Gone, Key, Transaction};
use crate::random::Random;
use crate::wire::Frame;
use crate::world::World;

impl World {
    pub fn send_one(&mut self, r: &mut Random, at: usize, number: u64) -> Result<(), Broken> {
        let (to, fact) = self.next_message(r, at, number);
        let open: Vec<String> = self.clients[at].open.keys().cloned().collect();
        let transaction = open.get(r.below(open.len())).filter(|_| r.chance(60)).cloned();
        let receipt = r.chance(70) || to == Some(BLOCKING);
        if let Some(id) = transaction {
            let frame = fact.sent.clone().with("transaction", &id);
            let fact = Fact { order: None, ..fact };
            if self.send(at, &frame, Meaning::Nothing)? {
                self.clients[at].open.entry(id).or_default().sends.push((number, fact));
            }
            return Ok(());
        }
        // The facts are there before the frame: it may be delivered at once.
        let frame = fact.sent.clone();
        let keys = self.note_sent((number, fact), None, false);
        if !receipt {
            let went_on = self.send(at, &frame, Meaning::Sent(keys.clone()))?;
            return self.sent(at, went_on, &frame, &keys);
        }
        let id = format!("r{number}");
        if to == Some(BLOCKING) {
            self.clients[at].waits = Some(id.clone());
        }
        let frame = frame.with("receipt", id);
        let went_on = self.send(at, &frame, Meaning::Sent(keys.clone()))?;
        self.sent(at, went_on, &frame, &keys)
    }

    /// Some message, and the queue it is for, if it is for one.
    fn next_message(&mut self, r: &mut Random, at: usize, number: u64) -> (Option<usize>, Fact) {
        let place = match r.below(100) {
            0..52 => Some(r.pick(&[0, GROUPED, GROUPED, 2])),
            52..60 => Some(LIMITED),
            60..68 => Some(MORTAL),
            68..75 => Some(REJECTING),
            75..82 => Some(BLOCKING),
            _ => None,
        };
        let destination = place.map_or_else(|| r.pick(&["/topic/a", "/topic/b"]), |place| PLACES[place].name);
        let persistent = r.chance(75);
        let mut frame = Frame::new("SEND").with("destination", destination).with("n", number);
        let mut maybe = |percent: u64, name: &str, value: String| {
            if r.chance(percent) {
                frame.headers.push((name.to_owned(), value));
            }
        };
        maybe(20, "x-twice", "first: \\ of two".to_owned());
        maybe(20, "x-twice", "second".to_owned());
        maybe(10, "priority", (number % 10).to_string());
        maybe(60, "kind", if number.is_multiple_of(2) { "a" } else { "b" }.to_owned());
        let end = self.unix_ms() + number * 13 % 4_000;
        maybe(if place == Some(MORTAL) { 50 } else { 8 }, "expires", end.to_string());
        let delay = 1 + number * 17 % 3_000;
        if place.is_some() {
            maybe(5, "x-delay", delay.to_string());
            maybe(3, "AMQ_SCHEDULED_DELAY", delay.to_string());
        }
        if place.is_some_and(|place| place < 2) {
            maybe(
                if place == Some(GROUPED) { 60 } else { 20 },
                "JMSXGroupID",
                ["g", "g", "h", "ends"][number as usize % 4].to_owned(),
            );
            maybe(10, "JMSXGroupSeq", "-1".to_owned());
            // Only one group is ever ended.
            let ends = frame.is("JMSXGroupID", "ends");
            frame.headers.retain(|(name, _)| ends || name != "JMSXGroupSeq");
        }
        if persistent {
            frame.headers.push(("persistent".to_owned(), "true".to_owned()));
        }
        if place == Some(LIMITED) {
            let options = PLACES[LIMITED].headers.iter();
            frame
                .headers
                .extend(options.map(|(n, v)| ((*n).to_owned(), (*v).to_owned())));
        }
        let padding = if r.chance(15) { r.below(700) } else { r.below(60) };
        let frame = frame.body(format!("{number} {}", "x".repeat(padding)));
        let delayed = frame.get("x-delay").or(frame.get("AMQ_SCHEDULED_DELAY")).is_some();
        let due = if delayed { self.unix_ms() + delay } else { 0 };
        let own = frame.get("expires").and_then(|at| at.parse().ok());
        let limit = place.map_or(0, |place| self.policy(place).ttl_ms);
        let limit = (limit > 0).then(|| self.unix_ms() + limit);
        let fact = Fact {
            persistent,
            receipted: false,
            sure: true,
            gone: Gone::No,
            seen: false,
            dead: false,
            rejected: false,
            doubted: false,
            tries: 0,
            expires: own.into_iter().chain(limit).min(),
            due_as_sent: due,
            due,
            due_for_good: due,
            due_at_last: due,
            order: (!delayed).then_some((self.clients[at].number, number)),
            transaction: None,
            sent: frame,
        };
        (place, fact)
    }

    /// Notes a message wherever it is kept from now on; `later` if it may be sent when subscriptions have been made.
    fn note_sent(&mut self, (number, fact): Draft, transaction: Option<usize>, later: bool) -> Vec<Key> {
        let destination = fact.sent.get("destination").unwrap_or_default();
        let queues = (0..QUEUES).filter(|place| PLACES[*place].name == destination);
        let queues: Vec<usize> = queues.collect();
        let subscribed = durables().filter(|place| keeps(*place, &fact.sent));
        let subscribed: Vec<usize> = subscribed
            .filter(|place| later || self.durables.there(*place) != There::No)
            .collect();
        let mut keys = Vec::new();
        for place in queues.into_iter().chain(subscribed) {
            let sure = place < QUEUES || self.durables.there(place) == There::Yes;
            let fact = Fact {
                sure,
                gone: if sure { Gone::No } else { Gone::Perhaps },
                transaction,
                ..fact.clone()
            };
            self.promises.facts.insert((number, place), fact);
            keys.push((number, place));
        }
        keys
    }

    /// A SEND was taken, or the session ended with it.
    fn sent(&mut self, at: usize, went_on: bool, frame: &Frame, keys: &[Key]) -> Result<(), Broken> {
        if went_on {
            return Ok(());
        }
        if self.was_refused(at, frame, &[REJECTING])? {
            self.promises.settled(keys, Gone::Yes);
            return Ok(());
        }
        self.mark("refused");
        self.promises.settled(keys, Gone::Perhaps);
        match self.unwell {
            true => Ok(()),
            false => Err(format!("a SEND was refused: {frame:?}")),
        }
    }

    /// Whether the session ended because one of these queues, to which all that was refused goes, is full; and it is.
    fn was_refused(&mut self, at: usize, frame: &Frame, places: &[usize]) -> Result<bool, Broken> {
        let error = self.last_words(at)?.filter(|error| error.is("code", "queue-full"));
        let Some(error) = error.filter(|error| error.get("receipt-id") == frame.get("receipt")) else {
            return Ok(false);
        };
        let named = |place: &&usize| error.is("destination", PLACES[**place].name);
        let Some(place) = places.iter().find(named).copied() else {
            return Ok(false);
        };
        self.mark("refused for good");
        let (length, most) = (self.length(place), self.policy(place).messages);
        let more = match frame.command.as_str() {
            "COMMIT" => 100,
            _ => 1,
        };
        match length + more > most {
            true => Ok(true),
            false => Err(format!("refused with {length} of {most} messages: {frame:?}")),
        }
    }

    /// Commits or aborts a transaction.
    pub fn conclude(&mut self, r: &mut Random, at: usize, number: u64) -> Result<(), Broken> {
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
        let blocks = |(_, fact): &Draft| fact.sent.is("destination", PLACES[BLOCKING].name);
        let blocking = open.sends.iter().any(blocks);
        let place = self.note_commit(open, blocking);
        let frame = Frame::new("COMMIT").with("transaction", &id);
        let receipt = format!("r{number}");
        let frame = match blocking || r.chance(60) {
            true => frame.with("receipt", &receipt),
            false => frame,
        };
        self.clients[at].waits = blocking.then_some(receipt);
        self.mark("committed");
        let went_on = self.send(at, &frame, Meaning::Committed(place))?;
        if went_on {
            return Ok(());
        }
        if self.was_refused(at, &frame, &[REJECTING])? {
            self.mark("COMMIT refused for good");
            self.promises.refuse_commit(place);
            return Ok(());
        }
        let transaction = std::mem::take(&mut self.promises.transactions[place]);
        self.mark("refused");
        self.promises.settled(&transaction.sends, Gone::Perhaps);
        self.promises.settled(&transaction.acks, Gone::Perhaps);
        match self.unwell {
            true => Ok(()),
            false => Err(format!("a COMMIT was refused: {frame:?}")),
        }
    }

    /// Notes what a COMMIT, which may wait for room, sends and settles; where it stands among all.
    pub fn note_commit(&mut self, open: Open, waits: bool) -> usize {
        let place = self.promises.transactions.len();
        let mut transaction = Transaction {
            waits,
            ..Transaction::default()
        };
        for draft in open.sends {
            transaction.sends.extend(self.note_sent(draft, Some(place), waits));
        }
        transaction.acks = open.acks.iter().map(|(_, (_, key, _))| *key).collect();
        self.promises.settled(&transaction.acks, Gone::Now);
        self.promises.transactions.push(transaction);
        place
    }
}
