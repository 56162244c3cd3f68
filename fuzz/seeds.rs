//! Writes the seeds. Those of the target `decode`: each rule of the frame grammar, what clients in use open with, and bad
//! input. Those of `log`: operations, and what is done to the files then. Those of `selector`: selectors, and headers.
//! The same seeds each time.
//!
//! `cargo run --manifest-path fuzz/Cargo.toml --bin seeds`

use std::path::Path;
use std::{fs, io};

fn main() -> io::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds/decode");
    fs::create_dir_all(&folder)?;
    let mut written = 0;
    for (name, stream) in GRAMMAR.iter().chain(CLIENTS).chain(BAD) {
        for (version, choice) in [("10", 1u8), ("11", 2), ("12", 3)] {
            seed(&folder, &format!("{name}-{version}"), choice, 7 * choice, stream)?;
            written += 1;
        }
        seed(&folder, &format!("{name}-octets"), 0, 0, stream)?;
        written += 1;
    }
    for (name, stream) in GRAMMAR.iter().chain(BAD) {
        seed(&folder, &format!("{name}-11-strict"), 2 | 4, 3, stream)?;
        seed(&folder, &format!("{name}-12-small"), 3 | 8, 5, stream)?;
        written += 2;
    }
    for (name, stream) in limits() {
        for (kind, cuts) in [("octets", 0), ("pieces", 60)] {
            seed(&folder, &format!("{name}-{kind}"), 3 | 8, cuts, &stream)?;
            written += 1;
        }
    }
    println!("{written} seeds in {}", folder.display());
    logs()?;
    selectors()
}

/// Selectors of each production, and headers that they ask for.
fn selectors() -> io::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds/selector");
    fs::create_dir_all(&folder)?;
    let lines = [
        ("none", ""),
        ("some", "a:1\nb:x_y%\nc:true\n"),
        ("odd", "a:-1e3\nb:\nc:9223372036854775808\n"),
    ];
    for (number, selector) in SELECTORS.iter().enumerate() {
        for (name, lines) in lines {
            fs::write(folder.join(format!("{number:02}-{name}")), format!("{selector}\0{lines}"))?;
        }
    }
    println!("{} seeds in {}", SELECTORS.len() * lines.len(), folder.display());
    Ok(())
}

const SELECTORS: &[&str] = &[
    "a = 1",
    "a <> 1 AND b = 'x'",
    "a < 2 OR a > 3 OR a <= 1 OR a >= 9",
    "NOT (a = 1 AND NOT c)",
    "c",
    "TRUE OR FALSE",
    "a BETWEEN 0 AND 2.5",
    "a NOT BETWEEN -1 AND +1e2",
    "b IN ('x', 'y', 3, TRUE)",
    "b NOT IN ('it''s')",
    "b LIKE '%_!%%' ESCAPE '!'",
    "b NOT LIKE 'x%y'",
    "a IS NULL OR b IS NOT NULL",
    "(a + 1) * 2 / 3 - -4 = .5e1",
    "9223372036854775807 + a * 9223372036854775807 > 1e308 * 1e308",
    "JMSPriority = 0 AND JMSDeliveryMode = 'NON_PERSISTENT' AND JMSMessageID LIKE 'm0-%'",
    "\"x-shade\" = 'red' AND $a.b_c IS NULL",
    "((((((((((((((((a = 1))))))))))))))))",
    "a / 0 = 1 OR b + 1 = 2",
    "a =",
    "upper(a) = 'A'",
    "b LIKE 'x!' ESCAPE '!'",
];

/// Logs of several lengths, each with several damages: a bit here and there, a cut, a lost file.
fn logs() -> io::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds/log");
    fs::create_dir_all(&folder)?;
    let mut written = 0;
    for length in [0u8, 1, 7, 16, 40, 41, 100, 250] {
        let operations: Vec<u8> = (0..length).map(|place| place.wrapping_mul(67).wrapping_add(length)).collect();
        for (name, damage) in [
            ("whole", &[][..]),
            ("flip-begin", &[0, 0, 0, 0, 9]),
            ("flip-head", &[0, 200, 0, 0, 90]),
            ("flip-record", &[1, 1, 0, 3, 3]),
            ("flip-twice", &[1, 1, 0, 8, 3, 2, 2, 0, 16, 1]),
            ("flip-late", &[1, 3, 0, 0x7f, 0xff]),
            ("cut", &[12, 1, 0, 2, 0]),
            ("cut-all", &[12, 0, 0, 0, 0]),
            ("lost-first", &[15, 0, 0, 0, 0]),
            ("lost-later", &[15, 2, 0, 0, 0]),
        ] {
            let seed = [&[length], operations.as_slice(), damage].concat();
            fs::write(folder.join(format!("{name}-{length}")), seed)?;
            written += 1;
        }
    }
    println!("{written} seeds in {}", folder.display());
    Ok(())
}

