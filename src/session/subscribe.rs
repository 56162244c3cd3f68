//! SUBSCRIBE and UNSUBSCRIBE ("SUBSCRIBE", "UNSUBSCRIBE"), and reply addresses.

use std::borrow::Cow;
use std::sync::Arc;

use super::{fault, Connected, Fault, Held, Link};
use crate::broker::app::read_by_workers;
use crate::broker::outbound::LaneHead;
use crate::broker::queue::{Binding, Options};
use crate::broker::selector::Selector;
use crate::broker::settings::Kind;
use crate::broker::subscription::Feed;
use crate::broker::users::Private;
use crate::broker::{AckMode, Destination, Names, Now, Selection, Subscribe, Ticket};
use crate::stomp::headers::escape_into;
use crate::stomp::{Command, Frame, Headers, Version};

/// Headers that ask for something that is not served, whatever their value.
const UNSUPPORTED: [&str; 8] = [
    "x-queue-name",
    "x-stream-offset",
    "x-stream-filter",
    "x-priority",
    "activemq.priority",
    "transformation",
    "include-seq",
    "from-seq",
];

/// Headers that ask for something that is not served when they are `true`.
const UNSUPPORTED_IF_TRUE: [&str; 1] = ["activemq.retroactive"];

/// Headers that are for queues, and refused on topics when they are `true`.
const FOR_QUEUES: [&str; 3] = ["browser", ALONE[0], ALONE[1]];

/// What a consumer says that wants to be the only one while it is there.
const ALONE: [&str; 2] = ["activemq.exclusive", "x-single-active-consumer"];

/// Queues of a session from which on it looks whether they still exist.
const OWNED_MIN: usize = 64;

impl Connected {
    pub(super) fn subscribe(&mut self, frame: &Frame<'_>, receipt: Option<&str>, now: Now) -> Result<(), Fault> {
        let headers = &frame.headers;
        let name = headers
            .get("destination")
            .ok_or_else(|| Fault::missing(Command::Subscribe, "destination"))?;
        if self.names().is_app(&name) {
            return self.request(frame, &name, receipt, now);
        }
        let id = self.subscription_id(headers)?;
        let selection = self.names().selection(&name).map_err(|why| self.unnamed(&name, why))?;
        if let Selection::One(one) = &selection {
            if let Some(queue) = read_by_workers(&one.name) {
                self.may_work(&queue, &name)?;
            }
        }
        let queue = matches!(&selection, Selection::One(one) if one.kind == Kind::Queue);
        if let Selection::One(one) = &selection {
            self.check_apart(&name, one)?;
            self.check_waiting(&name)?;
        }
        check_supported(headers, queue)?;
        let exclusive = self.wants_alone(&selection, headers)?;
        let browse = is_true(headers, "browser");
        let mode = match browse {
            // Nothing is taken, so nothing is acknowledged.
            true => ack_mode(headers).map(|_| AckMode::Auto)?,
            false => ack_mode(headers)?,
        };
        let durable = self.durable(headers, &selection, id.as_deref())?;
        let selector = selector(headers, self.broker.boot())?;
        let options = match queue || durable.is_some() {
            true => Options {
                binding: Binding::of(&selection, selector.as_deref())
                    .filter(|_| durable.is_some())
                    .map(Arc::new),
                ..options(headers)?
            },
            false => Options::default(),
        };
        if let Selection::One(one) = &selection {
            self.replace_reply_subscription(one, now);
        }
        let ask = Subscribe {
            session: self.number,
            serial: self.next_serial,
            mode,
            prefetch: prefetch(headers)?,
            selector,
            browse,
            alone: ALONE.into_iter().any(|name| is_true(headers, name)),
            no_local: is_true(headers, "no-local") || is_true(headers, "activemq.noLocal"),
            exclusive,
            options,
            durable: durable.clone(),
            head: self.lane_head(id.as_deref(), mode),
            selection,
        };
        let private = self.private(&ask.selection, id.as_deref(), &name);
        let serial = ask.serial;
        let key = id.unwrap_or_else(|| nameless(&name));
        self.add_subscription(key, ask, now)?;
        if let Some(private) = private {
            self.presence.add(serial, private);
        }
        let ticket = durable.and_then(|_| self.broker.durable_ticket());
        self.promise(receipt, ticket);
        Ok(())
    }

