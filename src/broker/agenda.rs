//! Dates: what has to happen to which destination, and when.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Due {
    /// Messages of the queue expire.
    Expiry,
    /// Messages of the queue that wait aside are due.
    Release,
    /// Consumers of the queue have more to look at.
    Look,
    /// The queue may have been idle for long enough to go.
    Idle,
}

/// The dates of a broker, at most one of each kind for each destination.
#[derive(Debug, Default)]
pub struct Agenda {
    /// Locked alone.
    dates: Mutex<Dates>,
}

#[derive(Debug, Default)]
struct Dates {
    by_time: BTreeSet<(u64, Arc<str>, Due)>,
    by_name: BTreeMap<(Arc<str>, Due), u64>,
}

impl Agenda {
    fn lock(&self) -> MutexGuard<'_, Dates> {
        self.dates.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a date, in `Now::mono`; an earlier one for the same thing stays.
    pub fn add(&self, at: u64, name: &Arc<str>, due: Due) {
        let mut dates = self.lock();
        let key = (Arc::clone(name), due);
        if let Some(known) = dates.by_name.get(&key).copied() {
            if known <= at {
                return;
            }
            dates.by_time.remove(&(known, Arc::clone(name), due));
        }
        dates.by_name.insert(key, at);
        dates.by_time.insert((at, Arc::clone(name), due));
    }

    /// Strikes out every date of a destination.
    pub fn strike(&self, name: &Arc<str>) {
        let mut dates = self.lock();
        for due in [Due::Expiry, Due::Release, Due::Look, Due::Idle] {
            if let Some(at) = dates.by_name.remove(&(Arc::clone(name), due)) {
                dates.by_time.remove(&(at, Arc::clone(name), due));
            }
        }
    }

    /// The next date.
    pub fn next_due(&self) -> Option<u64> {
        self.lock().by_time.first().map(|(at, _, _)| *at)
    }

    /// Takes a date that has come.
    pub fn take_due(&self, mono: u64) -> Option<(Arc<str>, Due)> {
        let mut dates = self.lock();
        if dates.by_time.first()?.0 > mono {
            return None;
        }
        let (_, name, due) = dates.by_time.pop_first()?;
        dates.by_name.remove(&(Arc::clone(&name), due));
        Some((name, due))
    }

    /// Dates there are.
    pub fn len(&self) -> usize {
        self.lock().by_time.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_date_of_a_kind_and_the_earliest() {
        let agenda = Agenda::default();
        let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
        agenda.add(9, &a, Due::Expiry);
        agenda.add(5, &a, Due::Expiry);
        agenda.add(7, &a, Due::Expiry);
        agenda.add(6, &b, Due::Idle);
        assert_eq!((agenda.len(), agenda.next_due()), (2, Some(5)));
        assert_eq!(agenda.take_due(4), None);
        assert_eq!(agenda.take_due(6), Some((a, Due::Expiry)));
        agenda.strike(&b);
        assert!(agenda.is_empty());
    }
}
