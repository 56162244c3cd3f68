//! A TCP connection to the first of the broker's addresses that answers.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::relay::Shared;

/// Silence after which the broker's machine is asked by TCP whether it is there.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// Connects, and says to which place of the list. The address that served last is tried first, the others behind it in
/// their order.
///
/// # Errors
/// None answered; why the last did not, without its address: clients get to read it.
pub(super) async fn dial(shared: Arc<Shared>) -> Result<(TcpStream, usize), String> {
    let addresses = &shared.settings.upstream;
    let first = shared.upstream.preferred().min(addresses.len().saturating_sub(1));
    let places = (first..addresses.len()).chain(0..first);
    let patience = Duration::from_millis(shared.settings.connect_ms);
    let mut why = "no address".to_owned();
    for place in places {
        let Some(address) = addresses.get(place) else { continue };
        match timeout(patience, TcpStream::connect(address)).await {
            Ok(Ok(socket)) => {
                prepare(&socket);
                return Ok((socket, place));
            }
            Ok(Err(error)) => {
                tracing::debug!(%address, %error, "a broker cannot be reached");
                why = error.kind().to_string();
            }
            Err(_) => {
                tracing::debug!(%address, "a broker cannot be reached in time");
                why = io::ErrorKind::TimedOut.to_string();
            }
        }
    }
    Err(why)
}

/// As for clients, but however long the broker leaves octets unread: it may hold up its producers, and heart-beats tell
/// whether it lives.
fn prepare(socket: &TcpStream) {
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE)
        .with_interval(Duration::from_secs(10))
        .with_retries(3);
    let outcome = socket
        .set_nodelay(true)
        .and_then(|()| SockRef::from(socket).set_tcp_keepalive(&keepalive));
    if let Err(error) = outcome {
        tracing::debug!(%error, "cannot set the options of a socket");
    }
}
