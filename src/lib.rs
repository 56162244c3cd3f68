//! Hoofbeat, a STOMP message broker.

pub mod broker;
pub mod server;
pub mod session;
pub mod stomp;
