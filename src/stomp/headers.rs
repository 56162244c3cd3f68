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

/// The lines of one frame, so many inline that most frames need no memory of their own for them.
pub(super) type Lines<'a> = SmallVec<[Line<'a>; 6]>;

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
    /// No name and no value holds anything that a version would escape.
    plain: bool,
}

impl<'a> Headers<'a> {
    /// Headers made of `lines`. `escaped` says whether backslashes in them are escape sequences
    /// (they are not in CONNECT, STOMP, CONNECTED and in a 1.0 session).
    pub fn new(lines: impl IntoIterator<Item = Line<'a>>, escaped: bool) -> Self {
        let lines: Lines = lines.into_iter().collect();
        let plain = lines.iter().all(|line| is_plain(line.name) && is_plain(line.value));
        let backslashes = || {
            let mut texts = lines.iter().flat_map(|line| [line.name, line.value]);
            texts.any(|text| text.contains('\\'))
        };
        let unescape = escaped && !plain && backslashes();
        Headers {
            lines,
            escaped,
            unescape,
            plain,
        }
    }

    /// As [`Headers::new`], from somebody who has looked at all lines at once: whether there is a backslash in them, and
    /// whether nothing in them needs an escape.
    pub(super) fn read(lines: Lines<'a>, escaped: bool, backslashes: bool, plain: bool) -> Self {
        Headers {
            lines,
            escaped,
            unescape: escaped && backslashes,
            plain,
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

    /// Whether names and values read the same, escaped or not, in every version.
    pub fn is_plain(&self) -> bool {
        self.plain
    }

    /// Names and values, unescaped, in order.
    pub fn iter(&self) -> impl Iterator<Item = (Cow<'a, str>, Cow<'a, str>)> + '_ {
        self.lines
            .iter()
            .map(|line| (self.decoded(line.name), self.decoded(line.value)))
    }

    fn is_called(&self, line: &Line<'a>, name: &str) -> bool {
        line.name == name || (self.unescape && line.name.contains('\\') && unescape(line.name) == name)
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

/// Whether `text`, a name or value, stands in a frame of every version as it is.
pub fn is_plain(text: &str) -> bool {
    !holds_special(text.as_bytes(), Version::V1_2)
}

/// Without an early exit, 32 octets at a time: most names and values hold nothing special.
fn holds_special(octets: &[u8], version: Version) -> bool {
    octets
        .iter()
        .fold(false, |found, &octet| found | is_special(octet, version))
}

/// Appends `value`, escaped for a peer that speaks `version`.
///
/// 1.0 has no escapes: a line end, which would break its grammar, is replaced by a blank. So is NUL in every version, since none can
/// write it. 1.1 does not define `\r`; it is sent all the same, because a bare CR is refused by more clients than the escape.
pub fn escape_into(out: &mut Vec<u8>, value: &str, version: Version) {
    let mut rest = value.as_bytes();
    if !holds_special(rest, version) {
        out.extend_from_slice(rest);
        return;
    }
    while let Some(at) = rest.iter().position(|&octet| is_special(octet, version)) {
        let (plain, from) = rest.split_at_checked(at).unwrap_or((rest, &[]));
        out.extend_from_slice(plain);
        let Some((&special, after)) = from.split_first() else {
            return;
        };
        out.extend_from_slice(escaped(special, version));
        rest = after;
    }
    out.extend_from_slice(rest);
}

/// Appends `name`, escaped for a peer that speaks `version`.
///
/// As [`escape_into`], and in 1.0 a colon, which would end the name there, is replaced by a blank as well. A name that is empty cannot
/// be written in any version, nor in 1.0 one of blanks alone, which its peers may trim; the caller leaves those out.
pub fn escape_name_into(out: &mut Vec<u8>, name: &str, version: Version) {
    let start = out.len();
    escape_into(out, name, version);
    if version == Version::V1_0 {
        for octet in out.iter_mut().skip(start).filter(|octet| **octet == b':') {
            *octet = b' ';
        }
    }
}

/// What cannot stand in a value of `version` as it is.
fn is_special(octet: u8, version: Version) -> bool {
    match octet {
        b'\n' | b'\r' | 0 => true,
        b'\\' | b':' => version > Version::V1_0,
        _ => false,
    }
}

/// What is written instead of `special`.
fn escaped(special: u8, version: Version) -> &'static [u8] {
    match special {
        0 => b" ",
        _ if version == Version::V1_0 => b" ",
        b'\n' => b"\\n",
        b'\r' => b"\\r",
        b':' => b"\\c",
        _ => b"\\\\",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn escaped_value(value: &str, version: Version) -> String {
        let mut out = b">".to_vec();
        escape_into(&mut out, value, version);
        String::from_utf8(out).unwrap()
    }

    fn escaped_name(name: &str, version: Version) -> String {
        let mut out = b":>".to_vec();
        escape_name_into(&mut out, name, version);
        String::from_utf8(out).unwrap()
    }

    fn line<'a>(name: &'a str, value: &'a str) -> Line<'a> {
        Line { name, value }
    }

    #[test]
    fn row_010_values_and_names_are_escaped_by_version() {
        let text = "a:b\\c\nd\re한";
        for version in [Version::V1_1, Version::V1_2] {
            assert_eq!(escaped_value(text, version), ">a\\cb\\\\c\\nd\\re한");
            assert_eq!(escaped_name(text, version), ":>a\\cb\\\\c\\nd\\re한");
        }
        for plain in ["", "plain", "http//x", " blanks "] {
            assert_eq!(escaped_value(plain, Version::V1_2), format!(">{plain}"));
        }
        assert_eq!(escaped_value("::", Version::V1_2), ">\\c\\c");
    }

    #[test]
    fn row_012_what_1_0_cannot_write_becomes_a_blank() {
        assert_eq!(escaped_value("a:b\\c\nd\re", Version::V1_0), ">a:b\\c d e");
        assert_eq!(
            escaped_name("a:b\\c\nd\re:", Version::V1_0),
            ":>a b\\c d e ",
            "what was there before stays"
        );
    }

    #[test]
    fn a_nul_from_an_embedding_program_cannot_end_the_frame() {
        for version in [Version::V1_0, Version::V1_1, Version::V1_2] {
            assert_eq!(escaped_value("a\0b", version), ">a b");
            assert_eq!(escaped_name("a\0b", version), ":>a b");
        }
    }

    #[test]
    fn unescape_undoes_escape() {
        for text in ["", "\\", "\\\\", "\\n", "a:b\\c\nd\r:", "한\\글"] {
            for version in [Version::V1_1, Version::V1_2] {
                let escaped = escaped_value(text, version);
                assert_eq!(unescape(&escaped), format!(">{text}"));
            }
        }
        assert_eq!(unescape("a\\tb\\"), "a\\tb\\", "undefined sequences stay");
    }

    #[test]
    fn a_value_without_backslash_is_borrowed() {
        assert!(matches!(unescape("plain"), Cow::Borrowed("plain")));
        let headers = Headers::new([line("a", "b")], true);
        assert!(matches!(headers.get("a"), Some(Cow::Borrowed("b"))));
    }

    #[test]
    fn names_are_found_as_they_read_unescaped() {
        let lines = [line("a\\cb", "\\n"), line("a:b", "second"), line("A", "")];
        let headers = Headers::new(lines, true);
        assert_eq!(headers.get("a:b").as_deref(), Some("\n"));
        assert_eq!(headers.get("A").as_deref(), Some(""));
        assert!(headers.has("a:b") && !headers.has("a"));
        let raw = Headers::new(lines, false);
        assert_eq!(raw.get("a:b").as_deref(), Some("second"));
        assert_eq!(raw.get("a\\cb").as_deref(), Some("\\n"));
        assert_eq!((raw.is_escaped(), headers.is_escaped()), (false, true));
        assert_eq!(raw.lines(), lines);
    }
}
