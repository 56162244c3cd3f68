//! Publishers and consumers under which the broker is killed.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use protocol_tests::frame::Frame;

use crate::ledger::{read, Stream};
use crate::random::Random;
use crate::wire::Wire;
use crate::Outcome;

/// RECEIPTs that a publisher waits for at most.
pub const IN_FLIGHT: usize = 256;
/// Transactions that one waits for at most.
const TRANSACTIONS: usize = 8;
/// Messages of a transaction to each of its destinations.
pub const TOGETHER: usize = 2;
/// Unacknowledged messages that a consumer keeps at most; then it acknowledges the oldest.
const HELD: usize = 1_500;

/// What the threads of a round share.
#[derive(Debug)]
pub struct Round {
    pub address: SocketAddr,
    pub number: u16,
    /// The broker has been, or is about to be, killed: nothing that ends is anybody's fault.
    pub killed: AtomicBool,
    /// RECEIPTs of SENDs in this round.
    pub receipts: AtomicU64,
}

impl Round {
    /// An outcome that only the kill explains is none.
    fn excuse(&self, outcome: Outcome<()>) -> Outcome<()> {
        match self.killed.load(Ordering::SeqCst) {
            true => Ok(()),
            false => outcome.and(Err("the connection ended although nobody killed the broker".to_owned())),
        }
    }
}

/// Publishes until the connection ends.
pub fn publish(round: &Round, stream: &Stream) -> Outcome<()> {
    let outcome = Wire::connect(round.address).and_then(|wire| publish_on(wire, round, stream));
    round.excuse(outcome)
}

fn publish_on(mut wire: Wire, round: &Round, stream: &Stream) -> Outcome<()> {
    let mut waiting: VecDeque<usize> = VecDeque::new();
    loop {
        let count = IN_FLIGHT - waiting.len();
        let first = stream.send(count, round.number);
        let mut frames = String::new();
        for number in first..first + count {
            frames += &send(stream, number, &format!("receipt:{number}\n"));
            waiting.push_back(number);
        }
        // What had come before the connection was torn off is read all the same.
        let written = wire.write(frames.as_bytes());
        let came = wire.frames()?;
        if came.is_empty() {
            return written;
        }
        receipts(&came, &mut waiting, |numbers| {
            round.receipts.fetch_add(numbers.len() as u64, Ordering::Relaxed);
            stream.receipted(numbers.iter().copied());
        })
        .inspect_err(|what| stream.wrong(what.clone()))?;
    }
}

/// RECEIPTs come in the order of their frames.
fn receipts(frames: &[Frame], waiting: &mut VecDeque<usize>, done: impl FnOnce(&[usize])) -> Outcome<()> {
    let mut numbers = Vec::new();
    for frame in frames {
        let wanted = waiting.pop_front();
        let id = frame.value("receipt-id").map(String::from_utf8_lossy);
        match (wanted, id) {
            (Some(wanted), Some(id)) if frame.command == "RECEIPT" && id == wanted.to_string() => numbers.push(wanted),
            (wanted, _) => return Err(format!("waited for RECEIPT {wanted:?}, got {}", frame.show())),
        }
    }
    done(&numbers);
    Ok(())
}

fn send(stream: &Stream, number: usize, headers: &str) -> String {
    let body = stream.body(number);
    format!(
        "SEND\ndestination:{}\npersistent:true\n{headers}\n{body}\0",
        stream.destination
    )
}

/// Publishes transactions over two destinations until the connection ends.
pub fn transact(round: &Round, streams: [&Stream; 2]) -> Outcome<()> {
    let outcome = Wire::connect(round.address).and_then(|wire| transact_on(wire, round, streams));
    round.excuse(outcome)
}

fn transact_on(mut wire: Wire, round: &Round, streams: [&Stream; 2]) -> Outcome<()> {
    let mut waiting: VecDeque<usize> = VecDeque::new();
    loop {
        let mut frames = String::new();
        while waiting.len() < TRANSACTIONS {
            let firsts = streams.map(|stream| stream.send(TOGETHER, round.number));
            let [first, other] = firsts;
            if first != other {
                return Err("the two streams of transactions are out of step".to_owned());
            }
            frames += &format!("BEGIN\ntransaction:{first}\n\n\0");
            for number in first..first + TOGETHER {
                for stream in streams {
                    frames += &send(stream, number, &format!("transaction:{first}\n"));
                }
            }
            frames += &format!("COMMIT\ntransaction:{first}\nreceipt:{first}\n\n\0");
            waiting.push_back(first);
        }
        let written = wire.write(frames.as_bytes());
        let came = wire.frames()?;
        if came.is_empty() {
            return written;
        }
        receipts(&came, &mut waiting, |firsts| {
            for stream in streams {
                stream.receipted(firsts.iter().flat_map(|first| *first..*first + TOGETHER));
            }
        })
        .inspect_err(|what| streams[0].wrong(what.clone()))?;
    }
}

/// What a consumer does with what it gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taste {
    /// Acknowledges about half at once, gives a few back, and keeps the rest as long as it may.
    Half,
    /// Acknowledges everything and ends when the last message of each publisher has come.
    Everything,
}

pub fn subscribe(destination: &str) -> String {
    let durable = match destination.starts_with("/topic/") {
        true => "durable:true\nauto-delete:false\n",
        false => "",
    };
    format!(
        "SUBSCRIBE\nid:crash\ndestination:{destination}\nack:client-individual\nprefetch-count:8000\n{durable}\
         receipt:subscribed\n\n"
    )
}

