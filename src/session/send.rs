//! SEND, BEGIN, COMMIT, ABORT ("SEND", "BEGIN", "COMMIT", "ABORT").

use std::borrow::Cow;
use std::sync::Arc;

use super::blocked::Pending;
use super::settings::UserSend;
use super::spring::{self, Reached};
use super::transaction::Transaction;
use super::{fault, Connected, Fault};
use crate::broker::private::encoded;
use crate::broker::queue::Options;
use crate::broker::settings::Kind;
use crate::broker::{destination, Act, Destination, Done, Draft, Message, Now, Properties, Route, Sent};
use crate::stomp::{Command, Frame, Headers};

/// Whether a header asks for something that is not served.
fn is_unsupported(name: &str) -> bool {
    matches!(name, "transformation" | "ActiveMQ.Retain" | "retain" | "_AMQ_LVQ_NAME")
        || name.starts_with("AMQ_SCHEDULED_")
}

/// What a SEND's headers ask for, found in one pass.
#[derive(Debug, Default)]
struct Asked<'a> {
    destination: Option<Cow<'a, str>>,
    transaction: Option<Cow<'a, str>>,
    reply_to: Option<Cow<'a, str>>,
    /// Some header may describe the queue.
    options: bool,
    /// Spring resolved a user's destination to this queue; if it is gone, so is the user's session.
    for_user: bool,
    properties: Properties,
}

impl<'a> Asked<'a> {
    fn read(headers: &Headers<'a>, now: Now) -> Result<Asked<'a>, Fault> {
        let mut asked = Asked::default();
        let mut priority = None;
        let (mut persistent, mut expires) = (None, None);
        let (mut ttl, mut expiration) = (None, None);
        let (mut delay, mut group) = (None, None);
        for (name, value) in headers.iter() {
            match name.as_ref() {
                "destination" => first(&mut asked.destination, value),
                "transaction" => first(&mut asked.transaction, value),
                "reply-to" => first(&mut asked.reply_to, value),
                "persistent" => first(&mut persistent, value),
                "priority" => first(&mut priority, value),
                "expires" => first(&mut expires, value),
                "ttl" => first(&mut ttl, value),
                "expiration" => first(&mut expiration, value),
                "simpOrigDestination" => asked.for_user = true,
                "auto-delete" => asked.options = true,
                "JMSXGroupID" => first(&mut group, value),
                name @ ("AMQ_SCHEDULED_DELAY" | "x-delay") if delay.is_none() => {
                    delay = Some(read_delay(name, &value)?)
                }
                "AMQ_SCHEDULED_DELAY" | "x-delay" => {}
                other if is_unsupported(other) => return Err(Fault::unsupported(other, &value)),
                other => asked.options |= other.starts_with("x-"),
            }
        }
        let ends = [
            milliseconds("expires", expires)?,
            milliseconds("ttl", ttl)?.map(|ms| if ms == 0 { 0 } else { now.unix_ms.saturating_add(ms) }),
            // 0 means never in `expires` and `ttl` (ActiveMQ), and at once in `expiration` (RabbitMQ).
            milliseconds("expiration", expiration)?.map(|ms| now.unix_ms.saturating_add(ms)),
        ];
        let expires = ends.into_iter().flatten().filter(|end| *end > 0).min();
        asked.properties = Properties {
            priority: priority.map_or(Ok(4), |value| read_priority(&value))?,
            expires,
            persistent: persistent.is_some_and(|value| value.eq_ignore_ascii_case("true")),
            grouped: group.map_or(Ok(false), |group| is_group(&group))?,
            only: None,
            due: delay.filter(|ms| *ms > 0).map(|ms| now.unix_ms.saturating_add(ms)),
        };
        Ok(asked)
    }
}

/// What a message asks for by its headers.
#[derive(Debug)]
pub(crate) struct Wishes {
    /// Of the message.
    pub(crate) properties: Properties,
    /// Of the queue that it makes.
    pub(crate) options: Option<Box<Options>>,
}

/// Reads what the headers of a message to a destination of `kind` ask for, as those of a SEND: for who sends without a
/// session, and so in no transaction.
pub(crate) fn wishes(headers: &Headers<'_>, kind: Kind, now: Now) -> Result<Wishes, Fault> {
    let mut asked = Asked::read(headers, now)?;
    if let Some(id) = &asked.transaction {
        return Err(Fault::unsupported("transaction", id));
    }
    fit(&mut asked.properties, kind)?;
    Ok(Wishes {
        options: asked.options(headers, kind)?,
        properties: asked.properties,
    })
}

/// Leaves out what a destination of `kind` does not know; says so if it would change delivery.
fn fit(properties: &mut Properties, kind: Kind) -> Result<(), Fault> {
    if properties.due.is_some() && kind == Kind::Topic {
        return Err(Fault::new(
            fault::UNSUPPORTED,
            "AMQ_SCHEDULED_DELAY and x-delay are for queues; a topic delivers at once or not at all.",
        ));
    }
    // Nobody competes for what a topic has.
    properties.grouped &= kind == Kind::Queue;
    Ok(())
}

impl Asked<'_> {
    fn options(&self, headers: &Headers<'_>, kind: Kind) -> Result<Option<Box<Options>>, Fault> {
        match self.options && kind == Kind::Queue {
            true => Ok(Some(Box::new(super::subscribe::options(headers)?))),
            false => Ok(None),
        }
    }
}

