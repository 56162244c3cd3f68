//! Listening and accepting, whatever comes.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{getrlimit, setrlimit, Resource, Rlimit};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::roster::Seat;
use super::{Error, Shared};

/// Pause after the system refused to accept, mostly for want of descriptors: time for others to give some back.
const ACCEPT_PAUSE: Duration = Duration::from_millis(75);

/// Silence after which a peer is asked by TCP whether it is there.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// Time for a peer to confirm what was sent, before its connection counts as broken.
const UNCONFIRMED: Duration = Duration::from_secs(60);

/// Listens on `address`, which `option` asked for.
///
/// # Errors
/// The operating system refuses.
pub(super) fn open(address: SocketAddr, backlog: u32, option: &'static str) -> Result<TcpListener, Error> {
    let listen = || {
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        // Connections of a former run that still linger must not keep us from the port.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(backlog)
    };
    listen().map_err(|source: io::Error| Error::Listen {
        address,
        option,
        source,
    })
}

/// Accepts for ever; `serve` takes those for whom there is a seat, `refuse` the others.
pub(super) async fn accept(
    listener: TcpListener,
    shared: Arc<Shared>,
    serve: fn(&Arc<Shared>, TcpStream, Seat),
    refuse: fn(&Arc<Shared>, TcpStream),
) {
    loop {
        match listener.accept().await {
            Ok((socket, _)) => {
                prepare(&socket);
                match shared.roster.admit() {
                    Some(seat) => serve(&shared, socket, seat),
                    None => {
                        shared.counters.refused("connections");
                        refuse(&shared, socket);
                    }
                }
            }
            Err(error) if is_of_the_peer(&error) => {}
            Err(error) => {
                shared.counters.accept_error();
                tracing::warn!(%error, "cannot accept connections for now");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// The connection failed before we took it: the next one may be fine.
fn is_of_the_peer(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted
    )
}

/// Batching is ours, so the kernel shall not hold back; and a peer that vanished shall be found. Neither is worth an end if it fails.
fn prepare(socket: &TcpStream) {
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE)
        .with_interval(Duration::from_secs(10))
        .with_retries(3);
    let options = SockRef::from(socket);
    let outcome = socket
        .set_nodelay(true)
        .and_then(|()| options.set_tcp_keepalive(&keepalive))
        .and_then(|()| set_unconfirmed(&options));
    if let Err(error) = outcome {
        tracing::debug!(%error, "cannot set the options of a socket");
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn set_unconfirmed(options: &SockRef<'_>) -> io::Result<()> {
    options.set_tcp_user_timeout(Some(UNCONFIRMED))
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn set_unconfirmed(_options: &SockRef<'_>) -> io::Result<()> {
    let _ = UNCONFIRMED;
    Ok(())
}

/// Raises the limit of descriptors as far as we may; how many connections it leaves room for.
pub(super) fn descriptors() -> usize {
    let before = getrlimit(Resource::Nofile);
    let wanted = Rlimit {
        current: before.maximum,
        maximum: before.maximum,
    };
    let limit = match setrlimit(Resource::Nofile, wanted) {
        Ok(()) => before.maximum,
        Err(_) => before.current,
    };
    let limit = limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    // For listeners, logs, the journal, and connections that are being refused.
    let reserve = (limit / 50).max(64).min(limit / 4);
    limit - reserve
}
