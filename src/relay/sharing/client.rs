//! A client's side of the subscriptions that it shares: which they are, and what it is given of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::mailbox::{prefix, Mail, Mailbox, Passed};
use super::{Bell, Place, JOIN_MS};
use crate::relay::client::Asks;
use crate::relay::{fault, users, Fault, Open, Relay, Settings, Shared, State, Step, Up, Wires};
use crate::stomp::{encode, Command, Frame, Headers, Line};

/// A client that shares subscriptions. It leaves all of them when this is dropped.
#[derive(Debug)]
pub(in crate::relay) struct Member {
    shared: Arc<Shared>,
    number: u64,
    mailbox: Arc<Mailbox>,
    /// By ticket.
    joined: BTreeMap<u64, Joined>,
    /// Tickets by the client's ids.
    ids: BTreeMap<String, u64>,
    /// A subscription that is not confirmed, and until when it is waited for. What the client says after it waits too: its
    /// own messages must not overtake it.
    joining: Option<(u64, u64)>,
}

#[derive(Debug)]
struct Joined {
    place: Place,
    id: String,
    destination: String,
    /// What the client is told once the broker has confirmed it.
    receipt: Option<String>,
    /// How its messages begin.
    prefix: Box<[u8]>,
}

impl Joined {
    /// Octets of memory that count, as for a SUBSCRIBE that is kept.
    fn size(&self) -> usize {
        128 + 2 * self.id.len() + self.destination.len() + self.prefix.len()
    }
}

impl Member {
    fn new(shared: &Arc<Shared>, bell: Arc<dyn Bell>) -> Member {
        Member {
            shared: Arc::clone(shared),
            number: shared.sharing.lock().number(),
            mailbox: Arc::new(Mailbox::new(shared.settings.client_buffer, bell)),
            joined: BTreeMap::new(),
            ids: BTreeMap::new(),
            joining: None,
        }
    }

    pub(in crate::relay) fn subscriptions(&self) -> usize {
        self.joined.len()
    }

    /// When the client's own connection takes over what is not confirmed.
    pub(in crate::relay) fn due(&self) -> Option<u64> {
        self.joining.map(|(_, until)| until)
    }

    fn leave(&mut self, ticket: u64) -> Option<Joined> {
        let joined = self.joined.remove(&ticket)?;
        self.ids.remove(&joined.id);
        if self.joining.is_some_and(|(joining, _)| joining == ticket) {
            self.joining = None;
        }
        self.shared.sharing.leave(self.number, joined.place);
        Some(joined)
    }

    /// The ticket that UNSUBSCRIBE means: by id, or as 1.0 allows by destination.
    fn meant(&self, frame: &Frame<'_>) -> Option<u64> {
        if let Some(id) = frame.headers.get("id") {
            return self.ids.get(id.as_ref()).copied();
        }
        let destination = frame.headers.get("destination")?;
        let found = self.joined.iter().find(|(_, joined)| joined.destination == destination);
        found.map(|(ticket, _)| *ticket)
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        for joined in self.joined.values() {
            self.shared.sharing.leave(self.number, joined.place);
        }
    }
}

impl Relay {
    /// Rings `bell` when there is [mail](Relay::has_mail). Without one, a client shares nothing.
    pub fn listen(&mut self, bell: Arc<dyn Bell>) {
        self.bell = Some(bell);
    }

    /// Whether the shared connection has brought something: [`Relay::hear`] it, as soon as the client takes more.
    pub fn has_mail(&self) -> bool {
        self.mailbox().is_some_and(|mailbox| !mailbox.is_empty())
    }

    /// Whether it has brought too much, which the client is told however much it still has to take.
    pub fn is_overrun(&self) -> bool {
        self.mailbox().is_some_and(|mailbox| mailbox.is_overrun())
    }

    fn mailbox(&self) -> Option<&Arc<Mailbox>> {
        match &self.state {
            State::Open(open) => open.member.as_ref().map(|member| &member.mailbox),
            State::Connecting | State::Closing => None,
        }
    }

