//! What was promised, message by message, as far as clients can know it; and whether a MESSAGE breaks any of it.

use std::collections::{BTreeMap, BTreeSet};

use crate::places::{buries_expired, dead_letters, LIMITED, PLACES};
use crate::wire::Frame;

/// What a broken promise is told with.
pub type Broken = String;

/// A message in one place: the number in its header `n`, and which of the places.
pub type Key = (u64, usize);

/// Whether a message is still there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gone {
    No,
    /// It was settled, and that has no RECEIPT: until the next crash.
    Now,
    /// It may be or not.
    Perhaps,
    /// For ever.
    Yes,
}

/// What is known of a message in one place.
#[derive(Clone, Debug)]
pub struct Fact {
    pub sent: Frame,
    pub persistent: bool,
    /// Its SEND, or the COMMIT it was in, has its RECEIPT.
    pub receipted: bool,
    /// It is there unless something that is written here took it away.
    pub sure: bool,
    pub gone: Gone,
    /// A client took its whole frame, not from the dead-letter queue.
    pub seen: bool,
    /// A client took it from the dead-letter queue, and no crash may have undone that it went there.
    pub dead: bool,
    /// A client did not want it any more.
    pub rejected: bool,
    /// Crashes since it was sent: what was handed out before one is in doubt.
    pub doubted: bool,
    /// Failed tries with RECEIPT.
    pub tries: u32,
    /// When it may have expired, in milliseconds since 1970.
    pub expires: Option<u64>,
    /// Nobody is shown it before, in milliseconds since 1970, as its SEND said.
    pub due_as_sent: u64,
    /// Nobody is given it before; as far as that outlives a crash; and if all of it does.
    pub due: u64,
    pub due_for_good: u64,
    pub due_at_last: u64,
    /// Place in the order of its publisher; `None` in a transaction, or with a delay.
    pub order: Option<(usize, u64)>,
    pub transaction: Option<usize>,
}

impl Fact {
    fn may_have_expired(&self, now: u64) -> bool {
        self.expires.is_some_and(|at| at <= now)
    }

    /// The group whose messages go to one consumer for good. The messages of `ends` may end it.
    pub fn group(&self) -> Option<&str> {
        self.sent.get("JMSXGroupID").filter(|group| *group != "ends")
    }

    /// Whether it may be a dead letter already.
    fn may_be_dead(&self) -> bool {
        self.seen || self.dead || self.doubted || self.rejected
    }
}

/// A COMMIT whose RECEIPT has not come.
#[derive(Clone, Debug, Default)]
pub struct Transaction {
    pub sends: Vec<Key>,
    pub acks: Vec<Key>,
    /// It may wait for room: until then it has no effect, and what it sends to a topic goes to those who are there then.
    pub waits: bool,
    /// It counts, or it does not; `None` as long as nobody can tell.
    pub counts: Option<bool>,
    /// It was asked for when the broker crashed, or when its client went.
    pub doubted: bool,
    /// The broker has crashed since.
    pub crashed: bool,
}

/// Whose order it is: the place, the publisher, the priority; and the group, if more than one consumer may have it.
type Row = (usize, usize, String, Option<String>);

#[derive(Debug, Default)]
pub struct Promises {
    pub facts: BTreeMap<Key, Fact>,
    pub transactions: Vec<Transaction>,
    /// The last in order, among never-redelivered ones, since a place had no consumer.
    last: BTreeMap<Row, u64>,
    /// Places that have had more than one consumer at a time: there the order is each consumer's own.
    pub shared: BTreeSet<usize>,
    /// Places that have had a consumer with a selector, or one that wants to be alone: groups may move.
    pub mixed: BTreeSet<usize>,
}

/// A MESSAGE as one of the places gave it.
pub struct Given<'a> {
    pub frame: &'a Frame,
    pub place: usize,
    /// From the dead-letter queue of the place.
    pub dead: bool,
    /// Milliseconds since 1970.
    pub now: u64,
}

