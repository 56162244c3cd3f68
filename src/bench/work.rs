//! The scenarios in which messages flow: set up, warm up, measure, wait for the rest, account.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use hdrhistogram::Histogram;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::check::{Arrivals, Faults, Rising, Shared};
use super::connection::{Connection, Scratch};
use super::figures::{histogram, Quantiles};
use super::flow::{Flow, Room};
use super::neighbours::{self, gather};
use super::plan::Plan;
use super::process::{self, Processes};
use super::progress::Progress;
use super::publish::{publish, Frames};
use super::report::{BrokerCost, Load, Report};
use super::stamp::Stamp;
use super::subscribe::{self, View};
use super::{Arguments, Failure};

/// How often the end is looked for.
const LOOK: Duration = Duration::from_millis(20);

/// Time for all SUBSCRIBEs to be receipted.
const SUBSCRIBED: Duration = Duration::from_secs(60);

/// For a wait that something else ends.
const TO_THE_END: Duration = Duration::from_secs(1 << 40);

/// Troubles that are told; further ones are like them.
const TROUBLES: usize = 5;

/// What all tasks of a run share. One thread: nothing is locked.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) arguments: Arguments,
    pub(super) plan: Plan,
    /// Part of all names of this run.
    pub(super) name: String,
    pub(super) scratch: Scratch,
    pub(super) server: RefCell<String>,
    /// By publisher; of a queue, the last is the backlog's.
    pub(super) flows: Vec<Flow>,
    /// By subscriber.
    pub(super) views: Vec<RefCell<View>>,
    /// Of a queue: what all its consumers have together, by publisher.
    pub(super) shared: RefCell<Vec<Shared>>,
    /// Microseconds from due to delivered.
    pub(super) latency: RefCell<Histogram<u64>>,
    /// Microseconds from due to receipted.
    receipts: RefCell<Histogram<u64>>,
    started: Instant,
    subscribed: Cell<usize>,
    delivered: Cell<u64>,
    /// When the last delivery or receipt came, in nanoseconds of the run.
    last: Cell<u64>,
    troubles: RefCell<Vec<String>>,
    stirred: Notify,
}

/// A moment's reading of everything that is counted.
#[derive(Clone, Copy, Debug)]
struct Reading {
    at: u64,
    sent: u64,
    delivered: u64,
    broker_cpu: f64,
    own_cpu: f64,
}

/// One scenario, from connecting to the report.
pub(super) async fn run(arguments: &Arguments) -> Result<Report, Failure> {
    let broker = Processes::new(&arguments.pid)?;
    let run = Rc::new(Run::new(arguments)?);
    neighbours::settle(&run).await?;
    run.fill().await?;
    run.subscribe().await?;
    let stuck = neighbours::stuck(&run).await?;
    let publishers = {
        let open = |_| {
            let run = Rc::clone(&run);
            async move { Connection::open(&run.arguments, &run.scratch).await }
        };
        gather(run.plan.publishers, open).await?
    };

    neighbours::heat(&run).await?;
    let rss_before = broker.as_ref().map(Processes::rss_kib);
    let progress = Progress::start(&run, broker.clone());
    for (index, connection) in publishers.into_iter().enumerate() {
        tokio::task::spawn_local(publish(Rc::clone(&run), index, connection));
    }
    run.pause(arguments.warm_up).await;
    run.latency.borrow_mut().reset();
    run.receipts.borrow_mut().reset();
    let begin = run.read(broker.as_ref());
    let end = run.measure(broker.as_ref()).await;
    let rss_peak = progress.stop();
    drop(stuck);

    let cost = broker.as_ref().map(|broker| BrokerCost {
        cpu_us_per_delivery: (end.broker_cpu - begin.broker_cpu) * 1e6
            / (end.delivered - begin.delivered).max(1) as f64,
        cores: (end.broker_cpu - begin.broker_cpu) * 1e9 / (end.at - begin.at).max(1) as f64,
        rss_before_kib: rss_before.unwrap_or_default(),
        rss_peak_kib: rss_peak.max(broker.rss_kib()),
    });
    Ok(Report::Load(Box::new(run.account(begin, end, cost))))
}

