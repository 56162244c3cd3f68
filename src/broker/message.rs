//! A message: immutable, shared by everything that holds or delivers it.

use std::borrow::Cow;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use super::journal::Stub;
use super::mime;
use crate::stomp::encode::{decimal, header};
use crate::stomp::headers::{is_plain, unescape};
use crate::stomp::{Headers, Version};

/// Headers of a SEND that are not passed on: those that spoke to us, and those that only we may say.
fn is_withheld(name: &str) -> bool {
    matches!(
        name,
        "destination"
            | "content-length"
            | "receipt"
            | "transaction"
            | "message-id"
            | "subscription"
            | "ack"
            | "redelivered"
            | "delivery-count"
            | "x-skipped"
    )
}

/// Octets of all messages that are alive, whoever holds them, and of those that have come in part. One for all virtual hosts: memory is one.
#[derive(Debug, Default)]
pub struct Gauge(AtomicUsize);

impl Gauge {
    /// Octets held now.
    pub fn octets(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// Counts what else is held: there were `before` octets, and are `after` now.
    pub fn change(&self, before: usize, after: usize) {
        self.0.fetch_add(after, Ordering::Relaxed);
        self.0.fetch_sub(before, Ordering::Relaxed);
    }
}

/// What a SEND asks for besides its destination and body, read once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Properties {
    /// `priority`, 0 to 9; queues deliver higher ones first. 4 when the sender names none.
    pub priority: u8,
    /// When it is no longer worth delivering, in milliseconds since 1970.
    pub expires: Option<u64>,
    /// `persistent:true`: to be on disk before its RECEIPT, where there is a disk.
    pub persistent: bool,
    /// Not to be delivered before, in milliseconds since 1970.
    pub due: Option<u64>,
    /// It has a `JMSXGroupID`.
    pub grouped: bool,
    /// Of a topic's subscriptions it is for those of the session with this number.
    pub only: Option<u64>,
}

/// A tail that is made when it is first asked for.
type Variant = OnceLock<Box<[u8]>>;

/// One message, as its MESSAGE frames end: everything from the `destination` header to the final NUL is encoded
/// once, when it is sent, and shared by all deliveries to clients of the same version.
pub struct Message {
    number: u64,
    publisher: u64,
    properties: Properties,
    /// The tail for `version`, and for every version if `plain`.
    tail: Vec<u8>,
    version: Version,
    /// No header needs an escape, so the tail reads the same in all versions.
    plain: bool,
    /// Where the body begins in `tail`.
    body_at: usize,
    /// The whole frame is UTF-8 and may go into a WebSocket text message.
    utf8: bool,
    /// `content-type` is missing or reads as a MIME type of a known charset; Spring's decoder refuses frames where it does not.
    typed: bool,
    /// Tails for other versions and for clients that need a safe content-type; made when first asked for.
    variants: OnceLock<Box<[Variant; 6]>>,
    gauge: Arc<Gauge>,
}

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Message")
            .field("number", &self.number)
            .field("properties", &self.properties)
            .field("body_length", &self.body().len())
            .finish_non_exhaustive()
    }
}

impl Drop for Message {
    fn drop(&mut self) {
        self.gauge.0.fetch_sub(self.size(), Ordering::Relaxed);
    }
}

/// What a message is made of.
#[derive(Debug)]
pub struct Draft<'a, 'h> {
    /// As it stands in the `destination` header of the MESSAGE.
    pub destination: &'a str,
    /// The sender's headers.
    pub headers: &'a Headers<'h>,
    /// Replaces the value of `reply-to`.
    pub reply_to: Option<&'a str>,
    /// The octets of the body.
    pub body: &'a [u8],
    /// The sender's version: how `headers` are escaped.
    pub version: Version,
    /// What the sender asked for.
    pub properties: Properties,
    /// The sender's session, for `no-local`.
    pub publisher: u64,
}

