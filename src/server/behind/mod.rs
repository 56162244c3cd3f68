//! A broker behind us: its addresses, our own connection to it, and one for each client.
//!
//! What the frames mean is the room `relay`'s; the sockets, the names of hosts and the clock are here.

mod connection;
mod dial;
mod system;
mod trunk;
mod wire;

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
    tasks: std::sync::Mutex<Vec<AbortHandle>>,
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
    shared: SharedStats,
}

/// What clients share of it.
#[derive(Debug, Serialize)]
struct SharedStats {
    /// Of the connection for them.
    broker: &'static str,
    subscriptions: usize,
    clients: usize,
    messages_in: u64,
    messages_out: u64,
    lost: u64,
    refused: u64,
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
        if settings.shares_with_strangers() {
            return Err(Error::Setting {
                option: "relay.shared_topics",
                reason: "clients that share a subscription have one login at the broker behind, and relay.client_login or \
                         relay.client_passcode gives each its own ({login}, {passcode}): one could read what the broker \
                         would not give it. Fix both, or share nothing"
                    .to_owned(),
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
            tasks: std::sync::Mutex::default(),
            open: std::sync::atomic::AtomicUsize::new(0),
        });
        let mut tasks = vec![tokio::spawn(system::serve(Arc::clone(&behind), clock, waiting, seed))];
        if !behind.shared.settings.shared_topics.is_empty() {
            tasks.push(tokio::spawn(trunk::serve(
                Arc::clone(&behind),
                clock,
                seed.rotate_left(32),
            )));
        }
        let handles = tasks.iter().map(tokio::task::JoinHandle::abort_handle).collect();
        *behind.lock_tasks() = handles;
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

    fn lock_tasks(&self) -> std::sync::MutexGuard<'_, Vec<AbortHandle>> {
        self.tasks.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(super) fn end(&self) {
        self.lock_tasks().drain(..).for_each(|task| task.abort());
        self.set_available(false);
    }

    /// The relay's part of `/stats`.
    pub(super) fn stats(&self) -> serde_json::Value {
        let Shared {
            settings,
            users,
            counters,
            upstream,
            sharing,
        } = &*self.shared;
        let sessions = self.open.load(std::sync::atomic::Ordering::Relaxed);
        let place = upstream.preferred();
        let address = settings.upstream.get(place).cloned().unwrap_or_default();
        let told = |is_there: bool| match is_there {
            true => "available",
            false => "not available",
        };
        let broker = told(upstream.is_available());
        let get = |count: &Count| count.get();
        let (connect, connected, disconnect) = (
            get(&counters.connect),
            get(&counters.connected),
            get(&counters.disconnect),
        );
        let (users, user_sessions) = users.counts();
        let (subscriptions, clients) = sharing.counts();
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
            shared: SharedStats {
                broker: told(sharing.is_up()),
                subscriptions,
                clients,
                messages_in: get(&counters.shared_in),
                messages_out: get(&counters.shared_out),
                lost: get(&counters.shared_lost),
                refused: get(&counters.shared_refused),
            },
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
