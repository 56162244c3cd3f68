//! Octets on their way from a socket.

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::task::{Context, Poll};

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// Octets asked of a socket at a time.
const READ: usize = 16 << 10;

thread_local! {
    /// One buffer per thread that connections read into and give back when all is executed, so that an idle
    /// connection owns none.
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// What was received from a socket and not used.
#[derive(Debug, Default)]
pub(super) struct Intake {
    octets: Vec<u8>,
    used: usize,
    received: u64,
}

impl Intake {
    /// What came before the connection was ours.
    pub(super) fn of(early: &[u8]) -> Intake {
        Intake {
            octets: early.to_vec(),
            used: 0,
            received: early.len() as u64,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.used >= self.octets.len()
    }

    pub(super) fn rest(&self) -> &[u8] {
        self.octets.get(self.used..).unwrap_or_default()
    }

    /// Forgets the first `octets` of the rest.
    pub(super) fn consume(&mut self, octets: usize) {
        self.used += octets;
        if self.is_empty() {
            self.clear();
        }
    }

    /// Forgets all of the rest.
    pub(super) fn clear(&mut self) {
        let mut octets = std::mem::take(&mut self.octets);
        self.used = 0;
        octets.clear();
        if octets.capacity() == READ {
            SPARE.set(octets);
        }
    }

    /// Octets ever received.
    pub(super) fn received(&self) -> u64 {
        self.received
    }

    /// Reads once, when the rest is empty; the number of octets, 0 at the end of the stream.
    pub(super) fn poll_fill(&mut self, socket: &mut TcpStream, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut octets = SPARE.take();
        octets.reserve_exact(READ);
        let outcome = pin!(socket.read_buf(&mut octets)).poll(cx);
        self.octets = octets;
        self.used = 0;
        match outcome {
            Poll::Ready(Ok(received)) if received > 0 => self.received += received as u64,
            _ => self.clear(),
        }
        outcome
    }

    /// Reads and drops until the end of the stream.
    pub(super) fn poll_drop(&mut self, socket: &mut TcpStream, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            self.clear();
            match self.poll_fill(socket, cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(()),
                Poll::Ready(Ok(_)) => {}
            }
        }
    }
}
