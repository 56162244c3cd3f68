//! Hoofbeat, a STOMP message broker.

pub mod stomp;
