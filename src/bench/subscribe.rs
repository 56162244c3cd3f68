//! A subscriber: reads, checks, acknowledges.

use std::io;
use std::rc::Rc;

use super::check::{Arrivals, Faults, Rising};
use super::connection::{refusal, Connection};
use super::stamp::Stamp;
use super::work::Run;
use super::Failure;
use crate::stomp::{Command, Frame};

/// What one subscription has got, by publisher.
#[derive(Debug)]
pub(super) enum View {
    /// Of a topic; from the first publisher that it hears on.
    Topic { first: usize, arrivals: Vec<Arrivals> },
    /// Of a queue; the last entry is for the backlog.
    Queue(Vec<Rising>),
}

impl View {
    /// What is wrong with it when each publisher has sent that many.
    pub(super) fn faults(&self, due: impl Fn(usize) -> u64) -> Faults {
        let mut faults = Faults::default();
        match self {
            View::Topic { first, arrivals } => {
                for (index, arrivals) in arrivals.iter().enumerate() {
                    faults.add(arrivals.faults(due(first + index)));
                }
            }
            View::Queue(rising) => rising.iter().for_each(|rising| faults.add(rising.faults())),
        }
        faults
    }
}

/// Connects and subscribes; what comes is read in a task of its own from then on.
pub(super) async fn begin(run: Rc<Run>, place: usize) -> Result<(), Failure> {
    let mut connection = Connection::open(&run.arguments, &run.scratch).await?;
    run.server.replace(connection.server.clone());
    let ack = if run.plan.is_queue() {
        "client-individual"
    } else {
        "auto"
    };
    let destination = run.plan.listens_to(place);
    connection
        .subscribe(0, destination, ack, run.arguments.prefetch)
        .await
        .map_err(|error| Failure::Broken(format!("SUBSCRIBE to {destination}: {error}")))?;
    tokio::task::spawn_local(async move {
        if let Err(error) = listen(&run, place, connection).await {
            run.trouble(format!("subscriber {place}: {error}"));
        }
    });
    Ok(())
}

async fn listen(run: &Run, place: usize, connection: Connection) -> io::Result<()> {
    let Connection {
        mut reader, mut writer, ..
    } = connection;
    loop {
        reader.ready().await?;
        let now = run.now();
        let mut fresh = 0;
        reader.take(&run.scratch, |frame| match frame.command {
            Command::Message => {
                fresh += u64::from(run.note(place, frame.body, now)?);
                if run.plan.is_queue() {
                    writer.put(&[b"ACK\nid:", ack(frame)?.as_bytes(), b"\n\n\0"]);
                }
                Ok(())
            }
            Command::Receipt => {
                run.subscribed();
                Ok(())
            }
            _ => Err(refusal(frame)),
        })?;
        if fresh > 0 {
            run.delivered(fresh, now);
        }
        if writer.waits() {
            writer.flush().await?;
        }
    }
}

/// The value of `ack` as it came: escaped as it must go back.
fn ack<'a>(frame: &Frame<'a>) -> io::Result<&'a str> {
    let line = frame.headers.lines().iter().find(|line| line.name == "ack");
    line.map(|line| line.value)
        .ok_or_else(|| io::Error::other("a MESSAGE without `ack` in client-individual mode"))
}

impl Run {
    /// Takes a MESSAGE's body to account; whether it came for the first time.
    fn note(&self, place: usize, body: &[u8], now: u64) -> io::Result<bool> {
        let foreign = || io::Error::other("a MESSAGE that is none of this run's");
        let stamp = Stamp::read(body).ok_or_else(foreign)?;
        let publisher = stamp.publisher as usize;
        let flow = self.flows.get(publisher).filter(|flow| stamp.number < flow.sent());
        let flow = flow.ok_or_else(foreign)?;
        self.latency
            .borrow_mut()
            .saturating_record(now.saturating_sub(stamp.due) / 1_000);
        let mut view = self.views.get(place).ok_or_else(foreign)?.borrow_mut();
        let fresh = match &mut *view {
            View::Topic { first, arrivals } => {
                let arrivals = publisher.checked_sub(*first).and_then(|index| arrivals.get_mut(index));
                arrivals.ok_or_else(foreign)?.note(stamp.number / self.plan.stride())
            }
            View::Queue(rising) => {
                rising.get_mut(publisher).ok_or_else(foreign)?.note(stamp.number);
                let mut shared = self.shared.borrow_mut();
                shared.get_mut(publisher).ok_or_else(foreign)?.note(stamp.number)
            }
        };
        if fresh {
            self.creditor(publisher, stamp.number)
                .unwrap_or(flow)
                .delivered(stamp.number);
        }
        Ok(fresh)
    }
}
