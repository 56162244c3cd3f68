//! The wire: STOMP 1.0, 1.1 and 1.2 frames as bytes, and nothing else.
//!
//! | specification (1.2) | file |
//! |---|---|
//! | STOMP Frames, Augmented BNF | [`frame`] |
//! | Value Encoding, Repeated Header Entries | [`headers`] |
//! | Body, Size Limits | [`decode`] |
//! | Server Frames | [`encode`] |
//! | Heart-beating | [`heartbeat`] |
//! | ERROR | [`report`] |
//!
//! This room is pure: no I/O, no clock, no threads. Bytes and time come in, values go out.

pub mod decode;
pub mod encode;
pub mod frame;
pub mod headers;
pub mod heartbeat;
#[cfg(test)]
mod properties;
pub mod report;

pub use decode::{DecodeError, DecodeErrorKind, Decoder, Limits};
pub use frame::{Command, Frame, Version};
pub use headers::{Headers, Line};
pub use heartbeat::{Beat, HeartBeat, Liveness, Tolerance};
