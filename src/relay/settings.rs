//! What an operator may set about the relay.

use crate::stomp::{HeartBeat, Limits, Tolerance};

/// Settings of the relay: where the broker behind is, who we are there, and what a client may cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `host:port` of the broker behind, and of those to turn to when it is not there, in this order.
    pub upstream: Vec<String>,
    /// Login of the system connection; empty sends none.
    pub system_login: String,
    /// Passcode of the system connection; empty sends none.
    pub system_passcode: String,
    /// Login of each client's connection. `{login}` and `{passcode}` stand for the client's own; empty sends none.
    pub client_login: String,
    /// Passcode of each client's connection, likewise.
    pub client_passcode: String,
    /// The `host` header of every CONNECT to the broker behind; empty sends none, whatever the client says.
    pub host: String,
    /// The `heart-beat` header of every CONNECT to the broker behind.
    pub heart_beat: HeartBeat,
    /// How many times the agreed interval the broker may be silent, in permille.
    pub heart_beat_tolerance_permille: u32,
    /// Milliseconds for a TCP connection to one address.
    pub connect_ms: u64,
    /// Milliseconds from our CONNECT to the broker's CONNECTED.
    pub connected_ms: u64,
    /// Milliseconds before the second try to reach the broker; each further pause is twice as long.
    pub retry_first_ms: u64,
    /// The longest pause in milliseconds.
    pub retry_longest_ms: u64,
    /// Milliseconds that a client is kept while the broker is away. 0: it is told at once, as Spring does.
    pub keep_ms: u64,
    /// What a SEND meets while its client is kept.
    pub while_away: WhileAway,
    /// Frames of a client that may wait for the broker.
    pub pending_frames: usize,
    /// Octets of them, and of the SUBSCRIBE frames that are kept to be said again.
    pub pending_bytes: usize,
    /// Octets that may wait to be written to a client before no more is read from the broker for it.
    pub client_buffer: usize,
    /// Octets that may wait to be written to the broker before no more is read from the client.
    pub upstream_buffer: usize,
    /// Octets of a whole frame from the broker.
    pub frame: usize,
    /// RECEIPTs that a client may have outstanding before no more is read from it.
    pub receipts: usize,
    /// Milliseconds that the broker has to confirm a DISCONNECT.
    pub goodbye_ms: u64,
    /// Milliseconds that the broker has to confirm what the embedding program sends.
    pub publish_ms: u64,
    /// SENDs of the embedding program and of ourselves that may wait for the system connection.
    pub publish_waiting: usize,
    /// What destinations of SEND and SUBSCRIBE begin with; others are refused. Empty: anything.
    pub prefixes: Vec<String>,
    /// Whether clients may SUBSCRIBE to patterns over queues, by which some brokers hand out what is in private ones.
    pub queue_wildcards: bool,
    /// `name:value` of headers that are added to SUBSCRIBE and SEND of user destinations.
    pub user_headers: Vec<String>,
    /// Where messages go that no session here is meant by, and come from when another node could not resolve them.
    /// Empty: they are dropped and counted.
    pub user_broadcast: String,
    /// What topics begin with whose subscriptions clients share, over one connection for all of them. Empty: none.
    pub shared_topics: Vec<String>,
    /// The destination at which clients that are kept hear of the broker's going and coming. Empty: none.
    pub status: String,
}

/// What a SEND meets while the broker is away and its client is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhileAway {
    /// It waits, within the bounds of what may be pending.
    Buffer,
    /// ERROR `broker-unavailable`.
    Refuse,
}

