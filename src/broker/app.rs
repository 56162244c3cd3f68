//! Application destinations: who works for `/app/NAME`, and who waits for a worker or an answer.
//!
//! Those who work for `/app/orders` subscribe to `/worker/orders`, which is a queue like others: it shares messages
//! out, knows credit and gives back what was not acknowledged. What is special is here: how a SEND finds the queue,
//! which may be that of a pattern, or is called when a worker comes, how one answer finds the one who asked with a
//! SUBSCRIBE, and how further ones find what one session of a user's has subscribed under `/user`.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use super::destination::{ANSWER, SESSION, WORKER};
use super::message::Message;
use super::outbound::{LaneHead, LaneId, Offer, Offered, Outbound};
use super::pattern::{is_wildcard, pieces, Pattern, Trie};
use super::private::USER;
use super::queue::Queue;
use super::settings::{Separator, TopicPolicy};
use super::topic::{Routes, Topic};
use super::{Broker, Draft, Limit, Now, Properties};
use crate::stomp::{Headers, Line, Version};

/// Those who work for application destinations, and those who wait for them.
#[derive(Debug, Default)]
pub struct Workers {
    /// The queues that are for all names of a pattern; one for a single name is found in the directory. Locked before
    /// no other lock.
    by_pattern: RwLock<Trie<Patterned>>,
    /// Locked alone.
    waiting: Mutex<Waiting>,
}

/// The queue of those who work for all names of a pattern.
#[derive(Clone, Debug)]
struct Patterned {
    pattern: Arc<Pattern>,
    queue: Arc<Queue>,
}

/// Senders that found no worker.
#[derive(Debug, Default)]
struct Waiting {
    /// By the name of the queue that nobody works for, and their place.
    senders: BTreeMap<(Arc<str>, u64), Arc<Outbound>>,
    /// Never given twice.
    next_place: u64,
}

/// Requests that have no answer yet.
#[derive(Debug, Default)]
pub struct Requests {
    /// By address. Locked alone.
    open: Mutex<BTreeMap<Arc<str>, Asked>>,
}

/// Who waits for an answer.
#[derive(Debug)]
struct Asked {
    destination: Arc<str>,
    outbound: Arc<Outbound>,
    lane: LaneId,
}

/// A request as the session holds it that made it.
#[derive(Debug)]
pub struct Request {
    /// Where the answer is to be sent: whoever knows it may answer, once.
    pub address: Arc<str>,
    lane: LaneId,
}

impl Requests {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Asked>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }
}

/// The most specific pattern first: a piece that must be just so comes before `*`, and that before `**`.
impl Ord for Patterned {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_pattern = self.pattern.cmp(&other.pattern);
        by_pattern.then_with(|| self.queue.number.cmp(&other.queue.number))
    }
}

impl PartialOrd for Patterned {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Patterned {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Patterned {}

impl Patterned {
    /// `None` if the queue is for one name, or of no workers.
    fn of(queue: &Arc<Queue>) -> Option<Patterned> {
        let is_pattern = queue.name.starts_with(WORKER) && pieces(&queue.name, Separator::Both).any(is_wildcard);
        let pattern = is_pattern.then(|| Pattern::parse(&queue.name, Separator::Both))??;
        Some(Patterned {
            pattern: Arc::new(pattern),
            queue: Arc::clone(queue),
        })
    }
}

impl Workers {
    fn add(&self, patterned: Patterned) {
        let mut all = self.by_pattern.write().unwrap_or_else(PoisonError::into_inner);
        let pattern = Arc::clone(&patterned.pattern);
        // Each of its workers adds it.
        all.remove(&pattern, &patterned);
        all.insert(&pattern, patterned);
    }

    fn remove(&self, patterned: &Patterned) {
        let mut all = self.by_pattern.write().unwrap_or_else(PoisonError::into_inner);
        all.remove(&patterned.pattern, patterned);
    }

    /// The queues of patterns that match the name, the most specific first.
    fn matching(&self, name: &str) -> Vec<Patterned> {
        let all = self.by_pattern.read().unwrap_or_else(PoisonError::into_inner);
        let mut matching = Vec::new();
        all.find(name, Separator::Both, &mut matching);
        matching
    }

    fn lock_waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has a sender called when somebody works for the name; its place among those who wait.
    fn wait(&self, name: &Arc<str>, sender: &Arc<Outbound>) -> u64 {
        let mut waiting = self.lock_waiting();
        let place = waiting.next_place;
        waiting.next_place += 1;
        waiting.senders.insert((Arc::clone(name), place), Arc::clone(sender));
        place
    }

    pub(super) fn stop_waiting(&self, name: &Arc<str>, place: u64) {
        self.lock_waiting().senders.remove(&(Arc::clone(name), place));
    }

