//! The edge of another broker: each client's frames go to a connection of its own to the broker behind, and back.
//!
//! Pure as the session is: frames of both sides and the time come in, frames for both sides go to [`Wires`], and a
//! [`Step`] says what the owner of the two sockets does next. It asks nobody for the time and opens nothing.
//!
//! ```text
//!            CONNECT             dialled          CONNECTED
//! Connecting ───────▶ Waiting ─▶ Dialling ─▶ Asked ───────▶ Ready ──▶ Closing
//!                       ▲ not reached │ lost   │ lost         │ lost
//!                       └─────────────┴────────┴──────────────┘ while clients are kept
//! ```
//!
//! | what | where |
//! |---|---|
//! | CONNECT and CONNECTED | `connect` |
//! | frames of the client | `client` |
//! | frames of the broker behind | `upstream` |
//! | its going and coming | `away` |
//! | `/user` destinations | `users` |
//! | subscriptions that clients share | `sharing` |
//! | our own connection to it | `system` |

mod away;
mod backoff;
mod client;
mod connect;
pub mod fault;
mod own;
mod passage;
pub mod settings;
mod sharing;
mod stats;
mod system;
#[cfg(test)]
mod tests;
mod upstream;
mod users;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use crate::stomp::{Beat, Command, Frame, HeartBeat, Liveness, Version};

pub use away::Lost;
pub use backoff::Backoff;
pub use connect::{Admitted, Credentials};
pub use fault::Fault;
pub use settings::{Edge, Settings, UserSend, WhileAway};
pub use sharing::{Bell, Sharing, Trunk};
pub use stats::{Count, Counters, Upstream};
pub use system::{Heard, System};
pub use users::Users;

use passage::{Kept, Pending};
use sharing::Member;
use users::Spread;

/// Where frames for either side go. Each is given whole, in parts.
pub trait Wires {
    /// To the client. `utf8` says that the whole frame is valid UTF-8.
    fn client(&mut self, parts: &[&[u8]], utf8: bool);
    /// To the broker behind; only while [`Relay::has_upstream`].
    fn upstream(&mut self, parts: &[&[u8]]);
}

/// What the owner of the connection does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Go on.
    Done,
    /// Ask the client for a sign of life: a WebSocket ping.
    Probe,
    /// Write what there is to both sides, and close both.
    Close(Close),
}

/// How a client's connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Close {
    /// WebSocket close code.
    pub code: u16,
    /// Short text for the close frame and the counters.
    pub reason: &'static str,
}

/// What all clients of one relay share.
#[derive(Debug, Default)]
pub struct Shared {
    /// As configured.
    pub settings: Settings,
    /// Whose sessions are here.
    pub users: Arc<Users>,
    /// What is counted.
    pub counters: Counters,
    /// What is known of the broker behind.
    pub upstream: Upstream,
    /// Who shares which subscription.
    pub sharing: Arc<Sharing>,
}

impl Shared {
    /// Whether nodes tell each other there of messages for users.
    fn is_broadcast(&self, destination: &str) -> bool {
        let broadcast = self.settings.user_broadcast.as_str();
        !broadcast.is_empty() && destination == broadcast
    }
}

/// One client's conversation with the broker behind.
#[derive(Debug)]
pub struct Relay {
    shared: Arc<Shared>,
    edge: Edge,
    /// What its user destinations end with behind: 128 random bits.
    token: Box<str>,
    opened: u64,
    state: State,
    /// By whose rules the client is read on, when that has just changed.
    agreed: Option<Version>,
    /// Likewise the broker.
    spoken: Option<Version>,
    /// A frame of the client has come in part, since then.
    unfinished: Option<u64>,
    /// How its owner hears that there is mail.
    bell: Option<Arc<dyn Bell>>,
}

#[derive(Debug)]
enum State {
    Connecting,
    Open(Box<Open>),
    Closing,
}

/// A client after its CONNECT.
#[derive(Debug)]
struct Open {
    /// As the client offered it, the highest; then as the broker chose.
    version: Version,
    connect: Kept,
    user: Option<String>,
    admission: Admission,
    /// Whom it may SEND to by name.
    user_send: UserSend,
    entry: Option<users::Entry>,
    client_beat: HeartBeat,
    /// The client's side, once CONNECTED was passed on.
    client: Option<Liveness>,
    /// Since when there has been no broker, while there is none.
    since: u64,
    upstream: Up,
    backoff: Backoff,
    /// How often the broker was lost: deliveries before are not its any more.
    epoch: u32,
    pending: Pending,
    /// A SEND to a user that has gone to some of its sessions.
    spread: Option<Spread>,
    subscriptions: BTreeMap<String, Subscription>,
    /// Octets of `subscriptions`.
    kept_bytes: usize,
    next_serial: u64,
    most_subscriptions: usize,
    most_transactions: usize,
    transactions: BTreeSet<String>,
    lost_transactions: BTreeSet<String>,
    /// RECEIPTs that the broker owes, oldest first.
    receipts: VecDeque<(Box<str>, Command)>,
    /// Ids of subscriptions to the destination of status.
    status: BTreeSet<String>,
    /// The RECEIPT by which the broker says that all subscriptions are there again, until it is there.
    back: Option<Box<str>>,
    told: u64,
    bell: Option<Arc<dyn Bell>>,
    /// Its shared subscriptions.
    member: Option<Member>,
    leaving: Option<Leaving>,
    stopping: bool,
}

