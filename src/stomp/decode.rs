//! Bytes to frames, however they are cut ("Augmented BNF", "Body", "Size Limits").
//!
//! A scanner finds the ends of lines as octets come and checks the limits; the finished head is parsed; the body is taken by
//! content-length or up to the first NUL. A frame that lies whole in what was received is lent from there without a copy.
//! Only an unfinished one is gathered in the decoder, and memory for it grows with what came, never with what was announced.

mod error;
mod head;
mod scan;
#[cfg(test)]
mod tests;

use memchr::memchr;

pub use error::{DecodeError, DecodeErrorKind};

use self::head::{Grammar, Head};
use self::scan::Scan;
use super::{Command, Frame, Version};

/// What a client may make the decoder hold. Each is checked while reading, before memory is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Octets of a whole frame: command, headers, body and NUL.
    pub frame: usize,
    /// Header lines of a frame.
    pub header_lines: usize,
    /// Octets of one header line without its end of line.
    pub header_line: usize,
    /// Octets of command and headers together, with the ends of their lines and the blank line.
    pub head: usize,
}

/// Memory that a decoder keeps between frames; what grew beyond it is given back.
const KEPT: usize = 4 * 1024;

/// The least memory that is taken for an unfinished frame.
const SMALLEST: usize = 128;

/// Reads frames from a byte stream.
///
/// After a [`DecodeError`] it answers with the same error for ever: nothing behind a malformed frame is ever taken for a frame.
#[derive(Debug)]
pub struct Decoder {
    rules: Rules,
    place: Place,
    /// The frame at hand from its first octet on, when it did not come in one piece.
    held: Vec<u8>,
    /// The frame in `held` was handed out, and the next call may forget it.
    lent: bool,
    failed: Option<Box<DecodeError>>,
    /// Octets looked at, kept or moved: what the time of decoding is proportional to.
    #[cfg(test)]
    work: usize,
}

/// By what the next frame is read.
#[derive(Clone, Copy, Debug)]
struct Rules {
    limits: Limits,
    grammar: Grammar,
}

/// Where in the stream the decoder stands.
#[derive(Clone, Copy, Debug)]
enum Place {
    /// Before a frame; `carriage_return` came, and its line feed has not.
    Between { carriage_return: bool },
    /// Within command and headers.
    Head(Scan),
    /// Behind the blank line.
    Body(Body),
}

/// Where a frame's body begins and ends.
#[derive(Clone, Copy, Debug)]
struct Body {
    start: usize,
    end: End,
}

#[derive(Clone, Copy, Debug)]
enum End {
    /// This many octets, then NUL.
    Counted(usize),
    /// At the first NUL.
    Nul,
    /// NUL must follow at once: the command allows no body.
    Empty,
}

/// One whole frame.
#[expect(
    clippy::large_enum_variant,
    reason = "it is moved once, and a box would be an allocation a frame"
)]
enum Whole<'a> {
    /// It was read from the input alone.
    Received(Frame<'a>),
    /// It lies in [`Decoder::held`].
    Held(Body),
}

const BETWEEN: Place = Place::Between { carriage_return: false };

impl Decoder {
    /// A decoder for what comes before CONNECT is answered: CONNECT and STOMP are never unescaped, all else is read by the rules of 1.2.
    pub fn new(limits: Limits) -> Decoder {
        Decoder {
            rules: Rules {
                limits,
                grammar: Grammar::of(Version::V1_2, false),
            },
            place: BETWEEN,
            held: Vec::new(),
            lent: false,
            failed: None,
            #[cfg(test)]
            work: 0,
        }
    }

    /// Reads on by the rules of `version` and with `limits`, from the next frame on.
    ///
    /// `strict` ends the leniency towards clients in use: `\r` as an escape in 1.1, CR LF as an end of line in 1.0 and 1.1, and blanks
    /// around the number in content-length.
    pub fn agree(&mut self, version: Version, limits: Limits, strict: bool) {
        self.rules = Rules {
            limits,
            grammar: Grammar::of(version, strict),
        };
    }

    /// Octets held of a frame whose end has not come.
    pub fn held(&self) -> usize {
        if self.lent {
            0
        } else {
            self.held.len()
        }
    }

    /// Gives back the memory of the frame that was handed out last. The next call of [`Decoder::decode`] does so too, but a
    /// client may be silent for long after a large frame.
    pub fn release(&mut self) {
        if self.lent {
            self.forget();
        }
    }

    /// The next frame of `input`, which is advanced past what was used. `None` means that all of it was used.
    ///
    /// Ends of line between frames are skipped. The frame borrows from `input` or from the decoder and must be gone before the next call.
    ///
    /// # Errors
    /// What stands there is no frame, or it breaks a limit; `input` is then of no more use.
    pub fn decode<'a, 'input: 'a>(&'a mut self, input: &mut &'input [u8]) -> Result<Option<Frame<'a>>, DecodeError> {
        if let Some(error) = &self.failed {
            return Err(DecodeError::clone(error));
        }
        self.release();
        match self.advance(input) {
            Ok(None) => Ok(None),
            Ok(Some(Whole::Received(frame))) => Ok(Some(frame)),
            Ok(Some(Whole::Held(body))) => self.lend(body).map(Some),
            Err(error) => {
                self.forget();
                self.failed = Some(Box::new(error.clone()));
                Err(error)
            }
        }
    }

