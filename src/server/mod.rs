//! All I/O on our side: listeners, HTTP, the transports, one task per connection, and the clock.
//!
//! | what | where |
//! |---|---|
//! | accepting, descriptors | `listener` |
//! | HTTP and the way to WebSocket | `http`, `handshake`, `origin` |
//! | STOMP octets over a socket | `transport`, `websocket`, `tcp`, `intake` |
//! | persistent messages | `keeping` |
//! | another broker behind us | `behind` |
//! | one client | `connection`, `ending`; without a socket `embed`, and `app` for closures behind `/app` |
//! | everyone's | `roster`, `stats`, `clock` |
//! | users of ours for Spring | `bridge` |
//!
//! Nothing here knows what a frame means: that is the session's.

mod app;
mod behind;
mod bridge;
mod clock;
mod connection;
mod echo;
mod embed;
mod ending;
mod handshake;
mod http;
mod intake;
mod keeping;
mod listener;
pub(crate) mod origin;
mod roster;
pub mod settings;
mod stats;
mod stopping;
mod tcp;
#[cfg(test)]
mod tests;
mod transport;
mod turns;
mod websocket;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{watch, Semaphore};
use tokio::task::AbortHandle;

use crate::broker::Broker;
pub use crate::error::Error;
use crate::relay::Relay;
use crate::session::{Hosts, Session};
pub use app::{Reply, Request, Worker};
pub use embed::Subscriber;
pub use keeping::Kept;
pub use settings::{Mode, Settings};
pub use stats::{LinkStats, Stats};

use self::behind::Behind;
use self::clock::Clock;
use self::connection::{Connection, Parts};
use self::echo::Echo;
use self::keeping::Keeping;
use self::origin::Origins;
use self::roster::{Roster, Seat, Stage};
use self::stats::Counters;
use self::tcp::Tcp;
use self::transport::Transport;

/// After the last session has ended: time for HTTP answers that are under way.
const LAST_ANSWERS: Duration = Duration::from_millis(200);

/// A running server. Dropping it ends everything at once; [`Server::stop`] does it politely.
#[derive(Debug)]
pub struct Server {
    shared: Arc<Shared>,
    websocket: Option<Listening>,
    tcp: Option<Listening>,
    clock: AbortHandle,
    /// Of each virtual host that tells a Spring application of its users.
    bridges: Vec<AbortHandle>,
}

#[derive(Debug)]
struct Listening {
    address: SocketAddr,
    task: AbortHandle,
}

/// What all tasks of a server share.
#[derive(Debug)]
struct Shared {
    settings: Settings,
    session: Arc<crate::session::Settings>,
    hosts: Arc<Hosts>,
    /// What is on disk; nothing if all is in memory.
    keeping: Keeping,
    /// The broker that clients are relayed to, if there is one.
    behind: Option<Arc<Behind>>,
    origins: Origins,
    roster: Arc<Roster>,
    counters: Arc<Counters>,
    quiet: Arc<turns::Quiet>,
    refusals: Arc<Semaphore>,
    clock: Clock,
    echo: Option<Echo>,
}

impl Server {
    /// Opens the listeners and serves in the background, in the tokio runtime of the caller.
    ///
    /// # Errors
    /// A listener cannot be opened or may not be ([`Error::Open`]), or a setting cannot be used.
    pub async fn start(settings: Settings) -> Result<Server, Error> {
        Server::open(settings, None).await
    }

    /// As [`Server::start`], with a path whose WebSocket messages of up to `message_octets` are sent back as they came.
    #[doc(hidden)]
    pub async fn start_with_echo(settings: Settings, path: &str, message_octets: usize) -> Result<Server, Error> {
        let path = path.to_owned();
        Server::open(settings, Some(Echo { path, message_octets })).await
    }