/// Whether the client may connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Admission {
    /// Nobody has been asked.
    Open,
    /// It is being found out.
    Asked,
    /// It may.
    Given,
}

/// A SUBSCRIBE that is said again when the broker comes back.
#[derive(Debug)]
struct Subscription {
    serial: u64,
    frame: Kept,
    /// Its RECEIPT is there.
    confirmed: bool,
}

/// How far the connection to the broker is.
#[derive(Debug)]
enum Up {
    /// There is none; the next try is at that time.
    Waiting(u64),
    /// It is being made.
    Dialling,
    /// CONNECT is written; CONNECTED must be there by then.
    Asked(u64),
    /// Frames pass.
    Ready(Liveness),
}

/// The client has said DISCONNECT.
#[derive(Debug)]
struct Leaving {
    receipt: String,
    until: u64,
}

impl Relay {
    /// A relay for a client that has said nothing yet. `id` is 128 random bits.
    pub fn new(shared: Arc<Shared>, edge: Edge, id: u128, now: u64) -> Relay {
        Relay {
            shared,
            edge,
            token: format!("{id:032x}").into(),
            opened: now,
            state: State::Connecting,
            agreed: None,
            spoken: None,
            unfinished: None,
            bell: None,
        }
    }

    /// By whose rules the next octets of the client are read: asked after each of its frames and after each of the
    /// broker's; `Some` once.
    pub fn agreed(&mut self) -> Option<Version> {
        self.agreed.take()
    }

    /// Likewise the next octets of the broker.
    pub fn spoken(&mut self) -> Option<Version> {
        self.spoken.take()
    }

    /// Whether a further frame may be given to [`Relay::receive`]. If not, no more is read from the client: as much waits
    /// for the broker as may, or as many RECEIPTs of it are outstanding.
    pub fn accepts_input(&self) -> bool {
        let settings = &self.shared.settings;
        match &self.state {
            State::Connecting => true,
            State::Open(open) if open.admission != Admission::Given => false,
            State::Open(open) if matches!(open.upstream, Up::Ready(_)) => {
                let held = open.spread.is_some() || open.is_joining() || !open.pending.is_empty();
                !held && open.receipts.len() < settings.receipts
            }
            State::Open(open) => {
                let bytes = open.pending.bytes() + open.kept_bytes;
                open.pending.frames() < settings.pending_frames
                    && (bytes < settings.pending_bytes || open.pending.is_empty())
            }
            State::Closing => false,
        }
    }

    /// Whether a connection to the broker shall be made now. Says so once; then comes [`Relay::dialled`] or
    /// [`Relay::lost`].
    pub fn dials(&mut self, now: u64) -> bool {
        let State::Open(open) = &mut self.state else {
            return false;
        };
        let Up::Waiting(at) = open.upstream else { return false };
        if now < at || open.admission != Admission::Given {
            return false;
        }
        if self.shared.settings.keep_ms > 0 && !self.shared.upstream.is_available() {
            // The system connection knows best; ten thousand clients need not ask as well.
            open.upstream = Up::Waiting(now + open.backoff.pause().max(1));
            return false;
        }
        open.upstream = Up::Dialling;
        true
    }

    /// Whether there is, or is being made, a connection to the broker. When it turns false, that one is of no use any
    /// more: what was written is flushed if the session is over, and dropped if it goes on.
    pub fn has_upstream(&self) -> bool {
        matches!(&self.state, State::Open(open) if !matches!(open.upstream, Up::Waiting(_)))
    }

    /// Whether there is more for the broker than it was given at once: call [`Relay::go_on`] when it has taken that.
    pub fn has_more(&self) -> bool {
        match &self.state {
            State::Open(open) if matches!(open.upstream, Up::Ready(_)) => {
                open.spread.is_some() || (!open.pending.is_empty() && !open.is_joining())
            }
            _ => false,
        }
    }

