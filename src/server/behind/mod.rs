//! A broker behind us: its addresses, our own connection to it, and one for each client.
//!
//! What the frames mean is the room `relay`'s; the sockets, the names of hosts and the clock are here.

mod connection;
mod dial;
mod system;

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::{mpsc, oneshot, watch, Notify};
use tokio::task::AbortHandle;
use tokio::time::timeout;

use crate::relay::{Count, Edge, Settings, Shared, UserSend};
use crate::session;
use crate::stomp::{HeartBeat, Tolerance};

use super::clock::Clock;
use super::Error;
pub(super) use connection::{Connection, Parts};

/// The broker behind, as all connections of a relaying server share it.
#[derive(Debug)]
pub(super) struct Behind {
    pub(super) shared: Arc<Shared>,
    publishes: mpsc::Sender<Publish>,
    /// True while the system connection has its CONNECTED.
    available: watch::Sender<bool>,
    stop: Notify,
    stopped: Notify,
    task: std::sync::Mutex<Option<AbortHandle>>,
    /// Connections to the broker for clients, now.
    open: std::sync::atomic::AtomicUsize,
}

/// What the embedding program sends by way of the system connection.
#[derive(Debug)]
struct Publish {
    destination: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    done: oneshot::Sender<()>,
}

/// The relay's part of `/stats`. Counts are since the start.
#[derive(Debug, Serialize)]
struct Stats {
    /// As Spring logs it.
    summary: String,
    broker: &'static str,
    upstream: String,
    sessions: usize,
    users: usize,
    user_sessions: usize,
    connect: u64,
    connected: u64,
    disconnect: u64,
    lost: u64,
    resumed: u64,
    told: u64,
    frames_to_broker: u64,
    frames_to_clients: u64,
    dropped_pending: u64,
    stale_acknowledgements: u64,
    lost_transactions: u64,
    unresolved_users: u64,
    withheld: u64,
    publish_failed: u64,
}

impl Behind {
    /// Begins to look for the broker.
    pub(super) fn start(settings: Settings, clock: Clock) -> Result<Arc<Behind>, Error> {
        if settings.upstream.is_empty() {
            return Err(Error::Setting {
                option: "relay.upstream",
                reason: "a relay needs at least one address of a broker".to_owned(),
            });
        }
        let seed = u64::from_le_bytes(super::random()?);
        let (publishes, waiting) = mpsc::channel(settings.publish_waiting.max(1));
        let behind = Arc::new(Behind {
            shared: Arc::new(Shared {
                settings,
                ..Shared::default()
            }),
            publishes,
            available: watch::Sender::new(false),
            stop: Notify::new(),
            stopped: Notify::new(),
            task: std::sync::Mutex::default(),
            open: std::sync::atomic::AtomicUsize::new(0),
        });
        let task = tokio::spawn(system::serve(Arc::clone(&behind), clock, waiting, seed));
        let handle = Some(task.abort_handle());
        *behind.task.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = handle;
        Ok(behind)
    }

    /// Whether the broker is there, and when that changes.
    pub(super) fn availability(&self) -> watch::Receiver<bool> {
        self.available.subscribe()
    }

    pub(super) fn is_available(&self) -> bool {
        self.shared.upstream.is_available()
    }

    fn set_available(&self, available: bool) {
        if self.shared.upstream.set_available(available) {
            self.available.send_replace(available);
        }
    }

