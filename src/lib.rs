//! Hoofbeat, a STOMP message broker.

pub mod broker;
#[cfg(feature = "cli")]
pub mod config;
pub mod server;
pub mod session;
pub mod stomp;
