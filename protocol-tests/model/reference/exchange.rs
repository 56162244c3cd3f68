//! From a SEND or COMMIT to queues and topics, and what waits to be written to each connection.

use std::rc::Rc;

use hoofbeat::broker::settings::{OutboundLimits, WhenFull};

use super::queue::Offered;
use super::*;

impl Session {
    pub fn sub(&mut self, serial: u32) -> Option<&mut Sub> {
        self.subs.iter_mut().find(|s| s.serial == serial)
    }

    /// Messages and octets that wait; only those of queues, or all.
    fn waiting(&self, queues_only: bool) -> (usize, usize) {
        let subs = self.subs.iter().filter(|s| s.queued || !queues_only);
        let waiting = subs.filter_map(|s| s.lane.as_ref()).flatten();
        waiting.fold((0, 0), |(n, octets), w| (n + 1, octets + w.message.size()))
    }

    fn takes(&mut self, serial: u32) -> bool {
        let open = self.sub(serial).is_some_and(|s| s.lane.is_some());
        open && !self.finished && !self.slow
    }

    /// A queue's message: refused beyond half of the budget.
    pub fn offer(&mut self, serial: u32, waiting: Waiting, limits: OutboundLimits) -> Offered {
        if !self.takes(serial) {
            return Offered::Gone;
        }
        let (messages, octets) = self.waiting(true);
        let size = waiting.message.size();
        let crowded = messages * 2 >= limits.messages || (octets + size) * 2 > limits.bytes;
        if crowded && messages > 0 {
            self.stalled = true;
            return Offered::Full;
        }
        self.push(serial, waiting);
        Offered::Taken
    }

    fn push(&mut self, serial: u32, waiting: Waiting) {
        if !self.turn.contains(&serial) {
            self.turn.push(serial);
        }
        let lane = self.sub(serial).and_then(|s| s.lane.as_mut());
        lane.expect("it is open").push_back(waiting);
    }

    /// Takes the oldest waiting message of a subscription.
    fn pop(&mut self, serial: u32) -> Option<Waiting> {
        let lane = self.sub(serial)?.lane.as_mut()?;
        let oldest = lane.pop_front();
        if lane.is_empty() {
            self.turn.retain(|s| *s != serial);
        }
        oldest
    }

    /// Ends a lane; the tag of the first message that still waited.
    pub fn close_lane(&mut self, serial: u32) -> Option<u64> {
        self.turn.retain(|s| *s != serial);
        let lane = self.sub(serial)?.lane.take()?;
        lane.front().map(|w| w.tag)
    }

    /// Nothing of topics is delivered any more.
    pub fn drop_topics(&mut self) {
        for sub in self.subs.iter_mut().filter(|s| !s.queued) {
            sub.lane = None;
        }
        self.turn.clear();
        self.stalled = false;
    }

    fn fail_slow(&mut self) {
        if !self.finished && !self.slow {
            self.drop_topics();
            self.slow = true;
        }
    }

    pub fn has_room(&self, limits: OutboundLimits) -> bool {
        let (messages, octets) = self.waiting(true);
        messages * 2 < limits.messages && (octets == 0 || octets * 2 < limits.bytes)
    }
}

impl Reference {
    pub fn send(&mut self, route: &Route, message: &Rc<Message>) -> Sent {
        let reserve = if route.queue {
            0
        } else {
            self.broker.memory_high_water / 4
        };
        if self.octets(&[Rc::as_ptr(message)]) + self.cost_of_queues() >= self.broker.memory_high_water + reserve {
            return Sent::Blocked("memory-full");
        }
        if !route.queue {
            self.publish(route, message);
            return Sent::Done;
        }
        let name = match self.queue_for(route) {
            Ok(Some(name)) => name,
            Ok(None) => {
                self.count("dropped_no_queue", 1);
                return Sent::Done;
            }
            Err(not) => return not,
        };
        let queue = &self.queues[&name];
        let full = !queue.room(1, message.size());
        match queue.policy.full {
            WhenFull::Block if full => return Sent::Blocked("queue-full"),
            WhenFull::Reject if full => {
                self.count("refused_queue_full", 1);
                return Sent::Refused("queue-full");
            }
            _ => self.make_room(&name, message.size(), "dropped_queue_full"),
        };
        self.append(&name, message);
        self.count("sent", 1);
        Sent::Done
    }