impl Given<'_> {
    fn wrong<T>(&self, what: &str) -> Result<T, Broken> {
        Err(format!("{what}: {:?}", self.frame))
    }

    /// What it is, if it was ever sent there, and as it was sent.
    pub fn key(&self, facts: &BTreeMap<Key, Fact>) -> Result<Key, Broken> {
        let number: Option<u64> = self.frame.get("n").and_then(|n| n.parse().ok());
        let key = (number.unwrap_or(u64::MAX), self.place);
        let Some(fact) = facts.get(&key) else {
            return self.wrong("a message that nobody sent, or not there");
        };
        let destination = match self.dead {
            true => dead_letters(self.place),
            false => fact.sent.get("destination").unwrap_or_default().to_owned(),
        };
        if !self.frame.is("destination", &destination) {
            return self.wrong("it was sent elsewhere");
        }
        if self.frame.body != fact.sent.body || !has_all(self.frame, &fact.sent) {
            return self.wrong("it was sent with other headers or another body");
        }
        if !self.dead && self.now < fact.due_as_sent {
            return self.wrong("it comes before its time");
        }
        Ok(key)
    }
}

impl Promises {
    /// A MESSAGE was taken by a client. What it is.
    pub fn delivered(&mut self, given: &Given<'_>) -> Result<Key, Broken> {
        let key = given.key(&self.facts)?;
        let (place, dead, frame) = (given.place, given.dead, given.frame);
        let Some(fact) = self.facts.get_mut(&key) else {
            return given.wrong("nobody knows it");
        };
        if matches!(fact.gone, Gone::Now | Gone::Yes) {
            return given.wrong("it is back, although it was settled");
        }
        // What would have settled it came to nothing.
        fact.gone = Gone::No;
        match dead {
            true => fact.dies(given)?,
            false => fact.lives(given)?,
        }
        let redelivered = frame.is("redelivered", "true");
        if let (Some((publisher, order)), false, false) = (fact.order, redelivered, dead) {
            let priority = fact.sent.get("priority").unwrap_or("4").to_owned();
            let group = fact.group().filter(|_| !self.mixed.contains(&place));
            let rows = [
                (!self.shared.contains(&place)).then_some(None),
                group.map(|group| Some(group.to_owned())),
            ];
            for row in rows.into_iter().flatten() {
                let row = (place, publisher, priority.clone(), row);
                let last = self.last.entry(row).or_default();
                if order < *last {
                    return given.wrong("a later one of its publisher came before it");
                }
                *last = order;
            }
        }
        fact.seen |= !dead;
        // A transient one is handed out before the others of its COMMIT are on disk, and does not outlive a crash.
        let transaction = fact.transaction.filter(|_| fact.persistent);
        if let Some(transaction) = transaction {
            self.evidence(transaction, true, key)?;
        }
        self.not_settled(key)?;
        Ok(key)
    }

    /// The transaction that may have settled the message has not.
    fn not_settled(&mut self, key: Key) -> Result<(), Broken> {
        for at in 0..self.transactions.len() {
            let transaction = &self.transactions[at];
            if transaction.doubted && transaction.acks.contains(&key) {
                self.evidence(at, false, key)?;
            }
        }
        Ok(())
    }

    /// Something shows whether a transaction counts.
    pub fn evidence(&mut self, at: usize, counts: bool, key: Key) -> Result<(), Broken> {
        let Some(transaction) = self.transactions.get_mut(at).filter(|t| t.doubted) else {
            return Ok(());
        };
        match transaction.counts {
            Some(known) if known != counts => Err(format!(
                "a part of a transaction counts and a part does not: message {key:?} says {counts}: {transaction:?}"
            )),
            _ => {
                transaction.counts = Some(counts);
                Ok(())
            }
        }
    }

    /// A place has no consumer (any more): the order begins anew.
    pub fn nobody_consumes(&mut self, place: usize) {
        self.shared.remove(&place);
        self.mixed.remove(&place);
        self.last.retain(|(of, ..), _| *of != place);
    }

