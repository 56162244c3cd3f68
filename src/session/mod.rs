//! One client's protocol state.
//!
//! Pure: frames and time come in, a [`Step`] goes out, and what is to be written waits in the session's
//! [`Outbound`].
//!
//! ```text
//!              CONNECT accepted           DISCONNECT, fault, stop
//! Connecting ───────────────────▶ Connected ─────────────────────▶ Closing
//!      │   (Joining: its passcode is being checked)                  ▲
//!      └──────────────── fault, time ────────────────────────────────┘
//! ```

mod acknowledge;
mod app;
mod authenticate;
mod blocked;
mod connect;
mod connected;
mod durable;
pub mod fault;
mod principal;
mod receipts;
mod send;
pub mod settings;
mod spring;
mod subscribe;
#[cfg(test)]
mod tests;
mod transaction;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use crate::broker::outbound::Mark;
use crate::broker::{Broker, Destination, FrameSink, Now, Outbound, Presence, Subscription};
use crate::stomp::heartbeat::Liveness;
use crate::stomp::{DecodeError, Frame, Limits, Version};

pub(crate) use authenticate::Verdict;
pub use authenticate::{Answer, Authentication, Authenticator, Credentials};
pub use fault::Fault;
pub use principal::Principal;
pub use settings::Settings;

use blocked::Blocked;
use connect::Joining;
use receipts::Receipts;
pub(crate) use send::{wishes, Wishes};
use transaction::Transaction;

/// Milliseconds between two tries of a SEND that waits for memory; a full queue calls by itself.
const MEMORY_RETRY_MS: u64 = 50;

/// The brokers by virtual host.
#[derive(Debug)]
pub struct Hosts {
    /// For a CONNECT without `host`, or with one that is not in `named`.
    pub default: Arc<Broker>,
    /// By the `host` header.
    pub named: BTreeMap<String, Arc<Broker>>,
}

/// How the client is linked to us; what of the transport matters to the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// STOMP over TCP.
    Tcp,
    /// STOMP over WebSocket; whether a STOMP subprotocol was agreed.
    WebSocket {
        /// One of v10/v11/v12.stomp was offered and echoed. Clients without are Spring's.
        subprotocol: bool,
    },
}

/// What the owner of the connection does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Go on. What there is to write waits in the outbound.
    Done,
    /// Send a WebSocket ping: the client has been silent.
    Probe,
    /// Write what [`Session::drain`] still gives, close, linger, read nothing more.
    Close(Close),
}

/// How a connection ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Close {
    /// WebSocket close code.
    pub code: u16,
    /// Short text for the close frame and for logs: the ERROR's `code`, or why else.
    pub reason: &'static str,
}

/// One client's session, from the opened connection to its end.
#[derive(Debug)]
pub struct Session {
    hosts: Arc<Hosts>,
    settings: Arc<Settings>,
    link: Link,
    id: u128,
    opened: u64,
    outbound: Arc<Outbound>,
    state: State,
    agreed: Option<(Version, Limits, bool)>,
    /// The last time it was told, for a session that is dropped without [`Session::end`].
    last: Now,
}

#[derive(Debug)]
enum State {
    Connecting,
    /// CONNECT has come and is being decided on; nothing is read meanwhile.
    Joining(Box<Joining>),
    Connected(Box<Connected>),
    /// It has been told how to close; nothing is taken any more. What it holds is given back at its end.
    Closing(Option<Box<Connected>>),
}

