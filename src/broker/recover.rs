//! From the journal to the broker: what is found at the start, what is told meanwhile, what is told at a clean stop.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::Arc;

use super::journal::{Record, Recovered, Report};
use super::message::Message;
use super::queue::{Options, Queue};
use super::settings::QueuePolicy;
use super::{Broker, Now};

/// What was found at the start, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Queues.
    pub queues: usize,
    /// Messages in them.
    pub messages: usize,
    /// Octets that they count for.
    pub octets: u64,
}

impl Broker {
    /// Makes again what the journal found. To be called once, before the first session. Queues that are new are
    /// numbered from `next_queue` on, which no queue that the journal knows of has reached.
    ///
    /// What may have been handed out before an unclean stop comes back with `redelivered:true`.
    pub fn recover(&self, found: &[Recovered], next_queue: u64, now: Now) -> Found {
        self.next_queue.fetch_max(next_queue, Ordering::Relaxed);
        let mut sum = Found::default();
        let mut latest: BTreeMap<&str, u64> = BTreeMap::new();
        for queue in found {
            let latest = latest.entry(&queue.name).or_default();
            *latest = queue.queue.max(*latest);
        }
        for queue in found {
            let has_successor = latest.get(&*queue.name).is_some_and(|latest| *latest > queue.queue);
            if has_successor && queue.entries.is_empty() {
                // It was removed and made again, and the crash kept only the latter.
                self.journal.write(Record::Remove { queue: queue.queue }, None);
                continue;
            }
            self.recover_queue(queue, now);
            sum.queues += 1;
            sum.messages += queue.entries.len();
            sum.octets += queue
                .entries
                .iter()
                .map(|(_, _, stub)| u64::from(stub.size))
                .sum::<u64>();
        }
        sum
    }

    fn recover_queue(&self, found: &Recovered, now: Now) {
        let mut name: Arc<str> = found.name.as_str().into();
        if self.directory.queue(&name).is_some() {
            // Two of one name should not be; if they are, none of their messages shall be lost for it.
            name = format!("{name}.recovered.{}", found.queue).into();
        }
        let options = Options::from_terms(&found.terms).unwrap_or_default();
        let policy = QueuePolicy {
            // What was kept has to be let go of too, whatever the policy has become.
            durable: true,
            ..self.queue_policy(options.governed(&name))
        };
        let commons = self.lasting.clone();
        let queue = Arc::new(self.queue_numbered(found.queue, &name, policy, options, commons, None));
        let effects = queue.recover(found, now);
        if self.directory.adopt(&queue) {
            self.bind_again(&queue);
            self.apply(&queue, effects, None, now);
        }
    }

    /// Takes what the journal tells.
    pub fn report(&self, report: Report, now: Now) {
        let (Report::Marked { queue, .. } | Report::Loaded { queue, .. }) = report;
        let Some(queue) = self.directory.numbered(queue) else {
            return;
        };
        let effects = match report {
            Report::Marked { below, .. } => queue.marked(below, &self.counters, now),
            Report::Loaded { seq, octets, .. } => match self.restored(&queue, seq, octets) {
                Some(message) => queue.load(seq, message, &self.counters, now),
                None => queue.lose(seq, &self.counters, now),
            },
        };
        self.apply(&queue, effects, None, now);
    }

    fn restored(&self, queue: &Queue, seq: u64, octets: Option<Vec<u8>>) -> Option<Arc<Message>> {
        let stub = queue.fetched(seq)?;
        let number = self.next_message.fetch_add(1, Ordering::Relaxed);
        Message::restore(number, &octets?, &stub, &self.gauge).map(Arc::new)
    }

    /// A clean stop: tells the journal that no message is in doubt. To be called when the last session has ended,
    /// before the journal is closed.
    pub fn rest(&self) {
        for queue in self.directory.durable_queues() {
            queue.rest();
        }
    }
}