    /// Calls those who wait for somebody to work for what the queue is for: for its name, or all names of its pattern.
    fn call(&self, name: &Arc<str>, pattern: Option<&Pattern>) {
        let mut waiting = self.lock_waiting();
        let places: Vec<(Arc<str>, u64)> = match pattern {
            Some(pattern) => {
                let all = waiting.senders.keys();
                all.filter(|(name, _)| pattern.matches(name)).cloned().collect()
            }
            None => {
                let own = (Arc::clone(name), 0)..=(Arc::clone(name), u64::MAX);
                waiting.senders.range(own).map(|(place, _)| place.clone()).collect()
            }
        };
        let called: Vec<_> = places
            .iter()
            .filter_map(|place| waiting.senders.remove(place))
            .collect();
        drop(waiting);
        for sender in called {
            sender.call();
        }
    }
}

/// What the names of the dead-letter queues of workers begin with.
const DEAD_LETTERS: &str = "/queue/DLQ.app/";

/// The dead-letter queue of a queue of workers, if it is one: a name that can be subscribed to. `_` stands for `*`, and
/// `__` for `**` and its likes.
pub(super) fn dead_letter_queue(queue: &str) -> Option<String> {
    let local = with_segments(queue.strip_prefix(WORKER)?, |segment| match segment {
        "*" => "_",
        "#" | "**" | ">" => "__",
        plain => plain,
    });
    Some(format!("{DEAD_LETTERS}{local}"))
}

/// The queue of workers that one must be allowed to work for to read the queue of that canonical name: itself, or the
/// one whose dead letters it has, since these say who asked and what.
pub fn read_by_workers(queue: &str) -> Option<Cow<'_, str>> {
    if queue.starts_with(WORKER) {
        return Some(Cow::Borrowed(queue));
    }
    let local = with_segments(queue.strip_prefix(DEAD_LETTERS)?, |segment| match segment {
        "_" => "*",
        "__" => "**",
        plain => plain,
    });
    Some(Cow::Owned(format!("{WORKER}{local}")))
}

fn with_segments(name: &str, change: fn(&str) -> &str) -> String {
    let changed = pieces(name, Separator::Both).flat_map(|piece| {
        let segment = piece.trim_start_matches(['/', '.']);
        let (separator, _) = piece.split_at(piece.len() - segment.len());
        [separator, change(segment)]
    });
    changed.collect()
}

impl Broker {
    /// The queue of those who work for the name with that queue: the most specific one that has a worker. Without one
    /// `sender` is called when there may be.
    pub(super) fn worked_queue(&self, name: &Arc<str>, sender: &Arc<Outbound>) -> Result<Arc<Queue>, Limit> {
        match self.find_worked(name) {
            Some(queue) => Ok(queue),
            None => self.await_worker(name, sender),
        }
    }

    /// Looks once more when the sender is among those who are called: whoever came before that called without it.
    fn await_worker(&self, name: &Arc<str>, sender: &Arc<Outbound>) -> Result<Arc<Queue>, Limit> {
        let place = self.workers.wait(name, sender);
        match self.find_worked(name) {
            Some(queue) => {
                self.workers.stop_waiting(name, place);
                Ok(queue)
            }
            None => Err(Limit::NoWorker(Arc::clone(name), place)),
        }
    }

    fn find_worked(&self, name: &Arc<str>) -> Option<Arc<Queue>> {
        if let Some(queue) = self.directory.queue(name).filter(|queue| queue.is_worked()) {
            return Some(queue);
        }
        let matching = self.workers.matching(name).into_iter();
        matching.map(|known| known.queue).find(|queue| queue.is_worked())
    }

    /// Somebody works for what the queue is for.
    pub(super) fn note_worker(&self, queue: &Arc<Queue>) {
        let patterned = Patterned::of(queue);
        if let Some(patterned) = &patterned {
            self.workers.add(patterned.clone());
        }
        let pattern = patterned.as_ref().map(|known| &*known.pattern);
        self.workers.call(&queue.name, pattern);
    }

    /// Whether a sender that found no worker has not been called since.
    pub fn waits_for_worker(&self, limit: &Limit) -> bool {
        match limit {
            Limit::NoWorker(name, place) => {
                let waiting = self.workers.lock_waiting();
                waiting.senders.contains_key(&(Arc::clone(name), *place))
            }
            Limit::Memory(..) | Limit::Queue(..) | Limit::Disk(..) => false,
        }
    }

    /// Takes a queue that has been retired out of where queues are found.
    pub(super) fn forget_retired(&self, queue: &Arc<Queue>) {
        self.directory.remove_queue(queue);
        if let Some(patterned) = Patterned::of(queue) {
            self.workers.remove(&patterned);
        }
    }