/// Consumes until the connection ends.
pub fn consume(round: &Round, destination: &'static str, streams: &[Stream], random: Random) -> Outcome<()> {
    let outcome = Wire::connect(round.address)
        .and_then(|wire| Consumer::new(wire, destination, streams, Taste::Half, random).run(&mut |_, _| false));
    round.excuse(outcome)
}

/// Consumes everything until `last` says so of a message.
pub fn drain(
    address: SocketAddr,
    destination: &'static str,
    streams: &[Stream],
    mut last: impl FnMut(&Stream, usize) -> bool,
) -> Outcome<()> {
    for stream in streams.iter().filter(|stream| stream.destination == destination) {
        stream.take_out();
    }
    let wire = Wire::connect(address)?;
    let mut consumer = Consumer::new(wire, destination, streams, Taste::Everything, Random::new(0));
    consumer.run(&mut last)?;
    consumer.finish()
}

struct Consumer<'a> {
    wire: Wire,
    destination: &'static str,
    streams: &'a [Stream],
    taste: Taste,
    random: Random,
    /// Not acknowledged: the id, and the message.
    held: VecDeque<(String, &'a Stream, usize)>,
    /// Acknowledged, and the RECEIPT is not here.
    waiting: VecDeque<(u64, &'a Stream, usize)>,
    receipts: u64,
}

impl<'a> Consumer<'a> {
    fn new(wire: Wire, destination: &'static str, streams: &'a [Stream], taste: Taste, random: Random) -> Consumer<'a> {
        Consumer {
            wire,
            destination,
            streams,
            taste,
            random,
            held: VecDeque::new(),
            waiting: VecDeque::new(),
            receipts: 0,
        }
    }

    fn run(&mut self, last: &mut dyn FnMut(&Stream, usize) -> bool) -> Outcome<()> {
        let mut came = Vec::new();
        self.wire.ask(&subscribe(self.destination), "subscribed", &mut came)?;
        loop {
            let mut answer = String::new();
            let mut ended = false;
            for frame in &came {
                match frame.command.as_str() {
                    "MESSAGE" => ended |= self.message(frame, &mut answer, last)?,
                    _ => self.receipt(frame)?,
                }
            }
            // What had come before the connection was torn off is read all the same.
            let written = self.wire.write(answer.as_bytes());
            if ended {
                return written;
            }
            came = self.wire.frames()?;
            if came.is_empty() {
                return written;
            }
        }
    }

    fn message(
        &mut self,
        frame: &Frame,
        answer: &mut String,
        last: &mut dyn FnMut(&Stream, usize) -> bool,
    ) -> Outcome<bool> {
        let (stream, number) = match read(self.streams, self.destination, &frame.body) {
            Ok(found) => found,
            Err(what) => {
                self.streams[0].wrong(what.clone());
                return Err(what);
            }
        };
        let redelivered = frame.value("redelivered") == Some(b"true");
        stream.delivered(number, redelivered);
        let ack = frame.value("ack").ok_or_else(|| format!("no ack: {}", frame.show()))?;
        let ack = String::from_utf8_lossy(ack).into_owned();
        let at_once = self.taste == Taste::Everything || !self.random.once_in(2);
        if at_once {
            self.acknowledge(&ack, stream, number, answer);
        } else if !redelivered && self.random.once_in(16) {
            *answer += &format!("NACK\nid:{ack}\n\n\0");
        } else {
            self.held.push_back((ack, stream, number));
        }
        if self.held.len() > HELD {
            if let Some((ack, stream, number)) = self.held.pop_front() {
                self.acknowledge(&ack, stream, number, answer);
            }
        }
        Ok(last(stream, number))
    }

    fn acknowledge(&mut self, ack: &str, stream: &'a Stream, number: usize, answer: &mut String) {
        self.receipts += 1;
        stream.acked(number);
        self.waiting.push_back((self.receipts, stream, number));
        *answer += &format!("ACK\nid:{ack}\nreceipt:{}\n\n\0", self.receipts);
    }

    fn receipt(&mut self, frame: &Frame) -> Outcome<()> {
        let id = frame.value("receipt-id").map(String::from_utf8_lossy);
        match (self.waiting.pop_front(), id) {
            (Some((wanted, stream, number)), Some(id)) if frame.command == "RECEIPT" && id == wanted.to_string() => {
                stream.ack_receipted(number);
                Ok(())
            }
            (wanted, _) => {
                let wanted = wanted.map(|(id, ..)| id);
                let what = format!("waited for RECEIPT {wanted:?}, got {}", frame.show());
                self.streams[0].wrong(what.clone());
                Err(what)
            }
        }
    }

    /// Waits for the RECEIPTs that are missing.
    fn finish(&mut self) -> Outcome<()> {
        while !self.waiting.is_empty() {
            let came = self.wire.frames()?;
            if came.is_empty() {
                return Err("the connection ended although nobody killed the broker".to_owned());
            }
            let mut answer = String::new();
            for frame in &came {
                match frame.command.as_str() {
                    "MESSAGE" => drop(self.message(frame, &mut answer, &mut |_, _| false)?),
                    _ => self.receipt(frame)?,
                }
            }
            self.wire.write(answer.as_bytes())?;
        }
        Ok(())
    }
}
