//! The conformance matrix, rows 1 to 35, as far as a decoder can keep them.

use super::*;

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
        let plain = |(name, value): (std::borrow::Cow<str>, std::borrow::Cow<str>)| {
            (name.into_owned(), value.into_owned())
        };
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
    assert_eq!(
        read(&mut speaking(version, strict), &octets),
        (frames.clone(), None)
    );
    frames
}

/// What is wrong with `bytes`, which must be found out the same way however they are cut.
fn fault(version: Version, strict: bool, bytes: &[u8]) -> DecodeError {
    let (frames, error) = read(&mut speaking(version, strict), &[bytes]);
    let Some(error) = error else {
        panic!(
            "{:?} was taken: {frames:?}",
            bytes.escape_ascii().to_string()
        );
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

#[test]
fn row_001_parses_frames_however_they_are_cut() {
    let bytes = b"CONNECT\naccept-version:1.2\n\n\0SEND\ndestination:/a\n\nhello\0\nDISCONNECT\nreceipt:1\n\n\0";
    for version in ALL {
        let expected = [
            plain(Command::Connect, &[("accept-version", "1.2")], b""),
            plain(Command::Send, &[("destination", "/a")], b"hello"),
            plain(Command::Disconnect, &[("receipt", "1")], b""),
        ];
        assert_eq!(frames(version, false, bytes), expected);
    }
}

#[test]
fn row_001_many_frames_in_one_piece_and_the_start_of_the_next() {
    let bytes = b"SEND\ndestination:/a\n\n1\0SEND\ndestination:/a\n\n2\0SEND\ndestin";
    let mut decoder = speaking(Version::V1_2, false);
    let (frames, error) = read(&mut decoder, &[bytes]);
    assert_eq!((frames.len(), error), (2, None));
    assert_eq!(decoder.held(), b"SEND\ndestin".len());
    let (frames, error) = read(&mut decoder, &[b"ation:/b\n\n3\0"]);
    assert_eq!(
        (frames, error),
        (
            vec![plain(Command::Send, &[("destination", "/b")], b"3")],
            None
        )
    );
    assert_eq!(decoder.held(), 0);
}

#[test]
fn row_002_lines_end_with_lf_or_cr_lf_in_any_mixture() {
    let bytes =
        b"\r\n\nSEND\r\ndestination:/a\nx:1\r\n\r\nbody\0\r\n\n\r\nSEND\ndestination:/b\r\n\n\0";
    for version in ALL {
        let expected = [
            plain(Command::Send, &[("destination", "/a"), ("x", "1")], b"body"),
            plain(Command::Send, &[("destination", "/b")], b""),
        ];
        assert_eq!(frames(version, false, bytes), expected);
    }
    assert_eq!(frames(Version::V1_2, true, bytes).len(), 2);
}

#[test]
fn row_002_a_carriage_return_elsewhere_is_fatal() {
    for version in ALL {
        let error = fault(version, false, b"SEND\nreceipt:7\ndestin\ration:/a\n\n\0");
        assert_eq!(
            error.kind,
            DecodeErrorKind::StrayCarriageReturn { line: 3, column: 7 }
        );
        assert_eq!(
            (error.command, error.receipt.as_deref()),
            (Some(Command::Send), Some("7"))
        );
        let error = fault(version, false, b"SEND\nx:1\r\r\n\n\0");
        assert_eq!(
            error.kind,
            DecodeErrorKind::StrayCarriageReturn { line: 2, column: 4 }
        );
        fault(version, false, b"SEND\r\r\n\n\0");
        fault(version, false, b"SE\rND\n\n\0");
        fault(version, false, b"\r\rSEND\n\n\0");
        fault(version, false, b"\rSEND\n\n\0");
        fault(version, false, b"SEND\nx:1\n\n\0\rSEND\nx:1\n\n\0");
    }
}

#[test]
fn row_003_strictly_a_carriage_return_belongs_to_the_value_before_1_2() {
    for version in [Version::V1_0, Version::V1_1] {
        let expected = [plain(Command::Send, &[("x", "1\r"), ("y\r", "\r2")], b"")];
        assert_eq!(
            frames(version, true, b"SEND\nx:1\r\ny\r:\r2\n\n\0"),
            expected
        );
        assert_eq!(
            frames(version, false, b"SEND\nx:1\r\n\n\0"),
            [plain(Command::Send, &[("x", "1")], b"")]
        );
        fault(version, true, b"SEND\r\nx:1\n\n\0");
        fault(version, true, b"\r\nSEND\nx:1\n\n\0");
        fault(version, true, b"SEND\nx:1\n\r\n\0");
    }
}

#[test]
fn row_004_any_number_of_ends_of_line_stand_between_frames() {
    let bytes = b"\n\n\nSEND\nx:1\n\n\0\n\r\n\n\n\nSEND\nx:2\n\n\0\n\n\n";
    for version in ALL {
        assert_eq!(frames(version, false, bytes).len(), 2);
    }
    let mut decoder = speaking(Version::V1_2, false);
    for _ in 0..1_000 {
        assert_eq!(
            read(&mut decoder, &[b"\n", b"\r\n", b"\r", b"\n"]),
            (vec![], None)
        );
        assert_eq!(
            (decoder.held(), decoder.capacity()),
            (0, 0),
            "beats leave nothing behind"
        );
    }
}

#[test]
fn row_005_commands_and_names_are_case_sensitive() {
    for version in ALL {
        let error = fault(version, false, b"Send\nreceipt:r-1\ndestination:/a\n\n\0");
        assert_eq!(
            error.kind,
            DecodeErrorKind::UnknownCommand {
                name: "Send".into()
            }
        );
        assert_eq!(
            (error.command, error.receipt.as_deref()),
            (None, Some("r-1"))
        );
        let read = frames(
            version,
            false,
            b"SEND\nDestination:/a\ndestination:/b\nContent-Length:1\n\nabc\0",
        );
        assert_eq!(
            read,
            [plain(
                Command::Send,
                &[
                    ("Destination", "/a"),
                    ("destination", "/b"),
                    ("Content-Length", "1")
                ],
                b"abc"
            )]
        );
    }
}

#[test]
fn row_006_031_names_values_and_bodies_are_utf_8() {
    for version in ALL {
        let bytes = "SEND\n목적지:/큐/주문 🐎\n\n한글 😀\0".as_bytes();
        assert_eq!(
            frames(version, false, bytes),
            [plain(
                Command::Send,
                &[("목적지", "/큐/주문 🐎")],
                "한글 😀".as_bytes()
            )]
        );
    }
    let error = fault(Version::V1_2, false, b"SEND\nx:1\nname:ab\xff\n\n\0");
    assert_eq!(error.kind, DecodeErrorKind::NotUtf8 { line: 3, column: 8 });
    fault(Version::V1_2, false, b"SEND\nx:\xed\xa0\x80\n\n\0");
    fault(Version::V1_2, false, b"SEND\nx:\xc3\n\n\0");
    assert_eq!(
        frames(Version::V1_2, false, b"SEND\n\n\xff\xfe\0"),
        [plain(Command::Send, &[], b"\xff\xfe")],
        "bodies are octets"
    );
}

#[test]
fn row_007_1_2_unescapes_names_and_values() {
    let bytes = br"SEND
a\cb\\:\r\n\c\\c
plain:x

";
    let bytes = [bytes.as_slice(), b"\0"].concat();
    let expected = [plain(
        Command::Send,
        &[("a:b\\", "\r\n:\\c"), ("plain", "x")],
        b"",
    )];
    assert_eq!(frames(Version::V1_2, false, &bytes), expected);
    assert_eq!(frames(Version::V1_2, true, &bytes), expected);
    let mut input = bytes.as_slice();
    let mut decoder = speaking(Version::V1_2, false);
    let frame = decoder.decode(&mut input).unwrap().unwrap();
    assert!(frame.headers.is_escaped());
    assert_eq!(frame.headers.get("a:b\\").as_deref(), Some("\r\n:\\c"));
    assert_eq!(
        frame.headers.lines()[0],
        crate::stomp::Line {
            name: r"a\cb\\",
            value: r"\r\n\c\\c"
        }
    );
}

#[test]
fn row_008_1_1_unescapes_three_and_the_return_that_spring_sends() {
    assert_eq!(
        frames(Version::V1_1, true, b"SEND\na:\\n\\c\\\\\n\n\0"),
        [plain(Command::Send, &[("a", "\n:\\")], b"")]
    );
    assert_eq!(
        frames(Version::V1_1, false, b"SEND\na:\\r\n\n\0"),
        [plain(Command::Send, &[("a", "\r")], b"")]
    );
    let error = fault(Version::V1_1, true, b"SEND\nxyz:12\\r\n\n\0");
    let expected = DecodeErrorKind::BadEscape {
        line: 2,
        column: 7,
        header: "xyz".into(),
        sequence: "\\r".into(),
    };
    assert_eq!(error.kind, expected);
}

#[test]
fn row_009_an_undefined_or_unfinished_escape_is_fatal() {
    for version in ESCAPING {
        for (line, sequence) in [
            (r"a:\t", r"\t"),
            (r"a:x\ y", r"\ "),
            (r"a:\N", r"\N"),
            (r"a:\\\x", r"\x"),
            (r"a:\", r"\"),
            (r"a:\\\", r"\"),
            (r"a\:b", r"\"),
            (r"a\q:b", r"\q"),
            (r"a:\한", r"\한"),
        ] {
            let bytes = format!("SEND\nreceipt:a\\cb\n{line}\n\n\0");
            let error = fault(version, false, bytes.as_bytes());
            let DecodeErrorKind::BadEscape {
                line: 3,
                sequence: found,
                ..
            } = &error.kind
            else {
                panic!("{line}: {error:?}");
            };
            // A name ends before its colon; what stands behind is shown all the same.
            assert!(found.starts_with(sequence), "{line}: {found}");
            assert_eq!(error.receipt.as_deref(), Some("a:b"), "{line}");
        }
        let error = fault(version, false, b"SEND\nreceipt:\\t\n\n\0");
        assert_eq!(error.receipt, None, "a receipt that cannot be read is none");
    }
}

#[test]
fn row_011_connect_is_not_unescaped() {
    for bytes in [
        "CONNECT\npasscode:a\\tb:c\\\n\n\0",
        "STOMP\r\npasscode:a\\tb:c\\\r\n\r\n\0",
        "CONNECTED\npasscode:a\\tb:c\\\n\n\0",
    ] {
        let mut input = bytes.as_bytes();
        let mut decoder = Decoder::new(LIMITS);
        let frame = decoder.decode(&mut input).unwrap().unwrap();
        assert!(!frame.headers.is_escaped());
        assert_eq!(frame.headers.get("passcode").as_deref(), Some("a\\tb:c\\"));
        for version in ALL {
            assert_eq!(
                frames(version, false, bytes.as_bytes())[0].headers,
                [("passcode".into(), "a\\tb:c\\".into())]
            );
        }
    }
    let (_, error) = read(&mut Decoder::new(LIMITS), &[b"SEND\nx:\\t\n\n\0"]);
    assert!(
        matches!(error.unwrap().kind, DecodeErrorKind::BadEscape { .. }),
        "before CONNECT all else follows 1.2"
    );
}

#[test]
fn row_012_1_0_has_no_escapes() {
    let bytes = b"SEND\na\\cb:\\n\\t\\\n\n\0";
    assert_eq!(
        frames(Version::V1_0, false, bytes),
        [plain(Command::Send, &[("a\\cb", "\\n\\t\\")], b"")]
    );
    assert_eq!(frames(Version::V1_0, true, bytes).len(), 1);
}

#[test]
fn row_013_blanks_count_but_in_1_0() {
    let bytes = b"SEND\n a :\t b \nc: \n\n\0";
    for version in ESCAPING {
        assert_eq!(
            frames(version, false, bytes),
            [plain(Command::Send, &[(" a ", "\t b "), ("c", " ")], b"")]
        );
    }
    assert_eq!(
        frames(Version::V1_0, false, bytes),
        [plain(Command::Send, &[("a", "b"), ("c", "")], b"")]
    );
}

#[test]
fn row_014_a_line_is_parted_at_its_first_colon() {
    for version in ALL {
        let read = frames(version, false, b"SEND\nurl:http://a:1/b:c\nx::\n\n\0");
        assert_eq!(
            read,
            [plain(
                Command::Send,
                &[("url", "http://a:1/b:c"), ("x", ":")],
                b""
            )]
        );
    }
}

#[test]
fn row_015_a_value_may_be_empty_but_neither_colon_nor_name_may_be_missing() {
    for version in ALL {
        assert_eq!(
            frames(version, false, b"SEND\nx:\n\n\0"),
            [plain(Command::Send, &[("x", "")], b"")]
        );
        let error = fault(version, false, b"SEND\nreceipt:1\nnonsense\n\n\0");
        let seen = "nonsense".to_owned();
        assert_eq!(error.kind, DecodeErrorKind::NoColon { line: 3, seen });
        assert_eq!(error.receipt.as_deref(), Some("1"));
        let error = fault(version, false, b"SEND\n:value\nreceipt:1\n\n\0");
        let seen = ":value".to_owned();
        assert_eq!(error.kind, DecodeErrorKind::NoHeaderName { line: 2, seen });
        assert_eq!(
            error.receipt.as_deref(),
            Some("1"),
            "the whole head was there"
        );
    }
    fault(Version::V1_0, false, b"SEND\n \t:value\n\n\0");
    assert_eq!(
        frames(Version::V1_1, false, b"SEND\n :v\n\n\0"),
        [plain(Command::Send, &[(" ", "v")], b"")]
    );
}

#[test]
fn row_016_a_frame_may_have_no_header() {
    for version in ALL {
        assert_eq!(
            frames(version, false, b"DISCONNECT\n\n\0"),
            [plain(Command::Disconnect, &[], b"")]
        );
    }
}

#[test]
fn row_017_018_repeated_headers_stay_in_order_and_the_first_counts() {
    let bytes = b"SEND\nfoo:1\ncontent-length:3\nfoo:2\ncontent-length:1\n\nabc\0";
    for version in ALL {
        let expected = [
            ("foo", "1"),
            ("content-length", "3"),
            ("foo", "2"),
            ("content-length", "1"),
        ];
        assert_eq!(
            frames(version, false, bytes),
            [plain(Command::Send, &expected, b"abc")]
        );
        let mut input = bytes.as_slice();
        let mut decoder = speaking(version, false);
        let frame = decoder.decode(&mut input).unwrap().unwrap();
        assert_eq!(frame.headers.get("foo").as_deref(), Some("1"));
    }
}

#[test]
fn row_019_content_length_counts_wherever_it_stands() {
    for version in ALL {
        for bytes in [
            b"SEND\ncontent-length:3\na:b\n\n\0\0\0\0",
            b"SEND\na:b\ncontent-length:3\n\n\0\0\0\0",
        ] {
            assert_eq!(frames(version, false, bytes)[0].body, b"\0\0\0");
        }
    }
}

#[test]
fn row_020_reads_exactly_content_length_octets_nul_included() {
    for version in ALL {
        let bytes =
            b"SEND\ncontent-length:9\n\na\0\n\nSEND\n\0SEND\ncontent-length:05\n\n\0\0\0\0\0\0";
        let bodies: Vec<_> = frames(version, false, bytes)
            .into_iter()
            .map(|frame| frame.body)
            .collect();
        assert_eq!(
            bodies,
            [b"a\0\n\nSEND\n".as_slice(), b"\0\0\0\0\0"],
            "the ninth octet is the last"
        );
    }
}

#[test]
fn row_021_requires_nul_after_content_length() {
    for version in ALL {
        let error = fault(
            version,
            false,
            b"SEND\nreceipt:77\ncontent-length:3\n\nabcd\0SEND\nx:1\n\n\0",
        );
        let kind = DecodeErrorKind::NoNulAfterBody {
            content_length: 3,
            found: b'd',
        };
        assert_eq!(error.kind, kind);
        assert_eq!(
            (error.command, error.receipt.as_deref()),
            (Some(Command::Send), Some("77"))
        );
    }
    // What Spring makes of "한" when it cuts the text message within it: three times U+FFFD.
    let bytes = "SEND\ncontent-length:3\n\n\u{fffd}\u{fffd}\u{fffd}\0";
    let error = fault(Version::V1_2, false, bytes.as_bytes());
    assert!(
        error.to_string().contains("split inside a character"),
        "{error}"
    );
    let error = fault(Version::V1_2, false, b"SEND\ncontent-length:0\n\na\0");
    assert_eq!(
        error.kind,
        DecodeErrorKind::NoNulAfterBody {
            content_length: 0,
            found: b'a'
        }
    );
}

#[test]
fn row_022_without_content_length_the_first_nul_ends_the_body() {
    for version in ALL {
        let bodies: Vec<_> = frames(version, false, b"SEND\nx:1\n\na\nb\r\n\n\0SEND\n\n\0")
            .into_iter()
            .map(|frame| frame.body)
            .collect();
        assert_eq!(bodies, [b"a\nb\r\n\n".as_slice(), b""]);
    }
}

#[test]
fn row_023_any_frame_may_say_that_it_has_no_body() {
    for version in ALL {
        for command in [
            "CONNECT",
            "STOMP",
            "SUBSCRIBE",
            "UNSUBSCRIBE",
            "BEGIN",
            "COMMIT",
            "ABORT",
            "ACK",
            "NACK",
            "DISCONNECT",
            "SEND",
            "RECEIPT",
        ] {
            let bytes = format!("{command}\ncontent-length:0\n\n\0");
            let read = frames(version, false, bytes.as_bytes());
            assert_eq!(
                read,
                [plain(
                    Command::parse(command).unwrap(),
                    &[("content-length", "0")],
                    b""
                )]
            );
        }
    }
}

#[test]
fn row_024_a_content_length_that_is_no_number_is_fatal_and_takes_no_memory() {
    for version in ALL {
        for value in [
            "",
            "-1",
            "-0",
            "+1",
            "1.0",
            "0x10",
            "1e3",
            "a",
            "1 2",
            "1,2",
            "٣",
            "18446744073709551616",
            "99999999999999999999999999999",
        ] {
            let bytes = format!("SEND\nreceipt:q\ncontent-length:{value}\n\nabc\0");
            let error = fault(version, false, bytes.as_bytes());
            assert_eq!(
                error.kind,
                DecodeErrorKind::BadContentLength {
                    value: value.into()
                }
            );
            assert_eq!(
                (error.command, error.receipt.as_deref()),
                (Some(Command::Send), Some("q"))
            );
        }
        for announced in [LIMITS.frame as u64, u64::from(u32::MAX), u64::MAX] {
            let bytes = format!("SEND\ncontent-length:{announced}\n\nabc");
            let mut decoder = speaking(version, false);
            let (before, after) = bytes.as_bytes().split_at(10);
            let (_, error) = read(&mut decoder, &[before, after]);
            let kind = DecodeErrorKind::FrameTooLarge {
                limit: LIMITS.frame,
                announced: Some(announced),
            };
            assert_eq!(error.unwrap().kind, kind);
            assert!(decoder.capacity() <= KEPT);
        }
    }
}

#[test]
fn row_024_blanks_around_the_number_are_overlooked_unless_strict() {
    for version in ALL {
        assert_eq!(
            frames(version, false, b"SEND\ncontent-length: 3 \n\na\0b\0")[0].body,
            b"a\0b"
        );
        fault(version, false, b"SEND\ncontent-length: \n\na\0");
    }
    for version in ESCAPING {
        fault(version, true, b"SEND\ncontent-length: 3\n\na\0b\0");
    }
}

#[test]
fn row_024_an_announced_length_reserves_nothing() {
    let mut decoder = speaking(Version::V1_2, false);
    let (frames, error) = read(&mut decoder, &[b"SEND\ncontent-length:4000000\n\nabc"]);
    assert_eq!((frames, error), (vec![], None));
    assert!(
        decoder.capacity() <= 128,
        "{} octets for 30",
        decoder.capacity()
    );
}

#[test]
fn row_025_only_send_message_and_error_have_a_body() {
    for version in ALL {
        for command in [
            "CONNECT",
            "STOMP",
            "UNSUBSCRIBE",
            "BEGIN",
            "COMMIT",
            "ABORT",
            "ACK",
            "NACK",
            "DISCONNECT",
            "CONNECTED",
            "RECEIPT",
        ] {
            for rest in [
                "receipt:5\n\nx\0",
                "receipt:5\ncontent-length:1\n\nx\0",
                "receipt:5\n\n\n\0",
            ] {
                let error = fault(version, false, format!("{command}\n{rest}").as_bytes());
                let command = Command::parse(command).unwrap();
                assert_eq!(
                    (error.kind, error.command),
                    (DecodeErrorKind::BodyNotAllowed, Some(command))
                );
                let receipt = (!command.is_connect()).then_some("5");
                assert_eq!(
                    error.receipt.as_deref(),
                    receipt,
                    "CONNECT is given no receipt"
                );
            }
        }
        for command in ["SEND", "MESSAGE", "ERROR"] {
            assert_eq!(
                frames(version, false, format!("{command}\n\nx\0").as_bytes())[0].body,
                b"x"
            );
        }
    }
    for version in ESCAPING {
        assert_eq!(
            fault(version, false, b"SUBSCRIBE\nid:1\n\nx\0").kind,
            DecodeErrorKind::BodyNotAllowed
        );
    }
}

#[test]
fn row_025_1_0_ignores_the_body_of_subscribe() {
    let bytes = b"SUBSCRIBE\ndestination:/a\n\nignored\0SUBSCRIBE\ncontent-length:4\n\n\0\0\0\0\0DISCONNECT\n\n\0";
    let bodies: Vec<_> = frames(Version::V1_0, false, bytes)
        .into_iter()
        .map(|frame| (frame.command, frame.body))
        .collect();
    assert_eq!(
        bodies,
        [
            (Command::Subscribe, vec![]),
            (Command::Subscribe, vec![]),
            (Command::Disconnect, vec![])
        ]
    );
}

/// Limits that a test reaches with a few octets.
const SMALL: Limits = Limits {
    frame: 120,
    header_lines: 3,
    header_line: 20,
    head: 60,
};

/// Whether `bytes` is one good frame under `limits`, or what is wrong, the same however they are cut.
fn within(limits: Limits, bytes: &[u8]) -> Result<(), DecodeErrorKind> {
    let verdict = |pieces: &[&[u8]]| {
        let mut decoder = Decoder::new(limits);
        let verdict = read(&mut decoder, pieces);
        assert!(
            decoder.capacity() <= SMALLEST.max(limits.frame + 1),
            "{} octets",
            decoder.capacity()
        );
        verdict
    };
    let (frames, error) = verdict(&[bytes]);
    for cut in 0..=bytes.len() {
        let (before, after) = bytes.split_at(cut);
        assert_eq!(
            verdict(&[before, after]),
            (frames.clone(), error.clone()),
            "cut at {cut}"
        );
    }
    assert_eq!(
        verdict(&bytes.chunks(1).collect::<Vec<_>>()),
        (frames.clone(), error.clone())
    );
    match error {
        None => {
            assert_eq!(frames.len(), 1);
            Ok(())
        }
        Some(error) => Err(error.kind),
    }
}

#[test]
fn row_032_header_lines_are_limited() {
    let with = |lines: usize| format!("SEND\n{}\n\0", "a:b\n".repeat(lines));
    assert_eq!(within(SMALL, with(2).as_bytes()), Ok(()));
    assert_eq!(within(SMALL, with(3).as_bytes()), Ok(()));
    assert_eq!(
        within(SMALL, with(4).as_bytes()),
        Err(DecodeErrorKind::TooManyHeaders { limit: 3 })
    );
    let none = Limits {
        header_lines: 0,
        ..SMALL
    };
    assert_eq!(within(none, with(0).as_bytes()), Ok(()));
    assert_eq!(
        within(none, with(1).as_bytes()),
        Err(DecodeErrorKind::TooManyHeaders { limit: 0 })
    );
}

#[test]
fn row_032_the_length_of_a_header_line_is_limited() {
    for end in ["\n", "\r\n"] {
        let with = |octets: usize| {
            format!(
                "SEND{end}a:b{end}name:{}{end}{end}\0",
                "v".repeat(octets - 5)
            )
        };
        assert_eq!(within(SMALL, with(19).as_bytes()), Ok(()));
        assert_eq!(within(SMALL, with(20).as_bytes()), Ok(()));
        for octets in [21, 22, 100] {
            let kind = DecodeErrorKind::HeaderLineTooLong {
                line: 3,
                header: "name".into(),
                limit: 20,
            };
            assert_eq!(within(SMALL, with(octets).as_bytes()), Err(kind));
        }
    }
}

#[test]
fn row_032_the_head_is_limited() {
    for end in ["\n", "\r\n"] {
        let limits = Limits {
            header_line: 100,
            ..SMALL
        };
        let with = |octets: usize| {
            let rest = format!("SEND{end}a:{end}{end}");
            format!("SEND{end}a:{}{end}{end}\0", "v".repeat(octets - rest.len()))
        };
        assert_eq!(within(limits, with(59).as_bytes()), Ok(()));
        assert_eq!(within(limits, with(60).as_bytes()), Ok(()));
        assert_eq!(
            within(limits, with(61).as_bytes()),
            Err(DecodeErrorKind::HeadTooLong { limit: 60 })
        );
        assert_eq!(
            within(limits, with(62).as_bytes()),
            Err(DecodeErrorKind::HeadTooLong { limit: 60 })
        );
        assert_eq!(
            within(limits, with(100).as_bytes()),
            Err(DecodeErrorKind::HeadTooLong { limit: 60 })
        );
    }
}

#[test]
fn row_032_the_frame_is_limited_with_and_without_content_length() {
    let too_large = |announced| DecodeErrorKind::FrameTooLarge {
        limit: 120,
        announced,
    };
    let to_nul = |octets: usize| format!("SEND\na:b\n\n{}\0", "x".repeat(octets - 11));
    assert_eq!(within(SMALL, to_nul(119).as_bytes()), Ok(()));
    assert_eq!(within(SMALL, to_nul(120).as_bytes()), Ok(()));
    assert_eq!(within(SMALL, to_nul(121).as_bytes()), Err(too_large(None)));
    assert_eq!(within(SMALL, to_nul(500).as_bytes()), Err(too_large(None)));
    let counted = |octets: usize| {
        let length = octets - "SEND\ncontent-length:00\n\n\0".len();
        format!("SEND\ncontent-length:{length}\n\n{}\0", "x".repeat(length))
    };
    assert_eq!(within(SMALL, counted(119).as_bytes()), Ok(()));
    assert_eq!(within(SMALL, counted(120).as_bytes()), Ok(()));
    assert_eq!(
        within(SMALL, counted(121).as_bytes()),
        Err(too_large(Some(96)))
    );
}

#[test]
fn row_032_the_frame_limit_binds_a_head_that_may_be_longer() {
    for header in ["", "content-length:0\n"] {
        let limits = Limits {
            frame: 50,
            header_line: 100,
            ..SMALL
        };
        let with = |octets: usize| {
            let rest = format!("BEGIN\n{header}a:\n\n\0");
            format!("BEGIN\n{header}a:{}\n\n\0", "v".repeat(octets - rest.len()))
        };
        assert_eq!(within(limits, with(49).as_bytes()), Ok(()));
        assert_eq!(within(limits, with(50).as_bytes()), Ok(()));
        let announced = (!header.is_empty()).then_some(0);
        assert_eq!(
            within(limits, with(51).as_bytes()),
            Err(DecodeErrorKind::FrameTooLarge {
                limit: 50,
                announced
            })
        );
        assert_eq!(
            within(limits, with(52).as_bytes()),
            Err(DecodeErrorKind::FrameTooLarge {
                limit: 50,
                announced: None
            })
        );
    }
}

#[test]
fn row_032_ends_of_line_between_frames_count_for_nothing() {
    let bytes = format!("{}SEND\na:b\n\n{}\0", "\n".repeat(1_000), "x".repeat(109));
    assert_eq!(within(SMALL, bytes.as_bytes()), Ok(()));
}

#[test]
fn row_032_the_first_breach_is_told() {
    // The line ends its own limit at the octet at which the head ends its own, and one octet before and after.
    for head in 0..40 {
        for line in 0..40 {
            let limits = Limits {
                frame: 1_000,
                header_lines: 2,
                header_line: line,
                head,
            };
            for end in ["\n", "\r\n", "\r\r\n", "\0", "\r\0"] {
                let _ = within(
                    limits,
                    format!("SEND{end}abc:defghij{end}{}", "x".repeat(30)).as_bytes(),
                );
            }
        }
    }
}

#[test]
fn row_033_endless_input_is_refused_while_it_comes() {
    let endless = vec![b'A'; 1 << 20];
    let mut decoder = Decoder::new(LIMITS);
    let (_, error) = read(&mut decoder, &[b"SEND\n", &endless]);
    let header = "A".repeat(32);
    let kind = DecodeErrorKind::HeaderLineTooLong {
        line: 2,
        header,
        limit: 8 << 10,
    };
    assert_eq!(error.unwrap().kind, kind);
    assert!(decoder.capacity() <= KEPT, "what was held is given back");
    let (_, error) = read(&mut Decoder::new(LIMITS), &[&endless]);
    let seen = "A".repeat(32);
    assert_eq!(
        error.unwrap().kind,
        DecodeErrorKind::CommandTooLong { seen, limit: 32 }
    );
    let (_, error) = read(
        &mut Decoder::new(LIMITS),
        &[b"SEND\nreceipt:r\n\n", &vec![b'x'; 5 << 20]],
    );
    let error = error.unwrap();
    let announced = None;
    assert_eq!(
        error.kind,
        DecodeErrorKind::FrameTooLarge {
            limit: LIMITS.frame,
            announced
        }
    );
    assert_eq!(error.receipt.as_deref(), Some("r"));
}

#[test]
fn row_035_nothing_behind_a_malformed_frame_is_read() {
    let good = b"SEND\nx:1\n\n\0";
    for bad in [
        b"SEND\nnonsense\n\n\0".as_slice(),
        b"SEND\ncontent-length:1\n\nab\0",
        b"\0",
        b"NONSENSE\n\n\0",
        b" SEND\n\n\0",
    ] {
        let mut decoder = speaking(Version::V1_2, false);
        let (frames, error) = read(&mut decoder, &[good, bad, good]);
        assert_eq!(frames.len(), 1);
        let again = read(&mut decoder, &[good]);
        assert_eq!(again, (vec![], error.clone()), "poisoned");
        let mut nothing: &[u8] = b"";
        assert_eq!(decoder.decode(&mut nothing).err(), error);
        assert_eq!(decoder.held(), 0);
    }
}

#[test]
fn row_035_a_nul_in_the_head_is_fatal_at_once() {
    for version in ALL {
        for (bytes, line) in [
            (b"SEND\nreceipt:1\ndestination:/a\0\n\n".as_slice(), 3),
            (b"SEND\nreceipt:1\n\0", 3),
            (b"SEND\0", 1),
            (b"\0", 1),
            (b"SEND\nx:1\n\n\0\0", 1),
        ] {
            let error = fault(version, false, bytes);
            assert_eq!(error.kind, DecodeErrorKind::NulInHead { line });
            assert_eq!(
                error.receipt.is_some(),
                line == 3,
                "the receipt stood before it"
            );
        }
    }
}

#[test]
fn row_062_what_cannot_be_a_command_is_refused_at_its_first_octets() {
    for (bytes, seen) in [
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".as_slice(), "GET "),
        (b"\x16\x03\x01\x02\x00", "\u{fffd}"),
        (b"{\"a\":1}", "{"),
        (b" SEND\n\n\0", " "),
        (b"SEND \n\n\0", "SEND "),
        (b"SEN\xc3\x9f\n\n\0", "SEN\u{fffd}"),
    ] {
        let error = fault(Version::V1_2, false, bytes);
        assert_eq!(
            error.kind,
            DecodeErrorKind::NotACommand { seen: seen.into() }
        );
        assert_eq!((error.command, error.receipt), (None, None));
    }
    assert!(fault(Version::V1_2, false, b"GET / HTTP/1.1\r\n\r\n")
        .to_string()
        .contains("HTTP"));
    let longest = "A".repeat(32);
    let error = fault(Version::V1_2, false, format!("{longest}\n\n\0").as_bytes());
    assert_eq!(
        error.kind,
        DecodeErrorKind::UnknownCommand {
            name: longest.clone()
        }
    );
    let error = fault(
        Version::V1_2,
        false,
        format!("{longest}\r\n\n\0").as_bytes(),
    );
    assert_eq!(
        error.kind,
        DecodeErrorKind::UnknownCommand {
            name: longest.clone()
        }
    );
    let error = fault(Version::V1_2, false, format!("{longest}A\n\n\0").as_bytes());
    assert_eq!(
        error.kind,
        DecodeErrorKind::CommandTooLong {
            seen: longest,
            limit: 32
        }
    );
}

#[test]
fn row_063_and_server_frames_are_read_in_every_version() {
    for version in ALL {
        for command in ["NACK", "CONNECTED", "MESSAGE", "RECEIPT", "ERROR"] {
            let read = frames(version, false, format!("{command}\nid:1\n\n\0").as_bytes());
            assert_eq!(read[0].command, Command::parse(command).unwrap());
        }
    }
}

#[test]
fn a_frame_that_came_whole_is_lent_from_the_input() {
    let bytes = b"SEND\ndestination:/a\n\nhello\0";
    let mut decoder = speaking(Version::V1_2, false);
    let mut input = bytes.as_slice();
    let frame = decoder.decode(&mut input).unwrap().unwrap();
    assert!(bytes.as_ptr_range().contains(&frame.body.as_ptr()));
    assert!(bytes
        .as_ptr_range()
        .contains(&frame.headers.lines()[0].name.as_ptr()));
    drop(frame);
    assert_eq!(decoder.capacity(), 0);
}

#[test]
fn limits_and_version_change_between_two_frames_of_one_piece() {
    let bytes = b"CONNECT\n\n\0SEND\na\\b:c\\d\n\n123456789\0";
    let mut decoder = Decoder::new(Limits {
        frame: 12,
        ..LIMITS
    });
    let mut input = bytes.as_slice();
    let connect = decoder.decode(&mut input).unwrap().unwrap();
    assert_eq!(connect.command, Command::Connect);
    drop(connect);
    decoder.agree(Version::V1_0, LIMITS, false);
    let send = decoder.decode(&mut input).unwrap().unwrap();
    assert_eq!(send.headers.get("a\\b").as_deref(), Some("c\\d"));
    assert_eq!(send.body, b"123456789");
}

#[test]
fn memory_grows_with_what_came_and_is_given_back() {
    let mut bytes = b"SEND\ncontent-length:4000000\n\n".to_vec();
    bytes.resize(bytes.len() + 4_000_000, b'x');
    bytes.push(0);
    let mut decoder = speaking(Version::V1_2, false);
    let (mut came, mut done) = (0, false);
    for piece in bytes.chunks(1_000) {
        came += piece.len();
        let mut input = piece;
        if let Some(frame) = decoder.decode(&mut input).unwrap() {
            assert_eq!(frame.body.len(), 4_000_000);
            done = true;
        }
        assert!(
            decoder.capacity() <= (2 * came).min(bytes.len()),
            "{} for {came}",
            decoder.capacity()
        );
    }
    assert!(done);
    assert_eq!(decoder.held(), 0);
    let mut nothing: &[u8] = b"";
    assert!(decoder.decode(&mut nothing).unwrap().is_none());
    assert!(decoder.capacity() <= KEPT, "{}", decoder.capacity());
}

#[test]
fn a_body_in_small_pieces_costs_linear_work() {
    let mut counted = b"SEND\ncontent-length:4000000\n\n".to_vec();
    counted.resize(counted.len() + 4_000_000, b'x');
    counted.push(0);
    let mut to_nul = b"SEND\na:b\n\n".to_vec();
    to_nul.resize(4_000_000, b'\n');
    to_nul.push(0);
    let limits = Limits {
        header_lines: 10_000,
        header_line: 1 << 20,
        head: 1 << 20,
        ..LIMITS
    };
    let head = format!(
        "SEND\n{}long:{}\n\n\0",
        "a:b\n".repeat(9_000),
        "x".repeat(900_000)
    )
    .into_bytes();
    for (bytes, size) in [(counted, 1_024), (to_nul, 1_024), (head, 7)] {
        let mut decoder = Decoder::new(limits);
        let (frames, error) = read(&mut decoder, &bytes.chunks(size).collect::<Vec<_>>());
        assert_eq!((frames.len(), error), (1, None));
        assert!(
            decoder.work <= 8 * bytes.len(),
            "{} octets of work for {}",
            decoder.work,
            bytes.len()
        );
    }
}