/// One file: the two octets that choose, then the stream.
fn seed(folder: &Path, name: &str, choice: u8, cuts: u8, stream: &[u8]) -> io::Result<()> {
    fs::write(folder.join(name), [&[choice, cuts], stream].concat())
}

/// Around each of the small limits: one octet or line less, exactly, one more.
fn limits() -> Vec<(String, Vec<u8>)> {
    let mut streams = Vec::new();
    for off in [0usize, 1, 2] {
        let frame = 94 + off;
        let line = 23 + off;
        let body = "x".repeat(frame - "SEND\n\n\0".len());
        streams.push((format!("limit-frame-{off}"), format!("SEND\n\n{body}\0").into_bytes()));
        let length = frame - "SEND\ncontent-length:00\n\n\0".len() + 1;
        let body = "x".repeat(length);
        streams.push((
            format!("limit-counted-{off}"),
            format!("SEND\ncontent-length:{length}\n\n{body}\0").into_bytes(),
        ));
        let value = "v".repeat(line - 2);
        streams.push((format!("limit-line-{off}"), format!("SEND\na:{value}\n\n\0").into_bytes()));
        streams.push((format!("limit-line-crlf-{off}"), format!("SEND\r\na:{value}\r\n\r\n\0").into_bytes()));
        streams.push((format!("limit-lines-{off}"), format!("SEND\n{}\n\0", "a:b\n".repeat(2 + off)).into_bytes()));
        let long = "l".repeat(20);
        let value = "v".repeat(63 + off - "SEND\n\n".len() - 2 * "a:\n".len() - 20 - 3);
        streams.push((
            format!("limit-head-{off}"),
            format!("SEND\na:{long}\na:{}\nb:{}\n\n\0", &value[..10], &value[10..]).into_bytes(),
        ));
        streams.push((format!("limit-command-{off}"), format!("{}\n\n\0", "A".repeat(31 + off)).into_bytes()));
    }
    streams
}

type Seed = (&'static str, &'static [u8]);

/// What the specification allows, in one version or another.
const GRAMMAR: &[Seed] = &[
    ("plain-send", b"SEND\ndestination:/queue/a\n\nhello\0"),
    ("no-headers", b"DISCONNECT\n\n\0"),
    ("empty-body", b"SEND\ndestination:/topic/a\n\n\0"),
    ("crlf", b"SEND\r\ndestination:/a\r\n\r\nbody\0\r\n"),
    ("mixed-ends", b"SEND\r\na:1\nb:2\r\n\nbody\0\n\r\n\nSEND\n\n\0"),
    ("beats", b"\n\n\r\n\n\r\n\r\n\n"),
    ("beats-between", b"\nSEND\na:b\n\n1\0\n\n\nSEND\na:b\n\n2\0\r\n"),
    ("three-frames", b"SEND\na:1\n\n1\0SEND\na:2\n\n2\0SEND\na:3\n\n3\0"),
    ("escapes-12", b"SEND\na\\cb:c\\\\d\\ne\\rf\\c\n\n\0"),
    ("escapes-11", b"SEND\na\\cb:c\\\\d\\ne\\c\n\n\0"),
    ("escape-return", b"SEND\nx:\\r\n\n\0"),
    ("escape-in-name", b"SEND\ncontent\\c-length:3\n\\n:x\n\nabc\0"),
    ("connect-raw", b"CONNECT\npasscode:a\\tb:c\\\n\n\0"),
    ("stomp-raw", b"STOMP\npasscode:a\\tb:c\\\n\n\0"),
    ("connected-raw", b"CONNECTED\nserver:a\\tb:c\\\n\n\0"),
    ("blanks", b"SEND\n a : b \nc:\t\n\n\0"),
    ("raw-colon", b"SEND\nurl:http://a:1/b:c\nx::\n\n\0"),
    ("empty-value", b"SEND\nx:\ny:\n\n\0"),
    ("repeated", b"SEND\nfoo:1\nfoo:2\nfoo:1\n\n\0"),
    ("repeated-length", b"SEND\ncontent-length:3\ncontent-length:1\n\nabc\0"),
    ("nul-in-body", b"SEND\ncontent-length:5\n\na\0b\0c\0"),
    ("nothing-but-nul", b"SEND\ncontent-length:4\n\n\0\0\0\0\0SEND\n\n\0"),
    ("frame-in-body", b"SEND\ncontent-length:17\n\n\0SEND\nx:1\n\nabc\0\n\n\0"),
    ("length-zero", b"BEGIN\ntransaction:t\ncontent-length:0\n\n\0"),
    ("length-leading-zeros", b"SEND\ncontent-length:0003\n\nabc\0"),
    ("length-blanks", b"SEND\ncontent-length: 3 \n\nabc\0"),
    ("length-last", b"SEND\na:b\nc:d\ncontent-length:1\n\n\0\0"),
    ("body-of-lines", b"SEND\n\n\n\n\r\n\n:\n\0"),
    ("body-not-utf8", b"SEND\n\n\xff\xfe\x80\0"),
    ("utf8", "SEND\n목적지:/큐/주문 🐎\n\n한글 😀\0".as_bytes()),
    ("utf8-counted", "SEND\ncontent-length:11\n\n한글 😀\0".as_bytes()),
    ("subscribe-body", b"SUBSCRIBE\nid:1\ndestination:/a\n\nignored\0"),
    ("subscribe-counted", b"SUBSCRIBE\nid:1\ncontent-length:3\n\n\0\0\0\0"),
    ("message", b"MESSAGE\nsubscription:0\nmessage-id:007\ndestination:/queue/a\ncontent-type:text/plain\n\nhello queue a\0"),
    ("receipt", b"RECEIPT\nreceipt-id:message-12345\n\n\0"),
    ("error", b"ERROR\nversion:1.2\ncontent-type:text/plain\nmessage:malformed\n\nwhy\0"),
    ("transaction", b"BEGIN\ntransaction:t\n\n\0SEND\ntransaction:t\ndestination:/a\n\nx\0COMMIT\ntransaction:t\n\n\0ABORT\ntransaction:u\n\n\0"),
    ("acks", b"ACK\nid:12\ntransaction:t\n\n\0NACK\nid:13\n\n\0ACK\nmessage-id:1\nsubscription:0\n\n\0"),
    ("unfinished-head", b"SEND\ndestination:/que"),
    ("unfinished-count", b"SEND\ncontent-length:100\n\nabc"),
    ("unfinished-body", b"SEND\na:b\n\nabc"),
    ("unfinished-return", b"SEND\na:b\r"),
    ("lone-return", b"\r"),
];

