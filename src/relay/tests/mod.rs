//! Conversations: what goes in on either side, and what comes out on both.

mod away;
mod connecting;
mod passing;
mod random;
mod sharing;
mod users;

use std::sync::Arc;

use super::*;
use crate::stomp::{Decoder, Limits, Tolerance};

const LIMITS: Limits = Limits {
    frame: 1 << 20,
    header_lines: 1_000,
    header_line: 64 << 10,
    head: 256 << 10,
};

/// What was written to both sides.
#[derive(Debug, Default)]
struct Written {
    client: Vec<u8>,
    broker: Vec<u8>,
}

impl Wires for Written {
    fn client(&mut self, parts: &[&[u8]], utf8: bool) {
        let frame = parts.concat();
        assert_eq!(utf8, std::str::from_utf8(&frame).is_ok());
        self.client.extend_from_slice(&frame);
    }

    fn upstream(&mut self, parts: &[&[u8]]) {
        self.broker.extend_from_slice(&parts.concat());
    }
}

/// A client and a broker with a relay between them, and the time.
struct Scene {
    relay: Relay,
    shared: Arc<Shared>,
    written: Written,
    now: u64,
    last: Step,
    readers: (Decoder, Decoder),
}

/// A NUL as tests show it.
fn shown(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).replace('\0', "^")
}

fn edge() -> Edge {
    let heart_beat = HeartBeat {
        send: 10_000,
        receive: 10_000,
    };
    Edge {
        websocket: true,
        authenticates: false,
        unescape_connect: false,
        user_send: UserSend::None,
        heart_beat,
        tolerance: Tolerance {
            can_probe: true,
            ..Tolerance::default()
        },
        connect_ms: 10_000,
        frame_ms: 60_000,
        subscriptions: 3,
        transactions: 2,
    }
}

/// As many clients as are asked for, each on its own token, of one relay.
fn shared(change: impl FnOnce(&mut Settings)) -> Arc<Shared> {
    let mut settings = Settings::default();
    change(&mut settings);
    let shared = Shared {
        settings,
        ..Shared::default()
    };
    shared.upstream.set_available(true);
    Arc::new(shared)
}

impl Scene {
    fn new(change: impl FnOnce(&mut Settings)) -> Scene {
        Scene::of(&shared(change), 1)
    }

    fn of(shared: &Arc<Shared>, id: u128) -> Scene {
        Scene::at(shared, id, edge())
    }

    fn at(shared: &Arc<Shared>, id: u128, edge: Edge) -> Scene {
        Scene {
            relay: Relay::new(Arc::clone(shared), edge, id, 0),
            shared: Arc::clone(shared),
            written: Written::default(),
            now: 0,
            last: Step::Done,
            readers: (Decoder::new(LIMITS), Decoder::new(LIMITS)),
        }
    }

    /// A client that is connected, by version 1.2.
    fn connected(change: impl FnOnce(&mut Settings)) -> Scene {
        let mut scene = Scene::new(change);
        scene.connect("1.2");
        scene
    }

    fn connect(&mut self, version: &str) {
        self.client(&format!(
            "CONNECT\naccept-version:{version}\nlogin:ann\nheart-beat:0,0\n\n^"
        ));
        self.dial();
        self.broker(&format!("CONNECTED\nversion:{version}\nheart-beat:0,0\n\n^"));
        self.written = Written::default();
    }

    /// The client writes `text`, with `^` for NUL.
    fn client(&mut self, text: &str) -> &mut Scene {
        let octets = text.replace('^', "\0").into_bytes();
        let mut input = octets.as_slice();
        while !self.relay.is_over() {
            let Some(frame) = self.readers.0.decode(&mut input).unwrap() else {
                break;
            };
            self.last = self.relay.receive(&frame, &mut self.written, self.now);
            drop(frame);
            if let Some(version) = self.relay.agreed() {
                self.readers.0.agree(version, LIMITS, false);
            }
        }
        self
    }

    /// The broker writes `text`.
    fn broker(&mut self, text: &str) -> &mut Scene {
        let octets = text.replace('^', "\0").into_bytes();
        let mut input = octets.as_slice();
        while !self.relay.is_over() {
            let Some(frame) = self.readers.1.decode(&mut input).unwrap() else {
                break;
            };
            self.last = self.relay.answer(&frame, &mut self.written, self.now);
            drop(frame);
            if let Some(version) = self.relay.spoken() {
                self.readers.1.agree(version, LIMITS, false);
            }
            if let Some(version) = self.relay.agreed() {
                self.readers.0.agree(version, LIMITS, false);
            }
        }
        self
    }

    /// Waits until the broker is asked for, and lets it answer the connection.
    fn dial(&mut self) {
        for _ in 0..100 {
            if self.relay.dials(self.now) {
                self.readers.1 = Decoder::new(LIMITS);
                self.relay.dialled(&mut self.written, self.now);
                return;
            }
            self.now = self.relay.due().unwrap_or(self.now + 1).max(self.now + 1);
            self.last = self.relay.advance(&mut self.written, self.now);
        }
        panic!("the broker is not asked for");
    }

    fn lose(&mut self, why: Lost) -> &mut Scene {
        self.last = self.relay.lost(why, &mut self.written, self.now);
        self
    }

    fn pass(&mut self, ms: u64) -> &mut Scene {
        self.now += ms;
        self.last = self.relay.advance(&mut self.written, self.now);
        self
    }

    fn for_broker(&mut self) -> String {
        shown(&std::mem::take(&mut self.written.broker))
    }

    fn for_client(&mut self) -> String {
        shown(&std::mem::take(&mut self.written.client))
    }

    fn closed(&self) -> Option<(u16, &'static str)> {
        match self.last {
            Step::Close(Close { code, reason }) => Some((code, reason)),
            _ => None,
        }
    }
}
