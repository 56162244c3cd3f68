//! Message groups: all messages of a group go to one consumer, as long as it is there.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Groups of a queue that are remembered. Beyond it the one that was assigned longest ago is free again.
pub const GROUPS_MAX: usize = 10_000;

/// Who has which group.
#[derive(Debug, Default)]
pub(super) struct Groups {
    owners: BTreeMap<Arc<str>, (u32, u64)>,
    /// By age: the number of the assignment tells a group from one of the same name that was closed meanwhile.
    order: VecDeque<(u64, Arc<str>)>,
    next: u64,
}

impl Groups {
    pub(super) fn owner(&self, group: &str) -> Option<u32> {
        self.owners.get(group).map(|(owner, _)| *owner)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.owners.is_empty()
    }

    /// Gives a group to a consumer. If there are too many, another is free for it: its old owner sees what waits of it,
    /// others only what comes.
    pub(super) fn assign(&mut self, group: &str, owner: u32) {
        let group: Arc<str> = group.into();
        let number = self.next;
        self.next += 1;
        self.owners.insert(Arc::clone(&group), (owner, number));
        self.order.push_back((number, group));
        while self.owners.len() > GROUPS_MAX || self.order.len() > 2 * GROUPS_MAX {
            let Some((number, oldest)) = self.order.pop_front() else {
                return;
            };
            if self.owners.get(&oldest).is_some_and(|(_, of)| *of == number) {
                self.owners.remove(&oldest);
            }
        }
    }

    /// A group ends: its next message may go to anybody.
    pub(super) fn close(&mut self, group: &str) {
        self.owners.remove(group);
    }

    /// A consumer has gone: its groups are free.
    pub(super) fn leave(&mut self, consumer: u32) {
        self.owners.retain(|_, (owner, _)| *owner != consumer);
        if self.owners.is_empty() {
            self.order = VecDeque::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_bounded_and_the_oldest_is_free_again() {
        let mut groups = Groups::default();
        for number in 0..GROUPS_MAX + 5 {
            groups.assign(&number.to_string(), 1);
            if number % 2 == 0 {
                // Closed and begun again: young.
                groups.close("0");
                groups.assign("0", 2);
            }
        }
        assert_eq!(groups.owners.len(), GROUPS_MAX);
        assert!(groups.order.len() <= 2 * GROUPS_MAX);
        assert_eq!(groups.owner("0"), Some(2));
        assert_eq!((groups.owner("1"), groups.owner("10004")), (None, Some(1)));
        groups.leave(1);
        assert_eq!((groups.owner("10004"), groups.owner("0")), (None, Some(2)));
    }
}
