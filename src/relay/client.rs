//! Frames of the client on their way to the broker.

use std::borrow::Cow;
use std::sync::Arc;

use super::passage::{head, plain, Edit, Kept};
use super::sharing::Member;
use super::users::{self, Spread, ORIGIN};
use super::{
    connect, fault, Close, Fault, Leaving, Open, Relay, Settings, Shared, State, Step, Subscription, Up, UserSend,
    WhileAway, Wires,
};
use crate::stomp::{encode, Command, Frame, Line};

/// The end that the client asked for.
pub(super) const DISCONNECTED: Close = Close {
    code: 1000,
    reason: "disconnect",
};

/// What RECEIPT a SUBSCRIBE asks the broker for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Asks<'a> {
    /// The client's, if it wants one.
    AsItDoes,
    /// None: it is said again, and the client has its RECEIPT.
    Nothing,
    /// One of ours.
    For(&'a str),
}

impl Relay {
    /// Takes one frame of the client.
    pub fn receive(&mut self, frame: &Frame<'_>, wires: &mut impl Wires, now: u64) -> Step {
        let done = match &mut self.state {
            State::Closing => return Step::Done,
            State::Connecting => self.connect(frame, now),
            State::Open(open) => open.take(frame, &self.shared, &self.token, wires, now),
        };
        match done {
            Ok(Step::Close(close)) => self.close(close, wires),
            Ok(step) => step,
            Err(fault) => self.fail(fault.of(frame), wires),
        }
    }
}

impl Open {
    /// A frame after CONNECT: it passes, or waits for the broker.
    fn take(
        &mut self,
        frame: &Frame<'_>,
        shared: &Arc<Shared>,
        token: &str,
        wires: &mut impl Wires,
        now: u64,
    ) -> Result<Step, Fault> {
        use Command as C;
        match frame.command {
            C::Connect | C::Stomp => {
                let detail = "This connection has its session already; a client connects once.";
                return Err(Fault::new(fault::ALREADY_CONNECTED, detail));
            }
            C::Connected | C::Message | C::Receipt | C::Error => {
                let detail = format!("{} is a frame that only servers send.", frame.command);
                return Err(Fault::new(fault::UNKNOWN_COMMAND, detail));
            }
            _ => {}
        }
        if self.leaving.is_some() {
            return Ok(Step::Done);
        }
        let held = self.spread.is_some() || self.is_joining() || !self.pending.is_empty();
        if matches!(self.upstream, Up::Ready(_)) && !held {
            return self.forward(frame, shared, token, wires, now);
        }
        let lost = self.client.is_some();
        if lost && frame.command == C::Send && shared.settings.while_away == WhileAway::Refuse {
            shared.counters.told.one();
            return Err(connect::unavailable());
        }
        self.pending.push(Kept::of(frame));
        Ok(Step::Done)
    }

    /// A frame for a broker that is there.
    pub(super) fn forward(
        &mut self,
        frame: &Frame<'_>,
        shared: &Arc<Shared>,
        token: &str,
        wires: &mut impl Wires,
        now: u64,
    ) -> Result<Step, Fault> {
        shared.counters.to_broker.one();
        if self.is_of_a_lost_transaction(frame, shared, wires)? {
            return Ok(Step::Done);
        }
        match frame.command {
            Command::Send => self.send(frame, shared, token, wires)?,
            Command::Subscribe => self.subscribe(frame, shared, token, wires, now)?,
            Command::Unsubscribe => self.unsubscribe(frame, token, wires),
            Command::Ack | Command::Nack => self.acknowledge(frame, shared, wires)?,
            Command::Begin | Command::Commit | Command::Abort => self.transact(frame, shared, wires)?,
            _ => return Ok(self.disconnect(frame, shared, wires, now)),
        }
        Ok(Step::Done)
    }

    fn send(&mut self, frame: &Frame<'_>, shared: &Shared, token: &str, wires: &mut impl Wires) -> Result<(), Fault> {
        let Some(destination) = frame.headers.get("destination") else {
            // The broker says what it misses.
            self.pass(frame, |_| Edit::Keep, &[], wires);
            return Ok(());
        };
        if users::is_user(&destination) {
            return self.send_to_user(frame, &destination, shared, wires);
        }
        if users::owner(&destination).is_some_and(|(_, owner)| owner != token) && self.user_send != UserSend::Any {
            return Err(not_yours(&destination));
        }
        self.check_broadcast(&destination, shared)?;
        check_relayed(&destination, shared)?;
        self.pass(frame, |_| Edit::Keep, &[], wires);
        Ok(())
    }

    /// By that destination one could reach, or read, what is for any user.
    fn check_broadcast(&self, destination: &str, shared: &Shared) -> Result<(), Fault> {
        match self.user_send != UserSend::Any && shared.is_broadcast(destination) {
            true => Err(not_yours(destination)),
            false => Ok(()),
        }
    }

