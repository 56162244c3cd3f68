//! A frame on its way to the other side: header lines pass as they came, some changed, some left out, some added.

use std::borrow::Cow;
use std::collections::VecDeque;

use crate::stomp::headers::{escape_into, escape_name_into, unescape};
use crate::stomp::{encode, Command, Frame, Headers, Line, Version};

/// What becomes of one header line.
pub(super) enum Edit<'e> {
    /// It passes.
    Keep,
    /// It does not.
    Drop,
    /// It passes with another value, unescaped.
    Set(Cow<'e, str>),
}

/// Writes command and headers, up to the blank line, for a peer that speaks `version`.
///
/// Both sides of a session speak the same version, so lines are copied as they came; only what was read by another
/// version's rules is unescaped and escaped again. A content-length is the body's, whatever blanks the client wrote.
pub(super) fn head<'e>(
    frame: &Frame<'_>,
    version: Version,
    mut edit: impl FnMut(&Line<'_>) -> Edit<'e>,
    added: &[(&str, &str)],
) -> Vec<u8> {
    let escapes = version > Version::V1_0 && !frame.command.is_connect();
    let escaped = frame.headers.is_escaped();
    let mut out = Vec::with_capacity(64 + frame.headers.lines().len() * 48);
    out.extend_from_slice(frame.command.as_str().as_bytes());
    out.push(b'\n');
    let mut counted = false;
    for line in frame.headers.lines() {
        if line.name == "content-length" {
            if !counted {
                out.extend_from_slice(b"content-length:");
                encode::decimal(&mut out, frame.body.len() as u64);
                out.push(b'\n');
            }
            counted = true;
            continue;
        }
        match edit(line) {
            Edit::Drop => {}
            Edit::Keep if escaped == escapes => {
                raw(&mut out, line.name);
                out.push(b':');
                raw(&mut out, line.value);
                out.push(b'\n');
            }
            Edit::Keep => {
                let plain = |text| if escaped { unescape(text) } else { Cow::Borrowed(text) };
                header(&mut out, &plain(line.name), &plain(line.value), escapes, version);
            }
            Edit::Set(value) => header(&mut out, line.name, &value, escapes, version),
        }
    }
    for (name, value) in added {
        header(&mut out, name, value, escapes, version);
    }
    out.push(b'\n');
    out
}

fn raw(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
}

/// One line. CONNECT and CONNECTED are never escaped: what would end a line there is left out.
fn header(out: &mut Vec<u8>, name: &str, value: &str, escapes: bool, version: Version) {
    if escapes || version == Version::V1_0 {
        escape_name_into(out, name, version);
        out.push(b':');
        escape_into(out, value, version);
    } else {
        for part in [name, ":", value] {
            out.extend(part.bytes().filter(|octet| !matches!(octet, b'\n' | b'\r' | 0)));
        }
    }
    out.push(b'\n');
}

/// A frame of ours to the broker behind, without a body.
pub(super) fn plain(command: Command, headers: &[(&str, &str)], version: Version) -> Vec<u8> {
    let frame = Frame {
        command,
        headers: Headers::default(),
        body: &[],
    };
    let mut out = head(&frame, version, |_| Edit::Keep, headers);
    out.push(0);
    out
}

/// A frame that is kept for later, as it came.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    pub(super) command: Command,
    lines: Vec<(Box<str>, Box<str>)>,
    escaped: bool,
    body: Box<[u8]>,
}

/// Octets that a kept frame or line counts for besides its text.
const OVERHEAD: usize = 64;

impl Kept {
    pub(super) fn of(frame: &Frame<'_>) -> Kept {
        Kept {
            command: frame.command,
            lines: frame
                .headers
                .lines()
                .iter()
                .map(|line| (line.name.into(), line.value.into()))
                .collect(),
            escaped: frame.headers.is_escaped(),
            body: frame.body.into(),
        }
    }

    /// Octets of memory that it takes.
    pub(super) fn size(&self) -> usize {
        let lines = self
            .lines
            .iter()
            .map(|(name, value)| name.len() + value.len() + OVERHEAD);
        OVERHEAD + lines.sum::<usize>() + self.body.len()
    }

    pub(super) fn body(&self) -> &[u8] {
        &self.body
    }

    pub(super) fn frame(&self) -> Frame<'_> {
        let lines = self.lines.iter().map(|(name, value)| Line { name, value });
        Frame {
            command: self.command,
            headers: Headers::new(lines, self.escaped),
            body: &self.body,
        }
    }
}

/// Frames that wait for the broker, in order.
#[derive(Debug, Default)]
pub(super) struct Pending {
    frames: VecDeque<Kept>,
    bytes: usize,
}

impl Pending {
    pub(super) fn push(&mut self, frame: Kept) {
        self.bytes += frame.size();
        self.frames.push_back(frame);
    }

    pub(super) fn pop(&mut self) -> Option<Kept> {
        let frame = self.frames.pop_front()?;
        self.bytes -= frame.size();
        Some(frame)
    }

    pub(super) fn frames(&self) -> usize {
        self.frames.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }
}
