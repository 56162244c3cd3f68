//! `hoofbeat store check`: what is in a folder, and what of it is damaged. Changes nothing.

use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;

use super::damage::Damage;
use super::disk::{Disk, Folder};
use super::{log, Error};

/// What a folder holds.
#[derive(Debug)]
pub struct Checked {
    /// In words, a line a thing.
    pub text: String,
    /// Whether something that had been promised is lost or may be.
    pub damaged: bool,
}

/// Reads a folder that no process has open.
///
/// # Errors
///
/// [`Error::Locked`] if one has, [`Error::Newer`] if a later version wrote it, [`Error::Io`] if it cannot be read.
pub fn check(folder: &Path) -> Result<Checked, Error> {
    let disk: Arc<dyn Disk> = Arc::new(Folder::look(folder)?);
    check_disk(&disk)
}

/// As [`check`], of any disk.
///
/// # Errors
///
/// As [`check`].
pub fn check_disk(disk: &Arc<dyn Disk>) -> Result<Checked, Error> {
    let look = log::look(disk)?;
    let (segments, total, live) = look.octets();
    let queues = look.queues();
    let messages: usize = queues.iter().map(|queue| queue.entries.len()).sum();
    let mut text = String::new();
    let dead = (total - live.min(total)) * 100 / total.max(1);
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "{}: {} queues, {messages} messages; {segments} segments, {total} octets, {dead} % of them no longer needed",
        disk.name(),
        queues.len(),
    );
    for queue in &queues {
        let octets: u64 = queue.entries.iter().map(|(_, _, stub)| u64::from(stub.size)).sum();
        let _ = writeln!(
            text,
            "{}: {} messages, {octets} octets in memory",
            queue.name,
            queue.entries.len()
        );
    }
    for damage in &look.damage {
        let _ = writeln!(text, "{}: {damage}", if damage.is_loss() { "DAMAGED" } else { "note" });
    }
    let damaged = look.damage.iter().any(Damage::is_loss);
    text += match damaged {
        true => "damaged; the rest is served, and copies of damaged parts are made at the next start\n",
        false => "nothing is damaged\n",
    };
    Ok(Checked { text, damaged })
}
