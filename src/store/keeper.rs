//! The threads: one writes, one reads, and nobody else waits for the disk.
//!
//! The writer gathers what has come, writes it once, asks the disk once, and then tells all who wait. While it does
//! so the next round gathers, so that the slower the disk, the more of them share its answer.
//!
//! **An unwell disk.** When a round fails, its tickets are broken and persistent messages are refused from then on.
//! What the round was to write is kept and tried again together with what has come since: that is what consumers
//! settle, and little. It goes to a new segment, because nothing is known any more of one that failed. On a full disk
//! what consumers settle is written first, apart from what does not fit, because that makes room; the tickets of such
//! a round are broken all the same, for a ticket speaks for everything before it. Patient tickets, those of
//! acknowledgements, are not broken: they are kept once what they speak for is on disk. Once a try succeeds, all is as
//! before.
//!
//! **Back-pressure.** Nothing here waits, so what has come and is not written yet is bounded by those who send: they
//! should be made to wait while [`Store::pending_octets`] is high, as they are while messages fill the memory. While
//! receipts are waited for, that is never so: what is in flight bounds it.

use std::io;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::damage::Damage;
use super::disk::{Disk, Folder};
use super::frugal;
use super::inbox::{Inbox, Promises};
use super::log::{self, find_raw, is_full, Log};
use super::reader::{self, Ask};
use super::record::Raw;
use super::{Durability, Error, Settings};
use crate::broker::journal::{Journal, Listener, Record, Recovered, Report, Ticket};

/// A store that was opened, and what is in it.
#[derive(Debug)]
pub struct Opened {
    /// The journal.
    pub store: Arc<Store>,
    /// The queues, by number.
    pub queues: Vec<Recovered>,
    /// Higher than the number of any queue that the log knows of: numbers of new ones begin here.
    pub next_queue: u64,
    /// What is damaged: to be told to the operator. Copies are in the folder's `damaged`.
    pub damage: Vec<Damage>,
}

/// The journal on disk.
#[derive(Debug)]
pub struct Store {
    shared: Arc<Shared>,
    /// Where no thread does it: see [`Store::manual`].
    keeper: Option<Mutex<Keeper>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Shared {
    durability: Durability,
    /// Locked for a moment at a time, never while anything is written, and under a queue's lock.
    inbox: Mutex<Inbox>,
    /// There is something to do: the writer sleeps here.
    wake: Condvar,
    asleep: AtomicBool,
    closing: AtomicBool,
    listener: Listening,
    /// Whether `refusal` has words: asked for every message.
    refuses: AtomicBool,
    refusal: Mutex<Option<Arc<str>>>,
    octets: AtomicUsize,
}

#[derive(Default)]
struct Listening(Mutex<Option<Arc<dyn Listener>>>);

impl std::fmt::Debug for Listening {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Listening")
    }
}

/// The one who writes.
#[derive(Debug)]
struct Keeper {
    shared: Arc<Shared>,
    settings: Settings,
    log: Log,
    /// What is being written, or could not be.
    raw: Raw,
    /// Why the last try failed.
    failure: Option<io::Error>,
    /// There is room to be made.
    untidy: bool,
    /// Where no thread reads: what could not be read, and is tried again.
    unread: Vec<Ask>,
    folder: String,
}

impl Store {
    /// Opens the log in a folder, which is made if need be, and starts the threads.
    ///
    /// # Errors
    ///
    /// [`Error::Locked`], [`Error::Newer`], or [`Error::Io`] if the folder cannot be made, read or written to.
    pub fn open(folder: &Path, mut settings: Settings) -> Result<Opened, Error> {
        let failed = |doing| Error::io(doing, folder);
        if settings.salt == 0 {
            let mut octets = [0; 4];
            let random = getrandom::fill(&mut octets).map_err(io::Error::other);
            random.map_err(failed("no random octets from the operating system for"))?;
            settings.salt = u32::from_le_bytes(octets);
        }
        let disk: Arc<dyn Disk> = Arc::new(Folder::take(folder)?);
        let (keeper, opened) = Keeper::open(&disk, settings)?;
        let shared = Arc::clone(&keeper.shared);
        let (asks, asked) = mpsc::channel();
        let listening = Arc::clone(&shared);
        let retry = settings.retry;
        let reader = spawn("store-read", move || {
            reader::read_all(&asked, retry, |report| listening.report(report))
        })
        .map_err(failed("no thread for"))?;
        let abandoned = Arc::clone(&shared);
        let write = move || {
            if catch_unwind(AssertUnwindSafe(|| keeper.run(&asks))).is_err() {
                abandoned.abandon();
            }
        };
        let writer = spawn("store-write", write).map_err(failed("no thread for"))?;
        Ok(opened.with(Store {
            shared,
            keeper: None,
            threads: Mutex::new(vec![writer, reader]),
        }))
    }

