//! Heart-beating: what two peers promise each other, and when that is due ("Heart-beating").
//!
//! Time is milliseconds of a clock that only goes forward, and comes in as an argument.

use std::fmt;

/// The two numbers of a `heart-beat` header, in milliseconds; 0 means never. Missing, the header counts as `0,0`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeartBeat {
    /// How often its writer can send.
    pub send: u32,
    /// How often its writer wants to hear from the other side.
    pub receive: u32,
}

impl HeartBeat {
    /// Two non-negative integers with a comma between them and nothing else. A number too large to count is as good as [`u32::MAX`] (49 days).
    pub fn parse(value: &str) -> Option<HeartBeat> {
        let (send, receive) = value.split_once(',')?;
        Some(HeartBeat {
            send: milliseconds(send)?,
            receive: milliseconds(receive)?,
        })
    }
}

impl fmt::Display for HeartBeat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},{}", self.send, self.receive)
    }
}

/// A non-negative integer.
fn milliseconds(digits: &str) -> Option<u32> {
    if digits.is_empty() || !digits.bytes().all(|octet| octet.is_ascii_digit()) {
        return None;
    }
    Some(digits.parse().unwrap_or(u32::MAX))
}

/// What is borne of a peer that is silent for longer than it promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tolerance {
    /// How many times the agreed interval a peer may be silent, in permille. Spring writes up to 1.5 intervals apart.
    pub permille: u32,
    /// Milliseconds added to that.
    pub extra_ms: u32,
    /// Milliseconds that a peer has to answer a probe, before it counts as silent.
    pub probe_ms: u32,
    /// Milliseconds of silence after which a peer that promised nothing is probed, and after which an unanswered probe means that it is gone.
    pub idle_probe_ms: u32,
    /// The transport can ask for a sign of life that the peer gives whatever its timers do: a WebSocket ping. On TCP it cannot.
    pub can_probe: bool,
}

impl Default for Tolerance {
    fn default() -> Self {
        Tolerance {
            permille: 2_000,
            extra_ms: 1_000,
            probe_ms: 5_000,
            idle_probe_ms: 30_000,
            can_probe: false,
        }
    }
}

/// What is to be done for a connection to stay alive, or that it is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beat {
    /// Write one LF. It counts as sent.
    Send,
    /// Ask the transport for a sign of life.
    Probe,
    /// The peer is gone. Told once.
    Silent {
        /// Milliseconds since the last octet or sign of life.
        silent_ms: u64,
        /// The interval that was agreed on; 0 if there was none and only a probe went unanswered.
        expected_ms: u32,
    },
}

/// Both directions of one connection.
#[derive(Clone, Debug)]
pub struct Liveness {
    /// Milliseconds after the last octet sent at which an LF is due.
    beat_after: Option<u64>,
    sent: u64,
    watch: Option<Watch>,
    heard: u64,
}

/// Whether the peer still lives.
#[derive(Clone, Copy, Debug)]
struct Watch {
    /// What the peer promised; 0 for nothing.
    expected_ms: u32,
    /// Milliseconds of silence until it is suspected.
    patience: u64,
    /// Milliseconds that a suspect has to answer a probe. `None`: it cannot be asked.
    answer_within: Option<u64>,
    suspicion: Suspicion,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Suspicion {
    None,
    /// Since then an answer is awaited.
    Probed(u64),
    /// It is gone, and that was told.
    Gone,
}

impl Liveness {
    /// What follows from the two `heart-beat` headers.
    ///
    /// We send at least every max(`server.send`, `client.receive`) and expect something every max(`client.send`, `server.receive`)
    /// milliseconds; nothing if either is 0. A client that promised nothing is probed when it is idle, if it can be.
    pub fn agree(client: HeartBeat, server: HeartBeat, tolerance: Tolerance, now: u64) -> Liveness {
        let outward = interval(server.send, client.receive);
        let inward = interval(client.send, server.receive);
        Liveness {
            beat_after: outward.map(early),
            sent: now,
            watch: Watch::over(inward, tolerance),
            heard: now,
        }
    }

    /// Neither beats nor probes. (A 1.0 session or `0,0` that is to be probed when idle agrees on zeros instead.)
    pub fn none(now: u64) -> Liveness {
        Liveness {
            beat_after: None,
            sent: now,
            watch: None,
            heard: now,
        }
    }

