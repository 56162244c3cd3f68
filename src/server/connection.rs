//! One client's connection: the task that owns its transport and its session, and the only loop over both.
//!
//! A turn reads and executes what came, writes what waits, and arms the one timer. Each part has a budget, so that a
//! flooding client starves neither its own deliveries nor its neighbours; while a write waits for the socket, reading goes on.

use std::future::{poll_fn, Future};
use std::pin::{pin, Pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::task::yield_now;
use tokio::time::{sleep_until, Instant, Sleep};

use crate::broker::Now;
use crate::session::{Session, Step};
use crate::stomp::{DecodeError, DecodeErrorKind, Decoder, Limits};

use super::clock::Clock;
use super::ending::{Ending, Flushed, Over};
use super::roster::{Seat, Stage};
use super::stats::Counters;
use super::stopping::Stopping;
use super::transport::{Ended, Input, Transport};
use super::turns::{Pace, Quiet};

/// Octets read in one turn; the last read may go beyond it.
const TURN_OCTETS: usize = 64 << 10;
/// Batches written in one turn, each of at most 64 frames or 64 KiB.
const TURN_BATCHES: usize = 4;
/// Pongs may fill the output of a client that reads nothing up to this; then its input waits.
const REPLIES_WAITING: usize = 16 << 10;
/// What a connection is made of besides its transport.
pub(super) struct Parts {
    pub(super) session: Session,
    /// What the client may send before CONNECT.
    pub(super) limits: Limits,
    pub(super) seat: Seat,
    pub(super) clock: Clock,
    pub(super) counters: Arc<Counters>,
    pub(super) quiet: Arc<Quiet>,
    pub(super) write_ms: u64,
    pub(super) linger_ms: u64,
}

/// A transport, the session on it, and how far both are.
pub(super) struct Connection<T> {
    transport: T,
    decoder: Decoder,
    limits: Limits,
    parts: Parts,
    pace: Pace,
    ending: Ending,
    /// The server stops.
    stopping: Stopping,
    /// The client has sent a frame.
    spoke: bool,
}

/// What keeps a part of the turn from going on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rest {
    /// Nothing to do; a waker is set.
    Idle,
    /// The budget is used up.
    Spent,
    /// The session takes no input for now.
    Held,
}

impl<T: Transport> Connection<T> {
    /// A connection whose client has said nothing yet.
    pub(super) fn new(transport: T, parts: Parts) -> Connection<T> {
        let ending = Ending::new(parts.write_ms, parts.linger_ms);
        Connection {
            transport,
            decoder: Decoder::new(parts.limits),
            limits: parts.limits,
            parts,
            pace: Pace::default(),
            ending,
            stopping: Stopping::default(),
            spoke: false,
        }
    }

