//! Application destinations: a SEND or SUBSCRIBE to `/app/NAME` is put to those who work for it, who are told who asks.
//!
//! A SUBSCRIBE is a request: one answer comes under its id, and nothing is left of it then.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::settings::Workers;
use super::subscribe::{ack_mode, nameless};
use super::{fault, Connected, Fault, Link};
use crate::broker::app::Request;
use crate::broker::destination::SESSION;
use crate::broker::private::USER;
use crate::broker::{AckMode, Draft, Limit, Message, Now, Properties, Route, Sent};
use crate::stomp::headers::escape_into;
use crate::stomp::{Command, Frame, Headers, Line, Version};

/// What tells a worker who asks and where to answer: nothing that the client says in them is passed on.
const TOLD: [&str; 4] = ["user", "session", "x-app-command", "reply-to"];

/// Where answers come that nobody wants elsewhere.
const REPLIES: &str = "/user/queue/replies";

/// Headers of a SUBSCRIBE that are between the client and us.
const OF_SUBSCRIBE: [&str; 2] = ["id", "ack"];

/// Milliseconds between two tries of a request that found no room.
const RETRY_MS: u64 = 50;

/// Requests of a session.
#[derive(Debug, Default)]
pub(super) struct Requests {
    /// By the serials of their subscriptions.
    by_serial: BTreeMap<u32, Pending>,
    /// When each is to be looked at, in `Now::mono`.
    due: BTreeSet<(u64, u32)>,
}

/// A SUBSCRIBE to an application destination that has no answer yet, or whose answer is not written yet.
#[derive(Debug)]
struct Pending {
    request: Request,
    /// The client's id of the subscription.
    id: String,
    /// When it has waited for its answer for too long, in `Now::mono`; `None` once it has one.
    until: Option<u64>,
    unplaced: Option<Box<Unplaced>>,
}

/// A request that no queue of workers has taken yet.
#[derive(Debug)]
struct Unplaced {
    route: Route,
    message: Arc<Message>,
    why: Limit,
    /// When to try again, if nobody calls for that.
    retry_at: Option<u64>,
    /// When it is given up.
    until: u64,
}

impl Pending {
    fn due(&self) -> Option<u64> {
        match &self.unplaced {
            Some(unplaced) => Some(unplaced.retry_at.map_or(unplaced.until, |at| at.min(unplaced.until))),
            None => self.until,
        }
    }
}

impl Requests {
    /// When one is to be looked at.
    pub(super) fn due(&self) -> Option<u64> {
        self.due.first().map(|(due, _)| *due)
    }

    fn insert(&mut self, serial: u32, pending: Pending) {
        self.due.extend(pending.due().map(|due| (due, serial)));
        self.by_serial.insert(serial, pending);
    }

    fn remove(&mut self, serial: u32) -> Option<Pending> {
        let pending = self.by_serial.remove(&serial)?;
        if let Some(due) = pending.due() {
            self.due.remove(&(due, serial));
        }
        Some(pending)
    }

    /// Those that are due, the longest overdue first.
    fn all_due(&self, now: Now) -> Vec<u32> {
        let due = self.due.iter().take_while(|(due, _)| *due <= now.mono);
        due.map(|(_, serial)| *serial).collect()
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
        let message = self.asks(frame, name, &request.address, now);
        let route = Route {
            to,
            create: false,
            owner: None,
            options: None,
        };
        let mut pending = Pending {
            request,
            id: id.clone(),
            until: Some(now.mono + self.settings.app.timeout_ms),
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

    /// What a worker is asked by a SUBSCRIBE, as long as somebody waits for the answer.
    fn asks(&self, frame: &Frame<'_>, name: &str, address: &str, now: Now) -> Arc<Message> {
        let properties = Properties {
            priority: 4,
            expires: Some(now.unix_ms.saturating_add(self.settings.app.timeout_ms)),
            ..Properties::default()
        };
        self.told(frame, name, address, properties)
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
                let calls = matches!(why, Limit::NoWorker(..));
                if !calls {
                    // A call for room says not to whom there is: one for a SEND of ours must not be taken for ours.
                    self.broker.stop_waiting(&why, &self.outbound);
                }
                pending.unplaced = Some(Box::new(Unplaced {
                    route,
                    message,
                    why,
                    retry_at: (!calls).then_some(now.mono + RETRY_MS),
                    until,
                }));
            }
            Sent::Refused(why) => self.decline(pending, &Fault::from(why), now),
        }
    }

