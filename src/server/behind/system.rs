//! The system connection: made at the start, made again for ever, and the measure of whether there is a broker.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};

use crate::relay::{Backoff, Heard, Lost, System};

use super::dial::dial;
use super::wire::{until_lost, Turn, Wire};
use super::{Behind, Publish};
use crate::server::clock::Clock;

/// Frames of the broker taken in one turn.
const TURN_FRAMES: usize = 128;
/// Octets that may wait to be written before nothing more is taken from the program.
const MOST_WAITING: u64 = 256 << 10;
/// Time for DISCONNECT to be written when the server stops.
const GOOD_BYE: Duration = Duration::from_millis(500);

pub(super) async fn serve(behind: Arc<Behind>, clock: Clock, mut publishes: mpsc::Receiver<Publish>, seed: u64) {
    let settings = &behind.shared.settings;
    let mut backoff = Backoff::new(settings.retry_first_ms, settings.retry_longest_ms, seed);
    let mut reported = false;
    loop {
        let why = tokio::select! {
            () = behind.stop.notified() => break,
            dialled = dial(Arc::clone(&behind.shared)) => match dialled {
                Ok((socket, place)) => {
                    let mut line = Line::new(&behind, socket, clock, place);
                    let outcome = tokio::select! {
                        why = line.talk(&mut publishes) => Some(why),
                        () = behind.stop.notified() => None,
                    };
                    let was_available = behind.is_available();
                    behind.set_available(false);
                    let Some(why) = outcome else {
                        line.wire.say_good_bye(GOOD_BYE).await;
                        break;
                    };
                    if was_available {
                        backoff.reset();
                        reported = false;
                    }
                    format!("{why:?}")
                }
                Err(why) => why,
            },
        };
        let pause = backoff.pause();
        if !reported {
            // Once for each absence: a broker that stays away for the night shall not fill the log.
            tracing::warn!(%why, upstream = ?settings.upstream, "the broker behind is not available; trying again until it is");
            reported = true;
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(pause.max(1))) => {}
            () = behind.stop.notified() => break,
        }
        // What waited for a connection that was lost is answered: not sent.
        while publishes.try_recv().is_ok() {}
    }
    behind.stopped.notify_one();
}

/// One system connection, while it lasts.
struct Line<'a> {
    behind: &'a Behind,
    clock: Clock,
    /// Which of the addresses it is at.
    place: usize,
    wire: Wire,
    system: System,
    /// SENDs that the broker has not confirmed.
    unconfirmed: BTreeMap<u64, oneshot::Sender<()>>,
}

impl<'a> Line<'a> {
    fn new(behind: &'a Behind, socket: TcpStream, clock: Clock, place: usize) -> Line<'a> {
        let mut out = Vec::new();
        let system = System::new(Arc::clone(&behind.shared), &mut out, clock.now().mono);
        Line {
            behind,
            clock,
            place,
            wire: Wire::new(socket, behind.shared.settings.limits(), out),
            system,
            unconfirmed: BTreeMap::new(),
        }
    }

    /// Until the connection is lost.
    async fn talk(&mut self, publishes: &mut mpsc::Receiver<Publish>) -> Lost {
        let clock = self.clock;
        until_lost(&clock, |cx, now| self.turn(publishes, cx, now)).await
    }

    /// Reads, sends, beats, writes.
    fn turn(&mut self, publishes: &mut mpsc::Receiver<Publish>, cx: &mut Context<'_>, now: u64) -> Result<Turn, Lost> {
        let more = self.read(cx, now)?;
        self.take(publishes, cx);
        if let Some(why) = self.system.advance(&mut self.wire.out, now) {
            return Err(why);
        }
        let held = self.wire.waiting() >= MOST_WAITING;
        if self.wire.write(cx)? {
            self.system.sent(now);
        }
        // While it was held up nothing was asked for that could wake it now.
        let resumes = held || self.system.has_more();
        Ok(match more || (resumes && self.wire.waiting() < MOST_WAITING) {
            true => Turn::Again,
            false => Turn::Until(self.system.due()),
        })
    }

    fn read(&mut self, cx: &mut Context<'_>, now: u64) -> Result<bool, Lost> {
        for _ in 0..TURN_FRAMES {
            if self.system.has_more() {
                if self.wire.waiting() >= MOST_WAITING {
                    // Silence is ours now, not the broker's.
                    self.system.heard(now);
                    return Ok(false);
                }
                self.system.go_on(&mut self.wire.out);
                continue;
            }
            let Poll::Ready(octets) = self.wire.poll_octets(cx) else {
                return Ok(false);
            };
            if octets? {
                self.system.heard(now);
                self.hear(now)?;
            }
        }
        Ok(true)
    }

    fn hear(&mut self, now: u64) -> Result<(), Lost> {
        let heard = self.wire.hear(|frame, out| self.system.receive(frame, out, now))?;
        match heard.unwrap_or(Heard::Nothing) {
            Heard::Nothing => Ok(()),
            Heard::Available => {
                self.wire.agree(self.system.version());
                self.behind.shared.upstream.prefer(self.place);
                self.behind.set_available(true);
                let address = self.behind.shared.settings.upstream.get(self.place);
                tracing::info!(?address, "the broker behind is available");
                Ok(())
            }
            Heard::Taken(number) => {
                if let Some(done) = self.unconfirmed.remove(&number) {
                    // Who asked may have given up.
                    let _ = done.send(());
                }
                Ok(())
            }
            Heard::Lost(why) => Err(why),
        }
    }

    /// Takes what the program sends, as long as it can be written and confirmed.
    fn take(&mut self, publishes: &mut mpsc::Receiver<Publish>, cx: &mut Context<'_>) {
        while self.behind.is_available() && self.wire.waiting() < MOST_WAITING && self.has_room(cx) {
            let Poll::Ready(Some(publish)) = publishes.poll_recv(cx) else {
                return;
            };
            let Publish {
                destination,
                headers,
                body,
                done,
            } = publish;
            if done.is_closed() {
                // The program has been told that it failed, and may have sent it again.
                continue;
            }
            let number = self.system.publish(&destination, &headers, &body, &mut self.wire.out);
            self.unconfirmed.insert(number, done);
        }
    }

    /// Whether a further SEND may be unconfirmed. Some never are: those that the program waits for no more make room.
    fn has_room(&mut self, cx: &mut Context<'_>) -> bool {
        let most = self.behind.shared.settings.publish_waiting;
        if self.unconfirmed.len() >= most {
            self.unconfirmed.retain(|_, done| done.poll_closed(cx).is_pending());
        }
        self.unconfirmed.len() < most
    }
}
