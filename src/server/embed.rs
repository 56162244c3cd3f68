//! The broker without a socket: publish and subscribe from the program that runs it.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::broker::destination::WORKER;
use crate::broker::durable::named_by_client;
use crate::broker::outbound::{Delivery, LaneHead};
use crate::broker::private::{encoded, USER};
use crate::broker::queue::{Binding, Options, Queue};
use crate::broker::subscription::Feed;
use crate::broker::{
    AckMode, Broker, Done, Draft, Limit, Message, Names, Outbound, Route, Selection, Sent, Subscribe, Subscription,
    Ticket,
};
use crate::session::{self, wishes, Fault, Wishes};
use crate::stomp::headers::escape_into;
use crate::stomp::{Headers, Line, Version};

use super::clock::Clock;
use super::{Error, Server, Shared};

/// Between two tries of a message that waits for memory or the disk, which do not call.
const RETRY: Duration = Duration::from_millis(50);

impl Server {
    /// Sends a message as if a client had: returns when it took effect, so a full queue makes it wait, for
    /// `session.blocked_timeout` at most, and an application destination that nobody works for, for `app.patience`.
    ///
    /// # Errors
    /// [`Error::Refused`]: no such destination form, or the queue stayed full, or no worker came.
    pub async fn publish(&self, destination: &str, body: impl AsRef<[u8]>) -> Result<(), Error> {
        self.publish_with(destination, &[], body).await
    }

    /// As [`Server::publish`], with headers: names and values as they are to be read, unescaped. They ask for what they
    /// ask for on a client's SEND: `persistent:true` to be on disk before this returns, `priority`, `ttl`, `x-delay`,
    /// the options of the queue.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use hoofbeat::server::{Server, Settings};
    ///
    /// let folder = tempfile::tempdir()?;
    /// let data = Some(folder.path().to_owned());
    /// let server = Server::start(Settings { websocket: None, tcp: None, data, ..Settings::default() }).await?;
    /// // From now on it keeps what is sent, whether anybody is there or not, and over restarts.
    /// let mut orders = server.subscribe_durably("warehouse", "orders", "/topic/orders").await?;
    /// server.publish_with("/topic/orders", &[("persistent", "true")], "one chair").await?;
    /// assert_eq!(orders.next().await?.body(), b"one chair");
    /// # server.stop().await;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`Server::publish`]; and what a client would be told of a header that cannot be, or when a persistent message
    /// cannot be stored.
    pub async fn publish_with(
        &self,
        destination: &str,
        headers: &[(&str, &str)],
        body: impl AsRef<[u8]>,
    ) -> Result<(), Error> {
        self.shared.publish(destination, headers, body.as_ref()).await
    }

    /// Sends a message to each session of `user` that has subscribed `/user` and `destination`: to `/user/queue/x` if
    /// `destination` is `/queue/x`. Who is not there misses it.
    ///
    /// # Errors
    /// As [`Server::publish`].
    pub async fn send_to_user(
        &self,
        user: &str,
        destination: &str,
        headers: &[(&str, &str)],
        body: impl AsRef<[u8]>,
    ) -> Result<(), Error> {
        let name = format!("{USER}{}{destination}", encoded(user));
        self.publish_with(&name, headers, body).await
    }

    /// Subscribes: to a queue, a topic, or topics by pattern. Messages wait within the budget of a connection; they
    /// are settled when they are taken.
    ///
    /// # Errors
    /// [`Error::Refused`]: no such destination form, or there are as many destinations as there may be.
    pub fn subscribe(&self, destination: &str) -> Result<Subscriber, Error> {
        if destination.starts_with(WORKER) {
            return Err(Error::Refused(format!("\"{destination}\" is for Server::app")));
        }
        self.subscribe_as(destination, None, None)
    }