    /// A store without threads: everything that they would do is done by [`Store::step`], in its caller's thread. For
    /// simulations.
    ///
    /// # Errors
    ///
    /// As [`Store::open`].
    pub fn manual(disk: &Arc<dyn Disk>, settings: Settings) -> Result<Opened, Error> {
        let (keeper, opened) = Keeper::open(disk, settings)?;
        Ok(opened.with(Store {
            shared: Arc::clone(&keeper.shared),
            keeper: Some(Mutex::new(keeper)),
            threads: Mutex::default(),
        }))
    }

    /// One round of a store without threads: what has come is committed, or tried again, messages that were asked for
    /// are read, a little room is made, and everything is reported. Whether there is more to do at once.
    pub fn step(&self) -> bool {
        let Some(keeper) = &self.keeper else { return false };
        let mut keeper = keeper.lock().unwrap_or_else(PoisonError::into_inner);
        keeper.log.keep_reserve();
        let mut asks = std::mem::take(&mut keeper.unread);
        asks.extend(keeper.round(true));
        keeper.unread = reader::read(asks, |report| self.shared.report(report));
        keeper.untidy
    }

    /// Octets that wait to be written. Senders should wait while there are many: nothing here does.
    pub fn pending_octets(&self) -> usize {
        self.shared.octets.load(Ordering::Relaxed)
    }

    /// A clean stop: writes what has come, says in the folder that the log is whole, and lets go of the listener.
    /// Nothing is taken after that.
    pub fn close(&self) {
        self.shared.closing.store(true, Ordering::Release);
        // Under the lock, so that the writer is asleep or yet to look.
        drop(self.shared.lock());
        self.shared.wake.notify_all();
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            let _ = thread.join();
        }
        if let Some(keeper) = &self.keeper {
            let mut keeper = keeper.lock().unwrap_or_else(PoisonError::into_inner);
            reader::read(keeper.finish(), |report| self.shared.report(report));
        }
        *self.shared.listener.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if self.keeper.is_none() {
            self.close();
        }
    }
}

impl Journal for Store {
    fn is_durable(&self) -> bool {
        true
    }

    fn write(&self, record: Record<'_>, batch: Option<u64>) {
        self.shared.with_inbox(|inbox| inbox.write(record, batch));
    }

    fn seal(&self, batch: u64) {
        self.shared.with_inbox(|inbox| inbox.seal(batch));
    }

    fn ticket(&self) -> Option<Ticket> {
        match self.shared.durability {
            Durability::Fsync => self.shared.lock().promise(false),
            Durability::Interval(_) | Durability::None => None,
        }
    }

    fn patient_ticket(&self) -> Option<Ticket> {
        match self.shared.durability {
            Durability::Fsync => self.shared.lock().promise(true),
            Durability::Interval(_) | Durability::None => None,
        }
    }

