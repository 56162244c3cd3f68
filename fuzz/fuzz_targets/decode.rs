//! Whatever comes, and however it is cut: the same frames and the same fault as in one piece, no panic, nothing held beyond the limits.
//! And what was read can be written and reads the same again.
//!
//! The first octet chooses version, strictness and limits, the second the cuts; the rest is the stream. `seeds.rs` writes such files.
#![no_main]

use hoofbeat::stomp::headers::{escape_into, escape_name_into};
use hoofbeat::stomp::{Command, DecodeError, Decoder, Frame, Limits, Version};
use libfuzzer_sys::fuzz_target;

const USUAL: Limits = Limits {
    frame: 4 << 20,
    header_lines: 64,
    header_line: 8 << 10,
    head: 32 << 10,
};

const SMALL: Limits = Limits {
    frame: 96,
    header_lines: 3,
    header_line: 24,
    head: 64,
};

fuzz_target!(|input: &[u8]| {
    let [choice, cuts, stream @ ..] = input else {
        return;
    };
    let choice = Choice::of(*choice);
    let whole = choice.read(&[stream]);
    assert_eq!(choice.read(&pieces(stream, *cuts)), whole, "the cuts change what is read");
    for frame in &whole.frames {
        choice.write_and_read(frame);
    }
});

#[derive(Clone, Copy)]
struct Choice {
    /// `None`: before CONNECT.
    version: Option<Version>,
    strict: bool,
    limits: Limits,
}

/// What a stream came to.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    frames: Vec<Plain>,
    error: Option<DecodeError>,
    held: usize,
}

/// A frame that borrows nothing.
#[derive(Debug, PartialEq, Eq)]
struct Plain {
    command: Command,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl From<Frame<'_>> for Plain {
    fn from(frame: Frame<'_>) -> Plain {
        Plain {
            command: frame.command,
            headers: frame
                .headers
                .iter()
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
            body: frame.body.to_vec(),
        }
    }
}

impl Choice {
    fn of(octet: u8) -> Choice {
        let versions = [None, Some(Version::V1_0), Some(Version::V1_1), Some(Version::V1_2)];
        Choice {
            version: versions[usize::from(octet & 3)],
            strict: octet & 4 != 0,
            limits: if octet & 8 != 0 { SMALL } else { USUAL },
        }
    }

    fn decoder(self, limits: Limits) -> Decoder {
        let mut decoder = Decoder::new(limits);
        if let Some(version) = self.version {
            decoder.agree(version, limits, self.strict);
        }
        decoder
    }

    fn read(self, pieces: &[&[u8]]) -> Outcome {
        let mut decoder = self.decoder(self.limits);
        let mut frames = Vec::new();
        let mut came = 0;
        for piece in pieces {
            let mut input = *piece;
            came += piece.len();
            loop {
                let frame = decoder.decode(&mut input).map(|frame| frame.map(Plain::from));
                assert!(decoder.held() <= came.min(self.limits.frame));
                match frame {
                    Ok(Some(frame)) => frames.push(frame),
                    Ok(None) => break,
                    Err(error) => {
                        assert!(!error.to_string().is_empty());
                        assert_eq!(decoder.decode(&mut b"SEND\n\n\0".as_slice()).err().as_ref(), Some(&error));
                        return Outcome { frames, error: Some(error), held: decoder.held() };
                    }
                }
            }
            assert!(input.is_empty());
        }
        Outcome { frames, error: None, held: decoder.held() }
    }

    /// Writes `frame` as a peer would and reads it again.
    fn write_and_read(self, frame: &Plain) {
        let version = self.version.unwrap_or(Version::V1_2);
        // Its body was dropped and its content-length was not; and strictly a value may hold what nobody can write.
        if frame.command == Command::Subscribe && version == Version::V1_0 || self.strict && version < Version::V1_2 {
            return;
        }
        let mut bytes = format!("{}\n", frame.command).into_bytes();
        for (name, value) in &frame.headers {
            if frame.command.is_connect() {
                bytes.extend_from_slice(format!("{name}:{value}").as_bytes());
            } else {
                escape_name_into(&mut bytes, name, version);
                bytes.push(b':');
                escape_into(&mut bytes, value, version);
            }
            bytes.push(b'\n');
        }
        bytes.push(b'\n');
        bytes.extend_from_slice(&frame.body);
        bytes.push(0);
        let mut input = bytes.as_slice();
        // Escapes are longer than what they stand for.
        let limits = Limits { frame: usize::MAX, header_line: usize::MAX, head: usize::MAX, ..USUAL };
        let mut decoder = self.decoder(limits);
        let again = decoder.decode(&mut input).map(|frame| frame.map(Plain::from));
        match again {
            Ok(Some(again)) => assert_eq!(&again, frame, "written as {}", bytes.escape_ascii()),
            other => panic!("{frame:?}, written as {}, reads as {other:?}", bytes.escape_ascii()),
        }
    }
}

/// `stream` in pieces whose lengths follow from `cuts`: single octets for 0.
fn pieces(stream: &[u8], cuts: u8) -> Vec<&[u8]> {
    let mut pieces = Vec::new();
    let mut rest = stream;
    let mut state = u32::from(cuts);
    let longest = 1 + state % 61;
    while !rest.is_empty() {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let length = 1 + (state >> 8) % longest;
        let (piece, after) = rest.split_at(rest.len().min(length as usize));
        pieces.push(piece);
        rest = after;
    }
    pieces
}