    fn advance<'a, 'input: 'a>(&mut self, input: &mut &'input [u8]) -> Result<Option<Whole<'a>>, DecodeError> {
        if let Place::Between { carriage_return } = self.place {
            let carriage_return = self.rules.skip_line_ends(input, carriage_return)?;
            self.place = Place::Between { carriage_return };
            if input.is_empty() {
                return Ok(None);
            }
            return self.read_received(input);
        }
        self.read_held(input)
    }

    /// A frame that begins with `input`: lent from there if it is all there, kept if not.
    fn read_received<'a, 'input: 'a>(&mut self, input: &mut &'input [u8]) -> Result<Option<Whole<'a>>, DecodeError> {
        let octets: &'input [u8] = input;
        let mut scan = Scan::default();
        let found = self.rules.search_head(&mut scan, octets)?;
        self.count(scan.searched());
        let Some(start) = found else {
            self.place = Place::Head(scan);
            self.keep(input, octets.len(), self.rules.limits.frame);
            return Ok(None);
        };
        // Frames are invariant in their lifetime: it must be the shorter one from the beginning.
        let (lines, after): (&'a [u8], &'a [u8]) = split(octets, start);
        let (Head { command, headers }, end) = self.rules.read_head(lines)?;
        let body = Body { start, end };
        let Some(length) = self.rules.find_end(body, octets, start)? else {
            self.place = Place::Body(body);
            self.keep(input, octets.len(), self.rules.longest(body));
            return Ok(None);
        };
        self.count(length - start);
        *input = split(octets, length).1;
        let body = split(after, length - start - 1).0;
        let body = self.rules.shown(command, body);
        Ok(Some(Whole::Received(Frame { command, headers, body })))
    }

    /// The frame in `held`, continued by `input`.
    fn read_held<'a, 'input: 'a>(&mut self, input: &mut &'input [u8]) -> Result<Option<Whole<'a>>, DecodeError> {
        while let Place::Head(mut scan) = self.place {
            if input.is_empty() {
                return Ok(None);
            }
            // One octet past the limit is enough to see that it is broken.
            let limit = self.rules.limits.head.min(self.rules.limits.frame);
            let room = limit.saturating_add(1).saturating_sub(self.held.len());
            self.keep(input, scan::one_line(input).min(room.max(1)), self.rules.limits.frame);
            let before = scan.searched();
            let found = self.rules.search_head(&mut scan, &self.held)?;
            self.count(scan.searched() - before);
            self.place = match found {
                None => Place::Head(scan),
                Some(start) => {
                    let (_, end) = self.rules.read_head(&self.held)?;
                    self.count(start);
                    Place::Body(Body { start, end })
                }
            };
        }
        let Place::Body(body) = self.place else {
            return Ok(None);
        };
        let searched = self.held.len();
        self.keep(
            input,
            self.rules.wanted(body, searched, input),
            self.rules.longest(body),
        );
        self.count(self.held.len() - searched);
        match self.rules.find_end(body, &self.held, searched)? {
            None => Ok(None),
            Some(_) => Ok(Some(Whole::Held(body))),
        }
    }

    /// Moves the first `count` octets of `input` behind what is held of a frame that will have at most `longest` octets.
    fn keep(&mut self, input: &mut &[u8], count: usize, longest: usize) {
        let (octets, rest) = split(input, count);
        *input = rest;
        let needed = self.held.len() + octets.len();
        if needed > self.held.capacity() {
            // Doubling keeps the cost of moving linear; a frame of known length ends at it.
            let wanted = (self.held.capacity() * 2).max(SMALLEST).min(longest).max(needed);
            self.held.reserve_exact(wanted - self.held.len());
            self.count(self.held.len());
        }
        self.held.extend_from_slice(octets);
        self.count(octets.len());
    }

    /// Lends the frame that `held` holds whole.
    fn lend(&mut self, body: Body) -> Result<Frame<'_>, DecodeError> {
        self.place = BETWEEN;
        self.lent = true;
        self.count(body.start);
        let (lines, after) = split(&self.held, body.start);
        // It has been read once, to find the body; headers that borrow from a growing buffer could not be kept.
        let (Head { command, headers }, _) = self.rules.read_head(lines)?;
        let body = after.strip_suffix(&[0]).unwrap_or(after);
        let body = self.rules.shown(command, body);
        Ok(Frame { command, headers, body })
    }

    /// Makes room for the next frame, and gives back what a large one took.
    fn forget(&mut self) {
        self.lent = false;
        self.held.clear();
        self.held.shrink_to(KEPT);
    }

    /// Octets of memory taken for an unfinished frame.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.held.capacity()
    }

    #[cfg(test)]
    fn count(&mut self, octets: usize) {
        self.work += octets;
    }

    #[cfg(not(test))]
    #[inline]
    fn count(&mut self, _: usize) {}
}