impl Message {
    /// Makes a message and counts its octets in `gauge`. `number` is unique in the broker.
    pub fn new(number: u64, draft: Draft<'_, '_>, gauge: &Arc<Gauge>) -> Message {
        let Draft { headers, version, .. } = draft;
        let raw = headers.is_plain();
        let lines: usize = headers
            .lines()
            .iter()
            .map(|line| line.name.len() + line.value.len() + 2)
            .sum();
        let mut tail = Vec::with_capacity(draft.destination.len() + lines + draft.body.len() + 48);
        let named = is_plain(draft.destination);
        if named {
            line(&mut tail, "destination", draft.destination);
        } else {
            header(&mut tail, "destination", draft.destination, version);
        }
        let mut typed = true;
        for (name, value) in headers.iter() {
            if is_withheld(&name) {
                continue;
            }
            if name == "content-type" {
                typed = typed && mime::is_readable(&value);
            }
            if let ("reply-to", Some(address)) = (name.as_ref(), draft.reply_to) {
                header(&mut tail, "reply-to", address, version);
            } else if raw {
                line(&mut tail, &name, &value);
            } else {
                header(&mut tail, &name, &value, version);
            }
        }
        let body_at = end_head(&mut tail, draft.body);
        let plain = raw && named && draft.reply_to.is_none();
        tail.extend_from_slice(draft.body);
        tail.push(0);
        Message {
            number,
            publisher: draft.publisher,
            properties: draft.properties,
            utf8: std::str::from_utf8(draft.body).is_ok(),
            tail,
            version,
            plain,
            body_at,
            typed,
            variants: OnceLock::new(),
            gauge: Arc::clone(gauge),
        }
        .counted()
    }

    fn counted(self) -> Message {
        self.gauge.0.fetch_add(self.size(), Ordering::Relaxed);
        self
    }

    /// Unique in this broker, rising in the order in which messages were accepted.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The session that sent it.
    pub fn publisher(&self) -> u64 {
        self.publisher
    }

    /// What its sender asked for.
    pub fn properties(&self) -> &Properties {
        &self.properties
    }

    /// Whether it is no longer worth delivering.
    pub fn is_expired(&self, unix_ms: u64) -> bool {
        self.properties.expires.is_some_and(|at| at <= unix_ms)
    }

    /// Octets it counts for in every budget: its encoded form and what surrounds it in memory.
    pub fn size(&self) -> usize {
        self.tail.capacity() + std::mem::size_of::<Message>()
    }

    /// Whether its frames are valid UTF-8.
    pub fn is_utf8(&self) -> bool {
        self.utf8
    }

    /// The octets of the body.
    pub fn body(&self) -> &[u8] {
        self.tail
            .get(self.body_at..self.tail.len().saturating_sub(1))
            .unwrap_or_default()
    }

