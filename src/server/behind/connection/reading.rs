//! What is read from either side, as long as the other takes it.

use std::task::{Context, Poll};

use super::{waiting, Both, Connection, Line, Over, Rest};
use crate::broker::{FrameSink, Now};
use crate::relay::{self, Lost, Step};
use crate::server::transport::{Ended, Input, Transport};
use crate::session::Fault;
use crate::stomp::{DecodeError, DecodeErrorKind};

/// Frames read from one side in one turn.
const TURN_FRAMES: usize = 128;
/// Octets read from one side in one turn; the last read may go beyond it.
const TURN_OCTETS: usize = 64 << 10;
/// How often it is asked after a client that is not read.
const LOOK_MS: u64 = 1_000;
/// Pongs may fill the output of a client that reads nothing up to this; then its input waits.
const REPLIES_WAITING: usize = 16 << 10;

impl<T: Transport> Connection<T> {
    /// Whether as much waits to be written to the broker as may.
    pub(super) fn broker_is_full(&self) -> bool {
        match &self.line {
            Line::Open(open) => waiting(&open.tcp) > self.parts.behind.shared.settings.upstream_buffer as u64,
            Line::None | Line::Dialling(_) | Line::Ending(..) => false,
        }
    }

    /// Whether the client waits for the broker to take what it has sent.
    pub(super) fn client_is_held(&self) -> bool {
        self.broker_is_full() || !self.parts.relay.accepts_input()
    }

    /// Whether the broker waits for the client to take what it has sent.
    pub(super) fn broker_is_held(&self) -> bool {
        waiting(&self.transport) > self.parts.behind.shared.settings.client_buffer as u64
    }

    /// Reads from the client.
    pub(super) fn read(&mut self, cx: &mut Context<'_>, now: Now) -> Result<Rest, Over> {
        let before = self.transport.received();
        let rest = self.read_frames(cx, now);
        // Whoever is not read cannot be blamed for silence.
        if self.transport.received() != before || matches!(rest, Ok(Rest::Held)) {
            self.parts.relay.heard_client(now.mono);
        }
        let rest = rest?;
        self.look_after(rest == Rest::Held, now.mono)?;
        Ok(rest)
    }

    /// Who is not read is not heard going. That a client has only ended its side says nothing: what it said before is still
    /// to be read.
    fn look_after(&mut self, held: bool, now: u64) -> Result<(), Over> {
        if self.look.is_some_and(|at| held && now < at) {
            return Ok(());
        }
        self.look = held.then_some(now + LOOK_MS);
        match held && self.transport.is_reset() {
            true => Err(Over("reset")),
            false => Ok(()),
        }
    }

    fn read_frames(&mut self, cx: &mut Context<'_>, now: Now) -> Result<Rest, Over> {
        let (mut frames, mut octets) = (0, 0);
        while self.is_open() {
            if self.client_is_held() || self.transport.replies_waiting() > REPLIES_WAITING {
                return Ok(Rest::Held);
            }
            if frames >= TURN_FRAMES || octets >= TURN_OCTETS {
                return Ok(Rest::Spent);
            }
            frames += 1;
            match self.transport.poll_input(cx) {
                Poll::Pending => return Ok(Rest::Idle),
                Poll::Ready(Input::Octets) => octets += self.execute(now),
                Poll::Ready(Input::Beat) => self.parts.relay.heard_client(now.mono),
                Poll::Ready(Input::Ended(ended)) => self.no_more_input(ended, cx)?,
            }
        }
        Ok(Rest::Idle)
    }

    /// Executes the first frame of the client's input, if it ends there; the octets used.
    fn execute(&mut self, now: Now) -> usize {
        let mut later = Later::default();
        let input = self.transport.input();
        let mut rest = input;
        let mut both = Both {
            client: &mut later,
            broker: match &mut self.line {
                Line::Open(open) => Some(&mut open.tcp),
                Line::None | Line::Dialling(_) | Line::Ending(..) => None,
            },
        };
        let relay = &mut self.parts.relay;
        let step = match self.decoder.decode(&mut rest) {
            Ok(Some(frame)) => {
                self.parts.counters.frame_received();
                self.spoke = true;
                relay.receive(&frame, &mut both, now.mono)
            }
            Ok(None) => {
                rest = &[];
                Step::Done
            }
            Err(error) => relay.malformed(fault(error), &mut both),
        };
        let used = input.len() - rest.len();
        self.transport.consume(used);
        later.write(&mut self.transport);
        self.decoder.release();
        let relay = &mut self.parts.relay;
        relay.holds(self.decoder.held(), now.mono);
        if let Some(version) = relay.agreed() {
            self.decoder.agree(version, self.parts.limits, self.parts.strict);
            self.transport.agree(self.parts.limits.frame);
        }
        self.obey(step);
        used
    }