fn read_priority(value: &str) -> Result<u8, Fault> {
    match value.trim().parse::<u32>() {
        // RabbitMQ's users send up to 255; there are ten.
        Ok(number) => Ok(number.min(9) as u8),
        Err(_) => Err(Fault::bad_header("priority", value, "0 to 9")),
    }
}

/// Octets of a `JMSXGroupID`.
const GROUP_MAX: usize = 255;

/// Whether a `JMSXGroupID` names a group.
fn is_group(name: &str) -> Result<bool, Fault> {
    match name.len() {
        0 => Ok(false),
        1..=GROUP_MAX => Ok(true),
        _ => Err(Fault::bad_header("JMSXGroupID", name, "a name of at most 255 octets")),
    }
}

/// Milliseconds that a message may be held back: a year.
const DELAY_MAX_MS: u64 = 365 * 86_400_000;

pub(super) fn read_delay(name: &str, value: &str) -> Result<u64, Fault> {
    let delay = value.trim().parse().ok().filter(|ms| *ms <= DELAY_MAX_MS);
    delay.ok_or_else(|| Fault::bad_header(name, value, "a number of milliseconds up to 31536000000 (365 days)"))
}

#[inline]
fn milliseconds(name: &str, value: Option<Cow<'_, str>>) -> Result<Option<u64>, Fault> {
    let Some(value) = value else { return Ok(None) };
    let number = value.trim().parse();
    number
        .map(Some)
        .map_err(|_| Fault::bad_header(name, &value, "a number of milliseconds"))
}

/// Of repeated headers the first counts.
fn first<'a>(known: &mut Option<Cow<'a, str>>, value: Cow<'a, str>) {
    known.get_or_insert(value);
}

impl Connected {
    pub(super) fn send(&mut self, frame: &Frame<'_>, receipt: Option<&str>, now: Now) -> Result<(), Fault> {
        let mut asked = Asked::read(&frame.headers, now)?;
        let name = asked
            .destination
            .as_deref()
            .ok_or_else(|| Fault::missing(Command::Send, "destination"))?;
        let reached = asked.for_user.then(|| self.reached(name)).flatten();
        let name = match &reached {
            None => name,
            Some(Reached::Session(name, session)) => {
                asked.properties.only = Some(*session);
                name
            }
            Some(Reached::Nobody) => {
                self.broker.counters().dropped_no_queue.one();
                self.receipt(receipt, None);
                return Ok(());
            }
        };
        let route = self.route(name, &asked, &frame.headers)?;
        fit(&mut asked.properties, route.to.kind)?;
        if route.owner.is_some() && route.to.kind == Kind::Queue {
            self.own(&route.to.name);
        }
        let address = self.answers(asked.reply_to.as_deref(), now)?;
        let headers = match reached {
            Some(_) => Cow::Owned(spring::without_origin(&frame.headers)),
            None => Cow::Borrowed(&frame.headers),
        };
        let ours = self.for_ours(frame, &route.to, &asked.properties);
        let message = match route.to.app {
            true => {
                let address = self.own_address(address, asked.reply_to.as_deref())?;
                self.told(frame, name, &address, asked.properties)
            }
            false => self.broker.message(Draft {
                destination: &route.to.shown(name),
                headers: &headers,
                reply_to: address.as_deref(),
                body: frame.body,
                version: self.version,
                properties: asked.properties,
                publisher: self.number,
            }),
        };
        if let Some(id) = &asked.transaction {
            for act in [Act::Send(Box::new(route), message)].into_iter().chain(ours) {
                let size = act.size();
                self.buffer(Command::Send, id, act, size)?;
            }
            self.receipt(receipt, None);
            return Ok(());
        }
        match ours {
            Some(ours) => self.apply(vec![Act::Send(Box::new(route), message), ours], receipt, now),
            None => self.hand_over(route, message, receipt, now),
        }
    }

