//! What each frame of a client means.

use std::rc::Rc;
use std::sync::Arc;

use hoofbeat::broker::{Draft, Gauge, Properties};
use hoofbeat::stomp::{Headers, Line, Version};

use super::*;

impl Reference {
    /// `CONNECT`: the version, and from here on a session.
    pub fn connect(&mut self, s: usize, frame: &Frame) -> Result<(), Fault> {
        let receipt = frame.get("receipt").map(str::to_owned);
        if !matches!(frame.command.as_str(), "CONNECT" | "STOMP") {
            return Err(("not-connected", receipt));
        }
        let offered = frame.get("accept-version").unwrap_or("1.0");
        let version = [(2, "1.2"), (1, "1.1"), (0, "1.0")]
            .into_iter()
            .find(|(_, name)| offered.split(',').any(|o| o == *name))
            .ok_or(("unsupported-version", None))?
            .0;
        let entered = Some(self.entered());
        let session = &mut self.sessions[s];
        session.version = version;
        session.user = frame.get("login").map(str::to_owned);
        session.entered = entered;
        session.control.push_back(Expected::Connected);
        session.state = State::Open;
        Ok(())
    }

    /// A frame of a connected client; whether it took effect (or waits, blocked).
    pub fn frame(&mut self, s: usize, frame: &Frame, ticket: Option<u64>) -> Result<bool, &'static str> {
        let version = self.sessions[s].version;
        match frame.command.as_str() {
            "SEND" => self.on_send(s, frame, ticket),
            "ACK" => self.on_ack(s, frame),
            "NACK" if version > 0 => self.on_ack(s, frame),
            "SUBSCRIBE" => self.on_subscribe(s, frame),
            "UNSUBSCRIBE" => self.on_unsubscribe(s, frame),
            "BEGIN" => self.on_begin(s, frame),
            "COMMIT" => self.on_commit(s, frame, ticket),
            "ABORT" => {
                let acts = self.take_transaction(s, frame)?;
                self.release(&acts);
                self.count("aborted", 1);
                Ok(true)
            }
            "DISCONNECT" => {
                self.sessions[s].leaving = Some("disconnect");
                Ok(true)
            }
            "CONNECT" | "STOMP" => Err("already-connected"),
            _ => Err("unknown-command"),
        }
    }

    fn on_send(&mut self, s: usize, frame: &Frame, ticket: Option<u64>) -> Result<bool, &'static str> {
        let number = |name: &str| match frame.get(name).map(str::parse::<u64>) {
            Some(Err(_)) => Err("bad-header"),
            Some(Ok(number)) => Ok(Some(number)),
            None => Ok(None),
        };
        let now = EPOCH + self.now;
        let ends = [
            number("expires")?.filter(|at| *at > 0),
            number("ttl")?.filter(|ms| *ms > 0).map(|ms| now + ms),
            number("expiration")?.map(|ms| now + ms),
        ];
        let priority = number("priority")?.map_or(4, |p| p.min(9) as u8);
        let destination = frame.get("destination").ok_or("missing-header")?;
        let expires = ends.into_iter().flatten().min();
        if destination.starts_with("/app/") {
            let act = self.app_send(s, frame, priority, expires)?;
            return self.send_act(s, act, frame, ticket);
        }
        let user = destination.strip_prefix("/user/");
        let user = user.map(|rest| self.user_shown(s, rest)).transpose()?;
        let (name, queue, reply) = match &user {
            Some(_) => (destination.to_owned(), false, true),
            None => self.name(s, destination)?,
        };
        let destination = user.as_deref().unwrap_or(destination);
        if !queue && is_wild(&name) {
            return Err("bad-destination");
        }
        let mine = reply && name.split('/').nth(2) == Some(&self.sessions[s].temporary);
        if queue && mine {
            self.sessions[s].owned.insert(name.clone());
        }
        let route = Route {
            name,
            queue,
            reply,
            app: false,
            create: !reply || mine,
            owner: mine.then_some(s),
        };
        let mut carried = frame.headers.clone();
        carried.retain(|(n, _)| !["destination", "receipt", "transaction", "content-length"].contains(&n.as_str()));
        let back = carried
            .iter_mut()
            .find(|(n, v)| n == "reply-to" && v.starts_with("/temp-queue/"));
        let mut address = None;
        if let Some((_, to)) = back {
            let wished = to.clone();
            *to = self.name(s, &wished)?.0;
            address = Some(to.clone());
            self.await_replies(s, &wished, to)?;
        }
        let message = Message {
            publisher: s,
            destination: destination.to_owned(),
            carried,
            body: frame.body.clone(),
            priority,
            expires,
            twin: twin(frame, destination, self.sessions[s].version, address.as_deref()),
        };
        self.send_act(s, Act::Send(route, Rc::new(message)), frame, ticket)
    }

    fn send_act(&mut self, s: usize, act: Act, frame: &Frame, ticket: Option<u64>) -> Result<bool, &'static str> {
        let size = match &act {
            Act::Send(_, message) => message.size(),
            Act::Settle(..) => 0,
        };
        match frame.get("transaction") {
            Some(id) => self.buffer(s, id, act, size),
            None => self.attempt_or_block(s, vec![act], false, frame, ticket),
        }
    }

    fn attempt_or_block(
        &mut self,
        s: usize,
        acts: Vec<Act>,
        commit: bool,
        frame: &Frame,
        ticket: Option<u64>,
    ) -> Result<bool, &'static str> {
        match self.attempt(&acts, commit) {
            Sent::Done => Ok(true),
            Sent::Refused(code) => {
                self.release(&acts);
                self.mark(if commit { "COMMIT refused" } else { "SEND refused" });
                Err(code)
            }
            Sent::Blocked(code) => {
                self.count("blocked", 1);
                self.mark(if commit { "COMMIT blocked" } else { "SEND blocked" });
                self.mark(match code {
                    "memory-full" => "memory full",
                    "no-worker" => "SEND without a worker",
                    _ => "queue full",
                });
                self.sessions[s].blocked = Some(Blocked {
                    acts,
                    commit,
                    code,
                    receipt: ticket.zip(frame.get("receipt").map(str::to_owned)),
                    since: self.now,
                    retry_at: self.retry_at(code),
                    deferred: VecDeque::new(),
                });
                Ok(false)
            }
        }
    }

    fn buffer(&mut self, s: usize, id: &str, act: Act, octets: usize) -> Result<bool, &'static str> {
        let transaction = self.sessions[s].transactions.get_mut(id).ok_or("unknown-transaction")?;
        transaction.acts.push(act);
        transaction.octets += octets;
        let frames = transaction.acts.len() > self.settings.transaction_frames;
        match frames || transaction.octets > self.settings.transaction_bytes {
            true => Err("transaction-too-large"),
            false => Ok(true),
        }
    }

    fn on_begin(&mut self, s: usize, frame: &Frame) -> Result<bool, &'static str> {
        let id = frame.get("transaction").ok_or("missing-header")?;
        let open = &mut self.sessions[s].transactions;
        if open.contains_key(id) {
            return Err("duplicate-transaction");
        }
        if open.len() >= self.settings.transactions {
            return Err("too-many-transactions");
        }
        let since = self.now;
        let begun = Transaction {
            since,
            ..Transaction::default()
        };
        open.insert(id.to_owned(), begun);
        Ok(true)
    }

    fn take_transaction(&mut self, s: usize, frame: &Frame) -> Result<Vec<Act>, &'static str> {
        let id = frame.get("transaction").ok_or("missing-header")?;
        let open = self.sessions[s].transactions.remove(id);
        open.map(|t| t.acts).ok_or("unknown-transaction")
    }

    fn on_commit(&mut self, s: usize, frame: &Frame, ticket: Option<u64>) -> Result<bool, &'static str> {
        let acts = self.take_transaction(s, frame)?;
        let done = self.attempt_or_block(s, acts, true, frame, ticket)?;
        if done {
            self.forget_settled(s);
        }
        Ok(done)
    }

    fn on_ack(&mut self, s: usize, frame: &Frame) -> Result<bool, &'static str> {
        let settle = match (frame.command.as_str(), frame.get("requeue")) {
            ("ACK", _) => Settle::Ack,
            (_, None | Some("true")) => Settle::Requeue,
            (_, Some("false")) => Settle::Reject,
            _ => return Err("bad-header"),
        };
        let name = if self.sessions[s].version == 2 {
            "id"
        } else {
            "message-id"
        };
        let id = frame.get(name).ok_or("missing-header")?;
        let transaction = frame.get("transaction");
        if transaction.is_some_and(|id| !self.sessions[s].transactions.contains_key(id)) {
            return Err("unknown-transaction");
        }
        if id.starts_with(&format!("{}-", self.boot)) {
            self.mark("ACK of an auto message");
            return Ok(true);
        }
        let given = self.sessions[s].deliveries.get(id).cloned();
        let (serial, queue, consumer, tag) = given.ok_or("unknown-ack")?;
        let version = self.sessions[s].version;
        let Some(sub) = self.sessions[s].sub(serial) else {
            self.mark("ACK after its subscription");
            return Ok(true);
        };
        if version == 1 && frame.get("subscription").is_some_and(|named| named != sub.key) {
            return Err("unknown-ack");
        }
        let live = sub.live;
        let tags = self.queues.get(&queue).map_or(Vec::new(), |q| q.covered(consumer, tag));
        if tags.is_empty() {
            self.mark("late ACK");
            return Ok(true);
        }
        if tags.len() > 1 {
            self.mark("cumulative ACK");
        }
        if let Some(transaction) = transaction {
            self.enter(&queue, consumer, &tags, true);
            self.mark("ACK in a transaction");
            return self.buffer(s, transaction, Act::Settle(queue, consumer, tags, settle), 0);
        }
        self.settle(&queue, consumer, &tags, settle);
        if !live {
            self.mark("ACK after UNSUBSCRIBE");
            self.forget_if_settled(s, serial);
        }
        Ok(true)
    }

    fn on_subscribe(&mut self, s: usize, frame: &Frame) -> Result<bool, &'static str> {
        let destination = frame.get("destination").ok_or("missing-header")?;
        if destination.starts_with("/app/") {
            return self.on_request(s, frame);
        }
        let shown = frame.get("id").map(str::to_owned);
        if shown.is_none() && self.sessions[s].version > 0 {
            return Err("missing-header");
        }
        let user = destination.strip_prefix("/user/");
        let user = user.map(|local| self.own_name(s, local)).transpose()?;
        let (name, queue, reply) = match user {
            Some(name) => {
                self.mark("a user's own destination");
                (name, false, false)
            }
            None if destination
                .strip_prefix("/worker/")
                .is_some_and(|local| !local.is_empty()) =>
            {
                self.may_work(s)?;
                (destination.to_owned(), true, false)
            }
            None => self.name(s, destination)?,
        };
        if name.starts_with("/queue/DLQ.app/") {
            self.may_work(s)?;
        }
        let unsupported = frame.get("x-priority").is_some() || queue && frame.is("no-local", "true");
        if !queue && frame.is("durable", "true") {
            // Durable subscriptions are tried in src/session/tests; here they lack auto-delete:false.
            return Err("missing-header");
        }
        if unsupported {
            return Err("unsupported");
        }
        if reply && name.split('/').nth(2) != Some(&self.sessions[s].temporary) {
            return Err("not-owner");
        }
        if reply {
            self.replace_reply_subscription(s, &name);
        }
        let mode = match frame.get("ack") {
            None | Some("auto") => Mode::Auto,
            Some("client") => Mode::Client,
            Some("client-individual") => Mode::Individual,
            Some(_) => return Err("bad-header"),
        };
        let prefetch = frame.get("prefetch-count").map(str::parse::<usize>).transpose();
        let ask = Ask {
            key: shown.clone().unwrap_or_else(|| format!("\0{destination}")),
            shown,
            name,
            queue,
            mode,
            prefetch: prefetch.map_err(|_| "bad-header")?,
            no_local: frame.is("no-local", "true"),
            exclusive: queue && (reply || frame.is("exclusive", "true")),
            selector: frame.get("selector").map(str::to_owned).filter(|_| queue),
            alone: frame.is("activemq.exclusive", "true"),
        };
        self.subscribe(s, ask)?;
        Ok(true)
    }

    /// A `reply-to:/temp-queue/x` without a subscription is subscribed to under that name.
    pub fn await_replies(&mut self, s: usize, wished: &str, address: &str) -> Result<(), &'static str> {
        let fed = |sub: &Sub| matches!(&sub.feed, Feed::Queue(name) if name == address) || sub.key == wished;
        if self.sessions[s].subs.iter().any(|sub| sub.live && fed(sub)) {
            return Ok(());
        }
        self.mark("reply-to subscribed");
        self.subscribe(
            s,
            Ask {
                key: wished.to_owned(),
                shown: Some(wished.to_owned()),
                name: address.to_owned(),
                queue: true,
                mode: Mode::Auto,
                prefetch: None,
                no_local: false,
                exclusive: true,
                selector: None,
                alone: false,
            },
        )
    }

    /// An explicit SUBSCRIBE takes the place of the one that a `reply-to` made.
    fn replace_reply_subscription(&mut self, s: usize, name: &str) {
        let automatic = |sub: &&Sub| {
            let fed = matches!(&sub.feed, Feed::Queue(from) if from == name);
            sub.live && fed && sub.key.starts_with("/temp-queue/")
        };
        if let Some(serial) = self.sessions[s].subs.iter().find(automatic).map(|sub| sub.serial) {
            self.end_subscription(s, serial);
            self.mark("reply-to subscription replaced");
        }
    }

    fn subscribe(&mut self, s: usize, ask: Ask) -> Result<(), &'static str> {
        self.check_id(s, &ask.key)?;
        let subscriptions = |subs: &[Sub]| subs.iter().filter(|sub| !matches!(sub.feed, Feed::Request)).count();
        while subscriptions(&self.sessions[s].subs) >= 2 * self.settings.subscriptions {
            let late = self.sessions[s].subs.iter().find(|sub| !sub.live).map(|sub| sub.serial);
            let Some(late) = late else { break };
            self.abandon(s, late, None);
            self.mark("late subscription forgotten");
        }
        let serial = self.sessions[s].serial;
        let feed = self.feed(s, &ask)?;
        let manual = ask.mode != Mode::Auto;
        let consumer = self.number();
        let source = match &feed {
            Feed::Queue(name) => Some((name.clone(), consumer)),
            _ if manual => Some((format!("backlog {consumer}"), consumer)),
            _ => None,
        };
        self.sessions[s].subs.push(Sub {
            serial,
            key: ask.key.clone(),
            shown: ask.shown.clone(),
            mode: ask.mode,
            live: true,
            queued: source.is_some(),
            source: source.clone(),
            no_local: ask.no_local,
            lane: Some(VecDeque::new()),
            skipped: 0,
            feed,
        });
        self.sessions[s].serial += 1;
        self.remember_id(s, &ask.key);
        if let Some((name, id)) = source {
            if !ask.queue {
                let policy = QueuePolicy {
                    messages: self.broker.outbound.messages,
                    bytes: self.broker.outbound.bytes,
                    ..self.broker.queue.clone()
                };
                self.queues.insert(name.clone(), Queue::new(policy, Some(s), true));
            }
            let default = match ask.mode {
                Mode::Individual => self.broker.prefetch_client_individual,
                Mode::Auto | Mode::Client => self.broker.prefetch_client,
            };
            let most = self.broker.unacknowledged;
            let messages = ask.prefetch.map_or(default.messages, |n| if n == 0 { most } else { n });
            let consumer = Consumer {
                id,
                session: s,
                serial,
                mode: ask.mode,
                prefetch: (messages.min(self.broker.unacknowledged), default.bytes),
                active: true,
                tag: 0,
                selector: ask.selector,
                alone: ask.alone,
            };
            self.consume(&name, consumer);
            if name.starts_with("/worker/") {
                self.worker_came(&name);
            }
        }
        Ok(())
    }

    /// Whether a subscription, or a request, may have that id, and whether there may be another one.
    pub fn check_id(&self, s: usize, key: &str) -> Result<(), &'static str> {
        let live = self.sessions[s].subs.iter().filter(|sub| sub.live);
        if live.clone().any(|sub| sub.key == key) {
            return Err("duplicate-subscription");
        }
        match live.count() < self.settings.subscriptions {
            true => Ok(()),
            false => Err("too-many-subscriptions"),
        }
    }

    /// Where its messages will come from.
    fn feed(&mut self, s: usize, ask: &Ask) -> Result<Feed, &'static str> {
        let serial = self.sessions[s].serial;
        if ask.queue {
            let owner = ask.exclusive.then_some(s);
            if !self.make_queue(&ask.name, owner) {
                return Err("too-many-destinations");
            }
            let of = self.queues[&ask.name].owner;
            if of.is_some_and(|of| of != s) || ask.exclusive && of.is_none() {
                return Err("not-owner");
            }
            if ask.exclusive {
                self.sessions[s].owned.insert(ask.name.clone());
            }
            return Ok(Feed::Queue(ask.name.clone()));
        }
        if is_wild(&ask.name) {
            return Ok(Feed::Pattern(ask.name.clone()));
        }
        if !self.topics.iter().any(|t| t.name == ask.name) {
            if !self.may_add() {
                return Err("too-many-destinations");
            }
            let id = self.number();
            self.topics.push(Topic {
                id,
                name: ask.name.clone(),
                own: Vec::new(),
            });
        }
        let topic = self.topics.iter_mut().find(|t| t.name == ask.name);
        topic.expect("made").own.push((s, serial));
        Ok(Feed::Topic(ask.name.clone()))
    }

    /// Ids once used may be unsubscribed again; the oldest are forgotten.
    pub fn remember_id(&mut self, s: usize, key: &str) {
        let used = &mut self.sessions[s].used;
        if !used.iter().any(|u| u == key) {
            used.push(key.to_owned());
        }
        if used.len() > self.settings.subscriptions {
            used.remove(0);
        }
    }

    fn on_unsubscribe(&mut self, s: usize, frame: &Frame) -> Result<bool, &'static str> {
        let key = match (frame.get("id"), frame.get("destination")) {
            (Some(id), _) => id.to_owned(),
            (None, Some(destination)) if self.sessions[s].version == 0 => format!("\0{destination}"),
            _ => return Err("missing-header"),
        };
        let session = &self.sessions[s];
        match session
            .subs
            .iter()
            .find(|sub| sub.live && sub.key == key)
            .map(|sub| sub.serial)
        {
            Some(serial) => self.end_subscription(s, serial),
            None if session.used.contains(&key) => self.mark("UNSUBSCRIBE again"),
            None => return Err("unknown-subscription"),
        }
        Ok(true)
    }

    pub fn end_subscription(&mut self, s: usize, serial: u32) {
        self.stop_feed(s, serial);
        let waiting = self.sessions[s].close_lane(serial);
        let Some((name, consumer)) = self.sessions[s].sub(serial).and_then(|sub| sub.source.clone()) else {
            self.sessions[s].subs.retain(|sub| sub.serial != serial);
            return;
        };
        if self.cancel(&name, consumer, waiting) {
            return;
        }
        self.sessions[s].subs.retain(|sub| sub.serial != serial);
        if name.starts_with("backlog") {
            self.queues.remove(&name);
        }
    }
}

