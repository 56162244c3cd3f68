//! Queues: each message to one of those who compete for it, kept until it is settled.

mod aside;
mod browse;
mod choose;
mod durable;
mod groups;
mod kept;
mod ledger;
mod level;
mod options;
mod perish;
mod ready;
mod room;
mod settle;
mod state;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use browse::Browse;
pub use groups::GROUPS_MAX;
pub use ledger::{NotHeld, Tags};
pub use options::{Binding, Options};
pub use ready::Entry;

use aside::Aside;
use ledger::Ledger;
use perish::Cause;
use ready::{Gone, Key, Left, Ready};
use state::{Consumer, State};

use super::journal::{Journal, Record};
use super::message::{Gauge, Message};
use super::outbound::{LaneId, Offer, Offered, Outbound, SlowConsumer};
use super::selector::Selector;
use super::settings::{DurableLimits, Prefetch, QueuePolicy, TopicPolicy, WhenFull};
use super::stats::Counters;
use super::subscription::{AckMode, Target};
use super::Now;

/// What the queues of a broker share.
#[derive(Clone, Debug)]
pub struct Commons {
    /// Where what happens to persistent messages is written down.
    pub journal: Arc<dyn Journal>,
    /// Messages in all of them.
    pub tally: Arc<Tally>,
    /// Octets of all messages.
    pub gauge: Arc<Gauge>,
    /// How many there may be before senders wait.
    pub high_water: usize,
    /// What durable subscriptions may cost.
    pub durable: DurableLimits,
}

/// Messages in all queues of a broker.
#[derive(Debug, Default)]
pub struct Tally {
    /// All of them.
    pub messages: AtomicUsize,
    /// Those that the journal keeps.
    pub stored: AtomicUsize,
}

/// One queue.
#[derive(Debug)]
pub struct Queue {
    /// Its number, never used twice: what the journal calls it.
    pub number: u64,
    /// Its canonical name.
    pub name: Arc<str>,
    /// The session to which it belongs: nobody else may subscribe, and it goes with it.
    pub owner: Option<u64>,
    /// What was asked for when it was made.
    pub options: Options,
    policy: QueuePolicy,
    commons: Commons,
    /// The journal outlives the process: only then does the queue write to it and wait for it.
    durable: bool,
    /// Locked before any outbound, never after; no destination is locked under it.
    state: Mutex<State>,
}

/// A subscription to a queue.
#[derive(Clone, Debug)]
pub struct Consume {
    /// The outbound of its connection.
    pub outbound: Arc<Outbound>,
    /// Its lane.
    pub lane: LaneId,
    /// How it acknowledges.
    pub mode: AckMode,
    /// Its credit.
    pub prefetch: Prefetch,
    /// Most unsettled deliveries, those in open transactions included.
    pub unacknowledged: usize,
    /// The session whose messages it does not want.
    pub unwanted: Option<u64>,
    /// It only wants what this matches.
    pub selector: Option<Arc<Selector>>,
    /// While it is there, only one of those who say so is given anything: the one that came first.
    pub alone: bool,
}

/// A limit that a SEND met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full {
    /// Messages in the queue and the most there may be.
    pub messages: (usize, usize),
    /// Octets in the queue and the most there may be.
    pub bytes: (usize, usize),
    /// What the queue does about it: never [`WhenFull::DropHead`].
    pub verdict: WhenFull,
}

/// What became of a message offered to a queue.
#[derive(Debug)]
pub enum Pushed {
    /// It is in the queue.
    Done(Effects),
    /// No room.
    Full(Full),
    /// The queue is gone from the directory: look again.
    Retired,
}

/// A message that leaves a queue unconsumed.
#[derive(Debug)]
pub struct Dead {
    /// The message, and how often it was tried.
    pub entry: Entry,
    /// `rejected`, `delivery-limit`, `expired` or `maxlen`.
    pub reason: &'static str,
}

