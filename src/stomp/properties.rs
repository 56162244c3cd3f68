//! What holds for every frame and every cut, tried with random ones.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{select, Index};

use super::headers::{escape_into, escape_name_into};
use super::{Command, DecodeError, DecodeErrorKind, Decoder, Frame, Limits, Version};

const LIMITS: Limits = Limits {
    frame: 1 << 20,
    header_lines: 64,
    header_line: 8 << 10,
    head: 32 << 10,
};

/// A frame as somebody means it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Meant {
    command: Command,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl From<Frame<'_>> for Meant {
    fn from(frame: Frame<'_>) -> Meant {
        Meant {
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

/// How a peer writes a frame that leaves it a choice.
#[derive(Clone, Copy, Debug)]
struct Hand {
    end_of_line: &'static str,
    counted: bool,
    beats: usize,
}

impl Meant {
    fn write(&self, out: &mut Vec<u8>, version: Version, hand: Hand) {
        let end_of_line = hand.end_of_line.as_bytes();
        out.extend(end_of_line.repeat(hand.beats));
        out.extend_from_slice(self.command.as_str().as_bytes());
        out.extend_from_slice(end_of_line);
        for (name, value) in &self.headers {
            if self.command.is_connect() {
                out.extend_from_slice(format!("{name}:{value}").as_bytes());
            } else {
                escape_name_into(out, name, version);
                out.push(b':');
                escape_into(out, value, version);
            }
            out.extend_from_slice(end_of_line);
        }
        if hand.counted || self.body.contains(&0) {
            out.extend_from_slice(format!("content-length:{}", self.body.len()).as_bytes());
            out.extend_from_slice(end_of_line);
        }
        out.extend_from_slice(end_of_line);
        out.extend_from_slice(&self.body);
        out.push(0);
    }

    /// As it must be read: the content-length that was written stands behind the other headers.
    fn read(mut self, hand: Hand) -> Meant {
        if hand.counted || self.body.contains(&0) {
            self.headers
                .push(("content-length".into(), self.body.len().to_string()));
        }
        self
    }
}

fn version() -> impl Strategy<Value = Version> {
    select(vec![Version::V1_0, Version::V1_1, Version::V1_2])
}

fn hand() -> impl Strategy<Value = Hand> {
    (select(vec!["\n", "\r\n"]), any::<bool>(), 0..3usize).prop_map(|(end_of_line, counted, beats)| Hand {
        end_of_line,
        counted,
        beats,
    })
}

/// Names and values that `command` can carry in `version`.
fn header(command: Command, version: Version) -> BoxedStrategy<(String, String)> {
    let pair = match (command.is_connect(), version) {
        (true, _) => ("[a-z가-힣\\\\ ]{0,7}[a-z\\\\]", "[a-z:가-힣\\\\ ]{0,12}[a-z:]"),
        (_, Version::V1_0) => ("[a-z가-힣\\\\]{1,8}", "([a-z:가-힣\\\\]( {0,3}[a-z:가-힣\\\\]){0,7})?"),
        _ => ("[a-z:가-힣\\\\\r\n \u{1}🐎]{1,8}", "[a-z:가-힣\\\\\r\n \u{1}🐎]{0,16}"),
    };
    pair.prop_map(|(name, value)| (name.trim_start().to_owned(), value.trim_start().to_owned()))
        .prop_filter("a name", |(name, _)| !name.is_empty() && name != "content-length")
        .boxed()
}

fn meant(version: Version) -> impl Strategy<Value = Meant> {
    let commands = vec![
        Command::Connect,
        Command::Send,
        Command::Message,
        Command::Ack,
        Command::Receipt,
    ];
    select(commands).prop_flat_map(move |command| {
        let octets = if command.may_have_body() { 40 } else { 0 };
        let body = vec(prop_oneof![Just(0u8), Just(b'\n'), any::<u8>()], 0..=octets);
        (vec(header(command, version), 0..6), body).prop_map(move |(headers, body)| Meant { command, headers, body })
    })
}

fn conversation() -> impl Strategy<Value = (Version, Vec<(Meant, Hand)>)> {
    version().prop_flat_map(|version| (Just(version), vec((meant(version), hand()), 1..5)))
}

/// Pieces of `bytes`, cut at each of `cuts`.
fn cut<'a>(bytes: &'a [u8], cuts: &[Index]) -> Vec<&'a [u8]> {
    let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    places.sort_unstable();
    places.push(bytes.len());
    let mut from = 0;
    let pieces = places.into_iter().map(|to| {
        let piece = &bytes[from..to];
        from = to;
        piece
    });
    pieces.collect()
}

/// All that is read from `pieces`, and how it ended.
fn read(mut decoder: Decoder, pieces: &[&[u8]]) -> (Vec<Meant>, Option<DecodeError>, usize) {
    let mut frames = Vec::new();
    for piece in pieces {
        let mut input = *piece;
        loop {
            let frame = decoder.decode(&mut input).map(|frame| frame.map(Meant::from));
            match frame {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (frames, Some(error), decoder.held()),
            }
        }
        assert!(input.is_empty());
    }
    (frames, None, decoder.held())
}

fn speaking(version: Version, strict: bool, limits: Limits) -> Decoder {
    let mut decoder = Decoder::new(limits);
    decoder.agree(version, limits, strict);
    decoder
}

