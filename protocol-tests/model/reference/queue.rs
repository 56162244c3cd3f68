//! Queues: each message in exactly one place, ready or held by one consumer.

use std::rc::Rc;

use hoofbeat::broker::settings::WhenFull;

use super::*;

/// What an outbound says to a message of a queue.
pub enum Offered {
    Taken,
    Full,
    Gone,
}

impl Queue {
    pub fn new(policy: QueuePolicy, owner: Option<usize>, backlog: bool) -> Queue {
        Queue {
            owner,
            backlog,
            policy,
            entries: Vec::new(),
            consumers: Vec::new(),
            row: Vec::new(),
            reserved: (0, 0),
            seq: 0,
            idle_since: None,
            choosy: false,
            groups: BTreeMap::new(),
            sole: None,
        }
    }

    /// Highest priority first, oldest first among equals.
    fn next(&self) -> Option<usize> {
        let ready = self.entries.iter().enumerate().filter(|(_, e)| e.held.is_none());
        let first = ready.min_by_key(|(_, e)| (9 - e.message.priority, e.seq));
        first.map(|(at, _)| at)
    }

    /// The oldest of the lowest priority gives way.
    fn least(&self) -> Option<usize> {
        let ready = self.entries.iter().enumerate().filter(|(_, e)| e.held.is_none());
        let last = ready.min_by_key(|(_, e)| (e.message.priority, e.seq));
        last.map(|(at, _)| at)
    }

    pub fn room(&self, messages: usize, octets: usize) -> bool {
        let held = self.entries.len() + self.reserved.0;
        let size = self.entries.iter().map(|e| e.message.size()).sum::<usize>() + self.reserved.1;
        let fits = held + messages <= self.policy.messages && size + octets <= self.policy.bytes;
        fits || held == 0 && messages <= 1
    }

    pub fn holds(&self, consumer: u64) -> bool {
        self.entries
            .iter()
            .any(|e| e.held.is_some_and(|h| h.consumer == consumer))
    }

    /// Tags that settling `tag` means: itself, and with `ack:client` all earlier ones.
    pub fn covered(&self, consumer: u64, tag: u64) -> Vec<u64> {
        let mode = self.consumers.iter().find(|c| c.id == consumer).map(|c| c.mode);
        let held = self.entries.iter().filter_map(|e| e.held);
        let mine = held.filter(|h| h.consumer == consumer && !h.inside);
        let mut tags: Vec<u64> = mine.map(|h| h.tag).filter(|t| *t <= tag).collect();
        tags.sort_unstable();
        match (tags.contains(&tag), mode) {
            (false, _) => Vec::new(),
            (true, Some(Mode::Client)) => tags,
            (true, _) => vec![tag],
        }
    }

    pub fn wants(&self, id: u64, unacknowledged: usize) -> bool {
        let Some(consumer) = self.consumers.iter().find(|c| c.id == id) else {
            return false;
        };
        let held = |e: &&Entry| e.held.is_some_and(|h| h.consumer == id);
        let using: Vec<_> = self.entries.iter().filter(held).collect();
        let charged = || using.iter().filter(|e| e.held.is_some_and(|h| !h.inside));
        let octets: usize = charged().map(|e| e.message.size()).sum();
        let (messages, bytes) = consumer.prefetch;
        let credit = charged().count() < messages && (octets < bytes || charged().count() == 0);
        consumer.active && credit && using.len() < unacknowledged
    }

    fn find(&self, consumer: u64, tag: u64) -> Option<usize> {
        let is = |h: Holder| h.consumer == consumer && h.tag == tag;
        self.entries.iter().position(|e| e.held.is_some_and(is))
    }
}

impl Reference {
    pub fn append(&mut self, name: &str, message: &Rc<Message>) {
        let Some(queue) = self.queues.get_mut(name) else { return };
        queue.seq += 1;
        queue.idle_since = None;
        queue.entries.push(Entry {
            seq: queue.seq,
            message: Rc::clone(message),
            attempts: 0,
            held: None,
        });
        self.dispatch(name);
    }

