//! The lanes behind an outbound's lock.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::task::Waker;

use super::{Delivery, Drained, FrameSink, LaneHead, LaneId, Mark, Offered, Outbound, SlowConsumer};
use crate::broker::patience::Patience;
use crate::broker::settings::OutboundLimits;
use crate::stomp::encode::decimal;
use crate::stomp::Version;

#[derive(Debug, Default)]
pub(super) struct Lanes {
    pub(super) control: VecDeque<Box<[u8]>>,
    pub(super) slots: Vec<Option<Lane>>,
    /// Slots whose lanes have been closed.
    pub(super) free: Vec<u32>,
    /// Slots of lanes with deliveries, in the order in which they are served.
    pub(super) turn: VecDeque<u32>,
    /// Waiting in all lanes.
    pub(super) messages: usize,
    pub(super) octets: usize,
    /// Of these, what queues put there.
    pub(super) queued_messages: usize,
    pub(super) queued_octets: usize,
    /// A queue was refused and wants to hear of room.
    pub(super) stalled: bool,
    /// Something else than frames calls for the owner: room in a queue, a kept ticket.
    pub(super) nudged: bool,
    /// It was room in a queue.
    pub(super) called: bool,
    pub(super) slow: Option<SlowConsumer>,
    /// No delivery is taken or drained any more; control frames still are.
    pub(super) finished: bool,
    pub(super) closed: bool,
    /// What publishers wait for the owner, and those who do now.
    patience: Patience,
    publishers: Vec<Arc<Outbound>>,
    waker: Option<Waker>,
    /// The owner's socket is full: frames need not wake it.
    full: bool,
    /// Where the part of a frame that differs between deliveries is put together.
    pub(super) scratch: Vec<u8>,
}

#[derive(Debug)]
pub(super) struct Lane {
    pub(super) serial: u32,
    pub(super) head: LaneHead,
    pub(super) waiting: VecDeque<Delivery>,
    pub(super) octets: usize,
    /// Messages that gave way since the last delivery.
    pub(super) skipped: u64,
    latest: Option<Box<Latest>>,
}

/// Keeps only the newest message per key. `keys` runs beside `Lane::waiting`.
#[derive(Debug, Default)]
struct Latest {
    /// Number of the front of `Lane::waiting`.
    first: u64,
    keys: VecDeque<Option<Arc<str>>>,
    place: BTreeMap<Arc<str>, u64>,
}

impl Lanes {
    pub(super) fn has_work(&self) -> bool {
        let deliveries = !self.turn.is_empty() || self.has_idle_room();
        !self.control.is_empty() || self.is_called() || (!self.finished && deliveries)
    }

    /// Whether a queue was refused and no delivery is left that would call the owner to tell it of room: the lane that
    /// was in the way has been closed.
    pub(super) fn has_idle_room(&self) -> bool {
        self.stalled && self.queued_messages == 0
    }

    /// Whether something else than frames is there for the owner.
    pub(super) fn is_called(&self) -> bool {
        self.nudged || (!self.finished && self.slow.is_some())
    }

    pub(super) fn keep(&mut self, waker: &Waker, full: bool) {
        self.full = full;
        match &self.waker {
            Some(known) if known.will_wake(waker) => {}
            _ => self.waker = Some(waker.clone()),
        }
    }

    pub(super) fn forget_waker(&mut self) {
        self.waker = None;
    }

    pub(super) fn wake_for_frame(&mut self) {
        if !self.full {
            self.wake();
        }
    }

    pub(super) fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    pub(super) fn lane(&mut self, id: LaneId) -> Option<&mut Lane> {
        match self.slots.get_mut(id.slot as usize) {
            Some(Some(lane)) if lane.serial == id.serial => Some(lane),
            _ => None,
        }
    }

    pub(super) fn fits(&self, size: usize, limits: &OutboundLimits) -> bool {
        self.messages == 0 || (self.messages < limits.messages && self.octets + size <= limits.bytes)
    }