    /// The RECEIPT of messages came.
    pub fn receipted(&mut self, keys: &[Key]) {
        for key in keys {
            if let Some(fact) = self.facts.get_mut(key) {
                fact.receipted = true;
            }
        }
    }

    /// Messages were settled.
    pub fn settled(&mut self, keys: &[Key], gone: Gone) {
        for key in keys {
            if let Some(fact) = self.facts.get_mut(key).filter(|fact| fact.gone != Gone::Yes) {
                fact.gone = gone;
            }
        }
    }

    /// Messages that may be there or not.
    pub fn doubt(&mut self, keys: &[Key]) {
        for key in keys {
            if let Some(fact) = self.facts.get_mut(key).filter(|fact| fact.gone == Gone::No) {
                fact.gone = Gone::Perhaps;
            }
        }
    }

    /// A COMMIT whose client went while it waited for room: all of it counts, or nothing.
    pub fn doubt_commit(&mut self, at: usize) {
        let Transaction { sends, acks, .. } = self.transactions[at].clone();
        for key in sends {
            if let Some(fact) = self.facts.get_mut(&key) {
                fact.sure = false;
            }
        }
        self.settled(&acks, Gone::Perhaps);
        self.transactions[at].doubted = true;
        self.transactions[at].waits = false;
    }

    /// A COMMIT that was refused counts for nothing.
    pub fn refuse_commit(&mut self, at: usize) {
        let Transaction { sends, acks, .. } = self.transactions[at].clone();
        self.settled(&sends, Gone::Yes);
        self.settled(&acks, Gone::No);
        self.transactions[at].counts = Some(false);
    }

    /// The durable subscription was removed (or perhaps), with what was in it. Which messages cannot be anywhere else.
    pub fn removed(&mut self, place: usize, for_sure: bool) -> Vec<Key> {
        let mut gone = Vec::new();
        for (key, fact) in &mut self.facts {
            if key.1 != place || fact.gone == Gone::Yes {
                continue;
            }
            // If it is not there, that says nothing of what else may have taken it away.
            fact.sure = false;
            if fact.gone != Gone::No {
                continue;
            }
            let transactions = &self.transactions;
            // It may come to the next of that name.
            let comes_yet = fact.transaction.is_some_and(|at| transactions[at].may_come());
            // A dead letter outlives the subscription.
            match for_sure && !comes_yet && !fact.may_be_dead() {
                true => {
                    fact.gone = Gone::Now;
                    gone.push(*key);
                }
                false => fact.gone = Gone::Perhaps,
            }
        }
        gone
    }

    /// The broker stopped as it should: transient messages are gone, everything else is kept.
    pub fn restart(&mut self) {
        for fact in self.facts.values_mut() {
            fact.sure &= fact.persistent;
            fact.due_for_good = fact.due;
            if fact.gone == Gone::Now && fact.persistent {
                fact.gone = Gone::Yes;
            }
        }
        self.last.clear();
        self.shared.clear();
        self.mixed.clear();
    }

    /// The broker crashed: what was not promised for good is in doubt.
    pub fn crash(&mut self) {
        for fact in self.facts.values_mut() {
            fact.doubted = true;
            fact.dead = false;
            fact.sure &= fact.persistent && fact.receipted;
            fact.due = fact.due_for_good;
            if fact.gone == Gone::Now {
                fact.gone = Gone::Perhaps;
            }
        }
        for transaction in &mut self.transactions {
            if transaction.counts == Some(true) && transaction.doubted && !transaction.crashed {
                // What was handed out before may not have been on disk. That it was dropped is for good: what it
                // would have settled was given to others, who may have settled it since.
                transaction.counts = None;
            }
            transaction.doubted |= transaction.counts.is_none();
            transaction.crashed |= transaction.doubted;
        }
        self.last.clear();
        self.shared.clear();
        self.mixed.clear();
    }

