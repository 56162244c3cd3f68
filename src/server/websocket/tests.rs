//! Frames however they are cut: shown in pieces, tungstenite reads what was meant, and judges as it does without us.

use std::io::{self, Read, Write};

use proptest::prelude::*;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig, WebSocketContext};
use tokio_tungstenite::tungstenite::{Error, Message};

use super::pieces::{Pieces, PIECE, READ_BUFFER, TOO_LONG};
use crate::server::intake::Intake;

/// A frame of a client. `odd` is for the first two octets: bits that may break the rules.
#[derive(Clone, Debug)]
struct Frame {
    opcode: u8,
    last: bool,
    payload: Vec<u8>,
    mask: [u8; 4],
    odd: (u8, u8),
}

impl Frame {
    fn octets(&self) -> Vec<u8> {
        let mut octets = vec![(u8::from(self.last) << 7 | self.opcode) ^ self.odd.0];
        match self.payload.len() {
            short @ 0..=125 => octets.push(short as u8),
            medium @ 126..=0xffff => {
                octets.push(126);
                octets.extend((medium as u16).to_be_bytes());
            }
            long => {
                octets.push(127);
                octets.extend((long as u64).to_be_bytes());
            }
        }
        octets[1] = (octets[1] | 0x80) ^ self.odd.1;
        octets.extend(self.mask);
        octets.extend(
            self.payload
                .iter()
                .zip(self.mask.iter().cycle())
                .map(|(octet, mask)| octet ^ mask),
        );
        octets
    }
}

/// What a client said, as far as it is worth anything.
#[derive(Debug, Default, PartialEq, Eq)]
struct Said {
    messages: Vec<(bool, Vec<u8>)>,
    pings: Vec<Vec<u8>>,
    /// The client closed.
    closed: bool,
    /// The client broke the rules.
    broken: bool,
}

/// A client's octets as tungstenite gets them.
trait Wire: Read {
    /// More octets, if there are any.
    fn receive(&mut self) -> bool;
}

/// The octets as they are, at once.
struct Raw<'a>(&'a [u8]);

impl Read for Raw<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.0.read(buffer) {
            Ok(0) => Err(io::ErrorKind::WouldBlock.into()),
            other => other,
        }
    }
}

impl Wire for Raw<'_> {
    fn receive(&mut self) -> bool {
        false
    }
}

/// The octets in the cuts of a network, and in our pieces.
struct Shown<'a> {
    rest: &'a [u8],
    cuts: Box<dyn Iterator<Item = usize> + 'a>,
    intake: Intake,
    pieces: Pieces,
}

impl<'a> Shown<'a> {
    fn new(octets: &'a [u8], cuts: &'a [usize], limit: usize) -> Shown<'a> {
        let mut pieces = Pieces::new(0);
        pieces.agree(limit);
        Shown {
            rest: octets,
            cuts: Box::new(cuts.iter().copied().cycle()),
            intake: Intake::default(),
            pieces,
        }
    }
}

impl Read for Shown<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.pieces.read(&mut self.intake, buffer)
    }
}

impl Wire for Shown<'_> {
    fn receive(&mut self) -> bool {
        assert!(self.intake.is_empty());
        let cut = self.cuts.next().unwrap_or(usize::MAX).min(self.rest.len());
        let (piece, rest) = self.rest.split_at(cut);
        self.rest = rest;
        self.intake = Intake::of(piece);
        cut > 0
    }
}

/// Forgets what is written.
struct Silent<W>(W);

