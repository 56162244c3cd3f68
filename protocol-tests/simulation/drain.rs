//! Everything is taken out: what is missing, what was there twice, what is left.

use std::collections::{BTreeMap, BTreeSet};

use crate::client::{Browse, Consumer, Meaning};
use crate::durable::There;
use crate::places::{durables, PLACES, QUEUES};
use crate::promises::{Broken, Gone, Key};
use crate::random::Random;
use crate::wire::Frame;
use crate::world::World;

/// One who takes everything.
fn taker(place: usize, dead: bool, since: u64) -> Consumer {
    Consumer {
        place,
        dead,
        mode: "client-individual",
        prefetch: 20,
        live: true,
        loose: false,
        held: Vec::new(),
        since,
        selector: None,
        alone: false,
        browse: None,
    }
}

impl World {
    /// Everybody leaves; some come and take everything there is.
    pub fn drain(&mut self, r: &mut Random) -> Result<(), Broken> {
        self.log.push("  drain".to_owned());
        for at in self.live() {
            self.end(at);
        }
        self.settle()?;
        let shown = match r.chance(40) {
            true => Some(self.look_at_all(r)?),
            false => None,
        };
        self.found.clear();
        let begun = self.now;
        self.take_from_all(r)?;
        let mut turn = 0;
        loop {
            let some = self.take_all(turn)?;
            turn += 1;
            if let (false, Some(shown)) = (some, &shown) {
                if self.now == begun {
                    self.compare_shown(shown)?;
                }
            }
            let later = self.promises.last_due().saturating_sub(self.unix_ms());
            match (some, later) {
                (true, _) => {}
                (false, 0) => break,
                (false, later) => self.pass(later),
            }
        }
        let (found, now) = (std::mem::take(&mut self.found), self.unix_ms());
        self.promises.drained(&found, now)?;
        self.bounded = true;
        self.remove_some(r)?;
        // What has expired goes when the clock comes by, at the latest.
        self.pass(5_000);
        self.settle()?;
        for at in self.live() {
            self.end(at);
        }
        self.forget_durables()?;
        let sizes = self.broker.sizes();
        match (sizes.queued_messages, sizes.message_octets) {
            (0, 0) => Ok(()),
            left => Err(format!(
                "everything was taken out, and there are messages and octets left: {left:?}"
            )),
        }
    }

    /// Subscribes to everything, sometimes twice, or by selectors that match all messages together.
    fn take_from_all(&mut self, r: &mut Random) -> Result<(), Broken> {
        let mut takers = vec![self.connect(r.pick(&[1, 2]))?];
        if r.chance(40) {
            takers.push(self.connect(r.pick(&[1, 2]))?);
        }
        let by_selector = takers.len() > 1 && r.chance(40);
        for (number, at) in takers.clone().into_iter().enumerate() {
            for place in 0..PLACES.len() {
                let id = format!("dead{place}");
                self.subscribe_to(at, &id, taker(place, true, self.operation))?;
                if place < QUEUES {
                    let consumer = Consumer {
                        selector: by_selector.then_some(number),
                        ..taker(place, false, self.operation)
                    };
                    self.subscribe_to(at, &format!("from{place}"), consumer)?;
                }
            }
        }
        for place in durables() {
            if self.durables.there(place) == There::No {
                continue;
            }
            // Alone, as it may be one too many.
            let at = self.connect(r.pick(&[1, 2]))?;
            let id = PLACES[place].id.unwrap_or("own");
            if !self.subscribe_durably(at, id, taker(place, false, self.operation), None)? {
                self.end(at);
            }
        }
        Ok(())
    }

    /// Acknowledges what has come; whether anything had.
    fn take_all(&mut self, turn: usize) -> Result<bool, Broken> {
        self.settle()?;
        let mut acks = Vec::new();
        for at in self.live() {
            let client = &mut self.clients[at];
            for (id, consumer) in &mut client.consumers {
                for (ack, key, _) in consumer.held.drain(..) {
                    let frame = match client.version {
                        2 => Frame::new("ACK").with("id", ack),
                        _ => Frame::new("ACK").with("message-id", ack).with("subscription", id),
                    };
                    let receipt = format!("drain{turn}-{key:?}");
                    acks.push((at, frame.with("receipt", receipt), key));
                }
            }
        }
        let some = !acks.is_empty();
        for (at, frame, key) in acks {
            self.promises.settled(&[key], Gone::Now);
            self.send(at, &frame, Meaning::Acked(vec![key]))?;
        }
        Ok(some)
    }

    /// Looks at all queues without taking anything; what there is to be seen.
    fn look_at_all(&mut self, r: &mut Random) -> Result<BTreeSet<Key>, Broken> {
        self.mark("looked at all");
        let at = self.connect(r.pick(&[1, 2]))?;
        for place in 0..PLACES.len() {
            for dead in [false, true] {
                if !dead && place >= QUEUES {
                    continue;
                }
                let consumer = Consumer {
                    browse: Some(Browse::new(&self.promises, place)),
                    ..taker(place, dead, self.operation)
                };
                self.subscribe_to(at, &format!("look{place}{dead}"), consumer)?;
            }
        }
        self.settle()?;
        let browses = self.clients[at].consumers.values().filter_map(|c| c.browse.as_ref());
        let shown = browses.flat_map(|browse| browse.seen.iter().copied()).collect();
        self.end(at);
        self.settle()?;
        Ok(shown)
    }

    /// What was shown was there to be taken, and nothing else.
    fn compare_shown(&self, shown: &BTreeSet<Key>) -> Result<(), Broken> {
        let queues = |key: &&Key| key.1 < QUEUES;
        if let Some(key) = shown.iter().filter(queues).find(|key| !self.found.contains_key(key)) {
            return Err(format!("message {key:?} was shown, and is not there"));
        }
        let now = self.unix_ms();
        let lasts = |key: &&Key| self.promises.facts[key].expires.is_none_or(|at| at > now);
        let mut there = self.found.keys().filter(queues).filter(lasts);
        match there.find(|key| !shown.contains(key)) {
            Some(key) => Err(format!("message {key:?} is there, and was not shown")),
            None => Ok(()),
        }
    }

    /// Removes some durable subscriptions, which are empty now.
    fn remove_some(&mut self, r: &mut Random) -> Result<(), Broken> {
        let having: BTreeMap<usize, usize> = self
            .live()
            .into_iter()
            .flat_map(|at| durables().map(move |place| (place, at)))
            .filter(|(place, at)| self.clients[*at].consumer_of(*place).is_some())
            .collect();
        for (place, at) in having {
            if r.chance(50) {
                self.remove_durable(at, place, Some(format!("remove{place}")))?;
            }
        }
        Ok(())
    }

    /// Nobody is there: after their time all durable subscriptions are gone, and never are there more than were made.
    fn forget_durables(&mut self) -> Result<(), Broken> {
        let (least, most) = self.durables.others(usize::MAX);
        let count = self.broker.sizes().durable_subscriptions;
        if count < least || count > most {
            return Err(format!(
                "there are {count} durable subscriptions, and should be {least} to {most}"
            ));
        }
        let after = self.settings.durable.expires_ms;
        if after == 0 || most == 0 {
            return Ok(());
        }
        self.pass(after + 1);
        for place in durables() {
            self.durables.is_forgotten(place);
        }
        self.mark("durable: forgotten");
        match self.broker.sizes().durable_subscriptions {
            0 => Ok(()),
            left => Err(format!("{left} durable subscriptions should have been forgotten")),
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
