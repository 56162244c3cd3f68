//! A conformance suite for STOMP brokers.
//!
//! A *case* is a text file in `cases/` that holds one conversation and states one rule of the STOMP
//! specification (or of its WebSocket binding). The suite plays it against any broker by URL.
//! It has its own frame parser and its own WebSocket client, so that it shares no bug with a broker.
//!
//! * [`case`] reads a file: what it claims (row, level, versions, rule) and its script.
//! * [`script`] reads the script into [`step`]s: what is sent, what is expected.
//! * [`notation`] writes any octet in a text file and holds variables; [`expression`] computes times.
//! * [`frame`] takes the server's octets apart; [`websocket`] is the client side of RFC 6455.
//! * [`peer`] is one connection: it sends octets and records what arrives, with the time.
//! * [`play`] plays one case (`talk` sends, `expect` compares); [`suite`] plays all of them at once; [`report`] writes the table.

pub mod case;
mod expect;
pub mod expression;
pub mod frame;
pub mod notation;
pub mod peer;
pub mod play;
pub mod report;
pub mod script;
pub mod step;
pub mod suite;
mod talk;
pub mod target;
pub mod websocket;
