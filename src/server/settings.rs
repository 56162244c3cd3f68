//! What an operator may set about listeners and sockets.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::{broker, relay, session, store};

/// Settings of a [`Server`](super::Server): listeners, sockets, sessions and virtual hosts.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where WebSocket and HTTP are served. Port 0 takes a free one. `None`: not at all.
    pub websocket: Option<SocketAddr>,
    /// Where STOMP over TCP is served. Port 0 takes a free one. `None`: not at all.
    pub tcp: Option<SocketAddr>,
    /// Listen on other addresses than loopback although nothing authenticates clients.
    pub insecure_open: bool,
    /// HTTP paths that take a WebSocket upgrade.
    pub paths: Vec<String>,
    /// Origins of web pages that may connect besides the same host and loopback: `https://app.example`; `*` for any.
    pub allowed_origins: Vec<String>,
    /// Octets of an HTTP request head.
    pub http_head_bytes: usize,
    /// Milliseconds for a complete HTTP request head, from the accept and between requests.
    pub http_head_ms: u64,
    /// Milliseconds in which the socket must take some octets when something waits to be written.
    pub write_ms: u64,
    /// Milliseconds a connection stays after its last frame so that the peer can read it and close first.
    pub linger_ms: u64,
    /// Milliseconds after a stop signal in which sessions may finish.
    pub drain_ms: u64,
    /// Connections that may be open, all listeners together. 0: as many as descriptors allow.
    pub connections: usize,
    /// Longest queue of connections the kernel may hold for us.
    pub backlog: u32,
    /// Octets of the largest WebSocket message written to a client; 0 for no limit. `None`: only for a client that looks like
    /// Spring's, which gives up beyond 8 KiB.
    pub outbound_message_bytes: Option<usize>,
    /// The folder where persistent messages are kept, with one of its own for each virtual host. `None`: in memory.
    pub data: Option<PathBuf>,
    /// How they are kept there.
    pub store: store::Settings,
    /// Whether clients speak with the broker in this process or with another behind it.
    pub mode: Mode,
    /// The other broker, in [`Mode::Relay`].
    pub relay: relay::Settings,
    /// Settings of every session.
    pub session: session::Settings,
    /// Settings of the default virtual host.
    pub broker: broker::Settings,
    /// Further virtual hosts by the name that CONNECT's `host` gives.
    pub hosts: BTreeMap<String, broker::Settings>,
}

/// With whom clients speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The broker in this process.
    Broker,
    /// A broker behind it: RabbitMQ, ActiveMQ, another of ours.
    Relay,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            websocket: Some(SocketAddr::from(([127, 0, 0, 1], 15_674))),
            tcp: Some(SocketAddr::from(([127, 0, 0, 1], 61_613))),
            insecure_open: false,
            paths: ["/ws", "/", "/stomp"].map(String::from).to_vec(),
            allowed_origins: Vec::new(),
            http_head_bytes: 16 << 10,
            http_head_ms: 10_000,
            write_ms: 10_000,
            linger_ms: 2_000,
            drain_ms: 10_000,
            connections: 0,
            backlog: 4_096,
            outbound_message_bytes: None,
            data: None,
            store: store::Settings::default(),
            mode: Mode::Broker,
            relay: relay::Settings::default(),
            session: session::Settings::default(),
            broker: broker::Settings::default(),
            hosts: BTreeMap::new(),
        }
    }
}

impl Settings {
    /// The address of a relay's broker that is our own listener, if there is one: 61613 is the default of both.
    pub fn relays_to_itself(&self) -> Option<&str> {
        let tcp = self.tcp.filter(|_| self.mode == Mode::Relay)?;
        let is_ours = |upstream: &&String| {
            let (host, port) = upstream.rsplit_once(':').unwrap_or_default();
            let near = tcp.ip().is_loopback() || tcp.ip().is_unspecified();
            let same = host.trim_matches(['[', ']']) == tcp.ip().to_string();
            port == tcp.port().to_string() && (same || near && matches!(host, "localhost" | "127.0.0.1" | "[::1]"))
        };
        self.relay.upstream.iter().find(is_ours).map(String::as_str)
    }
}
