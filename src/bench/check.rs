//! What came, against what was sent: lost, twice, out of order.

use std::collections::BTreeMap;

use serde::Serialize;

/// What is wrong with what came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Faults {
    /// Sent and never came.
    pub(super) lost: u64,
    /// Came again.
    pub(super) duplicates: u64,
    /// Came after one that was sent later.
    pub(super) reordered: u64,
}

impl Faults {
    /// Whether nothing is wrong.
    pub(super) fn none(&self) -> bool {
        *self == Faults::default()
    }

    pub(super) fn add(&mut self, other: Faults) {
        self.lost += other.lost;
        self.duplicates += other.duplicates;
        self.reordered += other.reordered;
    }
}

/// What one subscription to a topic has of one publisher: each message, in order, once.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    /// One past the highest number that came.
    next: u64,
    /// Ranges below it that have not come: the first, and one past the last. Empty unless something is wrong.
    missing: BTreeMap<u64, u64>,
    duplicates: u64,
    reordered: u64,
}

impl Arrivals {
    /// Message `number` came. Whether for the first time.
    pub(super) fn note(&mut self, number: u64) -> bool {
        if number == self.next {
            self.next += 1;
            return true;
        }
        if number > self.next {
            self.missing.insert(self.next, number);
            self.next = number + 1;
            return true;
        }
        let late = self.missing.range(..=number).next_back();
        let Some((&first, &end)) = late.filter(|(_, end)| number < **end) else {
            self.duplicates += 1;
            return false;
        };
        self.missing.remove(&first);
        if first < number {
            self.missing.insert(first, number);
        }
        if number + 1 < end {
            self.missing.insert(number + 1, end);
        }
        self.reordered += 1;
        true
    }

    /// What is wrong when numbers below `sent` were sent.
    pub(super) fn faults(&self, sent: u64) -> Faults {
        let gaps: u64 = self.missing.iter().map(|(first, end)| end - first).sum();
        Faults {
            lost: gaps + sent.saturating_sub(self.next),
            duplicates: self.duplicates,
            reordered: self.reordered,
        }
    }
}

/// What all consumers of a queue have of one publisher: each message once, with one of them.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// A bit a message.
    came: Vec<u64>,
    count: u64,
    duplicates: u64,
}

impl Shared {
    /// Message `number` came. Whether for the first time.
    pub(super) fn note(&mut self, number: u64) -> bool {
        let (word, bit) = ((number / 64) as usize, 1 << (number % 64));
        if word >= self.came.len() {
            self.came.resize(word + 1, 0);
        }
        match self.came.get_mut(word) {
            Some(bits) if *bits & bit == 0 => {
                *bits |= bit;
                self.count += 1;
                true
            }
            _ => {
                self.duplicates += 1;
                false
            }
        }
    }

    /// What is wrong when numbers below `sent` were sent.
    pub(super) fn faults(&self, sent: u64) -> Faults {
        Faults {
            lost: sent.saturating_sub(self.count),
            duplicates: self.duplicates,
            reordered: 0,
        }
    }
}

/// What one consumer of a queue has of one publisher: not all, but what it has in order.
#[derive(Debug, Default)]
pub(super) struct Rising {
    /// One past the number that came last.
    next: u64,
    reordered: u64,
}

impl Rising {
    /// Message `number` came.
    pub(super) fn note(&mut self, number: u64) {
        if number < self.next {
            self.reordered += 1;
        }
        self.next = number + 1;
    }

    /// What is wrong.
    pub(super) fn faults(&self) -> Faults {
        Faults {
            reordered: self.reordered,
            ..Faults::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrivals(numbers: &[u64]) -> Arrivals {
        let mut arrivals = Arrivals::default();
        for number in numbers {
            arrivals.note(*number);
        }
        arrivals
    }

    fn faults(lost: u64, duplicates: u64, reordered: u64) -> Faults {
        Faults {
            lost,
            duplicates,
            reordered,
        }
    }

    #[test]
    fn a_topic_that_does_its_duty_has_no_faults() {
        assert!(arrivals(&[0, 1, 2, 3]).faults(4).none());
    }

    #[test]
    fn what_never_came_is_lost_wherever_it_was() {
        assert_eq!(arrivals(&[1, 2, 5]).faults(8), faults(1 + 2 + 2, 0, 0));
        assert_eq!(arrivals(&[]).faults(3), faults(3, 0, 0));
        assert_eq!(
            arrivals(&[0, 1]).faults(3),
            faults(1, 0, 0),
            "one more is expected than came"
        );
    }

    #[test]
    fn what_came_late_is_not_lost_but_out_of_order() {
        assert_eq!(arrivals(&[4, 2, 0, 1, 3]).faults(5), faults(0, 0, 4));
        assert_eq!(arrivals(&[0, 2, 1, 3]).faults(4), faults(0, 0, 1));
    }

    #[test]
    fn what_came_again_is_a_duplicate() {
        let mut again = arrivals(&[0, 3, 1]);
        assert!(!again.note(1), "late, and again");
        assert!(!again.note(0));
        assert!(again.note(2));
        assert!(!again.note(2));
        assert_eq!(again.faults(4), faults(0, 3, 2));
    }

    #[test]
    fn consumers_of_a_queue_share_without_loss_and_each_in_order() {
        let mut shared = Shared::default();
        for number in [0, 2, 1, 64, 200] {
            assert!(shared.note(number));
        }
        assert!(!shared.note(64));
        assert_eq!(shared.faults(5), faults(0, 1, 0));
        assert_eq!(shared.faults(201), faults(196, 1, 0));

        let mut rising = Rising::default();
        for number in [1, 5, 6, 2, 3] {
            rising.note(number);
        }
        assert_eq!(rising.faults(), faults(0, 0, 1));
    }
}