    /// Lets ready messages give way until one of `size` fits.
    pub fn make_room(&mut self, name: &str, size: usize, counter: &'static str) -> bool {
        while let Some(queue) = self.queues.get_mut(name).filter(|q| !q.room(1, size)) {
            let Some(at) = queue.least() else {
                self.mark("full of unacknowledged messages");
                return false;
            };
            queue.entries.remove(at);
            self.count(counter, 1);
        }
        true
    }

    /// A consumer that wants a message and does not stand in the row goes to its end.
    pub fn stand(&mut self, name: &str, id: u64) {
        let most = self.broker.unacknowledged;
        let Some(queue) = self.queues.get_mut(name) else { return };
        if !queue.row.contains(&id) && queue.wants(id, most) {
            queue.row.push(id);
        }
    }

    /// Hands out what can be handed out, to each consumer in turn.
    pub fn dispatch(&mut self, name: &str) {
        let most = self.broker.unacknowledged;
        loop {
            let Some(queue) = self.queues.get_mut(name) else { return };
            if queue.choosy {
                return self.dispatch_by_choice(name);
            }
            let (Some(at), Some(&id)) = (queue.next(), queue.row.first()) else {
                return;
            };
            if !queue.wants(id, most) || queue.sole.is_some_and(|sole| sole != id) {
                queue.row.remove(0);
                self.mark("credit exhausted");
                continue;
            }
            if queue.entries[at].message.expired(self.now) {
                queue.entries.remove(at);
                self.count("dropped_expired", 1);
                self.mark("expired at its turn");
                continue;
            }
            if !queue.backlog && queue.entries[at].message.group().is_some() {
                queue.choosy = true;
                continue;
            }
            self.offer(name, id, at);
        }
    }

    /// Offers a message to the consumer in front of the row; whether it took it.
    pub fn offer(&mut self, name: &str, id: u64, at: usize) -> bool {
        let queue = self.queues.get_mut(name).expect("it has a message");
        let consumer = queue.consumers.iter_mut().find(|c| c.id == id).expect("it stands");
        let entry = &mut queue.entries[at];
        let waiting = Waiting {
            message: Rc::clone(&entry.message),
            tag: consumer.tag + 1,
            attempts: entry.attempts,
            key: None,
        };
        let limits = self.broker.outbound;
        match self.sessions[consumer.session].offer(consumer.serial, waiting, limits) {
            Offered::Taken => {
                consumer.tag += 1;
                let (tag, inside) = (consumer.tag, false);
                entry.held = Some(Holder {
                    consumer: id,
                    tag,
                    inside,
                });
                queue.row.rotate_left(1);
                return true;
            }
            Offered::Full => {
                queue.row.remove(0);
                self.mark("stalled outbound");
            }
            Offered::Gone => {
                consumer.active = false;
                queue.row.remove(0);
                if queue.sole == Some(id) {
                    self.elect(name);
                }
            }
        }
        false
    }

    pub fn settle(&mut self, name: &str, consumer: u64, tags: &[u64], settle: Settle) {
        let mut dead = Vec::new();
        for tag in tags {
            let Some(queue) = self.queues.get_mut(name) else { return };
            let Some(at) = queue.find(consumer, *tag) else { continue };
            match settle {
                Settle::Ack => {
                    queue.entries.remove(at);
                    self.count("settled", 1);
                }
                Settle::Requeue => self.give_back(name, at, &mut dead),
                Settle::Reject => {
                    let mut entry = queue.entries.remove(at);
                    entry.attempts += 1;
                    dead.push((entry, "rejected"));
                }
            }
        }
        let Some(queue) = self.queues.get_mut(name) else { return };
        if !queue.holds(consumer) {
            queue.consumers.retain(|c| c.active || c.id != consumer);
        }
        let orphan = queue.backlog && !queue.consumers.iter().any(|c| c.active && c.id == consumer);
        if orphan {
            // A topic's message goes with its subscription.
            queue.entries.retain(|e| e.held.is_some());
        }
        self.stand(name, consumer);
        self.dispatch(name);
        self.bury(name, dead);
    }

