//! The client side of RFC 6455, only as far as a conformance suite needs it: every bit of a frame is in the case's hand.

use data_encoding::BASE64;
use sha1::{Digest, Sha1};
use std::io::{self, Read, Write};

/// Opcode of a continuation frame.
pub const CONTINUATION: u8 = 0;
/// Opcode of a text frame.
pub const TEXT: u8 = 1;
/// Opcode of a binary frame.
pub const BINARY: u8 = 2;
/// Opcode of a close frame.
pub const CLOSE: u8 = 8;
/// Opcode of a ping.
pub const PING: u8 = 9;
/// Opcode of a pong.
pub const PONG: u8 = 10;

/// A server's answer to the handshake.
#[derive(Clone, Debug)]
pub struct Answer {
    /// 101 when the socket is open.
    pub status: u16,
    /// Name and value, in order.
    pub headers: Vec<(String, String)>,
}

impl Answer {
    /// The value of a header, its name in any case.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }
}

/// Sends the request and reads the answer's head, not an octet more.
///
/// `headers` are all but `Sec-WebSocket-Key`.
pub fn handshake(
    stream: &mut (impl Read + Write),
    path: &str,
    headers: &[(String, String)],
    nonce: [u8; 16],
) -> io::Result<Answer> {
    let key = BASE64.encode(&nonce);
    let mut request = format!("GET {path} HTTP/1.1\r\nSec-WebSocket-Key: {key}\r\n");
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    stream.write_all(format!("{request}\r\n").as_bytes())?;

    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut octet = [0];
        stream.read_exact(&mut octet)?;
        head.push(octet[0]);
        if head.len() > 65_536 {
            return Err(io::Error::other("the head of the HTTP answer has no end"));
        }
    }
    let answer = answer(&String::from_utf8_lossy(&head)).ok_or_else(|| io::Error::other("this is no HTTP answer"))?;
    if answer.status == 101 {
        let digest = Sha1::digest(format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11"));
        if answer.value("Sec-WebSocket-Accept") != Some(&BASE64.encode(&digest)) {
            return Err(io::Error::other("Sec-WebSocket-Accept does not answer the key"));
        }
    }
    Ok(answer)
}

fn answer(head: &str) -> Option<Answer> {
    let mut lines = head.lines();
    let status = lines.next()?.split_whitespace().nth(1)?.parse().ok()?;
    let headers = lines.take_while(|line| !line.is_empty());
    let headers = headers.map(|line| {
        line.split_once(':')
            .map(|(name, value)| (name.trim().into(), value.trim().into()))
    });
    Some(Answer {
        status,
        headers: headers.collect::<Option<_>>()?,
    })
}

