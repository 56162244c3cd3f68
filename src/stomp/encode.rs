//! Frames to bytes ("Server Frames").

use super::headers::{escape_into, escape_name_into};
use super::{Command, Version};

/// Appends one header line, escaped for `version`.
pub fn header(out: &mut Vec<u8>, name: &str, value: &str, version: Version) {
    escape_name_into(out, name, version);
    out.push(b':');
    escape_into(out, value, version);
    out.push(b'\n');
}

/// Appends `number` in decimal.
pub fn decimal(out: &mut Vec<u8>, number: u64) {
    let mut digits = [0_u8; 20];
    let mut at = digits.len();
    let mut rest = number;
    for (index, digit) in digits.iter_mut().enumerate().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
        at = index;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(at..).unwrap_or_default());
}

/// A CONNECTED frame. Its headers are never escaped, so that a 1.0 client can read them; what would end a line
/// is left out.
pub fn connected(headers: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::with_capacity(160);
    out.extend_from_slice(b"CONNECTED\n");
    for (name, value) in headers {
        for part in [name, ":", value] {
            out.extend(part.bytes().filter(|b| !matches!(b, b'\n' | b'\r' | 0)));
        }
        out.push(b'\n');
    }
    out.extend_from_slice(b"\n\0");
    out
}

/// A RECEIPT frame for the client's `receipt` header ("RECEIPT").
pub fn receipt(id: &str, version: Version) -> Vec<u8> {
    let mut out = Vec::with_capacity(24 + id.len());
    out.extend_from_slice(Command::Receipt.as_str().as_bytes());
    out.push(b'\n');
    header(&mut out, "receipt-id", id, version);
    out.extend_from_slice(b"\n\0");
    out
}

/// An ERROR frame with a text body ("ERROR").
pub fn error(headers: &[(&str, &str)], body: &str, version: Version) -> Vec<u8> {
    let mut out = Vec::with_capacity(256 + body.len());
    out.extend_from_slice(b"ERROR\n");
    for (name, value) in headers {
        header(&mut out, name, value, version);
    }
    out.extend_from_slice(b"content-type:text/plain\ncontent-length:");
    decimal(&mut out, body.len() as u64);
    out.extend_from_slice(b"\n\n");
    // A NUL in the body would end it for clients that do not count.
    out.extend(body.bytes().map(|b| if b == 0 { b'?' } else { b }));
    out.push(0);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_written_in_full() {
        for number in [0, 7, 10, 99, 1_000, u64::MAX] {
            let mut out = Vec::new();
            decimal(&mut out, number);
            assert_eq!(String::from_utf8_lossy(&out), number.to_string());
        }
    }

    #[test]
    fn row_011_connected_is_never_escaped() {
        let frame = connected(&[("session", "a:b\\c")]);
        assert_eq!(frame, b"CONNECTED\nsession:a:b\\c\n\n\0");
    }

    #[test]
    fn row_109_a_receipt_id_is_escaped_again() {
        assert_eq!(receipt("a:b", Version::V1_2), b"RECEIPT\nreceipt-id:a\\cb\n\n\0");
        assert_eq!(receipt("a:b", Version::V1_0), b"RECEIPT\nreceipt-id:a:b\n\n\0");
    }
}
