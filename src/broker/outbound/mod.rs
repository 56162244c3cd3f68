//! What waits to be written to one connection: control frames, and a lane for each subscription.

mod lanes;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use lanes::{Lane, Lanes};

use super::message::Message;
use super::settings::{OutboundLimits, TopicPolicy};
use super::Now;
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
    /// For the answer to a request: its one frame leaves a mark, as those of a queue do.
    pub answer: bool,
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

/// A frame of a queue's lane, or an answer's, in the transport's output.
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

/// A message of a topic for one of its subscriptions.
#[derive(Clone, Copy, Debug)]
pub struct Offer<'a> {
    /// The message.
    pub message: &'a Arc<Message>,
    /// What happens if its subscriber does not keep up.
    pub policy: &'a TopicPolicy,
    /// Tells messages apart under [`TopicPolicy::LatestOnly`].
    pub key: Option<&'a Arc<str>>,
    /// Who is nudged when it should go on; `None` if nobody can wait.
    pub publisher: Option<&'a Arc<Outbound>>,
}

/// What became of a message offered to a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offered {
    /// It waits.
    Taken,
    /// It waits, and so should the publisher: the subscriber reads, but not as fast as messages come. The publisher is
    /// nudged when there is room; at this time (`Now::mono`) it goes on in any case.
    Crowded(u64),
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
    /// Octets of the control frames that wait. Changed under the lock only; read without it, once for every frame that comes.
    control_octets: AtomicUsize,
    /// Locked after a destination, never before; never held across an await.
    lanes: Mutex<Lanes>,
}

impl Outbound {
    /// An empty outbound.
    pub fn new(limits: OutboundLimits) -> Outbound {
        Outbound {
            limits,
            control_octets: AtomicUsize::new(0),
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
        lanes.keep(waker, false);
        false
    }

    /// As [`Outbound::poll_work`] for an owner whose socket is full: frames do not count, they would find no room.
    pub fn poll_call(&self, waker: &Waker) -> bool {
        let mut lanes = self.lock();
        if lanes.is_called() {
            return true;
        }
        lanes.keep(waker, true);
        false
    }

    /// Appends a control frame. It is never refused: the session stops reading instead, see
    /// [`Outbound::has_room_for_control`].
    pub fn control(&self, frame: Vec<u8>) {
        let mut lanes = self.lock();
        if lanes.closed {
            return;
        }
        self.control_octets.fetch_add(frame.len(), Ordering::Relaxed);
        lanes.control.push_back(frame.into_boxed_slice());
        lanes.wake_for_frame();
    }

    /// How long publishers wait for this connection.
    pub fn patience_ms(&self) -> u64 {
        self.limits.patience_ms
    }

    /// Whether the client reads its receipts. If not, no more of its frames are taken.
    pub fn has_room_for_control(&self) -> bool {
        self.control_octets.load(Ordering::Relaxed) < self.limits.control_bytes
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

    /// Calls a blocked sender: there may be room for what it waits with.
    pub fn call(&self) {
        let mut lanes = self.lock();
        lanes.nudged = true;
        lanes.called = true;
        lanes.wake();
    }

    /// Whether somebody called [`Outbound::call`] since the last time.
    pub fn take_call(&self) -> bool {
        std::mem::take(&mut self.lock().called)
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
        let lane = Lane::new(serial, head);
        let slot = lanes.free.pop().unwrap_or(lanes.slots.len() as u32);
        match lanes.slots.get_mut(slot as usize) {
            Some(place) => *place = Some(lane),
            None => lanes.slots.push(Some(lane)),
        }
        LaneId { slot, serial }
    }

    /// Whether deliveries have ended.
    pub fn is_finished(&self) -> bool {
        self.lock().finished
    }

    /// Ends a lane: nothing of it is drained any more. Gives the tag of the first delivery that still waited.
    pub fn close_lane(&self, id: LaneId) -> Option<u64> {
        let mut lanes = self.lock();
        lanes.lane(id)?;
        let lane = lanes.slots.get_mut(id.slot as usize)?.take()?;
        lanes.free.push(id.slot);
        lanes.messages -= lane.waiting.len();
        lanes.octets -= lane.octets;
        if lane.head.queue {
            lanes.queued_messages -= lane.waiting.len();
            lanes.queued_octets -= lane.octets;
        }
        lanes.turn.retain(|slot| *slot != id.slot);
        if lanes.has_idle_room() {
            lanes.wake();
        }
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
        lanes.free = Vec::new();
        lanes.turn = VecDeque::new();
        lanes.finished = true;
        lanes.closed = true;
        lanes.control.clear();
        self.control_octets.store(0, Ordering::Relaxed);
        lanes.forget_waker();
    }

    /// A message of a topic for a subscription in auto mode.
    ///
    /// A publisher that is faster than a subscriber who reads is made to wait, so that a burst costs nobody the
    /// connection. It waits once, for [`OutboundLimits::patience_ms`] at most, and not at all for one who has taken
    /// nothing for as long: a stuck reader must not slow others.
    pub fn publish(&self, id: LaneId, offer: &Offer<'_>, now: u64) -> Offered {
        let Offer {
            message,
            policy,
            key,
            publisher,
        } = *offer;
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
        lanes.push(id, delivery, size, key, now);
        match displaced {
            0 if *policy == TopicPolicy::Disconnect => lanes.crowd(publisher, &self.limits, now),
            0 => Offered::Taken,
            some => Offered::Displaced(some),
        }
    }

    /// A message of a queue. Refused beyond half of the budget.
    pub fn offer(&self, id: LaneId, delivery: Delivery, now: u64) -> Offered {
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
        lanes.push(id, delivery, size, None, now);
        Offered::Taken
    }

    /// Appends waiting frames to `sink`, control frames first, then at most 64 deliveries or
    /// 64 KiB of them, and one mark for each
    /// frame of a queue.
    pub fn drain(&self, sink: &mut impl FrameSink, marks: &mut VecDeque<Mark>, now: Now) -> Drained {
        let mut drained = Drained::default();
        let mut lanes = self.lock();
        // Control frames have a budget of their own, or a client that floods us would starve its deliveries.
        let start = sink.position();
        while sink.position() - start < TURN_OCTETS {
            let Some(frame) = lanes.control.pop_front() else { break };
            self.control_octets.fetch_sub(frame.len(), Ordering::Relaxed);
            sink.frame(&[&frame], true);
        }
        let start = sink.position();
        for _ in 0..TURN_FRAMES {
            if lanes.finished
                || sink.position() - start >= TURN_OCTETS
                || !lanes.deliver(sink, marks, now.unix_ms, &mut drained)
            {
                break;
            }
        }
        drained.more = !lanes.control.is_empty() || (!lanes.finished && !lanes.turn.is_empty());
        let called = lanes.uncrowd(&self.limits, now.mono);
        drop(lanes);
        for publisher in called {
            publisher.nudge();
        }
        drained
    }

    /// Takes the next delivery as a value, for a subscriber without a socket.
    pub fn take(&self, now: Now) -> Option<(LaneId, Delivery)> {
        let mut lanes = self.lock();
        let mut taken = lanes.next();
        while taken
            .as_ref()
            .is_some_and(|(_, d)| d.tag == 0 && d.message.is_expired(now.unix_ms))
        {
            taken = lanes.next();
        }
        let called = lanes.uncrowd(&self.limits, now.mono);
        drop(lanes);
        for publisher in called {
            publisher.nudge();
        }
        taken
    }
}