/// The octets of one frame. Clients must mask; a case may break that.
pub fn frame(opcode: u8, last: bool, payload: &[u8], mask: Option<[u8; 4]>) -> Vec<u8> {
    let mut octets = vec![opcode | if last { 0x80 } else { 0 }];
    let masked = if mask.is_some() { 0x80 } else { 0 };
    match payload.len() {
        length @ 0..=125 => octets.push(masked | length as u8),
        length @ 126..=65_535 => {
            octets.push(masked | 126);
            octets.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            octets.push(masked | 127);
            octets.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    match mask {
        Some(mask) => {
            octets.extend_from_slice(&mask);
            octets.extend(payload.iter().zip(mask.iter().cycle()).map(|(octet, key)| octet ^ key));
        }
        None => octets.extend_from_slice(payload),
    }
    octets
}

/// A message or control frame from the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// [`TEXT`], [`BINARY`], [`CLOSE`], [`PING`] or [`PONG`].
    pub opcode: u8,
    /// Joined from its fragments.
    pub payload: Vec<u8>,
}

/// Joins the server's frames to messages.
#[derive(Debug, Default)]
pub struct Reader {
    pending: Vec<u8>,
    unfinished: Option<Message>,
}

impl Reader {
    /// Adds octets of the stream.
    pub fn feed(&mut self, octets: &[u8]) {
        self.pending.extend_from_slice(octets);
    }

    /// The next message, if it is complete. The error says how the server broke RFC 6455.
    pub fn take(&mut self) -> Result<Option<Message>, String> {
        loop {
            let Some((first, payload)) = self.frame()? else {
                return Ok(None);
            };
            let (last, opcode) = (first & 0x80 != 0, first & 0x0F);
            if first & 0x70 != 0 {
                return Err("a WebSocket frame has a reserved bit set although no extension was agreed".into());
            }
            let message = match (opcode, self.unfinished.take()) {
                (CLOSE | PING | PONG, unfinished) if last && payload.len() <= 125 => {
                    self.unfinished = unfinished;
                    return Ok(Some(Message { opcode, payload }));
                }
                (CONTINUATION, Some(mut message)) => {
                    message.payload.extend_from_slice(&payload);
                    message
                }
                (TEXT | BINARY, None) => Message { opcode, payload },
                (opcode, _) => return Err(format!("a WebSocket frame with opcode {opcode} cannot stand here")),
            };
            if !last {
                self.unfinished = Some(message);
                continue;
            }
            if message.opcode == TEXT && std::str::from_utf8(&message.payload).is_err() {
                return Err("a WebSocket text message is not UTF-8".into());
            }
            return Ok(Some(message));
        }
    }

    fn frame(&mut self) -> Result<Option<(u8, Vec<u8>)>, String> {
        let [first, second, rest @ ..] = self.pending.as_slice() else {
            return Ok(None);
        };
        if second & 0x80 != 0 {
            return Err("a WebSocket frame of the server is masked".into());
        }
        let (length, head): (usize, usize) = match (second & 0x7F, rest) {
            (126, [a, b, ..]) => (usize::from(u16::from_be_bytes([*a, *b])), 4),
            (127, [a, b, c, d, e, f, g, h, ..]) => (u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]) as usize, 10),
            (126 | 127, _) => return Ok(None),
            (length, _) => (usize::from(length), 2),
        };
        let end = head.saturating_add(length);
        if self.pending.len() < end {
            return Ok(None);
        }
        let frame = (*first, self.pending[head..end].to_vec());
        self.pending.drain(..end);
        Ok(Some(frame))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_joined_and_control_frames_stand_between() {
        let mut reader = Reader::default();
        for (opcode, last, payload) in [(TEXT, false, "a"), (PING, true, "p"), (CONTINUATION, true, "b")] {
            reader.feed(&frame(opcode, last, payload.as_bytes(), None));
        }
        assert_eq!(
            reader.take(),
            Ok(Some(Message {
                opcode: PING,
                payload: b"p".to_vec()
            }))
        );
        assert_eq!(
            reader.take(),
            Ok(Some(Message {
                opcode: TEXT,
                payload: b"ab".to_vec()
            }))
        );
        assert_eq!(reader.take(), Ok(None));
    }

    #[test]
    fn every_length_is_read_and_written() {
        for length in [0, 125, 126, 65_535, 65_536] {
            let mut reader = Reader::default();
            reader.feed(&frame(BINARY, true, &vec![7; length], None));
            assert_eq!(reader.take().unwrap().unwrap().payload.len(), length);
        }
        assert_eq!(
            frame(TEXT, true, b"hi", Some([1, 2, 3, 4])),
            [0x81, 0x82, 1, 2, 3, 4, b'h' ^ 1, b'i' ^ 2]
        );
    }

    #[test]
    fn a_server_that_breaks_the_rules_is_told() {
        for wrong in [
            frame(TEXT, true, b"\xff", None),
            frame(CONTINUATION, true, b"", None),
            frame(TEXT, true, b"", Some([0; 4])),
            frame(0x41, true, b"", None),
        ] {
            let mut reader = Reader::default();
            reader.feed(&wrong);
            assert!(reader.take().is_err(), "{wrong:?}");
        }
    }
}
