//! A client's frames as tungstenite is shown them: long ones as fragments.
//!
//! tungstenite reserves room for a frame as soon as it is announced, and keeps room for the longest that it ever saw. Of
//! short frames it reads any number with one small buffer, and gathers of a message no more than what has come. So a
//! long data frame becomes fragments on its way (RFC 6455 section 5.4): one more header per piece. Nothing is judged here
//! but the length of messages, which is told before they come.

use std::io::{self, Cursor};

use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;

use crate::server::intake::Intake;

/// Longest payload that is shown in a frame of its own. A multiple of four, so that the mask fits every piece, and a
/// power of two, so that what is gathered of pieces fits a buffer that doubles.
pub(super) const PIECE: usize = 1 << 10;

/// tungstenite's buffer: a piece and its header. Every connection keeps it, and it is zero-filled at every read.
pub(super) const READ_BUFFER: usize = PIECE + 16;

/// A payload beyond this is shown apart from its header. tungstenite makes room for all of a payload once it knows the
/// header, beside what it has of it already: three times this must fit its buffer.
const SHORT: usize = READ_BUFFER / 3;

/// Two octets, a length of eight, and the mask.
const LONGEST_HEADER: usize = 14;

/// How an announced message that is too long ends [`Pieces::read`].
pub(super) const TOO_LONG: io::ErrorKind = io::ErrorKind::FileTooLarge;

/// Cuts frames.
#[derive(Debug)]
pub(super) struct Pieces {
    /// Octets of a header: as far as it came, or what is still to be shown of it.
    head: Vec<u8>,
    /// All of the header came.
    whole: bool,
    /// Octets of payload that belong to what is shown.
    left: u64,
    /// The frame behind that, if it is cut: its header and how much of its payload.
    behind: Option<(FrameHeader, u64)>,
    /// Octets of the message under way, as far as they are announced; before [`Pieces::agree`], of all messages.
    message: u64,
    limit: u64,
    agreed: bool,
}

impl Pieces {
    /// Until [`Pieces::agree`], all messages together may have `limit` octets; if the client sends fragments, five eighths
    /// of that, because they are gathered in a buffer that may have doubled just now.
    pub(super) fn new(limit: usize) -> Pieces {
        Pieces {
            head: Vec::with_capacity(LONGEST_HEADER),
            whole: false,
            left: 0,
            behind: None,
            message: 0,
            limit: limit as u64,
            agreed: false,
        }
    }

    /// From here on each message may have `limit` octets.
    pub(super) fn agree(&mut self, limit: usize) {
        self.limit = limit as u64;
        self.agreed = true;
    }

    /// Shows at most one frame or piece of a frame.
    ///
    /// # Errors
    /// `WouldBlock` when all of `intake` is shown; [`TOO_LONG`] when a message is announced that is longer than its limit.
    pub(super) fn read(&mut self, intake: &mut Intake, buffer: &mut [u8]) -> io::Result<usize> {
        if !self.whole && self.left == 0 {
            match self.behind.take() {
                Some((header, octets)) => self.cut(header, octets),
                None => self.begin(intake)?,
            }
        }
        let (mut shown, buffer) = (0, buffer);
        if self.whole {
            shown = copy(&self.head, buffer);
            self.head.drain(..shown);
            self.whole = !self.head.is_empty();
            if self.whole || self.left > SHORT as u64 {
                return Ok(shown);
            }
        }
        let payload = intake.rest();
        let payload = match usize::try_from(self.left) {
            Ok(left) => payload.get(..left).unwrap_or(payload),
            Err(_) => payload,
        };
        let octets = copy(payload, buffer.get_mut(shown..).unwrap_or_default());
        self.left -= octets as u64;
        shown += octets;
        if octets > 0 {
            intake.consume(octets);
        }
        match shown {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            _ => Ok(shown),
        }
    }

    /// Takes the header of the next frame, as far as it came.
    fn begin(&mut self, intake: &mut Intake) -> io::Result<()> {
        let have = self.head.len();
        let rest = intake.rest();
        let more = rest.get(..LONGEST_HEADER - have).unwrap_or(rest);
        self.head.extend_from_slice(more);
        let mut used = self.head.len();
        let mut cursor = Cursor::new(self.head.as_slice());
        match FrameHeader::parse(&mut cursor) {
            Ok(None) => {}
            Ok(Some((header, octets))) => {
                used = cursor.position() as usize;
                self.head.truncate(used);
                self.announced(header, octets)?;
            }
            // tungstenite will see the same.
            Err(_) => self.whole = true,
        }
        if used > have {
            intake.consume(used - have);
        }
        Ok(())
    }

    /// The header of a frame is there.
    fn announced(&mut self, header: FrameHeader, octets: u64) -> io::Result<()> {
        self.whole = true;
        self.left = octets;
        let OpCode::Data(data) = header.opcode else {
            return Ok(());
        };
        if self.agreed && data != Data::Continue {
            self.message = 0;
        }
        self.message = self.message.saturating_add(octets);
        let fragment = !header.is_final || data == Data::Continue;
        let limit = match fragment && !self.agreed {
            true => self.limit / 8 * 5,
            false => self.limit,
        };
        if self.message > limit {
            return Err(TOO_LONG.into());
        }
        if octets > PIECE as u64 {
            self.cut(header, octets);
        }
        Ok(())
    }

    /// Shows the first piece of a frame, or all of it if it is short.
    fn cut(&mut self, header: FrameHeader, octets: u64) {
        self.left = octets.min(PIECE as u64);
        let behind = octets - self.left;
        let piece = FrameHeader {
            is_final: header.is_final && behind == 0,
            ..header.clone()
        };
        self.head.clear();
        // Writing to memory cannot fail.
        self.whole = piece.format(self.left, &mut self.head).is_ok();
        self.behind = (behind > 0).then(|| {
            let opcode = OpCode::Data(Data::Continue);
            (FrameHeader { opcode, ..header }, behind)
        });
    }
}

/// Copies what fits.
fn copy(from: &[u8], to: &mut [u8]) -> usize {
    let octets = from.len().min(to.len());
    if let (Some(from), Some(to)) = (from.get(..octets), to.get_mut(..octets)) {
        to.copy_from_slice(from);
    }
    octets
}