    /// Subscribes durably to a topic, or to topics by pattern: what is sent from now on is kept for the subscription,
    /// also while nobody has it open, persistent messages over restarts too. It is that of STOMP clients with this
    /// `client-id` and `durable-subscription-name`, and shared with those that have it open. Returns when it is on disk.
    /// Messages are settled when they are taken.
    ///
    /// # Errors
    /// [`Error::Refused`]: what a client would be told, such as that there are as many durable subscriptions as there
    /// may be, or that this one has another destination.
    pub async fn subscribe_durably(&self, client_id: &str, name: &str, destination: &str) -> Result<Subscriber, Error> {
        let subscriber = self.subscribe_as(destination, Some(durable(client_id, name)?), None)?;
        self.stored(subscriber.broker.durable_ticket()).await?;
        Ok(subscriber)
    }

    /// Removes a durable subscription with what it holds; false if there is none. Returns when that is on disk.
    ///
    /// # Errors
    /// [`Error::Refused`]: somebody has it open, or the disk is unwell.
    pub async fn remove_subscription(&self, client_id: &str, name: &str) -> Result<bool, Error> {
        let name = durable(client_id, name)?;
        let removed = self.own_broker()?.remove_durable(&name);
        let (removed, ticket) = removed.map_err(told)?;
        self.stored(ticket).await?;
        Ok(removed)
    }

    fn own_broker(&self) -> Result<&Arc<Broker>, Error> {
        match self.shared.behind {
            Some(_) => Err(Error::Refused(
                "a relay has no messages of its own; subscribe to the broker behind it".to_owned(),
            )),
            None => Ok(&self.shared.hosts.default),
        }
    }

    async fn stored(&self, ticket: Option<Ticket>) -> Result<(), Error> {
        let limits = self.shared.hosts.default.settings().outbound;
        match ticket {
            Some(ticket) => kept(&ticket, &Arc::new(Outbound::new(limits))).await,
            None => Ok(()),
        }
    }

    /// `credit` is that of one who settles what it takes itself, see [`Subscriber::take`].
    pub(super) fn subscribe_as(
        &self,
        destination: &str,
        durable: Option<Arc<str>>,
        credit: Option<usize>,
    ) -> Result<Subscriber, Error> {
        let broker = Arc::clone(self.own_broker()?);
        let selection = names(&broker)
            .selection(destination)
            .map_err(|why| refused(destination, &why))?;
        if matches!(&selection, Selection::One(one) if one.reply) {
            return Err(Error::Refused(format!("\"{destination}\" is private to a session")));
        }
        let binding = match &durable {
            Some(name) => Some(bound(&broker, name, &selection, destination)?),
            None => None,
        };
        let outbound = Arc::new(Outbound::new(broker.settings().outbound));
        let session = broker.enter();
        let ask = Subscribe {
            selection,
            session,
            serial: 0,
            mode: credit.map_or(AckMode::Auto, |_| AckMode::ClientIndividual),
            prefetch: credit,
            no_local: false,
            selector: None,
            browse: false,
            alone: false,
            exclusive: false,
            durable,
            options: Options {
                binding: binding.map(Arc::new),
                ..Options::default()
            },
            head: LaneHead {
                prefix: Box::default(),
                version: Version::V1_2,
                safe: false,
                queue: false,
                manual: false,
                answer: false,
            },
        };
        let clock = self.shared.clock;
        match broker.subscribe(ask, &outbound, clock.now()) {
            Ok(subscription) => Ok(Subscriber {
                broker,
                outbound,
                subscription,
                clock,
            }),
            Err(why) => {
                broker.leave();
                Err(told(why))
            }
        }
    }
}

/// Sends a message that is not a client's: returns when it took effect.
pub(super) async fn give(shared: &Shared, broker: &Broker, route: &Route, message: &Arc<Message>) -> Result<(), Error> {
    give_within(shared, broker, route, message, Duration::MAX).await
}

