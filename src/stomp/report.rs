//! What an ERROR tells ("ERROR"): the shape of a table of faults, and the headers that lead to the frame at fault.

use super::{encode, Command, Frame, Version};

/// One line of a table of faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// The ERROR's `code` header: stable, for programs.
    pub code: &'static str,
    /// Its `message` header: stable, for people.
    pub message: &'static str,
    /// The WebSocket close code that follows.
    pub close: u16,
}

/// Makes a constant of each line, and `TABLE` of all.
macro_rules! faults {
    ($($(#[$doc:meta])* $name:ident = ($code:literal, $message:literal, $close:literal);)*) => {
        $($(#[$doc])* pub const $name: Kind = Kind { code: $code, message: $message, close: $close };)*
        /// The whole table.
        pub const TABLE: &[Kind] = &[$($name),*];
    };
}
pub(crate) use faults;

/// Octets of a client's value that an ERROR repeats in a header.
const SHOWN: usize = 1_024;

/// Adds what the frame at fault tells of itself, where `headers` and `receipt` do not say it already: clients look for
/// the subscription or SEND that failed.
pub fn particulars(frame: &Frame<'_>, headers: &mut Vec<(&'static str, String)>, receipt: &mut Option<String>) {
    let id = match frame.command {
        Command::Subscribe | Command::Unsubscribe => frame.headers.get("id"),
        _ => None,
    };
    for (name, value) in [("subscription", id), ("destination", frame.headers.get("destination"))] {
        let told = headers.iter().any(|(known, _)| *known == name);
        if let Some(value) = value.filter(|value| !told && value.len() <= SHOWN) {
            headers.push((name, value.into_owned()));
        }
    }
    if receipt.is_none() {
        *receipt = frame.headers.get("receipt").map(|receipt| receipt.into_owned());
    }
}

/// The ERROR frame for a client of `version`, with `more` headers.
pub fn error(
    (message, code): (&str, &str),
    receipt: Option<&str>,
    more: &[(&'static str, String)],
    body: &str,
    version: Version,
) -> Vec<u8> {
    let mut headers = vec![("message", message), ("code", code)];
    headers.extend(receipt.map(|receipt| ("receipt-id", receipt)));
    headers.extend(more.iter().map(|(name, value)| (*name, value.as_str())));
    encode::error(&headers, body, version)
}
