//! The broker goes and comes back: what its clients are told, what is lost, and what is said again.

use std::borrow::Cow;

use super::client::Asks;
use super::connect::unavailable;
use super::passage::Edit;
use super::{fault, Fault, Open, Relay, Settings, Shared, State, Step, Up, Wires};
use crate::stomp::{encode, Command, Frame, Line, Version};

/// How a connection to the broker ended, or never began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lost {
    /// None of the addresses could be reached; why, without saying where.
    NotConnected(String),
    /// The broker closed it.
    Closed,
    /// It broke, or what came over it was no STOMP.
    Broken(String),
    /// What was for the broker could not be written.
    NotWritten(String),
    /// No CONNECTED within so many milliseconds.
    NoConnected(u64),
    /// Nothing for so many milliseconds, though the broker had promised heart-beats.
    Silent(u64),
    /// The broker would not have a client back that it had before.
    Refused(String),
}

impl Lost {
    /// What a client is told, in Spring's words.
    fn fault(&self) -> Fault {
        let again = "Connect again; what had no RECEIPT may or may not have reached the broker.";
        match self {
            Lost::NotConnected(why) => {
                let detail = "None of the addresses in relay.upstream could be reached.";
                Fault::saying(fault::CONNECT_FAILED, why, detail)
            }
            Lost::Closed | Lost::Refused(_) => Fault::new(fault::BROKER_LOST, again),
            Lost::Broken(why) => Fault::saying(fault::TRANSPORT_FAILED, why, again),
            Lost::NotWritten(why) => Fault::saying(fault::NOT_FORWARDED, why, again),
            Lost::NoConnected(ms) => {
                let detail = "The broker took the connection and did not answer CONNECT (relay.connected_timeout).";
                Fault::saying(fault::NO_CONNECTED, &format!("{ms} ms."), detail)
            }
            Lost::Silent(ms) => Fault::saying(fault::NO_MESSAGES, &format!("{ms} ms."), again),
        }
    }
}

impl Relay {
    /// The connection to the broker is gone or did not come about.
    pub fn lost(&mut self, why: Lost, wires: &mut impl Wires, now: u64) -> Step {
        let State::Open(open) = &mut self.state else {
            return Step::Done;
        };
        self.shared.counters.lost.one();
        let settings = &self.shared.settings;
        let was_ready = matches!(open.upstream, Up::Ready(_));
        open.upstream = Up::Waiting(now + open.backoff.pause());
        if was_ready {
            open.since = now;
        }
        if open.leaving.is_some() || open.stopping || settings.keep_ms == 0 {
            self.shared.counters.told.one();
            return self.fail(why.fault(), wires);
        }
        if !was_ready {
            return Step::Done;
        }
        match open.let_go(wires) {
            None => {
                open.tell("lost", &settings.status, wires);
                Step::Done
            }
            Some(fault) => {
                self.shared.counters.told.one();
                self.fail(fault, wires)
            }
        }
    }

    /// The broker is there, perhaps again: subscriptions are said again in their order, then what waited passes.
    pub(super) fn resume(&mut self, wires: &mut impl Wires, now: u64) -> Step {
        let State::Open(open) = &mut self.state else {
            return Step::Done;
        };
        open.say_again(&self.shared, &self.token, wires);
        if open.epoch > 0 && open.back.is_none() {
            open.tell("back", &self.shared.settings.status, wires);
        }
        self.pass_pending(wires, now)
    }

    /// What waited passes, up to a frame that takes more than one turn.
    pub(super) fn pass_pending(&mut self, wires: &mut impl Wires, now: u64) -> Step {
        loop {
            let State::Open(open) = &mut self.state else {
                return Step::Done;
            };
            let next = match open.spread.is_some() || open.is_joining() {
                true => None,
                false => open.pending.pop(),
            };
            let Some(kept) = next else { break };
            let frame = kept.frame();
            match open.forward(&frame, &self.shared, &self.token, wires, now) {
                Ok(Step::Close(close)) => return self.close(close, wires),
                Ok(_) => {}
                Err(fault) => return self.fail(fault.of(&frame), wires),
            }
        }
        self.settled(wires)
    }
}