    async fn open(settings: Settings, echo: Option<Echo>) -> Result<Server, Error> {
        refuse_strangers(&settings)?;
        if let Some(upstream) = settings.relays_to_itself() {
            return Err(Error::Setting {
                option: "relay.upstream",
                reason: format!(
                    "{upstream} is our own server.tcp; give that another port or turn it off (--tcp off), or name the broker behind"
                ),
            });
        }
        let origins = Origins::new(&settings.allowed_origins)?;
        let open = |address: Option<SocketAddr>, option| match address {
            Some(address) => listener::open(address, settings.backlog, option).map(Some),
            None => Ok(None),
        };
        let descriptors = listener::descriptors();
        let websocket = open(settings.websocket, "server.websocket")?;
        let tcp = open(settings.tcp, "server.tcp")?;
        let cap = match settings.connections {
            0 => descriptors,
            connections => connections,
        };
        let clock = Clock::start();
        let (hosts, keeping) = keeping::open(&settings, clock).await?;
        let behind = match settings.mode {
            Mode::Broker => None,
            Mode::Relay => Some(Behind::start(settings.relay.clone(), clock)?),
        };
        let shared = Arc::new(Shared {
            session: Arc::new(settings.session.clone()),
            hosts: Arc::new(hosts),
            keeping,
            behind,
            origins,
            roster: Roster::new(cap),
            counters: Arc::default(),
            quiet: Arc::default(),
            refusals: http::refusals(),
            clock,
            echo,
            settings,
        });
        Ok(Server {
            websocket: websocket.and_then(|listener| serve(listener, &shared, http::serve, http::refuse)),
            tcp: tcp.and_then(|listener| serve(listener, &shared, serve_tcp, |_, _| {})),
            bridges: bridges(&shared),
            clock: tokio::spawn(clock::serve(shared.clock, shared.hosts.clone())).abort_handle(),
            shared,
        })
    }

    /// Where WebSocket and HTTP are served.
    pub fn websocket_address(&self) -> Option<SocketAddr> {
        self.websocket.as_ref().map(|listening| listening.address)
    }

    /// Where STOMP over TCP is served.
    pub fn tcp_address(&self) -> Option<SocketAddr> {
        self.tcp.as_ref().map(|listening| listening.address)
    }

    /// The brokers, by virtual host.
    pub fn hosts(&self) -> &Arc<Hosts> {
        &self.shared.hosts
    }

    /// Connections that may be open at a time.
    pub fn connections_limit(&self) -> usize {
        self.shared.roster.cap()
    }

    /// What the server has counted.
    pub fn stats(&self) -> Stats {
        self.shared.stats()
    }

    /// Whether the broker behind a relay is there: true from the CONNECTED of the system connection to its loss. `None`
    /// for a server that is no relay.
    pub fn broker_available(&self) -> Option<watch::Receiver<bool>> {
        self.shared.behind.as_ref().map(|behind| behind.availability())
    }

    /// What was found on disk at the start, one for each virtual host; nothing if all is in memory.
    pub fn kept(&self) -> &[Kept] {
        self.shared.keeping.kept()
    }

    /// Takes no new sessions, lets those that are there finish what they received, closes them with 1001, and ends.
    ///
    /// Takes at most the drain time of the settings; what is left then is cut.
    pub async fn stop(&self) {
        let roster = &self.shared.roster;
        roster.proceed(Stage::Draining);
        if let Some(tcp) = &self.tcp {
            tcp.task.abort();
        }
        // The HTTP port stays until the end: a load balancer learns from /health that we are going.
        let drain = Duration::from_millis(self.shared.settings.drain_ms);
        if tokio::time::timeout(drain, roster.sessions_gone()).await.is_err() {
            let (_, sessions) = roster.counts();
            tracing::warn!(sessions, "cut at the end of the drain time");
        }
        if let Some(behind) = &self.shared.behind {
            behind.stop(LAST_ANSWERS).await;
        }
        self.end();
        let _ = tokio::time::timeout(LAST_ANSWERS, roster.all_gone()).await;
        // Sessions have given back what they held: from here on nobody is given anything.
        self.shared.keeping.close().await;
    }

