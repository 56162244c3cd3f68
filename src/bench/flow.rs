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
}

/// One publisher's messages: how many were sent, how many have arrived, how many there are to be.
#[derive(Debug)]
pub(super) struct Flow {
    window: u64,
    room: Room,
    /// A message is under way until its RECEIPT has come, too.
    receipts: bool,
    sent: Cell<u64>,
    /// All messages below have arrived; in a queue, that many.
    arrived: Cell<u64>,
    receipted: Cell<u64>,
    /// Nothing is sent from this number on.
    limit: Cell<u64>,
    moved: Notify,
}

impl Flow {
    /// A flow without end. The window counts messages.
    pub(super) fn new(window: u64, room: Room, receipts: bool) -> Flow {
        if let Room::DeliveredToAll { ring, .. } = &room {
            ring.borrow_mut().resize(window as usize, 0);
        }
        Flow {
            window,
            room,
            receipts,
            sent: Cell::new(0),
            arrived: Cell::new(0),
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
            _ => (self.window + self.done()).saturating_sub(self.sent.get()).min(left),
        }
    }

    fn done(&self) -> u64 {
        let arrived = self.arrived.get();
        match self.receipts {
            true => arrived.min(self.receipted.get()),
            false => arrived,
        }
    }

    /// Whether all was sent that is to be.
    pub(super) fn is_over(&self) -> bool {
        self.sent.get() >= self.limit.get()
    }

    /// Messages sent whose RECEIPT has not come, where one is asked for.
    pub(super) fn unreceipted(&self) -> u64 {
        match self.receipts {
            true => self.sent.get().saturating_sub(self.receipted.get()),
            false => 0,
        }
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
            Room::Always => {}
            Room::Delivered => self.arrive(self.arrived.get() + 1),
            Room::DeliveredToAll { ring, .. } => {
                let mut ring = ring.borrow_mut();
                let slot = |number: u64| (number % self.window) as usize;
                if let Some(left) = ring.get_mut(slot(number)) {
                    *left = left.saturating_sub(1);
                }
                let mut arrived = self.arrived.get();
                while arrived < self.sent.get() && ring.get(slot(arrived)) == Some(&0) {
                    arrived += 1;
                }
                if arrived > self.arrived.get() {
                    self.arrive(arrived);
                }
            }
        }
    }

    /// A RECEIPT came.
    pub(super) fn receipt(&self) {
        self.receipted.set(self.receipted.get() + 1);
        self.moved.notify_one();
    }

    fn arrive(&self, arrived: u64) {
        self.arrived.set(arrived);
        self.moved.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_subscriber_makes_the_room() {
        let ring = RefCell::default();
        let flow = Flow::new(2, Room::DeliveredToAll { fan: 2, ring }, false);
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
        let flow = Flow::new(10, Room::Delivered, false);
        flow.send();
        flow.end_after(2);
        assert_eq!(flow.room(), 2);
        flow.send();
        flow.send();
        assert!(flow.is_over());
        assert_eq!(flow.room(), 0);
    }

    #[test]
    fn a_receipt_is_waited_for_where_it_is_asked_for() {
        let flow = Flow::new(1, Room::Delivered, true);
        flow.send();
        flow.delivered(0);
        assert_eq!((flow.room(), flow.unreceipted()), (0, 1));
        flow.receipt();
        assert_eq!((flow.room(), flow.unreceipted()), (1, 0));
    }
}