    /// Something came from the peer: an octet of a frame, an end of line, a WebSocket ping or pong.
    pub fn heard(&mut self, now: u64) {
        self.heard = self.heard.max(now);
        if let Some(watch) = &mut self.watch {
            if watch.suspicion != Suspicion::Gone {
                watch.suspicion = Suspicion::None;
            }
        }
    }

    /// Something of STOMP was written to the peer: frames or an LF. (A WebSocket ping is not; the peer's STOMP does not see it.)
    pub fn sent(&mut self, now: u64) {
        self.sent = self.sent.max(now);
    }

    /// When [`Liveness::advance`] must be called next.
    pub fn due(&self) -> Option<u64> {
        [self.beat_due(), self.watch_due()].into_iter().flatten().min()
    }

    /// What is due; to be called until it gives `None`.
    ///
    /// What has arrived must have been reported by [`Liveness::heard`] before, or a broker that was itself asleep takes its peers for dead.
    pub fn advance(&mut self, now: u64) -> Option<Beat> {
        if self.beat_due().is_some_and(|due| due <= now) {
            self.sent = now;
            return Some(Beat::Send);
        }
        if self.watch_due().is_none_or(|due| now < due) {
            return None;
        }
        let silent_ms = now.saturating_sub(self.heard);
        self.watch.as_mut().map(|watch| watch.suspect(now, silent_ms))
    }

    fn beat_due(&self) -> Option<u64> {
        self.beat_after.map(|after| self.sent.saturating_add(after))
    }

    fn watch_due(&self) -> Option<u64> {
        let watch = self.watch.as_ref()?;
        match watch.suspicion {
            Suspicion::None => Some(self.heard.saturating_add(watch.patience)),
            Suspicion::Probed(at) => watch.answer_within.map(|wait| at.saturating_add(wait)),
            Suspicion::Gone => None,
        }
    }
}

impl Watch {
    fn over(inward: Option<u32>, tolerance: Tolerance) -> Option<Watch> {
        let Some(interval) = inward else {
            let wait = u64::from(tolerance.idle_probe_ms);
            return (tolerance.can_probe && wait > 0).then_some(Watch {
                expected_ms: 0,
                patience: wait,
                answer_within: Some(wait),
                suspicion: Suspicion::None,
            });
        };
        let borne = u64::from(interval) * u64::from(tolerance.permille) / 1_000;
        Some(Watch {
            expected_ms: interval,
            patience: borne.max(u64::from(interval)) + u64::from(tolerance.extra_ms),
            answer_within: tolerance.can_probe.then_some(u64::from(tolerance.probe_ms)),
            suspicion: Suspicion::None,
        })
    }