    /// What others may know of a subscription under `/user`.
    fn private(&self, selection: &Selection, id: Option<&str>, name: &str) -> Option<Private> {
        match selection {
            Selection::One(one) if one.private().is_some() => Some(Private {
                id: id.unwrap_or_default().into(),
                destination: name.into(),
            }),
            _ => None,
        }
    }

    /// The RECEIPT of a frame that took effect, or will when `ticket` is kept.
    fn promise(&mut self, receipt: Option<&str>, ticket: Option<Ticket>) {
        if let Some(ticket) = &ticket {
            ticket.wait(&self.outbound);
        }
        self.receipt(receipt, ticket);
    }

    /// Whether the destination is to belong to this session.
    fn wants_alone(&self, selection: &Selection, headers: &Headers<'_>) -> Result<bool, Fault> {
        match selection {
            // It is found by the user's name, so by the sessions of that user alone.
            Selection::One(one) if one.private().is_some() => Ok(false),
            Selection::One(one) if one.reply && self.owns(&one.name) => Ok(true),
            Selection::One(one) if one.reply => Err(Fault::new(
                fault::NOT_OWNER,
                "This is the reply address of another session; only its owner may subscribe to it.",
            )),
            // Spring's relay makes one queue for each session of a user; it is nobody else's and goes with it.
            Selection::One(one) => {
                Ok(one.kind == Kind::Queue && (is_true(headers, "exclusive") || headers.has("simpOrigDestination")))
            }
            Selection::Pattern(_) => Ok(false),
        }
    }

    pub(super) fn unsubscribe(&mut self, frame: &Frame<'_>, receipt: Option<&str>, now: Now) -> Result<(), Fault> {
        let id = match (frame.headers.get("id"), frame.headers.get("destination")) {
            (Some(id), _) => Some(id.into_owned()),
            (None, Some(destination)) if self.version == Version::V1_0 => Some(nameless(&destination)),
            (None, _) => None,
        };
        let serial = id.as_ref().and_then(|id| self.ids.remove(id));
        let durable = self.durable_to_remove(frame, serial)?;
        if let Some(serial) = serial {
            self.end_subscription(serial, now);
        }
        let (removed, ticket) = match durable {
            Some(name) => self.broker.remove_durable(&name)?,
            None => (false, None),
        };
        let id = id.filter(|_| serial.is_none() && !removed);
        match id {
            None if serial.is_none() && !removed => Err(Fault::missing(Command::Unsubscribe, "id")),
            Some(id) if !self.used.0.contains(&id) => {
                let detail =
                    format!("UNSUBSCRIBE names the id \"{id}\", which no subscription of this connection has.");
                Err(Fault::new(fault::UNKNOWN_SUBSCRIPTION, detail))
            }
            _ => {
                self.promise(receipt, ticket);
                Ok(())
            }
        }
    }

    /// What `reply-to:/temp-queue/x` means on its own: replies come under the id `/temp-queue/x`.
    pub(super) fn await_replies(&mut self, name: &str, address: &Destination, now: Now) -> Result<(), Fault> {
        let waits = self
            .subscriptions
            .values()
            .any(|held| held.live && held.is_fed_by(&address.name));
        if waits || self.ids.contains_key(name) {
            return Ok(());
        }
        let ask = Subscribe {
            selection: Selection::One(address.clone()),
            session: self.number,
            serial: self.next_serial,
            mode: AckMode::Auto,
            prefetch: None,
            no_local: false,
            selector: None,
            browse: false,
            alone: false,
            exclusive: true,
            durable: None,
            options: Options::default(),
            head: self.lane_head(Some(name), AckMode::Auto),
        };
        self.add_subscription(name.to_owned(), ask, now)
    }

    /// An explicit SUBSCRIBE takes the place of the one that a `reply-to` made.
    fn replace_reply_subscription(&mut self, to: &Destination, now: Now) {
        if !to.reply {
            return;
        }
        let automatic = |(id, serial): (&String, &u32)| {
            let held = self.subscriptions.get(serial)?;
            (id.starts_with("/temp-queue/") && held.is_fed_by(&to.name)).then(|| (id.clone(), *serial))
        };
        if let Some((id, serial)) = self.ids.iter().find_map(automatic) {
            self.ids.remove(&id);
            self.end_subscription(serial, now);
        }
    }

