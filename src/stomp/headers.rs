//! Header lines and their escapes ("Value Encoding", "Repeated Header Entries").
//!
//! Lines are kept as they came, still escaped: most are passed on to subscribers of the same version
//! unchanged, and only a value that somebody asks for, and that holds a backslash, is unescaped.

use std::borrow::Cow;

use smallvec::SmallVec;

use super::Version;

/// One header line as it stands on the wire, without its end of line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// Left of the first colon, escaped.
    pub name: &'a str,
    /// Right of it, escaped.
    pub value: &'a str,
}

/// The lines of one frame; so many that most frames need no memory of their own for them.
pub(super) type Lines<'a> = SmallVec<[Line<'a>; 10]>;

/// The header lines of one frame, in order, repeated ones included.
///
/// Every escape sequence in them has been checked by the decoder.
#[derive(Clone, Debug, Default)]
pub struct Headers<'a> {
    lines: Lines<'a>,
    /// Backslashes in `lines` begin escape sequences.
    escaped: bool,
    /// There is something to unescape: most frames have nothing, and need not be searched at each look.
    unescape: bool,
}

impl<'a> Headers<'a> {
    /// Headers made of `lines`. `escaped` says whether backslashes in them are escape sequences
    /// (they are not in CONNECT, STOMP, CONNECTED and in a 1.0 session).
    pub fn new(lines: impl IntoIterator<Item = Line<'a>>, escaped: bool) -> Self {
        let lines: Lines = lines.into_iter().collect();
        let backslashes = lines
            .iter()
            .any(|line| line.name.contains('\\') || line.value.contains('\\'));
        Headers::read(lines, escaped, backslashes)
    }

    /// As [`Headers::new`], from somebody who knows whether there is a backslash in `lines`.
    pub(super) fn read(lines: Lines<'a>, escaped: bool, backslashes: bool) -> Self {
        Headers {
            lines,
            escaped,
            unescape: escaped && backslashes,
        }
    }

    /// The value of the first header called `name`, unescaped. Of repeated headers the first counts.
    pub fn get(&self, name: &str) -> Option<Cow<'a, str>> {
        self.lines
            .iter()
            .find(|line| self.is_called(line, name))
            .map(|line| self.decoded(line.value))
    }

    /// Whether a header called `name` is there.
    pub fn has(&self, name: &str) -> bool {
        self.lines.iter().any(|line| self.is_called(line, name))
    }

    /// The lines as they came: names and values still escaped.
    pub fn lines(&self) -> &[Line<'a>] {
        &self.lines
    }

    /// Whether a backslash in [`Headers::lines`] begins an escape sequence.
    pub fn is_escaped(&self) -> bool {
        self.escaped
    }

    /// Names and values, unescaped, in order.
    pub fn iter(&self) -> impl Iterator<Item = (Cow<'a, str>, Cow<'a, str>)> + '_ {
        self.lines
            .iter()
            .map(|line| (self.decoded(line.name), self.decoded(line.value)))
    }

    fn is_called(&self, line: &Line<'a>, name: &str) -> bool {
        line.name == name
            || (self.unescape && line.name.contains('\\') && unescape(line.name) == name)
    }

    fn decoded(&self, text: &'a str) -> Cow<'a, str> {
        if self.unescape {
            unescape(text)
        } else {
            Cow::Borrowed(text)
        }
    }
}

/// `text` with its escape sequences replaced. An undefined sequence stays as it is: the decoder has refused those.
pub fn unescape(text: &str) -> Cow<'_, str> {
    if !text.contains('\\') {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        if c != '\\' {
            plain.push(c);
            continue;
        }
        match rest.next() {
            Some('n') => plain.push('\n'),
            Some('r') => plain.push('\r'),
            Some('c') => plain.push(':'),
            Some('\\') => plain.push('\\'),
            Some(other) => plain.extend(['\\', other]),
            None => plain.push('\\'),
        }
    }
    Cow::Owned(plain)
}

/// Appends `text`, a name or value, escaped for a peer that speaks `version`.
///
/// 1.0 has no escapes: what would break its grammar (LF, NUL aside) is replaced by a blank. 1.1 does not define
/// `\r`; it is sent all the same, because a bare CR is refused by more clients than the escape.
pub fn escape_into(out: &mut Vec<u8>, text: &str, version: Version) {
    if version == Version::V1_0 {
        out.extend(
            text.bytes()
                .map(|b| if b == b'\n' || b == b'\r' { b' ' } else { b }),
        );
        return;
    }
    for &byte in text.as_bytes() {
        match byte {
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b':' => out.extend_from_slice(b"\\c"),
            _ => out.push(byte),
        }
    }
}
