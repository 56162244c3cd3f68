//! Our own connection to the broker: whether it is there is known by it, what the embedding program sends goes over it,
//! and messages for users whom another node could not resolve come over it.

use std::sync::Arc;

use super::own::Own;
use super::users::{self, Spread, ORIGIN};
use super::{Lost, Shared};
use crate::stomp::{encode, Command, Frame, Headers, Limits, Version};

/// What RECEIPTs of the embedding program's SENDs are called.
const RECEIPT: &str = "p-";

/// The state of one system connection, from its CONNECT on.
#[derive(Debug)]
pub struct System {
    shared: Arc<Shared>,
    own: Own,
    sent: u64,
    spread: Option<Spread>,
}

/// What a frame of the broker means for the owner of the connection.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    /// Nothing to do.
    Nothing,
    /// The broker is available.
    Available,
    /// It has taken the SEND of that number.
    Taken(u64),
    /// The connection is of no use any more.
    Lost(Lost),
}

impl System {
    /// The connection has just been made. Appends CONNECT to `out`.
    pub fn new(shared: Arc<Shared>, out: &mut Vec<u8>, now: u64) -> System {
        let settings = &shared.settings;
        let own = Own::connect(settings, &settings.system_login, &settings.system_passcode, out, now);
        System {
            shared,
            own,
            sent: 0,
            spread: None,
        }
    }

    /// By whose rules the broker is read on.
    pub fn version(&self) -> (Version, Limits) {
        (self.own.version, self.shared.settings.limits())
    }

    /// Takes one frame of the broker. What there is to say to it is appended to `out`.
    pub fn receive(&mut self, frame: &Frame<'_>, out: &mut Vec<u8>, now: u64) -> Heard {
        match (frame.command, self.own.is_connected()) {
            (Command::Connected, false) => self.connected(frame, out, now),
            (Command::Error, _) => {
                let why = frame.headers.get("message").unwrap_or_default().into_owned();
                Heard::Lost(Lost::Refused(why))
            }
            (Command::Receipt, true) => {
                let id = frame.headers.get("receipt-id").unwrap_or_default();
                let number = id.strip_prefix(RECEIPT).and_then(|number| number.parse().ok());
                number.map_or(Heard::Nothing, Heard::Taken)
            }
            (Command::Message, true) => {
                self.resolve(frame, out);
                Heard::Nothing
            }
            (command, _) => Heard::Lost(Lost::Broken(format!("{command} where none belongs"))),
        }
    }

    fn connected(&mut self, frame: &Frame<'_>, out: &mut Vec<u8>, now: u64) -> Heard {
        let settings = &self.shared.settings;
        if let Err(why) = self.own.connected(frame, settings, now) {
            return Heard::Lost(why);
        }
        if !settings.user_broadcast.is_empty() {
            out.extend_from_slice(b"SUBSCRIBE\nid:0\n");
            encode::header(out, "destination", &settings.user_broadcast, self.own.version);
            out.extend_from_slice(b"\n\0");
        }
        Heard::Available
    }

    /// A message for a user whom another node does not know: one SEND for each session here. It is not sent round again.
    fn resolve(&mut self, frame: &Frame<'_>, out: &mut Vec<u8>) {
        const OF_THE_DELIVERY: [&str; 7] = [
            "subscription",
            "message-id",
            "ack",
            "redelivered",
            "timestamp",
            "expires",
            "receipt",
        ];
        let origin = frame.headers.get(ORIGIN).unwrap_or_default();
        let Some((user, to)) = users::other(&origin) else {
            return;
        };
        let lines = frame.headers.lines().iter().copied();
        let passing = lines.filter(|line| !OF_THE_DELIVERY.contains(&line.name));
        let send = Frame {
            command: Command::Send,
            headers: Headers::new(passing, frame.headers.is_escaped()),
            body: frame.body,
        };
        let sessions = self.shared.users.sessions(&user);
        if !sessions.is_empty() {
            self.spread = Some(Spread::new(&send, to, sessions));
            self.go_on(out);
        }
    }

    /// Whether a message is on its way to many sessions: until it has gone to all of them, by [`System::go_on`], no
    /// further frame may be given.
    pub fn has_more(&self) -> bool {
        self.spread.is_some()
    }

    /// Appends more of it.
    pub fn go_on(&mut self, out: &mut Vec<u8>) {
        let Some(mut spread) = self.spread.take() else { return };
        let settings = &self.shared.settings;
        let most = settings.upstream_buffer.max(1);
        let write = |parts: &[&[u8]]| parts.iter().for_each(|part| out.extend_from_slice(part));
        if spread.write(self.own.version, settings, most, write).is_none() {
            self.spread = Some(spread);
        }
    }

    /// Appends a SEND to `out`; its number, by which [`Heard::Taken`] answers.
    pub fn publish(&mut self, destination: &str, headers: &[(String, String)], body: &[u8], out: &mut Vec<u8>) -> u64 {
        self.sent += 1;
        let receipt = format!("{RECEIPT}{}", self.sent);
        out.extend_from_slice(b"SEND\n");
        encode::header(out, "destination", destination, self.own.version);
        for (name, value) in headers {
            encode::header(out, name, value, self.own.version);
        }
        encode::header(out, "receipt", &receipt, self.own.version);
        encode::header(out, "content-length", &body.len().to_string(), self.own.version);
        out.push(b'\n');
        out.extend_from_slice(body);
        out.push(0);
        self.sent
    }

    /// Octets came.
    pub fn heard(&mut self, now: u64) {
        self.own.heard(now);
    }

    /// Octets were written.
    pub fn sent(&mut self, now: u64) {
        self.own.sent(now);
    }

    /// When [`System::advance`] must be called.
    pub fn due(&self) -> Option<u64> {
        self.own.due()
    }

    /// Does what is due: beats, and the verdict on a silent broker.
    pub fn advance(&mut self, out: &mut Vec<u8>, now: u64) -> Option<Lost> {
        self.own.advance(&self.shared.settings, out, now)
    }
}
