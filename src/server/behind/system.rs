//! The system connection: made at the start, made again for ever, and the measure of whether there is a broker.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep_until, timeout, Instant};

use crate::broker::FrameSink;
use crate::relay::{Backoff, Heard, Lost, System};
use crate::stomp::Decoder;

use super::dial::dial;
use super::{Behind, Publish};
use crate::server::clock::Clock;
use crate::server::connection::Timer;
use crate::server::tcp::Tcp;
use crate::server::transport::{Input, Transport};

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
                    let mut line = Line::new(&behind, Tcp::new(socket), clock, place);
                    let outcome = tokio::select! {
                        why = line.talk(&mut publishes) => Some(why),
                        () = behind.stop.notified() => None,
                    };
                    let was_available = behind.is_available();
                    behind.set_available(false);
                    let Some(why) = outcome else {
                        line.say_good_bye().await;
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
    tcp: Tcp,
    decoder: Decoder,
    system: System,
    out: Vec<u8>,
    /// SENDs that the broker has not confirmed.
    unconfirmed: BTreeMap<u64, oneshot::Sender<()>>,
}

impl<'a> Line<'a> {
    fn new(behind: &'a Behind, tcp: Tcp, clock: Clock, place: usize) -> Line<'a> {
        let mut out = Vec::new();
        let system = System::new(Arc::clone(&behind.shared), &mut out, clock.now().mono);
        Line {
            behind,
            clock,
            place,
            tcp,
            decoder: Decoder::new(behind.shared.settings.limits()),
            system,
            out,
            unconfirmed: BTreeMap::new(),
        }
    }

    /// Until the connection is lost.
    async fn talk(&mut self, publishes: &mut mpsc::Receiver<Publish>) -> Lost {
        let mut timer = Timer {
            sleep: pin!(sleep_until(Instant::now())),
            armed: None,
        };
        poll_fn(|cx| {
            let now = self.clock.now();
            match self.turn(publishes, cx, now.mono) {
                Err(why) => Poll::Ready(why),
                Ok(true) => {
                    cx.waker().wake_by_ref();
                    Poll::Pending
                }
                Ok(false) => {
                    timer.arm(self.system.due(), now, &self.clock, cx);
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// Reads, sends, beats, writes; whether there is more to do at once.
    fn turn(&mut self, publishes: &mut mpsc::Receiver<Publish>, cx: &mut Context<'_>, now: u64) -> Result<bool, Lost> {
        let more = self.read(cx, now)?;
        self.take(publishes, cx);
        if let Some(why) = self.system.advance(&mut self.out, now) {
            return Err(why);
        }
        let held = self.waiting() >= MOST_WAITING;
        self.write(cx, now)?;
        // While it was held up nothing was asked for that could wake it now.
        let resumes = held || self.system.has_more();
        Ok(more || (resumes && self.waiting() < MOST_WAITING))
    }

    fn read(&mut self, cx: &mut Context<'_>, now: u64) -> Result<bool, Lost> {
        for _ in 0..TURN_FRAMES {
            if self.system.has_more() {
                if self.waiting() >= MOST_WAITING {
                    // Silence is ours now, not the broker's.
                    self.system.heard(now);
                    return Ok(false);
                }
                self.system.go_on(&mut self.out);
                continue;
            }
            match self.tcp.poll_input(cx) {
                Poll::Pending => return Ok(false),
                Poll::Ready(Input::Octets) => {
                    self.system.heard(now);
                    self.hear(now)?;
                }
                Poll::Ready(Input::Beat) => {}
                Poll::Ready(Input::Ended(_)) => return Err(Lost::Closed),
            }
        }
        Ok(true)
    }

    fn hear(&mut self, now: u64) -> Result<(), Lost> {
        let input = self.tcp.input();
        let mut rest = input;
        let heard = match self.decoder.decode(&mut rest) {
            Ok(Some(frame)) => self.system.receive(&frame, &mut self.out, now),
            Ok(None) => {
                rest = &[];
                Heard::Nothing
            }
            Err(error) => return Err(Lost::Broken(error.to_string())),
        };
        let used = input.len() - rest.len();
        self.tcp.consume(used);
        self.decoder.release();
        match heard {
            Heard::Nothing => Ok(()),
            Heard::Available => {
                let (version, limits) = self.system.version();
                self.decoder.agree(version, limits, false);
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
        while self.behind.is_available() && self.waiting() < MOST_WAITING && self.has_room(cx) {
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
            let number = self.system.publish(&destination, &headers, &body, &mut self.out);
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

    fn waiting(&self) -> u64 {
        self.tcp.position() - self.tcp.accepted() + self.out.len() as u64
    }

    fn write(&mut self, cx: &mut Context<'_>, now: u64) -> Result<(), Lost> {
        if !self.out.is_empty() {
            self.tcp.frame(&[&self.out], true);
            self.out.clear();
        }
        let before = self.tcp.accepted();
        let outcome = self.tcp.poll_flush(cx);
        if self.tcp.accepted() != before {
            self.system.sent(now);
        }
        match outcome {
            Poll::Ready(Err(error)) => Err(Lost::Broken(error.kind().to_string())),
            _ => Ok(()),
        }
    }

    async fn say_good_bye(&mut self) {
        self.tcp.frame(&[b"DISCONNECT\n\n\0"], true);
        let written = poll_fn(|cx| self.tcp.poll_flush(cx));
        let _ = timeout(GOOD_BYE, written).await;
    }
}