    /// What others are told of a temporary name in `reply-to`.
    fn answers(&mut self, to: Option<&str>, now: Now) -> Result<Option<Arc<str>>, Fault> {
        let Some((to, address)) = to.and_then(|to| Some((to, self.names().reply_address(to)?))) else {
            return Ok(None);
        };
        if address.kind == Kind::Queue {
            self.await_replies(to, &address, now)?;
        }
        Ok(Some(address.name))
    }

    fn hand_over(&mut self, route: Route, message: Arc<Message>, receipt: Option<&str>, now: Now) -> Result<(), Fault> {
        match self.broker.send(&route, &message, &self.outbound, now) {
            Sent::Done(Done { ticket, pause }) => {
                self.pause(pause);
                if let Some(ticket) = &ticket {
                    ticket.wait(&self.outbound);
                }
                self.receipt(receipt, ticket);
                Ok(())
            }
            Sent::Blocked(limit) => {
                self.block(Pending::Send(Box::new(route), message), limit, receipt, now);
                Ok(())
            }
            Sent::Refused(refused) => Err(Fault::from(refused)),
        }
    }

    fn route(&mut self, name: &str, asked: &Asked<'_>, headers: &Headers<'_>) -> Result<Route, Fault> {
        let to = self.target(name)?;
        let mine = to.reply && self.owns(&to.name);
        Ok(Route {
            create: if to.reply { mine } else { !asked.for_user && !to.app },
            owner: mine.then_some(self.number),
            options: match to.app {
                true => None,
                false => asked.options(headers, to.kind)?,
            },
            to,
        })
    }

    /// Whether the client may SEND there: to a user's destination not everybody may.
    fn check_right(&self, name: &str, to: &Destination) -> Result<(), Fault> {
        match to.private() {
            Some((user, _)) if !self.may_send_to(user) => Err(Fault::new(
                fault::FORBIDDEN,
                format!(
                    "\"{name}\" is a user's; a client may SEND there if user.send says so (\"own\" for its own user, \"any\" \
                     for everybody's), or may_send_to_users = true of its [[users]] entry."
                ),
            )),
            _ => Ok(()),
        }
    }

    fn may_send_to(&self, user: &str) -> bool {
        let own = || self.principal.name.as_deref().is_some_and(|own| encoded(own) == user);
        let allowed = match self.settings.user_send {
            UserSend::None => false,
            UserSend::Own => own(),
            UserSend::Any => true,
        };
        allowed || self.principal.may_send_to_users
    }

    pub(super) fn may_send_to_all(&self) -> bool {
        self.settings.user_send == UserSend::Any || self.principal.may_send_to_users
    }

    /// Where a SEND to `name` goes, if the client may send there. Nothing that this asks changes while the session lasts.
    fn target(&mut self, name: &str) -> Result<Destination, Fault> {
        match &self.last_target {
            Some((last, target)) if **last == *name => Ok(target.clone()),
            _ => {
                let target = self.names().target(name).map_err(|why| self.unnamed(name, why))?;
                self.check_right(name, &target)?;
                self.check_apart(name, &target)?;
                self.last_target = Some((name.into(), target.clone()));
                Ok(target)
            }
        }
    }

    /// Adds an act to an open transaction, within its limits.
    pub(super) fn buffer(&mut self, command: Command, id: &str, act: Act, octets: usize) -> Result<(), Fault> {
        let transaction = self.transactions.get_mut(id).ok_or_else(|| unknown(command, id))?;
        let (frames, held) = (transaction.acts.len() + 1, transaction.octets + octets);
        transaction.acts.push(act);
        transaction.octets = held;
        let settings = &self.settings;
        if frames > settings.transaction_frames || held > settings.transaction_bytes {
            return Err(Fault::new(
                fault::TRANSACTION_TOO_LARGE,
                format!(
                    "The transaction \"{id}\" has {frames} frames and {held} octets; the limits are {} \
                     (limits.transaction_frames) and {} (limits.transaction_size).",
                    settings.transaction_frames, settings.transaction_bytes
                ),
            ));
        }
        Ok(())
    }

    pub(super) fn begin(&mut self, frame: &Frame<'_>, receipt: Option<&str>, now: Now) -> Result<(), Fault> {
        let id = transaction_id(frame)?;
        if self.transactions.contains_key(id.as_ref()) {
            let detail = format!("The transaction \"{id}\" is open; COMMIT or ABORT it before it is begun again.");
            return Err(Fault::new(fault::DUPLICATE_TRANSACTION, detail));
        }
        let limit = self.settings.transactions;
        if self.transactions.len() >= limit {
            let detail =
                format!("The limit of a connection, {limit} open transactions (limits.transactions), is reached.");
            return Err(Fault::new(fault::TOO_MANY_TRANSACTIONS, detail));
        }
        let transaction = Transaction {
            since: now.mono,
            ..Transaction::default()
        };
        self.transactions.insert(id.into_owned(), transaction);
        self.broker.count_transactions(1, 0);
        self.receipt(receipt, None);
        Ok(())
    }