    /// When the last of those that may be there can be delivered, in milliseconds since 1970.
    pub fn last_due(&self) -> u64 {
        let there = self.facts.values().filter(|fact| fact.gone != Gone::Yes);
        there.map(|fact| fact.due_at_last).max().unwrap_or_default()
    }

    /// Everything that was there has been taken: `found` says how often each. What is missing, and what was there twice.
    pub fn drained(&mut self, found: &BTreeMap<Key, u32>, now: u64) -> Result<(), Broken> {
        for (key, times) in found {
            if *times > 1 {
                return Err(format!("message {key:?} was there {times} times"));
            }
        }
        let excused = |key: &Key, fact: &Fact| fact.may_have_expired(now) && !buries_expired(key.1);
        let missing: Vec<Key> = self
            .facts
            .iter()
            .filter(|(key, fact)| !found.contains_key(key) && !excused(key, fact))
            .filter(|(_, fact)| !matches!(fact.gone, Gone::Now | Gone::Yes))
            .map(|(key, _)| *key)
            .collect();
        for key in missing {
            let fact = &self.facts[&key];
            if fact.sure && fact.gone == Gone::No {
                let name = PLACES[key.1].name;
                return Err(format!("message {key:?} is lost: in {name}: {fact:?}"));
            }
            // What is not there and was not settled otherwise speaks for or against the transactions it was in.
            let (transaction, sure) = (fact.transaction.filter(|_| fact.persistent), fact.sure);
            let acked_by = self
                .transactions
                .iter()
                .position(|t| t.is_open() && t.acks.contains(&key));
            match (transaction, acked_by) {
                (Some(at), None) if fact.gone == Gone::No => self.evidence(at, false, key)?,
                (None, Some(at)) if sure => self.evidence(at, true, key)?,
                _ => {}
            }
        }
        // What is not there now must not come any more either.
        for fact in self.facts.values_mut() {
            fact.gone = Gone::Yes;
        }
        Ok(())
    }
}

impl Fact {
    /// It came from where it was sent to.
    fn lives(&self, given: &Given<'_>) -> Result<(), Broken> {
        let redelivered = given.frame.is("redelivered", "true");
        if given.now < self.due {
            return given.wrong("it comes before its time");
        }
        if self.dead {
            return given.wrong("it is a dead letter, and came from where it had died");
        }
        if redelivered && !self.seen && !self.doubted {
            return given.wrong("nobody ever got it, and it has redelivered:true");
        }
        if !redelivered && self.seen {
            return given.wrong("it came before, and has no redelivered:true");
        }
        let count = given.frame.get("delivery-count").and_then(|n| n.parse().ok());
        match count.unwrap_or(1) <= self.tries {
            true => given.wrong(&format!("{} tries were receipted", self.tries)),
            false => Ok(()),
        }
    }

    /// It came from the dead-letter queue.
    fn dies(&mut self, given: &Given<'_>) -> Result<(), Broken> {
        self.dead = true;
        let why = given.frame.get("dead-letter-reason").unwrap_or_default();
        let may_be = match why {
            "rejected" => self.rejected,
            "delivery-limit" => self.seen || self.doubted,
            "expired" => buries_expired(given.place) && self.may_have_expired(given.now),
            "maxlen" => given.place == LIMITED,
            _ => false,
        };
        match may_be {
            true => Ok(()),
            false => given.wrong("it is dead without that reason"),
        }
    }
}

impl Transaction {
    /// Whether it may take effect later.
    fn may_come(&self) -> bool {
        self.waits && self.counts.is_none()
    }

    /// Whether nobody can tell yet what came of it.
    fn is_open(&self) -> bool {
        self.doubted && self.counts.is_none()
    }
}

/// Whether every header that is passed on is there, in order.
fn has_all(got: &Frame, sent: &Frame) -> bool {
    let mut headers = got.headers.iter();
    sent.headers
        .iter()
        .filter(|(name, _)| {
            !matches!(
                name.as_str(),
                "destination" | "receipt" | "transaction" | "content-length"
            )
        })
        .all(|header| headers.any(|found| found == header))
}