/// A session after CONNECTED.
#[derive(Debug)]
struct Connected {
    broker: Arc<Broker>,
    settings: Arc<Settings>,
    link: Link,
    outbound: Arc<Outbound>,
    version: Version,
    principal: Principal,
    /// What others may know of the session, and find it by.
    presence: Arc<Presence>,
    /// The part of its temporary names that others cannot guess.
    temporary: Box<str>,
    /// Number of the session in the broker.
    number: u64,
    /// What the client calls itself: whose durable subscriptions are meant.
    client_id: Option<Box<str>>,
    liveness: Liveness,
    /// By serial. Those that were unsubscribed stay while they hold unacknowledged messages.
    subscriptions: BTreeMap<u32, Held>,
    /// What asks an application destination, by serial.
    requests: app::Requests,
    /// Serials of live subscriptions, and of requests that have no answer yet, by id.
    ids: BTreeMap<String, u32>,
    /// Ids once used: a second UNSUBSCRIBE of one is no fault. Bounded: the oldest are forgotten.
    used: (BTreeSet<String>, VecDeque<String>),
    next_serial: u32,
    transactions: BTreeMap<String, Transaction>,
    /// Names of the queues that go with the session.
    owned: BTreeSet<Arc<str>>,
    receipts: Receipts,
    blocked: Option<Box<Blocked>>,
    /// Frames that waited behind a blocked one are being executed: places for their RECEIPTs are reserved.
    replaying: bool,
    /// Where the last SEND went that was allowed, by the name it used: most sessions send to one destination for a while.
    last_target: Option<(Box<str>, Destination)>,
    /// Frames of queues in the transport's output that the socket has not taken.
    marks: VecDeque<Mark>,
    /// A topic's subscriber does not keep up: no frame is taken before this, in `Now::mono`, or before it does.
    paused: Option<u64>,
    /// Octets of the frame that has come in part, and since when.
    unfinished: usize,
    unfinished_since: Option<u64>,
    /// To close when the RECEIPTs that wait have gone out.
    leaving: Option<Close>,
}

/// A subscription of the session.
#[derive(Debug)]
struct Held {
    subscription: Subscription,
    id: String,
    live: bool,
}

impl Session {
    /// A session that waits for CONNECT. `id` is 128 random bits.
    pub fn new(hosts: Arc<Hosts>, settings: Arc<Settings>, link: Link, id: u128, now: Now) -> Session {
        let outbound = Arc::new(Outbound::new(hosts.default.settings().outbound));
        Session {
            hosts,
            settings,
            link,
            id,
            opened: now.mono,
            outbound,
            state: State::Connecting,
            agreed: None,
            last: now,
        }
    }

    /// What waits to be written to this client, and the waker of its task.
    pub fn outbound(&self) -> &Arc<Outbound> {
        &self.outbound
    }

    /// Who the client is, once its CONNECT has been accepted.
    pub fn principal(&self) -> Option<&Principal> {
        match &self.state {
            State::Connected(connected) | State::Closing(Some(connected)) => Some(&connected.principal),
            State::Connecting | State::Joining(_) | State::Closing(None) => None,
        }
    }

    /// How the decoder must read from here on: asked after each frame; `Some` once, when CONNECT was accepted.
    pub fn agreed(&mut self) -> Option<(Version, Limits, bool)> {
        self.agreed.take()
    }

    /// Whether a further frame may be given to [`Session::receive`]. If not, the connection stops reading
    /// until a [`Session::wake`] changes that: the client is blocked by a full queue, or does not read its receipts.
    pub fn accepts_input(&self) -> bool {
        match &self.state {
            State::Connecting => true,
            State::Connected(connected) => connected.accepts_input() && self.outbound.has_room_for_control(),
            State::Joining(_) | State::Closing(_) => false,
        }
    }

    /// Takes one frame.
    pub fn receive(&mut self, frame: Frame<'_>, now: Now) -> Step {
        self.last = now;
        let receipt = match &self.state {
            State::Closing(_) => return Step::Done,
            State::Connecting | State::Joining(_) => None,
            State::Connected(_) => frame.headers.get("receipt"),
        };
        let done = match &mut self.state {
            State::Connected(connected) => connected.receive(&frame, receipt.as_deref(), now),
            State::Connecting | State::Joining(_) | State::Closing(_) => self.connect(&frame, now),
        };
        match done {
            Ok(()) => self.settled(),
            // The CONNECT of a session is given no receipt; a second one is a frame like others.
            Err(fault) if frame.command.is_connect() && matches!(self.state, State::Connecting) => self.fail(fault),
            Err(fault) => self.fail(fault.of(&frame)),
        }
    }

