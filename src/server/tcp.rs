//! STOMP over plain TCP.

use std::future::Future;
use std::io;
use std::pin::{pin, Pin};
use std::task::{ready, Context, Poll};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWrite};
use tokio::net::TcpStream;

use crate::broker::FrameSink;
use crate::session::{Close, Link};

use super::transport::{Ended, Input, Output, Transport};

/// Octets asked of the socket at a time.
const READ: usize = 16 << 10;

/// A TCP connection that carries STOMP octets and nothing else.
#[derive(Debug)]
pub(super) struct Tcp {
    socket: TcpStream,
    /// Received and not consumed. It owns memory only while there is something to read.
    input: BytesMut,
    received: u64,
    output: Output,
    closing: bool,
}

impl Tcp {
    pub(super) fn new(socket: TcpStream) -> Tcp {
        Tcp {
            socket,
            input: BytesMut::new(),
            received: 0,
            output: Output::default(),
            closing: false,
        }
    }
}

/// Appends what the socket has to `input`; the number of octets, 0 at the end of the stream.
pub(super) fn poll_read(socket: &mut TcpStream, input: &mut BytesMut, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
    // Without octets to come, an idle connection shall own no buffer.
    ready!(socket.poll_read_ready(cx))?;
    input.reserve(READ);
    let outcome = pin!(socket.read_buf(input)).poll(cx);
    if input.is_empty() {
        *input = BytesMut::new();
    }
    outcome
}

/// Reads and drops until the end of the stream.
pub(super) fn poll_drop_input(socket: &mut TcpStream, received: &mut u64, cx: &mut Context<'_>) -> Poll<()> {
    let mut dropped = BytesMut::new();
    loop {
        match ready!(poll_read(socket, &mut dropped, cx)) {
            Ok(0) | Err(_) => return Poll::Ready(()),
            Ok(octets) => *received += octets as u64,
        }
        dropped.clear();
    }
}

impl FrameSink for Tcp {
    fn frame(&mut self, parts: &[&[u8]], _utf8: bool) {
        if self.closing {
            return;
        }
        self.output.reserve(parts.iter().map(|part| part.len()).sum());
        for part in parts {
            self.output.append(part);
        }
    }

    fn position(&self) -> u64 {
        self.output.position()
    }
}

impl Transport for Tcp {
    fn link(&self) -> Link {
        Link::Tcp
    }

    fn poll_input(&mut self, cx: &mut Context<'_>) -> Poll<Input> {
        if !self.input.is_empty() {
            return Poll::Ready(Input::Octets);
        }
        Poll::Ready(match ready!(poll_read(&mut self.socket, &mut self.input, cx)) {
            Ok(0) => Input::Ended(Ended::HalfClosed),
            Ok(octets) => {
                self.received += octets as u64;
                Input::Octets
            }
            Err(_) => Input::Ended(Ended::Broken),
        })
    }

    fn input(&self) -> &[u8] {
        &self.input
    }

    fn consume(&mut self, octets: usize) {
        self.input.advance(octets);
        if self.input.is_empty() {
            self.input = BytesMut::new();
        }
    }

    fn agree(&mut self, _frame: usize) {}

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.output.poll_flush(&self.socket, cx)
    }

    fn received(&self) -> u64 {
        self.received
    }

    fn accepted(&self) -> u64 {
        self.output.accepted()
    }

    /// TCP has no way to ask; keep-alive finds a dead peer.
    fn ping(&mut self) {}

    fn close(&mut self, _close: &Close) {
        self.closing = true;
    }

    fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.input = BytesMut::new();
        poll_drop_input(&mut self.socket, &mut self.received, cx)
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.socket).poll_shutdown(cx).map(|_| ())
    }
}