impl Run {
    fn new(arguments: &Arguments) -> Result<Run, Failure> {
        let since_1970 = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let name = format!("{:x}-{:x}", std::process::id(), since_1970.as_micros());
        let plan = Plan::new(arguments, &name);
        let room = || match (arguments.rate, plan.fan()) {
            (Some(_), _) => Room::Always,
            (None, 1) => Room::Delivered,
            (None, fan) => Room::DeliveredToAll {
                fan,
                ring: RefCell::default(),
            },
        };
        let mut flows: Vec<Flow> = (0..plan.publishers)
            .map(|_| Flow::new(arguments.window, room(), arguments.persistent))
            .collect();
        if plan.is_queue() {
            let backlog = Flow::new(arguments.window, Room::Always, false);
            backlog.end_after(arguments.backlog);
            flows.push(backlog);
        }
        let views = (0..plan.subscribers).map(|place| match plan.is_queue() {
            true => View::Queue(flows.iter().map(|_| Rising::default()).collect()),
            false => View::Topic {
                first: plan.hears(place).start,
                arrivals: plan.hears(place).map(|_| Arrivals::default()).collect(),
            },
        });
        Ok(Run {
            views: views.map(RefCell::new).collect(),
            shared: RefCell::new(flows.iter().map(|_| Shared::default()).collect()),
            flows,
            plan,
            name,
            arguments: arguments.clone(),
            scratch: Scratch::default(),
            server: RefCell::default(),
            latency: RefCell::new(histogram()?),
            receipts: RefCell::new(histogram()?),
            started: Instant::now(),
            subscribed: Cell::new(0),
            delivered: Cell::new(0),
            last: Cell::new(0),
            troubles: RefCell::default(),
            stirred: Notify::new(),
        })
    }

    /// Nanoseconds since the run began.
    pub(super) fn now(&self) -> u64 {
        self.started.elapsed().as_nanos() as u64
    }

    /// Something went wrong that does not end the run, or not at once.
    pub(super) fn trouble(&self, what: String) {
        let mut troubles = self.troubles.borrow_mut();
        if troubles.len() < TROUBLES {
            troubles.push(what);
        }
        self.stirred.notify_one();
    }

    /// A subscriber's SUBSCRIBE was receipted.
    pub(super) fn subscribed(&self) {
        self.subscribed.set(self.subscribed.get() + 1);
        self.stirred.notify_one();
    }

    /// Messages were delivered that had not been before.
    pub(super) fn delivered(&self, count: u64, now: u64) {
        self.delivered.set(self.delivered.get() + count);
        self.last.set(now);
    }

    /// A publisher got a RECEIPT.
    pub(super) fn receipted(&self, publisher: usize, stamp: Stamp, now: u64) {
        self.receipts
            .borrow_mut()
            .saturating_record(now.saturating_sub(stamp.due) / 1_000);
        self.last.set(now);
        if let Some(flow) = self.flows.get(publisher) {
            flow.receipt();
        }
    }

    /// Whose window has room again when this publisher's message was delivered. The backlog has none: what is taken
    /// from it makes room for the next one to be put in, so that the queue stays as deep as it is.
    pub(super) fn creditor(&self, publisher: usize, number: u64) -> Option<&Flow> {
        let own = if publisher < self.plan.publishers {
            publisher
        } else {
            number as usize % self.plan.publishers
        };
        self.flows.get(own)
    }

    /// Puts the backlog into the queue.
    async fn fill(&self) -> Result<(), Failure> {
        let (Some(flow), true) = (self.flows.get(self.plan.publishers), self.arguments.backlog > 0) else {
            return Ok(());
        };
        let mut connection = Connection::open(&self.arguments, &self.scratch).await?;
        let frames = Frames::new(&self.plan.destinations, self.arguments.size, self.arguments.persistent);
        let mut fill = async || -> io::Result<()> {
            while !flow.is_over() {
                let stamp = Stamp {
                    due: self.now(),
                    publisher: self.plan.publishers as u32,
                    number: flow.sent(),
                };
                flow.send();
                let every = flow.sent() % 1_000 == 0 || flow.is_over();
                frames.put(&mut connection.writer, stamp, every);
                if every {
                    connection.writer.flush().await?;
                    let receipts = if self.arguments.persistent {
                        stamp.number % 1_000 + 1
                    } else {
                        1
                    };
                    connection.await_receipts(receipts, &self.scratch).await?;
                }
            }
            Ok(())
        };
        fill()
            .await
            .map_err(|error| Failure::Broken(format!("filling the queue: {error}")))
    }

    async fn subscribe(self: &Rc<Self>) -> Result<(), Failure> {
        gather(self.plan.subscribers, |place| subscribe::begin(Rc::clone(self), place)).await?;
        let all = async {
            while self.subscribed.get() < self.plan.subscribers && self.troubles.borrow().is_empty() {
                self.stirred.notified().await;
            }
        };
        let late = timeout(SUBSCRIBED, all).await.is_err();
        if let Some(trouble) = self.troubles.borrow().first() {
            return Err(Failure::Broken(trouble.clone()));
        }
        if late {
            return Err(Failure::Broken(format!(
                "only {} of {} subscriptions were receipted within {} s",
                self.subscribed.get(),
                self.plan.subscribers,
                SUBSCRIBED.as_secs()
            )));
        }
        Ok(())
    }