    /// Opens a request for one answer, shown as from `destination`. `token` is what others know the session by, and
    /// `serial` the number of a subscription that it never uses again. The answer leaves a mark when it is written.
    pub fn ask(
        &self,
        token: &str,
        serial: u32,
        destination: &str,
        head: LaneHead,
        outbound: &Arc<Outbound>,
    ) -> Request {
        let address: Arc<str> = format!("{ANSWER}{token}/{serial}").into();
        let lane = outbound.open_lane(serial, LaneHead { answer: true, ..head });
        let asked = Asked {
            destination: destination.into(),
            outbound: Arc::clone(outbound),
            lane,
        };
        self.requests.lock().insert(Arc::clone(&address), asked);
        Request { address, lane }
    }

    /// Hands an answer to the one who waits for it at that address; the first counts. [`Offered::Gone`] if nobody waits
    /// there. `publisher` is asked to go easy on one who does not keep up.
    pub fn answer(&self, address: &str, message: &Message, publisher: Option<&Arc<Outbound>>, now: Now) -> Offered {
        let Some(asked) = self.requests.lock().remove(address) else {
            return Offered::Gone;
        };
        let number = self.next_number();
        let offer = Offer {
            message: &Arc::new(message.forwarded(number, &asked.destination, &[])),
            policy: &TopicPolicy::Disconnect,
            key: None,
            publisher,
        };
        asked.outbound.publish(asked.lane, &offer, now.mono)
    }

    /// Answers a request in the place of those who work: `code` says in one word why, `words` at length.
    pub fn decline(&self, address: &str, code: &str, words: &str, now: Now) {
        let lines = [("x-app-error", code), ("content-type", "text/plain")];
        let headers = Headers::new(lines.map(|(name, value)| Line { name, value }), false);
        let message = self.message(Draft {
            destination: "",
            headers: &headers,
            reply_to: None,
            body: words.as_bytes(),
            version: Version::V1_0,
            properties: Properties::default(),
            publisher: 0,
        });
        if self.answer(address, &message, None, now) != Offered::Gone {
            self.counters.requests_declined.one();
        }
    }

    /// What a queue of workers gave up: if it was a request, whoever asked is told at once.
    pub(super) fn give_up(&self, queue: &Queue, message: &Message, reason: &str, now: Now) {
        if !queue.name.starts_with(WORKER) {
            return;
        }
        let Some(address) = message.header("reply-to").filter(|to| to.starts_with(ANSWER)) else {
            return;
        };
        let words = format!("Those who work for it gave the request up ({reason}).");
        self.decline(&address, reason, &words, now);
    }

    /// What a message to that address becomes, and who gets it: those subscriptions of one session that it has under
    /// `/user`. `None` if there are none.
    pub(super) fn of_session(&self, address: &str, message: &Message) -> Option<(Arc<Topic>, Routes, Arc<Message>)> {
        let (token, local) = address.strip_prefix(SESSION)?.split_once('/')?;
        let presence = self.users.session(token)?;
        let topic = self.directory.topic(&presence.private_name(local))?;
        let routes = topic.routes(&self.patterns);
        let of_session = routes.live.iter().filter(|target| target.session == presence.number);
        let own = Routes {
            live: of_session.map(Arc::clone).collect(),
            durable: Box::default(),
        };
        let shown = message.forwarded(self.next_number(), &format!("{USER}{local}"), &[]);
        Some((topic, own, Arc::new(shown)))
    }

    /// Whether a request has no answer yet.
    pub fn awaits(&self, request: &Request) -> bool {
        self.requests.lock().contains_key(&request.address)
    }

    /// Ends a request: what comes for it from now on is dropped.
    pub fn withdraw(&self, request: &Request, outbound: &Outbound) {
        self.requests.lock().remove(&request.address);
        outbound.close_lane(request.lane);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    use std::task::{Wake, Waker};

    use super::super::settings::Settings;
    use super::super::subscribe::Subscribe;
    use super::super::{AckMode, Names, Volatile};
    use super::*;

    fn head() -> LaneHead {
        LaneHead {
            prefix: Box::default(),
            version: Version::V1_2,
            safe: false,
            queue: false,
            manual: false,
            answer: false,
        }
    }

    fn broker() -> (Arc<Broker>, Arc<Outbound>) {
        let broker = Arc::new(Broker::new(Settings::default(), 1, Arc::new(Volatile)));
        let outbound = Arc::new(Outbound::new(broker.settings().outbound));
        (broker, outbound)
    }

    fn names(broker: &Broker) -> Names<'_> {
        Names {
            prefixes: &[],
            spring: &broker.settings().spring,
            limit: 255,
            token: "",
            temporary: "",
            user: None,
        }
    }

