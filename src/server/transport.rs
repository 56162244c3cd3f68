//! What a connection needs of the way its octets travel.
//!
//! A session knows nothing of sockets, and a [`Connection`](super::connection::Connection) nothing of WebSocket frames: a
//! transport turns what it receives into one stream of STOMP octets, whatever the messages they came in, and puts STOMP
//! frames on the wire. It keeps no task and no timer; it is polled. A transport whose session outlives a socket can
//! stay pending while no socket is there.

use std::cell::Cell;
use std::io;
use std::task::{ready, Context, Poll};

use tokio::net::TcpStream;

use crate::broker::FrameSink;
use crate::session::{Close, Link};

/// What came from the client.
#[derive(Debug)]
pub(super) enum Input {
    /// STOMP octets, possibly none: [`Transport::input`] shows them.
    Octets,
    /// A sign of life beside the stream: a WebSocket ping or pong.
    Beat,
    /// Nothing more will come.
    Ended(Ended),
}

/// Why nothing more comes from the client.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// The client closed in order with a WebSocket close frame; the reply is in the output.
    Closed,
    /// The client will send nothing more over TCP, but may still read.
    HalfClosed,
    /// The connection broke: a reset, or an end without a close frame.
    Broken,
    /// A WebSocket message longer than the agreed limit was announced.
    TooLong,
    /// The client broke the rules of the transport itself; close with this.
    Faulty(Close),
}

/// A connection's way to its client and back.
pub(super) trait Transport: FrameSink + Send {
    /// What of it matters to the protocol.
    fn link(&self) -> Link;

    /// Waits for input. Until all of [`Transport::input`] is consumed, more is not read.
    fn poll_input(&mut self, cx: &mut Context<'_>) -> Poll<Input>;

    /// STOMP octets received and not consumed.
    fn input(&self) -> &[u8];

    /// Forgets the first `octets` of the input.
    fn consume(&mut self, octets: usize);

    /// From here on a frame may have `frame` octets.
    fn agree(&mut self, frame: usize);

    /// Writes what waits; ready when the socket has taken all of it.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Octets that the transport put into its output by itself (pongs) and the socket has not taken.
    fn replies_waiting(&self) -> usize {
        0
    }

    /// Whether the connection has been reset, which a client that is not read cannot tell otherwise. Says so once.
    fn is_reset(&self) -> bool;

    /// Octets ever received from the socket.
    fn received(&self) -> u64;

    /// Octets ever taken by the socket: a position of [`FrameSink::position`].
    fn accepted(&self) -> u64;

    /// Asks the client whether it is alive, if the transport has a way.
    fn ping(&mut self);

    /// Appends the end: a close frame on WebSocket, nothing on TCP. What is appended afterwards is not sent.
    fn close(&mut self, close: &Close);

    /// Reads and drops what the client still sends, so that no reset overtakes our last frames; ready when it is gone.
    fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<()>;

    /// After [`Transport::close`] and a flush: says that nothing more comes from us.
    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<()>;
}

thread_local! {
    /// One buffer per thread that connections encode into and give back when the socket took everything, so that
    /// an idle connection owns none.
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A spare buffer beyond this is given back to the system.
const SPARE_OCTETS: usize = 256 << 10;

/// Octets on their way to a socket, in order.
#[derive(Debug, Default)]
pub(super) struct Output {
    octets: Vec<u8>,
    /// How many of `octets` the socket has taken.
    taken: usize,
    /// Octets ever appended.
    position: u64,
}

impl Output {
    /// Makes room for `octets` more.
    pub(super) fn reserve(&mut self, octets: usize) {
        if self.octets.capacity() == 0 {
            self.octets = SPARE.take();
        }
        self.octets.reserve(octets);
    }

    /// Appends `octets`.
    pub(super) fn append(&mut self, octets: &[u8]) {
        if self.octets.capacity() == 0 {
            self.reserve(octets.len());
        }
        self.octets.extend_from_slice(octets);
        self.position += octets.len() as u64;
    }

    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// Octets ever taken by the socket.
    pub(super) fn accepted(&self) -> u64 {
        self.position - self.waiting() as u64
    }

    /// Octets that the socket has not taken.
    pub(super) fn waiting(&self) -> usize {
        self.octets.len() - self.taken
    }

    /// Writes until all is taken or the socket takes no more.
    pub(super) fn poll_flush(&mut self, socket: &TcpStream, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.waiting() > 0 {
            match socket.try_write(self.octets.get(self.taken..).unwrap_or_default()) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(taken) => self.taken += taken,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.keep_the_rest();
                    ready!(socket.poll_write_ready(cx))?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        self.give_back();
        Poll::Ready(Ok(()))
    }

    /// Keeps only what is left, in a buffer of its size, when most of a large one has been taken.
    fn keep_the_rest(&mut self) {
        if self.taken > 0 && self.octets.capacity() > 2 * self.waiting() {
            let rest = self.octets.get(self.taken..).unwrap_or_default().to_vec();
            self.give_back();
            self.octets = rest;
        }
    }

    fn give_back(&mut self) {
        let mut octets = std::mem::take(&mut self.octets);
        self.taken = 0;
        if octets.capacity() <= SPARE_OCTETS {
            octets.clear();
            SPARE.set(octets);
        }
    }
}
