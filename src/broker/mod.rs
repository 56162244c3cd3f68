//! The model: destinations, messages, subscriptions, and what waits for whom.
//!
//! Pure: no I/O, no threads, no clock, no randomness. Time and seeds come in as arguments; `std` locks guard what
//! several connections share.

pub mod outbound;
pub mod settings;

pub use outbound::{FrameSink, Outbound};
pub use settings::Settings;

/// The time, twice: nothing in this room asks for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds since some start, never going back: for deadlines.
    pub mono: u64,
    /// Milliseconds since 1970 UTC: for `expires`.
    pub unix_ms: u64,
}

/// The destinations of one virtual host.
#[derive(Debug)]
pub struct Broker {}
