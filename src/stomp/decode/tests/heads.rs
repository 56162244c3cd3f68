//! Command and headers: rows 1 to 19, 62 and 63.

use super::*;

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
        (vec![plain(Command::Send, &[("destination", "/b")], b"3")], None)
    );
    assert_eq!(decoder.held(), 0);
}

#[test]
fn row_002_lines_end_with_lf_or_cr_lf_in_any_mixture() {
    let bytes = b"\r\n\nSEND\r\ndestination:/a\nx:1\r\n\r\nbody\0\r\n\n\r\nSEND\ndestination:/b\r\n\n\0";
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
        assert_eq!(error.kind, DecodeErrorKind::StrayCarriageReturn { line: 3, column: 7 });
        assert_eq!(
            (error.command, error.receipt.as_deref()),
            (Some(Command::Send), Some("7"))
        );
        let error = fault(version, false, b"SEND\nx:1\r\r\n\n\0");
        assert_eq!(error.kind, DecodeErrorKind::StrayCarriageReturn { line: 2, column: 4 });
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
        assert_eq!(frames(version, true, b"SEND\nx:1\r\ny\r:\r2\n\n\0"), expected);
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
        assert_eq!(read(&mut decoder, &[b"\n", b"\r\n", b"\r", b"\n"]), (vec![], None));
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
        assert_eq!(error.kind, DecodeErrorKind::UnknownCommand { name: "Send".into() });
        assert_eq!((error.command, error.receipt.as_deref()), (None, Some("r-1")));
        let read = frames(
            version,
            false,
            b"SEND\nDestination:/a\ndestination:/b\nContent-Length:1\n\nabc\0",
        );
        assert_eq!(
            read,
            [plain(
                Command::Send,
                &[("Destination", "/a"), ("destination", "/b"), ("Content-Length", "1")],
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
            [plain(Command::Send, &[("목적지", "/큐/주문 🐎")], "한글 😀".as_bytes())]
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
    let bytes = b"SEND\na\\cb\\\\:\\r\\n\\c\\\\c\nplain:x\n\n\0";
    let expected = [plain(Command::Send, &[("a:b\\", "\r\n:\\c"), ("plain", "x")], b"")];
    assert_eq!(frames(Version::V1_2, false, bytes), expected);
    assert_eq!(frames(Version::V1_2, true, bytes), expected);
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
            assert_eq!(found, sequence, "{line}");
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
            [plain(Command::Send, &[("url", "http://a:1/b:c"), ("x", ":")], b"")]
        );
    }
}

#[test]
fn what_needs_no_escape_is_told_from_what_does() {
    let heads = [
        ("a:b\nc:\n", true),
        ("a:b\r\nc:\r\n", true),
        ("a:b:c\n", false),
        ("a:b\\c\n", false),
        ("", true),
    ];
    for (head, expected) in heads {
        for version in [Version::V1_0, Version::V1_1, Version::V1_2] {
            let octets = format!("SEND\n{head}\n\0");
            let mut decoder = speaking(version, false);
            let mut input = octets.as_bytes();
            let frame = decoder.decode(&mut input).unwrap().unwrap();
            assert_eq!(frame.headers.is_plain(), expected, "{octets:?} in {version}");
        }
    }
    let mut strict = speaking(Version::V1_1, true);
    let mut input: &[u8] = b"SEND\na:b\r\n\n\0";
    let frame = strict.decode(&mut input).unwrap().unwrap();
    assert!(!frame.headers.is_plain(), "the return belongs to the value");
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
        assert_eq!(error.receipt.as_deref(), Some("1"), "the whole head was there");
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
        assert_eq!(frames(version, false, bytes), [plain(Command::Send, &expected, b"abc")]);
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
        assert_eq!(error.kind, DecodeErrorKind::NotACommand { seen: seen.into() });
        assert_eq!((error.command, error.receipt), (None, None));
    }
    assert!(fault(Version::V1_2, false, b"GET / HTTP/1.1\r\n\r\n")
        .to_string()
        .contains("HTTP"));
    let longest = "A".repeat(32);
    let error = fault(Version::V1_2, false, format!("{longest}\n\n\0").as_bytes());
    assert_eq!(error.kind, DecodeErrorKind::UnknownCommand { name: longest.clone() });
    let error = fault(Version::V1_2, false, format!("{longest}\r\n\n\0").as_bytes());
    assert_eq!(error.kind, DecodeErrorKind::UnknownCommand { name: longest.clone() });
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
