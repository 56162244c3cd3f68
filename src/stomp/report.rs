//! What an ERROR tells ("ERROR"): the shape of a table of faults, the faults that every room meets, and the headers that
//! lead to the frame at fault.

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

/// Makes a constant of each line, and `TABLE` of all, behind those of the lines here that are named first.
macro_rules! faults {
    ($([$($shared:ident),* $(,)?])? $($(#[$doc:meta])* $name:ident = ($code:literal, $message:literal, $close:literal);)*) => {
        $(pub use crate::stomp::report::{$($shared),*};)?
        $($(#[$doc])* pub const $name: Kind = Kind { code: $code, message: $message, close: $close };)*
        /// The whole table.
        pub const TABLE: &[Kind] = &[$($($shared,)*)? $($name),*];
    };
}
pub(crate) use faults;

// What any server has to tell, whoever is behind it; a room's own lines stand in the room.
faults! {
    /// No such command, or one that only servers send.
    UNKNOWN_COMMAND = ("unknown-command", "Unknown command", 1002);
    /// A frame before CONNECT.
    NOT_CONNECTED = ("not-connected", "Not connected", 1002);
    /// A second CONNECT.
    ALREADY_CONNECTED = ("already-connected", "Already connected", 1002);
    /// No CONNECT in time.
    CONNECT_TIMEOUT = ("connect-timeout", "No CONNECT in time", 1008);
    /// A frame that was begun and not ended in time.
    FRAME_TIMEOUT = ("frame-timeout", "Frame not complete in time", 1008);
    /// No common version.
    UNSUPPORTED_VERSION = ("unsupported-version", "Unsupported version", 1002);
    /// The login or the passcode is wrong, or not there.
    BAD_CREDENTIALS = ("bad-credentials", "Wrong login or passcode", 1008);
    /// A header's value cannot be read.
    BAD_HEADER = ("bad-header", "Bad header value", 1002);
    /// The destination belongs to another session.
    NOT_OWNER = ("not-owner", "Destination belongs to another session", 1008);
    /// More subscriptions than a connection may have.
    TOO_MANY_SUBSCRIPTIONS = ("too-many-subscriptions", "Too many subscriptions", 1008);
    /// A live subscription has the id.
    DUPLICATE_SUBSCRIPTION = ("duplicate-subscription", "Duplicate subscription id", 1002);
    /// The client does not read what it subscribed to.
    SLOW_CONSUMER = ("slow-consumer", "Slow consumer", 1008);
    /// More open transactions than a connection may have.
    TOO_MANY_TRANSACTIONS = ("too-many-transactions", "Too many transactions", 1008);
    /// The client was silent for too long.
    SILENT = ("silent", "No heart-beat", 1002);
    /// The server stops.
    SHUTDOWN = ("shutdown", "Server stops", 1001);
}

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
