//! The shared connection: made at the start, made again for ever, and never held up by who reads from it.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::{sleep, sleep_until, Instant};

use crate::broker::FrameSink;
use crate::relay::{self, Backoff, Lost, Trunk};
use crate::server::clock::Clock;
use crate::server::connection::Timer;
use crate::server::tcp::Tcp;
use crate::server::transport::{Input, Transport};
use crate::stomp::Decoder;

use super::dial::dial;
use super::Behind;

/// Frames of the broker taken in one turn.
const TURN_FRAMES: usize = 128;
/// Subscriptions given a message in one turn; the last message may go beyond it.
const TURN_DELIVERIES: usize = 10_000;

/// Wakes a task that has nothing to do.
#[derive(Debug, Default)]
pub(super) struct Bell(Mutex<Option<Waker>>);

impl Bell {
    /// The task sleeps after this, unless it finds something to do.
    pub(super) fn sleeps(&self, cx: &Context<'_>) {
        let mut waker = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
    }
}

impl relay::Bell for Bell {
    fn ring(&self) {
        let waker = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

pub(super) async fn serve(behind: Arc<Behind>, clock: Clock, seed: u64) {
    let settings = &behind.shared.settings;
    let sharing = &behind.shared.sharing;
    let bell = Arc::new(Bell::default());
    sharing.listen(Arc::clone(&bell) as Arc<dyn relay::Bell>);
    let mut backoff = Backoff::new(settings.retry_first_ms, settings.retry_longest_ms, seed);
    loop {
        let mut at_once = false;
        match dial(Arc::clone(&behind.shared)).await {
            Ok((socket, _)) => {
                let mut line = Line::new(&behind, Tcp::new(socket), clock);
                let why = line.talk(&bell).await;
                let was_up = line.trunk.is_up();
                let after = line.trunk.lost(&why, clock.now().mono);
                at_once = after.at_once;
                if was_up {
                    backoff.reset();
                    tracing::warn!(?why, refused = ?after.refused, "the connection for shared subscriptions is lost");
                } else {
                    tracing::debug!(?why, "there is no connection for shared subscriptions");
                }
            }
            // That the broker is away is told by the system connection.
            Err(_) => sharing.not_reached(settings.keep_ms, clock.now().mono),
        }
        if !at_once {
            sleep(Duration::from_millis(backoff.pause().max(1))).await;
        }
    }
}

/// One shared connection, while it lasts.
struct Line<'a> {
    behind: &'a Behind,
    clock: Clock,
    tcp: Tcp,
    decoder: Decoder,
    trunk: Trunk,
    out: Vec<u8>,
}

impl<'a> Line<'a> {
    fn new(behind: &'a Behind, tcp: Tcp, clock: Clock) -> Line<'a> {
        let mut out = Vec::new();
        let trunk = Trunk::new(Arc::clone(&behind.shared), &mut out, clock.now().mono);
        Line {
            behind,
            clock,
            tcp,
            decoder: Decoder::new(behind.shared.settings.limits()),
            trunk,
            out,
        }
    }

    /// Until the connection is lost.
    async fn talk(&mut self, bell: &Bell) -> Lost {
        let mut timer = Timer {
            sleep: pin!(sleep_until(Instant::now())),
            armed: None,
        };
        poll_fn(|cx| {
            let now = self.clock.now();
            bell.sleeps(cx);
            match self.turn(cx, now.mono) {
                Err(why) => Poll::Ready(why),
                Ok(true) => {
                    cx.waker().wake_by_ref();
                    Poll::Pending
                }
                Ok(false) => {
                    timer.arm(self.trunk.due(), now, &self.clock, cx);
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// Reads, subscribes, beats, writes; whether there is more to do at once.
    fn turn(&mut self, cx: &mut Context<'_>, now: u64) -> Result<bool, Lost> {
        let more = self.read(cx, now)?;
        if let Some(why) = self.trunk.advance(&mut self.out, now) {
            return Err(why);
        }
        self.trunk.go_on(&mut self.out, now);
        self.write(cx, now)?;
        Ok(more)
    }

    fn read(&mut self, cx: &mut Context<'_>, now: u64) -> Result<bool, Lost> {
        let mut given = 0;
        for _ in 0..TURN_FRAMES {
            if given >= TURN_DELIVERIES {
                break;
            }
            match self.tcp.poll_input(cx) {
                Poll::Pending => return Ok(false),
                Poll::Ready(Input::Octets) => {
                    self.trunk.heard(now);
                    given += self.hear(now)?;
                }
                Poll::Ready(Input::Beat) => {}
                Poll::Ready(Input::Ended(_)) => return Err(Lost::Closed),
            }
        }
        Ok(true)
    }

    /// Takes the first frame of the broker's input, if it ends there; how many were given it.
    fn hear(&mut self, now: u64) -> Result<usize, Lost> {
        let input = self.tcp.input();
        let mut rest = input;
        let was_up = self.trunk.is_up();
        let given = match self.decoder.decode(&mut rest) {
            Ok(Some(frame)) => self.trunk.receive(&frame, now)?,
            Ok(None) => {
                rest = &[];
                0
            }
            Err(error) => return Err(Lost::Broken(error.to_string())),
        };
        let used = input.len() - rest.len();
        self.tcp.consume(used);
        self.decoder.release();
        if self.trunk.is_up() && !was_up {
            let (version, limits) = self.trunk.version();
            self.decoder.agree(version, limits, false);
            let settings = &self.behind.shared.settings;
            tracing::info!(topics = ?settings.shared_topics, "the connection for shared subscriptions is there");
        }
        Ok(given)
    }

    fn write(&mut self, cx: &mut Context<'_>, now: u64) -> Result<(), Lost> {
        if !self.out.is_empty() {
            self.tcp.frame(&[&self.out], true);
            self.out.clear();
        }
        let before = self.tcp.accepted();
        let outcome = self.tcp.poll_flush(cx);
        if self.tcp.accepted() != before {
            self.trunk.sent(now);
        }
        match outcome {
            Poll::Ready(Err(error)) => Err(Lost::Broken(error.kind().to_string())),
            _ => Ok(()),
        }
    }
}
