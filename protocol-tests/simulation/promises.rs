//! What was promised, message by message, as far as clients can know it; and whether a MESSAGE breaks any of it.

use std::collections::{BTreeMap, BTreeSet};

use crate::wire::Frame;

/// What a broken promise is told with.
pub type Broken = String;

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

/// A message, by the number in its header `n`.
#[derive(Clone, Debug)]
pub struct Fact {
    pub sent: Frame,
    /// The queue that it was sent to, by its canonical name.
    pub queue: String,
    pub persistent: bool,
    /// Its SEND, or the COMMIT it was in, has its RECEIPT.
    pub receipted: bool,
    /// It is there unless something that is written here took it away.
    pub sure: bool,
    pub gone: Gone,
    /// A client took its whole frame.
    pub seen: bool,
    /// Crashes since it was sent: what was handed out before one is in doubt.
    pub doubted: bool,
    /// Failed tries with RECEIPT.
    pub tries: u32,
    /// When it may have expired, in milliseconds since 1970.
    pub expires: Option<u64>,
    /// Place in the order of its publisher; `None` in a transaction.
    pub order: Option<(usize, u64)>,
    pub transaction: Option<usize>,
}

/// A COMMIT whose RECEIPT has not come.
#[derive(Clone, Debug, Default)]
pub struct Transaction {
    pub sends: Vec<u64>,
    pub acks: Vec<u64>,
    /// It counts, or it does not; `None` as long as nobody can tell.
    pub counts: Option<bool>,
    /// It was asked for when the broker crashed.
    pub doubted: bool,
}

#[derive(Debug, Default)]
pub struct Promises {
    pub facts: BTreeMap<u64, Fact>,
    pub transactions: Vec<Transaction>,
    /// Of each queue and publisher with one priority: the last in order, among never-redelivered ones, since a queue
    /// had no consumer.
    last: BTreeMap<(String, usize, String), u64>,
    /// Queues that have had more than one consumer at a time: there the order is each consumer's own.
    pub shared: BTreeSet<String>,
}

impl Promises {
    /// A MESSAGE was taken by a client. Its number.
    pub fn delivered(&mut self, frame: &Frame) -> Result<u64, Broken> {
        let wrong = |what: &str| Err(format!("{what}: {frame:?}"));
        let number = frame.get("n").and_then(|n| n.parse().ok());
        let Some((number, fact)) = number.and_then(|n| Some((n, self.facts.get_mut(&n)?))) else {
            return wrong("a message that nobody sent");
        };
        let destination = frame.get("destination").unwrap_or_default();
        let dead = destination == dead_letters(&fact.queue);
        if !dead && destination != fact.queue {
            return wrong("it was sent elsewhere");
        }
        if frame.body != fact.sent.body || !has_all(frame, &fact.sent) {
            return wrong("it was sent with other headers or another body");
        }
        if matches!(fact.gone, Gone::Now | Gone::Yes) {
            return wrong("it is back, although it was settled");
        }
        // What would have settled it came to nothing.
        fact.gone = Gone::No;
        if dead && !fact.seen && !fact.doubted {
            return wrong("it is dead and nobody ever got it");
        }
        let redelivered = frame.is("redelivered", "true");
        if !dead && redelivered && !fact.seen && !fact.doubted {
            return wrong("nobody ever got it, and it has redelivered:true");
        }
        if !dead && !redelivered && fact.seen {
            return wrong("it came before, and has no redelivered:true");
        }
        let count: u32 = frame.get("delivery-count").and_then(|n| n.parse().ok()).unwrap_or(1);
        if !dead && count <= fact.tries {
            return wrong(&format!("{} tries were receipted", fact.tries));
        }
        if let (Some((publisher, order)), false, false) = (fact.order, redelivered, dead) {
            let priority = fact.sent.get("priority").unwrap_or("4").to_owned();
            let key = (fact.queue.clone(), publisher, priority);
            let last = self.last.entry(key).or_default();
            if order < *last && !self.shared.contains(&fact.queue) {
                return wrong("a later one of its publisher came before it");
            }
            *last = order.max(*last);
        }
        fact.seen = true;
        let transaction = fact.transaction;
        if let Some(transaction) = transaction {
            self.evidence(transaction, true, number)?;
        }
        self.not_settled(number)?;
        Ok(number)
    }

