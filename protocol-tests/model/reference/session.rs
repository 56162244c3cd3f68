//! Sessions from their opening to their end: receipts in order, back-pressure, time.

use std::collections::VecDeque;

use super::*;

/// Frames that may wait behind a blocked one.
const DEFERRED: usize = 64;
/// Frames drained in one turn.
const TURN: usize = 64;

impl Reference {
    pub fn open(&mut self, id: u128, (token, temporary): (String, String), tcp: bool) -> usize {
        self.sessions.push(Session {
            state: State::Connecting,
            entered: None,
            token,
            temporary,
            user: None,
            id,
            tcp,
            version: 0,
            opened: self.now,
            control: VecDeque::new(),
            subs: Vec::new(),
            requests: Vec::new(),
            used: Vec::new(),
            serial: 0,
            transactions: BTreeMap::new(),
            receipts: VecDeque::new(),
            blocked: None,
            leaving: None,
            marks: VecDeque::new(),
            turn: Vec::new(),
            stalled: false,
            slow: false,
            finished: false,
            owned: BTreeSet::new(),
            deliveries: BTreeMap::new(),
        });
        self.sessions.len() - 1
    }

    /// Whether the session takes a further frame.
    pub fn accepts(&self, s: usize) -> bool {
        let session = &self.sessions[s];
        let control: usize = session.control.iter().map(|e| self.control_size(session, e)).sum();
        let room = control < self.broker.outbound.control_bytes;
        let held = session.blocked.as_ref().map_or(0, |b| b.deferred.len());
        match session.state {
            State::Connecting => true,
            State::Open => session.leaving.is_none() && held < DEFERRED && room,
            State::Closing | State::Ended => false,
        }
    }

    fn control_size(&self, session: &Session, frame: &Expected) -> usize {
        let server = concat!("Hoofbeat/", env!("CARGO_PKG_VERSION"));
        match frame {
            Expected::Receipt(id) => {
                let escapes = id.matches(':').count() * usize::from(session.version > 0);
                "RECEIPT\nreceipt-id:\n\n\0".len() + id.len() + escapes
            }
            Expected::Connected => {
                let beats = if session.version == 0 { "0,0" } else { "10000,10000" };
                let head = format!(
                    "CONNECTED\nversion:1.0\nheart-beat:{beats}\nsession:{:032x}\n",
                    session.id
                );
                let user = session
                    .user
                    .as_ref()
                    .map_or(0, |user| "user-name:\n".len() + user.len());
                head.len() + "server:\n\n\0".len() + server.len() + user
            }
            Expected::Error(..) | Expected::Message(_) => 0,
        }
    }

