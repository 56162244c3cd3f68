//! The broker without a socket: publish and subscribe from the program that runs it.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::broker::outbound::{LaneHead, LaneId};
use crate::broker::private::{encoded, USER};
use crate::broker::queue::Options;
use crate::broker::subscription::Feed;
use crate::broker::{
    AckMode, Broker, Done, Draft, Message, Names, Outbound, Properties, Route, Selection, Sent, Subscribe,
    Subscription, Ticket,
};
use crate::session::Fault;
use crate::stomp::headers::escape_into;
use crate::stomp::{Headers, Line, Version};

use super::clock::Clock;
use super::{Error, Server};

/// Between two tries of a message that waits for memory.
const RETRY: Duration = Duration::from_millis(50);

impl Server {
    /// Sends a message as if a client had: returns when it took effect, so a full queue makes it wait, for
    /// `session.blocked_timeout` at most.
    ///
    /// # Errors
    /// [`Error::Refused`]: no such destination form, or the queue stayed full.
    pub async fn publish(&self, destination: &str, body: impl AsRef<[u8]>) -> Result<(), Error> {
        self.publish_with(destination, &[], body).await
    }

    /// As [`Server::publish`], with headers: names and values as they are to be read, unescaped.
    ///
    /// # Errors
    /// As [`Server::publish`].
    pub async fn publish_with(
        &self,
        destination: &str,
        headers: &[(&str, &str)],
        body: impl AsRef<[u8]>,
    ) -> Result<(), Error> {
        if let Some(behind) = &self.shared.behind {
            return behind.publish(destination, headers, body.as_ref()).await;
        }
        let broker = &self.shared.hosts.default;
        let to = names(broker)
            .target(destination)
            .map_err(|why| refused(destination, &why))?;
        let lines: Vec<(String, String)> = headers
            .iter()
            .map(|(name, value)| (escaped(name), escaped(value)))
            .collect();
        let headers = Headers::new(lines.iter().map(|(name, value)| Line { name, value }), true);
        let message = broker.message(Draft {
            destination: &to.shown(destination),
            headers: &headers,
            reply_to: None,
            body: body.as_ref(),
            version: Version::V1_2,
            properties: Properties {
                priority: 4,
                ..Properties::default()
            },
            publisher: 0,
        });
        let route = Route {
            create: !to.reply,
            owner: None,
            options: None,
            to,
        };
        let patience = Duration::from_millis(self.shared.settings.session.blocked_ms);
        let deadline = tokio::time::Instant::now() + patience;
        let caller = Arc::new(Outbound::new(broker.settings().outbound));
        loop {
            match broker.send(&route, &message, &caller, self.shared.clock.now()) {
                Sent::Done(Done { ticket, pause }) => {
                    if let Some(until) = pause {
                        // A subscriber does not keep up; nobody is cut for a burst that could be a little slower.
                        let _ = tokio::time::timeout_at(self.shared.clock.at(until), called(&caller)).await;
                    }
                    return match ticket {
                        Some(ticket) => kept(&ticket, &caller).await,
                        None => Ok(()),
                    };
                }
                Sent::Refused(why) => return Err(Error::Refused(Fault::from(why).detail)),
                Sent::Blocked(limit) if tokio::time::Instant::now() >= deadline => {
                    return Err(Error::Refused(Fault::from(limit).detail));
                }
                Sent::Blocked(_) => {
                    // Memory does not call; a queue does.
                    let _ = tokio::time::timeout(RETRY, called(&caller)).await;
                }
            }
        }
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
        if self.shared.behind.is_some() {
            let why = "a relay has no messages of its own; subscribe to the broker behind it";
            return Err(Error::Refused(why.to_owned()));
        }
        let broker = Arc::clone(&self.shared.hosts.default);
        let selection = names(&broker)
            .selection(destination)
            .map_err(|why| refused(destination, &why))?;
        if matches!(&selection, Selection::One(one) if one.reply) {
            return Err(Error::Refused(format!("\"{destination}\" is private to a session")));
        }
        let outbound = Arc::new(Outbound::new(broker.settings().outbound));
        let session = broker.enter();
        let ask = Subscribe {
            selection,
            session,
            serial: 0,
            mode: AckMode::Auto,
            prefetch: None,
            no_local: false,
            selector: None,
            browse: false,
            alone: false,
            exclusive: false,
            durable: None,
            options: Options::default(),
            head: LaneHead {
                prefix: Box::default(),
                version: Version::V1_2,
                safe: false,
                queue: false,
                manual: false,
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
                Err(Error::Refused(Fault::from(why).detail))
            }
        }
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
        poll_fn(|cx| self.poll_next(cx)).await
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Arc<Message>, Error>> {
        loop {
            let now = self.clock.now();
            if let Some((lane, delivery)) = self.outbound.take(now) {
                self.settle(lane, delivery.tag);
                return Poll::Ready(Ok(delivery.message));
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

    fn settle(&self, _lane: LaneId, tag: u64) {
        let now = self.clock.now();
        if let Feed::Queue(queue, consumer) = &self.subscription.feed {
            self.broker.written(queue, *consumer, tag, now);
            if self.outbound.take_stalled() {
                self.broker.resume(queue, *consumer, now);
            }
        }
        self.broker.counters().delivered.one();
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
        limit: broker.settings().destination_bytes,
        // No session has this token: temporary names of the embedding program lead nowhere.
        token: "",
        user: None,
    }
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
