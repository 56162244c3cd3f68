//! What the server counts.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

use crate::session::Link;

/// Counters of one server, since its start.
#[derive(Debug, Default)]
pub(super) struct Counters {
    websocket: Links,
    tcp: Links,
    refused: Reasons,
    octets_in: AtomicU64,
    octets_out: AtomicU64,
    frames_in: AtomicU64,
    requests: AtomicU64,
    accept_errors: AtomicU64,
}

/// Sessions of one transport.
#[derive(Debug, Default)]
struct Links {
    opened: AtomicU64,
    ended: AtomicU64,
    wordless: AtomicU64,
    closed: Reasons,
}

/// How often each of a few reasons was given.
#[derive(Debug, Default)]
struct Reasons(Mutex<BTreeMap<&'static str, u64>>);

impl Reasons {
    fn count(&self, reason: &'static str) {
        *self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(reason)
            .or_default() += 1;
    }

    fn snapshot(&self) -> BTreeMap<&'static str, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The server's own part of `/stats`. Counts are since the start unless they say otherwise.
#[derive(Clone, Debug, Serialize)]
pub struct Stats {
    /// Connections that are open now, of any kind.
    pub connections: usize,
    /// STOMP sessions that are open now.
    pub sessions: usize,
    /// Connections that may be open.
    pub connections_limit: usize,
    /// Tasks of the runtime now, the embedder's included.
    pub tasks: usize,
    /// STOMP over WebSocket.
    pub websocket: LinkStats,
    /// STOMP over TCP.
    pub tcp: LinkStats,
    /// Connections and handshakes refused, by reason.
    pub refused: BTreeMap<&'static str, u64>,
    /// HTTP requests answered, upgrades included.
    pub requests: u64,
    /// Octets received in sessions, framing included.
    pub octets_in: u64,
    /// Octets sent in sessions, framing included.
    pub octets_out: u64,
    /// STOMP frames received.
    pub frames_in: u64,
    /// Times that the operating system refused to accept a connection.
    pub accept_errors: u64,
}

/// Sessions of one transport.
#[derive(Clone, Debug, Serialize)]
pub struct LinkStats {
    /// Sessions that are open now.
    pub open: u64,
    /// Sessions begun.
    pub opened: u64,
    /// Of those that ended, how many had not sent a single frame.
    pub wordless: u64,
    /// Sessions ended, by reason.
    pub closed: BTreeMap<&'static str, u64>,
}

impl Links {
    fn snapshot(&self) -> LinkStats {
        // In this order: a session that begins or ends meanwhile must not make it less than none.
        let ended = self.ended.load(Ordering::Relaxed);
        let opened = self.opened.load(Ordering::Relaxed);
        LinkStats {
            open: opened.saturating_sub(ended),
            opened,
            wordless: self.wordless.load(Ordering::Relaxed),
            closed: self.closed.snapshot(),
        }
    }
}

impl Counters {
    pub(super) fn opened(&self, link: Link) {
        self.links(link).opened.fetch_add(1, Ordering::Relaxed);
    }

    /// A session has ended. `spoke` says that its client had sent a frame.
    pub(super) fn closed(&self, link: Link, reason: &'static str, spoke: bool) {
        let links = self.links(link);
        links.closed.count(reason);
        links.ended.fetch_add(1, Ordering::Relaxed);
        if !spoke {
            links.wordless.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn links(&self, link: Link) -> &Links {
        match link {
            Link::Tcp => &self.tcp,
            Link::WebSocket { .. } => &self.websocket,
        }
    }

    pub(super) fn refused(&self, reason: &'static str) {
        self.refused.count(reason);
    }

    pub(super) fn octets(&self, received: u64, sent: u64) {
        if received > 0 {
            self.octets_in.fetch_add(received, Ordering::Relaxed);
        }
        if sent > 0 {
            self.octets_out.fetch_add(sent, Ordering::Relaxed);
        }
    }

    pub(super) fn frame_received(&self) {
        self.frames_in.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn accept_error(&self) {
        self.accept_errors.fetch_add(1, Ordering::Relaxed);
    }

    /// All of them, with `connections` open, `sessions` of them in STOMP, and room for `connections_limit`.
    pub(super) fn snapshot(&self, connections: usize, sessions: usize, connections_limit: usize) -> Stats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Stats {
            connections,
            sessions,
            connections_limit,
            tasks: tokio::runtime::Handle::try_current().map_or(0, |runtime| runtime.metrics().num_alive_tasks()),
            websocket: self.websocket.snapshot(),
            tcp: self.tcp.snapshot(),
            refused: self.refused.snapshot(),
            requests: read(&self.requests),
            octets_in: read(&self.octets_in),
            octets_out: read(&self.octets_out),
            frames_in: read(&self.frames_in),
            accept_errors: read(&self.accept_errors),
        }
    }
}
