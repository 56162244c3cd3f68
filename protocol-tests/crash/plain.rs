//! Simple things that several tests do with a broker.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use protocol_tests::frame::Frame;

use crate::ledger::Stream;
use crate::process::Broker;
use crate::wire::{shown, Wire};
use crate::Outcome;

/// RECEIPTs that are waited for at a time.
const IN_FLIGHT: usize = 512;

/// What an attempt to send one message came to.
#[derive(Debug)]
pub enum Sent {
    Receipted,
    /// The ERROR.
    Refused(Frame),
}

/// Sends one message with a RECEIPT on a connection of its own.
pub fn send_one(address: SocketAddr, destination: &str, headers: &str, body: &str) -> Outcome<Sent> {
    let mut wire = Wire::connect(address)?;
    wire.write(format!("SEND\ndestination:{destination}\n{headers}receipt:one\n\n{body}\0").as_bytes())?;
    let frames = wire.frames()?;
    match frames.first() {
        Some(frame) if frame.command == "RECEIPT" => Ok(Sent::Receipted),
        Some(frame) if frame.command == "ERROR" => Ok(Sent::Refused(frame.clone())),
        other => Err(format!("SEND was answered by {}", shown(other))),
    }
}

/// Sends `count` persistent messages of the stream; all receipted.
pub fn fill(address: SocketAddr, stream: &Stream, count: usize) -> Outcome<()> {
    match fill_until_refused(address, stream, count)? {
        None => Ok(()),
        Some(error) => Err(format!("a SEND was refused: {}", error.show())),
    }
}

/// Sends up to `count` persistent messages of the stream, until one is refused; the ERROR then.
pub fn fill_until_refused(address: SocketAddr, stream: &Stream, count: usize) -> Outcome<Option<Frame>> {
    let mut wire = Wire::connect(address)?;
    let mut waiting: VecDeque<usize> = VecDeque::new();
    let mut left = count;
    while left > 0 || !waiting.is_empty() {
        let more = left.min(IN_FLIGHT - waiting.len());
        left -= more;
        let first = stream.send(more, 0);
        let mut frames = String::new();
        for number in first..first + more {
            let (destination, body) = (stream.destination, stream.body(number));
            frames += &format!("SEND\ndestination:{destination}\npersistent:true\nreceipt:{number}\n\n{body}\0");
            waiting.push_back(number);
        }
        let written = wire.write(frames.as_bytes());
        let came = wire.frames()?;
        if came.is_empty() {
            return written.and(Err("the connection ended without an ERROR".to_owned()));
        }
        for frame in came {
            match frame.command.as_str() {
                "RECEIPT" => stream.receipted(waiting.pop_front()),
                _ => return Ok(Some(frame)),
            }
        }
    }
    Ok(None)
}

/// Time from the start of the process to the first MESSAGE of a queue.
pub fn first_message(broker: &Broker, destination: &str) -> Outcome<Duration> {
    let mut wire = Wire::connect(broker.tcp)?;
    let subscribe = format!("SUBSCRIBE\nid:1\ndestination:{destination}\nack:client\nprefetch-count:1\n\n\0");
    wire.write(subscribe.as_bytes())?;
    let frames = wire.frames()?;
    match frames.first() {
        Some(frame) if frame.command == "MESSAGE" => Ok(broker.begun.elapsed()),
        other => Err(format!("no MESSAGE came, but {}", shown(other))),
    }
}

/// Takes `count` messages off the head of a queue, each acknowledged with a RECEIPT for every 500th.
pub fn take(address: SocketAddr, destination: &str, count: usize) -> Outcome<()> {
    let mut wire = Wire::connect(address)?;
    let subscribe = format!("SUBSCRIBE\nid:1\ndestination:{destination}\nack:client\nprefetch-count:2000\n\n\0");
    wire.write(subscribe.as_bytes())?;
    let (mut taken, mut receipts) = (0, 0);
    let wanted = count.div_ceil(500);
    while receipts < wanted {
        let frames = wire.frames()?;
        if frames.is_empty() {
            return Err("the connection ended".to_owned());
        }
        let mut answer = String::new();
        for frame in frames {
            if frame.command != "MESSAGE" {
                receipts += usize::from(frame.command == "RECEIPT");
                continue;
            }
            taken += 1;
            if taken <= count && (taken % 500 == 0 || taken == count) {
                let ack = frame.value("ack").map(String::from_utf8_lossy).unwrap_or_default();
                answer += &format!("ACK\nid:{ack}\nreceipt:{taken}\n\n\0");
            }
        }
        wire.write(answer.as_bytes())?;
    }
    Ok(())
}

/// Waits until `done` says so.
pub fn until(what: &str, patience: Duration, mut done: impl FnMut() -> Outcome<bool>) -> Outcome<Duration> {
    let begun = Instant::now();
    loop {
        if done()? {
            return Ok(begun.elapsed());
        }
        if begun.elapsed() > patience {
            return Err(format!("{what}: not within {} s", patience.as_secs()));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}
