//! Application destinations: a SEND or SUBSCRIBE to `/app/NAME` is put to those who work for it, who are told who asks.
//!
//! A SUBSCRIBE is a request: one answer comes under its id, and nothing is left of it then.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::settings::Workers;
use super::subscribe::{ack_mode, nameless};
use super::{fault, Connected, Fault, Link};
use crate::broker::app::Request;
use crate::broker::destination::SESSION;
use crate::broker::private::USER;
use crate::broker::{AckMode, Destination, Draft, Limit, Message, Now, Properties, Route, Sent};
use crate::stomp::headers::escape_into;
use crate::stomp::{Command, Frame, Headers, Line, Version};

/// What tells a worker who asks and where to answer: nothing that the client says in them is passed on.
const TOLD: [&str; 4] = ["user", "session", "x-app-command", "reply-to"];

/// Where answers come that nobody wants elsewhere.
const REPLIES: &str = "/user/queue/replies";

/// Headers of a SUBSCRIBE that are between the client and us.
const OF_SUBSCRIBE: [&str; 2] = ["id", "ack"];

/// Milliseconds between two tries to find a worker.
const RETRY_MS: u64 = 50;

/// Requests of a session by the serials of their subscriptions.
pub(super) type Requests = BTreeMap<u32, Pending>;

/// A SUBSCRIBE to an application destination that has no answer yet, or whose answer is not written yet.
#[derive(Debug)]
pub(super) struct Pending {
    request: Request,
    /// The client's id of the subscription.
    id: String,
    /// As the client wrote it.
    destination: String,
    /// When it has waited for too long, or is looked at again, in `Now::mono`.
    until: u64,
    unplaced: Option<Box<Unplaced>>,
}

/// A request that no queue of workers has taken yet.
#[derive(Debug)]
struct Unplaced {
    route: Route,
    message: Arc<Message>,
    why: Limit,
    retry_at: u64,
    /// When it is given up.
    until: u64,
}

impl Pending {
    pub(super) fn due(&self) -> u64 {
        match &self.unplaced {
            Some(unplaced) => unplaced.retry_at.min(unplaced.until),
            None => self.until,
        }
    }
}

impl Connected {
    /// A SUBSCRIBE to an application destination.
    pub(super) fn request(
        &mut self,
        frame: &Frame<'_>,
        name: &str,
        receipt: Option<&str>,
        now: Now,
    ) -> Result<(), Fault> {
        let id = self.subscription_id(&frame.headers)?;
        // There is nothing to acknowledge, but a mode that does not exist is a mistake all the same.
        ack_mode(&frame.headers)?;
        let to = self.names().target(name).map_err(|why| self.unnamed(name, why))?;
        let head = self.lane_head(id.as_deref(), AckMode::Auto);
        let id = id.unwrap_or_else(|| nameless(name));
        self.check_id(&id)?;
        let serial = self.next_serial;
        self.next_serial += 1;
        let request = self
            .broker
            .ask(&self.presence.token, serial, name, head, &self.outbound);
        let timeout_ms = self.settings.app.timeout_ms;
        let properties = Properties {
            priority: 4,
            expires: Some(now.unix_ms.saturating_add(timeout_ms)),
            ..Properties::default()
        };
        let message = self.told(frame, name, &request.address, properties);
        let route = Route {
            to,
            create: false,
            owner: None,
            options: None,
        };
        let mut pending = Pending {
            request,
            id: id.clone(),
            destination: name.to_owned(),
            until: now.mono + timeout_ms,
            unplaced: None,
        };
        let until = now.mono + self.settings.app.patience_ms;
        self.put(&mut pending, route, message, until, now);
        self.remember_id(&id);
        self.ids.insert(id, serial);
        self.requests.insert(serial, pending);
        self.receipt(receipt, None);
        Ok(())
    }

    /// The message that a worker gets: the client's headers and body, and who it is.
    pub(super) fn told(
        &self,
        frame: &Frame<'_>,
        destination: &str,
        reply_to: &str,
        properties: Properties,
    ) -> Arc<Message> {
        let told = [
            ("user", self.principal.name.as_deref()),
            ("session", Some(&*self.presence.token)),
            ("x-app-command", Some(frame.command.as_str())),
            ("reply-to", Some(reply_to)),
        ];
        let told: Vec<_> = told
            .into_iter()
            .filter_map(|(name, value)| Some((name, escaped(value?, self.version))))
            .collect();
        let theirs = frame.headers.iter().zip(frame.headers.lines());
        let passed_on = theirs.filter_map(|((name, _), line)| is_passed_on(&name, frame.command).then_some(*line));
        // Ours first: of repeated headers the first counts.
        let lines = told.iter().map(|(name, value)| Line { name, value }).chain(passed_on);
        let headers = Headers::new(lines, frame.headers.is_escaped());
        self.broker.message(Draft {
            destination,
            headers: &headers,
            reply_to: None,
            body: frame.body,
            version: self.version,
            properties,
            publisher: self.number,
        })
    }

    /// Where the answer to a SEND goes: always to the client that sent it. A worker may have rights that the client has not,
    /// and must not be led to use them for it.
    pub(super) fn own_address(&self, temporary: Option<Arc<str>>, reply_to: Option<&str>) -> Result<Arc<str>, Fault> {
        if let Some(address) = temporary {
            return Ok(address);
        }
        let own = reply_to.unwrap_or(REPLIES);
        match own.strip_prefix(USER) {
            Some(local) if self.names().selection(own).is_ok() => {
                Ok(format!("{SESSION}{}/{local}", self.presence.token).into())
            }
            _ => Err(Fault::bad_header(
                "reply-to",
                own,
                "/user/DESTINATION, /temp-queue/NAME or /temp-topic/NAME: the answer to what is sent to /app goes to \
                 the session that sent it",
            )),
        }
    }

