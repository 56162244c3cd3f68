//! Durable subscriptions: whether they are there, as far as clients can know; made, shared, left, removed, forgotten.

use std::collections::BTreeMap;

use crate::client::{Consumer, Meaning};
use crate::places::{durables, PLACES};
use crate::promises::Broken;
use crate::random::Random;
use crate::wire::Frame;
use crate::world::World;

/// Whether a durable subscription is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum There {
    #[default]
    No,
    Perhaps,
    Yes,
}

#[derive(Clone, Debug, Default)]
struct Durable {
    there: There,
    /// A RECEIPT said so.
    for_good: bool,
    /// It was removed or may have been, and no RECEIPT has said so: a crash may bring it back.
    removing: bool,
    /// How often it was subscribed.
    times: u32,
    /// Since when nobody takes its messages, on the world's clock.
    unused: Option<u64>,
}

#[derive(Debug, Default)]
pub struct Durables(BTreeMap<usize, Durable>);

impl Durables {
    pub fn there(&self, place: usize) -> There {
        self.0.get(&place).map_or(There::No, |durable| durable.there)
    }

    /// How many there are without `place`, at least and at most.
    pub fn others(&self, place: usize) -> (usize, usize) {
        let others = || self.0.iter().filter(|(own, _)| **own != place);
        let sure = others().filter(|(_, durable)| durable.there == There::Yes).count();
        let no = others().filter(|(_, durable)| durable.there == There::No).count();
        (sure, others().count() - no)
    }

    /// A SUBSCRIBE was taken; how many of it have been.
    pub fn subscribed(&mut self, place: usize) -> u32 {
        let durable = self.0.entry(place).or_default();
        durable.for_good &= durable.there == There::Yes;
        durable.there = There::Yes;
        durable.times += 1;
        durable.times
    }

    pub fn receipted(&mut self, place: usize, times: u32) {
        let durable = self.0.entry(place).or_default();
        // Of one that was removed and made again since, it says nothing.
        if durable.times == times && durable.there == There::Yes {
            durable.for_good = true;
            durable.removing = false;
        }
    }

    /// A SUBSCRIBE was refused as one too many: there is none, until a crash brings back one that was removed.
    pub fn is_not_there(&mut self, place: usize) {
        let durable = self.0.entry(place).or_default();
        *durable = Durable {
            removing: durable.removing,
            times: durable.times,
            ..Durable::default()
        };
    }

    /// It may have been removed, and that may be on disk or not.
    fn may_be_removed(&mut self, place: usize) {
        let durable = self.0.entry(place).or_default();
        durable.there = There::Perhaps;
        durable.removing = true;
    }

    /// Nobody has taken its messages for too long.
    pub fn is_forgotten(&mut self, place: usize) {
        if self.there(place) != There::No {
            self.removed(place);
        }
    }

    /// It was removed, which no RECEIPT has said yet.
    pub fn removed(&mut self, place: usize) {
        let durable = self.0.entry(place).or_default();
        *durable = Durable {
            removing: true,
            times: durable.times,
            ..Durable::default()
        };
    }

    pub fn removed_for_good(&mut self, place: usize, times: u32) {
        let durable = self.0.entry(place).or_default();
        // Of one that was made and removed again since, it says nothing.
        durable.removing &= durable.times != times;
    }

    /// How often it was subscribed.
    pub fn times(&self, place: usize) -> u32 {
        self.0.get(&place).map_or(0, |durable| durable.times)
    }

    /// So many take its messages now.
    pub fn used(&mut self, place: usize, consumers: usize, now: u64) {
        if let Some(durable) = self.0.get_mut(&place) {
            durable.unused = (consumers == 0).then(|| durable.unused.unwrap_or(now));
        }
    }

    /// Those that may have been forgotten because nobody took their messages.
    pub fn expire(&mut self, after: u64, now: u64) -> Vec<usize> {
        let over = |durable: &Durable| durable.unused.is_some_and(|since| since + after <= now);
        let mut expired = Vec::new();
        for (place, durable) in &mut self.0 {
            if after > 0 && durable.there == There::Yes && over(durable) {
                durable.there = There::Perhaps;
                durable.removing = true;
                expired.push(*place);
            }
        }
        expired
    }

    /// Those that may not be there any more, or again, after a crash.
    pub fn crash(&mut self) -> Vec<usize> {
        let mut doubted = Vec::new();
        for (place, durable) in &mut self.0 {
            let known = durable.there == There::Yes && durable.for_good;
            if !known && (durable.there != There::No || durable.removing) {
                durable.there = There::Perhaps;
                durable.removing = false;
                doubted.push(*place);
            }
        }
        doubted
    }

    pub fn restart(&mut self) {
        for durable in self.0.values_mut() {
            durable.for_good = durable.there == There::Yes;
            durable.removing = false;
        }
    }

    pub fn start(&mut self, now: u64) {
        for durable in self.0.values_mut() {
            durable.unused = Some(now);
        }
    }
}