    /// Its headers, unescaped: `destination`, the sender's, ours, `content-length`.
    pub fn headers(&self) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
        let escaped = self.version != Version::V1_0;
        let head = self.tail.get(..self.body_at).unwrap_or_default();
        let text = std::str::from_utf8(head).unwrap_or_default();
        text.split('\n').filter_map(move |line| {
            let (name, value) = line.split_once(':')?;
            Some(if escaped {
                (unescape(name), unescape(value))
            } else {
                (Cow::Borrowed(name), Cow::Borrowed(value))
            })
        })
    }

    /// The first header called `name`, unescaped.
    pub fn header(&self, name: &str) -> Option<Cow<'_, str>> {
        self.headers().find(|(n, _)| n == name).map(|(_, value)| value)
    }

    /// From the `destination` header to the NUL, for a client of `version`. With `safe`, a content-type that
    /// cannot be read stands in `x-content-type` instead (Spring's decoder ends the session over it).
    pub fn tail(&self, version: Version, safe: bool) -> &[u8] {
        let retyped = safe && !self.typed;
        if !retyped && (self.plain || version == self.version) {
            return &self.tail;
        }
        let variants = self.variants.get_or_init(Default::default);
        let index = version as usize * 2 + usize::from(retyped);
        match variants.get(index) {
            Some(variant) => variant.get_or_init(|| self.rewritten(version, retyped)),
            None => &self.tail,
        }
    }

    fn rewritten(&self, version: Version, retyped: bool) -> Box<[u8]> {
        let mut tail = Vec::with_capacity(self.tail.len() + 64);
        for (name, value) in self.headers() {
            if retyped && name == "content-type" {
                header(&mut tail, "content-type", "application/octet-stream", version);
                header(&mut tail, "x-content-type", &value, version);
            } else {
                header(&mut tail, &name, &value, version);
            }
        }
        tail.push(b'\n');
        tail.extend_from_slice(self.tail.get(self.body_at..).unwrap_or_default());
        tail.into_boxed_slice()
    }

    /// What a queue has to know of it while its octets are on disk.
    pub fn stub(&self) -> Stub {
        Stub {
            size: u32::try_from(self.size()).unwrap_or(u32::MAX),
            priority: self.properties.priority,
            expires: self.properties.expires,
            due: self.properties.due,
        }
    }

    /// Appends the octets from which [`Message::restore`] makes it again.
    pub fn store(&self, out: &mut Vec<u8>) {
        let flags = [self.plain, self.utf8, self.typed, self.properties.grouped];
        let flags = flags.iter().rev().fold(0, |flags, flag| flags << 1 | u8::from(*flag));
        out.extend_from_slice(&[flags, self.version as u8]);
        // Frames are limited to far less than 4 GiB.
        out.extend_from_slice(&(self.body_at as u32).to_le_bytes());
        out.extend_from_slice(&self.tail);
    }

    /// A persistent message made again from what [`Message::store`] gave; `None` if that is not what `octets` are.
    pub fn restore(number: u64, octets: &[u8], stub: &Stub, gauge: &Arc<Gauge>) -> Option<Message> {
        let (fixed, tail) = octets.split_at_checked(6)?;
        let [flags, version, place @ ..] = fixed else {
            return None;
        };
        let version = [Version::V1_0, Version::V1_1, Version::V1_2]
            .into_iter()
            .find(|known| *known as u8 == *version)?;
        let body_at = u32::from_le_bytes(place.try_into().ok()?) as usize;
        let (head, body) = tail.split_at_checked(body_at)?;
        if std::str::from_utf8(head).is_err() || !head.ends_with(b"\n\n") || body.last() != Some(&0) {
            return None;
        }
        let message = Message {
            number,
            publisher: 0,
            properties: Properties {
                priority: stub.priority,
                expires: stub.expires,
                due: stub.due,
                persistent: true,
                grouped: flags & 8 != 0,
                only: None,
            },
            tail: tail.to_vec(),
            version,
            plain: flags & 1 != 0,
            body_at,
            utf8: flags & 2 != 0,
            typed: flags & 4 != 0,
            variants: OnceLock::new(),
            gauge: Arc::clone(gauge),
        };
        Some(message.counted())
    }

    /// A copy that expires at `end`, in milliseconds since 1970.
    pub fn expiring(&self, end: u64) -> Message {
        Message {
            number: self.number,
            publisher: self.publisher,
            properties: Properties {
                expires: Some(end),
                ..self.properties.clone()
            },
            tail: self.tail.clone(),
            version: self.version,
            plain: self.plain,
            body_at: self.body_at,
            utf8: self.utf8,
            typed: self.typed,
            variants: OnceLock::new(),
            gauge: Arc::clone(&self.gauge),
        }
        .counted()
    }

    /// A copy for another destination, with `added` headers in place of those of the same names.
    pub fn forwarded(&self, number: u64, destination: &str, added: &[(&str, &str)]) -> Message {
        let version = self.version;
        let mut tail = Vec::with_capacity(self.tail.len() + 128);
        header(&mut tail, "destination", destination, version);
        for (name, value) in self.headers() {
            let ours = name == "destination" || name == "content-length";
            if !ours && !added.iter().any(|(n, _)| *n == name) {
                header(&mut tail, &name, &value, version);
            }
        }
        for (name, value) in added {
            header(&mut tail, name, value, version);
        }
        let body_at = end_head(&mut tail, self.body());
        tail.extend_from_slice(self.tail.get(self.body_at..).unwrap_or_default());
        Message {
            number,
            publisher: self.publisher,
            properties: Properties {
                expires: None,
                due: None,
                ..self.properties.clone()
            },
            tail,
            version,
            plain: false,
            body_at,
            utf8: self.utf8,
            typed: self.typed,
            variants: OnceLock::new(),
            gauge: Arc::clone(&self.gauge),
        }
        .counted()
    }
}

/// Appends the last header and the blank line; where the body begins.
fn end_head(tail: &mut Vec<u8>, body: &[u8]) -> usize {
    tail.extend_from_slice(b"content-length:");
    decimal(tail, body.len() as u64);
    tail.extend_from_slice(b"\n\n");
    tail.len()
}

