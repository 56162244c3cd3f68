//! Application destinations served by the program that runs the broker: a closure for each.

use std::borrow::Cow;
use std::future::Future;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::Serialize;
use tokio::task::{AbortHandle, JoinSet};

use crate::broker::destination::WORKER;
use crate::broker::queue::Queue;
use crate::broker::{Broker, Message, Settle};

use super::clock::Clock;
use super::embed::Subscriber;
use super::{Error, Server, Shared};

/// Requests that one closure may have under way at a time; further ones wait in their queue.
const AT_A_TIME: usize = 64;

impl Server {
    /// Works for an application destination, such as `/app/orders`, or for all of a pattern, such as `/app/orders/*`:
    /// what clients SEND there, and the requests that they make with SUBSCRIBE, are given to `work`, and its [`Reply`]
    /// goes back to the session that asked. Ends when the [`Worker`] is dropped.
    ///
    /// Up to 64 requests are under way at a time, in no order. It shares the destination with clients that work for it
    /// too. A request during which `work` panics, or the worker is dropped, is tried again.
    ///
    /// To be called in the tokio runtime of the server.
    ///
    /// # Errors
    /// [`Error::Refused`]: it is no application destination, or there are as many destinations as there may be.
    pub fn app<W, F, R>(&self, destination: &str, work: W) -> Result<Worker, Error>
    where
        W: Fn(Request) -> F + Send + Sync + 'static,
        F: Future<Output = R> + Send + 'static,
        R: Into<Reply> + Send + 'static,
    {
        let Some(local) = destination.strip_prefix("/app/") else {
            let what = format!("\"{destination}\" is no application destination: they begin with /app/");
            return Err(Error::Refused(what));
        };
        let queue = format!("{WORKER}{local}");
        let subscriber = self.subscribe_as(&queue, None, Some(AT_A_TIME))?;
        let serving = serve(Arc::clone(&self.shared), subscriber, work);
        let task = tokio::spawn(serving).abort_handle();
        Ok(Worker { task })
    }
}

/// A closure that works for an application destination. Dropping it ends that: what it has not finished goes to others.
#[derive(Debug)]
#[must_use = "it works as long as it is kept"]
pub struct Worker {
    task: AbortHandle,
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What a client asks of an application destination.
#[derive(Clone, Debug)]
pub struct Request {
    message: Arc<Message>,
}

impl Request {
    /// The destination that the client named: `/app/orders`.
    pub fn destination(&self) -> Cow<'_, str> {
        self.header("destination").unwrap_or_default()
    }

    /// The user who asks, if the session is somebody's. While nothing authenticates clients it is the name that they
    /// gave themselves.
    pub fn user(&self) -> Option<Cow<'_, str>> {
        self.header("user")
    }

    /// The session that asks: a word that tells it from all others, and that nobody can guess. To be kept from others:
    /// with it they could answer in your name.
    pub fn session(&self) -> Cow<'_, str> {
        self.header("session").unwrap_or_default()
    }

    /// Whether it is a SUBSCRIBE, whose client waits for one answer.
    pub fn is_subscribe(&self) -> bool {
        self.header("x-app-command")
            .is_some_and(|command| command == "SUBSCRIBE")
    }

    /// The first header of that name, unescaped.
    pub fn header(&self, name: &str) -> Option<Cow<'_, str>> {
        self.message.header(name)
    }

    /// The octets of the body.
    pub fn body(&self) -> &[u8] {
        self.message.body()
    }

    /// The body as text; what is not UTF-8 in it is replaced.
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(self.body())
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// It is none, or not what a `T` is made of.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(self.body())
    }
}

/// What a request is answered with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    headers: Vec<(String, String)>,
    /// Nothing is sent if there is none.
    body: Option<Vec<u8>>,
}

impl Reply {
    /// No answer. A client that asked with SUBSCRIBE is told so when its time is over.
    pub fn none() -> Reply {
        Reply::default()
    }

    /// Text.
    pub fn text(text: impl Into<String>) -> Reply {
        Reply::octets("text/plain", text.into())
    }

