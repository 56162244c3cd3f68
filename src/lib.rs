//! Hoofbeat, a STOMP message broker: STOMP 1.0, 1.1 and 1.2 over WebSocket and TCP.
//!
//! The binary serves browsers and applications; this library is the same broker in a program of one's own:
//!
//! ```
//! # #[tokio::main] async fn main() -> Result<(), hoofbeat::Error> {
//! use hoofbeat::server::{Server, Settings};
//!
//! let anywhere = "127.0.0.1:0".parse().ok();
//! let server = Server::start(Settings { websocket: anywhere, tcp: None, ..Settings::default() }).await?;
//! let mut prices = server.subscribe("/topic/price.*")?;
//! server.publish("/topic/price.HOOF", "12.50").await?;
//! assert_eq!(prices.next().await?.body(), b"12.50");
//! server.stop().await;
//! # Ok(()) }
//! ```
//!
//! | room | what it is |
//! |---|---|
//! | [`stomp`] | the wire: frames, headers, decoding, encoding, heart-beats |
//! | [`broker`] | the model: destinations, messages, subscriptions, what waits for whom |
//! | [`session`] | one client's protocol state and every fault it can make |
//! | [`store`] | the broker's journal on disk: what outlives the process |
//! | [`relay`] | the edge of another broker: what passes between a client and it |
//! | [`server`] | all input and output: listeners, HTTP, WebSocket, TCP, the clock |
//! | `auth` | the configured users and their passwords (feature `cli`) |
//! | `config` | file, environment and flags of the binary (feature `cli`) |
//! | `bench` | `hoofbeat bench`: load for any STOMP broker (feature `cli`) |
//!
//! `stomp`, `broker`, `session` and `relay` do no I/O and never ask for the time: frames and time come in, values go out.
//! `docs/ARCHITECTURE.md` has the map.

#[cfg(feature = "cli")]
pub mod auth;
#[cfg(feature = "cli")]
pub mod bench;
pub mod broker;
#[cfg(feature = "cli")]
pub mod config;
pub mod error;
pub mod relay;
pub mod server;
pub mod session;
pub mod stomp;
pub mod store;

pub use error::Error;