/// How clients in use begin.
const CLIENTS: &[Seed] = &[
    (
        "stompjs-7",
        b"CONNECT\naccept-version:1.2,1.1,1.0\nheart-beat:10000,10000\n\n\0SUBSCRIBE\nid:sub-0\ndestination:/topic/test\n\n\0\
          SEND\ndestination:/topic/test\ncontent-length:5\n\nhello\0\nDISCONNECT\nreceipt:close-1\n\n\0",
    ),
    (
        "stompjs-2",
        b"CONNECT\nlogin:guest\npasscode:guest\naccept-version:1.1,1.0\nheart-beat:10000,10000\n\n\0\
          SUBSCRIBE\nid:sub-0\ndestination:/queue/q\n\n\0SEND\ndestination:/queue/q\ncontent-length:2\n\nhi\0\n",
    ),
    (
        "webstomp",
        b"CONNECT\naccept-version:1.2\nheart-beat:10000,10000\nlogin:a\npasscode:b\n\n\0\nACK\nid:1\nsubscription:sub-0\n\n\0DISCONNECT\n\n\0",
    ),
    (
        "stomp-py-12",
        b"STOMP\naccept-version:1.2\nhost:127.0.0.1\n\n\0SEND\ncontent-length:4\ndestination:/queue/test\nreceipt:r\n\nbody\0\
          SUBSCRIBE\nack:client-individual\ndestination:/queue/test\nid:1\n\n\0DISCONNECT\nreceipt:x\n\n\0",
    ),
    ("stomp-py-10", b"CONNECT\nlogin:u\npasscode:p\n\n\0SUBSCRIBE\nack:auto\ndestination:/queue/test\n\n\0ACK\nmessage-id:1\n\n\0"),
    (
        "go-stomp",
        b"CONNECT\naccept-version:1.0,1.1,1.2\nheart-beat:60000,60000\nhost:127.0.0.1\npasscode:a\\cb\n\n\0\
          SEND\ndestination:/queue/a\ncontent-type:text/plain\ncontent-length:3\n\nabc\0\n",
    ),
    (
        "spring-websocket",
        b"CONNECT\naccept-version:1.1,1.2\nheart-beat:0,0\n\n\0SUBSCRIBE\nid:0\ndestination:/topic/a\n\n\0\
          SEND\ndestination:/app/x\ncontent-type:application/json\ncontent-length:13\n\n{\"name\":\"abc\"}\0",
    ),
    (
        "spring-relay",
        b"CONNECT\naccept-version:1.1,1.2\nlogin:guest\npasscode:guest\nhost:/\nheart-beat:10000,10000\n\n\0\
          SUBSCRIBE\nid:sub-0\ndestination:/queue/x-user123\nsimpOrigDestination:/user/queue/x\n\n\0\n\n",
    ),
    ("spring-return", b"SEND\ndestination:/a\nx:line\\r\\nline\n\n\0"),
    (
        "stompit",
        b"CONNECT\nhost:localhost\naccept-version:1.0,1.1,1.2\nheart-beat:0,0\n\n\0\nSEND\ndestination:/queue/a\n\nx\0\nDISCONNECT\nreceipt:1\n\n\0\n",
    ),
    ("stompest", b"CONNECT\naccept-version:1.0,1.1,1.2\nhost:\n\n\0SEND\ndestination:/queue/simple\n\nmessage\0"),
    ("async-stomp", b"CONNECT\naccept-version:1.2\nhost:h\nheart-beat:5000,10000\n\n\0\n\n\nBEGIN\ntransaction:1\n\n\0"),
];