impl<W: Read> Read for Silent<W> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl<W> Write for Silent<W> {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        Ok(octets.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What tungstenite makes of `wire`; `None` if a message is too long.
fn listen(wire: impl Wire, config: WebSocketConfig) -> Option<Said> {
    let mut context = WebSocketContext::new(Role::Server, Some(config));
    let mut wire = Silent(wire);
    let mut said = Said::default();
    loop {
        match context.read(&mut wire) {
            Ok(Message::Text(text)) => said.messages.push((true, text.as_bytes().to_vec())),
            Ok(Message::Binary(octets)) => said.messages.push((false, octets.to_vec())),
            Ok(Message::Ping(octets)) => said.pings.push(octets.to_vec()),
            Ok(Message::Pong(_) | Message::Frame(_)) => {}
            Ok(Message::Close(_)) => {
                said.closed = true;
                return Some(said);
            }
            Err(Error::Io(error)) if error.kind() == TOO_LONG => return None,
            Err(Error::Io(_)) if wire.0.receive() => {}
            Err(Error::Io(_)) => return Some(said),
            Err(_) => {
                said.broken = true;
                return Some(said);
            }
        }
    }
}

/// Reads as a connection does: `octets` arrive in pieces of the lengths in `cuts`, over and over.
fn read(octets: &[u8], cuts: &[usize]) -> Said {
    read_up_to(usize::MAX, octets, cuts).unwrap()
}

fn read_up_to(limit: usize, octets: &[u8], cuts: &[usize]) -> Option<Said> {
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .max_frame_size(Some(PIECE));
    listen(Shown::new(octets, cuts, limit), config)
}

/// Reads without us.
fn judge(octets: &[u8]) -> Said {
    let config = WebSocketConfig::default().max_frame_size(Some(1 << 20));
    listen(Raw(octets), config).unwrap()
}

fn payload() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => ".{0,20}".prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 0..8),
        1 => (120usize..140).prop_map(|length| vec![b'x'; length]),
        1 => (65_530usize..65_540).prop_map(|length| vec![b'x'; length]),
    ]
}

/// A frame that is mostly in order.
fn frame() -> impl Strategy<Value = Frame> {
    let opcode = prop_oneof![6 => Just(0u8), 6 => 1u8..=2, 2 => 8u8..=10, 1 => 0u8..16];
    let odd = prop_oneof![30 => Just((0, 0)), 1 => (any::<u8>(), Just(0)), 1 => Just((0, 0x80))];
    (opcode, any::<bool>(), payload(), any::<[u8; 4]>(), odd).prop_map(|(opcode, last, payload, mask, odd)| Frame {
        opcode,
        last: last || (8..=10).contains(&opcode),
        payload,
        mask,
        odd,
    })
}

/// A message in fragments, with control frames between them.
fn fragments() -> impl Strategy<Value = (bool, Vec<u8>, Vec<Frame>)> {
    let control = (9u8..=10, prop::collection::vec(any::<u8>(), 0..=125));
    let fragment = (payload(), any::<[u8; 4]>(), prop::option::of(control));
    (any::<bool>(), prop::collection::vec(fragment, 1..5)).prop_map(|(text, fragments)| {
        let text = text
            && fragments
                .iter()
                .all(|(payload, ..)| std::str::from_utf8(payload).is_ok());
        let mut frames = Vec::new();
        let mut whole = Vec::new();
        let count = fragments.len();
        for (index, (payload, mask, control)) in fragments.into_iter().enumerate() {
            whole.extend_from_slice(&payload);
            let opcode = match index {
                0 => 2 - u8::from(text),
                _ => 0,
            };
            let last = index + 1 == count;
            let odd = (0, 0);
            frames.push(Frame {
                opcode,
                last,
                payload,
                mask,
                odd,
            });
            if let (Some((opcode, payload)), false) = (control, last) {
                let last = true;
                frames.push(Frame {
                    opcode,
                    last,
                    payload,
                    mask,
                    odd,
                });
            }
        }
        (text, whole, frames)
    })
}

fn octets(frames: &[Frame]) -> Vec<u8> {
    frames.iter().flat_map(Frame::octets).collect()
}

