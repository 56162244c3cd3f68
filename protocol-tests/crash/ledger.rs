//! What is known of each message, from the RECEIPTs and MESSAGEs that clients saw.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::Outcome;

/// Octets of a body.
pub const BODY: usize = 256;

const RECEIPTED: u8 = 1;
const SEEN: u8 = 2;
const ACKED: u8 = 4;
const ACK_RECEIPTED: u8 = 8;
/// Seen when everything was taken out at the end.
const FOUND: u8 = 16;

/// Violations that are told in full.
const TOLD: usize = 10;

/// The messages of one publisher to one destination: the one with number `n` at place `n`.
#[derive(Debug)]
pub struct Stream {
    pub name: String,
    pub destination: &'static str,
    entries: Mutex<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    flags: Vec<u8>,
    /// The round in which it was sent.
    rounds: Vec<u16>,
    /// The number after that of the last never-redelivered message.
    next: usize,
    /// Everything is being taken out.
    at_the_end: bool,
    tally: Tally,
    wrong: Vec<String>,
}

/// How many of what.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    pub sent: u64,
    pub receipted: u64,
    pub delivered: u64,
    pub flagged: u64,
    pub duplicates: u64,
    pub acked: u64,
    pub ack_receipted: u64,
    /// Sent without a RECEIPT, and there nevertheless.
    pub unknown_kept: u64,
    pub unknown_gone: u64,
    /// Acknowledged without a RECEIPT, and back.
    pub unknown_ack_back: u64,
    pub lost: u64,
    pub back: u64,
    pub unflagged: u64,
    pub disordered: u64,
    pub other: u64,
}

impl Tally {
    /// What must not be.
    pub fn violations(&self) -> u64 {
        self.lost + self.back + self.unflagged + self.disordered + self.other
    }

    pub fn add(&mut self, other: &Tally) {
        let pairs = [
            (&mut self.sent, other.sent),
            (&mut self.receipted, other.receipted),
            (&mut self.delivered, other.delivered),
            (&mut self.flagged, other.flagged),
            (&mut self.duplicates, other.duplicates),
            (&mut self.acked, other.acked),
            (&mut self.ack_receipted, other.ack_receipted),
            (&mut self.unknown_kept, other.unknown_kept),
            (&mut self.unknown_gone, other.unknown_gone),
            (&mut self.unknown_ack_back, other.unknown_ack_back),
            (&mut self.lost, other.lost),
            (&mut self.back, other.back),
            (&mut self.unflagged, other.unflagged),
            (&mut self.disordered, other.disordered),
            (&mut self.other, other.other),
        ];
        for (mine, more) in pairs {
            *mine += more;
        }
    }
}

impl Entries {
    fn blame(&mut self, what: impl FnOnce() -> String) {
        if self.wrong.len() < TOLD {
            self.wrong.push(what());
        }
    }
}