    /// The bytes were not a frame: ERROR and close.
    pub fn malformed(&mut self, error: DecodeError, _now: Now) -> Step {
        match self.state {
            State::Closing(_) => Step::Done,
            State::Connecting | State::Joining(_) | State::Connected(_) => self.fail(Fault::from(error)),
        }
    }

    /// The octets of an unfinished frame that its decoder holds: they count as held until it is finished or given up.
    pub fn holds(&mut self, octets: usize, now: Now) {
        let State::Connected(connected) = &mut self.state else {
            return;
        };
        connected.broker.count_unfinished(connected.unfinished, octets);
        connected.unfinished = octets;
        connected.unfinished_since = match octets {
            0 => None,
            _ => connected.unfinished_since.or(Some(now.mono)),
        };
    }

    /// Goes on with what waited: call it when [`Outbound::poll_work`] said so, before draining.
    pub fn wake(&mut self, now: Now) -> Step {
        let nudged = self.outbound.take_nudge();
        let called = self.outbound.take_call();
        if matches!(self.state, State::Joining(_)) {
            return self.join(now);
        }
        let State::Connected(connected) = &mut self.state else {
            return Step::Done;
        };
        if nudged {
            connected.paused = None;
        }
        if let Some(slow) = self.outbound.slow_consumer() {
            connected.broker.counters().slow_consumers.one();
            let limits = connected.broker.settings().outbound;
            return self.fail(Fault::new(
                fault::SLOW_CONSUMER,
                format!(
                    "{} messages of {} octets wait for this connection; the limits are {} (limits.outbound_messages) and {} \
                     (limits.outbound_size). What a topic does then is topic.slow_consumer, or a [[policy]].",
                    slow.messages, slow.bytes, limits.messages, limits.bytes
                ),
            ));
        }
        let done = match called {
            true => connected.called(now),
            false => Ok(()),
        };
        self.conclude(done)
    }

    /// Some octets, or a WebSocket ping or pong, came from the client.
    pub fn heard(&mut self, now: Now) {
        if let State::Connected(connected) = &mut self.state {
            connected.liveness.heard(now.mono);
        }
    }

    /// Appends waiting frames to `sink`, at most 64 or 64 KiB; whether more wait.
    pub fn drain(&mut self, sink: &mut impl FrameSink, now: Now) -> bool {
        let State::Connected(connected) = &mut self.state else {
            return self.outbound.drain(sink, &mut VecDeque::new(), now).more;
        };
        let drained = self.outbound.drain(sink, &mut connected.marks, now);
        let counters = connected.broker.counters();
        if drained.deliveries > 0 {
            counters.delivered.add(drained.deliveries);
        }
        if drained.expired > 0 {
            counters.dropped_expired.add(drained.expired);
        }
        if self.outbound.take_stalled() {
            connected.resume_queues(now);
        }
        drained.more
    }

    /// The socket has taken all octets up to `position` of the sink (see [`FrameSink::position`]): messages in
    /// them are delivered.
    pub fn written(&mut self, position: u64, now: Now) {
        self.last = now;
        if let State::Connected(connected) | State::Closing(Some(connected)) = &mut self.state {
            connected.liveness.sent(now.mono);
            connected.written(position, now);
        }
    }

    /// When [`Session::advance`] must be called, in `Now::mono`.
    pub fn deadline(&self) -> Option<u64> {
        match &self.state {
            State::Connecting | State::Joining(_) => Some(self.opened + self.settings.connect_ms),
            State::Connected(connected) => connected.deadline(),
            State::Closing(_) => None,
        }
    }