    /// Whether a subscription may have that id, and whether there may be another one.
    pub(super) fn check_id(&self, id: &str) -> Result<(), Fault> {
        if self.ids.contains_key(id) {
            let detail =
                format!("The id \"{id}\" is that of a live subscription of this connection; UNSUBSCRIBE it first.");
            return Err(Fault::new(fault::DUPLICATE_SUBSCRIPTION, detail));
        }
        let limit = self.settings.subscriptions;
        if self.ids.len() >= limit {
            let detail =
                format!("The limit of a connection, {limit} subscriptions (limits.subscriptions), is reached.");
            return Err(Fault::new(fault::TOO_MANY_SUBSCRIPTIONS, detail));
        }
        Ok(())
    }

    fn add_subscription(&mut self, id: String, ask: Subscribe, now: Now) -> Result<(), Fault> {
        self.check_id(&id)?;
        self.forget_late(now);
        let serial = ask.serial;
        let exclusive = ask.exclusive;
        let subscription = self.broker.subscribe(ask, &self.outbound, now)?;
        self.next_serial += 1;
        if let (true, Feed::Queue(queue, _)) = (exclusive, &subscription.feed) {
            self.own(&queue.name);
        }
        self.remember_id(&id);
        self.ids.insert(id.clone(), serial);
        self.subscriptions.insert(
            serial,
            Held {
                subscription,
                id,
                live: true,
            },
        );
        Ok(())
    }

    fn end_subscription(&mut self, serial: u32, now: Now) {
        self.end_request(serial);
        let Some(held) = self.subscriptions.get_mut(&serial) else {
            return;
        };
        held.live = false;
        self.presence.remove(serial);
        let late = self.broker.unsubscribe(&held.subscription, &self.outbound, now);
        if !late {
            self.subscriptions.remove(&serial);
        }
    }

    /// Subscriptions that only wait for late acknowledgements must not pile up: the oldest give their messages back.
    fn forget_late(&mut self, now: Now) {
        while self.subscriptions.len() >= self.settings.subscriptions.saturating_mul(2) {
            let Some(serial) = self
                .subscriptions
                .iter()
                .find(|(_, held)| !held.live)
                .map(|(serial, _)| *serial)
            else {
                return;
            };
            if let Some(held) = self.subscriptions.remove(&serial) {
                self.broker
                    .abandon(&held.subscription, &self.outbound, None, false, now);
            }
        }
    }

    /// Notes a queue that goes with the session.
    pub(super) fn own(&mut self, name: &Arc<str>) {
        self.owned.insert(Arc::clone(name));
        let many = self.owned.len();
        if many >= OWNED_MIN && many.is_power_of_two() {
            // Some have been idle and are gone.
            let broker = &self.broker;
            self.owned.retain(|name| broker.queue_length(name).is_some());
        }
    }

    pub(super) fn remember_id(&mut self, id: &str) {
        let (known, order) = &mut self.used;
        if known.insert(id.to_owned()) {
            order.push_back(id.to_owned());
        }
        if order.len() > self.settings.subscriptions {
            if let Some(oldest) = order.pop_front() {
                known.remove(&oldest);
            }
        }
    }

    pub(super) fn subscription_id(&self, headers: &Headers<'_>) -> Result<Option<String>, Fault> {
        match headers.get("id") {
            Some(id) => Ok(Some(id.into_owned())),
            None if self.version == Version::V1_0 => Ok(None),
            None => Err(Fault::missing(Command::Subscribe, "id")),
        }
    }

    pub(super) fn lane_head(&self, id: Option<&str>, mode: AckMode) -> LaneHead {
        let mut prefix = b"MESSAGE\n".to_vec();
        if let Some(id) = id {
            prefix.extend_from_slice(b"subscription:");
            escape_into(&mut prefix, id, self.version);
            prefix.push(b'\n');
        }
        prefix.extend_from_slice(b"message-id:");
        if !mode.is_manual() {
            prefix.extend_from_slice(self.broker.boot().as_bytes());
            prefix.push(b'-');
        }
        LaneHead {
            prefix: prefix.into(),
            version: self.version,
            safe: self.link != (Link::WebSocket { subprotocol: true }),
            queue: false,
            manual: false,
            answer: false,
        }
    }