impl Stream {
    pub fn new(name: &str, destination: &'static str) -> Stream {
        Stream {
            name: name.to_owned(),
            destination,
            entries: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Numbers for `count` messages that are about to be sent; the first.
    pub fn send(&self, count: usize, round: u16) -> usize {
        let mut entries = self.lock();
        let first = entries.flags.len();
        entries.flags.resize(first + count, 0);
        entries.rounds.resize(first + count, round);
        entries.tally.sent += count as u64;
        first
    }

    /// Their RECEIPTs came.
    pub fn receipted(&self, numbers: impl IntoIterator<Item = usize>) {
        let mut entries = self.lock();
        for number in numbers {
            entries.flags[number] |= RECEIPTED;
            entries.tally.receipted += 1;
        }
    }

    /// A MESSAGE came.
    pub fn delivered(&self, number: usize, redelivered: bool) {
        let mut entries = self.lock();
        entries.tally.delivered += 1;
        entries.tally.flagged += u64::from(redelivered);
        let Some(flags) = entries.flags.get(number).copied() else {
            entries.tally.other += 1;
            return entries.blame(|| format!("{number} came, which nobody sent"));
        };
        if flags & SEEN != 0 {
            entries.tally.duplicates += 1;
        }
        if flags & ACK_RECEIPTED != 0 {
            entries.tally.back += 1;
            entries.blame(|| format!("{number} is back although its ACK was receipted"));
        } else if flags & ACKED != 0 {
            entries.tally.unknown_ack_back += 1;
        }
        if flags & SEEN != 0 && !redelivered {
            entries.tally.unflagged += 1;
            entries.blame(|| format!("{number} came a second time without redelivered:true"));
        }
        if !redelivered {
            let next = entries.next;
            if number < next {
                entries.tally.disordered += 1;
                entries.blame(|| format!("{number} came after {}, neither redelivered", next - 1));
            }
            entries.next = next.max(number + 1);
        }
        let found = if entries.at_the_end { FOUND } else { 0 };
        entries.flags[number] = (flags | SEEN | found) & !ACKED;
    }

    /// From now on everything that is there is taken out: what does not come now is not there.
    pub fn take_out(&self) {
        self.lock().at_the_end = true;
    }

    /// It is about to be acknowledged.
    pub fn acked(&self, number: usize) {
        let mut entries = self.lock();
        entries.flags[number] |= ACKED;
        entries.tally.acked += 1;
    }

    /// The RECEIPT of its ACK came.
    pub fn ack_receipted(&self, number: usize) {
        let mut entries = self.lock();
        entries.flags[number] |= ACK_RECEIPTED;
        entries.tally.ack_receipted += 1;
    }

    /// Counts something else that must not be.
    pub fn wrong(&self, what: String) {
        let mut entries = self.lock();
        entries.tally.other += 1;
        entries.blame(|| what);
    }

    /// Once everything that was there has come: what is missing. `together`: messages of one transaction stand side by
    /// side, so many each.
    pub fn judge(&self, together: usize) -> Tally {
        let mut entries = self.lock();
        let seen = |flags: &u8| flags & SEEN != 0;
        let lost: Vec<usize> = (0..entries.flags.len())
            .filter(|n| entries.flags[*n] & (RECEIPTED | FOUND | ACKED | ACK_RECEIPTED) == RECEIPTED)
            .collect();
        let unknown = entries.flags.iter().filter(|flags| *flags & RECEIPTED == 0);
        let (kept, gone): (Vec<&u8>, Vec<&u8>) = unknown.partition(|flags| seen(flags));
        let (kept, gone) = (kept.len() as u64, gone.len() as u64);
        let torn: Vec<usize> = entries
            .flags
            .chunks(together)
            .enumerate()
            .filter(|(_, group)| group.iter().any(seen) && !group.iter().all(seen))
            .map(|(at, _)| at * together)
            .collect();
        entries.tally.lost = lost.len() as u64;
        entries.tally.unknown_kept = kept;
        entries.tally.unknown_gone = gone;
        entries.tally.other += torn.len() as u64;
        for at in torn.iter().take(3) {
            entries.blame(|| format!("of the transaction that begins with {at} only a part is there"));
        }
        for number in lost.iter().take(3) {
            let round = entries.rounds[*number];
            entries.blame(|| format!("{number} of round {round} is lost although its SEND was receipted"));
        }
        entries.tally
    }

    /// Its tally so far.
    pub fn tally(&self) -> Tally {
        self.lock().tally
    }

    /// What went wrong first.
    pub fn complaints(&self) -> Vec<String> {
        let wrong = self.lock().wrong.clone();
        wrong
            .into_iter()
            .map(|what| format!("{} to {}: {what}", self.name, self.destination))
            .collect()
    }

    /// The body of a message: its stream, its number, and a filling that tells it from others.
    pub fn body(&self, number: usize) -> String {
        let mut body = format!("{} {number} ", self.name);
        let letter = char::from(b'a' + (number % 26) as u8);
        while body.len() < BODY {
            body.push(letter);
        }
        body
    }
}

/// The stream and number that a body names, if it is one that was sent.
pub fn read<'a>(streams: &'a [Stream], destination: &str, body: &[u8]) -> Outcome<(&'a Stream, usize)> {
    let text = std::str::from_utf8(body).map_err(|_| "a body that nobody sent".to_owned())?;
    let mut words = text.split(' ');
    let (name, number) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let stream = streams
        .iter()
        .find(|stream| stream.name == name && stream.destination == destination);
    match (stream, number.parse()) {
        (Some(stream), Ok(number)) if stream.body(number) == text => Ok((stream, number)),
        _ => Err(format!("a body that nobody sent to {destination}: {text:?}")),
    }
}