    /// Sends over the system connection, and waits until the broker has confirmed it.
    ///
    /// # Errors
    /// There is no broker, as much waits for it as may, or it does not confirm in time.
    pub(super) async fn publish(&self, destination: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<(), Error> {
        let outcome = self.try_publish(destination, headers, body).await;
        outcome.map_err(|why| {
            self.shared.counters.publish_failed.one();
            Error::Refused(why)
        })
    }

    async fn try_publish(&self, destination: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<(), String> {
        if !self.is_available() {
            return Err("Broker not available.".to_owned());
        }
        let limit = self.shared.settings.publish_ms;
        let (done, confirmed) = oneshot::channel();
        let publish = Publish {
            destination: destination.to_owned(),
            headers: headers
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            body: body.to_vec(),
            done,
        };
        self.publishes.try_send(publish).map_err(|_| {
            let most = self.shared.settings.publish_waiting;
            format!("{most} messages wait for the broker already (relay.publish_waiting)")
        })?;
        match timeout(Duration::from_millis(limit), confirmed).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err("Connection to broker closed.".to_owned()),
            Err(_) => Err(format!(
                "the broker did not confirm the message within {limit} ms (relay.publish_timeout)"
            )),
        }
    }

    /// Says good-bye to the broker, and looks for it no more.
    pub(super) async fn stop(&self, patience: Duration) {
        let stopped = self.stopped.notified();
        self.stop.notify_one();
        let _ = timeout(patience, stopped).await;
        self.end();
    }

    pub(super) fn end(&self) {
        let task = self
            .task
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .take();
        if let Some(task) = task {
            task.abort();
        }
        self.set_available(false);
    }

    /// The relay's part of `/stats`.
    pub(super) fn stats(&self) -> serde_json::Value {
        let Shared {
            settings,
            users,
            counters,
            upstream,
        } = &*self.shared;
        let sessions = self.open.load(std::sync::atomic::Ordering::Relaxed);
        let place = upstream.preferred();
        let address = settings.upstream.get(place).cloned().unwrap_or_default();
        let broker = if upstream.is_available() {
            "available"
        } else {
            "not available"
        };
        let get = |count: &Count| count.get();
        let (connect, connected, disconnect) = (
            get(&counters.connect),
            get(&counters.connected),
            get(&counters.disconnect),
        );
        let (users, user_sessions) = users.counts();
        let stats = Stats {
            summary: format!(
                "{sessions} sessions, {address} ({broker}), processed CONNECT({connect})-CONNECTED({connected})-DISCONNECT({disconnect})"
            ),
            broker,
            upstream: address,
            sessions,
            users,
            user_sessions,
            connect,
            connected,
            disconnect,
            lost: get(&counters.lost),
            resumed: get(&counters.resumed),
            told: get(&counters.told),
            frames_to_broker: get(&counters.to_broker),
            frames_to_clients: get(&counters.to_clients),
            dropped_pending: get(&counters.dropped_pending),
            stale_acknowledgements: get(&counters.stale_acknowledgements),
            lost_transactions: get(&counters.lost_transactions),
            unresolved_users: get(&counters.unresolved_users),
            withheld: get(&counters.withheld),
            publish_failed: get(&counters.publish_failed),
        };
        serde_json::to_value(stats).unwrap_or_default()
    }
}

/// What holds for a client, by the settings of sessions.
pub(super) fn edge(settings: &session::Settings, link: session::Link) -> Edge {
    let websocket = link != session::Link::Tcp;
    Edge {
        websocket,
        authenticates: settings.authentication.is_some(),
        unescape_connect: settings.unescape_connect,
        user_send: match settings.user_send {
            session::settings::UserSend::None => UserSend::None,
            session::settings::UserSend::Own => UserSend::Own,
            session::settings::UserSend::Any => UserSend::Any,
        },
        heart_beat: HeartBeat {
            send: settings.heart_beat_send_ms,
            receive: settings.heart_beat_receive_ms,
        },
        tolerance: Tolerance {
            permille: settings.heart_beat_tolerance_permille,
            extra_ms: settings.heart_beat_extra_ms,
            probe_ms: settings.probe_ms,
            idle_probe_ms: settings.idle_probe_ms,
            can_probe: websocket,
        },
        connect_ms: settings.connect_ms,
        frame_ms: settings.frame_ms,
        subscriptions: settings.subscriptions,
        transactions: settings.transactions,
    }
}