    fn no_more_input(&mut self, ended: Ended, cx: &mut Context<'_>) -> Result<(), Over> {
        match ended {
            Ended::Broken => Err(Over("reset")),
            Ended::HalfClosed | Ended::Closed => {
                let _ = self.transport.poll_flush(cx);
                Err(Over("client"))
            }
            Ended::TooLong => {
                let kind = DecodeErrorKind::FrameTooLarge {
                    limit: self.parts.limits.frame,
                    announced: None,
                };
                let error = DecodeError {
                    kind,
                    command: None,
                    receipt: None,
                };
                let (relay, mut both) = self.relay();
                let step = relay.malformed(fault(error), &mut both);
                self.obey(step);
                Ok(())
            }
            Ended::Faulty(close) => {
                let (relay, mut both) = self.relay();
                relay.gone(&mut both);
                self.ending.begin(close);
                Ok(())
            }
        }
    }

    /// Reads from the broker.
    pub(super) fn answers(&mut self, cx: &mut Context<'_>, now: Now) -> Rest {
        let (mut frames, mut octets) = (0, 0);
        while self.is_open() {
            let held = self.broker_is_held();
            let Line::Open(open) = &mut self.line else { break };
            if held {
                self.parts.relay.heard_upstream(now.mono);
                return Rest::Held;
            }
            if frames >= TURN_FRAMES || octets >= TURN_OCTETS {
                return Rest::Spent;
            }
            frames += 1;
            match open.tcp.poll_input(cx) {
                Poll::Pending => break,
                Poll::Ready(Input::Octets) => {
                    self.parts.relay.heard_upstream(now.mono);
                    octets += self.answer(now);
                }
                Poll::Ready(Input::Beat) => {}
                Poll::Ready(Input::Ended(Ended::Broken)) => self.lose(Lost::Broken("connection reset".to_owned()), now),
                Poll::Ready(Input::Ended(_)) => self.lose(Lost::Closed, now),
            }
        }
        Rest::Idle
    }

    /// Takes the first frame of the broker's input, if it ends there; the octets used.
    fn answer(&mut self, now: Now) -> usize {
        let Line::Open(open) = &mut self.line else { return 0 };
        let mut later = Later::default();
        let input = open.tcp.input();
        let mut rest = input;
        let mut both = Both {
            client: &mut self.transport,
            broker: Some(&mut later),
        };
        let relay = &mut self.parts.relay;
        let answered = match open.decoder.decode(&mut rest) {
            Ok(Some(frame)) => Ok(relay.answer(&frame, &mut both, now.mono)),
            Ok(None) => {
                rest = &[];
                Ok(Step::Done)
            }
            Err(error) => Err(error.to_string()),
        };
        let used = input.len() - rest.len();
        open.tcp.consume(used);
        later.write(&mut open.tcp);
        open.decoder.release();
        if let Some(version) = relay.spoken() {
            open.decoder
                .agree(version, self.parts.behind.shared.settings.limits(), false);
        }
        if let Some(version) = relay.agreed() {
            self.decoder.agree(version, self.parts.limits, self.parts.strict);
        }
        match answered {
            Ok(step) => self.obey(step),
            Err(why) => self.lose(Lost::Broken(why), now),
        }
        // A broker that was lost while its frame was taken is of no more use.
        if !self.parts.relay.has_upstream() && !self.parts.relay.is_over() {
            self.set_line(Line::None);
        }
        used
    }
}

/// What is wrong with a client's octets, in the words that sessions have for it.
fn fault(error: DecodeError) -> relay::Fault {
    let Fault {
        kind,
        detail,
        receipt,
        headers,
    } = Fault::from(error);
    relay::Fault {
        code: kind.code,
        message: kind.message.into(),
        close: kind.close,
        detail,
        receipt,
        headers,
    }
}

/// Frames for the side whose input is being read: they are written when it is not borrowed any more.
#[derive(Default)]
struct Later(Vec<(Vec<u8>, bool)>);

impl FrameSink for Later {
    fn frame(&mut self, parts: &[&[u8]], utf8: bool) {
        self.0.push((parts.concat(), utf8));
    }

    fn position(&self) -> u64 {
        0
    }
}

impl Later {
    fn write(self, output: &mut impl FrameSink) {
        for (frame, utf8) in self.0 {
            output.frame(&[&frame], utf8);
        }
    }
}
