//! Back-pressure: a SEND or COMMIT that waits for room, and the frames behind it.
//!
//! Acknowledgements and heart-beats still count, because they make the room. Other frames wait in order, and when too
//! many wait the connection stops reading.

use std::collections::VecDeque;
use std::sync::Arc;

use super::connected::DISCONNECTED;
use super::transaction::Transaction;
use super::{Connected, Fault, Settings};
use crate::broker::{Act, Broker, Done, Limit, Message, Now, Outbound, Route, Sent};
use crate::stomp::{Command, Frame, Headers, Line};

/// Frames that may wait behind a blocked one.
const DEFERRED_FRAMES: usize = 64;
/// Their octets, and those of RECEIPTs that wait.
const DEFERRED_OCTETS: usize = 64 << 10;

/// What could not be done yet.
#[derive(Debug)]
pub enum Pending {
    /// A SEND.
    Send(Box<Route>, Arc<Message>),
    /// The acts of a COMMIT.
    Commit(Vec<Act>),
}

/// A session that waits for room.
#[derive(Debug)]
pub struct Blocked {
    pending: Pending,
    limit: Limit,
    receipt: Option<String>,
    since: u64,
    retry_at: Option<u64>,
    deferred: VecDeque<Deferred>,
    octets: usize,
}

/// A frame on its own.
#[derive(Debug)]
struct Deferred {
    command: Command,
    lines: Vec<(String, String)>,
    escaped: bool,
    body: Vec<u8>,
}

impl Deferred {
    fn of(frame: &Frame<'_>) -> Deferred {
        let own = |line: &Line<'_>| (line.name.to_owned(), line.value.to_owned());
        Deferred {
            command: frame.command,
            lines: frame.headers.lines().iter().map(own).collect(),
            escaped: frame.headers.is_escaped(),
            body: frame.body.to_vec(),
        }
    }

    fn octets(&self) -> usize {
        self.body.len() + self.lines.iter().map(|(n, v)| n.len() + v.len() + 64).sum::<usize>() + 64
    }

    fn frame(&self) -> Frame<'_> {
        let lines = self.lines.iter().map(|(name, value)| Line { name, value });
        Frame {
            command: self.command,
            headers: Headers::new(lines, self.escaped),
            body: &self.body,
        }
    }
}

impl Blocked {
    fn is_full(&self) -> bool {
        self.deferred.len() >= DEFERRED_FRAMES || self.octets >= DEFERRED_OCTETS
    }

    /// When it gives up, or asks again, in `Now::mono`.
    pub fn due(&self, settings: &Settings) -> u64 {
        let end = self.since + self.patience(settings).0;
        self.retry_at.map_or(end, |at| at.min(end))
    }

    /// Milliseconds that it may wait, and the option that says so.
    fn patience(&self, settings: &Settings) -> (u64, &'static str) {
        match self.limit {
            Limit::NoWorker(..) => (settings.app.patience_ms, "app.patience"),
            Limit::Memory(..) | Limit::Queue(..) | Limit::Disk(..) => (settings.blocked_ms, "session.blocked_timeout"),
        }
    }

    /// Whether it has waited for too long.
    pub fn overdue(&self, settings: &Settings, now: Now) -> Option<Fault> {
        let (patience_ms, option) = self.patience(settings);
        if now.mono < self.since + patience_ms {
            return None;
        }
        let mut fault = Fault::from(self.limit.clone());
        let waited = now.mono - self.since;
        fault
            .detail
            .push_str(&format!(" The frame waited {waited} ms ({option})."));
        fault.receipt.clone_from(&self.receipt);
        Some(fault)
    }

    /// Gives up: nobody needs to call, and what it held for acknowledgement goes back.
    pub fn abandon(self, broker: &Broker, outbound: &Arc<Outbound>) {
        broker.stop_waiting(&self.limit, outbound);
        if let Pending::Commit(acts) = self.pending {
            Transaction {
                acts,
                ..Transaction::default()
            }
            .abort();
        }
    }
}

impl Connected {
    pub(super) fn accepts_input(&self) -> bool {
        self.leaving.is_none()
            && self.paused.is_none()
            && self.receipts.octets() < DEFERRED_OCTETS
            && self.blocked.as_ref().is_none_or(|blocked| !blocked.is_full())
    }

    /// Takes no frame until a subscriber keeps up, or until `until`.
    pub(super) fn pause(&mut self, until: Option<u64>) {
        self.paused = self.paused.max(until);
    }

