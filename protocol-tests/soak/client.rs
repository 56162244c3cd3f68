//! A STOMP client over both transports that can be as rude as a test needs.

use std::collections::VecDeque;
use std::time::Duration;

use protocol_tests::frame::{Decoder, Frame, Item};
use protocol_tests::websocket::{frame, Reader, BINARY, CLOSE, PING, PONG, TEXT};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::broker::Broker;
use crate::Outcome;

/// Nothing that is asked of a broker takes longer; only for a broker that hangs.
const PATIENCE: Duration = Duration::from_secs(30);

const MASK: [u8; 4] = [0x5A, 0x0F, 0xC3, 0x91];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    WebSocket,
    Tcp,
}

#[derive(Debug)]
pub struct Client {
    socket: TcpStream,
    link: Link,
    reader: Reader,
    decoder: Decoder,
    frames: VecDeque<Frame>,
    /// The code of the server's close frame.
    pub close_code: Option<u16>,
    ended: bool,
}

impl Client {
    /// Opens the transport. `receive_buffer`: octets that the kernel may keep for us, about.
    pub async fn open(broker: &Broker, link: Link, receive_buffer: Option<u32>) -> Outcome<Client> {
        let address = match link {
            Link::WebSocket => broker.websocket,
            Link::Tcp => broker.tcp,
        };
        let connect = async {
            let socket = TcpSocket::new_v4()?;
            if let Some(octets) = receive_buffer {
                socket.set_recv_buffer_size(octets)?;
            }
            let mut socket = socket.connect(address).await?;
            socket.set_nodelay(true)?;
            if link == Link::WebSocket {
                upgrade(&mut socket).await?;
            }
            Ok::<_, std::io::Error>(socket)
        };
        let socket = timeout(PATIENCE, connect)
            .await
            .map_err(|_| "no connection within 30 s".to_owned())?;
        Ok(Client {
            socket: socket.map_err(|error| format!("cannot open {link:?}: {error}"))?,
            link,
            reader: Reader::default(),
            decoder: Decoder::default(),
            frames: VecDeque::new(),
            close_code: None,
            ended: false,
        })
    }

    /// Opens and connects in STOMP 1.2.
    pub async fn connect(broker: &Broker, link: Link, heart_beat: &str) -> Outcome<Client> {
        Client::open(broker, link, None).await?.connected(heart_beat).await
    }

    /// Sends CONNECT and takes CONNECTED.
    pub async fn connected(mut self, heart_beat: &str) -> Outcome<Client> {
        self.send(&format!(
            "CONNECT\naccept-version:1.2\nhost:soak\nheart-beat:{heart_beat}\n\n"
        ))
        .await?;
        match self.next().await? {
            Some(frame) if frame.command == "CONNECTED" => Ok(self),
            other => Err(format!("CONNECT was answered by {}", shown(other.as_ref()))),
        }
    }

    /// Sends one frame: `text` and a NUL.
    pub async fn send(&mut self, text: &str) -> Outcome<()> {
        let mut octets = text.as_bytes().to_vec();
        octets.push(0);
        self.send_octets(&octets).await
    }

    /// Sends these octets of STOMP, in one message.
    pub async fn send_octets(&mut self, octets: &[u8]) -> Outcome<()> {
        match self.link {
            Link::WebSocket => self.write(&frame(BINARY, true, octets, Some(MASK))).await,
            Link::Tcp => self.write(octets).await,
        }
    }

    /// Writes to the socket whatever it is.
    pub async fn write(&mut self, octets: &[u8]) -> Outcome<()> {
        let written = timeout(PATIENCE, self.socket.write_all(octets)).await;
        let written = written.map_err(|_| "the broker has read nothing for 30 s".to_owned())?;
        written.map_err(|error| format!("cannot write: {error}"))
    }

    /// The next frame; `None` when the connection has ended.
    pub async fn next(&mut self) -> Outcome<Option<Frame>> {
        let next = timeout(PATIENCE, self.next_in_time()).await;
        next.map_err(|_| "no frame and no end within 30 s".to_owned())?
    }