/// What a SUBSCRIBE asks for.
pub struct Ask {
    pub key: String,
    pub shown: Option<String>,
    name: String,
    queue: bool,
    mode: Mode,
    prefetch: Option<usize>,
    no_local: bool,
    exclusive: bool,
    selector: Option<String>,
    alone: bool,
}

impl Ask {
    /// That of a request, of which only the id matters.
    pub fn request(shown: Option<String>, destination: &str) -> Ask {
        Ask {
            key: shown.clone().unwrap_or_else(|| format!("\0{destination}")),
            shown,
            name: destination.to_owned(),
            queue: false,
            mode: Mode::Auto,
            prefetch: None,
            no_local: false,
            exclusive: false,
            selector: None,
            alone: false,
        }
    }
}

/// The broker's own form of a message: how much one of them counts for in a budget is its to say.
pub fn twin(frame: &Frame, destination: &str, version: u8, reply_to: Option<&str>) -> hoofbeat::broker::Message {
    let lines = frame.lines(version);
    let lines = lines.iter().map(|(name, value)| Line { name, value });
    let headers = Headers::new(lines, version > 0);
    let draft = Draft {
        destination,
        headers: &headers,
        reply_to,
        body: frame.body.as_bytes(),
        version: [Version::V1_0, Version::V1_1, Version::V1_2][usize::from(version)],
        properties: Properties::default(),
        publisher: 0,
    };
    hoofbeat::broker::Message::new(0, draft, &Arc::new(Gauge::default()))
}