/// Appends a header line in which nothing needs an escape.
fn line(tail: &mut Vec<u8>, name: &str, value: &str) {
    tail.extend_from_slice(name.as_bytes());
    tail.push(b':');
    tail.extend_from_slice(value.as_bytes());
    tail.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stomp::Line;

    fn message(version: Version, lines: &[(&'static str, &'static str)], destination: &str, body: &[u8]) -> Message {
        let headers = Headers::new(
            lines.iter().map(|(name, value)| Line { name, value }),
            version != Version::V1_0,
        );
        let draft = Draft {
            destination,
            headers: &headers,
            reply_to: None,
            body,
            version,
            properties: Properties::default(),
            publisher: 0,
        };
        Message::new(1, draft, &Arc::default())
    }

    fn tail(message: &Message, version: Version, safe: bool) -> String {
        String::from_utf8_lossy(message.tail(version, safe)).into_owned()
    }

    #[test]
    fn headers_are_carried_in_order_and_repeated_ones_too() {
        let lines = [
            ("a", "1"),
            ("receipt", "x"),
            ("a", "2"),
            ("message-id", "forged"),
            ("b", ""),
        ];
        let message = message(Version::V1_2, &lines, "/topic/t", b"hi");
        let expected = "destination:/topic/t\na:1\na:2\nb:\ncontent-length:2\n\nhi\0";
        assert_eq!(tail(&message, Version::V1_2, false), expected);
        assert_eq!(tail(&message, Version::V1_0, true), expected);
    }

    #[test]
    fn a_stored_message_comes_back_octet_for_octet() {
        for version in [Version::V1_0, Version::V1_1, Version::V1_2] {
            let original = message(
                version,
                &[("a", "1"), ("a", "b\\nc"), ("content-type", "x")],
                "/queue/ä:b",
                b"\xff\n",
            );
            let mut octets = Vec::new();
            original.store(&mut octets);
            let gauge = Arc::default();
            let restored = Message::restore(7, &octets, &original.stub(), &gauge).expect("what was stored");
            for reader in [Version::V1_0, Version::V1_1, Version::V1_2] {
                for safe in [false, true] {
                    assert_eq!(restored.tail(reader, safe), original.tail(reader, safe));
                }
            }
            assert_eq!(restored.body(), original.body());
            assert_eq!(restored.is_utf8(), original.is_utf8());
            assert_eq!(gauge.octets(), restored.size());
            for cut in 0..octets.len() {
                assert!(Message::restore(7, &octets[..cut], &original.stub(), &gauge).is_none());
            }
        }
    }

    #[test]
    fn each_version_reads_its_own_escapes() {
        let message = message(Version::V1_2, &[("k\\c1", "a\\nb\\\\c\\r")], "/topic/a:b", b"");
        assert_eq!(
            tail(&message, Version::V1_2, false),
            "destination:/topic/a\\cb\nk\\c1:a\\nb\\\\c\\r\ncontent-length:0\n\n\0"
        );
        let for_1_0 = tail(&message, Version::V1_0, false);
        assert!(for_1_0.starts_with("destination:/topic/a:b\n"), "{for_1_0:?}");
        assert!(for_1_0.contains("a b\\c \n"), "{for_1_0:?}");
    }

    #[test]
    fn a_raw_colon_goes_out_escaped() {
        let message = message(Version::V1_1, &[("url", "http://x")], "/topic/t", b"");
        assert!(tail(&message, Version::V1_1, false).contains("url:http\\c//x\n"));
        assert_eq!(message.header("url").as_deref(), Some("http://x"));
    }

    #[test]
    fn a_1_0_sender_s_backslash_reaches_1_2_escaped() {
        let message = message(Version::V1_0, &[("path", "c\\temp")], "/topic/t", b"");
        assert!(tail(&message, Version::V1_0, false).contains("path:c\\temp\n"));
        assert!(tail(&message, Version::V1_2, false).contains("path:c\\\\temp\n"));
    }

    #[test]
    fn an_unreadable_content_type_is_set_aside_for_spring() {
        let message = message(Version::V1_2, &[("content-type", "json")], "/topic/t", b"{}");
        assert!(tail(&message, Version::V1_2, false).contains("content-type:json\n"));
        let safe = tail(&message, Version::V1_2, true);
        assert!(
            safe.contains("content-type:application/octet-stream\nx-content-type:json\n"),
            "{safe:?}"
        );
    }

    #[test]
    fn the_gauge_counts_what_lives() {
        let gauge = Arc::new(Gauge::default());
        let headers = Headers::default();
        let draft = Draft {
            destination: "/queue/q",
            headers: &headers,
            reply_to: None,
            body: &[0xff; 100],
            version: Version::V1_2,
            properties: Properties::default(),
            publisher: 0,
        };
        let message = Message::new(1, draft, &gauge);
        assert!(!message.is_utf8());
        assert_eq!(gauge.octets(), message.size());
        let copy = message.forwarded(2, "/queue/DLQ.q", &[("original-destination", "/queue/q")]);
        assert_eq!(copy.body(), message.body());
        assert_eq!(copy.header("original-destination").as_deref(), Some("/queue/q"));
        drop(message);
        drop(copy);
        assert_eq!(gauge.octets(), 0);
    }
}
