//! What waits to be written to one connection.

use std::task::Waker;

/// Where encoded frames go: the output of a transport.
pub trait FrameSink {
    /// Appends one STOMP frame, given in parts. `utf8` says that the whole frame is valid UTF-8, so that a text
    /// message may carry it. A heart-beat is a frame of one LF.
    fn frame(&mut self, parts: &[&[u8]], utf8: bool);

    /// Octets ever appended, framing included: the position after the last frame.
    fn position(&self) -> u64;
}

/// The bounded output of one connection.
#[derive(Debug)]
pub struct Outbound {}

impl Outbound {
    /// Whether the owning task has something to do here: frames to drain, or a SEND that may be tried again.
    /// If not, `waker` is kept and woken when that changes.
    pub fn poll_work(&self, _waker: &Waker) -> bool {
        false
    }
}
