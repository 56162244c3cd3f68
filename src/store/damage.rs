//! What is not as it was written.

use std::fmt;

/// One thing that was found wrong with a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The segment; 0 for the `head` file.
    pub segment: u32,
    /// Octets of its file that are concerned, from the first to one behind the last.
    pub octets: (u64, u64),
    /// What is wrong with it.
    pub flaw: Flaw,
    /// A queue and the number of a message in it that the damaged record seems to have been about: it is damaged, so
    /// that is likely and not certain.
    pub about: Option<(u64, Option<u64>)>,
}

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// The process or the machine ended in the middle of a commit, or the last commit is damaged; unless it is the
    /// latter, nothing was lost that had been promised.
    Torn,
    /// Records that were there cannot be read.
    Unreadable,
    /// Between two sound records there was another.
    Missing,
    /// The file is shorter than it was.
    Cut,
    /// The whole segment is not there.
    Gone,
    /// The segment's header cannot be read; its records can.
    Header,
    /// One of the two copies in the `head` file cannot be read: the process ended while it was written, or it is damaged.
    Copy,
    /// The `head` file cannot be read: segments that are not there may have been removed, or lost.
    Head,
    /// Records of a group that is not complete, which count for nothing.
    Group,
    /// Among these octets are messages of a queue whose declaration cannot be read: so many, which are not served.
    Nameless(usize),
}

impl Damage {
    /// Whether something that had been promised may be lost.
    pub fn is_loss(&self) -> bool {
        !matches!(self.flaw, Flaw::Torn | Flaw::Copy)
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Damage {
            segment,
            octets: (from, to),
            ..
        } = self;
        match self.flaw {
            Flaw::Head => return write!(f, "the file head cannot be read"),
            Flaw::Copy => {
                return write!(
                    f,
                    "one of the two copies in the file head cannot be read; the other one can"
                )
            }
            Flaw::Nameless(count) => {
                let queue = self.about.map_or(0, |(queue, _)| queue);
                return write!(
                    f,
                    "segment {segment:08}: {count} messages between octets {from} and {to} are not served: the \
                     declaration of their queue, number {queue}, is damaged"
                );
            }
            _ => write!(f, "segment {segment:08}: ")?,
        }
        match self.flaw {
            Flaw::Torn => write!(f, "the log ends in a torn commit, octets {from} to {to}")?,
            Flaw::Unreadable => write!(f, "octets {from} to {to} are damaged")?,
            Flaw::Missing => write!(f, "records before octet {from} are missing")?,
            Flaw::Cut => write!(f, "cut at octet {from}")?,
            Flaw::Gone => write!(f, "missing")?,
            Flaw::Header => write!(f, "its header is damaged")?,
            Flaw::Group => write!(
                f,
                "octets {from} to {to} belong to a transaction of which another part is damaged"
            )?,
            Flaw::Head | Flaw::Copy | Flaw::Nameless(_) => {}
        }
        match self.about {
            Some((queue, Some(seq))) => {
                write!(f, "; it seems to have been about message {seq} of queue number {queue}")
            }
            Some((queue, None)) => write!(f, "; it seems to have been about queue number {queue}"),
            None => Ok(()),
        }
    }
}