    /// A queue counts for 2,048 octets, but messages always have half of the memory.
    pub fn cost_of_queues(&self) -> usize {
        let queues = self.queues.values().filter(|queue| !queue.backlog).count();
        (queues * 2_048).min(self.broker.memory_high_water / 2)
    }

    /// The queue that a message is for, if it is for one.
    fn queue_for(&mut self, route: &Route) -> Result<Option<String>, Sent> {
        if route.app {
            let mut worked = self.all_worked(&route.name);
            if worked.len() > 1 && is_wild(&worked[0]) {
                self.mark("the most specific of several patterns");
            }
            let worked = (!worked.is_empty()).then(|| worked.remove(0));
            return worked.map(Some).ok_or(Sent::Blocked("no-worker"));
        }
        let there = self.queues.contains_key(&route.name);
        match route.create {
            false => Ok(there.then(|| route.name.clone())),
            true if self.make_queue(&route.name, route.owner) => Ok(Some(route.name.clone())),
            true => Err(Sent::Refused("too-many-destinations")),
        }
    }

    /// All of a transaction or nothing: room is reserved in every queue first, in the order of their names.
    pub fn commit(&mut self, acts: &[Act]) -> Sent {
        let sends = acts.iter().filter_map(|act| match act {
            Act::Send(route, message) => Some((route, message)),
            Act::Settle(..) => None,
        });
        let ours: Vec<_> = sends.clone().map(|(_, message)| Rc::as_ptr(message)).collect();
        if self.octets(&ours) + self.cost_of_queues() >= self.broker.memory_high_water {
            return Sent::Blocked("memory-full");
        }
        let mut wanted: BTreeMap<&String, (&Route, usize, usize)> = BTreeMap::new();
        for (route, message) in sends.filter(|(route, _)| route.queue) {
            let sum = wanted.entry(&route.name).or_insert((route, 0, 0));
            sum.1 += 1;
            sum.2 += message.size();
        }
        // The queues by the names that messages are sent to.
        let mut there = BTreeMap::new();
        let mut not = None;
        for (name, (route, messages, octets)) in wanted {
            match self.reserve(route, messages, octets) {
                Ok(None) => {}
                Ok(Some(queue)) => _ = there.insert(name.clone(), queue),
                Err(sent) => {
                    not = Some(sent);
                    break;
                }
            }
        }
        if let Some(not) = not {
            for queue in there.values() {
                self.queues.get_mut(queue).expect("reserved").reserved = (0, 0);
            }
            return not;
        }
        for act in acts {
            self.apply(act, &there);
        }
        self.count("committed", 1);
        Sent::Done
    }

    fn reserve(&mut self, route: &Route, messages: usize, octets: usize) -> Result<Option<String>, Sent> {
        let Some(name) = self.queue_for(route)? else {
            return Ok(None);
        };
        let queue = self.queues.get_mut(&name).expect("made");
        let full = !queue.room(messages, octets);
        match queue.policy.full {
            WhenFull::Block if full => Err(Sent::Blocked("queue-full")),
            WhenFull::Reject if full => {
                self.count("refused_queue_full", 1);
                Err(Sent::Refused("queue-full"))
            }
            _ => {
                // Names that one pattern matches share its queue.
                queue.reserved = (queue.reserved.0 + messages, queue.reserved.1 + octets);
                Ok(Some(name))
            }
        }
    }

    fn apply(&mut self, act: &Act, there: &BTreeMap<String, String>) {
        match act {
            Act::Settle(name, consumer, tags, settle) => self.settle(name, *consumer, tags, *settle),
            Act::Send(route, message) if !route.queue => self.publish(route, message),
            Act::Send(route, message) => {
                let Some(name) = there.get(&route.name) else {
                    return self.count("dropped_no_queue", 1);
                };
                let queue = self.queues.get_mut(name).expect("reserved");
                queue.reserved.0 -= 1;
                queue.reserved.1 -= message.size();
                self.make_room(name, message.size(), "dropped_queue_full");
                self.append(name, message);
                self.count("sent", 1);
            }
        }
    }

