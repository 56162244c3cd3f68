//! What waits to be written to one connection: control frames, and a lane for each subscription.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use super::message::Message;
use super::settings::{OutboundLimits, TopicPolicy};
use crate::stomp::encode::decimal;
use crate::stomp::Version;

/// Deliveries drained in one turn.
const TURN_FRAMES: usize = 64;
/// Octets drained in one turn.
const TURN_OCTETS: u64 = 64 << 10;

/// Where encoded frames go: the output of a transport.
pub trait FrameSink {
    /// Appends one STOMP frame, given in parts. `utf8` says that the whole frame is valid UTF-8, so that a text
    /// message may carry it. A heart-beat is a frame of one LF.
    fn frame(&mut self, parts: &[&[u8]], utf8: bool);

    /// Octets ever appended, framing included: the position after the last frame.
    fn position(&self) -> u64;
}

/// A subscription's lane in its connection's outbound. The serial tells it from a later one in the same slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LaneId {
    /// Index of the lane.
    pub slot: u32,
    /// Number of the subscription in its connection, never used twice.
    pub serial: u32,
}

/// How the MESSAGE frames of a lane begin, and what they say.
#[derive(Clone, Debug)]
pub struct LaneHead {
    /// `MESSAGE`, `subscription:..` and `message-id:` up to the part that differs.
    pub prefix: Box<[u8]>,
    /// The client's version.
    pub version: Version,
    /// Its decoder refuses frames whose content-type is no MIME type.
    pub safe: bool,
    /// Fed by a queue: carries `redelivered`, and is given back when it is not written.
    pub queue: bool,
    /// The client acknowledges: ids carry their place (`serial-tag`), and in 1.2 an `ack` header is there.
    pub manual: bool,
}

/// One message on its way to one subscription.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The message.
    pub message: Arc<Message>,
    /// Its place in the unacknowledged messages of the subscription; 0 on topics in auto mode.
    pub tag: u64,
    /// Deliveries before this one that were written and not settled.
    pub attempts: u32,
}

/// A frame of a queue's lane in the transport's output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Position after its last octet.
    pub end: u64,
    /// Its lane.
    pub lane: LaneId,
    /// Its delivery.
    pub tag: u64,
}

/// Why a connection is a slow consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlowConsumer {
    /// Messages that waited.
    pub messages: usize,
    /// Octets that waited.
    pub bytes: usize,
}

/// What became of a message offered to a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offered {
    /// It waits.
    Taken,
    /// It waits, and this many older ones gave way.
    Displaced(u64),
    /// No room: the caller keeps it. Only queues are told so; they are woken by [`Outbound::take_stalled`].
    Full,
    /// The lane is gone, or the connection has just become a slow consumer.
    Gone,
}

/// What one turn of draining did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drained {
    /// MESSAGE frames appended.
    pub deliveries: u64,
    /// Messages that had expired meanwhile.
    pub expired: u64,
    /// More waits.
    pub more: bool,
}

/// The bounded output of one connection.
///
/// Control frames (CONNECTED, RECEIPT, ERROR, heart-beats) go first; deliveries wait in a lane for each
/// subscription and are served round robin. Queues are refused when half of the budget is used and try again
/// later, so that only topics can make a slow consumer.
#[derive(Debug)]
pub struct Outbound {
    limits: OutboundLimits,
    /// Locked after a destination, never before; never held across an await.
    lanes: Mutex<Lanes>,
}

#[derive(Debug, Default)]
struct Lanes {
    control: VecDeque<Box<[u8]>>,
    control_octets: usize,
    slots: Vec<Option<Lane>>,
    /// Slots of lanes with deliveries, in the order in which they are served.
    turn: VecDeque<u32>,
    /// Waiting in all lanes.
    messages: usize,
    octets: usize,
    /// Of these, what queues put there.
    queued_messages: usize,
    queued_octets: usize,
    /// A queue was refused and wants to hear of room.
    stalled: bool,
    /// Something else than frames calls for the owner: room in a queue, a kept ticket.
    nudged: bool,
    slow: Option<SlowConsumer>,
    /// No delivery is taken or drained any more; control frames still are.
    finished: bool,
    closed: bool,
    waker: Option<Waker>,
    /// Where the part of a frame that differs between deliveries is put together.
    scratch: Vec<u8>,
}

#[derive(Debug)]
struct Lane {
    serial: u32,
    head: LaneHead,
    waiting: VecDeque<Delivery>,
    octets: usize,
    /// Messages that gave way since the last delivery.
    skipped: u64,
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

impl Outbound {
    /// An empty outbound.
    pub fn new(limits: OutboundLimits) -> Outbound {
        Outbound {
            limits,
            lanes: Mutex::default(),
        }
    }