    /// One SEND for each session of the user here; the RECEIPT is asked for with the last.
    fn send_to_user(
        &mut self,
        frame: &Frame<'_>,
        destination: &str,
        shared: &Shared,
        wires: &mut impl Wires,
    ) -> Result<(), Fault> {
        let settings = &shared.settings;
        let Some((user, to)) = users::other(destination) else {
            let detail = format!("\"{destination}\" names no user and destination: /user/NAME/queue/x.");
            return Err(Fault::new(fault::NOT_RELAYED, detail));
        };
        let may = match self.user_send {
            UserSend::Any => true,
            UserSend::Own => self.user.as_deref() == Some(user.as_str()),
            UserSend::None => false,
        };
        if !may {
            let detail = format!(
                "This client may not SEND to \"{destination}\", which is private to a user; user.send says who may."
            );
            return Err(Fault::new(fault::NOT_OWNER, detail));
        }
        let sessions = shared.users.sessions(&user);
        if !sessions.is_empty() {
            self.spread = Some(Spread::new(frame, to, sessions));
            self.spread_on(shared, wires);
        } else if settings.user_broadcast.is_empty() {
            shared.counters.unresolved_users.one();
            self.confirm(frame, wires);
        } else {
            let edit = |line: &Line<'_>| users::personal(line, &settings.user_broadcast, true);
            self.pass(frame, edit, &[(ORIGIN, destination)], wires);
        }
        Ok(())
    }

    /// Goes on with a SEND to each session of a user, as far as the broker's buffer shall be filled at once.
    pub(super) fn spread_on(&mut self, shared: &Shared, wires: &mut impl Wires) {
        let Some(mut spread) = self.spread.take() else { return };
        let most = shared.settings.upstream_buffer.max(1);
        let done = spread.write(self.version, &shared.settings, most, |parts| wires.upstream(parts));
        match done {
            Some(frame) => {
                let frame = frame.clone();
                self.owes(&frame.frame());
            }
            None => self.spread = Some(spread),
        }
    }

    fn subscribe(
        &mut self,
        frame: &Frame<'_>,
        shared: &Arc<Shared>,
        token: &str,
        wires: &mut impl Wires,
        now: u64,
    ) -> Result<(), Fault> {
        let settings = &shared.settings;
        let destination = frame.headers.get("destination").unwrap_or_default();
        let id = frame.headers.get("id");
        self.check_joined(id.as_deref())?;
        if !settings.status.is_empty() && destination == settings.status.as_str() {
            let id = id.unwrap_or(destination);
            if self.has_most() {
                return Err(self.too_many(settings));
            }
            // Not given back at UNSUBSCRIBE: a client that asks again and again shall reach its limit.
            self.kept_bytes += id.len();
            self.status.insert(id.into_owned());
            self.confirm(frame, wires);
            return Ok(());
        }
        if !users::is_user(&destination) && frame.headers.has("destination") {
            let foreign = users::owner(&destination).is_some_and(|(_, owner)| owner != token);
            if foreign || (!settings.queue_wildcards && is_queue_pattern(&destination)) {
                return Err(not_yours(&destination));
            }
            self.check_broadcast(&destination, shared)?;
            check_relayed(&destination, shared)?;
        }
        if self.join(frame, &destination, shared, wires, now)? {
            return Ok(());
        }
        if settings.keep_ms > 0 {
            let confirmed = !frame.headers.has("receipt");
            self.keep(id.unwrap_or(destination).into_owned(), frame, confirmed, shared)?;
        }
        self.say_subscribe(frame, Asks::AsItDoes, shared, token, wires);
        Ok(())
    }

    /// Remembers a SUBSCRIBE, so that it can be said again.
    pub(super) fn keep(
        &mut self,
        id: String,
        frame: &Frame<'_>,
        confirmed: bool,
        shared: &Shared,
    ) -> Result<(), Fault> {
        let settings = &shared.settings;
        let frame = Kept::of(frame);
        let size = frame.size() + id.len();
        if (self.has_most() && !self.subscriptions.contains_key(&id)) || self.kept_bytes + size > settings.pending_bytes
        {
            return Err(self.too_many(settings));
        }
        self.kept_bytes += size;
        let serial = self.next_serial;
        self.next_serial += 1;
        let subscription = Subscription {
            serial,
            frame,
            confirmed,
        };
        self.forget(&id);
        self.subscriptions.insert(id, subscription);
        Ok(())
    }

    /// Whether there are as many subscriptions that are known here as may.
    pub(super) fn has_most(&self) -> bool {
        let joined = self.member.as_ref().map_or(0, Member::subscriptions);
        self.status.len() + self.subscriptions.len() + joined >= self.most_subscriptions
    }

    pub(super) fn too_many(&self, settings: &Settings) -> Fault {
        let detail = format!(
            "A client that is kept when the broker is lost, or shares topics, may have {} subscriptions (limits.subscriptions) whose frames have \
             {} octets in all (relay.pending_size).",
            self.most_subscriptions, settings.pending_bytes
        );
        Fault::new(fault::TOO_MANY_SUBSCRIPTIONS, detail)
    }

    fn forget(&mut self, id: &str) {
        if let Some(subscription) = self.subscriptions.remove(id) {
            self.kept_bytes -= subscription.frame.size() + id.len();
        }
    }