    fn refuses(&self) -> Option<Arc<str>> {
        if !self.shared.refuses.load(Ordering::Acquire) {
            return None;
        }
        self.shared
            .refusal
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn pending(&self) -> usize {
        self.pending_octets()
    }

    fn fetch(&self, queue: u64, seqs: &[u64]) {
        self.shared
            .with_inbox(|inbox| inbox.fetches.push((queue, seqs.to_vec())));
    }

    fn attach(&self, listener: Arc<dyn Listener>) {
        *self.shared.listener.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(listener);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts something in, and wakes the writer if it sleeps.
    fn with_inbox(&self, put: impl FnOnce(&mut Inbox)) {
        let mut inbox = self.lock();
        if inbox.closed {
            return;
        }
        put(&mut inbox);
        self.octets.store(inbox.octets(), Ordering::Relaxed);
        drop(inbox);
        if self.asleep.swap(false, Ordering::AcqRel) {
            self.wake.notify_one();
        }
    }

    fn report(&self, report: Report) {
        let listener = self.listener.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(listener) = listener else { return };
        // A broken invariant of somebody else's must not end the thread that everybody's receipts wait for.
        if catch_unwind(AssertUnwindSafe(|| listener.report(report))).is_err() {
            tracing::error!("what the store reported was not taken");
        }
    }

    /// The writer has ended for a reason that cannot be: nobody may wait for it, or think that it still writes.
    fn abandon(&self) {
        let words: Arc<str> = Arc::from("the store has ended with an error of its own: see the log");
        *self.refusal.lock().unwrap_or_else(PoisonError::into_inner) = Some(words);
        self.refuses.store(true, Ordering::Release);
        let broken = self.lock().close();
        broken.into_iter().for_each(|ticket| ticket.resolve(false));
    }

    fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }
}

/// What is handed over of [`Opened`] before there is a store.
struct Found {
    queues: Vec<Recovered>,
    next_queue: u64,
    damage: Vec<Damage>,
}

impl Found {
    fn with(self, store: Store) -> Opened {
        Opened {
            store: Arc::new(store),
            queues: self.queues,
            next_queue: self.next_queue,
            damage: self.damage,
        }
    }
}

impl Keeper {
    fn open(disk: &Arc<dyn Disk>, settings: Settings) -> Result<(Keeper, Found), Error> {
        const SEGMENT: std::ops::RangeInclusive<u64> = 4 << 10..=1 << 30;
        let settings = Settings {
            segment_octets: settings.segment_octets.clamp(*SEGMENT.start(), *SEGMENT.end()),
            ..settings
        };
        let log::Opened {
            log,
            queues,
            next_queue,
            damage,
        } = log::look(disk)?.open(settings)?;
        let shared = Shared {
            durability: settings.durability,
            inbox: Mutex::default(),
            wake: Condvar::new(),
            asleep: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            listener: Listening::default(),
            refuses: AtomicBool::new(false),
            refusal: Mutex::default(),
            octets: AtomicUsize::new(0),
        };
        let mut keeper = Keeper {
            shared: Arc::new(shared),
            settings,
            log,
            raw: Raw::default(),
            failure: None,
            untidy: true,
            unread: Vec::new(),
            folder: disk.name(),
        };
        keeper.judge();
        let found = Found {
            queues,
            next_queue,
            damage,
        };
        Ok((keeper, found))
    }

    fn run(mut self, asks: &Sender<Vec<Ask>>) {
        let mut synced = Instant::now();
        let mut tried = Instant::now();
        while !self.shared.is_closing() {
            self.sleep(tried, synced);
            let was_well = self.failure.is_none();
            let again = self.is_unwell() && tried.elapsed() >= self.settings.retry;
            if again {
                tried = Instant::now();
                self.log.keep_reserve();
            }
            let found = self.round(was_well || again);
            if was_well && self.failure.is_some() {
                tried = Instant::now();
            }
            // Nobody reads any more only when everything stops.
            let _ = found.is_empty() || asks.send(found).is_ok();
            if let Durability::Interval(interval) = self.settings.durability {
                if self.log.is_dirty() && synced.elapsed() >= interval {
                    synced = Instant::now();
                    let result = self.log.sync();
                    self.failure = result.err().or(self.failure.take());
                    self.judge();
                }
            }
        }
        let found = self.finish();
        let _ = asks.send(found);
    }