/// What the broker has to see to after the queue's lock is released.
#[derive(Debug, Default)]
pub struct Effects {
    /// To the dead-letter queue.
    pub dead: Vec<Dead>,
    /// Tell the agenda: messages expire then (milliseconds since 1970).
    pub expire_at: Option<u64>,
    /// Tell the agenda: messages that wait aside are due then (milliseconds since 1970).
    pub release_at: Option<u64>,
    /// Tell the agenda: there is more to look at.
    pub looks_on: bool,
    /// Tell the agenda: empty and unused from now on.
    pub idle: bool,
    /// Its last consumer has gone and it is to go too.
    pub delete: bool,
    /// The journal was told something: what promises it waits for a ticket.
    pub recorded: bool,
}

impl Queue {
    /// An empty queue.
    pub fn new(
        number: u64,
        name: Arc<str>,
        policy: QueuePolicy,
        options: Options,
        owner: Option<u64>,
        commons: Commons,
    ) -> Queue {
        let state = State {
            ready: Ready::new(Arc::clone(&commons.gauge)),
            aside: Aside::new(Arc::clone(&commons.gauge)),
            ..State::default()
        };
        Queue {
            number,
            name,
            owner,
            policy: options.narrow(&policy),
            options,
            durable: policy.durable && commons.journal.is_durable(),
            commons,
            state: Mutex::new(state),
        }
    }

    /// A broken invariant in one task must not cut every connection that shares the queue.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The policy with the options.
    pub fn policy(&self) -> &QueuePolicy {
        &self.policy
    }

    /// Milliseconds that a message lives at most from now on: the least of what the operator and a client say.
    pub fn ttl_ms(&self) -> Option<u64> {
        let own = Some(self.policy.ttl_ms).filter(|ms| *ms > 0);
        match (own, self.options.message_ttl) {
            (Some(own), Some(asked)) => Some(own.min(asked)),
            (own, asked) => own.or(asked),
        }
    }

