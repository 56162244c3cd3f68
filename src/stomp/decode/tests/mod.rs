//! The conformance matrix, rows 1 to 35, as far as a decoder can keep them.

mod bodies;
mod heads;
mod limits;

use super::*;
use crate::stomp::headers::is_plain;

const LIMITS: Limits = Limits {
    frame: 4 << 20,
    header_lines: 64,
    header_line: 8 << 10,
    head: 32 << 10,
};

/// A frame with nothing borrowed, for comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Plain {
    command: Command,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl From<Frame<'_>> for Plain {
    fn from(frame: Frame<'_>) -> Self {
        let plain =
            |(name, value): (std::borrow::Cow<str>, std::borrow::Cow<str>)| (name.into_owned(), value.into_owned());
        // What the head as a whole told is what its lines tell one by one.
        let mut lines = frame.headers.lines().iter();
        let each = lines.all(|line| is_plain(line.name) && is_plain(line.value));
        assert_eq!(frame.headers.is_plain(), each, "{:?}", frame.headers);
        Plain {
            command: frame.command,
            headers: frame.headers.iter().map(plain).collect(),
            body: frame.body.to_vec(),
        }
    }
}

fn plain(command: Command, headers: &[(&str, &str)], body: &[u8]) -> Plain {
    Plain {
        command,
        headers: headers
            .iter()
            .map(|&(name, value)| (name.into(), value.into()))
            .collect(),
        body: body.to_vec(),
    }
}

fn speaking(version: Version, strict: bool) -> Decoder {
    let mut decoder = Decoder::new(LIMITS);
    decoder.agree(version, LIMITS, strict);
    decoder
}

/// Everything that `pieces`, one after the other, hold.
fn read(decoder: &mut Decoder, pieces: &[&[u8]]) -> (Vec<Plain>, Option<DecodeError>) {
    let mut frames = Vec::new();
    for piece in pieces {
        let mut input = *piece;
        loop {
            match decoder.decode(&mut input) {
                Ok(Some(frame)) => frames.push(Plain::from(frame)),
                Ok(None) => break assert!(input.is_empty(), "None means that all was used"),
                Err(error) => return (frames, Some(error)),
            }
        }
    }
    (frames, None)
}

/// The frames of `bytes`, which must be well-formed, whole and the same however they are cut in two or into octets.
fn frames(version: Version, strict: bool, bytes: &[u8]) -> Vec<Plain> {
    let mut decoder = speaking(version, strict);
    let (frames, error) = read(&mut decoder, &[bytes]);
    assert_eq!(error, None, "{:?}", bytes.escape_ascii().to_string());
    assert_eq!(decoder.held(), 0);
    for cut in 0..=bytes.len() {
        let (before, after) = bytes.split_at(cut);
        assert_eq!(
            read(&mut speaking(version, strict), &[before, after]),
            (frames.clone(), None),
            "cut at {cut}"
        );
    }
    let octets: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(read(&mut speaking(version, strict), &octets), (frames.clone(), None));
    frames
}

/// What is wrong with `bytes`, which must be found out the same way however they are cut.
fn fault(version: Version, strict: bool, bytes: &[u8]) -> DecodeError {
    let (frames, error) = read(&mut speaking(version, strict), &[bytes]);
    let Some(error) = error else {
        panic!("{:?} was taken: {frames:?}", bytes.escape_ascii().to_string());
    };
    for cut in 0..=bytes.len() {
        let (before, after) = bytes.split_at(cut);
        let again = read(&mut speaking(version, strict), &[before, after]);
        assert_eq!(again, (frames.clone(), Some(error.clone())), "cut at {cut}");
    }
    let octets: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(
        read(&mut speaking(version, strict), &octets),
        (frames, Some(error.clone()))
    );
    error
}

const ALL: [Version; 3] = [Version::V1_0, Version::V1_1, Version::V1_2];
const ESCAPING: [Version; 2] = [Version::V1_1, Version::V1_2];
