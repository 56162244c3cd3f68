//! One STOMP client: octets in and out, and the way to CONNECTED.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::websocket::{self, Piece, Unframe};
use super::{Arguments, Failure};
use crate::stomp::{Command, Decoder, Frame, Limits, Version};

/// From the first packet to CONNECTED.
const PATIENCE: Duration = Duration::from_secs(30);

/// Octets read at once, by all connections into the same place.
const SCRATCH: usize = 256 << 10;

/// What a broker may send us. A load tool trusts it further than a broker its clients.
const LIMITS: Limits = Limits {
    frame: 256 << 20,
    header_lines: 1_000,
    header_line: 64 << 10,
    head: 1 << 20,
};

/// Where every connection of a run reads to.
#[derive(Debug)]
pub(super) struct Scratch(RefCell<Box<[u8]>>);

impl Default for Scratch {
    fn default() -> Self {
        Scratch(RefCell::new(vec![0; SCRATCH].into_boxed_slice()))
    }
}

/// A client that has been accepted.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) reader: Reader,
    pub(super) writer: Writer,
    /// CONNECTED's `server`.
    pub(super) server: String,
}

/// The way in.
#[derive(Debug)]
pub(super) struct Reader {
    half: OwnedReadHalf,
    /// Of a WebSocket.
    unframe: Option<Unframe>,
    decoder: Decoder,
    pongs: Rc<RefCell<Vec<u8>>>,
}

/// The way out. Frames wait here until they are flushed.
#[derive(Debug)]
pub(super) struct Writer {
    half: OwnedWriteHalf,
    websocket: bool,
    out: Vec<u8>,
    /// Answers to pings, from the reader.
    pongs: Rc<RefCell<Vec<u8>>>,
}

impl Connection {
    /// Connects, upgrades, and is CONNECTED.
    pub(super) async fn open(arguments: &Arguments, scratch: &Scratch) -> Result<Connection, Failure> {
        let target = &arguments.url;
        let socket = match timeout(PATIENCE, TcpStream::connect(&target.authority)).await {
            Ok(Ok(socket)) => socket,
            Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
                return Err(Failure::Nobody(format!("{target}: {error}")));
            }
            Ok(Err(error)) => return Err(Failure::Broken(format!("{target}: {error}"))),
            Err(_) => return Err(Failure::Broken(format!("{target}: no answer"))),
        };
        let greeting = timeout(PATIENCE, greet(socket, arguments, scratch));
        match greeting.await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(error)) => Err(Failure::Broken(format!("{target}: {error}"))),
            Err(_) => Err(Failure::Broken(format!(
                "{target}: no CONNECTED within {} s",
                PATIENCE.as_secs()
            ))),
        }
    }

    /// Sends SUBSCRIBE, with a receipt.
    pub(super) async fn subscribe(&mut self, id: u64, destination: &str, ack: &str, prefetch: u32) -> io::Result<()> {
        self.writer.put_subscribe(id, destination, ack, prefetch, true);
        self.writer.flush().await
    }

    /// Reads until `count` RECEIPTs have come; MESSAGEs meanwhile are none of ours.
    pub(super) async fn await_receipts(&mut self, count: u64, scratch: &Scratch) -> io::Result<()> {
        let mut left = count;
        while left > 0 {
            self.reader.ready().await?;
            self.reader.take(scratch, |frame| {
                match frame.command {
                    Command::Receipt => left = left.saturating_sub(1),
                    Command::Error => return Err(refusal(frame)),
                    _ => {}
                }
                Ok(())
            })?;
            self.writer.flush().await?;
        }
        Ok(())
    }
}

async fn greet(socket: TcpStream, arguments: &Arguments, scratch: &Scratch) -> io::Result<Connection> {
    socket.set_nodelay(true)?;
    let (mut read, mut write) = socket.into_split();
    let websocket = arguments.url.websocket;
    if websocket {
        upgrade(&mut read, &mut write, arguments).await?;
    }
    let pongs = Rc::default();
    let mut reader = Reader {
        half: read,
        unframe: websocket.then(Unframe::default),
        decoder: Decoder::new(LIMITS),
        pongs: Rc::clone(&pongs),
    };
    let mut writer = Writer {
        half: write,
        websocket,
        out: Vec::new(),
        pongs,
    };
    let connect = format!(
        "CONNECT\naccept-version:1.2\nhost:{}\nlogin:{}\npasscode:{}\nheart-beat:0,0\n\n\0",
        arguments.host, arguments.login, arguments.passcode
    );
    writer.put(&[connect.as_bytes()]);
    writer.flush().await?;
    let mut server = None;
    while server.is_none() {
        reader.ready().await?;
        reader.take(scratch, |frame| match frame.command {
            Command::Connected => {
                let name = frame.headers.get("server");
                server =
                    Some(name.map_or_else(|| "a broker that does not say its name".to_string(), |n| n.into_owned()));
                Ok(())
            }
            _ => Err(refusal(frame)),
        })?;
    }
    reader.decoder.agree(Version::V1_2, LIMITS, false);
    Ok(Connection {
        reader,
        writer,
        server: server.unwrap_or_default(),
    })
}