    /// SUBSCRIBE as the broker gets it.
    pub(super) fn say_subscribe(
        &mut self,
        frame: &Frame<'_>,
        asks: Asks<'_>,
        shared: &Shared,
        token: &str,
        wires: &mut impl Wires,
    ) {
        let destination = frame.headers.get("destination").unwrap_or_default();
        let as_it_does = asks == Asks::AsItDoes;
        let receipt = match asks {
            Asks::For(receipt) => Some(("receipt", receipt)),
            Asks::AsItDoes | Asks::Nothing => None,
        };
        let Some(own) = users::own(&destination, token) else {
            let edit = |line: &Line<'_>| match line.name {
                "receipt" if !as_it_does => Edit::Drop,
                _ => Edit::Keep,
            };
            return self.pass_with(frame, edit, receipt.as_slice(), as_it_does, wires);
        };
        let edit = |line: &Line<'_>| users::personal(line, &own, as_it_does);
        let mut added = users::added(&destination, &shared.settings);
        added.extend(receipt);
        self.pass_with(frame, edit, &added, as_it_does, wires);
    }

    fn unsubscribe(&mut self, frame: &Frame<'_>, token: &str, wires: &mut impl Wires) {
        let destination = frame.headers.get("destination");
        let own = destination
            .as_deref()
            .and_then(|destination| users::own(destination, token));
        if let Some(id) = frame.headers.get("id").or(destination) {
            if self.status.remove(id.as_ref()) {
                return self.confirm(frame, wires);
            }
            self.forget(&id);
        }
        if self.part(frame) {
            return self.confirm(frame, wires);
        }
        let edit = |line: &Line<'_>| match (line.name, &own) {
            ("destination", Some(own)) => Edit::Set(Cow::Borrowed(own.as_str())),
            _ => Edit::Keep,
        };
        self.pass(frame, edit, &[], wires);
    }

    fn disconnect(&mut self, frame: &Frame<'_>, shared: &Shared, wires: &mut impl Wires, now: u64) -> Step {
        self.pass(frame, |_| Edit::Keep, &[], wires);
        shared.counters.disconnect.one();
        self.member = None;
        let receipt = frame.headers.get("receipt");
        self.leaving = Some(Leaving {
            receipt: receipt.as_deref().unwrap_or_default().to_owned(),
            until: now + shared.settings.goodbye_ms,
        });
        match receipt {
            Some(_) => Step::Done,
            None => Step::Close(DISCONNECTED),
        }
    }

    /// Writes the frame to the broker.
    pub(super) fn pass<'e>(
        &mut self,
        frame: &Frame<'_>,
        edit: impl FnMut(&Line<'_>) -> Edit<'e>,
        added: &[(&str, &str)],
        wires: &mut impl Wires,
    ) {
        self.pass_with(frame, edit, added, true, wires);
    }

    fn pass_with<'e>(
        &mut self,
        frame: &Frame<'_>,
        edit: impl FnMut(&Line<'_>) -> Edit<'e>,
        added: &[(&str, &str)],
        owes: bool,
        wires: &mut impl Wires,
    ) {
        let head = head(frame, self.version, edit, added);
        wires.upstream(&[&head, frame.body, &[0]]);
        if owes {
            self.owes(frame);
        }
    }

    /// Gives the RECEIPT for what was done here and not by the broker.
    pub(super) fn confirm(&self, frame: &Frame<'_>, wires: &mut impl Wires) {
        if let Some(receipt) = frame.headers.get("receipt") {
            wires.client(&[&encode::receipt(&receipt, self.version)], true);
        }
    }
}

/// Only destinations with the configured prefixes are relayed (none: all).
fn check_relayed(destination: &str, shared: &Shared) -> Result<(), Fault> {
    let prefixes = &shared.settings.prefixes;
    if prefixes.is_empty() || prefixes.iter().any(|prefix| destination.starts_with(prefix.as_str())) {
        return Ok(());
    }
    let detail = format!(
        "\"{destination}\" begins with nothing that is relayed: {} (relay.prefixes).",
        prefixes.join(", ")
    );
    Err(Fault::new(fault::NOT_RELAYED, detail))
}

/// A pattern over queues, by which some brokers would hand out what is in other sessions' private ones.
fn is_queue_pattern(destination: &str) -> bool {
    let wild = |segment: &str| matches!(segment, "*" | "**" | ">" | "#");
    let is_queue = |part: &str| part.starts_with("/queue/") || part.starts_with("queue://") || !part.starts_with('/');
    destination
        .split(',')
        .any(|part| is_queue(part) && part.split(['/', '.']).any(wild))
}

fn not_yours(destination: &str) -> Fault {
    let detail = format!(
        "\"{destination}\" is private to another session, or a pattern over queues, which could hold such (user.send, \
         relay.queue_wildcards)."
    );
    Fault::new(fault::NOT_OWNER, detail)
}

/// A frame of ours to the broker.
pub(super) fn acknowledgement(id: &str, version: crate::stomp::Version) -> Vec<u8> {
    plain(Command::Ack, &[("id", id)], version)
}