    /// One frame came; the reason of the close that follows, if one does.
    pub fn receive(&mut self, s: usize, frame: &Frame) -> Option<&'static str> {
        match self.sessions[s].state {
            State::Connecting => {
                let done = self.connect(s, frame);
                self.conclude(s, done)
            }
            State::Open => {
                let ticket = frame.get("receipt").map(|id| {
                    let ticket = self.number();
                    let asked = (ticket, id.to_owned(), false);
                    self.sessions[s].receipts.push_back(asked);
                    ticket
                });
                let done = self.execute_or_defer(s, frame, ticket);
                self.conclude(s, done)
            }
            State::Closing | State::Ended => None,
        }
    }

    fn execute_or_defer(&mut self, s: usize, frame: &Frame, ticket: Option<u64>) -> Result<(), Fault> {
        let acknowledges = matches!(frame.command.as_str(), "ACK" | "NACK") && frame.get("transaction").is_none();
        if let Some(blocked) = self.sessions[s].blocked.as_mut().filter(|_| !acknowledges) {
            blocked.deferred.push_back((frame.clone(), ticket));
            self.mark("frame waits behind a blocked one");
            return Ok(());
        }
        self.execute(s, frame, ticket)
    }

    /// A frame whose turn has come; its fault names its receipt.
    fn execute(&mut self, s: usize, frame: &Frame, ticket: Option<u64>) -> Result<(), Fault> {
        let receipt = || frame.get("receipt").map(str::to_owned);
        let done = self.frame(s, frame, ticket).map_err(|code| (code, receipt()))?;
        if done {
            self.took_effect(s, ticket);
        }
        Ok(())
    }

    fn took_effect(&mut self, s: usize, ticket: Option<u64>) {
        let receipts = self.sessions[s].receipts.iter_mut();
        for receipt in receipts.filter(|r| Some(r.0) == ticket) {
            receipt.2 = true;
        }
    }

    /// A RECEIPT goes out when its frame and all before it that asked for one took effect.
    fn conclude(&mut self, s: usize, done: Result<(), Fault>) -> Option<&'static str> {
        let session = &mut self.sessions[s];
        while session.receipts.front().is_some_and(|r| r.2) {
            let (_, id, _) = session.receipts.pop_front()?;
            session.control.push_back(Expected::Receipt(id));
        }
        if let Err((code, receipt)) = done {
            return Some(self.fail(s, code, receipt));
        }
        if session.state != State::Open || !session.receipts.is_empty() || session.blocked.is_some() {
            return None;
        }
        let reason = session.leaving.take()?;
        Some(self.part(s, reason))
    }

    fn part(&mut self, s: usize, reason: &'static str) -> &'static str {
        match reason == "shutdown" && self.sessions[s].tcp {
            true => self.fail(s, reason, None),
            false => self.close(s, reason),
        }
    }

    pub fn fail(&mut self, s: usize, code: &'static str, receipt: Option<String>) -> &'static str {
        self.sessions[s].control.push_back(Expected::Error(code, receipt));
        self.mark(code);
        self.close(s, code)
    }

    fn close(&mut self, s: usize, reason: &'static str) -> &'static str {
        if let Some(blocked) = self.sessions[s].blocked.take() {
            self.release(&blocked.acts);
        }
        let session = &mut self.sessions[s];
        session.drop_topics();
        session.finished = true;
        session.state = State::Closing;
        reason
    }

    /// The task has something to do: there are frames to write, or it was `called` to try a blocked one again.
    pub fn wake(&mut self, s: usize, called: bool) -> Option<&'static str> {
        if self.sessions[s].state != State::Open {
            return None;
        }
        if self.sessions[s].slow {
            self.count("slow_consumers", 1);
            return Some(self.fail(s, "slow-consumer", None));
        }
        let done = if called { self.unblock(s) } else { Ok(()) };
        if called && done.is_ok() {
            self.find_workers(s);
        }
        self.conclude(s, done)
    }

    fn unblock(&mut self, s: usize) -> Result<(), Fault> {
        let Some(mut blocked) = self.sessions[s].blocked.take() else {
            return Ok(());
        };
        match self.attempt(&blocked.acts.clone(), blocked.commit) {
            Sent::Blocked(code) => {
                blocked.code = code;
                blocked.retry_at = self.retry_at(code);
                self.sessions[s].blocked = Some(blocked);
                return Ok(());
            }
            Sent::Refused(code) => {
                self.release(&blocked.acts);
                return Err((code, blocked.receipt.map(|(_, id)| id)));
            }
            Sent::Done => {
                self.mark(if blocked.commit {
                    "COMMIT unblocked"
                } else {
                    "SEND unblocked"
                });
                self.took_effect(s, blocked.receipt.map(|(ticket, _)| ticket));
                if blocked.commit {
                    self.forget_settled(s);
                }
            }
        }
        while let Some((frame, ticket)) = blocked.deferred.pop_front() {
            self.execute(s, &frame, ticket)?;
            self.mark("frame replayed");
            if self.sessions[s].leaving == Some("disconnect") {
                return Ok(());
            }
            if let Some(again) = &mut self.sessions[s].blocked {
                again.deferred = blocked.deferred;
                self.mark("blocked again");
                return Ok(());
            }
        }
        Ok(())
    }

    /// Tries a SEND, or the acts of a COMMIT.
    pub fn attempt(&mut self, acts: &[Act], commit: bool) -> Sent {
        match acts {
            [Act::Send(route, message)] if !commit => self.send(route, message),
            _ => self.commit(acts),
        }
    }

    /// A full queue calls its senders; memory has to be asked.
    pub fn retry_at(&self, code: &str) -> Option<u64> {
        (code == "memory-full").then_some(self.now + 50)
    }

    /// Gives back what acts of a transaction held for acknowledgement.
    pub fn release(&mut self, acts: &[Act]) {
        for act in acts {
            if let Act::Settle(name, consumer, tags, _) = act {
                self.enter(name, *consumer, tags, false);
            }
        }
    }

    /// What the next turn of writing must give, and whether more waits.
    pub fn drain(&mut self, s: usize) -> (Vec<Expected>, bool) {
        let mut frames = Vec::new();
        for _ in 0..TURN {
            if let Some(frame) = self.sessions[s].control.pop_front() {
                frames.push(frame);
            } else if let (false, Some(serial)) = (self.sessions[s].finished, self.sessions[s].turn.first().copied()) {
                frames.extend(self.next(s, serial));
            } else {
                break;
            }
        }
        let session = &self.sessions[s];
        let more = !session.control.is_empty() || !session.finished && !session.turn.is_empty();
        if session.state == State::Open && session.stalled && session.has_room(self.broker.outbound) {
            self.sessions[s].stalled = false;
            self.mark("resumed outbound");
            let sources = self.sessions[s]
                .subs
                .iter()
                .filter(|s| s.live)
                .filter_map(|s| s.source.clone());
            for (name, consumer) in sources.collect::<Vec<_>>() {
                self.stand(&name, consumer);
                self.dispatch(&name);
            }
        }
        (frames, more)
    }

    /// The next message of a subscription, whose turn then comes again after the others.
    fn next(&mut self, s: usize, serial: u32) -> Option<Expected> {
        let now = self.now;
        let session = &mut self.sessions[s];
        session.turn.remove(0);
        let sub = session.sub(serial)?;
        let lane = sub.lane.as_mut()?;
        let waiting = lane.pop_front()?;
        let more = !lane.is_empty();
        let expired = !sub.queued && waiting.message.expired(now);
        let shown = Shown {
            serial,
            id: sub.shown.clone(),
            mode: sub.mode,
            source: sub.source.clone(),
            queued: sub.queued,
            marked: sub.queued || matches!(sub.feed, Feed::Request),
            waiting,
            skipped: if expired { 0 } else { std::mem::take(&mut sub.skipped) },
        };
        if more {
            session.turn.push(serial);
        }
        if expired {
            self.count("dropped_expired", 1);
            self.mark("expired while waiting to be written");
            return None;
        }
        self.count("delivered", 1);
        Some(Expected::Message(Box::new(shown)))
    }

    /// The socket has taken everything up to `position`: in auto mode that settles.
    pub fn written(&mut self, s: usize, position: u64) {
        while let Some((end, serial, tag)) = self.sessions[s].marks.front().copied() {
            if end > position {
                return;
            }
            self.sessions[s].marks.pop_front();
            let is_request = |sub: &mut Sub| matches!(sub.feed, Feed::Request);
            if self.sessions[s].sub(serial).is_some_and(is_request) {
                self.end_subscription(s, serial);
                self.mark("answer written");
                continue;
            }
            let Some(sub) = self.sessions[s].sub(serial).filter(|sub| sub.mode == Mode::Auto) else {
                continue;
            };
            let live = sub.live;
            let Some((name, consumer)) = sub.source.clone() else {
                continue;
            };
            self.settle(&name, consumer, &[tag], Settle::Ack);
            if !live {
                self.forget_if_settled(s, serial);
            }
        }
    }

    pub fn forget_if_settled(&mut self, s: usize, serial: u32) {
        let queues = &self.queues;
        let holds = |sub: &Sub| {
            let source = sub.source.as_ref();
            source.is_some_and(|(name, id)| queues.get(name).is_some_and(|q| q.holds(*id)))
        };
        let subs = &mut self.sessions[s].subs;
        let Some(at) = subs
            .iter()
            .position(|sub| sub.serial == serial && !sub.live && !holds(sub))
        else {
            return;
        };
        let gone = subs.remove(at);
        if let (Some((name, _)), false) = (gone.source, matches!(gone.feed, Feed::Queue(_))) {
            self.queues.remove(&name);
        }
    }

    pub fn forget_settled(&mut self, s: usize) {
        let serials: Vec<u32> = self.sessions[s].subs.iter().map(|sub| sub.serial).collect();
        for serial in serials {
            self.forget_if_settled(s, serial);
        }
    }

    /// When something is due.
    pub fn deadline(&self, s: usize) -> Option<u64> {
        let session = &self.sessions[s];
        let blocked = session.blocked.as_ref().map(|b| {
            let end = b.since + self.patience(b);
            b.retry_at.map_or(end, |at| at.min(end))
        });
        let open = session
            .transactions
            .values()
            .map(|t| t.since + self.settings.transaction_ms);
        match session.state {
            State::Connecting => Some(session.opened + self.settings.connect_ms),
            State::Open => {
                let requests = session.requests.iter().filter_map(|r| r.due());
                open.chain(blocked).chain(requests).min()
            }
            State::Closing | State::Ended => None,
        }
    }

    /// How long it may wait.
    fn patience(&self, blocked: &Blocked) -> u64 {
        match blocked.code {
            "no-worker" => self.settings.app.patience_ms,
            _ => self.settings.blocked_ms,
        }
    }

    pub fn pass_time(&mut self, s: usize) -> Option<&'static str> {
        let now = self.now;
        match self.sessions[s].state {
            State::Connecting if now >= self.sessions[s].opened + self.settings.connect_ms => {
                Some(self.fail(s, "connect-timeout", None))
            }
            State::Open => {
                let done = self.due(s);
                self.conclude(s, done)
            }
            _ => None,
        }
    }

    fn due(&mut self, s: usize) -> Result<(), Fault> {
        if let Some(blocked) = &self.sessions[s].blocked {
            if self.now >= blocked.since + self.patience(blocked) {
                let receipt = blocked.receipt.clone().map(|(_, id)| id);
                return Err((blocked.code, receipt));
            }
            if blocked.retry_at.is_some_and(|at| at <= self.now) {
                self.unblock(s)?;
            }
        }
        self.advance_requests(s);
        let end = |t: &Transaction| t.since + self.settings.transaction_ms;
        match self.sessions[s].transactions.values().any(|t| end(t) <= self.now) {
            true => Err(("transaction-timeout", None)),
            false => Ok(()),
        }
    }

    pub fn shutdown(&mut self, s: usize) -> Option<&'static str> {
        match self.sessions[s].state {
            State::Connecting => Some(self.part(s, "shutdown")),
            State::Open => {
                self.sessions[s].leaving.get_or_insert("shutdown");
                self.conclude(s, Ok(()))
            }
            _ => None,
        }
    }

    /// The connection is gone: everything it held goes back.
    pub fn end(&mut self, s: usize) {
        if let Some(blocked) = self.sessions[s].blocked.take() {
            self.release(&blocked.acts);
        }
        for (_, transaction) in std::mem::take(&mut self.sessions[s].transactions) {
            self.release(&transaction.acts);
            self.count("aborted", 1);
        }
        while let Some(serial) = self.sessions[s].subs.first().map(|sub| sub.serial) {
            let unwritten = self.sessions[s].marks.iter().find(|m| m.1 == serial).map(|m| m.2);
            self.abandon(s, serial, unwritten);
        }
        for name in std::mem::take(&mut self.sessions[s].owned) {
            if self.queues.get(&name).is_some_and(|q| q.owner == Some(s)) {
                self.remove_queue(&name);
            }
        }
        let session = &mut self.sessions[s];
        session.entered = None;
        session.state = State::Ended;
        session.control.clear();
        session.finished = true;
    }

    /// A subscription ends with its connection, or is the oldest of too many that wait for late acknowledgements.
    pub fn abandon(&mut self, s: usize, serial: u32, unwritten: Option<u64>) {
        let Some(sub) = self.sessions[s].sub(serial) else {
            return;
        };
        let (live, source) = (sub.live, sub.source.clone());
        let mut unwritten = unwritten;
        if live {
            self.stop_feed(s, serial);
            unwritten = unwritten.or(self.sessions[s].close_lane(serial));
        }
        let at = self.sessions[s].subs.iter().position(|sub| sub.serial == serial);
        let sub = self.sessions[s].subs.remove(at.expect("it was there"));
        match (&sub.feed, source) {
            (Feed::Queue(name), Some((_, consumer))) => self.leave(name, consumer, unwritten),
            (_, Some((backlog, _))) => drop(self.queues.remove(&backlog)),
            (_, None) => {}
        }
    }

    /// Takes a subscription off its topic.
    pub fn stop_feed(&mut self, s: usize, serial: u32) {
        let Some(sub) = self.sessions[s].sub(serial) else {
            return;
        };
        sub.live = false;
        match &sub.feed {
            Feed::Queue(_) => {}
            Feed::Request => self.sessions[s].requests.retain(|r| r.serial != serial),
            Feed::Topic(name) => {
                let name = name.clone();
                let Some(topic) = self.topics.iter_mut().find(|t| t.name == name) else {
                    return;
                };
                topic.own.retain(|own| *own != (s, serial));
                self.topics.retain(|t| t.name != name || !t.own.is_empty());
            }
            Feed::Pattern(_) => {
                if self.patterns() == 0 {
                    let remembered = std::mem::take(&mut self.remembered);
                    self.topics.retain(|t| !remembered.contains(&t.id) || !t.own.is_empty());
                }
            }
        }
    }

    /// With every socket empty: what waits although it could go on.
    pub fn forgotten(&self) -> Option<String> {
        for (at, session) in self.sessions.iter().enumerate() {
            let blocked = session.blocked.as_ref().filter(|b| b.code == "queue-full");
            // What is for workers waits for the queue that it found full, whoever works now.
            let to_workers = |b: &&Blocked| b.acts.iter().any(|act| matches!(act, Act::Send(route, _) if route.app));
            let forgotten = blocked
                .filter(|b| !to_workers(b))
                .is_some_and(|b| self.would_fit(&b.acts));
            // Senders are called in their order: one that still does not fit may stand before others.
            let other = self.sessions.iter().filter_map(|s| s.blocked.as_ref());
            let other = other.filter(|b| b.code == "queue-full");
            if forgotten && other.into_iter().all(|b| self.would_fit(&b.acts)) {
                return Some(format!("client {at} is blocked although there is room"));
            }
        }
        if let Some(forgotten) = self.forgotten_by_workers() {
            return Some(forgotten);
        }
        for (name, queue) in &self.queues {
            let ready = |c: &Consumer| {
                let mut ready = queue.entries.iter().filter(|e| e.held.is_none());
                ready.any(|e| queue.is_for(c.id, &e.message))
            };
            let taker = queue.consumers.iter().find(|c| {
                let session = &self.sessions[c.session];
                let open = session.state == State::Open && !session.slow;
                open && queue.wants(c.id, self.broker.unacknowledged) && ready(c)
            });
            if let Some(taker) = taker {
                return Some(format!(
                    "a message waits in {name} although client {} could take it",
                    taker.session
                ));
            }
        }
        None
    }

    fn would_fit(&self, acts: &[Act]) -> bool {
        let mut wanted: BTreeMap<&String, (usize, usize)> = BTreeMap::new();
        for act in acts {
            if let Act::Send(route, message) = act {
                let sum = wanted.entry(&route.name).or_default();
                *sum = (sum.0 + 1, sum.1 + message.size());
            }
        }
        let fits = |(name, (n, octets)): (&&String, &(usize, usize))| {
            self.queues.get(*name).is_none_or(|queue| queue.room(*n, *octets))
        };
        wanted.iter().all(fits)
    }

    /// Live wildcard subscriptions.
    pub fn patterns(&self) -> usize {
        let subs = self.sessions.iter().flat_map(|s| &s.subs);
        subs.filter(|s| s.live && matches!(s.feed, Feed::Pattern(_))).count()
    }
}