    /// Sleeps until there is something to do.
    fn sleep(&self, tried: Instant, synced: Instant) {
        let mut until = self.is_unwell().then(|| tried + self.settings.retry);
        if let Durability::Interval(interval) = self.settings.durability {
            if self.log.is_dirty() {
                until = Some(until.map_or(synced + interval, |until| until.min(synced + interval)));
            }
        }
        let mut inbox = self.shared.lock();
        loop {
            let work = !inbox.fetches.is_empty() || (!inbox.raw.is_empty() && self.failure.is_none());
            let untidy = self.untidy && self.failure.is_none();
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            if work || untidy || left == Some(Duration::ZERO) || self.shared.is_closing() {
                return;
            }
            self.shared.asleep.store(true, Ordering::Release);
            inbox = match left {
                None => self.shared.wake.wait(inbox).unwrap_or_else(PoisonError::into_inner),
                Some(left) => {
                    let waited = self.shared.wake.wait_timeout(inbox, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
            self.shared.asleep.store(false, Ordering::Release);
        }
    }

    /// Commits what has come, if that is to be tried now; which messages are to be read.
    fn round(&mut self, attempt: bool) -> Vec<Ask> {
        let shared = Arc::clone(&self.shared);
        let mut inbox = shared.lock();
        let fetches = std::mem::take(&mut inbox.fetches);
        let promises = attempt.then(|| inbox.gather(&mut self.raw));
        drop(inbox);
        if let Some(promises) = promises {
            self.attempt(promises);
        }
        self.locate(&fetches)
    }

    fn attempt(&mut self, promises: Promises) {
        let result = match (self.raw.is_empty(), &self.failure) {
            (false, _) => self.log.commit(&mut self.raw),
            (true, Some(_)) => self.log.probe().map(|()| Vec::new()),
            (true, None) => Ok(Vec::new()),
        };
        match &result {
            Ok(_) => self.raw.clear(),
            Err(error) if is_full(error) => self.make_do(),
            Err(_) => {}
        }
        let prompt = promises.prompt.clone();
        let mut inbox = self.shared.lock();
        let kept = inbox.ended(promises, &self.raw, frugal::is_new(&self.raw));
        self.shared.octets.store(inbox.octets(), Ordering::Relaxed);
        drop(inbox);
        prompt.resolve(result.is_ok());
        kept.into_iter().for_each(|ticket| ticket.resolve(true));
        let outcome = result.and_then(|marks| {
            self.report(marks);
            self.log.make_room()
        });
        match outcome {
            Ok(untidy) => {
                self.untidy = untidy;
                self.failure = None;
            }
            Err(error) => self.failure = Some(error),
        }
        self.judge();
    }

    /// Writes what little can be written on a full disk, and makes the room that it leaves.
    fn make_do(&mut self) {
        let (mut light, rest) = frugal::part(&self.raw);
        if light.is_empty() {
            return;
        }
        // If this fails too, everything waits.
        if let Ok(marks) = self.log.commit(&mut light) {
            self.raw = rest;
            self.report(marks);
            let _ = self.log.make_room();
        }
    }

    fn report(&self, marks: Vec<(u64, u64)>) {
        for (queue, below) in marks {
            self.shared.report(Report::Marked { queue, below });
        }
    }

    fn is_unwell(&self) -> bool {
        self.failure.is_some() || !self.log.has_reserve()
    }

    /// Says whether persistent messages can be taken, to those who ask and, when that changes, in the log.
    fn judge(&mut self) {
        let words = match &self.failure {
            Some(error) if is_full(error) => Some(format!("the disk of {} is full", self.folder)),
            Some(error) => Some(format!("the disk of {} is unwell: {error}", self.folder)),
            None if !self.log.has_reserve() => Some(format!("the disk of {} is full", self.folder)),
            None => None,
        };
        let mut refusal = self.shared.refusal.lock().unwrap_or_else(PoisonError::into_inner);
        match (&words, refusal.as_deref()) {
            (Some(words), None) => tracing::error!("{words}: persistent messages are refused until it is well"),
            (None, Some(_)) => tracing::info!("the disk of {} is well again", self.folder),
            _ => {}
        }
        self.shared.refuses.store(words.is_some(), Ordering::Release);
        *refusal = words.map(Arc::from);
    }

    /// Where messages are that were asked for. Those that are not written yet are reported at once.
    fn locate(&self, fetches: &[(u64, Vec<u64>)]) -> Vec<Ask> {
        let mut asks = Vec::new();
        for (queue, seqs) in fetches {
            for seq in seqs {
                let (queue, seq) = (*queue, *seq);
                if let Some(place) = self.log.locate(queue, seq) {
                    asks.push(Ask { queue, seq, place });
                    continue;
                }
                let unwritten = find_raw(self.raw.octets(), queue, seq);
                let octets = unwritten.or_else(|| self.shared.lock().find(queue, seq));
                self.shared.report(Report::Loaded { queue, seq, octets });
            }
        }
        asks.sort_by_key(|ask| ask.place.order());
        asks
    }

    /// The last rounds.
    fn finish(&mut self) -> Vec<Ask> {
        let asks = self.round(true);
        let broken = self.shared.lock().close();
        broken.into_iter().for_each(|ticket| ticket.resolve(false));
        // What could not be written is not there, and a folder that says it was closed would hide that.
        let whole = self.raw.is_empty() && self.failure.is_none();
        if let Some(Err(error)) = whole.then(|| self.log.close()) {
            tracing::error!(%error, "the store in {} was not closed cleanly", self.folder);
        }
        asks
    }
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name(name.to_owned()).spawn(body)
}