    /// A broken invariant in one task must not cut every connection that shares a topic with it.
    fn lock(&self) -> MutexGuard<'_, Lanes> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the owning task has something to do here: frames to drain, or a SEND that may be tried again.
    /// If not, `waker` is kept and woken when that changes.
    pub fn poll_work(&self, waker: &Waker) -> bool {
        let mut lanes = self.lock();
        if lanes.has_work() {
            return true;
        }
        match &lanes.waker {
            Some(known) if known.will_wake(waker) => {}
            _ => lanes.waker = Some(waker.clone()),
        }
        false
    }

    /// Appends a control frame. It is never refused: the session stops reading instead, see
    /// [`Outbound::has_room_for_control`].
    pub fn control(&self, frame: Vec<u8>) {
        let mut lanes = self.lock();
        if lanes.closed {
            return;
        }
        lanes.control_octets += frame.len();
        lanes.control.push_back(frame.into_boxed_slice());
        lanes.wake();
    }

    /// Whether the client reads its receipts. If not, no more of its frames are taken.
    pub fn has_room_for_control(&self) -> bool {
        self.lock().control_octets < self.limits.control_bytes
    }

    /// Calls the owner although no frame waits.
    pub fn nudge(&self) {
        let mut lanes = self.lock();
        lanes.nudged = true;
        lanes.wake();
    }

    /// Whether somebody called [`Outbound::nudge`] since the last time.
    pub fn take_nudge(&self) -> bool {
        std::mem::take(&mut self.lock().nudged)
    }

    /// Whether a queue was refused and there is room again now.
    pub fn take_stalled(&self) -> bool {
        let mut lanes = self.lock();
        if !lanes.stalled || lanes.queued_messages * 2 >= self.limits.messages {
            return false;
        }
        if lanes.queued_octets > 0 && lanes.queued_octets * 2 >= self.limits.bytes {
            return false;
        }
        std::mem::take(&mut lanes.stalled)
    }

    /// The budget that was overrun, once the connection is a slow consumer.
    pub fn slow_consumer(&self) -> Option<SlowConsumer> {
        self.lock().slow
    }

    /// Makes the connection a slow consumer on behalf of a topic's backlog.
    pub fn fail(&self, slow: SlowConsumer) {
        let mut lanes = self.lock();
        if !lanes.finished && lanes.slow.is_none() {
            lanes.fail(slow);
        }
    }

    /// Messages and octets that wait now.
    pub fn waiting(&self) -> (usize, usize) {
        let lanes = self.lock();
        (lanes.messages, lanes.octets)
    }

    /// A lane for the subscription `serial`.
    pub fn open_lane(&self, serial: u32, head: LaneHead) -> LaneId {
        let mut lanes = self.lock();
        let lane = Lane {
            serial,
            head,
            waiting: VecDeque::new(),
            octets: 0,
            skipped: 0,
            latest: None,
        };
        let slot = match lanes.slots.iter().position(Option::is_none) {
            Some(free) => free,
            None => {
                lanes.slots.push(None);
                lanes.slots.len() - 1
            }
        };
        if let Some(place) = lanes.slots.get_mut(slot) {
            *place = Some(lane);
        }
        LaneId {
            slot: slot as u32,
            serial,
        }
    }

    /// Ends a lane: nothing of it is drained any more. Gives the tag of the first delivery that still waited.
    pub fn close_lane(&self, id: LaneId) -> Option<u64> {
        let mut lanes = self.lock();
        lanes.lane(id)?;
        let lane = lanes.slots.get_mut(id.slot as usize)?.take()?;
        lanes.messages -= lane.waiting.len();
        lanes.octets -= lane.octets;
        if lane.head.queue {
            lanes.queued_messages -= lane.waiting.len();
            lanes.queued_octets -= lane.octets;
        }
        lanes.turn.retain(|slot| *slot != id.slot);
        lane.waiting.front().map(|delivery| delivery.tag)
    }

    /// Ends deliveries; control frames still go out. What a queue put here stays until its lane is closed, so that
    /// it can be told what was never written.
    pub fn finish(&self) {
        let mut lanes = self.lock();
        lanes.drop_topics();
        lanes.finished = true;
    }

    /// Ends everything: what waits is dropped and further frames too.
    pub fn close(&self) {
        let mut lanes = self.lock();
        lanes.slots = Vec::new();
        lanes.turn = VecDeque::new();
        lanes.finished = true;
        lanes.closed = true;
        lanes.control.clear();
        lanes.control_octets = 0;
        lanes.waker = None;
    }

