//! Application destinations: who works for `/app/NAME`, and who waits for an answer.
//!
//! Those who work for `/app/orders` subscribe to `/worker/orders`, which is a queue like others: it shares messages
//! out, knows credit and gives back what was not acknowledged. What is special is here: how a SEND finds the queue,
//! which may be that of a pattern, how one answer finds the one who asked with a SUBSCRIBE, and how further ones find
//! what one session of a user's has subscribed under `/user`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use super::destination::{ANSWER, SESSION, WORKER};
use super::message::Message;
use super::outbound::{LaneHead, LaneId, Offer, Offered, Outbound};
use super::pattern::{is_wildcard, pieces, Pattern};
use super::private::USER;
use super::queue::Queue;
use super::settings::{Separator, TopicPolicy};
use super::topic::{Routes, Topic};
use super::{Broker, Limit, Now};

/// The queues of those who work for all names of a pattern. A queue for one name is found in the directory.
#[derive(Debug, Default)]
pub struct Workers {
    /// The most specific pattern first: a piece that must be just so comes before `*`, and that before `**`. Locked
    /// before no other lock.
    by_pattern: RwLock<BTreeMap<Pattern, Arc<Queue>>>,
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

impl Workers {
    fn add(&self, pattern: Pattern, queue: &Arc<Queue>) {
        let mut all = self.by_pattern.write().unwrap_or_else(PoisonError::into_inner);
        all.insert(pattern, Arc::clone(queue));
    }

    fn remove(&self, pattern: &Pattern, queue: &Arc<Queue>) {
        let mut all = self.by_pattern.write().unwrap_or_else(PoisonError::into_inner);
        if all.get(pattern).is_some_and(|known| Arc::ptr_eq(known, queue)) {
            all.remove(pattern);
        }
    }

    fn matching(&self, name: &str) -> Vec<Arc<Queue>> {
        let all = self.by_pattern.read().unwrap_or_else(PoisonError::into_inner);
        let matching = all.iter().filter(|(pattern, _)| pattern.matches(name));
        matching.map(|(_, queue)| Arc::clone(queue)).collect()
    }
}

/// The pattern that a queue of workers stands for; `None` if it is for one name, or no such queue.
fn pattern_of(queue: &Queue) -> Option<Pattern> {
    let is_pattern = queue.name.starts_with(WORKER) && pieces(&queue.name, Separator::Both).any(is_wildcard);
    is_pattern.then(|| Pattern::parse(&queue.name, Separator::Both))?
}

/// What the dead-letter queue of a queue of workers is called after, if it is one: a name that can be subscribed to.
pub(super) fn dead_letter_name(queue: &str) -> Option<String> {
    let local = queue.strip_prefix(WORKER)?;
    let plain = local.chars().map(|c| match c {
        '*' | '#' | '>' => '_',
        other => other,
    });
    Some(format!("app/{}", plain.collect::<String>()))
}

impl Broker {
    /// The queue of those who work for the name of that canonical name: the most specific one that has a worker.
    pub(super) fn worked_queue(&self, name: &Arc<str>) -> Result<Arc<Queue>, Limit> {
        if let Some(queue) = self.directory.queue(name).filter(|queue| queue.is_worked()) {
            return Ok(queue);
        }
        let mut matching = self.workers.matching(name).into_iter();
        let worked = matching.find(|queue| queue.is_worked());
        worked.ok_or_else(|| Limit::NoWorker(Arc::clone(name)))
    }

    /// A queue may have a worker now.
    pub(super) fn note_worker(&self, queue: &Arc<Queue>) {
        if let Some(pattern) = pattern_of(queue) {
            self.workers.add(pattern, queue);
        }
    }

    /// Takes a queue that has been retired out of where queues are found.
    pub(super) fn forget_retired(&self, queue: &Arc<Queue>) {
        self.directory.remove_queue(queue);
        if let Some(pattern) = pattern_of(queue) {
            self.workers.remove(&pattern, queue);
        }
    }

    /// Opens a request for one answer, shown as from `destination`. `token` is what others know the session by, and
    /// `serial` the number of a subscription that it never uses again.
    pub fn ask(
        &self,
        token: &str,
        serial: u32,
        destination: &str,
        head: LaneHead,
        outbound: &Arc<Outbound>,
    ) -> Request {
        let address: Arc<str> = format!("{ANSWER}{token}/{serial}").into();
        let lane = outbound.open_lane(serial, head);
        let asked = Asked {
            destination: destination.into(),
            outbound: Arc::clone(outbound),
            lane,
        };
        self.requests.lock().insert(Arc::clone(&address), asked);
        Request { address, lane }
    }

    /// Hands an answer to the one who waits for it at that address; whether anybody does. The first counts.
    pub fn answer(&self, address: &str, message: &Message, now: Now) -> bool {
        let Some(asked) = self.requests.lock().remove(address) else {
            return false;
        };
        let number = self.next_number();
        let offer = Offer {
            message: &Arc::new(message.forwarded(number, &asked.destination, &[])),
            policy: &TopicPolicy::Disconnect,
            key: None,
            publisher: None,
        };
        asked.outbound.publish(asked.lane, &offer, now.mono) != Offered::Gone
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

    /// Whether a request still waits, or its answer does.
    pub fn is_pending(&self, request: &Request, outbound: &Outbound) -> bool {
        self.awaits(request) || !outbound.is_drained(request.lane)
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