/// As [`give`], for a message that waits for room no longer than `most`.
pub(super) async fn give_within(
    shared: &Shared,
    broker: &Broker,
    route: &Route,
    message: &Arc<Message>,
    most: Duration,
) -> Result<(), Error> {
    let began = tokio::time::Instant::now();
    let caller = Arc::new(Outbound::new(broker.settings().outbound));
    loop {
        match broker.send(route, message, &caller, shared.clock.now()) {
            Sent::Done(Done { ticket, pause }) => {
                if let Some(until) = pause {
                    // A subscriber does not keep up; nobody is cut for a burst that could be a little slower.
                    let _ = tokio::time::timeout_at(shared.clock.at(until), called(&caller)).await;
                }
                return match ticket {
                    Some(ticket) => kept(&ticket, &caller).await,
                    None => Ok(()),
                };
            }
            Sent::Refused(why) => return Err(told(why)),
            Sent::Blocked(limit) => {
                let deadline = began + patience(&shared.settings.session, &limit).min(most);
                let mut waiting = Waiting {
                    broker,
                    limit,
                    caller: &caller,
                    called: false,
                };
                if tokio::time::Instant::now() >= deadline {
                    return Err(told(waiting.limit.clone()));
                }
                let next = match waiting.limit {
                    Limit::Memory(..) | Limit::Disk(..) => deadline.min(tokio::time::Instant::now() + RETRY),
                    Limit::Queue(..) | Limit::NoWorker(..) => deadline,
                };
                waiting.called = tokio::time::timeout_at(next, called(&caller)).await.is_ok();
            }
        }
    }
}

/// How long what meets a limit waits for it to pass.
fn patience(settings: &session::Settings, limit: &Limit) -> Duration {
    Duration::from_millis(match limit {
        Limit::NoWorker(..) => settings.app.patience_ms,
        Limit::Memory(..) | Limit::Queue(..) | Limit::Disk(..) => settings.blocked_ms,
    })
}

/// A sender that waits for a limit to pass. If it gives up, or is not polled any more, nobody is to call it.
struct Waiting<'a> {
    broker: &'a Broker,
    limit: Limit,
    caller: &'a Arc<Outbound>,
    called: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if !self.called {
            self.broker.stop_waiting(&self.limit, self.caller);
        }
    }
}

impl Shared {
    /// See [`Server::publish_with`].
    pub(super) async fn publish(&self, destination: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<(), Error> {
        if let Some(behind) = &self.behind {
            return behind.publish(destination, headers, body).await;
        }
        let broker = &self.hosts.default;
        let to = names(broker)
            .target(destination)
            .map_err(|why| refused(destination, &why))?;
        let now = self.clock.now();
        let lines: Vec<(String, String)> = headers
            .iter()
            .map(|(name, value)| (escaped(name), escaped(value)))
            .collect();
        let headers = Headers::new(lines.iter().map(|(name, value)| Line { name, value }), true);
        let Wishes { properties, options } = wishes(&headers, to.kind, now).map_err(told)?;
        let message = broker.message(Draft {
            destination: &to.shown(destination),
            headers: &headers,
            reply_to: None,
            body,
            version: Version::V1_2,
            properties,
            publisher: 0,
        });
        let route = Route {
            create: !to.reply && !to.app,
            owner: None,
            options,
            to,
        };
        give(self, broker, &route, &message).await
    }
}

/// A subscription of the embedding program. Dropping it unsubscribes.
#[derive(Debug)]
pub struct Subscriber {
    broker: Arc<Broker>,
    outbound: Arc<Outbound>,
    subscription: Subscription,
    clock: Clock,
}

impl Subscriber {
    /// The next message.
    ///
    /// # Errors
    /// [`Error::SlowConsumer`]: more waited than the budget allows, and the topic's policy is to disconnect.
    pub async fn next(&mut self) -> Result<Arc<Message>, Error> {
        let delivery = self.take().await?;
        if let Feed::Queue(queue, consumer) = &self.subscription.feed {
            self.broker.written(queue, *consumer, delivery.tag, self.clock.now());
        }
        Ok(delivery.message)
    }

