//! Queues whose messages are not for everybody: selectors, groups, consumers that are alone.

use super::*;

/// The selectors that clients use here, and the values of the header `key` that they match.
pub const SELECTORS: [(&str, [Option<&str>; 2]); 2] = [
    ("key = 'k0'", [Some("k0"), Some("k0")]),
    ("key <> 'k0' OR key IS NULL", [Some("k1"), None]),
];

impl Message {
    /// The group that it names.
    pub fn group(&self) -> Option<&str> {
        self.get("JMSXGroupID").filter(|group| !group.is_empty())
    }
}

impl Consumer {
    fn selects(&self, message: &Message) -> bool {
        let Some(own) = &self.selector else { return true };
        let known = SELECTORS.iter().find(|(text, _)| text == own);
        known.expect("one of these").1.contains(&message.get("key"))
    }
}

impl Queue {
    /// Whether a message is for the consumer: its selector matches, and its group is not that of another who could take
    /// it.
    pub fn is_for(&self, id: u64, message: &Message) -> bool {
        let consumer = |id: u64| self.consumers.iter().find(|c| c.id == id);
        if self.sole.is_some_and(|sole| sole != id) || !consumer(id).is_some_and(|c| c.selects(message)) {
            return false;
        }
        let owner = message.group().and_then(|group| self.groups.get(group));
        let other = owner.filter(|owner| **owner != id).and_then(|owner| consumer(*owner));
        self.sole == Some(id) || !other.is_some_and(|other| other.active && other.selects(message))
    }

    /// The next message for the consumer: highest priority first, oldest first among equals.
    fn next_for(&self, id: u64) -> Option<usize> {
        let ready = self.entries.iter().enumerate().filter(|(_, e)| e.held.is_none());
        let own = ready.filter(|(_, e)| self.is_for(id, &e.message));
        let first = own.min_by_key(|(_, e)| (9 - e.message.priority, e.seq));
        first.map(|(at, _)| at)
    }
}

impl Reference {
    /// Hands out what can be handed out, to each consumer in turn what is for it.
    pub fn dispatch_by_choice(&mut self, name: &str) {
        let most = self.broker.unacknowledged;
        let mut in_vain = 0;
        loop {
            let Some(queue) = self.queues.get_mut(name) else { return };
            if in_vain >= queue.row.len() {
                return;
            }
            let id = queue.row[0];
            if !queue.wants(id, most) || queue.sole.is_some_and(|sole| sole != id) {
                queue.row.remove(0);
                self.mark("credit exhausted");
                continue;
            }
            let Some(at) = queue.next_for(id) else {
                queue.row.rotate_left(1);
                in_vain += 1;
                if queue.entries.iter().any(|e| e.held.is_none()) {
                    self.mark("passed over");
                }
                continue;
            };
            in_vain = 0;
            let message = Rc::clone(&queue.entries[at].message);
            if !self.offer(name, id, at) {
                continue;
            }
            let queue = self.queues.get_mut(name).expect("it had a message");
            let Some(group) = message.group().map(str::to_owned) else {
                continue;
            };
            if message.get("JMSXGroupSeq") == Some("-1") {
                queue.groups.remove(&group);
                self.mark("group closed");
            } else {
                queue.groups.entry(group).or_insert(id);
            }
        }
    }

    /// Sees who is alone now. If it is another or nobody, all may stand in the row again.
    pub fn elect(&mut self, name: &str) {
        let Some(queue) = self.queues.get_mut(name) else { return };
        let sole = queue.consumers.iter().find(|c| c.active && c.alone).map(|c| c.id);
        if std::mem::replace(&mut queue.sole, sole) == sole {
            return;
        }
        let all: Vec<u64> = queue.consumers.iter().map(|c| c.id).collect();
        for id in all {
            self.stand(name, id);
        }
        self.mark("another is alone");
    }

    /// A consumer takes no more: its groups are free.
    pub fn depart(&mut self, name: &str, id: u64) {
        let Some(queue) = self.queues.get_mut(name) else { return };
        if queue.choosy {
            let before = queue.groups.len();
            queue.groups.retain(|_, owner| *owner != id);
            let moved = queue.groups.len() < before;
            queue.choosy = !queue.groups.is_empty() || queue.consumers.iter().any(|c| c.selector.is_some());
            if moved {
                self.mark("a group is free");
            }
        }
        if self.queues[name].sole == Some(id) {
            self.elect(name);
        }
    }
}