    /// Keeps a SEND or COMMIT that has to wait.
    pub(super) fn block(&mut self, pending: Pending, limit: Limit, receipt: Option<&str>, now: Now) {
        self.broker.counters().blocked.one();
        self.reserve_receipt(receipt);
        self.blocked = Some(Box::new(Blocked {
            pending,
            retry_at: retry_at(&limit, now),
            limit,
            receipt: receipt.map(str::to_owned),
            since: now.mono,
            deferred: VecDeque::new(),
            octets: 0,
        }));
    }

    /// Keeps a frame that came behind a blocked one; whether it was kept.
    pub(super) fn defer(&mut self, frame: &Frame<'_>, receipt: Option<&str>) -> bool {
        let Some(blocked) = &mut self.blocked else { return false };
        let acknowledges = matches!(frame.command, Command::Ack | Command::Nack);
        if acknowledges && !frame.headers.has("transaction") {
            return false;
        }
        let deferred = Deferred::of(frame);
        blocked.octets += deferred.octets();
        blocked.deferred.push_back(deferred);
        self.reserve_receipt(receipt);
        true
    }

    /// Gives up what waits.
    pub(super) fn stop_waiting(&mut self) {
        if let Some(blocked) = self.blocked.take() {
            blocked.abandon(&self.broker, &self.outbound);
        }
    }

    /// Room or a worker has been found for something that waits.
    pub(super) fn called(&mut self, now: Now) -> Result<(), Fault> {
        self.unblock(now)?;
        self.find_workers(now);
        Ok(())
    }

    /// Tries again what waits, then the frames behind it.
    pub(super) fn unblock(&mut self, now: Now) -> Result<(), Fault> {
        let Some(mut blocked) = self.blocked.take() else {
            return Ok(());
        };
        let sent = match &blocked.pending {
            Pending::Send(route, message) => self.broker.send(route, message, &self.outbound, now),
            Pending::Commit(acts) => self.broker.commit(acts, &self.outbound, now),
        };
        match sent {
            Sent::Blocked(limit) => {
                if !limit.is_of_the_queue_of(&blocked.limit) {
                    // It was called for room that it cannot use now: the call is another's.
                    self.broker.stop_waiting(&blocked.limit, &self.outbound);
                }
                blocked.retry_at = retry_at(&limit, now);
                blocked.limit = limit;
                self.blocked = Some(blocked);
                return Ok(());
            }
            Sent::Refused(refused) => {
                let receipt = blocked.receipt.take();
                blocked.abandon(&self.broker, &self.outbound);
                return Err(Fault {
                    receipt,
                    ..Fault::from(refused)
                });
            }
            Sent::Done(Done { ticket, pause }) => {
                self.pause(pause);
                if let Some(ticket) = &ticket {
                    ticket.wait(&self.outbound);
                }
                if blocked.receipt.is_some() {
                    self.receipts.fill(ticket);
                }
            }
        }
        let Blocked { pending, deferred, .. } = *blocked;
        if let Pending::Commit(acts) = &pending {
            self.committed(acts);
        }
        // What nobody took must not count as held when the next SEND asks for memory.
        drop(pending);
        self.replaying = true;
        let done = self.replay(deferred, now);
        self.replaying = false;
        done
    }

    fn replay(&mut self, mut deferred: VecDeque<Deferred>, now: Now) -> Result<(), Fault> {
        while let Some(next) = deferred.pop_front() {
            let frame = next.frame();
            let receipt = frame.headers.get("receipt");
            self.execute(&frame, receipt.as_deref(), now)
                .map_err(|fault| fault.of(&frame))?;
            if self.leaving == Some(DISCONNECTED) {
                return Ok(());
            }
            if let Some(blocked) = &mut self.blocked {
                // Blocked again: the rest waits behind it.
                blocked.octets = deferred.iter().map(Deferred::octets).sum();
                blocked.deferred = deferred;
                return Ok(());
            }
        }
        Ok(())
    }
}

/// A full queue calls its senders, and so does a worker that comes; memory and the disk have to be asked.
fn retry_at(limit: &Limit, now: Now) -> Option<u64> {
    match limit {
        Limit::Memory(..) | Limit::Disk(..) => Some(now.mono + super::MEMORY_RETRY_MS),
        Limit::Queue(..) | Limit::NoWorker(..) => None,
    }
}