    fn work(broker: &Broker, name: &str, serial: u32, outbound: &Arc<Outbound>) {
        let ask = Subscribe {
            selection: names(broker).selection(name).expect("a name of workers"),
            session: 1,
            serial,
            mode: AckMode::Auto,
            prefetch: None,
            no_local: false,
            selector: None,
            browse: false,
            alone: false,
            exclusive: false,
            options: Default::default(),
            durable: None,
            head: head(),
        };
        broker.subscribe(ask, outbound, Now::default()).expect("a worker");
    }

    #[test]
    fn a_worker_that_comes_after_the_first_look_is_found_by_the_second() {
        for form in ["/worker/orders", "/worker/*"] {
            let (broker, worker) = broker();
            let (name, sender): (Arc<str>, _) = ("/worker/orders".into(), Arc::clone(&worker));
            assert!(broker.find_worked(&name).is_none());
            work(&broker, form, 1, &worker);
            let found = broker.await_worker(&name, &sender);
            assert_eq!(found.as_ref().map(|queue| &*queue.name), Ok(form));
            assert!(broker.workers.lock_waiting().senders.is_empty(), "it waits for nothing");
        }
    }

    /// Looks for a worker when it is woken.
    struct Looks(Arc<Broker>, Arc<str>, AtomicUsize);

    impl Wake for Looks {
        fn wake(self: Arc<Self>) {
            let found = self.0.find_worked(&self.1).is_some();
            self.2.fetch_add(usize::from(found), Relaxed);
        }
    }

    #[test]
    fn whoever_is_called_finds_the_worker_that_came() {
        for form in ["/worker/orders", "/worker/*"] {
            let (broker, worker) = broker();
            let name: Arc<str> = "/worker/orders".into();
            let sender = Arc::new(Outbound::new(broker.settings().outbound));
            let Err(limit) = broker.worked_queue(&name, &sender) else {
                panic!("nobody works");
            };
            let looks = Arc::new(Looks(Arc::clone(&broker), name, AtomicUsize::new(0)));
            assert!(!sender.poll_work(&Waker::from(Arc::clone(&looks))) && broker.waits_for_worker(&limit));
            work(&broker, form, 1, &worker);
            assert_eq!(looks.2.load(Relaxed), 1, "called and found: {form}");
            assert!(sender.take_call() && !broker.waits_for_worker(&limit));
        }
    }

    #[test]
    fn dead_letters_are_read_by_those_who_may_work_for_all_that_is_in_them() {
        let table = [
            ("/worker/orders", "/queue/DLQ.app/orders", "/worker/orders"),
            ("/worker/*", "/queue/DLQ.app/_", "/worker/*"),
            ("/worker/a/*.c", "/queue/DLQ.app/a/_.c", "/worker/a/*.c"),
            ("/worker/**", "/queue/DLQ.app/__", "/worker/**"),
            ("/worker/a/#", "/queue/DLQ.app/a/__", "/worker/a/**"),
            ("/worker/a.>", "/queue/DLQ.app/a.__", "/worker/a.**"),
            ("/worker/price*", "/queue/DLQ.app/price*", "/worker/price*"),
            // In doubt more has to be allowed.
            ("/worker/_", "/queue/DLQ.app/_", "/worker/*"),
        ];
        for (queue, dead, needed) in table {
            assert_eq!(dead_letter_queue(queue).as_deref(), Some(dead));
            assert_eq!(read_by_workers(dead).as_deref(), Some(needed));
            assert_eq!(read_by_workers(queue).as_deref(), Some(queue));
        }
        assert_eq!(dead_letter_queue("/queue/orders"), None);
        assert_eq!(read_by_workers("/queue/DLQ.application"), None);
    }

    #[test]
    fn whoever_is_most_specific_is_found_among_many() {
        let (broker, worker) = broker();
        let others: Vec<String> = (0..300).map(|n| format!("/worker/{n}/*")).collect();
        let all = [
            "/worker/**",
            "/worker/*/x",
            "/worker/7/x/**",
            "/worker/*/*",
            "/worker/7/x",
        ];
        let expected = [
            "/worker/7/x",
            "/worker/7/x/**",
            "/worker/7/*",
            "/worker/*/x",
            "/worker/*/*",
            "/worker/**",
        ];
        for (serial, name) in all.into_iter().chain(others.iter().map(String::as_str)).enumerate() {
            work(&broker, name, serial as u32, &worker);
        }
        let name: Arc<str> = "/worker/7/x".into();
        for expected in expected {
            let queue = broker.find_worked(&name).expect("a queue");
            assert_eq!(&*queue.name, expected);
            queue.retire();
            broker.forget_retired(&queue);
        }
        assert!(broker.find_worked(&name).is_none());
        assert_eq!(broker.workers.matching("/worker/8/x").len(), 1);
    }
}
