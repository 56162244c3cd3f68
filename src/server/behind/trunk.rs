//! The shared connection: made at the start, made again for ever, and never held up by who reads from it.

use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::relay::{self, Backoff, Lost, Trunk};
use crate::server::clock::Clock;

use super::dial::dial;
use super::wire::{until_lost, Turn, Wire};
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
                let mut line = Line::new(&behind, socket, clock);
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
    wire: Wire,
    trunk: Trunk,
}

impl<'a> Line<'a> {
    fn new(behind: &'a Behind, socket: TcpStream, clock: Clock) -> Line<'a> {
        let mut out = Vec::new();
        let trunk = Trunk::new(Arc::clone(&behind.shared), &mut out, clock.now().mono);
        Line {
            behind,
            clock,
            wire: Wire::new(socket, behind.shared.settings.limits(), out),
            trunk,
        }
    }

    /// Until the connection is lost.
    async fn talk(&mut self, bell: &Bell) -> Lost {
        let clock = self.clock;
        until_lost(&clock, |cx, now| {
            bell.sleeps(cx);
            self.turn(cx, now)
        })
        .await
    }

    /// Reads, subscribes, beats, writes.
    fn turn(&mut self, cx: &mut Context<'_>, now: u64) -> Result<Turn, Lost> {
        let more = self.read(cx, now)?;
        if let Some(why) = self.trunk.advance(&mut self.wire.out, now) {
            return Err(why);
        }
        self.trunk.go_on(&mut self.wire.out, now);
        if self.wire.write(cx)? {
            self.trunk.sent(now);
        }
        Ok(match more {
            true => Turn::Again,
            false => Turn::Until(self.trunk.due()),
        })
    }

    fn read(&mut self, cx: &mut Context<'_>, now: u64) -> Result<bool, Lost> {
        let mut given = 0;
        for _ in 0..TURN_FRAMES {
            if given >= TURN_DELIVERIES {
                break;
            }
            let Poll::Ready(octets) = self.wire.poll_octets(cx) else {
                return Ok(false);
            };
            if octets? {
                self.trunk.heard(now);
                given += self.hear(now)?;
            }
        }
        Ok(true)
    }

    /// Takes the first frame of the broker's input, if it ends there; how many were given it.
    fn hear(&mut self, now: u64) -> Result<usize, Lost> {
        let was_up = self.trunk.is_up();
        let heard = self.wire.hear(|frame, _| self.trunk.receive(frame, now))?;
        let given = heard.transpose()?.unwrap_or_default();
        if self.trunk.is_up() && !was_up {
            self.wire.agree(self.trunk.version());
            let settings = &self.behind.shared.settings;
            tracing::info!(topics = ?settings.shared_topics, "the connection for shared subscriptions is there");
        }
        Ok(given)
    }
}
