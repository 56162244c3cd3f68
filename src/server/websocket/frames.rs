//! Reads the frames of a client (RFC 6455 section 5), however they are cut.
//!
//! Pure, and without memory of its own but for headers and control frames: the payload is unmasked where it lies and shown
//! piece by piece, so that nothing has to be held, reserved or limited here. The limits are those of STOMP frames.

use std::ops::Range;

/// Text or binary: the two kinds of data message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) enum Kind {
    Text = 0x1,
    Binary = 0x2,
}

pub(super) const FINAL: u8 = 0x80;
pub(super) const CLOSE: u8 = 0x8;
pub(super) const PING: u8 = 0x9;
pub(super) const PONG: u8 = 0xA;

const RESERVED: u8 = 0x70;
const OPCODE: u8 = 0x0F;
const MASKED: u8 = 0x80;
const LENGTH: u8 = 0x7F;
/// Two octets, a length of eight, and the mask.
const LONGEST_HEADER: usize = 14;
/// Octets of a control frame's payload ("5.5. Control Frames").
const LONGEST_CONTROL: usize = 125;

/// What stands next in the octets that were shown to [`Reader::read`].
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// Nothing whole: all octets are used.
    Nothing,
    /// A piece of a message, unmasked.
    Piece {
        kind: Kind,
        /// Where it lies in the octets; possibly empty.
        place: Range<usize>,
        /// It ends the message.
        last: bool,
    },
    /// See [`Reader::control`] for its payload.
    Ping,
    Pong,
    /// See [`Reader::control`] for its payload, which is valid.
    Close,
}

/// How a client broke the rules: a close code of section 7.4.1, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Breach {
    pub(super) code: u16,
    pub(super) reason: &'static str,
}

const fn breach(reason: &'static str) -> Breach {
    Breach { code: 1002, reason }
}

const NOT_TEXT: Breach = Breach {
    code: 1007,
    reason: "a text message is not UTF-8",
};

/// Reads frames.
#[derive(Debug)]
pub(super) struct Reader {
    place: Place,
    /// The message under way.
    message: Option<Kind>,
    /// The character at its end that is not whole.
    character: Character,
    /// A header that is cut, as far as it came.
    header: Held<LONGEST_HEADER>,
    /// The payload of a control frame.
    control: Held<LONGEST_CONTROL>,
}

/// A few octets.
#[derive(Debug)]
struct Held<const N: usize> {
    octets: [u8; N],
    have: usize,
}

impl<const N: usize> Held<N> {
    const EMPTY: Held<N> = Held {
        octets: [0; N],
        have: 0,
    };

    /// Appends `more`, which there is room for.
    fn push(&mut self, more: &[u8]) {
        if let Some(place) = self.octets.get_mut(self.have..self.have + more.len()) {
            place.copy_from_slice(more);
            self.have += more.len();
        }
    }

    fn get(&self) -> &[u8] {
        self.octets.get(..self.have).unwrap_or_default()
    }
}

#[derive(Clone, Copy, Debug)]
enum Place {
    Header,
    Payload(Payload),
}

/// A frame after its header.
#[derive(Clone, Copy, Debug)]
struct Payload {
    opcode: u8,
    last: bool,
    /// The mask, turned so that its first octet is for the next one of the payload.
    mask: [u8; 4],
    left: u64,
}

impl Reader {
    pub(super) fn new() -> Reader {
        Reader {
            place: Place::Header,
            message: None,
            character: Character(Held::EMPTY),
            header: Held::EMPTY,
            control: Held::EMPTY,
        }
    }

    /// The payload of the control frame that was seen last.
    pub(super) fn control(&self) -> &[u8] {
        self.control.get()
    }

    /// Reads on in `octets`: how many were used, and what they were.
    ///
    /// # Errors
    /// The client broke the rules; what follows cannot be read.
    pub(super) fn read(&mut self, octets: &mut [u8]) -> Result<(usize, Seen), Breach> {
        let mut used = 0;
        loop {
            let rest = octets.get_mut(used..).unwrap_or_default();
            match self.place {
                Place::Header => match self.read_header(rest)? {
                    (more, Some(payload)) => {
                        used += more;
                        self.place = Place::Payload(payload);
                        self.control.have = 0;
                    }
                    (more, None) => return Ok((used + more, Seen::Nothing)),
                },
                Place::Payload(payload) => {
                    let more = usize::try_from(payload.left).map_or(rest.len(), |left| left.min(rest.len()));
                    if more == 0 && payload.left > 0 {
                        return Ok((used, Seen::Nothing));
                    }
                    let piece = rest.get_mut(..more).unwrap_or_default();
                    unmask(piece, payload.mask);
                    let after = Payload {
                        mask: turned(payload.mask, more),
                        left: payload.left - more as u64,
                        ..payload
                    };
                    self.place = match after.left {
                        0 => Place::Header,
                        _ => Place::Payload(after),
                    };
                    let place = used..used + more;
                    used += more;
                    if let Some(seen) = self.see(after, piece, place)? {
                        return Ok((used, seen));
                    }
                }
            }
        }
    }

    /// Takes a header from the front of `rest`; the octets used, and the header if it is whole.
    fn read_header(&mut self, rest: &[u8]) -> Result<(usize, Option<Payload>), Breach> {
        if self.header.have == 0 {
            if let Some((header, length)) = self.header_in(rest)? {
                return Ok((length, Some(header)));
            }
        }
        // It is cut: gathered octet by octet.
        for (index, octet) in rest.iter().enumerate() {
            self.header.push(std::slice::from_ref(octet));
            if let Some((header, _)) = self.header_in(self.header.get())? {
                self.header.have = 0;
                return Ok((index + 1, Some(header)));
            }
        }
        Ok((rest.len(), None))
    }

