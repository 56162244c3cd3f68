//! Reads stored messages. What the disk does not give is tried again; a message is lost only if what it gives is damaged.

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::log::Place;
use crate::broker::journal::Report;

/// How long it takes at most until what could not be read is tried again.
const LONGEST_PAUSE: Duration = Duration::from_secs(16);

/// A message that is to be read.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) queue: u64,
    pub(super) seq: u64,
    pub(super) place: Place,
}

/// Reads messages as they are asked for, until nobody can ask any more. Those that the disk does not give are tried
/// again, ever more rarely and one at a time, until it gives one.
pub(super) fn read_all(asked: &Receiver<Vec<Ask>>, retry: Duration, report: impl Fn(Report)) {
    let mut unread: Vec<Ask> = Vec::new();
    let (mut pause, mut again) = (retry, Instant::now());
    loop {
        let asks = match unread.is_empty() {
            true => asked.recv().map_err(|_| RecvTimeoutError::Disconnected),
            false => asked.recv_timeout(again.saturating_duration_since(Instant::now())),
        };
        match asks {
            Ok(asks) => {
                if unread.is_empty() {
                    (pause, again) = (retry, Instant::now() + retry);
                }
                unread.extend(read(asks, &report));
            }
            Err(RecvTimeoutError::Timeout) => {
                let count = unread.len();
                unread = read_again(unread, &report);
                pause = match unread.len() < count {
                    true => retry,
                    false => (pause * 2).min(LONGEST_PAUSE.max(retry)),
                };
                again = Instant::now() + pause;
            }
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Reads messages and reports them; those that the disk did not give.
pub(super) fn read(asks: Vec<Ask>, report: impl Fn(Report)) -> Vec<Ask> {
    let mut unread = Vec::new();
    let mut why = None;
    for ask in asks {
        if let Err(error) = read_one(&ask, &report) {
            why = Some(error);
            unread.push(ask);
        }
    }
    if let Some(error) = why {
        let count = unread.len();
        tracing::error!(count, %error, "stored messages cannot be read: their queues wait, and it is tried again");
    }
    unread
}

/// Tries what could not be read, until something still cannot be; what is left.
fn read_again(asks: Vec<Ask>, report: impl Fn(Report)) -> Vec<Ask> {
    let mut asks = asks.into_iter();
    while let Some(ask) = asks.next() {
        if let Err(error) = read_one(&ask, &report) {
            tracing::error!(queue = ask.queue, seq = ask.seq, %error, "a stored message still cannot be read");
            // Others may be readable: they come first the next time.
            return asks.chain([ask]).collect();
        }
    }
    Vec::new()
}

/// Reads a message and reports it; what the disk says if it does not give it.
fn read_one(ask: &Ask, report: impl Fn(Report)) -> io::Result<()> {
    let (queue, seq) = (ask.queue, ask.seq);
    let octets = match ask.place.read(queue, seq) {
        Ok(octets) => Some(octets),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            tracing::error!(queue, seq, %error, "a stored message is damaged, and lost");
            ask.place.set_aside();
            None
        }
        Err(error) => return Err(error),
    };
    report(Report::Loaded { queue, seq, octets });
    Ok(())
}
