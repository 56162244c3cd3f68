//! Hoofbeat, a STOMP message broker.

pub mod broker;
#[cfg(feature = "cli")]
pub mod config;
pub mod error;
pub mod server;
pub mod session;
pub mod stomp;
