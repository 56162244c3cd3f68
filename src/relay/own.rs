//! A connection to the broker that is no client's but the relay's own: its CONNECT, what CONNECTED agrees on, its beats.

use super::{Lost, Settings};
use crate::stomp::{encode, Beat, Frame, HeartBeat, Liveness, Version};

/// How far such a connection is.
#[derive(Debug)]
pub(super) struct Own {
    pub(super) version: Version,
    /// CONNECTED must be there by then; `None` once it is.
    by: Option<u64>,
    liveness: Liveness,
}

impl Own {
    /// The connection has just been made. Appends CONNECT to `out`.
    pub(super) fn connect(settings: &Settings, login: &str, passcode: &str, out: &mut Vec<u8>, now: u64) -> Own {
        let heart_beat = settings.heart_beat.to_string();
        out.extend_from_slice(b"CONNECT\naccept-version:1.1,1.2\n");
        for (name, value) in [
            ("login", login),
            ("passcode", passcode),
            ("heart-beat", &heart_beat),
            ("host", &settings.host),
        ] {
            if !value.is_empty() {
                // CONNECT is never escaped; 1.0's way of writing leaves out what would end a line.
                encode::header(out, name, value, Version::V1_0);
            }
        }
        out.extend_from_slice(b"\n\0");
        Own {
            version: Version::V1_2,
            by: Some(now + settings.connected_ms),
            liveness: Liveness::none(now),
        }
    }

    /// Whether CONNECTED is there.
    pub(super) fn is_connected(&self) -> bool {
        self.by.is_none()
    }

    /// CONNECTED has come.
    ///
    /// # Errors
    /// It has a version that nobody asked for.
    pub(super) fn connected(&mut self, frame: &Frame<'_>, settings: &Settings, now: u64) -> Result<(), Lost> {
        self.version = match frame.headers.get("version").as_deref().map(str::trim) {
            Some("1.2") => Version::V1_2,
            Some("1.1") => Version::V1_1,
            _ => return Err(Lost::Broken("CONNECTED has neither version 1.1 nor 1.2".into())),
        };
        self.by = None;
        let theirs = frame.headers.get("heart-beat");
        let theirs = theirs
            .and_then(|value| HeartBeat::parse(value.trim()))
            .unwrap_or_default();
        self.liveness = Liveness::agree(theirs, settings.heart_beat, settings.tolerance(), now);
        Ok(())
    }

    /// Octets came.
    pub(super) fn heard(&mut self, now: u64) {
        self.liveness.heard(now);
    }

    /// Octets were written.
    pub(super) fn sent(&mut self, now: u64) {
        self.liveness.sent(now);
    }

    /// When [`Own::advance`] must be called.
    pub(super) fn due(&self) -> Option<u64> {
        self.by.or(self.liveness.due())
    }

    /// Does what is due: beats, and the verdict on a silent broker.
    pub(super) fn advance(&mut self, settings: &Settings, out: &mut Vec<u8>, now: u64) -> Option<Lost> {
        if let Some(by) = self.by {
            return (now >= by).then_some(Lost::NoConnected(settings.connected_ms));
        }
        while let Some(beat) = self.liveness.advance(now) {
            match beat {
                Beat::Send => out.push(b'\n'),
                Beat::Probe => {}
                Beat::Silent { silent_ms, .. } => return Some(Lost::Silent(silent_ms)),
            }
        }
        None
    }
}