    /// A written delivery failed: back to its place, or to the dead if that was the last try.
    pub fn give_back(&mut self, name: &str, at: usize, dead: &mut Vec<(Entry, &'static str)>) {
        let Some(queue) = self.queues.get_mut(name) else { return };
        let limit = queue.policy.delivery_limit;
        let entry = &mut queue.entries[at];
        entry.attempts += 1;
        entry.held = None;
        if limit > 0 && entry.attempts >= limit {
            let entry = queue.entries.remove(at);
            dead.push((entry, "delivery-limit"));
        } else {
            self.count("redelivered", 1);
        }
    }

    /// Messages that leave a queue unconsumed: to its dead-letter queue, if it has one.
    pub fn bury(&mut self, name: &str, dead: Vec<(Entry, &'static str)>) {
        let private = self.queues.get(name).is_none_or(|q| q.owner.is_some() || q.backlog);
        let target = match name.strip_prefix("/worker/") {
            Some(local) => format!("/queue/DLQ.app/{}", super::app::plain(local)),
            None => format!("/queue/DLQ.{}", name.trim_start_matches("/queue/")),
        };
        for (entry, reason) in dead {
            self.give_up(name, &entry.message, reason);
            let unfit = private || name.starts_with("/queue/DLQ.") || !self.make_queue(&target, None);
            if unfit {
                self.count("dropped_dead", 1);
                continue;
            }
            let added = [
                ("dead-letter-reason", reason.to_owned()),
                ("original-destination", entry.message.destination.clone()),
                ("delivery-count", entry.attempts.to_string()),
            ];
            let mut carried = entry.message.carried.clone();
            carried.retain(|(n, _)| added.iter().all(|(a, _)| a != n));
            carried.extend(added.each_ref().map(|(n, v)| ((*n).to_owned(), v.clone())));
            let headers = added.each_ref().map(|(n, v)| (*n, v.as_str()));
            let twin = entry.message.twin.forwarded(0, &target, &headers);
            let copy = Message {
                publisher: entry.message.publisher,
                destination: target.clone(),
                carried,
                body: entry.message.body.clone(),
                priority: entry.message.priority,
                expires: None,
                twin,
            };
            let copy = Rc::new(copy);
            self.make_room(&target, copy.size(), "dropped_queue_full");
            self.append(&target, &copy);
            self.count("dead_lettered", 1);
            self.mark(if reason == "rejected" {
                "dead-lettered by reject"
            } else {
                "dead-lettered by limit"
            });
        }
    }

    /// Makes the queue if need be; false if there are too many destinations.
    pub fn make_queue(&mut self, name: &str, owner: Option<usize>) -> bool {
        if self.queues.contains_key(name) {
            return true;
        }
        if !self.may_add() {
            return false;
        }
        let mut policy = self.queue_policy(name);
        if name.starts_with("/queue/DLQ.") {
            policy.full = WhenFull::DropHead;
            policy.delivery_limit = 0;
        }
        self.queues.insert(name.to_owned(), Queue::new(policy, owner, false));
        true
    }

    pub fn consume(&mut self, name: &str, consumer: Consumer) {
        let Some(queue) = self.queues.get_mut(name) else { return };
        let (id, alone) = (consumer.id, consumer.alone);
        queue.choosy |= consumer.selector.is_some();
        queue.consumers.push(consumer);
        queue.idle_since = None;
        self.stand(name, id);
        if alone {
            self.elect(name);
        }
        self.dispatch(name);
    }

    /// UNSUBSCRIBE: what waits from `waiting` on was never written; the rest stays for late acknowledgements.
    pub fn cancel(&mut self, name: &str, id: u64, waiting: Option<u64>) -> bool {
        let Some(queue) = self.queues.get_mut(name) else {
            return false;
        };
        let first = waiting.unwrap_or(u64::MAX);
        let mine = |h: Holder| h.consumer == id && h.tag >= first;
        for entry in queue.entries.iter_mut().filter(|e| e.held.is_some_and(mine)) {
            entry.held = None;
            self.marks.insert("unsubscribed with messages waiting");
        }
        let left = queue.holds(id);
        queue.consumers.retain_mut(|c| {
            c.active = c.active && c.id != id;
            c.id != id || left
        });
        if queue.backlog {
            queue.entries.retain(|e| e.held.is_some());
        }
        self.depart(name, id);
        self.dispatch(name);
        left
    }

    /// The connection has ended: deliveries before `unwritten` may have been seen, the others come back as they were.
    pub fn leave(&mut self, name: &str, id: u64, unwritten: Option<u64>) {
        let Some(queue) = self.queues.get_mut(name) else { return };
        queue.consumers.retain(|c| c.id != id);
        let mut tags: Vec<u64> = queue
            .entries
            .iter()
            .filter_map(|e| e.held)
            .filter(|h| h.consumer == id)
            .map(|h| h.tag)
            .collect();
        tags.sort_unstable();
        let mut dead = Vec::new();
        for tag in tags {
            let Some(queue) = self.queues.get_mut(name) else { return };
            let Some(at) = queue.find(id, tag) else { continue };
            if unwritten.is_none_or(|first| tag < first) {
                self.give_back(name, at, &mut dead);
                self.mark("given back at the end");
            } else {
                queue.entries[at].held = None;
                self.mark("given back unwritten");
            }
        }
        self.depart(name, id);
        self.dispatch(name);
        self.bury(name, dead);
    }

    /// Holds acknowledgements for a transaction: their credit is free.
    pub fn enter(&mut self, name: &str, consumer: u64, tags: &[u64], inside: bool) {
        let Some(queue) = self.queues.get_mut(name) else { return };
        for tag in tags {
            let Some(at) = queue.find(consumer, *tag) else { continue };
            if let Some(held) = &mut queue.entries[at].held {
                held.inside = inside;
            }
        }
        if inside {
            self.stand(name, consumer);
            self.dispatch(name);
        }
    }

    pub fn remove_queue(&mut self, name: &str) {
        if let Some(queue) = self.queues.remove(name) {
            self.count("dropped_with_queue", queue.entries.len() as u64);
            self.mark("queue removed with its owner");
        }
    }

    /// What the clock does: expired messages and idle queues go.
    pub fn advance(&mut self) {
        let now = self.now;
        let names: Vec<String> = self.queues.keys().cloned().collect();
        for name in names {
            let queue = self.queues.get_mut(&name).expect("listed");
            if queue.backlog {
                continue;
            }
            let before = queue.entries.len();
            queue.entries.retain(|e| e.held.is_some() || !e.message.expired(now));
            let expired = before - queue.entries.len();
            let idle = queue
                .idle_since
                .is_some_and(|since| since + queue.policy.idle_ms <= now);
            if expired > 0 {
                self.count("dropped_expired", expired as u64);
                self.mark("expired by the clock");
            } else if idle {
                self.queues.remove(&name);
                self.mark("idle queue removed");
            }
        }
        self.note_idle();
    }

    /// Queues that are empty and without consumers are idle from now on.
    pub fn note_idle(&mut self) {
        for queue in self.queues.values_mut().filter(|q| !q.backlog) {
            if queue.entries.is_empty() && queue.consumers.is_empty() && queue.idle_since.is_none() {
                queue.idle_since = Some(self.now);
            }
        }
    }
}
