//! Application destinations: workers, requests, answers.

use std::sync::Arc;

use hoofbeat::broker::queue::Full;
use hoofbeat::broker::settings::WhenFull;
use hoofbeat::broker::Limit;
use hoofbeat::session::settings::Workers;

use super::frames::{twin, Ask};
use super::*;

/// Milliseconds between two tries of a request for which there is no room.
const RETRY: u64 = 50;

/// A SUBSCRIBE to an application destination, until its answer is written.
#[derive(Debug)]
pub struct Request {
    pub serial: u32,
    pub address: String,
    pub destination: String,
    pub answered: bool,
    /// When it has waited for its answer for too long; `None` once it was seen to have one.
    pub until: Option<u64>,
    pub unplaced: Option<Unplaced>,
}

/// What no queue of workers has taken yet.
#[derive(Debug)]
pub struct Unplaced {
    pub route: Route,
    pub message: Rc<Message>,
    pub code: &'static str,
    words: String,
    /// A worker has come for it.
    pub called: bool,
    retry_at: Option<u64>,
    until: u64,
}

impl Request {
    pub fn due(&self) -> Option<u64> {
        match &self.unplaced {
            Some(unplaced) => Some(unplaced.retry_at.map_or(unplaced.until, |at| at.min(unplaced.until))),
            None => self.until,
        }
    }
}

/// How specific a pattern is, from the left: just so, `*`, any number.
fn rank(pattern: &str) -> Vec<u8> {
    let of = |(_, segment): &(char, String)| match segment.as_str() {
        "*" => 1,
        "#" | "**" | ">" => 2,
        _ => 0,
    };
    segments(pattern).iter().map(of).collect()
}

/// A pattern as a name of a queue: `_` for one segment, `__` for any number.
pub fn plain(pattern: &str) -> String {
    let parts = segments(pattern).into_iter().map(|(mark, segment)| {
        let segment = match segment.as_str() {
            "*" => "_",
            "#" | "**" | ">" => "__",
            other => other,
        };
        format!("{mark}{segment}")
    });
    parts.collect::<String>().trim_start().to_owned()
}

impl Reference {
    fn request(&mut self, s: usize, serial: u32) -> Option<&mut Request> {
        self.sessions[s].requests.iter_mut().find(|r| r.serial == serial)
    }

