//! The server's octets, taken apart. Headers stay as they are on the wire: unescaping would hide what a case compares.

use crate::notation::{find, show};

/// A frame as it arrived.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    /// `MESSAGE`, for example.
    pub command: String,
    /// Name and value as on the wire, in the order of the wire, repeated ones too.
    pub headers: Vec<(Vec<u8>, Vec<u8>)>,
    /// What stands between the empty line and the NUL.
    pub body: Vec<u8>,
}

impl Frame {
    /// The values of every header of this name, in order.
    pub fn values<'a>(&'a self, name: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        self.headers
            .iter()
            .filter(move |(found, _)| found == name)
            .map(|(_, value)| value.as_slice())
    }

    /// The first header of this name.
    pub fn value<'a>(&'a self, name: &'a str) -> Option<&'a [u8]> {
        self.values(name.as_bytes()).next()
    }

    /// The frame on one line, for a transcript.
    pub fn show(&self) -> String {
        let mut shown = self.command.clone();
        for (name, value) in &self.headers {
            shown.push_str(&format!(" {}:{}", show(name, 60), show(value, 120)));
        }
        if !self.body.is_empty() {
            shown.push_str(&format!(" | {}", show(&self.body, 200)));
        }
        shown
    }
}

/// One thing found in the server's stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A whole frame.
    Frame(Frame),
    /// An LF (or CR LF) between frames.
    EndOfLine,
}

/// Takes a stream apart, however it was cut.
#[derive(Debug, Default)]
pub struct Decoder {
    pending: Vec<u8>,
}

impl Decoder {
    /// Adds octets and puts what is complete now into `items`. The error says how the server broke the grammar.
    pub fn feed(&mut self, octets: &[u8], items: &mut Vec<Item>) -> Result<(), String> {
        self.pending.extend_from_slice(octets);
        let mut at = 0;
        while let Some((item, length)) = read(&self.pending[at..])? {
            items.push(item);
            at += length;
        }
        self.pending.drain(..at);
        Ok(())
    }

    /// Whether it stands between two frames.
    pub fn is_idle(&self) -> bool {
        self.pending.is_empty()
    }
}

/// What stands at the start of `octets` and its length, if it is complete.
fn read(octets: &[u8]) -> Result<Option<(Item, usize)>, String> {
    match octets {
        [b'\n', ..] => return Ok(Some((Item::EndOfLine, 1))),
        [b'\r', b'\n', ..] => return Ok(Some((Item::EndOfLine, 2))),
        [] | [b'\r'] => return Ok(None),
        _ => {}
    }
    let mut frame = Frame::default();
    let mut at = 0;
    loop {
        let Some(end) = octets[at..].iter().position(|octet| *octet == b'\n') else {
            return Ok(None);
        };
        let line = &octets[at..at + end];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        at += end + 1;
        if frame.command.is_empty() {
            frame.command =
                String::from_utf8(line.to_vec()).map_err(|_| format!("a command is not UTF-8: {}", show(line, 80)))?;
        } else if line.is_empty() {
            break;
        } else {
            let colon = line.iter().position(|octet| *octet == b':');
            let colon = colon.ok_or_else(|| format!("a header without a colon: {}", show(line, 80)))?;
            frame.headers.push((line[..colon].to_vec(), line[colon + 1..].to_vec()));
        }
    }
    let length = match frame.value("content-length") {
        Some(value) => Some(number(value)?),
        None => None,
    };
    let end = match length {
        Some(length) if octets.len() <= at + length => return Ok(None),
        Some(length) if octets[at + length] != 0 => {
            return Err(format!("no NUL after the content-length of: {}", frame.show()));
        }
        Some(length) => at + length,
        None => match find(&octets[at..], b"\0") {
            Some(end) => at + end,
            None => return Ok(None),
        },
    };
    frame.body = octets[at..end].to_vec();
    Ok(Some((Item::Frame(frame), end + 1)))
}

fn number(value: &[u8]) -> Result<usize, String> {
    let text = String::from_utf8_lossy(value);
    text.parse()
        .map_err(|_| format!("the content-length {text:?} is not a number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(pieces: &[&[u8]]) -> (Vec<Item>, Decoder) {
        let (mut items, mut decoder) = (Vec::new(), Decoder::default());
        for piece in pieces {
            decoder.feed(piece, &mut items).unwrap();
        }
        (items, decoder)
    }

    #[test]
    fn a_stream_is_taken_apart_however_it_is_cut() {
        let stream = b"\nMESSAGE\na:b:c\na:2\r\ncontent-length:3\n\nx\0y\0\r\nRECEIPT\nreceipt-id:1\n\n\0";
        let (whole, _) = taken(&[stream]);
        assert_eq!(whole.len(), 4);
        let Item::Frame(message) = &whole[1] else {
            panic!("{whole:?}")
        };
        assert_eq!(message.body, b"x\0y");
        assert_eq!(message.values(b"a").collect::<Vec<_>>(), [b"b:c".as_slice(), b"2"]);
        for cut in 1..stream.len() {
            let (items, decoder) = taken(&[&stream[..cut], &stream[cut..]]);
            assert_eq!(items, whole, "cut at {cut}");
            assert!(decoder.is_idle());
        }
    }

    #[test]
    fn a_broken_frame_is_told() {
        for wrong in [
            "MESSAGE\nno colon\n\n\0",
            "MESSAGE\ncontent-length:1\n\nxy\0",
            "MESSAGE\ncontent-length:-1\n\n\0",
        ] {
            assert!(
                Decoder::default().feed(wrong.as_bytes(), &mut Vec::new()).is_err(),
                "{wrong:?}"
            );
        }
    }
}