proptest! {
    #[test]
    fn what_was_said_is_read_however_it_is_cut(
        sent in prop::collection::vec(fragments(), 0..4),
        cuts in prop::collection::vec(1usize..200, 1..10),
    ) {
        let frames: Vec<Frame> = sent.iter().flat_map(|(.., frames)| frames.clone()).collect();
        let said = read(&octets(&frames), &cuts);
        let meant: Vec<_> = sent.into_iter().map(|(text, whole, _)| (text, whole)).collect();
        prop_assert_eq!(said.messages, meant);
        prop_assert!(!said.broken && !said.closed);
        let pings: Vec<_> = frames.iter().filter(|frame| frame.opcode == 9).map(|frame| frame.payload.clone()).collect();
        prop_assert_eq!(said.pings, pings);
    }

    /// Rules are judged the same wherever the octets are cut; within a frame that is long, earlier.
    #[test]
    fn breaches_are_those_that_tungstenite_sees(
        frames in prop::collection::vec(frame(), 0..8),
        cuts in prop::collection::vec(1usize..50, 1..10),
    ) {
        let octets = octets(&frames);
        let said = read(&octets, &cuts);
        prop_assert_eq!(&said, &read(&octets, &[usize::MAX]));
        let judged = judge(&octets);
        prop_assert_eq!(&said.messages, &judged.messages);
        if !said.broken || judged.broken {
            prop_assert_eq!(said, judged);
        }
    }

    #[test]
    fn nothing_makes_it_panic(octets in prop::collection::vec(any::<u8>(), 0..300), cuts in prop::collection::vec(1usize..20, 1..5)) {
        prop_assert_eq!(read(&octets, &cuts), read(&octets, &[usize::MAX]));
    }
}

#[test]
fn a_long_text_is_refused_before_it_is_whole() {
    let mut announced = text(vec![b'x'; 100_000]).octets();
    announced[20] ^= 0x80;
    announced.truncate(2 * READ_BUFFER);
    assert!(read(&announced, &[100]).broken);
}

#[test]
fn a_message_has_its_limit_in_one_frame_or_many() {
    let listen = |octets: &[u8]| read_up_to(3_000, octets, &[1]);
    let whole = text(vec![b'x'; 3_000]);
    assert_eq!(listen(&octets(&[whole.clone(), whole])).unwrap().messages.len(), 2);

    let announced = text(vec![b'x'; 3_001]).octets();
    assert!(listen(&announced[..8]).is_none());

    let first = Frame {
        last: false,
        ..text(vec![b'x'; 2_000])
    };
    let mut second = Frame {
        opcode: 0,
        ..text(vec![b'x'; 1_000])
    };
    assert_eq!(
        listen(&octets(&[first.clone(), second.clone()]))
            .unwrap()
            .messages
            .len(),
        1
    );
    second.payload.push(b'x');
    assert!(listen(&octets(&[first, second])).is_none());
}

#[test]
fn before_it_is_agreed_all_messages_share_the_limit() {
    let message = text(vec![b'x'; 2_000]);
    let fragments = Frame {
        last: false,
        ..message.clone()
    };
    for (octets, limit) in [(message.octets(), 3_999), (fragments.octets(), 4_000 / 5 * 8 - 1)] {
        refused_at_the_second(&octets, limit);
    }
}

fn refused_at_the_second(message: &[u8], limit: usize) {
    let mut intake = Intake::of(&message.repeat(2));
    let mut pieces = Pieces::new(limit);
    let mut buffer = [0; READ_BUFFER];
    let refused = loop {
        if let Err(error) = pieces.read(&mut intake, &mut buffer) {
            break error;
        }
    };
    assert_eq!(refused.kind(), TOO_LONG);
    // Not a piece of the second one was shown.
    assert_eq!(intake.rest().len(), message.len());
}

fn text(payload: Vec<u8>) -> Frame {
    Frame {
        opcode: 1,
        last: true,
        payload,
        mask: [1, 2, 3, 4],
        odd: (0, 0),
    }
}
