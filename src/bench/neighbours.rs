//! What is in the broker besides the load: connections that do nothing, subscriptions that do not match, readers
//! that do not read, publishers that know no measure.

use std::future::Future;
use std::rc::Rc;

use tokio::task::{yield_now, JoinSet};

use super::connection::Connection;
use super::publish::{Frames, BURST};
use super::stamp::Stamp;
use super::work::Run;
use super::{Failure, Scenario};

/// Connections opened at the same time.
const AT_ONCE: usize = 32;

/// Subscriptions on one connection; brokers limit them.
const SUBSCRIPTIONS: usize = 500;

/// Runs `make` for each number below `count`, a few at a time. The results are in no order.
pub(super) async fn gather<T, F>(count: usize, make: impl Fn(usize) -> F) -> Result<Vec<T>, Failure>
where
    T: 'static,
    F: Future<Output = Result<T, Failure>> + 'static,
{
    let mut all = Vec::with_capacity(count);
    let mut under_way = JoinSet::new();
    for index in 0..count {
        if under_way.len() >= AT_ONCE {
            all.extend(next(&mut under_way).await?);
        }
        under_way.spawn_local(make(index));
    }
    while !under_way.is_empty() {
        all.extend(next(&mut under_way).await?);
    }
    Ok(all)
}

async fn next<T: 'static>(under_way: &mut JoinSet<Result<T, Failure>>) -> Result<Option<T>, Failure> {
    match under_way.join_next().await {
        Some(Ok(done)) => done.map(Some),
        Some(Err(error)) => Err(Failure::Broken(error.to_string())),
        None => Ok(None),
    }
}

/// Makes all neighbours that are asked for.
pub(super) async fn settle(run: &Rc<Run>) -> Result<(), Failure> {
    let arguments = &run.arguments;
    let prefix = format!("{}bench.{}", arguments.topic_prefix, run.name);
    // A leading segment of their own: whatever the wildcard means to the broker, it is not ours.
    let foreign = format!("{}bench-other.{}", arguments.topic_prefix, run.name);

    let idle = |index| vec![format!("{prefix}.idle.{index}")];
    hold(run, arguments.idle, idle).await?;

    let packed = |count: usize, name: &dyn Fn(usize) -> String| -> Vec<Vec<String>> {
        let names: Vec<String> = (0..count).map(name).collect();
        names.chunks(SUBSCRIPTIONS).map(<[String]>::to_vec).collect()
    };
    let others = packed(arguments.others, &|index| format!("{prefix}.other.{index}"));
    hold(run, others.len(), |index| {
        others.get(index).cloned().unwrap_or_default()
    })
    .await?;
    let patterns = packed(arguments.patterns, &|index| format!("{foreign}.{index}.*"));
    hold(run, patterns.len(), |index| {
        patterns.get(index).cloned().unwrap_or_default()
    })
    .await
}

/// `count` connections with these subscriptions, which read what comes and do nothing else.
async fn hold(run: &Rc<Run>, count: usize, destinations: impl Fn(usize) -> Vec<String>) -> Result<(), Failure> {
    let make = |index| {
        let (run, destinations) = (Rc::clone(run), destinations(index));
        async move {
            let connection = subscribed(&run, &destinations).await?;
            tokio::task::spawn_local(rest(run, connection));
            Ok(())
        }
    };
    gather(count, make).await.map(|_| ())
}

async fn subscribed(run: &Run, destinations: &[String]) -> Result<Connection, Failure> {
    let mut connection = Connection::open(&run.arguments, &run.scratch).await?;
    for (id, destination) in destinations.iter().enumerate() {
        let last = id + 1 == destinations.len();
        let prefetch = run.arguments.prefetch;
        let writer = &mut connection.writer;
        writer.put_subscribe(id as u64, destination, "auto", prefetch, last);
    }
    let done = async {
        connection.writer.flush().await?;
        connection.await_receipts(1, &run.scratch).await
    };
    done.await
        .map_err(|error| Failure::Broken(format!("SUBSCRIBE of a neighbour: {error}")))?;
    Ok(connection)
}

/// Answers pings until the end.
async fn rest(run: Rc<Run>, mut connection: Connection) {
    let gone = async {
        loop {
            connection.reader.ready().await?;
            connection.reader.take(&run.scratch, |_| Ok(()))?;
            connection.writer.flush().await?;
        }
    };
    let Err::<(), std::io::Error>(error) = gone.await else {
        return;
    };
    run.trouble(format!("an idle neighbour: {error}"));
}

/// Publishers without a window: what they send is never read by anybody, and its pace is the broker's.
pub(super) async fn heat(run: &Rc<Run>) -> Result<(), Failure> {
    let make = |index| {
        let run = Rc::clone(run);
        async move {
            let connection = Connection::open(&run.arguments, &run.scratch).await?;
            tokio::task::spawn_local(flood(run, index, connection));
            Ok(())
        }
    };
    gather(run.arguments.hot, make).await.map(|_| ())
}

async fn flood(run: Rc<Run>, index: usize, mut connection: Connection) {
    let topic = format!("{}bench.{}.hot.{index}", run.arguments.topic_prefix, run.name);
    let frames = Frames::new(&[topic], run.arguments.size, false);
    let mut stamp = Stamp {
        due: 0,
        publisher: 0,
        number: 0,
    };
    let error = loop {
        for _ in 0..BURST {
            stamp.number += 1;
            frames.put(&mut connection.writer, stamp, false);
        }
        if let Err(error) = connection.writer.flush().await {
            break error;
        }
        yield_now().await;
    };
    run.trouble(format!("a hot neighbour: {error}"));
}

/// Readers that do not read, of the topics that are written to. They must be held on to.
pub(super) async fn stuck(run: &Rc<Run>) -> Result<Vec<Connection>, Failure> {
    if run.arguments.scenario == Scenario::Queue {
        return Ok(Vec::new());
    }
    let make = |index| {
        let run = Rc::clone(run);
        async move { subscribed(&run, &[run.plan.listens_to(index).to_string()]).await }
    };
    gather(run.arguments.stuck, make).await
}
