//! STOMP over plain TCP.

use std::io;
use std::pin::Pin;
use std::task::{ready, Context, Poll};

use tokio::io::AsyncWrite;
use tokio::net::TcpStream;

use crate::broker::FrameSink;
use crate::session::{Close, Link};

use super::intake::Intake;
use super::transport::{Ended, Input, Output, Transport};

/// A TCP connection that carries STOMP octets and nothing else.
#[derive(Debug)]
pub(super) struct Tcp {
    socket: TcpStream,
    intake: Intake,
    output: Output,
    closing: bool,
}

impl Tcp {
    pub(super) fn new(socket: TcpStream) -> Tcp {
        Tcp {
            socket,
            intake: Intake::default(),
            output: Output::default(),
            closing: false,
        }
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
        if !self.intake.is_empty() {
            return Poll::Ready(Input::Octets);
        }
        Poll::Ready(match ready!(self.intake.poll_fill(&mut self.socket, cx)) {
            Ok(0) => Input::Ended(Ended::HalfClosed),
            Ok(_) => Input::Octets,
            Err(_) => Input::Ended(Ended::Broken),
        })
    }

    fn input(&self) -> &[u8] {
        self.intake.rest()
    }

    fn consume(&mut self, octets: usize) {
        self.intake.consume(octets);
    }

    /// The stream knows no frames.
    fn agree(&mut self, _frame: usize) {}

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.output.poll_flush(&self.socket, cx)
    }

    fn is_reset(&self) -> bool {
        !matches!(self.socket.take_error(), Ok(None))
    }

    fn received(&self) -> u64 {
        self.intake.received()
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
        self.intake.poll_drop(&mut self.socket, cx)
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.socket).poll_shutdown(cx).map(|_| ())
    }
}
