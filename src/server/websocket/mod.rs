//! STOMP over WebSocket (RFC 6455).
//!
//! Both directions are ours. In: a client's messages are one stream of octets, shown piece by piece where they were received;
//! no message is ever gathered, so that none needs a limit or memory of its own. Out: one STOMP frame is one message, and
//! pongs and close replies stand whole and in order among them.
//!
//! tungstenite read here first. With its smallest useful buffer an idle session took 9.1 KiB instead of 5.0, a CONNECT sent by
//! half up to 26 KiB instead of 16, and each connection kept room for the largest message it had ever received. It still
//! answers the handshake's key, and judges our reader in the tests.

mod frames;
#[cfg(test)]
mod tests;

use std::io;
use std::pin::Pin;
use std::task::{ready, Context, Poll};

use tokio::io::AsyncWrite;
use tokio::net::TcpStream;

use crate::broker::FrameSink;
use crate::session::{Close, Link};

use super::intake::Intake;
use super::transport::{Ended, Input, Output, Transport};
use frames::{Reader, Seen, CLOSE, FINAL, PING, PONG};

pub(super) use frames::Kind;

/// Where Spring's WebSocket client gives up: 8 KiB.
const SPRING_MESSAGE: usize = 8 << 10;

/// What the opening handshake decided.
#[derive(Clone, Copy, Debug)]
pub(super) struct Agreed {
    /// A STOMP subprotocol was offered and echoed.
    pub(super) subprotocol: bool,
    /// Largest message to be written to the client.
    pub(super) split: Option<usize>,
}

impl Agreed {
    /// `limit` is the operator's, 0 for none; without it, only a client that looks like Spring's is spared long messages.
    pub(super) fn new(subprotocol: bool, springs: bool, limit: Option<usize>) -> Agreed {
        let split = match limit {
            Some(0) => None,
            // A character must fit.
            Some(octets) => Some(octets.max(4)),
            None => springs.then_some(SPRING_MESSAGE),
        };
        Agreed { subprotocol, split }
    }
}

/// A WebSocket connection after its opening handshake.
#[derive(Debug)]
pub(super) struct WebSocket {
    socket: TcpStream,
    intake: Intake,
    reader: Reader,
    output: Output,
    agreed: Agreed,
    /// Octets at the front of the intake that are a piece of a message and not consumed.
    piece: usize,
    /// The message that the piece belongs to, and whether it ends it.
    message: (Kind, bool),
    /// The kind in which the client speaks, once it said something.
    kind: Option<Kind>,
    /// Octets of pongs and close replies appended since the output was last empty.
    replies: usize,
    /// Our close frame is in the output: nothing may follow it.
    closing: bool,
    /// What the client sends can be read as frames.
    readable: bool,
}

impl WebSocket {
    /// Speaks WebSocket over `socket`; `early` came behind the request.
    pub(super) fn new(socket: TcpStream, early: &[u8], agreed: Agreed) -> WebSocket {
        WebSocket {
            socket,
            intake: Intake::of(early),
            reader: Reader::new(),
            output: Output::default(),
            agreed,
            piece: 0,
            message: (Kind::Text, false),
            kind: None,
            replies: 0,
            closing: false,
            readable: true,
        }
    }

    /// The kind of the message that [`Transport::input`] shows a piece of, and whether that is its last one.
    pub(super) fn message(&self) -> (Kind, bool) {
        self.message
    }

    /// Reads until something is there.
    fn poll_seen(&mut self, cx: &mut Context<'_>) -> Poll<Result<Seen, Ended>> {
        loop {
            if self.intake.is_empty() {
                match ready!(self.intake.poll_fill(&mut self.socket, cx)) {
                    // A client that goes without a close frame may have been cut off.
                    Ok(0) | Err(_) => return Poll::Ready(Err(Ended::Broken)),
                    Ok(_) => {}
                }
            }
            match self.reader.read(self.intake.rest_mut()) {
                Ok((used, Seen::Nothing)) => self.intake.consume(used),
                Ok((_, Seen::Piece { kind, place, last })) => {
                    self.piece = place.len();
                    self.intake.consume(place.start);
                    return Poll::Ready(Ok(Seen::Piece { kind, place, last }));
                }
                Ok((used, seen)) => {
                    self.intake.consume(used);
                    return Poll::Ready(Ok(seen));
                }
                Err(breach) => {
                    self.readable = false;
                    self.intake.clear();
                    return Poll::Ready(Err(Ended::Faulty(Close {
                        code: breach.code,
                        reason: breach.reason,
                    })));
                }
            }
        }
    }

    /// Remembers in which kind the client speaks: that of CONNECT, and not of the ends of line before it.
    fn learn(&mut self, kind: Kind) {
        if self.kind.is_none() && self.input().iter().any(|&octet| octet != b'\n' && octet != b'\r') {
            self.kind = Some(kind);
        }
    }