    fn publish(&mut self, route: &Route, message: &Rc<Message>) {
        self.count("sent", 1);
        let answered = match route.reply {
            true if route.name.starts_with("/reply-app/") => Some(self.answer(&route.name, message) == Some(true)),
            true if route.name.starts_with("/reply-user/") => Some(self.hand_to_session(&route.name, message) > 0),
            _ => None,
        };
        if let Some(answered) = answered {
            if !answered {
                self.count("dropped_no_subscriber", 1);
            }
            return;
        }
        let mut targets: Vec<(usize, u32)> = Vec::new();
        for (at, session) in self.sessions.iter().enumerate() {
            let wants = |s: &&Sub| s.live && matches!(&s.feed, Feed::Pattern(p) if matches(p, &route.name));
            targets.extend(session.subs.iter().filter(wants).map(|s| (at, s.serial)));
        }
        targets.sort_by_key(|(at, serial)| (self.sessions[*at].entered, *serial));
        match self.topics.iter().find(|t| t.name == route.name) {
            Some(topic) => targets.extend(&topic.own),
            None if route.reply => targets.clear(),
            None if targets.is_empty() || !self.may_add() => {}
            None => {
                let id = self.number();
                self.topics.push(Topic {
                    id,
                    name: route.name.clone(),
                    own: Vec::new(),
                });
                self.remembered.push_back(id);
                if self.remembered.len() > self.broker.route_cache {
                    let oldest = self.remembered.pop_front();
                    self.topics.retain(|t| Some(t.id) != oldest || !t.own.is_empty());
                    self.mark("route forgotten");
                }
            }
        }
        let policy = self.topic_policy(&route.name);
        let taken = targets.iter().filter(|t| self.deliver(**t, message, &policy)).count();
        if taken > 1 && route.name.starts_with("/user/") {
            self.mark("a message for two sessions of a user");
        }
        if taken == 0 {
            self.count("dropped_no_subscriber", 1);
        }
    }

    /// Gives a topic's message to one subscription; whether it counts as taken.
    pub fn deliver(&mut self, (at, serial): (usize, u32), message: &Rc<Message>, policy: &TopicPolicy) -> bool {
        let Some(sub) = self.sessions[at].sub(serial) else {
            return false;
        };
        if sub.no_local && message.publisher == at {
            self.mark("no-local");
            return false;
        }
        if let Some((backlog, _)) = sub.source.clone() {
            return self.keep(&backlog, at, message, policy);
        }
        let limits = self.broker.outbound;
        let key = match policy {
            TopicPolicy::LatestOnly { key } => message.get(key).map(|value| format!("{} {value}", message.destination)),
            _ => None,
        };
        let session = &mut self.sessions[at];
        if !session.takes(serial) {
            return false;
        }
        let waiting = Waiting {
            message: Rc::clone(message),
            tag: 0,
            attempts: 0,
            key,
        };
        let sub = session.sub(serial).expect("it takes");
        let lane = sub.lane.as_mut().expect("it takes");
        let same = lane.iter_mut().find(|w| waiting.key.is_some() && w.key == waiting.key);
        if let Some(place) = same {
            *place = waiting;
            sub.skipped += 1;
            self.count("skipped", 1);
            self.mark("latest only");
            return true;
        }
        loop {
            let (messages, octets) = session.waiting(false);
            if messages == 0 || messages < limits.messages && octets + message.size() <= limits.bytes {
                break;
            }
            if *policy == TopicPolicy::Disconnect {
                session.fail_slow();
                return false;
            }
            session.sub(serial).expect("it takes").skipped += 1;
            *self.counts.entry("skipped").or_default() += 1;
            self.marks.insert("dropped oldest");
            if session.pop(serial).is_none() {
                self.marks.insert("skipped itself");
                return true;
            }
        }
        session.push(serial, waiting);
        true
    }

    /// A topic's message for a subscription with manual acknowledgement.
    fn keep(&mut self, backlog: &str, at: usize, message: &Rc<Message>, policy: &TopicPolicy) -> bool {
        let full = self.queues.get(backlog).map(|q| !q.room(1, message.size()));
        match full {
            None => return false,
            Some(true) if *policy == TopicPolicy::Disconnect => {
                self.sessions[at].fail_slow();
                self.mark("backlog too slow");
                return false;
            }
            Some(true) => {
                if !self.make_room(backlog, message.size(), "skipped") {
                    self.count("skipped", 1);
                    return false;
                }
            }
            Some(false) => {}
        }
        self.append(backlog, message);
        true
    }
}