    /// Takes one thing that the shared connection has brought.
    pub fn hear(&mut self, wires: &mut impl Wires, now: u64) -> Step {
        let Some(mail) = self.mailbox().and_then(|mailbox| mailbox.take()) else {
            return Step::Done;
        };
        let State::Open(open) = &mut self.state else {
            return Step::Done;
        };
        let outcome = match mail {
            Mail::Message(ticket, passed) => {
                open.hand(ticket, &passed, &self.shared, wires);
                return Step::Done;
            }
            Mail::Confirmed(ticket) => {
                open.is_confirmed(ticket, wires);
                Ok(())
            }
            Mail::Elsewhere(ticket) => open.go_alone(ticket, &self.shared, &self.token, wires),
            Mail::Back(back) => {
                open.tell_shared(back, &self.shared.settings, wires);
                Ok(())
            }
            Mail::Lost => {
                self.shared.counters.told.one();
                let detail = "The connection over which the relay shares subscriptions was lost; connect again.";
                Err(Fault::new(fault::BROKER_LOST, detail))
            }
            Mail::Overrun => Err(overrun(&self.shared.settings)),
        };
        self.released(outcome, wires, now)
    }

    /// What the client said meanwhile need not wait any more.
    fn released(&mut self, outcome: Result<(), Fault>, wires: &mut impl Wires, now: u64) -> Step {
        match outcome {
            Ok(()) if self.has_more() => self.pass_pending(wires, now),
            Ok(()) => self.settled(wires),
            Err(fault) => self.fail(fault, wires),
        }
    }

    /// The shared connection has not confirmed a subscription in time.
    pub(in crate::relay) fn turned_away(&mut self, wires: &mut impl Wires, now: u64) -> Step {
        let State::Open(open) = &mut self.state else {
            return Step::Done;
        };
        let Some((ticket, _)) = open.member.as_ref().and_then(|member| member.joining) else {
            return Step::Done;
        };
        let outcome = open.go_alone(ticket, &self.shared, &self.token, wires);
        self.released(outcome, wires, now)
    }
}

impl Open {
    /// Whether a shared subscription is not confirmed yet.
    pub(in crate::relay) fn is_joining(&self) -> bool {
        self.member.as_ref().is_some_and(|member| member.joining.is_some())
    }

    /// A SUBSCRIBE may not have the id of a subscription that is shared.
    pub(in crate::relay) fn check_joined(&self, id: Option<&str>) -> Result<(), Fault> {
        match (id, &self.member) {
            (Some(id), Some(member)) if member.ids.contains_key(id) => {
                let detail = format!("This session has a subscription with the id \"{id}\" already.");
                Err(Fault::new(fault::DUPLICATE_SUBSCRIPTION, detail))
            }
            _ => Ok(()),
        }
    }

    /// Joins a shared subscription, if the SUBSCRIBE asks for what can be shared.
    pub(in crate::relay) fn join(
        &mut self,
        frame: &Frame<'_>,
        destination: &str,
        shared: &Arc<Shared>,
        wires: &mut impl Wires,
        now: u64,
    ) -> Result<bool, Fault> {
        let Some(id) = frame
            .headers
            .get("id")
            .filter(|_| is_shareable(frame, destination, shared))
        else {
            return Ok(false);
        };
        if self.status.contains(id.as_ref()) || self.subscriptions.contains_key(id.as_ref()) {
            return Ok(false);
        }
        let Some(bell) = &self.bell else { return Ok(false) };
        let full = self.has_most();
        let member = self.member.get_or_insert_with(|| Member::new(shared, Arc::clone(bell)));
        let Some(place) = shared.sharing.join(member.number, &member.mailbox, destination, now) else {
            return Ok(false);
        };
        let joined = Joined {
            place,
            id: id.clone().into_owned(),
            destination: destination.to_owned(),
            receipt: frame.headers.get("receipt").map(std::borrow::Cow::into_owned),
            prefix: prefix(&id, self.version),
        };
        let size = joined.size();
        member.ids.insert(id.into_owned(), place.ticket);
        member.joined.insert(place.ticket, joined);
        if full || self.kept_bytes + size > shared.settings.pending_bytes {
            return Err(self.too_many(&shared.settings));
        }
        self.kept_bytes += size;
        match place.confirmed {
            true => self.confirm(frame, wires),
            false => member.joining = Some((place.ticket, now + JOIN_MS)),
        }
        Ok(true)
    }

