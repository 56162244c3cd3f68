//! Frames however they are cut, against what was meant and against tungstenite.

use std::io::{self, Read, Write};

use proptest::prelude::*;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig, WebSocketContext};
use tokio_tungstenite::tungstenite::{Error, Message};

use super::frames::{Breach, Kind, Reader, Seen};

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

/// Reads `octets` in pieces of the lengths in `cuts`, over and over.
fn read(octets: &[u8], cuts: &[usize]) -> Said {
    let mut said = Said::default();
    let mut reader = Reader::new();
    let mut message = Vec::new();
    let mut cuts = cuts.iter().cycle();
    let mut octets = octets.to_vec();
    let mut rest = octets.as_mut_slice();
    while !rest.is_empty() {
        let cut = cuts.next().map_or(rest.len(), |cut| (*cut).clamp(1, rest.len()));
        let (mut piece, after) = rest.split_at_mut(cut);
        rest = after;
        loop {
            let (used, seen) = match reader.read(piece) {
                Ok(seen) => seen,
                Err(Breach { code, reason }) => {
                    assert!(matches!(code, 1002 | 1007) && !reason.is_empty());
                    said.broken = true;
                    return said;
                }
            };
            match seen {
                Seen::Nothing => {
                    assert_eq!(used, piece.len());
                    break;
                }
                Seen::Piece { kind, place, last } => {
                    assert_eq!(place.end, used);
                    message.extend_from_slice(&piece[place]);
                    if last {
                        said.messages.push((kind == Kind::Text, std::mem::take(&mut message)));
                    }
                }
                Seen::Ping => said.pings.push(reader.control().to_vec()),
                Seen::Pong => {}
                Seen::Close => {
                    said.closed = true;
                    return said;
                }
            }
            piece = &mut piece[used..];
        }
    }
    said
}

/// The same by tungstenite; `None` if it gave up for want of memory.
fn judge(octets: &[u8]) -> Option<Said> {
    struct Wire<'a>(&'a [u8]);
    impl Read for Wire<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            match self.0.read(buffer) {
                Ok(0) => Err(io::ErrorKind::WouldBlock.into()),
                other => other,
            }
        }
    }
    impl Write for Wire<'_> {
        fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
            Ok(octets.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let config = WebSocketConfig::default().max_frame_size(Some(1 << 20));
    let mut context = WebSocketContext::new(Role::Server, Some(config));
    let mut wire = Wire(octets);
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
            Err(Error::Io(_)) => return Some(said),
            Err(Error::Capacity(_)) => return None,
            Err(_) => {
                said.broken = true;
                return Some(said);
            }
        }
    }
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

    /// Rules are judged as tungstenite does, and the same wherever the octets are cut.
    #[test]
    fn breaches_are_those_that_tungstenite_sees(
        frames in prop::collection::vec(frame(), 0..8),
        cuts in prop::collection::vec(1usize..50, 1..10),
    ) {
        let octets = octets(&frames);
        let said = read(&octets, &cuts);
        prop_assert_eq!(&said, &read(&octets, &[]));
        if let Some(judged) = judge(&octets) {
            prop_assert_eq!(&said.messages, &judged.messages);
            // It waits for the end of a message to see that it is not UTF-8, and takes any close code.
            if !said.broken || judged.broken {
                prop_assert_eq!(said, judged);
            }
        }
    }

    #[test]
    fn nothing_makes_it_panic(octets in prop::collection::vec(any::<u8>(), 0..300), cuts in prop::collection::vec(1usize..20, 1..5)) {
        prop_assert_eq!(read(&octets, &cuts), read(&octets, &[]));
    }
}

#[test]
fn a_text_is_refused_at_its_first_wrong_octet() {
    let announced = Frame {
        opcode: 1,
        last: true,
        payload: vec![b'x'; 1_000],
        mask: [0; 4],
        odd: (0, 0),
    };
    let mut octets = announced.octets();
    octets.truncate(20);
    octets.extend([0xf4, 0x90]);
    assert!(read(&octets, &[1]).broken);
}
