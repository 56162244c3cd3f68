//! A client that waits: one thread, one TCP connection.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use protocol_tests::frame::{Decoder, Frame, Item};

use crate::Outcome;

/// Nothing that is asked of a broker takes longer; only for a broker that hangs.
const PATIENCE: Duration = Duration::from_secs(40);

#[derive(Debug)]
pub struct Wire {
    socket: TcpStream,
    decoder: Decoder,
    buffer: Vec<u8>,
    /// Heart-beats that [`Wire::frames_now`] saw.
    pub beats: u64,
}

impl Wire {
    /// Opens a connection in STOMP 1.2 without heart-beats.
    pub fn connect(address: SocketAddr) -> Outcome<Wire> {
        Wire::connect_with(address, "heart-beat:0,0\n")
    }

    /// The same with these header lines, each with its LF.
    pub fn connect_with(address: SocketAddr, headers: &str) -> Outcome<Wire> {
        let socket = TcpStream::connect(address).map_err(|error| format!("cannot connect: {error}"))?;
        let set = socket
            .set_nodelay(true)
            .and_then(|()| socket.set_read_timeout(Some(PATIENCE)))
            .and_then(|()| socket.set_write_timeout(Some(PATIENCE)));
        set.map_err(|error| format!("cannot set up the socket: {error}"))?;
        let mut wire = Wire {
            socket,
            decoder: Decoder::default(),
            buffer: vec![0; 64 << 10],
            beats: 0,
        };
        wire.write(format!("CONNECT\naccept-version:1.2\nhost:localhost\n{headers}\n\0").as_bytes())?;
        match wire.frames()?.first() {
            Some(frame) if frame.command == "CONNECTED" => Ok(wire),
            other => Err(format!("CONNECT was answered by {}", shown(other))),
        }
    }

    /// Writes whole frames, NULs included.
    pub fn write(&mut self, octets: &[u8]) -> Outcome<()> {
        self.socket
            .write_all(octets)
            .map_err(|error| format!("cannot write: {error}"))
    }

    /// Waits for frames; none when the connection has ended.
    pub fn frames(&mut self) -> Outcome<Vec<Frame>> {
        let mut items = Vec::new();
        loop {
            let octets = match self.socket.read(&mut self.buffer) {
                Ok(octets) => octets,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    return Err("no frame came in time".to_owned());
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                // Torn off: what had come is read.
                Err(_) => 0,
            };
            if octets == 0 {
                return Ok(Vec::new());
            }
            self.decoder.feed(&self.buffer[..octets], &mut items)?;
            if items.iter().any(|item| matches!(item, Item::Frame(_))) {
                let frames = items.drain(..).filter_map(|item| match item {
                    Item::Frame(frame) => Some(frame),
                    Item::EndOfLine => None,
                });
                return Ok(frames.collect());
            }
        }
    }

    /// Sends a frame and waits for the RECEIPT `id` that it asks for; MESSAGEs that come before it go to `messages`.
    pub fn ask(&mut self, text: &str, id: &str, messages: &mut Vec<Frame>) -> Outcome<()> {
        self.write(format!("{text}\0").as_bytes())?;
        loop {
            let frames = self.frames()?;
            if frames.is_empty() {
                return Err(format!("the connection ended before RECEIPT {id}"));
            }
            let mut found = false;
            for frame in frames {
                match frame.command.as_str() {
                    "RECEIPT" if frame.value("receipt-id") == Some(id.as_bytes()) => found = true,
                    "MESSAGE" => messages.push(frame),
                    _ => return Err(format!("waited for RECEIPT {id}, got {}", frame.show())),
                }
            }
            if found {
                return Ok(());
            }
        }
    }

    /// How long reads and writes wait.
    pub fn deadlines(&self, time: Duration) -> Outcome<()> {
        let set = self.socket.set_read_timeout(Some(time));
        set.and_then(|()| self.socket.set_write_timeout(Some(time)))
            .map_err(|error| error.to_string())
    }

    /// Writes what the socket takes in its deadline, and removes it from `octets`; whether it took anything.
    pub fn write_some(&mut self, octets: &mut Vec<u8>) -> Outcome<bool> {
        match self.socket.write(octets) {
            Ok(taken) => {
                octets.drain(..taken);
                Ok(taken > 0)
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ok(false),
            // The ERROR that came before is to be read.
            Err(_) => Ok(false),
        }
    }

    /// What frames there are, if some come within the read's deadline; beats are counted.
    pub fn frames_now(&mut self) -> Outcome<Vec<Frame>> {
        let octets = match self.socket.read(&mut self.buffer) {
            Ok(0) => return Err("the connection ended".to_owned()),
            Ok(octets) => octets,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return Ok(Vec::new()),
            Err(error) => return Err(format!("cannot read: {error}")),
        };
        let mut items = Vec::new();
        self.decoder.feed(&self.buffer[..octets], &mut items)?;
        let mut frames = Vec::new();
        for item in items {
            match item {
                Item::Frame(frame) => frames.push(frame),
                Item::EndOfLine => self.beats += 1,
            }
        }
        Ok(frames)
    }
}

pub fn shown(frame: Option<&Frame>) -> String {
    frame.map_or_else(|| "the end of the connection".to_owned(), Frame::show)
}
