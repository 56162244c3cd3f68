//! One relayed client: the task that owns its transport and its connection to the broker, and the only loop over both.
//!
//! A turn reads from the client as long as the broker takes what it is sent, reads from the broker as long as the client
//! takes it, and writes to both. Neither side has more than its budget of a turn, and nothing waits but in the two outputs,
//! which are bounded by that.

mod reading;
mod sharing;

use std::future::{poll_fn, Future};
use std::pin::{pin, Pin};
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::net::TcpStream;
use tokio::task::yield_now;
use tokio::time::{sleep_until, Instant};

use crate::broker::settings::OutboundLimits;
use crate::broker::{FrameSink, Now, Outbound};
use crate::relay::{self, Admitted, Lost, Relay, Step, Wires};
use crate::server::clock::Clock;
use crate::server::connection::Timer;
use crate::server::ending::{Ending, Flushed, Over};
use crate::server::roster::{Seat, Stage};
use crate::server::stats::Counters;
use crate::server::stopping::Stopping;
use crate::server::tcp::Tcp;
use crate::server::transport::Transport;
use crate::session::{Authentication, Close, Credentials, Verdict};
use crate::stomp::{Decoder, Limits};

use super::dial::dial;
use super::trunk::Bell;
use super::Behind;

/// What a relayed connection is made of besides its transport.
pub(in crate::server) struct Parts {
    pub(in crate::server) relay: Relay,
    pub(in crate::server) behind: Arc<Behind>,
    /// What the client may send before CONNECT.
    pub(in crate::server) before: Limits,
    /// What it may send afterwards.
    pub(in crate::server) limits: Limits,
    pub(in crate::server) strict: bool,
    /// Who says whether the client may connect.
    pub(in crate::server) authentication: Option<Authentication>,
    pub(in crate::server) seat: Seat,
    pub(in crate::server) clock: Clock,
    pub(in crate::server) counters: Arc<Counters>,
    pub(in crate::server) write_ms: u64,
    pub(in crate::server) linger_ms: u64,
}

/// A client's transport, its connection to the broker, and how far both are.
pub(in crate::server) struct Connection<T> {
    transport: T,
    decoder: Decoder,
    line: Line,
    /// Whether it may connect is being found out.
    verdict: Option<(Verdict, Arc<Outbound>)>,
    parts: Parts,
    ending: Ending,
    /// When a client that is not read is looked after.
    look: Option<u64>,
    /// The server stops.
    stopping: Stopping,
    /// The client's side is over, and why; the broker is being told.
    over: Option<&'static str>,
    /// The client has sent a frame.
    spoke: bool,
    /// Rung when the shared connection has something for the client.
    bell: Arc<Bell>,
}

/// The connection to the broker.
enum Line {
    None,
    Dialling(Dialling),
    Open(Box<Open>),
    /// What was written is being flushed, and the broker given until then to close.
    Ending(Box<Tcp>, u64),
}

/// On the way to a socket, and the place of its address.
type Dialling = Pin<Box<dyn Future<Output = Result<(TcpStream, usize), String>> + Send>>;

struct Open {
    tcp: Tcp,
    decoder: Decoder,
}

/// What keeps a part of the turn from going on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rest {
    /// Nothing to do; a waker is set.
    Idle,
    /// The budget is used up.
    Spent,
    /// The other side does not take what this one gives.
    Held,
}

/// Both outputs, as the relay sees them.
struct Both<'a, C, B> {
    client: &'a mut C,
    broker: Option<&'a mut B>,
}

impl<C: FrameSink, B: FrameSink> Wires for Both<'_, C, B> {
    fn client(&mut self, parts: &[&[u8]], utf8: bool) {
        self.client.frame(parts, utf8);
    }

    fn upstream(&mut self, parts: &[&[u8]]) {
        if let Some(broker) = &mut self.broker {
            broker.frame(parts, true);
        }
    }
}

impl<T: Transport> Connection<T> {
    /// A connection whose client has said nothing yet.
    pub(in crate::server) fn new(transport: T, mut parts: Parts) -> Connection<T> {
        let ending = Ending::new(parts.write_ms, parts.linger_ms);
        let bell = Arc::new(Bell::default());
        if !parts.behind.shared.settings.shared_topics.is_empty() {
            parts.relay.listen(Arc::clone(&bell) as Arc<dyn relay::Bell>);
        }
        Connection {
            transport,
            decoder: Decoder::new(parts.before),
            line: Line::None,
            verdict: None,
            parts,
            ending,
            look: None,
            stopping: Stopping::default(),
            over: None,
            spoke: false,
            bell,
        }
    }

