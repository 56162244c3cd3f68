//! A session between CONNECTED and its end: which frame goes where, RECEIPTs, time.

use super::{fault, Close, Connected, Fault};
use crate::broker::{AckMode, Now, Ticket};
use crate::stomp::heartbeat::Beat;
use crate::stomp::{encode, Command, Frame, Version};

pub(super) const DISCONNECTED: Close = Close {
    code: 1000,
    reason: "disconnect",
};

impl Connected {
    pub(super) fn receive(&mut self, frame: &Frame<'_>, receipt: Option<&str>, now: Now) -> Result<(), Fault> {
        if self.blocked.is_some() && self.defer(frame, receipt) {
            return Ok(());
        }
        self.execute(frame, receipt, now)
    }

    /// Does what a frame asks for, whose turn has come.
    pub(super) fn execute(&mut self, frame: &Frame<'_>, receipt: Option<&str>, now: Now) -> Result<(), Fault> {
        match frame.command {
            Command::Send => self.send(frame, receipt, now),
            Command::Ack => self.acknowledge(frame, receipt, now),
            Command::Nack if self.version > Version::V1_0 => self.acknowledge(frame, receipt, now),
            Command::Subscribe => self.subscribe(frame, receipt, now),
            Command::Unsubscribe => self.unsubscribe(frame, receipt, now),
            Command::Begin => self.begin(frame, receipt, now),
            Command::Commit => self.commit(frame, receipt, now),
            Command::Abort => self.abort(frame, receipt),
            Command::Disconnect => {
                self.broker.counters().disconnect.one();
                self.receipt(receipt, None);
                self.leaving = Some(DISCONNECTED);
                Ok(())
            }
            Command::Connect | Command::Stomp => {
                let detail = format!("{} came on a connection that is connected already.", frame.command);
                Err(Fault::new(fault::ALREADY_CONNECTED, detail))
            }
            Command::Nack | Command::Connected | Command::Message | Command::Receipt | Command::Error => {
                let detail = format!(
                    "{} is no frame that a client of version {} sends.",
                    frame.command, self.version
                );
                Err(Fault::new(fault::UNKNOWN_COMMAND, detail))
            }
        }
    }

    /// The RECEIPT of a frame that took effect, or will when `ticket` is kept.
    pub(super) fn receipt(&mut self, id: Option<&str>, ticket: Option<Ticket>) {
        match id {
            Some(_) if self.replaying => self.receipts.fill(ticket),
            Some(id) => self.receipts.add(encode::receipt(id, self.version), ticket),
            None => {}
        }
    }

    /// The RECEIPT of a frame that has to wait.
    pub(super) fn reserve_receipt(&mut self, id: Option<&str>) {
        match id {
            Some(id) if !self.replaying => self.receipts.reserve(encode::receipt(id, self.version)),
            _ => {}
        }
    }

    /// Hands on the RECEIPTs whose turn has come.
    pub(super) fn flush_receipts(&mut self) -> Result<(), Fault> {
        loop {
            match self.receipts.next() {
                Ok(Some(frame)) => self.outbound.control(frame),
                Ok(None) => return Ok(()),
                Err(()) => {
                    let detail = "A persistent message, acknowledgement or transaction could not be written to disk; its effect is not certain.";
                    return Err(Fault::new(fault::NOT_STORED, detail));
                }
            }
        }
    }

    pub(super) fn deadline(&self) -> Option<u64> {
        let transactions = self
            .transactions
            .values()
            .map(|t| t.since + self.settings.transaction_ms)
            .min();
        let blocked = self.blocked.as_ref().map(|blocked| blocked.due(&self.settings));
        let frame = self.unfinished_since.map(|since| since + self.settings.frame_ms);
        let requests = self.requests.due();
        [self.liveness.due(), transactions, blocked, self.paused, frame, requests]
            .into_iter()
            .flatten()
            .min()
    }

