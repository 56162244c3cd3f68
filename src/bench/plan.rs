//! Who sends where, who listens where, and what must therefore come.

use std::ops::Range;

use super::{Arguments, Scenario};

/// A scenario's destinations and how publishers and subscribers use them.
#[derive(Debug)]
pub(super) struct Plan {
    scenario: Scenario,
    /// Names of this run alone, so that nothing of another comes.
    pub(super) destinations: Vec<String>,
    pub(super) publishers: usize,
    pub(super) subscribers: usize,
}

impl Plan {
    /// `run` tells this run from any other on the same broker.
    pub(super) fn new(arguments: &Arguments, run: &str) -> Plan {
        let topics = |count| {
            let name = |index| format!("{}bench.{run}.{index}", arguments.topic_prefix);
            (0..count).map(name).collect()
        };
        Plan {
            scenario: arguments.scenario,
            destinations: match arguments.scenario {
                Scenario::Queue => vec![format!("{}bench.{run}", arguments.queue_prefix)],
                Scenario::Pairs => topics(arguments.publishers),
                Scenario::Spread => topics(arguments.destinations),
                Scenario::Fanout | Scenario::Idle | Scenario::Connect => topics(1),
            },
            publishers: arguments.publishers,
            subscribers: arguments.subscriber_count(),
        }
    }

    /// Whether subscribers share the messages.
    pub(super) fn is_queue(&self) -> bool {
        self.scenario == Scenario::Queue
    }

    /// Subscriptions that get each message.
    pub(super) fn fan(&self) -> u32 {
        match self.scenario {
            Scenario::Fanout => self.subscribers as u32,
            _ => 1,
        }
    }

    /// The destinations that a publisher goes round.
    pub(super) fn sends_to(&self, publisher: usize) -> &[String] {
        let own = match self.scenario {
            Scenario::Pairs => publisher..publisher + 1,
            _ => 0..self.destinations.len(),
        };
        self.destinations.get(own).unwrap_or_default()
    }

    /// The destination of a subscription.
    pub(super) fn listens_to(&self, subscriber: usize) -> &str {
        let index = subscriber % self.destinations.len().max(1);
        self.destinations.get(index).map_or("", String::as_str)
    }

    /// The publishers that a subscription hears.
    pub(super) fn hears(&self, subscriber: usize) -> Range<usize> {
        match self.scenario {
            Scenario::Pairs => subscriber..subscriber + 1,
            _ => 0..self.publishers,
        }
    }

    /// A publisher's numbers that come to one subscription to a topic are this far apart.
    pub(super) fn stride(&self) -> u64 {
        match self.scenario {
            Scenario::Spread => self.destinations.len().max(1) as u64,
            _ => 1,
        }
    }

    /// Of `sent` messages of a publisher that it hears, how many a subscription to a topic must get.
    pub(super) fn due(&self, subscriber: usize, sent: u64) -> u64 {
        let stride = self.stride();
        match self.scenario {
            Scenario::Spread => (sent + stride - 1).saturating_sub(subscriber as u64) / stride,
            _ => sent,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::arguments;
    use super::*;

    #[test]
    fn what_is_spread_is_due_to_each_in_turn() {
        let plan = Plan::new(&arguments(&["spread", "--destinations", "3"]), "x");
        for (sent, due) in [(0, [0, 0, 0]), (1, [1, 0, 0]), (3, [1, 1, 1]), (5, [2, 2, 1])] {
            let found = [0, 1, 2].map(|subscriber| plan.due(subscriber, sent));
            assert_eq!(found, due, "{sent} sent");
        }
    }

    #[test]
    fn pairs_keep_to_themselves() {
        let plan = Plan::new(&arguments(&["pairs", "--publishers", "3"]), "x");
        assert_eq!(plan.subscribers, 3);
        assert_eq!(plan.sends_to(1), [plan.listens_to(1)]);
        assert_eq!(plan.hears(1), 1..2);
    }
}
