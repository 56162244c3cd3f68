//! Every way in which bytes are not a frame.

use std::fmt;

use super::head::{self, Grammar};
use crate::stomp::Command;

/// Why bytes are not a frame, with what was known of the frame at fault.
///
/// It is the client's fault and it is final: a decoder that returned it never reads on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind}")]
pub struct DecodeError {
    /// What is wrong.
    pub kind: DecodeErrorKind,
    /// The command of the frame at fault, if its first line was read and names one.
    pub command: Option<Command>,
    /// The `receipt` header of the frame at fault, unescaped, if it stands before the fault,
    /// so that the ERROR can carry it as `receipt-id`. Never that of a CONNECT, which is given no receipt.
    pub receipt: Option<String>,
}

/// The ways of being wrong. Line numbers and columns begin at 1; line 1 is the command.
///
/// Text taken from the input is cut to 32 octets and printable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeErrorKind {
    /// What stands where a command belongs cannot be one: another protocol, or a body longer than its content-length.
    #[error("a frame begins with {seen:?}, which is not a STOMP command{}", Hint(.seen))]
    NotACommand {
        /// The line up to the first octet that no command has.
        seen: String,
    },
    /// The first line runs on without an end.
    #[error("the command line {seen:?}... is longer than {limit} octets")]
    CommandTooLong {
        /// How the line begins.
        seen: String,
        /// Octets a command may have.
        limit: usize,
    },
    /// A well-formed command that no version of the specification has. Commands are case-sensitive.
    #[error("there is no command {name:?}")]
    UnknownCommand {
        /// The command line.
        name: String,
    },
    /// A NUL before the blank line that ends the headers.
    #[error("line {line} holds a NUL: a blank line must end the headers before the frame ends")]
    NulInHead {
        /// Where.
        line: usize,
    },
    /// Command and header lines together are too long.
    #[error("command and headers are longer than {limit} octets")]
    HeadTooLong {
        /// Octets they may have, ends of line included.
        limit: usize,
    },
    /// One header line is too long.
    #[error("line {line}, the header {header:?}, is longer than {limit} octets")]
    HeaderLineTooLong {
        /// Where.
        line: usize,
        /// How the line begins, up to its colon.
        header: String,
        /// Octets a line may have, without its end.
        limit: usize,
    },
    /// Too many header lines.
    #[error("there are more than {limit} header lines")]
    TooManyHeaders {
        /// Header lines a frame may have.
        limit: usize,
    },
    /// The frame is too long, or its content-length says that it will be.
    #[error("{}", frame_too_large(*.limit, *.announced))]
    FrameTooLarge {
        /// Octets a frame may have: command, headers, body and NUL.
        limit: usize,
        /// The value of content-length, when that alone breaks the limit.
        announced: Option<u64>,
    },
    /// Command and headers must be UTF-8.
    #[error("line {line} is not UTF-8 at octet {column}")]
    NotUtf8 {
        /// Where.
        line: usize,
        /// The octet within the line.
        column: usize,
    },
    /// A header line without colon.
    #[error("line {line}, {seen:?}, has no colon: a header is name:value")]
    NoColon {
        /// Where.
        line: usize,
        /// How the line begins.
        seen: String,
    },
    /// A header line that begins with its colon.
    #[error("line {line}, {seen:?}, has no header name before its colon")]
    NoHeaderName {
        /// Where.
        line: usize,
        /// How the line begins.
        seen: String,
    },
    /// A backslash that begins no escape sequence of the version, or that ends a name or value.
    #[error(
        "the header {header:?} in line {line} has {sequence:?} at octet {column}, which is no escape sequence: \
         a backslash is written \\\\, a colon \\c, a line feed \\n, in 1.2 a carriage return \\r"
    )]
    BadEscape {
        /// Where.
        line: usize,
        /// The octet within the line.
        column: usize,
        /// The name of the header as it stands in the frame.
        header: String,
        /// The backslash and what follows it.
        sequence: String,
    },
    /// A carriage return that is not part of a line's end.
    #[error("line {line} holds a carriage return at octet {column} that no line feed follows")]
    StrayCarriageReturn {
        /// Where.
        line: usize,
        /// The octet within the line.
        column: usize,
    },
    /// A content-length that is no number of octets.
    #[error("content-length is {value:?}, which is not a number of octets")]
    BadContentLength {
        /// As it stands in the frame.
        value: String,
    },
    /// A body where the specification allows none.
    #[error("only SEND, MESSAGE and ERROR may have a body")]
    BodyNotAllowed,
    /// The octet after the body is not NUL.
    #[error(
        "content-length is {content_length}, but the octet after as many is 0x{found:02x} and not NUL: content-length counts \
         octets, not characters, and a text message that was split inside a character arrives with other octets than were counted"
    )]
    NoNulAfterBody {
        /// Octets announced.
        content_length: usize,
        /// What stands in the place of NUL.
        found: u8,
    },
}

impl DecodeError {
    /// `kind` happened in a frame that begins with the whole lines in `known`.
    #[cold]
    pub(super) fn of(kind: DecodeErrorKind, known: &[u8], grammar: Grammar) -> DecodeError {
        let command = head::command_of(known, grammar);
        let receipt = match command {
            Some(command) if command.is_connect() => None,
            _ => head::receipt_of(known, grammar),
        };
        DecodeError { kind, command, receipt }
    }
}

/// At most the first 32 octets of `octets` as printable text.
pub(super) fn printable(octets: &[u8]) -> String {
    let start = octets.get(..32).unwrap_or(octets);
    String::from_utf8_lossy(start)
        .chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

fn frame_too_large(limit: usize, announced: Option<u64>) -> String {
    match announced {
        Some(length) => {
            format!("content-length is {length}, and a whole frame may have {limit} octets")
        }
        None => format!("the frame is longer than {limit} octets"),
    }
}

/// What another protocol looks like from here.
struct Hint<'a>(&'a str);

impl fmt::Display for Hint<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const HTTP: [&str; 5] = ["GET ", "POST ", "HEAD ", "PUT ", "OPTIONS "];
        if HTTP.contains(&self.0) {
            f.write_str(": this looks like HTTP, and this listener speaks STOMP alone")
        } else {
            Ok(())
        }
    }
}
