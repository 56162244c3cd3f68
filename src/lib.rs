//! Hoofbeat, a STOMP message broker.
