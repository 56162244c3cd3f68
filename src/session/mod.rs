//! One client's protocol state.
//!
//! Pure: frames and time come in, a [`Step`] goes out, and what is to be written waits in the session's
//! [`Outbound`](crate::broker::Outbound).

pub mod settings;

use std::sync::Arc;

use crate::broker::{Broker, FrameSink, Now, Outbound};
use crate::stomp::{DecodeError, Frame, Limits, Version};

pub use settings::Settings;

/// The brokers by virtual host.
#[derive(Debug)]
pub struct Hosts {
    /// For a CONNECT without `host`, or with one that is not in `named`.
    pub default: Arc<Broker>,
    /// By the `host` header.
    pub named: std::collections::BTreeMap<String, Arc<Broker>>,
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
    outbound: Arc<Outbound>,
}

impl Session {
    /// A session that waits for CONNECT. `id` is 128 random bits.
    pub fn new(_hosts: Arc<Hosts>, _settings: Arc<Settings>, _link: Link, _id: u128, _now: Now) -> Session {
        Session {
            outbound: Arc::new(Outbound {}),
        }
    }

    /// What waits to be written to this client, and the waker of its task.
    pub fn outbound(&self) -> &Arc<Outbound> {
        &self.outbound
    }

    /// How the decoder must read from here on: asked after each frame; `Some` once, when CONNECT was accepted.
    pub fn agreed(&mut self) -> Option<(Version, Limits, bool)> {
        None
    }

    /// Whether a further frame may be given to [`Session::receive`]. If not, the connection stops reading
    /// until a [`Session::wake`] changes that: the client is blocked by a full queue, or does not read its receipts.
    pub fn accepts_input(&self) -> bool {
        true
    }

    /// Takes one frame.
    pub fn receive(&mut self, _frame: Frame<'_>, _now: Now) -> Step {
        Step::Done
    }

    /// The bytes were not a frame: ERROR and close.
    pub fn malformed(&mut self, _error: DecodeError, _now: Now) -> Step {
        Step::Done
    }

    /// Goes on with what waited: call it when [`Outbound::poll_work`] said so, before draining.
    pub fn wake(&mut self, _now: Now) -> Step {
        Step::Done
    }

    /// Some octets, or a WebSocket ping or pong, came from the client.
    pub fn heard(&mut self, _now: Now) {}

    /// Appends waiting frames to `sink`, at most 64 or 64 KiB; whether more wait.
    pub fn drain(&mut self, _sink: &mut impl FrameSink, _now: Now) -> bool {
        false
    }

    /// The socket has taken all octets up to `position` of the sink (see [`FrameSink::position`]): messages in
    /// them are delivered.
    pub fn written(&mut self, _position: u64, _now: Now) {}

    /// When [`Session::advance`] must be called, in `Now::mono`.
    pub fn deadline(&self) -> Option<u64> {
        None
    }

    /// Does what is due: CONNECT deadline, heart-beats, blocked SENDs, transaction age.
    pub fn advance(&mut self, _now: Now) -> Step {
        Step::Done
    }

    /// The server stops: ERROR with code `shutdown` on TCP; close 1001.
    pub fn shutdown(&mut self, _now: Now) -> Step {
        Step::Done
    }

    /// The connection is gone, however it ended: frees everything, gives unacknowledged messages back.
    /// Idempotent, and done on drop.
    pub fn end(&mut self, _now: Now) {}
}
