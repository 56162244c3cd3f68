//! A publisher: as fast as what comes back allows, or by the clock.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use tokio::task::yield_now;
use tokio::time::sleep;

use super::connection::{refusal, Connection, Reader, Writer};
use super::flow::Flow;
use super::stamp::{Stamp, OCTETS};
use super::work::Run;
use crate::stomp::Command;

/// Messages written at once at most; then the subscribers have their turn.
pub(super) const BURST: u64 = 32;

/// The runtime's timer is this coarse; the rest of a wait is spent looking at the clock, so that a message is sent
/// when it is due and not at the timer's next beat.
const COARSE: Duration = Duration::from_micros(1_500);

/// When messages are due in the open loop.
#[derive(Clone, Copy, Debug)]
struct Pace {
    /// Nanoseconds from the start of the run to the first message.
    first: u64,
    /// Nanoseconds from each to the next.
    interval: f64,
}

impl Pace {
    fn due(&self, number: u64) -> u64 {
        self.first + (number as f64 * self.interval) as u64
    }

    /// Messages that are due by `now`.
    fn count(&self, now: u64) -> u64 {
        match now.checked_sub(self.first) {
            Some(passed) => (passed as f64 / self.interval) as u64 + 1,
            None => 0,
        }
    }
}

/// What the frames of a publisher are made of.
#[derive(Debug)]
pub(super) struct Frames {
    /// From `SEND` to `content-length`, by destination.
    heads: Vec<Vec<u8>>,
    padding: Vec<u8>,
    persistent: bool,
}

impl Frames {
    /// Bodies of `size` octets.
    pub(super) fn new(destinations: &[String], size: usize, persistent: bool) -> Frames {
        let mark = if persistent { "persistent:true\n" } else { "" };
        let head =
            |to| format!("SEND\ndestination:{to}\ncontent-type:text/plain\n{mark}content-length:{size}\n").into_bytes();
        Frames {
            heads: destinations.iter().map(head).collect(),
            padding: vec![b'x'; size.saturating_sub(OCTETS)],
            persistent,
        }
    }

    /// Appends a SEND. `receipt` asks for one even if not every message has one.
    pub(super) fn put(&self, writer: &mut Writer, stamp: Stamp, receipt: bool) {
        let index = (stamp.number % self.heads.len().max(1) as u64) as usize;
        let head = self.heads.get(index).map_or(&[][..], Vec::as_slice);
        let stamp = stamp.write();
        if self.persistent || receipt {
            writer.put(&[head, b"receipt:", &stamp, b"\n\n", &stamp, &self.padding, b"\0"]);
        } else {
            writer.put(&[head, b"\n", &stamp, &self.padding, b"\0"]);
        }
    }
}

/// Sends until its flow is over.
pub(super) async fn publish(run: Rc<Run>, index: usize, connection: Connection) {
    let Connection { reader, writer, .. } = connection;
    let read = tokio::task::spawn_local(listen(Rc::clone(&run), index, reader));
    if let Err(error) = send(&run, index, writer).await {
        // An ERROR that came before the end says more than the broken pipe.
        yield_now().await;
        run.trouble(format!("publisher {index}: {error}"));
        read.abort();
    }
}

async fn send(run: &Run, index: usize, mut writer: Writer) -> io::Result<()> {
    let Some(flow) = run.flows.get(index) else {
        return Ok(());
    };
    let frames = Frames::new(run.plan.sends_to(index), run.arguments.size, run.arguments.persistent);
    let pace = run.arguments.rate.map(|rate| {
        let between_all = 1e9 / rate as f64;
        Pace {
            first: run.now() + (between_all * index as f64) as u64,
            interval: between_all * run.plan.publishers as f64,
        }
    });
    while !flow.is_over() {
        let now = run.now();
        let due = pace.map_or(u64::MAX, |pace| pace.count(now));
        let count = flow.room().min(due.saturating_sub(flow.sent())).min(BURST);
        if count == 0 {
            wait(flow, pace, now).await;
            continue;
        }
        for _ in 0..count {
            let number = flow.sent();
            let stamp = Stamp {
                due: pace.map_or(now, |pace| pace.due(number)),
                publisher: index as u32,
                number,
            };
            frames.put(&mut writer, stamp, false);
            flow.send();
        }
        writer.flush().await?;
        yield_now().await;
    }
    // The connection stays: some brokers drop what a client that has gone sent last.
    loop {
        flow.moved().await;
        writer.flush().await?;
    }
}

async fn wait(flow: &Flow, pace: Option<Pace>, now: u64) {
    let Some(pace) = pace else {
        return flow.moved().await;
    };
    let gap = Duration::from_nanos(pace.due(flow.sent()).saturating_sub(now));
    match gap.checked_sub(COARSE) {
        Some(gap) => tokio::select! {
            () = sleep(gap) => {}
            () = flow.moved() => {}
        },
        None => yield_now().await,
    }
}

/// Reads what a publisher gets: RECEIPTs, or an ERROR.
async fn listen(run: Rc<Run>, index: usize, mut reader: Reader) {
    let error = loop {
        if let Err(error) = reader.ready().await {
            break error;
        }
        let now = run.now();
        let taken = reader.take(&run.scratch, |frame| match frame.command {
            Command::Receipt => {
                let stamp = frame.headers.get("receipt-id");
                if let Some(stamp) = stamp.and_then(|text| Stamp::read(text.as_bytes())) {
                    run.receipted(index, stamp, now);
                }
                Ok(())
            }
            _ => Err(refusal(frame)),
        });
        if let Err(error) = taken {
            break error;
        }
    };
    run.trouble(format!("publisher {index}: {error}"));
}
