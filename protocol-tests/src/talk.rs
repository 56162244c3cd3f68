//! What a case says: connections are opened, frames sent.

use crate::case::Transport;
use crate::expression::Expression;
use crate::notation::{show, Template};
use crate::peer::{Event, Greeting, Peer};
use crate::play::Scene;
use crate::step::{Cut, HeaderPattern, Kind, Opcode, Opening, Pattern, Sending};
use crate::target::Target;
use crate::websocket::{self, Answer};
use std::time::{Duration, Instant};

impl Scene<'_> {
    pub(crate) fn open(&mut self, name: &str, opening: &Opening, subprotocol: Option<&str>) -> Result<(), String> {
        let headers = [
            ("Host", self.target.authority.as_str()),
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Version", "13"),
            // A request without any of these looks like one particular client to some servers.
            ("User-Agent", "stomp-protocol-tests"),
        ];
        let mut headers: Vec<(String, String)> = headers.map(|(name, value)| (name.into(), value.into())).into();
        headers.extend(subprotocol.map(|value| ("Sec-WebSocket-Protocol".to_string(), value.to_string())));
        for (header, value) in &opening.sent {
            headers.retain(|(known, _)| !known.eq_ignore_ascii_case(header));
            if let Some(value) = value {
                let value = String::from_utf8_lossy(&value.fill(&self.variables)?).into_owned();
                headers.push((header.clone(), value));
            }
        }
        self.peers.remove(name);
        self.note(name, ':', "open");
        let greeting = Greeting {
            headers,
            kind: opening.kind.unwrap_or(Kind::Text),
            mute: opening.mute,
        };
        let (peer, answer) = Peer::open(self.target, &greeting)
            .map_err(|error| format!("the connection could not be opened: {error}"))?;
        if let Some(answer) = &answer {
            self.handshake(opening, answer)?;
        }
        self.peers.extend(peer.map(|peer| (name.to_string(), peer)));
        Ok(())
    }

    /// Compares the answer to the WebSocket handshake.
    fn handshake(&mut self, opening: &Opening, answer: &Answer) -> Result<(), String> {
        let wanted = opening.status.unwrap_or(101);
        if answer.status != wanted {
            return Err(format!(
                "the handshake was answered with {}, expected {wanted}",
                answer.status
            ));
        }
        for (header, wanted) in &opening.expected {
            let found = answer.value(header);
            let fits = match (wanted, found) {
                (Some(wanted), Some(found)) => wanted.matches(found.as_bytes(), &mut self.variables),
                (None, None) => true,
                _ => false,
            };
            if !fits {
                return Err(format!("the handshake's {header} is {found:?}"));
            }
        }
        Ok(())
    }

    pub(crate) fn connect(
        &mut self,
        name: &str,
        opening: &Opening,
        version: Option<&str>,
        headers: &[Template],
    ) -> Result<(), String> {
        let version = version.unwrap_or(self.version.as_str()).to_string();
        self.open(name, opening, Some(&format!("v{}.stomp", version.replace('.', ""))))?;
        let Target { vhost, .. } = self.target;
        let mut octets = format!(
            "CONNECT\naccept-version:{version}\nhost:{vhost}{}\n",
            self.target.credentials()
        )
        .into_bytes();
        for header in headers {
            octets.extend(header.fill(&self.variables)?);
            octets.push(b'\n');
        }
        octets.extend_from_slice(b"\n\0");
        self.write(name, &octets)?;
        let mut connected = Pattern {
            command: "CONNECTED".into(),
            ..Pattern::default()
        };
        if version != "1.0" {
            connected.headers.push(HeaderPattern::Is(
                Template::parse("version")?,
                Template::parse(&version)?,
            ));
        }
        self.frame(name, &connected, self.target.patience)
    }

    /// Ends the session politely. Whether the RECEIPT comes is another rule: the end of the connection will do.
    pub(crate) fn disconnect(&mut self, name: &str) -> Result<(), String> {
        self.write(name, b"DISCONNECT\nreceipt:disconnect\n\n\0")?;
        let deadline = Instant::now() + self.target.patience;
        let peer = self.peer(name)?;
        let over = |event: &Event| match event {
            Event::Frame(arrival) => arrival.frame.value("receipt-id") == Some(b"disconnect"),
            Event::Ended(_) => true,
            _ => false,
        };
        while !peer.unread.iter().any(over) {
            if !peer.gather(deadline) {
                return Err("DISCONNECT was answered neither with RECEIPT nor with the end of the connection".into());
            }
        }
        peer.unread
            .retain(|event| !over(event) || matches!(event, Event::Ended(_)));
        peer.close();
        Ok(())
    }

    /// Sends a frame that asks for a receipt, and takes that.
    pub(crate) fn asked(
        &mut self,
        name: &str,
        command: &str,
        headers: &[(&str, Vec<u8>)],
        more: &[Template],
        body: &[u8],
    ) -> Result<(), String> {
        self.receipts += 1;
        let receipt = format!("{}-{}", command.to_lowercase(), self.receipts).into_bytes();
        let mut octets = format!("{command}\n").into_bytes();
        for (header, value) in headers.iter().chain([&("receipt", receipt.clone())]) {
            octets.extend_from_slice(header.as_bytes());
            octets.push(b':');
            octets.extend_from_slice(value);
            octets.push(b'\n');
        }
        for header in more {
            octets.extend(header.fill(&self.variables)?);
            octets.push(b'\n');
        }
        octets.push(b'\n');
        octets.extend_from_slice(body);
        octets.push(0);
        self.write(name, &octets)?;
        let wanted = format!("RECEIPT receipt-id:{}", show(&receipt, 100));
        let patience = self.target.patience;
        self.event(name, patience, &wanted, |event| {
            matches!(event, Event::Frame(arrival) if arrival.frame.command == "RECEIPT" && arrival.frame.value("receipt-id") == Some(&receipt))
        })
        .map(drop)
    }

    pub(crate) fn send(&mut self, name: &str, sending: &Sending, octets: &Template) -> Result<(), String> {
        let octets = octets.fill(&self.variables)?;
        self.note(name, '>', &show(&octets, 400));
        let pause = match (&sending.pause, &sending.cut) {
            (Some(pause), _) => self.time(pause)?,
            // Long enough that a server on the same machine has read the first piece.
            (None, Cut::At(_)) => Duration::from_millis(3),
            _ => Duration::ZERO,
        };
        let pieces = self.pieces(&sending.cut, &octets)?;
        for (at, piece) in pieces.iter().enumerate() {
            if at > 0 && !pause.is_zero() {
                std::thread::sleep(pause);
            }
            let peer = self.peer(name)?;
            let sent = match peer.transport {
                Transport::Tcp => peer.send(piece),
                Transport::WebSocket => send_message(peer, sending, &pieces, at),
            };
            if let Err(error) = sent {
                // The server may rightly have closed; what it said is for the steps that follow.
                self.note(name, '!', &format!("not all could be sent: {error}"));
                return Ok(());
            }
        }
        Ok(())
    }

    fn pieces<'o>(&self, cut: &Cut, octets: &'o [u8]) -> Result<Vec<&'o [u8]>, String> {
        let count =
            |number: &Expression| Ok::<_, String>(usize::try_from(number.compute(&self.variables)?).unwrap_or(0));
        let size = match cut {
            _ if octets.is_empty() => return Ok(vec![octets]),
            Cut::At(at) => {
                let (first, second) = octets.split_at(count(at)?.clamp(1, octets.len()));
                return Ok(vec![first, second]);
            }
            Cut::Whole => octets.len(),
            Cut::EveryOctet => 1,
            Cut::Fragments(number) => octets.len().div_ceil(count(number)?.max(1)),
        };
        Ok(octets.chunks(size).collect())
    }

    pub(crate) fn write(&mut self, name: &str, octets: &[u8]) -> Result<(), String> {
        self.note(name, '>', &show(octets, 400));
        self.peer(name)?
            .send(octets)
            .map_err(|error| format!("could not send: {error}"))
    }
}

/// Sends a piece as a WebSocket message of its own, or as a fragment of one.
fn send_message(peer: &Peer, sending: &Sending, pieces: &[&[u8]], at: usize) -> std::io::Result<()> {
    let piece = pieces[at];
    let fragmented = matches!(sending.cut, Cut::Fragments(_));
    let opcode = match sending.opcode {
        _ if fragmented && at > 0 => websocket::CONTINUATION,
        // A message of text must be UTF-8 by itself, wherever it was cut.
        Opcode::Usual if fragmented => peer.opcode(&pieces.concat()),
        Opcode::Usual => peer.opcode(piece),
        Opcode::Text => websocket::TEXT,
        Opcode::Binary => websocket::BINARY,
        Opcode::Continuation => websocket::CONTINUATION,
        Opcode::Close => websocket::CLOSE,
        Opcode::Ping => websocket::PING,
        Opcode::Pong => websocket::PONG,
    };
    let last = !sending.more && (!fragmented || at + 1 == pieces.len());
    peer.send_frame(opcode, last, piece, !sending.unmasked)
}
