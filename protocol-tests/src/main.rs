//! A conformance suite for STOMP brokers.
fn main() {}