    /// The transaction that may have settled the message has not.
    fn not_settled(&mut self, number: u64) -> Result<(), Broken> {
        for at in 0..self.transactions.len() {
            let transaction = &self.transactions[at];
            if transaction.doubted && transaction.acks.contains(&number) {
                self.evidence(at, false, number)?;
            }
        }
        Ok(())
    }

    /// Something shows whether a transaction counts.
    pub fn evidence(&mut self, at: usize, counts: bool, number: u64) -> Result<(), Broken> {
        let Some(transaction) = self.transactions.get_mut(at).filter(|t| t.doubted) else {
            return Ok(());
        };
        match transaction.counts {
            Some(known) if known != counts => Err(format!(
                "a part of a transaction counts and a part does not: message {number} says {counts}: {transaction:?}"
            )),
            _ => {
                transaction.counts = Some(counts);
                Ok(())
            }
        }
    }

    /// A queue has no consumer (any more): the order begins anew.
    pub fn nobody_consumes(&mut self, queue: &str) {
        self.shared.remove(queue);
        self.last.retain(|(name, _, _), _| name != queue);
    }

    /// The RECEIPT of a message came.
    pub fn receipted(&mut self, number: u64) {
        if let Some(fact) = self.facts.get_mut(&number) {
            fact.receipted = true;
        }
    }

    /// Messages were settled.
    pub fn settled(&mut self, numbers: &[u64], gone: Gone) {
        for number in numbers {
            if let Some(fact) = self.facts.get_mut(number).filter(|fact| fact.gone != Gone::Yes) {
                fact.gone = gone;
            }
        }
    }

    /// Messages that may be there or not.
    pub fn doubt(&mut self, numbers: &[u64]) {
        for number in numbers {
            if let Some(fact) = self.facts.get_mut(number).filter(|fact| fact.gone == Gone::No) {
                fact.gone = Gone::Perhaps;
            }
        }
    }

    /// The broker stopped as it should: transient messages are gone, everything else is kept.
    pub fn restart(&mut self) {
        for fact in self.facts.values_mut() {
            fact.sure &= fact.persistent;
            if fact.gone == Gone::Now && fact.persistent {
                fact.gone = Gone::Yes;
            }
        }
        self.last.clear();
        self.shared.clear();
    }

    /// The broker crashed: what was not promised for good is in doubt.
    pub fn crash(&mut self) {
        for fact in self.facts.values_mut() {
            fact.doubted = true;
            fact.sure &= fact.persistent && fact.receipted;
            if fact.gone == Gone::Now {
                fact.gone = Gone::Perhaps;
            }
        }
        for transaction in &mut self.transactions {
            transaction.doubted |= transaction.counts.is_none();
        }
        self.last.clear();
        self.shared.clear();
    }

    /// Everything that was there has been taken: `found` says how often each. What is missing, and what was there twice.
    pub fn drained(&mut self, found: &BTreeMap<u64, u32>, now: u64) -> Result<(), Broken> {
        for (number, times) in found {
            if *times > 1 {
                return Err(format!("message {number} was there {times} times"));
            }
        }
        let missing: Vec<u64> = self
            .facts
            .iter()
            .filter(|(number, fact)| !found.contains_key(number) && !fact.may_have_expired(now))
            .filter(|(_, fact)| !matches!(fact.gone, Gone::Now | Gone::Yes))
            .map(|(number, _)| *number)
            .collect();
        for number in missing {
            let fact = &self.facts[&number];
            if fact.sure && fact.gone == Gone::No {
                return Err(format!("message {number} is lost: {fact:?}"));
            }
            // What is not there and was not settled otherwise speaks for or against the transactions it was in.
            let (transaction, sure) = (fact.transaction.filter(|_| fact.persistent), fact.sure);
            let acked_by = self
                .transactions
                .iter()
                .position(|t| t.is_open() && t.acks.contains(&number));
            match (transaction, acked_by) {
                (Some(at), None) if fact.gone == Gone::No => self.evidence(at, false, number)?,
                (None, Some(at)) if sure => self.evidence(at, true, number)?,
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

impl Transaction {
    /// Whether nobody can tell yet what came of it.
    fn is_open(&self) -> bool {
        self.doubted && self.counts.is_none()
    }
}

impl Fact {
    fn may_have_expired(&self, now: u64) -> bool {
        self.expires.is_some_and(|at| at <= now)
    }
}

pub fn dead_letters(queue: &str) -> String {
    format!("/queue/DLQ.{}", queue.trim_start_matches("/queue/"))
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