    /// What is due; whether the client is to be probed.
    pub(super) fn advance(&mut self, now: Now) -> Result<bool, Fault> {
        if self.paused.is_some() {
            // We have stopped reading: silence is ours.
            self.liveness.heard(now.mono);
            self.paused = self.paused.filter(|until| *until > now.mono);
        }
        if let Some(blocked) = &self.blocked {
            // We may have stopped reading: silence is ours, and so is the wait for the rest of a frame.
            self.liveness.heard(now.mono);
            self.unfinished_since = self.unfinished_since.map(|_| now.mono);
            if let Some(fault) = blocked.overdue(&self.settings, now) {
                return Err(fault);
            }
            if blocked.due(&self.settings) <= now.mono {
                self.unblock(now)?;
            }
        }
        self.advance_requests(now);
        if let Some((id, transaction)) = self
            .transactions
            .iter()
            .find(|(_, t)| t.since + self.settings.transaction_ms <= now.mono)
        {
            let (age, limit) = (now.mono - transaction.since, self.settings.transaction_ms);
            let detail = format!("The transaction \"{id}\" has been open for {age} ms; the limit is {limit} ms (limits.transaction_time).");
            return Err(Fault::new(fault::TRANSACTION_TIMEOUT, detail));
        }
        if let Some(since) = self
            .unfinished_since
            .filter(|since| since + self.settings.frame_ms <= now.mono)
        {
            return Err(self.dribbled(now.mono - since));
        }
        let mut probe = false;
        while let Some(beat) = self.liveness.advance(now.mono) {
            match beat {
                Beat::Send => self.outbound.control(b"\n".to_vec()),
                Beat::Probe => probe = true,
                Beat::Silent { silent_ms, expected_ms } => return Err(silent(silent_ms, expected_ms)),
            }
        }
        Ok(probe)
    }

    /// Deliveries that the socket has taken count as delivered: in auto mode they are settled, and what was answered with
    /// one is over.
    pub(super) fn written(&mut self, position: u64, now: Now) {
        while let Some(mark) = self.marks.front().copied().filter(|mark| mark.end <= position) {
            self.marks.pop_front();
            let last_of_lane = self
                .marks
                .front()
                .is_none_or(|next| next.end > position || next.lane != mark.lane);
            if !last_of_lane {
                continue;
            }
            let Some(held) = self.subscriptions.get(&mark.lane.serial) else {
                self.end_request(mark.lane.serial);
                continue;
            };
            if held.subscription.mode != AckMode::Auto {
                continue;
            }
            if let Some((queue, consumer)) = held.subscription.source() {
                self.broker.written(queue, consumer, mark.tag, now);
                if !held.live && !queue.holds(consumer) {
                    self.subscriptions.remove(&mark.lane.serial);
                }
            }
        }
    }

    /// There is room in the outbound again.
    pub(super) fn resume_queues(&self, now: Now) {
        for held in self.subscriptions.values().filter(|held| held.live) {
            if let Some((queue, consumer)) = held.subscription.source() {
                self.broker.resume(queue, consumer, now);
            }
        }
    }

    fn dribbled(&self, ms: u64) -> Fault {
        let (octets, limit) = (self.unfinished, self.settings.frame_ms);
        let detail = format!(
            "A frame began {ms} ms ago and {octets} octets of it have come, but not its end; the limit is {limit} ms \
             (session.frame_timeout)."
        );
        Fault::new(fault::FRAME_TIMEOUT, detail)
    }

    /// Gives everything back.
    pub(super) fn end(mut self: Box<Self>, now: Now) {
        self.stop_waiting();
        let open = std::mem::take(&mut self.transactions);
        self.broker.count_transactions(0, open.len());
        self.broker.counters().aborted.add(open.len() as u64);
        for transaction in open.into_values() {
            transaction.abort();
        }
        for (serial, held) in std::mem::take(&mut self.subscriptions) {
            let unwritten = self
                .marks
                .iter()
                .find(|mark| mark.lane.serial == serial)
                .map(|mark| mark.tag);
            self.broker
                .abandon(&held.subscription, &self.outbound, unwritten, held.live, now);
        }
        self.end_requests();
        for name in std::mem::take(&mut self.owned) {
            self.broker.remove_owned(&name, self.number);
        }
        self.broker.count_unfinished(self.unfinished, 0);
        self.broker.part(&self.presence);
    }
}

fn silent(silent_ms: u64, expected_ms: u32) -> Fault {
    let promise = match expected_ms {
        0 => "a ping went unanswered".to_owned(),
        promised => format!("one every {promised} ms was agreed (session.heart_beat)"),
    };
    Fault::new(
        fault::SILENT,
        format!("No octet came for {silent_ms} ms, and {promise}."),
    )
}