/// Octets that look enough like frames to get deep into the decoder.
fn almost_frames() -> impl Strategy<Value = Vec<u8>> {
    let words: Vec<&[u8]> = vec![
        b"SEND",
        b"SUBSCRIBE",
        b"CONNECT",
        b"ACK",
        b"MESSAGE",
        b"\n",
        b"\n",
        b"\r\n",
        b"\r",
        b"\0",
        b"\n\n",
        b"\n\n\0",
        b":",
        b"a:b\n",
        b"\\",
        b"\\n",
        b"\\r",
        b"\\t",
        b"content-length:",
        b"3",
        b"0",
        b"-1",
        b"18446744073709551615",
        b"receipt:1\n",
        b" ",
        b"\xff",
        b"xyz",
        "한".as_bytes(),
    ];
    let word = prop_oneof![8 => select(words).prop_map(<[u8]>::to_vec), 1 => vec(any::<u8>(), 0..6)];
    vec(word, 0..40).prop_map(|words| words.concat())
}

fn small_limits() -> impl Strategy<Value = Limits> {
    (1..60usize, 0..4usize, 0..20usize, 1..50usize).prop_map(|(frame, header_lines, header_line, head)| Limits {
        frame,
        header_lines,
        header_line,
        head,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_was_written_is_read((version, frames) in conversation(), cuts in vec(any::<Index>(), 0..12)) {
        let mut bytes = Vec::new();
        for (frame, hand) in &frames {
            frame.write(&mut bytes, version, *hand);
        }
        let expected: Vec<Meant> = frames.into_iter().map(|(frame, hand)| frame.read(hand)).collect();
        let (found, error, held) = read(speaking(version, false, LIMITS), &cut(&bytes, &cuts));
        prop_assert_eq!(error, None);
        prop_assert_eq!(found, expected);
        prop_assert_eq!(held, 0);
    }

    #[test]
    fn every_cut_reads_as_one_piece((version, frames) in conversation()) {
        let mut bytes = Vec::new();
        for (frame, hand) in &frames {
            frame.write(&mut bytes, version, *hand);
        }
        let whole = read(speaking(version, false, LIMITS), &[&bytes]);
        for place in 0..=bytes.len() {
            let (before, after) = bytes.split_at(place);
            prop_assert_eq!(&read(speaking(version, false, LIMITS), &[before, after]), &whole);
        }
    }

    #[test]
    fn good_or_bad_the_verdict_does_not_depend_on_the_cuts(
        bytes in almost_frames(), version in version(), strict: bool, small in small_limits(), limited: bool, cuts in vec(any::<Index>(), 0..12),
    ) {
        let limits = if limited { small } else { LIMITS };
        let whole = read(speaking(version, strict, limits), &[&bytes]);
        prop_assert_eq!(&read(speaking(version, strict, limits), &cut(&bytes, &cuts)), &whole);
        prop_assert_eq!(&read(speaking(version, strict, limits), &bytes.chunks(1).collect::<Vec<_>>()), &whole);
    }

    #[test]
    fn any_octets_do_no_harm(bytes in vec(any::<u8>(), 0..300), version in version(), strict: bool) {
        let (_, _, held) = read(speaking(version, strict, LIMITS), &[&bytes]);
        prop_assert!(held <= bytes.len());
    }

    #[test]
    fn no_content_length_harms_or_takes_memory(value in "[-+]?[0-9]{0,24}|[-+0-9a-fx. ]{0,8}", body in vec(any::<u8>(), 0..8)) {
        let bytes = [format!("SEND\ncontent-length:{value}\n\n").as_bytes(), &body].concat();
        let mut decoder = speaking(Version::V1_2, true, LIMITS);
        let mut verdict = Ok(None);
        for piece in bytes.chunks(5) {
            let mut input = piece;
            verdict = decoder.decode(&mut input).map(|frame| frame.map(Meant::from)).map_err(|error| error.kind);
            prop_assert!(decoder.capacity() <= 2 * bytes.len().max(64));
            if verdict != Ok(None) {
                break;
            }
        }
        let is_number = !value.is_empty() && value.bytes().all(|octet| octet.is_ascii_digit());
        let bad = DecodeErrorKind::BadContentLength { value: value.clone() };
        let expected = match value.parse::<u64>() {
            Ok(length) if is_number => match body.get(length as usize) {
                _ if length >= LIMITS.frame as u64 => Err(DecodeErrorKind::FrameTooLarge { limit: LIMITS.frame, announced: Some(length) }),
                None => Ok(None),
                Some(0) => Ok(Some(body[..length as usize].to_vec())),
                Some(&found) => Err(DecodeErrorKind::NoNulAfterBody { content_length: length as usize, found }),
            },
            _ => Err(bad),
        };
        prop_assert_eq!(verdict.map(|frame| frame.map(|frame| frame.body)), expected);
    }

    #[test]
    fn a_frame_of_exactly_the_limit_passes_and_one_octet_more_does_not(
        (version, frame, hand) in version().prop_flat_map(|version| (Just(version), meant(version), hand())),
        cuts in vec(any::<Index>(), 0..4),
    ) {
        let hand = Hand { beats: 0, ..hand };
        let mut bytes = Vec::new();
        frame.write(&mut bytes, version, hand);
        for (limit, passes) in [(bytes.len() - 1, false), (bytes.len(), true), (bytes.len() + 1, true)] {
            let limits = Limits { frame: limit, ..LIMITS };
            let (frames, error, _) = read(speaking(version, false, limits), &cut(&bytes, &cuts));
            prop_assert_eq!(frames.len(), usize::from(passes));
            match error.map(|error| error.kind) {
                None => prop_assert!(passes),
                Some(kind) => prop_assert!(!passes && matches!(kind, DecodeErrorKind::FrameTooLarge { limit: told, .. } if told == limit), "{kind:?}"),
            }
        }
    }
}