    /// Appends a pong or the reply to a close frame: with the payload that the client sent.
    fn reply(&mut self, opcode: u8) {
        if !self.closing {
            let payload = self.reader.control();
            append_frame(&mut self.output, FINAL | opcode, payload.len(), &[payload]);
            self.replies += payload.len() + 2;
        }
        self.closing |= opcode == CLOSE;
    }

    /// Appends one message.
    pub(super) fn append_message(&mut self, kind: Kind, parts: &[&[u8]]) {
        if !self.closing {
            let octets = parts.iter().map(|part| part.len()).sum();
            append_frame(&mut self.output, FINAL | kind as u8, octets, parts);
        }
    }

    /// Appends one STOMP frame as several messages of at most `limit` octets, cut between characters.
    #[cold]
    fn append_split(&mut self, kind: Kind, parts: &[&[u8]], limit: usize) {
        let frame = parts.concat();
        let mut rest = frame.as_slice();
        while !rest.is_empty() {
            let mut cut = limit.min(rest.len());
            while kind == Kind::Text && cut > 1 && rest.get(cut).is_some_and(|octet| octet & 0xC0 == 0x80) {
                cut -= 1;
            }
            let (message, after) = rest.split_at(cut);
            self.append_message(kind, &[message]);
            rest = after;
        }
    }
}

/// Appends a WebSocket frame: unmasked, with a header of 2, 4 or 10 octets (RFC 6455 section 5.2).
fn append_frame(output: &mut Output, first: u8, octets: usize, parts: &[&[u8]]) {
    output.reserve(10 + octets);
    if let (true, Ok(short)) = (octets < 126, u8::try_from(octets)) {
        output.append(&[first, short]);
    } else if let Ok(medium) = u16::try_from(octets) {
        let [high, low] = medium.to_be_bytes();
        output.append(&[first, 126, high, low]);
    } else {
        output.append(&[first, 127]);
        output.append(&(octets as u64).to_be_bytes());
    }
    for part in parts {
        output.append(part);
    }
}

impl FrameSink for WebSocket {
    fn frame(&mut self, parts: &[&[u8]], utf8: bool) {
        let kind = match self.kind {
            Some(Kind::Binary) => Kind::Binary,
            _ if utf8 => Kind::Text,
            _ => Kind::Binary,
        };
        match self.agreed.split {
            Some(limit) if parts.iter().map(|part| part.len()).sum::<usize>() > limit => {
                self.append_split(kind, parts, limit);
            }
            _ => self.append_message(kind, parts),
        }
    }

    fn position(&self) -> u64 {
        self.output.position()
    }
}

impl Transport for WebSocket {
    fn link(&self) -> Link {
        Link::WebSocket {
            subprotocol: self.agreed.subprotocol,
        }
    }

    fn poll_input(&mut self, cx: &mut Context<'_>) -> Poll<Input> {
        if self.piece > 0 {
            return Poll::Ready(Input::Octets);
        }
        Poll::Ready(match ready!(self.poll_seen(cx)) {
            Ok(Seen::Piece { kind, last, .. }) => {
                self.message = (kind, last);
                self.learn(kind);
                Input::Octets
            }
            Ok(Seen::Ping) => {
                self.reply(PONG);
                Input::Beat
            }
            Ok(Seen::Pong | Seen::Nothing) => Input::Beat,
            Ok(Seen::Close) => {
                self.reply(CLOSE);
                Input::Ended(Ended::Closed)
            }
            Err(ended) => Input::Ended(ended),
        })
    }

    fn input(&self) -> &[u8] {
        self.intake.rest().get(..self.piece).unwrap_or_default()
    }

    fn consume(&mut self, octets: usize) {
        self.piece -= octets;
        self.intake.consume(octets);
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = self.output.poll_flush(&self.socket, cx);
        if outcome.is_ready() {
            self.replies = 0;
        }
        outcome
    }

    fn replies_waiting(&self) -> usize {
        self.replies
    }

    fn received(&self) -> u64 {
        self.intake.received()
    }

    fn accepted(&self) -> u64 {
        self.output.accepted()
    }

    fn ping(&mut self) {
        if !self.closing {
            append_frame(&mut self.output, FINAL | PING, 0, &[]);
        }
    }

    fn close(&mut self, close: &Close) {
        if !self.closing {
            let (code, reason) = (close.code.to_be_bytes(), close.reason.as_bytes());
            append_frame(&mut self.output, FINAL | CLOSE, 2 + reason.len(), &[&code, reason]);
            self.closing = true;
        }
    }

    fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.readable {
            let piece = std::mem::take(&mut self.piece);
            self.intake.consume(piece);
            match ready!(self.poll_seen(cx)) {
                Ok(Seen::Close) => {
                    self.reply(CLOSE);
                    return Poll::Ready(());
                }
                Err(Ended::Broken) => return Poll::Ready(()),
                Ok(_) | Err(_) => {}
            }
        }
        self.intake.poll_drop(&mut self.socket, cx)
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.socket).poll_shutdown(cx).map(|_| ())
    }
}