    /// Serves the client until one of all sides ends it.
    // Not an `async fn`, whose future would hold a second, moved-out connection.
    #[allow(clippy::manual_async_fn)]
    pub(in crate::server) fn run(mut self) -> impl Future<Output = ()> + Send {
        async move {
            let mut timer = Timer {
                sleep: pin!(sleep_until(Instant::now())),
                armed: None,
            };
            let reason = poll_fn(|cx| self.poll(cx, &mut timer)).await;
            self.set_line(Line::None);
            let link = self.transport.link();
            self.parts.counters.closed(link, reason, self.spoke);
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>, timer: &mut Timer<'_>) -> Poll<&'static str> {
        let now = self.parts.clock.now();
        let stage = self.parts.seat.poll_stage(cx);
        if stage == Stage::Ended {
            return Poll::Ready("aborted");
        }
        let (received, sent) = (self.transport.received(), self.transport.accepted());
        let outcome = self.turn(stage, cx, now);
        self.parts
            .counters
            .octets(self.transport.received() - received, self.transport.accepted() - sent);
        let rest = match outcome {
            Ok(rest) => rest,
            Err(Over(reason)) => {
                let (relay, mut both) = self.relay();
                relay.gone(&mut both);
                self.over = Some(reason);
                Rest::Idle
            }
        };
        self.end_line(cx, now);
        match (self.over, &self.line) {
            (Some(reason), Line::None) => return Poll::Ready(reason),
            _ if rest == Rest::Spent => {
                let yielded = pin!(yield_now()).poll(cx);
                debug_assert!(yielded.is_pending());
            }
            _ => timer.arm(self.due(), now, &self.parts.clock, cx),
        }
        Poll::Pending
    }

    fn turn(&mut self, stage: Stage, cx: &mut Context<'_>, now: Now) -> Result<Rest, Over> {
        if self.over.is_some() {
            self.parts.seat.agree(stage);
            return Ok(Rest::Idle);
        }
        self.dial(cx, now);
        while self.is_open() && self.parts.relay.has_more() && !self.broker_is_full() {
            let (relay, mut both) = self.relay();
            let step = relay.go_on(&mut both, now.mono);
            self.obey(step);
        }
        let read = self.read(cx, now)?;
        self.admit(cx);
        self.stop(stage, now);
        let answered = self.answers(cx, now);
        let shared = self.share(cx, now);
        self.pass_time(now)?;
        self.write(cx, now)?;
        self.ending.close(&mut self.transport, cx, now.mono)?;
        // What held one side may have been written just now.
        let go_on = |rest: Rest, held: bool| rest == Rest::Spent || (rest == Rest::Held && !held);
        let more = go_on(read, self.client_is_held()) || go_on(answered, self.broker_is_held());
        let more = more || go_on(shared, self.mail_is_held());
        let more = more || (self.parts.relay.has_more() && !self.broker_is_full());
        let dials = self.is_open() && self.parts.relay.dials(now.mono);
        if dials {
            let shared = Arc::clone(&self.parts.behind.shared);
            self.set_line(Line::Dialling(Box::pin(dial(shared))));
        }
        Ok(if dials || (more && self.is_open()) {
            Rest::Spent
        } else {
            Rest::Idle
        })
    }

    fn is_open(&self) -> bool {
        self.ending.is_open()
    }

    fn relay(&mut self) -> (&mut Relay, Both<'_, T, Tcp>) {
        let broker = match &mut self.line {
            Line::Open(open) => Some(&mut open.tcp),
            Line::None | Line::Dialling(_) | Line::Ending(..) => None,
        };
        let client = &mut self.transport;
        (&mut self.parts.relay, Both { client, broker })
    }

    fn set_line(&mut self, line: Line) {
        let open = &self.parts.behind.open;
        match (&self.line, &line) {
            (Line::Open(_), Line::Open(_)) => {}
            (Line::Open(_), _) => {
                open.fetch_sub(1, Ordering::Relaxed);
            }
            (_, Line::Open(_)) => {
                open.fetch_add(1, Ordering::Relaxed);
            }
            _ => {}
        }
        self.line = line;
    }

    /// Asks whether the client may connect, and hears the answer.
    fn admit(&mut self, cx: &mut Context<'_>) {
        if let (Some(credentials), Some(authentication)) = (self.parts.relay.asks(), &self.parts.authentication) {
            let relay::Credentials { login, passcode, host } = credentials;
            let credentials = Credentials { login, passcode, host };
            // Nothing is ever written through it: it is how an answer wakes a connection.
            let outbound = Arc::new(Outbound::new(OutboundLimits::default()));
            let verdict = authentication.ask(credentials, &outbound);
            self.verdict = Some((verdict, outbound));
        }
        let Some((verdict, outbound)) = &self.verdict else {
            return;
        };
        outbound.take_nudge();
        let _ = outbound.poll_work(cx.waker());
        let Some(decided) = verdict.take() else { return };
        self.verdict = None;
        let admitted = decided.map(|principal| Admitted {
            name: principal.name.map(|name| name.to_string()),
            may_send_to_users: principal.may_send_to_users,
        });
        let (relay, mut both) = self.relay();
        let step = relay.admit(admitted, &mut both);
        self.obey(step);
    }

    /// Goes on with making the connection to the broker.
    fn dial(&mut self, cx: &mut Context<'_>, now: Now) {
        let Line::Dialling(dialling) = &mut self.line else {
            return;
        };
        let Poll::Ready(outcome) = dialling.as_mut().poll(cx) else {
            return;
        };
        match outcome {
            Ok((socket, _)) => {
                let decoder = Decoder::new(self.parts.behind.shared.settings.limits());
                let tcp = Tcp::new(socket);
                self.set_line(Line::Open(Box::new(Open { tcp, decoder })));
                let (relay, mut both) = self.relay();
                relay.dialled(&mut both, now.mono);
            }
            Err(why) => self.lose(Lost::NotConnected(why), now),
        }
    }

    fn lose(&mut self, why: Lost, now: Now) {
        self.set_line(Line::None);
        let (relay, mut both) = self.relay();
        let step = relay.lost(why, &mut both, now.mono);
        self.obey(step);
    }

    fn obey(&mut self, step: Step) {
        match step {
            Step::Done => {}
            Step::Probe => self.transport.ping(),
            Step::Close(relay::Close { code, reason }) => self.ending.begin(Close { code, reason }),
        }
    }

    /// Does what a stopping server asks of a session.
    fn stop(&mut self, stage: Stage, now: Now) {
        let seat = &mut self.parts.seat;
        if !self.ending.is_open() {
            seat.agree(stage);
        } else if self.stopping.go_along(seat, stage, false, now.mono) {
            let (relay, mut both) = self.relay();
            let step = relay.shutdown(&mut both);
            self.obey(step);
        }
    }

    /// The next moment at which there is something to do.
    fn due(&self) -> Option<u64> {
        let line = match self.line {
            Line::Ending(_, until) => Some(until),
            Line::None | Line::Dialling(_) | Line::Open(_) => None,
        };
        if self.over.is_some() {
            return line;
        }
        let (relay, stop) = match self.is_open() {
            true => (self.parts.relay.due(), self.stopping.due()),
            false => (None, None),
        };
        let look = self.look.filter(|_| self.is_open());
        [relay, stop, line, look, self.ending.due()].into_iter().flatten().min()
    }

    fn pass_time(&mut self, now: Now) -> Result<(), Over> {
        if !self.is_open() {
            return self.ending.pass_time(&mut self.transport, now.mono);
        }
        if self.parts.relay.due().is_some_and(|at| now.mono >= at) {
            let (relay, mut both) = self.relay();
            let step = relay.advance(&mut both, now.mono);
            self.obey(step);
            if !self.parts.relay.has_upstream() && !self.parts.relay.is_over() {
                self.set_line(Line::None);
            }
        }
        Ok(())
    }

    /// Writes what waits, to both sides.
    fn write(&mut self, cx: &mut Context<'_>, now: Now) -> Result<(), Over> {
        if let Line::Open(open) = &mut self.line {
            let before = open.tcp.accepted();
            let outcome = open.tcp.poll_flush(cx);
            if open.tcp.accepted() != before {
                self.parts.relay.sent_upstream(now.mono);
            }
            if let Poll::Ready(Err(error)) = outcome {
                self.lose(Lost::NotWritten(error.kind().to_string()), now);
            }
        }
        if self.flush(cx, now)? {
            self.ending.written(&mut self.transport, now.mono);
        }
        Ok(())
    }

    /// Writes to the client; whether all of it is gone.
    fn flush(&mut self, cx: &mut Context<'_>, now: Now) -> Result<bool, Over> {
        let before = self.transport.accepted();
        let flushed = self.ending.flush(&mut self.transport, cx, now.mono);
        if self.transport.accepted() != before {
            self.parts.relay.sent_client(now.mono);
        }
        let flushed = flushed?;
        if flushed == Flushed::Stalled {
            let (relay, mut both) = self.relay();
            relay.gone(&mut both);
            self.ending.cut(&mut self.transport, now.mono);
        }
        Ok(flushed == Flushed::All)
    }

    /// Once the session is over: what was written to the broker is flushed, and it may close first.
    fn end_line(&mut self, cx: &mut Context<'_>, now: Now) {
        if !self.parts.relay.is_over() {
            return;
        }
        match std::mem::replace(&mut self.line, Line::None) {
            Line::None => {}
            Line::Dialling(_) => {}
            Line::Open(open) => {
                self.parts.behind.open.fetch_sub(1, Ordering::Relaxed);
                self.line = Line::Ending(Box::new(open.tcp), now.mono + self.parts.linger_ms);
                self.end_line(cx, now);
            }
            Line::Ending(mut tcp, until) => {
                let flushed = tcp.poll_flush(cx);
                let broken = matches!(flushed, Poll::Ready(Err(_)));
                let shut = flushed.is_ready() && tcp.poll_shutdown(cx).is_ready();
                let gone = tcp.poll_discard(cx).is_ready();
                let over = broken || (shut && gone) || now.mono >= until;
                if !over {
                    self.line = Line::Ending(tcp, until);
                }
            }
        }
    }
}

/// Octets that the socket has not taken.
fn waiting(output: &impl Transport) -> u64 {
    output.position() - output.accepted()
}