    /// Lets the load run for `time`, or until nothing comes any more.
    async fn pause(&self, time: Duration) {
        let until = Instant::now() + time;
        self.last.set(self.now());
        while Instant::now() < until && !self.is_stalled() && !self.is_done() {
            sleep(LOOK.min(until.saturating_duration_since(Instant::now()))).await;
        }
    }

    /// Measures, ends the flows, waits for what is under way. What was read at the end of the measured time.
    async fn measure(&self, broker: Option<&Processes>) -> Reading {
        let publishers = || self.flows.iter().take(self.plan.publishers);
        match self.arguments.messages {
            Some(count) => {
                publishers().for_each(|flow| flow.end_after(count));
                self.pause(TO_THE_END).await;
                // The last delivery ends it, not our next look.
                let end = self.read(broker);
                Reading {
                    at: self.last.get(),
                    ..end
                }
            }
            None => {
                self.pause(self.arguments.duration).await;
                publishers().for_each(|flow| flow.end_after(0));
                let end = self.read(broker);
                self.pause(TO_THE_END).await;
                end
            }
        }
    }

    /// Whether everything was sent, delivered and receipted.
    fn is_done(&self) -> bool {
        self.flows.iter().all(Flow::is_over) && self.delivered.get() >= self.expected() && self.unreceipted() == 0
    }

    fn is_stalled(&self) -> bool {
        let since = self.now().saturating_sub(self.last.get());
        since > self.arguments.patience.as_nanos() as u64
    }

    /// Deliveries that are due for what was sent so far.
    pub(super) fn expected(&self) -> u64 {
        self.sent() * u64::from(self.plan.fan())
    }

    fn sent(&self) -> u64 {
        self.flows.iter().map(Flow::sent).sum()
    }

    fn unreceipted(&self) -> u64 {
        self.flows.iter().map(Flow::unreceipted).sum()
    }

    /// Deliveries so far.
    pub(super) fn deliveries(&self) -> u64 {
        self.delivered.get()
    }

    fn read(&self, broker: Option<&Processes>) -> Reading {
        Reading {
            at: self.now(),
            sent: self.sent(),
            delivered: self.delivered.get(),
            broker_cpu: broker.map_or(0.0, Processes::cpu_seconds),
            own_cpu: process::own_cpu_seconds(),
        }
    }

    /// Everything that is wrong, over the whole run, warm-up and all.
    fn faults(&self) -> Faults {
        let mut faults = Faults::default();
        let sent = |publisher: usize| self.flows.get(publisher).map_or(0, Flow::sent);
        for (place, view) in self.views.iter().enumerate() {
            faults.add(view.borrow().faults(|publisher| self.plan.due(place, sent(publisher))));
        }
        if self.plan.is_queue() {
            for (publisher, shared) in self.shared.borrow().iter().enumerate() {
                faults.add(shared.faults(sent(publisher)));
            }
        }
        faults
    }

    fn account(&self, begin: Reading, end: Reading, broker: Option<BrokerCost>) -> Load {
        let seconds = end.at.saturating_sub(begin.at).max(1) as f64 / 1e9;
        let sent = end.sent - begin.sent;
        let delivered = end.delivered - begin.delivered;
        let arguments = &self.arguments;
        Load {
            scenario: arguments.scenario.into(),
            url: arguments.url.to_string(),
            server: self.server.borrow().clone(),
            publishers: self.plan.publishers,
            subscribers: self.plan.subscribers,
            destinations: self.plan.destinations.len(),
            size: arguments.size,
            window: arguments.rate.is_none().then_some(arguments.window),
            rate: arguments.rate,
            persistent: arguments.persistent,
            stuck: arguments.stuck,
            idle: arguments.idle,
            others: arguments.others,
            patterns: arguments.patterns,
            hot: arguments.hot,
            backlog: arguments.backlog,
            seconds,
            sent,
            delivered,
            sent_per_second: sent as f64 / seconds,
            delivered_per_second: delivered as f64 / seconds,
            latency: Quantiles::of(&self.latency.borrow()),
            receipts: Quantiles::of(&self.receipts.borrow()),
            broker,
            tool_cores: (end.own_cpu - begin.own_cpu) / seconds,
            unreceipted: self.unreceipted(),
            faults: self.faults(),
            troubles: self.troubles.borrow().clone(),
        }
    }
}
