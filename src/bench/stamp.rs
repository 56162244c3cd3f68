//! What a body says: when it was due, who sent it, and its number.

/// Octets of a stamp; the rest of a body is padding.
pub(super) const OCTETS: usize = 40;

/// What tells one message from all others of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    /// Nanoseconds from the start of the run.
    pub(super) due: u64,
    /// Its place among the publishers.
    pub(super) publisher: u32,
    /// Its place among that publisher's messages.
    pub(super) number: u64,
}

impl Stamp {
    /// Text, so that it may travel in a text message.
    pub(super) fn write(&self) -> [u8; OCTETS] {
        let mut text = [0; OCTETS];
        let (due, rest) = text.split_at_mut(16);
        let (publisher, number) = rest.split_at_mut(8);
        write_hex(due, self.due);
        write_hex(publisher, u64::from(self.publisher));
        write_hex(number, self.number);
        text
    }

    /// The stamp that `body` begins with; `None` if it is none of ours.
    pub(super) fn read(body: &[u8]) -> Option<Stamp> {
        let (due, rest) = body.split_first_chunk::<16>()?;
        let (publisher, rest) = rest.split_first_chunk::<8>()?;
        let (number, _) = rest.split_first_chunk::<16>()?;
        Some(Stamp {
            due: read_hex(due)?,
            publisher: read_hex(publisher)? as u32,
            number: read_hex(number)?,
        })
    }
}

fn write_hex(out: &mut [u8], mut value: u64) {
    for digit in out.iter_mut().rev() {
        *digit = match (value & 15) as u8 {
            low @ 0..=9 => b'0' + low,
            high => b'a' - 10 + high,
        };
        value >>= 4;
    }
}

fn read_hex(text: &[u8]) -> Option<u64> {
    let mut value = 0;
    for digit in text {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        value = value << 4 | u64::from(digit);
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_reads_as_it_was_written() {
        for stamp in [
            Stamp {
                due: 0,
                publisher: 0,
                number: 0,
            },
            Stamp {
                due: u64::MAX,
                publisher: u32::MAX,
                number: 0x0123_4567_89ab_cdef,
            },
        ] {
            let body = [&stamp.write()[..], b"xxxx"].concat();
            assert_eq!(Stamp::read(&body), Some(stamp));
        }
        assert_eq!(Stamp::read(b"short"), None);
        assert_eq!(Stamp::read(&[b'G'; OCTETS]), None);
    }
}
