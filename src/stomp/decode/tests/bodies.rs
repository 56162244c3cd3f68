//! Bodies and content-length: rows 20 to 25.

use super::*;

#[test]
fn row_020_reads_exactly_content_length_octets_nul_included() {
    for version in ALL {
        let bytes = b"SEND\ncontent-length:9\n\na\0\n\nSEND\n\0SEND\ncontent-length:05\n\n\0\0\0\0\0\0";
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
    assert!(error.to_string().contains("split inside a character"), "{error}");
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
                [plain(Command::parse(command).unwrap(), &[("content-length", "0")], b"")]
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
            assert_eq!(error.kind, DecodeErrorKind::BadContentLength { value: value.into() });
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
    assert!(decoder.capacity() <= 128, "{} octets for 30", decoder.capacity());
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
                assert_eq!(error.receipt.as_deref(), receipt, "CONNECT is given no receipt");
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

#[test]
fn a_large_frame_is_given_back_before_the_next_one_comes() {
    let mut decoder = Decoder::new(Limits {
        frame: 2 << 20,
        ..LIMITS
    });
    let frame = [
        b"SEND\ndestination:/queue/a\n\n".as_slice(),
        &vec![b'x'; 1 << 20],
        b"\0",
    ]
    .concat();
    for mut piece in frame.chunks(4_096) {
        let _ = decoder.decode(&mut piece).unwrap();
    }
    decoder.release();
    assert!(decoder.held.capacity() <= KEPT, "{}", decoder.held.capacity());
}