    /// The header at the front of `octets` and its length, if it is whole.
    fn header_in(&self, octets: &[u8]) -> Result<Option<(Payload, usize)>, Breach> {
        let &[first, second, ref more @ ..] = octets else {
            return Ok(None);
        };
        self.check(first, second)?;
        let (left, more) = match (second & LENGTH, more) {
            (126, &[a, b, ref more @ ..]) => (u64::from(u16::from_be_bytes([a, b])), more),
            (127, &[a, b, c, d, e, f, g, h, ref more @ ..]) => (u64::from_be_bytes([a, b, c, d, e, f, g, h]), more),
            (126 | 127, _) => return Ok(None),
            (short, more) => (u64::from(short), more),
        };
        if left > u64::MAX >> 1 {
            return Err(breach("the length of a frame has its highest bit set"));
        }
        let &[a, b, c, d, ref more @ ..] = more else {
            return Ok(None);
        };
        let payload = Payload {
            opcode: first & OPCODE,
            last: first & FINAL != 0,
            mask: [a, b, c, d],
            left,
        };
        Ok(Some((payload, octets.len() - more.len())))
    }

    /// What the first two octets of a frame may say here.
    fn check(&self, first: u8, second: u8) -> Result<(), Breach> {
        if first & RESERVED != 0 {
            return Err(breach("a reserved bit is set, and no extension was agreed"));
        }
        if second & MASKED == 0 {
            return Err(breach("a frame is not masked"));
        }
        match (first & OPCODE, self.message) {
            (0, None) => Err(breach("a continuation without a message")),
            (1 | 2, Some(_)) => Err(breach("a message begins within another")),
            (0..=2, _) => Ok(()),
            (CLOSE | PING | PONG, _) if first & FINAL == 0 => Err(breach("a control frame is fragmented")),
            (CLOSE | PING | PONG, _) if usize::from(second & LENGTH) > LONGEST_CONTROL => {
                Err(breach("a control frame is longer than 125 octets"))
            }
            (CLOSE | PING | PONG, _) => Ok(()),
            _ => Err(breach("a reserved opcode")),
        }
    }

    /// What `piece`, which came before `after`, is.
    fn see(&mut self, after: Payload, piece: &[u8], place: Range<usize>) -> Result<Option<Seen>, Breach> {
        let whole = after.left == 0;
        let kind = match (after.opcode, self.message) {
            (1, _) => Kind::Text,
            (2, _) => Kind::Binary,
            (0, Some(kind)) => kind,
            (control, _) => {
                self.control.push(piece);
                return match whole {
                    true => self.see_control(control).map(Some),
                    false => Ok(None),
                };
            }
        };
        let last = whole && after.last;
        if kind == Kind::Text && !(self.character.follow(piece) && (!last || self.character.is_whole())) {
            return Err(NOT_TEXT);
        }
        // Within the frame the opcode tells the kind; behind it, a continuation must find it here.
        if whole {
            self.message = (!last).then_some(kind);
        }
        Ok(Some(Seen::Piece { kind, place, last }))
    }

    fn see_control(&mut self, opcode: u8) -> Result<Seen, Breach> {
        let seen = match opcode {
            PING => Seen::Ping,
            PONG => Seen::Pong,
            _ => {
                check_close(self.control())?;
                Seen::Close
            }
        };
        Ok(seen)
    }
}

/// Section 5.5.1 and the codes of section 7.4, with those registered since.
fn check_close(payload: &[u8]) -> Result<(), Breach> {
    match *payload {
        [] => Ok(()),
        [_] => Err(breach("a close frame has half a code")),
        [high, low, ref reason @ ..] => {
            let code = u16::from_be_bytes([high, low]);
            if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
                return Err(breach("a close frame has a code that must not be sent"));
            }
            match std::str::from_utf8(reason) {
                Ok(_) => Ok(()),
                Err(_) => Err(Breach {
                    code: 1007,
                    reason: "the reason of a close frame is not UTF-8",
                }),
            }
        }
    }
}

/// The mask for what follows `octets` of payload.
fn turned(mut mask: [u8; 4], octets: usize) -> [u8; 4] {
    mask.rotate_left(octets % 4);
    mask
}

fn unmask(octets: &mut [u8], mask: [u8; 4]) {
    let [a, b, c, d] = mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (blocks, rest) = octets.as_chunks_mut::<8>();
    for block in blocks {
        *block = (u64::from_ne_bytes(*block) ^ wide).to_ne_bytes();
    }
    for (octet, mask) in rest.iter_mut().zip(mask.iter().cycle()) {
        *octet ^= mask;
    }
}

/// UTF-8 that may be cut within a character.
#[derive(Debug)]
struct Character(Held<4>);

impl Character {
    /// Reads on; whether it is UTF-8 so far.
    fn follow(&mut self, mut piece: &[u8]) -> bool {
        while !self.is_whole() {
            let Some((octet, rest)) = piece.split_first() else {
                return true;
            };
            piece = rest;
            self.0.push(std::slice::from_ref(octet));
            match std::str::from_utf8(self.0.get()) {
                Ok(_) => self.0.have = 0,
                Err(error) if error.error_len().is_none() => {}
                Err(_) => return false,
            }
        }
        match std::str::from_utf8(piece) {
            Ok(_) => true,
            Err(error) if error.error_len().is_some() => false,
            Err(error) => {
                self.0.push(piece.get(error.valid_up_to()..).unwrap_or_default());
                true
            }
        }
    }

    fn is_whole(&self) -> bool {
        self.0.have == 0
    }
}
