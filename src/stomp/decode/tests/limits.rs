//! Limits, memory, and the end after a fault: rows 32 to 35.

use super::*;

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
        let with = |octets: usize| format!("SEND{end}a:b{end}name:{}{end}{end}\0", "v".repeat(octets - 5));
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
    let too_large = |announced| DecodeErrorKind::FrameTooLarge { limit: 120, announced };
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
    assert_eq!(within(SMALL, counted(121).as_bytes()), Err(too_large(Some(96))));
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
            Err(DecodeErrorKind::FrameTooLarge { limit: 50, announced })
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
                let _ = within(limits, format!("SEND\nabc:defghij{end}{}", "x".repeat(30)).as_bytes());
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
    assert_eq!(error.unwrap().kind, DecodeErrorKind::CommandTooLong { seen, limit: 32 });
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
            assert_eq!(error.receipt.is_some(), line == 3, "the receipt stood before it");
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
    assert!(bytes.as_ptr_range().contains(&frame.headers.lines()[0].name.as_ptr()));
    drop(frame);
    assert_eq!(decoder.capacity(), 0);
}

#[test]
fn limits_and_version_change_between_two_frames_of_one_piece() {
    let bytes = b"CONNECT\n\n\0SEND\na\\b:c\\d\n\n123456789\0";
    let mut decoder = Decoder::new(Limits { frame: 12, ..LIMITS });
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
    let head = format!("SEND\n{}long:{}\n\n\0", "a:b\n".repeat(9_000), "x".repeat(900_000)).into_bytes();
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