impl Open {
    /// Gives up what went with the connection. `Some` if the client cannot go on, because nobody knows what became of
    /// frames for which it was promised a RECEIPT.
    fn let_go(&mut self, wires: &mut impl Wires) -> Option<Fault> {
        self.epoch += 1;
        self.back = None;
        let lost = std::mem::take(&mut self.transactions);
        self.lost_transactions.extend(lost);
        let mut owed = std::mem::take(&mut self.receipts);
        if let Some(receipt) = self.spread.take().and_then(|spread| spread.receipt()) {
            owed.push_back((receipt.into(), Command::Send));
        }
        let in_doubt =
            |command: Command| matches!(command, Command::Send | Command::Ack | Command::Nack | Command::Commit);
        if let Some((receipt, command)) = owed.iter().find(|(_, command)| in_doubt(*command)) {
            let detail = format!(
                "{command} had no RECEIPT when the connection to the broker was lost; it may or may not have taken effect. {} \
                 such frames.",
                owed.iter().filter(|(_, command)| in_doubt(*command)).count()
            );
            let fault = Fault::new(fault::IN_DOUBT, detail);
            return Some(Fault {
                receipt: Some(receipt.to_string()),
                ..fault
            });
        }
        for (receipt, command) in owed {
            // What these ask for is so, now that the connection is gone; a SUBSCRIBE asks again.
            if matches!(command, Command::Unsubscribe | Command::Begin | Command::Abort) {
                wires.client(&[&encode::receipt(&receipt, self.version)], true);
            }
        }
        None
    }

    /// Says all SUBSCRIBEs again. Whoever wants to know when they have been made is told by the RECEIPT of the last: the broker
    /// takes frames in their order.
    fn say_again(&mut self, shared: &Shared, token: &str, wires: &mut impl Wires) {
        let mut subscriptions: Vec<_> = self
            .subscriptions
            .values()
            .map(|kept| (kept.serial, kept.confirmed, kept.frame.clone()))
            .collect();
        subscriptions.sort_unstable_by_key(|(serial, ..)| *serial);
        let ours = format!("~{}~back", self.epoch);
        let last = subscriptions.last().filter(|_| !self.status.is_empty());
        self.back = last.map(|(_, confirmed, kept)| match kept.frame().headers.get("receipt") {
            Some(receipt) if !confirmed => receipt.as_ref().into(),
            _ => ours.as_str().into(),
        });
        let last = last.map(|(serial, ..)| *serial);
        for (serial, confirmed, kept) in subscriptions {
            let asks = match confirmed {
                false => Asks::AsItDoes,
                true if Some(serial) == last => Asks::For(&ours),
                true => Asks::Nothing,
            };
            self.say_subscribe(&kept.frame(), asks, shared, token, wires);
        }
    }

    /// Tells the subscriptions to the destination of status.
    pub(super) fn tell(&mut self, what: &str, destination: &str, wires: &mut impl Wires) {
        let lost: Vec<&str> = self.lost_transactions.iter().map(String::as_str).collect();
        let body = serde_json::json!({ "broker": what, "lost_transactions": lost }).to_string();
        self.tell_all(&body, destination, wires);
    }

    pub(super) fn tell_all(&mut self, body: &str, destination: &str, wires: &mut impl Wires) {
        for id in &self.status {
            self.told += 1;
            let mut frame = b"MESSAGE\n".to_vec();
            let number = format!("relay-{}", self.told);
            let length = body.len().to_string();
            for (name, value) in [
                ("subscription", id.as_str()),
                ("message-id", &number),
                ("destination", destination),
                ("content-type", "application/json"),
                ("content-length", &length),
            ] {
                encode::header(&mut frame, name, value, self.version);
            }
            frame.push(b'\n');
            wires.client(&[&frame, body.as_bytes(), &[0]], true);
        }
    }

