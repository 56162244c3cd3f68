//! STOMP over WebSocket (RFC 6455).
//!
//! In: tungstenite reads masks, fragments, UTF-8, pings and the close handshake, from what the intake holds and in pieces
//! that keep it small. A client's messages are one stream of octets, whatever their kind and their cuts. Out: one STOMP
//! frame is one message, written by us; tungstenite "writes" into the same output, so that its pongs and close replies
//! stand whole and in order among our frames, and reading goes on while a write waits.

mod pieces;
#[cfg(test)]
mod tests;

use std::io::{self, Read, Write};
use std::pin::Pin;
use std::task::{ready, Context, Poll};

use bytes::{Buf, Bytes};
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig, WebSocketContext};
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::broker::FrameSink;
use crate::session::{Close, Link};

use super::intake::Intake;
use super::transport::{Ended, Input, Output, Transport};
use pieces::{Pieces, PIECE, READ_BUFFER, TOO_LONG};

/// Once the client is connected, a message may be this much longer than a STOMP frame: ends of line, and a frame just
/// beyond its limit, whose ERROR then names its receipt.
const SLACK: usize = 4 << 10;

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

/// Text or binary: the two kinds of data message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text = 0x1,
    Binary = 0x2,
}

const FINAL: u8 = 0x80;
const PING: u8 = 0x9;

/// A WebSocket connection after its opening handshake.
#[derive(Debug)]
pub(super) struct WebSocket {
    socket: TcpStream,
    wire: Wire,
    context: WebSocketContext,
    agreed: Agreed,
    /// The message at hand, as far as it is not consumed.
    message: Bytes,
    /// The kind of the message that came last, until it is echoed.
    message_kind: Option<Kind>,
    /// The kind in which the client speaks, once it said something.
    kind: Option<Kind>,
    /// Our close frame is in the output: nothing may follow it.
    closing: bool,
    /// What the client sends can be read as frames.
    readable: bool,
}

/// The socket as tungstenite sees it.
#[derive(Debug)]
struct Wire {
    intake: Intake,
    pieces: Pieces,
    output: Output,
    /// Octets of pongs and close replies appended since the output was last empty.
    replies: usize,
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.pieces.read(&mut self.intake, buffer)
    }
}

impl Write for Wire {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.output.append(octets);
        self.replies += octets.len();
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl WebSocket {
    /// Speaks WebSocket over `socket`; `early` came behind the request. Until [`Transport::agree`], all messages together
    /// may have `frame` octets.
    pub(super) fn new(socket: TcpStream, early: &[u8], agreed: Agreed, frame: usize) -> WebSocket {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER)
            .write_buffer_size(0)
            .max_message_size(None)
            .max_frame_size(Some(PIECE));
        WebSocket {
            socket,
            wire: Wire {
                intake: Intake::of(early),
                pieces: Pieces::new(frame),
                output: Output::default(),
                replies: 0,
            },
            context: WebSocketContext::new(Role::Server, Some(config)),
            agreed,
            message: Bytes::new(),
            message_kind: None,
            kind: None,
            closing: false,
            readable: true,
        }
    }

    /// Reads once; the next message of any kind, if all of it has come.
    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Message>, Ended>> {
        // tungstenite zero-fills its buffer at every read: it is not asked for nothing.
        if self.wire.intake.is_empty() {
            match ready!(self.wire.intake.poll_fill(&mut self.socket, cx)) {
                // A client that goes without a close frame may have been cut off.
                Ok(0) | Err(_) => return Poll::Ready(Err(Ended::Broken)),
                Ok(_) => {}
            }
        }
        Poll::Ready(match self.context.read(&mut self.wire) {
            Ok(message) => Ok(Some(message)),
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => {
                self.readable = false;
                self.wire.intake.clear();
                Err(judge(&error))
            }
        })
    }

    /// Keeps a message to be consumed. The kind of the client is that of CONNECT, and not of the ends of line before it.
    fn take(&mut self, message: Bytes, kind: Kind) {
        // Even an empty slice would keep tungstenite from using its buffer again.
        self.message = if message.is_empty() { Bytes::new() } else { message };
        self.message_kind = Some(kind);
        if self.kind.is_none() && self.message.iter().any(|&octet| octet != b'\n' && octet != b'\r') {
            self.kind = Some(kind);
        }
    }

    /// Puts tungstenite's reply to a ping or a close frame into the output.
    fn reply(&mut self) {
        // Appending cannot fail; after a close frame the outcome is "closed".
        let _ = self.context.flush(&mut self.wire);
    }