    /// Patience is at its end.
    fn suspect(&mut self, now: u64, silent_ms: u64) -> Beat {
        if self.suspicion == Suspicion::None && self.answer_within.is_some() {
            self.suspicion = Suspicion::Probed(now);
            return Beat::Probe;
        }
        self.suspicion = Suspicion::Gone;
        Beat::Silent {
            silent_ms,
            expected_ms: self.expected_ms,
        }
    }
}

/// The interval of one direction, if both sides want it.
fn interval(can: u32, wanted: u32) -> Option<u32> {
    (can > 0 && wanted > 0).then(|| can.max(wanted))
}

/// How long after the last octet the LF goes out: at 0.6 of the interval, so that a busy machine and a slow net have the rest.
/// (One client in use allows 100 ms beyond the interval.)
fn early(interval: u32) -> u64 {
    (u64::from(interval) * 6 / 10).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: HeartBeat = HeartBeat {
        send: 10_000,
        receive: 10_000,
    };
    const SERVER: HeartBeat = HeartBeat {
        send: 10_000,
        receive: 10_000,
    };
    const PING: Tolerance = Tolerance {
        permille: 2_000,
        extra_ms: 1_000,
        probe_ms: 5_000,
        idle_probe_ms: 30_000,
        can_probe: true,
    };
    const TCP: Tolerance = Tolerance {
        can_probe: false,
        ..PING
    };

    fn pair(text: &str) -> HeartBeat {
        HeartBeat::parse(text).unwrap()
    }

    /// Everything that is due until `end`, each with its time, for a caller that comes exactly when asked.
    fn run(liveness: &mut Liveness, end: u64) -> Vec<(u64, Beat)> {
        let mut beats = Vec::new();
        while let Some(due) = liveness.due().filter(|&due| due <= end) {
            assert!(liveness.due() > due.checked_sub(1), "due goes back");
            if let Some(before) = due.checked_sub(1) {
                assert_eq!(
                    liveness.clone().advance(before),
                    None,
                    "nothing happens before it is due"
                );
            }
            let before = beats.len();
            while let Some(beat) = liveness.advance(due) {
                beats.push((due, beat));
                assert!(beats.len() < 10_000, "advance never ends");
            }
            assert!(beats.len() > before, "nothing was due at {due}");
        }
        beats
    }

    fn only_sends(beats: &[(u64, Beat)]) -> Vec<u64> {
        beats
            .iter()
            .filter(|(_, beat)| *beat == Beat::Send)
            .map(|&(at, _)| at)
            .collect()
    }

    #[test]
    fn row_053_takes_two_non_negative_integers_and_nothing_else() {
        assert_eq!(HeartBeat::parse("0,0"), Some(HeartBeat::default()));
        assert_eq!(
            HeartBeat::parse("1000,02000"),
            Some(HeartBeat {
                send: 1000,
                receive: 2000
            })
        );
        let endless = HeartBeat::parse("4294967295,99999999999999999999999");
        assert_eq!(
            endless,
            Some(HeartBeat {
                send: u32::MAX,
                receive: u32::MAX
            })
        );
        for bad in [
            "", ",", "1", "1,", ",1", "1,2,3", "-1,0", "0,-1", "+1,0", "1.5,0", "1 ,2", " 1,2", "1,2 ", "a,b", "1;2",
            "٣,٣", "1,\n2",
        ] {
            assert_eq!(HeartBeat::parse(bad), None, "{bad:?}");
        }
        assert_eq!(pair("5,70").to_string(), "5,70");
    }

    #[test]
    fn row_054_0_0_sends_and_expects_nothing() {
        let mut liveness = Liveness::agree(HeartBeat::default(), SERVER, TCP, 0);
        assert_eq!(liveness.due(), None);
        assert_eq!(liveness.advance(u64::MAX), None);
    }

    #[test]
    fn row_055_sends_early_in_each_interval_which_is_the_larger_of_the_two() {
        for (client, server, interval) in [
            ("0,10000", "10000,0", 10_000),
            ("0,500", "10000,0", 10_000),
            ("0,20000", "10000,0", 20_000),
        ] {
            let mut liveness = Liveness::agree(pair(client), pair(server), TCP, 7);
            let sends = only_sends(&run(&mut liveness, 7 + 10 * interval));
            assert!(sends.len() >= 10, "{client} {server}");
            let mut last = 7;
            for at in sends {
                let gap = at - last;
                assert!(
                    gap * 10 >= interval * 5 && gap * 10 <= interval * 8,
                    "{client} {server}: {gap}"
                );
                last = at;
            }
        }
        for (client, server) in [("0,0", "10000,0"), ("0,10000", "0,0")] {
            assert_eq!(
                Liveness::agree(pair(client), pair(server), TCP, 0).due(),
                None,
                "{client} {server}"
            );
        }
    }

    #[test]
    fn row_055_traffic_stands_for_the_beat() {
        let mut liveness = Liveness::agree(pair("0,10000"), pair("10000,0"), TCP, 0);
        for now in (0..60_000).step_by(1_000) {
            liveness.sent(now);
            assert_eq!(liveness.advance(now), None);
        }
        let quiet_since = 59_000;
        let sends = only_sends(&run(&mut liveness, quiet_since + 8_000));
        assert_eq!(sends.len(), 1);
    }

    #[test]
    fn an_interval_of_one_millisecond_does_not_spin() {
        let mut liveness = Liveness::agree(pair("0,1"), pair("1,0"), TCP, 0);
        assert_eq!(run(&mut liveness, 50).len(), 50);
    }

    #[test]
    fn a_late_caller_gets_one_beat_and_not_all_that_were_missed() {
        let mut liveness = Liveness::agree(pair("0,10"), pair("10,0"), TCP, 0);
        assert_eq!(liveness.advance(100_000), Some(Beat::Send));
        assert_eq!(liveness.advance(100_000), None);
    }

    #[test]
    fn row_057_058_a_silent_tcp_peer_is_cut_after_twice_the_larger_interval_and_a_second() {
        for (client, server, interval) in [
            ("10000,0", "0,10000", 10_000),
            ("500,0", "0,10000", 10_000),
            ("20000,0", "0,10000", 20_000),
        ] {
            let mut liveness = Liveness::agree(pair(client), pair(server), TCP, 0);
            let expected_ms = u32::try_from(interval).unwrap();
            let silent_ms = 2 * interval + 1_000;
            let beats = run(&mut liveness, u64::from(u32::MAX));
            assert_eq!(
                beats,
                [(silent_ms, Beat::Silent { silent_ms, expected_ms })],
                "{client} {server}"
            );
        }
        for (client, server) in [("0,0", "0,10000"), ("10000,0", "0,0")] {
            let mut liveness = Liveness::agree(pair(client), pair(server), TCP, 0);
            assert_eq!(liveness.advance(u64::MAX), None, "{client} {server}");
        }
    }

    #[test]
    fn row_058_a_tolerance_below_the_interval_is_no_tolerance_to_cut_healthy_peers_with() {
        let harsh = Tolerance {
            permille: 0,
            extra_ms: 0,
            ..TCP
        };
        let mut liveness = Liveness::agree(pair("10000,0"), SERVER, harsh, 0);
        assert_eq!(run(&mut liveness, 9_999), []);
    }

    #[test]
    fn row_059_every_sign_of_life_counts() {
        let mut liveness = Liveness::agree(pair("1000,0"), pair("0,1000"), TCP, 0);
        for now in (0..100_000).step_by(2_999) {
            assert_eq!(liveness.advance(now), None, "at {now}");
            liveness.heard(now);
        }
    }

    #[test]
    fn a_silent_websocket_peer_is_probed_before_it_is_cut() {
        let mut liveness = Liveness::agree(pair("10000,0"), SERVER, PING, 0);
        let silent = Beat::Silent {
            silent_ms: 26_000,
            expected_ms: 10_000,
        };
        assert_eq!(run(&mut liveness, 1_000_000), [(21_000, Beat::Probe), (26_000, silent)]);
        assert_eq!(liveness.advance(u64::MAX), None, "told once");
        liveness.heard(2_000_000);
        assert_eq!(liveness.due(), None, "gone is gone");
    }

    #[test]
    fn a_hidden_tab_that_answers_pings_lives_on() {
        let mut liveness = Liveness::agree(CLIENT, pair("0,10000"), PING, 0);
        let mut probes = 0;
        for now in 0..200_000 {
            match liveness.advance(now) {
                Some(Beat::Probe) => {
                    probes += 1;
                    liveness.heard(now + 40);
                }
                other => assert_eq!(other, None, "at {now}"),
            }
        }
        assert_eq!(probes, 200_000 / 21_040);
    }

    #[test]
    fn row_061_peers_without_heart_beat_are_probed_again_and_again_when_idle() {
        let mut liveness = Liveness::agree(HeartBeat::default(), SERVER, PING, 0);
        for round in 0..5 {
            let heard = round * 30_010;
            assert_eq!(liveness.due(), Some(heard + 30_000));
            assert_eq!(liveness.advance(heard + 30_000), Some(Beat::Probe));
            assert_eq!(liveness.advance(heard + 30_000), None);
            liveness.heard(heard + 30_010);
        }
        let silent = Beat::Silent {
            silent_ms: 60_000,
            expected_ms: 0,
        };
        assert_eq!(
            run(&mut liveness, u64::from(u32::MAX)),
            [(180_050, Beat::Probe), (210_050, silent)]
        );
    }

    #[test]
    fn none_asks_for_nothing() {
        let mut liveness = Liveness::none(3);
        liveness.heard(4);
        liveness.sent(5);
        assert_eq!(liveness.due(), None);
        assert_eq!(liveness.advance(u64::MAX), None);
    }

    #[test]
    fn time_that_goes_back_does_no_harm() {
        let mut liveness = Liveness::agree(CLIENT, SERVER, PING, 50_000);
        liveness.heard(10);
        liveness.sent(10);
        assert_eq!(liveness.advance(20), None);
        assert_eq!(liveness.due(), Some(56_000));
    }
}