impl World {
    /// Subscribes to a durable subscription; whether it was taken.
    pub fn subscribe_durably(
        &mut self,
        at: usize,
        id: &str,
        consumer: Consumer,
        receipt: Option<String>,
    ) -> Result<bool, Broken> {
        let place = consumer.place;
        let (mode, prefetch) = (consumer.mode, consumer.prefetch);
        let mut frame = Frame::new("SUBSCRIBE")
            .with("id", id)
            .with("destination", PLACES[place].destination)
            .with("ack", mode)
            .with("prefetch-count", prefetch);
        for (name, value) in PLACES[place].headers {
            frame = frame.with(name, value);
        }
        if let Some(selector) = PLACES[place].selector {
            frame = frame.with("selector", crate::places::SELECTORS[selector].0);
        }
        let (there, limit) = (self.durables.there(place), self.settings.durable.subscriptions);
        let (least, most) = self.durables.others(place);
        let times = self.durables.subscribed(place);
        if let Some(receipt) = receipt {
            frame = frame.with("receipt", receipt);
        }
        self.clients[at].consumers.insert(id.to_owned(), consumer);
        self.note_consumers(place);
        if self.send(at, &frame, Meaning::Subscribed(place, times))? {
            if there != There::Yes && least >= limit {
                return Err(format!(
                    "there are {least} durable subscriptions, and {frame:?} made one more"
                ));
            }
            self.mark(match (there, self.consumers(place)) {
                (_, 2..) => "durable: shared",
                (There::Yes, _) => "durable: come back",
                _ => "durable: made",
            });
            return Ok(true);
        }
        let error = self.last_words(at)?;
        let too_many = error.is_some_and(|error| error.is("code", "too-many-subscriptions"));
        if too_many && there != There::Yes && most >= limit {
            self.mark("durable: too many");
            self.durables.is_not_there(place);
            return Ok(false);
        }
        match self.unwell {
            true if there == There::Yes => Ok(false),
            true => {
                self.durables.0.entry(place).or_default().there = There::Perhaps;
                self.promises.removed(place, false);
                Ok(false)
            }
            false => Err(format!("a SUBSCRIBE was refused: {frame:?}")),
        }
    }

    /// Removes a durable subscription, be there one of this client's or not.
    pub fn remove_durable(&mut self, at: usize, place: usize, receipt: Option<String>) -> Result<(), Broken> {
        let own = self.clients[at].consumer_of(place);
        let others = self.consumers(place) - usize::from(own.is_some());
        let mut frame = Frame::new("UNSUBSCRIBE");
        match own.as_deref().or(PLACES[place].id) {
            Some(id) => frame = frame.with("id", id),
            None => frame = frame.with("id", "another"),
        }
        frame = frame.with("destination", PLACES[place].destination);
        for (name, value) in PLACES[place].headers {
            frame = frame.with(name, value);
        }
        if let Some(receipt) = receipt {
            frame = frame.with("receipt", receipt);
        }
        // What was written is read before; the rest is dropped.
        self.take(at, u64::MAX)?;
        if self.clients[at].closing {
            return Ok(());
        }
        let was_there = self.durables.there(place) == There::Yes;
        // What is known to be gone with it is known before the RECEIPT is there to be read.
        let keys = match others {
            0 => self.promises.removed(place, was_there),
            _ => Vec::new(),
        };
        let times = self.durables.times(place);
        let went_on = self.send(at, &frame, Meaning::Removed(place, times, keys.clone()))?;
        if let (false, 1..) = (went_on, others) {
            let error = self.last_words(at)?;
            return match self.unwell || error.is_some_and(|error| error.is("code", "not-owner")) {
                true => {
                    self.mark("durable: in use");
                    Ok(())
                }
                false => Err(format!("{others} others use it: {frame:?}")),
            };
        }
        if others > 0 {
            return Err(format!("it was removed although {others} others use it: {frame:?}"));
        }
        if !went_on && !self.unwell {
            return Err(format!("an UNSUBSCRIBE was refused: {frame:?}"));
        }
        if !went_on {
            self.promises.settled(&keys, crate::promises::Gone::Perhaps);
            self.durables.may_be_removed(place);
            return Ok(());
        }
        self.mark("durable: removed");
        self.durables.removed(place);
        let client = &mut self.clients[at];
        client
            .consumers
            .retain(|_, consumer| consumer.place != place || consumer.dead);
        self.note_consumers(place);
        for client in &mut self.clients {
            // Late acknowledgements have nothing to settle any more.
            for consumer in client.consumers.values_mut() {
                consumer.held.retain(|(_, key, _)| key.1 != place || consumer.dead);
            }
            for open in client.open.values_mut() {
                open.acks.retain(|(_, (_, key, _))| key.1 != place);
            }
        }
        Ok(())
    }

    /// One of the client's frames about durable subscriptions.
    pub fn durable_frame(&mut self, r: &mut Random, at: usize, number: u64) -> Result<(), Broken> {
        let place = durables().start + r.below(durables().len());
        let receipt = r.chance(80).then(|| format!("r{number}"));
        let own = self.clients[at].consumer_of(place);
        if r.chance(12) && (own.is_some() || self.durables.there(place) == There::Yes) {
            return self.remove_durable(at, place, receipt);
        }
        let id = PLACES[place].id.map_or(format!("s{number}"), str::to_owned);
        if own.is_some() || self.is_crowded(at) {
            return Ok(());
        }
        let consumer = Consumer {
            place,
            dead: false,
            mode: r.pick(&["auto", "client", "client-individual"]),
            prefetch: 1 + r.below(6),
            live: true,
            loose: false,
            held: Vec::new(),
            since: number,
            selector: None,
            alone: false,
            browse: None,
        };
        self.subscribe_durably(at, &id, consumer, receipt).map(drop)
    }
}
