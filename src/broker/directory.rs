//! Which destinations exist. A removed one is marked `retired` under its own lock first, and whoever meets the mark
//! looks again, so that nothing lands on a dead one. No guard of the map outlives its look-up.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;

use dashmap::mapref::entry::Entry as Place;
use dashmap::DashMap;

use super::queue::Queue;
use super::topic::Topic;

/// The destinations of a broker by canonical name.
#[derive(Debug)]
pub struct Directory {
    topics: DashMap<Arc<str>, Arc<Topic>, ahash::RandomState>,
    queues: DashMap<Arc<str>, Arc<Queue>, ahash::RandomState>,
    /// Those that the journal speaks of, by number.
    numbers: DashMap<u64, Arc<Queue>, ahash::RandomState>,
    /// Of both; the maps would count shard by shard.
    length: AtomicUsize,
    /// Of the queues.
    queue_count: AtomicUsize,
    most: usize,
}

/// There are as many destinations as there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMany(pub usize);

impl Directory {
    /// An empty directory of at most `most` destinations. Names come from clients, so `seed` keys their hashes.
    pub fn new(seed: u64, most: usize) -> Directory {
        let hashes = ahash::RandomState::with_seeds(seed, seed.rotate_left(21), !seed, seed.rotate_left(42));
        Directory {
            topics: DashMap::with_hasher(hashes.clone()),
            queues: DashMap::with_hasher(hashes.clone()),
            numbers: DashMap::with_hasher(hashes),
            length: AtomicUsize::new(0),
            queue_count: AtomicUsize::new(0),
            most,
        }
    }

    /// The topic called `name`.
    pub fn topic(&self, name: &str) -> Option<Arc<Topic>> {
        self.topics.get(name).map(|topic| Arc::clone(&topic))
    }

    /// The queue called `name`.
    pub fn queue(&self, name: &str) -> Option<Arc<Queue>> {
        self.queues.get(name).map(|queue| Arc::clone(&queue))
    }

    /// The topic called `name`, made if need be.
    pub fn topic_or(&self, name: &Arc<str>, make: impl FnOnce() -> Topic) -> Result<Arc<Topic>, TooMany> {
        if let Some(topic) = self.topic(name) {
            return Ok(topic);
        }
        self.check()?;
        Ok(self.topic_always(name, make))
    }

    /// The topic called `name`, made if need be, whatever the limit.
    pub fn topic_always(&self, name: &Arc<str>, make: impl FnOnce() -> Topic) -> Arc<Topic> {
        match self.topics.entry(Arc::clone(name)) {
            Place::Occupied(known) => Arc::clone(known.get()),
            Place::Vacant(free) => {
                self.length.fetch_add(1, Ordering::Relaxed);
                Arc::clone(&free.insert(Arc::new(make())))
            }
        }
    }

    /// The queue called `name`, made if need be; whether it was.
    pub fn queue_or(&self, name: &Arc<str>, make: impl FnOnce() -> Queue) -> Result<(Arc<Queue>, bool), TooMany> {
        if let Some(queue) = self.queue(name) {
            return Ok((queue, false));
        }
        self.check()?;
        match self.queues.entry(Arc::clone(name)) {
            Place::Occupied(known) => Ok((Arc::clone(known.get()), false)),
            Place::Vacant(free) => {
                self.count_queue();
                let queue = Arc::new(make());
                if queue.is_durable() {
                    self.numbers.insert(queue.number, Arc::clone(&queue));
                }
                free.insert(Arc::clone(&queue));
                Ok((queue, true))
            }
        }
    }

    /// Adds a queue that was found on disk, whatever the limit; false if there is one of that name.
    pub fn adopt(&self, queue: &Arc<Queue>) -> bool {
        let Place::Vacant(free) = self.queues.entry(Arc::clone(&queue.name)) else {
            return false;
        };
        self.count_queue();
        self.numbers.insert(queue.number, Arc::clone(queue));
        free.insert(Arc::clone(queue));
        true
    }

    /// The queue that the journal calls `number`.
    pub fn numbered(&self, number: u64) -> Option<Arc<Queue>> {
        self.numbers.get(&number).map(|queue| Arc::clone(&queue))
    }

    /// All queues that the journal speaks of, by number.
    pub fn durable_queues(&self) -> Vec<Arc<Queue>> {
        let mut all: Vec<_> = self.numbers.iter().map(|queue| Arc::clone(&queue)).collect();
        all.sort_by_key(|queue| queue.number);
        all
    }

    /// Removes a topic that has been retired.
    pub fn remove_topic(&self, topic: &Arc<Topic>) {
        if self
            .topics
            .remove_if(&topic.name, |_, known| Arc::ptr_eq(known, topic))
            .is_some()
        {
            self.length.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Removes a queue that has been retired.
    pub fn remove_queue(&self, queue: &Arc<Queue>) {
        self.numbers.remove(&queue.number);
        if self
            .queues
            .remove_if(&queue.name, |_, known| Arc::ptr_eq(known, queue))
            .is_some()
        {
            self.length.fetch_sub(1, Ordering::Relaxed);
            self.queue_count.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Queues there are.
    pub fn queue_count(&self) -> usize {
        self.queue_count.load(Ordering::Relaxed)
    }

    fn count_queue(&self) {
        self.length.fetch_add(1, Ordering::Relaxed);
        self.queue_count.fetch_add(1, Ordering::Relaxed);
    }

    /// Numbers of topics and queues.
    pub fn sizes(&self) -> (usize, usize) {
        (self.topics.len(), self.queues.len())
    }

    fn check(&self) -> Result<(), TooMany> {
        match self.length.load(Ordering::Relaxed) < self.most {
            true => Ok(()),
            false => Err(TooMany(self.most)),
        }
    }
}