    /// UNSUBSCRIBE of a shared subscription: nothing of it is given after this.
    pub(in crate::relay) fn part(&mut self, frame: &Frame<'_>) -> bool {
        let Some(member) = &mut self.member else { return false };
        let Some(joined) = member.meant(frame).and_then(|ticket| member.leave(ticket)) else {
            return false;
        };
        self.kept_bytes -= joined.size();
        true
    }

    /// A message for one of its subscriptions, unless it has left that.
    fn hand(&mut self, ticket: u64, passed: &Passed, shared: &Shared, wires: &mut impl Wires) {
        let joined = self.member.as_ref().and_then(|member| member.joined.get(&ticket));
        let Some(joined) = joined else { return };
        shared.counters.shared_out.one();
        shared.counters.to_clients.one();
        passed.write(&joined.prefix, self.version, |parts, utf8| wires.client(parts, utf8));
    }

    fn is_confirmed(&mut self, ticket: u64, wires: &mut impl Wires) {
        let version = self.version;
        let Some(member) = &mut self.member else { return };
        if member.joining.is_some_and(|(joining, _)| joining == ticket) {
            member.joining = None;
        }
        if let Some(receipt) = member.joined.get_mut(&ticket).and_then(|joined| joined.receipt.take()) {
            wires.client(&[&encode::receipt(&receipt, version)], true);
        }
    }

    /// The subscription goes over the client's own connection from here on.
    fn go_alone(
        &mut self,
        ticket: u64,
        shared: &Arc<Shared>,
        token: &str,
        wires: &mut impl Wires,
    ) -> Result<(), Fault> {
        let Some(member) = &mut self.member else { return Ok(()) };
        let is_new = member.joining.is_some_and(|(joining, _)| joining == ticket);
        let Some(joined) = member.leave(ticket) else {
            return Ok(());
        };
        self.kept_bytes -= joined.size();
        let receipt = joined.receipt.as_deref().filter(|_| is_new);
        let mut lines = vec![("id", joined.id.as_str()), ("destination", joined.destination.as_str())];
        lines.extend(receipt.map(|receipt| ("receipt", receipt)));
        let lines = lines.into_iter().map(|(name, value)| Line { name, value });
        let frame = Frame {
            command: Command::Subscribe,
            headers: Headers::new(lines, false),
            body: &[],
        };
        if shared.settings.keep_ms > 0 {
            self.keep(joined.id.clone(), &frame, receipt.is_none(), shared)?;
        }
        if matches!(self.upstream, Up::Ready(_)) {
            self.say_subscribe(&frame, Asks::AsItDoes, shared, token, wires);
        }
        Ok(())
    }

    fn tell_shared(&mut self, back: bool, settings: &Settings, wires: &mut impl Wires) {
        let body = match back {
            true => r#"{"shared":"back"}"#,
            false => r#"{"shared":"lost"}"#,
        };
        self.tell_all(body, &settings.status, wires);
    }
}

/// Whether many may have what the SUBSCRIBE asks for: one topic by its name, acknowledged by nobody, and nothing else.
fn is_shareable(frame: &Frame<'_>, destination: &str, shared: &Shared) -> bool {
    let topics = &shared.settings.shared_topics;
    let plain = |line: &Line<'_>| match line.name {
        "id" | "destination" | "receipt" => true,
        // Credit, where nothing is acknowledged.
        "prefetch-count" | "activemq.prefetchSize" => true,
        "ack" => line.value == "auto",
        _ => false,
    };
    topics.iter().any(|topic| destination.starts_with(topic.as_str()))
        && frame.headers.lines().iter().all(plain)
        && !is_special(destination)
        && !Settings::is_for_one(destination)
        && users::owner(destination).is_none()
        && destination != shared.settings.user_broadcast
}

/// What some broker takes for a pattern, written out or as `%2A`, for several destinations, or for one with options.
fn is_special(destination: &str) -> bool {
    destination.contains(['*', '#', '>', ',', '?', '%', '{', '['])
}

fn overrun(settings: &Settings) -> Fault {
    let limit = settings.client_buffer;
    let detail = format!(
        "More than {limit} octets of its shared subscriptions waited for this client (relay.client_buffer); it takes them too slowly."
    );
    Fault::new(fault::SLOW_CONSUMER, detail)
}