    /// What a client is told that has waited as long as it may.
    pub(super) fn waited_for_nothing(&self, settings: &Settings) -> Fault {
        if self.client.is_none() {
            return unavailable();
        }
        let detail = format!(
            "The broker did not come back within {} ms (relay.keep_sessions).",
            settings.keep_ms
        );
        Fault::new(fault::BROKER_LOST, detail)
    }

    /// Whether the frame belongs to a transaction that is no more, and was dealt with here: its frames are dropped, ABORT
    /// is as good as done, and COMMIT is where the client is told.
    pub(super) fn is_of_a_lost_transaction(
        &mut self,
        frame: &Frame<'_>,
        shared: &Shared,
        wires: &mut impl Wires,
    ) -> Result<bool, Fault> {
        if self.lost_transactions.is_empty() || frame.command == Command::Begin {
            return Ok(false);
        }
        let Some(name) = frame.headers.get("transaction") else {
            return Ok(false);
        };
        if !self.lost_transactions.contains(name.as_ref()) {
            return Ok(false);
        }
        shared.counters.lost_transactions.one();
        if frame.command == Command::Abort {
            self.lost_transactions.remove(name.as_ref());
            self.confirm(frame, wires);
            return Ok(true);
        }
        if frame.command == Command::Commit || frame.headers.has("receipt") {
            let detail = format!(
                "The transaction \"{name}\" was open when the connection to the broker was lost; none of it happened."
            );
            return Err(Fault::new(fault::TRANSACTION_LOST, detail));
        }
        Ok(true)
    }

    /// BEGIN, COMMIT and ABORT: which transactions are open is known here, so that it can be said which are lost.
    pub(super) fn transact(&mut self, frame: &Frame<'_>, shared: &Shared, wires: &mut impl Wires) -> Result<(), Fault> {
        if let Some(name) = frame.headers.get("transaction").filter(|_| shared.settings.keep_ms > 0) {
            if frame.command == Command::Begin {
                self.lost_transactions.remove(name.as_ref());
                if self.transactions.len() + self.lost_transactions.len() >= self.most_transactions {
                    let limit = self.most_transactions;
                    let detail = format!("A client may have {limit} open transactions (limits.transactions).");
                    return Err(Fault::new(fault::TOO_MANY_TRANSACTIONS, detail));
                }
                self.transactions.insert(name.into_owned());
            } else {
                self.transactions.remove(name.as_ref());
            }
        }
        self.pass(frame, |_| Edit::Keep, &[], wires);
        Ok(())
    }

    /// ACK and NACK: those of messages that came before the connection was lost mean nothing to the broker any more; it
    /// delivers such a message again.
    pub(super) fn acknowledge(
        &mut self,
        frame: &Frame<'_>,
        shared: &Shared,
        wires: &mut impl Wires,
    ) -> Result<(), Fault> {
        let Some(mark) = delivery_mark(self.epoch) else {
            self.pass(frame, |_| Edit::Keep, &[], wires);
            return Ok(());
        };
        let name = match self.version {
            Version::V1_2 => "id",
            Version::V1_0 | Version::V1_1 => "message-id",
        };
        let id = frame.headers.get(name).unwrap_or_default();
        let Some(id) = id.strip_prefix(&mark) else {
            shared.counters.stale_acknowledgements.one();
            if frame.headers.has("receipt") {
                let detail = format!(
                    "The message \"{id}\" was delivered before the connection to the broker was lost; it comes again, unless \
                     its acknowledgement had arrived."
                );
                return Err(Fault::new(fault::DELIVERY_LOST, detail));
            }
            return Ok(());
        };
        let edit = |line: &Line<'_>| match line.name == name {
            true => Edit::Set(Cow::Borrowed(id)),
            false => Edit::Keep,
        };
        self.pass(frame, edit, &[], wires);
        Ok(())
    }
}

/// What stands before the ids of deliveries over the connection of that number; nothing for the first.
pub(super) fn delivery_mark(epoch: u32) -> Option<String> {
    (epoch > 0).then(|| format!("~{epoch}~"))
}