/// The HTTP side of a WebSocket. Nothing follows the answer's head: a server says nothing before CONNECT.
async fn upgrade(read: &mut OwnedReadHalf, write: &mut OwnedWriteHalf, arguments: &Arguments) -> io::Result<()> {
    let target = &arguments.url;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: aG9vZmJlYXQgYmVuY2ghIQ==\r\nSec-WebSocket-Protocol: v12.stomp\r\nOrigin: http://{host}\r\n\
         User-Agent: hoofbeat-bench\r\n\r\n",
        path = target.path,
        host = target.authority,
    );
    write.write_all(request.as_bytes()).await?;
    let mut answer = Vec::with_capacity(512);
    // A refusal may have a body, and the connection stay open behind it.
    while !answer.windows(4).any(|end| end == b"\r\n\r\n") {
        if read.read_buf(&mut answer).await? == 0 || answer.len() > 16 << 10 {
            break;
        }
    }
    let answer = String::from_utf8_lossy(&answer);
    let status = answer.lines().next().unwrap_or_default();
    match status.split(' ').nth(1) {
        Some("101") => Ok(()),
        _ => Err(io::Error::other(format!("no WebSocket at that path, but `{status}`"))),
    }
}

impl Reader {
    /// Waits until there is something to [`Reader::take`].
    pub(super) async fn ready(&self) -> io::Result<()> {
        self.half.readable().await
    }

    /// Reads what is there, once, and gives each whole frame to `on`.
    ///
    /// # Errors
    /// The connection has ended, what came is not STOMP, or `on` says so.
    pub(super) fn take(
        &mut self,
        scratch: &Scratch,
        mut on: impl FnMut(&Frame<'_>) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut scratch = scratch.0.borrow_mut();
        let count = match self.half.try_read(&mut scratch) {
            Ok(0) => return Err(io::Error::other("the broker has closed the connection")),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
        let mut octets = scratch.get(..count).unwrap_or_default();
        let Some(unframe) = &mut self.unframe else {
            return decode(&mut self.decoder, octets, &mut on);
        };
        while let Some(piece) = unframe.next(&mut octets).map_err(io::Error::other)? {
            match piece {
                Piece::Stomp(octets) => decode(&mut self.decoder, octets, &mut on)?,
                Piece::Ping(payload) => websocket::pong(&mut self.pongs.borrow_mut(), &payload),
                Piece::Close(code, reason) => {
                    let closed = format!("the broker has closed the WebSocket: {code} {reason}");
                    return Err(io::Error::other(closed));
                }
            }
        }
        Ok(())
    }
}

fn decode(
    decoder: &mut Decoder,
    mut octets: &[u8],
    on: &mut impl FnMut(&Frame<'_>) -> io::Result<()>,
) -> io::Result<()> {
    loop {
        match decoder.decode(&mut octets) {
            Ok(Some(frame)) => on(&frame)?,
            Ok(None) => return Ok(()),
            Err(error) => return Err(io::Error::other(format!("what came is not STOMP: {:?}", error.kind))),
        }
    }
}

impl Writer {
    /// Appends one STOMP frame, given in parts.
    pub(super) fn put(&mut self, parts: &[&[u8]]) {
        if self.websocket {
            websocket::text(&mut self.out, parts);
        } else {
            for part in parts {
                self.out.extend_from_slice(part);
            }
        }
    }

    /// Appends SUBSCRIBE. Brokers call the credit by different names.
    pub(super) fn put_subscribe(&mut self, id: u64, destination: &str, ack: &str, prefetch: u32, receipt: bool) {
        let receipt = if receipt { "receipt:subscribed\n" } else { "" };
        let frame = format!(
            "SUBSCRIBE\nid:{id}\ndestination:{destination}\nack:{ack}\nprefetch-count:{prefetch}\n\
             activemq.prefetchSize:{prefetch}\n{receipt}\n\0"
        );
        self.put(&[frame.as_bytes()]);
    }

    /// Whether there is something to [`Writer::flush`].
    pub(super) fn waits(&self) -> bool {
        !self.out.is_empty() || !self.pongs.borrow().is_empty()
    }

    /// Writes what was put.
    pub(super) async fn flush(&mut self) -> io::Result<()> {
        self.out.append(&mut self.pongs.borrow_mut());
        if self.out.is_empty() {
            return Ok(());
        }
        self.half.write_all(&self.out).await?;
        self.out.clear();
        self.out.shrink_to(64 << 10);
        Ok(())
    }
}

/// An ERROR, or what came in its place, on one line.
pub(super) fn refusal(frame: &Frame<'_>) -> io::Error {
    let message = frame.headers.get("message").unwrap_or_default();
    let body = String::from_utf8_lossy(frame.body);
    let body = body.trim().replace('\n', " ");
    io::Error::other(format!("{} {message}: {body}", frame.command))
}
