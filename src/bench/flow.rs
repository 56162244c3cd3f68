//! How far a publisher may be ahead of those who receive.

use std::cell::{Cell, RefCell};

use tokio::sync::Notify;

/// What gives a publisher room for another message.
#[derive(Debug)]
pub(super) enum Room {
    /// The clock alone: open loop.
    Always,
    /// One delivery, to whomever.
    Delivered,
    /// The delivery to all of `fan` subscriptions, the slowest included. The ring has what is still to come of each
    /// message in the window.
    DeliveredToAll { fan: u32, ring: RefCell<Vec<u32>> },
    /// The RECEIPT.
    Receipted,
}

/// One publisher's messages: how many were sent, how many have arrived, how many there are to be.
#[derive(Debug)]
pub(super) struct Flow {
    window: u64,
    room: Room,
    sent: Cell<u64>,
    done: Cell<u64>,
    receipted: Cell<u64>,
    /// Nothing is sent from this number on.
    limit: Cell<u64>,
    moved: Notify,
}

impl Flow {
    /// A flow without end. The window counts messages.
    pub(super) fn new(window: u64, room: Room) -> Flow {
        if let Room::DeliveredToAll { ring, .. } = &room {
            ring.borrow_mut().resize(window as usize, 0);
        }
        Flow {
            window,
            room,
            sent: Cell::new(0),
            done: Cell::new(0),
            receipted: Cell::new(0),
            limit: Cell::new(u64::MAX),
            moved: Notify::new(),
        }
    }

    /// Messages sent; the number of the next one.
    pub(super) fn sent(&self) -> u64 {
        self.sent.get()
    }

    /// How many messages may be sent now.
    pub(super) fn room(&self) -> u64 {
        let left = self.limit.get().saturating_sub(self.sent.get());
        match self.room {
            Room::Always => left,
            _ => (self.window + self.done.get())
                .saturating_sub(self.sent.get())
                .min(left),
        }
    }

    /// Whether all was sent that is to be.
    pub(super) fn is_over(&self) -> bool {
        self.sent.get() >= self.limit.get()
    }

    /// Messages sent whose RECEIPT has not come.
    pub(super) fn unreceipted(&self) -> u64 {
        self.sent.get().saturating_sub(self.receipted.get())
    }

    /// Ends the flow when `more` further messages have been sent.
    pub(super) fn end_after(&self, more: u64) {
        self.limit.set(self.sent.get().saturating_add(more));
        self.moved.notify_one();
    }

    /// Waits until [`Flow::room`] or [`Flow::is_over`] may have changed.
    pub(super) async fn moved(&self) {
        self.moved.notified().await;
    }

    /// Counts a message as sent.
    pub(super) fn send(&self) {
        let number = self.sent.get();
        if let Room::DeliveredToAll { fan, ring } = &self.room {
            if let Some(left) = ring.borrow_mut().get_mut((number % self.window) as usize) {
                *left = *fan;
            }
        }
        self.sent.set(number + 1);
    }

    /// Message `number` was delivered for the first time to one of those it is for.
    pub(super) fn delivered(&self, number: u64) {
        match &self.room {
            Room::Always | Room::Receipted => {}
            Room::Delivered => self.advance(self.done.get() + 1),
            Room::DeliveredToAll { ring, .. } => {
                let mut ring = ring.borrow_mut();
                let slot = |number: u64| (number % self.window) as usize;
                if let Some(left) = ring.get_mut(slot(number)) {
                    *left = left.saturating_sub(1);
                }
                let mut done = self.done.get();
                while done < self.sent.get() && ring.get(slot(done)) == Some(&0) {
                    done += 1;
                }
                if done > self.done.get() {
                    self.advance(done);
                }
            }
        }
    }

    /// A RECEIPT came.
    pub(super) fn receipt(&self) {
        self.receipted.set(self.receipted.get() + 1);
        if matches!(self.room, Room::Receipted) {
            self.advance(self.done.get() + 1);
        }
    }

    fn advance(&self, done: u64) {
        self.done.set(done);
        self.moved.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_subscriber_makes_the_room() {
        let ring = RefCell::default();
        let flow = Flow::new(2, Room::DeliveredToAll { fan: 2, ring });
        assert_eq!(flow.room(), 2);
        flow.send();
        flow.send();
        assert_eq!(flow.room(), 0);
        flow.delivered(0);
        flow.delivered(1);
        flow.delivered(1);
        assert_eq!(flow.room(), 0, "the first message is still on its way to one of them");
        flow.delivered(0);
        assert_eq!(flow.room(), 2);
    }

    #[test]
    fn a_flow_ends_where_it_is_told() {
        let flow = Flow::new(10, Room::Delivered);
        flow.send();
        flow.end_after(2);
        assert_eq!(flow.room(), 2);
        flow.send();
        flow.send();
        assert!(flow.is_over());
        assert_eq!(flow.room(), 0);
    }
}