/// What is nobody's frame.
const BAD: &[Seed] = &[
    ("bad-escape-t", b"SEND\nreceipt:1\nx:\\t\n\n\0"),
    ("bad-escape-end", b"SEND\nx:abc\\\n\n\0"),
    ("bad-escape-name", b"SEND\nx\\:y\n\n\0"),
    ("bad-escape-wide", "SEND\nx:\\한\n\n\0".as_bytes()),
    ("return-in-value", b"SEND\nreceipt:1\nx:a\rb\n\n\0"),
    ("return-doubled", b"SEND\nx:a\r\r\n\n\0"),
    ("return-in-command", b"SE\rND\nx:a\n\n\0"),
    ("return-between", b"SEND\nx:a\n\n\0\r\rSEND\n\n\0"),
    ("no-colon", b"SEND\nreceipt:1\nnonsense\n\n\0"),
    ("no-name", b"SEND\n:value\n\n\0"),
    ("blank-name", b"SEND\n  :value\n\n\0"),
    ("nul-in-head", b"SEND\ndestination:/a\0\n\n\0"),
    ("no-blank-line", b"SEND\nreceipt:1\n\0"),
    ("double-nul", b"SEND\nx:1\n\n\0\0SEND\n\n\0"),
    ("length-negative", b"SEND\ncontent-length:-1\n\nabc\0"),
    ("length-plus", b"SEND\ncontent-length:+3\n\nabc\0"),
    ("length-word", b"SEND\ncontent-length:three\n\nabc\0"),
    ("length-empty", b"SEND\ncontent-length:\n\nabc\0"),
    ("length-hex", b"SEND\ncontent-length:0x3\n\nabc\0"),
    ("length-u64", b"SEND\ncontent-length:18446744073709551615\n\nabc\0"),
    ("length-over-u64", b"SEND\ncontent-length:18446744073709551616\n\nabc\0"),
    ("length-endless", b"SEND\ncontent-length:99999999999999999999999999999999\n\nabc\0"),
    ("length-short", b"SEND\nreceipt:1\ncontent-length:2\n\nabc\0SEND\n\n\0"),
    ("length-characters", "SEND\ncontent-length:3\n\n\u{fffd}\u{fffd}\u{fffd}\0".as_bytes()),
    ("body-on-ack", b"ACK\nid:1\nreceipt:1\n\nbody\0"),
    ("body-on-connect", b"CONNECT\n\nbody\0"),
    ("body-counted-on-begin", b"BEGIN\ntransaction:t\ncontent-length:4\n\nbody\0"),
    ("unknown-command", b"PUBLISH\nreceipt:1\ndestination:/a\n\nx\0"),
    ("lower-case", b"send\ndestination:/a\n\nx\0"),
    ("command-blank", b"SEND \ndestination:/a\n\nx\0"),
    ("http", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    ("tls", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
    ("json", b"{\"command\":\"SEND\"}"),
    ("mqtt", b"\x10\x0c\0\x04MQTT\x04\x02\0\x3c\0\0"),
    ("head-not-utf8", b"SEND\nx:\xff\n\n\0"),
    ("head-half-character", b"SEND\nx:\xed\x95\n\n\0"),
    ("surrogate", b"SEND\nx:\xed\xa0\x80\n\n\0"),
    ("bom", b"\xef\xbb\xbfSEND\n\n\0"),
    ("zeros", b"\0\0\0\0\0\0\0\0"),
    ("smuggled", b"SEND\ncontent-length:4\n\nbodySEND\ndestination:/admin\n\nx\0"),
];