    /// A message of a topic for a subscription in auto mode. `key` tells messages apart under
    /// [`TopicPolicy::LatestOnly`].
    pub fn publish(&self, id: LaneId, message: &Arc<Message>, policy: &TopicPolicy, key: Option<&Arc<str>>) -> Offered {
        let size = message.size();
        let delivery = Delivery {
            message: Arc::clone(message),
            tag: 0,
            attempts: 0,
        };
        let mut lanes = self.lock();
        if lanes.finished || lanes.slow.is_some() || lanes.lane(id).is_none() {
            return Offered::Gone;
        }
        let mut displaced = 0;
        if let Some(key) = key {
            if lanes.replace(id, key, &delivery, size) {
                return Offered::Displaced(1);
            }
        }
        while !lanes.fits(size, &self.limits) {
            if *policy == TopicPolicy::Disconnect {
                let slow = SlowConsumer {
                    messages: lanes.messages,
                    bytes: lanes.octets,
                };
                lanes.fail(slow);
                return Offered::Gone;
            }
            displaced += 1;
            if !lanes.drop_oldest(id) {
                // Other lanes hold the budget: this message is the one that gives way.
                return Offered::Displaced(displaced);
            }
        }
        lanes.push(id, delivery, size, key);
        match displaced {
            0 => Offered::Taken,
            some => Offered::Displaced(some),
        }
    }

    /// A message of a queue. Refused beyond half of the budget.
    pub fn offer(&self, id: LaneId, delivery: Delivery) -> Offered {
        let size = delivery.message.size();
        let mut lanes = self.lock();
        if lanes.finished || lanes.slow.is_some() || lanes.lane(id).is_none() {
            return Offered::Gone;
        }
        let crowded =
            lanes.queued_messages * 2 >= self.limits.messages || (lanes.queued_octets + size) * 2 > self.limits.bytes;
        if crowded && lanes.queued_messages > 0 {
            lanes.stalled = true;
            return Offered::Full;
        }
        lanes.push(id, delivery, size, None);
        Offered::Taken
    }

    /// Appends waiting frames to `sink`, control frames first, at most 64 frames or 64 KiB, and one mark for each
    /// frame of a queue.
    pub fn drain(&self, sink: &mut impl FrameSink, marks: &mut VecDeque<Mark>, unix_ms: u64) -> Drained {
        let mut drained = Drained::default();
        let mut lanes = self.lock();
        let start = sink.position();
        let mut frames = 0;
        while frames < TURN_FRAMES && sink.position() - start < TURN_OCTETS {
            if let Some(frame) = lanes.control.pop_front() {
                lanes.control_octets -= frame.len();
                sink.frame(&[&frame], true);
            } else if lanes.finished || !lanes.deliver(sink, marks, unix_ms, &mut drained) {
                break;
            }
            frames += 1;
        }
        drained.more = !lanes.control.is_empty() || (!lanes.finished && !lanes.turn.is_empty());
        drained
    }

    /// Takes the next delivery as a value, for a subscriber without a socket.
    pub fn take(&self, unix_ms: u64) -> Option<(LaneId, Delivery)> {
        let mut lanes = self.lock();
        loop {
            let (id, delivery) = lanes.next()?;
            if !delivery.message.is_expired(unix_ms) || delivery.tag != 0 {
                return Some((id, delivery));
            }
        }
    }
}

impl Lanes {
    fn has_work(&self) -> bool {
        !self.control.is_empty() || self.nudged || (!self.finished && (!self.turn.is_empty() || self.slow.is_some()))
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn lane(&mut self, id: LaneId) -> Option<&mut Lane> {
        match self.slots.get_mut(id.slot as usize) {
            Some(Some(lane)) if lane.serial == id.serial => Some(lane),
            _ => None,
        }
    }

    fn fits(&self, size: usize, limits: &OutboundLimits) -> bool {
        self.messages == 0 || (self.messages < limits.messages && self.octets + size <= limits.bytes)
    }

    fn push(&mut self, id: LaneId, delivery: Delivery, size: usize, key: Option<&Arc<str>>) {
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
        self.messages += 1;
        self.octets += size;
        if queue {
            self.queued_messages += 1;
            self.queued_octets += size;
        }
        self.wake();
    }

    /// Puts `delivery` in the place of the waiting one with the same key, if there is one.
    fn replace(&mut self, id: LaneId, key: &Arc<str>, delivery: &Delivery, size: usize) -> bool {
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
    fn drop_oldest(&mut self, id: LaneId) -> bool {
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
    fn next(&mut self) -> Option<(LaneId, Delivery)> {
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
    fn deliver(
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
        if lane.head.queue {
            marks.push_back(Mark {
                end: sink.position(),
                lane: id,
                tag: delivery.tag,
            });
        }
        true
    }

    fn fail(&mut self, slow: SlowConsumer) {
        self.drop_topics();
        self.slow = Some(slow);
        self.wake();
    }

    fn drop_topics(&mut self) {
        for slot in &mut self.slots {
            if let Some(lane) = slot.take_if(|lane| !lane.head.queue) {
                self.messages -= lane.waiting.len();
                self.octets -= lane.octets;
            }
        }
        self.turn.clear();
        self.stalled = false;
    }
}

impl Lane {
    fn pop(&mut self) -> Option<Delivery> {
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