    pub(super) fn names(&self) -> Names<'_> {
        Names {
            prefixes: &self.broker.settings().prefixes,
            spring: &self.broker.settings().spring,
            limit: self.broker.settings().destination_bytes,
            token: &self.presence.token,
            temporary: &self.temporary,
            user: self.principal.name.as_deref(),
        }
    }

    /// Whether a reply address is the session's own.
    pub(super) fn owns(&self, address: &str) -> bool {
        let local = address
            .strip_prefix("/reply-queue/")
            .or(address.strip_prefix("/reply-topic/"));
        local
            .and_then(|local| local.split_once('/'))
            .is_some_and(|(token, _)| *token == *self.temporary)
    }
}

impl Held {
    fn is_fed_by(&self, name: &str) -> bool {
        matches!(&self.subscription.feed, Feed::Queue(queue, _) if *queue.name == *name)
    }
}

/// The key of a 1.0 subscription without id: no id that a client sends holds a NUL.
pub(super) fn nameless(destination: &str) -> String {
    format!("\0{destination}")
}

pub(super) fn is_true(headers: &Headers<'_>, name: &str) -> bool {
    headers
        .get(name)
        .is_some_and(|value| value.eq_ignore_ascii_case("true"))
}

pub(super) fn ack_mode(headers: &Headers<'_>) -> Result<AckMode, Fault> {
    match headers.get("ack") {
        None => Ok(AckMode::Auto),
        Some(value) => {
            AckMode::parse(&value).ok_or_else(|| Fault::bad_header("ack", &value, "auto, client or client-individual"))
        }
    }
}

fn prefetch(headers: &Headers<'_>) -> Result<Option<usize>, Fault> {
    for name in ["prefetch-count", "activemq.prefetchSize"] {
        if let Some(value) = headers.get(name) {
            let number = value.trim().parse();
            return number
                .map(Some)
                .map_err(|_| Fault::bad_header(name, &value, "a number of messages; 0 for the most there may be"));
        }
    }
    Ok(None)
}

fn selector(headers: &Headers<'_>, boot: &str) -> Result<Option<Arc<Selector>>, Fault> {
    let Some(text) = headers.get("selector") else {
        return Ok(None);
    };
    match Selector::parse(&text, boot) {
        Ok(selector) => Ok(Some(Arc::new(selector))),
        Err(bad) => Err(Fault::new(
            fault::BAD_SELECTOR,
            format!("The header \"selector\" cannot be read {bad}."),
        )),
    }
}

fn check_supported(headers: &Headers<'_>, queue: bool) -> Result<(), Fault> {
    for name in UNSUPPORTED {
        if let Some(value) = headers.get(name) {
            return Err(Fault::unsupported(name, &value));
        }
    }
    let for_queues = FOR_QUEUES.into_iter().filter(|_| !queue);
    let for_topics = ["no-local", "activemq.noLocal"].into_iter().filter(|_| queue);
    for name in UNSUPPORTED_IF_TRUE.into_iter().chain(for_queues).chain(for_topics) {
        if is_true(headers, name) {
            return Err(Fault::unsupported(name, "true"));
        }
    }
    Ok(())
}

/// What RabbitMQ's queue arguments ask for, on SEND and SUBSCRIBE.
pub(super) fn options(headers: &Headers<'_>) -> Result<Options, Fault> {
    let number = |name: &str| match headers.get(name) {
        None => Ok(None),
        Some(value) => value
            .trim()
            .parse::<u64>()
            .map(Some)
            .map_err(|_| Fault::bad_header(name, &value, "a whole number")),
    };
    if let Some(kind) = headers.get("x-queue-type").filter(|kind| kind.as_ref() == "stream") {
        return Err(Fault::unsupported("x-queue-type", &kind));
    }
    if let Some(exchange) = headers
        .get("x-dead-letter-exchange")
        .filter(|exchange| !exchange.is_empty())
    {
        return Err(Fault::unsupported("x-dead-letter-exchange", &exchange));
    }
    let dead_letter =
        headers
            .get("x-dead-letter-routing-key")
            .map(|key: Cow<'_, str>| match key.strip_prefix("/queue/") {
                Some(_) => key.as_ref().into(),
                None => format!("/queue/{key}").into(),
            });
    Ok(Options {
        message_ttl: number("x-message-ttl")?,
        max_messages: number("x-max-length")?.map(|n| n as usize),
        max_bytes: number("x-max-length-bytes")?.map(|n| n as usize),
        idle_ms: number("x-expires")?,
        dead_letter,
        auto_delete: is_true(headers, "auto-delete"),
        binding: None,
    })
}