    fn end(&self) {
        for listening in self.websocket.iter().chain(&self.tcp) {
            listening.task.abort();
        }
        self.clock.abort();
        if let Some(behind) = &self.shared.behind {
            behind.end();
        }
        for bridge in &self.bridges {
            bridge.abort();
        }
        self.shared.roster.proceed(Stage::Ended);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

impl Shared {
    fn stats(&self) -> Stats {
        let (connections, sessions) = self.roster.counts();
        self.counters.snapshot(connections, sessions, self.roster.cap())
    }

    /// The answer to `/stats`.
    fn stats_json(&self) -> String {
        let host = |name: Option<&str>, broker: &Broker| {
            let store = self.keeping.stats(name);
            serde_json::json!({ "counters": broker.counters(), "sizes": broker.sizes(), "store": store })
        };
        let named: BTreeMap<&str, serde_json::Value> = (self.hosts.named.iter())
            .map(|(name, broker)| (name.as_str(), host(Some(name), broker)))
            .collect();
        let stats = serde_json::json!({
            "server": self.stats(),
            "broker": host(None, &self.hosts.default),
            "hosts": named,
            "relay": self.behind.as_ref().map(|behind| behind.stats()),
        });
        stats.to_string()
    }
}

/// Whoever can reach an open broker can read and write everything in it.
fn refuse_strangers(settings: &Settings) -> Result<(), Error> {
    let listeners = [(settings.websocket, "server.websocket"), (settings.tcp, "server.tcp")];
    let anybody = settings.session.authentication.is_none();
    for (address, option) in listeners {
        match address {
            Some(address) if !address.ip().is_loopback() && !settings.insecure_open && anybody => {
                return Err(Error::Open { address, option });
            }
            _ => {}
        }
    }
    Ok(())
}

/// Starts to tell Spring applications who is here, for each virtual host that has one.
fn bridges(shared: &Arc<Shared>) -> Vec<AbortHandle> {
    let hosts = shared.hosts.named.values().chain([&shared.hosts.default]);
    let telling = hosts.filter_map(|broker| Some((broker, broker.settings().spring.user_registry.clone()?)));
    telling
        .map(|(broker, topic)| tokio::spawn(bridge::tell(shared.clone(), broker.clone(), topic)).abort_handle())
        .collect()
}

fn random<const N: usize>() -> Result<[u8; N], Error> {
    let mut octets = [0; N];
    getrandom::fill(&mut octets).map_err(|error| Error::Random(error.to_string()))?;
    Ok(octets)
}

fn serve(
    listener: TcpListener,
    shared: &Arc<Shared>,
    take: fn(&Arc<Shared>, TcpStream, Seat),
    refuse: fn(&Arc<Shared>, TcpStream),
) -> Option<Listening> {
    let address = listener.local_addr().ok()?;
    let task = tokio::spawn(listener::accept(listener, shared.clone(), take, refuse)).abort_handle();
    Some(Listening { address, task })
}

fn serve_tcp(shared: &Arc<Shared>, socket: TcpStream, seat: Seat) {
    begin(shared, Tcp::new(socket), seat);
}

/// Begins a session on `transport`, in a task of its own.
fn begin<T: Transport + 'static>(shared: &Arc<Shared>, transport: T, mut seat: Seat) {
    let id = match random() {
        Ok(octets) => u128::from_le_bytes(octets),
        Err(error) => {
            // A guessable session id is worse than none.
            tracing::error!(%error, "refused a connection");
            shared.counters.refused("no-random-octets");
            return;
        }
    };
    seat.seat_session();
    let link = transport.link();
    let now = shared.clock.now();
    shared.counters.opened(link);
    if let Some(behind) = &shared.behind {
        return relay(shared, behind, transport, id, seat);
    }
    let parts = Parts {
        session: Session::new(shared.hosts.clone(), shared.session.clone(), link, id, now),
        limits: shared.session.before_connect,
        seat,
        clock: shared.clock,
        counters: shared.counters.clone(),
        quiet: shared.quiet.clone(),
        write_ms: shared.settings.write_ms,
        linger_ms: shared.settings.linger_ms,
    };
    tokio::spawn(Connection::new(transport, parts).run());
}

/// Relays the client of `transport` to the broker behind, in a task of its own.
fn relay<T: Transport + 'static>(shared: &Arc<Shared>, behind: &Arc<Behind>, transport: T, id: u128, seat: Seat) {
    let edge = behind::edge(&shared.session, transport.link());
    let parts = behind::Parts {
        relay: Relay::new(Arc::clone(&behind.shared), edge, id, shared.clock.now().mono),
        behind: Arc::clone(behind),
        before: shared.session.before_connect,
        limits: shared.session.connected,
        strict: shared.session.strict,
        authentication: shared.session.authentication.clone(),
        seat,
        clock: shared.clock,
        counters: shared.counters.clone(),
        write_ms: shared.settings.write_ms,
        linger_ms: shared.settings.linger_ms,
    };
    tokio::spawn(behind::Connection::new(transport, parts).run());
}