    /// Gives the broker more of what there is.
    pub fn go_on(&mut self, wires: &mut impl Wires, now: u64) -> Step {
        if let State::Open(open) = &mut self.state {
            open.spread_on(&self.shared, wires);
        }
        self.pass_pending(wires, now)
    }

    /// Whether the session is over.
    pub fn is_over(&self) -> bool {
        matches!(self.state, State::Closing)
    }

    /// Octets, or a sign of life beside them, came from the client; or it is not being read.
    pub fn heard_client(&mut self, now: u64) {
        if let State::Open(open) = &mut self.state {
            if let Some(client) = &mut open.client {
                client.heard(now);
            }
        }
    }

    /// Octets were written to the client.
    pub fn sent_client(&mut self, now: u64) {
        if let State::Open(open) = &mut self.state {
            if let Some(client) = &mut open.client {
                client.sent(now);
            }
        }
    }

    /// Octets came from the broker; or it is not being read.
    pub fn heard_upstream(&mut self, now: u64) {
        if let State::Open(open) = &mut self.state {
            if let Up::Ready(upstream) = &mut open.upstream {
                upstream.heard(now);
            }
        }
    }

    /// Octets were written to the broker.
    pub fn sent_upstream(&mut self, now: u64) {
        if let State::Open(open) = &mut self.state {
            if let Up::Ready(upstream) = &mut open.upstream {
                upstream.sent(now);
            }
        }
    }

    /// The decoder holds `octets` of a frame of the client whose end has not come.
    pub fn holds(&mut self, octets: usize, now: u64) {
        self.unfinished = match octets {
            0 => None,
            _ => self.unfinished.or(Some(now)),
        };
    }

    /// When [`Relay::advance`], or [`Relay::dials`], must be called.
    pub fn due(&self) -> Option<u64> {
        let frame = self.unfinished.map(|since| since + self.edge.frame_ms);
        match &self.state {
            State::Connecting => Some(self.opened + self.edge.connect_ms),
            State::Open(open) if open.admission != Admission::Given => Some(self.opened + self.edge.connect_ms),
            State::Open(open) => {
                let upstream = match &open.upstream {
                    Up::Waiting(at) => Some(*at),
                    Up::Dialling => None,
                    Up::Asked(by) => Some(*by),
                    Up::Ready(liveness) => liveness.due(),
                };
                let client = open.client.as_ref().and_then(Liveness::due);
                let leaving = open.leaving.as_ref().map(|leaving| leaving.until);
                let kept = open.kept_until(&self.shared.settings);
                let joining = open.member.as_ref().and_then(Member::due);
                [frame, upstream, client, leaving, kept, joining]
                    .into_iter()
                    .flatten()
                    .min()
            }
            State::Closing => None,
        }
    }

    /// Does what is due on both sides.
    pub fn advance(&mut self, wires: &mut impl Wires, now: u64) -> Step {
        if self.unfinished.is_some_and(|since| now >= since + self.edge.frame_ms) {
            let limit = self.edge.frame_ms;
            let detail = format!("A frame was begun and not ended within {limit} ms (session.frame_timeout).");
            return self.fail(Fault::new(fault::FRAME_TIMEOUT, detail), wires);
        }
        let joining = match &self.state {
            State::Connecting => true,
            State::Open(open) => open.admission != Admission::Given,
            State::Closing => false,
        };
        match &mut self.state {
            _ if joining && now >= self.opened + self.edge.connect_ms => {
                let limit = self.edge.connect_ms;
                let detail = format!("No CONNECT came within {limit} ms (session.connect_timeout) of the connection.");
                self.fail(Fault::new(fault::CONNECT_TIMEOUT, detail), wires)
            }
            _ if joining => Step::Done,
            State::Connecting | State::Closing => Step::Done,
            State::Open(open) => match open.advance(&self.shared, wires, now) {
                Due::Nothing => Step::Done,
                Due::Probe => Step::Probe,
                Due::Lost(why) => self.lost(why, wires, now),
                Due::Fault(fault) => self.fail(fault, wires),
                Due::Turned => self.turned_away(wires, now),
            },
        }
    }

    /// The server stops: what the broker still owes is waited for, then the client is told.
    pub fn shutdown(&mut self, wires: &mut impl Wires) -> Step {
        match &mut self.state {
            State::Closing => Step::Done,
            State::Connecting => self.stop(wires),
            State::Open(open) => {
                open.stopping = true;
                self.settled(wires)
            }
        }
    }

    /// The client is gone: the broker is told, and everything is freed.
    pub fn gone(&mut self, wires: &mut impl Wires) {
        self.close(
            Close {
                code: 1000,
                reason: "client",
            },
            wires,
        );
    }