    fn app_route(&self, destination: &str) -> Result<Route, &'static str> {
        let local = destination.strip_prefix("/app/").unwrap_or_default();
        if local.is_empty() || is_wild(local) || destination.len() > self.broker.destination_bytes {
            return Err("bad-destination");
        }
        Ok(Route {
            name: format!("/worker/{local}"),
            queue: true,
            reply: false,
            create: false,
            owner: None,
            app: true,
        })
    }

    /// The queue of the most specific name or pattern that somebody works for.
    pub fn worked(&self, name: &str) -> Option<String> {
        self.all_worked(name).into_iter().next()
    }

    /// The queues that are for the name and that somebody works for, the most specific first.
    pub fn all_worked(&self, name: &str) -> Vec<String> {
        let works = |consumer: &Consumer| consumer.active && !self.sessions[consumer.session].finished;
        let fits =
            |queue: &str| queue == name || queue.starts_with("/worker/") && is_wild(queue) && matches(queue, name);
        let all = self.queues.iter().filter(|(queue, _)| fits(queue));
        let worked = all.filter(|(_, queue)| queue.consumers.iter().any(works));
        let mut worked: Vec<String> = worked.map(|(queue, _)| queue.clone()).collect();
        worked.sort_by_cached_key(|queue| (queue != name, rank(queue), queue.clone()));
        worked
    }

    /// Whether the session may subscribe to what workers do.
    pub fn may_work(&mut self, s: usize) -> Result<(), &'static str> {
        match self.settings.app.workers {
            Workers::Anyone => Ok(()),
            Workers::Permitted if self.sessions[s].tcp => Ok(()),
            Workers::Permitted | Workers::Nobody => Err("forbidden"),
        }
    }

    /// Somebody works for that queue's name now, or for all names of its pattern.
    pub fn worker_came(&mut self, queue: &str) {
        for session in &mut self.sessions {
            for unplaced in session.requests.iter_mut().filter_map(|r| r.unplaced.as_mut()) {
                let name = &unplaced.route.name;
                unplaced.called |=
                    unplaced.code == "no-worker" && (queue == name || is_wild(queue) && matches(queue, name));
            }
        }
    }

    /// What a worker is given: who asks and where to answer, then what the client says, but of these.
    fn told(&self, s: usize, frame: &Frame, destination: &str, reply_to: &str) -> (Vec<(String, String)>, Frame) {
        let session = &self.sessions[s];
        let mut told = Frame::new(&frame.command).body(&frame.body);
        if let Some(user) = &session.user {
            told = told.with("user", user);
        }
        told = told.with("session", &session.token);
        told = told.with("x-app-command", &frame.command).with("reply-to", reply_to);
        for (name, value) in &frame.headers {
            let plain = name
                .trim_matches(|c: char| c.is_whitespace() || c == ':')
                .to_lowercase();
            let ours = ["user", "session", "x-app-command", "reply-to"].contains(&plain.as_str());
            let of_subscribe = frame.command == "SUBSCRIBE" && ["id", "ack"].contains(&name.as_str());
            if !ours && !of_subscribe {
                told = told.with(name, value);
            }
        }
        let mut carried = told.headers.clone();
        let withheld = ["destination", "receipt", "transaction", "content-length"];
        carried.retain(|(name, _)| !withheld.contains(&name.as_str()));
        debug_assert!(destination.starts_with("/app/"));
        (carried, told)
    }

    /// A SEND to an application destination, as it goes to the queue of its workers.
    pub fn app_send(
        &mut self,
        s: usize,
        frame: &Frame,
        priority: u8,
        expires: Option<u64>,
    ) -> Result<Act, &'static str> {
        let destination = frame.get("destination").unwrap_or_default();
        let route = self.app_route(destination)?;
        let address = match frame.get("reply-to") {
            Some(wished) if wished.starts_with("/temp-queue/") => {
                let address = self.name(s, wished)?.0;
                self.await_replies(s, wished, &address)?;
                address
            }
            other => {
                let own = other.unwrap_or("/user/queue/replies").strip_prefix("/user/");
                let own = own.filter(|local| self.own_name(s, local).is_ok());
                let local = own.ok_or("bad-header")?;
                format!("/reply-user/{}/{local}", self.sessions[s].token)
            }
        };
        let (carried, told) = self.told(s, frame, destination, &address);
        let message = Message {
            publisher: s,
            destination: destination.to_owned(),
            carried,
            body: frame.body.clone(),
            priority,
            expires,
            twin: twin(&told, destination, self.sessions[s].version, None),
        };
        Ok(Act::Send(route, Rc::new(message)))
    }

    /// A SUBSCRIBE to an application destination.
    pub fn on_request(&mut self, s: usize, frame: &Frame) -> Result<bool, &'static str> {
        let destination = frame.get("destination").unwrap_or_default();
        let shown = frame.get("id").map(str::to_owned);
        if shown.is_none() && self.sessions[s].version > 0 {
            return Err("missing-header");
        }
        if !matches!(frame.get("ack"), None | Some("auto" | "client" | "client-individual")) {
            return Err("bad-header");
        }
        let route = self.app_route(destination)?;
        let ask = Ask::request(shown, destination);
        self.check_id(s, &ask.key)?;
        let serial = self.sessions[s].serial;
        self.sessions[s].serial += 1;
        let address = format!("/reply-app/{}/{serial}", self.sessions[s].token);
        let (carried, told) = self.told(s, frame, destination, &address);
        let timeout = self.settings.app.timeout_ms;
        let message = Rc::new(Message {
            publisher: s,
            destination: destination.to_owned(),
            carried,
            body: frame.body.clone(),
            priority: 4,
            expires: Some(EPOCH + self.now + timeout),
            twin: twin(&told, destination, self.sessions[s].version, None),
        });
        self.sessions[s].subs.push(Sub {
            serial,
            key: ask.key.clone(),
            shown: ask.shown.clone(),
            mode: Mode::Auto,
            live: true,
            queued: false,
            source: None,
            no_local: false,
            lane: Some(VecDeque::new()),
            skipped: 0,
            feed: Feed::Request,
        });
        self.sessions[s].requests.push(Request {
            serial,
            address,
            destination: destination.to_owned(),
            answered: false,
            until: Some(self.now + timeout),
            unplaced: None,
        });
        self.mark("request");
        let until = self.now + self.settings.app.patience_ms;
        self.place(s, serial, route, message, until);
        self.remember_id(s, &ask.key);
        Ok(true)
    }

    /// Gives a request to its workers, or keeps it until it can be given.
    fn place(&mut self, s: usize, serial: u32, route: Route, message: Rc<Message>, until: u64) {
        let sent = self.send(&route, &message);
        let (Sent::Blocked(code) | Sent::Refused(code)) = sent else {
            self.mark("request placed");
            return;
        };
        let words = self.words(code, &route, &message);
        if matches!(sent, Sent::Refused(_)) {
            return self.decline(s, serial, code, words);
        }
        self.mark(match code {
            "no-worker" => "request without a worker",
            _ => "request without room",
        });
        let retry_at = (code != "no-worker").then_some(self.now + RETRY);
        let request = self.request(s, serial).expect("it is placed");
        request.unplaced = Some(Unplaced {
            route,
            message,
            code,
            words,
            called: false,
            retry_at,
            until,
        });
    }

    /// The words of a limit are the core's: how long they are counts in budgets.
    fn words(&self, code: &str, route: &Route, message: &Rc<Message>) -> String {
        let limit = match code {
            "memory-full" => {
                let held = self.octets(&[Rc::as_ptr(message)]) + self.cost_of_queues();
                Limit::Memory(held, self.broker.memory_high_water)
            }
            "no-worker" => Limit::NoWorker(Arc::from(route.name.as_str()), 0),
            _ => {
                let name = self.worked(&route.name).expect("it is full");
                let queue = &self.queues[&name];
                let octets = queue.entries.iter().map(|e| e.message.size()).sum();
                let full = Full {
                    messages: (queue.entries.len(), queue.policy.messages),
                    bytes: (octets, queue.policy.bytes),
                    verdict: WhenFull::Block,
                };
                Limit::Queue(Arc::from(name.as_str()), full)
            }
        };
        hoofbeat::session::Fault::from(limit).detail
    }

    /// The broker answers a request itself.
    fn decline(&mut self, s: usize, serial: u32, code: &'static str, words: String) {
        let request = self.request(s, serial).expect("it is declined");
        request.until = None;
        let address = request.address.clone();
        self.decline_at(&address, code, words);
    }

    fn decline_at(&mut self, address: &str, code: &'static str, words: String) {
        let frame = Frame::new("MESSAGE")
            .with("x-app-error", code)
            .with("content-type", "text/plain");
        let frame = frame.body(words);
        let message = Message {
            publisher: usize::MAX,
            destination: String::new(),
            carried: frame.headers.clone(),
            body: frame.body.clone(),
            priority: 4,
            expires: None,
            twin: twin(&frame, "", 0, None),
        };
        if self.answer(address, &message) == Some(true) {
            self.count("requests_declined", 1);
            self.mark(match code {
                "no-worker" => "declined: no-worker",
                "no-answer" => "declined: no-answer",
                "queue-full" | "memory-full" => "declined: no room",
                _ => "declined: given up",
            });
        }
    }

    /// What a queue of workers gave up: if it was a request, whoever asked is told.
    pub fn give_up(&mut self, queue: &str, message: &Message, reason: &'static str) {
        let address = message.get("reply-to").filter(|to| to.starts_with("/reply-app/"));
        if let Some(address) = address.filter(|_| queue.starts_with("/worker/")) {
            let words = format!("Those who work for it gave the request up ({reason}).");
            self.decline_at(address, reason, words);
        }
    }

    /// What is sent to an address becomes the answer of the request that waits there; `None` if none does, else whether
    /// it was taken.
    pub fn answer(&mut self, address: &str, message: &Message) -> Option<bool> {
        let (s, serial, destination) = self.sessions.iter_mut().enumerate().find_map(|(s, session)| {
            let request = session
                .requests
                .iter_mut()
                .find(|r| r.address == address && !r.answered)?;
            request.answered = true;
            Some((s, request.serial, request.destination.clone()))
        })?;
        let shown = Rc::new(message.shown_as(&destination));
        let taken = self.deliver((s, serial), &shown, &TopicPolicy::Disconnect);
        self.mark(if taken { "request answered" } else { "answer in vain" });
        Some(taken)
    }

    /// A message to what one session has subscribed under `/user`; how many subscriptions took it.
    pub fn hand_to_session(&mut self, address: &str, message: &Message) -> usize {
        let rest = address.strip_prefix("/reply-user/").unwrap_or_default();
        let (token, local) = rest.split_once('/').unwrap_or_default();
        let found = self
            .sessions
            .iter()
            .position(|s| s.token == token && s.entered.is_some());
        let Some((s, name)) = found.and_then(|s| Some((s, self.private_name(s, local)?))) else {
            return 0;
        };
        let own = |sub: &&Sub| sub.live && matches!(&sub.feed, Feed::Topic(topic) if *topic == name);
        let own: Vec<u32> = self.sessions[s].subs.iter().filter(own).map(|sub| sub.serial).collect();
        let shown = Rc::new(message.shown_as(&format!("/user/{local}")));
        let policy = self.topic_policy(&name);
        let taken = own
            .iter()
            .filter(|serial| self.deliver((s, **serial), &shown, &policy))
            .count();
        if taken > 0 {
            self.mark("answer to a session");
        }
        taken
    }

    /// What a session calls its own destinations.
    fn private_name(&self, s: usize, local: &str) -> Option<String> {
        self.own_name(s, local).ok()
    }

    /// Looks at the requests that are due, the longest overdue first.
    pub fn advance_requests(&mut self, s: usize) {
        let requests = self.sessions[s].requests.iter();
        let mut due: Vec<(u64, u32)> = requests.filter_map(|r| Some((r.due()?, r.serial))).collect();
        due.retain(|(due, _)| *due <= self.now);
        due.sort_unstable();
        let mut full: Vec<String> = Vec::new();
        for (_, serial) in due {
            self.advance_request(s, serial, &mut full);
        }
    }

    fn advance_request(&mut self, s: usize, serial: u32, full: &mut Vec<String>) {
        let now = self.now;
        let key = |unplaced: &Unplaced, model: &Reference| match unplaced.code {
            "queue-full" => unplaced.words.split('"').nth(1).unwrap_or_default().to_owned(),
            "memory-full" => String::new(),
            _ => model
                .worked(&unplaced.route.name)
                .unwrap_or(unplaced.route.name.clone()),
        };
        let request = self.request(s, serial).expect("it is due");
        if request.answered {
            request.until = None;
            request.unplaced = None;
            return;
        }
        let Some(unplaced) = request.unplaced.take() else {
            let words = format!(
                "No answer came within {} ms (app.timeout).",
                self.settings.app.timeout_ms
            );
            return self.decline(s, serial, "no-answer", words);
        };
        if unplaced.until <= now {
            return self.decline(s, serial, unplaced.code, unplaced.words);
        }
        if full.contains(&key(&unplaced, self)) {
            let request = self.request(s, serial).expect("it is due");
            request.unplaced = Some(Unplaced {
                retry_at: Some(now + RETRY),
                ..unplaced
            });
            return;
        }
        self.place(s, serial, unplaced.route, unplaced.message, unplaced.until);
        let again = self.request(s, serial).and_then(|r| r.unplaced.take());
        if let Some(again) = again {
            full.push(key(&again, self));
            self.request(s, serial).expect("it is due").unplaced = Some(again);
        }
    }

    /// Gives the requests for which a worker has come to the workers.
    pub fn find_workers(&mut self, s: usize) {
        let called = |r: &&Request| r.unplaced.as_ref().is_some_and(|unplaced| unplaced.called);
        let called: Vec<u32> = self.sessions[s]
            .requests
            .iter()
            .filter(called)
            .map(|r| r.serial)
            .collect();
        for serial in called {
            let unplaced = self
                .request(s, serial)
                .and_then(|r| r.unplaced.take())
                .expect("it is called");
            self.mark("request called");
            self.place(s, serial, unplaced.route, unplaced.message, unplaced.until);
        }
    }

    /// With every socket empty: who waits for a worker although there is one.
    pub fn forgotten_by_workers(&self) -> Option<String> {
        for (at, session) in self.sessions.iter().enumerate().filter(|(_, s)| s.state == State::Open) {
            let unplaced = session.requests.iter().filter_map(|r| r.unplaced.as_ref());
            let mut waiting = unplaced.filter(|unplaced| unplaced.code == "no-worker");
            if waiting.any(|unplaced| unplaced.called || self.worked(&unplaced.route.name).is_some()) {
                return Some(format!("a request of client {at} waits although there is a worker"));
            }
            let blocked = session.blocked.as_ref().filter(|b| b.code == "no-worker");
            let worked = |act: &Act| match act {
                Act::Send(route, _) if route.app => self.worked(&route.name).is_some(),
                _ => true,
            };
            if blocked.is_some_and(|b| b.acts.iter().all(worked)) {
                return Some(format!("client {at} waits for a worker although there is one"));
            }
        }
        None
    }
}

impl Message {
    /// As it goes on from another destination.
    fn shown_as(&self, destination: &str) -> Message {
        Message {
            publisher: self.publisher,
            destination: destination.to_owned(),
            carried: self.carried.clone(),
            body: self.body.clone(),
            priority: self.priority,
            expires: None,
            twin: self.twin.forwarded(0, destination, &[]),
        }
    }
}