impl Rules {
    /// Skips heart-beats and the ends of line that may follow a frame. Returns whether `input` ended between CR and LF.
    fn skip_line_ends(&self, input: &mut &[u8], mut carriage_return: bool) -> Result<bool, DecodeError> {
        while let Some((&octet, rest)) = input.split_first() {
            match octet {
                b'\n' => carriage_return = false,
                b'\r' if !carriage_return && !self.grammar.bare_lf => carriage_return = true,
                _ if carriage_return => {
                    let seen = error::printable(b"\r");
                    return Err(DecodeError::of(
                        DecodeErrorKind::NotACommand { seen },
                        &[],
                        self.grammar,
                    ));
                }
                _ => break,
            }
            *input = rest;
        }
        Ok(carriage_return)
    }

    /// The length of the head that `octets` begins with, if it is whole.
    fn search_head(&self, scan: &mut Scan, octets: &[u8]) -> Result<Option<usize>, DecodeError> {
        scan.search(octets, &self.limits, self.grammar.bare_lf)
            .map_err(|kind| DecodeError::of(kind, split(octets, scan.whole_lines()).0, self.grammar))
    }

    /// Reads `lines`, a whole head, and what it says of the body.
    fn read_head<'a>(&self, lines: &'a [u8]) -> Result<(Head<'a>, End), DecodeError> {
        head::parse(lines, self.grammar)
            .and_then(|head| {
                let end = self.body_end(&head, lines.len())?;
                Ok((head, end))
            })
            .map_err(|kind| DecodeError::of(kind, lines, self.grammar))
    }

    /// How the body behind a head of `start` octets ends. Nothing is kept for a length that cannot be.
    fn body_end(&self, head: &Head<'_>, start: usize) -> Result<End, DecodeErrorKind> {
        let may_have_body = head.command.may_have_body() || self.ignores_body(head.command);
        let Some(announced) = head.headers.get("content-length") else {
            return Ok(if may_have_body { End::Nul } else { End::Empty });
        };
        let length = head::content_length(&announced, self.grammar)?;
        if length > 0 && !may_have_body {
            return Err(DecodeErrorKind::BodyNotAllowed);
        }
        usize::try_from(length)
            .ok()
            .filter(|length| length.saturating_add(start).saturating_add(1) <= self.limits.frame)
            .map(End::Counted)
            .ok_or(DecodeErrorKind::FrameTooLarge {
                limit: self.limits.frame,
                announced: Some(length),
            })
    }

    /// The length of the frame in `octets`, if its end is there. What lies before `searched` was searched before.
    fn find_end(&self, body: Body, octets: &[u8], searched: usize) -> Result<Option<usize>, DecodeError> {
        let Body { start, end } = body;
        let kind = match end {
            End::Counted(length) => match octets.get(start + length) {
                None => return Ok(None),
                Some(0) => return Ok(Some(start + length + 1)),
                Some(&found) => DecodeErrorKind::NoNulAfterBody {
                    content_length: length,
                    found,
                },
            },
            End::Nul => {
                let legal = split(octets, self.limits.frame).0;
                match memchr(0, legal.get(searched..).unwrap_or_default()) {
                    Some(distance) => return Ok(Some(searched + distance + 1)),
                    None if octets.len() < self.limits.frame => return Ok(None),
                    None => DecodeErrorKind::FrameTooLarge {
                        limit: self.limits.frame,
                        announced: None,
                    },
                }
            }
            End::Empty => match octets.get(start) {
                None => return Ok(None),
                Some(0) if start < self.limits.frame => return Ok(Some(start + 1)),
                Some(0) => DecodeErrorKind::FrameTooLarge {
                    limit: self.limits.frame,
                    announced: None,
                },
                Some(_) => DecodeErrorKind::BodyNotAllowed,
            },
        };
        Err(DecodeError::of(kind, split(octets, start).0, self.grammar))
    }

    /// Octets of `input` that belong to a frame of which `held` octets are held and whose head is whole.
    fn wanted(&self, body: Body, held: usize, input: &[u8]) -> usize {
        match body.end {
            End::Counted(length) => body.start + length + 1 - held,
            End::Nul => scan::to_nul(input).min(self.limits.frame.saturating_sub(held)),
            End::Empty => 1,
        }
    }

    /// Octets that a frame with such a body may have.
    fn longest(&self, body: Body) -> usize {
        match body.end {
            End::Counted(length) => body.start + length + 1,
            End::Nul => self.limits.frame,
            End::Empty => body.start + 1,
        }
    }

    /// Whether the body of such a frame is read and dropped.
    fn ignores_body(&self, command: Command) -> bool {
        command == Command::Subscribe && self.grammar.subscribe_body
    }

    /// The body as the session gets to see it.
    fn shown<'a>(&self, command: Command, body: &'a [u8]) -> &'a [u8] {
        if self.ignores_body(command) {
            &[]
        } else {
            body
        }
    }
}

/// `octets` cut at `at`, or at their end when there are fewer.
fn split(octets: &[u8], at: usize) -> (&[u8], &[u8]) {
    octets.split_at_checked(at).unwrap_or((octets, &[]))
}