    /// The next message, unsettled.
    pub(super) async fn take(&mut self) -> Result<Delivery, Error> {
        poll_fn(|cx| self.poll_take(cx)).await
    }

    /// The queue that it is subscribed to, and its number there, to settle what was taken.
    pub(super) fn source(&self) -> Option<(Arc<Broker>, Arc<Queue>, u32)> {
        let (queue, consumer) = self.subscription.source()?;
        Some((Arc::clone(&self.broker), Arc::clone(queue), consumer))
    }

    fn poll_take(&mut self, cx: &mut Context<'_>) -> Poll<Result<Delivery, Error>> {
        loop {
            let now = self.clock.now();
            if let Some((_, delivery)) = self.outbound.take(now) {
                self.resume();
                self.broker.counters().delivered.one();
                return Poll::Ready(Ok(delivery));
            }
            if self.outbound.slow_consumer().is_some() {
                return Poll::Ready(Err(Error::SlowConsumer));
            }
            self.outbound.take_nudge();
            if !self.outbound.poll_work(cx.waker()) {
                return Poll::Pending;
            }
        }
    }

    fn resume(&self) {
        if let Feed::Queue(queue, consumer) = &self.subscription.feed {
            if self.outbound.take_stalled() {
                self.broker.resume(queue, *consumer, self.clock.now());
            }
        }
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        let now = self.clock.now();
        self.broker.abandon(&self.subscription, &self.outbound, None, true, now);
        self.broker.leave();
        self.outbound.close();
    }
}

fn names(broker: &Broker) -> Names<'_> {
    Names {
        prefixes: &broker.settings().prefixes,
        spring: &broker.settings().spring,
        limit: broker.settings().destination_bytes,
        token: "",
        // No session has this one: temporary names of the embedding program lead nowhere.
        temporary: "",
        user: None,
    }
}

/// The canonical name of a durable subscription.
fn durable(client_id: &str, name: &str) -> Result<Arc<str>, Error> {
    match client_id.is_empty() || name.is_empty() {
        true => Err(Error::Refused(
            "a durable subscription needs a client-id and a name".to_owned(),
        )),
        false => Ok(named_by_client(client_id, name)),
    }
}

/// What the durable subscription `name` is to be bound to.
fn bound(broker: &Broker, name: &str, selection: &Selection, destination: &str) -> Result<Binding, Error> {
    let limit = broker.settings().destination_bytes.saturating_mul(2);
    if name.len() > limit {
        let octets = name.len();
        return Err(Error::Refused(format!(
            "the durable subscription's client-id and name have {octets} octets; the limit is {limit}"
        )));
    }
    Binding::of(selection, None).ok_or_else(|| {
        Error::Refused(format!(
            "\"{destination}\" is a queue; durable subscriptions are to topics"
        ))
    })
}

/// What a client would be told.
fn told(why: impl Into<Fault>) -> Error {
    Error::Refused(why.into().detail)
}

fn refused(destination: &str, why: &crate::broker::destination::Unnamed) -> Error {
    let forms = crate::broker::destination::FORMS;
    Error::Refused(format!(
        "\"{destination}\" is no destination here ({why:?}); the forms: {forms}"
    ))
}

fn escaped(text: &str) -> String {
    let mut octets = Vec::with_capacity(text.len());
    escape_into(&mut octets, text, Version::V1_2);
    String::from_utf8_lossy(&octets).into_owned()
}

async fn called(outbound: &Outbound) {
    poll_fn(|cx| match outbound.take_nudge() || outbound.poll_work(cx.waker()) {
        true => Poll::Ready(()),
        false => Poll::Pending,
    })
    .await;
}

async fn kept(ticket: &Ticket, outbound: &Arc<Outbound>) -> Result<(), Error> {
    ticket.wait(outbound);
    loop {
        match ticket.outcome() {
            Some(true) => return Ok(()),
            Some(false) => return Err(Error::Refused("the message could not be stored".to_owned())),
            None => called(outbound).await,
        }
    }
}
