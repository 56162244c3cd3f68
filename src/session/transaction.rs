//! Transactions of a session: what was sent and acknowledged between BEGIN and COMMIT.

use crate::broker::Act;

/// An open transaction.
#[derive(Debug, Default)]
pub struct Transaction {
    /// In the order of their frames.
    pub acts: Vec<Act>,
    /// Octets of the messages in it.
    pub octets: usize,
    /// When it was begun, in `Now::mono`.
    pub since: u64,
}

impl Transaction {
    /// Gives what it held for acknowledgement back: unacknowledged as before.
    pub fn abort(self) {
        for act in self.acts {
            if let Act::Settle(queue, consumer, tags, _) = act {
                queue.release(consumer, &tags);
            }
        }
    }
}