    /// The client wrote what is no frame.
    pub fn malformed(&mut self, fault: Fault, wires: &mut impl Wires) -> Step {
        match self.state {
            State::Closing => Step::Done,
            State::Connecting | State::Open(_) => self.fail(fault, wires),
        }
    }

    /// A stopping server's client has nothing outstanding any more: it is told.
    fn settled(&mut self, wires: &mut impl Wires) -> Step {
        match &self.state {
            State::Open(open)
                if open.stopping
                    && open.receipts.is_empty()
                    && open.spread.is_none()
                    && open.leaving.is_none()
                    && !open.is_joining() =>
            {
                self.stop(wires)
            }
            _ => Step::Done,
        }
    }

    fn stop(&mut self, wires: &mut impl Wires) -> Step {
        if !self.edge.websocket {
            let fault = Fault::new(fault::SHUTDOWN, "The server stops; connect again later.");
            return self.fail(fault, wires);
        }
        self.close(
            Close {
                code: 1001,
                reason: "shutdown",
            },
            wires,
        )
    }

    fn fail(&mut self, fault: Fault, wires: &mut impl Wires) -> Step {
        tracing::debug!(code = fault.code, detail = %fault.detail, "a relayed client's session ends");
        let version = match &self.state {
            State::Open(open) => open.version,
            State::Connecting | State::Closing => Version::V1_0,
        };
        wires.client(&[&fault.frame(version)], true);
        self.close(
            Close {
                code: fault.close,
                reason: fault.code,
            },
            wires,
        )
    }

    /// Says good-bye to the broker, if it has not been said, and frees everything.
    fn close(&mut self, close: Close, wires: &mut impl Wires) -> Step {
        self.unfinished = None;
        if let State::Open(open) = std::mem::replace(&mut self.state, State::Closing) {
            let dropped = open.pending.frames() as u64;
            self.shared.counters.dropped_pending.add(dropped);
            if matches!(open.upstream, Up::Ready(_)) && open.leaving.is_none() {
                self.shared.counters.disconnect.one();
                wires.upstream(&[&passage::plain(Command::Disconnect, &[], open.version)]);
            }
        }
        Step::Close(close)
    }
}

/// What is due of a client.
enum Due {
    Nothing,
    Probe,
    Lost(Lost),
    Fault(Fault),
    /// The shared connection has not taken a subscription in time.
    Turned,
}

impl Open {
    fn advance(&mut self, shared: &Shared, wires: &mut impl Wires, now: u64) -> Due {
        let settings = &shared.settings;
        if self.kept_until(settings).is_some_and(|until| now >= until) {
            return Due::Fault(self.waited_for_nothing(settings));
        }
        if self.leaving.as_ref().is_some_and(|leaving| now >= leaving.until) {
            let limit = settings.goodbye_ms;
            let detail = format!("The broker did not confirm DISCONNECT within {limit} ms (relay.goodbye).");
            return Due::Fault(Fault::new(fault::BROKER_LOST, detail));
        }
        if let Some(client) = &mut self.client {
            while let Some(beat) = client.advance(now) {
                match beat {
                    Beat::Send => wires.client(&[b"\n"], true),
                    Beat::Probe => return Due::Probe,
                    Beat::Silent { silent_ms, expected_ms } => {
                        let detail = format!(
                            "Nothing came for {silent_ms} ms; agreed was a sign of life every {expected_ms} ms (session.heart_beat)."
                        );
                        return Due::Fault(Fault::new(fault::SILENT, detail));
                    }
                }
            }
        }
        if self.member.as_ref().and_then(Member::due).is_some_and(|due| now >= due) {
            return Due::Turned;
        }
        match &mut self.upstream {
            Up::Asked(by) if now >= *by => Due::Lost(Lost::NoConnected(settings.connected_ms)),
            Up::Ready(liveness) => {
                while let Some(beat) = liveness.advance(now) {
                    match beat {
                        Beat::Send => wires.upstream(&[b"\n"]),
                        Beat::Probe => {}
                        Beat::Silent { silent_ms, .. } => return Due::Lost(Lost::Silent(silent_ms)),
                    }
                }
                Due::Nothing
            }
            Up::Asked(_) | Up::Waiting(_) | Up::Dialling => Due::Nothing,
        }
    }

    /// When the client is told that the broker stays away.
    fn kept_until(&self, settings: &Settings) -> Option<u64> {
        let away = !matches!(self.upstream, Up::Ready(_));
        (away && settings.keep_ms > 0).then(|| self.since.saturating_add(settings.keep_ms))
    }

    /// Remembers the RECEIPT that the broker owes for `frame`.
    fn owes(&mut self, frame: &Frame<'_>) {
        if let Some(receipt) = frame.headers.get("receipt") {
            self.receipts.push_back((receipt.as_ref().into(), frame.command));
        }
    }
}
