//! A client that writes what it is told and hides nothing of what comes back.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Long enough for any machine; a test that waits for this has failed.
const PATIENCE: Duration = Duration::from_secs(30);

const HANDSHAKE: &str = "Host: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
const AGENT: &str = "User-Agent: test\r\n";

pub(super) const TEXT: u8 = 1;
pub(super) const BINARY: u8 = 2;
pub(super) const CLOSE: u8 = 8;
pub(super) const PING: u8 = 9;
pub(super) const PONG: u8 = 10;

/// An HTTP connection.
pub(super) struct Http {
    pub(super) socket: TcpStream,
    received: Vec<u8>,
}

/// An answer to a request.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: String,
}

/// A WebSocket connection.
pub(super) struct WebSocket {
    pub(super) http: Http,
}

/// A WebSocket frame from the server.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) opcode: u8,
    pub(super) payload: Vec<u8>,
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }
}

impl Http {
    pub(super) async fn connect(address: SocketAddr) -> Http {
        Http::of(TcpStream::connect(address).await.unwrap())
    }

    pub(super) fn of(socket: TcpStream) -> Http {
        let received = Vec::new();
        Http { socket, received }
    }

    pub(super) async fn write(&mut self, octets: &[u8]) {
        self.socket.write_all(octets).await.unwrap();
    }

    /// Reads more; whether there was any.
    async fn more(&mut self) -> bool {
        let read = self.socket.read_buf(&mut self.received);
        timeout(PATIENCE, read)
            .await
            .expect("nothing came")
            .is_ok_and(|octets| octets > 0)
    }

    async fn take(&mut self, octets: usize) -> Vec<u8> {
        while self.received.len() < octets {
            assert!(
                self.more().await,
                "the server closed after {:?}",
                String::from_utf8_lossy(&self.received)
            );
        }
        self.received.drain(..octets).collect()
    }

    /// Waits until the server closes; what it still says.
    pub(super) async fn rest(&mut self) -> Vec<u8> {
        while self.more().await {}
        std::mem::take(&mut self.received)
    }

    /// The head of an answer.
    pub(super) async fn head(&mut self) -> Answer {
        loop {
            if let Some(end) = self.received.windows(4).position(|four| four == b"\r\n\r\n") {
                let head = String::from_utf8(self.take(end + 4).await).unwrap();
                let status = head.split(' ').nth(1).unwrap().parse().unwrap();
                let body = String::new();
                return Answer { status, head, body };
            }
            assert!(self.more().await, "the server closed without an answer");
        }
    }

    /// An answer with its body.
    pub(super) async fn answer(&mut self) -> Answer {
        let mut answer = self.head().await;
        let length = answer
            .header("content-length")
            .map_or(0, |length| length.parse().unwrap());
        answer.body = String::from_utf8(self.take(length).await).unwrap();
        answer
    }

    pub(super) async fn request(&mut self, line: &str, headers: &str) -> Answer {
        self.write(format!("{line} HTTP/1.1\r\n{headers}\r\n").as_bytes()).await;
        self.answer().await
    }

    /// Upgrades with `headers` besides what a handshake needs.
    pub(super) async fn upgrade(self, path: &str, headers: &str) -> WebSocket {
        self.upgrade_as_spring(path, &format!("{AGENT}{headers}")).await
    }

    /// Upgrades as Spring's client does, which does not say who it is.
    pub(super) async fn upgrade_as_spring(mut self, path: &str, headers: &str) -> WebSocket {
        let answer = self.handshake(path, headers).await;
        assert_eq!(answer.status, 101, "{answer:?}");
        WebSocket { http: self }
    }

    /// Tries to upgrade.
    pub(super) async fn handshake(&mut self, path: &str, headers: &str) -> Answer {
        let request = format!("GET {path} HTTP/1.1\r\n{HANDSHAKE}{headers}\r\n");
        self.write(request.as_bytes()).await;
        self.head().await
    }
}

/// A STOMP 1.2 session over TCP.
pub(super) struct Stomp {
    pub(super) http: Http,
}

impl Stomp {
    pub(super) async fn connect(address: SocketAddr) -> Stomp {
        let http = Http::connect(address).await;
        let mut stomp = Stomp { http };
        stomp.http.write(b"CONNECT\naccept-version:1.2\n\n\0").await;
        assert!(stomp.receive().await.starts_with("CONNECTED\n"));
        stomp
    }

    /// The next frame, with its NUL. Its body must be text without NULs.
    pub(super) async fn receive(&mut self) -> String {
        loop {
            if let Some(end) = self.http.received.iter().position(|&octet| octet == 0) {
                let frame = String::from_utf8(self.http.take(end + 1).await).unwrap();
                return frame.trim_start_matches('\n').to_owned();
            }
            assert!(self.http.more().await, "the server closed");
        }
    }
}

impl WebSocket {
    pub(super) async fn send(&mut self, opcode: u8, payload: &[u8]) {
        let octets = frame(opcode, payload);
        self.http.write(&octets).await;
    }

    pub(super) async fn receive(&mut self) -> Frame {
        let head = self.http.take(2).await;
        assert_eq!(
            head[0] & 0xf0,
            0x80,
            "every frame of ours is final and has no extension"
        );
        let length = match head[1] {
            126 => u16::from_be_bytes(self.http.take(2).await.try_into().unwrap()) as usize,
            127 => u64::from_be_bytes(self.http.take(8).await.try_into().unwrap()) as usize,
            short => usize::from(short),
        };
        Frame {
            opcode: head[0] & 0x0f,
            payload: self.http.take(length).await,
        }
    }

    /// The code and reason of the close frame that comes after any other frames.
    pub(super) async fn closed(&mut self) -> (u16, String) {
        loop {
            let frame = self.receive().await;
            if frame.opcode == CLOSE {
                let (code, reason) = frame.payload.split_at(2);
                let code = u16::from_be_bytes(code.try_into().unwrap());
                return (code, String::from_utf8(reason.to_vec()).unwrap());
            }
        }
    }
}

/// A final, masked frame.
pub(super) fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [0x12, 0x34, 0x56, 0x78];
    let mut octets = announce(opcode, payload.len());
    octets.extend(
        payload
            .iter()
            .zip(MASK.iter().cycle())
            .map(|(octet, mask)| octet ^ mask),
    );
    octets
}

/// The header of a final, masked frame.
pub(super) fn announce(opcode: u8, length: usize) -> Vec<u8> {
    let mut octets = vec![0x80 | opcode];
    match length {
        0..=125 => octets.push(0x80 | length as u8),
        126..=0xffff => {
            octets.push(0x80 | 126);
            octets.extend((length as u16).to_be_bytes());
        }
        _ => {
            octets.push(0x80 | 127);
            octets.extend((length as u64).to_be_bytes());
        }
    }
    octets.extend([0x12, 0x34, 0x56, 0x78]);
    octets
}