    pub(super) fn push(&mut self, id: LaneId, delivery: Delivery, size: usize, key: Option<&Arc<str>>, now: u64) {
        let Some(lane) = self.lane(id) else { return };
        if key.is_some() && lane.latest.is_none() {
            // From here on the keys run beside what waits, which has none.
            let keys = lane.waiting.iter().map(|_| None).collect();
            lane.latest = Some(Box::new(Latest {
                keys,
                ..Latest::default()
            }));
        }
        if let Some(latest) = &mut lane.latest {
            if let Some(key) = key {
                latest
                    .place
                    .insert(Arc::clone(key), latest.first + latest.keys.len() as u64);
            }
            latest.keys.push_back(key.cloned());
        }
        lane.waiting.push_back(delivery);
        lane.octets += size;
        let (first, queue) = (lane.waiting.len() == 1, lane.head.queue);
        if first {
            self.turn.push_back(id.slot);
        }
        if self.messages == 0 {
            self.patience.moves(now);
        }
        self.messages += 1;
        self.octets += size;
        if queue {
            self.queued_messages += 1;
            self.queued_octets += size;
        }
        self.wake_for_frame();
    }

    /// Puts `delivery` in the place of the waiting one with the same key, if there is one.
    pub(super) fn replace(&mut self, id: LaneId, key: &Arc<str>, delivery: &Delivery, size: usize) -> bool {
        let Some(lane) = self.lane(id) else { return false };
        let Some(latest) = &lane.latest else { return false };
        let Some(place) = latest.place.get(key) else {
            return false;
        };
        let Some(old) = lane.waiting.get_mut((place - latest.first) as usize) else {
            return false;
        };
        let before = old.message.size();
        *old = delivery.clone();
        lane.skipped += 1;
        lane.octets = lane.octets - before + size;
        self.octets = self.octets - before + size;
        true
    }

    /// Drops the oldest delivery of a topic's lane, or counts the new one as skipped if none waits there.
    pub(super) fn drop_oldest(&mut self, id: LaneId) -> bool {
        let Some(lane) = self.lane(id) else { return false };
        lane.skipped += 1;
        let Some(oldest) = lane.pop() else { return false };
        let size = oldest.message.size();
        if lane.waiting.is_empty() {
            self.turn.retain(|slot| *slot != id.slot);
        }
        self.messages -= 1;
        self.octets -= size;
        true
    }

    /// The next delivery in turn; its lane goes to the end of the row.
    pub(super) fn next(&mut self) -> Option<(LaneId, Delivery)> {
        let slot = self.turn.pop_front()?;
        let lane = self.slots.get_mut(slot as usize)?.as_mut()?;
        let delivery = lane.pop()?;
        let size = delivery.message.size();
        let (serial, queue) = (lane.serial, lane.head.queue);
        if !lane.waiting.is_empty() {
            self.turn.push_back(slot);
        }
        self.messages -= 1;
        self.octets -= size;
        if queue {
            self.queued_messages -= 1;
            self.queued_octets -= size;
        }
        Some((LaneId { slot, serial }, delivery))
    }

