//! The server over real sockets on loopback: each test speaks octet by octet.

mod app;
mod bridge;
mod client;
mod descriptors;
mod embed;
mod http;
mod keeping;
mod relay;
mod session;
mod sharing;
mod slow;
mod users;
mod websocket;

use std::net::SocketAddr;

use self::client::Http;
use super::connection::Connection;
use super::websocket::WebSocket;
use super::{Server, Settings};

/// Settings with free ports and deadlines that a test can wait for.
fn settings() -> Settings {
    let free = SocketAddr::from(([127, 0, 0, 1], 0));
    Settings {
        websocket: Some(free),
        tcp: Some(free),
        ..Settings::default()
    }
}

/// A server with an echo route at `/echo` that takes messages of 64 KiB.
async fn start(settings: Settings) -> Server {
    Server::start_with_echo(settings, "/echo", 64 << 10).await.unwrap()
}

async fn connect(server: &Server) -> Http {
    Http::connect(server.websocket_address().unwrap()).await
}

/// Ten thousand idle connections are ten thousand of these.
#[test]
fn the_task_of_a_connection_is_small() {
    fn octets<F>(_: fn(Connection<WebSocket>) -> F) -> usize {
        std::mem::size_of::<F>()
    }
    let octets = octets(Connection::run);
    assert!(octets <= 1_280, "{octets}");
}