    /// Serves the client until one of both sides ends it.
    // Not an `async fn`, whose future would hold a second, moved-out connection.
    #[allow(clippy::manual_async_fn)]
    pub(super) fn run(mut self) -> impl Future<Output = ()> + Send {
        async move {
            let mut timer = Timer {
                sleep: pin!(sleep_until(Instant::now())),
                armed: None,
            };
            let reason = poll_fn(|cx| self.poll(cx, &mut timer)).await;
            self.parts.session.end(self.parts.clock.now());
            let link = self.transport.link();
            self.parts.counters.closed(link, reason, self.spoke);
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>, timer: &mut Timer<'_>) -> Poll<&'static str> {
        let now = self.parts.clock.now();
        let (received, sent) = (self.transport.received(), self.transport.accepted());
        let outcome = self.turn(cx, now);
        self.parts
            .counters
            .octets(self.transport.received() - received, self.transport.accepted() - sent);
        match outcome {
            Err(Over(reason)) => return Poll::Ready(reason),
            // Goes on after the runtime has looked at all sockets: a waker alone would let one hot client have dozens of
            // turns before that, while the quiet ones wait.
            Ok(Rest::Spent) => {
                let yielded = pin!(yield_now()).poll(cx);
                debug_assert!(yielded.is_pending());
            }
            Ok(_) => timer.arm(self.due(), now, &self.parts.clock, cx),
        }
        Poll::Pending
    }

    fn turn(&mut self, cx: &mut Context<'_>, now: Now) -> Result<Rest, Over> {
        let stage = self.parts.seat.poll_stage(cx);
        if stage == Stage::Ended {
            return Err(Over("aborted"));
        }
        let read = match stage {
            Stage::Halted | Stage::Leaving => Rest::Idle,
            _ => self.read(cx, now)?,
        };
        self.stop(stage, read, now);
        // Only after reading: a server that was held up must not blame its clients for silence.
        self.pass_time(now)?;
        let written = self.write(cx, now)?;
        self.ending.close(&mut self.transport, cx, now.mono)?;
        let resumed = read == Rest::Held && self.parts.session.accepts_input();
        let spent = self.is_open() && (read == Rest::Spent || resumed) || written == Rest::Spent;
        Ok(if spent { Rest::Spent } else { Rest::Idle })
    }

    fn is_open(&self) -> bool {
        self.ending.is_open()
    }

    /// Reads and executes frames.
    fn read(&mut self, cx: &mut Context<'_>, now: Now) -> Result<Rest, Over> {
        let before = self.transport.received();
        let rest = self.read_frames(cx, now);
        if self.transport.received() != before {
            self.parts.session.heard(now);
        }
        rest
    }

    fn read_frames(&mut self, cx: &mut Context<'_>, now: Now) -> Result<Rest, Over> {
        if self.transport.replies_waiting() > REPLIES_WAITING && !self.flush(cx, now)? {
            return Ok(Rest::Idle);
        }
        let most = self.parts.quiet.frames(now);
        let (mut frames, mut octets) = (0, 0);
        while self.is_open() {
            if !self.parts.session.accepts_input() {
                return Ok(Rest::Held);
            }
            let replies = self.transport.replies_waiting() > REPLIES_WAITING;
            if frames >= most || octets >= TURN_OCTETS || replies {
                // There is more, whatever it is.
                self.pace.read(&self.parts.quiet, frames.max(most), now);
                return Ok(Rest::Spent);
            }
            match self.transport.poll_input(cx) {
                // Beats alone are in no hurry.
                Poll::Pending if octets == 0 => return Ok(Rest::Idle),
                Poll::Pending => {
                    self.pace.read(&self.parts.quiet, frames, now);
                    return Ok(Rest::Idle);
                }
                Poll::Ready(Input::Octets) => {
                    octets += self.execute(now);
                    frames += 1;
                }
                Poll::Ready(Input::Beat) => frames += 1,
                Poll::Ready(Input::Ended(Ended::HalfClosed)) if octets > 0 => {
                    // It may still read the receipts of what it has just sent.
                    self.write(cx, now)?;
                    return Err(Over("client"));
                }
                Poll::Ready(Input::Ended(ended)) => self.no_more_input(ended, cx, now)?,
            }
        }
        Ok(Rest::Idle)
    }

    /// Executes the first frame of the input, if it ends there; the octets used.
    fn execute(&mut self, now: Now) -> usize {
        let input = self.transport.input();
        let mut rest = input;
        let step = match self.decoder.decode(&mut rest) {
            Ok(Some(frame)) => {
                self.parts.counters.frame_received();
                self.spoke = true;
                self.parts.session.receive(frame, now)
            }
            Ok(None) => {
                rest = &[];
                Step::Done
            }
            Err(error) => self.parts.session.malformed(error, now),
        };
        let used = input.len() - rest.len();
        self.transport.consume(used);
        self.decoder.release();
        self.parts.session.holds(self.decoder.held(), now);
        if let Some((version, limits, strict)) = self.parts.session.agreed() {
            self.decoder.agree(version, limits, strict);
            self.transport.agree(limits.frame);
            self.limits = limits;
        }
        self.obey(step);
        used
    }

    fn no_more_input(&mut self, ended: Ended, cx: &mut Context<'_>, now: Now) -> Result<(), Over> {
        match ended {
            Ended::Broken => Err(Over("reset")),
            Ended::HalfClosed => Err(Over("client")),
            Ended::Closed => {
                // What waits stays in the session: after its close frame the client reads nothing but ours.
                let _ = self.transport.poll_flush(cx);
                Err(Over("client"))
            }
            Ended::TooLong => {
                let kind = DecodeErrorKind::FrameTooLarge {
                    limit: self.limits.frame,
                    announced: None,
                };
                let error = DecodeError {
                    kind,
                    command: None,
                    receipt: None,
                };
                let step = self.parts.session.malformed(error, now);
                self.obey(step);
                Ok(())
            }
            Ended::Faulty(close) => {
                self.parts.session.end(now);
                self.ending.begin(close);
                Ok(())
            }
        }
    }

    fn obey(&mut self, step: Step) {
        match step {
            Step::Done => {}
            Step::Probe => self.transport.ping(),
            Step::Close(close) => self.ending.begin(close),
        }
    }

    /// Does what a stopping server asks of a session.
    fn stop(&mut self, stage: Stage, read: Rest, now: Now) {
        let seat = &mut self.parts.seat;
        if !self.ending.is_open() {
            seat.agree(stage);
        } else if self.stopping.go_along(seat, stage, read == Rest::Spent, now.mono) {
            let step = self.parts.session.shutdown(now);
            self.obey(step);
        }
    }

    /// The next moment at which [`Connection::pass_time`] has something to do.
    fn due(&self) -> Option<u64> {
        let session = self.parts.session.deadline().filter(|_| self.is_open());
        let stop = self.stopping.due().filter(|_| self.is_open());
        [session, stop, self.ending.due()].into_iter().flatten().min()
    }

    fn pass_time(&mut self, now: Now) -> Result<(), Over> {
        if !self.is_open() {
            return self.ending.pass_time(&mut self.transport, now.mono);
        }
        if self.parts.session.deadline().is_some_and(|at| now.mono >= at) {
            let step = self.parts.session.advance(now);
            self.obey(step);
        }
        Ok(())
    }

    /// Writes what waits, a batch at a time.
    fn write(&mut self, cx: &mut Context<'_>, now: Now) -> Result<Rest, Over> {
        if !self.flush(cx, now)? {
            return Ok(self.await_room(cx, now));
        }
        for _ in 0..TURN_BATCHES {
            let last = self.ending.is_last();
            let work = self.is_open() && self.parts.session.outbound().poll_work(cx.waker());
            if work {
                let step = self.parts.session.wake(now);
                self.obey(step);
            } else if !last {
                return Ok(Rest::Idle);
            }
            let more = self.parts.session.drain(&mut self.transport, now);
            if !self.flush(cx, now)? {
                return Ok(self.await_room(cx, now));
            }
            if last && !more {
                self.ending.written(&mut self.transport, now.mono);
            }
        }
        Ok(Rest::Spent)
    }

    /// While the socket is full, what waits for room elsewhere goes on, and a verdict on this client is heard.
    fn await_room(&mut self, cx: &mut Context<'_>, now: Now) -> Rest {
        while self.is_open() && self.parts.session.outbound().poll_call(cx.waker()) {
            let step = self.parts.session.wake(now);
            self.obey(step);
        }
        Rest::Idle
    }

    /// Writes the output; whether all of it is gone.
    fn flush(&mut self, cx: &mut Context<'_>, now: Now) -> Result<bool, Over> {
        let before = self.transport.accepted();
        let flushed = self.ending.flush(&mut self.transport, cx, now.mono);
        let accepted = self.transport.accepted();
        if accepted != before {
            self.parts.session.written(accepted, now);
        }
        let flushed = flushed?;
        if flushed == Flushed::Stalled {
            self.parts.session.end(now);
            self.ending.cut(&mut self.transport, now.mono);
        }
        Ok(flushed == Flushed::All)
    }
}

/// One timer that is armed again and again, and only moved when it must ring earlier.
pub(super) struct Timer<'a> {
    pub(super) sleep: Pin<&'a mut Sleep>,
    pub(super) armed: Option<u64>,
}

impl Timer<'_> {
    /// Wakes the task at `due` or, because of an earlier wish, before.
    pub(super) fn arm(&mut self, due: Option<u64>, now: Now, clock: &Clock, cx: &mut Context<'_>) {
        let Some(due) = due else { return };
        if self.sleep.is_elapsed() {
            self.armed = None;
        }
        if self.armed.is_some_and(|at| at <= due) {
            return;
        }
        // A moment that has passed already is served a millisecond later: other tasks shall have their turn.
        let at = due.max(now.mono + 1);
        self.sleep.as_mut().reset(clock.at(at));
        self.armed = Some(at);
        if self.sleep.as_mut().poll(cx).is_ready() {
            cx.waker().wake_by_ref();
        }
    }
}
