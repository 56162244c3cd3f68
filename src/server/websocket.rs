//! STOMP over WebSocket (RFC 6455).
//!
//! tungstenite's core reads: masks, fragments, UTF-8, pings, the close handshake. It reads from the socket and "writes" into
//! our [`Output`], so that its pongs and close replies stand whole and in order among the frames that we write ourselves, and
//! reading goes on while a write waits.

use std::io::{self, Read, Write};
use std::pin::Pin;
use std::task::{ready, Context, Poll, Waker};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig, WebSocketContext};
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::broker::FrameSink;
use crate::session::{Close, Link};

use super::tcp::poll_drop_input;
use super::transport::{Ended, Input, Output, Transport};

/// tungstenite's read buffer. It is kept by every connection and zero-filled on every read.
const READ_BUFFER: usize = 4 << 10;

/// A message may be this much longer than a STOMP frame, so that a frame just beyond its limit gets an ERROR that says so.
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
    /// `limit` is the operator's; without it, only a client that looks like Spring's is spared long messages.
    pub(super) fn new(subprotocol: bool, springs: bool, limit: Option<usize>) -> Agreed {
        let split = match limit {
            Some(0) => None,
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
    wire: Wire,
    context: WebSocketContext,
    agreed: Agreed,
    /// The message at hand, as far as it is not consumed.
    message: Bytes,
    /// The kind of the message at hand.
    message_kind: Kind,
    /// The kind in which the client speaks, once it said something.
    kind: Option<Kind>,
    /// The last read took all there was: ask the socket before tungstenite zero-fills its buffer again.
    drained: bool,
    /// Our close frame is in the output.
    closing: bool,
    /// What the client sends can be read as frames.
    readable: bool,
}

/// The socket as tungstenite sees it.
#[derive(Debug)]
struct Wire {
    socket: TcpStream,
    /// Octets that came together with the handshake.
    early: Bytes,
    received: u64,
    output: Output,
    /// Octets of pongs and close replies appended since the output was last empty.
    replies: usize,
}

/// A [`Wire`] while a task polls it.
struct Polled<'a, 'b> {
    wire: &'a mut Wire,
    cx: &'a mut Context<'b>,
}

impl Read for Polled<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wire = &mut *self.wire;
        if !wire.early.is_empty() {
            let octets = wire.early.len().min(buffer.len());
            wire.early.copy_to_slice(buffer.get_mut(..octets).unwrap_or_default());
            return Ok(octets);
        }
        let mut buffer = ReadBuf::new(buffer);
        match Pin::new(&mut wire.socket).poll_read(self.cx, &mut buffer) {
            Poll::Ready(outcome) => {
                outcome?;
                wire.received += buffer.filled().len() as u64;
                Ok(buffer.filled().len())
            }
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

impl Write for Polled<'_, '_> {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.wire.output.append(octets);
        self.wire.replies += octets.len();
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl WebSocket {
    /// Speaks WebSocket over `socket`; `early` came behind the request. Until [`Transport::agree`], a message may not be much
    /// longer than `frame` octets.
    pub(super) fn new(socket: TcpStream, early: Bytes, agreed: Agreed, frame: usize) -> WebSocket {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER)
            .write_buffer_size(0)
            .max_message_size(Some(frame.saturating_add(SLACK)))
            .max_frame_size(Some(frame.saturating_add(SLACK)));
        WebSocket {
            wire: Wire {
                socket,
                received: early.len() as u64,
                early,
                output: Output::default(),
                replies: 0,
            },
            context: WebSocketContext::new(Role::Server, Some(config)),
            agreed,
            message: Bytes::new(),
            message_kind: Kind::Text,
            kind: None,
            drained: false,
            closing: false,
            readable: true,
        }
    }

    /// The next message of any kind.
    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Result<Message, Error>> {
        if self.drained {
            ready!(self.wire.socket.poll_read_ready(cx))?;
            self.drained = false;
        }
        let mut polled = Polled {
            wire: &mut self.wire,
            cx,
        };
        match self.context.read(&mut polled) {
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                self.drained = true;
                Poll::Pending
            }
            outcome => Poll::Ready(outcome),
        }
    }

    fn take(&mut self, message: Bytes, kind: Kind) -> Input {
        self.message = message;
        self.message_kind = kind;
        if self.kind.is_none() && self.message.iter().any(|&octet| octet != b'\n' && octet != b'\r') {
            self.kind = Some(kind);
        }
        Input::Octets
    }

    /// Puts tungstenite's reply to a ping or a close frame into the output.
    fn reply(&mut self, cx: &mut Context<'_>) {
        let mut polled = Polled {
            wire: &mut self.wire,
            cx,
        };
        // Appending cannot fail; after a close frame the outcome is "closed".
        let _ = self.context.flush(&mut polled);
    }

    /// Sends the message at hand back as it came.
    pub(super) fn echo(&mut self) {
        let message = std::mem::take(&mut self.message);
        self.append_message(self.message_kind, &[&message]);
    }

    /// Appends one message. Nothing may follow our close frame.
    pub(super) fn append_message(&mut self, kind: Kind, parts: &[&[u8]]) {
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
        Error::Capacity(_) => return Ended::TooLong,
        Error::Utf8(_) => (1007, "a text message is not UTF-8"),
        Error::Protocol(ProtocolError::UnmaskedFrameFromClient) => (1002, "a frame is not masked"),
        Error::Protocol(ProtocolError::NonZeroReservedBits) => {
            (1002, "a reserved bit is set, and no extension was agreed")
        }
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
        let error = match ready!(self.poll_message(cx)) {
            Ok(Message::Text(text)) => return Poll::Ready(self.take(text.into(), Kind::Text)),
            Ok(Message::Binary(octets)) => return Poll::Ready(self.take(octets, Kind::Binary)),
            Ok(Message::Close(_)) => {
                self.reply(cx);
                self.closing = true;
                return Poll::Ready(Input::Ended(Ended::Closed));
            }
            Ok(Message::Ping(_)) => {
                self.reply(cx);
                return Poll::Ready(Input::Beat);
            }
            Ok(Message::Pong(_) | Message::Frame(_)) => return Poll::Ready(Input::Beat),
            Err(error) => error,
        };
        Poll::Ready(Input::Ended(match error {
            Error::ConnectionClosed | Error::AlreadyClosed => Ended::Closed,
            Error::Io(_) | Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => Ended::Broken,
            error => {
                self.readable = false;
                judge(&error)
            }
        }))
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
        self.context.set_config(|config| {
            config.max_message_size = Some(frame.saturating_add(SLACK));
            config.max_frame_size = Some(frame.saturating_add(SLACK));
        });
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = self.wire.output.poll_flush(&self.wire.socket, cx);
        if outcome.is_ready() {
            self.wire.replies = 0;
        }
        outcome
    }

    fn replies_waiting(&self) -> usize {
        self.wire.replies
    }

    fn received(&self) -> u64 {
        self.wire.received
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
        let mut polled = Polled {
            wire: &mut self.wire,
            cx: &mut Context::from_waker(Waker::noop()),
        };
        // Appending cannot fail; after the client's own close frame there is nothing to append.
        let _ = self.context.close(&mut polled, Some(frame));
        self.closing = true;
    }

    fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.message = Bytes::new();
        while self.readable {
            match ready!(self.poll_message(cx)) {
                Ok(Message::Close(_)) => {
                    self.reply(cx);
                    self.closing = true;
                    return Poll::Ready(());
                }
                Ok(_) => {}
                Err(Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)) => return Poll::Ready(()),
                Err(Error::Protocol(_) | Error::Utf8(_) | Error::Capacity(_)) => self.readable = false,
                Err(_) => return Poll::Ready(()),
            }
        }
        poll_drop_input(&mut self.wire.socket, &mut self.wire.received, cx)
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.wire.socket).poll_shutdown(cx).map(|_| ())
    }
}