    pub(super) fn commit(&mut self, frame: &Frame<'_>, receipt: Option<&str>, now: Now) -> Result<(), Fault> {
        let id = transaction_id(frame)?;
        let Some(transaction) = self.transactions.remove(id.as_ref()) else {
            return Err(unknown(Command::Commit, &id));
        };
        self.broker.count_transactions(0, 1);
        self.apply(transaction.acts, receipt, now)
    }

    /// Does all of it or nothing.
    fn apply(&mut self, acts: Vec<Act>, receipt: Option<&str>, now: Now) -> Result<(), Fault> {
        match self.broker.commit(&acts, &self.outbound, now) {
            Sent::Done(Done { ticket, pause }) => {
                self.pause(pause);
                self.committed(&acts);
                if let Some(ticket) = &ticket {
                    ticket.wait(&self.outbound);
                }
                self.receipt(receipt, ticket);
                Ok(())
            }
            Sent::Blocked(limit) => {
                self.block(Pending::Commit(acts), limit, receipt, now);
                Ok(())
            }
            Sent::Refused(refused) => {
                Transaction {
                    acts,
                    ..Transaction::default()
                }
                .abort();
                Err(Fault::from(refused))
            }
        }
    }

    /// Lets go of unsubscribed subscriptions whose last messages a COMMIT has settled.
    pub(super) fn committed(&mut self, acts: &[Act]) {
        if acts.iter().any(|act| matches!(act, Act::Settle(..))) {
            self.forget_settled();
        }
    }

    pub(super) fn abort(&mut self, frame: &Frame<'_>, receipt: Option<&str>) -> Result<(), Fault> {
        let id = transaction_id(frame)?;
        let Some(transaction) = self.transactions.remove(id.as_ref()) else {
            return Err(unknown(Command::Abort, &id));
        };
        transaction.abort();
        self.broker.count_transactions(0, 1);
        self.broker.counters().aborted.one();
        self.receipt(receipt, None);
        Ok(())
    }

    /// The ERROR for a name that is no destination.
    pub(super) fn unnamed(&self, name: &str, why: destination::Unnamed) -> Fault {
        use destination::Unnamed;
        let limit = self.broker.settings().destination_bytes;
        let forms = destination::FORMS;
        let (kind, detail) = match why {
            Unnamed::TooLong(length) => (
                fault::BAD_DESTINATION,
                format!(
                    "The header \"destination\" has {length} octets{}; the limit is {limit} (limits.destination_name).",
                    if length > name.len() { " with the user's name" } else { "" }
                ),
            ),
            Unnamed::Unknown => (
                fault::BAD_DESTINATION,
                format!("The header \"destination\" is \"{name}\", which no form fits. The forms: {forms}."),
            ),
            Unnamed::Empty => (
                fault::BAD_DESTINATION,
                format!("The header \"destination\" is \"{name}\", which lacks a name. The forms: {forms}."),
            ),
            Unnamed::Wildcard => (
                fault::BAD_DESTINATION,
                format!(
                    "The header \"destination\" is \"{name}\"; wildcards (*, #, **, > as a whole segment) are for SUBSCRIBE to topics only."
                ),
            ),
            Unnamed::Worker => (
                fault::BAD_DESTINATION,
                format!("The header \"destination\" is \"{name}\", which those SUBSCRIBE to who work for /app; SEND to /app/NAME."),
            ),
            Unnamed::TooManyWildcards => (
                fault::BAD_DESTINATION,
                format!("The header \"destination\" is \"{name}\"; a pattern may hold three of #, ** and >."),
            ),
            Unnamed::NoUser => (
                fault::BAD_DESTINATION,
                format!(
                    "The header \"destination\" is \"{name}\"; a SEND says to whom: /user/NAME/DESTINATION, such as \
                     /user/joe/queue/x, with %2F for a slash in NAME."
                ),
            ),
        };
        Fault::new(kind, detail)
    }
}

fn transaction_id<'a>(frame: &Frame<'a>) -> Result<Cow<'a, str>, Fault> {
    let id = frame.headers.get("transaction");
    id.ok_or_else(|| Fault::missing(frame.command, "transaction"))
}

pub(super) fn unknown(command: Command, id: &str) -> Fault {
    let detail = format!("{command} names the transaction \"{id}\", which is not open on this connection.");
    Fault::new(fault::UNKNOWN_TRANSACTION, detail)
}
