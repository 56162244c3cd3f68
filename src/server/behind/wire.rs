//! A connection of the relay's own to the broker, as the system connection and the shared one have it: the socket, a frame
//! that has come in part, and what is to be written.

use std::future::poll_fn;
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{sleep_until, timeout, Instant};

use crate::broker::FrameSink;
use crate::relay::Lost;
use crate::server::clock::Clock;
use crate::server::connection::Timer;
use crate::server::tcp::Tcp;
use crate::server::transport::{Input, Transport};
use crate::stomp::{Decoder, Frame, Limits, Version};

pub(super) struct Wire {
    tcp: Tcp,
    decoder: Decoder,
    /// What is to be written next.
    pub(super) out: Vec<u8>,
}

/// What a turn leaves.
pub(super) enum Turn {
    /// There is more to do at once.
    Again,
    /// Nothing before then, unless a waker says so.
    Until(Option<u64>),
}

/// Has turns taken until one says that the connection is lost.
pub(super) async fn until_lost(
    clock: &Clock,
    mut turn: impl FnMut(&mut Context<'_>, u64) -> Result<Turn, Lost>,
) -> Lost {
    let mut timer = Timer {
        sleep: pin!(sleep_until(Instant::now())),
        armed: None,
    };
    poll_fn(|cx| {
        let now = clock.now();
        match turn(cx, now.mono) {
            Err(why) => return Poll::Ready(why),
            Ok(Turn::Again) => cx.waker().wake_by_ref(),
            Ok(Turn::Until(due)) => timer.arm(due, now, clock, cx),
        }
        Poll::Pending
    })
    .await
}

impl Wire {
    /// A socket over which nothing has gone. `out` is what is said first.
    pub(super) fn new(socket: TcpStream, limits: Limits, out: Vec<u8>) -> Wire {
        Wire {
            tcp: Tcp::new(socket),
            decoder: Decoder::new(limits),
            out,
        }
    }

    /// Reads on by what was agreed.
    pub(super) fn agree(&mut self, (version, limits): (Version, Limits)) {
        self.decoder.agree(version, limits, false);
    }

    /// Whether what has come is more than a beat.
    pub(super) fn poll_octets(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, Lost>> {
        self.tcp.poll_input(cx).map(|input| match input {
            Input::Octets => Ok(true),
            Input::Beat => Ok(false),
            Input::Ended(_) => Err(Lost::Closed),
        })
    }

    /// Hands `take` the first frame of what has come, if it ends there, and what is to be written.
    pub(super) fn hear<T>(&mut self, take: impl FnOnce(&Frame<'_>, &mut Vec<u8>) -> T) -> Result<Option<T>, Lost> {
        let input = self.tcp.input();
        let mut rest = input;
        let taken = match self.decoder.decode(&mut rest) {
            Ok(Some(frame)) => Some(take(&frame, &mut self.out)),
            Ok(None) => {
                rest = &[];
                None
            }
            Err(error) => return Err(Lost::Broken(error.to_string())),
        };
        let used = input.len() - rest.len();
        self.tcp.consume(used);
        self.decoder.release();
        Ok(taken)
    }

    /// Octets that the socket has not taken.
    pub(super) fn waiting(&self) -> u64 {
        self.tcp.position() - self.tcp.accepted() + self.out.len() as u64
    }

    /// Writes; whether the socket took anything.
    pub(super) fn write(&mut self, cx: &mut Context<'_>) -> Result<bool, Lost> {
        if !self.out.is_empty() {
            self.tcp.frame(&[&self.out], true);
            self.out.clear();
        }
        let before = self.tcp.accepted();
        match self.tcp.poll_flush(cx) {
            Poll::Ready(Err(error)) => Err(Lost::Broken(error.kind().to_string())),
            _ => Ok(self.tcp.accepted() != before),
        }
    }

    /// Ends in order, if the socket takes that in time.
    pub(super) async fn say_good_bye(&mut self, within: Duration) {
        self.tcp.frame(&[b"DISCONNECT\n\n\0"], true);
        let written = poll_fn(|cx| self.tcp.poll_flush(cx));
        let _ = timeout(within, written).await;
    }
}
