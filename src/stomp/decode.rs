//! Bytes to frames, however they are cut.
use super::Frame;

/// What a client may make the decoder hold. Each is checked while reading, before memory is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Octets of a whole frame: command, headers, body and NUL.
    pub frame: usize,
    /// Header lines of a frame.
    pub header_lines: usize,
    /// Octets of one header line without its end of line.
    pub header_line: usize,
    /// Octets of command and headers together.
    pub head: usize,
}

/// Why bytes are not a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodeError {}

/// Reads frames from a byte stream.
#[derive(Debug)]
pub struct Decoder {}

impl Decoder {
    /// The next frame of `input`, which is advanced past what was used.
    pub fn decode<'a>(&'a mut self, _input: &mut &'a [u8]) -> Result<Option<Frame<'a>>, DecodeError> {
        Ok(None)
    }
}