    /// Does what is due: CONNECT deadline, heart-beats, blocked SENDs, transaction age.
    pub fn advance(&mut self, now: Now) -> Step {
        match &mut self.state {
            State::Connecting | State::Joining(_) if now.mono < self.opened + self.settings.connect_ms => Step::Done,
            State::Joining(_) => {
                let limit = self.settings.connect_ms;
                let detail = format!(
                    "Your passcode could not be checked within {limit} ms (session.connect_timeout) of the connection; \
                     try again later."
                );
                self.fail(Fault::new(fault::CONNECT_TIMEOUT, detail))
            }
            State::Connecting => {
                let limit = self.settings.connect_ms;
                let detail = format!("No CONNECT came within {limit} ms (session.connect_timeout) of the connection.");
                self.fail(Fault::new(fault::CONNECT_TIMEOUT, detail))
            }
            State::Connected(connected) => match connected.advance(now) {
                Ok(true) => Step::Probe,
                Ok(false) => self.settled(),
                Err(fault) => self.fail(fault),
            },
            State::Closing(_) => Step::Done,
        }
    }

    /// The server stops: what was received is finished, then ERROR with code `shutdown` on TCP, and close 1001.
    pub fn shutdown(&mut self, _now: Now) -> Step {
        match &mut self.state {
            State::Closing(_) => Step::Done,
            State::Connecting | State::Joining(_) => self.stop(),
            State::Connected(connected) => {
                connected.leaving.get_or_insert(STOPPED);
                self.settled()
            }
        }
    }

    /// The connection is gone, however it ended: frees everything, gives unacknowledged messages back.
    /// Idempotent, and done on drop.
    pub fn end(&mut self, now: Now) {
        match std::mem::replace(&mut self.state, State::Closing(None)) {
            State::Connected(connected) | State::Closing(Some(connected)) => connected.end(now),
            State::Connecting | State::Joining(_) | State::Closing(None) => {}
        }
        self.outbound.close();
    }

    /// After a frame: RECEIPTs whose turn has come go out, and the session closes if that was all it waited for.
    fn settled(&mut self) -> Step {
        self.conclude(Ok(()))
    }

    fn conclude(&mut self, done: Result<(), Fault>) -> Step {
        let State::Connected(connected) = &mut self.state else {
            return Step::Done;
        };
        let done = done.and_then(|()| connected.flush_receipts());
        if let Err(fault) = done {
            return self.fail(fault);
        }
        if connected.receipts.is_empty() && connected.blocked.is_none() {
            match connected.leaving.take() {
                Some(STOPPED) => return self.stop(),
                Some(close) => return self.close(close),
                None => {}
            }
        }
        Step::Done
    }

    fn stop(&mut self) -> Step {
        if self.link == Link::Tcp {
            let detail = "The server stops; connect again later.";
            return self.fail(Fault::new(fault::SHUTDOWN, detail));
        }
        self.close(STOPPED)
    }

    fn fail(&mut self, fault: Fault) -> Step {
        tracing::debug!(code = fault.kind.code, detail = %fault.detail, "client at fault");
        let version = match &mut self.state {
            State::Connected(connected) => {
                // Earlier frames of the same turn may have taken effect.
                while let Ok(Some(receipt)) = connected.receipts.next() {
                    self.outbound.control(receipt);
                }
                connected.version
            }
            State::Connecting | State::Joining(_) | State::Closing(_) => Version::V1_0,
        };
        self.outbound.control(fault.frame(version));
        self.close(Close {
            code: fault.kind.close,
            reason: fault.kind.code,
        })
    }

    fn close(&mut self, close: Close) -> Step {
        self.outbound.finish();
        let held = match std::mem::replace(&mut self.state, State::Closing(None)) {
            State::Connected(mut connected) | State::Closing(Some(mut connected)) => {
                // Room is for those who can still use it.
                connected.stop_waiting();
                Some(connected)
            }
            State::Connecting | State::Joining(_) | State::Closing(None) => None,
        };
        self.state = State::Closing(held);
        Step::Close(close)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.end(self.last);
    }
}

const STOPPED: Close = Close {
    code: 1001,
    reason: "shutdown",
};