    /// Messages in the queue, unacknowledged ones included.
    pub fn len(&self) -> usize {
        self.lock().messages
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds a message. A sender that meets a full queue is nudged through `sender` when there is room.
    pub fn push(
        &self,
        message: &Arc<Message>,
        batch: Option<u64>,
        sender: Option<&Arc<Outbound>>,
        counters: &Counters,
        now: Now,
    ) -> Pushed {
        let size = message.size();
        let mut state = self.lock();
        if state.retired {
            return Pushed::Retired;
        }
        while let Err(full) = self.room(&state, 1, size) {
            if full.verdict != WhenFull::DropHead {
                if let Some(sender) = sender {
                    state.wait(sender);
                }
                return Pushed::Full(full);
            }
            let Some(oldest) = state.give_way() else { break };
            match sender {
                Some(_) => self.perish(&mut state, oldest, Cause::MaxLength, batch, counters),
                // A dead letter does not make others die: they would go round for ever.
                None => {
                    self.remove(&mut state, Gone::from(&oldest), batch);
                    counters.dropped_queue_full.one();
                }
            }
        }
        self.append(&mut state, message, batch, now);
        self.dispatch(&mut state, counters, now);
        Pushed::Done(self.effects(&mut state, Vec::new(), now))
    }

    /// Adds a topic's message to the backlog of a subscription.
    pub fn keep(&self, target: &Target, offer: &Offer<'_>, counters: &Counters, now: Now) -> Offered {
        let size = offer.message.size();
        let mut state = self.lock();
        if state.retired {
            return Offered::Gone;
        }
        while self.room(&state, 1, size).is_err() {
            if *offer.policy == TopicPolicy::Disconnect {
                let slow = SlowConsumer {
                    messages: state.messages,
                    bytes: state.octets,
                };
                target.outbound.fail(slow);
                return Offered::Gone;
            }
            counters.skipped.one();
            let Some(oldest) = state.give_way() else {
                return Offered::Gone;
            };
            self.uncount(&mut state, Gone::from(&oldest));
        }
        if state.messages == 0 {
            state.patience.moves(now.mono);
        }
        self.append(&mut state, offer.message, None, now);
        self.dispatch(&mut state, counters, now);
        match offer.publisher {
            Some(publisher) if *offer.policy == TopicPolicy::Disconnect => {
                self.crowd(&mut state, target, publisher, now)
            }
            _ => Offered::Taken,
        }
    }

    /// Whether a publisher should wait for a consumer that acknowledges, but not as fast as messages come; see
    /// [`Outbound::publish`]. It goes on with the next acknowledgement.
    fn crowd(&self, state: &mut State, target: &Target, publisher: &Arc<Outbound>, now: Now) -> Offered {
        let held = state.consumers.values().map(|consumer| consumer.ledger.used());
        let (unsettled, octets) = held.fold((0, 0), |(m, o), (messages, octets)| (m + messages, o + octets));
        let (waiting, octets) = (state.messages - unsettled, state.octets - octets);
        if waiting * 4 <= self.policy.messages && octets * 4 <= self.policy.bytes {
            state.patience.renew(now.mono);
            return Offered::Taken;
        }
        match state.patience.wait(target.outbound.patience_ms(), now.mono) {
            Some(until) => {
                state.wait(publisher);
                Offered::Crowded(until)
            }
            None => Offered::Taken,
        }
    }

    /// What there is to see to when nothing came into a queue that may have been made for it.
    pub fn unused(&self, now: Now) -> Effects {
        Effects {
            idle: self.note_idle(&mut self.lock(), now),
            ..Effects::default()
        }
    }

    /// Adds a message for which `reserved` octets of room are promised.
    pub fn push_reserved(
        &self,
        message: &Arc<Message>,
        reserved: usize,
        batch: Option<u64>,
        counters: &Counters,
        now: Now,
    ) -> Effects {
        let mut state = self.lock();
        state.unreserve(1, reserved);
        if state.retired {
            // Its owner has gone since room was promised, and took the queue along.
            counters.dropped_with_queue.one();
            return Effects::default();
        }
        while self.room(&state, 1, message.size()).is_err() {
            let Some(oldest) = state.give_way() else { break };
            self.perish(&mut state, oldest, Cause::MaxLength, batch, counters);
        }
        self.append(&mut state, message, batch, now);
        self.dispatch(&mut state, counters, now);
        self.effects(&mut state, Vec::new(), now)
    }

    /// Adds a consumer; `None` if the queue is gone from the directory.
    pub fn consume(&self, consume: Consume, counters: &Counters, now: Now) -> Option<(u32, Effects)> {
        let mut state = self.lock();
        if state.retired {
            return None;
        }
        let id = state.next_id();
        let Consume {
            outbound,
            lane,
            mode,
            prefetch,
            unacknowledged,
            unwanted,
            selector,
            alone,
        } = consume;
        let consumer = Consumer {
            outbound,
            lane,
            mode,
            prefetch,
            unacknowledged,
            unwanted,
            selector,
            ledger: Ledger::default(),
            alone,
            place: Key::MIN,
            active: true,
            standing: false,
        };
        state.by_choice |= consumer.selector.is_some();
        state.consumers.insert(id, consumer);
        state.idle_since = None;
        state.unused_since = None;
        state.stand(id);
        if alone {
            state.elect();
        }
        self.dispatch(&mut state, counters, now);
        // What had expired may have made room.
        Some((id, self.effects(&mut state, Vec::new(), now)))
    }

    /// The consumer's connection has room again.
    pub fn resume(&self, id: u32, counters: &Counters, now: Now) -> Effects {
        let mut state = self.lock();
        state.stand(id);
        self.show(&mut state, now);
        self.dispatch(&mut state, counters, now);
        self.effects(&mut state, Vec::new(), now)
    }

    /// Drops what waits for a consumer: the backlog of a topic's subscription that has ended.
    pub fn drop_ready(&self) {
        self.drop_all_ready(&mut self.lock());
    }

    fn drop_all_ready(&self, state: &mut State) {
        while let Some(entry) = state.ready.pop() {
            self.remove(state, &entry, None);
        }
        while let Some(left) = state.aside.pop() {
            self.remove(state, Gone::from(&left), None);
        }
    }

    /// Retires the queue if it has been idle for its time; how many messages went with it. `Err` says when to ask
    /// again, if at all.
    pub fn retire_if_idle(&self, now: Now) -> Result<usize, Option<u64>> {
        let mut state = self.lock();
        state.idle_announced = false;
        let busy = state.reserved_messages > 0 || state.is_going_on();
        let Some(since) = state.idle_since.filter(|_| !busy) else {
            return Err(None);
        };
        let due = since + self.policy.idle_ms;
        if due > now.mono {
            state.idle_announced = true;
            return Err(Some(due));
        }
        Ok(self.retire_locked(state))
    }

    /// Retires the queue whatever is in it; how many messages went with it.
    pub fn retire(&self) -> usize {
        self.retire_locked(self.lock())
    }

    fn retire_locked(&self, mut state: MutexGuard<'_, State>) -> usize {
        if state.retired {
            return 0;
        }
        state.retired = true;
        let dropped = state.messages;
        self.untally(&state);
        let kept = std::mem::take(&mut *state);
        state.retired = true;
        if kept.declared {
            self.commons.journal.write(Record::Remove { queue: self.number }, None);
        }
        drop(state);
        for sender in kept.waiting {
            sender.call();
        }
        dropped
    }

    /// Hands out what can be handed out, to each consumer in turn.
    fn dispatch(&self, state: &mut State, counters: &Counters, now: Now) {
        if state.by_choice {
            return self.dispatch_by_choice(state, counters, now);
        }
        while !state.ready.is_empty() {
            let Some(id) = state.available.front().copied() else {
                return;
            };
            let Some(consumer) = state.consumers.get_mut(&id) else {
                state.available.pop_front();
                continue;
            };
            if !consumer.wants() || state.sole.is_some_and(|sole| sole != id) {
                state.stand_down(id);
                continue;
            }
            if self.durable && !self.is_at_hand(&mut state.ready, &mut state.hand_out) {
                return;
            }
            let Some(entry) = state.ready.pop() else { return };
            if entry.message.is_expired(now.unix_ms) {
                self.perish(state, Left::Here(entry), Cause::Expired, None, counters);
                continue;
            }
            if entry.message.properties().grouped {
                state.ready.put_back(entry);
                state.by_choice = true;
                return self.dispatch_by_choice(state, counters, now);
            }
            match consumer.offer(entry, now) {
                None => state.available.rotate_left(1),
                Some(entry) => state.refused(id, entry),
            }
        }
    }

    fn untally(&self, state: &State) {
        let tally = &self.commons.tally;
        tally.messages.fetch_sub(state.messages, Ordering::Relaxed);
        tally.stored.fetch_sub(state.stored, Ordering::Relaxed);
    }

    fn effects(&self, state: &mut State, mut dead: Vec<Dead>, now: Now) -> Effects {
        dead.append(&mut state.dead);
        let mut effects = Effects {
            dead,
            expire_at: self.news_of_expiry(state),
            recorded: std::mem::take(&mut state.recorded),
            release_at: state.aside.news(),
            looks_on: std::mem::take(&mut state.looks_on),
            ..Effects::default()
        };
        effects.idle = self.note_idle(state, now);
        self.note_unused(state, now);
        self.call_if_room(state);
        effects
    }

    /// Whether the agenda has to be told that the queue is empty and unused.
    fn note_idle(&self, state: &mut State, now: Now) -> bool {
        let unused = state.consumers.is_empty() && (state.messages == 0 || self.is_subscription());
        let idle = unused && self.policy.idle_ms > 0 && !state.is_going_on();
        if idle {
            state.idle_since.get_or_insert(now.mono);
        }
        idle && !std::mem::replace(&mut state.idle_announced, true)
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.untally(&self.lock());
    }
}