impl Default for Settings {
    fn default() -> Self {
        let guest = || "guest".to_owned();
        Settings {
            upstream: vec!["127.0.0.1:61613".to_owned()],
            system_login: guest(),
            system_passcode: guest(),
            client_login: guest(),
            client_passcode: guest(),
            host: String::new(),
            heart_beat: HeartBeat {
                send: 10_000,
                receive: 10_000,
            },
            heart_beat_tolerance_permille: 3_000,
            connect_ms: 10_000,
            connected_ms: 60_000,
            retry_first_ms: 250,
            retry_longest_ms: 5_000,
            keep_ms: 0,
            while_away: WhileAway::Buffer,
            pending_frames: 1_000,
            pending_bytes: 1 << 20,
            client_buffer: 1 << 20,
            upstream_buffer: 256 << 10,
            frame: 16 << 20,
            receipts: 10_000,
            goodbye_ms: 10_000,
            publish_ms: 10_000,
            publish_waiting: 1_000,
            prefixes: Vec::new(),
            queue_wildcards: false,
            user_headers: Vec::new(),
            user_broadcast: String::new(),
            shared_topics: Vec::new(),
            status: "/relay/status".to_owned(),
        }
    }
}

impl Settings {
    /// What the broker behind may send. It is trusted with more header lines than a client.
    pub fn limits(&self) -> Limits {
        Limits {
            frame: self.frame,
            header_lines: 1_000,
            header_line: 64 << 10,
            head: 256 << 10,
        }
    }

    /// Whether clients share subscriptions, but not the credentials by which the broker says who may subscribe: one could
    /// read over the shared connection what the broker would not give it.
    pub fn shares_with_strangers(&self) -> bool {
        let own = |template: &str| template.contains("{login}") || template.contains("{passcode}");
        !self.shared_topics.is_empty() && (own(&self.client_login) || own(&self.client_passcode))
    }

    /// Has clients share subscriptions to what begins so.
    ///
    /// # Errors
    /// The first that is empty, or cannot be shared: nothing is changed.
    pub fn share(&mut self, beginnings: Vec<String>) -> Result<(), String> {
        let wrong = |beginning: &&String| beginning.is_empty() || Settings::is_for_one(beginning);
        match beginnings.iter().find(wrong) {
            Some(wrong) => Err(wrong.clone()),
            None => {
                self.shared_topics = beginnings;
                Ok(())
            }
        }
    }

    /// Whether a destination that begins so is for one session, or shares messages out: many must not have one subscription
    /// to it.
    pub(super) fn is_for_one(beginning: &str) -> bool {
        const FORMS: [&str; 6] = [
            "/queue/",
            "/amq/queue/",
            "/reply-queue/",
            "/temp-queue/",
            "/temp-topic/",
            "/user/",
        ];
        FORMS
            .iter()
            .any(|form| beginning.starts_with(form) || form.strip_suffix('/') == Some(beginning))
    }

    /// What is borne of a broker's silence. TCP cannot be asked whether it lives.
    pub fn tolerance(&self) -> Tolerance {
        Tolerance {
            permille: self.heart_beat_tolerance_permille,
            extra_ms: 0,
            can_probe: false,
            ..Tolerance::default()
        }
    }
}

/// What holds for the client's side, which is ours to serve.
#[derive(Clone, Copy, Debug)]
pub struct Edge {
    /// The client came by WebSocket: a close code tells it what an ERROR tells others.
    pub websocket: bool,
    /// Who connects is asked for credentials, and waits for [`Relay::admit`](super::Relay::admit).
    pub authenticates: bool,
    /// Take the escapes that go-stomp puts into CONNECT (`\c`, `\\`) as escapes, against the specification.
    pub unescape_connect: bool,
    /// Whose `/user` destinations a client may SEND to.
    pub user_send: UserSend,
    /// The `heart-beat` header of CONNECTED.
    pub heart_beat: HeartBeat,
    /// What is borne of a client's silence.
    pub tolerance: Tolerance,
    /// Milliseconds from the opened connection to a complete CONNECT.
    pub connect_ms: u64,
    /// Milliseconds from the first octet of a frame to its last.
    pub frame_ms: u64,
    /// Subscriptions of a client that can be said again.
    pub subscriptions: usize,
    /// Open transactions of a client.
    pub transactions: usize,
}

/// Whose `/user` destinations a client may SEND to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserSend {
    /// Nobody's, unless its user may.
    None,
    /// Those of its own user.
    Own,
    /// Everybody's.
    Any,
}