    /// Gives a request to a queue of workers, or keeps it until one can take it.
    fn put(&mut self, pending: &mut Pending, route: Route, message: Arc<Message>, until: u64, now: Now) {
        match self.broker.send(&route, &message, &self.outbound, now) {
            Sent::Done(_) => {}
            Sent::Blocked(why) => {
                // It asks again by itself: a call would be another's.
                self.broker.stop_waiting(&why, &self.outbound);
                pending.unplaced = Some(Box::new(Unplaced {
                    route,
                    message,
                    why,
                    retry_at: now.mono + RETRY_MS,
                    until,
                }));
            }
            Sent::Refused(why) => self.decline(pending, &Fault::from(why), now),
        }
    }

    /// Does what is due for requests.
    pub(super) fn advance_requests(&mut self, now: Now) {
        let due = |(serial, pending): (&u32, &Pending)| (pending.due() <= now.mono).then_some(*serial);
        let due: Vec<u32> = self.requests.iter().filter_map(due).collect();
        for serial in due {
            if let Some(mut pending) = self.requests.remove(&serial) {
                self.advance_request(&mut pending, now);
                match self.broker.is_pending(&pending.request, &self.outbound) {
                    true => _ = self.requests.insert(serial, pending),
                    false => self.forget_request(&pending),
                }
            }
        }
    }

    fn advance_request(&mut self, pending: &mut Pending, now: Now) {
        if !self.broker.awaits(&pending.request) {
            // The client is slow to take the answer.
            pending.unplaced = None;
            pending.until = now.mono + self.settings.app.timeout_ms;
            return;
        }
        match pending.unplaced.take() {
            Some(unplaced) if unplaced.until <= now.mono => {
                self.decline(pending, &Fault::from(unplaced.why), now);
            }
            Some(unplaced) => {
                let Unplaced {
                    route, message, until, ..
                } = *unplaced;
                self.put(pending, route, message, until, now);
            }
            None => {
                let limit = self.settings.app.timeout_ms;
                let detail = format!("No answer came within {limit} ms (app.timeout).");
                self.decline(pending, &Fault::new(fault::NO_ANSWER, detail), now);
            }
        }
    }

    /// Answers a request ourselves: nobody else will.
    fn decline(&mut self, pending: &mut Pending, why: &Fault, now: Now) {
        let lines = [("x-app-error", why.kind.code), ("content-type", "text/plain")];
        let headers = Headers::new(lines.map(|(name, value)| Line { name, value }), false);
        let message = self.broker.message(Draft {
            destination: &pending.destination,
            headers: &headers,
            reply_to: None,
            body: why.detail.as_bytes(),
            version: Version::V1_0,
            properties: Properties::default(),
            publisher: self.number,
        });
        self.broker.counters().requests_declined.one();
        self.broker.answer(&pending.request.address, &message, now);
        pending.until = now.mono + self.settings.app.timeout_ms;
    }

    /// Lets go of requests whose answers have been written: their ids are free.
    pub(super) fn forget_answered(&mut self) {
        let (broker, outbound) = (&self.broker, &self.outbound);
        let answered =
            |(serial, pending): (&u32, &Pending)| (!broker.is_pending(&pending.request, outbound)).then_some(*serial);
        let answered: Vec<u32> = self.requests.iter().filter_map(answered).collect();
        for serial in answered {
            if let Some(pending) = self.requests.remove(&serial) {
                self.forget_request(&pending);
            }
        }
    }

    /// Ends the request with that serial, if there is one: its answer is not written.
    pub(super) fn withdraw(&mut self, serial: u32) {
        if let Some(pending) = self.requests.remove(&serial) {
            self.forget_request(&pending);
        }
    }

    fn forget_request(&mut self, pending: &Pending) {
        self.broker.withdraw(&pending.request, &self.outbound);
        self.ids.remove(&pending.id);
    }

    /// Whether the session may work for that application destination, or for all of a pattern.
    pub(super) fn may_work(&self, queue: &Destination, name: &str) -> Result<(), Fault> {
        let allowed = match self.settings.app.workers {
            Workers::Anyone => true,
            Workers::Nobody => false,
            // Web pages and whatever comes through a proxy for them come over WebSocket.
            Workers::Permitted if self.settings.authentication.is_none() => self.link == Link::Tcp,
            Workers::Permitted => self.principal.may_work(&queue.name),
        };
        if allowed {
            return Ok(());
        }
        let detail = format!(
            "This client may not work for \"{name}\": app.workers says who may. Users need it in `worker` of their \
             [[users]]; where there are none, workers come over TCP."
        );
        Err(Fault::new(fault::FORBIDDEN, detail))
    }
}

/// Whether a header of the client's reaches the worker. One that differs from ours in what a worker's library may take
/// off it (blanks, and what becomes a blank in 1.0; upper case) does not.
fn is_passed_on(name: &str, command: Command) -> bool {
    let name = name.trim_matches(|c: char| c.is_whitespace() || c == ':');
    let is_told = TOLD.iter().any(|told| told.eq_ignore_ascii_case(name));
    let is_ours = command == Command::Subscribe && OF_SUBSCRIBE.contains(&name);
    !(is_told || is_ours)
}

fn escaped(text: &str, version: Version) -> String {
    if version == Version::V1_0 {
        return text.to_owned();
    }
    let mut octets = Vec::with_capacity(text.len());
    escape_into(&mut octets, text, version);
    String::from_utf8_lossy(&octets).into_owned()
}