    /// A value as JSON; an error if it cannot be written as such.
    pub fn json(value: &impl Serialize) -> Reply {
        match serde_json::to_vec(value) {
            Ok(body) => Reply::octets("application/json", body),
            Err(error) => {
                tracing::error!(%error, "an answer that is no JSON");
                Reply::error("bad-reply", "The answer could not be written as JSON.")
            }
        }
    }

    /// Octets of that MIME type.
    pub fn octets(content_type: &str, body: impl Into<Vec<u8>>) -> Reply {
        let reply = Reply {
            body: Some(body.into()),
            ..Reply::default()
        };
        reply.header("content-type", content_type)
    }

    /// Why there is no better answer: a word for programs, which the client finds in the header `x-app-error`, and a
    /// sentence for people.
    pub fn error(code: &str, detail: impl Into<String>) -> Reply {
        Reply::text(detail).header("x-app-error", code)
    }

    /// With a further header, as it is to be read.
    pub fn header(mut self, name: &str, value: &str) -> Reply {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}

impl From<()> for Reply {
    fn from((): ()) -> Reply {
        Reply::none()
    }
}

impl From<String> for Reply {
    fn from(text: String) -> Reply {
        Reply::text(text)
    }
}

impl From<&str> for Reply {
    fn from(text: &str) -> Reply {
        Reply::text(text)
    }
}

/// Gives requests to `work` as they come, until aborted.
async fn serve<W, F, R>(shared: Arc<Shared>, mut subscriber: Subscriber, work: W)
where
    W: Fn(Request) -> F + Send + Sync + 'static,
    F: Future<Output = R> + Send + 'static,
    R: Into<Reply> + Send + 'static,
{
    let Some((broker, queue, consumer)) = subscriber.source() else {
        return;
    };
    let work = Arc::new(work);
    let mut under_way = JoinSet::new();
    // A queue makes no slow consumer: this ends with the task.
    while let Ok(delivery) = subscriber.take().await {
        let held = Held {
            broker: Arc::clone(&broker),
            queue: Arc::clone(&queue),
            consumer,
            tag: delivery.tag,
            clock: shared.clock,
            settle: GIVE_BACK,
        };
        let request = Request {
            message: delivery.message,
        };
        under_way.spawn(attend(Arc::clone(&shared), held, Arc::clone(&work), request));
        while under_way.try_join_next().is_some() {}
    }
}

/// Sees one request through. Credit bounds how many of these there are.
async fn attend<W, F, R>(shared: Arc<Shared>, mut held: Held, work: Arc<W>, request: Request)
where
    W: Fn(Request) -> F + Send + Sync + 'static,
    F: Future<Output = R> + Send + 'static,
    R: Into<Reply> + Send + 'static,
{
    let reply: Reply = work(request.clone()).await.into();
    if let Err(error) = answer(&shared, &request, reply).await {
        tracing::warn!(destination = %request.destination(), %error, "an answer that could not be sent");
    }
    held.settle = Settle::Ack;
}

async fn answer(shared: &Shared, request: &Request, reply: Reply) -> Result<(), Error> {
    let (Some(body), Some(address)) = (reply.body, request.header("reply-to")) else {
        return Ok(());
    };
    let correlation = request.header("correlation-id");
    let told = reply.headers.iter().any(|(name, _)| name == "correlation-id");
    let correlation = correlation
        .as_deref()
        .filter(|_| !told)
        .map(|id| ("correlation-id", id));
    let own = reply
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()));
    let headers: Vec<(&str, &str)> = own.chain(correlation).collect();
    shared.publish(&address, &headers, &body).await
}

const GIVE_BACK: Settle = Settle::Nack {
    requeue: true,
    delay_ms: 0,
};

/// A request under way: settled when it is let go of, however that comes about.
struct Held {
    broker: Arc<Broker>,
    queue: Arc<Queue>,
    consumer: u32,
    tag: u64,
    clock: Clock,
    settle: Settle,
}

impl Drop for Held {
    fn drop(&mut self) {
        let now = self.clock.now();
        // After the worker's end it has gone back already.
        let _ = self
            .broker
            .settle(&self.queue, self.consumer, self.tag, self.settle, now);
    }
}