    /// Gives requests to workers that have come.
    pub(super) fn find_workers(&mut self, now: Now) {
        let all = self.requests.by_serial.iter();
        let unplaced = all.filter_map(|(serial, pending)| Some((*serial, pending.unplaced.as_deref()?)));
        let called = unplaced.filter(|(_, unplaced)| {
            matches!(unplaced.why, Limit::NoWorker(..)) && !self.broker.waits_for_worker(&unplaced.why)
        });
        let called: Vec<u32> = called.map(|(serial, _)| serial).collect();
        for serial in called {
            self.with_request(serial, |session, pending| session.try_again(pending, now));
        }
    }

    /// Does what is due for requests.
    pub(super) fn advance_requests(&mut self, now: Now) {
        // What one found full is full for those behind it.
        let mut full = BTreeSet::new();
        for serial in self.requests.all_due(now) {
            self.with_request(serial, |session, pending| {
                session.advance_request(pending, &mut full, now)
            });
        }
    }

    /// Changes a request, and with it when it is due.
    fn with_request(&mut self, serial: u32, change: impl FnOnce(&mut Connected, &mut Pending)) {
        if let Some(mut pending) = self.requests.remove(serial) {
            change(self, &mut pending);
            self.requests.insert(serial, pending);
        }
    }

    /// `full` are the queues, or `None` for the memory and the disk, in which there was no room just now.
    fn advance_request(&mut self, pending: &mut Pending, full: &mut BTreeSet<Option<Arc<str>>>, now: Now) {
        if !self.broker.awaits(&pending.request) {
            // The client is slow to take the answer.
            pending.unplaced = None;
            pending.until = None;
            return;
        }
        match &mut pending.unplaced {
            Some(unplaced) if unplaced.until <= now.mono => {
                let why = unplaced.why.clone();
                self.broker.stop_waiting(&why, &self.outbound);
                pending.unplaced = None;
                self.decline(pending, &Fault::from(why), now);
            }
            Some(unplaced) if full.contains(&full_queue(&unplaced.why)) => {
                unplaced.retry_at = Some(now.mono + RETRY_MS);
            }
            Some(_) => {
                self.try_again(pending, now);
                full.extend(pending.unplaced.as_ref().map(|unplaced| full_queue(&unplaced.why)));
            }
            None => {
                let limit = self.settings.app.timeout_ms;
                let detail = format!("No answer came within {limit} ms (app.timeout).");
                self.decline(pending, &Fault::new(fault::NO_ANSWER, detail), now);
            }
        }
    }

    fn try_again(&mut self, pending: &mut Pending, now: Now) {
        if let Some(unplaced) = pending.unplaced.take() {
            let Unplaced {
                route, message, until, ..
            } = *unplaced;
            self.put(pending, route, message, until, now);
        }
    }

    /// Answers a request ourselves: nobody else will.
    fn decline(&mut self, pending: &mut Pending, why: &Fault, now: Now) {
        let address = &pending.request.address;
        self.broker.decline(address, why.kind.code, &why.detail, now);
        pending.until = None;
    }

    /// Ends the request with that serial, if there is one: its answer is written, or is not to be.
    pub(super) fn end_request(&mut self, serial: u32) {
        let Some(pending) = self.requests.remove(serial) else {
            return;
        };
        if let Some(unplaced) = &pending.unplaced {
            self.broker.stop_waiting(&unplaced.why, &self.outbound);
        }
        self.broker.withdraw(&pending.request, &self.outbound);
        self.ids.remove(&pending.id);
    }

    /// Ends all requests, with their session.
    pub(super) fn end_requests(&mut self) {
        while let Some(serial) = self.requests.by_serial.keys().next().copied() {
            self.end_request(serial);
        }
    }

    /// Whether the session may subscribe to the queue called `name`, which is or has the dead letters of the queue of workers
    /// `queue`.
    pub(super) fn may_work(&self, queue: &str, name: &str) -> Result<(), Fault> {
        let allowed = match self.settings.app.workers {
            Workers::Anyone => true,
            Workers::Nobody => false,
            // Web pages and whatever comes through a proxy for them come over WebSocket.
            Workers::Permitted if self.settings.authentication.is_none() => self.link == Link::Tcp,
            Workers::Permitted => self.principal.may_work(queue),
        };
        if allowed {
            return Ok(());
        }
        let detail = format!(
            "\"{name}\" is for those who work for it: app.workers says who may. Users need it in `worker` of their \
             [[users]]; where there are none, workers come over TCP."
        );
        Err(Fault::new(fault::FORBIDDEN, detail))
    }
}

/// The queue in which there is no room; `None` if it is the memory or the disk.
fn full_queue(why: &Limit) -> Option<Arc<str>> {
    match why {
        Limit::Queue(name, _) | Limit::NoWorker(name, _) => Some(Arc::clone(name)),
        Limit::Memory(..) | Limit::Disk(..) => None,
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