    async fn next_in_time(&mut self) -> Outcome<Option<Frame>> {
        let mut buffer = [0; 32 << 10];
        loop {
            if let Some(frame) = self.frames.pop_front() {
                return Ok(Some(frame));
            }
            if self.ended {
                return Ok(None);
            }
            match self.socket.read(&mut buffer).await {
                // A reset ends it too: what had come is read.
                Ok(0) | Err(_) => self.ended = true,
                Ok(octets) => self.take(&buffer[..octets]).await?,
            }
        }
    }

    async fn take(&mut self, octets: &[u8]) -> Outcome<()> {
        let mut items = Vec::new();
        if self.link == Link::Tcp {
            self.decoder.feed(octets, &mut items)?;
        } else {
            self.reader.feed(octets);
            while let Some(message) = self.reader.take()? {
                match message.opcode {
                    TEXT | BINARY => self.decoder.feed(&message.payload, &mut items)?,
                    // The server may be gone already.
                    PING => drop(self.write(&frame(PONG, true, &message.payload, Some(MASK))).await),
                    CLOSE => {
                        if let [high, low, ..] = message.payload.as_slice() {
                            self.close_code = Some(u16::from_be_bytes([*high, *low]));
                        }
                    }
                    _ => {}
                }
            }
        }
        self.frames.extend(items.into_iter().filter_map(|item| match item {
            Item::Frame(frame) => Some(frame),
            Item::EndOfLine => None,
        }));
        Ok(())
    }

    /// Waits for the RECEIPT with this id; the MESSAGEs that came before it go to `messages`.
    pub async fn receipt(&mut self, id: &str, messages: &mut Vec<Frame>) -> Outcome<()> {
        loop {
            match self.next().await? {
                Some(frame) if frame.command == "MESSAGE" => messages.push(frame),
                Some(frame) if frame.command == "RECEIPT" && frame.value("receipt-id") == Some(id.as_bytes()) => {
                    return Ok(());
                }
                other => return Err(format!("waited for the RECEIPT {id}, got {}", shown(other.as_ref()))),
            }
        }
    }

    /// Reads until the end; the ERROR that came last, if one did.
    pub async fn read_to_the_end(&mut self) -> Outcome<Option<Frame>> {
        let mut error = None;
        while let Some(frame) = self.next().await? {
            if frame.command == "ERROR" {
                error = Some(frame);
            }
        }
        Ok(error)
    }

    /// Opens the window again after a small receive buffer: with a window below one segment the kernels exchange a few
    /// octets now and then, and minutes pass until all has come.
    pub fn read_on(&self) -> Outcome<()> {
        let socket = socket2::SockRef::from(&self.socket);
        socket.set_recv_buffer_size(4 << 20).map_err(|error| error.to_string())
    }

    /// Says goodbye on WebSocket and waits for the answer; on TCP just closes.
    pub async fn close(mut self) -> Outcome<()> {
        if self.link == Link::WebSocket {
            self.write(&frame(CLOSE, true, &1_000_u16.to_be_bytes(), Some(MASK)))
                .await?;
            self.read_to_the_end().await?;
        }
        Ok(())
    }

    /// Tears the connection off: RST instead of FIN.
    pub fn reset(self) -> Outcome<()> {
        self.socket.set_zero_linger().map_err(|error| error.to_string())
    }
}

pub fn shown(frame: Option<&Frame>) -> String {
    frame.map_or_else(|| "the end of the connection".to_owned(), Frame::show)
}

/// The opening handshake of RFC 6455; the broker says nothing behind its answer before we do.
async fn upgrade(socket: &mut TcpStream) -> std::io::Result<()> {
    let request = b"GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: v12.stomp\r\n\r\n";
    socket.write_all(request).await?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        if socket.read_buf(&mut answer).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    match answer.starts_with(b"HTTP/1.1 101 ") {
        true => Ok(()),
        false => Err(std::io::Error::other(String::from_utf8_lossy(&answer).into_owned())),
    }
}