    /// Appends the next delivery in turn to `sink`. False when none waits.
    pub(super) fn deliver(
        &mut self,
        sink: &mut impl FrameSink,
        marks: &mut VecDeque<Mark>,
        unix_ms: u64,
        drained: &mut Drained,
    ) -> bool {
        let Some((id, delivery)) = self.next() else {
            return false;
        };
        let Some(Some(lane)) = self.slots.get_mut(id.slot as usize) else {
            return false;
        };
        let message = &delivery.message;
        if !lane.head.queue && message.is_expired(unix_ms) {
            drained.expired += 1;
            return true;
        }
        let scratch = &mut self.scratch;
        scratch.clear();
        if lane.head.manual {
            decimal(scratch, u64::from(lane.serial));
            scratch.push(b'-');
            decimal(scratch, delivery.tag);
            if lane.head.version == Version::V1_2 {
                scratch.extend_from_slice(b"\nack:");
                decimal(scratch, u64::from(lane.serial));
                scratch.push(b'-');
                decimal(scratch, delivery.tag);
            }
        } else {
            decimal(scratch, message.number());
        }
        if lane.head.queue {
            let flag: &[u8] = if delivery.attempts > 0 {
                b"\nredelivered:true"
            } else {
                b"\nredelivered:false"
            };
            scratch.extend_from_slice(flag);
            if delivery.attempts > 0 {
                scratch.extend_from_slice(b"\ndelivery-count:");
                decimal(scratch, u64::from(delivery.attempts) + 1);
            }
        }
        if lane.skipped > 0 {
            scratch.extend_from_slice(b"\nx-skipped:");
            decimal(scratch, std::mem::take(&mut lane.skipped));
        }
        scratch.push(b'\n');
        let tail = message.tail(lane.head.version, lane.head.safe);
        sink.frame(&[&lane.head.prefix, scratch, tail], message.is_utf8());
        drained.deliveries += 1;
        if lane.head.queue || lane.head.answer {
            marks.push_back(Mark {
                end: sink.position(),
                lane: id,
                tag: delivery.tag,
            });
        }
        true
    }

    /// Whether `publisher` should wait before it sends more: the verdict on a message that has just been pushed.
    pub(super) fn crowd(&mut self, publisher: Option<&Arc<Outbound>>, limits: &OutboundLimits, now: u64) -> Offered {
        let (messages, octets) = self.of_topics();
        let Some(publisher) = publisher else {
            return Offered::Taken;
        };
        if limits.patience_ms == 0 || (messages * 4 <= limits.messages && octets * 4 <= limits.bytes) {
            return Offered::Taken;
        }
        let Some(until) = self.patience.wait(limits.patience_ms, now) else {
            return Offered::Taken;
        };
        if !self.publishers.last().is_some_and(|last| Arc::ptr_eq(last, publisher)) {
            self.publishers.push(Arc::clone(publisher));
        }
        Offered::Crowded(until)
    }

    /// Deliveries have left: who need not wait any more.
    pub(super) fn uncrowd(&mut self, limits: &OutboundLimits, now: u64) -> Vec<Arc<Outbound>> {
        self.patience.moves(now);
        let (messages, octets) = self.of_topics();
        if messages * 8 > limits.messages || octets * 8 > limits.bytes {
            return Vec::new();
        }
        self.patience.renew(now);
        std::mem::take(&mut self.publishers)
    }

    fn of_topics(&self) -> (usize, usize) {
        (self.messages - self.queued_messages, self.octets - self.queued_octets)
    }

    pub(super) fn fail(&mut self, slow: SlowConsumer) {
        self.drop_topics();
        self.slow = Some(slow);
        self.wake();
    }

    pub(super) fn drop_topics(&mut self) {
        for slot in &mut self.slots {
            if let Some(lane) = slot.take_if(|lane| !lane.head.queue) {
                self.messages -= lane.waiting.len();
                self.octets -= lane.octets;
            }
        }
        self.turn.clear();
        self.publishers.clear();
        self.stalled = false;
    }
}

impl Lane {
    pub(super) fn new(serial: u32, head: LaneHead) -> Lane {
        Lane {
            serial,
            head,
            waiting: VecDeque::new(),
            octets: 0,
            skipped: 0,
            latest: None,
        }
    }

    pub(super) fn pop(&mut self) -> Option<Delivery> {
        let delivery = self.waiting.pop_front()?;
        self.octets -= delivery.message.size();
        if let Some(latest) = &mut self.latest {
            let number = latest.first;
            latest.first += 1;
            if let Some(Some(key)) = latest.keys.pop_front() {
                if latest.place.get(&key) == Some(&number) {
                    latest.place.remove(&key);
                }
            }
        }
        if self.waiting.is_empty() && self.waiting.capacity() > 256 {
            // A burst must not leave its memory with an idle subscription.
            self.waiting = VecDeque::new();
        }
        Some(delivery)
    }
}
