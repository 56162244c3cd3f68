//! WebSocket framing of a client (RFC 6455), as much as a load tool needs.

/// Appends `parts` as one text message. The mask is zero, which leaves the octets as they are: it costs us nothing,
/// and the server the same as any other.
pub(super) fn text(out: &mut Vec<u8>, parts: &[&[u8]]) {
    let length = parts.iter().map(|part| part.len()).sum();
    head(out, 0x81, length);
    for part in parts {
        out.extend_from_slice(part);
    }
}

/// Appends the answer to a ping.
pub(super) fn pong(out: &mut Vec<u8>, payload: &[u8]) {
    head(out, 0x8a, payload.len());
    out.extend_from_slice(payload);
}

fn head(out: &mut Vec<u8>, first: u8, length: usize) {
    out.push(first);
    match length {
        0..=125 => out.push(0x80 | length as u8),
        126..=0xffff => {
            out.push(0x80 | 126);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&[0; 4]);
}

/// What the next octets are.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// Of the STOMP stream, wherever messages begin and end.
    Stomp(&'a [u8]),
    /// To be answered with this.
    Ping(Vec<u8>),
    /// The server closes: the code, and why.
    Close(u16, String),
}

/// Takes messages apart as they come; data is lent from where it was read.
#[derive(Debug, Default)]
pub(super) struct Unframe {
    head: [u8; 10],
    /// Octets of `head` that have come.
    have: usize,
    /// Octets of the payload to come.
    left: usize,
    control: Vec<u8>,
}

impl Unframe {
    /// The next piece of `input`, which is advanced past it. `None` when it is used up.
    pub(super) fn next<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Piece<'a>>, &'static str> {
        loop {
            if self.left == 0 && !self.read_head(input)? {
                return Ok(None);
            }
            let (payload, rest) = input.split_at_checked(self.left).unwrap_or((input, &[]));
            *input = rest;
            self.left -= payload.len();
            let opcode = self.head[0] & 0x0f;
            if opcode <= 2 {
                if !payload.is_empty() {
                    return Ok(Some(Piece::Stomp(payload)));
                }
            } else {
                self.control.extend_from_slice(payload);
            }
            if self.left > 0 {
                return Ok(None);
            }
            if opcode > 2 {
                let payload = std::mem::take(&mut self.control);
                match opcode {
                    8 => return Ok(Some(close(&payload))),
                    9 => return Ok(Some(Piece::Ping(payload))),
                    _ => {}
                }
            }
        }
    }

    /// Whether the head of a frame is whole; it is then begun anew.
    fn read_head(&mut self, input: &mut &[u8]) -> Result<bool, &'static str> {
        while let Some((&octet, rest)) = input.split_first() {
            *input = rest;
            if let Some(place) = self.head.get_mut(self.have) {
                *place = octet;
            }
            self.have += 1;
            let [_, second, length @ ..] = self.head;
            let wanted = match second {
                126 => 4,
                127 => 10,
                128.. => return Err("the server masked a frame"),
                _ => 2,
            };
            if self.have >= 2 && self.have == wanted {
                self.have = 0;
                let length = match second {
                    126 => u64::from(u16::from_be_bytes([length[0], length[1]])),
                    127 => u64::from_be_bytes(length),
                    short => u64::from(short),
                };
                self.left = usize::try_from(length).map_err(|_| "a frame is too long")?;
                // The next head is compared by its own second octet.
                self.head[1] = 0;
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn close(payload: &[u8]) -> Piece<'static> {
    match payload {
        [high, low, reason @ ..] => Piece::Close(
            u16::from_be_bytes([*high, *low]),
            String::from_utf8_lossy(reason).into_owned(),
        ),
        _ => Piece::Close(1005, String::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The STOMP octets of `input`, given in pieces of `step`, and all else that was found.
    fn read(input: &[u8], step: usize) -> (Vec<u8>, Vec<String>) {
        let mut unframe = Unframe::default();
        let (mut stomp, mut others) = (Vec::new(), Vec::new());
        for mut piece in input.chunks(step) {
            while let Some(found) = unframe.next(&mut piece).unwrap() {
                match found {
                    Piece::Stomp(octets) => stomp.extend_from_slice(octets),
                    other => others.push(format!("{other:?}")),
                }
            }
        }
        (stomp, others)
    }

    #[test]
    fn any_cut_reads_the_same() {
        let mut input = vec![0x81, 3, b'a', b'b', b'c', 0x89, 1, b'!', 0x81, 0, 0x82, 126, 1, 0];
        input.extend([b'd'; 256]);
        input.extend([0x82, 127, 0, 0, 0, 0, 0, 0, 0, 2, b'e', b'f', 0x88, 3, 0x03, 0xe9, b'x']);
        let whole = read(&input, input.len());
        assert_eq!(whole.0.len(), 3 + 256 + 2);
        assert_eq!(whole.1, ["Ping([33])", "Close(1001, \"x\")"]);
        for step in 1..20 {
            assert_eq!(read(&input, step), whole, "in pieces of {step}");
        }
    }

    #[test]
    fn lengths_are_written_as_they_are_read() {
        for length in [0, 125, 126, 0xffff, 0x1_0000] {
            let mut out = Vec::new();
            text(&mut out, &[&vec![b'x'; length]]);
            // As a server writes it: without mask.
            let at = out.len() - length - 4;
            out.drain(at..at + 4);
            out[1] &= 0x7f;
            assert_eq!(read(&out, 1000).0.len(), length);
        }
    }
}
