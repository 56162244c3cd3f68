//! What an operator may set about sessions.

use super::Authentication;
use crate::stomp::Limits;

/// Settings of every session.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What a client may send before its CONNECT has been accepted.
    pub before_connect: Limits,
    /// What it may send afterwards.
    pub connected: Limits,
    /// Milliseconds from the opened connection to a complete CONNECT.
    pub connect_ms: u64,
    /// Milliseconds from the first octet of a frame to its last.
    pub frame_ms: u64,
    /// The first number of CONNECTED's `heart-beat`: how often we can send, in milliseconds.
    pub heart_beat_send_ms: u32,
    /// The second: how often we want to hear from the client, in milliseconds.
    pub heart_beat_receive_ms: u32,
    /// How many times the agreed interval a client may be silent, in permille (2000 = twice).
    pub heart_beat_tolerance_permille: u32,
    /// Milliseconds added to that.
    pub heart_beat_extra_ms: u32,
    /// Milliseconds a WebSocket client has to answer the ping that is sent before it is cut as silent.
    pub probe_ms: u32,
    /// Milliseconds of silence after which a WebSocket client that agreed on no heart-beat is pinged.
    pub idle_probe_ms: u32,
    /// Live subscriptions of a connection.
    pub subscriptions: usize,
    /// Open transactions of a connection.
    pub transactions: usize,
    /// Frames of one transaction.
    pub transaction_frames: usize,
    /// Octets of one transaction.
    pub transaction_bytes: usize,
    /// Milliseconds a transaction may stay open.
    pub transaction_ms: u64,
    /// Milliseconds a SEND waits for room in a full queue.
    pub blocked_ms: u64,
    /// Refuse the leniencies of docs/protocol.md: CR rules of 1.0/1.1, `\r` in 1.1, an unknown `host`.
    pub strict: bool,
    /// Refuse a CONNECT whose `host` is not a configured virtual host.
    pub strict_host: bool,
    /// Take the escapes that go-stomp puts into CONNECT (`\c`, `\\`) as escapes, against the specification.
    pub unescape_connect: bool,
    /// Who says whether a client may connect, and as whom. `None`: everybody may, as whoever the `login` says.
    pub authentication: Option<Authentication>,
    /// Who may SEND to `/user/NAME/…`.
    pub user_send: UserSend,
    /// Application destinations.
    pub app: App,
}

/// Whose `/user` destinations a client may SEND to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum UserSend {
    /// Nobody's, unless its [`Principal`](super::Principal) says that it may.
    #[default]
    None,
    /// Those of its own user.
    Own,
    /// Everybody's, as with Spring's simple broker.
    Any,
}

/// What holds for application destinations, `/app/NAME`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct App {
    /// Which clients may work for them.
    pub workers: Workers,
    /// Milliseconds that a SEND or SUBSCRIBE waits for a worker.
    pub patience_ms: u64,
    /// Milliseconds that a SUBSCRIBE waits for its answer.
    pub timeout_ms: u64,
}

/// Which clients may subscribe to `/worker/NAME`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Workers {
    /// None: only the program that embeds the server.
    Nobody,
    /// Those whose [`Principal`](super::Principal) says for which destinations; while nothing authenticates clients,
    /// those that come over TCP, which web pages and what comes through their proxies do not.
    #[default]
    Permitted,
    /// All.
    Anyone,
}

impl Default for App {
    fn default() -> Self {
        App {
            workers: Workers::default(),
            patience_ms: 10_000,
            timeout_ms: 30_000,
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        let head = Limits {
            frame: 16 << 10,
            header_lines: 64,
            header_line: 8 << 10,
            head: 32 << 10,
        };
        Settings {
            before_connect: head,
            connected: Limits { frame: 4 << 20, ..head },
            connect_ms: 10_000,
            frame_ms: 60_000,
            heart_beat_send_ms: 10_000,
            heart_beat_receive_ms: 10_000,
            heart_beat_tolerance_permille: 2_000,
            heart_beat_extra_ms: 1_000,
            probe_ms: 5_000,
            idle_probe_ms: 30_000,
            subscriptions: 1_000,
            transactions: 16,
            transaction_frames: 1_000,
            transaction_bytes: 8 << 20,
            transaction_ms: 60_000,
            blocked_ms: 30_000,
            strict: false,
            strict_host: false,
            unescape_connect: false,
            authentication: None,
            user_send: UserSend::None,
            app: App::default(),
        }
    }
}
