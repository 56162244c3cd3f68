//! The [`Journal`](crate::broker::Journal) on disk: a log of records in segments, and the threads that write and read
//! it.
//!
//! ```no_run
//! # fn main() -> Result<(), hoofbeat::store::Error> {
//! use hoofbeat::store::{Settings, Store};
//!
//! // 1. Open: takes the folder, reads it, begins to write.
//! let opened = Store::open(std::path::Path::new("hoofbeat-data"), Settings::default())?;
//! // 2. Tell what is damaged; the rest is served.
//! for damage in &opened.damage {
//!     eprintln!("{damage}");
//! }
//! // 3. Make the broker from `opened.queues`, with `opened.store` as its journal; queues that are new are numbered
//! //    from `opened.next_queue` on.
//! // 4. `opened.store.attach(listener)`: marks and messages that were asked for are reported to it.
//! // 5. Stop: the broker withdraws its hand-out marks, then
//! opened.store.close();
//! # Ok(()) }
//! ```
//!
//! | file | what it does |
//! |---|---|
//! | `record` | one record: its octets and their checks |
//! | `header` | the beginning of a segment, the `head` file |
//! | `scan` | reads a segment, past what is damaged |
//! | `index`, `shelf` | where everything that counts lies |
//! | `log` | commits, recovery, removal: the log itself, synchronous |
//! | `inbox` | what has come and is not written yet, batches among it |
//! | `frugal` | what of it can be written when the disk is full |
//! | `keeper` | [`Store`]: the two threads, and what happens while the disk is unwell |
//! | `reader` | gives messages back, and tries again what the disk does not give |
//! | `disk`, `simulated` | what a disk does; a folder, and one in memory that fails as it is told |
//! | `check` | `hoofbeat store check` |
//!
//! `docs/reliability.md` has the format and what is kept when.

pub mod check;
mod damage;
pub mod disk;
mod error;
mod frugal;
mod header;
mod inbox;
mod index;
mod keeper;
mod log;
mod reader;
mod record;
mod scan;
mod shelf;
pub mod simulated;
#[cfg(test)]
mod tests;

use std::time::Duration;

pub use damage::{Damage, Flaw};
pub use error::Error;
pub use keeper::{Opened, Store};

/// When what was written counts as kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// When the disk has said so (`fdatasync`): it outlives a loss of power.
    #[default]
    Fsync,
    /// At once; the disk is asked at least so often. What outlives the process may be lost with the power.
    Interval(Duration),
    /// At once, and the disk is never asked: the operating system writes when it likes.
    None,
}

/// How a log is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// When what was written counts as kept.
    pub durability: Durability,
    /// Octets of a segment, at which the next is begun: 64 KiB to 1 GiB.
    pub segment_octets: u64,
    /// Octets of the file that is given up when the disk is full, so that what is consumed can be written down and
    /// make room; 0 for none.
    pub reserve_octets: u64,
    /// How long to wait before an unwell disk is tried again.
    pub retry: Duration,
    /// The secret of a folder that is made: random, so that nobody can send octets that read as records.
    pub salt: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            durability: Durability::Fsync,
            segment_octets: 64 << 20,
            reserve_octets: 4 << 20,
            retry: Duration::from_millis(500),
            salt: 0,
        }
    }
}