    /// Sends the message at hand, if there is one, back as it came.
    pub(super) fn echo(&mut self) {
        if let Some(kind) = self.message_kind.take() {
            let message = std::mem::take(&mut self.message);
            self.append_message(kind, &[&message]);
        }
    }

    /// Appends one message.
    fn append_message(&mut self, kind: Kind, parts: &[&[u8]]) {
        if !self.closing {
            let octets = parts.iter().map(|part| part.len()).sum();
            append_frame(&mut self.wire.output, FINAL | kind as u8, octets, parts);
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

/// How a client broke the rules of WebSocket, in the codes of RFC 6455 section 7.4.1.
fn judge(error: &Error) -> Ended {
    let (code, reason) = match error {
        Error::Io(error) if error.kind() == TOO_LONG => return Ended::TooLong,
        Error::ConnectionClosed | Error::AlreadyClosed => return Ended::Closed,
        Error::Io(_) => return Ended::Broken,
        Error::Utf8(_) => (1007, "a text is not UTF-8"),
        // Data frames are cut before.
        Error::Capacity(_) | Error::Protocol(ProtocolError::ControlFrameTooBig) => {
            (1002, "a control frame is longer than 125 octets")
        }
        Error::Protocol(ProtocolError::UnmaskedFrameFromClient) => (1002, "a frame is not masked"),
        Error::Protocol(ProtocolError::NonZeroReservedBits) => {
            (1002, "a reserved bit is set, and no extension was agreed")
        }
        Error::Protocol(ProtocolError::InvalidOpcode(_)) => (1002, "a reserved opcode"),
        _ => (1002, "not a WebSocket frame"),
    };
    Ended::Faulty(Close { code, reason })
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
        self.wire.output.position()
    }
}

impl Transport for WebSocket {
    fn link(&self) -> Link {
        Link::WebSocket {
            subprotocol: self.agreed.subprotocol,
        }
    }

    fn poll_input(&mut self, cx: &mut Context<'_>) -> Poll<Input> {
        if !self.message.is_empty() {
            return Poll::Ready(Input::Octets);
        }
        Poll::Ready(match ready!(self.poll_message(cx)) {
            Ok(Some(Message::Text(text))) => {
                self.take(text.into(), Kind::Text);
                Input::Octets
            }
            Ok(Some(Message::Binary(octets))) => {
                self.take(octets, Kind::Binary);
                Input::Octets
            }
            // A long message is on its way; others shall have their turn.
            Ok(None) => Input::Octets,
            Ok(Some(Message::Ping(_))) => {
                self.reply();
                Input::Beat
            }
            Ok(Some(Message::Pong(_) | Message::Frame(_))) => Input::Beat,
            Ok(Some(Message::Close(_))) => {
                self.reply();
                self.closing = true;
                Input::Ended(Ended::Closed)
            }
            Err(ended) => Input::Ended(ended),
        })
    }

    fn input(&self) -> &[u8] {
        &self.message
    }

    fn consume(&mut self, octets: usize) {
        self.message.advance(octets);
        if self.message.is_empty() {
            self.message = Bytes::new();
        }
    }

    fn agree(&mut self, frame: usize) {
        self.wire.pieces.agree(frame.saturating_add(SLACK));
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = self.wire.output.poll_flush(&self.socket, cx);
        if outcome.is_ready() {
            self.wire.replies = 0;
        }
        outcome
    }

    fn replies_waiting(&self) -> usize {
        self.wire.replies
    }

    fn is_reset(&self) -> bool {
        !matches!(self.socket.take_error(), Ok(None))
    }

    fn received(&self) -> u64 {
        self.wire.intake.received()
    }

    fn accepted(&self) -> u64 {
        self.wire.output.accepted()
    }

    fn ping(&mut self) {
        if !self.closing {
            append_frame(&mut self.wire.output, FINAL | PING, 0, &[]);
        }
    }

    fn close(&mut self, close: &Close) {
        let frame = CloseFrame {
            code: CloseCode::from(close.code),
            reason: close.reason.into(),
        };
        // Appending cannot fail; after the client's own close frame there is nothing to append.
        let _ = self.context.close(&mut self.wire, Some(frame));
        self.closing = true;
    }

    fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.message = Bytes::new();
        while self.readable {
            match ready!(self.poll_message(cx)) {
                Ok(Some(Message::Close(_))) => {
                    self.reply();
                    self.closing = true;
                    return Poll::Ready(());
                }
                Err(Ended::Broken | Ended::Closed) => return Poll::Ready(()),
                Ok(_) | Err(_) => {}
            }
        }
        self.wire.intake.poll_drop(&mut self.socket, cx)
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.socket).poll_shutdown(cx).map(|_| ())
    }
}
